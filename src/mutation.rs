//! The vocabulary of change: a [`Mutation`] is the only way to change a store. It states results, not requests
//! (an absolute expiry, never a time to live), so that replaying the same mutations gives the same store. Expiry and
//! eviction are mutations too: whoever listens (a journal, a watcher, a replica) sees every change, in order.

use crate::time::Millis;

/// One of the numbered databases, 0..[`DATABASES_MAX`](crate::limits::DATABASES_MAX).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Database(pub u8);

/// Drawn anew, store-wide, by every write (48 bits); larger is later. 0 stands for "no such key".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A value too long for a record: a chain of blocks in the store's pool, counted by reference. It belongs to whoever
/// holds the reference (a record, a reader that is still sending it, a writer that is still receiving it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LargeId(pub u32);

/// Where a reader of a large value stopped, for the store to go on from there without walking over what is read: its
/// own notes, for others to keep with the value's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainPosition {
    /// The first block of a span.
    pub span: u32,
    /// Spans before it.
    pub index: u32,
}

impl ChainPosition {
    /// Nowhere yet.
    pub const NONE: ChainPosition = ChainPosition { span: u32::MAX, index: 0 };
}

/// The bytes that a [`Mutation::Put`] gives a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewValue<'a> {
    /// Bytes that are copied into the store.
    Bytes(&'a [u8]),
    /// A complete large value. The key takes over one reference when the mutation is applied; if it is
    /// refused, the reference stays with the caller.
    Large(LargeId),
}

/// A change of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation<'a> {
    /// The key has this value and this expiry (`None`: it stays).
    Put { db: Database, key: &'a [u8], value: NewValue<'a>, expiry: Option<Millis> },
    /// The value's bytes from `offset` on are these; a gap before them is filled with zero bytes; the expiry stays. A
    /// missing key counts as empty.
    Write { db: Database, key: &'a [u8], offset: u64, bytes: &'a [u8] },
    /// The key, if it is there, has this expiry.
    SetExpiry { db: Database, key: &'a [u8], expiry: Option<Millis> },
    /// The key is gone because a client said so.
    Delete { db: Database, key: &'a [u8] },
    /// The key is gone because its time has passed.
    Expire { db: Database, key: &'a [u8] },
    /// The key is gone because its memory was needed.
    Evict { db: Database, key: &'a [u8] },
    /// The key `from` is now called `to`, its value and expiry unchanged; what `to` had is gone.
    Rename { db: Database, from: &'a [u8], to_db: Database, to: &'a [u8] },
    /// The key `to` has the value and expiry of `from`; a large value is shared, not copied.
    Copy { db: Database, from: &'a [u8], to_db: Database, to: &'a [u8] },
    /// Every key of one database, or of all, is gone.
    Flush { db: Option<Database> },
    /// Two databases have changed places.
    Swap { a: Database, b: Database },
}

/// What a mutation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The revision that the change drew.
    pub revision: Revision,
    /// Whether the key (for `Rename` and `Copy`: `from`) was there before, unexpired.
    pub existed: bool,
    /// The length of the value afterwards, in bytes; 0 where that says nothing.
    pub value_len: u64,
}

/// Why a mutation was not applied; the store is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No memory is left for it (`--on-full refuse`, or eviction found nothing to give).
    Full,
    /// The value would pass `--max-value`, or what the pool can ever hold.
    TooLarge { size: u64, limit: u64 },
    /// The key is longer than `limits::KEY_BYTES_MAX`.
    KeyTooLong { size: u64 },
}
