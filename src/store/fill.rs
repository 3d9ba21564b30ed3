//! How full the store may be: what a change may take at all, and what is left free for cleaning and for values that replace
//! others.
//!
//! In refuse mode a change is permitted when, after it, live records fill at most 90 % of the segments that
//! the log can have: then cleaning always gains. Further segments are left free:
//!
//! ```text
//!  | records, blocks, leaves; garbage                        | kept for replacing | reserve |
//!                                                            ^                    ^
//!                     data takes free segments down to here -'                    '- what replaces a large value, to here
//! ```
//! A large value that replaces another comes whole before the old one goes. So data leaves as many segments *free* as the
//! largest value of any key takes (up to 16: 1 MiB), and a value that is itself the largest is admitted only where as
//! many are left beside it. That is enough: a value that is no longer takes no more spans, and its last blocks (15 at most)
//! one slab; the rest of that slab is not data's before as much has come back elsewhere ([`Store::restore_reserve`]). Sums of
//! live bytes would not do: records of 4 to 8 KiB leave up to an eighth of each segment unused, which no cleaning gains. A
//! store without large values keeps nothing for them.

use super::index::Address;
use super::record::Content;
use super::room::{Fill, Want};
use super::segments::{BLOCKS, CLASSES, State};
use super::{OnFull, RESERVE_SEGMENTS, RemovalPolicy, Store};
use crate::mutation::{Database, LargeId, Refused};
use crate::time::Millis;

/// Hundredths of the log that live records may fill.
const FILL_MAX: u64 = 90;
/// The same for what a full store is to take all the same: a time to live, another name.
const FILL_MAX_OF_RESERVE: u64 = 97;
/// Segments that data leaves free within those hundredths: open ones, one for each class, are filled in part, and of a
/// small log that is more than a tenth.
const OPEN_SEGMENTS: u64 = CLASSES as u64;
/// One part in so many of a small log is left free for that, at most.
const OPEN_SHARE: u64 = 12;
/// One part in so many of a small store is kept for replacing, at most.
const KEPT_SHARE: u32 = 4;
/// Segments that stay taken however many keys are evicted: the reserve, open segments, the index.
pub(super) const UNEVICTABLE_SEGMENTS: u64 = 8;

impl Store {
    /// Bytes of live records that the log may hold when large values have `extra` segments more.
    fn log_limit(&self, fill: Fill, extra: u64) -> u64 {
        let kept = self.kept_for_replacing(fill);
        self.data_limit(self.log_bytes(extra).saturating_sub(self.withheld_bytes()), kept)
    }

    /// Bytes of live records that a log of `log` bytes may hold, of which `kept` segments are kept for replacing. The tenth
    /// that is left free for cleaning has them in it: only in a small log is there anything more to leave free. So have
    /// segments that a lowered limit withholds.
    fn data_limit(&self, log: u64, kept: u32) -> u64 {
        let segment = self.config.segment_bytes as u64;
        let free = match self.config.on_full {
            OnFull::Refuse => u64::from(kept) * segment + (log / OPEN_SHARE).min(OPEN_SEGMENTS * segment),
            // It has eviction to make room.
            OnFull::Evict => 0,
        };
        let free = free.saturating_sub(self.withheld_bytes());
        (log / 100 * FILL_MAX).min((log / 100 * FILL_MAX_OF_RESERVE).saturating_sub(free))
    }

    /// Free segments that a change leaves to large values that are to replace others.
    pub(super) fn kept_for_replacing(&self, fill: Fill) -> u32 {
        // A cache has eviction to make room. What is loaded, or follows another store, is to fit as it did there.
        if self.config.on_full == OnFull::Evict || self.removal_policy == RemovalPolicy::Follow {
            return 0;
        }
        let largest = self.larges.largest_of_keys();
        let segments = match fill {
            Fill::Data | Fill::Reserve => largest,
            Fill::Large(segments) => largest.max(segments),
            Fill::Replacing | Fill::Spare => 0,
        };
        segments.min(self.pool.segment_count() / KEPT_SHARE)
    }

    fn withheld_bytes(&self) -> u64 {
        u64::from(self.withheld.wanted) * self.config.segment_bytes as u64
    }

    pub(super) fn limit_of(&self, fill: Fill, extra: u64) -> u64 {
        match fill {
            Fill::Data | Fill::Large(_) => self.log_limit(fill, extra),
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
                    || self.live() + size as u64 <= self.log_limit(Fill::Data, 0) + replaced_bytes as u64
            }
            Want::Segment { fill } => {
                let is_kept_for_it = fill == Fill::Replacing && self.spare_segments() > fill.segments_kept();
                is_kept_for_it || self.live() <= self.limit_of(fill, 1)
            }
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
        let all = self.data_limit(u64::from(segments) * segment, self.kept_for_replacing(Fill::Data));
        let left = match self.on_full() {
            OnFull::Refuse => self.log_limit(Fill::Data, 0).saturating_sub(self.live()),
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
            OnFull::Refuse => {
                needed <= replaced || self.live() + needed <= self.log_limit(Fill::Data, 0) + replaced
            }
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
                OnFull::Refuse => {
                    let free = u64::from(store.spare_segments().saturating_sub(fill.segments_kept()));
                    let is_kept_for_it = fill == Fill::Replacing && extra <= free;
                    extra == 0 || is_kept_for_it || store.live() <= store.limit_of(fill, extra)
                }
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

    /// Sees to it that a key may be given a large value that has come: the key has one still that is at least as long, or
    /// there is room for data, and it is left free what is to be kept for replacing. That may have changed while the value
    /// came.
    ///
    /// # Errors
    /// [`Refused::Full`]: else what is kept for replacing would be taken for good.
    pub(super) fn check_large(
        &mut self,
        id: LargeId,
        old: Option<Address>,
        now: Millis,
    ) -> Result<(), Refused> {
        let len = self.larges.len(id);
        let fill = self.fill_of_large(len);
        let is_largest = self.kept_for_replacing(fill) > self.kept_for_replacing(Fill::Data);
        if self.on_full() == OnFull::Evict || !(is_largest || self.larges.is_replacing(id, len)) {
            return Ok(());
        }
        if old.is_some_and(|at| self.replaces_as_long(at, len)) {
            return Ok(());
        }
        self.reclaim_until(now, |store| store.live() <= store.log_limit(fill, 0))?;
        self.free_segments(fill.segments_kept() + self.kept_for_replacing(fill), now)
    }

    /// What a new value of `len` bytes is, which is to be replaced one day.
    pub(super) fn fill_of_large(&self, len: u64) -> Fill {
        Fill::Large(self.larges.segments_of(len))
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
