//! HSCAN and SSCAN: the entries of a collection from a cursor on.

use super::{CHUNK_LEN, Parts, Unretained, find, peek};
use crate::{
    engine::{Call, Engine, Flow, Outcome, meter::Meter, scan},
    mutation::{CollectionKind, Tree},
    reply::{Error, ErrorKind},
    store::{
        Collection, LargeCursor, Store,
        collection::{Entry, Item},
    },
    time::Millis,
    wire::{
        glob,
        number::{INTEGER_BYTES_MAX, write_u64},
    },
};

/// Entries that one HSCAN or SSCAN looks at, at most, whatever COUNT says.
const SCAN_COUNT_MAX: i64 = 400;
/// Bytes of fields and values in one reply of a scan, unless one entry has more.
const SCAN_BYTES_MAX: usize = 64 * 1024;

/// The options of HSCAN and SSCAN.
struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    parts: Parts,
    /// Fields whose time has come are left out.
    now: Millis,
}

/// `HSCAN key cursor [MATCH pattern] [COUNT n] [NOVALUES]`, `SSCAN` without NOVALUES
///
/// A cursor is a place in the order of the entries. A short collection is answered whole.
pub fn scan<'a>(call: &mut Call<'_, 'a, '_>, kind: CollectionKind) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let cursor = scan::parse_cursor(call.bytes(2)?).ok_or(ErrorKind::InvalidCursor.plain())?;
    let db = call.session.db;
    if find(call.engine, (db, key), kind, call.now)?.is_none() {
        call.out.array(2);
        call.out.bulk(b"0");
        call.out.array(0);
        return Ok(Flow::Done);
    }
    let options = scan_options(call, kind)?;
    let Engine { store, meter, .. } = &mut *call.engine;
    let Some(collection) = peek(store, (db, key), kind, call.now)? else { return call.null() };
    let (first, end) = match &collection {
        Collection::Packed(packed) => (0, packed.len()),
        Collection::Tree(tree) => scan_range(store, tree, cursor, options.count),
    };
    let found = survey(store, &collection, (first, end), &options, meter);
    let next = match &collection {
        Collection::Tree(tree) if found.end < tree.len as usize => store.tree_place(tree, found.end as u32),
        _ => 0,
    };
    let out = &mut *call.out;
    out.array(2);
    let mut digits = [0; INTEGER_BYTES_MAX];
    out.bulk(write_u64(next, &mut digits));
    out.array(found.count * if options.parts == Parts::Both { 2 } else { 1 });
    let mut at = first;
    while at < found.end {
        let mut held = Unretained::new();
        let Some(collection) = peek(store, (db, key), kind, call.now)? else { break };
        for index in at..found.end.min(at + CHUNK_LEN) {
            let Some(entry) = store.field_at(&collection, index) else { break };
            if matches(store, &entry, &options, &mut 0) {
                held.answer_entry(out, &entry, options.parts);
            }
        }
        held.retain(store);
        at += CHUNK_LEN;
    }
    Ok(Flow::Done)
}

fn scan_options<'a>(call: &Call<'_, 'a, '_>, kind: CollectionKind) -> Result<ScanOptions<'a>, Error<'a>> {
    let parts = if kind.has_values() { Parts::Both } else { Parts::Fields };
    let mut options = ScanOptions { pattern: None, count: 10, parts, now: call.now };
    let mut at = 3;
    while at < call.args.len() {
        if call.is_word(at, "NOVALUES") && kind.has_values() {
            options.parts = Parts::Fields;
            at += 1;
            continue;
        }
        if at + 1 == call.args.len() {
            return Err(ErrorKind::Syntax.plain());
        }
        if call.is_word(at, "COUNT") {
            let count = call.integer(at + 1)?;
            if count < 1 {
                return Err(ErrorKind::Syntax.plain());
            }
            options.count = count.min(SCAN_COUNT_MAX) as usize;
        } else if call.is_word(at, "MATCH") {
            options.pattern = Some(call.pattern(at + 1)?);
        } else {
            return Err(ErrorKind::Syntax.plain());
        }
        at += 2;
    }
    Ok(options)
}

/// The indexes that a scan of a tree covers; entries of one place are not torn apart.
fn scan_range(store: &Store, tree: &Tree, cursor: u64, count: usize) -> (usize, usize) {
    let first = store.tree_index(tree, cursor) as usize;
    let mut end = (first + count).min(tree.len as usize);
    while end > first
        && end < tree.len as usize
        && store.tree_place(tree, end as u32) == store.tree_place(tree, end as u32 - 1)
    {
        end += 1;
    }
    (first, end)
}

/// What a scan answers.
struct Survey {
    count: usize,
    end: usize,
}

fn survey(
    store: &Store,
    collection: &Collection<'_>,
    (first, end): (usize, usize),
    options: &ScanOptions<'_>,
    meter: &mut Meter,
) -> Survey {
    let (mut count, mut bytes, mut steps, mut at) = (0, 0, 0, first);
    let is_tree = matches!(collection, Collection::Tree(_));
    while at < end {
        let Some(entry) = store.field_at(collection, at) else { break };
        if matches(store, &entry, options, &mut steps) {
            (count, bytes) = (count + 1, bytes + entry.size());
        }
        at += 1;
        // Never between entries of one place, which are so few that they do not matter.
        let is_much = bytes > SCAN_BYTES_MAX || steps > scan::MATCH_STEPS_MAX;
        if let Collection::Tree(tree) = collection
            && is_much
            && at < end
            && store.tree_place(tree, at as u32) != store.tree_place(tree, at as u32 - 1)
        {
            break;
        }
    }
    meter.charge((at - first) as u32 * if is_tree { 2 } else { 1 });
    meter.charge_pattern_steps(2 * steps);
    meter.charge_bytes(2 * bytes);
    Survey { count, end: at }
}

/// Whether an entry is to be answered: its time has not come, and its field matches. A long field is matched by its beginning, as far as it lies together.
fn matches(store: &Store, entry: &Entry<'_>, options: &ScanOptions<'_>, steps: &mut usize) -> bool {
    if !entry.is_live(options.now) {
        return false;
    }
    let Some(pattern) = options.pattern else { return true };
    match entry.field {
        Item::Bytes(field) => glob::matches_counting(pattern, field, false, steps),
        Item::Large { id, .. } => {
            let piece = store.large_slice(&mut LargeCursor::new(id, 0));
            glob::matches_counting(pattern, piece, false, steps)
        }
    }
}
