//! What keys had before: what an answer that is made piece by piece may have read.

use super::{Model, Record};

impl Model {
    pub(super) fn remember(&mut self, key: &[u8]) {
        self.past.push((key.to_vec(), self.records.get(key).cloned()));
    }

    /// Now, for [`could_have_read`](Model::could_have_read).
    pub fn mark(&self) -> usize {
        self.past.len()
    }

    /// No client is in the middle of a long answer: the list of past states is of no more use, and no mark into it is valid.
    pub fn forget_past(&mut self) {
        self.past.clear();
    }

    /// Whether a key had this value (`None`: was not there) at any time between a mark and now.
    pub fn could_have_read(&self, key: &[u8], value: Option<&[u8]>, mark: usize, unix: u64) -> bool {
        self.states_since(key, mark).any(|had| match (had, value) {
            (Some(record), Some(value)) => record.value.text() == Some(value),
            // MGET reads nothing where there is no string.
            (Some(record), None) => {
                record.value.text().is_none() || record.expiry.is_some_and(|at| at <= unix)
            }
            (None, value) => value.is_none(),
        })
    }

    /// What a key has had at any time between a mark and now.
    pub fn states_since(&self, key: &[u8], mark: usize) -> impl Iterator<Item = Option<&Record>> {
        let now = self.records.get(key);
        let before = self.past[mark..].iter().filter(move |(changed, _)| changed == key);
        before.map(|(_, had)| had.as_ref()).chain([now])
    }
}
