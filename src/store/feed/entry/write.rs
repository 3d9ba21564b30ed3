//! A change as an entry: how long it is, and its bytes.

use super::{
    CAUSE, DELETED, EVICTED, EXPIRED, FIELD_IS_EXPIRED, FIELD_IS_LAST, FIELD_IS_TIMED, FIELD_KIND_SHIFT,
    FILLER, FLUSH, FLUSH_ALL, HEAD_BYTES, KEY_LEN, KEYSPACE, KIND, LARGE_BYTES, NO_EXPIRY, NUMBER, ORIGIN,
    ORIGIN_ID, PUT, PUT_FIELD, PUT_FIELD_LARGE, PUT_FIELD_PASSED, PUT_LARGE, PUT_PACKED, PUT_PASSED,
    PUT_TREE, PUT_TREE_PASSED, REMOVE_FIELD, REVISION, SET_EXPIRY, SET_FIELD_EXPIRY, SWAP, TIME_BYTES,
    VALUE_LEN, WRITE, set_mark, size,
};
use crate::mutation::{Change, CollectionKind, Effect, Origin, PublishedValue, RemoveReason};
use crate::store::collection::{TREE_BYTES, tree_bytes};
use crate::time::Millis;

/// Bytes that an effect takes as an entry.
pub fn effect_size(effect: &Effect<'_>) -> usize {
    let value_len = match effect {
        Effect::Put { value, .. } => published_len(value),
        Effect::PutField { field, value, expiry, .. } => {
            field.len() + time_len(*expiry) + published_len(value)
        }
        Effect::SetFieldExpiry { field, expiry, .. } => field.len() + time_len(*expiry),
        Effect::RemoveField { field, .. } => field.len(),
        Effect::Write { bytes, .. } => bytes.len(),
        _ => 0,
    };
    size(effect.key().map_or(0, |(_, key)| key.len()), value_len)
}

