//! The index of one database: from a key's hash to the address of its record, in pieces that grow one by one.
//!
//! ```text
//!  hash  63      56                                25                    0
//!       +----------+------------------------------+-----------------------+
//!       | shard    | not used                     | kept in the entry     |
//!       +----------+------------------------------+-----------------------+
//!            |                                            | low bits
//!            v                                            v
//!        8 shards --> directory of leaf ids  [a b a c]  --> leaf: a hash table of 512 buckets --> address
//! ```
//! It never sees a record: a caller that looks a key up says of each address with the right bits whether it is the one.
//!
//! **Growth.** A full leaf splits in two, which costs some microseconds and reads no records; the directory doubles a
//! few entries at a time. In a plain extendible hash table all leaves fill up together, so they split in one burst,
//! and memory for each item swings by a factor of two with the number of items. So the shards have *unequal* shares
//! of the hashes, in proportion to 2^(i/8): while one shard's leaves split, the others' are an eighth, two eighths …
//! of a doubling away, and the sum is nearly smooth (within 8 % in the test). Martin's spiral storage (1979) has the
//! same cure for linear hashing.
//!
//! **Memory.** Leaves are blocks of the pool. A leaf that runs empty is merged with its buddy; a segment that is left
//! with few leaves is emptied ([`Leaves::compact_step`]) and goes back. Handles and directories are reserved at start.
//!
//! **SCAN** walks shards in order and within a shard the kept bits in reversed order (`scan.rs`).

mod directory;
mod entry;
mod leaves;
mod scan;
#[cfg(test)]
mod tests;

use directory::Directory;
pub use entry::{Address, FREQUENCY_MAX};
use entry::{Entry, HASH_BITS, kept};
use leaves::NONE;
pub use leaves::{LEAF_BUCKETS_MAX, Leaves};

/// The parts of a database that split at different times.
const SHARDS: usize = 8;
/// How many of the 256 values of the hash's top byte fall to each shard: 2^(i/8), scaled and rounded.
const SHARD_WIDTHS: [u8; SHARDS] = [23, 25, 28, 30, 33, 36, 39, 42];
/// The shard of each value of the hash's top byte.
const SHARD_OF: [u8; 256] = shard_table();

const fn shard_table() -> [u8; 256] {
    let mut table = [0; 256];
    let (mut at, mut shard) = (0, 0);
    while shard < SHARDS {
        let end = at + SHARD_WIDTHS[shard] as usize;
        while at < end {
            table[at] = shard as u8;
            at += 1;
        }
        shard += 1;
    }
    assert!(at == 256);
    table
}

/// There is no free block for a leaf that the insert needs, or the directory has its full size, or more keys than a
/// leaf holds have the same hash. The keys are as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// The addresses of one database's records by the hashes of their keys. Two databases change places by swapping
/// these values.
///
/// Methods that find or change one entry take the key's hash; all take the [`Leaves`] that the databases share.
pub struct Index {
    shards: [Directory; SHARDS],
    /// What is in the directories: as much room for each shard, in their order.
    entries: Box<[u32]>,
    /// The list of its leaves.
    head: u32,
    tail: u32,
    leaf_count: usize,
    len: u64,
}

#[inline]
fn shard_of(hash: u64) -> usize {
    SHARD_OF[(hash >> 56) as usize] as usize
}

impl Index {
    /// An empty index with directories reserved for as many leaves as the pool can hold.
    pub fn new(leaves: &Leaves) -> Index {
        // Small leaves (tests) fill very unevenly, and the deepest one decides the directory's size.
        let slack = if leaves.leaf_buckets() >= 256 { 4 } else { 16 };
        let entries_max = leaves.capacity().div_ceil(SHARDS).max(16).next_power_of_two() * slack;
        let entries_max = entries_max.min(1 << HASH_BITS);
        let shards = std::array::from_fn(|shard| Directory::new(shard * entries_max, entries_max));
        let entries = vec![0; SHARDS * entries_max].into_boxed_slice();
        Index { shards, entries, head: NONE, tail: NONE, leaf_count: 0, len: 0 }
    }

    /// Entries.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of its directories, which are not in the pool.
    pub fn directory_bytes(&self) -> usize {
        self.shards.iter().map(Directory::memory_bytes).sum()
    }

    /// Bytes of the pool that its leaves use.
    pub fn leaf_bytes(&self, leaves: &Leaves) -> usize {
        self.leaf_count * leaves.leaf_block_bytes()
    }

    #[inline]
    fn leaf_id(&self, hash: u64) -> u32 {
        let (directory, entries) = self.directory(shard_of(hash));
        directory.find(entries, kept(hash))
    }

    /// A shard's directory, and the entries of all.
    #[inline]
    fn directory(&self, shard: usize) -> (&Directory, &[u32]) {
        (&self.shards[shard], &self.entries)
    }

