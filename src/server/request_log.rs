//! The line that `--log-requests` writes for each request and its reply.

use crate::connection::Connection;
use crate::wire::arguments::{Arg, Args};
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
    log::info!(
        target: "request",
        "tcp {} {} {} request_bytes={}{} reply_bytes={} outcome={} us={}",
        connection.peer(),
        Escaped(args.get(0)),
        Escaped(args.get(1)),
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
        Escaped(Some(Arg::Bytes(frame.key))),
        request.len(),
        reply.len(),
        reply.get(frame::STATUS_OFFSET).and_then(|&byte| Status::from_byte(byte)).map_or("silence", Status::name),
    );
}

/// An argument as printable ASCII, so that a key can neither break a log line nor a terminal.
struct Escaped<'a>(Option<Arg<'a>>);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => formatter.write_str("-"),
            Some(Arg::Large(_) | Arg::Refused) => formatter.write_str("(large)"),
            Some(Arg::Bytes(bytes)) => {
                let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
                write!(formatter, "\"{}\"", shown.escape_ascii())?;
                if shown.len() < bytes.len() { formatter.write_str("...") } else { Ok(()) }
            }
        }
    }
}
