//! The only place of the server that reads the clocks.

#![allow(clippy::disallowed_methods)] // clippy.toml forbids it everywhere else.

use crate::time::{Millis, Now};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads both clocks; the monotonic one counts from the clock's making.
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose monotonic time begins now.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// One reading of each. A wall clock set before 1970 reads as 1970.
    pub fn now(&self) -> Now {
        self.turn().0
    }

    /// One reading of each, good for a turn of the loop, and the monotonic one in microseconds.
    pub fn turn(&self) -> (Now, u64) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = self.micros();
        let now = Now {
            monotonic: Millis(micros / 1_000),
            unix: Millis(unix.as_millis() as u64),
            unix_micros: (unix.subsec_micros() % 1_000) as u16,
        };
        (now, micros)
    }

    /// Microseconds of the monotonic clock.
    pub fn micros(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}

/// Microseconds of the monotonic clock since an arbitrary start; what `--log-requests` measures with.
pub fn micros() -> u64 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}
