//! Transactions: whole or not at all, as long as memory lets them be, and nobody hoards that memory.

use crate::common::{KIB, MIB, encode, show};
use crate::in_process::InProcess;
use pannier::connection::ConnectionId;
use pannier::server::Resources;
use pannier::store::StoreConfig;

fn small_queues(queue_bytes: usize) -> InProcess {
    let config = StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() };
    InProcess::new(config, 200, Resources { queue_bytes, ..Resources::default() }, None)
}

fn set(key: &str, value: &[u8]) -> Vec<u8> {
    encode(&[b"SET", key.as_bytes(), value])
}

/// Fills the store until it refuses; how many keys there are.
fn fill(process: &mut InProcess, id: ConnectionId, value: &[u8]) -> usize {
    for number in 0.. {
        if !process.send(id, &set(&format!("fill:{number}"), value)).starts_with(b"+OK") {
            return number;
        }
    }
    unreachable!("a store is full at some time")
}

#[test]
fn what_a_full_store_refuses_is_refused_when_it_is_queued_and_nothing_runs() {
    let mut process = InProcess::with_memory(2 * MIB);
    let id = process.connect();
    let count = fill(&mut process, id, &[b'x'; 1000]);
    process.send(id, b"MULTI\r\nDEL fill:0\r\n");
    let answer = process.send(id, &set("new", &[b'y'; 1000]));
    assert!(answer.starts_with(b"-OOM "), "{}", show(&answer));
    let answer = process.send(id, b"EXEC\r\nEXISTS fill:0 new\r\n");
    let aborted = b"-EXECABORT Transaction discarded because of previous errors.\r\n:1\r\n";
    assert_eq!(show(&answer), show(aborted));
    // What takes no more than it replaces goes on, and so does all that takes nothing.
    process.send(id, b"MULTI\r\nDEL fill:1\r\nEXPIRE fill:2 100\r\n");
    assert_eq!(show(&process.send(id, &set("fill:3", &[b'z'; 1000]))), show(b"+QUEUED\r\n"));
    assert_eq!(show(&process.send(id, b"EXEC\r\n")), show(b"*3\r\n:1\r\n:1\r\n+OK\r\n"));
    assert_eq!(show(&process.send(id, b"DBSIZE\r\n")), format!(":{}\\r\\n", count - 1));
}

#[test]
fn commands_that_fit_one_by_one_and_not_together_are_refused_together() {
    let mut process = InProcess::with_memory(2 * MIB);
    let id = process.connect();
    let count = fill(&mut process, id, &[b'x'; 1000]);
    for number in 0..20 {
        process.send(id, format!("DEL fill:{number}\r\n").as_bytes());
    }
    process.send(id, b"MULTI\r\n");
    for number in 0..40 {
        let answer = process.send(id, &set(&format!("new:{number}"), &[b'y'; 1000]));
        assert_eq!(show(&answer), show(b"+QUEUED\r\n"), "{number}");
    }
    let answer = process.send(id, b"EXEC\r\n");
    assert!(answer.starts_with(b"-EXECABORT Transaction discarded because of: OOM "), "{}", show(&answer));
    assert_eq!(show(&process.send(id, b"DBSIZE\r\n")), format!(":{}\\r\\n", count - 20));
}

