//! Many requests at once: the common commands of all connections that are ready are decoded ahead, their keys hashed
//! and looked up side by side, and then they run in order. A cache miss takes as long as all the instructions of a
//! GET; here some thirty of them are in flight at a time.
//!
//! ```text
//!  group of connections   c1: GET a, SET b, INCR c, SCAN d    c2: GET e     c3: EVAL f g     c4: …
//!                          │                                   │             │
//!  plan    decode, hash    a    b    c    d                    e             f                    up to BATCH
//!  look    find records    a    b    c    d                    e             f
//!  run     one by one      GET  SET  INCR ┐                    GET           ┐
//!  finish  one by one                     └ step(SCAN)                       └ step(EVAL)
//! ```
//!
//! What is planned runs in one of two ways. A verb with the flag [`PLANNED`](Flags::PLANNED) is executed by the same function
//! as everywhere ([`Engine::execute`](crate::engine::Engine::execute)); what it is spared are the checks that hold for the whole
//! batch. GET and SET without options, which are most of what is sent, are called here directly ([`FastCommand`]), by the functions that
//! do their work everywhere, and their replies are written straight into the output's ring.
//!
//! The look ahead executes nothing and changes nothing. What it says of a command's *bytes* is final, for they stay in
//! the ring until the command has run; what it says of the *store* is a hint ([`LookupHint`]), since a command before it
//! may have changed anything. Whatever is not plain (another verb, a transaction, a connection that is not ready, a pause, a full
//! output) is left to `step`, which knows nothing of all this.

use super::{Progress, Server, backpressure::attach_output};
use crate::command::{self, Flags, Verb, VerbId};
use crate::connection::{Connection, ConnectionId, Phase, StreamProtocol};
use crate::engine::meter::{BYTES_PER_UNIT, COMMAND_UNITS, Meter, TURN_UNITS};
use crate::engine::{
    self, Flow,
    fast_path::{Answered, FastCommand},
    session::ReplyMode,
};
use crate::limits::{KIB, REPLY_ROOM_BYTES};
use crate::mutation::Origin;
use crate::store::{LookupHint, feed::FEED_BYTES_MIN};
use crate::time::Now;
use crate::wire::encode::{BULK_OVERHEAD_BYTES, Out, Protocol, ReplyPlace};
use crate::wire::quick;
use std::ops::Range;

/// Commands that are looked up side by side: more misses than that no processor of today has under way.
const BATCH: usize = 32;
/// A slow log of commands that take less than this, in microseconds, wants each of them timed by itself.
const TIMED_BY_ITSELF_US: i64 = 1_000;

/// Bytes of GETs and SETs that run without a look at whether writers must wait: with another command, of a key and a value as long
/// as they may be here, less than the quarter of the shortest feed at which they do.
const UNCHECKED_BYTES_MAX: usize = 32 * KIB;

const _: () = assert!(UNCHECKED_BYTES_MAX + 3 * quick::ARGUMENT_BYTES_MAX as usize <= FEED_BYTES_MIN / 4);
const _: () = assert!(crate::limits::INLINE_VALUE_BYTES_MAX + BULK_OVERHEAD_BYTES <= REPLY_ROOM_BYTES);

