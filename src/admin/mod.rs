//! HTTP for probes and metrics, without its sockets: the bytes of a request and the server come in, the bytes of the
//! reply come out. `net/admin.rs` moves them.
//!
//! ```text
//!  request ─▶ http (httparse) ─▶ /livez /readyz ───────────────────────────▶ Reply { head, body } ─▶ socket
//!                            └─▶ access (token, Host) ─▶ /metrics /history / ─▶┘
//! ```
//!
//! `/` is `page.html`, a page of one file that asks for `/history` each second and draws it; it asks no other server for
//! anything, and its content security policy lets it run only the script and style whose hashes are in it.
//!
//! One request a connection. A reply is written into memory that was reserved at start; one that outgrows it becomes
//! a 500 and is not sent in part.

mod access;
mod history;
mod http;
mod metrics;
#[cfg(test)]
mod tests;

pub use access::{Access, Denied, TOKEN_BYTES_MAX, TOKEN_BYTES_MIN, Token, TokenError};
pub use history::History;
pub use http::{REQUEST_BYTES_MAX, REQUEST_HEADERS_MAX};

use crate::engine::Engine;
use crate::journal::status::LastError;
use crate::server::Server;
use crate::time::Now;
use http::{Content, Status};
use std::fmt;

/// Bytes of a reply's body, at most: the metrics of all verbs take less than two thirds of it.
pub const BODY_BYTES_MAX: usize = 95 * 1024;
/// Bytes of a reply's head, at most.
const HEAD_BYTES_MAX: usize = 1024;

/// Text of a fixed capacity: what does not fit is an error, and nothing is allocated.
pub struct Text(String);

impl Text {
    fn with_capacity(bytes: usize) -> Text {
        Text(String::with_capacity(bytes))
    }

    /// Bytes that still fit.
    fn room(&self) -> usize {
        self.0.capacity() - self.0.len()
    }

    /// What was written.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() > self.room() {
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

    /// Drops what was written, for the next request.
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
    /// The data directory is loaded: so many hundredths of it are.
    Loading {
        percent: u64,
    },
    /// Writes are refused, because the data directory cannot be written to.
    DiskFails(LastError),
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
            Readiness::Loading { percent } => {
                write!(formatter, "not ready: loading the data directory ({percent} %)")
            }
            Readiness::DiskFails(error) => {
                write!(formatter, "not ready: writes are refused: {error}")
            }
            Readiness::UdpFails { error, times } => {
                write!(formatter, "not ready: the UDP socket fails: {error} ({times} times in a row)")
            }
        }
    }
}

/// How near the store is to refusing writes, or to evicting keys.
pub(super) struct Fullness {
    /// How full the store is, as a part of the limit: writes are refused, or keys evicted, when it is reached.
    pub used_bytes: u64,
    /// The store's share of the memory limit.
    pub limit_bytes: u64,
    /// Bytes that are neither used nor free: cleaning gives them back before a write is refused.
    pub reclaimable_bytes: u64,
}

impl Fullness {
    fn of(engine: &Engine) -> Fullness {
        let memory = engine.store.memory();
        let used_bytes = memory.used();
        let reclaimable_bytes = memory.dead + memory.tail + memory.large_free;
        Fullness {
            used_bytes,
            limit_bytes: memory.limit,
            reclaimable_bytes: reclaimable_bytes.min(memory.limit - used_bytes),
        }
    }
}

/// What replies are made from.
pub struct Context<'a> {
    pub server: &'a mut Server,
    pub history: &'a History,
    pub access: &'a Access,
    pub readiness: Readiness,
    pub now: Now,
}

/// What came of the bytes received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The head of the request is not whole.
    NeedMore,
    /// The reply is whole; nothing more is read.
    Replied,
    /// The same, and the reply says why the request may not be served.
    Denied(Denied),
}

/// Answers a request, once its head is whole. `reply` is to be empty.
pub fn respond(request: &[u8], context: &mut Context<'_>, reply: &mut Reply) -> Step {
    let mut headers = [httparse::EMPTY_HEADER; REQUEST_HEADERS_MAX];
    match http::parse(request, &mut headers) {
        Ok(None) => Step::NeedMore,
        Ok(Some(parsed)) => match check(&parsed, context.access) {
            Ok(()) => {
                route(&parsed, context, reply);
                Step::Replied
            }
            Err(denied) => {
                deny(denied, reply, parsed.with_body);
                Step::Denied(denied)
            }
        },
        Err(status) => {
            http::plain(reply, status, format_args!("{}", status.line()), true);
            Step::Replied
        }
    }
}

/// Probes are open: orchestrators have no token, and probes say next to nothing.
fn check(request: &http::Request<'_>, access: &Access) -> Result<(), Denied> {
    if matches!(request.path, "/livez" | "/readyz") { Ok(()) } else { access.check(request.headers) }
}

fn route(request: &http::Request<'_>, context: &mut Context<'_>, reply: &mut Reply) {
    let with_body = request.with_body;
    let readiness = context.readiness;
    let is_ready = readiness == Readiness::Ready;
    match request.path {
        "/livez" => http::plain(reply, Status::Ok, format_args!("alive"), with_body),
        "/readyz" => {
            let status = if is_ready { Status::Ok } else { Status::Unavailable };
            http::plain(reply, status, format_args!("{readiness}"), with_body);
        }
        "/metrics" => {
            context.server.refresh(context.now);
            let written = metrics::write(&mut reply.body, context.server, readiness);
            http::finish(reply, written, Content::Metrics, with_body);
        }
        "/history" => {
            let after =
                request.query.and_then(|query| query.strip_prefix("after=")?.parse().ok()).unwrap_or(0);
            let Context { history, server, now, .. } = context;
            let written = history.write(&mut reply.body, after, is_ready, server, *now);
            http::finish(reply, written, Content::Json, with_body);
        }
        "/" => http::page(reply, with_body),
        _ => http::plain(reply, Status::NotFound, format_args!("{ENDPOINTS}"), with_body),
    }
}

fn deny(denied: Denied, reply: &mut Reply, with_body: bool) {
    let (status, text) = match denied {
        Denied::NoToken => (Status::Unauthorized, NO_TOKEN),
        Denied::WrongToken => (Status::Unauthorized, "this is not the admin token of this server"),
        Denied::ForeignHost => (Status::Forbidden, FOREIGN_HOST),
    };
    http::plain(reply, status, format_args!("{text}"), with_body);
}

/// What a request without a token gets.
const NO_TOKEN: &str = "\
this needs the admin token: send 'Authorization: Bearer TOKEN', or the token as the password of any user
(curl --user :TOKEN). /livez and /readyz need none.";

/// What a request gets whose Host header is a name.
const FOREIGN_HOST: &str = "\
the Host header is neither an address nor localhost, so this may be another site's page in a browser. Ask for
http://localhost and the port, or set PANNIER_ADMIN_TOKEN: with a token every name is right.";

/// What an unknown path gets.
const ENDPOINTS: &str = "\
not here; there are
/         a page that draws the main curves
/livez    200 while the process serves
/readyz   200 while clients are served, 503 with the reason while they are not
/metrics  what is counted, for Prometheus
/history  the last five minutes as JSON, a sample a second";
