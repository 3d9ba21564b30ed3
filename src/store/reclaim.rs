//! Making room in bounded steps: work that is due whether memory is short or not, then cleaning, then eviction; and how much
//! of it a write takes on.

use super::room::STEPS_MAX;
use super::{OnFull, Store};
use crate::mutation::Refused;
use crate::time::Millis;

/// Steps of freeing what is of no use that one write takes on, at most.
const RECLAIM_STEPS_MAX: usize = 4;
/// Pages of collections that are freed in one step.
const PAGES_A_STEP: usize = 8;

impl Store {
    /// Does work that is due, in bounded steps, until `fits` says that there is room.
    pub(super) fn reclaim_until(
        &mut self,
        now: Millis,
        fits: impl Fn(&Store) -> bool,
    ) -> Result<(), Refused> {
        let mut steps = 0;
        loop {
            if fits(self) {
                return Ok(());
            }
            steps += 1;
            let progress = steps <= STEPS_MAX && self.reclaim_due(now);
            if !progress && !self.sweep_expired(now) {
                return self.refuse();
            }
        }
    }

    /// One step of work that is due whether memory is short or not. False: nothing is.
    pub(super) fn reclaim_due(&mut self, now: Millis) -> bool {
        if self.larges.has_pending_free() {
            return self.larges.release_step(16, &mut self.pool, &mut self.table);
        }
        if self.larges.pages().has_pending() {
            (0..PAGES_A_STEP).for_each(|_| self.free_pending_page());
            return true;
        }
        if self.leaves.has_pending_free() {
            // Records that were flushed are known by their revision, so their addresses are not needed.
            self.leaves.drain_pending_free(4, |_| {});
            return true;
        }
        let keep = self.leaves.blocks_per_segment();
        if let Some(segment) = self.pool.reclaim_from_leaves(keep) {
            self.table.freed(segment);
            return true;
        }
        self.sweep_step(now)
    }

    /// One step towards more free segments while there are few. False: there are enough, or no more can be had.
    pub(super) fn compact_ahead(&mut self, now: Millis) -> bool {
        self.spare_segments() < self.low_watermark()
            && (self.compact_step() || self.clean_step(now, 2).is_some())
    }

    /// Whether [`maintain`](Store::maintain) has something to do.
    pub(super) fn has_work(&self, now: Millis) -> bool {
        let short = self.spare_segments() < self.low_watermark();
        self.larges.has_pending_free()
            || self.larges.pages().has_pending()
            || self.leaves.has_pending_free()
            || self.sweep_is_due(now)
            || self.has_to_withhold()
            || short && (self.victim.is_some() || self.table.most_garbage(2).is_some())
    }

    /// Packs blocks of large values and leaves of the index, so that whole segments fall free. False: they are packed.
    fn compact_step(&mut self) -> bool {
        self.larges.compact_step(8, &mut self.pool, &mut self.table) || self.leaves.compact_step(4)
    }

    /// One step towards a free segment, whatever it takes. False: there is none to be had.
    pub(super) fn reclaim_step(&mut self, now: Millis, dead_steps: usize) -> bool {
        if self.larges.has_pending_free() {
            return self.reclaim_due(now);
        }
        // A segment with a fair share of dead records gives more than going on with a sweep.
        if self.clean_step(now, 4).is_some() || self.reclaim_due(now) || self.compact_step() {
            return true;
        }
        match self.on_full() {
            OnFull::Refuse => self.clean_step(now, dead_steps).is_some() || self.seal_garbage(),
            // Cleaning costs copies and gives little; a key that is not used costs a miss.
            OnFull::Evict => self.evict_step(now).is_some(),
        }
    }

    /// Does the cleaning that `bytes` of new records owe: the more, the fewer segments are free, so that it never comes
    /// all at once.
    pub(super) fn gc_assist(&mut self, bytes: usize, now: Millis) {
        let low_watermark = u64::from(self.low_watermark());
        let mut free = u64::from(self.spare_segments());
        if free >= low_watermark {
            self.gc_debt = 0;
            return;
        }
        self.note_growth();
        // What is of no use any more comes first: nothing is evicted, or moved, while that gives enough.
        for _ in 0..RECLAIM_STEPS_MAX {
            let has_garbage = self.larges.has_pending_free()
                || self.larges.pages().has_pending()
                || self.leaves.has_pending_free()
                || self.pending_free_bytes > 0;
            if free >= low_watermark || !has_garbage {
                break;
            }
            self.reclaim_due(now);
            free = u64::from(self.spare_segments());
        }
        if free >= low_watermark {
            self.gc_debt = 0;
            return;
        }
        self.gc_debt += bytes as u64 * (low_watermark - free) * 16 / low_watermark;
        self.gc_debt = self.gc_debt.min(self.config.segment_bytes as u64);
        while self.gc_debt >= self.config.segment_bytes as u64 / 16 {
            let done = match self.on_full() {
                OnFull::Refuse => self.clean_step(now, 2),
                OnFull::Evict => self.clean_step(now, 4).or_else(|| self.evict_step(now)),
            };
            let Some(done) = done else {
                self.gc_debt = 0;
                return;
            };
            self.gc_debt = self.gc_debt.saturating_sub(done as u64);
        }
    }
}