/// How a command is run.
#[derive(Clone, Copy)]
enum Way {
    /// GET or SET, called directly, with the reply written in place.
    Fast(FastCommand),
    /// A verb with the flag [`PLANNED`](Flags::PLANNED), by the function that it has.
    Verb(&'static Verb),
    /// By `step`.
    Step,
}

impl Way {
    /// The way of a command that was decoded.
    #[inline]
    fn of(command: &quick::Command, bytes: &[u8]) -> Way {
        if let Some(fast) = FastCommand::of(command.short, command.count) {
            return Way::Fast(fast);
        }
        match command::find(command.word.of(bytes)) {
            Some(verb) if verb.flags.has(Flags::PLANNED) && verb.admits(command.count.into()) => {
                Way::Verb(verb)
            }
            _ => Way::Step,
        }
    }
}

/// A command that was decoded ahead; its places are in the connection's input as it was then.
#[derive(Clone, Copy)]
struct Planned {
    hint: LookupHint,
    way: Way,
    command: quick::Command,
}

/// The next commands of one connection: items of the batch.
#[derive(Clone)]
struct ConnBatch {
    id: ConnectionId,
    /// Those that are still to run.
    items: Range<usize>,
    /// Commands that have run.
    ran: usize,
    /// What those have cost of the connection's turn, in units of the [`Meter`].
    units: u32,
    /// Bytes of the commands that have run.
    done: usize,
    /// The last of those that have run has made a piece of its reply and goes on later.
    yielded: bool,
    /// Bytes of the input when it was planned. Input comes only between turns, so as long as `done` of them are
    /// missing, the rest is where it was planned to be.
    input_len: usize,
}

impl ConnBatch {
    /// Nothing of a connection, whose first item would be number `first`.
    fn new(id: ConnectionId, first: usize) -> ConnBatch {
        ConnBatch { id, items: first..first, ran: 0, units: 0, done: 0, yielded: false, input_len: 0 }
    }
}

/// What is planned now: the items of a group's connections, and behind them those of one connection that goes on by itself.
pub(super) struct Batch {
    items: Vec<Planned>,
    conns: Vec<ConnBatch>,
    /// Calls of each [`FastCommand`] that are not counted yet.
    calls: [u64; FastCommand::ALL.len()],
    /// Other verbs that have run, and whose time is not counted yet.
    verbs: Vec<VerbId>,
}

impl Batch {
    pub(super) fn new() -> Batch {
        let (items, conns) = (Vec::with_capacity(2 * BATCH), Vec::with_capacity(BATCH));
        Batch { items, conns, calls: [0; FastCommand::ALL.len()], verbs: Vec::with_capacity(2 * BATCH) }
    }

    /// How the next planned command of a connection runs.
    fn next_way(&self, conn: &ConnBatch) -> Way {
        self.items[conn.items.clone()].first().map_or(Way::Step, |item| item.way)
    }
}

impl Server {
    /// Runs what these connections have sent, as far as their replies have room. `unfinished` gets those that have more
    /// to do at once, but others come first.
    pub fn run_group(&mut self, group: &[ConnectionId], now: Now, unfinished: &mut Vec<ConnectionId>) {
        let mut rest = group;
        while !rest.is_empty() {
            rest = self.run_batch(rest, now, unfinished);
        }
    }

