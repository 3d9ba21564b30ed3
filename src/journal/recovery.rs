//! A start: what a data directory holds, as a store. In steps, so that a server can answer that it is loading.
//!
//! ```text
//!  survey ─▶ verify journal-12, journal-13, … ─▶ load checkpoint-12 ─▶ apply journal-12, … up to where each ends ─▶ Recovered
//! ```
//! Every file of the journal is verified before any of it is applied: so groups are applied whole or not at all, however
//! long they are, and nothing of them waits in memory.

mod error;
mod survey;

use super::REVISION_GAP;
use super::frame::FileHeader;
use super::loader::Loader;
use super::reader::{ReadStep, Reader, Verified, Verifier};
use super::storage::{self, Storage, checkpoint_name, journal_name};
use super::worker::Predecessor;
use crate::mutant::{self, Mutant};
use crate::mutation::Revision;
use crate::store::Store;
use error::{io_error, open_error, problem};
use std::io;

pub use error::{Problem, RecoveryError};
pub use survey::{Survey, survey};

/// Bytes of a file that are written again at a time.
const REWRITE_BYTES: usize = 64 * 1024;

/// What a start came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    pub survey: Survey,
    /// The files that count, as they were found. The last one may have to be cut at its `end`.
    pub journals: Vec<Verified>,
    /// No change may get a revision up to this one: it may have been shown.
    pub revision: Revision,
    /// The store is what it was after the last change up to this one.
    pub reached: Revision,
    /// Bytes of the checkpoint, and of the journals as far as they count.
    pub checkpoint_bytes: u64,
    pub journal_bytes: u64,
    /// Entries that were loaded.
    pub record_count: u64,
    /// Files of the journal that do not count: they were begun after a failure.
    pub discarded: Vec<String>,
}

impl Recovered {
    /// The last file of the journal that counts, and its number.
    pub fn last(&self) -> Option<(&Verified, u64)> {
        self.journals.last().map(|verified| (verified, verified.header.number))
    }
}

/// How far a start has come, in bytes of all files; each file of the journal is read twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
}

enum Stage<F> {
    Verify { index: usize, verifier: Option<Verifier<F>> },
    Checkpoint { reader: Option<Reader<F>> },
    Apply { index: usize, reader: Option<Reader<F>> },
    Done,
}

/// A start that is under way.
pub struct Recovery<F> {
    stage: Stage<F>,
    loader: Loader,
    recovered: Recovered,
    /// The journal must reach this revision: the checkpoint has seen changes up to it.
    needed: Revision,
    progress: Progress,
}

