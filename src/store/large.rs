//! Large values: each is a chain of pieces of the pool, filled from the front.
//!
//! ```text
//!  object ---> span ---> span ---> ... ---> block ---> block        (at most 15 blocks)
//!              64 KiB    64 KiB             4 KiB      4 KiB
//! ```
//! A *span* is a whole segment; a *block* is a sixteenth of a segment that is a *slab*. A value whose length is announced
//! takes spans until what remains fits in 15 blocks; one that grows unannounced fills blocks, and the sixteenth turns them
//! into a span. So a value wastes less than a block, and a slab that is left with few blocks can be emptied: its blocks
//! move to other slabs (at most 15 links are walked to mend a chain). Spans never move.
//!
//! Pieces are named by their first block's number in the pool. Links and owners are tables beside the pool, and so is
//! the table of objects; all are reserved at start and touched as they fill.
//!
//! Pages of collections are blocks too ([`Pages`]), so that both share the slabs, and are moved in the same way.
//!
//! References are counted: the record's, each reader's, the writer's. A value that others than records refer to is *held*:
//! evicting its keys would free nothing, and how many blocks such values have is known at any time. When the last
//! reference is dropped the object waits to be freed, and its pieces go back a few at a time ([`Larges::release_step`]).

use super::collection::pages::Pages;
use super::pool::{Pool, SegmentId};
use super::segments::{BLOCKS, NONE, Segments, State};
use crate::mutation::{ChainPosition, LargeId};

mod blocks;
mod cursor;
mod invariants;

pub use cursor::LargeCursor;

/// Set in the bytes announced of a value that is to replace one at least as long. No value is longer than this.
const REPLACING_BIT: u32 = 1 << 31;
/// Set there of a value that is a key's: not a field's or a member's.
const KEYS_BIT: u32 = 1 << 30;
/// Set in the owner of a block that is a page; the rest is the page's number.
const PAGE_BIT: u32 = 1 << 31;
/// Of a value's size it is known how many segments it takes, up to so many: 1 MiB of segments of 64 KiB.
pub const SEGMENTS_KNOWN: u32 = 16;
/// Blocks behind the last span, at most.
const TAIL_BLOCKS_MAX: u32 = BLOCKS as u32 - 1;
/// A value of up to this many pieces is freed at once.
const PIECES_AT_ONCE: u32 = 16;

/// One large value.
#[derive(Clone, Copy)]
struct Object {
    /// Bytes filled.
    len: u32,
    /// Bytes announced, and [`REPLACING_BIT`].
    hint: u32,
    first_span: u32,
    last_span: u32,
    span_count: u32,
    first_block: u32,
    last_block: u32,
    block_count: u32,
    /// The span that the next byte goes to, or the last one before the blocks.
    fill_position: ChainPosition,
    references: u32,
    /// Of those, records.
    record_references: u32,
    /// The next free object, or the next one that waits to be freed.
    next: u32,
}

impl Object {
    const EMPTY: Object = Object {
        len: 0,
        hint: 0,
        first_span: NONE,
        last_span: NONE,
        span_count: 0,
        first_block: NONE,
        last_block: NONE,
        block_count: 0,
        fill_position: ChainPosition::NONE,
        references: 0,
        record_references: 0,
        next: NONE,
    };

    /// Blocks of its pieces, a span being as many as a segment has.
    fn blocks(&self) -> u32 {
        self.span_count * BLOCKS as u32 + self.block_count
    }

    /// Segments that another value of its length takes, a slab for its last blocks among them; at most [`SEGMENTS_KNOWN`].
    fn segments(&self) -> u32 {
        (self.span_count + u32::from(self.block_count > 0)).min(SEGMENTS_KNOWN)
    }

    /// Whether it is the value of a key.
    fn is_of_key(&self) -> bool {
        self.record_references > 0 && self.hint & KEYS_BIT != 0
    }

    fn announced(&self) -> u32 {
        self.hint & !(REPLACING_BIT | KEYS_BIT)
    }

    fn is_held(&self) -> bool {
        self.references > self.record_references
    }
}

/// What a value needs before more bytes fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    /// A free segment, to be a span.
    Span,
    /// A block.
    Block,
}

