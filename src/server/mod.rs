//! The whole server without its sockets: bytes and the time come in as arguments, bytes and the next deadline come
//! out. The reactor drives it over real sockets; tests, fuzzers and the simulator drive it by hand.
//!
//! The kinds of method, and the order to call them in for a connection:
//!
//! 1. `open` when a client has connected; it gives the id that every other call takes.
//! 2. `input_space`, then `input_received` with what came (or `input_ended`). `None` from `input_space` means: leave
//!    the bytes in the socket, this client has enough under way. `input_left` tells whether there are more.
//! 3. `run` decodes and executes what has come; it says whether more can be done at once.
//! 4. `output` and `output_sent` until there is no output, or the socket takes no more: then `output_blocked`.
//! 5. `is_finished` tells that a closing connection has said its last; then, or when the socket fails, `close`.
//!
//! Between turns: `poll_deadline` and `handle_deadlines`, `maintain`, and `poll_wake` for connections that
//! another connection's command has changed.
//!
//! | file | what it does |
//! |---|---|
//! | `wake_queue.rs` | the queue of connections to look at although their sockets said nothing |
//! | `input.rs` | from received bytes to whole commands; large arguments into the store |
//! | `batch.rs` | the common commands of many connections at once: decoded and looked up ahead, then run in order |
//! | `run.rs` | commands in order, each only when its reply has room |
//! | `prepare.rs` | whether a decoded command runs now |
//! | `output.rs` | waiting replies to the socket, large values from the store |
//! | `frames.rs` | datagrams, and connections that speak frames |
//! | `transaction.rs` | MULTI, EXEC, DISCARD, WATCH, UNWATCH |
//! | `pubsub/` | SUBSCRIBE, PUBLISH and their like; messages on their way to subscribers |
//! | `changes.rs` | key events: what changes of keys mean to those who listen |
//! | `holds.rs` | replies that wait until what they have seen is durable |
//! | `clients.rs` | CLIENT, RESET, QUIT, SHUTDOWN: commands about connections |
//! | `request_log.rs` | the line that `--log-requests` writes for each request |
//! | `process_stats.rs`, `ops_rate.rs` | what INFO shows of process and clients; commands a second |
//! | `auth_throttle.rs` | guessing passwords is slow |
//! | `backpressure.rs` | how much is read and made ahead |
//! | `shares.rs` | floors and ceilings of what clients use, beside data |
//! | `starvation.rs` | what happens when buffers run out |
//! | `push.rs` | bytes for a client that asked for nothing at this moment |
//! | `timeouts.rs` | the time limits of a connection |

mod auth_throttle;
mod backpressure;
mod batch;
mod changes;
mod clients;
mod frames;
mod holds;
mod input;
mod ops_rate;
mod output;
mod prepare;
mod process_stats;
mod pubsub;
mod push;
mod request_log;
mod run;
mod shares;
mod starvation;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timeouts;
mod transaction;
mod wake_queue;

pub use output::Socket;
pub use shares::Floors;

use crate::buffer::arena::Arena;
use crate::config::{Durability, TimeLimit};
use crate::connection::{CloseReason, Connection, ConnectionId, Continuations};
use crate::engine::{Engine, names::Names, session::Session};
use crate::frames::FrameServer;
use crate::limits::{ARGUMENTS_MAX, MIB, RING_BYTES};
use crate::metrics::ProcessStats;
use crate::mutation::Revision;
use crate::time::Now;
use crate::timers::Timers;
use crate::wire::arguments::ArgTable;
use core::net::{IpAddr, SocketAddr};
use slab::Slab;
use wake_queue::WakeQueue;

/// The reply to a client for which there is no place.
pub const TOO_MANY_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";

/// What a server gets of the process that it runs in.
#[derive(Clone, Debug)]
pub struct Resources {
    /// Bytes of all clients' input buffers together.
    pub input_bytes: usize,
    /// Bytes of all clients' output buffers together.
    pub output_bytes: usize,
    /// Bytes of all clients' queued transactions and watched keys together.
    pub queue_bytes: usize,
    /// Bytes of the tables of subscriptions.
    pub subscription_bytes: usize,
    /// Bytes of the tables of CLIENT TRACKING.
    pub tracking_bytes: usize,
    /// Where set, the numbers above, and those of clients and sessions, are ceilings: the store has what is between, and
    /// lends it.
    pub floors: Option<Floors>,
    /// Microseconds of a clock that never goes back; only differences of it are used. A simulator gives its own.
    pub clock_us: fn() -> u64,
    /// Fills in what INFO shows of the process; called when INFO is.
    pub fill_process_stats: fn(&mut ProcessStats),
}

