//! Short collections that are put together by a caller, before a key has them (RESTORE), and a collection of its own for one
//! who reads a short one in several slices (DUMP).

use super::collection::{Collection, Entry, Item, PACKED_HEAD_BYTES, PACKED_LEN_MAX, Packed, makes_table};
use super::fields::{read_packed, spot_of};
use super::{Store, Value};
use crate::mutation::{CollectionKind, Database, Refused, Tree};
use crate::time::Millis;

/// What came of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Added,
    /// The field was there; nothing has changed.
    Duplicate,
    /// A collection with it is to be in pages; nothing has changed.
    NoRoom,
}

impl Store {
    /// Begins a short collection in a buffer; its bytes so far.
    pub fn pack_begin(kind: CollectionKind, buffer: &mut [u8]) -> usize {
        buffer[..PACKED_HEAD_BYTES].copy_from_slice(&Packed::empty(kind).head());
        PACKED_HEAD_BYTES
    }

    /// Adds an entry to a short collection, of which `len` bytes of the buffer are taken: for [`NewValue::Packed`](crate::mutation::NewValue).
    pub fn pack_add(
        &self,
        (buffer, len): (&mut [u8], &mut usize),
        field: &[u8],
        (value, expiry): (Option<&[u8]>, Option<Millis>),
    ) -> Packing {
        let mut packed = read_packed(&buffer[..*len]);
        let spot = spot_of(&packed, field);
        if spot.old.is_some() {
            return Packing::Duplicate;
        }
        let value_len = value.map_or(0, <[u8]>::len);
        if packed.len() == PACKED_LEN_MAX
            || self.is_long_field(field)
            || value_len > self.inline_bytes_max / 2
        {
            return Packing::NoRoom;
        }
        let entry = Entry { field: Item::Bytes(field), value: value.map(Item::Bytes), expiry };
        let size = entry.size();
        if *len + size > buffer.len().min(self.inline_bytes_max) {
            return Packing::NoRoom;
        }
        let count = packed.len() + 1;
        packed.is_table |= makes_table(packed.kind, count, field, value_len as u64);
        packed.has_times |= expiry.is_some();
        (packed.len, packed.entries) = (count as u8, &[]);
        let head = packed.head();
        let start = PACKED_HEAD_BYTES + spot.start;
        buffer.copy_within(start..*len, start + size);
        entry.write(&mut buffer[start..]);
        buffer[..PACKED_HEAD_BYTES].copy_from_slice(&head);
        *len += size;
        Packing::Added
    }

    /// The collection of a key in pages, to whose root the caller gets a reference: a long one itself, a short one as a
    /// copy. `None`: the key has none.
    ///
    /// # Errors
    /// [`Refused::Full`], for a short one.
    pub fn tree_of(&mut self, db: Database, key: &[u8], now: Millis) -> Result<Option<Tree>, Refused> {
        let len = match self.peek(db, key, now).map(|entry| entry.value) {
            Some(Value::Collection(Collection::Tree(tree))) => {
                self.tree_retain(&tree);
                return Ok(Some(tree));
            }
            Some(Value::Collection(Collection::Packed(packed))) => PACKED_HEAD_BYTES + packed.entries.len(),
            _ => return Ok(None),
        };
        // The key may be evicted for the pages.
        let mut scratch = std::mem::take(&mut self.scratch);
        if let Some(Value::Collection(Collection::Packed(packed))) =
            self.peek(db, key, now).map(|entry| entry.value)
        {
            scratch[..PACKED_HEAD_BYTES].copy_from_slice(&packed.head());
            scratch[PACKED_HEAD_BYTES..len].copy_from_slice(packed.entries);
        }
        self.retain_packed(&scratch[..len], None);
        let grown = self.grown(&read_packed(&scratch[..len]), now);
        self.release_packed(&scratch[..len], None);
        self.scratch = scratch;
        grown.map(Some)
    }
}
