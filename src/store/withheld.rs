//! A memory limit that was lowered while the store runs: segments that are not used until it is raised again.
//!
//! Where writes are refused when memory is full, the lower limit holds at once: what is above it stays, and nothing comes
//! to it. Where keys are evicted, they go in the slices between turns, so that no write waits for all of them.

use super::fill::UNEVICTABLE_SEGMENTS;
use super::{OnFull, RESERVE_SEGMENTS, Store};
use crate::time::Millis;

/// Segments that are withheld.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Withheld {
    /// As many as the limit asks for.
    pub wanted: u32,
    /// Of the free ones, those that eviction has been made to leave alone; always 0 where writes are refused.
    pub taken: u32,
    /// Nothing more could be evicted when it was last tried.
    is_stuck: bool,
}

impl Store {
    /// Leaves so many bytes of the store's memory unused from now on; 0: none.
    pub fn withhold(&mut self, bytes: u64) {
        let segments = bytes.div_ceil(self.config.segment_bytes as u64);
        let kept = match self.on_full() {
            OnFull::Refuse => RESERVE_SEGMENTS,
            OnFull::Evict => RESERVE_SEGMENTS + UNEVICTABLE_SEGMENTS as u32,
        };
        let most = self.pool.segment_count().saturating_sub(kept);
        let wanted = u32::try_from(segments).unwrap_or(u32::MAX).min(most);
        self.withheld = Withheld { wanted, taken: self.withheld.taken.min(wanted), is_stuck: false };
    }

    /// Free segments that may be used.
    pub(super) fn spare_segments(&self) -> u32 {
        self.pool.free_count().saturating_sub(self.withheld.taken)
    }

    /// Whether [`withhold_step`](Store::withhold_step) has something to do.
    pub(super) fn has_to_withhold(&self) -> bool {
        let Withheld { wanted, taken, is_stuck } = self.withheld;
        taken < wanted && !is_stuck && self.on_full() == OnFull::Evict
    }

    /// One step towards the lower limit: takes a free segment, or makes one. False: it is reached, or as near as can be.
    pub(super) fn withhold_step(&mut self, now: Millis) -> bool {
        if !self.has_to_withhold() {
            return false;
        }
        if self.spare_segments() > self.low_watermark() {
            self.withheld.taken += 1;
            return true;
        }
        self.withheld.is_stuck = !self.reclaim_step(now, 1);
        !self.withheld.is_stuck
    }

    /// Keys came: there may be something to evict again.
    pub(super) fn note_growth(&mut self) {
        self.withheld.is_stuck = false;
    }
}
