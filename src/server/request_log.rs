//! The line that `--log-requests` writes for each request and its reply.

use crate::connection::Connection;
use crate::wire::arguments::{Arg, Args};
use std::fmt;

/// Bytes of a verb or key that are shown; the rest is cut.
const SHOWN_BYTES: usize = 64;

/// Writes the line: transport, peer, verb, key, sizes in bytes, microseconds. Never a value.
pub(super) fn line(connection: &Connection, args: &Args<'_>, request_len: usize, before: u64, micros: u64) {
    let reply_len = connection.output.pending_len().saturating_sub(before);
    log::info!(
        target: "request",
        "tcp {} {} {} request_bytes={}{} reply_bytes={} us={}",
        connection.peer(),
        Escaped(args.get(0)),
        Escaped(args.get(1)),
        request_len,
        if connection.has_large { "+large" } else { "" },
        reply_len,
        micros,
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
