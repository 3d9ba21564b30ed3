//! How long the loop's turns take: what a request can have to wait for others.

use crate::metrics::ProcessStats;

/// The longest turn is remembered for one to two of these, milliseconds.
const WINDOW_MS: u64 = 30_000;

/// The longest turn of this window and of the one before. Times in microseconds.
#[derive(Debug, Default)]
pub struct LoopStats {
    window: u64,
    slowest_now_us: u64,
    slowest_before_us: u64,
}

impl LoopStats {
    /// A turn that began at `now_ms` (monotonic) took so long: notes it in the statistics.
    pub fn record_turn(&mut self, now_ms: u64, micros: u64, process_stats: &mut ProcessStats) {
        let window = now_ms / WINDOW_MS;
        if window != self.window {
            self.slowest_before_us = if window == self.window + 1 { self.slowest_now_us } else { 0 };
            self.slowest_now_us = 0;
            self.window = window;
        }
        self.slowest_now_us = self.slowest_now_us.max(micros);
        process_stats.turns += 1;
        process_stats.busy_us += micros;
        process_stats.slowest_turn_us = self.slowest_now_us.max(self.slowest_before_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_turn_is_forgotten_after_two_windows() {
        let (mut loop_stats, mut process_stats) = (LoopStats::default(), ProcessStats::default());
        for (now_ms, micros, slowest_us) in [
            (10, 500, 500),
            (WINDOW_MS - 1, 3, 500),
            (WINDOW_MS, 4, 500),
            (2 * WINDOW_MS, 5, 5),
            (9 * WINDOW_MS, 1, 1),
        ] {
            loop_stats.record_turn(now_ms, micros, &mut process_stats);
            assert_eq!(process_stats.slowest_turn_us, slowest_us, "at {now_ms} ms");
        }
        assert_eq!((process_stats.turns, process_stats.busy_us), (5, 513));
    }
}