/// All large values.
pub struct Larges {
    segment_bytes: usize,
    block_bytes: usize,
    objects: Vec<Object>,
    objects_max: usize,
    free: u32,
    pending_free: u32,
    pending_free_spans: u32,
    pending_free_blocks: u32,
    object_count: u32,
    used_blocks: u32,
    /// Blocks of values that are held.
    held_blocks: u32,
    /// Values of keys, by the segments that each takes, and the most that one of them takes.
    of_keys: [u32; SEGMENTS_KNOWN as usize + 1],
    largest_of_keys: u32,
    /// The piece after each piece, and the object or page of each block.
    next: Vec<u32>,
    owner: Vec<u32>,
    pages: Pages,
}

impl Larges {
    /// Objects for a pool of `segments` segments: the value of a record has at least three blocks; those of a collection
    /// may have one, but then the pages that refer to them take their share.
    fn objects_max(segments: u32) -> usize {
        segments as usize * BLOCKS / 2 + 64
    }

    /// Pages for a pool of `segments` segments.
    fn pages_max(segments: u32) -> usize {
        segments as usize * BLOCKS
    }

    /// Bytes of the tables for a pool of `segments` segments.
    pub fn table_bytes(segments: u32) -> usize {
        Self::objects_max(segments) * size_of::<Object>()
            + segments as usize * BLOCKS * 2 * size_of::<u32>()
            + Pages::table_bytes(Self::pages_max(segments))
    }

    /// No values yet, tables for a pool of `segments` segments.
    pub fn new(segments: u32, segment_bytes: usize) -> Larges {
        let objects_max = Self::objects_max(segments);
        Larges {
            segment_bytes,
            block_bytes: segment_bytes / BLOCKS,
            objects: Vec::with_capacity(objects_max),
            objects_max,
            free: NONE,
            pending_free: NONE,
            pending_free_spans: 0,
            pending_free_blocks: 0,
            object_count: 0,
            used_blocks: 0,
            held_blocks: 0,
            of_keys: [0; SEGMENTS_KNOWN as usize + 1],
            largest_of_keys: 0,
            next: vec![0; segments as usize * BLOCKS],
            owner: vec![0; segments as usize * BLOCKS],
            pages: Pages::new(Self::pages_max(segments)),
        }
    }

    fn object(&self, id: LargeId) -> &Object {
        let object = &self.objects[id.0 as usize];
        debug_assert!(object.references > 0, "a large value is used by holders of a reference");
        object
    }

    fn object_mut(&mut self, id: LargeId) -> &mut Object {
        let object = &mut self.objects[id.0 as usize];
        debug_assert!(object.references > 0, "a large value is used by holders of a reference");
        object
    }

    /// A new, empty value with one reference, for `hint` bytes. `None`: the table is full.
    pub fn create(&mut self, hint: u32) -> Option<LargeId> {
        debug_assert_eq!(hint & (REPLACING_BIT | KEYS_BIT), 0, "no value is so long");
        let object = Object { references: 1, hint, ..Object::EMPTY };
        self.object_count += 1;
        if self.free != NONE {
            let id = self.free;
            self.free = self.objects[id as usize].next;
            self.objects[id as usize] = object;
            return Some(LargeId(id));
        }
        if self.objects.len() == self.objects_max {
            self.object_count -= 1;
            return None;
        }
        self.objects.push(object);
        Some(LargeId(self.objects.len() as u32 - 1))
    }

    /// Bytes filled.
    #[inline]
    pub fn len(&self, id: LargeId) -> u64 {
        u64::from(self.object(id).len)
    }

    /// Values that are not free, those that wait to be freed included.
    pub fn count(&self) -> u64 {
        u64::from(self.object_count)
    }

    /// References held.
    pub fn references(&self, id: LargeId) -> u32 {
        self.object(id).references
    }

    /// Of those, records'.
    pub fn record_references(&self, id: LargeId) -> u32 {
        self.object(id).record_references
    }

    /// Takes one more reference.
    pub fn retain(&mut self, id: LargeId) {
        self.recount(id, |object| object.references += 1);
    }

    /// A record has taken over a reference, for a field or a member: what the value was to replace, if anything, is replaced.
    pub fn attach(&mut self, id: LargeId) {
        self.recount(id, |object| object.record_references += 1);
        self.object_mut(id).hint &= !REPLACING_BIT;
    }

