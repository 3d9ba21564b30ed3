//! What holds for RESP commands and for frames alike: CLIENT PAUSE, counters, histograms, the slow log.

use crate::common::{MIB, show};
use crate::in_process::EPOCH;
use crate::in_process::InProcess;
use pannier::config::TimeLimit;
use pannier::connection::ConnectionId;
use pannier::limits::DATAGRAM_BYTES_MAX;
use pannier::wire::frame::{self, Direction, Head, Op, Status};

const CLIENT: u64 = 5;

/// A client of frames, whose requests are numbered.
struct Framed {
    sequence: u32,
    cookie: [u8; 16],
}

impl Framed {
    fn new() -> Framed {
        Framed { sequence: 0, cookie: [0; 16] }
    }

    fn request(&mut self, op: Op, key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut head = Head::request(op, CLIENT, self.sequence);
        self.sequence += 1;
        head.cookie = self.cookie;
        if op != Op::Hello {
            head.epoch = EPOCH;
        }
        let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
        let len = frame::encode(&mut bytes, &head, key, value, None).expect("fits");
        bytes.truncate(len);
        bytes
    }

    /// A session over datagrams.
    fn hello(&mut self, process: &mut InProcess) {
        self.hello_by(|bytes| datagram(process, bytes).expect("an answer"));
    }

    /// A session by the way that `ask` goes.
    fn hello_by(&mut self, mut ask: impl FnMut(&[u8]) -> Head) {
        for expected in [Status::Challenge, Status::Ok] {
            self.sequence = 0;
            let hello = self.request(Op::Hello, b"", b"");
            let head = ask(&hello);
            assert_eq!(head.status(), Some(expected));
            self.cookie = head.cookie;
        }
    }
}

fn datagram(process: &mut InProcess, bytes: &[u8]) -> Option<Head> {
    let mut reply = [0; DATAGRAM_BYTES_MAX];
    let len = process.datagram(bytes, &mut reply)?;
    Some(frame::decode_datagram(&reply[..len], Direction::Reply).expect("a good reply").head)
}

fn head(bytes: &[u8]) -> Head {
    frame::decode_datagram(bytes, Direction::Reply).expect("one frame").head
}

fn status(bytes: &[u8]) -> Option<Status> {
    head(bytes).status()
}

fn count_of(process: &mut InProcess, id: ConnectionId, section: &str, name: &str) -> Option<String> {
    let info = process.send(id, format!("INFO {section}\r\n").as_bytes());
    let info = String::from_utf8(info).expect("text");
    info.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
}

#[test]
fn a_pause_holds_datagrams_whose_retry_runs_once_after_it() {
    let mut process = InProcess::with_memory(8 * MIB);
    let admin = process.connect();
    let mut client = Framed::new();
    client.hello(&mut process);
    process.send(admin, b"CLIENT PAUSE 1000\r\n");
    let add = client.request(Op::Add, b"n", b"");
    let get = client.request(Op::Get, b"n", b"");
    assert!(datagram(&mut process, &add).is_none() && datagram(&mut process, &get).is_none());
    assert_eq!(process.server.frames().counters().held, 2);
    process.advance(1_001);
    for _ in 0..2 {
        let reply = datagram(&mut process, &add).expect("an answer");
        assert_eq!(reply.status(), Some(Status::Ok));
    }
    assert_eq!(process.server.frames().counters().writes, 1);
    assert_eq!(datagram(&mut process, &get).and_then(|head| head.status()), Some(Status::Ok));
    // A pause of writes holds no read, and a write that has run is answered from the table.
    process.send(admin, b"CLIENT PAUSE 1000 WRITE\r\n");
    assert!(datagram(&mut process, &get).is_some() && datagram(&mut process, &add).is_some());
    let put = client.request(Op::Put, b"k", b"v");
    assert!(datagram(&mut process, &put).is_none());
}

