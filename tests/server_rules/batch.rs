//! The look ahead over a pipeline gives hints and never answers: the same commands, sent one at a time to a server that
//! plans none of them and as pipelines of many connections to another, are answered alike, whatever a command changes of what
//! was seen for those behind it.

use crate::common::{MIB, Random};
use crate::in_process::InProcess;
use pannier::connection::ConnectionId;
use pannier::server::Resources;
use pannier::store::{OnFull, StoreConfig};

const CLIENTS: usize = 5;

fn encode(arguments: &[&[u8]]) -> Vec<u8> {
    crate::common::encode(arguments)
}

fn server(on_full: OnFull) -> (InProcess, Vec<ConnectionId>) {
    let config = StoreConfig { memory_bytes: 8 * MIB, on_full, ..StoreConfig::default() };
    let mut process = InProcess::new(config, 16, Resources::default(), None);
    let clients = (0..CLIENTS).map(|_| process.connect()).collect();
    (process, clients)
}

/// Gives every client its bytes, runs all of them together as the reactor does, and appends what they are answered.
fn exchange_together(
    process: &mut InProcess,
    clients: &[ConnectionId],
    requests: &[Vec<u8>],
) -> Vec<Vec<u8>> {
    let mut answers = vec![Vec::new(); clients.len()];
    let mut left: Vec<&[u8]> = requests.iter().map(Vec::as_slice).collect();
    for round in 0.. {
        assert!(round < 10_000, "it goes on for ever");
        for (id, bytes) in clients.iter().zip(&mut left) {
            let taken = process.receive(*id, bytes);
            *bytes = &bytes[taken..];
        }
        let mut unfinished = Vec::new();
        process.server.run_group(clients, process.now, &mut unfinished);
        process.attend();
        let mut sent = 0;
        for (id, answer) in clients.iter().zip(&mut answers) {
            sent += process.take_output(*id, usize::MAX, answer);
        }
        if sent == 0 && unfinished.is_empty() && left.iter().all(|bytes| bytes.is_empty()) {
            return answers;
        }
    }
    unreachable!("rounds are bounded")
}

/// A command over a few keys of one client, so that commands of others cannot change its answer.
fn command(random: &mut Random, client: usize) -> Vec<u8> {
    let key = format!("{client}:{}", random.below(6)).into_bytes();
    let value = vec![b'v'; random.below(40)];
    let other = format!("{client}:{}", random.below(6)).into_bytes();
    let db = (2 * client + random.below(2)).to_string().into_bytes();
    match random.below(48) {
        0..8 => encode(&[b"GET", &key]),
        8..14 => encode(&[b"set", &key, &value]),
        14 => encode(&[b"PUT", &key, b"7"]),
        15 => encode(&[b"DEL", &key]),
        16 => encode(&[b"INCR", &key]),
        17 => encode(&[b"SELECT", &db]),
        18 => encode(&[b"RENAME", &key, &other]),
        19 => encode(&[b"SET", &key, &value, b"PX", b"100000"]),
        20 => encode(&[b"MGET", &key, &other]),
        21 => encode(&[b"SET", &key, &[b'l'; 9_000]]),
        22 => [encode(&[b"MULTI"]), encode(&[b"SET", &key, &value]), encode(&[b"EXEC"])].concat(),
        23 => match random.below(4) {
            0 => encode(&[b"FLUSHDB"]),
            1 => encode(&[b"GET"]),
            2 => b"PING\r\n".to_vec(),
            _ => encode(&[b"GET", &key, &key]),
        },
        _ => planned(random, &key, &other),
    }
}

