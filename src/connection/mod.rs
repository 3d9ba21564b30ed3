//! What the server keeps of one TCP connection: where it stands in reading, executing and answering. It does no I/O and
//! reads no clock; the methods of [`Server`](crate::server::Server) move it on.
//!
//! | file | what it holds |
//! |---|---|
//! | `phase.rs` | the `Phase` of a connection with its transitions, and its `Readiness` |
//! | `continuations.rs` | where commands stand that are answered piece by piece |
//! | `close.rs` | why connections end |
//! | `subscription.rs` | which subscriber it is |

mod close;
mod continuations;
mod phase;
mod subscription;

pub use close::CloseReason;
pub(crate) use continuations::Continuations;
pub(crate) use phase::{Body, BufferKind, Phase, Readiness, Request, StreamProtocol, Unfinished};
pub(crate) use subscription::{SubscriberId, TrackerId};

use crate::buffer::ring::Ring;
use crate::command::{Flags, Verb};
use crate::engine::{Continuation, session::Session};
use crate::limits::{LONG_RING_BYTES, RING_BYTES};
use crate::mutation::{LargeRef, Revision};
use crate::time::Millis;
use crate::wire::output::Output;
use crate::wire::resp::Decoder;
use core::net::{IpAddr, SocketAddr};
use std::mem::ManuallyDrop;

/// Names a connection for as long as it is open: a slot is used again, a generation never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// The slot in the slab.
    pub index: u32,
    /// Which of the connections that have had this slot.
    pub generation: u32,
}

/// What MULTI has queued and WATCH looks at; the bytes are in the input buffers.
#[derive(Default)]
pub(crate) struct Transaction {
    /// The first of the queued commands, as `server/transaction/queue.rs` writes them.
    pub queue: Ring,
    /// Watched keys with the revisions they had.
    pub watched: Ring,
    /// The flags of the verbs in `queue`, together.
    pub flags: Flags,
    /// What follows `queue`, in the store; when the server ends, it goes with it.
    pub spill: ManuallyDrop<Option<LargeRef>>,
    /// Commands that are queued.
    pub queued_count: u32,
    /// Keys that they have, each command counting as one at least.
    pub key_count: u32,
    /// Bytes of the store that they take, at least.
    pub needed_bytes: u64,
    /// Between MULTI and EXEC or DISCARD.
    pub open: bool,
    /// A command could not be queued: EXEC will refuse.
    pub dirty: bool,
    /// It made no progress, and its memory went to another one: EXEC will refuse.
    pub reclaimed: bool,
    /// There are large values among the arguments of the queued commands.
    pub has_large: bool,
}

/// How long a buffer a connection is given at first. A client that fills its ring, or whose replies do, gets a long one the
/// next time; one that needs less than the usual ring twice in a row, the usual one (as Netty's
/// `AdaptiveRecvByteBufAllocator` does).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BufferLength {
    #[default]
    Usual,
    Long,
    /// Long, but the last time the usual one would have done.
    LongOnceMore,
}

impl BufferLength {
    pub(crate) const fn bytes(self) -> usize {
        match self {
            BufferLength::Usual => RING_BYTES,
            BufferLength::Long | BufferLength::LongOnceMore => LONG_RING_BYTES,
        }
    }

    pub(crate) fn is_long(self) -> bool {
        self != BufferLength::Usual
    }

    /// What follows where the usual length would have done.
    fn shorter(self) -> BufferLength {
        match self {
            BufferLength::Long => BufferLength::LongOnceMore,
            BufferLength::LongOnceMore | BufferLength::Usual => BufferLength::Usual,
        }
    }
}

/// A client that has sent, or taken, this much since its time limit was last set is not stuck: the limit begins again. One
/// that takes less, however often, would hold what it is sent for ever.
pub(crate) const PROGRESS_BYTES: u64 = 64 * 1024;

