//! System calls, counted exactly: the real server runs under `strace`, and what it called between two markers must be
//! what docs/figures.md says. Skipped, in plain words, where `strace` cannot be had.
//!
//! Sockets become ready all at once because the server is stopped (SIGSTOP) while the bytes are sent: no luck is needed.
#![allow(clippy::disallowed_methods)] // Tests over real sockets wait by a real clock.
#![cfg(feature = "cli")]

mod common;

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{Client, Server, encode, eventually};
use pannier::wire::frame::{self, Direction, Head, Op, Status};

/// Rounds of each count: one could be a coincidence.
const ROUNDS: usize = 3;

/// A server under `strace`, and a connection whose PINGs mark the trace.
struct Traced {
    server: Server,
    pid: u32,
    file: PathBuf,
    marker: Client,
}

impl Traced {
    /// `None`: tracing is not possible here, and that is said.
    fn start(name: &str, flags: &[&str]) -> Option<Traced> {
        let works = Command::new("strace")
            .args(["-o", "/dev/null", "true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !works {
            eprintln!("skipped: strace is not installed or may not trace here");
            return None;
        }
        let file = std::env::temp_dir().join(format!("pannier-syscalls-{name}-{}", std::process::id()));
        let mut strace = Command::new("strace");
        // Where the vDSO reads the clocks they are no system calls; where it does not, that is the system's doing.
        strace.args(["-s", "64", "-e", "trace=!clock_gettime", "-o"]).arg(&file);
        let server = Server::start_under(strace, flags);
        let pid = server.logged_pid();
        let marker = server.connect();
        let mut traced = Traced { server, pid, file, marker };
        traced.mark("start");
        Some(traced)
    }

    fn mark(&mut self, name: &str) {
        let line = format!("PING mark-{name}");
        assert!(self.marker.line(&line).ends_with(format!("mark-{name}\r\n").as_bytes()));
    }

    /// A connection that the server has accepted and has nothing left to do for.
    fn connect(&self) -> Client {
        let mut client = self.server.connect();
        assert_eq!(client.line("PING"), b"+PONG\r\n");
        client
    }

    /// Does `what` to a server that stands still, so that it meets all of it at once.
    fn while_stopped(&self, what: impl FnOnce()) {
        self.signal("STOP");
        eventually("the server to stand still", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("stat");
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['T', 't']))
        });
        what();
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid.to_string()]).status();
        assert!(status.expect("kill").success());
    }

    /// Ends the server and gives what it called between the markers `first` and `second`, by kind.
    fn calls_between(mut self, first: &str, second: &str) -> BTreeMap<String, usize> {
        self.signal("TERM");
        assert!(self.server.wait().success());
        let trace = std::fs::read_to_string(&self.file).expect("the trace");
        let position = |name: &str, call: &str| {
            let is =
                |line: &str| kind(line).as_deref() == Some(call) && line.contains(&format!("mark-{name}\\r"));
            trace.lines().position(is).unwrap_or_else(|| panic!("{call} of mark-{name} in {trace}"))
        };
        // From behind the first one's reply to before the poll that told of the second one.
        let (from, to) = (position(first, "write") + 1, position(second, "read"));
        let lines: Vec<&str> = trace.lines().skip(from).take(to - from).collect();
        let last = lines.iter().rposition(|line| kind(line).as_deref() == Some("poll")).expect("a poll");
        let mut counts = BTreeMap::new();
        for kind in lines[..last].iter().filter_map(|line| kind(line)) {
            *counts.entry(kind).or_default() += 1;
        }
        counts
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // Ending strace alone would leave the server running.
        if self.server.is_running() {
            let _ = Command::new("kill").args(["-KILL", &self.pid.to_string()]).status();
        }
        let _ = std::fs::remove_file(&self.file);
    }
}

/// What a line of the trace says was called. A call that a signal interrupted came to nothing and is called again.
fn kind(line: &str) -> Option<String> {
    let (name, _) = line.split_once('(')?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name || line.contains(" EINTR ") || line.contains("ERESTART") {
        return None;
    }
    Some(match name {
        "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => "poll".to_owned(),
        "read" | "readv" | "recvfrom" | "recvmsg" => "read".to_owned(),
        "write" | "writev" | "sendto" | "sendmsg" => "write".to_owned(),
        other => other.to_owned(),
    })
}

