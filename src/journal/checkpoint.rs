//! A checkpoint under way: the walk over the store, its buffers, and what comes next.
//!
//! ```text
//!   Idle ─▶ Wanted ─(the journal is drained)─▶ Walking ─▶ Walked ─(drained again)─▶ Publishing ─▶ Idle
//! ```

use super::frame::{FLAG_COMMIT, FLAG_END};
use super::request::{Buffer, Request};
use super::scan::Scan;
use super::writer::CHECKPOINT_BUFFER_COUNT;
use crate::store::Store;
use crate::time::Millis;
use std::collections::VecDeque;

/// Keys of one step, and steps of one turn: about 50 µs.
const KEYS_PER_STEP: usize = 64;
const STEPS_PER_TURN: usize = 2;
/// Milliseconds after a failure until a checkpoint begins by itself.
const RETRY_MS: u64 = 30_000;

enum Phase {
    Idle,
    Wanted,
    Walking {
        scan: Scan,
        number: u64,
    },
    /// Everything is handed over; the journal is still to be.
    Walked {
        number: u64,
    },
    Publishing,
}

/// What may be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    Nothing,
    MayBegin,
    MayPublish(u64),
}

/// A checkpoint that is wanted, or under way.
pub struct Checkpoint {
    phase: Phase,
    buffer_bytes: usize,
    /// Made when the first checkpoint begins.
    free: Vec<Buffer>,
    filling: Option<Buffer>,
    /// Frames that are with the disk.
    writes: usize,
    started: Millis,
    written_bytes: u64,
    retry_at: Option<Millis>,
}

impl Checkpoint {
    pub fn new(buffer_bytes: usize) -> Checkpoint {
        Checkpoint {
            phase: Phase::Idle,
            buffer_bytes,
            free: Vec::new(),
            filling: None,
            writes: 0,
            started: Millis(0),
            written_bytes: 0,
            retry_at: None,
        }
    }

    /// Whether none is wanted or under way.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle) && self.writes == 0
    }

    /// Whether one has begun and not ended.
    pub fn is_under_way(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Wanted)
    }

    /// Whether it waits for the manifest.
    pub fn is_publishing(&self) -> bool {
        matches!(self.phase, Phase::Publishing)
    }

    /// Whether frames of it are with the disk.
    pub fn has_writes(&self) -> bool {
        self.writes > 0
    }

    /// Whether the walk can go on at once.
    pub fn has_work(&self) -> bool {
        matches!(self.phase, Phase::Walking { .. }) && (self.filling.is_some() || !self.free.is_empty())
    }

    /// When it may be tried again.
    pub fn retry_at(&self) -> Option<Millis> {
        self.retry_at
    }

    pub fn request(&mut self) {
        self.retry_at = None;
        self.request_later();
    }

    /// The same, but not soon after a failure.
    pub fn request_later(&mut self) {
        if matches!(self.phase, Phase::Idle) && self.retry_at.is_none() {
            self.phase = Phase::Wanted;
        }
    }

    /// Begins the walk.
    pub fn begin(&mut self, store: &Store, number: u64, now: Millis) {
        if self.free.is_empty() && self.filling.is_none() {
            self.free.extend((0..CHECKPOINT_BUFFER_COUNT).map(|_| Buffer::new(self.buffer_bytes)));
        }
        self.phase = Phase::Walking { scan: Scan::new(store), number };
        (self.started, self.written_bytes, self.retry_at) = (now, 0, None);
    }

    /// Walks on; what may be done then.
    pub fn drive(&mut self, store: &mut Store, now: Millis, requests: &mut VecDeque<Request>) -> Drive {
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
        }
        match self.phase {
            Phase::Idle | Phase::Publishing => Drive::Nothing,
            Phase::Wanted if self.writes == 0 => Drive::MayBegin,
            Phase::Wanted => Drive::Nothing,
            Phase::Walking { .. } => {
                for _ in 0..STEPS_PER_TURN {
                    self.step(store, requests);
                }
                Drive::Nothing
            }
            Phase::Walked { number } => Drive::MayPublish(number),
        }
    }

    fn step(&mut self, store: &mut Store, requests: &mut VecDeque<Request>) {
        let Phase::Walking { scan, number } = &mut self.phase else { return };
        let Some(mut buffer) = self.filling.take().or_else(|| self.free.pop()) else { return };
        let before = buffer.payload_len();
        let is_done = scan.step(store, &mut buffer, KEYS_PER_STEP);
        if is_done {
            let number = *number;
            buffer.head.flags = FLAG_COMMIT | FLAG_END;
            // The journal must reach as far as the walk has seen.
            buffer.head.last_revision = store.revision();
            self.phase = Phase::Walked { number };
        } else if buffer.payload_len() > before && buffer.room().len() > self.buffer_bytes / 4 {
            self.filling = Some(buffer);
            return;
        } else if buffer.is_empty() {
            // A stretch without keys.
            self.filling = Some(buffer);
            return;
        }
        self.writes += 1;
        requests.push_back(Request::AppendCheckpoint { buffer });
    }

    /// The manifest is being written.
    pub fn publishing(&mut self) {
        self.phase = Phase::Publishing;
    }

    /// It is durable; how many milliseconds it took.
    pub fn end(&mut self, now: Millis) -> u64 {
        self.phase = Phase::Idle;
        now.since(self.started)
    }

    /// A buffer comes back from the disk.
    pub fn returned(&mut self, buffer: Option<Buffer>, written_len: u64) {
        self.writes -= 1;
        self.free.extend(buffer);
        self.written_bytes += written_len;
    }

    /// Bytes of it so far.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Nothing comes of it; it may be tried again later.
    pub fn abandon(&mut self, store: &mut Store, now: Millis) {
        if let Some(mut buffer) = self.filling.take() {
            buffer.clear();
            self.free.push(buffer);
        }
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => return,
            Phase::Walking { scan, .. } => scan.abandon(store),
            Phase::Wanted | Phase::Walked { .. } | Phase::Publishing => {}
        }
        self.retry_at = Some(now.plus(RETRY_MS));
    }
}
