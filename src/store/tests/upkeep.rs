//! What is done between commands, and for want of room: sweeps, cleaning, and when there is any of it to do.

use super::basics::{DB, NOW, put, store};
use crate::limits::MIB;
use crate::mutation::{Mutation, Refused};
use crate::store::{OnFull, Store, StoreConfig};

fn key(n: u32) -> [u8; 4] {
    n.to_le_bytes()
}

fn delete(store: &mut Store, n: u32) {
    store.apply(&Mutation::Delete { db: DB, key: &key(n) }, NOW).unwrap();
}

/// A sweep walks a segment of the usual size in many steps. What happens to the segment meanwhile: it falls free, alone
/// or with others, and is filled again; or it is open, gets more records that expire, and what was passed gets other
/// times to live.
#[test]
fn a_segment_may_change_while_a_sweep_is_in_the_middle_of_it() {
    let ttl = |n: u32| Some(NOW.plus(u64::from(if n.is_multiple_of(2) { 1 + n } else { 3999 - n % 500 })));
    for (count, emptied) in [(3800, 2100), (3800, 3800), (1200, 0)] {
        for steps in 1..8 {
            let mut store = store(OnFull::Refuse);
            (0..count).for_each(|n| put(&mut store, &key(n), b"value", ttl(n)).unwrap());
            store.maintain(NOW.plus(300), steps);
            assert!((1..=150).contains(&store.statistics().expired), "it has begun");
            (0..emptied).for_each(|n| delete(&mut store, n));
            if emptied == 0 {
                put(&mut store, &key(1), b"again", Some(NOW.plus(4500))).unwrap();
            }
            for n in count..2 * count {
                put(&mut store, &key(n), &[b'x'; 33], ttl(if n % 2 == 0 { 0 } else { 1 })).unwrap();
            }
            while store.maintain(NOW.plus(300), 1) {
                store.invariants();
            }
            store.invariants();
            assert!(store.len(DB) >= u64::from(count) / 2);
            while store.maintain(NOW.plus(4500), 1) {}
            assert_eq!((store.len(DB), store.next_expiry_hint()), (0, None));
            store.invariants();
        }
    }
}

/// Where everything is in use, records are kept for four segments' worth, and then something goes all the same.
#[test]
fn uses_stop_counting_when_everything_is_used() {
    let mut store = store(OnFull::Evict);
    let mut next = 0;
    while store.statistics().evicted == 0 {
        put(&mut store, &key(next), &[7; 100], None).unwrap();
        next += 1;
    }
    let record = store.memory().live / store.len(DB);
    let use_all = |store: &mut Store, next| {
        (0..3).for_each(|_| (0..next).for_each(|n| _ = store.get(DB, &key(n), NOW)));
    };
    use_all(&mut store, next);
    let before = *store.statistics();
    while store.statistics().evicted == before.evicted {
        put(&mut store, &key(next), &[7; 100], None).unwrap();
        next += 1;
    }
    let kept = (store.statistics().kept_bytes - before.kept_bytes) / 65_536;
    assert!((3..=5).contains(&kept), "{kept} segments");
    // From then on one goes for four that are kept.
    let before = *store.statistics();
    for _ in 0..3000 {
        put(&mut store, &key(next), &[7; 100], None).unwrap();
        next += 1;
        if next % 500 == 0 {
            use_all(&mut store, next);
        }
    }
    let gone = (store.statistics().evicted - before.evicted) * record;
    let kept = store.statistics().kept_bytes - before.kept_bytes;
    assert!((2..=5).contains(&(kept / gone)), "{kept} kept and {gone} gone");
    store.invariants();
}

