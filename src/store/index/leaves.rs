//! The leaves of all databases: small hash tables of one fixed size whose memory is the pool's.
//!
//! A leaf is a `hashbrown` table that never grows and never rehashes by itself: an entry goes in only while
//! `capacity() > len()`, which holds exactly when no growth is needed (capacity counts what is there and what still
//! fits beside the tombstones). A leaf that is full of tombstones is emptied and filled again in place. So the one
//! thing that needs memory is one more leaf, and that is a block of the pool.
//!
//! The handles live in an arena reserved at start; a handle is in one database's list, or on the list of the
//! waiting to be freed (of databases that were flushed), or free.

use super::entry::{Address, Entry, HASH_BITS, kept, spread};
use super::{Index, NoRoom};
use crate::store::pool::{Home, LeafAllocator, NO_TAG};
use crate::store::prefetch;
use hashbrown::HashTable;

/// Buckets of a leaf, at most.
pub const LEAF_BUCKETS_MAX: usize = 512;
/// Entries of a leaf, at most: `hashbrown` keeps an eighth of the buckets empty.
pub(super) const LEAF_ENTRIES_MAX: usize = LEAF_BUCKETS_MAX / 8 * 7;
/// No leaf.
pub(super) const NONE: u32 = u32::MAX;
/// Free blocks below which [`Leaves::needs_blocks`] asks for a segment: an insert needs at most one for a new shard
/// or a split, and hardly ever a second because everything fell to one side.
const FREE_BLOCKS_MIN: usize = 3;

const _: () = assert!(NONE == NO_TAG);

type Table = HashTable<u64, LeafAllocator>;

/// A leaf's handle: one cache line, so that a lookup takes one miss to it.
#[repr(align(64))]
pub(super) struct Leaf {
    table: Table,
    /// The neighbours in the list that it is on.
    pub next: u32,
    pub previous: u32,
    /// The low `depth` bits that every hash in it has.
    pub prefix: u32,
    pub depth: u8,
    pub shard: u8,
}

const _: () = assert!(size_of::<Leaf>() == 64);

impl Leaf {
    #[inline]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub fn has_room(&self) -> bool {
        self.table.capacity() > self.table.len()
    }

    #[inline]
    pub fn find(&self, hash: u32, mut is: impl FnMut(Address) -> bool) -> Option<Entry> {
        let same = |word: &u64| Entry(*word).hash() == hash && is(Entry(*word).address());
        self.table.find(spread(hash), same).map(|word| Entry(*word))
    }

    #[inline]
    pub fn find_mut(&mut self, hash: u32, mut is: impl FnMut(Address) -> bool) -> Option<&mut u64> {
        let same = |word: &u64| Entry(*word).hash() == hash && is(Entry(*word).address());
        self.table.find_mut(spread(hash), same)
    }

    /// Adds an entry; the leaf has room.
    #[inline]
    pub fn insert(&mut self, entry: Entry) {
        assert!(self.has_room(), "a leaf never grows");
        self.table.insert_unique(spread(entry.hash()), entry.0, |word| spread(Entry(*word).hash()));
    }

    /// Takes an entry away, if it is there.
    #[inline]
    pub fn remove(&mut self, hash: u32, address: Address) -> bool {
        match self.table.find_entry(spread(hash), |word| Entry(*word).is(hash, address)) {
            Ok(found) => {
                found.remove();
                true
            }
            Err(_) => false,
        }
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.table.iter().map(|word| Entry(*word))
    }

    /// Takes everything out, tombstones too (`clear` leaves them in a table without entries).
    fn empty_into(&mut self, scratch: &mut [u64; LEAF_ENTRIES_MAX]) -> usize {
        let mut count = 0;
        for word in self.table.drain() {
            scratch[count] = word;
            count += 1;
        }
        count
    }

    /// Whether all entries have one hash, as far as it is kept: such a leaf cannot be split.
    pub fn is_uniform(&self) -> bool {
        let mut entries = self.entries();
        entries.next().is_some_and(|first| entries.all(|entry| entry.hash() == first.hash()))
    }
}

/// All leaves, of all databases. The methods of [`Index`] that look into leaves are given this beside it.
///
/// Kinds of method: `needs_blocks` says when to give a segment to the leaves; `drain_pending_free` and `compact_step` are
/// work by itself, in bounded steps; the rest are getters.
pub struct Leaves {
    allocator: LeafAllocator,
    arena: Vec<Leaf>,
    /// Where each leaf's block is, for hints alone: all of them together stay in a cache where the handles would not.
    homes: Vec<Home>,
    /// Handles that are not in use, linked by `next`.
    free: u32,
    /// Leaves of databases that were cleared, linked by `next`.
    pending_free: u32,
    pending_free_count: usize,
    leaf_buckets: usize,
}

