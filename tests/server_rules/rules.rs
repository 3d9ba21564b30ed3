//! Rules of the I/O-free server that are hard to see from one command's reply: what one command leaves to the next, and
//! what one client's needs do to another.

use crate::common::{KIB, MIB, encode, show};
use crate::in_process::InProcess;
use pannier::limits::STREAM_FRAME_BYTES_MAX;
use pannier::mutation::Database;
use pannier::server::Resources;
use pannier::store::{OnFull, StoreConfig};
use pannier::wire::frame::{self, Direction, FRAME_LEN_MIN, Head, Op, Reject, Status};
use std::time::Duration;

pub fn with_resources(max_clients: usize, resources: Resources) -> InProcess {
    let config = StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() };
    InProcess::new(config, max_clients, resources, None)
}

#[test]
fn a_refused_argument_is_the_fault_of_its_own_command_only() {
    let config = StoreConfig { memory_bytes: 8 * MIB, max_value_bytes: 100_000, ..StoreConfig::default() };
    let mut process = InProcess::new(config, 4, Resources::default(), None);
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
fn a_member_too_long_for_any_field_is_none_and_the_type_is_looked_at() {
    let mut process = InProcess::with_memory(8 * MIB);
    let id = process.connect();
    process.send(id, b"SET text v\r\nSADD set a\r\nHSET hash f v\r\n");
    for len in [40_000, 100_000] {
        let long = vec![b'x'; len];
        for (verb, key) in [("SREM", "set"), ("HDEL", "hash"), ("SISMEMBER", "set"), ("HEXISTS", "hash")] {
            let mut ask =
                |key: &str| show(&process.send(id, &encode(&[verb.as_bytes(), key.as_bytes(), &long])));
            assert_eq!(ask(key), show(b":0\r\n"), "{verb} of {len} bytes");
            assert!(ask("text").starts_with("-WRONGTYPE"), "{verb} of {len} bytes");
            assert_eq!(ask("absent"), show(b":0\r\n"), "{verb} of {len} bytes");
        }
    }
}

/// A body is taken in only where it may be stored: what will be refused anyway takes nothing, and what only a reply is
/// made of takes what is spare.
#[test]
fn a_long_argument_that_is_stored_nowhere_drives_out_nothing() {
    let config = StoreConfig { memory_bytes: 4 * MIB, on_full: OnFull::Evict, ..StoreConfig::default() };
    let mut process = InProcess::new(config, 4, Resources::default(), None);
    let id = process.connect();
    for number in 0..6_000 {
        let key = format!("key:{number}");
        process.send(id, &encode(&[b"SET".as_slice(), key.as_bytes(), &[b'v'; 1000]]));
    }
    let evicted = |process: &InProcess| process.server.engine().store.statistics().evicted;
    let before = evicted(&process);
    assert!(before > 0, "the store is not full");
    let large = vec![b'x'; 2_000_000];
    let refused: [&[&[u8]]; 8] = [
        &[b"NONSENSE", &large],
        &[&large, b"a"],
        &[b"SET", &large],
        &[b"APPEND", b"a", &large, b"b"],
        &[b"CONFIG", b"NONSENSE", &large],
        &[b"CONFIG", &large],
        &[b"GET", &large],
        &[b"ECHO", &large],
    ];
    for words in refused {
        let answer = process.send(id, &encode(words));
        assert!(matches!(answer.first(), Some(b'-' | b'$')), "{}", show(&answer[..100]));
        assert_eq!(evicted(&process), before, "{}", show(words[0].get(..20).unwrap_or(words[0])));
    }
    assert_eq!(process.server.engine().store.large_count(), 0);
    let answer = process.send(id, &encode(&[b"SET".as_slice(), b"k", &large]));
    assert_eq!(show(&answer), show(b"+OK\r\n"));
    assert!(evicted(&process) > before, "a value has its room");
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
}

#[test]
fn what_is_not_read_yet_is_not_the_clients_delay() {
    let mut process = InProcess::with_memory(8 * MIB);
    let (whole, id) = (encode(&[b"SET".as_slice(), b"k", &[b'x'; 60_000]]), process.connect());
    process.send(id, &whole[..100]);
    // The server does nothing for a while, and then reads what fits; the rest waits in the socket.
    process.now.monotonic = process.now.monotonic.plus(11_000);
    let taken = process.receive(id, &whole[100..]);
    assert!(taken < whole.len() - 100, "it was read in one go");
    process.server.input_left(id, true);
    process.server.run(id, process.now);
    process.advance(0);
    assert!(!process.is_closing(id));
    assert_eq!(show(&process.send(id, &whole[100 + taken..])), show(b"+OK\r\n"));
    // Where nothing is left to be read, the limit holds.
    process.send(id, &whole[..100]);
    process.server.input_left(id, false);
    process.advance(11_000);
    assert!(process.is_closing(id));
}

/// The time limit on requests is for bytes that do not come, not for an answer that takes its time.
#[test]
fn a_command_that_came_in_pieces_may_be_answered_for_longer_than_a_command_may_come() {
    let mut process = InProcess::with_memory(8 * MIB);
    let (id, other) = (process.connect(), process.connect());
    process.send(id, &encode(&[b"SET".as_slice(), b"k", &[b'x'; 1000]]));
    let whole = encode(&[b"MGET".as_slice()].into_iter().chain([b"k".as_slice(); 500]).collect::<Vec<_>>());
    process.send(id, &whole[..100]);
    process.advance(9_000);
    process.receive(id, &whole[100..]);
    let mut answer = Vec::new();
    for _ in 0..100 {
        process.server.run(id, process.now);
        process.take_output(id, usize::MAX, &mut answer);
        process.advance(2_000);
    }
    assert!(!process.is_closing(id));
    assert_eq!(answer.len(), b"*500\r\n".len() + 500 * (b"$1000\r\n\r\n".len() + 1000));
    // The same for one that is held by CLIENT PAUSE.
    process.send(id, b"SET k ");
    process.advance(9_000);
    process.send(other, b"CLIENT PAUSE 60000\r\n");
    assert_eq!(show(&process.send(id, b"v\r\n")), "");
    process.advance(59_000);
    assert!(!process.is_closing(id));
    process.advance(2_000);
    assert_eq!(show(&process.send(id, b"PING\r\n")), show(b"+OK\r\n+PONG\r\n"));
}

#[test]
fn a_short_transaction_takes_little_of_what_all_transactions_share() {
    let resources = Resources { queue_bytes: 64 * KIB, ..Resources::default() };
    let mut process = with_resources(40, resources);
    let clients: Vec<_> = (0..30).map(|_| process.connect()).collect();
    for (number, id) in clients.iter().enumerate() {
        let answer = process.send(*id, format!("WATCH k{number}\r\nMULTI\r\nSET k{number} v\r\n").as_bytes());
        assert_eq!(show(&answer), show(b"+OK\r\n+OK\r\n+QUEUED\r\n"), "client {number}");
    }
    // A long one among them finds room as it grows, or is told; the others are not harmed.
    let long = process.connect();
    process.send(long, b"MULTI\r\n");
    let answer = process.send(long, &encode(&[b"SET".as_slice(), b"k", &vec![b'x'; 8 * KIB]]));
    assert!(answer.starts_with(b"-ERR the transactions of all clients hold "), "{}", show(&answer));
    for (number, id) in clients.iter().enumerate() {
        assert_eq!(show(&process.send(*id, b"EXEC\r\n")), show(b"*1\r\n+OK\r\n"), "client {number}");
    }
    process.server.close(long);
    assert_eq!(process.server.buffer_bytes(), 0);
}

#[test]
fn a_key_that_came_and_went_while_it_was_watched_has_changed() {
    let config = StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() };
    let mut process = InProcess::new(config, 4, Resources::default(), None);
    let (careful, other) = (process.connect(), process.connect());
    let exec = b"MULTI\r\nSET k mine\r\nEXEC\r\n";
    for between in ["SET k v\r\nDEL k\r\n", "SET k v\r\nRENAME k l\r\n", "SET k v\r\nFLUSHALL\r\n"] {
        process.send(careful, b"DEL k\r\nWATCH k\r\n");
        process.send(other, between.as_bytes());
        assert_eq!(show(&process.send(careful, exec)), show(b"+OK\r\n+QUEUED\r\n*-1\r\n"), "{between}");
    }
    // One that has expired, and that nobody has met since, is gone as well.
    process.send(careful, b"DEL k\r\nWATCH k\r\n");
    process.send(other, b"SET k v PX 10\r\n");
    assert_eq!(show(&process.send(careful, b"GET k\r\n")), show(b"$1\r\nv\r\n"));
    process.now.unix = process.now.unix.plus(20);
    assert_eq!(show(&process.send(careful, exec)), show(b"+OK\r\n+QUEUED\r\n*-1\r\n"), "expired");
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
            if too_long { (Status::BadOp, Reject::TooLong as u64) } else { (Status::Challenge, 0) };
        assert_eq!((reply.status(), reply.argument), (Some(expected.0), expected.1));
        assert_eq!(process.is_closed(id), too_long);
    }
}

