//! Two rings in one small arena, beside two queues.

use super::script::Script;
use pannier::buffer::arena::Arena;
use pannier::buffer::ring::Ring;
use pannier::limits::KIB;
use std::collections::VecDeque;

/// Four rings of the usual length: few enough to run out.
const ARENA_BYTES: usize = 64 * KIB;
const STEPS_MAX: usize = 2000;

#[derive(Default)]
struct Pair {
    ring: Ring,
    model: VecDeque<u8>,
}

/// See the table of [`super`].
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut arena = Arena::new(ARENA_BYTES);
    let mut pairs = [Pair::default(), Pair::default()];
    for _ in 0..STEPS_MAX {
        if !script.more() {
            break;
        }
        let kind = script.byte();
        let pair = &mut pairs[usize::from(kind >> 7)];
        step(pair, kind & 0x7F, &mut script, &mut arena);
        let (first, second) = pair.ring.readable_parts(&arena);
        assert!(first.iter().chain(second).eq(&pair.model));
        assert_eq!(pair.ring.is_straight(), second.is_empty());
        assert_eq!(pair.ring.free(), pair.ring.capacity() - pair.model.len());
        pair.ring.invariants();
        arena.invariants();
        assert_eq!(arena.used(), pairs[0].ring.capacity() + pairs[1].ring.capacity());
    }
    for mut pair in pairs {
        pair.ring.release(&mut arena);
    }
    assert_eq!(arena.used(), 0);
}

fn step(pair: &mut Pair, kind: u8, script: &mut Script<'_>, arena: &mut Arena) {
    let Pair { ring, model } = pair;
    let number = script.number();
    match kind % 10 {
        0 => assert_eq!(ring.attach(arena), ring.is_attached()),
        1 => {
            ring.release(arena);
            model.clear();
        }
        2 => {
            let bytes: Vec<u8> = (0..number).map(|i| (i ^ (number >> 8)) as u8).collect();
            let fits = number <= ring.free();
            assert_eq!(ring.write(arena, &bytes), fits);
            if fits {
                model.extend(bytes);
            }
        }
        3 => {
            let room = ring.writable(arena);
            let len = number.min(room.len());
            room[..len].fill(number as u8);
            ring.commit(len);
            model.extend(std::iter::repeat_n(number as u8, len));
        }
        4 => {
            let len = number.min(model.len());
            ring.consume(len);
            model.drain(..len);
        }
        5 => {
            ring.straighten(arena);
            assert!(ring.is_straight());
        }
        6 => {
            let before = ring.capacity();
            if ring.grow(arena, number) {
                assert!(ring.capacity() >= number.max(before) && ring.is_straight());
            } else {
                assert_eq!(ring.capacity(), before);
            }
        }
        7 => {
            let before = ring.capacity();
            ring.shrink(arena);
            assert!(ring.capacity() <= before);
        }
        8 if ring.is_straight() => {
            let at = number % (model.len() + 1);
            let len = usize::from(script.byte()) % (model.len() - at + 1);
            ring.remove_range(at, len, arena);
            model.drain(at..at + len);
        }
        _ => {
            let at = number % (model.len() + 1);
            let with = [kind, 1, 2, 3];
            let with = &with[..with.len().min(model.len() - at)];
            ring.patch(at, with, arena);
            model.iter_mut().skip(at).zip(with).for_each(|(byte, new)| *byte = *new);
        }
    }
}
