//! Cleaning: the records of a victim that still live move to open segments, and the victim falls free.
//!
//! ```text
//!  victim:  | live | dead | expired | flushed | live |        one step: up to 64 records, or an eighth of a segment moved
//!              |               |         |       |
//!              v             expire    forget    v
//!  open:    ...| live |                      | live | ...
//! ```
//! The victim is the sealed segment with the most dead bytes; one is cleaned at a time, and a victim's records fit in one
//! segment, so a reserve of one is enough.

use super::index::Address;
use super::pool::SegmentId;
use super::record::{self, Content, Record};
use super::segments::{MOVED, Queue};
use super::{OnFull, Store, address, expiry::Departure, split};
use crate::mutation::{LargeId, Mutation, Revision};
use crate::time::Millis;

/// Records that one step looks at, at most.
const STEP_RECORDS: usize = 64;
/// What looking at a record costs, in bytes moved.
const RECORD_COST: usize = 16;

/// The segment whose records are being moved out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Victim {
    pub segment: SegmentId,
    pub offset: usize,
    /// Whether records that are little used are evicted rather than moved.
    pub evict: bool,
}

/// The parts of a record that outlive a look at it.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub space: usize,
    pub size: usize,
    pub dead: bool,
    pub revision: Revision,
    pub expiry: Option<Millis>,
    pub large: Option<LargeId>,
}

impl Facts {
    pub fn of(record: &Record<'_>) -> Facts {
        let large = match record.content {
            Content::Inline(_) => None,
            Content::Large(id) => Some(id),
        };
        Facts {
            space: usize::from(record.space),
            size: record.size(),
            dead: record.dead,
            revision: record.revision,
            expiry: record.expiry,
            large,
        }
    }
}

impl Store {
    /// The record at an offset of a segment.
    pub(super) fn facts(&self, segment: SegmentId, offset: usize) -> Facts {
        Facts::of(&Record::read(&self.pool.bytes(segment)[offset..]))
    }

    /// Whether a record was flushed: it is in no index, and whoever meets it clears it away.
    pub(super) fn flushed(&self, facts: &Facts) -> bool {
        facts.revision <= self.spaces[facts.space].flushed
    }

    /// Counts a record that is now its key's.
    pub(super) fn remember(&mut self, facts: &Facts) {
        let space = &mut self.spaces[facts.space];
        space.live += facts.size as u64;
        if let Some(expiry) = facts.expiry {
            space.expiring += 1;
            space.expiry_sum += u128::from(expiry.0);
        }
    }

    /// Takes back what `remember` counted.
    pub(super) fn forget(&mut self, facts: &Facts) {
        if self.flushed(facts) {
            self.condemned -= facts.size as u64;
            return;
        }
        let space = &mut self.spaces[facts.space];
        space.live -= facts.size as u64;
        if let Some(expiry) = facts.expiry {
            space.expiring -= 1;
            space.expiry_sum -= u128::from(expiry.0);
        }
    }

    /// A record's bytes are of no use any more.
    pub(super) fn bury(&mut self, segment: SegmentId, offset: usize, size: usize) {
        record::mark_dead(&mut self.pool.bytes_mut(segment)[offset..]);
        if self.table.died(segment, size) {
            self.free_segment(segment);
        }
    }

    /// A record that is in no index (any more) dies, and so may its large value.
    pub(super) fn kill(&mut self, segment: SegmentId, offset: usize) {
        let facts = self.facts(segment, offset);
        self.forget(&facts);
        self.bury(segment, offset, facts.size);
        if let Some(id) = facts.large {
            self.larges.release(id, &mut self.pool, &mut self.table);
        }
    }

    /// Takes a key out of its index, tells why, and kills its record.
    pub(super) fn depart(&mut self, at: Address, why: Departure) -> Revision {
        let revision = self.draw();
        self.moves += 1;
        let (segment, offset) = split(&self.pool, at);
        let record = Record::read(&self.pool.bytes(segment)[offset..]);
        let (db, key) = (self.database_of(record.space), record.key);
        let mutation = match why {
            Departure::Expired => Mutation::Expire { db, key },
            Departure::Evicted => Mutation::Evict { db, key },
            Departure::Deleted => Mutation::Delete { db, key },
        };
        let index = &mut self.spaces[usize::from(record.space)].index;
        let hash = self.hasher.hash(key);
        let was_there = index.remove(&mut self.leaves, hash, at);
        assert!(was_there, "a record that lives is in its index");
        self.departures.note(hash, revision);
        if let Some(listener) = &mut self.listener {
            listener(&mutation, revision);
        }
        match why {
            Departure::Expired => self.counters.expired += 1,
            Departure::Evicted => self.counters.evicted += 1,
            Departure::Deleted => {}
        }
        self.kill(segment, offset);
        revision
    }

