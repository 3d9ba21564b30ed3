//! A server of the simulated world: the shipped [`Server`], driven as the reactor drives it, and the list of what its
//! store has published. This file alone knows how a `Server` is called.

use super::change::{Logged, log, owned};
use super::follower::Follower;
use super::value::Value;
use super::violation::{Violation, violation};
use crate::config::{KeyEvents, ServerOptions};
use crate::connection::{CloseReason, Connection, ConnectionId, Phase};
use crate::engine::Engine;
use crate::frames::{self, FrameServer, counters::Counters, sessions::Sessions};
use crate::limits::{DATAGRAM_BYTES_MAX, KIB, MIB};
use crate::metrics::Closes;
use crate::mutation::{Database, Mutation, Origin, Revision};
use crate::server::{Floors, Resources, Server, Socket};
use crate::store::feed::{FeedCursor, FeedStep, WhenBehind};
use crate::store::{OnFull, Store, StoreConfig, TooSmall};
use crate::time::Now;
use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::time::Duration;

/// Slices of one read or write, as few as make both stop in the middle of large values.
const SLICES: usize = 8;
/// Slices of all that waits on one connection: as many as are tried first, and at most. A full ring of markers stands for
/// hundreds of large values, each of tens of blocks.
const PENDING_SLICES: usize = 4_096;
const PENDING_SLICES_MAX: usize = 1 << 18;
/// Slices of maintenance, at most: a bound on a loop that ends long before.
const ROUNDS_MAX: usize = 100_000;

/// Of the change feed: all that one turn can change.
pub const FEED_BYTES: usize = 4 * MIB;

/// What a server is made with; a restart keeps all but epoch and secret.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Of the store; less than it needs stands for what it needs.
    pub memory_bytes: usize,
    pub segment_bytes: usize,
    pub leaf_buckets: usize,
    pub on_full: OnFull,
    pub max_clients: usize,
    pub request_timeout_ms: u64,
    pub write_timeout_ms: u64,
    /// That all clients share.
    pub input_bytes: usize,
    pub output_bytes: usize,
    /// Whether these, clients' places and sessions' are ceilings, and what is not used serves the store.
    pub lends: bool,
    /// Of the change feed, and of the tables of CLIENT TRACKING.
    pub feed_bytes: usize,
    pub tracking_bytes: usize,
    /// Classes of key events.
    pub key_events: KeyEvents,
    /// Places in the at-most-once table.
    pub sessions_max: usize,
    pub lease_ms: u64,
    pub password: Option<Vec<u8>>,
    pub epoch: u32,
    pub secret: [u64; 2],
    /// Of the keys' hash.
    pub hash_secret: [u64; 2],
}

impl NodeConfig {
    /// Small ones, so that much is borrowed.
    fn floors(&self) -> Floors {
        Floors {
            input_bytes: self.input_bytes / 2,
            output_bytes: self.output_bytes / 4,
            queue_bytes: 32 * KIB,
            clients: 2,
            client_bytes: 1_024,
            sessions: 1,
            session_bytes: 2_048,
        }
    }
}

/// What a key has, as a look from outside shows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    pub value: Value,
    pub expiry: Option<u64>,
    pub revision: u64,
}

/// The server, what its store publishes, and a second store that is made of that alone.
pub struct Node {
    server: Server,
    cursor: FeedCursor,
    follower: Follower,
    reply: Box<[u8; DATAGRAM_BYTES_MAX]>,
    epoch: u32,
}

impl Node {
    pub fn new(config: &NodeConfig) -> Node {
        let store = StoreConfig {
            memory_bytes: config.memory_bytes + config.feed_bytes,
            feed_bytes: config.feed_bytes,
            databases: 2,
            on_full: config.on_full,
            segment_bytes: config.segment_bytes,
            leaf_buckets: config.leaf_buckets,
            first_revision: Revision(u64::from(config.epoch) << 15),
            ..StoreConfig::default()
        };
        let smallest = |too_small: TooSmall| {
            Store::new(StoreConfig { memory_bytes: too_small.needed_bytes, ..store }, config.hash_secret)
        };
        let mut store = Store::new(store, config.hash_secret)
            .or_else(smallest)
            .expect("a store takes the memory that it says it needs");
        let cursor = store.feed_open(WhenBehind::Missed).expect("the store has a ring");
        let follower = Follower::new(store.config());
        let options = ServerOptions {
            password: config.password.clone(),
            max_clients: config.max_clients,
            databases: 2,
            notify_keyspace_events: config.key_events,
            request_timeout: Duration::from_millis(config.request_timeout_ms),
            write_timeout: Duration::from_millis(config.write_timeout_ms),
            ..ServerOptions::default()
        };
        let mut engine = Engine::new(store, options);
        engine.seed_random(config.hash_secret[0]);
        let datagrams = frames::Config {
            password: config.password.as_deref(),
            clients_max: config.sessions_max,
            lease_ms: config.lease_ms,
            ..frames::Config::new(config.epoch, config.secret)
        };
        let resources = Resources {
            input_bytes: config.input_bytes,
            output_bytes: config.output_bytes,
            queue_bytes: 64 * KIB,
            tracking_bytes: config.tracking_bytes,
            floors: config.lends.then(|| config.floors()),
            ..Resources::default()
        };
        let server = Server::new(engine, FrameServer::new(&datagrams), resources);
        Node { server, cursor, follower, reply: Box::new([0; DATAGRAM_BYTES_MAX]), epoch: config.epoch }
    }

    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What was changed since this was last asked, in order. The second store follows, and has what the first one has.
    pub fn take_log(&mut self) -> Result<Vec<Logged>, Violation> {
        let Node { server, cursor, follower, .. } = self;
        let store = &mut server.engine_mut().store;
        let mut list = Vec::new();
        loop {
            match store.feed_peek(cursor) {
                FeedStep::Change(change) => {
                    follower.follow(store, &change)?;
                    let (revision, group) = (change.revision.0, change.group);
                    let client = if let Origin::Client(id) = change.origin { Some(id) } else { None };
                    log(&mut list, Logged { revision, group, client, change: owned(store, &change) });
                }
                FeedStep::End => break,
                FeedStep::Lost(_) => return Err(violation(b"", "the feed's ring is too short for one turn")),
            }
            store.feed_advance(cursor);
        }
        follower.compare_changed(store)?;
        Ok(list)
    }

