//! The client over TCP: one connection, made when it is needed, and a deadline on every step.
//!
//! A command is whole only with its last byte. So a call that fails while its request is being written has not run,
//! and one that fails afterwards may have: that instant divides [`Error::Lost`] from [`Error::OutcomeUnknown`].

#[cfg(feature = "cli")]
mod pipeline;

use std::{
    fmt,
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::limits::{KIB, MIB, VALUE_BYTES_MAX};

use super::{
    CachedClient, Condition, Error, PrefixWatch, PutOptions, Scan, Subscription, Ttl,
    reply::{Malformed, REPLY_BYTES_MAX, ReadError, Reply, ReplyReader},
    resolve, ttl_ms,
};

/// The longest timeout, so that adding one to the time of day cannot overflow.
const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// A connection idle for longer is checked before its next use: the server may have closed it.
const IDLE_TRUSTED: Duration = Duration::from_millis(500);
/// Arguments up to this many bytes are gathered into one write; longer ones are written from where they are.
const GATHERED_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a reply that is a status, a number or an error.
const SHORT_REPLY_BYTES_MAX: usize = 128 * KIB;
/// Bytes of a reply that is a value.
const VALUE_REPLY_BYTES_MAX: usize = VALUE_BYTES_MAX as usize + SHORT_REPLY_BYTES_MAX;
/// Bytes of a reply of INFO, of which a server's is about 8 KiB.
const INFO_BYTES_MAX: usize = 4 * MIB;

/// How long a push that has begun may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// How a [`Client`] connects.
#[derive(Clone)]
pub struct Builder {
    connect_timeout: Duration,
    call_timeout: Duration,
    password: Option<Vec<u8>>,
    database: u32,
    server: String,
}

impl Builder {
    /// Time to make a connection, for all addresses of the server together. Default 5 s, at most a year.
    pub fn connect_timeout(mut self, timeout: Duration) -> Builder {
        self.connect_timeout = timeout.min(TIMEOUT_MAX);
        self
    }

    /// Time for a call from its first byte to its whole answer. Default 5 s, at most a year.
    pub fn call_timeout(mut self, timeout: Duration) -> Builder {
        self.call_timeout = timeout.min(TIMEOUT_MAX);
        self
    }

    /// Sent with AUTH on every new connection.
    pub fn password(mut self, password: impl Into<Vec<u8>>) -> Builder {
        self.password = Some(password.into());
        self
    }

    /// The database that every new connection selects. Default 0.
    pub fn database(mut self, database: u32) -> Builder {
        self.database = database;
        self
    }

    /// Connects, and authenticates where a password is set. `server` is `host:port`, or a host alone.
    ///
    /// # Errors
    /// [`Error::Connect`]; [`Error::Auth`] where the password is refused, or none is wanted; [`Error::TooManyClients`];
    /// [`Error::Server`] where there is no such database.
    pub fn connect(mut self, server: impl Into<String>) -> Result<Client, Error> {
        self.server = server.into();
        let mut client = Client { options: self, connection: None, redis_verbs: false };
        client.connection = Some(client.options.open()?);
        Ok(client)
    }

    /// Time for a call.
    pub(super) fn timeout(&self) -> Duration {
        self.call_timeout
    }

    /// A connection that is authenticated and in its database.
    pub(super) fn open(&self) -> Result<Connection, Error> {
        let failed = |source| Error::Connect { server: self.server.clone(), source };
        let stream = connect(&self.server, self.connect_timeout).map_err(failed)?;
        // Requests are written whole, so waiting to fill a segment only costs time.
        stream.set_nodelay(true).map_err(failed)?;
        let mut connection = Connection { stream, reader: ReplyReader::new(0), last_used: Instant::now() };
        let limits = Limits { reply_bytes_max: SHORT_REPLY_BYTES_MAX, timeout: self.call_timeout };
        if let Some(password) = &self.password {
            match connection.exchange(Effect::Read, &[b"AUTH", password], limits)? {
                Reply::Simple(_) => {}
                // A server without a password says so by an error without a code of its own.
                Reply::Error { text, .. } if text.starts_with("AUTH ") => return Err(Error::Auth(text)),
                Reply::Error { code, text } => return Err(Error::from_server(&code, &text)),
                _ => return Err(unexpected()),
            }
        }
        if self.database > 0 {
            let database = self.database.to_string();
            match connection.exchange(Effect::Read, &[b"SELECT", database.as_bytes()], limits)? {
                Reply::Simple(_) => {}
                Reply::Error { code, text } => return Err(Error::from_server(&code, &text)),
                _ => return Err(unexpected()),
            }
        }
        Ok(connection)
    }
}

/// Whether a request may change something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Read,
    Write,
}

