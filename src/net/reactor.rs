//! The one loop: a `mio::Poll` over the listener, the clients, and the signals. A turn goes through phases, each over
//! all connections that are ready, so that what a turn costs once is shared:
//!
//! ```text
//!  poll ─▶ clock ─▶ events mark readiness ─▶ for groups of ready clients: read all, run all, write all
//!                                              ─▶ accept ─▶ time limits ─▶ maintenance ─▶ close
//! ```
//!
//! Connections with work left over stay in the queue of [`Peers`], and then the next poll does not wait.

use super::StartError;
use super::acceptor::Acceptor;
use super::admin::{AdminPort, CONNECTIONS_MAX};
use super::clock::Clock;
use super::listener::Listener;
use super::log_level;
use super::loop_stats::LoopStats;
use super::peers::{FIRST_TOKEN, GROUP_LEN, Peers};
use super::persistence::Persistence;
use super::refusals::{Change, Refusals};
use super::signal::Signals;
use super::udp::UdpPort;
use crate::admin::Readiness;
use crate::config::LogLevel;
use crate::connection::ConnectionId;
use crate::engine::persistence::{Persistence as EnginePersistence, Stage};
use crate::journal::WriteGate;
use crate::mutation::Database;
use crate::server::Server;
use crate::time::{Millis, Now};
use mio::{Events, Interest, Poll, Token, Waker};
use std::io;
use std::time::Duration;

const LISTENER: Token = Token(0);
const STOP_SIGNAL: Token = Token(1);
const RELOAD_SIGNAL: Token = Token(2);
const DATAGRAMS: Token = Token(3);
/// The admin port's listener; its connections follow, then the clients.
const ADMIN: Token = Token(4);
/// The disk's thread has a report.
const DISK: Token = Token(FIRST_TOKEN - 1);

/// Events taken from one poll.
const EVENTS_PER_TURN: usize = 1024;
/// Steps of maintenance after each turn.
const MAINTENANCE_STEPS: usize = 4;
/// How long stopping waits for replies to be taken.
const STOP_MS: u64 = 800;

/// The sockets that a loop starts with.
pub struct Sockets {
    /// Where TCP clients come in.
    pub listener: Listener,
    /// Where datagrams come in, if they do.
    pub udp: Option<UdpPort>,
    /// Where probes and scrapes come in, if they do.
    pub admin: Option<AdminPort>,
    /// Where signals come in.
    pub signals: Signals,
}

/// The loop and all it owns.
pub struct Reactor {
    poll: Poll,
    clock: Clock,
    acceptor: Acceptor,
    udp: Option<UdpPort>,
    admin: Option<AdminPort>,
    persistence: Option<Persistence>,
    signals: Signals,
    loop_stats: LoopStats,
    server: Server,
    peers: Peers,
    /// The clients that are served just now; kept for its memory.
    group: Vec<ConnectionId>,
    /// Of a group, those that had more to do than fits a turn.
    unfinished: Vec<ConnectionId>,
    /// As CONFIG SET left it.
    log_level: LogLevel,
    refusals: Refusals,
    /// Set while stopping: when waiting for replies to be taken ends.
    stop_at: Option<Millis>,
}

impl Reactor {
    /// A loop over an open listener.
    ///
    /// # Errors
    /// What the system says when the poll or a registration cannot be had.
    pub fn new(sockets: Sockets, server: Server, max_clients: usize) -> io::Result<Reactor> {
        let Sockets { listener, mut udp, mut admin, mut signals } = sockets;
        let poll = Poll::new()?;
        let log_level = server.engine().runtime.log_level;
        let registry = poll.registry();
        let mut acceptor = Acceptor::new(listener);
        acceptor.register(registry, LISTENER)?;
        if let Some(udp) = &mut udp {
            registry.register(udp.source(), DATAGRAMS, Interest::READABLE)?;
        }
        if let Some(admin) = &mut admin {
            admin.register(registry, ADMIN)?;
        }
        for (source, token) in signals.sources().into_iter().zip([STOP_SIGNAL, RELOAD_SIGNAL]) {
            registry.register(source, token, Interest::READABLE)?;
        }
        Ok(Reactor {
            poll,
            clock: Clock::start(),
            acceptor,
            udp,
            admin,
            persistence: None,
            signals,
            loop_stats: LoopStats::default(),
            server,
            peers: Peers::new(max_clients),
            group: Vec::with_capacity(GROUP_LEN),
            unfinished: Vec::with_capacity(GROUP_LEN),
            log_level,
            refusals: Refusals::default(),
            stop_at: None,
        })
    }

