//! Large values as the store's callers see them: begun, filled piece by piece, published by a
//! [`Put`](crate::mutation::Mutation::Put), read piece by piece under a reference.

use super::index::Address;
use super::large::{LargeCursor, Need};
use super::segments::State;
use super::{Store, room};
use crate::mutation::{Database, LargeId, LargeRef, Refused};
use crate::time::Millis;
use std::io::IoSliceMut;

impl Store {
    /// Large values that a record, a reader or a writer refers to, or whose bytes are yet to be taken back.
    pub fn large_count(&self) -> u64 {
        self.larges.count()
    }

    /// Begins a large value of about `len_hint` bytes (0: unknown). It is empty, and the caller has its one reference.
    ///
    /// # Errors
    /// [`Refused`] when so many bytes cannot be had.
    pub fn large_begin(&mut self, len_hint: u64, now: Millis) -> Result<LargeRef, Refused> {
        self.large_create(len_hint, now).map(LargeRef::from_raw)
    }

    /// The same for the store itself, whose records and pages keep references as bytes.
    pub(super) fn large_create(&mut self, len_hint: u64, now: Millis) -> Result<LargeId, Refused> {
        self.large_create_with(len_hint, self.fill_of_large(len_hint), now)
    }

    /// Begins a large value that is to become a key's. Where the key has one that is at least as long, a store that is full of
    /// data takes the new one all the same, as far as [`fill`](super::fill) leaves memory for the two of them.
    ///
    /// # Errors
    /// As [`large_begin`](Self::large_begin).
    pub fn large_begin_for(
        &mut self,
        (db, key): (Database, &[u8]),
        len: u64,
        now: Millis,
    ) -> Result<LargeRef, Refused> {
        let key = self.key(db, key);
        let old = self.locate(key.space, key.hash, key.bytes);
        let old = old.filter(|at| !self.record(*at).expired(now));
        self.large_create_over(old, len, now).map(LargeRef::from_raw)
    }

    /// The same for the key of a record.
    pub(super) fn large_create_over(
        &mut self,
        old: Option<Address>,
        len: u64,
        now: Millis,
    ) -> Result<LargeId, Refused> {
        if !old.is_some_and(|at| self.replaces_as_long(at, len)) {
            return self.large_create(len, now);
        }
        let id = self.large_create_with(len, room::Fill::Replacing, now)?;
        self.larges.set_replacing(id);
        Ok(id)
    }

    fn large_create_with(&mut self, len: u64, fill: room::Fill, now: Millis) -> Result<LargeId, Refused> {
        self.check_value_len(len)?;
        self.large_room(len, fill, now)?;
        match self.larges.create(len as u32) {
            Some(id) => Ok(id),
            None => self.refuse(),
        }
    }

    /// The next contiguous bytes to be filled, at least one; a block is taken when needed.
    ///
    /// # Errors
    /// [`Refused`] when no block can be had, or the value is as long as a value may be.
    pub fn large_space(&mut self, id: LargeId, now: Millis) -> Result<&mut [u8], Refused> {
        let len = self.larges.len(id);
        self.check_value_len(len + 1)?;
        self.large_reserve(id, len + 1, now)?;
        let left = (self.config.max_value_bytes - len).min(usize::MAX as u64) as usize;
        let space = self.larges.space(&mut self.pool, id);
        let len = space.len().min(left);
        Ok(&mut space[..len])
    }

    /// Sees to it that the next `len` bytes (at least 1) can be filled, or as many as a value may have.
    ///
    /// # Errors
    /// As [`large_space`](Self::large_space).
    pub fn large_make_room(&mut self, id: LargeId, len: u64, now: Millis) -> Result<(), Refused> {
        let filled = self.larges.len(id);
        self.check_value_len(filled + 1)?;
        self.large_reserve(id, filled + len.min(self.config.max_value_bytes - filled), now)
    }

