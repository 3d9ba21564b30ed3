//! What one hostile or careless client can do to a polite one, over real sockets: each attack runs against a server of
//! 64 MiB in both modes while a polite client pings and reads its own key. Printed are the worst PING, what was evicted,
//! who was closed; asserted is what must hold whatever the machine's speed: the polite client keeps its connection and its
//! key, and nobody is evicted for what is not a write.
//!
//! ```console
//! $ cargo test --release --test sockets attacks:: -- --include-ignored --nocapture
//! ```

mod full;

use crate::common::{Client, KIB, MIB, PATIENCE, Server, encode};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Keys that the store has before an attack, of 1 KiB each: a quarter of the memory.
const KEYS: usize = 16 * 1024;
/// How long one attack runs, at most.
const ATTACK: Duration = Duration::from_secs(5);

/// What an attack does to the server at this address.
type Attack = fn(SocketAddr);

/// Every attack, with the row of docs/attacks.md that it fills, and whether it writes.
const ATTACKS: &[(&str, bool, Attack)] = &[
    ("CONFIG GET with 500 patterns of 64 KB", false, config_get_patterns),
    ("COMMAND LIST with a pattern of 64 KB", false, command_list_pattern),
    ("120 pipelined SCAN … MATCH *aaa…b over long keys", true, scan_patterns),
    ("KEYS with patterns of many stars, 100 times", false, keys_patterns),
    ("EXISTS of 100,000 keys, 20 times", false, |address| repeat_keys(address, "EXISTS")),
    ("DEL of 100,000 absent keys, 20 times", false, |address| repeat_keys(address, "DEL")),
    ("MGET of 100,000 keys, 20 times", false, |address| repeat_keys(address, "MGET")),
    ("MSET of 10,000 keys of 100 bytes, 20 times", true, mset),
    ("GETRANGE of 10 MiB, 50 times", true, getrange),
    ("SETRANGE and APPEND at 10 MiB, 50 times", true, setrange),
    ("COPY of 10 MiB and a SETRANGE into it, 50 times", true, copy_setrange),
    ("KEYS * inside MULTI, 20 times", false, keys_in_multi),
    ("KEYS *, 20 times", false, keys),
    ("CLIENT LIST of 900 named clients, 20 times", false, client_list),
    ("900 clients close at once", false, close_at_once),
    ("36 clients stall in commands of 147 KB", false, stall_in_commands),
    ("40 clients that never read", false, never_read),
    ("100 open MULTIs hold what they can", false, hoard_transactions),
    ("12 readers take 1 KB of 4 MiB now and then", true, pin_values),
    ("an unknown command with an argument of 20 MiB", false, unknown_command),
    ("FLUSHALL", true, |address| _ = Client::connect(address).line("FLUSHALL")),
];

#[test]
#[ignore = "takes a minute, and its times mean something in a release build alone: .ci/run attacks"]
fn a_polite_client_beside_every_attack() {
    for mode in ["refuse", "evict"] {
        println!("\n{mode}\n{:<52} {:>11} {:>8} {:>7}", "attack", "worst PING", "evicted", "closed");
        for (name, writes, attack) in ATTACKS {
            let outcome = run(mode, *attack);
            println!(
                "{name:<52} {:>8.1} ms {:>8} {:>7}",
                outcome.worst_ping.as_secs_f64() * 1e3,
                outcome.evicted,
                outcome.closed
            );
            assert!(*writes || outcome.evicted == 0, "{name}: {} keys were evicted for it", outcome.evicted);
        }
    }
}

struct Outcome {
    worst_ping: Duration,
    evicted: u64,
    closed: u64,
}

fn run(mode: &str, attack: Attack) -> Outcome {
    let server = Server::start(&["--on-full", mode, "--max-clients", "1000"]);
    let mut filler = server.connect();
    let value = vec![b'v'; KIB];
    for first in (0..KEYS).step_by(512) {
        let batch: Vec<u8> = (first..first + 512)
            .flat_map(|number| encode(&[b"SET".as_slice(), format!("key:{number:08}").as_bytes(), &value]))
            .collect();
        filler.send(&batch);
        (0..512).for_each(|_| assert_eq!(filler.reply(), b"+OK\r\n"));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let polite = {
        let (stop, address) = (Arc::clone(&stop), server.address);
        thread::spawn(move || be_polite(address, &stop))
    };
    thread::sleep(Duration::from_millis(50));
    attack(server.address);
    thread::sleep(Duration::from_millis(50));
    stop.store(true, Ordering::Relaxed);
    let worst_ping = polite.join().unwrap_or_else(|_| panic!("the polite client fell: {}", server.stderr()));
    // The attacker's connections may still be there: a place of its own.
    let info = filler.line("INFO");
    let info = String::from_utf8_lossy(&info).into_owned();
    let number = |label: &str| {
        let (_, rest) = info.split_once(&format!("{label}:")).unwrap_or_else(|| panic!("no {label} in INFO"));
        rest.split('\r').next().and_then(|text| text.parse().ok()).expect("a number")
    };
    Outcome { worst_ping, evicted: number("evicted_keys"), closed: number("evicted_clients") }
}

/// Pings, and the worst time that one took.
fn be_polite(address: SocketAddr, stop: &AtomicBool) -> Duration {
    let mut client = Client::connect(address);
    let mut worst = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        assert_eq!(client.line("PING"), b"+PONG\r\n");
        worst = worst.max(begun.elapsed());
        thread::sleep(Duration::from_millis(1));
    }
    worst
}

