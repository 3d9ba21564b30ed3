//! The store: keys and values in one fixed piece of memory, in numbered databases.
//!
//! ```text
//!            key --hash--> index (leaves) --address--> record in a segment --id--> large value (spans, blocks)
//!
//!   apply ---> room? ---> append to an open segment ---> index ---> commit: revision, feed
//!                |  not enough: reclaim in bounded steps, else evict or refuse
//!   maintain ----+--> sweep (expired and flushed records), clean, free large values and leaves that wait for it
//! ```
//! [`pool`] cuts the memory into segments. Records ([`record`]) are appended to open segments of a log ([`segments`]); an
//! index for each keyspace ([`index`]) finds them; values over 8 KiB live outside the log ([`large`]). What takes
//! long goes in bounded steps: [`clean`] packs what lives, [`expiry`] sweeps what is due, [`evict`] picks what goes when the
//! store is a cache. [`apply`] is the one door for changes, and [`staged`] a door for several at once, all or nothing;
//! [`place`] gives a key its record, [`feed`] publishes what has changed, [`replay`] applies what another store has
//! published. [`room`] finds a record its place within what [`fill`] permits, and [`reclaim`] makes room. [`lookup`] looks the keys of a batch of requests up at once.
//! Hashes and sets are [`collection`]s, short ones in their records and longer ones in pages of the pool; [`fields`] changes
//! them one entry at a time, and [`field_expiry`] removes fields whose time has come.
//!
//! A flush takes a revision and notes it for the keyspace: records that are not younger are dead from then on, wherever
//! they lie, and a walk that meets them clears them away. So a flush costs the same however much it takes.

mod apply;
pub mod bitset;
mod clean;
pub mod collection;
mod evict;
mod expiry;
pub mod feed;
mod field_expiry;
mod field_removal;
mod fields;
mod fill;
pub mod hash;
pub mod index;
mod invariants;
mod large;
mod lending;
mod lookup;
mod packed;
mod packing;
mod place;
pub mod pool;
mod prefetch;
mod reclaim;
mod record;
mod removal_sketch;
mod replay;
mod room;
mod segments;
mod staged;
#[cfg(test)]
pub(crate) mod tests;
mod types;
mod values;
mod withheld;
mod write;

pub use crate::config::OnFull;
use crate::limits;
use crate::mutation::{Database, KeyspaceId, Revision};
use crate::time::Millis;
use crate::work;
use clean::Victim;
pub use collection::Collection;
use collection::WorkBuffer;
use collection::entry::TIME_BYTES;
use expiry::Sweep;
use feed::Feed;
use hash::KeyHasher;
use index::{Address, Index, Leaves};
pub use large::LargeCursor;
use large::Larges;
pub use lookup::{Lookahead, LookupHint};
pub use packing::Packing;
use pool::{Pool, SegmentId};
use record::{Content, Record};
use removal_sketch::RemovalSketch;
use segments::{Segments, State};
pub use staged::BatchExpiry;
pub use types::{
    Entry, FIRST_REVISION_MAX, MemoryUse, RemovalPolicy, StoreConfig, StoreCounters, TooSmall, Value,
};
use withheld::Withheld;

/// The keys of one database, wherever SWAPDB puts them.
struct Keyspace {
    index: Index,
    /// Bytes of its records.
    live: u64,
    /// Keys with an expiry, and the sum of their expiries.
    expiring: u64,
    expiry_sum: u128,
    /// Records up to this revision were flushed.
    flushed: Revision,
}

/// Segments that only cleaning may take: one to move a victim's records to, one to spare.
const RESERVE_SEGMENTS: u32 = 2;
/// One part in so many of the memory is what the feed may refer to in large values.
const FEED_LARGE_SHARE: u64 = 8;
/// A store has at least so many segments.
const SEGMENTS_MIN: u32 = 24;

