//! A record: how one key and its value lie in a segment.
//!
//! ```text
//!  0      1      2         4              8                14          14|20      +key_len
//! +------+------+---------+--------------+----------------+-----------+----------+----------+---------+
//! |flags |space | key_len |  value_len   |    revision    | [expiry]  |   key    |  value   | pad 0-3 |
//! |  u8  |  u8  |   u16   |     u32      |      u48       |   u48     |          |          |         |
//! +------+------+---------+--------------+----------------+-----------+----------+----------+---------+
//! ```
//! Little-endian; a record begins on a multiple of four bytes. The expiry (Unix milliseconds) is there when its
//! flag is set. A large value is four bytes here: its id. A collection is its entries, or where its pages are
//! ([`collection`](super::collection)). `space` names the keyspace, not the database: SWAPDB
//! exchanges two entries of a map, and every record stays as it is.

use crate::mutation::{LargeId, Revision};
use crate::time::Millis;

/// Bytes before the revision.
const HEAD_BYTES: usize = 8;
const REVISION_BYTES: usize = 6;
const EXPIRY_BYTES: usize = 6;
/// Bytes of a record without expiry, key and value.
pub const OVERHEAD_BYTES: usize = HEAD_BYTES + REVISION_BYTES;
/// Bytes that a large value takes in its record.
pub const LARGE_BYTES: usize = 4;
/// Records begin at multiples of this.
pub const ALIGN_BYTES: usize = 4;
/// The latest expiry that a record can hold, in Unix milliseconds (the year 10889); later ones are brought down to it.
pub const EXPIRY_MAX: u64 = (1 << 48) - 1;

const EXPIRY_FLAG: u8 = 1;
const LARGE_FLAG: u8 = 2;
const DEAD_FLAG: u8 = 4;
const PINNED_FLAG: u8 = 8;
const COLLECTION_FLAG: u8 = 16;

const _: () = assert!(size(16, 32, false) == 64 && size(16, 32, true) == 68);
const _: () = assert!(size(crate::limits::KEY_BYTES_MAX, LARGE_BYTES, true) <= crate::limits::SEGMENT_BYTES);

/// Bytes of the record of a key and a value, which is `LARGE_BYTES` long when it is a large one.
#[inline]
pub const fn size(key_len: usize, value_len: usize, expires: bool) -> usize {
    let expiry = if expires { EXPIRY_BYTES } else { 0 };
    (OVERHEAD_BYTES + expiry + key_len + value_len).next_multiple_of(ALIGN_BYTES)
}

/// A value as a record holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    Inline(&'a [u8]),
    Large(LargeId),
    /// To be read by [`Collection::read`](super::collection::Collection::read).
    Collection(&'a [u8]),
}

impl Content<'_> {
    /// Bytes that it takes in the record.
    #[inline]
    pub fn stored_len(&self) -> usize {
        match self {
            Content::Inline(bytes) | Content::Collection(bytes) => bytes.len(),
            Content::Large(_) => LARGE_BYTES,
        }
    }
}

/// A record, read from or about to be written to a segment.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub space: u8,
    pub dead: bool,
    pub revision: Revision,
    pub expiry: Option<Millis>,
    pub key: &'a [u8],
    pub content: Content<'a>,
}

#[inline]
fn u48(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..6].copy_from_slice(&bytes[..6]);
    u64::from_le_bytes(word)
}

