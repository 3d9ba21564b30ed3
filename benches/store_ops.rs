//! The store alone, one operation at a time on uniformly random keys of 16 bytes with values of 32.
//!
//! | bench | what one element is |
//! |---|---|
//! | `store/get/KEYS` | a key that is there, looked up, its value looked at |
//! | `store/get_absent/KEYS` | a key that is not there |
//! | `store/put/KEYS` | a key that is there gets another value of the same length |
//! | `store/delete_put/KEYS` | a key deleted and put again: the deletion is the difference to `put`, and a little more |
//!
//! `cargo bench --bench store_ops`, with 100,000 keys, which take 8 MB. `PANNIER_BENCH_KEYS=10000000`
//! takes as many keys as it says instead; ten million need 1 GiB.

mod common;

use common::{DB, NOW, Random, VALUE, key, store};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pannier::limits::MIB;
use pannier::mutation::{Mutation, NewValue};
use pannier::store::{Store, Value};
use std::hint::black_box;

const KEYS_DEFAULT: u64 = 100_000;
/// Bytes of memory that the store is given for each key; it needs fewer than 80.
const BYTES_FOR_EACH: usize = 100;

/// How many keys.
fn key_count() -> u64 {
    let asked = std::env::var("PANNIER_BENCH_KEYS").ok();
    asked.map_or(KEYS_DEFAULT, |text| text.parse().expect("PANNIER_BENCH_KEYS is a number"))
}

fn put(store: &mut Store, number: u64, value: &[u8]) -> bool {
    let mutation = Mutation::Put { db: DB, key: &key(number), value: NewValue::Bytes(value), expiry: None };
    store.apply(&mutation, NOW.unix).is_ok()
}

fn delete(store: &mut Store, number: u64) -> bool {
    let mutation = Mutation::Delete { db: DB, key: &key(number) };
    store.apply(&mutation, NOW.unix).is_ok_and(|applied| applied.existed)
}

/// The first byte of the value: reading it is a part of looking a key up.
fn get(store: &mut Store, number: u64) -> Option<u8> {
    match store.get(DB, &key(number), NOW.unix)?.value {
        Value::Collection(_) => None,
        Value::Inline(bytes) => bytes.first().copied(),
        Value::Large { .. } => None,
    }
}

fn operations(c: &mut Criterion) {
    let count = key_count();
    let mut store = store(count as usize * BYTES_FOR_EACH + 8 * MIB);
    assert!((0..count).all(|number| put(&mut store, number, &VALUE)));
    assert_eq!(store.len(DB), count);
    let mut random = Random(1);
    for _ in 0..1000 {
        let number = random.below(count);
        assert_eq!(get(&mut store, number), Some(VALUE[0]));
        assert_eq!(get(&mut store, count + number), None);
        assert!(put(&mut store, number, &[7; 32]));
        assert_eq!(get(&mut store, number), Some(7));
        assert!(delete(&mut store, number) && !delete(&mut store, number));
        assert_eq!(get(&mut store, number), None);
        assert!(put(&mut store, number, &VALUE));
    }
    store.invariants();

    let mut group = c.benchmark_group("store");
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new("get", count), |b| {
        b.iter(|| black_box(get(&mut store, random.below(count))));
    });
    group.bench_function(BenchmarkId::new("get_absent", count), |b| {
        b.iter(|| black_box(get(&mut store, count + random.below(count))));
    });
    group.bench_function(BenchmarkId::new("put", count), |b| {
        b.iter(|| black_box(put(&mut store, random.below(count), &VALUE)));
    });
    group.bench_function(BenchmarkId::new("delete_put", count), |b| {
        b.iter(|| {
            let number = random.below(count);
            black_box(delete(&mut store, number) && put(&mut store, number, &VALUE))
        });
    });
    group.finish();
    assert_eq!(store.len(DB), count);
}

criterion_group! {
    name = benches;
    config = common::criterion();
    targets = operations
}
criterion_main!(benches);
