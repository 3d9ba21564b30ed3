//! The one door for changes: every mutation comes through [`Store::apply`] (of several at once: [`Store::put_all`]), and
//! every one that happens is told to the listener under the revision that it drew. Room is found before anything is
//! changed.

use super::clean::RecordMeta;
use super::expiry::RemoveReason;
use super::index::Address;
use super::record::{self, Content, EXPIRY_MAX, LARGE_BYTES, Record};
use super::room::Want;
use super::{OnFull, Store, address, split};
use crate::mutation::{Applied, Database, LargeId, Mutation, NewValue, Refused, Revision};
use crate::time::Millis;

const NOTHING: Applied = Applied { revision: Revision(0), existed: false, value_len: 0 };

/// About how many bytes a change appends to the log.
fn appended(mutation: &Mutation<'_>) -> usize {
    match mutation {
        Mutation::Put { key, value: NewValue::Bytes(bytes), .. } | Mutation::Write { key, bytes, .. } => {
            record::size(key.len(), bytes.len(), true)
        }
        Mutation::Put { key, .. } | Mutation::SetExpiry { key, .. } => {
            record::size(key.len(), LARGE_BYTES, true)
        }
        Mutation::Rename { to, .. } | Mutation::Copy { to, .. } => record::size(to.len(), LARGE_BYTES, true),
        _ => 0,
    }
}

/// The key whose state a change builds on.
fn source_key<'a>(mutation: &Mutation<'a>) -> Option<(Database, &'a [u8])> {
    match *mutation {
        Mutation::Put { db, key, .. }
        | Mutation::Write { db, key, .. }
        | Mutation::SetExpiry { db, key, .. }
        | Mutation::Delete { db, key }
        | Mutation::Expire { db, key }
        | Mutation::Evict { db, key }
        | Mutation::Rename { db, from: key, .. }
        | Mutation::Copy { db, from: key, .. } => Some((db, key)),
        Mutation::Flush { .. } | Mutation::Swap { .. } => None,
    }
}

/// Where a key's record was, and when that was: it holds until some record moves or goes.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub at: Option<Address>,
    layout_epoch: u64,
}

/// Which key: its space and the hash of its bytes.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub space: usize,
    pub hash: u64,
    pub bytes: &'a [u8],
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
        let large = match self.content {
            Content::Inline(_) => None,
            Content::Large(id) => Some(id),
        };
        RecordMeta {
            space: self.key.space,
            size: self.size(),
            dead: false,
            revision,
            expiry: self.expiry,
            large,
        }
    }

    pub fn write(&self, revision: Revision, bytes: &mut [u8]) {
        let (space, key) = (self.key.space as u8, self.key.bytes);
        let (expiry, content) = (self.expiry, self.content);
        Record { space, dead: false, revision, expiry, key, content }.write(bytes);
    }
}

/// A key that is to have a value that is held, where its record was, and its expiry.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub key: Key<'a>,
    pub found: Found,
    pub expiry: Option<Millis>,
}

/// A value that outlives the record it was in: its bytes are in the scratch buffer, or it is large, with one reference
/// more.
#[derive(Clone, Copy)]
pub(super) enum SavedValue {
    Scratch(usize),
    Large(LargeId),
}

impl<'a> Key<'a> {
    pub(super) fn new(space: usize, hash: u64, bytes: &'a [u8]) -> Key<'a> {
        Key { space, hash, bytes }
    }
}

impl Store {
    /// Applies a change. A change of nothing (a key that is not there) draws no revision and is told to nobody.
    /// Expired keys are as good as gone; one that is met is told as [`Mutation::Expire`] first.
    ///
    /// # Errors
    /// [`Refused`]; every key is then as it was, except those that expired (or, in evict mode, went) for want of room.
    pub fn apply(&mut self, mutation: &Mutation<'_>, now: Millis) -> Result<Applied, Refused> {
        // Whoever asks for a change may have looked at its key before, and what the listener is told must make
        // sense to one who has only heard what was told before: the key is not evicted until the change is made.
        if self.config.on_full == OnFull::Evict {
            let key = source_key(mutation).map(|(db, key)| self.key(db, key));
            self.protected = key.map(|key| (key.space, key.hash));
        }
        // Paid first, so that what cleaning meets (expired keys) is told before this change.
        self.gc_assist(appended(mutation), now);
        let applied = self.change(mutation, now);
        self.protected = None;
        applied
    }

