//! A decoder of the commands that are nearly all commands: whole, of a few short arguments, in one piece. It keeps no
//! state and changes none, so it can run ahead over a pipeline; what it does not know it leaves to the
//! [`Decoder`](super::resp::Decoder), with which it agrees on all that it takes.
//!
//! ```text
//!  *3\r\n  $3\r\nSET\r\n  $16\r\nkey:000000000042\r\n  $5\r\nvalue\r\n     up to 16 arguments, each of up to 8 KiB
//!   count   word           first                     second
//! ```

use super::arguments::ArgTable;
use crate::limits::{BUFFERED_BULK_BYTES_MAX, INLINE_VALUE_BYTES_MAX};

/// Arguments of a command that is taken, at most.
pub const ARGUMENTS_MAX: u8 = 16;
/// The same of one whose verb has three letters: their count is one digit.
const SHORT_ARGUMENTS_MAX: u8 = 9;
/// Bytes of an argument, at most: what a record holds, and a number of up to four digits.
pub const ARGUMENT_BYTES_MAX: u16 = INLINE_VALUE_BYTES_MAX as u16;

const _: () = assert!(ARGUMENT_BYTES_MAX <= 9_999 && INLINE_VALUE_BYTES_MAX <= BUFFERED_BULK_BYTES_MAX);

/// Where an argument lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub at: u32,
    pub len: u16,
}

impl Span {
    /// The argument's bytes.
    #[must_use]
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        let at = self.at as usize;
        &bytes[at..at + usize::from(self.len)]
    }

    /// The same of bytes whose first `done` are gone.
    #[must_use]
    #[inline]
    pub fn of_rest(self, bytes: &[u8], done: usize) -> &[u8] {
        let at = self.at as usize - done;
        &bytes[at..at + usize::from(self.len)]
    }
}

/// A command: its verb, the first two arguments behind it (empty where there are none), and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Arguments, the verb included; at least one.
    pub count: u8,
    pub word: Span,
    /// A verb of three letters as a number, to be compared with [`fold`] of a name; 0 if it is longer or shorter.
    pub short: u32,
    pub first: Span,
    pub second: Span,
    pub end: usize,
}

/// The command that begins at `at`, if it is one of those.
#[must_use]
#[inline]
pub fn decode(bytes: &[u8], at: usize) -> Option<Command> {
    let Head { count, word, short, mut end } = match short_head(bytes, at) {
        Some(head) => head,
        None => head(bytes, at)?,
    };
    let (mut first, mut second) = (Span::default(), Span::default());
    if count > 1 {
        (first, end) = argument(bytes, end)?;
    }
    if count > 2 {
        (second, end) = argument(bytes, end)?;
    }
    for _ in 3..count {
        (_, end) = argument(bytes, end)?;
    }
    Some(Command { count, word, short, first, second, end })
}

impl Command {
    /// Fills a table with the command's arguments, as places in `bytes`: those that it was decoded from, but for the first `done`.
    #[inline]
    pub fn fill(&self, bytes: &[u8], done: usize, table: &mut ArgTable) {
        table.reset();
        let mut end = 0;
        for span in [self.word, self.first, self.second].into_iter().take(self.count.into()) {
            let at = span.at as usize - done;
            table.push(at, span.len.into());
            end = at + usize::from(span.len) + 2;
        }
        for _ in 3..self.count {
            let Some((span, next)) = argument(bytes, end) else { return };
            table.push(span.at as usize, span.len.into());
            end = next;
        }
    }
}

/// The count, the verb, and where the next thing begins.
struct Head {
    count: u8,
    word: Span,
    short: u32,
    end: usize,
}

#[inline]
fn head(bytes: &[u8], at: usize) -> Option<Head> {
    let (count, at) = number(bytes, at, b'*')?;
    let count = u8::try_from(count).ok().filter(|count| (1..=ARGUMENTS_MAX).contains(count))?;
    let (word, end) = argument(bytes, at)?;
    let short = if let [a, b, c] = word.of(bytes) { fold([*a, *b, *c]) } else { 0 };
    Some(Head { count, word, short, end })
}

/// The same of a verb of three letters, which most are, in three comparisons of two words.
#[inline]
fn short_head(bytes: &[u8], at: usize) -> Option<Head> {
    const BEFORE: u64 = u64::from_le_bytes(*b"*\0\r\n$3\r\n");
    const COUNT: u64 = 0xFF00;
    const CRLF: u16 = u16::from_le_bytes(*b"\r\n");
    let (before, behind) = bytes.get(at..)?.first_chunk::<16>()?.split_at(8);
    let before = u64::from_le_bytes(*before.first_chunk()?);
    let behind = u64::from_le_bytes(*behind.first_chunk()?);
    let count = (before >> 8) as u8;
    let known = before & !COUNT == BEFORE
        && (b'1'..=b'0' + SHORT_ARGUMENTS_MAX).contains(&count)
        && (behind >> 24) as u16 == CRLF;
    let word = Span { at: at as u32 + 8, len: 3 };
    let short = behind as u32 & 0x00FF_FFFF | FOLD;
    known.then(|| Head { count: count - b'0', word, short, end: at + 13 })
}

/// A bulk string, and where the next thing begins.
#[inline]
fn argument(bytes: &[u8], at: usize) -> Option<(Span, usize)> {
    let (len, at) = number(bytes, at, b'$').filter(|(len, _)| *len <= ARGUMENT_BYTES_MAX)?;
    let end = at + usize::from(len);
    let closed = bytes.get(end..end + 2)? == b"\r\n";
    closed.then_some((Span { at: at as u32, len }, end + 2))
}

/// A type byte and a number of up to four digits on a line of its own, and what begins behind it.
#[inline]
fn number(bytes: &[u8], at: usize, kind: u8) -> Option<(u16, usize)> {
    const CRLF: u16 = u16::from_le_bytes(*b"\r\n");
    let word = word_at(bytes, at)?;
    let digit = |i: u32| u16::from((word >> (8 * i)) as u8).wrapping_sub(u16::from(b'0'));
    let ends = |i: u32| (word >> (8 * i)) as u16 == CRLF;
    let first = digit(1);
    if word as u8 != kind || first > 9 {
        return None;
    }
    if ends(2) {
        return Some((first, at + 4));
    }
    let second = digit(2);
    if first == 0 || second > 9 {
        return None;
    }
    if ends(3) {
        return Some((first * 10 + second, at + 5));
    }
    let third = digit(3);
    if third > 9 {
        return None;
    }
    let three = first * 100 + second * 10 + third;
    if ends(4) {
        return Some((three, at + 6));
    }
    let fourth = digit(4);
    (fourth <= 9 && ends(5)).then(|| (three * 10 + fourth, at + 7))
}

/// Eight bytes at once; behind the last one there are zeros.
#[inline]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    let rest = bytes.get(at..)?;
    match rest.first_chunk::<8>() {
        Some(word) => Some(u64::from_le_bytes(*word)),
        None => {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            Some(u64::from_le_bytes(word))
        }
    }
}

/// The bit that tells the cases of a letter apart, in each of three.
const FOLD: u32 = 0x0020_2020;

/// Three letters as a number, whatever their case. Of bytes that are no letters some fold together, but none with a
/// letter.
#[must_use]
#[inline]
pub const fn fold([a, b, c]: [u8; 3]) -> u32 {
    u32::from_le_bytes([a, b, c, 0]) | FOLD
}

#[cfg(test)]
mod tests;
