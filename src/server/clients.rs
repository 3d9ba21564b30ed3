//! Commands about connections: CLIENT LIST, INFO, KILL, PAUSE and UNPAUSE, RESET, QUIT, SHUTDOWN. A command is first
//! parsed into an [`Action`] that borrows nothing, because carrying it out may touch any connection.

use super::changes::Changes;
use super::pubsub::Pubsub;
use super::{Server, Source};
use crate::command::{Verb, VerbId};
use crate::connection::{CloseReason, Connection, ConnectionId};
use crate::engine::{Continuation, Engine, Flow, gate::PauseScope, names::Name};
use crate::journal::{JournalStatus, WriteGate};
use crate::reply::{Error, ErrorKind};
use crate::time::{Millis, Now};
use crate::wire::arguments::Args;
use crate::wire::encode::{Out, Protocol};
use crate::wire::number::parse_i64;
use crate::work;
use core::net::SocketAddr;
use std::io::Write;

/// Ids that one CLIENT LIST or KILL can name.
const IDS_MAX: usize = 32;
/// What making one client's line costs.
const LINE_UNITS: u32 = 16;
/// Bytes of one client's line.
const LINE_BYTES_MAX: usize = 512;

/// What a connection-level command asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    Reset,
    Shutdown,
    Info,
    List(Filter),
    Kill { filter: Filter, skip_me: bool, counts: bool },
    Pause { ms: u64, scope: PauseScope },
    Unpause,
}

/// Which clients are meant; an absent condition holds for all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    ids: [u64; IDS_MAX],
    id_count: Option<usize>,
    /// The client's address; `Some(None)` is what no address has.
    address: Option<Option<SocketAddr>>,
    /// The server's address that the client connected to.
    local: Option<Option<SocketAddr>>,
    /// Whether those with subscriptions are meant, or those without.
    subscribed: Option<bool>,
    /// False for a type or user that no client here has.
    possible: bool,
    min_age_s: u64,
}

impl Filter {
    const ALL: Filter = Filter {
        ids: [0; IDS_MAX],
        id_count: None,
        address: None,
        local: None,
        subscribed: None,
        possible: true,
        min_age_s: 0,
    };

    fn matches(&self, connection: &Connection, local: SocketAddr, now: Millis) -> bool {
        self.possible
            && self.id_count.is_none_or(|count| self.ids[..count].contains(&connection.session.id))
            && self.address.is_none_or(|address| address == Some(connection.peer))
            && self.local.is_none_or(|address| address == Some(connection.local(local)))
            && self.subscribed.is_none_or(|wanted| wanted == connection.subscriber.is_some())
            && now.since(connection.opened) / 1_000 >= self.min_age_s
    }

    fn set_type<'a>(&mut self, text: &'a [u8]) -> Result<(), Error<'a>> {
        let known = ["normal", "master", "replica", "slave", "pubsub"];
        match known.iter().find(|name| text.eq_ignore_ascii_case(name.as_bytes())) {
            Some(&name) => {
                self.possible &= matches!(name, "normal" | "pubsub");
                self.subscribed = Some(name == "pubsub");
                Ok(())
            }
            None => Err(ErrorKind::UnknownClientType.of(text)),
        }
    }
}

impl Action {
    /// Reads the arguments of a connection-level verb.
    ///
    /// # Errors
    /// The error to answer.
    pub(super) fn parse<'a>(verb: &Verb, args: &Args<'a>) -> Result<Action, Error<'a>> {
        Ok(match verb.id {
            VerbId::Multi => Action::Multi,
            VerbId::Exec => Action::Exec,
            VerbId::Discard => Action::Discard,
            VerbId::Watch => Action::Watch,
            VerbId::Unwatch => Action::Unwatch,
            VerbId::Reset => Action::Reset,
            VerbId::Shutdown => parse_shutdown(args)?,
            VerbId::ClientInfo => Action::Info,
            VerbId::ClientList => Action::List(parse_list(args)?),
            VerbId::ClientKill => parse_kill(args)?,
            VerbId::ClientPause => parse_pause(args)?,
            VerbId::ClientUnpause => Action::Unpause,
            _ => return Err(ErrorKind::Syntax.plain()),
        })
    }
}

/// An address as CLIENT LIST shows it; `None`: no client has it.
fn address(text: &[u8]) -> Option<SocketAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn parse_list<'a>(args: &Args<'a>) -> Result<Filter, Error<'a>> {
    let mut filter = Filter::ALL;
    match (args.len(), args.bytes(2)) {
        (2, _) => {}
        (4, Some(word)) if word.eq_ignore_ascii_case(b"type") => {
            filter.set_type(args.bytes(3).unwrap_or_default())?;
        }
        (4.., Some(word)) if word.eq_ignore_ascii_case(b"id") => {
            if args.len() - 3 > IDS_MAX {
                return Err(ErrorKind::TooManyClientIds.plain());
            }
            for index in 3..args.len() {
                let id = args.bytes(index).and_then(parse_i64).filter(|&id| id > 0);
                filter.ids[index - 3] = id.ok_or(ErrorKind::InvalidClientIdInList.plain())? as u64;
            }
            filter.id_count = Some(args.len() - 3);
        }
        _ => return Err(ErrorKind::Syntax.plain()),
    }
    Ok(filter)
}

