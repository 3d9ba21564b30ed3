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

    /// One reading, good for a turn of the loop. A wall clock set before 1970 reads as 1970.
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            monotonic: Millis(self.start.elapsed().as_millis() as u64),
            unix: Millis(unix.as_millis() as u64),
            unix_micros: (unix.subsec_micros() % 1_000) as u16,
        }
    }
}

/// Microseconds of the monotonic clock since an arbitrary start; what `--log-requests` measures with.
pub fn micros() -> u64 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}
