//! Those who wait for a change, over several lives of a server: subscribers, caches in clients, watches on prefixes, with
//! clients that read slowly, are reset and come again; and judges that know every change.
//!
//! ```text
//!  writers, publishers ─▶ ┌──────┐ ─▶ the listener: PSUBSCRIBE *, reads at once          what is published, in order
//!                         │ Node │ ─▶ subscribers, slow ones among them                 the same order, no gap
//!                         │      │ ─▶ trackers: a cache that is told what has changed   never an old value
//!                         └──┬───┘ ─▶ watchers: FROM what they saw last                 every change once, or COMPACTED
//!                            └ every change of the store (the feed, read here at once)
//! ```
//! The whole is held to its promises whenever the server has nothing more to do: whatever it has made for a client by
//! then, sent or not, is what that client could have read.

mod clients;
mod judge;

use super::clock::{Clock, MILLISECOND};
use super::node::{Node, NodeConfig};
use super::violation::{Violation, violation};
use crate::config::KeyEvents;
use crate::connection::{CloseReason, ConnectionId};
use crate::limits::{KIB, MIB};
use crate::random::Random;
use crate::server::Socket;
use crate::store::OnFull;
use crate::store::feed::FEED_BYTES_MIN;
use clients::{Client, Role};
use judge::Truth;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// What a run does before its end.
const STEPS: usize = 1_000;
/// Rounds of the server's loop until it rests, at most: a bound on a loop that ends long before.
const ROUNDS_MAX: usize = 20_000;
/// Connections that run side by side, at most.
const GROUP_MAX: usize = 8;

/// What happened in runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listened {
    pub lives: u64,
    /// Messages and key events that were heard.
    pub messages: u64,
    pub key_events: u64,
    pub expired: u64,
    /// Invalidations of single keys, and of all.
    pub invalidations: u64,
    pub drops: u64,
    /// Cached values that were compared with the store's.
    pub compared: u64,
    /// The same where another connection than the reader's is told, and readers that were told that it is gone.
    pub redirected: u64,
    pub compared_redirected: u64,
    pub broken: u64,
    /// Changes that watches reported, watches that went on behind what they saw, and those that could not.
    pub changes: u64,
    pub resumed: u64,
    pub refused: u64,
    pub compacted: u64,
    /// Clients that were closed because they did not read.
    pub closed: u64,
    /// Runs that ended early: the listener was closed.
    pub abandoned: u64,
}

impl Listened {
    /// Adds up.
    pub fn add(&mut self, other: &Listened) {
        self.lives += other.lives;
        self.messages += other.messages;
        self.key_events += other.key_events;
        self.expired += other.expired;
        self.invalidations += other.invalidations;
        self.drops += other.drops;
        self.compared += other.compared;
        self.redirected += other.redirected;
        self.compared_redirected += other.compared_redirected;
        self.broken += other.broken;
        self.changes += other.changes;
        self.resumed += other.resumed;
        self.refused += other.refused;
        self.compacted += other.compacted;
        self.closed += other.closed;
        self.abandoned += other.abandoned;
    }

    /// What happened in none of the runs.
    #[must_use]
    pub fn never_happened(&self) -> Vec<&'static str> {
        let all = [
            ("messages", self.messages),
            ("key events", self.key_events),
            ("expired", self.expired),
            ("invalidations", self.invalidations),
            ("drops", self.drops),
            ("compared", self.compared),
            ("redirected", self.redirected),
            ("compared where another connection hears", self.compared_redirected),
            ("broken redirections", self.broken),
            ("changes", self.changes),
            ("resumed", self.resumed),
            ("refused", self.refused),
            ("compacted", self.compacted),
            ("closed", self.closed),
        ];
        all.into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

struct Rig {
    random: Random,
    clock: Clock,
    config: NodeConfig,
    node: Node,
    clients: Vec<Client>,
    queue: VecDeque<usize>,
    truth: Truth,
    seen: Listened,
    /// The listener is gone.
    is_over: bool,
}

/// Runs the lives of a seed.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64) -> Result<Listened, Violation> {
    let mut rig = Rig::new(seed);
    rig.begin_life()?;
    for _ in 0..STEPS {
        rig.step()?;
        if rig.is_over {
            return Ok(rig.seen);
        }
    }
    rig.heal()?;
    Ok(rig.seen)
}