/// Sends, then reads what comes until the server closes, `replies` have come, or the time is up.
fn ask(address: SocketAddr, request: &[u8], replies: usize) {
    let Client { stream, .. } = Client::connect(address);
    let mut reader = stream.try_clone().expect("a second handle");
    let (mut writer, request) = (stream, request.to_vec());
    writer.set_write_timeout(Some(ATTACK)).expect("set a time limit");
    reader.set_read_timeout(Some(Duration::from_millis(200))).expect("set a time limit");
    let sending = thread::spawn(move || _ = writer.write_all(&request));
    let (mut buffer, begun, mut seen) = (vec![0; MIB], Instant::now(), 0);
    while begun.elapsed() < ATTACK {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => {
                seen += buffer[..len]
                    .iter()
                    .filter(|byte| matches!(byte, b'+' | b'-' | b':' | b'*' | b'$'))
                    .count();
            }
            Err(_) if seen >= replies && sending.is_finished() => break,
            Err(_) => {}
        }
    }
    drop(reader);
    let _ = sending.join();
}

fn config_get_patterns(address: SocketAddr) {
    let pattern = [b"*a".repeat(32 * KIB - 1), b"b".to_vec()].concat();
    let mut words: Vec<&[u8]> = vec![b"CONFIG", b"GET"];
    words.extend([pattern.as_slice(); 30]);
    // What fits one command, until it is 500 of them.
    ask(address, &encode(&words).repeat(500 / 30), 1);
}

fn command_list_pattern(address: SocketAddr) {
    let pattern = [b"*a".repeat(32 * KIB - 1), b"b".to_vec()].concat();
    ask(address, &encode(&[b"COMMAND".as_slice(), b"LIST", b"FILTERBY", b"PATTERN", &pattern]).repeat(10), 1);
}

fn scan_patterns(address: SocketAddr) {
    let mut client = Client::connect(address);
    for number in 0..20 {
        let key = [format!("{number:03}").into_bytes(), b"a".repeat(60_000)].concat();
        client.call(&[b"SET".as_slice(), &key, b"v"]);
    }
    let pattern = format!("*{}b", "a".repeat(60));
    ask(address, &encode(&["SCAN", "0", "MATCH", &pattern, "COUNT", "100000"]).repeat(120), 120);
}

fn keys_patterns(address: SocketAddr) {
    let pattern = format!("{}z", "*a".repeat(500));
    ask(address, &encode(&["KEYS", &pattern]).repeat(100), 100);
}

fn repeat_keys(address: SocketAddr, verb: &str) {
    let absent = if verb == "DEL" { "gone" } else { "key" };
    let mut words = vec![verb.to_owned()];
    words.extend((0..100_000).map(|number| format!("{absent}:{:08}", number % KEYS)));
    ask(address, &encode(&words).repeat(20), 20);
}

fn mset(address: SocketAddr) {
    let mut words = vec![b"MSET".to_vec()];
    for number in 0..10_000 {
        words.push(format!("mset:{number}").into_bytes());
        words.push(vec![b'x'; 100]);
    }
    ask(address, &encode(&words).repeat(20), 20);
}

fn large(address: SocketAddr, key: &str) {
    Client::connect(address).call(&[b"SET".as_slice(), key.as_bytes(), &vec![b'x'; 10 * MIB]]);
}

fn getrange(address: SocketAddr) {
    large(address, "large");
    ask(address, &encode(&["GETRANGE", "large", "1", "-2"]).repeat(50), 50);
}

fn setrange(address: SocketAddr) {
    large(address, "large");
    let far = (10 * MIB).to_string();
    let once = [
        encode(&["SETRANGE", "fresh", &far, "x"]),
        encode(&["APPEND", "large", "x"]),
        encode(&["DEL", "fresh"]),
    ];
    ask(address, &once.concat().repeat(50), 150);
}

fn copy_setrange(address: SocketAddr) {
    large(address, "large");
    let once =
        [encode(&["COPY", "large", "copy", "REPLACE"]), encode(&["SETRANGE", "copy", "0", "y"])].concat();
    ask(address, &once.repeat(50), 100);
}

fn keys_in_multi(address: SocketAddr) {
    ask(address, &b"MULTI\r\nKEYS *\r\nEXEC\r\n".repeat(20), 60);
}

fn keys(address: SocketAddr) {
    ask(address, &b"KEYS *\r\n".repeat(20), 20);
}

