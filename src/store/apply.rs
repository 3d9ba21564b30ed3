//! The one door for changes: every mutation comes through [`Store::apply`], and every one that happens is told to the
//! listener under the revision that it drew. Room is found before anything is changed.

use super::clean::Facts;
use super::expiry::Departure;
use super::index::Address;
use super::large::LargeCursor;
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
fn built_on<'a>(mutation: &Mutation<'a>) -> Option<(Database, &'a [u8])> {
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
struct Found {
    at: Option<Address>,
    moves: u64,
}

/// Which key: its space and the hash of its bytes.
#[derive(Clone, Copy)]
struct Key<'a> {
    space: usize,
    hash: u64,
    bytes: &'a [u8],
}

/// What a key is to have.
#[derive(Clone, Copy)]
struct NewRecord<'a> {
    key: Key<'a>,
    content: Content<'a>,
    expiry: Option<Millis>,
}

impl NewRecord<'_> {
    fn size(&self) -> usize {
        record::size(self.key.bytes.len(), self.content.stored_len(), self.expiry.is_some())
    }

    fn facts(&self, revision: Revision) -> Facts {
        let large = match self.content {
            Content::Inline(_) => None,
            Content::Large(id) => Some(id),
        };
        Facts { space: self.key.space, size: self.size(), dead: false, revision, expiry: self.expiry, large }
    }

    fn write(&self, revision: Revision, bytes: &mut [u8]) {
        let (space, key) = (self.key.space as u8, self.key.bytes);
        let (expiry, content) = (self.expiry, self.content);
        Record { space, dead: false, revision, expiry, key, content }.write(bytes);
    }
}

