//! The manifest: the one small file that says with which checkpoint, and which file of the journal, a start begins. It is
//! text, so that a person can read it:
//!
//! ```text
//!  pannier data 1
//!  checkpoint 12
//!  journal 12
//!  crc 8a9136aa
//! ```
//! It is written beside the old one, synced, and renamed over it: there is always a whole one. Journals from the named
//! one on are replayed in the order of their numbers. Without a checkpoint the second line says `none`.

use std::fmt::Write;

/// The manifest's name, and what a new one is called until it is whole.
pub const MANIFEST_NAME: &str = "MANIFEST";
pub const MANIFEST_TEMPORARY_NAME: &str = "MANIFEST.new";
/// Bytes of a manifest, at most.
pub const MANIFEST_BYTES_MAX: usize = 256;

/// Where a start begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub checkpoint: Option<u64>,
    pub journal: u64,
}

/// Why text is no manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestError {
    Damaged,
    /// A newer program has written it.
    Version,
}

impl Manifest {
    /// Its text.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(MANIFEST_BYTES_MAX);
        let checkpoint = self.checkpoint.map_or_else(|| "none".to_owned(), |number| number.to_string());
        // Writing to a String cannot fail.
        let _ = write!(text, "pannier data 1\ncheckpoint {checkpoint}\njournal {}\n", self.journal);
        let crc = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "crc {crc:08x}");
        text
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::Damaged)?;
        let (body, crc) = text.rsplit_once("crc ").ok_or(ManifestError::Damaged)?;
        let crc = crc.strip_suffix('\n').and_then(|hex| u32::from_str_radix(hex, 16).ok());
        if crc != Some(crc32c::crc32c(body.as_bytes())) {
            return Err(ManifestError::Damaged);
        }
        let mut lines = body.lines();
        if lines.next() != Some("pannier data 1") {
            return Err(ManifestError::Version);
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let checkpoint = match field("checkpoint").ok_or(ManifestError::Damaged)? {
            "none" => None,
            number => Some(number.parse().map_err(|_| ManifestError::Damaged)?),
        };
        let journal = field("journal").and_then(|number| number.parse().ok());
        Ok(Manifest { checkpoint, journal: journal.ok_or(ManifestError::Damaged)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back() {
        for checkpoint in [None, Some(12)] {
            let manifest = Manifest { checkpoint, journal: 13 };
            let text = manifest.encode();
            assert!(text.len() <= MANIFEST_BYTES_MAX);
            assert_eq!(Manifest::decode(text.as_bytes()), Ok(manifest));
        }
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        let text = Manifest { checkpoint: Some(1), journal: 2 }.encode().into_bytes();
        for at in 0..text.len() {
            assert!(Manifest::decode(&text[..at]).is_err());
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            assert!(Manifest::decode(&damaged).is_err(), "byte {at}");
        }
        let body = "pannier data 2\nwhat comes\n";
        let newer = format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes()));
        assert_eq!(Manifest::decode(newer.as_bytes()), Err(ManifestError::Version));
    }
}