/// One TCP connection.
///
/// Kinds of method, and who calls them:
///
/// - *Getters*: `peer`, `closing`, `phase`, `is_draining`, `body`, `request_started`.
/// - *`handle_*`*, called by the server when something has happened outside: `handle_input` (bytes have come),
///   `handle_end` (the peer sends no more), `handle_sent` and `handle_blocked` (the socket took output, or took no more),
///   `handle_pause_end`.
/// - *Mutators*, called while commands run: `set_phase` and what is built on it (`put_continuation`,
///   `take_continuation`, `close`). `set_phase` is the only place where the phase changes.
///
/// In a turn: `handle_input`, then commands run and change the phase, then `handle_sent` or `handle_blocked`. Once
/// `is_draining`, only `handle_sent` and `handle_blocked` follow.
pub struct Connection {
    pub(crate) session: Session,
    pub(crate) peer: SocketAddr,
    /// The address that it came to, where the server listens at all of them.
    pub(crate) local: Option<IpAddr>,
    pub(crate) generation: u32,
    pub(crate) input: Ring,
    pub(crate) decoder: Decoder,
    pub(crate) output: Output,
    /// By what the last reads and replies needed.
    pub(crate) input_length: BufferLength,
    pub(crate) output_length: BufferLength,
    /// For CLIENT LIST.
    pub(crate) last_verb: Option<&'static Verb>,
    pub(crate) transaction: Transaction,
    /// Its row, if it is subscribed to anything.
    pub(crate) subscriber: Option<SubscriberId>,
    /// Its row, if it tracks keys (CLIENT TRACKING).
    pub(crate) tracker: Option<TrackerId>,
    /// What it reads is noted.
    pub(crate) tracks_reads: bool,
    /// It watches a prefix.
    pub(crate) is_watching: bool,
    /// When the server ends, what it holds goes with the store.
    phase: ManuallyDrop<Phase>,
    pub(crate) readiness: Readiness,
    pub(crate) protocol: StreamProtocol,
    /// What is known of the command at the front of the input.
    pub(crate) request: Request,
    /// Nothing more is read of it, because the peer has sent all it will send, or the server stops; what has come whole
    /// is still executed and answered, and then it is closed for this reason.
    pub(crate) end_reason: Option<CloseReason>,
    /// Its password is compared no sooner, for wrong ones have come from its address; 0: nothing is held.
    pub(crate) held_until: Millis,
    /// The change that its WAITAOF waits for; 0: none.
    pub(crate) awaited: Revision,
    pub(crate) opened: Millis,
    /// When bytes last came or went.
    pub(crate) active: Millis,
    /// When sending the output began, or last made real progress.
    pub(crate) progressed: Millis,
    /// Bytes sent since `progressed` was last moved.
    pub(crate) sent_len: u64,
    /// Bytes of large values in the output, as the server last counted them.
    pub(crate) pinned_counted: u64,
}

// An idle client costs this much; docs/figures.md says how it is measured.
const _: () = assert!(size_of::<Connection>() <= 432);

impl Connection {
    pub(crate) fn new(session: Session, peer: SocketAddr, generation: u32, now: Millis) -> Connection {
        Connection {
            session,
            peer,
            local: None,
            generation,
            input: Ring::new(),
            decoder: Decoder::default(),
            output: Output::default(),
            input_length: BufferLength::Usual,
            output_length: BufferLength::Usual,
            last_verb: None,
            transaction: Transaction::default(),
            subscriber: None,
            tracker: None,
            tracks_reads: false,
            is_watching: false,
            phase: ManuallyDrop::new(Phase::Ready),
            readiness: Readiness::default(),
            protocol: StreamProtocol::Unknown,
            request: Request::default(),
            end_reason: None,
            held_until: Millis(0),
            awaited: Revision(0),
            opened: now,
            active: now,
            progressed: now,
            sent_len: 0,
            pinned_counted: 0,
        }
    }