fn counts(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn a_request_costs_two_calls_and_its_share_of_a_poll() {
    const SOCKETS: usize = 8;
    let Some(mut traced) = Traced::start("depth-1", &[]) else { return };
    let mut clients: Vec<Client> = (0..SOCKETS).map(|_| traced.connect()).collect();
    traced.mark("first");
    for _ in 0..ROUNDS {
        traced
            .while_stopped(|| clients.iter_mut().for_each(|client| client.send(&encode(&["SET", "k", "v"]))));
        clients.iter_mut().for_each(|client| assert_eq!(client.reply(), b"+OK\r\n"));
    }
    traced.mark("second");
    let calls = traced.calls_between("first", "second");
    let each = ROUNDS * SOCKETS;
    assert_eq!(calls, counts(&[("poll", ROUNDS), ("read", each), ("write", each)]));
}

#[test]
fn a_pipelined_batch_costs_three_calls() {
    const BATCH: usize = 100;
    let Some(mut traced) = Traced::start("batches", &[]) else { return };
    let mut client = traced.connect();
    let key = "sixteen-byte-key";
    let value = "thirty-two bytes of plain value.";
    let batch = encode(&["SET", key, value]).repeat(BATCH);
    traced.mark("first");
    for _ in 0..ROUNDS {
        client.send(&batch);
        (0..BATCH).for_each(|_| assert_eq!(client.reply(), b"+OK\r\n"));
    }
    traced.mark("second");
    let calls = traced.calls_between("first", "second");
    assert_eq!(calls, counts(&[("poll", ROUNDS), ("read", ROUNDS), ("write", ROUNDS)]));
}

#[test]
fn a_pipeline_of_values_of_a_kibibyte_costs_two_reads_and_two_writes_at_most() {
    const BATCH: usize = 100;
    // A limit of which a client's share of the system's receive buffers takes the whole batch.
    let Some(mut traced) = Traced::start("values", &["--memory", "1GiB"]) else { return };
    let mut client = traced.connect();
    let set = encode(&[b"SET".as_slice(), b"key", &[b'v'; 1024]]).repeat(BATCH);
    let get = encode(&["GET", "key"]).repeat(BATCH);
    traced.mark("first");
    for _ in 0..ROUNDS {
        for batch in [&set, &get] {
            traced.while_stopped(|| client.send(batch));
            (0..BATCH)
                .for_each(|_| assert!(client.reply().starts_with(if batch == &set { b"+" } else { b"$" })));
        }
    }
    traced.mark("second");
    let calls = traced.calls_between("first", "second");
    let each = |kind| calls.get(kind).copied().unwrap_or(0) as f64 / (2 * ROUNDS) as f64;
    assert!(each("read") <= 2.0 && each("write") <= 2.0, "{calls:?}");
}

#[test]
fn a_large_value_goes_out_with_all_that_belongs_to_it_in_one_call() {
    // Some blocks of the store; the system takes a whole packet of its own, 64 KiB, before it looks at its limit of what
    // is not sent.
    const VALUE_BYTES: usize = 40_000;
    let Some(mut traced) = Traced::start("large", &[]) else { return };
    let mut client = traced.connect();
    let value = vec![b'v'; VALUE_BYTES];
    assert_eq!(client.call(&[b"SET", &b"k"[..], &value]), b"+OK\r\n");
    traced.mark("first");
    for _ in 0..ROUNDS {
        client.send(&encode(&["GET", "k"]));
        assert_eq!(client.reply().len(), b"$40000\r\n\r\n".len() + VALUE_BYTES);
    }
    traced.mark("second");
    let calls = traced.calls_between("first", "second");
    assert_eq!(calls, counts(&[("poll", ROUNDS), ("read", ROUNDS), ("write", ROUNDS)]));
}

#[test]
fn a_message_costs_a_poll_a_read_a_reply_and_a_write_to_each_subscriber() {
    const SUBSCRIBERS: usize = 5;
    let Some(mut traced) = Traced::start("messages", &[]) else { return };
    let mut clients: Vec<Client> = (0..SUBSCRIBERS).map(|_| traced.connect()).collect();
    for client in &mut clients {
        assert!(client.line("SUBSCRIBE news").ends_with(b":1\r\n"));
    }
    let mut publisher = traced.connect();
    traced.mark("first");
    for _ in 0..ROUNDS {
        assert_eq!(publisher.line("PUBLISH news text"), b":5\r\n");
        clients.iter_mut().for_each(|client| assert!(client.reply().ends_with(b"text\r\n")));
    }
    traced.mark("second");
    let calls = traced.calls_between("first", "second");
    let writes = ROUNDS * (1 + SUBSCRIBERS);
    assert_eq!(calls, counts(&[("poll", ROUNDS), ("read", ROUNDS), ("write", writes)]));
}

#[test]
fn datagrams_come_and_go_by_thirty_two() {
    datagrams("datagrams", "127.0.0.1:0");
}

/// With the address that each was sent to, and with replies that come from it, for the same price.
#[test]
fn datagrams_at_all_addresses_come_and_go_by_thirty_two() {
    datagrams("datagrams-everywhere", "0.0.0.0:0");
}

fn datagrams(name: &str, bound: &str) {
    // Three whole batches and a part of one, which says that no more wait.
    const BURST: usize = 100;
    let Some(mut traced) = Traced::start(name, &["--udp", bound, "--allow-unauthenticated"]) else { return };
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.connect(("127.0.0.1", traced.server.udp_address().port())).expect("connect");
    socket.set_read_timeout(Some(common::PATIENCE)).expect("time limit");
    let receive = || {
        let mut reply = [0; 1500];
        let len = socket.recv(&mut reply).expect("a reply");
        frame::decode_datagram(&reply[..len], Direction::Reply).expect("a good one").head
    };
    let send = |head: &Head| {
        let mut bytes = [0; 1200];
        let len = frame::encode(&mut bytes, head, b"key", b"", None).expect("fits");
        socket.send(&bytes[..len]).expect("send");
    };
    let mut hello = Head::request(Op::Hello, 1, 0);
    send(&hello);
    hello.cookie = receive().cookie;
    send(&hello);
    let welcome = receive();
    assert_eq!(welcome.status(), Some(Status::Ok));
    let get = Head { cookie: welcome.cookie, epoch: welcome.epoch, ..Head::request(Op::Get, 1, 1) };
    traced.mark("first");
    for _ in 0..ROUNDS {
        traced.while_stopped(|| (0..BURST).for_each(|_| send(&get)));
        (0..BURST).for_each(|_| assert_eq!(receive().status(), Some(Status::NotFound)));
    }
    traced.mark("second");
    let calls = traced.calls_between("first", "second");
    let batches = ROUNDS * BURST.div_ceil(32);
    assert_eq!(calls, counts(&[("poll", ROUNDS), ("recvmmsg", batches), ("sendmmsg", batches)]));
}
