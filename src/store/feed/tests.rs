//! The feed by itself: what is published, in which groups, which cursors are lost, and what stays in memory.

use super::*;
use crate::limits::MIB;
use crate::mutation::{Database, KeyspaceId, Mutation, NewValue, PublishedValue};
use crate::store::tests::mirror::{Mirror, bytes_of};
use crate::store::{BatchExpiry, StoreConfig};
use crate::store::{RemovalPolicy, Value};
use crate::time::Millis;

const DB: Database = Database(0);
const NOW: Millis = Millis(1_000_000);

fn store() -> Store {
    let config = StoreConfig {
        memory_bytes: 8 * MIB,
        feed_bytes: FEED_BYTES_MIN,
        databases: 2,
        ..StoreConfig::default()
    };
    Store::new(config, [1, 2]).unwrap()
}

fn put(store: &mut Store, key: &[u8], value: &[u8]) {
    store.apply(&Mutation::Put { db: DB, key, value: NewValue::Bytes(value), expiry: None }, NOW).unwrap();
}

/// The marks, and a letter for the effect, of all that was published since.
fn told(store: &mut Store, cursor: &FeedCursor) -> String {
    let mut text = String::new();
    while let FeedStep::Change(change) = store.feed_peek(cursor) {
        text.push(match change.group {
            GroupMark::Alone => '=',
            GroupMark::First => '<',
            GroupMark::Within => '-',
            GroupMark::Last => '>',
        });
        text.push(match change.effect {
            Effect::Put { .. } => 'p',
            Effect::Write { .. } => 'w',
            Effect::PutField { .. } => '+',
            Effect::RemoveField { reason: RemoveReason::Expired, .. } => 'X',
            Effect::RemoveField { .. } => '-',
            Effect::SetFieldExpiry { .. } => 'T',
            Effect::SetExpiry { .. } => 't',
            Effect::Remove { reason: RemoveReason::Deleted, .. } => 'd',
            Effect::Remove { reason: RemoveReason::Expired, .. } => 'x',
            Effect::Remove { reason: RemoveReason::Evicted, .. } => 'e',
            Effect::Flush { .. } => 'f',
            Effect::Swap { .. } => 's',
        });
        store.feed_advance(cursor);
    }
    store.invariants();
    text
}

#[test]
fn every_kind_of_change_is_published_with_its_group() {
    let mut store = store();
    let cursor = store.feed_open(WhenBehind::Missed).unwrap();
    put(&mut store, b"a", b"1");
    let hint = store.hint(DB, b"a");
    store.put_hinted((DB, b"a"), b"2", &hint, NOW).unwrap();
    store.apply(&Mutation::Write { db: DB, key: b"a", offset: 1, bytes: b"3" }, NOW).unwrap();
    store.apply(&Mutation::SetExpiry { db: DB, key: b"a", expiry: Some(NOW.plus(5)) }, NOW).unwrap();
    store.apply(&Mutation::Rename { db: DB, from: b"a", to_db: DB, to: b"b" }, NOW).unwrap();
    store.apply(&Mutation::Copy { db: DB, from: b"b", to_db: Database(1), to: b"b" }, NOW).unwrap();
    assert_eq!(told(&mut store, &cursor), "=p=p=w=t<d>p=p");
    assert!(store.expire_if_due(DB, b"b", NOW.plus(5)) && !store.expire_if_due(DB, b"b", NOW.plus(5)));
    store.apply(&Mutation::Delete { db: DB, key: b"nothing" }, NOW).unwrap();
    put(&mut store, b"c", b"1");
    store.apply(&Mutation::Delete { db: DB, key: b"c" }, NOW).unwrap();
    store.apply(&Mutation::Swap { a: DB, b: Database(1) }, NOW).unwrap();
    store.apply(&Mutation::Flush { db: None }, NOW).unwrap();
    assert_eq!(told(&mut store, &cursor), "=x=p=d=s=f");
    store.feed_close(cursor);
}

