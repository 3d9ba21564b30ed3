//! The one piece of memory that the store has: reserved at start, touched as it fills, cut into segments.
//!
//! ```text
//!          segment 0        segment 1        segment 2        segment 3
//! base -> |bytes           |blk|blk|blk|  |  free           |  free, never touched   …
//!          records, blocks  leaves of the index
//! ```
//! A segment is free, or plain bytes for one owner, or given over to the index as blocks of one size for leaves; never
//! two of these at once, and that is checked whenever bytes are asked for, because the leaves are `hashbrown` tables,
//! which hold pointers into the pool. This is one of the few files that may use `unsafe`.
//!
//! Free segments that were touched before are handed out before untouched ones, so resident memory grows only
//! when it must. Leaf blocks come from the lowest-numbered segment that is partly in use, so that the others
//! empty and go back. Nothing is allocated after [`Pool::new`].
#![allow(unsafe_code)]

mod blocks;
#[cfg(test)]
mod tests;

use super::prefetch;
use crate::pages;
use allocator_api2::alloc::{AllocError, Allocator};
use blocks::Blocks;
use std::alloc::Layout;
use std::cell::{Cell, RefCell};
use std::io::IoSliceMut;
use std::ptr::NonNull;
use std::rc::Rc;

/// The alignment of the first segment, in bytes.
const PAGE_BYTES: usize = 4096;
/// Blocks for leaves begin on a cache line, so that no eight-byte entry and no aligned group straddles two.
const BLOCK_ALIGN: usize = 64;
/// Bytes of a cache line.
const LINE_BYTES: usize = 64;
/// The tag of a block that no leaf has.
pub const NO_TAG: u32 = u32::MAX;

/// Where a block for a leaf begins, in units of [`BLOCK_ALIGN`] bytes: 256 GiB, all that the index can address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home(u32);

/// A segment of the pool, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

impl SegmentId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Some bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub segment: SegmentId,
    /// Where they begin in it.
    pub offset: usize,
    pub len: usize,
}

impl Piece {
    fn overlaps(&self, other: &Piece) -> bool {
        self.segment == other.segment
            && self.offset < other.offset + other.len
            && other.offset < self.offset + self.len
    }
}

/// What a segment is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Free,
    Bytes,
    Leaves,
    /// Its memory is used elsewhere: no page of it is touched.
    Lent,
}

/// The reserved memory. Pool and leaves share it, so that it outlives every table in it.
struct Memory {
    reserved: NonNull<u8>,
    layout: Layout,
    /// The first segment: the first page boundary in what was reserved.
    base: NonNull<u8>,
    segment_bytes: usize,
    segment_shift: u32,
    kinds: Box<[Cell<Kind>]>,
    blocks: RefCell<Blocks>,
}

impl Memory {
    fn new(segment_bytes: usize, segment_count: usize, leaf_buckets: usize) -> Memory {
        let bytes = segment_bytes.checked_mul(segment_count).and_then(|n| n.checked_add(PAGE_BYTES));
        // An alignment above 16 would make the standard allocator fill the memory with zeros itself, and so touch all
        // of it; hence the page boundary is found by hand.
        let layout =
            bytes.and_then(|n| Layout::from_size_align(n, 16).ok()).expect("a pool that can be addressed");
        // SAFETY: the layout's size is at least PAGE_BYTES, hence not zero.
        let reserved = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(reserved) = NonNull::new(reserved) else { std::alloc::handle_alloc_error(layout) };
        let skip = reserved.as_ptr().align_offset(PAGE_BYTES);
        assert!(skip < PAGE_BYTES);
        // SAFETY: skip < PAGE_BYTES bytes, and PAGE_BYTES more than the segments were reserved.
        let base = unsafe { reserved.add(skip) };
        let kinds = vec![Cell::new(Kind::Free); segment_count].into_boxed_slice();
        let blocks = RefCell::new(Blocks::new(segment_bytes, segment_count, leaf_buckets));
        let segment_shift = segment_bytes.trailing_zeros();
        Memory { reserved, layout, base, segment_bytes, segment_shift, kinds, blocks }
    }

