//! Keys and values made from numbers, so that any answer can be checked without remembering what was written.
//!
//! ```text
//!  key    "key:" 000000 000042      a fixed width; only the last digits differ
//!  value  000000000042 qjxbw…       the number again, then a pattern that repeats after a little less than 1 MiB
//! ```

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Write},
};

/// Bytes after which the pattern repeats: no power of two, so that blocks in the wrong order do not look right.
pub(super) const PATTERN_BYTES: usize = 1024 * 1024 - 3;
/// Digits at the front of a value: the same ones however many keys there are, so that loads of different sizes can
/// follow one another on one server.
const VALUE_DIGITS: usize = 12;
/// Values up to this length are copied among the requests; of longer ones the pattern itself is sent.
const COPIED_BYTES_MAX: usize = 16 * 1024;
/// Pieces of one write.
const PIECES_MAX: usize = 16;
const PREFIX: &[u8] = b"key:";

/// Makes and checks keys and values.
pub(super) struct Content {
    /// A key with zeros for digits.
    key: Vec<u8>,
    /// How many digits at its end can differ.
    digit_count: usize,
    pattern: Box<[u8]>,
}

impl Content {
    /// For key numbers 0 to `number_max` and keys of `key_len` bytes.
    ///
    /// # Errors
    /// The numbers do not fit such short keys.
    pub(super) fn new(number_max: u64, key_len: usize) -> Result<Content, String> {
        let digit_count = number_max.max(1).ilog10() as usize + 1;
        if key_len < digit_count {
            return Err(format!(
                "keys of {key_len} bytes cannot have {number_max} different numbers: --key-size must be at least {digit_count}"
            ));
        }
        let mut key = vec![b'0'; key_len];
        if key_len >= PREFIX.len() + digit_count {
            key[..PREFIX.len()].copy_from_slice(PREFIX);
        }
        // Letters from a small generator (Numerical Recipes' constants): no short period, legible on the wire.
        let mut state = 1u32;
        let letter = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + ((u64::from(state) * 26) >> 32) as u8
        };
        let pattern = std::iter::repeat_with(letter).take(PATTERN_BYTES).collect();
        Ok(Content { key, digit_count, pattern })
    }

    pub(super) fn key_len(&self) -> usize {
        self.key.len()
    }

    /// A key with zeros for digits, to be patched by [`patch_key`](Content::patch_key).
    pub(super) fn key_template(&self) -> &[u8] {
        &self.key
    }

    /// Puts the number's digits to the end of a key.
    pub(super) fn patch_key(&self, number: u64, key: &mut [u8]) {
        let start = key.len() - self.digit_count;
        write_digits(number, &mut key[start..]);
    }

    /// Appends a value.
    pub(super) fn append_value(&self, number: u64, len: usize, out: &mut Outbox) {
        let head_len = head_len(len);
        let start = out.bytes.len();
        let copied = if len <= COPIED_BYTES_MAX { len } else { head_len };
        out.bytes.extend_from_slice(&self.pattern[..copied]);
        write_digits(number, &mut out.bytes[start..start + head_len]);
        if copied < len {
            out.gaps.push_back(Gap { at: out.bytes.len(), offset: copied, end: len });
        }
    }

    /// Makes `value` the value of this key; for lengths that fit the pattern.
    pub(super) fn write_value(&self, number: u64, value: &mut [u8]) {
        value.copy_from_slice(&self.pattern[..value.len()]);
        let head_len = head_len(value.len());
        write_digits(number, &mut value[..head_len]);
    }

    /// Whether these bytes are the ones at `offset` of the value of `value_len` bytes of this key.
    pub(super) fn check(&self, number: u64, value_len: usize, offset: usize, bytes: &[u8]) -> bool {
        let mut digits = [0; VALUE_DIGITS];
        let head = &mut digits[..head_len(value_len)];
        write_digits(number, head);
        let in_head = head.len().saturating_sub(offset).min(bytes.len());
        let (front, mut rest) = bytes.split_at(in_head);
        if in_head > 0 && *front != head[offset..offset + in_head] {
            return false;
        }
        let mut offset = offset + in_head;
        while !rest.is_empty() {
            let expected = self.pattern_from(offset, rest.len());
            let (piece, after) = rest.split_at(expected.len());
            if piece != expected {
                return false;
            }
            (rest, offset) = (after, offset + piece.len());
        }
        true
    }

    /// The pattern at `offset` of a value, as far as it is in one piece, and at most `len` bytes.
    fn pattern_from(&self, offset: usize, len: usize) -> &[u8] {
        let from = offset % PATTERN_BYTES;
        &self.pattern[from..PATTERN_BYTES.min(from + len)]
    }
}

/// Bytes at the front of a value that tell whose it is.
fn head_len(value_len: usize) -> usize {
    VALUE_DIGITS.min(value_len)
}

/// The last digits of a number, as many as there is room.
fn write_digits(mut number: u64, place: &mut [u8]) {
    for byte in place.iter_mut().rev() {
        *byte = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Bytes on their way to a socket. Long values stand in it as gaps, which are filled from the pattern when they are sent.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) bytes: Vec<u8>,
    sent: usize,
    gaps: VecDeque<Gap>,
}