#[test]
fn a_group_of_none_or_one_comes_out_right_and_groups_nest() {
    let mut store = store();
    let cursor = store.feed_open(WhenBehind::Missed).unwrap();
    store.begin_group();
    store.end_group();
    assert_eq!(told(&mut store, &cursor), "");
    store.begin_group();
    put(&mut store, b"a", b"1");
    assert_eq!(store.feed_peek(&cursor), FeedStep::End, "nothing is seen before the group ends");
    store.end_group();
    assert_eq!(told(&mut store, &cursor), "=p");
    let pairs =
        [(&b"a"[..], NewValue::Bytes(b"2")), (b"b", NewValue::Bytes(b"3")), (b"a", NewValue::Bytes(b"4"))];
    store.put_all(DB, pairs.into_iter(), BatchExpiry::At(None), NOW).unwrap();
    assert_eq!(told(&mut store, &cursor), "<p>p", "of a key that is given twice the last value alone");
    store.begin_group();
    store.put_all(DB, pairs.into_iter(), BatchExpiry::At(None), NOW).unwrap();
    store.apply(&Mutation::Rename { db: DB, from: b"a", to_db: DB, to: b"c" }, NOW).unwrap();
    store.end_group();
    assert_eq!(told(&mut store, &cursor), "<p-p-d>p");
    store.feed_close(cursor);
}

#[test]
fn a_change_says_who_asked_for_it_and_expiry_is_nobodys_wish() {
    let mut store = store();
    let cursor = store.feed_open(WhenBehind::Missed).unwrap();
    let origin = |store: &mut Store, cursor: &FeedCursor| {
        let FeedStep::Change(change) = store.feed_peek(cursor) else { panic!("something was changed") };
        let origin = change.origin;
        store.feed_advance(cursor);
        origin
    };
    put(&mut store, b"a", b"1");
    assert_eq!(origin(&mut store, &cursor), Origin::Unknown);
    for origin_of in [Origin::Client(7), Origin::Frames(u64::MAX)] {
        store.set_origin(origin_of);
        put(&mut store, b"a", b"1");
        assert_eq!(origin(&mut store, &cursor), origin_of);
    }
    let set = Mutation::SetExpiry { db: DB, key: b"a", expiry: Some(NOW.plus(1)) };
    store.apply(&set, NOW).unwrap();
    assert_eq!(origin(&mut store, &cursor), Origin::Frames(u64::MAX));
    while store.maintain(NOW.plus(60_000), 1) {}
    assert_eq!(origin(&mut store, &cursor), Origin::Unknown);
    store.feed_close(cursor);
}

#[test]
fn a_cursor_that_is_overtaken_is_lost_and_may_begin_again() {
    let mut store = store();
    let (slow, fast) =
        (store.feed_open(WhenBehind::Resynchronise).unwrap(), store.feed_open(WhenBehind::Missed).unwrap());
    let mut seen = 0;
    for round in 0..1000_u32 {
        put(&mut store, &round.to_le_bytes(), &[7; 900]);
        seen += told(&mut store, &fast).len() / 2;
    }
    assert_eq!(seen, 1000);
    assert_eq!(store.feed_peek(&slow), FeedStep::Lost(WhenBehind::Resynchronise));
    assert_eq!(store.feed_use().lost, 1);
    store.feed_restart(&slow);
    put(&mut store, b"a", b"1");
    assert_eq!(told(&mut store, &slow), "=p");
    store.feed_close(slow);
    store.feed_close(fast);
    assert_eq!((store.feed_use().cursors, store.feed_use().unread), (0, 0));
}

#[test]
fn writers_wait_for_a_consumer_that_may_miss_nothing() {
    let mut store = store();
    assert!(!store.feed_blocks_writers());
    let journal = store.feed_open(WhenBehind::BlockWriters).unwrap();
    let mut written = 0;
    while !store.feed_blocks_writers() {
        put(&mut store, &[written as u8], &[7; 900]);
        written += 1;
    }
    assert!((150..260).contains(&written), "{written} changes of 944 bytes in three quarters of 256 KiB");
    assert_eq!(told(&mut store, &journal).len(), 2 * written, "nothing was lost");
    assert!(!store.feed_blocks_writers());
    // Large values are bounded by the memory that they keep.
    let mut written = 0;
    while !store.feed_blocks_writers() {
        put(&mut store, b"large", &[7; 100_000]);
        written += 1;
    }
    assert!((7..=10).contains(&written), "{written} values of 100 KB in three quarters of 1 MiB");
    assert_eq!(told(&mut store, &journal).len(), 2 * written);
    store.feed_close(journal);
}