/// With no steps allowed, `maintain` only says whether there is work.
#[test]
fn there_is_work_when_something_waits_and_not_before() {
    let works = |store: &mut Store, now| store.maintain(now, 0);
    let mut store = store(OnFull::Refuse);
    assert!(!works(&mut store, NOW));
    put(&mut store, b"expiring", b"v", Some(NOW.plus(10))).unwrap();
    assert_eq!([9, 10].map(|ms| works(&mut store, NOW.plus(ms))), [false, true]);
    put(&mut store, b"large", &[1; 1_200_000], None).unwrap();
    store.apply(&Mutation::Delete { db: DB, key: b"large" }, NOW).unwrap();
    assert!(works(&mut store, NOW), "pieces of a large value are to be freed");
    while store.maintain(NOW, 1) {}
    (0..3000).for_each(|n| put(&mut store, &key(n), b"value", None).unwrap());
    (0..3000).step_by(2).for_each(|n| delete(&mut store, n));
    assert!(!works(&mut store, NOW), "dead records are no work while there is room");
    store.apply(&Mutation::Flush { db: None }, NOW).unwrap();
    assert!(works(&mut store, NOW), "leaves and records are to be cleared away");
    while store.maintain(NOW, 1) {}
    assert!(!works(&mut store, NOW));
    let count = (0..).take_while(|n| put(&mut store, &key(*n), &[7; 100], None).is_ok()).count() as u32;
    while store.maintain(NOW, 1) {}
    assert!(!works(&mut store, NOW), "it is full, and nothing is dead");
    (0..count).step_by(4).for_each(|n| delete(&mut store, n));
    assert!(!works(&mut store, NOW), "a quarter is dead, and there are free segments");
    let waits = (count..count + count / 4).find(|n| {
        put(&mut store, &key(*n), &[7; 100], None).unwrap();
        works(&mut store, NOW) && store.victim.is_none()
    });
    assert!(waits.is_some(), "few are free, and some of the others are dead in part");
    let before = store.statistics().cleaned_segments;
    while store.maintain(NOW, 1) {}
    assert!(store.statistics().cleaned_segments > before);
    store.invariants();
}

#[test]
fn room_for_a_large_value_is_made_of_what_has_expired() {
    let mut store = store(OnFull::Refuse);
    let expiry = Some(NOW.plus(1));
    (0..).take_while(|n| put(&mut store, &key(*n), &[7; 100], expiry).is_ok()).for_each(drop);
    assert_eq!(store.large_begin(2_000_000, NOW), Err(Refused::Full));
    let large = store.large_begin(2_000_000, NOW.plus(1)).expect("what has expired makes room");
    store.large_release(large);
    store.invariants();
}

#[test]
fn a_cache_keeps_eight_segments_for_records() {
    let mut store = store(OnFull::Evict);
    let segment = store.config().segment_bytes as u64;
    let most = store.memory().free - 9 * segment;
    assert_eq!(store.large_begin(most + 1, NOW), Err(Refused::Full));
    let large = store.large_begin(most, NOW).expect("there is room for so many");
    store.large_release(large);
}

#[test]
fn records_lie_with_those_that_go_at_about_the_same_time() {
    let class = |ms: u64| Store::class_of(Some(NOW.plus(ms)), NOW);
    assert_eq!(Store::class_of(None, NOW), 0);
    assert_eq!(Store::class_of(Some(NOW), NOW.plus(5)), 1, "expired already");
    for (class_of, ms) in (1..8).map(|i| (i, 4000 << (2 * (i - 1)))) {
        assert_eq!((class(ms), class(ms + 1)), (class_of, class_of + 1), "{ms}");
    }
    assert_eq!(class(u64::MAX / 2), 8, "the last is of what was moved");
}

#[test]
fn a_large_value_is_as_long_as_a_value_may_be_and_no_longer() {
    let config = StoreConfig { memory_bytes: 4 * MIB, max_value_bytes: 100_000, ..StoreConfig::default() };
    let mut store = Store::new(config, [1, 2]).unwrap();
    let too_large = Refused::TooLarge { size: 100_001, limit: 100_000 };
    let whole = store.large_begin(0, NOW).unwrap();
    while let Ok(space) = store.large_space(whole.id(), NOW) {
        let len = space.len();
        store.large_filled(whole.id(), len);
    }
    assert_eq!(store.large_len(whole.id()), 100_000);
    assert_eq!(store.large_space(whole.id(), NOW).err(), Some(too_large));
    assert_eq!(store.large_make_room(whole.id(), 1, NOW), Err(too_large));

    let half = store.large_begin(0, NOW).unwrap();
    store.large_append(half.id(), &[1; 50_000], NOW).unwrap();
    let before = store.memory().large;
    store.large_make_room(half.id(), u64::MAX / 4, NOW).unwrap();
    assert!(
        store.memory().large - before <= 65_536,
        "room for what a value may have, not for what was asked"
    );
    store.invariants();
    [whole, half].into_iter().for_each(|large| store.large_release(large));
}
