//! SET and its shorthands: the options, the conditions, and the old value that is answered after it is gone.

use super::{
    Call, Continuation, Flow, Outcome,
    compare::{Compared, compare},
    expire::{Deadline, Unit},
    meter::KEY_UNITS,
    ops::{Change, Expiry, Presence},
    refused,
};
use crate::{
    mutation::{LargeRef, NewValue},
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
    /// IFNE; a key that is not there is unequal to any value
    Unequal(Arg<'a>),
}

struct Options<'a> {
    condition: Condition<'a>,
    deadline: Option<Deadline<'a>>,
    keep_expiry: bool,
    get: bool,
}

/// `SET key value [NX | XX | IFEQ value | IFNE value] [GET] [EX s | PX ms | EXAT t | PXAT t | KEEPTTL]`
#[inline]
pub fn set<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let value = call.value(2)?;
    if let (NewValue::Bytes(bytes), 3) = (value, call.args.len()) {
        let db = call.session.db;
        let hint = call.engine.store.known(db, key);
        call.engine.meter.charge(KEY_UNITS);
        call.engine.set_string((db, key, &hint), bytes, call.out, call.now).map_err(refused)?;
        return Ok(Flow::Done);
    }
    let options = parse(call)?;
    set_with(call, continuation, (key, value), &options)
}

/// `SETNX key value`
pub fn setnx<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let value = call.value(2)?;
    let db = call.session.db;
    let change = call.ops().put((db, key), value, Expiry::None, Presence::Absent, |_, _| true);
    call.done(i64::from(matches!(change.map_err(refused)?, Change::Made(_))))
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
    set_with(call, None, (key, value), &options)
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
        } else if let Some(wanted) = call.args.get(at + 1)
            && call.is_word(at, "IFNE")
            && matches!(condition, Condition::Always | Condition::Unequal(_))
        {
            options.condition = Condition::Unequal(wanted);
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
    Large(LargeRef),
}

fn set_with<'a>(
    call: &mut Call<'_, 'a, '_>,
    continuation: Option<Continuation>,
    (key, value): (&'a [u8], NewValue<'a>),
    options: &Options<'a>,
) -> Outcome<'a> {
    // The clock goes on between two slices of a comparison: what was in range may be no more.
    let at = match options.deadline.map(|deadline| deadline.resolve(call)).transpose() {
        Ok(at) => at,
        Err(error) => return call.give_up(continuation, error),
    };
    let expiry = match at {
        Some(at) => Expiry::At(Millis(at as u64)),
        None if options.keep_expiry => Expiry::Keep,
        None => Expiry::None,
    };
    let (presence, wanted) = match options.condition {
        Condition::Always => (Presence::Any, None),
        Condition::Absent => (Presence::Absent, None),
        Condition::Present => (Presence::Present, None),
        Condition::Equal(wanted) => (Presence::Present, Some((wanted, true))),
        Condition::Unequal(wanted) => (Presence::Any, Some((wanted, false))),
    };
    let continuation = match wanted {
        Some(_) => call.check_string(key, continuation)?,
        None => None,
    };
    let applies = match wanted {
        None => true,
        Some((wanted, applies_if_equal)) => match compare(call, continuation, key, wanted) {
            Compared::Known(is_equal) => is_equal == applies_if_equal,
            Compared::Unfinished(work) => return Ok(Flow::Yield(Continuation::Compare(work))),
        },
    };
    let old = if options.get { stash(call, key)? } else { Old::Absent };
    let db = call.session.db;
    let change = call.ops().put((db, key), value, expiry, presence, |_, _| applies).map_err(refused);
    answer(call, old, options.get, change)
}

/// Keeps the value of a key for its answer.
fn stash<'a>(call: &mut Call<'_, 'a, '_>, key: &[u8]) -> Result<Old, Error<'a>> {
    let engine = &mut *call.engine;
    Ok(match engine.store.get(call.session.db, key, call.now).map(|entry| entry.value) {
        None => {
            engine.metrics.counters.keyspace_misses += 1;
            Old::Absent
        }
        Some(Value::Inline(bytes)) => {
            engine.metrics.counters.keyspace_hits += 1;
            engine.scratch[..bytes.len()].copy_from_slice(bytes);
            Old::Copied(bytes.len())
        }
        Some(Value::Large { id, .. }) => {
            engine.metrics.counters.keyspace_hits += 1;
            Old::Large(engine.store.large_retain(id))
        }
        Some(Value::Collection(_)) => return Err(ErrorKind::WrongType.plain()),
    })
}

/// Answers with GET the value that the key had, whether it was changed or not; else OK, or null where the condition did
/// not hold. Passes on why a change was refused.
fn answer<'a>(
    call: &mut Call<'_, 'a, '_>,
    old: Old,
    get: bool,
    change: Result<Change, Error<'a>>,
) -> Outcome<'a> {
    match (old, &change) {
        (Old::Large(large), Ok(_)) => call.give_large(large),
        (Old::Large(large), Err(_)) => call.engine.store.large_release(large),
        (_, Err(_)) => {}
        (Old::Copied(len), Ok(_)) => call.out.bulk(&call.engine.scratch[..len]),
        (Old::Absent, Ok(Change::Made(_))) if !get => call.out.ok(),
        (Old::Absent, Ok(_)) => call.out.null(),
    }
    change.map(|_| Flow::Done)
}
