//! One command after the other: decode it, run it when its reply has room, consume its input only once it is answered.
//! (`batch.rs` runs the most common ones many at a time.)

use super::prepare::Prepared;
use super::pubsub::PubsubStep;
use super::request_log::Before;
use super::{Progress, Server, Source, backpressure::command_bytes_max, clients::Action};
use crate::command::{Arguments, Flags, Verb, VerbId};
use crate::connection::{CloseReason, Connection, ConnectionId, Phase, StreamProtocol};
use crate::engine::dispatch::{UNCUT_ARGS_MAX, is_one_step};
use crate::engine::{Continuation, Flow, Timing};
use crate::limits::VALUE_BYTES_MAX;
use crate::mutation::LargeRef;
use crate::reply::{ErrorKind, Part};
use crate::time::Now;
use crate::wire::arguments::Args;
use crate::wire::encode::Out;
use crate::wire::malformed::Malformed;
use crate::wire::resp::{Bounds, Decoder, Step};
use core::net::SocketAddr;
use std::io::Write;

/// Of the commands that one connection runs in a turn, the first few and every so many after them are timed: reading
/// a clock costs a fifth of a GET, and the sum over a long pipeline says as much.
const TIMED_FIRST: usize = 4;
const TIMED_EVERY: usize = 16;

/// The first byte of a TLS connection: a record of the handshake (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

impl Server {
    /// One command of a connection, its `index`th in this turn, or a part of one.
    pub(super) fn step(&mut self, id: ConnectionId, now: Now, index: usize) -> Progress {
        let timed = index < TIMED_FIRST || index.is_multiple_of(TIMED_EVERY);
        let Some(connection) = self.get(id) else { return Progress::Waiting };
        if connection.is_draining() || connection.body().is_some() {
            return self.wait_for_input(id, now);
        }
        if connection.input.is_empty() {
            return self.wait_for_input(id, now);
        }
        // What is taken costs something even where nothing runs: an empty line, a piece of a body.
        self.engine.meter.charge(1);
        if !self.reply_room(id, now.monotonic) {
            return Progress::Waiting;
        }
        match self.stream_protocol(id) {
            StreamProtocol::Frames => return self.step_framed(id, now),
            StreamProtocol::Tls => {
                self.protocol_error(id, Malformed::TlsHello);
                return Progress::Made;
            }
            StreamProtocol::Resp | StreamProtocol::Unknown => {}
        }
        let Server { connections, input, args, .. } = self;
        let connection = &mut connections[id.index as usize];
        // A value over --max-value is not malformed: it is refused by its command, and the connection lives.
        let bounds =
            Bounds { authenticated: connection.session.authenticated, max_bulk_bytes: VALUE_BYTES_MAX };
        let mut step = connection.decoder.decode(connection.input.readable(input), &bounds, args);
        if step == Ok(Step::NeedMore) && !connection.input.is_straight() {
            connection.input.straighten(input);
            step = connection.decoder.decode(connection.input.readable(input), &bounds, args);
        }
        match step {
            Ok(Step::NeedMore) => return self.wait_for_input(id, now),
            Ok(Step::Skip { consumed }) => connection.input.consume(consumed),
            Ok(Step::Body { at, len }) => {
                connection.request.has_large = true;
                self.begin_body(id, at, len, now);
            }
            Ok(Step::Ready { consumed }) => return self.run_command(id, consumed, now, timed),
            Err(malformed) => self.protocol_error(id, malformed),
        }
        Progress::Made
    }

    /// What the connection speaks, which its first byte tells.
    fn stream_protocol(&mut self, id: ConnectionId) -> StreamProtocol {
        let connection = &mut self.connections[id.index as usize];
        let first = connection.input.readable(&self.input).first();
        if connection.protocol == StreamProtocol::Unknown {
            connection.protocol = match first {
                Some(&crate::wire::frame::MAGIC) => StreamProtocol::Frames,
                Some(&TLS_HANDSHAKE) => StreamProtocol::Tls,
                _ => StreamProtocol::Resp,
            };
        }
        connection.protocol
    }