/// Writes a change to the front of `bytes`, which has room for it; returns the bytes that it takes.
///
/// # Panics
/// When `bytes` is too short.
pub fn write(bytes: &mut [u8], change: &Change<'_>) -> usize {
    let len = effect_size(&change.effect);
    let mut buffer = [0; TREE_BYTES];
    let (field, field_expiry): (&[u8], Option<Millis>) = (&[], None);
    let (fields, value): (Fields<'_>, &[u8]) = match change.effect {
        Effect::Put { keyspace, key, value, expiry } => {
            let number = expiry.map_or(NO_EXPIRY, |expiry| expiry.0);
            let (form, value_len, value) = encode_value(&value, &mut buffer);
            let kind = match form {
                ValueForm::Bytes => PUT,
                ValueForm::Large => PUT_LARGE,
                ValueForm::Passed => PUT_PASSED,
                ValueForm::Packed => PUT_PACKED,
                ValueForm::Tree => PUT_TREE,
                ValueForm::PassedTree => PUT_TREE_PASSED,
            };
            (Fields { kind, keyspace: keyspace.0, number, value_len, key, field, field_expiry }, value)
        }
        Effect::PutField { keyspace, key, kind, field, value, expiry: field_expiry } => {
            let (form, value_len, value) = encode_value(&value, &mut buffer);
            let number = field_number(kind, field, field_expiry);
            let kind = match form {
                ValueForm::Large => PUT_FIELD_LARGE,
                ValueForm::Passed => PUT_FIELD_PASSED,
                _ => PUT_FIELD,
            };
            (Fields { kind, keyspace: keyspace.0, number, value_len, key, field, field_expiry }, value)
        }
        Effect::SetFieldExpiry { keyspace, key, field, expiry: field_expiry } => {
            let (kind, number) = (SET_FIELD_EXPIRY, field_number(CollectionKind::Hash, field, field_expiry));
            (Fields { kind, keyspace: keyspace.0, number, value_len: 0, key, field, field_expiry }, &[])
        }
        Effect::RemoveField { keyspace, key, kind, field, is_last, reason } => {
            let has_expired = reason == RemoveReason::Expired;
            let number = field_number(kind, field, None)
                | if is_last { FIELD_IS_LAST } else { 0 }
                | if has_expired { FIELD_IS_EXPIRED } else { 0 };
            (
                Fields {
                    kind: REMOVE_FIELD,
                    keyspace: keyspace.0,
                    number,
                    value_len: 0,
                    key,
                    field,
                    field_expiry,
                },
                &[],
            )
        }
        Effect::Write { keyspace, key, offset, bytes: value } => {
            let value_len = value.len() as u32;
            (
                Fields {
                    kind: WRITE,
                    keyspace: keyspace.0,
                    number: offset,
                    value_len,
                    key,
                    field,
                    field_expiry,
                },
                value,
            )
        }
        Effect::SetExpiry { keyspace, key, expiry } => {
            let number = expiry.map_or(NO_EXPIRY, |expiry| expiry.0);
            (
                Fields {
                    kind: SET_EXPIRY,
                    keyspace: keyspace.0,
                    number,
                    value_len: 0,
                    key,
                    field,
                    field_expiry,
                },
                &[],
            )
        }
        Effect::Remove { keyspace, key, reason } => {
            let kind = match reason {
                RemoveReason::Deleted => DELETED,
                RemoveReason::Expired => EXPIRED,
                RemoveReason::Evicted => EVICTED,
            };
            (Fields { kind, keyspace: keyspace.0, number: 0, value_len: 0, key, field, field_expiry }, &[])
        }
        Effect::Flush { keyspace } => {
            let (kind, keyspace) = keyspace.map_or((FLUSH_ALL, 0), |keyspace| (FLUSH, keyspace.0));
            (Fields { kind, keyspace, number: 0, value_len: 0, key: &[], field, field_expiry }, &[])
        }
        Effect::Swap { a, b } => {
            let number = u64::from(u32::from_le_bytes([a.0.0, a.1.0, b.0.0, b.1.0]));
            (Fields { kind: SWAP, keyspace: 0, number, value_len: 0, key: &[], field, field_expiry }, &[])
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
    bytes[body..body + fields.field.len()].copy_from_slice(fields.field);
    let mut body = body + fields.field.len();
    if let Some(expiry) = fields.field_expiry {
        bytes[body..body + TIME_BYTES].copy_from_slice(&expiry.0.to_le_bytes());
        body += TIME_BYTES;
    }
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

fn time_len(expiry: Option<Millis>) -> usize {
    if expiry.is_some() { TIME_BYTES } else { 0 }
}

/// Bytes that a value takes in an entry.
fn published_len(value: &PublishedValue<'_>) -> usize {
    match value {
        PublishedValue::Bytes(bytes) | PublishedValue::Packed(bytes) => bytes.len(),
        PublishedValue::Large { .. } | PublishedValue::Passed { .. } => LARGE_BYTES,
        PublishedValue::Tree(_) | PublishedValue::PassedTree(_) => TREE_BYTES,
    }
}

/// What an entry has of a value: whether it is bytes, a large one or one that was passed; its length, and its bytes.
fn encode_value<'v>(
    value: &PublishedValue<'v>,
    buffer: &'v mut [u8; TREE_BYTES],
) -> (ValueForm, u32, &'v [u8]) {
    match *value {
        PublishedValue::Bytes(bytes) => (ValueForm::Bytes, bytes.len() as u32, bytes),
        PublishedValue::Packed(bytes) => (ValueForm::Packed, bytes.len() as u32, bytes),
        PublishedValue::Large { id, len } => {
            buffer[..LARGE_BYTES].copy_from_slice(&id.0.to_le_bytes());
            (ValueForm::Large, len as u32, &buffer[..LARGE_BYTES])
        }
        PublishedValue::Passed { len } => (ValueForm::Passed, len as u32, &buffer[..LARGE_BYTES]),
        PublishedValue::Tree(tree) => {
            *buffer = tree_bytes(&tree);
            (ValueForm::Tree, TREE_BYTES as u32, buffer)
        }
        PublishedValue::PassedTree(tree) => {
            *buffer = tree_bytes(&tree);
            (ValueForm::PassedTree, TREE_BYTES as u32, buffer)
        }
    }
}

#[derive(Clone, Copy)]
enum ValueForm {
    Bytes,
    Packed,
    Large,
    Passed,
    Tree,
    PassedTree,
}

/// The fields of an entry that differ between kinds.
struct Fields<'a> {
    kind: u8,
    keyspace: u8,
    number: u64,
    value_len: u32,
    key: &'a [u8],
    /// Of an entry of a collection, else empty.
    field: &'a [u8],
    /// Of an entry of a collection.
    field_expiry: Option<Millis>,
}

/// The number of an entry of a collection.
fn field_number(kind: CollectionKind, field: &[u8], expiry: Option<Millis>) -> u64 {
    let timed = if expiry.is_some() { FIELD_IS_TIMED } else { 0 };
    field.len() as u64 | u64::from(kind.number()) << FIELD_KIND_SHIFT | timed
}
