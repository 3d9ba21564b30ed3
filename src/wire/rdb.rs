//! Values as Redis serializes them for DUMP and in its files, as far as their headers go: what follows is the caller's to
//! read or write.
//!
//! ```text
//!  DUMP:    type 0 | string | version (2 bytes) | CRC-64 of all before (8 bytes)         little-endian
//!  string:  00xxxxxx                     length of 6 bits,  the bytes
//!           01xxxxxx xxxxxxxx            length of 14 bits, the bytes
//!           10000000 length of 4 bytes,  the bytes          (10000001: of 8)             big-endian
//!           11000000 1 byte | 11000001 2 bytes | 11000010 4 bytes: a number              little-endian
//!           11000011 packed length, length, the bytes packed by LZF
//!
//!  set:     type 2 | length | string …                    hash:  type 4 | length | field | value | …
//!  packed:  type 11 (set, intset), 13 (hash, ziplist), 16 (hash, listpack), 20 (set, listpack) | string
//!
//!  hash with times of fields, in Unix milliseconds:
//!           type 24 | the first time (8 bytes) | length | time | field | value | …      each time: a length; 0: none,
//!                                                                             else milliseconds from the first one on, and 1
//!           type 25 | the first time (8 bytes) | string: a listpack of field, value, time, …         a time of 0: none
//!           types 22, 23: the same without the first time; times are whole ones
//! ```
//! `wire/packed.rs` reads what a packed collection's string has.

/// The version of the format that is written: that of Redis 7.0, which later ones read too.
pub const VERSION: u16 = 10;
/// The latest version that is read: a string has been the same in all of them up to Valkey 9.
pub const VERSION_MAX: u16 = 80;
/// The type of a string.
pub const TYPE_STRING: u8 = 0;
/// The types of collections: string by string, and packed into one string.
pub const TYPE_SET: u8 = 2;
pub const TYPE_HASH: u8 = 4;
pub const TYPE_SET_INTSET: u8 = 11;
pub const TYPE_HASH_ZIPLIST: u8 = 13;
pub const TYPE_HASH_LISTPACK: u8 = 16;
pub const TYPE_SET_LISTPACK: u8 = 20;
/// Hashes of which some fields have times: as the release candidates of Redis 7.4 wrote them, and as all do since.
pub const TYPE_HASH_TIMES_PRE: u8 = 22;
pub const TYPE_HASH_LISTPACK_TIMES_PRE: u8 = 23;
pub const TYPE_HASH_TIMES: u8 = 24;
pub const TYPE_HASH_LISTPACK_TIMES: u8 = 25;
/// The version that has them: that of Redis 7.4. Valkey's own later ones give the first of these types another layout.
pub const VERSION_FIELD_TIMES: u16 = 12;
/// The latest time that a field can have, in Unix milliseconds (Redis, `ebuckets.h`).
pub const FIELD_TIME_MAX: u64 = (1 << 48) - 1;
/// Bytes of the version and the check sum.
pub const FOOTER_BYTES: usize = 10;
/// Bytes of the longest header: a byte that says LZF, and two lengths.
pub const HEADER_BYTES_MAX: usize = 19;
/// A shorter string that is a number is written as one.
const NUMBER_BYTES_MAX: usize = 11;

/// What the header of a string says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A number, and nothing follows.
    Number(i32),
    /// So many bytes follow.
    Bytes(u64),
    /// So many packed bytes follow, which make `len`.
    Packed { packed_len: u64, len: u64 },
}

/// Reads a header at the front of `bytes`, and how long it is. `None`: there is none, or not the whole of it.
#[must_use]
pub fn read_header(bytes: &[u8]) -> Option<(Header, usize)> {
    let first = *bytes.first()?;
    if first >> 6 != 0b11 {
        return read_length(bytes).map(|(len, used)| (Header::Bytes(len), used));
    }
    match first & 0x3f {
        0 => Some((Header::Number(i32::from(*bytes.get(1)? as i8)), 2)),
        1 => Some((Header::Number(i32::from(i16::from_le_bytes(*bytes.get(1..)?.first_chunk()?))), 3)),
        2 => Some((Header::Number(i32::from_le_bytes(*bytes.get(1..)?.first_chunk()?)), 5)),
        3 => {
            let (packed_len, used) = read_length(&bytes[1..])?;
            let (len, used_too) = read_length(&bytes[1 + used..])?;
            Some((Header::Packed { packed_len, len }, 1 + used + used_too))
        }
        _ => None,
    }
}