impl<F> Recovery<F> {
    /// Begins with what a survey has found.
    ///
    /// # Errors
    /// See [`RecoveryError`].
    pub fn new<S: Storage<File = F>>(disk: &mut S, survey: Survey) -> Result<Recovery<F>, RecoveryError> {
        let mut progress = Progress::default();
        let checkpoint = survey.manifest.and_then(|manifest| manifest.checkpoint).map(checkpoint_name);
        let journals = survey.journals.iter().map(|number| journal_name(*number));
        for (name, reads) in
            checkpoint.map(|name| (name, 1)).into_iter().chain(journals.map(|name| (name, 2)))
        {
            let file = disk.open(&name).map_err(io_error(&name))?;
            progress.total += reads * disk.file_len(&file).map_err(io_error(&name))?;
        }
        Ok(Recovery {
            stage: Stage::Verify { index: 0, verifier: None },
            loader: Loader::default(),
            recovered: Recovered {
                survey,
                journals: Vec::new(),
                revision: Revision(0),
                reached: Revision(0),
                checkpoint_bytes: 0,
                journal_bytes: 0,
                record_count: 0,
                discarded: Vec::new(),
            },
            needed: Revision(0),
            progress,
        })
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Entries that were loaded so far.
    pub fn record_count(&self) -> u64 {
        self.loader.record_count()
    }

    /// Goes on for about `bytes` of a file. The result when everything is loaded.
    ///
    /// # Errors
    /// See [`RecoveryError`]; the store is then of no use.
    pub fn step<S: Storage<File = F>>(
        &mut self,
        disk: &mut S,
        store: &mut Store,
        bytes: u64,
    ) -> Result<Option<Recovered>, RecoveryError> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Verify { index, verifier } => self.verify(disk, (index, verifier), bytes)?,
            Stage::Checkpoint { reader } => self.load_checkpoint(disk, store, reader, bytes)?,
            Stage::Apply { index, reader } => self.apply(disk, store, (index, reader), bytes)?,
            Stage::Done => {}
        }
        if !matches!(self.stage, Stage::Done) {
            return Ok(None);
        }
        self.recovered.revision = self.recovered.revision.max(store.revision());
        self.recovered.record_count = self.loader.record_count();
        Ok(Some(self.recovered.clone()))
    }

    /// Verifies everything and loads nothing: what a start would apply.
    ///
    /// # Errors
    /// See [`RecoveryError`].
    pub fn verify_all<S: Storage<File = F>>(mut self, disk: &mut S) -> Result<Recovered, RecoveryError> {
        while let Stage::Verify { index, verifier } = std::mem::replace(&mut self.stage, Stage::Done) {
            self.verify(disk, (index, verifier), u64::MAX >> 1)?;
        }
        if let Some(number) = self.recovered.survey.manifest.and_then(|manifest| manifest.checkpoint) {
            let name = checkpoint_name(number);
            let mut reader = Reader::open(disk, &name).map_err(|error| open_error(&name, error))?;
            loop {
                match reader.next(disk).map_err(io_error(&name))? {
                    ReadStep::Frame(frame, _) if frame.is_end() => {
                        self.needed = frame.head.last_revision;
                        break;
                    }
                    ReadStep::Frame(..) => {}
                    ReadStep::End | ReadStep::Damaged => {
                        let damaged = Problem::Damaged { offset: reader.offset(), len: reader.file_len() };
                        return problem(&name, damaged);
                    }
                }
            }
            self.recovered.checkpoint_bytes = reader.file_len();
            self.check_checkpoint()?;
        }
        self.recovered.journal_bytes = self.recovered.journals.iter().map(|verified| verified.end).sum();
        Ok(self.recovered)
    }

    fn verify<S: Storage<File = F>>(
        &mut self,
        disk: &mut S,
        (index, verifier): (usize, Option<Verifier<F>>),
        bytes: u64,
    ) -> Result<(), RecoveryError> {
        let Some(&number) = self.recovered.survey.journals.get(index) else {
            self.check_ends()?;
            self.stage = Stage::Checkpoint { reader: None };
            return Ok(());
        };
        let name = journal_name(number);
        let mut verifier = match verifier {
            Some(verifier) => verifier,
            None => Verifier::open(disk, &name).map_err(|error| open_error(&name, error))?,
        };
        let before = verifier.offset();
        let found = verifier.step(disk, bytes).map_err(io_error(&name))?;
        self.progress.done += verifier.offset() - before;
        let Some(found) = found else {
            self.stage = Stage::Verify { index, verifier: Some(verifier) };
            return Ok(());
        };
        let is_first = index == 0;
        if found.header.number != number {
            return problem(&name, Problem::Damaged { offset: 0, len: found.len });
        }
        self.recovered.revision = self.recovered.revision.max(found.header.first_revision);
        if found.header.has_gap() && !is_first {
            // It was begun after a failure and never got its checkpoint. Nothing in it was promised, nor behind it.
            log::info!(
                file:% = name;
                "{name} is left out: it was begun after a failure, and its checkpoint was never finished"
            );
            let left_out = self.recovered.survey.journals.drain(index..).map(journal_name);
            self.recovered.discarded = left_out.collect();
            self.stage = Stage::Verify { index, verifier: None };
            return Ok(());
        }
        self.check_chain(&name, &found)?;
        if let (Some(offset), Some(_)) = (found.damaged, found.promised_by) {
            return problem(&name, Problem::Damaged { offset, len: found.len });
        }
        self.recovered.reached = self.recovered.reached.max(found.last_revision);
        self.recovered.revision = self.recovered.revision.max(found.last_revision);
        self.recovered.journals.push(found);
        self.stage = Stage::Verify { index: index + 1, verifier: None };
        Ok(())
    }

    /// A file goes on where the one before it ended.
    fn check_chain(&self, name: &str, found: &Verified) -> Result<(), RecoveryError> {
        let Some(before) = self.recovered.journals.last() else { return Ok(()) };
        let FileHeader { previous_len, previous_crc, number, .. } = found.header;
        let goes_on = previous_len == before.end && previous_crc == before.crc;
        if goes_on || mutant::is_on(Mutant::ChainUnchecked) {
            return Ok(());
        }
        if number != before.header.number + 1 {
            return problem(&journal_name(before.header.number + 1), Problem::Missing);
        }
        let damaged = Problem::Damaged { offset: before.damaged.unwrap_or(before.end), len: before.len };
        let end = before.end;
        log::error!(
            file:% = name, offset = previous_len, end;
            "{name} goes on at byte {previous_len} of the file before it, which ends at {end}"
        );
        problem(&journal_name(before.header.number), damaged)
    }

    /// Only the last file may end in what was not promised: the others were durable when the next one was begun.
    fn check_ends(&self) -> Result<(), RecoveryError> {
        let Some((last, others)) = self.recovered.journals.split_last() else { return Ok(()) };
        for before in others {
            if let Some(offset) = before.damaged {
                let name = journal_name(before.header.number);
                return problem(&name, Problem::Damaged { offset, len: before.len });
            }
        }
        if last.end < last.len {
            let (name, offset, len) = (journal_name(last.header.number), last.end, last.len);
            log::warn!(
                file:% = name, offset, len;
                "{name} is cut at byte {offset} of {len}: what follows was not durable when the server ended"
            );
        }
        Ok(())
    }

    fn load_checkpoint<S: Storage<File = F>>(
        &mut self,
        disk: &mut S,
        store: &mut Store,
        reader: Option<Reader<F>>,
        bytes: u64,
    ) -> Result<(), RecoveryError> {
        let Some(number) = self.recovered.survey.manifest.and_then(|manifest| manifest.checkpoint) else {
            self.stage = Stage::Apply { index: 0, reader: None };
            return Ok(());
        };
        let name = checkpoint_name(number);
        let mut reader = match reader {
            Some(reader) => reader,
            None => Reader::open(disk, &name).map_err(|error| open_error(&name, error))?,
        };
        let before = reader.offset();
        while reader.offset() < before + bytes {
            match reader.next(disk).map_err(io_error(&name))? {
                ReadStep::Frame(frame, payload) => {
                    let loaded = self.loader.load(store, payload);
                    loaded
                        .or_else(|error| problem(&name, Problem::Load { offset: reader.offset(), error }))?;
                    if frame.is_end() {
                        self.progress.done += reader.offset() - before;
                        reader.drop_cache(disk);
                        self.needed = frame.head.last_revision;
                        self.recovered.checkpoint_bytes = reader.file_len();
                        store.skip_revisions(reader.header().first_revision);
                        return self.check_checkpoint();
                    }
                }
                ReadStep::End | ReadStep::Damaged => {
                    let damaged = Problem::Damaged { offset: reader.offset(), len: reader.file_len() };
                    return problem(&name, damaged);
                }
            }
        }
        self.progress.done += reader.offset() - before;
        reader.drop_cache(disk);
        self.stage = Stage::Checkpoint { reader: Some(reader) };
        Ok(())
    }

    /// The journal must go at least as far as the checkpoint has seen.
    fn check_checkpoint(&mut self) -> Result<(), RecoveryError> {
        if let Some(last) = self.recovered.journals.last()
            && self.recovered.reached < self.needed
        {
            let name = journal_name(last.header.number);
            return problem(&name, Problem::EndsEarly { offset: last.end });
        }
        self.stage = Stage::Apply { index: 0, reader: None };
        Ok(())
    }

    fn apply<S: Storage<File = F>>(
        &mut self,
        disk: &mut S,
        store: &mut Store,
        (index, reader): (usize, Option<Reader<F>>),
        bytes: u64,
    ) -> Result<(), RecoveryError> {
        let Some(verified) = self.recovered.journals.get(index).copied() else { return Ok(()) };
        let name = journal_name(verified.header.number);
        self.loader.remember();
        let mut reader = match reader {
            Some(reader) => reader,
            None => Reader::open(disk, &name).map_err(|error| open_error(&name, error))?,
        };
        let before = reader.offset();
        while reader.offset() < (before + bytes).min(verified.end) {
            match reader.next(disk).map_err(io_error(&name))? {
                ReadStep::Frame(_, payload) => {
                    let loaded = self.loader.load(store, payload);
                    loaded
                        .or_else(|error| problem(&name, Problem::Load { offset: reader.offset(), error }))?;
                }
                ReadStep::End | ReadStep::Damaged => {
                    let damaged = Problem::Damaged { offset: reader.offset(), len: verified.len };
                    return problem(&name, damaged);
                }
            }
        }
        self.progress.done += reader.offset() - before;
        reader.drop_cache(disk);
        if reader.offset() < verified.end {
            self.stage = Stage::Apply { index, reader: Some(reader) };
        } else {
            self.recovered.journal_bytes += verified.end;
            self.stage = Stage::Apply { index: index + 1, reader: None };
        }
        Ok(())
    }
}

