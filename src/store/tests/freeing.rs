//! A store at its limit never refuses what frees: fields that are removed, times that are taken away.

use super::basics::{DB, NOW};
use super::mirror::Mirror;
use crate::limits::KIB;
use crate::mutation::{CollectionKind, FieldExpiry, LargeRef, Mutation, NewValue};
use crate::store::feed::FEED_BYTES_MIN;
use crate::store::{OnFull, Store, StoreConfig};

const SEGMENT_BYTES: usize = 4096;
const KINDS: [CollectionKind; 2] = [CollectionKind::Hash, CollectionKind::Set];
const FIELDS: u32 = 6;

fn store(on_full: OnFull, (segments, segment_bytes): (usize, usize)) -> (Store, Mirror) {
    let config = StoreConfig {
        memory_bytes: segment_bytes * segments + 80 * KIB + FEED_BYTES_MIN,
        feed_bytes: FEED_BYTES_MIN,
        databases: 1,
        on_full,
        max_value_bytes: 8 * segment_bytes as u64,
        segment_bytes,
        leaf_buckets: 16,
        ..StoreConfig::default()
    };
    let mut store = Store::new(config, [1, 2]).unwrap();
    let mirror = Mirror::of(&mut store);
    (store, mirror)
}

fn key(number: u32) -> Vec<u8> {
    format!("key{number}").into_bytes()
}

fn field(number: u32) -> Vec<u8> {
    format!("field{number}").into_bytes()
}

fn kind_of(number: u32) -> CollectionKind {
    KINDS[number as usize % 2]
}

/// Collections until none is taken, strings that get shorter and shorter, and times to live as far as they go; how many of
/// each there are. A store that evicts takes `max` of them.
fn fill((store, mirror): &mut (Store, Mirror), value_len: usize, max: u32) -> (u32, u32) {
    let mut apply = |mutation: &Mutation<'_>| {
        let applied = store.apply(mutation, NOW);
        mirror.follow(store, |_, _| {});
        applied.is_ok()
    };
    let value = vec![b'v'; value_len];
    let mut count = 0;
    'collections: while count < max {
        let key = key(count);
        for number in 0..FIELDS {
            let (field, value) = (field(number), NewValue::Bytes(&value));
            let expiry = FieldExpiry::Set((number == 2).then(|| NOW.plus(1_000_000)));
            let is_taken = apply(&match kind_of(count) {
                CollectionKind::Hash => {
                    Mutation::PutTimedField { db: DB, key: &key, field: &field, value, expiry }
                }
                kind => Mutation::PutField { db: DB, key: &key, kind, field: &field, value },
            });
            if !is_taken {
                apply(&Mutation::Delete { db: DB, key: &key });
                break 'collections;
            }
        }
        count += 1;
    }
    let mut strings = 0;
    for len in [1000, 100, 10, 0] {
        loop {
            let (name, value) = (format!("string{strings}"), vec![b's'; len]);
            let value = NewValue::Bytes(&value);
            if strings > max || !apply(&Mutation::Put { db: DB, key: name.as_bytes(), value, expiry: None }) {
                break;
            }
            strings += 1;
        }
    }
    let expiry = Some(NOW.plus(1_000_000));
    for number in 0..strings {
        let name = format!("string{number}");
        apply(&Mutation::SetExpiry { db: DB, key: name.as_bytes(), expiry });
    }
    for number in 0..count {
        apply(&Mutation::SetExpiry { db: DB, key: &key(number), expiry });
    }
    (count, strings)
}

/// Large values that readers hold, as many as there are.
fn hold_the_rest(store: &mut Store) -> Vec<LargeRef> {
    let mut held = Vec::new();
    while let Ok(large) = store.large_begin_spare(2 * SEGMENT_BYTES as u64) {
        let is_taken = store.large_append_spare(large.id(), &vec![7; 2 * SEGMENT_BYTES], NOW).is_ok();
        held.push(large);
        if !is_taken {
            break;
        }
    }
    held
}

#[test]
fn what_frees_is_never_refused() {
    let mut refused = Vec::new();
    for on_full in [OnFull::Refuse, OnFull::Evict] {
        for segments in [64, 80] {
            for value_len in [3, 40, 150] {
                for holds in [false, true] {
                    let mut both = store(on_full, (segments, SEGMENT_BYTES));
                    let (count, _) = fill(&mut both, value_len, 1000);
                    let (mut store, mut mirror) = both;
                    let held = if holds { hold_the_rest(&mut store) } else { Vec::new() };
                    for number in 0..count {
                        let key = key(number);
                        let kind = kind_of(number);
                        let gone = field(number % FIELDS);
                        let changes = [
                            Mutation::SetFieldExpiry { db: DB, key: &key, field: &field(2), expiry: None },
                            Mutation::RemoveField { db: DB, key: &key, kind, field: &gone },
                        ];
                        let is_hash = kind == CollectionKind::Hash;
                        for (at, change) in changes.iter().enumerate().skip(usize::from(!is_hash)) {
                            if let Err(error) = store.apply(change, NOW) {
                                refused.push((on_full, segments, value_len, holds, at, error));
                            }
                        }
                        mirror.follow(&mut store, |_, _| {});
                    }
                    store.invariants();
                    mirror.compare(&store);
                    held.into_iter().for_each(|large| store.large_release(large));
                }
            }
        }
    }
    assert!(
        refused.is_empty(),
        "{} {:?}",
        refused.len(),
        refused.iter().step_by(refused.len() / 20 + 1).collect::<Vec<_>>()
    );
}

#[test]
fn a_time_to_live_is_taken_away_however_full_the_store_is() {
    for segments in [40, 64] {
        for value_len in [150, 1000] {
            let mut both = store(OnFull::Refuse, (segments, 64 * KIB));
            let (count, strings) = fill(&mut both, value_len, 50_000);
            let (mut store, mut mirror) = both;
            let names = (0..count).map(key).chain((0..strings).map(|n| format!("string{n}").into_bytes()));
            let refused = names.filter(|key| {
                let persist = Mutation::SetExpiry { db: DB, key, expiry: None };
                let is_refused = store.apply(&persist, NOW).is_err();
                mirror.follow(&mut store, |_, _| {});
                is_refused
            });
            assert_eq!(refused.count(), 0, "{segments} segments, {value_len} bytes, {count} and {strings}");
            store.invariants();
        }
    }
}