fn draw_config(random: &mut Random) -> NodeConfig {
    NodeConfig {
        memory_bytes: 4 * KIB * random.pick(&[0, 120, 300]),
        segment_bytes: 4 * KIB,
        leaf_buckets: 32,
        on_full: random.pick(&[OnFull::Refuse, OnFull::Evict]),
        max_clients: 32,
        request_timeout_ms: 10_000,
        write_timeout_ms: random.pick(&[200, 5_000]),
        input_bytes: 512 * KIB,
        output_bytes: random.pick(&[1, 4]) * MIB,
        lends: false,
        feed_bytes: FEED_BYTES_MIN,
        tracking_bytes: random.pick(&[4, 64]) * KIB,
        key_events: KeyEvents::parse(b"KEA").unwrap_or_default(),
        sessions_max: 1,
        lease_ms: 1_000,
        password: None,
        epoch: random.next() as u32 & 0xffff | 1,
        secret: [random.next(), random.next()],
        hash_secret: [random.next(), random.next()],
    }
}

impl Rig {
    fn new(seed: u64) -> Rig {
        let mut random = Random(seed);
        let config = draw_config(&mut random);
        let mut clients = vec![Client::new(Role::Listener)];
        for (kind, most) in [(0, 3), (1, 3), (2, 3), (3, 3)] {
            for _ in 0..1 + random.below(most) {
                clients.push(Client::draw(kind, &mut random));
            }
        }
        for _ in 0..random.below(3) {
            clients.extend(Client::draw_redirecting(&mut random));
        }
        Rig {
            node: Node::new(&config),
            clock: Clock::new(),
            truth: Truth::default(),
            seen: Listened::default(),
            is_over: false,
            queue: VecDeque::new(),
            random,
            config,
            clients,
        }
    }

    /// The listener is there before all others.
    fn begin_life(&mut self) -> Result<(), Violation> {
        self.truth.begin_life();
        self.seen.lives += 1;
        self.connect(0);
        self.turn()
    }

    fn step(&mut self) -> Result<(), Violation> {
        let at = 1 + self.random.below(self.clients.len() - 1);
        match self.random.below(200) {
            0..100 => {
                self.ask(at);
                Ok(())
            }
            100..145 => self.turn(),
            145..175 => self.take(at),
            175..194 => {
                self.clock.now += self.random.exponential(20 * MILLISECOND);
                Ok(())
            }
            194..196 => {
                self.clients[at].is_slow ^= true;
                Ok(())
            }
            196..198 => self.reset(at),
            198 => {
                self.clock.now += self.random.exponential(1_000 * MILLISECOND);
                Ok(())
            }
            _ if self.random.below(6) == 0 => self.restart(),
            _ => Ok(()),
        }
    }

    /// A client sends something, or connects.
    fn ask(&mut self, at: usize) {
        if self.clients[at].id.is_none() {
            self.connect(at);
            return;
        }
        let Rig { random, truth, clients, .. } = self;
        clients[at].ask(random, truth);
    }

