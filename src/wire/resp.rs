//! The resumable decoder of RESP commands: a machine of a few integers for each connection, over the bytes that have come
//! so far. It keeps offsets, never slices, and goes on where it stopped: all in all it looks at fewer than twice the
//! bytes received, however they are cut.
//!
//! ```text
//! *3\r\n        $3\r\n    SET\r\n   $1\r\n    k\r\n     $70000\r\n       (70000 bytes, taken out)   \r\n
//! Count         Size      Body      Size      Body      Size -> Large                              Body
//! ```
//!
//! A command that is whole when it is first looked at, as most are, goes straight into the [`ArgTable`] that all
//! connections share. The spans of one that comes in parts are not kept anywhere: when it is whole, one walk over its
//! headers fills the table. A large argument's bytes are no longer there by then, so its header is overwritten by a
//! marker, which its first byte, 0, sets apart from a header:
//!
//! ```text
//! before  | $ 7 0 0 0 0 \r \n |          at least 8 bytes, for shorter bulks are buffered
//! after   | 0 | n | k | id u32 | . . |   n: bytes of the header; k: 1 if there is an id, 0 if thrown away
//! ```
//!
//! No peer can forge one: the walk covers only what has passed the machine, which takes `$` alone.

#[cfg(test)]
mod tests;
mod walk;

use super::inline;
pub use super::{
    arguments::{Arg, ArgTable, Args},
    malformed::Malformed,
};
use crate::{
    limits::{
        ARGUMENTS_MAX, ARGUMENTS_MAX_UNAUTHENTICATED, BUFFERED_BULK_BYTES_MAX,
        BULK_BYTES_MAX_UNAUTHENTICATED, LINE_BYTES_MAX,
    },
    mutation::LargeId,
};
use walk::Walk;

/// Bytes of a marker.
const MARKER_BYTES: usize = 7;
const _: () = assert!(BUFFERED_BULK_BYTES_MAX >= 10_000, "the header of a large bulk has room for a marker");
const _: () = assert!(ARGUMENTS_MAX <= u32::MAX as usize);

/// What a connection may send.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Whether AUTH has succeeded or is not needed.
    pub authenticated: bool,
    /// Bytes of one argument, at most.
    pub max_bulk_bytes: u64,
}

/// How far a call of [`Decoder::decode`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The command is not whole. Call again with the same bytes and more behind them.
    NeedMore,
    /// An empty line, `*0` or `*-1`: `consumed` bytes to drop, nothing to run.
    Skip { consumed: usize },
    /// The table holds a command; it covers `consumed` bytes.
    Ready { consumed: usize },
    /// A bulk string of `len` bytes, longer than [`BUFFERED_BULK_BYTES_MAX`], begins at `bytes[at]`. Take its bytes out,
    /// as they come, then call [`Decoder::body_received`]; until then every call answers the same.
    Body { at: usize, len: u64 },
}

/// What is expected at `scanned`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// A command's first byte.
    #[default]
    Start,
    /// The rest of an inline command.
    Inline,
    /// The rest of the line behind `*`.
    Count,
    /// `$`.
    Type,
    /// The rest of the line behind `$`.
    Size,
    /// `bulk` bytes, CR and LF.
    Body,
    /// `bulk` bytes that do not stay here.
    Large,
    /// Nothing: the command is whole and was put off.
    Held,
}

/// A number on a line of its own, as far as it has been read.
#[derive(Clone, Copy, Debug, Default)]
struct Number {
    magnitude: u64,
    digits: u8,
    negative: bool,
    /// It is no number, but the line has not ended.
    bad: bool,
    /// The line's CR has been read.
    ending: bool,
}

/// What became of a line with a number.
enum Line {
    More,
    TooBig,
    Invalid,
    /// Negative numbers are all the same: none.
    Negative,
    Whole(u64),
}

