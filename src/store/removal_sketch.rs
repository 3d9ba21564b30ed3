//! When keys have gone: enough to tell a client that watched an absent key whether it came and went in the meantime.
//!
//! ```text
//!  hash of the key ──▶ | revision | revision | …          the latest removal of any key of that row
//! ```
//! Many keys share a row, so the answer may be yes where it is no: that costs a client one more try of its transaction.
//! The other way round it never is.

use crate::mutation::Revision;

/// Rows; a power of two. At ten thousand removals a second, one in a hundred transactions of a millisecond that watch
/// an absent key is tried again in vain.
const ROWS: usize = 1024;

/// The latest removal in each row.
pub(super) struct RemovalSketch {
    latest: Box<[Revision; ROWS]>,
}

impl RemovalSketch {
    pub(super) fn new() -> RemovalSketch {
        RemovalSketch { latest: Box::new([Revision(0); ROWS]) }
    }

    /// A key of this hash has gone under this revision.
    #[inline]
    pub(super) fn note(&mut self, hash: u64, revision: Revision) {
        let latest = &mut self.latest[hash as usize % ROWS];
        *latest = revision.max(*latest);
    }

    /// Any key may have gone.
    pub(super) fn note_all(&mut self, revision: Revision) {
        self.latest.fill(revision);
    }

    /// Whether a key of this hash may have gone after that revision.
    pub(super) fn since(&self, hash: u64, revision: Revision) -> bool {
        self.latest[hash as usize % ROWS] > revision
    }
}
