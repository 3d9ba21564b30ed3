//! A small store beside a map: segments and leaves are shrunk, so that a few hundred operations fill it, clean it and
//! split its leaves.

use super::script::Script;
use pannier::mutation::{
    Applied, Database, Effect, LargeId, LargeRef, Mutation, NewValue, Refused, RemoveReason, Revision,
};
use pannier::store::feed::{FEED_BYTES_MIN, FeedCursor, FeedStep, WhenBehind};
use pannier::store::{LargeCursor, OnFull, Store, StoreConfig, Value};
use pannier::time::Millis;
use std::collections::BTreeMap;

const DATABASES: u8 = 3;
const STEPS_MAX: usize = 1500;
const HELD_MAX: usize = 4;
/// Bounded steps of maintenance that an emptied store may take.
const SETTLE_STEPS_MAX: usize = 100_000;

#[derive(Clone, Debug, PartialEq, Eq)]
struct ModelRecord {
    value: Vec<u8>,
    expiry: Option<Millis>,
    revision: Revision,
}

type Keys = BTreeMap<(u8, Vec<u8>), ModelRecord>;

/// A large value that the model holds a reference to.
struct Snapshot {
    large: LargeRef,
    bytes: Vec<u8>,
    /// Still being written.
    open: bool,
}

struct Harness {
    store: Store,
    keys: Keys,
    cursor: FeedCursor,
    now: Millis,
    held: Vec<Snapshot>,
}

/// See the table of [`super`].
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut harness = Harness::new(script.byte());
    let mut steps = 0;
    while script.more() && steps < STEPS_MAX {
        harness.step(&mut script);
        steps += 1;
        if steps % 16 == 0 {
            harness.store.invariants();
            harness.compare();
        }
    }
    harness.compare();
    harness.empty();
}

impl Harness {
    fn new(kind: u8) -> Harness {
        let segment_bytes = if kind & 2 == 0 { 1024 } else { 4096 };
        let config = StoreConfig {
            memory_bytes: segment_bytes * (45 + usize::from(kind >> 2)) * 7 / 4 + 96 * 1024 + FEED_BYTES_MIN,
            feed_bytes: FEED_BYTES_MIN,
            databases: DATABASES,
            on_full: if kind & 1 == 0 { OnFull::Refuse } else { OnFull::Evict },
            max_value_bytes: 40 * segment_bytes as u64,
            segment_bytes,
            leaf_buckets: 16,
            ..StoreConfig::default()
        };
        let mut store = Store::new(config, [5, 1]).expect("enough memory");
        let cursor = store.feed_open(WhenBehind::Missed).expect("it has a feed");
        Harness { store, keys: Keys::new(), cursor, now: Millis(1_700_000_000_000), held: Vec::new() }
    }

    /// Takes what left by itself out of the map.
    fn listen(&mut self) {
        let mut gone = Vec::new();
        while let FeedStep::Change(change) = self.store.feed_peek(&self.cursor) {
            if let Effect::Remove { keyspace, key, reason } = change.effect
                && reason != RemoveReason::Deleted
            {
                let db = self.store.database_of(keyspace);
                gone.push((db.0, key.to_vec(), reason == RemoveReason::Evicted));
            }
            self.store.feed_advance(&self.cursor);
        }
        assert_eq!(self.store.feed_peek(&self.cursor), FeedStep::End, "the ring holds what one step changes");
        for (db, key, evicted) in gone {
            let kept = self.keys.remove(&(db, key)).expect("what goes was there");
            if evicted {
                assert_eq!(self.store.config().on_full, OnFull::Evict);
            } else {
                assert!(kept.expiry.is_some_and(|expiry| expiry <= self.now));
            }
        }
    }

    fn apply(&mut self, mutation: &Mutation<'_>) -> Option<Applied> {
        let applied = self.store.apply(mutation, self.now);
        self.listen();
        match applied {
            Ok(applied) => {
                assert!(applied.revision <= self.store.revision());
                Some(applied)
            }
            Err(refused) => {
                assert!(matches!(
                    refused,
                    Refused::Full | Refused::TooLarge { .. } | Refused::KeyTooLong { .. }
                ));
                None
            }
        }
    }

    /// What the map says of a key that has not expired.
    fn kept(&self, db: Database, key: &[u8]) -> Option<ModelRecord> {
        let kept = self.keys.get(&(db.0, key.to_vec()))?;
        kept.expiry.is_none_or(|expiry| expiry > self.now).then(|| kept.clone())
    }