    /// The same for the value of a key.
    pub fn attach_to_key(&mut self, id: LargeId) {
        self.recount(id, |object| {
            object.record_references += 1;
            object.hint = (object.hint & !REPLACING_BIT) | KEYS_BIT;
        });
    }

    /// The value is to replace one that is at least as long as was announced of this one.
    pub fn set_replacing(&mut self, id: LargeId) {
        self.object_mut(id).hint |= REPLACING_BIT;
    }

    /// Bytes that were announced of a value.
    pub fn announced(&self, id: LargeId) -> u64 {
        u64::from(self.object(id).announced())
    }

    /// Whether the value, made `len` bytes long, is to replace one that is at least as long.
    pub fn is_replacing(&self, id: LargeId, len: u64) -> bool {
        let object = self.object(id);
        object.hint & REPLACING_BIT != 0 && len <= u64::from(object.announced())
    }

    /// Blocks of values that somebody but records refers to: no eviction frees them.
    pub fn held_blocks(&self) -> u32 {
        self.held_blocks
    }

    /// Segments that the largest value of a key takes, a slab for its last blocks among them; at most
    /// [`SEGMENTS_KNOWN`].
    #[inline]
    pub fn largest_of_keys(&self) -> u32 {
        self.largest_of_keys
    }

    /// Segments that a value of `len` bytes takes, at most [`SEGMENTS_KNOWN`].
    pub fn segments_of(&self, len: u64) -> u32 {
        len.div_ceil(self.segment_bytes as u64).min(u64::from(SEGMENTS_KNOWN)) as u32
    }

    /// Changes a value's references, or pieces, and keeps the counts of what is held and of what keys have.
    fn recount(&mut self, id: LargeId, change: impl FnOnce(&mut Object)) {
        let object = self.object_mut(id);
        let before = *object;
        change(object);
        let after = *object;
        let held = |object: &Object| if object.is_held() { object.blocks() } else { 0 };
        self.held_blocks = self.held_blocks - held(&before) + held(&after);
        let size = |object: &Object| object.is_of_key().then(|| object.segments());
        if size(&before) != size(&after) {
            self.resize_of_keys(size(&before), size(&after));
        }
    }

    fn resize_of_keys(&mut self, before: Option<u32>, after: Option<u32>) {
        if let Some(segments) = after {
            self.of_keys[segments as usize] += 1;
            self.largest_of_keys = self.largest_of_keys.max(segments);
        }
        if let Some(segments) = before {
            self.of_keys[segments as usize] -= 1;
        }
        while self.largest_of_keys > 0 && self.of_keys[self.largest_of_keys as usize] == 0 {
            self.largest_of_keys -= 1;
        }
    }

    fn capacity(&self, object: &Object) -> u64 {
        u64::from(object.span_count) * self.segment_bytes as u64
            + u64::from(object.block_count) * self.block_bytes as u64
    }

    /// What it takes until `len` bytes fit, or the first thing of several.
    pub fn need(&self, id: LargeId, len: u64) -> Need {
        let object = self.object(id);
        let capacity = self.capacity(object);
        if len <= capacity {
            return Need::Nothing;
        }
        let remaining = u64::from(object.announced()).max(len) - capacity;
        let many = remaining > u64::from(TAIL_BLOCKS_MAX) * self.block_bytes as u64;
        if object.block_count == TAIL_BLOCKS_MAX || object.block_count == 0 && many {
            Need::Span
        } else {
            Need::Block
        }
    }

    /// Adds a segment, just taken from the pool, as a span; blocks of the tail, if any, move into it.
    pub fn add_span(&mut self, id: LargeId, segment: SegmentId, pool: &mut Pool, table: &mut Segments) {
        table.taken(segment, State::Span);
        let piece = segment.0 * BLOCKS as u32;
        self.next[piece as usize] = NONE;
        self.owner[piece as usize] = id.0;
        let block_count = self.object(id).block_count;
        for at in 0..block_count as usize {
            let block = self.object(id).first_block;
            let (from, offset) = self.place(block);
            let (source, target) = pool.pair_mut(from, segment);
            let to = at * self.block_bytes;
            target[to..to + self.block_bytes].copy_from_slice(&source[offset..offset + self.block_bytes]);
            self.object_mut(id).first_block = self.next[block as usize];
            self.free_block(block, pool, table);
        }
        match self.object(id).last_span {
            NONE => self.object_mut(id).first_span = piece,
            last => self.next[last as usize] = piece,
        }
        self.recount(id, |object| {
            (object.first_block, object.last_block, object.block_count) = (NONE, NONE, 0);
            object.last_span = piece;
            object.span_count += 1;
        });
    }

