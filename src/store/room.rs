//! Finding room: what may be taken at all, where a record goes, and what is done when nothing is left.
//!
//! ```text
//!  acquire:  permitted? --yes--> a place? --yes--> taken
//!               | no               | no
//!               v                  v
//!          work that is due     reclaim one step          (evict mode: evict one step)
//!               | none left        | nothing to reclaim
//!               v                  v
//!            sweep all that has expired ---nothing has---> Refused
//! ```
//! In refuse mode a change is permitted when, after it, live records fill at most 90 % of the segments that
//! the log can have: then cleaning always gains. A few segments are in reserve for cleaning itself.

use super::pool::SegmentId;
use super::segments::{BLOCKS, CLASSES, MOVED, State};
use super::{OnFull, RESERVE_SEGMENTS, RemovalPolicy, Store};
use crate::mutation::{Database, Refused};
use crate::time::Millis;

/// Hundredths of the log that live records may fill.
const FILL_MAX: u64 = 90;
/// The same for what a full store is to take all the same: a time to live, another name.
const FILL_MAX_OF_RESERVE: u64 = 97;
/// Segments that stay taken however many keys are evicted: the reserve, open segments, the index.
pub(super) const UNEVICTABLE_SEGMENTS: u64 = 8;
/// Steps that one change may have to wait for, at most; a few are the rule.
const STEPS_MAX: usize = 4096;
/// Steps of freeing what is of no use that one write takes on, at most.
const RECLAIM_STEPS_MAX: usize = 4;
/// The longest remaining time of the first class with expiry, in milliseconds; each further class has four times that.
const CLASS_MS: u64 = 4000;

/// What a change needs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Want {
    /// Room for a record of `size` bytes in a segment of the class; `replaced_bytes` bytes of older records will die.
    Record { class: usize, size: usize, replaced_bytes: usize, fill: Fill },
    /// The same for a record of a write batch, of which `staged` bytes are in the log already; when all of it is
    /// there, `replaced_bytes` bytes of older records will die.
    Staged { class: usize, size: usize, staged: usize, replaced_bytes: usize },
    /// A free segment.
    Segment { fill: Fill },
}

/// How full a change may make the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// As full as data may make it.
    Data,
    /// What is spare, for the reply of a read: nothing is evicted for it, and garbage alone is collected.
    Spare,
    /// A little more, and out of the segments in reserve: so EXPIRE and RENAME, which only grow a record by some bytes,
    /// work in a store that refuses data.
    Reserve,
}

impl Fill {
    /// Free segments that stay for cleaning.
    fn segments_left(self) -> u32 {
        match self {
            Fill::Data => RESERVE_SEGMENTS,
            Fill::Reserve | Fill::Spare => 1,
        }
    }
}

impl Store {
    /// The class of a record with this expiry: those that go together lie together.
    pub(super) fn class_of(expiry: Option<Millis>, now: Millis) -> usize {
        let Some(expiry) = expiry else { return 0 };
        let (mut class, mut bound) = (1, CLASS_MS);
        while expiry.since(now) > bound && class < MOVED - 1 {
            class += 1;
            bound *= 4;
        }
        class
    }

    /// Free segments below which writes begin to owe cleaning.
    pub(super) fn low_watermark(&self) -> u32 {
        match self.on_full() {
            OnFull::Refuse => RESERVE_SEGMENTS + (self.pool.segment_count() / 64).clamp(2, 64),
            OnFull::Evict => RESERVE_SEGMENTS + 3,
        }
    }

    /// What happens when memory is short; a store that follows another one evicts nothing by itself.
    pub(super) fn on_full(&self) -> OnFull {
        match self.removal_policy {
            RemovalPolicy::Own => self.config.on_full,
            RemovalPolicy::Follow => OnFull::Refuse,
        }
    }

    pub(super) fn refuse<T>(&mut self) -> Result<T, Refused> {
        self.counters.refused += 1;
        Err(Refused::Full)
    }

    pub(super) fn check_value_len(&self, len: u64) -> Result<(), Refused> {
        let pool = u64::from(self.pool.segment_count()) * self.config.segment_bytes as u64;
        let limit = self.config.max_value_bytes.min(pool).min(u64::from(u32::MAX));
        if len > limit { Err(Refused::TooLarge { size: len, limit }) } else { Ok(()) }
    }

