//! Operations from datagram to store and back, and the same over a stream.

use crate::config::ServerOptions;
use crate::engine::Engine;
use crate::frames::*;
use crate::limits::{DATAGRAM_BYTES_MAX, STREAM_FRAME_BYTES_MAX};
use crate::mutation::{Mutation, NewValue, Revision};
use crate::store::{OnFull, Store, StoreConfig};
use crate::time::Millis;
use crate::wire::frame::Step;
use crate::wire::tag::TAG_LEN;
use std::net::{IpAddr, Ipv4Addr};

const EPOCH: u32 = 77;
const CLIENT: u64 = 5;
const STREAM: Source = Source::Stream { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), connection: 1 };

struct Rig {
    datagrams: FrameServer,
    engine: Engine,
    now: Now,
    from: SocketAddr,
    cookie: [u8; 16],
    stream_cookie: [u8; 16],
    sequence: u32,
}

struct Reply {
    status: Status,
    revision: u64,
    result: u64,
    value: Vec<u8>,
}

impl Rig {
    fn new() -> Rig {
        let config = StoreConfig { memory_bytes: 8 << 20, on_full: OnFull::Refuse, ..StoreConfig::default() };
        let mut rig = Rig {
            datagrams: FrameServer::new(&Config::new(EPOCH, [1, 2])),
            engine: Engine::new(Store::new(config, [3, 4]).expect("enough"), ServerOptions::default()),
            now: Now { monotonic: Millis(10), unix: Millis(1_700_000_000_000), unix_micros: 0 },
            from: SocketAddr::from(([127, 0, 0, 1], 9)),
            cookie: [0; 16],
            stream_cookie: [0; 16],
            sequence: 0,
        };
        rig.cookie = rig.send(Head::request(Op::Hello, CLIENT, 0), b"", b"").1;
        let (welcome, cookie) = rig.send(Head::request(Op::Hello, CLIENT, 0), b"", b"");
        assert_eq!(welcome.status, Status::Ok);
        rig.cookie = cookie;
        rig
    }

    fn send(&mut self, mut head: Head, key: &[u8], value: &[u8]) -> (Reply, [u8; 16]) {
        head.cookie = self.cookie;
        if head.op() != Some(Op::Hello) {
            head.epoch = EPOCH;
        }
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        let len = frame::encode(&mut bytes, &head, key, value, None).expect("fits");
        let mut out = [0; DATAGRAM_BYTES_MAX];
        let incoming = Incoming { from: self.from, bytes: &bytes[..len], now: self.now };
        let Handled::Reply(len) = self.datagrams.handle(&mut self.engine, &incoming, &mut out) else {
            panic!("no reply");
        };
        let frame = frame::decode_datagram(&out[..len], Direction::Reply).expect("a good reply");
        (reply(&frame), frame.head.cookie)
    }

    /// A new request.
    fn ask(&mut self, op: Op, key: &[u8], value: &[u8], with: impl FnOnce(&mut Head)) -> Reply {
        self.sequence += 1;
        let mut head = Head::request(op, CLIENT, self.sequence);
        with(&mut head);
        let reply = self.send(head, key, value).0;
        self.engine.store.invariants();
        reply
    }

    fn get(&mut self, key: &[u8]) -> Reply {
        self.ask(Op::Get, key, b"", |_| {})
    }

    /// One frame over a stream, with the cookie that the stream was given last; bytes in and bytes out.
    fn stream(&mut self, head: Head, key: &[u8], value: &[u8]) -> Reply {
        let head = Head { cookie: self.stream_cookie, ..head };
        let (reply, cookie) = self.stream_raw(STREAM, head, key, value);
        if cookie != [0; 16] {
            self.stream_cookie = cookie;
        }
        reply
    }

    fn stream_raw(&mut self, source: Source, head: Head, key: &[u8], value: &[u8]) -> (Reply, [u8; 16]) {
        let mut bytes = vec![0; STREAM_FRAME_BYTES_MAX];
        let len = frame::encode(&mut bytes, &head, key, value, None).expect("fits");
        let step = frame::decode_prefix(&bytes[..len], Direction::Request, STREAM_FRAME_BYTES_MAX);
        let Ok(Step::Ready { frame, consumed }) = step else { panic!("{step:?}") };
        assert_eq!(consumed, len);
        let mut out = vec![0; 1 << 20];
        let handled =
            self.datagrams.handle_stream_frame(&mut self.engine, &frame, (source, self.now), &mut out);
        let Handled::Reply(len) = handled else { panic!("{handled:?}") };
        match frame::decode_prefix(&out[..len], Direction::Reply, 1 << 20) {
            Ok(Step::Ready { frame, .. }) => (reply(&frame), frame.head.cookie),
            other => panic!("{other:?}"),
        }
    }
}

