//! The change feed: every change of the store, encoded, in a ring of fixed size, and the cursors that read it.
//!
//! ```text
//!            tail                    cursor A        cursor B      visible      head
//!             v                         v               v             v          v
//!   ring: ...|put|put|expired|put|swap|put|put|deleted|put|put|put|   |put|put|...
//!             \ history: for who resumes  \ retained large values   /  \ the open group
//! ```
//! A change is written once, however many consumers there are; each consumer is a [cursor](FeedCursor) that moves over it
//! at its own pace. The ring overwrites its oldest changes; a cursor that was there is *lost* and its consumer does what
//! its [rule](WhenBehind) says. Positions are absolute: they only grow, and a position below `tail` is history that is
//! gone ([`Store::feed_since`]).
//!
//! *Large values* are not copied: the ring holds a reference until every cursor has passed the change, and counts their
//! bytes, so that slow consumers cannot keep the whole store in memory.
//!
//! *Groups*: changes between [`Store::begin_group`] and [`Store::end_group`] become visible together, and only then is
//! it known how many they are; the last one's mark is mended before anyone can have read it. A group that is larger than
//! the ring is lost for every cursor.
//!
//! *Off*: without a cursor nothing is encoded, and a change costs one branch. The ring's memory is reserved at start and
//! touched as it is used.

mod consume;
pub(super) mod entry;
pub mod stored;
#[cfg(test)]
mod tests;

use super::Store;
use super::large::Larges;
use crate::limits::KIB;
use crate::mutant::{self, Mutant};
use crate::mutation::{Cause, Change, Effect, GroupMark, Origin, RemoveReason, Revision};
use entry::Retained;

/// Cursors at once, at most: a journal, key events, invalidations, watches, and replicas.
pub const CURSORS_MAX: usize = 16;
/// Bytes of a ring, at least: changes of the longest key, field and value.
pub const FEED_BYTES_MIN: usize = 256 * KIB;

const _: () = assert!(FEED_BYTES_MIN >= 2 * entry::ENTRY_BYTES_MAX);

/// What a consumer wants when it falls so far behind that the ring would overwrite what it has not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenBehind {
    /// Writers wait ([`Store::feed_blocks_writers`]) while less than a quarter of the ring is left before this cursor; for
    /// a journal, which may miss nothing. A single group that is larger still loses it.
    BlockWriters,
    /// It is lost, and begins again with a copy of the whole store; for a replica.
    Resynchronise,
    /// It is lost, and says so to those whom it serves; for watches, events and invalidations.
    Missed,
}

/// A consumer's place in the feed. It is given back by [`Store::feed_close`].
#[must_use = "an open cursor keeps the feed on, and large values in memory"]
#[derive(Debug, PartialEq, Eq)]
pub struct FeedCursor(usize);

/// A place in the feed's history, to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedPosition(u64);

/// The feed no longer has what came directly after the revision that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The feed has every change after this one.
    pub floor: Revision,
}

/// What a cursor comes to next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedStep<'a> {
    Change(Change<'a>),
    /// Nothing has happened since.
    End,
    /// Changes were overwritten that it has not read: see [`Store::feed_restart`].
    Lost(WhenBehind),
}

/// Sizes and counts of the feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedUse {
    /// Bytes of the ring; 0: the store was made without one.
    pub capacity: usize,
    /// Bytes of changes that the slowest cursor has still to read.
    pub unread: u64,
    /// Bytes of large values that the ring refers to.
    pub large: u64,
    pub cursors: u32,
    /// Cursors that were lost so far.
    pub lost: u64,
}

#[derive(Clone, Copy)]
enum Place {
    Closed,
    /// The next entry that the cursor reads.
    At(u64, WhenBehind),
    Lost(WhenBehind),
}

/// A group that is being written.
struct Group {
    /// Where its first entry begins.
    start: u64,
    /// Its latest entry.
    last: u64,
    count: u32,
    /// References to large values in it.
    large_count: u32,
    /// It has overwritten its own beginning.
    is_too_large: bool,
}

/// The ring and its cursors. The store's methods in `consume.rs` are its public face.
pub(super) struct Feed {
    ring: Box<[u8]>,
    places: [Place; CURSORS_MAX],
    /// Cursors that are open.
    open_count: u32,
    /// Absolute offsets: of the oldest entry, behind the last entry that cursors see, behind the last entry.
    tail: u64,
    visible: u64,
    head: u64,
    /// The last change that is no longer in the ring, or that was made before the feed was on.
    floor: Revision,
    /// How many groups are open, one in the other.
    depth: u32,
    group: Option<Group>,
    /// Entries before this one have no references to large values.
    released: u64,
    large_count: u32,
    large_bytes: u64,
    large_bytes_max: u64,
    lost_count: u64,
    /// Who asks for the changes that come now, and by which command.
    origin: Origin,
    cause: Cause,
    /// It has made a change.
    cause_is_used: bool,
    /// The next value is that of a key that was not there.
    pub(super) is_new: bool,
}

