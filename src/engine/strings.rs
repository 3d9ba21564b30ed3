//! Single values: GET, STRLEN, GETEX, GETDEL, DELIFEQ, DELEX.

use super::{
    Call, Continuation, Flow, Outcome,
    call::string,
    compare::{Compared, compare},
    expire::{self, Deadline},
    ops::Change,
    refused,
};
use crate::{mutation::Mutation, reply::ErrorKind, time::Millis, wire::arguments::Arg};

/// `GETREV key`: the revision, then the value.
pub fn getrev<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let (db, now) = (call.session.db, call.now);
    let Some(revision) = string(call.engine.store.peek(db, key, now))?.map(|entry| entry.revision) else {
        call.engine.metrics.counters.keyspace_misses += 1;
        call.out.null_array();
        return Ok(Flow::Done);
    };
    call.out.array(2);
    call.out.integer(revision.0 as i64);
    call.answer_value(key)?;
    Ok(Flow::Done)
}

/// `GET key`
#[inline]
pub fn get<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    call.answer_value(key)?;
    Ok(Flow::Done)
}

/// `STRLEN key`
pub fn strlen<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let entry = string(call.engine.lookup(call.session.db, key, call.now))?;
    let len = entry.map_or(0, |entry| entry.value.len());
    call.done(len as i64)
}

/// `GETDEL key`
pub fn getdel<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    if call.answer_value(key)? {
        call.delete(key)?;
    }
    Ok(Flow::Done)
}

/// What GETEX does with the expiry.
enum NewExpiry<'a> {
    None,
    Persist,
    Set(Deadline<'a>),
}

/// `GETEX key [EX s | PX ms | EXAT t | PXAT t | PERSIST]`
pub fn getex<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let db = call.session.db;
    let mut change = NewExpiry::None;
    let mut at = 2;
    while at < call.args.len() {
        let deadline = Deadline::option(call, at);
        change = match (deadline, change) {
            (Some(deadline), NewExpiry::None) => NewExpiry::Set(deadline),
            (Some(deadline), NewExpiry::Set(earlier)) if deadline.unit == earlier.unit => {
                NewExpiry::Set(deadline)
            }
            (None, NewExpiry::None | NewExpiry::Persist) if call.is_word(at, "PERSIST") => NewExpiry::Persist,
            _ => return Err(ErrorKind::Syntax.plain()),
        };
        at += if matches!(change, NewExpiry::Set(_)) { 2 } else { 1 };
    }
    let entry = string(call.engine.store.get(db, key, call.now))?;
    let Some(expires) = entry.map(|entry| entry.expiry.is_some()) else {
        call.engine.metrics.counters.keyspace_misses += 1;
        return call.null();
    };
    let deadline = match change {
        NewExpiry::Set(deadline) => Some(deadline.resolve(call)?),
        _ => None,
    };
    match deadline {
        Some(at) if expire::has_passed(at, call.now) => {
            call.answer_value(key)?;
            call.delete(key)?;
            return Ok(Flow::Done);
        }
        // Before the answer, for this can be refused.
        Some(at) => drop(call.apply(&Mutation::SetExpiry { db, key, expiry: Some(Millis(at as u64)) })?),
        // What is kept anyway is not touched, so that who watches the key is not disturbed.
        None if matches!(change, NewExpiry::Persist) && expires => {
            call.apply(&Mutation::SetExpiry { db, key, expiry: None })?;
        }
        None => {}
    }
    call.answer_value(key)?;
    Ok(Flow::Done)
}

/// `DELIFEQ key value`
pub fn delifeq<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let wanted = call.args.get(2).unwrap_or(Arg::Refused);
    let continuation = call.check_string(key, continuation)?;
    let is_equal = match compare(call, continuation, key, wanted) {
        Compared::Known(is_equal) => is_equal,
        Compared::Unfinished(work) => return Ok(Flow::Yield(Continuation::Compare(work))),
    };
    let db = call.session.db;
    let change = call.ops().remove(db, key, |_, _| is_equal).map_err(refused)?;
    call.done(i64::from(matches!(change, Change::Made(_))))
}

/// `DELEX key [IFEQ value | IFNE value]`
pub fn delex<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let db = call.session.db;
    let wanted = match (call.args.len(), call.args.get(3)) {
        (2, _) => None,
        (4, Some(wanted)) if call.is_word(2, "IFEQ") => Some((wanted, true)),
        (4, Some(wanted)) if call.is_word(2, "IFNE") => Some((wanted, false)),
        // As in Redis, what is there to be compared counts before how.
        (4, _) if call.ops().get(db, key).is_none() => return call.done(0),
        (4, _) => return Err(ErrorKind::DelexCondition.plain()),
        _ => return Err(ErrorKind::WrongArity.of(call.verb.name.as_bytes())),
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
    let change = call.ops().remove(db, key, |_, _| applies).map_err(refused)?;
    call.done(i64::from(matches!(change, Change::Made(_))))
}
