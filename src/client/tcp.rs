//! The client over TCP: what it is made with and its calls, over one connection that is made when it is needed.
//!
//! A command is whole only with its last byte. So a call that fails while its request is being written has not run,
//! and one that fails afterwards may have: that instant divides [`Error::Lost`] from [`Error::OutcomeUnknown`].

mod connection;
#[cfg(feature = "cli")]
mod pipeline;
#[cfg(test)]
mod tests;

pub(super) use connection::Connection;
#[cfg(feature = "sim")]
pub(crate) use connection::encoded;
#[cfg(feature = "cli")]
pub(crate) use pipeline::encode;

use super::{
    CachedClient, Condition, Error, PrefixWatch, PutOptions, Scan, Subscription, Ttl,
    reply::{Malformed, REPLY_BYTES_MAX, Reply},
    ttl_ms,
};
use crate::limits::MIB;
use connection::{Limits, SHORT_REPLY_BYTES_MAX, TIMEOUT_MAX, VALUE_REPLY_BYTES_MAX, connect};
use std::fmt;
use std::time::Duration;

/// Bytes of a reply of INFO, of which a server's is about 8 KiB.
const INFO_BYTES_MAX: usize = 4 * MIB;

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
        let mut connection = Connection::new(stream);
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

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.options)
            .field("is_connected", &self.connection.is_some())
            .finish()
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

pub(super) fn unexpected() -> Error {
    Error::Protocol(Malformed::UnexpectedReply)
}

fn integer(reply: Reply) -> Result<i64, Error> {
    match reply {
        Reply::Integer(number) => Ok(number),
        _ => Err(unexpected()),
    }
}
