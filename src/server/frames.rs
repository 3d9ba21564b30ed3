//! Pannier's own frames: datagrams, and connections whose first byte was a frame's. Both go to the same sessions, so
//! that a write which was sent over UDP and is repeated over TCP still runs at most once.

use super::run::{PEER_TEXT_BYTES, text_of};
use super::{Progress, Resources, Server};
use crate::connection::{CloseReason, ConnectionId, Phase};
use crate::engine::meter::COMMAND_UNITS;
use crate::engine::{Engine, Timing};
use crate::frames::{Handled, Incoming, cookie::Source};
use crate::limits::{DATAGRAM_BYTES_MAX, STREAM_FRAME_BYTES_MAX};
use crate::time::Now;
use crate::wire::encode::Out;
use crate::wire::frame::{self, Direction, Op, Reject, Status, Step};
use core::net::SocketAddr;

/// Of so many frames one is timed, as long as the log and the slow log do not want all of them: see `run.rs`.
const TIMED_EVERY: u64 = 16;
/// A slow log of what takes less than this, in microseconds, wants each frame timed.
const TIMED_BY_ITSELF_US: i64 = 1_000;

/// Since when a frame is served, in microseconds; `None`: it is not timed.
#[derive(Clone, Copy)]
struct Started(Option<u64>);

/// One frame and its reply, as bytes.
#[derive(Clone, Copy)]
struct Exchange<'a> {
    transport: &'static str,
    from: SocketAddr,
    request: &'a [u8],
    reply: &'a [u8],
}

