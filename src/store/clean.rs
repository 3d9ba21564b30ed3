//! Cleaning: the records of a victim that still live move to open segments, and the victim falls free.
//!
//! ```text
//!  victim:  | live | dead | expired | flushed | live |        one step: up to 64 records, or an eighth of a segment moved
//!              |               |         |       |
//!              v             expire   uncharge   v
//!  open:    ...| live |                      | live | ...
//! ```
//! The victim is the sealed segment with the most dead bytes; one is cleaned at a time, and a victim's records fit in one
//! segment, so a reserve of one is enough.

use super::collection::{Collection, Referenced};
use super::feed::{self, entry};
use super::index::Address;
use super::pool::SegmentId;
use super::record::{self, Content, Record};
use super::segments::{MOVED, Queue};
use super::{OnFull, RemovalPolicy, Store, address, split};
use crate::mutation::{Effect, KeyspaceId, LargeId, RemoveReason, Revision};
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
pub(super) struct RecordMeta {
    pub space: usize,
    pub size: usize,
    pub dead: bool,
    pub revision: Revision,
    pub expiry: Option<Millis>,
    /// When fields of the hash in it may have expired.
    pub fields_due: Option<Millis>,
    pub held: Referenced,
}

impl RecordMeta {
    pub fn of(record: &Record<'_>) -> RecordMeta {
        let (held, fields_due) = Referenced::of_content(record.content);
        RecordMeta {
            space: usize::from(record.space),
            size: record.size(),
            dead: record.dead,
            revision: record.revision,
            expiry: record.expiry,
            fields_due,
            held,
        }
    }

    /// When the sweep has something to do with it.
    pub fn times(&self) -> impl Iterator<Item = Millis> + use<> {
        self.expiry.into_iter().chain(self.fields_due)
    }
}

impl Store {
    /// The record at an offset of a segment.
    pub(super) fn meta(&self, segment: SegmentId, offset: usize) -> RecordMeta {
        RecordMeta::of(&Record::read(&self.pool.bytes(segment)[offset..]))
    }

    /// Whether a record is to go because its time has passed.
    pub(super) fn is_due(&self, meta: &RecordMeta, now: Millis) -> bool {
        self.removal_policy == RemovalPolicy::Own && meta.expiry.is_some_and(|expiry| expiry <= now)
    }

    /// Whether a record was flushed: it is in no index, and a walk that meets it clears it away.
    pub(super) fn flushed(&self, meta: &RecordMeta) -> bool {
        meta.revision <= self.keyspaces[meta.space].flushed
    }

    /// Counts a record that is now its key's.
    pub(super) fn charge(&mut self, meta: &RecordMeta) {
        let space = &mut self.keyspaces[meta.space];
        space.live += meta.size as u64;
        if let Some(expiry) = meta.expiry {
            space.expiring += 1;
            space.expiry_sum += u128::from(expiry.0);
        }
    }

    /// Takes back what `charge` counted.
    pub(super) fn uncharge(&mut self, meta: &RecordMeta) {
        if self.flushed(meta) {
            self.pending_free_bytes -= meta.size as u64;
            return;
        }
        let space = &mut self.keyspaces[meta.space];
        space.live -= meta.size as u64;
        if let Some(expiry) = meta.expiry {
            space.expiring -= 1;
            space.expiry_sum -= u128::from(expiry.0);
        }
    }

    /// A record's bytes are of no use any more.
    pub(super) fn mark_record_dead(&mut self, segment: SegmentId, offset: usize, size: usize) {
        record::mark_dead(&mut self.pool.bytes_mut(segment)[offset..]);
        if self.table.died(segment, size) {
            self.free_segment(segment);
        }
    }

    /// A record that is in no index (any more) dies, and so may its large value or its pages.
    pub(super) fn free_record(&mut self, segment: SegmentId, offset: usize) {
        let meta = self.meta(segment, offset);
        self.uncharge(&meta);
        self.release_held(meta.held, (segment, offset));
        self.mark_record_dead(segment, offset, meta.size);
    }

    /// Drops the references of the record at this place, which is still as it was.
    pub(super) fn release_held(&mut self, held: Referenced, at: (SegmentId, usize)) {
        match held {
            Referenced::Nothing => {}
            Referenced::Large(id) => self.larges.detach(id, &mut self.pool, &mut self.table),
            Referenced::Root(root) => self.release_root(root),
            Referenced::PackedLarges => {
                let mut index = 0;
                while let Some(id) = self.packed_large(at, index) {
                    self.larges.detach(id, &mut self.pool, &mut self.table);
                    index += 1;
                }
            }
        }
    }

    /// One of the large values of the short collection in a record.
    fn packed_large(&self, (segment, offset): (SegmentId, usize), index: usize) -> Option<LargeId> {
        let Content::Collection(bytes) = Record::read(&self.pool.bytes(segment)[offset..]).content else {
            return None;
        };
        let Collection::Packed(packed) = Collection::read(bytes) else { return None };
        packed.entries().flat_map(|entry| entry.larges()).nth(index)
    }

