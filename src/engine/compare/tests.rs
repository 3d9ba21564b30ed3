//! Long values compared in slices, while others write them.

use crate::engine::Engine;
use crate::engine::meter::TURN_UNITS;
use crate::engine::testing::{Bench, START};
use crate::{
    mutation::{CollectionKind, Database, Mutation, NewValue},
    time::Millis,
};

const LEN: usize = 1_500_000;

fn with_value(value: &[u8]) -> Bench {
    let mut bench = Bench::new();
    assert_eq!(bench.run_args(&[b"SET", b"k", value]), b"+OK\r\n");
    bench
}

#[test]
fn long_values_are_compared_in_slices() {
    let value = vec![b'v'; LEN];
    let mut other = value.clone();
    other[LEN - 1] = b'w';
    let mut bench = with_value(&value);
    for words in [
        &[b"DELIFEQ".as_slice(), b"k", &other] as &[&[u8]],
        &[b"DELEX", b"k", b"IFEQ", &other],
        &[b"DELEX", b"k", b"IFNE", &value],
    ] {
        assert_eq!(bench.run_args(words), b":0\r\n");
        assert!(bench.slices > 2 && bench.worst_units < 2 * u64::from(TURN_UNITS), "{}", bench.worst_units);
    }
    assert_eq!(bench.run_args(&[b"SET", b"k", b"x", b"IFEQ", &other]), b"$-1\r\n");
    assert!(bench.slices > 2);
    assert_eq!(bench.run_args(&[b"SET", b"k", b"x", b"IFEQ", &value]), b"+OK\r\n");
    assert_eq!(bench.run("GET k"), "$1\r\nx\r\n");
}

#[test]
fn a_value_that_changes_meanwhile_is_compared_again() {
    let value = vec![b'v'; LEN];
    let mut bench = with_value(&value);
    bench.between_slices = Some(|engine| {
        let write = Mutation::Write { db: Database(0), key: b"k", offset: 3, bytes: b"w" };
        engine.store.apply(&write, Millis(START)).unwrap();
    });
    assert_eq!(bench.run_args(&[b"DELIFEQ", b"k", &value]), b":0\r\n");
    assert_eq!(bench.run("EXISTS k"), ":1\r\n");
}

#[test]
fn a_client_that_leaves_midway_leaves_no_reference() {
    let value = vec![b'v'; LEN];
    let mut bench = with_value(&value);
    bench.leaves_midway = true;
    bench.run_args(&[b"DELIFEQ", b"k", &value]);
    bench.leaves_midway = false;
    assert_eq!(bench.run("DEL k"), ":1\r\n");
    while bench.engine.store.maintain(Millis(START), 100) {}
    assert_eq!(bench.engine.store.large_count(), 0);
}

fn becomes_a_hash(engine: &mut Engine) {
    let (db, key, now) = (Database(0), b"k", Millis(START));
    engine.store.apply(&Mutation::Delete { db, key }, now).unwrap();
    let (kind, value) = (CollectionKind::Hash, NewValue::Bytes(b"value"));
    engine.store.apply(&Mutation::PutField { db, key, kind, field: b"field", value }, now).unwrap();
}

#[test]
fn a_key_that_becomes_a_hash_meanwhile_leaves_no_reference() {
    let value = vec![b'v'; LEN];
    for words in [
        &[b"DELIFEQ".as_slice(), b"k", &value] as &[&[u8]],
        &[b"DELEX", b"k", b"IFEQ", &value],
        &[b"SET", b"k", b"x", b"IFEQ", &value],
    ] {
        let mut bench = with_value(&value);
        bench.between_slices = Some(becomes_a_hash);
        assert!(bench.run_args(words).starts_with(b"-WRONGTYPE"));
        while bench.engine.store.maintain(Millis(START), 100) {}
        assert_eq!(bench.engine.store.large_count(), 0);
    }
}
