//! A disk that keeps what it promised and nothing more. Until a file is synced, each of its sectors may be kept, lost or
//! torn by a crash; until the directory is, so may each name. Writes may be short, fail, or find the disk full; after a
//! sync that failed, what was not written is gone, and the next sync says nothing of it.

use crate::journal::storage::Storage;
use crate::random::Random;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

/// Bytes that are written together. A torn sector is new up to some byte, and old behind it.
const SECTOR_BYTES: usize = 512;

/// How often things go wrong, in millionths of the operations.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFaults {
    pub write_error: u32,
    pub sync_error: u32,
    pub short_write: u32,
    /// Bytes that fit, if there is a limit.
    pub capacity_bytes: Option<u64>,
}

#[derive(Clone, Default)]
struct Inode {
    /// As the system shows it.
    content: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that were written and not synced.
    dirty: BTreeSet<usize>,
}

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

fn apply(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Create(name, inode) => _ = names.insert(name.clone(), *inode),
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameChange::Remove(name) => _ = names.remove(name),
    }
}

struct State {
    random: Random,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    faults: DiskFaults,
    /// Operations so far, and the one that is the machine's last.
    operations: u64,
    crash_at: Option<u64>,
    is_down: bool,
}

/// The disk; clones are the same one.
#[derive(Clone)]
pub struct SimDisk(Rc<RefCell<State>>);

impl SimDisk {
    /// An empty one.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk(Rc::new(RefCell::new(State {
            random: Random(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            faults: DiskFaults::default(),
            operations: 0,
            crash_at: None,
            is_down: false,
        })))
    }

    pub fn set_faults(&self, faults: DiskFaults) {
        self.0.borrow_mut().faults = faults;
    }

    /// The machine goes down in so many operations.
    pub fn crash_in(&self, operations: u64) {
        let mut state = self.0.borrow_mut();
        state.crash_at = Some(state.operations + operations);
    }

    /// Whether the machine has gone down.
    pub fn is_down(&self) -> bool {
        self.0.borrow().is_down
    }

    /// The machine comes up again, with what has survived.
    pub fn restart_machine(&self) {
        let mut state = self.0.borrow_mut();
        let State { random, inodes, names, durable_names, name_changes, .. } = &mut *state;
        // Whether most, some or hardly any of it had been written is a matter of the whole crash.
        let kept = random.below(3);
        let happens = |random: &mut Random| match kept {
            0 => random.below(8) == 0,
            1 => random.below(2) == 0,
            _ => random.below(8) != 0,
        };
        for change in name_changes.drain(..) {
            if happens(random) {
                apply(durable_names, &change);
            }
        }
        for inode in inodes.iter_mut() {
            for sector in std::mem::take(&mut inode.dirty) {
                if happens(random) {
                    let len = if random.below(4) == 0 { random.below(SECTOR_BYTES) } else { SECTOR_BYTES };
                    keep(inode, sector, len);
                }
            }
            // The length may have been written and the bytes not.
            if random.below(3) == 0 && inode.durable.len() < inode.content.len() {
                inode.durable.resize(inode.content.len(), 0);
            }
            inode.content.clone_from(&inode.durable);
        }
        names.clone_from(durable_names);
        (state.crash_at, state.is_down) = (None, false);
    }

    /// The process begins again, and the machine has not noticed.
    pub fn restart_process(&self) {
        let mut state = self.0.borrow_mut();
        (state.crash_at, state.is_down) = (None, false);
    }

    /// A file's bytes.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.0.borrow();
        state.names.get(name).map(|inode| state.inodes[*inode].content.clone())
    }

    /// Changes what is durable of a file, as a disk that grows old does.
    pub fn rot(&self, name: &str, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        if let Some(&inode) = state.names.get(name) {
            let inode = &mut state.inodes[inode];
            inode.durable = bytes.to_vec();
            inode.content = bytes.to_vec();
        }
    }

    fn operation(&self) -> io::Result<std::cell::RefMut<'_, State>> {
        let mut state = self.0.borrow_mut();
        state.operations += 1;
        state.is_down |= state.crash_at.is_some_and(|at| state.operations >= at);
        if state.is_down { Err(io::Error::other("the machine is down")) } else { Ok(state) }
    }
}

