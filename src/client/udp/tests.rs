//! The session against the real server's half over a network that loses, duplicates, delays and damages: all of it
//! in one thread, with its own clock, from a seed.

#![cfg(feature = "server")]

use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::config::ServerOptions;
use crate::engine::Engine;
use crate::frames::{self, FrameServer, Handled, Incoming};
use crate::store::{Store, StoreConfig};
use crate::time::{Millis, Now};
use crate::wire::frame::{self, COOKIE_LEN, Direction, Head, Op};

mod back_off;

/// In parts of 1,000.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    loss: u64,
    duplication: u64,
    damage: u64,
    delay_max_us: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: std::cmp::Reverse<Duration>,
    number: u64,
    to_server: bool,
    port: u16,
    bytes: Vec<u8>,
}

struct World {
    random: u64,
    faults: Faults,
    now: Duration,
    flights: BinaryHeap<Flight>,
    flown: u64,
    server: Option<(FrameServer, Engine)>,
    epoch: u32,
    session: Session,
    port: u16,
    outcomes: HashMap<Ticket, Outcome>,
}

impl World {
    fn new(seed: u64, faults: Faults) -> World {
        World::with(seed, faults, SessionConfig::default(), None)
    }

    fn with(seed: u64, faults: Faults, config: SessionConfig, password: Option<&[u8]>) -> World {
        let mut world = World {
            random: seed,
            faults,
            now: Duration::from_secs(1),
            flights: BinaryHeap::new(),
            flown: 0,
            server: None,
            epoch: 100,
            session: Session::new(config, seed ^ 0xABCD),
            port: 40_000,
            outcomes: HashMap::new(),
        };
        world.restart(password);
        world
    }

    fn restart(&mut self, password: Option<&[u8]>) {
        self.epoch += 1;
        let secret = [self.draw(), self.draw()];
        let config = frames::Config { password, clients_max: 2, ..frames::Config::new(self.epoch, secret) };
        let store = StoreConfig { memory_bytes: 4 << 20, ..StoreConfig::default() };
        self.server = Some((
            FrameServer::new(&config),
            Engine::new(Store::new(store, [1, 2]).expect("enough"), ServerOptions::default()),
        ));
    }

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

    fn fly(&mut self, to_server: bool, port: u16, mut bytes: Vec<u8>) {
        if self.happens(self.faults.loss) {
            return;
        }
        if self.happens(self.faults.damage) {
            let bit = (self.draw() % (bytes.len() as u64 * 8)) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let copies = 1 + u64::from(self.happens(self.faults.duplication));
        for _ in 0..copies {
            let delay = 50 + self.draw() % (self.faults.delay_max_us + 1);
            self.flown += 1;
            let at = std::cmp::Reverse(self.now + Duration::from_micros(delay));
            self.flights.push(Flight { at, number: self.flown, to_server, port, bytes: bytes.clone() });
        }
    }

    fn clock(&self) -> Now {
        let ms = self.now.as_millis() as u64;
        Now { monotonic: Millis(ms), unix: Millis(1_700_000_000_000 + ms), unix_micros: 0 }
    }

    /// Does all that is due, then moves time to what is next.
    fn step(&mut self) {
        let mut out = [0; DATAGRAM_BYTES_MAX];
        while let Some(len) = self.session.poll_transmit(self.now, &mut out) {
            self.fly(true, self.port, out[..len].to_vec());
        }
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Finished { ticket, outcome } => {
                    assert!(self.outcomes.insert(ticket, outcome).is_none(), "exactly one outcome");
                }
                Event::NewPort => self.port += 1,
            }
        }
        let deadline = self.session.poll_deadline();
        let flight = self.flights.peek().map(|flight| flight.at.0);
        if let Some(flight) = flight
            && deadline.is_none_or(|deadline| flight <= deadline)
        {
            self.now = self.now.max(flight);
            let flight = self.flights.pop().expect("peeked");
            self.land(flight);
        } else if let Some(deadline) = deadline {
            self.now = self.now.max(deadline);
        }
        self.session.handle_timeout(self.now);
    }

    fn land(&mut self, flight: Flight) {
        if !flight.to_server {
            // What goes to a port that was given up is lost.
            if flight.port == self.port {
                self.session.handle_datagram(&flight.bytes, self.now);
            }
            return;
        }
        let now = self.clock();
        let Some((datagrams, store)) = &mut self.server else { return };
        let from = SocketAddr::from(([127, 0, 0, 1], flight.port));
        let mut reply = [0; DATAGRAM_BYTES_MAX];
        let incoming = Incoming { from, bytes: &flight.bytes, now };
        if let Handled::Reply(len) = datagrams.handle(store, &incoming, &mut reply) {
            self.fly(false, flight.port, reply[..len].to_vec());
        }
    }

    fn start(&mut self, request: Request, timeout_ms: u64) -> Ticket {
        self.session.start(request, self.now + Duration::from_millis(timeout_ms)).expect("room")
    }

    fn finish(&mut self, ticket: Ticket) -> Outcome {
        for _ in 0..1_000_000 {
            if let Some(outcome) = self.outcomes.get(&ticket) {
                return outcome.clone();
            }
            self.step();
        }
        panic!("{ticket:?} never ends");
    }

    fn call(&mut self, request: Request) -> Outcome {
        let ticket = self.start(request, 1000);
        self.finish(ticket)
    }

    fn stored(&mut self, key: &[u8]) -> i64 {
        let now = self.clock().unix;
        let (_, store) = self.server.as_mut().expect("a server");
        match store.store.get(crate::mutation::Database(0), key, now) {
            Some(entry) => match entry.value {
                crate::store::Value::Inline(text) => {
                    std::str::from_utf8(text).expect("text").parse().expect("a number")
                }
                other => panic!("{other:?}"),
            },
            None => 0,
        }
    }
}

