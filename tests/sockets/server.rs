//! The spawned server as a whole: large values, thousands of connections, stalled readers, its end, its memory ceiling.
//!
//! Nothing is timed here but by the bound of every wait; figures come from the benchmarks.

use crate::common::{Client, KIB, MIB, Random, Server, command, encode, eventually, show};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn a_value_of_64_mib_goes_in_and_out() {
    let server = Server::start(&["--memory", "256MiB"]);
    let mut client = server.connect();
    // No two of its pieces are the same, so that a piece at the wrong place is seen.
    let value: Vec<u8> =
        (0..8 * MIB as u64).flat_map(|word| word.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect();
    assert_eq!(value.len(), 64 * MIB);
    for _ in 0..2 {
        assert_eq!(client.call(&[b"SET".as_slice(), b"big", &value]), b"+OK\r\n");
        assert_eq!(client.line("STRLEN big"), format!(":{}\r\n", value.len()).as_bytes());
        let reply = client.line("GET big");
        let header = format!("${}\r\n", value.len());
        assert!(reply.starts_with(header.as_bytes()) && reply.ends_with(b"\r\n"));
        assert!(reply[header.len()..reply.len() - 2] == value, "the value came back different");
        assert_eq!(
            client.line("GETRANGE big 33554432 33554439"),
            [b"$8\r\n", &value[32 * MIB..][..8], b"\r\n"].concat()
        );
    }
    assert_eq!(client.line("DEL big"), b":1\r\n");
}

/// A container that was frozen, a machine that slept: what arrived in the meantime is not the clients' delay.
#[test]
fn a_server_that_was_stopped_for_a_while_reads_before_it_looks_at_its_time_limits() {
    let server = Server::start(&["--request-timeout", "300ms"]);
    let mut client = server.connect();
    assert_eq!(client.line("PING"), b"+PONG\r\n");
    client.send(b"*1\r\n$4\r\nPI");
    // It came before this one's, so it has been read.
    assert_eq!(server.connect().line("PING"), b"+PONG\r\n");
    server.signal("STOP");
    client.send(b"NG\r\n");
    std::thread::sleep(Duration::from_millis(600));
    server.signal("CONT");
    assert_eq!(show(&client.reply()), show(b"+PONG\r\n"));
}

#[test]
fn five_thousand_connections_at_once() {
    if !crate::common::raise_descriptor_limit(12_000) {
        eprintln!("SKIPPED: this process may not open 12,000 descriptors");
        return;
    }
    let server = Server::start(&["--memory", "256MiB"]);
    let mut clients: Vec<Client> = (0..5000).map(|_| server.connect()).collect();
    // All of them send before the first one reads.
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(format!("SET key:{index} {index}\r\nGET key:{index}\r\n").as_bytes());
    }
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.reply(), b"+OK\r\n");
        let digits = index.to_string();
        assert_eq!(client.reply(), format!("${}\r\n{digits}\r\n", digits.len()).as_bytes());
    }
    assert_eq!(clients[0].line("DBSIZE"), b":5000\r\n");
    drop(clients);
    eventually("the places of 5,000 connections to be free again", || server.descriptors() < 100);
}

/// Requests of a stalled reader, whose answers of 1 MiB each are far more than the kernel's buffers hold.
const STALLED_REQUESTS: usize = 100;

#[test]
fn a_stalled_reader_holds_up_nobody_and_loses_nothing() {
    let server = Server::start(&["--write-timeout", "120s"]);
    let mut others: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    let value: Vec<u8> = (0..MIB).map(|index| (index % 251) as u8).collect();
    assert_eq!(others[0].call(&[b"SET".as_slice(), b"big", &value]), b"+OK\r\n");
    let mut stalled = server.connect();
    stalled.send(&b"GET big\r\n".repeat(STALLED_REQUESTS));
    for round in 0..500 {
        for other in &mut others {
            assert_eq!(other.line("PING"), b"+PONG\r\n", "round {round} beside a stalled reader");
            assert_eq!(other.call(&["SET", "small", &round.to_string()]), b"+OK\r\n");
        }
    }
    // The value changes under the reader: each answer is one of the two, whole.
    let other_value = vec![b'z'; MIB / 2];
    assert_eq!(others[0].call(&[b"SET".as_slice(), b"big", &other_value]), b"+OK\r\n");
    let answers = [value, other_value]
        .map(|value| [format!("${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat());
    for index in 0..STALLED_REQUESTS {
        let reply = stalled.reply();
        assert!(answers.contains(&reply), "answer {index} is a mixture: {}", show(&reply));
    }
    assert_eq!(stalled.line("PING"), b"+PONG\r\n");
}

#[test]
fn those_who_do_not_read_have_nobody_else_closed() {
    // The least memory: 64 clients at once may have answers waiting.
    let server = Server::start(&["--memory", "12MiB"]);
    let value = [b'x'; 2000];
    assert_eq!(server.connect().call(&[b"SET".as_slice(), b"k", &value]), b"+OK\r\n");
    let get = encode(&["GET", "k"]);
    let mut stalled: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for client in &mut stalled {
        // Several MiB of answers: more than the kernel keeps for one that does not read.
        client.send(&get.repeat(4_000));
    }
    let answer = [b"$2000\r\n".as_slice(), &value, b"\r\n"].concat();
    let mut others: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    for round in 0..10 {
        others.iter_mut().for_each(|client| client.send(&get.repeat(16)));
        for (number, client) in others.iter_mut().enumerate() {
            for _ in 0..16 {
                assert!(client.reply() == answer, "client {number} in round {round}");
            }
        }
    }
}

#[test]
fn sigterm_and_sigint_end_it_with_replies_flushed() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[]);
        let mut client = server.connect();
        client.send(&b"PING\r\n".repeat(100));
        client.stream.peek(&mut [0]).expect("the first answer");
        server.signal(signal);
        assert_eq!(show(&client.rest()), show(&b"+PONG\r\n".repeat(100)));
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "{signal}: {}", server.stderr());
        assert!(std::net::TcpStream::connect(server.address).is_err(), "nobody listens any more");
    }
}

