//! Reading a tree: looking a field up, the entry of an index, going on from a place.

use super::entry::{Entry, Item, LARGE_ITEM_BYTES, TIME_BYTES};
use super::page::{self, SLOT_BYTES};
use super::{HEIGHT_MAX, ORDER_BITS};
use crate::mutation::{LargeId, PageId, Tree};
use crate::store::segments::BLOCKS;
use crate::store::{LargeCursor, Store};
use crate::work;

/// A page on the way to an entry, and the index of the child below it (in the last one: of the entry).
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub page: PageId,
    pub index: usize,
}

/// The way from a root to where an entry is, or would be.
#[derive(Clone, Copy)]
pub(in crate::store) struct Path {
    pub(super) steps: [Step; HEIGHT_MAX],
    pub(super) len: usize,
}

impl Path {
    pub(super) fn leaf(&self) -> Step {
        self.steps[self.len - 1]
    }

    pub(super) fn pages(&self) -> &[Step] {
        &self.steps[..self.len]
    }
}

impl Store {
    /// Bytes of a page.
    pub(in crate::store) fn page_bytes(&self) -> usize {
        self.config.segment_bytes / BLOCKS
    }

    /// The longest field that is kept in an entry of a page; about 1 KiB.
    fn page_field_max(&self) -> usize {
        let max = page::entry_bytes_max(self.page_bytes());
        // Beside it there is room for a time and for a value that is a large one.
        (max / 2 - SLOT_BYTES).min(max - LARGE_ITEM_BYTES - TIME_BYTES - 2)
    }

    pub(in crate::store) fn page(&self, id: PageId) -> &[u8] {
        let (segment, at) = self.larges.place_of_page(id);
        &self.pool.bytes(segment)[at..at + self.page_bytes()]
    }

    pub(super) fn page_mut(&mut self, id: PageId) -> &mut [u8] {
        let ((segment, at), len) = (self.larges.place_of_page(id), self.page_bytes());
        &mut self.pool.bytes_mut(segment)[at..at + len]
    }

    /// Whether a field is too long for an entry of a page.
    pub(in crate::store) fn is_long_field(&self, field: &[u8]) -> bool {
        field.len() > self.page_field_max()
    }

    /// The place of a field in the order of trees.
    pub(super) fn place_of_field(&self, field: &[u8]) -> u64 {
        let hash = if self.is_long_field(field) {
            self.hasher.hash_pieces([field].into_iter())
        } else {
            self.hasher.hash(field)
        };
        hash >> (u64::BITS - ORDER_BITS)
    }

    /// The same for an entry of a page.
    #[inline]
    pub(in crate::store) fn place_of_entry(&self, entry: &Entry<'_>) -> u64 {
        let hash = match entry.field {
            Item::Bytes(field) => self.hasher.hash(field),
            Item::Large { id, .. } => self.hasher.hash_pieces(self.large_pieces(id)),
        };
        hash >> (u64::BITS - ORDER_BITS)
    }