#[test]
fn a_time_limit_of_zero_is_no_limit_whatever_the_limit() {
    let mut process = InProcess::with_memory(8 * MIB);
    let runtime = &mut process.server.engine_mut().runtime;
    runtime.request_timeout = Duration::ZERO.into();
    runtime.write_timeout = Duration::ZERO.into();
    let (slow, unread, idle) = (process.connect(), process.connect(), process.connect());
    process.receive(slow, b"*2\r\n$3\r\nGET\r\n$1\r\n");
    process.server.run(slow, process.now);
    process.receive(unread, b"PING\r\n");
    process.server.run(unread, process.now);
    for _ in 0..10 {
        process.advance(24 * 3_600_000);
        process.attend();
        for id in [slow, unread, idle] {
            assert!(!process.is_closing(id));
        }
    }
    assert_eq!(show(&process.send(slow, b"k\r\n")), show(b"$-1\r\n"));
}

#[test]
fn config_set_timeout_holds_for_clients_that_are_idle_already() {
    let mut process = InProcess::with_memory(8 * MIB);
    let (idle, asker) = (process.connect(), process.connect());
    process.advance(3_000);
    process.send(asker, b"CONFIG SET timeout 5\r\n");
    process.advance(2_100);
    process.attend();
    assert!(process.is_closed(idle) && !process.is_closed(asker));
    process.send(asker, b"CONFIG SET timeout 0\r\n");
    process.advance(60_000);
    process.attend();
    assert!(!process.is_closed(asker));
}

