//! The one door for changes: a mutation comes through [`Store::apply`] (several puts at once: [`Store::put_all`]). Room is
//! found before anything is changed, and what has changed is [committed](Store::commit).

use super::collection::{Collection, tree_bytes};
use super::place::{Key, NewRecord, Publish, Target};
use super::record::{self, Content, LARGE_BYTES};
use super::{OnFull, Store};
use crate::mutation::{
    Applied, CollectionKind, Database, Effect, FieldExpiry, KeyspaceId, LargeId, Mutation, NewValue, Refused,
    RemoveReason, Revision,
};
use crate::time::Millis;

const NOTHING: Applied = Applied { revision: Revision(0), existed: false, value_len: 0 };

/// About how many bytes a change appends to the log.
fn appended(mutation: &Mutation<'_>) -> usize {
    match mutation {
        Mutation::Put { key, value: NewValue::Bytes(bytes) | NewValue::Packed(bytes), .. }
        | Mutation::Write { key, bytes, .. } => record::size(key.len(), bytes.len(), true),
        Mutation::Put { key, .. } | Mutation::SetExpiry { key, .. } => {
            record::size(key.len(), LARGE_BYTES, true)
        }
        Mutation::Rename { to, .. } | Mutation::Copy { to, .. } => record::size(to.len(), LARGE_BYTES, true),
        Mutation::PutField { key, field, value: NewValue::Bytes(bytes), .. }
        | Mutation::PutTimedField { key, field, value: NewValue::Bytes(bytes), .. } => {
            record::size(key.len(), field.len() + bytes.len(), true)
        }
        Mutation::PutField { key, field, .. }
        | Mutation::PutTimedField { key, field, .. }
        | Mutation::SetFieldExpiry { key, field, .. } => record::size(key.len(), field.len(), true),
        _ => 0,
    }
}

/// The key whose state a change builds on.
fn source_key<'a>(mutation: &Mutation<'a>) -> Option<(Database, &'a [u8])> {
    match *mutation {
        Mutation::Put { db, key, .. }
        | Mutation::Write { db, key, .. }
        | Mutation::PutField { db, key, .. }
        | Mutation::PutTimedField { db, key, .. }
        | Mutation::SetFieldExpiry { db, key, .. }
        | Mutation::RemoveField { db, key, .. }
        | Mutation::SetExpiry { db, key, .. }
        | Mutation::Delete { db, key }
        | Mutation::Rename { db, from: key, .. }
        | Mutation::Copy { db, from: key, .. } => Some((db, key)),
        Mutation::Flush { .. } | Mutation::Swap { .. } => None,
    }
}

/// Whether a change needs room while it holds what the key has: a hash, perhaps, of which fields expire.
fn builds_on_fields(mutation: &Mutation<'_>) -> bool {
    match mutation {
        Mutation::PutField { .. }
        | Mutation::PutTimedField { .. }
        | Mutation::SetFieldExpiry { .. }
        | Mutation::RemoveField { .. }
        | Mutation::SetExpiry { .. }
        | Mutation::Rename { .. }
        | Mutation::Copy { .. } => true,
        Mutation::Put { .. }
        | Mutation::Write { .. }
        | Mutation::Delete { .. }
        | Mutation::Flush { .. }
        | Mutation::Swap { .. } => false,
    }
}

impl Store {
    /// Applies a change. A change of nothing (a key that is not there) gets no revision and is not published. An
    /// expired key counts as gone; one that the change meets is removed first, as a change of its own.
    ///
    /// # Errors
    /// [`Refused`]; every key is then as it was, except those that expired (or, in evict mode, went) for want of room.
    pub fn apply(&mut self, mutation: &Mutation<'_>, now: Millis) -> Result<Applied, Refused> {
        // The caller may have looked at the key before, and a consumer of the feed must be able to apply the change to
        // what it was shown so far: until the change is made, the key is not evicted, and the sweep removes no field of
        // it. That would also change the pages and the record that the change has found.
        if self.config.on_full == OnFull::Evict || builds_on_fields(mutation) {
            let key = source_key(mutation).map(|(db, key)| self.key(db, key));
            self.protected = key.map(|key| (key.space, key.hash));
        }
        // First, so that what cleaning meets (expired keys) is published before this change.
        self.gc_assist(appended(mutation), now);
        let applied = self.change(mutation, now);
        self.protected = None;
        applied
    }

    /// [`apply`](Store::apply) for a `Put` of bytes, without expiry, to a key that was hashed before.
    pub(super) fn put_hashed(&mut self, key: Key<'_>, value: &[u8], now: Millis) -> Result<(), Refused> {
        self.check_key(key.bytes)?;
        if self.config.on_full == OnFull::Evict {
            self.protected = Some((key.space, key.hash));
        }
        self.gc_assist(record::size(key.bytes.len(), value.len(), true), now);
        let applied = self.put(key, (NewValue::Bytes(value), None), now);
        self.protected = None;
        applied.map(drop)
    }

