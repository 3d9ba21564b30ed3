//! Why a data directory cannot be used as it is, and what to do about it.

use crate::journal::frame::HeaderError;
use crate::journal::loader::LoadError;
use crate::journal::reader::OpenError;
use std::{fmt, io};

/// Why a data directory cannot be used as it is.
#[derive(Debug)]
pub struct RecoveryError {
    /// The file.
    pub file: String,
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug)]
pub enum Problem {
    Io(io::Error),
    /// There is no such file, and there should be.
    Missing,
    /// A newer version has written it.
    Version,
    /// Bytes at an offset are not what was written, although they were durable; up to `len`, the file's length.
    Damaged {
        offset: u64,
        len: u64,
    },
    /// The file ends before changes that the checkpoint is built on.
    EndsEarly {
        offset: u64,
    },
    Load {
        offset: u64,
        error: LoadError,
    },
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        match &self.problem {
            Problem::Io(error) => write!(formatter, "{file} cannot be read: {error}"),
            Problem::Missing => write!(
                formatter,
                "{file} is missing: restore the directory from a backup, or begin with an empty one"
            ),
            Problem::Version => {
                write!(
                    formatter,
                    "{file} was written by a newer version of Pannier: use that version or a later one"
                )
            }
            Problem::Damaged { offset, len } => write!(
                formatter,
                "{file} is damaged at byte {offset} of {len}, in what was durable: restore the directory from a backup, or \
                 lose every change from there on with 'pannier check --truncate'"
            ),
            Problem::EndsEarly { offset } => write!(
                formatter,
                "{file} ends at byte {offset}, before changes that the checkpoint has seen: restore the directory from a \
                 backup"
            ),
            Problem::Load { offset, error } => {
                write!(formatter, "{file}, in the frame that ends at byte {offset}: ")?;
                match error {
                    LoadError::Malformed => formatter.write_str("an entry that this version does not know"),
                    LoadError::Full => {
                        formatter.write_str("the data needs more memory than it is given: raise --memory")
                    }
                    LoadError::TooLarge { size } => {
                        write!(
                            formatter,
                            "a key or value of {size} bytes is longer than allowed: raise --max-value"
                        )
                    }
                    LoadError::Database => {
                        formatter.write_str("a key of a database that there is not: raise --databases")
                    }
                }
            }
        }
    }
}

impl std::error::Error for RecoveryError {}

pub(super) fn problem<T>(file: &str, problem: Problem) -> Result<T, RecoveryError> {
    Err(RecoveryError { file: file.to_owned(), problem })
}

pub(super) fn io_error(file: &str) -> impl FnOnce(io::Error) -> RecoveryError {
    move |error| {
        let problem =
            if error.kind() == io::ErrorKind::NotFound { Problem::Missing } else { Problem::Io(error) };
        RecoveryError { file: file.to_owned(), problem }
    }
}

pub(super) fn open_error(file: &str, error: OpenError) -> RecoveryError {
    let problem = match error {
        OpenError::Io(error) => return io_error(file)(error),
        OpenError::Header(HeaderError::Version(_)) => Problem::Version,
        OpenError::Header(HeaderError::Damaged) => Problem::Damaged { offset: 0, len: 0 },
    };
    RecoveryError { file: file.to_owned(), problem }
}
