//! Random changes of collections, beside maps that do the same; the store's invariants hold after each, and a second
//! store follows.
//!
//! Pages are shrunk to as little as two children or two entries, so that trees are deep and split and merge all the
//! time. `PANNIER_MODEL_STEPS` asks for more steps.

use super::mirror::Mirror;
use super::model::Random;
use crate::mutation::{
    Applied, CollectionKind, Database, Effect, FieldExpiry, Mutation, NewValue, Refused, RemoveReason, Tree,
};
use crate::store::collection::{Item, PACKED_LEN_MAX};
use crate::store::feed::FEED_BYTES_MIN;
use crate::store::{Collection, OnFull, Store, StoreConfig, Value};
use crate::time::Millis;
use std::collections::BTreeMap;

/// Values and times, of fields whose time has come as well: until the store says that they are gone.
type Fields = BTreeMap<Vec<u8>, (Vec<u8>, Option<Millis>)>;

#[derive(Clone, Debug)]
enum ModelValue {
    String(Vec<u8>),
    Fields(CollectionKind, Fields),
}

struct Row {
    kept: ModelValue,
    expiry: Option<Millis>,
}

/// A collection that is held as it was.
struct Snapshot {
    tree: Tree,
    fields: Fields,
}

struct Harness {
    store: Store,
    mirror: Mirror,
    rows: BTreeMap<(u8, Vec<u8>), Row>,
    random: Random,
    now: Millis,
    snapshots: Vec<Snapshot>,
    field_count: usize,
    long_share: usize,
    removal_share: usize,
    /// Of a hundred puts of fields, those that give them a time.
    timed_share: usize,
    refused: u64,
    evicted: u64,
    expired_fields: u64,
    deepest: u8,
}

const DB: Database = Database(0);

impl Harness {
    fn new(seed: u64, on_full: OnFull, segment_bytes: usize) -> Harness {
        let mut random = Random(seed);
        let config = StoreConfig {
            memory_bytes: segment_bytes * ([40, 80, 300][random.below(3)] + random.below(80)) * 2
                + 80 * 1024
                + FEED_BYTES_MIN,
            feed_bytes: FEED_BYTES_MIN,
            databases: 2,
            on_full,
            max_value_bytes: 40 * segment_bytes as u64,
            segment_bytes,
            leaf_buckets: 16,
            ..StoreConfig::default()
        };
        let mut store = Store::new(config, [seed, 1]).unwrap();
        let mirror = Mirror::of(&mut store);
        Harness {
            store,
            mirror,
            rows: BTreeMap::new(),
            field_count: [20, 300, 2000][random.below(3)],
            long_share: [0, 5, 40][random.below(3)],
            removal_share: [5, 30, 48][random.below(3)],
            timed_share: [0, 10, 60][random.below(3)],
            random,
            now: Millis(1_700_000_000_000),
            snapshots: Vec::new(),
            refused: 0,
            evicted: 0,
            expired_fields: 0,
            deepest: 0,
        }
    }

    /// Near, far, or none.
    fn time(&mut self) -> Option<Millis> {
        let within = [0, 30, 300, 5000][self.random.below(4)];
        (within > 0).then(|| self.now.plus(1 + self.random.below(within) as u64))
    }

    fn key(&mut self) -> Vec<u8> {
        format!("key{}", self.random.below(6)).into_bytes()
    }

    fn field(&mut self) -> Vec<u8> {
        let number = self.random.below(self.field_count);
        let mut field = number.to_string().into_bytes();
        // The number decides the length, so that a field comes again.
        if number % 40 == 7 && self.long_share > 0 {
            field.resize(2 + number % 700, b'f');
        } else {
            field.resize(field.len() + number % 5, b'f');
        }
        field
    }

    fn value(&mut self) -> Vec<u8> {
        let long = self.random.below(100) < self.long_share;
        let bound =
            if long { 2 * self.store.config().segment_bytes } else { [0, 4, 12, 30][self.random.below(4)] };
        let len = self.random.below(bound + 1);
        vec![self.random.below(256) as u8; len]
    }

