//! Entries of a tree whose time has come.
//!
//! ```text
//!  level 1:   | due 70 | due 12 | due - |        now is 20: below the second child
//!                          |
//!  level 0:           | - | 12 | 33 |            taken out; the next one here is due at 33, which is noted above
//! ```
//! A child's `due` is a lower bound: putting an entry lowers it on the way down, taking one out leaves it as it is. So it
//! costs a page nothing to be changed, and who comes in vain raises the bound. That is written into shared pages as
//! well: it says the same of all that share them.

use super::entry::Entry;
use super::page::{self, Child};
use super::tree::{Path, Step};
use super::{Collection, HEIGHT_MAX};
use crate::mutation::Tree;
use crate::store::Store;
use crate::store::segments::State;
use crate::time::Millis;
use crate::work;

/// What a look for an entry whose time has come has found.
#[allow(clippy::large_enum_variant)] // It lives for a moment on the stack, as paths do.
pub(in crate::store) enum Due {
    /// The way to one.
    Entry(Path),
    /// A bound was too low, and is raised: to be asked again.
    Corrected,
    /// None.
    Nothing,
}

impl Store {
    /// Looks for an entry whose time has come, along one way from the root.
    pub(in crate::store) fn due_path(&mut self, tree: &Tree, now: Millis) -> Due {
        let first = Step { page: tree.root, index: 0 };
        let mut path = Path { steps: [first; HEIGHT_MAX], len: usize::from(tree.height) };
        let mut id = tree.root;
        work::count(work::PAGE * u64::from(tree.height));
        for at in 0..path.len {
            let bytes = self.page(id);
            let Some(index) = due_index(bytes, now) else {
                let Some(above) = at.checked_sub(1) else { return Due::Nothing };
                let (due, Step { page: above, index }) = (page::due(bytes), path.steps[above]);
                let bytes = self.page_mut(above);
                let child = page::child(bytes, index);
                page::set_child(bytes, index, Child { due, ..child });
                return Due::Corrected;
            };
            path.steps[at] = Step { page: id, index };
            if page::level(bytes) > 0 {
                id = page::child(bytes, index).page;
            }
        }
        Due::Entry(path)
    }

    /// The entry to which a path leads.
    pub(in crate::store) fn entry_at(&self, path: &Path) -> Entry<'_> {
        let Step { page, index } = path.leaf();
        page::entry(self.page(page), index)
    }

    /// Whether so many blocks are free, or can be had without making room: this is for who makes room.
    pub(in crate::store) fn spare_blocks(&mut self, count: u32) -> bool {
        while self.larges.free_blocks(&self.table) < count {
            let segment = if self.spare_segments() > 1 { self.pool.take() } else { None };
            let Some(segment) = segment else { return false };
            self.table.taken(segment, State::BlockSlab);
        }
        true
    }

    /// When the first time of an entry may come. `None`: none has a time.
    pub fn first_due(&self, collection: &Collection<'_>) -> Option<Millis> {
        match collection {
            Collection::Packed(packed) => packed.due(),
            Collection::Tree(tree) if tree.due == page::NEVER => None,
            Collection::Tree(tree) => Some(page::due(self.page(tree.root))).filter(|due| *due != page::NEVER),
        }
    }
}

/// The first entry whose time has come, or the first child below which there may be one.
fn due_index(bytes: &[u8], now: Millis) -> Option<usize> {
    match page::level(bytes) {
        0 if !page::has_times(bytes) => None,
        0 => (0..page::count(bytes)).find(|index| page::time(bytes, *index).is_some_and(|time| time <= now)),
        _ => (0..page::count(bytes)).find(|index| page::child(bytes, *index).due <= now),
    }
}
