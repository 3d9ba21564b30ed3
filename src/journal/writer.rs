//! The loop's side: from the feed into buffers, from buffers into requests; when to sync, when to begin a checkpoint, and what
//! holds for writers and for replies meanwhile.
//!
//! ```text
//!             changes flow                     a write or sync failed, or the feed went by
//!   Running ◀───────────────────────────────────────────────┐
//!      │                                                     │ published
//!      └───────────▶ Broken ──(at once, then each second)──▶ Mending: a new file, a fresh checkpoint
//!                       ▲                                    │
//!                       └──────────── it fails too ──────────┘
//! ```

mod reports;

use super::checkpoint::{Checkpoint, Drive};
use super::frame::{FLAG_COMMIT, FLAG_GAP, FileHeader, FileKind};
use super::manifest::Manifest;
use super::request::{Buffer, Request};
use super::scan::LargeCopy;
use super::status::{Condition, Durability, JournalStatus, WriteGate};
use crate::mutant::{self, Mutant};
use crate::mutation::{GroupMark, Revision};
use crate::store::Store;
use crate::store::feed::stored::CopyEnd;
use crate::store::feed::{FeedCursor, WhenBehind};
use crate::time::{Millis, Now};
use std::collections::VecDeque;

/// Buffers of the journal: one is filled while others are on their way.
pub const BUFFER_COUNT: usize = 4;
/// Buffers of a checkpoint.
pub const CHECKPOINT_BUFFER_COUNT: usize = 2;
/// Requests that can be under way, at most: every buffer, and a few without one.
pub const REQUESTS_MAX: usize = BUFFER_COUNT + CHECKPOINT_BUFFER_COUNT + 8;
/// Milliseconds for which changes are collected before they are handed to the disk, unless a buffer is full, or replies wait.
const HAND_OVER_MS: u64 = 5;
/// Milliseconds between two syncs of `everysec`.
const SYNC_MS: u64 = 1_000;
/// Milliseconds until a broken journal is tried again.
const RETRY_MS: u64 = 1_000;

/// How a journal is kept.
#[derive(Clone, Copy, Debug)]
pub struct JournalConfig {
    pub durability: Durability,
    /// Bytes of entries in a buffer.
    pub buffer_bytes: usize,
    /// Bytes of the journal at which a checkpoint begins.
    pub journal_bytes_max: u64,
    /// Random, so that no two files have the same salt.
    pub salt_seed: u64,
    /// The number of the first file that is begun; no file has it, or a higher one.
    pub next_number: u64,
    /// The directory is new: it has no manifest.
    pub is_new: bool,
    /// Bytes of the journals, and of the checkpoint, that a start has read.
    pub found_journal_bytes: u64,
    pub found_checkpoint_bytes: u64,
}

/// Why the journal does not take changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The disk has failed.
    Failure,
    /// The feed has overwritten what was not read: one group was larger than all of it.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Broken { why: Why, retry_at: Millis },
    Mending { why: Why },
}

/// The journal of a store.
///
/// In each turn of the loop: [`handle`](Journal::handle) for each report that has come, then [`turn`](Journal::turn), then
/// [`pop_request`](Journal::pop_request) until there is none.
pub struct Journal {
    config: JournalConfig,
    cursor: FeedCursor,
    state: State,
    requests: VecDeque<Request>,
    free: Vec<Buffer>,
    filling: Option<Buffer>,
    /// When the first change in `filling` came.
    filling_since: Millis,
    /// The long value that is being copied, and the revision of its change.
    large: Option<(LargeCopy, Revision)>,
    /// The last entry that was copied is not the last one of its group.
    in_group: bool,
    /// Nothing was left in the feed when it was last read.
    is_drained: bool,
    /// Frames, and other requests that concern the journal, that are with the disk.
    appends: usize,
    others: usize,
    /// Something was written since the last sync was asked for.
    is_unsynced: bool,
    /// A client waits until everything so far is durable.
    is_sync_wanted: bool,
    synced_at: Millis,
    durable: Revision,
    next_number: u64,
    checkpoint: Checkpoint,
    /// The store's revision when the checkpoint began.
    checkpoint_revision: Revision,
    /// Bytes of the journal before its last file.
    rotated_bytes: u64,
    has_stopped: bool,
    status: JournalStatus,
}

