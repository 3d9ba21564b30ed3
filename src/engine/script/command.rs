//! `redis.call` and `redis.pcall`: a command from Lua values to the engine, and its reply back to Lua.
//!
//! ```text
//!  Lua values ─▶ argument table ─▶ checks ─▶ Engine::execute (until it no longer yields) ─▶ output ─▶ Reader ─▶ Lua value
//! ```
//! The same table of verbs, functions, counters and limits as on the wire. A command that runs in slices is run to its
//! end here, with a look at the clock between them.

use super::format::general;
use super::from_resp::{Reader, Reply};
use super::limits::{Buffer, Limits, Raised};
use super::to_resp;
use crate::buffer::arena::Arena;
use crate::command::{self, Flags, Verb, VerbId};
use crate::engine::meter::{Meter, TURN_UNITS};
use crate::engine::{Engine, Flow, demand, session::Session};
use crate::limits::{BUFFERED_BULK_BYTES_MAX, REPLY_ROOM_BYTES};
use crate::mutation::{Database, LargeRef};
use crate::reply::{ErrorKind, Part};
use crate::store::{LargeCursor, Store};
use crate::time::Now;
use crate::wire::arguments::{Arg, ArgTable, Args};
use crate::wire::encode::{Out, Output, Pending};
use crate::wire::number::{INTEGER_BYTES_MAX, write_i64};
use mlua::{Lua, MultiValue, Value};

/// Units of the meter for one slice of a command.
const SLICE_UNITS: u32 = 8 * TURN_UNITS;

/// What a script may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Permissions {
    /// Commands that write are refused.
    pub(super) read_only: bool,
    /// Commands that take memory are run although there is little.
    pub(super) allow_oom: bool,
}

/// Memory that commands of scripts use again and again.
pub(super) struct Workspace {
    table: ArgTable,
    larges: Vec<LargeRef>,
    arena: Arena,
    output: Output,
}

/// Arguments of a command of a script, at most: as many as Lua's stack holds.
const ARGUMENTS_MAX: usize = 8_000;

impl Workspace {
    pub(super) fn new(reply_bytes: usize) -> Workspace {
        Workspace {
            table: ArgTable::with_capacity(ARGUMENTS_MAX),
            larges: Vec::new(),
            arena: Arena::new(reply_bytes),
            output: Output::new(),
        }
    }
}

/// The engine behind a script that runs.
pub(super) struct Host<'h> {
    pub(super) engine: &'h mut Engine,
    pub(super) session: Session,
    pub(super) workspace: &'h mut Workspace,
    /// The arguments of the command that runs.
    pub(super) bytes: Buffer<'h>,
    pub(super) limits: &'h Limits,
    pub(super) permissions: Permissions,
    /// Keys and arguments of the script, which tell what it may write.
    pub(super) given: Args<'h>,
    pub(super) key_count: usize,
    pub(super) now: Now,
    /// Whether something was written.
    pub(super) wrote: bool,
    /// Units of work that its commands did.
    pub(super) used_units: u32,
}

/// A refusal or an error of a command, as text.
type Refusal = Raised;

