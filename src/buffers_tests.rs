//! Tests of the arena.

use super::*;
use crate::random::Random;

#[test]
fn agrees_with_a_model() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let unit_count = 1 + random.below(200);
        let mut arena = Buffers::new(unit_count * RING_BYTES + random.below(RING_BYTES));
        assert_eq!(arena.capacity(), unit_count * RING_BYTES);
        arena.invariants();
        let mut held: Vec<(Buffer, u8)> = Vec::new();
        for step in 0..2_000u32 {
            if random.below(100) < 55 {
                let len = [1, RING_BYTES, RING_BYTES + 1, 3 * RING_BYTES, 8 * RING_BYTES][random.below(5)];
                let mark = step as u8;
                match arena.take(len) {
                    Some(buffer) => {
                        assert!(buffer.len() >= len && buffer.len() < 2 * len.max(RING_BYTES));
                        arena.bytes_mut(&buffer).fill(mark);
                        held.push((buffer, mark));
                    }
                    None => assert!(len > RING_BYTES || arena.used() == arena.capacity()),
                }
            } else if !held.is_empty() {
                let (buffer, mark) = held.swap_remove(random.below(held.len()));
                assert!(arena.bytes(&buffer).iter().all(|byte| *byte == mark), "buffers overlap");
                arena.give_back(buffer);
            }
            arena.invariants();
            assert_eq!(arena.used(), held.iter().map(|(buffer, _)| buffer.len()).sum::<usize>());
        }
        held.drain(..).for_each(|(buffer, _)| arena.give_back(buffer));
        // All is joined again: the longest power of two fits.
        let whole = arena.take(RING_BYTES << unit_count.ilog2()).expect("an empty arena is one piece");
        arena.give_back(whole);
        arena.invariants();
        assert_eq!(arena.used(), 0);
    }
}

#[test]
fn lengths_that_cannot_be() {
    let mut arena = Buffers::new(0);
    assert_eq!(arena.capacity(), RING_BYTES, "at least one unit");
    assert_eq!(arena.take(RING_BYTES + 1), None);
    assert_eq!(arena.take(usize::MAX), None);
    let buffer = arena.take(0).expect("one unit");
    assert!(!arena.has_ring());
    arena.give_back(buffer);
    assert!(arena.has_ring());
}

#[test]
fn the_buffer_given_back_last_comes_first() {
    let mut arena = Buffers::new(64 * RING_BYTES);
    let (a, b) = (arena.take(1).expect("room"), arena.take(1).expect("room"));
    let first = a.unit;
    arena.give_back(b);
    arena.give_back(a);
    assert_eq!(arena.take(1).expect("room").unit, first);
}

#[test]
fn spares_do_not_hide_room_for_a_longer_buffer() {
    let mut arena = Buffers::new(16 * RING_BYTES);
    let all: Vec<Buffer> = (0..16).map(|_| arena.take(1).expect("room")).collect();
    all.into_iter().for_each(|buffer| arena.give_back(buffer));
    assert!(arena.take(16 * RING_BYTES).is_some());
}
