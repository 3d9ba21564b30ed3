//! Scripts: EVAL, EVALSHA and SCRIPT. Lua 5.1, with what Redis 7 gives to its scripts.
//!
//! ```text
//!  EVAL text …  ──▶ source (shebang, checks) ──▶ vm (compile) ──▶ cache ──▶ run ──▶ to_resp ──▶ reply
//!  EVALSHA …    ───────────────────────────────────────────────────▲         │ ▲
//!                                                    command ◀── redis.call ─┘ └── from_resp
//!                                                       └──▶ Engine::execute, as on the wire
//! ```
//! **One step.** A script runs to its end before anything else does, and its writes are one group of the change feed.
//! So its time is limited ([`limits`]): one that has not written when its time is up has done nothing; one that has is
//! ended all the same, keeps what it wrote, and its error says so.
//!
//! **Memory** ([`vm`]): at the first script the store lends as many bytes as scripts may have, and SCRIPT FLUSH gives
//! them back. A server that sees no script has paid nothing.
//!
//! **The sandbox** (`prelude.lua`) shows read-only tables and none of `io`, `os`, `debug`, `package`. Lua's C code is
//! kept from what it does not survive: see [`source`], [`pattern`], [`vm`]. What Rust adds raises errors and never panics.

use super::{Call, Engine, Flow, Outcome};
use crate::command::VerbId;
use crate::mutation::LargeRef;
use crate::reply::{Error, ErrorKind, Part};
use crate::wire::arguments::Arg;
use cache::Entry;
use command::Permissions;
use run::{Ended, Run};
use source::BadShebang;
use vm::Vm;

mod bits;
mod cache;
mod command;
mod format;
mod from_resp;
mod json;
mod library;
mod limits;
mod msgpack;
mod pattern;
mod random;
mod redis;
mod run;
mod source;
mod strings;
mod structs;
#[cfg(test)]
mod tests;
mod to_resp;
mod vm;

/// Units of the meter for a microsecond.
const UNITS_PER_US: u64 = 10;
/// Bytes of a script's text, at most, where Lua's memory allows so much: what is longer than an argument in a buffer is
/// copied before it is compiled.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;

/// The scripts of an engine: nothing, until the first one comes.
pub(super) struct Scripts {
    vm: Option<Box<Vm>>,
    /// Microseconds of a clock that never goes back.
    clock_us: fn() -> u64,
}

impl Scripts {
    /// Ends the virtual machine, if there is one: the share of memory that the store lent it.
    pub(super) fn end(&mut self) -> Option<LargeRef> {
        self.vm.take().map(|vm| LargeRef::from_raw(vm.lent))
    }

    pub(super) fn new() -> Scripts {
        Scripts { vm: None, clock_us: || 0 }
    }

    /// Bytes that Lua has in use, and the number of scripts.
    fn used(&self) -> (usize, usize) {
        self.vm.as_ref().map_or((0, 0), |vm| (vm.used_bytes(), vm.cache.len()))
    }
}

impl Engine {
    /// From now on the time of scripts is measured by this clock.
    pub fn set_script_clock(&mut self, clock_us: fn() -> u64) {
        self.scripts.clock_us = clock_us;
    }

    /// Bytes that Lua has in use, and the number of scripts that are known.
    pub(super) fn script_use(&self) -> (usize, usize) {
        self.scripts.used()
    }

    /// The machine for scripts, made if there is none; it is to be put back.
    fn take_vm(&mut self, now: crate::time::Millis) -> Result<Box<Vm>, Error<'static>> {
        if let Some(vm) = self.scripts.vm.take() {
            return Ok(vm);
        }
        let share_bytes = self.options.script_memory_bytes.min(self.options.memory_bytes / 4);
        if share_bytes == 0 {
            return Err(ErrorKind::ScriptsOff.plain());
        }
        let lent = self.store.lend(share_bytes as u32, now).map_err(super::refused)?;
        match Vm::new(share_bytes as usize, self.scripts.clock_us, lent.id()) {
            Ok(vm) => {
                // The machine's; with the engine it goes as the store does.
                lent.into_raw();
                Ok(Box::new(vm))
            }
            Err(error) => {
                log::error!("the machine for scripts cannot be made: {error}");
                self.store.large_release(lent);
                Err(ErrorKind::ScriptMemory.plain())
            }
        }
    }
}

