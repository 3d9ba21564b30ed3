//! Random changes, beside a map that does the same; the store's invariants hold after each.
//!
//! Segments and leaves are shrunk, so that everything that happens once in gigabytes happens all the time. Which
//! operations there are, and how many, is drawn from the seed too. `PANNIER_MODEL_STEPS` asks for more steps.

use super::mirror::{Mirror, bytes_of};
use crate::mutation::{
    Applied, Database, Effect, GroupMark, LargeRef, Mutation, NewValue, Refused, RemoveReason, Revision,
};
use crate::store::feed::FEED_BYTES_MIN;
use crate::store::{LookupHint, OnFull, Store, StoreConfig, Value};
use crate::time::Millis;
use std::collections::{BTreeMap, BTreeSet};

mod parts;

const DATABASES: u8 = 3;
const OPERATIONS: usize = 16;

/// A small generator of even quality (splitmix64).
pub(super) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ModelRecord {
    value: Vec<u8>,
    expiry: Option<Millis>,
    revision: Revision,
}

/// A key that left by itself, as the feed has it, or another change.
#[derive(Debug)]
enum Heard {
    Expired(u8, Vec<u8>),
    Evicted(u8, Vec<u8>),
    Other(GroupMark),
}

struct Writer {
    large: LargeRef,
    bytes: Vec<u8>,
}

struct Harness {
    store: Store,
    keys: BTreeMap<(u8, Vec<u8>), ModelRecord>,
    /// What is made of the store's feed alone.
    mirror: Mirror,
    last: Revision,
    random: Random,
    now: Millis,
    weights: [usize; OPERATIONS],
    key_count: usize,
    long_share: usize,
    readers: Vec<Writer>,
    writers: Vec<Writer>,
    refused: u64,
    /// Keys that were looked up ahead, for commands that are still to come.
    sights: Vec<(Database, Vec<u8>, LookupHint)>,
    /// When each key went last, from whatever database.
    gone: BTreeMap<(u8, Vec<u8>), Revision>,
    /// Keys that expired and that were evicted.
    left: (u64, u64),
}

impl Harness {
    fn new(seed: u64, on_full: OnFull, segment_bytes: usize) -> Harness {
        let mut random = Random(seed);
        let config = StoreConfig {
            memory_bytes: segment_bytes * ([25, 40, 120][random.below(3)] + random.below(80)) * 7 / 4
                + 60 * 1024
                + FEED_BYTES_MIN,
            feed_bytes: FEED_BYTES_MIN,
            databases: DATABASES,
            on_full,
            max_value_bytes: 40 * segment_bytes as u64,
            segment_bytes,
            leaf_buckets: 16,
            ..StoreConfig::default()
        };
        let mut store = Store::new(config, [seed, 1]).unwrap();
        let mirror = Mirror::of(&mut store);
        let mut weights = [0; OPERATIONS];
        for weight in &mut weights {
            *weight = [0, 1, 5, 30][random.below(4)];
        }
        weights[0] = 20 + random.below(60);
        // Flushes are rare, or nothing ever fills up.
        weights[7] = weights[7].min(1);
        let key_count = [10, 400, 3000][random.below(3)];
        let long_share = [0, 5, 30, 60][random.below(4)];
        Harness {
            store,
            keys: BTreeMap::new(),
            mirror,
            last: Revision(0),
            random,
            now: Millis(1_700_000_000_000),
            weights,
            key_count,
            long_share,
            readers: Vec::new(),
            writers: Vec::new(),
            refused: 0,
            sights: Vec::new(),
            gone: BTreeMap::new(),
            left: (0, 0),
        }
    }

    fn db(&mut self) -> Database {
        Database(self.random.below(DATABASES as usize) as u8)
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.random.below(self.key_count);
        let mut key = format!("{number}").into_bytes();
        // The number decides the length, so that a key comes again.
        if number % 50 == 7 {
            key.resize(self.store.key_bytes_max() - number / 50 % 30, b'k');
        } else {
            key.resize(key.len() + number % 13, b'k');
        }
        key
    }

