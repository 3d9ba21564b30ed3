//! Reading a file frame by frame, and the judgement over a damaged one.
//!
//! ```text
//!  header | frame | frame | frame | ##### | frame: "62 KiB were durable" | ...
//!                          C       X
//! ```
//! `C` is the end of the last group that is whole, `X` where the first damaged frame begins. If a later frame knew more
//! than `X` bytes to be durable, what is damaged was promised: that is corruption. If not, everything behind `C` may go.

use super::frame::{
    self, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX, FileHeader, Frame, FrameStep,
    HeaderError,
};
use super::storage::Storage;
use crate::mutant::{self, Mutant};
use crate::mutation::Revision;
use std::io;

/// Bytes that are held of a file.
const WINDOW_BYTES: usize = FRAME_HEADER_BYTES + FRAME_PAYLOAD_BYTES_MAX;

/// Bytes that the page cache gives back at a time.
const PAGE_BYTES: u64 = 4096;

/// A file that is read frame by frame.
pub struct Reader<F> {
    file: F,
    len: u64,
    window: Box<[u8]>,
    /// Where in the file the window begins, and how many of its bytes are filled.
    start: u64,
    filled: usize,
    /// Up to where the page cache was given back.
    dropped_len: u64,
    header: FileHeader,
    /// Where the next frame begins, and the checksum that it is chained to.
    offset: u64,
    crc: u32,
}

/// What comes next in a file.
#[derive(Debug)]
pub enum ReadStep<'a> {
    Frame(Frame, &'a [u8]),
    End,
    /// What is there is no frame, or not the one that follows.
    Damaged,
}

/// Why a file is not read.
#[derive(Debug)]
pub enum OpenError {
    Io(io::Error),
    Header(HeaderError),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        OpenError::Io(error)
    }
}

impl<F> Reader<F> {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open<S: Storage<File = F>>(storage: &mut S, name: &str) -> Result<Reader<F>, OpenError> {
        let file = storage.open(name)?;
        let len = storage.file_len(&file)?;
        let mut reader = Reader {
            file,
            len,
            window: vec![0; WINDOW_BYTES].into_boxed_slice(),
            start: 0,
            filled: 0,
            dropped_len: 0,
            header: FileHeader {
                kind: frame::FileKind::Journal,
                flags: 0,
                number: 0,
                salt: 0,
                first_revision: Revision(0),
                previous_len: 0,
                previous_crc: 0,
            },
            offset: FILE_HEADER_BYTES as u64,
            crc: 0,
        };
        let bytes = reader.fill(storage, 0, FILE_HEADER_BYTES)?;
        reader.header = FileHeader::decode(bytes).map_err(OpenError::Header)?;
        reader.crc = reader.header.crc();
        Ok(reader)
    }

    /// The file's header.
    pub fn header(&self) -> &FileHeader {
        &self.header
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        self.len
    }

    /// Where the next frame begins, or the damage.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The checksum of the last frame, or of the header.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// The open file.
    pub fn file(&self) -> &F {
        &self.file
    }

