//! A server with `--durability always` on a bad disk, over several lives: what its clients were answered must be there
//! after any crash, and what they were told is gone must not come back. Only bytes that the server gave out count: a
//! reply that still waited for the disk may be lost with it.
//!
//! ```text
//!  clients: RESP, a subscriber to events, datagrams ─▶ Server ─▶ Journal ─▶ Worker ─▶ SimDisk ─▶ crash ─▶ recover
//!        ▲ replies                                       │                                                │
//!        └─ noted: counters that were seen, keys that were seen to be gone ◀─────────── compared ─────────┘
//! ```
//! The judge knows nothing of revisions: counters only grow, a key that was removed is never set again, and each
//! datagram's addition has a key of its own, which may never read more than 1.

mod clients;
mod datagrams;

use super::disk::{DiskFaults, SimDisk};
use super::follower::bytes_of;
use super::remember::{self, DATABASES, Start, draw_faults, recover};
use super::violation::{Violation, violation};
use crate::config::{KeyEvents, ServerOptions};
use crate::engine::{Engine, persistence::Stage};
use crate::frames::{self, FrameServer};
use crate::journal::worker::Worker;
use crate::journal::{Durability, Journal, Request};
use crate::mutation::{Database, Revision};
use crate::random::Random;
use crate::server::{Resources, Server};
use crate::store::Store;
use crate::time::{Millis, Now};
use clients::Client;
use datagrams::DatagramClient;
use std::collections::VecDeque;

/// RESP clients that ask; one more listens to events.
const CLIENTS: usize = 4;
const COUNTERS: usize = 6;
const BEGINNING: Millis = Millis(0);

/// What happened in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acknowledged {
    pub lives: u32,
    /// Replies, events and datagrams that gave something to hold the server to.
    pub replies: u64,
    pub events: u64,
    pub datagrams: u64,
    /// Writes whose datagram's client was told that nobody knows.
    pub unknown: u64,
    /// Replies that were refused because the disk had failed.
    pub refused: u64,
}

/// What a key that is set once and removed once was last seen to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    Asked,
    Set,
    Gone,
}

/// What clients have seen.
#[derive(Default)]
struct Seen {
    counters: [u64; COUNTERS],
    flags: Vec<Flag>,
    count: Acknowledged,
}

impl Seen {
    /// Holds what a start finds against it.
    fn compare(&self, store: &Store) -> Result<(), Violation> {
        for (index, seen) in self.counters.iter().enumerate() {
            let key = format!("counter:{index}");
            let found = number(store, &key);
            if found < *seen {
                return Err(violation(key.as_bytes(), format!("{seen} was seen, and {found} is found")));
            }
        }
        for (index, flag) in self.flags.iter().enumerate() {
            let key = format!("flag:{index}");
            let is_there = store.peek(Database(0), key.as_bytes(), BEGINNING).is_some();
            if is_there && *flag == Flag::Gone {
                return Err(violation(key.as_bytes(), "was seen to be gone, and has come back"));
            }
        }
        Ok(())
    }
}

