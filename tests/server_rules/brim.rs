//! A store that is full to the brim, behind the server: see `common/brim.rs`.

use crate::brim::{Brim, LENS};
use crate::common::{MIB, encode, show};
use crate::in_process::InProcess;
use pannier::server::Resources;
use pannier::store::{OnFull, StoreConfig};

fn goes_on(memory_bytes: usize, on_full: OnFull, lens: &[usize]) {
    for len in lens.iter().copied() {
        let config = StoreConfig { memory_bytes, on_full, ..StoreConfig::default() };
        let mut process = InProcess::new(config, 4, Resources::default(), None);
        let id = process.connect();
        let mut ask = |words: &[&[u8]]| process.send(id, &encode(words));
        Brim::new(&mut ask, on_full == OnFull::Evict).check(len);
        process.server.engine().store.invariants();
    }
}

#[test]
fn a_store_that_refuses_replaces_values_of_every_size() {
    // The smaller one has room for four values of 1 MiB, and for a script's memory.
    for memory_bytes in [8 * MIB, 24 * MIB] {
        goes_on(memory_bytes, OnFull::Refuse, &LENS);
    }
}

#[test]
fn a_store_that_evicts_replaces_values_of_every_size() {
    goes_on(24 * MIB, OnFull::Evict, &LENS);
}

/// Until one is refused: short hashes with a field that has a time, short sets, strings that get shorter; then times to live.
/// How many collections of each kind there are.
fn fill(ask: &mut dyn FnMut(&str) -> Vec<u8>, value_len: usize) -> usize {
    let value = "v".repeat(value_len);
    let mut ok = |line: &str| !ask(line).starts_with(b"-OOM");
    let mut count = 0;
    while ok(&format!("HSET h{count} a {value} b {value} c {value}"))
        && ok(&format!("SADD s{count} a{value} b{value} c{value}"))
    {
        ok(&format!("HPEXPIRE h{count} 100000 FIELDS 1 a"));
        count += 1;
    }
    for len in [1000, 100, 10, 1] {
        let mut number = 0;
        while ok(&format!("SET string:{len}:{number} {}", "s".repeat(len))) {
            ok(&format!("EXPIRE string:{len}:{number} 100"));
            number += 1;
        }
    }
    for number in 0..count {
        ok(&format!("EXPIRE h{number} 100"));
        ok(&format!("EXPIRE s{number} 100"));
    }
    count
}

/// A server over a store of little more than a hundred segments of 4 KiB.
fn small_server() -> InProcess {
    let (memory_bytes, segment_bytes) = (600 * 1024, 4096);
    let config = StoreConfig { memory_bytes, segment_bytes, leaf_buckets: 16, ..StoreConfig::default() };
    InProcess::new(config, 4, Resources::default(), None)
}

#[test]
fn a_full_store_refuses_nothing_that_frees() {
    for value_len in [3, 40, 150] {
        let mut process = small_server();
        let id = process.connect();
        let mut ask = |line: &str| {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            process.send(id, &encode(&words))
        };
        let count = fill(&mut ask, value_len);
        assert!(count > 10, "{count}");
        let has =
            |reply: &[u8], text: &str| assert_eq!(show(reply), show(text.as_bytes()), "{value_len} bytes");
        let value = "v".repeat(value_len);
        for number in 0..count {
            match number % 3 {
                0 => has(&ask(&format!("HPERSIST h{number} FIELDS 1 a")), "*1\r\n:1\r\n"),
                1 => has(&ask(&format!("HDEL h{number} b a")), ":2\r\n"),
                _ => {
                    let expected = format!("*1\r\n${value_len}\r\n{value}\r\n");
                    has(&ask(&format!("HGETDEL h{number} FIELDS 1 c")), &expected);
                }
            }
            match number % 2 {
                0 => has(&ask(&format!("SREM s{number} b{value}")), ":1\r\n"),
                _ => assert!(ask(&format!("SPOP s{number}")).starts_with(b"$"), "{value_len} bytes"),
            }
            let left = [3, 1, 2][number % 3];
            has(&ask(&format!("HLEN h{number}")), &format!(":{left}\r\n"));
            has(&ask(&format!("SCARD s{number}")), ":2\r\n");
        }
        for number in 0..count {
            has(&ask(&format!("DEL h{number} s{number}")), ":2\r\n");
        }
        process.server.engine().store.invariants();
    }
}

/// Pages that are shared with a copy cannot be written without room for copies of their own.
#[test]
fn what_hgetdel_answers_is_gone() {
    let mut process = small_server();
    let id = process.connect();
    let mut ask = |line: &str| {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        show(&process.send(id, &encode(&words)))
    };
    let names: Vec<String> = (0..400).map(|number| format!("field{number}")).collect();
    for name in &names {
        assert_eq!(ask(&format!("HSET hash {name} {name}")), ":1\\r\\n");
    }
    assert_eq!(ask("COPY hash copy"), ":1\\r\\n");
    fill(&mut |line| ask(line).into_bytes(), 40);
    let mut refused = 0;
    for name in &names {
        let answer = ask(&format!("HGETDEL hash FIELDS 1 {name}"));
        let is_there = ask(&format!("HEXISTS hash {name}")) == ":1\\r\\n";
        let expected = if is_there {
            "*1\\r\\n$-1\\r\\n".into()
        } else {
            format!("*1\\r\\n${}\\r\\n{name}\\r\\n", name.len())
        };
        assert_eq!(answer, expected);
        refused += u32::from(is_there);
    }
    assert!(refused > 0, "the store is not full enough to show it");
    process.server.engine().store.invariants();
}
