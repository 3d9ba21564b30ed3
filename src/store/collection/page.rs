//! How entries, or the children of a level above, lie in a page.
//!
//! ```text
//!  0       1        2       4      6       7        8
//! +-------+--------+-------+------+-------+--------+---------+---------+-----+--------+--------+--------+
//! | level | values | count | used | times | larges | entry 0 | entry 1 |  …  |  free  | slot 1 | slot 0 |  level 0
//! +-------+--------+-------+------+-------+--------+---------+---------+-----+--------+--------+--------+
//! |                                                | low, page, count, due | low, page, count, due | free |  above
//! +------------------------------------------------+-----------------------+-----------------------+------+
//! ```
//! Little-endian. A slot (two bytes) is where its entry begins; entries lie in their order without gaps. `times` is set
//! where an entry may have a time, `larges` where one may refer to a large value: a copy of a page without it needs no
//! look at its entries. A child is the least place of its entries (8 bytes; of the first child it means nothing),
//! its page and the entries below it (4 bytes each), and a lower bound of their times (8 bytes; all ones: none has one).

use super::entry::{self, Entry};
use crate::mutation::{CollectionKind, PageId};
use crate::time::Millis;

/// Bytes before the first entry.
pub const HEAD_BYTES: usize = 8;
/// Bytes of a slot.
pub const SLOT_BYTES: usize = 2;
/// Bytes of a child.
pub const CHILD_BYTES: usize = 24;
/// Where a page of entries says that one of them may have a time.
const TIMES: usize = 6;
/// Where it says that one of them may refer to a large value.
const LARGES: usize = 7;
/// No time: nothing expires.
pub const NEVER: Millis = Millis(u64::MAX);

/// A page of the level above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// No entry below it is before this place, unless it is a first child.
    pub low: u64,
    pub page: PageId,
    /// Entries below it.
    pub count: u32,
    /// None of them expires before this.
    pub due: Millis,
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn set_u16(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
}

/// Makes an empty page.
pub fn init(bytes: &mut [u8], level: u8, kind: CollectionKind) {
    bytes[..HEAD_BYTES].fill(0);
    bytes[0] = level;
    bytes[1] = u8::from(kind.has_values());
}

/// 0: it has entries.
pub fn level(bytes: &[u8]) -> u8 {
    bytes[0]
}

pub fn has_values(bytes: &[u8]) -> bool {
    bytes[1] != 0
}

/// Entries or children.
#[inline]
pub fn count(bytes: &[u8]) -> usize {
    u16_at(bytes, 2)
}

/// Bytes of the entries.
fn used(bytes: &[u8]) -> usize {
    u16_at(bytes, 4)
}

/// Bytes of entries and slots, or of children.
pub fn filled(bytes: &[u8]) -> usize {
    if level(bytes) == 0 { used(bytes) + SLOT_BYTES * count(bytes) } else { CHILD_BYTES * count(bytes) }
}

/// Bytes of entries and slots, or of children, that a page of so many bytes takes.
pub const fn capacity(page_bytes: usize) -> usize {
    page_bytes - HEAD_BYTES
}

/// Bytes of an entry, at most: two of them always fit.
pub const fn entry_bytes_max(page_bytes: usize) -> usize {
    capacity(page_bytes) / 2 - SLOT_BYTES
}

/// Children of a page, at most.
pub const fn children_max(page_bytes: usize) -> usize {
    capacity(page_bytes) / CHILD_BYTES
}

#[inline]
fn slot(bytes: &[u8], index: usize) -> usize {
    u16_at(bytes, bytes.len() - SLOT_BYTES * (index + 1))
}

fn set_slot(bytes: &mut [u8], index: usize, offset: usize) {
    let at = bytes.len() - SLOT_BYTES * (index + 1);
    set_u16(bytes, at, offset);
}

/// The entry of an index.
#[inline]
pub fn entry(bytes: &[u8], index: usize) -> Entry<'_> {
    Entry::read(&bytes[slot(bytes, index)..], has_values(bytes))
}

/// The bytes of an entry.
pub fn entry_bytes(bytes: &[u8], index: usize) -> &[u8] {
    let end = if index + 1 == count(bytes) { HEAD_BYTES + used(bytes) } else { slot(bytes, index + 1) };
    &bytes[slot(bytes, index)..end]
}

/// Puts an entry, for which there is room, before that of an index.
pub fn insert(bytes: &mut [u8], index: usize, entry: &[u8]) {
    let (count, end) = (count(bytes), HEAD_BYTES + used(bytes));
    debug_assert!(filled(bytes) + entry.len() + SLOT_BYTES <= capacity(bytes.len()));
    note(bytes, entry);
    let offset = if index == count { end } else { slot(bytes, index) };
    bytes.copy_within(offset..end, offset + entry.len());
    bytes[offset..offset + entry.len()].copy_from_slice(entry);
    for at in (index..count).rev() {
        let moved = slot(bytes, at) + entry.len();
        set_slot(bytes, at + 1, moved);
    }
    set_slot(bytes, index, offset);
    set_u16(bytes, 2, count + 1);
    set_u16(bytes, 4, end - HEAD_BYTES + entry.len());
}

/// Takes an entry out.
pub fn remove(bytes: &mut [u8], index: usize) {
    let (count, end) = (count(bytes), HEAD_BYTES + used(bytes));
    let (offset, len) = (slot(bytes, index), entry_bytes(bytes, index).len());
    bytes.copy_within(offset + len..end, offset);
    for at in index + 1..count {
        let moved = slot(bytes, at) - len;
        set_slot(bytes, at - 1, moved);
    }
    set_u16(bytes, 2, count - 1);
    set_u16(bytes, 4, end - HEAD_BYTES - len);
}

