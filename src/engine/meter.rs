//! How much work a client's turn has left. Commands charge what they do, in units of about 100 ns; where the meter is
//! spent, a verb that can be cut answers [`Flow::Yield`](super::Flow::Yield) and goes on in the client's next turn, and
//! the server serves others. So a client waits for the work of another one's turn, never for the whole of its command.
//!
//! ```text
//!  server: refill ─▶ command, command, … ─▶ spent? ── yes ─▶ next client
//!                     └─ charge(look-ups, bytes, pattern steps) ─▶ spent? ── yes ─▶ Yield(continuation)
//! ```
//! The unit is an estimate from profiles, not a measurement at run time: a clock read for each charge would cost more
//! than most commands do. What counts is that no kind of work is free.

/// Units of one connection's turn: about 100 µs, far below the millisecond that others may wait (with the largest single
/// charge of a verb that cannot be cut on top).
pub const TURN_UNITS: u32 = 1_024;

/// What it costs to take one command, however little it does.
pub const COMMAND_UNITS: u32 = 4;
/// What looking a key up costs, which is mostly a cache miss.
pub const KEY_UNITS: u32 = 2;
/// What changing an entry of a collection costs: a way through its pages, and moving the entries of the last one. Copies of
/// pages that are shared come on top.
pub const FIELD_UNITS: u32 = 12;
/// What looking an entry of a collection up costs, beside its key.
pub const FIELD_LOOKUP_UNITS: u32 = 3;
/// Bytes that are copied, compared or cleared for one unit: memory that is in no cache moves at about 5 GB/s.
pub const BYTES_PER_UNIT: usize = 512;
/// Bytes of a large value that are walked over for one unit, 64 KiB at each step.
pub const SEEK_BYTES_PER_UNIT: u64 = 1 << 20;
/// Steps of the pattern matcher for one unit.
pub const PATTERN_STEPS_PER_UNIT: usize = 64;

/// Units of what must be one step (MSET, EXEC) beyond which it is counted as a long one: about 5 ms.
pub const STEP_UNITS_MAX: u32 = 50 * TURN_UNITS;

/// A countdown. Charging beyond its end is allowed, for what is begun and cannot be cut; it stays spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Below zero: so much more than the meter had was charged.
    left: i64,
}

impl Meter {
    /// A meter with so many units.
    #[must_use]
    pub const fn new(units: u32) -> Meter {
        Meter { left: units as i64 }
    }

    /// Takes units off.
    #[inline]
    pub fn charge(&mut self, units: u32) {
        self.left -= i64::from(units);
    }

    /// Takes off what copying, comparing or clearing so many bytes costs.
    #[inline]
    pub fn charge_bytes(&mut self, len: usize) {
        self.charge(u32::try_from(len / BYTES_PER_UNIT).unwrap_or(u32::MAX));
    }

    /// Takes off what finding a byte of a large value costs, for its spans are walked over.
    #[inline]
    pub fn charge_seek(&mut self, offset: u64) {
        self.charge((offset / SEEK_BYTES_PER_UNIT) as u32);
    }

    /// Takes off what so many steps of the pattern matcher cost.
    #[inline]
    pub fn charge_pattern_steps(&mut self, steps: usize) {
        self.charge(u32::try_from(steps.div_ceil(PATTERN_STEPS_PER_UNIT)).unwrap_or(u32::MAX));
    }

    /// Whether nothing is left.
    #[must_use]
    #[inline]
    pub const fn is_spent(&self) -> bool {
        self.left <= 0
    }

    /// Units that are left.
    #[must_use]
    #[inline]
    pub const fn left(&self) -> u32 {
        if self.left < 0 { 0 } else { self.left as u32 }
    }

    /// Units that were charged to a meter that began with `units`.
    #[must_use]
    pub const fn used_of(&self, units: u32) -> u64 {
        (units as i64 - self.left).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_is_spent_at_its_end_and_beyond() {
        let mut meter = Meter::new(10);
        meter.charge(9);
        assert!(!meter.is_spent());
        meter.charge_bytes(BYTES_PER_UNIT - 1);
        assert_eq!(meter.left(), 1);
        meter.charge_pattern_steps(1);
        assert!(meter.is_spent());
        meter.charge(5);
        assert_eq!((meter.left(), meter.used_of(10)), (0, 15));
        meter.charge(u32::MAX);
        meter.charge_bytes(usize::MAX);
        assert!(meter.is_spent());
    }
}
