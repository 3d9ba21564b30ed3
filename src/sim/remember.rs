//! A store, its journal and a bad disk, over several lives: what a start finds must be what the store was after some
//! group of changes, at least as late as what was called durable, and no revision may come twice.

use super::disk::{DiskFaults, SimDisk};
use super::follower::bytes_of;
use super::violation::{Violation, show, violation};
use crate::journal::frame::{self, FILE_HEADER_BYTES, FileHeader, Frame, FrameStep};
use crate::journal::recovery::{self, Recovery, Survey};
use crate::journal::storage::journal_name;
use crate::journal::worker::{Predecessor, Worker};
use crate::journal::{Condition, Durability, Journal, JournalConfig, Report, Request, WriteGate};
use crate::limits::{KIB, MIB};
use crate::mutation::{Database, GroupMark, KeyspaceId, Mutation, NewValue, Revision};
use crate::random::Random;
use crate::store::feed::stored::{self, CopyEnd};
use crate::store::feed::{FEED_BYTES_MIN, FeedCursor, WhenBehind};
use crate::store::{LargeCursor, RemovalPolicy, Store, StoreConfig};
use crate::time::{Millis, Now};
use std::collections::{BTreeMap, VecDeque};

pub(super) const DATABASES: u8 = 3;
const BUFFER_BYTES: usize = 128 * KIB;
const BEGINNING: Millis = Millis(0);

/// What happened in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remembered {
    pub lives: u32,
    pub changes: u64,
    pub checkpoints: u64,
    pub failures: u64,
    pub lost: u64,
}

/// A change as it was published, with its large value.
struct Recorded {
    revision: Revision,
    ends_group: bool,
    entry: Vec<u8>,
    large: Option<Vec<u8>>,
}

type Dump = BTreeMap<(u8, Vec<u8>), (Vec<u8>, Option<Millis>, Revision)>;

struct Rig {
    random: Random,
    disk: SimDisk,
    worker: Worker<SimDisk>,
    store: Store,
    journal: Journal,
    recorder: FeedCursor,
    requests: VecDeque<Request>,
    now: Now,
    seen: Remembered,
}

fn config() -> StoreConfig {
    StoreConfig {
        memory_bytes: 4 * MIB,
        databases: DATABASES,
        feed_bytes: FEED_BYTES_MIN,
        ..StoreConfig::default()
    }
}

/// Runs several lives from a seed.
///
/// # Errors
/// The first thing that must not be.
pub fn run(seed: u64) -> Result<Remembered, Violation> {
    let mut random = Random(seed);
    let disk = SimDisk::new(random.next());
    let durability = random.pick(&[Durability::Always, Durability::Everysec, Durability::Os]);
    let mut history: Vec<Recorded> = Vec::new();
    let (mut seen, mut shown, mut promised) = (Remembered::default(), Revision(0), Revision(0));
    let mut now = Now { monotonic: Millis(0), unix: Millis(1_000_000), unix_micros: 0 };
    for _ in 0..2 + random.below(4) {
        disk.set_faults(DiskFaults::default());
        if random.below(4) == 0 {
            disk.crash_in(1 + random.below(40) as u64);
        }
        let started = Rig::start(&disk, (durability, random.split(), now), &mut history, shown);
        if disk.is_down() {
            // It went down before it served anyone: nothing that was found before may be missing.
            let found = history.last().map_or(Revision(0), |change| change.revision);
            disk.restart_machine();
            let (store, revision) = recover(&disk)?;
            compare(&store, (revision, found.min(promised)), &mut history)?;
            continue;
        }
        let mut rig = started?;
        (rig.seen.checkpoints, rig.seen.failures, rig.seen.lost) = (0, 0, 0);
        rig.draw_faults();
        let turns = 20 + rig.random.below(150);
        let ends_by_crash = rig.random.below(3) > 0;
        if ends_by_crash {
            disk.crash_in(1 + rig.random.below(turns * 3) as u64);
        }
        for _ in 0..turns {
            rig.turn(&mut history)?;
            if disk.is_down() {
                break;
            }
        }
        if !disk.is_down() && rig.random.below(3) == 0 {
            rig.comes_back(&mut history)?;
        }
        let stops = !disk.is_down() && rig.random.below(2) == 0;
        promised = if stops && rig.stop(&mut history) { rig.store.revision() } else { rig.promised() };
        shown = rig.store.revision();
        now = rig.now;
        let status = rig.journal.status();
        seen.failures += status.failure_count;
        seen.lost += status.lost_count;
        seen.checkpoints += u64::from(status.last_checkpoint.is_some_and(|last| last.is_ok));
        seen.changes = history.len() as u64;
        seen.lives += 1;
        // What a process has handed to the system survives the process.
        if rig.random.below(4) == 0 && !disk.is_down() {
            disk.restart_process();
        } else {
            disk.restart_machine();
        }
        let (store, revision) = recover(&disk)?;
        compare(&store, (revision, promised), &mut history)?;
        damage_is_seen(&disk, &mut random)?;
    }
    Ok(seen)
}

