//! Several keys at once, all or nothing: [`Store::put_all`], a write batch.
//!
//! ```text
//!          for each pair                                           for each pair
//!  stage ------------------------- all there is room for? --yes--> publish: commit, the old record is freed
//!    |  a record of the same size?         | no
//!    |    yes: it is pinned                v
//!    |    no:  a new one is appended     roll back: new records die, pins are taken away; nothing was visible
//! ```
//! *Staging* is all that takes memory. A staged record is a record like any other: it lies in the log, is counted, is in
//! the index of its database and moves when its segment is cleaned. Beside it the key's old record stays as it is. Nobody
//! meets the two together, for nothing else runs until `put_all` is done.
//!
//! *Publishing cannot fail*, because it takes nothing: a staged record is in the log and in the index already, one of the
//! same size is written over, and all else is to remove and to free. *Unstaging cannot fail* for the same reason. That both
//! find what staging left depends on two things: a pinned record is not evicted (every staged one is pinned too), and none
//! that staging found expires meanwhile, because time stands still. So there is no worst case to reckon with in advance:
//! records that span no segments, leaves that split, blocks that are short are met while the batch can still be given up.
//! The assertions in `publish` and `unlink` would tell if that were wrong.
//!
//! *Eviction* takes none of the batch's values, however much the batch needs; it may take what its keys had before. A batch
//! that does not fit as a whole is refused in evict mode, too: an answer that stands for all keys while the first of
//! them are gone already would be worth little.
//!
//! *Work* is bounded as that of the single writes is: [`acquire`](Store::acquire) has its bound for each pair, and the
//! first that is refused ends it. What can be seen to be too much from its sizes is refused before anything is staged.
//!
//! **What it costs in room.** A record that is replaced by one of another size dies only when all are staged, so old and
//! new are in the log together. What live records may fill is reckoned without the old ones, as for a single write, but the
//! bytes themselves must come out of the tenth that is kept free for cleaning. So a store that is full to the brim takes
//! any number of replacements of the same size, and others up to about a tenth of the log at once. The same goes for
//! large values that the store itself has to put together.

use super::collection::Referenced;
use super::feed::{self, entry};
use super::index::Address;
use super::lookup::Lookahead;
use super::place::{Key, NewRecord, Publish};
use super::pool::Pool;
use super::record::{self, Content, LARGE_BYTES, Record};
use super::room::{Fill, Want};
use super::{OnFull, Store, address, bytes_at, split};
use crate::mutant::{self, Mutant};
use crate::mutation::{
    Database, Effect, Mutation, NewValue, PublishedValue, Refused, RemoveReason, Revision,
};
use crate::time::Millis;

const BATCH_HAS_STRINGS: &str = "a batch gives its keys strings";

/// What expiry the keys of a batch get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchExpiry {
    /// All of them this one.
    At(Option<Millis>),
    /// Each the one that it has.
    Keep,
}

/// How far staging has come.
struct WriteBatch {
    /// The latest revision before it. A staged record has this and its pair's number, from 1 on, until it gets its own.
    base: Revision,
    /// Bytes of staged records.
    staged: usize,
    /// Bytes of records that die when those are published.
    replaced_bytes: usize,
    expiry: BatchExpiry,
}

/// One pair of the batch; the first has the number 1.
#[derive(Clone, Copy)]
struct Pair<'a> {
    number: u64,
    key: Key<'a>,
    value: NewValue<'a>,
}

/// The records of a key while a batch is staged.
struct OldAndStaged {
    /// What the key has.
    old: Option<Address>,
    /// What it is to have.
    staged: Option<Address>,
}

impl OldAndStaged {
    /// Whether a pair of the batch was staged already: beside what the key has, or in its place.
    fn is_staged(&self, pool: &Pool) -> bool {
        self.staged.is_some() || self.old.is_some_and(|at| record::is_pinned(bytes_at(pool, at)))
    }
}