    /// [`apply`](Store::apply) for a `Put` of a key that was hashed before.
    pub(super) fn apply_to(
        &mut self,
        key: Key<'_>,
        mutation: &Mutation<'_>,
        now: Millis,
    ) -> Result<(), Refused> {
        let Mutation::Put { value, expiry, .. } = *mutation else {
            return self.apply(mutation, now).map(drop);
        };
        self.check_key(key.bytes)?;
        if self.config.on_full == OnFull::Evict {
            self.protected = Some((key.space, key.hash));
        }
        self.gc_assist(appended(mutation), now);
        let applied = self.put(key, (value, expiry), now);
        self.protected = None;
        self.publish_change(mutation, applied?.revision);
        Ok(())
    }

    /// Tells the listener of a change.
    #[inline]
    pub(super) fn publish_change(&mut self, mutation: &Mutation<'_>, revision: Revision) {
        if let Some(listener) = &mut self.listener {
            listener(mutation, revision);
        }
    }

    fn change(&mut self, mutation: &Mutation<'_>, now: Millis) -> Result<Applied, Refused> {
        let applied = match *mutation {
            Mutation::Put { db, key, value, expiry } => {
                self.check_key(key)?;
                self.put(self.key(db, key), (value, expiry), now)?
            }
            Mutation::Write { db, key, offset, bytes } => {
                self.check_key(key)?;
                self.write(self.key(db, key), (offset, bytes), now)?
            }
            Mutation::SetExpiry { db, key, expiry } => self.set_expiry(self.key(db, key), expiry, now)?,
            Mutation::Rename { db, from, to_db, to } => {
                self.check_key(to)?;
                self.rename((self.key(db, from), self.key(to_db, to)), now)?
            }
            Mutation::Copy { db, from, to_db, to } => {
                self.check_key(to)?;
                self.copy((self.key(db, from), self.key(to_db, to)), now)?.0
            }
            // A record that departs is told of by itself.
            Mutation::Delete { db, key } => return Ok(self.remove(db, key, RemoveReason::Deleted, now)),
            Mutation::Expire { db, key } => return Ok(self.remove(db, key, RemoveReason::Expired, now)),
            Mutation::Evict { db, key } => return Ok(self.remove(db, key, RemoveReason::Evicted, now)),
            Mutation::Flush { db } => self.flush(db),
            Mutation::Swap { a, b } => {
                self.keyspace_of.swap(usize::from(a.0), usize::from(b.0));
                let revision = self.next_revision();
                self.removals.note_all(revision);
                Applied { revision, existed: true, value_len: 0 }
            }
        };
        if applied.revision > Revision(0) {
            self.publish_change(mutation, applied.revision);
        }
        Ok(applied)
    }

    pub(super) fn check_key(&self, key: &[u8]) -> Result<(), Refused> {
        let size = key.len() as u64;
        if key.len() > self.key_bytes_max() { Err(Refused::KeyTooLong { size }) } else { Ok(()) }
    }