#[test]
fn large_values_stay_as_published_until_every_cursor_has_passed_them() {
    let mut store = store();
    let (one, other) =
        (store.feed_open(WhenBehind::Missed).unwrap(), store.feed_open(WhenBehind::Missed).unwrap());
    put(&mut store, b"k", &[1; 100_000]);
    store.apply(&Mutation::Write { db: DB, key: b"k", offset: 0, bytes: b"changed" }, NOW).unwrap();
    put(&mut store, b"k", &[2; 50_000]);
    put(&mut store, b"k", b"short");
    assert_eq!((store.large_count(), store.feed_use().large), (2, 150_000));
    let FeedStep::Change(change) = store.feed_peek(&one) else { panic!("it was put") };
    let Effect::Put { value: PublishedValue::Large { id, len }, .. } = change.effect else {
        panic!("{change:?}")
    };
    assert_eq!(bytes_of(&store, Value::Large { id, len }), [1; 100_000]);
    assert_eq!(told(&mut store, &one), "=p=w=p=p");
    assert_eq!(store.feed_use().large, 150_000);
    let since = store.feed_since(Revision(0)).unwrap();
    assert_eq!(told(&mut store, &other), "=p=w=p=p");
    assert_eq!(store.feed_use().large, 0);
    // Its history is still there, without the value.
    let (change, _) = store.feed_at(since).unwrap().unwrap();
    let passed = PublishedValue::Passed { len: 100_000 };
    let keyspace = KeyspaceId(0);
    assert_eq!(change.effect, Effect::Put { keyspace, key: b"k", value: passed, expiry: None });
    while store.maintain(NOW, 1) {}
    assert_eq!((store.large_count(), store.memory().large), (0, 0));
    put(&mut store, b"k", &[3; 50_000]);
    store.feed_close(one);
    store.feed_close(other);
    assert_eq!(store.feed_use().large, 0);
    store.invariants();
}

#[test]
fn values_that_nobody_reads_do_not_fill_the_store() {
    let mut store = store();
    let asleep = store.feed_open(WhenBehind::Missed).unwrap();
    for round in 0..100_u32 {
        put(&mut store, b"k", &vec![round as u8; 300_000]);
        assert!(store.feed_use().large <= 1_048_576, "an eighth of 8 MiB");
    }
    assert_eq!(store.feed_peek(&asleep), FeedStep::Lost(WhenBehind::Missed));
    store.invariants();
    store.feed_close(asleep);
}

#[test]
fn who_resumes_misses_nothing_or_is_told() {
    let mut store = store();
    assert!(store.feed_since(Revision(0)).is_err(), "the feed is off");
    put(&mut store, b"before", b"1");
    let hub = store.feed_open(WhenBehind::Missed).unwrap();
    assert_eq!(store.feed_since(Revision(0)), Err(Compacted { floor: Revision(1) }));
    let mut last = Revision(1);
    let mut at = store.feed_since(last).unwrap();
    for round in 0..2000_u32 {
        put(&mut store, &round.to_le_bytes(), &vec![1; round as usize % 700]);
        if round % 7 == 0 {
            while let Some((change, next)) = store.feed_at(at).unwrap() {
                assert_eq!(change.revision.0, last.0 + 1);
                (at, last) = (next, change.revision);
            }
            assert_eq!(store.feed_since(last), Ok(at));
        }
    }
    let floor = store.feed_since(Revision(1)).unwrap_err().floor;
    assert!(floor > Revision(100) && floor < last);
    let (change, _) = store.feed_at(store.feed_since(floor).unwrap()).unwrap().unwrap();
    assert_eq!(change.revision.0, floor.0 + 1);
    store.invariants();
    store.feed_close(hub);
}