    /// What the map says of a key, expired ones aside.
    fn live(&self, key: &[u8]) -> Option<&Row> {
        let row = self.rows.get(&(DB.0, key.to_vec()))?;
        row.expiry.is_none_or(|expiry| expiry > self.now).then_some(row)
    }

    /// Takes what left by itself out of the map.
    fn listen(&mut self) {
        let (mut gone, mut expired) = (Vec::new(), Vec::new());
        self.mirror.follow(&mut self.store, |store, change| {
            if let Effect::RemoveField { keyspace, key, field, is_last, reason, .. } = change.effect
                && reason != RemoveReason::Deleted
            {
                assert_eq!(reason, RemoveReason::Expired);
                expired.push((store.database_of(keyspace).0, key.to_vec(), field.to_vec(), is_last));
            }
            if let Effect::Remove { keyspace, key, reason } = change.effect
                && reason != RemoveReason::Deleted
            {
                gone.push((store.database_of(keyspace).0, key.to_vec(), reason));
            }
        });
        for (db, key, reason) in gone {
            self.rows.remove(&(db, key)).expect("what leaves was there");
            self.evicted += u64::from(reason == RemoveReason::Evicted);
        }
        for (db, key, field, is_last) in expired {
            let row = self.rows.get_mut(&(db, key.clone())).expect("whose field expires was there");
            let ModelValue::Fields(CollectionKind::Hash, fields) = &mut row.kept else {
                panic!("it is no hash")
            };
            let (_, expiry) = fields.remove(&field).expect("a field that expires was there");
            assert!(expiry.is_some_and(|expiry| expiry <= self.now), "no field goes before its time");
            assert_eq!(fields.is_empty(), is_last);
            if is_last {
                self.rows.remove(&(db, key));
            }
            self.expired_fields += 1;
        }
    }

    fn apply(&mut self, mutation: &Mutation<'_>) -> Option<Applied> {
        let applied = self.store.apply(mutation, self.now);
        self.listen();
        match applied {
            Ok(applied) => Some(applied),
            Err(refused) => {
                assert!(matches!(refused, Refused::Full | Refused::TooLarge { .. }), "{refused:?}");
                self.refused += 1;
                None
            }
        }
    }

    /// The kind that a number of keys has, and whether the key has another one now.
    fn kind(&mut self, key: &[u8]) -> (CollectionKind, bool) {
        let kind = if self.random.below(3) == 0 { CollectionKind::Set } else { CollectionKind::Hash };
        let keeps = self.random.below(10) > 0;
        match self.live(key).map(|row| &row.kept) {
            Some(ModelValue::Fields(has, _)) if keeps => (*has, false),
            Some(ModelValue::Fields(has, _)) => (kind, *has != kind),
            Some(ModelValue::String(_)) => (kind, true),
            None => (kind, false),
        }
    }

