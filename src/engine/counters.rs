//! Numbers: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT.

use super::{Call, Flow, Outcome, ops::Added, refused};
use crate::{
    command::VerbId,
    mutation::NewValue,
    reply::ErrorKind,
    store::Value,
    wire::{
        long_double::{self, NoSum},
        number::{FLOAT_BYTES_MAX, parse_f64},
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
    let db = call.session.db;
    match call.ops().add(db, key, by).map_err(refused)? {
        Added::Sum(sum, _) => call.done(sum),
        Added::NotAnInteger(_) => Err(ErrorKind::NotAnInteger.plain()),
        Added::Overflow(_) => Err(ErrorKind::Overflow.plain()),
    }
}

/// `INCRBYFLOAT key x`
pub fn incrbyfloat<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let by = call.args.bytes(2).unwrap_or_default();
    if is_out_of_range(by) {
        return Err(ErrorKind::NotAFloat.plain());
    }
    let mut digits = [0; FLOAT_BYTES_MAX];
    let (sum, expiry) = match call.engine.store.get(call.session.db, key, call.now) {
        None => (long_double::add(b"0", by, &mut digits), None),
        Some(entry) => match entry.value {
            Value::Inline(current) if is_out_of_range(current) => (Err(NoSum::NotANumber), None),
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

/// Whether a number is beyond what is reckoned with, so that Redis takes it for none. An infinity that is spelt out is
/// another error.
fn is_out_of_range(text: &[u8]) -> bool {
    parse_f64(text).is_some_and(f64::is_infinite) && text.iter().any(u8::is_ascii_digit)
}