    fn change(&mut self, mutation: &Mutation<'_>, now: Millis) -> Result<Applied, Refused> {
        match *mutation {
            Mutation::Put { db, key, value, expiry } => {
                self.check_key(key)?;
                let key = self.key(db, key);
                if let NewValue::Bytes(_) = value {
                    return self.put(key, (value, expiry), now);
                }
                self.retain_value(value);
                let applied = self.put(key, (value, expiry), now);
                self.or_release_value(value, applied)
            }
            Mutation::Write { db, key, offset, bytes } => {
                self.check_key(key)?;
                self.write(self.key(db, key), (offset, bytes), now)
            }
            Mutation::PutField { db, key, kind, field, value } => {
                let put = (kind, field, value, FieldExpiry::Set(None));
                self.put_retained_field(db, key, put, now)
            }
            Mutation::PutTimedField { db, key, field, value, expiry } => {
                let put = (CollectionKind::Hash, field, value, expiry);
                self.put_retained_field(db, key, put, now)
            }
            Mutation::SetFieldExpiry { db, key, field, expiry } => {
                self.set_field_expiry(self.key(db, key), (field, expiry), now)
            }
            Mutation::RemoveField { db, key, kind, field } => {
                self.remove_field(self.key(db, key), (kind, field), now)
            }
            Mutation::SetExpiry { db, key, expiry } => self.set_expiry(self.key(db, key), expiry, now),
            Mutation::Rename { db, from, to_db, to } => {
                self.check_key(to)?;
                self.transfer((self.key(db, from), self.key(to_db, to)), true, now)
            }
            Mutation::Copy { db, from, to_db, to } => {
                self.check_key(to)?;
                self.transfer((self.key(db, from), self.key(to_db, to)), false, now)
            }
            Mutation::Delete { db, key } => Ok(self.remove(self.key(db, key), RemoveReason::Deleted, now)),
            Mutation::Flush { db } => Ok(self.flush(db.map(|db| KeyspaceId(self.space(db) as u8)))),
            Mutation::Swap { a, b } => {
                let (a_space, b_space) = (self.space(a), self.space(b));
                Ok(self.swap((a, KeyspaceId(b_space as u8)), (b, KeyspaceId(a_space as u8))))
            }
        }
    }