    /// Goes on cleaning, or begins with a segment of which at least `dead_steps` thirty-seconds are dead. Returns what it
    /// cost, in bytes; `None`: nothing to clean.
    pub(super) fn clean_step(&mut self, now: Millis, dead_steps: usize) -> Option<usize> {
        if self.victim.is_none() {
            let segment = self.table.deadest(dead_steps)?;
            self.victim = Some(Victim { segment, offset: 0, evict: false });
        }
        self.victim_step(now)
    }

    /// Looks at the victim's next records. `None`: they could not be moved.
    pub(super) fn victim_step(&mut self, now: Millis) -> Option<usize> {
        let victim = self.victim?;
        let (hashes, count) = self.look_ahead(&victim);
        let (mut offset, mut cost) = (victim.offset, 0);
        for hash in &hashes[..count] {
            let facts = self.facts(victim.segment, offset);
            cost += RECORD_COST;
            if !facts.dead {
                cost += self.settle_record(&victim, offset, (&facts, *hash), now)?;
            }
            offset += facts.size;
            let Some(victim) = &mut self.victim else {
                // The last record that lived has left, and the segment is free.
                self.counters.cleaned_segments += 1;
                break;
            };
            victim.offset = offset;
        }
        Some(cost)
    }

    /// Hashes the keys of the records of one step, and says how many they are. Looks them up too, for no other reason than that these look-ups do not wait for
    /// one another, so that memory is asked for many of the index's lines at once; one by one they would take most of
    /// the time of cleaning.
    fn look_ahead(&self, victim: &Victim) -> ([u64; STEP_RECORDS], usize) {
        let (mut hashes, mut offset, mut moved) = ([0; STEP_RECORDS], victim.offset, 0);
        let used = self.table.get(victim.segment).used as usize;
        let bytes = self.pool.bytes(victim.segment);
        let mut ahead = [(0, 0, 0); STEP_RECORDS];
        let (mut count, mut seen) = (0, 0);
        for hash in &mut hashes {
            if offset >= used || moved >= self.config.segment_bytes / 8 {
                break;
            }
            let record = Record::read(&bytes[offset..]);
            let facts = Facts::of(&record);
            if !facts.dead && !self.flushed(&facts) {
                *hash = self.hasher.hash(record.key);
                ahead[count] = (facts.space, *hash, offset);
                count += 1;
                moved += facts.size;
            }
            offset += facts.size;
            seen += 1;
        }
        let is_there = |(space, hash, offset): &(usize, u64, usize)| {
            let at = address(&self.pool, victim.segment, *offset);
            self.spaces[*space].index.find(&self.leaves, *hash, |found| found == at).is_some()
        };
        let found = ahead[..count].iter().filter(|ahead| is_there(ahead)).count();
        assert!(found == count, "a record that lives is in its index");
        (hashes, seen)
    }

    /// Does with one of the victim's records what is to be done. Returns the bytes moved.
    fn settle_record(
        &mut self,
        victim: &Victim,
        offset: usize,
        (facts, hash): (&Facts, u64),
        now: Millis,
    ) -> Option<usize> {
        if self.flushed(facts) {
            self.kill(victim.segment, offset);
            return Some(0);
        }
        let at = address(&self.pool, victim.segment, offset);
        if facts.expiry.is_some_and(|expiry| expiry <= now) {
            self.depart(at, Departure::Expired);
            return Some(0);
        }
        let class = if victim.evict {
            let Some(class) = self.survives(victim, at, hash, facts) else {
                self.depart(at, Departure::Evicted);
                return Some(0);
            };
            class
        } else if self.config.on_full == OnFull::Evict && self.table.queue_of(victim.segment) == Queue::Main {
            MOVED
        } else if facts.expiry.is_some() || self.config.on_full == OnFull::Evict {
            Store::class_of(facts.expiry, now)
        } else {
            MOVED
        };
        self.relocate(victim.segment, offset, facts, (hash, class))
    }

    /// Moves a record to an open segment. `None`: there is no room.
    fn relocate(
        &mut self,
        from: SegmentId,
        offset: usize,
        facts: &Facts,
        (hash, class): (u64, usize),
    ) -> Option<usize> {
        let to = self.place_moved(class, facts.size)?;
        let target = self.append(to, facts);
        let (source, bytes) = self.pool.pair_mut(from, to);
        bytes[target..target + facts.size].copy_from_slice(&source[offset..offset + facts.size]);
        let (old, new) = (address(&self.pool, from, offset), address(&self.pool, to, target));
        let moved = self.spaces[facts.space].index.replace(&mut self.leaves, hash, old, new);
        assert!(moved, "a record that lives is in its index");
        self.bury(from, offset, facts.size);
        self.moves += 1;
        self.counters.cleaned_bytes += facts.size as u64;
        Some(facts.size)
    }

    /// Takes room for a record in an open segment that has it. Returns its offset.
    pub(super) fn append(&mut self, segment: SegmentId, facts: &Facts) -> usize {
        let offset = self.table.appended(segment, facts.size, facts.expiry.map(|expiry| expiry.0));
        if let Some(expiry) = facts.expiry {
            self.expires(segment, expiry);
        }
        offset
    }
}
