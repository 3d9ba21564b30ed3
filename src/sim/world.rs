//! The simulated world: one thread, one clock, one list of what is to happen. Everything that is random comes from the
//! seed, and nothing from outside comes in, so a run with the same seed is the same run.
//!
//! The files below it say what each event does: `network` and `links` what travels, `turns` what the server makes of its
//! connections, `udp_clients`, `tcp_clients`, `rogue` and `hostile` who asks, `life` what befalls the server.

mod hostile;
mod life;
mod links;
mod network;
mod rogue;
mod tcp_clients;
mod turns;
mod udp_clients;

use super::clock::{Agenda, Clock, MILLISECOND, SECOND};
use super::faults::{Fault, Faults};
use super::frames::Frames;
use super::history::{History, Operation};
use super::link::Link;
use super::model::Model;
use super::node::{FEED_BYTES, Node, NodeConfig};
use super::packet::{Packet, Recorder};
use super::report::Report;
use super::rogue::Rogue;
use super::tcp_client::TcpClient;
use super::udp_client::UdpClient;
use super::violation::{Violation, brief, show, violation};
use super::workload::Workload;
use super::{Plan, checker, checker::Verdict};
use crate::config::KeyEvents;
use crate::limits::{KIB, MIB};
use crate::random::Random;
use crate::store::OnFull;
use std::collections::VecDeque;

/// Events after the last fault, at most: a bound on a loop that ends long before.
const LAST_EVENTS_MAX: u64 = 2_000_000;
/// Events between two looks at everything.
const LOOK_EVERY: u32 = 64;

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// A datagram arrives.
    Datagram(Packet),
    /// A UDP client's session wants to be woken.
    WakeUdp(usize),
    /// A client may ask for something.
    ThinkUdp(usize),
    ThinkTcp(usize),
    /// The other one, which keeps no rules.
    ThinkRogue,
    /// A TCP client's attempt to connect arrives.
    Connect(usize),
    /// Bytes, the end, or a reset arrive at the server or at the client.
    Up(usize, Vec<u8>),
    UpEnd(usize),
    UpReset(usize),
    Down(usize, Vec<u8>),
    DownEnd(usize),
    /// A slow TCP client takes some of what was sent to it.
    Take(usize),
    /// The server's loop goes through the connections that wait.
    Turn,
    /// The server has time limits, expiry and cleaning to see to.
    Tick,
    /// A server that has stalled goes on.
    Resume,
}

/// The world.
pub struct World {
    pub clock: Clock,
    pub agenda: Agenda<Event>,
    pub faults: Faults,
    /// Of the network.
    pub random: Random,
    pub config: NodeConfig,
    pub node: Node,
    pub model: Model,
    /// Another server, which none of these clients speaks to.
    pub other: Node,
    pub frames: Frames,
    pub history: History,
    pub workload: Workload,
    pub udp: Vec<UdpClient>,
    pub tcp: Vec<TcpClient>,
    pub rogue: Rogue,
    pub links: Vec<Link>,
    /// Connections that the server's loop is to look at, each once, and whether it is about to.
    pub queue: VecDeque<usize>,
    pub turn_planned: bool,
    /// How long it takes until it does, on average, in µs: those that come meanwhile are served together.
    pub turn_us: u64,
    pub recorder: Recorder,
    /// Until when nothing passes between each UDP client and the server.
    pub clogged: Vec<u64>,
    /// Until when the server does nothing.
    pub stalled: u64,
    /// What has arrived at its sockets meanwhile, in order.
    backlog: Vec<Event>,
    /// Mean delay of a datagram, in µs.
    pub delay_us: u64,
    /// Nothing goes wrong any more, and each client has one last thing to ask.
    pub healed: bool,
    pub report: Report,
    trace: Option<Vec<(Vec<u8>, String)>>,
    next_tick: u64,
}

