//! The memory of all connections' rings: one piece, reserved at start and touched only as it is used, handed out
//! in power-of-two multiples of [`BUFFER_UNIT_BYTES`] by the buddy method (Knuth, TAOCP 1, 2.5).
//!
//! ```text
//! units   | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | ...      a block of order k covers 2^k units and begins at a
//! order 0 |---|   |   |   |   |   |   |   |          multiple of 2^k; its buddy is the block whose number
//! order 1 |-------|       |       |       |          differs in bit k. Two free buddies become one block.
//! order 2 |---------------|               |
//! ```
//!
//! Arena of [`RING_BYTES`] come and go with every request, so the last few given back wait on a stack, hottest on
//! top, and are joined with their buddies only when a buffer of another length finds no room.
//!
//! A buffer whose contents grow is [extended](Arena::extend) into its buddy where that is free, since copying tens of
//! megabytes to a longer one keeps all clients waiting. So that it is, a long buffer begins a run that is far longer, if
//! there is one.
//!
//! Of its memory an arena uses what lies below its [limit](Arena::capacity), which moves between a floor and all of it: what
//! is above is touched by nobody, and its owner may use as much elsewhere (`limit.rs`).

mod limit;

use crate::limits::{BUFFER_UNIT_BYTES, KIB, MIB, RING_BYTES};
use std::num::NonZeroU8;

/// The longest buffer covers 2^20 units, 2^30 bytes: offsets into it fit `u32` with room to spare.
const ORDERS: usize = 21;
/// Order of a buffer of [`RING_BYTES`].
const RING_ORDER: usize = (RING_BYTES / BUFFER_UNIT_BYTES).ilog2() as usize;
/// Arena of [`RING_BYTES`] that wait unjoined for the next taker.
const SPARES: usize = 64;

/// Buffers of this order, 256 KiB, and longer ones are likely to be extended.
const GROWING_ORDER: usize = 8;
/// They begin a run of this order, 8 MiB, or a longer one: what is copied where there is none, in a small arena, is short.
const GROWING_RUN_ORDER: usize = 13;

const _: () = assert!(BUFFER_UNIT_BYTES << GROWING_ORDER == 256 * KIB);
const _: () = assert!(BUFFER_UNIT_BYTES << GROWING_RUN_ORDER == 8 * MIB);
const _: () = assert!(RING_ORDER < ORDERS);
const _: () = assert!(BUFFER_UNIT_BYTES << (ORDERS - 1) <= 1 << 30);

/// A buffer of the arena; it gives access only together with the [`Arena`] that it was taken from. It must be
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

    #[inline]
    fn order(&self) -> usize {
        usize::from(self.order_plus_1.get()) - 1
    }

    /// Bytes of the buffer: a power of two, at least `BUFFER_UNIT_BYTES`.
    #[must_use]
    #[inline]
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        BUFFER_UNIT_BYTES << self.order()
    }
}

/// What is known about a unit: a kind in the upper bits; below them, if it is the first of a block, the block's order.
/// All zeros, as the system hands memory out untouched, is [`INNER`](State::INNER).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State(u8);

impl State {
    const KIND: u8 = 0b1110_0000;
    const FREE: u8 = 0b0010_0000;
    const TAKEN: u8 = 0b0100_0000;
    /// Not the first unit of a block.
    const INNER: State = State(0);
    /// The first unit of a block on the stack of spares.
    const SPARE: State = State(0b1000_0000 | RING_ORDER as u8);

    fn free(order: usize) -> State {
        State(State::FREE | order as u8)
    }

    fn taken(order: usize) -> State {
        State(State::TAKEN | order as u8)
    }

    fn kind(self) -> u8 {
        self.0 & State::KIND
    }

    fn order(self) -> usize {
        usize::from(self.0 & !State::KIND)
    }
}

const _: () = assert!(ORDERS <= !State::KIND as usize);

