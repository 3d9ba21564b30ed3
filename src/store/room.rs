//! Finding room: where a record or a block goes, and what is done when nothing is left. (What may be taken at all, `fill.rs`
//! says; how room is made, `reclaim.rs`.)
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

use super::pool::SegmentId;
use super::segments::{BLOCKS, CLASSES, DEAD_STEPS, MOVED, State};
use super::{OnFull, RESERVE_SEGMENTS, RemovalPolicy, Store};
use crate::mutation::Refused;
use crate::time::Millis;

/// Steps that one change may have to wait for, at most; a few are the rule.
pub(super) const STEPS_MAX: usize = 4096;
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
    /// The same for a large value, which is data that takes so many segments, and as many again when it is replaced.
    Large(u32),
    /// Beyond that, for a large value that is to replace one at least as long. It takes what data leaves free for the time
    /// that both are there.
    Replacing,
    /// What is spare, for the reply of a read: nothing is evicted for it, and garbage alone is collected.
    Spare,
    /// A little more, and out of the segments in reserve: so EXPIRE and RENAME, which only grow a record by some bytes,
    /// work in a store that refuses data.
    Reserve,
}

impl Fill {
    /// Free segments that stay for cleaning.
    pub(super) fn segments_kept(self) -> u32 {
        match self {
            Fill::Data | Fill::Large(_) => RESERVE_SEGMENTS,
            // The rest of the reserve may be taken by the time that these come.
            Fill::Replacing | Fill::Reserve | Fill::Spare => 1,
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
            OnFull::Refuse => {
                let kept = RESERVE_SEGMENTS + self.kept_for_replacing(Fill::Data);
                kept + (self.pool.segment_count() / 64).clamp(2, 64)
            }
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

    /// Gets what is wanted, reclaiming memory in bounded steps as long as it takes; records may move, expired
    /// ones and (in evict mode) others may go.
    ///
    /// # Errors
    /// [`Refused::Full`].
    pub(super) fn acquire(&mut self, want: Want, now: Millis) -> Result<SegmentId, Refused> {
        match self.acquire_if_any(want, now) {
            Some(segment) => Ok(segment),
            None => self.refuse(),
        }
    }

    /// As `acquire`, where the caller knows another way when there is nothing to be had.
    pub(super) fn acquire_if_any(&mut self, want: Want, now: Millis) -> Option<SegmentId> {
        let mut steps = 0;
        loop {
            let permitted = self.permitted(want);
            if permitted && let Some(segment) = self.take(want) {
                return Some(segment);
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
                return if permitted { self.take_of_kept(want) } else { None };
            }
        }
    }

    fn take(&mut self, want: Want) -> Option<SegmentId> {
        let kept = |store: &Store, fill: Fill| fill.segments_kept() + store.kept_for_replacing(fill);
        match want {
            Want::Record { fill: Fill::Data, .. } | Want::Staged { .. } if self.reserve_is_short() => None,
            Want::Record { class, size, fill, .. } => self.segment_for(class, size, kept(self, fill)),
            Want::Staged { class, size, .. } => self.segment_for(class, size, kept(self, Fill::Data)),
            Want::Segment { fill } if self.spare_segments() > kept(self, fill) => self.pool.take(),
            Want::Segment { .. } => None,
        }
    }

    /// What only grows a record by some bytes is not refused for the sake of large values, if all cleaning was in vain: it
    /// takes a segment that is kept for replacing them. Data gives that back before there is more of it.
    fn take_of_kept(&mut self, want: Want) -> Option<SegmentId> {
        let kept = Fill::Reserve.segments_kept();
        match want {
            Want::Record { class, size, fill: Fill::Reserve, .. } => self.segment_for(class, size, kept),
            // Pages that are copied so that a field of them can be removed, among others.
            Want::Segment { fill: Fill::Reserve } if self.spare_segments() > kept => self.pool.take(),
            _ => None,
        }
    }

    /// Whether what is no data took a segment that data leaves free, and cleaning has not brought it back: data must not fill
    /// what is left of that one, or the next such record finds no place.
    pub(super) fn reserve_is_short(&self) -> bool {
        self.on_full() == OnFull::Refuse
            && self.spare_segments() < RESERVE_SEGMENTS + self.kept_for_replacing(Fill::Data)
    }

    /// Restores the reserve, if it is short, before data takes a block that is free: else the blocks of a value that was replaced, whose
    /// new one has a slab that was kept for it, would become data's, and the slab's segment would not come back.
    ///
    /// # Errors
    /// [`Refused::Full`].
    pub(super) fn restore_reserve(&mut self, fill: Fill, now: Millis) -> Result<(), Refused> {
        let kept = self.kept_for_replacing(Fill::Data);
        match fill {
            Fill::Data | Fill::Large(_) if kept > 0 && self.reserve_is_short() => {
                self.free_segments(RESERVE_SEGMENTS + kept, now)
            }
            _ => Ok(()),
        }
    }

    /// Makes so many segments free, where writes are refused when memory is full.
    ///
    /// # Errors
    /// [`Refused::Full`].
    pub(super) fn free_segments(&mut self, count: u32, now: Millis) -> Result<(), Refused> {
        let mut steps = 0;
        while self.spare_segments() < count {
            steps += 1;
            let progress = steps <= STEPS_MAX && self.reclaim_step(now, 1);
            if !progress && !self.sweep_expired(now) {
                return self.refuse();
            }
        }
        Ok(())
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

    /// Seals the open segment with the most garbage, which none but a sealed one can be cleaned of. False: they have none
    /// that is worth it.
    pub(super) fn seal_garbage(&mut self) -> bool {
        let dead = |store: &Store, id: SegmentId| {
            let row = store.table.get(id);
            row.used - row.live
        };
        let least = self.config.segment_bytes / DEAD_STEPS;
        let open = (0..CLASSES).filter_map(|class| self.table.open(class));
        let found = open.max_by_key(|id| dead(self, *id)).filter(|id| dead(self, *id) as usize >= least);
        let Some(id) = found else { return false };
        if self.table.sealed(id) {
            self.free_segment(id);
        }
        true
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
        match self.acquire_if_any(Want::Segment { fill }, now) {
            Some(segment) => {
                self.table.taken(segment, State::Leaves);
                self.pool.give_to_leaves(segment);
                Ok(())
            }
            None if self.leaves.free_blocks() > 0 => Ok(()),
            None => self.refuse(),
        }
    }

    /// Sees to it that so many blocks are free, for pages.
    ///
    /// # Errors
    /// [`Refused::Full`].
    pub(super) fn reserve_blocks(&mut self, count: u32, fill: Fill, now: Millis) -> Result<(), Refused> {
        if count > 0 {
            self.restore_reserve(fill, now)?;
        }
        // Each round adds a segment's worth, or finds that making room has freed enough.
        for _ in 0..=count / BLOCKS as u32 + 1 {
            if self.larges.free_blocks(&self.table) >= count {
                return Ok(());
            }
            self.gc_assist(self.config.segment_bytes, now);
            let acquired = self.acquire(Want::Segment { fill }, now);
            match acquired {
                Ok(segment) if self.larges.free_blocks(&self.table) >= count => self.pool.give_back(segment),
                Ok(segment) => self.table.taken(segment, State::BlockSlab),
                Err(refused) => {
                    self.drop_empty_slabs();
                    return Err(refused);
                }
            }
        }
        if self.larges.free_blocks(&self.table) >= count { Ok(()) } else { self.refuse() }
    }

    /// Makes segments free that were reserved for blocks and not needed.
    pub(super) fn drop_empty_slabs(&mut self) {
        while let Some(segment) = self.table.emptiest_slab()
            && self.table.get(segment).blocks == 0
        {
            self.table.freed(segment);
            self.pool.give_back(segment);
        }
    }
}