    /// The same, to change it.
    #[inline]
    fn directory_mut(&mut self, shard: usize) -> (&mut Directory, &mut [u32]) {
        (&mut self.shards[shard], &mut self.entries)
    }

    /// The address under this hash of which `is` says that it is the key's.
    #[inline]
    pub fn find(&self, leaves: &Leaves, hash: u64, is: impl FnMut(Address) -> bool) -> Option<Address> {
        match self.leaf_id(hash) {
            NONE => None,
            id => leaves.get(id).find(kept(hash), is).map(Entry::address),
        }
    }

    /// Asks memory for what [`find`](Self::find) of this hash will read, and gives the leaf, for
    /// [`Leaves::probe`].
    #[inline]
    pub fn prefetch(&self, leaves: &Leaves, hash: u64) -> u32 {
        let id = self.leaf_id(hash);
        if id != NONE {
            leaves.prefetch(id, kept(hash));
        }
        id
    }

    /// As [`find`](Self::find), and counts a use of the entry.
    #[inline]
    pub fn find_and_count(
        &self,
        leaves: &mut Leaves,
        hash: u64,
        is: impl FnMut(Address) -> bool,
    ) -> Option<Address> {
        let id = self.leaf_id(hash);
        if id == NONE {
            return None;
        }
        let word = leaves.get_mut(id).find_mut(kept(hash), is)?;
        let entry = Entry(*word);
        if entry.frequency() < FREQUENCY_MAX {
            *word = Entry::new(entry.address(), entry.hash(), entry.frequency() + 1).0;
        }
        Some(entry.address())
    }

    /// How often the entry was counted, 0..=[`FREQUENCY_MAX`]; `None` if it is not there.
    pub fn frequency(&self, leaves: &Leaves, hash: u64, address: Address) -> Option<u8> {
        match self.leaf_id(hash) {
            NONE => None,
            id => leaves.get(id).find(kept(hash), |found| found == address).map(Entry::frequency),
        }
    }

    /// Sets the entry's count (at most [`FREQUENCY_MAX`]); false: it is not there.
    pub fn set_frequency(&mut self, leaves: &mut Leaves, hash: u64, address: Address, count: u8) -> bool {
        self.change(leaves, hash, address, |entry| Entry::new(entry.address(), entry.hash(), count))
    }

    /// Gives the entry another address: its record has moved. False: it is not there.
    pub fn replace(&mut self, leaves: &mut Leaves, hash: u64, old: Address, new: Address) -> bool {
        self.change(leaves, hash, old, |entry| Entry::new(new, entry.hash(), entry.frequency()))
    }

    fn change(
        &mut self,
        leaves: &mut Leaves,
        hash: u64,
        address: Address,
        change: impl FnOnce(Entry) -> Entry,
    ) -> bool {
        let id = self.leaf_id(hash);
        if id == NONE {
            return false;
        }
        match leaves.get_mut(id).find_mut(kept(hash), |found| found == address) {
            Some(word) => {
                *word = change(Entry(*word)).0;
                true
            }
            None => false,
        }
    }

    /// Adds the address of a key that is not there. Its frequency is 0.
    ///
    /// # Errors
    /// [`NoRoom`], and nothing is added. While [`Leaves::needs_blocks`] is false that hardly ever happens.
    #[inline]
    pub fn insert(&mut self, leaves: &mut Leaves, hash: u64, address: Address) -> Result<(), NoRoom> {
        let (shard, entry) = (shard_of(hash), Entry::new(address, kept(hash), 0));
        let mut id = self.leaf_id(hash);
        if id == NONE || !leaves.get(id).has_room() {
            id = self.make_room(leaves, shard, kept(hash))?;
        }
        leaves.get_mut(id).insert(entry);
        self.len += 1;
        let (directory, entries) = self.directory_mut(shard);
        directory.advance(entries);
        Ok(())
    }

    /// Purges or splits until the leaf of this hash has room; gives the leaf.
    #[cold]
    fn make_room(&mut self, leaves: &mut Leaves, shard: usize, hash: u32) -> Result<u32, NoRoom> {
        // One leaf planted, or one purged and then split at every bit.
        for _ in 0..HASH_BITS + 3 {
            let (directory, entries) = self.directory_mut(shard);
            let id = directory.find(entries, hash);
            if id == NONE {
                let id = leaves.create(shard as u8, 0, 0)?;
                directory.plant(entries, id);
                self.link(leaves, id);
            } else if leaves.get(id).has_room() {
                return Ok(id);
            } else if leaves.get(id).len() * 8 <= leaves.leaf_entries() * 7 {
                leaves.rebuild(id);
            } else {
                self.split(leaves, id)?;
            }
        }
        Err(NoRoom)
    }

