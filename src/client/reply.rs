//! RESP replies as a client sees them: one value type, and a reader that bounds what a server can make the client hold.
//!
//! ```text
//!   +text␍␊   -CODE text␍␊   :17␍␊   $3␍␊abc␍␊   *2␍␊…   (RESP2)
//!   _␍␊  #t␍␊  ,1.5␍␊  (99␍␊  =7␍␊txt:abc␍␊  !3␍␊ERR␍␊  %1␍␊…  ~1␍␊…  >1␍␊…  |1␍␊…   (RESP3)
//! ```
//!
//! A server is not trusted with the client's memory: nesting, line length and the whole size of one reply have bounds, and
//! memory grows with the bytes that have arrived, never with a length that was merely announced.

use std::{error, fmt, io, io::Read};

use crate::limits::{KIB, MIB, VALUE_BYTES_MAX};

/// How deep arrays may nest; no reply of the server goes beyond four.
pub(super) const DEPTH_MAX: usize = 16;
/// Bytes of a line, at most: an error text, a simple string or a length.
const LINE_BYTES_MAX: usize = 64 * KIB;
/// Bytes of memory that one reply may take, unless set otherwise: the largest value, and as much again for lists.
pub(super) const REPLY_BYTES_MAX: usize = VALUE_BYTES_MAX as usize + 512 * MIB;
/// Bytes asked for at a time while a long string comes in.
const PIECE_BYTES: usize = 64 * KIB;

/// One reply, of RESP2 or RESP3.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// Nothing: `$-1`, `*-1` or `_`.
    Null,
    /// A short text such as `OK`.
    Simple(Vec<u8>),
    /// An error answer.
    Error {
        /// The first word where it is a code, such as `WRONGTYPE`; else `ERR`.
        code: String,
        /// The rest of it.
        text: String,
    },
    /// A whole number.
    Integer(i64),
    /// Bytes.
    Bulk(Vec<u8>),
    /// A text with its format: `txt` or `mkd`.
    Verbatim {
        /// Three letters.
        format: [u8; 3],
        /// The text itself.
        text: Vec<u8>,
    },
    /// A truth value.
    Boolean(bool),
    /// A floating-point number.
    Double(f64),
    /// A whole number of any length, in decimal digits.
    BigNumber(Vec<u8>),
    /// A list.
    Array(Vec<Reply>),
    /// Pairs, in the server's order.
    Map(Vec<(Reply, Reply)>),
    /// A list without order.
    Set(Vec<Reply>),
    /// A message that no request asked for.
    Push(Vec<Reply>),
}

impl Reply {
    /// The bytes of a string of any kind.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Reply::Simple(bytes) | Reply::Bulk(bytes) => Some(bytes),
            Reply::Verbatim { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// Why bytes from a server are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// The first byte names no type.
    UnknownType(u8),
    /// A length, count or number is not one.
    BadNumber,
    /// A line is longer than 64 KiB.
    LineTooLong,
    /// A string is not followed by CR LF.
    MissingLineEnd,
    /// Lists are nested too deep.
    TooDeep,
    /// The whole reply is larger than allowed.
    TooLarge,
    /// A well-formed reply, but none that this command can have.
    UnexpectedReply,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::UnknownType(b'H') => f.write_str("this looks like HTTP; the admin port is 7879"),
            // The first byte of a record of TLS: of an alert, of a handshake.
            Malformed::UnknownType(0x15 | 0x16) => f.write_str("this looks like TLS"),
            Malformed::UnknownType(byte) => {
                write!(f, "a reply cannot begin with byte {byte:#04x} (is this a RESP server?)")
            }
            Malformed::BadNumber => f.write_str("a length or number is malformed"),
            Malformed::LineTooLong => write!(f, "a line is longer than {LINE_BYTES_MAX} bytes"),
            Malformed::MissingLineEnd => f.write_str("a string does not end in CR LF"),
            Malformed::TooDeep => write!(f, "lists are nested deeper than {DEPTH_MAX}"),
            Malformed::TooLarge => f.write_str("the reply is larger than the client allows"),
            Malformed::UnexpectedReply => f.write_str("a reply of another type than the command has"),
        }
    }
}

impl error::Error for Malformed {}

/// Why no reply could be read.
#[derive(Debug)]
pub enum ReadError {
    /// The source failed, or ended within a reply ([`io::ErrorKind::UnexpectedEof`]).
    Io(io::Error),
    /// What came is no reply.
    Malformed(Malformed),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io(error) => error.fmt(f),
            ReadError::Malformed(reason) => reason.fmt(f),
        }
    }
}

impl error::Error for ReadError {}

impl From<Malformed> for ReadError {
    fn from(reason: Malformed) -> ReadError {
        ReadError::Malformed(reason)
    }
}

/// Reads replies from a byte stream; bytes beyond the reply stay for the next call.
///
/// After an error the stream has no known position: it must be closed.
pub struct ReplyReader {
    /// `bytes[start..end]` has arrived and is not consumed; `start <= end <= bytes.len()`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    reply_bytes_max: usize,
    /// Bytes of memory that the reply being read may still take.
    budget: usize,
}

