//! What a field of a hash costs: bytes beside its name and its value, and the time of the slowest operation on a hash of a
//! million fields, of what goes on with the whole of it included.

use super::{DB, NOW, key, store};
use pannier::limits::MIB;
use pannier::mutation::{CollectionKind, Mutation, NewValue};
use pannier::store::{OnFull, Store, Value};
use pannier::time::Millis;
use std::time::Instant;

const FIELD_BYTES: usize = 8;
const VALUE: [u8; 16] = [7; 16];
const BIG: &[u8] = b"big";
const COPY: &[u8] = b"copy";
/// Steps that the reactor has the store do between two turns.
const STEPS: usize = 4;
/// The machine's own pauses drop out: of each operation the least time of so many runs counts.
const RUNS: usize = 5;
const KIND: CollectionKind = CollectionKind::Hash;

fn field(number: u32) -> [u8; FIELD_BYTES] {
    let mut field = *b"f0000000";
    let (mut rest, mut at) = (number, FIELD_BYTES);
    while rest > 0 {
        at -= 1;
        field[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    field
}

fn put_field(store: &mut Store, key: &[u8], number: u32) {
    let (field, value) = (field(number), NewValue::Bytes(&VALUE));
    let mutation = Mutation::PutField { db: DB, key, kind: KIND, field: &field, value };
    store.apply(&mutation, NOW).expect("there is room");
}

/// Bytes of so many hashes of so many fields each, the table of segments included.
fn bytes_of(hashes: u64, fields: u32) -> f64 {
    let bytes = hashes as usize * (120 + fields as usize * 40);
    let mut store = store(bytes + 8 * MIB, OnFull::Refuse);
    for number in 0..hashes {
        (0..fields).for_each(|field| put_field(&mut store, &key(number), field));
    }
    assert_eq!(store.len(DB), hashes);
    while store.maintain(NOW, STEPS) {}
    let memory = store.memory();
    (memory.live + memory.index + memory.large) as f64
}

pub fn bytes_for_each_field(hashes: u64, fields: u32) {
    let given = (FIELD_BYTES + VALUE.len()) as f64;
    let (twenty, ten) = (bytes_of(hashes, 20), bytes_of(hashes, 10));
    println!("fields of {FIELD_BYTES} + {} bytes: bytes beside these that each takes", VALUE.len());
    let more = (twenty - ten) / (hashes * 10) as f64 - given;
    println!("in hashes of 20: one field more {more:.2}");
    let key_bytes = hashes as f64 * 16.0;
    let share = (twenty - key_bytes) / (hashes * 20) as f64 - given;
    println!("in hashes of 20, with its share of the record and the index: {share:.2}");
    println!("in one hash of {fields}, in pages: {:.2}", bytes_of(1, fields) / f64::from(fields) - given);
}

/// The least time of each operation of a row over several runs.
#[derive(Default)]
struct Row {
    least_ns: Vec<u32>,
    at: usize,
}

impl Row {
    fn time<T>(&mut self, operation: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let result = operation();
        let ns = begin.elapsed().as_nanos() as u32;
        match self.least_ns.get_mut(self.at) {
            Some(least) => *least = ns.min(*least),
            None => self.least_ns.push(ns),
        }
        self.at += 1;
        result
    }

    /// What the store does by itself until there is nothing left to do.
    fn maintain(&mut self, store: &mut Store, now: Millis) {
        while self.time(|| store.maintain(now, STEPS)) {}
    }

    fn print(&mut self, name: &str) {
        self.least_ns.sort_unstable();
        let (count, us) = (self.least_ns.len(), |ns: u32| f64::from(ns) / 1000.0);
        let (slowest, median) = (self.least_ns[count - 1], self.least_ns[count / 2]);
        println!("{name:<40} {count:>8} {:>9.2} {:>9.2}", us(slowest), us(median));
    }
}

const ROWS: [&str; 14] = [
    "HSET of a new field",
    "HGET",
    "HSET of a field that is there",
    "HPEXPIRE",
    "fields that expire, a slice",
    "HDEL",
    "EXPIRE, RENAME, COPY, PERSIST",
    "HSET after COPY, which copies pages",
    "HDEL after COPY, which copies pages",
    "DEL",
    "freeing after DEL, a slice",
    "FLUSHDB",
    "freeing after FLUSHDB, a slice",
    "freeing after EXPIRE, a slice",
];

pub fn slowest_operations(fields: u32) {
    let mut rows = ROWS.map(|_| Row::default());
    for _ in 0..RUNS {
        rows.iter_mut().for_each(|row| row.at = 0);
        run(&mut rows, fields);
    }
    println!(
        "one hash of {fields} fields              operations   slowest    median, µs (least of {RUNS} runs)"
    );
    rows.iter_mut().zip(ROWS).for_each(|(row, name)| row.print(name));
}

fn run(rows: &mut [Row; ROWS.len()], fields: u32) {
    let [put, get, replace, expire, sweep, delete, whole, put_shared, delete_shared, freed @ ..] = rows;
    let mut store = store(fields as usize * 120 + 16 * MIB, OnFull::Refuse);
    let store = &mut store;
    (0..fields).for_each(|number| put.time(|| put_field(store, BIG, number)));
    for number in 0..fields {
        let is_there = get.time(|| has_field(store, number));
        assert!(is_there, "it was put");
    }
    (0..fields).for_each(|number| replace.time(|| put_field(store, BIG, number)));
    expire_fields(store, (expire, sweep), fields);
    // What follows finds a whole hash again.
    (0..fields).for_each(|number| put_field(store, BIG, number));
    whole_key(store, whole);
    (0..fields / 2).for_each(|number| put_shared.time(|| put_field(store, BIG, number)));
    (fields / 2..fields).for_each(|number| delete_shared.time(|| delete_field(store, number)));
    (0..fields / 2).for_each(|number| delete.time(|| delete_field(store, number)));
    assert!(store.peek(DB, BIG, NOW).is_none(), "the last field was deleted");
    free(store, freed);
}

/// Half of the fields get a time, and go when it has come; the other half keep theirs.
fn expire_fields(store: &mut Store, (expire, sweep): (&mut Row, &mut Row), fields: u32) {
    for number in 0..fields {
        let (field, late) = (field(number), if number % 2 == 0 { 1000 } else { 1_000_000_000 });
        let expiry = Some(NOW.plus(late));
        let mutation = Mutation::SetFieldExpiry { db: DB, key: BIG, field: &field, expiry };
        assert!(expire.time(|| store.apply(&mutation, NOW)).expect("there is room").existed);
    }
    sweep.maintain(store, NOW.plus(2000));
    assert_eq!(store.statistics().expired_fields, u64::from(fields / 2));
}

fn has_field(store: &mut Store, number: u32) -> bool {
    let Some((store, entry)) = store.read(DB, BIG, NOW) else { return false };
    let Value::Collection(collection) = entry.value else { return false };
    store.field(&collection, &field(number), NOW).is_some()
}

fn delete_field(store: &mut Store, number: u32) {
    let field = field(number);
    let mutation = Mutation::RemoveField { db: DB, key: BIG, kind: KIND, field: &field };
    assert!(store.apply(&mutation, NOW).expect("there is room").existed);
}

/// What changes a key without looking at its fields; a copy stays.
fn whole_key(store: &mut Store, row: &mut Row) {
    let name = |from, to| Mutation::Rename { db: DB, from, to_db: DB, to };
    for mutation in [
        Mutation::SetExpiry { db: DB, key: BIG, expiry: Some(NOW.plus(1_000_000)) },
        name(BIG, b"another"),
        name(b"another", BIG),
        Mutation::SetExpiry { db: DB, key: BIG, expiry: None },
        Mutation::Copy { db: DB, from: BIG, to_db: DB, to: COPY },
    ] {
        assert!(row.time(|| store.apply(&mutation, NOW)).expect("there is room").existed);
    }
}

/// The copy is all there is: it is deleted, flushed and expires, from further copies of its own.
fn free(store: &mut Store, rows: &mut [Row]) {
    let [delete, deleted, flush, flushed, expired] = rows else { unreachable!("five rows are left") };
    let fields = len(store, COPY);
    delete.time(|| store.apply(&Mutation::Delete { db: DB, key: COPY }, NOW)).expect("never refused");
    deleted.maintain(store, NOW);
    (0..fields).for_each(|number| put_field(store, BIG, number));
    flush.time(|| store.apply(&Mutation::Flush { db: Some(DB) }, NOW)).expect("never refused");
    flushed.maintain(store, NOW);
    (0..fields).for_each(|number| put_field(store, BIG, number));
    let expiry = Some(NOW.plus(1000));
    store.apply(&Mutation::SetExpiry { db: DB, key: BIG, expiry }, NOW).expect("there is room");
    expired.maintain(store, NOW.plus(5000));
    let memory = store.memory();
    assert_eq!((store.len(DB), memory.live, memory.large), (0, 0, 0), "all of it is freed");
}

fn len(store: &Store, key: &[u8]) -> u32 {
    match store.peek(DB, key, NOW).map(|entry| entry.value) {
        Some(Value::Collection(collection)) => collection.len() as u32,
        _ => panic!("it is a hash"),
    }
}