    fn put_field(&mut self) {
        let (key, field, value) = (self.key(), self.field(), self.value());
        let (kind, is_wrong) = self.kind(&key);
        let plain =
            Mutation::PutField { db: DB, key: &key, kind, field: &field, value: NewValue::Bytes(&value) };
        let is_timed = kind == CollectionKind::Hash && self.random.below(100) < self.timed_share;
        let time = if self.random.below(4) == 0 { FieldExpiry::Keep } else { FieldExpiry::Set(self.time()) };
        let (put, time) = if is_timed {
            let (value, expiry) = (NewValue::Bytes(&value), time);
            (Mutation::PutTimedField { db: DB, key: &key, field: &field, value, expiry }, time)
        } else {
            (plain, FieldExpiry::Set(None))
        };
        if is_wrong {
            assert_eq!(self.store.apply(&put, self.now), Err(Refused::WrongType));
            self.listen();
            return;
        }
        let is_given = !is_timed && self.random.below(8) == 0 && kind == CollectionKind::Hash;
        let applied = if is_given && !value.is_empty() {
            let Ok(large) = self.store.large_begin(value.len() as u64, self.now) else {
                return self.listen();
            };
            if self.store.large_append(large.id(), &value, self.now).is_err() {
                self.store.large_release(large);
                return self.listen();
            }
            let value = NewValue::Large(large.id());
            let put = Mutation::PutField { db: DB, key: &key, kind, field: &field, value };
            let applied = self.apply(&put);
            self.store.large_release(large);
            applied
        } else {
            self.apply(&put)
        };
        let Some(applied) = applied else { return };
        let row = self
            .rows
            .entry((DB.0, key))
            .or_insert(Row { kept: ModelValue::Fields(kind, Fields::new()), expiry: None });
        if row.expiry.is_some_and(|expiry| expiry <= self.now) {
            *row = Row { kept: ModelValue::Fields(kind, Fields::new()), expiry: None };
        }
        let ModelValue::Fields(_, fields) = &mut row.kept else { panic!("it has another type") };
        let value = if kind == CollectionKind::Set { Vec::new() } else { value };
        let kept = fields.get(&field).and_then(|(_, expiry)| *expiry);
        let expiry = if let FieldExpiry::Set(expiry) = time { expiry } else { kept };
        assert_eq!(applied.existed, fields.insert(field, (value, expiry)).is_some());
        assert_eq!(applied.value_len, fields.len() as u64);
        assert_eq!(applied.revision.0 == 0, kind == CollectionKind::Set && applied.existed);
    }

    fn remove_field(&mut self) {
        let key = self.key();
        let (kind, is_wrong) = self.kind(&key);
        let is_known = self.random.below(4) > 0;
        let known = self.live(&key).and_then(|row| match &row.kept {
            ModelValue::Fields(_, fields) => Some(fields.clone()),
            ModelValue::String(_) => None,
        });
        let field = match known {
            Some(fields) if is_known => {
                let at = self.random.below(fields.len());
                fields.keys().nth(at).expect("an index below its length").clone()
            }
            _ => self.field(),
        };
        let remove = Mutation::RemoveField { db: DB, key: &key, kind, field: &field };
        if is_wrong {
            assert_eq!(self.store.apply(&remove, self.now), Err(Refused::WrongType));
            self.listen();
            return;
        }
        let expected = self.live(&key).is_some();
        let Some(applied) = self.apply(&remove) else { return };
        if !expected {
            assert!(!applied.existed);
            return;
        }
        let Some(Row { kept: ModelValue::Fields(_, fields), .. }) = self.rows.get_mut(&(DB.0, key.clone()))
        else {
            // Its last field had expired.
            return assert!(!applied.existed);
        };
        assert_eq!(applied.existed, fields.remove(&field).is_some());
        assert_eq!(applied.value_len, if applied.existed { fields.len() as u64 } else { 0 });
        if fields.is_empty() {
            self.rows.remove(&(DB.0, key));
        }
    }

    /// A field gets a time, another one or none.
    fn set_time(&mut self) {
        let (key, expiry) = (self.key(), self.time());
        let Some(Row { kept: ModelValue::Fields(kind, fields), .. }) = self.live(&key) else { return };
        let (kind, known) = (*kind, fields.keys().cloned().collect::<Vec<_>>());
        let is_known = self.random.below(5) > 0;
        let field = if is_known { known[self.random.below(known.len())].clone() } else { self.field() };
        let set = Mutation::SetFieldExpiry { db: DB, key: &key, field: &field, expiry };
        if kind == CollectionKind::Set {
            return assert_eq!(self.store.apply(&set, self.now), Err(Refused::WrongType));
        }
        let Some(applied) = self.apply(&set) else { return };
        let row = self.rows.get_mut(&(DB.0, key));
        let found = row.and_then(|row| match &mut row.kept {
            ModelValue::Fields(_, fields) => fields.get_mut(&field),
            ModelValue::String(_) => None,
        });
        assert_eq!((applied.existed, applied.revision.0 > 0), (found.is_some(), found.is_some()));
        found.into_iter().for_each(|(_, time)| *time = expiry);
    }

