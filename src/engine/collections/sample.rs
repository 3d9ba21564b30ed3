//! SRANDMEMBER and HRANDFIELD: entries of a collection that are picked at random.

use super::{CHUNK_LEN, ENTRIES_PER_UNIT, Parts, Unretained, find, has_expired, peek};
use crate::{
    engine::{Call, Continuation, Engine, Flow, Outcome, meter::FIELD_LOOKUP_UNITS},
    mutation::{CollectionKind, Tree},
    reply::ErrorKind,
    store::{
        Collection, Store,
        collection::{Entry, Item, Packed},
    },
    time::Millis,
    wire::encode::BULK_OVERHEAD_BYTES,
};

/// Entries that are drawn, at most, before one is found whose time has not come.
const DRAWS_MAX: usize = 8;
/// Entries that are picked more than once, at most: no client waits for the end of so long a reply.
const SAMPLE_COUNT_MAX: i64 = i32::MAX as i64;

/// Entries that are picked at random, from a tree to whose root a reference is held.
#[derive(Debug, PartialEq, Eq)]
pub struct Sample {
    pub tree: Option<Tree>,
    seed: u64,
    next: u64,
    /// Distinct entries that were drawn: those whose time has come are passed over.
    drawn: u64,
    count: u64,
    is_distinct: bool,
    /// One field, or null, is answered, not an array.
    is_one: bool,
    parts: Parts,
    now: Millis,
    /// While entries whose time has not come are counted.
    survey: Option<Drawn>,
    /// An entry that is there, if the tree has some whose time has come: it stands in where drawing does not find one.
    spare: u32,
}

/// Entries that were counted: those before `next`, `live` of them there, and one of these picked at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Drawn {
    next: u32,
    live: u32,
    pick: u32,
}

impl<'a> Call<'_, 'a, '_> {
    /// SRANDMEMBER and HRANDFIELD with a count: distinct entries, or (negative) any.
    pub(in crate::engine) fn sample(
        &mut self,
        kind: CollectionKind,
        (count, parts): (i64, Parts),
        continuation: Option<Continuation>,
    ) -> Outcome<'a> {
        if let Some(Continuation::Sample(sample)) = continuation {
            return self.sample_on(kind, sample);
        }
        if count < -SAMPLE_COUNT_MAX {
            return Err(ErrorKind::OutOfRange.plain());
        }
        let key = self.bytes(1)?;
        let db = self.session.db;
        let found = find(self.engine, (db, key), kind, self.now)?;
        let Some((store, collection)) = found.filter(|_| count != 0) else {
            self.out.array(0);
            return Ok(Flow::Done);
        };
        let now = self.now;
        let (len, tree, survey) = match collection {
            Collection::Packed(packed) => (packed.live_len(now), None, None),
            Collection::Tree(tree) => {
                let expired = has_expired(store, &collection, now);
                (tree.len as usize, Some(tree), expired.then_some(Drawn { next: 0, live: 0, pick: 0 }))
            }
        };
        if let Some(tree) = tree {
            self.engine.store.tree_retain(&tree);
        }
        let is_distinct = count > 0;
        let count =
            if is_distinct || len == 0 { count.unsigned_abs().min(len as u64) } else { count.unsigned_abs() };
        let seed = self.engine.draw();
        let sample = Sample {
            tree,
            seed,
            next: 0,
            drawn: 0,
            count,
            is_distinct,
            is_one: false,
            parts,
            now,
            survey,
            spare: 0,
        };
        if survey.is_none() {
            self.sample_header(&sample);
        }
        self.sample_on(kind, sample)
    }

    fn sample_header(&mut self, sample: &Sample) {
        let is_flat = sample.parts == Parts::Pairs && !self.out.has_pairs();
        self.out.array(sample.count as usize * if is_flat { 2 } else { 1 });
    }

    /// Counts the entries whose time has not come, which says how many there are to answer; false: not yet all.
    fn survey_sample(&mut self, sample: &mut Sample) -> bool {
        let (Some(tree), Some(mut survey)) = (sample.tree, sample.survey) else { return true };
        let Engine { store, meter, .. } = &mut *self.engine;
        while survey.next < tree.len {
            if meter.is_spent() && survey.next > 0 {
                sample.survey = Some(survey);
                return false;
            }
            let first = survey.next;
            for entry in store.tree_entries(&tree, first) {
                if entry.is_live(sample.now) {
                    survey.live += 1;
                    // The n-th one replaces the pick with a chance of 1 in n (Vitter's algorithm R, 1985).
                    let drawn = permuted(u64::from(survey.next), u64::from(tree.len), sample.seed);
                    if drawn.is_multiple_of(u64::from(survey.live)) {
                        survey.pick = survey.next;
                    }
                }
                survey.next += 1;
            }
            meter.charge(FIELD_LOOKUP_UNITS + (survey.next - first) / ENTRIES_PER_UNIT * 2);
        }
        sample.survey = None;
        sample.spare = survey.pick;
        if survey.live == 0 {
            sample.count = 0;
        } else if sample.is_distinct {
            sample.count = sample.count.min(u64::from(survey.live));
        }
        if !sample.is_one {
            self.sample_header(sample);
        } else if sample.count == 0 {
            self.out.null();
        }
        true
    }

    fn sample_on(&mut self, kind: CollectionKind, mut sample: Sample) -> Outcome<'a> {
        if !self.survey_sample(&mut sample) {
            return Ok(Flow::Yield(Continuation::Sample(sample)));
        }
        let key = self.bytes(1)?;
        let db = self.session.db;
        while sample.next < sample.count {
            let is_full = self.out.room() < 4 * BULK_OVERHEAD_BYTES && !self.out.is_empty();
            if is_full || self.engine.meter.is_spent() && sample.drawn > 0 {
                return Ok(Flow::Yield(Continuation::Sample(sample)));
            }
            let mut held = Unretained::new();
            let picks = (sample.count - sample.next).min(CHUNK_LEN as u64);
            for _ in 0..picks {
                let random = self.engine.draw();
                let store = &self.engine.store;
                self.engine.meter.charge(1);
                let entry = match sample.tree {
                    Some(tree) => match drawn(store, &tree, &sample, random) {
                        Some(entry) => Some(entry),
                        // Its time has come: another one is drawn.
                        None => {
                            sample.drawn += 1;
                            continue;
                        }
                    },
                    // Others may have changed a short one since the last slice.
                    None => match peek(store, (db, key), kind, self.now).unwrap_or_default() {
                        Some(Collection::Packed(packed)) => drawn_packed(&packed, &sample, random),
                        _ => None,
                    },
                };
                match entry {
                    Some(entry) => {
                        if self.out.room() < entry.size() + 3 * BULK_OVERHEAD_BYTES && !self.out.is_empty() {
                            held.retain(&mut self.engine.store);
                            return Ok(Flow::Yield(Continuation::Sample(sample)));
                        }
                        held.answer_entry(self.out, &entry, sample.parts);
                    }
                    None => {
                        let is_flat = sample.parts == Parts::Pairs && !self.out.has_pairs();
                        (0..if is_flat { 2 } else { 1 }).for_each(|_| self.out.null());
                    }
                }
                sample.next += 1;
                sample.drawn += 1;
            }
            held.retain(&mut self.engine.store);
        }
        if let Some(tree) = sample.tree {
            self.engine.store.tree_release(&tree);
        }
        Ok(Flow::Done)
    }

    /// Answers one entry's field, picked at random, or null.
    pub(in crate::engine) fn sample_one(
        &mut self,
        kind: CollectionKind,
        continuation: Option<Continuation>,
    ) -> Outcome<'a> {
        if let Some(Continuation::Sample(sample)) = continuation {
            return self.sample_on(kind, sample);
        }
        let key = self.bytes(1)?;
        let (db, now) = (self.session.db, self.now);
        let random = self.engine.draw();
        let (engine, out) = (&mut *self.engine, &mut *self.out);
        let found = find(engine, (db, key), kind, now)?;
        let entry = match found {
            None => None,
            Some((store, Collection::Tree(tree))) if has_expired(store, &Collection::Tree(tree), now) => {
                return self.sample_survivor(kind, tree, random);
            }
            Some((store, Collection::Tree(tree))) => {
                store.field_at(&Collection::Tree(tree), (random % u64::from(tree.len.max(1))) as usize)
            }
            Some((_, Collection::Packed(packed))) => {
                let len = packed.live_len(now).max(1) as u64;
                packed.entries().filter(|entry| entry.is_live(now)).nth((random % len) as usize)
            }
        };
        match entry.map(|entry| entry.field) {
            None => out.null(),
            Some(Item::Bytes(bytes)) => out.bulk(bytes),
            Some(Item::Large { id, len }) => self.answer_large(id, u64::from(len)),
        }
        Ok(Flow::Done)
    }

    /// The same for a tree that has entries whose time has come.
    fn sample_survivor(&mut self, kind: CollectionKind, tree: Tree, seed: u64) -> Outcome<'a> {
        self.engine.store.tree_retain(&tree);
        let sample = Sample {
            tree: Some(tree),
            seed,
            next: 0,
            drawn: 0,
            count: 1,
            is_distinct: false,
            is_one: true,
            parts: Parts::Fields,
            now: self.now,
            survey: Some(Drawn { next: 0, live: 0, pick: 0 }),
            spare: 0,
        };
        self.sample_on(kind, sample)
    }
}