impl ReplyReader {
    /// A reader that takes up to `reply_bytes_max` bytes of memory for one reply.
    #[must_use]
    pub fn new(reply_bytes_max: usize) -> ReplyReader {
        ReplyReader { bytes: vec![0; 8 * KIB], start: 0, end: 0, reply_bytes_max, budget: 0 }
    }

    /// The next reply that is not a push message; those are dropped, since nothing here subscribes.
    ///
    /// # Errors
    /// [`ReadError`]; read no further from this source.
    pub fn read(&mut self, source: &mut impl Read) -> Result<Reply, ReadError> {
        self.read_within(source, self.reply_bytes_max)
    }

    /// As [`read`](ReplyReader::read), with another bound for this one reply.
    ///
    /// # Errors
    /// [`ReadError`]; read no further from this source.
    pub fn read_within(
        &mut self,
        source: &mut impl Read,
        reply_bytes_max: usize,
    ) -> Result<Reply, ReadError> {
        loop {
            match self.message_within(source, reply_bytes_max)? {
                Reply::Push(_) => continue,
                reply => return Ok(reply),
            }
        }
    }

    /// The next reply or push, for who waits for both.
    pub(super) fn message_within(
        &mut self,
        source: &mut impl Read,
        bytes_max: usize,
    ) -> Result<Reply, ReadError> {
        self.budget = bytes_max;
        self.value(source, 0)
    }

    /// True while bytes are left that belong to no request.
    #[must_use]
    pub fn has_leftover(&self) -> bool {
        self.start < self.end
    }

    fn value(&mut self, source: &mut impl Read, depth: usize) -> Result<Reply, ReadError> {
        if depth > DEPTH_MAX {
            return Err(Malformed::TooDeep.into());
        }
        // An attribute says something about the value after it; the loop passes over it.
        loop {
            self.charge(size_of::<Reply>())?;
            let line = self.line(source)?;
            let Some((&kind, rest)) = line.split_first() else { return Err(Malformed::BadNumber.into()) };
            return Ok(match kind {
                b'+' => Reply::Simple(rest.to_vec()),
                b'-' => error_reply(rest),
                b':' => Reply::Integer(parse_integer(rest)?),
                b'_' => Reply::Null,
                b'#' => Reply::Boolean(parse_boolean(rest)?),
                b',' => Reply::Double(parse_double(rest)?),
                b'(' => Reply::BigNumber(rest.to_vec()),
                b'$' => match parse_length(rest)? {
                    Some(len) => Reply::Bulk(self.string(source, len)?),
                    None => Reply::Null,
                },
                b'!' => error_reply(&self.required_string(source, rest)?),
                b'=' => verbatim(self.required_string(source, rest)?)?,
                b'*' => match parse_length(rest)? {
                    Some(count) => Reply::Array(self.list(source, count, depth)?),
                    None => Reply::Null,
                },
                b'~' => {
                    let count = required(parse_length(rest)?)?;
                    Reply::Set(self.list(source, count, depth)?)
                }
                b'>' => {
                    let count = required(parse_length(rest)?)?;
                    Reply::Push(self.list(source, count, depth)?)
                }
                b'%' => {
                    let count = required(parse_length(rest)?)?;
                    Reply::Map(self.pairs(source, count, depth)?)
                }
                b'|' => {
                    let count = required(parse_length(rest)?)?;
                    self.pairs(source, count, depth)?;
                    continue;
                }
                other => return Err(Malformed::UnknownType(other).into()),
            });
        }
    }

