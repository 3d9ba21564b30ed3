//! Tests of the ring.

use super::*;
use crate::random::Random;
use std::collections::VecDeque;

/// A ring and what it should hold.
struct Pair {
    ring: Ring,
    arena: Arena,
    model: VecDeque<u8>,
}

impl Pair {
    fn check(&self) {
        self.ring.invariants();
        self.arena.invariants();
        let (a, b) = self.ring.readable_parts(&self.arena);
        assert_eq!([a, b].concat(), self.model.iter().copied().collect::<Vec<u8>>());
        assert_eq!((a.is_empty(), self.ring.len()), (self.model.is_empty(), self.model.len()));
        assert_eq!(b.is_empty(), self.ring.is_straight());
    }

    fn step(&mut self, random: &mut Random) {
        let Pair { ring, arena, model } = self;
        match random.below(12) {
            0..=3 => {
                let bytes = random_bytes(random, ring.capacity() + 2);
                let fits = bytes.len() <= ring.free();
                assert_eq!(ring.write(arena, &bytes), fits);
                model.extend(bytes.iter().filter(|_| fits));
            }
            4 => {
                let room = ring.writable(arena);
                let n = random.below(room.len() + 1);
                let bytes = random.bytes(n);
                room[..n].copy_from_slice(&bytes);
                ring.commit(n);
                model.extend(bytes);
            }
            5..=7 => {
                let n = random.below(model.len() + 1);
                ring.consume(n);
                model.drain(..n);
            }
            8 => {
                ring.straighten(arena);
                assert!(ring.is_straight() || ring.is_empty());
            }
            9 => {
                if ring.is_straight() {
                    let at = random.below(model.len() + 1);
                    let n = random.below(model.len() - at + 1);
                    ring.remove_range(at, n, arena);
                    model.drain(at..at + n);
                }
            }
            10 => {
                let at = random.below(model.len() + 1);
                let bytes = random_bytes(random, model.len() - at + 1);
                ring.patch(at, &bytes, arena);
                bytes.iter().enumerate().for_each(|(i, byte)| model[at + i] = *byte);
            }
            _ => self.change_buffer(random),
        }
    }

    fn change_buffer(&mut self, random: &mut Random) {
        let Pair { ring, arena, model } = self;
        match random.below(7) {
            0 => {
                ring.release(arena);
                model.clear();
                assert_eq!((ring.capacity(), arena.used()), (0, 0));
            }
            1 | 2 => assert!(ring.attach(arena)),
            3..=5 => {
                let before = ring.capacity();
                ring.shrink(arena);
                let shortest = (ring.len() + SHRUNK_FREE_BYTES).next_power_of_two().max(BUFFER_UNIT_BYTES);
                let room = before < arena.capacity();
                assert_eq!(ring.capacity(), if shortest <= before / 4 && room { shortest } else { before });
                assert_eq!(arena.used(), ring.capacity());
            }
            _ => {
                let at_least = random.below(5 * RING_BYTES);
                // The arena's eight rings hold the old buffer beside the new one.
                let is_sure = !ring.is_attached() || at_least <= (4 * RING_BYTES).max(ring.capacity());
                let grown = ring.grow(arena, at_least);
                assert!(grown || !is_sure, "{at_least} bytes");
                assert!(!grown || ring.capacity() >= at_least && ring.is_straight());
            }
        }
    }
}

fn random_bytes(random: &mut Random, bound: usize) -> Vec<u8> {
    let n = random.below(bound);
    random.bytes(n)
}

#[test]
fn agrees_with_a_model() {
    for seed in 0..10 {
        let mut random = Random(seed);
        let mut pair = Pair { ring: Ring::new(), arena: Arena::new(8 * RING_BYTES), model: VecDeque::new() };
        for _ in 0..600 {
            pair.step(&mut random);
            pair.check();
        }
    }
}

#[test]
fn a_detached_ring_takes_nothing() {
    let (mut ring, mut arena) = (Ring::new(), Arena::new(RING_BYTES));
    assert!(ring.writable(&mut arena).is_empty() && ring.readable(&arena).is_empty());
    assert!(!ring.write(&mut arena, b"x") && ring.write(&mut arena, b""));
    ring.straighten(&mut arena);
    ring.consume(0);
    ring.invariants();
}

