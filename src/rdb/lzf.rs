//! Strings that Redis has compressed, as wholes; [`Run`] has the format.

use crate::wire::lzf::{RUN_BYTES_MAX, Run};

/// Unpacks; `None`: it is damaged, or not `len` bytes long.
pub(super) fn decompress(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    // What is claimed beyond this many bytes for each packed one cannot be true.
    if len / RUN_BYTES_MAX > packed.len() {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    let mut rest = packed;
    while !rest.is_empty() {
        let (run, used) = Run::read(rest)?;
        match run {
            Run::Literal { len: count } => out.extend_from_slice(&rest[1..=count]),
            Run::Copy { back, len: count } => {
                let from = out.len().checked_sub(back)?;
                // What is copied may reach into itself.
                for index in from..from + count {
                    out.push(out[index]);
                }
            }
        }
        if out.len() > len {
            return None;
        }
        rest = &rest[used..];
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