/// The state of one connection's input. Every call takes the same bytes, from the first of the command on, with
/// more behind them as they come; after [`Step::Ready`] and [`Step::Skip`] the next command starts behind `consumed`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoder {
    number: Number,
    /// Bytes that are dealt with.
    scanned: u32,
    /// Where the line under way, or the latest, begins. Of a command that was put off: where argument `left` begins.
    line: u32,
    /// Arguments to come, the one under way included. Of a command that was put off: the number of the argument that it
    /// goes on with; 0: its first.
    left: u32,
    /// Bytes of the argument under way.
    bulk: u32,
    stage: Stage,
}

const _: () = assert!(size_of::<Decoder>() <= 40);

impl Decoder {
    /// Before the first command.
    #[must_use]
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Whether the next command is to begin, and none was put off.
    #[must_use]
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Start
    }

    /// The command that was [`Step::Ready`] just now is not consumed yet: the next `decode` finds it again, and until
    /// then its large arguments are among [`large_ids`](Decoder::large_ids).
    pub fn hold(&mut self, consumed: usize) {
        (self.line, self.left) = (0, 0);
        self.stage = Stage::Held;
        self.scanned = consumed as u32;
    }

    /// The same for a command that goes on with argument `next`: the next `decode` fills the table with a window of its
    /// arguments, from that one on. `bytes` are the command's.
    pub fn hold_at(&mut self, bytes: &[u8], next: usize) {
        let mut walk = Walk { bytes, at: self.line as usize };
        let mut number = self.left as usize;
        if number == 0 || number > next || bytes.first() != Some(&b'*') {
            (walk.at, number) = (0, 0);
        }
        if bytes.first() == Some(&b'*') {
            if number == 0 {
                walk.number();
            }
            while number < next {
                walk.argument();
                number += 1;
            }
        }
        self.stage = Stage::Held;
        (self.scanned, self.line, self.left) = (bytes.len() as u32, walk.at as u32, number as u32);
    }

    /// Goes on decoding. Of the buffer that `bytes` come from, a line needs 64 KiB and a byte, a command all its bytes
    /// but those of large arguments, before it can be told to be whole or malformed.
    ///
    /// # Errors
    /// If these bytes can begin no command; the decoder is of no use any more.
    #[inline]
    pub fn decode(&mut self, bytes: &[u8], bounds: &Bounds, table: &mut ArgTable) -> Result<Step, Malformed> {
        if self.stage == Stage::Held {
            let consumed = self.scanned as usize;
            // Where it goes on is kept for the next time.
            (self.stage, self.scanned) = (Stage::Start, 0);
            Decoder::window(&bytes[..consumed], (self.line as usize, self.left as usize), table);
            return Ok(Step::Ready { consumed });
        }
        let begins = self.stage == Stage::Start;
        if begins {
            match bytes.first() {
                None => return Ok(Step::NeedMore),
                Some(b'*') => {
                    table.reset();
                    self.begin_line(Stage::Count, 0);
                }
                Some(_) => self.stage = Stage::Inline,
            }
        }
        if self.stage == Stage::Inline {
            return self.inline(bytes, table);
        }
        if self.stage == Stage::Count {
            match self.count(bytes, bounds)? {
                None => return Ok(Step::NeedMore),
                Some(0) => {
                    let consumed = self.scanned as usize;
                    *self = Decoder::new();
                    return Ok(Step::Skip { consumed });
                }
                Some(_) => {}
            }
        }
        if let Some(stop) = self.arguments(bytes, bounds, begins.then_some(&mut *table))? {
            return Ok(stop);
        }
        let consumed = self.scanned as usize;
        *self = Decoder::new();
        if !begins {
            Decoder::window(&bytes[..consumed], (0, 0), table);
        }
        Ok(Step::Ready { consumed })
    }

    /// The body that [`Step::Body`] announced has been taken out of the bytes: `id` is the large value that it is in
    /// now; `None`, it was thrown away. `bytes` are those that `decode` gets: what follows the body is at `at`.
    ///
    /// # Panics
    /// If no body was announced.
    pub fn body_received(&mut self, bytes: &mut [u8], id: Option<LargeId>) {
        assert_eq!(self.stage, Stage::Large, "a body that nobody announced");
        let (line, at) = (self.line as usize, self.scanned as usize);
        let [a, b, c, d] = id.map_or(0, |id| id.0).to_le_bytes();
        // The spelling of a header is unique and its number has at most 20 digits, so its length fits a byte.
        let marker: [u8; MARKER_BYTES] = [0, (at - line) as u8, u8::from(id.is_some()), a, b, c, d];
        bytes[line..line + MARKER_BYTES].copy_from_slice(&marker);
        self.bulk = 0;
        self.stage = Stage::Body;
    }

    /// A line of text. `scanned` says how much of it holds no line end.
    fn inline(&mut self, bytes: &[u8], table: &mut ArgTable) -> Result<Step, Malformed> {
        let Some(end) = inline::find_end(bytes, self.scanned as usize)? else {
            count_looked(bytes.len() - self.scanned as usize);
            self.scanned = bytes.len() as u32;
            return Ok(Step::NeedMore);
        };
        count_looked(end + 1 - self.scanned as usize);
        *self = Decoder::new();
        table.reset();
        let consumed = end + 1;
        inline::split(inline::without_end(&bytes[..consumed]), table)?;
        Ok(if table.is_empty() { Step::Skip { consumed } } else { Step::Ready { consumed } })
    }

    fn begin_line(&mut self, stage: Stage, at: usize) {
        count_looked(1);
        self.stage = stage;
        self.line = at as u32;
        self.scanned = at as u32 + 1;
        self.number = Number::default();
    }

    /// The line of `*`. `None`: not whole; 0: no arguments, however it was spelt.
    #[inline]
    fn count(&mut self, bytes: &[u8], bounds: &Bounds) -> Result<Option<u32>, Malformed> {
        let count = match self.line(bytes) {
            Line::More => return Ok(None),
            Line::TooBig => return Err(Malformed::CountLineTooBig),
            Line::Invalid => return Err(Malformed::MultibulkLength),
            Line::Negative => 0,
            Line::Whole(count) => count,
        };
        if count > ARGUMENTS_MAX as u64 {
            return Err(Malformed::MultibulkLength);
        }
        if count > ARGUMENTS_MAX_UNAUTHENTICATED as u64 && !bounds.authenticated {
            return Err(Malformed::UnauthenticatedMultibulkLength);
        }
        self.left = count as u32;
        self.stage = Stage::Type;
        Ok(Some(self.left))
    }

    /// The arguments. `None`: all of them are here; else what to tell the caller.
    #[inline]
    fn arguments(
        &mut self,
        bytes: &[u8],
        bounds: &Bounds,
        mut table: Option<&mut ArgTable>,
    ) -> Result<Option<Step>, Malformed> {
        loop {
            match self.stage {
                Stage::Type => {
                    let at = self.scanned as usize;
                    match bytes.get(at) {
                        None => return Ok(Some(Step::NeedMore)),
                        Some(b'$') => self.begin_line(Stage::Size, at),
                        Some(got) => return Err(Malformed::ExpectedDollar { got: *got }),
                    }
                }
                Stage::Size => match self.line(bytes) {
                    Line::More => return Ok(Some(Step::NeedMore)),
                    Line::TooBig => return Err(Malformed::BulkLineTooBig),
                    Line::Invalid | Line::Negative => return Err(Malformed::BulkLength),
                    Line::Whole(len) => self.size(len, bounds)?,
                },
                Stage::Body => {
                    let (at, len) = (self.scanned as usize, self.bulk as usize);
                    let Some(end) = bytes.get(at + len..at + len + 2) else {
                        return Ok(Some(Step::NeedMore));
                    };
                    count_looked(2);
                    if end != b"\r\n" {
                        return Err(Malformed::ExpectedCrlf);
                    }
                    if let Some(table) = &mut table {
                        table.push(at, len);
                    }
                    self.scanned += self.bulk + 2;
                    self.left -= 1;
                    if self.left == 0 {
                        return Ok(None);
                    }
                    self.stage = Stage::Type;
                }
                Stage::Large => {
                    let (at, len) = (self.scanned as usize, u64::from(self.bulk));
                    return Ok(Some(Step::Body { at, len }));
                }
                // `decode` has passed these.
                Stage::Start | Stage::Inline | Stage::Count | Stage::Held => return Ok(Some(Step::NeedMore)),
            }
        }
    }

    /// The number behind `$` is known.
    #[inline]
    fn size(&mut self, len: u64, bounds: &Bounds) -> Result<(), Malformed> {
        if len > bounds.max_bulk_bytes || len > u64::from(u32::MAX) {
            return Err(Malformed::BulkLength);
        }
        if len > BULK_BYTES_MAX_UNAUTHENTICATED && !bounds.authenticated {
            return Err(Malformed::UnauthenticatedBulkLength);
        }
        self.bulk = len as u32;
        self.stage = if len > BUFFERED_BULK_BYTES_MAX as u64 { Stage::Large } else { Stage::Body };
        Ok(())
    }

    /// Goes on with the line that began at `line`.
    #[inline]
    fn line(&mut self, bytes: &[u8]) -> Line {
        let at = self.scanned as usize;
        if self.scanned == self.line + 1 {
            // One or two digits and all four bytes are here: almost every line.
            match bytes[at..] {
                [a @ b'0'..=b'9', b'\r', b'\n', ..] => {
                    count_looked(3);
                    self.scanned += 3;
                    return Line::Whole(u64::from(a - b'0'));
                }
                [a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => {
                    count_looked(4);
                    self.scanned += 4;
                    return Line::Whole(u64::from(a - b'0') * 10 + u64::from(b - b'0'));
                }
                [_, _, _, ..] => count_looked(3),
                _ => {}
            }
        }
        self.line_by_bytes(bytes)
    }

    fn line_by_bytes(&mut self, bytes: &[u8]) -> Line {
        let too_big = self.line as usize + LINE_BYTES_MAX + 1;
        let from = self.scanned as usize;
        let mut number = self.number;
        for byte in &bytes[from..bytes.len().min(too_big)] {
            count_looked(1);
            self.scanned += 1;
            match byte {
                b'\n' if number.ending => return number.finish(),
                b'\n' => return Line::Invalid,
                _ if number.ending => return Line::Invalid,
                b'\r' => number.ending = true,
                byte => number.push(*byte),
            }
        }
        self.number = number;
        if self.scanned as usize == too_big { Line::TooBig } else { Line::More }
    }
}

