//! What always holds in a store, as assertions; tests and the simulator run them after every step.

use super::collection::{Collection, page};
use super::pool::SegmentId;
use super::record::{self, Content, Record};
use super::segments::State;
use super::{Store, address};
use crate::mutation::{PageId, Tree};
use std::collections::HashMap;

impl Store {
    /// Asserts that everything agrees with everything else. For tests: it walks the whole store.
    pub fn invariants(&self) {
        self.pool.invariants();
        self.table.invariants();
        self.larges.invariants(&self.table);
        self.feed.invariants();
        self.leaves.invariants(self.keyspaces.iter().map(|space| &space.index));
        let memory = self.memory();
        let parts = memory.live + memory.dead + memory.tail + memory.free + memory.index + memory.large;
        assert_eq!(parts + memory.large_free + memory.lent + memory.reserved, memory.limit);
        self.record_invariants();
        self.tree_invariants();
    }

    /// The trees of all records are in order, counts agree, and pages have at least the references that are seen.
    fn tree_invariants(&self) {
        let mut seen = HashMap::new();
        for id in (0..self.table.len()).map(SegmentId) {
            let row = self.table.get(id);
            let (mut offset, holds) = (0, matches!(row.state, State::Open | State::Sealed));
            while holds && offset < row.used as usize {
                let record = Record::read(&self.pool.bytes(id)[offset..]);
                if let (false, Content::Collection(bytes)) = (record.dead, record.content) {
                    match Collection::read(bytes) {
                        Collection::Packed(packed) => {
                            assert_eq!(packed.entries().count(), packed.len());
                            let larges = packed.entries().flat_map(|entry| entry.larges());
                            larges.for_each(|id| assert!(self.larges.references(id) > 0));
                        }
                        Collection::Tree(tree) => self.check_tree(&tree, &mut seen),
                    }
                }
                offset += record.size();
            }
        }
        for (page, references) in seen {
            assert!(self.larges.pages().references(page) >= references);
        }
    }

    fn check_tree(&self, tree: &Tree, seen: &mut HashMap<PageId, u32>) {
        let mut last = 0;
        let (count, pages) = self.check_page((tree.root, tree.height - 1), tree, &mut last, seen);
        assert_eq!((count, pages), (tree.len, tree.page_count));
        let has_times = page::due(self.page(tree.root)) != page::NEVER;
        assert!(tree.due != page::NEVER || !has_times, "a tree with times is visited");
    }

    /// Checks what is below a page; entries and pages.
    fn check_page(
        &self,
        (id, level): (PageId, u8),
        tree: &Tree,
        last: &mut u64,
        seen: &mut HashMap<PageId, u32>,
    ) -> (u32, u32) {
        *seen.entry(id).or_default() += 1;
        // What is below a shared page was seen with it.
        let is_first = seen[&id] == 1;
        let bytes = self.page(id);
        assert_eq!((page::level(bytes), page::has_values(bytes)), (level, tree.kind.has_values()));
        assert!(page::filled(bytes) <= page::capacity(bytes.len()));
        if level == 0 {
            for index in 0..page::count(bytes) {
                let entry = page::entry(bytes, index);
                let place = self.place_of_entry(&entry);
                assert!(place >= *last, "entries are in order");
                *last = place;
                assert_eq!(entry.size(), page::entry_bytes(bytes, index).len());
                assert!(entry.expiry.is_none() || page::has_times(bytes));
                assert!(entry.larges().next().is_none() || page::has_larges(bytes));
                entry.larges().for_each(|id| assert!(self.larges.references(id) > 0));
            }
            return (page::count(bytes) as u32, 1);
        }
        let (mut count, mut pages) = (0, 1);
        for index in 0..page::count(bytes) {
            let child = page::child(bytes, index);
            assert!(index == 0 || child.low >= *last, "a child's entries are not before its least place");
            if index > 0 {
                *last = child.low;
            }
            let mut unseen = HashMap::new();
            let seen = if is_first { &mut *seen } else { &mut unseen };
            let below = self.check_page((child.page, level - 1), tree, last, seen);
            assert!(child.due <= page::due(self.page(child.page)), "nothing is due before its bound");
            assert_eq!(below.0, child.count);
            (count, pages) = (count + below.0, pages + below.1);
        }
        (count, pages)
    }

    /// Every record that lives is in its index once, and sums are as counted.
    fn record_invariants(&self) {
        let mut seen = vec![(0_u64, 0_u64, 0_u64); self.keyspaces.len()];
        let mut pending_free_bytes = 0;
        for id in (0..self.table.len()).map(SegmentId) {
            let row = self.table.get(id);
            let (mut offset, mut live) = (0, 0);
            let holds = matches!(row.state, State::Open | State::Sealed);
            while holds && offset < row.used as usize {
                let record = Record::read(&self.pool.bytes(id)[offset..]);
                let (space, size) = (usize::from(record.space), record.size());
                if !record.dead {
                    assert!(!record::is_pinned(&self.pool.bytes(id)[offset..]), "nothing stays pinned");
                    live += size;
                    if record.revision <= self.keyspaces[space].flushed {
                        pending_free_bytes += size as u64;
                    } else {
                        let found = self.locate(space, self.hasher.hash(record.key), record.key);
                        assert_eq!(found, Some(address(&self.pool, id, offset)));
                        seen[space].0 += 1;
                        seen[space].1 += size as u64;
                        seen[space].2 += u64::from(record.expiry.is_some());
                    }
                    for time in self.meta(id, offset).times() {
                        assert!((row.min_expiry..=row.max_expiry).contains(&time.0));
                    }
                }
                offset += size;
            }
            assert_eq!(live, row.live as usize);
            assert!(row.state != State::Sealed || live > 0, "a segment without life is free");
        }
        assert_eq!(pending_free_bytes, self.pending_free_bytes);
        for (space, (len, live, expiring)) in self.keyspaces.iter().zip(seen) {
            assert_eq!((space.index.len(), space.live, space.expiring), (len, live, expiring));
        }
    }
}