impl Server {
    /// One datagram in, at most one out: the length of the reply, which is to go where the datagram came from.
    pub fn handle_datagram(
        &mut self,
        from: SocketAddr,
        bytes: &[u8],
        now: Now,
        reply: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<usize> {
        let incoming = Incoming { from, bytes, now };
        let started = self.start_frame();
        self.make_session_room(now);
        let handled = self.frames.handle(&mut self.engine, &incoming, reply);
        if let Some(holds) = &self.holds {
            self.datagram_seen =
                self.frames.last_answer().filter(|status| status.tells_of_a_key()).map(|_| {
                    let (op, key) = request_of(bytes);
                    holds.seen_by_frame(&self.engine.store, op, key)
                });
        }
        let reply_len = if let Handled::Reply(len) = handled { len } else { 0 };
        let exchange = Exchange { transport: "udp", from, request: bytes, reply: &reply[..reply_len] };
        self.engine.note_frame(&self.resources, self.frames.last_ran(), started, exchange, now);
        match handled {
            Handled::Reply(len) => Some(len),
            Handled::Silent => None,
            Handled::Rejected(reason) => {
                log_rejected("udp", from, reason, bytes.len());
                None
            }
        }
    }

    fn start_frame(&self) -> Started {
        let threshold = self.engine.runtime.slowlog_slower_than_us;
        let timed = self.engine.options().log_requests
            || (0..TIMED_BY_ITSELF_US).contains(&threshold)
            || self.frames.counters().received.is_multiple_of(TIMED_EVERY);
        Started(timed.then(|| (self.resources.clock_us)()))
    }

    /// Serves the frame at the front of a framed connection's input, unless a pause holds it: then it waits there.
    pub(super) fn step_framed(&mut self, id: ConnectionId, now: Now) -> Progress {
        let started = self.start_frame();
        self.make_session_room(now);
        let before = self.connections[id.index as usize].output.pending_len();
        let mut seen = None;
        let Server { engine, connections, input, output, frames, frame_reply, resources, holds, .. } = self;
        let connection = &mut connections[id.index as usize];
        connection.input.straighten(input);
        let bytes = connection.input.readable(input);
        let waiting = bytes.len();
        let (handled, consumed) =
            match frame::decode_prefix(bytes, Direction::Request, STREAM_FRAME_BYTES_MAX) {
                Ok(Step::NeedMore) => return self.wait_for_input(id, now),
                Ok(Step::Ready { frame, consumed }) => {
                    connection.request_is_whole();
                    if frame.head.op().is_some_and(|op| engine.is_frame_held(op, now.monotonic)) {
                        engine.note_held();
                        connection.set_phase(Phase::Paused);
                        return Progress::Waiting;
                    }
                    let from = connection.peer;
                    let source = Source::Stream { ip: from.ip(), connection: number_of(id) };
                    let handled = frames.handle_stream_frame(engine, &frame, (source, now), frame_reply);
                    let reply_len = if let Handled::Reply(len) = handled { len } else { 0 };
                    let (request, reply) = (&bytes[..consumed], &frame_reply[..reply_len]);
                    let exchange = Exchange { transport: "tcp", from, request, reply };
                    engine.note_frame(resources, frames.last_ran(), started, exchange, now);
                    let store = &engine.store;
                    seen = holds
                        .as_ref()
                        .filter(|_| frames.last_answer().is_some_and(Status::tells_of_a_key))
                        .map(|holds| holds.seen_by_frame(store, frame.head.op(), frame.key));
                    (handled, consumed)
                }
                Err(reason) => {
                    frames.count_stream_damage(reason);
                    (Handled::Rejected(reason), 0)
                }
            };
        let mut out = Out::new(&mut connection.output, output, connection.session.protocol);
        engine.meter.charge(COMMAND_UNITS);
        engine.meter.charge_bytes(consumed);
        match handled {
            Handled::Reply(len) => {
                out.raw(&frame_reply[..len]);
                connection.input.consume(consumed);
            }
            Handled::Silent => connection.input.consume(consumed),
            Handled::Rejected(reason) => {
                // A damaged stream cannot be followed any further: its client hears so once, and it is closed.
                let len = frames.reject_stream(reason, frame_reply);
                out.raw(&frame_reply[..len]);
                connection.close(CloseReason::ProtocolError);
                let peer = connection.peer;
                log_rejected("tcp", peer, reason, waiting);
            }
        }
        self.hold_frame(id, seen, before);
        Progress::Made
    }
}

impl Engine {
    /// Records the time of a frame that ran, and logs it where the server was started with `--log-requests`.
    fn note_frame(
        &mut self,
        resources: &Resources,
        ran: Option<Op>,
        started: Started,
        exchange: Exchange<'_>,
        now: Now,
    ) {
        let Some(started_us) = started.0 else { return };
        let micros = (resources.clock_us)().saturating_sub(started_us);
        let Exchange { transport, from, request, reply } = exchange;
        if let Some(op) = ran {
            let mut peer = [0; PEER_TEXT_BYTES];
            let is_slow = self.is_slow_time(micros);
            let peer = if is_slow { text_of(from, &mut peer) } else { b"" };
            let key = if is_slow { key_of(request) } else { b"" };
            self.record_frame(op, key, Timing { micros, peer, now });
        }
        if self.options().log_requests {
            super::request_log::write_frame(transport, from, (request, reply), micros);
        }
    }
}

/// A number that no other connection has within the life of a cookie: of generations there are 2^32.
fn number_of(id: ConnectionId) -> u64 {
    u64::from(id.index) << 32 | u64::from(id.generation)
}

/// The key of a request that is known to be whole.
fn key_of(request: &[u8]) -> &[u8] {
    request_of(request).1
}

/// The operation and the key of a request, if it is whole.
fn request_of(request: &[u8]) -> (Option<Op>, &[u8]) {
    match frame::decode_prefix(request, Direction::Request, request.len()) {
        Ok(Step::Ready { frame, .. }) => (frame.head.op(), frame.key),
        _ => (None, b""),
    }
}

/// A line for a frame that was dropped. A flood of them does not become one of lines: the log keeps to a few of a kind.
fn log_rejected(transport: &str, from: SocketAddr, reason: Reject, len: usize) {
    let reason = reason.name();
    log::warn!(
        peer:% = from, transport, reason, request_bytes = len;
        "rejected frame: {reason} transport={transport} from={from} bytes={len}"
    );
}
