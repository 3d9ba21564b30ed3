//! A data directory: the real one, as the journal uses it.

use super::StartError;
use crate::journal::storage::{LOCK_NAME, Storage};
use rustix::fs::{Advice, FlockOperation, fadvise, flock};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Who may read and write the files.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// A directory of files.
pub struct DataDir {
    path: PathBuf,
    directory: File,
}

/// Holds the directory for as long as it lives: no other server uses it.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File);

impl DataDir {
    /// Opens a directory that is there.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<DataDir> {
        Ok(DataDir { path: path.to_owned(), directory: File::open(path)? })
    }

    /// Opens a directory, made if it is not there, for one server alone.
    ///
    /// # Errors
    /// It cannot be made or opened, or another server uses it.
    pub fn open_locked(path: &Path) -> Result<(DataDir, Lock), StartError> {
        let error = |error: io::Error| {
            StartError(format!(
                "the data directory {} cannot be used: {error}; choose another one with --data-dir",
                path.display()
            ))
        };
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path).map_err(error)?;
        let data_dir = DataDir::open(path).map_err(error)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(path.join(LOCK_NAME))
            .map_err(error)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
            if errno == rustix::io::Errno::WOULDBLOCK {
                StartError(format!(
                    "another server uses the data directory {}: stop it, or choose another one with --data-dir",
                    path.display()
                ))
            } else {
                error(errno.into())
            }
        })?;
        Ok((data_dir, Lock(lock)))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Storage for DataDir {
    type File = File;

    fn list(&mut self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // Names that are no text are none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&mut self, name: &str) -> io::Result<File> {
        File::open(self.at(name))
    }

    fn open_to_write(&mut self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.at(name))
    }

    fn create(&mut self, name: &str) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(true).write(true).mode(FILE_MODE).open(self.at(name))
    }

    fn file_len(&mut self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn read_at(&mut self, file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        file.read_at(bytes, offset)
    }

    fn write_at(&mut self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        file.write_at(bytes, offset)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        // With the length, which is needed to read what was written.
        file.sync_data()
    }

    fn set_len(&mut self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.at(name))
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn drop_cache(&mut self, file: &File, offset: u64, len: u64) {
        // Advice: what is not taken costs memory of the machine, and nothing else.
        let _ = fadvise(file, offset, NonZeroU64::new(len), Advice::DontNeed);
    }
}
