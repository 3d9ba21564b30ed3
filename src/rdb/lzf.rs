//! LZF, with which Redis compresses longer strings: literals, and copies of what was written up to 8 KiB before.
//!
//! ```text
//!  000LLLLL  bytes …            L + 1 bytes as they are
//!  LLLooooo  oooooooo           L + 2 bytes from o + 1 before here
//!  111ooooo  LLLLLLLL oooooooo  L + 9 bytes
//! ```

/// Unpacks; `None`: it is damaged, or not `len` bytes long.
pub(super) fn decompress(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    // A byte of a copy stands for at most 264: what is claimed beyond that cannot be true.
    if len / 264 > packed.len() {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    let mut at = 0;
    while let Some(&control) = packed.get(at) {
        at += 1;
        let control = usize::from(control);
        if control < 32 {
            let literal = packed.get(at..=at + control)?;
            out.extend_from_slice(literal);
            at += literal.len();
        } else {
            let mut count = control >> 5;
            if count == 7 {
                count += usize::from(*packed.get(at)?);
                at += 1;
            }
            let offset = (control & 31) << 8 | usize::from(*packed.get(at)?);
            at += 1;
            let from = out.len().checked_sub(offset + 1)?;
            // What is copied may reach into itself.
            for index in from..from + count + 2 {
                out.push(out[index]);
            }
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::decompress;

    #[test]
    fn literals_and_copies() {
        assert_eq!(decompress(b"\x02abc", 3).as_deref(), Some(&b"abc"[..]));
        // "a", then 4 from 1 before.
        assert_eq!(decompress(b"\x00a\x40\x00", 5).as_deref(), Some(&b"aaaaa"[..]));
        assert_eq!(decompress(b"\x00a\xe0\x0a\x00", 20).as_deref(), Some(&[b'a'; 20][..]));
    }

    #[test]
    fn damage_is_seen() {
        for (packed, len) in [
            (&b"\x02ab"[..], 3),
            (b"\x02abc", 4),
            (b"\x00a\x40\x01", 5),
            (b"\x00a\x40", 5),
            (b"\x00a\xe0", 20),
            (b"\x00a", usize::MAX),
        ] {
            assert_eq!(decompress(packed, len), None, "{packed:?}");
        }
    }
}
