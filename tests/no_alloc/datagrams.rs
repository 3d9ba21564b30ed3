//! The datagram side takes nothing from the heap once it is made: every operation, every refusal, new clients, and
//! sessions that are dropped for others.

use std::net::SocketAddr;

use crate::counting_allocator::counting;
use pannier::config::ServerOptions;
use pannier::engine::Engine;
use pannier::frames::{Config, FrameServer, Handled, Incoming};
use pannier::store::{Store, StoreConfig};
use pannier::time::{Millis, Now};
use pannier::wire::frame::{self, Direction, Head, Op};

const EPOCH: u32 = 9;

struct Rig {
    datagrams: FrameServer,
    engine: Engine,
    now: Now,
    cookie: [u8; 16],
    reply: [u8; 1200],
}

impl Rig {
    fn send(&mut self, head: Head, key: &[u8], value: &[u8]) -> Option<Head> {
        let mut bytes = [0; 1200];
        let epoch = if head.op() == Some(Op::Hello) { 0 } else { EPOCH };
        let head = Head { epoch, cookie: self.cookie, ..head };
        let len = frame::encode(&mut bytes, &head, key, value, None).expect("fits");
        self.send_bytes(&bytes[..len])
    }

    fn send_bytes(&mut self, bytes: &[u8]) -> Option<Head> {
        let incoming = Incoming { from: SocketAddr::from(([127, 0, 0, 1], 7)), bytes, now: self.now };
        match self.datagrams.handle(&mut self.engine, &incoming, &mut self.reply) {
            Handled::Reply(len) => {
                let reply = frame::decode_datagram(&self.reply[..len], Direction::Reply);
                Some(reply.expect("a good reply").head)
            }
            Handled::Silent | Handled::Rejected(_) => None,
        }
    }

    /// One client's whole life.
    fn live(&mut self, id: u64) {
        self.cookie = [0; 16];
        let challenge = self.send(Head::request(Op::Hello, id, 0), b"", b"").expect("a challenge");
        self.cookie = challenge.cookie;
        let welcome = self.send(Head::request(Op::Hello, id, 0), b"", b"").expect("a welcome");
        self.cookie = welcome.cookie;
        for (sequence, op) in Op::ALL.iter().cycle().take(100).enumerate() {
            let head = Head { argument: 1, ..Head::request(*op, id, sequence as u32) };
            let value: &[u8] = if *op == Op::Put { b"12" } else { b"" };
            for _ in 0..2 {
                let _ = self.send(head, &id.to_be_bytes(), value);
            }
            let _ = self.send(Head { code: 99, ..head }, b"", b"");
        }
        self.send_bytes(&[0xF5; 100]);
        self.now.monotonic = self.now.monotonic.plus(10_000);
        self.now.unix = self.now.unix.plus(10_000);
        self.engine.store.maintain(self.now.unix, 4);
    }
}

#[test]
fn nothing_is_allocated() {
    let store = StoreConfig { memory_bytes: 8 << 20, ..StoreConfig::default() };
    let mut rig = Rig {
        datagrams: FrameServer::new(&Config { clients_max: 64, ..Config::new(EPOCH, [1, 2]) }),
        engine: Engine::new(Store::new(store, [3, 4]).expect("enough"), ServerOptions::default()),
        now: Now { monotonic: Millis(1), unix: Millis(1_700_000_000_000), unix_micros: 0 },
        cookie: [0; 16],
        reply: [0; 1200],
    };
    let count = counting(|| {
        for id in 1..=1000 {
            rig.live(id);
        }
    });
    assert_eq!(count, 0);
    let counters = rig.datagrams.counters();
    assert!(counters.writes > 10_000 && counters.repeats > 10_000 && counters.rejected_total() == 1000);
    assert!(rig.datagrams.sessions().dropped() > 500);
}
