//! One thing at a time.

use crate::limits::MIB;
use crate::mutation::{Database, Mutation, NewValue, Refused};
use crate::store::{LargeCursor, LookupHint, OnFull, Store, StoreConfig, Value};
use crate::time::Millis;

pub(super) const DB: Database = Database(0);
pub(super) const NOW: Millis = Millis(1_000_000);

pub(super) fn store(on_full: OnFull) -> Store {
    let config = StoreConfig { memory_bytes: 4 * MIB, on_full, ..StoreConfig::default() };
    Store::new(config, [1, 2]).unwrap()
}

pub(super) fn put(
    store: &mut Store,
    key: &[u8],
    value: &[u8],
    expiry: Option<Millis>,
) -> Result<(), Refused> {
    store.apply(&Mutation::Put { db: DB, key, value: NewValue::Bytes(value), expiry }, NOW).map(|_| ())
}

fn value(store: &Store, key: &[u8], now: Millis) -> Option<Vec<u8>> {
    match store.peek(DB, key, now)?.value {
        Value::Inline(bytes) => Some(bytes.to_vec()),
        Value::Large { id, len } => {
            let (mut bytes, mut cursor) = (Vec::new(), LargeCursor::new(id, 0));
            loop {
                let slice = store.large_slice(&mut cursor);
                if slice.is_empty() {
                    assert_eq!(bytes.len() as u64, len);
                    return Some(bytes);
                }
                bytes.extend_from_slice(slice);
                cursor.advance(slice.len());
            }
        }
        Value::Collection(_) => panic!("it is a string"),
    }
}

#[test]
fn what_is_put_is_there() {
    let mut store = store(OnFull::Refuse);
    for len in [0, 1, 100, 8192, 8193, 65536, 65537, 300_000] {
        let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
        put(&mut store, b"key", &bytes, None).unwrap();
        assert_eq!(value(&store, b"key", NOW).unwrap(), bytes);
        store.invariants();
    }
    assert_eq!(store.len(DB), 1);
    let applied = store.apply(&Mutation::Delete { db: DB, key: b"key" }, NOW).unwrap();
    assert!(applied.existed);
    assert!(store.get(DB, b"key", NOW).is_none());
    while store.maintain(NOW, 10) {}
    store.invariants();
    assert_eq!(store.memory().live + store.memory().large, 0);
}

#[test]
fn an_expired_key_is_gone_and_its_memory_comes_back() {
    let mut store = store(OnFull::Refuse);
    for i in 0..1000_u32 {
        put(&mut store, &i.to_le_bytes(), b"value", Some(NOW.plus(u64::from(i)))).unwrap();
    }
    let at = NOW.plus(499);
    assert!(value(&store, &499_u32.to_le_bytes(), at).is_none());
    assert!(value(&store, &500_u32.to_le_bytes(), at).is_some());
    while store.maintain(NOW.plus(5000), 10) {
        store.invariants();
    }
    assert_eq!((store.len(DB), store.expiring(DB), store.memory().live), (0, 0, 0));
    assert_eq!(store.statistics().expired, 1000);
}

#[test]
fn a_full_store_refuses_and_after_a_flush_takes_as_much_again() {
    let mut store = store(OnFull::Refuse);
    let mut counts = Vec::new();
    for _ in 0..3 {
        let mut count = 0_u32;
        while put(&mut store, &count.to_le_bytes(), &[7; 100], None).is_ok() {
            count += 1;
        }
        store.invariants();
        assert!((0..count).all(|i| store.peek(DB, &i.to_le_bytes(), NOW).is_some()));
        counts.push(count);
        store.apply(&Mutation::Flush { db: Some(DB) }, NOW).unwrap();
        assert_eq!(store.len(DB), 0);
        store.invariants();
    }
    assert!(counts.iter().all(|count| count * 100 >= counts[0] * 97), "{counts:?}");
    assert!(counts[0] as u64 * 124 > store.memory().limit * 70 / 100, "{counts:?}");
}

#[test]
fn writes_grow_a_value_and_readers_keep_theirs() {
    let mut store = store(OnFull::Refuse);
    let mut expected = Vec::new();
    let write = |store: &mut Store, offset: usize, bytes: &[u8]| {
        store.apply(&Mutation::Write { db: DB, key: b"k", offset: offset as u64, bytes }, NOW).unwrap();
    };
    for round in 0..40_usize {
        let bytes = vec![round as u8; 3000];
        let offset = expected.len() + if round % 3 == 0 { 50 } else { 0 };
        expected.resize(offset, 0);
        expected.extend_from_slice(&bytes);
        write(&mut store, offset, &bytes);
        assert_eq!(value(&store, b"k", NOW).unwrap(), expected);
        store.invariants();
    }
    let Value::Large { id, .. } = store.peek(DB, b"k", NOW).unwrap().value else { panic!("it is large") };
    let large = store.large_retain(id);
    write(&mut store, 10, b"changed");
    let mut cursor = LargeCursor::new(id, 0);
    assert_eq!(store.large_slice(&mut cursor)[..100], expected[..100]);
    expected[10..17].copy_from_slice(b"changed");
    assert_eq!(value(&store, b"k", NOW).unwrap(), expected);
    store.large_release(large);
    store.invariants();
}

