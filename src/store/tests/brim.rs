//! A store at its limit: what has expired is collected before anything is refused, what must work there does, and the
//! figures say that it is full.

use super::basics::{DB, NOW, put, store};
use super::model::Random;
use crate::limits::MIB;
use crate::mutation::{Mutation, NewValue, Refused};
use crate::store::{OnFull, Store, StoreConfig, Value};
use crate::time::Millis;

const DAY_MS: u64 = 86_400_000;

fn key(n: u32) -> [u8; 4] {
    n.to_be_bytes()
}

/// Puts values of `len` bytes until one is refused; how many.
fn fill(store: &mut Store, len: usize, expiry: impl Fn(u32) -> Option<Millis>) -> u32 {
    let value = vec![7; len];
    (0..).take_while(|n| put(store, &key(*n), &value, expiry(*n)).is_ok()).count() as u32
}

fn put_at(store: &mut Store, n: u32, len: usize, now: Millis) -> Result<(), Refused> {
    let (key, value) = (key(n), vec![8; len]);
    store
        .apply(&Mutation::Put { db: DB, key: &key, value: NewValue::Bytes(&value), expiry: None }, now)
        .map(drop)
}

fn expire(store: &mut Store, n: u32, expiry: Option<Millis>, now: Millis) -> Result<bool, Refused> {
    store.apply(&Mutation::SetExpiry { db: DB, key: &key(n), expiry }, now).map(|applied| applied.existed)
}

/// What the server does between turns.
fn idle(store: &mut Store, now: Millis) {
    while store.maintain(now, 64) {}
}

#[test]
fn a_key_whose_time_was_shortened_goes_within_seconds() {
    let mut store = store(OnFull::Refuse);
    for n in 0..5000 {
        put(&mut store, &key(n), b"value", Some(NOW.plus(30 * DAY_MS))).unwrap();
    }
    for n in 0..1000 {
        expire(&mut store, n, Some(NOW.plus(5000)), NOW).unwrap();
        put(&mut store, &key(1000 + n), b"value", Some(NOW.plus(5000))).unwrap();
    }
    let due = store.next_expiry_hint().unwrap();
    assert!(due <= NOW.plus(6000), "{due:?}");
    idle(&mut store, due);
    assert_eq!((store.len(DB), store.expiring(DB)), (3000, 3000));
    store.invariants();
}

