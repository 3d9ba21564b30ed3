//! Numbers: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT.

use super::{Call, Flow, Outcome};
use crate::{
    command::VerbId,
    mutation::NewValue,
    reply::{Error, ErrorKind},
    store::Value,
    time::Millis,
    wire::{
        long_double::{self, NoSum},
        number::{FLOAT_BYTES_MAX, INTEGER_BYTES_MAX, parse_f64, parse_i64, write_i64},
    },
};

/// `INCR key`, `DECR key`, `INCRBY key n`, `DECRBY key n`
pub fn incr<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let by = match call.verb.id {
        VerbId::Incr => 1,
        VerbId::Decr => -1,
        VerbId::Incrby => call.integer(2)?,
        _ => call.integer(2)?.checked_neg().ok_or(ErrorKind::DecrementOverflow.plain())?,
    };
    let (current, expiry) = current(call, key)?;
    let sum = current.checked_add(by).ok_or(ErrorKind::Overflow.plain())?;
    let mut digits = [0; INTEGER_BYTES_MAX];
    let digits = write_i64(sum, &mut digits);
    call.put(key, NewValue::Bytes(digits), expiry)?;
    call.done(sum)
}

/// `INCRBYFLOAT key x`
pub fn incrbyfloat<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let by = call.args.bytes(2).unwrap_or_default();
    // Like a number that no `long double` holds; an infinity that is spelt out is another error.
    if parse_f64(by).is_some_and(f64::is_infinite) && by.iter().any(u8::is_ascii_digit) {
        return Err(ErrorKind::NotAFloat.plain());
    }
    let mut digits = [0; FLOAT_BYTES_MAX];
    let (sum, expiry) = match call.engine.store.get(call.session.db, key, call.now) {
        None => (long_double::add(b"0", by, &mut digits), None),
        Some(entry) => match entry.value {
            Value::Inline(current) => (long_double::add(current, by, &mut digits), entry.expiry),
            Value::Large { .. } => (Err(NoSum::NotANumber), None),
        },
    };
    let sum = sum.map_err(|reason| match reason {
        NoSum::NotANumber => ErrorKind::NotAFloat.plain(),
        NoSum::NotFinite => ErrorKind::NotFinite.plain(),
    })?;
    call.put(key, NewValue::Bytes(sum), expiry)?;
    call.out.bulk(sum);
    Ok(Flow::Done)
}

/// A key's integer (0 if there is no key) and its expiry.
fn current<'a>(call: &mut Call<'_, 'a, '_>, key: &[u8]) -> Result<(i64, Option<Millis>), Error<'a>> {
    let Some(entry) = call.engine.store.get(call.session.db, key, call.now) else {
        return Ok((0, None));
    };
    let number = match entry.value {
        Value::Inline(bytes) => parse_i64(bytes),
        Value::Large { .. } => None,
    };
    number.map(|number| (number, entry.expiry)).ok_or(ErrorKind::NotAnInteger.plain())
}