/// `EVAL text keys [key …] [argument …]`, `EVALSHA digest …` and their read-only forms
pub(super) fn eval<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key_count = call.integer(2)?;
    if key_count > call.args.len() as i64 - 3 {
        return Err(ErrorKind::ScriptKeyCount.plain());
    }
    let key_count = usize::try_from(key_count).map_err(|_| ErrorKind::ScriptKeysNegative.plain())?;
    let by_digest = matches!(call.verb.id, VerbId::Evalsha | VerbId::EvalshaRo);
    if by_digest && call.engine.scripts.vm.is_none() {
        return Err(ErrorKind::NoScript.plain());
    }
    let mut vm = call.engine.take_vm(call.now)?;
    let outcome = match find(call, &mut vm, by_digest) {
        Ok(Some((digest, entry))) => run(call, &mut vm, (digest, entry), key_count),
        Ok(None) => Ok(Flow::Done),
        Err(error) => Err(error),
    };
    call.engine.scripts.vm = Some(vm);
    outcome
}

/// The script that is meant, compiled if it comes as text. `None`: an error is in the output.
fn find<'a>(
    call: &mut Call<'_, 'a, '_>,
    vm: &mut Vm,
    by_digest: bool,
) -> Result<Option<([u8; 20], Entry)>, Error<'a>> {
    if by_digest {
        let digest = call.args.bytes(1).and_then(parse_digest);
        let found = digest.and_then(|digest| Some((digest, vm.cache.take_for_use(&digest)?)));
        return found.map(Some).ok_or(ErrorKind::NoScript.plain());
    }
    Ok(known(call, vm, 1)?.and_then(|digest| Some((digest, vm.cache.take_for_use(&digest)?))))
}

/// Compiles the script that argument `i` is, unless it is known. `None`: an error is in the output.
fn known<'a>(call: &mut Call<'_, 'a, '_>, vm: &mut Vm, i: usize) -> Result<Option<[u8; 20]>, Error<'a>> {
    let copy;
    let text = match call.args.get(i) {
        Some(Arg::Bytes(text)) => text,
        Some(Arg::Large(id)) => {
            let store = &call.engine.store;
            if store.large_len(id) > TEXT_BYTES_MAX {
                return Err(ErrorKind::ScriptMemory.plain());
            }
            let mut text = Vec::new();
            let mut cursor = crate::store::LargeCursor::new(id, 0);
            loop {
                let piece = store.large_slice(&mut cursor);
                if piece.is_empty() {
                    break;
                }
                text.extend_from_slice(piece);
                let len = piece.len();
                cursor.advance(len);
            }
            copy = text;
            &copy
        }
        Some(Arg::Refused) => return Err(ErrorKind::Full.plain()),
        None => return Err(ErrorKind::Syntax.plain()),
    };
    call.engine.meter.charge_bytes(text.len());
    let digest = redis::sha1(text);
    if !vm.cache.contains(&digest)
        && let Err(error) = vm.compile(digest, text)
    {
        fail(call, &[&error], false);
        return Ok(None);
    }
    Ok(Some(digest))
}

/// Answers an error of a script, and counts it.
fn fail(call: &mut Call<'_, '_, '_>, parts: &[&[u8]], is_counted: bool) {
    call.out.error_parts(parts);
    call.engine.metrics.failed_uncounted(call.verb.id);
    if !is_counted {
        call.engine.metrics.error_as(parts.first().copied().unwrap_or_default());
    }
}

fn run<'a>(
    call: &mut Call<'_, 'a, '_>,
    vm: &mut Vm,
    (digest, entry): ([u8; 20], Entry),
    key_count: usize,
) -> Outcome<'a> {
    let given = call.args.from(3);
    let by_verb = matches!(call.verb.id, VerbId::EvalRo | VerbId::EvalshaRo);
    let flags = entry.flags;
    if by_verb && flags.declared && !flags.no_writes {
        return Err(ErrorKind::ScriptWritesInReadOnly.plain());
    }
    if flags.declared && !flags.no_writes && !flags.allow_oom && !fits(call, key_count) {
        return Err(ErrorKind::ScriptFull.plain());
    }
    let permissions =
        Permissions { read_only: by_verb || flags.no_writes, allow_oom: flags.allow_oom || flags.declared };
    let mut session = super::session::Session::new(call.session.id, true);
    session.db = call.session.db;
    session.no_touch = call.session.no_touch;
    let time_us = call.engine.options.script_time.as_micros() as u64;
    let meter = call.engine.meter;
    // Consumers of the change feed see all of its writes, or none.
    call.engine.store.begin_group();
    let outcome =
        vm.run(call.engine, Run { entry, given, key_count, permissions, session, now: call.clock, time_us });
    call.engine.store.end_group();
    call.engine.meter = meter;
    let spent_us = vm.limits.spent_us();
    let units = u32::try_from(spent_us * UNITS_PER_US).unwrap_or(u32::MAX).max(outcome.used_units);
    call.engine.charge_step(units);
    answer(call, vm, &digest, outcome)
}