#[test]
fn nothing_is_refused_while_anything_expired_is_uncollected() {
    // How many of the keys go, and when, by number.
    type Mix = (&'static str, fn(u32) -> u64);
    let mixes: [Mix; 5] = [
        ("1 s and 30 d in one segment", |n| if n % 2 == 0 { 1000 } else { 30 * DAY_MS }),
        ("a day's keys, one after another", |n| 1000 + u64::from(n) * 3000),
        ("one in a hundred is short", |n| if n % 100 == 0 { 1000 } else { 3_600_000 }),
        ("all at once", |_| 1000),
        ("spread over a month", |n| 1000 + u64::from(n.wrapping_mul(2_654_435_761)) % (30 * DAY_MS)),
    ];
    for (name, ttl) in mixes {
        for len in [20, 100, 3000, 20_000] {
            let mut store = store(OnFull::Refuse);
            let count = fill(&mut store, len, |n| Some(NOW.plus(ttl(n))));
            for late in [1000, DAY_MS / 2] {
                let now = NOW.plus(late);
                let expired = (0..count).filter(|n| ttl(*n) <= late).count() as u64;
                // No maintenance in between: the writes themselves find the room.
                let mut fresh = 1_000_000;
                while put_at(&mut store, fresh, len, now).is_ok() {
                    fresh += 1;
                }
                assert_eq!(store.statistics().expired, expired, "{name}, {len} bytes, {late} ms");
                store.invariants();
            }
        }
    }
}

#[test]
fn refresh_tokens_that_rotate_never_fill_the_store() {
    let mut store = store(OnFull::Refuse);
    // Each new token lives for 30 days, and its predecessor for 5 s more: 2,000 are live, and few are on their way out.
    for turn in 0..200_000_u32 {
        let now = NOW.plus(u64::from(turn));
        let value = NewValue::Bytes(&[7; 100]);
        let expiry = Some(now.plus(30 * DAY_MS));
        store.apply(&Mutation::Put { db: DB, key: &key(turn), value, expiry }, now).unwrap();
        if turn >= 2000 {
            assert!(expire(&mut store, turn - 2000, Some(now.plus(5000)), now).unwrap());
        }
        if turn % 100 == 0 {
            store.maintain(now, 8);
        }
    }
    assert!(store.len(DB) < 12_000, "{}", store.len(DB));
}

#[test]
fn the_figures_say_that_it_is_full_at_the_first_refusal() {
    for (memory_bytes, len) in
        [(4 * MIB, 30), (4 * MIB, 1000), (16 * MIB, 100), (16 * MIB, 8000), (16 * MIB, 40_000)]
    {
        let config = StoreConfig { memory_bytes, ..StoreConfig::default() };
        let mut store = Store::new(config, [1, 2]).unwrap();
        assert_eq!(store.memory().used_of(1000), 0);
        fill(&mut store, len, |_| None);
        let used = store.memory().used_of(1000);
        assert!((970..=1000).contains(&used), "{used} of 1000, values of {len} bytes in {memory_bytes}");
        assert!(put(&mut store, b"another", &vec![1; len], None).is_err());
        store.apply(&Mutation::Flush { db: None }, NOW).unwrap();
        idle(&mut store, NOW);
        let used = store.memory().used_of(1000);
        assert!(used <= 30, "{used}: a segment of the index's at most");
    }
}

#[test]
fn the_figures_of_a_cache_say_that_it_is_full_when_keys_go() {
    let mut store = store(OnFull::Evict);
    let mut n = 0;
    while store.statistics().evicted == 0 {
        put(&mut store, &key(n), &[7; 100], None).unwrap();
        n += 1;
    }
    assert!(store.memory().used_of(1000) >= 970, "{:?}", store.memory());
}

#[test]
fn a_full_store_takes_times_to_live_and_other_names() {
    for len in [20, 100, 1000, 8000, 20_000] {
        let mut store = store(OnFull::Refuse);
        let count = fill(&mut store, len, |_| None);
        let some = (count / 8).max(1);
        for n in 0..some {
            assert_eq!(
                expire(&mut store, n, Some(NOW.plus(DAY_MS)), NOW),
                Ok(true),
                "{n} of {count}, {len} bytes"
            );
        }
        for n in 0..some {
            assert_eq!(expire(&mut store, n, Some(NOW.plus(2 * DAY_MS)), NOW), Ok(true));
            assert_eq!(expire(&mut store, n, None, NOW), Ok(true), "{n} of {count}, {len} bytes");
        }
        for n in 0..some {
            let (from, to) = (key(n), &key(n)[1..]);
            for (from, to) in [(&from[..], to), (to, &[&from[..], b"longer"].concat()[..])] {
                let renamed = store.apply(&Mutation::Rename { db: DB, from, to_db: DB, to }, NOW);
                assert!(renamed.is_ok_and(|applied| applied.existed), "{n} of {count}, {len} bytes");
            }
        }
        store.invariants();
        assert!(store.apply(&Mutation::Delete { db: DB, key: &key(count - 1) }, NOW).unwrap().existed);
    }
}

#[test]
fn a_full_store_takes_a_value_of_the_same_length() {
    for len in [0, 100, 4000, 8000, 8191, 8192, 8193, 20_000, 65_536] {
        let mut store = store(OnFull::Refuse);
        let expiry = |n| (n % 2 == 0).then(|| NOW.plus(DAY_MS));
        let count = fill(&mut store, len, expiry);
        let (last, value) = (key(count - 1), vec![9; len]);
        assert_eq!(put(&mut store, &last, &value, expiry(count - 1)), Ok(()), "{len} bytes");
        let read = super::mirror::bytes_of(&store, store.peek(DB, &last, NOW).unwrap().value);
        assert_eq!(read, value);
        // What a reader has stays as it was.
        if let Value::Large { id, len } = store.peek(DB, &key(0), NOW).unwrap().value {
            let large = store.large_retain(id);
            let _ = put(&mut store, &key(0), &vec![9; len as usize], expiry(0));
            assert_eq!(super::mirror::bytes_of(&store, Value::Large { id, len }), vec![7; len as usize]);
            store.large_release(large);
        }
        store.invariants();
    }
}

/// Between records of 4 to 8 KiB the ends of segments are unused, which no cleaning gains: what replaces one goes into the
/// reserve, and data does not.
#[test]
fn a_full_store_takes_shorter_values_first_times_to_live_and_shorter_names_for_values_of_any_length() {
    let mut random = Random(7);
    for (mib, lens) in [
        (4, [1, 100]),
        (4, [3000, 5000]),
        (4, [4000, 8192]),
        (4, [8191, 8191]),
        (4, [1, 8192]),
        (24, [7000, 8192]),
        (24, [8191, 8191]),
        (24, [8000, 70_000]),
    ] {
        let config = StoreConfig { memory_bytes: mib * MIB, ..StoreConfig::default() };
        let mut store = Store::new(config, [1, 2]).unwrap();
        let draw = |random: &mut Random| lens[0] + random.below(lens[1] - lens[0] + 1);
        let mut kept = Vec::new();
        for turn in 0..4000 {
            // As full as it gets, at first and again and again.
            let mut refused = 0;
            while turn % 8 == 0 && refused < 4 {
                let (name, len) = (key(kept.len() as u32).to_vec(), draw(&mut random));
                let expiry = (random.below(3) == 0).then(|| NOW.plus(DAY_MS));
                match put(&mut store, &name, &vec![7; len], expiry) {
                    Ok(()) => kept.push((name, len)),
                    Err(_) => refused += 1,
                }
            }
            let at = random.below(kept.len());
            let (name, len) = &mut kept[at];
            let expiry = (random.below(2) == 0).then(|| NOW.plus(DAY_MS * (1 + random.below(3) as u64)));
            let done = match random.below(8) {
                0..4 => put(&mut store, name, &vec![8; *len], expiry),
                4 => {
                    *len = 1 + random.below(*len);
                    put(&mut store, name, &vec![9; *len], expiry)
                }
                5 if name.len() > 2 => {
                    let to = name[1..].to_vec();
                    let is_free = store.peek(DB, &to, NOW).is_none();
                    let rename = Mutation::Rename { db: DB, from: name, to_db: DB, to: &to };
                    let renamed = if is_free { store.apply(&rename, NOW).map(drop) } else { Ok(()) };
                    if is_free {
                        *name = to;
                    }
                    renamed
                }
                _ => store.apply(&Mutation::SetExpiry { db: DB, key: name, expiry }, NOW).map(drop),
            };
            assert_eq!(done, Ok(()), "turn {turn}, {len} bytes of {lens:?} in {mib} MiB");
        }
        store.invariants();
    }
}

/// What may be taken of what is left free for values that replace others: nothing for good.
#[test]
fn a_value_that_replaces_nothing_after_all_is_refused_where_data_is() {
    let config = StoreConfig { memory_bytes: 24 * MIB, ..StoreConfig::default() };
    let mut store = Store::new(config, [1, 2]).unwrap();
    let len = 1_000_000;
    let count = fill(&mut store, len, |_| None);
    fill_from(&mut store, count, 4000);
    let large = |store: &mut Store, n: u32| {
        let large = store.large_begin_for((DB, &key(n)), len as u64, NOW)?;
        match store.large_append(large.id(), &vec![9; len], NOW) {
            Ok(()) => Ok(large),
            Err(refused) => {
                store.large_release(large);
                Err(refused)
            }
        }
    };
    let old_id = |store: &Store, n: u32| match store.peek(DB, &key(n), NOW).unwrap().value {
        Value::Large { id, .. } => id,
        _ => panic!("it is large"),
    };
    // While the new value comes in somebody removes the key, whose value stays, for a reader has it.
    let new = large(&mut store, 0).expect("the key has a value as long");
    let old = old_id(&store, 0);
    let old = store.large_retain(old);
    store.apply(&Mutation::Delete { db: DB, key: &key(0) }, NOW).unwrap();
    let put_first = Mutation::Put { db: DB, key: &key(0), value: NewValue::Large(new.id()), expiry: None };
    assert_eq!(store.apply(&put_first, NOW), Err(Refused::Full));
    store.large_release(old);
    assert!(store.apply(&put_first, NOW).is_ok(), "there is room now");
    store.large_release(new);
    // A value that another key has, too, would stay.
    store.apply(&Mutation::Delete { db: DB, key: &key(count) }, NOW).unwrap();
    let copied = Mutation::Copy { db: DB, from: &key(0), to_db: DB, to: &key(9_999_999) };
    store.apply(&copied, NOW).unwrap();
    fill_from(&mut store, 2_000_000, 4000);
    assert_eq!(large(&mut store, 0), Err(Refused::Full));
    // A second one beside a first finds what the first one leaves; the old values stay until the new ones are whole.
    let first = large(&mut store, 1).expect("there is room for one");
    assert_eq!(large(&mut store, 2), Err(Refused::Full), "there is no room for two");
    for n in [1, 2] {
        let read = super::mirror::bytes_of(&store, store.peek(DB, &key(n), NOW).unwrap().value);
        assert_eq!(read, vec![7; len]);
    }
    let put = Mutation::Put { db: DB, key: &key(1), value: NewValue::Large(first.id()), expiry: None };
    assert!(store.apply(&put, NOW).unwrap().existed);
    store.large_release(first);
    // Nothing that is longer, and nothing new, comes to a full store.
    assert_eq!(put_at(&mut store, 2, len + 4096, NOW), Err(Refused::Full));
    assert_eq!(put_at(&mut store, 3_000_000, 100_000, NOW), Err(Refused::Full));
    store.invariants();
}

/// Puts values of `len` bytes under numbers from `first` on until one is refused.
fn fill_from(store: &mut Store, first: u32, len: usize) {
    let value = vec![7; len];
    _ = (first..).find(|n| put(store, &key(*n), &value, None).is_err());
}

#[test]
fn what_is_refused_is_counted_once_and_nothing_else_is() {
    for len in (1..40).map(|step| step * step) {
        let mut store = store(OnFull::Refuse);
        let mut refused = 1;
        let count = fill(&mut store, len, |_| None);
        for n in 0..300 {
            // Smaller ones may fit still, and go on taking what the index has left.
            let len = if n % 2 == 0 { len } else { len / 2 };
            refused += u64::from(put_at(&mut store, count + n, len, NOW).is_err());
        }
        assert_eq!(store.statistics().refused, refused, "values of {len} bytes");
    }
}
