//! MSET and MSETNX in small stores that are full to the brim: all or nothing, whatever it takes. Beside the store goes a
//! map to which the changes are applied that the store tells.

use crate::engine::testing::Bench;
use crate::{
    config::ServerOptions,
    limits::MIB,
    mutation::{Database, Effect, RemoveReason, Revision},
    random::Random,
    store::{
        LargeCursor, OnFull, Store, StoreConfig, Value,
        feed::{FEED_BYTES_MIN, FeedCursor, FeedStep, WhenBehind},
    },
    time::Millis,
};
use std::collections::BTreeMap;

const DB: Database = Database(0);
const OOM: &[u8] = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";

/// What the store has published.
enum Told {
    Put(Vec<u8>, Revision),
    Gone { key: Vec<u8>, evicted: bool },
    Flushed,
}

/// What came of the commands of one run.
#[derive(Debug, Default)]
struct Sums {
    done: u32,
    refused: u32,
    evicted: u32,
    /// Pairs of MSETs that were done, and those of them that repeat a key.
    pairs: u32,
    repeated: u32,
}

struct Harness {
    bench: Bench,
    random: Random,
    cursor: FeedCursor,
    keys: BTreeMap<Vec<u8>, (Vec<u8>, Revision)>,
    key_count: usize,
    pairs_max: usize,
    /// How many in a hundred values are long, and how long.
    long_share: usize,
    long_max: usize,
    sums: Sums,
}

