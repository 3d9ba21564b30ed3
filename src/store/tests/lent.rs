//! Segments that are lent, and come back.

use super::basics::{DB, NOW, put};
use crate::limits::{MIB, SEGMENT_BYTES};
use crate::mutation::Mutation;
use crate::random::Random;
use crate::store::{OnFull, Store, StoreConfig};

const VALUE: [u8; 200] = [7; 200];

fn store(on_full: OnFull) -> Store {
    let config = StoreConfig { memory_bytes: 16 * MIB, on_full, ..StoreConfig::default() };
    Store::new(config, [1, 2]).unwrap()
}

/// Puts keys from `first` on until one is refused; how many.
fn fill(store: &mut Store, first: u32) -> u32 {
    (first..).take_while(|n| put(store, &n.to_be_bytes(), &VALUE, None).is_ok()).count() as u32
}

#[test]
fn what_is_lent_is_missing_until_it_comes_back() {
    let all = fill(&mut store(OnFull::Refuse), 0);
    let mut store = store(OnFull::Refuse);
    let half = (8 * MIB / SEGMENT_BYTES) as u32;
    assert_eq!(store.lend_segments(half, false, NOW), half);
    assert_eq!((store.memory().used(), store.memory().lent), (0, 8 * MIB as u64));
    let fewer = fill(&mut store, 0);
    assert!((all * 4 / 10..all * 55 / 100).contains(&fewer), "{fewer} of {all}");
    store.invariants();
    // A full store lends nothing, and what is lent and in use counts as used.
    assert_eq!(store.lend_segments(1, true, NOW), 0);
    let used = |store: &Store| store.memory().used_of(100);
    assert!((40..60).contains(&used(&store)), "what is lent is to be had back");
    store.note_lent_in_use(half);
    assert!(used(&store) >= 97);
    store.take_segments_back(half + 1);
    assert_eq!(store.lent_segments(), 0);
    let more = fill(&mut store, fewer);
    assert!(fewer + more >= all * 99 / 100, "{fewer} and {more} of {all}");
    store.invariants();
}

#[test]
fn where_keys_are_evicted_they_go_for_what_is_lent_if_it_is_said_so() {
    let mut store = store(OnFull::Evict);
    (0..80_000_u32).for_each(|n| put(&mut store, &n.to_be_bytes(), &VALUE, None).unwrap());
    let keys = store.len(DB);
    assert!(store.lend_segments(16, false, NOW) <= 4, "what was free");
    let before = store.lent_segments();
    assert_eq!(store.lend_segments(16, true, NOW), 16);
    assert!(store.len(DB) < keys && store.lent_segments() == before + 16);
    store.invariants();
    // It never lends so much that nothing can be stored.
    let mut rounds = 0;
    while store.lend_segments(8, true, NOW) > 0 {
        rounds += 1;
        assert!(rounds < 1_000);
    }
    put(&mut store, b"key", &VALUE, None).unwrap();
    store.invariants();
    store.take_segments_back(u32::MAX);
    (0..80_000_u32).for_each(|n| put(&mut store, &n.to_be_bytes(), &VALUE, None).unwrap());
    assert!(store.len(DB) >= keys * 95 / 100);
    store.invariants();
}

/// Keys come and go while segments do: everything that was put is there.
#[test]
fn lending_moves_around_data() {
    for seed in 0..4 {
        let (mut random, mut store) = (Random(seed), store(OnFull::Refuse));
        let mut there = std::collections::BTreeSet::new();
        for _ in 0..20_000 {
            let key = random.below(60_000) as u32;
            match random.below(20) {
                0 => _ = store.lend_segments(random.below(40) as u32, random.below(2) == 0, NOW),
                1 => store.take_segments_back(random.below(40) as u32),
                2..8 => {
                    let gone =
                        store.apply(&Mutation::Delete { db: DB, key: &key.to_be_bytes() }, NOW).unwrap();
                    assert_eq!(gone.existed, there.remove(&key));
                }
                8 => _ = store.maintain(NOW, 4),
                _ => {
                    if put(&mut store, &key.to_be_bytes(), &[key as u8; 900], None).is_ok() {
                        there.insert(key);
                    }
                }
            }
        }
        store.invariants();
        assert_eq!(store.len(DB), there.len() as u64);
        for key in &there {
            let entry = store.peek(DB, &key.to_be_bytes(), NOW).expect("it was put");
            assert!(matches!(entry.value, crate::store::Value::Inline(bytes) if bytes == [*key as u8; 900]));
        }
    }
}

#[test]
fn a_store_of_huge_pages_lends_nothing() {
    let config = StoreConfig { memory_bytes: 16 * MIB, huge_pages: true, ..StoreConfig::default() };
    let mut store = Store::new(config, [1, 2]).unwrap();
    assert_eq!(store.lend_segments(1, true, NOW), 0);
    store.invariants();
}