#[test]
fn without_memory_nothing_changes() {
    let mut arena = Arena::new(RING_BYTES);
    let (mut first, mut second) = (Ring::new(), Ring::new());
    assert!(first.attach(&mut arena) && first.write(&mut arena, b"kept"));
    assert!(!second.attach(&mut arena) && !first.grow(&mut arena, RING_BYTES + 1));
    assert_eq!(first.readable(&arena), b"kept");
}

#[test]
fn shrinks_and_grows_with_its_bytes_kept() {
    for len in [0, 1, 700, BUFFER_UNIT_BYTES, 3_000, RING_BYTES / 4, RING_BYTES] {
        for head in [0, 5, RING_BYTES - 3] {
            let (mut ring, mut arena) = (Ring::new(), Arena::new(4 * RING_BYTES));
            let bytes = Random(7).bytes(len);
            assert!(ring.attach(&mut arena));
            ring.commit(head + 1);
            ring.consume(head);
            assert!(len == RING_BYTES || ring.write(&mut arena, &bytes));
            if len == RING_BYTES {
                ring.consume(1);
                assert!(ring.write(&mut arena, &bytes));
            } else {
                ring.consume(1);
            }
            ring.shrink(&mut arena);
            let wanted = (len + SHRUNK_FREE_BYTES).next_power_of_two().max(BUFFER_UNIT_BYTES);
            let capacity = if wanted <= RING_BYTES / 4 { wanted } else { RING_BYTES };
            assert_eq!((ring.capacity(), arena.used()), (capacity, capacity), "{len} bytes");
            ring.shrink(&mut arena);
            assert_eq!(ring.capacity(), capacity, "shrinking again changes nothing");
            let longer = RING_BYTES + ring.capacity();
            for at_least in [ring.capacity() * 2, longer] {
                assert!(ring.grow(&mut arena, at_least));
                assert_eq!((ring.capacity(), arena.used()), (at_least.next_power_of_two(), ring.capacity()));
            }
            assert_eq!(ring.readable(&arena), bytes);
            ring.release(&mut arena);
            assert_eq!(arena.used(), 0);
            arena.invariants();
        }
    }
}

#[test]
fn grows_in_place_where_the_memory_behind_it_is_free() {
    let (mut ring, mut arena) = (Ring::new(), Arena::new(4 * RING_BYTES));
    let bytes = Random(3).bytes(RING_BYTES);
    assert!(ring.attach(&mut arena) && ring.write(&mut arena, &bytes));
    ring.consume(10);
    // Two thirds of the arena: only possible without a copy beside it.
    assert!(ring.grow(&mut arena, 2 * RING_BYTES) && ring.grow(&mut arena, 4 * RING_BYTES));
    assert_eq!((ring.readable(&arena), ring.capacity()), (&bytes[10..], 4 * RING_BYTES));
    assert_eq!(ring.writable(&mut arena).len(), 3 * RING_BYTES + 10);
    ring.release(&mut arena);
    arena.invariants();
}

#[test]
fn a_detached_ring_stays_detached() {
    let (mut ring, mut arena) = (Ring::new(), Arena::new(RING_BYTES));
    ring.shrink(&mut arena);
    assert!(!ring.is_attached() && arena.used() == 0);
}

#[test]
fn does_not_shrink_without_a_short_buffer() {
    let mut arena = Arena::new(RING_BYTES);
    let mut ring = Ring::new();
    assert!(ring.attach(&mut arena) && ring.write(&mut arena, b"kept"));
    ring.shrink(&mut arena);
    assert_eq!((ring.capacity(), ring.readable(&arena)), (RING_BYTES, &b"kept"[..]));
}

#[test]
fn rings_that_wait_with_little_fit_by_the_thousand() {
    let mut arena = Arena::new(1024 * BUFFER_UNIT_BYTES + RING_BYTES);
    let mut rings: Vec<Ring> = (0..1024).map(|_| Ring::new()).collect();
    for ring in &mut rings {
        assert!(ring.attach(&mut arena) && ring.write(&mut arena, b"*1000000\r\n"));
        ring.shrink(&mut arena);
    }
    assert_eq!(arena.used(), 1024 * BUFFER_UNIT_BYTES);
    // One of them still makes progress, and all of them go.
    assert!(rings[512].grow(&mut arena, RING_BYTES));
    assert_eq!((rings[512].capacity(), rings[512].readable(&arena)), (RING_BYTES, &b"*1000000\r\n"[..]));
    rings.iter_mut().for_each(|ring| ring.release(&mut arena));
    arena.invariants();
    assert_eq!(arena.used(), 0);
}
