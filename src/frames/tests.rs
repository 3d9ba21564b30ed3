//! Every case of bad input over UDP, and a model of at most once under loss, duplication and reordering.

use std::collections::HashMap;

use super::*;
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::time::Millis;
use crate::wire::frame::FRAME_LEN_MIN;

mod handle;
mod tag;

const EPOCH: u32 = 0xE90C;

/// A server, its clock, and what it has stored.
struct Rig {
    datagrams: FrameServer,
    values: HashMap<Vec<u8>, i64>,
    /// Runs of each (client, sequence).
    runs: HashMap<(u64, u32), u32>,
    now: Now,
    reply: [u8; DATAGRAM_BYTES_MAX],
}

/// A client that keeps what the protocol lets it keep.
#[derive(Clone, Copy)]
struct Peer {
    id: u64,
    from: SocketAddr,
    cookie: [u8; 16],
    epoch: u32,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Rig {
    fn new(clients_max: usize) -> Rig {
        Rig::with(Config { clients_max, ..Config::new(EPOCH, [7, 8]) })
    }

    fn with(config: Config<'_>) -> Rig {
        let now = Now { monotonic: Millis(1000), unix: Millis(1_700_000_000_000), unix_micros: 0 };
        let datagrams = FrameServer::new(&config);
        Rig { datagrams, values: HashMap::new(), runs: HashMap::new(), now, reply: [0; _] }
    }

    /// One datagram; the model stands in for the store.
    fn send(&mut self, from: SocketAddr, bytes: &[u8]) -> Option<Reply> {
        let incoming = Incoming { from, bytes, now: self.now };
        let handled = match self.datagrams.admit_datagram(&incoming) {
            Err(reason) => Handled::Rejected(reason),
            Ok((asked, decision)) => {
                let answer = match decision {
                    Decision::Reject(_) => unreachable!(),
                    Decision::Answer(answer) => answer,
                    Decision::Read { session, .. } => {
                        self.datagrams.in_session(Answer::plain(Status::Ok), session)
                    }
                    Decision::Write { op, session, hash } => {
                        let kept = self.run(&asked.frame, op);
                        self.datagrams.ran(&asked, session, hash, kept)
                    }
                };
                self.datagrams.send(&asked, &answer, &mut self.reply)
            }
        };
        self.datagrams.sessions.invariants();
        let Handled::Reply(len) = handled else { return None };
        let frame = frame::decode_datagram(&self.reply[..len], Direction::Reply).expect("a good reply");
        Some(Reply { head: frame.head, len })
    }

    fn run(&mut self, frame: &Frame<'_>, op: Op) -> CachedReply {
        *self.runs.entry((frame.head.client_id, frame.head.sequence)).or_default() += 1;
        let value = self.values.entry(frame.key.to_vec()).or_default();
        match op {
            Op::Add => *value += frame.head.argument.cast_signed(),
            _ => *value = frame.head.argument.cast_signed(),
        }
        CachedReply {
            status: Status::Ok,
            argument: u64::from(frame.head.sequence),
            expect: value.cast_unsigned(),
        }
    }

    /// HELLO, CHALLENGE, HELLO, OK.
    fn connect(&mut self, id: u64, port: u16) -> Peer {
        let mut peer = Peer { id, from: address(port), cookie: [0; 16], epoch: EPOCH };
        let challenge = self.ask(&peer, Head::request(Op::Hello, id, 0)).expect("a challenge");
        assert_eq!(challenge.status(), Status::Challenge);
        assert_eq!(challenge.head.epoch, EPOCH);
        peer.cookie = challenge.head.cookie;
        let welcome = self.ask(&peer, Head::request(Op::Hello, id, 0)).expect("a welcome");
        assert_eq!(welcome.status(), Status::Ok);
        peer.cookie = welcome.head.cookie;
        peer
    }

    fn ask(&mut self, peer: &Peer, head: Head) -> Option<Reply> {
        let bytes = peer.frame(head, b"k");
        self.send(peer.from, &bytes)
    }

    fn status(&mut self, peer: &Peer, head: Head) -> Status {
        self.ask(peer, head).expect("a reply").status()
    }

    fn runs_total(&self) -> u32 {
        self.runs.values().sum()
    }

    fn advance(&mut self, ms: u64) {
        self.now.monotonic = self.now.monotonic.plus(ms);
    }

    fn counters_add_up(&self) {
        let counters = self.datagrams.counters();
        assert_eq!(counters.received, counters.replied + counters.throttled + counters.rejected_total());
        assert_eq!(counters.replied, counters.answered.iter().sum::<u64>());
    }
}

struct Reply {
    head: Head,
    len: usize,
}

impl Reply {
    fn status(&self) -> Status {
        self.head.status().expect("a status")
    }
}

impl Peer {
    fn frame(&self, mut head: Head, key: &[u8]) -> Vec<u8> {
        if head.op() != Some(Op::Hello) {
            head.epoch = self.epoch;
        }
        head.cookie = self.cookie;
        let mut out = vec![0; DATAGRAM_BYTES_MAX];
        let len = frame::encode(&mut out, &head, key, b"", None).expect("fits");
        out.truncate(len);
        out
    }

