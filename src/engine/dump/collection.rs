//! DUMP of hashes and sets, string by string: layouts that every Redis loads, and packs again as it is set up to.
//!
//! ```text
//!  long:   reference to the root ─▶ length and check sum, in slices ─▶ header, entries, in slices ─▶ footer
//!  short:  all at once; but one with large values goes the long way, as a copy in pages
//! ```
//! Fields that had expired when the command came are left out. Where fields have times, those that had not expired are
//! counted before the rest, in slices too, and the first of their times is found. Only a hash in which one of them has a time
//! is written with times, for Redis 7.4 and later: every other in the layout that Redis 7.0 loads, too.

use crate::{
    engine::{
        Call, Continuation, Engine, Flow, Outcome,
        meter::{FIELD_LOOKUP_UNITS, Meter},
        refused,
    },
    mutation::{CollectionKind, Tree},
    store::{
        Collection, LargeCursor, Store, Value,
        collection::{Entry, Item},
    },
    time::Millis,
    wire::{
        crc64::crc64,
        encode::BULK_OVERHEAD_BYTES,
        rdb::{self, HEADER_BYTES_MAX},
    },
};

/// Entries of one page that are counted for one unit.
const ENTRIES_PER_UNIT: u32 = 8;

/// Bytes that are summed up without a look at the meter, and one entry more: long fields lie outside of their page.
const SUM_BYTES_MAX: u64 = 64 * 1024;

/// How far a collection has come, to whose root a reference is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpCollection {
    pub(super) tree: Tree,
    /// Entries that are done.
    next: u32,
    /// Entries that are answered: those that had not expired at `now`. Until they are counted: those that were met.
    live: u32,
    /// The first time of those entries. `None`: none has one.
    first: Option<Millis>,
    /// When the command came.
    now: Millis,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The entries that are answered are counted.
    Count,
    /// Length and check sum so far; and how far the value of the next entry is summed up, if its head is.
    Sum { sums: Sums, value: Option<LargeCursor> },
    /// The check sum of all, version included.
    Write { sum: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sums {
    len: u64,
    sum: u64,
}

impl Sums {
    fn add(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.sum = crc64(self.sum, bytes);
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        let mut buffer = [0; HEADER_BYTES_MAX];
        self.parts(bytes, &mut buffer);
    }

    fn parts(&mut self, bytes: &[u8], buffer: &mut [u8; HEADER_BYTES_MAX]) {
        let (header, bytes) = string_parts(bytes, buffer);
        self.add(header);
        self.add(bytes);
    }
}

/// A string's header, and what follows it.
fn string_parts<'b>(bytes: &'b [u8], buffer: &'b mut [u8; HEADER_BYTES_MAX]) -> (&'b [u8], &'b [u8]) {
    match rdb::write_number(bytes, buffer).map(<[u8]>::len) {
        Some(len) => (&buffer[..len], &[]),
        None => (rdb::write_length(bytes.len() as u64, buffer), bytes),
    }
}

/// Bytes of what comes before the entries, at most.
const FRONT_BYTES_MAX: usize = 1 + 8 + HEADER_BYTES_MAX;

/// The type, the first time if there is one, and the number of entries.
fn front(
    kind: CollectionKind,
    (len, first): (u64, Option<Millis>),
    buffer: &mut [u8; FRONT_BYTES_MAX],
) -> &[u8] {
    buffer[0] = match (kind, first) {
        (CollectionKind::Hash, Some(_)) => rdb::TYPE_HASH_TIMES,
        (CollectionKind::Hash, None) => rdb::TYPE_HASH,
        (CollectionKind::Set, _) => rdb::TYPE_SET,
    };
    let mut at = 1;
    if let Some(first) = first {
        buffer[at..at + 8].copy_from_slice(&first.0.to_le_bytes());
        at += 8;
    }
    let mut header = [0; HEADER_BYTES_MAX];
    let header = rdb::write_length(len, &mut header);
    buffer[at..at + header.len()].copy_from_slice(header);
    &buffer[..at + header.len()]
}

/// The time of an entry as it stands before the field; nothing in a collection without times.
fn time<'b>(entry: &Entry<'_>, first: Option<Millis>, buffer: &'b mut [u8; HEADER_BYTES_MAX]) -> &'b [u8] {
    let Some(first) = first else { return &[] };
    let behind = entry.expiry.map_or(0, |expiry| expiry.0 - first.0 + 1);
    rdb::write_length(behind, buffer)
}

/// The version of the layout.
fn version(first: Option<Millis>) -> [u8; 2] {
    if first.is_some() { rdb::VERSION_FIELD_TIMES.to_le_bytes() } else { rdb::VERSION.to_le_bytes() }
}