fn reply(frame: &Frame<'_>) -> Reply {
    Reply {
        status: frame.head.status().expect("a status"),
        revision: frame.head.argument,
        result: frame.head.expect,
        value: frame.value.to_vec(),
    }
}

#[test]
fn put_get_delete() {
    let mut rig = Rig::new();
    assert_eq!(rig.get(b"k").status, Status::NotFound);
    let put = rig.ask(Op::Put, b"k", b"one", |_| {});
    assert_eq!((put.status, put.result), (Status::Ok, 0));
    let got = rig.get(b"k");
    assert_eq!((got.status, &got.value[..], got.revision), (Status::Ok, &b"one"[..], put.revision));
    let again = rig.ask(Op::Put, b"k", b"two", |_| {});
    assert!((again.result, again.revision > put.revision) == (1, true));
    assert_eq!(rig.ask(Op::Delete, b"k", b"", |_| {}).status, Status::Ok);
    assert_eq!(rig.ask(Op::Delete, b"k", b"", |_| {}).status, Status::NotFound);
    assert_eq!(rig.ask(Op::Ping, b"", b"", |_| {}).status, Status::Ok);
    assert_eq!(rig.datagrams.counters().writes, 4);
}

#[test]
fn conditions() {
    let mut rig = Rig::new();
    let absent = |head: &mut Head| head.flags = flags::IF_ABSENT;
    let present = |head: &mut Head| head.flags = flags::IF_PRESENT;
    let revision =
        |revision| move |head: &mut Head| (head.flags, head.expect) = (flags::IF_REVISION, revision);
    assert_eq!(rig.ask(Op::Put, b"k", b"1", present).status, Status::NotMet);
    assert_eq!(rig.ask(Op::Put, b"k", b"1", revision(9)).status, Status::NotMet);
    let first = rig.ask(Op::Put, b"k", b"1", absent);
    assert_eq!(first.status, Status::Ok);
    let refused = rig.ask(Op::Put, b"k", b"2", absent);
    assert_eq!((refused.status, refused.revision), (Status::NotMet, first.revision));
    assert_eq!(rig.ask(Op::Put, b"k", b"2", revision(0)).status, Status::NotMet);
    let second = rig.ask(Op::Put, b"k", b"2", revision(first.revision));
    assert_eq!(second.status, Status::Ok);
    assert_eq!(rig.ask(Op::Put, b"k", b"3", present).status, Status::Ok);
    assert_eq!(rig.ask(Op::Delete, b"k", b"", revision(second.revision)).status, Status::NotMet);
    assert_eq!(rig.ask(Op::Expire, b"k", b"", revision(second.revision)).status, Status::NotMet);
    assert_eq!(rig.get(b"k").value, b"3");
    let put = rig.ask(Op::Put, b"new", b"", revision(0));
    assert_eq!(put.status, Status::Ok, "revision 0 stands for absent");
}

#[test]
fn times_to_live() {
    let mut rig = Rig::new();
    let ttl = |ms| move |head: &mut Head| head.argument = ms;
    rig.ask(Op::Put, b"k", b"v", ttl(1000));
    assert_eq!(rig.get(b"k").result, 1000);
    rig.ask(Op::Put, b"k", b"w", |head| head.flags = flags::KEEP_TTL);
    rig.now.unix = rig.now.unix.plus(400);
    assert_eq!(rig.get(b"k").result, 600);
    rig.ask(Op::Expire, b"k", b"", ttl(2000));
    assert_eq!(rig.get(b"k").result, 2000);
    rig.ask(Op::Expire, b"k", b"", ttl(0));
    assert_eq!(rig.get(b"k").result, 0);
    rig.ask(Op::Expire, b"k", b"", ttl(10));
    rig.now.unix = rig.now.unix.plus(10);
    assert_eq!(rig.get(b"k").status, Status::NotFound);
    assert_eq!(rig.ask(Op::Expire, b"k", b"", ttl(10)).status, Status::NotFound);
}