impl Host<'_> {
    /// Runs a command; an error is raised, or (`is_protected`) a value.
    pub(super) fn call(&mut self, lua: &Lua, values: MultiValue, is_protected: bool) -> mlua::Result<Value> {
        let taken = self.take_arguments(values);
        let reply = if let Ok(Ok(())) = taken { Some(self.reply(lua)) } else { None };
        self.workspace.larges.drain(..).for_each(|large| self.engine.store.large_release(large));
        if let Err(text) = taken? {
            return if is_protected {
                error_value(lua, &text, false)
            } else {
                Err(Raised::Reply(text).into())
            };
        }
        match reply.expect("a command with arguments was run")? {
            Reply::Value(value) => Ok(value),
            Reply::Error(text) if is_protected => error_value(lua, &text, true),
            Reply::Error(text) => Err(Raised::Answer(text).into()),
        }
    }

    /// Runs the command in the argument table; an error that it answers has been counted.
    fn reply(&mut self, lua: &Lua) -> mlua::Result<Reply> {
        match self.check() {
            Ok(verb) => self.execute(lua, verb),
            Err(text) => Ok(Reply::Error(text)),
        }
    }

    /// Fills the argument table. The inner error is the script's to see.
    fn take_arguments(&mut self, values: MultiValue) -> Result<Result<(), Vec<u8>>, Refusal> {
        self.limits.check_clock()?;
        let Workspace { table, larges, .. } = &mut *self.workspace;
        let bytes = &mut self.bytes;
        table.reset();
        bytes.clear();
        if values.is_empty() {
            return Ok(Err(b"ERR Please specify at least one argument for this redis lib call".to_vec()));
        }
        for value in values {
            let (mut digits, number);
            let text;
            let argument: &[u8] = match &value {
                Value::String(string) => {
                    text = string.as_bytes();
                    &text
                }
                Value::Integer(integer) => {
                    digits = [0; INTEGER_BYTES_MAX];
                    write_i64(*integer, &mut digits)
                }
                Value::Number(value) => {
                    number = general(*value, 17);
                    number.as_bytes()
                }
                _ => {
                    let text = b"ERR Lua redis lib command arguments must be strings or integers";
                    return Ok(Err(text.to_vec()));
                }
            };
            if argument.len() > BUFFERED_BULK_BYTES_MAX {
                let (head, len) = (table.spans(bytes), argument.len() as u64);
                let Ok(large) = self.engine.begin_argument(&self.session, &head, len, self.now.unix) else {
                    return Ok(Err(text_of(ErrorKind::Full)));
                };
                let (store, id) = (&mut self.engine.store, large.id());
                larges.push(large);
                if store.large_append(id, argument, self.now.unix).is_err() {
                    return Ok(Err(text_of(ErrorKind::Full)));
                }
                table.push_large(Some(id));
                continue;
            }
            table.push(bytes.len(), argument.len());
            bytes.extend(argument)?;
        }
        Ok(Ok(()))
    }

    /// Whether the command may run, in Redis's order; else the error.
    fn check(&mut self) -> Result<&'static Verb, Vec<u8>> {
        let args = self.workspace.table.spans(&self.bytes);
        let refuse = |engine: &mut Engine, verb: Option<VerbId>, kind: ErrorKind| {
            match verb {
                Some(verb) => engine.metrics.rejected(verb, kind),
                None => engine.metrics.error(kind),
            }
            text_of(kind)
        };
        let found = command::resolve(&args).filter(|verb| !verb.flags.has(Flags::CONTAINER));
        let Some(verb) = found else {
            return Err(refuse(self.engine, None, ErrorKind::ScriptUnknownCommand));
        };
        let id = Some(verb.id);
        if !verb.admits(args.len()) {
            return Err(refuse(self.engine, id, ErrorKind::ScriptWrongArity));
        }
        if verb.flags.has(Flags::NOSCRIPT) || verb.flags.has(Flags::CONNECTION) {
            return Err(refuse(self.engine, id, ErrorKind::ScriptNotAllowed));
        }
        if self.permissions.read_only && verb.flags.has(Flags::WRITE) {
            return Err(refuse(self.engine, id, ErrorKind::ScriptReadOnly));
        }
        // What a disk that fails refuses on the wire it refuses here.
        if let Some(kind) = self.engine.persistence.refuses(verb, Flags::PLAIN) {
            return Err(refuse(self.engine, id, kind));
        }
        if verb.flags.has(Flags::DENYOOM)
            && !self.wrote
            && !self.permissions.allow_oom
            && !self.has_room(verb)
        {
            return Err(refuse(self.engine, id, ErrorKind::Full));
        }
        Ok(verb)
    }

    /// Whether there is room for the command, and for all that the script was given, so that what it begins it can
    /// end.
    fn has_room(&mut self, verb: &Verb) -> bool {
        let now = self.now.unix;
        let (needed, replaced) = demand_of(&self.engine.store, self.session.db, &self.given, self.key_count);
        let args = self.workspace.table.spans(&self.bytes);
        let needed = needed.max(demand::needed_bytes(verb, &args));
        self.engine.fits(needed, 0, now) || {
            let of_command = demand::replaced_bytes(&self.engine.store, self.session.db, verb, &args);
            self.engine.fits(needed, replaced.max(of_command), now)
        }
    }

    fn execute(&mut self, lua: &Lua, verb: &'static Verb) -> mlua::Result<Reply> {
        let before = self.engine.store.revision();
        let reply = self.run_slices(lua, verb);
        self.wrote |= verb.flags.has(Flags::WRITE) && self.engine.store.revision() != before;
        let Workspace { output, arena, .. } = &mut *self.workspace;
        let store = &mut self.engine.store;
        output.release(arena, |large| store.large_release(large));
        reply
    }

    fn run_slices(&mut self, lua: &Lua, verb: &'static Verb) -> mlua::Result<Reply> {
        let Host { engine, session, workspace, bytes, limits, now, used_units, .. } = self;
        let Workspace { table, arena, output, .. } = &mut **workspace;
        let args = table.spans(bytes);
        let mut reader = Reader::new(lua, limits);
        let mut job = None;
        loop {
            engine.meter = Meter::new(SLICE_UNITS);
            // All of the memory for replies is one script's.
            let reply_bytes = arena.capacity();
            let mut out = Out::new(output, arena, session.protocol).with_bytes_max(reply_bytes);
            let flow = engine.execute(session, verb, &args, job, &mut out, *now);
            *used_units = used_units.saturating_add(SLICE_UNITS - engine.meter.left());
            let is_cut = out.overflowed();
            let read = drain(engine, output, arena, &mut reader);
            let stopped = match read {
                Ok(()) if is_cut => Some(Raised::Reply(text_of(ErrorKind::ScriptReplyTooLong)).into()),
                Ok(()) if matches!(flow, Flow::Yield(_)) => limits.check_clock().err().map(mlua::Error::from),
                Ok(()) => None,
                Err(error) => Some(error),
            };
            match (flow, stopped) {
                (Flow::Yield(more), Some(error)) => {
                    engine.abandon(more);
                    return Err(error);
                }
                (_, Some(error)) => return Err(error),
                (Flow::Yield(more), None) => {
                    job = Some(more);
                    let mut out = Out::new(output, arena, session.protocol);
                    let has_room = out.make_room(REPLY_ROOM_BYTES);
                    debug_assert!(has_room, "the output is empty");
                }
                (Flow::Done | Flow::Close, None) => break,
            }
        }
        reader.finish().ok_or_else(|| Raised::Reply(b"ERR no reply".to_vec()).into())
    }
}