fn parse_kill<'a>(args: &Args<'a>) -> Result<Action, Error<'a>> {
    let mut filter = Filter::ALL;
    if args.len() == 3 {
        filter.address = Some(address(args.bytes(2).unwrap_or_default()));
        return Ok(Action::Kill { filter, skip_me: false, counts: false });
    }
    if !args.len().is_multiple_of(2) {
        return Err(ErrorKind::Syntax.plain());
    }
    let mut skip_me = true;
    for index in (2..args.len()).step_by(2) {
        let word = args.bytes(index).unwrap_or_default();
        let value = args.bytes(index + 1).unwrap_or_default();
        if word.eq_ignore_ascii_case(b"id") {
            let id = parse_i64(value).filter(|&id| id > 0).ok_or(ErrorKind::InvalidClientId.plain())?;
            filter.ids[0] = id as u64;
            filter.id_count = Some(1);
        } else if word.eq_ignore_ascii_case(b"type") {
            filter.set_type(value)?;
        } else if word.eq_ignore_ascii_case(b"addr") {
            filter.address = Some(address(value));
        } else if word.eq_ignore_ascii_case(b"laddr") {
            filter.local = Some(address(value));
        } else if word.eq_ignore_ascii_case(b"user") {
            // The one user there is.
            if value != b"default" {
                return Err(ErrorKind::NoSuchUser.of(value));
            }
        } else if word.eq_ignore_ascii_case(b"maxage") {
            filter.min_age_s =
                parse_i64(value).filter(|&age| age > 0).ok_or(ErrorKind::NotAnInteger.plain())? as u64;
        } else if word.eq_ignore_ascii_case(b"skipme") && value.eq_ignore_ascii_case(b"yes") {
            skip_me = true;
        } else if word.eq_ignore_ascii_case(b"skipme") && value.eq_ignore_ascii_case(b"no") {
            skip_me = false;
        } else {
            return Err(ErrorKind::Syntax.plain());
        }
    }
    Ok(Action::Kill { filter, skip_me, counts: true })
}

/// `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE]`: there is nothing to save and no replica to wait for, so all mean the same.
fn parse_shutdown<'a>(args: &Args<'a>) -> Result<Action, Error<'a>> {
    let known = ["nosave", "save", "now", "force"];
    for index in 1..args.len() {
        let word = args.bytes(index).unwrap_or_default();
        if word.eq_ignore_ascii_case(b"abort") && args.len() == 2 {
            return Err(ErrorKind::NoShutdown.plain());
        }
        if !known.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes())) {
            return Err(ErrorKind::Syntax.plain());
        }
    }
    Ok(Action::Shutdown)
}

fn parse_pause<'a>(args: &Args<'a>) -> Result<Action, Error<'a>> {
    let ms = args.bytes(2).and_then(parse_i64).ok_or(ErrorKind::TimeoutNotAnInteger.plain())?;
    let ms = u64::try_from(ms).map_err(|_| ErrorKind::TimeoutNegative.plain())?;
    let scope = match args.bytes(3) {
        None => PauseScope::All,
        Some(word) if word.eq_ignore_ascii_case(b"write") => PauseScope::Writes,
        Some(word) if word.eq_ignore_ascii_case(b"all") => PauseScope::All,
        Some(_) => return Err(ErrorKind::PauseMode.plain()),
    };
    Ok(Action::Pause { ms, scope })
}

impl Server {
    /// Carries out a connection-level command of this connection.
    pub(super) fn perform(
        &mut self,
        id: ConnectionId,
        (action, begun): (Action, Option<Continuation>),
        source: Source,
        now: Now,
    ) -> Flow {
        match action {
            Action::Multi => self.multi(id),
            Action::Exec => self.exec(id, now),
            Action::Discard => self.discard(id),
            Action::Watch => self.watch(id, source, now),
            Action::Unwatch => self.unwatch(id),
            Action::Reset => self.reset(id),
            Action::Shutdown => {
                self.stop_requested = true;
                Flow::Close
            }
            Action::Info => self.client_info(id, now),
            Action::List(filter) => self.client_list(id, &filter, begun, now),
            Action::Kill { filter, skip_me, counts } => self.client_kill(id, &filter, (skip_me, counts), now),
            Action::Pause { ms, scope } => {
                self.engine.pause.begin(scope, now.monotonic.plus(ms));
                self.answer(id, |out| out.ok())
            }
            Action::Unpause => {
                self.end_pause(now.monotonic);
                self.answer(id, |out| out.ok())
            }
        }
    }