impl Leaves {
    /// No leaves yet; `leaf_buckets` as the pool was told.
    ///
    /// # Panics
    /// When `leaf_buckets` is above [`LEAF_BUCKETS_MAX`].
    pub fn new(allocator: LeafAllocator, leaf_buckets: usize) -> Leaves {
        assert!(leaf_buckets <= LEAF_BUCKETS_MAX);
        let arena = Vec::with_capacity(allocator.capacity());
        let homes = Vec::with_capacity(allocator.capacity());
        Leaves {
            allocator,
            arena,
            homes,
            free: NONE,
            pending_free: NONE,
            pending_free_count: 0,
            leaf_buckets,
        }
    }

    /// Whether the store should give a segment to the leaves before the next insert, which may be refused otherwise.
    #[inline]
    pub fn needs_blocks(&self) -> bool {
        self.free_blocks() < FREE_BLOCKS_MIN
    }

    /// Blocks that are free.
    #[inline]
    pub fn free_blocks(&self) -> usize {
        self.allocator.free_count()
    }

    /// Leaves in use, those that wait to be freed included.
    pub fn leaf_count(&self) -> usize {
        self.allocator.used_count()
    }

    /// Whether leaves of cleared databases wait for [`drain_pending_free`](Self::drain_pending_free).
    pub fn has_pending_free(&self) -> bool {
        self.pending_free != NONE
    }

    /// Bytes of the pool that one leaf uses.
    pub fn leaf_block_bytes(&self) -> usize {
        self.allocator.block_bytes()
    }

    /// Blocks of a segment.
    pub fn blocks_per_segment(&self) -> usize {
        self.allocator.per_segment()
    }

    /// Leaves that there would be if the whole pool were leaves.
    pub(super) fn capacity(&self) -> usize {
        self.arena.capacity()
    }

    pub(super) fn leaf_buckets(&self) -> usize {
        self.leaf_buckets
    }

