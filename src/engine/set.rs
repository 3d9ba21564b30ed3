//! SET and its shorthands: the options, the conditions, and the old value that is answered after it is gone.

use super::{
    Call, Flow, Outcome,
    expire::{self, Deadline, Unit},
    strings::equals,
};
use crate::{
    mutation::{LargeId, NewValue},
    reply::{Error, ErrorKind},
    store::Value,
    time::Millis,
    wire::arguments::Arg,
};

/// When SET applies.
#[derive(Clone, Copy)]
enum Condition<'a> {
    Always,
    /// NX
    Absent,
    /// XX
    Present,
    /// IFEQ
    Equal(Arg<'a>),
}

struct Options<'a> {
    condition: Condition<'a>,
    deadline: Option<Deadline<'a>>,
    keep_expiry: bool,
    get: bool,
}

/// `SET key value [NX | XX | IFEQ value] [GET] [EX s | PX ms | EXAT t | PXAT t | KEEPTTL]`
#[inline]
pub fn set<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let value = call.value(2)?;
    if call.args.len() == 3 {
        call.put(key, value, None)?;
        return call.ok();
    }
    let options = parse(call)?;
    set_with(call, key, value, &options)
}

/// `SETNX key value`
pub fn setnx<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let value = call.value(2)?;
    let absent = call.engine.store.get(call.session.db, key, call.now).is_none();
    if absent {
        call.put(key, value, None)?;
    }
    call.done(i64::from(absent))
}

/// `SETEX key s value`, `PSETEX key ms value`
pub fn setex<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let unit = if call.verb.id == crate::command::VerbId::Setex { Unit::Seconds } else { Unit::Millis };
    let at = Deadline { unit, argument: call.args.bytes(2).unwrap_or_default() }.resolve(call)?;
    let value = call.value(3)?;
    call.put(key, value, Some(Millis(at as u64)))?;
    call.ok()
}

/// `GETSET key value`
pub fn getset<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let value = call.value(2)?;
    let options = Options { condition: Condition::Always, deadline: None, keep_expiry: false, get: true };
    set_with(call, key, value, &options)
}

/// The options from argument 3 on. As in Redis, an option may come twice; those that exclude each other may not.
fn parse<'a>(call: &Call<'_, 'a, '_>) -> Result<Options<'a>, Error<'a>> {
    let mut options =
        Options { condition: Condition::Always, deadline: None, keep_expiry: false, get: false };
    let mut at = 3;
    while at < call.args.len() {
        let condition = options.condition;
        if call.is_word(at, "NX") && matches!(condition, Condition::Always | Condition::Absent) {
            options.condition = Condition::Absent;
        } else if call.is_word(at, "XX") && matches!(condition, Condition::Always | Condition::Present) {
            options.condition = Condition::Present;
        } else if call.is_word(at, "GET") {
            options.get = true;
        } else if call.is_word(at, "KEEPTTL") && options.deadline.is_none() {
            options.keep_expiry = true;
        } else if let Some(deadline) = Deadline::option(call, at)
            && !options.keep_expiry
            && options.deadline.is_none_or(|earlier| earlier.unit == deadline.unit)
        {
            options.deadline = Some(deadline);
            at += 1;
        } else if let Some(wanted) = call.args.get(at + 1)
            && call.is_word(at, "IFEQ")
            && matches!(condition, Condition::Always | Condition::Equal(_))
        {
            options.condition = Condition::Equal(wanted);
            at += 1;
        } else {
            return Err(ErrorKind::Syntax.plain());
        }
        at += 1;
    }
    Ok(options)
}

/// The value that a key had, kept beyond its replacement.
enum Old {
    Absent,
    /// So many bytes of the engine's scratch.
    Copied(usize),
    /// A reference is held.
    Large {
        id: LargeId,
        len: u64,
    },
}

fn set_with<'a>(
    call: &mut Call<'_, 'a, '_>,
    key: &'a [u8],
    value: NewValue<'a>,
    options: &Options<'a>,
) -> Outcome<'a> {
    let at = options.deadline.map(|deadline| deadline.resolve(call)).transpose()?;
    let entry = call.engine.store.get(call.session.db, key, call.now);
    let existed = entry.is_some();
    let kept = entry.and_then(|entry| entry.expiry).filter(|_| options.keep_expiry);
    let applies = match options.condition {
        Condition::Always => true,
        Condition::Absent => !existed,
        Condition::Present => existed,
        Condition::Equal(wanted) => call
            .engine
            .store
            .peek(call.session.db, key, call.now)
            .is_some_and(|entry| equals(&call.engine.store, entry.value, wanted)),
    };
    if !applies {
        if options.get {
            call.answer_value(key);
        } else {
            call.out.null();
        }
        return Ok(Flow::Done);
    }
    let old = if options.get { stash(call, key) } else { Old::Absent };
    let done = match at {
        Some(at) if expire::has_passed(at, call.now) => call.delete(key).map(drop),
        Some(at) => call.put(key, value, Some(Millis(at as u64))).map(drop),
        None => call.put(key, value, kept).map(drop),
    };
    answer(call, old, options.get, done)
}

/// Keeps the value of a key for its answer.
fn stash(call: &mut Call<'_, '_, '_>, key: &[u8]) -> Old {
    let engine = &mut *call.engine;
    match engine.store.get(call.session.db, key, call.now).map(|entry| entry.value) {
        None => {
            engine.metrics.counters.keyspace_misses += 1;
            Old::Absent
        }
        Some(Value::Inline(bytes)) => {
            engine.metrics.counters.keyspace_hits += 1;
            engine.scratch[..bytes.len()].copy_from_slice(bytes);
            Old::Copied(bytes.len())
        }
        Some(Value::Large { id, len }) => {
            engine.metrics.counters.keyspace_hits += 1;
            engine.store.large_retain(id);
            Old::Large { id, len }
        }
    }
}

/// Answers the old value (or OK) once the change is made; passes on why it was not.
fn answer<'a>(call: &mut Call<'_, 'a, '_>, old: Old, get: bool, done: Result<(), Error<'a>>) -> Outcome<'a> {
    match (old, &done) {
        // The output takes the reference over.
        (Old::Large { id, len }, Ok(())) if call.out.large(id, len) => {}
        (Old::Large { id, .. }, _) => call.engine.store.large_release(id),
        (_, Err(_)) => {}
        (Old::Copied(len), Ok(())) => call.out.bulk(&call.engine.scratch[..len]),
        (Old::Absent, Ok(())) if get => call.out.null(),
        (Old::Absent, Ok(())) => call.out.ok(),
    }
    done.map(|()| Flow::Done)
}
