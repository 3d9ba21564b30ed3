//! How Redis packs a short collection into one string, read element by element.
//!
//! ```text
//!  listpack:  bytes (4) | count (2, 65535: unknown) | element … | FF        element: head | bytes | length of both
//!  ziplist:   bytes (4) | last element at (4) | count (2) | element … | FF  element: length of the one before | head | bytes
//!  intset:    width (4) | count (4) | number …                              in ascending order
//! ```
//! All lengths are little-endian, but for those in the heads of a ziplist's strings and the length behind a listpack's
//! element. A hash's elements are field and value in turn. Nothing here trusts what it reads: the caller has the bytes,
//! and asks whether each step stays within them. (Formats: Redis, `listpack.c`, `ziplist.c`, `intset.c`.)

/// A way of packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Listpack,
    Ziplist,
    /// Numbers of so many bytes.
    Intset(u8),
}

/// Bytes before the first element, at most.
pub const PACKING_HEAD_BYTES_MAX: usize = 10;
/// Bytes from an element's beginning that say what it is, at most.
pub const ELEMENT_HEAD_BYTES_MAX: usize = 14;
/// Bytes behind an element, at most.
pub const ELEMENT_TAIL_BYTES_MAX: usize = 5;

/// The byte behind the last element, of a listpack or a ziplist.
pub const TERMINATOR: u8 = 0xff;
/// A count that says nothing.
const COUNT_UNKNOWN: u16 = u16::MAX;
/// What stands before a length of four bytes of the element before, in a ziplist; above it comes only the terminator.
const LONG_PREVIOUS: u8 = 0xfe;

/// What stands at the front of a packed collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackingHead {
    pub packing: Packing,
    /// Where the first element begins.
    pub start: u64,
    /// Where the last one ends.
    pub end: u64,
    /// How many there are, if it says so.
    pub count: Option<u64>,
    /// A ziplist: where the last element begins.
    pub last: u64,
}

/// A kind of packing, before its head is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackingKind {
    Listpack,
    Ziplist,
    Intset,
}

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    Number(i64),
    /// So many bytes, which begin so far behind the element's beginning.
    Bytes {
        start: u64,
        len: u64,
    },
}

/// An element, as its head describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub element: Element,
    /// Bytes of it, without the length behind it.
    pub len: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The number of `N` bytes, little-endian and signed, at a place.
fn number_at<const N: usize>(bytes: &[u8], at: usize) -> Option<i64> {
    let bytes: &[u8; N] = bytes.get(at..)?.first_chunk()?;
    let mut wide = [if bytes[N - 1] & 0x80 == 0 { 0 } else { 0xff }; 8];
    wide[..N].copy_from_slice(bytes);
    Some(i64::from_le_bytes(wide))
}

impl PackingKind {
    /// Reads the head of a collection that is packed into `len` bytes. `None`: it is none.
    #[must_use]
    pub fn read_head(self, bytes: &[u8], len: u64) -> Option<PackingHead> {
        match self {
            PackingKind::Intset => {
                let (width, count) = (u32_at(bytes, 0)?, u64::from(u32_at(bytes, 4)?));
                let packing = Packing::Intset(width as u8);
                let is_right = matches!(width, 2 | 4 | 8) && len == 8 + count * u64::from(width);
                is_right.then_some(PackingHead { packing, start: 8, end: len, count: Some(count), last: 0 })
            }
            PackingKind::Listpack => {
                let count = u16_at(bytes, 4)?;
                let count = (count != COUNT_UNKNOWN).then_some(u64::from(count));
                let is_right = len >= 7 && u64::from(u32_at(bytes, 0)?) == len;
                let packing = Packing::Listpack;
                is_right.then_some(PackingHead { packing, start: 6, end: len - 1, count, last: 0 })
            }
            PackingKind::Ziplist => {
                let count = u16_at(bytes, 8)?;
                let count = (count != COUNT_UNKNOWN).then_some(u64::from(count));
                let is_right = len >= 11 && u64::from(u32_at(bytes, 0)?) == len;
                let last = u64::from(u32_at(bytes, 4)?);
                is_right.then_some(PackingHead {
                    packing: Packing::Ziplist,
                    start: 10,
                    end: len - 1,
                    count,
                    last,
                })
            }
        }
    }
}

impl Packing {
    /// Reads the element that begins `bytes`, of which [`ELEMENT_HEAD_BYTES_MAX`] are enough; `previous_len` is the
    /// length of the one before it, which a ziplist repeats. `None`: it is none.
    #[must_use]
    pub fn read(self, bytes: &[u8], previous_len: u64) -> Option<Found> {
        match self {
            Packing::Listpack => read_listpack(bytes),
            Packing::Ziplist => read_ziplist(bytes, previous_len),
            Packing::Intset(width) => {
                let number = match width {
                    2 => number_at::<2>(bytes, 0),
                    4 => number_at::<4>(bytes, 0),
                    _ => number_at::<8>(bytes, 0),
                };
                Some(Found { element: Element::Number(number?), len: u64::from(width) })
            }
        }
    }