    fn change_key(&mut self) {
        let (key, to) = (self.key(), self.key());
        let is_there = self.live(&key).is_some();
        let at = (DB.0, key.clone());
        match self.random.below(6) {
            0 => {
                self.apply(&Mutation::Delete { db: DB, key: &key });
                self.rows.remove(&at);
            }
            1 => {
                let value = self.value();
                let put = Mutation::Put { db: DB, key: &key, value: NewValue::Bytes(&value), expiry: None };
                if self.apply(&put).is_some() {
                    self.rows.insert(at, Row { kept: ModelValue::String(value), expiry: None });
                }
            }
            2 => {
                let expiry = (self.random.below(3) > 0).then(|| self.now.plus(self.random.below(400) as u64));
                if self.apply(&Mutation::SetExpiry { db: DB, key: &key, expiry }).is_some() && is_there {
                    self.rows.get_mut(&at).expect("it is there").expiry = expiry;
                }
            }
            3 if key != to => self.rename(&key, &to),
            _ if key != to => self.copy(&key, &to),
            _ => {}
        }
    }

    fn rename(&mut self, key: &[u8], to: &[u8]) {
        let is_there = self.live(key).is_some();
        let renamed = self.apply(&Mutation::Rename { db: DB, from: key, to_db: DB, to });
        if renamed.is_some() && is_there {
            let row = self.rows.remove(&(DB.0, key.to_vec())).expect("it is there");
            self.rows.insert((DB.0, to.to_vec()), row);
        }
    }

    fn copy(&mut self, key: &[u8], to: &[u8]) {
        let is_there = self.live(key).is_some();
        let copied = self.apply(&Mutation::Copy { db: DB, from: key, to_db: DB, to });
        if copied.is_some() && is_there {
            let Row { kept, expiry } = &self.rows[&(DB.0, key.to_vec())];
            let row = Row { kept: kept.clone(), expiry: *expiry };
            self.rows.insert((DB.0, to.to_vec()), row);
        }
    }

    /// Holds a collection as it is, or looks whether one that is held is still so.
    fn snapshot(&mut self) {
        let key = self.key();
        if let Some(Value::Collection(Collection::Tree(tree))) =
            self.store.peek(DB, &key, self.now).map(|entry| entry.value)
            && let Some(Row { kept: ModelValue::Fields(_, fields), .. }) = self.live(&key)
        {
            let fields = fields.clone();
            self.store.tree_retain(&tree);
            self.deepest = self.deepest.max(tree.height);
            self.snapshots.push(Snapshot { tree, fields });
        }
        if self.snapshots.len() > 3 {
            let Snapshot { tree, fields } = self.snapshots.swap_remove(0);
            self.compare_fields(&Collection::Tree(tree), &fields);
            self.store.tree_release(&tree);
        }
    }

    fn compare_fields(&self, collection: &Collection<'_>, fields: &Fields) {
        let has = self.store.owned_fields(collection);
        assert_eq!(has.len(), fields.len());
        for ((field, value, time), (expected, (other, expiry))) in has.iter().zip(fields) {
            assert_eq!((field, value.as_ref().unwrap_or(&Vec::new()), time), (expected, other, expiry));
            let found = self.store.field(collection, field, self.now);
            let is_live = expiry.is_none_or(|expiry| expiry > self.now);
            assert_eq!(found.is_some(), is_live, "a look-up hides what has expired, and nothing else");
            let Some(found) = found else { continue };
            if value.is_some() {
                assert!(self.store.item_is(found, other));
            } else {
                assert!(self.store.item_is(found, field));
            }
        }
        assert_eq!(self.store.field(collection, b"not there", self.now), None);
        let first = fields.values().filter_map(|(_, expiry)| *expiry).min();
        let bound = self.store.first_due(collection);
        assert!(first.is_none_or(|first| bound.is_some_and(|bound| bound <= first)));
        if let Collection::Tree(tree) = collection {
            self.walk(tree, fields);
        }
    }