#[test]
fn strangers_hold_their_places_only_so_long() {
    let config = StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() };
    let mut process = InProcess::new(config, 4, Resources::default(), Some(b"secret"));
    let (silent, busy, known) = (process.connect(), process.connect(), process.connect());
    assert_eq!(show(&process.send(known, b"AUTH secret\r\n")), show(b"+OK\r\n"));
    for _ in 0..9 {
        process.advance(1_000);
        assert!(process.send(busy, b"PING\r\n").starts_with(b"-NOAUTH"), "asking is not authenticating");
    }
    assert!(!process.is_closing(silent));
    process.advance(1_100);
    let mut answer = Vec::new();
    process.pump(silent, &mut answer);
    assert_eq!(
        show(&answer),
        show(b"-NOAUTH authentication was not finished within the server's time limit\r\n")
    );
    assert!(process.is_closed(silent) && process.is_closing(busy) && !process.is_closing(known));
    assert_eq!(process.server.engine().metrics.closes.auth_timeout, 1);
}

fn occurrences(bytes: &[u8], of: &[u8]) -> usize {
    bytes.windows(of.len()).filter(|window| *window == of).count()
}

#[test]
fn guessing_passwords_is_slow_and_keeps_nobody_else_waiting() {
    let config = StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() };
    let mut process = InProcess::new(config, 40, Resources::default(), Some(b"secret"));
    let (guesser, known) = (process.connect(), process.connect());
    assert_eq!(show(&process.send(known, b"AUTH secret\r\n")), show(b"+OK\r\n"));
    // A pipeline of guesses, and then the right one: the first few are answered at once.
    let mut answer =
        process.send(guesser, &[b"AUTH wrong\r\n".repeat(10), b"AUTH secret\r\n".to_vec()].concat());
    let count = |answer: &[u8]| occurrences(answer, b"-WRONGPASS");
    assert_eq!(count(&answer), 6, "{}", show(&answer));
    // The delay doubles: 50, 100, 200, 400 ms; the right password waits as long as a wrong one would.
    let mut waited_ms = 0;
    while !answer.ends_with(b"+OK\r\n") {
        process.advance(10);
        waited_ms += 10;
        assert_eq!(show(&process.send(known, b"PING\r\n")), show(b"+PONG\r\n"));
        process.pump(guesser, &mut answer);
        assert!(waited_ms < 5_000, "{}", show(&answer));
    }
    assert_eq!(count(&answer), 10);
    assert!((1_500..2_000).contains(&waited_ms), "{waited_ms} ms");
    // Another connection from there waits as well, HELLO with AUTH too, and PING does not.
    let next = process.connect();
    assert!(process.send(next, b"PING\r\n").starts_with(b"-NOAUTH"));
    assert_eq!(show(&process.send(next, b"HELLO 3 AUTH default secret\r\n")), "");
    process.advance(1_100);
    let mut answer = Vec::new();
    process.pump(next, &mut answer);
    assert!(answer.starts_with(b"%7"), "{}", show(&answer));
    // One that goes away in between leaves nothing behind.
    let gone = process.connect();
    process.send(gone, b"AUTH secret\r\n");
    process.server.close(gone);
    process.advance(2_000);
    process.server.invariants();
    let info = process.send(known, b"INFO stats\r\n");
    for line in [&b"auth_failures:10\r"[..], b"auth_delays:7\r"] {
        assert_eq!(occurrences(&info, line), 1, "{}", show(line));
    }
}