    fn connect(&mut self, at: usize) {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1_000 + at as u16));
        if let Ok(id) = self.node.open(peer, self.clock.reading()) {
            let Rig { random, truth, clients, .. } = self;
            clients[at].connected(id, random, truth);
            self.queue.push_back(at);
        }
    }

    /// A client takes something of what it was sent.
    fn take(&mut self, at: usize) -> Result<(), Violation> {
        let Rig { random, truth, clients, seen, .. } = self;
        clients[at].take(random, truth, seen)?;
        self.queue.push_back(at);
        Ok(())
    }

    fn reset(&mut self, at: usize) -> Result<(), Violation> {
        if let Some(id) = self.clients[at].id {
            self.node.failed(id);
            self.clients[at].lost();
            self.published()?;
        }
        Ok(())
    }

    /// The server's process dies, and another one begins.
    fn restart(&mut self) -> Result<(), Violation> {
        self.clients.iter_mut().for_each(Client::lost);
        self.queue.clear();
        self.config.epoch = self.config.epoch.wrapping_add(2);
        self.node = Node::new(&self.config);
        self.begin_life()
    }

    /// What the store has changed since.
    fn published(&mut self) -> Result<(), Violation> {
        self.truth.take(self.node.take_log()?);
        Ok(())
    }

    /// The server's loop, until there is nothing more to do; then everybody is held to what was promised.
    fn turn(&mut self) -> Result<(), Violation> {
        self.queue.extend(0..self.clients.len());
        for _ in 0..ROUNDS_MAX {
            let mut batch: Vec<usize> = Vec::new();
            while batch.len() < GROUP_MAX
                && let Some(at) = self.queue.pop_front()
            {
                if self.clients[at].id.is_some() && !batch.contains(&at) {
                    batch.push(at);
                }
            }
            self.run(&batch)?;
            let more = self.node.maintain(self.clock.reading(), 16);
            self.published()?;
            self.take_attention();
            if self.queue.is_empty() && !more {
                self.node.handle_deadlines(self.clock.reading());
                self.take_attention();
                self.close_finished()?;
                return self.judge();
            }
        }
        Err(violation(b"", "the server never rests"))
    }

    fn take_attention(&mut self) {
        while let Some(id) = self.node.poll_wake() {
            self.queue.extend(self.clients.iter().position(|client| client.id == Some(id)));
        }
    }

    fn run(&mut self, batch: &[usize]) -> Result<(), Violation> {
        let now = self.clock.reading();
        for at in batch {
            let client = &mut self.clients[*at];
            let Some(id) = client.id else { continue };
            let taken = self.node.receive(id, &client.up, now);
            client.up.drain(..taken);
            self.node.left(id, !client.up.is_empty());
        }
        let ids: Vec<ConnectionId> = batch.iter().filter_map(|at| self.clients[*at].id).collect();
        let (mut done, mut unfinished) = (0, Vec::new());
        while done < ids.len() {
            self.node.run_batch(&ids[done..], now, &mut unfinished);
            done += self.node.batch_order().len();
            self.published()?;
        }
        for at in batch {
            self.write(*at)?;
        }
        let more = |client: &Client| client.id.is_some_and(|id| unfinished.contains(&id));
        self.queue.extend((0..self.clients.len()).filter(|at| more(&self.clients[*at])));
        Ok(())
    }

    /// Notes what the server has made for a client, and sends it as far as its side takes it.
    fn write(&mut self, at: usize) -> Result<(), Violation> {
        let now = self.clock.reading();
        self.hear(0)?;
        self.hear(at)?;
        let Some(id) = self.clients[at].id else { return Ok(()) };
        let mut sent_any = false;
        loop {
            let client = &mut self.clients[at];
            let (_, taken) = self.node.send(id, client.room, now);
            if taken.is_empty() {
                break;
            }
            sent_any = true;
            client.sent(&taken);
        }
        if at == 0 {
            self.clients[0].drain();
        }
        let client = &self.clients[at];
        let socket = Socket { readable: !client.up.is_empty(), writable: client.room > 0, sent_any };
        if self.node.can_go_on(id, socket) {
            self.queue.push_back(at);
        }
        self.close_finished()
    }

    fn close_finished(&mut self) -> Result<(), Violation> {
        for at in 0..self.clients.len() {
            if let Some(id) = self.clients[at].id
                && let Some(reason) = self.node.close_if_finished(id)
            {
                if at == 0 && reason != CloseReason::SlowSubscriber {
                    let text = format!("the listener reads at once, and was closed: {}", reason.text());
                    return Err(violation(b"", text));
                }
                // More was published in one step than may wait for anybody: it learns so by the close, and the run has no judge.
                self.is_over |= at == 0;
                self.seen.abandoned += u64::from(at == 0);
                self.seen.closed += 1;
                self.clients[at].lost();
            }
        }
        Ok(())
    }

    /// What has been made for a client, sent or not.
    fn hear(&mut self, at: usize) -> Result<(), Violation> {
        let Rig { clients, node, truth, seen, .. } = self;
        let Some(id) = clients[at].id.filter(|id| !node.is_finished(*id)) else { return Ok(()) };
        clients[at].hear(&node.pending(id), truth, seen)
    }

    /// Everybody who could have read everything knows what there is to know.
    fn judge(&mut self) -> Result<(), Violation> {
        for at in 0..self.clients.len() {
            self.hear(at)?;
        }
        if self.is_over {
            return Ok(());
        }
        self.truth.nothing_is_owed()?;
        let unix = self.clock.reading().unix.0;
        let mut before_is_whole = false;
        for client in &mut self.clients {
            let mut whole =
                client.id.is_some_and(|id| !self.node.is_finished(id) && !self.node.is_replying(id));
            // A target stands before its reader.
            whole &= before_is_whole || !client.depends_on_its_target();
            before_is_whole = whole;
            client.judge(whole, unix, &self.truth, &mut self.seen)?;
        }
        self.truth.end_turn();
        Ok(())
    }

    /// Every client reads everything; then a watch has reported all that there was.
    fn heal(&mut self) -> Result<(), Violation> {
        self.clients.iter_mut().for_each(|client| client.is_slow = false);
        for _ in 0..ROUNDS_MAX {
            self.turn()?;
            if self.clients.iter().all(Client::has_read_everything) {
                break;
            }
            for at in 0..self.clients.len() {
                self.take(at)?;
            }
        }
        self.turn()?;
        if self.is_over {
            return Ok(());
        }
        self.node.invariants();
        for client in &self.clients {
            client.has_missed_nothing(&self.truth)?;
        }
        (0..self.clients.len()).try_for_each(|at| self.reset(at))?;
        self.clock.now += MILLISECOND;
        self.node.maintain(self.clock.reading(), 16);
        self.node.nothing_is_held();
        Ok(())
    }
}
