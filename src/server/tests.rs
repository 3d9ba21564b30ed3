//! The whole table of verbs with hostile sizes, through a server: 50,000 arguments, patterns of 64 KB, values of 8 MB,
//! thousands of connections. What is counted is work ([`crate::work`]), where it is done, whether or not a verb charges its
//! meter: a verb that does much of it in one turn fails here, a new one too.

use super::testing::{self, NOW, PEER};
use super::*;
use crate::command::{Flags, VERBS, Verb, VerbId};
use crate::config::ServerOptions;
use crate::engine::dispatch::is_one_step;
use crate::engine::meter::TURN_UNITS;
use crate::limits::KIB;
use crate::mutation::{Database, Mutation, NewValue};
use crate::store::StoreConfig;
use crate::time::Millis;
use crate::work;
use std::io::{IoSlice, IoSliceMut};

const ARGUMENTS: usize = 50_000;
const LARGE_BYTES: usize = 8 * MIB;
const CLIENTS: usize = 2_000;
/// Units of work of one turn, at most: 300 µs. A turn ends when its meter is spent, with the last thing done on top.
const TURN_WORK_MAX: u64 = 3 * TURN_UNITS as u64;
/// A database that no command of these tests names: what is restored comes from there.
const SPARE: Database = Database(15);

/// A server with keys, a large value, and many connections.
struct Target {
    server: Server,
    id: ConnectionId,
}

impl Target {
    fn new() -> Target {
        let config = StoreConfig { memory_bytes: 192 * MIB, ..StoreConfig::default() };
        let options = ServerOptions { max_clients: CLIENTS, ..ServerOptions::default() };
        let (input_bytes, output_bytes, queue_bytes) = (64 * MIB, 32 * MIB, 16 * MIB);
        let resources = Resources { input_bytes, output_bytes, queue_bytes, ..Resources::default() };
        let mut server = testing::server(config, options, resources);
        let id = server.open(PEER, NOW).expect("a free place");
        (1..CLIENTS).for_each(|_| _ = server.open(PEER, NOW).expect("a free place"));
        let mut target = Target { server, id };
        target.ask(b"SELECT 15\r\n");
        target.ask(&command(&[b"SET", b"big", &vec![b'x'; LARGE_BYTES]]));
        target.ask(b"SELECT 0\r\n");
        target
    }

    /// Puts back what a command before may have taken away.
    fn restore(&mut self) {
        let store = &mut self.server.engine_mut().store;
        let copies = [&b"big"[..], b"other"].map(|to| {
            store.apply(&Mutation::Copy { db: SPARE, from: b"big", to_db: Database(0), to }, NOW.unix)
        });
        if copies.iter().any(|copied| !copied.is_ok_and(|applied| applied.existed)) {
            *self = Target::new();
            return self.restore();
        }
        for number in 0..3_000_u32 {
            let key = format!("key:{number:04}:{}", "a".repeat(60));
            let value = NewValue::Bytes(b"17");
            let put = Mutation::Put { db: Database(0), key: key.as_bytes(), value, expiry: None };
            store.apply(&put, NOW.unix).expect("there is room");
        }
        while store.maintain(NOW.unix, 100) {}
        // A state of its own for each command: no transaction, no pause of replies, another database.
        self.server.close(self.id);
        self.id = self.server.open(PEER, NOW).expect("a free place");
    }