#[test]
fn a_tls_hello_runs_nothing_and_closes() {
    let mut process = InProcess::with_memory(8 * MIB);
    let id = process.connect();
    let answer = process.send(id, b"\x16\x03\x01\x02\x00\r\nSET foo bar\r\nSET foo bar\r\n");
    assert!(answer.is_empty() && process.is_closed(id), "{}", show(&answer));
    let id = process.connect();
    assert_eq!(show(&process.send(id, b"EXISTS foo\r\n")), show(b":0\r\n"));
    assert_eq!(process.server.engine().metrics.closes.protocol_error, 1);
}

#[test]
fn a_command_of_very_many_arguments_is_answered_whole_in_slices() {
    const COUNT: usize = 40_000;
    let config = StoreConfig { memory_bytes: 32 * MIB, ..StoreConfig::default() };
    let resources = Resources { input_bytes: 16 * MIB, ..Resources::default() };
    let mut process = InProcess::new(config, 4, resources, None);
    let id = process.connect();
    let keys: Vec<String> = (0..COUNT).map(|number| format!("k{number}")).collect();
    let command = |verb: &str, each: &dyn Fn(&str) -> Vec<String>| {
        let words: Vec<String> =
            std::iter::once(verb.to_owned()).chain(keys.iter().flat_map(|key| each(key))).collect();
        encode(&words.iter().map(String::as_bytes).collect::<Vec<_>>())
    };
    let key = |key: &str| vec![key.to_owned()];
    assert_eq!(
        show(&process.send(id, &command("MSET", &|key| vec![key.to_owned(), key.to_owned()]))),
        show(b"+OK\r\n")
    );
    assert_eq!(show(&process.send(id, &command("EXISTS", &key))), format!(":{COUNT}\\r\\n"));
    let answer = process.send(id, &command("MGET", &key));
    let expected: Vec<u8> = format!("*{COUNT}\r\n")
        .into_bytes()
        .into_iter()
        .chain(keys.iter().flat_map(|key| format!("${}\r\n{key}\r\n", key.len()).into_bytes()))
        .collect();
    assert!(answer == expected, "MGET in slices: {} bytes", answer.len());
    // In a transaction it is one step.
    process.send(id, b"MULTI\r\n");
    process.send(id, &command("TOUCH", &key));
    assert_eq!(show(&process.send(id, b"EXEC\r\n")), format!("*1\\r\\n:{COUNT}\\r\\n"));
    assert_eq!(show(&process.send(id, &command("DEL", &key))), format!(":{COUNT}\\r\\n"));
    let names = encode(&[&[&b"COMMAND"[..], b"INFO"][..], &[&b"nonsense"[..]; 3_000]].concat());
    let answer = process.send(id, &names);
    assert!(answer.starts_with(b"*3000\r\n"), "{}", show(&answer[..50]));
    assert_eq!(answer.len(), 7 + 3_000 * 5);
    let names = encode(&[&[&b"COMMAND"[..], b"DOCS"][..], &[&b"get"[..]; 3_000]].concat());
    let answer = process.send(id, &names);
    assert!(answer.starts_with(b"*6000\r\n$3\r\nget\r\n"), "{}", show(&answer[..50]));
    assert_eq!(occurrences(&answer, b"$3\r\nget\r\n"), 3_000);
    // One that leaves midway leaves nothing.
    let leaves = process.connect();
    let bytes = command("EXISTS", &key);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let taken = process.receive(leaves, rest);
        rest = &rest[taken..];
        process.server.run(leaves, process.now);
    }
    assert!(process.server.is_replying(leaves));
    process.server.close(leaves);
    process.server.invariants();
}

