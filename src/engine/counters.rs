//! Numbers: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT.

use super::{Call, Flow, Outcome, ops::Added, refused};
use crate::{
    command::VerbId,
    mutation::NewValue,
    reply::ErrorKind,
    store::Value,
    wire::long_double::{self, NoSum, SUM_BYTES_MAX},
};

/// Digits of a sum, squared, that are printed in 100 ns: 4,933 take half a millisecond.
pub(super) const SUM_DIGITS_PER_UNIT_SQUARED: usize = 4_096;

/// `INCR key`, `DECR key`, `INCRBY key n`, `DECRBY key n`
pub fn incr<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let by = match call.verb.id {
        VerbId::Incr => 1,
        VerbId::Decr => -1,
        VerbId::Incrby => call.integer(2)?,
        _ => call.integer(2)?.checked_neg().ok_or(ErrorKind::DecrementOverflow.plain())?,
    };
    let db = call.session.db;
    match call.ops().add(db, key, by).map_err(refused)? {
        Added::Sum(sum, _) => call.done(sum),
        Added::WrongType(_) => Err(ErrorKind::WrongType.plain()),
        Added::NotAnInteger(_) => Err(ErrorKind::NotAnInteger.plain()),
        Added::Overflow(_) => Err(ErrorKind::Overflow.plain()),
    }
}

/// `INCRBYFLOAT key x`
pub fn incrbyfloat<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let by = call.args.bytes(2).unwrap_or_default();
    let mut digits = [0; SUM_BYTES_MAX];
    let (sum, expiry) = match call.engine.store.get(call.session.db, key, call.now) {
        None => (long_double::add(b"0", by, &mut digits), None),
        Some(entry) => match entry.value {
            Value::Inline(current) => (long_double::add(current, by, &mut digits), entry.expiry),
            Value::Large { .. } => (Err(NoSum::NotANumber), None),
            Value::Collection(_) => return Err(ErrorKind::WrongType.plain()),
        },
    };
    let sum = sum.map_err(|reason| match reason {
        NoSum::NotANumber => ErrorKind::NotAFloat.plain(),
        NoSum::NotFinite => ErrorKind::NotFinite.plain(),
    })?;
    // Printing takes time by the square of the digits, 4,933 at most.
    call.engine.meter.charge((sum.len() * sum.len() / SUM_DIGITS_PER_UNIT_SQUARED) as u32);
    call.put(key, NewValue::Bytes(sum), expiry)?;
    call.out.bulk(sum);
    Ok(Flow::Done)
}
