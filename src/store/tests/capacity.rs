//! What fits: a store that was filled and emptied, in part or wholly, with sizes of every kind, takes as much again.

use super::model::Random;
use crate::limits::{KIB, MIB};
use crate::mutation::{Database, Mutation, NewValue};
use crate::store::{OnFull, Store, StoreConfig};
use crate::time::Millis;

const DB: Database = Database(0);
const NOW: Millis = Millis(1);

fn store(memory_bytes: usize) -> Store {
    let config = StoreConfig { memory_bytes, on_full: OnFull::Refuse, ..StoreConfig::default() };
    Store::new(config, [1, 2]).unwrap()
}

fn put(store: &mut Store, key: u32, len: usize) -> bool {
    let bytes = vec![key as u8; len];
    let value = NewValue::Bytes(&bytes);
    let key = key.to_be_bytes();
    store.apply(&Mutation::Put { db: DB, key: &key, value, expiry: None }, NOW).is_ok()
}

fn delete(store: &mut Store, key: u32) {
    let key = key.to_be_bytes();
    assert!(store.apply(&Mutation::Delete { db: DB, key: &key }, NOW).unwrap().existed);
}

/// A length of one kind: small, up to a record's limit, of a few blocks, of a few spans.
fn len(kind: usize, random: &mut Random) -> usize {
    match kind {
        0 => random.below(200),
        1 => random.below(8 * KIB),
        2 => 8 * KIB + random.below(56 * KIB),
        _ => 64 * KIB + random.below(400 * KIB),
    }
}

/// Fills the store with values of a kind and returns their keys, and their bytes in sum.
fn fill(store: &mut Store, kind: usize, random: &mut Random, next: &mut u32) -> (Vec<(u32, usize)>, usize) {
    let (mut keys, mut sum, mut refused) = (Vec::new(), 0, 0);
    // A long value may be refused where a shorter one still fits.
    while refused < 8 {
        let len = len(kind, random);
        *next += 1;
        if put(store, *next, len) {
            keys.push((*next, len));
            sum += len;
        } else {
            refused += 1;
        }
    }
    store.invariants();
    (keys, sum)
}

#[test]
fn half_of_it_freed_is_half_of_it_to_be_had() {
    let mut random = Random(7);
    for first in 0..4 {
        for second in 0..4 {
            let (mut store, mut next) = (store(16 * MIB), 0);
            let (keys, _) = fill(&mut store, first, &mut random, &mut next);
            let memory = store.memory();
            let before = memory.held();
            let mut freed = 0;
            for (key, len) in &keys {
                if random.below(2) == 0 {
                    delete(&mut store, *key);
                    freed += len;
                }
            }
            let (_, again) = fill(&mut store, second, &mut random, &mut next);
            let after = store.memory().held();
            // Measured in memory, which overheads of small items do not distort; and in bytes where both are long.
            assert!(
                after * 100 >= before * 93,
                "{first} then {second}: {before} then {after}, {:?}",
                store.memory()
            );
            if first > 0 && second > 0 {
                assert!(again * 100 >= freed * 85, "{first} then {second}: freed {freed}, again {again}");
            }
        }
    }
}

#[test]
fn filled_and_emptied_many_times_it_holds_as_much() {
    let mut random = Random(8);
    let (mut store, mut next) = (store(8 * MIB), 0);
    let mut sums = [0; 4];
    for round in 0..12 {
        let kind = [0, 3, 1, 2][round % 4];
        let (keys, sum) = fill(&mut store, kind, &mut random, &mut next);
        if sums[kind] == 0 {
            sums[kind] = sum;
        }
        assert!(
            sum * 100 >= sums[kind] * 90,
            "kind {kind}: {sum} after {}, {:?}",
            sums[kind],
            store.memory()
        );
        if round % 2 == 0 {
            keys.iter().for_each(|(key, _)| delete(&mut store, *key));
        } else {
            store.apply(&Mutation::Flush { db: Some(DB) }, NOW).unwrap();
        }
        assert_eq!(store.len(DB), 0);
        store.invariants();
    }
}

#[test]
fn a_store_of_mixed_sizes_takes_overwrites_of_other_sizes_at_its_limit() {
    let mut random = Random(9);
    let mut store = store(8 * MIB);
    let mut next = 0;
    let (keys, _) = fill(&mut store, 0, &mut random, &mut next);
    for (key, _) in keys.iter().step_by(20) {
        delete(&mut store, *key);
    }
    let mut refused = 0;
    for _ in 0..200_000 {
        let (key, _) = keys[random.below(keys.len())];
        refused += usize::from(!put(&mut store, key, random.below(180)));
    }
    store.invariants();
    assert!(refused < 2000, "{refused} refused, {:?} {:?}", store.memory(), store.statistics());
}