    /// See [`Pool::make_pages_huge`].
    fn make_pages_huge(&self) -> bool {
        pages::make_huge(self.base, self.segment_bytes * self.kinds.len())
    }

    /// The first byte of a segment.
    fn segment(&self, id: SegmentId) -> NonNull<u8> {
        assert!(id.index() < self.kinds.len(), "a segment of this pool");
        // SAFETY: the id is below the segment count (checked above), so the offset lies inside what was reserved, whose
        // size fits isize because it is a Layout's.
        unsafe { self.base.add(id.index() * self.segment_bytes) }
    }

    #[inline(always)] // One comparison, before each access to a record.
    fn expect(&self, id: SegmentId, kind: Kind) {
        assert!(self.kinds[id.index()].get() == kind, "segment {} is not {kind:?}", id.0);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `reserved` came from alloc_zeroed with this layout, and is given back once.
        unsafe { std::alloc::dealloc(self.reserved.as_ptr(), self.layout) }
    }
}

/// The segments of the store's memory.
///
/// Kinds of method: `take` and `give_back` move a segment between free and plain bytes; `bytes` and its kin reach into
/// plain bytes; `give_to_leaves` and `reclaim_from_leaves` move a segment to the index and back.
pub struct Pool {
    memory: Rc<Memory>,
    /// Free segments that were touched before; the last one is taken first.
    free: Vec<u32>,
    /// Segments from here on were never taken, up to those at the end that were never anything but lent.
    untouched: u32,
    /// Where those at the end begin.
    lent_from: u32,
}

impl Pool {
    /// Reserves the memory; pages are touched as segments are used. A leaf is a table of `leaf_buckets` buckets.
    ///
    /// # Panics
    /// When the sizes make no sense (a segment smaller than a leaf, `leaf_buckets` no power of two or below 16).
    pub fn new(segment_bytes: usize, segment_count: u32, leaf_buckets: usize) -> Pool {
        assert!(leaf_buckets.is_power_of_two() && leaf_buckets >= 16);
        assert!(segment_bytes.is_power_of_two() && segment_bytes.is_multiple_of(BLOCK_ALIGN));
        assert!(segment_count < u32::MAX);
        let memory = Rc::new(Memory::new(segment_bytes, segment_count as usize, leaf_buckets));
        let free = Vec::with_capacity(segment_count as usize);
        Pool { memory, free, untouched: 0, lent_from: segment_count }
    }

    /// Asks the system for pages of 2 MiB, and touches all of them. Nothing may be [lent](Pool::lend) then: the system may fill in the
    /// pages of what is, to make long ones of them. False: it has no such pages.
    pub fn make_pages_huge(&self) -> bool {
        self.memory.make_pages_huge()
    }

    /// Takes a free segment as plain bytes; what it holds is left over from before.
    pub fn take(&mut self) -> Option<SegmentId> {
        let id = match self.free.pop() {
            Some(id) => id,
            None if self.untouched < self.lent_from => {
                self.untouched += 1;
                self.untouched - 1
            }
            None => return None,
        };
        self.memory.expect(SegmentId(id), Kind::Free);
        self.memory.kinds[id as usize].set(Kind::Bytes);
        Some(SegmentId(id))
    }

    /// Makes a segment of plain bytes free.
    ///
    /// # Panics
    /// When it is not one.
    pub fn give_back(&mut self, id: SegmentId) {
        self.memory.expect(id, Kind::Bytes);
        self.release(id);
    }

    fn release(&mut self, id: SegmentId) {
        self.memory.kinds[id.index()].set(Kind::Free);
        self.free.push(id.0);
    }

    /// Gives the pages of a segment of plain bytes back to the system; what it held is gone, and a later use of it
    /// touches them again.
    ///
    /// # Panics
    /// When it is not one.
    pub fn discard_pages(&mut self, id: SegmentId) {
        pages::discard(self.bytes_mut(id));
    }

