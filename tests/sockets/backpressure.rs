//! Clients that send faster than they read, over real sockets: they are slowed down, every reply arrives, and nobody is
//! closed as long as either side moves.

use crate::common::{Client, KIB, MIB, PATIENCE, Server, encode};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

/// How late these clients begin to read.
const LATE: Duration = Duration::from_millis(300);
/// Lengths of values whose replies have every size that is handled in its own way: from a few bytes to longer than a
/// record holds.
const VALUE_LENS: [usize; 9] = [0, 1, 60, 500, 1_000, 4_000, 7_600, 8_192, 9_000];

/// What a client sends, and all that it is to be answered.
#[derive(Clone)]
struct Exchange {
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl Exchange {
    fn repeated(request: &[u8], reply: &[u8], count: usize) -> Exchange {
        Exchange { request: request.repeat(count), reply: reply.repeat(count) }
    }

    /// Sends all in one thread, and reads in another that begins later.
    fn run(&self, address: SocketAddr, late: Duration) {
        let Client { stream, .. } = Client::connect(address);
        let mut reader = stream.try_clone().expect("a second handle");
        reader.set_read_timeout(Some(PATIENCE)).expect("set a time limit");
        let mut writer = stream;
        writer.set_write_timeout(Some(PATIENCE)).expect("set a time limit");
        let request = self.request.clone();
        let sending = thread::spawn(move || writer.write_all(&request));
        thread::sleep(late);
        self.read(&mut reader);
        sending.join().expect("no panic").expect("all requests are taken");
    }

    /// Sends all, and only then reads.
    fn run_unread(&self, address: SocketAddr) {
        let Client { mut stream, .. } = Client::connect(address);
        stream.set_write_timeout(Some(Duration::from_secs(10))).expect("set a time limit");
        stream.write_all(&self.request).expect("all requests are soaked up before a reply is read");
        stream.set_read_timeout(Some(PATIENCE)).expect("set a time limit");
        self.read(&mut stream);
    }

    fn read(&self, stream: &mut impl Read) {
        let mut buffer = vec![0; 64 * KIB];
        let mut at = 0;
        while at < self.reply.len() {
            let len = buffer.len().min(self.reply.len() - at);
            match stream.read(&mut buffer[..len]) {
                Ok(0) => panic!("closed after {at} of {} bytes of replies", self.reply.len()),
                Ok(len) => {
                    assert!(
                        buffer[..len] == self.reply[at..at + len],
                        "a wrong byte within {len} from {at} on"
                    );
                    at += len;
                }
                Err(error) => panic!("{error} after {at} of {} bytes of replies", self.reply.len()),
            }
        }
    }
}

/// Runs exchanges side by side, each with a client of its own.
fn side_by_side(server: &Server, exchanges: Vec<Exchange>, late: Duration) {
    let address = server.address;
    let clients: Vec<_> =
        exchanges.into_iter().map(|exchange| thread::spawn(move || exchange.run(address, late))).collect();
    let outcomes: Vec<_> = clients.into_iter().map(thread::JoinHandle::join).collect();
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!(failed, 0, "of {} clients; the server says: {}", outcomes.len(), server.stderr());
}

/// A server whose keys `v0` … `v8` have values of [`VALUE_LENS`].
fn server(memory: &str) -> Server {
    let server = Server::start(&["--memory", memory]);
    let mut client = server.connect();
    for (index, len) in VALUE_LENS.into_iter().enumerate() {
        let set = [b"SET".to_vec(), format!("v{index}").into_bytes(), vec![b'x'; len]];
        assert_eq!(client.call(&set), b"+OK\r\n");
    }
    server
}

fn value_reply(len: usize) -> Vec<u8> {
    [format!("${len}\r\n").as_bytes(), &vec![b'x'; len], b"\r\n"].concat()
}

/// GETs whose replies come to about `reply_bytes`.
fn gets(index: usize, reply_bytes: usize) -> Exchange {
    let reply = value_reply(VALUE_LENS[index]);
    let count = reply_bytes.div_ceil(reply.len());
    Exchange::repeated(&encode(&["GET", &format!("v{index}")]), &reply, count)
}

#[test]
fn four_mb_of_pings_of_which_reading_begins_late() {
    for memory in ["16MiB", "64MiB"] {
        let server = server(memory);
        let pings = Exchange::repeated(b"PING\r\n", b"+PONG\r\n", 4_000_000 / 6);
        side_by_side(&server, vec![pings], LATE);
    }
}

#[test]
fn two_hundred_thousand_pipelined_gets() {
    let server = server("64MiB");
    let request = encode(&["GET", "v2"]);
    let gets = Exchange::repeated(&request, &value_reply(VALUE_LENS[2]), 200_000);
    side_by_side(&server, vec![gets], Duration::ZERO);
}

#[test]
fn pipelines_of_twenty_thousand_that_are_sent_before_the_first_reply_is_read() {
    let server = server("64MiB");
    let address = server.address;
    let gets = Exchange::repeated(&encode(&["GET", "key:000000000001"]), b"$-1\r\n", 20_000);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let gets = gets.clone();
            thread::spawn(move || gets.run_unread(address))
        })
        .collect();
    for client in clients {
        client.join().unwrap_or_else(|_| panic!("the server says: {}", server.stderr()));
    }
}

