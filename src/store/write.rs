//! Changing a part of a value: [`Write`](crate::mutation::Mutation::Write). A value in a record is
//! put together again; a large one is written in place, unless another record or a reader has it too.

use super::index::Address;
use super::large::LargeCursor;
use super::place::{Found, Key, Publish, SavedValue, Target};
use super::record::{self, Content, LARGE_BYTES};
use super::{Store, Value};
use crate::mutant::{self, Mutant};
use crate::mutation::{Applied, LargeId, Refused, Revision};
use crate::time::Millis;

impl Store {
    pub(super) fn write(
        &mut self,
        key: Key<'_>,
        (offset, bytes): (u64, &[u8]),
        now: Millis,
    ) -> Result<Applied, Refused> {
        let found = self.locate_live(key, now);
        let old = found.at.map(|at| self.entry(at));
        if matches!(old.map(|entry| entry.value), Some(Value::Collection(_))) {
            return Err(Refused::WrongType);
        }
        let (old_len, expiry) = old.map_or((0, None), |entry| (entry.value.len(), entry.expiry));
        let existed = old.is_some();
        let target = Target { key, found, expiry, publish: Publish::Write { offset, bytes } };
        let end = if bytes.is_empty() { 0 } else { offset.saturating_add(bytes.len() as u64) };
        let len = old_len.max(end);
        self.check_value_len(len)?;
        let saved = found.at.map_or(SavedValue::Scratch(0), |at| self.save_value(at));
        let (revision, value_len) = match saved {
            SavedValue::Large(id) => self.write_large(target, id, (offset, bytes, len), now)?,
            SavedValue::Packed(_) | SavedValue::Tree(_) => unreachable!("a collection was refused"),
            SavedValue::Scratch(_) if self.is_inline(key.bytes, len as usize) => {
                let (old_len, len, at) = (old_len as usize, len as usize, offset.min(len) as usize);
                self.scratch[old_len..len].fill(0);
                self.scratch[at..at + bytes.len()].copy_from_slice(bytes);
                self.store_saved(target, SavedValue::Scratch(len), now)?
            }
            SavedValue::Scratch(old_len) => {
                let id = self.large_create(len, now)?;
                let scratch = std::mem::take(&mut self.scratch);
                let filled = self.large_append(id, &scratch[..old_len], now);
                self.scratch = scratch;
                let filled = filled.and_then(|()| self.fill_large(id, (offset, bytes, len), now));
                self.or_release(id, filled)?;
                self.store_saved(target, SavedValue::Large(id), now)?
            }
        };
        Ok(Applied { revision, existed, value_len })
    }

    /// Writes into a large value that is held once more than the record does. Someone else's is copied first, which takes
    /// as long as copying it takes.
    fn write_large(
        &mut self,
        target: Target<'_>,
        id: LargeId,
        (offset, bytes, len): (u64, &[u8], u64),
        now: Millis,
    ) -> Result<(Revision, u64), Refused> {
        let shared = self.larges.references(id) > 2 && !mutant::is_on(Mutant::WritesUnderReader);
        let old = self.again(target.key, target.found);
        let own = if shared { self.copy_large((id, old), len, now) } else { Ok(id) };
        let own = self.or_release(id, own)?;
        if shared {
            self.large_drop(id);
        }
        let filled = self.fill_large(own, (offset, bytes, len), now);
        self.or_release(own, filled)?;
        self.store_saved(target, SavedValue::Large(own), now)
    }

