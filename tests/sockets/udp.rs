//! Datagrams and framed connections over real sockets: the real client against the real server, and raw frames that a client would not send.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::Server;
use pannier::client::{Client, Error, Outcome, PutOptions, Request, Udp};
use pannier::wire::frame::{self, Direction, Head, Op, Status, Step};
use pannier::wire::tag::{TagKey, TagKeys};

fn server() -> Server {
    Server::start(&["--udp", "127.0.0.1:0"])
}

fn udp_address(server: &Server) -> SocketAddr {
    server.udp_address()
}

/// The counters of INFO's section on datagrams, without their common prefix.
fn counters_from(client: &mut crate::common::Client) -> BTreeMap<String, u64> {
    let reply = client.call(&["INFO", "datagrams"]);
    let text = String::from_utf8(reply).expect("text");
    let lines = text.lines().filter_map(|line| line.strip_prefix("datagrams_")?.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.trim().parse().expect("a number"))).collect()
}

fn counters(server: &Server) -> BTreeMap<String, u64> {
    counters_from(&mut server.connect())
}

/// By how much a counter has grown.
fn grown(server: &Server, before: &BTreeMap<String, u64>) -> impl Fn(&str) -> u64 {
    let (after, before) = (counters(server), before.clone());
    move |name| after[name] - before[name]
}

/// A raw socket that has been through HELLO.
pub(crate) struct Raw {
    socket: UdpSocket,
    id: u64,
    epoch: u32,
    cookie: [u8; 16],
}

impl Raw {
    pub(crate) fn connect(to: SocketAddr, id: u64) -> Raw {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).expect("bind");
        socket.connect(to).expect("connect");
        socket.set_read_timeout(Some(crate::common::PATIENCE)).expect("time limit");
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

    pub(crate) fn ask(&self, bytes: &[u8]) -> (Head, usize) {
        self.socket.send(bytes).expect("send");
        self.receive()
    }

    fn receive(&self) -> (Head, usize) {
        let mut reply = [0; 1500];
        let len = self.socket.recv(&mut reply).expect("a reply");
        (frame::decode_datagram(&reply[..len], Direction::Reply).expect("a good one").head, len)
    }

