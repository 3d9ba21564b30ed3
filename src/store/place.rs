//! Placing a record: the one way in which a key gets a value or an expiry.
//!
//! ```text
//!  rewrite ─▶ are value and times as long? ─yes─▶ commit ──▶ put into the old record, which stays where it is
//!
//!  place ──▶ is the old record as long? ──yes──▶ commit ──▶ written over
//!               │ no
//!               ▼
//!            room ──▶ append ──▶ index ──▶ commit ──▶ revision into the record
//!            \______ may be refused _____/ \_________ cannot fail ___________/
//! ```

use super::clean::RecordMeta;
use super::collection::{Collection, Referenced, tree_bytes};
use super::index::Address;
use super::pool::SegmentId;
use super::record::{self, Content, EXPIRY_MAX, Record};
use super::room::{Fill, Want};
use super::{Store, address, bytes_at, split};
use crate::limits::INLINE_VALUE_BYTES_MAX;
use crate::mutation::{
    CollectionKind, Effect, KeyspaceId, LargeId, PublishedValue, Refused, RemoveReason, Revision, Tree,
};
use crate::time::Millis;

/// Where a key's record was, and when that was: it holds until some record moves or goes.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub at: Option<Address>,
    layout_epoch: u64,
}

/// Which key: its keyspace and the hash of its bytes.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub space: usize,
    pub hash: u64,
    pub bytes: &'a [u8],
}

impl<'a> Key<'a> {
    pub(super) fn new(space: usize, hash: u64, bytes: &'a [u8]) -> Key<'a> {
        Key { space, hash, bytes }
    }

    pub(super) fn keyspace(&self) -> KeyspaceId {
        KeyspaceId(self.space as u8)
    }
}

/// What a key is to have.
#[derive(Clone, Copy)]
pub(super) struct NewRecord<'a> {
    pub key: Key<'a>,
    pub content: Content<'a>,
    pub expiry: Option<Millis>,
}

impl NewRecord<'_> {
    pub fn size(&self) -> usize {
        record::size(self.key.bytes.len(), self.content.stored_len(), self.expiry.is_some())
    }

    pub fn meta(&self, revision: Revision) -> RecordMeta {
        let (held, fields_due) = Referenced::of_content(self.content);
        RecordMeta {
            space: self.key.space,
            size: self.size(),
            dead: false,
            revision,
            expiry: self.expiry,
            fields_due,
            held,
        }
    }

    pub fn write(&self, revision: Revision, bytes: &mut [u8]) {
        let (space, key) = (self.key.space as u8, self.key.bytes);
        let (expiry, content) = (self.expiry, self.content);
        Record { space, dead: false, revision, expiry, key, content }.write(bytes);
    }
}

/// What is published when a record has its place.
#[derive(Clone, Copy)]
pub(super) enum Publish<'a> {
    /// The whole value and its expiry.
    Put,
    /// The same, and before it that this key is gone: it gave its value away.
    Rename {
        from: Key<'a>,
        found: Found,
    },
    /// These bytes of the value.
    Write {
        offset: u64,
        bytes: &'a [u8],
    },
    /// One entry of the collection.
    PutField {
        kind: CollectionKind,
        field: &'a [u8],
        value: PublishedValue<'a>,
        expiry: Option<Millis>,
    },
    /// The time of one field of the hash.
    FieldExpiry {
        field: &'a [u8],
        expiry: Option<Millis>,
    },
    RemoveField {
        kind: CollectionKind,
        field: &'a [u8],
        reason: RemoveReason,
    },
    Expiry,
}

/// A key that is to have a value that was saved, where its record was, its expiry, and what is published of it.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub key: Key<'a>,
    pub found: Found,
    pub expiry: Option<Millis>,
    pub publish: Publish<'a>,
}

/// A value that outlives the record it was in: its bytes are in the scratch buffer, or it is large, with one reference
/// more.
#[derive(Clone, Copy)]
pub(super) enum SavedValue {
    Scratch(usize),
    Large(LargeId),
    /// A short collection: so many bytes in the scratch buffer, with one reference more to each of its large values.
    Packed(usize),
    /// With one reference more to its root.
    Tree(Tree),
}

/// The expiry that a record gets for this one.
#[inline]
fn storable(expiry: Millis) -> Millis {
    Millis(expiry.0.min(EXPIRY_MAX))
}

impl Store {
    /// The record of a key; one that has expired goes.
    pub(super) fn locate_live(&mut self, key: Key<'_>, now: Millis) -> Found {
        let mut at = self.locate(key.space, key.hash, key.bytes);
        if let Some(found) = at
            && self.expires_by_itself(found, now)
        {
            self.remove_record(found, RemoveReason::Expired);
            at = None;
        }
        Found { at, layout_epoch: self.layout_epoch }
    }