/// Answers the collection that a key has.
pub(super) fn dump<'a>(call: &mut Call<'_, 'a, '_>, key: &[u8]) -> Outcome<'a> {
    let db = call.session.db;
    let (engine, out) = (&mut *call.engine, &mut *call.out);
    let found = engine.store.peek(db, key, call.now).map(|entry| entry.value);
    if let Some(Value::Collection(Collection::Packed(packed))) = found
        && !packed.has_large
    {
        let now = call.now;
        let entries = || packed.entries().filter(|entry| entry.is_live(now));
        let live = packed.live_len(now);
        if live == 0 {
            return call.null();
        }
        let first = if packed.has_times { entries().filter_map(|entry| entry.expiry).min() } else { None };
        let (mut front_buffer, mut buffer) = ([0; FRONT_BYTES_MAX], [0; HEADER_BYTES_MAX]);
        let front = front(packed.kind, (live as u64, first), &mut front_buffer);
        let mut sums = Sums { len: 0, sum: 0 };
        sums.add(front);
        for entry in entries() {
            sums.add(time(&entry, first, &mut buffer));
            let items = [Some(entry.field), entry.value];
            items.into_iter().flatten().filter_map(Item::bytes).for_each(|bytes| sums.add_bytes(bytes));
        }
        let len = sums.len as usize + rdb::FOOTER_BYTES;
        if out.room() < len + 2 * BULK_OVERHEAD_BYTES && !out.is_empty() {
            return Ok(Flow::Yield(Continuation::Again));
        }
        engine.meter.charge_bytes(3 * len);
        sums.add(&version(first));
        out.bulk_header(len);
        out.raw(front);
        for entry in entries() {
            out.raw(time(&entry, first, &mut buffer));
            for bytes in [Some(entry.field), entry.value].into_iter().flatten().filter_map(Item::bytes) {
                out.raw_parts(<[&[u8]; 2]>::from(string_parts(bytes, &mut buffer)));
            }
        }
        out.raw(&version(first));
        out.raw(&sums.sum.to_le_bytes());
        out.raw(b"\r\n");
        return Ok(Flow::Done);
    }
    let Some(tree) = engine.store.tree_of(db, key, call.now).map_err(refused)? else { return call.null() };
    let (live, first, now) = (tree.len, None, call.now);
    let mut work = DumpCollection { tree, next: 0, live, first, now, stage: Stage::Count };
    if Collection::Tree(tree).has_times() {
        work.live = 0;
    } else {
        work.stage = work.first_sums();
    }
    resume(call, work)
}

/// Goes on until the meter is spent, or the output is full.
pub(super) fn resume<'a>(call: &mut Call<'_, 'a, '_>, mut work: DumpCollection) -> Outcome<'a> {
    if work.stage == Stage::Count {
        let Engine { store, meter, .. } = &mut *call.engine;
        if !work.count(store, meter) {
            return Ok(Flow::Yield(super::continuation(work)));
        }
        if work.live == 0 {
            store.tree_release(&work.tree);
            return call.null();
        }
        (work.next, work.stage) = (0, work.first_sums());
    }
    if let Stage::Sum { mut sums, mut value } = work.stage {
        let Engine { store, meter, .. } = &mut *call.engine;
        if !work.sum_up(store, meter, (&mut sums, &mut value)) {
            work.stage = Stage::Sum { sums, value };
            return Ok(Flow::Yield(super::continuation(work)));
        }
        let len = sums.len as usize + rdb::FOOTER_BYTES;
        sums.add(&version(work.first));
        call.out.bulk_header(len);
        call.out.raw(front(work.tree.kind, (work.live.into(), work.first), &mut [0; FRONT_BYTES_MAX]));
        (work.next, work.stage) = (0, Stage::Write { sum: sums.sum });
    }
    work.write(call)
}

impl DumpCollection {
    /// Counts entries that are answered until the meter is spent. True: that was all.
    fn count(&mut self, store: &Store, meter: &mut Meter) -> bool {
        while self.next < self.tree.len {
            if meter.is_spent() {
                return false;
            }
            let mut met = 0;
            for entry in store.tree_entries(&self.tree, self.next) {
                met += 1;
                if entry.is_live(self.now) {
                    self.live += 1;
                    self.first = [self.first, entry.expiry].into_iter().flatten().min();
                }
            }
            self.next += met;
            meter.charge(FIELD_LOOKUP_UNITS + met / ENTRIES_PER_UNIT);
        }
        true
    }

    /// Length and check sum of what comes before the first entry.
    fn first_sums(&self) -> Stage {
        let mut sums = Sums { len: 0, sum: 0 };
        sums.add(front(self.tree.kind, (self.live.into(), self.first), &mut [0; FRONT_BYTES_MAX]));
        Stage::Sum { sums, value: None }
    }

