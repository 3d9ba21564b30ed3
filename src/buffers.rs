//! The memory of all connections' rings: one piece, reserved at start and touched only as it is used, handed out
//! in power-of-two multiples of [`RING_BYTES`] by the buddy method (Knuth, TAOCP 1, 2.5).
//!
//! ```text
//! units   | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | ...      a block of order k covers 2^k units and begins at a
//! order 0 |---|   |   |   |   |   |   |   |          multiple of 2^k; its buddy is the block whose number
//! order 1 |-------|       |       |       |          differs in bit k. Two free buddies become one block.
//! order 2 |---------------|               |
//! ```
//!
//! Single units come and go with every request, so the last few given back wait on a stack, hottest on top, and are
//! joined with their buddies only when a longer buffer is asked for.

use crate::limits::RING_BYTES;
use std::num::NonZeroU8;

/// The longest buffer covers 2^16 units: offsets into it fit `u32` with room to spare.
const ORDERS: usize = 17;
/// Single units that wait unjoined for the next taker.
const SPARES: usize = 64;
/// "No unit" in the lists.
const NONE: u32 = u32::MAX;

/// A buffer of the arena; it gives access only together with the [`Buffers`] that it was taken from. It must be
/// given back: dropping it loses its memory until the end of the process.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Buffer {
    unit: u32,
    order_plus_1: NonZeroU8,
}

const _: () = assert!(size_of::<Option<Buffer>>() == 8);

impl Buffer {
    fn new(unit: u32, order: usize) -> Buffer {
        // An order is below ORDERS, so neither conversion can miss.
        let order_plus_1 = NonZeroU8::MIN.saturating_add(order as u8);
        Buffer { unit, order_plus_1 }
    }

    fn order(&self) -> usize {
        usize::from(self.order_plus_1.get()) - 1
    }

    /// Bytes of the buffer: a power of two, at least `RING_BYTES`.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        RING_BYTES << self.order()
    }
}

/// What is known about a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not the first unit of a block.
    Inner,
    /// The first unit of a free block of this order.
    Free(u8),
    /// The first unit of a block of this order that is taken.
    Taken(u8),
    /// A single unit on the stack of spares.
    Spare,
}

#[derive(Clone, Copy, Debug)]
struct Unit {
    previous: u32,
    next: u32,
    state: State,
}

/// The arena. Invariants (run by [`Buffers::invariants`]): every unit belongs to exactly one free, taken or spare
/// block; blocks begin at multiples of their size; no two free buddies stand side by side; `used` counts the bytes of
/// the taken blocks.
#[derive(Debug)]
pub struct Buffers {
    memory: Box<[u8]>,
    units: Box<[Unit]>,
    /// The first block of each order's list of free blocks.
    free: [u32; ORDERS],
    spares: [u32; SPARES],
    spare_count: usize,
    used: usize,
}

impl Buffers {
    /// Reserves `bytes`, rounded down to whole units, at least one. The pages are touched as they are used.
    ///
    /// # Panics
    /// If there are 2^32 units or more (64 TiB).
    #[must_use]
    pub fn new(bytes: usize) -> Buffers {
        let unit_count = (bytes / RING_BYTES).max(1);
        assert!(unit_count < NONE as usize, "an arena of {bytes} bytes");
        let unit = Unit { previous: NONE, next: NONE, state: State::Inner };
        let mut arena = Buffers {
            memory: vec![0; unit_count * RING_BYTES].into_boxed_slice(),
            units: vec![unit; unit_count].into_boxed_slice(),
            free: [NONE; ORDERS],
            spares: [0; SPARES],
            spare_count: 0,
            used: 0,
        };
        let mut blocks = [0u32; ORDERS];
        let mut at = 0;
        while at < unit_count {
            let aligned = if at == 0 { ORDERS - 1 } else { (at.trailing_zeros() as usize).min(ORDERS - 1) };
            let fitting = (unit_count - at).ilog2() as usize;
            let order = aligned.min(fitting);
            arena.push_free_last(at as u32, order, &mut blocks);
            at += 1 << order;
        }
        arena
    }

    /// Takes a buffer of at least `len` bytes, its contents whatever was left there. `None`: no run of free memory
    /// is that long.
    pub fn take(&mut self, len: usize) -> Option<Buffer> {
        let order = order_for(len)?;
        if order == 0 && self.spare_count > 0 {
            self.spare_count -= 1;
            let unit = self.spares[self.spare_count];
            self.units[unit as usize].state = State::Taken(0);
            self.used += RING_BYTES;
            return Some(Buffer::new(unit, 0));
        }
        if let Some(buffer) = self.take_block(order) {
            return Some(buffer);
        }
        if self.spare_count == 0 {
            return None;
        }
        while self.spare_count > 0 {
            self.spare_count -= 1;
            self.join(self.spares[self.spare_count], 0);
        }
        self.take_block(order)
    }

    /// Whether [`take`](Buffers::take) of one ring would succeed.
    #[must_use]
    pub fn has_ring(&self) -> bool {
        self.spare_count > 0 || self.free.iter().any(|first| *first != NONE)
    }

    /// Gives a buffer back.
    ///
    /// # Panics
    /// If it was taken from another arena and this one knows of no such buffer.
    pub fn give_back(&mut self, buffer: Buffer) {
        let order = buffer.order();
        assert_eq!(self.units[buffer.unit as usize].state, State::Taken(order as u8), "a foreign buffer");
        self.used -= buffer.len();
        if order == 0 && self.spare_count < SPARES {
            self.units[buffer.unit as usize].state = State::Spare;
            self.spares[self.spare_count] = buffer.unit;
            self.spare_count += 1;
        } else {
            self.join(buffer.unit, order);
        }
    }