    /// Writes a short reply.
    pub(super) fn answer(&mut self, id: ConnectionId, write: impl FnOnce(&mut Out<'_>)) -> Flow {
        let connection = &mut self.connections[id.index as usize];
        let mut out = Out::new(&mut connection.output, &mut self.output, connection.session.protocol);
        out.mute(connection.session.is_muted());
        write(&mut out);
        Flow::Done
    }

    /// Answers an error and counts it.
    pub(super) fn fail(&mut self, id: ConnectionId, verb: VerbId, error: ErrorKind) -> Flow {
        self.fail_with(id, verb, &error.plain())
    }

    /// The same for an error that quotes something.
    pub(super) fn fail_with(&mut self, id: ConnectionId, verb: VerbId, error: &Error<'_>) -> Flow {
        let Server { engine, connections, output, .. } = self;
        let connection = &mut connections[id.index as usize];
        let mut out = Out::new(&mut connection.output, output, connection.session.protocol);
        engine.refuse(&mut connection.session, Some(verb), error, &mut out);
        Flow::Done
    }

    /// Ends a pause whose time has passed.
    pub(super) fn end_due_pause(&mut self, now: Millis) {
        if self.engine.pause.until().is_some_and(|until| until <= now) {
            self.end_pause(now);
        }
    }

    /// Ends a pause.
    fn end_pause(&mut self, now: Millis) {
        self.engine.pause.end();
        self.resume_held(now);
    }

    /// What the journal says of itself: figures, and whether writers may go on.
    pub fn follow_journal(&mut self, status: &JournalStatus, now: Millis) {
        let persistence = &mut self.engine.persistence;
        let is_more_durable = !persistence.is_durable(status.durable);
        (persistence.status, persistence.gate) = (Some(*status), status.gate);
        if is_more_durable {
            self.release_replies(status.durable, now);
            self.wake_sync_waits(now);
        }
        let persistence = &mut self.engine.persistence;
        // Where they wait on, or are refused now, they say so.
        if persistence.has_held && status.gate != WriteGate::Wait {
            persistence.has_held = false;
            self.resume_held(now);
        }
    }

    /// Has the commands that wait run.
    fn resume_held(&mut self, now: Millis) {
        for (index, connection) in &mut self.connections {
            connection.handle_pause_end(now);
            if !connection.input.is_empty() {
                self.wake_queue.push(index as u32);
            }
        }
    }

    fn reset(&mut self, id: ConnectionId) -> Flow {
        self.drop_transaction(id);
        let subscriber = self.connections[id.index as usize].subscriber.take();
        self.drop_subscriber(subscriber);
        self.connections[id.index as usize].tracks_reads = false;
        let tracker = self.connections[id.index as usize].tracker.take();
        self.drop_tracker(tracker);
        self.drop_watches(id);
        self.connections[id.index as usize].is_watching = false;
        let unlocked = !self.engine.has_password();
        self.connections[id.index as usize].session.reset(unlocked, &mut self.engine.client_names);
        self.answer(id, |out| {
            out.set_protocol(Protocol::Resp2);
            out.simple("RESET");
        })
    }

    fn client_info(&mut self, id: ConnectionId, now: Now) -> Flow {
        let mut line = [0; LINE_BYTES_MAX];
        let connection = &self.connections[id.index as usize];
        let (engine, local) = (&self.engine, self.engine.options().tcp);
        let len = line_of(connection, (engine, &self.pubsub, &self.changes), local, now.monotonic, &mut line);
        self.answer(id, |out| out.verbatim(*b"txt", &line[..len]))
    }

    /// CLIENT LIST: the lines are collected in slices, for the answer begins with the length of all of them, in memory
    /// of the store that is spare. A client that comes or goes meanwhile is listed or not.
    fn client_list(
        &mut self,
        id: ConnectionId,
        filter: &Filter,
        begun: Option<Continuation>,
        now: Now,
    ) -> Flow {
        let (mut next, lines) = match begun {
            Some(Continuation::Clients { next, lines }) => (next, lines),
            _ => match self.engine.store.large_begin_spare(0) {
                Ok(lines) => (0, lines),
                Err(_) => return self.fail(id, VerbId::ClientList, ErrorKind::NoReplyMemory),
            },
        };
        let local = self.engine.options().tcp;
        let mut line = [0; LINE_BYTES_MAX];
        while (next as usize) < self.connections.capacity() {
            if self.engine.meter.is_spent() {
                return Flow::Yield(Continuation::Clients { next, lines });
            }
            self.engine.meter.charge(1);
            let connection = self.connections.get(next as usize);
            next += 1;
            // One that was killed has gone, though its socket may wait for its turn.
            let is_shown = |it: &&Connection| !it.is_draining() && filter.matches(it, local, now.monotonic);
            let Some(connection) = connection.filter(is_shown) else {
                continue;
            };
            let context = (&self.engine, &self.pubsub, &self.changes);
            let len = line_of(connection, context, local, now.monotonic, &mut line);
            self.engine.meter.charge(LINE_UNITS);
            if self.engine.store.large_append_spare(lines.id(), &line[..len], now.unix).is_err() {
                self.engine.store.large_release(lines);
                return self.fail(id, VerbId::ClientList, ErrorKind::NoReplyMemory);
            }
        }
        let len = self.engine.store.large_len(lines.id());
        let mut left = None;
        let flow = self.answer(id, |out| {
            out.text_header(*b"txt", len as usize);
            left = out.give_large_raw(lines, len);
            out.raw(b"\r\n");
        });
        if let Some(lines) = left {
            self.engine.store.large_release(lines);
        }
        flow
    }

    fn client_kill(&mut self, id: ConnectionId, filter: &Filter, how: (bool, bool), now: Now) -> Flow {
        let (skip_me, counts) = how;
        let local = self.engine.options().tcp;
        let mut killed = 0;
        let mut me = false;
        for (index, connection) in &mut self.connections {
            let is_me = index == id.index as usize;
            if connection.is_draining()
                || !filter.matches(connection, local, now.monotonic)
                || is_me && skip_me
            {
                continue;
            }
            killed += 1;
            if is_me {
                me = true;
            } else {
                connection.close(CloseReason::Killed);
                self.wake_queue.push(index as u32);
            }
        }
        if counts {
            self.answer(id, |out| out.integer(killed));
        } else if killed > 0 {
            self.answer(id, |out| out.ok());
        } else {
            self.fail(id, VerbId::ClientKill, ErrorKind::NoSuchClient);
        }
        if me { Flow::Close } else { Flow::Done }
    }
}

/// The letters of a client in its line.
struct Flags {
    flags: [&'static str; 3],
    has_none: bool,
}

impl std::fmt::Display for Flags {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.flags.iter().try_for_each(|flag| formatter.write_str(flag))?;
        formatter.write_str(if self.has_none { "N" } else { "" })
    }
}

/// One client's line of CLIENT LIST, in Redis's format. The sizes are of buffers that are the client's own; fields
/// that have no meaning here (descriptors) are constant, for the sake of the programs that parse them.
fn line_of(
    connection: &Connection,
    (engine, pubsub, changes): (&Engine, &Pubsub, &Changes),
    local: SocketAddr,
    now: Millis,
    line: &mut [u8; LINE_BYTES_MAX],
) -> usize {
    work::count(u64::from(LINE_UNITS) * 64);
    let (names, session) = (&engine.client_names, &connection.session);
    let [channels, patterns, shards] = pubsub.counts(connection.subscriber);
    let transaction = &connection.transaction;
    let multi = if transaction.open { i64::from(transaction.queued_count) } else { -1 };
    let is_subscribed = channels + patterns + shards > 0;
    let (tracking, redirect) = changes.tracking.shown(connection.tracker);
    let mut flags = [""; 3];
    flags[0] = if is_subscribed { "P" } else { "" };
    flags[1] = if transaction.open { "x" } else { "" };
    flags[2] = tracking;
    let has_none = flags.iter().all(|flag| flag.is_empty());
    let flags = Flags { flags, has_none };
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or("");
    let mut rest = &mut line[..];
    // A line that does not fit is cut, not lost.
    let _ = writeln!(
        rest,
        "id={} addr={} laddr={} fd=0 name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} qbuf={} \
         qbuf-free={} argv-mem=0 multi-mem={} rbs={} rbp=0 obl=0 oll=0 omem=0 tot-mem={} events=r cmd={} \
         user=default redir={} resp={} lib-name={} lib-ver={}",
        session.id,
        connection.peer,
        connection.local(local),
        text(names.get(session.names, Name::Connection)),
        now.since(connection.opened) / 1_000,
        now.since(connection.active) / 1_000,
        flags,
        session.db.0,
        channels,
        patterns,
        shards,
        multi,
        connection.input.len(),
        connection.input.free(),
        transaction.memory_bytes(&engine.store),
        connection.output.capacity(),
        connection.input.capacity() + connection.output.capacity() + size_of::<Connection>(),
        connection.last_verb.map_or("NULL", |verb| verb.name),
        redirect,
        if session.protocol == Protocol::Resp3 { 3 } else { 2 },
        text(names.get(session.names, Name::Library)),
        text(names.get(session.names, Name::LibraryVersion)),
    );
    LINE_BYTES_MAX - rest.len()
}