#[test]
fn the_end_comes_beside_busy_idle_and_stalled_clients() {
    let mut server = Server::start(&[]);
    let mut idle = server.connect();
    assert_eq!(idle.line("PING"), b"+PONG\r\n");
    assert_eq!(idle.call(&[b"SET".as_slice(), b"big", &vec![b'x'; MIB]]), b"+OK\r\n");
    let mut stalled = server.connect();
    stalled.send(&b"GET big\r\n".repeat(STALLED_REQUESTS));
    let mut half = server.connect();
    half.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\nhalf of it");
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0), "{}", server.stderr());
    assert_eq!(idle.rest(), b"");
}

#[test]
fn a_second_instance_on_the_same_port_says_so_and_fails() {
    let server = Server::start(&[]);
    let output = command()
        .args([
            "serve",
            "--udp",
            "off",
            "--admin",
            "off",
            "--memory",
            "64MiB",
            "--tcp",
            &server.address.to_string(),
        ])
        .stdin(Stdio::null())
        .output()
        .expect("run");
    let stderr = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(!output.status.success(), "{stderr}");
    assert!(stderr.contains(&server.address.to_string()) && stderr.contains("in use"), "{stderr}");
    assert_eq!(server.connect().line("PING"), b"+PONG\r\n", "the first one goes on");
}

#[test]
fn accepting_survives_running_out_of_descriptors() {
    let server = Server::start_with_descriptors(512, &[]);
    // Since the start leaves room for what it knows, only a limit that falls afterwards takes the last descriptor.
    let limit = ["--pid", &server.logged_pid().to_string(), "--nofile=64:64"];
    if !Command::new("prlimit").args(limit).status().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: prlimit is not installed");
    }
    let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(b"PING\r\n");
    }
    assert_eq!(clients[0].reply(), b"+PONG\r\n");
    // A listener that cannot accept must not be asked again and again.
    let before = server.cpu_ns();
    std::thread::sleep(Duration::from_millis(500));
    let used = server.cpu_ns() - before;
    assert!(used < 250_000_000, "{used} ns of 500 ms are spent on nothing");
    assert!(server.stderr().contains("out of file descriptors"), "{}", server.stderr());
    clients.drain(..50);
    // Each of the rest is served by and by, or has been told in the meantime that there was no room.
    let mut served = 0;
    for client in &mut clients {
        match client.try_reply() {
            Some(reply) if reply == b"+PONG\r\n" => served += 1,
            Some(reply) => assert_eq!(show(&reply), show(b"-ERR max number of clients reached\r\n")),
            None => {}
        }
    }
    drop(clients);
    eventually("a new client to be served", || {
        let mut client = server.connect();
        client.send_if_open(b"PING\r\n") && client.try_reply().is_some_and(|reply| reply == b"+PONG\r\n")
    });
    let stats = show(&server.connect().call(&["INFO", "stats"]));
    assert!(!stats.contains("rejected_connections:0\r"), "who was turned away is counted: {stats}");
    eprintln!("{served} of 50 waiting clients were served after others had gone");
}

#[test]
fn the_ceiling_holds_when_full_writes_are_refused() {
    ceiling_holds("refuse");
}

#[test]
fn the_ceiling_holds_when_keys_are_evicted() {
    ceiling_holds("evict");
}

