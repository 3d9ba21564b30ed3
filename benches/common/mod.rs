//! What the benches share: how long criterion measures, keys and values, and a server that is driven without sockets.
//!
//! Every time that criterion shows is that of one element, of which a bench may have many in one round.
#![allow(dead_code, reason = "each bench uses its own part of this file")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use criterion::{Bencher, Criterion};
use pannier::connection::ConnectionId;
use pannier::engine::Engine;
use pannier::frames::{Config, FrameServer};
use pannier::mutation::Database;
use pannier::net::ServerOptions;
use pannier::server::{Resources, Server};
use pannier::store::{Store, StoreConfig};
use pannier::time::{Millis, Now};
use std::hint::black_box;
use std::io::IoSlice;
use std::time::{Duration, Instant};

/// The database of all benches.
pub const DB: Database = Database(0);
/// The time that never passes.
pub const NOW: Now = Now { monotonic: Millis(1_000), unix: Millis(1_700_000_000_000), unix_micros: 0 };
/// Bytes of a key.
pub const KEY_LEN: usize = 16;
/// The value of all benches.
pub const VALUE: [u8; 32] = *b"a value of thirty-two bytes long";
/// Slices that are written at once, as the reactor does.
const SLICES: usize = 8;

/// Short, so that all benches together take less than three minutes; the order of magnitude of a change needs no more.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args()
}

/// Measures rounds of `elements` elements each; criterion is told the time of one element.
pub fn measure_each<T>(bencher: &mut Bencher<'_>, elements: usize, mut round: impl FnMut() -> T) {
    bencher.iter_custom(|rounds| {
        let begin = Instant::now();
        for _ in 0..rounds {
            black_box(round());
        }
        begin.elapsed() / elements as u32
    });
}

/// A small generator of even quality (splitmix64).
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The next number below `bound`, which is to be far below 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The key of that number, which has at most twelve digits.
pub fn key(number: u64) -> [u8; KEY_LEN] {
    let mut key = *b"key:000000000000";
    let (mut rest, mut at) = (number, KEY_LEN);
    while rest > 0 {
        at -= 1;
        key[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// Appends a command as clients send it.
pub fn command(bytes: &mut Vec<u8>, args: &[&[u8]]) {
    bytes.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        bulk(bytes, arg);
    }
}

/// Appends a bulk string.
pub fn bulk(bytes: &mut Vec<u8>, content: &[u8]) {
    bytes.extend_from_slice(format!("${}\r\n", content.len()).as_bytes());
    bytes.extend_from_slice(content);
    bytes.extend_from_slice(b"\r\n");
}

/// A store of `memory_bytes`; its secret is fixed.
pub fn store(memory_bytes: usize) -> Store {
    Store::new(StoreConfig { memory_bytes, ..StoreConfig::default() }, [1, 2]).expect("enough memory")
}

/// A server without sockets, driven as the reactor drives it: read all, run all, write all.
pub struct Driver {
    server: Server,
    connections: Vec<ConnectionId>,
    unfinished: Vec<ConnectionId>,
}

impl Driver {
    /// A server over `memory_bytes` with so many connections.
    pub fn new(memory_bytes: usize, connections: usize) -> Driver {
        let mut options = ServerOptions::default();
        options.max_clients = connections;
        let engine = Engine::new(store(memory_bytes), options);
        let datagrams = FrameServer::new(&Config::new(7, [3, 4]));
        let mut server = Server::new(engine, datagrams, Resources::default());
        let peer = ([127, 0, 0, 1], 5000).into();
        let connections = (0..connections).map(|_| server.open(peer, NOW).expect("a free place")).collect();
        Driver { server, connections, unfinished: Vec::new() }
    }

    /// One turn in which every connection sends its batch; gives every reply, in the order of the connections, to
    /// `reply`, and the number of their bytes back.
    ///
    /// # Panics
    /// When the server does not take a batch, or not answer it, at once.
    pub fn turn<'a>(
        &mut self,
        batches: impl IntoIterator<Item = &'a [u8]>,
        mut reply: impl FnMut(&[u8]),
    ) -> usize {
        for (id, batch) in self.connections.iter().zip(batches) {
            let space = self.server.input_space(*id, NOW).expect("room for the batch");
            space[..batch.len()].copy_from_slice(batch);
            self.server.input_received(*id, batch.len(), NOW);
        }
        self.server.run_group(&self.connections, NOW, &mut self.unfinished);
        assert!(self.unfinished.is_empty(), "a batch is short enough for one turn");
        let mut sent = 0;
        for id in &self.connections {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.server.output(*id, &mut slices);
            let mut len = 0;
            for slice in &slices[..count] {
                reply(slice);
                len += slice.len();
            }
            self.server.output_sent(*id, len, NOW);
            sent += len;
        }
        sent
    }
}
