//! The disk's side: does what it is asked, one request after the other, and says what came of it. The thread around it is
//! `net`'s; tests call it by hand.
//!
//! A file of which a write or a sync has failed is never touched again: until another one is begun, everything for it fails.

use super::frame::{
    self, FILE_HEADER_BYTES, FLAG_COMMIT, FLAG_END, FRAME_HEADER_BYTES, FileHeader, FrameHead, FramePlace,
};
use super::manifest::{MANIFEST_NAME, Manifest};
use super::request::{Buffer, DiskError, Report, Request, RequestKind};
use super::storage::{
    self, Storage, TEMPORARY_SUFFIX, checkpoint_name, checkpoint_number, journal_name, journal_number,
};
use crate::limits::MIB;
use crate::mutant::{self, Mutant};
use crate::mutation::Revision;
use std::io;

/// Bytes of a checkpoint after which it is synced, and dropped from memory: so that the last sync is a short one, and the
/// syncs of the journal between two of its pieces do not wait for long.
const CHECKPOINT_SYNC_BYTES: u64 = 4 * MIB as u64;

/// A file that is written to.
struct Open<F> {
    file: F,
    name: String,
    header: FileHeader,
    len: u64,
    /// Bytes that are durable, and bytes that were dropped from the page cache.
    durable_len: u64,
    dropped_len: u64,
    /// The checksum of the last frame, or of the header.
    crc: u32,
    /// Whole groups up to here are written.
    committed: Revision,
}

/// Where a journal goes on, as a start has found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    pub len: u64,
    pub crc: u32,
}

/// Does requests on a directory.
pub struct Worker<S: Storage> {
    storage: S,
    /// `None`: it is broken, or none was begun yet.
    journal: Option<Open<S::File>>,
    checkpoint: Option<Open<S::File>>,
    /// What the next file goes on behind, until it is begun; `None`: it goes on behind the open one, or behind nothing.
    predecessor: Option<Predecessor>,
}

fn failed<T>(doing: &'static str) -> impl FnOnce(io::Error) -> Result<T, DiskError> {
    move |error| Err(DiskError { doing, error })
}

/// What everything for a broken file comes to.
fn broken<T>() -> Result<T, DiskError> {
    Err(DiskError {
        doing: "writing",
        error: io::Error::other("the file was given up after an earlier failure"),
    })
}

impl<S: Storage> Worker<S> {
    /// A worker without an open file; the first request is to be a [`Request::Rotate`].
    pub fn new(storage: S, predecessor: Predecessor) -> Worker<S> {
        Worker { storage, journal: None, checkpoint: None, predecessor: Some(predecessor) }
    }

    /// The directory.
    pub fn storage_mut(&mut self) -> &mut S {
        &mut self.storage
    }

    /// Does a request.
    pub fn handle(&mut self, request: Request) -> Report {
        let (kind, buffer, written_len, result) = match request {
            Request::Append { mut buffer, sync } => {
                let len = buffer.payload_len() + FRAME_HEADER_BYTES;
                let result = self.append_journal(&mut buffer, sync);
                (RequestKind::Append, Some(buffer), len as u64, result)
            }
            Request::Sync => (RequestKind::Sync, None, 0, self.sync_journal()),
            Request::Rotate { header } => {
                (RequestKind::Rotate, None, FILE_HEADER_BYTES as u64, self.rotate(header))
            }
            Request::Begin { header } => {
                (RequestKind::Begin, None, FILE_HEADER_BYTES as u64, self.begin(header))
            }
            Request::AppendCheckpoint { mut buffer } => {
                let len = buffer.payload_len() + FRAME_HEADER_BYTES;
                let result = self.append_checkpoint(&mut buffer);
                (RequestKind::AppendCheckpoint, Some(buffer), len as u64, result)
            }
            Request::Publish { manifest } => (RequestKind::Publish, None, 0, self.publish(&manifest)),
            Request::Stop => (RequestKind::Stop, None, 0, self.stop()),
        };
        let mut report = Report { kind, buffer, durable: self.durable(), written_len, result };
        if report.result.is_err() {
            report.written_len = 0;
        }
        if let Some(buffer) = &mut report.buffer {
            buffer.clear();
        }
        report
    }

    /// Whole groups up to here are durable.
    fn durable(&self) -> Option<Revision> {
        let early = mutant::is_on(Mutant::ReplyBeforeSync);
        self.journal.as_ref().filter(|open| early || open.durable_len == open.len).map(|open| open.committed)
    }

    fn append_journal(&mut self, buffer: &mut Buffer, sync: bool) -> Result<(), DiskError> {
        // Taken out: only what succeeds puts it back.
        let Some(mut open) = self.journal.take() else { return broken() };
        append(&mut self.storage, &mut open, buffer).or_else(failed("writing the journal"))?;
        self.journal = Some(open);
        if sync { self.sync_journal() } else { Ok(()) }
    }

    fn sync_journal(&mut self) -> Result<(), DiskError> {
        let Some(mut open) = self.journal.take() else { return broken() };
        sync(&mut self.storage, &mut open).or_else(failed("syncing the journal"))?;
        self.journal = Some(open);
        Ok(())
    }

    fn rotate(&mut self, mut header: FileHeader) -> Result<(), DiskError> {
        if self.journal.is_some() {
            // Before a gap it is as durable as it gets.
            self.sync_journal().or_else(|error| if header.has_gap() { Ok(()) } else { Err(error) })?;
        }
        let open = self.journal.take().map(|open| Predecessor { len: open.len, crc: open.crc });
        let before = self.predecessor.take().or(open);
        let before = if header.has_gap() { Some(Predecessor { len: 0, crc: 0 }) } else { before };
        // Nothing goes on behind a broken file.
        let Some(before) = before else { return broken() };
        (header.previous_len, header.previous_crc) = (before.len, before.crc);
        let name = journal_name(header.number);
        let file = storage::write_whole(&mut self.storage, &name, &header.encode())
            .or_else(failed("beginning a file of the journal"))?;
        self.journal = Some(Open::new(file, name, header));
        Ok(())
    }

