//! The same bytes to Debian's `redis-server` and to Pannier, and the raw replies beside each other.
//!
//! Commands are drawn from a grammar under a seed: valid and invalid arguments, wrong arity, numbers at the edges,
//! far and past times to live, transactions with WATCH over two connections, binary keys, both protocols, inline commands and
//! pipelines. A difference is reported with its seed and with the fewest steps that still show it.
//!
//! - `PANNIER_DIFFERENTIAL_SEEDS=N` runs the first N seeds, `PANNIER_DIFFERENTIAL_SEED=S` only seed S.
//! - `PANNIER_DIFFERENTIAL_TARGET=ADDR` tests the server at that address (its databases are emptied).
//!
//! Where no `redis-server` is installed, the test says so and is skipped.

#![cfg(feature = "cli")]
#![allow(clippy::disallowed_methods)] // Tests over real sockets wait by a real clock.

#[path = "../common/mod.rs"]
mod common;
mod grammar;
mod import;

use common::{Client, Server, reply_len, show};
use grammar::{Step, Tolerance, steps};
use std::net::SocketAddr;
use std::time::Duration;

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 40;
/// Steps of one seed.
const STEPS: usize = 150;
/// No command of the grammar takes longer.
const REPLY_WITHIN: Duration = Duration::from_secs(5);

/// A difference between the servers: the step it came at, the command and both replies.
struct Difference {
    step: usize,
    command: Vec<u8>,
    expected: Vec<u8>,
    actual: Vec<u8>,
}

#[test]
fn replies_are_those_of_redis() {
    let Some(redis) = Server::redis() else {
        eprintln!("SKIPPED: no redis-server in PATH, so nothing was compared");
        return;
    };
    let mut spawned = None;
    let target = match std::env::var("PANNIER_DIFFERENTIAL_TARGET") {
        Ok(address) => address.parse().expect("PANNIER_DIFFERENTIAL_TARGET is an address"),
        Err(_) => spawned.insert(Server::start(&["--memory", "256MiB"])).address,
    };
    let mut failures = Vec::new();
    for seed in seeds() {
        let steps = steps(seed, STEPS);
        if let Some(difference) = run(redis.address, target, &steps) {
            if difference.expected.starts_with(b"(no reply") {
                panic!(
                    "redis-server itself does not answer: {}",
                    report(seed, &steps[..=difference.step], &difference)
                );
            }
            let (steps, difference) = shrink(redis.address, target, &steps[..=difference.step], difference);
            failures.push(report(seed, &steps, &difference));
            if failures.len() == 10 {
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{} seeds differ:\n{}", failures.len(), failures.join("\n"));
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse::<u64>().expect("a number"));
    match (number("PANNIER_DIFFERENTIAL_SEED"), number("PANNIER_DIFFERENTIAL_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(SEEDS),
    }
}

/// Runs the steps on both servers, from empty databases and over new connections.
fn run(redis: SocketAddr, target: SocketAddr, steps: &[Step]) -> Option<Difference> {
    let mut sides = [redis, target].map(|address| {
        let mut clients = [Client::connect(address), Client::connect(address)];
        assert_eq!(clients[0].line("FLUSHALL"), b"+OK\r\n");
        // What is slow on a busy machine is no difference.
        assert_eq!(clients[0].line("CONFIG SET slowlog-log-slower-than 60000000"), b"+OK\r\n");
        // Both connections stand before the first step runs.
        for client in &mut clients {
            assert_eq!(client.line("PING"), b"+PONG\r\n");
            client.stream.set_read_timeout(Some(REPLY_WITHIN)).expect("set a time limit");
        }
        clients
    });
    for (index, step) in steps.iter().enumerate() {
        let bytes: Vec<u8> = step.commands.iter().flat_map(|command| command.bytes.clone()).collect();
        for side in &mut sides {
            if !side[step.connection].send_if_open(&bytes) {
                break;
            }
        }
        for command in &step.commands {
            for _ in 0..command.replies {
                let [expected, actual] = &mut sides;
                let expected = reply(&mut expected[step.connection]);
                let actual = reply(&mut actual[step.connection]);
                if !same(command.tolerance, &expected, &actual) {
                    return Some(Difference {
                        step: index,
                        command: command.bytes.clone(),
                        expected,
                        actual,
                    });
                }
            }
        }
    }
    None
}

/// A raw reply, or in words why there is none.
fn reply(client: &mut Client) -> Vec<u8> {
    match client.reply_within_limit() {
        Ok(Some(reply)) => reply,
        Ok(None) => b"(closed)".to_vec(),
        Err(error) => format!("(no reply: {error})").into_bytes(),
    }
}

/// Takes pipelines apart and leaves out steps, many at first and then one by one, as long as a difference remains.
fn shrink(
    redis: SocketAddr,
    target: SocketAddr,
    steps: &[Step],
    found: Difference,
) -> (Vec<Step>, Difference) {
    let (mut steps, mut found) = (steps.to_vec(), found);
    let single: Vec<Step> = steps.iter().flat_map(Step::split).collect();
    if let Some(difference) = run(redis, target, &single) {
        (steps, found) = (single, difference);
    }
    let mut chunk = steps.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(steps.len()));
            match run(redis, target, &fewer) {
                Some(difference) => {
                    fewer.truncate(difference.step + 1);
                    (steps, found) = (fewer, difference);
                }
                None => at += chunk,
            }
        }
        chunk /= 2;
    }
    (steps, found)
}

