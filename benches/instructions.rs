//! What a request costs between the sockets: the whole server in process, many connections, a verb at a depth
//! of pipelining over a number of keys of 16 + 32 bytes.
//!
//! `cargo bench --bench instructions -- [get|set|ttl|exists|incr|setnx|setex|getex|expire|script] [depth] [keys]` prints the CPU time of a request; without arguments,
//! a table of them. `--count` runs just enough requests for `tools/instructions.sh`, which counts instructions inside
//! `measured` under callgrind; `--test` makes everything small; `--huge-pages` asks for them.
//!
//! ```text
//!  requests made beforehand ──▶ | input_space, copy, input_received | run_group | output, output_sent |   one turn
//!                                \──────── for each connection ────/  \─ all ──/ \─ for each ────────/
//! ```
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use pannier::connection::ConnectionId;
use pannier::engine::Engine;
use pannier::frames::{Config, FrameServer};
use pannier::limits::MIB;
use pannier::net::ServerOptions;
use pannier::server::{Resources, Server};
use pannier::store::{Store, StoreConfig};
use pannier::time::{Millis, Now};
use std::io::IoSlice;
use std::sync::OnceLock;
use std::time::Instant;

const CLIENTS: usize = 50;
const VALUE: [u8; 32] = *b"0123456789abcdefghijklmnopqrstuv";
/// Deletes a lock that is one's own.
const UNLOCK: &str =
    "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end";
const UNLOCK_SHA1: &str = "b998f9dfb154cdbea8cda65ad5177aadf0e945a2";
const NOW: Now = Now { monotonic: Millis(1_000), unix: Millis(1_700_000_000_000), unix_micros: 0 };

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Set,
    Ttl,
    Exists,
    /// Of keys of its own, all of them there with a number of as many digits.
    Incr,
    /// Gives those their numbers.
    SetNumber,
    /// SET with the option `NX`, of a key that is there.
    SetNx,
    SetEx,
    GetEx,
    Expire,
    /// `EVALSHA` of compare-and-delete, which finds another's value.
    Script,
}

impl Verb {
    /// In an order in which TTL finds keys that live for ever.
    const ALL: [Verb; 10] = [
        Verb::Get,
        Verb::Set,
        Verb::Ttl,
        Verb::Exists,
        Verb::SetNx,
        Verb::Incr,
        Verb::SetEx,
        Verb::GetEx,
        Verb::Expire,
        Verb::Script,
    ];

    /// Whether a key is another one after its first request: all are asked for once before what is counted.
    fn changes_keys(self) -> bool {
        matches!(self, Verb::Incr | Verb::SetEx | Verb::GetEx | Verb::Expire)
    }

    fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Set => "set",
            Verb::Ttl => "ttl",
            Verb::Exists => "exists",
            Verb::Incr => "incr",
            Verb::SetNumber => "setnumber",
            Verb::SetNx => "setnx",
            Verb::SetEx => "setex",
            Verb::GetEx => "getex",
            Verb::Expire => "expire",
            Verb::Script => "script",
        }
    }

    /// What each key is given once before this verb is counted, which changes a key at its first request.
    fn before(self) -> Verb {
        if self == Verb::Incr { Verb::SetNumber } else { self }
    }

    fn push(self, number: u64, requests: &mut Vec<u8>) {
        let before = requests.len();
        let key = if matches!(self, Verb::Incr | Verb::SetNumber) {
            format!("num:{number:012}")
        } else {
            format!("key:{number:012}")
        };
        let value = str::from_utf8(&VALUE).expect("letters and digits");
        let words: &[&str] = match self {
            Verb::Get => &["GET", &key],
            Verb::Set => &["SET", &key, value],
            Verb::Ttl => &["TTL", &key],
            Verb::Exists => &["EXISTS", &key],
            Verb::Incr => &["INCR", &key],
            Verb::SetNumber => &["SET", &key, "1000000"],
            Verb::SetNx => &["SET", &key, value, "NX"],
            Verb::SetEx => &["SETEX", &key, "3600", value],
            Verb::GetEx => &["GETEX", &key, "EX", "3600"],
            Verb::Expire => &["EXPIRE", &key, "3600"],
            Verb::Script => &["EVALSHA", UNLOCK_SHA1, "1", &key, "another"],
        };
        requests.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            requests.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        assert_eq!(requests.len() - before, self.request_len());
    }

    fn request_len(self) -> usize {
        match self {
            Verb::Get | Verb::Ttl => 36,
            Verb::Exists => 39,
            Verb::Incr => 37,
            Verb::SetNumber => 49,
            Verb::Set => 75,
            Verb::SetNx => 83,
            Verb::SetEx => 87,
            Verb::GetEx => 56,
            Verb::Expire => 49,
            Verb::Script => 107,
        }
    }

    /// Commands that a request runs, those of its script included.
    fn commands(self) -> usize {
        if self == Verb::Script { 2 } else { 1 }
    }

    /// Bytes of the reply to each request: every key is there.
    fn reply_len(self) -> usize {
        match self {
            Verb::Get | Verb::GetEx => 39,
            Verb::Set | Verb::SetNumber | Verb::SetNx | Verb::SetEx | Verb::Ttl => 5,
            Verb::Expire | Verb::Exists | Verb::Script => 4,
            Verb::Incr => ":1000001\r\n".len(),
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let words: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    if let [verb, depth, keys] = words[..] {
        let verb = Verb::ALL.into_iter().find(|each| each.name() == verb).expect("one of the verbs");
        let (depth, keys) = (depth.parse().expect("a depth"), keys.parse().expect("a number of keys"));
        let requests = if flag("--count") || flag("--test") { 20_000 } else { 2_000_000 };
        let mut rig = Rig::new(keys, flag("--huge-pages"));
        return report(&mut rig, verb, depth, requests);
    }
    let (populations, requests): (&[u64], _) =
        if flag("--test") { (&[1_000], 5_000) } else { (&[10_000, 1_000_000, 10_000_000], 2_000_000) };
    for keys in populations {
        let mut rig = Rig::new(*keys, flag("--huge-pages"));
        for verb in Verb::ALL {
            for depth in [1, 16, 64, 100] {
                report(&mut rig, verb, depth, requests);
            }
        }
    }
}

/// Runs a warm-up and then so many requests, and prints what one took.
fn report(rig: &mut Rig, verb: Verb, depth: usize, requests: usize) {
    if verb.changes_keys() {
        rig.ask_for_all(verb.before());
    }
    let turns = requests.div_ceil(CLIENTS * depth);
    let stream = rig.stream(verb, turns * CLIENTS * depth);
    let turn_len = CLIENTS * depth * verb.request_len();
    rig.run(&stream[..turn_len], verb, depth);
    let before = rig.server.engine().metrics.counters.commands_processed;
    let began = cpu_ns();
    measured(rig, &stream, turn_len, verb);
    let spent = cpu_ns() - began;
    let ran = rig.server.engine().metrics.counters.commands_processed - before;
    let done = turns * CLIENTS * depth;
    assert_eq!(ran as usize, done * verb.commands());
    println!(
        "{} depth {depth:3} keys {:8} requests {done:8}: {:6.1} ns",
        verb.name(),
        rig.keys,
        spent as f64 / done as f64
    );
}

/// The stretch whose instructions are counted.
#[inline(never)]
fn measured(rig: &mut Rig, stream: &[u8], turn_len: usize, verb: Verb) {
    for requests in stream.chunks(turn_len) {
        rig.run(requests, verb, requests.len() / CLIENTS / verb.request_len());
    }
}

/// Nanoseconds of CPU time of this thread, which other processes disturb less than a clock.
fn cpu_ns() -> u64 {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat")
        .expect("a Linux kernel with scheduler statistics");
    line.split(' ').next().and_then(|first| first.parse().ok()).expect("a number")
}

/// Microseconds, as the server's own clock has them.
fn clock_us() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}

