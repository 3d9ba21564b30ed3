//! How full the store may be: what a change may take at all, and what is left free for cleaning and for values that replace
//! others.
//!
//! In refuse mode a change is permitted when, after it, live records fill at most 90 % of the segments that
//! the log can have: then cleaning always gains. A few segments are in reserve for cleaning itself.

use super::index::Address;
use super::record::Content;
use super::room::{Fill, Want};
use super::segments::{BLOCKS, State};
use super::{OnFull, RESERVE_SEGMENTS, Store};
use crate::mutation::{Database, LargeId, Refused};
use crate::time::Millis;

/// Hundredths of the log that live records may fill.
const FILL_MAX: u64 = 90;
/// The same for what a full store is to take all the same: a time to live, another name.
const FILL_MAX_OF_RESERVE: u64 = 97;
/// Segments that data leaves free within those hundredths, where writes are refused when memory is full: values that are
/// to replace others as long take them while the old ones are still there. A value of 1 MiB, its last blocks in a slab of
/// their own, and three to spare, for what the store's geometry leaves unused.
const REPLACING_SEGMENTS_MAX: u32 = 20;
/// One part in so many of a small store is left free for that, at most.
const REPLACING_SHARE: u32 = 12;
/// Segments that stay taken however many keys are evicted: the reserve, open segments, the index.
pub(super) const UNEVICTABLE_SEGMENTS: u64 = 8;

impl Store {
    /// Bytes of live records that the log may hold when large values have `extra` segments more.
    fn log_limit(&self, extra: u64) -> u64 {
        self.data_limit(self.log_bytes(extra).saturating_sub(self.withheld_bytes()))
    }

    /// Bytes of live records that a log of `log` bytes may hold. The tenth that is kept free for cleaning serves values
    /// that replace others, too: only where large values leave the log little is there anything more to keep free. So do
    /// segments that a lowered limit withholds.
    fn data_limit(&self, log: u64) -> u64 {
        let replacing = match self.config.on_full {
            OnFull::Refuse => (self.pool.segment_count() / REPLACING_SHARE)
                .min(REPLACING_SEGMENTS_MAX)
                .saturating_sub(self.withheld.wanted),
            // It has eviction to make room.
            OnFull::Evict => 0,
        };
        let replacing = u64::from(replacing) * self.config.segment_bytes as u64;
        (log / 100 * FILL_MAX).min((log / 100 * FILL_MAX_OF_RESERVE).saturating_sub(replacing))
    }

    fn withheld_bytes(&self) -> u64 {
        u64::from(self.withheld.wanted) * self.config.segment_bytes as u64
    }

    pub(super) fn limit_of(&self, fill: Fill, extra: u64) -> u64 {
        match fill {
            Fill::Data => self.log_limit(extra),
            Fill::Reserve | Fill::Replacing | Fill::Spare => {
                self.log_bytes(extra) / 100 * FILL_MAX_OF_RESERVE
            }
        }
    }

    /// Bytes of the segments that the log can have when large values have `extra` segments more.
    fn log_bytes(&self, extra: u64) -> u64 {
        let totals = self.table.totals();
        let taken = u64::from(totals.count(State::Leaves) + RESERVE_SEGMENTS + self.lent_segments())
            + self.larges.segments_needed(&self.table)
            + extra;
        let segments = u64::from(self.pool.segment_count()).saturating_sub(taken);
        segments * self.config.segment_bytes as u64
    }

    pub(super) fn live(&self) -> u64 {
        self.table.totals().live - self.pending_free_bytes
    }

    /// Whether so many segments more can be had when every key goes that may go: whether evicting is of any use.
    pub(super) fn evicting_helps(&self, segments: u64) -> bool {
        let held = u64::from(self.larges.held_blocks().div_ceil(BLOCKS as u32));
        let taken = u64::from(self.withheld.taken + self.lent_segments());
        segments + held + taken + UNEVICTABLE_SEGMENTS < u64::from(self.pool.segment_count())
    }

    pub(super) fn permitted(&self, want: Want) -> bool {
        if self.on_full() == OnFull::Evict {
            let segments = u64::from(matches!(want, Want::Segment { .. }));
            // Where there is room without eviction it is taken, whatever others hold.
            return self.spare_segments() > self.low_watermark() || self.evicting_helps(segments);
        }
        match want {
            Want::Record { size, replaced_bytes, fill, .. } => {
                size <= replaced_bytes
                    || self.live() + (size - replaced_bytes) as u64 <= self.limit_of(fill, 0)
            }
            Want::Staged { size, staged, replaced_bytes, .. } => {
                staged + size <= replaced_bytes
                    || self.live() + size as u64 <= self.log_limit(0) + replaced_bytes as u64
            }
            Want::Segment { fill } => self.live() <= self.limit_of(fill, 1),
        }
    }

