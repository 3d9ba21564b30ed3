//! Datagrams over real sockets: the real client and the real server, and between them a proxy that loses, doubles, delays
//! and damages.
#![allow(clippy::disallowed_methods)] // Tests over real sockets wait by a real clock.
#![cfg(feature = "cli")]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::Server;
use pannier::client::{Client, Error, Outcome, PutOptions, Request, Udp};
use pannier::wire::frame::{self, Direction, Head, Op, Status};

fn server() -> Server {
    Server::start(&["--udp", "127.0.0.1:0"])
}

fn udp_address(server: &Server) -> SocketAddr {
    let log = server.stderr();
    let at = log.find("udp=").expect("the address of UDP is logged") + 4;
    let text = log[at..].split_whitespace().next().expect("an address");
    text.parse().expect("an address")
}

/// A raw socket that has been through HELLO.
struct Raw {
    socket: UdpSocket,
    id: u64,
    epoch: u32,
    cookie: [u8; 16],
}

impl Raw {
    fn connect(to: SocketAddr, id: u64) -> Raw {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        socket.connect(to).expect("connect");
        socket.set_read_timeout(Some(common::PATIENCE)).expect("time limit");
        let mut raw = Raw { socket, id, epoch: 0, cookie: [0; 16] };
        for expected in [Status::Challenge, Status::Ok] {
            let bytes = raw.frame(Head::request(Op::Hello, id, 0), 0);
            let (reply, len) = raw.ask(&bytes);
            assert_eq!(reply.status(), Some(expected));
            assert!(expected != Status::Challenge || len <= bytes.len(), "more than was asked with");
            raw.cookie = reply.cookie;
            raw.epoch = reply.epoch;
        }
        raw
    }

    fn frame(&self, head: Head, epoch: u32) -> Vec<u8> {
        let mut out = vec![0; 1200];
        let head = Head { cookie: self.cookie, epoch, ..head };
        let len = frame::encode(&mut out, &head, b"raw", b"", None).expect("fits");
        out.truncate(len);
        out
    }

    fn ask(&self, bytes: &[u8]) -> (Head, usize) {
        self.socket.send(bytes).expect("send");
        self.receive()
    }

    fn receive(&self) -> (Head, usize) {
        let mut reply = [0; 1500];
        let len = self.socket.recv(&mut reply).expect("a reply");
        (frame::decode_datagram(&reply[..len], Direction::Reply).expect("a good one").head, len)
    }

    fn add(&self, sequence: u32) -> Vec<u8> {
        self.frame(Head { argument: 1, ..Head::request(Op::Add, self.id, sequence) }, self.epoch)
    }
}

#[test]
fn the_client_speaks_with_the_server() {
    let server = server();
    let mut client = Udp::connect(udp_address(&server).to_string()).expect("a socket");
    client.ping().expect("pong");
    assert!(client.put(b"k", b"v", &PutOptions::new()).expect("put"));
    assert!(!client.put(b"k", b"w", &PutOptions::new().if_absent()).expect("put"));
    assert_eq!(client.get(b"k").expect("get").as_deref(), Some(&b"v"[..]));
    assert!(client.expire(b"k", Duration::from_secs(60)).expect("expire"));
    assert!(client.persist(b"k").expect("persist"));
    assert!(client.delete(b"k").expect("delete"));
    assert_eq!(client.get(b"k").expect("get"), None);
    assert_eq!(client.incr(b"n", -3).expect("incr"), -3);
    assert!(matches!(client.put(b"n", b"x", &PutOptions::new()), Ok(true)));
    assert!(matches!(client.incr(b"n", 1), Err(Error::Server { code, .. }) if code == "WRONG_TYPE"));
    let batch = (0..200).map(|_| Request::add(b"m", 1).expect("short")).collect();
    let outcomes = client.batch(batch).expect("batch");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(_))));
    assert_eq!(client.get(b"m").expect("get").as_deref(), Some(&b"200"[..]));
    // What RESP clients write is the same data.
    let mut stream = Client::connect(server.address.to_string()).expect("connect");
    assert_eq!(stream.get(b"m").expect("get").as_deref(), Some(&b"200"[..]));
}

