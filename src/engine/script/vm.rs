//! The one Lua state, made at the first script and dropped by SCRIPT FLUSH: its sandbox, its limits, and how a script
//! is run in it.

use super::cache::Cache;
use super::command::Workspace;
use super::limits::{INSTRUCTIONS_BETWEEN_LOOKS, Limits};
use super::source::{self, Unfit};
use super::{bits, json, library, msgpack, random, redis, strings, structs};
use crate::limits::{RING_BYTES, SCRIPT_MEMORY_BYTES_MIN};
use crate::mutation::LargeId;
use crate::wire::encode::Protocol;
use mlua::chunk::ChunkMode;
use mlua::state::{GcIncParams, GcMode};
use mlua::{
    Error, Function, HookTriggers, Lua, LuaOptions, MultiValue, Result, StdLib, Table, Value, VmState,
};
use std::cell::Cell;
use std::rc::Rc;

/// The name of every script, in errors.
const CHUNK_NAME: &str = "@user_script";
/// The name of the prelude.
pub(super) const SANDBOX_NAME: &str = "=sandbox";
/// Percent of what a collection left over at which the next one begins: early, for Lua 5.1 collects nothing when an
/// allocation fails.
const GC_PAUSE: i32 = 120;
const GC_STEP_MULTIPLIER: i32 = 400;

/// Sixteenths of the share: for Lua, for what Rust builds on a script's behalf (long values, commands, texts), and for
/// the replies of commands.
const LUA_SHARE: usize = 11;
const SCRATCH_SHARE: usize = 4;
const REPLY_SHARE: usize = 1;
const _: () = assert!(LUA_SHARE + SCRATCH_SHARE + REPLY_SHARE == 16);
const _: () = assert!(SCRIPT_MEMORY_BYTES_MIN / 16 >= RING_BYTES as u64, "a reply has a ring");

/// A Lua state and the scripts in it.
pub(super) struct Vm {
    /// The share of the store's memory that all of this is instead of.
    pub(super) lent: LargeId,
    pub(super) cache: Cache,
    pub(super) workspace: Workspace,
    pub(super) limits: Rc<Limits>,
    pub(super) lua: Lua,
    /// Compiled scripts by number.
    pub(super) compiled: Table,
    /// Runs a script, by its number, with a table of keys and one of arguments.
    pub(super) enter: Function,
    /// The same with one key and some arguments, as they are.
    pub(super) enter_short: Function,
    pub(super) protocol: Rc<Cell<Protocol>>,
    lua_bytes_max: usize,
}

impl Vm {
    /// A state within `share_bytes`, of which `lent` is the store's side.
    pub(super) fn new(share_bytes: usize, clock_us: fn() -> u64, lent: LargeId) -> Result<Vm> {
        let limits = Rc::new(Limits::new(clock_us, share_bytes / 16 * SCRATCH_SHARE));
        let options = LuaOptions::new().catch_rust_panics(false);
        let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH, options)?;
        let lua_bytes_max = share_bytes / 16 * LUA_SHARE;
        lua.gc_set_mode(GcMode::Incremental(
            GcIncParams::default().pause(GC_PAUSE).step_multiplier(GC_STEP_MULTIPLIER),
        ));
        let protocol = Rc::new(Cell::new(Protocol::Resp2));
        let redis = redis::library(&lua, &limits, &protocol)?;
        super::run::add_calls(&lua, &redis)?;
        let compiled = lua.create_table()?;
        let (enter, enter_short, globals) = prelude(&lua, &limits, &redis, &compiled)?;
        lua.set_globals(globals)?;
        watch(&lua, &limits, INSTRUCTIONS_BETWEEN_LOOKS)?;
        lua.gc_collect()?;
        lua.set_memory_limit(lua_bytes_max)?;
        Ok(Vm {
            lent,
            cache: Cache::default(),
            workspace: Workspace::new(share_bytes / 16 * REPLY_SHARE),
            limits,
            compiled,
            enter,
            enter_short,
            protocol,
            lua_bytes_max,
            lua,
        })
    }

    /// Bytes that Lua has in use.
    pub(super) fn used_bytes(&self) -> usize {
        self.lua.used_memory()
    }

    /// Compiles a script into the cache; what is wrong with it comes back as a complete error.
    pub(super) fn compile(&mut self, digest: [u8; 20], text: &[u8]) -> std::result::Result<(), Vec<u8>> {
        let (flags, body) = source::shebang(text).map_err(super::shebang_error)?;
        self.make_room();
        let function = load(&self.lua, body, CHUNK_NAME).map_err(|error| compile_error(&error))?;
        let number = self.cache.insert(digest, flags);
        self.compiled.raw_set(number, function).map_err(|error| {
            self.cache.remove(&digest);
            compile_error(&NotLoaded::Lua(error))
        })
    }

    /// Frees memory before more is taken: garbage first, then the scripts that came by EVAL and were used longest ago.
    pub(super) fn make_room(&mut self) {
        let is_full = |vm: &Vm| vm.used_bytes() > vm.lua_bytes_max / 4 * 3;
        if !is_full(self) && !self.cache.is_crowded() {
            return;
        }
        let _ = self.lua.gc_collect();
        while is_full(self) || self.cache.is_crowded() {
            let dropped = self.cache.drop_least_used();
            if dropped.is_empty() {
                return;
            }
            for number in dropped {
                // Setting a field that is there takes no memory.
                let _ = self.compiled.raw_set(number, Value::Nil);
            }
            let _ = self.lua.gc_collect();
        }
    }

    /// Drops what is remembered of a script.
    pub(super) fn forget(&mut self, digest: &[u8; 20]) {
        if let Some(number) = self.cache.remove(digest) {
            let _ = self.compiled.raw_set(number, Value::Nil);
        }
    }
}