/// A value that outlives the record it was in: its bytes are in the scratch buffer, or it is large, with one reference
/// more.
#[derive(Clone, Copy)]
enum Held {
    Scratch(usize),
    Large(LargeId),
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
            let key = built_on(mutation).map(|(db, key)| self.key(db, key));
            self.protected = key.map(|key| (key.space, key.hash));
        }
        // Paid first, so that what cleaning meets (expired keys) is told before this change.
        self.pay(appended(mutation), now);
        let applied = self.change(mutation, now);
        self.protected = None;
        applied
    }

    fn change(&mut self, mutation: &Mutation<'_>, now: Millis) -> Result<Applied, Refused> {
        let applied = match *mutation {
            Mutation::Put { db, key, value, expiry } => self.put(db, key, (value, expiry), mutation, now)?,
            Mutation::Write { db, key, offset, bytes } => {
                self.write(db, key, (offset, bytes), mutation, now)?
            }
            Mutation::SetExpiry { db, key, expiry } => self.set_expiry(db, key, expiry, mutation, now)?,
            Mutation::Delete { db, key } => self.remove(db, key, Departure::Deleted, now),
            Mutation::Expire { db, key } => self.remove(db, key, Departure::Expired, now),
            Mutation::Evict { db, key } => self.remove(db, key, Departure::Evicted, now),
            Mutation::Rename { .. } | Mutation::Copy { .. } => self.transfer(mutation, now)?,
            Mutation::Flush { db } => self.flush(db, mutation),
            Mutation::Swap { a, b } => {
                self.space_of.swap(usize::from(a.0), usize::from(b.0));
                self.done(mutation, true, 0)
            }
        };
        Ok(applied)
    }

    /// A change that needs no room was made.
    fn done(&mut self, mutation: &Mutation<'_>, existed: bool, value_len: u64) -> Applied {
        let revision = self.draw();
        self.tell(mutation, revision);
        Applied { revision, existed, value_len }
    }

    fn check_key(&self, key: &[u8]) -> Result<(), Refused> {
        let size = key.len() as u64;
        if key.len() > self.key_bytes_max() { Err(Refused::KeyTooLong { size }) } else { Ok(()) }
    }

    fn key<'a>(&self, db: Database, bytes: &'a [u8]) -> Key<'a> {
        Key { space: self.space(db), hash: self.hasher.hash(bytes), bytes }
    }

    /// The record of a key; one that has expired goes.
    fn locate_live(&mut self, key: Key<'_>, now: Millis) -> Found {
        let mut at = self.locate(key.space, key.hash, key.bytes);
        if let Some(expired) = at
            && self.record(expired).expired(now)
        {
            self.depart(expired, Departure::Expired);
            at = None;
        }
        Found { at, moves: self.moves }
    }

    /// Where the record is now.
    fn again(&self, key: Key<'_>, found: Found) -> Option<Address> {
        if found.moves == self.moves { found.at } else { self.locate(key.space, key.hash, key.bytes) }
    }

    fn put(
        &mut self,
        db: Database,
        key: &[u8],
        (value, expiry): (NewValue<'_>, Option<Millis>),
        mutation: &Mutation<'_>,
        now: Millis,
    ) -> Result<Applied, Refused> {
        self.check_key(key)?;
        let key = self.key(db, key);
        let found = self.locate_live(key, now);
        let existed = found.at.is_some();
        let new = |content| NewRecord { key, content, expiry };
        let (revision, value_len) = match value {
            NewValue::Large(id) => (self.store(&new(Content::Large(id)), found, now)?, self.larges.len(id)),
            NewValue::Bytes(bytes) if self.is_inline(key.bytes, bytes.len()) => {
                (self.store(&new(Content::Inline(bytes)), found, now)?, bytes.len() as u64)
            }
            NewValue::Bytes(bytes) => {
                let id = self.large_begin(bytes.len() as u64, now)?;
                let stored = self.large_append(id, bytes, now);
                let stored = stored.and_then(|()| self.store(&new(Content::Large(id)), found, now));
                (self.or_release(id, stored)?, bytes.len() as u64)
            }
        };
        self.tell(mutation, revision);
        Ok(Applied { revision, existed, value_len })
    }

    /// Whether a value of this length is kept in its record.
    fn is_inline(&self, key: &[u8], value_len: usize) -> bool {
        value_len <= self.inline_max()
            && record::size(key.len(), value_len, true) <= self.config.segment_bytes
    }

    /// Drops a reference if what it was for failed.
    fn or_release<T>(&mut self, id: LargeId, result: Result<T, Refused>) -> Result<T, Refused> {
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
        let credit = old.map_or(0, |at| self.record(at).size());
        match old {
            Some(at) if credit == size => return Ok(self.overwrite(at, new)),
            Some(_) => {}
            None => self.leaf_room(now)?,
        }
        let (found, class) = (Found { at: old, moves: self.moves }, Store::class_of(new.expiry, now));
        let segment = self.acquire(Want::Record { class, size, credit }, now)?;
        // Whatever made room may have moved the old record, or evicted it.
        let old = self.again(key, found);
        let facts = new.facts(Revision(self.revision.0 + 1));
        let offset = self.append(segment, &facts);
        new.write(facts.revision, &mut self.pool.bytes_mut(segment)[offset..]);
        let at = address(&self.pool, segment, offset);
        let index = &mut self.spaces[key.space].index;
        if let Some(old) = old {
            let replaced = index.replace(&mut self.leaves, key.hash, old, at);
            assert!(replaced, "a record that was found is in its index");
            let (segment, offset) = split(&self.pool, old);
            self.kill(segment, offset);
        } else if index.insert(&mut self.leaves, key.hash, at).is_err() {
            self.bury(segment, offset, size);
            return self.refuse();
        }
        self.moves += 1;
        self.remember(&facts);
        self.draw();
        Ok(facts.revision)
    }

    /// Writes a record over one of the same size and key.
    fn overwrite(&mut self, at: Address, new: &NewRecord<'_>) -> Revision {
        let (segment, offset) = split(&self.pool, at);
        let old = self.facts(segment, offset);
        let facts = new.facts(self.draw());
        self.forget(&old);
        self.remember(&facts);
        new.write(facts.revision, &mut self.pool.bytes_mut(segment)[offset..]);
        if let Some(expiry) = facts.expiry {
            self.expires(segment, expiry);
        }
        if let Some(id) = old.large {
            self.large_release(id);
        }
        facts.revision
    }

    fn remove(&mut self, db: Database, key: &[u8], why: Departure, now: Millis) -> Applied {
        let key = self.key(db, key);
        let Some(at) = self.locate(key.space, key.hash, key.bytes) else { return NOTHING };
        let existed = !self.record(at).expired(now);
        let why = if existed { why } else { Departure::Expired };
        let revision = self.depart(at, why);
        if existed { Applied { revision, existed, value_len: 0 } } else { NOTHING }
    }

    /// Takes the value out of a record that may move or go.
    fn hold(&mut self, at: Address) -> Held {
        let (segment, offset) = split(&self.pool, at);
        match Record::read(&self.pool.bytes(segment)[offset..]).content {
            Content::Inline(bytes) => {
                self.scratch[..bytes.len()].copy_from_slice(bytes);
                Held::Scratch(bytes.len())
            }
            Content::Large(id) => {
                self.larges.retain(id);
                Held::Large(id)
            }
        }
    }

    /// Gives a key the value that is held. Refused: the value is let go.
    fn store_held(
        &mut self,
        (key, found): (Key<'_>, Found),
        held: Held,
        expiry: Option<Millis>,
        now: Millis,
    ) -> Result<(Revision, u64), Refused> {
        match held {
            Held::Large(id) => {
                let stored = self.store(&NewRecord { key, content: Content::Large(id), expiry }, found, now);
                let revision = self.or_release(id, stored)?;
                Ok((revision, self.larges.len(id)))
            }
            Held::Scratch(len) if !self.is_inline(key.bytes, len) => {
                let id = self.large_begin(len as u64, now)?;
                let scratch = std::mem::take(&mut self.scratch);
                let filled = self.large_append(id, &scratch[..len], now);
                self.scratch = scratch;
                self.or_release(id, filled)?;
                self.store_held((key, found), Held::Large(id), expiry, now)
            }
            Held::Scratch(len) => {
                let scratch = std::mem::take(&mut self.scratch);
                let content = Content::Inline(&scratch[..len]);
                let stored = self.store(&NewRecord { key, content, expiry }, found, now);
                self.scratch = scratch;
                Ok((stored?, len as u64))
            }
        }
    }

    fn set_expiry(
        &mut self,
        db: Database,
        key: &[u8],
        expiry: Option<Millis>,
        mutation: &Mutation<'_>,
        now: Millis,
    ) -> Result<Applied, Refused> {
        let key = self.key(db, key);
        let found = self.locate_live(key, now);
        let Some(at) = found.at else { return Ok(NOTHING) };
        let held = self.hold(at);
        let (revision, value_len) = self.store_held((key, found), held, expiry, now)?;
        self.tell(mutation, revision);
        Ok(Applied { revision, existed: true, value_len })
    }

    /// `Rename` and `Copy`.
    fn transfer(&mut self, mutation: &Mutation<'_>, now: Millis) -> Result<Applied, Refused> {
        let (Mutation::Rename { db, from, to_db, to } | Mutation::Copy { db, from, to_db, to }) = *mutation
        else {
            return Ok(NOTHING);
        };
        self.check_key(to)?;
        let (from, to) = (self.key(db, from), self.key(to_db, to));
        let found = self.locate_live(from, now);
        let Some(at) = found.at else { return Ok(NOTHING) };
        let entry = self.entry(at);
        let (expiry, revision, value_len) = (entry.expiry, entry.revision, entry.value.len());
        if (from.space, from.bytes) == (to.space, to.bytes) {
            return Ok(Applied { revision, existed: true, value_len });
        }
        let held = self.hold(at);
        let target = self.locate_live(to, now);
        let (revision, value_len) = self.store_held((to, target), held, expiry, now)?;
        if let (Mutation::Rename { .. }, Some(at)) = (mutation, self.again(from, found)) {
            let removed = self.spaces[from.space].index.remove(&mut self.leaves, from.hash, at);
            assert!(removed, "a record that was found is in its index");
            let (segment, offset) = split(&self.pool, at);
            self.kill(segment, offset);
            self.moves += 1;
        }
        self.tell(mutation, revision);
        Ok(Applied { revision, existed: true, value_len })
    }

    fn flush(&mut self, db: Option<Database>, mutation: &Mutation<'_>) -> Applied {
        let applied = self.done(mutation, true, 0);
        self.moves += 1;
        let chosen = db.map(|db| self.space(db));
        for (at, space) in self.spaces.iter_mut().enumerate() {
            if chosen.is_some_and(|chosen| chosen != at) {
                continue;
            }
            space.index.clear(&mut self.leaves);
            self.condemned += space.live;
            (space.live, space.expiring, space.expiry_sum) = (0, 0, 0);
            space.flushed = applied.revision;
        }
        applied
    }

    fn write(
        &mut self,
        db: Database,
        key: &[u8],
        (offset, bytes): (u64, &[u8]),
        mutation: &Mutation<'_>,
        now: Millis,
    ) -> Result<Applied, Refused> {
        self.check_key(key)?;
        let key = self.key(db, key);
        let found = self.locate_live(key, now);
        let old = found.at.map(|at| self.entry(at));
        let (old_len, expiry) = old.map_or((0, None), |entry| (entry.value.len(), entry.expiry));
        let existed = old.is_some();
        let end = if bytes.is_empty() { 0 } else { offset.saturating_add(bytes.len() as u64) };
        let len = old_len.max(end);
        self.check_value_len(len)?;
        let held = found.at.map_or(Held::Scratch(0), |at| self.hold(at));
        let (revision, value_len) = match held {
            Held::Large(id) => self.write_large((key, found), id, (offset, bytes, len), expiry, now)?,
            Held::Scratch(_) if self.is_inline(key.bytes, len as usize) => {
                let (old_len, len, at) = (old_len as usize, len as usize, offset.min(len) as usize);
                self.scratch[old_len..len].fill(0);
                self.scratch[at..at + bytes.len()].copy_from_slice(bytes);
                self.store_held((key, found), Held::Scratch(len), expiry, now)?
            }
            Held::Scratch(old_len) => {
                let id = self.large_begin(len, now)?;
                let scratch = std::mem::take(&mut self.scratch);
                let filled = self.large_append(id, &scratch[..old_len], now);
                self.scratch = scratch;
                let filled = filled.and_then(|()| self.fill_large(id, (offset, bytes, len), now));
                self.or_release(id, filled)?;
                self.store_held((key, found), Held::Large(id), expiry, now)?
            }
        };
        self.tell(mutation, revision);
        Ok(Applied { revision, existed, value_len })
    }

    /// Writes into a large value that is held once more than the record does. Someone else's is copied first, which takes
    /// as long as copying it takes.
    fn write_large(
        &mut self,
        (key, found): (Key<'_>, Found),
        id: LargeId,
        (offset, bytes, len): (u64, &[u8], u64),
        expiry: Option<Millis>,
        now: Millis,
    ) -> Result<(Revision, u64), Refused> {
        let shared = self.larges.references(id) > 2;
        let target = if shared { self.copy_large(id, len, now) } else { Ok(id) };
        let target = self.or_release(id, target)?;
        if shared {
            self.large_release(id);
        }
        let filled = self.fill_large(target, (offset, bytes, len), now);
        self.or_release(target, filled)?;
        self.store_held((key, found), Held::Large(target), expiry, now)
    }

    /// A copy of a large value, to become `len` bytes long.
    fn copy_large(&mut self, id: LargeId, len: u64, now: Millis) -> Result<LargeId, Refused> {
        let copy = self.large_begin(len, now)?;
        let copied = self.copy_into(id, copy, now);
        self.or_release(copy, copied)?;
        Ok(copy)
    }

    fn copy_into(&mut self, id: LargeId, copy: LargeId, now: Millis) -> Result<(), Refused> {
        self.large_reserve(copy, self.larges.len(id), now)?;
        // Pieces may lie in one segment, of which only one can be borrowed: the scratch buffer is in between.
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut cursor = LargeCursor::new(id, 0);
        while cursor.offset < self.larges.len(id) {
            let slice = self.larges.slice(&self.pool, &mut cursor);
            let n = slice.len().min(scratch.len());
            scratch[..n].copy_from_slice(&slice[..n]);
            self.fill(copy, &scratch[..n]);
            cursor.advance(n);
        }
        self.scratch = scratch;
        Ok(())
    }

    /// Appends bytes for which there is room.
    fn fill(&mut self, id: LargeId, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let space = self.larges.space(&mut self.pool, id);
            let n = space.len().min(rest.len());
            assert!(n > 0, "room was reserved");
            space[..n].copy_from_slice(&rest[..n]);
            self.larges.filled(id, n);
            rest = &rest[n..];
        }
    }

    /// Makes a value `len` bytes long at least and writes bytes into it; room is found first.
    fn fill_large(
        &mut self,
        id: LargeId,
        (offset, bytes, len): (u64, &[u8], u64),
        now: Millis,
    ) -> Result<(), Refused> {
        let old_len = self.larges.len(id);
        if len > old_len {
            self.large_room(len - old_len, now)?;
            self.larges.announce(id, len as u32);
            self.large_reserve(id, len, now)?;
        }
        // Nothing but zero bytes up to where the bytes begin, if that is behind the end.
        while self.larges.len(id) < offset.min(len) {
            let gap = offset.min(len) - self.larges.len(id);
            let space = self.larges.space(&mut self.pool, id);
            let n = gap.min(space.len() as u64) as usize;
            assert!(n > 0, "room was reserved");
            space[..n].fill(0);
            self.larges.filled(id, n);
        }
        let mut cursor = LargeCursor::new(id, offset);
        let within = (self.larges.len(id).saturating_sub(offset)).min(bytes.len() as u64) as usize;
        let (mut over, rest) = bytes.split_at(within);
        while !over.is_empty() {
            let space = self.larges.slice_mut(&mut self.pool, &mut cursor);
            let n = space.len().min(over.len());
            assert!(n > 0, "what is filled has pieces");
            space[..n].copy_from_slice(&over[..n]);
            cursor.advance(n);
            over = &over[n..];
        }
        self.fill(id, rest);
        Ok(())
    }
}
