//! The one loop: a `mio::Poll` over the listener, the clients, and the signals. A turn goes through phases, each over
//! all connections that are ready, so that what a turn costs once is shared:
//!
//! ```text
//!  poll ─▶ clock ─▶ events mark readiness ─▶ for groups of ready clients: read all, run all, write all
//!                                              ─▶ accept ─▶ time limits ─▶ maintenance ─▶ close
//! ```
//!
//! mio is edge-triggered: a flag of readiness is cleared only by `WouldBlock`, or by a read shorter than its room, which
//! on Linux means drained unless the peer has closed. Connections with work left over stay in the run queue, and
//! then the next poll does not wait.

use super::admin::{AdminPort, VISITORS};
use super::clock::{Clock, micros};
use super::listener::{Accepted, Listener, farewell};
use super::signal::Signals;
use super::turns::Turns;
use super::udp::UdpPort;
use crate::admin::LoopState;
use crate::connection::{CloseReason, ConnectionId};
use crate::engine::settings::LogLevel;
use crate::server::{Server, Socket, TOO_MANY_CLIENTS};
use crate::time::{Millis, Now};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

const LISTENER: Token = Token(0);
const STOP_SIGNAL: Token = Token(1);
const RELOAD_SIGNAL: Token = Token(2);
const DATAGRAMS: Token = Token(3);
/// The admin port's listener; its connections follow.
const ADMIN: Token = Token(4);
/// Tokens from here on are connections: the slot plus this, the generation above it.
const FIRST_CONNECTION: usize = 16;

/// Events taken from one poll.
const EVENTS_PER_TURN: usize = 1024;
/// Clients whose bytes are read before any of their commands run; bounds the input buffers in use at once.
const GROUP_LEN: usize = 64;
/// Clients accepted in one turn.
const ACCEPTS_PER_TURN: usize = 64;
/// Bytes written to one client in one turn, so that a reader of large values does not hold the others up.
const WRITE_BYTES_PER_TURN: usize = 256 * 1024;
/// Bytes of a large value read from one client in one turn.
const BODY_BYTES_PER_TURN: usize = 256 * 1024;
/// Slices given to one write.
const SLICES: usize = 64;
/// Steps of maintenance after each turn.
const MAINTENANCE_STEPS: usize = 4;
/// How long stopping waits for replies to be taken.
const STOP_MS: u64 = 800;
/// How long an accept that found no descriptor waits for one, unless a client closes before.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A client's socket and what is known of its readiness.
struct Peer {
    stream: TcpStream,
    generation: u32,
    readable: bool,
    writable: bool,
    /// The peer closed its side: a short read does not mean drained.
    read_closed: bool,
    /// In the run queue.
    queued: bool,
}

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
    listener: Option<Listener>,
    udp: Option<UdpPort>,
    admin: Option<AdminPort>,
    signals: Signals,
    turns: Turns,
    server: Server,
    peers: Vec<Option<Peer>>,
    ready: VecDeque<ConnectionId>,
    group: Vec<ConnectionId>,
    /// Of a group, those that had more to do than fits a turn.
    unfinished: Vec<ConnectionId>,
    accept_starved: bool,
    /// As CONFIG SET left it.
    log_level: LogLevel,
    /// Set while stopping: when waiting for replies to be taken ends.
    stop_at: Option<Millis>,
}

