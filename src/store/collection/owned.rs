//! Collections for tests and the simulator, which compare stores: copied out as bytes, and from one store into another.

use super::{Collection, Entry, Item};
use crate::mutation::{Refused, Tree};
use crate::store::Store;
use crate::time::Millis;

/// A field, its value and its time.
pub type OwnedField = (Vec<u8>, Option<Vec<u8>>, Option<Millis>);

impl Store {
    /// The bytes of a field or value.
    fn owned_item(&self, item: Item<'_>) -> Vec<u8> {
        match item {
            Item::Bytes(bytes) => bytes.to_vec(),
            Item::Large { id, .. } => self.large_pieces(id).flatten().copied().collect(),
        }
    }

    fn owned_entry(&self, entry: &Entry<'_>) -> OwnedField {
        (self.owned_item(entry.field), entry.value.map(|value| self.owned_item(value)), entry.expiry)
    }

    /// Every field, value and time, in the order of the fields; those whose time has come are among them.
    pub fn owned_fields(&self, collection: &Collection<'_>) -> Vec<OwnedField> {
        let entries = (0..collection.len()).filter_map(|index| self.field_at(collection, index));
        let mut fields: Vec<_> = entries.map(|entry| self.owned_entry(&entry)).collect();
        assert_eq!(fields.len(), collection.len());
        fields.sort();
        fields
    }

    /// All that a collection has, as one text: two are equal if their texts are.
    pub fn collection_text(&self, collection: &Collection<'_>) -> Vec<u8> {
        let (kind, is_table) = (collection.kind(), collection.is_table());
        format!("{kind:?} {is_table} {:?}", self.owned_fields(collection)).into_bytes()
    }

    /// A copy of a collection of another store.
    ///
    /// # Errors
    /// [`Refused::Full`].
    pub fn tree_copied(&mut self, from: &Store, tree: &Tree, now: Millis) -> Result<Tree, Refused> {
        let mut copy = self.tree_begin(tree.kind, now)?;
        for index in 0..tree.len {
            let (field, value, expiry) = from.owned_entry(&from.tree_entry(tree, index));
            self.tree_put(&mut copy, &field, (value.as_deref().map(Item::Bytes), expiry), now)?;
        }
        copy.is_table = tree.is_table;
        Ok(copy)
    }
}
