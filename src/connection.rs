//! What the server keeps of one TCP connection: where it stands in reading, executing and answering. The methods of
//! [`Server`](crate::server::Server) move it on; it does no I/O and reads no clock.
//!
//! ```text
//!            bytes            whole command          reply room            drained
//!   Open ───────────▶ input ───────────────▶ execute ──────────▶ output ───────────▶ (socket)
//!    │                                          │
//!    │ peer half-closed: what is whole is still executed and answered
//!    ▼                                          ▼ QUIT, protocol error, time limit, kill
//!  Closing(reason): nothing more is read; the output is flushed ──▶ closed
//! ```

use crate::buffer::ring::Ring;
use crate::command::Verb;
use crate::engine::{Continuation, session::Session};
use crate::metrics::Closes;
use crate::mutation::LargeId;
use crate::time::Millis;
use crate::wire::output::Output;
use crate::wire::resp::Decoder;
use core::net::SocketAddr;

/// Names a connection for as long as it is open: a slot is used again, a generation never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// The slot in the slab.
    pub index: u32,
    /// Which of the connections that have had this slot.
    pub generation: u32,
}

/// Why a connection ends; the log and a counter name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed and everything it asked for has been answered.
    PeerClosed,
    /// QUIT.
    Quit,
    /// The peer broke the protocol and was told so.
    ProtocolError,
    /// Another protocol's request, say from a browser: closed without a word.
    CrossProtocol,
    /// A command was begun and not finished in time.
    RequestTimeout,
    /// Replies were not taken in time.
    WriteTimeout,
    /// Nothing was asked for too long.
    IdleTimeout,
    /// The output buffers were full: of those that took nothing it held the most, or its own reply outgrew them.
    OutputFull,
    /// The clients' input buffers were full, and of those that gave none back this one held the most.
    InputFull,
    /// CLIENT KILL.
    Killed,
    /// The server stops.
    Stopping,
    /// The system said so.
    Failed,
}

impl CloseReason {
    /// Counts a connection that is closed for this reason.
    pub(crate) fn count(self, closes: &mut Closes) {
        *match self {
            CloseReason::PeerClosed | CloseReason::Quit => &mut closes.peer,
            CloseReason::Failed => &mut closes.failed,
            CloseReason::ProtocolError | CloseReason::CrossProtocol => &mut closes.protocol_error,
            CloseReason::IdleTimeout => &mut closes.idle_timeout,
            CloseReason::RequestTimeout => &mut closes.request_timeout,
            CloseReason::WriteTimeout => &mut closes.write_timeout,
            CloseReason::OutputFull | CloseReason::InputFull => &mut closes.buffers,
            CloseReason::Killed => &mut closes.killed,
            CloseReason::Stopping => &mut closes.shutdown,
        } += 1;
    }

    /// How the log says it.
    pub fn text(self) -> &'static str {
        match self {
            CloseReason::PeerClosed => "the client closed",
            CloseReason::Quit => "QUIT",
            CloseReason::ProtocolError => "protocol error",
            CloseReason::CrossProtocol => "a request of another protocol (HTTP)",
            CloseReason::RequestTimeout => "a command was begun and not finished in time",
            CloseReason::WriteTimeout => "replies were not taken in time",
            CloseReason::IdleTimeout => "idle for too long",
            CloseReason::OutputFull => {
                "the output buffers were exhausted, and its replies held the most or outgrew them"
            }
            CloseReason::InputFull => "it held the most of the exhausted input buffers",
            CloseReason::Killed => "CLIENT KILL",
            CloseReason::Stopping => "the server stops",
            CloseReason::Failed => "the connection failed",
        }
    }

    /// How loud the log says it: what clients do of their own accord happens with every request of some of them, and
    /// what a broken protocol or a slow request looked like has been told in a line of its own.
    pub fn log_level(self) -> log::Level {
        match self {
            CloseReason::PeerClosed
            | CloseReason::Quit
            | CloseReason::ProtocolError
            | CloseReason::CrossProtocol
            | CloseReason::RequestTimeout
            | CloseReason::Stopping
            | CloseReason::Failed => log::Level::Debug,
            CloseReason::IdleTimeout | CloseReason::Killed => log::Level::Info,
            CloseReason::WriteTimeout | CloseReason::OutputFull | CloseReason::InputFull => log::Level::Warn,
        }
    }
}

