//! Records from the bytes of a file.

use super::payload::{PLAIN_HASH, PLAIN_SET};
use super::values::ValueKind;
use super::{MAGIC, VERSION_MAX, VERSION_MIN, lzf, opcode};
use crate::wire::crc64::crc64;
use std::fmt;
use std::io::{self, Read};

/// Bytes of a string, at most: what Redis allows.
pub const STRING_BYTES_MAX: u64 = 512 << 20;
/// Bytes that are asked of the file at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes of strings after which a part of a collection ends.
pub const PART_BYTES: usize = 1 << 20;

/// Why a file is not read on.
#[derive(Debug)]
pub enum RdbError {
    Io(io::Error),
    /// It does not begin as an RDB file does.
    NotRdb,
    /// Of a version that is not known.
    Version(u32),
    /// What is there makes no sense, at this byte.
    Damaged(u64),
    /// A value of a module of the old kind, which says nothing of its length.
    OldModule(u64),
    /// The checksum does not match.
    Checksum,
}

impl fmt::Display for RdbError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RdbError::Io(error) => write!(formatter, "it cannot be read: {error}"),
            RdbError::NotRdb => formatter.write_str("it is no RDB file"),
            RdbError::Version(version) => write!(
                formatter,
                "RDB version {version} is not known: save it again with Redis 5 to 7.4, or Valkey up to 8.1"
            ),
            RdbError::Damaged(at) => write!(formatter, "it is damaged at byte {at}"),
            RdbError::OldModule(at) => {
                write!(
                    formatter,
                    "a module's value at byte {at} says nothing of its length: remove such keys first"
                )
            }
            RdbError::Checksum => formatter.write_str("its checksum does not match: it is damaged"),
        }
    }
}

impl std::error::Error for RdbError {}

impl From<io::Error> for RdbError {
    fn from(error: io::Error) -> RdbError {
        RdbError::Io(error)
    }
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Record {
    /// A key with a string.
    String {
        database: u64,
        key: Vec<u8>,
        value: Vec<u8>,
        /// In Unix milliseconds.
        expiry_ms: Option<u64>,
    },
    /// A part of a hash or a set; a longer one has several, one after the other.
    Part(Part),
    /// A hash or a set that is packed, as it stands in the file, its type before it: for [`dump_payload`](super::dump_payload).
    Packed { database: u64, key: Vec<u8>, kind: ValueKind, value: Vec<u8>, expiry_ms: Option<u64> },
    /// A key of another type: it was passed over.
    Other { database: u64, key: Vec<u8>, kind: ValueKind },
}

/// Some entries of a collection.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    pub database: u64,
    pub key: Vec<u8>,
    pub kind: ValueKind,
    /// Members, or fields and values in turn.
    pub items: Vec<Vec<u8>>,
    pub is_first: bool,
    /// In Unix milliseconds.
    pub expiry_ms: Option<u64>,
}

/// A collection of which a part was read.
struct Rest {
    database: u64,
    key: Vec<u8>,
    kind: ValueKind,
    expiry_ms: Option<u64>,
    /// Entries that are left.
    left: u64,
}

/// A length, or what stands in its place.
enum Length {
    Plain(u64),
    /// A string that is encoded in this way.
    Encoded(u8),
}

/// Reads a file of Redis or Valkey from its beginning.
pub struct RdbReader<R> {
    source: R,
    /// Bytes that were read, and the checksum of them.
    offset: u64,
    crc: u64,
    version: u32,
    database: u64,
    is_over: bool,
    rest: Option<Rest>,
    /// What is read while a value is passed over is kept here, if it is wanted.
    kept: Option<Vec<u8>>,
}

