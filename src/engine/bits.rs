//! Single bits of values, and their number: SETBIT, GETBIT, BITCOUNT, BITPOS. A large value is read in slices: it is
//! retained meanwhile, so that what is answered is what it was when the command began.

use super::{
    Call, Continuation, Engine, Flow, Outcome,
    call::string,
    compose::{self, Part, Written},
    ranges,
};
use crate::{
    limits::VALUE_BYTES_MAX,
    mutation::{Database, LargeRef, Mutation},
    reply::{Error, ErrorKind},
    store::{LargeCursor, Store, Value},
    time::Millis,
    wire::number::parse_i64,
};

/// Argument `i` as a position of a bit: one that a value can have.
pub fn bit_offset<'a>(call: &Call<'_, 'a, '_>, i: usize) -> Result<u64, Error<'a>> {
    let offset = call.args.bytes(i).and_then(parse_i64).and_then(|offset| u64::try_from(offset).ok());
    offset.filter(|offset| offset / 8 < VALUE_BYTES_MAX).ok_or(ErrorKind::BitOffset.plain())
}

/// Copies what a value has from byte `start` on into `buffer`; zero bytes where it has none.
pub fn read_at(store: &Store, value: Option<Value<'_>>, start: u64, buffer: &mut [u8]) {
    buffer.fill(0);
    match value {
        // What is no string is refused before it is read.
        None | Some(Value::Collection(_)) => {}
        Some(Value::Inline(bytes)) => {
            let tail = usize::try_from(start).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
            let len = tail.len().min(buffer.len());
            buffer[..len].copy_from_slice(&tail[..len]);
        }
        Some(Value::Large { id, len }) => {
            let end = len.min(start.saturating_add(buffer.len() as u64));
            let mut cursor = LargeCursor::new(id, start);
            let mut filled = 0;
            while cursor.offset < end {
                let piece = store.large_slice(&mut cursor);
                let len = piece.len().min(buffer.len() - filled);
                buffer[filled..filled + len].copy_from_slice(&piece[..len]);
                cursor.advance(len);
                filled += len;
            }
        }
    }
}

/// `SETBIT key offset 0 | 1`
pub fn setbit<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let offset = bit_offset(call, 2)?;
    let bit = match call.args.bytes(3).and_then(parse_i64) {
        Some(bit @ 0..=1) => bit,
        _ => return Err(ErrorKind::BitValue.plain()),
    };
    let (db, now, at) = (call.session.db, call.now, offset / 8);
    let len = match string(call.ops().get(db, key)) {
        Ok(entry) => entry.map_or(0, |entry| entry.value.len()),
        Err(error) => return call.give_up(continuation, error),
    };
    let work = match continuation {
        Some(Continuation::Compose(work)) => Some(work),
        _ => None,
    };
    call.engine.meter.charge_seek(at);
    let store = &call.engine.store;
    let value = match &work {
        Some(work) => work.old_value(store),
        None => store.peek(db, key, now).map(|entry| entry.value),
    };
    let moved = compose::moved_bytes(store, value, at);
    let mut old = [0];
    read_at(store, value, at, &mut old);
    let [old] = old;
    let mask = 0x80 >> (offset % 8);
    let new = if bit == 1 { old | mask } else { old & !mask };
    if work.is_some() || (new != old || at >= len) && compose::is_long(moved) {
        return match compose::write_part(call, work, key, (at, Part::Bytes(&[new])))? {
            Written::Whole(_) => call.done(i64::from(old & mask != 0)),
            Written::Unfinished(work) => Ok(Flow::Yield(Continuation::Compose(work))),
            Written::Overtaken => setbit(call, None),
        };
    }
    // A bit that stays as it is fails no WATCH of the key.
    if new != old || at >= len {
        compose::charge_moved(&mut call.engine.meter, moved);
        call.apply(&Mutation::Write { db, key, offset: at, bytes: &[new] })?;
    }
    call.done(i64::from(old & mask != 0))
}

/// `GETBIT key offset`
pub fn getbit<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let offset = bit_offset(call, 2)?;
    string(call.engine.lookup(call.session.db, key, call.now))?;
    call.engine.meter.charge_seek(offset / 8);
    let byte = byte_at(call.engine, (call.session.db, key), offset / 8, call.now);
    call.done(i64::from(byte & (0x80 >> (offset % 8)) != 0))
}

