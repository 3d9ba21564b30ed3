//! What becomes of requests to the disk, and what follows from a failure.

use super::{Journal, State, Why};
use crate::journal::request::{DiskError, Report, RequestKind};
use crate::store::Store;
use crate::time::Now;

impl Journal {
    /// What became of a request.
    pub fn handle(&mut self, report: Report, store: &mut Store, now: Now) {
        let Report { kind, buffer, durable, written_len, result } = report;
        match kind {
            RequestKind::Append => {
                self.appends -= 1;
                self.free.extend(buffer);
                self.status.journal_bytes += written_len;
            }
            RequestKind::AppendCheckpoint => self.checkpoint.returned(buffer, written_len),
            RequestKind::Rotate => {
                self.others -= 1;
                self.rotated_bytes = self.status.journal_bytes;
                self.status.journal_bytes += written_len;
            }
            _ => self.others -= 1,
        }
        self.has_stopped |= kind == RequestKind::Stop && result.is_ok();
        if let Err(error) = result {
            self.failed(kind, &error, store, now);
        } else if kind == RequestKind::Publish && self.checkpoint.is_publishing() {
            self.published(now);
        }
        if self.state == State::Running {
            self.durable = self.durable.max(durable.unwrap_or_default());
        }
    }

    fn published(&mut self, now: Now) {
        self.status.checkpoint_bytes = self.checkpoint.written_bytes();
        self.status.journal_bytes -= self.rotated_bytes;
        let ms = self.checkpoint.end(now.monotonic);
        self.status.checkpoint_ended(true, now.unix);
        self.status.saved_revision = self.checkpoint_revision;
        let checkpoint_bytes = self.status.checkpoint_bytes;
        log::info!(checkpoint_bytes, ms; "checkpoint is durable: {checkpoint_bytes} bytes in {ms} ms");
        if let State::Mending { .. } = self.state {
            self.state = State::Running;
            self.status.last_error = None;
            log::warn!("the journal is whole again");
        }
    }

    fn failed(&mut self, kind: RequestKind, error: &DiskError, store: &mut Store, now: Now) {
        let concerns_checkpoint = matches!(kind, RequestKind::Begin | RequestKind::AppendCheckpoint);
        if concerns_checkpoint && !self.checkpoint.is_under_way() {
            return;
        }
        let is_known = matches!(self.state, State::Broken { .. });
        if !is_known {
            let DiskError { doing, error: why } = error;
            log::error!(doing, error:% = why; "{doing} failed: {why}");
            self.status.fail(error);
        }
        if self.checkpoint.is_under_way() {
            self.checkpoint.abandon(store, now.monotonic);
            self.status.checkpoint_ended(false, now.unix);
        }
        // A checkpoint that fails is no more than that, unless the journal waits for it.
        if !concerns_checkpoint || matches!(self.state, State::Mending { .. }) {
            self.fall(Why::Failure, now.monotonic);
        }
    }
}