    /// Nothing can be run: notes since when a command is incomplete, and ends a connection that will send no more.
    pub(super) fn wait_for_input(&mut self, id: ConnectionId, now: Now) -> Progress {
        let Server { connections, input, .. } = self;
        let connection = &mut connections[id.index as usize];
        if connection.input.is_empty() && connection.body().is_none() {
            connection.input.release(input);
            connection.request_is_whole();
        } else {
            // A client that stops here, on purpose or not, holds no more than it has to.
            connection.input.shrink(input);
            connection.request_is_incomplete(now.monotonic);
            let bytes_max = command_bytes_max(input, connection.session.authenticated);
            let is_too_long = connection.input.len() >= bytes_max;
            // A stranger's bound does not depend on how much there is.
            let may_grow = connection.session.authenticated;
            if is_too_long && !(may_grow && self.borrow_for_command(id, now)) {
                self.command_too_long(id, bytes_max);
                return Progress::Waiting;
            }
        }
        let connection = &mut self.connections[id.index as usize];
        if let Some(reason) = connection.end_reason {
            connection.close(reason);
        }
        Progress::Waiting
    }

    /// Runs the whole command of `len` bytes at the front of the input.
    fn run_command(&mut self, id: ConnectionId, len: usize, now: Now, timed: bool) -> Progress {
        // Whole: from now on it is the server that takes its time, or the client that does not take the answer.
        self.connections[id.index as usize].request_is_whole();
        if self.args.is_window() {
            self.fill_table(id, len);
        }
        let timed = timed || self.engine.options().log_requests;
        let started = if timed { (self.resources.clock_us)() } else { 0 };
        let before = Before {
            output_len: self.connections[id.index as usize].output.pending_len(),
            error_count: self.engine.metrics.counters.error_replies,
            started_us: started,
        };
        let flow = match self.prepare(id, len, now) {
            Prepared::Held => {
                self.engine.note_held();
                let connection = &mut self.connections[id.index as usize];
                connection.decoder.hold(len);
                connection.set_phase(Phase::Paused);
                return Progress::Waiting;
            }
            Prepared::NoRoom => {
                self.connections[id.index as usize].decoder.hold(len);
                return Progress::Waiting;
            }
            Prepared::Answered => Flow::Done,
            Prepared::Queued => {
                self.connections[id.index as usize].request.has_large = false;
                Flow::Done
            }
            Prepared::Runnable(verb) => {
                self.refresh_stats(verb, now);
                let timed = timed || is_one_step(verb.id);
                let started =
                    if before.started_us == 0 && timed { (self.resources.clock_us)() } else { started };
                let waiting_len = self.waiting_len(id);
                let flow = if matches!(verb.id, VerbId::Auth | VerbId::Hello) {
                    let count_before = self.engine.metrics.errors_of(ErrorKind::WrongPassword);
                    let flow = self.execute(id, verb, Source::Input { len }, now);
                    self.note_password(id, count_before, now.monotonic);
                    flow
                } else {
                    self.execute(id, verb, Source::Input { len }, now)
                };
                if let Some(waiting_len) = waiting_len {
                    self.hold_reply(id, verb, (len, waiting_len));
                }
                if timed {
                    let micros = (self.resources.clock_us)().saturating_sub(started);
                    self.note_time(id, verb, (len, micros), now);
                }
                flow
            }
        };
        if self.engine.options().log_requests {
            self.log_request(id, len, &before, &flow);
        }
        let is_config = matches!(flow, Flow::Done) && self.changes_config(id);
        let progress = self.finish(id, len, flow, now);
        self.after_tracked_command(id, now);
        if is_config {
            self.follow_listeners();
        }
        self.publish_changes(now);
        progress
    }

    /// Whether the command that a connection ran may have changed the configuration.
    fn changes_config(&self, id: ConnectionId) -> bool {
        let last = self.get(id).and_then(|connection| connection.last_verb);
        last.is_some_and(|verb| matches!(verb.id, VerbId::ConfigSet | VerbId::Exec))
    }

    /// The table holds a window of the command's arguments: fills it with all of them, unless the verb works them off one
    /// after another.
    #[cold]
    fn fill_table(&mut self, id: ConnectionId, len: usize) {
        let Server { engine, connections, input, args, .. } = self;
        let connection = &connections[id.index as usize];
        let bytes = &connection.input.readable(input)[..len];
        let verb = crate::command::resolve(&args.args(bytes));
        let is_enough = verb.is_some_and(|verb| verb.arguments == Arguments::Sliced)
            && !connection.transaction.open
            && !engine.options().log_requests;
        if !is_enough {
            Decoder::again(bytes, args);
        }
    }

