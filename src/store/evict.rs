//! Eviction: S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023) over segments.
//!
//! ```text
//!  new records --> small queue (a tenth) --oldest segment--> used since? --yes--> main queue --oldest--> used since?
//!                                                              | no                  ^                  |yes    | no
//!                                                              v                     +----- count - 1 --+       v
//!                                                            evict                                            evict
//! ```
//! A queue is the sealed segments of a kind in the order in which they were sealed, and evicting from it is cleaning its
//! oldest one while throwing away what was not used. Uses are counted up to three in the index entry.

use super::index::Address;
use super::segments::{MOVED, Queue};
use super::{Store, bytes_at, clean::RecordMeta, clean::Victim, record};
use crate::time::Millis;

/// Sealed segments out of which one belongs to the small queue.
const SMALL_SHARE: u32 = 10;
/// Segments' worth of records that may be kept in a row, without a segment gained, before uses stop counting.
const KEPT_SEGMENTS_MAX: u64 = 4;

impl Store {
    /// Goes on evicting, or begins with the oldest segment of a queue. Returns what it cost, in
    /// bytes; `None`: nothing is left to evict.
    pub(super) fn evict_step(&mut self, now: Millis) -> Option<usize> {
        if self.victim.is_none() {
            let (small, main) = (self.table.queue_len(Queue::Small), self.table.queue_len(Queue::Main));
            let queue = if small * SMALL_SHARE >= small + main { Queue::Small } else { Queue::Main };
            // The chosen queue is empty only if both are: records of large values are so few that they may all be in
            // open segments.
            let segment = self.table.oldest(queue).or_else(|| self.seal_any())?;
            self.victim = Some(Victim { segment, offset: 0, evict: true });
        }
        self.victim_step(now)
    }

    /// Whether a record of the victim is kept, and in which class.
    pub(super) fn survives(
        &mut self,
        victim: &Victim,
        at: Address,
        hash: u64,
        meta: &RecordMeta,
    ) -> Option<usize> {
        if self.protected == Some((meta.space, hash)) || record::is_pinned(bytes_at(&self.pool, at)) {
            return Some(MOVED);
        }
        let index = &mut self.keyspaces[meta.space].index;
        let uses = index.frequency(&self.leaves, hash, at).unwrap_or(0);
        let limit = KEPT_SEGMENTS_MAX * self.config.segment_bytes as u64;
        if uses == 0 || self.kept > limit {
            self.kept = self.kept.saturating_sub(meta.size as u64 * KEPT_SEGMENTS_MAX);
            return None;
        }
        self.kept += meta.size as u64;
        self.counters.kept_bytes += meta.size as u64;
        let left = if self.table.queue_of(victim.segment) == Queue::Small { 0 } else { uses - 1 };
        index.set_frequency(&mut self.leaves, hash, at, left);
        Some(MOVED)
    }
}