    /// Bytes of live records that the log may hold when large values have `extra` segments more.
    fn log_limit(&self, extra: u64) -> u64 {
        (self.log_bytes(extra).saturating_sub(self.withheld_bytes())) / 100 * FILL_MAX
    }

    fn withheld_bytes(&self) -> u64 {
        u64::from(self.withheld.wanted) * self.config.segment_bytes as u64
    }

    fn limit_of(&self, fill: Fill, extra: u64) -> u64 {
        match fill {
            Fill::Data => self.log_limit(extra),
            Fill::Reserve | Fill::Spare => self.log_bytes(extra) / 100 * FILL_MAX_OF_RESERVE,
        }
    }

    /// Bytes of the segments that the log can have when large values have `extra` segments more.
    fn log_bytes(&self, extra: u64) -> u64 {
        let totals = self.table.totals();
        let taken = u64::from(totals.count(State::Leaves) + RESERVE_SEGMENTS)
            + self.larges.segments_needed(&self.table)
            + extra;
        let segments = u64::from(self.pool.segment_count()).saturating_sub(taken);
        segments * self.config.segment_bytes as u64
    }

    fn live(&self) -> u64 {
        self.table.totals().live - self.pending_free_bytes
    }

    /// Whether so many segments more can be had when every key goes that may go: whether evicting is of any use.
    fn evicting_helps(&self, segments: u64) -> bool {
        let held = u64::from(self.larges.held_blocks().div_ceil(BLOCKS as u32));
        let taken = u64::from(self.withheld.taken);
        segments + held + taken + UNEVICTABLE_SEGMENTS < u64::from(self.pool.segment_count())
    }