/// Without an answer that says why.
const UNKNOWN: Outcome = Outcome::Unknown { refusal: None };
const TIMED_OUT: Outcome = Outcome::TimedOut { refusal: None };

fn add() -> Request {
    Request::add(b"n", 1).expect("short")
}

fn status(outcome: &Outcome) -> Status {
    match outcome {
        Outcome::Done(answer) => answer.status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_is_opened_and_requests_are_answered() {
    let mut world = World::new(1, Faults::default());
    assert_eq!(status(&world.call(Request::put(b"k", b"v").expect("short"))), Status::Ok);
    let Outcome::Done(answer) = world.call(Request::get(b"k").expect("short")) else { panic!() };
    assert_eq!((answer.status, &answer.value[..]), (Status::Ok, &b"v"[..]));
    let counters = world.session.counters();
    // Two HELLOs, two requests, nothing else.
    assert_eq!((counters.sent, counters.accepted, counters.retries, counters.sessions), (4, 4, 0, 1));
    assert_eq!(world.session.round_trip(), Some(Duration::from_micros(100)));
}

/// The bounds of at most once: what was acknowledged is there, and nothing beyond what is unknown.
fn sums_hold(seed: u64, faults: Faults, timeout_ms: u64) -> (u64, u64) {
    let mut world = World::new(seed, faults);
    let (mut tickets, mut keys) = (Vec::new(), HashMap::new());
    for n in 0..2000_u64 {
        while world.session.outstanding() >= 64 {
            world.step();
        }
        let key = format!("n{}", n % 7);
        let ticket = world.start(Request::add(key.as_bytes(), 1).expect("short"), timeout_ms);
        tickets.push(ticket);
        keys.insert(ticket, key);
    }
    let mut sums: HashMap<String, (i64, i64)> = HashMap::new();
    let (mut done, mut unknown) = (0, 0);
    for ticket in tickets {
        let sum = sums.entry(keys[&ticket].clone()).or_default();
        match world.finish(ticket) {
            Outcome::Done(answer) => {
                assert_eq!(answer.status, Status::Ok);
                (sum.0, done) = (sum.0 + 1, done + 1);
            }
            Outcome::Unknown { .. } => (sum.1, unknown) = (sum.1 + 1, unknown + 1),
            Outcome::TimedOut { .. } => {}
        }
    }
    while !world.flights.is_empty() {
        world.step();
    }
    for (key, (acknowledged, unknown)) in sums {
        let value = world.stored(key.as_bytes());
        assert!(acknowledged <= value && value <= acknowledged + unknown, "seed {seed}: {key} {value}");
    }
    (done, unknown)
}

#[test]
fn every_sum_is_between_the_acknowledged_and_the_unknown() {
    // The probabilities themselves are drawn, some of them zero.
    for seed in 0..12 {
        let pick = |shift: u32, choices: &[u64]| choices[(seed >> shift) as usize % choices.len()];
        let faults = Faults {
            loss: pick(0, &[100, 0, 300]),
            duplication: pick(1, &[100, 500, 0]),
            damage: pick(2, &[10, 0, 100]),
            delay_max_us: pick(0, &[20_000, 200, 0, 100_000]),
        };
        let (done, unknown) = sums_hold(seed, faults, 10_000);
        assert!(
            done >= 1950,
            "seed {seed}: with 10 s each, nearly all arrive: {done} done, {unknown} unknown"
        );
    }
    let (_, unknown) = sums_hold(99, Faults { loss: 500, delay_max_us: 30_000, ..Faults::default() }, 150);
    assert!(unknown > 0, "with so little time some stay unknown");
}

/// Acknowledged additions of a second of the world's own time, and frames sent for each of them.
fn goodput(faults: Faults) -> (f64, f64) {
    const COUNT: usize = 20_000;
    let mut world = World::new(20_260, faults);
    world.call(add());
    let begun = world.now;
    let mut started = 0;
    while world.outcomes.len() <= COUNT {
        while started < COUNT && world.session.outstanding() < 64 {
            world.start(add(), 10_000);
            started += 1;
        }
        world.step();
    }
    let sent = world.session.counters().sent as f64 / COUNT as f64;
    (COUNT as f64 / (world.now - begun).as_secs_f64(), sent)
}

#[test]
fn a_bad_network_costs_little_more_than_what_it_loses() {
    let delay_max_us = 200;
    let (clean, _) = goodput(Faults { delay_max_us, ..Faults::default() });
    let (bad, sent) = goodput(Faults { loss: 100, duplication: 100, damage: 10, delay_max_us });
    // Neither the request nor the reply may be lost or damaged.
    let survive = (0.9_f64 * 0.99).powi(2);
    let ratio = bad / (clean * survive);
    println!(
        "{clean:.0} clean, {bad:.0} bad: {ratio:.2} of what the losses allow, {sent:.2} frames for each"
    );
    assert!(ratio >= 0.8, "{ratio}");
}

#[test]
fn a_write_without_an_answer_is_unknown_and_a_read_timed_out() {
    let mut world = World::new(2, Faults::default());
    assert_eq!(status(&world.call(add())), Status::Ok);
    world.faults.loss = 1000;
    let (write, read) = (world.start(add(), 500), world.start(Request::get(b"n").expect("short"), 500));
    assert_eq!((world.finish(write), world.finish(read)), (UNKNOWN, TIMED_OUT));
    let mut silent = World::new(3, Faults { loss: 1000, ..Faults::default() });
    assert_eq!(silent.call(add()), TIMED_OUT, "it was never sent");
    assert!(silent.session.counters().ports >= 1, "a new port was tried");
    assert!(silent.session.counters().sent <= 8, "attempts back off");
}

#[test]
fn a_restarted_server_makes_sent_writes_unknown_and_the_next_one_work() {
    let mut world = World::new(4, Faults::default());
    assert_eq!(status(&world.call(add())), Status::Ok);
    world.restart(None);
    let refusal = Some(Status::WrongEpoch);
    assert_eq!(world.call(add()), Outcome::Unknown { refusal }, "the answer says why");
    assert_eq!(status(&world.call(add())), Status::Ok);
    assert_eq!((world.stored(b"n"), world.session.counters().sessions), (1, 2));
    world.restart(None);
    let read = world.call(Request::get(b"n").expect("short"));
    assert_eq!(status(&read), Status::NotFound, "reads go over into the new session");
}

#[test]
fn a_new_port_keeps_the_session() {
    let mut world = World::new(5, Faults::default());
    assert_eq!(status(&world.call(add())), Status::Ok);
    world.port += 1;
    assert_eq!(status(&world.call(add())), Status::Ok);
    assert_eq!((world.stored(b"n"), world.session.counters().sessions), (2, 1));
}

/// A write runs, its answer is lost, and before it is sent again the server has dropped the session and the client's
/// address has changed: a fresh cookie must not carry the retry.
#[test]
fn a_retry_never_runs_in_a_session_that_was_forgotten() {
    let mut world = World::new(6, Faults::default());
    assert_eq!(status(&world.call(add())), Status::Ok);
    let ticket = world.start(add(), 1_000_000);
    let mut out = [0; DATAGRAM_BYTES_MAX];
    let len = world.session.poll_transmit(world.now, &mut out).expect("the write");
    let clock = world.clock();
    let from = SocketAddr::from(([127, 0, 0, 1], world.port));
    let mut reply = [0; DATAGRAM_BYTES_MAX];
    {
        let (datagrams, store) = world.server.as_mut().expect("a server");
        let incoming = Incoming { from, bytes: &out[..len], now: clock };
        assert!(matches!(datagrams.handle(store, &incoming, &mut reply), Handled::Reply(_)));
    }
    // Others fill the table, long after.
    world.now += Duration::from_secs(200);
    for id in [1_u64, 2] {
        let clock = world.clock();
        let (datagrams, store) = world.server.as_mut().expect("a server");
        let mut cookie = [0; COOKIE_LEN];
        for _ in 0..2 {
            let len =
                frame::encode(&mut out, &Head { cookie, ..Head::request(Op::Hello, id, 0) }, b"", b"", None)
                    .expect("fits");
            let incoming = Incoming { from, bytes: &out[..len], now: clock };
            let Handled::Reply(len) = datagrams.handle(store, &incoming, &mut reply) else { panic!() };
            cookie = frame::decode_datagram(&reply[..len], Direction::Reply).expect("good").head.cookie;
        }
    }
    // Their leases run out too: there would be room for a session that only seems to be new.
    world.now += Duration::from_secs(200);
    world.port += 1;
    assert_eq!(world.finish(ticket), Outcome::Unknown { refusal: Some(Status::StaleSession) });
    assert_eq!(world.stored(b"n"), 2);
    world.now += Duration::from_secs(200);
    assert_eq!(status(&world.call(add())), Status::Ok);
}

#[test]
fn after_a_long_silence_the_session_is_checked_before_a_write_is_risked() {
    let mut world = World::new(7, Faults::default());
    assert_eq!(status(&world.call(add())), Status::Ok);
    world.now += Duration::from_secs(10_000);
    world.restart(None);
    assert_eq!(status(&world.call(add())), Status::Ok, "known to be a new server before it is sent");
    assert_eq!(world.stored(b"n"), 1);
}

#[test]
fn what_is_not_ours_is_counted_and_dropped() {
    let mut world = World::new(8, Faults { duplication: 1000, ..Faults::default() });
    assert_eq!(status(&world.call(add())), Status::Ok);
    while !world.flights.is_empty() {
        world.step();
    }
    assert!(world.session.counters().late > 0, "duplicated replies");
    let accepted = world.session.counters().accepted;
    let head = Head::request(Op::Get, 1234, 1).reply(Status::Ok, 101);
    let mut out = [0; 128];
    let len = frame::encode(&mut out, &head, b"", b"", None).expect("fits");
    world.session.handle_datagram(&out[..len], world.now);
    world.session.handle_datagram(&out[..len - 1], world.now);
    let counters = world.session.counters();
    assert_eq!((counters.unknown, counters.malformed, counters.accepted), (1, 1, accepted));
}

#[test]
fn with_a_password() {
    let config = |password: &[u8]| SessionConfig { password: Some(password.to_vec()), ..Default::default() };
    let mut world = World::with(9, Faults::default(), config(b"secret"), Some(b"secret"));
    assert_eq!(status(&world.call(add())), Status::Ok);
    let mut world = World::with(9, Faults::default(), config(b"wrong"), Some(b"secret"));
    assert_eq!(world.call(add()), TIMED_OUT, "a wrong tag gets silence");
    let mut world = World::with(9, Faults::default(), SessionConfig::default(), Some(b"secret"));
    assert_eq!(status(&world.call(add())), Status::Denied, "no tag gets a reason");
}

#[test]
fn a_window_is_sent_at_once_and_no_further() {
    let mut world = World::new(10, Faults::default());
    let tickets: Vec<_> = (0..64).map(|_| world.start(add(), 1000)).collect();
    assert_eq!(world.session.start(add(), world.now), Err(WindowFull));
    for ticket in tickets {
        assert_eq!(status(&world.finish(ticket)), Status::Ok);
    }
    assert_eq!(world.stored(b"n"), 64);
    assert_eq!(world.session.counters().retries, 0);
}

/// One request is lost each time that it is sent; hundreds of later ones pass it, in the other slots.
#[test]
fn a_request_that_is_lost_holds_up_its_own_slot_alone() {
    let mut session = Session::new(SessionConfig::default(), 3);
    let (mut now, mut done) = (Duration::from_secs(1), 0);
    let mut sequences = std::collections::BTreeSet::new();
    while done < 1000 {
        while session.outstanding() < 64 {
            session.start(add(), now + Duration::from_secs(60)).expect("room");
        }
        let (mut out, mut replies) = ([0; DATAGRAM_BYTES_MAX], Vec::new());
        while let Some(len) = session.poll_transmit(now, &mut out) {
            let head = frame::decode_datagram(&out[..len], Direction::Request).expect("a request").head;
            sequences.insert(head.sequence);
            if head.sequence != 1 {
                replies.push(Head { argument: 120_000, expect: 1, ..head.reply(Status::Ok, 5) });
            }
        }
        now += Duration::from_millis(1);
        for reply in replies {
            let len = frame::encode(&mut out, &reply, b"", b"", None).expect("fits");
            session.handle_datagram(&out[..len], now);
        }
        while session.poll_event().is_some() {
            done += 1;
        }
    }
    assert!(sequences.iter().filter(|sequence| **sequence % 64 == 1).eq([&1]), "its slot is left to it");
    assert!(sequences.last() > Some(&1000));
}