/// The first `len` bytes of a sector reach the disk.
fn keep(inode: &mut Inode, sector: usize, len: usize) {
    let from = sector * SECTOR_BYTES;
    let to = (from + len).min(inode.content.len());
    if to > from {
        if inode.durable.len() < to {
            inode.durable.resize(to, 0);
        }
        inode.durable[from..to].copy_from_slice(&inode.content[from..to]);
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn input_output_error() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Storage for SimDisk {
    type File = usize;

    fn list(&mut self) -> io::Result<Vec<String>> {
        Ok(self.operation()?.names.keys().cloned().collect())
    }

    fn open(&mut self, name: &str) -> io::Result<usize> {
        self.operation()?.names.get(name).copied().ok_or_else(missing)
    }

    fn open_to_write(&mut self, name: &str) -> io::Result<usize> {
        self.open(name)
    }

    fn create(&mut self, name: &str) -> io::Result<usize> {
        let mut state = self.operation()?;
        let (error, inode) = (state.faults.write_error, state.inodes.len());
        if state.random.happens(error) {
            return Err(input_output_error());
        }
        state.inodes.push(Inode::default());
        state.names.insert(name.to_owned(), inode);
        state.name_changes.push(NameChange::Create(name.to_owned(), inode));
        Ok(inode)
    }

    fn file_len(&mut self, file: &usize) -> io::Result<u64> {
        Ok(self.operation()?.inodes[*file].content.len() as u64)
    }

    fn read_at(&mut self, file: &usize, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let state = self.operation()?;
        let content = &state.inodes[*file].content;
        let from = (offset as usize).min(content.len());
        let len = bytes.len().min(content.len() - from);
        bytes[..len].copy_from_slice(&content[from..from + len]);
        Ok(len)
    }

    fn write_at(&mut self, file: &usize, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.operation()?;
        let faults = state.faults;
        if state.random.happens(faults.write_error) {
            return Err(input_output_error());
        }
        let mut len = bytes.len();
        if state.random.happens(faults.short_write) {
            len = 1 + state.random.below(len);
        }
        let named: BTreeSet<usize> = state.names.values().copied().collect();
        let used: usize = named.iter().map(|inode| state.inodes[*inode].content.len()).sum();
        if let Some(capacity) = faults.capacity_bytes {
            len = len.min((capacity as usize).saturating_sub(used));
            if len == 0 {
                return Err(io::Error::from_raw_os_error(28));
            }
        }
        let inode = &mut state.inodes[*file];
        let (from, to) = (offset as usize, offset as usize + len);
        if inode.content.len() < to {
            inode.content.resize(to, 0);
        }
        inode.content[from..to].copy_from_slice(&bytes[..len]);
        inode.dirty.extend(from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES));
        Ok(len)
    }

    fn sync(&mut self, file: &usize) -> io::Result<()> {
        let mut state = self.operation()?;
        let error = state.faults.sync_error;
        let State { random, inodes, .. } = &mut *state;
        let inode = &mut inodes[*file];
        let fails = random.happens(error);
        for sector in std::mem::take(&mut inode.dirty) {
            if !fails || random.below(2) == 0 {
                keep(inode, sector, SECTOR_BYTES);
            }
        }
        if fails {
            return Err(input_output_error());
        }
        inode.durable.resize(inode.content.len(), 0);
        Ok(())
    }

    fn set_len(&mut self, file: &usize, len: u64) -> io::Result<()> {
        let mut state = self.operation()?;
        state.inodes[*file].content.resize(len as usize, 0);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.operation()?;
        if !state.names.contains_key(from) {
            return Err(missing());
        }
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        apply(&mut state.names, &change);
        state.name_changes.push(change);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.operation()?;
        let change = NameChange::Remove(name.to_owned());
        apply(&mut state.names, &change);
        state.name_changes.push(change);
        Ok(())
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        let mut state = self.operation()?;
        let error = state.faults.sync_error;
        if state.random.happens(error) {
            return Err(input_output_error());
        }
        let State { durable_names, name_changes, .. } = &mut *state;
        for change in name_changes.drain(..) {
            apply(durable_names, &change);
        }
        Ok(())
    }

    fn drop_cache(&mut self, _: &usize, _: u64, _: u64) {}
}
