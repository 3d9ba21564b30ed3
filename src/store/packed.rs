//! Short collections as wholes: given to a key, turned into trees, published, and what they refer to.

use super::Store;
use super::collection::{Item, PACKED_HEAD_BYTES, Packed, TREE_BYTES, tree_bytes};
use super::fields::{published, read_packed};
use super::place::{Key, NewRecord, Publish, Target};
use super::record::Content;
use super::room::Fill;
use crate::limits::INLINE_VALUE_BYTES_MAX;
use crate::mutation::{Applied, Effect, LargeId, PublishedValue, Refused, Revision, Tree};
use crate::time::Millis;

impl Store {
    /// Takes one reference more to the large values of a short collection, except to one that is given along.
    pub(super) fn retain_packed(&mut self, bytes: &[u8], except: Option<LargeId>) {
        let packed = read_packed(bytes);
        if packed.has_large {
            let larges = packed.entries().flat_map(|entry| entry.larges());
            larges.filter(|id| Some(*id) != except).for_each(|id| self.larges.retain(id));
        }
    }

    /// Takes back what [`retain_packed`](Store::retain_packed) did.
    pub(super) fn release_packed(&mut self, bytes: &[u8], except: Option<LargeId>) {
        let packed = read_packed(bytes);
        let larges = packed.entries().flat_map(|entry| entry.larges());
        larges.filter(|id| Some(*id) != except).for_each(|id| self.large_drop(id));
    }

    /// Gives a key a short collection, as it was published.
    pub(super) fn put_packed(
        &mut self,
        key: Key<'_>,
        (bytes, expiry): (&[u8], Option<Millis>),
        now: Millis,
    ) -> Result<Applied, Refused> {
        let found = self.locate_live(key, now);
        let new = NewRecord { key, content: Content::Collection(bytes), expiry };
        let revision = self.place(&new, (found, Publish::Put), now)?;
        let value_len = read_packed(bytes).len() as u64;
        Ok(Applied { revision, existed: found.at.is_some(), value_len })
    }

    /// Gives a key a short collection that was saved. Refused: its references are released.
    pub(super) fn place_packed(
        &mut self,
        target: Target<'_>,
        bytes: &[u8],
        now: Millis,
    ) -> Result<(Revision, u64), Refused> {
        let Target { key, found, expiry, publish } = target;
        // A longer key leaves less room beside it.
        if !self.is_inline(key.bytes, bytes.len()) {
            return self.place_grown(target, bytes, now);
        }
        let new = NewRecord { key, content: Content::Collection(bytes), expiry };
        let placed = self.place(&new, (found, publish), now);
        if placed.is_err() {
            self.release_packed(bytes, None);
        }
        Ok((placed?, read_packed(bytes).len() as u64))
    }

    /// The same for one that does not fit into the record of its new key.
    fn place_grown(
        &mut self,
        target: Target<'_>,
        bytes: &[u8],
        now: Millis,
    ) -> Result<(Revision, u64), Refused> {
        let Target { key, found, expiry, publish } = target;
        let packed = read_packed(bytes);
        let grown = self.grown(&packed, now);
        self.release_packed(bytes, None);
        let tree = grown?;
        let new_bytes: [u8; TREE_BYTES] = tree_bytes(&tree);
        let new = NewRecord { key, content: Content::Collection(&new_bytes), expiry };
        let placed = self.place(&new, (found, publish), now);
        if placed.is_err() {
            self.release_root(tree.root);
        }
        Ok((placed?, u64::from(tree.len)))
    }

    /// A tree of the entries of a short collection; both refer to its large values.
    pub(super) fn grown(&mut self, packed: &Packed<'_>, now: Millis) -> Result<Tree, Refused> {
        let mut tree =
            Tree { is_table: packed.is_table, ..self.tree_create(packed.kind, Fill::Reserve, now)? };
        for entry in packed.entries() {
            let Item::Bytes(field) = entry.field else { unreachable!("a short collection has short fields") };
            let large = entry.larges().next();
            large.into_iter().for_each(|id| self.larges.retain(id));
            let put = self.tree_put(&mut tree, field, (entry.value, entry.expiry), now);
            if let Err(refused) = put {
                large.into_iter().for_each(|id| self.large_drop(id));
                self.release_root(tree.root);
                return Err(refused);
            }
        }
        Ok(tree)
    }

    /// Commits a short collection with large values: what is short of it first, then those, as a group.
    pub(super) fn commit_packed(
        &mut self,
        key: Key<'_>,
        packed: &Packed<'_>,
        expiry: Option<Millis>,
    ) -> Revision {
        let (keyspace, kind) = (key.keyspace(), packed.kind);
        let mut short = [0; INLINE_VALUE_BYTES_MAX];
        let (mut len, mut count) = (PACKED_HEAD_BYTES, 0);
        for entry in packed.entries().filter(|entry| entry.larges().next().is_none()) {
            len += entry.write(&mut short[len..]);
            count += 1;
        }
        let head = Packed { has_large: false, len: count, ..*packed }.head();
        short[..PACKED_HEAD_BYTES].copy_from_slice(&head);
        self.begin_group();
        let value = PublishedValue::Packed(&short[..len]);
        let mut revision = self.commit(Effect::Put { keyspace, key: key.bytes, value, expiry });
        for entry in packed.entries() {
            if let (Item::Bytes(field), Some(value @ Item::Large { .. })) = (entry.field, entry.value) {
                let (value, expiry, key) = (published(Some(value)), entry.expiry, key.bytes);
                revision = self.commit(Effect::PutField { keyspace, key, kind, field, value, expiry });
            }
        }
        self.end_group();
        revision
    }
}