    /// The bytes of a large value, piece by piece.
    pub(in crate::store) fn large_pieces(&self, id: LargeId) -> impl Iterator<Item = &[u8]> {
        let mut cursor = LargeCursor::new(id, 0);
        std::iter::from_fn(move || {
            let piece = self.large_slice(&mut cursor);
            cursor.advance(piece.len());
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// Whether a field or value has these bytes.
    pub fn item_is(&self, item: Item<'_>, bytes: &[u8]) -> bool {
        match item {
            Item::Bytes(item) => item == bytes,
            Item::Large { id, len } => {
                let mut rest = bytes;
                len as usize == bytes.len()
                    && self.large_pieces(id).all(|piece| {
                        let (front, behind) = rest.split_at(piece.len());
                        rest = behind;
                        front == piece
                    })
            }
        }
    }

    /// The index in a leaf of the first entry that is not before a place.
    #[inline]
    pub(super) fn index_of_place(&self, leaf: &[u8], place: u64) -> usize {
        let (mut low, mut high) = (0, page::count(leaf));
        while low < high {
            let middle = low.midpoint(high);
            if self.place_of_entry(&page::entry(leaf, middle)) < place {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The index of a field in a leaf, or where it would be.
    fn index_of_field(&self, leaf: &[u8], field: &[u8], place: u64) -> Result<usize, usize> {
        let mut index = self.index_of_place(leaf, place);
        // Different fields of one place are next to each other, and in one leaf.
        while index < page::count(leaf) {
            let entry = page::entry(leaf, index);
            if self.item_is(entry.field, field) {
                return Ok(index);
            }
            if self.place_of_entry(&entry) != place {
                break;
            }
            index += 1;
        }
        Err(index)
    }

    /// The entry of a field.
    pub(in crate::store) fn tree_get(&self, tree: &Tree, field: &[u8]) -> Option<Entry<'_>> {
        let place = self.place_of_field(field);
        let mut bytes = self.page(tree.root);
        work::count(work::PAGE * u64::from(tree.height));
        while page::level(bytes) > 0 {
            bytes = self.page(page::child(bytes, page::child_of(bytes, place)).page);
        }
        let index = self.index_of_field(bytes, field, place).ok()?;
        Some(page::entry(bytes, index))
    }

    /// The way to a field's entry; false: it is not there, and the way leads to where it would be.
    pub(in crate::store) fn tree_path(&self, tree: &Tree, field: &[u8]) -> (Path, bool) {
        let place = self.place_of_field(field);
        let step = Step { page: tree.root, index: 0 };
        let mut path = Path { steps: [step; HEIGHT_MAX], len: usize::from(tree.height) };
        let mut id = tree.root;
        work::count(work::PAGE * u64::from(tree.height));
        for step in &mut path.steps[..usize::from(tree.height) - 1] {
            let bytes = self.page(id);
            let index = page::child_of(bytes, place);
            *step = Step { page: id, index };
            id = page::child(bytes, index).page;
        }
        let found = self.index_of_field(self.page(id), field, place);
        let (Ok(index) | Err(index)) = found;
        path.steps[path.len - 1] = Step { page: id, index };
        (path, found.is_ok())
    }

    /// The leaf that has the entry of an index, and the index in it.
    fn leaf_of(&self, tree: &Tree, index: u32) -> (&[u8], usize) {
        let (mut bytes, mut index) = (self.page(tree.root), index);
        work::count(work::PAGE * u64::from(tree.height));
        while page::level(bytes) > 0 {
            let mut at = 0;
            let below = loop {
                let child = page::child(bytes, at);
                if index < child.count {
                    break child.page;
                }
                index -= child.count;
                at += 1;
            };
            bytes = self.page(below);
        }
        (bytes, index as usize)
    }

    /// The entry of an index below the tree's length.
    pub fn tree_entry(&self, tree: &Tree, index: u32) -> Entry<'_> {
        let (leaf, index) = self.leaf_of(tree, index);
        page::entry(leaf, index)
    }

    /// The entries from an index on, as many as lie together; at least one if the index is below the tree's length.
    pub fn tree_entries(&self, tree: &Tree, index: u32) -> impl Iterator<Item = Entry<'_>> {
        let rest = (index < tree.len).then(|| self.leaf_of(tree, index));
        let (leaf, range) = rest.map_or((&[][..], 0..0), |(leaf, index)| (leaf, index..page::count(leaf)));
        range.map(move |index| {
            work::count(work::ENTRY);
            page::entry(leaf, index)
        })
    }

    /// The index of the first entry that is not before a place.
    pub fn tree_index(&self, tree: &Tree, place: u64) -> u32 {
        let (mut bytes, mut before) = (self.page(tree.root), 0);
        work::count(work::PAGE * u64::from(tree.height));
        while page::level(bytes) > 0 {
            let index = page::child_of(bytes, place);
            before += (0..index).map(|at| page::child(bytes, at).count).sum::<u32>();
            bytes = self.page(page::child(bytes, index).page);
        }
        before + self.index_of_place(bytes, place) as u32
    }

    /// The place of the entry of an index, for [`tree_index`](Store::tree_index) later on: a tree that was changed
    /// meanwhile has the same entries behind it.
    pub fn tree_place(&self, tree: &Tree, index: u32) -> u64 {
        self.place_of_entry(&self.tree_entry(tree, index))
    }

    /// One reference more to the root of a tree.
    pub fn tree_retain(&mut self, tree: &Tree) {
        self.larges.pages_mut().retain(tree.root);
    }

    /// One reference less; with the last one its pages come back bit by bit.
    pub fn tree_release(&mut self, tree: &Tree) {
        self.release_root(tree.root);
    }
}
