//! Frames: the checked requests and replies that travel over UDP (a datagram is exactly one frame) and, one after
//! another, over framed TCP. `docs/protocol.md` tells the whole protocol; here are only the bytes.
//!
//! ```text
//!  off size field
//!    0   2  magic             0xF5 0x50 request, 0xF5 0x52 reply: a reply can never be parsed as a request
//!    2   1  version           1
//!    3   1  op / status       request: operation; reply: status
//!    4   1  flags             bit 0: a tag; request: bits 1..4, see `flags`; reply: bits 4..7 repeat the operation
//!    5   1  attempt           0 for the first sending, +1 for each retry; the reply repeats it
//!    6   2  key length
//!    8   4  frame length      every byte from magic to CRC
//!   12   4  epoch             the server's random number of this run; 0 in a HELLO
//!   16   8  client id
//!   24   4  sequence
//!   28   4  first incomplete
//!   32  16  cookie
//!   48   8  argument          time to live in ms, or a delta; reply: the record's revision
//!   56   8  expect            revision to compare with; reply: an integer result
//!   64   .  key, then value
//!    .  16  tag               where flag bit 0 is set
//!    .   4  CRC32C            over every byte before it
//! ```
//! All integers are big-endian. The encoder lays down an impossible length (0) first and the true one last, so that a
//! frame that was not finished cannot be taken for one.

mod codes;

use crate::limits;
use crate::mutant::{self, Mutant};
use crate::wire::tag::{TAG_LEN, TagKey};

pub use codes::{Op, Reject, Status};

/// The first byte of every frame; on the shared TCP port it tells framed connections from RESP ones.
pub const MAGIC: u8 = 0xF5;
/// The protocol's version.
pub const VERSION: u8 = 1;
/// Bytes before the key.
pub const HEADER_LEN: usize = 64;
/// Bytes of a cookie.
pub const COOKIE_LEN: usize = 16;
/// Bytes of the checksum.
pub const CRC_LEN: usize = 4;
/// Where a reply's status stands, and a request's operation.
pub const STATUS_OFFSET: usize = at::CODE;
/// Bytes of the shortest frame.
pub const FRAME_LEN_MIN: usize = HEADER_LEN + CRC_LEN;

mod at {
    use core::ops::Range;
    pub const DIRECTION: usize = 1;
    pub const VERSION: usize = 2;
    pub const CODE: usize = 3;
    pub const FLAGS: usize = 4;
    pub const ATTEMPT: usize = 5;
    pub const KEY_LEN: Range<usize> = 6..8;
    pub const FRAME_LEN: Range<usize> = 8..12;
    pub const EPOCH: Range<usize> = 12..16;
    pub const CLIENT: Range<usize> = 16..24;
    pub const SEQUENCE: Range<usize> = 24..28;
    pub const FIRST_INCOMPLETE: Range<usize> = 28..32;
    pub const COOKIE: Range<usize> = 32..48;
    pub const ARGUMENT: Range<usize> = 48..56;
    pub const EXPECT: Range<usize> = 56..64;
}

// Each field ends where the next begins.
const _: () = {
    assert!(at::ATTEMPT + 1 == at::KEY_LEN.start && at::KEY_LEN.end == at::FRAME_LEN.start);
    assert!(at::FRAME_LEN.end == at::EPOCH.start && at::EPOCH.end == at::CLIENT.start);
    assert!(at::CLIENT.end == at::SEQUENCE.start && at::SEQUENCE.end == at::FIRST_INCOMPLETE.start);
    assert!(at::FIRST_INCOMPLETE.end == at::COOKIE.start && at::COOKIE.end == at::ARGUMENT.start);
    assert!(at::COOKIE.end - at::COOKIE.start == COOKIE_LEN);
    assert!(at::ARGUMENT.end == at::EXPECT.start && at::EXPECT.end == HEADER_LEN);
    assert!(FRAME_LEN_MIN + TAG_LEN <= limits::DATAGRAM_BYTES_MAX);
};