impl Harness {
    fn new(seed: u64, on_full: OnFull) -> Harness {
        let mut random = Random(seed);
        let mut one_of = |choices: [usize; 3]| choices[random.below(3)];
        let segment_bytes = one_of([1024, 2048, 4096]);
        let store = StoreConfig {
            memory_bytes: segment_bytes * (40 + one_of([0, 50, 90])) + 96 * 1024 + FEED_BYTES_MIN,
            feed_bytes: FEED_BYTES_MIN,
            on_full,
            segment_bytes,
            leaf_buckets: one_of([16, 16, 64]),
            databases: 1,
            ..StoreConfig::default()
        };
        let (key_count, pairs_max) = (one_of([20, 100, 400]), one_of([3, 12, 40]));
        let (long_share, long_max) = (one_of([0, 3, 20]), one_of([1, 4, 30]) * segment_bytes);
        let mut bench = Bench::with(ServerOptions::default(), store);
        let cursor = bench.engine.store.feed_open(WhenBehind::Missed).expect("it has a feed");
        let (keys, sums) = (BTreeMap::new(), Sums::default());
        Harness { bench, random, cursor, keys, key_count, pairs_max, long_share, long_max, sums }
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.random.below(self.key_count);
        // Of several lengths, and each key's own is always the same.
        [format!("key:{number}:").as_bytes(), &vec![b'k'; number * 7 % 50]].concat()
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.random.below(100) {
            choice if choice < self.long_share => self.random.below(self.long_max),
            // Some lengths come again and again, so that records are replaced by such as are as long.
            choice if choice % 2 == 0 => [0, 10, 60, 100][self.random.below(4)],
            _ => self.random.below(200),
        };
        self.random.bytes(len)
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..13 => self.many(b"MSET"),
            13..15 => self.many(b"MSETNX"),
            15..17 => {
                let (key, value) = (self.key(), self.value());
                let ttl = (1 + self.random.below(400)).to_string();
                self.one(&[b"SET", &key, &value, b"PX", ttl.as_bytes()], Some(&value));
            }
            17 => {
                let (key, other) = (self.key(), self.key());
                self.one(&[b"DEL", &key, &other], None);
            }
            18 => {
                let key = self.key();
                self.one(&[b"GET", &key], None);
                self.bench.now += self.random.below(100) as u64;
            }
            _ if self.random.below(40) == 0 => self.one(&[b"FLUSHALL"], None),
            _ => _ = self.bench.engine.store.maintain(Millis(self.bench.now), 4),
        }
    }

    /// A command of one key, which may be refused.
    fn one(&mut self, args: &[&[u8]], value: Option<&[u8]>) {
        self.bench.run_args(args);
        let puts = self.listen();
        assert!(puts.len() <= 1);
        if let ([(key, revision)], Some(value)) = (&puts[..], value) {
            self.keys.insert(key.clone(), (value.to_vec(), *revision));
        }
    }

    fn many(&mut self, verb: &[u8]) {
        let count = 1 + self.random.below(self.pairs_max);
        let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = (0..count).map(|_| (self.key(), self.value())).collect();
        for at in 1..count {
            if self.random.below(20) == 0 {
                pairs[at].0 = pairs[self.random.below(at)].0.clone();
            }
        }
        let words = pairs.iter().flat_map(|(key, value)| [&key[..], &value[..]]);
        let args: Vec<&[u8]> = std::iter::once(verb).chain(words).collect();
        let reply = self.bench.run_args(&args);
        let puts = self.listen();
        let is_all = reply == b"+OK\r\n" || reply == b":1\r\n";
        if !is_all {
            assert!(reply == OOM || reply == b":0\r\n", "{}", reply.escape_ascii());
            assert!(puts.is_empty(), "refused after {} of {count} pairs", puts.len());
            self.sums.refused += u32::from(reply == OOM);
            return;
        }
        let is_last = |at: usize| pairs[at + 1..].iter().all(|later| later.0 != pairs[at].0);
        let lasting: Vec<_> = (0..count).filter(|at| is_last(*at)).map(|at| &pairs[at]).collect();
        assert!(puts.iter().map(|put| &put.0).eq(lasting.iter().map(|pair| &pair.0)), "published in order");
        self.sums.done += 1;
        self.sums.pairs += count as u32;
        for ((key, value), (_, revision)) in lasting.into_iter().zip(puts) {
            self.keys.insert(key.clone(), (value.clone(), revision));
        }
        for (at, (key, _)) in pairs.iter().enumerate() {
            assert!(self.shows(key), "{} was answered for and is not there", key.escape_ascii());
            self.sums.repeated += u32::from(pairs[..at].iter().any(|(other, _)| other == key));
        }
    }

    /// Applies removals to the map and gives the keys that were put, which no removal may follow.
    fn listen(&mut self) -> Vec<(Vec<u8>, Revision)> {
        let (mut puts, mut all) = (Vec::new(), Vec::new());
        let store = &mut self.bench.engine.store;
        while let FeedStep::Change(change) = store.feed_peek(&self.cursor) {
            let gone = |key: &[u8], evicted| Told::Gone { key: key.to_vec(), evicted };
            all.push(match change.effect {
                Effect::Put { key, .. } => Told::Put(key.to_vec(), change.revision),
                Effect::Remove { key, reason, .. } => gone(key, reason == RemoveReason::Evicted),
                _ => Told::Flushed,
            });
            store.feed_advance(&self.cursor);
        }
        assert_eq!(store.feed_peek(&self.cursor), FeedStep::End);
        for told in all {
            match told {
                Told::Put(key, revision) => puts.push((key, revision)),
                Told::Gone { key, evicted } => {
                    assert!(puts.is_empty(), "memory is found before anything is changed");
                    assert!(self.keys.remove(&key).is_some(), "what goes was there");
                    self.sums.evicted += u32::from(evicted);
                }
                Told::Flushed => self.keys.clear(),
            }
        }
        puts
    }

    /// Whether the store has for a key what the map has.
    fn shows(&self, key: &[u8]) -> bool {
        let store = &self.bench.engine.store;
        match (store.peek(DB, key, Millis(0)), self.keys.get(key)) {
            (None, None) => true,
            (Some(entry), Some((value, revision))) => {
                entry.revision == *revision && has_value(store, entry.value, value)
            }
            _ => false,
        }
    }

    fn run(mut self, steps: usize) -> Sums {
        for _ in 0..steps {
            self.step();
        }
        let store = &self.bench.engine.store;
        assert_eq!(store.len(DB), self.keys.len() as u64);
        self.keys.keys().for_each(|key| assert!(self.shows(key), "{}", key.escape_ascii()));
        self.sums
    }
}

fn has_value(store: &Store, value: Value<'_>, expected: &[u8]) -> bool {
    let (id, len) = match value {
        Value::Inline(bytes) => return bytes == expected,
        Value::Large { id, len } => (id, len),
        Value::Collection(_) => return false,
    };
    let (mut cursor, mut rest) = (LargeCursor::new(id, 0), expected);
    while let piece = store.large_slice(&mut cursor)
        && !piece.is_empty()
        && rest.starts_with(piece)
    {
        rest = &rest[piece.len()..];
        cursor.advance(piece.len());
    }
    len == expected.len() as u64 && rest.is_empty()
}

