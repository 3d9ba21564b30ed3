//! One connection: commands written, replies read, and a deadline on every step.

use super::Effect;
use crate::client::Error;
use crate::client::reply::{ReadError, Reply, ReplyReader};
use crate::client::resolve;
use crate::limits::{KIB, VALUE_BYTES_MAX};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The longest timeout, so that adding one to the time of day cannot overflow.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// A connection idle for longer is checked before its next use: the server may have closed it.
const IDLE_TRUSTED: Duration = Duration::from_millis(500);
/// Arguments up to this many bytes are gathered into one write; longer ones are written from where they are.
const GATHERED_BYTES_MAX: usize = 16 * 1024;
/// How long a push that has begun may take.
pub(super) const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a reply that is a value.
pub(super) const VALUE_REPLY_BYTES_MAX: usize = VALUE_BYTES_MAX as usize + SHORT_REPLY_BYTES_MAX;
/// Bytes of a reply that is a status, a number or an error.
pub(super) const SHORT_REPLY_BYTES_MAX: usize = 128 * KIB;

/// What one exchange may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of memory.
    pub reply_bytes_max: usize,
    pub timeout: Duration,
}

pub(in crate::client) struct Connection {
    pub(super) stream: TcpStream,
    reader: ReplyReader,
    pub(super) last_used: Instant,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Connection {
    /// Over a stream on which nothing has been sent.
    pub(super) fn new(stream: TcpStream) -> Connection {
        Connection { stream, reader: ReplyReader::new(0), last_used: Instant::now() }
    }

    /// False where the server has closed its side, or sent something unasked, since the last call: a request sent there
    /// would be lost without need.
    pub(super) fn is_usable(&self) -> bool {
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
    pub(in crate::client) fn send_command(
        &mut self,
        arguments: &[&[u8]],
        timeout: Duration,
    ) -> Result<(), Error> {
        let mut timed = Timed { stream: &self.stream, deadline: Instant::now() + timeout };
        send(&mut timed, arguments).map_err(|source| lost(source, timeout))
    }

    /// Whether something has come that [`next_reply`](Connection::next_reply) would give.
    pub(in crate::client) fn has_arrived(&self) -> Result<bool, Error> {
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
    pub(in crate::client) fn next_reply(&mut self, timeout: Duration) -> Result<Option<Reply>, Error> {
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

    pub(super) fn exchange(
        &mut self,
        effect: Effect,
        arguments: &[&[u8]],
        limits: Limits,
    ) -> Result<Reply, Error> {
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
pub(super) struct Timed<'a> {
    pub stream: &'a TcpStream,
    pub deadline: Instant,
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

/// Writes one command: short arguments gathered, long ones from where they are.
pub(super) fn send(stream: &mut impl Write, arguments: &[&[u8]]) -> io::Result<()> {
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
pub(super) fn connect(server: &str, timeout: Duration) -> io::Result<TcpStream> {
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

pub(super) fn lost(source: io::Error, timeout: Duration) -> Error {
    if is_timeout(&source) { Error::Timeout { after: timeout } } else { Error::Lost(source) }
}