#[test]
fn a_pause_holds_frames_over_tcp_as_it_holds_commands() {
    let mut process = InProcess::with_memory(8 * MIB);
    process.server.engine_mut().runtime.idle_timeout = TimeLimit::from_seconds(1);
    let (admin, framed, resp) = (process.connect(), process.connect(), process.connect());
    let mut client = Framed::new();
    client.hello_by(|bytes| head(&process.send(framed, bytes)));
    process.send(admin, b"CLIENT PAUSE 2000\r\n");
    let ping = client.request(Op::Ping, b"", b"");
    assert_eq!(show(&process.send(framed, &ping)), "");
    assert_eq!(show(&process.send(resp, b"PING\r\n")), "");
    // Longer than a client may be idle: those that wait are not.
    for _ in 0..19 {
        process.advance(100);
    }
    assert!(process.is_closing(admin) && !process.is_closing(framed) && !process.is_closing(resp));
    process.advance(101);
    process.attend();
    let mut answer = Vec::new();
    process.pump(framed, &mut answer);
    assert_eq!(status(&answer), Some(Status::Ok));
    answer.clear();
    process.pump(resp, &mut answer);
    assert_eq!(show(&answer), show(b"+PONG\r\n"));
}

#[test]
fn a_pause_of_writes_holds_a_transaction_only_if_it_writes() {
    let mut process = InProcess::with_memory(8 * MIB);
    let (admin, reader, writer) = (process.connect(), process.connect(), process.connect());
    process.send(writer, b"MULTI\r\nSET k v\r\n");
    process.send(reader, b"MULTI\r\nGET k\r\n");
    process.send(admin, b"CLIENT PAUSE 1000 WRITE\r\n");
    assert_eq!(show(&process.send(writer, b"EXEC\r\n")), "");
    assert_eq!(show(&process.send(reader, b"EXEC\r\n")), show(b"*1\r\n$-1\r\n"));
    process.send(admin, b"CLIENT UNPAUSE\r\n");
    assert_eq!(show(&process.send(writer, b"PING\r\n")), show(b"*1\r\n+OK\r\n+PONG\r\n"));
}

#[test]
fn a_later_pause_of_writes_weakens_no_pause_of_all() {
    let mut process = InProcess::with_memory(8 * MIB);
    let (admin, reader) = (process.connect(), process.connect());
    process.send(admin, b"CLIENT PAUSE 1000 ALL\r\nCLIENT PAUSE 500 WRITE\r\n");
    process.advance(900);
    assert_eq!(show(&process.send(reader, b"GET k\r\n")), "");
    process.advance(101);
    assert_eq!(show(&process.send(reader, b"PING\r\n")), show(b"$-1\r\n+PONG\r\n"));
}

#[test]
fn info_counts_the_clients_that_a_pause_holds() {
    let mut process = InProcess::with_memory(8 * MIB);
    let (admin, reader, writer) = (process.connect(), process.connect(), process.connect());
    let held = |process: &mut InProcess| {
        let info = show(&process.send(admin, b"INFO clients\r\n"));
        let (_, rest) = info.split_once("blocked_clients:").expect("a line");
        rest.split_once("\\r").expect("an end").0.to_owned()
    };
    assert_eq!(held(&mut process), "0");
    process.send(reader, b"CLIENT PAUSE 1000 WRITE\r\n");
    process.send(writer, b"SET k v\r\n");
    process.send(reader, b"GET k\r\n");
    assert_eq!(held(&mut process), "1");
    process.send(reader, b"CLIENT UNPAUSE\r\n");
    assert_eq!(held(&mut process), "0");
}

#[test]
fn frames_are_counted_timed_and_logged_when_slow() {
    let mut process = InProcess::with_memory(8 * MIB);
    let id = process.connect();
    process.send(id, b"CONFIG SET slowlog-log-slower-than 0\r\n");
    let mut client = Framed::new();
    client.hello(&mut process);
    for (op, key, value) in [(Op::Put, b"session", b"text".as_slice()), (Op::Add, b"session", b"")] {
        let request = client.request(op, key, value);
        assert!(datagram(&mut process, &request).is_some());
    }
    let put = count_of(&mut process, id, "commandstats", "cmdstat_frame|put:").expect("a row");
    assert!(put.starts_with("calls=1,") && put.ends_with("failed_calls=0"), "{put}");
    let add = count_of(&mut process, id, "commandstats", "cmdstat_frame|add:").expect("a row");
    assert!(add.ends_with("failed_calls=1"), "{add}");
    assert!(count_of(&mut process, id, "latencystats", "latency_percentiles_usec_frame|put:").is_some());
    let log = show(&process.send(id, b"SLOWLOG GET\r\n"));
    assert!(log.contains("PUT") && log.contains("session") && !log.contains("text"), "{log}");
}
