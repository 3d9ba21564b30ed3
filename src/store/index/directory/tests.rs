use super::*;

/// A directory whose only leaf was split `times` times over, every leaf each time; ids count up.
fn split_evenly(directory: &mut Directory, times: u8) {
    directory.plant(0);
    let mut next = 1;
    for depth in 0..times {
        for prefix in 0..1 << depth {
            assert!(directory.can_split(depth));
            directory.split(depth, next, prefix | 1 << depth);
            next += 1;
        }
    }
}

/// The leaf of every place, when all leaves are `depth` deep.
fn found(directory: &Directory, depth: u8) -> Vec<u32> {
    (0..1 << depth).map(|hash| directory.find(hash)).collect()
}

#[test]
fn a_lookup_is_the_same_at_every_point_of_a_doubling() {
    let mut directory = Directory::new(1 << 7);
    split_evenly(&mut directory, 6);
    assert_eq!(directory.depth, 6);
    let before = found(&directory, 6);
    assert_eq!(before.iter().collect::<std::collections::HashSet<_>>().len(), 64);
    let mut steps = 0;
    while directory.depth == 6 {
        directory.advance();
        assert!((0..1 << 10).all(|hash: u32| directory.find(hash) == before[hash as usize % 64]));
        directory.invariants(|_, _| {});
        steps += 1;
    }
    assert_eq!(steps, 64 / COPY_STEP);
    // The next doubling waits until there are more leaves.
    directory.advance();
    assert_eq!(directory.entries.len(), 128);
}

#[test]
fn a_split_in_a_half_done_doubling_writes_both_halves() {
    let mut directory = Directory::new(1 << 7);
    split_evenly(&mut directory, 5);
    // A leaf of depth 4 again: two of depth 5 are merged, while the copy has passed the first of their places only.
    for _ in 0..3 {
        directory.advance();
    }
    assert_eq!(directory.entries.len(), 32 + 3 * COPY_STEP);
    let kept = directory.find(7);
    directory.merge(5, kept, 7 | 16);
    assert!([7, 23, 39, 55].iter().all(|hash| directory.find(*hash) == kept));
    assert!(directory.can_split(4));
    directory.split(4, 99, 7 | 16);
    let ids = [7, 23, 39, 55].map(|hash| directory.find(hash));
    assert_eq!(ids, [kept, 99, kept, 99]);
    // A leaf that is as deep as the directory has the copy finished first.
    assert!(directory.can_split(5));
    assert_eq!((directory.depth, directory.entries.len()), (6, 64));
    assert_eq!([7, 23, 39, 55].map(|hash| directory.find(hash)), ids);
}

#[test]
fn it_never_grows_beyond_what_was_reserved() {
    let mut directory = Directory::new(1 << 4);
    split_evenly(&mut directory, 4);
    let room = directory.entries.capacity();
    assert!(!directory.can_split(4));
    for _ in 0..100 {
        directory.advance();
    }
    assert_eq!((directory.entries.len(), directory.entries.capacity()), (16, room));
}

#[test]
fn it_halves_when_few_shallow_leaves_are_left() {
    let mut directory = Directory::new(1 << 6);
    split_evenly(&mut directory, 6);
    for depth in (1..=6).rev() {
        for prefix in 0..1 << (depth - 1) {
            let id = directory.find(prefix);
            assert!(directory.can_merge(depth));
            directory.merge(depth, id, prefix | 1 << (depth - 1));
        }
        directory.invariants(|_, _| {});
    }
    assert_eq!((directory.leaf_count, directory.find(12345)), (1, 0));
    // One bit is kept in hand against doubling at once.
    assert_eq!(directory.depth, 1);
    directory.reset();
    assert_eq!(directory.find(1), NONE);
}

#[test]
fn a_doubling_that_has_begun_is_finished() {
    let mut directory = Directory::new(1 << 7);
    split_evenly(&mut directory, 5);
    directory.advance();
    for prefix in 0..16 {
        let id = directory.find(prefix);
        directory.merge(5, id, prefix | 16);
    }
    // There are not enough leaves any more to begin one.
    while directory.depth == 5 {
        let before = directory.entries.len();
        directory.advance();
        assert!(directory.entries.len() > before || directory.depth == 6);
    }
    assert_eq!(directory.entries.len(), 64);
}

#[test]
fn leaves_that_take_much_of_it_are_not_merged() {
    let mut directory = Directory::new(1 << 13);
    directory.plant(0);
    for depth in 0..12 {
        assert!(directory.can_split(depth));
        directory.split(depth, 1 + u32::from(depth), 1 << depth);
    }
    assert_eq!(directory.depth, 12);
    let mergeable: Vec<u8> = (0..=12).filter(|depth| directory.can_merge(*depth)).collect();
    assert_eq!(mergeable, (3..=12).collect::<Vec<u8>>(), "at most 1,024 entries to write");
}
