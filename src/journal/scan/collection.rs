//! A collection on its way into a checkpoint: an empty one first, then entry after entry, as one group.
//!
//! ```text
//!  | Put, empty, revision r - n | PutField, r - n + 1 | … | PutField, r |        of n entries, the key's revision is r
//! ```
//! It took a change to bring each entry into the store, so revisions that are lower by as many are above 0. They only
//! say in which order the entries are applied; in the end the key has the one that it had.

use super::LargeCopy;
use crate::journal::request::Buffer;
use crate::mutation::{
    Cause, Change, Effect, GroupMark, KeyspaceId, LargeId, LargeRef, Origin, PublishedValue, Revision,
};
use crate::store::collection::{Item, empty_bytes};
use crate::store::feed::stored;
use crate::store::{Collection, Entry, Store};
use crate::time::Millis;

/// A collection that is being written. References to its root, or to its large values, are held as the copy of its bytes
/// says.
pub(super) struct CollectionCopy {
    keyspace: KeyspaceId,
    key: Box<[u8]>,
    expiry: Option<Millis>,
    revision: Revision,
    /// A short one's bytes, or where the pages of a long one are.
    bytes: Box<[u8]>,
    /// Entries that are written, and the empty collection before them.
    written: usize,
}

impl CollectionCopy {
    /// Of a key's entry; the references are still to be [taken](CollectionCopy::retain).
    pub fn new(keyspace: KeyspaceId, entry: &Entry<'_>, collection: &Collection<'_>) -> CollectionCopy {
        CollectionCopy {
            keyspace,
            key: entry.key.into(),
            expiry: entry.expiry,
            revision: entry.revision,
            bytes: collection.to_bytes().into(),
            written: 0,
        }
    }

    fn collection(&self) -> Collection<'_> {
        Collection::read(&self.bytes)
    }

    fn larges(&self) -> Vec<LargeId> {
        match self.collection() {
            Collection::Packed(packed) => packed.entries().flat_map(|entry| entry.larges()).collect(),
            Collection::Tree(_) => Vec::new(),
        }
    }

    /// Takes the references.
    pub fn retain(&self, store: &mut Store) {
        self.larges().into_iter().for_each(|id| _ = store.large_retain(id).into_raw());
        if let Collection::Tree(tree) = self.collection() {
            store.tree_retain(&tree);
        }
    }

    /// Gives them back.
    pub fn release(&self, store: &mut Store) {
        self.larges().into_iter().for_each(|id| store.large_release(LargeRef::from_raw(id)));
        if let Collection::Tree(tree) = self.collection() {
            store.tree_release(&tree);
        }
    }

    /// Writes on into a buffer, up to a large value, which comes next. True: that was all.
    pub fn copy(&mut self, store: &mut Store, buffer: &mut Buffer) -> Copied {
        let len = self.collection().len();
        while self.written <= len {
            let (mut field, mut large) = (Vec::with_capacity(crate::limits::FIELD_BYTES_MAX), None);
            let collection = self.collection();
            let (keyspace, key, kind) = (self.keyspace, &*self.key, collection.kind());
            let empty = empty_bytes(kind, collection.is_table());
            let effect = match self.written.checked_sub(1) {
                None => {
                    let value = PublishedValue::Packed(&empty);
                    Effect::Put { keyspace, key, value, expiry: self.expiry }
                }
                Some(index) => {
                    let Some(entry) = store.field_at(&collection, index) else { return Copied::Whole };
                    store.copy_item(entry.field, &mut field);
                    let value = match entry.value {
                        None => PublishedValue::Bytes(b""),
                        Some(Item::Bytes(bytes)) => PublishedValue::Bytes(bytes),
                        Some(Item::Large { id, len }) => {
                            large = Some((id, u64::from(len)));
                            PublishedValue::Large { id: LargeId(0), len: u64::from(len) }
                        }
                    };
                    let expiry = entry.expiry;
                    Effect::PutField { keyspace, key, kind, field: &field, value, expiry }
                }
            };
            let group = match self.written {
                0 if len == 0 => GroupMark::Alone,
                0 => GroupMark::First,
                written if written == len => GroupMark::Last,
                _ => GroupMark::Within,
            };
            let revision = Revision(self.revision.0.saturating_sub((len - self.written) as u64).max(1));
            let change = Change { revision, group, origin: Origin::Unknown, cause: Cause::default(), effect };
            let change_len = stored::encoded_len(&change);
            if change_len > buffer.room().len() {
                return Copied::NoRoom;
            }
            stored::encode(buffer.room(), &change);
            buffer.filled(change_len, revision, revision);
            self.written += 1;
            if let Some((id, len)) = large {
                return Copied::Large(LargeCopy::new(store.large_retain(id), len));
            }
        }
        Copied::Whole
    }
}

/// How far a collection was written.
pub(super) enum Copied {
    Whole,
    NoRoom,
    /// The bytes of this one come next.
    Large(LargeCopy),
}