/// One of the other verbs that are planned, with options, errors and long values among them.
fn planned(random: &mut Random, key: &[u8], other: &[u8]) -> Vec<u8> {
    let value = vec![b'p'; [0, 5, 40, 999, 1_024, 8_192][random.below(6)]];
    let (number, field) = (random.below(200).to_string().into_bytes(), [b'a' + random.below(4) as u8]);
    let commands: [&[&[u8]]; 40] = [
        &[b"SETEX", key, b"100", &value],
        &[b"SETEX", key, b"0", &value],
        &[b"PSETEX", key, &number, &value],
        &[b"SETNX", key, &value],
        &[b"SET", key, &value, b"NX", b"GET"],
        &[b"SET", key, &value, b"XX", b"KEEPTTL"],
        &[b"SET", key, &value, b"IFEQ", b"ppppp"],
        &[b"SET", key, &value, b"EX"],
        &[b"GETSET", key, &value],
        &[b"GETEX", key, b"EX", b"100"],
        &[b"GETEX", key, b"PERSIST"],
        &[b"GETDEL", key],
        &[b"STRLEN", key],
        &[b"APPEND", key, &value],
        &[b"SET", key, &number],
        &[b"INCRBY", key, &number],
        &[b"DECRBY", key, b"9223372036854775807"],
        &[b"INCRBYFLOAT", key, b"0.5"],
        &[b"MGET", key, other, key, other, key, other, key, other, key, other],
        &[b"UNLINK", key, other],
        &[b"EXISTS", key, other, key],
        &[b"TOUCH", key],
        &[b"TYPE", key],
        &[b"EXPIRE", key, b"100", b"NX"],
        &[b"EXPIRE", key, b"-1"],
        &[b"PEXPIREAT", key, b"99999999999999"],
        &[b"TTL", key],
        &[b"PEXPIRETIME", key],
        &[b"PERSIST", key],
        &[b"HSET", key, &field, &value, b"f", &number],
        &[b"HSETNX", key, &field, &value],
        &[b"HGET", key, &field],
        &[b"HMGET", key, &field, b"f", b"g", &field],
        &[b"HDEL", key, &field, b"f"],
        &[b"HINCRBY", key, b"f", &number],
        &[b"HLEN", key],
        &[b"SADD", key, &field, &number],
        &[b"SREM", key, &field],
        &[b"SMISMEMBER", key, &field, &number],
        &[b"SCARD", key],
    ];
    encode(commands[random.below(commands.len())])
}

#[test]
fn pipelines_of_many_are_answered_as_commands_one_by_one() {
    for (seed, on_full) in (1..=30).zip([OnFull::Refuse, OnFull::Evict].into_iter().cycle()) {
        let mut random = Random(seed);
        let ((mut one, one_clients), (mut all, all_clients)) = (server(on_full), server(on_full));
        for (client, (a, b)) in one_clients.iter().zip(&all_clients).enumerate() {
            // Each client has two databases of its own.
            let select = encode(&[b"SELECT", (2 * client).to_string().as_bytes()]);
            assert_eq!(one.send(*a, &select), all.send(*b, &select));
        }
        // What is to be timed by itself is not planned.
        let timed = encode(&[b"CONFIG", b"SET", b"slowlog-log-slower-than", b"900"]);
        assert_eq!(one.send(one_clients[0], &timed), b"+OK\r\n");
        all.send(all_clients[0], &encode(&[b"CONFIG", b"SET", b"slowlog-log-slower-than", b"10000"]));
        for _ in 0..20 {
            let mut requests = vec![Vec::new(); CLIENTS];
            let mut expected = vec![Vec::new(); CLIENTS];
            for client in 0..CLIENTS {
                for _ in 0..random.below(120) {
                    let bytes = command(&mut random, client);
                    one.exchange(one_clients[client], &bytes, &mut expected[client]);
                    requests[client].extend_from_slice(&bytes);
                }
            }
            assert_eq!(exchange_together(&mut all, &all_clients, &requests), expected, "seed {seed}");
            all.server.invariants();
            let (one, all) = (&one.server.engine().metrics, &all.server.engine().metrics);
            assert_eq!(one.counters.commands_processed, all.counters.commands_processed);
            assert_eq!(one.counters.keyspace_hits, all.counters.keyspace_hits);
            assert_eq!(one.counters.keyspace_misses, all.counters.keyspace_misses);
        }
    }
}

/// A write that finds no room is answered where it stands, once, and the commands behind it run.
#[test]
fn a_refusal_within_a_pipeline_is_answered_in_its_place() {
    let (mut process, clients) = server(OnFull::Refuse);
    let mut requests = Vec::new();
    for number in 0..20_000 {
        requests.extend(encode(&[b"SET", format!("key:{number}").as_bytes(), &[b'v'; 900]]));
    }
    requests.extend(encode(&[b"GET", b"key:0"]));
    let answer = process.send(clients[0], &requests);
    let text = String::from_utf8_lossy(&answer);
    let (stored, refused) = (text.matches("+OK\r\n").count(), text.matches("-OOM ").count());
    assert!(stored > 1_000 && refused > 1_000, "{stored} stored, {refused} refused");
    assert_eq!(stored + refused, 20_000);
    assert!(text.ends_with(&format!("$900\r\n{}\r\n", "v".repeat(900))));
    let metrics = &process.server.engine().metrics;
    assert_eq!(metrics.counters.error_replies, refused as u64);
    assert_eq!(process.server.engine().store.statistics().refused, refused as u64);
}
