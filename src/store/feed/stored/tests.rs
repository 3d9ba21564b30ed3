//! Entries as files have them: what was written is read, and what was not is refused without a panic.

use super::*;
use crate::mutation::{
    Cause, CollectionKind, Effect, KeyspaceId, LargeId, Origin, PublishedValue, RemoveReason,
};
use crate::store::Collection;
use crate::time::Millis;

/// A short hash, one with a time, and a set, with what may lie behind the second one's entries.
const HASH: &[u8] = b"\x01\x02\x01a\x01b\x02cc\x00";
const TIMED: &[u8] = b"\x41\x02\xe0\x01\x02\x03\x04\x05\x06\x01a\x01b\x01c\x01drest";
const SET: &[u8] = b"\x12\x03\x011\x012\x013";

fn effects() -> Vec<Effect<'static>> {
    let (keyspace, key, field, expiry) = (KeyspaceId(1), &b"key"[..], &b"field"[..], Some(Millis(77)));
    let put = |value| Effect::Put { keyspace, key, value, expiry };
    let (hash, set) = (CollectionKind::Hash, CollectionKind::Set);
    let put_field = |kind, value, expiry| Effect::PutField { keyspace, key, kind, field, value, expiry };
    let large = PublishedValue::Large { id: LargeId(0), len: 9_000 };
    let (deleted, expired) = (RemoveReason::Deleted, RemoveReason::Expired);
    let remove = |kind, is_last, reason| Effect::RemoveField { keyspace, key, kind, field, is_last, reason };
    vec![
        put(PublishedValue::Bytes(b"value")),
        put(large),
        put(PublishedValue::Packed(HASH)),
        put(PublishedValue::Packed(TIMED)),
        put(PublishedValue::Packed(SET)),
        Effect::Write { keyspace, key, offset: 5, bytes: b"bytes" },
        put_field(hash, PublishedValue::Bytes(b"value"), None),
        put_field(hash, PublishedValue::Bytes(b"value"), expiry),
        put_field(hash, large, expiry),
        put_field(set, PublishedValue::Bytes(b""), None),
        remove(hash, false, expired),
        remove(set, true, deleted),
        Effect::SetFieldExpiry { keyspace, key, field, expiry },
        Effect::SetFieldExpiry { keyspace, key, field, expiry: None },
        Effect::SetExpiry { keyspace, key, expiry },
        Effect::Remove { keyspace, key, reason: deleted },
        Effect::Flush { keyspace: None },
    ]
}

fn encoded(effect: Effect<'_>) -> Vec<u8> {
    let (revision, group, origin) = (Revision(7), GroupMark::Alone, Origin::Unknown);
    let change = Change { revision, group, origin, cause: Cause::default(), effect };
    let mut bytes = vec![0; encoded_len(&change)];
    assert_eq!(encode(&mut bytes, &change), bytes.len());
    bytes
}

#[test]
fn what_was_written_is_read() {
    for effect in effects() {
        assert_eq!(decode(&encoded(effect)).map(|change| change.effect), Some(effect));
    }
}

#[test]
fn a_collection_of_an_unknown_kind_is_refused() {
    for effect in effects() {
        let bytes = encoded(effect);
        let at = match effect {
            Effect::PutField { .. } | Effect::RemoveField { .. } | Effect::SetFieldExpiry { .. } => 28,
            Effect::Put { value: PublishedValue::Packed(_), .. } => 43,
            _ => continue,
        };
        for kind in [0, 3, 7] {
            let mut bytes = bytes.clone();
            bytes[at] = bytes[at] & !7 | kind;
            assert_eq!(decode(&bytes), None, "{effect:?} of kind {kind}");
        }
    }
}

#[test]
fn a_damaged_entry_is_read_or_refused_and_its_collection_can_be_walked() {
    for effect in effects() {
        let whole = encoded(effect);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Some(change) = decode(&bytes) else { continue };
            if let Effect::Put { value: PublishedValue::Packed(bytes), .. } = change.effect {
                let Collection::Packed(packed) = Collection::read(bytes) else { panic!("it is a short one") };
                assert_eq!(packed.entries().count(), packed.len(), "bit {bit}");
                assert!(packed.entries().all(|entry| entry.larges().next().is_none()));
            }
        }
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), None);
        }
    }
}