    /// The next bytes to be filled, in order, in as many pieces as there are or fit into `spaces`, at most `len_max`
    /// bytes: what [`large_make_room`](Self::large_make_room) made. The number of pieces.
    pub fn large_spaces<'a>(&'a mut self, id: LargeId, len_max: u64, spaces: &mut [IoSliceMut<'a>]) -> usize {
        self.larges.spaces(&mut self.pool, id, len_max, spaces)
    }

    /// Says that the first `n` bytes of the space were filled.
    pub fn large_filled(&mut self, id: LargeId, n: usize) {
        self.larges.filled(id, n);
    }

    /// Appends bytes for the reply of a read, as far as memory is spare: nothing is evicted for it, and a store that is full
    /// of data gives it what is kept free for cleaning.
    ///
    /// # Errors
    /// As [`large_space`](Self::large_space); a part may have been appended.
    pub fn large_append_spare(&mut self, id: LargeId, bytes: &[u8], now: Millis) -> Result<(), Refused> {
        let len = self.larges.len(id) + bytes.len() as u64;
        if len > u64::from(u32::MAX) {
            return self.refuse();
        }
        self.large_reserve_of(id, len, room::Fill::Spare, now)?;
        self.fill(id, bytes);
        Ok(())
    }

    /// Sees to it that the next `len` bytes of such a value (at least 1) can be filled, or as many as a value may have.
    ///
    /// # Errors
    /// As [`large_space`](Self::large_space).
    pub fn large_make_room_spare(&mut self, id: LargeId, len: u64, now: Millis) -> Result<(), Refused> {
        let filled = self.larges.len(id);
        self.check_value_len(filled + 1)?;
        let len = filled + len.min(self.config.max_value_bytes - filled);
        self.large_reserve_of(id, len, room::Fill::Spare, now)
    }

    /// Begins such a value, of about `len_hint` bytes (0: unknown).
    ///
    /// # Errors
    /// No value may be so long, or there are too many large values.
    pub fn large_begin_spare(&mut self, len_hint: u64) -> Result<LargeRef, Refused> {
        self.check_value_len(len_hint)?;
        match self.larges.create(len_hint as u32) {
            Some(id) => Ok(LargeRef::from_raw(id)),
            None => self.refuse(),
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// As [`large_space`](Self::large_space); a part may have been appended.
    pub fn large_append(&mut self, id: LargeId, bytes: &[u8], now: Millis) -> Result<(), Refused> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let space = self.large_space(id, now)?;
            let n = space.len().min(rest.len());
            space[..n].copy_from_slice(&rest[..n]);
            self.larges.filled(id, n);
            rest = &rest[n..];
        }
        Ok(())
    }

    /// A large value of these bytes, with one reference.
    pub(super) fn large_of(&mut self, bytes: &[u8], now: Millis) -> Result<LargeId, Refused> {
        self.large_of_over(None, bytes, now)
    }

    /// The same for the key of a record.
    pub(super) fn large_of_over(
        &mut self,
        old: Option<Address>,
        bytes: &[u8],
        now: Millis,
    ) -> Result<LargeId, Refused> {
        let id = self.large_create_over(old, bytes.len() as u64, now)?;
        let filled = self.large_append(id, bytes, now);
        self.or_release(id, filled)?;
        Ok(id)
    }

    /// Bytes filled so far.
    pub fn large_len(&self, id: LargeId) -> u64 {
        self.larges.len(id)
    }

    /// Whether others than one record refer to a value: changing it means to copy it first.
    pub fn large_is_shared(&self, id: LargeId) -> bool {
        self.larges.references(id) > 1
    }

    /// Takes one more reference.
    pub fn large_retain(&mut self, id: LargeId) -> LargeRef {
        self.larges.retain(id);
        LargeRef::from_raw(id)
    }

    /// Takes a reference back; with the last one the value's memory comes back bit by bit.
    pub fn large_release(&mut self, large: LargeRef) {
        self.large_drop(large.into_raw());
    }