/// Writes an entry over one of the same length.
pub fn overwrite(bytes: &mut [u8], index: usize, entry: &[u8]) {
    let offset = slot(bytes, index);
    note(bytes, entry);
    bytes[offset..offset + entry.len()].copy_from_slice(entry);
}

/// Notes what an entry that comes into a page has.
fn note(bytes: &mut [u8], entry: &[u8]) {
    bytes[TIMES] |= u8::from(entry::time_of(entry).is_some());
    let has_large = Entry::read(entry, has_values(bytes)).larges().next().is_some();
    bytes[LARGES] |= u8::from(has_large);
}

/// Whether an entry may refer to a large value.
pub fn has_larges(bytes: &[u8]) -> bool {
    bytes[LARGES] != 0
}

/// Whether an entry may have a time.
pub fn has_times(bytes: &[u8]) -> bool {
    bytes[TIMES] != 0
}

/// The time of the entry of an index.
pub fn time(bytes: &[u8], index: usize) -> Option<Millis> {
    entry::time_of(&bytes[slot(bytes, index)..])
}

/// The child of an index.
#[inline]
pub fn child(bytes: &[u8], index: usize) -> Child {
    let at = HEAD_BYTES + CHILD_BYTES * index;
    let child = &bytes[at..at + CHILD_BYTES];
    let word = |at: usize| u32::from_le_bytes([child[at], child[at + 1], child[at + 2], child[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    Child { low: long(0), page: PageId(word(8)), count: word(12), due: Millis(long(16)) }
}

/// Writes over the child of an index.
pub fn set_child(bytes: &mut [u8], index: usize, child: Child) {
    let at = HEAD_BYTES + CHILD_BYTES * index;
    bytes[at..at + 8].copy_from_slice(&child.low.to_le_bytes());
    bytes[at + 8..at + 12].copy_from_slice(&child.page.0.to_le_bytes());
    bytes[at + 12..at + 16].copy_from_slice(&child.count.to_le_bytes());
    bytes[at + 16..at + 24].copy_from_slice(&child.due.0.to_le_bytes());
}

/// Puts a child, for which there is room, before that of an index.
pub fn insert_child(bytes: &mut [u8], index: usize, child: Child) {
    let count = count(bytes);
    let at = |index: usize| HEAD_BYTES + CHILD_BYTES * index;
    bytes.copy_within(at(index)..at(count), at(index + 1));
    set_child(bytes, index, child);
    set_u16(bytes, 2, count + 1);
}

/// Takes a child out.
pub fn remove_child(bytes: &mut [u8], index: usize) {
    let count = count(bytes);
    let at = |index: usize| HEAD_BYTES + CHILD_BYTES * index;
    bytes.copy_within(at(index + 1)..at(count), at(index));
    set_u16(bytes, 2, count - 1);
}

/// The index of the child below which a place is.
#[inline]
pub fn child_of(bytes: &[u8], place: u64) -> usize {
    let (mut low, mut high) = (1, count(bytes));
    while low < high {
        let middle = low.midpoint(high);
        if child(bytes, middle).low <= place {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low - 1
}

/// Entries below a page.
pub fn sum(bytes: &[u8]) -> u32 {
    match level(bytes) {
        0 => count(bytes) as u32,
        _ => (0..count(bytes)).map(|index| child(bytes, index).count).sum(),
    }
}

/// No entry below a page expires before this; of a page of entries it is the earliest time.
pub fn due(bytes: &[u8]) -> Millis {
    let of_child = |index| child(bytes, index).due;
    let of_entry = |index| time(bytes, index).unwrap_or(NEVER);
    match level(bytes) {
        0 if !has_times(bytes) => NEVER,
        0 => (0..count(bytes)).map(of_entry).min().unwrap_or(NEVER),
        _ => (0..count(bytes)).map(of_child).min().unwrap_or(NEVER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_order() {
        let mut bytes = [0xEE; 256];
        init(&mut bytes, 0, CollectionKind::Set);
        let (mut model, mut number) = (Vec::<Vec<u8>>::new(), 7_usize);
        for step in 0..2000_usize {
            number = number * 131 % 8191;
            let entry: Vec<u8> = [vec![(number % 20) as u8], vec![number as u8; number % 20]].concat();
            let fits = filled(&bytes) + entry.len() + SLOT_BYTES <= capacity(bytes.len());
            let index = number % (model.len() + 1);
            if fits && step % 3 > 0 {
                insert(&mut bytes, index, &entry);
                model.insert(index, entry);
            } else if index < model.len() {
                remove(&mut bytes, index);
                model.remove(index);
            }
            assert_eq!(count(&bytes), model.len());
            for (index, entry) in model.iter().enumerate() {
                assert_eq!(entry_bytes(&bytes, index), entry);
            }
        }
    }

    #[test]
    fn a_place_is_below_the_last_child_that_is_not_behind_it() {
        let mut bytes = [0; 256];
        init(&mut bytes, 1, CollectionKind::Hash);
        for (index, low) in [99, 10, 20, 30].into_iter().enumerate() {
            let due = Millis(1000 - low);
            insert_child(&mut bytes, index, Child { low, page: PageId(index as u32), count: 5, due });
        }
        assert_eq!(due(&bytes), Millis(901));
        let cases = [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (30, 3), (u64::MAX, 3)];
        for (place, index) in cases {
            assert_eq!(child_of(&bytes, place), index);
        }
        assert_eq!(sum(&bytes), 20);
        remove_child(&mut bytes, 1);
        assert_eq!((child(&bytes, 1).low, count(&bytes)), (20, 3));
    }
}