/// Floods of small and large writes, short-lived keys and readers that do not read, all at once, on 64 MiB.
fn ceiling_holds(on_full: &str) {
    const LIMIT: usize = 72 * MIB;
    let server = Server::start(&["--memory", "64MiB", "--on-full", on_full, "--write-timeout", "2s"]);
    fill(&server);
    let stop = AtomicBool::new(false);
    let mut peak = 0;
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || until(stop, || small_writes(server, seed, stop)));
            scope.spawn(move || until(stop, || large_writes(server, seed, stop)));
            scope.spawn(move || until(stop, || slow_reader(server, stop)));
            scope.spawn(move || until(stop, || half_commands(server, seed)));
        }
        for _ in 0..600 {
            std::thread::sleep(Duration::from_millis(10));
            peak = peak.max(server.resident_bytes());
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(peak < LIMIT, "{peak} bytes resident with a limit of 64 MiB");
    assert!(peak > 40 * MIB, "only {peak} bytes resident: the load has not filled the memory");
    let mut client = server.connect();
    let stats = String::from_utf8_lossy(&client.line("INFO stats")).into_owned();
    let evicted = !stats.contains("\nevicted_keys:0\r");
    assert_eq!(evicted, on_full == "evict", "{stats}");
    assert_eq!(client.line("FLUSHALL"), b"+OK\r\n");
    eventually("memory to be given back", || client.line("SET k v") == b"+OK\r\n");
    assert_eq!(client.line("FLUSHALL"), b"+OK\r\n");
    // All that is held is the asker's own input and output.
    eventually("buffers and large values to be given back", || {
        let info = String::from_utf8_lossy(&client.line("INFO all")).into_owned();
        number(&info, "connected_clients:") == 1 && number(&info, "mem_clients_normal:") <= 64 * KIB
    });
    assert!(server.resident_bytes() < LIMIT);
}

/// The number behind a label of INFO.
fn number(info: &str, label: &str) -> usize {
    let line = info.lines().find_map(|line| line.strip_prefix(label));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{label} in {info}"))
}

/// Begins commands, short ones, long ones and transactions, and leaves in the middle of them.
fn half_commands(server: &Server, seed: u64) {
    let mut random = Random(seed);
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.stream.set_write_timeout(Some(Duration::from_millis(20))).expect("set a time limit");
        let most = if random.one_in(3) { 3 * MIB } else { 60 * KIB };
        let command = encode(&[b"SET".as_slice(), b"half", &vec![b'h'; 100 + random.below(most)]]);
        if random.one_in(3) {
            client.send_if_open(&[b"WATCH a b c\r\nMULTI\r\n", command.as_slice()].concat());
        }
        client.send_if_open(&command[..command.len() / 2]);
    }
    std::thread::sleep(Duration::from_millis(50));
}

/// Writes values of a kilobyte, more of them than there is memory.
fn fill(server: &Server) {
    let mut client = server.connect();
    for batch in 0..100 {
        let keys = (0..1000).map(|index| format!("fill:{batch}:{index}"));
        let commands: Vec<Vec<u8>> =
            keys.map(|key| encode(&[b"SET", key.as_bytes(), &[b'f'; 1000]])).collect();
        assert!(push(&mut client, &commands));
    }
}

fn until(stop: &AtomicBool, mut work: impl FnMut()) {
    while !stop.load(Ordering::Relaxed) {
        work();
    }
}

/// Sends commands and checks that each is either done or refused for lack of memory; ends early if it is closed.
fn push(client: &mut Client, commands: &[Vec<u8>]) -> bool {
    if !client.send_if_open(&commands.concat()) {
        return false;
    }
    commands.iter().all(|_| match client.try_reply() {
        Some(reply) => {
            let fits = reply.starts_with(b"+OK") || reply.starts_with(b":") || reply.starts_with(b"-OOM");
            assert!(fits || reply.starts_with(b"$"), "{}", show(&reply));
            true
        }
        None => false,
    })
}

fn small_writes(server: &Server, seed: u64, stop: &AtomicBool) {
    let (mut client, mut random) = (server.connect(), Random(seed));
    until(stop, || {
        let commands: Vec<Vec<u8>> = (0..200)
            .map(|_| {
                let key = format!("key:{}", random.below(400_000));
                let most = if random.one_in(10) { 6000 } else { 300 };
                let value = vec![b'v'; random.below(most)];
                let ttl = (50 + random.below(3000)).to_string();
                match random.below(8) {
                    0 => encode(&["DEL", &key]),
                    1..=3 => encode(&[b"SET", key.as_bytes(), &value, b"PX", ttl.as_bytes()]),
                    4 => encode(&[b"APPEND", key.as_bytes(), &value]),
                    _ => encode(&[b"SET", key.as_bytes(), &value]),
                }
            })
            .collect();
        assert!(push(&mut client, &commands), "a client that reads its replies is closed");
    });
}

fn large_writes(server: &Server, seed: u64, stop: &AtomicBool) {
    let (mut client, mut random) = (server.connect(), Random(seed));
    until(stop, || {
        let key = format!("large:{}", random.below(10));
        let most = if random.one_in(4) { 8 * MIB } else { 200 * KIB };
        let value = vec![b'L'; 9 * KIB + random.below(most)];
        let commands = [encode(&[b"SET".as_slice(), key.as_bytes(), &value]), encode(&["GET", &key])];
        // A GET of a refused SET answers a null or an older value.
        assert!(push(&mut client, &commands), "a client that reads its replies is closed");
    });
}

/// Asks for much, reads nothing, and is thrown out.
fn slow_reader(server: &Server, stop: &AtomicBool) {
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.stream.set_write_timeout(Some(Duration::from_millis(20))).expect("set a time limit");
        for _ in 0..20 {
            if !client.send_if_open(&b"GET large:1\r\nGET large:2\r\nGET key:1\r\nKEYS *\r\n".repeat(50)) {
                break;
            }
        }
    }
    for _ in 0..25 {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(Duration::from_millis(40));
    }
}
