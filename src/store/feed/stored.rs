//! Changes on their way to a disk and back: the ring's entries as they are ([`entry`]), one behind the other, each entry
//! of a large value followed by the value's bytes.
//!
//! ```text
//!  | entry | entry | entry of a large value | its bytes, filled up to eight | entry | ...
//! ```
//! So a new kind of effect needs nothing here. What comes back from a disk is looked at before it is believed
//! ([`measure`]): its checksum was right, but it may be of another version.

use super::entry;
use super::{FeedCursor, Place, Store};
use crate::limits::KEY_BYTES_MAX;
use crate::mutation::{Change, GroupMark, LargeRef, Revision};

/// Bytes of one entry, at most.
pub const STORED_BYTES_MAX: usize = entry::ENTRY_BYTES_MAX;
/// Entries, and the bytes of large values, are filled up to a multiple of this.
pub const STORED_ALIGN_BYTES: usize = entry::ALIGN_BYTES;

/// Why [`Store::feed_copy`] went no further.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum CopyEnd {
    /// Nothing has happened since.
    #[default]
    End,
    /// The next entry does not fit.
    NoRoom,
    /// The last entry's value comes next: `len` bytes.
    Large { value: LargeRef, len: u64 },
    /// Changes were overwritten that the cursor has not read.
    Lost,
}

/// What [`Store::feed_copy`] has copied.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub len: usize,
    /// The revisions of the first and the last entry; `None`: there was none.
    pub revisions: Option<(Revision, Revision)>,
    /// The mark of the last entry.
    pub group: Option<GroupMark>,
    pub end: CopyEnd,
}

impl Store {
    /// Copies the entries that the cursor comes to, as many as fit into `out`, up to the first of a large value, and moves
    /// the cursor past them.
    pub fn feed_copy(&mut self, cursor: &FeedCursor, out: &mut [u8]) -> Copied {
        let mut copied = Copied::default();
        let Place::At(mut at, rule) = self.feed.places[cursor.0] else {
            return Copied { end: CopyEnd::Lost, ..copied };
        };
        while at < self.feed.visible {
            let bytes = self.feed.at(at);
            let len = entry::len(bytes);
            let Some(revision) = entry::revision(bytes) else {
                at += len as u64;
                continue;
            };
            let Some(space) = out.get_mut(copied.len..copied.len + len) else {
                copied.end = CopyEnd::NoRoom;
                break;
            };
            space.copy_from_slice(&bytes[..len]);
            copied.len += len;
            copied.revisions = Some((copied.revisions.map_or(revision, |(first, _)| first), revision));
            copied.group = Some(entry::mark(bytes));
            at += len as u64;
            match entry::retained(bytes) {
                Some(entry::Retained::Large(id, len)) => {
                    copied.end = CopyEnd::Large { value: self.large_retain(id), len };
                    break;
                }
                // A collection in pages is no bytes that could be copied: who reads on takes the store as it is.
                Some(entry::Retained::Root(_)) => {
                    copied.len -= len;
                    copied.end = CopyEnd::Lost;
                    break;
                }
                None => {}
            }
        }
        self.feed.places[cursor.0] = Place::At(at, rule);
        if self.feed.large_count > 0 {
            self.feed_release();
        }
        copied
    }
}

/// What is known of a stored entry before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Bytes of the entry.
    pub len: usize,
    pub revision: Revision,
    pub group: GroupMark,
    /// Bytes of the large value that follow it.
    pub large_len: Option<u64>,
}

/// Looks at the entry at the front of `bytes`. `None`: that is no entry that this version writes, or it is not whole.
pub fn measure(bytes: &[u8]) -> Option<Measure> {
    if bytes.len() < entry::size(0, 0) {
        return None;
    }
    let len = entry::len(bytes);
    let is_long_enough = entry::is_stored(bytes)
        && (entry::size(0, 0)..=entry::ENTRY_BYTES_MAX.min(bytes.len())).contains(&len)
        && len.is_multiple_of(entry::ALIGN_BYTES)
        && entry::key_len(bytes) <= KEY_BYTES_MAX
        && entry::stored_len(bytes).is_some_and(|stored| stored == len)
        && entry::has_readable_value(&bytes[..len]);
    is_long_enough.then(|| Measure {
        len,
        revision: entry::revision(bytes).unwrap_or_default(),
        group: entry::mark(bytes),
        large_len: entry::large(bytes).map(|(_, len)| len),
    })
}

/// The change of an entry that was [measured](measure). The id of a large value means nothing: the caller sets its own.
pub fn decode(bytes: &[u8]) -> Option<Change<'_>> {
    measure(bytes).and_then(|_| entry::read(bytes))
}

/// Bytes that a change takes as an entry.
pub fn encoded_len(change: &Change<'_>) -> usize {
    entry::effect_size(&change.effect)
}

/// Writes a change to the front of `bytes`; the bytes that it takes.
///
/// # Panics
/// When `bytes` is shorter than [`encoded_len`].
pub fn encode(bytes: &mut [u8], change: &Change<'_>) -> usize {
    let len = encoded_len(change);
    // What fills it up is zero, so that the same store gives the same bytes.
    bytes[len - STORED_ALIGN_BYTES..len].fill(0);
    entry::write(bytes, change)
}

#[cfg(test)]
mod tests;