/// Many small stores; what they came to in sum.
fn run_all(on_full: OnFull) -> Sums {
    let mut sums = Sums::default();
    for seed in 0..120 {
        let run = std::panic::catch_unwind(|| Harness::new(seed, on_full).run(120));
        let run = run.unwrap_or_else(|_| panic!("seed {seed}, {on_full:?}"));
        sums.done += run.done;
        sums.refused += run.refused;
        sums.evicted += run.evicted;
        sums.pairs += run.pairs;
        sums.repeated += run.repeated;
    }
    println!("{on_full:?}: {sums:?}");
    sums
}

#[test]
fn mset_is_all_or_nothing_in_a_store_that_refuses() {
    let sums = run_all(OnFull::Refuse);
    assert!(sums.refused > 500 && sums.done > 500 && sums.repeated > 100 && sums.evicted == 0, "{sums:?}");
}

#[test]
fn mset_is_all_or_nothing_in_a_store_that_evicts() {
    let sums = run_all(OnFull::Evict);
    assert!(sums.done > 1000 && sums.repeated > 100 && sums.evicted > 1000, "{sums:?}");
}

#[test]
fn the_last_of_several_values_for_one_key_stays() {
    // In segments of 1 KiB, values above 128 bytes are large ones; the last comes in as one.
    let values = [0, 40, 41, 60, 900, 70_000].map(|len| vec![b'a' + (len % 26) as u8; len]);
    let store =
        StoreConfig { memory_bytes: MIB, segment_bytes: 1024, leaf_buckets: 16, ..StoreConfig::default() };
    let mut bench = Bench::with(ServerOptions::default(), store);
    let mut play = |before: Option<&[u8]>, chosen: &[&[u8]]| {
        bench.run("FLUSHALL");
        if let Some(value) = before {
            assert_eq!(bench.run_args(&[b"SET", b"k", value]), b"+OK\r\n");
        }
        let first = bench.engine.store.revision();
        let args: Vec<&[u8]> = chosen.iter().flat_map(|value| [&b"k"[..], value]).collect();
        assert_eq!(bench.run_args(&[&[&b"MSET"[..]], &args[..]].concat()), b"+OK\r\n");
        let store = &bench.engine.store;
        let entry = store.peek(DB, b"k", Millis(0)).unwrap();
        assert!(has_value(store, entry.value, chosen[chosen.len() - 1]), "{before:?} {chosen:?}");
        assert_eq!((entry.revision.0, store.len(DB)), (first.0 + 1, 1), "one change");
    };
    for before in std::iter::once(None).chain(values.iter().map(|value| Some(&value[..]))) {
        for first in &values {
            for second in &values {
                play(before, &[first, second]);
                values[..3].iter().for_each(|third| play(before, &[first, second, third]));
            }
        }
    }
}

#[test]
fn a_store_that_is_full_to_the_brim_takes_replacements() {
    let mut bench = Bench::new();
    let (mut count, mut value) = (0, vec![b'v'; 2000]);
    let key = |number: usize| format!("key:{number}").into_bytes();
    while bench.run_args(&[b"SET", &key(count), &value]) == b"+OK\r\n" {
        count += 1;
    }
    let mut replace = |share: usize, value: &[u8]| {
        let keys: Vec<_> = (0..count).filter(|number| number % share == 0).map(key).collect();
        let args: Vec<&[u8]> = keys.iter().flat_map(|key| [&key[..], value]).collect();
        bench.run_args(&[&[&b"MSET"[..]], &args[..]].concat())
    };
    // Of the same length any number, for they are written over.
    value.fill(b'w');
    assert_eq!(replace(2, &value), b"+OK\r\n");
    // Of other lengths as much as the store keeps free for cleaning.
    assert_eq!(replace(13, &value[..1900]), b"+OK\r\n");
    assert_eq!(replace(2, &value[..1800]), OOM);
    assert_eq!(bench.run_args(&[b"STRLEN", &key(13)]), b":1900\r\n");
    assert_eq!(bench.run_args(&[b"STRLEN", &key(2)]), b":2000\r\n");
}
