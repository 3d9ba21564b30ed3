//! Walking an index a little at a time without remembering anything, and picking from it at random.
//!
//! A cursor is a place in hash order: shard, then the kept bits of the hash reversed. "Every key before it was
//! offered."
//! ```text
//!  28   26 25                                0
//! +-------+-----------------------------------+
//! | shard | low 26 bits of the hash, reversed |        0 is the start, and the end
//! +-------+-----------------------------------+
//! ```
//! A split or a merge changes no key's hash, so a key that is there throughout is offered exactly once. Keys in one
//! place are offered together, because a cursor cannot tell them apart.

use super::entry::{Address, Entry, HASH_BITS, position};
use super::leaves::{LEAF_ENTRIES_MAX, NONE};
use super::{Index, Leaves, SHARDS, kept};
use crate::mutant::{self, Mutant};

/// Places of a shard.
const PLACES: u64 = 1 << HASH_BITS;
/// Leaves that a scan looks into beyond those that its count calls for, so that it comes to an end where they are
/// empty.
const SPARE_LEAVES: usize = 16;

impl Index {
    /// Shows about `count` addresses from `cursor` on, and gives the cursor to go on from; 0 is the start and the end.
    /// More than `count` are shown only when they share a place. Fewer may be shown though more are left. Any cursor is
    /// taken, also one that was never given out.
    pub fn scan(&self, leaves: &Leaves, cursor: u64, count: usize, mut visit: impl FnMut(Address)) -> u64 {
        self.scan_while(leaves, cursor, count, |address| {
            visit(address);
            true
        })
    }

    /// As [`scan`](Index::scan); `visit` says whether to go on beyond the place that it is shown a key of.
    pub fn scan_while(
        &self,
        leaves: &Leaves,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(Address) -> bool,
    ) -> u64 {
        let mut cursor = cursor;
        let mut left = count.max(1);
        let leaves_max = SPARE_LEAVES + count / (leaves.leaf_entries() / 8).max(1);
        for _ in 0..leaves_max {
            if cursor >= PLACES * SHARDS as u64 {
                return 0;
            }
            let (shown, next) = self.scan_leaf(leaves, cursor, &mut left, &mut visit);
            cursor = next;
            left = left.saturating_sub(shown);
            if left == 0 {
                break;
            }
        }
        if cursor >= PLACES * SHARDS as u64 { 0 } else { cursor }
    }

    /// Shows up to `count` addresses of the leaf where `cursor` is, and the rest of the last place. Where `visit` wants no
    /// more, `count` becomes 0.
    fn scan_leaf(
        &self,
        leaves: &Leaves,
        cursor: u64,
        count: &mut usize,
        visit: &mut impl FnMut(Address) -> bool,
    ) -> (usize, u64) {
        let (shard, from) = (cursor / PLACES, (cursor % PLACES) as u32);
        let (id, end) = self.leaf_at(leaves, shard as usize, from);
        if id == NONE {
            return (0, end);
        }
        let mut scratch = [0; LEAF_ENTRIES_MAX];
        let mut len = 0;
        for entry in leaves.get(id).entries().filter(|entry| position(entry.hash()) >= from) {
            scratch[len] = entry.sort_key();
            len += 1;
        }
        let keys = &mut scratch[..len];
        keys.sort_unstable();
        let mut last = from;
        for (shown, key) in keys.iter().enumerate() {
            let (place, address) = Entry::from_sort_key(*key);
            if shown >= *count && place != last {
                return (shown, shard * PLACES + u64::from(last) + 1);
            }
            if !visit(address) {
                *count = 0;
            }
            last = place;
        }
        (len, end)
    }

    /// The leaf at a place, and the cursor of the first place after it.
    fn leaf_at(&self, leaves: &Leaves, shard: usize, place: u32) -> (u32, u64) {
        let (directory, entries) = self.directory(shard);
        let id = directory.find(entries, position(place));
        let depth = if id == NONE { 0 } else { leaves.get(id).depth };
        let skips = depth > 0 && mutant::is_on(Mutant::ScanSkipsSplit);
        let width = PLACES >> if skips { depth - 1 } else { depth };
        (id, shard as u64 * PLACES + (u64::from(place) / width + 1) * width)
    }

    /// The address of a key picked by `seed`, which should be random: nearly all keys are equally likely. `None`:
    /// empty.
    pub fn random(&self, leaves: &Leaves, seed: u64) -> Option<Address> {
        let mut cursor = super::shard_of(seed) as u64 * PLACES + u64::from(position(kept(seed)));
        // The next leaf that holds something: merging leaves few empty ones, and there are no more than these.
        for _ in 0..self.leaf_count + SHARDS + 1 {
            let (id, next) = self.leaf_at(leaves, (cursor / PLACES) as usize, (cursor % PLACES) as u32);
            if id != NONE && leaves.get(id).len() > 0 {
                let leaf = leaves.get(id);
                let chosen = (seed >> HASH_BITS) as usize % (1 << 30) % leaf.len();
                return leaf.entries().nth(chosen).map(Entry::address);
            }
            cursor = next % (PLACES * SHARDS as u64);
        }
        None
    }
}
