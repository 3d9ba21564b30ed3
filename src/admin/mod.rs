//! HTTP for probes and metrics, without its sockets: the bytes of a request and the server come in, the bytes of the
//! reply come out. `net/admin.rs` moves them.
//!
//! ```text
//!  request ─▶ http (httparse) ─▶ path ─▶ /livez /readyz /metrics / ─▶ Reply { head, body } ─▶ socket
//! ```
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

/// Bytes of a reply's body, at most: the metrics of all verbs take less than half of it.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a reply's head, at most.
const HEAD_BYTES_MAX: usize = 512;

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

/// What the loop over the sockets knows and the server does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopState {
    /// Whether new clients are taken on: false while stopping.
    pub ready: bool,
    /// Turns so far.
    pub turns: u64,
    /// Microseconds spent in them, waiting for events left out.
    pub busy_us: u64,
    /// The longest turn of the last half to whole minute, microseconds.
    pub slowest_us: u64,
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
pub fn respond(request: &[u8], server: &mut Server, state: &LoopState, now: Now, reply: &mut Reply) -> Step {
    let (with_body, answer) = match http::parse(request) {
        Ok(None) => return Step::NeedMore,
        Ok(Some(parsed)) => (parsed.with_body, parsed.path),
        Err(status) => {
            http::plain(reply, status, "", true);
            return Step::Replied;
        }
    };
    match answer {
        "/livez" => http::plain(reply, Status::Ok, "alive", with_body),
        "/readyz" if state.ready => http::plain(reply, Status::Ok, "ready", with_body),
        "/readyz" => http::plain(reply, Status::Unavailable, "stopping", with_body),
        "/metrics" => {
            server.refresh(now);
            let written = metrics::write(&mut reply.body, server, state, now);
            http::finish(reply, written, Content::Metrics, with_body);
        }
        "/" => http::plain(reply, Status::Ok, ENDPOINTS, with_body),
        _ => http::plain(reply, Status::NotFound, ENDPOINTS, with_body),
    }
    Step::Replied
}

/// What `/` shows.
const ENDPOINTS: &str = "\
/livez    200 while the process serves
/readyz   200 while clients are taken on, 503 while the server stops
/metrics  what is counted, for Prometheus";
