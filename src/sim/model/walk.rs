//! Walks through all keys: what a client's SCAN has to show.

use super::Model;
use crate::sim::violation::{Violation, violation};
use std::collections::BTreeSet;

/// A walk through all keys by SCAN.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Keys that were there when it began, and ever since.
    pub(super) throughout: BTreeSet<Vec<u8>>,
    seen: BTreeSet<Vec<u8>>,
}

impl Model {
    pub(super) fn left(&mut self, key: &[u8]) {
        for walk in self.walks.values_mut() {
            walk.throughout.remove(key);
        }
    }

    /// A client's SCAN from cursor 0.
    pub fn begin_walk(&mut self, client: usize) {
        let lasting = self.records.iter().filter(|(_, record)| record.expiry.is_none());
        let throughout = lasting.map(|(key, _)| key.clone()).collect();
        self.walks.insert(client, Walk { throughout, seen: BTreeSet::new() });
    }

    /// A page of a client's SCAN showed these keys; `last`: the cursor came back to 0.
    pub fn walk_page(
        &mut self,
        client: usize,
        keys: &[Vec<u8>],
        last: bool,
        unix: u64,
    ) -> Result<(), Violation> {
        for key in keys {
            if self.live(key, unix).is_none() {
                return Err(violation(key, "SCAN showed a key that is not there"));
            }
        }
        let Some(walk) = self.walks.get_mut(&client) else { return Ok(()) };
        for key in keys {
            let again = !walk.seen.insert(key.clone());
            if again && walk.throughout.contains(key) {
                return Err(violation(key, "SCAN showed a key twice that was there throughout"));
            }
        }
        if last {
            // What it did not show may have been driven out by a command just before.
            while let Some(key) = self.missed(client) {
                if !self.take_removal(unix)? {
                    return Err(violation(&key, "SCAN missed a key that was there throughout"));
                }
            }
            self.walks_ended += 1;
            self.walked_keys += self.walks.remove(&client).map_or(0, |walk| walk.throughout.len() as u64);
        }
        Ok(())
    }

    /// A key that a client's walk had to show and has not.
    fn missed(&self, client: usize) -> Option<Vec<u8>> {
        let walk = self.walks.get(&client)?;
        let lasting = |key: &&Vec<u8>| self.records.get(*key).is_some_and(|record| record.expiry.is_none());
        walk.throughout.difference(&walk.seen).find(lasting).cloned()
    }
}
