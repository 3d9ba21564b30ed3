//! How a change lies in the feed's ring.
//!
//! ```text
//!  0      4      5      6        7          8          16          24       32          36        38      40    +key_len
//! +------+------+------+--------+----------+----------+-----------+--------+-----------+---------+-------+-----+-------+
//! | len  | kind | mark | origin | keyspace | revision | origin id | number | value_len | key_len | cause | key | value |
//! | u32  |  u8  |  u8  |   u8   |    u8    |   u64    |    u64    |  u64   |    u32    |   u16   |  u16  |     |       |
//! +------+------+------+--------+----------+----------+-----------+--------+-----------+---------+-------+-----+-------+
//! ```
//! `cause` names a row of this build's table of verbs: what reads files of another build does not go by it.
//!
//! Little-endian; `len` is the whole entry, a multiple of eight. `number` is an expiry (all ones: none), an offset, or
//! the databases and keyspaces of a swap; of one entry of a collection, the length of the field, which comes before the
//! value, with the kind of the collection and flags above it: that it is the last one, that it has expired, and that it has
//! a time, which is then between the field and the value (8 bytes). The value of a large Put is the id, four
//! bytes, and `value_len` its length. A filler, which ends the ring where the next entry does not fit, has `len` and `kind` only.

mod write;

pub use write::{effect_size, write, write_filler};

use crate::limits::{FIELD_BYTES_MAX, INLINE_VALUE_BYTES_MAX, KEY_BYTES_MAX};
use crate::mutation::{
    Cause, Change, CollectionKind, Database, Effect, GroupMark, KeyspaceId, LargeId, Origin, PageId,
    PublishedValue, RemoveReason, Revision, Tree,
};
use crate::store::collection::{Collection, Packed, TREE_BYTES};
use crate::time::Millis;

/// Entries begin at multiples of this, and the ring is one.
pub const ALIGN_BYTES: usize = 8;
const HEAD_BYTES: usize = 40;
const LARGE_BYTES: usize = 4;
const NO_EXPIRY: u64 = u64::MAX;

const KIND: usize = 4;
const MARK: usize = 5;
const ORIGIN: usize = 6;
const KEYSPACE: usize = 7;
const REVISION: usize = 8;
const ORIGIN_ID: usize = 16;
const NUMBER: usize = 24;
const VALUE_LEN: usize = 32;
const KEY_LEN: usize = 36;
const CAUSE: usize = 38;

/// Bytes of an entry, at most.
pub const ENTRY_BYTES_MAX: usize = size(KEY_BYTES_MAX, FIELD_BYTES_MAX + TIME_BYTES + INLINE_VALUE_BYTES_MAX);

const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(CAUSE + size_of::<u16>() == HEAD_BYTES && HEAD_BYTES.is_multiple_of(ALIGN_BYTES));

const PUT: u8 = 0;
const PUT_LARGE: u8 = 1;
const PUT_PASSED: u8 = 2;
const WRITE: u8 = 3;
const SET_EXPIRY: u8 = 4;
const DELETED: u8 = 5;
const EXPIRED: u8 = 6;
const EVICTED: u8 = 7;
const FLUSH: u8 = 8;
const FLUSH_ALL: u8 = 9;
const SWAP: u8 = 10;
const FILLER: u8 = 11;
const PUT_PACKED: u8 = 12;
const PUT_TREE: u8 = 13;
const PUT_TREE_PASSED: u8 = 14;
const PUT_FIELD: u8 = 15;
const PUT_FIELD_LARGE: u8 = 16;
const PUT_FIELD_PASSED: u8 = 17;
const REMOVE_FIELD: u8 = 18;
const SET_FIELD_EXPIRY: u8 = 19;
const KIND_COUNT: u8 = 20;

/// In the number of an entry of a collection: where its kind is, the bit of the last one, of one that has a time, and of
/// one that has expired.
const FIELD_KIND_SHIFT: u32 = 32;
const FIELD_IS_LAST: u64 = 1 << 40;
const FIELD_IS_TIMED: u64 = 1 << 41;
const FIELD_IS_EXPIRED: u64 = 1 << 42;
/// Bytes of a field's time.
const TIME_BYTES: usize = 8;

/// Bytes of an entry with so long a key and value.
pub const fn size(key_len: usize, value_len: usize) -> usize {
    (HEAD_BYTES + key_len + value_len).next_multiple_of(ALIGN_BYTES)
}

/// Gives the entry at the front of `bytes` another mark.
pub fn set_mark(bytes: &mut [u8], mark: GroupMark) {
    bytes[MARK] = match mark {
        GroupMark::Alone => 0,
        GroupMark::First => 1,
        GroupMark::Within => 2,
        GroupMark::Last => 3,
    };
}