    fn begin(&mut self, header: FileHeader) -> Result<(), DiskError> {
        self.abandon();
        let name = format!("{}{TEMPORARY_SUFFIX}", checkpoint_name(header.number));
        let doing = "beginning a checkpoint";
        let file = self.storage.create(&name).or_else(failed(doing))?;
        let written = storage::write_all(&mut self.storage, &file, 0, &header.encode());
        self.checkpoint = Some(Open { durable_len: 0, ..Open::new(file, name, header) });
        if written.is_err() {
            self.abandon();
        }
        written.or_else(failed(doing))
    }

    fn append_checkpoint(&mut self, buffer: &mut Buffer) -> Result<(), DiskError> {
        let Some(mut open) = self.checkpoint.take() else { return broken() };
        let mut written = append(&mut self.storage, &mut open, buffer);
        if written.is_ok() && open.len - open.durable_len >= CHECKPOINT_SYNC_BYTES {
            written = sync(&mut self.storage, &mut open);
        }
        self.checkpoint = Some(open);
        if written.is_err() {
            // It may be the room on the disk that others need.
            self.abandon();
        }
        written.or_else(failed("writing the checkpoint"))
    }

    /// From here on a start begins with the new checkpoint.
    fn publish(&mut self, manifest: &Manifest) -> Result<(), DiskError> {
        // The checkpoint has seen changes that a start must find in the journal too.
        self.sync_journal()?;
        if manifest.checkpoint.is_some() {
            let Some(mut open) = self.checkpoint.take() else { return broken() };
            let doing = "finishing the checkpoint";
            sync(&mut self.storage, &mut open).or_else(failed(doing))?;
            let name = checkpoint_name(open.header.number);
            self.storage.rename(&open.name, &name).or_else(failed(doing))?;
            if !mutant::is_on(Mutant::DirectoryNotSynced) {
                self.storage.sync_dir().or_else(failed(doing))?;
            }
        }
        self.write_manifest(manifest).or_else(failed("writing the manifest"))?;
        // What is left over takes room and does no harm.
        if let Err(error) = self.remove_old(manifest) {
            log::warn!(error:%; "older files of the data directory cannot be removed: {error}");
        }
        Ok(())
    }

    fn write_manifest(&mut self, manifest: &Manifest) -> io::Result<()> {
        storage::write_whole(&mut self.storage, MANIFEST_NAME, manifest.encode().as_bytes()).map(drop)
    }

    fn remove_old(&mut self, manifest: &Manifest) -> io::Result<()> {
        for name in self.storage.list()? {
            let is_old_journal = journal_number(&name).is_some_and(|number| number < manifest.journal);
            let is_old_checkpoint =
                checkpoint_number(&name).is_some_and(|number| Some(number) != manifest.checkpoint);
            if is_old_journal || is_old_checkpoint {
                self.storage.remove(&name)?;
            }
        }
        Ok(())
    }

    /// What cannot be removed is overwritten by the next one, or removed by the next start.
    fn abandon(&mut self) {
        if let Some(open) = self.checkpoint.take() {
            let _ = self.storage.remove(&open.name);
        }
    }

    /// The last frame has no entries: it notes that everything before it is durable.
    fn stop(&mut self) -> Result<(), DiskError> {
        self.abandon();
        self.sync_journal()?;
        let Some(open) = &self.journal else { return broken() };
        let mut buffer = Buffer::new(0);
        buffer.head = FrameHead {
            flags: FLAG_COMMIT | FLAG_END,
            first_revision: open.committed,
            last_revision: open.committed,
        };
        self.append_journal(&mut buffer, true)?;
        self.journal = None;
        Ok(())
    }
}

impl<F> Open<F> {
    /// A file whose header is durable.
    fn new(file: F, name: String, header: FileHeader) -> Open<F> {
        Open {
            file,
            name,
            header,
            len: FILE_HEADER_BYTES as u64,
            durable_len: FILE_HEADER_BYTES as u64,
            dropped_len: 0,
            crc: header.crc(),
            committed: header.first_revision,
        }
    }
}

fn append<S: Storage>(storage: &mut S, open: &mut Open<S::File>, buffer: &mut Buffer) -> io::Result<()> {
    let place = FramePlace { salt: open.header.salt, durable_len: open.durable_len, previous_crc: open.crc };
    let head = buffer.head;
    let frame = buffer.frame_mut();
    let crc = frame::seal(frame, &head, &place);
    storage::write_all(storage, &open.file, open.len, frame)?;
    open.len += frame.len() as u64;
    open.crc = crc;
    if head.flags & FLAG_COMMIT != 0 {
        open.committed = open.committed.max(head.last_revision);
    }
    Ok(())
}

fn sync<S: Storage>(storage: &mut S, open: &mut Open<S::File>) -> io::Result<()> {
    if open.durable_len == open.len {
        return Ok(());
    }
    storage.sync(&open.file)?;
    open.durable_len = open.len;
    // Whole pages only, and not the one that is still written to.
    let until = open.len / 4096 * 4096;
    if until > open.dropped_len {
        storage.drop_cache(&open.file, open.dropped_len, until - open.dropped_len);
        open.dropped_len = until;
    }
    Ok(())
}