    /// Tells the engine how long a command took.
    fn note_time(&mut self, id: ConnectionId, verb: &'static Verb, (len, micros): (usize, u64), now: Now) {
        let Server { engine, connections, input, args, .. } = self;
        let connection = &connections[id.index as usize];
        if connection.generation != id.generation {
            return;
        }
        let bytes = &connection.input.readable(input)[..len];
        if verb.id == VerbId::Exec {
            // The table holds the last of what it ran.
            Decoder::again(bytes, args);
        } else if args.is_window() {
            Decoder::begin_again(bytes, args);
        }
        let mut peer = [0; PEER_TEXT_BYTES];
        let peer = if engine.was_long_step() || engine.is_slow(verb, micros) {
            text_of(connection.peer, &mut peer)
        } else {
            b""
        };
        engine.record_latency(&connection.session, verb, &args.args(bytes), Timing { micros, peer, now });
    }

    /// Runs the command that the argument table holds, or goes on with it.
    pub(super) fn execute(
        &mut self,
        id: ConnectionId,
        verb: &'static Verb,
        source: Source,
        now: Now,
    ) -> Flow {
        let connection = &mut self.connections[id.index as usize];
        let continuation = connection.take_continuation(&mut self.continuations);
        self.execute_from(id, verb, source, continuation, now)
    }

    /// The same from where its caller says. Until it returns the connection keeps its input, whatever is pushed to it: if
    /// that is too much, it drains.
    pub(super) fn execute_from(
        &mut self,
        id: ConnectionId,
        verb: &'static Verb,
        source: Source,
        continuation: Option<Continuation>,
        now: Now,
    ) -> Flow {
        let before = self.pubsub.running.replace(id);
        let flow = self.execute_as_running(id, verb, source, continuation, now);
        self.pubsub.running = before;
        flow
    }