#[test]
fn sums() {
    let mut rig = Rig::new();
    let delta = |delta: i64| move |head: &mut Head| head.argument = delta.cast_unsigned();
    assert_eq!(rig.ask(Op::Add, b"n", b"", delta(5)).result, 5);
    assert_eq!(rig.ask(Op::Add, b"n", b"", delta(-7)).result.cast_signed(), -2);
    assert_eq!(rig.get(b"n").value, b"-2");
    rig.ask(Op::Put, b"n", i64::MAX.to_string().as_bytes(), |head| head.argument = 500);
    assert_eq!(rig.ask(Op::Add, b"n", b"", delta(1)).status, Status::WrongType);
    assert_eq!(rig.ask(Op::Add, b"n", b"", delta(-1)).status, Status::Ok);
    assert_eq!(rig.get(b"n").result, 500, "the expiry stays");
    rig.ask(Op::Put, b"n", b"x", |_| {});
    assert_eq!(rig.ask(Op::Add, b"n", b"", delta(1)).status, Status::WrongType);
}

#[test]
fn a_long_value_is_for_tcp() {
    let mut rig = Rig::new();
    let room = DATAGRAM_BYTES_MAX - frame::FRAME_LEN_MIN;
    rig.stream_opens(CLIENT);
    for len in [room, room + 1, 20_000] {
        let value = vec![b'v'; len];
        let put =
            Mutation::Put { db: execute::DATABASE, key: b"k", value: NewValue::Bytes(&value), expiry: None };
        let applied = rig.engine.store.apply(&put, rig.now.unix).expect("room");
        assert_ne!(applied.revision, Revision(0));
        let got = rig.get(b"k");
        if len <= room {
            assert_eq!((got.status, got.value.len()), (Status::Ok, len));
        } else {
            assert_eq!((got.status, got.result), (Status::UseTcp, len as u64));
        }
        let got = rig.stream(Head { epoch: EPOCH, ..Head::request(Op::Get, CLIENT, 99) }, b"k", b"");
        assert_eq!((got.status, got.value), (Status::Ok, value));
    }
}

#[test]
fn a_full_store_says_so_and_the_answer_is_kept() {
    let mut rig = Rig::new();
    let value = [b'v'; 1000];
    let mut full = None;
    for n in 0..20_000u32 {
        let put = rig.ask_quickly(&n.to_be_bytes(), &value);
        if put.status == Status::Full {
            full = Some(n);
            break;
        }
        assert_eq!(put.status, Status::Ok);
    }
    let n = full.expect("8 MiB are full some time");
    rig.sequence -= 1;
    assert_eq!(rig.ask_quickly(&n.to_be_bytes(), &value).status, Status::Full);
    assert_eq!(rig.datagrams.counters().repeats, 1);
}

impl Rig {
    fn ask_quickly(&mut self, key: &[u8], value: &[u8]) -> Reply {
        self.sequence += 1;
        self.send(Head::request(Op::Put, CLIENT, self.sequence), key, value).0
    }
}

impl Rig {
    /// HELLO, CHALLENGE, HELLO, OK over the stream.
    fn stream_opens(&mut self, client_id: u64) -> Reply {
        self.stream_cookie = [0; 16];
        let hello = Head::request(Op::Hello, client_id, 0);
        assert_eq!(self.stream(hello, b"", b"").status, Status::Challenge);
        let welcome = self.stream(hello, b"", b"");
        assert_eq!(welcome.status, Status::Ok);
        welcome
    }
}

#[test]
fn over_a_stream_the_same_sequences_hold() {
    let mut rig = Rig::new();
    let add = Head { argument: 1, epoch: EPOCH, ..Head::request(Op::Add, CLIENT, 1) };
    assert_eq!(rig.send(add, b"n", b"").0.result, 1);
    assert_eq!(rig.stream_opens(CLIENT).result, 1, "the session that it has by datagrams");
    let again = rig.stream(add, b"n", b"");
    assert_eq!((again.status, again.result), (Status::Ok, 1), "sent over UDP, repeated over TCP");
    assert_eq!(rig.stream(Head { sequence: 2, ..add }, b"n", b"").result, 2);
    assert_eq!(rig.send(Head { sequence: 2, ..add }, b"n", b"").0.result, 2, "and the other way round");
    let stranger = Head { client_id: 6, ..add };
    assert_eq!(rig.stream(stranger, b"n", b"").status, Status::Challenge, "its cookie is another client's");
    assert_eq!(rig.stream(stranger, b"n", b"").status, Status::StaleSession, "a write needs a session");
    rig.stream_opens(6);
    assert_eq!(rig.stream(stranger, b"n", b"").result, 3);
    assert_eq!(rig.stream(Head { epoch: 1, sequence: 2, ..stranger }, b"n", b"").status, Status::WrongEpoch);
    assert_eq!(rig.datagrams.counters().writes, 3);
}

