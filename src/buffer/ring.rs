//! A connection's bytes on their way in or out: a ring over a buffer of the [`Arena`] arena.
//!
//! ```text
//!   0         head               head + len        capacity          (positions modulo the capacity)
//!   | writable | readable . . . . . | writable . . . . |
//! ```
//!
//! A ring without a buffer is "detached": empty, with no capacity, a few bytes long. Rings are attached only while
//! a request or a reply is under way, so idle connections cost no buffer; a ring that waits with little in it shrinks.

use crate::{
    buffer::arena::{Arena, Buffer},
    limits::{BUFFER_UNIT_BYTES, RING_BYTES},
    mutant::{self, Mutant},
};

/// Bytes that a shrunk ring still takes, at least, should the arena have nothing longer when more comes.
const SHRUNK_FREE_BYTES: usize = 128;

/// The ring. Invariants (run by [`Ring::invariants`]): `len <= capacity`; `head < capacity` while attached; `head` is
/// 0 whenever the ring is empty; detached means empty.
///
/// *Getters*: `len`, `capacity`, `free`, `readable`, `readable_parts`. *Filling*: `writable` then `commit`, or `write`.
/// *Emptying*: `readable` then `consume`. *Buffer*: `attach`, `grow`, `shrink`, `release`. Every call takes the arena that the
/// ring was attached to; another one is a bug.
#[derive(Debug, Default)]
pub struct Ring {
    buffer: Option<Buffer>,
    head: u32,
    len: u32,
}

const _: () = assert!(size_of::<Ring>() <= 24);

impl Ring {
    /// A detached ring.
    #[must_use]
    pub const fn new() -> Ring {
        Ring { buffer: None, head: 0, len: 0 }
    }

    /// Takes a buffer of [`RING_BYTES`] unless there is one already. `false`: the arena has none left.
    #[must_use]
    pub fn attach(&mut self, arena: &mut Arena) -> bool {
        if self.buffer.is_none() {
            self.buffer = arena.take(RING_BYTES);
        }
        self.buffer.is_some()
    }