impl Feed {
    /// A feed that is off. `capacity` is 0 (it stays off) or at least [`FEED_BYTES_MIN`], and a multiple of eight.
    pub fn new(capacity: usize, large_bytes_max: u64) -> Feed {
        assert!(capacity == 0 || capacity >= FEED_BYTES_MIN && capacity.is_multiple_of(entry::ALIGN_BYTES));
        Feed {
            ring: vec![0; capacity].into_boxed_slice(),
            places: [Place::Closed; CURSORS_MAX],
            open_count: 0,
            tail: 0,
            visible: 0,
            head: 0,
            floor: Revision(0),
            depth: 0,
            group: None,
            released: 0,
            large_count: 0,
            large_bytes: 0,
            large_bytes_max,
            lost_count: 0,
            origin: Origin::Unknown,
            cause: Cause::default(),
            cause_is_used: false,
            is_new: false,
        }
    }

    /// The changes that come now were made by this.
    pub fn set_cause(&mut self, cause: Cause) {
        (self.cause, self.is_new) = (cause, cause.is_new());
    }

    #[inline]
    pub fn is_on(&self) -> bool {
        self.open_count > 0
    }

    fn index(&self, position: u64) -> usize {
        (position % self.ring.len() as u64) as usize
    }

    fn at(&self, position: u64) -> &[u8] {
        &self.ring[self.index(position)..]
    }

    /// Bytes of the filler that an entry of this size needs before it.
    fn filler(&self, size: usize) -> usize {
        let left = self.ring.len() - self.index(self.head);
        if left < size { left } else { 0 }
    }

    /// Drops the oldest entry, or the oldest reference, as long as there is no room for an entry of `size` bytes that
    /// refers to `large` bytes. `None`: there is room; else the reference, if one is to be released.
    fn drop_oldest(&mut self, size: usize, large: u64) -> Option<Option<Retained>> {
        let needed = (self.filler(size) + size) as u64;
        if self.head + needed - self.tail > self.ring.len() as u64 {
            let at = self.tail;
            let retained = entry::retained(self.at(at)).map(|retained| self.passed(at, retained));
            self.tail = at + entry::len(self.at(at)) as u64;
            self.released = self.released.max(self.tail);
            self.floor = entry::revision(self.at(at)).unwrap_or(self.floor);
            self.lose_before(self.tail);
            return Some(retained);
        }
        // What the open group refers to stays: it is what the store has taken in anyway.
        let in_group = self.group.as_ref().map_or(0, |group| group.large_count);
        let is_too_much = self.large_bytes + large > self.large_bytes_max;
        if large > 0 && is_too_much && self.large_count > in_group {
            let retained = self.release_next();
            self.lose_before(self.released);
            return Some(retained);
        }
        None
    }

    /// Steps over the next entry that may have a reference; which it had.
    fn release_next(&mut self) -> Option<Retained> {
        let at = self.released;
        self.released = at + entry::len(self.at(at)) as u64;
        entry::retained(self.at(at)).map(|retained| self.passed(at, retained))
    }

    fn passed(&mut self, at: u64, retained: Retained) -> Retained {
        let index = self.index(at);
        entry::set_passed(&mut self.ring[index..]);
        self.large_count -= 1;
        self.large_bytes -= retained.bytes();
        retained
    }

    /// Cursors before a position cannot be served any more.
    fn lose_before(&mut self, position: u64) {
        for place in &mut self.places {
            if let Place::At(at, rule) = *place
                && at < position
            {
                *place = Place::Lost(rule);
                self.lost_count += 1;
            }
        }
        if let Some(group) = &mut self.group {
            group.is_too_large |= group.start < position;
        }
    }

    /// The position of the slowest cursor.
    fn slowest(&self) -> u64 {
        let at = |place: &Place| if let Place::At(at, _) = place { Some(*at) } else { None };
        self.places.iter().filter_map(at).min().unwrap_or(self.visible)
    }