    fn split(&mut self, leaves: &mut Leaves, id: u32) -> Result<(), NoRoom> {
        let leaf = leaves.get(id);
        let (shard, depth, prefix) = (leaf.shard, leaf.depth, leaf.prefix | 1 << leaf.depth);
        let (directory, entries) = self.directory_mut(shard as usize);
        if leaf.is_uniform() || leaves.free_blocks() == 0 || !directory.can_split(entries, depth) {
            return Err(NoRoom);
        }
        let upper = leaves.create(shard, depth + 1, prefix)?;
        leaves.share(id, upper);
        directory.split(entries, depth, upper, prefix);
        self.link(leaves, upper);
        Ok(())
    }

    /// Takes the entry away; false: it is not there.
    #[inline]
    pub fn remove(&mut self, leaves: &mut Leaves, hash: u64, address: Address) -> bool {
        let id = self.leaf_id(hash);
        if id == NONE || !leaves.get_mut(id).remove(kept(hash), address) {
            return false;
        }
        self.len -= 1;
        if leaves.get(id).len() * 4 < leaves.leaf_entries() {
            self.merge(leaves, id);
        }
        true
    }

    /// Merges a leaf that is less than a quarter full with its buddy, if both together are less than half full: about
    /// as many removals away from a split as a split, which leaves two halves, is from this.
    #[cold]
    fn merge(&mut self, leaves: &mut Leaves, id: u32) {
        for _ in 0..HASH_BITS {
            let leaf = leaves.get(id);
            let (directory, entries) = self.directory_mut(leaf.shard as usize);
            let depth = leaf.depth;
            if depth == 0 && leaf.len() == 0 {
                directory.reset(entries);
                self.unlink(leaves, id);
                leaves.free(id);
                return;
            }
            if !directory.can_merge(depth) {
                return;
            }
            let prefix = leaf.prefix ^ 1 << (depth - 1);
            let buddy_id = directory.find(entries, prefix);
            let buddy = leaves.get(buddy_id);
            if buddy.depth != depth || (leaf.len() + buddy.len()) * 2 >= leaves.leaf_entries() {
                return;
            }
            leaves.join(id, buddy_id);
            directory.merge(entries, depth, id, prefix);
            self.unlink(leaves, buddy_id);
            leaves.free(buddy_id);
        }
    }

    /// Takes everything away. Costs the same whatever there was; [`Leaves::drain_pending_free`] frees the leaves bit by
    /// bit and tells what addresses were in them.
    pub fn clear(&mut self, leaves: &mut Leaves) {
        if self.head != NONE {
            leaves.condemn(self.head, self.tail, self.leaf_count);
        }
        for shard in 0..SHARDS {
            let (directory, entries) = self.directory_mut(shard);
            directory.reset(entries);
        }
        (self.head, self.tail, self.leaf_count, self.len) = (NONE, NONE, 0, 0);
    }

    fn link(&mut self, leaves: &mut Leaves, id: u32) {
        let leaf = leaves.get_mut(id);
        (leaf.previous, leaf.next) = (NONE, self.head);
        match self.head {
            NONE => self.tail = id,
            head => leaves.get_mut(head).previous = id,
        }
        self.head = id;
        self.leaf_count += 1;
    }

    fn unlink(&mut self, leaves: &mut Leaves, id: u32) {
        let (previous, next) = (leaves.get(id).previous, leaves.get(id).next);
        match previous {
            NONE => self.head = next,
            previous => leaves.get_mut(previous).next = next,
        }
        match next {
            NONE => self.tail = previous,
            next => leaves.get_mut(next).previous = previous,
        }
        self.leaf_count -= 1;
    }

    /// Asserts that directories, leaves, list and counts agree; gives the number of leaves.
    pub fn invariants(&self, leaves: &Leaves) -> usize {
        let (mut len, mut leaf_count) = (0, 0);
        for shard in 0..SHARDS {
            let (directory, entries) = self.directory(shard);
            directory.invariants(entries, |id, covered| {
                let leaf = leaves.get(id);
                assert_eq!(leaf.shard as usize, shard);
                assert!(leaf.prefix >> leaf.depth == 0 && covered(leaf.prefix, leaf.depth) > 0);
                for entry in leaf.entries() {
                    assert_eq!(entry.hash() & ((1 << leaf.depth) - 1), leaf.prefix);
                    assert_eq!(directory.find(entries, entry.hash()), id);
                    assert!(leaf.find(entry.hash(), |address| address == entry.address()).is_some());
                }
                len += leaf.len();
                leaf_count += 1;
            });
        }
        assert_eq!(len as u64, self.len);
        assert_eq!(leaf_count, self.leaf_count);
        let (mut at, mut previous, mut linked) = (self.head, NONE, 0);
        while at != NONE {
            assert_eq!(leaves.get(at).previous, previous);
            (previous, at) = (at, leaves.get(at).next);
            linked += 1;
            assert!(linked <= leaf_count);
        }
        assert_eq!((linked, previous), (leaf_count, self.tail));
        leaf_count
    }
}
