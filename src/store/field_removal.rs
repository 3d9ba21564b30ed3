//! Fields and members that are taken out of their collection. With the last one the key is gone.
//!
//! A short collection gets a shorter record; where there is no room for that, it stays in the one that it has, which is as
//! long as before until the next write. In a tree, pages that others share are copied first: that may be refused.

use super::Store;
use super::collection::{Collection, PACKED_HEAD_BYTES, set_slack};
use super::fields::{FieldTarget, Spot, UNCHANGED, read_packed, spot_of};
use super::place::{Found, Key, NewRecord, Publish};
use super::record::Content;
use super::room::Fill;
use crate::mutation::{Applied, CollectionKind, Database, Effect, Refused, RemoveReason, Revision};
use crate::time::Millis;

impl Store {
    /// Sees to it that a field can be removed next: there is room for the pages on the way to it that others share, and that
    /// are copied then.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn reserve_removal(
        &mut self,
        (db, key): (Database, &[u8]),
        (kind, field): (CollectionKind, &[u8]),
        now: Millis,
    ) -> Result<(), Refused> {
        let key = self.key(db, key);
        let Some(Collection::Tree(tree)) = self.collection_at(&self.found(key), kind)? else { return Ok(()) };
        let needed = match self.tree_path(&tree, field) {
            (path, true) => self.copies_needed(&path),
            (_, false) => 0,
        };
        self.protected = Some((key.space, key.hash));
        let reserved = self.reserve_blocks(needed, Fill::Reserve, now);
        self.protected = None;
        reserved
    }

    pub(super) fn remove_field(
        &mut self,
        key: Key<'_>,
        (kind, field): (CollectionKind, &[u8]),
        now: Millis,
    ) -> Result<Applied, Refused> {
        let found = self.locate_live_field(key, (kind, field), now)?;
        self.remove_found(&FieldTarget { key, found, kind, field }, RemoveReason::Deleted, now)
    }

    /// The same for a field whose time may have come, wherever it is found.
    pub(super) fn remove_found(
        &mut self,
        target: &FieldTarget<'_>,
        reason: RemoveReason,
        now: Millis,
    ) -> Result<Applied, Refused> {
        let FieldTarget { key, found, kind, field } = *target;
        match self.collection_at(&found, kind)? {
            None => Ok(UNCHANGED),
            Some(collection) if self.field_entry(&collection, field).is_none() => Ok(UNCHANGED),
            Some(collection) if collection.len() == 1 => {
                let revision = self.remove_whole(target, reason);
                Ok(Applied { revision, existed: true, value_len: 0 })
            }
            Some(Collection::Tree(tree)) => {
                let mut tree = tree;
                self.tree_remove(&mut tree, field, now)?;
                let (keyspace, key) = (key.keyspace(), key.bytes);
                let effect = Effect::RemoveField { keyspace, key, kind, field, is_last: false, reason };
                let revision = self.commit(effect);
                self.note_tree(target, &tree, revision);
                Ok(Applied { revision, existed: true, value_len: u64::from(tree.len) })
            }
            Some(Collection::Packed(_)) => self.remove_from_packed(target, reason, now),
        }
    }

    fn remove_from_packed(
        &mut self,
        target: &FieldTarget<'_>,
        reason: RemoveReason,
        now: Millis,
    ) -> Result<Applied, Refused> {
        let FieldTarget { key, found, kind, field } = *target;
        let len = self.load_packed(target);
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut packed = read_packed(&scratch[..len]);
        let Spot { start, old } = spot_of(&packed, field);
        let (old_size, count) = (old.unwrap_or(0), packed.len() - 1);
        (packed.len, packed.entries) = (count as u8, &[]);
        let head = packed.head();
        let start = PACKED_HEAD_BYTES + start;
        scratch.copy_within(start + old_size..len, start);
        scratch[..PACKED_HEAD_BYTES].copy_from_slice(&head);
        let publish = Publish::RemoveField { kind, field, reason };
        let placed = self.place_shorter((key, found), (&mut scratch, len - old_size), publish, now);
        self.scratch = scratch;
        Ok(Applied { revision: placed?, existed: true, value_len: count as u64 })
    }

    /// Gives a key the short collection that it has, which has become shorter: the first `len` bytes of the scratch buffer.
    pub(super) fn place_shorter(
        &mut self,
        (key, found): (Key<'_>, Found),
        (scratch, len): (&mut [u8], usize),
        publish: Publish<'_>,
        now: Millis,
    ) -> Result<Revision, Refused> {
        let expiry = found.at.and_then(|at| self.record(at).expiry);
        let refused_before = self.counters.refused;
        self.retain_packed(&scratch[..len], None);
        let new = NewRecord { key, content: Content::Collection(&scratch[..len]), expiry };
        let placed = self.place(&new, (found, publish), now);
        if placed.is_ok() {
            return placed;
        }
        // What frees is not refused: a record of the same length is written over, which takes no room.
        let at = self.again(key, found).expect("a key that is changed is not evicted");
        let stored_len = self.record(at).content.stored_len();
        self.counters.refused = refused_before;
        set_slack(&mut scratch[..stored_len], len);
        let new = NewRecord { key, content: Content::Collection(&scratch[..stored_len]), expiry };
        self.place(&new, (found, publish), now)
    }

    /// The last field goes, and the key with it.
    fn remove_whole(&mut self, target: &FieldTarget<'_>, reason: RemoveReason) -> Revision {
        let FieldTarget { key, found, kind, field } = *target;
        let (keyspace, bytes) = (key.keyspace(), key.bytes);
        let effect = Effect::RemoveField { keyspace, key: bytes, kind, field, is_last: true, reason };
        let revision = self.commit(effect);
        let at = self.again(key, found).expect("it was there");
        self.unlink_record(at);
        revision
    }

    /// The same, published by another store; false: there is no such key.
    pub(super) fn remove_last(
        &mut self,
        key: Key<'_>,
        (kind, field, reason): (CollectionKind, &[u8], RemoveReason),
    ) -> bool {
        let found = self.found(key);
        let is_there = found.at.is_some();
        if is_there {
            self.remove_whole(&FieldTarget { key, found, kind, field }, reason);
        }
        is_there
    }
}
