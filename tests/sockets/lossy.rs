//! The real client and the real server, and between them a thread that loses, duplicates, holds back and damages datagrams:
//! no write may run twice, and the client may say of none that it ran when it did not.
//!
//! ```text
//!  client::Udp ──▶ front │ link: lose? flip a bit? copy? hold back? │ back ──▶ pannier serve
//!              ◀──       │            the same the other way          │      ◀──
//! ```
//! `PANNIER_LOSSY_ADDS` sets the number of additions (20,000 unless set); `-- --nocapture` shows the goodput.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::{Random, Server};
use pannier::client::{Client, Outcome, Request, Udp};
use pannier::wire::frame::Status;

const KEY_COUNT: usize = 7;
const ADDS_DEFAULT: usize = 20_000;

/// What a link does to datagrams; in parts of 1,000.
#[derive(Clone, Copy)]
struct Faults {
    loss: usize,
    duplication: usize,
    reordering: usize,
    damage: usize,
}

const CLEAN: Faults = Faults { loss: 0, duplication: 0, reordering: 0, damage: 0 };
const BAD: Faults = Faults { loss: 100, duplication: 100, reordering: 100, damage: 10 };

impl Faults {
    /// The share of requests whose answer comes back at the first attempt: both ways must be neither lost nor damaged.
    fn survive(self) -> f64 {
        let one_way = (1.0 - self.loss as f64 / 1000.0) * (1.0 - self.damage as f64 / 1000.0);
        one_way * one_way
    }
}

#[derive(Clone, Copy)]
enum Way {
    ToServer,
    ToClient,
}

/// One datagram that is held back for so many more rounds.
struct Delayed {
    bytes: Vec<u8>,
    way: Way,
    rounds: usize,
}

/// Decides what becomes of each datagram; seeded.
struct FaultyLink {
    random: Random,
    faults: Faults,
    held: Vec<Delayed>,
}

impl FaultyLink {
    fn happens(&mut self, of_1000: usize) -> bool {
        self.random.below(1000) < of_1000
    }

    fn pass(&mut self, bytes: &[u8], way: Way) {
        if self.happens(self.faults.loss) {
            return;
        }
        let mut bytes = bytes.to_vec();
        if self.happens(self.faults.damage) {
            let bit = self.random.below(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        if self.happens(self.faults.duplication) {
            let rounds = self.random.below(8);
            self.held.push(Delayed { bytes: bytes.clone(), way, rounds });
        }
        let rounds = if self.happens(self.faults.reordering) { 1 + self.random.below(4) } else { 0 };
        self.held.push(Delayed { bytes, way, rounds });
    }

    /// What may go on now.
    fn release(&mut self, mut send: impl FnMut(&[u8], Way)) {
        self.held.retain_mut(|held| {
            if held.rounds == 0 {
                send(&held.bytes, held.way);
                return false;
            }
            held.rounds -= 1;
            true
        });
    }
}

/// The thread between client and server.
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
            let mut link = FaultyLink { random: Random(seed), faults, held: Vec::new() };
            let mut client = None;
            let mut bytes = [0; 2000];
            while !stopped.load(Ordering::Relaxed) {
                let mut idle = link.held.is_empty();
                while let Ok((len, from)) = front.recv_from(&mut bytes) {
                    (client, idle) = (Some(from), false);
                    link.pass(&bytes[..len], Way::ToServer);
                }
                while let Ok(len) = back.recv(&mut bytes) {
                    idle = false;
                    link.pass(&bytes[..len], Way::ToClient);
                }
                link.release(|bytes, way| {
                    // What the system does not take is one more that is lost.
                    let _ = match (way, client) {
                        (Way::ToServer, _) => back.send(bytes),
                        (Way::ToClient, Some(client)) => front.send_to(bytes, client),
                        (Way::ToClient, None) => Ok(0),
                    };
                });
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

/// What is known of one key's additions.
#[derive(Default)]
struct Sum {
    acknowledged: u64,
    unknown: u64,
    /// The sums that were answered: each addition of 1 that ran once has one of its own.
    answered: BTreeSet<u64>,
}

fn key(number: usize) -> Vec<u8> {
    format!("sum{}", number % KEY_COUNT).into_bytes()
}

/// A counter of INFO's section on datagrams.
fn counter(server: &Server, name: &str) -> u64 {
    let text = String::from_utf8(server.connect().call(&["INFO", "datagrams"])).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
}

/// Adds 1 to one of the keys, again and again, and holds the sums against what was acknowledged. Returns the
/// acknowledged additions of a second.
fn sums_hold(faults: Faults, adds: usize) -> f64 {
    let server = Server::start(&["--udp", "127.0.0.1:0"]);
    let proxy = Proxy::start(server.udp_address(), faults, 20_260);
    let mut client = Udp::connect(proxy.address.to_string()).expect("a socket");
    client.ping().expect("pong");
    let mut sums: [Sum; KEY_COUNT] = Default::default();
    let requests: Vec<_> = (0..adds).map(|number| Request::add(&key(number), 1).expect("short")).collect();
    let begun = Instant::now();
    let outcomes = client.batch(requests).expect("a batch");
    let seconds = begun.elapsed().as_secs_f64();
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let sum = &mut sums[number % KEY_COUNT];
        match outcome {
            Outcome::Done(answer) if answer.status == Status::Ok => {
                sum.acknowledged += 1;
                assert!(sum.answered.insert(answer.result), "the sum {} was answered twice", answer.result);
            }
            Outcome::Unknown { .. } => sum.unknown += 1,
            other => panic!("{other:?}"),
        }
    }
    let mut stream = Client::connect(server.address.to_string()).expect("connect");
    let mut total = 0;
    for (number, sum) in sums.iter().enumerate() {
        let value = stream.get(&key(number)).expect("get").expect("a sum");
        let value: u64 = String::from_utf8(value).expect("text").parse().expect("a number");
        let bounds = sum.acknowledged..=sum.acknowledged + sum.unknown;
        assert!(bounds.contains(&value), "key {number} is {value}, acknowledged and unknown: {bounds:?}");
        assert!(sum.answered.last().is_none_or(|last| *last <= value));
        total += value;
    }
    assert_eq!(counter(&server, "datagrams_writes"), total, "what ran is what is stored");
    let acknowledged: u64 = sums.iter().map(|sum| sum.acknowledged).sum();
    let unknown: u64 = sums.iter().map(|sum| sum.unknown).sum();
    println!(
        "{:.0} additions a second: {acknowledged} acknowledged, {unknown} unknown, {} repeats not run, {:?} round trip",
        acknowledged as f64 / seconds,
        counter(&server, "datagrams_repeats"),
        client.round_trip().unwrap_or_default(),
    );
    println!("  {:?}", client.counters());
    acknowledged as f64 / seconds
}

#[test]
fn through_a_bad_network_every_sum_is_right() {
    let adds =
        std::env::var("PANNIER_LOSSY_ADDS").map_or(ADDS_DEFAULT, |text| text.parse().expect("a number"));
    let clean = sums_hold(CLEAN, adds);
    let bad = sums_hold(BAD, adds);
    println!(
        "goodput through the bad network: {:.2} of the clean one, {:.2} of what its losses allow",
        bad / clean,
        bad / (clean * BAD.survive()),
    );
}