#[test]
fn d_a_thousand_copies_run_once() {
    let server = server();
    let raw = Raw::connect(udp_address(&server), 11);
    let bytes = raw.add(1);
    for _ in 0..1000 {
        let (reply, _) = raw.ask(&bytes);
        assert_eq!((reply.status(), reply.expect), (Some(Status::Ok), 1));
    }
}

#[test]
fn i_without_a_cookie_nobody_gets_more_than_they_sent() {
    let server = server();
    let mut raw = Raw::connect(udp_address(&server), 12);
    let good = raw.cookie;
    for cookie in [[0; 16], [0xFF; 16], Raw::connect(udp_address(&server), 13).cookie] {
        raw.cookie = cookie;
        let bytes = raw.add(1);
        let (reply, len) = raw.ask(&bytes);
        assert_eq!(reply.status(), Some(Status::Challenge));
        assert!(len <= bytes.len());
    }
    raw.cookie = good;
    assert_eq!(raw.ask(&raw.add(1)).0.expect, 1, "none of them ran");
}

#[test]
fn k_malformed_datagrams_get_not_one_byte() {
    let server = server();
    let raw = Raw::connect(udp_address(&server), 14);
    let whole = raw.add(1);
    let mut random = 1_u64;
    for round in 0..20_000_u32 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut bytes = whole.clone();
        let at = (random >> 33) as usize % bytes.len();
        match random >> 62 {
            0 => bytes.truncate(at),
            1 => bytes.resize(1300, 0),
            _ => bytes[at] ^= 1 << (random >> 59 & 7),
        }
        let _ = raw.socket.send(&bytes);
        // Keeps the server's queue from overflowing, so that every one of them is looked at.
        if round % 64 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    // The first reply after all of them is the one to the good frame: nothing else was said, and nothing ran.
    let (reply, _) = raw.ask(&whole);
    assert_eq!((reply.status(), reply.sequence, reply.expect), (Some(Status::Ok), 1, 1));
}

