//! What files of the journal are made of: a header, then frames. Checkpoints are made of the same.
//!
//! A file's header:
//!
//! ```text
//!  0       8         12      16       24     32               40             48              52       56         60    64
//! +-------+---------+-------+--------+------+----------------+--------------+---------------+--------+----------+-----+
//! | magic | version | flags | number | salt | first revision | previous len | previous crc  | zero   | zero     | crc |
//! |       |   u32   |  u32  |  u64   | u64  |      u64       |     u64      |      u32      |  u32   |   u32    | u32 |
//! +-------+---------+-------+--------+------+----------------+--------------+---------------+--------+----------+-----+
//! ```
//! Every revision in the file is above `first revision`; `previous len` and `previous crc` are the length of the file
//! before it and the checksum of the last frame there (of the header, if there was none). A file that begins after a
//! [gap](FLAG_GAP) counts only once a checkpoint stands before it.
//!
//! A frame:
//!
//! ```text
//!  0      8     12      16               24              32            40             44    48           48 + len
//! +------+-----+-------+----------------+---------------+-------------+--------------+-----+---------------+
//! | salt | len | flags | first revision | last revision | durable len | previous crc | crc | stored entries|
//! | u64  | u32 |  u32  |      u64       |      u64      |     u64     |     u32      | u32 |               |
//! +------+-----+-------+----------------+---------------+-------------+--------------+-----+---------------+
//! ```
//! All little-endian; `len` is a multiple of eight. The CRC32C is of the header without it, and of the entries. `durable
//! len` is how many bytes of this file were known to be durable when the frame was written: the *watermark*. (A length and
//! not a revision: it says the same, and also of frames in the middle of one long value.) `previous crc` chains a frame
//! to the one before it, so that none can be missing between two.

use crate::mutation::Revision;

/// Bytes of a file's header.
pub const FILE_HEADER_BYTES: usize = 64;
/// Bytes of a frame before its entries.
pub const FRAME_HEADER_BYTES: usize = 48;
/// Bytes of entries in one frame, at most: what a reader must be able to hold.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// The version of both formats, and of the entries in them. 2: entries of collections, and times of fields; what an
/// earlier version has written is read.
pub const FORMAT_VERSION: u32 = 2;

/// The file's first change does not follow the last one of the file before it.
pub const FLAG_GAP: u32 = 1;
/// The frame ends where a group of changes ends: what is before its end can be applied without what is behind it.
pub const FLAG_COMMIT: u32 = 1;
/// The frame is the last one of its file. Of a checkpoint, this tells that it is whole.
pub const FLAG_END: u32 = 2;

const JOURNAL_MAGIC: [u8; 8] = *b"PANNIERJ";
const CHECKPOINT_MAGIC: [u8; 8] = *b"PANNIERC";

/// Where the fields of a file's header are.
mod file {
    use std::ops::Range;

    pub const MAGIC: Range<usize> = 0..8;
    pub const VERSION: Range<usize> = 8..12;
    pub const FLAGS: Range<usize> = 12..16;
    pub const NUMBER: Range<usize> = 16..24;
    pub const SALT: Range<usize> = 24..32;
    pub const FIRST_REVISION: Range<usize> = 32..40;
    pub const PREVIOUS_LEN: Range<usize> = 40..48;
    pub const PREVIOUS_CRC: Range<usize> = 48..52;
    pub const CRC: Range<usize> = 60..64;
}

/// Where the fields of a frame's header are.
mod at {
    use std::ops::Range;

    pub const SALT: Range<usize> = 0..8;
    pub const LEN: Range<usize> = 8..12;
    pub const FLAGS: Range<usize> = 12..16;
    pub const FIRST_REVISION: Range<usize> = 16..24;
    pub const LAST_REVISION: Range<usize> = 24..32;
    pub const DURABLE_LEN: Range<usize> = 32..40;
    pub const PREVIOUS_CRC: Range<usize> = 40..44;
    pub const CRC: Range<usize> = 44..48;
}

const _: () = assert!(file::CRC.end == FILE_HEADER_BYTES && file::PREVIOUS_CRC.end <= file::CRC.start);
const _: () = assert!(at::CRC.end == FRAME_HEADER_BYTES && at::PREVIOUS_CRC.end == at::CRC.start);
const _: () = assert!(FRAME_HEADER_BYTES.is_multiple_of(8) && FILE_HEADER_BYTES.is_multiple_of(8));

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Journal,
    Checkpoint,
}

/// Why bytes are no header of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// They are too few, or not what was written.
    Damaged,
    /// A newer program has written them, in this version of the format.
    Version(u32),
}

/// The header of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    pub kind: FileKind,
    pub flags: u32,
    pub number: u64,
    /// Random, so that no frame of another file is taken for one of this.
    pub salt: u64,
    pub first_revision: Revision,
    pub previous_len: u64,
    pub previous_crc: u32,
}

