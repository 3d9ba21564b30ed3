//! Hearing of what happens: [`Subscription`] to channels and patterns, and [`PrefixWatch`], which survives a lost connection.
//! Each has a connection of its own, for a client that is subscribed can ask for little else.

use super::tcp::{Connection, unexpected};
use super::{Builder, Error, Reply};
use std::time::Duration;

/// How long a watch waits before it connects again, at most.
const RECONNECT_MAX: Duration = Duration::from_secs(5);
const RECONNECT_MIN: Duration = Duration::from_millis(50);

/// Something that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The pattern that matched, where it was one.
    pub pattern: Option<Vec<u8>>,
    /// Where it was published.
    pub channel: Vec<u8>,
    /// What.
    pub payload: Vec<u8>,
}

/// A connection that hears what is published. What is published while there is none is not heard.
#[derive(Debug)]
pub struct Subscription {
    connection: Connection,
}

impl Subscription {
    pub(super) fn open(
        options: &Builder,
        channels: &[&[u8]],
        patterns: &[&[u8]],
    ) -> Result<Subscription, Error> {
        let mut connection = options.open()?;
        for (verb, names) in [(&b"SUBSCRIBE"[..], channels), (b"PSUBSCRIBE", patterns)] {
            if names.is_empty() {
                continue;
            }
            let arguments: Vec<&[u8]> = std::iter::once(verb).chain(names.iter().copied()).collect();
            connection.send_command(&arguments, options.timeout())?;
            for _ in names {
                match connection.next_reply(options.timeout())? {
                    Some(Reply::Array(_) | Reply::Push(_)) => {}
                    Some(Reply::Error { code, text }) => return Err(Error::from_server(&code, &text)),
                    Some(_) => return Err(unexpected()),
                    None => return Err(Error::Timeout { after: options.timeout() }),
                }
            }
        }
        Ok(Subscription { connection })
    }

    /// The next message. `None`: none came within `timeout`.
    ///
    /// # Errors
    /// The connection is lost, or the server has closed it because too much waited to be read: subscribe again.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Message>, Error> {
        let Some(reply) = self.connection.next_reply(timeout)? else { return Ok(None) };
        message(reply).map(Some).ok_or_else(unexpected)
    }
}

fn message(reply: Reply) -> Option<Message> {
    let (Reply::Array(parts) | Reply::Push(parts)) = reply else { return None };
    let mut parts = parts.into_iter().map(Reply::into_bytes);
    let mut next = || parts.next().flatten();
    let kind = next()?;
    let pattern = if kind == b"pmessage" { Some(next()?) } else { None };
    Some(Message { pattern, channel: next()?, payload: next()? })
}

/// What a [`PrefixWatch`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent {
    /// The watch begins, or begins again, behind this revision: what is read from now on is at least as new.
    Begun {
        /// The revision.
        revision: u64,
    },
    /// A key with the prefix has changed.
    Changed {
        /// Of the change.
        revision: u64,
        /// In Redis's words: `set`, `del`, `expired` and so on.
        event: String,
        /// The key; empty for `flushdb` and `swapdb`, which change all of them.
        key: Vec<u8>,
    },
    /// The server no longer knows what happened since the last change: read the keys again. The watch goes on, and
    /// [`Begun`](WatchEvent::Begun) follows.
    Compacted,
}

/// A watch of all keys with a prefix. It connects again by itself where its connection is lost, and goes on behind the last change
/// that it has told.
#[derive(Debug)]
pub struct PrefixWatch {
    options: Builder,
    prefix: Vec<u8>,
    connection: Option<Connection>,
    /// What has been reported.
    seen: Option<u64>,
    /// How long to wait before connecting.
    pause: Duration,
}

impl PrefixWatch {
    pub(super) fn new(options: &Builder, prefix: &[u8], from: Option<u64>) -> PrefixWatch {
        PrefixWatch {
            options: options.clone(),
            prefix: prefix.to_vec(),
            connection: None,
            seen: from,
            pause: Duration::ZERO,
        }
    }

    /// The next event. `None`: none came within `timeout`, or the server could not be reached, which is tried again at the
    /// next call.
    ///
    /// # Errors
    /// What connecting again does not mend: a wrong password, a server that knows no watches.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<WatchEvent>, Error> {
        let Some(connection) = &mut self.connection else { return self.begin(timeout) };
        match connection.next_reply(timeout) {
            Ok(None) => Ok(None),
            Ok(Some(reply)) => {
                let event = changed(reply).ok_or_else(unexpected)?;
                match &event {
                    WatchEvent::Changed { revision, .. } => self.seen = Some(*revision),
                    _ => self.forget(),
                }
                Ok(Some(event))
            }
            Err(error) if is_passing(&error) => {
                self.connection = None;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn forget(&mut self) {
        (self.connection, self.seen) = (None, None);
    }

    fn begin(&mut self, timeout: Duration) -> Result<Option<WatchEvent>, Error> {
        std::thread::sleep(self.pause.min(timeout));
        match self.try_begin() {
            Ok(revision) => {
                self.pause = Duration::ZERO;
                let is_resumed = self.seen.is_some();
                self.seen = Some(revision);
                Ok((!is_resumed).then_some(WatchEvent::Begun { revision }))
            }
            Err(Error::Server { code, .. }) if code == "COMPACTED" => {
                self.forget();
                Ok(Some(WatchEvent::Compacted))
            }
            Err(error) if is_passing(&error) => {
                self.pause = (self.pause * 2).clamp(RECONNECT_MIN, RECONNECT_MAX);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn try_begin(&mut self) -> Result<u64, Error> {
        let mut connection = self.options.open()?;
        let from = self.seen.map(|revision| revision.to_string());
        let mut arguments: Vec<&[u8]> = vec![b"WATCHPREFIX", &self.prefix];
        if let Some(from) = &from {
            arguments.extend([b"FROM", from.as_bytes()]);
        }
        connection.send_command(&arguments, self.options.timeout())?;
        let reply = connection.next_reply(self.options.timeout())?;
        let revision = match reply {
            None => return Err(Error::Timeout { after: self.options.timeout() }),
            Some(Reply::Error { code, text }) => return Err(Error::from_server(&code, &text)),
            Some(Reply::Array(parts) | Reply::Push(parts)) => match parts.last() {
                Some(Reply::Integer(revision)) => u64::try_from(*revision).map_err(|_| unexpected())?,
                _ => return Err(unexpected()),
            },
            Some(_) => return Err(unexpected()),
        };
        self.connection = Some(connection);
        Ok(revision)
    }
}

/// Whether another connection may mend it.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::Connect { .. }
            | Error::Timeout { .. }
            | Error::Lost(_)
            | Error::NotServed { .. }
            | Error::TooManyClients
    )
}

fn changed(reply: Reply) -> Option<WatchEvent> {
    let (Reply::Array(parts) | Reply::Push(parts)) = reply else { return None };
    match <[Reply; 5]>::try_from(parts) {
        Ok([word, _, Reply::Integer(revision), event, key]) if word.clone().into_bytes()? == b"change" => {
            Some(WatchEvent::Changed {
                revision: u64::try_from(revision).ok()?,
                event: String::from_utf8(event.into_bytes()?).ok()?,
                key: key.into_bytes()?,
            })
        }
        Ok(_) => None,
        Err(parts) => {
            let word = parts.into_iter().next()?.into_bytes()?;
            (word == b"compacted").then_some(WatchEvent::Compacted)
        }
    }
}

#[cfg(test)]
mod tests;
