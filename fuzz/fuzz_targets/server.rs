//! Several clients of the server without sockets, with any bytes, in any pieces, while time passes: no panic, and the
//! invariants hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pannier::connection::ConnectionId;
use pannier::datagram::{self, Datagrams};
use pannier::engine::{Engine, settings::EngineConfig};
use pannier::limits::{KIB, MIB};
use pannier::server::{Server, Settings};
use pannier::store::{Store, StoreConfig};
use pannier::time::{Millis, Now};
use std::io::{IoSlice, IoSliceMut};

const CLIENTS: usize = 3;

fn server() -> Server {
    let config = StoreConfig { memory_bytes: 4 * MIB, ..StoreConfig::default() };
    let store = Store::new(config, [1, 2]).expect("enough memory");
    let engine = Engine::new(store, EngineConfig::default());
    let datagrams = Datagrams::new(&datagram::Config { clients_max: 4, ..datagram::Config::new(1, [3, 4]) });
    let settings = Settings {
        max_clients: CLIENTS,
        input_bytes: 512 * KIB,
        output_bytes: 512 * KIB,
        queue_bytes: 256 * KIB,
        ..Settings::default()
    };
    Server::new(engine, datagrams, settings)
}

fn receive(server: &mut Server, id: ConnectionId, mut bytes: &[u8], now: Now) {
    // Each round takes bytes; a server that takes none ends it.
    while !bytes.is_empty() {
        let mut spaces: [IoSliceMut<'_>; 4] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        let count = server.input_spaces(id, now, &mut spaces);
        if count == 0 {
            return;
        }
        let before = bytes.len();
        for space in &mut spaces[..count] {
            let (here, behind) = bytes.split_at(space.len().min(bytes.len()));
            space[..here.len()].copy_from_slice(here);
            bytes = behind;
        }
        server.input_received(id, before - bytes.len(), now);
        server.run(id, now);
    }
}

fn send(server: &mut Server, id: ConnectionId, most: usize, now: Now) {
    let mut slices = [IoSlice::new(&[]); 4];
    let count = server.output(id, &mut slices);
    let len = slices[..count].iter().map(|slice| slice.len()).sum::<usize>().min(most);
    if len > 0 {
        server.output_sent(id, len, now);
    }
}

fuzz_target!(|steps: Vec<(u8, u16, &[u8])>| {
    let mut server = server();
    let mut now = Now { monotonic: Millis(1), unix: Millis(1_700_000_000_000), unix_micros: 0 };
    let mut ids: [Option<ConnectionId>; CLIENTS] = [None; CLIENTS];
    let peer = ([127, 0, 0, 1], 5000).into();
    for (kind, number, bytes) in steps {
        let slot = usize::from(kind / 8) % CLIENTS;
        let id = *ids[slot].get_or_insert_with(|| server.open(peer, now).expect("a free place"));
        match kind % 8 {
            0 | 1 => receive(&mut server, id, bytes, now),
            2 => send(&mut server, id, usize::from(number), now),
            3 => {
                now.monotonic = now.monotonic.plus(u64::from(number));
                now.unix = now.unix.plus(u64::from(number));
                server.handle_deadlines(now);
                server.maintain(now, 4);
            }
            4 => {
                server.close(id);
                ids[slot] = None;
            }
            5 => {
                let mut reply = [0; 1200];
                let _ = server.handle_datagram(peer, bytes, now, &mut reply);
            }
            6 => server.input_ended(id),
            _ => {
                server.run(id, now);
            }
        }
        while server.poll_attention().is_some() {}
        server.invariants();
    }
});