/// Bits of the flags byte.
pub mod flags {
    /// A 16-byte tag precedes the CRC.
    pub const TAG: u8 = 1;
    /// PUT: only where the key is absent.
    pub const IF_ABSENT: u8 = 1 << 1;
    /// PUT: only where the key is present.
    pub const IF_PRESENT: u8 = 1 << 2;
    /// PUT, DELETE, EXPIRE: only where the record's revision is `expect`; 0 stands for "absent".
    pub const IF_REVISION: u8 = 1 << 3;
    /// PUT: the record's expiry stays as it was.
    pub const KEEP_TTL: u8 = 1 << 4;
    /// Replies: the operation that is answered stands from this bit on.
    pub const REPLY_OP_SHIFT: u32 = 4;
}

/// Which way a frame travels; the value is its second byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    Request = 0x50,
    Reply = 0x52,
}

/// The fixed fields of a frame but for the lengths, which the encoder knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub direction: Direction,
    /// The operation of a request or the status of a reply, as it stands in the frame.
    pub code: u8,
    /// As in the frame; the encoder sets and clears [`flags::TAG`] itself.
    pub flags: u8,
    pub attempt: u8,
    pub epoch: u32,
    pub client_id: u64,
    pub sequence: u32,
    pub first_incomplete: u32,
    pub cookie: [u8; COOKIE_LEN],
    pub argument: u64,
    pub expect: u64,
}

impl Head {
    /// A request with every other field 0.
    #[must_use]
    pub const fn request(op: Op, client_id: u64, sequence: u32) -> Head {
        Head {
            direction: Direction::Request,
            code: op as u8,
            flags: 0,
            attempt: 0,
            epoch: 0,
            client_id,
            sequence,
            first_incomplete: 0,
            cookie: [0; COOKIE_LEN],
            argument: 0,
            expect: 0,
        }
    }

    /// The reply to this request: what the client matches by is repeated, all else is 0.
    #[must_use]
    pub const fn reply(&self, status: Status, epoch: u32) -> Head {
        Head {
            direction: Direction::Reply,
            code: status as u8,
            flags: self.code << flags::REPLY_OP_SHIFT,
            attempt: self.attempt,
            epoch,
            client_id: self.client_id,
            sequence: self.sequence,
            first_incomplete: self.first_incomplete,
            cookie: [0; COOKIE_LEN],
            argument: 0,
            expect: 0,
        }
    }

    /// The operation: of a request its own, of a reply the one that is answered.
    #[must_use]
    pub const fn op(&self) -> Option<Op> {
        match self.direction {
            Direction::Request => Op::from_byte(self.code),
            Direction::Reply => Op::from_byte(self.flags >> flags::REPLY_OP_SHIFT),
        }
    }

    /// The status of a reply.
    #[must_use]
    pub const fn status(&self) -> Option<Status> {
        match self.direction {
            Direction::Request => None,
            Direction::Reply => Status::from_byte(self.code),
        }
    }
}

/// A frame whose magic, version, lengths and checksum hold. Its tag is not checked yet: see [`Frame::tag_is_good`].
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub head: Head,
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// Every byte of the frame.
    raw: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Bytes of the whole frame.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub const fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether the frame carries a tag.
    #[must_use]
    pub const fn has_tag(&self) -> bool {
        self.head.flags & flags::TAG != 0
    }

    /// Whether the frame carries a tag and it is the right one under this key; compared in constant time.
    #[must_use]
    pub fn tag_is_good(&self, key: &TagKey) -> bool {
        if !self.has_tag() {
            return false;
        }
        let covered_len = self.raw.len() - CRC_LEN - TAG_LEN;
        let (covered, rest) = self.raw.split_at(covered_len);
        key.verify(self.head.client_id, self.head.epoch, covered, &rest[..TAG_LEN])
    }
}

/// What an incremental decoder came to.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// The frame is not whole yet.
    NeedMore,
    /// A frame, and the bytes that it took.
    Ready { frame: Frame<'a>, consumed: usize },
}

/// Takes a whole datagram for a frame.
///
/// # Errors
/// The first reason, in the order of the bytes, why it is none.
pub fn decode_datagram(bytes: &[u8], direction: Direction) -> Result<Frame<'_>, Reject> {
    if bytes.len() < FRAME_LEN_MIN {
        return Err(Reject::TooShort);
    }
    if bytes.len() > limits::DATAGRAM_BYTES_MAX {
        return Err(Reject::TooLong);
    }
    check_start(bytes, direction)?;
    if u32_at(bytes, at::FRAME_LEN) as usize != bytes.len() {
        return Err(Reject::BadLength);
    }
    decode_whole(bytes, direction)
}