/// What was overheard on one transport, or on one connection, is sent again on another: it runs nothing and tells
/// nothing, with a password as without.
#[test]
fn a_frame_is_worth_nothing_on_another_transport_or_connection() {
    let mut rig = Rig::new();
    rig.ask(Op::Put, b"k", b"secret", |_| {});
    let get = Head { epoch: EPOCH, ..Head::request(Op::Get, CLIENT, 9) };
    let add = Head { argument: 1, epoch: EPOCH, ..Head::request(Op::Add, CLIENT, 10) };
    let hello = Head::request(Op::Hello, CLIENT, 0);
    rig.stream_opens(CLIENT);
    let elsewhere = [
        Source::Stream { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), connection: 2 },
        Source::Stream { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), connection: u64::from(rig.from.port()) },
        Source::Stream { ip: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), connection: 1 },
    ];
    for source in elsewhere {
        for cookie in [rig.cookie, rig.stream_cookie] {
            for head in [get, add, hello] {
                let (reply, _) = rig.stream_raw(source, Head { cookie, ..head }, b"k", b"");
                assert_eq!((reply.status, reply.value.len()), (Status::Challenge, 0), "{source:?} {head:?}");
            }
        }
    }
    // By datagram, what was sent over the stream.
    rig.cookie = rig.stream_cookie;
    for head in [get, add, hello] {
        let (reply, _) = rig.send(head, b"k", b"");
        assert_eq!((reply.status, reply.value.len()), (Status::Challenge, 0), "{head:?}");
    }
    let counters = rig.datagrams.counters();
    assert_eq!((counters.writes, counters.reads), (1, 0));
}

#[test]
fn a_damaged_stream_gets_one_answer() {
    let rig = Rig::new();
    let mut out = [0; 100];
    let len = rig.datagrams.reject_stream(Reject::BadCrc, &mut out);
    let frame = frame::decode_datagram(&out[..len], Direction::Reply).expect("good");
    assert_eq!(frame.head.status(), Some(Status::BadOp));
    assert_eq!(frame.head.argument, Reject::BadCrc as u64);
    assert_eq!(rig.datagrams.reject_stream(Reject::BadCrc, &mut out[..10]), 0);
}

#[test]
fn what_ran_is_counted_by_the_way_it_came() {
    let mut rig = Rig::new();
    let of = |op: Op| op as usize - 1;
    rig.ask(Op::Put, b"k", b"v", |_| {});
    rig.get(b"k");
    let (udp, stream) = (rig.datagrams.counters().ran_udp, rig.datagrams.counters().ran_stream);
    assert_eq!((udp[of(Op::Hello)], udp[of(Op::Put)], udp[of(Op::Get)]), (1, 1, 1));
    assert_eq!(stream.iter().sum::<u64>(), 0);
    // Two HELLOs, a PUT of 1 + 1 bytes, a GET of 1.
    let received = 4 * frame::FRAME_LEN_MIN as u64 + 3;
    assert_eq!(rig.datagrams.counters().udp_bytes_received(), received);

    let head = |op, sequence| Head { epoch: EPOCH, ..Head::request(op, CLIENT, sequence) };
    rig.stream_opens(CLIENT);
    let next = rig.sequence + 1;
    assert_eq!(rig.stream(head(Op::Put, next), b"k", b"w").status, Status::Ok);
    rig.stream(head(Op::Get, next + 1), b"k", b"");
    let counters = rig.datagrams.counters();
    assert_eq!((counters.ran_udp, counters.udp_bytes_received()), (udp, received));
    let stream = counters.ran_stream;
    assert_eq!((stream[of(Op::Hello)], stream[of(Op::Put)], stream[of(Op::Get)]), (1, 1, 1));
}