    /// Elements are added as they arrive: a count alone reserves nothing.
    fn list(&mut self, source: &mut impl Read, count: usize, depth: usize) -> Result<Vec<Reply>, ReadError> {
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(self.value(source, depth + 1)?);
        }
        Ok(list)
    }

    fn pairs(
        &mut self,
        source: &mut impl Read,
        count: usize,
        depth: usize,
    ) -> Result<Vec<(Reply, Reply)>, ReadError> {
        let mut pairs = Vec::new();
        for _ in 0..count {
            let key = self.value(source, depth + 1)?;
            pairs.push((key, self.value(source, depth + 1)?));
        }
        Ok(pairs)
    }

    fn required_string(&mut self, source: &mut impl Read, len: &[u8]) -> Result<Vec<u8>, ReadError> {
        let len = required(parse_length(len)?)?;
        self.string(source, len)
    }

    /// `len` bytes and CR LF.
    fn string(&mut self, source: &mut impl Read, len: usize) -> Result<Vec<u8>, ReadError> {
        self.charge(len)?;
        let buffered = len.min(self.end - self.start);
        let mut string = self.bytes[self.start..self.start + buffered].to_vec();
        self.start += buffered;
        while string.len() < len {
            let filled = string.len();
            string.resize(filled + PIECE_BYTES.min(len - filled), 0);
            let count = read_some(source, &mut string[filled..])?;
            string.truncate(filled + count);
        }
        while self.end - self.start < 2 {
            self.fill(source)?;
        }
        if !self.bytes[self.start..self.end].starts_with(b"\r\n") {
            return Err(Malformed::MissingLineEnd.into());
        }
        self.start += 2;
        Ok(string)
    }

    /// A line without its CR LF. Already searched bytes are not searched again.
    fn line(&mut self, source: &mut impl Read) -> Result<Vec<u8>, ReadError> {
        let mut searched = 0;
        loop {
            let waiting = &self.bytes[self.start..self.end];
            if let Some(at) = waiting[searched..].iter().position(|&byte| byte == b'\n') {
                let line = &waiting[..searched + at];
                let Some(line) = line.strip_suffix(b"\r") else {
                    return Err(Malformed::MissingLineEnd.into());
                };
                let line = line.to_vec();
                self.start += searched + at + 1;
                self.charge(line.len())?;
                return Ok(line);
            }
            searched = waiting.len();
            if searched > LINE_BYTES_MAX {
                return Err(Malformed::LineTooLong.into());
            }
            self.fill(source)?;
        }
    }

    /// Reads once, behind what waits.
    fn fill(&mut self, source: &mut impl Read) -> Result<(), ReadError> {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            // Only a line can fill the buffer, and a line has a bound.
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
        self.end += read_some(source, &mut self.bytes[self.end..])?;
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.budget = self.budget.checked_sub(bytes).ok_or(Malformed::TooLarge)?;
        Ok(())
    }
}

/// At least one byte; the end of the stream within a reply is an error.
fn read_some(source: &mut impl Read, into: &mut [u8]) -> Result<usize, ReadError> {
    loop {
        match source.read(into) {
            Ok(0) => {
                let text = "the server closed the connection";
                return Err(ReadError::Io(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
            }
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ReadError::Io(error)),
        }
    }
}

/// The whole replies at the front of `bytes`, and how many bytes they take, for callers that read without blocking.
#[cfg(feature = "sim")]
pub(crate) fn whole_replies(bytes: &[u8]) -> Result<(Vec<Reply>, usize), Malformed> {
    whole(bytes, |reader, source| reader.read(source))
}

/// The same with the pushes among them.
#[cfg(feature = "sim")]
pub(crate) fn whole_messages(bytes: &[u8]) -> Result<(Vec<Reply>, usize), Malformed> {
    whole(bytes, |reader, source| reader.message_within(source, REPLY_BYTES_MAX))
}

#[cfg(feature = "sim")]
fn whole(
    bytes: &[u8],
    read: impl Fn(&mut ReplyReader, &mut &[u8]) -> Result<Reply, ReadError>,
) -> Result<(Vec<Reply>, usize), Malformed> {
    let (mut reader, mut source) = (ReplyReader::new(REPLY_BYTES_MAX), bytes);
    let (mut replies, mut consumed) = (Vec::new(), 0);
    loop {
        match read(&mut reader, &mut source) {
            Ok(reply) => replies.push(reply),
            Err(ReadError::Malformed(reason)) => return Err(reason),
            // The rest is still to come.
            Err(ReadError::Io(_)) => return Ok((replies, consumed)),
        }
        consumed = bytes.len() - source.len() - (reader.end - reader.start);
    }
}

fn error_reply(line: &[u8]) -> Reply {
    let line = String::from_utf8_lossy(line);
    let is_code = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    match line.split_once(' ') {
        Some((code, text)) if is_code(code) => Reply::Error { code: code.into(), text: text.into() },
        _ if is_code(&line) => Reply::Error { code: line.into_owned(), text: String::new() },
        _ => Reply::Error { code: "ERR".into(), text: line.into_owned() },
    }
}

fn verbatim(bytes: Vec<u8>) -> Result<Reply, Malformed> {
    match bytes.split_first_chunk::<4>() {
        Some((&[a, b, c, b':'], text)) => Ok(Reply::Verbatim { format: [a, b, c], text: text.to_vec() }),
        _ => Err(Malformed::BadNumber),
    }
}

fn required(length: Option<usize>) -> Result<usize, Malformed> {
    length.ok_or(Malformed::BadNumber)
}

/// Digits alone, or `-1` for nothing.
fn parse_length(digits: &[u8]) -> Result<Option<usize>, Malformed> {
    if digits == b"-1" {
        return Ok(None);
    }
    // Sixteen digits cannot overflow, and no honest length has as many.
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::BadNumber);
    }
    let length = digits.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    usize::try_from(length).map(Some).map_err(|_| Malformed::TooLarge)
}

fn parse_integer(digits: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(Malformed::BadNumber)
}

fn parse_double(digits: &[u8]) -> Result<f64, Malformed> {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(Malformed::BadNumber)
}

fn parse_boolean(letter: &[u8]) -> Result<bool, Malformed> {
    match letter {
        b"t" => Ok(true),
        b"f" => Ok(false),
        _ => Err(Malformed::BadNumber),
    }
}

#[cfg(test)]
mod tests;