    /// The bytes of a buffer.
    #[must_use]
    #[inline]
    pub fn bytes(&self, buffer: &Buffer) -> &[u8] {
        let at = buffer.unit as usize * RING_BYTES;
        &self.memory[at..at + buffer.len()]
    }

    /// The bytes of a buffer, to be written.
    #[must_use]
    #[inline]
    pub fn bytes_mut(&mut self, buffer: &Buffer) -> &mut [u8] {
        let at = buffer.unit as usize * RING_BYTES;
        &mut self.memory[at..at + buffer.len()]
    }

    /// Copies the whole of `from` to the start of `to`, which must be at least as long, and rotates it on the way:
    /// byte `head` of `from` becomes the first of `to`.
    pub(crate) fn copy_rotated(&mut self, from: &Buffer, head: usize, to: &Buffer) {
        let (source, source_len) = (from.unit as usize * RING_BYTES, from.len());
        let target = to.unit as usize * RING_BYTES;
        assert!(source_len <= to.len());
        self.memory.copy_within(source + head..source + source_len, target);
        self.memory.copy_within(source..source + head, target + source_len - head);
    }

    /// Bytes in buffers that are taken.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    /// Bytes altogether.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// A free block of this order, split off a longer one if need be.
    fn take_block(&mut self, order: usize) -> Option<Buffer> {
        let mut found = (order..ORDERS).find(|k| self.free[*k] != NONE)?;
        let unit = self.free[found];
        self.unlink(unit, found);
        while found > order {
            // The lower half is kept, so that low memory is used first and high memory stays untouched.
            found -= 1;
            self.push_free(unit + (1 << found), found);
        }
        self.units[unit as usize].state = State::Taken(order as u8);
        self.used += RING_BYTES << order;
        Some(Buffer::new(unit, order))
    }

    /// Frees a block, joining it with its buddy as long as that is free too.
    fn join(&mut self, mut unit: u32, mut order: usize) {
        while order + 1 < ORDERS {
            let buddy = unit ^ (1 << order);
            match self.units.get(buddy as usize) {
                Some(known) if known.state == State::Free(order as u8) => {
                    self.unlink(buddy, order);
                    self.units[unit.max(buddy) as usize].state = State::Inner;
                    unit = unit.min(buddy);
                    order += 1;
                }
                _ => break,
            }
        }
        self.push_free(unit, order);
    }

    fn push_free(&mut self, unit: u32, order: usize) {
        let next = self.free[order];
        self.units[unit as usize] = Unit { previous: NONE, next, state: State::Free(order as u8) };
        if next != NONE {
            self.units[next as usize].previous = unit;
        }
        self.free[order] = unit;
    }

    /// As `push_free`, but at the list's end: at start, low memory comes first. `last` holds each list's end.
    fn push_free_last(&mut self, unit: u32, order: usize, last: &mut [u32; ORDERS]) {
        if self.free[order] == NONE {
            self.push_free(unit, order);
        } else {
            self.units[last[order] as usize].next = unit;
            self.units[unit as usize] =
                Unit { previous: last[order], next: NONE, state: State::Free(order as u8) };
        }
        last[order] = unit;
    }

    fn unlink(&mut self, unit: u32, order: usize) {
        let Unit { previous, next, .. } = self.units[unit as usize];
        if previous == NONE {
            self.free[order] = next;
        } else {
            self.units[previous as usize].next = next;
        }
        if next != NONE {
            self.units[next as usize].previous = previous;
        }
        self.units[unit as usize].state = State::Inner;
    }

    /// Panics if an invariant is broken; for tests and the simulator.
    pub fn invariants(&self) {
        let (mut at, mut used, mut spare_count, mut free_count) = (0, 0, 0, 0);
        while at < self.units.len() {
            let order = match self.units[at].state {
                State::Inner => panic!("unit {at} belongs to no block"),
                State::Free(order) => {
                    free_count += 1;
                    let buddy = self.units.get(at ^ (1 << order)).map(|unit| unit.state);
                    let joined = usize::from(order) + 1 < ORDERS && buddy == Some(State::Free(order));
                    assert!(!joined, "free buddies at {at}");
                    order
                }
                State::Taken(order) => {
                    used += RING_BYTES << order;
                    order
                }
                State::Spare => {
                    spare_count += 1;
                    0
                }
            };
            let end = at + (1 << order);
            assert!(at.is_multiple_of(1 << order) && end <= self.units.len());
            assert!(self.units[at + 1..end].iter().all(|unit| unit.state == State::Inner));
            at = end;
        }
        assert_eq!((used, spare_count), (self.used, self.spare_count));
        assert_eq!(free_count, self.listed_free_count());
    }

    fn listed_free_count(&self) -> usize {
        let mut count = 0;
        for (order, first) in self.free.iter().enumerate() {
            let (mut previous, mut unit) = (NONE, *first);
            while unit != NONE {
                let known = self.units[unit as usize];
                assert_eq!((known.previous, known.state), (previous, State::Free(order as u8)));
                count += 1;
                (previous, unit) = (unit, known.next);
            }
        }
        count
    }
}

/// The order of the shortest block with `len` bytes; `None` if no block is that long.
fn order_for(len: usize) -> Option<usize> {
    if len > RING_BYTES << (ORDERS - 1) {
        return None;
    }
    let units = len.div_ceil(RING_BYTES).max(1);
    Some(units.next_power_of_two().ilog2() as usize)
}

#[cfg(test)]
#[path = "buffers_tests.rs"]
mod tests;
