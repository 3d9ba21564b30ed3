//! Who holds which key in a cache of its own: a table of fixed size, eight bytes for each key and client.
//!
//! ```text
//! set     | entry | entry | … eight of them |        a key's hash chooses two sets, of which the emptier one takes it
//! entry   | 40 bits: the high bits of the hash | 16 bits: the client's row | 8 bits: the client's generation |
//! ```
//! Names are not kept: a change tells its own key. Two keys are taken for one where a set and bits agree, which is so for one
//! pair in 2^50 and more under a secret hash.
//!
//! **Displaced entries.** Where both sets are full, which is rare before three quarters of the table are, an entry goes, and
//! the table no longer knows which key that was: so its client is told to drop all that it holds. False alarms are
//! harmless, silence is not. Then the client's generation moves on, and with it all of its entries are free at once, as
//! they are when the client goes. A hand that moves on with each such step clears them, once round before a generation
//! comes again.

/// Entries of a set: one line of the processor's cache.
const WAYS: usize = 8;
/// Steps of a generation in which the hand comes round; fewer than there are generations.
const STEPS_ROUND: usize = 128;
/// Rows of clients are distinguished by 16 bits; row 0 is never used, so that no entry is all zeros.
pub(super) const ROWS_MAX: usize = u16::MAX as usize - 1;

/// A client's row, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row(pub u16);

/// The table; touched as keys are read.
pub(super) struct KeyTable {
    entries: Box<[u64]>,
    /// Of each row, what its entries must have to count.
    generations: Box<[u8]>,
    /// Of each row, how many of its entries count.
    counts: Box<[u32]>,
    /// The sum of them.
    taken: usize,
    /// Where the hand is that clears what does not count.
    hand: usize,
}

impl KeyTable {
    /// A table of at most so many bytes, for clients in rows up to `rows`.
    pub(super) fn new(bytes: usize, rows: usize) -> KeyTable {
        let sets = (bytes / (WAYS * size_of::<u64>())).max(1);
        // A power of two, the larger one that fits.
        let sets = 1 << sets.ilog2();
        KeyTable {
            entries: vec![0; sets * WAYS].into_boxed_slice(),
            generations: vec![0; rows + 1].into_boxed_slice(),
            counts: vec![0; rows + 1].into_boxed_slice(),
            taken: 0,
            hand: 0,
        }
    }

    /// Entries that clients have, and all.
    pub(super) fn usage(&self) -> (usize, usize) {
        (self.taken, self.entries.len())
    }

    /// Where the two sets of a key begin; they may be one.
    fn sets_of(&self, hash: u64) -> [usize; 2] {
        let mask = self.entries.len() / WAYS - 1;
        // Where the upper bits agree, both agree only with the lower ones.
        [hash, hash ^ hash >> 40].map(|hash| (hash as usize & mask) * WAYS)
    }

    fn entry(&self, hash: u64, row: Row) -> u64 {
        hash >> 24 << 24 | u64::from(row.0) << 8 | u64::from(self.generations[usize::from(row.0)])
    }

    fn is_live(&self, entry: u64) -> bool {
        entry != 0 && self.generations[usize::from((entry >> 8) as u16)] == entry as u8
    }

    /// Notes that a client has read a key. The client whose entry had to go for it, if one had to.
    pub(super) fn note(&mut self, hash: u64, row: Row) -> Option<Row> {
        let (sets, entry) = (self.sets_of(hash), self.entry(hash, row));
        // The set with more free places, how many, and one of them.
        let mut best = (0, 0);
        for set in sets {
            let mut free = (0, 0);
            for at in set..set + WAYS {
                let found = self.entries[at];
                if found == entry {
                    return None;
                }
                if !self.is_live(found) {
                    free = (free.0 + 1, at);
                }
            }
            best = best.max(free);
        }
        self.count(row);
        if best.0 > 0 {
            self.entries[best.1] = entry;
            return None;
        }
        // In turn, by what varies from key to key.
        let at = sets[0] + (hash >> 29) as usize % WAYS;
        let displaced = self.entries[at];
        self.uncount(displaced);
        self.entries[at] = entry;
        Some(row_of(displaced))
    }

    /// A key has changed: takes its entries out, and calls `tell` with each client that held it.
    pub(super) fn take(&mut self, hash: u64, mut visit: impl FnMut(Row)) {
        for set in self.sets_of(hash) {
            for at in set..set + WAYS {
                let found = self.entries[at];
                if found != 0 && found >> 24 == hash >> 24 {
                    if self.is_live(found) {
                        visit(row_of(found));
                        self.uncount(found);
                    }
                    self.entries[at] = 0;
                }
            }
        }
    }

