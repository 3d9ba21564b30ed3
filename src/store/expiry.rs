//! Expiry without access: a sweep goes round the table of segments and walks those that are due.
//!
//! ```text
//!  table:   seg 0   seg 1   seg 2   seg 3 ...      a row knows the earliest and the latest expiry of its records
//!                     ^ due: walked, up to 64 records a step, and the bounds are drawn again
//! ```
//! What is said here of a record's expiry is also said of the earliest time of a field in it
//! ([`field_expiry`](super::field_expiry)).
//!
//! A round begins when the earliest segment is due, or when a flush left records behind; it ends with the time at which
//! the next one will be. A record is removed about a second after its time. Before a write is refused, a round walks
//! every segment in which anything has expired. Records with similar times to live lie together (classes), so most of a due segment goes at once.

use super::clean::RecordMeta;
use super::field_expiry::Swept;
use super::index::Address;
use super::pool::SegmentId;
use super::segments::State;
use super::{RemovalPolicy, Store, address, bytes_at, record};
use crate::mutation::{Database, RemoveReason};
use crate::time::Millis;

/// Rows that one step looks at, at most.
const STEP_ROWS: usize = 64;
/// Records that one step looks at, at most.
const STEP_RECORDS: usize = 64;

/// Where the sweep is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// A round is under way.
    active: bool,
    /// It walks every segment in which anything has expired, due or not: memory is short.
    urgent: bool,
    segment: u32,
    /// Within the segment; 0: its walk has not begun.
    offset: usize,
    /// Bounds of the expiries seen in this walk, and added behind its back.
    min: u64,
    max: u64,
    /// In this walk, fields that are due were left to a later round: their key is being changed.
    put_off: bool,
    /// When a segment is due again, as far as this round has come and writes since have said.
    next_due: u64,
    /// No record expires before this, as the last round has left it and writes since have said.
    earliest: u64,
    /// The same, as far as this round has come.
    next_earliest: u64,
}

impl Default for Sweep {
    fn default() -> Sweep {
        Sweep {
            active: false,
            urgent: false,
            segment: 0,
            offset: 0,
            min: u64::MAX,
            max: 0,
            put_off: false,
            next_due: u64::MAX,
            earliest: u64::MAX,
            next_earliest: u64::MAX,
        }
    }
}

impl Sweep {
    /// When something may be due.
    pub fn hint(&self) -> Option<Millis> {
        match (self.active, self.next_due) {
            (true, _) => Some(Millis(0)),
            (false, u64::MAX) => None,
            (false, due) => Some(Millis(due)),
        }
    }

    /// A segment is free: a walk over it is over.
    pub fn uncharge(&mut self, id: SegmentId) {
        if self.segment == id.0 {
            self.offset = 0;
        }
    }
}

impl Store {
    /// A record of the segment has this expiry.
    pub(super) fn expires(&mut self, segment: SegmentId, expiry: Millis) {
        let due = self.table.expires(segment, expiry.0);
        let sweep = &mut self.sweep;
        sweep.next_due = sweep.next_due.min(due);
        sweep.earliest = sweep.earliest.min(expiry.0);
        sweep.next_earliest = sweep.next_earliest.min(expiry.0);
        if sweep.segment == segment.0 {
            sweep.min = sweep.min.min(expiry.0);
            sweep.max = sweep.max.max(expiry.0);
        }
    }

    /// Removes a key whose time has passed, unless another store says when it goes ([`RemovalPolicy::Follow`]). True: it
    /// was there and is gone.
    pub fn expire_if_due(&mut self, db: Database, key: &[u8], now: Millis) -> bool {
        let found = self.locate(self.space(db), self.hasher.hash(key), key);
        let due = found.filter(|at| self.expires_by_itself(*at, now));
        if let Some(at) = due {
            self.remove_record(at, RemoveReason::Expired);
        }
        due.is_some()
    }

    pub(super) fn expires_by_itself(&self, at: Address, now: Millis) -> bool {
        self.removal_policy == RemovalPolicy::Own && record::expired(bytes_at(&self.pool, at), now)
    }

    pub(super) fn sweep_is_due(&self, now: Millis) -> bool {
        let expires = self.removal_policy == RemovalPolicy::Own;
        self.sweep.active || self.pending_free_bytes > 0 || expires && self.sweep.next_due <= now.0
    }

    /// Goes on with a round over all that has expired, due or not, or begins one. False: nothing in the store has
    /// expired.
    pub(super) fn sweep_expired(&mut self, now: Millis) -> bool {
        if !self.sweep.urgent {
            if self.removal_policy == RemovalPolicy::Follow || self.sweep.earliest > now.0 {
                return false;
            }
            let earliest = self.sweep.earliest;
            self.sweep = Sweep { active: true, urgent: true, earliest, ..Sweep::default() };
        }
        self.sweep_step(now)
    }

