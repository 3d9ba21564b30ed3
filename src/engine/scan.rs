//! Walking through all keys: SCAN, whose cursor is the client's to keep, and KEYS, which goes on by itself, slice by
//! slice.

use super::{
    Call, Continuation, Flow, Outcome,
    keys::type_name,
    meter::{KEY_UNITS, Meter},
};
use crate::{
    limits::KEY_BYTES_MAX,
    mutation::{Database, LargeId},
    reply::{Error, ErrorKind},
    store::{Entry, Store},
    time::Millis,
    wire::{
        glob,
        number::{INTEGER_BYTES_MAX, write_u64},
    },
};

/// Keys that one SCAN looks at, at most, whatever COUNT says.
const SCAN_COUNT_MAX: i64 = 1000;
/// Bytes of names in one reply of SCAN, unless a single key is longer.
const SCAN_BYTES_MAX: usize = 64 * 1024;
/// Keys that one slice of KEYS looks at.
const KEYS_SLICE: usize = 512;
/// Steps of pattern matching in one slice, at most (unless a single key needs more): about 50 µs.
pub const MATCH_STEPS_MAX: usize = 1 << 15;
/// Bytes of encoded names that one slice of KEYS collects, at most: two of the longest keys, or many of the usual.
pub const NAMES_BYTES: usize = 2 * (KEY_BYTES_MAX + 16);

/// Which keys are wanted.
struct Filter<'a> {
    pattern: Option<&'a [u8]>,
    /// The name of a type.
    kind: Option<&'a [u8]>,
}

