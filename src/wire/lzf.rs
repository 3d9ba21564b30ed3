//! Unpacking what LibLZF has packed, one run at a time, so that a caller can stop between any two.
//!
//! ```text
//!  000xxxxx                   the next x + 1 bytes are themselves
//!  lllxxxxx          xxxxxxxx the l + 2 bytes from x + 1 bytes back on, again
//!  111xxxxx llllllll xxxxxxxx the l + 9 bytes from x + 1 bytes back on, again
//! ```
//! (Format: LibLZF by Marc Lehmann, which Redis packs strings by.)

/// Bytes that a run refers back, at most.
pub const WINDOW_BYTES: usize = 8 * 1024;
/// Bytes that a run makes, at most.
pub const RUN_BYTES_MAX: usize = 264;
/// Bytes of a packed run, at most.
pub const PACKED_RUN_BYTES_MAX: usize = 33;

/// What a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// The bytes behind its first one.
    Literal { len: usize },
    /// Bytes that were made before.
    Copy { back: usize, len: usize },
}

impl Run {
    /// Reads a run at the front of `packed`, and how many bytes it takes. `None`: not the whole of it is there.
    #[must_use]
    pub fn read(packed: &[u8]) -> Option<(Run, usize)> {
        let first = usize::from(*packed.first()?);
        if first < 32 {
            let len = first + 1;
            return (packed.len() > len).then_some((Run::Literal { len }, 1 + len));
        }
        let (len, used) = match first >> 5 {
            7 => (usize::from(*packed.get(1)?) + 9, 2),
            len => (len + 2, 1),
        };
        let back = (first & 0x1f) << 8 | usize::from(*packed.get(used)?);
        Some((Run::Copy { back: back + 1, len }, used + 1))
    }
}

/// The bytes that were made last, for runs to refer to.
pub struct Window<'b> {
    bytes: &'b mut [u8],
    /// Bytes made so far.
    made: u64,
}

impl<'b> Window<'b> {
    /// A window in [`WINDOW_BYTES`] of memory, behind `made` bytes of which the last ones are `tail`: as many as the
    /// window holds, or all.
    ///
    /// # Panics
    /// When `bytes` is shorter, or `tail` is not of that length.
    pub fn new(bytes: &'b mut [u8], made: u64) -> Window<'b> {
        assert!(bytes.len() >= WINDOW_BYTES);
        Window { bytes: &mut bytes[..WINDOW_BYTES], made }
    }

    /// Bytes made so far.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Notes bytes that were made `before_end` bytes before those made last.
    pub fn restore(&mut self, before_end: u64, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            let at = (self.made - before_end) as usize + index;
            self.bytes[at % WINDOW_BYTES] = *byte;
        }
    }

    /// Makes the bytes of a run that was read from `packed`. `None`: it refers to what was not made.
    pub fn make<'o>(
        &mut self,
        run: Run,
        packed: &[u8],
        made: &'o mut [u8; RUN_BYTES_MAX],
    ) -> Option<&'o [u8]> {
        let len = match run {
            Run::Literal { len } => {
                made[..len].copy_from_slice(&packed[1..=len]);
                made[..len].iter().for_each(|byte| self.push(*byte));
                len
            }
            Run::Copy { back, len } => {
                if back as u64 > self.made {
                    return None;
                }
                for byte in &mut made[..len] {
                    *byte = self.bytes[(self.made - back as u64) as usize % WINDOW_BYTES];
                    self.push(*byte);
                }
                len
            }
        };
        Some(&made[..len])
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.made as usize % WINDOW_BYTES] = byte;
        self.made += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
        let mut memory = vec![0; WINDOW_BYTES];
        let mut window = Window::new(&mut memory, 0);
        let (mut all, mut rest) = (Vec::new(), packed);
        while !rest.is_empty() {
            let (run, used) = Run::read(rest)?;
            all.extend_from_slice(window.make(run, rest, &mut [0; RUN_BYTES_MAX])?);
            rest = &rest[used..];
        }
        Some(all)
    }

    #[test]
    fn what_redis_packed_is_unpacked() {
        assert_eq!(unpack(b"\x01aa\xe0/\x00\x01aa").unwrap(), vec![b'a'; 60]);
        let packed = b"\x02aba\xa0\x01\x01cd@\x01\x01ef@\x01\x01gh@\x01\x031234";
        assert_eq!(unpack(packed).unwrap(), b"abababababcdcdcdefefefghghgh1234");
        assert_eq!(unpack(b"").unwrap(), b"");
    }

    #[test]
    fn damaged_runs_are_none() {
        for packed in [
            &b"\x05abc"[..],
            b"\x20",
            b"\x20\x00",
            b"\x00a\x20\x01",
            b"\xe0",
            b"\xe0\x01",
            b"\x00a\xe0\x00\x01",
        ] {
            assert_eq!(unpack(packed), None, "{packed:?}");
        }
    }

    #[test]
    fn the_window_reaches_as_far_as_a_run_can() {
        // 8,192 different bytes, then the first of them again.
        let mut packed: Vec<u8> = (0..256_u32)
            .flat_map(|block| {
                std::iter::once(31).chain((0..32_u32).map(move |byte| (block * 7 + byte * 13) as u8))
            })
            .collect();
        packed.extend([0x20 | 0x1f, 0xff]);
        let all = unpack(&packed).unwrap();
        assert_eq!(all.len(), WINDOW_BYTES + 3);
        assert_eq!(all[..3], all[WINDOW_BYTES..]);
    }

    #[test]
    fn a_restored_window_goes_on() {
        let text = b"the quick brown fox";
        let mut memory = vec![0xee; WINDOW_BYTES];
        let mut window = Window::new(&mut memory, 10_000);
        window.restore(text.len() as u64, text);
        let mut made = [0; RUN_BYTES_MAX];
        let again = window.make(Run::Copy { back: text.len(), len: 9 }, b"", &mut made).unwrap();
        assert_eq!(again, b"the quick");
        assert_eq!(window.made(), 10_009);
    }
}