/// Byte `index` of a key's value, 0 behind its end.
fn byte_at(engine: &Engine, (db, key): (Database, &[u8]), index: u64, now: Millis) -> u8 {
    let value = engine.store.peek(db, key, now).map(|entry| entry.value);
    let mut byte = [0];
    read_at(&engine.store, value, index, &mut byte);
    byte[0]
}

/// Whether positions count bits (`BIT`) rather than bytes (`BYTE`, or nothing) in argument `i`.
fn in_bits<'a>(call: &Call<'_, 'a, '_>, i: usize) -> Result<bool, Error<'a>> {
    match call.args.get(i) {
        None => Ok(false),
        Some(_) if call.is_word(i, "BYTE") => Ok(false),
        Some(_) if call.is_word(i, "BIT") => Ok(true),
        Some(_) => Err(ErrorKind::Syntax.plain()),
    }
}

/// Bits of a value, the first and the one behind the last.
type BitRange = (u64, u64);

/// `BITCOUNT key [start end [BYTE | BIT]]`
pub fn bitcount<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    if let Some(Continuation::Bitcount { value, cursor, end, count }) = continuation {
        return count_on(call, (value, cursor), end, count);
    }
    let entry = string(call.engine.lookup(call.session.db, key, call.now))?;
    let Some(entry) = entry else { return call.done(0) };
    let len = entry.value.len();
    let range = match call.args.len() {
        2 => Some((0, len * 8)),
        4 | 5 => {
            let (start, end) = (call.integer(2)?, call.integer(3)?);
            // As in Redis, such a range is empty before its unit is looked at.
            if start < 0 && end < 0 && start > end {
                return call.done(0);
            }
            let unit = if in_bits(call, 4)? { 1 } else { 8 };
            ranges::clamp(start, end, len * 8 / unit).map(|(start, end)| (start * unit, end * unit))
        }
        _ => return Err(ErrorKind::Syntax.plain()),
    };
    let Some(range) = range else { return call.done(0) };
    let db = call.session.db;
    let outside = outside_range(call.engine, (db, key), range, call.now);
    let (first, end) = (range.0 / 8, range.1.div_ceil(8));
    match call.engine.store.peek(db, key, call.now).map(|entry| entry.value) {
        None | Some(Value::Collection(_)) => call.done(0),
        Some(Value::Inline(bytes)) => call.done(ones(&bytes[first as usize..end as usize]) - outside),
        Some(Value::Large { id, .. }) => {
            let value = call.engine.store.large_retain(id);
            count_on(call, (value, LargeCursor::new(id, first)), end, -outside)
        }
    }
}

/// Bits that are set in the first and in the last byte of a range, but outside of it.
fn outside_range(engine: &Engine, key: (Database, &[u8]), (from, to): BitRange, now: Millis) -> i64 {
    let before = byte_at(engine, key, from / 8, now) & !(0xff >> (from % 8));
    let behind = if to % 8 == 0 { 0 } else { byte_at(engine, key, to / 8, now) & (0xff >> (to % 8)) };
    i64::from(before.count_ones() + behind.count_ones())
}

fn ones(bytes: &[u8]) -> i64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: i64 = words.iter().map(|word| i64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    in_words + rest.iter().map(|byte| i64::from(byte.count_ones())).sum::<i64>()
}

/// Counts until byte `end` of a large value, or until the meter is spent.
fn count_on<'a>(
    call: &mut Call<'_, 'a, '_>,
    (value, mut cursor): (LargeRef, LargeCursor),
    end: u64,
    count: i64,
) -> Outcome<'a> {
    let mut count = count;
    let engine = &mut *call.engine;
    while cursor.offset < end {
        if engine.meter.is_spent() {
            return Ok(Flow::Yield(Continuation::Bitcount { value, cursor, end, count }));
        }
        let piece = engine.store.large_slice(&mut cursor);
        let len = piece.len().min((end - cursor.offset) as usize);
        count += ones(&piece[..len]);
        engine.meter.charge_bytes(len);
        cursor.advance(len);
    }
    engine.store.large_release(value);
    call.done(count)
}

/// What BITPOS looks for.
#[derive(Clone, Copy)]
struct Search {
    /// 0x00 or 0xff: bytes that have no such bit.
    skip: u8,
    range: BitRange,
    /// A clear bit is found behind the end of what is set, unless the end was given.
    open_ended: bool,
}

