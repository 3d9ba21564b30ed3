//! A directory of files as the journal uses it, and the names in it. `net` implements it with a real one; tests with one
//! that forgets what was not synced.

use crate::mutant::{self, Mutant};
use std::io;

/// The file that is locked while a server uses the directory.
pub const LOCK_NAME: &str = "LOCK";
/// What the name of a file that is not whole yet ends in.
pub const TEMPORARY_SUFFIX: &str = ".new";

const JOURNAL_PREFIX: &str = "journal-";
const CHECKPOINT_PREFIX: &str = "checkpoint-";

/// A directory. All names are of files directly in it.
pub trait Storage {
    /// An open file.
    type File;

    /// The names of all files.
    ///
    /// # Errors
    /// What the system says; so for all others.
    fn list(&mut self) -> io::Result<Vec<String>>;
    /// Opens a file to read it.
    fn open(&mut self, name: &str) -> io::Result<Self::File>;
    /// Opens a file to change it.
    fn open_to_write(&mut self, name: &str) -> io::Result<Self::File>;
    /// Makes an empty file to write to, in the place of one that has this name.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;
    /// Bytes of a file.
    fn file_len(&mut self, file: &Self::File) -> io::Result<u64>;
    /// Reads up to `bytes.len()` bytes; 0 at the end.
    fn read_at(&mut self, file: &Self::File, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;
    /// Writes up to `bytes.len()` bytes.
    fn write_at(&mut self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<usize>;
    /// Makes a file's bytes and length durable.
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;
    /// Cuts a file.
    fn set_len(&mut self, file: &Self::File, len: u64) -> io::Result<()>;
    /// Gives a file another name, in the place of one that has it.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Makes the names durable.
    fn sync_dir(&mut self) -> io::Result<()>;
    /// Says that these bytes, which are durable, need not be kept in memory.
    fn drop_cache(&mut self, file: &Self::File, offset: u64, len: u64);
}

/// Writes all bytes, in as many pieces as it takes.
///
/// # Errors
/// What the system says; a part may have been written.
pub fn write_all<S: Storage>(
    storage: &mut S,
    file: &S::File,
    mut offset: u64,
    mut bytes: &[u8],
) -> io::Result<()> {
    while !bytes.is_empty() {
        match storage.write_at(file, offset, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => {
                offset += len as u64;
                bytes = &bytes[len..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes a small file that is either whole or not there: written under another name, synced, renamed.
///
/// # Errors
/// What the system says; then the old file of this name, if any, is still there, or the new one is.
pub fn write_whole<S: Storage>(storage: &mut S, name: &str, bytes: &[u8]) -> io::Result<S::File> {
    let temporary = format!("{name}{TEMPORARY_SUFFIX}");
    let made = make(storage, &temporary, bytes).and_then(|file| {
        storage.rename(&temporary, name)?;
        if !mutant::is_on(Mutant::DirectoryNotSynced) {
            storage.sync_dir()?;
        }
        Ok(file)
    });
    if made.is_err() {
        // It may be gone already, or never have been there.
        let _ = storage.remove(&temporary);
    }
    made
}

fn make<S: Storage>(storage: &mut S, name: &str, bytes: &[u8]) -> io::Result<S::File> {
    let file = storage.create(name)?;
    write_all(storage, &file, 0, bytes)?;
    storage.sync(&file)?;
    Ok(file)
}

/// Reads a small file, at most `len_max` bytes of it.
///
/// # Errors
/// What the system says.
pub fn read_small<S: Storage>(storage: &mut S, name: &str, len_max: usize) -> io::Result<Vec<u8>> {
    let file = storage.open(name)?;
    let mut bytes = vec![0; len_max];
    let mut len = 0;
    while len < len_max {
        match storage.read_at(&file, len as u64, &mut bytes[len..])? {
            0 => break,
            read => len += read,
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// The name of a file of the journal.
pub fn journal_name(number: u64) -> String {
    format!("{JOURNAL_PREFIX}{number:08}")
}

/// The name of a checkpoint.
pub fn checkpoint_name(number: u64) -> String {
    format!("{CHECKPOINT_PREFIX}{number:08}")
}

/// The number of a file of the journal.
pub fn journal_number(name: &str) -> Option<u64> {
    name.strip_prefix(JOURNAL_PREFIX)?.parse().ok()
}

/// The number of a checkpoint.
pub fn checkpoint_number(name: &str) -> Option<u64> {
    name.strip_prefix(CHECKPOINT_PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_belong_together() {
        assert_eq!(journal_name(12), "journal-00000012");
        assert_eq!(journal_number("journal-00000012"), Some(12));
        assert_eq!(journal_number(&journal_name(u64::MAX)), Some(u64::MAX));
        assert_eq!(checkpoint_number(&checkpoint_name(3)), Some(3));
        for other in ["journal-", "journal-1.new", "checkpoint-1", "LOCK"] {
            assert_eq!(journal_number(other), None, "{other}");
        }
    }
}