    /// Goes on with the round, or begins one if something is due. False: nothing is.
    pub(super) fn sweep_step(&mut self, now: Millis) -> bool {
        if !self.sweep_is_due(now) {
            return false;
        }
        if !self.sweep.active {
            self.sweep = Sweep { active: true, earliest: self.sweep.earliest, ..Sweep::default() };
        }
        for _ in 0..STEP_ROWS {
            if self.sweep.offset > 0 {
                self.walk_step(now);
                return true;
            }
            if self.sweep.segment >= self.table.len() {
                let sweep = &mut self.sweep;
                (sweep.active, sweep.urgent, sweep.earliest) = (false, false, sweep.next_earliest);
                return true;
            }
            let id = SegmentId(self.sweep.segment);
            let (row, due) = (self.table.get(id), self.table.due(id));
            let holds = matches!(row.state, State::Open | State::Sealed);
            let first = if row.min_expiry > row.max_expiry { u64::MAX } else { row.min_expiry };
            let walks = due <= now.0 || self.sweep.urgent && first <= now.0;
            if holds && row.used > 0 && (self.pending_free_bytes > 0 || walks) {
                (self.sweep.min, self.sweep.max, self.sweep.put_off) = (u64::MAX, 0, false);
                self.walk_step(now);
                return true;
            }
            if holds {
                self.sweep.next_due = self.sweep.next_due.min(due);
                self.sweep.next_earliest = self.sweep.next_earliest.min(first);
            }
            self.sweep.segment += 1;
        }
        true
    }

    /// Notes when a record that stays is due, and removes some of its fields if it is.
    fn sweep_fields(&mut self, id: SegmentId, offset: usize, meta: &RecordMeta, now: Millis) {
        let mut fields_due = meta.fields_due;
        let is_due = fields_due.is_some_and(|due| due <= now) && self.removal_policy == RemovalPolicy::Own;
        let at = address(&self.pool, id, offset);
        if is_due && self.is_changing(at, meta) {
            self.sweep.put_off = true;
        } else if is_due {
            match self.expire_fields(at, now) {
                Swept::Gone => return,
                Swept::More => {
                    self.table.expires(id, now.0);
                    self.sweep.offset = offset;
                    return;
                }
                Swept::Until(due) => fields_due = due,
            }
            // The segment knew of the earliest time only. Its bounds hold before the walk is at its end, too.
            if let Some(due) = fields_due {
                self.table.expires(id, due.0);
            }
        }
        for time in meta.expiry.into_iter().chain(fields_due) {
            self.sweep.min = self.sweep.min.min(time.0);
            self.sweep.max = self.sweep.max.max(time.0);
        }
    }

    /// Whether the record is that of the key for whose change room is made.
    fn is_changing(&self, at: Address, meta: &RecordMeta) -> bool {
        let key = self.record(at).key;
        self.protected.is_some_and(|protected| protected == (meta.space, self.hasher.hash(key)))
    }

    /// Looks at the next records of the segment where the sweep is.
    fn walk_step(&mut self, now: Millis) {
        let id = SegmentId(self.sweep.segment);
        for _ in 0..STEP_RECORDS {
            let offset = self.sweep.offset;
            if offset >= self.table.get(id).used as usize {
                break;
            }
            let meta = self.meta(id, offset);
            self.sweep.offset = offset + meta.size;
            if meta.dead {
                continue;
            }
            if self.flushed(&meta) {
                self.free_record(id, offset);
            } else if self.is_due(&meta, now) {
                self.remove_record(address(&self.pool, id, offset), RemoveReason::Expired);
            } else {
                self.sweep_fields(id, offset, &meta, now);
            }
            if self.sweep.offset == offset {
                // There is more to do here, in the next step.
                return;
            }
            if self.sweep.offset == 0 {
                // The last record has left and the segment is free.
                self.sweep.segment += 1;
                return;
            }
        }
        if self.sweep.offset >= self.table.get(id).used as usize {
            self.table.expiry_bounds(id, self.sweep.min, self.sweep.max);
            let (mut due, mut earliest) = (self.table.due(id), self.sweep.min);
            if std::mem::take(&mut self.sweep.put_off) {
                // No other round is worth it before the change is made.
                (due, earliest) = (due.max(now.0 + 1), earliest.max(now.0 + 1));
            }
            self.sweep.next_due = self.sweep.next_due.min(due);
            self.sweep.next_earliest = self.sweep.next_earliest.min(earliest);
            self.sweep.segment += 1;
            self.sweep.offset = 0;
        }
    }
}
