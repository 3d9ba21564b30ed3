//! The scripts that are known, by the SHA-1 of their text. The compiled functions lie in a table of Lua's, by number;
//! here is what is remembered beside them.
//!
//! Scripts that came by EVAL are dropped when memory is short, those first that were used longest ago. Scripts that came
//! by SCRIPT LOAD stay until SCRIPT FLUSH, for their clients count on that.

use super::source::Flags;
use std::collections::HashMap;

/// Scripts that came by EVAL and are kept, at most (Redis 7.4 has the same bound): a client that builds a new script for
/// each call fills no more than that.
const EVALUATED_MAX: usize = 500;
/// Scripts in all, at most: what is remembered of one takes some 80 bytes beside Lua's memory.
const LOADED_MAX: usize = 1_000;

/// What is known of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its place in the table of compiled functions.
    pub(super) number: u32,
    pub(super) flags: Flags,
    /// It came by SCRIPT LOAD.
    is_loaded: bool,
    /// When it was used last, by the count of uses.
    used: u64,
}

/// The scripts that are known.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<[u8; 20], Entry>,
    loaded_count: usize,
    next_number: u32,
    uses: u64,
}

impl Cache {
    /// The entry of a script, which is used now.
    pub(super) fn take_for_use(&mut self, digest: &[u8; 20]) -> Option<Entry> {
        self.uses += 1;
        let entry = self.entries.get_mut(digest)?;
        entry.used = self.uses;
        Some(*entry)
    }

    pub(super) fn contains(&self, digest: &[u8; 20]) -> bool {
        self.entries.contains_key(digest)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether scripts that came by EVAL are more than are kept.
    pub(super) fn is_crowded(&self) -> bool {
        self.entries.len() - self.loaded_count >= EVALUATED_MAX
    }

    /// Adds a script that came by EVAL; the number that it has from now on.
    pub(super) fn insert(&mut self, digest: [u8; 20], flags: Flags) -> u32 {
        self.uses += 1;
        self.next_number = self.next_number.wrapping_add(1);
        let entry = Entry { number: self.next_number, flags, is_loaded: false, used: self.uses };
        self.entries.insert(digest, entry);
        entry.number
    }

    /// A script that is known came by SCRIPT LOAD as well. False: there are too many of those.
    pub(super) fn keep(&mut self, digest: &[u8; 20]) -> bool {
        if let Some(entry) = self.entries.get_mut(digest)
            && !entry.is_loaded
        {
            if self.loaded_count >= LOADED_MAX {
                return false;
            }
            entry.is_loaded = true;
            self.loaded_count += 1;
        }
        true
    }

    /// Drops a script; the number that it had.
    pub(super) fn remove(&mut self, digest: &[u8; 20]) -> Option<u32> {
        let entry = self.entries.remove(digest)?;
        self.loaded_count -= usize::from(entry.is_loaded);
        Some(entry.number)
    }

    /// Drops a quarter of the scripts that came by EVAL, at least one, those that were used longest ago; their numbers.
    pub(super) fn drop_least_used(&mut self) -> Vec<u32> {
        let evaluated = self.entries.iter().filter(|(_, entry)| !entry.is_loaded);
        let mut oldest: Vec<(u64, [u8; 20])> =
            evaluated.map(|(digest, entry)| (entry.used, *digest)).collect();
        oldest.sort_unstable();
        oldest.truncate(oldest.len().div_ceil(4));
        oldest.iter().filter_map(|(_, digest)| self.remove(digest)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u8) -> [u8; 20] {
        [number; 20]
    }

    #[test]
    fn the_least_used_go_first_and_loaded_ones_never() {
        let mut cache = Cache::default();
        for number in 0..8 {
            cache.insert(digest(number), Flags::default());
        }
        assert!(cache.keep(&digest(0)));
        assert!(cache.take_for_use(&digest(1)).is_some());
        let first = cache.drop_least_used();
        assert_eq!(first.len(), 2);
        assert!(!cache.contains(&digest(2)) && !cache.contains(&digest(3)));
        while !cache.drop_least_used().is_empty() {}
        assert_eq!(cache.len(), 1);
        assert!(cache.contains(&digest(0)));
        assert!(cache.remove(&digest(0)).is_some());
        assert_eq!(cache.loaded_count, 0);
    }

    #[test]
    fn both_kinds_are_bounded() {
        let mut cache = Cache::default();
        let digest = |number: usize| {
            let mut digest = [0; 20];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            digest
        };
        for number in 0..EVALUATED_MAX {
            assert!(!cache.is_crowded());
            cache.insert(digest(number), Flags::default());
        }
        assert!(cache.is_crowded());
        for number in 0..LOADED_MAX {
            cache.insert(digest(number), Flags::default());
            assert!(cache.keep(&digest(number)));
        }
        cache.insert(digest(LOADED_MAX), Flags::default());
        assert!(!cache.keep(&digest(LOADED_MAX)));
    }
}