    fn put(&self, sequence: u32, value: u64) -> Head {
        Head { argument: value, ..Head::request(Op::Put, self.id, sequence) }
    }

    fn add(&self, sequence: u32, delta: u64) -> Head {
        Head { argument: delta, ..Head::request(Op::Add, self.id, sequence) }
    }
}

#[test]
fn a_every_length_from_0_to_75() {
    let mut rig = Rig::new(8);
    let peer = rig.connect(1, 5000);
    let whole = peer.frame(peer.put(1, 1), b"12345678");
    assert_eq!(whole.len(), 76);
    let before = *rig.datagrams.counters();
    for len in 0..=75 {
        assert!(rig.send(peer.from, &whole[..len]).is_none());
    }
    let after = rig.datagrams.counters();
    assert_eq!(after.rejected[Reject::TooShort as usize], FRAME_LEN_MIN as u64);
    assert_eq!(after.rejected[Reject::BadLength as usize], 76 - FRAME_LEN_MIN as u64);
    assert_eq!((after.bytes_replied, rig.runs_total()), (before.bytes_replied, 0));
}

#[test]
fn b_one_and_two_flipped_bits_run_nothing() {
    let mut rig = Rig::new(8);
    let peer = rig.connect(1, 5000);
    let mut bytes = peer.frame(peer.put(1, 1), b"k");
    let before = *rig.datagrams.counters();
    let bits = bytes.len() * 8;
    let mut sent = 0;
    for first in 0..bits {
        bytes[first / 8] ^= 1 << (first % 8);
        assert!(rig.send(peer.from, &bytes).is_none());
        sent += 1;
        for second in first + 1..bits {
            bytes[second / 8] ^= 1 << (second % 8);
            assert!(rig.send(peer.from, &bytes).is_none());
            sent += 1;
            bytes[second / 8] ^= 1 << (second % 8);
        }
        bytes[first / 8] ^= 1 << (first % 8);
    }
    let after = rig.datagrams.counters();
    assert_eq!(after.rejected_total() - before.rejected_total(), sent);
    assert_eq!((after.replied, rig.runs_total()), (before.replied, 0));
    assert_eq!(rig.status(&peer, peer.put(1, 1)), Status::Ok, "the undamaged one runs");
}

#[test]
fn c_a_reply_that_comes_back_is_met_with_silence() {
    let mut rig = Rig::new(8);
    let peer = rig.connect(1, 5000);
    let reply = rig.reply[..FRAME_LEN_MIN].to_vec();
    let before = *rig.datagrams.counters();
    assert!(rig.send(peer.from, &reply).is_none());
    assert_eq!(rig.datagrams.counters().rejected[Reject::WrongDirection as usize], 1);
    assert_eq!(rig.datagrams.counters().replied, before.replied);
}

#[test]
fn d_a_thousand_copies_run_once_and_get_the_same_answer() {
    let mut rig = Rig::new(8);
    let peer = rig.connect(1, 5000);
    for attempt in 0..1000u32 {
        let head = Head { attempt: attempt as u8, ..peer.add(1, 5) };
        let reply = rig.ask(&peer, head).expect("a reply");
        assert_eq!((reply.status(), reply.head.expect, reply.head.attempt), (Status::Ok, 5, attempt as u8));
    }
    assert_eq!((rig.runs_total(), rig.datagrams.counters().repeats), (1, 999));
}

#[test]
fn e_a_copy_of_an_earlier_write_leaves_the_newer_value() {
    let mut rig = Rig::new(8);
    let peer = rig.connect(1, 5000);
    for (sequence, value) in [(5, 50), (6, 60), (5, 50)] {
        assert_eq!(rig.status(&peer, peer.put(sequence, value)), Status::Ok);
    }
    assert_eq!(rig.values[&b"k"[..]], 60);
}

#[test]
fn f_the_same_sequence_with_another_body() {
    let mut rig = Rig::new(8);
    let peer = rig.connect(1, 5000);
    assert_eq!(rig.status(&peer, peer.put(1, 10)), Status::Ok);
    assert_eq!(rig.status(&peer, peer.put(1, 11)), Status::IdReused);
    assert_eq!(rig.status(&peer, peer.add(1, 10)), Status::IdReused);
    assert_eq!(rig.status(&peer, Head::request(Op::Get, 1, 1)), Status::IdReused);
    assert_eq!(rig.status(&peer, Head { flags: flags::IF_ABSENT, ..peer.put(1, 10) }), Status::IdReused);
    assert_eq!(rig.status(&peer, peer.put(1, 10)), Status::Ok);
    assert_eq!(rig.values[&b"k"[..]], 10);
}

#[test]
fn g_no_copy_from_before_a_session_was_dropped_runs_or_tells_anything() {
    let mut rig = Rig::new(2);
    let old = rig.connect(1, 5001);
    assert_eq!(rig.status(&old, old.add(1, 1)), Status::Ok);
    let second = rig.connect(2, 5002);
    assert_eq!(rig.status(&second, second.add(1, 1)), Status::Ok);
    // The table is full of live leases.
    let third = Peer { id: 3, from: address(5003), cookie: [0; 16], epoch: EPOCH };
    let cookie = rig.ask(&third, Head::request(Op::Hello, 3, 0)).expect("a challenge").head.cookie;
    let third = Peer { cookie, ..third };
    let busy = rig.ask(&third, Head::request(Op::Hello, 3, 0)).expect("a reply");
    assert_eq!((busy.status(), busy.head.cookie), (Status::Busy, cookie), "the cookie stays good");
    for head in [third.put(1, 1), Head::request(Op::Get, 3, 1), Head::request(Op::Ping, 3, 1)] {
        assert_eq!(rig.status(&third, head), Status::StaleSession, "every request needs a session");
    }
    rig.advance(UDP_LEASE_MS + 1);
    let third = rig.connect(3, 5003);
    assert_eq!(rig.status(&third, third.put(1, 1)), Status::Ok);
    assert_eq!((rig.datagrams.sessions().dropped(), rig.datagrams.sessions().len()), (2, 1));
    for _ in 0..3 {
        for head in [old.add(1, 1), old.add(2, 1), Head::request(Op::Get, 1, 3)] {
            assert_eq!(rig.status(&old, head), Status::StaleSession);
        }
    }
    // From another address it is asked for a new cookie; retried with that, what ran does not run again either.
    let moved = Peer { from: address(5009), ..old };
    let challenge = rig.ask(&moved, moved.add(1, 1)).expect("a challenge");
    assert_eq!(challenge.status(), Status::Challenge);
    let moved = Peer { cookie: challenge.head.cookie, ..moved };
    assert_eq!(rig.status(&moved, moved.add(1, 1)), Status::StaleSession);
    // A copy of its HELLO opens a session, but neither its old writes run in that nor are its old reads answered.
    let welcome = rig.ask(&old, Head::request(Op::Hello, 1, 0)).expect("a reply");
    assert_eq!((welcome.status(), welcome.head.expect), (Status::Ok, 4));
    for head in [old.add(1, 1), old.add(2, 1), Head::request(Op::Get, 1, 3)] {
        assert_eq!(rig.status(&old, head), Status::StaleSession);
    }
    let again = Peer { cookie: welcome.head.cookie, ..old };
    assert_eq!(rig.status(&again, again.add(7, 1)), Status::Ok);
    assert_eq!(rig.runs[&(1, 1)], 1);
    rig.counters_add_up();
}

#[test]
fn the_window_forgets_on_its_left_and_below_the_first_incomplete() {
    let mut rig = Rig::new(2);
    let peer = rig.connect(1, 5000);
    assert_eq!(rig.status(&peer, peer.put(100, 1)), Status::Ok);
    assert_eq!(rig.status(&peer, peer.put(36, 1)), Status::StaleSession, "left of the window");
    assert_eq!(rig.status(&peer, peer.put(37, 1)), Status::Ok, "its last place");
    assert_eq!(rig.status(&peer, Head { first_incomplete: 90, ..peer.put(95, 1) }), Status::Ok);
    assert_eq!(rig.status(&peer, peer.put(89, 1)), Status::StaleSession);
    assert_eq!(rig.status(&peer, peer.put(37, 1)), Status::StaleSession);
    assert_eq!(rig.status(&peer, peer.put(90, 1)), Status::Ok);
    assert_eq!(rig.status(&peer, peer.put(100, 1)), Status::Ok, "still kept");
    assert!(rig.runs.values().all(|runs| *runs == 1));
}

#[test]
fn h_an_old_epoch_runs_nothing() {
    let mut rig = Rig::new(2);
    let peer = rig.connect(1, 5000);
    let old = Peer { epoch: EPOCH - 1, ..peer };
    let reply = rig.ask(&old, old.put(1, 1)).expect("a reply");
    assert_eq!((reply.status(), reply.head.epoch), (Status::WrongEpoch, EPOCH));
    let unknowing = Peer { epoch: 0, ..peer };
    assert_eq!(rig.status(&unknowing, unknowing.put(1, 1)), Status::WrongEpoch, "only HELLO may ask for it");
    let hello = Head { epoch: EPOCH - 1, ..Head::request(Op::Hello, 1, 0) };
    assert_eq!(rig.status(&peer, hello), Status::WrongEpoch);
    let mut restarted = Rig::with(Config::new(EPOCH + 1, [9, 9]));
    let reply = restarted.ask(&peer, peer.put(1, 1)).expect("a challenge");
    assert_eq!((reply.status(), reply.head.epoch), (Status::Challenge, EPOCH + 1));
    assert_eq!((rig.runs_total(), restarted.runs_total()), (0, 0));
}

#[test]
fn i_an_unproved_source_never_gets_more_than_it_sent() {
    let mut rig = Rig::new(8);
    let peer = rig.connect(1, 5000);
    let foreign = rig.connect(2, 5001).cookie;
    let elsewhere = rig.connect(1, 5002).cookie;
    let past = peer.cookie;
    rig.advance(2 * cookie::PERIOD_MS);
    let mut future_rig = Rig::new(8);
    future_rig.advance(20 * cookie::PERIOD_MS);
    let future = future_rig.connect(1, 5000).cookie;
    for cookie in [[0; 16], foreign, elsewhere, past, future, [0xFF; 16]] {
        for op in Op::ALL {
            let bytes = Peer { cookie, ..peer }.frame(Head::request(*op, 1, 1), b"");
            let reply = rig.send(peer.from, &bytes).expect("a challenge");
            assert_eq!(reply.status(), Status::Challenge);
            assert!(reply.len <= bytes.len());
        }
    }
    assert_eq!(rig.runs_total(), 0);
}

#[test]
fn j_too_long_and_trailing_junk() {
    let mut rig = Rig::new(8);
    let peer = rig.connect(1, 5000);
    let mut bytes = peer.frame(peer.put(1, 1), b"k");
    bytes.push(0);
    assert!(rig.send(peer.from, &bytes).is_none());
    bytes.resize(65_507, 0);
    assert!(rig.send(peer.from, &bytes).is_none());
    let counters = rig.datagrams.counters();
    assert_eq!(counters.rejected[Reject::BadLength as usize], 1);
    assert_eq!(counters.rejected[Reject::TooLong as usize], 1);
    assert_eq!(rig.runs_total(), 0);
}

/// A small generator, so that the tests need no other (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[test]
fn k_a_hundred_thousand_malformed_ones_get_not_one_byte() {
    let mut rig = Rig::new(8);
    let peer = rig.connect(1, 5000);
    let before = *rig.datagrams.counters();
    let mut random = Random(3);
    for round in 0..100_000u64 {
        let mut bytes = peer.frame(peer.put(1, round), b"k");
        match random.below(4) {
            0 => bytes.truncate(random.below(bytes.len() as u64) as usize),
            1 => bytes.iter_mut().for_each(|byte| *byte = random.next() as u8),
            2 => bytes.push(random.next() as u8),
            _ => {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 + random.below(255) as u8;
            }
        }
        assert!(rig.send(peer.from, &bytes).is_none());
    }
    let after = rig.datagrams.counters();
    assert_eq!(after.bytes_replied, before.bytes_replied);
    assert_eq!(after.rejected_total(), 100_000);
    assert_eq!(rig.runs_total(), 0);
    rig.counters_add_up();
}

#[test]
fn l_the_last_sequence() {
    let mut rig = Rig::new(8);
    let peer = rig.connect(1, 5000);
    for sequence in [u32::MAX, u32::MAX - 1, u32::MAX - 63, u32::MAX] {
        assert_eq!(rig.status(&peer, peer.put(sequence, 1)), Status::Ok);
    }
    assert_eq!(rig.status(&peer, peer.put(u32::MAX - 64, 1)), Status::StaleSession);
    assert_eq!(rig.status(&peer, peer.put(0, 1)), Status::BadOp);
    assert_eq!(rig.runs_total(), 3);
}

#[test]
fn requests_that_make_no_sense() {
    let mut rig = Rig::new(8);
    let peer = rig.connect(1, 5000);
    let put = peer.put(1, 0);
    for head in [
        Head { code: 0, ..put },
        Head { code: 8, ..put },
        Head { flags: 0x80, ..put },
        Head { flags: flags::IF_ABSENT | flags::IF_PRESENT, ..put },
        Head { flags: flags::KEEP_TTL, argument: 1, ..put },
        Head { argument: u64::MAX, ..put },
        Head { first_incomplete: 2, ..put },
        Head { flags: flags::IF_REVISION, ..peer.add(1, 0) },
    ] {
        assert_eq!(rig.status(&peer, head), Status::BadOp, "{head:?}");
    }
    assert_eq!(rig.runs_total(), 0);
}

#[test]
fn errors_to_one_source_are_limited() {
    let mut rig = Rig::new(8);
    let peer = rig.connect(1, 5000);
    let answered = (0..1000).filter(|_| rig.ask(&peer, peer.put(0, 1)).is_some()).count();
    assert_eq!(answered, 128);
    assert_eq!(rig.datagrams.counters().throttled, 872);
    assert_eq!(rig.status(&peer, peer.put(1, 1)), Status::Ok);
    rig.counters_add_up();
}

#[test]
fn memory_is_fixed_and_computed() {
    let bytes = FrameServer::memory_bytes(UDP_CLIENTS_DEFAULT);
    assert!((6_000_000..7_000_000).contains(&bytes), "{bytes}");
    let parts = Sessions::memory_bytes(UDP_CLIENTS_DEFAULT) + ErrorBudget::memory_bytes();
    assert_eq!(bytes, size_of::<FrameServer>() + parts);
}

/// Clients that retry, a network that duplicates, delays and loses, a table far too small, and time that jumps: no
/// (client, sequence) runs twice, ever.
#[test]
fn at_most_once_under_duplication_and_reordering() {
    for seed in 0..30 {
        let mut random = Random(seed);
        let mut rig = Rig::new(3);
        let mut network: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        let mut cookies: HashMap<u64, [u8; 16]> = HashMap::new();
        let mut numbers: HashMap<u64, u64> = HashMap::new();
        let mut next: HashMap<u64, u32> = HashMap::new();
        for _ in 0..8000 {
            let id = 1 + random.below(6);
            let from = address(5000 + id as u16);
            let cookie = *cookies.entry(id).or_default();
            let peer = Peer { id, from, cookie, epoch: EPOCH };
            match random.below(10) {
                // Only a HELLO takes up a new cookie, as the protocol's page demands of clients.
                0 => {
                    let Some(reply) = rig.ask(&peer, Head::request(Op::Hello, id, 0)) else { continue };
                    cookies.insert(id, reply.head.cookie);
                    let number = if reply.status() == Status::Ok { reply.head.expect } else { 0 };
                    if number != 0 && numbers.insert(id, number) != Some(number) {
                        // A new session, whose sequences go on beyond the old ones.
                        *next.entry(id).or_default() += 64;
                    }
                }
                1..5 => {
                    let sequence = next.entry(id).or_default();
                    *sequence += 1;
                    let head = peer.add(*sequence, 1);
                    network.push((from, peer.frame(head, b"k")));
                }
                5..9 if !network.is_empty() => {
                    let at = random.below(network.len() as u64) as usize;
                    let (from, bytes) = network[at].clone();
                    if random.below(4) == 0 {
                        network.swap_remove(at);
                    }
                    if random.below(10) > 0 {
                        rig.send(from, &bytes);
                    }
                }
                _ => rig.advance(random.below(UDP_LEASE_MS / 4)),
            }
        }
        assert!(rig.runs.values().all(|runs| *runs == 1), "seed {seed}");
        assert!(rig.runs.len() > 100, "seed {seed}: too little ran: {}", rig.runs.len());
        assert!(rig.datagrams.sessions().dropped() > 0, "seed {seed}");
        rig.counters_add_up();
    }
}
