//! Keys whatever their value: DEL, EXISTS, TYPE, RENAME, COPY, MOVE, RANDOMKEY, DBSIZE, FLUSHDB, SWAPDB.

use super::{Call, Continuation, Flow, Outcome, meter::KEY_UNITS};
use crate::{
    command::VerbId,
    mutation::{CollectionKind, Database, Mutation},
    reply::{Error, ErrorKind},
    store::Value,
    wire::number::parse_i64,
};

/// `DEL key …`, `UNLINK`, `DELETE`
pub fn del<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    count_keys(call, continuation, |call, key| call.delete(key))
}

/// `EXISTS key …`, `TOUCH`
pub fn exists<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    count_keys(call, continuation, |call, key| {
        call.engine.meter.charge(KEY_UNITS);
        Ok(call.engine.lookup(call.session.db, key, call.now).is_some())
    })
}

/// Keys that are one step, whatever the meter says: a DEL of so many is seen whole or not at all.
pub(super) const KEYS_PER_SLICE_MIN: usize = 64;
/// The same of entries of a collection that are changed: each may copy a page.
pub(super) const ENTRIES_PER_SLICE_MIN: usize = 32;

/// Answers for how many of the arguments `each` says yes, in slices: each goes on where the one before stopped.
fn count_keys<'a>(
    call: &mut Call<'_, 'a, '_>,
    continuation: Option<Continuation>,
    mut each: impl FnMut(&mut Call<'_, 'a, '_>, &'a [u8]) -> Result<bool, Error<'a>>,
) -> Outcome<'a> {
    let (first, mut count) = match continuation {
        Some(Continuation::Count { next, count }) => (next as usize, i64::from(count)),
        _ => (1, 0),
    };
    let slice_end = first + KEYS_PER_SLICE_MIN;
    for at in first..call.args.end() {
        if at >= slice_end && call.engine.meter.is_spent() {
            return Ok(Flow::Yield(Continuation::Count { next: at as u32, count: count as u32 }));
        }
        // A large argument is longer than any key, so it names none.
        if let Some(key) = call.args.bytes(at) {
            count += i64::from(each(call, key)?);
        }
    }
    if call.args.end() < call.args.len() {
        let next = call.args.end() as u32;
        return Ok(Flow::Yield(Continuation::Count { next, count: count as u32 }));
    }
    call.done(count)
}

/// The name of a value's type.
pub fn type_name(value: &Value<'_>) -> &'static str {
    match value {
        Value::Inline(_) | Value::Large { .. } => "string",
        Value::Collection(collection) => match collection.kind() {
            CollectionKind::Hash => "hash",
            CollectionKind::Set => "set",
        },
    }
}

/// `TYPE key`
pub fn kind<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let entry = call.engine.lookup(call.session.db, key, call.now);
    call.out.simple(entry.map_or("none", |entry| type_name(&entry.value)));
    Ok(Flow::Done)
}

/// `RENAME key newkey`, `RENAMENX`
pub fn rename<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let (from, to) = (call.bytes(1)?, call.bytes(2)?);
    let db = call.session.db;
    let only_if_absent = call.verb.id == VerbId::Renamenx;
    if call.engine.store.get(db, from, call.now).is_none() {
        return Err(ErrorKind::NoSuchKey.plain());
    }
    if only_if_absent && call.engine.store.get(db, to, call.now).is_some() {
        return call.done(0);
    }
    if from != to {
        call.apply(&Mutation::Rename { db, from, to_db: db, to })?;
    }
    if only_if_absent { call.done(1) } else { call.ok() }
}

/// `COPY source destination [DB n] [REPLACE]`
pub fn copy<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let (from, to) = (call.bytes(1)?, call.bytes(2)?);
    let db = call.session.db;
    let (mut to_db, mut replace) = (db, false);
    let mut at = 3;
    while at < call.args.len() {
        if call.is_word(at, "REPLACE") {
            replace = true;
        } else if call.is_word(at, "DB") && at + 1 < call.args.len() {
            at += 1;
            to_db = call.database(at)?;
        } else {
            return Err(ErrorKind::Syntax.plain());
        }
        at += 1;
    }
    if from == to && db == to_db {
        return Err(ErrorKind::SameObject.plain());
    }
    let possible = call.engine.store.get(db, from, call.now).is_some()
        && (replace || call.engine.store.get(to_db, to, call.now).is_none());
    if possible {
        call.apply(&Mutation::Copy { db, from, to_db, to })?;
    }
    call.done(i64::from(possible))
}

/// `MOVE key db`
pub fn move_key<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let db = call.session.db;
    let to_db = call.database(2)?;
    if to_db == db {
        return Err(ErrorKind::SameObject.plain());
    }
    let possible = call.engine.store.get(db, key, call.now).is_some()
        && call.engine.store.get(to_db, key, call.now).is_none();
    if possible {
        call.apply(&Mutation::Rename { db, from: key, to_db, to: key })?;
    }
    call.done(i64::from(possible))
}

/// `RANDOMKEY`
pub fn randomkey<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let seed = call.engine.draw();
    match call.engine.store.random(call.session.db, seed, call.now) {
        Some(entry) => call.out.bulk(entry.key),
        None => call.out.null(),
    }
    Ok(Flow::Done)
}

/// `DBSIZE`
pub fn dbsize<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let count = call.engine.store.len(call.session.db);
    call.done(count as i64)
}

/// `FLUSHDB [ASYNC | SYNC]`, `FLUSHALL`: at once either way, the memory comes back in slices.
pub fn flush<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let known = call.is_word(1, "ASYNC") || call.is_word(1, "SYNC");
    if call.args.len() > 2 || call.args.len() == 2 && !known {
        return Err(ErrorKind::Syntax.plain());
    }
    let db = (call.verb.id == VerbId::Flushdb).then_some(call.session.db);
    call.apply(&Mutation::Flush { db })?;
    call.ok()
}

/// `SWAPDB a b`
pub fn swapdb<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let number = |i, error: ErrorKind| {
        let number = call.args.bytes(i).and_then(parse_i64);
        number.filter(|number| i32::try_from(*number).is_ok()).ok_or(error.plain())
    };
    let a = number(1, ErrorKind::InvalidFirstDatabase)?;
    let b = number(2, ErrorKind::InvalidSecondDatabase)?;
    let (a, b): (Database, Database) = (call.database_numbered(a)?, call.database_numbered(b)?);
    if a != b {
        call.apply(&Mutation::Swap { a, b })?;
    }
    call.ok()
}