fn report(seed: u64, steps: &[Step], difference: &Difference) -> String {
    let mut text = format!("seed {seed}, {} steps:\n", steps.len());
    for step in steps {
        for command in &step.commands {
            text += &format!("  {}> {}\n", step.connection, show(&command.bytes));
        }
    }
    text += &format!("  at       {}\n", show(&difference.command));
    text += &format!("  redis    {}\n", show(&difference.expected));
    text + &format!("  pannier  {}\n", show(&difference.actual))
}

/// Whether two raw replies say the same, given what cannot be the same in two servers.
fn same(tolerance: Tolerance, expected: &[u8], actual: &[u8]) -> bool {
    if expected == actual {
        return true;
    }
    match tolerance {
        Tolerance::Exact => false,
        // Times are read from the clock twice: the structure is the same, and integers differ by little.
        Tolerance::Near(distance) => {
            let (expected, actual) = (lines(expected), lines(actual));
            expected.len() == actual.len()
                && expected.iter().zip(&actual).all(|(a, b)| a == b || near(a, b, distance))
        }
        // Order is free: the same parts, sorted.
        Tolerance::Unordered => {
            let sorted = |reply| {
                let mut lines = lines(reply);
                lines.sort();
                lines
            };
            sorted(expected) == sorted(actual)
        }
        Tolerance::SomeOf => {
            let count = |reply| lines(reply).into_iter().next();
            expected.starts_with(b"*")
                && count(expected) == count(actual)
                && reply_len(actual) == Some(actual.len())
        }
        Tolerance::Bounded(beginning) => actual.starts_with(beginning.as_bytes()),
        // The kind of the reply, and no more.
        Tolerance::Kind => {
            expected.first() == actual.first()
                && reply_len(actual) == Some(actual.len())
                && (expected.first() != Some(&b'-') || expected == actual)
                && (expected.first() != Some(&b'$')
                    || expected.starts_with(b"$-1") == actual.starts_with(b"$-1"))
        }
    }
}

fn lines(reply: &[u8]) -> Vec<&[u8]> {
    reply.split(|byte| *byte == b'\n').collect()
}

fn near(a: &[u8], b: &[u8], distance: i128) -> bool {
    let number = |line: &[u8]| -> Option<i128> {
        std::str::from_utf8(line.strip_prefix(b":")?).ok()?.trim().parse().ok()
    };
    matches!((number(a), number(b)), (Some(a), Some(b)) if a >= 0 && b >= 0 && (a - b).abs() <= distance)
}

#[test]
fn tolerances_let_pass_only_what_they_name() {
    assert!(same(Tolerance::Exact, b":1\r\n", b":1\r\n"));
    assert!(!same(Tolerance::Exact, b":1\r\n", b":2\r\n"));
    assert!(same(Tolerance::Near(2), b"*2\r\n:10\r\n+OK\r\n", b"*2\r\n:11\r\n+OK\r\n"));
    assert!(!same(Tolerance::Near(2), b":10\r\n", b":13\r\n"));
    assert!(!same(Tolerance::Near(2), b":-1\r\n", b":0\r\n"));
    assert!(same(Tolerance::Unordered, b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$1\r\nb\r\n$1\r\na\r\n"));
    assert!(!same(Tolerance::Unordered, b"*1\r\n$1\r\na\r\n", b"*1\r\n$1\r\nb\r\n"));
    assert!(same(Tolerance::SomeOf, b"*1\r\n$1\r\na\r\n", b"*1\r\n$1\r\nb\r\n"));
    assert!(!same(Tolerance::SomeOf, b"*1\r\n$1\r\na\r\n", b"*0\r\n"));
    assert!(!same(Tolerance::SomeOf, b"-ERR a\r\n", b"-ERR b\r\n"));
    assert!(same(Tolerance::Kind, b"$3\r\nfoo\r\n", b"$1\r\nx\r\n"));
    assert!(!same(Tolerance::Kind, b"$-1\r\n", b"$1\r\nx\r\n"));
    assert!(!same(Tolerance::Kind, b"-ERR a\r\n", b"-ERR b\r\n"));
}