/// The mark of the entry at the front of `bytes`.
pub fn mark(bytes: &[u8]) -> GroupMark {
    match bytes[MARK] {
        0 => GroupMark::Alone,
        1 => GroupMark::First,
        2 => GroupMark::Within,
        _ => GroupMark::Last,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Bytes of the entry at the front of `bytes`.
pub fn len(bytes: &[u8]) -> usize {
    u32_at(bytes, 0) as usize
}

/// The revision of the entry at the front of `bytes`; `None`: it is a filler.
pub fn revision(bytes: &[u8]) -> Option<Revision> {
    (bytes[KIND] != FILLER).then(|| Revision(u64_at(bytes, REVISION)))
}

/// What the ring keeps until every cursor has passed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retained {
    /// A large value, and its length.
    Large(LargeId, u64),
    Root(PageId),
}

impl Retained {
    /// What an effect asks the ring to keep.
    pub fn of(effect: &Effect<'_>) -> Option<Retained> {
        let (Effect::Put { value, .. } | Effect::PutField { value, .. }) = effect else { return None };
        match value {
            PublishedValue::Large { id, len } => Some(Retained::Large(*id, *len)),
            PublishedValue::Tree(tree) => Some(Retained::Root(tree.root)),
            _ => None,
        }
    }

    /// Bytes that count against the bound on what the ring keeps. The pages of a collection are mostly its key's, too.
    pub fn bytes(&self) -> u64 {
        match self {
            Retained::Large(_, len) => *len,
            Retained::Root(_) => 0,
        }
    }
}

/// What the entry at the front of `bytes` has a reference to.
pub fn retained(bytes: &[u8]) -> Option<Retained> {
    // A filler may be shorter than a head.
    if !matches!(bytes[KIND], PUT_LARGE | PUT_FIELD_LARGE | PUT_TREE) {
        return None;
    }
    let value = HEAD_BYTES + usize::from(u16_at(bytes, KEY_LEN));
    let large = |at| Some(Retained::Large(LargeId(u32_at(bytes, at)), u64::from(u32_at(bytes, VALUE_LEN))));
    match bytes[KIND] {
        PUT_LARGE => large(value),
        PUT_FIELD_LARGE => large(value + before_value(u64_at(bytes, NUMBER))),
        PUT_TREE => match Collection::read(&bytes[value..value + TREE_BYTES]) {
            Collection::Tree(tree) => Some(Retained::Root(tree.root)),
            Collection::Packed(_) => None,
        },
        _ => None,
    }
}

/// Whether the entry at the front of `bytes`, of which the head is there, is of a kind that is written to disks: kinds are
/// part of the format of the files there, so their numbers stay.
pub fn is_stored(bytes: &[u8]) -> bool {
    bytes[KIND] < KIND_COUNT
        && !matches!(bytes[KIND], PUT_PASSED | FILLER | PUT_TREE | PUT_TREE_PASSED | PUT_FIELD_PASSED)
}

/// Bytes of the key of the entry at the front of `bytes`.
pub fn key_len(bytes: &[u8]) -> usize {
    usize::from(u16_at(bytes, KEY_LEN))
}

/// Bytes that the entry at the front of `bytes` should have by its other fields; `None`: it cannot be.
pub fn stored_len(bytes: &[u8]) -> Option<usize> {
    let is_large = matches!(bytes[KIND], PUT_LARGE | PUT_FIELD_LARGE);
    let value_len = if is_large { LARGE_BYTES } else { u32_at(bytes, VALUE_LEN) as usize };
    let is_field = matches!(bytes[KIND], PUT_FIELD | PUT_FIELD_LARGE | REMOVE_FIELD | SET_FIELD_EXPIRY);
    let number = if is_field { u64_at(bytes, NUMBER) } else { 0 };
    let is_possible = value_len <= INLINE_VALUE_BYTES_MAX
        && field_len(number) <= FIELD_BYTES_MAX
        && (!is_field || field_kind(number).is_some_and(|kind| kind.has_values() || !is_timed(number)));
    is_possible.then(|| size(key_len(bytes), before_value(number) + value_len))
}

/// Whether the value of the entry at the front of `bytes`, which has the length that it should, can be read.
pub fn has_readable_value(bytes: &[u8]) -> bool {
    let start = HEAD_BYTES + key_len(bytes);
    let value = &bytes[start..];
    bytes[KIND] != PUT_PACKED || value.get(..u32_at(bytes, VALUE_LEN) as usize).is_some_and(Packed::is_whole)
}

/// The large value, and its length, to which the entry at the front of `bytes` has a reference.
pub fn large(bytes: &[u8]) -> Option<(LargeId, u64)> {
    match retained(bytes) {
        Some(Retained::Large(id, len)) => Some((id, len)),
        _ => None,
    }
}

/// Notes that the entry at the front of `bytes` has no reference any more.
pub fn set_passed(bytes: &mut [u8]) {
    bytes[KIND] = match bytes[KIND] {
        PUT_FIELD_LARGE => PUT_FIELD_PASSED,
        PUT_TREE => PUT_TREE_PASSED,
        _ => PUT_PASSED,
    };
}

fn field_len(number: u64) -> usize {
    number as u32 as usize
}

fn field_kind(number: u64) -> Option<CollectionKind> {
    CollectionKind::from_number((number >> FIELD_KIND_SHIFT) as u8)
}

fn is_timed(number: u64) -> bool {
    number & FIELD_IS_TIMED != 0
}

/// Bytes of a field and its time.
fn before_value(number: u64) -> usize {
    field_len(number) + if is_timed(number) { TIME_BYTES } else { 0 }
}

fn tree_at(bytes: &[u8]) -> Tree {
    match Collection::read(&bytes[..TREE_BYTES]) {
        Collection::Tree(tree) => tree,
        Collection::Packed(_) => unreachable!("a tree was written"),
    }
}

/// Reads the entry at the front of `bytes`. `None`: it is a filler.
///
/// # Panics
/// When [`write`] did not write it.
pub fn read(bytes: &[u8]) -> Option<Change<'_>> {
    let kind = bytes[KIND];
    if kind == FILLER {
        return None;
    }
    let group = mark(bytes);
    let origin = match bytes[ORIGIN] {
        0 => Origin::Unknown,
        1 => Origin::Client(u64_at(bytes, ORIGIN_ID)),
        _ => Origin::Frames(u64_at(bytes, ORIGIN_ID)),
    };
    let (keyspace, number) = (KeyspaceId(bytes[KEYSPACE]), u64_at(bytes, NUMBER));
    let value_len = u32_at(bytes, VALUE_LEN);
    let (key, rest) = bytes[HEAD_BYTES..].split_at(usize::from(u16_at(bytes, KEY_LEN)));
    let cause = Cause(u16_at(bytes, CAUSE));
    let expiry = (number != NO_EXPIRY).then_some(Millis(number));
    let put = |value| Effect::Put { keyspace, key, value, expiry };
    let remove = |reason| Effect::Remove { keyspace, key, reason };
    let effect = match kind {
        PUT => put(PublishedValue::Bytes(&rest[..value_len as usize])),
        PUT_LARGE => put(PublishedValue::Large { id: LargeId(u32_at(rest, 0)), len: u64::from(value_len) }),
        PUT_PASSED => put(PublishedValue::Passed { len: u64::from(value_len) }),
        PUT_PACKED => put(PublishedValue::Packed(&rest[..value_len as usize])),
        PUT_TREE => put(PublishedValue::Tree(tree_at(rest))),
        PUT_TREE_PASSED => put(PublishedValue::PassedTree(tree_at(rest))),
        PUT_FIELD | PUT_FIELD_LARGE | PUT_FIELD_PASSED | REMOVE_FIELD | SET_FIELD_EXPIRY => {
            let collection = field_kind(number).expect("the kind of a collection");
            let (field, rest) = rest.split_at(field_len(number));
            let (time, rest) = rest.split_at(before_value(number) - field.len());
            let expiry = (!time.is_empty()).then(|| Millis(u64_at(time, 0)));
            let len = u64::from(value_len);
            let value = match kind {
                PUT_FIELD => PublishedValue::Bytes(&rest[..value_len as usize]),
                PUT_FIELD_LARGE => PublishedValue::Large { id: LargeId(u32_at(rest, 0)), len },
                _ => PublishedValue::Passed { len },
            };
            match kind {
                REMOVE_FIELD => {
                    let is_last = number & FIELD_IS_LAST != 0;
                    let has_expired = number & FIELD_IS_EXPIRED != 0;
                    let reason = if has_expired { RemoveReason::Expired } else { RemoveReason::Deleted };
                    Effect::RemoveField { keyspace, key, kind: collection, field, is_last, reason }
                }
                SET_FIELD_EXPIRY => Effect::SetFieldExpiry { keyspace, key, field, expiry },
                _ => Effect::PutField { keyspace, key, kind: collection, field, value, expiry },
            }
        }
        WRITE => Effect::Write { keyspace, key, offset: number, bytes: &rest[..value_len as usize] },
        SET_EXPIRY => Effect::SetExpiry { keyspace, key, expiry },
        DELETED => remove(RemoveReason::Deleted),
        EXPIRED => remove(RemoveReason::Expired),
        EVICTED => remove(RemoveReason::Evicted),
        FLUSH => Effect::Flush { keyspace: Some(keyspace) },
        FLUSH_ALL => Effect::Flush { keyspace: None },
        SWAP => {
            let [a_db, a, b_db, b] = (number as u32).to_le_bytes();
            Effect::Swap { a: (Database(a_db), KeyspaceId(a)), b: (Database(b_db), KeyspaceId(b)) }
        }
        kind => unreachable!("an entry of kind {kind}"),
    };
    Some(Change { revision: Revision(u64_at(bytes, REVISION)), group, origin, cause, effect })
}