    fn value(&mut self) -> Vec<u8> {
        let segment = self.store.config().segment_bytes;
        let long = self.random.below(100) < self.long_share;
        let bound = if long { 4 * segment } else { [0, 8, 40, 40, segment / 8][self.random.below(5)] };
        let len = self.random.below(bound + 1);
        let first = self.random.next() as u8;
        (0..len).map(|i| first.wrapping_add(i as u8).wrapping_mul(31)).collect()
    }

    fn expiry(&mut self) -> Option<Millis> {
        let ttl = match self.random.below(6) {
            0 => 1 + self.random.below(50),
            1 => self.random.below(5_000),
            2 => self.random.below(1_000_000),
            _ => return None,
        };
        Some(self.now.plus(ttl as u64))
    }

    /// Takes what was published into the map. Returns whether the last thing was a change from outside.
    fn listen(&mut self) -> bool {
        let mut published = Vec::new();
        self.mirror.follow(&mut self.store, |store, change| {
            let heard = match change.effect {
                Effect::Remove { keyspace, key, reason: RemoveReason::Expired } => {
                    Heard::Expired(store.database_of(keyspace).0, key.to_vec())
                }
                Effect::Remove { keyspace, key, reason: RemoveReason::Evicted } => {
                    Heard::Evicted(store.database_of(keyspace).0, key.to_vec())
                }
                _ => Heard::Other(change.group),
            };
            published.push((heard, change.revision));
        });
        let mut other = false;
        for (heard, revision) in published {
            assert!(revision > self.last, "revisions rise");
            let goes_on = matches!(heard, Heard::Other(GroupMark::Within | GroupMark::Last));
            assert!(!other || goes_on, "a change is published after what it caused");
            self.last = revision;
            match heard {
                Heard::Expired(db, key) => {
                    let kept = self.forget(db, key, revision).expect("what expires was there");
                    assert!(kept.expiry.is_some_and(|expiry| expiry <= self.now));
                    self.left.0 += 1;
                }
                Heard::Evicted(db, key) => {
                    assert!(self.store.config().on_full == OnFull::Evict);
                    self.forget(db, key, revision).expect("what is evicted was there");
                    self.left.1 += 1;
                }
                Heard::Other(_) => other = true,
            }
        }
        other
    }

    /// A key goes from the map.
    fn forget(&mut self, db: u8, key: Vec<u8>, revision: Revision) -> Option<ModelRecord> {
        self.gone.insert((db, key.clone()), revision);
        self.keys.remove(&(db, key))
    }

    /// What the map says of a key, not looking at expired ones.
    fn kept(&self, db: Database, key: &[u8]) -> Option<ModelRecord> {
        let kept = self.keys.get(&(db.0, key.to_vec()))?;
        kept.expiry.is_none_or(|expiry| expiry > self.now).then(|| kept.clone())
    }

    fn apply(&mut self, mutation: &Mutation<'_>) -> Option<Applied> {
        match self.store.apply(mutation, self.now) {
            Ok(applied) => {
                let told = self.listen();
                assert_eq!(told, applied.revision > Revision(0), "what changes something is published");
                assert!(!told || applied.revision == self.last);
                Some(applied)
            }
            Err(refused) => {
                assert!(!self.listen(), "what is refused is not published");
                self.refused += 1;
                assert!(refused == Refused::Full || matches!(refused, Refused::TooLarge { .. }));
                None
            }
        }
    }

    fn insert(&mut self, at: (Database, Vec<u8>), value: Vec<u8>, expiry: Option<Millis>, applied: Applied) {
        assert_eq!(applied.value_len, value.len() as u64);
        self.keys.insert((at.0.0, at.1), ModelRecord { value, expiry, revision: applied.revision });
    }