    pub(crate) fn add(&self, sequence: u32) -> Vec<u8> {
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
fn d_a_put_sent_a_thousand_times_runs_once() {
    let server = server();
    let raw = Raw::connect(udp_address(&server), 11);
    let before = counters(&server);
    let bytes = raw.frame(Head::request(Op::Put, raw.id, 1), raw.epoch);
    let (first, _) = raw.ask(&bytes);
    assert_eq!(first.status(), Some(Status::Ok));
    assert!(first.argument > 0, "a revision was drawn");
    for _ in 1..1000 {
        let (reply, _) = raw.ask(&bytes);
        // Nothing but the cookie, which is fresh each time, may differ.
        assert_eq!(Head { cookie: first.cookie, ..reply }, first);
    }
    // The next write draws the next revision: nothing ran in between.
    let (next, _) = raw.ask(&raw.frame(Head::request(Op::Put, raw.id, 2), raw.epoch));
    assert_eq!(next.argument, first.argument + 1);
    let grown = grown(&server, &before);
    assert_eq!((grown("writes"), grown("repeats"), grown("answered_OK")), (2, 999, 1001));
}

#[test]
fn i_without_a_cookie_no_client_gets_more_than_it_sent() {
    let server = server();
    let to = udp_address(&server);
    let mut raw = Raw::connect(to, 12);
    let good = raw.cookie;
    let foreign = Raw::connect(to, 13).cookie;
    let before = counters(&server);
    let (mut sent_bytes, mut received_bytes, mut asked_count) = (0, 0, 0);
    for cookie in [[0; 16], [0xFF; 16], foreign] {
        raw.cookie = cookie;
        for op in [Op::Hello, Op::Ping, Op::Get, Op::Put, Op::Delete, Op::Add, Op::Expire] {
            let head = Head { argument: 1, ..Head::request(op, raw.id, 1) };
            // The shortest frame that there is, and one with a key.
            for key in [&b""[..], b"raw"] {
                let mut bytes = vec![0; 1200];
                let head = Head { cookie, epoch: raw.epoch, ..head };
                let len = frame::encode(&mut bytes, &head, key, b"", None).expect("fits");
                let (reply, reply_len) = raw.ask(&bytes[..len]);
                assert_eq!(reply.status(), Some(Status::Challenge), "{op:?}");
                assert!(reply_len <= len, "{op:?}: {reply_len} bytes for {len}");
                (sent_bytes, received_bytes) = (sent_bytes + len as u64, received_bytes + reply_len as u64);
                asked_count += 1;
            }
        }
    }
    let grown = grown(&server, &before);
    assert!(received_bytes <= sent_bytes);
    assert_eq!((grown("bytes_received"), grown("bytes_replied")), (sent_bytes, received_bytes));
    assert_eq!((grown("answered_CHALLENGE"), grown("replied")), (asked_count, asked_count));
    assert_eq!(grown("writes") + grown("reads"), 0, "none of them ran");
    raw.cookie = good;
    assert_eq!(raw.ask(&raw.add(1)).0.expect, 1, "none of them ran");
}

/// `whole`, damaged so that it cannot be taken for a frame.
fn malformed(whole: &[u8], random: &mut crate::common::Random) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    match random.below(6) {
        0 => bytes.truncate(random.below(whole.len())),
        1 => bytes.resize(whole.len() + 1 + random.below(300), 0),
        2 => {
            let len = 1 + random.below(1400);
            bytes = random.bytes(len);
        }
        // A reply's magic, as a frame reflected from another server has it.
        3 => bytes[1] = 0x52,
        4 => bytes[2] = 2,
        _ => {
            let bit = random.below(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    bytes
}

#[test]
fn k_malformed_datagrams_get_not_one_byte_and_are_all_counted() {
    const COUNT: u64 = 100_000;
    // Fewer than the smallest usual receive buffer holds, so that the system drops none.
    const BURST: u64 = 100;
    let server = server();
    let raw = Raw::connect(udp_address(&server), 14);
    let whole = raw.add(1);
    let mut random = crate::common::Random(1);
    let mut info = server.connect();
    let before = counters_from(&mut info);
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    let mut sent_bytes = 0;
    for round in 1..=COUNT {
        let bytes = malformed(&whole, &mut random);
        let seen = &bytes[..bytes.len().min(1201)];
        sent_bytes += seen.len() as u64;
        let reason = frame::decode_datagram(seen, Direction::Request).expect_err("malformed");
        *expected.entry(format!("rejected_{}", reason.name())).or_default() += 1;
        raw.socket.send(&bytes).expect("send");
        if round % BURST == 0 {
            crate::common::eventually("the server to count what was sent", || {
                counters_from(&mut info)["received"] == before["received"] + round
            });
        }
    }
    let after = counters_from(&mut info);
    let grown = |name: &str| after[name] - before[name];
    assert_eq!((grown("received"), grown("bytes_received")), (COUNT, sent_bytes));
    assert_eq!((grown("replied"), grown("bytes_replied"), grown("throttled")), (0, 0, 0));
    for name in after.keys().filter(|name| name.starts_with("rejected_")) {
        assert_eq!(grown(name), expected.get(name).copied().unwrap_or(0), "{name}");
    }
    assert_eq!(expected.values().sum::<u64>(), COUNT);
    assert!(expected.len() >= 4, "too few kinds of damage: {expected:?}");
    // The first reply after all of them is the one to the good frame: nothing else was said, and nothing ran.
    let (reply, _) = raw.ask(&whole);
    assert_eq!((reply.status(), reply.sequence, reply.expect), (Some(Status::Ok), 1, 1));
}

/// A framed TCP connection.
struct Framed {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Framed {
    fn connect(server: &Server) -> Framed {
        let stream = TcpStream::connect(server.address).expect("connect");
        stream.set_read_timeout(Some(crate::common::PATIENCE)).expect("time limit");
        Framed { stream, received: Vec::new() }
    }

    /// Sends these frames, and gives the heads and values of as many replies.
    fn ask(&mut self, frames: &[Vec<u8>]) -> Vec<(Head, Vec<u8>)> {
        let mut replies = Vec::new();
        // In parts, so that neither side's buffers are full while the other only writes.
        for part in frames.chunks(100) {
            self.stream.write_all(&part.concat()).expect("send");
            for _ in part {
                replies.push(self.reply());
            }
        }
        replies
    }

    fn reply(&mut self) -> (Head, Vec<u8>) {
        loop {
            if let Step::Ready { frame, consumed } =
                frame::decode_prefix(&self.received, Direction::Reply, 1 << 20).expect("frames")
            {
                let reply = (frame.head, frame.value.to_vec());
                self.received.drain(..consumed);
                return reply;
            }
            let mut bytes = [0; 4096];
            let len = self.stream.read(&mut bytes).expect("a reply");
            assert!(len > 0, "closed");
            self.received.extend_from_slice(&bytes[..len]);
        }
    }
}

fn encoded(head: &Head, key: &[u8], tag: Option<&TagKey>) -> Vec<u8> {
    let mut out = vec![0; 1200];
    let len = frame::encode(&mut out, head, key, b"", tag).expect("fits");
    out.truncate(len);
    out
}

#[test]
fn a_connection_that_opens_thousands_of_sessions_gets_sixteen_and_shuts_out_no_other() {
    const IDS: u64 = 3000;
    let server = server();
    let mut hoarder = Framed::connect(&server);
    let hello = |id: u64, cookie| encoded(&Head { cookie, ..Head::request(Op::Hello, id, 0) }, b"", None);
    let challenges = hoarder.ask(&(1..=IDS).map(|id| hello(id, [0; 16])).collect::<Vec<_>>());
    assert!(challenges.iter().all(|(head, _)| head.status() == Some(Status::Challenge)));
    let answers = hoarder
        .ask(&challenges.iter().map(|(head, _)| hello(head.client_id, head.cookie)).collect::<Vec<_>>());
    let count = |status| answers.iter().filter(|(head, _)| head.status() == Some(status)).count() as u64;
    assert_eq!((count(Status::Ok), count(Status::Busy)), (16, IDS - 16));
    let mut client = Udp::connect(udp_address(&server).to_string()).expect("a socket");
    assert_eq!(client.incr(b"n", 1).expect("a newcomer is served"), 1);
}

#[test]
fn an_address_that_opens_thousands_of_sessions_shuts_out_no_other() {
    let server = server();
    let to = udp_address(&server);
    let mut first = Raw::connect(to, 1);
    for id in 2..=3000 {
        first.id = id;
        first.cookie = [0; 16];
        for _ in 0..2 {
            let bytes = first.frame(Head::request(Op::Hello, id, 0), 0);
            first.cookie = first.ask(&bytes).0.cookie;
        }
    }
    let mut client = Udp::connect(to.to_string()).expect("a socket");
    assert_eq!(client.incr(b"n", 1).expect("a newcomer is served"), 1);
}

/// A peer that overhears a client's datagrams sends them again over TCP, where its own address is good: they run nothing
/// and tell it nothing.
#[test]
fn tagged_datagrams_are_worth_nothing_over_tcp() {
    let password = "a password of some length";
    let file = std::env::temp_dir().join(format!("pannier-udp-password-{}", std::process::id()));
    std::fs::write(&file, password).expect("a file");
    let server = Server::start(&["--udp", "127.0.0.1:0", "--password-file", &file.to_string_lossy()]);
    std::fs::remove_file(&file).expect("to remove it");
    let keys = TagKeys::from_password(password.as_bytes());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.connect(udp_address(&server)).expect("connect");
    socket.set_read_timeout(Some(crate::common::PATIENCE)).expect("time limit");
    let overheard = RefCell::new(Vec::new());
    let ask = |head: Head, key: &[u8]| {
        let bytes = encoded(&head, key, Some(&keys.request));
        socket.send(&bytes).expect("send");
        overheard.borrow_mut().push(bytes);
        let mut reply = [0; 1500];
        let len = socket.recv(&mut reply).expect("a reply");
        let frame = frame::decode_datagram(&reply[..len], Direction::Reply).expect("a good one");
        assert!(frame.tag_is_good(&keys.reply));
        frame.head
    };
    let hello = Head::request(Op::Hello, 77, 0);
    let cookie = ask(hello, b"").cookie;
    let welcome = ask(Head { cookie, ..hello }, b"");
    let head = |op, sequence| Head {
        cookie: welcome.cookie,
        epoch: welcome.epoch,
        argument: 1,
        ..Head::request(op, 77, sequence)
    };
    assert_eq!(ask(head(Op::Add, 1), b"n").expect, 1);
    assert_eq!(ask(head(Op::Get, 2), b"n").status(), Some(Status::Ok));
    for _ in 0..2 {
        let replies = Framed::connect(&server).ask(&overheard.borrow());
        for (reply, value) in &replies {
            assert_eq!((reply.status(), value.len()), (Some(Status::Challenge), 0), "{reply:?}");
        }
    }
    let again = ask(head(Op::Add, 3), b"n");
    assert_eq!((again.status(), again.expect), (Some(Status::Ok), 2), "nothing ran in between");
}

/// The addresses of this machine that a server on `bound` is asked by; those that it does not have are left out.
fn asked_addresses(bound: &str) -> Vec<IpAddr> {
    let all: &[&str] = if bound.starts_with('[') {
        &["127.0.0.1", "127.0.0.2", "127.9.8.7", "::1"]
    } else {
        &["127.0.0.1", "127.0.0.2", "127.9.8.7"]
    };
    let parsed = all.iter().map(|text| text.parse::<IpAddr>().expect("an address"));
    parsed.filter(|ip| UdpSocket::bind((*ip, 0)).is_ok()).collect()
}

/// A connected socket takes a reply from no other address than it has asked.
#[test]
fn a_server_on_all_addresses_answers_from_the_one_that_was_asked() {
    for bound in ["0.0.0.0:0", "[::]:0"] {
        if bound.starts_with('[') && UdpSocket::bind(bound).is_err() {
            eprintln!("skipped: there is no IPv6");
            continue;
        }
        let server = Server::start(&["--udp", bound, "--allow-unauthenticated"]);
        let port = udp_address(&server).port();
        let addresses = asked_addresses(bound);
        assert!(addresses.len() >= 3, "{addresses:?}");
        let mut clients: Vec<Udp> = addresses
            .iter()
            .map(|ip| Udp::connect(SocketAddr::from((*ip, port)).to_string()).expect("a socket"))
            .collect();
        for (client, ip) in clients.iter_mut().zip(&addresses) {
            assert_eq!(
                client.incr(format!("{ip}").as_bytes(), 1).expect("a reply"),
                1,
                "{bound} asked at {ip}"
            );
        }
        // Datagrams to several addresses in one batch.
        let raws: Vec<Raw> = addresses
            .iter()
            .zip(100..)
            .map(|(ip, id)| Raw::connect(SocketAddr::from((*ip, port)), id))
            .collect();
        for sequence in 1..=50 {
            for raw in &raws {
                raw.socket.send(&raw.add(sequence)).expect("send");
            }
        }
        for raw in &raws {
            for sequence in 1..=50 {
                assert_eq!((raw.receive().0.status(), sequence), (Some(Status::Ok), sequence));
            }
        }
    }
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
