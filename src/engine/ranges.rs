//! Parts of values: GETRANGE, SETRANGE, APPEND.

use super::{Call, Flow, Outcome, refused};
use crate::{
    limits::VALUE_BYTES_MAX,
    mutation::{LargeId, Mutation, NewValue, Refused},
    reply::{Error, ErrorKind},
    store::{LargeCursor, Store, Value},
    time::Millis,
    wire::arguments::Arg,
};

/// A longer part of a large value is sent from where it lies rather than through the output buffer.
const COPIED_BYTES_MAX: u64 = 8 * 1024;

/// `GETRANGE key start end`, `SUBSTR`
pub fn getrange<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let (start, end) = (call.integer(2)?, call.integer(3)?);
    let Some(entry) = call.engine.lookup(call.session.db, key, call.now) else {
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
            call.engine.store.large_retain(id);
        }
        Value::Large { .. } => {}
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
pub fn setrange<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let offset = call.integer(2)?;
    let offset = u64::try_from(offset).map_err(|_| ErrorKind::OffsetOutOfRange.plain())?;
    write(call, key, Some(offset), 3)
}

/// `APPEND key value`
pub fn append<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    write(call, key, None, 2)
}

/// Writes argument `i` into a value, at `offset` or at its end, and answers the length afterwards.
fn write<'a>(call: &mut Call<'_, 'a, '_>, key: &'a [u8], offset: Option<u64>, i: usize) -> Outcome<'a> {
    let arg = call.args.get(i).unwrap_or(Arg::Refused);
    let db = call.session.db;
    let entry = call.engine.store.get(db, key, call.now);
    let existed = entry.is_some();
    let len = entry.map_or(0, |entry| entry.value.len());
    let added = match arg {
        Arg::Bytes(bytes) => bytes.len() as u64,
        Arg::Large(id) => call.engine.store.large_len(id),
        Arg::Refused => return Err(ErrorKind::Full.plain()),
    };
    // SETRANGE of nothing changes nothing; APPEND of nothing makes an empty key.
    if added == 0 && (offset.is_some() || existed) {
        return call.done(len as i64);
    }
    let at = offset.unwrap_or(len);
    if at > VALUE_BYTES_MAX || at + added > VALUE_BYTES_MAX {
        return Err(ErrorKind::StringTooLong.plain());
    }
    match arg {
        Arg::Bytes(bytes) => drop(call.apply(&Mutation::Write { db, key, offset: at, bytes })?),
        Arg::Large(id) if at == 0 && added >= len => {
            let expiry = expiry(call, key);
            call.put(key, NewValue::Large(id), expiry)?;
        }
        Arg::Large(id) => compose(call, key, at, id)?,
        Arg::Refused => {}
    }
    call.done(len.max(at + added) as i64)
}

fn expiry(call: &Call<'_, '_, '_>, key: &[u8]) -> Option<Millis> {
    call.engine.store.peek(call.session.db, key, call.now)?.expiry
}

/// Gives `key` a new large value: the old one with `part` at `at`. All or nothing, unlike writing piece by piece.
fn compose<'a>(call: &mut Call<'_, 'a, '_>, key: &[u8], at: u64, part: LargeId) -> Result<(), Error<'a>> {
    let (db, now) = (call.session.db, call.now);
    let expiry = expiry(call, key);
    let engine = &mut *call.engine;
    let (store, scratch) = (&mut engine.store, &mut engine.scratch);
    let old = match store.peek(db, key, now).map(|entry| entry.value) {
        None => Old::Copied(0),
        Some(Value::Inline(bytes)) => {
            scratch[..bytes.len()].copy_from_slice(bytes);
            Old::Copied(bytes.len())
        }
        Some(Value::Large { id, .. }) => Old::Large(id),
    };
    let len = at + store.large_len(part);
    let new = store.large_begin(len, now).map_err(refused)?;
    let built = Builder { store, scratch, to: new, now }.compose(old, at, part).map_err(refused);
    let done = built.and_then(|()| call.put(key, NewValue::Large(new), expiry).map(drop));
    call.engine.store.large_release(new);
    done
}

/// The value that is written into.
enum Old {
    /// So many bytes of the builder's scratch; fewer than any large part has.
    Copied(usize),
    Large(LargeId),
}

/// Fills a large value.
struct Builder<'s> {
    store: &'s mut Store,
    scratch: &'s mut [u8],
    to: LargeId,
    now: Millis,
}

impl Builder<'_> {
    fn compose(&mut self, old: Old, at: u64, part: LargeId) -> Result<(), Refused> {
        let old_len = match old {
            Old::Copied(len) => len as u64,
            Old::Large(old) => self.store.large_len(old),
        };
        match old {
            Old::Copied(_) => {
                let head = &self.scratch[..at.min(old_len) as usize];
                self.store.large_append(self.to, head, self.now)?;
            }
            Old::Large(old) => self.copy(old, 0..at.min(old_len))?,
        }
        self.pad(at.saturating_sub(old_len))?;
        let part_len = self.store.large_len(part);
        self.copy(part, 0..part_len)?;
        match old {
            Old::Large(old) => self.copy(old, (at + part_len).min(old_len)..old_len),
            Old::Copied(_) => Ok(()),
        }
    }

    /// Appends a range of another large value, through the scratch.
    fn copy(&mut self, from: LargeId, range: std::ops::Range<u64>) -> Result<(), Refused> {
        let mut cursor = LargeCursor::new(from, range.start);
        while cursor.offset < range.end {
            let piece = self.store.large_slice(&mut cursor);
            let len = piece.len().min(self.scratch.len()).min((range.end - cursor.offset) as usize);
            self.scratch[..len].copy_from_slice(&piece[..len]);
            self.store.large_append(self.to, &self.scratch[..len], self.now)?;
            cursor.advance(len);
        }
        Ok(())
    }

    /// Appends zero bytes.
    fn pad(&mut self, mut count: u64) -> Result<(), Refused> {
        const ZEROS: [u8; 1024] = [0; 1024];
        while count > 0 {
            let len = count.min(ZEROS.len() as u64);
            self.store.large_append(self.to, &ZEROS[..len as usize], self.now)?;
            count -= len;
        }
        Ok(())
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