#[test]
fn a_group_larger_than_the_ring_is_lost_whole() {
    let mut store = store();
    let cursor = store.feed_open(WhenBehind::BlockWriters).unwrap();
    put(&mut store, b"a", b"1");
    store.begin_group();
    (0..500_u32).for_each(|n| put(&mut store, &n.to_le_bytes(), &[7; 900]));
    store.end_group();
    assert_eq!(store.feed_peek(&cursor), FeedStep::Lost(WhenBehind::BlockWriters));
    assert_eq!(store.feed_since(Revision(1)), Err(Compacted { floor: store.revision() }));
    store.feed_restart(&cursor);
    put(&mut store, b"a", b"1");
    assert_eq!(told(&mut store, &cursor), "=p");
    store.feed_close(cursor);
}

#[test]
fn a_store_without_a_ring_has_no_feed_and_cursors_are_counted() {
    let config = StoreConfig { memory_bytes: 4 * MIB, ..StoreConfig::default() };
    let mut without = Store::new(config, [1, 2]).unwrap();
    assert_eq!(without.feed_open(WhenBehind::Missed), None);
    without.begin_group();
    put(&mut without, b"a", b"1");
    without.end_group();
    without.invariants();
    let mut store = store();
    let cursors: Vec<_> = std::iter::from_fn(|| store.feed_open(WhenBehind::Missed)).collect();
    assert_eq!(cursors.len(), CURSORS_MAX);
    cursors.into_iter().for_each(|cursor| store.feed_close(cursor));
    assert!(store.feed_open(WhenBehind::Missed).is_some());
}

/// A copy that is taken while changes go on, and then those changes, in order: what is older than the copy is skipped.
#[test]
fn changes_applied_over_a_later_copy_end_in_the_same_store() {
    let mut first = store();
    let mut mirror = Mirror::of(&mut first);
    put(&mut first, b"a", b"1");
    put(&mut first, b"b", b"1");
    mirror.follow(&mut first, |_, _| {});
    let cursor = first.feed_open(WhenBehind::Missed).unwrap();
    first.apply(&Mutation::Flush { db: None }, NOW).unwrap();
    put(&mut first, b"a", b"2");
    first.apply(&Mutation::Write { db: DB, key: b"a", offset: 1, bytes: b"3" }, NOW).unwrap();
    first.apply(&Mutation::SetExpiry { db: DB, key: b"a", expiry: Some(NOW.plus(9)) }, NOW).unwrap();
    first.apply(&Mutation::Rename { db: DB, from: b"a", to_db: Database(1), to: b"c" }, NOW).unwrap();
    first.apply(&Mutation::Swap { a: DB, b: Database(1) }, NOW).unwrap();
    put(&mut first, b"d", b"4");
    mirror.follow(&mut first, |_, _| {});
    let mut again = 0;
    while let FeedStep::Change(change) = first.feed_peek(&cursor) {
        again += usize::from(mirror.store.apply_at(&change, NOW).unwrap());
        first.feed_advance(&cursor);
    }
    assert_eq!(again, 5, "what came and went again comes and goes again: a flush, and a's whole life");
    mirror.compare(&first);
    mirror.store.invariants();
    first.feed_close(cursor);
}

#[test]
fn a_follower_keeps_what_has_expired_until_it_is_told_and_hides_it() {
    let mut follower = store();
    follower.set_removal_policy(RemovalPolicy::Follow);
    let change = |revision, effect| Change {
        revision: Revision(revision),
        group: GroupMark::Alone,
        origin: Origin::Unknown,
        cause: Cause::default(),
        effect,
    };
    let (keyspace, key) = (KeyspaceId(0), &b"k"[..]);
    let value = PublishedValue::Bytes(b"v");
    let expiry = Some(NOW.plus(1));
    assert_eq!(follower.apply_at(&change(7, Effect::Put { keyspace, key, value, expiry }), NOW), Ok(true));
    let late = NOW.plus(100_000);
    while follower.maintain(late, 1) {}
    assert!(!follower.expire_if_due(DB, key, late) && follower.get(DB, key, late).is_none());
    assert_eq!((follower.len(DB), follower.revision()), (1, Revision(7)));
    let remove = Effect::Remove { keyspace, key, reason: RemoveReason::Expired };
    assert_eq!(follower.apply_at(&change(9, remove), late), Ok(true));
    assert_eq!(follower.apply_at(&change(9, remove), late), Ok(false));
    assert_eq!((follower.len(DB), follower.revision(), follower.statistics().expired), (0, Revision(9), 1));
    follower.invariants();
}
