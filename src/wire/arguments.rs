//! A command's arguments, as places in the bytes that carry it: nothing is copied, nothing allocated.
//!
//! ```text
//! bytes  *3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n
//! spans              |8 3|       |17 1|     |24 5|            (offset, length)
//! ```

use crate::{limits::LINE_BYTES_MAX, mutation::LargeId, work};

/// `length` of a span whose `offset` is the number of a large value.
const LARGE: u32 = u32::MAX;
/// `length` of a span whose argument was thrown away as it arrived.
const REFUSED: u32 = u32::MAX - 1;

/// Arguments that every window begins with: the verb and a subcommand.
pub const HEAD_ARGS: usize = 2;
/// Arguments of a window behind those: more than a turn's work.
pub const WINDOW_ARGS: usize = 1024;

/// Where an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    offset: u32,
    length: u32,
}

/// One argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg<'a> {
    /// Its bytes, at most [`BUFFERED_BULK_BYTES_MAX`](crate::limits::BUFFERED_BULK_BYTES_MAX).
    Bytes(&'a [u8]),
    /// A longer argument, received into a large value. Its reference is released where the command is run or dropped.
    Large(LargeId),
    /// A longer argument for which there was no room, thrown away; its command must not run.
    Refused,
}

/// The places of one command's arguments: ONE table serves every connection, for a command is executed as soon as it
/// has been decoded. It never grows past the capacity that it was given at start.
#[derive(Debug)]
pub struct ArgTable {
    spans: Vec<Span>,
    /// Arguments behind the first [`HEAD_ARGS`] that are not in the table: it holds a window.
    skipped: usize,
    /// Arguments of the command, those that are not in the table included; 0: it holds all of them.
    count: usize,
    /// The arguments of an inline command, quotes and escapes resolved; its spans point here.
    pub(super) text: Vec<u8>,
    pub(super) is_inline: bool,
}

impl ArgTable {
    /// Room for `arguments` of them and for an inline command, untouched until used. A server's table takes
    /// [`ARGUMENTS_MAX`](crate::limits::ARGUMENTS_MAX).
    #[must_use]
    pub fn with_capacity(arguments: usize) -> ArgTable {
        ArgTable {
            skipped: 0,
            count: 0,
            spans: Vec::with_capacity(arguments),
            text: Vec::with_capacity(LINE_BYTES_MAX),
            is_inline: false,
        }
    }

    /// The arguments of the command that was decoded last, given the bytes that it was decoded from.
    #[must_use]
    #[inline]
    pub fn args<'a>(&'a self, bytes: &'a [u8]) -> Args<'a> {
        let bytes = if self.is_inline { &self.text } else { bytes };
        Args { bytes, spans: &self.spans, skipped: self.skipped, count: self.count.max(self.spans.len()) }
    }

    /// As [`args`](ArgTable::args) for a table that was filled by [`push`](ArgTable::push): `bytes` are what the
    /// positions refer to.
    #[must_use]
    pub fn spans<'a>(&'a self, bytes: &'a [u8]) -> Args<'a> {
        Args { bytes, spans: &self.spans, skipped: self.skipped, count: self.count.max(self.spans.len()) }
    }

    /// Whether the table holds no argument.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Empties the table, to be filled again.
    #[inline]
    pub fn reset(&mut self) {
        self.spans.clear();
        (self.skipped, self.count) = (0, 0);
        self.text.clear();
        self.is_inline = false;
    }

    /// Whether some of the command's arguments are not in the table.
    #[must_use]
    #[inline]
    pub fn is_window(&self) -> bool {
        self.count > self.spans.len()
    }

    /// From now on the table holds a window of a command of `count` arguments: after the first [`HEAD_ARGS`], those
    /// before number `first` are left out.
    pub(super) fn begin_window(&mut self, first: usize, count: usize) {
        debug_assert!(self.spans.len() == HEAD_ARGS && first >= HEAD_ARGS);
        (self.skipped, self.count) = (first - HEAD_ARGS, count);
    }

    /// The command has `count` arguments, of which the table holds the first; the others are yet to come.
    pub(super) fn is_part_of(&mut self, count: usize) {
        debug_assert!(self.spans.len() <= HEAD_ARGS.min(count));
        self.count = count;
    }

    /// One more argument: `length` bytes, at most `BUFFERED_BULK_BYTES_MAX`, from position `offset` on.
    #[inline]
    pub fn push(&mut self, offset: usize, length: usize) {
        self.spans.push(Span { offset: offset as u32, length: length as u32 });
    }

    /// One more argument: a large value, or one that was thrown away.
    pub fn push_large(&mut self, id: Option<LargeId>) {
        self.spans.push(match id {
            Some(LargeId(id)) => Span { offset: id, length: LARGE },
            None => Span { offset: 0, length: REFUSED },
        });
    }
}

/// A command's arguments, the verb first. Of a command of very many, a window of them ([`Decoder::hold_at`]): so a command
/// that runs in slices does not begin each slice with a walk over all.
///
/// [`Decoder::hold_at`]: super::resp::Decoder::hold_at
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
    skipped: usize,
    count: usize,
}

impl<'a> Args<'a> {
    /// How many there are.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// The number behind that of the last argument that is here; less than [`len`](Args::len) in a window.
    #[must_use]
    #[inline]
    pub fn end(&self) -> usize {
        self.skipped + self.spans.len()
    }

    /// Whether there is none (left: see [`from`](Args::from)).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `i`; `None` if there are not that many, or the window does not have it.
    #[must_use]
    #[inline]
    pub fn get(&self, i: usize) -> Option<Arg<'a>> {
        let place =
            if i < HEAD_ARGS { i } else { i.checked_sub(self.skipped).filter(|at| *at >= HEAD_ARGS)? };
        self.spans.get(place).map(|span| self.resolve(*span))
    }

    /// The bytes of argument `i`; `None` if there are not that many or it is a large one.
    #[must_use]
    #[inline]
    pub fn bytes(&self, i: usize) -> Option<&'a [u8]> {
        match self.get(i) {
            Some(Arg::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// All of them in order (of a window: those that are here).
    pub fn iter(self) -> impl ExactSizeIterator<Item = Arg<'a>> {
        self.spans.iter().map(move |span| self.resolve(*span))
    }

    /// Those from number `first` on, numbered from 0 again; empty if there are not that many.
    #[must_use]
    pub fn from(&self, first: usize) -> Args<'a> {
        debug_assert_eq!(self.skipped, 0, "a window is looked at by numbers");
        let spans = self.spans.get(first..).unwrap_or(&[]);
        Args { bytes: self.bytes, spans, skipped: 0, count: self.count.saturating_sub(first) }
    }

    #[inline]
    fn resolve(&self, span: Span) -> Arg<'a> {
        work::count(work::ARGUMENT);
        let (offset, length) = (span.offset as usize, span.length as usize);
        match span.length {
            LARGE => Arg::Large(LargeId(span.offset)),
            REFUSED => Arg::Refused,
            _ => Arg::Bytes(&self.bytes[offset..offset + length]),
        }
    }
}