    /// What the disk's thread wakes this loop with.
    ///
    /// # Errors
    /// What the system says.
    pub fn disk_waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), DISK)
    }

    /// From now on it loads, and then keeps, what is in a data directory.
    pub fn remember(&mut self, persistence: Persistence) {
        persistence.begin(&mut self.server);
        self.persistence = Some(persistence);
    }

    /// Serves until a signal or SHUTDOWN ends it and the replies in flight are flushed.
    ///
    /// # Errors
    /// Polling fails, or a data directory cannot be loaded.
    pub fn run(&mut self) -> Result<(), StartError> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut more_maintenance = false;
        let mut now = self.clock.now();
        loop {
            let timeout = self.timeout(now, more_maintenance);
            let polled = self.poll.poll(&mut events, timeout);
            let began_us;
            (now, began_us) = self.clock.turn();
            match polled {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(|error| StartError(format!("polling failed: {error}")))?,
            }
            if let Some(persistence) = &mut self.persistence {
                persistence.turn(&mut self.server, now)?;
            }
            if let Some(admin) = &mut self.admin {
                admin.tick(&mut self.server, now);
            }
            self.mark_ready(&events, now);
            self.serve_ready(now);
            if let Some(udp) = &mut self.udp {
                udp.serve(&mut self.server, now);
            }
            self.acceptor.accept(&mut self.server, &mut self.peers, self.poll.registry(), now);
            // After reading: what arrived while this process was stopped is not the client's delay.
            self.server.handle_deadlines(now);
            more_maintenance = self.server.maintain(now, MAINTENANCE_STEPS);
            self.collect_changes(now);
            self.take_attention(now);
            self.follow_log_level();
            self.log_refusals(now.monotonic);
            self.serve_admin(now);
            if self.server.stop_requested() {
                self.begin_stop(now.monotonic, "SHUTDOWN");
            }
            if self.has_stopped(now.monotonic) {
                if let Some(persistence) = &mut self.persistence {
                    persistence.stop(&mut self.server, now);
                }
                return Ok(());
            }
            let process_stats = &mut self.server.engine_mut().process_stats;
            let took_us = self.clock.micros().saturating_sub(began_us);
            self.loop_stats.record_turn(now.monotonic.0, took_us, process_stats);
            // How long the poll may wait counts from here: the turn's own reading, moved on, saves one of both clocks.
            now.monotonic = now.monotonic.plus(took_us / 1_000);
            now.unix = now.unix.plus(took_us / 1_000);
        }
    }

    /// What has changed goes on its way to the disk.
    fn collect_changes(&mut self, now: Now) {
        if let Some(persistence) = &mut self.persistence {
            persistence.collect(&mut self.server, now);
        }
    }

    fn serve_admin(&mut self, now: Now) {
        let Reactor { admin: Some(admin), poll, server, udp, stop_at, .. } = self else { return };
        let udp_failure = udp.as_ref().and_then(|udp| udp.failure(now.monotonic));
        let readiness = match (stop_at, udp_failure) {
            (Some(_), _) => Readiness::Draining { connections: server.connection_count() },
            (None, Some((error, times))) => Readiness::UdpFails { error, times },
            (None, None) => readiness(&server.engine().persistence),
        };
        admin.serve(server, poll.registry(), readiness, now);
    }

    /// CONFIG SET loglevel works from the next turn on.
    fn follow_log_level(&mut self) {
        let level = self.server.engine().runtime.log_level;
        if level != self.log_level {
            self.log_level = level;
            log::set_max_level(log_level::filter(level));
        }
    }

    fn log_refusals(&mut self, now: Millis) {
        let store = &self.server.engine().store;
        match self.refusals.tick(store.statistics().refused, now) {
            None => {}
            Some(Change::Began) => {
                let databases = (0..self.server.engine().options().databases).map(Database);
                let keys: u64 = databases.map(|db| store.len(db)).sum();
                log::warn!(
                    reason = "memory-full", keys;
                    "memory is full: writes are refused until keys are deleted or expire (keys: {keys}); raise --memory, \
                     shorten times to live, or use --on-full evict"
                );
            }
            Some(Change::Ended { count, span_ms }) => {
                let span_s = span_ms.div_ceil(1_000);
                log::warn!(
                    refused = count, span_s;
                    "writes are no longer refused: {count} were, within {span_s} s"
                );
            }
        }
    }

    fn timeout(&self, now: Now, more_maintenance: bool) -> Option<Duration> {
        let accepting = self.acceptor.poll_timeout();
        let datagrams = self.udp.as_ref().is_some_and(|udp| udp.readable);
        let persistence = self.persistence.as_ref();
        let has_work = more_maintenance || persistence.is_some_and(Persistence::has_work);
        if has_work || self.peers.queued_count() > 0 || datagrams || accepting == Some(Duration::ZERO) {
            return Some(Duration::ZERO);
        }
        let admin = self.admin.as_ref().and_then(|admin| admin.next_deadline(&self.server, now.monotonic));
        let udp = self.udp.as_ref().and_then(|udp| udp.next_deadline(now.monotonic));
        let refusals = self.refusals.next_deadline();
        let journal = persistence.and_then(Persistence::next_deadline);
        let deadlines = [self.server.poll_deadline(now), self.stop_at, admin, udp, refusals, journal];
        let deadline = deadlines.into_iter().flatten().min();
        let wait = deadline.map(|at| Duration::from_millis(at.since(now.monotonic)));
        [wait, accepting].into_iter().flatten().min()
    }

    /// Notes what the events say; nothing is read or written yet.
    fn mark_ready(&mut self, events: &Events, now: Now) {
        self.acceptor.retry();
        for event in events {
            match event.token() {
                LISTENER => self.acceptor.mark_ready(),
                DATAGRAMS => {
                    if let Some(udp) = &mut self.udp {
                        udp.readable = true;
                    }
                }
                STOP_SIGNAL | RELOAD_SIGNAL => self.take_signals(now),
                // It has done its work by ending the wait.
                DISK => {}
                token if token.0 < FIRST_TOKEN => {
                    if let Some(admin) = &mut self.admin {
                        admin.mark_ready(token, event.is_readable(), event.is_writable());
                    }
                }
                _ => self.peers.mark_ready(event),
            }
        }
    }

    fn take_signals(&mut self, now: Now) {
        let (stops, reload) = self.signals.take();
        if reload {
            self.signals.reload(&mut self.server, self.admin.as_mut());
            self.log_level = self.server.engine().runtime.log_level;
        }
        if stops == 0 {
            return;
        }
        if self.stop_at.is_some() || stops > 1 {
            log::warn!("a second signal: ending at once");
            self.stop_at = Some(Millis(0));
        } else {
            self.begin_stop(now.monotonic, "a signal");
        }
    }

    fn take_attention(&mut self, now: Now) {
        // What was published goes out in the turn in which it was, without a poll in between.
        while let Some(id) = self.server.poll_unsent() {
            self.write(&[id], now);
        }
        while let Some(id) = self.server.poll_wake() {
            self.peers.enqueue(id);
        }
    }

    /// Goes once through the connections that are ready now, in groups.
    fn serve_ready(&mut self, now: Now) {
        let mut left = self.peers.queued_count();
        while left > 0 {
            left -= self.peers.next_group(&mut self.group, left);
            let group = std::mem::take(&mut self.group);
            let mut rest = &group[..];
            while !rest.is_empty() {
                let (read, others) = rest.split_at(self.peers.read_some(&mut self.server, rest, now));
                self.serve_group(read, now);
                rest = others;
            }
            self.group = group;
        }
    }

    /// Runs what these clients have sent and writes their replies: all together, or where the replies are long, as they
    /// are made.
    fn serve_group(&mut self, group: &[ConnectionId], now: Now) {
        self.unfinished.clear();
        let (mut unwritten, mut rest) = (group, group);
        while !rest.is_empty() {
            rest = self.server.run_batch(rest, now, &mut self.unfinished);
            if rest.is_empty() || self.server.output_is_crowded() {
                let (ran, others) = unwritten.split_at(unwritten.len() - rest.len());
                self.write(ran, now);
                unwritten = others;
            }
        }
        for &id in &self.unfinished {
            self.peers.enqueue(id);
        }
        self.collect_changes(now);
    }

    fn write(&mut self, group: &[ConnectionId], now: Now) {
        for &id in group {
            self.peers.write(&mut self.server, id, now);
            if self.server.is_finished(id) && self.peers.close(&mut self.server, id) {
                self.acceptor.descriptor_freed();
            }
        }
    }

    /// No new connections; what is waiting is flushed.
    fn begin_stop(&mut self, now: Millis, why: &str) {
        if self.stop_at.is_some() {
            return;
        }
        let connections = self.server.connection_count();
        log::info!(reason = why, connections; "stopping on {why}; connections to flush: {connections}");
        self.stop_at = Some(now.plus(STOP_MS));
        self.acceptor.close(self.poll.registry());
        if let Some(mut udp) = self.udp.take() {
            let _ = self.poll.registry().deregister(udp.source());
        }
        self.group.clear();
        self.group.extend(self.peers.ids());
        for &id in &self.group {
            self.server.stop(id);
            self.peers.enqueue(id);
        }
    }

    fn has_stopped(&mut self, now: Millis) -> bool {
        let Some(stop_at) = self.stop_at else { return false };
        let open = self.server.connection_count();
        if open > 0 && now < stop_at {
            return false;
        }
        match open {
            0 => log::info!("stopped"),
            count => {
                log::info!(connections = count; "stopped; clients that had not taken their replies: {count}")
            }
        }
        true
    }
}

const _: () = assert!(ADMIN.0 + CONNECTIONS_MAX < DISK.0);

/// What the data directory has to say to a probe.
fn readiness(persistence: &EnginePersistence) -> Readiness {
    match (persistence.stage, persistence.status.and_then(|status| status.last_error)) {
        (Stage::Loading { done, total }, _) => Readiness::Loading { percent: done * 100 / total.max(1) },
        (Stage::Serving, Some(error)) if persistence.gate == WriteGate::Refuse => Readiness::DiskFails(error),
        _ => Readiness::Ready,
    }
}
