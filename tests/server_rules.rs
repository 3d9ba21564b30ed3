//! Rules of the I/O-free server that are hard to see from one command's reply: what one command leaves to the next, and
//! what one client's needs do to another.

#![cfg(feature = "cli")]

mod common;
#[path = "common/in_process.rs"]
mod in_process;

use common::{KIB, MIB, encode, show};
use in_process::InProcess;
use pannier::limits::STREAM_FRAME_BYTES_MAX;
use pannier::server::Settings;
use pannier::store::StoreConfig;
use pannier::wire::frame::{self, Direction, FRAME_LEN_MIN, Head, Op, Reject, Status};

#[test]
fn a_refused_argument_is_the_fault_of_its_own_command_only() {
    let config = StoreConfig { memory_bytes: 8 * MIB, max_value_bytes: 100_000, ..StoreConfig::default() };
    let mut process = InProcess::new(config, Settings { max_clients: 4, ..Settings::default() }, None);
    let id = process.connect();
    let large = vec![b'x'; 200_000];
    for words in
        [[b"NONSENSE".as_slice(), b"a", &large], [b"GET", b"a", &large], [b"CLIENT", b"NONSENSE", &large]]
    {
        let answer = process.send(id, &encode(&words));
        assert!(answer.starts_with(b"-ERR") && !show(&answer).contains("200000"), "{}", show(&answer));
        assert_eq!(show(&process.send(id, b"SET k v\r\n")), show(b"+OK\r\n"));
    }
    let answer = process.send(id, &encode(&[b"SET".as_slice(), b"k", &large]));
    assert!(show(&answer).contains("200000"), "{}", show(&answer));
}

#[test]
fn client_reply_skip_skips_one_command_of_any_kind() {
    let mut process = InProcess::with_memory(8 * MIB);
    for skipped in ["UNWATCH", "WATCH k", "CLIENT INFO", "CLIENT UNPAUSE", "GET k", "NONSENSE"] {
        let id = process.connect();
        let answer = process.send(id, format!("CLIENT REPLY SKIP\r\n{skipped}\r\nPING\r\n").as_bytes());
        assert_eq!(show(&answer), show(b"+PONG\r\n"), "{skipped}");
        process.server.close(id);
    }
    let id = process.connect();
    let answer = process.send(id, b"MULTI\r\nPING\r\nPING\r\nCLIENT REPLY SKIP\r\nEXEC\r\nPING\r\n");
    // The transaction's array has a place for each reply but that of CLIENT REPLY SKIP, as in Redis; then one is skipped.
    let queued = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+PONG\r\n+PONG\r\n";
    assert_eq!(show(&answer), show(queued));
    assert_eq!(show(&process.send(id, b"PING\r\n")), show(b"+PONG\r\n"));
}

#[test]
fn a_client_that_queues_is_not_closed_for_the_input_of_others() {
    let settings = Settings { max_clients: 40, input_bytes: 128 * KIB, ..Settings::default() };
    let config = StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() };
    let mut process = InProcess::new(config, settings, None);
    let queuing = process.connect();
    process.send(queuing, b"MULTI\r\n");
    for _ in 0..100 {
        assert_eq!(process.send(queuing, &encode(&[b"SET".as_slice(), b"k", &[b'x'; 1000]])), b"+QUEUED\r\n");
    }
    let half = encode(&[b"SET".as_slice(), b"k", &[b'x'; 60_000]]);
    let greedy: Vec<_> = (0..8).map(|_| process.connect()).collect();
    for &id in &greedy {
        process.send(id, &half[..40_000]);
    }
    assert!(greedy.iter().any(|&id| process.is_closed(id)), "the input buffers were not exhausted");
    assert!(process.send(queuing, b"EXEC\r\n").starts_with(b"*100\r\n+OK\r\n"));
}

#[test]
fn a_short_transaction_takes_little_of_what_all_transactions_share() {
    let settings = Settings { max_clients: 40, queue_bytes: 64 * KIB, ..Settings::default() };
    let config = StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() };
    let mut process = InProcess::new(config, settings, None);
    let clients: Vec<_> = (0..30).map(|_| process.connect()).collect();
    for (number, id) in clients.iter().enumerate() {
        let answer = process.send(*id, format!("WATCH k{number}\r\nMULTI\r\nSET k{number} v\r\n").as_bytes());
        assert_eq!(show(&answer), show(b"+OK\r\n+OK\r\n+QUEUED\r\n"), "client {number}");
    }
    // A long one among them finds room as it grows, or is told; the others are not harmed.
    let long = process.connect();
    process.send(long, b"MULTI\r\n");
    let answer = process.send(long, &encode(&[b"SET".as_slice(), b"k", &vec![b'x'; 8 * KIB]]));
    assert!(answer.starts_with(b"-ERR transaction queue is larger than the limit"), "{}", show(&answer));
    for (number, id) in clients.iter().enumerate() {
        assert_eq!(show(&process.send(*id, b"EXEC\r\n")), show(b"*1\r\n+OK\r\n"), "client {number}");
    }
    process.server.close(long);
    assert_eq!(process.server.buffer_bytes(), 0);
}

#[test]
fn a_key_that_came_and_went_while_it_was_watched_has_changed() {
    let config = StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() };
    let mut process = InProcess::new(config, Settings { max_clients: 4, ..Settings::default() }, None);
    let (careful, other) = (process.connect(), process.connect());
    let exec = b"MULTI\r\nSET k mine\r\nEXEC\r\n";
    for between in ["SET k v\r\nDEL k\r\n", "SET k v\r\nRENAME k l\r\n", "SET k v\r\nFLUSHALL\r\n"] {
        process.send(careful, b"DEL k\r\nWATCH k\r\n");
        process.send(other, between.as_bytes());
        assert_eq!(show(&process.send(careful, exec)), show(b"+OK\r\n+QUEUED\r\n*-1\r\n"), "{between}");
    }
    process.send(careful, b"DEL k\r\nWATCH k\r\n");
    process.send(other, b"SET other v\r\n");
    assert_eq!(show(&process.send(careful, exec)), show(b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"));
}

/// docs/protocol.md: 65,536 bytes. The length alone decides; nobody waits for the rest.
#[test]
fn a_frame_over_tcp_has_a_longest_length() {
    let mut process = InProcess::with_memory(8 * MIB);
    let mut bytes = vec![0; STREAM_FRAME_BYTES_MAX + 1];
    for (value_len, too_long) in
        [(STREAM_FRAME_BYTES_MAX - FRAME_LEN_MIN, false), (STREAM_FRAME_BYTES_MAX - FRAME_LEN_MIN + 1, true)]
    {
        let head = Head::request(Op::Ping, 1, 1);
        let len = frame::encode(&mut bytes, &head, b"", &vec![0; value_len], None).expect("fits");
        let id = process.connect();
        let answer = process.send(id, &bytes[..if too_long { FRAME_LEN_MIN } else { len }]);
        let reply = frame::decode_datagram(&answer, Direction::Reply).expect("a frame").head;
        let expected =
            if too_long { (Status::BadOp, Reject::TooLong as u64) } else { (Status::WrongEpoch, 0) };
        assert_eq!((reply.status(), reply.argument), (Some(expected.0), expected.1));
        assert_eq!(process.is_closed(id), too_long);
    }
}