impl World {
    pub fn new(seed: u64, plan: &Plan) -> World {
        let mut root = Random(seed);
        let mut swarm = root.split();
        let faults = Faults::draw(&mut root, &plan.without);
        let mut config = draw_config(&mut swarm);
        // Not drawn by itself: seeds stay what they were.
        config.lends = config.hash_secret[0].is_multiple_of(2);
        let other =
            NodeConfig { epoch: !config.epoch | 1, secret: [swarm.next(), swarm.next()], ..config.clone() };
        let workload = Workload::draw(&mut swarm);
        let udp_count = plan.udp_clients.unwrap_or(swarm.pick(&[0, 0, 1, 2, 3, 4, 6]));
        let tcp_count = plan.tcp_clients.unwrap_or(swarm.pick(&[1, 2, 3, 4, 5, 9]));
        let mut world = World {
            clock: Clock::new(),
            agenda: Agenda::new(),
            faults,
            random: root.split(),
            node: Node::new(&config),
            model: Model::new(config.on_full == OnFull::Evict),
            other: Node::new(&other),
            frames: Frames::default(),
            history: History::default(),
            workload,
            udp: (0..udp_count).map(|at| UdpClient::new(at, &mut root, &config)).collect(),
            tcp: (0..tcp_count).map(|at| TcpClient::new(at, &mut root)).collect(),
            rogue: Rogue::new(&mut root),
            links: Vec::new(),
            queue: VecDeque::new(),
            turn_planned: false,
            turn_us: swarm.pick(&[0, 200, 5_000, 50_000]),
            recorder: Recorder::default(),
            clogged: vec![0; udp_count + 1],
            stalled: 0,
            backlog: Vec::new(),
            delay_us: swarm.pick(&[20, 200, 2_000, 20_000]),
            healed: false,
            report: Report::default(),
            trace: plan.trace.then(Vec::new),
            next_tick: u64::MAX,
            config,
        };
        world.note(b"", |world| format!("{:?}", world.config));
        let now = world.clock.now;
        (0..udp_count).for_each(|at| world.agenda.at(now, Event::ThinkUdp(at)));
        (0..tcp_count).for_each(|at| world.agenda.at(now, Event::ThinkTcp(at)));
        world.agenda.at(now, Event::ThinkRogue);
        world
    }

    /// Notes what happens, if the trace is wanted.
    pub fn note(&mut self, key: &[u8], text: impl FnOnce(&World) -> String) {
        if self.trace.is_none() {
            return;
        }
        let line = format!("{:>12.3} ms  {}", self.clock.now as f64 / 1_000.0, text(self));
        if let Some(trace) = &mut self.trace {
            trace.push((key.to_vec(), line));
        }
    }

    /// The last things that happened to a key, and to everything where no key is concerned.
    pub fn last_events(&self, key: &[u8], count: usize) -> Vec<String> {
        let trace = self.trace.as_deref().unwrap_or_default();
        let about = |(of, _): &&(Vec<u8>, String)| key.is_empty() || of.is_empty() || of == key;
        let mut lines: Vec<_> =
            trace.iter().rev().filter(about).take(count).map(|(_, line)| line.clone()).collect();
        lines.reverse();
        lines
    }

