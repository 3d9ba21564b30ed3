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

use super::entry::HASH_BITS;
use super::leaves::NONE;

/// Entries that an insert copies.
const COPY_STEP: usize = 4;
/// A leaf is merged only while it takes at most this many bits of the directory: more entries to write would be a
/// pause.
const SPREAD_BITS_MAX: u8 = 10;

/// Leaf ids by the low bits of the hash.
pub(super) struct Directory {
    /// `2^depth` ids and, while it doubles, the part of their copy that is there.
    entries: Vec<u32>,
    depth: u8,
    leaf_count: u32,
    /// Leaves of each depth.
    leaves_at: [u32; HASH_BITS as usize + 1],
}

impl Directory {
    /// A directory of an empty shard, which may grow to `entries_max` entries.
    pub fn new(entries_max: usize) -> Directory {
        let mut entries = Vec::with_capacity(entries_max);
        entries.push(NONE);
        Directory { entries, depth: 0, leaf_count: 0, leaves_at: [0; HASH_BITS as usize + 1] }
    }

    /// The leaf where a hash belongs, or [`NONE`] in an empty shard.
    #[inline]
    pub fn find(&self, hash: u32) -> u32 {
        let half = 1_usize << self.depth;
        let at = hash as usize & (2 * half - 1);
        let at = if at < self.entries.len() { at } else { at - half };
        self.entries[at]
    }

    /// Bytes of entries in use.
    pub fn memory_bytes(&self) -> usize {
        self.entries.len() * size_of::<u32>()
    }

    /// The first leaf of an empty shard.
    pub fn plant(&mut self, id: u32) {
        assert!(self.leaf_count == 0);
        self.entries[0] = id;
        self.leaf_count = 1;
        self.leaves_at[0] = 1;
    }

    /// Forgets all leaves.
    pub fn reset(&mut self) {
        self.entries.truncate(1);
        self.entries[0] = NONE;
        (self.depth, self.leaf_count) = (0, 0);
        self.leaves_at = [0; HASH_BITS as usize + 1];
    }

    /// Makes sure that a leaf of this depth can be split; false: the directory cannot grow any more.
    pub fn can_split(&mut self, depth: u8) -> bool {
        if depth < self.depth {
            return true;
        }
        if u32::from(depth) >= HASH_BITS || !self.may_double() {
            return false;
        }
        self.copy(usize::MAX);
        true
    }

    /// Notes a split of a leaf of this depth; `upper` has `prefix` at one bit more.
    pub fn split(&mut self, depth: u8, upper: u32, prefix: u32) {
        self.leaf_count += 1;
        self.leaves_at[depth as usize] -= 1;
        self.leaves_at[depth as usize + 1] += 2;
        self.write(depth + 1, prefix, upper);
    }

    /// Whether leaves of this depth may be merged.
    pub fn can_merge(&self, depth: u8) -> bool {
        depth > 0 && self.depth - depth < SPREAD_BITS_MAX
    }

    /// Notes a merge: `id`, which was of this depth, has taken in its buddy, whose prefix this is.
    pub fn merge(&mut self, depth: u8, id: u32, prefix: u32) {
        self.leaf_count -= 1;
        self.leaves_at[depth as usize] -= 2;
        self.leaves_at[depth as usize - 1] += 1;
        self.write(depth, prefix, id);
        // Halving costs nothing: no leaf is as deep as the directory, so the halves are equal. Not at the first
        // chance, so that a leaf that splits and merges in turn does not double it each time.
        let deep = self.leaves_at[self.depth as usize] > 0;
        if self.depth > 0 && !deep && self.leaf_count as usize <= 1 << self.depth >> 2 {
            self.depth -= 1;
            self.entries.truncate(1 << self.depth);
        }
    }

    fn write(&mut self, depth: u8, prefix: u32, id: u32) {
        self.entries.iter_mut().skip(prefix as usize).step_by(1 << depth).for_each(|entry| *entry = id);
    }

    /// Copies a few entries if it is time to double; every insert calls it.
    #[inline]
    pub fn advance(&mut self) {
        let half = 1_usize << self.depth;
        if self.entries.len() > half || self.leaf_count as usize >= half - half / 8 {
            self.advance_slowly();
        }
    }

    #[cold]
    fn advance_slowly(&mut self) {
        if self.may_double() {
            self.copy(COPY_STEP);
        }
    }

    /// Whether the reserved room and the kept bits of the hash suffice for one bit more.
    fn may_double(&self) -> bool {
        u32::from(self.depth) < HASH_BITS && self.entries.capacity() >= 2 << self.depth
    }

    fn copy(&mut self, count: usize) {
        let half = 1_usize << self.depth;
        let from = self.entries.len() - half;
        self.entries.extend_from_within(from..half.min(from.saturating_add(count)));
        if self.entries.len() == 2 * half {
            self.depth += 1;
        }
    }

    /// Asserts what can be seen without the leaves, then shows every distinct leaf's id once, with the number of
    /// entries that name it.
    pub fn invariants(&self, mut visit: impl FnMut(u32, &dyn Fn(u32, u8) -> usize)) {
        let half = 1_usize << self.depth;
        assert!(self.entries.len() >= half && self.entries.len() < 2 * half);
        assert!(self.entries.capacity() >= self.entries.len());
        assert_eq!(self.leaves_at.iter().sum::<u32>(), self.leaf_count);
        assert_eq!(self.leaf_count == 0, self.entries[0] == NONE);
        let mut seen = std::collections::HashSet::new();
        for id in self.entries.iter().filter(|id| **id != NONE) {
            if seen.insert(*id) {
                visit(*id, &|prefix, depth| {
                    assert!(depth <= self.depth);
                    let covered = self.entries.iter().skip(prefix as usize).step_by(1 << depth);
                    covered.inspect(|entry| assert_eq!(*entry, id)).count()
                });
            }
        }
        assert_eq!(seen.len(), self.leaf_count as usize);
    }
}

#[cfg(test)]
mod tests;