    /// What has to stand behind an element of so many bytes.
    #[must_use]
    pub fn tail(self, len: u64, buffer: &mut [u8; ELEMENT_TAIL_BYTES_MAX]) -> &[u8] {
        if self != Packing::Listpack {
            return &[];
        }
        // In groups of seven bits, the highest first; all but that one are marked.
        let count = match len {
            0..=127 => 1,
            128..16_383 => 2,
            16_383..2_097_151 => 3,
            2_097_151..268_435_455 => 4,
            _ => 5,
        };
        for (index, byte) in buffer[..count].iter_mut().enumerate() {
            let group = (len >> (7 * (count - 1 - index)) & 0x7f) as u8;
            *byte = group | if index == 0 { 0 } else { 0x80 };
        }
        &buffer[..count]
    }
}

fn number(number: i64, len: u64) -> Option<Found> {
    Some(Found { element: Element::Number(number), len })
}

fn string(start: u64, len: u64) -> Option<Found> {
    Some(Found { element: Element::Bytes { start, len }, len: start + len })
}

fn read_listpack(bytes: &[u8]) -> Option<Found> {
    let first = *bytes.first()?;
    match first {
        0x00..0x80 => number(first.into(), 1),
        0x80..0xc0 => string(1, u64::from(first & 0x3f)),
        0xc0..0xe0 => {
            let wide = i64::from(first & 0x1f) << 8 | i64::from(*bytes.get(1)?);
            number(if wide < 1 << 12 { wide } else { wide - (1 << 13) }, 2)
        }
        0xe0..0xf0 => string(2, u64::from(first & 0x0f) << 8 | u64::from(*bytes.get(1)?)),
        0xf0 => string(5, u64::from(u32_at(bytes, 1)?)),
        0xf1 => number(number_at::<2>(bytes, 1)?, 3),
        0xf2 => number(number_at::<3>(bytes, 1)?, 4),
        0xf3 => number(number_at::<4>(bytes, 1)?, 5),
        0xf4 => number(number_at::<8>(bytes, 1)?, 9),
        _ => None,
    }
}

