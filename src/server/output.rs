//! Waiting replies on their way out: bytes of the ring, and large values straight from the store's blocks.

use super::Server;
use crate::connection::{CloseReason, ConnectionId};
use crate::mutation::ChainPosition;
use crate::store::LargeCursor;
use crate::time::Now;
use crate::wire::output::Pending;
use std::io::IoSlice;

/// What the reactor knows of a connection's socket after a write.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    /// Bytes may be waiting to be read.
    pub readable: bool,
    /// More could be written.
    pub writable: bool,
    /// Some output went just now.
    pub sent_any: bool,
}

/// Slices that are filled one after the other.
struct Filler<'s, 'a> {
    slices: &'s mut [IoSlice<'a>],
    count: usize,
    /// Bytes that may still be filled in.
    left: u64,
}

impl<'a> Filler<'_, 'a> {
    fn push(&mut self, bytes: &'a [u8]) {
        let bytes = &bytes[..(bytes.len() as u64).min(self.left) as usize];
        if !bytes.is_empty() && !self.is_full() {
            self.left -= bytes.len() as u64;
            self.slices[self.count] = IoSlice::new(bytes);
            self.count += 1;
        }
    }

    fn is_full(&self) -> bool {
        self.count == self.slices.len() || self.left == 0
    }
}

impl Server {
    /// Fills `slices` with what waits to be sent, in order, and tells how many were filled; 0: nothing waits. The
    /// slices may be less than all: ask again after `output_sent`.
    pub fn output<'a>(&'a self, id: ConnectionId, slices: &mut [IoSlice<'a>]) -> usize {
        let Some(connection) = self.get(id) else { return 0 };
        let mut filler = Filler { slices, count: 0, left: self.sendable(id.index) };
        if filler.is_full() {
            return 0;
        }
        for part in connection.output.parts(&self.output) {
            match part {
                Pending::Nothing => {}
                Pending::Bytes(first, second) => {
                    filler.push(first);
                    filler.push(second);
                }
                Pending::Large { id, offset, len } => {
                    let front = connection.output.front_large(&self.output).filter(|_| filler.count == 0);
                    let position = front.map_or(ChainPosition::NONE, |(_, _, position)| position);
                    let mut cursor = LargeCursor::follow(id, offset, position);
                    let end = offset + len;
                    while cursor.offset < end && !filler.is_full() {
                        let piece = self.engine.store.large_slice(&mut cursor);
                        let len = (piece.len() as u64).min(end - cursor.offset) as usize;
                        if len == 0 {
                            break;
                        }
                        filler.push(&piece[..len]);
                        cursor.advance(len);
                    }
                }
            }
            if filler.is_full() {
                break;
            }
        }
        filler.count
    }

    /// `len` bytes of the last `output` have been sent.
    pub fn output_sent(&mut self, id: ConnectionId, len: usize, now: Now) {
        self.engine.metrics.counters.sent_bytes += len as u64;
        let Server { engine, connections, output: arena, .. } = self;
        let Some(connection) = connections.get_mut(id.index as usize) else { return };
        let output = &mut connection.output;
        let mut left = len as u64;
        while left > 0 && !output.is_empty() {
            let sent = left.min(output.front_len(arena));
            left -= sent;
            if let Some(large) = output.consumed(sent, arena) {
                engine.store.large_release(large);
            }
        }
        if let Some((id, sent, position)) = output.front_large(arena) {
            let mut cursor = LargeCursor::follow(id, sent, position);
            engine.store.advance_position(&mut cursor);
            output.set_position(cursor.position());
        }
        if let Some(holds) = &mut self.holds {
            holds.sent(id.index, len as u64);
        }
        connection.handle_sent(len, now.monotonic);
        connection.count_pinned(&mut self.pinned_bytes);
        if connection.output.is_empty() {
            self.update_deadline(id, now.monotonic);
        }
    }

    /// The socket takes no more for now, although something is left (after `output_sent`, if it took a part): the time
    /// limit on taking replies begins.
    pub fn output_blocked(&mut self, id: ConnectionId, now: Now) {
        if let Some(connection) = self.get_mut(id) {
            connection.handle_blocked();
        }
        self.update_deadline(id, now.monotonic);
    }

    /// Whether there is anything to do for this connection before its socket says something new. One that stops for what
    /// others hold is [woken](Server::poll_wake) when they hold less.
    pub fn can_go_on(&mut self, id: ConnectionId, socket: Socket) -> bool {
        let goes_on = self.goes_on(id, socket);
        if socket.readable && !goes_on {
            self.note_crowded(id);
        }
        goes_on
    }

    pub(crate) fn goes_on(&self, id: ConnectionId, socket: Socket) -> bool {
        let Some(connection) = self.get(id) else { return false };
        let waiting = !connection.output.is_empty() && self.sendable(id.index) > 0;
        if waiting && socket.writable {
            return true;
        }
        if connection.is_draining() {
            return false;
        }
        // Commands that waited for room can run now; without new room they would only be looked at again.
        let may_run = connection.readiness.runnable && connection.readiness.starved.is_none();
        if may_run && (connection.is_replying() || !connection.input.is_empty()) {
            return true;
        }
        socket.readable && self.wants_input(connection)
    }

    /// The socket has failed: what waits can never be sent.
    pub fn socket_failed(&mut self, id: ConnectionId) {
        self.drop_at_once(id, CloseReason::Failed);
    }

    /// The server stops: nothing more is read of this connection; what has come whole is answered, a reply that has
    /// begun goes on, and then it is closed. Run it once more after this.
    pub fn stop(&mut self, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else { return };
        let is_asking = connection.is_replying() || !connection.input.is_empty();
        match connection.body() {
            None if is_asking => {
                connection.handle_end(CloseReason::Stopping);
            }
            _ => connection.close(CloseReason::Stopping),
        }
    }
}
