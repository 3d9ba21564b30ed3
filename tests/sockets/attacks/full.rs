//! The same attacks at the sizes of a large server: a million arguments, keys, fields and members, values of 512 MiB, ten
//! thousand clients, beside one that pings. Nothing is asserted of the times: they are for docs/attacks.md.
//!
//! ```console
//! $ cargo test --release --test sockets attacks::full -- --include-ignored --nocapture
//! ```

use super::{ask, be_polite};
use crate::common::{Client, KIB, MIB, Server, encode};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const MILLION: usize = 1_000_000;
/// The longest value of an attack.
const VALUE_BYTES: usize = 512 * MIB - KIB;
/// Clients of an attack that has many.
const CLIENTS: usize = 9_000;

/// What is there before it is measured, and what is measured.
struct Attack {
    name: &'static str,
    prepare: fn(SocketAddr),
    run: fn(SocketAddr),
}

const ATTACKS: &[Attack] = &[
    Attack { name: "EXISTS of a million keys", prepare: keys, run: |at| arguments(at, "EXISTS") },
    Attack { name: "TOUCH of a million keys", prepare: keys, run: |at| arguments(at, "TOUCH") },
    Attack { name: "MGET of a million keys", prepare: keys, run: |at| arguments(at, "MGET") },
    Attack { name: "DEL of a million keys", prepare: keys, run: |at| arguments(at, "DEL") },
    Attack { name: "UNLINK of a million keys", prepare: keys, run: |at| arguments(at, "UNLINK") },
    Attack { name: "MSET of 10,000 keys of 100 bytes (one step)", prepare: keys, run: |at| mset(at, 10_000) },
    Attack {
        name: "MSET of 499,999 keys of 100 bytes (one step)",
        prepare: keys,
        run: |at| mset(at, MILLION / 2 - 1),
    },
    Attack { name: "EXEC of 10,000 SETs of 100 bytes (one step)", prepare: keys, run: exec },
    Attack { name: "KEYS * of a million", prepare: keys, run: |at| words(at, &["KEYS", "*"]) },
    Attack {
        name: "SCAN COUNT 10^9 over a million",
        prepare: keys,
        run: |at| words(at, &["SCAN", "0", "COUNT", "1000000000"]),
    },
    Attack { name: "FLUSHALL of a million", prepare: keys, run: |at| words(at, &["FLUSHALL"]) },
    Attack {
        name: "GETRANGE of 512 MiB",
        prepare: value,
        run: |at| words(at, &["GETRANGE", "value", "1", "-2"]),
    },
    Attack { name: "COPY of 512 MiB", prepare: value, run: |at| words(at, &["COPY", "value", "copy"]) },
    Attack { name: "APPEND to 512 MiB", prepare: value, run: |at| words(at, &["APPEND", "value", "x"]) },
    Attack {
        name: "SETRANGE into a shared value of 512 MiB",
        prepare: |at| {
            value(at);
            words(at, &["COPY", "value", "copy"]);
        },
        run: |at| words(at, &["SETRANGE", "copy", "0", "x"]),
    },
    Attack {
        name: "SETRANGE at 512 MiB of an absent key",
        prepare: |_| {},
        run: |at| words(at, &["SETRANGE", "fresh", &(VALUE_BYTES - 1).to_string(), "x"]),
    },
    Attack { name: "BITCOUNT of 512 MiB", prepare: value, run: |at| words(at, &["BITCOUNT", "value"]) },
    Attack {
        name: "BITOP NOT of 512 MiB",
        prepare: value,
        run: |at| words(at, &["BITOP", "NOT", "not", "value"]),
    },
    Attack { name: "DEL of 512 MiB", prepare: value, run: |at| words(at, &["DEL", "value"]) },
    Attack { name: "HGETALL of a million fields", prepare: hash, run: |at| words(at, &["HGETALL", "hash"]) },
    Attack {
        name: "COPY of a hash of a million",
        prepare: hash,
        run: |at| words(at, &["COPY", "hash", "copy"]),
    },
    Attack {
        name: "COPY, then HSET into the copy",
        prepare: hash,
        run: |at| {
            words(at, &["COPY", "hash", "copy"]);
            words(at, &["HSET", "copy", "field:5", "new"]);
        },
    },
    Attack {
        name: "RENAME of a hash of a million",
        prepare: hash,
        run: |at| words(at, &["RENAME", "hash", "new"]),
    },
    Attack { name: "DEL of a hash of a million", prepare: hash, run: |at| words(at, &["DEL", "hash"]) },
    Attack {
        name: "PEXPIRE of a hash of a million",
        prepare: hash,
        run: |at| words(at, &["PEXPIRE", "hash", "1"]),
    },
    Attack { name: "SMEMBERS of a million", prepare: set, run: |at| words(at, &["SMEMBERS", "set"]) },
    Attack {
        name: "SUNIONSTORE of a million",
        prepare: set,
        run: |at| words(at, &["SUNIONSTORE", "union", "set", "set"]),
    },
    Attack { name: "SPOP of 100,000", prepare: set, run: |at| words(at, &["SPOP", "set", "100000"]) },
    Attack { name: "CLIENT LIST of 9,000", prepare: |_| {}, run: client_list },
    Attack { name: "9,000 clients close at once", prepare: |_| {}, run: close_at_once },
];

