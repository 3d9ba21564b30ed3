//! HTTP for probes and metrics, without its sockets: the bytes of a request and the server come in, the bytes of the
//! reply come out. `net/admin.rs` moves them.
//!
//! ```text
//!  request ─▶ http (httparse) ─▶ path ─▶ /livez /readyz /metrics / ─▶ Reply { head, body } ─▶ socket
//! ```
//!
//! `/` is `page.html`, a page of one file that reads `/metrics` each second and draws it; it asks nobody else for
//! anything, and its content security policy lets it run only the script and style whose hashes stand there.
//!
//! One request a connection; a reply is written into memory that was reserved at start, and one that would outgrow it
//! is not sent by halves: it becomes a 500.

mod http;
mod metrics;
#[cfg(test)]
mod tests;

pub use http::{REQUEST_BYTES_MAX, REQUEST_HEADERS_MAX};

use crate::server::Server;
use crate::time::Now;
use http::{Content, Status};
use std::fmt;

/// Bytes of a reply's body, at most: the metrics of all verbs take less than two thirds of it.
pub const BODY_BYTES_MAX: usize = 63 * 1024;
/// Bytes of a reply's head, at most.
const HEAD_BYTES_MAX: usize = 1024;

/// Text of a fixed capacity: what does not fit is an error, and nothing is allocated.
pub struct Text(String);

impl Text {
    fn with_capacity(bytes: usize) -> Text {
        Text(String::with_capacity(bytes))
    }

    /// What was written.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() > self.0.capacity() - self.0.len() {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// A reply, whole: its head and then its body are to be sent.
pub struct Reply {
    pub head: Text,
    pub body: Text,
}

impl Reply {
    /// Bytes that a reply reserves.
    pub const MEMORY_BYTES: usize = BODY_BYTES_MAX + HEAD_BYTES_MAX;

    /// An empty reply; the only place that allocates.
    pub fn new() -> Reply {
        Reply { head: Text::with_capacity(HEAD_BYTES_MAX), body: Text::with_capacity(BODY_BYTES_MAX) }
    }

    /// Forgets what was written, for the next request.
    pub fn clear(&mut self) {
        self.head.0.clear();
        self.body.0.clear();
    }
}

impl Default for Reply {
    fn default() -> Reply {
        Reply::new()
    }
}

/// Whether clients are served as they should be. Before its sockets are bound a server answers no probe at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// The server stops: no new clients, and replies are flushed to so many old ones.
    Draining {
        connections: usize,
    },
    /// The datagram socket fails, so many times in a row; what the system says of it.
    UdpFails {
        error: &'static str,
        times: u64,
    },
}

impl fmt::Display for Readiness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Readiness::Ready => formatter.write_str("ready"),
            Readiness::Draining { connections } => {
                write!(formatter, "not ready: the server stops; connections to flush: {connections}")
            }
            Readiness::UdpFails { error, times } => {
                write!(formatter, "not ready: the UDP socket fails: {error} ({times} times in a row)")
            }
        }
    }
}

/// What came of a look at the bytes received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The head of the request is not whole.
    NeedMore,
    /// The reply is whole; nothing more is read.
    Replied,
}

/// Answers a request, once its head is whole. `reply` is to be empty.
pub fn respond(
    request: &[u8],
    server: &mut Server,
    readiness: Readiness,
    now: Now,
    reply: &mut Reply,
) -> Step {
    let (with_body, answer) = match http::parse(request) {
        Ok(None) => return Step::NeedMore,
        Ok(Some(parsed)) => (parsed.with_body, parsed.path),
        Err(status) => {
            http::plain(reply, status, format_args!("{}", status.line()), true);
            return Step::Replied;
        }
    };
    match answer {
        "/livez" => http::plain(reply, Status::Ok, format_args!("alive"), with_body),
        "/readyz" => {
            let is_ready = readiness == Readiness::Ready;
            let status = if is_ready { Status::Ok } else { Status::Unavailable };
            http::plain(reply, status, format_args!("{readiness}"), with_body);
        }
        "/metrics" => {
            server.refresh(now);
            let written = metrics::write(&mut reply.body, server, readiness);
            http::finish(reply, written, Content::Metrics, with_body);
        }
        "/" => http::page(reply, with_body),
        _ => http::plain(reply, Status::NotFound, format_args!("{ENDPOINTS}"), with_body),
    }
    Step::Replied
}

/// What an unknown path is told.
const ENDPOINTS: &str = "\
not here; there are
/         a page that draws the main curves
/livez    200 while the process serves
/readyz   200 while clients are served, 503 with the reason while they are not
/metrics  what is counted, for Prometheus";
