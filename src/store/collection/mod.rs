//! Collections: ordered sequences of packed entries, on which hashes and sets stand.
//!
//! ```text
//!  short, in its record:     | head | count | entry | entry | entry |             in the order in which they came
//!
//!  longer, in pages:         | head | height | - | root | len | pages | due |     24 bytes in the record
//!                                              |
//!                             level 1:   | low, page, count | low, page, count | low, page, count |
//!                                                 |                  |                  |
//!                             level 0:   | entries … slots | | entries … slots | | entries … slots |  in hash order
//! ```
//! [`entry`] packs a field and a value; [`page`] lays entries, or children, out in a page; [`pages`] counts references
//! to pages and knows where they lie; [`tree`], [`insert`] and [`remove`] read and change a tree of pages. What the
//! store does with collections, short ones included, is in `store/fields.rs`; fields that expire, in
//! `store/field_expiry.rs`.
//!
//! **Order.** The entries of a tree are in the order of a keyed hash of their fields, cut to [`ORDER_BITS`]: a position
//! is then a number, so that HSCAN and SSCAN have a cursor that survives every change; keys in the upper levels are of
//! fixed size; and no choice of fields makes one comparison longer than another. A child's `count` is the number of
//! entries below it, so that the entry of a given index is found as fast (HRANDFIELD, SPOP).
//!
//! **Sharing.** Pages are counted by reference and written only by their one holder; a writer of a shared page
//! copies it first, and with it the path to it (Rodeh, "B-trees, shadowing, and clones", 2008). So COPY takes as long
//! for a million entries as for one, a reader that needs many turns for a long reply holds what it began with, and the
//! change feed can refer to a whole collection.
//!
//! **Room.** A change of a tree finds out first how many pages it takes (copies and splits), and has the store find room for them;
//! then nothing of it can fail. Pages are blocks of the slabs in which the ends of large values lie, 4 KiB each; a table
//! stands between a page's number and its block, so that blocks can be moved to empty a slab.
//!
//! **Freeing.** The last reference to a root puts it on a list; maintenance takes page after page off, and puts the
//! children of each on it.

mod due;
pub mod entry;
mod insert;
#[cfg(any(test, feature = "sim"))]
mod owned;
pub mod page;
pub mod pages;
mod remove;
mod tree;

use super::record::Content;
use crate::mutation::{CollectionKind, LargeId, PageId, Tree};
use crate::time::Millis;
pub(in crate::store) use due::Due;
pub use entry::{Entry, Item};
pub(in crate::store) use insert::WorkBuffer;

/// Bits of a place in a tree: such numbers are whole in every client's arithmetic (of doubles, too).
pub const ORDER_BITS: u32 = 53;
/// Entries of a collection in its record, at most: they are looked at one by one.
pub const PACKED_LEN_MAX: usize = 128;
/// Entries that Redis keeps in its short encodings (`hash-max-listpack-entries`, `set-max-intset-entries`), and the
/// length of a hash's field or value there (`hash-max-listpack-value`).
const SHORT_LEN_MAX: usize = 512;
const SHORT_BYTES_MAX: usize = 64;
/// Bytes of what a record has of a tree, and of the head of a short collection.
pub const TREE_BYTES: usize = 24;
pub const PACKED_HEAD_BYTES: usize = 2;
/// Pages from a root to a leaf, at most: tests have pages of three children.
pub const HEIGHT_MAX: usize = 24;

const KIND_BITS: u8 = 7;
const IN_PAGES: u8 = 8;
const IS_TABLE: u8 = 16;
const HAS_LARGE: u8 = 32;
/// Of a short one: an entry has, or once had, a time. What is behind its entries is unused then.
const HAS_TIMES: u8 = 64;
/// Of a short one: what is behind its entries is unused.
const HAS_SLACK: u8 = 128;

const _: () = assert!(PACKED_LEN_MAX <= u8::MAX as usize && PACKED_LEN_MAX <= SHORT_LEN_MAX);

impl CollectionKind {
    /// Whether its entries have values.
    #[must_use]
    pub const fn has_values(self) -> bool {
        matches!(self, CollectionKind::Hash)
    }

    /// Its number in a record and in the feed.
    pub(in crate::store) const fn number(self) -> u8 {
        match self {
            CollectionKind::Hash => 1,
            CollectionKind::Set => 2,
        }
    }

