//! Which blocks for leaves are free, and whose each one is. This touches no memory but its own tables.

use super::{BLOCK_ALIGN, Kind, NO_TAG};
use crate::store::bitset::BitSet;
use std::cell::Cell;

/// The widest group of control bytes that `hashbrown` reads at once, on any machine.
const GROUP_BYTES_MAX: usize = 16;

/// The blocks for leaves in the segments that were given over to them.
pub(super) struct Blocks {
    /// From one block to the next.
    pub(super) stride_bytes: usize,
    pub(super) per_segment: usize,
    words_per_segment: usize,
    /// One bit for each block, set while it is free.
    free_bits: Vec<u64>,
    /// Free blocks of each segment.
    free_in: Vec<u32>,
    /// Whose each block is.
    pub(super) tags: Vec<u32>,
    pub(super) next_tag: u32,
    /// The first byte of the block that was handed out last, in units of BLOCK_ALIGN.
    pub(super) latest: u32,
    pub(super) free_count: usize,
    pub(super) used_count: usize,
    /// Leaf segments by state; a segment is in `partial` or in `idle` or in neither.
    pub(super) partial: BitSet,
    idle: BitSet,
    pub(super) used: BitSet,
}

impl Blocks {
    pub(super) fn new(segment_bytes: usize, segment_count: usize, leaf_buckets: usize) -> Blocks {
        // The layout of a hashbrown table of u64: the entries, one control byte for each, one more group of them.
        let table_bytes = leaf_buckets * (size_of::<u64>() + 1) + GROUP_BYTES_MAX;
        let stride_bytes = table_bytes.next_multiple_of(BLOCK_ALIGN);
        let per_segment = segment_bytes / stride_bytes;
        assert!(per_segment > 0, "a segment holds at least one leaf");
        let words_per_segment = per_segment.div_ceil(64);
        Blocks {
            stride_bytes,
            per_segment,
            words_per_segment,
            free_bits: vec![0; words_per_segment * segment_count],
            free_in: vec![0; segment_count],
            tags: vec![0; per_segment * segment_count],
            next_tag: NO_TAG,
            latest: 0,
            free_count: 0,
            used_count: 0,
            partial: BitSet::new(segment_count),
            idle: BitSet::new(segment_count),
            used: BitSet::new(segment_count),
        }
    }

    /// Puts a segment into the sets where its count of free blocks belongs.
    fn refile(&mut self, segment: usize) {
        let free = self.free_in[segment] as usize;
        put(&mut self.idle, segment, free == self.per_segment);
        put(&mut self.partial, segment, free > 0 && free < self.per_segment);
        put(&mut self.used, segment, free < self.per_segment);
    }

    pub(super) fn add(&mut self, segment: usize) {
        for block in 0..self.per_segment {
            self.free_bits[segment * self.words_per_segment + block / 64] |= 1 << (block % 64);
            self.tags[segment * self.per_segment + block] = NO_TAG;
        }
        self.free_in[segment] = self.per_segment as u32;
        self.free_count += self.per_segment;
        self.refile(segment);
    }

    /// Takes away a segment whose blocks are all free.
    pub(super) fn withdraw(&mut self) -> Option<usize> {
        let segment = self.idle.last()?;
        self.idle.remove(segment);
        let from = segment * self.words_per_segment;
        self.free_bits[from..from + self.words_per_segment].fill(0);
        self.free_in[segment] = 0;
        self.free_count -= self.per_segment;
        Some(segment)
    }

    pub(super) fn take(&mut self) -> Option<(usize, usize)> {
        let segment = self.partial.first().or_else(|| self.idle.first())?;
        let from = segment * self.words_per_segment;
        let words = &mut self.free_bits[from..from + self.words_per_segment];
        let (at, word) = words.iter_mut().enumerate().find(|(_, word)| **word != 0)?;
        let block = at * 64 + word.trailing_zeros() as usize;
        *word &= *word - 1;
        self.tags[segment * self.per_segment + block] = self.next_tag;
        self.free_in[segment] -= 1;
        self.free_count -= 1;
        self.used_count += 1;
        self.refile(segment);
        Some((segment, block))
    }

    pub(super) fn give_back(&mut self, segment: usize, block: usize) {
        let word = &mut self.free_bits[segment * self.words_per_segment + block / 64];
        assert!(*word >> (block % 64) & 1 == 0, "a block is given back once");
        *word |= 1 << (block % 64);
        self.tags[segment * self.per_segment + block] = NO_TAG;
        self.free_in[segment] += 1;
        self.free_count += 1;
        self.used_count -= 1;
        self.refile(segment);
    }

    pub(super) fn invariants(&self, kinds: &[Cell<Kind>]) {
        let (mut free, mut used) = (0, 0);
        for (segment, kind) in kinds.iter().enumerate() {
            let from = segment * self.words_per_segment;
            let words = &self.free_bits[from..from + self.words_per_segment];
            let free_here = words.iter().map(|word| word.count_ones() as usize).sum::<usize>();
            assert_eq!(free_here, self.free_in[segment] as usize);
            let given = kind.get() == Kind::Leaves;
            assert!(given || free_here == 0);
            assert_eq!(self.idle.contains(segment), given && free_here == self.per_segment);
            assert_eq!(self.partial.contains(segment), free_here > 0 && free_here < self.per_segment);
            assert_eq!(self.used.contains(segment), given && free_here < self.per_segment);
            free += free_here;
            used += if given { self.per_segment - free_here } else { 0 };
        }
        assert_eq!((free, used), (self.free_count, self.used_count));
    }
}

fn put(set: &mut BitSet, number: usize, member: bool) {
    if member {
        set.insert(number);
    } else {
        set.remove(number);
    }
}
