//! A server without sockets, driven by hand: bytes in, bytes out, time as the test says.

use pannier::connection::ConnectionId;
use pannier::engine::{Engine, EngineConfig};
use pannier::server::{Server, Settings};
use pannier::store::{Store, StoreConfig};
use pannier::time::{Millis, Now};
use std::io::IoSlice;

/// A server and the time that it is told.
pub struct InProcess {
    pub server: Server,
    pub now: Now,
}

impl InProcess {
    /// A server over a store of `memory_bytes`.
    pub fn with_memory(memory_bytes: usize) -> InProcess {
        InProcess::new(StoreConfig { memory_bytes, ..StoreConfig::default() }, Settings::default())
    }

    /// A server of these settings; its hash key is fixed.
    pub fn new(config: StoreConfig, settings: Settings) -> InProcess {
        let store = Store::new(config, [1, 2]).expect("enough memory for the test");
        let engine = Engine::new(store, EngineConfig::default());
        let unix = Millis(1_700_000_000_000);
        let now = Now { monotonic: Millis(1_000), unix, unix_micros: 0 };
        InProcess { server: Server::new(engine, settings), now }
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
        let peer = "127.0.0.1:5000".parse().expect("an address");
        self.server.open(peer, self.now).expect("a free place")
    }

    /// Gives the server these bytes and takes everything that it answers. Bytes that the server will not take (it
    /// is closing) are dropped.
    pub fn send(&mut self, id: ConnectionId, mut bytes: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        // Bounded: each round takes bytes, gives bytes, or is the last.
        while !bytes.is_empty() {
            let Some(space) = self.server.input_space(id, self.now) else {
                if self.pump(id, &mut answer) {
                    continue;
                }
                break;
            };
            let len = space.len().min(bytes.len());
            space[..len].copy_from_slice(&bytes[..len]);
            bytes = &bytes[len..];
            self.server.input_received(id, len, self.now);
            self.pump(id, &mut answer);
        }
        self.pump(id, &mut answer);
        answer
    }

    /// Runs and takes output until nothing moves; whether anything did.
    pub fn pump(&mut self, id: ConnectionId, answer: &mut Vec<u8>) -> bool {
        let mut moved = false;
        loop {
            let more = self.server.run(id, self.now);
            let sent = self.take_output(id, answer);
            while self.server.poll_attention().is_some() {}
            moved |= sent;
            if !more && !sent && !self.server.has_job(id) {
                return moved;
            }
        }
    }

    /// Takes what waits to be sent.
    fn take_output(&mut self, id: ConnectionId, answer: &mut Vec<u8>) -> bool {
        let mut any = false;
        loop {
            let mut slices = [IoSlice::new(&[]); 8];
            let count = self.server.output(id, &mut slices);
            if count == 0 {
                return any;
            }
            any = true;
            let mut len = 0;
            for slice in &slices[..count] {
                answer.extend_from_slice(slice);
                len += slice.len();
            }
            self.server.output_sent(id, len, self.now);
        }
    }
}
