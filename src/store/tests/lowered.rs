//! A limit that is lowered while the store runs.

use super::basics::{DB, NOW, put};
use crate::limits::MIB;
use crate::mutation::{Mutation, Refused};
use crate::store::{OnFull, Store, StoreConfig};

const VALUE: [u8; 200] = [7; 200];

fn store(on_full: OnFull) -> Store {
    let config = StoreConfig { memory_bytes: 16 * MIB, on_full, ..StoreConfig::default() };
    Store::new(config, [1, 2]).unwrap()
}

fn key(n: u32) -> [u8; 4] {
    n.to_be_bytes()
}

/// Puts keys from `first` on until one is refused; how many.
fn fill(store: &mut Store, first: u32) -> u32 {
    (first..).take_while(|n| put(store, &key(*n), &VALUE, None).is_ok()).count() as u32
}

fn put_all(store: &mut Store, keys: std::ops::Range<u32>) {
    keys.for_each(|n| put(store, &key(n), &VALUE, None).unwrap());
}

fn delete(store: &mut Store, keys: std::ops::Range<u32>) {
    keys.for_each(|n| assert!(store.apply(&Mutation::Delete { db: DB, key: &key(n) }, NOW).unwrap().existed));
}

/// What the server does between turns, which comes to an end.
fn idle(store: &mut Store) {
    let mut turns = 0;
    while store.maintain(NOW, 64) {
        turns += 1;
        assert!(turns < 10_000);
    }
    assert!(!store.has_work(NOW));
}

fn used_hundredths(store: &Store) -> u64 {
    let memory = store.memory();
    memory.used() * 100 / memory.limit
}

#[test]
fn where_writes_are_refused_a_lower_limit_holds_at_once_and_is_shown_as_full() {
    let all = fill(&mut store(OnFull::Refuse), 0);
    let mut store = store(OnFull::Refuse);
    store.withhold(8 * MIB as u64);
    let half = fill(&mut store, 0);
    assert!((all * 3 / 10..all * 6 / 10).contains(&half), "{half} of {all}");
    assert!(used_hundredths(&store) >= 97);
    store.withhold(0);
    assert!(used_hundredths(&store) < 60);
    let more = fill(&mut store, half);
    assert!(half + more >= all * 99 / 100, "{half} and {more} of {all}");
    store.invariants();
}

#[test]
fn a_limit_below_what_is_stored_drops_nothing_and_refuses_until_keys_go() {
    let mut store = store(OnFull::Refuse);
    let all = fill(&mut store, 0);
    store.withhold(8 * MIB as u64);
    assert_eq!(put(&mut store, &key(all), &VALUE, None), Err(Refused::Full));
    assert_eq!((store.len(DB), used_hundredths(&store)), (u64::from(all), 100));
    // What only changes a key in place, or takes something away, works.
    put(&mut store, &key(0), &VALUE, None).unwrap();
    let expiry = Some(NOW.plus(60_000));
    assert!(store.apply(&Mutation::SetExpiry { db: DB, key: &key(1), expiry }, NOW).unwrap().existed);
    delete(&mut store, 0..all * 7 / 10);
    put(&mut store, &key(all), &VALUE, None).unwrap();
    // Nothing but the reserve is left: every write is refused, and nothing spins.
    store.withhold(u64::MAX);
    assert_eq!(put(&mut store, &key(all + 1), &VALUE, None), Err(Refused::Full));
    idle(&mut store);
    store.invariants();
}

#[test]
fn where_keys_are_evicted_they_go_between_turns_and_no_write_is_refused() {
    let mut store = store(OnFull::Evict);
    put_all(&mut store, 0..100_000);
    let all = store.len(DB);
    store.withhold(8 * MIB as u64);
    put_all(&mut store, 100_000..100_010);
    idle(&mut store);
    let half = store.len(DB);
    assert!((all * 3 / 10..all * 6 / 10).contains(&half), "{half} of {all}");
    put_all(&mut store, 200_000..300_000);
    assert!(store.len(DB) <= half * 11 / 10, "{} of {half}", store.len(DB));
    assert!(used_hundredths(&store) >= 90);
    store.invariants();
    // As little as there can be: the server goes on.
    store.withhold(u64::MAX);
    idle(&mut store);
    put_all(&mut store, 300_000..310_000);
    store.withhold(0);
    put_all(&mut store, 400_000..500_000);
    assert!(store.len(DB) >= all * 9 / 10, "{} of {all}", store.len(DB));
    store.invariants();
}
