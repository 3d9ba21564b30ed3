//! The line that `--log-requests` writes for each request and its reply.

use super::Server;
use crate::command::shown::{REDACTED, SHOWN_ARGS_MAX, ShownArgs};
use crate::connection::{Connection, ConnectionId};
use crate::engine::Flow;
use crate::wire::arguments::Args;
use crate::wire::frame::{self, Direction, Op, Status, Step};
use core::net::SocketAddr;
use std::fmt;

/// Bytes of a verb or key that are shown; the rest is cut.
const SHOWN_BYTES: usize = 64;

/// How things stood before a command, for its log line.
pub(super) struct Before {
    pub output_len: u64,
    pub error_count: u64,
    pub started_us: u64,
}

/// What a line tells beside who asked for what.
pub(super) struct Line {
    /// Bytes of the request in the ring; a value that was streamed into the store comes on top.
    pub request_len: usize,
    /// Bytes of the reply so far.
    pub reply_len: u64,
    /// `ok`, `error`, or `unfinished` for a piece of a long reply.
    pub outcome: &'static str,
    /// Microseconds from the decoded request to the written reply.
    pub micros: u64,
}

impl Server {
    /// One line for a request and its reply, where the server was started with `--log-requests`.
    #[cold]
    pub(super) fn log_request(&self, id: ConnectionId, len: usize, before: &Before, flow: &Flow) {
        let Some(connection) = self.get(id) else { return };
        let bytes = connection.input.readable(&self.input);
        let args = self.args.args(&bytes[..len.min(bytes.len())]);
        let line = Line {
            request_len: len,
            reply_len: connection.output.pending_len().saturating_sub(before.output_len),
            outcome: match flow {
                _ if self.engine.metrics.counters.error_replies > before.error_count => "error",
                Flow::Yield(_) => "unfinished",
                Flow::Done | Flow::Close => "ok",
            },
            micros: (self.resources.clock_us)().saturating_sub(before.started_us),
        };
        write(connection, &args, &line);
    }
}

/// Writes the line: transport, peer, verb, key, sizes, outcome, time. Never a value.
pub(super) fn write(connection: &Connection, args: &Args<'_>, line: &Line) {
    let verb = crate::command::resolve(args);
    let shown = ShownArgs::new(verb, args);
    let key = verb.and_then(|verb| verb.key_positions(args).next()).filter(|at| *at < SHOWN_ARGS_MAX);
    let word_count = verb.and_then(|verb| verb.container()).map_or(1, |_| 2);
    let key = match key {
        Some(at) => Some(shown.words()[at]),
        // Whatever the arguments are: they are no keys.
        None => (args.len() > word_count).then_some(REDACTED),
    };
    let (peer, has_large) = (connection.peer(), connection.request.has_large);
    let (verb, key) = (Escaped(Some(verb.map_or(REDACTED, |verb| verb.name.as_bytes()))), Escaped(key));
    let Line { request_len, reply_len, outcome, micros } = *line;
    log::info!(
        target: "request",
        transport = "tcp", peer:%, verb:%, key:%, request_bytes = request_len, has_large, reply_bytes = reply_len, outcome,
        us = micros;
        "tcp {peer} {verb:#} {key:#} request_bytes={request_len}{} reply_bytes={reply_len} outcome={outcome} us={micros}",
        if has_large { "+large" } else { "" },
    );
}

/// Writes the line of a frame and of the reply to it, both whole.
pub(super) fn write_frame(transport: &str, from: SocketAddr, exchange: (&[u8], &[u8]), micros: u64) {
    let (request, reply) = exchange;
    let Ok(Step::Ready { frame, .. }) = frame::decode_prefix(request, Direction::Request, request.len())
    else {
        return;
    };
    let (verb, key) = (frame.head.op().map_or("?", Op::name), Escaped(Some(frame.key)));
    let (request_bytes, reply_bytes) = (request.len(), reply.len());
    let status = reply.get(frame::STATUS_OFFSET).and_then(|&byte| Status::from_byte(byte));
    let outcome = status.map_or("silence", Status::name);
    log::info!(
        target: "request",
        transport, peer:% = from, verb, key:%, request_bytes, reply_bytes, outcome, us = micros;
        "{transport} {from} {verb} {key:#} request_bytes={request_bytes} reply_bytes={reply_bytes} outcome={outcome} \
         us={micros}",
    );
}

/// An argument as printable ASCII, so that a key can neither break a log line nor a terminal; `{:#}` puts it in quotes.
struct Escaped<'a>(Option<&'a [u8]>);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => formatter.write_str("-"),
            Some(REDACTED) => formatter.write_str("(redacted)"),
            Some(bytes) => {
                let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
                let quote = if formatter.alternate() { "\"" } else { "" };
                write!(formatter, "{quote}{}{quote}", shown.escape_ascii())?;
                if shown.len() < bytes.len() { formatter.write_str("...") } else { Ok(()) }
            }
        }
    }
}
