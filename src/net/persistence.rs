//! A server with a data directory: it loads what is there, then keeps a journal of what changes.
//!
//! ```text
//!  Loading ── a piece in each turn; clients are answered LOADING ──▶ Serving: reports in, changes out, requests to the disk
//! ```

use super::data_dir::{DataDir, Lock};
use super::disk::Disk;
use super::{ServerOptions, StartError};
use crate::engine::persistence::Stage as Shown;
use crate::journal::recovery::{self, Recovered, Recovery, RecoveryError};
use crate::journal::worker::Worker;
use crate::journal::{Durability, Journal, JournalConfig};
use crate::mutation::Revision;
use crate::server::Server;
use crate::store::{FIRST_REVISION_MAX, RemovalPolicy, Store};
use crate::time::{Millis, Now};
use mio::Waker;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of files that are loaded in one turn: a millisecond or two.
const LOAD_BYTES_PER_TURN: u64 = 256 * 1024;
/// Milliseconds between two lines of the log about loading.
const LOAD_LOG_MS: u64 = 2_000;
/// How long the end of a server waits for its disk.
const STOP_TIME: Duration = Duration::from_secs(10);

/// What a server keeps of its past.
pub struct Persistence {
    options: Options,
    stage: Stage,
    _lock: Lock,
}

/// What of the options concerns it.
pub(super) struct Options {
    path: PathBuf,
    durability: Durability,
    journal_bytes_max: u64,
    buffer_bytes: usize,
    salt_seed: u64,
    first_revision: Revision,
}

impl Options {
    pub(super) fn new(path: &Path, options: &ServerOptions, buffer_bytes: usize, salt_seed: u64) -> Options {
        Options {
            path: path.to_owned(),
            durability: options.durability,
            journal_bytes_max: options.journal_bytes(),
            buffer_bytes,
            salt_seed,
            // Most of the revisions are for the starts to come.
            first_revision: Revision(salt_seed % (FIRST_REVISION_MAX >> 8)),
        }
    }

    pub(super) fn explain(&self, error: impl fmt::Display) -> StartError {
        StartError(format!("the data directory {} cannot be used: {error}", self.path.display()))
    }

    /// Changes from now on get revisions that nothing in the directory has.
    pub(super) fn skip_revisions(&self, recovered: &Recovered, store: &mut Store) {
        let is_new = recovered.survey.manifest.is_none();
        store.skip_revisions(if is_new { self.first_revision } else { recovery::first_revision(recovered) });
    }

    /// Begins a file of the journal behind what was found. Before this nothing in the directory is changed.
    pub(super) fn begin_journal(
        &self,
        mut data_dir: DataDir,
        recovered: &Recovered,
        store: &mut Store,
        now: Now,
    ) -> Result<(Journal, Worker<DataDir>), StartError> {
        let predecessor = recovery::prepare(&mut data_dir, recovered).map_err(|error| self.explain(error))?;
        let config = JournalConfig {
            durability: self.durability,
            buffer_bytes: self.buffer_bytes,
            journal_bytes_max: self.journal_bytes_max,
            salt_seed: self.salt_seed,
            next_number: recovered.survey.number_max + 1,
            is_new: recovered.survey.manifest.is_none(),
            found_journal_bytes: recovered.journal_bytes,
            found_checkpoint_bytes: recovered.checkpoint_bytes,
        };
        let journal = Journal::new(config, store, now);
        let mut journal = journal.ok_or_else(|| StartError("the store has no change feed".to_owned()))?;
        let mut worker = Worker::new(data_dir, predecessor);
        while let Some(request) = journal.pop_request() {
            let report = worker.handle(request);
            if let Err(error) = &report.result {
                return Err(self.explain(format!("{} failed: {}", error.doing, error.error)));
            }
            journal.handle(report, store, now);
        }
        Ok((journal, worker))
    }
}

enum Stage {
    Loading(Box<Loading>),
    Serving {
        journal: Box<Journal>,
        disk: Disk,
    },
    /// Between two stages, and after the end.
    Ended,
}

struct Loading {
    data_dir: DataDir,
    recovery: Recovery<File>,
    started: Option<Millis>,
    logged: Millis,
    waker: Waker,
}

impl Persistence {
    /// Opens the directory and looks at what is there; nothing is loaded yet.
    ///
    /// # Errors
    /// The directory cannot be used, or what is there is damaged.
    pub fn open(
        (path, options): (&Path, &ServerOptions),
        (buffer_bytes, salt_seed): (usize, u64),
        waker: Waker,
    ) -> Result<Persistence, StartError> {
        let (mut data_dir, lock) = DataDir::open_locked(path)?;
        let options = Options::new(path, options, buffer_bytes, salt_seed);
        let failed = |error: RecoveryError| options.explain(error);
        let survey = recovery::survey(&mut data_dir).map_err(failed)?;
        let recovery = Recovery::new(&mut data_dir, survey).map_err(failed)?;
        let loading = Loading { data_dir, recovery, started: None, logged: Millis(0), waker };
        Ok(Persistence { options, stage: Stage::Loading(Box::new(loading)), _lock: lock })
    }

    /// Until everything is loaded the server answers so, and removes no key.
    pub fn begin(&self, server: &mut Server) {
        server.give_memory_back();
        let engine = server.engine_mut();
        engine.persistence.stage = Shown::Loading { done: 0, total: 0 };
        engine.store.set_removal_policy(RemovalPolicy::Follow);
    }

    /// Whether there is something to do at once.
    pub fn has_work(&self) -> bool {
        match &self.stage {
            Stage::Loading(_) => true,
            Stage::Serving { journal, .. } => journal.has_work(),
            Stage::Ended => false,
        }
    }

