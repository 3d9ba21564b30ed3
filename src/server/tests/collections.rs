//! Collections of very many entries: what a command, or a step of the store's maintenance, does in one turn stays bounded.

use super::*;
use crate::mutation::{CollectionKind, FieldExpiry, Tree};
use crate::store::{Collection, Value};

/// Entries of each collection: many times the units of work of a turn. `PANNIER_COLLECTION_ENTRIES` asks for another number.
const ENTRIES: u32 = 100_000;
/// Units of work of one step of the store's maintenance, at most: 100 µs.
const STEP_WORK_MAX: u64 = TURN_UNITS as u64;

fn entries() -> u32 {
    std::env::var("PANNIER_COLLECTION_ENTRIES").ok().and_then(|count| count.parse().ok()).unwrap_or(ENTRIES)
}

/// A server, and a hash and two others that no key has: a hash of which every other field has expired at [`NOW`], and a
/// set. Keys get them by reference, so that none of them is changed.
struct Large {
    target: Target,
    trees: [Tree; 3],
}

impl Large {
    fn new() -> Large {
        let mut target = Target::new();
        let store = &mut target.server.engine_mut().store;
        let before = Millis(NOW.unix.0 - 1);
        let (db, value) = (SPARE, NewValue::Bytes(b"v"));
        for number in 0..entries() {
            let field = format!("f{number}");
            let field = field.as_bytes();
            let time = if number % 2 == 0 { NOW.unix } else { NOW.unix.plus(9_000_000) };
            let expiry = FieldExpiry::Set(Some(time));
            for put in [
                Mutation::PutTimedField { db, key: b"timed", field, value, expiry },
                Mutation::PutField { db, key: b"hash", kind: CollectionKind::Hash, field, value },
                Mutation::PutField { db, key: b"set", kind: CollectionKind::Set, field, value },
            ] {
                store.apply(&put, before).expect("there is room");
            }
        }
        let trees = [&b"hash"[..], b"timed", b"set"].map(|key| {
            let Some(Value::Collection(Collection::Tree(tree))) =
                store.peek(db, key, before).map(|entry| entry.value)
            else {
                panic!("it has many entries")
            };
            store.tree_retain(&tree);
            store.apply(&Mutation::Delete { db, key }, before).expect("it is no put");
            tree
        });
        Large { target, trees }
    }

    /// Gives keys the collections as they were.
    fn restore(&mut self) {
        let [hash, timed, set] = self.trees;
        let store = &mut self.target.server.engine_mut().store;
        store.apply(&Mutation::Flush { db: Some(Database(0)) }, NOW.unix).expect("it is no put");
        for (key, tree) in [(&b"h"[..], hash), (b"timed", timed), (b"s", set), (b"t", set)] {
            let value = NewValue::Tree(tree);
            let put = Mutation::Put { db: Database(0), key, value, expiry: None };
            store.apply(&put, NOW.unix).expect("there is room");
        }
        self.target.server.close(self.target.id);
        self.target.id = self.target.server.open(PEER, NOW).expect("a free place");
    }

    /// Does what is due, step by step; the work of the worst.
    fn settle(&mut self, now: Now) -> u64 {
        let (mut worst, mut more) = (0, true);
        while more {
            work::take_units();
            more = self.target.server.engine_mut().store.maintain(now.unix, 1);
            worst = worst.max(work::take_units());
        }
        worst
    }
}

/// A command on so many fields of its key.
fn with_fields<'a>(head: &[&'a [u8]], fields: &'a [String], value: Option<&'a [u8]>) -> Vec<&'a [u8]> {
    let mut words = head.to_vec();
    for field in fields {
        words.push(field.as_bytes());
        words.extend(value);
    }
    words
}