    /// The same for a reference that the store itself has, before a record or a page keeps it.
    pub(super) fn large_drop(&mut self, id: LargeId) {
        self.larges.release(id, &mut self.pool, &mut self.table);
    }

    /// The contiguous bytes at the cursor, empty at the end.
    pub fn large_slice(&self, cursor: &mut LargeCursor) -> &[u8] {
        self.larges.slice(&self.pool, cursor)
    }

    /// The contiguous bytes at the cursor, empty at the end, to be changed: of a value that the caller alone refers to.
    pub fn large_slice_mut(&mut self, cursor: &mut LargeCursor) -> &mut [u8] {
        debug_assert_eq!(self.larges.references(cursor.id), 1, "a value that is changed has one holder");
        let left = self.larges.len(cursor.id).saturating_sub(cursor.offset);
        let bytes = self.larges.slice_mut(&mut self.pool, cursor);
        let len = left.min(bytes.len() as u64) as usize;
        &mut bytes[..len]
    }

    /// Moves a cursor's position up to its offset, so that following it takes few steps however long the value is.
    pub fn advance_position(&self, cursor: &mut LargeCursor) {
        self.larges.advance_position(cursor);
    }

    /// Takes `bytes` out of the pool, for someone who has them elsewhere in the process: their pages go back to the
    /// system. They come back by [`large_release`](Self::large_release).
    ///
    /// # Errors
    /// [`Refused`] when so many cannot be had.
    pub fn lend(&mut self, bytes: u32, now: Millis) -> Result<LargeRef, Refused> {
        let bytes = bytes.next_multiple_of(self.config.segment_bytes as u32);
        self.large_room(u64::from(bytes), room::Fill::Data, now)?;
        let Some(id) = self.larges.create(bytes) else { return self.refuse() };
        let reserved = self.large_reserve_of(id, u64::from(bytes), room::Fill::Data, now);
        self.or_release(id, reserved)?;
        self.larges.discard_pages(id, &mut self.pool);
        Ok(LargeRef::from_raw(id))
    }

    /// Adds pieces until the value has room for `len` bytes. When it is refused, pieces that were added stay with it.
    pub(super) fn large_reserve(&mut self, id: LargeId, len: u64, now: Millis) -> Result<(), Refused> {
        let replacing = self.larges.is_replacing(id, len);
        let whole = self.larges.announced(id).max(len);
        let fill = if replacing { room::Fill::Replacing } else { self.fill_of_large(whole) };
        self.large_reserve_of(id, len, fill, now)
    }

    fn large_reserve_of(
        &mut self,
        id: LargeId,
        len: u64,
        fill: room::Fill,
        now: Millis,
    ) -> Result<(), Refused> {
        // Each round adds a piece, or blocks for one.
        let rounds = 2 * (len / (self.config.segment_bytes as u64 / 16) + 2);
        for _ in 0..rounds {
            match self.larges.need(id, len) {
                Need::Nothing => return Ok(()),
                Need::Span => {
                    if fill != room::Fill::Spare {
                        self.gc_assist(self.config.segment_bytes, now);
                    }
                    let segment = self.acquire(room::Want::Segment { fill }, now)?;
                    self.larges.add_span(id, segment, &mut self.pool, &mut self.table);
                }
                Need::Block if self.table.fullest_slab(None).is_some() => {
                    self.restore_reserve(fill, now)?;
                    // Making room may have taken the slab.
                    self.larges.add_block(id, &mut self.table);
                }
                Need::Block => {
                    let segment = self.acquire(room::Want::Segment { fill }, now)?;
                    // Making room may have freed a block elsewhere.
                    match self.table.fullest_slab(None) {
                        Some(_) => self.pool.give_back(segment),
                        None => self.table.taken(segment, State::BlockSlab),
                    }
                }
            }
        }
        self.refuse()
    }
}
