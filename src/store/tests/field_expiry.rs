//! Changes of a hash of which fields have expired, in a store so full that making room sweeps over them.

use super::mirror::Mirror;
use crate::mutation::{CollectionKind, Database, FieldExpiry, Mutation, NewValue, Refused};
use crate::store::feed::FEED_BYTES_MIN;
use crate::store::{OnFull, Store, StoreConfig};
use crate::time::Millis;

const DB: Database = Database(0);
const NOW: Millis = Millis(1_700_000_000_000);
const SEGMENT_BYTES: usize = 4096;

/// The store, and what follows it, after a hash of so many fields whose time has come and perhaps one that stays; and
/// strings, until one was refused, but for the last few.
fn full(
    on_full: OnFull,
    (field_count, stays, is_shared): (usize, bool, bool),
    spare: usize,
) -> (Store, Mirror) {
    let config = StoreConfig {
        memory_bytes: SEGMENT_BYTES * 80 + 80 * 1024 + FEED_BYTES_MIN,
        feed_bytes: FEED_BYTES_MIN,
        databases: 1,
        on_full,
        max_value_bytes: 8 * SEGMENT_BYTES as u64,
        segment_bytes: SEGMENT_BYTES,
        leaf_buckets: 16,
        ..StoreConfig::default()
    };
    let mut store = Store::new(config, [1, spare as u64]).unwrap();
    let mut mirror = Mirror::of(&mut store);
    let mut put = |store: &mut Store, mutation: &Mutation<'_>| {
        let applied = store.apply(mutation, NOW);
        mirror.follow(store, |_, _| {});
        applied
    };
    for number in 0..field_count + usize::from(stays) {
        let (field, value) = (format!("field{number}"), NewValue::Bytes(b"a value"));
        let expiry = FieldExpiry::Set((number < field_count).then_some(NOW.plus(10)));
        let field = field.as_bytes();
        put(&mut store, &Mutation::PutTimedField { db: DB, key: b"h", field, value, expiry }).unwrap();
    }
    if is_shared {
        put(&mut store, &Mutation::Copy { db: DB, from: b"h", to_db: DB, to: b"copy" }).unwrap();
    }
    let value = NewValue::Bytes(&[b'v'; 300]);
    for number in 0..900 {
        let key = format!("string{number}");
        let key = key.as_bytes();
        if put(&mut store, &Mutation::Put { db: DB, key, value, expiry: None }).is_err() {
            break;
        }
    }
    let strings = (0..900).rev().map(|number| format!("string{number}"));
    let strings: Vec<String> =
        strings.filter(|key| store.peek(DB, key.as_bytes(), NOW).is_some()).take(spare).collect();
    for key in strings {
        put(&mut store, &Mutation::Delete { db: DB, key: key.as_bytes() }).unwrap();
    }
    (store, mirror)
}

#[test]
fn fields_that_expire_do_not_go_under_a_change_of_their_hash() {
    let (key, kind, field) = (&b"h"[..], CollectionKind::Hash, &b"field20"[..]);
    let (value, long) = (NewValue::Bytes(b"w"), [b'l'; 3 * SEGMENT_BYTES]);
    let (expiry, to) = (Some(NOW.plus(90_000)), &[b't'; 200][..]);
    let put = |field, value| Mutation::PutField { db: DB, key, kind, field, value };
    let timed = FieldExpiry::Set(expiry);
    let changes = [
        put(b"new", value),
        put(field, value),
        put(b"new", NewValue::Bytes(&long)),
        put(b"new", NewValue::Bytes(&long[..400])),
        put(&long[..900], value),
        Mutation::PutTimedField { db: DB, key, field, value, expiry: FieldExpiry::Keep },
        Mutation::PutTimedField { db: DB, key, field: b"new", value, expiry: timed },
        Mutation::SetFieldExpiry { db: DB, key, field, expiry },
        Mutation::SetFieldExpiry { db: DB, key, field: b"field3", expiry },
        Mutation::RemoveField { db: DB, key, kind, field },
        Mutation::RemoveField { db: DB, key, kind, field: b"field3" },
        Mutation::SetExpiry { db: DB, key, expiry },
        Mutation::Rename { db: DB, from: key, to_db: DB, to },
        Mutation::Copy { db: DB, from: key, to_db: DB, to },
        Mutation::Put { db: DB, key, value: NewValue::Bytes(&long), expiry: None },
    ];
    // Short, about to be long, and in pages.
    let hashes = [1, 20, 30, 300].into_iter().flat_map(|count| {
        [(false, false), (true, false), (false, true), (true, true)]
            .map(|(stays, shared)| (count, stays, shared))
    });
    let mut refused = 0;
    for (at, hash) in hashes.enumerate() {
        for (number, change) in changes.iter().enumerate() {
            for on_full in [OnFull::Refuse, OnFull::Evict] {
                let (mut store, mut mirror) = full(on_full, hash, (at + number) % 4);
                let now = NOW.plus(2000);
                let applied = store.apply(change, now);
                assert!(matches!(applied, Ok(_) | Err(Refused::Full)), "{applied:?}");
                refused += u32::from(applied.is_err());
                store.invariants();
                mirror.follow(&mut store, |_, _| {});
                mirror.compare(&store);
                // What was put off is done later.
                let now = now.plus(1);
                while store.maintain(now, 8) {
                    mirror.follow(&mut store, |_, _| {});
                }
                mirror.follow(&mut store, |_, _| {});
                mirror.compare(&store);
                store.invariants();
            }
        }
    }
    assert!(refused < 100, "{refused}");
}
