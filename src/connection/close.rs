//! Why a connection ends.

use crate::metrics::Closes;

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
    /// It has not authenticated in time.
    AuthTimeout,
    /// A command was begun and not finished in time.
    RequestTimeout,
    /// Replies were not taken in time.
    WriteTimeout,
    /// Nothing was asked for too long.
    IdleTimeout,
    /// The output buffers were exhausted and it took nothing for a while.
    OutputFull,
    /// A reply that cannot be made piece by piece is longer than the output buffers.
    ReplyTooLong,
    /// The input buffers were exhausted, and it held some of them without making progress.
    InputFull,
    /// Its command is longer than what one client may have of the input buffers.
    CommandTooLong,
    /// It is subscribed to more than it takes.
    SlowSubscriber,
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
            CloseReason::AuthTimeout => &mut closes.auth_timeout,
            CloseReason::RequestTimeout => &mut closes.request_timeout,
            CloseReason::WriteTimeout => &mut closes.write_timeout,
            CloseReason::OutputFull
            | CloseReason::InputFull
            | CloseReason::ReplyTooLong
            | CloseReason::CommandTooLong => &mut closes.buffers,
            CloseReason::SlowSubscriber => &mut closes.slow_subscriber,
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
            CloseReason::CrossProtocol => "a request of another protocol (HTTP, TLS)",
            CloseReason::AuthTimeout => "it has not authenticated in time",
            CloseReason::RequestTimeout => "a command was begun and not finished in time",
            CloseReason::WriteTimeout => "replies were not taken in time",
            CloseReason::IdleTimeout => "idle for too long",
            CloseReason::OutputFull => "the output buffers were exhausted, and it took no replies",
            CloseReason::InputFull => "the input buffers were exhausted, and it made no progress",
            CloseReason::ReplyTooLong => "a reply that does not fit the output buffers",
            CloseReason::CommandTooLong => "a command that does not fit the input buffers",
            CloseReason::SlowSubscriber => "a subscriber that takes less than is published",
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
            | CloseReason::CommandTooLong
            | CloseReason::Stopping
            | CloseReason::Failed => log::Level::Debug,
            CloseReason::IdleTimeout | CloseReason::AuthTimeout | CloseReason::Killed => log::Level::Info,
            CloseReason::WriteTimeout
            | CloseReason::OutputFull
            | CloseReason::InputFull
            | CloseReason::SlowSubscriber
            | CloseReason::ReplyTooLong => log::Level::Warn,
        }
    }
}
