//! A store that refuses data replaces large values all the same: whatever else it is full of, and whatever its size.
//!
//! Each store is filled until it refuses, a value that was put first is replaced, and so again and again, since what was freed
//! is data's next.

use super::basics::{DB, NOW, put};
use super::mirror::bytes_of;
use crate::limits::{MIB, SEGMENT_BYTES};
use crate::mutation::{CollectionKind, Mutation, NewValue, Refused};
use crate::random::Random;
use crate::store::feed::{FeedStep, WhenBehind};
use crate::store::room::Fill;
use crate::store::{RESERVE_SEGMENTS, Store, StoreConfig};

/// Around each bound at which a large value takes another number of spans and blocks.
const LENS: [usize; 8] = [8193, 61_440, 61_441, 65_536, 65_537, 200_000, 1_000_000, MIB];
const KEY: &[u8] = b"key";

/// What a store is full of.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// Strings of so many bytes: of 5,500 and 8,192 an eighth of each segment stays unused.
    Strings(usize),
    /// Strings of up to 8 KiB, of all lengths.
    Mixed,
    /// Large values, and short ones in what they leave.
    Large,
    /// The same with gaps between them: a third of all keys have gone.
    Gaps,
    /// Pages of hashes.
    Fields,
}

const LOADS: [Load; 8] = [
    Load::Strings(10),
    Load::Strings(1000),
    Load::Strings(5500),
    Load::Strings(8192),
    Load::Mixed,
    Load::Large,
    Load::Gaps,
    Load::Fields,
];

/// Puts what is never read again.
struct Filler {
    random: Random,
    bytes: Vec<u8>,
    strings: u32,
    fields: u32,
}

impl Filler {
    fn new(seed: u64) -> Filler {
        Filler { random: Random(seed), bytes: vec![1; 70_000], strings: 0, fields: 0 }
    }

    /// Strings of these lengths, until one is refused.
    fn strings(&mut self, store: &mut Store, len: impl Fn(&mut Random) -> usize) {
        while put(store, &self.strings.to_be_bytes(), &self.bytes[..len(&mut self.random)], None).is_ok() {
            self.strings += 1;
        }
    }

    /// Fields of hashes, until one is refused.
    fn fields(&mut self, store: &mut Store) {
        loop {
            let (key, field) = ([b"hash", &(self.fields / 1000).to_be_bytes()[..]].concat(), self.fields);
            let value = NewValue::Bytes(&self.bytes[..700]);
            let field = &field.to_be_bytes();
            let put = Mutation::PutField { db: DB, key: &key, kind: CollectionKind::Hash, field, value };
            if store.apply(&put, NOW).is_err() {
                return;
            }
            self.fields += 1;
        }
    }

    fn fill(&mut self, store: &mut Store, load: Load) {
        let large = |random: &mut Random| 8193 + random.below(60_000);
        match load {
            Load::Strings(len) => self.strings(store, |_| len),
            Load::Mixed => self.strings(store, |random| 1 + random.below(8192)),
            Load::Large => self.strings(store, large),
            Load::Gaps => {
                self.strings(store, |random| {
                    if random.below(2) == 0 { large(random) } else { 1 + random.below(8192) }
                });
                for number in 0..self.strings {
                    if self.random.below(3) == 0 {
                        let delete = Mutation::Delete { db: DB, key: &number.to_be_bytes() };
                        store.apply(&delete, NOW).unwrap();
                    }
                }
                self.strings(store, |random| 1 + random.below(8192));
            }
            Load::Fields => self.fields(store),
        }
        // To the brim.
        self.strings(store, |_| 4000);
        self.strings(store, |_| 10);
    }
}

/// Replaces the value as one that comes in by pieces does.
fn replace_slowly(store: &mut Store, value: &[u8]) -> Result<(), Refused> {
    let large = store.large_begin_for((DB, KEY), value.len() as u64, NOW)?;
    let filled = value.chunks(100_000).try_for_each(|piece| {
        store.large_make_room(large.id(), piece.len() as u64, NOW)?;
        store.large_append(large.id(), piece, NOW)
    });
    let put = Mutation::Put { db: DB, key: KEY, value: NewValue::Large(large.id()), expiry: None };
    let replaced = filled.and_then(|()| store.apply(&put, NOW)).map(drop);
    store.large_release(large);
    replaced
}