/// What scripts find, made by the prelude: the functions that run a script, and the globals.
fn prelude(
    lua: &Lua,
    limits: &Rc<Limits>,
    redis: &Table,
    compiled: &Table,
) -> Result<(Function, Function, Table)> {
    let host = library::Library::new(lua, limits)?;
    host.function("plain", |args, _| {
        let value = args.get(0).cloned().unwrap_or(Value::Nil);
        match &value {
            Value::Error(error) => library::one_string(args.lua, &library::error_text(error).0),
            _ => library::one(value),
        }
    })?;
    host.function("on_error", |args, _| super::run::on_error(args))?;
    host.function("load", |args, _| {
        let text = args.string(0)?;
        let name = if args.is_none_or_nil(1) { text.clone() } else { args.string(1)? };
        match load(args.lua, &text.as_bytes(), &name.to_string_lossy()) {
            Ok(function) => library::one(Value::Function(function)),
            Err(error) => {
                let text = args.lua.create_string(load_error_text(&error))?;
                Ok(MultiValue::from_iter([Value::Nil, Value::String(text)]))
            }
        }
    })?;
    random::add_to(&host)?;
    host.table.raw_set("redis", redis)?;
    host.table.raw_set("compiled", compiled)?;
    host.table.raw_set("string", strings::library(lua, limits)?)?;
    host.table.raw_set("cjson", json::library(lua, limits)?)?;
    host.table.raw_set("cmsgpack", msgpack::library(lua, limits)?)?;
    host.table.raw_set("bit", bits::library(lua, limits)?)?;
    host.table.raw_set("struct", structs::library(lua, limits)?)?;
    lua.load(include_str!("prelude.lua")).set_name(SANDBOX_NAME).call(host.table)
}

/// Why a text was not compiled.
enum NotLoaded {
    Unfit(Unfit),
    Lua(Error),
}

/// Compiles a text.
///
/// Collection stands still meanwhile: Lua 5.1's parser holds the name of what it compiles without an anchor, so that a
/// collection in the middle frees it (CVE-2025-49844). What the parser takes is bounded by the memory for scripts.
fn load(lua: &Lua, text: &[u8], name: &str) -> std::result::Result<Function, NotLoaded> {
    source::check(text).map_err(NotLoaded::Unfit)?;
    // C takes the name to end at a zero byte.
    let name = name.split('\0').next().unwrap_or_default();
    lua.gc_stop();
    let loaded = lua.load(text).set_name(name).set_mode(ChunkMode::Text).into_function();
    lua.gc_restart();
    loaded.map_err(NotLoaded::Lua)
}

fn load_error_text(error: &NotLoaded) -> Vec<u8> {
    match error {
        NotLoaded::Unfit(unfit) => unfit.text().as_bytes().to_vec(),
        NotLoaded::Lua(Error::SyntaxError { message, .. }) => message.clone().into_bytes(),
        NotLoaded::Lua(error) => library::error_text(error).0,
    }
}

/// The error of EVAL and SCRIPT LOAD.
fn compile_error(error: &NotLoaded) -> Vec<u8> {
    [b"ERR Error compiling script (new function): ", &load_error_text(error)[..]].concat()
}

/// Looks at the clock every so many instructions. When a script's time is up, each instruction raises an error, so that
/// no `pcall` outlasts it.
pub(super) fn watch(lua: &Lua, limits: &Rc<Limits>, instructions: u32) -> Result<()> {
    let limits = Rc::clone(limits);
    lua.set_global_hook(HookTriggers::new().every_nth_instruction(instructions), move |lua, _| {
        match limits.check_clock() {
            Ok(()) => Ok(VmState::Continue),
            Err(raised) => {
                // Each time: the count is the running coroutine's own, and one that is gone back to has the old one. Between
                // two of its looks it could call, and catch the errors of, others for ever.
                watch(lua, &limits, 1)?;
                Err(raised.into())
            }
        }
    })
}