impl Journal {
    /// A journal of what changes from now on; its first requests begin a file. `None`: the store has no feed.
    ///
    /// # Panics
    /// When a buffer is shorter than the longest entry.
    pub fn new(config: JournalConfig, store: &mut Store, now: Now) -> Option<Journal> {
        assert!(config.buffer_bytes >= crate::store::feed::stored::STORED_BYTES_MAX);
        let cursor = store.feed_open(WhenBehind::BlockWriters)?;
        let mut journal = Journal {
            config,
            cursor,
            state: State::Running,
            requests: VecDeque::with_capacity(REQUESTS_MAX),
            free: (0..BUFFER_COUNT).map(|_| Buffer::new(config.buffer_bytes)).collect(),
            filling: None,
            filling_since: Millis(0),
            large: None,
            in_group: false,
            is_drained: true,
            appends: 0,
            others: 0,
            is_unsynced: false,
            is_sync_wanted: false,
            synced_at: now.monotonic,
            durable: store.revision(),
            next_number: config.next_number,
            checkpoint: Checkpoint::new(config.buffer_bytes),
            checkpoint_revision: Revision(0),
            rotated_bytes: 0,
            has_stopped: false,
            status: JournalStatus::new(config.durability, store.revision(), now.unix),
        };
        journal.status.journal_bytes = config.found_journal_bytes;
        journal.status.checkpoint_bytes = config.found_checkpoint_bytes;
        let number = journal.begin_file(store, 0);
        if config.is_new {
            journal.push(Request::Publish { manifest: Manifest { checkpoint: None, journal: number } });
        }
        Some(journal)
    }

    /// The next request for the disk.
    pub fn pop_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// What is to be known of it outside.
    pub fn status(&self) -> &JournalStatus {
        &self.status
    }

    /// Every change up to this revision is durable.
    pub fn durable(&self) -> Revision {
        self.durable
    }

    /// What holds for writers now.
    pub fn gate(&self, store: &Store) -> WriteGate {
        match self.state {
            State::Running if store.feed_blocks_writers() => WriteGate::Wait,
            State::Running => WriteGate::Open,
            State::Broken { why: Why::Lost, .. } | State::Mending { why: Why::Lost } => WriteGate::Wait,
            State::Broken { .. } | State::Mending { .. } => WriteGate::Refuse,
        }
    }

    /// Begins a checkpoint as soon as can be, unless one is under way.
    pub fn request_checkpoint(&mut self) {
        self.checkpoint.request();
    }

    /// Makes everything so far durable as soon as can be, whatever the mode.
    pub fn request_sync(&mut self) {
        self.is_sync_wanted = true;
    }

    /// Whether [`turn`](Journal::turn) could do more at once.
    pub fn has_work(&self) -> bool {
        self.checkpoint.has_work()
    }

    /// When [`turn`](Journal::turn) is due although nothing happens.
    pub fn next_deadline(&self) -> Option<Millis> {
        let is_running = !matches!(self.state, State::Broken { .. });
        let hand_over = (is_running && self.appends == 0 && self.is_filled())
            .then(|| self.filling_since.plus(HAND_OVER_MS));
        let syncs = self.is_unsynced && self.others == 0;
        let sync = (is_running && syncs && self.config.durability == Durability::Everysec)
            .then(|| self.synced_at.plus(SYNC_MS));
        let retry = match self.state {
            State::Broken { retry_at, .. } => Some(retry_at),
            _ => None,
        };
        [hand_over, sync, retry, self.checkpoint.retry_at()].into_iter().flatten().min()
    }

    fn is_filled(&self) -> bool {
        self.filling.as_ref().is_some_and(|buffer| !buffer.is_empty())
    }

    /// Takes what has changed, and does what is due.
    pub fn turn(&mut self, store: &mut Store, now: Now) {
        if let State::Broken { why, retry_at } = self.state {
            self.drop_large(store);
            self.checkpoint.abandon(store, now.monotonic);
            if now.monotonic >= retry_at && self.appends + self.others == 0 && self.checkpoint.is_idle() {
                self.mend(store, why, now);
            } else {
                self.update(store);
                return;
            }
        }
        self.collect(store, now.monotonic);
        self.hand_over(now.monotonic);
        self.sync_if_due(now.monotonic);
        self.drive_checkpoint(store, now);
        self.update(store);
    }

