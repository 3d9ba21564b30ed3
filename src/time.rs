//! Time as a number that is handed in, never read: only `net/`, `client/` and `cli/` touch a clock.

/// Milliseconds. Either since the Unix epoch (expiry of keys) or since an arbitrary start (time limits of
/// connections); which of the two a value is, its name says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// The time `ms` milliseconds later; stays at the largest value rather than wrapping.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Millis {
        Millis(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`, 0 if `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One reading of the clocks, taken once for each turn of the loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Never goes back; for the time limits of connections and sessions.
    pub monotonic: Millis,
    /// Since the Unix epoch; for the expiry of keys.
    pub unix: Millis,
    /// Microseconds past `unix`, 0..=999.
    pub unix_micros: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stays_at_the_ends() {
        assert_eq!(Millis(u64::MAX).plus(1), Millis(u64::MAX));
        assert_eq!(Millis(3).since(Millis(5)), 0);
        assert_eq!(Millis(5).since(Millis(3)), 2);
    }
}