    /// Whether there is a buffer.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.buffer.is_some()
    }

    /// Drops the contents and gives the buffer back.
    pub fn release(&mut self, arena: &mut Arena) {
        (self.head, self.len) = (0, 0);
        if let Some(buffer) = self.buffer.take() {
            arena.give_back(buffer);
        }
    }

    /// Bytes to be read.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether nothing is to be read.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the buffer; 0 when detached.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.buffer.as_ref().map_or(0, Buffer::len)
    }

    /// Bytes that can still be written, in one part or two.
    #[must_use]
    #[inline]
    pub fn free(&self) -> usize {
        self.capacity() - self.len()
    }

    /// The bytes to be read up to the buffer's end: all of them unless they wrap around it.
    #[must_use]
    #[inline]
    pub fn readable<'a>(&self, arena: &'a Arena) -> &'a [u8] {
        self.readable_parts(arena).0
    }

    /// All bytes to be read; the second part is empty unless they wrap around the buffer's end.
    #[must_use]
    #[inline(always)]
    pub fn readable_parts<'a>(&self, arena: &'a Arena) -> (&'a [u8], &'a [u8]) {
        let Some(buffer) = &self.buffer else { return (&[], &[]) };
        let (head, end) = (self.head as usize, self.head as usize + self.len());
        let bytes = arena.bytes(buffer);
        if end <= bytes.len() {
            (&bytes[head..end], &[])
        } else {
            (&bytes[head..], &bytes[..end - bytes.len()])
        }
    }

    /// As [`readable`](Ring::readable), to be changed in place.
    #[must_use]
    pub fn readable_mut<'a>(&mut self, arena: &'a mut Arena) -> &'a mut [u8] {
        let Some(buffer) = &self.buffer else { return &mut [] };
        let (head, end) = (self.head as usize, self.head as usize + self.len());
        let bytes = arena.bytes_mut(buffer);
        let end = end.min(bytes.len());
        &mut bytes[head..end]
    }

    /// Whether [`readable`](Ring::readable) is all there is to be read.
    #[must_use]
    pub fn is_straight(&self) -> bool {
        self.head as usize + self.len() <= self.capacity()
    }

    /// Where the next bytes go: the contiguous room behind the bytes to be read. Empty when the ring is full or
    /// detached; then do not read a socket into it, for the 0 that comes back looks like the end of the stream.
    #[must_use]
    #[inline]
    pub fn writable<'a>(&self, arena: &'a mut Arena) -> &'a mut [u8] {
        let Some(buffer) = &self.buffer else { return &mut [] };
        let (head, end) = (self.head as usize, self.head as usize + self.len());
        let bytes = arena.bytes_mut(buffer);
        if end < bytes.len() {
            &mut bytes[end..]
        } else {
            let start = end - bytes.len();
            &mut bytes[start..head]
        }
    }

    /// The first `n` bytes of [`writable`](Ring::writable) are filled.
    ///
    /// # Panics
    /// If there is no room for `n`.
    #[inline]
    pub fn commit(&mut self, n: usize) {
        assert!(n <= self.free());
        self.len += n as u32;
    }

    /// The first `n` bytes are done with.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len());
        self.len -= n as u32;
        if self.len == 0 {
            self.head = 0;
        } else {
            let head = self.head as usize + n;
            // The capacity is a power of two.
            self.head = (head & (self.capacity() - 1)) as u32;
        }
    }

    /// Moves the bytes to the front of the buffer, so that both they and the room behind them are contiguous.
    pub fn straighten(&mut self, arena: &mut Arena) {
        let Some(buffer) = &self.buffer else { return };
        if self.head == 0 {
            return;
        }
        let (head, len) = (self.head as usize, self.len as usize);
        let bytes = arena.bytes_mut(buffer);
        if head + len <= bytes.len() {
            bytes.copy_within(head..head + len, 0);
        } else {
            bytes.rotate_left(head);
        }
        self.head = 0;
        if mutant::is_on(Mutant::RingOffByOne) && self.len > 0 {
            bytes[self.len as usize - 1] = 0;
        }
    }

    /// Makes the buffer at least `at_least` bytes long, in place or by moving to another, and straightens it; a detached
    /// ring is attached. `false`: the arena has no such memory; nothing has changed.
    #[must_use]
    pub fn grow(&mut self, arena: &mut Arena, at_least: usize) -> bool {
        if at_least <= self.capacity() || at_least <= 2 * self.capacity() && self.extend(arena) {
            self.straighten(arena);
            return true;
        }
        let Some(longer) = arena.take(at_least) else {
            // Buffers that waited for another taker have been joined on the way: perhaps those behind this one.
            let is_extended = at_least <= 2 * self.capacity() && self.extend(arena);
            if is_extended {
                self.straighten(arena);
            }
            return is_extended;
        };
        self.relocate(longer, arena);
        true
    }

    /// Doubles the buffer where it is, if its bytes do not wrap around its end and the memory behind it is free.
    fn extend(&mut self, arena: &mut Arena) -> bool {
        self.is_straight() && self.buffer.as_mut().is_some_and(|buffer| arena.extend(buffer))
    }

    /// Moves to the shortest buffer that holds the bytes and a few more, straightened, provided that it has at most a
    /// quarter of this one's bytes (else moving costs more than it gains) and the arena has one; else nothing changes.
    pub fn shrink(&mut self, arena: &mut Arena) {
        let needed = (self.len() + SHRUNK_FREE_BYTES).next_power_of_two().max(BUFFER_UNIT_BYTES);
        if needed <= self.capacity() / 4
            && let Some(shorter) = arena.take(needed)
        {
            self.relocate(shorter, arena);
        }
    }

    /// Moves the bytes to the front of `to`, which holds them all, and gives the buffer back that they were in.
    fn relocate(&mut self, to: Buffer, arena: &mut Arena) {
        if let Some(old) = self.buffer.take() {
            arena.copy_around(&old, self.head as usize, self.len(), &to);
            arena.give_back(old);
        }
        self.buffer = Some(to);
        self.head = 0;
    }

    /// Takes `n` bytes out of the middle, from position `at` on; the shorter side moves.
    ///
    /// # Panics
    /// If the ring is not straight or holds fewer than `at + n` bytes.
    pub fn remove_range(&mut self, at: usize, n: usize, arena: &mut Arena) {
        let behind = self.len().checked_sub(at + n).expect("a range within the ring");
        assert!(self.is_straight());
        let Some(buffer) = &self.buffer else { return };
        let head = self.head as usize;
        let bytes = arena.bytes_mut(buffer);
        if at < behind {
            bytes.copy_within(head..head + at, head + n);
            self.consume(n);
        } else {
            bytes.copy_within(head + at + n..head + at + n + behind, head + at);
            self.len -= n as u32;
            if self.len == 0 {
                self.head = 0;
            }
        }
    }

    /// Appends `bytes`, all or nothing. `false`: they do not fit.
    #[must_use]
    #[inline]
    pub fn write(&mut self, arena: &mut Arena, bytes: &[u8]) -> bool {
        if bytes.len() > self.free() {
            return false;
        }
        if bytes.is_empty() {
            return true;
        }
        let room = self.writable(arena);
        if bytes.len() <= room.len() {
            room[..bytes.len()].copy_from_slice(bytes);
        } else {
            let (first, second) = bytes.split_at(room.len());
            room.copy_from_slice(first);
            self.commit(first.len());
            self.writable(arena)[..second.len()].copy_from_slice(second);
            self.commit(second.len());
            return true;
        }
        self.commit(bytes.len());
        true
    }

    /// Overwrites the bytes from position `at` on.
    ///
    /// # Panics
    /// If that passes the ring's end.
    pub fn patch(&mut self, at: usize, with: &[u8], arena: &mut Arena) {
        assert!(at + with.len() <= self.len());
        let Some(buffer) = &self.buffer else { return };
        let bytes = arena.bytes_mut(buffer);
        let mask = bytes.len() - 1;
        for (i, byte) in with.iter().enumerate() {
            bytes[(self.head as usize + at + i) & mask] = *byte;
        }
    }

    /// Panics if an invariant is broken; for tests and the simulator.
    pub fn invariants(&self) {
        assert!(self.len() <= self.capacity());
        match self.buffer {
            None => assert_eq!((self.head, self.len), (0, 0)),
            Some(_) => assert!((self.head as usize) < self.capacity()),
        }
        assert!(self.len > 0 || self.head == 0);
    }
}

#[cfg(test)]
mod tests;
