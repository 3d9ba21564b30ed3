//! A whole collection as a reply, piece by piece: HGETALL, HKEYS, HVALS, SMEMBERS, SPOP of all members, and the answer of
//! SINTER and its like.

use super::{CHUNK_LEN, ENTRIES_PER_UNIT, Parts, Unretained, find, has_expired};
use crate::{
    engine::{Call, Continuation, Engine, Flow, Outcome, meter::FIELD_LOOKUP_UNITS},
    mutation::{CollectionKind, Tree},
    store::{
        Collection,
        collection::{Item, Packed},
    },
    time::Millis,
    wire::encode::{BULK_OVERHEAD_BYTES, Out, write_bulk},
};

/// A collection that is being answered, to whose root a reference is held.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing {
    pub tree: Tree,
    next: u32,
    parts: Parts,
    /// Fields whose time had come then are left out.
    now: Millis,
    /// While the others are counted, for the header says how many they are: so many of those before `next`.
    count: Option<u32>,
}

/// Answers the header of so many entries.
fn list_header(out: &mut Out<'_>, kind: CollectionKind, parts: Parts, len: usize) {
    match (parts, kind) {
        (Parts::Both, _) => out.map(len),
        (Parts::Fields, CollectionKind::Set) => out.set(len),
        _ => out.array(len),
    }
}

/// Writes the entries of a short collection without large values to a sink that has room for them; the number of bytes.
fn write_entries(sink: &mut [u8], packed: &Packed<'_>, parts: Parts, now: Millis) -> usize {
    let mut at = 0;
    for entry in packed.entries().filter(|entry| entry.is_live(now)) {
        let field = Some(entry.field).filter(|_| parts != Parts::Values);
        let value = entry.value.filter(|_| parts != Parts::Fields);
        for bytes in [field, value].into_iter().flatten().filter_map(Item::bytes) {
            at += write_bulk(&mut sink[at..], bytes);
        }
    }
    at
}

impl<'a> Call<'_, 'a, '_> {
    /// Answers all of a key's collection, piece by piece.
    pub(in crate::engine) fn list(
        &mut self,
        kind: CollectionKind,
        parts: Parts,
        continuation: Option<Continuation>,
    ) -> Outcome<'a> {
        if let Some(Continuation::Listing(listing)) = continuation {
            return self.list_on(listing);
        }
        let key = self.bytes(1)?;
        let (db, now) = (self.session.db, self.now);
        let packed = match find(self.engine, (db, key), kind, now)? {
            None => {
                list_header(self.out, kind, parts, 0);
                return Ok(Flow::Done);
            }
            Some((_, Collection::Tree(tree))) => {
                self.engine.store.tree_retain(&tree);
                return self.list_tree(tree, parts);
            }
            Some((_, Collection::Packed(packed))) => packed,
        };
        let out = &mut *self.out;
        let len_max = packed.size() + (2 * packed.len() + 1) * BULK_OVERHEAD_BYTES;
        if out.room() < len_max && !out.is_empty() {
            return Ok(Flow::Yield(Continuation::Again));
        }
        list_header(out, kind, parts, packed.live_len(now));
        if !packed.has_large
            && parts != Parts::Pairs
            && let Some(sink) = out.sink(len_max)
        {
            let len = write_entries(sink, &packed, parts, now);
            out.wrote(len);
            return Ok(Flow::Done);
        }
        // A short collection has short fields, so that two for each entry are enough.
        let mut held = [Unretained::new(), Unretained::new()];
        for (entry, index) in packed.entries().filter(|entry| entry.is_live(now)).zip(0..) {
            held[usize::from(index >= CHUNK_LEN)].answer_entry(out, &entry, parts);
        }
        held.into_iter().for_each(|held| held.retain(&mut self.engine.store));
        Ok(Flow::Done)
    }

    /// Answers a tree to whose root the caller has a reference, which is given up at the end.
    pub(in crate::engine) fn list_tree(&mut self, tree: Tree, parts: Parts) -> Outcome<'a> {
        let now = self.now;
        if has_expired(&self.engine.store, &Collection::Tree(tree), now) {
            return self.list_on(Listing { tree, next: 0, parts, now, count: Some(0) });
        }
        list_header(self.out, tree.kind, parts, tree.len as usize);
        self.list_on(Listing { tree, next: 0, parts, now, count: None })
    }

    /// Counts the fields of a listing whose time has not come, and answers the header; true: all are counted.
    fn count_live(&mut self, listing: &mut Listing, mut live: u32) -> bool {
        let Engine { store, meter, .. } = &mut *self.engine;
        while listing.next < listing.tree.len {
            if meter.is_spent() && listing.next > 0 {
                listing.count = Some(live);
                return false;
            }
            let mut seen = 0;
            for entry in store.tree_entries(&listing.tree, listing.next) {
                live += u32::from(entry.is_live(listing.now));
                seen += 1;
            }
            listing.next += seen;
            meter.charge(FIELD_LOOKUP_UNITS + seen / ENTRIES_PER_UNIT);
        }
        (listing.next, listing.count) = (0, None);
        list_header(self.out, listing.tree.kind, listing.parts, live as usize);
        true
    }

    fn list_on(&mut self, mut listing: Listing) -> Outcome<'a> {
        if let Some(live) = listing.count
            && !self.count_live(&mut listing, live)
        {
            return Ok(Flow::Yield(Continuation::Listing(listing)));
        }
        let Engine { store, meter, .. } = &mut *self.engine;
        while listing.next < listing.tree.len {
            let is_full = self.out.room() < 4 * BULK_OVERHEAD_BYTES && !self.out.is_empty();
            if is_full || meter.is_spent() && listing.next > 0 {
                return Ok(Flow::Yield(Continuation::Listing(listing)));
            }
            let mut held = Unretained::new();
            let (mut bytes, before) = (0, listing.next);
            for entry in store.tree_entries(&listing.tree, listing.next).take(CHUNK_LEN) {
                if !entry.is_live(listing.now) {
                    listing.next += 1;
                    continue;
                }
                let size = entry.size() + 3 * BULK_OVERHEAD_BYTES;
                // An empty output takes any entry; waiting would not make more room.
                if self.out.room() < size && !self.out.is_empty() {
                    break;
                }
                held.answer_entry(self.out, &entry, listing.parts);
                listing.next += 1;
                bytes += size;
            }
            let is_stuck = listing.next == before;
            held.retain(store);
            meter.charge(1);
            meter.charge_bytes(4 * bytes);
            if is_stuck {
                return Ok(Flow::Yield(Continuation::Listing(listing)));
            }
        }
        store.tree_release(&listing.tree);
        Ok(Flow::Done)
    }
}