/// The arena. Invariants (run by [`Arena::invariants`]): every unit belongs to exactly one free, taken or spare
/// block; blocks begin at multiples of their size; no two free buddies stand side by side; `used` counts the bytes of
/// the taken blocks.
///
/// Both tables begin as zeros for the system to supply on first touch, as `memory` does: an arena costs what is used.
#[derive(Debug)]
pub struct Arena {
    memory: Box<[u8]>,
    /// The [`State`] of each unit.
    states: Box<[u8]>,
    /// For the first unit of a free block, its neighbours in the list of its order, each plus 1; 0 is "none".
    links: Box<[Links]>,
    /// The first block of each order's list of free blocks, plus 1; 0 is "none".
    free: [u32; ORDERS],
    spares: [u32; SPARES],
    spare_count: usize,
    used: usize,
    /// The most of it since it was [asked for](Arena::take_peak).
    peak: usize,
    /// Units that may be used: those below.
    limit: usize,
    /// Buffers that were given back so far.
    returns: u64,
}

/// The previous block of a list and the next one. An array, since only of arrays does `vec!` know that they are zero.
type Links = [u32; 2];
const PREVIOUS: usize = 0;
const NEXT: usize = 1;

impl Arena {
    /// Reserves `bytes`, rounded down to whole units, at least one ring. The pages are touched as they are used.
    ///
    /// # Panics
    /// If there are 2^32 - 1 units or more (4 TiB).
    #[must_use]
    pub fn new(bytes: usize) -> Arena {
        let unit_count = bytes.max(RING_BYTES) / BUFFER_UNIT_BYTES;
        assert!(unit_count < u32::MAX as usize, "an arena of {bytes} bytes");
        let mut arena = Arena {
            memory: vec![0; unit_count * BUFFER_UNIT_BYTES].into_boxed_slice(),
            states: vec![0; unit_count].into_boxed_slice(),
            links: vec![[0, 0]; unit_count].into_boxed_slice(),
            free: [0; ORDERS],
            spares: [0; SPARES],
            spare_count: 0,
            used: 0,
            peak: 0,
            limit: unit_count,
            returns: 0,
        };
        arena.free_between(0, unit_count);
        arena
    }

    /// Makes units free that belong to no block, with as few and as long blocks as there may be. From the end: in every list,
    /// low memory comes first.
    fn free_between(&mut self, start: usize, mut end: usize) {
        while end > start {
            let longest = (end - start).ilog2().min(end.trailing_zeros()) as usize;
            let order = longest.min(ORDERS - 1);
            end -= 1 << order;
            self.join(end as u32, order);
        }
    }

    /// Takes a buffer of at least `len` bytes, its contents whatever was left there. `None`: no run of free memory
    /// is that long.
    #[inline]
    pub fn take(&mut self, len: usize) -> Option<Buffer> {
        let order = order_for(len)?;
        if order == RING_ORDER && self.spare_count > 0 {
            self.spare_count -= 1;
            let unit = self.spares[self.spare_count];
            self.set_state(unit, State::taken(RING_ORDER));
            self.count_taken(RING_BYTES);
            return Some(Buffer::new(unit, RING_ORDER));
        }
        self.take_block(order).or_else(|| self.take_block_of_spares(order))
    }

    /// Doubles a buffer where it is: its bytes stay, those behind them are whatever was left there. `false`: the memory
    /// behind it is not free, or not its buddy; nothing has changed.
    ///
    /// # Panics
    /// If it was taken from another arena and this one knows of no such buffer.
    #[must_use]
    pub fn extend(&mut self, buffer: &mut Buffer) -> bool {
        let (unit, order) = (buffer.unit, buffer.order());
        assert_eq!(self.state(unit), State::taken(order), "a foreign buffer");
        let buddy = unit ^ (1 << order);
        if buddy < unit
            || order + 1 >= ORDERS
            || self.states.get(buddy as usize) != Some(&State::free(order).0)
        {
            return false;
        }
        self.unlink(buddy, order);
        self.set_state(unit, State::taken(order + 1));
        self.count_taken(buffer.len());
        *buffer = Buffer::new(unit, order + 1);
        true
    }