#[test]
fn a_limit_on_steps_refuses_longer_ones_and_counts_them() {
    let mut process = InProcess::with_memory(8 * MIB);
    let id = process.connect();
    let mut ask = |line: &str| show(&process.send(id, format!("{line}\r\n").as_bytes()));
    assert_eq!(ask("CONFIG SET max-step-keys 2"), "+OK\\r\\n");
    assert_eq!(ask("MSET a 1 b 2"), "+OK\\r\\n");
    let error = "-ERR 3 keys in one step are more than the limit of 2 (max-step-keys)\\r\\n";
    for line in ["MSET a 1 b 2 c 3", "MSETNX x 1 y 2 z 3", "MSETEX 3 a 1 b 2 c 3", "BITOP AND d a b c"] {
        assert_eq!(ask(line), error, "{line}");
    }
    assert_eq!(ask("DEL a b c d"), ":2\\r\\n", "what goes in slices is none");
    ask("MULTI");
    for line in ["SET a 1", "PING", "MSET b 1 c 1"] {
        assert_eq!(ask(line), "+QUEUED\\r\\n");
    }
    assert_eq!(
        ask("EXEC"),
        "-EXECABORT Transaction discarded because of: 4 keys in one step are more than the limit of 2 (max-step-keys)\\r\\n"
    );
    assert_eq!(ask("DBSIZE"), ":0\\r\\n");
    assert_eq!(ask("CONFIG GET max-step-keys"), "*2\\r\\n$13\\r\\nmax-step-keys\\r\\n$1\\r\\n2\\r\\n");
    assert_eq!(occurrences(&process.send(id, b"INFO stats\r\n"), b"refused_steps:5\r"), 1);
}

#[test]
fn a_value_over_the_limit_is_refused_however_short_the_limit_is() {
    let config = StoreConfig { memory_bytes: 8 * MIB, max_value_bytes: 1_000, ..StoreConfig::default() };
    let mut process = InProcess::new(config, 4, Resources::default(), None);
    let id = process.connect();
    let value = vec![b'x'; 1_001];
    for words in [&[&b"SET"[..], b"k", &value][..], &[b"SETEX", b"k", b"9", &value], &[b"MSET", b"k", &value]]
    {
        let answer = show(&process.send(id, &encode(words)));
        assert_eq!(answer, "-ERR value of 1001 bytes is larger than the limit of 1000 bytes\\r\\n");
    }
    assert_eq!(show(&process.send(id, &encode(&[&b"SET"[..], b"k", &value[1..]]))), show(b"+OK\r\n"));
}

