//! A limit on what strangers can make the server say: errors to a source. Pure functions of time.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use crate::frames::shares::network_of;
use crate::time::Millis;

/// Buckets; addresses (IPv6: networks of 64 bits, whose owner can send from any of their addresses) share them by a keyed hash, so that memory is fixed.
const BUCKETS: usize = 1024;
/// Errors a second to one address, in the long run.
const ERRORS_PER_S: u64 = 64;
/// Errors at once: a whole window and its first retries.
const ERRORS_BURST: u64 = 128;
/// A bucket counts in thousandths, so that each millisecond adds a whole number.
const ONE: u64 = 1000;

/// Token buckets for errors, by source address.
#[derive(Debug)]
pub struct ErrorBudget {
    /// Thousandths of tokens *spent*, and when that was counted: zeroed memory is a full bucket.
    buckets: Vec<(u64, Millis)>,
    key: [u64; 2],
}

impl ErrorBudget {
    /// `key` must be random: it keeps a source from emptying a chosen stranger's bucket.
    #[must_use]
    pub fn new(key: [u64; 2]) -> ErrorBudget {
        ErrorBudget { buckets: vec![(0, Millis(0)); BUCKETS], key }
    }

    /// Bytes that it reserves.
    #[must_use]
    pub const fn memory_bytes() -> usize {
        BUCKETS * size_of::<(u64, Millis)>()
    }

    /// Whether one more error may go to this address now; if so, it is spent.
    pub fn take(&mut self, to: IpAddr, now: Millis) -> bool {
        let mut hasher = SipHasher13::new_with_keys(self.key[0], self.key[1]);
        let (family, network) = network_of(to);
        hasher.write_u8(family);
        hasher.write_u64(network);
        let (spent, counted) = &mut self.buckets[hasher.finish() as usize % BUCKETS];
        *spent = spent.saturating_sub(now.since(*counted).saturating_mul(ERRORS_PER_S * ONE / 1000));
        *counted = now;
        let may = *spent + ONE <= ERRORS_BURST * ONE;
        if may {
            *spent += ONE;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_in_bursts_and_then_at_a_rate() {
        let mut budget = ErrorBudget::new([1, 2]);
        let to = IpAddr::from([127, 0, 0, 1]);
        let taken =
            |budget: &mut ErrorBudget, now| (0..1000).filter(|_| budget.take(to, Millis(now))).count();
        assert_eq!(taken(&mut budget, 0), 128);
        assert_eq!(taken(&mut budget, 500), 32);
        assert_eq!(taken(&mut budget, 2400), 121, "64 a second, to the thousandth of an error");
        assert_eq!(taken(&mut budget, u64::MAX), 128);
    }

    #[test]
    fn memory_is_what_was_computed() {
        let budget = ErrorBudget::new([1, 2]);
        assert_eq!(ErrorBudget::memory_bytes(), budget.buckets.capacity() * size_of_val(&budget.buckets[0]));
    }
}
