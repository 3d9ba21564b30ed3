//! A checkpoint's walk over the store: every key once, as the change that would put it there.
//!
//! ```text
//!  which keyspace each database has │ keyspace 0: key, key, … in the order of hashes │ keyspace 1 │ …
//! ```
//! A key that is there throughout is met exactly once, however the index grows meanwhile. What comes and goes during the
//! walk is in the journal.

use super::request::Buffer;
use crate::mutation::{
    Cause, Change, Database, Effect, GroupMark, KeyspaceId, LargeId, Origin, PublishedValue, Revision,
};
use crate::store::feed::stored::{self, STORED_ALIGN_BYTES};
use crate::store::{Entry, LargeCursor, Store, Value};
use std::collections::VecDeque;

/// The bytes of a large value on their way into buffers; the journal uses this for its own too.
pub struct LargeCopy {
    cursor: LargeCursor,
    left: u64,
    padding: usize,
}

impl LargeCopy {
    /// All `len` bytes of a value of which the caller has a reference.
    pub fn new(id: LargeId, len: u64) -> LargeCopy {
        let padding = len.next_multiple_of(STORED_ALIGN_BYTES as u64) - len;
        LargeCopy { cursor: LargeCursor::new(id, 0), left: len, padding: padding as usize }
    }

    /// The value.
    pub fn id(&self) -> LargeId {
        self.cursor.id
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
struct Pending {
    entry: Box<[u8]>,
    revision: Revision,
    large: Option<(LargeId, u64)>,
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
        let pending = &mut self.pending;
        self.cursor = store.scan_while(keyspace, self.cursor, count, &mut |entry| {
            let (change, large) = change_of(keyspace, entry);
            let len = stored::encoded_len(&change);
            if large.is_none() && len <= buffer.room().len() {
                stored::encode(buffer.room(), &change);
                buffer.filled(len, change.revision, change.revision);
                return true;
            }
            let mut bytes = vec![0; len].into_boxed_slice();
            stored::encode(&mut bytes, &change);
            pending.push_back(Pending { entry: bytes, revision: change.revision, large });
            false
        });
        for (id, _) in self.pending.iter().filter_map(|pending| pending.large) {
            store.large_retain(id);
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
            if let Some(large) = &mut self.large {
                let (len, is_whole) = large.copy(store, buffer.room());
                let revision = buffer.head.last_revision;
                buffer.filled(len, revision, revision);
                if !is_whole {
                    return false;
                }
                store.large_release(large.id());
                self.large = None;
            }
            let Some(pending) = self.pending.front() else { return true };
            let len = pending.entry.len();
            if len > buffer.room().len() {
                return false;
            }
            buffer.room()[..len].copy_from_slice(&pending.entry);
            buffer.filled(len, pending.revision, pending.revision);
            self.large = pending.large.map(|(id, len)| LargeCopy::new(id, len));
            self.pending.pop_front();
        }
    }

    /// Gives back what it holds of the store.
    pub fn abandon(mut self, store: &mut Store) {
        let waiting = self.pending.iter().filter_map(|pending| pending.large).map(|(id, _)| id);
        for id in waiting.chain(self.large.take().map(|large| large.id())) {
            store.large_release(id);
        }
    }
}

/// The change that puts a key where it is, and its large value. The one place to be taught another type of value.
fn change_of<'a>(keyspace: KeyspaceId, entry: &Entry<'a>) -> (Change<'a>, Option<(LargeId, u64)>) {
    let (value, large) = match entry.value {
        Value::Inline(bytes) => (PublishedValue::Bytes(bytes), None),
        Value::Large { id, len } => (PublishedValue::Large { id: LargeId(0), len }, Some((id, len))),
    };
    let effect = Effect::Put { keyspace, key: entry.key, value, expiry: entry.expiry };
    let change = Change {
        revision: entry.revision,
        group: GroupMark::Alone,
        origin: Origin::Unknown,
        cause: Cause::default(),
        effect,
    };
    (change, large)
}
