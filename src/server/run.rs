//! One command after the other: decode it, run it when its reply has room, consume its input only once it is answered.
//! (`batch.rs` runs the most common ones many at a time.)

use super::pubsub::PubsubStep;
use super::{Progress, Server, Source, backpressure::command_bytes_max, clients::Action, request_log::Line};
use crate::command::{Flags, Verb, VerbId};
use crate::connection::{CloseReason, Connection, ConnectionId, Phase, StreamProtocol};
use crate::engine::dispatch::{UNCUT_ARGS_MAX, is_one_step, takes_window};
use crate::engine::{Continuation, Flow, Timing};
use crate::limits::VALUE_BYTES_MAX;
use crate::reply::{ErrorKind, Part};
use crate::time::{Millis, Now};
use crate::wire::arguments::Args;
use crate::wire::encode::{Out, Protocol};
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
            if connection.input.len() >= bytes_max {
                self.command_too_long(id, bytes_max);
                return Progress::Waiting;
            }
        }
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
            self.log_request(id, len, &before, flow);
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

    /// A password was compared: notes it if it was wrong, with a line in the log, which keeps to a few of a kind.
    #[cold]
    fn note_password(&mut self, id: ConnectionId, count_before: u64, now: Millis) {
        let is_wrong = self.engine.metrics.errors_of(ErrorKind::WrongPassword) > count_before;
        let Some(connection) = self.get_mut(id) else { return };
        connection.held_until = Millis(0);
        let peer = connection.peer;
        if is_wrong {
            log::warn!(peer:%, reason = "wrong-password"; "{peer}: wrong password");
            self.engine.metrics.counters.auth_failures += 1;
            self.auth_throttle.note_failure(peer.ip(), now);
        }
    }

    /// Whether a command with a password has to wait, because wrong ones have come from that address.
    #[cold]
    fn is_password_held(&mut self, id: ConnectionId, now: Millis) -> bool {
        let Server { connections, auth_throttle, engine, .. } = self;
        let connection = &mut connections[id.index as usize];
        let until = match connection.held_until {
            until if until != Millis(0) => until,
            _ => {
                let delay_ms = auth_throttle.delay_ms(connection.peer.ip(), now);
                if delay_ms == 0 {
                    return false;
                }
                engine.metrics.counters.auth_delays += 1;
                now.plus(delay_ms)
            }
        };
        connection.held_until = until;
        until > now
    }

    /// The table holds a window of the command's arguments: fills it with all of them, unless the verb works them off one
    /// after another.
    #[cold]
    fn fill_table(&mut self, id: ConnectionId, len: usize) {
        let Server { engine, connections, input, args, .. } = self;
        let connection = &connections[id.index as usize];
        let bytes = &connection.input.readable(input)[..len];
        let verb = crate::command::resolve(&args.args(bytes));
        let is_enough = verb.is_some_and(|verb| takes_window(verb.id))
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

    /// Brings up to date what only the server knows, where the verb shows it.
    fn refresh_stats(&mut self, verb: &Verb, now: Now) {
        if matches!(verb.id, VerbId::Info | VerbId::MemoryStats | VerbId::Lastsave) {
            self.refresh(now);
        }
    }

    /// Brings the engine's facts and counters up to date; reads what the system says of the process.
    pub fn refresh(&mut self, now: Now) {
        self.note_ops_rate(now);
        let buffer_bytes = self.buffer_bytes() as u64;
        let may_hold = !self.engine.pause.is_off() || self.engine.persistence.has_held;
        let held = if may_hold { self.connections.iter().filter(|(_, it)| it.is_held()).count() } else { 0 };
        let process_stats = &mut self.engine.process_stats;
        process_stats.held_clients = held as u64;
        process_stats.connected_clients = self.connections.len() as u64;
        process_stats.buffer_bytes = buffer_bytes;
        process_stats.uptime_ms = now.monotonic.0;
        let sessions = self.frames.sessions();
        process_stats.frame_sessions = sessions.len() as u64;
        process_stats.frame_sessions_opened = sessions.opened();
        process_stats.frame_sessions_dropped = sessions.dropped();
        self.pubsub.fill(process_stats);
        self.changes.tracking.fill(process_stats);
        (self.resources.fill_process_stats)(process_stats);
        self.engine.metrics.datagrams = *self.frames.counters();
    }

    /// Looks the command up and decides whether it runs now; the argument table stays as it is.
    fn prepare(&mut self, id: ConnectionId, len: usize, now: Now) -> Prepared {
        let Server { engine, connections, input, output, args, pubsub, .. } = self;
        let connection = &mut connections[id.index as usize];
        let is_replying = connection.is_replying();
        let Connection {
            session,
            output: pending,
            input: ring,
            transaction,
            request,
            last_verb,
            subscriber,
            is_watching,
            ..
        } = connection;
        let args = args.args(&ring.readable(input)[..len]);
        if is_replying {
            return crate::command::resolve(&args).map_or(Prepared::Answered, Prepared::Runnable);
        }
        let mut out = Out::new(pending, output, session.protocol);
        out.mute(session.is_muted());
        let Some(verb) = engine.admit(session, &args, &mut out) else {
            // Its own refusal has been answered; the next command's arguments are not to blame for this one's.
            request.refused = None;
            transaction.dirty |= transaction.open;
            return Prepared::Answered;
        };
        *last_verb = Some(verb);
        let listens = subscriber.is_some_and(|id| !pubsub.table.has_none(id)) || *is_watching;
        if listens && session.protocol == Protocol::Resp2 && !super::pubsub::is_allowed(verb) {
            request.refused = None;
            transaction.dirty |= transaction.open;
            let error = ErrorKind::OnlySubscriptions.of(verb.name.as_bytes());
            engine.refuse(session, Some(verb.id), &error, &mut out);
            return Prepared::Answered;
        }
        if matches!(verb.id, VerbId::Auth | VerbId::Hello)
            && engine.has_password()
            && gives_password(verb, &args)
        {
            if self.is_password_held(id, now.monotonic) {
                return Prepared::Held;
            }
            return self.prepare_rest(id, verb, len, now);
        }
        self.prepare_rest(id, verb, len, now)
    }

    /// The same for a command that was admitted.
    #[inline]
    fn prepare_rest(&mut self, id: ConnectionId, verb: &'static Verb, len: usize, now: Now) -> Prepared {
        let Server { engine, connections, output, .. } = self;
        let connection = &mut connections[id.index as usize];
        let Connection { session, output: pending, transaction, request, .. } = connection;
        let mut out = Out::new(pending, output, session.protocol);
        out.mute(session.is_muted());
        if let Some(error) = engine.persistence.refuses(verb, transaction.flags) {
            request.refused = None;
            transaction.dirty |= transaction.open;
            engine.refuse(session, Some(verb.id), &error.plain(), &mut out);
            if error == ErrorKind::ExecMisconf {
                self.drop_transaction(id);
            }
            return Prepared::Answered;
        }
        if engine.is_held(verb, transaction.flags, now.monotonic) {
            return Prepared::Held;
        }
        if let Some(refused) = request.refused.take() {
            transaction.dirty |= transaction.open;
            engine.refuse(session, Some(verb.id), &crate::engine::refused(refused), &mut out);
            return Prepared::Answered;
        }
        if transaction.open && !super::transaction::runs_at_once(verb) {
            return self.queue_command(id, verb, len, now);
        }
        if is_long_in_one_go(verb) && !out.is_empty() {
            return Prepared::NoRoom;
        }
        if verb.id == VerbId::Waitaof && self.waits_for_sync(id, len, now.monotonic) {
            return Prepared::Held;
        }
        Prepared::Runnable(verb)
    }

    /// Runs the command that the argument table holds.
    pub(super) fn execute(
        &mut self,
        id: ConnectionId,
        verb: &'static Verb,
        source: Source,
        now: Now,
    ) -> Flow {
        let connection = &mut self.connections[id.index as usize];
        let continuation = connection.take_continuation();
        if verb.flags.has(Flags::PUBSUB) || verb.id == VerbId::Ping && connection.subscriber.is_some() {
            return self.execute_pubsub(verb, PubsubStep { id, source, job: continuation, now });
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
                return self.execute_watch(verb.id, PubsubStep { id, source, job: None, now });
            }
            if is_tracking(verb) {
                return self.execute_tracking(verb, PubsubStep { id, source, job: None, now });
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
    fn finish(&mut self, id: ConnectionId, len: usize, flow: Flow, now: Now) -> Progress {
        let Some(connection) = self.connections.get_mut(id.index as usize) else { return Progress::Waiting };
        if connection.generation != id.generation {
            return Progress::Waiting;
        }
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
            match continuation {
                Continuation::Count { next, .. } | Continuation::Answered { next } => {
                    let bytes = &connection.input.readable(&self.input)[..len];
                    connection.decoder.hold_at(bytes, next as usize);
                }
                _ => connection.decoder.hold(len),
            }
            connection.set_phase(Phase::Replying(continuation));
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
            Decoder::each_large(bytes, |large| self.engine.store.large_release(large));
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

    /// One line for a request and its reply, where the server was started with `--log-requests`.
    #[cold]
    fn log_request(&self, id: ConnectionId, len: usize, before: &Before, flow: Flow) {
        let Some(connection) = self.get(id) else { return };
        let bytes = connection.input.readable(&self.input);
        let args = self.args.args(&bytes[..len.min(bytes.len())]);
        let line = Line {
            request_len: len,
            reply_len: connection.output.pending_len().saturating_sub(before.output_len),
            outcome: match flow {
                _ if self.engine.metrics.counters.error_replies > before.error_count => "error",
                Flow::Yield(_) => "unfinished",
                Flow::Done | Flow::Close => "ok",
            },
            micros: (self.resources.clock_us)().saturating_sub(before.started_us),
        };
        super::request_log::write(connection, &args, &line);
    }
}

/// Whether a verb is about the tracking of keys.
fn is_tracking(verb: &Verb) -> bool {
    use VerbId::{ClientCaching, ClientGetredir, ClientTracking, ClientTrackinginfo};
    matches!(verb.id, ClientTracking | ClientCaching | ClientGetredir | ClientTrackinginfo)
}

/// How things stood before a command, for its log line.
struct Before {
    output_len: u64,
    error_count: u64,
    started_us: u64,
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

/// Whether a verb's reply may be long and is made in one go: it begins with an empty output, so that what one client may
/// have of the output buffers is there for this reply alone.
fn is_long_in_one_go(verb: &Verb) -> bool {
    #[cfg(feature = "scripts")]
    if matches!(verb.id, VerbId::Eval | VerbId::EvalRo | VerbId::Evalsha | VerbId::EvalshaRo) {
        return true;
    }
    use VerbId::{
        Command, CommandDocs, CommandInfo, CommandList, ConfigGet, Exec, Info, LatencyHistogram, SlowlogGet,
    };
    matches!(
        verb.id,
        Command
            | CommandDocs
            | CommandInfo
            | CommandList
            | ConfigGet
            | Exec
            | Info
            | LatencyHistogram
            | SlowlogGet
    )
}

/// Whether a command of these verbs has a password among its arguments.
fn gives_password(verb: &Verb, args: &Args<'_>) -> bool {
    let is_auth = |at| args.bytes(at).is_some_and(|word| word.eq_ignore_ascii_case(b"auth"));
    verb.id == VerbId::Auth || (2..args.len().min(8)).any(is_auth)
}

/// What is to be done with a decoded command.
#[derive(Clone, Copy, Debug)]
pub(super) enum Prepared {
    /// The server is paused: later, unconsumed.
    Held,
    /// Its reply is long and cannot be cut: later, unconsumed, when the replies before it are sent.
    NoRoom,
    /// It has been answered, by an error.
    Answered,
    /// It waits for EXEC; its references have moved to the queue.
    Queued,
    /// It is to be run.
    Runnable(&'static Verb),
}