/// From where a start takes its revisions.
#[must_use]
pub fn first_revision(recovered: &Recovered) -> Revision {
    let gap = if mutant::is_on(Mutant::RevisionReused) { 0 } else { REVISION_GAP };
    Revision(recovered.revision.0 + gap)
}

/// Makes a directory ready for a new file of the journal: what does not count is removed, a torn end is cut.
///
/// # Errors
/// See [`RecoveryError`].
pub fn prepare<S: Storage>(disk: &mut S, recovered: &Recovered) -> Result<Predecessor, RecoveryError> {
    let mut predecessor = Predecessor { len: 0, crc: 0 };
    if let Some(last) = recovered.journals.last() {
        predecessor = Predecessor { len: last.end, crc: last.crc };
        let name = journal_name(last.header.number);
        make_durable(disk, &name, last).map_err(io_error(&name))?;
    }
    for name in recovered.survey.leftovers.iter().chain(&recovered.discarded) {
        disk.remove(name).map_err(io_error(name))?;
    }
    disk.sync_dir().map_err(io_error("the directory"))?;
    Ok(predecessor)
}

/// Cuts a file at the end of what counts, and makes that durable: the next file builds on it. What was not known to be durable
/// is written once more. It may be in the page cache alone although a sync of it has failed, in a process before this one;
/// then another sync would say that all is well, and write nothing.
fn make_durable<S: Storage>(disk: &mut S, name: &str, found: &Verified) -> io::Result<()> {
    let file = disk.open_to_write(name)?;
    if disk.file_len(&file)? > found.end {
        disk.set_len(&file, found.end)?;
    }
    let mut piece = vec![0; REWRITE_BYTES].into_boxed_slice();
    let is_left = mutant::is_on(Mutant::TailNotRewritten);
    let mut at = if is_left { found.end } else { found.durable_len.min(found.end) };
    while at < found.end {
        let wanted = (found.end - at).min(piece.len() as u64) as usize;
        let len = disk.read_at(&file, at, &mut piece[..wanted])?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        storage::write_all(disk, &file, at, &piece[..len])?;
        at += len as u64;
    }
    disk.sync(&file)
}

/// Cuts a file, durably.
///
/// # Errors
/// What the system says.
pub fn cut<S: Storage>(disk: &mut S, name: &str, len: u64) -> io::Result<()> {
    let file = disk.open_to_write(name)?;
    if disk.file_len(&file)? > len {
        disk.set_len(&file, len)?;
    }
    disk.sync(&file)
}

/// Cuts a file of the journal where its damage begins, and removes those behind it: what they held is lost. False: the
/// damage is nowhere that can be cut.
///
/// # Errors
/// What the system says.
pub fn truncate<S: Storage>(disk: &mut S, damage: &RecoveryError, survey: &Survey) -> io::Result<bool> {
    let number = storage::journal_number(&damage.file);
    let Some(number) = number.filter(|_| matches!(damage.problem, Problem::Damaged { .. })) else {
        return Ok(false);
    };
    let Ok(mut verifier) = Verifier::open(disk, &damage.file) else { return Ok(false) };
    let Some(found) = verifier.step(disk, u64::MAX >> 1)? else { return Ok(false) };
    for behind in survey.journals.iter().filter(|other| **other > number) {
        disk.remove(&journal_name(*behind))?;
    }
    cut(disk, &damage.file, found.end)?;
    disk.sync_dir()?;
    Ok(true)
}
