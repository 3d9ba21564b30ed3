//! How long the loop's turns take: what a request can have to wait for others.

/// The longest turn is remembered for one to two of these, milliseconds.
const WINDOW_MS: u64 = 30_000;

/// Counts turns. Times in microseconds.
#[derive(Debug, Default)]
pub struct Turns {
    /// Turns so far.
    pub count: u64,
    /// Time spent in them.
    pub busy_us: u64,
    window: u64,
    slowest_now_us: u64,
    slowest_before_us: u64,
}

impl Turns {
    /// A turn that began at `now_ms` (monotonic) took so long.
    pub fn took(&mut self, now_ms: u64, micros: u64) {
        let window = now_ms / WINDOW_MS;
        if window != self.window {
            self.slowest_before_us = if window == self.window + 1 { self.slowest_now_us } else { 0 };
            self.slowest_now_us = 0;
            self.window = window;
        }
        self.count += 1;
        self.busy_us += micros;
        self.slowest_now_us = self.slowest_now_us.max(micros);
    }

    /// The longest turn of this window and the one before.
    pub fn slowest_us(&self) -> u64 {
        self.slowest_now_us.max(self.slowest_before_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_turn_is_forgotten_after_two_windows() {
        let mut turns = Turns::default();
        turns.took(10, 500);
        turns.took(WINDOW_MS - 1, 3);
        assert_eq!(turns.slowest_us(), 500);
        turns.took(WINDOW_MS, 4);
        assert_eq!(turns.slowest_us(), 500);
        turns.took(2 * WINDOW_MS, 5);
        assert_eq!(turns.slowest_us(), 5);
        turns.took(9 * WINDOW_MS, 1);
        assert_eq!((turns.slowest_us(), turns.count, turns.busy_us), (1, 5, 513));
    }
}
