//! What a directory holds, by the names in it and the manifest; no other file is opened.

use super::error::{Problem, RecoveryError, io_error, problem};
use crate::journal::manifest::{MANIFEST_BYTES_MAX, MANIFEST_NAME, Manifest, ManifestError};
use crate::journal::storage::{self, Storage, TEMPORARY_SUFFIX, journal_name};

/// What a directory holds, by the names and the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// `None`: the directory is new.
    pub manifest: Option<Manifest>,
    /// The files of the journal that a start reads, in order.
    pub journals: Vec<u64>,
    /// What a start has no use for: files that are not whole, and older ones.
    pub leftovers: Vec<String>,
    /// The highest number that any file has.
    pub number_max: u64,
}

/// Reads the names and the manifest.
///
/// # Errors
/// See [`RecoveryError`].
pub fn survey<S: Storage>(disk: &mut S) -> Result<Survey, RecoveryError> {
    let names = disk.list().map_err(io_error("the directory"))?;
    let manifest = if names.iter().any(|name| name == MANIFEST_NAME) {
        let bytes =
            storage::read_small(disk, MANIFEST_NAME, MANIFEST_BYTES_MAX).map_err(io_error(MANIFEST_NAME))?;
        match Manifest::decode(&bytes) {
            Ok(manifest) => Some(manifest),
            Err(ManifestError::Version) => return problem(MANIFEST_NAME, Problem::Version),
            Err(ManifestError::Damaged) => {
                return problem(MANIFEST_NAME, Problem::Damaged { offset: 0, len: bytes.len() as u64 });
            }
        }
    } else {
        None
    };
    let mut found = Survey { manifest, journals: Vec::new(), leftovers: Vec::new(), number_max: 0 };
    for name in names {
        let (journal, checkpoint) = (storage::journal_number(&name), storage::checkpoint_number(&name));
        let temporary = name.strip_suffix(TEMPORARY_SUFFIX);
        let temporary_number =
            temporary.and_then(|name| storage::journal_number(name).or(storage::checkpoint_number(name)));
        let numbers = [journal, checkpoint, temporary_number];
        found.number_max = numbers.into_iter().flatten().fold(found.number_max, u64::max);
        match (journal, checkpoint) {
            (Some(number), _) if manifest.is_some_and(|manifest| number >= manifest.journal) => {
                found.journals.push(number);
            }
            (_, Some(number)) if manifest.is_some_and(|manifest| manifest.checkpoint == Some(number)) => {}
            (None, None) if temporary.is_none() => {}
            _ => found.leftovers.push(name),
        }
    }
    found.journals.sort_unstable();
    if let Some(manifest) = manifest
        && found.journals.first() != Some(&manifest.journal)
    {
        return problem(&journal_name(manifest.journal), Problem::Missing);
    }
    if manifest.is_none()
        && (found.number_max > 0)
        && found.leftovers.iter().any(|name| !name.ends_with(TEMPORARY_SUFFIX))
    {
        // Journals before the first manifest hold nothing that was promised: the manifest comes before the first write.
        log::warn!("the data directory has files and no {MANIFEST_NAME}: they are not read");
    }
    Ok(found)
}
