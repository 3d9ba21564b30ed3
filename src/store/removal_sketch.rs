//! When keys have gone: enough to tell a client that watched an absent key whether it came and went in the meantime.
//!
//! ```text
//!  hash of the key, its keyspace ──▶ | revision | revision | …     the latest removal of any key of that row
//!  keyspace ──▶ | revision | …                                     when all of its keys have last gone
//! ```
//! Many keys share a row, so the answer may be yes where it is no: that costs a client one more try of its transaction.
//! The other way round it never is. The same key in another keyspace has another row, so that an application that uses
//! the same names in two databases does not fail at every try.

use crate::limits::DATABASES_MAX;
use crate::mutation::Revision;

/// Rows; a power of two. At ten thousand removals a second, one in a hundred transactions of a millisecond that watch
/// an absent key is tried again in vain.
const ROWS: usize = 1024;

/// The latest removal in each row.
pub(super) struct RemovalSketch {
    latest: Box<[Revision; ROWS]>,
    /// The latest flush of each keyspace.
    flushed: [Revision; DATABASES_MAX as usize],
}

fn row(space: usize, hash: u64) -> usize {
    // An odd factor, so that no two keyspaces share a row for one key.
    (hash as usize ^ space.wrapping_mul(0x9E5)) % ROWS
}

impl RemovalSketch {
    pub(super) fn new() -> RemovalSketch {
        RemovalSketch {
            latest: Box::new([Revision(0); ROWS]),
            flushed: [Revision(0); DATABASES_MAX as usize],
        }
    }

    /// A key of this hash has gone from a keyspace under this revision.
    #[inline]
    pub(super) fn note(&mut self, (space, hash): (usize, u64), revision: Revision) {
        let latest = &mut self.latest[row(space, hash)];
        *latest = revision.max(*latest);
    }

    /// Any key of a keyspace may have gone, or be another one.
    pub(super) fn note_all(&mut self, space: usize, revision: Revision) {
        self.flushed[space] = revision;
    }

    /// Whether a key of this hash may have gone from a keyspace after that revision.
    pub(super) fn since(&self, (space, hash): (usize, u64), revision: Revision) -> bool {
        self.latest[row(space, hash)] > revision || self.flushed[space] > revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_has_a_row_of_its_own_in_each_keyspace() {
        for hash in [0, 1, 77, u64::MAX] {
            let mut rows: Vec<usize> = (0..DATABASES_MAX as usize).map(|space| row(space, hash)).collect();
            rows.sort_unstable();
            rows.dedup();
            assert_eq!(rows.len(), usize::from(DATABASES_MAX));
        }
    }

    #[test]
    fn a_flush_counts_for_its_keyspace_alone() {
        let mut sketch = RemovalSketch::new();
        sketch.note_all(3, Revision(9));
        assert!(sketch.since((3, 5), Revision(8)) && !sketch.since((3, 5), Revision(9)));
        assert!(!sketch.since((2, 5), Revision(8)));
        sketch.note((2, 5), Revision(11));
        assert!(sketch.since((2, 5), Revision(10)) && !sketch.since((3, 5), Revision(10)));
    }
}