    /// Runs a command to its end; the units of work of its worst turn.
    fn ask(&mut self, bytes: &[u8]) -> u64 {
        let (mut rest, mut worst) = (bytes, 0);
        loop {
            let taken = self.receive(rest);
            rest = &rest[taken..];
            work::take_units();
            let more = self.server.run(self.id, NOW);
            worst = worst.max(work::take_units());
            let sent = self.take_output();
            while self.server.poll_wake().is_some() {}
            let is_moving = more || sent > 0 || taken > 0 || self.server.is_replying(self.id);
            if self.server.is_finished(self.id) || !is_moving {
                return worst;
            }
            self.server.engine_mut().store.maintain(NOW.unix, 16);
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        if bytes.is_empty() {
            return 0;
        }
        if self.server.has_body(self.id) {
            let mut spaces: [IoSliceMut<'_>; 8] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
            let count = self.server.input_spaces(self.id, NOW, &mut spaces);
            for space in &mut spaces[..count] {
                let len = space.len().min(bytes.len() - taken);
                space[..len].copy_from_slice(&bytes[taken..taken + len]);
                taken += len;
            }
        } else if let Some(space) = self.server.input_space(self.id, NOW) {
            taken = space.len().min(bytes.len());
            space[..taken].copy_from_slice(&bytes[..taken]);
        }
        if taken > 0 {
            self.server.input_received(self.id, taken, NOW);
        }
        taken
    }

    fn take_output(&mut self) -> usize {
        let mut taken = 0;
        loop {
            let mut slices = [IoSlice::new(&[]); 8];
            let count = self.server.output(self.id, &mut slices);
            let len: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            if len == 0 {
                return taken;
            }
            self.server.output_sent(self.id, len, NOW);
            taken += len;
        }
    }
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The rows that a client can ask for, but those that end or hold the server.
fn verbs() -> impl Iterator<Item = &'static Verb> {
    let ends = |id| matches!(id, VerbId::Shutdown | VerbId::Debug | VerbId::ClientPause);
    VERBS.iter().filter(move |verb| !verb.flags.has(Flags::CONTAINER) && !ends(verb.id))
}

/// Words of the verb's own name.
fn name_len(verb: &Verb) -> usize {
    verb.name.split('|').count()
}

/// The verb, and as many more words as it takes at least.
fn words_of<'a>(verb: &'static Verb, fill: &'a [u8]) -> Vec<&'a [u8]> {
    let mut words: Vec<&'a [u8]> = verb.name.split('|').map(str::as_bytes).collect();
    let count = usize::from(verb.arity.unsigned_abs()).max(words.len());
    words.resize(count, fill);
    words
}

fn shown(words: &[&[u8]]) -> String {
    let cut: Vec<_> = words.iter().take(6).map(|word| &word[..word.len().min(20)]).collect();
    format!("{} ({} words)", String::from_utf8_lossy(&cut.join(&b' ')), words.len())
}

/// Asks with every verb in the ways that `ways` gives; those that do too much in one turn are the test's failure.
fn sweep<'a>(ways: impl Fn(&'static Verb) -> Vec<Vec<&'a [u8]>>) {
    let mut target = Target::new();
    let mut found = Vec::new();
    for words in verbs().flat_map(ways) {
        target.restore();
        let worst = target.ask(&command(&words));
        if worst > TURN_WORK_MAX {
            found.push((shown(&words), worst));
        }
    }
    assert_eq!(found, [], "units of work in one turn");
}

#[test]
fn no_verb_does_much_in_one_turn_for_very_many_arguments() {
    sweep(|verb| {
        let mut ways = Vec::new();
        for word in [&b"k"[..], b"get", b"*"].into_iter().filter(|_| verb.arity < 0) {
            for count in [ARGUMENTS, ARGUMENTS + 1].into_iter().filter(|_| !is_one_step(verb.id)) {
                let mut words = words_of(verb, word);
                words.resize(count, word);
                ways.push(words);
            }
        }
        ways
    });
}

#[test]
fn no_verb_does_much_in_one_turn_for_long_patterns() {
    let long = [b"*a".repeat(32 * KIB - 1), b"b".to_vec()].concat();
    let short = [b"*".to_vec(), b"a".repeat(60), b"b".to_vec()].concat();
    sweep(|verb| {
        let (mut ways, first) = (Vec::new(), name_len(verb));
        for pattern in [&long, &short] {
            let words = words_of(verb, b"0");
            let end = if verb.arity < 0 { words.len().max(first + 1) } else { words.len() };
            for at in first..end {
                let mut words = words.clone();
                words.resize(end, b"0");
                words[at] = pattern;
                ways.push(words);
            }
            if verb.arity < 0 {
                let mut words = words;
                words.extend([&b"MATCH"[..], pattern]);
                ways.push(words);
            }
        }
        ways
    });
}

#[test]
fn no_verb_does_much_in_one_turn_for_large_values() {
    let far = (LARGE_BYTES * 2).to_string().into_bytes();
    sweep(|verb| {
        let (mut ways, first) = (Vec::new(), name_len(verb));
        for fills in [[&b"0"[..], b"-1"], [&far, b"1"], [b"other", b"1"], [b"1", b"0"]] {
            for extra in 0..if verb.arity < 0 { 3 } else { 1 } {
                let mut words = words_of(verb, b"big");
                words.resize(words.len() + extra, b"big");
                for (at, word) in words.iter_mut().enumerate().skip(first + 1) {
                    *word = fills[(at - first - 1) % 2];
                }
                ways.push(words);
            }
        }
        ways
    });
}