    fn insert(
        &mut self,
        db: Database,
        key: Vec<u8>,
        value: Vec<u8>,
        expiry: Option<Millis>,
        applied: Applied,
    ) {
        assert_eq!(applied.value_len, value.len() as u64);
        self.keys.insert((db.0, key), ModelRecord { value, expiry, revision: applied.revision });
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let kind = script.byte();
        let (db, key) = (Database(kind >> 4 & 1), key(script.byte()));
        match kind & 15 {
            0..=2 => self.put(script, db, key),
            3 => self.write(script, db, key),
            4 => self.set_expiry(script, db, &key),
            5 => {
                let existed = self.kept(db, &key).is_some();
                let applied = self.apply(&Mutation::Delete { db, key: &key }).expect("never refused");
                assert_eq!(applied.existed, existed);
                self.keys.remove(&(db.0, key));
            }
            6 => self.transfer(script, db, &key, kind & 32 != 0),
            7 if kind & 32 != 0 => self.swap(db, Database(script.byte() % DATABASES)),
            7 => {
                let db = (kind & 64 != 0).then_some(db);
                self.apply(&Mutation::Flush { db }).expect("never refused");
                self.keys.retain(|(at, _), _| db.is_some_and(|db| db.0 != *at));
            }
            8 => self.begin(script.number()),
            9 => self.fill(script),
            10 => self.publish(script, db, key),
            11 => self.retain(db, &key),
            12 => self.look(db, &key, script.wide()),
            13 => self.scan(db),
            14 => {
                self.store.maintain(self.now, 1 + script.below(8));
                self.listen();
            }
            _ => self.now = self.now.plus([1, 40, 4_000, 1_000_000][script.below(4)]),
        }
    }

    fn put(&mut self, script: &mut Script<'_>, db: Database, key: Vec<u8>) {
        let (value, expiry) = (value(script), self.expiry(script));
        let existed = self.kept(db, &key).is_some();
        let mutation = Mutation::Put { db, key: &key, value: NewValue::Bytes(&value), expiry };
        if let Some(applied) = self.apply(&mutation) {
            assert_eq!(applied.existed, existed);
            self.insert(db, key, value, expiry, applied);
        }
    }

