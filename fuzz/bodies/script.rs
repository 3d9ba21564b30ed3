//! Bytes as instructions, read from front to back: a fuzzer's change in one place leaves the rest as it was, and seeds can
//! be written by hand.
//!
//! ```text
//!  byte: 1 byte    number: 2 bytes, little-endian    bytes: a number, and as many bytes (or what is left)
//! ```
//! What lies behind the end reads as zeros.

use arbitrary::Unstructured;

/// Instructions that are still to be read.
pub struct Script<'a>(Unstructured<'a>);

impl<'a> Script<'a> {
    /// All of these bytes.
    pub fn new(data: &'a [u8]) -> Script<'a> {
        Script(Unstructured::new(data))
    }

    /// Whether anything is left.
    pub fn more(&self) -> bool {
        !self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or(0)
    }

    /// A number of 16 bits.
    pub fn number(&mut self) -> usize {
        usize::from(self.0.arbitrary::<u16>().unwrap_or(0))
    }

    /// A number of 64 bits.
    pub fn wide(&mut self) -> u64 {
        self.0.arbitrary().unwrap_or(0)
    }

    /// A number below `bound`, from one byte.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// A number, and as many bytes.
    pub fn bytes(&mut self) -> &'a [u8] {
        let len = self.number().min(self.0.len());
        self.0.bytes(len).unwrap_or(&[])
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.0.bytes(self.0.len()).unwrap_or(&[])
    }
}