impl Store {
    /// Gives every key its value and expiry, or changes nothing; of a key that is given twice the last value counts,
    /// and that one alone. The puts are one group of the feed. The batch takes references of its own to large values.
    ///
    /// # Errors
    /// [`Refused`]; every key is then as it was, except those that expired (or, in evict mode, went) for want of room.
    pub fn put_all<'a, P>(
        &mut self,
        db: Database,
        pairs: P,
        expiry: BatchExpiry,
        now: Millis,
    ) -> Result<(), Refused>
    where
        P: Iterator<Item = (&'a [u8], NewValue<'a>)> + Clone,
    {
        if mutant::is_on(Mutant::HalfDone) {
            return self.put_each(db, pairs, expiry, now);
        }
        self.batch_room(db, pairs.clone(), expiry, now)?;
        let mut batch = WriteBatch { base: self.revision, staged: 0, replaced_bytes: 0, expiry };
        let mut keys = pairs.clone().map(|(key, _)| Some(key));
        let mut ahead = Lookahead::new(self, db, &mut keys);
        for (pair, number) in pairs.clone().zip(1..) {
            if let Some(hint) = ahead.step(self, db, &mut keys) {
                self.expect(pair.0, &hint);
            }
            let pair = self.pair(db, pair, number);
            if let Err(refused) = self.stage(&mut batch, pair, now) {
                pairs
                    .take(number as usize - 1)
                    .for_each(|pair| _ = self.rollback_key(&mut batch, self.key(db, pair.0)));
                debug_assert_eq!(batch.staged, 0, "nothing of the batch is left");
                debug_assert!(
                    batch.replaced_bytes == 0 || self.config.on_full == OnFull::Evict,
                    "what was to die is back"
                );
                return Err(refused);
            }
        }
        self.begin_group();
        for (pair, number) in pairs.zip(1..) {
            self.publish(&batch, self.pair(db, pair, number));
        }
        self.end_group();
        Ok(())
    }

    /// What `put_all` is not: one after the other, until one is refused.
    #[cold]
    fn put_each<'a>(
        &mut self,
        db: Database,
        mut pairs: impl Iterator<Item = (&'a [u8], NewValue<'a>)>,
        expiry: BatchExpiry,
        now: Millis,
    ) -> Result<(), Refused> {
        pairs.try_for_each(|(key, value)| {
            let expiry = match expiry {
                BatchExpiry::At(expiry) => expiry,
                BatchExpiry::Keep => self.peek(db, key, now).and_then(|entry| entry.expiry),
            };
            self.apply(&Mutation::Put { db, key, value, expiry }, now).map(drop)
        })
    }

    fn pair<'a>(&self, db: Database, (key, value): (&'a [u8], NewValue<'a>), number: u64) -> Pair<'a> {
        Pair { number, key: self.key(db, key), value }
    }

    /// Refuses at once what cannot be had: staging would find out too, but only when the store is full of it.
    fn batch_room<'a, P>(
        &mut self,
        db: Database,
        pairs: P,
        expiry: BatchExpiry,
        now: Millis,
    ) -> Result<(), Refused>
    where
        P: Iterator<Item = (&'a [u8], NewValue<'a>)> + Clone,
    {
        // Which keys keep an expiry is not looked up for an estimate.
        let expires = expiry != BatchExpiry::At(None);
        let mut needed = 0;
        for (key, value) in pairs.clone() {
            self.check_key(key)?;
            needed += self.pair_size(key, value, expires) as u64;
        }
        // What the pairs replace is looked up only if it matters. A key that is given twice counts twice.
        if self.batch_fits(needed, 0) {
            return Ok(());
        }
        let old = pairs.filter_map(|(key, _)| {
            let key = self.key(db, key);
            self.locate(key.space, key.hash, key.bytes).map(|at| self.record(at).size() as u64)
        });
        let replaced = old.sum();
        self.reclaim_until(now, |store| store.batch_fits(needed, replaced))
    }

    fn pair_size(&self, key: &[u8], value: NewValue<'_>, expires: bool) -> usize {
        match value {
            NewValue::Bytes(bytes) if self.is_inline(key, bytes.len()) => {
                record::size(key.len(), bytes.len(), expires)
            }
            _ => record::size(key.len(), LARGE_BYTES, expires),
        }
    }

    /// The expiry that a key gets whose old record is this.
    fn batch_expiry(&self, batch: &WriteBatch, old: Option<Address>) -> Option<Millis> {
        match batch.expiry {
            BatchExpiry::At(expiry) => expiry,
            BatchExpiry::Keep => old.and_then(|at| self.record(at).expiry),
        }
    }

    /// The value as a record can have it without further memory; `None`: it is yet to be made a large one.
    fn content<'a>(&self, pair: Pair<'a>) -> Option<Content<'a>> {
        match pair.value {
            NewValue::Large(id) => Some(Content::Large(id)),
            NewValue::Bytes(bytes) if self.is_inline(pair.key.bytes, bytes.len()) => {
                Some(Content::Inline(bytes))
            }
            NewValue::Bytes(_) => None,
            NewValue::Tree(_) | NewValue::Packed(_) => unreachable!("{BATCH_HAS_STRINGS}"),
        }
    }

    fn old_and_staged(&self, batch: &WriteBatch, key: Key<'_>) -> OldAndStaged {
        let mut old_and_staged = OldAndStaged { old: None, staged: None };
        self.keyspaces[key.space].index.find(&self.leaves, key.hash, |at| {
            let bytes = bytes_at(&self.pool, at);
            if record::has_key(bytes, key.bytes) {
                let staged = record::is_pinned(bytes) && record::revision(bytes) > batch.base;
                *(if staged { &mut old_and_staged.staged } else { &mut old_and_staged.old }) = Some(at);
            }
            false
        });
        old_and_staged
    }

    /// Takes what memory a pair needs. Refused: there is no staged record of its key.
    fn stage(&mut self, batch: &mut WriteBatch, pair: Pair<'_>, now: Millis) -> Result<(), Refused> {
        let expires = batch.expiry != BatchExpiry::At(None);
        self.gc_assist(self.pair_size(pair.key.bytes, pair.value, expires), now);
        if let NewValue::Large(id) = pair.value {
            self.check_large(id, None, now)?;
        }
        // Of a key that is given twice, the pair before counts no more. A record beside the old one says which pair it is
        // of, so that only the last one is published.
        let is_repeated = self.old_and_staged(batch, pair.key).is_staged(&self.pool);
        let mut old = self.rollback_key(batch, pair.key);
        if let Some(at) = old
            && self.expires_by_itself(at, now)
        {
            self.remove_record(at, RemoveReason::Expired);
            old = None;
        }
        let expiry = self.batch_expiry(batch, old);
        let size = self.pair_size(pair.key.bytes, pair.value, expiry.is_some());
        let (old_size, content) = (old.map_or(0, |at| self.record(at).size()), self.content(pair));
        if let (Some(at), Some(_)) = (old, content)
            && old_size == size
            && !is_repeated
        {
            let (segment, offset) = split(&self.pool, at);
            record::pin(&mut self.pool.bytes_mut(segment)[offset..]);
            return Ok(());
        }
        let content = match (content, pair.value) {
            (Some(Content::Large(id)), _) => {
                self.larges.retain(id);
                Content::Large(id)
            }
            (Some(content), _) => content,
            (None, NewValue::Bytes(bytes)) => Content::Large(self.large_of_over(old, bytes, now)?),
            (None, NewValue::Large(_) | NewValue::Tree(_) | NewValue::Packed(_)) => {
                unreachable!("a large value is made")
            }
        };
        let new = NewRecord { key: pair.key, content, expiry };
        let staged = self.stage_record(batch, (pair.number, new, old_size), now);
        if let (Err(_), Content::Large(id)) = (&staged, content) {
            self.large_drop(id);
        }
        staged
    }

    /// Appends a record beside that of its key, which has `replaced_bytes` bytes.
    fn stage_record(
        &mut self,
        batch: &mut WriteBatch,
        (number, new, replaced_bytes): (u64, NewRecord<'_>, usize),
        now: Millis,
    ) -> Result<(), Refused> {
        let (class, size) = (Store::class_of(new.expiry, now), new.size());
        self.leaf_room(Fill::Data, now)?;
        let credits = batch.replaced_bytes + replaced_bytes;
        let segment =
            self.acquire(Want::Staged { class, size, staged: batch.staged, replaced_bytes: credits }, now)?;
        let meta = new.meta(Revision(batch.base.0 + number));
        let offset = self.append(segment, &meta);
        let bytes = &mut self.pool.bytes_mut(segment)[offset..];
        new.write(meta.revision, bytes);
        record::pin(bytes);
        let at = address(&self.pool, segment, offset);
        if self.keyspaces[new.key.space].index.insert(&mut self.leaves, new.key.hash, at).is_err() {
            self.mark_record_dead(segment, offset, size);
            return self.refuse();
        }
        self.layout_epoch += 1;
        self.charge(&meta);
        if let Referenced::Large(id) = meta.held {
            self.larges.attach_to_key(id);
        }
        (batch.staged, batch.replaced_bytes) = (batch.staged + size, credits);
        Ok(())
    }

    /// Makes a key what it was before it was staged, if it was, and gives the record that it has.
    fn rollback_key(&mut self, batch: &mut WriteBatch, key: Key<'_>) -> Option<Address> {
        let OldAndStaged { old, staged } = self.old_and_staged(batch, key);
        if let Some(at) = old
            && record::is_pinned(bytes_at(&self.pool, at))
        {
            let (segment, offset) = split(&self.pool, at);
            record::unpin(&mut self.pool.bytes_mut(segment)[offset..]);
        }
        if let Some(at) = staged {
            batch.staged -= self.record(at).size();
            batch.replaced_bytes -= old.map_or(0, |at| self.record(at).size());
            self.unlink(key, at);
        }
        old
    }

    /// Takes a record out of its index and kills it.
    fn unlink(&mut self, key: Key<'_>, at: Address) {
        let removed = self.keyspaces[key.space].index.remove(&mut self.leaves, key.hash, at);
        assert!(removed, "a record that was found is in its index");
        let (segment, offset) = split(&self.pool, at);
        self.free_record(segment, offset);
        self.layout_epoch += 1;
    }

    /// Makes what was staged for a pair the key's value, unless a later pair has the same key.
    fn publish(&mut self, batch: &WriteBatch, pair: Pair<'_>) {
        let (old_and_staged, content) = (self.old_and_staged(batch, pair.key), self.content(pair));
        let expiry = self.batch_expiry(batch, old_and_staged.old);
        let Some(at) = old_and_staged.staged else {
            let is_there = "a pair that was staged is there";
            let (old, content) = (old_and_staged.old.expect(is_there), content.expect(is_there));
            if let Content::Large(id) = content {
                self.larges.retain(id);
            }
            self.overwrite(old, &NewRecord { key: pair.key, content, expiry }, Publish::Put);
            return;
        };
        let number = record::revision(bytes_at(&self.pool, at)).0 - batch.base.0;
        assert!(number >= pair.number, "a key's staged record is its last pair's");
        if number > pair.number {
            return;
        }
        if let Some(old) = old_and_staged.old {
            if self.config.on_full == OnFull::Evict {
                let index = &mut self.keyspaces[pair.key.space].index;
                let uses = index.frequency(&self.leaves, pair.key.hash, old).unwrap_or(0);
                index.set_frequency(&mut self.leaves, pair.key.hash, at, uses);
            }
            self.unlink(pair.key, old);
        }
        let revision = self.commit_staged(pair.key, at);
        if old_and_staged.old.is_none() {
            self.removals.note_new((pair.key.space, pair.key.hash), revision);
        }
        let (segment, offset) = split(&self.pool, at);
        let bytes = &mut self.pool.bytes_mut(segment)[offset..];
        record::unpin(bytes);
        record::set_revision(bytes, revision);
    }

    fn commit_staged(&mut self, key: Key<'_>, at: Address) -> Revision {
        let large_len = match self.record(at).content {
            Content::Large(id) => self.larges.len(id),
            Content::Inline(_) | Content::Collection(_) => 0,
        };
        if self.feed.is_on() {
            let value_len = self.record(at).content.stored_len();
            self.feed_room_for(entry::size(key.bytes.len(), value_len), large_len);
        }
        let (segment, offset) = split(&self.pool, at);
        let Record { content, expiry, .. } = Record::read(&self.pool.bytes(segment)[offset..]);
        let value = match content {
            Content::Inline(bytes) => PublishedValue::Bytes(bytes),
            Content::Large(id) => PublishedValue::Large { id, len: large_len },
            Content::Collection(_) => unreachable!("{BATCH_HAS_STRINGS}"),
        };
        let effect = Effect::Put { keyspace: key.keyspace(), key: key.bytes, value, expiry };
        feed::commit((&mut self.revision, &mut self.feed, &mut self.larges), effect)
    }
}
