//! The feed as its consumers and the store's callers see it: cursors, history, groups, origins.

use super::{Compacted, FeedCursor, FeedPosition, FeedStep, FeedUse, Place, WhenBehind};
use crate::mutation::{Cause, Change, Effect, GroupMark, Origin, PublishedValue, Revision};
use crate::store::Store;

/// How long a value was, and nothing else of it.
fn forgotten(value: PublishedValue<'_>) -> PublishedValue<'static> {
    let len = match value {
        PublishedValue::Bytes(bytes) | PublishedValue::Packed(bytes) => bytes.len() as u64,
        PublishedValue::Large { len, .. } | PublishedValue::Passed { len } => len,
        PublishedValue::Tree(_) | PublishedValue::PassedTree(_) => 0,
    };
    PublishedValue::Passed { len }
}

impl Store {
    /// Opens a cursor that sees what changes from now on. `None`: the store has no ring
    /// ([`StoreConfig::feed_bytes`](super::StoreConfig::feed_bytes)), or [`CURSORS_MAX`] cursors are open.
    pub fn feed_open(&mut self, rule: WhenBehind) -> Option<FeedCursor> {
        let feed = &mut self.feed;
        let free = feed.places.iter().position(|place| matches!(place, Place::Closed))?;
        if feed.ring.is_empty() {
            return None;
        }
        if feed.open_count == 0 {
            // What was noted while no client read is of a change that is over.
            feed.is_new = false;
            // Unless it goes on behind what was remembered.
            if feed.tail == feed.head {
                feed.floor = self.revision;
            }
        }
        feed.open_count += 1;
        feed.places[free] = Place::At(feed.head, rule);
        Some(FeedCursor(free))
    }

    /// Keeps a change of an earlier run in the ring, for those who resume; its value is not retained, nor which command made
    /// it. They come in their order, before the feed is on; nothing may change between the last of them and that.
    pub fn feed_remember(&mut self, change: &Change<'_>) {
        if self.feed.ring.is_empty() || self.feed.is_on() {
            return;
        }
        let effect = match change.effect {
            Effect::Put { keyspace, key, value, expiry } => {
                Effect::Put { keyspace, key, value: forgotten(value), expiry }
            }
            Effect::PutField { keyspace, key, kind, field, value, expiry } => {
                Effect::PutField { keyspace, key, kind, field, value: forgotten(value), expiry }
            }
            Effect::Write { keyspace, key, offset, .. } => {
                Effect::Write { keyspace, key, offset, bytes: &[] }
            }
            effect => effect,
        };
        if self.feed.tail == self.feed.head {
            self.feed.floor = Revision(change.revision.0.saturating_sub(1));
        }
        self.feed_room(&effect);
        let remembered = Change {
            effect,
            group: GroupMark::Alone,
            cause: Cause::default(),
            origin: Origin::Unknown,
            ..*change
        };
        self.feed.append_remembered(&remembered);
    }

    /// Forgets what was [remembered](Store::feed_remember).
    pub fn feed_forget(&mut self) {
        if !self.feed.is_on() {
            self.feed_clear();
        }
    }

    /// Closes a cursor; with the last one the feed is off, and its history gone.
    pub fn feed_close(&mut self, cursor: FeedCursor) {
        self.feed.places[cursor.0] = Place::Closed;
        self.feed.open_count -= 1;
        if self.feed.open_count == 0 {
            self.feed_clear();
        } else {
            self.feed_release();
        }
    }

    /// What the cursor comes to next.
    pub fn feed_peek(&self, cursor: &FeedCursor) -> FeedStep<'_> {
        match self.feed.places[cursor.0] {
            Place::At(at, _) => {
                self.feed.change_at(at).map_or(FeedStep::End, |(change, _)| FeedStep::Change(change))
            }
            Place::Lost(rule) => FeedStep::Lost(rule),
            Place::Closed => unreachable!("a cursor is open until it is given back"),
        }
    }

    /// Moves the cursor past the change that it came to, if it did.
    pub fn feed_advance(&mut self, cursor: &FeedCursor) {
        if let Place::At(at, rule) = self.feed.places[cursor.0]
            && let Some((_, next)) = self.feed.change_at(at)
        {
            self.feed.places[cursor.0] = Place::At(next, rule);
            if self.feed.large_count > 0 {
                self.feed_release();
            }
        }
    }

    /// Lets a cursor go on behind the latest change, lost or not. Who copies the store from then on, and applies what the
    /// cursor comes to where it is newer, has missed nothing.
    pub fn feed_restart(&mut self, cursor: &FeedCursor) {
        let (Place::At(_, rule) | Place::Lost(rule)) = self.feed.places[cursor.0] else { return };
        self.feed.places[cursor.0] = Place::At(self.feed.visible, rule);
        self.feed_release();
    }

    /// Whether writers are to wait until a consumer that may miss nothing has caught up. The caller asks before it runs a
    /// write, or a group of writes.
    pub fn feed_blocks_writers(&self) -> bool {
        self.feed.is_on() && self.feed.blocks_writers(self.reserve_is_short())
    }

    /// Where the change after `revision` is or will be; for who resumes.
    ///
    /// # Errors
    /// [`Compacted`] when the ring does not reach back to it, or the feed is off.
    pub fn feed_since(&self, revision: Revision) -> Result<FeedPosition, Compacted> {
        let feed = &self.feed;
        if !feed.is_on() || revision < feed.floor {
            let floor = if feed.is_on() { feed.floor } else { self.revision };
            return Err(Compacted { floor });
        }
        let (mut at, mut before) = (feed.tail, feed.floor);
        let behind = loop {
            match feed.change_at(at) {
                Some((change, next)) if change.revision <= revision => (at, before) = (next, change.revision),
                found => break found.map(|(change, _)| change.revision),
            }
        };
        // Between two lives there are revisions that no key has, or that were lost with the end of the first one.
        let is_known = before == revision
            || behind.map_or(revision == self.revision, |behind| behind.0 == revision.0 + 1);
        if !is_known {
            return Err(Compacted { floor: behind.map_or(self.revision, |behind| Revision(behind.0 - 1)) });
        }
        Ok(FeedPosition(at))
    }

    /// The change at a position and the position after it. `None`: nothing has happened since.
    ///
    /// # Errors
    /// [`Compacted`] when the ring has overwritten it.
    pub fn feed_at(&self, position: FeedPosition) -> Result<Option<(Change<'_>, FeedPosition)>, Compacted> {
        if !self.feed.is_on() || position.0 < self.feed.tail {
            return Err(Compacted { floor: self.feed.floor });
        }
        Ok(self.feed.change_at(position.0).map(|(change, next)| (change, FeedPosition(next))))
    }

    /// Sizes and counts of the feed.
    pub fn feed_use(&self) -> FeedUse {
        let feed = &self.feed;
        FeedUse {
            capacity: feed.ring.len(),
            unread: feed.visible - feed.slowest(),
            large: feed.large_bytes,
            cursors: feed.open_count,
            lost: feed.lost_count,
        }
    }

    /// What is changed from now on is one group, up to [`end_group`](Store::end_group); groups nest, and the outermost one
    /// counts.
    #[inline]
    pub fn begin_group(&mut self) {
        self.feed.begin_group();
    }

    /// Ends what [`begin_group`](Store::begin_group) began: its changes become visible.
    ///
    /// # Panics
    /// When no group is open.
    #[inline]
    pub fn end_group(&mut self) {
        if self.feed.end_group() {
            self.feed_clear();
        }
    }

    /// A command of this row of the table of verbs makes the changes that come now; for consumers only.
    #[inline]
    pub fn set_command(&mut self, row: u16) {
        // Two commands that follow one another in the feed differ, whatever came between them and changed nothing.
        self.feed.cause =
            if self.feed.cause_is_used { self.feed.cause.next(row) } else { self.feed.cause.again(row) };
        self.feed.cause_is_used = false;
    }

    /// The same for one that goes on.
    #[inline]
    pub fn set_command_again(&mut self, row: u16) {
        self.feed.cause = self.feed.cause.again(row);
    }

    /// The command leaves the expiry of the key as it is.
    #[inline]
    pub fn note_kept_expiry(&mut self) {
        self.feed.cause = self.feed.cause.with_kept_expiry();
    }

    /// Who asks for the changes that come now; for their consumers only.
    #[inline]
    pub fn set_origin(&mut self, origin: Origin) {
        self.feed.origin = origin;
    }
}