    /// The bytes from `offset` on: at least `needed`, unless the file ends before.
    fn fill<S: Storage<File = F>>(
        &mut self,
        storage: &mut S,
        offset: u64,
        needed: usize,
    ) -> io::Result<&[u8]> {
        let end = self.start + self.filled as u64;
        if offset < self.start || offset + needed as u64 > end {
            if (self.start..end).contains(&offset) {
                let from = (offset - self.start) as usize;
                self.window.copy_within(from..self.filled, 0);
                self.filled -= from;
            } else {
                self.filled = 0;
            }
            self.start = offset;
            while self.filled < self.window.len() {
                let at = self.start + self.filled as u64;
                match storage.read_at(&self.file, at, &mut self.window[self.filled..]) {
                    Ok(0) => break,
                    Ok(len) => self.filled += len,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(&self.window[(offset - self.start) as usize..self.filled])
    }

    /// Says that what was read is not needed again: a container's limit counts the page cache.
    pub fn drop_cache<S: Storage<File = F>>(&mut self, storage: &mut S) {
        let is_read = self.offset >= self.len;
        let until = if is_read {
            self.len.next_multiple_of(PAGE_BYTES)
        } else {
            self.offset / PAGE_BYTES * PAGE_BYTES
        };
        if until > self.dropped_len {
            storage.drop_cache(&self.file, self.dropped_len, until - self.dropped_len);
            self.dropped_len = until;
        }
    }

    /// The next frame.
    ///
    /// # Errors
    /// What the system says.
    pub fn next<S: Storage<File = F>>(&mut self, storage: &mut S) -> io::Result<ReadStep<'_>> {
        let (offset, salt, crc) = (self.offset, self.header.salt, self.crc);
        let mut needed = FRAME_HEADER_BYTES;
        let found = loop {
            let bytes = self.fill(storage, offset, needed)?;
            if bytes.is_empty() {
                return Ok(ReadStep::End);
            }
            match frame::decode(bytes, salt) {
                FrameStep::NeedMore(more) if more > needed && bytes.len() >= needed => needed = more,
                FrameStep::Frame(found)
                    if found.place.previous_crc == crc && found.place.durable_len <= offset =>
                {
                    break found;
                }
                _ => return Ok(ReadStep::Damaged),
            }
        };
        (self.offset, self.crc) = (offset + found.whole_len() as u64, found.crc);
        let begin = (offset - self.start) as usize + FRAME_HEADER_BYTES;
        Ok(ReadStep::Frame(found, &self.window[begin..begin + found.payload_len]))
    }

    /// Whether a whole frame behind the damage that was met knew it to be durable: where that frame is.
    ///
    /// # Errors
    /// What the system says.
    pub fn find_promise<S: Storage<File = F>>(&mut self, storage: &mut S) -> io::Result<Option<u64>> {
        let (damaged, salt) = (self.offset, self.header.salt);
        let mark = salt.to_le_bytes();
        let mut at = damaged + 8;
        while at < self.len {
            let bytes = self.fill(storage, at, FRAME_HEADER_BYTES)?;
            let Some(found) = bytes.chunks_exact(8).position(|chunk| chunk == mark) else {
                at += (bytes.len() / 8 * 8).max(8) as u64;
                continue;
            };
            at += found as u64 * 8;
            let mut needed = FRAME_HEADER_BYTES;
            let whole = loop {
                let bytes = self.fill(storage, at, needed)?;
                match frame::decode(bytes, salt) {
                    FrameStep::NeedMore(more) if more > needed && bytes.len() >= needed => needed = more,
                    step => break step,
                }
            };
            if let FrameStep::Frame(frame) = whole
                && frame.place.durable_len > damaged
                && !mutant::is_on(Mutant::WatermarkIgnored)
            {
                return Ok(Some(at));
            }
            at += 8;
        }
        Ok(None)
    }
}

/// What was found of a file of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    pub header: FileHeader,
    /// Bytes of the file, and up to where it can be applied.
    pub len: u64,
    pub end: u64,
    /// The checksum of the last frame before `end`, or of the header.
    pub crc: u32,
    pub last_revision: Revision,
    /// Bytes that its frames knew to be durable.
    pub durable_len: u64,
    pub frame_count: u64,
    /// Where a frame is damaged.
    pub damaged: Option<u64>,
    /// A whole frame behind it that knew it to be durable.
    pub promised_by: Option<u64>,
}

/// Goes through a file of the journal and says how much of it counts.
pub struct Verifier<F> {
    reader: Reader<F>,
    verified: Verified,
}

impl<F> Verifier<F> {
    /// Begins with a file.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open<S: Storage<File = F>>(storage: &mut S, name: &str) -> Result<Verifier<F>, OpenError> {
        let reader = Reader::open(storage, name)?;
        let header = *reader.header();
        let verified = Verified {
            header,
            len: reader.file_len(),
            end: FILE_HEADER_BYTES as u64,
            crc: reader.crc(),
            last_revision: header.first_revision,
            durable_len: FILE_HEADER_BYTES as u64,
            frame_count: 0,
            damaged: None,
            promised_by: None,
        };
        Ok(Verifier { reader, verified })
    }

    /// Goes on for about `bytes`; the result when the file is at its end, or at the damage.
    ///
    /// # Errors
    /// What the system says.
    pub fn step<S: Storage<File = F>>(
        &mut self,
        storage: &mut S,
        bytes: u64,
    ) -> io::Result<Option<Verified>> {
        let until = self.reader.offset() + bytes;
        while self.reader.offset() < until {
            match self.reader.next(storage)? {
                ReadStep::Frame(frame, _) => {
                    self.verified.frame_count += 1;
                    self.verified.durable_len = self.verified.durable_len.max(frame.place.durable_len);
                    if frame.is_commit() {
                        self.verified.last_revision =
                            self.verified.last_revision.max(frame.head.last_revision);
                        self.verified.end = self.reader.offset();
                        self.verified.crc = frame.crc;
                    }
                }
                ReadStep::End => return Ok(Some(self.verified)),
                ReadStep::Damaged => {
                    self.verified.damaged = Some(self.reader.offset());
                    self.verified.promised_by = self.reader.find_promise(storage)?;
                    return Ok(Some(self.verified));
                }
            }
        }
        Ok(None)
    }

    /// Bytes that were looked at so far.
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }
}
