//! What another key has for a member: `weight_*`, `object_*->field`, `#`.

use crate::{
    limits::KEY_BYTES_MAX,
    mutation::{CollectionKind, Database},
    store::{Store, Value, collection::Item},
    time::Millis,
};

/// Where a pattern has its place for the member: the first star, before any zero byte.
fn place(pattern: &[u8]) -> Option<usize> {
    pattern.iter().position(|byte| matches!(byte, b'*' | 0)).filter(|at| pattern[*at] == b'*')
}

/// Whether a pattern has a place for the member.
pub(super) fn has_place(pattern: &[u8]) -> bool {
    place(pattern).is_some()
}

/// Looks up what a pattern means for a member. The key is put together in `names`, which has room for two.
pub(super) fn look_up<'s>(
    store: &'s Store,
    (db, now): (Database, Millis),
    pattern: &[u8],
    member: Item<'s>,
    names: &mut Vec<u8>,
) -> Option<Item<'s>> {
    if pattern == b"#" {
        return Some(member);
    }
    let (before, behind) = pattern.split_at(place(pattern)?);
    let behind = &behind[1..];
    // An arrow with nothing behind it is a part of the key.
    let arrow = behind.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < behind.len());
    let (behind, field) = match arrow {
        Some(at) => (&behind[..at], Some(&behind[at + 2..])),
        None => (behind, None),
    };
    if before.len() + member.len() as usize + behind.len() > KEY_BYTES_MAX {
        return None;
    }
    names.clear();
    names.extend_from_slice(before);
    store.copy_item(member, names);
    names.extend_from_slice(behind);
    match (store.peek(db, names, now)?.value, field) {
        (Value::Inline(bytes), None) => Some(Item::Bytes(bytes)),
        (Value::Large { id, len }, None) => Some(Item::Large { id, len: len as u32 }),
        (Value::Collection(hash), Some(field)) if hash.kind() == CollectionKind::Hash => {
            store.field(&hash, field, now)
        }
        _ => None,
    }
}
