//! Pannier's own frames: datagrams, and connections whose first byte was a frame's. Both go to the same sessions, so
//! that a write which was sent over UDP and is repeated over TCP still runs at most once.

use super::{Progress, Server};
use crate::connection::{CloseReason, ConnectionId};
use crate::engine::meter::COMMAND_UNITS;
use crate::frames::{Handled, Incoming};
use crate::limits::{DATAGRAM_BYTES_MAX, INLINE_VALUE_BYTES_MAX, RING_BYTES, STREAM_FRAME_BYTES_MAX};
use crate::time::Now;
use crate::wire::encode::Out;
use crate::wire::frame::{self, Direction, Reject, Step};
use core::net::SocketAddr;

/// Bytes of a reply over TCP, at most; a longer value is answered USE_TCP, that is: ask by RESP.
pub(super) const STREAM_REPLY_BYTES_MAX: usize = INLINE_VALUE_BYTES_MAX + 256;

const _: () = assert!(STREAM_REPLY_BYTES_MAX <= RING_BYTES);

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
        let started = if self.engine.options().log_requests { (self.resources.clock_us)() } else { 0 };
        let handled = self.frames.handle(&mut self.engine.store, &incoming, reply);
        if self.engine.options().log_requests {
            let reply_len = if let Handled::Reply(len) = handled { len } else { 0 };
            let micros = (self.resources.clock_us)().saturating_sub(started);
            super::request_log::write_frame("udp", from, (bytes, &reply[..reply_len]), micros);
        }
        match handled {
            Handled::Reply(len) => Some(len),
            Handled::Silent => None,
            Handled::Rejected(reason) => {
                log_rejected("udp", from, reason, bytes.len());
                None
            }
        }
    }

    /// Serves the frame at the front of a framed connection's input.
    pub(super) fn step_framed(&mut self, id: ConnectionId, now: Now) -> Progress {
        let Server { engine, connections, input, output, frames: datagrams, frame_reply, resources, .. } =
            self;
        let connection = &mut connections[id.index as usize];
        connection.input.straighten(input);
        let bytes = connection.input.readable(input);
        let waiting = bytes.len();
        let (handled, consumed) =
            match frame::decode_prefix(bytes, Direction::Request, STREAM_FRAME_BYTES_MAX) {
                Ok(Step::NeedMore) => return self.wait_for_input(id, now),
                Ok(Step::Ready { frame, consumed }) => {
                    let peer = (connection.peer, now);
                    let started = if engine.options().log_requests { (resources.clock_us)() } else { 0 };
                    let handled = datagrams.handle_stream_frame(&mut engine.store, &frame, peer, frame_reply);
                    if engine.options().log_requests
                        && let Handled::Reply(len) = handled
                    {
                        let exchange = (&bytes[..consumed], &frame_reply[..len]);
                        let micros = (resources.clock_us)().saturating_sub(started);
                        super::request_log::write_frame("tcp", connection.peer, exchange, micros);
                    }
                    (handled, consumed)
                }
                Err(reason) => {
                    datagrams.count_stream_damage(reason);
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
                connection.request_is_whole();
            }
            Handled::Silent => connection.input.consume(consumed),
            Handled::Rejected(reason) => {
                // A damaged stream cannot be followed any further: it is told so once, and closed.
                let len = datagrams.reject_stream(reason, frame_reply);
                out.raw(&frame_reply[..len]);
                connection.close(CloseReason::ProtocolError);
                let peer = connection.peer;
                log_rejected("tcp", peer, reason, waiting);
            }
        }
        Progress::Made
    }
}

/// A line for a frame that was dropped. A flood of them does not become one of lines: the log keeps to a few of a kind.
fn log_rejected(transport: &str, from: SocketAddr, reason: Reject, len: usize) {
    log::warn!("rejected frame: {} transport={transport} from={from} bytes={len}", reason.name());
}