#[test]
fn what_was_received_and_answered_is_counted_by_the_way_it_came() {
    let mut rig = Rig::new();
    let before = *rig.datagrams.counters();
    assert_eq!((before.stream_received, before.stream_replied), (0, 0));
    let short = frame::FRAME_LEN_MIN as u64;
    rig.stream_opens(CLIENT);
    let before = *rig.datagrams.counters();
    // Over UDP: a PUT, a GET that finds 3 bytes and one that finds nothing. Over TCP: the last two, twice.
    rig.ask(Op::Put, b"k", b"abc", |_| {});
    rig.get(b"k");
    rig.get(b"none");
    let head = Head { epoch: EPOCH, ..Head::request(Op::Get, CLIENT, rig.sequence + 1) };
    for _ in 0..2 {
        rig.stream(head, b"k", b"");
        rig.stream(head, b"none", b"");
    }
    let after = *rig.datagrams.counters();
    assert_eq!((after.received - before.received, after.replied - before.replied), (7, 7));
    let grown = |of: fn(&Counters) -> u64| of(&after) - of(&before);
    assert_eq!((grown(|c| c.stream_received), grown(|c| c.stream_replied)), (4, 4));
    assert_eq!(grown(|c| c.stream_bytes_received), 4 * short + 2 * (1 + 4));
    assert_eq!(grown(|c| c.stream_bytes_replied), 4 * short + 2 * 3);
    assert_eq!(after.udp_bytes_received() - before.udp_bytes_received(), 3 * short + 4 + 1 + 4);
    assert_eq!(after.udp_bytes_replied() - before.udp_bytes_replied(), 3 * short + 3);
    assert_eq!((after.reads - before.reads, after.writes - before.writes), (6, 1));
    assert_eq!((after.hits - before.hits, after.misses - before.misses), (3, 3));

    rig.datagrams.count_stream_damage(Reject::BadCrc);
    rig.datagrams.count_stream_damage(Reject::BadCrc);
    let damaged = *rig.datagrams.counters();
    let received = |of: fn(&Counters) -> u64| of(&damaged) - of(&after);
    assert_eq!((received(|c| c.received), received(|c| c.stream_received)), (2, 2));
    assert_eq!(damaged.rejected[Reject::BadCrc as usize], 2);
}

/// A cookie of a session goes only with answers in that session; one that came by another way would hide the loss.
#[test]
fn a_cookie_is_given_only_where_a_session_stands() {
    let mut rig = Rig::new();
    let cookie_of = |rig: &mut Rig, op: Op, client_id: u64, key: &[u8]| {
        rig.sequence += 1;
        rig.send(Head::request(op, client_id, rig.sequence), key, b"")
    };
    for (op, key) in [(Op::Put, b"k"), (Op::Get, b"k"), (Op::Get, b"0"), (Op::Ping, b"0")] {
        assert_eq!(cookie_of(&mut rig, op, CLIENT, key).1, rig.cookie, "{op:?}");
    }
    let stranger = CLIENT + 1;
    rig.cookie = rig.send(Head::request(Op::Hello, stranger, 0), b"", b"").1;
    for (op, key) in [(Op::Put, b"k"), (Op::Get, b"k"), (Op::Ping, b"0")] {
        let (reply, cookie) = cookie_of(&mut rig, op, stranger, key);
        assert_eq!((reply.status, cookie), (Status::StaleSession, [0; 16]), "{op:?}");
    }
    let old = Head { epoch: EPOCH + 1, ..Head::request(Op::Hello, stranger, 0) };
    let (reply, cookie) = rig.send(old, b"", b"");
    assert_eq!((reply.status, cookie), (Status::WrongEpoch, [0; 16]));
}

#[test]
fn a_tag_takes_room_from_the_value() {
    let keys = TagKeys::from_password(b"secret");
    let room = DATAGRAM_BYTES_MAX - frame::FRAME_LEN_MIN - TAG_LEN;
    let mut rig = Rig::new();
    rig.datagrams.set_password(b"secret");
    for (len, status) in [(room, Status::Ok), (room + 1, Status::UseTcp)] {
        let value = vec![b'v'; len];
        let put =
            Mutation::Put { db: execute::DATABASE, key: b"k", value: NewValue::Bytes(&value), expiry: None };
        rig.engine.store.apply(&put, rig.now.unix).expect("room");
        let head = Head { epoch: EPOCH, cookie: rig.cookie, ..Head::request(Op::Get, CLIENT, 1) };
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        let asked = frame::encode(&mut bytes, &head, b"k", b"", Some(&keys.request)).expect("fits");
        let mut out = [0; DATAGRAM_BYTES_MAX];
        let incoming = Incoming { from: rig.from, bytes: &bytes[..asked], now: rig.now };
        let handled = rig.datagrams.handle(&mut rig.engine, &incoming, &mut out);
        let Handled::Reply(replied) = handled else { panic!("{handled:?}") };
        let frame = frame::decode_datagram(&out[..replied], Direction::Reply).expect("good");
        assert_eq!((frame.head.status(), frame.tag_is_good(&keys.reply)), (Some(status), true));
        assert_eq!(frame.value.len(), if status == Status::Ok { len } else { 0 });
    }
}
