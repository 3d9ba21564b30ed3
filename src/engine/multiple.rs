//! Several values at once: MGET, MSET, MSETNX.

use super::{Call, Flow, Job, Outcome};
use crate::{
    limits::{INLINE_VALUE_BYTES_MAX, KEY_BYTES_MAX},
    mutation::Refused,
    reply::{Error, ErrorKind},
    store::{OnFull, Store, Value},
    wire::arguments::Arg,
};

/// Keys that MGET answers in one slice, at most.
const MGET_SLICE: usize = 1024;
/// Bytes of a reply besides the value.
const BULK_OVERHEAD: usize = 64;

/// Bytes of a record beside key and value, and of its entry in the index.
const RECORD_OVERHEAD_BYTES: u64 = 64;
/// Segments that the store keeps back, or may need for its index while a command runs.
const SPARE_SEGMENTS: u64 = 4;

/// `MGET key …`: in slices, each as long as the output has room, so that a reply can be far larger than the output's
/// buffer. Other clients may write in between.
pub fn mget<'a>(call: &mut Call<'_, 'a, '_>, job: Option<Job>) -> Outcome<'a> {
    let mut next = match job {
        Some(Job::Mget { next }) => next as usize,
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
                    return Ok(Flow::Again(Job::Mget { next: next as u32 }));
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
    if next == call.args.len() { Ok(Flow::Done) } else { Ok(Flow::Again(Job::Mget { next: next as u32 })) }
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

/// Refuses what cannot be applied as a whole, before any of it is: pairs that are none, keys that are too long, and
/// more bytes than the store can take.
fn check<'a>(call: &Call<'_, 'a, '_>) -> Result<(), Error<'a>> {
    if call.args.len().is_multiple_of(2) {
        return Err(ErrorKind::WrongArity.of(call.verb.name.as_bytes()));
    }
    let mut needed = 0;
    for at in (1..call.args.len()).step_by(2) {
        let key = call.bytes(at)?;
        if key.len() > KEY_BYTES_MAX {
            return Err(super::refused(Refused::KeyTooLong { size: key.len() as u64 }));
        }
        needed += match call.args.get(at + 1) {
            Some(Arg::Bytes(value)) => footprint(&call.engine.store, key, value.len() as u64),
            // Its blocks are taken already.
            Some(Arg::Large(_)) => footprint(&call.engine.store, key, 0),
            _ => return Err(ErrorKind::Full.plain()),
        };
    }
    let budget = budget(&call.engine.store);
    if needed > budget && needed.saturating_sub(replaced(call)) > budget {
        return Err(ErrorKind::Full.plain());
    }
    Ok(())
}

/// Bytes that a record takes, about: a little more than it does, its share of the index included.
fn footprint(store: &Store, key: &[u8], value_len: u64) -> u64 {
    // A large value is cut in blocks, the last of which it does not fill. Smaller segments have smaller blocks.
    let inline_max = (store.config().segment_bytes / 8).min(INLINE_VALUE_BYTES_MAX) as u64;
    let waste = if value_len > inline_max { inline_max } else { 0 };
    RECORD_OVERHEAD_BYTES + key.len() as u64 + value_len + waste
}

/// Bytes of the records that the pairs replace.
fn replaced(call: &Call<'_, '_, '_>) -> u64 {
    let keys = (1..call.args.len()).step_by(2).filter_map(|at| call.args.bytes(at));
    let entries = keys.filter_map(|key| call.engine.store.peek(call.session.db, key, call.now));
    entries.map(|entry| footprint(&call.engine.store, entry.key, entry.value.len())).sum()
}

/// Bytes of records that the store surely takes; it may take somewhat more.
fn budget(store: &Store) -> u64 {
    if store.config().on_full == OnFull::Evict {
        return u64::MAX;
    }
    let memory = store.memory();
    let spare = SPARE_SEGMENTS * store.config().segment_bytes as u64;
    let taken = memory.reserved + memory.index + memory.large + memory.large_free + spare;
    // The store keeps a tenth free for cleaning.
    (memory.limit.saturating_sub(taken) / 10 * 9).saturating_sub(memory.live)
}

fn put_all<'a>(call: &mut Call<'_, 'a, '_>) -> Result<(), Error<'a>> {
    for at in (1..call.args.len()).step_by(2) {
        let key = call.bytes(at)?;
        let value = call.value(at + 1)?;
        call.put(key, value, None)?;
    }
    Ok(())
}
