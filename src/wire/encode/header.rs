//! What most replies begin with: a type byte, a number, CR and LF.

use crate::wire::number::{INTEGER_BYTES_MAX, write_u64};

/// `$N\r\n` for small N, padded; the length of it follows from N. What follows makes them in forty instructions.
pub(super) const HEADERS: [[u8; 8]; 128] = {
    let mut headers = [[0u8; 8]; 128];
    let mut n = 0;
    while n < 128 {
        headers[n] = four_digits(b'$', n as u32).0;
        n += 1;
    }
    headers
};

/// A type byte, a number of four digits at most, CR and LF in a word, and how many bytes of it they are.
#[inline(always)] // Once for each value of a batch.
const fn four_digits(kind: u8, number: u32) -> ([u8; 8], usize) {
    const CRLF: u64 = u16::from_le_bytes(*b"\r\n") as u64;
    const ZEROS: u32 = u32::from_le_bytes(*b"0000");
    let (high, low) = (number / 100, number % 100);
    let digits = ZEROS | (high / 10) | ((high % 10) << 8) | ((low / 10) << 16) | ((low % 10) << 24);
    let len = 1 + (number >= 10) as u32 + (number >= 100) as u32 + (number >= 1_000) as u32;
    let digits = (digits >> (8 * (4 - len))) as u64;
    let word = kind as u64 | (digits << 8) | (CRLF << (8 * (1 + len)));
    (word.to_le_bytes(), 3 + len as usize)
}

/// The same for nearly every length and count that there is.
#[inline(always)]
pub(super) fn short_header(kind: u8, number: u64) -> Option<([u8; 8], usize)> {
    match (HEADERS.get(number as usize), number) {
        (Some(header), _) => {
            let mut header = *header;
            header[0] = kind;
            Some((header, 4 + usize::from(number >= 10) + usize::from(number >= 100)))
        }
        (None, 0..=9_999) => Some(four_digits(kind, number as u32)),
        _ => None,
    }
}

/// A type byte, a number, CR and LF.
pub(super) struct Header {
    bytes: [u8; 24],
    start: u8,
    end: u8,
}

impl Header {
    #[inline]
    pub(super) fn new(kind: u8, n: u64) -> Header {
        let mut bytes = [0; 24];
        if let Some((short, len)) = short_header(kind, n) {
            bytes[..8].copy_from_slice(&short);
            return Header { bytes, start: 0, end: len as u8 };
        }
        let mut digits = [0; INTEGER_BYTES_MAX];
        let digits_len = write_u64(n, &mut digits).len();
        bytes[1..21].copy_from_slice(&digits);
        let start = 20 - digits_len;
        bytes[start] = kind;
        bytes[21] = b'\r';
        bytes[22] = b'\n';
        Header { bytes, start: start as u8, end: 23 }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..usize::from(self.end)]
    }
}
