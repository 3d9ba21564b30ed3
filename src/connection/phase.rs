//! What one connection is doing, and what it may do next: its [`Phase`], and what is known of its socket and of the
//! memory that it waits for: its [`Readiness`].
//!
//! ```text
//!            bytes end in a command                    whole, and runs
//!   Ready ───────────────────────▶ Receiving ────────────────────────────▶ Ready
//!    │  ▲                           │     ▲  an argument longer than 64 KiB
//!    │  │                           ▼     │
//!    │  │                       ReceivingBody
//!    │  ├──────────── Replying: a reply that is made piece by piece
//!    │  └──────────── Paused: a whole command waits for the end of CLIENT PAUSE
//!    ▼ from every phase: QUIT, a protocol error, a time limit, CLIENT KILL
//!   Draining(reason): nothing more is read or run; waiting replies are sent, then the connection is closed
//! ```

use super::CloseReason;
use super::continuations::ContinuationId;
use crate::engine::ArgumentRoom;
use crate::mutation::LargeRef;
use crate::time::Millis;

/// An argument too long for the ring, on its way into the store.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Body {
    /// Where its bytes go, and whose memory they may take; `None`: they are thrown away, because the value was refused or
    /// its command will be.
    pub target: Option<(LargeRef, ArgumentRoom)>,
    /// Bytes that are still to come.
    pub remaining: u64,
    /// When its command began, or it last made real progress.
    pub since: Millis,
    /// Bytes received since `since` was last moved.
    pub progress_len: u64,
}

/// What was under way when a connection began to drain: the server releases it when it closes the connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Unfinished {
    #[default]
    Nothing,
    /// What has come of a long argument.
    Argument(LargeRef),
    Reply(ContinuationId),
}

/// What a connection is doing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between two commands. The next one, if it has come, runs when its reply has room.
    Ready,
    /// The input ends in the middle of a command, which began at `since`.
    Receiving { since: Millis },
    /// A long argument of a command comes in.
    ReceivingBody(Body),
    /// The command at the front of the input is answered piece by piece; it goes on here.
    Replying(ContinuationId),
    /// The command at the front of the input is whole and waits for the end of CLIENT PAUSE.
    Paused,
    /// Nothing more is read or run; what waits is sent, and then the connection is closed.
    Draining(CloseReason, Unfinished),
}

impl Phase {
    /// The name without what the phase carries, for the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Phase::Ready => "Ready",
            Phase::Receiving { .. } => "Receiving",
            Phase::ReceivingBody(_) => "ReceivingBody",
            Phase::Replying(_) => "Replying",
            Phase::Paused => "Paused",
            Phase::Draining(..) => "Draining",
        }
    }

    /// Whether a connection may go from this phase to `next`.
    pub(crate) fn may_become(&self, next: &Phase) -> bool {
        match (self, next) {
            // The first reason to close stays, and nothing but the end follows.
            (Phase::Draining(..), _) => false,
            (_, Phase::Draining(..) | Phase::Ready) => true,
            (Phase::Ready | Phase::Receiving { .. }, Phase::Receiving { .. } | Phase::ReceivingBody(_)) => {
                true
            }
            (Phase::ReceivingBody(_), Phase::ReceivingBody(_) | Phase::Receiving { .. }) => true,
            (Phase::Ready, Phase::Replying(_) | Phase::Paused) => true,
            // A piece of the reply was made, or a command that was paused is paused again.
            (Phase::Replying(_), Phase::Replying(_)) | (Phase::Paused, Phase::Paused) => true,
            _ => false,
        }
    }
}

/// Which kind of buffer memory a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BufferKind {
    Input,
    Output,
}

/// What is known of a connection's socket, and whether there is anything to do for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// The socket has bytes that the server has not read: what is late then is not the client's delay.
    pub unread: bool,
    /// The peer has hung up behind them: it sends no more, and has most likely gone.
    pub hung_up: bool,
    /// There may be something to run: more has come than was looked at, or there is new room for replies.
    pub runnable: bool,
    /// The socket took no more of the output when it was last asked.
    pub write_blocked: bool,
    /// It needs a buffer of this kind and there is none: nothing is read for it, and nothing of it runs, until there is.
    pub starved: Option<BufferKind>,
    /// Something is to be pushed once the reply under way is whole.
    pub push_waits: bool,
}

impl Readiness {
    /// Whether a command that is not known to be whole may be so, and only waits to be read, or for room for its reply.
    pub(crate) fn waits_for_server(&self) -> bool {
        self.unread || self.runnable || self.starved == Some(BufferKind::Output)
    }
}

/// What a connection speaks; its first byte tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum StreamProtocol {
    /// No byte has come yet.
    #[default]
    Unknown,
    Resp,
    /// Pannier's own frames.
    Frames,
    /// TLS, which this port does not speak.
    Tls,
}

/// What is known of the command that is received, or run, beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// One of its arguments was refused; it is answered with this error.
    pub refused: Option<crate::mutation::Refused>,
    /// It has arguments that are large values.
    pub has_large: bool,
}
