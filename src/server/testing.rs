//! A server that tests drive by hand: made, connected to, asked, and what it answers.

use super::{Resources, Server};
use crate::config::ServerOptions;
use crate::connection::ConnectionId;
use crate::engine::Engine;
use crate::frames::{Config, FrameServer};
use crate::store::{Store, StoreConfig};
use crate::time::{Millis, Now};
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::io::IoSlice;

pub(super) const NOW: Now = Now { monotonic: Millis(1_000), unix: Millis(1_700_000_000_000), unix_micros: 0 };
pub(super) const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5000));

pub(super) fn server(config: StoreConfig, options: ServerOptions, resources: Resources) -> Server {
    let store = Store::new(config, [1, 2]).expect("enough memory");
    Server::new(Engine::new(store, options), FrameServer::new(&Config::new(1, [3, 4])), resources)
}

pub(super) fn connect(server: &mut Server) -> ConnectionId {
    server.open(PEER, NOW).expect("a free place")
}

/// Gives the server bytes of a client; it runs only what has to make room for more of them.
pub(super) fn receive(server: &mut Server, id: ConnectionId, mut bytes: &[u8], now: Now) {
    while !bytes.is_empty() {
        let space = server.input_space(id, now).expect("room for a request");
        let len = space.len().min(bytes.len());
        space[..len].copy_from_slice(&bytes[..len]);
        server.input_received(id, len, now);
        bytes = &bytes[len..];
        if !bytes.is_empty() {
            server.run(id, now);
        }
    }
}

/// Takes all that waits.
pub(super) fn take(server: &mut Server, id: ConnectionId) -> Vec<u8> {
    let mut taken = Vec::new();
    loop {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = server.output(id, &mut slices);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
        if bytes.is_empty() {
            return taken;
        }
        server.output_sent(id, bytes.len(), NOW);
        taken.extend(bytes);
    }
}

/// The same, as text.
pub(super) fn take_text(server: &mut Server, id: ConnectionId) -> String {
    String::from_utf8_lossy(&take(server, id)).into_owned()
}

/// Sends a command, runs it to its end, and takes the replies.
pub(super) fn ask(server: &mut Server, id: ConnectionId, command: &str, now: Now) -> String {
    receive(server, id, format!("{command}\r\n").as_bytes(), now);
    let mut replies = Vec::new();
    for _ in 0..1_000 {
        server.run(id, now);
        let taken = take(server, id);
        replies.extend_from_slice(&taken);
        if taken.is_empty() && !server.is_replying(id) {
            break;
        }
    }
    server.invariants();
    String::from_utf8_lossy(&replies).into_owned()
}