    /// The record of a key, expired or not.
    pub(super) fn found(&self, key: Key<'_>) -> Found {
        Found { at: self.locate(key.space, key.hash, key.bytes), layout_epoch: self.layout_epoch }
    }

    /// Where the record is now.
    pub(super) fn again(&self, key: Key<'_>, found: Found) -> Option<Address> {
        if found.layout_epoch == self.layout_epoch {
            found.at
        } else {
            self.locate(key.space, key.hash, key.bytes)
        }
    }

    /// Gives the record of a key, which lives, a value and an expiry where it is, if it has as long a value in it and an expiry
    /// likewise: what most values get that are written again. `None`: it has not, and nothing is done.
    #[inline(always)] // Once for each SET of a batch.
    pub(super) fn rewrite(
        &mut self,
        key: Key<'_>,
        at: Address,
        (value, expiry): (&[u8], Option<Millis>),
    ) -> Option<Revision> {
        if !record::is_like(bytes_at(&self.pool, at), value.len(), expiry.is_some()) {
            return None;
        }
        let expiry = expiry.map(storable);
        let revision = self.commit_with(|| {
            let value = PublishedValue::Bytes(value);
            Effect::Put { keyspace: key.keyspace(), key: key.bytes, value, expiry }
        });
        let (segment, offset) = split(&self.pool, at);
        if let Some(expiry) = expiry {
            self.recharge_expiry(key.space, (segment, offset), expiry);
        }
        let bytes = &mut self.pool.bytes_mut(segment)[offset..];
        record::rewrite(bytes, key.bytes.len(), revision, (value, expiry));
        Some(revision)
    }

    /// Gives the record of a key, which lives, another expiry where it is, if it has one. `None`: it has none, and nothing
    /// is done.
    pub(super) fn rewrite_expiry(&mut self, key: Key<'_>, at: Address, expiry: Millis) -> Option<Revision> {
        if !record::has_place_for_expiry(bytes_at(&self.pool, at)) {
            return None;
        }
        let expiry = storable(expiry);
        let revision = self.commit_with(|| Effect::SetExpiry {
            keyspace: key.keyspace(),
            key: key.bytes,
            expiry: Some(expiry),
        });
        let (segment, offset) = split(&self.pool, at);
        self.recharge_expiry(key.space, (segment, offset), expiry);
        let bytes = &mut self.pool.bytes_mut(segment)[offset..];
        record::set_revision(bytes, revision);
        record::set_expiry(bytes, expiry);
        Some(revision)
    }

    /// Counts the expiry that the record at this place is about to get instead of the one that it has.
    fn recharge_expiry(&mut self, space: usize, (segment, offset): (SegmentId, usize), expiry: Millis) {
        let old = record::expiry(&self.pool.bytes(segment)[offset..]).map_or(0, |expiry| expiry.0);
        let sum = &mut self.keyspaces[space].expiry_sum;
        *sum = *sum + u128::from(expiry.0) - u128::from(old);
        self.expires(segment, expiry);
    }

