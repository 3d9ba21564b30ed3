//! What a server remembers over a restart: a journal of every change, checkpoints of the whole store, and the way back.
//!
//! ```text
//!   Store ─▶ feed ─cursor─▶ Journal ══buffers══▶ Worker ─▶ Storage: files of a data directory
//!                            │  ▲                  │
//!     replies that wait ◀────┘  └════reports═══════┘        the Worker has a thread of its own; nothing else has
//!
//!   a start:  MANIFEST ─▶ checkpoint-12 ─▶ journal-12 ─▶ journal-13 ─▶ (end) ─▶ Store
//! ```
//! The loop never waits for a disk. At the end of a turn [`Journal::turn`] copies the feed's entries into buffers, and
//! hands full ones (or, when the disk has nothing to do, any) over as [`Request`]s; what became of them comes back as
//! [`Report`]s. The module does no I/O and reads no clock: [`Storage`] is a trait, which `net` implements with files and
//! tests with a disk that loses, tears and refuses.
//!
//! # What is on the disk
//!
//! | file | what it is |
//! |---|---|
//! | `LOCK` | locked by the server that uses the directory |
//! | `MANIFEST` | where a start begins: see [`manifest`] |
//! | `journal-N` | changes, in frames: see [`frame`]; the last one grows |
//! | `checkpoint-N` | every key at the beginning of `journal-N`, and some changes since |
//! | `*.new` | not whole yet; a start removes them |
//!
//! # Promises, and what they rest on
//!
//! **A frame is one write of changes that ended together.** Sectors that were not synced survive a crash in any order, so a
//! whole frame behind a damaged one proves nothing by itself. Each frame says how much of the file was durable when it
//! was written. A damaged frame before that mark is corruption, and stops the start; one behind every mark was never
//! promised to anyone: the journal is cut there ([`reader`]). A sector is taken to be written from its beginning on, so
//! that bytes in it that were durable before stay when it is written again.
//!
//! **A checkpoint is not a picture of one moment.** It is a scan by hash cursor, some keys in each turn, while changes go
//! on. Changes apply by revision ([`Store::apply_at`](crate::store::Store::apply_at)): so the checkpoint and then the
//! journal since its beginning give what the store had, however both overlap. It is published only when the journal is
//! durable up to the end of the scan.
//!
//! **Revisions do not come twice.** What was shown and not yet durable may be lost, so a start takes its revisions from
//! [`REVISION_GAP`] above the highest one that it found; each file's header, which is durable before anything is written
//! behind it, bounds how far above it the revisions in it can be.
//!
//! **A failed write or sync ends a file.** The system may have dropped what it could not write, and says so once. So the
//! file is never written or synced again. Writes are refused, reads go on; a new file and a fresh checkpoint, tried once a
//! second, bring it back. A start that finds such a file writes what it has read, and was not known to be durable, once more:
//! it may be in the page cache alone, and another sync would write nothing.

mod checkpoint;
pub mod frame;
mod loader;
pub mod manifest;
pub mod reader;
pub mod recovery;
pub mod request;
mod scan;
pub mod status;
pub mod storage;
pub mod worker;
mod writer;

pub use request::{Report, Request};
pub use status::{Condition, Durability, JournalStatus, WriteGate};
pub use writer::{BUFFER_COUNT, CHECKPOINT_BUFFER_COUNT, Journal, JournalConfig, REQUESTS_MAX};

/// Revisions that a start leaves out: more than one file of the journal, with all that waits for it, has changes. 2^48
/// revisions are enough for a million starts, and two years of two million writes a second besides.
pub const REVISION_GAP: u64 = 1 << 28;