    /// The address of the peer.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The address that it came to, of a server that listens at `listening`.
    pub(crate) fn local(&self, listening: SocketAddr) -> SocketAddr {
        self.local.map_or(listening, |ip| SocketAddr::new(ip, listening.port()))
    }

    /// Why the connection is closing, if it is.
    pub fn closing(&self) -> Option<CloseReason> {
        match *self.phase {
            Phase::Draining(reason, _) => Some(reason),
            _ => None,
        }
    }

    /// Whether nothing more is read or run.
    pub(crate) fn is_draining(&self) -> bool {
        matches!(*self.phase, Phase::Draining(..))
    }

    /// What the connection is doing.
    #[inline]
    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether a reply has begun that goes on when the connection is run again.
    pub(crate) fn is_replying(&self) -> bool {
        matches!(*self.phase, Phase::Replying(_))
    }

    /// Whether it has a continuation that is to be taken: that of its reply, or of the one that closing cut short.
    pub(crate) fn has_continuation(&self) -> bool {
        matches!(*self.phase, Phase::Replying(_) | Phase::Draining(_, Unfinished::Reply(_)))
    }

    /// The long argument that comes in.
    pub(crate) fn body(&self) -> Option<&Body> {
        match &*self.phase {
            Phase::ReceivingBody(body) => Some(body),
            _ => None,
        }
    }

    /// The same, to be moved on.
    pub(crate) fn body_mut(&mut self) -> Option<&mut Body> {
        match &mut *self.phase {
            Phase::ReceivingBody(body) => Some(body),
            _ => None,
        }
    }

    /// When the incomplete command at the end of the input began, or last made real progress.
    pub(crate) fn request_started(&self) -> Option<Millis> {
        match *self.phase {
            Phase::Receiving { since } | Phase::ReceivingBody(Body { since, .. }) => Some(since),
            _ => None,
        }
    }

    /// Goes to another phase.
    ///
    /// # Panics
    /// In builds with assertions, if the phase that the connection is in does not lead there.
    #[inline]
    pub(crate) fn set_phase(&mut self, next: Phase) {
        debug_assert!(self.phase.may_become(&next), "{}=>{}", self.phase.name(), next.name());
        log::trace!("{}: {}=>{}", self.peer, self.phase.name(), next.name());
        *self.phase = next;
    }

    /// The command at the front of the input is whole: from now on it is the server that takes its time, or the client
    /// that does not take the reply.
    #[inline]
    pub(crate) fn request_is_whole(&mut self) {
        if matches!(*self.phase, Phase::Receiving { .. } | Phase::Paused) {
            self.set_phase(Phase::Ready);
        }
    }

    /// The input ends in the middle of a command; when that began stays as it was.
    pub(crate) fn request_is_incomplete(&mut self, now: Millis) {
        if matches!(*self.phase, Phase::Ready) {
            self.set_phase(Phase::Receiving { since: now });
        }
    }

    /// A piece of the reply has been made: the command at the front of the input goes on here.
    pub(crate) fn put_continuation(&mut self, continuation: Continuation, all: &mut Continuations) {
        self.set_phase(Phase::Replying(all.put(continuation)));
    }

    /// Where the command at the front of the input goes on, if a piece of its reply has been made.
    #[inline]
    pub(crate) fn take_continuation(&mut self, all: &mut Continuations) -> Option<Continuation> {
        let Phase::Replying(continuation) = *self.phase else { return None };
        self.set_phase(Phase::Ready);
        Some(all.take(continuation))
    }