/// An argument too long for the ring, on its way into the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body {
    /// Where its bytes go; `None`: they are thrown away, because the value was refused.
    pub target: Option<LargeId>,
    /// Bytes that are still to come.
    pub remaining: u64,
}

/// What MULTI has queued and WATCH looks at; the bytes are in the input buffers.
#[derive(Default)]
pub(crate) struct Transaction {
    /// Queued commands, as [`server::transaction`](crate::server) writes them.
    pub queue: Ring,
    /// Watched keys with the revisions they had.
    pub watched: Ring,
    /// Commands in `queue`.
    pub queued_count: u32,
    /// Between MULTI and EXEC or DISCARD.
    pub open: bool,
    /// A command could not be queued: EXEC will refuse.
    pub dirty: bool,
}

/// One TCP connection.
pub struct Connection {
    pub(crate) session: Session,
    pub(crate) peer: SocketAddr,
    pub(crate) generation: u32,
    pub(crate) input: Ring,
    pub(crate) decoder: Decoder,
    pub(crate) body: Option<Body>,
    /// The command at the front of the input has begun to be answered and goes on here.
    pub(crate) job: Option<Continuation>,
    pub(crate) output: Output,
    /// For CLIENT LIST.
    pub(crate) last_verb: Option<&'static Verb>,
    pub(crate) transaction: Transaction,
    /// Set once; nothing is read or executed any more.
    pub(crate) closing: Option<CloseReason>,
    /// Nothing more is read of it, because the peer has sent all it will send, or the server stops; what has come whole
    /// is still executed and answered, and then it is closed for this reason.
    pub(crate) end_reason: Option<CloseReason>,
    /// An argument of the command being received was refused; the command will be answered with this error.
    pub(crate) refused: Option<crate::mutation::Refused>,
    /// The command being received, or run, has arguments that are large values.
    pub(crate) has_large: bool,
    /// Its socket has bytes that the server has not read: what is late then is not the client's delay.
    pub(crate) unread: bool,
    /// There may be something to run: more has come than was looked at, or there is new room for answers.
    pub(crate) runnable: bool,
    /// Its socket took no more of its output when it was last asked.
    pub(crate) stalled: bool,
    /// Whether it speaks Pannier's frames instead of RESP; the first byte tells.
    pub(crate) framed: Option<bool>,
    pub(crate) opened: Millis,
    /// When bytes last came or went.
    pub(crate) active: Millis,
    /// When the incomplete command at the end of the input began, or last made real progress.
    pub(crate) request_started: Option<Millis>,
    /// Bytes of the body received since `request_started` was last moved.
    pub(crate) body_progress_len: u64,
    /// When the output last got shorter, or began.
    pub(crate) progressed: Millis,
}

impl Connection {
    pub(crate) fn new(session: Session, peer: SocketAddr, generation: u32, now: Millis) -> Connection {
        Connection {
            session,
            peer,
            generation,
            input: Ring::new(),
            decoder: Decoder::default(),
            body: None,
            job: None,
            output: Output::default(),
            last_verb: None,
            transaction: Transaction::default(),
            closing: None,
            end_reason: None,
            refused: None,
            has_large: false,
            unread: false,
            runnable: false,
            stalled: false,
            framed: None,
            opened: now,
            active: now,
            request_started: None,
            body_progress_len: 0,
            progressed: now,
        }
    }

    /// The address of the peer.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Marks the connection as closing; the first reason stays.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        if self.closing.is_none() {
            log::trace!("{}: Open=>Closing({reason:?})", self.peer);
            self.closing = Some(reason);
        }
    }

    /// Why the connection is closing, if it is.
    pub fn closing(&self) -> Option<CloseReason> {
        self.closing
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