impl Default for Resources {
    fn default() -> Resources {
        Resources {
            input_bytes: 8 * MIB,
            output_bytes: 8 * MIB,
            queue_bytes: 4 * MIB,
            subscription_bytes: MIB,
            tracking_bytes: MIB,
            floors: None,
            clock_us: || 0,
            fill_process_stats: |_| {},
        }
    }
}

/// The server's state: connections, their buffers, and the engine behind them.
pub struct Server {
    engine: Engine,
    connections: Slab<Connection>,
    continuations: Continuations,
    input: Arena,
    output: Arena,
    /// What transactions queue and watch.
    queues: Arena,
    /// Bytes of the store that queued transactions take beyond that.
    queued_in_store_bytes: u64,
    args: ArgTable,
    batch: batch::Batch,
    timers: Timers,
    resources: Resources,
    next_generation: u32,
    next_session_id: u64,
    /// Connections to look at although nothing came from their sockets.
    wake_queue: WakeQueue,
    /// Where the bytes of refused values go.
    discard: Box<[u8]>,
    ops_rate: ops_rate::OpsRate,
    auth_throttle: auth_throttle::AuthThrottle,
    /// Connections that wait for buffers.
    starved: starvation::Starved,
    shares: shares::Shares,
    /// Bytes of the store that waiting replies pin.
    pinned_bytes: u64,
    pubsub: pubsub::Pubsub,
    changes: changes::Changes,
    stop_requested: bool,
    /// The idle limit that the timers were set by.
    scheduled_idle_timeout: TimeLimit,
    frames: FrameServer,
    frame_reply: Box<[u8]>,
    /// Replies that wait for the disk; `None`: none ever does.
    holds: Option<holds::Holds>,
    /// Connections whose WAITAOF waits.
    sync_waits: WakeQueue,
    /// What the last datagram's reply has seen.
    datagram_seen: Option<Revision>,
}

/// Where a command's bytes are.
#[derive(Clone, Copy)]
enum Source {
    /// At the front of the connection's input.
    Input { len: usize },
    /// In the transaction's queue, which the argument table points into.
    Queue,
}

/// What came of a step of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// A command was run, or dropped: go on.
    Made,
    /// Nothing can be done before more input comes, or output goes.
    Waiting,
}

impl Server {
    /// Bytes that one client costs besides its buffers, in tables that are touched as clients come.
    pub const CLIENT_BYTES: usize = size_of::<Connection>()
        + size_of::<usize>()
        + Continuations::CLIENT_BYTES
        + Timers::NODE_BYTES
        + Names::CLIENT_BYTES;
    /// Bytes that one allowed client costs in queues, which are touched all over by a few that come and go.
    pub const CLIENT_QUEUE_BYTES: usize = 5 * WakeQueue::SLOT_BYTES;
    /// Bytes more of it where replies wait for the disk.
    pub const CLIENT_HOLD_BYTES: usize = holds::Holds::CLIENT_BYTES;