    /// Whether [`take`](Arena::take) of [`RING_BYTES`] would succeed.
    #[must_use]
    #[inline]
    pub fn has_ring(&self) -> bool {
        self.spare_count > 0 || self.free[RING_ORDER..].iter().any(|first| *first != 0)
    }

    /// Gives a buffer back.
    ///
    /// # Panics
    /// If it was taken from another arena and this one knows of no such buffer.
    #[inline]
    pub fn give_back(&mut self, buffer: Buffer) {
        let order = buffer.order();
        assert_eq!(self.state(buffer.unit), State::taken(order), "a foreign buffer");
        self.used -= buffer.len();
        self.returns += 1;
        if order == RING_ORDER && self.spare_count < SPARES {
            self.set_state(buffer.unit, State::SPARE);
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
        let at = buffer.unit as usize * BUFFER_UNIT_BYTES;
        &self.memory[at..at + buffer.len()]
    }

    /// The bytes of a buffer, to be written.
    #[must_use]
    #[inline]
    pub fn bytes_mut(&mut self, buffer: &Buffer) -> &mut [u8] {
        let at = buffer.unit as usize * BUFFER_UNIT_BYTES;
        &mut self.memory[at..at + buffer.len()]
    }

    /// Copies `len` bytes of `from`, beginning at `head` and going on at its start if they pass its end, to the start
    /// of `to`.
    ///
    /// # Panics
    /// If either buffer is shorter than `len`, or `from` than `head`.
    pub(crate) fn copy_around(&mut self, from: &Buffer, head: usize, len: usize, to: &Buffer) {
        assert!(len <= to.len() && len <= from.len() && head <= from.len());
        let source = from.unit as usize * BUFFER_UNIT_BYTES;
        let target = to.unit as usize * BUFFER_UNIT_BYTES;
        let first = len.min(from.len() - head);
        self.memory.copy_within(source + head..source + head + first, target);
        self.memory.copy_within(source..source + len - first, target + first);
    }

    /// Bytes in buffers that are taken.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    /// Buffers that were given back so far: while this stays, a buffer that could not be had cannot be had.
    #[must_use]
    pub fn returns(&self) -> u64 {
        self.returns
    }

    /// Bytes that may be used altogether as things stand.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.limit * BUFFER_UNIT_BYTES
    }

    #[inline]
    fn count_taken(&mut self, bytes: usize) {
        self.used += bytes;
        self.peak = self.peak.max(self.used);
    }

    /// A free block of this order, split off a longer one if need be.
    fn take_block(&mut self, order: usize) -> Option<Buffer> {
        let mut found = self.run_for(order)?;
        let unit = self.free[found] - 1;
        self.unlink(unit, found);
        while found > order {
            // The lower half is kept, so that low memory is used first and high memory stays untouched.
            found -= 1;
            self.push_free(unit + (1 << found), found);
        }
        self.set_state(unit, State::taken(order));
        self.count_taken(BUFFER_UNIT_BYTES << order);
        Some(Buffer::new(unit, order))
    }

    /// The order of the free block that one of this order is split off: the shortest that will do, or a long one where the
    /// buffer may grow. Not more than a quarter of the arena: a run of half of it is for the one buffer that needs all of it.
    #[inline]
    fn run_for(&self, order: usize) -> Option<usize> {
        let is_free = |k: &usize| self.free[*k] != 0;
        let shortest = (order..ORDERS).find(is_free)?;
        if order < GROWING_ORDER {
            return Some(shortest);
        }
        let order_max = (self.limit / 4).checked_ilog2().map_or(0, |order| order as usize);
        let longest = (order..ORDERS.min(order_max + 1)).rfind(is_free);
        Some(longest.filter(|longest| *longest >= GROWING_RUN_ORDER).unwrap_or(shortest))
    }