    fn update(&mut self, store: &Store) {
        self.status.gate = self.gate(store);
        self.status.durable = self.durable;
        self.status.revision = store.revision();
        self.status.condition = match self.state {
            State::Running => Condition::Running,
            State::Broken { .. } => Condition::Broken,
            State::Mending { .. } => Condition::Mending,
        };
        self.status.is_checkpoint_under_way = !self.checkpoint.is_idle();
    }

    /// Copies from the feed as much as the buffers take.
    fn collect(&mut self, store: &mut Store, now: Millis) {
        self.is_drained = false;
        loop {
            let Some(mut buffer) = self.filling.take().or_else(|| self.free.pop()) else { return };
            if buffer.is_empty() {
                self.filling_since = now;
            }
            if let Some((large, revision)) = &mut self.large {
                let revision = *revision;
                let (len, is_whole) = large.copy(store, buffer.room());
                buffer.filled(len, revision, revision);
                self.filling = Some(buffer);
                if is_whole {
                    self.drop_large(store);
                } else {
                    self.seal_filling();
                }
                continue;
            }
            let copied = store.feed_copy(&self.cursor, buffer.room());
            if let Some((first, last)) = copied.revisions {
                buffer.filled(copied.len, first, last);
                self.in_group = matches!(copied.group, Some(GroupMark::First | GroupMark::Within));
            }
            self.filling = Some(buffer);
            match copied.end {
                CopyEnd::End => {
                    self.is_drained = true;
                    return;
                }
                CopyEnd::NoRoom => self.seal_filling(),
                CopyEnd::Large { value, len } => {
                    let revision = copied.revisions.map_or(Revision(0), |(_, last)| last);
                    self.large = Some((LargeCopy::new(value, len), revision));
                }
                CopyEnd::Lost => {
                    log::warn!(
                        overruns = self.status.lost_count + 1;
                        "changes made in one step were more than the change feed holds: a checkpoint is written"
                    );
                    self.status.lost_count += 1;
                    self.fall(Why::Lost, now);
                    return;
                }
            }
        }
    }

    fn drop_large(&mut self, store: &mut Store) {
        if let Some((large, _)) = self.large.take() {
            large.release(store);
        }
    }

    /// Makes a request of what is collected.
    fn seal_filling(&mut self) {
        let Some(mut buffer) = self.filling.take() else { return };
        if buffer.is_empty() {
            self.free.push(buffer);
            return;
        }
        if !self.in_group && self.large.is_none() {
            buffer.head.flags |= FLAG_COMMIT;
        }
        let sync = self.config.durability == Durability::Always && !mutant::is_on(Mutant::ReplyBeforeSync);
        self.is_unsynced = !sync;
        self.appends += 1;
        self.requests.push_back(Request::Append { buffer, sync });
    }

    /// Hands over what was collected, if the disk has nothing else of it to do: so frames grow with the load.
    fn hand_over(&mut self, now: Millis) {
        let waits_ms = if self.config.durability == Durability::Always { 0 } else { HAND_OVER_MS };
        if self.appends == 0 && self.is_filled() && now >= self.filling_since.plus(waits_ms) {
            self.seal_filling();
        }
    }

    fn sync_if_due(&mut self, now: Millis) {
        let is_second = self.config.durability == Durability::Everysec && now >= self.synced_at.plus(SYNC_MS);
        // Everything is on its way, and whole groups of it.
        let is_wanted = self.is_sync_wanted && self.is_drained && !self.in_group;
        // A sync that takes longer than a second is followed by the next one, not overtaken by it.
        if self.others > 0 || !is_second && !is_wanted {
            return;
        }
        if is_wanted {
            self.seal_filling();
            self.is_sync_wanted = false;
        }
        if self.is_unsynced {
            self.is_unsynced = false;
            self.synced_at = now;
            self.push(Request::Sync);
        }
    }

    /// Gives the disk a request that has no buffer.
    fn push(&mut self, request: Request) {
        self.others += 1;
        self.requests.push_back(request);
    }

