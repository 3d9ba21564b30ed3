//! A store with its journal and its disk, in one life: what is changed, and when the disk works.

use super::{DATABASES, Recorded, Remembered, Start, draw_faults, start};
use crate::journal::worker::Worker;
use crate::journal::{Condition, Durability, Journal, Report, Request, WriteGate};
use crate::mutation::{CollectionKind, Database, FieldExpiry, GroupMark, Mutation, NewValue, Revision};
use crate::random::Random;
use crate::sim::disk::{DiskFaults, SimDisk};
use crate::sim::violation::{Violation, violation};
use crate::store::feed::stored::{self, CopyEnd};
use crate::store::feed::{FeedCursor, WhenBehind};
use crate::store::{LargeCursor, Store};
use crate::time::Now;
use std::collections::VecDeque;

pub(super) struct Rig {
    pub(super) random: Random,
    disk: SimDisk,
    worker: Worker<SimDisk>,
    pub(super) store: Store,
    pub(super) journal: Journal,
    recorder: FeedCursor,
    requests: VecDeque<Request>,
    pub(super) now: Now,
    pub(super) seen: Remembered,
}

impl Rig {
    pub(super) fn start(
        disk: &SimDisk,
        (durability, mut random, now): (Durability, Random, Now),
        history: &mut Vec<Recorded>,
        shown: Revision,
    ) -> Result<Rig, Violation> {
        let Start { mut store, config, predecessor } = start(disk, (durability, &mut random), shown)?;
        let recorder = store.feed_open(WhenBehind::Missed).expect("there is a feed");
        let journal = Journal::new(config, &mut store, now).expect("there is a feed");
        let worker = Worker::new(disk.clone(), predecessor);
        let (requests, seen) = (VecDeque::new(), Remembered::default());
        let mut rig =
            Rig { random, disk: disk.clone(), worker, store, journal, recorder, requests, now, seen };
        // A server begins its file before it serves.
        rig.pull_requests();
        while !rig.requests.is_empty() {
            rig.work();
        }
        rig.record(history);
        Ok(rig)
    }

    pub(super) fn draw_faults(&mut self) {
        self.disk.set_faults(draw_faults(&mut self.random));
    }

    /// One turn of the loop, and some of the disk's work.
    pub(super) fn turn(&mut self, history: &mut Vec<Recorded>) -> Result<(), Violation> {
        if self.journal.gate(&self.store) == WriteGate::Open {
            for _ in 0..self.random.below(12) {
                self.change();
                self.record(history);
            }
        }
        if self.random.below(40) == 0 {
            self.journal.request_checkpoint();
        }
        self.advance();
        self.journal.turn(&mut self.store, self.now);
        self.pull_requests();
        for _ in 0..self.random.below(5) {
            self.work();
        }
        self.record(history);
        self.store.invariants();
        if self.journal.durable() > self.store.revision() {
            return Err(violation(b"", "more is durable than there is"));
        }
        Ok(())
    }

    fn advance(&mut self) {
        let ms = [0, 1, 10, 700][self.random.below(4)];
        (self.now.monotonic, self.now.unix) = (self.now.monotonic.plus(ms), self.now.unix.plus(ms));
    }

    fn pull_requests(&mut self) {
        while let Some(request) = self.journal.pop_request() {
            self.requests.push_back(request);
        }
        assert!(self.requests.len() <= crate::journal::REQUESTS_MAX, "the channel is long enough");
    }

    fn work(&mut self) {
        if let Some(request) = self.requests.pop_front() {
            let report: Report = self.worker.handle(request);
            self.journal.handle(report, &mut self.store, self.now);
        }
    }

    /// With a disk that works again, everything becomes durable by itself.
    pub(super) fn comes_back(&mut self, history: &mut Vec<Recorded>) -> Result<(), Violation> {
        self.disk.set_faults(DiskFaults::default());
        for _ in 0..2_000 {
            (self.now.monotonic, self.now.unix) = (self.now.monotonic.plus(100), self.now.unix.plus(100));
            self.journal.turn(&mut self.store, self.now);
            self.pull_requests();
            while !self.requests.is_empty() {
                self.work();
            }
            self.record(history);
            let status = self.journal.status();
            let is_durable = status.durability == Durability::Os || self.promised() == self.store.revision();
            if self.disk.is_down()
                || status.condition == Condition::Running && is_durable && !status.is_checkpoint_under_way
            {
                return Ok(());
            }
        }
        Err(violation(b"", format!("the journal does not come back: {:?}", self.journal.status())))
    }