#[test]
fn set_get_of_ten_kb_a_thousand_times_before_the_first_reply_is_read() {
    let server = Server::start(&["--memory", "64MiB"]);
    let value = vec![b'x'; 10_000];
    let set = encode(&[b"SET".as_slice(), b"session", &value, b"GET"]);
    let mut exchange = Exchange::repeated(&set, &value_reply(value.len()), 1_000);
    exchange.reply = [b"$-1\r\n".as_slice(), &exchange.reply[value_reply(value.len()).len()..]].concat();
    exchange.run_unread(server.address);
}

#[test]
fn eight_clients_with_more_than_a_mb_of_gets_each() {
    for memory in ["16MiB", "64MiB"] {
        let server = server(memory);
        let request = encode(&["GET", "v3"]);
        let count = 1_200_000 / request.len();
        let gets = Exchange::repeated(&request, &value_reply(VALUE_LENS[3]), count);
        side_by_side(&server, vec![gets; 8], LATE);
    }
}

#[test]
fn replies_of_every_size_for_sixty_four_clients_at_once() {
    for memory in ["16MiB", "64MiB"] {
        let server = server(memory);
        let exchanges = (0..64).map(|client| gets(client % VALUE_LENS.len(), MIB)).collect();
        side_by_side(&server, exchanges, LATE);
    }
}

#[test]
fn mget_beyond_what_is_read() {
    let server = server("16MiB");
    let request = encode(&["MGET", "v1", "v3", "v5", "v8", "none"]);
    let reply = [
        b"*5\r\n".to_vec(),
        value_reply(VALUE_LENS[1]),
        value_reply(VALUE_LENS[3]),
        value_reply(VALUE_LENS[5]),
        value_reply(VALUE_LENS[8]),
        b"$-1\r\n".to_vec(),
    ]
    .concat();
    let mgets = Exchange::repeated(&request, &reply, 300);
    side_by_side(&server, vec![mgets; 16], LATE);
}

#[test]
fn three_mb_while_the_server_is_paused() {
    let server = server("64MiB");
    let mut other = server.connect();
    assert_eq!(other.line("CLIENT PAUSE 1000"), b"+OK\r\n");
    let request = encode(&["GET", "v1"]);
    let gets = Exchange::repeated(&request, &value_reply(VALUE_LENS[1]), 3_000_000 / request.len());
    side_by_side(&server, vec![gets; 4], LATE);
}

#[test]
fn a_client_that_never_reads_is_told_by_the_write_time_limit() {
    let server = Server::start(&["--memory", "16MiB", "--write-timeout", "1s"]);
    let mut client = server.connect();
    client.stream.set_write_timeout(Some(PATIENCE)).expect("set a time limit");
    let pings = b"PING\r\n".repeat(64 * KIB);
    let mut sent = 0;
    // Far more than buffers and kernel hold: it ends, or the write fails.
    while client.stream.write_all(&pings).is_ok() {
        sent += pings.len();
        assert!(sent < 256 * MIB, "the server reads on and on");
    }
    crate::common::eventually("the log to say why", || {
        server.stderr().contains("replies were not taken in time")
    });
    assert_eq!(server.connect().line("PING"), b"+PONG\r\n");
}
