//! What is to be known of a journal outside: what holds for writers, and figures for INFO, metrics and probes.

pub use crate::config::Durability;

use super::request::DiskError;
use crate::mutation::Revision;
use crate::time::Millis;
use std::{fmt, io};

/// What holds for commands that may change a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteGate {
    #[default]
    Open,
    /// They wait: the disk is behind.
    Wait,
    /// They are refused: the disk has failed.
    Refuse,
}

/// How the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Running,
    /// It takes no changes and is tried again.
    Broken,
    /// It takes changes again; they are durable when the checkpoint is.
    Mending,
}

/// What was being done when the disk failed, and the system's number for why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastError {
    pub doing: &'static str,
    pub code: Option<i32>,
}

impl fmt::Display for LastError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(formatter, "{} failed: {}", self.doing, io::Error::from_raw_os_error(code)),
            None => write!(formatter, "{} failed", self.doing),
        }
    }
}

/// How the last checkpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastCheckpoint {
    pub is_ok: bool,
    /// When, in Unix milliseconds, and after how many.
    pub ended: Millis,
    pub took_ms: u64,
}

/// A journal's state and figures.
#[derive(Clone, Copy, Debug)]
pub struct JournalStatus {
    pub durability: Durability,
    pub condition: Condition,
    pub gate: WriteGate,
    /// Every change up to this revision is durable.
    pub durable: Revision,
    /// The latest change.
    pub revision: Revision,
    /// What the last checkpoint has at least.
    pub saved_revision: Revision,
    /// Bytes of the journals that a start would read, and of the checkpoint.
    pub journal_bytes: u64,
    pub checkpoint_bytes: u64,
    pub is_checkpoint_under_way: bool,
    /// When it began, in Unix milliseconds.
    pub checkpoint_began: Millis,
    /// When everything was last durable in a checkpoint, in Unix milliseconds; when the server started, if it never was.
    pub saved: Millis,
    pub last_checkpoint: Option<LastCheckpoint>,
    /// Checkpoints that became durable.
    pub checkpoint_count: u64,
    /// Failed writes and syncs, and times that one group was larger than the feed.
    pub failure_count: u64,
    pub lost_count: u64,
    /// The failure that is not over yet.
    pub last_error: Option<LastError>,
}

impl JournalStatus {
    pub(super) fn new(durability: Durability, revision: Revision, now: Millis) -> JournalStatus {
        JournalStatus {
            durability,
            condition: Condition::Running,
            gate: WriteGate::Open,
            durable: revision,
            revision,
            saved_revision: revision,
            journal_bytes: 0,
            checkpoint_bytes: 0,
            is_checkpoint_under_way: false,
            checkpoint_began: Millis(0),
            saved: now,
            last_checkpoint: None,
            checkpoint_count: 0,
            failure_count: 0,
            lost_count: 0,
            last_error: None,
        }
    }

    pub(super) fn checkpoint_began(&mut self, now: Millis) {
        self.checkpoint_began = now;
    }

    pub(super) fn checkpoint_ended(&mut self, is_ok: bool, now: Millis) {
        let took_ms = now.since(self.checkpoint_began);
        self.last_checkpoint = Some(LastCheckpoint { is_ok, ended: now, took_ms });
        if is_ok {
            self.checkpoint_count += 1;
            self.saved = now;
        }
    }

    pub(super) fn fail(&mut self, error: &DiskError) {
        self.failure_count += 1;
        self.last_error = Some(LastError { doing: error.doing, code: error.error.raw_os_error() });
    }
}
