//! Fields of hashes that have a time of their own.
//!
//! - *Where a time lies*: in its entry, in front of the field, in seven bytes that an entry without one does not have
//!   (`collection/entry.rs`). So it moves, is shared, copied and counted with the entry, and a hash without such fields
//!   pays for none of this.
//! - *How fields that are due are found*: the record of a hash says when it is next to be visited: a short one by its entries, a
//!   long one by a time beside its root. The sweep (`expiry.rs`) knows segments by the earliest time in them and walks those
//!   that are due; what it does for a key's expiry, it does for this time as well. In a tree, each child has a
//!   lower bound of the times below it (`collection/due.rs`), so that one field among a million is found in as many
//!   steps as the tree has levels. A visit takes [`FIELDS_A_STEP`] fields; the sweep comes back for the others in its next step.
//! - *Reads read*: a look-up hides what has expired. It is removed by the sweep, or by a write that meets it, as a
//!   change of its own for each field; a store that follows another one removes nothing by itself.
//! - *Room*: the sweep runs where memory is short, so what it does takes none. In a short collection entries are taken out in
//!   place, and the record stays as long as it was, until the next write. In a tree whose pages are shared, copies are made
//!   if there are free blocks; if not, the hash is visited again a second later.
//! - *The last field*: with it the key is gone.

use super::collection::entry::{TIME_BYTES, time_of, write_time};
use super::collection::page::{self, NEVER};
use super::collection::{Collection, Due, PACKED_HEAD_BYTES, Packed, tree_bytes};
use super::feed::{self, entry};
use super::fields::{FieldTarget, UNCHANGED, is_field, read_packed};
use super::index::Address;
use super::place::{Found, Key, NewRecord, Publish};
use super::pool::SegmentId;
use super::record::{self, Content, EXPIRY_MAX, Record};
use super::{RemovalPolicy, Store, split};
use crate::mutation::{Applied, CollectionKind, Effect, KeyspaceId, Refused, RemoveReason, Revision, Tree};
use crate::time::Millis;

/// Fields of a tree that one step of the sweep removes, or bounds that it raises, at most.
const FIELDS_A_STEP: usize = 32;
/// After this a hash is visited again whose pages could not be copied.
const RETRY_MS: u64 = 1000;

/// What came of a visit.
pub(super) enum Swept {
    /// The key is gone.
    Gone,
    /// There is more to remove.
    More,
    /// Nothing is due before this.
    Until(Option<Millis>),
}

impl Store {
    /// The record of a key, without the field if its time has come.
    pub(super) fn locate_live_field(
        &mut self,
        key: Key<'_>,
        (kind, field): (CollectionKind, &[u8]),
        now: Millis,
    ) -> Result<Found, Refused> {
        let found = self.locate_live(key, now);
        if self.removal_policy == RemovalPolicy::Follow {
            return Ok(found);
        }
        let collection = self.collection_at(&found, kind)?.filter(Collection::has_times);
        let entry = collection.and_then(|collection| self.field_entry(&collection, field));
        if entry.is_none_or(|entry| entry.is_live(now)) {
            return Ok(found);
        }
        self.remove_found(&FieldTarget { key, found, kind, field }, RemoveReason::Expired, now)?;
        self.counters.expired_fields += 1;
        Ok(self.locate_live(key, now))
    }

    /// Gives a field of a hash, if it is there, a time, or takes it away.
    pub(super) fn set_field_expiry(
        &mut self,
        key: Key<'_>,
        (field, expiry): (&[u8], Option<Millis>),
        now: Millis,
    ) -> Result<Applied, Refused> {
        let (kind, expiry) = (CollectionKind::Hash, clipped(expiry));
        let found = self.locate_live_field(key, (kind, field), now)?;
        let target = FieldTarget { key, found, kind, field };
        let collection = self.collection_at(&found, kind)?;
        let Some(collection) = collection.filter(|has| self.field_entry(has, field).is_some()) else {
            return Ok(UNCHANGED);
        };
        let value_len = collection.len() as u64;
        let revision = match collection {
            Collection::Packed(_) => self.set_packed_expiry(&target, expiry, now)?,
            Collection::Tree(tree) => {
                let mut tree = tree;
                self.tree_set_expiry(&mut tree, (field, expiry), now)?;
                let (keyspace, key) = (key.keyspace(), key.bytes);
                let revision = self.commit(Effect::SetFieldExpiry { keyspace, key, field, expiry });
                self.note_tree(&target, &tree, revision);
                revision
            }
        };
        Ok(Applied { revision, existed: true, value_len })
    }