    /// Adds up entries until the meter is spent. True: that was all.
    fn sum_up(
        &mut self,
        store: &Store,
        meter: &mut Meter,
        (sums, value): (&mut Sums, &mut Option<LargeCursor>),
    ) -> bool {
        while self.next < self.tree.len {
            if let Some(cursor) = value {
                if !sum_large(store, meter, sums, cursor) {
                    return false;
                }
                *value = None;
                self.next += 1;
                continue;
            }
            if meter.is_spent() {
                return false;
            }
            let (before, first) = (sums.len, self.next);
            for entry in store.tree_entries(&self.tree, self.next) {
                if !entry.is_live(self.now) {
                    self.next += 1;
                    continue;
                }
                sums.add(time(&entry, self.first, &mut [0; HEADER_BYTES_MAX]));
                match entry.field {
                    Item::Bytes(bytes) => sums.add_bytes(bytes),
                    // No longer than a field may be.
                    Item::Large { id, len } => {
                        sums.add(rdb::write_length(len.into(), &mut [0; HEADER_BYTES_MAX]));
                        _ = sum_large(store, &mut Meter::new(u32::MAX), sums, &mut LargeCursor::new(id, 0));
                    }
                }
                match entry.value {
                    None => {}
                    Some(Item::Bytes(bytes)) => sums.add_bytes(bytes),
                    Some(Item::Large { id, len }) => {
                        sums.add(rdb::write_length(len.into(), &mut [0; HEADER_BYTES_MAX]));
                        *value = Some(LargeCursor::new(id, 0));
                    }
                }
                if value.is_some() {
                    break;
                }
                self.next += 1;
                if sums.len - before > SUM_BYTES_MAX {
                    break;
                }
            }
            // Of many entries at once: one is far shorter than what is a unit.
            meter.charge(FIELD_LOOKUP_UNITS + (self.next - first) / ENTRIES_PER_UNIT);
            meter.charge_bytes(2 * (sums.len - before) as usize);
        }
        true
    }

    /// Answers entries until the output is full, or the meter is spent; then the footer.
    fn write<'a>(mut self, call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
        let Stage::Write { sum } = self.stage else { unreachable!("it is summed up first") };
        let Engine { store, meter, .. } = &mut *call.engine;
        let out = &mut *call.out;
        while self.next < self.tree.len {
            if meter.is_spent() && self.next > 0 {
                return Ok(Flow::Yield(super::continuation(self)));
            }
            let entry @ Entry { field, value, .. } = store.tree_entry(&self.tree, self.next);
            if !entry.is_live(self.now) {
                meter.charge(FIELD_LOOKUP_UNITS);
                self.next += 1;
                continue;
            }
            let size = field.size() + value.map_or(0, |value| value.size()) + 4 * BULK_OVERHEAD_BYTES;
            // An empty output takes any entry; waiting would not make more room.
            if out.room() < size && !out.is_empty() {
                return Ok(Flow::Yield(super::continuation(self)));
            }
            out.raw(time(&entry, self.first, &mut [0; HEADER_BYTES_MAX]));
            let mut held = [None; 2];
            for (item, held) in [Some(field), value].into_iter().flatten().zip(&mut held) {
                let mut buffer = [0; HEADER_BYTES_MAX];
                match item {
                    Item::Bytes(bytes) => out.raw_parts(string_parts(bytes, &mut buffer).into()),
                    Item::Large { id, len } => {
                        out.raw(rdb::write_length(len.into(), &mut buffer));
                        *held = out.large_raw(id, len.into()).then_some(id);
                    }
                }
            }
            held.into_iter().flatten().for_each(|id| _ = store.large_retain(id).into_raw());
            meter.charge(FIELD_LOOKUP_UNITS);
            meter.charge_bytes(2 * size);
            self.next += 1;
        }
        out.raw(&version(self.first));
        out.raw(&sum.to_le_bytes());
        out.raw(b"\r\n");
        store.tree_release(&self.tree);
        Ok(Flow::Done)
    }
}

/// Sums a large value up until the meter is spent. True: that was all of it.
fn sum_large(store: &Store, meter: &mut Meter, sums: &mut Sums, cursor: &mut LargeCursor) -> bool {
    let len = store.large_len(cursor.id);
    while cursor.offset < len {
        if meter.is_spent() {
            return false;
        }
        let piece = store.large_slice(cursor);
        sums.add(piece);
        let piece_len = piece.len();
        meter.charge_bytes(2 * piece_len);
        cursor.advance(piece_len);
    }
    true
}
