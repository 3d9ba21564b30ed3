//! Numbers: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT.

use super::{Call, Flow, Outcome};
use crate::{
    command::VerbId,
    mutation::NewValue,
    reply::{Error, ErrorKind},
    store::Value,
    time::Millis,
    wire::number::{FLOAT_BYTES_MAX, INTEGER_BYTES_MAX, parse_f64, parse_i64, write_f64, write_i64},
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
    let (current, expiry) = current(call, key, 0, parse_i64, ErrorKind::NotAnInteger)?;
    let sum = current.checked_add(by).ok_or(ErrorKind::Overflow.plain())?;
    let mut digits = [0; INTEGER_BYTES_MAX];
    let digits = write_i64(sum, &mut digits);
    call.put(key, NewValue::Bytes(digits), expiry)?;
    call.done(sum)
}

/// `INCRBYFLOAT key x`
pub fn incrbyfloat<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let (current, expiry) = current(call, key, 0.0, parse_f64, ErrorKind::NotAFloat)?;
    let by = call.args.bytes(2).and_then(parse_f64).ok_or(ErrorKind::NotAFloat.plain())?;
    let sum = current + by;
    if !sum.is_finite() {
        return Err(ErrorKind::NotFinite.plain());
    }
    let mut digits = [0; FLOAT_BYTES_MAX];
    let digits = write_f64(sum, &mut digits);
    call.put(key, NewValue::Bytes(digits), expiry)?;
    call.out.bulk(digits);
    Ok(Flow::Done)
}

/// A key's number (`absent` if there is no key) and its expiry.
fn current<'a, T>(
    call: &mut Call<'_, 'a, '_>,
    key: &[u8],
    absent: T,
    parse: fn(&[u8]) -> Option<T>,
    error: ErrorKind,
) -> Result<(T, Option<Millis>), Error<'a>> {
    match call.engine.store.get(call.session.db, key, call.now) {
        None => Ok((absent, None)),
        Some(entry) => match entry.value {
            Value::Inline(bytes) => {
                parse(bytes).map(|number| (number, entry.expiry)).ok_or(error.plain())
            }
            Value::Large { .. } => Err(error.plain()),
        },
    }
}