/// The store. Kinds of method: reads ([`get`](Store::get), [`scan`](Store::scan) …), the one door for changes
/// ([`apply`](Store::apply); [`put_all`](Store::put_all) for several at once), `large_*` for values that come and go in pieces, and [`maintain`](Store::maintain),
/// to be called when there is nothing else to do.
pub struct Store {
    config: StoreConfig,
    pool: Pool,
    table: Segments,
    leaves: Leaves,
    larges: Larges,
    hasher: KeyHasher,
    /// What is known of the key that the command at work asks for: see [`expect`](Store::expect).
    expected: LookupHint,
    keyspaces: Box<[Keyspace]>,
    /// The space of each database.
    keyspace_of: [u8; limits::DATABASES_MAX as usize],
    revision: Revision,
    removals: RemovalSketch,
    feed: Feed,
    removal_policy: RemovalPolicy,
    /// When databases last changed places.
    swapped: Revision,
    counters: StoreCounters,
    /// Bytes of flushed records that are still counted as live.
    pending_free_bytes: u64,
    victim: Option<Victim>,
    sweep: Sweep,
    /// Bytes of cleaning that writes owe.
    gc_debt: u64,
    /// Segments that a lowered limit leaves unused.
    withheld: Withheld,
    /// Those that are lent, in the order in which they were.
    lent: Vec<pool::SegmentId>,
    /// How many of them cannot be had back as things stand.
    lent_in_use: u32,
    /// Bytes that eviction kept since it last freed something.
    kept: u64,
    /// Grows whenever a record moves or goes: what was looked up before may be elsewhere.
    layout_epoch: u64,
    /// Keyspace and hash of the key whose value a change builds on: until the change is made, eviction passes it by, and so
    /// does the sweep over fields that have expired.
    protected: Option<(usize, u64)>,
    /// Bytes of a value in a record, at most. A longer one is a large value, which `--max-value` may refuse.
    inline_bytes_max: usize,
    /// Where values are put together that a write changes in part.
    scratch: Box<[u8]>,
    /// Where entries of collections are put together, and pages copied.
    work: WorkBuffer,
    /// A copy of a field that expires, with room for the longest.
    field_buffer: Vec<u8>,
    /// Pages that were copied because others refer to them, for those who meter a change.
    copied_pages: u32,
    has_huge_pages: bool,
}

/// The segment of an address and the offset in it.
#[inline]
fn split(pool: &Pool, address: Address) -> (SegmentId, usize) {
    let offset = address.offset();
    (SegmentId((offset >> pool.segment_shift()) as u32), offset as usize & (pool.segment_bytes() - 1))
}

/// The bytes from an address to the end of its segment.
#[inline]
fn bytes_at(pool: &Pool, address: Address) -> &[u8] {
    pool.bytes_from(address.offset())
}

#[inline]
fn address(pool: &Pool, segment: SegmentId, offset: usize) -> Address {
    Address::from_offset(u64::from(segment.0) * pool.segment_bytes() as u64 + offset as u64)
}

/// Bytes of the tables for so many segments, beside the pool itself.
fn table_bytes(segments: u32, config: &StoreConfig) -> usize {
    let count = segments as usize;
    let leaf_bytes = config.leaf_buckets * 9 + 16;
    // The smallest record is larger than its entry, so leaves never have more than half of the pool.
    let leaves = (config.segment_bytes / leaf_bytes).max(1) * count;
    let handles = leaves / 2 * 96 + leaves * 4 + count * 16;
    // A directory has at most a few ids for each leaf; together the databases have no more leaves than one alone would.
    // Even an empty database's eight directories are a page each.
    let pages = (leaves * 16).min(36 * limits::KIB);
    let directories = leaves * 4 * size_of::<u32>() + usize::from(config.databases) * pages;
    let rows = count * size_of::<segments::Segment>();
    let (larges, scratch) =
        (Larges::table_bytes(segments), config.segment_bytes / 2 + limits::FIELD_BYTES_MAX);
    let lent = count * size_of::<pool::SegmentId>();
    rows + lent + handles + directories + larges + scratch + config.feed_bytes + 16 * limits::KIB
}