/// The next entry of a sample. `None`: the time of the one that was drawn has come.
fn drawn<'s>(store: &'s Store, tree: &Tree, sample: &Sample, random: u64) -> Option<Entry<'s>> {
    let len = u64::from(tree.len.max(1));
    if sample.is_distinct {
        let entry = store.tree_entry(tree, permuted(sample.drawn, len, sample.seed) as u32);
        return Some(entry).filter(|entry| entry.is_live(sample.now));
    }
    let mut random = random;
    for _ in 0..DRAWS_MAX {
        let entry = store.tree_entry(tree, (random % len) as u32);
        if entry.is_live(sample.now) {
            return Some(entry);
        }
        random = random.rotate_left(23).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    Some(store.tree_entry(tree, sample.spare))
}

/// The same of a short collection; `None`: it has become shorter.
fn drawn_packed<'s>(packed: &Packed<'s>, sample: &Sample, random: u64) -> Option<Entry<'s>> {
    let len = packed.live_len(sample.now) as u64;
    let index = match len {
        0 => return None,
        _ if sample.is_distinct => permuted(sample.drawn, len, sample.seed),
        _ => random % len,
    };
    let now = sample.now;
    packed.entries().filter(move |entry| entry.is_live(now)).nth(index as usize)
}

/// Where a permutation of `0..len` that the seed chooses takes a number: four rounds of a Feistel network over the next power
/// of four, gone through again until it is below `len` (less than four times on average).
fn permuted(number: u64, len: u64, seed: u64) -> u64 {
    let half_bits = (u64::BITS - (len - 1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1 << half_bits) - 1;
    let mut number = number;
    loop {
        let (mut left, mut right) = (number >> half_bits, number & mask);
        for round in 0..4_u64 {
            let mixed = (right ^ seed.rotate_left(round as u32 * 16)).wrapping_add(round);
            let mixed = mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (left, right) = (right, left ^ (mixed >> 40) & mask);
        }
        number = left << half_bits | right;
        if number < len {
            return number;
        }
    }
}

#[cfg(test)]
mod tests;