    fn put(&mut self) {
        let (db, key, value, expiry) = (self.db(), self.key(), self.value(), self.expiry());
        let existed = self.kept(db, &key).is_some();
        let mutation = Mutation::Put { db, key: &key, value: NewValue::Bytes(&value), expiry };
        if let Some(applied) = self.apply(&mutation) {
            assert_eq!(applied.existed, existed);
            self.insert((db, key), value, expiry, applied);
        }
    }

    fn write(&mut self) {
        let (db, key, bytes) = (self.db(), self.key(), self.value());
        let old_len = self.kept(db, &key).map_or(0, |kept| kept.value.len());
        let offset = match self.random.below(3) {
            0 => old_len,
            1 => self.random.below(old_len + 1),
            _ => old_len + self.random.below(100),
        };
        let mutation = Mutation::Write { db, key: &key, offset: offset as u64, bytes: &bytes };
        let Some(applied) = self.apply(&mutation) else { return };
        let kept = self.keys.get(&(db.0, key.clone())).cloned();
        let (mut value, expiry) = kept.map_or((Vec::new(), None), |kept| (kept.value, kept.expiry));
        if !bytes.is_empty() {
            value.resize(value.len().max(offset + bytes.len()), 0);
            value[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
        self.insert((db, key), value, expiry, applied);
    }

    fn set_expiry(&mut self) {
        let (db, key, expiry) = (self.db(), self.key(), self.expiry());
        let Some(kept) = self.kept(db, &key) else {
            let applied = self.apply(&Mutation::SetExpiry { db, key: &key, expiry }).unwrap();
            assert!(!applied.existed);
            return;
        };
        if let Some(applied) = self.apply(&Mutation::SetExpiry { db, key: &key, expiry }) {
            assert!(applied.existed && self.keys.contains_key(&(db.0, key.clone())));
            self.insert((db, key), kept.value, expiry, applied);
        }
    }

    fn delete(&mut self) {
        let (db, key) = (self.db(), self.key());
        let existed = self.kept(db, &key).is_some();
        let applied = self.apply(&Mutation::Delete { db, key: &key }).unwrap();
        assert_eq!((applied.existed, applied.revision > Revision(0)), (existed, existed));
        if existed {
            self.forget(db.0, key, applied.revision);
        }
    }

    fn transfer(&mut self, copy: bool) {
        let (db, from, to_db, to) = (self.db(), self.key(), self.db(), self.key());
        let kept = self.kept(db, &from);
        let mutation = if copy {
            Mutation::Copy { db, from: &from, to_db, to: &to }
        } else {
            Mutation::Rename { db, from: &from, to_db, to: &to }
        };
        let Some(applied) = self.apply(&mutation) else { return };
        assert_eq!(applied.existed, kept.is_some());
        let Some(kept) = kept else { return };
        assert_eq!(applied.value_len, kept.value.len() as u64);
        if (db, &from) == (to_db, &to) {
            return;
        }
        assert!(self.keys.contains_key(&(db.0, from.clone())), "what is renamed or copied was not evicted");
        if !copy {
            // The end of the one is published just before the other is put.
            self.forget(db.0, from, Revision(applied.revision.0 - 1));
        }
        self.insert((to_db, to), kept.value, kept.expiry, applied);
    }

    fn flush(&mut self) {
        let db = if self.random.below(4) == 0 { None } else { Some(self.db()) };
        let revision = self.apply(&Mutation::Flush { db }).unwrap().revision;
        for (at, key) in self.keys.keys() {
            if db.is_none_or(|db| db.0 == *at) {
                self.gone.insert((*at, key.clone()), revision);
            }
        }
        self.keys.retain(|(at, _), _| db.is_some_and(|db| db.0 != *at));
    }

    fn swap(&mut self) {
        let (a, b) = (self.db(), self.db());
        let revision = self.apply(&Mutation::Swap { a, b }).unwrap().revision;
        if a == b {
            return;
        }
        for (_, key) in self.keys.keys().filter(|(db, _)| [a.0, b.0].contains(db)) {
            self.gone.extend([a, b].map(|db| ((db.0, key.clone()), revision)));
        }
        let keys = std::mem::take(&mut self.keys);
        let swapped = |db| {
            if db == a.0 {
                b.0
            } else if db == b.0 {
                a.0
            } else {
                db
            }
        };
        self.keys = keys.into_iter().map(|((db, key), kept)| ((swapped(db), key), kept)).collect();
    }

    fn prefetch_record(&mut self) {
        let (db, key) = (self.db(), self.key());
        let kept = self.kept(db, &key);
        let found = self.store.get(db, &key, self.now).is_some();
        self.listen();
        assert_eq!(found, kept.is_some());
        let picked = self.store.random(db, self.random.next(), self.now);
        if let Some(key) = picked.map(|entry| entry.key.to_vec()) {
            assert!(self.kept(db, &key).is_some());
        }
    }

    /// A scan shows exactly once what is there throughout, whatever happens between its calls.
    fn scan(&mut self) {
        let db = self.db();
        let (mut shown, mut cursor) = (BTreeMap::new(), 0);
        let mut stayed: BTreeSet<Vec<u8>> =
            self.keys.keys().filter(|(at, _)| *at == db.0).map(|(_, key)| key.clone()).collect();
        self.retain_live(db, &mut stayed);
        loop {
            cursor = self.store.scan(db, cursor, 7, self.now, &mut |entry| {
                *shown.entry(entry.key.to_vec()).or_insert(0) += 1;
            });
            if cursor == 0 {
                break;
            }
            self.put();
            self.delete();
            if self.random.below(10) == 0 {
                self.now = self.now.plus(3);
                self.store.maintain(self.now, 2);
                self.listen();
            }
            self.retain_live(db, &mut stayed);
        }
        for key in stayed {
            assert_eq!(shown.get(&key), Some(&1));
        }
    }

    fn retain_live(&self, db: Database, keys: &mut BTreeSet<Vec<u8>>) {
        keys.retain(|key| self.kept(db, key).is_some());
    }

    fn step(&mut self) {
        let mut ticket = self.random.below(self.weights.iter().sum());
        let operation = self.weights.iter().position(|weight| {
            let chosen = ticket < *weight;
            ticket = ticket.wrapping_sub(*weight);
            chosen
        });
        match operation.unwrap_or(0) {
            0 => self.put(),
            1 => self.write(),
            2 => self.set_expiry(),
            3 => self.delete(),
            4 => self.transfer(false),
            5 => self.transfer(true),
            6 => self.swap(),
            7 => self.flush(),
            8 => self.begin(),
            9 => self.fill(),
            10 => self.publish(),
            11 => self.retain(),
            12 if self.random.below(2) == 0 => self.look_ahead(),
            12 => self.prefetch_record(),
            13 if self.random.below(40) == 0 => self.scan(),
            13 | 14 => {
                self.store.maintain(self.now, 3);
                self.listen();
            }
            _ => self.now = self.now.plus([0, 1, 40, 4000][self.random.below(4)]),
        }
        self.retain();
    }

    /// Everything that the map has is in the store, and nothing else.
    fn compare(&self) {
        self.mirror.compare(&self.store);
        for ((db, key), kept) in &self.keys {
            let found = self.store.peek(Database(*db), key, self.now);
            let gone = kept.expiry.is_some_and(|expiry| expiry <= self.now);
            assert_eq!(found.is_none(), gone);
            let Some(entry) = found else { continue };
            assert_eq!((entry.expiry, entry.revision), (kept.expiry, kept.revision));
            assert_eq!(read(&self.store, entry.value), kept.value);
            assert_eq!(entry.value.is_empty(), kept.value.is_empty());
        }
        for db in 0..DATABASES {
            let here = || self.keys.iter().filter(|((at, _), _)| *at == db);
            assert_eq!(self.store.len(Database(db)), here().count() as u64);
            assert_eq!(self.store.is_empty(Database(db)), here().next().is_none());
            let expiries: Vec<u64> = here().filter_map(|(_, kept)| kept.expiry).map(|at| at.0).collect();
            assert_eq!(self.store.expiring(Database(db)), expiries.len() as u64);
            let mean = expiries.iter().sum::<u64>().checked_div(expiries.len() as u64).unwrap_or(0);
            let average = self.store.average_ttl_ms(Database(db), self.now);
            assert_eq!(average, mean.saturating_sub(self.now.0));
        }
        for ((db, key), revision) in &self.gone {
            let db = Database(*db);
            assert!(
                self.store.maybe_removed_since(db, key, Revision(revision.0 - 1)),
                "a key that went has gone"
            );
            assert!(!self.store.maybe_removed_since(db, key, self.last), "nothing has gone since now");
        }
        assert_eq!(self.store.revision(), self.last);
        let counters = self.store.statistics();
        assert_eq!((counters.expired, counters.evicted), self.left);
    }

    /// Everything goes, and all memory is there again.
    fn empty(&mut self) {
        while let Some(held) = self.readers.pop().or_else(|| self.writers.pop()) {
            self.store.large_release(held.large);
        }
        self.apply(&Mutation::Flush { db: None }).unwrap();
        self.keys.clear();
        for _ in 0..100_000 {
            if !self.store.maintain(self.now, 1) {
                break;
            }
        }
        self.store.invariants();
        let memory = self.store.memory();
        assert_eq!((memory.live, memory.large, memory.large_free), (0, 0, 0));
        assert_eq!((memory.held(), self.store.large_count()), (memory.index, 0));
    }
}

fn read(store: &Store, value: Value<'_>) -> Vec<u8> {
    let bytes = bytes_of(store, value);
    assert_eq!(bytes.len() as u64, value.len());
    bytes
}

fn run(seeds: std::ops::Range<u64>, steps: usize, on_full: OnFull, segment_bytes: usize) {
    let steps = std::env::var("PANNIER_MODEL_STEPS").ok().and_then(|n| n.parse().ok()).unwrap_or(steps);
    for seed in seeds {
        let mut harness = Harness::new(seed, on_full, segment_bytes);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for step in 0..steps {
                harness.step();
                if step % 8 == 0 {
                    harness.store.invariants();
                }
                if step % 64 == 0 {
                    harness.compare();
                }
            }
            harness.compare();
            harness.empty();
            // And it can be used again.
            (0..200).for_each(|_| harness.put());
            harness.compare();
            harness.empty();
        }));
        if std::env::var_os("PANNIER_MODEL_SHOW").is_some() {
            let (store, keys) = (&harness.store, harness.keys.len());
            eprintln!("{seed} {on_full:?} keys {keys} refused {} {:?}", harness.refused, store.statistics());
        }
        if let Err(panic) = run {
            eprintln!("seed {seed}, {on_full:?}, segments of {segment_bytes}: {:?}", harness.store.memory());
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_store_that_refuses_is_a_map() {
    run(0..12, 2500, OnFull::Refuse, 1024);
}

#[test]
fn a_store_that_evicts_is_a_map_that_forgets() {
    run(100..112, 2500, OnFull::Evict, 1024);
}

#[test]
fn segments_may_be_larger() {
    run(200..204, 2000, OnFull::Refuse, 4096);
    run(210..214, 2000, OnFull::Evict, 4096);
}

#[test]
#[ignore = "takes minutes"]
fn many_seeds() {
    for base in 0..50 {
        run(1000 + base * 10..1010 + base * 10, 4000, OnFull::Refuse, 1024);
        run(9000 + base * 10..9010 + base * 10, 4000, OnFull::Evict, 1024);
    }
}