    /// # Panics
    /// When it is no kind's number.
    pub(in crate::store) fn of(number: u8) -> CollectionKind {
        CollectionKind::from_number(number).expect("a collection of a known kind")
    }

    /// The kind of a number that a file has. `None`: it is no kind's.
    pub(in crate::store) const fn from_number(number: u8) -> Option<CollectionKind> {
        match number {
            1 => Some(CollectionKind::Hash),
            2 => Some(CollectionKind::Set),
            _ => None,
        }
    }
}

/// A collection, borrowed from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection<'a> {
    Packed(Packed<'a>),
    Tree(Tree),
}

/// A short collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed<'a> {
    pub kind: CollectionKind,
    /// As [`Tree::is_table`].
    pub is_table: bool,
    /// Some entry refers to a large value.
    pub has_large: bool,
    /// Some entry has, or once had, a time.
    pub has_times: bool,
    pub(in crate::store) len: u8,
    pub(in crate::store) entries: &'a [u8],
}

impl<'a> Packed<'a> {
    /// One without entries.
    pub const fn empty(kind: CollectionKind) -> Packed<'a> {
        Packed { kind, is_table: false, has_large: false, has_times: false, len: 0, entries: &[] }
    }

    /// Entries in it.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of its entries.
    #[must_use]
    pub fn size(&self) -> usize {
        self.entries.len()
    }

    /// Entries whose time has not come.
    #[must_use]
    pub fn live_len(&self, now: Millis) -> usize {
        if self.has_times { self.entries().filter(|entry| entry.is_live(now)).count() } else { self.len() }
    }

    /// The entries in their order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let (mut rest, has_values) = (self.entries, self.kind.has_values());
        std::iter::from_fn(move || {
            let entry = (!rest.is_empty()).then(|| Entry::read(rest, has_values))?;
            rest = &rest[entry.size()..];
            Some(entry)
        })
    }

    /// Whether bytes that a file has are a short collection without large values, to the last byte.
    pub(in crate::store) fn is_whole(bytes: &[u8]) -> bool {
        let [head, len, rest @ ..] = bytes else { return false };
        let Some(kind) = CollectionKind::from_number(head & KIND_BITS) else { return false };
        let mut rest = rest;
        for _ in 0..*len {
            let size = Entry::whole_size(rest, kind.has_values());
            let Some(left) = size.and_then(|size| rest.get(size..)) else { return false };
            rest = left;
        }
        // Behind the entries of a hash with times there may be what is left of those that have expired.
        let (has_times, has_slack) = (head & HAS_TIMES != 0, head & HAS_SLACK != 0);
        let is_known = head & !(KIND_BITS | IS_TABLE | HAS_TIMES | HAS_SLACK) == 0;
        let is_right = is_known && (kind.has_values() || !has_times);
        is_right && usize::from(*len) <= PACKED_LEN_MAX && (has_times || has_slack || rest.is_empty())
    }

    pub(in crate::store) fn head(&self) -> [u8; PACKED_HEAD_BYTES] {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let flags = flag(self.is_table, IS_TABLE) | flag(self.has_large, HAS_LARGE);
        [self.kind.number() | flags | flag(self.has_times, HAS_TIMES), self.len]
    }

    /// The earliest time of an entry.
    pub(in crate::store) fn due(&self) -> Option<Millis> {
        if !self.has_times {
            return None;
        }
        self.entries().filter_map(|entry| entry.expiry).min()
    }

    /// Bytes of its first `len` entries, as they lie in a record.
    fn entries_len(&self) -> usize {
        let mut at = 0;
        for _ in 0..self.len {
            at += Entry::read(&self.entries[at..], self.kind.has_values()).size();
        }
        at
    }
}