impl<R: Read> RdbReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// See [`RdbError`].
    pub fn new(source: R) -> Result<RdbReader<R>, RdbError> {
        let mut reader = RdbReader {
            source,
            offset: 0,
            crc: 0,
            version: 0,
            database: 0,
            is_over: false,
            rest: None,
            kept: None,
        };
        let mut header = [0; 9];
        match reader.read(&mut header) {
            Err(RdbError::Damaged(_)) => return Err(RdbError::NotRdb),
            read => read?,
        }
        let version = header.strip_prefix(MAGIC).and_then(|digits| std::str::from_utf8(digits).ok());
        let version = version.and_then(|digits| digits.parse().ok()).ok_or(RdbError::NotRdb)?;
        if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
            return Err(RdbError::Version(version));
        }
        reader.version = version;
        Ok(reader)
    }

    /// The file's version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Bytes that were read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What follows the file: an append-only file goes on behind one.
    pub fn into_source(self) -> R {
        self.source
    }

    /// The next key; `None` at the end, when the checksum was right.
    ///
    /// # Errors
    /// See [`RdbError`].
    pub fn next_record(&mut self) -> Result<Option<Record>, RdbError> {
        if let Some(rest) = self.rest.take() {
            return self.part(rest, false).map(Some);
        }
        let mut expiry_ms = None;
        while !self.is_over {
            let byte = self.byte()?;
            match byte {
                opcode::AUX => {
                    self.skip_string()?;
                    self.skip_string()?;
                }
                opcode::SELECT_DB => self.database = self.length()?,
                opcode::RESIZE_DB => {
                    self.length()?;
                    self.length()?;
                }
                opcode::SLOT_INFO => {
                    for _ in 0..3 {
                        self.length()?;
                    }
                }
                opcode::EXPIRE_MS => expiry_ms = Some(u64::from_le_bytes(self.array()?)),
                opcode::EXPIRE_S => {
                    expiry_ms = Some(u64::from(u32::from_le_bytes(self.array()?)) * 1000);
                }
                opcode::IDLE => _ = self.length()?,
                opcode::FREQ => _ = self.byte()?,
                opcode::FUNCTION2 => self.skip_string()?,
                opcode::MODULE_AUX => {
                    self.length()?;
                    self.skip_module()?;
                }
                opcode::EOF => self.end()?,
                layout => return self.record(layout, expiry_ms).map(Some),
            }
        }
        Ok(None)
    }

    fn record(&mut self, layout: u8, expiry_ms: Option<u64>) -> Result<Record, RdbError> {
        let (at, database) = (self.offset - 1, self.database);
        let kind = ValueKind::of(layout).ok_or(RdbError::Damaged(at))?;
        let key = self.string()?;
        if kind == ValueKind::String {
            let value = self.string()?;
            return Ok(Record::String { database, key, value, expiry_ms });
        }
        match (kind, layout) {
            (_, PLAIN_SET | PLAIN_HASH) => {
                let left = self.length()?;
                self.part(Rest { database, key, kind, expiry_ms, left }, true)
            }
            (ValueKind::Hash | ValueKind::Set, _) => {
                self.kept = Some(vec![layout]);
                let end = self.skip_value(layout);
                let value = self.kept.take().unwrap_or_default();
                end?;
                Ok(Record::Packed { database, key, kind, value, expiry_ms })
            }
            _ => {
                self.skip_value(layout)?;
                Ok(Record::Other { database, key, kind })
            }
        }
    }

    /// Some entries of a collection; keeps what is left of it.
    fn part(&mut self, mut rest: Rest, is_first: bool) -> Result<Record, RdbError> {
        let (mut items, mut len) = (Vec::new(), 0);
        while rest.left > 0 && len < PART_BYTES {
            for _ in 0..if rest.kind == ValueKind::Hash { 2 } else { 1 } {
                let item = self.string()?;
                len += item.len() + 1;
                items.push(item);
            }
            rest.left -= 1;
        }
        let (database, key, kind, expiry_ms) = (rest.database, rest.key.clone(), rest.kind, rest.expiry_ms);
        if rest.left > 0 {
            self.rest = Some(rest);
        }
        Ok(Record::Part(Part { database, key, kind, items, is_first, expiry_ms }))
    }

    fn end(&mut self) -> Result<(), RdbError> {
        let crc = self.crc;
        let stored = u64::from_le_bytes(self.array()?);
        self.is_over = true;
        // 0: it was written without one.
        if stored == 0 || stored == crc { Ok(()) } else { Err(RdbError::Checksum) }
    }

    /// Fills `bytes`.
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), RdbError> {
        match self.source.read_exact(bytes) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                self.crc = crc64(self.crc, bytes);
                if let Some(kept) = &mut self.kept {
                    kept.extend_from_slice(bytes);
                    if kept.len() as u64 > STRING_BYTES_MAX {
                        return Err(self.damaged());
                    }
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn damaged(&self) -> RdbError {
        RdbError::Damaged(self.offset)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, RdbError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Passes over so many bytes.
    pub(super) fn skip(&mut self, mut len: u64) -> Result<(), RdbError> {
        let mut piece = [0; 4096];
        while len > 0 {
            let now = len.min(piece.len() as u64) as usize;
            self.read(&mut piece[..now])?;
            len -= now as u64;
        }
        Ok(())
    }

    fn any_length(&mut self) -> Result<Length, RdbError> {
        let first = self.byte()?;
        let low = first & 0x3f;
        Ok(match first >> 6 {
            0 => Length::Plain(u64::from(low)),
            1 => Length::Plain(u64::from(low) << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
            2 if first == 0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
            3 => Length::Encoded(low),
            _ => return Err(self.damaged()),
        })
    }

    pub(super) fn length(&mut self) -> Result<u64, RdbError> {
        match self.any_length()? {
            Length::Plain(len) => Ok(len),
            Length::Encoded(_) => Err(self.damaged()),
        }
    }

    /// So many bytes, which take memory only as they come.
    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, RdbError> {
        if len > STRING_BYTES_MAX {
            return Err(self.damaged());
        }
        let (mut bytes, len) = (Vec::new(), len as usize);
        while bytes.len() < len {
            let from = bytes.len();
            bytes.resize(len.min(from + PIECE_BYTES), 0);
            self.read(&mut bytes[from..])?;
        }
        Ok(bytes)
    }

    pub(super) fn string(&mut self) -> Result<Vec<u8>, RdbError> {
        let text = |number: i32| number.to_string().into_bytes();
        match self.any_length()? {
            Length::Plain(len) => self.bytes(len),
            Length::Encoded(0) => Ok(text(i8::from_le_bytes(self.array()?).into())),
            Length::Encoded(1) => Ok(text(i16::from_le_bytes(self.array()?).into())),
            Length::Encoded(2) => Ok(text(i32::from_le_bytes(self.array()?))),
            Length::Encoded(3) => {
                let (packed_len, len) = (self.length()?, self.length()?);
                let packed = self.bytes(packed_len)?;
                let is_possible = len <= STRING_BYTES_MAX;
                let string = is_possible.then(|| lzf::decompress(&packed, len as usize)).flatten();
                string.ok_or_else(|| self.damaged())
            }
            Length::Encoded(_) => Err(self.damaged()),
        }
    }

    /// Passes over a string.
    pub(super) fn skip_string(&mut self) -> Result<(), RdbError> {
        let len = match self.any_length()? {
            Length::Plain(len) => len,
            Length::Encoded(0) => 1,
            Length::Encoded(1) => 2,
            Length::Encoded(2) => 4,
            Length::Encoded(3) => {
                let packed_len = self.length()?;
                self.length()?;
                packed_len
            }
            Length::Encoded(_) => return Err(self.damaged()),
        };
        self.skip(len)
    }
}
