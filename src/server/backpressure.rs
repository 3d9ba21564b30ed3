//! The one rule of back-pressure: how much is read and made ahead. (What happens when the memory that all connections share
//! runs out: `starvation.rs`.)
//!
//! **The rule.** What cannot run is not read beyond a bounded share; what cannot be sent is not made beyond one. A client
//! that moves in either direction is slowed down and never closed; what closes it is the time without progress.
//!
//! ```text
//!  phase                       input ring, at most            why
//!  Ready, something to run     16 KiB                         it runs first
//!                              128 KiB, if the last read      a pipeline costs one read (while half of the arena is free)
//!                              filled its ring
//!  Ready, no room for replies  16 KiB, or the soak share      clients that send a whole pipeline before they read
//!  Replying, Paused            the same                       (redis-py, redis-benchmark) would block for ever
//!  Receiving                   half of the arena              a command has to be whole before it runs
//!  before AUTH                 1 KiB, or 32 KiB with memory   strangers hold next to nothing
//!  Draining                    nothing
//! ```
//! Replies are made up to 128 KiB ahead of the socket while half of the output arena is free, else up to 16 KiB. Where the
//! socket takes no more, they soak up what fits: up to the soak share of the output arena, and of the store's memory for
//! the large values that they pin, as long as half of either is free. When neither side can move any more, the write time
//! limit ends it.
//!
//! What a connection may soak up, and a stranger's 32 KiB, depend on what others hold: who had to stop for that is looked at
//! again when buffers have come back.

use super::Server;
use crate::buffer::arena::Arena;
use crate::buffer::ring::Ring;
use crate::connection::{BufferKind, Connection, ConnectionId, Phase};
use crate::limits::{BUFFER_UNIT_BYTES, LONG_RING_BYTES, REPLY_ROOM_BYTES, RING_BYTES};
use crate::time::Millis;
use crate::wire::encode::Out;

/// Of an arena, the share that one connection may soak up.
const SOAK_DIVISOR: usize = 8;
/// Of the store's memory, the share of values that one connection's waiting replies may pin before it runs no more
/// commands, and that those of all connections may.
const PINNED_DIVISOR: u64 = 4;
const PINNED_TOTAL_DIVISOR: u64 = 2;
/// What a client may send before AUTH while there is plenty of memory: any command within
/// [`BULK_BYTES_MAX_UNAUTHENTICATED`](crate::limits::BULK_BYTES_MAX_UNAUTHENTICATED).
pub(super) const UNAUTHENTICATED_BYTES_MAX: usize = 2 * RING_BYTES;

/// Bytes of an arena that one connection may soak up: a power of two.
pub(super) fn soak_share(arena: &Arena) -> usize {
    soak_share_of(arena.capacity())
}

/// The same of one with so many bytes.
pub(super) fn soak_share_of(arena_bytes: usize) -> usize {
    (arena_bytes / SOAK_DIVISOR).max(RING_BYTES).next_power_of_two()
}

/// Whether so many bytes more would leave half of an arena free.
pub(super) fn leaves_half(arena: &Arena, bytes: usize) -> bool {
    arena.used() + bytes <= arena.capacity() / 2
}

/// Whether one connection may have a long buffer of an arena: it is within what that may soak up, and leaves half to others.
fn may_be_long(arena: &Arena) -> bool {
    LONG_RING_BYTES <= soak_share(arena) && leaves_half(arena, LONG_RING_BYTES)
}

/// Gives a ring a long buffer, if that leaves half of the arena to others.
fn lengthen_ring(ring: &mut Ring, arena: &mut Arena) -> bool {
    leaves_half(arena, LONG_RING_BYTES)
        && LONG_RING_BYTES <= soak_share(arena)
        && ring.grow(arena, LONG_RING_BYTES)
}

/// Gives an output without a buffer a long one, if the last replies needed it and that leaves half of the arena to others.
#[inline]
pub(super) fn attach_output(connection: &mut Connection, arena: &mut Arena) {
    if connection.output_length.is_long() && connection.output.capacity() == 0 && may_be_long(arena) {
        // Where there is none so long in one piece, the usual one does.
        let _ = connection.output.lengthen(LONG_RING_BYTES, arena);
    }
}

/// Bytes of one command, at most, in an input arena.
pub(super) fn command_bytes_max(arena: &Arena, authenticated: bool) -> usize {
    let half = 1 << (arena.capacity() / 2).max(RING_BYTES).ilog2();
    if authenticated { half } else { half.min(UNAUTHENTICATED_BYTES_MAX) }
}