#[test]
fn listings_at_the_brim_take_spare_memory_and_evict_nothing() {
    for on_full in [OnFull::Refuse, OnFull::Evict] {
        let config = StoreConfig { memory_bytes: 8 * MIB, on_full, ..StoreConfig::default() };
        let mut process = InProcess::new(config, 100, Resources::default(), None);
        let id = process.connect();
        (0..80).for_each(|_| _ = process.connect());
        for number in 0..6_000 {
            let key = format!("key:{number}");
            process.send(id, &encode(&[&b"SET"[..], key.as_bytes(), &[b'v'; 2_000]]));
        }
        let evicted = process.server.engine().store.statistics().evicted;
        assert_eq!(evicted > 0, on_full == OnFull::Evict);
        let len = process.server.engine().store.len(Database(0));
        let answer = process.send(id, b"KEYS *\r\n");
        assert!(answer.starts_with(format!("*{len}\r\n").as_bytes()), "{on_full:?}: {}", show(&answer));
        assert_eq!(occurrences(&answer, b"\r\nkey:"), len as usize);
        let answer = process.send(id, b"CLIENT LIST\r\n");
        assert_eq!(occurrences(&answer, b"id="), 81, "{on_full:?}: {}", show(&answer));
        assert_eq!(process.server.engine().store.statistics().evicted, evicted, "{on_full:?}");
        process.advance(1);
        assert_eq!(process.server.engine().store.large_count(), 0);
    }
}

/// Redis quotes the first 128 bytes of what it was given: so do we, of arguments that never come into the ring.
#[test]
fn the_error_of_an_unknown_command_quotes_the_beginning_of_long_arguments() {
    let mut process = InProcess::with_memory(8 * MIB);
    let id = process.connect();
    let (long, other) = (vec![b'x'; 100_000], vec![b'y'; 200_000]);
    let (x, a) = ("x".repeat(128), "x".repeat(124));
    let unknown = |name: &str, args: &str| {
        format!("-ERR unknown command '{name}', with args beginning with: {args}\\r\\n")
    };
    let cases: [(&[&[u8]], String); 6] = [
        (&[b"NOSUCH", &long, b"b"], unknown("NOSUCH", &format!("'{x}' "))),
        (&[b"NOSUCH", b"a", &long, &other], unknown("NOSUCH", &format!("'a' '{a}' "))),
        (&[&long, b"b"], unknown(&x, "'b' ")),
        (&[b"CLIENT", &long], format!("-ERR unknown subcommand '{x}'. Try CLIENT HELP.\\r\\n")),
        (&[b"CLIENT", &long, &other], format!("-ERR unknown subcommand '{x}'. Try CLIENT HELP.\\r\\n")),
        (&[b"NOSUCH", b"a", b"b"], unknown("NOSUCH", "'a' 'b' ")),
    ];
    for (words, expected) in &cases {
        let expected = expected.replace('\'', "\\'");
        assert_eq!(show(&process.send(id, &encode(words))), expected);
        // However it arrives.
        let (bytes, mut answer) = (encode(words), Vec::new());
        for piece in [&bytes[..1], &bytes[1..40.min(bytes.len())], &bytes[40.min(bytes.len())..]] {
            answer.extend(process.send(id, piece));
        }
        assert_eq!(show(&answer), expected);
        assert_eq!(show(&process.send(id, b"PING\r\n")), "+PONG\\r\\n");
    }
    // One that leaves in the middle of it leaves nothing behind.
    let leaver = process.connect();
    process.send(leaver, &encode(&[b"NOSUCH".as_slice(), &long])[..50_000]);
    process.half_close(leaver);
    process.advance(1);
    assert_eq!(process.server.engine().store.large_count(), 0);
}