    /// Every entry is met once, going on from places and from indexes.
    fn walk(&self, tree: &Tree, fields: &Fields) {
        let (mut index, mut met) = (0, 0);
        while index < tree.len {
            let entries = self.store.tree_entries(tree, index).count() as u32;
            assert!(entries > 0);
            assert!(self.store.tree_index(tree, self.store.tree_place(tree, index)) <= index);
            (index, met) = (index + entries, met + entries);
        }
        assert_eq!((met as usize, self.store.tree_entries(tree, tree.len).count()), (fields.len(), 0));
        assert_eq!(self.store.tree_index(tree, u64::MAX), tree.len);
    }

    fn compare(&self) {
        self.mirror.compare(&self.store);
        for ((db, key), row) in &self.rows {
            let found = self.store.peek(Database(*db), key, self.now);
            let is_gone = row.expiry.is_some_and(|expiry| expiry <= self.now);
            assert_eq!(found.is_none(), is_gone);
            let Some(entry) = found else { continue };
            assert_eq!(entry.expiry, row.expiry);
            match (&row.kept, entry.value) {
                (ModelValue::String(bytes), value) => {
                    assert_eq!(super::mirror::bytes_of(&self.store, value), *bytes)
                }
                (ModelValue::Fields(kind, fields), Value::Collection(collection)) => {
                    assert_eq!(collection.kind(), *kind);
                    assert!(!matches!(collection, Collection::Packed(_)) || fields.len() <= PACKED_LEN_MAX);
                    self.compare_fields(&collection, fields);
                }
                (kept, value) => panic!("{kept:?} is {value:?}"),
            }
        }
        let live = self.rows.keys().filter(|(db, _)| *db == DB.0).count();
        assert_eq!(self.store.len(DB), live as u64);
    }

    fn step(&mut self) {
        match self.random.below(100) {
            ticket if ticket < self.removal_share => self.remove_field(),
            ticket if ticket < 85 => self.put_field(),
            ticket if ticket < 90 && self.timed_share > 0 => self.set_time(),
            ticket if ticket < 90 => self.put_field(),
            90..94 => self.change_key(),
            94..96 => self.snapshot(),
            96 if self.random.below(30) == 0 => {
                self.apply(&Mutation::Flush { db: Some(DB) });
                self.rows.retain(|(db, _), _| *db != DB.0);
            }
            96 => self.now = self.now.plus([1, 40, 200][self.random.below(3)]),
            97 if self.timed_share > 0 => self.now = self.now.plus(self.random.below(60) as u64),
            _ => {
                self.store.maintain(self.now, 2);
                self.listen();
            }
        }
    }

    /// Every field whose time has come goes by itself.
    fn expire(&mut self) {
        let is_over = |now: Millis, rows: &BTreeMap<(u8, Vec<u8>), Row>| {
            rows.values().all(|row| match &row.kept {
                ModelValue::Fields(_, fields) => {
                    fields.values().all(|(_, expiry)| expiry.is_none_or(|expiry| expiry > now))
                }
                ModelValue::String(_) => true,
            })
        };
        for _ in 0..20 {
            self.now = self.now.plus(2000);
            for _ in 0..10_000 {
                if !self.store.maintain(self.now, 1) {
                    break;
                }
                self.listen();
            }
            self.listen();
            self.store.invariants();
        }
        self.compare();
        assert!(is_over(self.now, &self.rows), "a field stays after its time");
    }

    /// Everything goes, and all memory is there again.
    fn empty(&mut self) {
        for Snapshot { tree, fields } in std::mem::take(&mut self.snapshots) {
            self.compare_fields(&Collection::Tree(tree), &fields);
            self.store.tree_release(&tree);
        }
        self.expire();
        self.apply(&Mutation::Flush { db: None });
        self.rows.clear();
        for _ in 0..100_000 {
            if !self.store.maintain(self.now, 1) {
                break;
            }
        }
        self.store.invariants();
        let memory = self.store.memory();
        assert_eq!((memory.live, memory.large, memory.large_free, self.store.large_count()), (0, 0, 0, 0));
    }
}