    /// A server over `engine`, for as many clients as its options say. All of its memory is reserved here.
    pub fn new(engine: Engine, frames: FrameServer, resources: Resources) -> Server {
        let max_clients = engine.options().max_clients;
        #[cfg(feature = "scripts")]
        let engine = {
            let mut engine = engine;
            engine.set_script_clock(resources.clock_us);
            engine
        };
        let waits = engine.options().data_dir.is_some() && engine.options().durability == Durability::Always;
        let mut server = Server {
            holds: waits.then(|| holds::Holds::new(max_clients)),
            sync_waits: WakeQueue::new(max_clients),
            datagram_seen: None,
            scheduled_idle_timeout: engine.runtime.idle_timeout,
            engine,
            connections: Slab::with_capacity(max_clients),
            continuations: Continuations::new(max_clients),
            input: Arena::new(resources.input_bytes),
            output: Arena::new(resources.output_bytes),
            queues: Arena::new(resources.queue_bytes),
            queued_in_store_bytes: 0,
            args: ArgTable::with_capacity(ARGUMENTS_MAX),
            batch: batch::Batch::new(),
            timers: Timers::new(max_clients),
            next_generation: 0,
            next_session_id: 1,
            wake_queue: WakeQueue::new(max_clients),
            discard: vec![0; RING_BYTES].into_boxed_slice(),
            ops_rate: ops_rate::OpsRate::default(),
            auth_throttle: auth_throttle::AuthThrottle::new(),
            starved: starvation::Starved::new(max_clients),
            shares: shares::Shares::default(),
            pinned_bytes: 0,
            pubsub: pubsub::Pubsub::new(resources.subscription_bytes, max_clients),
            changes: changes::Changes::new(resources.tracking_bytes),
            stop_requested: false,
            frames,
            frame_reply: vec![0; crate::limits::STREAM_REPLY_BYTES_MAX].into_boxed_slice(),
            resources,
        };
        if let Some(floors) = server.resources.floors {
            server.set_floors(&floors);
        }
        // CONFIG GET shows how large it is.
        server.changes.tracking.fill(&mut server.engine.process_stats);
        server
    }

