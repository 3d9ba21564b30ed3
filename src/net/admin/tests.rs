//! The admin port over real sockets, with a time that stands still: what a probe gets, it gets without anybody's time
//! limit passing.

use super::*;
use crate::config::ServerOptions;
use crate::engine::Engine;
use crate::frames::{self, FrameServer};
use crate::limits::MIB;
use crate::server::Resources;
use crate::store::{Store, StoreConfig};
use mio::{Events, Poll};
use std::net::TcpStream as Socket;
use std::time::Duration;

const FIRST: Token = Token(10);
/// Turns of the loop until a test gives up.
const TURNS_MAX: usize = 3_000;

struct Rig {
    poll: Poll,
    events: Events,
    port: AdminPort,
    server: Server,
}

impl Rig {
    fn new() -> Rig {
        let config = StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() };
        let engine = Engine::new(
            Store::new(config, [1, 2]).unwrap(),
            ServerOptions { max_clients: 4, ..ServerOptions::default() },
        );
        let datagrams =
            FrameServer::new(&frames::Config { clients_max: 4, ..frames::Config::new(1, [3, 4]) });
        let small = Resources { input_bytes: MIB, output_bytes: MIB, ..Resources::default() };
        let poll = Poll::new().unwrap();
        let mut port = AdminPort::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        port.register(poll.registry(), FIRST).unwrap();
        Rig { poll, events: Events::with_capacity(64), port, server: Server::new(engine, datagrams, small) }
    }

    fn connect(&self) -> Socket {
        let socket = Socket::connect(self.port.local_address().unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    /// A turn of the loop at the time 0.
    fn turn(&mut self) {
        let at = Now::default();
        let wait = match self.port.next_deadline(&self.server, at.monotonic) {
            Some(Millis(0)) => Duration::ZERO,
            _ => Duration::from_millis(5),
        };
        self.poll.poll(&mut self.events, Some(wait)).unwrap();
        for event in &self.events {
            self.port.mark_ready(event.token(), event.is_readable(), event.is_writable());
        }
        self.port.serve(&mut self.server, self.poll.registry(), Readiness::Ready, at);
    }

    /// Turns until `socket` is closed, and what it received.
    fn reply(&mut self, socket: &mut Socket) -> String {
        let mut reply = Vec::new();
        for _ in 0..TURNS_MAX {
            self.turn();
            match socket.read_to_end(&mut reply) {
                Ok(_) => return String::from_utf8(reply).unwrap(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("no reply in {TURNS_MAX} turns, only {:?}", String::from_utf8_lossy(&reply));
    }
}

#[test]
fn the_oldest_stalled_connections_make_room_for_a_probe_at_once() {
    let mut rig = Rig::new();
    for beginning in ["", "GET /livez HTTP/1.1\r\nHost: "] {
        let mut stalled: Vec<Socket> = (0..10 * CONNECTIONS_MAX).map(|_| rig.connect()).collect();
        for socket in &mut stalled {
            socket.write_all(beginning.as_bytes()).unwrap();
        }
        let mut probe = rig.connect();
        probe.write_all(b"GET /livez HTTP/1.1\r\n\r\n").unwrap();
        assert!(rig.reply(&mut probe).starts_with("HTTP/1.1 200 "));
        // The youngest of them are still there: room was made for those that came, and not more.
        let open = |socket: &mut Socket| {
            socket.read(&mut [0; 1]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        let open: Vec<bool> = stalled.iter_mut().map(open).collect();
        let (oldest, youngest) = open.split_at(open.len() - (CONNECTIONS_MAX - 1));
        assert_eq!((oldest.contains(&true), youngest.contains(&false)), (false, false), "{open:?}");
    }
}

#[test]
fn connections_that_do_not_take_their_reply_make_room_too() {
    let mut rig = Rig::new();
    let unread: Vec<Socket> = (0..CONNECTIONS_MAX)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            // A window of a few kilobytes: the page does not fit it.
            socket.set_recv_buffer_size(2048).unwrap();
            socket.connect(&rig.port.local_address().unwrap().into()).unwrap();
            let mut socket = Socket::from(socket);
            socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            socket
        })
        .collect();
    for _ in 0..4 * CONNECTIONS_MAX {
        rig.turn();
    }
    assert_eq!(rig.port.exchanges().count(), unread.len(), "each waits for its peer");
    let mut probe = rig.connect();
    probe.write_all(b"GET /readyz HTTP/1.1\r\n\r\n").unwrap();
    assert!(rig.reply(&mut probe).starts_with("HTTP/1.1 200 "));
}

#[test]
fn requests_that_wait_for_their_turn_are_all_answered() {
    let mut rig = Rig::new();
    let mut scrapes: Vec<Socket> = (0..4 * CONNECTIONS_MAX).map(|_| rig.connect()).collect();
    for socket in &mut scrapes {
        socket.write_all(b"GET /livez HTTP/1.1\r\n\r\n").unwrap();
    }
    for socket in &mut scrapes {
        assert!(rig.reply(socket).starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn a_descriptor_is_kept_for_each_connection_to_come() {
    let mut rig = Rig::new();
    assert_eq!(rig.port.reserve.len(), CONNECTIONS_MAX + 1);
    let stalled: Vec<Socket> = (0..2 * CONNECTIONS_MAX).map(|_| rig.connect()).collect();
    for _ in 0..CONNECTIONS_MAX {
        rig.turn();
    }
    assert_eq!((rig.port.exchanges().count(), rig.port.reserve.len()), (CONNECTIONS_MAX, 1));
    drop(stalled);
    for _ in 0..CONNECTIONS_MAX {
        rig.turn();
    }
    assert_eq!((rig.port.exchanges().count(), rig.port.reserve.len()), (0, CONNECTIONS_MAX + 1));
}

/// Of the program as it is shipped: a verb more has counters more.
#[cfg(feature = "scripts")]
#[test]
fn the_page_says_what_the_port_reserves() {
    let page = include_str!("../../../docs/admin.md");
    let reserved = format!("history take {} KiB that are reserved", AdminPort::MEMORY_BYTES.div_ceil(1024));
    assert!(page.contains(&reserved), "docs/admin.md should say: {reserved}");
}