/// Fills a store of `memory_bytes` and replaces a value of `len` bytes in it.
fn check(memory_bytes: usize, len: usize, load: Load) {
    let name = format!("{len} bytes among {load:?} in {memory_bytes}");
    let mut store = Store::new(StoreConfig { memory_bytes, ..StoreConfig::default() }, [1, 2]).unwrap();
    put(&mut store, KEY, &vec![7; len], None).unwrap_or_else(|_| panic!("{name}: it is empty"));
    let mut filler = Filler::new(memory_bytes as u64);
    for round in 0..3 {
        filler.fill(&mut store, load);
        let is = |store: &Store, value: &[u8]| {
            assert!(bytes_of(store, store.peek(DB, KEY, NOW).unwrap().value) == value, "{name}");
        };
        let slow = vec![round; len];
        assert_eq!(replace_slowly(&mut store, &slow), Ok(()), "{name}, round {round}");
        is(&store, &slow);
        filler.fill(&mut store, load);
        // With a time, so that its record has another place.
        let at_once = vec![8; len];
        assert_eq!(put(&mut store, KEY, &at_once, Some(NOW.plus(1000))), Ok(()), "{name}, round {round}");
        is(&store, &at_once);
        // A reader has it: it is copied before a part of it is written.
        filler.fill(&mut store, load);
        let crate::store::Value::Large { id, .. } = store.peek(DB, KEY, NOW).unwrap().value else {
            panic!("{name}: it is large");
        };
        let reader = store.large_retain(id);
        let part = Mutation::Write { db: DB, key: KEY, offset: len as u64 / 2, bytes: &[9; 10] };
        assert!(store.apply(&part, NOW).is_ok(), "{name}, round {round}");
        store.large_release(reader);
    }
    store.invariants();
}

#[test]
fn a_full_store_of_any_size_replaces_large_values_whatever_it_is_full_of() {
    // Each size meets some lengths and loads, and all of them meet in the end. The step is no multiple of a segment.
    let sizes = (5 * MIB..40 * MIB).step_by(MIB + 12_345);
    for (at, memory_bytes) in sizes.enumerate() {
        for turn in 0..4 {
            let number = at * 4 + turn;
            check(memory_bytes, LENS[number % LENS.len()], LOADS[(number / LENS.len() + turn) % LOADS.len()]);
        }
    }
}

#[test]
fn what_is_kept_for_replacing_is_what_the_largest_value_takes() {
    let config = StoreConfig { memory_bytes: 16 * MIB, ..StoreConfig::default() };
    let mut store = Store::new(config, [1, 2]).unwrap();
    let kept = |store: &Store| store.kept_for_replacing(Fill::Data);
    assert_eq!(kept(&store), 0, "no value is large");
    let mut expected = 0;
    for (number, len) in [100, 8193, 61_440, 61_441, 65_537, MIB, MIB + 1, 3 * MIB].into_iter().enumerate() {
        put(&mut store, &[number as u8], &vec![1; len], None).unwrap();
        expected = if len > 8192 { len.div_ceil(SEGMENT_BYTES).min(16) as u32 } else { expected };
        assert_eq!(kept(&store), expected, "{len} bytes");
    }
    let delete = |store: &mut Store, number: u8| {
        store.apply(&Mutation::Delete { db: DB, key: &[number] }, NOW).unwrap();
    };
    (5..8).for_each(|number| delete(&mut store, number));
    assert_eq!(kept(&store), 2);
    // A copy is the same value, which grows when it is written to.
    let copy = Mutation::Copy { db: DB, from: &[4], to_db: DB, to: b"copy" };
    store.apply(&copy, NOW).unwrap();
    delete(&mut store, 4);
    assert_eq!(kept(&store), 2);
    let append = Mutation::Write { db: DB, key: b"copy", offset: 200_000, bytes: b"end" };
    store.apply(&append, NOW).unwrap();
    assert_eq!(kept(&store), 4);
    store.apply(&Mutation::Flush { db: None }, NOW).unwrap();
    while store.maintain(NOW, 64) {}
    assert_eq!(kept(&store), 0);
    store.invariants();
}