    /// Begins another file; its number.
    fn begin_file(&mut self, store: &Store, flags: u32) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        let header = self.header(FileKind::Journal, number, (flags, store.revision()));
        self.push(Request::Rotate { header });
        number
    }

    fn header(&self, kind: FileKind, number: u64, (flags, first_revision): (u32, Revision)) -> FileHeader {
        let kind_bit = u64::from(kind == FileKind::Checkpoint);
        let salt = mix(self.config.salt_seed ^ mix(number << 1 | kind_bit));
        FileHeader { kind, flags, number, salt, first_revision, previous_len: 0, previous_crc: 0 }
    }

    /// Nothing more goes to the file that is open.
    fn fall(&mut self, why: Why, now: Millis) {
        if let Some(mut buffer) = self.filling.take() {
            buffer.clear();
            self.free.push(buffer);
        }
        let retry_at = if why == Why::Lost { now } else { now.plus(RETRY_MS) };
        // A disk that fails outweighs a feed that went by.
        let is_failure = matches!(
            self.state,
            State::Broken { why: Why::Failure, .. } | State::Mending { why: Why::Failure }
        );
        let why = if is_failure { Why::Failure } else { why };
        self.state = State::Broken { why, retry_at };
        self.is_unsynced = false;
        self.is_drained = false;
    }

    /// Begins a new file, and the checkpoint that it is built on.
    fn mend(&mut self, store: &mut Store, why: Why, now: Now) {
        store.feed_restart(&self.cursor);
        (self.in_group, self.is_drained) = (false, true);
        self.state = State::Mending { why };
        self.begin_checkpoint(store, FLAG_GAP, now);
    }

    /// From here on the journal is in another file, and the checkpoint is to have everything before it.
    fn begin_checkpoint(&mut self, store: &mut Store, flags: u32, now: Now) {
        let number = self.begin_file(store, flags);
        let header = self.header(FileKind::Checkpoint, number, (0, store.revision()));
        self.push(Request::Begin { header });
        self.checkpoint.begin(store, number, now.monotonic);
        self.checkpoint_revision = store.revision();
        self.status.checkpoint_began(now.unix);
        let journal_bytes = self.status.journal_bytes;
        log::info!(checkpoint = number, journal_bytes; "checkpoint {number} begins; journal: {journal_bytes} bytes");
    }

    fn drive_checkpoint(&mut self, store: &mut Store, now: Now) {
        let is_running = self.state == State::Running;
        if is_running && self.status.journal_bytes > self.bytes_wanted() {
            self.checkpoint.request_later();
        }
        match self.checkpoint.drive(store, now.monotonic, &mut self.requests) {
            Drive::Nothing => {}
            Drive::MayBegin if is_running && self.is_drained => {
                self.seal_filling();
                self.begin_checkpoint(store, 0, now);
            }
            Drive::MayPublish(number) if self.is_drained || mutant::is_on(Mutant::CheckpointOutruns) => {
                // Everything that the walk has seen goes before it.
                if !mutant::is_on(Mutant::CheckpointOutruns) {
                    self.seal_filling();
                }
                self.checkpoint.publishing();
                self.push(Request::Publish {
                    manifest: Manifest { checkpoint: Some(number), journal: number },
                });
            }
            Drive::MayBegin | Drive::MayPublish(_) => {}
        }
    }

    /// Bytes of the journal at which a checkpoint is worth its writing.
    fn bytes_wanted(&self) -> u64 {
        self.config.journal_bytes_max.max(self.status.checkpoint_bytes / 2)
    }

    /// Hands everything over and asks for its end; nothing may change afterwards. Call until it is true, with the reports
    /// that come meanwhile.
    pub fn stop(&mut self, store: &mut Store, now: Now) -> bool {
        if self.state != State::Running {
            return true;
        }
        self.collect(store, now.monotonic);
        if !self.is_drained {
            return false;
        }
        self.seal_filling();
        self.push(Request::Stop);
        true
    }

    /// Whether the journal's end is durable.
    pub fn has_stopped(&self) -> bool {
        self.has_stopped
    }

    /// Whether the disk has nothing to do any more.
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.appends + self.others == 0 && !self.checkpoint.has_writes()
    }
}

/// SplitMix64's finisher (Steele, Lea, Flood 2014).
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
