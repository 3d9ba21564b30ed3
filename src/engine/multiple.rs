//! Several values at once: MGET, MSET, MSETNX.

use super::{Call, Continuation, Flow, Outcome};
use crate::{
    mutation::NewValue,
    reply::{Error, ErrorKind},
    store::Value,
    wire::arguments::Arg,
};

/// Keys that MGET answers in one slice, at most.
const MGET_SLICE: usize = 1024;
/// Bytes of a reply besides the value.
const BULK_OVERHEAD: usize = 64;

/// `MGET key …`: in slices, each as long as the output has room, so that a reply can be far larger than the output's
/// buffer. Other clients may write in between.
pub fn mget<'a>(call: &mut Call<'_, 'a, '_>, job: Option<Continuation>) -> Outcome<'a> {
    let mut next = match job {
        Some(Continuation::Mget { next }) => next as usize,
        _ => {
            call.out.array(call.args.len() - 1);
            1
        }
    };
    let end = call.args.len().min(next + MGET_SLICE);
    while next < end {
        let key = call.args.bytes(next);
        let value = key.and_then(|key| call.engine.lookup(call.session.db, key, call.now));
        match value.map(|entry| entry.value) {
            None => call.out.null(),
            Some(Value::Inline(bytes)) => {
                // An empty output takes any value whole; waiting would not make more room.
                if call.out.room() < bytes.len() + BULK_OVERHEAD && !call.out.is_empty() {
                    return Ok(Flow::Yield(Continuation::Mget { next: next as u32 }));
                }
                call.out.bulk(bytes);
            }
            Some(Value::Large { id, len }) => call.answer_large(id, len),
        }
        next += 1;
        if call.out.room() < BULK_OVERHEAD && !call.out.is_empty() {
            break;
        }
    }
    if next == call.args.len() {
        Ok(Flow::Done)
    } else {
        Ok(Flow::Yield(Continuation::Mget { next: next as u32 }))
    }
}

/// `MSET key value …`
pub fn mset<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    check(call)?;
    put_all(call)?;
    call.ok()
}

/// `MSETNX key value …`
pub fn msetnx<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    check(call)?;
    for at in (1..call.args.len()).step_by(2) {
        let key = call.bytes(at)?;
        if call.engine.store.get(call.session.db, key, call.now).is_some() {
            return call.done(0);
        }
    }
    put_all(call)?;
    call.done(1)
}

/// Refuses pairs that are none, and values for which there was no room as they arrived.
fn check<'a>(call: &Call<'_, 'a, '_>) -> Result<(), Error<'a>> {
    if call.args.len().is_multiple_of(2) {
        return Err(ErrorKind::WrongArity.of(call.verb.name.as_bytes()));
    }
    for at in (1..call.args.len()).step_by(2) {
        call.bytes(at)?;
        call.value(at + 1)?;
    }
    Ok(())
}

/// All or nothing: see [`put_all`](crate::store::Store::put_all).
fn put_all<'a>(call: &mut Call<'_, 'a, '_>) -> Result<(), Error<'a>> {
    let args = call.args;
    let pairs = (1..args.len()).step_by(2).filter_map(move |at| match (args.bytes(at)?, args.get(at + 1)?) {
        (key, Arg::Bytes(value)) => Some((key, NewValue::Bytes(value))),
        (key, Arg::Large(id)) => Some((key, NewValue::Large(id))),
        (_, Arg::Refused) => None,
    });
    call.engine.store.put_all(call.session.db, pairs, call.now).map_err(super::refused)
}
