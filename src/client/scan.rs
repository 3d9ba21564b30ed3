//! SCAN as an iterator over keys.

use super::Error;
use super::reply::{REPLY_BYTES_MAX, Reply};
use super::tcp::{Client, Effect, unexpected};
use crate::limits::{KEY_BYTES_MAX, MIB};

/// The keys of a [`Client::scan`]. After an error there are no more.
pub struct Scan<'a> {
    pub(super) client: &'a mut Client,
    pub(super) pattern: Option<Vec<u8>>,
    pub(super) count: u32,
    /// Where the next page begins; `None` after the last one.
    pub(super) cursor: Option<Vec<u8>>,
    pub(super) page: std::vec::IntoIter<Vec<u8>>,
}

impl Scan<'_> {
    fn fetch(&mut self, cursor: &[u8]) -> Result<(), Error> {
        let count = self.count.max(1).to_string();
        let mut arguments: Vec<&[u8]> = vec![b"SCAN", cursor, b"COUNT", count.as_bytes()];
        if let Some(pattern) = &self.pattern {
            arguments.extend([b"MATCH", &pattern[..]]);
        }
        let Reply::Array(parts) = self.client.call(Effect::Read, page_bytes_max(self.count), &arguments)?
        else {
            return Err(unexpected());
        };
        let Ok([cursor, Reply::Array(keys)]) = <[Reply; 2]>::try_from(parts) else {
            return Err(unexpected());
        };
        let keys: Option<Vec<_>> = keys.into_iter().map(Reply::into_bytes).collect();
        self.page = keys.ok_or_else(unexpected)?.into_iter();
        self.cursor = Some(cursor.into_bytes().ok_or_else(unexpected)?).filter(|cursor| cursor != b"0");
        Ok(())
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Vec<u8>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.page.next() {
                return Some(Ok(key));
            }
            let cursor = self.cursor.take()?;
            if let Err(error) = self.fetch(&cursor) {
                return Some(Err(error));
            }
        }
    }
}

/// Bytes of a page's reply, at most: twice as many of Pannier's longest keys as were asked for.
fn page_bytes_max(count: u32) -> usize {
    (count as usize).saturating_mul(2 * KEY_BYTES_MAX).clamp(16 * MIB, REPLY_BYTES_MAX)
}