    /// The whole run: `steps` events with faults, then the end.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run(&mut self, steps: u32) -> Result<(), Violation> {
        for _ in 0..steps {
            let Some((at, event)) = self.agenda.next(u64::MAX) else { break };
            self.step(at, event)?;
            self.calamities()?;
            self.hostile_come();
        }
        self.heal()?;
        let begun = self.clock.now;
        let bound = begun + self.liveness_bound();
        let mut events = 0;
        while !self.all_served() {
            let Some((at, event)) = self.agenda.next(bound) else {
                let waiting = self.unserved();
                let waited = (bound - begun) / MILLISECOND;
                return Err(violation(
                    b"",
                    format!("{waiting} was not served within {waited} ms without faults"),
                ));
            };
            events += 1;
            if events > LAST_EVENTS_MAX {
                return Err(violation(b"", format!("{} waits through endless events", self.unserved())));
            }
            self.step(at, event)?;
        }
        self.report.healing_us = self.report.healing_us.max(self.clock.now - begun);
        self.finish()
    }

    fn step(&mut self, at: u64, event: Event) -> Result<(), Violation> {
        self.clock.now = self.clock.now.max(at);
        self.report.steps += 1;
        if matches!(event, Event::Resume) {
            if self.stalled > self.clock.now {
                self.agenda.at(self.stalled, Event::Resume);
                return Ok(());
            }
            // As after a poll: all that has come meanwhile is there at once, and time limits come last.
            let missed = std::mem::take(&mut self.backlog).into_iter();
            missed.filter(|event| !matches!(event, Event::Turn)).try_for_each(|event| self.happen(event))?;
            self.turn()?;
        } else if self.must_wait(&event) {
            self.backlog.push(event);
            return Ok(());
        } else {
            self.happen(event)?;
        }
        if self.random.below(3) == 0 {
            self.tick()?;
        }
        self.plan_tick();
        if self.report.steps.is_multiple_of(u64::from(LOOK_EVERY)) {
            self.look()?;
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Datagram(packet) => self.land(packet)?,
            Event::WakeUdp(client) => self.wake_udp(client)?,
            Event::ThinkUdp(client) => self.think_udp(client)?,
            Event::ThinkTcp(client) => self.think_tcp(client),
            Event::ThinkRogue => self.think_rogue()?,
            Event::Connect(client) => self.connect(client),
            Event::Up(link, bytes) => self.up(link, &bytes),
            Event::UpEnd(link) => self.up_end(link),
            Event::UpReset(link) => self.up_reset(link)?,
            Event::Down(link, bytes) => self.down(link, &bytes)?,
            Event::DownEnd(link) => self.down_end(link),
            Event::Take(link) => self.take(link),
            Event::Turn => self.turn()?,
            // `step` has seen to it.
            Event::Resume => {}
            Event::Tick => {
                self.next_tick = u64::MAX;
                self.tick()?;
            }
        }
        Ok(())
    }

    /// A server that stalls sees nothing.
    fn must_wait(&self, event: &Event) -> bool {
        let of_server = match event {
            Event::Datagram(packet) => packet.is_for_server(),
            Event::Connect(_) | Event::Up(..) | Event::UpEnd(_) | Event::UpReset(_) | Event::Turn => true,
            _ => false,
        };
        of_server && (self.stalled > self.clock.now || !self.backlog.is_empty())
    }

    /// What the server does by itself. Time limits wait for what it has not seen yet: as in the reactor, what clients
    /// have sent is read, and what they would take is sent, before anybody is given up.
    fn tick(&mut self) -> Result<(), Violation> {
        if self.stalled > self.clock.now {
            self.agenda.at(self.stalled, Event::Tick);
            return Ok(());
        }
        let steps = 1 + self.random.below(16);
        let now = self.clock.reading();
        if self.queue.is_empty() && self.backlog.is_empty() {
            self.node.handle_deadlines(now);
        }
        self.node.maintain(now, steps);
        self.settle()?;
        self.take_attention();
        Ok(())
    }

    fn plan_tick(&mut self) {
        let Some(deadline) = self.node.deadline(self.clock.reading()) else { return };
        let at = (deadline * MILLISECOND).max(self.clock.now + MILLISECOND);
        if at < self.next_tick {
            self.next_tick = at;
            self.agenda.at(at, Event::Tick);
        }
    }

    /// Everything that must always hold.
    fn look(&mut self) -> Result<(), Violation> {
        self.node.invariants();
        let now = self.clock.reading();
        self.model.compare(&self.node, now)?;
        self.node.compare_follower()?;
        self.frames.adds_up()?;
        self.nobody_is_forgotten()
    }

    /// How long after the last fault the last client may wait: each in turn may need a place in the session table.
    fn liveness_bound(&self) -> u64 {
        let clients = self.udp.len() as u64 + 2;
        60 * SECOND + clients * 3 * (self.config.lease_ms * MILLISECOND + 2 * SECOND)
    }

    fn all_served(&self) -> bool {
        self.udp.iter().all(|client| client.served) && self.tcp.iter().all(|client| client.served)
    }

    fn unserved(&self) -> String {
        match self.udp.iter().position(|client| !client.served) {
            Some(at) => format!("UDP client {at}"),
            None => format!("TCP client {}", self.tcp.iter().position(|client| !client.served).unwrap_or(0)),
        }
    }

    /// Nothing is left to ask: what is still in flight arrives, all clients hang up, and the books are closed.
    fn finish(&mut self) -> Result<(), Violation> {
        let mut events = 0;
        while let Some((at, event)) = self.agenda.next(u64::MAX) {
            events += 1;
            if matches!(event, Event::Datagram(_)) && events < LAST_EVENTS_MAX {
                self.step(at, event)?;
            }
        }
        self.hang_up()?;
        let now = self.clock.reading();
        self.look()?;
        self.node.nothing_is_held();
        self.history.close(&self.clock);
        self.check_histories()?;
        self.take_stock();
        self.node.empties(now);
        Ok(())
    }

    fn check_histories(&mut self) -> Result<(), Violation> {
        let evicts = self.config.on_full == OnFull::Evict;
        let mut failed = None;
        for (key, operations) in self.history.by_key() {
            self.report.keys += 1;
            self.report.operations += operations.len() as u64;
            match checker::check(&operations, evicts) {
                Verdict::Explained => {}
                Verdict::Undecided => self.report.undecided += 1,
                Verdict::Impossible { operation } => {
                    let operation = &operations[operation];
                    let Operation { client, action, seen, begun, ended, .. } = operation;
                    let text = format!(
                        "no order of the requests explains what client {client} was answered: {}, asked at \
                         {begun} µs, was answered {} at {ended} µs",
                        brief(action),
                        brief(seen)
                    );
                    failed = failed.or(Some(violation(key, text)));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Takes what one life of the server has counted into the report.
    pub fn take_stock(&mut self) {
        let sessions = self.node.sessions();
        self.report.sessions_opened += sessions.opened();
        self.report.sessions_dropped += sessions.dropped();
        self.report.expired += self.model.expired;
        self.report.expired_fields += self.model.expired_fields;
        self.report.evicted += self.model.evicted;
        self.report.walks += self.model.walks_ended;
        self.report.walked_keys += self.model.walked_keys;
        let store = self.node.store().statistics();
        self.report.refused += store.refused;
        self.report.cleaned_segments += store.cleaned_segments;
        self.report.unread_closed += self.node.closes().write_timeout;
        self.report.crowded_closed += self.node.closes().buffers;
    }

    /// What the run came to.
    pub fn into_report(mut self) -> Report {
        self.report.seeds = 1;
        self.report.simulated_us = self.clock.now;
        self.report.frames = self.frames.tally;
        self.report.injected = self.faults.injected;
        for client in &self.udp {
            self.report.add_client(client);
        }
        self.report
    }

    /// Whether a fault strikes now.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        self.faults.strikes(fault)
    }

    /// Counts and notes a fault that was injected.
    pub fn struck(&mut self, fault: Fault) {
        self.faults.count(fault);
        self.note(b"", |_| format!("*** {}", fault.name()));
    }

    /// For notes.
    pub fn shown(bytes: &[u8]) -> String {
        show(bytes)
    }
}

fn draw_config(swarm: &mut Random) -> NodeConfig {
    // A table of a few places with short leases drives sessions out all the time; the usual one never does.
    let (sessions_max, lease_ms) = swarm.pick(&[(1, 100), (2, 300), (3, 1_000), (4, 5_000), (64, 120_000)]);
    let segment_bytes = swarm.pick(&[2, 4, 4, 8]) * KIB;
    NodeConfig {
        memory_bytes: segment_bytes * swarm.pick(&[0, 60, 120, 300]),
        segment_bytes,
        leaf_buckets: swarm.pick(&[16, 32, 64]),
        on_full: swarm.pick(&[OnFull::Refuse, OnFull::Evict]),
        max_clients: swarm.pick(&[3, 12, 12]),
        request_timeout_ms: swarm.pick(&[300, 10_000]),
        write_timeout_ms: swarm.pick(&[200, 5_000]),
        input_bytes: swarm.pick(&[256, 512]) * KIB,
        output_bytes: swarm.pick(&[16, 64, 256]) * KIB,
        lends: false,
        feed_bytes: FEED_BYTES,
        tracking_bytes: MIB,
        key_events: KeyEvents::default(),
        sessions_max,
        lease_ms,
        password: (swarm.below(5) == 0).then(|| b"secret".to_vec()),
        epoch: swarm.next() as u32 | 1,
        secret: [swarm.next(), swarm.next()],
        hash_secret: [swarm.next(), swarm.next()],
    }
}