/// Bytes that so many bytes of LZF make, at most: what is promised beyond that is not looked for room for.
#[must_use]
pub fn unpacked_len_max(packed_len: u64) -> u64 {
    packed_len.saturating_mul(super::lzf::RUN_BYTES_MAX as u64)
}

/// A length, and how many bytes it takes.
fn read_length(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    match first >> 6 {
        0b00 => Some((u64::from(first), 1)),
        0b01 => Some((u64::from(first & 0x3f) << 8 | u64::from(*bytes.get(1)?), 2)),
        0b10 if first == 0x80 => Some((u64::from(u32::from_be_bytes(*bytes.get(1..)?.first_chunk()?)), 5)),
        0b10 if first == 0x81 => Some((u64::from_be_bytes(*bytes.get(1..)?.first_chunk()?), 9)),
        _ => None,
    }
}

/// Writes the header of a string of `len` bytes; the header.
#[must_use]
pub fn write_length(len: u64, buffer: &mut [u8; HEADER_BYTES_MAX]) -> &[u8] {
    let used = match len {
        0..0x40 => {
            buffer[0] = len as u8;
            1
        }
        0x40..0x4000 => {
            buffer[..2].copy_from_slice(&(len as u16 | 0x4000).to_be_bytes());
            2
        }
        _ if len <= u64::from(u32::MAX) => {
            buffer[0] = 0x80;
            buffer[1..5].copy_from_slice(&(len as u32).to_be_bytes());
            5
        }
        _ => {
            buffer[0] = 0x81;
            buffer[1..9].copy_from_slice(&len.to_be_bytes());
            9
        }
    };
    &buffer[..used]
}

/// Writes a string that is a number of 32 bits, just as it is printed, the way that Redis has for them.
#[must_use]
pub fn write_number<'b>(text: &[u8], buffer: &'b mut [u8; HEADER_BYTES_MAX]) -> Option<&'b [u8]> {
    if text.len() > NUMBER_BYTES_MAX {
        return None;
    }
    let number = i32::try_from(super::number::parse_i64(text)?).ok()?;
    let bytes = number.to_le_bytes();
    let (kind, len) = match number {
        -0x80..=0x7f => (0xc0, 1),
        -0x8000..=0x7fff => (0xc1, 2),
        _ => (0xc2, 4),
    };
    buffer[0] = kind;
    buffer[1..=len].copy_from_slice(&bytes[..len]);
    Some(&buffer[..=len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_they_were_written() {
        let mut buffer = [0; HEADER_BYTES_MAX];
        for len in [0, 1, 63, 64, 16_383, 16_384, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
            let bytes = write_length(len, &mut buffer).to_vec();
            assert_eq!(read_header(&bytes), Some((Header::Bytes(len), bytes.len())));
            for cut in 0..bytes.len() {
                assert_eq!(read_header(&bytes[..cut]), None);
            }
        }
    }

    #[test]
    fn numbers_take_as_few_bytes_as_they_can() {
        let mut buffer = [0; HEADER_BYTES_MAX];
        let cases: [(&str, usize); 10] = [
            ("0", 2),
            ("-128", 2),
            ("127", 2),
            ("128", 3),
            ("-32768", 3),
            ("32767", 3),
            ("32768", 5),
            ("-2147483648", 5),
            ("2147483647", 5),
            ("-1", 2),
        ];
        for (text, len) in cases {
            let bytes = write_number(text.as_bytes(), &mut buffer).unwrap().to_vec();
            assert_eq!(bytes.len(), len, "{text}");
            assert_eq!(read_header(&bytes), Some((Header::Number(text.parse().unwrap()), len)));
            assert_eq!(read_header(&bytes[..len - 1]), None);
        }
        for text in ["2147483648", "-2147483649", "007", "+1", "", "x", "1.0", "123456789012"] {
            assert_eq!(write_number(text.as_bytes(), &mut buffer), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_header_is_none() {
        for bytes in [&[0x82][..], &[0xbf; 10], &[0xc4, 1, 2, 3], &[0xff; 20], &[0xc3, 5], &[0xc3, 0xc0, 1]] {
            assert_eq!(read_header(bytes), None, "{bytes:?}");
        }
        let packed = Header::Packed { packed_len: 9, len: 60 };
        assert_eq!(read_header(&[0xc3, 9, 60]), Some((packed, 3)));
    }
}