    /// The client holds nothing any more.
    pub(super) fn forget(&mut self, row: Row) {
        let generation = &mut self.generations[usize::from(row.0)];
        *generation = generation.wrapping_add(1);
        self.taken -= std::mem::take(&mut self.counts[usize::from(row.0)]) as usize;
        self.clear_step();
    }

    /// Nobody holds anything any more.
    pub(super) fn forget_all(&mut self) {
        self.entries.fill(0);
        self.counts.fill(0);
        self.taken = 0;
    }

    /// Clears what does not count of the next part of the table. Every entry of a generation that has ended is met before
    /// that generation comes again, or it would count again.
    fn clear_step(&mut self) {
        let end = (self.hand + self.entries.len().div_ceil(STEPS_ROUND)).min(self.entries.len());
        for at in self.hand..end {
            if !self.is_live(self.entries[at]) {
                self.entries[at] = 0;
            }
        }
        self.hand = if end == self.entries.len() { 0 } else { end };
    }

    fn count(&mut self, row: Row) {
        self.counts[usize::from(row.0)] += 1;
        self.taken += 1;
    }

    fn uncount(&mut self, entry: u64) {
        self.counts[usize::from(row_of(entry).0)] -= 1;
        self.taken -= 1;
    }
}

fn row_of(entry: u64) -> Row {
    Row((entry >> 8) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::{BTreeMap, BTreeSet};

    fn holders(table: &mut KeyTable, hash: u64) -> BTreeSet<u16> {
        let mut rows = BTreeSet::new();
        table.take(hash, |row| assert!(rows.insert(row.0), "told once"));
        rows
    }

    #[test]
    fn those_who_hold_a_key_are_told_once() {
        let mut table = KeyTable::new(4096, 10);
        let hash = 0x1234_5678_9abc_def0;
        for row in [1, 2, 1, 10] {
            assert_eq!(table.note(hash, Row(row)), None);
        }
        assert_eq!(table.usage().0, 3);
        // Another key of the same set.
        assert_eq!(table.note(hash ^ 1 << 40, Row(3)), None);
        assert_eq!(holders(&mut table, hash), BTreeSet::from([1, 2, 10]));
        assert_eq!(holders(&mut table, hash), BTreeSet::new());
        table.note(hash, Row(2));
        table.forget(Row(2));
        assert_eq!(holders(&mut table, hash), BTreeSet::new());
    }

    #[test]
    fn a_client_that_forgets_has_nothing_and_gets_nothing_back_when_its_generation_comes_again() {
        let mut table = KeyTable::new(4096, 10);
        let mut random = Random(5);
        for round in 0..1000 {
            let (of_one, of_other) = (random.next(), random.next());
            assert_eq!((table.note(of_one, Row(1)), table.note(of_other, Row(2))), (None, None));
            assert_eq!(table.usage().0, 2, "{round}");
            table.forget(Row(1));
            assert_eq!(table.usage().0, 1, "{round}");
            assert_eq!(holders(&mut table, of_one), BTreeSet::new());
            if round % 2 == 0 {
                assert_eq!(holders(&mut table, of_other), BTreeSet::from([2]));
            } else {
                table.forget_all();
                assert_eq!(holders(&mut table, of_other), BTreeSet::new());
            }
            assert_eq!(table.usage().0, 0);
        }
        // One that nobody changes, round after round.
        table.note(7 << 24, Row(1));
        for round in 0..1000 {
            table.forget(Row(1));
            assert_eq!(table.usage().0, 0, "{round}");
            let live = table.entries.iter().filter(|entry| table.is_live(**entry)).count();
            assert_eq!(live, 0, "{round}");
        }
    }

    #[test]
    fn nobody_who_holds_a_key_is_ever_left_without_word_of_its_change() {
        let mut random = Random(3);
        // Far too small.
        let mut table = KeyTable::new(1024, 5);
        let mut held: BTreeMap<u16, BTreeSet<u64>> = BTreeMap::new();
        let keys: Vec<u64> = (0..400).map(|_| random.next()).collect();
        let mut displaced = 0;
        for _ in 0..20_000 {
            let live = table.entries.iter().filter(|entry| table.is_live(**entry)).count();
            assert_eq!(table.usage().0, live);
            let hash = keys[random.below(keys.len())];
            if random.below(3) == 0 {
                let found = holders(&mut table, hash);
                for (row, keys) in &mut held {
                    assert!(!keys.remove(&hash) || found.contains(row), "row {row} was not visited");
                }
            } else {
                let row = 1 + random.below(5) as u16;
                if let Some(victim) = table.note(hash, Row(row)) {
                    displaced += 1;
                    table.forget(victim);
                    held.remove(&victim.0);
                    // Its own entry may have gone as well.
                    if victim.0 == row {
                        continue;
                    }
                }
                held.entry(row).or_default().insert(hash);
            }
        }
        assert!(displaced > 10);
    }
}