fn run(seeds: std::ops::Range<u64>, steps: usize, on_full: OnFull, segment_bytes: usize) {
    let steps = std::env::var("PANNIER_MODEL_STEPS").ok().and_then(|n| n.parse().ok()).unwrap_or(steps);
    for seed in seeds {
        let mut harness = Harness::new(seed, on_full, segment_bytes);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for step in 0..steps {
                harness.step();
                if step % 32 == 0 {
                    harness.store.invariants();
                }
                if step % 256 == 0 {
                    harness.compare();
                }
            }
            harness.compare();
            harness.empty();
        }));
        if std::env::var_os("PANNIER_MODEL_SHOW").is_some() {
            let (keys, refused, evicted) = (harness.rows.len(), harness.refused, harness.evicted);
            eprintln!(
                "{seed} {on_full:?} keys {keys} refused {refused} evicted {evicted} deepest {} expired {}",
                harness.deepest, harness.expired_fields
            );
        }
        if let Err(panic) = run {
            eprintln!("seed {seed}, {on_full:?}, segments of {segment_bytes}: {:?}", harness.store.memory());
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn collections_are_maps() {
    run(0..4, 1500, OnFull::Refuse, 1024);
    run(20..22, 2000, OnFull::Refuse, 4096);
}

#[test]
fn collections_that_are_evicted_are_maps_that_forget() {
    run(100..104, 1500, OnFull::Evict, 1024);
    run(120..122, 2000, OnFull::Evict, 4096);
}

#[test]
fn pages_of_the_shipped_size() {
    run(200..201, 2500, OnFull::Refuse, 65_536);
}

#[test]
#[ignore = "takes minutes"]
fn many_seeds() {
    for base in 0..20 {
        run(1000 + base * 10..1010 + base * 10, 6000, OnFull::Refuse, [1024, 2048, 4096][base as usize % 3]);
        run(9000 + base * 10..9010 + base * 10, 6000, OnFull::Evict, [1024, 2048, 4096][base as usize % 3]);
    }
}

#[test]
fn many_fields_come_and_go_and_a_copy_shares_them() {
    let config = StoreConfig { memory_bytes: 64 * 1024 * 1024, ..StoreConfig::default() };
    let (mut store, now) = (Store::new(config, [1, 2]).unwrap(), Millis(1));
    let count = 40_000_u32;
    for number in 0..count {
        let (field, value) = (number.to_string(), NewValue::Bytes(b"value"));
        let put = Mutation::PutField {
            db: DB,
            key: b"k",
            kind: CollectionKind::Hash,
            field: field.as_bytes(),
            value,
        };
        assert!(!store.apply(&put, now).unwrap().existed);
    }
    store.invariants();
    let entry = store.peek(DB, b"k", now).unwrap();
    let Value::Collection(collection @ Collection::Tree(tree)) = entry.value else { panic!("{entry:?}") };
    assert_eq!((tree.len, tree.height), (count, 3));
    assert_eq!(store.field(&collection, b"77", now), Some(Item::Bytes(b"value")));
    let copy = Mutation::Copy { db: DB, from: b"k", to_db: DB, to: b"copy" };
    let large = store.memory().large;
    store.apply(&copy, now).unwrap();
    assert_eq!(store.memory().large, large, "a copy shares its pages");
    for number in (0..count).filter(|number| number % 3 > 0) {
        let field = number.to_string();
        let remove =
            Mutation::RemoveField { db: DB, key: b"k", kind: CollectionKind::Hash, field: field.as_bytes() };
        assert!(store.apply(&remove, now).unwrap().existed);
    }
    store.invariants();
    store.apply(&Mutation::Delete { db: DB, key: b"copy" }, now).unwrap();
    store.apply(&Mutation::Delete { db: DB, key: b"k" }, now).unwrap();
    while store.maintain(now, 1) {}
    assert_eq!((store.memory().large, store.memory().large_free), (0, 0));
}
