//! Parts of values: GETRANGE, SETRANGE, APPEND.

use super::{
    Call, Continuation, Flow, Outcome,
    call::string,
    compose::{self, Compose, Part, Written},
};
use crate::{
    limits::VALUE_BYTES_MAX,
    mutation::{Mutation, NewValue},
    reply::ErrorKind,
    store::{LargeCursor, Value},
    wire::arguments::Arg,
};

/// A longer part of a large value is sent from where it lies rather than through the output buffer.
const COPIED_BYTES_MAX: u64 = 8 * 1024;

/// `GETRANGE key start end`, `SUBSTR`
pub fn getrange<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let (start, end) = (call.integer(2)?, call.integer(3)?);
    let Some(entry) = string(call.engine.lookup(call.session.db, key, call.now))? else {
        call.out.bulk(b"");
        return Ok(Flow::Done);
    };
    let Some((start, end)) = resolve(start, end, entry.value.len()) else {
        call.out.bulk(b"");
        return Ok(Flow::Done);
    };
    match entry.value {
        Value::Inline(bytes) => call.out.bulk(&bytes[start as usize..end as usize]),
        Value::Large { id, len } if end - start == len => call.answer_large(id, len),
        Value::Large { id, .. } if end - start <= COPIED_BYTES_MAX => {
            call.engine.meter.charge_seek(start);
            call.out.bulk_header((end - start) as usize);
            let mut cursor = LargeCursor::new(id, start);
            while cursor.offset < end {
                let piece = call.engine.store.large_slice(&mut cursor);
                let len = piece.len().min((end - cursor.offset) as usize);
                call.out.raw(&piece[..len]);
                cursor.advance(len);
            }
            call.out.raw(b"\r\n");
        }
        // It is sent from where it lies: a read takes no memory of the store's.
        Value::Large { id, .. } if call.out.large_part(id, start, end - start) => {
            call.engine.store.large_retain(id).into_raw();
        }
        Value::Large { .. } | Value::Collection(_) => {}
    }
    Ok(Flow::Done)
}

/// The half-open range that Redis's inclusive one, negative from the end, names; `None` if it is empty.
fn resolve(start: i64, end: i64, len: u64) -> Option<(u64, u64)> {
    if start < 0 && end < 0 && start > end {
        return None;
    }
    clamp(start, end, len)
}

/// The same where what lies before the beginning is cut to it first, as BITPOS does: -1 to -3 of one unit is that unit.
pub fn clamp(start: i64, end: i64, len: u64) -> Option<(u64, u64)> {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(len).max(0) } else { index };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    (len > 0 && start <= end).then(|| (start as u64, end as u64 + 1))
}

/// `SETRANGE key offset value`
pub fn setrange<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let offset = call.integer(2)?;
    let offset = u64::try_from(offset).map_err(|_| ErrorKind::OffsetOutOfRange.plain())?;
    write(call, continuation, key, (Some(offset), 3))
}

/// `APPEND key value`
pub fn append<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    write(call, continuation, key, (None, 2))
}

/// Writes argument `i` into a value, at `offset` or at its end, and answers the length afterwards.
fn write<'a>(
    call: &mut Call<'_, 'a, '_>,
    continuation: Option<Continuation>,
    key: &'a [u8],
    (offset, i): (Option<u64>, usize),
) -> Outcome<'a> {
    let part = match call.args.get(i).unwrap_or(Arg::Refused) {
        Arg::Bytes(bytes) => Part::Bytes(bytes),
        Arg::Large(id) => Part::Large(id),
        Arg::Refused => return Err(ErrorKind::Full.plain()),
    };
    let db = call.session.db;
    let entry = match string(call.engine.store.get(db, key, call.now)) {
        Ok(entry) => entry,
        Err(error) => return call.give_up(continuation, error),
    };
    let work = match continuation {
        Some(Continuation::Compose(work)) => Some(work),
        _ => None,
    };
    let existed = entry.is_some();
    let (value, expiry) = (entry.map(|entry| entry.value), entry.and_then(|entry| entry.expiry));
    let len = value.map_or(0, |value| value.len());
    let added = match part {
        Part::Bytes(bytes) => bytes.len() as u64,
        Part::Large(id) => call.engine.store.large_len(id),
    };
    // SETRANGE of nothing changes nothing; APPEND of nothing makes an empty key.
    if added == 0 && (offset.is_some() || existed) {
        return call.done(len as i64);
    }
    let at = work.as_ref().map_or(offset.unwrap_or(len), Compose::at);
    if at > VALUE_BYTES_MAX || at + added > VALUE_BYTES_MAX {
        return Err(ErrorKind::StringTooLong.plain());
    }
    let value = call.engine.store.peek(db, key, call.now).map(|entry| entry.value);
    let moved = compose::moved_bytes(&call.engine.store, value, at);
    match part {
        _ if work.is_some() => {}
        Part::Bytes(bytes) if !compose::is_long(moved) => {
            compose::charge_moved(&mut call.engine.meter, moved);
            call.engine.meter.charge_bytes(bytes.len());
            call.apply(&Mutation::Write { db, key, offset: at, bytes })?;
            return call.done(len.max(at + added) as i64);
        }
        Part::Large(id) if at == 0 && added >= len => {
            call.put(key, NewValue::Large(id), expiry)?;
            return call.done(added as i64);
        }
        _ => {}
    }
    match compose::write_part(call, work, key, (at, part))? {
        Written::Whole(len) => call.done(len as i64),
        Written::Unfinished(work) => Ok(Flow::Yield(Continuation::Compose(work))),
        Written::Overtaken => write(call, None, key, (offset, i)),
    }
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn ranges_are_inclusive_and_negative_from_the_end() {
        assert_eq!(resolve(1, -2, 5), Some((1, 4)));
        assert_eq!(resolve(-100, 100, 5), Some((0, 5)));
        assert_eq!(resolve(3, 1, 5), None);
        assert_eq!(resolve(-1, -3, 5), None);
        assert_eq!(resolve(10, 20, 5), None);
        assert_eq!(resolve(0, 0, 0), None);
        assert_eq!(resolve(-100, -90, 5), Some((0, 1)));
        assert_eq!(resolve(i64::MIN, i64::MAX, 5), Some((0, 5)));
        assert_eq!(resolve(0, i64::MIN, 5), Some((0, 1)));
    }
}