#[test]
fn no_command_and_no_step_does_much_with_very_many_entries() {
    let mut large = Large::new();
    let fields: Vec<String> = (0..1_000).map(|number| format!("f{}", number * 7)).collect();
    let mut cases: Vec<Vec<&[u8]>> = [
        "DEL h",
        "UNLINK timed",
        "EXPIRE h 1",
        "PEXPIRE timed 1",
        "EXPIRE h -1",
        "RENAME h other",
        "RENAME h timed",
        "COPY h other",
        "COPY h timed REPLACE",
        "FLUSHALL",
        "FLUSHDB",
        "SET h v",
        "HGETALL h",
        "HGETALL timed",
        "HKEYS timed",
        "HVALS h",
        "HLEN timed",
        "HRANDFIELD timed",
        "HRANDFIELD timed 900000",
        "HRANDFIELD h -900000",
        "HSCAN timed 0 COUNT 1000000",
        "HSCAN h 0 MATCH *9*9*9* COUNT 1000000",
        "SMEMBERS s",
        "SINTER s t",
        "SINTERCARD 2 s t",
        "SINTERSTORE other s t",
        "SUNION s t",
        "SDIFF s t",
        "SDIFFSTORE s s t",
        "SPOP s",
        "SPOP s 900000",
        "SPOP s 1000000",
        "SRANDMEMBER s 900000",
        "SRANDMEMBER s -900000",
        "SSCAN s 0 COUNT 1000000",
        "MEMORY USAGE h",
        "OBJECT ENCODING h",
        "TYPE h",
        "DUMP h",
        "SORT s BY nosort LIMIT 0 1",
    ]
    .iter()
    .map(|line| line.split(' ').map(str::as_bytes).collect())
    .collect();
    for key in [&b"h"[..], b"timed"] {
        for head in [
            &[&b"HEXPIRE"[..], key, b"100", b"FIELDS", b"1000"] as &[&[u8]],
            &[b"HPEXPIREAT", key, b"1", b"FIELDS", b"1000"],
            &[b"HTTL", key, b"FIELDS", b"1000"],
            &[b"HPERSIST", key, b"FIELDS", b"1000"],
            &[b"HGETDEL", key, b"FIELDS", b"1000"],
            &[b"HGETEX", key, b"EX", b"100", b"FIELDS", b"1000"],
            &[b"HMGET", key],
            &[b"HDEL", key],
        ] {
            cases.push(with_fields(head, &fields, None));
        }
        cases.push(with_fields(&[b"HSETEX", key, b"EX", b"9", b"FIELDS", b"1000"], &fields, Some(b"w")));
        cases.push(with_fields(&[b"HSETEX", key, b"FNX", b"FIELDS", b"1000"], &fields, Some(b"w")));
        cases.push(with_fields(&[b"HSET", key], &fields, Some(b"w")));
    }
    cases.push(with_fields(&[b"SADD", b"s"], &fields, None));
    cases.push(with_fields(&[b"SREM", b"s"], &fields, None));
    cases.push(with_fields(&[b"SMISMEMBER", b"s"], &fields, None));
    for words in &cases {
        large.restore();
        let worst = large.target.ask(&command(words));
        assert!(worst <= TURN_WORK_MAX, "{}: {worst} units in one turn", shown(words));
        let worst = large.settle(later(5_000));
        assert!(worst <= STEP_WORK_MAX, "after {}: {worst} units in one step", shown(words));
    }
    // As parts of one transaction, which is one step: what is done whole does not depend on how much there is.
    large.restore();
    let lines = [
        "MULTI",
        "COPY h a",
        "RENAME h b",
        "EXPIRE b 1",
        "DEL timed",
        "COPY s c",
        "DEL s",
        "FLUSHALL",
        "EXEC",
    ];
    let transaction: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\r\n").into_bytes()).collect();
    let worst = large.target.ask(&transaction);
    assert!(worst <= TURN_WORK_MAX, "a transaction: {worst} units in one turn");
    assert!(large.settle(later(5_000)) <= STEP_WORK_MAX);
}

fn later(ms: u64) -> Now {
    Now { monotonic: NOW.monotonic.plus(ms), unix: NOW.unix.plus(ms), ..NOW }
}
