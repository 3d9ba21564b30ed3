//! The vocabulary of change. A client's request becomes a [`Mutation`], the only way to change a store; what it did is
//! published as one or several [`Change`]s. Both state results, not requests (an absolute expiry, never a time to live).
//!
//! ```text
//!  request ──▶ Mutation ──▶ Store ──▶ Change (revision, group mark, origin, effect) ──▶ feed ──▶ journal, replica, watcher
//!                             ▲                                                                      │
//!                             └───────────────────────── apply_at ───────────────────────────────────┘
//! ```
//! Effects are idempotent: applying one twice is the same as once, and one that is older than what a key has can be
//! skipped. Expiry and eviction are changes too, so a consumer sees every change, in the order of revisions.

use crate::time::Millis;
use std::mem::ManuallyDrop;

/// One of the numbered databases, 0..[`DATABASES_MAX`](crate::limits::DATABASES_MAX).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Database(pub u8);

/// The keys of one database, wherever SWAPDB has put them: SWAPDB changes which database a keyspace belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId(pub u8);

/// The number of a change, store-wide (48 bits); larger is later. 0 stands for "no such key".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A value too long for a record: a chain of blocks in the store's pool, counted by reference. It stays as long as there is
/// a reference: a record's, or a [`LargeRef`] of a reader that is still sending it or a writer that is still receiving it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LargeId(pub u32);

/// One counted reference to a large value. It must be [given back](crate::store::Store::large_release), or
/// [left](LargeRef::into_raw) to what keeps it as bytes: dropping it keeps the value's memory until the end of the process,
/// and panics in builds that assert.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct LargeRef(LargeId);

impl LargeRef {
    /// The value, to be read or filled.
    #[inline]
    #[must_use]
    pub fn id(&self) -> LargeId {
        self.0
    }

    /// Leaves the reference to what keeps it as bytes: a marker in the input or in the output, a command that is queued, an
    /// entry that is added to a collection, a change that is [applied](crate::store::Store::apply_at).
    #[inline]
    pub(crate) fn into_raw(self) -> LargeId {
        ManuallyDrop::new(self).0
    }

    /// The reference that such bytes had, which have it no longer.
    #[inline]
    pub(crate) fn from_raw(id: LargeId) -> LargeRef {
        LargeRef(id)
    }
}

#[cfg(debug_assertions)]
impl Drop for LargeRef {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "a reference to large value {} was lost", self.0.0);
    }
}

/// What a collection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionKind {
    /// Fields, each with a value.
    Hash,
    /// Members.
    Set,
}

/// A page of a collection, in the store's pool, counted by reference: those to a root belong to records, readers and the
/// change feed, all others to the pages above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageId(pub u32);

/// A collection that is kept in pages. A holder of a reference to its root sees it as it is now, whatever is written
/// to its key meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    pub kind: CollectionKind,
    /// What Redis would keep it in, as far as that depends on what it once held.
    pub is_table: bool,
    /// Pages from the root to a leaf, both included.
    pub height: u8,
    pub root: PageId,
    /// Entries in it.
    pub len: u32,
    /// Pages that it would take if none were shared.
    pub page_count: u32,
    /// When the store looks for entries whose time has come (all ones: none has a time). Each page knows its own bound.
    pub due: Millis,
}

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
    /// A complete large value. The key takes a reference of its own when the mutation is applied; the caller keeps its
    /// reference in any case.
    Large(LargeId),
    /// A whole collection. The key takes a reference of its own to its root, as with a large value.
    Tree(Tree),
    /// A short collection without large values, as [`Store::tree_packed`](crate::store::Store::tree_packed) writes it.
    Packed(&'a [u8]),
}

/// The time that a field of a hash has after it was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldExpiry {
    /// This one; `None`: it stays.
    Set(Option<Millis>),
    /// The one that it has.
    Keep,
}

