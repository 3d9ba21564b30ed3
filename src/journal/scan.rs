//! A checkpoint's walk over the store: every key once, as the change that would put it there.
//!
//! ```text
//!  which keyspace each database has │ keyspace 0: key, key, … in the order of hashes │ keyspace 1 │ …
//! ```
//! A key that is there throughout is met exactly once, however the index grows meanwhile. What comes and goes during the
//! walk is in the journal.

mod collection;

use super::request::Buffer;
use crate::mutation::{
    Cause, Change, Database, Effect, GroupMark, KeyspaceId, LargeId, LargeRef, Origin, PublishedValue,
    Revision,
};
use crate::store::feed::stored::{self, STORED_ALIGN_BYTES};
use crate::store::{Entry, LargeCursor, Store, Value};
use collection::{CollectionCopy, Copied};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;

/// The bytes of a large value on their way into buffers; the journal uses this for its own too.
#[must_use]
pub struct LargeCopy {
    /// When the journal ends in the middle, it goes with the store.
    value: ManuallyDrop<LargeRef>,
    cursor: LargeCursor,
    left: u64,
    padding: usize,
}

impl LargeCopy {
    /// All `len` bytes of a value.
    pub fn new(value: LargeRef, len: u64) -> LargeCopy {
        let padding = len.next_multiple_of(STORED_ALIGN_BYTES as u64) - len;
        let cursor = LargeCursor::new(value.id(), 0);
        LargeCopy { value: ManuallyDrop::new(value), cursor, left: len, padding: padding as usize }
    }

    /// Gives the value back.
    pub fn release(self, store: &mut Store) {
        store.large_release(ManuallyDrop::into_inner(self.value));
    }

    /// Copies on into `room`, whose length is a multiple of eight: how many bytes, and whether that was the rest. All
    /// but the last are copied in multiples of eight.
    pub fn copy(&mut self, store: &Store, room: &mut [u8]) -> (usize, bool) {
        let mut filled = 0;
        while self.left > 0 && filled < room.len() {
            let piece = store.large_slice(&mut self.cursor);
            let len = piece.len().min(room.len() - filled).min(self.left as usize);
            room[filled..filled + len].copy_from_slice(&piece[..len]);
            self.cursor.advance(len);
            store.advance_position(&mut self.cursor);
            self.left -= len as u64;
            filled += len;
        }
        if self.left > 0 {
            return (filled, false);
        }
        // The room is a multiple of eight, and so is the value with what fills it up.
        room[filled..filled + self.padding].fill(0);
        (filled + self.padding, true)
    }
}

/// A key that had to wait: for another buffer, or because its value is long.
enum Pending {
    Whole(PendingEntry),
    /// A collection is written entry by entry.
    Collection(CollectionCopy),
}

struct PendingEntry {
    entry: Box<[u8]>,
    revision: Revision,
    large: Option<LargeCopy>,
}

/// A walk that is under way.
pub struct Scan {
    /// Which keyspace each database had when it began.
    keyspaces: Box<[KeyspaceId]>,
    /// Databases of which that is written.
    mapped: u8,
    keyspace: u8,
    cursor: u64,
    pending: VecDeque<Pending>,
    large: Option<LargeCopy>,
}

impl Scan {
    /// Begins.
    pub fn new(store: &Store) -> Scan {
        let databases = (0..store.config().databases).map(Database);
        Scan {
            keyspaces: databases.map(|db| store.keyspace_of(db)).collect(),
            mapped: 0,
            keyspace: 0,
            cursor: 0,
            pending: VecDeque::new(),
            large: None,
        }
    }

