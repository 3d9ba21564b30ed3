//! Values that are put together in slices, against the same done with a vector of bytes.

use crate::config::ServerOptions;
use crate::engine::Engine;
use crate::engine::meter::TURN_UNITS;
use crate::engine::testing::{Bench, START};
use crate::{
    limits::MIB,
    mutation::{CollectionKind, Database, Mutation, NewValue},
    store::{OnFull, StoreConfig},
    time::Millis,
};

const LEN: usize = 1_500_003;

fn bytes(seed: u8) -> Vec<u8> {
    (0..LEN as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8 ^ seed).collect()
}

fn reply_of(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

fn written(value: &[u8], at: usize, part: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    value.resize(value.len().max(at + part.len()), 0);
    value[at..at + part.len()].copy_from_slice(part);
    value
}

#[track_caller]
fn assert_cut(bench: &Bench, what: &str) {
    assert!(bench.slices > 2, "{what}: {} slices", bench.slices);
    assert!(
        bench.worst_units < 2 * u64::from(TURN_UNITS),
        "{what}: {} units in one slice",
        bench.worst_units
    );
}

#[test]
fn a_gap_is_cleared_in_slices() {
    let mut bench = Bench::new();
    let far = 3 * MIB;
    for old in [&b""[..], b"short", &bytes(1)] {
        bench.run("DEL k");
        if !old.is_empty() {
            bench.run_args(&[b"SET", b"k", old]);
        }
        assert_eq!(bench.run(&format!("SETRANGE k {far} xyz")), format!(":{}\r\n", far + 3));
        assert_cut(&bench, "SETRANGE");
        assert!(
            bench.run_args(&[b"GET", b"k"]) == reply_of(&written(old, far, b"xyz")),
            "{} bytes",
            old.len()
        );
        bench.run("DEL k");
        bench.run_args(&[b"SET", b"k", old]);
        assert_eq!(bench.run(&format!("SETBIT k {} 1", far * 8 + 7)), ":0\r\n");
        assert_cut(&bench, "SETBIT");
        assert!(bench.run_args(&[b"GET", b"k"]) == reply_of(&written(old, far, b"\x01")));
        bench.run("DEL k");
        bench.run_args(&[b"SET", b"k", old]);
        let fields = format!("BITFIELD k SET u8 {} 7 INCRBY u8 {} 2 GET u8 {}", far * 8, far * 8, far * 8);
        assert_eq!(bench.run(&fields), "*3\r\n:0\r\n:9\r\n:9\r\n");
        assert_cut(&bench, "BITFIELD");
        assert!(bench.run_args(&[b"GET", b"k"]) == reply_of(&written(old, far, b"\x09")));
    }
}

#[test]
fn a_shared_value_is_copied_in_slices() {
    let mut bench = Bench::new();
    let value = bytes(3);
    bench.run_args(&[b"SET", b"k", &value]);
    for (command, expected) in [
        ("SETRANGE c 70000 abc", written(&value, 70_000, b"abc")),
        ("APPEND c tail", written(&value, LEN, b"tail")),
        ("SETBIT c 0 1", written(&value, 0, &[value[0] | 0x80])),
        ("BITFIELD c SET u8 16 1", written(&value, 2, b"\x01")),
    ] {
        assert_eq!(bench.run("COPY k c REPLACE"), ":1\r\n");
        let reply = bench.run(command);
        assert!(!reply.starts_with('-'), "{command}: {reply}");
        if expected == value {
            continue;
        }
        assert_cut(&bench, command);
        assert!(bench.run_args(&[b"GET", b"c"]) == reply_of(&expected), "{command}");
        assert!(bench.run_args(&[b"GET", b"k"]) == reply_of(&value), "{command}: the source is as it was");
    }
}

#[test]
fn long_parts_are_written_in_slices() {
    let mut bench = Bench::new();
    let (value, part) = (bytes(5), bytes(9)[..800_000].to_vec());
    for (verb, at) in [("APPEND", LEN), ("SETRANGE", 100_000), ("SETRANGE", LEN + 500_000)] {
        bench.run_args(&[b"SET", b"k", &value]);
        let offset = at.to_string();
        let words: &[&[u8]] = match verb {
            "APPEND" => &[b"APPEND", b"k", &part],
            _ => &[b"SETRANGE", b"k", offset.as_bytes(), &part],
        };
        let expected = written(&value, at, &part);
        assert_eq!(bench.run_args(words), format!(":{}\r\n", expected.len()).as_bytes());
        assert_cut(&bench, verb);
        assert!(bench.run_args(&[b"GET", b"k"]) == reply_of(&expected), "{verb} at {at}");
    }
}

#[test]
fn a_value_that_changes_meanwhile_is_written_as_it_is_then() {
    let mut bench = Bench::new();
    bench.run_args(&[b"SET", b"k", &bytes(3)]);
    bench.between_slices = Some(|engine| {
        let value = NewValue::Bytes(b"new");
        let put = Mutation::Put { db: Database(0), key: b"c", value, expiry: None };
        engine.store.apply(&put, Millis(START)).unwrap();
    });
    for (command, expected) in [
        ("APPEND c tail", "$7\r\nnewtail\r\n"),
        ("SETRANGE c 1 xx", "$3\r\nnxx\r\n"),
        ("SETBIT c 3 1", "$3\r\n~ew\r\n"),
        ("BITFIELD c SET u8 0 65", "$3\r\nAew\r\n"),
    ] {
        assert_eq!(bench.run("COPY k c REPLACE"), ":1\r\n");
        bench.run(command);
        assert_eq!(bench.run("GET c"), expected, "{command}");
    }
}

#[test]
fn a_new_time_to_live_stays_with_the_value_that_is_put_together() {
    let mut bench = Bench::new();
    bench.run_args(&[b"SET", b"k", &bytes(3)]);
    bench.run("COPY k c");
    bench.between_slices = Some(|engine| {
        let expiry = Some(Millis(START + 5_000));
        engine
            .store
            .apply(&Mutation::SetExpiry { db: Database(0), key: b"c", expiry }, Millis(START))
            .unwrap();
    });
    assert_eq!(bench.run("APPEND c tail"), format!(":{}\r\n", LEN + 4));
    assert_eq!(bench.run("PTTL c"), ":5000\r\n");
    assert!(bench.run_args(&[b"GET", b"c"]) == reply_of(&written(&bytes(3), LEN, b"tail")));
}

#[test]
fn nothing_is_left_of_a_client_that_leaves_midway() {
    let mut bench = Bench::new();
    bench.run_args(&[b"SET", b"k", &bytes(3)]);
    bench.run("COPY k c");
    bench.leaves_midway = true;
    for command in ["APPEND c tail", "SETBIT c 0 1", "BITFIELD c SET u8 0 1", "SETRANGE new 3000000 x"] {
        bench.run(command);
    }
    bench.leaves_midway = false;
    assert_eq!(bench.run("EXISTS new"), ":0\r\n");
    assert_eq!(bench.run("DEL c k"), ":2\r\n");
    while bench.engine.store.maintain(Millis(START), 100) {}
    assert_eq!(bench.engine.store.large_count(), 0);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut bench = Bench::new();
    bench.run_args(&[b"SET", b"k", &bytes(3)]);
    for command in ["SETRANGE k 100000000 x", "SETBIT k 800000000 1", "BITFIELD k SET u8 800000000 1"] {
        assert!(
            bench.run(command).starts_with("-OOM") || bench.run(command).starts_with("-ERR value of"),
            "{command}"
        );
    }
    assert!(bench.run_args(&[b"GET", b"k"]) == reply_of(&bytes(3)));
    assert_eq!(bench.engine.store.large_count(), 1);
}

fn becomes_a_hash(engine: &mut Engine) {
    let (db, key, now) = (Database(0), b"k", Millis(START));
    engine.store.apply(&Mutation::Delete { db, key }, now).unwrap();
    let (kind, value) = (CollectionKind::Hash, NewValue::Bytes(b"value"));
    engine.store.apply(&Mutation::PutField { db, key, kind, field: b"field", value }, now).unwrap();
}

#[test]
fn a_key_that_becomes_a_hash_meanwhile_leaves_no_reference() {
    let far = 3 * MIB;
    for command in [
        format!("SETRANGE k {far} xyz"),
        format!("SETBIT k {} 1", far * 8),
        format!("BITFIELD k SET u8 {} 7", far * 8),
    ] {
        let mut bench = Bench::new();
        bench.run_args(&[b"SET", b"k", &bytes(1)]);
        bench.between_slices = Some(becomes_a_hash);
        assert!(bench.run(&command).starts_with("-WRONGTYPE"), "{command}");
        while bench.engine.store.maintain(Millis(START), 100) {}
        assert_eq!(bench.engine.store.large_count(), 0, "{command}");
    }
}

#[test]
fn a_value_whose_key_is_evicted_for_its_successor_is_read_no_more() {
    let config = StoreConfig { memory_bytes: 8 * MIB, on_full: OnFull::Evict, ..StoreConfig::default() };
    let mut bench = Bench::with(ServerOptions::default(), config);
    bench.run_args(&[b"SET", b"k", &bytes(1)]);
    let mut count = 0;
    while bench.engine.store.memory().free > 2 * MIB as u64 {
        bench.run_args(&[b"SET", format!("key:{count}").as_bytes(), &[7; 1000]]);
        count += 1;
    }
    assert_eq!(bench.engine.store.statistics().evicted, 0);
    assert_eq!(bench.run(&format!("SETRANGE k {} xyz", 4 * MIB)), format!(":{}\r\n", 4 * MIB + 3));
    // The key was among those that were evicted: what others see is written into nothing.
    assert_eq!(bench.run("GETRANGE k 0 3"), "$4\r\n\0\0\0\0\r\n");
}