    /// Gives a key a record, which takes over the reference of a large value; the revision of the change.
    pub(super) fn place(
        &mut self,
        new: &NewRecord<'_>,
        (found, publish): (Found, Publish<'_>),
        now: Millis,
    ) -> Result<Revision, Refused> {
        let new = &NewRecord { expiry: new.expiry.map(storable), ..*new };
        let (key, size) = (new.key, new.size());
        let old = self.again(key, found);
        let replaced_bytes = old.map_or(0, |at| self.record(at).size());
        let (given_away, fill) = match publish {
            Publish::Rename { from, found } => {
                (self.again(from, found).map_or(0, |at| self.record(at).size()), Fill::Reserve)
            }
            Publish::Expiry | Publish::FieldExpiry { .. } | Publish::RemoveField { .. } => (0, Fill::Reserve),
            Publish::Put | Publish::Write { .. } | Publish::PutField { .. } => (0, Fill::Data),
        };
        match old {
            Some(at) if replaced_bytes == size => return Ok(self.overwrite(at, new, publish)),
            Some(_) => {}
            None => self.leaf_room(fill, now)?,
        }
        let (found, class) =
            (Found { at: old, layout_epoch: self.layout_epoch }, Store::class_of(new.expiry, now));
        let replaced_bytes = replaced_bytes + given_away;
        let want = |fill| Want::Record { class, size, replaced_bytes, fill };
        let segment = self.segment_in_place_of(found, new, (fill, &want), now)?;
        // Making room may have moved the old record, or evicted it.
        let old = self.again(key, found);
        // The record gets its revision when nothing can fail any more.
        let meta = new.meta(self.revision);
        let offset = self.append(segment, &meta);
        new.write(meta.revision, &mut self.pool.bytes_mut(segment)[offset..]);
        let at = address(&self.pool, segment, offset);
        let index = &mut self.keyspaces[key.space].index;
        if let Some(old) = old {
            let replaced = index.replace(&mut self.leaves, key.hash, old, at);
            assert!(replaced, "a record that was found is in its index");
            let (segment, offset) = split(&self.pool, old);
            self.free_record(segment, offset);
        } else if index.insert(&mut self.leaves, key.hash, at).is_err() {
            self.mark_record_dead(segment, offset, size);
            return self.refuse();
        } else {
            self.feed.is_new = true;
        }
        self.layout_epoch += 1;
        self.charge(&meta);
        let revision = self.commit_placed(new, publish);
        record::set_revision(&mut self.pool.bytes_mut(segment)[offset..], revision);
        if old.is_none() {
            self.removals.note_new((key.space, key.hash), revision);
        }
        Ok(revision)
    }

    /// A segment for a record in the place of an older one. A string that is no longer than the one before is refused
    /// neither for the time to live that it gets, nor because records of nearly its length leave the ends of their segments
    /// unused, which no cleaning gains: it goes into the reserve. That lasts, for what it replaces is garbage then, which is
    /// at least as long but for the time.
    fn segment_in_place_of(
        &mut self,
        found: Found,
        new: &NewRecord<'_>,
        (fill, want): (Fill, &dyn Fn(Fill) -> Want),
        now: Millis,
    ) -> Result<SegmentId, Refused> {
        let is_as_long = |store: &Store| {
            fill == Fill::Data && store.again(new.key, found).is_some_and(|at| store.is_as_long(at, new))
        };
        let fill = if !self.permitted(want(fill)) && is_as_long(self) { Fill::Reserve } else { fill };
        match self.acquire_if_any(want(fill), now) {
            Some(segment) => Ok(segment),
            None if is_as_long(self) => self.acquire(want(Fill::Reserve), now),
            None => self.refuse(),
        }
    }

    /// Whether a record has a string that is at least as long as the new one.
    fn is_as_long(&self, at: Address, new: &NewRecord<'_>) -> bool {
        let string_len = |content| match content {
            Content::Inline(bytes) => Some(bytes.len() as u64),
            Content::Large(id) => Some(self.larges.len(id)),
            Content::Collection(_) => None,
        };
        let old_len = string_len(self.record(at).content);
        string_len(new.content).is_some_and(|len| old_len.is_some_and(|old| old >= len))
    }

    /// Writes a record over one of the same size and key.
    pub(super) fn overwrite(&mut self, at: Address, new: &NewRecord<'_>, publish: Publish<'_>) -> Revision {
        let (segment, offset) = split(&self.pool, at);
        let old = self.meta(segment, offset);
        let meta = new.meta(self.commit_placed(new, publish));
        self.uncharge(&old);
        self.charge(&meta);
        self.release_held(old.held, (segment, offset));
        new.write(meta.revision, &mut self.pool.bytes_mut(segment)[offset..]);
        meta.times().for_each(|time| self.expires(segment, time));
        meta.revision
    }

    /// Commits what a record that has its place stands for.
    fn commit_placed(&mut self, new: &NewRecord<'_>, publish: Publish<'_>) -> Revision {
        let NewRecord { key, content, expiry } = *new;
        let keyspace = key.keyspace();
        self.attach_content(content);
        match publish {
            Publish::Put => self.commit_put(key, content, expiry),
            Publish::PutField { kind, field, value, expiry } => {
                self.commit(Effect::PutField { keyspace, key: key.bytes, kind, field, value, expiry })
            }
            Publish::FieldExpiry { field, expiry } => {
                self.commit(Effect::SetFieldExpiry { keyspace, key: key.bytes, field, expiry })
            }
            Publish::RemoveField { kind, field, reason } => {
                let (key, is_last) = (key.bytes, false);
                self.commit(Effect::RemoveField { keyspace, key, kind, field, is_last, reason })
            }
            Publish::Expiry => self.commit(Effect::SetExpiry { keyspace, key: key.bytes, expiry }),
            Publish::Write { offset, bytes } => self.commit_write(key, offset, bytes),
            Publish::Rename { from, found } => {
                self.begin_group();
                let at = self.again(from, found).expect("the key that is renamed is there until it is");
                self.remove_record(at, RemoveReason::Deleted);
                let revision = self.commit_put(key, content, expiry);
                self.end_group();
                revision
            }
        }
    }

    /// What a record has taken over is a record's from now on.
    fn attach_content(&mut self, content: Content<'_>) {
        match content {
            Content::Inline(_) => {}
            Content::Large(id) => self.larges.attach_to_key(id),
            Content::Collection(bytes) => {
                if let Collection::Packed(packed) = Collection::read(bytes)
                    && packed.has_large
                {
                    let larges = packed.entries().flat_map(|entry| entry.larges());
                    larges.for_each(|id| self.larges.attach(id));
                }
            }
        }
    }

    /// Commits a whole value.
    fn commit_put(&mut self, key: Key<'_>, content: Content<'_>, expiry: Option<Millis>) -> Revision {
        let value = match content {
            Content::Inline(bytes) => PublishedValue::Bytes(bytes),
            Content::Large(id) => PublishedValue::Large { id, len: self.larges.len(id) },
            Content::Collection(bytes) => match Collection::read(bytes) {
                Collection::Tree(tree) => PublishedValue::Tree(tree),
                Collection::Packed(packed) if packed.has_large => {
                    return self.commit_packed(key, &packed, expiry);
                }
                Collection::Packed(_) => PublishedValue::Packed(bytes),
            },
        };
        self.commit(Effect::Put { keyspace: key.keyspace(), key: key.bytes, value, expiry })
    }

    /// Commits bytes written into a value, in pieces that the feed takes; the last one's revision.
    fn commit_write(&mut self, key: Key<'_>, offset: u64, bytes: &[u8]) -> Revision {
        let (keyspace, key) = (key.keyspace(), key.bytes);
        let effect = |offset, bytes| Effect::Write { keyspace, key, offset, bytes };
        if bytes.len() <= INLINE_VALUE_BYTES_MAX {
            return self.commit(effect(offset, bytes));
        }
        self.begin_group();
        let pieces = bytes.chunks(INLINE_VALUE_BYTES_MAX).zip(0..);
        let mut revision = Revision(0);
        for (piece, at) in pieces {
            revision = self.commit(effect(offset + at * INLINE_VALUE_BYTES_MAX as u64, piece));
        }
        self.end_group();
        revision
    }

    /// Takes the value out of a record that may move or go.
    pub(super) fn save_value(&mut self, at: Address) -> SavedValue {
        let (segment, offset) = split(&self.pool, at);
        match Record::read(&self.pool.bytes(segment)[offset..]).content {
            Content::Inline(bytes) => {
                self.scratch[..bytes.len()].copy_from_slice(bytes);
                SavedValue::Scratch(bytes.len())
            }
            Content::Large(id) => {
                self.larges.retain(id);
                SavedValue::Large(id)
            }
            Content::Collection(bytes) => match Collection::read(bytes) {
                Collection::Tree(tree) => {
                    self.larges.pages_mut().retain(tree.root);
                    SavedValue::Tree(tree)
                }
                Collection::Packed(packed) => {
                    self.scratch[..bytes.len()].copy_from_slice(bytes);
                    packed.entries().flat_map(|entry| entry.larges()).for_each(|id| self.larges.retain(id));
                    SavedValue::Packed(bytes.len())
                }
            },
        }
    }

    /// Gives a key the value that was saved. Refused: the value is released.
    pub(super) fn store_saved(
        &mut self,
        target: Target<'_>,
        saved: SavedValue,
        now: Millis,
    ) -> Result<(Revision, u64), Refused> {
        let Target { key, found, expiry, publish } = target;
        match saved {
            SavedValue::Large(id) => {
                let new = NewRecord { key, content: Content::Large(id), expiry };
                let placed = self.place(&new, (found, publish), now);
                let revision = self.or_release(id, placed)?;
                Ok((revision, self.larges.len(id)))
            }
            SavedValue::Scratch(len) if !self.is_inline(key.bytes, len) => {
                let id = self.large_create(len as u64, now)?;
                let scratch = std::mem::take(&mut self.scratch);
                let filled = self.large_append(id, &scratch[..len], now);
                self.scratch = scratch;
                self.or_release(id, filled)?;
                self.store_saved(target, SavedValue::Large(id), now)
            }
            SavedValue::Scratch(len) => {
                let scratch = std::mem::take(&mut self.scratch);
                let content = Content::Inline(&scratch[..len]);
                let placed = self.place(&NewRecord { key, content, expiry }, (found, publish), now);
                self.scratch = scratch;
                Ok((placed?, len as u64))
            }
            SavedValue::Packed(len) => {
                let scratch = std::mem::take(&mut self.scratch);
                let placed = self.place_packed(target, &scratch[..len], now);
                self.scratch = scratch;
                placed
            }
            SavedValue::Tree(tree) => {
                let bytes = tree_bytes(&tree);
                let content = Content::Collection(&bytes);
                let placed = self.place(&NewRecord { key, content, expiry }, (found, publish), now);
                if placed.is_err() {
                    self.release_root(tree.root);
                }
                Ok((placed?, u64::from(tree.len)))
            }
        }
    }
}