impl Store {
    /// Reserves the memory; it is touched as it fills. `secret` keys the hash and is to be random.
    ///
    /// # Errors
    /// [`TooSmall`] when `memory_bytes` does not hold the tables and a handful of segments.
    ///
    /// # Panics
    /// When the configuration makes no sense (see [`StoreConfig`]).
    pub fn new(config: StoreConfig, secret: [u64; 2]) -> Result<Store, TooSmall> {
        assert!(
            config.segment_bytes.is_power_of_two()
                && (1024..=64 * limits::KIB).contains(&config.segment_bytes)
        );
        assert!((1..=limits::DATABASES_MAX).contains(&config.databases));
        assert!(config.first_revision.0 <= FIRST_REVISION_MAX);
        let whole = |segments: u32| segments as usize * config.segment_bytes + table_bytes(segments, &config);
        if whole(SEGMENTS_MIN) > config.memory_bytes {
            return Err(TooSmall { needed_bytes: whole(SEGMENTS_MIN) });
        }
        // 36 bits of address in units of four bytes.
        let addressable = (1 << 38) / config.segment_bytes;
        let most = (config.memory_bytes / config.segment_bytes).min(addressable) as u32;
        let segments = (SEGMENTS_MIN..=most).rev().find(|n| whole(*n) <= config.memory_bytes);
        let segments = segments.unwrap_or(SEGMENTS_MIN);
        let pool = Pool::new(config.segment_bytes, segments, config.leaf_buckets);
        let has_huge_pages = config.huge_pages && pool.make_pages_huge();
        let leaves = Leaves::new(pool.leaf_allocator(), config.leaf_buckets);
        let space = |_| Keyspace {
            index: Index::new(&leaves),
            live: 0,
            expiring: 0,
            expiry_sum: 0,
            flushed: Revision(0),
        };
        let keyspaces = (0..config.databases).map(space).collect();
        Ok(Store {
            table: Segments::new(segments, config.segment_bytes),
            larges: Larges::new(segments, config.segment_bytes),
            hasher: KeyHasher::new(secret),
            expected: LookupHint::NOTHING,
            keyspaces,
            keyspace_of: std::array::from_fn(|db| db as u8),
            revision: config.first_revision,
            removals: RemovalSketch::new(),
            feed: Feed::new(config.feed_bytes, config.memory_bytes as u64 / FEED_LARGE_SHARE),
            removal_policy: RemovalPolicy::default(),
            swapped: Revision(0),
            counters: StoreCounters::default(),
            pending_free_bytes: 0,
            victim: None,
            sweep: Sweep::default(),
            gc_debt: 0,
            withheld: Withheld::default(),
            lent: Vec::with_capacity(segments as usize),
            lent_in_use: 0,
            kept: 0,
            protected: None,
            layout_epoch: 0,
            // A collection is put together here with a field's time before it is found to be too long for a record.
            scratch: vec![0; config.segment_bytes / 8 + TIME_BYTES].into_boxed_slice(),
            inline_bytes_max: (config.segment_bytes / 8)
                .min(limits::INLINE_VALUE_BYTES_MAX)
                .min(usize::try_from(config.max_value_bytes).unwrap_or(usize::MAX)),
            work: WorkBuffer::new(config.segment_bytes / segments::BLOCKS),
            field_buffer: Vec::with_capacity(limits::FIELD_BYTES_MAX),
            copied_pages: 0,
            has_huge_pages,
            pool,
            leaves,
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Whether the system was asked for pages of 2 MiB, and has them.
    pub fn has_huge_pages(&self) -> bool {
        self.has_huge_pages
    }

    /// The latest revision that was drawn.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Bytes of a key, at most.
    pub fn key_bytes_max(&self) -> usize {
        (self.config.segment_bytes - 64).min(limits::KEY_BYTES_MAX)
    }

    #[inline]
    fn space(&self, db: Database) -> usize {
        usize::from(self.keyspace_of[usize::from(db.0)])
    }

    /// The keyspace of a database.
    pub fn keyspace_of(&self, db: Database) -> KeyspaceId {
        KeyspaceId(self.keyspace_of[usize::from(db.0)])
    }

    /// The database of a keyspace.
    pub fn database_of(&self, keyspace: KeyspaceId) -> Database {
        let db = self.keyspace_of.iter().position(|of| *of == keyspace.0);
        Database(db.expect("every keyspace has a database") as u8)
    }

    /// The record of a key, expired or not.
    #[inline]
    fn locate(&self, space: usize, hash: u64, key: &[u8]) -> Option<Address> {
        if let Some((at, _)) = self.hinted((space, hash, key), &self.expected) {
            return Some(at);
        }
        work::count(work::KEY);
        let is = |address| record::has_key(bytes_at(&self.pool, address), key);
        self.keyspaces[space].index.find(&self.leaves, hash, is)
    }

    /// The same for a read. In evict mode a use is counted.
    #[inline(always)] // Of `get`, for each command.
    fn locate_to_use(&mut self, space: usize, hash: u64, key: &[u8]) -> Option<Address> {
        match self.config.on_full {
            OnFull::Refuse => self.locate(space, hash, key),
            OnFull::Evict => {
                let is = |address| record::has_key(bytes_at(&self.pool, address), key);
                self.keyspaces[space].index.find_and_count(&mut self.leaves, hash, is)
            }
        }
    }

    #[inline]
    fn record(&self, address: Address) -> Record<'_> {
        Record::read(bytes_at(&self.pool, address))
    }

    #[inline]
    fn entry(&self, address: Address) -> Entry<'_> {
        self.entry_of(self.record(address))
    }

    /// The entry at an address, unless it has expired.
    #[inline(always)] // An entry is long; few of its fields are wanted.
    fn live_entry(&self, address: Address, now: Millis) -> Option<Entry<'_>> {
        let record = self.record(address);
        (!record.expired(now)).then(|| self.entry_of(record))
    }