#[test]
fn a_cache_takes_everything() {
    let mut store = store(OnFull::Evict);
    for i in 0..200_000_u32 {
        put(&mut store, &i.to_le_bytes(), &[7; 100], None).unwrap();
        if i % 1000 == 0 {
            put(&mut store, b"large", &[9; 100_000], None).unwrap();
        }
    }
    store.invariants();
    assert!(store.statistics().evicted > 100_000);
    assert!(store.len(DB) > 20_000, "{}", store.len(DB));
}

#[test]
fn a_cache_of_large_values_alone_takes_everything() {
    let mut store = store(OnFull::Evict);
    for i in 0..2000_u32 {
        let value = vec![i as u8; 9_000 + (i as usize * 7919) % 400_000];
        put(&mut store, &i.to_le_bytes(), &value, Some(NOW.plus(u64::from(i) * 1000))).unwrap();
        assert!(store.peek(DB, &i.to_le_bytes(), NOW).is_some() || i == 0);
    }
    store.invariants();
    assert!(store.len(DB) >= 5, "{} {:?}", store.len(DB), store.memory());
}

#[test]
fn swapped_databases_keep_their_keys_when_records_move() {
    let mut store = store(OnFull::Refuse);
    let other = Database(5);
    for i in 0..30_000_u32 {
        if i % 1000 == 0 {
            store.apply(&Mutation::Swap { a: DB, b: other }, NOW).unwrap();
        }
        put(&mut store, &i.to_le_bytes(), &[1; 50], None).unwrap();
        if i % 3 > 0 {
            store.apply(&Mutation::Delete { db: DB, key: &i.to_le_bytes() }, NOW).unwrap();
        }
    }
    while store.maintain(NOW, 100) {}
    store.invariants();
    assert_eq!(store.len(DB) + store.len(other), 10_000);
}

#[test]
fn keys_and_expiries_have_a_longest() {
    let mut store = store(OnFull::Refuse);
    let longest = vec![b'k'; store.key_bytes_max()];
    put(&mut store, &longest, b"value", Some(Millis(u64::MAX))).unwrap();
    assert_eq!(
        store.peek(DB, &longest, NOW).unwrap().expiry,
        Some(Millis((1 << 48) - 1)),
        "never, as good as"
    );
    store.invariants();
    let longer = [&longest[..], b"k"].concat();
    let size = longer.len() as u64;
    assert_eq!(put(&mut store, &longer, b"value", None), Err(Refused::KeyTooLong { size }));
    let hint = store.hint(DB, &longer);
    assert_eq!(store.put_hinted((DB, &longer), b"value", &hint, NOW), Err(Refused::KeyTooLong { size }));
    for mutation in [
        Mutation::Rename { db: DB, from: &longest, to_db: DB, to: &longer },
        Mutation::Copy { db: DB, from: &longest, to_db: DB, to: &longer },
        Mutation::Write { db: DB, key: &longer, offset: 0, bytes: b"x" },
    ] {
        assert_eq!(store.apply(&mutation, NOW), Err(Refused::KeyTooLong { size }));
    }
}

#[test]
fn what_is_refused_is_counted_and_changes_nothing() {
    let config = StoreConfig { memory_bytes: 4 * MIB, max_value_bytes: 100_000, ..StoreConfig::default() };
    let mut store = Store::new(config, [1, 2]).unwrap();
    put(&mut store, b"k", &[1; 100_000], None).unwrap();
    let too_large = Err(Refused::TooLarge { size: 100_001, limit: 100_000 });
    assert_eq!(put(&mut store, b"k", &[2; 100_001], None), too_large);
    let write = Mutation::Write { db: DB, key: b"k", offset: 100_000, bytes: b"x" };
    assert_eq!(store.apply(&write, NOW).map(|_| ()), too_large);
    assert_eq!(store.statistics().refused, 0, "that was not for want of memory");
    let mut stored = 0_u32;
    while put(&mut store, &stored.to_le_bytes(), &[3; 50_000], None).is_ok() {
        stored += 1;
    }
    assert_eq!(put(&mut store, b"new", &[2; 99_999], None), Err(Refused::Full));
    assert_eq!(store.statistics().refused, 2);
    assert_eq!(value(&store, b"k", NOW).unwrap(), [1; 100_000]);
    assert_eq!(store.len(DB), u64::from(stored) + 1);
    store.invariants();
}