/// Part of a value that is sent between two of an outbox's bytes.
struct Gap {
    /// Before which of the bytes it stands.
    at: usize,
    /// What of the value is to be sent next, and where it ends.
    offset: usize,
    end: usize,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len() && self.gaps.is_empty()
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    /// As the socket says, but for `WouldBlock`.
    pub(super) fn send(&mut self, socket: &mut impl Write, content: &Content) -> io::Result<()> {
        while !self.is_empty() {
            let result = if self.gaps.is_empty() {
                socket.write(&self.bytes[self.sent..])
            } else {
                let mut slices = [IoSlice::new(&[]); PIECES_MAX];
                let count = self.gather(content, &mut slices);
                socket.write_vectored(&slices[..count])
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.sent = 0;
        Ok(())
    }

    fn gather<'a>(&'a self, content: &'a Content, slices: &mut [IoSlice<'a>; PIECES_MAX]) -> usize {
        let (mut count, mut from) = (0, self.sent);
        let mut push = |piece: &'a [u8]| {
            if !piece.is_empty() && count < PIECES_MAX {
                slices[count] = IoSlice::new(piece);
                count += 1;
            }
            count < PIECES_MAX
        };
        for gap in &self.gaps {
            if !push(&self.bytes[from..gap.at]) {
                return count;
            }
            let mut offset = gap.offset;
            while offset < gap.end {
                let piece = content.pattern_from(offset, gap.end - offset);
                if !push(piece) {
                    return count;
                }
                offset += piece.len();
            }
            from = gap.at;
        }
        push(&self.bytes[from..]);
        count
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let until = self.gaps.front().map_or(self.bytes.len(), |gap| gap.at);
            if self.sent < until {
                let step = count.min(until - self.sent);
                (self.sent, count) = (self.sent + step, count - step);
                continue;
            }
            let Some(gap) = self.gaps.front_mut() else { return };
            let step = count.min(gap.end - gap.offset);
            (gap.offset, count) = (gap.offset + step, count - step);
            if gap.offset == gap.end {
                self.gaps.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time.
    struct Narrow(Vec<u8>);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(7001);
            self.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn value(content: &Content, number: u64, len: usize) -> Vec<u8> {
        let (mut out, mut socket) = (Outbox::default(), Narrow(Vec::new()));
        out.bytes.push(b'<');
        content.append_value(number, len, &mut out);
        out.bytes.push(b'>');
        out.send(&mut socket, content).unwrap();
        assert!(out.is_empty());
        let sent = socket.0;
        assert_eq!((sent.len(), sent[0], sent[len + 1]), (len + 2, b'<', b'>'));
        sent[1..=len].to_vec()
    }

    #[test]
    fn keys_have_their_width_and_number() {
        let content = Content::new(999_999, 16).unwrap();
        let mut key = content.key_template().to_vec();
        content.patch_key(42, &mut key);
        assert_eq!(key, b"key:000000000042");
        let content = Content::new(999_999, 6).unwrap();
        let mut key = content.key_template().to_vec();
        content.patch_key(999_999, &mut key);
        assert_eq!(key, b"999999");
        assert!(Content::new(1_000_000, 6).is_err_and(|text| text.contains("at least 7")));
    }

    #[test]
    fn a_value_passes_its_own_check_whole_and_in_pieces_and_no_other() {
        let content = Content::new(999_999, 16).unwrap();
        for len in [0, 1, 3, 11, 12, 13, 32, COPIED_BYTES_MAX, COPIED_BYTES_MAX + 1, 3 * PATTERN_BYTES + 5] {
            let bytes = value(&content, 123_456, len);
            assert!(content.check(123_456, len, 0, &bytes), "{len}");
            for cut in [1, 3, 6, 12, 13, len / 2] {
                let (front, rest) = bytes.split_at(cut.min(len));
                assert!(
                    content.check(123_456, len, 0, front) && content.check(123_456, len, front.len(), rest)
                );
            }
            if len > 0 {
                assert!(!content.check(123_457, len, 0, &bytes), "{len}");
                let mut damaged = bytes.clone();
                damaged[len - 1] ^= 1;
                assert!(!content.check(123_456, len, 0, &damaged), "{len}");
            }
        }
    }

    #[test]
    fn several_long_values_keep_their_order() {
        let content = Content::new(9, 4).unwrap();
        let (mut out, mut socket) = (Outbox::default(), Narrow(Vec::new()));
        let len = 2 * PATTERN_BYTES;
        for number in 0..12 {
            out.bytes.extend_from_slice(b"set ");
            content.append_value(number, len, &mut out);
        }
        out.send(&mut socket, &content).unwrap();
        for (number, piece) in socket.0.chunks(4 + len).enumerate() {
            assert_eq!(&piece[..4], b"set ");
            assert!(content.check(number as u64, len, 0, &piece[4..]), "{number}");
        }
        assert_eq!(socket.0.len(), 12 * (4 + len));
    }
}