    fn permitted(&self, want: Want) -> bool {
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
    /// were if the store were empty.
    pub(super) fn writable(&self) -> (u64, u64) {
        let segment = self.config.segment_bytes as u64;
        let segments = (self.pool.segment_count() - RESERVE_SEGMENTS).saturating_sub(self.withheld.wanted);
        let all = u64::from(segments) * segment / 100 * FILL_MAX;
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
                let taken = RESERVE_SEGMENTS + self.withheld.taken;
                let segments = u64::from(self.pool.segment_count().saturating_sub(taken + held));
                needed <= segments * self.config.segment_bytes as u64 / 100 * FILL_MAX
            }
        }
    }

    /// Gets what is wanted, reclaiming memory in bounded steps as long as it takes; records may move, expired
    /// ones and (in evict mode) others may go.
    ///
    /// # Errors
    /// [`Refused::Full`].
    pub(super) fn acquire(&mut self, want: Want, now: Millis) -> Result<SegmentId, Refused> {
        let mut steps = 0;
        loop {
            let permitted = self.permitted(want);
            if permitted && let Some(segment) = self.take(want) {
                return Ok(segment);
            }
            steps += 1;
            let progress = steps <= STEPS_MAX
                && match want {
                    Want::Segment { fill: Fill::Spare } => {
                        self.reclaim_due(now) || permitted && self.clean_step(now, 1).is_some()
                    }
                    _ if permitted => self.reclaim_step(now, 1),
                    _ => self.reclaim_due(now),
                };
            // Nothing is refused while anything has expired: that round comes to its end by itself.
            if !progress && !self.sweep_expired(now) {
                return self.refuse();
            }
        }
    }

    fn take(&mut self, want: Want) -> Option<SegmentId> {
        match want {
            Want::Record { class, size, fill, .. } => self.segment_for(class, size, fill.segments_left()),
            Want::Staged { class, size, .. } => self.segment_for(class, size, RESERVE_SEGMENTS),
            Want::Segment { fill } if self.spare_segments() > fill.segments_left() => self.pool.take(),
            Want::Segment { .. } => None,
        }
    }

    /// An open segment with room for a record of a class; when free segments are scarce, one of another class. `reserve`
    /// free segments stay.
    fn segment_for(&mut self, class: usize, size: usize, reserve: u32) -> Option<SegmentId> {
        if let Some(id) = self.with_room(class, size) {
            return Some(id);
        }
        let free = self.spare_segments();
        if free > self.low_watermark() {
            return self.open_segment(class);
        }
        let other = (0..MOVED).find_map(|class| self.with_room(class, size));
        if other.is_none() && free > reserve { self.open_segment(class) } else { other }
    }

    fn with_room(&self, class: usize, size: usize) -> Option<SegmentId> {
        self.table.open(class).filter(|id| self.table.room(*id) >= size)
    }

    /// As `segment_for`, for a record that cleaning moves: the reserve is there for it.
    pub(super) fn place_moved(&mut self, class: usize, size: usize) -> Option<SegmentId> {
        if let Some(id) = self.with_room(class, size) {
            return Some(id);
        }
        if class != MOVED && self.spare_segments() > self.low_watermark() {
            return self.open_segment(class);
        }
        if let Some(id) = self.with_room(MOVED, size) {
            return Some(id);
        }
        if self.pool.free_count() > 0 {
            return self.open_segment(MOVED);
        }
        (0..CLASSES).find_map(|class| self.with_room(class, size))
    }

    /// Opens a free segment for a class, sealing the one before.
    fn open_segment(&mut self, class: usize) -> Option<SegmentId> {
        let id = self.pool.take()?;
        if let Some(old) = self.table.open(class)
            && self.table.sealed(old)
        {
            self.free_segment(old);
        }
        self.table.opened(id, class);
        Some(id)
    }

    /// Seals some open segment in which something lives.
    pub(super) fn seal_any(&mut self) -> Option<SegmentId> {
        let open = (0..CLASSES).filter_map(|class| self.table.open(class));
        let id = open.max_by_key(|id| self.table.get(*id).live).filter(|id| self.table.get(*id).live > 0)?;
        let empty = self.table.sealed(id);
        assert!(!empty, "something lives in it");
        Some(id)
    }

    /// A segment of records in which nothing lives becomes free.
    pub(super) fn free_segment(&mut self, id: SegmentId) {
        if self.victim.is_some_and(|victim| victim.segment == id) {
            self.victim = None;
        }
        self.sweep.uncharge(id);
        self.table.freed(id);
        self.pool.give_back(id);
    }

    /// Gives the leaves of the index a segment when they are short of blocks. An insert may still find room when it is
    /// refused.
    pub(super) fn leaf_room(&mut self, fill: Fill, now: Millis) -> Result<(), Refused> {
        if !self.leaves.needs_blocks() {
            return Ok(());
        }
        match self.acquire(Want::Segment { fill }, now) {
            Ok(segment) => {
                self.table.taken(segment, State::Leaves);
                self.pool.give_to_leaves(segment);
                Ok(())
            }
            Err(_) if self.leaves.free_blocks() > 0 => Ok(()),
            Err(refused) => Err(refused),
        }
    }

    /// Whether a large value of `len` bytes can be had, as far as can be told before its bytes arrive.
    pub(super) fn large_room(&mut self, len: u64, now: Millis) -> Result<(), Refused> {
        self.settle_until(now, |store| {
            let block = store.config.segment_bytes as u64 / 16;
            let blocks = len.div_ceil(block).saturating_sub(store.larges.spare_blocks());
            let extra = blocks.div_ceil(16);
            match store.on_full() {
                OnFull::Refuse => extra == 0 || store.live() <= store.log_limit(extra),
                OnFull::Evict => store.evicting_helps(extra),
            }
        })
    }

    /// Whether `needed` bytes of new records fit when `replaced` bytes of older ones go; what has expired goes first.
    ///
    /// # Errors
    /// [`Refused::Full`].
    pub fn check_room(&mut self, needed: u64, replaced: u64, now: Millis) -> Result<(), Refused> {
        self.settle_until(now, |store| store.batch_fits(needed, replaced))
    }

    /// Bytes of the record of a key, expired or not; 0 without one.
    pub fn record_bytes(&self, db: Database, key: &[u8]) -> u64 {
        let key = self.key(db, key);
        self.locate(key.space, key.hash, key.bytes).map_or(0, |at| self.record(at).size() as u64)
    }

    /// Does work that is due, in bounded steps, until `fits` says that there is room.
    pub(super) fn settle_until(&mut self, now: Millis, fits: impl Fn(&Store) -> bool) -> Result<(), Refused> {
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
            OnFull::Refuse => self.clean_step(now, dead_steps).is_some(),
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