/// A server with keys in it, and clients.
struct Rig {
    server: Server,
    clients: Vec<ConnectionId>,
    unfinished: Vec<ConnectionId>,
    keys: u64,
    random: u64,
    /// Where replies go, as to a socket.
    sink: Vec<u8>,
}

impl Rig {
    fn new(keys: u64, huge_pages: bool) -> Rig {
        // What is not the keys' is for the script's machine.
        let memory_bytes = keys as usize * 230 + 16 * MIB;
        let store = Store::new(StoreConfig { memory_bytes, huge_pages, ..StoreConfig::default() }, [1, 2])
            .expect("enough memory");
        let mut options = ServerOptions::default();
        options.max_clients = CLIENTS;
        let engine = Engine::new(store, options);
        let datagrams = FrameServer::new(&Config::new(1, [3, 4]));
        let resources = Resources { clock_us, ..Resources::default() };
        let mut server = Server::new(engine, datagrams, resources);
        let peer = ([127, 0, 0, 1], 5000).into();
        let clients = (0..CLIENTS).map(|_| server.open(peer, NOW).expect("a free place")).collect();
        let unfinished = Vec::with_capacity(CLIENTS);
        let mut rig = Rig { server, clients, unfinished, keys, random: 7, sink: vec![0; 64 * 1024] };
        rig.load_script();
        rig.ask_for_all(Verb::Set);
        rig
    }

    fn load_script(&mut self) {
        let request = format!("*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n${}\r\n{UNLOCK}\r\n", UNLOCK.len());
        let clients = &self.clients[..1];
        let answered =
            turn(&mut self.server, (clients, &mut self.unfinished), request.as_bytes(), &mut self.sink);
        assert_eq!(answered, "$40\r\n".len() + 40 + "\r\n".len());
        assert!(self.sink[5..].starts_with(UNLOCK_SHA1.as_bytes()), "the digest of the script");
    }

    /// One request for every key.
    fn ask_for_all(&mut self, verb: Verb) {
        let (depth, mut number) = (100, 0);
        let mut requests = Vec::new();
        while number < self.keys {
            requests.clear();
            for _ in 0..CLIENTS * depth {
                verb.push(number % self.keys, &mut requests);
                number += 1;
            }
            self.run(&requests, verb, depth);
        }
    }

    /// Requests for random keys.
    fn stream(&mut self, verb: Verb, count: usize) -> Vec<u8> {
        let mut requests = Vec::with_capacity(count * verb.request_len());
        for _ in 0..count {
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            verb.push((self.random >> 20) % self.keys, &mut requests);
        }
        requests
    }

    /// A turn, and a check of how much was answered.
    fn run(&mut self, requests: &[u8], verb: Verb, depth: usize) {
        let answered =
            turn(&mut self.server, (&self.clients, &mut self.unfinished), requests, &mut self.sink);
        assert_eq!(answered, CLIENTS * depth * verb.reply_len());
    }
}

/// As the reactor does it: all are read, all are run, all are written. The bytes that were answered.
#[inline(never)]
fn turn(
    server: &mut Server,
    (clients, unfinished): (&[ConnectionId], &mut Vec<ConnectionId>),
    requests: &[u8],
    sink: &mut [u8],
) -> usize {
    let mut answered = 0;
    let share = requests.len() / clients.len();
    for (id, bytes) in clients.iter().zip(requests.chunks(share)) {
        let space = server.input_space(*id, NOW).expect("room for a batch");
        space[..bytes.len()].copy_from_slice(bytes);
        server.input_received(*id, bytes.len(), NOW);
    }
    unfinished.clear();
    server.run_group(clients, NOW, unfinished);
    while !unfinished.is_empty() {
        let rest = std::mem::take(unfinished);
        server.run_group(&rest, NOW, unfinished);
    }
    for id in clients {
        let mut slices = [IoSlice::new(&[]); 64];
        let count = server.output(*id, &mut slices);
        let mut len = 0;
        for slice in &slices[..count] {
            sink[len..len + slice.len()].copy_from_slice(slice);
            len += slice.len();
        }
        server.output_sent(*id, len, NOW);
        answered += len;
    }
    answered
}
