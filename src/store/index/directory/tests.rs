use super::*;

/// A directory with its room.
struct Owned {
    directory: Directory,
    entries: Vec<u32>,
}

impl Owned {
    fn new(entries_max: usize) -> Owned {
        Owned { directory: Directory::new(3, entries_max), entries: vec![0; entries_max + 5] }
    }

    fn find(&self, hash: u32) -> u32 {
        self.directory.find(&self.entries, hash)
    }

    fn can_split(&mut self, depth: u8) -> bool {
        self.directory.can_split(&mut self.entries, depth)
    }

    fn split(&mut self, depth: u8, upper: u32, prefix: u32) {
        self.directory.split(&mut self.entries, depth, upper, prefix);
    }

    fn merge(&mut self, depth: u8, id: u32, prefix: u32) {
        self.directory.merge(&mut self.entries, depth, id, prefix);
    }

    fn advance(&mut self) {
        self.directory.advance(&mut self.entries);
    }

    fn invariants(&self) {
        self.directory.invariants(&self.entries, |_, _| {});
    }
}

/// A directory whose only leaf was split `times` times over, every leaf each time; ids count up.
fn split_evenly(directory: &mut Owned, times: u8) {
    directory.directory.plant(&mut directory.entries, 0);
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
fn found(directory: &Owned, depth: u8) -> Vec<u32> {
    (0..1 << depth).map(|hash| directory.find(hash)).collect()
}

#[test]
fn a_lookup_is_the_same_at_every_point_of_a_doubling() {
    let mut directory = Owned::new(1 << 7);
    split_evenly(&mut directory, 6);
    assert_eq!(directory.directory.depth, 6);
    let before = found(&directory, 6);
    assert_eq!(before.iter().collect::<std::collections::HashSet<_>>().len(), 64);
    let mut steps = 0;
    while directory.directory.depth == 6 {
        directory.advance();
        assert!((0..1 << 10).all(|hash: u32| directory.find(hash) == before[hash as usize % 64]));
        directory.invariants();
        steps += 1;
    }
    assert_eq!(steps, 64 / COPY_STEP);
    // The next doubling waits until there are more leaves.
    directory.advance();
    assert_eq!(directory.directory.len, 128);
}

#[test]
fn a_split_in_a_half_done_doubling_writes_both_halves() {
    let mut directory = Owned::new(1 << 7);
    split_evenly(&mut directory, 5);
    // A leaf of depth 4 again: two of depth 5 are merged, while the copy has passed the first of their places only.
    for _ in 0..3 {
        directory.advance();
    }
    assert_eq!(directory.directory.len, 32 + 3 * COPY_STEP);
    let kept = directory.find(7);
    directory.merge(5, kept, 7 | 16);
    assert!([7, 23, 39, 55].iter().all(|hash| directory.find(*hash) == kept));
    assert!(directory.can_split(4));
    directory.split(4, 99, 7 | 16);
    let ids = [7, 23, 39, 55].map(|hash| directory.find(hash));
    assert_eq!(ids, [kept, 99, kept, 99]);
    // A leaf that is as deep as the directory has the copy finished first.
    assert!(directory.can_split(5));
    assert_eq!((directory.directory.depth, directory.directory.len), (6, 64));
    assert_eq!([7, 23, 39, 55].map(|hash| directory.find(hash)), ids);
}

#[test]
fn it_never_grows_beyond_what_was_reserved() {
    let mut directory = Owned::new(1 << 4);
    split_evenly(&mut directory, 4);
    assert!(!directory.can_split(4));
    for _ in 0..100 {
        directory.advance();
    }
    assert_eq!((directory.directory.len, directory.entries.len()), (16, 16 + 5));
}

#[test]
fn it_halves_when_few_shallow_leaves_are_left() {
    let mut directory = Owned::new(1 << 6);
    split_evenly(&mut directory, 6);
    for depth in (1..=6).rev() {
        for prefix in 0..1 << (depth - 1) {
            let id = directory.find(prefix);
            assert!(directory.directory.can_merge(depth));
            directory.merge(depth, id, prefix | 1 << (depth - 1));
        }
        directory.invariants();
    }
    assert_eq!((directory.directory.leaf_count, directory.find(12345)), (1, 0));
    // One bit is kept in hand against doubling at once.
    assert_eq!(directory.directory.depth, 1);
    directory.directory.reset(&mut directory.entries);
    assert_eq!(directory.find(1), NONE);
}

#[test]
fn a_doubling_that_has_begun_is_finished() {
    let mut directory = Owned::new(1 << 7);
    split_evenly(&mut directory, 5);
    directory.advance();
    for prefix in 0..16 {
        let id = directory.find(prefix);
        directory.merge(5, id, prefix | 16);
    }
    // There are not enough leaves any more to begin one.
    while directory.directory.depth == 5 {
        let before = directory.directory.len;
        directory.advance();
        assert!(directory.directory.len > before || directory.directory.depth == 6);
    }
    assert_eq!(directory.directory.len, 64);
}

#[test]
fn leaves_that_take_much_of_it_are_not_merged() {
    let mut directory = Owned::new(1 << 13);
    directory.directory.plant(&mut directory.entries, 0);
    for depth in 0..12 {
        assert!(directory.can_split(depth));
        directory.split(depth, 1 + u32::from(depth), 1 << depth);
    }
    assert_eq!(directory.directory.depth, 12);
    let mergeable: Vec<u8> = (0..=12).filter(|depth| directory.directory.can_merge(*depth)).collect();
    assert_eq!(mergeable, (3..=12).collect::<Vec<u8>>(), "at most 1,024 entries to write");
}
