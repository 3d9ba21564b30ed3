//! What always holds in a store, as assertions; tests and the simulator run them after every step.

use super::pool::SegmentId;
use super::record::{self, Record};
use super::segments::State;
use super::{Store, address};

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
        assert_eq!(parts + memory.large_free + memory.reserved, memory.limit);
        self.record_invariants();
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
                    if let Some(expiry) = record.expiry {
                        assert!((row.min_expiry..=row.max_expiry).contains(&expiry.0));
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