    /// What was called durable.
    pub(super) fn promised(&self) -> Revision {
        self.journal.durable()
    }

    /// An orderly end; false: the disk did not let it.
    pub(super) fn stop(&mut self, history: &mut Vec<Recorded>) -> bool {
        self.record(history);
        while !self.journal.stop(&mut self.store, self.now) {
            self.pull_requests();
            self.work();
        }
        self.pull_requests();
        while !self.requests.is_empty() {
            self.work();
        }
        self.journal.status().condition == Condition::Running
            && !self.disk.is_down()
            && self.journal.is_idle()
            && self.journal.has_stopped()
    }

    /// Notes what was published.
    fn record(&mut self, history: &mut Vec<Recorded>) {
        let mut room = vec![0; stored::STORED_BYTES_MAX];
        loop {
            let copied = self.store.feed_copy(&self.recorder, &mut room);
            let mut rest = &room[..copied.len];
            while let Some(measure) = stored::measure(rest) {
                let (entry, behind) = rest.split_at(measure.len);
                let ends_group = matches!(measure.group, GroupMark::Alone | GroupMark::Last);
                let large = None;
                history.push(Recorded {
                    revision: measure.revision,
                    ends_group,
                    entry: entry.to_vec(),
                    large,
                });
                rest = behind;
            }
            match copied.end {
                CopyEnd::Large { value, .. } => {
                    let mut bytes = Vec::new();
                    let mut cursor = LargeCursor::new(value.id(), 0);
                    loop {
                        let piece = self.store.large_slice(&mut cursor);
                        if piece.is_empty() {
                            break;
                        }
                        bytes.extend_from_slice(piece);
                        cursor.advance(piece.len());
                    }
                    history.last_mut().expect("its entry").large = Some(bytes);
                    self.store.large_release(value);
                }
                CopyEnd::NoRoom => {}
                CopyEnd::End => return,
                CopyEnd::Lost => unreachable!("the recorder reads after each change"),
            }
        }
    }

    fn change(&mut self) {
        if self.random.below(8) > 0 {
            return self.mutate();
        }
        self.store.begin_group();
        for _ in 0..self.random.below(6) {
            self.mutate();
        }
        self.store.end_group();
    }

    fn mutate(&mut self) {
        let random = &mut self.random;
        let name = |random: &mut Random| match random.below(4) {
            0 => format!("hash {}", random.below(6)).into_bytes(),
            _ => format!("key {}", random.below(60)).into_bytes(),
        };
        let (key, other) = (name(random), name(random));
        // Few and short ones: a hash in pages is not among what the feed writes out when it is renamed or copied.
        let hash = format!("hash {}", random.below(6)).into_bytes();
        let field = format!("field {}", random.below(20)).into_bytes();
        let (hash, field) = (&hash[..], &field[..]);
        let keeps = random.below(4) == 0;
        let db = Database(random.below(DATABASES.into()) as u8);
        let other_db = Database(random.below(DATABASES.into()) as u8);
        let expiry = (random.below(4) == 0).then(|| self.now.unix.plus(random.below(5_000) as u64));
        let len = [0, 10, 100, 1_000, 8_000, 30_000, 150_000][random.below(7)];
        let value = vec![random.next() as u8; len];
        let key = &key[..];
        let short = NewValue::Bytes(&value[..value.len().min(100)]);
        let mutation = match random.below(52) {
            0..16 => Mutation::Put { db, key, value: NewValue::Bytes(&value), expiry },
            16..22 => Mutation::Delete { db, key },
            22..26 => Mutation::SetExpiry { db, key, expiry },
            26..30 => {
                let offset = random.below(200) as u64;
                let bytes = &value[..value.len().min(500)];
                Mutation::Write { db, key, offset, bytes }
            }
            30..34 => Mutation::Rename { db, from: key, to_db: other_db, to: &other },
            34..37 => Mutation::Copy { db, from: key, to_db: other_db, to: &other },
            37..39 => Mutation::Swap { a: db, b: other_db },
            39 => Mutation::Flush { db: (random.below(2) == 0).then_some(db) },
            40..46 => {
                let expiry = if keeps { FieldExpiry::Keep } else { FieldExpiry::Set(expiry) };
                Mutation::PutTimedField { db, key: hash, field, value: short, expiry }
            }
            46..49 => Mutation::RemoveField { db, key: hash, kind: CollectionKind::Hash, field },
            _ => Mutation::SetFieldExpiry { db, key: hash, field, expiry },
        };
        // A full store refuses; that is no concern of the journal.
        let _ = self.store.apply(&mutation, self.now.unix);
    }
}
