//! Who holds which key in a cache of its own: a table of fixed size, eight bytes for each key and client.
//!
//! ```text
//! set     | entry | entry | … eight of them, the latest first |        the low bits of a key's hash choose the set
//! entry   | 40 bits: the high bits of the hash | 16 bits: the client's row | 8 bits: the client's generation |
//! ```
//! Names are not kept: a change tells its own key. Two keys are taken for one where set and bits agree, which is so for one
//! pair in 2^50 and more under a secret hash.
//!
//! **Displaced entries.** Where a set is full its oldest entry goes, and the table no longer knows which key that was: so its
//! client is told to drop all that it holds. False alarms are harmless, silence is not. Then the client's generation
//! moves on, and with it all of its entries are free at once.

/// Entries of a set: one line of the processor's cache.
const WAYS: usize = 8;
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
    /// Entries that are taken, those of older generations included.
    taken: usize,
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
            taken: 0,
        }
    }

    /// Entries that are taken, and all.
    pub(super) fn usage(&self) -> (usize, usize) {
        (self.taken, self.entries.len())
    }

    fn set_of(&self, hash: u64) -> usize {
        (hash as usize & (self.entries.len() / WAYS - 1)) * WAYS
    }

    fn entry(&self, hash: u64, row: Row) -> u64 {
        hash >> 24 << 24 | u64::from(row.0) << 8 | u64::from(self.generations[usize::from(row.0)])
    }

    fn is_live(&self, entry: u64) -> bool {
        entry != 0 && self.generations[usize::from((entry >> 8) as u16)] == entry as u8
    }

    /// Notes that a client has read a key. The client whose entry had to go for it, if one had to.
    pub(super) fn note(&mut self, hash: u64, row: Row) -> Option<Row> {
        let (set, entry) = (self.set_of(hash), self.entry(hash, row));
        let mut free = None;
        for at in set..set + WAYS {
            let found = self.entries[at];
            if found == entry {
                return None;
            }
            if free.is_none() && !self.is_live(found) {
                free = Some(at);
            }
        }
        if let Some(at) = free {
            self.taken += usize::from(self.entries[at] == 0);
            self.entries[at] = entry;
            return None;
        }
        let oldest = self.entries[set + WAYS - 1];
        self.entries.copy_within(set..set + WAYS - 1, set + 1);
        self.entries[set] = entry;
        Some(Row((oldest >> 8) as u16))
    }

    /// A key has changed: takes its entries out, and calls `tell` with each client that held it.
    pub(super) fn take(&mut self, hash: u64, mut visit: impl FnMut(Row)) {
        let set = self.set_of(hash);
        for at in set..set + WAYS {
            let found = self.entries[at];
            if found != 0 && found >> 24 == hash >> 24 {
                if self.is_live(found) {
                    visit(Row((found >> 8) as u16));
                }
                self.entries[at] = 0;
                self.taken -= 1;
            }
        }
    }

    /// The client holds nothing any more.
    pub(super) fn forget(&mut self, row: Row) {
        let generation = &mut self.generations[usize::from(row.0)];
        *generation = generation.wrapping_add(1);
    }
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
    fn nobody_who_holds_a_key_is_ever_left_without_word_of_its_change() {
        let mut random = Random(3);
        // Far too small.
        let mut table = KeyTable::new(1024, 5);
        let mut held: BTreeMap<u16, BTreeSet<u64>> = BTreeMap::new();
        let keys: Vec<u64> = (0..400).map(|_| random.next()).collect();
        let mut displaced = 0;
        for _ in 0..20_000 {
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
