//! What travels between the loop and the disk: buffers with frames in them, requests one way, reports the other.

use super::frame::{FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX, FileHeader, FrameHead};
use super::manifest::Manifest;
use crate::mutation::Revision;
use std::io;

/// Memory for one frame. It is made at start and travels there and back.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    /// Bytes that are filled; the first ones are for the frame's header.
    len: usize,
    pub head: FrameHead,
}

impl Buffer {
    /// An empty one that holds entries of `payload_bytes` bytes.
    ///
    /// # Panics
    /// When that is more than a frame may have.
    pub fn new(payload_bytes: usize) -> Buffer {
        assert!(payload_bytes <= FRAME_PAYLOAD_BYTES_MAX && payload_bytes.is_multiple_of(8));
        let bytes = vec![0; FRAME_HEADER_BYTES + payload_bytes].into_boxed_slice();
        Buffer { bytes, len: FRAME_HEADER_BYTES, head: FrameHead::default() }
    }

    /// Forgets what is in it.
    pub fn clear(&mut self) {
        (self.len, self.head) = (FRAME_HEADER_BYTES, FrameHead::default());
    }

    /// Whether it holds no entry.
    pub fn is_empty(&self) -> bool {
        self.len == FRAME_HEADER_BYTES
    }

    /// Bytes of its entries.
    pub fn payload_len(&self) -> usize {
        self.len - FRAME_HEADER_BYTES
    }

    /// Where the next entries go.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    /// The first `len` bytes of the room are filled with entries of these revisions.
    pub fn filled(&mut self, len: usize, first: Revision, last: Revision) {
        if self.is_empty() {
            self.head.first_revision = first;
        }
        self.head.last_revision = last;
        self.len += len;
    }

    /// The frame, its header to be sealed.
    pub fn frame_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

/// What the disk is to do; requests are done in order.
#[derive(Debug)]
pub enum Request {
    /// Write a frame behind the others of the journal.
    Append { buffer: Buffer, sync: bool },
    /// Make durable what is written of the journal.
    Sync,
    /// Begin another file of the journal; its place behind the one before it is filled in.
    Rotate { header: FileHeader },
    /// Begin a checkpoint; another one that is not published is dropped.
    Begin { header: FileHeader },
    /// Write a frame behind the others of the checkpoint. After a failure nothing is written until the next one begins.
    AppendCheckpoint { buffer: Buffer },
    /// The checkpoint is whole: make it, and the journal up to here, durable; then the manifest; then remove older files.
    Publish { manifest: Manifest },
    /// Make everything durable and mark the journal's end.
    Stop,
}

/// Which request a report is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    Append,
    Sync,
    Rotate,
    Begin,
    AppendCheckpoint,
    Publish,
    Stop,
}

/// What the disk was doing when it failed.
#[derive(Debug)]
pub struct DiskError {
    pub doing: &'static str,
    pub error: io::Error,
}

/// What became of a request.
#[derive(Debug)]
pub struct Report {
    pub kind: RequestKind,
    /// The request's buffer, to be used again.
    pub buffer: Option<Buffer>,
    /// Every group of changes up to this revision is durable in the journal; of the files that are not broken.
    pub durable: Option<Revision>,
    /// Bytes that were written.
    pub written_len: u64,
    pub result: Result<(), DiskError>,
}