    fn execute_as_running(
        &mut self,
        id: ConnectionId,
        verb: &'static Verb,
        source: Source,
        continuation: Option<Continuation>,
        now: Now,
    ) -> Flow {
        let connection = &mut self.connections[id.index as usize];
        if verb.flags.has(Flags::PUBSUB) || verb.id == VerbId::Ping && connection.subscriber.is_some() {
            return self.execute_pubsub(verb, PubsubStep { id, source, now }, continuation);
        }
        let is_begun = continuation.is_none();
        if connection.tracks_reads && is_begun {
            self.note_reads(id, verb, source, now);
        }
        if self.hears_misses() && is_begun {
            self.note_misses(id, verb, source, now);
        }
        let Server { engine, connections, input, output, args, queues, .. } = self;
        let connection = &mut connections[id.index as usize];
        let Connection { session, output: pending, input: ring, transaction, .. } = connection;
        let bytes = match source {
            Source::Input { len } => &ring.readable(input)[..len],
            Source::Queue => transaction.queue.readable(queues),
        };
        let args: Args<'_> = match source {
            Source::Input { .. } => args.args(bytes),
            Source::Queue => args.spans(bytes),
        };
        let mut out = Out::new(pending, output, session.protocol);
        out.mute(session.is_muted());
        if verb.flags.has(Flags::CONNECTION) && verb.id != VerbId::Quit {
            if args.len() > UNCUT_ARGS_MAX {
                engine.refuse(session, Some(verb.id), &ErrorKind::Syntax.plain(), &mut out);
                return Flow::Done;
            }
            if matches!(verb.id, VerbId::Watchprefix | VerbId::Unwatchprefix) {
                return self.execute_watch(verb.id, PubsubStep { id, source, now });
            }
            if is_tracking(verb) {
                return self.execute_tracking(verb, PubsubStep { id, source, now });
            }
            return match Action::parse(verb, &args) {
                Ok(action) => {
                    if continuation.is_none() {
                        engine.metrics.called(verb.id);
                    }
                    let flow = self.perform(id, (action, continuation), source, now);
                    if !matches!(flow, Flow::Yield(_)) {
                        self.connections[id.index as usize].session.finished();
                    }
                    flow
                }
                Err(error) => {
                    engine.refuse(session, Some(verb.id), &error, &mut out);
                    Flow::Done
                }
            };
        }
        engine.execute(session, verb, &args, continuation, &mut out, now)
    }

    /// Settles a command after it ran: input, references, and what its flow asks for.
    pub(super) fn finish(&mut self, id: ConnectionId, len: usize, flow: Flow, now: Now) -> Progress {
        let found = self.connections.get_mut(id.index as usize).filter(|it| it.generation == id.generation);
        let Some(connection) = found else {
            if let Flow::Yield(continuation) = flow {
                self.engine.abandon(continuation);
            }
            return Progress::Waiting;
        };
        if connection.output.overflowed() {
            if let Flow::Yield(continuation) = flow {
                self.engine.abandon(continuation);
            }
            // Held, so that its large arguments are found and released.
            connection.decoder.hold(len);
            self.drop_at_once(id, CloseReason::ReplyTooLong);
            return Progress::Waiting;
        }
        if let Flow::Yield(continuation) = flow {
            if connection.is_draining() {
                // It was pushed more than it takes while its command ran. Held, as above.
                self.engine.abandon(continuation);
                connection.decoder.hold(len);
                self.wake_queue.push(id.index);
                return Progress::Waiting;
            }
            match continuation {
                Continuation::Count { next, .. } | Continuation::Answered { next } => {
                    let bytes = &connection.input.readable(&self.input)[..len];
                    connection.decoder.hold_at(bytes, next as usize);
                }
                _ => connection.decoder.hold(len),
            }
            connection.put_continuation(continuation, &mut self.continuations);
            // Others have their turn between two pieces of a long reply.
            if connection.output.is_empty() {
                self.wake_queue.push(id.index);
            }
            return Progress::Waiting;
        }
        if std::mem::take(&mut connection.readiness.push_waits) {
            self.wake_queue.push(id.index);
            self.flush_deferred(id, now);
        }
        let connection = &mut self.connections[id.index as usize];
        if flow == Flow::Close {
            connection.close(CloseReason::Quit);
        }
        if std::mem::take(&mut connection.request.has_large) {
            let bytes = &connection.input.readable(&self.input)[..len];
            // The markers go with the command.
            Decoder::each_large(bytes, |id| self.engine.store.large_release(LargeRef::from_raw(id)));
        }
        connection.input.consume(len);
        Progress::Made
    }

    /// The command that a client sends does not fit what one client may have of the input buffers.
    #[cold]
    fn command_too_long(&mut self, id: ConnectionId, bytes_max: usize) {
        let Server { engine, connections, output, .. } = self;
        let connection = &mut connections[id.index as usize];
        log::warn!(
            peer:% = connection.peer, reason = "command-too-long", limit_bytes = bytes_max;
            "{}: a command is longer than {bytes_max} bytes without its large arguments",
            connection.peer
        );
        let mut out = Out::new(&mut connection.output, output, connection.session.protocol);
        let error = ErrorKind::CommandTooLong.of_both(Part::Number(bytes_max as u64), Part::Number(0));
        error.write(|parts| out.error_parts(parts));
        engine.metrics.error(error.kind);
        connection.close(CloseReason::CommandTooLong);
    }

    fn protocol_error(&mut self, id: ConnectionId, malformed: Malformed) {
        let connection = &mut self.connections[id.index as usize];
        let (peer, reason, waiting_bytes) = (connection.peer, malformed.name(), connection.input.len());
        match malformed.advice() {
            Some(advice) => log::warn!(peer:%, reason, waiting_bytes; "{peer}: {advice}"),
            None => {
                log::warn!(peer:%, reason, waiting_bytes; "{peer}: {reason} ({waiting_bytes} bytes waiting)")
            }
        }
        Out::new(&mut connection.output, &mut self.output, connection.session.protocol).malformed(malformed);
        connection.close(match malformed {
            Malformed::CrossProtocol | Malformed::TlsHello => CloseReason::CrossProtocol,
            _ => CloseReason::ProtocolError,
        });
    }
}

/// Whether a verb is about the tracking of keys.
fn is_tracking(verb: &Verb) -> bool {
    use VerbId::{ClientCaching, ClientGetredir, ClientTracking, ClientTrackinginfo};
    matches!(verb.id, ClientTracking | ClientCaching | ClientGetredir | ClientTrackinginfo)
}

/// Bytes of an address as text, at most.
pub(super) const PEER_TEXT_BYTES: usize = 64;

/// An address as text.
pub(super) fn text_of(address: SocketAddr, buffer: &mut [u8; PEER_TEXT_BYTES]) -> &[u8] {
    let mut rest = &mut buffer[..];
    // Cut if it did not fit, which no address does.
    let _ = write!(rest, "{address}");
    let left = rest.len();
    &buffer[..PEER_TEXT_BYTES - left]
}
