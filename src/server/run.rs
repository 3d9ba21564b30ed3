//! One command after the other: decode it, run it when its reply has room, consume its input only once it is answered.
//! (`batch.rs` runs the most common ones many at a time.)

use super::{Progress, Server, Source, backpressure::command_bytes_max, clients::Action, request_log::Line};
use crate::command::{Flags, Verb, VerbId};
use crate::connection::{CloseReason, Connection, ConnectionId, Phase, StreamProtocol};
use crate::engine::{Flow, Timing};
use crate::limits::VALUE_BYTES_MAX;
use crate::reply::{ErrorKind, Part};
use crate::time::Now;
use crate::wire::arguments::{Arg, Args};
use crate::wire::encode::Out;
use crate::wire::malformed::Malformed;
use crate::wire::resp::{Bounds, Decoder, Step};
use core::net::SocketAddr;
use std::io::Write;

/// Of the commands that one connection runs in a turn, the first few and every so many after them are timed: reading
/// a clock costs a fifth of a GET, and the sum over a long pipeline says as much.
const TIMED_FIRST: usize = 4;
const TIMED_EVERY: usize = 16;

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
        if self.is_framed(id) {
            return self.step_framed(id, now);
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

    /// Whether the connection speaks frames, which its first byte tells.
    fn is_framed(&mut self, id: ConnectionId) -> bool {
        let connection = &mut self.connections[id.index as usize];
        let first = connection.input.readable(&self.input).first();
        if connection.protocol == StreamProtocol::Unknown {
            connection.protocol = match first {
                Some(&crate::wire::frame::MAGIC) => StreamProtocol::Frames,
                _ => StreamProtocol::Resp,
            };
        }
        connection.protocol == StreamProtocol::Frames
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
        let timed = timed || self.engine.options().log_requests;
        let started = if timed { (self.resources.clock_us)() } else { 0 };
        let before = Before {
            output_len: self.connections[id.index as usize].output.pending_len(),
            error_count: self.engine.metrics.counters.error_replies,
            started_us: started,
        };
        let flow = match self.prepare(id, len, now) {
            Prepared::Held => {
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
                let flow = if matches!(verb.id, VerbId::Auth | VerbId::Hello) {
                    let count_before = self.engine.metrics.errors_of(ErrorKind::WrongPassword);
                    let flow = self.execute(id, verb, Source::Input { len }, now);
                    self.log_wrong_password(id, count_before);
                    flow
                } else {
                    self.execute(id, verb, Source::Input { len }, now)
                };
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
        self.finish(id, len, flow)
    }

    /// A line for a password that was wrong; the log keeps to a few of a kind.
    #[cold]
    fn log_wrong_password(&self, id: ConnectionId, count_before: u64) {
        if self.engine.metrics.errors_of(ErrorKind::WrongPassword) > count_before
            && let Some(connection) = self.get(id)
        {
            log::warn!("{}: wrong password", connection.peer);
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
        }
        let mut peer = [0; PEER_TEXT_BYTES];
        let peer = if engine.is_slow(verb, micros) { text_of(connection.peer, &mut peer) } else { b"" };
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
        let process_stats = &mut self.engine.process_stats;
        process_stats.connected_clients = self.connections.len() as u64;
        process_stats.buffer_bytes = buffer_bytes;
        process_stats.uptime_ms = now.monotonic.0;
        let sessions = self.frames.sessions();
        process_stats.frame_sessions = sessions.len() as u64;
        process_stats.frame_sessions_opened = sessions.opened();
        process_stats.frame_sessions_dropped = sessions.dropped();
        (self.resources.fill_process_stats)(process_stats);
        self.engine.metrics.datagrams = *self.frames.counters();
    }

    /// Looks the command up and decides whether it runs now; the argument table stays as it is.
    fn prepare(&mut self, id: ConnectionId, len: usize, now: Now) -> Prepared {
        let Server { engine, connections, input, output, args, .. } = self;
        let connection = &mut connections[id.index as usize];
        let is_replying = connection.is_replying();
        let Connection { session, output: pending, input: ring, transaction, request, last_verb, .. } =
            connection;
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
        let Server { engine, connections, input, output, args, queues, .. } = self;
        let connection = &mut connections[id.index as usize];
        let continuation = connection.take_continuation();
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
            return match Action::parse(verb, &args) {
                Ok(action) => {
                    engine.metrics.called(verb.id);
                    let flow = self.perform(id, action, source, now);
                    self.connections[id.index as usize].session.finished();
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
    fn finish(&mut self, id: ConnectionId, len: usize, flow: Flow) -> Progress {
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
            connection.decoder.hold(len);
            connection.set_phase(Phase::Replying(continuation));
            // Others have their turn between two pieces of a long reply.
            if connection.output.is_empty() {
                self.wake_queue.push(id.index);
            }
            return Progress::Waiting;
        }
        if std::mem::take(&mut connection.readiness.push_waits) {
            self.wake_queue.push(id.index);
        }
        if flow == Flow::Close {
            connection.close(CloseReason::Quit);
        }
        if std::mem::take(&mut connection.request.has_large) {
            let args = self.args.args(&connection.input.readable(&self.input)[..len]);
            for arg in args.iter() {
                if let Arg::Large(large) = arg {
                    self.engine.store.large_release(large);
                }
            }
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
        log::warn!("{}: {} ({} bytes waiting)", connection.peer, malformed.name(), connection.input.len());
        Out::new(&mut connection.output, &mut self.output, connection.session.protocol).malformed(malformed);
        connection.close(match malformed {
            Malformed::CrossProtocol => CloseReason::CrossProtocol,
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
    use VerbId::{
        ClientList, Command, CommandDocs, CommandInfo, CommandList, ConfigGet, Exec, Info, LatencyHistogram,
        SlowlogGet,
    };
    matches!(
        verb.id,
        ClientList
            | Command
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