impl<'a> Collection<'a> {
    /// Reads what a record has.
    ///
    /// # Panics
    /// When it is not what a store has written.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Collection<'a> {
        let head = bytes[0];
        let (kind, is_table) = (CollectionKind::of(head & KIND_BITS), head & IS_TABLE != 0);
        if head & IN_PAGES == 0 {
            let (has_large, has_times) = (head & HAS_LARGE != 0, head & HAS_TIMES != 0);
            let entries = &bytes[PACKED_HEAD_BYTES..];
            let mut packed = Packed { kind, is_table, has_large, has_times, len: bytes[1], entries };
            if has_times || head & HAS_SLACK != 0 {
                packed.entries = &entries[..packed.entries_len()];
            }
            return Collection::Packed(packed);
        }
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (root, len, page_count) = (PageId(u32_at(4)), u32_at(8), u32_at(12));
        let due = Millis(u64::from(u32_at(16)) | u64::from(u32_at(20)) << 32);
        Collection::Tree(Tree { kind, is_table, height: bytes[1], root, len, page_count, due })
    }

    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> CollectionKind {
        match self {
            Collection::Packed(packed) => packed.kind,
            Collection::Tree(tree) => tree.kind,
        }
    }

    /// Entries in it.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Collection::Packed(packed) => packed.len(),
            Collection::Tree(tree) => tree.len as usize,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the store looks for entries whose time has come. `None`: none has a time.
    #[must_use]
    pub fn due(&self) -> Option<Millis> {
        match self {
            Collection::Packed(packed) => packed.due(),
            Collection::Tree(tree) => Some(tree.due).filter(|due| *due != page::NEVER),
        }
    }

    /// Whether an entry has, or once had, a time.
    #[must_use]
    pub fn has_times(&self) -> bool {
        match self {
            Collection::Packed(packed) => packed.has_times,
            Collection::Tree(tree) => tree.due != page::NEVER,
        }
    }

    /// Whether Redis would keep it in a hash table, rather than in one of its short encodings.
    #[must_use]
    pub fn is_table(&self) -> bool {
        match self {
            Collection::Packed(packed) => packed.is_table,
            Collection::Tree(tree) => tree.is_table,
        }
    }
}

impl Collection<'_> {
    /// What a record has of it.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Collection::Packed(packed) => [&packed.head()[..], packed.entries].concat(),
            Collection::Tree(tree) => tree_bytes(tree).to_vec(),
        }
    }
}

/// Marks the bytes behind the first `len` ones of a short collection as unused.
pub(in crate::store) fn set_slack(bytes: &mut [u8], len: usize) {
    bytes[0] |= HAS_SLACK;
    bytes[len..].fill(0);
}

/// What a record has of a collection without entries.
pub fn empty_bytes(kind: CollectionKind, is_table: bool) -> [u8; PACKED_HEAD_BYTES] {
    Packed { is_table, ..Packed::empty(kind) }.head()
}

/// A tree as its record has it.
pub fn tree_bytes(tree: &Tree) -> [u8; TREE_BYTES] {
    let mut bytes = [0; TREE_BYTES];
    bytes[0] = tree.kind.number() | IN_PAGES | if tree.is_table { IS_TABLE } else { 0 };
    bytes[1] = tree.height;
    bytes[4..8].copy_from_slice(&tree.root.0.to_le_bytes());
    bytes[8..12].copy_from_slice(&tree.len.to_le_bytes());
    bytes[12..16].copy_from_slice(&tree.page_count.to_le_bytes());
    bytes[16..].copy_from_slice(&tree.due.0.to_le_bytes());
    bytes
}

/// What a record refers to beside its own bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referenced {
    Nothing,
    Large(LargeId),
    /// Some entries of the short collection in it refer to large values.
    PackedLarges,
    Root(PageId),
}

impl Referenced {
    /// What a record's content refers to, and when entries of it may have expired.
    #[inline]
    pub fn of_content(content: Content<'_>) -> (Referenced, Option<Millis>) {
        match content {
            Content::Inline(_) => (Referenced::Nothing, None),
            Content::Large(id) => (Referenced::Large(id), None),
            Content::Collection(bytes) => {
                let collection = Collection::read(bytes);
                let held = match &collection {
                    Collection::Tree(tree) => Referenced::Root(tree.root),
                    Collection::Packed(packed) if packed.has_large => Referenced::PackedLarges,
                    Collection::Packed(_) => Referenced::Nothing,
                };
                (held, collection.due())
            }
        }
    }
}

/// Whether Redis would turn a collection of so many entries into a hash table because of one more.
pub fn makes_table(kind: CollectionKind, len: usize, field: &[u8], value_len: u64) -> bool {
    match kind {
        CollectionKind::Hash => {
            len > SHORT_LEN_MAX || field.len() > SHORT_BYTES_MAX || value_len > SHORT_BYTES_MAX as u64
        }
        CollectionKind::Set => len > SHORT_LEN_MAX || crate::wire::number::parse_i64(field).is_none(),
    }
}
