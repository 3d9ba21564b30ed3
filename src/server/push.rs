//! The push path: bytes for a connection that asked for nothing at this moment, such as a notice of its time limit, a
//! message of a channel, or an invalidation.
//!
//! ```text
//!  push(id, write) ─▶ a reply under way? ── yes ─▶ Deferred: push again when `poll_wake` names the connection
//!                      │ no
//!                      ├─ no room within the bound ─▶ Full: the caller decides (a subscriber is closed and counted)
//!                      ▼
//!                     write, start the write clock, wake the connection ─▶ Written
//! ```
//! A push never lands inside a reply: while a reply is made piece by piece, or a transaction's array is written, it waits.
//! The write time limit counts from the push if nothing was waiting before it.

use super::Server;
use crate::connection::ConnectionId;
use crate::limits::RING_BYTES;
use crate::time::Millis;
use crate::wire::encode::Out;

/// Bytes that may wait for a client before a push is refused: as much as replies are made ahead, and one ring beyond.
const PUSH_WAITING_BYTES_MAX: u64 = 2 * RING_BYTES as u64;

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Pushed {
    /// It is among the bytes that wait to be sent.
    Written,
    /// A reply is under way. The connection is woken when it is whole.
    Deferred,
    /// The client has not taken what it was sent before, or no memory is left.
    Full,
    /// There is no such connection any more, or nothing is sent to it any more.
    Gone,
}

impl Server {
    /// Writes to a connection that asked for nothing; `len_max` bounds what `write` writes, in bytes.
    pub(super) fn push(
        &mut self,
        id: ConnectionId,
        len_max: usize,
        now: Millis,
        write: impl FnOnce(&mut Out<'_>),
    ) -> Pushed {
        let Server { connections, output, wake_queue, .. } = self;
        let connection =
            connections.get_mut(id.index as usize).filter(|found| found.generation == id.generation);
        let Some(connection) = connection.filter(|connection| !connection.is_draining()) else {
            return Pushed::Gone;
        };
        if connection.is_replying() {
            connection.readiness.push_waits = true;
            return Pushed::Deferred;
        }
        if connection.output.pending_len() > PUSH_WAITING_BYTES_MAX {
            return Pushed::Full;
        }
        let starts_waiting = connection.output.is_empty();
        let room = Out::new(&mut connection.output, output, connection.session.protocol).room();
        // Room is found before anything is written: what does not fit must not break the stream.
        let longer = connection.output.capacity() + len_max;
        if room < len_max && !connection.output.lengthen(longer, output) {
            return Pushed::Full;
        }
        write(&mut Out::new(&mut connection.output, output, connection.session.protocol));
        if starts_waiting {
            connection.progressed = now;
        }
        wake_queue.push(id.index);
        self.update_deadline(id, now);
        Pushed::Written
    }
}

#[cfg(test)]
mod tests;
