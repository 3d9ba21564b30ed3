//! What the store's callers give it and get from it: configuration, entries, figures.

use super::collection::Collection;
use super::{OnFull, index};
use crate::limits;
use crate::mutation::{LargeId, Revision};
use crate::time::Millis;

/// A key and what it has, borrowed from the store.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub key: &'a [u8],
    pub value: Value<'a>,
    pub revision: Revision,
    /// Unix milliseconds; `None`: it stays.
    pub expiry: Option<Millis>,
}

/// A value, borrowed from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Inline(&'a [u8]),
    /// To be read by [`Store::large_slice`](super::Store::large_slice); a caller that reads it beyond the next change retains it.
    Large {
        id: LargeId,
        len: u64,
    },
    /// To be read by [`Store::field`](super::Store::field) and its like.
    Collection(Collection<'a>),
}

impl Value<'_> {
    /// Bytes of the value; of a collection its entries.
    pub fn len(&self) -> u64 {
        match self {
            Value::Inline(bytes) => bytes.len() as u64,
            Value::Large { len, .. } => *len,
            Value::Collection(collection) => collection.len() as u64,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How a store is made.
#[derive(Clone, Copy, Debug)]
pub struct StoreConfig {
    /// All that the store may touch, its tables included, in bytes.
    pub memory_bytes: usize,
    /// Databases, 1..=[`limits::DATABASES_MAX`].
    pub databases: u8,
    pub on_full: OnFull,
    /// Bytes of a value, at most.
    pub max_value_bytes: u64,
    /// Bytes of a segment, a power of two from 1024 to 65536; tests shrink it.
    pub segment_bytes: usize,
    /// Buckets of a leaf of the index, a power of two; tests shrink it.
    pub leaf_buckets: usize,
    /// Revisions are drawn from above this one, which is to be random: then one that a client read from an earlier run
    /// of the server never names another value in this one. At most [`FIRST_REVISION_MAX`].
    pub first_revision: Revision,
    /// Bytes of the change feed's ring, of `memory_bytes`: 0 (there is none) or at least
    /// [`FEED_BYTES_MIN`](feed::FEED_BYTES_MIN), and a multiple of eight.
    pub feed_bytes: usize,
    /// Whether the memory is to be in pages of 2 MiB, if the system has them. Then nothing may be
    /// [lent](super::Store::lend_segments).
    pub huge_pages: bool,
}

/// A store's first revision, at most: it leaves room for 2^47 writes, two years at two million a second.
pub const FIRST_REVISION_MAX: u64 = 1 << 47;

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            memory_bytes: 64 * limits::MIB,
            databases: limits::DATABASES_MAX,
            on_full: OnFull::Refuse,
            max_value_bytes: limits::VALUE_BYTES_MAX,
            segment_bytes: limits::SEGMENT_BYTES,
            leaf_buckets: index::LEAF_BUCKETS_MAX,
            first_revision: Revision(0),
            feed_bytes: 0,
            huge_pages: false,
        }
    }
}

/// `memory_bytes` is less than a store needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    pub needed_bytes: usize,
}

/// What the memory is used for, in bytes. The parts sum up to the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    pub limit: u64,
    /// Records that can be found, and flushed ones that were not met yet.
    pub live: u64,
    /// Records that were overwritten or deleted, until cleaning comes by.
    pub dead: u64,
    /// Room in segments of records: behind the last record of full ones, and what open ones still take.
    pub tail: u64,
    pub free: u64,
    /// Segments given to the leaves of the index.
    pub index: u64,
    /// Pieces of large values.
    pub large: u64,
    /// Room between the blocks of large values.
    pub large_free: u64,
    /// Tables beside the pool.
    pub reserved: u64,
    /// Segments that are lent to clients' buffers and tables.
    pub lent: u64,
    /// Bytes of the pool that were ever touched; not a part of the sum.
    pub touched: u64,
    /// Bytes of records that may be added before a write is refused (or, in evict mode, a key goes), and how many that
    /// would be in an empty store; not parts of the sum.
    pub writable: u64,
    pub writable_max: u64,
}

impl MemoryUse {
    /// Bytes that hold something: all but what is free or can be had by cleaning.
    pub fn held(&self) -> u64 {
        self.live + self.index + self.large
    }

    /// How full the store is, as a part of `total` bytes: all of them when the next write is refused (or, in evict mode,
    /// drives a key out), 0 when it is empty.
    pub fn used_of(&self, total: u64) -> u64 {
        let left = u128::from(total) * u128::from(self.writable) / u128::from(self.writable_max.max(1));
        total - (left as u64).min(total)
    }

    /// The same as a part of the store's limit.
    pub fn used(&self) -> u64 {
        self.used_of(self.limit)
    }
}

/// What the store has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Keys whose time had passed.
    pub expired: u64,
    /// Fields of hashes that expired.
    pub expired_fields: u64,
    /// Keys that went because memory was needed.
    pub evicted: u64,
    /// Changes that were refused for want of memory.
    pub refused: u64,
    /// Segments that cleaning emptied, and bytes that it moved to do so.
    pub cleaned_segments: u64,
    pub cleaned_bytes: u64,
    /// Bytes that eviction moved to the main queue, or back into it.
    pub kept_bytes: u64,
}

/// Whether the store removes keys by itself: expired ones, and in evict mode those that are little used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RemovalPolicy {
    /// It does.
    #[default]
    Own,
    /// It does not: [`Store::apply_at`](super::Store::apply_at) says what goes. Expired keys are hidden from reads until then, and a change for
    /// which there is no room is refused.
    Follow,
}