    fn set_packed_expiry(
        &mut self,
        target: &FieldTarget<'_>,
        expiry: Option<Millis>,
        now: Millis,
    ) -> Result<Revision, Refused> {
        let old_len = self.load_packed(target);
        let mut scratch = std::mem::take(&mut self.scratch);
        let FieldTarget { key, found, field, .. } = *target;
        let len = set_expiry_in(&mut scratch, old_len, (field, expiry));
        let placed = if len < old_len {
            self.place_shorter((key, found), (&mut scratch, len), Publish::FieldExpiry { field, expiry }, now)
        } else {
            self.place_with_expiry(target, (&scratch[..len], expiry), now)
        };
        self.scratch = scratch;
        placed
    }

    /// Gives a key the short collection in which a field has another time; in pages, if it is too long for a record now.
    fn place_with_expiry(
        &mut self,
        target: &FieldTarget<'_>,
        (bytes, expiry): (&[u8], Option<Millis>),
        now: Millis,
    ) -> Result<Revision, Refused> {
        let FieldTarget { key, found, field, .. } = *target;
        let publish = Publish::FieldExpiry { field, expiry };
        let expiry = found.at.and_then(|at| self.record(at).expiry);
        if self.is_inline(key.bytes, bytes.len()) {
            self.retain_packed(bytes, None);
            let new = NewRecord { key, content: Content::Collection(bytes), expiry };
            let placed = self.place(&new, (found, publish), now);
            if placed.is_err() {
                self.release_packed(bytes, None);
            }
            return placed;
        }
        let tree = self.grown(&read_packed(bytes), now)?;
        let new = NewRecord { key, content: Content::Collection(&tree_bytes(&tree)), expiry };
        let placed = self.place(&new, (found, publish), now);
        if placed.is_err() {
            self.release_root(tree.root);
        }
        placed
    }

    /// Removes fields of a record's hash whose time has come: some, and what is left says when to come again.
    pub(super) fn expire_fields(&mut self, at: Address, now: Millis) -> Swept {
        let Content::Collection(bytes) = self.record(at).content else { return Swept::Until(None) };
        let tree = match Collection::read(bytes) {
            Collection::Packed(_) => None,
            Collection::Tree(tree) => Some(tree),
        };
        let mut field = std::mem::take(&mut self.field_buffer);
        self.begin_group();
        let swept = match tree {
            None => self.expire_in_packed(at, &mut field, now),
            Some(tree) => self.expire_in_tree(at, (tree, &mut field), now),
        };
        self.end_group();
        self.field_buffer = field;
        swept
    }

    fn expire_in_packed(&mut self, at: Address, field: &mut Vec<u8>, now: Millis) -> Swept {
        let place = split(&self.pool, at);
        loop {
            let packed = self.packed_at(place);
            let expired = packed.entries().position(|entry| !entry.is_live(now));
            let Some(index) = expired else { return Swept::Until(packed.due()) };
            let is_last = packed.len() == 1;
            field.clear();
            if let Some(entry) = packed.entries().nth(index) {
                self.copy_item(entry.field, field);
            }
            self.make_room_for_expired(place, field);
            let revision = self.commit_expired(place, field, is_last);
            if is_last {
                self.unlink_record(at);
                return Swept::Gone;
            }
            self.drop_packed_entry(place, index, revision);
        }
    }