/// What a script may write, as far as its keys and arguments tell, and what of that replaces something.
pub(super) fn demand_of(store: &Store, db: Database, given: &Args<'_>, key_count: usize) -> (u64, u64) {
    let (mut needed, mut replaced) = (0, 0);
    for (i, arg) in given.iter().enumerate() {
        if let Arg::Bytes(bytes) = arg {
            needed += bytes.len() as u64;
            if i < key_count {
                needed += demand::RECORD_BYTES;
                replaced += demand::replaced_with(store, db, bytes);
            }
        }
    }
    (needed, replaced)
}

/// Takes everything out of the output.
fn drain(
    engine: &mut Engine,
    output: &mut Output,
    arena: &mut Arena,
    reader: &mut Reader<'_>,
) -> mlua::Result<()> {
    loop {
        let len = match output.next(arena) {
            Pending::Nothing => return Ok(()),
            Pending::Bytes(first, second) => {
                reader.feed(first)?;
                reader.feed(second)?;
                (first.len() + second.len()) as u64
            }
            Pending::Large { id, offset, len } => {
                let mut cursor = LargeCursor::new(id, offset);
                let end = offset + len;
                while cursor.offset < end {
                    let piece = engine.store.large_slice(&mut cursor);
                    let piece_len = (piece.len() as u64).min(end - cursor.offset) as usize;
                    if piece_len == 0 {
                        break;
                    }
                    reader.feed(&piece[..piece_len])?;
                    cursor.advance(piece_len);
                }
                len
            }
        };
        if let Some(large) = output.consumed(len, arena) {
            engine.store.large_release(large);
        }
    }
}

/// The text of an error that quotes nothing.
pub(super) fn text_of(kind: ErrorKind) -> Vec<u8> {
    kind.with(Part::Bytes(b""), Part::Bytes(b""), Part::Bytes(b"")).write(|parts| parts.concat())
}

/// The table that `redis.pcall` gives for an error.
fn error_value(lua: &Lua, text: &[u8], is_counted: bool) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, 2)?;
    table.raw_set("err", lua.create_string(text)?)?;
    if is_counted {
        table.raw_set(to_resp::COUNTED, true)?;
    }
    Ok(Value::Table(table))
}