    pub(super) fn key<'a>(&self, db: Database, bytes: &'a [u8]) -> Key<'a> {
        Key { space: self.space(db), hash: self.hasher.hash(bytes), bytes }
    }

    /// The record of a key; one that has expired goes.
    pub(super) fn locate_live(&mut self, key: Key<'_>, now: Millis) -> Found {
        let mut at = self.locate(key.space, key.hash, key.bytes);
        if let Some(expired) = at
            && self.record(expired).expired(now)
        {
            self.remove_record(expired, RemoveReason::Expired);
            at = None;
        }
        Found { at, layout_epoch: self.layout_epoch }
    }

    /// Where the record is now.
    fn again(&self, key: Key<'_>, found: Found) -> Option<Address> {
        if found.layout_epoch == self.layout_epoch {
            found.at
        } else {
            self.locate(key.space, key.hash, key.bytes)
        }
    }

    fn put(
        &mut self,
        key: Key<'_>,
        (value, expiry): (NewValue<'_>, Option<Millis>),
        now: Millis,
    ) -> Result<Applied, Refused> {
        let found = self.locate_live(key, now);
        let existed = found.at.is_some();
        let new = |content| NewRecord { key, content, expiry };
        let (revision, value_len) = match value {
            NewValue::Large(id) => (self.store(&new(Content::Large(id)), found, now)?, self.larges.len(id)),
            NewValue::Bytes(bytes) if self.is_inline(key.bytes, bytes.len()) => {
                (self.store(&new(Content::Inline(bytes)), found, now)?, bytes.len() as u64)
            }
            NewValue::Bytes(bytes) => {
                let id = self.large_of(bytes, now)?;
                let stored = self.store(&new(Content::Large(id)), found, now);
                (self.or_release(id, stored)?, bytes.len() as u64)
            }
        };
        Ok(Applied { revision, existed, value_len })
    }

    /// Whether a value of this length is kept in its record.
    pub(super) fn is_inline(&self, key: &[u8], value_len: usize) -> bool {
        value_len <= self.inline_max()
            && record::size(key.len(), value_len, true) <= self.config.segment_bytes
    }

    /// Drops a reference if what it was for failed.
    pub(super) fn or_release<T>(&mut self, id: LargeId, result: Result<T, Refused>) -> Result<T, Refused> {
        if result.is_err() {
            self.large_release(id);
        }
        result
    }

    /// Gives a key a record, which takes over the reference of a large value. Draws the revision.
    fn store(&mut self, new: &NewRecord<'_>, found: Found, now: Millis) -> Result<Revision, Refused> {
        let new = &NewRecord { expiry: new.expiry.map(|expiry| Millis(expiry.0.min(EXPIRY_MAX))), ..*new };
        let (key, size) = (new.key, new.size());
        let old = self.again(key, found);
        let replaced_bytes = old.map_or(0, |at| self.record(at).size());
        match old {
            Some(at) if replaced_bytes == size => return Ok(self.overwrite(at, new)),
            Some(_) => {}
            None => self.leaf_room(now)?,
        }
        let (found, class) =
            (Found { at: old, layout_epoch: self.layout_epoch }, Store::class_of(new.expiry, now));
        let segment = self.acquire(Want::Record { class, size, replaced_bytes }, now)?;
        // Whatever made room may have moved the old record, or evicted it.
        let old = self.again(key, found);
        let meta = new.meta(Revision(self.revision.0 + 1));
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
        }
        self.layout_epoch += 1;
        self.charge(&meta);
        self.next_revision();
        Ok(meta.revision)
    }

    /// Writes a record over one of the same size and key.
    pub(super) fn overwrite(&mut self, at: Address, new: &NewRecord<'_>) -> Revision {
        let (segment, offset) = split(&self.pool, at);
        let old = self.meta(segment, offset);
        let meta = new.meta(self.next_revision());
        self.uncharge(&old);
        self.charge(&meta);
        new.write(meta.revision, &mut self.pool.bytes_mut(segment)[offset..]);
        if let Some(expiry) = meta.expiry {
            self.expires(segment, expiry);
        }
        if let Some(id) = old.large {
            self.large_release(id);
        }
        meta.revision
    }

    fn remove(&mut self, db: Database, key: &[u8], why: RemoveReason, now: Millis) -> Applied {
        let key = self.key(db, key);
        let Some(at) = self.locate(key.space, key.hash, key.bytes) else { return NOTHING };
        let existed = !self.record(at).expired(now);
        let why = if existed { why } else { RemoveReason::Expired };
        let revision = self.remove_record(at, why);
        if existed { Applied { revision, existed, value_len: 0 } } else { NOTHING }
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
        }
    }

    /// Gives a key the value that is held. Refused: the value is let go.
    pub(super) fn store_saved(
        &mut self,
        target: Target<'_>,
        saved: SavedValue,
        now: Millis,
    ) -> Result<(Revision, u64), Refused> {
        let Target { key, found, expiry } = target;
        match saved {
            SavedValue::Large(id) => {
                let stored = self.store(&NewRecord { key, content: Content::Large(id), expiry }, found, now);
                let revision = self.or_release(id, stored)?;
                Ok((revision, self.larges.len(id)))
            }
            SavedValue::Scratch(len) if !self.is_inline(key.bytes, len) => {
                let id = self.large_begin(len as u64, now)?;
                let scratch = std::mem::take(&mut self.scratch);
                let filled = self.large_append(id, &scratch[..len], now);
                self.scratch = scratch;
                self.or_release(id, filled)?;
                self.store_saved(target, SavedValue::Large(id), now)
            }
            SavedValue::Scratch(len) => {
                let scratch = std::mem::take(&mut self.scratch);
                let content = Content::Inline(&scratch[..len]);
                let stored = self.store(&NewRecord { key, content, expiry }, found, now);
                self.scratch = scratch;
                Ok((stored?, len as u64))
            }
        }
    }

    fn set_expiry(&mut self, key: Key<'_>, expiry: Option<Millis>, now: Millis) -> Result<Applied, Refused> {
        let found = self.locate_live(key, now);
        let Some(at) = found.at else { return Ok(NOTHING) };
        let saved = self.save_value(at);
        let (revision, value_len) = self.store_saved(Target { key, found, expiry }, saved, now)?;
        Ok(Applied { revision, existed: true, value_len })
    }

    fn rename(&mut self, (from, to): (Key<'_>, Key<'_>), now: Millis) -> Result<Applied, Refused> {
        let (applied, found) = self.copy((from, to), now)?;
        if applied.revision > Revision(0)
            && let Some(at) = self.again(from, found)
        {
            let removed = self.keyspaces[from.space].index.remove(&mut self.leaves, from.hash, at);
            assert!(removed, "a record that was found is in its index");
            let (segment, offset) = split(&self.pool, at);
            self.free_record(segment, offset);
            self.layout_epoch += 1;
            self.removals.note(from.hash, self.revision);
        }
        Ok(applied)
    }

    /// Gives `to` what `from` has; also says where `from` was. A key is not copied to itself, which draws no revision.
    fn copy(&mut self, (from, to): (Key<'_>, Key<'_>), now: Millis) -> Result<(Applied, Found), Refused> {
        let found = self.locate_live(from, now);
        let Some(at) = found.at else { return Ok((NOTHING, found)) };
        let entry = self.entry(at);
        let (expiry, value_len) = (entry.expiry, entry.value.len());
        if (from.space, from.bytes) == (to.space, to.bytes) {
            return Ok((Applied { existed: true, value_len, ..NOTHING }, found));
        }
        let saved = self.save_value(at);
        let target = Target { key: to, found: self.locate_live(to, now), expiry };
        let (revision, value_len) = self.store_saved(target, saved, now)?;
        Ok((Applied { revision, existed: true, value_len }, found))
    }

    fn flush(&mut self, db: Option<Database>) -> Applied {
        let revision = self.next_revision();
        self.layout_epoch += 1;
        self.removals.note_all(revision);
        let chosen = db.map(|db| self.space(db));
        for (at, space) in self.keyspaces.iter_mut().enumerate() {
            if chosen.is_some_and(|chosen| chosen != at) {
                continue;
            }
            space.index.clear(&mut self.leaves);
            self.pending_free_bytes += space.live;
            (space.live, space.expiring, space.expiry_sum) = (0, 0, 0);
            space.flushed = revision;
        }
        Applied { revision, existed: true, value_len: 0 }
    }
}