impl Search {
    /// The position of the first bit in `bytes`, which begin at byte `start` of the value. Bits before the range do not
    /// count; those behind it may be found.
    fn find(&self, bytes: &[u8], start: u64) -> Option<u64> {
        let mut at = 0;
        let (from, _) = self.range;
        if from > start * 8
            && let Some(first) = bytes.first()
        {
            let mask = !(0xff_u8 >> (from - start * 8));
            let byte = (first & !mask) | (self.skip & mask);
            if byte != self.skip {
                return Some(start * 8 + u64::from((byte ^ self.skip).leading_zeros()));
            }
            at = 1;
        }
        let (words, _) = bytes[at..].as_chunks::<8>();
        let skip = u64::from_ne_bytes([self.skip; 8]);
        let same = words.iter().take_while(|word| u64::from_ne_bytes(**word) == skip).count();
        at += 8 * same;
        let rest = bytes[at..].iter().position(|byte| *byte != self.skip)?;
        let byte = bytes[at + rest] ^ self.skip;
        Some((start + (at + rest) as u64) * 8 + u64::from(byte.leading_zeros()))
    }

    /// The answer, given what was found.
    fn answer(&self, found: Option<u64>) -> i64 {
        match found.filter(|position| *position < self.range.1) {
            Some(position) => position as i64,
            None if self.open_ended && self.skip == 0xff => self.range.1 as i64,
            None => -1,
        }
    }
}

/// `BITPOS key 0 | 1 [start [end [BYTE | BIT]]]`
pub fn bitpos<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let bit = call.integer(2)?;
    if !(0..=1).contains(&bit) {
        return Err(ErrorKind::BitArgument.plain());
    }
    let resumed = match continuation {
        Some(Continuation::Bitpos { value, cursor }) => Some((value, cursor)),
        _ => None,
    };
    let value = match &resumed {
        Some((value, _)) => {
            Some(Value::Large { id: value.id(), len: call.engine.store.large_len(value.id()) })
        }
        None => string(call.engine.lookup(call.session.db, key, call.now))?.map(|entry| entry.value),
    };
    let Some(len) = value.map(|value| value.len()) else {
        return call.done(if bit == 1 { -1 } else { 0 });
    };
    if call.args.len() > 6 {
        return Err(ErrorKind::Syntax.plain());
    }
    let start = if call.args.len() > 3 { call.integer(3)? } else { 0 };
    let unit = if in_bits(call, 5)? { 1 } else { 8 };
    let units = len * 8 / unit;
    let end = if call.args.len() > 4 { call.integer(4)? } else { units as i64 - 1 };
    let Some((start, end)) = ranges::clamp(start, end, units) else { return call.done(-1) };
    let skip = if bit == 1 { 0x00 } else { 0xff };
    let search = Search { skip, range: (start * unit, end * unit), open_ended: call.args.len() <= 4 };
    if let Some(resumed) = resumed {
        return search_on(call, resumed, &search);
    }
    match call.engine.store.peek(call.session.db, key, call.now).map(|entry| entry.value) {
        None | Some(Value::Collection(_)) => call.done(-1),
        Some(Value::Inline(bytes)) => {
            let (first, end) = (search.range.0 / 8, search.range.1.div_ceil(8));
            let found = search.find(&bytes[first as usize..end as usize], first);
            call.done(search.answer(found))
        }
        Some(Value::Large { id, .. }) => {
            let value = call.engine.store.large_retain(id);
            search_on(call, (value, LargeCursor::new(id, search.range.0 / 8)), &search)
        }
    }
}

/// Searches a large value, until the meter is spent.
fn search_on<'a>(
    call: &mut Call<'_, 'a, '_>,
    (value, mut cursor): (LargeRef, LargeCursor),
    search: &Search,
) -> Outcome<'a> {
    let end = search.range.1.div_ceil(8);
    let engine = &mut *call.engine;
    let mut found = None;
    while found.is_none() && cursor.offset < end {
        if engine.meter.is_spent() {
            return Ok(Flow::Yield(Continuation::Bitpos { value, cursor }));
        }
        let piece = engine.store.large_slice(&mut cursor);
        let len = piece.len().min((end - cursor.offset) as usize);
        found = search.find(&piece[..len], cursor.offset);
        engine.meter.charge_bytes(len);
        cursor.advance(len);
    }
    engine.store.large_release(value);
    call.done(search.answer(found))
}

#[cfg(test)]
mod tests;
