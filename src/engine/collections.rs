//! What hashes and sets have in common: finding the collection of a key and answering entries of it. Whole collections are
//! answered by [`listing`], a part from a cursor on by [`scan`](mod@scan), entries picked at random by [`sample`].

mod listing;
mod sample;
mod scan;

use super::{
    Call, Continuation, Engine, Flow,
    meter::{FIELD_LOOKUP_UNITS, FIELD_UNITS, KEY_UNITS},
};
use crate::{
    limits::FIELD_BYTES_MAX,
    mutation::{Applied, CollectionKind, Database, LargeId, Mutation, Refused},
    reply::{Error, ErrorKind, Part},
    store::{
        Collection, Store, Value,
        collection::{Entry, Item},
    },
    time::Millis,
    wire::{arguments::Arg, encode::Out},
};
pub use {listing::Listing, sample::Sample, scan::scan};

/// How often the bytes of a page that is copied are touched: read, written, and what they refer to retained.
const COPY_PASSES: usize = 4;
/// Entries that are answered without a look at the meter and at the output's room.
const CHUNK_LEN: usize = 64;
/// Entries of which nothing but the time is looked at, for one unit of the meter.
const ENTRIES_PER_UNIT: u32 = 8;

/// What is answered of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// The field, or the member.
    Fields,
    Values,
    Both,
    /// Both, each two as an array of their own where the protocol has it.
    Pairs,
}

/// Large values in the output that are yet to be retained.
struct Unretained {
    ids: [Option<LargeId>; 2 * CHUNK_LEN],
    count: usize,
}

impl Unretained {
    fn new() -> Unretained {
        Unretained { ids: [None; 2 * CHUNK_LEN], count: 0 }
    }

    fn answer(&mut self, out: &mut Out<'_>, item: Item<'_>) {
        match item {
            Item::Bytes(bytes) => out.bulk(bytes),
            Item::Large { id, len } => {
                if out.large(id, u64::from(len)) {
                    self.ids[self.count] = Some(id);
                    self.count += 1;
                }
            }
        }
    }

    fn answer_entry(&mut self, out: &mut Out<'_>, entry: &Entry<'_>, parts: Parts) {
        if parts == Parts::Pairs {
            out.pair();
        }
        if parts != Parts::Values {
            self.answer(out, entry.field);
        }
        if parts != Parts::Fields
            && let Some(value) = entry.value
        {
            self.answer(out, value);
        }
    }

    fn retain(self, store: &mut Store) {
        self.ids[..self.count].iter().flatten().for_each(|id| _ = store.large_retain(*id).into_raw());
    }
}

/// Whether the arguments before `next` that are answered are all, or those behind the window are still to be.
pub fn answered(call: &Call<'_, '_, '_>, next: usize) -> Flow {
    if next == call.args.len() {
        Flow::Done
    } else {
        Flow::Yield(Continuation::Answered { next: next as u32 })
    }
}

/// The collection of a key, if it has one; an error if it has a value of another type. Hits and misses are counted.
pub fn find<'e>(
    engine: &'e mut Engine,
    (db, key): (Database, &[u8]),
    kind: CollectionKind,
    now: Millis,
) -> Result<Option<(&'e Store, Collection<'e>)>, Error<'static>> {
    let Engine { store, metrics, meter, .. } = engine;
    meter.charge(KEY_UNITS + FIELD_LOOKUP_UNITS);
    let Some((store, entry)) = store.read(db, key, now) else {
        metrics.counters.keyspace_misses += 1;
        return Ok(None);
    };
    metrics.counters.keyspace_hits += 1;
    match entry.value {
        Value::Collection(collection) if collection.kind() == kind => Ok(Some((store, collection))),
        _ => Err(ErrorKind::WrongType.plain()),
    }
}

/// The same without counting, for a look at a key that was found before.
pub fn peek<'e>(
    store: &'e Store,
    (db, key): (Database, &[u8]),
    kind: CollectionKind,
    now: Millis,
) -> Result<Option<Collection<'e>>, Error<'static>> {
    match store.peek(db, key, now).map(|entry| entry.value) {
        None => Ok(None),
        Some(Value::Collection(collection)) if collection.kind() == kind => Ok(Some(collection)),
        Some(_) => Err(ErrorKind::WrongType.plain()),
    }
}

impl Engine {
    /// Changes one entry of a collection, and charges for it: for copies of pages as well, of which a change makes some where
    /// others (a copy of the key, a listing) refer to the same ones.
    pub(super) fn change_entry(&mut self, mutation: &Mutation<'_>, now: Millis) -> Result<Applied, Refused> {
        // Those of maintenance are no client's.
        self.store.take_copied_pages();
        let applied = self.store.apply(mutation, now);
        let (pages, page_bytes) = self.store.take_copied_pages();
        self.meter.charge(FIELD_UNITS);
        self.meter.charge_bytes(pages as usize * page_bytes * COPY_PASSES);
        applied
    }
}

impl<'a> Call<'_, 'a, '_> {
    /// Argument `i` as a field or a member.
    pub(super) fn field(&self, i: usize) -> Result<&'a [u8], Error<'a>> {
        let too_long = |len: u64| {
            ErrorKind::FieldTooLong.of_both(Part::Number(len), Part::Number(FIELD_BYTES_MAX as u64))
        };
        match self.args.get(i) {
            Some(Arg::Bytes(bytes)) if bytes.len() <= FIELD_BYTES_MAX => Ok(bytes),
            Some(Arg::Bytes(bytes)) => Err(too_long(bytes.len() as u64)),
            Some(Arg::Large(id)) => Err(too_long(self.engine.store.large_len(id))),
            Some(Arg::Refused) => Err(ErrorKind::Full.plain()),
            None => Err(ErrorKind::Syntax.plain()),
        }
    }

    /// Looks a field of a key up and hands what it has to `answer`, with the collection's length; a large value is
    /// answered here.
    pub(super) fn with_field<R>(
        &mut self,
        kind: CollectionKind,
        field: &[u8],
        answer: impl FnOnce(Option<Item<'_>>, usize) -> R,
    ) -> Result<R, Error<'a>> {
        let key = self.bytes(1)?;
        let db = self.session.db;
        let found = find(self.engine, (db, key), kind, self.now)?;
        let Some((store, collection)) = found else { return Ok(answer(None, 0)) };
        Ok(answer(store.field(&collection, field, self.now), collection.len()))
    }

    /// Answers a field's value, or null.
    pub(super) fn answer_field(
        &mut self,
        kind: CollectionKind,
        key: &[u8],
        field: &[u8],
    ) -> Result<(), Error<'a>> {
        let db = self.session.db;
        let (engine, out) = (&mut *self.engine, &mut *self.out);
        let found = find(engine, (db, key), kind, self.now)?;
        let item = found.and_then(|(store, collection)| store.field(&collection, field, self.now));
        match item {
            None => out.null(),
            Some(Item::Bytes(bytes)) => out.bulk(bytes),
            Some(Item::Large { id, len }) => self.answer_large(id, u64::from(len)),
        }
        Ok(())
    }

    /// The length of the collection that a key has; 0 if it has none.
    pub(super) fn collection_len(&mut self, kind: CollectionKind) -> Result<usize, Error<'a>> {
        let key = self.bytes(1)?;
        let db = self.session.db;
        Ok(find(self.engine, (db, key), kind, self.now)?.map_or(0, |(_, collection)| collection.len()))
    }
}

/// Whether the time of some field has come.
fn has_expired(store: &Store, collection: &Collection<'_>, now: Millis) -> bool {
    store.first_due(collection).is_some_and(|due| due <= now)
}