#[test]
fn no_verb_does_much_in_one_turn_for_large_arguments() {
    let large = vec![b'x'; LARGE_BYTES];
    sweep(|verb| {
        let (mut words, first) = (words_of(verb, b"1"), name_len(verb));
        let end = words.len();
        // What reads gets no value; its argument is thrown away as it comes.
        if !verb.flags.has(Flags::WRITE) || end < first + 2 {
            return Vec::new();
        }
        words[first] = b"big";
        words[end - 1] = &large;
        vec![words]
    });
}

#[test]
fn options_that_make_verbs_work_on_large_values_are_cut() {
    let far = (LARGE_BYTES * 2 * 8).to_string();
    let large = vec![b'x'; LARGE_BYTES];
    let mut target = Target::new();
    for words in [
        &[&b"SET"[..], b"big", b"v", b"IFEQ", &large] as &[&[u8]],
        &[b"SET", b"big", b"v", b"IFNE", &large],
        &[b"DELEX", b"big", b"IFNE", &large],
        &[b"DELIFEQ", b"big", &large],
        &[b"BITFIELD", b"big", b"SET", b"u8", far.as_bytes(), b"1"],
        &[b"BITFIELD", b"big", b"SET", b"u8", b"0", b"1"],
        &[b"SETBIT", b"new", far.as_bytes(), b"1"],
        &[b"SETBIT", b"big", b"0", b"1"],
        &[b"BITCOUNT", b"big", b"1", b"-2"],
        &[b"BITPOS", b"big", b"0", b"1", b"-2"],
        &[b"BITOP", b"AND", b"new", b"big", b"other", b"key:0001"],
        &[b"BITOP", b"NOT", b"new", b"big"],
        &[b"GETRANGE", b"big", b"1", b"-2"],
        &[b"SCAN", b"0", b"COUNT", b"1000000000"],
        &[b"SCAN", b"0", b"MATCH", b"*a*a*a*a*a*a*b", b"COUNT", b"1000000000"],
        &[b"KEYS", b"*"],
        &[b"CLIENT", b"LIST"],
        &[b"CLIENT", b"LIST", b"TYPE", b"normal"],
        &[b"CLIENT", b"KILL", b"ID", b"999999"],
        &[b"FLUSHALL"],
    ] {
        target.restore();
        let worst = target.ask(&command(words));
        assert!(worst <= TURN_WORK_MAX, "{}: {worst} units in one turn", shown(words));
    }
}

/// In a build with checks on arithmetic, which tests are, a number that wraps is a panic.
#[test]
fn numbers_near_the_ends_of_what_64_bits_hold_wrap_nowhere() {
    let numbers =
        [i64::MAX, i64::MAX - 1, i64::MAX / 1_000, i64::MAX / 8, 1 << 32, -1, i64::MIN, i64::MIN + 1];
    let mut texts: Vec<String> = numbers.iter().map(i64::to_string).collect();
    texts.extend(
        ["9223372036854775808", "18446744073709551615", "18446744073709552", "-9223372036854775809"]
            .map(str::to_owned),
    );
    let mut target = Target::new();
    for verb in verbs() {
        for text in &texts {
            for key in [&b"big"[..], b"none"] {
                let first = name_len(verb);
                for len in
                    words_of(verb, b"").len()..words_of(verb, b"").len() + if verb.arity < 0 { 4 } else { 1 }
                {
                    let mut words = words_of(verb, text.as_bytes());
                    words.resize(len, text.as_bytes());
                    if len > first {
                        words[first] = key;
                    }
                    target.ask(&command(&words));
                }
            }
        }
        target.restore();
    }
    for words in [
        "CLIENT KILL MAXAGE 9223372036854775807",
        "CLIENT PAUSE 9223372036854775807 WRITE",
        "CLIENT UNPAUSE",
        "SET k v EX 9223372036854775807",
        "SET k v PX 9223372036854775807",
        "SET k v EXAT 9223372036854775807",
        "GETEX k PXAT 9223372036854775807",
        "BITFIELD k SET u8 #9223372036854775807 1 INCRBY i64 0 9223372036854775807 INCRBY i64 0 9223372036854775807",
        "MSETEX 2147483647 k v",
        "LCS k k MINMATCHLEN -9223372036854775808 IDX",
        "SCAN 18446744073709551615 COUNT 9223372036854775807",
    ] {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        target.ask(&command(&words));
    }
    target.server.invariants();
}

mod collections;