#[test]
#[ignore = "takes minutes and 4 GiB, and its times mean something in a release build alone"]
fn a_polite_client_beside_every_attack_at_full_size() {
    println!("\n{:<52} {:>11}", "attack", "worst PING");
    for Attack { name, prepare, run } in ATTACKS {
        let server = Server::start(&["--memory", "4GiB", "--max-clients", "10000", "--admin", "off"]);
        prepare(server.address);
        let stop = Arc::new(AtomicBool::new(false));
        let polite = {
            let (stop, address) = (Arc::clone(&stop), server.address);
            thread::spawn(move || be_polite(address, &stop))
        };
        thread::sleep(Duration::from_millis(50));
        run(server.address);
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        let worst_ping =
            polite.join().unwrap_or_else(|_| panic!("the polite client fell: {}", server.stderr()));
        println!("{name:<52} {:>8.1} ms", worst_ping.as_secs_f64() * 1e3);
    }
}

/// Sends commands in batches and takes the replies.
fn fill(address: SocketAddr, commands: impl Iterator<Item = Vec<u8>>) {
    let mut client = Client::connect(address);
    let commands: Vec<_> = commands.collect();
    for batch in commands.chunks(512) {
        client.send(&batch.concat());
        batch.iter().for_each(|_| _ = client.reply());
    }
}

fn key(number: usize) -> String {
    format!("key:{number:07}")
}

fn keys(address: SocketAddr) {
    let value = [b'v'; 100];
    fill(address, (0..MILLION).map(|number| encode(&[b"SET".as_slice(), key(number).as_bytes(), &value])));
}

fn value(address: SocketAddr) {
    Client::connect(address).call(&[b"SET".as_slice(), b"value", &vec![b'x'; VALUE_BYTES]]);
}

/// A hash, or a set, of a million entries, by commands of a thousand each.
fn entries(address: SocketAddr, verb: &str, key: &str, with_values: bool) {
    let command = |first: usize| {
        let mut words = vec![verb.to_owned(), key.to_owned()];
        for number in first..first + 1000 {
            words.push(format!("field:{number}"));
            words.extend(with_values.then(|| format!("value:{number}")));
        }
        encode(&words)
    };
    fill(address, (0..MILLION).step_by(1000).map(command));
}

fn hash(address: SocketAddr) {
    entries(address, "HSET", "hash", true);
}

fn set(address: SocketAddr) {
    entries(address, "SADD", "set", false);
}

fn words(address: SocketAddr, words: &[&str]) {
    ask(address, &encode(words), 1);
}

fn arguments(address: SocketAddr, verb: &str) {
    let mut words = vec![verb.to_owned()];
    words.extend((0..MILLION - 1).map(key));
    ask(address, &encode(&words), 1);
}

fn mset(address: SocketAddr, count: usize) {
    let mut words = vec![b"MSET".to_vec()];
    for number in 0..count {
        words.push(format!("mset:{number}").into_bytes());
        words.push(vec![b'x'; 100]);
    }
    ask(address, &encode(&words), 1);
}

fn exec(address: SocketAddr) {
    let queued = (0..10_000).map(|number| encode(&[b"SET".as_slice(), key(number).as_bytes(), &[b'x'; 100]]));
    let all = [b"MULTI\r\n".to_vec(), queued.collect::<Vec<_>>().concat(), b"EXEC\r\n".to_vec()].concat();
    ask(address, &all, 20_000);
}

fn client_list(address: SocketAddr) {
    let _clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(address)).collect();
    ask(address, &b"CLIENT LIST\r\n".repeat(5), 5);
}

fn close_at_once(address: SocketAddr) {
    let clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(address)).collect();
    thread::sleep(Duration::from_millis(100));
    drop(clients);
    thread::sleep(Duration::from_millis(500));
}