/// A blocking client over one TCP connection.
///
/// After an error other than the server's own the connection is given up, since a late answer would be taken for the
/// next call's; the next call makes a new one. Nothing is ever sent twice.
pub struct Client {
    options: Builder,
    connection: Option<Connection>,
    /// The server has shown that it does not know PUT and DELETE: it is a Redis, and gets SET and DEL.
    redis_verbs: bool,
}

impl Client {
    /// Connects with the default timeouts (5 s) and no password.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn connect(server: impl Into<String>) -> Result<Client, Error> {
        Client::builder().connect(server)
    }

    /// Sets timeouts and password before connecting.
    pub fn builder() -> Builder {
        let timeout = Duration::from_secs(5);
        Builder {
            connect_timeout: timeout,
            call_timeout: timeout,
            password: None,
            database: 0,
            server: String::new(),
        }
    }

    /// Stores `value` under `key`. False: the condition did not hold and nothing was changed.
    pub fn put(&mut self, key: &[u8], value: &[u8], options: &PutOptions<'_>) -> Result<bool, Error> {
        let ttl = options.ttl.map(|ttl| ttl_ms(ttl).to_string());
        let tail = put_arguments((key, value), options.condition, ttl.as_deref());
        match self.own_verb(b"PUT", b"SET", &tail)? {
            Reply::Simple(_) => Ok(true),
            Reply::Null => Ok(false),
            _ => Err(unexpected()),
        }
    }

    /// The value of `key`, or `None` where there is no such key.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.call(Effect::Read, VALUE_REPLY_BYTES_MAX, &[b"GET", key])? {
            Reply::Null => Ok(None),
            reply => reply.into_bytes().map(Some).ok_or_else(unexpected),
        }
    }

    /// Removes keys, and says how many of them there were.
    pub fn delete(&mut self, keys: &[&[u8]]) -> Result<u64, Error> {
        let reply = self.own_verb(b"DELETE", b"DEL", keys)?;
        u64::try_from(integer(reply)?).map_err(|_| unexpected())
    }

    /// Adds `by` to the number under `key` (a missing key counts as 0), and gives the sum.
    pub fn incr(&mut self, key: &[u8], by: i64) -> Result<i64, Error> {
        integer(self.call(
            Effect::Write,
            SHORT_REPLY_BYTES_MAX,
            &[b"INCRBY", key, by.to_string().as_bytes()],
        )?)
    }

    /// How long `key` has to live.
    pub fn ttl(&mut self, key: &[u8]) -> Result<Ttl, Error> {
        match integer(self.call(Effect::Read, SHORT_REPLY_BYTES_MAX, &[b"PTTL", key])?)? {
            -2 => Ok(Ttl::Missing),
            -1 => Ok(Ttl::Forever),
            ms => u64::try_from(ms)
                .map(|ms| Ttl::Remaining(Duration::from_millis(ms)))
                .map_err(|_| unexpected()),
        }
    }

    /// Lets `key` live for `ttl` from now. False: there is no such key.
    pub fn expire(&mut self, key: &[u8], ttl: Duration) -> Result<bool, Error> {
        let ttl = ttl_ms(ttl).to_string();
        Ok(integer(self.call(Effect::Write, SHORT_REPLY_BYTES_MAX, &[b"PEXPIRE", key, ttl.as_bytes()])?)?
            == 1)
    }

    /// How many of the keys exist; one that is named twice counts twice.
    pub fn exists(&mut self, keys: &[&[u8]]) -> Result<u64, Error> {
        let arguments: Vec<&[u8]> = std::iter::once(&b"EXISTS"[..]).chain(keys.iter().copied()).collect();
        let reply = self.call(Effect::Read, SHORT_REPLY_BYTES_MAX, &arguments)?;
        u64::try_from(integer(reply)?).map_err(|_| unexpected())
    }

    /// Takes the time to live off `key`. False: there is no such key, or it has none.
    pub fn persist(&mut self, key: &[u8]) -> Result<bool, Error> {
        Ok(integer(self.call(Effect::Write, SHORT_REPLY_BYTES_MAX, &[b"PERSIST", key])?)? == 1)
    }

    /// The keys that match the glob `pattern` (all of them without one), fetched about `count` at a time.
    /// Keys that exist throughout are seen; those that come or go meanwhile may be.
    pub fn scan<'a>(&'a mut self, pattern: Option<&[u8]>, count: u32) -> Scan<'a> {
        let pattern = pattern.map(<[u8]>::to_vec);
        Scan { client: self, pattern, count, cursor: Some(b"0".to_vec()), page: Vec::new().into_iter() }
    }

    /// Asks the server for a PONG.
    pub fn ping(&mut self) -> Result<(), Error> {
        match self.call(Effect::Read, SHORT_REPLY_BYTES_MAX, &[b"PING"])? {
            Reply::Simple(text) if text == b"PONG" => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// The server's statistics as `name:value` lines: one section of them, or the usual ones.
    pub fn info(&mut self, section: Option<&str>) -> Result<String, Error> {
        let reply = match section {
            Some(section) => self.call(Effect::Read, INFO_BYTES_MAX, &[b"INFO", section.as_bytes()])?,
            None => self.call(Effect::Read, INFO_BYTES_MAX, &[b"INFO"])?,
        };
        let text = reply.into_bytes().ok_or_else(unexpected)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Goes to another database, which every later connection selects too.
    ///
    /// # Errors
    /// [`Error::Server`] where there is no such database; the one before stays.
    pub fn select(&mut self, database: u32) -> Result<(), Error> {
        let number = database.to_string();
        match self.call(Effect::Read, SHORT_REPLY_BYTES_MAX, &[b"SELECT", number.as_bytes()])? {
            Reply::Simple(_) => {
                self.options.database = database;
                Ok(())
            }
            _ => Err(unexpected()),
        }
    }

    /// Sends any command and gives its reply. It is taken for one that may change something: without an answer it is
    /// [`Error::OutcomeUnknown`]. An error answer is an `Err`; commands that turn the connection into another kind of
    /// stream (`CLIENT REPLY`, `MONITOR`) do not fit here.
    pub fn command(&mut self, arguments: &[&[u8]]) -> Result<Reply, Error> {
        self.call(Effect::Write, REPLY_BYTES_MAX, arguments)
    }

    /// Sends Pannier's own verb; to a Redis, which answers that it knows no such command, the same by its name there.
    fn own_verb(&mut self, own: &[u8], redis: &[u8], tail: &[&[u8]]) -> Result<Reply, Error> {
        let mut arguments = Vec::with_capacity(tail.len() + 1);
        arguments.push(if self.redis_verbs { redis } else { own });
        arguments.extend(tail);
        match self.call(Effect::Write, SHORT_REPLY_BYTES_MAX, &arguments) {
            // An unknown command has not run, so it is no repetition.
            Err(Error::Server { text, .. }) if !self.redis_verbs && text.starts_with("unknown command") => {
                self.redis_verbs = true;
                arguments[0] = redis;
                self.call(Effect::Write, SHORT_REPLY_BYTES_MAX, &arguments)
            }
            result => result,
        }
    }

    /// One request and its reply, of which no more than `reply_bytes_max` bytes are held.
    pub(super) fn call(
        &mut self,
        effect: Effect,
        reply_bytes_max: usize,
        arguments: &[&[u8]],
    ) -> Result<Reply, Error> {
        let idle = self.connection.take().filter(Connection::is_usable);
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.options.open()?,
        };
        let limits = Limits { reply_bytes_max, timeout: self.options.call_timeout };
        let reply = connection.exchange(effect, arguments, limits)?;
        self.connection = Some(connection);
        match reply {
            Reply::Error { code, text } => Err(Error::from_server(&code, &text)),
            reply => Ok(reply),
        }
    }

    /// Publishes a message to a channel, and gives the number of clients that got it.
    ///
    /// # Errors
    /// As any call's.
    pub fn publish(&mut self, channel: &[u8], message: &[u8]) -> Result<u64, Error> {
        let reply = self.call(Effect::Write, SHORT_REPLY_BYTES_MAX, &[b"PUBLISH", channel, message])?;
        u64::try_from(integer(reply)?).map_err(|_| unexpected())
    }

    /// Subscribes to channels and patterns, on a connection of their own.
    ///
    /// # Errors
    /// As [`connect`](Client::connect); [`Error::Server`] where there is no room for the subscriptions.
    pub fn subscribe(&self, channels: &[&[u8]], patterns: &[&[u8]]) -> Result<Subscription, Error> {
        Subscription::open(&self.options, channels, patterns)
    }

    /// A client with a cache of at most `bytes_max` bytes, on a connection of its own; it connects at the first call.
    pub fn cached(&self, bytes_max: usize) -> CachedClient {
        CachedClient::new(&self.options, bytes_max)
    }

    /// Watches all keys that begin with a prefix, on a connection of its own: from now on, or behind a revision that was seen
    /// before. It connects at the first [`next`](PrefixWatch::next).
    pub fn watch_prefix(&self, prefix: &[u8], from: Option<u64>) -> PrefixWatch {
        PrefixWatch::new(&self.options, prefix, from)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password is left out: debug output ends up in logs.
        f.debug_struct("Builder")
            .field("connect_timeout", &self.connect_timeout)
            .field("call_timeout", &self.call_timeout)
            .field("has_password", &self.password.is_some())
            .field("database", &self.database)
            .field("server", &self.server)
            .finish()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.options)
            .field("is_connected", &self.connection.is_some())
            .finish()
    }
}