impl<'a> Record<'a> {
    /// Reads the record that begins at `bytes[0]`.
    #[inline(always)] // Who reads one wants one or two of its fields.
    pub fn read(bytes: &'a [u8]) -> Record<'a> {
        let (head, body) = bytes.split_at(OVERHEAD_BYTES);
        let flags = head[0];
        let key_len = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let value_len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let revision = Revision(u48(&head[HEAD_BYTES..]));
        let (expiry, body) = if flags & EXPIRY_FLAG == 0 {
            (None, body)
        } else {
            (Some(Millis(u48(body))), &body[EXPIRY_BYTES..])
        };
        let (key, value) = body[..key_len + value_len].split_at(key_len);
        let content = if flags & (LARGE_FLAG | COLLECTION_FLAG) == 0 {
            Content::Inline(value)
        } else if flags & LARGE_FLAG == 0 {
            Content::Collection(value)
        } else {
            Content::Large(LargeId(u32::from_le_bytes([value[0], value[1], value[2], value[3]])))
        };
        Record { space: bytes[1], dead: flags & DEAD_FLAG != 0, revision, expiry, key, content }
    }

    /// Bytes that it takes.
    #[inline]
    pub fn size(&self) -> usize {
        size(self.key.len(), self.content.stored_len(), self.expiry.is_some())
    }

    /// Whether it is no more at `now`.
    #[inline]
    pub fn expired(&self, now: Millis) -> bool {
        self.expiry.is_some_and(|expiry| expiry <= now)
    }

    /// Writes it to the beginning of `bytes`; at least [`size`](Self::size) bytes are there.
    pub fn write(&self, bytes: &mut [u8]) {
        let mut flags = if self.dead { DEAD_FLAG } else { 0 };
        let mut body = OVERHEAD_BYTES;
        if let Some(expiry) = self.expiry {
            flags |= EXPIRY_FLAG;
            bytes[body..body + EXPIRY_BYTES].copy_from_slice(&expiry.0.to_le_bytes()[..EXPIRY_BYTES]);
            body += EXPIRY_BYTES;
        }
        let value = body + self.key.len();
        bytes[body..value].copy_from_slice(self.key);
        match self.content {
            Content::Inline(inline) => bytes[value..value + inline.len()].copy_from_slice(inline),
            Content::Collection(collection) => {
                flags |= COLLECTION_FLAG;
                bytes[value..value + collection.len()].copy_from_slice(collection);
            }
            Content::Large(id) => {
                flags |= LARGE_FLAG;
                bytes[value..value + LARGE_BYTES].copy_from_slice(&id.0.to_le_bytes());
            }
        }
        bytes[0] = flags;
        bytes[1] = self.space;
        bytes[2..4].copy_from_slice(&(self.key.len() as u16).to_le_bytes());
        bytes[4..8].copy_from_slice(&(self.content.stored_len() as u32).to_le_bytes());
        bytes[8..14].copy_from_slice(&self.revision.0.to_le_bytes()[..REVISION_BYTES]);
    }
}

/// Whether the record at `bytes[0]` has this key: the comparison that every lookup ends in.
#[inline(always)] // A call would cost as much as its body; once for each command of a batch.
pub fn has_key(bytes: &[u8], key: &[u8]) -> bool {
    let at = OVERHEAD_BYTES + if bytes[0] & EXPIRY_FLAG == 0 { 0 } else { EXPIRY_BYTES };
    usize::from(u16::from_le_bytes([bytes[2], bytes[3]])) == key.len()
        && are_same(&bytes[at..at + key.len()], key)
}

/// Whether two strings of one length are the same. Most keys are short enough that a call of `memcmp` would cost more.
#[inline]
fn are_same(a: &[u8], b: &[u8]) -> bool {
    match (a.first_chunk::<8>(), b.first_chunk::<8>(), a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a_first), Some(b_first), Some(a_last), Some(b_last)) if a.len() <= 16 => {
            a_first == b_first && a_last == b_last
        }
        _ => a == b,
    }
}

/// The value of the record at `bytes[0]`, which has a key of this length; `None`: it is a large one, or a collection.
#[inline(always)]
pub fn inline_value(bytes: &[u8], key_len: usize) -> Option<&[u8]> {
    let flags = bytes[0];
    let at = OVERHEAD_BYTES + key_len + if flags & EXPIRY_FLAG == 0 { 0 } else { EXPIRY_BYTES };
    let len = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    (flags & (LARGE_FLAG | COLLECTION_FLAG) == 0).then(|| &bytes[at..at + len])
}