    /// Bytes of records that may be added before a change is refused (in evict mode: before keys go), and how many that
    /// were if the store were empty. What is lent and not in use comes back in time.
    pub(super) fn writable(&self) -> (u64, u64) {
        let (left, all) = self.writable_now();
        let idle = self.lent_segments().saturating_sub(self.lent_in_use);
        let idle = u64::from(idle) * self.config.segment_bytes as u64 / 100 * FILL_MAX;
        let lent = u64::from(self.lent_segments()) * self.config.segment_bytes as u64 / 100 * FILL_MAX;
        ((left + idle).min(all + lent), all + lent)
    }

    /// The same as things stand.
    pub(super) fn writable_now(&self) -> (u64, u64) {
        let segment = self.config.segment_bytes as u64;
        let kept = RESERVE_SEGMENTS + self.lent_segments() + self.withheld.wanted;
        let segments = self.pool.segment_count().saturating_sub(kept);
        let all = self.data_limit(u64::from(segments) * segment);
        let left = match self.on_full() {
            OnFull::Refuse => self.log_limit(0).saturating_sub(self.live()),
            OnFull::Evict => {
                let free = self.spare_segments().saturating_sub(self.low_watermark());
                u64::from(free) * segment / 100 * FILL_MAX
            }
        };
        (left.min(all), all)
    }

    /// Whether a write batch may be staged at all: `needed` bytes, `replaced` bytes of older ones will die.
    pub(super) fn batch_fits(&self, needed: u64, replaced: u64) -> bool {
        match self.on_full() {
            OnFull::Refuse => needed <= replaced || self.live() + needed <= self.log_limit(0) + replaced,
            // All else may go.
            OnFull::Evict => {
                let held = self.larges.held_blocks().div_ceil(BLOCKS as u32);
                let taken = RESERVE_SEGMENTS + self.withheld.taken + self.lent_segments();
                let segments = u64::from(self.pool.segment_count().saturating_sub(taken + held));
                needed <= segments * self.config.segment_bytes as u64 / 100 * FILL_MAX
            }
        }
    }

    /// Whether a large value of `len` bytes can be had, as far as can be told before its bytes arrive.
    pub(super) fn large_room(&mut self, len: u64, fill: Fill, now: Millis) -> Result<(), Refused> {
        self.reclaim_until(now, |store| {
            let block = store.config.segment_bytes as u64 / 16;
            let blocks = len.div_ceil(block).saturating_sub(store.larges.spare_blocks());
            let extra = blocks.div_ceil(16);
            match store.on_full() {
                OnFull::Refuse => extra == 0 || store.live() <= store.limit_of(fill, extra),
                OnFull::Evict => store.evicting_helps(extra),
            }
        })
    }

    /// Whether `needed` bytes of new records fit when `replaced` bytes of older ones go; what has expired goes first.
    ///
    /// # Errors
    /// [`Refused::Full`].
    pub fn check_room(&mut self, needed: u64, replaced: u64, now: Millis) -> Result<(), Refused> {
        self.reclaim_until(now, |store| store.batch_fits(needed, replaced))
    }

    /// Sees to it that a key may be given a large value that was begun to replace one at least as long: the key has such a
    /// one still, or there is room for data.
    ///
    /// # Errors
    /// [`Refused::Full`]: else what is left free for values that replace others would be taken for good.
    pub(super) fn check_replacing(
        &mut self,
        id: LargeId,
        old: Option<Address>,
        now: Millis,
    ) -> Result<(), Refused> {
        let len = self.larges.len(id);
        if !self.larges.is_replacing(id, len) || self.on_full() == OnFull::Evict {
            return Ok(());
        }
        if old.is_some_and(|at| self.replaces_as_long(at, len)) {
            return Ok(());
        }
        self.reclaim_until(now, |store| store.live() <= store.log_limit(0))
    }

    /// Whether a record has a large value of at least `len` bytes, which goes with it: no other key has a copy.
    pub(super) fn replaces_as_long(&self, at: Address, len: u64) -> bool {
        matches!(
            self.record(at).content,
            Content::Large(old) if self.larges.len(old) >= len && self.larges.record_references(old) == 1
        )
    }

    /// Bytes of the record of a key, and of the large value that it refers to, expired or not; 0 without one.
    pub fn record_bytes(&self, db: Database, key: &[u8]) -> u64 {
        let key = self.key(db, key);
        let Some(at) = self.locate(key.space, key.hash, key.bytes) else { return 0 };
        let record = self.record(at);
        let large = match record.content {
            Content::Large(id) => self.larges.len(id),
            Content::Inline(_) | Content::Collection(_) => 0,
        };
        record.size() as u64 + large
    }

    pub(super) fn check_value_len(&self, len: u64) -> Result<(), Refused> {
        let pool = u64::from(self.pool.segment_count()) * self.config.segment_bytes as u64;
        let limit = self.config.max_value_bytes.min(pool).min(u64::from(u32::MAX));
        if len > limit { Err(Refused::TooLarge { size: len, limit }) } else { Ok(()) }
    }
}
