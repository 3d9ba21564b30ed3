//! Segments that are lent: while data does not need them, their memory serves clients' buffers and tables. What is lent is
//! no part of the pool meanwhile; its pages cost nothing here, so that the sum of both stays below the limit.
//!
//! ```text
//!  pool  | records, blocks, leaves | free      | lent        |
//!                                    <- take_back   lend ->
//! ```
//! Who borrows, and when data gets memory back, `server/shares.rs` decides.

use super::pool::SegmentId;
use super::room::Fill;
use super::{OnFull, RemovalPolicy, Store};
use crate::time::Millis;

/// Steps of making room that lending one segment may take.
const STEPS_A_SEGMENT: usize = 8;

impl Store {
    /// Lends up to `count` segments; how many it has lent. Where writes are refused when memory is full, only what data does not
    /// need now; where keys are evicted, keys go for it if `evict` says so, in a bounded number of steps.
    pub fn lend_segments(&mut self, count: u32, evict: bool, now: Millis) -> u32 {
        // What is loaded, or follows another store, is to fit as it did there. Of what lies in pages of 2 MiB nothing is lent, for
        // the system fills in the parts of one that were given back (khugepaged).
        if self.removal_policy == RemovalPolicy::Follow || self.config.huge_pages {
            return 0;
        }
        for lent in 0..count {
            let mut steps = 0;
            while !self.can_lend() {
                steps += 1;
                let evicts = evict && self.on_full() == OnFull::Evict && self.evicting_helps(1);
                if !evicts || steps > STEPS_A_SEGMENT || !self.reclaim_step(now, 1) {
                    return lent;
                }
            }
            let Some(segment) = self.pool.lend() else { return lent };
            self.lent.push(segment);
        }
        count
    }

    /// Takes up to `count` lent segments back.
    pub fn take_segments_back(&mut self, count: u32) {
        for _ in 0..count {
            let Some(SegmentId(id)) = self.lent.pop() else { return };
            self.pool.take_back(SegmentId(id));
        }
    }

    /// Segments that are lent.
    #[inline]
    pub fn lent_segments(&self) -> u32 {
        self.lent.len() as u32
    }

    /// Segments that data would not miss just now: in refuse mode, before a write is refused; in evict mode, before a key
    /// goes. And how many that were if the store were empty.
    pub fn lendable_segments(&self) -> (u32, u32) {
        let (left, all) = self.writable_now();
        let segments = |bytes: u64| (bytes / self.config.segment_bytes as u64) as u32;
        (segments(left), segments(all))
    }

    /// Of the lent segments, so many cannot be had back as things stand: they count as used.
    pub fn note_lent_in_use(&mut self, segments: u32) {
        self.lent_in_use = segments;
    }

    /// Bytes of a segment, the unit of what is lent.
    #[must_use]
    pub fn segment_bytes(&self) -> usize {
        self.config.segment_bytes
    }

    /// Whether a segment more can be lent as things stand.
    fn can_lend(&self) -> bool {
        self.spare_segments() > self.low_watermark()
            && (self.on_full() == OnFull::Evict || self.live() <= self.limit_of(Fill::Data, 1))
    }
}