    /// Encodes a change for which there is room.
    fn push(&mut self, revision: Revision, effect: Effect<'_>, larges: &mut Larges) {
        let mut large_count = 0;
        if let Some(retained) = Retained::of(&effect) {
            match retained {
                Retained::Large(id, _) => larges.retain(id),
                Retained::Root(root) => larges.pages_mut().retain(root),
            }
            large_count = 1;
            self.large_count += 1;
            self.large_bytes += retained.bytes();
        }
        let filler = self.filler(entry::effect_size(&effect));
        if filler > 0 {
            let index = self.index(self.head);
            entry::write_filler(&mut self.ring[index..]);
            self.head += filler as u64;
        }
        let (origin, cause) = match effect {
            Effect::Remove { reason: RemoveReason::Expired | RemoveReason::Evicted, .. }
            | Effect::RemoveField { reason: RemoveReason::Expired, .. } => {
                (Origin::Unknown, Cause::default())
            }
            Effect::Put { .. } | Effect::Write { .. } | Effect::PutField { .. }
                if std::mem::take(&mut self.is_new) =>
            {
                (self.origin, self.cause.with_new())
            }
            _ => (self.origin, self.cause),
        };
        let group = match (&self.group, self.depth) {
            (None, 0) => GroupMark::Alone,
            (None, _) => GroupMark::First,
            (Some(_), _) => GroupMark::Within,
        };
        self.cause_is_used = true;
        let (at, index) = (self.head, self.index(self.head));
        let len = entry::write(&mut self.ring[index..], &Change { revision, group, origin, cause, effect });
        self.head += len as u64;
        match &mut self.group {
            Some(group) => {
                (group.last, group.count) = (at, group.count + 1);
                group.large_count += large_count;
            }
            None if self.depth > 0 => {
                self.group = Some(Group { start: at, last: at, count: 1, large_count, is_too_large: false });
            }
            None if is_late(&effect) => {}
            None => self.visible = self.head,
        }
    }

    /// Encodes a change of an earlier run, for which there is room and which refers to nothing.
    fn append_remembered(&mut self, change: &Change<'_>) {
        let filler = self.filler(entry::effect_size(&change.effect));
        if filler > 0 {
            let index = self.index(self.head);
            entry::write_filler(&mut self.ring[index..]);
            self.head += filler as u64;
        }
        let index = self.index(self.head);
        self.head += entry::write(&mut self.ring[index..], change) as u64;
        (self.visible, self.released) = (self.head, self.head);
    }

    fn begin_group(&mut self) {
        self.depth += 1;
    }

    /// Closes a group; with the outermost one its changes become visible. True: it was too large, and what is left of it
    /// is to be [cleared](Feed::clear).
    fn end_group(&mut self) -> bool {
        self.depth -= 1;
        if self.depth > 0 {
            return false;
        }
        let Some(group) = self.group.take() else { return false };
        if group.is_too_large {
            return true;
        }
        let index = self.index(group.last);
        let mark = if group.count == 1 { GroupMark::Alone } else { GroupMark::Last };
        let mark = if mutant::is_on(Mutant::GroupMarkLost) { GroupMark::Alone } else { mark };
        entry::set_mark(&mut self.ring[index..], mark);
        self.visible = self.head;
        false
    }

    /// The entry at a position that is in the ring, fillers passed by.
    fn change_at(&self, position: u64) -> Option<(Change<'_>, u64)> {
        let mut at = position;
        // A filler is never followed by another one.
        for _ in 0..2 {
            if at >= self.visible {
                return None;
            }
            let bytes = self.at(at);
            at += entry::len(bytes) as u64;
            if let Some(change) = entry::read(bytes) {
                return Some((change, at));
            }
        }
        None
    }

    /// `reserve_is_short`: the store is so full that values which were replaced, and are held until the journal has them, leave too
    /// little for the next ones.
    fn blocks_writers(&self, reserve_is_short: bool) -> bool {
        let quarter = self.ring.len() as u64 / 4;
        let large_bytes_max = if reserve_is_short { 0 } else { self.large_bytes_max / 4 * 3 };
        let is_short = |place: &Place| match place {
            Place::At(at, WhenBehind::BlockWriters) => {
                self.head - at > 3 * quarter || *at < self.head && self.large_bytes > large_bytes_max
            }
            _ => false,
        };
        self.places.iter().any(is_short)
    }