    fn put_retained_field(
        &mut self,
        db: Database,
        key: &[u8],
        put: (CollectionKind, &[u8], NewValue<'_>, FieldExpiry),
        now: Millis,
    ) -> Result<Applied, Refused> {
        self.check_key(key)?;
        let (key, value) = (self.key(db, key), put.2);
        self.retain_value(value);
        let applied = self.put_field(key, put, now);
        self.or_release_value(value, applied)
    }

    pub(super) fn check_key(&self, key: &[u8]) -> Result<(), Refused> {
        let size = key.len() as u64;
        if key.len() > self.key_bytes_max() { Err(Refused::KeyTooLong { size }) } else { Ok(()) }
    }

    pub(super) fn key<'a>(&self, db: Database, bytes: &'a [u8]) -> Key<'a> {
        Key { space: self.space(db), hash: self.hasher.hash(bytes), bytes }
    }

    /// The record takes over one reference of a large value when it is placed, and only then.
    pub(super) fn put(
        &mut self,
        key: Key<'_>,
        (value, expiry): (NewValue<'_>, Option<Millis>),
        now: Millis,
    ) -> Result<Applied, Refused> {
        let found = (self.locate_live(key, now), Publish::Put);
        if let (Some(at), NewValue::Bytes(bytes)) = (found.0.at, value)
            && let Some(revision) = self.rewrite(key, at, (bytes, expiry))
        {
            return Ok(Applied { revision, existed: true, value_len: bytes.len() as u64 });
        }
        let existed = found.0.at.is_some();
        let new = |content| NewRecord { key, content, expiry };
        let (revision, value_len) = match value {
            NewValue::Tree(tree) => {
                let bytes = tree_bytes(&tree);
                let placed = self.place(&new(Content::Collection(&bytes)), found, now)?;
                (placed, u64::from(tree.len))
            }
            NewValue::Packed(bytes) => {
                let placed = self.place(&new(Content::Collection(bytes)), found, now)?;
                (placed, Collection::read(bytes).len() as u64)
            }
            NewValue::Large(id) => {
                self.check_large(id, found.0.at, now)?;
                (self.place(&new(Content::Large(id)), found, now)?, self.larges.len(id))
            }
            NewValue::Bytes(bytes) if self.is_inline(key.bytes, bytes.len()) => {
                (self.place(&new(Content::Inline(bytes)), found, now)?, bytes.len() as u64)
            }
            NewValue::Bytes(bytes) => {
                let id = self.large_for((key, expiry.is_some()), found.0, bytes, now)?;
                let placed = self.place(&new(Content::Large(id)), found, now);
                (self.or_release(id, placed)?, bytes.len() as u64)
            }
        };
        Ok(Applied { revision, existed, value_len })
    }

    /// Whether a value of this length is kept in its record.
    pub(super) fn is_inline(&self, key: &[u8], value_len: usize) -> bool {
        value_len <= self.inline_bytes_max
            && record::size(key.len(), value_len, true) <= self.config.segment_bytes
    }

    /// One reference more to what a new value refers to.
    fn retain_value(&mut self, value: NewValue<'_>) {
        match value {
            NewValue::Bytes(_) | NewValue::Packed(_) => {}
            NewValue::Large(id) => self.larges.retain(id),
            NewValue::Tree(tree) => self.tree_retain(&tree),
        }
    }

    /// Takes that back if what it was for failed.
    fn or_release_value<T>(&mut self, value: NewValue<'_>, result: Result<T, Refused>) -> Result<T, Refused> {
        match (&result, value) {
            (Ok(_), _) | (_, NewValue::Bytes(_) | NewValue::Packed(_)) => {}
            (Err(_), NewValue::Large(id)) => self.large_drop(id),
            (Err(_), NewValue::Tree(tree)) => self.tree_release(&tree),
        }
        result
    }

    /// Drops a reference if what it was for failed.
    pub(super) fn or_release<T>(&mut self, id: LargeId, result: Result<T, Refused>) -> Result<T, Refused> {
        if result.is_err() {
            self.large_drop(id);
        }
        result
    }

    fn remove(&mut self, key: Key<'_>, reason: RemoveReason, now: Millis) -> Applied {
        let Some(at) = self.locate_live(key, now).at else { return NOTHING };
        let revision = self.remove_record(at, reason);
        Applied { revision, existed: true, value_len: 0 }
    }

    pub(super) fn set_expiry(
        &mut self,
        key: Key<'_>,
        expiry: Option<Millis>,
        now: Millis,
    ) -> Result<Applied, Refused> {
        let found = self.locate_live(key, now);
        let Some(at) = found.at else { return Ok(NOTHING) };
        if let Some(expiry) = expiry
            && let Some(revision) = self.rewrite_expiry(key, at, expiry)
        {
            return Ok(Applied { revision, existed: true, value_len: self.entry(at).value.len() });
        }
        let saved = self.save_value(at);
        let target = Target { key, found, expiry, publish: Publish::Expiry };
        let (revision, value_len) = self.store_saved(target, saved, now)?;
        Ok(Applied { revision, existed: true, value_len })
    }

    /// Gives `to` what `from` has, and if it is moved takes it from `from`. A key is not transferred to itself, which
    /// changes nothing.
    fn transfer(
        &mut self,
        (from, to): (Key<'_>, Key<'_>),
        is_moved: bool,
        now: Millis,
    ) -> Result<Applied, Refused> {
        let Some(at) = self.locate_live(from, now).at else { return Ok(NOTHING) };
        let entry = self.entry(at);
        let (expiry, value_len) = (entry.expiry, entry.value.len());
        if (from.space, from.bytes) == (to.space, to.bytes) {
            return Ok(Applied { existed: true, value_len, ..NOTHING });
        }
        let found = self.locate_live(to, now);
        // Looking for `to` may have removed it.
        let from_found = self.locate_live(from, now);
        let Some(at) = from_found.at else { return Ok(NOTHING) };
        let saved = self.save_value(at);
        let publish = if is_moved { Publish::Rename { from, found: from_found } } else { Publish::Put };
        let target = Target { key: to, found, expiry, publish };
        let (revision, value_len) = self.store_saved(target, saved, now)?;
        Ok(Applied { revision, existed: true, value_len })
    }

    pub(super) fn flush(&mut self, keyspace: Option<KeyspaceId>) -> Applied {
        let revision = self.commit(Effect::Flush { keyspace });
        self.layout_epoch += 1;
        for (at, space) in self.keyspaces.iter_mut().enumerate() {
            if keyspace.is_some_and(|chosen| usize::from(chosen.0) != at) {
                continue;
            }
            self.removals.note_all(at, revision);
            space.index.clear(&mut self.leaves);
            self.pending_free_bytes += space.live;
            (space.live, space.expiring, space.expiry_sum) = (0, 0, 0);
            space.flushed = revision;
        }
        Applied { revision, existed: true, value_len: 0 }
    }

    /// Gives two databases these keyspaces.
    pub(super) fn swap(&mut self, a: (Database, KeyspaceId), b: (Database, KeyspaceId)) -> Applied {
        for (db, keyspace) in [a, b] {
            self.keyspace_of[usize::from(db.0)] = keyspace.0;
        }
        let revision = self.commit(Effect::Swap { a, b });
        // Each has had the other's keyspace until now. A database that is swapped with itself keeps its own.
        if a.1 != b.1 {
            for ((db, _), (_, keyspace)) in [(a, b), (b, a)] {
                self.removals.note_swap(usize::from(db.0), usize::from(keyspace.0), revision);
            }
        }
        self.swapped = revision;
        Applied { revision, existed: true, value_len: 0 }
    }
}
