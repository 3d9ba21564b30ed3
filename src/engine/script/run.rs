//! One run of a script: what it is given, `redis.call` for as long as it runs, and what it came to.

use super::cache::Entry;
use super::command::{Host, Permissions};
use super::library::{Arguments, error_text, one};
use super::limits::{INSTRUCTIONS_BETWEEN_LOOKS, Limits, Raised};
use super::to_resp;
use super::vm::{self, Vm, watch};
use crate::engine::{Engine, session::Session};
use crate::store::{LargeCursor, Store};
use crate::time::Now;
use crate::wire::arguments::{Arg, Args};
use crate::wire::encode::Protocol;
use mlua::{Lua, LuaString, MultiValue, Result, Table, Value};
use scoped_tls_hkt::scoped_thread_local;
use std::cell::Cell;

/// Arguments of a script, its key included, that are passed to it one by one.
const SHORT_MAX: usize = 8;

scoped_thread_local!(
    /// The engine behind the script that runs.
    static mut COMMANDS: for<'h> &'h mut (dyn Commands + 'h)
);

/// Runs the commands of a script.
trait Commands {
    fn call(&mut self, lua: &Lua, values: MultiValue, is_protected: bool) -> Result<Value>;
}

/// Commands are answered by the protocol that the script chose last.
struct Caller<'h> {
    host: Host<'h>,
    protocol: &'h Cell<Protocol>,
}

impl Commands for Caller<'_> {
    fn call(&mut self, lua: &Lua, values: MultiValue, is_protected: bool) -> Result<Value> {
        self.host.session.protocol = self.protocol.get();
        self.host.call(lua, values, is_protected)
    }
}

/// Adds `call` and `pcall`. They are made once, for two functions of Rust for each run take a third of its time, and find
/// the engine where the run has left it.
pub(super) fn add_calls(lua: &Lua, redis: &Table) -> Result<()> {
    for (name, is_protected) in [("call", false), ("pcall", true)] {
        let function = lua.create_function(move |lua, values: MultiValue| {
            // Nothing of Lua's runs while no script does.
            if !COMMANDS.is_set() {
                return Err(Raised::Reply(b"ERR no script is running".to_vec()).into());
            }
            COMMANDS.with(|commands| commands.call(lua, values, is_protected))
        })?;
        redis.raw_set(name, function)?;
    }
    Ok(())
}

/// A script and what it is run with.
pub(super) struct Run<'r> {
    pub(super) entry: Entry,
    /// Keys, then arguments.
    pub(super) given: Args<'r>,
    pub(super) key_count: usize,
    pub(super) permissions: Permissions,
    pub(super) session: Session,
    pub(super) now: Now,
    /// Microseconds that it may take; 0: no limit.
    pub(super) time_us: u64,
}

/// What a script came to.
pub(super) enum Ended {
    /// What it returned; the protocol says how booleans are answered.
    Returned(Value, Protocol),
    /// An error: a complete reply without the place, whether a command answered it, which has counted it, and the place.
    Failed { text: Vec<u8>, is_counted: bool, place: Option<(Vec<u8>, i64)> },
    /// Its time was up.
    OutOfTime,
}

/// What a script did, beside what it came to.
pub(super) struct Outcome {
    pub(super) ended: Ended,
    pub(super) wrote: bool,
    pub(super) used_units: u32,
}

impl Vm {
    /// Runs a script.
    pub(super) fn run(&mut self, engine: &mut Engine, run: Run<'_>) -> Outcome {
        self.make_room();
        if self.limits.is_over() {
            // The hook fires at each instruction since the last script was ended.
            let _ = watch(&self.lua, &self.limits, INSTRUCTIONS_BETWEEN_LOOKS);
        }
        self.limits.start(run.time_us);
        self.protocol.set(Protocol::Resp2);
        let Vm { lua, enter, enter_short, protocol, limits, workspace, .. } = self;
        let given = given(lua, limits, &engine.store, &run);
        let host = Host {
            engine,
            session: run.session,
            workspace,
            bytes: limits.buffer(),
            limits,
            permissions: run.permissions,
            given: run.given,
            key_count: run.key_count,
            now: run.now,
            wrote: false,
            used_units: 0,
        };
        let mut caller = Caller { host, protocol };
        let number = run.entry.number;
        let returned: Result<(bool, Value)> = COMMANDS.set(&mut caller, || match given? {
            Given::Short(values) => enter_short.call((number, values)),
            Given::Tables(keys, arguments) => enter.call((number, keys, arguments)),
        });
        let host = caller.host;
        let ended = match returned {
            _ if limits.is_over() => Ended::OutOfTime,
            Ok((true, value)) => Ended::Returned(value, protocol.get()),
            Ok((false, error)) => failed(&error),
            Err(error) => failed(&Value::Error(Box::new(error))),
        };
        Outcome { ended, wrote: host.wrote, used_units: host.used_units }
    }
}

/// What a script is given, as Lua has it.
enum Given {
    /// One key and the arguments.
    Short(MultiValue),
    /// Keys, arguments.
    Tables(Table, Table),
}

