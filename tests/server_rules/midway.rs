//! What happens while a command is under way, between two of its slices or within one: to its client, and to what it holds.

use crate::common::{KIB, MIB, encode, show};
use crate::in_process::InProcess;
use crate::rules::with_resources;
use pannier::connection::ConnectionId;
use pannier::server::Resources;
use pannier::store::StoreConfig;

/// Gives the server all of it, as it takes it, and takes nothing that it answers.
fn receive_all(process: &mut InProcess, id: ConnectionId, mut bytes: &[u8]) {
    for _ in 0..10_000 {
        if bytes.is_empty() {
            return;
        }
        let taken = process.receive(id, bytes);
        bytes = &bytes[taken..];
        process.server.run(id, process.now);
    }
    panic!("{} bytes are not taken", bytes.len());
}

fn used_memory(process: &mut InProcess, id: ConnectionId) -> String {
    let info = String::from_utf8_lossy(&process.send(id, b"INFO memory\r\n")).into_owned();
    let line = info.lines().find(|line| line.starts_with("used_memory:"));
    line.unwrap_or_else(|| panic!("{info}")).to_owned()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_time_that_runs_out_of_range_between_two_slices_is_an_error() {
    let config = StoreConfig { memory_bytes: 64 * MIB, ..StoreConfig::default() };
    let mut process = InProcess::new(config, 4, Resources::default(), None);
    let (id, value) = (process.connect(), vec![b'v'; 8 * MIB]);
    assert_eq!(process.send(id, &encode(&[b"SET".as_slice(), b"k", &value])), b"+OK\r\n");
    let before = used_memory(&mut process, id);
    let longest_ms = i64::MAX as u64 - process.now.unix.0 - 1;
    let longest = longest_ms.to_string();
    let words = [b"SET".as_slice(), b"k", b"x", b"IFEQ", &value, b"PX", longest.as_bytes()];
    receive_all(&mut process, id, &encode(&words));
    assert!(process.server.is_replying(id), "it is compared in slices");
    process.advance(5);
    let answer = process.send(id, b"PING\r\n");
    assert!(show(&answer).starts_with("-ERR invalid expire"), "{}", show(&answer));
    assert!(answer.ends_with(b"+PONG\r\n"));
    assert_eq!(used_memory(&mut process, id), before, "what it held is given back");
    process.server.invariants();
}

#[test]
fn a_client_that_is_sent_too_much_by_its_own_transaction_has_its_answer() {
    let mut process = with_resources(4, Resources::default());
    let id = process.connect();
    process.send(id, b"HELLO 3\r\nSUBSCRIBE c\r\n");
    for at in 0..600 {
        process.send(id, &encode(&[b"SET".as_slice(), format!("key:{at}").as_bytes(), b"v"]));
    }
    process.send(id, b"MULTI\r\n");
    let message = vec![b'm'; 60 * KIB];
    for _ in 0..40 {
        process.send(id, &encode(&[b"PUBLISH".as_slice(), b"c", &message]));
    }
    process.send(id, b"KEYS *\r\n");
    receive_all(&mut process, id, b"EXEC\r\n");
    assert!(process.is_closing(id), "it was sent more than may wait");
    let mut answer = Vec::new();
    process.pump(id, &mut answer);
    assert!(answer.starts_with(b"*41\r\n:1\r\n"), "{}", show(&answer));
    assert!(contains(&answer, b"*600\r\n"), "all of its array");
    assert!(process.is_closed(id));
    process.server.invariants();
}

#[test]
fn a_short_message_does_not_end_a_client_that_takes_a_long_reply() {
    let mut process = with_resources(4, Resources::default());
    let (reader, other) = (process.connect(), process.connect());
    let value = vec![b'v'; 3 * MIB / 2];
    assert_eq!(process.send(other, &encode(&[b"SET".as_slice(), b"long", &value])), b"+OK\r\n");
    process.send(reader, b"HELLO 3\r\nSUBSCRIBE c\r\n");
    // An eighth of the store is what long messages may pin; a long reply pins more.
    receive_all(&mut process, reader, b"GET long\r\n");
    assert_eq!(show(&process.send(other, b"PUBLISH c short\r\n")), show(b":1\r\n"));
    assert!(!process.is_closing(reader), "closed for its own reply");
    let mut answer = Vec::new();
    process.pump(reader, &mut answer);
    assert!(answer.len() > value.len(), "{}", show(&answer));
    assert!(answer.ends_with(b"short\r\n"), "{}", show(&answer));
}

#[test]
fn a_member_that_stays_is_in_a_union_whatever_goes_meanwhile() {
    let config = StoreConfig { memory_bytes: 64 * MIB, ..StoreConfig::default() };
    let mut process = InProcess::new(config, 4, Resources::default(), None);
    let (asker, other) = (process.connect(), process.connect());
    let sets: Vec<String> = (0..200).map(|set| format!("set:{set}")).collect();
    let members: Vec<Vec<String>> =
        (0..200).map(|set| (0..100).map(|at| format!("{set}:{at}")).collect()).collect();
    for (set, members) in sets.iter().zip(&members) {
        let words = ["SADD", set].into_iter().chain(members.iter().map(String::as_str));
        process.send(other, &encode(&words.map(str::as_bytes).collect::<Vec<_>>()));
    }
    let words = ["SUNIONSTORE", "union"].into_iter().chain(sets.iter().map(String::as_str));
    receive_all(&mut process, asker, &encode(&words.map(str::as_bytes).collect::<Vec<_>>()));
    let mut slices = 0;
    while process.server.is_replying(asker) {
        // The first that is left goes from each of the short sets, and those behind it move up.
        if slices < 50 {
            for (set, members) in sets.iter().zip(&members) {
                let removal = encode(&[b"SREM", set.as_bytes(), members[slices].as_bytes()]);
                assert_eq!(process.send(other, &removal), b":1\r\n");
            }
        }
        process.server.run(asker, process.now);
        slices += 1;
        assert!(slices < 1_000);
    }
    assert!(slices > 10, "it is made in slices: {slices}");
    for member in members.iter().flat_map(|members| &members[50..]) {
        let is_there = process.send(other, &encode(&[b"SISMEMBER".as_slice(), b"union", member.as_bytes()]));
        assert_eq!(is_there, b":1\r\n", "{member}");
    }
    process.server.invariants();
}