    /// The same where only joining or splitting spares can help; no more of them than needed.
    #[cold]
    fn take_block_of_spares(&mut self, order: usize) -> Option<Buffer> {
        while self.spare_count > 0 {
            self.spare_count -= 1;
            self.join(self.spares[self.spare_count], RING_ORDER);
            if let Some(buffer) = self.take_block(order) {
                return Some(buffer);
            }
        }
        None
    }

    /// Frees a block, joining it with its buddy as long as that is free too.
    fn join(&mut self, mut unit: u32, mut order: usize) {
        self.set_state(unit, State::INNER);
        while order + 1 < ORDERS {
            let buddy = unit ^ (1 << order);
            if self.states.get(buddy as usize) != Some(&State::free(order).0) {
                break;
            }
            self.unlink(buddy, order);
            unit = unit.min(buddy);
            order += 1;
        }
        self.push_free(unit, order);
    }

    fn push_free(&mut self, unit: u32, order: usize) {
        let next = self.free[order];
        self.links[unit as usize] = [0, next];
        if next != 0 {
            self.links[next as usize - 1][PREVIOUS] = unit + 1;
        }
        self.set_state(unit, State::free(order));
        self.free[order] = unit + 1;
    }

    fn unlink(&mut self, unit: u32, order: usize) {
        let [previous, next] = self.links[unit as usize];
        if previous == 0 {
            self.free[order] = next;
        } else {
            self.links[previous as usize - 1][NEXT] = next;
        }
        if next != 0 {
            self.links[next as usize - 1][PREVIOUS] = previous;
        }
        self.set_state(unit, State::INNER);
    }

    #[inline]
    fn state(&self, unit: u32) -> State {
        State(self.states[unit as usize])
    }

    #[inline]
    fn set_state(&mut self, unit: u32, state: State) {
        self.states[unit as usize] = state.0;
    }

    /// Panics if an invariant is broken; for tests and the simulator.
    pub fn invariants(&self) {
        let (mut at, mut used, mut spare_count, mut free_count) = (0, 0, 0, 0);
        while at < self.limit {
            let state = State(self.states[at]);
            let order = state.order();
            if state == State::SPARE {
                spare_count += 1;
            } else if state == State::taken(order) {
                used += BUFFER_UNIT_BYTES << order;
            } else {
                assert_eq!(state.kind(), State::FREE, "unit {at} belongs to no block");
                free_count += 1;
                let buddy = self.states.get(at ^ (1 << order));
                assert!(order + 1 == ORDERS || buddy != Some(&state.0), "free buddies at {at}");
            }
            let end = at + (1 << order);
            assert!(order < ORDERS && at.is_multiple_of(1 << order) && end <= self.limit);
            assert!(self.states[at + 1..end].iter().all(|state| *state == State::INNER.0));
            at = end;
        }
        assert_eq!((used, spare_count), (self.used, self.spare_count));
        assert!(
            self.states[self.limit..].iter().all(|state| *state == State::INNER.0),
            "nothing is above the limit"
        );
        assert!(self.spares[..spare_count].iter().all(|unit| self.state(*unit) == State::SPARE));
        assert_eq!(free_count, self.listed_free_count());
    }

    fn listed_free_count(&self) -> usize {
        let mut count = 0;
        for (order, first) in self.free.iter().enumerate() {
            let (mut previous, mut at) = (0, *first);
            while at != 0 {
                let links = self.links[at as usize - 1];
                assert_eq!((links[PREVIOUS], self.state(at - 1)), (previous, State::free(order)));
                count += 1;
                (previous, at) = (at, links[NEXT]);
            }
        }
        count
    }
}

/// The order of the shortest block with `len` bytes; `None` if no block is that long.
#[inline]
fn order_for(len: usize) -> Option<usize> {
    if len > BUFFER_UNIT_BYTES << (ORDERS - 1) {
        return None;
    }
    let units = len.div_ceil(BUFFER_UNIT_BYTES).max(1);
    Some(units.next_power_of_two().ilog2() as usize)
}

#[cfg(test)]
mod tests;
