//! Bits of values that are long enough for their commands to run in several slices, against bits counted one by one.

use crate::engine::{Engine, testing::Bench};
use crate::{
    mutation::{Database, Mutation},
    time::Millis,
};

/// Longer than a slice reads, and no multiple of anything.
const LEN: usize = 1_200_003;

fn bytes(seed: u8) -> Vec<u8> {
    (0..LEN as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect()
}

fn bit(bytes: &[u8], at: usize) -> bool {
    bytes[at / 8] & (0x80 >> (at % 8)) != 0
}

fn ones(bytes: &[u8], range: std::ops::Range<usize>) -> usize {
    range.filter(|at| bit(bytes, *at)).count()
}

fn put(bench: &mut Bench, key: &str, value: &[u8]) {
    assert_eq!(bench.run_args(&[b"SET", key.as_bytes(), value]), b"+OK\r\n");
}

#[test]
fn counting_and_searching_long_values_is_exact() {
    let mut bench = Bench::new();
    let value = bytes(0);
    put(&mut bench, "k", &value);
    for (command, range) in [
        ("BITCOUNT k", 0..8 * LEN),
        ("BITCOUNT k 3 -2", 24..8 * (LEN - 1)),
        ("BITCOUNT k 13 9000001 BIT", 13..9_000_002),
        ("BITCOUNT k 4200000 4200003 BIT", 4_200_000..4_200_004),
    ] {
        assert_eq!(bench.run(command), format!(":{}\r\n", ones(&value, range)), "{command}");
    }
    let mut clear = vec![0; LEN];
    clear[LEN - 2] = 0x10;
    put(&mut bench, "k", &clear);
    let only = 8 * (LEN - 2) + 3;
    assert_eq!(bench.run("BITPOS k 1"), format!(":{only}\r\n"));
    assert_eq!(bench.run(&format!("BITPOS k 1 {} -1 BIT", only + 1)), ":-1\r\n");
    assert_eq!(bench.run(&format!("BITPOS k 1 1000 {only} BIT")), format!(":{only}\r\n"));
    assert_eq!(bench.run(&format!("BITPOS k 1 1000 {} BIT", only - 1)), ":-1\r\n");
    put(&mut bench, "k", &vec![0xff; LEN]);
    assert_eq!(bench.run("BITPOS k 0"), format!(":{}\r\n", 8 * LEN));
    assert_eq!(bench.run("BITPOS k 0 5 -1"), ":-1\r\n");
}

#[test]
fn single_bits_of_long_values_are_set_in_place() {
    let mut bench = Bench::new();
    let value = bytes(0);
    put(&mut bench, "k", &value);
    for at in [0, 7, 8, 70_001, 8 * LEN - 1] {
        let before = i32::from(bit(&value, at));
        assert_eq!(bench.run(&format!("SETBIT k {at} {}", 1 - before)), format!(":{before}\r\n"));
        assert_eq!(bench.run(&format!("GETBIT k {at}")), format!(":{}\r\n", 1 - before));
        assert_eq!(bench.run(&format!("SETBIT k {at} {before}")), format!(":{}\r\n", 1 - before));
    }
    assert_eq!(bench.run(&format!("SETBIT k {} 1", 8 * LEN + 100)), ":0\r\n");
    assert_eq!(bench.run("STRLEN k"), format!(":{}\r\n", LEN + 13));
    assert_eq!(
        bench.run("BITFIELD k SET u16 9000000 43981 GET u16 9000000 INCRBY i8 #1000000 0"),
        format!(
            "*3\r\n:{}\r\n:43981\r\n:{}\r\n",
            u16::from_be_bytes([value[1_125_000], value[1_125_001]]),
            value[1_000_000] as i8
        )
    );
}

fn combined(operation: &str, sources: &[&[u8]]) -> Vec<u8> {
    let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let byte = |source: &&[u8], at| source.get(at).copied().unwrap_or(0);
    (0..len)
        .map(|at| {
            let bytes = sources.iter().map(|source| byte(source, at));
            match operation {
                "AND" => bytes.fold(0xff, |all, byte| all & byte),
                "OR" => bytes.fold(0, |all, byte| all | byte),
                "XOR" => bytes.fold(0, |all, byte| all ^ byte),
                _ => !byte(&sources[0], at),
            }
        })
        .collect()
}

#[test]
fn combinations_of_short_and_long_values_are_exact() {
    let mut bench = Bench::new();
    let long = [bytes(0), bytes(0x5a)[..700_001].to_vec()];
    let short = [b"some short bytes".to_vec(), vec![0xa5; 3_000]];
    put(&mut bench, "l0", &long[0]);
    put(&mut bench, "l1", &long[1]);
    put(&mut bench, "s0", &short[0]);
    put(&mut bench, "s1", &short[1]);
    let value = |name: &str| -> &[u8] {
        match name {
            "l0" => &long[0],
            "l1" => &long[1],
            "s0" => &short[0],
            "s1" => &short[1],
            _ => b"",
        }
    };
    for names in ["s0", "s0 s1", "s1 none s0", "l0", "l1 l0", "l0 l1 s0", "s1 l1 s0", "l0 none", "l0 l0"] {
        for operation in ["AND", "OR", "XOR", "NOT"] {
            if operation == "NOT" && names.contains(' ') {
                continue;
            }
            let sources: Vec<&[u8]> = names.split(' ').map(value).collect();
            let expected = combined(operation, &sources);
            let reply = bench.run(&format!("BITOP {operation} d {names}"));
            assert_eq!(reply, format!(":{}\r\n", expected.len()), "{operation} {names}");
            let actual = bench.run_args(&[b"GET", b"d"]);
            let header = format!("${}\r\n", expected.len());
            assert!(actual[header.len()..].starts_with(&expected), "{operation} {names}");
        }
    }
    // Into one of its own sources.
    assert_eq!(bench.run("BITOP XOR l0 l0 l1"), format!(":{LEN}\r\n"));
    let expected = combined("XOR", &[&long[0], &long[1]]);
    assert!(bench.run_args(&[b"GET", b"l0"]).windows(1_000).any(|window| window == &expected[..1_000]));
    bench.run("FLUSHALL");
    while bench.engine.store.maintain(Millis(bench.now), 100) {}
    assert_eq!(bench.engine.store.large_count(), 0, "nothing is held any more");
}

/// Changes every key that a command may be reading.
fn disturb(engine: &mut Engine) {
    let now = Millis(crate::engine::testing::START);
    for key in [b"k", b"l"] {
        for offset in [0, 600_000, 1_200_000] {
            let write = Mutation::Write { db: Database(0), key, offset, bytes: &[0x77; 5] };
            engine.store.apply(&write, now).unwrap();
        }
    }
}

#[test]
fn what_is_answered_is_what_the_value_was_when_the_command_began() {
    let mut bench = Bench::new();
    let (value, other) = (bytes(3), bytes(0x99));
    let start = |bench: &mut Bench| {
        put(bench, "k", &value);
        put(bench, "l", &other);
    };
    start(&mut bench);
    bench.between_slices = Some(disturb);
    assert_eq!(bench.run("BITCOUNT k"), format!(":{}\r\n", ones(&value, 0..8 * LEN)));
    bench.between_slices = None;
    start(&mut bench);
    bench.between_slices = Some(disturb);
    let expected = combined("XOR", &[&value, &other]);
    assert_eq!(bench.run("BITOP XOR d k l"), format!(":{LEN}\r\n"));
    bench.between_slices = None;
    let reply = bench.run_args(&[b"GET", b"d"]);
    assert!(reply[format!("${LEN}\r\n").len()..].starts_with(&expected));
    start(&mut bench);
    bench.between_slices = Some(disturb);
    let dumped = bench.run_args(&[b"DUMP", b"k"]);
    bench.between_slices = None;
    assert!(dumped.windows(LEN).any(|window| window == value));
}

#[test]
fn a_client_that_leaves_midway_leaves_nothing_behind() {
    let mut bench = Bench::new();
    put(&mut bench, "k", &vec![0; LEN]);
    put(&mut bench, "l", &bytes(1));
    let dumped = bench.run_args(&[b"DUMP", b"l"]);
    let header = dumped.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let payload = dumped[header..dumped.len() - 2].to_vec();
    let held = |bench: &mut Bench| {
        while bench.engine.store.maintain(Millis(bench.now), 100) {}
        bench.engine.store.large_count()
    };
    let before = held(&mut bench);
    bench.leaves_midway = true;
    for command in ["BITCOUNT k", "BITPOS k 1", "BITOP OR d k l", "BITOP NOT d k", "DUMP k"] {
        assert_eq!(bench.run(command), "", "{command} takes more than one slice");
        assert_eq!(held(&mut bench), before, "{command}");
    }
    assert_eq!(bench.run_args(&[b"RESTORE", b"new", b"0", &payload]), b"");
    assert_eq!(held(&mut bench), before);
    assert_eq!(bench.run("EXISTS d new"), ":0\r\n");
}

#[test]
fn bits_that_stay_as_they_are_change_no_key() {
    let mut bench = Bench::new();
    bench.run("SET k a");
    put(&mut bench, "l", &bytes(0));
    let revision = |bench: &Bench| bench.engine.store.revision();
    let before = revision(&bench);
    for command in [
        "SETBIT k 0 0",
        "SETBIT k 1 1",
        "BITFIELD k SET u8 0 97",
        "BITFIELD k INCRBY u4 4 0",
        "BITFIELD k OVERFLOW FAIL INCRBY u4 4 100",
        "BITFIELD k GET u8 0",
        "BITFIELD l INCRBY i16 70000 0",
    ] {
        bench.run(command);
        assert_eq!(revision(&bench), before, "{command}");
    }
    for command in ["SETBIT k 7 0", "SETBIT k 9 0", "BITFIELD k SET u8 0 1", "BITFIELD l INCRBY i16 70000 1"]
    {
        let before = revision(&bench);
        bench.run(command);
        assert!(revision(&bench) > before, "{command}");
    }
}