    /// When there is something to do although nothing happens.
    pub fn next_deadline(&self) -> Option<Millis> {
        match &self.stage {
            Stage::Serving { journal, .. } => journal.next_deadline(),
            _ => None,
        }
    }

    /// Goes on: loads a piece, or takes the disk's reports and gives it what has changed.
    ///
    /// # Errors
    /// What is in the directory cannot be used.
    pub fn turn(&mut self, server: &mut Server, now: Now) -> Result<(), StartError> {
        if let Stage::Loading(_) = self.stage {
            return self.load(server, now);
        }
        let Stage::Serving { journal, disk } = &mut self.stage else { return Ok(()) };
        let store = &mut server.engine_mut().store;
        while let Some(report) = disk.report() {
            journal.handle(report, store, now);
        }
        self.collect(server, now);
        Ok(())
    }

    /// Takes what has changed, so that the feed has room for more.
    pub fn collect(&mut self, server: &mut Server, now: Now) {
        let Stage::Serving { journal, disk } = &mut self.stage else { return };
        if std::mem::take(&mut server.engine_mut().persistence.wants_checkpoint) {
            journal.request_checkpoint();
        }
        if std::mem::take(&mut server.engine_mut().persistence.wants_sync) {
            journal.request_sync();
        }
        journal.turn(&mut server.engine_mut().store, now);
        while let Some(request) = journal.pop_request() {
            disk.send(request);
        }
        server.follow_journal(journal.status(), now.monotonic);
    }

    fn load(&mut self, server: &mut Server, now: Now) -> Result<(), StartError> {
        let Stage::Loading(loading) = &mut self.stage else { return Ok(()) };
        let started = *loading.started.get_or_insert(now.monotonic);
        let store = &mut server.engine_mut().store;
        let step = loading.recovery.step(&mut loading.data_dir, store, LOAD_BYTES_PER_TURN);
        let progress = loading.recovery.progress();
        let Some(recovered) = step.map_err(|error| self.options.explain(error))? else {
            let shown = Shown::Loading { done: progress.done, total: progress.total };
            server.engine_mut().persistence.stage = shown;
            if now.monotonic >= loading.logged.plus(LOAD_LOG_MS) {
                loading.logged = now.monotonic;
                let percent = progress.done * 100 / progress.total.max(1);
                let records = loading.recovery.record_count();
                log::info!(percent, records; "loading: {percent} %, records: {records}");
            }
            return Ok(());
        };
        let is_new = recovered.survey.manifest.is_none();
        if !is_new {
            let (ms, records) = (now.monotonic.since(started), recovered.record_count);
            let (checkpoint_bytes, journal_bytes) = (recovered.checkpoint_bytes, recovered.journal_bytes);
            log::info!(
                ms, records, checkpoint_bytes, journal_bytes;
                "loaded in {ms} ms: records {records}, checkpoint {checkpoint_bytes} bytes, journal {journal_bytes} bytes"
            );
        }
        self.serve(server, &recovered, now)
    }

    /// Everything is loaded: begins a file of the journal, and only then serves.
    fn serve(&mut self, server: &mut Server, recovered: &Recovered, now: Now) -> Result<(), StartError> {
        let Stage::Loading(loading) = std::mem::replace(&mut self.stage, Stage::Ended) else { return Ok(()) };
        let Loading { data_dir, waker, .. } = *loading;
        let options = &self.options;
        let store = &mut server.engine_mut().store;
        options.skip_revisions(recovered, store);
        store.set_removal_policy(RemovalPolicy::Own);
        let (mut journal, worker) = options.begin_journal(data_dir, recovered, store, now)?;
        if recovered.journals.len() > JOURNALS_MAX {
            journal.request_checkpoint();
        }
        let disk = Disk::spawn(worker, waker)
            .map_err(|error| StartError(format!("the disk's thread cannot be had: {error}")))?;
        let (path, durability) = (options.path.display(), options.durability.name());
        log::info!(data_dir:% = path, durability; "data directory: {path}, durability: {durability}");
        let shown = &mut server.engine_mut().persistence;
        (shown.stage, shown.loaded_count) = (Shown::Serving, recovered.record_count);
        self.stage = Stage::Serving { journal: Box::new(journal), disk };
        self.collect(server, now);
        Ok(())
    }

    /// Everything that was changed becomes durable, and the directory free. Waits for the disk.
    pub fn stop(&mut self, server: &mut Server, now: Now) {
        let Stage::Serving { journal, disk } = &mut self.stage else { return };
        let store = &mut server.engine_mut().store;
        // A long wait is one for a disk that does not answer: a bounded number of them.
        let mut waits = 0;
        let mut is_asked = false;
        loop {
            if !is_asked {
                is_asked = journal.stop(store, now);
            }
            while let Some(request) = journal.pop_request() {
                disk.send(request);
            }
            if is_asked && journal.is_idle() {
                break;
            }
            match disk.wait(STOP_TIME) {
                Some(report) => journal.handle(report, store, now),
                None => waits += 1,
            }
            if waits > 0 {
                log::error!("the disk does not answer: what was changed last may not be durable");
                self.stage = Stage::Ended;
                return;
            }
        }
        if journal.has_stopped() {
            log::info!("the journal is durable up to its end");
        } else {
            log::error!("the journal was not whole at the end: what was changed last may be lost");
        }
        disk.join();
        self.stage = Stage::Ended;
    }
}

/// With more files than this a checkpoint is written at once, which leaves one.
const JOURNALS_MAX: usize = 16;