    /// Adds a block of a slab. False: none is free.
    pub fn add_block(&mut self, id: LargeId, table: &mut Segments) -> bool {
        let Some(piece) = self.take_block(id.0, table) else { return false };
        match self.object(id).last_block {
            NONE => self.object_mut(id).first_block = piece,
            last => self.next[last as usize] = piece,
        }
        self.recount(id, |object| {
            object.last_block = piece;
            object.block_count += 1;
        });
        true
    }

    /// Says that `n` bytes of the space were filled.
    ///
    /// # Panics
    /// When that passes the capacity.
    pub fn filled(&mut self, id: LargeId, n: usize) {
        let len = self.len(id) + n as u64;
        assert!(len <= self.capacity(self.object(id)));
        self.object_mut(id).len = len as u32;
        let mut cursor = self.fill_cursor(id);
        self.advance_position(&mut cursor);
        self.object_mut(id).fill_position = cursor.position();
    }

    /// Gives the pages of a value's spans back to the system; its bytes are gone.
    pub fn discard_pages(&mut self, id: LargeId, pool: &mut Pool) {
        let mut span = self.object(id).first_span;
        while span != NONE {
            pool.discard_pages(self.place(span).0);
            span = self.next[span as usize];
        }
    }

    /// Drops a reference that is no record's; with the last one the value waits to be freed, or is freed at once if it is
    /// small.
    pub fn release(&mut self, id: LargeId, pool: &mut Pool, table: &mut Segments) {
        self.recount(id, |object| object.references -= 1);
        self.free_if_unused(id, pool, table);
    }

    /// The same for a record's reference.
    pub fn detach(&mut self, id: LargeId, pool: &mut Pool, table: &mut Segments) {
        self.recount(id, |object| {
            object.references -= 1;
            object.record_references -= 1;
        });
        self.free_if_unused(id, pool, table);
    }

    fn free_if_unused(&mut self, id: LargeId, pool: &mut Pool, table: &mut Segments) {
        let pending_free = self.pending_free;
        let object = &mut self.objects[id.0 as usize];
        if object.references > 0 {
            return;
        }
        let pieces = object.span_count + object.block_count;
        let (spans, blocks) = (object.span_count, object.block_count);
        object.next = pending_free;
        self.pending_free = id.0;
        self.pending_free_spans += spans;
        self.pending_free_blocks += blocks;
        if pieces <= PIECES_AT_ONCE {
            self.release_step(PIECES_AT_ONCE, pool, table);
        }
    }

    /// Frees up to `pieces_max` pieces of values that wait to be freed. True: something was freed.
    pub fn release_step(&mut self, pieces_max: u32, pool: &mut Pool, table: &mut Segments) -> bool {
        let had = self.pending_free != NONE;
        for _ in 0..=pieces_max {
            let id = self.pending_free;
            if id == NONE {
                break;
            }
            let object = self.objects[id as usize];
            if object.first_span != NONE {
                let (segment, _) = self.place(object.first_span);
                self.objects[id as usize].first_span = self.next[object.first_span as usize];
                self.objects[id as usize].span_count -= 1;
                self.pending_free_spans -= 1;
                table.freed(segment);
                pool.give_back(segment);
            } else if object.first_block != NONE {
                self.objects[id as usize].first_block = self.next[object.first_block as usize];
                self.objects[id as usize].block_count -= 1;
                self.pending_free_blocks -= 1;
                self.free_block(object.first_block, pool, table);
            } else {
                self.pending_free = object.next;
                self.objects[id as usize].next = self.free;
                self.free = id;
                self.object_count -= 1;
            }
        }
        had
    }

    /// Whether values that are to be freed wait for [`release_step`](Self::release_step).
    pub fn has_pending_free(&self) -> bool {
        self.pending_free != NONE
    }
}
