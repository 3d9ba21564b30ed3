//! How many commands a second are executed, for INFO's `instantaneous_ops_per_sec`.

use crate::time::Millis;

/// A rate is made of at least so much time.
const WINDOW_MS: u64 = 1_000;

/// A count as it was at the beginning of the window.
#[derive(Debug, Default)]
pub(super) struct OpsRate {
    since: Millis,
    count: u64,
}

impl OpsRate {
    /// The rate since the window began, where it is long enough: then a new one begins. A count that is lower than it was
    /// was reset, and counts from zero.
    #[inline]
    pub(super) fn note(&mut self, now: Millis, count: u64) -> Option<u64> {
        let elapsed_ms = now.since(self.since);
        if elapsed_ms < WINDOW_MS {
            return None;
        }
        let grown = count.checked_sub(self.count).unwrap_or(count);
        *self = OpsRate { since: now, count };
        Some(grown.saturating_mul(1_000) / elapsed_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_a_second_or_more() {
        let mut ops_rate = OpsRate::default();
        assert_eq!(ops_rate.note(Millis(999), 5_000), None);
        assert_eq!(ops_rate.note(Millis(1_000), 5_000), Some(5_000));
        assert_eq!(ops_rate.note(Millis(1_999), 9_000), None);
        assert_eq!(ops_rate.note(Millis(3_000), 9_000), Some(2_000));
        assert_eq!(ops_rate.note(Millis(5_000), 10), Some(5), "after a reset");
    }
}
