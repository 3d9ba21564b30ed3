//! Tests of the ring.

use super::*;
use crate::random::Random;
use std::collections::VecDeque;

/// A ring and what it should hold.
struct Pair {
    ring: Ring,
    arena: Buffers,
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
        match random.below(4) {
            0 => {
                ring.release(arena);
                model.clear();
                assert_eq!((ring.capacity(), arena.used()), (0, 0));
            }
            1 | 2 => assert!(ring.attach(arena)),
            _ => {
                let at_least = random.below(5 * RING_BYTES);
                // The arena's eight units hold the old buffer beside the new one.
                let whole = !ring.is_attached() || at_least <= 4 * RING_BYTES;
                let fits = at_least <= ring.capacity() || whole;
                assert_eq!(ring.grow(arena, at_least), fits);
                assert!(!fits || ring.capacity() >= at_least);
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
        let mut pair =
            Pair { ring: Ring::new(), arena: Buffers::new(8 * RING_BYTES), model: VecDeque::new() };
        for _ in 0..300 {
            pair.step(&mut random);
            pair.check();
        }
    }
}

#[test]
fn a_detached_ring_takes_nothing() {
    let (mut ring, mut arena) = (Ring::new(), Buffers::new(RING_BYTES));
    assert!(ring.writable(&mut arena).is_empty() && ring.readable(&arena).is_empty());
    assert!(!ring.write(&mut arena, b"x") && ring.write(&mut arena, b""));
    ring.straighten(&mut arena);
    ring.consume(0);
    ring.invariants();
}

#[test]
fn without_memory_nothing_changes() {
    let mut arena = Buffers::new(RING_BYTES);
    let (mut first, mut second) = (Ring::new(), Ring::new());
    assert!(first.attach(&mut arena) && first.write(&mut arena, b"kept"));
    assert!(!second.attach(&mut arena) && !first.grow(&mut arena, RING_BYTES + 1));
    assert_eq!(first.readable(&arena), b"kept");
}