    /// A large value of these bytes, with one reference for the caller, for a key that has an expiry or not. A value of the
    /// same length that only the key's record has is written over. The record is as long as the new one then, so that
    /// placing it cannot fail.
    pub(super) fn large_for(
        &mut self,
        (key, expires): (Key<'_>, bool),
        found: Found,
        bytes: &[u8],
        now: Millis,
    ) -> Result<LargeId, Refused> {
        let size = record::size(key.bytes.len(), LARGE_BYTES, expires);
        let old = found.at.map(|at| self.record(at)).filter(|old| old.size() == size);
        if let Some(Content::Large(id)) = old.map(|old| old.content)
            && self.larges.references(id) == 1
            && self.larges.len(id) == bytes.len() as u64
        {
            self.larges.retain(id);
            self.write_within(id, 0, bytes);
            return Ok(id);
        }
        self.large_of_over(found.at, bytes, now)
    }

    /// A copy of the large value of a record, to replace it and to become `len` bytes long.
    fn copy_large(
        &mut self,
        (id, old): (LargeId, Option<Address>),
        len: u64,
        now: Millis,
    ) -> Result<LargeId, Refused> {
        let copy = self.large_create_over(old, len, now)?;
        let copied = self.copy_into(id, copy, now);
        self.or_release(copy, copied)?;
        Ok(copy)
    }

    fn copy_into(&mut self, id: LargeId, copy: LargeId, now: Millis) -> Result<(), Refused> {
        self.large_reserve(copy, self.larges.len(id), now)?;
        // Pieces may lie in one segment, of which only one can be borrowed: the scratch buffer is in between.
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut cursor = LargeCursor::new(id, 0);
        while cursor.offset < self.larges.len(id) {
            let slice = self.larges.slice(&self.pool, &mut cursor);
            let n = slice.len().min(scratch.len());
            scratch[..n].copy_from_slice(&slice[..n]);
            self.fill(copy, &scratch[..n]);
            cursor.advance(n);
        }
        self.scratch = scratch;
        Ok(())
    }

    /// Appends bytes for which there is room.
    pub(super) fn fill(&mut self, id: LargeId, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let space = self.larges.space(&mut self.pool, id);
            let n = space.len().min(rest.len());
            assert!(n > 0, "room was reserved");
            space[..n].copy_from_slice(&rest[..n]);
            self.larges.filled(id, n);
            rest = &rest[n..];
        }
    }

    /// Makes a value `len` bytes long at least and writes bytes into it; room is found first.
    fn fill_large(
        &mut self,
        id: LargeId,
        (offset, bytes, len): (u64, &[u8], u64),
        now: Millis,
    ) -> Result<(), Refused> {
        let old_len = self.larges.len(id);
        if len > old_len {
            self.large_room(len - old_len, self.fill_of_large(len), now)?;
            self.large_reserve(id, len, now)?;
        }
        // Nothing but zero bytes up to where the bytes begin, if that is behind the end.
        while self.larges.len(id) < offset.min(len) {
            let gap = offset.min(len) - self.larges.len(id);
            let space = self.larges.space(&mut self.pool, id);
            let n = gap.min(space.len() as u64) as usize;
            assert!(n > 0, "room was reserved");
            space[..n].fill(0);
            self.larges.filled(id, n);
        }
        let within = (self.larges.len(id).saturating_sub(offset)).min(bytes.len() as u64) as usize;
        let (over, rest) = bytes.split_at(within);
        self.write_within(id, offset, over);
        self.fill(id, rest);
        Ok(())
    }

    /// Writes bytes over those of a large value that the caller alone refers to.
    ///
    /// # Panics
    /// When the value is not so long.
    pub fn large_overwrite(&mut self, id: LargeId, offset: u64, bytes: &[u8]) {
        assert!(offset + bytes.len() as u64 <= self.larges.len(id) && !self.large_is_shared(id));
        self.write_within(id, offset, bytes);
    }

    /// Writes bytes over those that a value has.
    fn write_within(&mut self, id: LargeId, offset: u64, bytes: &[u8]) {
        let (mut cursor, mut over) = (LargeCursor::new(id, offset), bytes);
        while !over.is_empty() {
            let space = self.larges.slice_mut(&mut self.pool, &mut cursor);
            let n = space.len().min(over.len());
            assert!(n > 0, "what is filled has pieces");
            space[..n].copy_from_slice(&over[..n]);
            cursor.advance(n);
            over = &over[n..];
        }
    }
}
