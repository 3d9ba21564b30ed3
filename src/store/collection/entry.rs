//! A field and its value, packed; of a set the member alone. A field of a hash can have a time of its own, before it:
//! an entry without one has no byte for it.
//!
//! ```text
//!  entry:   | field | value |          | E0, time (6) | field | value |          | member |
//!
//!  item:    00..BF                      so many bytes, which follow
//!           C0..DF, 1 byte              a length of 13 bits, the bytes
//!           FF, id (4), length (4)      a large value                                       little-endian
//! ```

use crate::mutation::LargeId;
use crate::time::Millis;

/// The longest item that is kept in its entry.
pub const ITEM_BYTES_MAX: usize = 0x1fff;
/// Bytes of an item that is a large value.
pub const LARGE_ITEM_BYTES: usize = 9;

const SHORT_MAX: usize = 0xbf;
const LONG: u8 = 0xc0;
const LARGE: u8 = 0xff;
/// What an entry with a time begins with; no item does.
const TIMED: u8 = 0xe0;
/// Bytes of a time in its entry, with what it begins with.
pub const TIME_BYTES: usize = 7;
/// The latest time that an entry can hold, in Unix milliseconds: that of a record.
const TIME_MAX: u64 = crate::store::record::EXPIRY_MAX;

/// A field or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Bytes(&'a [u8]),
    /// It belongs to the collection that it is read from: who keeps it longer retains it.
    Large {
        id: LargeId,
        len: u32,
    },
}

impl<'a> Item<'a> {
    fn read(bytes: &'a [u8]) -> (Item<'a>, usize) {
        let first = bytes[0];
        let (start, len) = match first {
            LARGE => {
                let word =
                    |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                return (Item::Large { id: LargeId(word(1)), len: word(5) }, LARGE_ITEM_BYTES);
            }
            LONG.. => (2, usize::from(first - LONG) << 8 | usize::from(bytes[1])),
            _ => (1, usize::from(first)),
        };
        (Item::Bytes(&bytes[start..start + len]), start + len)
    }

    /// Bytes of the item that `bytes`, which a file has, begin with. `None`: they begin with none, or with a large value.
    fn whole_size(bytes: &[u8]) -> Option<usize> {
        let first = *bytes.first()?;
        let size = match first {
            TIMED.. => return None,
            LONG.. => 2 + (usize::from(first - LONG) << 8 | usize::from(*bytes.get(1)?)),
            _ => 1 + usize::from(first),
        };
        (size <= bytes.len()).then_some(size)
    }

    fn write(&self, bytes: &mut [u8]) -> usize {
        match *self {
            Item::Large { id, len } => {
                bytes[0] = LARGE;
                bytes[1..5].copy_from_slice(&id.0.to_le_bytes());
                bytes[5..9].copy_from_slice(&len.to_le_bytes());
                LARGE_ITEM_BYTES
            }
            Item::Bytes(item) => {
                let start = if item.len() <= SHORT_MAX {
                    bytes[0] = item.len() as u8;
                    1
                } else {
                    bytes[0] = LONG | (item.len() >> 8) as u8;
                    bytes[1] = item.len() as u8;
                    2
                };
                bytes[start..start + item.len()].copy_from_slice(item);
                start + item.len()
            }
        }
    }

    /// Bytes that it takes in an entry.
    #[must_use]
    pub const fn size(&self) -> usize {
        match self {
            Item::Large { .. } => LARGE_ITEM_BYTES,
            Item::Bytes(item) if item.len() <= SHORT_MAX => 1 + item.len(),
            Item::Bytes(item) => 2 + item.len(),
        }
    }

    /// Bytes of the field or the value.
    #[must_use]
    pub const fn len(&self) -> u64 {
        match self {
            Item::Bytes(item) => item.len() as u64,
            Item::Large { len, .. } => *len as u64,
        }
    }

    /// Whether it has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes, if it is no large value.
    #[must_use]
    pub const fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Item::Bytes(item) => Some(item),
            Item::Large { .. } => None,
        }
    }

    /// The large value that it is, if it is one.
    #[must_use]
    pub const fn large(&self) -> Option<LargeId> {
        match self {
            Item::Bytes(_) => None,
            Item::Large { id, .. } => Some(*id),
        }
    }
}

