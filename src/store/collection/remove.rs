//! Taking an entry out of a tree, and freeing trees.
//!
//! A page that is left with less than a quarter is merged with one beside it, if both fit into one. The merged entries
//! go into the page on the path, which is the caller's alone, so that no page is needed for it.

use super::page::{self, Child};
use super::tree::{Path, Step};
use crate::mutation::{PageId, Refused, Tree};
use crate::store::Store;
use crate::store::room::Fill;
use crate::time::Millis;
use crate::work;

/// Pages that dropping the last reference to a root frees at once.
const PAGES_AT_ONCE: usize = 2;

impl Store {
    /// Takes a field out: of a tree to whose root the caller has a reference, which goes over to the root that `tree`
    /// then has. False: it is not there. With the last one the root is an empty leaf. Refused: everything is as before.
    pub(in crate::store) fn tree_remove(
        &mut self,
        tree: &mut Tree,
        field: &[u8],
        now: Millis,
    ) -> Result<bool, Refused> {
        let (path, is_there) = self.tree_path(tree, field);
        if !is_there {
            return Ok(false);
        }
        let needed = self.copies_needed(&path);
        self.reserve_blocks(needed, Fill::Reserve, now)?;
        self.remove_at(tree, path);
        self.drop_empty_slabs();
        Ok(true)
    }

    /// Takes out the entry to which a path leads; there is room for the copies that it needs.
    pub(in crate::store) fn remove_at(&mut self, tree: &mut Tree, path: Path) {
        let path = self.own_path(tree, path);
        let Step { page: leaf, index } = path.leaf();
        let mut larges = [None; 2];
        let entry = page::entry(self.page(leaf), index);
        entry.larges().zip(&mut larges).for_each(|(id, slot)| *slot = Some(id));
        page::remove(self.page_mut(leaf), index);
        larges.into_iter().flatten().for_each(|id| self.large_detach(id));
        tree.len -= 1;
        self.recount(&path, -1, page::NEVER);
        self.merge_upwards(tree, &path);
    }

    /// Merges the pages of a path, from the leaf up, where little is left of them.
    fn merge_upwards(&mut self, tree: &mut Tree, path: &Path) {
        let capacity = page::capacity(self.page_bytes());
        for at in (1..path.len).rev() {
            let Step { page: id, .. } = path.steps[at];
            let Step { page: above, index } = path.steps[at - 1];
            if page::filled(self.page(id)) >= capacity / 4 {
                break;
            }
            if page::count(self.page(id)) == 0 {
                page::remove_child(self.page_mut(above), index);
                self.larges.pages_mut().release(id);
                self.free_pending_page();
                tree.page_count -= 1;
            } else {
                self.merge_with_neighbour(tree, (above, index), id);
            }
        }
        while tree.height > 1 && page::count(self.page(tree.root)) <= 1 {
            let child =
                (page::count(self.page(tree.root)) == 1).then(|| page::child(self.page(tree.root), 0));
            let Some(child) = child else {
                // The last entry is gone, and every page below.
                page::init(self.page_mut(tree.root), 0, tree.kind);
                tree.height = 1;
                break;
            };
            // Its reference to the child is the tree's now.
            self.larges.free_page(tree.root, &mut self.pool, &mut self.table);
            (tree.root, tree.height, tree.page_count) = (child.page, tree.height - 1, tree.page_count - 1);
            if tree.height > 1 && self.larges.pages().references(tree.root) > 1 {
                break;
            }
        }
    }

    /// Merges the page of an index with the one behind or before it, if both fit into one.
    fn merge_with_neighbour(&mut self, tree: &mut Tree, (above, index): (PageId, usize), id: PageId) {
        let capacity = page::capacity(self.page_bytes());
        let bytes = self.page(above);
        let count = page::count(bytes);
        let fits = |neighbour: &usize| {
            let other = page::child(bytes, *neighbour).page;
            page::filled(self.page(id)) + page::filled(self.page(other)) <= capacity / 4 * 3
        };
        let behind = Some(index + 1).filter(|neighbour| *neighbour < count);
        let before = index.checked_sub(1);
        let Some(neighbour) = behind.filter(fits).or_else(|| before.filter(fits)) else { return };
        let (first, last) = (index.min(neighbour), index.max(neighbour));
        let (low, other) = (page::child(bytes, first).low, page::child(bytes, neighbour).page);
        let low_of_last = page::child(bytes, last).low;
        self.merge_pages(tree, id, (other, neighbour < index), low_of_last);
        let (count, due) = (page::sum(self.page(id)), page::due(self.page(id)));
        let merged = Child { low, page: id, count, due };
        let bytes = self.page_mut(above);
        page::set_child(bytes, first, merged);
        page::remove_child(bytes, last);
        tree.page_count -= 1;
    }

    /// Puts what another page has into this one, before or behind what it has, and drops the reference to the other.
    /// What a page of children has as the least place of its first one means nothing; `low_of_last` is that of the
    /// page whose children come behind.
    fn merge_pages(&mut self, tree: &Tree, id: PageId, (other, is_before): (PageId, bool), low_of_last: u64) {
        let mut work = self.take_work();
        let (own, others) = work.pages();
        own.copy_from_slice(self.page(id));
        others.copy_from_slice(self.page(other));
        if self.larges.pages().references(other) > 1 {
            self.retain_contents(others);
            self.larges.pages_mut().release(other);
        } else {
            self.larges.free_page(other, &mut self.pool, &mut self.table);
        }
        let level = page::level(own);
        let bytes = self.page_mut(id);
        page::init(bytes, level, tree.kind);
        let parts = if is_before { [&*others, &*own] } else { [&*own, &*others] };
        for part in parts {
            let start = page::count(bytes);
            for index in 0..page::count(part) {
                let at = page::count(bytes);
                if level == 0 {
                    page::insert(bytes, at, page::entry_bytes(part, index));
                } else {
                    let child = page::child(part, index);
                    let low = if at == start && start > 0 { low_of_last } else { child.low };
                    page::insert_child(bytes, at, Child { low, ..child });
                }
            }
        }
        self.work = work;
    }

    /// Drops a reference to a root; with the last one its pages come back bit by bit.
    pub(in crate::store) fn release_root(&mut self, root: PageId) {
        self.larges.pages_mut().release(root);
        if self.larges.pages().has_pending() {
            (0..PAGES_AT_ONCE).for_each(|_| self.free_pending_page());
        }
    }

    /// Frees the next page that waits for it; what it refers to has a reference less.
    pub(in crate::store) fn free_pending_page(&mut self) {
        let Some(id) = self.larges.pages_mut().take_pending() else { return };
        let bytes = self.page(id);
        let refers = page::level(bytes) > 0 || page::has_larges(bytes);
        let count = if refers { page::count(bytes) } else { 0 };
        work::count(work::PAGE + work::ENTRY * count as u64);
        for index in 0..count {
            let bytes = self.page(id);
            if page::level(bytes) > 0 {
                let child = page::child(bytes, index).page;
                self.larges.pages_mut().release(child);
                continue;
            }
            let mut larges = [None; 2];
            page::entry(bytes, index).larges().zip(&mut larges).for_each(|(id, slot)| *slot = Some(id));
            larges.into_iter().flatten().for_each(|id| self.large_detach(id));
        }
        self.larges.free_page(id, &mut self.pool, &mut self.table);
    }
}