impl Filter<'_> {
    /// Whether a key is wanted; the steps of matching are added to `steps`.
    fn accepts(&self, entry: &Entry<'_>, steps: &mut usize) -> bool {
        let is_kind = |name: &[u8]| name.eq_ignore_ascii_case(type_name(&entry.value).as_bytes());
        let matches = |pattern| glob::matches_counting(pattern, entry.key, false, steps);
        self.kind.is_none_or(is_kind) && self.pattern.is_none_or(matches)
    }
}

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]`
///
/// Two passes over the same keys, the first to learn how many there are to answer; nothing can change in between.
pub fn scan<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let cursor = parse_cursor(call.bytes(1)?).ok_or(ErrorKind::InvalidCursor.plain())?;
    let (filter, mut count) = options(call)?;
    let (db, now) = (call.session.db, call.now);
    let found = loop {
        let found = survey(&call.engine.store, (db, cursor, count), now, &filter);
        found.charge(count, &mut call.engine.meter);
        if count == 1 || found.bytes <= SCAN_BYTES_MAX && found.is_whole() {
            break found;
        }
        count = found.fewer(count);
    };
    call.out.array(2);
    let mut digits = [0; INTEGER_BYTES_MAX];
    call.out.bulk(write_u64(found.next, &mut digits));
    call.out.array(found.count);
    let out = &mut *call.out;
    call.engine.store.scan(db, cursor, count, now, &mut |entry| {
        if filter.accepts(entry, &mut 0) {
            out.bulk(entry.key);
        }
    });
    Ok(Flow::Done)
}

/// As `strtoul` reads it, which takes a sign: -1 is the largest number.
pub fn parse_cursor(text: &[u8]) -> Option<u64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() && !text.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(if negative { value.wrapping_neg() } else { value })
}

fn options<'a>(call: &Call<'_, 'a, '_>) -> Result<(Filter<'a>, usize), Error<'a>> {
    let mut filter = Filter { pattern: None, kind: None };
    let mut count = 10;
    for at in (2..call.args.len()).step_by(2) {
        if at + 1 == call.args.len() {
            return Err(ErrorKind::Syntax.plain());
        }
        if call.is_word(at, "COUNT") {
            count = call.integer(at + 1)?;
            if count < 1 {
                return Err(ErrorKind::Syntax.plain());
            }
        } else if call.is_word(at, "MATCH") {
            filter.pattern = Some(call.pattern(at + 1)?);
        } else if call.is_word(at, "TYPE") {
            filter.kind = Some(call.args.bytes(at + 1).unwrap_or_default());
        } else {
            return Err(ErrorKind::Syntax.plain());
        }
    }
    Ok((filter, count.min(SCAN_COUNT_MAX) as usize))
}

/// What one step of a scan would answer.
struct Found {
    next: u64,
    /// Keys that were matched.
    seen: usize,
    count: usize,
    bytes: usize,
    steps: usize,
}

impl Found {
    /// Whether every key was matched; with a pattern that takes too long, some were not.
    fn is_whole(&self) -> bool {
        self.steps <= MATCH_STEPS_MAX
    }

    /// How many of `count` keys to look at instead.
    fn fewer(&self, count: usize) -> usize {
        if self.is_whole() { count / 2 } else { (self.seen / 2).clamp(1, count / 2) }
    }

    /// Charges what looking `count` keys up, matching and copying them costs; all of it is done twice.
    fn charge(&self, count: usize, meter: &mut Meter) {
        meter.charge(count as u32 * KEY_UNITS);
        meter.charge_pattern_steps(2 * self.steps);
        meter.charge_bytes(2 * self.bytes);
    }
}

fn survey(
    store: &Store,
    (db, cursor, count): (Database, u64, usize),
    now: Millis,
    filter: &Filter<'_>,
) -> Found {
    let mut found = Found { next: 0, seen: 0, count: 0, bytes: 0, steps: 0 };
    found.next = store.scan(db, cursor, count, now, &mut |entry| {
        if count > 1 && !found.is_whole() {
            return;
        }
        found.seen += 1;
        if filter.accepts(entry, &mut found.steps) {
            found.count += 1;
            found.bytes += entry.key.len();
        }
    });
    found
}

/// `KEYS pattern`
///
/// A database that one slice covers is answered at once. Of a larger one the names are collected, as encoded
/// replies, in a large value, for the answer begins with their number; other clients are served between the slices. That
/// value takes spare memory alone: no key is evicted for it, and where there is too little the answer is an error that
/// names SCAN.
pub fn keys<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let pattern = call.pattern(1)?;
    let filter = Filter { pattern: (pattern != b"*").then_some(pattern), kind: None };
    let (db, now) = (call.session.db, call.now);
    let (cursor, names, mut count) = match continuation {
        Some(Continuation::Keys { cursor, names, count }) => (cursor, names, count),
        _ => {
            let found = survey(&call.engine.store, (db, 0, KEYS_SLICE), now, &filter);
            found.charge(KEYS_SLICE, &mut call.engine.meter);
            if found.next == 0 && found.bytes <= SCAN_BYTES_MAX && found.is_whole() {
                call.out.array(found.count);
                let out = &mut *call.out;
                call.engine.store.scan(db, 0, KEYS_SLICE, now, &mut |entry| {
                    if filter.accepts(entry, &mut 0) {
                        out.bulk(entry.key);
                    }
                });
                return Ok(Flow::Done);
            }
            // This slice has done its work.
            let begun = call.engine.store.large_begin_spare(0);
            let names = begun.map_err(|_| ErrorKind::NoReplyMemory.plain())?;
            return Ok(Flow::Yield(Continuation::Keys { cursor: 0, names, count: 0 }));
        }
    };
    match collect(call, cursor, names.id(), &filter, &mut count) {
        Ok(0) => {}
        Ok(cursor) => return Ok(Flow::Yield(Continuation::Keys { cursor, names, count })),
        Err(error) => {
            call.engine.store.large_release(names);
            return Err(error);
        }
    }
    call.out.array(count as usize);
    call.answer_collected(names);
    Ok(Flow::Done)
}

/// Collects the names of one slice; the cursor to go on from, 0 at the end.
fn collect<'a>(
    call: &mut Call<'_, 'a, '_>,
    cursor: u64,
    id: LargeId,
    filter: &Filter<'_>,
    total: &mut u64,
) -> Result<u64, Error<'a>> {
    let (db, now) = (call.session.db, call.now);
    let mut count = KEYS_SLICE;
    let found = loop {
        let found = survey(&call.engine.store, (db, cursor, count), now, filter);
        found.charge(count, &mut call.engine.meter);
        if count == 1 || found.bytes + 16 * found.count <= NAMES_BYTES && found.is_whole() {
            break found;
        }
        count = found.fewer(count);
    };
    let engine = &mut *call.engine;
    let names = &mut engine.names;
    names.clear();
    let mut fits = true;
    engine.store.scan(db, cursor, count, now, &mut |entry| {
        fits &= names.len() + entry.key.len() + 16 <= names.capacity();
        if fits && filter.accepts(entry, &mut 0) {
            let mut digits = [0; INTEGER_BYTES_MAX];
            let parts: [&[u8]; 5] =
                [b"$", write_u64(entry.key.len() as u64, &mut digits), b"\r\n", entry.key, b"\r\n"];
            parts.iter().for_each(|part| names.extend_from_slice(part));
        }
    });
    // Three or more of the longest keys with the same 64-bit hash.
    if !fits {
        return Err(ErrorKind::NoReplyMemory.plain());
    }
    engine.store.large_append_spare(id, names, now).map_err(|_| ErrorKind::NoReplyMemory.plain())?;
    *total += found.count as u64;
    Ok(found.next)
}