/// Takes a frame off the front of bytes that go on arriving. Looks at no byte twice before the frame is whole, but
/// for the first twelve.
///
/// # Errors
/// As soon as the bytes cannot become a frame of at most `len_max` bytes: the stream cannot be followed any further.
pub fn decode_prefix(bytes: &[u8], direction: Direction, len_max: usize) -> Result<Step<'_>, Reject> {
    check_start(bytes, direction)?;
    let Some(length) = bytes.get(at::FRAME_LEN) else {
        return Ok(Step::NeedMore);
    };
    let length = u32_at(length, 0..4) as usize;
    if length < FRAME_LEN_MIN {
        return Err(Reject::BadLength);
    }
    if length > len_max {
        return Err(Reject::TooLong);
    }
    let Some(whole) = bytes.get(..length) else {
        return Ok(Step::NeedMore);
    };
    Ok(Step::Ready { frame: decode_whole(whole, direction)?, consumed: length })
}

/// Checks magic and version as far as they are there.
fn check_start(bytes: &[u8], direction: Direction) -> Result<(), Reject> {
    if bytes.first().is_some_and(|byte| *byte != MAGIC) {
        return Err(Reject::BadMagic);
    }
    match bytes.get(at::DIRECTION) {
        Some(byte) if *byte == direction as u8 => {}
        Some(byte) if *byte == Direction::Request as u8 || *byte == Direction::Reply as u8 => {
            return Err(Reject::WrongDirection);
        }
        Some(_) => return Err(Reject::BadMagic),
        None => {}
    }
    match bytes.get(at::VERSION) {
        Some(byte) if *byte != VERSION => Err(Reject::BadVersion),
        _ => Ok(()),
    }
}

/// The rest of the checks, for bytes that are as long as the frame says: at least [`FRAME_LEN_MIN`].
fn decode_whole(bytes: &[u8], direction: Direction) -> Result<Frame<'_>, Reject> {
    let flag_byte = bytes[at::FLAGS];
    let tag_len = if flag_byte & flags::TAG != 0 { TAG_LEN } else { 0 };
    let key_len = usize::from(u16::from_be_bytes([bytes[at::KEY_LEN.start], bytes[at::KEY_LEN.start + 1]]));
    if HEADER_LEN + key_len + tag_len + CRC_LEN > bytes.len() {
        return Err(Reject::BadKeyLength);
    }
    let (covered, crc) = bytes.split_at(bytes.len() - CRC_LEN);
    if checksum(covered) != u32_at(crc, 0..4) {
        return Err(Reject::BadCrc);
    }
    let mut cookie = [0; COOKIE_LEN];
    cookie.copy_from_slice(&bytes[at::COOKIE]);
    let head = Head {
        direction,
        code: bytes[at::CODE],
        flags: flag_byte,
        attempt: bytes[at::ATTEMPT],
        epoch: u32_at(bytes, at::EPOCH),
        client_id: u64_at(bytes, at::CLIENT),
        sequence: u32_at(bytes, at::SEQUENCE),
        first_incomplete: u32_at(bytes, at::FIRST_INCOMPLETE),
        cookie,
        argument: u64_at(bytes, at::ARGUMENT),
        expect: u64_at(bytes, at::EXPECT),
    };
    if direction == Direction::Reply && head.status().is_none() {
        return Err(Reject::BadStatus);
    }
    let body = &bytes[HEADER_LEN..bytes.len() - CRC_LEN - tag_len];
    let (key, value) = body.split_at(key_len);
    Ok(Frame { head, key, value, raw: bytes })
}

/// CRC32C of everything before it.
fn checksum(covered: &[u8]) -> u32 {
    let from = if mutant::is_on(Mutant::CrcSkipsHeader) { HEADER_LEN } else { 0 };
    crc32c::crc32c(&covered[from..])
}

fn u32_at(bytes: &[u8], range: core::ops::Range<usize>) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[range]);
    u32::from_be_bytes(value)
}

