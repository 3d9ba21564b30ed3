//! Tests of the arena.

use super::*;
use crate::limits::{KIB, MIB};
use crate::random::Random;

const UNIT: usize = BUFFER_UNIT_BYTES;
const LENGTHS: [usize; 9] =
    [1, UNIT, UNIT + 1, 3 * UNIT, RING_BYTES, RING_BYTES, RING_BYTES + 1, 3 * RING_BYTES, 8 * RING_BYTES];

#[test]
fn agrees_with_a_model() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let unit_count = RING_BYTES / UNIT + random.below(2_000);
        let mut arena = Arena::new(unit_count * UNIT + random.below(UNIT));
        assert_eq!(arena.capacity(), unit_count * UNIT);
        arena.invariants();
        let mut held: Vec<(Buffer, u8)> = Vec::new();
        for step in 0..1_500u32 {
            if random.below(100) < 10 && !held.is_empty() {
                let at = random.below(held.len());
                let (buffer, mark) = &mut held[at];
                let (unit, len) = (buffer.unit, buffer.len());
                let is_extended = arena.extend(buffer);
                assert_eq!((buffer.unit, buffer.len()), (unit, if is_extended { 2 * len } else { len }));
                assert!(arena.bytes(buffer)[..len].iter().all(|byte| byte == mark), "its bytes stay");
                arena.bytes_mut(buffer).fill(*mark);
            } else if random.below(100) < 55 {
                let len = LENGTHS[random.below(LENGTHS.len())];
                let (mark, had_ring) = (step as u8, arena.has_ring());
                match arena.take(len) {
                    Some(buffer) => {
                        assert!(buffer.len() >= len && buffer.len() < 2 * len.max(UNIT));
                        arena.bytes_mut(&buffer).fill(mark);
                        held.push((buffer, mark));
                    }
                    None => assert!(len > UNIT || arena.used() == arena.capacity()),
                }
                if len == RING_BYTES {
                    assert_eq!(held.last().is_some_and(|(_, last)| *last == mark), had_ring);
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
        let whole = arena.take(UNIT << unit_count.ilog2()).expect("an empty arena is one piece");
        arena.give_back(whole);
        arena.invariants();
        assert_eq!(arena.used(), 0);
    }
}

#[test]
fn lengths_that_cannot_be() {
    let mut arena = Arena::new(0);
    assert_eq!(arena.capacity(), RING_BYTES, "at least one ring");
    assert_eq!(arena.take(RING_BYTES + 1), None);
    assert_eq!(arena.take(usize::MAX), None);
    let buffer = arena.take(0).expect("one unit");
    assert!(!arena.has_ring(), "the rest is shorter than a ring");
    arena.give_back(buffer);
    assert!(arena.has_ring());
}

#[test]
fn the_buffer_given_back_last_comes_first() {
    let mut arena = Arena::new(64 * RING_BYTES);
    let (a, b) = (arena.take(RING_BYTES).expect("room"), arena.take(RING_BYTES).expect("room"));
    let first = a.unit;
    arena.give_back(b);
    arena.give_back(a);
    assert_eq!(arena.take(RING_BYTES).expect("room").unit, first);
}

#[test]
fn spares_do_not_hide_room_for_other_lengths() {
    for len in [1, 16 * RING_BYTES] {
        let mut arena = Arena::new(16 * RING_BYTES);
        let all: Vec<Buffer> = (0..16).map(|_| arena.take(RING_BYTES).expect("room")).collect();
        assert!(!arena.has_ring() && arena.take(1).is_none());
        all.into_iter().for_each(|buffer| arena.give_back(buffer));
        assert!(arena.take(len).is_some(), "{len} bytes");
        arena.invariants();
    }
}

#[test]
fn all_of_it_serves_short_buffers_and_becomes_one_piece_again() {
    let mut arena = Arena::new(64 * RING_BYTES);
    let unit_count = arena.capacity() / UNIT;
    let mut all: Vec<Buffer> = (0..unit_count).map(|_| arena.take(UNIT).expect("room")).collect();
    assert!(arena.take(1).is_none() && !arena.has_ring());
    arena.invariants();
    // Every other one: half of the memory is free, none of it for a ring.
    let (mut even, mut odd) = (Vec::new(), Vec::new());
    all.drain(..)
        .for_each(|buffer| if buffer.unit.is_multiple_of(2) { even.push(buffer) } else { odd.push(buffer) });
    odd.into_iter().for_each(|buffer| arena.give_back(buffer));
    assert_eq!(arena.used(), arena.capacity() / 2);
    assert!(!arena.has_ring() && arena.take(UNIT + 1).is_none());
    arena.invariants();
    even.into_iter().for_each(|buffer| arena.give_back(buffer));
    assert!(arena.take(64 * RING_BYTES).is_some());
}

#[test]
fn short_buffers_lie_together_in_low_memory() {
    let mut arena = Arena::new(64 * RING_BYTES);
    let ring = arena.take(RING_BYTES).expect("room");
    let short: Vec<Buffer> = (0..16).map(|_| arena.take(1).expect("room")).collect();
    arena.give_back(ring);
    let end = short.iter().map(|buffer| (buffer.unit as usize + 1) * UNIT).max();
    assert_eq!(end, Some(2 * RING_BYTES));
}

#[test]
fn a_buffer_is_extended_into_memory_that_is_free_and_its_buddy() {
    let mut arena = Arena::new(4 * RING_BYTES);
    let [mut a, mut b, mut c] = [(); 3].map(|()| arena.take(RING_BYTES).expect("room"));
    assert!(!arena.extend(&mut a), "the next one has its memory");
    assert!(!arena.extend(&mut b), "what is behind an upper half is another's buddy");
    assert!(arena.extend(&mut c) && c.len() == 2 * RING_BYTES && arena.used() == arena.capacity());
    arena.invariants();
    arena.give_back(c);
    arena.give_back(b);
    // The one before waits as a spare, for another ring.
    assert!(!arena.extend(&mut a));
    let longer = arena.take(2 * RING_BYTES).expect("room");
    arena.give_back(longer);
    arena.invariants();
    arena.give_back(a);
    let mut whole = arena.take(4 * RING_BYTES).expect("one piece");
    assert!(!arena.extend(&mut whole));
}

/// What a ring does on its way to tens of megabytes: a longer buffer is taken while the one before is still held, unless it
/// can be extended. The buffer, and how many times it was copied once it was longer than 256 KiB.
fn grow_like_a_ring(arena: &mut Arena, len: usize) -> (Buffer, usize) {
    let (mut buffer, mut copies) = (arena.take(RING_BYTES).expect("room"), 0);
    for wanted in [128 * KIB, 256 * KIB] {
        let longer = arena.take(wanted).expect("room");
        arena.give_back(std::mem::replace(&mut buffer, longer));
    }
    while buffer.len() < len {
        if !arena.extend(&mut buffer) {
            let longer = arena.take(2 * buffer.len()).expect("room");
            arena.give_back(std::mem::replace(&mut buffer, longer));
            copies += 1;
        }
    }
    (buffer, copies)
}

#[test]
fn a_long_buffer_grows_in_place() {
    // The most that a server has for one direction.
    let mut arena = Arena::new(64 * MIB);
    let other = arena.take(RING_BYTES).expect("room");
    let (first, copies) = grow_like_a_ring(&mut arena, 16 * MIB);
    assert_eq!(copies, 0);
    // Another finds its way to as much, copied once or twice; and a half is there for one that needs it.
    let (second, copies) = grow_like_a_ring(&mut arena, 8 * MIB);
    assert!(copies <= 5, "{copies}");
    arena.invariants();
    arena.give_back(second);
    let half = arena.take(32 * MIB).expect("half of it");
    [first, half, other].into_iter().for_each(|buffer| arena.give_back(buffer));
    arena.invariants();
    // A small arena is used from its beginning.
    let mut small = Arena::new(8 * MIB);
    let (buffer, _) = grow_like_a_ring(&mut small, 256 * KIB);
    assert_eq!(buffer.unit, 256);
}

#[test]
#[should_panic(expected = "a foreign buffer")]
fn a_foreign_buffer_is_found_out() {
    let (mut arena, mut other) = (Arena::new(RING_BYTES), Arena::new(RING_BYTES));
    arena.give_back(other.take(UNIT).expect("room"));
}

#[test]
fn the_limit_moves_around_what_is_taken() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let unit_count = RING_BYTES / UNIT * 2 + random.below(2_000);
        let mut arena = Arena::new(unit_count * UNIT);
        let mut held: Vec<(Buffer, u8)> = Vec::new();
        for step in 0..600_u32 {
            let bytes = random.below(unit_count + 100) * UNIT;
            match random.below(4) {
                0 => {
                    let before = arena.capacity();
                    let freed = arena.shrink_to(bytes);
                    assert_eq!(before - freed, arena.capacity());
                    assert!(arena.capacity() >= bytes.min(before) && arena.capacity() >= arena.used());
                    // It stops at what is taken, or where it was told to.
                    let last =
                        held.iter().map(|(buffer, _)| buffer.unit as usize * UNIT + buffer.len()).max();
                    let stop = bytes.max(RING_BYTES).max(last.unwrap_or(0));
                    assert!(freed == 0 || arena.capacity() <= stop, "seed {seed} step {step}");
                }
                1 => {
                    let before = arena.capacity();
                    arena.grow_to(bytes);
                    assert_eq!(arena.capacity(), before.max(bytes.min(arena.ceiling())));
                }
                2 => {
                    if let Some(buffer) = arena.take(LENGTHS[random.below(LENGTHS.len())]) {
                        arena.bytes_mut(&buffer).fill(step as u8);
                        held.push((buffer, step as u8));
                    }
                }
                _ if !held.is_empty() => {
                    let (buffer, mark) = held.swap_remove(random.below(held.len()));
                    assert!(arena.bytes(&buffer).iter().all(|byte| *byte == mark), "its bytes stay");
                    arena.give_back(buffer);
                }
                _ => {}
            }
            arena.invariants();
        }
        held.drain(..).for_each(|(buffer, _)| arena.give_back(buffer));
        arena.shrink_to(0);
        assert_eq!(arena.capacity(), RING_BYTES, "nothing is in the way");
        arena.grow_to(usize::MAX);
        let whole = arena.take(UNIT << unit_count.ilog2()).expect("all is joined again");
        arena.give_back(whole);
        arena.invariants();
    }
}

#[test]
fn the_peak_is_of_the_time_since_it_was_asked_for() {
    let mut arena = Arena::new(MIB);
    let buffer = arena.take(3 * RING_BYTES).expect("room");
    arena.give_back(buffer);
    assert_eq!((arena.take_peak(), arena.take_peak()), (4 * RING_BYTES, 0));
    let buffer = arena.take(RING_BYTES).expect("room");
    assert_eq!((arena.take_peak(), arena.take_peak()), (RING_BYTES, RING_BYTES));
    arena.give_back(buffer);
}
