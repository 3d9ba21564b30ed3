//! Several values at once: MGET, MSET, MSETNX, MSETEX.

use super::{
    Call, Continuation, Flow, Outcome,
    expire::{self, Deadline},
    meter::{BYTES_PER_UNIT, KEY_UNITS},
};
use crate::{
    mutation::NewValue,
    reply::{Error, ErrorKind},
    store::{BatchExpiry, Lookahead, Value},
    time::Millis,
    wire::{arguments::Arg, number::parse_i64},
};

/// Bytes of a reply besides the value.
const BULK_OVERHEAD: usize = 64;

/// `MGET key …`: in slices, each as long as the output has room, so that a reply can be far larger than the output's
/// buffer. Other clients may write in between.
pub fn mget<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let mut next = match continuation {
        Some(Continuation::Answered { next }) => next as usize,
        _ => {
            call.out.array(call.args.len() - 1);
            1
        }
    };
    let slice_end = next + super::keys::KEYS_PER_SLICE_MIN;
    let args = call.args;
    let mut keys = (next..args.end()).map(|at| args.bytes(at));
    let mut ahead = Lookahead::new(&call.engine.store, call.session.db, &mut keys);
    while next < call.args.end() {
        call.engine.meter.charge(KEY_UNITS);
        let key = call.args.bytes(next);
        let hint = ahead.step(&call.engine.store, call.session.db, &mut keys);
        if let (Some(key), Some(hint)) = (key, hint) {
            call.engine.store.expect(key, &hint);
        }
        let value = key.and_then(|key| call.engine.store.get(call.session.db, key, call.now));
        let is_hit = value.is_some();
        match value.map(|entry| entry.value) {
            None | Some(Value::Collection(_)) => call.out.null(),
            Some(Value::Inline(bytes)) => {
                // An empty output takes any value whole; waiting would not make more room.
                if call.out.room() < bytes.len() + BULK_OVERHEAD && !call.out.is_empty() {
                    return Ok(Flow::Yield(Continuation::Answered { next: next as u32 }));
                }
                let len = bytes.len();
                call.out.bulk(bytes);
                call.engine.meter.charge_bytes(len);
            }
            Some(Value::Large { id, len }) => call.answer_large(id, len),
        }
        // Only now: what found no room is looked up again.
        call.engine.metrics.counters.keyspace_hits += u64::from(is_hit);
        call.engine.metrics.counters.keyspace_misses += u64::from(!is_hit);
        next += 1;
        let is_full = call.out.room() < BULK_OVERHEAD && !call.out.is_empty();
        if is_full || next >= slice_end && call.engine.meter.is_spent() {
            break;
        }
    }
    if next == call.args.len() {
        Ok(Flow::Done)
    } else {
        Ok(Flow::Yield(Continuation::Answered { next: next as u32 }))
    }
}

/// `MSET key value …`
pub fn mset<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let pairs = pairs(call)?;
    call.engine.check_step(pairs.len())?;
    put_all(call, pairs, BatchExpiry::At(None))?;
    call.ok()
}

/// `MSETNX key value …`
pub fn msetnx<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let pairs = pairs(call)?;
    call.engine.check_step(pairs.len())?;
    if count_existing(call, &pairs, 1)? > 0 {
        return call.done(0);
    }
    put_all(call, pairs, BatchExpiry::At(None))?;
    call.done(1)
}

