//! RESTORE of hashes and sets: entry by entry into a private collection, which the key gets whole.
//!
//! ```text
//!           string by string ─────────────────────────────────┐
//!  payload ─┤                                                 ├─▶ short: in one slice, in the engine's scratch
//!           └ packed into one string ─▶ (unpacked by LZF) ────┘   else:  in slices, in pages;  long values: large ones
//! ```
//! Fields bring their times along. A field that comes twice, a count that is not met, a length that leads outside: the payload is refused.

mod cursor;

use super::{Copying, Made, Payload, Place, Restore, Step, Stepped, Unpacking};
use crate::{
    engine::{Call, Engine, meter::KEY_UNITS, refused},
    mutation::{ChainPosition, CollectionKind, LargeId, LargeRef, NewValue, Tree},
    reply::{Error, ErrorKind},
    store::{Packing as Packed, Store, collection::Item},
    time::Millis,
    wire::{
        packed::PackingKind,
        rdb::{self, Header},
    },
};
use cursor::{Cursor, Layout, Next, Source, Times, fetch};

/// A value that is longer is filled in slices.
const SHORT_VALUE_BYTES_MAX: u64 = 4 * 1024;
/// Strings of a collection that is put together in one slice, at most.
const SHORT_BYTES_MAX: u64 = 16 * 1024;

/// A long value on its way.
#[derive(Debug, PartialEq, Eq)]
enum Filling {
    Copy(Copying),
    Unpack(Unpacking),
}

impl Filling {
    /// The value, as far as it has come.
    fn into_value(self) -> Option<LargeRef> {
        match self {
            Filling::Copy(copy) => Some(copy.to),
            Filling::Unpack(unpack) => unpack.to,
        }
    }
}

/// What a payload of a collection is.
pub(super) struct Form {
    kind: CollectionKind,
    /// `None`: string by string.
    packing: Option<PackingKind>,
    times: FormTimes,
}

/// What it has of times of fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FormTimes {
    None,
    /// As the release candidates of Redis 7.4 wrote them.
    Unix,
    /// Behind the first of them, which stands before everything.
    WithFirst,
}

impl Form {
    /// By the payload's first byte. `None`: it is no collection's.
    pub(super) fn of(byte: u8) -> Option<Form> {
        use CollectionKind::{Hash, Set};
        let mut times = FormTimes::None;
        let (kind, packing) = match byte {
            rdb::TYPE_HASH_TIMES_PRE | rdb::TYPE_HASH_TIMES => (Hash, None),
            rdb::TYPE_HASH_LISTPACK_TIMES_PRE | rdb::TYPE_HASH_LISTPACK_TIMES => {
                (Hash, Some(PackingKind::Listpack))
            }
            rdb::TYPE_SET => (Set, None),
            rdb::TYPE_HASH => (Hash, None),
            rdb::TYPE_SET_INTSET => (Set, Some(PackingKind::Intset)),
            rdb::TYPE_SET_LISTPACK => (Set, Some(PackingKind::Listpack)),
            rdb::TYPE_HASH_ZIPLIST => (Hash, Some(PackingKind::Ziplist)),
            rdb::TYPE_HASH_LISTPACK => (Hash, Some(PackingKind::Listpack)),
            _ => return None,
        };
        match byte {
            rdb::TYPE_HASH_TIMES_PRE | rdb::TYPE_HASH_LISTPACK_TIMES_PRE => times = FormTimes::Unix,
            rdb::TYPE_HASH_TIMES | rdb::TYPE_HASH_LISTPACK_TIMES => times = FormTimes::WithFirst,
            _ => {}
        }
        Some(Form { kind, packing, times })
    }
}

/// A string that holds a collection, on its way out of LZF.
#[derive(Debug, PartialEq, Eq)]
pub struct Unwrapping {
    kind: CollectionKind,
    packing: PackingKind,
    times: Times,
    pub(super) unpack: Unpacking,
}

impl Unwrapping {
    pub(super) fn resume<'a>(&mut self, call: &mut Call<'_, 'a, '_>, payload: Payload<'_>) -> Stepped<'a> {
        match self.unpack.resume(call, payload)? {
            Step::Unfinished => Ok(Step::Unfinished),
            Step::Made(Made::Value(NewValue::Large(blob))) => {
                let end = call.engine.store.large_len(blob);
                let found = Cursor::packed(
                    &call.engine.store,
                    Payload::Large(blob),
                    (self.kind, self.packing, self.times),
                    (Place::START, end),
                );
                let cursor = found.ok_or(ErrorKind::RestoreFormat.plain())?;
                begin(call, payload, cursor, &mut self.unpack.to)
            }
            // A string without bytes.
            _ => Err(ErrorKind::RestoreFormat.plain()),
        }
    }
}

