//! Waiting replies on their way out: bytes of the ring, and large values straight from the store's blocks.

use super::Server;
use crate::connection::{CloseReason, ConnectionId};
use crate::limits::RING_BYTES;
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

impl Server {
    /// Fills `slices` with what waits to be sent, in order, and tells how many were filled; 0: nothing waits. The
    /// slices may be less than all: ask again after `output_sent`.
    pub fn output<'a>(&'a self, id: ConnectionId, slices: &mut [IoSlice<'a>]) -> usize {
        let Some(connection) = self.get(id) else { return 0 };
        match connection.output.next(&self.output) {
            Pending::Nothing => 0,
            Pending::Bytes(first, second) => {
                let mut count = 0;
                for part in [first, second] {
                    if !part.is_empty() && count < slices.len() {
                        slices[count] = IoSlice::new(part);
                        count += 1;
                    }
                }
                count
            }
            Pending::Large { id, offset, .. } => {
                let mut cursor = LargeCursor::new(id, offset);
                let mut count = 0;
                while count < slices.len() {
                    let part = self.engine.store.large_slice(&mut cursor);
                    if part.is_empty() {
                        break;
                    }
                    cursor.advance(part.len());
                    slices[count] = IoSlice::new(part);
                    count += 1;
                }
                count
            }
        }
    }

    /// `len` bytes of the last `output` have been sent.
    pub fn output_sent(&mut self, id: ConnectionId, len: usize, now: Now) {
        self.engine.metrics.counters.sent_bytes += len as u64;
        let Some(connection) = self.connections.get_mut(id.index as usize) else { return };
        if let Some(large) = connection.output.consumed(len as u64, &mut self.output) {
            self.engine.store.large_release(large);
        }
        connection.progressed = now.monotonic;
        connection.active = now.monotonic;
        if connection.output.is_empty() {
            self.update_deadline(id, now.monotonic);
        }
    }

    /// The socket takes no more for now: the time limit on taking replies begins.
    pub fn output_blocked(&mut self, id: ConnectionId, now: Now) {
        self.update_deadline(id, now.monotonic);
    }

    /// Whether there is anything to do for this connection before its socket says something new.
    pub fn can_go_on(&self, id: ConnectionId, socket: Socket) -> bool {
        let Some(connection) = self.get(id) else { return false };
        let waiting = !connection.output.is_empty();
        if waiting && socket.writable {
            return true;
        }
        if connection.closing.is_some() {
            return false;
        }
        // Commands that waited for room can run now; without new room they would only be looked at again.
        if socket.sent_any && (connection.job.is_some() || !connection.input.is_empty()) {
            return true;
        }
        socket.readable
            && connection.ended.is_none()
            && connection.job.is_none()
            && (connection.body.is_some() || connection.output.pending_len() < RING_BYTES as u64)
    }

    /// The socket has failed: what waits can never be sent.
    pub fn socket_failed(&mut self, id: ConnectionId) {
        self.drop_at_once(id, CloseReason::Failed);
    }

    /// The server stops: nothing more is read of this connection; what has come whole is answered, a reply that has
    /// begun goes on, and then it is closed. Run it once more after this.
    pub fn stop(&mut self, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else { return };
        let is_asking = connection.job.is_some() || !connection.input.is_empty();
        match connection.body {
            None if is_asking => {
                connection.ended.get_or_insert(CloseReason::Stopping);
            }
            _ => connection.close(CloseReason::Stopping),
        }
    }

    /// Closes the client that holds the most output, if that makes room for others.
    pub(super) fn relieve_output(&mut self) -> bool {
        let largest = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.closing.is_none() && connection.output.capacity() > 0)
            .max_by_key(|(_, connection)| connection.output.capacity())
            .map(|(index, connection)| ConnectionId {
                index: index as u32,
                generation: connection.generation,
            });
        let Some(id) = largest else { return false };
        self.drop_at_once(id, CloseReason::OutputFull);
        true
    }
}
