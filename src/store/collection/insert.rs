//! Putting an entry into a tree.
//!
//! ```text
//!  path ──▶ pages needed: copies, splits ──▶ room ──▶ own pages on the path ──▶ entry into the leaf ──▶ split? upwards
//!                                         may be refused \__________________ cannot fail ___________________/
//! ```

use super::entry::{Entry, TIME_BYTES};
use super::page::{self, Child, SLOT_BYTES};
use super::tree::{Path, Step};
use super::{HEIGHT_MAX, Item};
use crate::mutant::{self, Mutant};
use crate::mutation::{CollectionKind, LargeId, PageId, Refused, Tree};
use crate::store::Store;
use crate::store::room::Fill;
use crate::time::Millis;
use crate::work;

/// An entry about to be put: its bytes lie in the work buffer.
#[derive(Clone, Copy)]
pub(super) struct Draft {
    len: usize,
    place: u64,
    due: Millis,
}

/// What came of putting an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Put {
    pub existed: bool,
}

/// Where entries are put together, and pages copied to be split.
pub(in crate::store) struct WorkBuffer {
    bytes: Box<[u8]>,
    page_bytes: usize,
}

impl WorkBuffer {
    pub(in crate::store) fn new(page_bytes: usize) -> WorkBuffer {
        WorkBuffer { bytes: vec![0; 3 * page_bytes].into_boxed_slice(), page_bytes }
    }

    /// For an entry.
    fn entry(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.page_bytes]
    }

    /// For two pages.
    pub(super) fn pages(&mut self) -> (&mut [u8], &mut [u8]) {
        self.bytes[self.page_bytes..].split_at_mut(self.page_bytes)
    }

    fn entry_and_page(&self, len: usize) -> (&[u8], &[u8]) {
        (&self.bytes[..len], &self.bytes[self.page_bytes..2 * self.page_bytes])
    }
}

/// The pieces of a page that is split, with one entry more among them.
struct Split<'a> {
    old: &'a [u8],
    new: &'a [u8],
    /// Where the new one comes in.
    at: usize,
}

impl Split<'_> {
    fn count(&self) -> usize {
        page::count(self.old) + 1
    }

    fn bytes(&self, index: usize) -> &[u8] {
        match index.cmp(&self.at) {
            std::cmp::Ordering::Less => page::entry_bytes(self.old, index),
            std::cmp::Ordering::Equal => self.new,
            std::cmp::Ordering::Greater => page::entry_bytes(self.old, index - 1),
        }
    }
}

impl Store {
    /// An empty tree: one leaf. Unless it takes in what a record has grown out of by some bytes, it is data.
    pub(in crate::store) fn tree_create(
        &mut self,
        kind: CollectionKind,
        fill: Fill,
        now: Millis,
    ) -> Result<Tree, Refused> {
        self.reserve_blocks(1, fill, now)?;
        let root = self.new_page(0, kind);
        Ok(Tree { kind, is_table: false, height: 1, root, len: 0, page_count: 1, due: page::NEVER })
    }

    fn new_page(&mut self, level: u8, kind: CollectionKind) -> PageId {
        let id = self.larges.create_page(&mut self.table);
        page::init(self.page_mut(id), level, kind);
        id
    }