impl FileHeader {
    /// Its bytes.
    pub fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = [0; FILE_HEADER_BYTES];
        bytes[file::MAGIC].copy_from_slice(match self.kind {
            FileKind::Journal => &JOURNAL_MAGIC,
            FileKind::Checkpoint => &CHECKPOINT_MAGIC,
        });
        bytes[file::VERSION].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[file::FLAGS].copy_from_slice(&self.flags.to_le_bytes());
        bytes[file::NUMBER].copy_from_slice(&self.number.to_le_bytes());
        bytes[file::SALT].copy_from_slice(&self.salt.to_le_bytes());
        bytes[file::FIRST_REVISION].copy_from_slice(&self.first_revision.0.to_le_bytes());
        bytes[file::PREVIOUS_LEN].copy_from_slice(&self.previous_len.to_le_bytes());
        bytes[file::PREVIOUS_CRC].copy_from_slice(&self.previous_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..file::CRC.start]);
        bytes[file::CRC].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads it from the front of a file.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn decode(bytes: &[u8]) -> Result<FileHeader, HeaderError> {
        let bytes: &[u8; FILE_HEADER_BYTES] = bytes.first_chunk().ok_or(HeaderError::Damaged)?;
        if crc32c::crc32c(&bytes[..file::CRC.start]) != u32_at(&bytes[file::CRC]) {
            return Err(HeaderError::Damaged);
        }
        let kind = match &bytes[file::MAGIC] {
            magic if *magic == JOURNAL_MAGIC => FileKind::Journal,
            magic if *magic == CHECKPOINT_MAGIC => FileKind::Checkpoint,
            _ => return Err(HeaderError::Damaged),
        };
        let version = u32_at(&bytes[file::VERSION]);
        if !(1..=FORMAT_VERSION).contains(&version) {
            return Err(HeaderError::Version(version));
        }
        Ok(FileHeader {
            kind,
            flags: u32_at(&bytes[file::FLAGS]),
            number: u64_at(&bytes[file::NUMBER]),
            salt: u64_at(&bytes[file::SALT]),
            first_revision: Revision(u64_at(&bytes[file::FIRST_REVISION])),
            previous_len: u64_at(&bytes[file::PREVIOUS_LEN]),
            previous_crc: u32_at(&bytes[file::PREVIOUS_CRC]),
        })
    }

    /// The checksum with which the file's first frame is chained to it.
    pub fn crc(&self) -> u32 {
        u32_at(&self.encode()[file::CRC])
    }

    /// Whether the file begins after a gap.
    pub fn has_gap(&self) -> bool {
        self.flags & FLAG_GAP != 0
    }
}

/// What of a frame is known where its entries are collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameHead {
    pub flags: u32,
    pub first_revision: Revision,
    pub last_revision: Revision,
}

/// What of a frame is known where it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FramePlace {
    pub salt: u64,
    pub durable_len: u64,
    pub previous_crc: u32,
}

/// Writes the header of a frame whose entries are behind it already, up to the end of `bytes`; the frame's checksum.
///
/// # Panics
/// When `bytes` is shorter than a header.
pub fn seal(bytes: &mut [u8], head: &FrameHead, place: &FramePlace) -> u32 {
    let len = (bytes.len() - FRAME_HEADER_BYTES) as u32;
    bytes[at::SALT].copy_from_slice(&place.salt.to_le_bytes());
    bytes[at::LEN].copy_from_slice(&len.to_le_bytes());
    bytes[at::FLAGS].copy_from_slice(&head.flags.to_le_bytes());
    bytes[at::FIRST_REVISION].copy_from_slice(&head.first_revision.0.to_le_bytes());
    bytes[at::LAST_REVISION].copy_from_slice(&head.last_revision.0.to_le_bytes());
    bytes[at::DURABLE_LEN].copy_from_slice(&place.durable_len.to_le_bytes());
    bytes[at::PREVIOUS_CRC].copy_from_slice(&place.previous_crc.to_le_bytes());
    let crc = checksum(bytes);
    bytes[at::CRC].copy_from_slice(&crc.to_le_bytes());
    crc
}

fn checksum(frame: &[u8]) -> u32 {
    let header = crc32c::crc32c(&frame[..at::CRC.start]);
    crc32c::crc32c_append(header, &frame[FRAME_HEADER_BYTES..])
}

/// A frame that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub head: FrameHead,
    pub place: FramePlace,
    pub crc: u32,
    /// Bytes of the entries behind the header.
    pub payload_len: usize,
}

impl Frame {
    /// Bytes of the whole frame.
    pub fn whole_len(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload_len
    }

    /// Whether what is before its end can be applied without what is behind it.
    pub fn is_commit(&self) -> bool {
        self.head.flags & FLAG_COMMIT != 0
    }

    /// Whether it is the last one of its file.
    pub fn is_end(&self) -> bool {
        self.head.flags & FLAG_END != 0
    }
}

/// What stands at the front of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameStep {
    Frame(Frame),
    /// A frame of so many bytes, as far as can be told, is not whole.
    NeedMore(usize),
    /// What is there is no frame of this file.
    Damaged,
}

/// Reads the frame at the front of `bytes`, of a file with this salt. Its place in the chain is for the caller to check.
pub fn decode(bytes: &[u8], salt: u64) -> FrameStep {
    if bytes.len() < FRAME_HEADER_BYTES {
        return FrameStep::NeedMore(FRAME_HEADER_BYTES);
    }
    let payload_len = u32_at(&bytes[at::LEN]) as usize;
    if u64_at(&bytes[at::SALT]) != salt
        || payload_len > FRAME_PAYLOAD_BYTES_MAX
        || !payload_len.is_multiple_of(8)
    {
        return FrameStep::Damaged;
    }
    let Some(whole) = bytes.get(..FRAME_HEADER_BYTES + payload_len) else {
        return FrameStep::NeedMore(FRAME_HEADER_BYTES + payload_len);
    };
    let crc = u32_at(&bytes[at::CRC]);
    if checksum(whole) != crc {
        return FrameStep::Damaged;
    }
    FrameStep::Frame(Frame {
        head: FrameHead {
            flags: u32_at(&bytes[at::FLAGS]),
            first_revision: Revision(u64_at(&bytes[at::FIRST_REVISION])),
            last_revision: Revision(u64_at(&bytes[at::LAST_REVISION])),
        },
        place: FramePlace {
            salt,
            durable_len: u64_at(&bytes[at::DURABLE_LEN]),
            previous_crc: u32_at(&bytes[at::PREVIOUS_CRC]),
        },
        crc,
        payload_len,
    })
}

fn u32_at(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests;