#[test]
fn a_server_that_is_gone_leaves_writes_unknown_and_reads_timed_out() {
    let server = server();
    let to = udp_address(&server).to_string();
    let mut client = Udp::builder().call_timeout(Duration::from_millis(300)).connect(to).expect("a socket");
    assert_eq!(client.incr(b"n", 1).expect("incr"), 1);
    drop(server);
    let begun = Instant::now();
    assert!(matches!(client.incr(b"n", 1), Err(Error::OutcomeUnknown(_))));
    assert!(matches!(client.get(b"n"), Err(Error::Timeout { .. })));
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn the_python_client_passes() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python/pannier_udp.py");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md");
    let python = |arguments: &[&str]| Command::new("python3").arg(&script).args(arguments).output();
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let server = server();
    let address = udp_address(&server);
    for arguments in [
        vec!["vectors".to_owned(), page.display().to_string()],
        vec!["check".to_owned(), address.ip().to_string(), address.port().to_string()],
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = python(&arguments).expect("python3 runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Between one client and the server; in parts of 1,000.
#[derive(Clone, Copy)]
struct Faults {
    loss: u64,
    doubling: u64,
    reordering: u64,
    damage: u64,
}

/// A thread that passes datagrams on, both ways, and not all of them, nor as they were.
struct Proxy {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    fn start(server: SocketAddr, faults: Faults, seed: u64) -> Proxy {
        let front = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let back = UdpSocket::bind("127.0.0.1:0").expect("bind");
        back.connect(server).expect("connect");
        let address = front.local_addr().expect("address");
        for socket in [&front, &back] {
            socket.set_nonblocking(true).expect("non-blocking");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut lane = Lane { random: seed, faults, held: Vec::new() };
            let mut client = None;
            let mut bytes = [0; 2000];
            while !stopped.load(Ordering::Relaxed) {
                let mut idle = true;
                while let Ok((len, from)) = front.recv_from(&mut bytes) {
                    (client, idle) = (Some(from), false);
                    lane.pass(&bytes[..len], true);
                }
                while let Ok(len) = back.recv(&mut bytes) {
                    idle = false;
                    lane.pass(&bytes[..len], false);
                }
                for (bytes, to_server) in lane.release() {
                    let _ = match client {
                        _ if to_server => back.send(&bytes),
                        Some(client) => front.send_to(&bytes, client),
                        None => Ok(0),
                    };
                }
                if idle {
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        });
        Proxy { address, stop, thread: Some(thread) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Lane {
    random: u64,
    faults: Faults,
    /// What is held back for a few rounds: bytes, direction, rounds left.
    held: Vec<(Vec<u8>, bool, u64)>,
}

impl Lane {
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn happens(&mut self, of_1000: u64) -> bool {
        self.draw() % 1000 < of_1000
    }

    fn pass(&mut self, bytes: &[u8], to_server: bool) {
        if self.happens(self.faults.loss) {
            return;
        }
        let mut bytes = bytes.to_vec();
        if self.happens(self.faults.damage) {
            let bit = self.draw() as usize % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        if self.happens(self.faults.doubling) {
            let rounds = self.draw() % 8;
            self.held.push((bytes.clone(), to_server, rounds));
        }
        let rounds = if self.happens(self.faults.reordering) { 1 + self.draw() % 4 } else { 0 };
        self.held.push((bytes, to_server, rounds));
    }

    fn release(&mut self) -> Vec<(Vec<u8>, bool)> {
        let mut out = Vec::new();
        self.held.retain_mut(|(bytes, to_server, rounds)| {
            if *rounds == 0 {
                out.push((std::mem::take(bytes), *to_server));
                return false;
            }
            *rounds -= 1;
            true
        });
        out
    }
}

/// Adds 1 to one of seven keys, again and again, and holds the sums against what was acknowledged. Returns adds a second.
fn sums_hold(faults: Faults, adds: usize) -> f64 {
    let server = server();
    let proxy = Proxy::start(udp_address(&server), faults, 20_260);
    let mut client = Udp::connect(proxy.address.to_string()).expect("a socket");
    let key = |n: usize| format!("sum{}", n % 7).into_bytes();
    let requests: Vec<_> = (0..adds).map(|n| Request::add(&key(n), 1).expect("short")).collect();
    // The session is opened first: a handshake that is lost three times would be most of a short run.
    client.ping().expect("pong");
    let begun = Instant::now();
    let outcomes = client.batch(requests).expect("a batch");
    let rate = adds as f64 / begun.elapsed().as_secs_f64();
    let (mut done, mut unknown) = ([0_i64; 7], [0_i64; 7]);
    for (n, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Outcome::Done(answer) if answer.status == Status::Ok => done[n % 7] += 1,
            Outcome::Unknown => unknown[n % 7] += 1,
            other => panic!("{other:?}"),
        }
    }
    let mut stream = Client::connect(server.address.to_string()).expect("connect");
    for n in 0..7 {
        let value = stream.get(&key(n)).expect("get").expect("a sum");
        let value: i64 = String::from_utf8(value).expect("text").parse().expect("a number");
        assert!(done[n] <= value && value <= done[n] + unknown[n], "{done:?} {value} {unknown:?}");
    }
    println!(
        "{rate:.0} adds a second, round trip {:?}, {} acknowledged, {} unknown, {:?}",
        client.round_trip().unwrap_or_default(),
        done.iter().sum::<i64>(),
        unknown.iter().sum::<i64>(),
        client.counters()
    );
    rate
}

#[test]
fn through_a_bad_network_every_sum_is_right() {
    // 100,000 in the long run (`cargo test --release --test udp -- --nocapture`), fewer in a quick one.
    let adds = if cfg!(debug_assertions) { 5_000 } else { 100_000 };
    let clean = sums_hold(Faults { loss: 0, doubling: 0, reordering: 0, damage: 0 }, adds);
    let bad = sums_hold(Faults { loss: 100, doubling: 100, reordering: 100, damage: 10 }, adds);
    println!("goodput through the bad network: {:.2} of the clean one", bad / clean);
}