/// What is to change in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation<'a> {
    /// The key has this value and this expiry (`None`: it stays).
    Put { db: Database, key: &'a [u8], value: NewValue<'a>, expiry: Option<Millis> },
    /// The value's bytes from `offset` on are these; a gap before them is filled with zero bytes; the expiry stays. A
    /// missing key counts as empty.
    Write { db: Database, key: &'a [u8], offset: u64, bytes: &'a [u8] },
    /// The collection has this field with this value (a set: this member); a missing key counts as an empty one. A member
    /// that is there already changes nothing. A large value is referred to as by `Put`.
    PutField { db: Database, key: &'a [u8], kind: CollectionKind, field: &'a [u8], value: NewValue<'a> },
    /// The hash has this field with this value and this time.
    PutTimedField { db: Database, key: &'a [u8], field: &'a [u8], value: NewValue<'a>, expiry: FieldExpiry },
    /// The hash's field, if it is there, has this time (`None`: it stays). One that has it already gets it once more, and that is
    /// published: Redis tells its listeners so, too.
    SetFieldExpiry { db: Database, key: &'a [u8], field: &'a [u8], expiry: Option<Millis> },
    /// The collection has no such field or member; with the last one the key is gone.
    RemoveField { db: Database, key: &'a [u8], kind: CollectionKind, field: &'a [u8] },
    /// The key, if it is there, has this expiry.
    SetExpiry { db: Database, key: &'a [u8], expiry: Option<Millis> },
    /// The key is gone because a client said so.
    Delete { db: Database, key: &'a [u8] },
    /// The key `from` is now called `to`, its value and expiry unchanged; what `to` had is gone.
    Rename { db: Database, from: &'a [u8], to_db: Database, to: &'a [u8] },
    /// The key `to` has the value and expiry of `from`; a large value is shared, not copied.
    Copy { db: Database, from: &'a [u8], to_db: Database, to: &'a [u8] },
    /// Every key of one database, or of all, is gone.
    Flush { db: Option<Database> },
    /// Two databases have changed places.
    Swap { a: Database, b: Database },
}

/// Why a key has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveReason {
    /// A client deleted or renamed it.
    Deleted,
    /// Its time has passed.
    Expired,
    /// Its memory was needed.
    Evicted,
}

/// How a change stands to its neighbours: those of one group are applied together or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupMark {
    /// A group of one.
    Alone,
    First,
    Within,
    Last,
}

/// Who asked for a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The store itself (expiry, eviction), or a caller that did not say.
    #[default]
    Unknown,
    /// A connection, by its client id.
    Client(u64),
    /// A session of frames, by its client id.
    Frames(u64),
}

/// What made a change: the row of a command in the table of verbs, and notes of the store. Opaque to the store; consumers name
/// their events by it.
///
/// ```text
/// bit 15  another command than the one before      bit 14  the expiry was kept, not given      bit 13  the key is new
/// bits 0..13  the row plus 1; 0: the store itself
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause(pub u16);

impl Cause {
    const ROW: u16 = 0x1fff;
    const NEW: u16 = 0x2000;
    const KEEPS_EXPIRY: u16 = 0x4000;
    const TOGGLE: u16 = 0x8000;

    /// The next command, which is of this row; that it is another one than `self` can be seen.
    #[must_use]
    #[inline]
    pub const fn next(self, row: u16) -> Cause {
        Cause((self.0 & Cause::TOGGLE ^ Cause::TOGGLE) | (row + 1) & Cause::ROW)
    }

    /// The same command goes on, after others.
    #[must_use]
    pub const fn again(self, row: u16) -> Cause {
        Cause(self.0 & Cause::TOGGLE | (row + 1) & Cause::ROW)
    }

    /// The command, without the notes of the store.
    #[must_use]
    pub const fn command(self) -> Cause {
        Cause(self.0 & (Cause::TOGGLE | Cause::ROW))
    }

    /// The row.
    #[must_use]
    pub fn row(self) -> Option<usize> {
        usize::from(self.0 & Cause::ROW).checked_sub(1)
    }

    /// Whether the key was not there.
    #[must_use]
    pub const fn is_new(self) -> bool {
        self.0 & Cause::NEW != 0
    }

    /// Whether the expiry is the one that the key had.
    #[must_use]
    pub const fn keeps_expiry(self) -> bool {
        self.0 & Cause::KEEPS_EXPIRY != 0
    }

    /// The same for a key that was not there.
    #[must_use]
    pub const fn with_new(self) -> Cause {
        Cause(self.0 | Cause::NEW)
    }

    /// The same for a command that keeps the expiry.
    #[must_use]
    pub const fn with_kept_expiry(self) -> Cause {
        Cause(self.0 | Cause::KEEPS_EXPIRY)
    }
}

