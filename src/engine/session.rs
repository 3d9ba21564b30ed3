//! What the engine keeps for each client: who it is, where it stands, and how it wants its replies. No buffers and no
//! socket; those are the connection's.

use super::names::{Name, Names, Row};
use crate::{mutation::Database, wire::encode::Protocol};

/// Which commands of a client are answered (CLIENT REPLY).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// The command that runs now asked for the next one to go unanswered.
    SkipNext,
    /// The command that runs now goes unanswered.
    Skip,
}

/// A client as the engine sees it. Getters, and `set_*`; the server calls [`finished`](Session::finished) after each
/// command that it runs itself.
#[derive(Clone, Debug)]
pub struct Session {
    /// Unique among all clients since start, from 1 on.
    pub id: u64,
    /// What SELECT chose.
    pub db: Database,
    /// What HELLO chose.
    pub protocol: Protocol,
    /// Whether AUTH succeeded, or no password is set.
    pub authenticated: bool,
    /// CLIENT NO-EVICT.
    pub no_evict: bool,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// Where its names are.
    pub names: Row,
}

const _: () = assert!(size_of::<Session>() <= 32);

impl Session {
    /// A new client, in database 0, speaking RESP2. `authenticated`: no password is set.
    #[must_use]
    pub fn new(id: u64, authenticated: bool) -> Session {
        Session {
            id,
            db: Database(0),
            protocol: Protocol::Resp2,
            authenticated,
            no_evict: false,
            no_touch: false,
            reply_mode: ReplyMode::On,
            names: Row::default(),
        }
    }

    /// What RESET does: as new, but for the id and the library's names, which say what the client is and not what it has
    /// done. (The transaction and what is watched are the server's to drop.)
    pub fn reset(&mut self, authenticated: bool, names: &mut Names) {
        let emptied = names.set(&mut self.names, Name::Connection, b"");
        debug_assert!(emptied.is_ok(), "an empty name always fits");
        *self = Session { names: self.names, ..Session::new(self.id, authenticated) };
    }

    /// Whether the command that runs now goes unanswered.
    #[must_use]
    #[inline]
    pub fn is_muted(&self) -> bool {
        matches!(self.reply_mode, ReplyMode::Off | ReplyMode::Skip)
    }

    /// A command is over: a pending CLIENT REPLY SKIP moves on.
    #[inline]
    pub fn finished(&mut self) {
        self.reply_mode = match self.reply_mode {
            ReplyMode::SkipNext => ReplyMode::Skip,
            ReplyMode::Skip => ReplyMode::On,
            mode => mode,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skip_covers_one_command() {
        let mut session = Session::new(1, true);
        session.reply_mode = ReplyMode::SkipNext;
        assert!(!session.is_muted());
        session.finished();
        assert!(session.is_muted());
        session.finished();
        assert!(!session.is_muted());
    }
}