    /// Entries that a leaf without tombstones holds.
    #[inline]
    pub(super) fn leaf_entries(&self) -> usize {
        self.leaf_buckets / 8 * 7
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> &Leaf {
        &self.arena[id as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: u32) -> &mut Leaf {
        &mut self.arena[id as usize]
    }

    /// Asks memory for what a lookup of this hash reads of a leaf: its handle, the control bytes from which `hashbrown`
    /// begins to probe, and the entries that go with them. `hashbrown` lays the entries out before the control bytes,
    /// in reverse. Should that ever change, the hint is worth nothing and the lookup is as right as before.
    #[inline]
    pub(super) fn prefetch(&self, id: u32, hash: u32) {
        let home = self.homes[id as usize];
        let bucket = spread(hash) as usize & (self.leaf_buckets - 1);
        let entries_bytes = self.leaf_buckets * size_of::<u64>();
        prefetch::line(std::ptr::from_ref(self.get(id)).cast());
        self.allocator.prefetch(home, entries_bytes + bucket);
        self.allocator.prefetch(home, entries_bytes - (bucket + 1) * size_of::<u64>());
    }

    /// The address of some key of this hash in a leaf that [`Index::prefetch`] named; only a hint, whatever has happened
    /// to the leaf since.
    #[inline]
    pub fn probe(&self, id: u32, hash: u64) -> Option<Address> {
        self.arena.get(id as usize)?.find(kept(hash), |_| true).map(Entry::address)
    }

    /// A table in a fresh block, which is tagged by its leaf.
    fn table(&self, id: u32) -> Result<Table, NoRoom> {
        let mut table = Table::new_in(self.allocator.clone());
        self.allocator.set_tag(id);
        table.try_reserve(self.leaf_entries(), |word| spread(Entry(*word).hash())).map_err(|_| NoRoom)?;
        assert!(table.num_buckets() == self.leaf_buckets, "hashbrown's sizes are as they were");
        Ok(table)
    }

    /// A new, empty leaf on no list.
    pub(super) fn create(&mut self, shard: u8, depth: u8, prefix: u32) -> Result<u32, NoRoom> {
        let reused = self.free != NONE;
        let id = if reused { self.free } else { self.arena.len() as u32 };
        let table = self.table(id)?;
        let leaf = Leaf { table, next: NONE, previous: NONE, prefix, depth, shard };
        if reused {
            self.free = self.get(id).next;
            *self.get_mut(id) = leaf;
            self.homes[id as usize] = self.allocator.latest();
        } else {
            assert!(self.arena.len() < self.arena.capacity(), "a handle for every block");
            self.arena.push(leaf);
            self.homes.push(self.allocator.latest());
        }
        Ok(id)
    }

    /// Gives back the block and the handle of a leaf that is on no list any more.
    pub(super) fn free(&mut self, id: u32) {
        let (table, next) = (Table::new_in(self.allocator.clone()), self.free);
        let leaf = self.get_mut(id);
        leaf.table = table;
        leaf.next = next;
        self.free = id;
    }

    /// Purges a leaf's tombstones.
    pub(super) fn rebuild(&mut self, id: u32) {
        let mut scratch = [0; LEAF_ENTRIES_MAX];
        let leaf = self.get_mut(id);
        let count = leaf.empty_into(&mut scratch);
        for word in &scratch[..count] {
            leaf.insert(Entry(*word));
        }
    }

    /// Makes `id` one bit deeper; the entries that have that bit go to `upper`, which is fresh.
    pub(super) fn share(&mut self, id: u32, upper: u32) {
        let mut scratch = [0; LEAF_ENTRIES_MAX];
        let leaf = self.get_mut(id);
        let bit = leaf.depth;
        leaf.depth += 1;
        let count = leaf.empty_into(&mut scratch);
        for word in &scratch[..count] {
            let entry = Entry(*word);
            let home = if entry.hash() >> bit & 1 == 1 { upper } else { id };
            self.get_mut(home).insert(entry);
        }
    }

    /// Makes `id` one bit shallower and moves everything from its buddy to it; together they fill half of it at most.
    pub(super) fn join(&mut self, id: u32, buddy: u32) {
        let mut scratch = [0; LEAF_ENTRIES_MAX];
        let moved = self.get_mut(buddy).empty_into(&mut scratch);
        if self.get(id).table.capacity() < self.get(id).len() + moved {
            self.rebuild(id);
        }
        let leaf = self.get_mut(id);
        leaf.depth -= 1;
        leaf.prefix &= (1 << leaf.depth) - 1;
        for word in &scratch[..moved] {
            leaf.insert(Entry(*word));
        }
    }

    /// Puts a whole list of leaves, from `head` to `tail`, among those that wait to be freed.
    pub(super) fn condemn(&mut self, head: u32, tail: u32, count: usize) {
        self.get_mut(tail).next = self.pending_free;
        self.pending_free = head;
        self.pending_free_count += count;
    }

    /// Frees up to `leaves_max` leaves of cleared databases, showing their addresses to `visit`. True: more are
    /// waiting.
    pub fn drain_pending_free(&mut self, leaves_max: usize, mut visit: impl FnMut(Address)) -> bool {
        for _ in 0..leaves_max {
            let id = self.pending_free;
            if id == NONE {
                return false;
            }
            self.get(id).entries().for_each(|entry| visit(entry.address()));
            self.pending_free = self.get(id).next;
            self.pending_free_count -= 1;
            self.free(id);
        }
        self.has_pending_free()
    }

    /// Moves up to `leaves_max` leaves out of the highest-numbered leaf segment into partly used lower ones, when two
    /// segments' worth of blocks are free, so that whole segments fall free for `Pool::reclaim_from_leaves`. True:
    /// something was moved.
    pub fn compact_step(&mut self, leaves_max: usize) -> bool {
        let mut moved = false;
        for _ in 0..leaves_max {
            let Some(id) = self.allocator.tag_to_move() else { break };
            let Ok(mut table) = self.table(id) else { break };
            for entry in self.get(id).entries() {
                table.insert_unique(spread(entry.hash()), entry.0, |word| spread(Entry(*word).hash()));
            }
            self.get_mut(id).table = table;
            self.homes[id as usize] = self.allocator.latest();
            moved = true;
        }
        moved
    }

    /// Asserts that every handle and block belongs to one of `indexes`, to those that wait to be freed, or is free.
    pub fn invariants<'a>(&self, indexes: impl Iterator<Item = &'a Index>) {
        let owned = indexes.map(|index| index.invariants(self)).sum::<usize>();
        let count = |head: u32| {
            let next = |id: &u32| Some(self.get(*id).next).filter(|id| *id != NONE);
            std::iter::successors(Some(head).filter(|id| *id != NONE), next).count()
        };
        assert_eq!(count(self.pending_free), self.pending_free_count);
        assert_eq!(owned + self.pending_free_count, self.leaf_count());
        assert_eq!(self.leaf_count() + count(self.free), self.arena.len());
        for leaf in &self.arena {
            let buckets = leaf.table.num_buckets();
            assert!(buckets == self.leaf_buckets || buckets <= 1 && leaf.len() == 0);
            assert!(u32::from(leaf.depth) <= HASH_BITS);
        }
    }
}