/// Whether the record at `bytes[0]` is no more at `now`.
#[inline(always)]
pub fn expired(bytes: &[u8], now: Millis) -> bool {
    bytes[0] & EXPIRY_FLAG != 0 && u48(&bytes[OVERHEAD_BYTES..]) <= now.0
}

/// The expiry of the record at `bytes[0]`.
#[inline]
pub fn expiry(bytes: &[u8]) -> Option<Millis> {
    (bytes[0] & EXPIRY_FLAG != 0).then(|| Millis(u48(&bytes[OVERHEAD_BYTES..])))
}

/// Whether the record at `bytes[0]`, which lives, can be [rewritten](rewrite) with a value of this length: its value is as
/// long and lies in it, it has an expiry if the new one has, and it is not pinned.
#[inline(always)] // As for `has_key`.
pub fn is_like(bytes: &[u8], value_len: usize, expires: bool) -> bool {
    bytes[0] == (if expires { EXPIRY_FLAG } else { 0 })
        && u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize == value_len
}

/// Puts another revision, expiry and value into the record at `bytes[0]`, which is [like](is_like) that.
#[inline]
pub fn rewrite(
    bytes: &mut [u8],
    key_len: usize,
    revision: Revision,
    (value, expiry): (&[u8], Option<Millis>),
) {
    set_revision(bytes, revision);
    let mut at = OVERHEAD_BYTES + key_len;
    if let Some(expiry) = expiry {
        set_expiry(bytes, expiry);
        at += EXPIRY_BYTES;
    }
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Whether the expiry of the record at `bytes[0]`, which lives, can be [set](set_expiry) where it is: it has one, and it is not
/// pinned.
#[inline]
pub fn has_place_for_expiry(bytes: &[u8]) -> bool {
    bytes[0] & (EXPIRY_FLAG | PINNED_FLAG) == EXPIRY_FLAG
}

/// Gives the record at `bytes[0]`, which has an expiry, another one.
#[inline]
pub fn set_expiry(bytes: &mut [u8], expiry: Millis) {
    bytes[OVERHEAD_BYTES..OVERHEAD_BYTES + EXPIRY_BYTES]
        .copy_from_slice(&expiry.0.to_le_bytes()[..EXPIRY_BYTES]);
}

/// Puts another revision and value of the same length into the record at `bytes[0]`, whatever it is.
pub fn rewrite_value(bytes: &mut [u8], revision: Revision, value: &[u8]) {
    set_revision(bytes, revision);
    content_mut(bytes).copy_from_slice(value);
}

/// The value in the record at `bytes[0]`, to be changed in place.
pub fn content_mut(bytes: &mut [u8]) -> &mut [u8] {
    let key_len = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
    let at = OVERHEAD_BYTES + key_len + if bytes[0] & EXPIRY_FLAG == 0 { 0 } else { EXPIRY_BYTES };
    let len = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    &mut bytes[at..at + len]
}

/// Marks the record at `bytes[0]` dead.
#[inline]
pub fn mark_dead(bytes: &mut [u8]) {
    bytes[0] |= DEAD_FLAG;
}

/// Pins the record at `bytes[0]`: it is not evicted until it is [unpinned](unpin) or written again.
pub fn pin(bytes: &mut [u8]) {
    bytes[0] |= PINNED_FLAG;
}

/// Takes back what [`pin`] did, if it did.
pub fn unpin(bytes: &mut [u8]) {
    bytes[0] &= !PINNED_FLAG;
}

/// Whether the record at `bytes[0]` is pinned.
pub fn is_pinned(bytes: &[u8]) -> bool {
    bytes[0] & PINNED_FLAG != 0
}

/// The revision of the record at `bytes[0]`.
pub fn revision(bytes: &[u8]) -> Revision {
    Revision(u48(&bytes[HEAD_BYTES..]))
}

/// Gives the record at `bytes[0]` another revision.
#[inline]
pub fn set_revision(bytes: &mut [u8], revision: Revision) {
    bytes[HEAD_BYTES..OVERHEAD_BYTES].copy_from_slice(&revision.0.to_le_bytes()[..REVISION_BYTES]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut bytes = [0xEE; 256];
        for expiry in [None, Some(Millis(EXPIRY_MAX)), Some(Millis(0))] {
            for content in [
                Content::Inline(b""),
                Content::Inline(b"value"),
                Content::Large(LargeId(0x0102_0304)),
                Content::Collection(b"packed"),
            ] {
                for key in [&b""[..], b"key"] {
                    let record = Record {
                        space: 15,
                        dead: false,
                        revision: Revision(EXPIRY_MAX),
                        expiry,
                        key,
                        content,
                    };
                    record.write(&mut bytes);
                    let read = Record::read(&bytes);
                    assert_eq!((read.space, read.dead, read.revision), (15, false, Revision(EXPIRY_MAX)));
                    assert_eq!((read.expiry, read.key, read.content), (expiry, key, content));
                    assert_eq!(read.size() % ALIGN_BYTES, 0);
                    assert!(has_key(&bytes, key) && !has_key(&bytes, b"kex"));
                    let value = inline_value(&bytes, key.len());
                    assert_eq!(value.map_or(content, Content::Inline), content);
                    mark_dead(&mut bytes);
                    assert!(Record::read(&bytes).dead);
                }
            }
        }
    }

    #[test]
    fn keys_of_every_length_are_told_apart() {
        for len in 0..40 {
            let key = vec![b'k'; len];
            assert!(are_same(&key, &key.clone()));
            for at in 0..len {
                let mut other = key.clone();
                other[at] = b'x';
                assert!(!are_same(&key, &other));
            }
        }
    }

    #[test]
    fn a_record_is_rewritten_in_place() {
        let mut bytes = [0; 64];
        let (key, content) = (&b"key"[..], Content::Inline(b"value"));
        let record = Record { space: 3, dead: false, revision: Revision(1), expiry: None, key, content };
        record.write(&mut bytes);
        assert!(is_like(&bytes, 5, false) && !is_like(&bytes, 4, false) && !is_like(&bytes, 5, true));
        assert!(
            !has_place_for_expiry(&bytes) && expiry(&bytes).is_none() && !expired(&bytes, Millis(EXPIRY_MAX))
        );
        rewrite(&mut bytes, 3, Revision(2), (b"other", None));
        let content = Content::Inline(b"other");
        assert_eq!(
            format!("{:?}", Record::read(&bytes)),
            format!("{:?}", Record { revision: Revision(2), content, ..record })
        );

        let record = Record { expiry: Some(Millis(7)), ..record };
        record.write(&mut bytes);
        assert!(expired(&bytes, Millis(7)) && !expired(&bytes, Millis(6)));
        assert!(is_like(&bytes, 5, true) && !is_like(&bytes, 5, false) && has_place_for_expiry(&bytes));
        rewrite(&mut bytes, 3, Revision(3), (b"third", Some(Millis(EXPIRY_MAX))));
        set_expiry(&mut bytes, Millis(9));
        assert_eq!(expiry(&bytes), Some(Millis(9)));
        let (revision, expiry, content) = (Revision(3), Some(Millis(9)), Content::Inline(b"third"));
        assert_eq!(
            format!("{:?}", Record::read(&bytes)),
            format!("{:?}", Record { revision, expiry, content, ..record })
        );
        pin(&mut bytes);
        assert!(!is_like(&bytes, 5, true) && !has_place_for_expiry(&bytes));
    }

    #[test]
    fn an_expiry_ends_at_its_millisecond() {
        let record = Record {
            space: 0,
            dead: false,
            revision: Revision(1),
            expiry: Some(Millis(7)),
            key: b"k",
            content: Content::Inline(b"v"),
        };
        assert!(!record.expired(Millis(6)) && record.expired(Millis(7)));
    }
}
