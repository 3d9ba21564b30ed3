//! One shard's directory: extendible hashing (Fagin, Nievergelt, Pippenger, Strong, 1979) that doubles without a pause.
//!
//! ```text
//!            depth 2                  while it doubles                    depth 3
//!  entries  [a b a c]      [a b a c | a b]  len = 4 + 2 copied   [a b a c | a b d c]
//!  hash      ..00 ..11      ..100 ..101 here; ..110 still in the first half at ..10
//! ```
//! Doubling appends a copy of the first half. It starts when the leaves have become nearly as many as the entries,
//! and every insert copies a few more; a hash whose place is not there yet is looked up in the first half. A split
//! only needs the copy to be done when a leaf is as deep as the directory, which is about a hundred inserts for each
//! entry away: the fill of leaves differs by the square root of their mean only. A leaf that gets there before
//! finishes the copy at once.
//!
//! The room of all shards' entries is one piece of memory, which the index owns: of a piece for each, the allocator would
//! touch a page, in every database, before there is a key. An entry is a leaf's id inverted, for the same reason: memory
//! of zeros, which costs nothing before it is written, is a directory of [`NONE`].

use super::entry::HASH_BITS;
use super::leaves::NONE;

/// Entries that an insert copies.
const COPY_STEP: usize = 4;
/// A leaf is merged only while it takes at most this many bits of the directory: more entries to write would be a
/// pause.
const SPREAD_BITS_MAX: u8 = 10;

/// Leaf ids by the low bits of the hash. Its methods take the entries of all shards, zeros at first.
pub(super) struct Directory {
    /// Where its own entries begin, and how many it may have.
    base: usize,
    room: usize,
    /// Entries in use: `2^depth` and, while it doubles, the part of their copy that is there.
    len: usize,
    depth: u8,
    leaf_count: u32,
    /// Leaves of each depth.
    leaves_at: [u32; HASH_BITS as usize + 1],
}

impl Directory {
    /// A directory of an empty shard, for `room` entries from `base` on.
    pub fn new(base: usize, room: usize) -> Directory {
        Directory { base, room, len: 1, depth: 0, leaf_count: 0, leaves_at: [0; HASH_BITS as usize + 1] }
    }

    /// The leaf where a hash belongs, or [`NONE`] in an empty shard.
    #[inline]
    pub fn find(&self, entries: &[u32], hash: u32) -> u32 {
        let half = 1_usize << self.depth;
        let at = hash as usize & (2 * half - 1);
        let at = if at < self.len { at } else { at - half };
        !entries[self.base + at]
    }

    /// Bytes of entries in use.
    pub fn memory_bytes(&self) -> usize {
        self.len * size_of::<u32>()
    }

    /// The first leaf of an empty shard.
    pub fn plant(&mut self, entries: &mut [u32], id: u32) {
        assert!(self.leaf_count == 0);
        entries[self.base] = !id;
        self.leaf_count = 1;
        self.leaves_at[0] = 1;
    }

    /// Forgets all leaves.
    pub fn reset(&mut self, entries: &mut [u32]) {
        if self.leaf_count > 0 {
            entries[self.base] = !NONE;
        }
        *self = Directory::new(self.base, self.room);
    }

    /// Makes sure that a leaf of this depth can be split; false: the directory cannot grow any more.
    pub fn can_split(&mut self, entries: &mut [u32], depth: u8) -> bool {
        if depth < self.depth {
            return true;
        }
        if u32::from(depth) >= HASH_BITS || !self.may_double() {
            return false;
        }
        self.copy(entries, usize::MAX);
        true
    }

    /// Notes a split of a leaf of this depth; `upper` has `prefix` at one bit more.
    pub fn split(&mut self, entries: &mut [u32], depth: u8, upper: u32, prefix: u32) {
        self.leaf_count += 1;
        self.leaves_at[depth as usize] -= 1;
        self.leaves_at[depth as usize + 1] += 2;
        self.write(entries, depth + 1, prefix, upper);
    }

    /// Whether leaves of this depth may be merged.
    pub fn can_merge(&self, depth: u8) -> bool {
        depth > 0 && self.depth - depth < SPREAD_BITS_MAX
    }

    /// Notes a merge: `id`, which was of this depth, has taken in its buddy, whose prefix this is.
    pub fn merge(&mut self, entries: &mut [u32], depth: u8, id: u32, prefix: u32) {
        self.leaf_count -= 1;
        self.leaves_at[depth as usize] -= 2;
        self.leaves_at[depth as usize - 1] += 1;
        self.write(entries, depth, prefix, id);
        // Halving costs nothing: no leaf is as deep as the directory, so the halves are equal. Not at the first
        // chance, so that a leaf that splits and merges in turn does not double it each time.
        let deep = self.leaves_at[self.depth as usize] > 0;
        if self.depth > 0 && !deep && self.leaf_count as usize <= 1 << self.depth >> 2 {
            self.depth -= 1;
            self.len = 1 << self.depth;
        }
    }

    fn write(&mut self, entries: &mut [u32], depth: u8, prefix: u32, id: u32) {
        let places = entries[self.base..][..self.len].iter_mut().skip(prefix as usize).step_by(1 << depth);
        places.for_each(|entry| *entry = !id);
    }

    /// Copies a few entries if it is time to double; every insert calls it.
    #[inline]
    pub fn advance(&mut self, entries: &mut [u32]) {
        let half = 1_usize << self.depth;
        if self.len > half || self.leaf_count as usize >= half - half / 8 {
            self.advance_slowly(entries);
        }
    }

    #[cold]
    fn advance_slowly(&mut self, entries: &mut [u32]) {
        if self.may_double() {
            self.copy(entries, COPY_STEP);
        }
    }

    /// Whether the reserved room and the kept bits of the hash suffice for one bit more.
    fn may_double(&self) -> bool {
        u32::from(self.depth) < HASH_BITS && self.room >= 2 << self.depth
    }

    fn copy(&mut self, entries: &mut [u32], count: usize) {
        let half = 1_usize << self.depth;
        let from = self.len - half;
        let to = half.min(from.saturating_add(count));
        entries[self.base..][..self.room].copy_within(from..to, self.len);
        self.len += to - from;
        if self.len == 2 * half {
            self.depth += 1;
        }
    }

    /// Asserts what can be seen without the leaves, then shows every distinct leaf's id once, with the number of
    /// entries that name it.
    pub fn invariants(&self, entries: &[u32], mut visit: impl FnMut(u32, &dyn Fn(u32, u8) -> usize)) {
        let half = 1_usize << self.depth;
        assert!(self.len >= half && self.len < 2 * half);
        let ids: Vec<u32> = entries[self.base..][..self.len].iter().map(|entry| !entry).collect();
        assert_eq!(self.leaves_at.iter().sum::<u32>(), self.leaf_count);
        assert_eq!(self.leaf_count == 0, ids[0] == NONE);
        let mut seen = std::collections::HashSet::new();
        for id in ids.iter().filter(|id| **id != NONE) {
            if seen.insert(*id) {
                visit(*id, &|prefix, depth| {
                    assert!(depth <= self.depth);
                    let covered = ids.iter().skip(prefix as usize).step_by(1 << depth);
                    covered.inspect(|entry| assert_eq!(*entry, id)).count()
                });
            }
        }
        assert_eq!(seen.len(), self.leaf_count as usize);
    }
}

#[cfg(test)]
mod tests;
