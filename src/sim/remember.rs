//! A store, its journal and a bad disk, over several lives: what a start finds must be what the store was after some
//! group of changes, at least as late as what was called durable, and no revision may come twice.

mod rig;

use super::disk::{DiskFaults, SimDisk};
use super::follower::bytes_of;
use super::violation::{Violation, show, violation};
use crate::journal::frame::{self, FILE_HEADER_BYTES, FileHeader, Frame, FrameStep};
use crate::journal::recovery::{self, Recovery, Survey};
use crate::journal::storage::journal_name;
use crate::journal::worker::Predecessor;
use crate::journal::{Durability, JournalConfig};
use crate::limits::{KIB, MIB};
use crate::mutation::{Database, KeyspaceId, Revision};
use crate::random::Random;
use crate::store::feed::FEED_BYTES_MIN;
use crate::store::feed::stored;
use crate::store::{RemovalPolicy, Store, StoreConfig};
use crate::time::{Millis, Now};
use rig::Rig;
use std::collections::BTreeMap;

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
        let large = model.large_begin(bytes.len() as u64, BEGINNING).expect("there is room");
        model.large_append(large.id(), bytes, BEGINNING).expect("there is room");
        // The key's.
        let id = large.into_raw();
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
        let text = format!("a start begins at {:?}, and {shown:?} was shown", store.revision());
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
