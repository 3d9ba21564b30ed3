//! A cache in which others than records hold large values: nothing is evicted in vain, and nothing that there is room for.

use super::basics::{DB, NOW, put};
use crate::limits::{KIB, MIB};
use crate::mutation::{LargeRef, Mutation, Refused};
use crate::store::{OnFull, Store, StoreConfig, Value};

/// A store that is a third full of small keys.
fn a_third_full(memory_bytes: usize) -> Store {
    let config = StoreConfig { memory_bytes, on_full: OnFull::Evict, ..StoreConfig::default() };
    let mut store = Store::new(config, [1, 2]).unwrap();
    for n in 0..(memory_bytes / 3 / KIB) as u32 {
        put(&mut store, &n.to_be_bytes(), &[7; 1000], None).unwrap();
    }
    assert_eq!(store.statistics().evicted, 0);
    store
}

fn retained(store: &mut Store, key: &[u8]) -> LargeRef {
    let Some(Value::Large { id, .. }) = store.peek(DB, key, NOW).map(|entry| entry.value) else {
        panic!("no large value")
    };
    store.large_retain(id)
}

#[test]
fn overwriting_and_copying_a_large_value_again_and_again_evicts_nothing() {
    let mut store = a_third_full(16 * MIB);
    let value = vec![8; 3 * MIB];
    put(&mut store, b"large", &value, None).unwrap();
    for round in 0..50_u8 {
        // A reader of the one before makes each a copy.
        let large = retained(&mut store, b"large");
        store.apply(&Mutation::Write { db: DB, key: b"large", offset: 3, bytes: &[round] }, NOW).unwrap();
        store.large_release(large);
        store.invariants();
    }
    assert_eq!(store.statistics().evicted, 0, "there was room without");
}

#[test]
fn what_cannot_fit_beside_held_values_is_refused_before_anything_is_evicted() {
    let mut store = a_third_full(4 * MIB);
    let mut held = Vec::new();
    // Readers hold values that are overwritten, until no more can be had by any eviction.
    let refused = loop {
        for n in 0..300_u32 {
            put(&mut store, &n.to_be_bytes(), &[7; 1000], None).unwrap();
        }
        let evicted = store.statistics().evicted;
        let before = store.len(DB);
        if let Err(refused) = put(&mut store, b"large", &[9; 400 * KIB], None) {
            assert_eq!(store.statistics().evicted, evicted, "evicted in vain");
            assert_eq!(store.len(DB), before);
            break refused;
        }
        held.push(retained(&mut store, b"large"));
        store.apply(&Mutation::Delete { db: DB, key: b"large" }, NOW).unwrap();
        store.invariants();
    };
    assert_eq!(refused, Refused::Full);
    for _ in 0..20 {
        let evicted = store.statistics().evicted;
        assert!(put(&mut store, b"large", &[9; 400 * KIB], None).is_err());
        assert_eq!(store.statistics().evicted, evicted);
    }
    // Small values find room by eviction still, and when the readers are done large ones do.
    put(&mut store, b"small", &[1; 100], None).unwrap();
    held.into_iter().for_each(|large| store.large_release(large));
    put(&mut store, b"large", &[9; 400 * KIB], None).unwrap();
    store.invariants();
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "was lost")]
fn a_reference_that_is_lost_is_found() {
    let mut store = a_third_full(4 * MIB);
    drop(store.large_begin(0, NOW));
}