    /// The same for the first of these connections, as many as are looked up side by side; those that are left. So who
    /// wants to know in which order things ran asks [`batch_order`](Server::batch_order) after each.
    pub fn run_batch<'g>(
        &mut self,
        group: &'g [ConnectionId],
        now: Now,
        unfinished: &mut Vec<ConnectionId>,
    ) -> &'g [ConnectionId] {
        let mut conns = std::mem::take(&mut self.batch.conns);
        self.batch.items.clear();
        conns.clear();
        let mut rest = group;
        while self.batch.items.len() < BATCH
            && conns.len() < BATCH
            && let Some((id, others)) = rest.split_first()
        {
            rest = others;
            let conn = self.plan(*id, BATCH - self.batch.items.len());
            conns.push(conn);
        }
        self.prefetch_record(0);
        let began_us = (self.resources.clock_us)();
        for conn in &mut conns {
            self.run_planned(conn, now);
        }
        self.count(began_us);
        for conn in &conns {
            if self.run_connection(conn.clone(), now) {
                unfinished.push(conn.id);
            }
        }
        self.batch.conns = conns;
        rest
    }

    /// Whether the replies that wait have taken so much of the output buffers that they are better sent before others
    /// are made.
    pub fn output_is_crowded(&self) -> bool {
        self.output.used() > self.output.capacity() / 4
    }

    /// The connections of the last batch, in the order in which their planned commands ran, and how many of those ran;
    /// what each ran beyond that came after all of them, in the same order.
    pub fn batch_order(&self) -> impl Iterator<Item = (ConnectionId, usize)> + '_ {
        self.batch.conns.iter().map(|conn| (conn.id, conn.ran))
    }

    /// Runs what this connection has sent, as far as its replies have room. True: there is more to do at once, but
    /// others come first.
    pub fn run(&mut self, id: ConnectionId, now: Now) -> bool {
        self.batch.items.clear();
        let nothing = ConnBatch::new(id, 0);
        self.run_connection(nothing, now)
    }

    /// Goes on with a connection: the rest of what was planned, then what it has beyond that.
    fn run_connection(&mut self, mut conn: ConnBatch, now: Now) -> bool {
        let (id, mark, mut ran) = (conn.id, self.batch.items.len(), conn.ran);
        self.engine.meter = Meter::new(TURN_UNITS.saturating_sub(conn.units));
        if ran > 0 || conn.yielded {
            self.publish_changes(now);
        }
        // A piece of a reply waits for the next turn.
        let mut more = !conn.yielded;
        while more && !self.engine.meter.is_spent() {
            if conn.items.is_empty() {
                if self.get(id).is_some_and(|connection| connection.input.is_empty()) {
                    self.wait_for_input(id, now);
                    more = false;
                    break;
                }
                self.batch.items.truncate(mark);
                conn = self.plan(id, BATCH);
                self.prefetch_record(mark);
            }
            if !matches!(self.batch.next_way(&conn), Way::Step) {
                let (before, units, began_us) = (conn.ran, conn.units, (self.resources.clock_us)());
                self.run_planned(&mut conn, now);
                self.count(began_us);
                ran += conn.ran - before;
                self.engine.meter.charge(conn.units - units);
                self.publish_changes(now);
                if conn.yielded {
                    more = false;
                    break;
                }
                if conn.ran > before {
                    continue;
                }
            }
            self.expect_key(&conn);
            match self.step(id, now, ran) {
                Progress::Made => {}
                Progress::Waiting => more = false,
            }
            ran += 1;
            self.skip_planned(&mut conn);
        }
        self.batch.items.truncate(mark);
        let Server { connections, output, pinned_bytes, .. } = self;
        let connection = connections.get_mut(id.index as usize);
        if let Some(connection) = connection.filter(|connection| connection.generation == id.generation) {
            connection.readiness.runnable = more;
            connection.note_replies();
            connection.output.detach_if_empty(output);
            connection.count_pinned(pinned_bytes);
        }
        self.update_deadline(id, now.monotonic);
        more
    }

    /// Decodes up to `count_max` of the next commands of a connection, hashes their keys and asks for the lines of the
    /// index that they need.
    fn plan(&mut self, id: ConnectionId, count_max: usize) -> ConnBatch {
        let first = self.batch.items.len();
        let mut conn = ConnBatch::new(id, first);
        let Server { engine, connections, input, batch, .. } = self;
        let connection = connections.get(id.index as usize).filter(|connection| {
            connection.generation == id.generation
                && !connection.input.is_empty()
                && fast_path_ready(connection)
        });
        let Some(connection) = connection else { return conn };
        conn.input_len = connection.input.len();
        let (bytes, db) = (connection.input.readable(input), connection.session.db);
        let mut at = 0;
        while conn.items.end < first + count_max
            && let Some(command) = quick::decode(bytes, at)
        {
            at = command.end;
            let way = Way::of(&command, bytes);
            let hint = engine.store.hint(db, command.first.of(bytes));
            batch.items.push(Planned { hint, way, command });
            conn.items.end += 1;
        }
        conn
    }

    /// Finds the records of the items from number `first` on, and asks for their lines.
    fn prefetch_record(&mut self, first: usize) {
        for item in &mut self.batch.items[first..] {
            self.engine.store.prefetch_record(&mut item.hint);
        }
    }

    /// Runs the planned commands of a connection up to the first one that is for `step`.
    fn run_planned(&mut self, conn: &mut ConnBatch, now: Now) {
        loop {
            let (ran, way) = (conn.ran, self.batch.next_way(conn));
            if matches!(way, Way::Step) || !self.fast_path_enabled() || self.is_publishing_behind() {
                return;
            }
            match way {
                Way::Fast(_) => self.run_fast(conn, now),
                Way::Verb(_) | Way::Step => self.run_verbs(conn, now),
            }
            if conn.ran == ran || conn.yielded {
                return;
            }
        }
    }

    /// The first of them that are GETs and SETs.
    fn run_fast(&mut self, conn: &mut ConnBatch, now: Now) {
        let Server { engine, connections, input, output, batch, .. } = self;
        let connection = &mut connections[conn.id.index as usize];
        if !fast_path_ready(connection) {
            return;
        }
        attach_output(connection, output);
        let Some(sink) = connection.output.sink(REPLY_ROOM_BYTES, output) else { return };
        let bytes = connection.input.readable(input);
        let (db, protocol) = (connection.session.db, connection.session.protocol);
        engine.store.set_origin(Origin::Client(connection.session.id));
        // The only ones that change something.
        engine.store.set_command(VerbId::Set as u16);
        let (done_before, ran_before, mut written, mut last) = (conn.done, conn.ran, 0, None);
        let mut refused = None;
        for item in &batch.items[conn.items.clone()] {
            let Way::Fast(fast) = item.way else { break };
            if sink.len() - written < REPLY_ROOM_BYTES || conn.done - done_before > UNCHECKED_BYTES_MAX {
                break;
            }
            let key = (db, item.command.first.of_rest(bytes, done_before), &item.hint);
            let mut reply = ReplyPlace::new(&mut sink[written..], protocol);
            match fast {
                FastCommand::Get => match engine.answer_string(key, &mut reply, now.unix) {
                    Answered::Value | Answered::Null => {}
                    Answered::Large { .. } | Answered::WrongType => break,
                },
                FastCommand::Set | FastCommand::Put => {
                    let value = item.command.second.of_rest(bytes, done_before);
                    refused = engine.set_string(key, value, &mut reply, now.unix).err();
                }
            }
            written += reply.len();
            batch.calls[fast as usize] += 1;
            last = Some(fast);
            conn.items.start += 1;
            conn.ran += 1;
            conn.done = item.command.end;
            if refused.is_some() {
                break;
            }
        }
        let Some(last) = last else { return };
        let before = connection.output.pending_len();
        let (ran, moved_len) = (conn.ran - ran_before, written + conn.done - done_before);
        conn.units += ran as u32 * COMMAND_UNITS + (moved_len / BYTES_PER_UNIT) as u32;
        connection.output.wrote(written);
        connection.input.consume(conn.done - done_before);
        connection.last_verb = Some(last.verb());
        connection.protocol = StreamProtocol::Resp;
        if let Some(reason) = refused {
            let mut out = Out::new(&mut connection.output, output, protocol);
            engine.fail(last.verb(), &engine::refused(reason), &mut out);
        }
        self.hold_batch(conn.id, before);
    }

    /// The first of them that are other verbs: one after the other, each with the checks that may turn out differently for it.
    fn run_verbs(&mut self, conn: &mut ConnBatch, now: Now) {
        let Server { engine, connections, input, output, args, batch, .. } = self;
        let connection = &mut connections[conn.id.index as usize];
        if !fast_path_ready(connection) {
            return;
        }
        attach_output(connection, output);
        let before = connection.output.pending_len();
        let Connection { session, output: pending, input: ring, .. } = &mut *connection;
        let bytes = ring.readable(input);
        let (done_before, mut last, mut flow) = (conn.done, None, Flow::Done);
        // What others have left of theirs says nothing here.
        let units = TURN_UNITS.saturating_sub(conn.units);
        let meter = std::mem::replace(&mut engine.meter, Meter::new(units));
        for item in &batch.items[conn.items.clone()] {
            let Way::Verb(verb) = item.way else { break };
            // Large values in the output count against what one client may have of them, which `step` knows.
            if engine.meter.is_spent()
                || pending.large_pending() > 0
                || verb.flags.has(Flags::WRITE) && engine.persistence.holds_writers(&engine.store)
            {
                break;
            }
            let mut out = Out::new(pending, output, session.protocol);
            if out.room() < REPLY_ROOM_BYTES {
                break;
            }
            item.command.fill(bytes, done_before, args);
            engine.store.expect(item.command.first.of_rest(bytes, done_before), &item.hint);
            flow = engine.execute(session, verb, &args.args(bytes), None, &mut out, now);
            batch.verbs.push(verb.id);
            last = Some(verb);
            if !matches!(flow, Flow::Done) {
                break;
            }
            conn.ran += 1;
            conn.items.start += 1;
            conn.done = item.command.end;
        }
        let used = std::mem::replace(&mut engine.meter, meter).used_of(units);
        let Some(last) = last else { return };
        conn.units += (used as usize + (conn.done - done_before) / BYTES_PER_UNIT) as u32;
        connection.input.consume(conn.done - done_before);
        connection.last_verb = Some(last);
        connection.protocol = StreamProtocol::Resp;
        self.hold_batch(conn.id, before);
        if !matches!(flow, Flow::Done) {
            conn.yielded = true;
            let len = self.batch.items[conn.items.start].command.end - conn.done;
            self.finish(conn.id, len, flow, now);
        }
    }

    /// Tells the store which key the command at the front of the plan asks for: it is hashed already.
    fn expect_key(&mut self, conn: &ConnBatch) {
        let Server { engine, connections, input, batch, .. } = self;
        let Some(item) = batch.items[conn.items.clone()].first() else { return };
        let Some(connection) = connections.get(conn.id.index as usize) else { return };
        // Without a key its place says nothing.
        if item.command.first.len > 0 && connection.input.len() + conn.done == conn.input_len {
            let bytes = connection.input.readable(input);
            engine.store.expect(item.command.first.of_rest(bytes, conn.done), &item.hint);
        }
    }

    /// The command at the front of the plan was left to `step`, which has made progress or not.
    fn skip_planned(&mut self, conn: &mut ConnBatch) {
        let Some(item) = self.batch.items[conn.items.clone()].first() else { return };
        let input_len = self.get(conn.id).map_or(0, |connection| connection.input.len());
        if input_len + item.command.end == conn.input_len {
            conn.items.start += 1;
            conn.done = item.command.end;
        } else {
            // It goes on, or it changed what follows: the rest is planned again.
            conn.items.end = conn.items.start;
        }
    }

    /// Counts the planned commands that have run since the clock said `began_us`, each with an equal share of the time.
    fn count(&mut self, began_us: u64) {
        let total = self.batch.calls.iter().sum::<u64>() + self.batch.verbs.len() as u64;
        if total == 0 {
            return;
        }
        let spent_us = (self.resources.clock_us)().saturating_sub(began_us);
        for verbs in self.batch.verbs.chunk_by(|verb, next| verb == next) {
            let calls = verbs.len() as u64;
            self.engine.metrics.record_latencies(verbs[0], calls, spent_us * calls / total);
        }
        self.batch.verbs.clear();
        for ((_, verb), calls) in FastCommand::ALL.into_iter().zip(std::mem::take(&mut self.batch.calls)) {
            self.engine.metrics.called_many(verb, calls, spent_us * calls / total);
        }
    }

    /// Whether a command needs nothing but to be run: none is held, logged, or timed by itself.
    fn fast_path_enabled(&self) -> bool {
        let slower_than_us = self.engine.runtime.slowlog_slower_than_us;
        let timed = (0..TIMED_BY_ITSELF_US).contains(&slower_than_us);
        self.engine.pause.is_off()
            && self.engine.persistence.lets_run(&self.engine.store)
            && !self.engine.options().log_requests
            && !timed
            && !self.hears_misses()
    }
}

/// Whether the connection's next command may run at once, if it is one that can be planned.
fn fast_path_ready(connection: &Connection) -> bool {
    matches!(connection.phase(), Phase::Ready)
        && connection.protocol != StreamProtocol::Frames
        && connection.decoder.is_idle()
        && connection.session.authenticated
        && connection.session.reply_mode == ReplyMode::On
        && !connection.transaction.open
        && (connection.subscriber.is_none() && !connection.is_watching
            || connection.session.protocol == Protocol::Resp3)
        && !connection.tracks_reads
}
