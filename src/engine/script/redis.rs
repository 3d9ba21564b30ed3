//! The table `redis` that scripts find, without `call` and `pcall`, which need the engine (`command.rs`).

use super::library::{Arguments, Library, one, one_string};
use super::limits::{Limits, Raised};
use crate::command;
use crate::engine::REDIS_VERSION;
use crate::wire::arguments::ArgTable;
use crate::wire::encode::Protocol;
use mlua::{Lua, MultiValue, Result, Table, Value};
use sha1::{Digest, Sha1};
use std::cell::Cell;
use std::rc::Rc;

/// Bytes of a script's line in the log, at most.
const LOG_BYTES_MAX: usize = 1024;

/// The functions; `protocol` is what `redis.setresp` sets.
pub(super) fn library(lua: &Lua, limits: &Rc<Limits>, protocol: &Rc<Cell<Protocol>>) -> Result<Table> {
    let library = Library::new(lua, limits)?;
    library.function("error_reply", |args, _| {
        let Some(text) = single_string(args) else { return wrong_arguments(args.lua) };
        field(args.lua, "err", &error_text(&text))
    })?;
    library.function("status_reply", |args, _| match single_string(args) {
        Some(text) => field(args.lua, "ok", &text),
        None => wrong_arguments(args.lua),
    })?;
    library.function("sha1hex", |args, _| {
        if args.len() != 1 {
            return raise("ERR wrong number of arguments");
        }
        let text = match args.get(0) {
            Some(Value::String(_) | Value::Integer(_) | Value::Number(_)) => args.string(0)?,
            _ => args.lua.create_string("")?,
        };
        one_string(args.lua, &hex(&sha1(&text.as_bytes())))
    })?;
    library.function("log", log_line)?;
    let protocol = Rc::clone(protocol);
    library.function("setresp", move |args, _| {
        if args.len() != 1 {
            return raise("ERR redis.setresp() requires one argument.");
        }
        protocol.set(match args.number(0)? {
            2.0 => Protocol::Resp2,
            3.0 => Protocol::Resp3,
            _ => return raise("ERR RESP version must be 2 or 3."),
        });
        Ok(MultiValue::new())
    })?;
    library.function("set_repl", |args, _| {
        if args.len() != 1 {
            return raise("ERR redis.set_repl() requires two arguments.");
        }
        // What a script writes always reaches every consumer of the feed.
        if !(0..=3).contains(&args.integer(0)?) {
            return raise(
                "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
            );
        }
        Ok(MultiValue::new())
    })?;
    library.function("acl_check_cmd", acl_check_cmd)?;
    library.function("replicate_commands", |_, _| one(Value::Boolean(true)))?;
    library.function("breakpoint", |_, _| one(Value::Boolean(false)))?;
    library.function("debug", |_, _| Ok(MultiValue::new()))?;
    let constants = [
        ("LOG_DEBUG", 0),
        ("LOG_VERBOSE", 1),
        ("LOG_NOTICE", 2),
        ("LOG_WARNING", 3),
        ("REPL_NONE", 0),
        ("REPL_AOF", 1),
        ("REPL_SLAVE", 2),
        ("REPL_REPLICA", 2),
        ("REPL_ALL", 3),
        ("REDIS_VERSION_NUM", version_number()),
    ];
    for (name, value) in constants {
        library.table.raw_set(name, value)?;
    }
    library.table.raw_set("REDIS_VERSION", REDIS_VERSION)?;
    Ok(library.table)
}

/// The version as Redis packs it: a byte for each part.
fn version_number() -> u32 {
    REDIS_VERSION.split('.').fold(0, |sum, part| sum << 8 | part.parse::<u32>().unwrap_or(0))
}

/// The one argument of `error_reply` and `status_reply`.
fn single_string(args: &Arguments<'_>) -> Option<Vec<u8>> {
    match args.get(0) {
        Some(Value::String(text)) if args.len() == 1 => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}

/// An error's text: what has no code before it gets one.
fn error_text(text: &[u8]) -> Vec<u8> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    if text.contains(&b' ') { text.to_vec() } else { [b"ERR ", text].concat() }
}

fn field(lua: &Lua, name: &str, text: &[u8]) -> Result<MultiValue> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(name, lua.create_string(text)?)?;
    one(Value::Table(table))
}

fn wrong_arguments(lua: &Lua) -> Result<MultiValue> {
    field(lua, "err", b"ERR wrong number or type of arguments")
}

fn raise<T>(text: &str) -> Result<T> {
    Err(Raised::Reply(text.as_bytes().to_vec()).into())
}

/// `redis.log(level, text, …)`
fn log_line(args: &Arguments<'_>, _: &Limits) -> Result<MultiValue> {
    if args.len() < 2 {
        return raise("ERR redis.log() requires two arguments or more.");
    }
    let level = match args.get(0) {
        Some(Value::Integer(level)) => *level,
        Some(Value::Number(level)) => *level as i64,
        _ => return raise("ERR First argument must be a number (log level)."),
    };
    let level = match level {
        0 => log::Level::Debug,
        1 | 2 => log::Level::Info,
        3 => log::Level::Warn,
        _ => return raise("ERR Invalid debug level."),
    };
    let mut line = String::new();
    for i in 1..args.len() {
        if let Some(Value::String(_) | Value::Integer(_) | Value::Number(_)) = args.get(i) {
            let text = args.string(i)?;
            let text = text.as_bytes();
            let room = LOG_BYTES_MAX.saturating_sub(line.len());
            let separator = if i > 1 { " " } else { "" };
            line.push_str(separator);
            line.push_str(&text[..text.len().min(room)].escape_ascii().to_string());
        }
    }
    log::log!(level, "script: {line}");
    Ok(MultiValue::new())
}

/// `redis.acl_check_cmd(command, …)`: the one user may do everything.
fn acl_check_cmd(args: &Arguments<'_>, _: &Limits) -> Result<MultiValue> {
    if args.len() == 0 {
        return raise("ERR Please specify at least one argument for this redis lib call");
    }
    let (mut table, mut bytes) = (ArgTable::with_capacity(2), Vec::new());
    for i in 0..args.len().min(2) {
        let word = args.string(i)?;
        let word = word.as_bytes();
        let word = &word[..word.len().min(64)];
        table.push(bytes.len(), word.len());
        bytes.extend_from_slice(word);
    }
    match command::resolve(&table.spans(&bytes)) {
        Some(_) => one(Value::Boolean(true)),
        None => raise("ERR Invalid command passed to redis.acl_check_cmd()"),
    }
}

/// What names a script.
pub(super) fn sha1(text: &[u8]) -> [u8; 20] {
    Sha1::digest(text).into()
}

/// As scripts are named on the wire: 40 digits.
pub(super) fn hex(digest: &[u8; 20]) -> [u8; 40] {
    let mut digits = [0; 40];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(digest) {
        for (digit, value) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = char::from_digit(u32::from(value), 16).map_or(b'0', |digit| digit as u8);
        }
    }
    digits
}
