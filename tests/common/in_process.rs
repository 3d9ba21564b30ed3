//! The server without its sockets, driven by hand: bytes in, bytes out.

use pannier::connection::ConnectionId;
use pannier::datagram::{self, Datagrams};
use pannier::engine::{Engine, EngineConfig};
use pannier::server::{Server, Settings};
use pannier::store::{Store, StoreConfig};
use pannier::time::{Millis, Now};
use std::io::IoSlice;
use std::net::SocketAddr;

/// A moment in 2026; the clock stands still.
const NOW: Now = Now { monotonic: Millis(1_000), unix: Millis(1_780_000_000_000), unix_micros: 0 };

/// A server with few clients and little memory.
pub fn server() -> Server {
    let config = StoreConfig { memory_bytes: 16 << 20, ..StoreConfig::default() };
    let store = Store::new(config, [1, 2]).unwrap_or_else(|_| panic!("16 MiB are enough for a store"));
    let engine = Engine::new(store, EngineConfig { memory_limit_bytes: 32 << 20, ..EngineConfig::default() });
    let datagrams = Datagrams::new(&datagram::Config { clients_max: 4, ..datagram::Config::new(1, [3, 4]) });
    let settings =
        Settings { max_clients: 16, input_bytes: 1 << 20, output_bytes: 1 << 20, ..Settings::default() };
    Server::new(engine, datagrams, settings)
}

/// A new client of this server.
pub fn connect(server: &mut Server) -> ConnectionId {
    server.open(SocketAddr::from(([127, 0, 0, 1], 1)), NOW).unwrap_or_else(|_| panic!("there is a place"))
}

/// Hands `bytes` to the server as they come from a socket, and returns all that it answers.
pub fn exchange(server: &mut Server, id: ConnectionId, mut bytes: &[u8]) -> Vec<u8> {
    let mut answers = Vec::new();
    loop {
        if let Some(space) = server.input_space(id, NOW).filter(|_| !bytes.is_empty()) {
            let len = space.len().min(bytes.len());
            space[..len].copy_from_slice(&bytes[..len]);
            bytes = &bytes[len..];
            server.input_received(id, len, NOW);
        }
        let more = server.run(id, NOW);
        let before = answers.len();
        take_output(server, id, &mut answers);
        if !more && answers.len() == before && (bytes.is_empty() || server.is_finished(id)) {
            break;
        }
    }
    answers
}

fn take_output(server: &mut Server, id: ConnectionId, answers: &mut Vec<u8>) {
    loop {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = server.output(id, &mut slices);
        let len = slices[..count].iter().map(|slice| slice.len()).sum();
        slices[..count].iter().for_each(|slice| answers.extend_from_slice(slice));
        if len == 0 {
            return;
        }
        server.output_sent(id, len, NOW);
    }
}