fn u64_at(bytes: &[u8], range: core::ops::Range<usize>) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[range]);
    u64::from_be_bytes(value)
}

/// The frame does not fit into the bytes that it was to be written to, or its key into the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Writes one frame piece by piece. Until [`Writer::finish`], the length on the page is 0, which no decoder takes.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    head: Head,
    len: usize,
}

impl<'a> Writer<'a> {
    /// Lays down the head and the key.
    ///
    /// # Errors
    /// [`NoRoom`] if `out` cannot hold them with the checksum, or the key is longer than 65,535 bytes.
    pub fn begin(out: &'a mut [u8], head: &Head, key: &[u8]) -> Result<Writer<'a>, NoRoom> {
        let key_len = u16::try_from(key.len()).map_err(|_| NoRoom)?;
        if out.len() < FRAME_LEN_MIN || out.len() - FRAME_LEN_MIN < key.len() {
            return Err(NoRoom);
        }
        out[0] = MAGIC;
        out[at::DIRECTION] = head.direction as u8;
        out[at::VERSION] = VERSION;
        out[at::CODE] = head.code;
        out[at::FLAGS] = head.flags & !flags::TAG;
        out[at::ATTEMPT] = head.attempt;
        out[at::KEY_LEN].copy_from_slice(&key_len.to_be_bytes());
        out[at::FRAME_LEN].fill(0);
        out[at::EPOCH].copy_from_slice(&head.epoch.to_be_bytes());
        out[at::CLIENT].copy_from_slice(&head.client_id.to_be_bytes());
        out[at::SEQUENCE].copy_from_slice(&head.sequence.to_be_bytes());
        out[at::FIRST_INCOMPLETE].copy_from_slice(&head.first_incomplete.to_be_bytes());
        out[at::COOKIE].copy_from_slice(&head.cookie);
        out[at::ARGUMENT].copy_from_slice(&head.argument.to_be_bytes());
        out[at::EXPECT].copy_from_slice(&head.expect.to_be_bytes());
        out[HEADER_LEN..HEADER_LEN + key.len()].copy_from_slice(key);
        Ok(Writer { out, head: *head, len: HEADER_LEN + key.len() })
    }

    /// Appends a piece of the value.
    ///
    /// # Errors
    /// [`NoRoom`]: the frame cannot be finished; nothing was written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        if self.out.len() - self.len - CRC_LEN < bytes.len() {
            return Err(NoRoom);
        }
        self.out[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }

    /// Seals the frame, with a tag where a key is given; returns its length.
    ///
    /// # Errors
    /// [`NoRoom`] if the tag does not fit, or the length is not one of 32 bits.
    pub fn finish(self, key: Option<&TagKey>) -> Result<usize, NoRoom> {
        let tag_len = if key.is_some() { TAG_LEN } else { 0 };
        let covered_len = self.len + tag_len;
        if covered_len + CRC_LEN > self.out.len() {
            return Err(NoRoom);
        }
        let frame_len = u32::try_from(covered_len + CRC_LEN).map_err(|_| NoRoom)?;
        self.out[at::FRAME_LEN].copy_from_slice(&frame_len.to_be_bytes());
        if let Some(key) = key {
            self.out[at::FLAGS] |= flags::TAG;
            let tag = key.sign(self.head.client_id, self.head.epoch, &self.out[..self.len]);
            self.out[self.len..covered_len].copy_from_slice(&tag);
        }
        let crc = checksum(&self.out[..covered_len]);
        self.out[covered_len..covered_len + CRC_LEN].copy_from_slice(&crc.to_be_bytes());
        Ok(covered_len + CRC_LEN)
    }
}

/// Writes a whole frame to the front of `out` and returns its length.
///
/// # Errors
/// [`NoRoom`]: `out` holds nothing that a decoder takes.
pub fn encode(
    out: &mut [u8],
    head: &Head,
    key: &[u8],
    value: &[u8],
    tag: Option<&TagKey>,
) -> Result<usize, NoRoom> {
    let mut writer = Writer::begin(out, head, key)?;
    writer.append(value)?;
    writer.finish(tag)
}

#[cfg(test)]
mod tests;