    /// Takes on a client, or gives the bytes to send it before closing.
    ///
    /// # Errors
    /// All places are taken; the error is what to tell the client.
    pub fn open(&mut self, peer: SocketAddr, now: Now) -> Result<ConnectionId, &'static [u8]> {
        // CONFIG SET maxclients never exceeds the number that memory was reserved for.
        let has_place = self.connections.len() < self.engine.runtime.max_clients
            && self.has_client_place(self.connections.vacant_key(), now);
        if !has_place {
            self.engine.metrics.counters.rejected += 1;
            return Err(TOO_MANY_CLIENTS);
        }
        self.engine.metrics.counters.accepted += 1;
        let generation = self.next_generation;
        self.next_generation = self.next_generation.wrapping_add(1);
        let session = Session::new(self.next_session_id, !self.engine.has_password());
        self.next_session_id += 1;
        let connection = Connection::new(session, peer, generation, now.monotonic);
        let index = self.connections.insert(connection) as u32;
        let id = ConnectionId { index, generation };
        self.update_deadline(id, now.monotonic);
        Ok(id)
    }

    /// The client came to this address of the machine; without a word, to the one that the server listens at.
    pub fn set_local(&mut self, id: ConnectionId, local: IpAddr) {
        if let Some(connection) = self.get_mut(id) {
            connection.local = Some(local);
        }
    }

    /// Counts a client that was turned away before the server saw it.
    pub fn count_rejected(&mut self) {
        self.engine.metrics.counters.rejected += 1;
    }

    /// Forgets a connection and takes back all that it held.
    pub fn close(&mut self, id: ConnectionId) {
        if self.get(id).is_none() {
            return;
        }
        let mut connection = self.connections.remove(id.index as usize);
        connection.closing().unwrap_or(CloseReason::PeerClosed).count(&mut self.engine.metrics.closes);
        self.timers.cancel(id.index as usize);
        self.release_held(&mut connection);
        self.drop_subscriber(connection.subscriber.take());
        self.drop_tracker(connection.tracker.take());
        self.drop_watches(id);
        if let Some(holds) = &mut self.holds {
            holds.clear(id.index);
        }
        self.engine.client_names.release(&mut connection.session.names);
    }

    /// The connection of that id, if it is still open.
    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(id.index as usize).filter(|connection| connection.generation == id.generation)
    }

    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections
            .get_mut(id.index as usize)
            .filter(|connection| connection.generation == id.generation)
    }

    /// Starts closing a connection: nothing more is read or run, waiting replies are still sent.
    pub fn start_closing(&mut self, id: ConnectionId, reason: CloseReason) {
        if let Some(connection) = self.get_mut(id) {
            connection.close(reason);
        }
    }

    /// Whether a connection has said its last and can be closed.
    pub fn is_finished(&self, id: ConnectionId) -> bool {
        self.get(id).is_none_or(|connection| connection.is_draining() && connection.output.is_empty())
    }

    /// Whether a large value is coming in on this connection.
    pub fn has_body(&self, id: ConnectionId) -> bool {
        self.get(id).is_some_and(|connection| connection.body().is_some())
    }

    /// Whether a reply of this connection has begun and goes on when it is run again.
    pub fn is_replying(&self, id: ConnectionId) -> bool {
        self.get(id).is_some_and(|connection| connection.is_replying())
    }

    /// A connection to run and write although its socket said nothing; call until `None` once a turn.
    pub fn poll_wake(&mut self) -> Option<ConnectionId> {
        self.wake_starved();
        loop {
            let index = self.wake_queue.pop().or_else(|| self.pubsub.pop_unsent())?;
            if let Some(connection) = self.connections.get(index as usize) {
                return Some(ConnectionId { index, generation: connection.generation });
            }
        }
    }

    /// A connection that was pushed something and is to be written to, no more than that; call until `None` once a turn,
    /// before [`poll_wake`](Self::poll_wake), which names these as well.
    pub fn poll_unsent(&mut self) -> Option<ConnectionId> {
        loop {
            let index = self.pubsub.pop_unsent()?;
            if let Some(connection) = self.connections.get(index as usize) {
                return Some(ConnectionId { index, generation: connection.generation });
            }
        }
    }

    /// Work that the server owes itself: expiry, cleaning, flushing, in bounded slices. True: there is more at once.
    pub fn maintain(&mut self, now: Now, steps: usize) -> bool {
        self.end_due_pause(now.monotonic);
        self.note_ops_rate(now);
        // First what happens by itself, so that it is published in the same turn.
        let more = self.engine.store.maintain(now.unix, steps);
        let more = self.balance_memory(now) || more;
        self.maintain_subscriptions(now) || more
    }

    fn note_ops_rate(&mut self, now: Now) {
        if let Some(ops_rate) =
            self.ops_rate.note(now.monotonic, self.engine.metrics.counters.commands_processed)
        {
            self.engine.process_stats.commands_per_second = ops_rate;
        }
    }

    /// From now on AUTH and the tags of frames must be made with this password. Clients that are authenticated stay so.
    ///
    /// # Panics
    /// If it is longer than [`PASSWORD_BYTES_MAX`](crate::limits::PASSWORD_BYTES_MAX).
    pub fn change_password(&mut self, password: &[u8]) {
        self.engine.set_password(password);
        self.frames.set_password(password);
    }

    /// Whether a client has asked for the server's end.
    pub fn stop_requested(&self) -> bool {
        self.stop_requested
    }

    /// Connections that are open.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Bytes of buffers that clients hold: input, output, transactions.
    pub fn buffer_bytes(&self) -> usize {
        self.input.used() + self.output.used() + self.queues.used()
    }

    /// The ids of all open connections.
    pub fn connection_ids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.connections.iter().map(|(index, connection)| ConnectionId {
            index: index as u32,
            generation: connection.generation,
        })
    }

    /// The engine behind the connections.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, to change.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Frames at the server: their sessions and counters.
    pub fn frames(&self) -> &FrameServer {
        &self.frames
    }

    /// Panics where the state contradicts itself; for tests and the simulator.
    pub fn invariants(&self) {
        self.input.invariants();
        self.output.invariants();
        self.queues.invariants();
        self.check_shares();
        self.engine.store.invariants();
        self.pubsub.table.invariants();
        for (_, connection) in &self.connections {
            connection.input.invariants();
            assert!(
                !connection.output.is_empty() || connection.output.capacity() == 0,
                "{} holds an output buffer for nothing",
                connection.peer
            );
            connection.transaction.queue.invariants();
            connection.transaction.watched.invariants();
        }
        assert!(self.connections.len() <= self.engine.options().max_clients);
        let begun = self.connections.iter().filter(|(_, connection)| connection.has_continuation()).count();
        assert_eq!(self.continuations.len(), begun, "continuations without a connection");
        let counted: u64 = self.connections.iter().map(|(_, connection)| connection.pinned_counted).sum();
        assert_eq!(self.pinned_bytes, counted, "bytes that waiting replies pin");
    }
}