fn client_list(address: SocketAddr) {
    let mut clients: Vec<Client> = (0..900).map(|_| Client::connect(address)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.line(&format!("CLIENT SETNAME name-of-client-{number}")), b"+OK\r\n");
    }
    ask(address, &b"CLIENT LIST\r\n".repeat(20), 20);
}

fn close_at_once(address: SocketAddr) {
    let clients: Vec<Client> = (0..900).map(|_| Client::connect(address)).collect();
    thread::sleep(Duration::from_millis(100));
    drop(clients);
    thread::sleep(Duration::from_millis(300));
}

fn stall_in_commands(address: SocketAddr) {
    let command =
        encode(&[b"MSET".as_slice(), b"a", &[b'x'; 50_000], b"b", &[b'x'; 50_000], b"c", &[b'x'; 50_000]]);
    let mut stalled: Vec<TcpStream> = (0..36).map(|_| Client::connect(address).stream).collect();
    for stream in &mut stalled {
        let _ = stream.write_all(&command[..147_000]);
    }
    // Beside them, a client with a command of that kind that moves.
    let whole: Vec<u8> = encode(&[b"MSET".as_slice(), b"d", &[b'x'; 60_000], b"e", &[b'x'; 60_000]]);
    let mut moving = Client::connect(address);
    for piece in whole.chunks(whole.len() / 20 + 1) {
        moving.send(piece);
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(moving.reply(), b"+OK\r\n", "a client that moves is closed for those that stall");
}

fn never_read(address: SocketAddr) {
    let request = encode(&["GET", "key:00000001"]).repeat(2_000);
    let mut clients: Vec<TcpStream> = (0..40).map(|_| Client::connect(address).stream).collect();
    for stream in &mut clients {
        stream.set_write_timeout(Some(Duration::from_millis(50))).expect("set a time limit");
        let _ = stream.write_all(&request);
    }
    thread::sleep(Duration::from_secs(1));
}

fn hoard_transactions(address: SocketAddr) {
    let queued = encode(&[b"SET".as_slice(), b"k", &[b'x'; 10_000]]).repeat(10);
    let mut hoarders: Vec<Client> = (0..100).map(|_| Client::connect(address)).collect();
    for client in &mut hoarders {
        client.send(b"MULTI\r\n");
        client.send(&queued);
    }
    thread::sleep(Duration::from_millis(500));
}

fn pin_values(address: SocketAddr) {
    let mut writer = Client::connect(address);
    let value = vec![b'x'; 2 * MIB];
    let mut readers: Vec<TcpStream> = Vec::new();
    for number in 0..12 {
        writer.call(&[b"SET".as_slice(), b"pinned", &value]);
        let mut reader = Client::connect(address).stream;
        let _ = reader.write_all(b"GET pinned\r\n");
        let _ = reader.read(&mut [0; KIB]);
        readers.push(reader);
        writer.call(&[b"SET".as_slice(), format!("other:{number}").as_bytes(), b"v"]);
    }
}

fn unknown_command(address: SocketAddr) {
    ask(address, &encode(&[b"NOSUCH".as_slice(), &vec![b'x'; 20 * MIB]]), 1);
}

/// With a password, strangers cost the others nothing: their places come back, and guesses are slowed down.
#[test]
fn strangers_beside_a_client_that_has_authenticated() {
    let folder = std::env::temp_dir().join(format!("pannier-attacks-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("password");
    std::fs::write(&file, "secret").expect("a file");
    let path = file.to_string_lossy().into_owned();
    let server = Server::start(&["--password-file", &path, "--max-clients", "60", "--auth-timeout", "1s"]);
    let mut known = server.connect();
    assert_eq!(known.call(&["AUTH", "secret"]), b"+OK\r\n");
    let half = encode(&[b"MSET".as_slice(), b"a", &[b'x'; 60_000]]);
    let mut strangers: Vec<TcpStream> = (0..59).map(|_| Client::connect(server.address).stream).collect();
    for stream in &mut strangers {
        stream.set_write_timeout(Some(Duration::from_millis(20))).expect("set a time limit");
        let _ = stream.write_all(&half);
    }
    // A long command of the one that is known, slowly, beside all of them.
    let mut words: Vec<Vec<u8>> = vec![b"MSET".to_vec()];
    for number in 0..7 {
        words.extend([format!("k{number}").into_bytes(), vec![b'y'; 60_000]]);
    }
    let whole = encode(&words);
    for piece in whole.chunks(whole.len() / 20 + 1) {
        known.send(piece);
        thread::sleep(Duration::from_millis(60));
    }
    assert_eq!(known.reply(), b"+OK\r\n", "the known client pays for strangers: {}", server.stderr());
    // Their places come back.
    let begun = Instant::now();
    loop {
        let mut next = server.connect();
        if next.send_if_open(&encode(&["AUTH", "secret"]))
            && next.try_reply().is_some_and(|reply| reply == b"+OK\r\n")
        {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "strangers hold every place: {}", server.stderr());
        thread::sleep(Duration::from_millis(50));
    }
    let _ = std::fs::remove_dir_all(&folder);
}