    /// Segments that can be taken.
    pub fn free_count(&self) -> u32 {
        self.free.len() as u32 + (self.lent_from - self.untouched)
    }

    /// Takes a free segment whose memory is to be used elsewhere: one that was never touched, the last of them, or one
    /// whose pages go back to the system.
    pub fn lend(&mut self) -> Option<SegmentId> {
        let id = if self.untouched < self.lent_from {
            self.lent_from -= 1;
            SegmentId(self.lent_from)
        } else {
            let id = SegmentId(self.free.pop()?);
            self.memory.expect(id, Kind::Free);
            self.memory.kinds[id.index()].set(Kind::Bytes);
            self.discard_pages(id);
            id
        };
        self.memory.kinds[id.index()].set(Kind::Lent);
        Some(id)
    }

    /// Makes the segment free that was lent last of those that still are.
    ///
    /// # Panics
    /// When it is not lent.
    pub fn take_back(&mut self, id: SegmentId) {
        self.memory.expect(id, Kind::Lent);
        if id.0 == self.lent_from {
            self.memory.kinds[id.index()].set(Kind::Free);
            self.lent_from += 1;
        } else {
            self.release(id);
        }
    }

    /// Segments in all.
    pub fn segment_count(&self) -> u32 {
        self.memory.kinds.len() as u32
    }

    /// Segments that were ever taken: the pages of the others cost nothing yet.
    pub fn touched_count(&self) -> u32 {
        self.untouched
    }

    /// Bytes of a segment.
    #[inline]
    pub fn segment_bytes(&self) -> usize {
        self.memory.segment_bytes
    }

    /// The same as a power of two.
    #[inline]
    pub fn segment_shift(&self) -> u32 {
        self.memory.segment_shift
    }

    /// The bytes of a segment.
    ///
    /// # Panics
    /// When it was not taken as plain bytes.
    #[inline]
    pub fn bytes(&self, id: SegmentId) -> &[u8] {
        self.memory.expect(id, Kind::Bytes);
        let first = self.memory.segment(id);
        // SAFETY: the segment lies inside the reserved memory, which is initialised (zeroed at first) and lives as long
        // as `self.memory`. It is of kind Bytes, so no leaf has a pointer into it, and it is written only through
        // `&mut self`, which cannot exist while this borrow of `self` does.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), self.memory.segment_bytes) }
    }

