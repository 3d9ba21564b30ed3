//! A server without sockets, driven by hand: bytes in, bytes out, time as the test says. It drives the server as the
//! reactor does: read, run, write, look after the connections that ask for attention, close what is finished.
#![allow(dead_code)] // Each test binary uses its own part of this file.

use pannier::connection::ConnectionId;
use pannier::engine::Engine;
use pannier::frames::{Config, FrameServer};
use pannier::limits::DATAGRAM_BYTES_MAX;
use pannier::net::ServerOptions;
use pannier::server::{Resources, Server};
use pannier::store::{Store, StoreConfig};
use pannier::time::{Millis, Now};
use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;

/// The address that all clients come from.
pub const PEER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1)), 5000);
/// What the server's frames say of its run.
pub const EPOCH: u32 = 77;
/// Bytes that are written at once, at most, as the reactor does.
const SLICES: usize = 8;

/// A server and the time that it is told.
pub struct InProcess {
    pub server: Server,
    pub now: Now,
}

impl InProcess {
    /// A server over a store of `memory_bytes`.
    pub fn with_memory(memory_bytes: usize) -> InProcess {
        let config = StoreConfig { memory_bytes, ..StoreConfig::default() };
        InProcess::new(config, 100, Resources::default(), None)
    }

    /// A server for so many clients; its secrets are fixed.
    pub fn new(
        config: StoreConfig,
        max_clients: usize,
        resources: Resources,
        password: Option<&[u8]>,
    ) -> InProcess {
        let store = Store::new(config, [1, 2]).expect("enough memory for the test");
        let mut options = ServerOptions::default();
        options.max_clients = max_clients;
        options.password = password.map(<[u8]>::to_vec);
        let engine = Engine::new(store, options);
        let datagrams = FrameServer::new(&Config { password, ..Config::new(EPOCH, [3, 4]) });
        let unix = Millis(1_700_000_000_000);
        let now = Now { monotonic: Millis(1_000), unix, unix_micros: 0 };
        InProcess { server: Server::new(engine, datagrams, resources), now }
    }

    /// Time passes.
    pub fn advance(&mut self, ms: u64) {
        self.now.monotonic = self.now.monotonic.plus(ms);
        self.now.unix = self.now.unix.plus(ms);
        self.server.handle_deadlines(self.now);
        self.server.maintain(self.now, 64);
    }

    /// A new connection.
    pub fn connect(&mut self) -> ConnectionId {
        self.server.open(PEER, self.now).expect("a free place")
    }

    /// Whether the server has closed the connection, or never had it.
    pub fn is_closed(&self, id: ConnectionId) -> bool {
        self.server.get(id).is_none()
    }

    /// Whether the server has closed the connection, or is about to.
    pub fn is_closing(&self, id: ConnectionId) -> bool {
        self.server.get(id).is_none_or(|connection| connection.closing().is_some())
    }

    /// Gives the server these bytes and returns everything that it answers.
    pub fn send(&mut self, id: ConnectionId, bytes: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        self.exchange(id, bytes, &mut answer);
        answer
    }

    /// Gives the server these bytes and appends everything that it answers: as long as `answer` has the capacity,
    /// nothing here allocates. Bytes that the server will not take (it is closing) are dropped.
    pub fn exchange(&mut self, id: ConnectionId, mut bytes: &[u8], answer: &mut Vec<u8>) {
        // Bounded: each round takes bytes, gives bytes, or is the last.
        while !bytes.is_empty() {
            let taken = self.receive(id, bytes);
            bytes = &bytes[taken..];
            if !self.pump(id, answer) && taken == 0 {
                break;
            }
        }
        self.pump(id, answer);
    }

    /// Gives the server the front of `bytes` that it has space for now; the number of bytes.
    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8]) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        let len = if self.server.has_body(id) {
            let mut spaces: [IoSliceMut<'_>; SLICES] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
            let count = self.server.input_spaces(id, self.now, &mut spaces);
            scatter(bytes, &mut spaces[..count])
        } else {
            let Some(space) = self.server.input_space(id, self.now) else { return 0 };
            assert!(!space.is_empty(), "reading into an empty slice looks like the end of the stream");
            scatter(bytes, &mut [IoSliceMut::new(space)])
        };
        if len > 0 {
            self.server.input_received(id, len, self.now);
        }
        len
    }

    /// The client sends no more; what it is still answered.
    pub fn half_close(&mut self, id: ConnectionId) -> Vec<u8> {
        let mut answer = Vec::new();
        self.server.input_ended(id);
        self.pump(id, &mut answer);
        answer
    }

    /// Runs and takes output until nothing moves; whether anything did. Closes what is finished.
    pub fn pump(&mut self, id: ConnectionId, answer: &mut Vec<u8>) -> bool {
        let mut moved = false;
        loop {
            let more = self.server.run(id, self.now);
            let sent = self.take_output(id, usize::MAX, answer) > 0;
            self.attend();
            if self.server.is_finished(id) {
                self.server.close(id);
            }
            moved |= sent || more;
            if !more && !sent && !self.server.is_replying(id) {
                return moved;
            }
        }
    }

    /// Runs the connections that another one's command has changed, and closes those that have said their last.
    pub fn attend(&mut self) {
        while let Some(id) = self.server.poll_wake() {
            // A command that yields runs a slice at a time, in its own client's turn.
            if !self.server.is_replying(id) {
                self.server.run(id, self.now);
            }
            if self.server.is_finished(id) {
                self.server.close(id);
            }
        }
    }

    /// Takes what waits to be sent, `bytes_max` at most; the number of bytes.
    pub fn take_output(&mut self, id: ConnectionId, bytes_max: usize, answer: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        while taken < bytes_max {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.server.output(id, &mut slices);
            if count == 0 {
                break;
            }
            let mut len = 0;
            for slice in &slices[..count] {
                let part = slice.len().min(bytes_max - taken - len);
                answer.extend_from_slice(&slice[..part]);
                len += part;
            }
            self.server.output_sent(id, len, self.now);
            taken += len;
        }
        if taken == bytes_max {
            self.server.output_blocked(id, self.now);
        }
        taken
    }

    /// One datagram in; the length of the reply in `reply`, if there is one.
    pub fn datagram(&mut self, bytes: &[u8], reply: &mut [u8; DATAGRAM_BYTES_MAX]) -> Option<usize> {
        self.server.handle_datagram(PEER, bytes, self.now, reply)
    }
}

/// Puts the front of `bytes` into `spaces`, one after the other, as reading a socket does; the number of bytes.
fn scatter(bytes: &[u8], spaces: &mut [IoSliceMut<'_>]) -> usize {
    let mut rest = bytes;
    for space in spaces {
        assert!(!space.is_empty(), "a piece holds something");
        let (here, behind) = rest.split_at(space.len().min(rest.len()));
        space[..here.len()].copy_from_slice(here);
        rest = behind;
    }
    bytes.len() - rest.len()
}
