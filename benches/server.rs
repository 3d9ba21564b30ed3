//! The whole server in process, without sockets: bytes of requests in, bytes of replies out.
//!
//! | bench | what one element is |
//! |---|---|
//! | `server/get/CONNECTIONSxDEPTH` | a GET of a random key of 100,000, value 32 bytes |
//! | `server/set/CONNECTIONSxDEPTH` | a SET of such a key to another value |
//!
//! Each connection (1 or 64) sends DEPTH (1, 16 or 64) requests at once; then all are run, then all replies are taken, as
//! the reactor does in a turn. Copying the requests into the rings is in the figure; making them is not.
//!
//! `cargo bench --bench server`

mod common;

use common::{Driver, Random, VALUE, bulk, command, key, measure_each};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pannier::limits::MIB;
use std::hint::black_box;

const KEYS: u64 = 100_000;
/// Turns whose requests are made beforehand; measuring goes through them round and round.
const TURNS: usize = 64;
const OTHER_VALUE: [u8; 32] = *b"another value, thirty-two bytes.";

/// What one connection sends in one turn, and what must come back.
struct Batch {
    requests: Vec<u8>,
    replies: Vec<u8>,
}

/// The batches of each turn, one for each connection.
fn turns(random: &mut Random, set: bool, connections: usize, depth: usize) -> Vec<Vec<Batch>> {
    let mut batch = || {
        let (mut requests, mut replies) = (Vec::new(), Vec::new());
        for _ in 0..depth {
            let key = key(random.below(KEYS));
            if set {
                command(&mut requests, &[b"SET", &key, &OTHER_VALUE]);
                replies.extend(b"+OK\r\n");
            } else {
                command(&mut requests, &[b"GET", &key]);
                bulk(&mut replies, &VALUE);
            }
        }
        Batch { requests, replies }
    };
    (0..TURNS).map(|_| (0..connections).map(|_| batch()).collect()).collect()
}

/// A server that has all keys.
fn filled(connections: usize) -> Driver {
    let mut driver = Driver::new(32 * MIB, connections);
    for first in (0..KEYS).step_by(100) {
        let mut requests = Vec::new();
        (first..first + 100).for_each(|n| command(&mut requests, &[b"SET", &key(n), &VALUE]));
        let sent = driver.turn([&requests[..]], |reply| assert!(reply.starts_with(b"+OK\r\n")));
        assert_eq!(sent, 100 * b"+OK\r\n".len());
    }
    driver
}

fn server(c: &mut Criterion) {
    let mut random = Random(1);
    for (name, set) in [("get", false), ("set", true)] {
        let mut group = c.benchmark_group(format!("server/{name}"));
        group.throughput(Throughput::Elements(1));
        for connections in [1, 64] {
            let mut driver = filled(connections);
            for depth in [1, 16, 64] {
                let turns = turns(&mut random, set, connections, depth);
                for turn in &turns {
                    let mut got: Vec<u8> = Vec::new();
                    driver.turn(turn.iter().map(|batch| &batch.requests[..]), |reply| got.extend(reply));
                    let expected: Vec<u8> = turn.iter().flat_map(|batch| batch.replies.clone()).collect();
                    assert_eq!(got, expected);
                }
                let id = BenchmarkId::from_parameter(format!("{connections}x{depth}"));
                let mut at = 0;
                group.bench_function(id, |b| {
                    measure_each(b, connections * depth, || {
                        at = (at + 1) % TURNS;
                        let requests = turns[at].iter().map(|batch| &batch.requests[..]);
                        driver.turn(requests, |reply| _ = black_box(reply.len()))
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = common::criterion();
    targets = server
}
criterion_main!(benches);
