//! When keys have come and gone: enough to tell a client that watched an absent key whether it came and went in the
//! meantime.
//!
//! ```text
//!  hash of the key, its keyspace ──▶ | revision | revision | …     the latest removal of any key of that row
//!                                    | revision | revision | …     the latest that was new
//!  keyspace ──▶ | revision | …                                     when all of its keys have last gone
//!  database ──▶ | swap | …                                         its latest two changes of keyspace
//! ```
//! A flush takes all keys at once. What was absent before it and is absent behind it was there in between only if it came
//! in between: that is why new keys are noted.
//! Many keys share a row, so the answer may be yes where it is no: that costs a client one more try of its transaction.
//! The other way round it never is. The same key in another keyspace has another row, so that an application that uses
//! the same names in two databases does not fail at every try.

use crate::limits::DATABASES_MAX;
use crate::mutation::Revision;

/// Rows; a power of two. At ten thousand removals a second, one in a hundred transactions of a millisecond that watch
/// an absent key is tried again in vain.
const ROWS: usize = 1024;

/// A database's latest change of keyspace.
#[derive(Clone, Copy, Default)]
struct Swap {
    at: Revision,
    /// The one that it had until then.
    keyspace: u8,
    /// When the change before this one was.
    before: Revision,
}

/// The latest removal, and the latest new key, in each row.
pub(super) struct RemovalSketch {
    latest: Box<[Revision; ROWS]>,
    created: Box<[Revision; ROWS]>,
    /// The latest flush of each keyspace.
    flushed: [Revision; DATABASES_MAX as usize],
    swaps: [Swap; DATABASES_MAX as usize],
}

fn row(space: usize, hash: u64) -> usize {
    // An odd factor, so that no two keyspaces share a row for one key.
    (hash as usize ^ space.wrapping_mul(0x9E5)) % ROWS
}

impl RemovalSketch {
    pub(super) fn new() -> RemovalSketch {
        RemovalSketch {
            latest: Box::new([Revision(0); ROWS]),
            created: Box::new([Revision(0); ROWS]),
            flushed: [Revision(0); DATABASES_MAX as usize],
            swaps: [Swap::default(); DATABASES_MAX as usize],
        }
    }

    /// A key of this hash has gone from a keyspace under this revision.
    #[inline]
    pub(super) fn note(&mut self, (space, hash): (usize, u64), revision: Revision) {
        let latest = &mut self.latest[row(space, hash)];
        *latest = revision.max(*latest);
    }

    /// A key of this hash that was not there has come into a keyspace under this revision.
    #[inline]
    pub(super) fn note_new(&mut self, (space, hash): (usize, u64), revision: Revision) {
        let created = &mut self.created[row(space, hash)];
        *created = revision.max(*created);
    }

    /// All keys of a keyspace have gone.
    pub(super) fn note_all(&mut self, space: usize, revision: Revision) {
        self.flushed[space] = revision;
    }

    /// A database has another keyspace from now on than this one.
    pub(super) fn note_swap(&mut self, db: usize, keyspace: usize, revision: Revision) {
        let before = self.swaps[db].at;
        self.swaps[db] = Swap { at: revision, keyspace: keyspace as u8, before };
    }

    /// Whether a key of this hash may have gone from a database, which has this keyspace now, after that revision.
    pub(super) fn since(&self, db: usize, (space, hash): (usize, u64), revision: Revision) -> bool {
        self.latest[row(space, hash)] > revision
            || self.flushed[space] > revision
            || self.swaps[db].at > revision
    }

    /// Whether a key of this hash that was absent from a database at that revision, and is now, may have been there in
    /// between.
    pub(super) fn came_and_went_since(
        &self,
        db: usize,
        (space, hash): (usize, u64),
        revision: Revision,
    ) -> bool {
        let is_new = |space| self.created[row(space, hash)] > revision;
        let has_gone = |space| self.latest[row(space, hash)] > revision;
        let is_flushed = self.flushed[space] > revision;
        let swap = self.swaps[db];
        if swap.at <= revision {
            return has_gone(space) || is_flushed && is_new(space);
        }
        // What was in the database before is in another one now, and it may be there still. What the keyspace that came in its
        // place had may be older. Of a third keyspace in between nothing is known.
        swap.before > revision || is_new(usize::from(swap.keyspace)) || has_gone(space) || is_flushed
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
        let gone =
            |sketch: &RemovalSketch, space, revision| sketch.since(space, (space, 5), Revision(revision));
        assert!(gone(&sketch, 3, 8) && !gone(&sketch, 3, 9));
        assert!(!gone(&sketch, 2, 8));
        sketch.note((2, 5), Revision(11));
        assert!(gone(&sketch, 2, 10) && !gone(&sketch, 3, 10));
    }

    #[test]
    fn a_flush_and_a_swap_tell_of_an_absent_key_only_where_it_may_have_been_there() {
        let mut sketch = RemovalSketch::new();
        let came = |sketch: &RemovalSketch, space, revision| {
            sketch.came_and_went_since(0, (space, 5), Revision(revision))
        };
        sketch.note_new((0, 5), Revision(3));
        sketch.note_all(0, Revision(9));
        assert!(came(&sketch, 0, 2), "it came at 3 and went at 9");
        assert!(!came(&sketch, 0, 3), "absent at 3, it did not come");
        // Database 0 has keyspace 1 from now on.
        sketch.note_swap(0, 0, Revision(20));
        assert!(!came(&sketch, 1, 10) && sketch.since(0, (1, 5), Revision(10)));
        sketch.note((1, 5), Revision(21));
        assert!(came(&sketch, 1, 10), "what the other keyspace had went behind the swap");
        sketch.note_new((0, 5), Revision(30));
        assert!(came(&sketch, 1, 19), "it came, and may be where the database's keys went");
        assert!(!came(&sketch, 1, 30));
        sketch.note_swap(0, 1, Revision(40));
        assert!(!came(&sketch, 0, 31), "one change is followed");
        assert!(came(&sketch, 0, 19), "two are not");
    }
}