/// Begins a collection: `place` is behind the payload's first byte.
pub(super) fn read<'a>(call: &mut Call<'_, 'a, '_>, payload: Payload<'_>, form: &Form) -> Stepped<'a> {
    let malformed = ErrorKind::RestoreFormat.plain();
    let store = &call.engine.store;
    let end = payload.len(store) - rdb::FOOTER_BYTES as u64;
    let (mut times, mut start) = (Times::None, 1);
    match form.times {
        FormTimes::None => {}
        FormTimes::Unix => times = Times::Unix,
        FormTimes::WithFirst => {
            let mut first = [0; 8];
            if payload.read(store, Place::at(1), end, &mut first).len() < first.len() {
                return Err(malformed);
            }
            // Listpacks have whole times all the same.
            times = if form.packing.is_some() { Times::Unix } else { Times::From(u64::from_le_bytes(first)) };
            start += first.len() as u64;
        }
    }
    let mut buffer = [0; rdb::HEADER_BYTES_MAX];
    let header = payload.read(store, Place::at(start), end, &mut buffer);
    let (header, used) = rdb::read_header(header).ok_or(malformed)?;
    let place = Place::at(start + used as u64);
    let left = end - place.offset;
    let kind = form.kind;
    match (header, form.packing) {
        (Header::Bytes(count), None) if count > 0 => {
            let cursor = Cursor { kind, layout: Layout::Plain { left: count }, times, place, end };
            begin(call, payload, cursor, &mut None)
        }
        (Header::Bytes(len), Some(packing)) if len <= left => {
            let end = place.offset + len;
            let cursor =
                Cursor::packed(store, payload, (kind, packing, times), (place, end)).ok_or(malformed)?;
            begin(call, payload, cursor, &mut None)
        }
        (Header::Packed { packed_len, len }, Some(packing)) => {
            let unpack = Unpacking::begin(call, place, (packed_len, left), len, 0)?;
            Ok(Step::Next(Restore::Unwrap(Unwrapping { kind, packing, times, unpack })))
        }
        _ => Err(malformed),
    }
}

/// Puts a short collection together at once; begins a longer one. The string that it is read from, if it was unpacked, is
/// the collection's then; after an error it is left where it is.
fn begin<'a>(
    call: &mut Call<'_, 'a, '_>,
    payload: Payload<'_>,
    cursor: Cursor,
    blob: &mut Option<LargeRef>,
) -> Stepped<'a> {
    let source = source_of(blob.as_ref(), payload);
    if let Some(len) = put_together(call, source, cursor)? {
        if let Some(blob) = blob.take() {
            call.engine.store.large_release(blob);
        }
        return Ok(Step::Made(Made::Packed(len)));
    }
    let tree = call.engine.store.tree_begin(cursor.kind, call.now).map_err(refused)?;
    Ok(Step::Next(Restore::Gather(Gather { cursor, blob: blob.take(), tree, filling: None })))
}

/// Where the strings are read from.
fn source_of<'p>(blob: Option<&LargeRef>, payload: Payload<'p>) -> Payload<'p> {
    blob.map_or(payload, |blob| Payload::Large(blob.id()))
}

/// Puts a short collection together in the engine's scratch; `None`: it is not short.
fn put_together<'a>(
    call: &mut Call<'_, 'a, '_>,
    source: Payload<'_>,
    cursor: Cursor,
) -> Result<Option<usize>, Error<'a>> {
    let malformed = ErrorKind::RestoreFormat.plain();
    let mut cursor = cursor;
    let Engine { store, scratch, names, meter, .. } = &mut *call.engine;
    let mut len = Store::pack_begin(cursor.kind, scratch);
    let mut bytes = 0;
    while let Some(Next { field, value, expiry, after }) = cursor.next(store, source).ok_or(malformed)? {
        bytes += field.len() + value.map_or(0, Source::len);
        if bytes > SHORT_BYTES_MAX {
            return Ok(None);
        }
        names.clear();
        fetch(store, source, field, names).ok_or(malformed)?;
        let field_len = names.len();
        if let Some(value) = value {
            fetch(store, source, value, names).ok_or(malformed)?;
        }
        let (field, value_bytes) = names.split_at(field_len);
        match store.pack_add((scratch, &mut len), field, (value.map(|_| value_bytes), expiry)) {
            Packed::Added => cursor = after,
            Packed::Duplicate => return Err(malformed),
            Packed::NoRoom => return Ok(None),
        }
        meter.charge(1);
        meter.charge_bytes(names.len());
    }
    // A count of no entries.
    if len == Store::pack_begin(cursor.kind, &mut [0; 2]) { Err(malformed) } else { Ok(Some(len)) }
}

/// A collection in pages that is being put together.
#[derive(Debug, PartialEq, Eq)]
pub struct Gather {
    cursor: Cursor,
    /// The string that it is unpacked from, if that was packed by LZF.
    blob: Option<LargeRef>,
    tree: Tree,
    /// The value of the next entry.
    filling: Option<Filling>,
}

impl Gather {
    /// Gives back what it holds.
    pub(super) fn release(self, store: &mut Store) {
        store.tree_release(&self.tree);
        let filling = self.filling.and_then(Filling::into_value);
        self.blob.into_iter().chain(filling).for_each(|large| store.large_release(large));
    }

