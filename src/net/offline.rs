//! A server without sockets over a data directory that no other server uses: what is changed is published as one
//! checkpoint, or not at all.
//!
//! ```text
//!  open ─▶ load ─▶ call, call, … ─▶ publish      what a start would find stays as it was until the end of `publish`
//! ```

use super::budget::Budget;
use super::clock::Clock;
use super::data_dir::{DataDir, Lock};
use super::persistence::Options;
use super::start::{build_server, check, random_secret};
use super::{ServerOptions, StartError};
use crate::connection::ConnectionId;
use crate::journal::recovery::{self, Recovered, Recovery, RecoveryError};
use crate::journal::status::Condition;
use crate::journal::worker::Worker;
use crate::journal::{Journal, JournalStatus};
use crate::limits::MIB;
use crate::server::Server;
use crate::store::{RemovalPolicy, Store};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};

/// Bytes of files that are loaded between two reports of progress.
const LOAD_BYTES_PER_STEP: u64 = 4 * MIB as u64;
/// Steps of the store's maintenance between two pieces of input.
const MAINTENANCE_STEPS: usize = 64;
/// Pieces that are read or written at once.
const SLICES: usize = 8;
/// Bytes that the commands of one call may be answered with.
const ANSWER_BYTES_MAX: usize = 256 * MIB;
/// Where the one client comes from, as the server's own lists show it.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server with one client, and a data directory that is locked for it.
///
/// In this order: [`open`](Offline::open), [`load`](Offline::load), [`call`](Offline::call) any number of times,
/// [`publish`](Offline::publish). What is dropped before the end of that leaves the directory as it was.
pub struct Offline {
    server: Server,
    connection: ConnectionId,
    clock: Clock,
    options: Options,
    data_dir: DataDir,
    recovery: Recovery<File>,
    recovered: Option<Recovered>,
    _lock: Lock,
}

impl Offline {
    /// Locks the directory of the options, which is made if it is not there, and looks at what it has.
    ///
    /// # Errors
    /// A server uses the directory, what is there is damaged, or the options do not fit; the text says what to do.
    pub fn open(options: &ServerOptions) -> Result<Offline, StartError> {
        let budget: Budget = check(options)?;
        let path = options.data_dir.as_deref();
        let path = path.ok_or_else(|| StartError("no data directory is named".to_owned()))?;
        let (mut data_dir, lock) = DataDir::open_locked(path)?;
        let kept = Options::new(path, options, budget.journal_buffer_bytes, random_secret()?[0]);
        let failed = |error: RecoveryError| kept.explain(error);
        let survey = recovery::survey(&mut data_dir).map_err(failed)?;
        let recovery = Recovery::new(&mut data_dir, survey).map_err(failed)?;
        let mut server = build_server(options)?;
        server.give_memory_back();
        server.engine_mut().store.set_removal_policy(RemovalPolicy::Follow);
        let clock = Clock::start();
        let connection = server.open(PEER, clock.now());
        let connection =
            connection.map_err(|_| StartError("the server has no place for one client".to_owned()))?;
        let recovered = None;
        Ok(Offline { server, connection, clock, options: kept, data_dir, recovery, recovered, _lock: lock })
    }

    /// Loads what is there; `progress` gets the bytes that are read, and all of them.
    ///
    /// # Errors
    /// It is damaged, or does not fit into the memory.
    pub fn load(&mut self, mut progress: impl FnMut(u64, u64)) -> Result<(), StartError> {
        let store = &mut self.server.engine_mut().store;
        while self.recovered.is_none() {
            let step = self.recovery.step(&mut self.data_dir, store, LOAD_BYTES_PER_STEP);
            self.recovered = step.map_err(|error| self.options.explain(error))?;
            let bytes = self.recovery.progress();
            progress(bytes.done, bytes.total);
        }
        if let Some(recovered) = &self.recovered {
            self.options.skip_revisions(recovered, store);
        }
        store.set_removal_policy(RemovalPolicy::Own);
        Ok(())
    }

    /// Runs these commands, whole ones, and appends what they answer. Fewer answers than commands: one of them has closed
    /// the connection, or waits for something that does not come.
    ///
    /// # Errors
    /// They are answered with far too much.
    pub fn call(&mut self, mut bytes: &[u8], answer: &mut Vec<u8>) -> Result<(), StartError> {
        // Bounded: each round takes bytes, gives bytes, or is the last.
        loop {
            let taken = self.receive(bytes);
            bytes = &bytes[taken..];
            let has_moved = self.run(answer)?;
            if taken == 0 && !has_moved {
                return Ok(());
            }
        }
    }