/// Damages a file of the journal in what was known to be durable, or cuts one that another one follows: no start may take
/// either for a torn end.
fn damage_is_seen(disk: &SimDisk, random: &mut Random) -> Result<(), Violation> {
    let Ok(Survey { journals, .. }) = recovery::survey(&mut disk.clone()) else { return Ok(()) };
    let counted = counted(disk, &journals);
    let Some((name, bytes, frames)) = counted.get(random.below(counted.len().max(1))) else { return Ok(()) };
    let is_last = counted.last().is_some_and(|(last, ..)| last == name);
    let known_len = frames.iter().map(|(_, frame)| frame.place.durable_len).max().unwrap_or(0) as usize;
    let mut damaged = bytes.clone();
    if !is_last && random.below(2) == 0 && !frames.is_empty() {
        damaged.truncate(frames[random.below(frames.len())].0);
    } else if known_len > FILE_HEADER_BYTES {
        let bit = 8 * FILE_HEADER_BYTES + random.below((known_len - FILE_HEADER_BYTES) * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
    } else {
        return Ok(());
    }
    disk.rot(name, &damaged);
    let found = recover(disk);
    disk.rot(name, bytes);
    match found {
        Ok(_) => Err(violation(b"", format!("damage of {name} in what was durable is not seen"))),
        Err(_) => Ok(()),
    }
}

type Counted = (String, Vec<u8>, Vec<(usize, Frame)>);

/// The files of the journal that a start applies, with where their frames begin.
fn counted(disk: &SimDisk, journals: &[u64]) -> Vec<Counted> {
    let mut counted: Vec<Counted> = Vec::new();
    for name in journals.iter().map(|number| journal_name(*number)) {
        let Some(bytes) = disk.bytes(&name) else { break };
        let Ok(header) = FileHeader::decode(&bytes) else { break };
        if header.has_gap() && !counted.is_empty() {
            break;
        }
        let (mut frames, mut at) = (Vec::new(), FILE_HEADER_BYTES);
        while let FrameStep::Frame(frame) = frame::decode(&bytes[at..], header.salt) {
            frames.push((at, frame));
            at += frame.whole_len();
        }
        counted.push((name, bytes, frames));
    }
    counted
}

/// What a start finds, and the revision that it has reached.
pub(super) fn recover(disk: &SimDisk) -> Result<(Store, Revision), Violation> {
    let found = |error: recovery::RecoveryError| violation(b"", format!("the start is refused: {error}"));
    let mut disk = disk.clone();
    let survey = recovery::survey(&mut disk).map_err(found)?;
    let mut recovery = Recovery::new(&mut disk, survey).map_err(found)?;
    let mut store = Store::new(config(), [5, 6]).expect("it is large enough");
    store.set_removal_policy(RemovalPolicy::Follow);
    loop {
        if let Some(recovered) = recovery.step(&mut disk, &mut store, 32 * KIB as u64).map_err(found)? {
            store.invariants();
            return Ok((store, recovered.reached));
        }
    }
}

/// Holds what was found against what had happened, and forgets what was lost.
fn compare(
    store: &Store,
    (revision, promised): (Revision, Revision),
    history: &mut Vec<Recorded>,
) -> Result<(), Violation> {
    let lost = history.iter().position(|change| change.revision > revision).unwrap_or(history.len());
    if let Some(change) = history.get(lost).filter(|change| change.revision <= promised) {
        let text = format!("{:?} was durable up to {promised:?}, and {revision:?} is found", change.revision);
        return Err(violation(b"", text));
    }
    history.truncate(lost);
    if history.last().is_some_and(|change| !change.ends_group) {
        return Err(violation(b"", format!("a group is found in part, up to {revision:?}")));
    }
    let mut model = Store::new(StoreConfig { memory_bytes: 16 * MIB, feed_bytes: 0, ..config() }, [7, 8])
        .expect("it is large enough");
    model.set_removal_policy(RemovalPolicy::Follow);
    history.iter().for_each(|change| replay(&mut model, change));
    for db in (0..DATABASES).map(Database) {
        let (found, expected) = (store.keyspace_of(db), model.keyspace_of(db));
        if found != expected {
            return Err(violation(b"", format!("{db:?} is {found:?} instead of {expected:?}")));
        }
    }
    let (found, expected) = (dump(store), dump(&model));
    for (key, value) in &expected {
        if found.get(key) != Some(value) {
            let told = |value: Option<&(Vec<u8>, Option<Millis>, Revision)>| {
                value.map(|(bytes, expiry, revision)| (show(bytes), *expiry, *revision))
            };
            let text = format!("is {:?} instead of {:?}", told(found.get(key)), told(Some(value)));
            return Err(violation(&key.1, text));
        }
    }
    match found.keys().find(|key| !expected.contains_key(*key)) {
        Some(key) => Err(violation(&key.1, "has come back")),
        None => Ok(()),
    }
}

fn replay(model: &mut Store, change: &Recorded) {
    let mut decoded = stored::decode(&change.entry).expect("it was recorded");
    if let (Some(bytes), crate::mutation::Effect::Put { value, .. }) = (&change.large, &mut decoded.effect) {
        let id = model.large_begin(bytes.len() as u64, BEGINNING).expect("there is room");
        model.large_append(id, bytes, BEGINNING).expect("there is room");
        *value = crate::mutation::PublishedValue::Large { id, len: bytes.len() as u64 };
    }
    assert_eq!(model.apply_at(&decoded, BEGINNING), Ok(true));
}

fn dump(store: &Store) -> Dump {
    let mut all = Dump::new();
    for keyspace in (0..DATABASES).map(KeyspaceId) {
        let (db, mut cursor) = (store.database_of(keyspace), 0);
        loop {
            cursor = store.scan(db, cursor, 100, BEGINNING, &mut |entry| {
                let value = (bytes_of(store, entry.value), entry.expiry, entry.revision);
                all.insert((keyspace.0, entry.key.to_vec()), value);
            });
            if cursor == 0 {
                break;
            }
        }
    }
    all
}

/// A store as a server has it when it begins to serve, and what its journal begins with.
pub(super) struct Start {
    pub store: Store,
    pub config: JournalConfig,
    pub predecessor: Predecessor,
}

/// Loads what is on a disk; `shown` is the highest revision that was ever shown.
pub(super) fn start(
    disk: &SimDisk,
    (durability, random): (Durability, &mut Random),
    shown: Revision,
) -> Result<Start, Violation> {
    let failed = |error: recovery::RecoveryError| violation(b"", format!("the start is refused: {error}"));
    let mut files = disk.clone();
    let survey = recovery::survey(&mut files).map_err(failed)?;
    let is_new = survey.manifest.is_none();
    let next_number = survey.number_max + 1;
    let mut store = Store::new(config(), [1, random.next()]).expect("it is large enough");
    store.set_removal_policy(RemovalPolicy::Follow);
    let mut recovery = Recovery::new(&mut files, survey).map_err(failed)?;
    let recovered = loop {
        let step = recovery.step(&mut files, &mut store, 64 * KIB as u64);
        if let Some(recovered) = step.map_err(failed)? {
            break recovered;
        }
    };
    store.set_removal_policy(RemovalPolicy::Own);
    store.skip_revisions(recovery::first_revision(&recovered));
    if store.revision() < shown {
        let text = format!("a start draws from {:?}, and {shown:?} was shown", store.revision());
        return Err(violation(b"", text));
    }
    let predecessor = recovery::prepare(&mut files, &recovered).map_err(failed)?;
    let config = JournalConfig {
        durability,
        buffer_bytes: BUFFER_BYTES,
        journal_bytes_max: [20, 200, 2_000][random.below(3)] * KIB as u64,
        salt_seed: random.next(),
        next_number,
        is_new,
        found_journal_bytes: recovered.journal_bytes,
        found_checkpoint_bytes: recovered.checkpoint_bytes,
    };
    Ok(Start { store, config, predecessor })
}

/// How bad the disk is in one life.
pub(super) fn draw_faults(random: &mut Random) -> DiskFaults {
    let rate = |random: &mut Random| [0, 0, 0, 2_000, 20_000, 200_000][random.below(6)];
    DiskFaults {
        write_error: rate(random),
        sync_error: rate(random),
        short_write: rate(random),
        capacity_bytes: [None, None, None, Some(300 * KIB as u64), Some(3 * MIB as u64)][random.below(5)],
    }
}

impl Rig {
    fn start(
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

    fn draw_faults(&mut self) {
        self.disk.set_faults(draw_faults(&mut self.random));
    }

    /// One turn of the loop, and some of the disk's work.
    fn turn(&mut self, history: &mut Vec<Recorded>) -> Result<(), Violation> {
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
    fn comes_back(&mut self, history: &mut Vec<Recorded>) -> Result<(), Violation> {
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
    fn promised(&self) -> Revision {
        self.journal.durable()
    }

    /// An orderly end; false: the disk did not let it.
    fn stop(&mut self, history: &mut Vec<Recorded>) -> bool {
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
                CopyEnd::Large { id, .. } => {
                    let mut bytes = Vec::new();
                    let mut cursor = LargeCursor::new(id, 0);
                    loop {
                        let piece = self.store.large_slice(&mut cursor);
                        if piece.is_empty() {
                            break;
                        }
                        bytes.extend_from_slice(piece);
                        cursor.advance(piece.len());
                    }
                    history.last_mut().expect("its entry").large = Some(bytes);
                    self.store.large_release(id);
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
        let name = |random: &mut Random| format!("key {}", random.below(60)).into_bytes();
        let (key, other) = (name(random), name(random));
        let db = Database(random.below(DATABASES.into()) as u8);
        let other_db = Database(random.below(DATABASES.into()) as u8);
        let expiry = (random.below(4) == 0).then(|| self.now.unix.plus(random.below(5_000) as u64));
        let len = [0, 10, 100, 1_000, 8_000, 30_000, 150_000][random.below(7)];
        let value = vec![random.next() as u8; len];
        let key = &key[..];
        let mutation = match random.below(40) {
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
            _ => Mutation::Flush { db: (random.below(2) == 0).then_some(db) },
        };
        // A full store refuses; that is no concern of the journal.
        let _ = self.store.apply(&mutation, self.now.unix);
    }
}