/// What one exchange may take.
#[derive(Clone, Copy)]
struct Limits {
    /// Bytes of memory.
    reply_bytes_max: usize,
    timeout: Duration,
}

pub(super) struct Connection {
    stream: TcpStream,
    reader: ReplyReader,
    last_used: Instant,
}

impl Connection {
    /// False where the server has closed its side, or sent something unasked, since the last call: a request sent there
    /// would be lost without need.
    fn is_usable(&self) -> bool {
        if self.reader.has_leftover() {
            return false;
        }
        if self.last_used.elapsed() < IDLE_TRUSTED {
            return true;
        }
        let mut byte = [0];
        if self.stream.set_nonblocking(true).is_err() {
            return false;
        }
        let quiet =
            matches!(self.stream.peek(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        quiet && self.stream.set_nonblocking(false).is_ok()
    }

    /// Sends a command whose replies come by [`next_reply`](Connection::next_reply).
    pub(super) fn send_command(&mut self, arguments: &[&[u8]], timeout: Duration) -> Result<(), Error> {
        let mut timed = Timed { stream: &self.stream, deadline: Instant::now() + timeout };
        send(&mut timed, arguments).map_err(|source| lost(source, timeout))
    }

    /// Whether something has come that [`next_reply`](Connection::next_reply) would give.
    pub(super) fn has_arrived(&self) -> Result<bool, Error> {
        if self.reader.has_leftover() {
            return Ok(true);
        }
        self.stream.set_nonblocking(true).map_err(Error::Lost)?;
        let found = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).map_err(Error::Lost)?;
        match found {
            Ok(0) => Err(Error::Lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(true),
            Err(error) if is_timeout(&error) || error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(Error::Lost(error)),
        }
    }

    /// The next reply or push. `None`: none began within `timeout`; one that has begun is read to its end.
    pub(super) fn next_reply(&mut self, timeout: Duration) -> Result<Option<Reply>, Error> {
        if !self.reader.has_leftover() {
            let wait = timeout.clamp(Duration::from_millis(1), TIMEOUT_MAX);
            let lost_now = |source| lost(source, timeout);
            self.stream.set_read_timeout(Some(wait)).map_err(lost_now)?;
            match self.stream.peek(&mut [0]) {
                Ok(0) => return Err(lost_now(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if is_timeout(&error) || error.kind() == io::ErrorKind::Interrupted => {
                    return Ok(None);
                }
                Err(error) => return Err(lost_now(error)),
            }
        }
        let mut timed = Timed { stream: &self.stream, deadline: Instant::now() + REPLY_TIMEOUT };
        self.reader.message_within(&mut timed, VALUE_REPLY_BYTES_MAX).map(Some).map_err(|error| match error {
            ReadError::Io(source) => lost(source, REPLY_TIMEOUT),
            ReadError::Malformed(reason) => Error::Protocol(reason),
        })
    }

    fn exchange(&mut self, effect: Effect, arguments: &[&[u8]], limits: Limits) -> Result<Reply, Error> {
        let Limits { reply_bytes_max, timeout } = limits;
        let mut timed = Timed { stream: &self.stream, deadline: Instant::now() + timeout };
        if let Err(source) = send(&mut timed, arguments) {
            // A server that closes early has often said why.
            if !is_timeout(&source)
                && let Ok(Reply::Error { code, text }) = self.reader.read_within(&mut timed, reply_bytes_max)
            {
                return Err(Error::from_server(&code, &text));
            }
            return Err(lost(source, timeout));
        }
        let reply = self.reader.read_within(&mut timed, reply_bytes_max);
        self.last_used = Instant::now();
        reply.map_err(|error| {
            let error = match error {
                ReadError::Io(source) => lost(source, timeout),
                ReadError::Malformed(reason) => Error::Protocol(reason),
            };
            match effect {
                Effect::Read => error,
                Effect::Write => Error::OutcomeUnknown(Box::new(error)),
            }
        })
    }
}

/// A stream whose every read and write ends at one deadline.
struct Timed<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Duration> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(into)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What follows the verb of a put; `ttl` in milliseconds.
pub(super) fn put_arguments<'a>(
    (key, value): (&'a [u8], &'a [u8]),
    condition: Condition<'a>,
    ttl: Option<&'a str>,
) -> Vec<&'a [u8]> {
    let mut arguments: Vec<&[u8]> = vec![key, value];
    if let Some(ttl) = ttl {
        arguments.extend([b"PX", ttl.as_bytes()]);
    }
    match condition {
        Condition::Always => {}
        Condition::IfAbsent => arguments.push(b"NX"),
        Condition::IfPresent => arguments.push(b"XX"),
        Condition::IfEqual(expected) => arguments.extend([b"IFEQ", expected]),
    }
    arguments
}

/// Writes one command: short arguments gathered, long ones from where they are.
fn send(stream: &mut impl Write, arguments: &[&[u8]]) -> io::Result<()> {
    let mut gathered = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        gathered.extend(format!("${}\r\n", argument.len()).as_bytes());
        if argument.len() > GATHERED_BYTES_MAX {
            stream.write_all(&gathered)?;
            stream.write_all(argument)?;
            gathered.clear();
        } else {
            gathered.extend_from_slice(argument);
        }
        gathered.extend(b"\r\n");
    }
    stream.write_all(&gathered)
}

/// The bytes of one command, for callers without a blocking stream.
#[cfg(feature = "sim")]
pub(crate) fn encoded(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    send(&mut bytes, arguments).expect("a vector takes everything");
    bytes
}

/// Tries each address that the name stands for, until the time is up.
fn connect(server: &str, timeout: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + timeout;
    let mut result = Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    for address in resolve(server)? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {timeout:?}")));
        }
        result = TcpStream::connect_timeout(&address, left);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn lost(source: io::Error, timeout: Duration) -> Error {
    if is_timeout(&source) { Error::Timeout { after: timeout } } else { Error::Lost(source) }
}

pub(super) fn unexpected() -> Error {
    Error::Protocol(Malformed::UnexpectedReply)
}

fn integer(reply: Reply) -> Result<i64, Error> {
    match reply {
        Reply::Integer(number) => Ok(number),
        _ => Err(unexpected()),
    }
}

#[cfg(test)]
mod tests;