    /// Puts up to about `count` more keys into a buffer. True: there are no more.
    pub fn step(&mut self, store: &mut Store, buffer: &mut Buffer, count: usize) -> bool {
        if !self.write_mapping(buffer) || !self.write_pending(store, buffer) {
            return false;
        }
        let databases = self.keyspaces.len() as u8;
        if self.keyspace == databases {
            return true;
        }
        let keyspace = KeyspaceId(self.keyspace);
        // What they hold is taken hold of afterwards, when the store is free for it.
        let mut found = Vec::new();
        self.cursor = store.scan_while(keyspace, self.cursor, count, &mut |entry| {
            let Some((change, large)) = change_of(keyspace, entry) else {
                if let Value::Collection(collection) = &entry.value {
                    found.push((Pending::Collection(CollectionCopy::new(keyspace, entry, collection)), None));
                }
                return false;
            };
            let len = stored::encoded_len(&change);
            if large.is_none() && len <= buffer.room().len() {
                stored::encode(buffer.room(), &change);
                buffer.filled(len, change.revision, change.revision);
                return true;
            }
            let mut bytes = vec![0; len].into_boxed_slice();
            stored::encode(&mut bytes, &change);
            let entry = PendingEntry { entry: bytes, revision: change.revision, large: None };
            found.push((Pending::Whole(entry), large));
            false
        });
        for (mut pending, large) in found {
            match &mut pending {
                Pending::Whole(entry) => {
                    entry.large = large.map(|(id, len)| LargeCopy::new(store.large_retain(id), len));
                }
                Pending::Collection(copy) => copy.retain(store),
            }
            self.pending.push_back(pending);
        }
        if self.cursor == 0 {
            self.keyspace += 1;
        }
        self.keyspace == databases && self.pending.is_empty()
    }

    /// Databases that SWAPDB has given other keyspaces. The revisions are below all others. False: there was no room.
    fn write_mapping(&mut self, buffer: &mut Buffer) -> bool {
        while let Some(&keyspace) = self.keyspaces.get(usize::from(self.mapped)) {
            let place = (Database(self.mapped), keyspace);
            let revision = Revision(u64::from(self.mapped) + 1);
            let effect = Effect::Swap { a: place, b: place };
            let change = Change {
                revision,
                group: GroupMark::Alone,
                origin: Origin::Unknown,
                cause: Cause::default(),
                effect,
            };
            if keyspace.0 != self.mapped {
                if stored::encoded_len(&change) > buffer.room().len() {
                    return false;
                }
                let len = stored::encode(buffer.room(), &change);
                buffer.filled(len, revision, revision);
            }
            self.mapped += 1;
        }
        true
    }

    /// What had to wait. False: some of it still has to.
    fn write_pending(&mut self, store: &mut Store, buffer: &mut Buffer) -> bool {
        loop {
            if let Some(mut large) = self.large.take() {
                let (len, is_whole) = large.copy(store, buffer.room());
                let revision = buffer.head.last_revision;
                buffer.filled(len, revision, revision);
                if !is_whole {
                    self.large = Some(large);
                    return false;
                }
                large.release(store);
            }
            let pending = match self.pending.front_mut() {
                None => return true,
                Some(Pending::Whole(pending)) => pending,
                Some(Pending::Collection(copy)) => {
                    match copy.copy(store, buffer) {
                        Copied::NoRoom => return false,
                        Copied::Large(large) => self.large = Some(large),
                        Copied::Whole => {
                            copy.release(store);
                            self.pending.pop_front();
                        }
                    }
                    continue;
                }
            };
            let len = pending.entry.len();
            if len > buffer.room().len() {
                return false;
            }
            buffer.room()[..len].copy_from_slice(&pending.entry);
            buffer.filled(len, pending.revision, pending.revision);
            self.large = pending.large.take();
            self.pending.pop_front();
        }
    }

    /// Gives back what it holds of the store.
    pub fn abandon(self, store: &mut Store) {
        for pending in self.pending {
            match pending {
                Pending::Whole(PendingEntry { large, .. }) => {
                    large.into_iter().for_each(|large| large.release(store));
                }
                Pending::Collection(copy) => copy.release(store),
            }
        }
        if let Some(large) = self.large {
            large.release(store);
        }
    }
}

/// The change that puts a key where it is, and its large value. `None`: it is a collection, which takes several.
fn change_of<'a>(keyspace: KeyspaceId, entry: &Entry<'a>) -> Option<(Change<'a>, Option<(LargeId, u64)>)> {
    let (value, large) = match entry.value {
        Value::Inline(bytes) => (PublishedValue::Bytes(bytes), None),
        Value::Large { id, len } => (PublishedValue::Large { id: LargeId(0), len }, Some((id, len))),
        Value::Collection(_) => return None,
    };
    let effect = Effect::Put { keyspace, key: entry.key, value, expiry: entry.expiry };
    let change = Change {
        revision: entry.revision,
        group: GroupMark::Alone,
        origin: Origin::Unknown,
        cause: Cause::default(),
        effect,
    };
    Some((change, large))
}