impl Reactor {
    /// A loop over an open listener.
    ///
    /// # Errors
    /// What the system says when the poll or a registration cannot be had.
    pub fn new(sockets: Sockets, server: Server, max_clients: usize) -> io::Result<Reactor> {
        let Sockets { mut listener, mut udp, mut admin, mut signals } = sockets;
        let poll = Poll::new()?;
        let log_level = server.engine().settings.log_level;
        let registry = poll.registry();
        registry.register(listener.source(), LISTENER, Interest::READABLE)?;
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
            listener: Some(listener),
            udp,
            admin,
            signals,
            turns: Turns::default(),
            server,
            peers: Vec::with_capacity(max_clients),
            ready: VecDeque::with_capacity(max_clients),
            group: Vec::with_capacity(GROUP_LEN),
            unfinished: Vec::with_capacity(GROUP_LEN),
            accept_starved: false,
            log_level,
            stop_at: None,
        })
    }

    /// Serves until a signal or SHUTDOWN ends it and the replies in flight are flushed.
    ///
    /// # Errors
    /// What the system says when polling fails.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut more_maintenance = false;
        loop {
            let now = self.clock.now();
            let timeout = self.timeout(now, more_maintenance);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let began_us = micros();
            let now = self.clock.now();
            self.mark_ready(&events, now);
            self.server.handle_deadlines(now);
            self.take_attention();
            self.serve_ready(now);
            if let Some(udp) = &mut self.udp {
                udp.serve(&mut self.server, now);
            }
            self.accept(now);
            more_maintenance = self.server.maintain(now, MAINTENANCE_STEPS);
            self.take_attention();
            self.follow_log_level();
            self.serve_admin(now);
            if self.server.stop_requested() {
                self.begin_stop(now.monotonic, "SHUTDOWN");
            }
            if self.has_stopped(now.monotonic) {
                return Ok(());
            }
            self.turns.took(now.monotonic.0, micros().saturating_sub(began_us));
        }
    }

    fn serve_admin(&mut self, now: Now) {
        let Reactor { admin: Some(admin), poll, server, turns, stop_at, .. } = self else { return };
        let state = LoopState {
            ready: stop_at.is_none(),
            turns: turns.count,
            busy_us: turns.busy_us,
            slowest_us: turns.slowest_us(),
        };
        admin.serve(server, poll.registry(), &state, now);
    }

    /// CONFIG SET loglevel works from the next turn on.
    fn follow_log_level(&mut self) {
        let level = self.server.engine().settings.log_level;
        if level != self.log_level {
            self.log_level = level;
            log::set_max_level(match level {
                LogLevel::Debug => log::LevelFilter::Trace,
                LogLevel::Verbose => log::LevelFilter::Debug,
                LogLevel::Notice => log::LevelFilter::Info,
                LogLevel::Warning => log::LevelFilter::Warn,
            });
        }
    }

    fn timeout(&self, now: Now, more_maintenance: bool) -> Option<Duration> {
        let accepting =
            !self.accept_starved && self.listener.as_ref().is_some_and(|listener| listener.waiting);
        let datagrams = self.udp.as_ref().is_some_and(|udp| udp.readable);
        if more_maintenance || !self.ready.is_empty() || accepting || datagrams {
            return Some(Duration::ZERO);
        }
        let admin = self.admin.as_ref().and_then(|admin| admin.next_deadline(now.monotonic));
        let deadline = [self.server.poll_deadline(now), self.stop_at, admin].into_iter().flatten().min();
        let wait = deadline.map(|at| Duration::from_millis(at.since(now.monotonic)));
        if self.accept_starved {
            Some(wait.map_or(ACCEPT_RETRY, |wait| wait.min(ACCEPT_RETRY)))
        } else {
            wait
        }
    }

    /// Notes what the events say; nothing is read or written yet.
    fn mark_ready(&mut self, events: &Events, now: Now) {
        self.accept_starved = false;
        for event in events {
            match event.token() {
                LISTENER => {
                    if let Some(listener) = &mut self.listener {
                        listener.waiting = true;
                    }
                }
                DATAGRAMS => {
                    if let Some(udp) = &mut self.udp {
                        udp.readable = true;
                    }
                }
                STOP_SIGNAL | RELOAD_SIGNAL => self.take_signals(now),
                token if token.0 < FIRST_CONNECTION => {
                    if let Some(admin) = &mut self.admin {
                        admin.mark_ready(token, event.is_readable(), event.is_writable());
                    }
                }
                Token(token) => {
                    let index = (token - FIRST_CONNECTION) & (u32::MAX as usize);
                    let Some(Some(peer)) = self.peers.get_mut(index) else { continue };
                    let generation = peer.generation;
                    if token_of(index, generation) != event.token() {
                        continue;
                    }
                    peer.readable |= event.is_readable();
                    peer.writable |= event.is_writable();
                    peer.read_closed |= event.is_read_closed() || event.is_error();
                    self.enqueue(ConnectionId { index: index as u32, generation });
                }
            }
        }
    }

    fn take_signals(&mut self, now: Now) {
        let (stops, reload) = self.signals.take();
        if reload {
            log::info!("SIGHUP: nothing to read again");
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

    fn enqueue(&mut self, id: ConnectionId) {
        if let Some(Some(peer)) = self.peers.get_mut(id.index as usize)
            && peer.generation == id.generation
            && !peer.queued
        {
            peer.queued = true;
            self.ready.push_back(id);
        }
    }

    fn take_attention(&mut self) {
        while let Some(id) = self.server.poll_attention() {
            self.enqueue(id);
        }
    }

    /// Goes once through the connections that are ready now, in groups.
    fn serve_ready(&mut self, now: Now) {
        let mut left = self.ready.len();
        while left > 0 {
            let mut group = std::mem::take(&mut self.group);
            group.clear();
            while left > 0 && group.len() < GROUP_LEN {
                left -= 1;
                if let Some(id) = self.ready.pop_front()
                    && let Some(Some(peer)) = self.peers.get_mut(id.index as usize)
                    && peer.generation == id.generation
                {
                    peer.queued = false;
                    group.push(id);
                }
            }
            for &id in &group {
                self.read(id, now);
            }
            let mut unfinished = std::mem::take(&mut self.unfinished);
            unfinished.clear();
            self.server.run_group(&group, now, &mut unfinished);
            for &id in &unfinished {
                self.enqueue(id);
            }
            self.unfinished = unfinished;
            for &id in &group {
                self.write(id, now);
            }
            self.group = group;
        }
    }

    /// Reads a ready socket: once, or while a large value comes in, up to this turn's share of it.
    fn read(&mut self, id: ConnectionId, now: Now) {
        let mut left = BODY_BYTES_PER_TURN;
        while let Some(len) = self.read_once(id, now) {
            left = left.saturating_sub(len);
            if left == 0 || !self.server.has_body(id) {
                return;
            }
        }
    }

    /// The bytes of one read; `None`: nothing came, or nothing more is there.
    fn read_once(&mut self, id: ConnectionId, now: Now) -> Option<usize> {
        let Some(Some(peer)) = self.peers.get_mut(id.index as usize) else { return None };
        if !peer.readable {
            return None;
        }
        let space = self.server.input_space(id, now)?;
        let room = space.len();
        match peer.stream.read(space) {
            Ok(0) => {
                peer.readable = false;
                self.server.input_ended(id);
                None
            }
            Ok(len) => {
                peer.readable = len == room || peer.read_closed;
                self.server.input_received(id, len, now);
                (len == room).then_some(len)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                peer.readable = false;
                None
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(error) => {
                self.fail(id, &error);
                None
            }
        }
    }

    /// Writes what waits, closes what is finished, and puts back into the queue what can go on at once.
    fn write(&mut self, id: ConnectionId, now: Now) {
        let mut left = WRITE_BYTES_PER_TURN;
        let mut sent_any = false;
        loop {
            let Some(Some(peer)) = self.peers.get_mut(id.index as usize) else { return };
            if !peer.writable {
                break;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.server.output(id, &mut slices);
            if count == 0 || left == 0 {
                break;
            }
            let offered: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            match peer.stream.write_vectored(&slices[..count]) {
                Ok(len) => {
                    peer.writable = len == offered;
                    left = left.saturating_sub(len);
                    self.server.output_sent(id, len, now);
                    sent_any = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    peer.writable = false;
                    self.server.output_blocked(id, now);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.fail(id, &error);
                    break;
                }
            }
        }
        if self.server.is_finished(id) {
            return self.close(id);
        }
        let Some(Some(peer)) = self.peers.get(id.index as usize) else { return };
        let socket = Socket { readable: peer.readable, writable: peer.writable, sent_any };
        if self.server.can_go_on(id, socket) {
            self.enqueue(id);
        }
    }

    fn fail(&mut self, id: ConnectionId, error: &io::Error) {
        log::debug!("connection {}: {error}", id.index);
        if let Some(Some(peer)) = self.peers.get_mut(id.index as usize) {
            peer.readable = false;
            peer.writable = false;
        }
        self.server.socket_failed(id);
    }

    fn close(&mut self, id: ConnectionId) {
        let Some(slot) = self.peers.get_mut(id.index as usize) else { return };
        let Some(mut peer) = slot.take_if(|peer| peer.generation == id.generation) else { return };
        if let Some(connection) = self.server.get(id) {
            let reason = connection.closing().unwrap_or(CloseReason::PeerClosed);
            log::info!("{} closed: {}", connection.peer(), reason.text());
            if reason != CloseReason::PeerClosed && reason != CloseReason::Failed {
                farewell(&mut peer.stream);
            }
        }
        let _ = self.poll.registry().deregister(&mut peer.stream);
        self.server.close(id);
        drop(peer);
        if let Some(listener) = &mut self.listener {
            listener.restore_reserve();
        }
        self.accept_starved = false;
    }

    fn accept(&mut self, now: Now) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &mut self.listener else { return };
            if !listener.waiting {
                return;
            }
            match listener.accept() {
                Accepted::Client(stream, address) => self.admit(stream, address, now),
                Accepted::TurnedAway(stream, address) => {
                    log::warn!(
                        "{address} turned away: out of file descriptors (raise the limit on open files)"
                    );
                    turn_away(stream, TOO_MANY_CLIENTS);
                    if let Some(listener) = &mut self.listener {
                        listener.restore_reserve();
                    }
                }
                Accepted::Nobody => {}
                Accepted::NoDescriptors => {
                    self.accept_starved = true;
                    return;
                }
            }
        }
    }

    fn admit(&mut self, mut stream: TcpStream, address: SocketAddr, now: Now) {
        let id = match self.server.open(address, now) {
            Ok(id) => id,
            Err(refusal) => {
                log::warn!("{address} turned away: as many clients as --max-clients allows");
                return turn_away(stream, refusal);
            }
        };
        let index = id.index as usize;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) =
            self.poll.registry().register(&mut stream, token_of(index, id.generation), interest)
        {
            log::error!("{address}: cannot be watched: {error}");
            return self.server.close(id);
        }
        log::info!("{address} connected");
        while self.peers.len() <= index {
            self.peers.push(None);
        }
        self.peers[index] = Some(Peer {
            stream,
            generation: id.generation,
            readable: false,
            writable: true,
            read_closed: false,
            queued: false,
        });
    }

    /// No new connections; what is waiting is flushed.
    fn begin_stop(&mut self, now: Millis, why: &str) {
        if self.stop_at.is_some() {
            return;
        }
        log::info!("stopping on {why}; connections to flush: {}", self.server.connection_count());
        self.stop_at = Some(now.plus(STOP_MS));
        if let Some(mut listener) = self.listener.take() {
            let _ = self.poll.registry().deregister(listener.source());
        }
        if let Some(mut udp) = self.udp.take() {
            let _ = self.poll.registry().deregister(udp.source());
        }
        for index in 0..self.peers.len() {
            let Some(peer) = &self.peers[index] else { continue };
            let id = ConnectionId { index: index as u32, generation: peer.generation };
            self.server.stop(id);
            self.enqueue(id);
        }
    }

    fn has_stopped(&mut self, now: Millis) -> bool {
        let Some(stop_at) = self.stop_at else { return false };
        let open = self.server.connection_count();
        if open > 0 && now < stop_at {
            return false;
        }
        log::info!("stopped{}", if open > 0 { "; some clients had not taken their replies" } else { "" });
        true
    }
}

/// The token of a connection: a slot that is used again gets another one, so that a late event finds nobody.
fn token_of(index: usize, generation: u32) -> Token {
    Token(((generation as usize) << 32) + index + FIRST_CONNECTION)
}

/// Tells a client why it is not taken on; it may be gone already.
fn turn_away(mut stream: TcpStream, why: &[u8]) {
    let _ = stream.write(why);
    farewell(&mut stream);
}

const _: () = assert!(ADMIN.0 + VISITORS < FIRST_CONNECTION);
const _: () = assert!(size_of::<usize>() == 8, "tokens carry a slot and a generation in 64 bits");
