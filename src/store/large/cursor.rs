//! Places in large values: reading from one, and filling on from the end of what is filled.
//!
//! ```text
//!  span 0 ---> span 1 ---> span 2 ---> ... ---> block ---> block
//!               ^ position    ^ offset          a cursor goes on from the span where it, or one before it, was last:
//!                                               a long value is walked over once, however many pieces it is read in
//! ```

use super::super::pool::{Piece, Pool, SegmentId};
use super::{Larges, NONE};
use crate::mutation::{ChainPosition, LargeId};
use crate::work;
use std::io::IoSliceMut;

/// Pieces that are filled at once, at most: all blocks of a tail and a few spans.
const SPACES_MAX: usize = 24;

/// A place in a large value, for reading it piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargeCursor {
    /// Which value; the holder of the cursor holds a reference too.
    pub id: LargeId,
    /// Bytes before the place.
    pub offset: u64,
    /// A span that was found before, so that the next one is found in one step.
    position: ChainPosition,
}

impl LargeCursor {
    /// A cursor at `offset`.
    pub fn new(id: LargeId, offset: u64) -> LargeCursor {
        LargeCursor { id, offset, position: ChainPosition::NONE }
    }

    /// A cursor at `offset` that begins to look where another one of the same value has [stopped](LargeCursor::position).
    pub fn follow(id: LargeId, offset: u64, position: ChainPosition) -> LargeCursor {
        LargeCursor { id, offset, position }
    }

    /// What a later cursor can [follow](LargeCursor::follow).
    pub fn position(&self) -> ChainPosition {
        self.position
    }

    /// Moves it `n` bytes on.
    pub fn advance(&mut self, n: usize) {
        self.offset += n as u64;
    }
}

impl Larges {
    /// Walks to the span of the cursor, or to the last one if it is behind them. False: it is behind them.
    pub fn advance_position(&self, cursor: &mut LargeCursor) -> bool {
        let object = self.object(cursor.id);
        let index = cursor.offset / self.segment_bytes as u64;
        let is_within = index < u64::from(object.span_count);
        let Some(target) = object.span_count.checked_sub(1).map(|last| index.min(u64::from(last)) as u32)
        else {
            return false;
        };
        let position = &mut cursor.position;
        if position.span == NONE || position.index > target {
            *position = ChainPosition { span: object.first_span, index: 0 };
        }
        while position.index < target {
            work::count(1);
            *position = ChainPosition { span: self.next[position.span as usize], index: position.index + 1 };
        }
        is_within
    }

    /// Where the byte at the cursor lies, and how many contiguous bytes of capacity begin there (0: at the end).
    fn locate(&self, cursor: &mut LargeCursor) -> (SegmentId, usize, usize) {
        let span_bytes = self.segment_bytes as u64;
        if self.advance_position(cursor) {
            let within = (cursor.offset % span_bytes) as usize;
            return (self.place(cursor.position.span).0, within, self.segment_bytes - within);
        }
        let object = self.object(cursor.id);
        let offset = cursor.offset - u64::from(object.span_count) * span_bytes;
        let index = offset / self.block_bytes as u64;
        if index >= u64::from(object.block_count) {
            return (SegmentId(0), 0, 0);
        }
        let block = (0..index).fold(object.first_block, |block, _| self.next[block as usize]);
        let (segment, start) = self.place(block);
        let within = (offset % self.block_bytes as u64) as usize;
        (segment, start + within, self.block_bytes - within)
    }

    /// The contiguous bytes at the cursor; empty at the end.
    pub fn slice<'a>(&self, pool: &'a Pool, cursor: &mut LargeCursor) -> &'a [u8] {
        let (segment, at, capacity) = self.locate(cursor);
        let left = self.len(cursor.id).saturating_sub(cursor.offset);
        let len = left.min(capacity as u64) as usize;
        work::count(work::bytes(len));
        if len == 0 { &[] } else { &pool.bytes(segment)[at..at + len] }
    }

    /// The contiguous bytes of capacity at the cursor, filled or not; empty where the capacity ends.
    pub fn slice_mut<'a>(&self, pool: &'a mut Pool, cursor: &mut LargeCursor) -> &'a mut [u8] {
        let (segment, at, capacity) = self.locate(cursor);
        work::count(work::bytes(capacity.min(8192)));
        if capacity == 0 { &mut [] } else { &mut pool.bytes_mut(segment)[at..at + capacity] }
    }

    /// The unfilled contiguous bytes after the filled ones; empty: [`need`](Self::need) says what to add.
    pub fn space<'a>(&self, pool: &'a mut Pool, id: LargeId) -> &'a mut [u8] {
        self.slice_mut(pool, &mut self.fill_cursor(id))
    }

    /// As many pieces of the unfilled bytes, in order, as fit into `spaces`, at most `len_max` bytes; how many.
    pub fn spaces<'a>(
        &self,
        pool: &'a mut Pool,
        id: LargeId,
        len_max: u64,
        spaces: &mut [IoSliceMut<'a>],
    ) -> usize {
        let mut cursor = self.fill_cursor(id);
        let mut pieces = [Piece { segment: SegmentId(0), offset: 0, len: 0 }; SPACES_MAX];
        let (mut count, mut left) = (0, len_max);
        while count < SPACES_MAX.min(spaces.len()) && left > 0 {
            let (segment, offset, capacity) = self.locate(&mut cursor);
            let len = left.min(capacity as u64) as usize;
            if len == 0 {
                break;
            }
            pieces[count] = Piece { segment, offset, len };
            count += 1;
            left -= len as u64;
            cursor.advance(len);
        }
        pool.pieces_mut(&pieces[..count], spaces);
        count
    }

    /// Where the next byte goes.
    pub(super) fn fill_cursor(&self, id: LargeId) -> LargeCursor {
        let object = self.object(id);
        LargeCursor::follow(id, u64::from(object.len), object.fill_position)
    }
}

const _: () = assert!(ChainPosition::NONE.span == NONE);