    /// Takes a key out of its index, publishes why, and frees its record.
    pub(super) fn remove_record(&mut self, at: Address, reason: RemoveReason) -> Revision {
        let (segment, offset) = split(&self.pool, at);
        if self.feed.is_on() {
            let key_len = self.record(at).key.len();
            self.feed_room_for(entry::size(key_len, 0), 0);
        }
        let record = Record::read(&self.pool.bytes(segment)[offset..]);
        let effect = Effect::Remove { keyspace: KeyspaceId(record.space), key: record.key, reason };
        let revision = feed::commit((&mut self.revision, &mut self.feed, &mut self.larges), effect);
        match reason {
            RemoveReason::Expired => self.counters.expired += 1,
            RemoveReason::Evicted => self.counters.evicted += 1,
            RemoveReason::Deleted => {}
        }
        self.unlink_record(at);
        revision
    }

    /// Takes a key out of its index and frees its record.
    pub(super) fn unlink_record(&mut self, at: Address) {
        self.layout_epoch += 1;
        let (segment, offset) = split(&self.pool, at);
        let record = Record::read(&self.pool.bytes(segment)[offset..]);
        let (space, hash) = (usize::from(record.space), self.hasher.hash(record.key));
        let was_there = self.keyspaces[space].index.remove(&mut self.leaves, hash, at);
        assert!(was_there, "a record that lives is in its index");
        self.removals.note((space, hash), self.revision);
        self.free_record(segment, offset);
    }

    /// Goes on cleaning, or begins with a segment of which at least `dead_steps` thirty-seconds are dead. Returns what it
    /// cost, in bytes; `None`: nothing to clean.
    pub(super) fn clean_step(&mut self, now: Millis, dead_steps: usize) -> Option<usize> {
        if self.victim.is_none() {
            let segment = self.table.most_garbage(dead_steps)?;
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
            let meta = self.meta(victim.segment, offset);
            cost += RECORD_COST;
            if !meta.dead {
                cost += self.clean_record(&victim, offset, (&meta, *hash), now)?;
            }
            offset += meta.size;
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
            let meta = RecordMeta::of(&record);
            if !meta.dead && !self.flushed(&meta) {
                *hash = self.hasher.hash(record.key);
                ahead[count] = (meta.space, *hash, offset);
                count += 1;
                moved += meta.size;
            }
            offset += meta.size;
            seen += 1;
        }
        let is_there = |(space, hash, offset): &(usize, u64, usize)| {
            let at = address(&self.pool, victim.segment, *offset);
            self.keyspaces[*space].index.find(&self.leaves, *hash, |found| found == at).is_some()
        };
        let found = ahead[..count].iter().filter(|ahead| is_there(ahead)).count();
        assert!(found == count, "a record that lives is in its index");
        (hashes, seen)
    }

    /// Does with one of the victim's records what is to be done. Returns the bytes moved.
    fn clean_record(
        &mut self,
        victim: &Victim,
        offset: usize,
        (meta, hash): (&RecordMeta, u64),
        now: Millis,
    ) -> Option<usize> {
        if self.flushed(meta) {
            self.free_record(victim.segment, offset);
            return Some(0);
        }
        let at = address(&self.pool, victim.segment, offset);
        if self.is_due(meta, now) {
            self.remove_record(at, RemoveReason::Expired);
            return Some(0);
        }
        let class = if victim.evict {
            let Some(class) = self.survives(victim, at, hash, meta) else {
                self.remove_record(at, RemoveReason::Evicted);
                return Some(0);
            };
            class
        } else if self.config.on_full == OnFull::Evict && self.table.queue_of(victim.segment) == Queue::Main {
            MOVED
        } else if meta.expiry.is_some() || self.config.on_full == OnFull::Evict {
            Store::class_of(meta.expiry, now)
        } else {
            MOVED
        };
        self.relocate(victim.segment, offset, meta, (hash, class))
    }

    /// Moves a record to an open segment. `None`: there is no room.
    fn relocate(
        &mut self,
        from: SegmentId,
        offset: usize,
        meta: &RecordMeta,
        (hash, class): (u64, usize),
    ) -> Option<usize> {
        let to = self.place_moved(class, meta.size)?;
        let target = self.append(to, meta);
        let (source, bytes) = self.pool.pair_mut(from, to);
        bytes[target..target + meta.size].copy_from_slice(&source[offset..offset + meta.size]);
        let (old, new) = (address(&self.pool, from, offset), address(&self.pool, to, target));
        let moved = self.keyspaces[meta.space].index.replace(&mut self.leaves, hash, old, new);
        assert!(moved, "a record that lives is in its index");
        self.mark_record_dead(from, offset, meta.size);
        self.layout_epoch += 1;
        self.counters.cleaned_bytes += meta.size as u64;
        Some(meta.size)
    }

    /// Takes room for a record in an open segment that has it. Returns its offset.
    pub(super) fn append(&mut self, segment: SegmentId, meta: &RecordMeta) -> usize {
        let offset = self.table.appended(segment, meta.size, meta.expiry.map(|expiry| expiry.0));
        meta.times().for_each(|time| self.expires(segment, time));
        offset
    }
}