    fn packed_at(&self, (segment, offset): (SegmentId, usize)) -> Packed<'_> {
        match Record::read(&self.pool.bytes(segment)[offset..]).content {
            Content::Collection(bytes) => read_packed(bytes),
            _ => unreachable!("it is a collection"),
        }
    }

    /// Takes an entry out of a short collection in its record, which stays as long as it is.
    fn drop_packed_entry(&mut self, (segment, offset): (SegmentId, usize), index: usize, revision: Revision) {
        let bytes = &mut self.pool.bytes_mut(segment)[offset..];
        record::set_revision(bytes, revision);
        let content = record::content_mut(bytes);
        let packed = read_packed(content);
        let before: usize = packed.entries().take(index).map(|entry| entry.size()).sum();
        let (start, end) = (PACKED_HEAD_BYTES + before, PACKED_HEAD_BYTES + packed.entries.len());
        let Some(entry) = packed.entries().nth(index) else { return };
        // A short collection has short fields: only the value may be a large one.
        let (size, large) = (entry.size(), entry.larges().next());
        let head = Packed { len: packed.len - 1, ..packed }.head();
        content.copy_within(start + size..end, start);
        content[..PACKED_HEAD_BYTES].copy_from_slice(&head);
        if let Some(id) = large {
            self.larges.detach(id, &mut self.pool, &mut self.table);
        }
    }

    fn expire_in_tree(&mut self, at: Address, (tree, field): (Tree, &mut Vec<u8>), now: Millis) -> Swept {
        let ((segment, offset), mut tree) = (split(&self.pool, at), tree);
        let (mut revision, mut is_gone) = (self.record(at).revision, false);
        tree.due = now;
        for _ in 0..FIELDS_A_STEP {
            let path = match self.due_path(&tree, now) {
                Due::Corrected => continue,
                Due::Entry(path) => path,
                Due::Nothing => {
                    tree.due = page::due(self.page(tree.root));
                    break;
                }
            };
            field.clear();
            self.copy_item(self.entry_at(&path).field, field);
            self.make_room_for_expired((segment, offset), field);
            is_gone = tree.len == 1;
            if !is_gone && !self.spare_blocks(self.copies_needed(&path)) {
                tree.due = now.plus(RETRY_MS);
                break;
            }
            revision = self.commit_expired((segment, offset), field, is_gone);
            if is_gone {
                break;
            }
            self.remove_at(&mut tree, path);
        }
        self.drop_empty_slabs();
        record::rewrite_value(&mut self.pool.bytes_mut(segment)[offset..], revision, &tree_bytes(&tree));
        if is_gone {
            self.unlink_record(at);
            return Swept::Gone;
        }
        match tree.due {
            due if due <= now => Swept::More,
            NEVER => Swept::Until(None),
            due => Swept::Until(Some(due)),
        }
    }

    /// Makes room in the feed for [`commit_expired`](Store::commit_expired). That may free pages, and with them the
    /// blocks that a change was to have: so it comes first.
    fn make_room_for_expired(&mut self, (segment, offset): (SegmentId, usize), field: &[u8]) {
        if self.feed.is_on() {
            let key_len = Record::read(&self.pool.bytes(segment)[offset..]).key.len();
            self.feed_room_for(entry::size(key_len, field.len()), 0);
        }
    }

    /// Publishes that a field of the hash in a record has expired.
    fn commit_expired(
        &mut self,
        (segment, offset): (SegmentId, usize),
        field: &[u8],
        is_last: bool,
    ) -> Revision {
        self.counters.expired_fields += 1;
        let record = Record::read(&self.pool.bytes(segment)[offset..]);
        let (keyspace, key, kind) = (KeyspaceId(record.space), record.key, CollectionKind::Hash);
        let effect =
            Effect::RemoveField { keyspace, key, kind, field, is_last, reason: RemoveReason::Expired };
        feed::commit((&mut self.revision, &mut self.feed, &mut self.larges), effect)
    }
}

/// A time as an entry can hold it.
pub(super) fn clipped(expiry: Option<Millis>) -> Option<Millis> {
    expiry.map(|expiry| Millis(expiry.0.min(EXPIRY_MAX)))
}

/// Gives a field of the short collection of `len` bytes another time; how long it is then.
fn set_expiry_in(scratch: &mut [u8], len: usize, (field, expiry): (&[u8], Option<Millis>)) -> usize {
    let mut packed = read_packed(&scratch[..len]);
    let before = packed.entries().take_while(|entry| !is_field(entry, field));
    let start = PACKED_HEAD_BYTES + before.map(|entry| entry.size()).sum::<usize>();
    let bytes_of = |is_there| if is_there { TIME_BYTES } else { 0 };
    let (old, new) = (bytes_of(time_of(&scratch[start..]).is_some()), bytes_of(expiry.is_some()));
    packed.has_times |= expiry.is_some();
    let head = packed.head();
    scratch.copy_within(start + old..len, start + new);
    if let Some(expiry) = expiry {
        write_time(&mut scratch[start..], expiry);
    }
    scratch[..PACKED_HEAD_BYTES].copy_from_slice(&head);
    len - old + new
}
