//! What holds of the at-most-once table after every call, for tests and the simulator.

use super::*;
use std::collections::HashMap;

impl Sessions {
    /// Asserts what must always hold; walks over everything, for tests.
    ///
    /// # Panics
    /// If it does not hold.
    pub fn invariants(&self) {
        assert!(self.heads.len() <= self.clients_max && self.heads.capacity() == self.clients_max);
        assert_eq!(self.slots.len(), self.heads.len() * UDP_WINDOW);
        assert_eq!(self.slots.capacity(), self.clients_max * UDP_WINDOW);
        let mut holders = HashMap::new();
        for (list, has_written) in [(self.written, true), (self.unwritten, false)] {
            let mut at = list.oldest;
            let (mut count, mut before, mut active) = (0, NONE, Millis(0));
            while at != NONE {
                let head = &self.heads[at as usize];
                assert_eq!((head.older, head.has_written), (before, has_written));
                assert!(head.active >= active && (1..=self.opened).contains(&head.number));
                assert_eq!(self.find(head.client_id), Some(SessionIndex(at)));
                let slots = &self.slots[at as usize * UDP_WINDOW..][..UDP_WINDOW];
                assert_eq!(slots.iter().any(|slot| slot.sequence > 0), has_written);
                for (index, slot) in slots.iter().enumerate().filter(|(_, slot)| slot.sequence > 0) {
                    assert_eq!(slot.sequence as usize % UDP_WINDOW, index);
                }
                for holder in [Some(head.address), head.stream].into_iter().flatten() {
                    *holders.entry(holder).or_insert(0) += 1;
                }
                (count, before, active, at) = (count + 1, at, head.active, head.newer);
            }
            assert_eq!((count, before), (list.len, list.newest));
        }
        assert_eq!(self.opened - self.dropped, self.len() as u64);
        assert_eq!(self.places.iter().filter(|place| **place != NONE).count(), self.len());
        assert_eq!(self.shares.holders_count(), holders.len());
        for (holder, count) in holders {
            assert_eq!(self.shares.count(holder), count);
        }
        let mut at = self.free;
        let mut free_count = 0;
        while at != NONE {
            (free_count, at) = (free_count + 1, self.heads[at as usize].newer);
        }
        assert_eq!(free_count + self.len(), self.heads.len());
    }
}
