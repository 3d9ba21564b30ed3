//! Blocks of slabs, for the tails of large values and for pages: taken, given back, counted, and moved so that slabs fall free.

use super::{Larges, PAGE_BIT, TAIL_BLOCKS_MAX};
use crate::mutation::PageId;
use crate::store::collection::pages::Pages;
use crate::store::pool::{Pool, SegmentId};
use crate::store::segments::{BLOCKS, NONE, Segments, State};

impl Larges {
    /// Takes a block of a slab. `None`: none is free.
    pub(super) fn take_block(&mut self, owner: u32, table: &mut Segments) -> Option<u32> {
        let segment = table.fullest_slab(None)?;
        let block = table.take_block(segment)?;
        let piece = segment.0 * BLOCKS as u32 + block as u32;
        self.used_blocks += 1;
        self.next[piece as usize] = NONE;
        self.owner[piece as usize] = owner;
        Some(piece)
    }

    /// Blocks of slabs that are free.
    pub fn free_blocks(&self, table: &Segments) -> u32 {
        table.totals().count(State::BlockSlab) * BLOCKS as u32 - self.used_blocks
    }

    /// The table of pages.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The same, to count references.
    pub fn pages_mut(&mut self) -> &mut Pages {
        &mut self.pages
    }

    /// A new page in a free block, with one reference.
    ///
    /// # Panics
    /// When no block is free.
    pub fn create_page(&mut self, table: &mut Segments) -> PageId {
        let owner = PAGE_BIT | self.pages.next_id().0;
        let piece = self.take_block(owner, table).expect("a block for the page was reserved");
        self.pages.created(piece)
    }

    /// Where a page lies.
    #[inline]
    pub fn place_of_page(&self, id: PageId) -> (SegmentId, usize) {
        self.place(self.pages.piece(id))
    }

    /// Gives back the block of a page to which nothing refers.
    pub fn free_page(&mut self, id: PageId, pool: &mut Pool, table: &mut Segments) {
        let piece = self.pages.freed(id);
        self.free_block(piece, pool, table);
    }

    /// The segment of a piece and its offset there.
    pub(super) fn place(&self, piece: u32) -> (SegmentId, usize) {
        let (segment, block) = (piece / BLOCKS as u32, piece as usize % BLOCKS);
        (SegmentId(segment), block * self.block_bytes)
    }

    pub(super) fn free_block(&mut self, piece: u32, pool: &mut Pool, table: &mut Segments) {
        let (segment, offset) = self.place(piece);
        self.used_blocks -= 1;
        if table.give_back_block(segment, offset / self.block_bytes) {
            table.freed(segment);
            pool.give_back(segment);
        }
    }

    /// Moves up to `blocks_max` blocks out of the slab with the fewest, if the others have room for all of
    /// them, so that it falls free. True: something was moved.
    pub fn compact_step(&mut self, blocks_max: usize, pool: &mut Pool, table: &mut Segments) -> bool {
        if self.free_blocks(table) < BLOCKS as u32 {
            return false;
        }
        let Some(from) = table.emptiest_slab() else { return false };
        let mut moved = false;
        for _ in 0..blocks_max {
            let used = table.get(from).blocks;
            if table.get(from).state != State::BlockSlab || used == 0 {
                break;
            }
            let Some(to) = table.fullest_slab(Some(from)) else { break };
            let Some(block) = table.take_block(to) else { break };
            self.used_blocks += 1;
            let old = from.0 * BLOCKS as u32 + used.trailing_zeros();
            let new = to.0 * BLOCKS as u32 + block as u32;
            self.move_block(old, new, pool);
            self.free_block(old, pool, table);
            moved = true;
        }
        moved
    }

    /// Copies a block and mends the chain that it is in.
    fn move_block(&mut self, old: u32, new: u32, pool: &mut Pool) {
        let ((from, source), (to, target)) = (self.place(old), self.place(new));
        let (bytes, target_bytes) = pool.pair_mut(from, to);
        target_bytes[target..target + self.block_bytes]
            .copy_from_slice(&bytes[source..source + self.block_bytes]);
        let owner = self.owner[old as usize];
        self.owner[new as usize] = owner;
        if owner & PAGE_BIT != 0 {
            self.pages.moved(PageId(owner & !PAGE_BIT), new);
            return;
        }
        self.next[new as usize] = self.next[old as usize];
        let object = &mut self.objects[owner as usize];
        if object.last_block == old {
            object.last_block = new;
        }
        if object.first_block == old {
            object.first_block = new;
            return;
        }
        let mut at = object.first_block;
        for _ in 0..TAIL_BLOCKS_MAX {
            if self.next[at as usize] == old {
                self.next[at as usize] = new;
                return;
            }
            at = self.next[at as usize];
        }
        unreachable!("a block is in its owner's chain");
    }

    /// Segments that all values need at least, without those that wait to be freed.
    pub fn segments_needed(&self, table: &Segments) -> u64 {
        let spans = table.totals().count(State::Span) - self.pending_free_spans;
        u64::from(spans) + u64::from(self.blocks_needed().div_ceil(BLOCKS as u32))
    }

    /// Blocks of segments for blocks that are free, or that only values to be freed use.
    pub fn spare_blocks(&self) -> u64 {
        let used = self.blocks_needed();
        u64::from(used.next_multiple_of(BLOCKS as u32) - used)
    }

    fn blocks_needed(&self) -> u32 {
        self.used_blocks - self.pending_free_blocks - self.pages.pending_count()
    }

    /// Bytes of the pieces of all values.
    pub fn memory_bytes(&self, table: &Segments) -> u64 {
        u64::from(table.totals().count(State::Span)) * self.segment_bytes as u64
            + u64::from(self.used_blocks) * self.block_bytes as u64
    }
}
