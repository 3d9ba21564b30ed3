//! Applying what another store has published: how a replica follows, and how a restart gets back what it had.
//!
//! ```text
//!   change, revision 17 ──▶ has the key revision 17 or a later one? ──yes──▶ nothing to do
//!                                     │ no
//!                                     ▼
//!                           the same effect, under revision 17
//! ```
//! So changes can be applied over a copy of the store that was taken while they happened, in any order of copy and
//! change: the end is the same, revisions included.

use super::fields::FieldTarget;
use super::place::Key;
use super::pool::SegmentId;
use super::segments::State;
use super::{RemovalPolicy, Store, address};
use crate::mutation::{
    Change, Effect, FieldExpiry, GroupMark, KeyspaceId, NewValue, PublishedValue, Refused, Revision,
};
use crate::time::Millis;

impl Store {
    /// Applies a change that another store has published, under its own revision; false: the store has it already, or
    /// something newer. A large value is one of this store's: the key takes over one reference when the change is applied,
    /// and only then. Groups must come whole; they are published by this store's feed as groups too.
    ///
    /// # Errors
    /// [`Refused`]; nothing was changed, and the change can be applied again.
    ///
    /// # Panics
    /// When the store removes keys by itself ([`RemovalPolicy::Own`]), when a value or a collection was
    /// [passed](PublishedValue::Passed), or a keyspace or database is not the store's.
    pub fn apply_at(&mut self, change: &Change<'_>, now: Millis) -> Result<bool, Refused> {
        assert!(
            self.removal_policy == RemovalPolicy::Follow,
            "two stores that remove keys by themselves differ"
        );
        if change.group == GroupMark::First {
            self.begin_group();
        }
        self.set_origin(change.origin);
        self.feed.set_cause(change.cause);
        let latest = self.revision;
        // The change is to get this very revision.
        self.revision = Revision(change.revision.0 - 1);
        let applied = self.repeat(change, latest, now);
        self.revision = match applied {
            Ok(_) => latest.max(change.revision),
            Err(_) => latest,
        };
        // A change that was refused comes again, and its group with it.
        match (change.group, &applied) {
            (GroupMark::Last, Ok(_)) | (GroupMark::First, Err(_)) => self.end_group(),
            _ => {}
        }
        applied
    }

    fn repeat(&mut self, change: &Change<'_>, latest: Revision, now: Millis) -> Result<bool, Refused> {
        let found = change.effect.key().and_then(|(keyspace, key)| {
            let key = self.key_in(keyspace, key);
            self.locate(key.space, key.hash, key.bytes)
        });
        if found.is_some_and(|at| self.record(at).revision >= change.revision) {
            return Ok(false);
        }
        match change.effect {
            Effect::Put { keyspace, key, value: PublishedValue::Packed(bytes), expiry } => {
                let key = self.key_in(keyspace, key);
                self.check_key(key.bytes)?;
                self.put_packed(key, (bytes, expiry), now)?;
            }
            Effect::Put { keyspace, key, value, expiry } => {
                let key = self.key_in(keyspace, key);
                let value = match value {
                    PublishedValue::Tree(tree) => NewValue::Tree(tree),
                    PublishedValue::Bytes(bytes) => NewValue::Bytes(bytes),
                    PublishedValue::Large { id, .. } => NewValue::Large(id),
                    _ => panic!("a value that was passed cannot be applied"),
                };
                self.check_key(key.bytes)?;
                self.put(key, (value, expiry), now)?;
            }
            Effect::Write { keyspace, key, offset, bytes } => {
                self.check_key(key)?;
                self.write(self.key_in(keyspace, key), (offset, bytes), now)?;
            }
            Effect::PutField { keyspace, key, kind, field, value, expiry } => {
                self.check_key(key)?;
                let value = match value {
                    PublishedValue::Bytes(bytes) => NewValue::Bytes(bytes),
                    PublishedValue::Large { id, .. } => NewValue::Large(id),
                    _ => panic!("a value that was passed cannot be applied"),
                };
                let put = (kind, field, value, FieldExpiry::Set(expiry));
                let applied = self.put_field(self.key_in(keyspace, key), put, now)?;
                return Ok(applied.revision.0 > 0);
            }
            Effect::SetFieldExpiry { keyspace, key, field, expiry } => {
                let applied = self.set_field_expiry(self.key_in(keyspace, key), (field, expiry), now)?;
                return Ok(applied.revision.0 > 0);
            }
            Effect::RemoveField { keyspace, key, kind, field, is_last, reason } => {
                let key = self.key_in(keyspace, key);
                if is_last {
                    return Ok(self.remove_last(key, (kind, field, reason)));
                }
                let target = FieldTarget { key, found: self.found(key), kind, field };
                return Ok(self.remove_found(&target, reason, now)?.revision.0 > 0);
            }
            Effect::SetExpiry { keyspace, key, expiry } => {
                self.set_expiry(self.key_in(keyspace, key), expiry, now)?;
                return Ok(found.is_some());
            }
            Effect::Remove { reason, .. } => match found {
                Some(at) => _ = self.remove_record(at, reason),
                None => return Ok(false),
            },
            Effect::Flush { keyspace } if change.revision > latest => _ = self.flush(keyspace),
            Effect::Flush { keyspace } => self.flush_older(keyspace, change.revision),
            Effect::Swap { a, b } if change.revision > self.swapped => _ = self.swap(a, b),
            Effect::Swap { .. } => return Ok(false),
        }
        Ok(true)
    }

    /// Evicts a little, for a change that was refused for want of memory, as a store that removes keys by itself would
    /// have. False: there is nothing left to evict. What is changed in part of a key that has gone may not be applied.
    pub fn evict_for_replay(&mut self, now: Millis) -> bool {
        // What makes room is not refused after all.
        self.counters.refused = self.counters.refused.saturating_sub(1);
        let policy = std::mem::replace(&mut self.removal_policy, RemovalPolicy::Own);
        let has_evicted = self.reclaim_step(now, 1);
        self.removal_policy = policy;
        has_evicted
    }

    /// No change gets this revision, or one below it, from now on.
    pub fn skip_revisions(&mut self, latest: Revision) {
        self.revision = self.revision.max(latest);
    }

    fn key_in<'a>(&self, keyspace: KeyspaceId, bytes: &'a [u8]) -> Key<'a> {
        Key::new(usize::from(keyspace.0), self.hasher.hash(bytes), bytes)
    }

    /// A flush of long ago: what is newer stays. Takes as long as a walk over the whole store.
    fn flush_older(&mut self, keyspace: Option<KeyspaceId>, flushed: Revision) {
        self.commit(Effect::Flush { keyspace });
        for id in (0..self.table.len()).map(SegmentId) {
            let mut offset = 0;
            while matches!(self.table.get(id).state, State::Open | State::Sealed)
                && offset < self.table.get(id).used as usize
            {
                let meta = self.meta(id, offset);
                let chosen = keyspace.is_none_or(|keyspace| usize::from(keyspace.0) == meta.space);
                if chosen && !meta.dead && !self.flushed(&meta) && meta.revision < flushed {
                    self.unlink_record(address(&self.pool, id, offset));
                }
                offset += meta.size;
            }
        }
    }
}