/// Answers what a script came to.
fn answer<'a>(
    call: &mut Call<'_, 'a, '_>,
    vm: &mut Vm,
    digest: &[u8; 20],
    outcome: run::Outcome,
) -> Outcome<'a> {
    match outcome.ended {
        Ended::Returned(value, protocol) => {
            let (metrics, mut has_failed) = (&mut call.engine.metrics, false);
            let on_error = &mut |text: &[u8], is_counted: bool| {
                has_failed = true;
                if !is_counted {
                    metrics.error_as(text);
                }
            };
            if to_resp::write(&value, call.out, protocol, on_error).is_err() {
                call.out.error("ERR the script's reply cannot be read");
            }
            if has_failed {
                call.engine.metrics.failed_uncounted(call.verb.id);
            }
            drop(value);
        }
        Ended::Failed { text, is_counted, place: None } => fail(call, &[&text], is_counted),
        Ended::Failed { text, is_counted, place: Some((source, line)) } => {
            let (name, line) = (redis::hex(digest), line.to_string());
            let parts = [&text, &b" script: "[..], &name, b", on ", &source, b":", line.as_bytes(), b"."];
            fail(call, &parts, is_counted);
        }
        Ended::OutOfTime => {
            let kind = if outcome.wrote { ErrorKind::ScriptEndedWrote } else { ErrorKind::ScriptEnded };
            let kept = if outcome.wrote { "; what it wrote is kept" } else { "; it had written nothing" };
            let name = redis::hex(digest);
            let name = String::from_utf8_lossy(&name);
            let spent_ms = vm.limits.spent_us() / 1_000;
            let (client_id, wrote) = (call.session.id, outcome.wrote);
            log::warn!(
                script = name, client_id, spent_ms, wrote;
                "script {name} of client {client_id} was ended after {spent_ms} ms{kept}",
            );
            let limit_ms = call.engine.options.script_time.as_millis() as u64;
            return Err(kind.with(Part::Number(limit_ms), Part::Bytes(b""), Part::Bytes(b"")));
        }
    }
    Ok(Flow::Done)
}

/// Whether the store has room for what a script was given.
fn fits(call: &mut Call<'_, '_, '_>, key_count: usize) -> bool {
    let given = call.args.from(3);
    let (needed, replaced) = command::demand_of(&call.engine.store, call.session.db, &given, key_count);
    call.engine.fits(needed.max(1), replaced, call.now)
}

/// `SCRIPT LOAD text`
pub(super) fn load<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let mut vm = call.engine.take_vm(call.now)?;
    let loaded = known(call, &mut vm, 2);
    if let Ok(Some(digest)) = &loaded {
        if vm.cache.keep(digest) {
            call.out.bulk(&redis::hex(digest));
        } else {
            vm.forget(digest);
            call.engine.scripts.vm = Some(vm);
            return Err(ErrorKind::ScriptMemory.plain());
        }
    }
    call.engine.scripts.vm = Some(vm);
    loaded.map(|_| Flow::Done)
}

/// `SCRIPT EXISTS digest …`
pub(super) fn exists<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let args = call.args.from(2);
    call.out.array(args.len());
    for arg in args.iter() {
        let digest = if let Arg::Bytes(digits) = arg { parse_digest(digits) } else { None };
        let vm = call.engine.scripts.vm.as_ref();
        let is_known = digest.zip(vm).is_some_and(|(digest, vm)| vm.cache.contains(&digest));
        call.out.integer(i64::from(is_known));
    }
    Ok(Flow::Done)
}

/// `SCRIPT FLUSH [ASYNC | SYNC]`
pub(super) fn flush<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    if call.args.len() > 3 || call.args.len() == 3 && !call.is_word(2, "SYNC") && !call.is_word(2, "ASYNC") {
        return Err(ErrorKind::ScriptFlushOption.plain());
    }
    call.engine.drop_scripts();
    call.ok()
}

/// `SCRIPT KILL`: while a script runs, no client is served that could send this.
pub(super) fn kill<'a>(_: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    Err(ErrorKind::NotBusy.plain())
}

/// The error for a wrong shebang line.
fn shebang_error(bad: BadShebang<'_>) -> Vec<u8> {
    let (text, part): (&[u8], &[u8]) = match bad {
        BadShebang::Unfinished => (b"ERR Invalid script shebang", b""),
        BadShebang::Engine(engine) => (b"ERR Unexpected engine in script shebang: ", engine),
        BadShebang::Option(option) => (b"ERR Unknown lua shebang option: ", option),
        BadShebang::Flag(flag) => (b"ERR Unexpected flag in script shebang: ", flag),
    };
    [text, part].concat()
}

/// 40 digits, in any case of letters.
fn parse_digest(digits: &[u8]) -> Option<[u8; 20]> {
    let mut digest = [0; 20];
    if digits.len() != 40 {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(digest)
}
