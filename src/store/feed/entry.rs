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
//! the databases and keyspaces of a swap. The value of a large Put is the id, four bytes, and `value_len` its length. A
//! filler, which ends the ring where the next entry does not fit, has `len` and `kind` only.

use crate::limits::{INLINE_VALUE_BYTES_MAX, KEY_BYTES_MAX};
use crate::mutation::{
    Cause, Change, Database, Effect, GroupMark, KeyspaceId, LargeId, Origin, PublishedValue, RemoveReason,
    Revision,
};
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
pub const ENTRY_BYTES_MAX: usize = size(KEY_BYTES_MAX, INLINE_VALUE_BYTES_MAX);

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
const KIND_COUNT: u8 = 12;

/// Bytes of an entry with so long a key and value.
pub const fn size(key_len: usize, value_len: usize) -> usize {
    (HEAD_BYTES + key_len + value_len).next_multiple_of(ALIGN_BYTES)
}

/// Bytes that an effect takes as an entry.
pub fn effect_size(effect: &Effect<'_>) -> usize {
    let value_len = match effect {
        Effect::Put { value: PublishedValue::Bytes(bytes), .. } | Effect::Write { bytes, .. } => bytes.len(),
        Effect::Put { .. } => LARGE_BYTES,
        _ => 0,
    };
    size(effect.key().map_or(0, |(_, key)| key.len()), value_len)
}

/// The fields of an entry that differ between kinds.
struct Fields<'a> {
    kind: u8,
    keyspace: u8,
    number: u64,
    value_len: u32,
    key: &'a [u8],
}

/// Writes a change to the front of `bytes`, which has room for it; returns the bytes that it takes.
///
/// # Panics
/// When `bytes` is too short.
pub fn write(bytes: &mut [u8], change: &Change<'_>) -> usize {
    let len = effect_size(&change.effect);
    let mut id = [0; LARGE_BYTES];
    let (fields, value): (Fields<'_>, &[u8]) = match change.effect {
        Effect::Put { keyspace, key, value, expiry } => {
            let number = expiry.map_or(NO_EXPIRY, |expiry| expiry.0);
            let (kind, value_len, value): (u8, u32, &[u8]) = match value {
                PublishedValue::Bytes(value) => (PUT, value.len() as u32, value),
                PublishedValue::Large { id: large, len } => {
                    id = large.0.to_le_bytes();
                    (PUT_LARGE, len as u32, &id)
                }
                PublishedValue::Passed { len } => (PUT_PASSED, len as u32, &id),
            };
            (Fields { kind, keyspace: keyspace.0, number, value_len, key }, value)
        }
        Effect::Write { keyspace, key, offset, bytes: value } => {
            let value_len = value.len() as u32;
            (Fields { kind: WRITE, keyspace: keyspace.0, number: offset, value_len, key }, value)
        }
        Effect::SetExpiry { keyspace, key, expiry } => {
            let number = expiry.map_or(NO_EXPIRY, |expiry| expiry.0);
            (Fields { kind: SET_EXPIRY, keyspace: keyspace.0, number, value_len: 0, key }, &[])
        }
        Effect::Remove { keyspace, key, reason } => {
            let kind = match reason {
                RemoveReason::Deleted => DELETED,
                RemoveReason::Expired => EXPIRED,
                RemoveReason::Evicted => EVICTED,
            };
            (Fields { kind, keyspace: keyspace.0, number: 0, value_len: 0, key }, &[])
        }
        Effect::Flush { keyspace } => {
            let (kind, keyspace) = keyspace.map_or((FLUSH_ALL, 0), |keyspace| (FLUSH, keyspace.0));
            (Fields { kind, keyspace, number: 0, value_len: 0, key: &[] }, &[])
        }
        Effect::Swap { a, b } => {
            let number = u64::from(u32::from_le_bytes([a.0.0, a.1.0, b.0.0, b.1.0]));
            (Fields { kind: SWAP, keyspace: 0, number, value_len: 0, key: &[] }, &[])
        }
    };
    let (origin, origin_id) = match change.origin {
        Origin::Unknown => (0, 0),
        Origin::Client(id) => (1, id),
        Origin::Frames(id) => (2, id),
    };
    bytes[..KIND].copy_from_slice(&(len as u32).to_le_bytes());
    bytes[KIND] = fields.kind;
    bytes[ORIGIN] = origin;
    bytes[KEYSPACE] = fields.keyspace;
    bytes[REVISION..ORIGIN_ID].copy_from_slice(&change.revision.0.to_le_bytes());
    bytes[ORIGIN_ID..NUMBER].copy_from_slice(&origin_id.to_le_bytes());
    bytes[NUMBER..VALUE_LEN].copy_from_slice(&fields.number.to_le_bytes());
    bytes[VALUE_LEN..KEY_LEN].copy_from_slice(&fields.value_len.to_le_bytes());
    bytes[KEY_LEN..CAUSE].copy_from_slice(&(fields.key.len() as u16).to_le_bytes());
    bytes[CAUSE..HEAD_BYTES].copy_from_slice(&change.cause.0.to_le_bytes());
    let body = HEAD_BYTES + fields.key.len();
    bytes[HEAD_BYTES..body].copy_from_slice(fields.key);
    bytes[body..body + value.len()].copy_from_slice(value);
    set_mark(bytes, change.group);
    len
}

/// Fills `bytes` up to its end with nothing.
pub fn write_filler(bytes: &mut [u8]) {
    let len = bytes.len() as u32;
    bytes[..KIND].copy_from_slice(&len.to_le_bytes());
    bytes[KIND] = FILLER;
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

/// The large value, and its length, to which the entry at the front of `bytes` has a reference.
pub fn large(bytes: &[u8]) -> Option<(LargeId, u64)> {
    (bytes[KIND] == PUT_LARGE).then(|| {
        let value = HEAD_BYTES + usize::from(u16_at(bytes, KEY_LEN));
        (LargeId(u32_at(bytes, value)), u64::from(u32_at(bytes, VALUE_LEN)))
    })
}

/// Whether the entry at the front of `bytes`, of which the head is there, is of a kind that is written to disks: kinds are
/// part of the format of the files there, so their numbers stay.
pub fn is_stored(bytes: &[u8]) -> bool {
    bytes[KIND] < KIND_COUNT && !matches!(bytes[KIND], PUT_PASSED | FILLER)
}

/// Bytes of the key of the entry at the front of `bytes`.
pub fn key_len(bytes: &[u8]) -> usize {
    usize::from(u16_at(bytes, KEY_LEN))
}

/// Bytes that the entry at the front of `bytes` should have by its other fields; `None`: it cannot be.
pub fn stored_len(bytes: &[u8]) -> Option<usize> {
    let value_len = if bytes[KIND] == PUT_LARGE { LARGE_BYTES } else { u32_at(bytes, VALUE_LEN) as usize };
    (value_len <= INLINE_VALUE_BYTES_MAX).then(|| size(key_len(bytes), value_len))
}

/// Notes that the entry at the front of `bytes` has no reference to its large value any more.
pub fn set_passed(bytes: &mut [u8]) {
    bytes[KIND] = PUT_PASSED;
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