    /// Asserts that positions are in order and that the sums over references hold.
    pub fn invariants(&self) {
        assert!(self.tail <= self.visible && self.visible <= self.head);
        assert!(self.head - self.tail <= self.ring.len() as u64);
        assert!(self.tail <= self.released && self.released <= self.head || self.ring.is_empty());
        let open = self.places.iter().filter(|place| !matches!(place, Place::Closed)).count();
        assert_eq!(open as u32, self.open_count);
        let (mut at, mut count, mut bytes, mut before) = (self.tail, 0, 0, self.floor);
        while at < self.head {
            let here = self.at(at);
            if let Some(revision) = entry::revision(here) {
                assert!(revision > before, "revisions rise");
                before = revision;
            }
            if let Some(retained) = entry::retained(here) {
                assert!(at >= self.released);
                count += 1;
                bytes += retained.bytes();
            }
            at += entry::len(here) as u64;
        }
        assert_eq!((at, count, bytes), (self.head, self.large_count, self.large_bytes));
    }
}

impl Store {
    /// The one place where a change gets its revision and is published. There is no way back from here: what can fail
    /// comes before.
    #[inline]
    pub(super) fn commit(&mut self, effect: Effect<'_>) -> Revision {
        self.commit_with(|| effect)
    }

    /// [`commit`](Store::commit) for the fast path: the effect is made only if the feed has a consumer.
    #[inline(always)] // Without a consumer it is an addition and a branch.
    pub(super) fn commit_with<'a>(&mut self, effect: impl FnOnce() -> Effect<'a>) -> Revision {
        self.revision.0 += 1;
        if self.feed.is_on() {
            self.publish_with_room(effect());
        }
        self.revision
    }

    #[cold]
    #[inline(never)]
    fn publish_with_room(&mut self, effect: Effect<'_>) {
        self.feed_room(&effect);
        publish(self.revision, &mut self.feed, &mut self.larges, effect);
    }

    /// Makes room for a change in the ring; the oldest go.
    #[cold]
    pub(super) fn feed_room(&mut self, effect: &Effect<'_>) {
        let large = Retained::of(effect).map_or(0, |retained| retained.bytes());
        self.feed_room_for(entry::effect_size(effect), large);
    }

    /// Makes room for an entry of `size` bytes that refers to `large` bytes.
    pub(super) fn feed_room_for(&mut self, size: usize, large: u64) {
        while let Some(reference) = self.feed.drop_oldest(size, large) {
            if let Some(retained) = reference {
                self.release_retained(retained);
            }
        }
    }

    fn release_retained(&mut self, retained: Retained) {
        match retained {
            Retained::Large(id, _) => self.larges.release(id, &mut self.pool, &mut self.table),
            Retained::Root(root) => self.release_root(root),
        }
    }

    /// Releases the large values that every cursor has passed.
    fn feed_release(&mut self) {
        let until = self.feed.slowest();
        while self.feed.released < until {
            if self.feed.large_count == 0 {
                self.feed.released = until;
            } else if let Some(retained) = self.feed.release_next() {
                self.release_retained(retained);
            }
        }
    }

    /// Forgets everything that is in the ring; cursors that are open are lost.
    fn feed_clear(&mut self) {
        while self.feed.large_count > 0 {
            if let Some(retained) = self.feed.release_next() {
                self.release_retained(retained);
            }
        }
        let feed = &mut self.feed;
        (feed.tail, feed.visible, feed.released) = (feed.head, feed.head, feed.head);
        feed.floor = self.revision;
        feed.lose_before(feed.head);
    }
}

/// [`Store::commit`] for callers that have a part of the store borrowed; room was made.
#[inline]
pub(super) fn commit(
    (latest, feed, larges): (&mut Revision, &mut Feed, &mut Larges),
    effect: Effect<'_>,
) -> Revision {
    latest.0 += 1;
    if feed.is_on() {
        publish(*latest, feed, larges, effect);
    }
    *latest
}

#[cold]
#[inline(never)]
fn publish(revision: Revision, feed: &mut Feed, larges: &mut Larges, effect: Effect<'_>) {
    let is_lost = match effect {
        Effect::SetExpiry { .. } => mutant::is_on(Mutant::ChangeNotPublished),
        Effect::SetFieldExpiry { .. } => mutant::is_on(Mutant::FieldTimeNotPublished),
        Effect::RemoveField { reason: RemoveReason::Expired, .. } => {
            mutant::is_on(Mutant::FieldExpiryNotPublished)
        }
        _ => false,
    };
    if is_lost {
        return;
    }
    feed.push(revision, effect, larges);
}

fn is_late(effect: &Effect<'_>) -> bool {
    mutant::is_on(Mutant::ExpiryPublishedLate)
        && matches!(effect, Effect::Remove { reason: RemoveReason::Expired, .. })
}