impl Number {
    /// One more byte of it.
    #[inline]
    fn push(&mut self, byte: u8) {
        let digit = u64::from(byte.wrapping_sub(b'0'));
        if byte == b'-' && self.digits == 0 && !self.negative {
            self.negative = true;
            return;
        }
        let leading_zero = self.digits == 1 && self.magnitude == 0;
        match self.magnitude.checked_mul(10).and_then(|tens| tens.checked_add(digit)) {
            Some(magnitude) if digit <= 9 && !leading_zero => {
                self.magnitude = magnitude;
                self.digits += 1;
            }
            _ => self.bad = true,
        }
    }

    /// The line has ended.
    fn finish(&self) -> Line {
        let fits = self.magnitude <= if self.negative { 1 << 63 } else { i64::MAX as u64 };
        let negative_zero = self.negative && self.magnitude == 0;
        if self.bad || self.digits == 0 || !fits || negative_zero {
            Line::Invalid
        } else if self.negative {
            Line::Negative
        } else {
            Line::Whole(self.magnitude)
        }
    }
}

/// Tests count the bytes that are looked at.
#[cfg(test)]
fn count_looked(count: usize) {
    tests::LOOKED.with(|looked| looked.set(looked.get() + count as u64));
}

#[cfg(not(test))]
#[inline(always)]
fn count_looked(_: usize) {}
