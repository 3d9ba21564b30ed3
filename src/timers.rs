//! One timer for each connection: a wheel of slots with intrusive lists, so that setting, moving and cancelling
//! a time limit costs the same at ten connections and at ten thousand, and nothing is allocated after the start.
//!
//! ```text
//!   slot       0      1      2     …    511          a slot is SLOT_MS wide; a deadline beyond the wheel's
//!            +------+------+------+   +------+       horizon waits in the last slot and is put back
//!   heads    |  7   |  -   |  2   | … |  -   |       when that slot comes up
//!            +--+---+------+--+---+   +------+
//!               7 <-> 4       2
//! ```
//!
//! (Hashed wheel: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987, scheme 6.)

use crate::time::Millis;

/// Width of a slot: a limit fires at most this much late.
pub const SLOT_MS: u64 = 32;
const SLOT_COUNT: usize = 512;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Node {
    previous: u32,
    next: u32,
    slot: u32,
    deadline: Millis,
}

const IDLE: Node = Node { previous: NONE, next: NONE, slot: NONE, deadline: Millis(0) };

/// The time limits of up to a fixed number of connections, each named by its index.
pub struct Timers {
    heads: Box<[u32]>,
    nodes: Vec<Node>,
    capacity: usize,
    /// Every slot before this tick (a time divided by [`SLOT_MS`]) has been emptied.
    tick: u64,
    scheduled_count: usize,
}

impl Timers {
    /// Bytes that one time limit costs.
    pub const NODE_BYTES: usize = size_of::<Node>();

    /// Room for indexes below `capacity`; memory is touched as indexes come into use.
    pub fn new(capacity: usize) -> Timers {
        Timers {
            heads: vec![NONE; SLOT_COUNT].into_boxed_slice(),
            nodes: Vec::with_capacity(capacity),
            capacity,
            tick: 0,
            scheduled_count: 0,
        }
    }

    /// Sets the one time limit of `index`, in place of an earlier one.
    ///
    /// # Panics
    /// If `index` is not below the capacity.
    pub fn schedule(&mut self, index: usize, deadline: Millis) {
        assert!(index < self.capacity, "a timer beyond the capacity");
        while self.nodes.len() <= index {
            self.nodes.push(IDLE);
        }
        if self.nodes[index].slot != NONE && self.nodes[index].deadline == deadline {
            return;
        }
        self.cancel(index);
        self.link(index, deadline);
    }

    /// The time limit of `index`, if it has one.
    pub fn deadline(&self, index: usize) -> Option<Millis> {
        self.nodes.get(index).filter(|node| node.slot != NONE).map(|node| node.deadline)
    }

    /// Takes the time limit of `index` away, if it has one.
    pub fn cancel(&mut self, index: usize) {
        let Some(&node) = self.nodes.get(index) else { return };
        if node.slot == NONE {
            return;
        }
        match node.previous {
            NONE => self.heads[node.slot as usize] = node.next,
            previous => self.nodes[previous as usize].next = node.next,
        }
        if node.next != NONE {
            self.nodes[node.next as usize].previous = node.previous;
        }
        self.nodes[index] = IDLE;
        self.scheduled_count -= 1;
    }

    /// Takes out one index whose deadline has come; call until `None`.
    pub fn pop_due(&mut self, now: Millis) -> Option<usize> {
        let target = now.0 / SLOT_MS;
        if self.scheduled_count == 0 || target > self.tick + SLOT_COUNT as u64 {
            // Nothing to find between, or every slot is to be looked at once.
            self.tick = self.tick.max((target + 1).saturating_sub(SLOT_COUNT as u64));
        }
        while self.tick <= target {
            let slot = (self.tick % SLOT_COUNT as u64) as usize;
            if let Some(index) = self.due_in(slot, now) {
                return Some(index);
            }
            if self.tick == target {
                return None;
            }
            self.tick += 1;
        }
        None
    }

    /// The time by which `pop_due` should be called again, if anything is scheduled.
    pub fn next_deadline(&self) -> Option<Millis> {
        if self.scheduled_count == 0 {
            return None;
        }
        let slots = (self.tick..).take(SLOT_COUNT);
        let tick = slots.into_iter().find(|tick| self.heads[(tick % SLOT_COUNT as u64) as usize] != NONE)?;
        Some(Millis((tick + 1) * SLOT_MS))
    }

    /// Unlinks the first node of a slot that is due; nodes that only waited there beyond the horizon are put back.
    fn due_in(&mut self, slot: usize, now: Millis) -> Option<usize> {
        let mut index = self.heads[slot];
        while index != NONE {
            let node = self.nodes[index as usize];
            if node.deadline <= now {
                self.cancel(index as usize);
                return Some(index as usize);
            }
            if node.deadline.0 / SLOT_MS > self.tick {
                self.cancel(index as usize);
                self.link(index as usize, node.deadline);
            }
            index = node.next;
        }
        None
    }

    fn link(&mut self, index: usize, deadline: Millis) {
        // The slot of this tick is still to be emptied; the one behind it (a whole round on) is the last.
        let tick = (deadline.0 / SLOT_MS).clamp(self.tick, self.tick + SLOT_COUNT as u64 - 1);
        let slot = (tick % SLOT_COUNT as u64) as usize;
        let next = self.heads[slot];
        if next != NONE {
            self.nodes[next as usize].previous = index as u32;
        }
        self.nodes[index] = Node { previous: NONE, next, slot: slot as u32, deadline };
        self.heads[slot] = index as u32;
        self.scheduled_count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn fires_in_its_slot_and_not_before() {
        let mut timers = Timers::new(4);
        timers.schedule(1, Millis(100));
        assert_eq!(timers.pop_due(Millis(99)), None);
        assert_eq!(timers.pop_due(Millis(100)), Some(1));
        assert_eq!(timers.pop_due(Millis(1_000_000)), None);
    }

    #[test]
    fn a_deadline_beyond_the_horizon_waits() {
        let mut timers = Timers::new(4);
        let far = SLOT_MS * SLOT_COUNT as u64 * 3 + 5;
        timers.schedule(0, Millis(far));
        for at in (0..far).step_by(777) {
            assert_eq!(timers.pop_due(Millis(at)), None);
            assert!(timers.next_deadline().is_some());
        }
        assert_eq!(timers.pop_due(Millis(far)), Some(0));
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn agrees_with_a_sorted_map() {
        let mut timers = Timers::new(64);
        let mut model: BTreeMap<usize, u64> = BTreeMap::new();
        let (mut now, mut random) = (0u64, 0x9E37_79B9_7F4A_7C15u64);
        for _ in 0..200_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let index = (random >> 40) as usize % 64;
            match random >> 60 {
                0..=9 => {
                    let deadline = now + (random >> 20) % 40_000;
                    timers.schedule(index, Millis(deadline));
                    model.insert(index, deadline);
                }
                10..=11 => {
                    timers.cancel(index);
                    model.remove(&index);
                }
                _ => {
                    now += (random >> 30) % if random & 1 == 0 { 100 } else { 30_000 };
                    while let Some(index) = timers.pop_due(Millis(now)) {
                        assert!(model.remove(&index).expect("was scheduled") <= now);
                    }
                    assert!(model.values().all(|&deadline| deadline > now), "one was missed");
                }
            }
            assert_eq!(timers.scheduled_count, model.len());
            assert_eq!(timers.next_deadline().is_some(), !model.is_empty());
        }
    }
}