/// A journal refers to what it has not written yet. While that is so much that there is nothing to replace the next value
/// with, writers wait for it.
#[test]
fn writers_wait_for_a_journal_that_holds_what_was_replaced() {
    let config = StoreConfig { memory_bytes: 16 * MIB, feed_bytes: MIB, ..StoreConfig::default() };
    let mut store = Store::new(config, [1, 2]).unwrap();
    put(&mut store, KEY, &vec![7; MIB], None).unwrap();
    Filler::new(1).fill(&mut store, Load::Strings(1000));
    let journal = store.feed_open(WhenBehind::BlockWriters).unwrap();
    let catch_up = |store: &mut Store| {
        while let FeedStep::Change(_) = store.feed_peek(&journal) {
            store.feed_advance(&journal);
        }
    };
    for round in 0..4 {
        assert_eq!(replace_slowly(&mut store, &vec![round; MIB]), Ok(()));
        store.maintain(NOW, 64);
        // The first one that was replaced was published before.
        assert_eq!(store.feed_blocks_writers(), round % 2 == 1, "round {round}");
        if store.feed_blocks_writers() {
            catch_up(&mut store);
            store.maintain(NOW, 64);
            assert!(!store.feed_blocks_writers());
        }
    }
    store.feed_close(journal);
}

/// A value comes in while others take what there is: when it is whole, there may be nothing left to replace it with.
#[test]
fn a_value_that_could_not_be_replaced_is_refused() {
    let config = StoreConfig { memory_bytes: 16 * MIB, ..StoreConfig::default() };
    let mut store = Store::new(config, [1, 2]).unwrap();
    let large = store.large_begin_for((DB, KEY), MIB as u64, NOW).unwrap();
    store.large_append(large.id(), &vec![1; MIB], NOW).unwrap();
    let mut filler = Filler::new(1);
    filler.fill(&mut store, Load::Strings(1000));
    let put_large = Mutation::Put { db: DB, key: KEY, value: NewValue::Large(large.id()), expiry: None };
    assert_eq!(store.apply(&put_large, NOW), Err(Refused::Full));
    for number in 0..1500_u32 {
        store.apply(&Mutation::Delete { db: DB, key: &number.to_be_bytes() }, NOW).unwrap();
    }
    assert!(store.apply(&put_large, NOW).is_ok());
    store.large_release(large);
    assert!(store.spare_segments() >= RESERVE_SEGMENTS + 16);
    filler.fill(&mut store, Load::Strings(1000));
    assert_eq!(replace_slowly(&mut store, &vec![2; MIB]), Ok(()));
    store.invariants();
}

/// Only a key's value is replaced out of what is kept, so nothing is kept for a field's.
#[test]
fn a_long_field_keeps_nothing() {
    let config = StoreConfig { memory_bytes: 16 * MIB, ..StoreConfig::default() };
    let mut store = Store::new(config, [1, 2]).unwrap();
    let large = store.large_create(MIB as u64, NOW).unwrap();
    store.large_append(large, &vec![7; MIB], NOW).unwrap();
    let value = NewValue::Large(large);
    let kind = CollectionKind::Hash;
    store.apply(&Mutation::PutField { db: DB, key: b"hash", kind, field: b"f", value }, NOW).unwrap();
    assert_eq!(store.kept_for_replacing(Fill::Data), 0);
    store.invariants();
}

/// Pages that a copy shares are copied before a field of them goes: free segments that are kept for large values serve that,
/// too.
#[test]
fn fields_go_from_shared_pages_while_there_are_free_segments() {
    let config = StoreConfig { memory_bytes: 16 * MIB, ..StoreConfig::default() };
    let mut store = Store::new(config, [1, 2]).unwrap();
    let (kind, key, value) = (CollectionKind::Hash, b"hash", NewValue::Bytes(&[1; 700]));
    let names: Vec<_> = (0..3_000_u32).map(u32::to_be_bytes).collect();
    for field in &names {
        store.apply(&Mutation::PutField { db: DB, key, kind, field, value }, NOW).unwrap();
    }
    store.apply(&Mutation::Copy { db: DB, from: key, to_db: DB, to: b"copy" }, NOW).unwrap();
    put(&mut store, KEY, &vec![7; MIB], None).unwrap();
    Filler::new(1).fill(&mut store, Load::Fields);
    let remove = |field| Mutation::RemoveField { db: DB, key: b"copy", kind, field };
    let gone = names.iter().step_by(7).filter(|field| store.apply(&remove(&field[..]), NOW).is_ok()).count();
    assert!(gone > 300, "{gone} of 429, with {} segments free", store.spare_segments());
    store.invariants();
}