    /// The bytes of a segment, to be written.
    ///
    /// # Panics
    /// When it was not taken as plain bytes.
    #[inline]
    pub fn bytes_mut(&mut self, id: SegmentId) -> &mut [u8] {
        self.memory.expect(id, Kind::Bytes);
        let first = self.memory.segment(id);
        // SAFETY: as in `bytes`; the exclusive borrow of the pool, which alone hands out plain bytes and is not Clone,
        // makes this the only reference into the segment.
        unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), self.memory.segment_bytes) }
    }

    /// The bytes from an offset in the pool to the end of its segment.
    ///
    /// # Panics
    /// When the segment was not taken as plain bytes.
    #[inline]
    pub fn bytes_from(&self, offset: u64) -> &[u8] {
        let (offset, len) = (offset as usize, self.memory.segment_bytes);
        let id = SegmentId((offset >> self.memory.segment_shift) as u32);
        self.memory.expect(id, Kind::Bytes);
        // SAFETY: as in `bytes`: `expect` has looked the segment up, so it is one of the pool's, and of kind Bytes; what
        // is given ends where the segment does.
        unsafe {
            let first = self.memory.base.as_ptr().add(offset);
            std::slice::from_raw_parts(first, len - (offset & (len - 1)))
        }
    }

    /// Asks memory for the two lines of which the first has the byte at `offset`.
    #[inline]
    pub fn prefetch(&self, offset: u64) {
        let at = self.memory.base.as_ptr().wrapping_add(offset as usize);
        prefetch::line(at);
        prefetch::line(at.wrapping_add(LINE_BYTES - 1));
    }

    /// Two different segments at once: the first to read, the second to write.
    ///
    /// # Panics
    /// When they are one segment, or one was not taken as plain bytes.
    pub fn pair_mut(&mut self, from: SegmentId, to: SegmentId) -> (&[u8], &mut [u8]) {
        assert!(from != to, "two different segments");
        self.memory.expect(from, Kind::Bytes);
        self.memory.expect(to, Kind::Bytes);
        let (first, second) = (self.memory.segment(from), self.memory.segment(to));
        let len = self.memory.segment_bytes;
        // SAFETY: as in `bytes` and `bytes_mut`; different segments do not overlap.
        unsafe {
            (
                std::slice::from_raw_parts(first.as_ptr(), len),
                std::slice::from_raw_parts_mut(second.as_ptr(), len),
            )
        }
    }

    /// Several pieces of segments at once, to be written: `out[i]` becomes piece `i`.
    ///
    /// # Panics
    /// When two of them overlap, one passes its segment's end, one was not taken as plain bytes, or `out` is shorter
    /// than `pieces`.
    pub fn pieces_mut<'a>(&'a mut self, pieces: &[Piece], out: &mut [IoSliceMut<'a>]) {
        let out = &mut out[..pieces.len()];
        for (i, piece) in pieces.iter().enumerate() {
            self.memory.expect(piece.segment, Kind::Bytes);
            let end = piece.offset.checked_add(piece.len);
            assert!(end.is_some_and(|end| end <= self.memory.segment_bytes), "a piece within its segment");
            // Some twenty pieces at most are asked for: comparing each with each costs less than sorting them.
            assert!(!pieces[..i].iter().any(|other| other.overlaps(piece)), "pieces that do not overlap");
        }
        for (piece, out) in pieces.iter().zip(out) {
            let first = self.memory.segment(piece.segment);
            // SAFETY: as in `bytes_mut`: the piece lies in a segment of plain bytes, and no reference into those but
            // the ones made here lives as long as the exclusive borrow of the pool does; these do not overlap, which
            // was checked for all of them above.
            let bytes =
                unsafe { std::slice::from_raw_parts_mut(first.as_ptr().add(piece.offset), piece.len) };
            *out = IoSliceMut::new(bytes);
        }
    }

    /// Gives a taken segment over to the leaves of the index.
    ///
    /// # Panics
    /// When it was not taken as plain bytes.
    pub fn give_to_leaves(&mut self, id: SegmentId) {
        self.memory.expect(id, Kind::Bytes);
        self.memory.kinds[id.index()].set(Kind::Leaves);
        self.memory.blocks.borrow_mut().add(id.index());
    }

    /// Makes one leaf segment free whose blocks are all free, if at least `keep_blocks` free blocks remain.
    pub fn reclaim_from_leaves(&mut self, keep_blocks: usize) -> Option<SegmentId> {
        let mut blocks = self.memory.blocks.borrow_mut();
        if blocks.free_count < blocks.per_segment + keep_blocks {
            return None;
        }
        let id = SegmentId(blocks.withdraw()? as u32);
        drop(blocks);
        self.memory.expect(id, Kind::Leaves);
        self.release(id);
        Some(id)
    }

    /// The allocator of the index's leaves.
    pub fn leaf_allocator(&self) -> LeafAllocator {
        LeafAllocator { memory: Rc::clone(&self.memory) }
    }

    /// Asserts that every segment is in one place.
    pub fn invariants(&self) {
        for id in &self.free {
            assert!(*id < self.untouched || *id >= self.lent_from);
            self.memory.expect(SegmentId(*id), Kind::Free);
        }
        let free = self.memory.kinds.iter().filter(|kind| kind.get() == Kind::Free).count();
        assert_eq!(free, self.free_count() as usize);
        self.memory.blocks.borrow().invariants(&self.memory.kinds);
    }
}

