//! The whole table of verbs with hostile sizes: what takes many arguments or long patterns is cut into slices, or bounded.

use crate::command::{Flags, VERBS, VerbId};
use crate::engine::testing::Bench;
use crate::wire::glob::PATTERN_BYTES_MAX;

/// Arguments of a command, far more than fit into one turn's work.
const MANY: usize = 4_000;

/// Verbs that must be one step: all of their keys change together, or none.
const ONE_STEP: [VerbId; 4] = [VerbId::Mset, VerbId::Msetnx, VerbId::Msetex, VerbId::Bitop];

#[test]
fn no_verb_does_much_for_many_arguments_in_one_slice() {
    let mut uncut = Vec::new();
    for verb in VERBS.iter().filter(|verb| {
        verb.arity < 0 && !verb.flags.has(Flags::CONTAINER) && !verb.flags.has(Flags::CONNECTION)
    }) {
        for word in ["k", "get", "*"] {
            let mut bench = Bench::new();
            let mut words: Vec<&[u8]> = verb.name.split('|').map(str::as_bytes).collect();
            words.resize(MANY, word.as_bytes());
            let reply = bench.run_args(&words);
            let is_cut = bench.slices > 1 || ONE_STEP.contains(&verb.id);
            if !reply.starts_with(b"-") && !is_cut {
                uncut.push((verb.name, word));
            }
        }
    }
    assert_eq!(uncut, [], "these do {MANY} arguments in one slice");
}

#[test]
fn counts_and_values_are_whole_although_they_are_made_in_slices() {
    let mut bench = Bench::new();
    for number in 0..1_000 {
        bench.run(&format!("SET key:{number} {number}"));
    }
    let keys: Vec<String> = (0..2_000).map(|number| format!("key:{number}")).collect();
    let words = |verb: &'static str| -> Vec<&[u8]> {
        std::iter::once(verb.as_bytes()).chain(keys.iter().map(|key| key.as_bytes())).collect()
    };
    assert_eq!(bench.run_args(&words("EXISTS")), b":1000\r\n");
    assert!(bench.slices > 2);
    let reply = bench.run_args(&words("MGET"));
    assert!(reply.starts_with(b"*2000\r\n$1\r\n0\r\n") && reply.ends_with(b"$-1\r\n"));
    assert_eq!(reply.iter().filter(|byte| **byte == b'$').count(), 2_000);
    assert_eq!(bench.run_args(&words("DEL")), b":1000\r\n");
    assert_eq!(bench.run("DBSIZE"), ":0\r\n");
}

#[test]
fn long_patterns_are_refused_by_every_verb_that_takes_one() {
    let mut bench = Bench::new();
    let long = vec![b'*'; PATTERN_BYTES_MAX + 1];
    for words in [
        &[b"KEYS".as_slice(), &long] as &[&[u8]],
        &[b"SCAN", b"0", b"MATCH", &long],
        &[b"CONFIG", b"GET", &long],
        &[b"COMMAND", b"LIST", b"FILTERBY", b"PATTERN", &long],
    ] {
        let reply = String::from_utf8_lossy(&bench.run_args(words)).into_owned();
        assert!(reply.starts_with("-ERR pattern of 102"), "{reply}");
    }
    // Many short ones together are as long.
    let words: Vec<&[u8]> =
        [b"CONFIG".as_slice(), b"GET"].into_iter().chain([b"*a*b".as_slice(); 300]).collect();
    assert!(bench.run_args(&words).starts_with(b"-ERR pattern of 1500 bytes"));
}

#[test]
fn the_work_of_patterns_is_charged() {
    let mut bench = Bench::new();
    let key = "a".repeat(60_000);
    bench.run_args(&[b"SET", key.as_bytes(), b"v"]);
    let pattern = format!("*{}b", "a".repeat(60));
    assert!(bench.run(&format!("SCAN 0 MATCH {pattern}")).ends_with("\r\n*0\r\n"));
    assert!(bench.engine.meter.is_spent(), "the turn ends with it");
}
