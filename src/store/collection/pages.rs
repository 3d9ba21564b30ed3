//! Where each page lies, how often it is referred to, and which ones wait to be freed.

use crate::mutation::PageId;
use crate::store::segments::NONE;

/// A page, or a row that none has.
#[derive(Clone, Copy)]
struct Row {
    /// Its block, as a piece of the pool.
    piece: u32,
    references: u32,
    /// The next row that is free, or the next page that waits to be freed.
    next: u32,
}

/// The table of pages. Rows are reserved at start and touched as they come into use.
pub struct Pages {
    rows: Vec<Row>,
    free: u32,
    pending: u32,
    pending_count: u32,
    used_count: u32,
}

impl Pages {
    /// Bytes of a table for so many pages.
    pub const fn table_bytes(pages_max: usize) -> usize {
        pages_max * size_of::<Row>()
    }

    /// A table for as many pages as there can be blocks.
    pub fn new(pages_max: usize) -> Pages {
        let rows = Vec::with_capacity(pages_max);
        Pages { rows, free: NONE, pending: NONE, pending_count: 0, used_count: 0 }
    }

    /// The page that the next [`created`](Pages::created) will be.
    pub fn next_id(&self) -> PageId {
        PageId(if self.free == NONE { self.rows.len() as u32 } else { self.free })
    }

    /// A page, with one reference, has this block.
    pub fn created(&mut self, piece: u32) -> PageId {
        let id = self.next_id();
        let row = Row { piece, references: 1, next: NONE };
        self.used_count += 1;
        match self.rows.get_mut(id.0 as usize) {
            Some(free) => {
                self.free = free.next;
                *free = row;
            }
            None => {
                assert!(self.rows.len() < self.rows.capacity(), "a row for every block");
                self.rows.push(row);
            }
        }
        id
    }

    /// The block of a page.
    #[inline]
    pub fn piece(&self, id: PageId) -> u32 {
        self.rows[id.0 as usize].piece
    }

    /// A page has moved to another block.
    pub fn moved(&mut self, id: PageId, piece: u32) {
        self.rows[id.0 as usize].piece = piece;
    }

    /// References to a page.
    #[inline]
    pub fn references(&self, id: PageId) -> u32 {
        self.rows[id.0 as usize].references
    }

    /// One reference more.
    pub fn retain(&mut self, id: PageId) {
        debug_assert!(self.references(id) > 0, "a page is used by holders of a reference");
        self.rows[id.0 as usize].references += 1;
    }

    /// One reference less; with the last one the page waits to be freed.
    pub fn release(&mut self, id: PageId) {
        let row = &mut self.rows[id.0 as usize];
        row.references -= 1;
        if row.references == 0 {
            row.next = self.pending;
            self.pending = id.0;
            self.pending_count += 1;
        }
    }

    /// Takes a page off the list of those that wait to be freed.
    pub fn take_pending(&mut self) -> Option<PageId> {
        let id = Some(self.pending).filter(|id| *id != NONE)?;
        self.pending = self.rows[id as usize].next;
        self.pending_count -= 1;
        Some(PageId(id))
    }

    /// Whether pages wait to be freed.
    pub fn has_pending(&self) -> bool {
        self.pending != NONE
    }

    /// Pages that wait to be freed, those below them not among them.
    pub fn pending_count(&self) -> u32 {
        self.pending_count
    }

    /// The page's block is free: so is its row. Its block.
    pub fn freed(&mut self, id: PageId) -> u32 {
        let row = &mut self.rows[id.0 as usize];
        (row.references, row.next) = (0, self.free);
        self.free = id.0;
        self.used_count -= 1;
        row.piece
    }

    /// Pages that have a block.
    pub fn used_count(&self) -> u32 {
        self.used_count
    }

    /// Every page that has a block, and its block.
    pub fn used(&self) -> impl Iterator<Item = (PageId, u32)> {
        let mut is_free = vec![false; self.rows.len()];
        let mut at = self.free;
        while at != NONE {
            is_free[at as usize] = true;
            at = self.rows[at as usize].next;
        }
        let rows = self.rows.iter().enumerate();
        rows.filter(move |(id, _)| !is_free[*id]).map(|(id, row)| (PageId(id as u32), row.piece))
    }
}
