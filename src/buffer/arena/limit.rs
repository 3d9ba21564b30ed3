//! How much of an arena's memory may be used, and how that changes: memory above the limit belongs to no block.
//!
//! ```text
//!  units | taken | free | taken | free            | of no block          |
//!        0                                        ^ limit                ^ all
//!                        shrinks as far as <------|-----> grows
//!                        what is free reaches
//! ```

use super::{Arena, BUFFER_UNIT_BYTES, ORDERS, RING_ORDER, State};
use crate::pages;

impl Arena {
    /// Bytes that may be used at most: what was reserved.
    #[must_use]
    pub fn ceiling(&self) -> usize {
        self.memory.len()
    }

    /// The most bytes that were taken at once since this was asked last.
    pub fn take_peak(&mut self) -> usize {
        std::mem::replace(&mut self.peak, self.used)
    }

    /// Raises the limit to `bytes`, rounded down to whole units, or to all that was reserved.
    pub fn grow_to(&mut self, bytes: usize) {
        let limit = (bytes / BUFFER_UNIT_BYTES).min(self.states.len());
        if limit <= self.limit {
            return;
        }
        let from = std::mem::replace(&mut self.limit, limit);
        self.free_between(from, limit);
    }

    /// Has those that starve look again.
    pub fn note_return(&mut self) {
        self.returns += 1;
    }

    /// Lowers the limit to `bytes`, rounded up to whole units, or as far as there are free blocks below it; the pages of what it
    /// leaves go back to the system. Says by how many bytes.
    pub fn shrink_to(&mut self, bytes: usize) -> usize {
        let (target, before) = (bytes.div_ceil(BUFFER_UNIT_BYTES).max(1 << RING_ORDER), self.limit);
        if target >= before {
            return 0;
        }
        while self.spare_count > 0 {
            self.spare_count -= 1;
            self.join(self.spares[self.spare_count], RING_ORDER);
        }
        while self.limit > target {
            let Some((unit, order)) = self.last_free() else { break };
            self.unlink(unit, order);
            let kept_until = target.max(unit as usize);
            self.limit = kept_until;
            self.free_between(unit as usize, kept_until);
        }
        pages::discard(&mut self.memory[self.limit * BUFFER_UNIT_BYTES..before * BUFFER_UNIT_BYTES]);
        (before - self.limit) * BUFFER_UNIT_BYTES
    }

    /// The free block that ends at the limit.
    fn last_free(&self) -> Option<(u32, usize)> {
        let order_max = (self.limit.trailing_zeros() as usize).min(ORDERS - 1);
        (0..=order_max).find_map(|order| {
            let unit = self.limit.checked_sub(1 << order)?;
            (self.states[unit] == State::free(order).0).then_some((unit as u32, order))
        })
    }
}