    fn write(&mut self, script: &mut Script<'_>, db: Database, key: Vec<u8>) {
        let (bytes, offset) = (value(script), script.number() % 5000);
        let Some(applied) =
            self.apply(&Mutation::Write { db, key: &key, offset: offset as u64, bytes: &bytes })
        else {
            return;
        };
        let kept = self.keys.get(&(db.0, key.clone())).cloned();
        let (mut value, expiry) = kept.map_or((Vec::new(), None), |kept| (kept.value, kept.expiry));
        if !bytes.is_empty() {
            value.resize(value.len().max(offset + bytes.len()), 0);
            value[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
        self.insert(db, key, value, expiry, applied);
    }

    fn set_expiry(&mut self, script: &mut Script<'_>, db: Database, key: &[u8]) {
        let expiry = self.expiry(script);
        let kept = self.kept(db, key);
        let Some(applied) = self.apply(&Mutation::SetExpiry { db, key, expiry }) else {
            assert!(kept.is_some(), "nothing to do is never refused");
            return;
        };
        assert_eq!(applied.existed, kept.is_some());
        if let Some(kept) = kept {
            self.insert(db, key.to_vec(), kept.value, expiry, applied);
        }
    }

    fn transfer(&mut self, script: &mut Script<'_>, db: Database, from: &[u8], copy: bool) {
        let (to_db, to) = (Database(script.byte() % DATABASES), key(script.byte()));
        let kept = self.kept(db, from);
        let mutation = if copy {
            Mutation::Copy { db, from, to_db, to: &to }
        } else {
            Mutation::Rename { db, from, to_db, to: &to }
        };
        let Some(applied) = self.apply(&mutation) else { return };
        assert_eq!(applied.existed, kept.is_some());
        let Some(kept) = kept else { return };
        if (db, from) == (to_db, &to[..]) {
            return;
        }
        assert!(self.keys.contains_key(&(db.0, from.to_vec())), "what is renamed or copied was not evicted");
        if !copy {
            self.keys.remove(&(db.0, from.to_vec()));
        }
        self.insert(to_db, to, kept.value, kept.expiry, applied);
    }

    fn swap(&mut self, a: Database, b: Database) {
        self.apply(&Mutation::Swap { a, b }).expect("never refused");
        let other = |db| {
            if db == a.0 {
                b.0
            } else if db == b.0 {
                a.0
            } else {
                db
            }
        };
        let keys = std::mem::take(&mut self.keys);
        self.keys = keys.into_iter().map(|((db, key), kept)| ((other(db), key), kept)).collect();
    }

    fn begin(&mut self, hint: usize) {
        self.let_go(HELD_MAX - 1);
        if let Ok(large) = self.store.large_begin(hint as u64, self.now) {
            self.held.push(Snapshot { large, bytes: Vec::new(), open: true });
        }
        self.listen();
    }

    /// Releases the oldest references until no more than `most` are left; what they hold is as it was.
    fn let_go(&mut self, most: usize) {
        while self.held.len() > most {
            let held = self.held.remove(0);
            assert_eq!(read(&self.store, held.large.id()), held.bytes);
            self.store.large_release(held.large);
        }
    }

    fn fill(&mut self, script: &mut Script<'_>) {
        let bytes = value(script);
        let Some(held) = self.held.iter_mut().rev().find(|held| held.open) else { return };
        // A part may have been appended when it is refused.
        let _ = self.store.large_append(held.large.id(), &bytes, self.now);
        let appended = self.store.large_len(held.large.id()) as usize - held.bytes.len();
        held.bytes.extend_from_slice(&bytes[..appended]);
        self.listen();
    }

    fn publish(&mut self, script: &mut Script<'_>, db: Database, key: Vec<u8>) {
        let Some(at) = self.held.iter().rposition(|held| held.open) else { return };
        let (held, expiry) = (self.held.remove(at), self.expiry(script));
        let mutation = Mutation::Put { db, key: &key, value: NewValue::Large(held.large.id()), expiry };
        if let Some(applied) = self.apply(&mutation) {
            self.insert(db, key, held.bytes, expiry, applied);
        }
        self.store.large_release(held.large);
    }

    /// Holds the key's value as one does who is still sending it, whatever becomes of the key.
    fn retain(&mut self, db: Database, key: &[u8]) {
        self.let_go(HELD_MAX - 1);
        if let Some(entry) = self.store.peek(db, key, self.now)
            && let Value::Large { id, .. } = entry.value
        {
            let bytes = read(&self.store, id);
            let large = self.store.large_retain(id);
            self.held.push(Snapshot { large, bytes, open: false });
        }
    }

    fn look(&mut self, db: Database, key: &[u8], seed: u64) {
        let kept = self.kept(db, key);
        let found = self.store.get(db, key, self.now).is_some();
        self.listen();
        assert_eq!(found, kept.is_some());
        let random = self.store.random(db, seed, self.now).map(|entry| entry.key.to_vec());
        assert!(random.is_none_or(|key| self.kept(db, &key).is_some()));
    }

    fn scan(&mut self, db: Database) {
        let (mut shown, mut cursor) = (Vec::new(), 0);
        loop {
            cursor = self.store.scan(db, cursor, 7, self.now, &mut |entry| shown.push(entry.key.to_vec()));
            if cursor == 0 {
                break;
            }
        }
        shown.sort_unstable();
        let live = self.keys.keys().filter(|(at, key)| *at == db.0 && self.kept(db, key).is_some());
        assert!(live.map(|(_, key)| key).eq(&shown), "every key is shown once");
    }

    fn expiry(&self, script: &mut Script<'_>) -> Option<Millis> {
        match script.byte() {
            0..=127 => None,
            ttl @ 128..=200 => Some(self.now.plus(u64::from(ttl) - 128)),
            ttl => Some(self.now.plus(u64::from(ttl - 200) * 1000)),
        }
    }

    /// Everything that the map has is in the store, and nothing else.
    fn compare(&self) {
        for ((db, key), kept) in &self.keys {
            let found = self.store.peek(Database(*db), key, self.now);
            assert_eq!(found.is_none(), kept.expiry.is_some_and(|expiry| expiry <= self.now));
            let Some(entry) = found else { continue };
            assert_eq!((entry.expiry, entry.revision), (kept.expiry, kept.revision));
            match entry.value {
                Value::Inline(bytes) => assert_eq!(bytes, kept.value),
                Value::Large { id, len } => {
                    assert_eq!((read(&self.store, id), len), (kept.value.clone(), kept.value.len() as u64));
                }
                Value::Collection(_) => panic!("it was given a string"),
            }
        }
        for db in 0..DATABASES {
            let len = self.keys.keys().filter(|(at, _)| *at == db).count() as u64;
            assert_eq!(self.store.len(Database(db)), len);
        }
    }

    /// Everything goes, and all memory is there again.
    fn empty(&mut self) {
        self.let_go(0);
        self.apply(&Mutation::Flush { db: None }).expect("never refused");
        assert_empty(&mut self.store, self.now);
    }
}

/// A store without keys and holders of large values gives all of its memory back.
pub fn assert_empty(store: &mut Store, now: Millis) {
    let settled = (0..SETTLE_STEPS_MAX).any(|_| !store.maintain(now, 1));
    assert!(settled, "maintenance comes to an end");
    store.invariants();
    let memory = store.memory();
    assert_eq!((memory.live, memory.large, memory.large_free, store.large_count()), (0, 0, 0, 0));
}

/// The key of that number: most are short, some are long.
fn key(number: u8) -> Vec<u8> {
    let mut key = format!("key{number}").into_bytes();
    if number % 16 == 15 {
        key.resize(200 + usize::from(number), b'.');
    }
    key
}

/// A value that says which one it is, of up to 6,000 bytes.
fn value(script: &mut Script<'_>) -> Vec<u8> {
    let number = script.number();
    let len = if number & 0x8000 == 0 { number % 200 } else { number % 6000 };
    (0..len).map(|at| (at + number) as u8).collect()
}

fn read(store: &Store, id: LargeId) -> Vec<u8> {
    let (mut bytes, mut cursor) = (Vec::new(), LargeCursor::new(id, 0));
    loop {
        let slice = store.large_slice(&mut cursor);
        if slice.is_empty() {
            return bytes;
        }
        bytes.extend_from_slice(slice);
        cursor.advance(slice.len());
    }
}
