//! SORT beside a plain sort, for sets of every length; and that a long one holds nobody up.

use crate::engine::meter::TURN_UNITS;
use crate::engine::testing::{Bench, START};
use crate::limits::MIB;
use crate::store::StoreConfig;
use crate::time::Millis;

fn bench() -> Bench {
    let store = StoreConfig { memory_bytes: 96 * MIB, ..StoreConfig::default() };
    Bench::with(crate::config::ServerOptions::default(), store)
}

fn add(bench: &mut Bench, members: &[String]) {
    for chunk in members.chunks(500) {
        let line = format!("SADD s {}", chunk.join(" "));
        assert!(bench.run(&line).starts_with(':'));
    }
}

/// The strings of an array's reply; "-" is null.
fn strings(reply: &str) -> Vec<String> {
    let mut lines = reply.split("\r\n").skip(1);
    let mut strings = Vec::new();
    while let Some(header) = lines.next().filter(|line| !line.is_empty()) {
        strings.push(if header == "$-1" { "-" } else { lines.next().unwrap() }.to_owned());
    }
    strings
}

fn assert_nothing_is_held(bench: &mut Bench) {
    bench.run("FLUSHALL");
    while bench.engine.store.maintain(Millis(START), 100) {}
    assert_eq!(bench.engine.store.large_count(), 0);
    bench.engine.store.invariants();
}

#[test]
fn sets_of_every_length_are_sorted() {
    let mut bench = bench();
    for len in [1, 2, 15, 16, 17, 31, 33, 128, 129, 1_000, 5_000_u64] {
        let mut numbers: Vec<i64> =
            (0..len).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) as i64 - (1 << 43)).collect();
        let members: Vec<String> = numbers.iter().map(i64::to_string).collect();
        add(&mut bench, &members);
        numbers.sort_unstable();
        let mut expected: Vec<String> = numbers.iter().map(i64::to_string).collect();
        assert_eq!(strings(&bench.run("SORT s")), expected);
        let (from, to) = (expected.len() / 3, (expected.len() / 3 + 10).min(expected.len()));
        let part = bench.run(&format!("SORT s LIMIT {from} 10"));
        assert_eq!(strings(&part), expected[from..to]);
        expected.reverse();
        assert_eq!(strings(&bench.run("SORT_RO s DESC")), expected);
        expected.sort();
        assert_eq!(strings(&bench.run("SORT s ALPHA")), expected);
        bench.run("DEL s");
    }
    assert_nothing_is_held(&mut bench);
}

#[test]
fn weights_and_what_is_got_are_those_of_other_keys() {
    let mut bench = bench();
    add(&mut bench, &["a".to_owned(), "b".to_owned(), "c".to_owned(), "d".to_owned()]);
    for line in ["SET w_a 3", "SET w_b 1", "SET w_c 2", "HSET h_a f second", "HSET h_b f first", "SET h_c x"]
    {
        bench.run(line);
    }
    let cases = [
        ("SORT s BY w_*", "d b c a"),
        ("SORT s BY w_* DESC", "a c b d"),
        ("SORT s BY w_* GET # GET h_*->f", "d - b first c - a second"),
        ("SORT s BY h_*->f ALPHA", "c d b a"),
        ("SORT s BY w_* LIMIT 1 2 GET w_*", "1 2"),
        ("SORT s BY none_* GET none", "- - - -"),
        ("SORT s BY none_*", "a b c d"),
        ("SORT s ALPHA GET w_*->f", "- - - -"),
        // An arrow with nothing behind it is a part of the key.
        ("SORT s ALPHA LIMIT 0 1 GET w_*->", "-"),
        ("SORT s ALPHA LIMIT -5 2", "a b"),
        ("SORT s ALPHA LIMIT 2 -5", "c d"),
        ("SORT s ALPHA LIMIT 9 2", ""),
        ("SORT s ALPHA LIMIT 0 0", ""),
    ];
    for (line, expected) in cases {
        assert_eq!(strings(&bench.run(line)).join(" "), expected, "{line}");
    }
    assert_eq!(bench.run("SORT s"), "-ERR One or more scores can't be converted into double\r\n");
    assert_eq!(bench.run("SORT s BY h_*"), "-ERR One or more scores can't be converted into double\r\n");
    let mut any = strings(&bench.run("SORT s BY nosort"));
    any.sort();
    assert_eq!(any.join(" "), "a b c d");
    bench.run("SADD n 3 1 2");
    assert_eq!(strings(&bench.run("SORT n BY nosort DESC")).join(" "), "1 2 3");
    // A result that is a list has nowhere to go.
    assert!(bench.run("SORT s ALPHA STORE w_a").starts_with("-ERR "));
    assert_eq!(bench.run("GET w_a"), "$1\r\n3\r\n");
    assert_eq!(bench.run("SORT s ALPHA LIMIT 9 9 STORE w_a"), ":0\r\n");
    assert_eq!(bench.run("EXISTS w_a"), ":0\r\n");
    assert_nothing_is_held(&mut bench);
}

#[test]
fn long_members_and_what_is_alike_for_long_are_sorted() {
    let mut bench = bench();
    let mut members: Vec<String> =
        (0..200).map(|at| format!("{}{}", "x".repeat(900 + at % 7 * 500), (at * 37) % 200)).collect();
    for member in &members {
        bench.run_args(&[b"SADD", b"s", member.as_bytes()]);
    }
    members.sort();
    assert!(strings(&bench.run("SORT s ALPHA")) == members);
    for member in &members {
        let key = format!("w{}", &member[member.len() - 5..]);
        bench.run_args(&[b"SET", key.as_bytes(), &[b'y'; 20_000]]);
    }
    assert!(strings(&bench.run("SORT s BY w* ALPHA DESC")).len() == 200);
    assert!(bench.worst_units <= 2 * u64::from(TURN_UNITS), "{} units", bench.worst_units);
    assert_nothing_is_held(&mut bench);
}

#[test]
fn others_wait_for_a_slice_of_a_long_sort_and_no_longer() {
    let mut bench = bench();
    let members: Vec<String> = (0..100_000).map(|at: u64| (at * 7_919 % 100_003).to_string()).collect();
    add(&mut bench, &members);
    for line in ["SORT s LIMIT 99990 10", "SORT s ALPHA DESC GET # GET w_*", "SORT s BY w_* GET w_*->f"] {
        let reply = bench.run(line);
        assert!(reply.starts_with('*'), "{reply}");
        assert!(bench.slices > 100, "{} slices", bench.slices);
        assert!(bench.worst_units <= 2 * u64::from(TURN_UNITS), "{} units", bench.worst_units);
    }
    // What changes meanwhile is not seen: the set is the one that was there.
    bench.between_slices = Some(|engine| {
        let delete = crate::mutation::Mutation::Delete { db: crate::mutation::Database(0), key: b"s" };
        engine.store.apply(&delete, Millis(START)).unwrap();
    });
    assert_eq!(strings(&bench.run("SORT s LIMIT 0 3")).join(" "), "0 1 2");
    bench.between_slices = None;
    add(&mut bench, &members);
    // Who goes away leaves nothing behind.
    bench.leaves_midway = true;
    bench.run("SORT s");
    bench.leaves_midway = false;
    assert_nothing_is_held(&mut bench);
}