/// An entry of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub field: Item<'a>,
    /// `None` in a set.
    pub value: Option<Item<'a>>,
    /// When the field expires; `None`: it stays.
    pub expiry: Option<Millis>,
}

impl<'a> Entry<'a> {
    /// Reads the entry at the front of `bytes`.
    pub(super) fn read(bytes: &'a [u8], has_values: bool) -> Entry<'a> {
        let expiry = time_of(bytes);
        let bytes = if expiry.is_some() { &bytes[TIME_BYTES..] } else { bytes };
        let (field, used) = Item::read(bytes);
        Entry { field, value: has_values.then(|| Item::read(&bytes[used..]).0), expiry }
    }

    /// Bytes of the entry that `bytes`, which a file has, begin with. `None`: they begin with none, or with one that has a
    /// large value.
    pub(super) fn whole_size(bytes: &[u8], has_values: bool) -> Option<usize> {
        let start = if bytes.first() == Some(&TIMED) && has_values { TIME_BYTES } else { 0 };
        let used = start + Item::whole_size(bytes.get(start..)?)?;
        Some(used + if has_values { Item::whole_size(&bytes[used..])? } else { 0 })
    }

    /// Whether its time has not come.
    #[inline]
    #[must_use]
    pub fn is_live(&self, now: Millis) -> bool {
        self.expiry.is_none_or(|expiry| expiry > now)
    }

    /// Writes it to the front of `bytes`; the number of bytes.
    pub(in crate::store) fn write(&self, bytes: &mut [u8]) -> usize {
        let start = match self.expiry {
            None => 0,
            Some(expiry) => {
                write_time(bytes, expiry);
                TIME_BYTES
            }
        };
        let used = start + self.field.write(&mut bytes[start..]);
        used + self.value.map_or(0, |value| value.write(&mut bytes[used..]))
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        let time = if self.expiry.is_some() { TIME_BYTES } else { 0 };
        time + self.field.size() + self.value.map_or(0, |value| value.size())
    }

    /// The large values that it refers to.
    pub fn larges(&self) -> impl Iterator<Item = LargeId> + use<> {
        let value = self.value.and_then(|value| value.large());
        self.field.large().into_iter().chain(value)
    }
}

/// Writes what an entry with a time begins with.
pub(in crate::store) fn write_time(bytes: &mut [u8], expiry: Millis) {
    bytes[0] = TIMED;
    bytes[1..TIME_BYTES].copy_from_slice(&expiry.0.min(TIME_MAX).to_le_bytes()[..TIME_BYTES - 1]);
}

/// The time of the entry at the front of `bytes`.
#[inline]
pub(in crate::store) fn time_of(bytes: &[u8]) -> Option<Millis> {
    (bytes[0] == TIMED).then(|| {
        let mut word = [0; 8];
        word[..TIME_BYTES - 1].copy_from_slice(&bytes[1..TIME_BYTES]);
        Millis(u64::from_le_bytes(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let long = vec![b'x'; ITEM_BYTES_MAX];
        let large = Item::Large { id: LargeId(0x0102_0304), len: 0x0506_0708 };
        let items = [0, 1, 0xbf, 0xc0, 0xff, 0x100, ITEM_BYTES_MAX].map(|len| Item::Bytes(&long[..len]));
        let mut bytes = vec![0; 2 * ITEM_BYTES_MAX + 4 + TIME_BYTES];
        let times = [None, Some(Millis(0)), Some(Millis(1_700_000_000_000)), Some(Millis(TIME_MAX))];
        for (field, at) in items.into_iter().chain([large]).zip(0_usize..) {
            for (value, of) in items.into_iter().chain([large]).map(Some).chain([None]).zip(0_usize..) {
                let expiry = times[(at + of) % times.len()];
                let entry = Entry { field, value, expiry };
                assert_eq!(entry.write(&mut bytes), entry.size());
                assert_eq!(Entry::read(&bytes, value.is_some()), entry);
                assert_eq!(time_of(&bytes), expiry);
                let count =
                    [Some(field), value].iter().flatten().filter(|item| item.large().is_some()).count();
                assert_eq!(entry.larges().count(), count);
            }
        }
    }
}
