//! What can go wrong in a call, told apart by what the caller may conclude from it.

use std::{error, fmt, io, time::Duration};

use super::reply::Malformed;

/// Why a call has no answer.
///
/// The variants answer one question: may the request have run? [`OutcomeUnknown`](Error::OutcomeUnknown) says
/// "perhaps"; each of the others says "no", or stands for a call that changes nothing and may be repeated.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No connection could be made, within the connect timeout; nothing was sent.
    Connect {
        /// The address as it was given.
        server: String,
        /// What the operating system said about the last address tried.
        source: io::Error,
    },
    /// The deadline passed. Nothing was changed: the call reads, or its request never left whole.
    Timeout {
        /// The time that the call was given.
        after: Duration,
    },
    /// The server answered by datagrams for as long as the call had, but never served it. Nothing was changed.
    NotServed {
        /// The last answer, such as `BUSY`: the server's table of clients is full.
        code: &'static str,
        /// The time that it was tried for.
        after: Duration,
    },
    /// The server does not know the client's session any longer: it was restarted, or the client was silent for too long. Only
    /// within [`OutcomeUnknown`](Error::OutcomeUnknown): what changes nothing is asked for again in a new session.
    SessionLost {
        /// The answer that says so, such as `WRONG_EPOCH`.
        code: &'static str,
        /// The time from the call's beginning to that answer.
        after: Duration,
    },
    /// The connection broke. Nothing was changed: the call reads, or its request never left whole.
    Lost(io::Error),
    /// A request that may change something was sent, and its answer never came: it ran, or it did not.
    OutcomeUnknown(Box<Error>),
    /// The server answered with an error.
    Server {
        /// The first word of the answer where it is a code, such as `ERR` or `OOM`; else `ERR`.
        code: String,
        /// The rest of it.
        text: String,
    },
    /// The server wants a password, another one, or none.
    Auth(String),
    /// The server has as many clients as it takes. Nothing was run.
    TooManyClients,
    /// The answer is not one that this call can have.
    Protocol(Malformed),
}

impl Error {
    /// An error answer of the server: `line` is what follows the `-`.
    pub(super) fn from_server(code: &str, text: &str) -> Error {
        match (code, text) {
            ("NOAUTH" | "WRONGPASS", _) => Error::Auth(text.to_owned()),
            ("ERR", "max number of clients reached") => Error::TooManyClients,
            _ => Error::Server { code: code.to_owned(), text: text.to_owned() },
        }
    }

    /// True where the request is certain not to have changed anything, so that it may be sent again.
    pub fn is_safe_to_retry(&self) -> bool {
        matches!(
            self,
            Error::Connect { .. }
                | Error::Timeout { .. }
                | Error::NotServed { .. }
                | Error::Lost(_)
                | Error::TooManyClients
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Connect { server, source } => write!(f, "cannot connect to {server}: {source}"),
            Error::Timeout { after } => write!(f, "no answer within {after:?}"),
            Error::NotServed { code: "BUSY", after } => {
                write!(f, "the server's table of clients was full for {after:?} (BUSY)")
            }
            Error::NotServed { code, after } => {
                write!(f, "not served within {after:?}: the server answered {code} again and again")
            }
            Error::SessionLost { code, after } => {
                write!(f, "the server lost the session and said so after {after:?} ({code})")
            }
            Error::Lost(source) => write!(f, "the connection broke: {source}"),
            Error::OutcomeUnknown(cause) => write!(f, "outcome unknown, the request may have run: {cause}"),
            Error::Server { code, text } => write!(f, "the server answered: {code} {text}"),
            Error::Auth(text) => write!(f, "not authenticated: {text}"),
            Error::TooManyClients => f.write_str("max number of clients reached"),
            Error::Protocol(reason) => write!(f, "the answer is not understood: {reason}"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Error::Connect { source, .. } | Error::Lost(source) => Some(source),
            Error::OutcomeUnknown(cause) => Some(&**cause),
            Error::Protocol(reason) => Some(reason),
            Error::Timeout { .. }
            | Error::NotServed { .. }
            | Error::SessionLost { .. }
            | Error::Server { .. }
            | Error::Auth(_)
            | Error::TooManyClients => None,
        }
    }
}