/// `MSETEX numkeys key value … [NX | XX] [EX s | PX ms | EXAT t | PXAT t | KEEPTTL]`
pub fn msetex<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let count = call.args.bytes(1).and_then(parse_i64).and_then(|count| i32::try_from(count).ok());
    let count = count.filter(|count| *count > 0).ok_or(ErrorKind::MsetexCount.plain())? as usize;
    if count > (call.args.len() - 2) / 2 {
        return Err(ErrorKind::MsetexPairs.plain());
    }
    let end = 2 + 2 * count;
    let (mut deadline, mut keep_expiry, mut wanted) = (None, false, None);
    let mut at = end;
    while at < call.args.len() {
        if let Some(found) = Deadline::option(call, at)
            && deadline.is_none()
            && !keep_expiry
        {
            deadline = Some(found);
            at += 1;
        } else if call.is_word(at, "KEEPTTL") && deadline.is_none() {
            keep_expiry = true;
        } else if call.is_word(at, "NX") && wanted != Some(true) {
            wanted = Some(false);
        } else if call.is_word(at, "XX") && wanted != Some(false) {
            wanted = Some(true);
        } else {
            return Err(ErrorKind::Syntax.plain());
        }
        at += 1;
    }
    let pairs = checked(call, (2..end).step_by(2))?;
    call.engine.check_step(pairs.len())?;
    let deadline = deadline.map(|deadline| deadline.resolve(call)).transpose()?;
    let applies = match wanted {
        None => true,
        Some(false) => count_existing(call, &pairs, 1)? == 0,
        Some(true) => count_existing(call, &pairs, count)? == count,
    };
    if !applies {
        return call.done(0);
    }
    match deadline {
        Some(at) if expire::has_passed(at, call.now) => {
            for at in pairs {
                let key = call.bytes(at)?;
                call.delete(key)?;
            }
        }
        Some(at) => put_all(call, pairs, BatchExpiry::At(Some(Millis(at as u64))))?,
        None if keep_expiry => put_all(call, pairs, BatchExpiry::Keep)?,
        None => put_all(call, pairs, BatchExpiry::At(None))?,
    }
    call.done(1)
}

/// The positions of keys, each of which is followed by its value.
type Pairs = std::iter::StepBy<std::ops::Range<usize>>;

/// All arguments as pairs.
fn pairs<'a>(call: &Call<'_, 'a, '_>) -> Result<Pairs, Error<'a>> {
    if call.args.len().is_multiple_of(2) {
        return Err(ErrorKind::WrongArity.of(call.verb.name.as_bytes()));
    }
    checked(call, (1..call.args.len()).step_by(2))
}

/// Refuses pairs that are none, and values for which there was no room as they arrived.
fn checked<'a>(call: &Call<'_, 'a, '_>, pairs: Pairs) -> Result<Pairs, Error<'a>> {
    for at in pairs.clone() {
        call.bytes(at)?;
        call.value(at + 1)?;
    }
    Ok(pairs)
}

/// Counts the keys that are there, until there are `most`. A key that is named twice counts twice.
fn count_existing<'a>(call: &mut Call<'_, 'a, '_>, pairs: &Pairs, most: usize) -> Result<usize, Error<'a>> {
    let mut count = 0;
    for at in pairs.clone() {
        let key = call.bytes(at)?;
        count += usize::from(call.engine.store.get(call.session.db, key, call.now).is_some());
        if count == most {
            break;
        }
    }
    Ok(count)
}

/// All or nothing: see [`put_all`](crate::store::Store::put_all).
fn put_all<'a>(call: &mut Call<'_, 'a, '_>, pairs: Pairs, expiry: BatchExpiry) -> Result<(), Error<'a>> {
    let args = call.args;
    let pairs = pairs.filter_map(move |at| match (args.bytes(at)?, args.get(at + 1)?) {
        (key, Arg::Bytes(value)) => Some((key, NewValue::Bytes(value))),
        (key, Arg::Large(id)) => Some((key, NewValue::Large(id))),
        (_, Arg::Refused) => None,
    });
    // One step: a look-up to see, and one to write.
    let units = 2 * KEY_UNITS * (args.len() as u32 / 2);
    let bytes =
        args.iter().map(|arg| if let Arg::Bytes(bytes) = arg { bytes.len() } else { 0 }).sum::<usize>();
    call.engine.charge_step(units + (bytes / BYTES_PER_UNIT) as u32);
    call.engine.store.put_all(call.session.db, pairs, expiry, call.now).map_err(super::refused)
}

#[cfg(test)]
mod tests;