#[test]
fn client_reply_is_not_allowed_in_a_transaction() {
    let mut process = InProcess::with_memory(8 * MIB);
    let id = process.connect();
    for mode in ["ON", "OFF", "SKIP"] {
        let answer =
            process.send(id, format!("MULTI\r\nPING\r\nCLIENT REPLY {mode}\r\nEXEC\r\nPING\r\n").as_bytes());
        let expected = b"+OK\r\n+QUEUED\r\n-ERR Command not allowed inside a transaction\r\n\
            -EXECABORT Transaction discarded because of previous errors.\r\n+PONG\r\n";
        assert_eq!(show(&answer), show(expected));
    }
    // Before it: the transaction's answer is left out as a whole.
    let answer = process.send(id, b"MULTI\r\nPING\r\nPING\r\n");
    assert_eq!(show(&answer), show(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n"));
}

#[test]
fn a_pipeline_of_a_hundred_thousand_commands_is_one_transaction() {
    let memory_bytes = 40 * MIB;
    let config = StoreConfig { memory_bytes, ..StoreConfig::default() };
    let resources = Resources { queue_bytes: 2 * MIB, ..Resources::default() };
    let mut process = InProcess::new(config, 10, resources, None);
    let id = process.connect();
    let mut answer = Vec::new();
    process.exchange(id, b"MULTI\r\n", &mut answer);
    for first in (0..100_000).step_by(100) {
        let pipeline: Vec<u8> =
            (first..first + 100).flat_map(|number| set(&format!("key:{number}"), &[b'v'; 100])).collect();
        process.exchange(id, &pipeline, &mut answer);
    }
    assert_eq!(answer.len(), 5 + 100_000 * b"+QUEUED\r\n".len());
    answer.clear();
    process.exchange(id, b"EXEC\r\n", &mut answer);
    assert!(answer.starts_with(b"*100000\r\n+OK\r\n"), "{}", show(&answer[..100.min(answer.len())]));
    assert_eq!(answer.len(), b"*100000\r\n".len() + 100_000 * 5);
    assert_eq!(show(&process.send(id, b"DBSIZE\r\nGET key:99999\r\n")).len(), 11 + 8 + 100 + 4);
    // Its memory comes back bit by bit.
    (0..8).for_each(|_| process.advance(1));
    assert_eq!((process.server.buffer_bytes(), process.server.engine().store.large_count()), (0, 0));
    assert!(show(&process.send(id, b"INFO stats\r\n")).contains("long_steps:1\\r\\n"));
    process.server.invariants();
}

#[test]
fn what_is_queued_in_the_store_comes_back_however_the_transaction_ends() {
    let mut process = small_queues(128 * KIB);
    for end in ["EXEC\r\n", "DISCARD\r\n", "QUIT\r\n", "RESET\r\n", ""] {
        let id = process.connect();
        process.send(id, b"MULTI\r\n");
        for number in 0..40 {
            // Some are large values, some are longer than the ring is at first.
            let value = vec![b'v'; [10, 3_000, 20_000, 70_000][number % 4]];
            let answer = process.send(id, &set(&format!("k{number}"), &value));
            assert_eq!(show(&answer), show(b"+QUEUED\r\n"), "{number} {end}");
        }
        let answer = process.send(id, end.as_bytes());
        if end == "EXEC\r\n" {
            assert_eq!(show(&answer), show(&[b"*40\r\n".as_slice(), &b"+OK\r\n".repeat(40)].concat()));
            let lengths = process.send(id, b"STRLEN k0\r\nSTRLEN k1\r\nSTRLEN k38\r\nSTRLEN k39\r\n");
            assert_eq!(show(&lengths), show(b":10\r\n:3000\r\n:20000\r\n:70000\r\n"));
            process.send(id, b"FLUSHALL\r\n");
        }
        process.server.close(id);
        process.advance(1);
        let store = &process.server.engine().store;
        assert_eq!((process.server.buffer_bytes(), store.large_count()), (0, 0), "{end}");
        process.server.invariants();
    }
}

#[test]
fn open_transactions_that_stand_still_give_way_and_are_told_why() {
    let mut process = small_queues(64 * KIB);
    let hoarders: Vec<_> = (0..64).map(|_| process.connect()).collect();
    for id in &hoarders {
        let answer = process.send(*id, b"MULTI\r\nSET k v\r\n");
        assert_eq!(show(&answer), show(b"+OK\r\n+QUEUED\r\n"));
    }
    let id = process.connect();
    let answer = process.send(id, b"MULTI\r\nSET a b\r\nDISCARD\r\n");
    assert!(
        show(&answer).contains("-ERR the transactions of all clients hold 65536 of"),
        "{}",
        show(&answer)
    );
    process.advance(9_000);
    process.send(hoarders[0], b"SET k w\r\n");
    process.advance(1_001);
    let answer = process.send(id, b"MULTI\r\nSET a b\r\nEXEC\r\n");
    assert_eq!(show(&answer), show(b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"));
    let answers: Vec<_> = hoarders.iter().map(|id| show(&process.send(*id, b"EXEC\r\n"))).collect();
    let reclaimed = answers
        .iter()
        .filter(|answer| answer.starts_with("-EXECABORT Transaction discarded because of: no progress"));
    assert_eq!(reclaimed.count(), 1);
    assert!(answers[0].starts_with("*2"), "the one that went on is whole: {}", answers[0]);
    // The same for what is watched: its EXEC refuses.
    for id in &hoarders {
        process.send(*id, b"WATCH k\r\n");
    }
    let answer = process.send(id, b"WATCH a\r\n");
    assert_eq!(show(&answer), show(b"-ERR too many watched keys\r\n"));
    process.advance(10_001);
    assert_eq!(show(&process.send(id, b"WATCH a\r\n")), show(b"+OK\r\n"));
}

#[test]
fn a_key_longer_than_any_is_watched_in_vain_and_harms_nothing() {
    let mut process = InProcess::with_memory(8 * MIB);
    let id = process.connect();
    let long = vec![b'k'; 70_000];
    let answer = process.send(id, &encode(&[b"WATCH".as_slice(), &long, b"k"]));
    assert_eq!(show(&answer), show(b"+OK\r\n"));
    assert_eq!(
        show(&process.send(id, b"MULTI\r\nPING\r\nEXEC\r\n")),
        show(b"+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n")
    );
}

#[test]
fn a_key_that_goes_in_another_database_fails_no_exec() {
    let mut process = InProcess::with_memory(8 * MIB);
    let (id, other) = (process.connect(), process.connect());
    process.send(other, b"SELECT 1\r\nSET absent 1\r\nSET x 1\r\n");
    for (meanwhile, runs) in [
        (&b"DEL absent\r\n"[..], true),
        (b"FLUSHDB\r\n", true),
        (b"SWAPDB 1 2\r\n", true),
        (b"SELECT 0\r\nSET absent 1\r\nDEL absent\r\nSELECT 1\r\n", false),
        (b"SELECT 0\r\nFLUSHDB\r\nSELECT 1\r\n", true),
        (b"FLUSHALL\r\n", true),
        (b"SELECT 1\r\nSET absent 1\r\nSWAPDB 0 1\r\nSWAPDB 0 1\r\n", false),
    ] {
        process.send(id, b"WATCH absent\r\n");
        process.send(other, meanwhile);
        let answer = process.send(id, b"MULTI\r\nPING\r\nEXEC\r\n");
        let expected: &[u8] = if runs { b"*1\r\n+PONG\r\n" } else { b"*-1\r\n" };
        assert!(answer.ends_with(expected), "{}: {}", show(meanwhile), show(&answer));
    }
}

#[test]
fn a_transaction_that_waits_in_the_store_loses_it_after_its_time_without_pressure() {
    let mut process = small_queues(128 * KIB);
    let id = process.connect();
    process.send(id, b"MULTI\r\n");
    for number in 0..30 {
        process.send(id, &set(&format!("key:{number}"), &[b'v'; 5_000]));
    }
    assert_eq!(process.server.engine().store.large_count(), 1);
    (0..9).for_each(|_| process.advance(1_000));
    // It moves: its time begins again.
    process.send(id, &set("another", b"v"));
    (0..9).for_each(|_| process.advance(1_000));
    assert_eq!(process.server.engine().store.large_count(), 1);
    (0..2).for_each(|_| process.advance(1_000));
    assert_eq!(process.server.engine().store.large_count(), 0);
    let answer = process.send(id, b"EXEC\r\nDBSIZE\r\n");
    assert!(answer.starts_with(b"-EXECABORT ") && answer.ends_with(b"\r\n:0\r\n"), "{}", show(&answer));
}

/// As redis-server 7.0.15 answers, case by case: what was done before WATCH, what was done after it, whether EXEC runs.
#[test]
fn a_flush_and_a_swap_fail_an_exec_only_where_the_watched_key_was_there() {
    let cases: &[(&str, &[&str], &[&str], bool)] = &[
        ("absent, other keys flushed", &["SET o 1"], &["FLUSHDB"], true),
        ("absent, nothing flushed", &[], &["FLUSHDB"], true),
        ("absent, all flushed", &["SET o 1"], &["FLUSHALL"], true),
        ("absent, another database flushed", &["SELECT 1", "SET k 1"], &["SELECT 1", "FLUSHDB"], true),
        ("came and was flushed", &[], &["SET k 1", "FLUSHDB"], false),
        ("came and went", &[], &["SET k 1", "DEL k"], false),
        ("came by MSET and was flushed", &[], &["MSET k 1 o 1", "FLUSHALL"], false),
        ("came and went elsewhere", &[], &["SELECT 1", "SET k 1", "DEL k"], true),
        ("absent in both", &["SELECT 1", "SET o 1"], &["SWAPDB 0 1"], true),
        ("both empty", &[], &["SWAPDB 0 1"], true),
        ("swapped in", &["SELECT 1", "SET k 1"], &["SWAPDB 0 1"], false),
        ("swapped in and gone", &["SELECT 1", "SET k 1"], &["SWAPDB 0 1", "DEL k"], false),
        ("swapped in and out", &["SELECT 1", "SET k 1"], &["SWAPDB 0 1", "SWAPDB 0 1"], false),
        ("came and was swapped out", &[], &["SET k 1", "SWAPDB 0 1"], false),
        ("swapped with itself", &[], &["SWAPDB 0 0"], true),
        ("others swapped", &["SELECT 1", "SET k 1"], &["SWAPDB 1 2"], true),
        ("present, swapped out", &["SET k 1"], &["SWAPDB 0 1"], false),
        ("present in both", &["SET k 1", "SELECT 1", "SET k 1"], &["SWAPDB 0 1"], false),
        ("present, others swapped", &["SET k 1"], &["SWAPDB 1 2"], true),
        ("present, another database flushed", &["SET k 1"], &["SELECT 1", "SET k 1", "FLUSHDB"], true),
        ("present and flushed", &["SET k 1"], &["FLUSHDB"], false),
    ];
    for (name, before, after, runs) in cases {
        let mut process = InProcess::with_memory(4 * MIB);
        let (watcher, other) = (process.connect(), process.connect());
        let run = |process: &mut InProcess, lines: &[&str]| {
            process.send(other, b"SELECT 0\r\n");
            for line in lines {
                let answer = process.send(other, format!("{line}\r\n").as_bytes());
                assert!(!answer.starts_with(b"-"), "{name}: {line}: {}", show(&answer));
            }
        };
        run(&mut process, before);
        process.send(watcher, b"WATCH k\r\n");
        run(&mut process, after);
        let answer = process.send(watcher, b"MULTI\r\nPING\r\nEXEC\r\n");
        assert_eq!(answer.ends_with(b"*1\r\n+PONG\r\n"), *runs, "{name}: {}", show(&answer));
    }
}