    /// Compares all keys with those of the second store.
    pub fn compare_follower(&self) -> Result<(), Violation> {
        self.follower.compare(self.store())
    }

    /// One datagram in, at most one out.
    pub fn datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Now) -> Option<Vec<u8>> {
        let len = self.server.handle_datagram(from, bytes, now, &mut self.reply)?;
        Some(self.reply[..len].to_vec())
    }

    /// A new connection, or the reply before it is closed.
    pub fn open(&mut self, peer: SocketAddr, now: Now) -> Result<ConnectionId, &'static [u8]> {
        self.server.open(peer, now)
    }

    /// Gives the server the front of `bytes` that it has space for now, by one read; the number of bytes.
    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8], now: Now) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        let len = if self.server.has_body(id) {
            let mut spaces: [IoSliceMut<'_>; SLICES] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
            let count = self.server.input_spaces(id, now, &mut spaces);
            let mut rest = bytes;
            for space in &mut spaces[..count] {
                assert!(!space.is_empty(), "reading into an empty slice looks like the end of the stream");
                let (front, others) = rest.split_at(space.len().min(rest.len()));
                space[..front.len()].copy_from_slice(front);
                rest = others;
            }
            bytes.len() - rest.len()
        } else {
            let Some(space) = self.server.input_space(id, now) else { return 0 };
            let len = space.len().min(bytes.len());
            assert!(len > 0, "reading into an empty slice looks like the end of the stream");
            space[..len].copy_from_slice(&bytes[..len]);
            len
        };
        if len > 0 {
            self.server.input_received(id, len, now);
        }
        len
    }

    /// Runs the first few of these connections side by side: those of [`Node::batch_order`]. Those with more to do at
    /// once are added to `unfinished`.
    pub fn run_batch(&mut self, group: &[ConnectionId], now: Now, unfinished: &mut Vec<ConnectionId>) {
        self.server.run_batch(group, now, unfinished);
    }

    /// In which order the last batch ran: see [`Server::batch_order`].
    pub fn batch_order(&self) -> Vec<(ConnectionId, usize)> {
        self.server.batch_order().collect()
    }

    /// All that waits to be sent on a connection.
    pub fn pending(&self, id: ConnectionId) -> Vec<u8> {
        let mut slices = vec![IoSlice::new(&[]); PENDING_SLICES];
        loop {
            let count = self.server.output(id, &mut slices);
            if count < slices.len() {
                return joined(&slices[..count]);
            }
            assert!(count < PENDING_SLICES_MAX, "more waits to be sent than the bounds on replies allow");
            slices = vec![IoSlice::new(&[]); 2 * count];
        }
    }

    /// Sends what waits to a socket that takes `room` bytes, by one write: what was offered and what was taken.
    pub fn send(&mut self, id: ConnectionId, room: usize, now: Now) -> (usize, Vec<u8>) {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.server.output(id, &mut slices);
        let mut taken = joined(&slices[..count]);
        let offered = taken.len();
        taken.truncate(room);
        if !taken.is_empty() {
            self.server.output_sent(id, taken.len(), now);
        }
        if taken.len() < offered {
            self.server.output_blocked(id, now);
        }
        (offered, taken)
    }

    /// Whether the connection is to be looked at again before its socket says something new.
    pub fn can_go_on(&mut self, id: ConnectionId, socket: Socket) -> bool {
        self.server.can_go_on(id, socket)
    }

    /// The number by which the store's changes name the client of a connection.
    pub fn client_id(&self, id: ConnectionId) -> u64 {
        self.server.get(id).map_or(0, |connection| connection.session.id)
    }

    /// Whether a reply has begun that goes on later.
    pub fn is_replying(&self, id: ConnectionId) -> bool {
        self.server.is_replying(id)
    }

    /// Whether the server waits for nothing but this connection's next bytes.
    pub fn wants_input(&self, id: ConnectionId) -> bool {
        let socket = Socket { readable: true, writable: false, sent_any: false };
        // One that has something to run, and may not, is looked at again when it may; then it is read on.
        let runs_first = self.server.get(id).is_some_and(|connection| {
            connection.readiness.runnable || matches!(connection.phase(), Phase::Paused)
        });
        self.server.goes_on(id, socket) && !self.server.is_finished(id) && !runs_first
    }

    /// How a connection stands, for people.
    pub fn describe(&self, id: ConnectionId) -> String {
        let Some(connection) = self.server.get(id) else { return "closed".to_owned() };
        let Connection { readiness, input, .. } = connection;
        format!(
            "{:?}, {readiness:?}, {} bytes of {} in its ring",
            connection.phase(),
            input.len(),
            input.capacity()
        )
    }

    /// Why connections were closed, and how often.
    pub fn closes(&self) -> &Closes {
        &self.server.engine().metrics.closes
    }

    /// Whether bytes are left that the server has not read.
    pub fn left(&mut self, id: ConnectionId, unread: bool) {
        self.server.input_left(id, unread);
    }

    /// The peer has hung up behind bytes that are left.
    pub fn hung_up(&mut self, id: ConnectionId) {
        self.server.input_hung_up(id);
    }

    /// The peer has sent all it will send.
    pub fn ended(&mut self, id: ConnectionId) {
        self.server.input_ended(id);
    }

    /// The peer has reset the connection.
    pub fn failed(&mut self, id: ConnectionId) {
        self.server.socket_failed(id);
        self.server.close(id);
    }

    /// Closes the connection if it has said its last; why.
    pub fn close_if_finished(&mut self, id: ConnectionId) -> Option<CloseReason> {
        if !self.server.is_finished(id) {
            return None;
        }
        let reason = self.server.get(id).and_then(Connection::closing);
        self.server.close(id);
        Some(reason.unwrap_or(CloseReason::PeerClosed))
    }

    /// Whether a connection has said its last.
    pub fn is_finished(&self, id: ConnectionId) -> bool {
        self.server.is_finished(id)
    }

    /// A connection that wants to be looked at although nothing came from its socket.
    pub fn poll_wake(&mut self) -> Option<ConnectionId> {
        self.server.poll_wake()
    }

    /// What the server does between requests: expiry, cleaning. True: there is more at once.
    pub fn maintain(&mut self, now: Now, steps: usize) -> bool {
        self.server.maintain(now, steps)
    }

    /// Gives up connections whose time limits have passed.
    pub fn handle_deadlines(&mut self, now: Now) {
        self.server.handle_deadlines(now);
    }

    /// When the server wants to be woken though nothing arrives, in its monotonic ms.
    pub fn deadline(&self, now: Now) -> Option<u64> {
        self.server.poll_deadline(now).map(|at| at.0)
    }

    pub fn counters(&self) -> &Counters {
        self.server.frames().counters()
    }

    pub fn sessions(&self) -> &Sessions {
        self.server.frames().sessions()
    }

    pub fn store(&self) -> &Store {
        &self.server.engine().store
    }

    /// What the key has, looked at from outside.
    pub fn show(&self, key: &[u8], now: Now) -> Option<Shown> {
        let store = self.store();
        let entry = store.peek(Database(0), key, now.unix)?;
        let value = Value::of(store, entry.value);
        Some(Shown { value, expiry: entry.expiry.map(|at| at.0), revision: entry.revision.0 })
    }

    /// Panics where the server's state contradicts itself.
    pub fn invariants(&self) {
        self.server.invariants();
        self.sessions().invariants();
    }

    /// No client is connected any more: nothing may be held for one.
    pub fn nothing_is_held(&self) {
        assert_eq!(self.server.connection_count(), 0, "connections are still open");
        assert_eq!(self.server.buffer_bytes(), 0, "buffers are still held");
    }

    /// Takes every key away and lets the store tidy up: no byte may stay in use.
    pub fn empties(&mut self, now: Now) {
        let store = &mut self.server.engine_mut().store;
        store.apply(&Mutation::Flush { db: None }, now.unix).expect("a flush is never refused");
        for _ in 0..ROUNDS_MAX {
            if !self.server.maintain(now, 64) {
                break;
            }
        }
        self.server.invariants();
        let store = self.store();
        assert_eq!((store.memory().live, store.memory().large), (0, 0), "bytes are still held");
        assert_eq!(store.large_count(), 0, "large values are still referred to");
    }
}

fn joined(slices: &[IoSlice<'_>]) -> Vec<u8> {
    slices.iter().flat_map(|slice| slice.iter().copied()).collect()
}