    /// Starts to drain; the first reason stays.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        if !self.is_draining() {
            let unfinished = self.leave_unfinished();
            self.set_phase(Phase::Draining(reason, unfinished));
        }
    }

    /// What is under way; of an argument, the phase has nothing more afterwards.
    fn leave_unfinished(&mut self) -> Unfinished {
        match &mut *self.phase {
            Phase::ReceivingBody(body) => match body.target.take() {
                Some((large, _)) => Unfinished::Argument(large),
                None => Unfinished::Nothing,
            },
            Phase::Replying(continuation) => Unfinished::Reply(*continuation),
            _ => Unfinished::Nothing,
        }
    }

    /// What was under way, for the server to release; it is not under way any more.
    pub(crate) fn take_unfinished(&mut self) -> Unfinished {
        if let Phase::Draining(_, unfinished) = &mut *self.phase {
            return std::mem::take(unfinished);
        }
        let unfinished = self.leave_unfinished();
        self.set_phase(Phase::Ready);
        unfinished
    }

    /// Bytes have come.
    pub(crate) fn handle_input(&mut self, now: Millis) {
        self.active = now;
        self.readiness.runnable = true;
    }

    /// `len` bytes have come into the ring.
    #[inline]
    pub(crate) fn fill_input(&mut self, len: usize) {
        self.input.commit(len);
        // Of a pipeline, the end may come by itself.
        if self.input.free() == 0 || len >= RING_BYTES {
            self.input_length = BufferLength::Long;
        } else {
            self.input_length = self.input_length.shorter();
        }
    }

    /// A turn's replies are written, as far as they have room: the next turn's are taken to need as much.
    #[inline]
    pub(crate) fn note_replies(&mut self) {
        let is_long = self.output.pending_len() - self.output.large_pending() > RING_BYTES as u64;
        self.output_length = if is_long { BufferLength::Long } else { self.output_length.shorter() };
    }

    /// Nothing more is read of it; what is whole is still answered, and then it closes for this reason.
    pub(crate) fn handle_end(&mut self, reason: CloseReason) {
        self.end_reason.get_or_insert(reason);
        self.readiness.runnable = true;
    }

    /// The socket took some of the output.
    pub(crate) fn handle_sent(&mut self, len: usize, now: Millis) {
        self.active = now;
        self.sent_len += len as u64;
        if self.output.is_empty() || self.sent_len >= PROGRESS_BYTES {
            (self.progressed, self.sent_len) = (now, 0);
        }
        self.readiness.write_blocked = false;
        self.readiness.runnable |= !self.input.is_empty();
    }

    /// Keeps `total`, the sum of what the waiting replies of all connections pin in the store, after this one's output
    /// has changed.
    #[inline]
    pub(crate) fn count_pinned(&mut self, total: &mut u64) {
        let pinned = self.output.large_pending();
        if pinned != self.pinned_counted {
            *total = *total - self.pinned_counted + pinned;
            self.pinned_counted = pinned;
        }
    }

    /// The socket takes no more of the output for now.
    pub(crate) fn handle_blocked(&mut self) {
        let was_blocked = std::mem::replace(&mut self.readiness.write_blocked, !self.output.is_empty());
        // From now on replies may soak up memory, so that commands may run for which there was no room.
        self.readiness.runnable |=
            !was_blocked && self.readiness.write_blocked && (self.is_replying() || !self.input.is_empty());
    }

    /// When the command with a password, or the WAITAOF, that is held now may go on by itself.
    pub(crate) fn hold_end(&self) -> Option<Millis> {
        (matches!(*self.phase, Phase::Paused) && self.held_until != Millis(0)).then_some(self.held_until)
    }

    /// Whether it has waited for as long as it has to.
    pub(crate) fn is_hold_over(&self, now: Millis) -> bool {
        self.hold_end().is_some_and(|until| until <= now)
    }

    /// Whether a pause holds its next command, or its password has to wait.
    pub(crate) fn is_held(&self) -> bool {
        matches!(*self.phase, Phase::Paused)
    }

    /// The pause that held its command has ended.
    pub(crate) fn handle_pause_end(&mut self, now: Millis) {
        if matches!(*self.phase, Phase::Paused) {
            // The client was made to wait: its time limit begins again.
            self.active = now;
            self.set_phase(Phase::Ready);
        }
    }
}

#[cfg(test)]
mod tests;