fn number(store: &Store, key: &str) -> u64 {
    let entry = store.peek(Database(0), key.as_bytes(), BEGINNING);
    let bytes = entry.map(|entry| bytes_of(store, entry.value)).unwrap_or_default();
    std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// One life of a server.
struct Life {
    random: Random,
    disk: SimDisk,
    worker: Worker<SimDisk>,
    server: Server,
    journal: Journal,
    requests: VecDeque<Request>,
    now: Now,
    clients: Vec<Client>,
}

/// Runs several lives from a seed.
///
/// # Errors
/// The first thing that must not be.
pub fn run(seed: u64) -> Result<Acknowledged, Violation> {
    let mut random = Random(seed);
    let disk = SimDisk::new(random.next());
    let mut seen = Seen::default();
    let mut datagrams = DatagramClient::new(random.next());
    let mut now = Now { monotonic: Millis(0), unix: Millis(1_000_000), unix_micros: 0 };
    let mut shown = Revision(0);
    for epoch in 0..2 + random.below(3) {
        disk.set_faults(DiskFaults::default());
        let mut life = Life::start(&disk, (&mut random, now, epoch as u32 + 1), shown)?;
        disk.set_faults(draw_faults(&mut life.random));
        let turns = 20 + life.random.below(150);
        if life.random.below(4) > 0 {
            disk.crash_in(1 + life.random.below(turns * 3) as u64);
        }
        for _ in 0..turns {
            life.turn(&mut seen, &mut datagrams)?;
            if disk.is_down() {
                break;
            }
        }
        shown = life.server.engine().store.revision();
        now = life.now;
        datagrams.is_cut_off();
        if life.random.below(4) == 0 && !disk.is_down() {
            disk.restart_process();
        } else {
            disk.restart_machine();
        }
        let (store, _) = recover(&disk)?;
        seen.compare(&store)?;
        datagrams.compare(&store)?;
        seen.count.lives += 1;
    }
    (seen.count.datagrams, seen.count.unknown) = datagrams.counts();
    Ok(seen.count)
}

impl Life {
    fn start(
        disk: &SimDisk,
        (random, now, epoch): (&mut Random, Now, u32),
        shown: Revision,
    ) -> Result<Life, Violation> {
        let mut random = random.split();
        let Start { mut store, config, predecessor } =
            remember::start(disk, (Durability::Always, &mut random), shown)?;
        let journal = Journal::new(config, &mut store, now).expect("there is a feed");
        let bases = std::array::from_fn(|index| number(&store, &format!("counter:{index}")));
        let options = ServerOptions {
            max_clients: CLIENTS + 1,
            databases: DATABASES,
            data_dir: Some("simulated".into()),
            durability: Durability::Always,
            notify_keyspace_events: KeyEvents::parse(b"E$").expect("they are known"),
            ..ServerOptions::default()
        };
        let mut engine = Engine::new(store, options);
        engine.persistence.stage = Stage::Serving;
        let frames = FrameServer::new(&frames::Config::new(epoch, [random.next(), random.next()]));
        let server = Server::new(engine, frames, Resources::default());
        let worker = Worker::new(disk.clone(), predecessor);
        let mut life = Life {
            random,
            disk: disk.clone(),
            worker,
            server,
            journal,
            requests: VecDeque::new(),
            now,
            clients: Vec::new(),
        };
        life.pull_requests();
        while !life.requests.is_empty() {
            life.work();
        }
        life.follow();
        for index in 0..=CLIENTS {
            let mut client = Client::open(&mut life.server, now, bases);
            if index == CLIENTS {
                client.ask_for_events();
            }
            life.clients.push(client);
        }
        Ok(life)
    }

    /// One turn of the loop, and some of the disk's work.
    fn turn(&mut self, seen: &mut Seen, datagrams: &mut DatagramClient) -> Result<(), Violation> {
        for _ in 0..self.random.below(5) {
            self.work();
        }
        self.follow();
        if self.disk.is_down() {
            return Ok(());
        }
        let Life { random, server, clients, now, .. } = self;
        for client in &mut clients[..CLIENTS] {
            if random.below(3) == 0 {
                client.ask(random, seen);
            }
            client.send(server, *now);
        }
        clients[CLIENTS].send(server, *now);
        let group: Vec<_> = clients.iter().map(|client| client.id).collect();
        let mut unfinished = Vec::new();
        server.run_group(&group, *now, &mut unfinished);
        datagrams.turn(server, random, *now);
        server.handle_deadlines(*now);
        server.maintain(*now, 16);
        while let Some(id) = server.poll_wake() {
            server.run(id, *now);
        }
        for client in clients.iter_mut() {
            if random.below(4) > 0 {
                client.hear(server, seen, *now)?;
            }
        }
        server.invariants();
        if self.random.below(60) == 0 {
            self.journal.request_checkpoint();
        }
        let ms = [0, 1, 10, 400][self.random.below(4)];
        (self.now.monotonic, self.now.unix) = (self.now.monotonic.plus(ms), self.now.unix.plus(ms));
        self.follow();
        Ok(())
    }

    /// What has changed goes on its way, and the server learns how the journal is.
    fn follow(&mut self) {
        self.journal.turn(&mut self.server.engine_mut().store, self.now);
        self.pull_requests();
        self.server.follow_journal(self.journal.status(), self.now.monotonic);
    }

    fn pull_requests(&mut self) {
        while let Some(request) = self.journal.pop_request() {
            self.requests.push_back(request);
        }
    }

    fn work(&mut self) {
        if let Some(request) = self.requests.pop_front() {
            let report = self.worker.handle(request);
            self.journal.handle(report, &mut self.server.engine_mut().store, self.now);
        }
    }
}