    /// Goes on.
    pub(super) fn resume<'a>(&mut self, call: &mut Call<'_, 'a, '_>, payload: Payload<'_>) -> Stepped<'a> {
        if !self.gather_some(call, payload)? {
            return Ok(Step::Unfinished);
        }
        if let Some(blob) = self.blob.take() {
            call.engine.store.large_release(blob);
        }
        Ok(Step::Made(Made::Value(NewValue::Tree(self.tree))))
    }

    /// True: that was all.
    fn gather_some<'a>(
        &mut self,
        call: &mut Call<'_, 'a, '_>,
        payload: Payload<'_>,
    ) -> Result<bool, Error<'a>> {
        let malformed = ErrorKind::RestoreFormat.plain();
        let source = source_of(self.blob.as_ref(), payload);
        loop {
            let filled = match self.filling {
                None => None,
                Some(_) => match self.fill(call, source)? {
                    None => return Ok(false),
                    filled => filled,
                },
            };
            if filled.is_none() && call.engine.meter.is_spent() {
                return Ok(false);
            }
            let Some(next) = self.cursor.next(&call.engine.store, source).ok_or(malformed)? else {
                return if self.tree.len == 0 { Err(malformed) } else { Ok(true) };
            };
            match (filled, next.value) {
                (None, Some(value)) if value.len() > SHORT_VALUE_BYTES_MAX => {
                    self.filling = Some(begin_filling(call, value)?);
                }
                (filled, value) => {
                    let id = filled.as_ref().map(LargeRef::id);
                    let added = add(call, source, &mut self.tree, (next.field, value, id), next.expiry);
                    match (filled, added.is_ok()) {
                        // The entry has it.
                        (Some(filled), true) => _ = filled.into_raw(),
                        (Some(filled), false) => call.engine.store.large_release(filled),
                        (None, _) => {}
                    }
                    added?;
                    self.cursor = next.after;
                }
            }
        }
    }

    /// Goes on with a long value; it, when it is whole.
    fn fill<'a>(
        &mut self,
        call: &mut Call<'_, 'a, '_>,
        source: Payload<'_>,
    ) -> Result<Option<LargeRef>, Error<'a>> {
        let step = match &mut self.filling {
            Some(Filling::Copy(copy)) => copy.resume(call, source)?,
            Some(Filling::Unpack(unpack)) => unpack.resume(call, source)?,
            None => return Ok(None),
        };
        match step {
            Step::Unfinished => Ok(None),
            Step::Made(Made::Value(NewValue::Large(_))) => {
                Ok(self.filling.take().and_then(Filling::into_value))
            }
            _ => Err(ErrorKind::RestoreFormat.plain()),
        }
    }
}

fn begin_filling<'a>(call: &mut Call<'_, 'a, '_>, value: Source) -> Result<Filling, Error<'a>> {
    match value {
        Source::Bytes { place, len } => {
            let to = call.engine.store.large_begin(len, call.now).map_err(refused)?;
            Ok(Filling::Copy(Copying { place, end: place.offset + len, to }))
        }
        Source::Runs { place, end, len } => {
            let to = call.engine.store.large_begin(len, call.now).map_err(refused)?;
            let tail = ChainPosition::NONE;
            Ok(Filling::Unpack(Unpacking { place, end, len, to: Some(to), tail }))
        }
        Source::Number(_) => Err(ErrorKind::RestoreFormat.plain()),
    }
}

/// Adds an entry, whose value is large and filled, or short and still to be fetched. A filled one is taken over, unless
/// this fails.
fn add<'a>(
    call: &mut Call<'_, 'a, '_>,
    source: Payload<'_>,
    tree: &mut Tree,
    (field, value, filled): (Source, Option<Source>, Option<LargeId>),
    expiry: Option<Millis>,
) -> Result<(), Error<'a>> {
    let malformed = ErrorKind::RestoreFormat.plain();
    let now: Millis = call.now;
    let Engine { store, names, meter, .. } = &mut *call.engine;
    if let Source::Bytes { len, .. } | Source::Runs { len, .. } = field
        && len > crate::limits::FIELD_BYTES_MAX as u64
    {
        return Err(refused(crate::mutation::Refused::FieldTooLong { size: len }));
    }
    names.clear();
    fetch(store, source, field, names).ok_or(malformed)?;
    let field_len = names.len();
    if let (Some(value), None) = (value, filled) {
        fetch(store, source, value, names).ok_or(malformed)?;
    }
    let (field, bytes) = names.split_at(field_len);
    let item = match (value, filled) {
        (None, _) => None,
        (Some(_), Some(id)) => Some(Item::Large { id, len: store.large_len(id) as u32 }),
        (Some(_), None) => Some(Item::Bytes(bytes)),
    };
    // Looked up first: a value that replaces another one would be kept.
    let is_there = store.field_entry(&crate::store::Collection::Tree(*tree), field).is_some();
    meter.charge(2 * KEY_UNITS);
    meter.charge_bytes(names.len());
    if is_there {
        return Err(malformed);
    }
    store.tree_add(tree, field, (item, expiry), now).map_err(refused).map(drop)
}