    #[inline(always)]
    fn entry_of<'a>(&self, record: Record<'a>) -> Entry<'a> {
        let value = match record.content {
            Content::Inline(bytes) => Value::Inline(bytes),
            Content::Large(id) => Value::Large { id, len: self.larges.len(id) },
            Content::Collection(bytes) => Value::Collection(Collection::read(bytes)),
        };
        Entry { key: record.key, value, revision: record.revision, expiry: record.expiry }
    }

    /// Looks a key up; an expired one is not there, and stays where it is ([`expire_if_due`](Store::expire_if_due) removes
    /// it). In evict mode a use is counted.
    #[inline]
    pub fn get(&mut self, db: Database, key: &[u8], now: Millis) -> Option<Entry<'_>> {
        let (space, hash) = (self.space(db), self.hasher.hash(key));
        let found = self.locate_to_use(space, hash, key);
        self.live_entry(found?, now)
    }

    /// As [`get`](Store::get), with the store beside the entry, to read on in what the entry refers to.
    pub fn read(&mut self, db: Database, key: &[u8], now: Millis) -> Option<(&Store, Entry<'_>)> {
        let (space, hash) = (self.space(db), self.hasher.hash(key));
        let found = self.locate_to_use(space, hash, key);
        let store: &Store = self;
        store.live_entry(found?, now).map(|entry| (store, entry))
    }

    /// Looks a key up without side effects.
    pub fn peek(&self, db: Database, key: &[u8], now: Millis) -> Option<Entry<'_>> {
        let address = self.locate(self.space(db), self.hasher.hash(key), key)?;
        self.live_entry(address, now)
    }

    /// The hash of any name under the store's secret: for other tables that peers choose the keys of.
    pub fn hash_of(&self, name: &[u8]) -> u64 {
        self.hasher.hash(name)
    }

    /// Whether a key may have gone from a database after that revision; yes is certain for one that has.
    pub fn maybe_removed_since(&self, db: Database, key: &[u8], revision: Revision) -> bool {
        self.removals.since(usize::from(db.0), (self.space(db), self.hasher.hash(key)), revision)
    }

    /// Whether a key that was absent from a database at that revision, and is absent now, may have been there in between;
    /// yes is certain for one that was.
    pub fn maybe_came_and_went_since(&self, db: Database, key: &[u8], revision: Revision) -> bool {
        let key = (self.space(db), self.hasher.hash(key));
        self.removals.came_and_went_since(usize::from(db.0), key, revision)
    }

    /// Keys of a database; expired ones count until they are met.
    pub fn len(&self, db: Database) -> u64 {
        self.keyspaces[self.space(db)].index.len()
    }

    /// Whether a database has no keys.
    pub fn is_empty(&self, db: Database) -> bool {
        self.len(db) == 0
    }

    /// Keys of a database that have an expiry.
    pub fn expiring(&self, db: Database) -> u64 {
        self.keyspaces[self.space(db)].expiring
    }

    /// Mean time to live of those keys, in milliseconds.
    pub fn average_ttl_ms(&self, db: Database, now: Millis) -> u64 {
        let space = &self.keyspaces[self.space(db)];
        let mean = space.expiry_sum.checked_div(u128::from(space.expiring)).unwrap_or(0);
        (mean as u64).saturating_sub(now.0)
    }

    /// Shows about `count` keys from `cursor` on (0 is the start) and gives the cursor to go on from (0: done). A key that
    /// is there throughout is shown exactly once.
    pub fn scan(
        &self,
        db: Database,
        cursor: u64,
        count: usize,
        now: Millis,
        visit: &mut dyn FnMut(&Entry<'_>),
    ) -> u64 {
        self.keyspaces[self.space(db)].index.scan(&self.leaves, cursor, count, |address| {
            work::count(work::SCANNED_KEY);
            if !self.record(address).expired(now) {
                visit(&self.entry(address));
            }
        })
    }

    /// Shows about `count` keys of a keyspace from `cursor` on, expired ones as well, and gives the cursor to go on from (0:
    /// done). When `visit` says false, no key is shown beyond those that share the last one's place; these are few.
    pub fn scan_while(
        &self,
        keyspace: KeyspaceId,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&Entry<'_>) -> bool,
    ) -> u64 {
        let index = &self.keyspaces[usize::from(keyspace.0)].index;
        index.scan_while(&self.leaves, cursor, count, |address| visit(&self.entry(address)))
    }

    /// A key chosen by `seed`, which is to be random. `None`: no key was found that has not expired.
    pub fn random(&self, db: Database, seed: u64, now: Millis) -> Option<Entry<'_>> {
        let index = &self.keyspaces[self.space(db)].index;
        // Among many expired keys a few tries are enough, or there is hardly one to find.
        (0..16_u64).find_map(|attempt| {
            let seed = seed.wrapping_add(attempt.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let address = index.random(&self.leaves, seed)?;
            (!self.record(address).expired(now)).then(|| self.entry(address))
        })
    }

    /// Does up to `steps` bounded pieces of work that is due: freeing what was flushed, deleted or expired, and cleaning
    /// before memory runs short. True: more is waiting.
    pub fn maintain(&mut self, now: Millis, steps: usize) -> bool {
        for _ in 0..steps {
            if !self.reclaim_due(now) && !self.compact_ahead(now) && !self.withhold_step(now) {
                return false;
            }
        }
        self.has_work(now)
    }

    /// The earliest time at which something may expire, in Unix milliseconds. `None`: nothing will.
    pub fn next_expiry_hint(&self) -> Option<Millis> {
        self.sweep.hint()
    }

    /// Whether keys make room for writes when memory is full; otherwise writes are refused.
    pub fn evicts(&self) -> bool {
        self.config.on_full == OnFull::Evict
    }

    /// What the memory is used for.
    pub fn memory(&self) -> MemoryUse {
        let (totals, bytes) = (self.table.totals(), self.config.segment_bytes as u64);
        let segments = |state| u64::from(totals.count(state)) * bytes;
        let large = self.larges.memory_bytes(&self.table);
        let (writable, writable_max) = self.writable();
        MemoryUse {
            limit: self.config.memory_bytes as u64,
            live: totals.live,
            dead: totals.dead,
            tail: segments(State::Open) + segments(State::Sealed) - totals.live - totals.dead,
            free: u64::from(self.pool.free_count()) * bytes,
            index: segments(State::Leaves),
            large,
            large_free: segments(State::Span) + segments(State::BlockSlab) - large,
            reserved: self.config.memory_bytes as u64 - u64::from(self.pool.segment_count()) * bytes,
            lent: u64::from(self.lent_segments()) * bytes,
            touched: u64::from(self.pool.touched_count()) * bytes,
            writable,
            writable_max,
        }
    }

    /// What was done so far.
    pub fn statistics(&self) -> &StoreCounters {
        &self.counters
    }

    /// Whether keys are removed by the store itself from now on.
    pub fn set_removal_policy(&mut self, policy: RemovalPolicy) {
        self.removal_policy = policy;
        if let Some(victim) = &mut self.victim {
            victim.evict &= policy == RemovalPolicy::Own;
        }
    }
}