/// Hands out the blocks of the leaf segments, one size only: a table that tried to grow would get nothing.
#[derive(Clone)]
pub struct LeafAllocator {
    memory: Rc<Memory>,
}

impl LeafAllocator {
    /// Blocks that are free.
    #[inline]
    pub fn free_count(&self) -> usize {
        self.memory.blocks.borrow().free_count
    }

    /// Blocks in use.
    pub fn used_count(&self) -> usize {
        self.memory.blocks.borrow().used_count
    }

    /// Blocks of a segment.
    pub fn per_segment(&self) -> usize {
        self.memory.blocks.borrow().per_segment
    }

    /// Bytes from one block to the next.
    pub fn block_bytes(&self) -> usize {
        self.memory.blocks.borrow().stride_bytes
    }

    /// Blocks that there would be if every segment were given to the leaves.
    pub fn capacity(&self) -> usize {
        self.per_segment() * self.memory.kinds.len()
    }

    /// The tag of the blocks that are handed out from now on.
    pub fn set_tag(&self, tag: u32) {
        self.memory.blocks.borrow_mut().next_tag = tag;
    }

    /// Where the block that was handed out last begins.
    pub fn latest(&self) -> Home {
        Home(self.memory.blocks.borrow().latest)
    }

    /// Asks memory for the line with the byte at `inside` of a block; only a hint, whatever is there by now.
    #[inline]
    pub fn prefetch(&self, home: Home, inside: usize) {
        prefetch::line(self.memory.base.as_ptr().wrapping_add(home.0 as usize * BLOCK_ALIGN + inside));
    }

    /// The tag of some block in the highest-numbered leaf segment that is in use, if a lower-numbered segment is
    /// partly free and moving is worth while: two segments' worth of blocks are free. The next block handed out is a
    /// lower one.
    pub fn tag_to_move(&self) -> Option<u32> {
        let blocks = self.memory.blocks.borrow();
        let (from, to) = (blocks.used.last()?, blocks.partial.first()?);
        if to >= from || blocks.free_count < 2 * blocks.per_segment {
            return None;
        }
        let first = from * blocks.per_segment;
        blocks.tags[first..first + blocks.per_segment].iter().copied().find(|tag| *tag != NO_TAG)
    }
}

// SAFETY: a block stays valid, and is handed out once, until it is given back: a bit is cleared for it while it is in
// use, its segment is of kind Leaves (so `Pool` hands out no reference into it) until all its blocks are free, and
// the memory lives as long as any clone of the allocator. Clones share the memory, so any of them may give a block
// back. A block is aligned to BLOCK_ALIGN because segments are and strides are multiples of it.
unsafe impl Allocator for LeafAllocator {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let mut blocks = self.memory.blocks.borrow_mut();
        let fits = layout.size() <= blocks.stride_bytes && layout.align() <= BLOCK_ALIGN;
        // Half a block is no leaf's table either: its caller has lost count.
        if !fits || layout.size() * 2 <= blocks.stride_bytes {
            return Err(AllocError);
        }
        let (segment, block) = blocks.take().ok_or(AllocError)?;
        let first = self.memory.segment(SegmentId(segment as u32));
        let inside = block * blocks.stride_bytes;
        blocks.latest = ((segment * self.memory.segment_bytes + inside) / BLOCK_ALIGN) as u32;
        // SAFETY: block < per_segment, so the whole block lies inside its segment.
        let block = unsafe { first.add(inside) };
        Ok(NonNull::slice_from_raw_parts(block, layout.size()))
    }

    unsafe fn deallocate(&self, at: NonNull<u8>, _layout: Layout) {
        let mut blocks = self.memory.blocks.borrow_mut();
        let offset = at.as_ptr() as usize - self.memory.base.as_ptr() as usize;
        let (segment, inside) = (offset / self.memory.segment_bytes, offset % self.memory.segment_bytes);
        let block = inside / blocks.stride_bytes;
        blocks.give_back(segment, block);
    }
}