/// What a script is given.
fn given(lua: &Lua, limits: &Limits, store: &Store, run: &Run<'_>) -> Result<Given> {
    if run.key_count == 1 && run.given.len() <= SHORT_MAX {
        let strings = run.given.iter().map(|arg| string(lua, limits, store, arg).map(Value::String));
        return Ok(Given::Short(strings.collect::<Result<_>>()?));
    }
    let (keys, arguments) = (run.given.iter().take(run.key_count), run.given.from(run.key_count));
    Ok(Given::Tables(list(lua, limits, store, keys)?, list(lua, limits, store, arguments.iter())?))
}

/// Keys or arguments as a table of strings.
fn list<'a>(
    lua: &Lua,
    limits: &Limits,
    store: &Store,
    args: impl ExactSizeIterator<Item = Arg<'a>>,
) -> Result<Table> {
    let table = lua.create_table_with_capacity(args.len(), 0)?;
    for (i, arg) in args.enumerate() {
        table.raw_set(i + 1, string(lua, limits, store, arg)?)?;
    }
    Ok(table)
}

/// A key or an argument.
fn string(lua: &Lua, limits: &Limits, store: &Store, arg: Arg<'_>) -> Result<LuaString> {
    match arg {
        Arg::Bytes(bytes) => lua.create_string(bytes),
        Arg::Large(id) => {
            let mut bytes = limits.buffer();
            let mut cursor = LargeCursor::new(id, 0);
            loop {
                let piece = store.large_slice(&mut cursor);
                if piece.is_empty() {
                    break;
                }
                bytes.extend(piece)?;
                cursor.advance(piece.len());
            }
            lua.create_string(&bytes[..])
        }
        Arg::Refused => lua.create_string(b""),
    }
}

/// The handler of errors that no script catches: what is known of it as a table, as Redis's handler makes it.
pub(super) fn on_error(args: &Arguments<'_>) -> Result<MultiValue> {
    let lua = args.lua;
    let error = args.get(0).cloned().unwrap_or(Value::Nil);
    let table = match &error {
        Value::Table(table) => table.clone(),
        other => {
            let table = lua.create_table_with_capacity(0, 3)?;
            table.raw_set("err", lua.create_string(error_reply(other))?)?;
            if is_commands(other) {
                table.raw_set(to_resp::COUNTED, true)?;
            }
            table
        }
    };
    // The function that raised it, or, where that is C's or Rust's or the sandbox's, its caller.
    for level in 1..=OTHER_FUNCTIONS_MAX {
        let place = lua.inspect_stack(level, |debug| {
            let source = debug.source();
            let name = source.source.unwrap_or_default();
            let is_scripts = source.what != "C" && name != vm::SANDBOX_NAME;
            is_scripts.then(|| (name.into_owned(), debug.current_line()))
        });
        if let Some(Some((source, line))) = place {
            table.raw_set("source", source)?;
            table.raw_set("line", line)?;
            break;
        }
    }
    one(Value::Table(table))
}

/// Functions that are not a script's between it and the handler of its errors, at most.
const OTHER_FUNCTIONS_MAX: usize = 6;

/// An error that is no table, as a complete reply.
fn error_reply(error: &Value) -> Vec<u8> {
    let (text, has_code) = match error {
        Value::Error(error) => error_text(error),
        Value::String(text) => (text.as_bytes().to_vec(), false),
        Value::Nil => (b"nil".to_vec(), false),
        Value::Boolean(value) => (value.to_string().into_bytes(), false),
        other => match super::library::number_of(other) {
            Some(number) => (super::format::lua_number(number).into_bytes(), false),
            None => (super::library::type_name(other).as_bytes().to_vec(), false),
        },
    };
    if has_code { text } else { [b"ERR ", &text[..]].concat() }
}

/// Whether an error is the answer of a command.
fn is_commands(error: &Value) -> bool {
    let Value::Error(error) = error else { return false };
    let mut error = &**error;
    while let mlua::Error::CallbackError { cause, .. } = error {
        error = cause;
    }
    error.downcast_ref::<Raised>().is_some_and(|raised| matches!(raised, Raised::Answer(_)))
}

/// An error that came out of a script.
fn failed(error: &Value) -> Ended {
    let Value::Table(table) = error else {
        return Ended::Failed { text: error_reply(error), is_counted: is_commands(error), place: None };
    };
    let text = match table.raw_get::<Value>("err") {
        Ok(Value::String(text)) => text.as_bytes().to_vec(),
        // Of a table without the field, Redis 7.0 makes a crash.
        _ => b"ERR unknown error".to_vec(),
    };
    let source = table.raw_get::<Value>("source").unwrap_or(Value::Nil);
    let line = table.raw_get::<Value>("line").unwrap_or(Value::Nil);
    let place = match (source, super::library::number_of(&line)) {
        (Value::String(source), Some(line)) => Some((source.as_bytes().to_vec(), line as i64)),
        _ => None,
    };
    let is_counted = to_resp::is_counted(table).unwrap_or(false);
    Ended::Failed { text, is_counted, place }
}