    /// Gives a field a value and a time: in a tree to whose root the caller has a reference, which goes over to the root
    /// that `tree` then has. A large value's reference is taken over; what the field had is released. Refused: everything
    /// is as before.
    pub(in crate::store) fn tree_put(
        &mut self,
        tree: &mut Tree,
        field: &[u8],
        (value, expiry): (Option<Item<'_>>, Option<Millis>),
        now: Millis,
    ) -> Result<Put, Refused> {
        let value_len = value.map_or(0, |value| value.len());
        let made = self.made_larges(field, value, now)?;
        let field_item = made.field.unwrap_or(Item::Bytes(field));
        let draft = self.draft(&Entry { field: field_item, value: made.value.or(value), expiry }, field);
        let put = self.put_draft(tree, field, draft, now);
        match put {
            Ok(_) => {
                let value = made.value.or(value).and_then(|value| value.large());
                let long_field = made.field.and_then(|field| field.large());
                [long_field, value].into_iter().flatten().for_each(|id| self.larges.attach(id));
                tree.is_table |= super::makes_table(tree.kind, tree.len as usize, field, value_len);
            }
            Err(_) => made.larges().for_each(|id| self.large_drop(id)),
        }
        put
    }

    /// The large values that an entry of a page needs for a field and a value that are too long for it.
    fn made_larges(
        &mut self,
        field: &[u8],
        value: Option<Item<'_>>,
        now: Millis,
    ) -> Result<MadeLarges, Refused> {
        let mut made = MadeLarges { field: None, value: None };
        if self.is_long_field(field) {
            let id = self.large_of(field, now)?;
            made.field = Some(Item::Large { id, len: field.len() as u32 });
        }
        if let Some(Item::Bytes(bytes)) = value {
            let field_size = made.field.unwrap_or(Item::Bytes(field)).size();
            // An entry gets a time, and loses it, without its value becoming another one.
            let size = TIME_BYTES + field_size + Item::Bytes(bytes).size();
            if size > page::entry_bytes_max(self.page_bytes()) {
                let large = self.large_of(bytes, now);
                let large = match (large, made.field.and_then(|item| item.large())) {
                    (Err(refused), Some(id)) => {
                        self.large_drop(id);
                        return Err(refused);
                    }
                    (large, _) => large?,
                };
                made.value = Some(Item::Large { id: large, len: bytes.len() as u32 });
            }
        }
        Ok(made)
    }

    /// Puts an entry together.
    fn draft(&mut self, entry: &Entry<'_>, field: &[u8]) -> Draft {
        let place = self.place_of_field(field);
        Draft { len: entry.write(self.work.entry()), place, due: entry.expiry.unwrap_or(page::NEVER) }
    }

    /// Gives a field of a tree, which is there, another time. As [`tree_put`](Store::tree_put).
    pub(in crate::store) fn tree_set_expiry(
        &mut self,
        tree: &mut Tree,
        (field, expiry): (&[u8], Option<Millis>),
        now: Millis,
    ) -> Result<(), Refused> {
        let mut work = self.take_work();
        let entry = self.tree_get(tree, field).expect("it was found");
        let entry = Entry { expiry, ..entry };
        let mut larges = [None; 2];
        entry.larges().zip(&mut larges).for_each(|(id, slot)| *slot = Some(id));
        let len = entry.write(work.entry());
        self.work = work;
        let draft = Draft { len, place: self.place_of_field(field), due: expiry.unwrap_or(page::NEVER) };
        larges.into_iter().flatten().for_each(|id| self.larges.retain(id));
        let put = self.put_draft(tree, field, draft, now);
        match put {
            Ok(_) => larges.into_iter().flatten().for_each(|id| self.larges.attach(id)),
            Err(_) => larges.into_iter().flatten().for_each(|id| self.large_drop(id)),
        }
        put.map(drop)
    }

    fn put_draft(
        &mut self,
        tree: &mut Tree,
        field: &[u8],
        draft: Draft,
        now: Millis,
    ) -> Result<Put, Refused> {
        let (path, existed) = self.tree_path(tree, field);
        let leaf = self.page(path.leaf().page);
        let old_len = if existed { page::entry_bytes(leaf, path.leaf().index).len() } else { 0 };
        let room = page::capacity(self.page_bytes()) + if existed { old_len + SLOT_BYTES } else { 0 };
        let overflows = page::filled(leaf) + draft.len + SLOT_BYTES > room;
        let needed = self.copies_needed(&path) + if overflows { self.splits_needed(&path) } else { 0 };
        // A value that is no longer than the one before is taken by a full store, too.
        let fill = if existed && draft.len <= old_len { Fill::Reserve } else { Fill::Data };
        self.reserve_blocks(needed, fill, now)?;
        let path = self.own_path(tree, path);
        let Step { page: leaf, index } = path.leaf();
        let old: Option<Entry<'_>> = existed.then(|| page::entry(self.page(leaf), index));
        let mut old_larges = [None; 2];
        if let Some(entry) = old {
            entry.larges().zip(&mut old_larges).for_each(|(id, slot)| *slot = Some(id));
        }
        if existed && draft.len == old_len {
            self.with_draft(draft, leaf, |bytes, entry| page::overwrite(bytes, index, entry));
        } else {
            if existed {
                page::remove(self.page_mut(leaf), index);
            }
            if overflows {
                self.split_leaf(tree, &path, draft);
            } else {
                self.with_draft(draft, leaf, |bytes, entry| page::insert(bytes, index, entry));
            }
        }
        tree.len += u32::from(!existed);
        tree.due = tree.due.min(draft.due);
        if !overflows {
            self.recount(&path, i32::from(!existed), draft.due);
        }
        old_larges.into_iter().flatten().for_each(|id| self.large_detach(id));
        self.drop_empty_slabs();
        Ok(Put { existed })
    }

    /// Takes the work buffer, so that it can be used beside the store; to be put back.
    pub(super) fn take_work(&mut self) -> WorkBuffer {
        std::mem::replace(&mut self.work, WorkBuffer { bytes: Box::default(), page_bytes: 0 })
    }

    fn with_draft(&mut self, draft: Draft, page: PageId, write: impl FnOnce(&mut [u8], &[u8])) {
        let mut work = self.take_work();
        write(self.page_mut(page), &work.entry()[..draft.len]);
        self.work = work;
    }

    /// Copies that writing along a path needs: of the first shared page and of all below it.
    pub(in crate::store) fn copies_needed(&self, path: &Path) -> u32 {
        let is_shared = |step: &Step| self.larges.pages().references(step.page) > 1;
        let first = path.pages().iter().position(is_shared);
        first.map_or(0, |first| (path.len - first) as u32)
    }

    /// New pages when the leaf of a path is split: one on each level up to the first that has room, and a root when none has.
    fn splits_needed(&self, path: &Path) -> u32 {
        let max = page::children_max(self.page_bytes());
        let full = path.pages()[..path.len - 1]
            .iter()
            .rev()
            .take_while(|step| page::count(self.page(step.page)) >= max)
            .count();
        // The levels above the leaf that are full, the leaf, and a root if all of them are.
        (full + 1 + usize::from(full == path.len - 1)) as u32
    }

    /// Sees to it that every page on the path is referred to only by the one above it, by copying; a reference to the root is the caller's.
    pub(super) fn own_path(&mut self, tree: &mut Tree, path: Path) -> Path {
        let mut path = path;
        for at in 0..path.len {
            let Step { page, .. } = path.steps[at];
            if self.larges.pages().references(page) == 1 || mutant::is_on(Mutant::SharedPageWritten) {
                continue;
            }
            let copy = self.copy_page(page);
            self.larges.pages_mut().release(page);
            path.steps[at].page = copy;
            match at.checked_sub(1) {
                None => tree.root = copy,
                Some(above) => {
                    let Step { page: above, index } = path.steps[above];
                    let bytes = self.page_mut(above);
                    let child = page::child(bytes, index);
                    page::set_child(bytes, index, Child { page: copy, ..child });
                }
            }
        }
        path
    }

    /// A copy of a page; what it refers to is referred to twice.
    fn copy_page(&mut self, id: PageId) -> PageId {
        let copy = self.larges.create_page(&mut self.table);
        let mut work = self.take_work();
        let (buffer, _) = work.pages();
        work::count(work::bytes(2 * buffer.len()));
        self.copied_pages += 1;
        buffer.copy_from_slice(self.page(id));
        self.page_mut(copy).copy_from_slice(buffer);
        self.retain_contents(buffer);
        self.work = work;
        copy
    }

    /// Pages that were copied since the last call, because others refer to them too, and the bytes of each.
    pub fn take_copied_pages(&mut self) -> (u32, usize) {
        (std::mem::take(&mut self.copied_pages), self.page_bytes())
    }

    /// Drops a page's reference to a large value.
    pub(super) fn large_detach(&mut self, id: LargeId) {
        self.larges.detach(id, &mut self.pool, &mut self.table);
    }

    /// What a page's bytes refer to is referred to once more.
    pub(super) fn retain_contents(&mut self, bytes: &[u8]) {
        if page::level(bytes) == 0 && !page::has_larges(bytes) {
            return;
        }
        work::count(work::ENTRY * page::count(bytes) as u64);
        for index in 0..page::count(bytes) {
            if page::level(bytes) > 0 {
                self.larges.pages_mut().retain(page::child(bytes, index).page);
            } else {
                page::entry(bytes, index).larges().for_each(|id| {
                    self.larges.retain(id);
                    self.larges.attach(id);
                });
            }
        }
    }

    /// Splits the leaf of a path and puts the entry into one of the halves; the new half goes into the page above.
    fn split_leaf(&mut self, tree: &mut Tree, path: &Path, draft: Draft) {
        let Step { page: left, index } = path.leaf();
        let right = self.new_page(0, tree.kind);
        tree.page_count += 1;
        let mut work = self.take_work();
        work.pages().0.copy_from_slice(self.page(left));
        let (new, old) = work.entry_and_page(draft.len);
        let split = Split { old, new, at: index };
        let at = self.split_point(&split, draft.place);
        let low = self.place_in_split(&split, at, draft.place);
        page::init(self.page_mut(left), 0, tree.kind);
        for index in 0..split.count() {
            let (id, to) = if index < at { (left, index) } else { (right, index - at) };
            page::insert(self.page_mut(id), to, split.bytes(index));
        }
        let count = (split.count() - at) as u32;
        self.work = work;
        let due = page::due(self.page(right));
        self.add_sibling(tree, path, Child { low, page: right, count, due });
    }

    fn place_in_split(&self, split: &Split<'_>, index: usize, new: u64) -> u64 {
        if index == split.at {
            return new;
        }
        let index = if index < split.at { index } else { index - 1 };
        self.place_of_entry(&page::entry(split.old, index))
    }

    /// How many entries stay on the left: both halves fit, and are about as long.
    fn split_point(&self, split: &Split<'_>, new: u64) -> usize {
        let capacity = page::capacity(self.page_bytes());
        let size = |index| split.bytes(index).len() + SLOT_BYTES;
        let total: usize = (0..split.count()).map(size).sum();
        let (mut left, mut best) = (0, None);
        for index in 1..split.count() {
            left += size(index - 1);
            if left > capacity || total - left > capacity {
                continue;
            }
            let uneven = left.abs_diff(total - left);
            // Entries of one place stay together.
            if best.is_none_or(|(_, least)| uneven < least)
                && self.place_in_split(split, index - 1, new) != self.place_in_split(split, index, new)
            {
                best = Some((index, uneven));
            }
        }
        // 2^53 places, under a secret key: a leaf full of fields of one place is not met.
        best.expect("a leaf has entries of different places").0
    }

    /// Adds to the counts of entries above a leaf, and notes the time of one of them.
    pub(super) fn recount(&mut self, path: &Path, delta: i32, due: Millis) {
        if delta == 0 && due == page::NEVER {
            return;
        }
        for Step { page: id, index } in &path.pages()[..path.len - 1] {
            let bytes = self.page_mut(*id);
            let child = page::child(bytes, *index);
            let (count, due) = (child.count.wrapping_add_signed(delta), child.due.min(due));
            page::set_child(bytes, *index, Child { count, due, ..child });
        }
    }

    /// Puts a page beside the one that the path leads to, on the level above; splits that one, and so on, where it is
    /// full. Counts and times are made up on the way.
    fn add_sibling(&mut self, tree: &mut Tree, path: &Path, sibling: Child) {
        let max = page::children_max(self.page_bytes());
        let mut sibling = Some(sibling);
        for Step { page: id, index } in path.pages()[..path.len - 1].iter().rev().copied() {
            let below = page::child(self.page(id), index);
            let (count, due) = (page::sum(self.page(below.page)), page::due(self.page(below.page)));
            let bytes = self.page_mut(id);
            page::set_child(bytes, index, Child { count, due, ..below });
            if let Some(child) = sibling.take() {
                if page::count(bytes) < max {
                    page::insert_child(bytes, index + 1, child);
                } else {
                    sibling = Some(self.split_inner(tree, (id, index + 1), child));
                }
            }
        }
        let Some(sibling) = sibling else { return };
        // The root itself was split.
        let level = page::level(self.page(tree.root)) + 1;
        assert!(usize::from(tree.height) < HEIGHT_MAX, "a tree is far lower");
        let root = self.new_page(level, tree.kind);
        let first = self.page(tree.root);
        let first = Child { low: 0, page: tree.root, count: page::sum(first), due: page::due(first) };
        let bytes = self.page_mut(root);
        page::insert_child(bytes, 0, first);
        page::insert_child(bytes, 1, sibling);
        (tree.root, tree.height, tree.page_count) = (root, tree.height + 1, tree.page_count + 1);
    }

    /// Splits a full page of children, into one of whose halves a child comes; the new half.
    fn split_inner(&mut self, tree: &mut Tree, (id, index): (PageId, usize), child: Child) -> Child {
        let level = page::level(self.page(id));
        let right = self.new_page(level, tree.kind);
        tree.page_count += 1;
        let mut work = self.take_work();
        let (old, _) = work.pages();
        old.copy_from_slice(self.page(id));
        let children = page::count(old) + 1;
        let half = children / 2;
        page::init(self.page_mut(id), level, tree.kind);
        for at in 0..children {
            let next = match at.cmp(&index) {
                std::cmp::Ordering::Less => page::child(old, at),
                std::cmp::Ordering::Equal => child,
                std::cmp::Ordering::Greater => page::child(old, at - 1),
            };
            let (to, at) = if at < half { (id, at) } else { (right, at - half) };
            page::insert_child(self.page_mut(to), at, next);
        }
        self.work = work;
        let bytes = self.page(right);
        Child { low: page::child(bytes, 0).low, page: right, count: page::sum(bytes), due: page::due(bytes) }
    }
}

/// Large values made for an entry.
struct MadeLarges {
    field: Option<Item<'static>>,
    value: Option<Item<'static>>,
}

impl MadeLarges {
    fn larges(&self) -> impl Iterator<Item = LargeId> + use<> {
        let (field, value) = (self.field, self.value);
        [field, value].into_iter().flatten().filter_map(|item| item.large())
    }
}