impl Server {
    /// Bytes that the input ring of a connection may have as things stand.
    fn input_bytes_max(&self, connection: &Connection) -> usize {
        if !connection.session.authenticated {
            let plenty = self.input.used() <= self.input.capacity() / 4;
            return if plenty { UNAUTHENTICATED_BYTES_MAX } else { BUFFER_UNIT_BYTES };
        }
        let is_ready = connection.readiness.runnable || connection.input.is_empty();
        match connection.phase() {
            Phase::Draining(..) => 0,
            Phase::Receiving { .. } if !connection.readiness.runnable => command_bytes_max(&self.input, true),
            Phase::Ready | Phase::Receiving { .. } | Phase::ReceivingBody(_) if is_ready => RING_BYTES,
            _ if leaves_half(&self.input, 0) => soak_share(&self.input),
            _ => RING_BYTES,
        }
    }

    /// Whether bytes of a connection would be read if its socket had some.
    pub(super) fn wants_input(&self, connection: &Connection) -> bool {
        if connection.is_draining()
            || connection.end_reason.is_some()
            || connection.readiness.starved.is_some()
        {
            return false;
        }
        connection.body().is_some() || connection.input.len() < self.input_bytes_max(connection)
    }

    /// Gives the ring of a connection that has nothing under way a buffer of the usual length: what nearly every request
    /// needs, and all that it needs. False: [`make_ring_space`](Server::make_ring_space) is to decide.
    #[inline]
    pub(super) fn attach_idle_ring(&mut self, id: ConnectionId) -> bool {
        let Server { connections, input, .. } = self;
        let Some(connection) = connections.get_mut(id.index as usize) else { return false };
        matches!(connection.phase(), Phase::Ready)
            && !connection.input.is_attached()
            && connection.session.authenticated
            && connection.end_reason.is_none()
            && connection.readiness.starved.is_none()
            && (connection.input_length.is_long() && lengthen_ring(&mut connection.input, input)
                || leaves_half(input, RING_BYTES) && connection.input.attach(input))
    }

    /// Sees to it that the ring has room for the next bytes: attaches, straightens or lengthens it. False: the bytes are
    /// left in the socket.
    pub(super) fn make_ring_space(&mut self, id: ConnectionId, now: Millis) -> bool {
        let connection = &self.connections[id.index as usize];
        let bytes_max = self.input_bytes_max(connection);
        let ring = &connection.input;
        if ring.len() >= bytes_max {
            return false;
        }
        let (capacity, is_full) = (ring.capacity(), ring.free() == 0);
        let at_first = if bytes_max < RING_BYTES { bytes_max } else { connection.input_length.bytes() };
        // Many sockets are read before the first of them is served and shrinks: together they leave room.
        let wanted = if capacity < at_first && leaves_half(&self.input, at_first) {
            at_first
        } else if capacity < RING_BYTES && leaves_half(&self.input, RING_BYTES) {
            RING_BYTES.min(bytes_max)
        } else if is_full {
            (capacity * 2).max(BUFFER_UNIT_BYTES)
        } else {
            capacity
        };
        if wanted > capacity && self.may_lengthen(id, capacity, wanted) {
            let Server { connections, input, .. } = self;
            if connections[id.index as usize].input.grow(input, wanted) {
                return true;
            }
        }
        if is_full {
            self.starve(id, BufferKind::Input, now);
            return false;
        }
        let Server { connections, input, .. } = self;
        let ring = &mut connections[id.index as usize].input;
        if ring.writable(input).is_empty() {
            ring.straighten(input);
        }
        true
    }

    /// Whether a reply of common size can be written. Replies that wait make room by being sent; where the socket takes
    /// no more, they soak up what fits.
    pub(super) fn reply_room(&mut self, id: ConnectionId, now: Millis) -> bool {
        let soak_bytes_max = soak_share(&self.output);
        loop {
            let Some(connection) = self.connections.get_mut(id.index as usize) else { return false };
            let (soaks, pinned) = (connection.readiness.write_blocked, connection.output.large_pending());
            let waiting = connection.output.pending_len();
            if connection.is_draining()
                || !soaks && waiting >= LONG_RING_BYTES as u64
                || soaks
                    && !pins_leave_room(pinned, self.pinned_bytes, self.engine.store.config().memory_bytes)
            {
                return false;
            }
            let protocol = connection.session.protocol;
            attach_output(connection, &mut self.output);
            if Out::new(&mut connection.output, &mut self.output, protocol).room() >= REPLY_ROOM_BYTES {
                return true;
            }
            if connection.output.is_empty() {
                self.starve(id, BufferKind::Output, now);
                return false;
            }
            let capacity = connection.output.capacity();
            let is_long_free = capacity < LONG_RING_BYTES && may_be_long(&self.output);
            let longer = if is_long_free { LONG_RING_BYTES } else { capacity * 2 };
            if !soaks && !is_long_free
                || longer > soak_bytes_max
                || !leaves_half(&self.output, longer)
                || !connection.output.lengthen(longer, &mut self.output)
            {
                return false;
            }
        }
    }
}

/// Whether one connection's waiting replies, and those of all, pin little enough of the store for more to be made.
fn pins_leave_room(own: u64, total: u64, store_bytes: usize) -> bool {
    own < store_bytes as u64 / PINNED_DIVISOR && total < store_bytes as u64 / PINNED_TOTAL_DIVISOR
}