/// A change as it was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    pub revision: Revision,
    pub group: GroupMark,
    pub origin: Origin,
    pub cause: Cause,
    pub effect: Effect<'a>,
}

/// The value of a published [`Effect::Put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishedValue<'a> {
    /// At most [`INLINE_VALUE_BYTES_MAX`](crate::limits::INLINE_VALUE_BYTES_MAX) bytes.
    Bytes(&'a [u8]),
    /// A large value: it keeps these bytes until every cursor has passed the change; a consumer that needs it for longer
    /// retains it.
    Large { id: LargeId, len: u64 },
    /// A large value of so many bytes that every cursor has passed: the feed has released it.
    Passed { len: u64 },
    /// A short collection without large fields and values, as its record has it: see
    /// [`Collection::read`](crate::store::Collection::read). (What it has of those follows in the same group.)
    Packed(&'a [u8]),
    /// A collection in pages, kept as a large value is.
    Tree(Tree),
    /// Such a collection that every cursor has passed, so that its root is another's by now.
    PassedTree(Tree),
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// The key has this value and this expiry.
    Put { keyspace: KeyspaceId, key: &'a [u8], value: PublishedValue<'a>, expiry: Option<Millis> },
    /// The value's bytes from `offset` on are these, at most
    /// [`INLINE_VALUE_BYTES_MAX`](crate::limits::INLINE_VALUE_BYTES_MAX); a gap before them is filled with zero bytes;
    /// the expiry stays. A missing key counts as empty.
    Write { keyspace: KeyspaceId, key: &'a [u8], offset: u64, bytes: &'a [u8] },
    /// The collection has this field with this value, one of [`Bytes`](PublishedValue::Bytes), `Large` and `Passed`; the
    /// expiry stays. A missing key counts as an empty collection of the kind.
    PutField {
        keyspace: KeyspaceId,
        key: &'a [u8],
        kind: CollectionKind,
        field: &'a [u8],
        value: PublishedValue<'a>,
        /// The field's own.
        expiry: Option<Millis>,
    },
    /// The hash's field, if it is there, has this time (`None`: it stays).
    SetFieldExpiry { keyspace: KeyspaceId, key: &'a [u8], field: &'a [u8], expiry: Option<Millis> },
    /// The collection has no such field.
    RemoveField {
        keyspace: KeyspaceId,
        key: &'a [u8],
        kind: CollectionKind,
        field: &'a [u8],
        /// Nothing is left of it, so that the key is gone.
        is_last: bool,
        /// Deleted or expired.
        reason: RemoveReason,
    },
    /// The key has this expiry.
    SetExpiry { keyspace: KeyspaceId, key: &'a [u8], expiry: Option<Millis> },
    /// The key is gone.
    Remove { keyspace: KeyspaceId, key: &'a [u8], reason: RemoveReason },
    /// Every key of one keyspace, or of all, that is older than the change is gone.
    Flush { keyspace: Option<KeyspaceId> },
    /// These two databases have these keyspaces from now on.
    Swap { a: (Database, KeyspaceId), b: (Database, KeyspaceId) },
}

impl<'a> Effect<'a> {
    /// The key that changes, if it is one.
    pub fn key(&self) -> Option<(KeyspaceId, &'a [u8])> {
        match *self {
            Effect::Put { keyspace, key, .. }
            | Effect::Write { keyspace, key, .. }
            | Effect::PutField { keyspace, key, .. }
            | Effect::SetFieldExpiry { keyspace, key, .. }
            | Effect::RemoveField { keyspace, key, .. }
            | Effect::SetExpiry { keyspace, key, .. }
            | Effect::Remove { keyspace, key, .. } => Some((keyspace, key)),
            Effect::Flush { .. } | Effect::Swap { .. } => None,
        }
    }
}

/// What a mutation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The revision of the change; of a `Rename`, that of the key `to`.
    pub revision: Revision,
    /// Whether the key (for `Rename` and `Copy`: `from`; for fields: the field) was there before, unexpired.
    pub existed: bool,
    /// The length of the value afterwards, in bytes (of a collection: in entries); 0 where that says nothing.
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
    /// A field or member is longer than `limits::FIELD_BYTES_MAX`.
    FieldTooLong { size: u64 },
    /// The key has a value of another type.
    WrongType,
}