fn read_ziplist(bytes: &[u8], previous_len: u64) -> Option<Found> {
    let (previous, at) = match *bytes.first()? {
        TERMINATOR => return None,
        LONG_PREVIOUS => (u64::from(u32_at(bytes, 1)?), 5),
        previous => (u64::from(previous), 1),
    };
    if previous != previous_len {
        return None;
    }
    let (first, start) = (*bytes.get(at)?, at as u64 + 1);
    match first {
        0x00..0x40 => string(start, u64::from(first)),
        0x40..0x80 => string(start + 1, u64::from(first & 0x3f) << 8 | u64::from(*bytes.get(at + 1)?)),
        0x80 => {
            let len = u32::from_be_bytes(*bytes.get(at + 1..)?.first_chunk()?);
            string(start + 4, len.into())
        }
        0xc0 => number(number_at::<2>(bytes, at + 1)?, start + 2),
        0xd0 => number(number_at::<4>(bytes, at + 1)?, start + 4),
        0xe0 => number(number_at::<8>(bytes, at + 1)?, start + 8),
        0xf0 => number(number_at::<3>(bytes, at + 1)?, start + 3),
        0xfe => number(number_at::<1>(bytes, at + 1)?, start + 1),
        0xf1..=0xfd => number(i64::from(first & 0x0f) - 1, start),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_a_listpack() {
        let cases: [(&[u8], i64, u64); 9] = [
            (b"\x05", 5, 1),
            (b"\x7f", 127, 1),
            (b"\xc1\x2c", 300, 2),
            (b"\xdf\xff", -1, 2),
            (b"\xd0\x00", -4096, 2),
            (b"\xf1\x00\x80", -32_768, 3),
            (b"\xf2\xff\xff\x7f", 8_388_607, 4),
            (b"\xf3\x15\xcd\x5b\x07", 123_456_789, 5),
            (b"\xf4\xff\xff\xff\xff\xff\xff\xff\x7f", i64::MAX, 9),
        ];
        for (bytes, value, len) in cases {
            let found = Found { element: Element::Number(value), len };
            assert_eq!(Packing::Listpack.read(bytes, 0), Some(found), "{bytes:?}");
            for cut in 0..bytes.len() {
                assert_eq!(Packing::Listpack.read(&bytes[..cut], 0), None);
            }
        }
        assert_eq!(Packing::Listpack.read(b"\x83abc", 0), string(1, 3));
        assert_eq!(Packing::Listpack.read(b"\xe1\x00", 0), string(2, 256));
        assert_eq!(Packing::Listpack.read(b"\xf0\xff\xff\xff\xff", 0), string(5, u64::from(u32::MAX)));
        (0xf5..=0xff).for_each(|byte| assert_eq!(Packing::Listpack.read(&[byte; 14], 0), None));
    }

    #[test]
    fn elements_of_a_ziplist() {
        let cases: [(&[u8], u64, i64, u64); 8] = [
            (b"\x00\xf1", 0, 0, 2),
            (b"\x02\xfd", 2, 12, 2),
            (b"\x03\xfe\xff", 3, -1, 3),
            (b"\xfd\xc0\x00\x80", 253, -32_768, 4),
            (b"\xfe\x2c\x01\x00\x00\xf0\xff\xff\x7f", 300, 8_388_607, 9),
            (b"\x00\xd0\x15\xcd\x5b\x07", 0, 123_456_789, 6),
            (b"\x00\xe0\x00\x00\x00\x00\x00\x00\x00\x80", 0, i64::MIN, 10),
            // A length of four bytes where one would do, as deletions leave it.
            (b"\xfe\x02\x00\x00\x00\xf1", 2, 0, 6),
        ];
        for (bytes, previous, value, len) in cases {
            let found = Found { element: Element::Number(value), len };
            assert_eq!(Packing::Ziplist.read(bytes, previous), Some(found), "{bytes:?}");
            assert_eq!(Packing::Ziplist.read(bytes, previous + 1), None);
            for cut in 0..bytes.len() {
                assert_eq!(Packing::Ziplist.read(&bytes[..cut], previous), None);
            }
        }
        assert_eq!(Packing::Ziplist.read(b"\x00\x03abc", 0), string(2, 3));
        assert_eq!(Packing::Ziplist.read(b"\x00\x41\x00", 0), string(3, 256));
        assert_eq!(Packing::Ziplist.read(b"\x00\x80\x00\x01\x00\x00", 0), string(6, 65_536));
        for first in [0x81, 0xbf, 0xc1, 0xd1, 0xef, 0xff] {
            assert_eq!(Packing::Ziplist.read(&[0, first, 0, 0, 0, 0, 0, 0, 0, 0], 0), None);
        }
        assert_eq!(Packing::Ziplist.read(&[0xff, 0xf1], 255), None);
    }

    #[test]
    fn the_length_behind_an_element_is_the_one_that_redis_writes() {
        let mut buffer = [0; ELEMENT_TAIL_BYTES_MAX];
        let cases: [(u64, &[u8]); 7] = [
            (1, b"\x01"),
            (127, b"\x7f"),
            (128, b"\x01\x80"),
            (16_382, b"\x7f\xfe"),
            (16_383, b"\x00\xff\xff"),
            (2_097_151, b"\x00\xff\xff\xff"),
            (268_435_455, b"\x00\xff\xff\xff\xff"),
        ];
        for (len, bytes) in cases {
            assert_eq!(Packing::Listpack.tail(len, &mut buffer), bytes, "{len}");
        }
        assert_eq!(Packing::Ziplist.tail(5, &mut buffer), b"");
    }

    #[test]
    fn heads_say_how_long_the_whole_is() {
        let head = PackingKind::Intset.read_head(b"\x02\0\0\0\x03\0\0\0", 14).unwrap();
        assert_eq!((head.packing, head.start, head.end, head.count), (Packing::Intset(2), 8, 14, Some(3)));
        for (bytes, len) in [
            (&b"\x02\0\0\0\x03\0\0\0"[..], 13),
            (b"\x03\0\0\0\x01\0\0\0", 11),
            (b"\x02\0\0\0\x03\0\0", 14),
            (b"\x08\0\0\0\xff\xff\xff\xff", 8),
        ] {
            assert_eq!(PackingKind::Intset.read_head(bytes, len), None);
        }
        let head = PackingKind::Listpack.read_head(b"\x09\0\0\0\xff\xff", 9).unwrap();
        assert_eq!((head.start, head.end, head.count), (6, 8, None));
        assert_eq!(PackingKind::Listpack.read_head(b"\x09\0\0\0\0\0", 10), None);
        assert_eq!(PackingKind::Listpack.read_head(b"\x06\0\0\0\0\0", 6), None);
        let head = PackingKind::Ziplist.read_head(b"\x0d\0\0\0\x0a\0\0\0\x01\0", 13).unwrap();
        assert_eq!((head.start, head.end, head.count, head.last), (10, 12, Some(1), 10));
        assert_eq!(PackingKind::Ziplist.read_head(b"\x0a\0\0\0\x0a\0\0\0\x01\0", 10), None);
    }
}
