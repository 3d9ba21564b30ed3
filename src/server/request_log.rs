//! The line that `--log-requests` writes for each request and its reply.

use crate::command::shown::{REDACTED, SHOWN_ARGS_MAX, ShownArgs};
use crate::connection::Connection;
use crate::wire::arguments::Args;
use crate::wire::frame::{self, Direction, Op, Status, Step};
use core::net::SocketAddr;
use std::fmt;

/// Bytes of a verb or key that are shown; the rest is cut.
const SHOWN_BYTES: usize = 64;

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
    log::info!(
        target: "request",
        "tcp {} {} {} request_bytes={}{} reply_bytes={} outcome={} us={}",
        connection.peer(),
        Escaped(Some(verb.map_or(REDACTED, |verb| verb.name.as_bytes()))),
        Escaped(key),
        line.request_len,
        if connection.request.has_large { "+large" } else { "" },
        line.reply_len,
        line.outcome,
        line.micros,
    );
}

/// Writes the line of a frame and of the reply to it, both whole.
pub(super) fn write_frame(transport: &str, from: SocketAddr, exchange: (&[u8], &[u8]), micros: u64) {
    let (request, reply) = exchange;
    let Ok(Step::Ready { frame, .. }) = frame::decode_prefix(request, Direction::Request, request.len())
    else {
        return;
    };
    log::info!(
        target: "request",
        "{transport} {from} {} {} request_bytes={} reply_bytes={} outcome={} us={micros}",
        frame.head.op().map_or("?", Op::name),
        Escaped(Some(frame.key)),
        request.len(),
        reply.len(),
        reply.get(frame::STATUS_OFFSET).and_then(|&byte| Status::from_byte(byte)).map_or("silence", Status::name),
    );
}

/// An argument as printable ASCII, so that a key can neither break a log line nor a terminal.
struct Escaped<'a>(Option<&'a [u8]>);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => formatter.write_str("-"),
            Some(REDACTED) => formatter.write_str("(redacted)"),
            Some(bytes) => {
                let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
                write!(formatter, "\"{}\"", shown.escape_ascii())?;
                if shown.len() < bytes.len() { formatter.write_str("...") } else { Ok(()) }
            }
        }
    }
}