    /// Makes what was changed durable, and the directory say so.
    ///
    /// # Errors
    /// A write or a sync fails. Then a start finds what was there before, unless it was the very last sync of a name.
    pub fn publish(mut self) -> Result<(), StartError> {
        let recovered = self.recovered.ok_or_else(|| StartError("nothing is loaded yet".to_owned()))?;
        let store = &mut self.server.engine_mut().store;
        let (mut journal, mut worker) =
            self.options.begin_journal(self.data_dir, &recovered, store, self.clock.now())?;
        let failed = |status: &JournalStatus| {
            let why = status.last_error.map_or("a checkpoint failed".to_owned(), |error| error.to_string());
            self.options.explain(why)
        };
        journal.request_checkpoint();
        while journal.status().last_checkpoint.is_none() && journal.status().last_error.is_none() {
            journal.turn(store, self.clock.now());
            handle_requests((&mut journal, &mut worker), store, &self.clock);
        }
        let status = journal.status();
        if status.condition != Condition::Running || !status.last_checkpoint.is_some_and(|last| last.is_ok) {
            return Err(failed(status));
        }
        let mut is_asked = false;
        while !is_asked {
            is_asked = journal.stop(store, self.clock.now());
            handle_requests((&mut journal, &mut worker), store, &self.clock);
        }
        if journal.has_stopped() { Ok(()) } else { Err(failed(journal.status())) }
    }

    /// Gives the server the front of `bytes` that it has space for now; the number of bytes.
    fn receive(&mut self, bytes: &[u8]) -> usize {
        let (server, id, now) = (&mut self.server, self.connection, self.clock.now());
        if bytes.is_empty() {
            return 0;
        }
        let len = if server.has_body(id) {
            let mut spaces: [IoSliceMut<'_>; SLICES] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
            let count = server.input_spaces(id, now, &mut spaces);
            scatter(bytes, &mut spaces[..count])
        } else {
            server.input_space(id, now).map_or(0, |space| scatter(bytes, &mut [IoSliceMut::new(space)]))
        };
        if len > 0 {
            server.input_received(id, len, now);
        }
        len
    }

    /// Runs what was received, as far as it goes, and takes the answers. True: something has moved.
    fn run(&mut self, answer: &mut Vec<u8>) -> Result<bool, StartError> {
        let mut has_moved = false;
        loop {
            let now = self.clock.now();
            let more = self.server.run(self.connection, now);
            let len = answer.len();
            self.take_output(answer)?;
            self.server.maintain(now, MAINTENANCE_STEPS);
            let is_moving = more || answer.len() > len;
            has_moved |= is_moving;
            if !is_moving && !self.server.is_replying(self.connection) {
                return Ok(has_moved);
            }
        }
    }

    fn take_output(&mut self, answer: &mut Vec<u8>) -> Result<(), StartError> {
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.server.output(self.connection, &mut slices);
            if count == 0 {
                return Ok(());
            }
            slices[..count].iter().for_each(|slice| answer.extend_from_slice(slice));
            let len = slices[..count].iter().map(|slice| slice.len()).sum();
            self.server.output_sent(self.connection, len, self.clock.now());
            if answer.len() > ANSWER_BYTES_MAX {
                let text = format!("the commands are answered with more than {} MiB", ANSWER_BYTES_MAX / MIB);
                return Err(StartError(text));
            }
        }
    }
}

/// Does what the journal asks of the disk, until it asks for nothing more.
fn handle_requests(
    (journal, worker): (&mut Journal, &mut Worker<DataDir>),
    store: &mut Store,
    clock: &Clock,
) {
    while let Some(request) = journal.pop_request() {
        let report = worker.handle(request);
        journal.handle(report, store, clock.now());
    }
}

/// Puts the front of `bytes` into `spaces`, one after the other; the number of bytes.
fn scatter(bytes: &[u8], spaces: &mut [IoSliceMut<'_>]) -> usize {
    let mut rest = bytes;
    for space in spaces {
        let (here, behind) = rest.split_at(space.len().min(rest.len()));
        space[..here.len()].copy_from_slice(here);
        rest = behind;
    }
    bytes.len() - rest.len()
}
