//! What the engine keeps for each client: who it is, where it stands, and how it wants its replies. No buffers and no
//! socket; those are the connection's.

use crate::{mutation::Database, reply::ErrorKind, wire::encode::Protocol};

/// Bytes of all names of a client together: connection, library, version of the library.
pub const NAMES_BYTES_MAX: usize = 128;

/// One of a client's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// CLIENT SETNAME, HELLO SETNAME.
    Connection,
    /// CLIENT SETINFO lib-name.
    Library,
    /// CLIENT SETINFO lib-ver.
    LibraryVersion,
}

/// The names of a client, one after the other in one fixed area.
#[derive(Clone, Debug)]
struct Names {
    lens: [u8; 3],
    bytes: [u8; NAMES_BYTES_MAX],
}

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
    names: Names,
}

const _: () = assert!(size_of::<Session>() <= 200);

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
            names: Names { lens: [0; 3], bytes: [0; NAMES_BYTES_MAX] },
        }
    }

    /// What RESET does: as new, but for the id. (The transaction and what is watched are the server's to drop.)
    pub fn reset(&mut self, authenticated: bool) {
        *self = Session::new(self.id, authenticated);
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

    /// A name, empty if there is none.
    #[must_use]
    pub fn name(&self, name: Name) -> &[u8] {
        let (start, end) = self.names.range(name);
        &self.names.bytes[start..end]
    }

    /// Gives or (empty) takes a name.
    ///
    /// # Errors
    /// The name holds blanks or control characters, or the area is too small for it. The texts are those for the
    /// connection's name.
    pub fn set_name(&mut self, name: Name, value: &[u8]) -> Result<(), ErrorKind> {
        if !value.iter().all(u8::is_ascii_graphic) {
            return Err(ErrorKind::ClientName);
        }
        let (start, end) = self.names.range(name);
        let used: usize = self.names.lens.iter().map(|len| usize::from(*len)).sum();
        let used_after = used - (end - start) + value.len();
        if used_after > NAMES_BYTES_MAX {
            return Err(ErrorKind::ClientNameTooLong);
        }
        self.names.bytes.copy_within(end..used, start + value.len());
        self.names.bytes[start..start + value.len()].copy_from_slice(value);
        self.names.lens[name as usize] = value.len() as u8;
        Ok(())
    }
}

impl Names {
    fn range(&self, name: Name) -> (usize, usize) {
        let start = self.lens[..name as usize].iter().map(|len| usize::from(*len)).sum();
        (start, start + usize::from(self.lens[name as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_share_one_area() {
        let mut session = Session::new(1, true);
        session.set_name(Name::Library, b"redis-py").unwrap();
        session.set_name(Name::LibraryVersion, b"5.0.1").unwrap();
        session.set_name(Name::Connection, b"worker").unwrap();
        assert_eq!(session.name(Name::Connection), b"worker");
        assert_eq!(session.name(Name::Library), b"redis-py");
        assert_eq!(session.name(Name::LibraryVersion), b"5.0.1");
        session.set_name(Name::Library, b"").unwrap();
        assert_eq!(session.name(Name::Library), b"");
        assert_eq!(session.name(Name::LibraryVersion), b"5.0.1");
        assert_eq!(session.set_name(Name::Library, &[b'x'; 118]), Err(ErrorKind::ClientNameTooLong));
        session.set_name(Name::Library, &[b'x'; 117]).unwrap();
        assert_eq!(session.name(Name::LibraryVersion), b"5.0.1");
        assert_eq!(session.set_name(Name::Library, b"a b"), Err(ErrorKind::ClientName));
    }

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