#[test]
fn the_hint_says_when_something_may_expire() {
    let mut store = store(OnFull::Refuse);
    let settle = |store: &mut Store, now| while store.maintain(now, 1) {};
    assert_eq!(store.next_expiry_hint(), None);
    put(&mut store, b"never", b"v", None).unwrap();
    assert_eq!(store.next_expiry_hint(), None);
    put(&mut store, b"late", b"v", Some(NOW.plus(900_000))).unwrap();
    assert_eq!(store.next_expiry_hint(), Some(NOW.plus(900_000)));
    put(&mut store, b"soon", b"v", Some(NOW.plus(1000))).unwrap();
    settle(&mut store, NOW.plus(999));
    assert_eq!((store.next_expiry_hint(), store.len(DB)), (Some(NOW.plus(1000)), 3));
    settle(&mut store, NOW.plus(1000));
    assert_eq!((store.next_expiry_hint(), store.len(DB)), (Some(NOW.plus(900_000)), 2));
    store.apply(&Mutation::SetExpiry { db: DB, key: b"late", expiry: None }, NOW).unwrap();
    settle(&mut store, NOW.plus(900_000));
    assert_eq!((store.next_expiry_hint(), store.len(DB)), (None, 2));
}

/// A hint counts for nothing once its record is another's, or dead, or in another database.
#[test]
fn a_hint_is_void_when_a_record_has_moved_or_gone() {
    let get = |store: &mut Store, hint: &LookupHint| match store.get_hinted(DB, b"k", hint, NOW) {
        Some(Value::Inline(bytes)) => Some(bytes.to_vec()),
        Some(Value::Large { .. } | Value::Collection(_)) => panic!("it is a short string"),
        None => None,
    };
    let sighted = || {
        let mut store = store(OnFull::Refuse);
        put(&mut store, b"k", b"first", None).unwrap();
        let mut hint = store.hint(DB, b"k");
        store.prefetch_record(&mut hint);
        assert_eq!(get(&mut store, &hint).unwrap(), b"first");
        (store, hint)
    };
    let delete = Mutation::Delete { db: DB, key: b"k" };
    let rename = Mutation::Rename { db: DB, from: b"k", to_db: DB, to: b"other" };
    let swap = Mutation::Swap { a: DB, b: Database(1) };
    for gone in [&delete, &rename, &swap, &Mutation::Flush { db: None }, &Mutation::Flush { db: Some(DB) }] {
        let (mut store, hint) = sighted();
        store.apply(gone, NOW).unwrap();
        assert_eq!(get(&mut store, &hint), None, "{gone:?}");
        put(&mut store, b"k", b"another", None).unwrap();
        assert_eq!(get(&mut store, &hint).unwrap(), b"another", "{gone:?}");
    }
    // A rename that writes over a record of the same size, which stays where it is.
    let (mut store, _) = sighted();
    put(&mut store, b"other", b"fifth", None).unwrap();
    let mut hint = store.hint(DB, b"k");
    store.prefetch_record(&mut hint);
    store.apply(&rename, NOW).unwrap();
    assert_eq!((get(&mut store, &hint), value(&store, b"other", NOW).unwrap()), (None, b"first".to_vec()));
    let (mut store, hint) = sighted();
    put(&mut store, b"k", b"a longer one", None).unwrap();
    assert_eq!(get(&mut store, &hint).unwrap(), b"a longer one");
    store.put_hinted((DB, b"k"), b"once again", &hint, NOW).unwrap();
    assert_eq!(get(&mut store, &hint).unwrap(), b"once again");
}

#[test]
fn a_reader_may_go_back_before_the_place_where_another_stopped() {
    let mut store = store(OnFull::Refuse);
    let bytes: Vec<u8> = (0..300_000_u32).map(|i| (i / 7) as u8).collect();
    put(&mut store, b"k", &bytes, None).unwrap();
    let Value::Large { id, .. } = store.peek(DB, b"k", NOW).unwrap().value else { panic!("it is large") };
    for first in [0, 70_000, 131_072, 200_000, 299_999, 300_000] {
        let mut cursor = LargeCursor::new(id, first);
        store.advance_position(&mut cursor);
        assert_eq!(u64::from(cursor.position().index), (first / 65_536).min(3), "four spans, and blocks");
        for second in [0, 65_535, 65_536, 131_072, 262_144, 299_000] {
            let mut cursor = LargeCursor::follow(id, second, cursor.position());
            let slice = store.large_slice(&mut cursor);
            assert!(!slice.is_empty() && bytes[second as usize..].starts_with(slice), "{first} {second}");
        }
    }
}

#[test]
fn large_values_without_a_byte_run_out_too() {
    let config =
        StoreConfig { memory_bytes: MIB, segment_bytes: 1024, leaf_buckets: 16, ..StoreConfig::default() };
    let mut store = Store::new(config, [1, 2]).unwrap();
    let mut held = Vec::new();
    while let Ok(large) = store.large_begin(0, NOW) {
        held.push(large);
        assert_eq!(store.large_count(), held.len() as u64);
    }
    assert!(held.len() > 1000 && store.large_begin(0, NOW) == Err(Refused::Full));
    assert_eq!(store.large_count(), held.len() as u64);
    store.invariants();
    for large in held {
        store.large_release(large);
    }
    store.invariants();
    assert_eq!(store.large_count(), 0);
    let again = store.large_begin(0, NOW).expect("there is room again");
    store.large_release(again);
}
