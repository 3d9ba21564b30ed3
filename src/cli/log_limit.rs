//! How many lines of one kind the log takes, so that a peer that provokes a line with every packet fills no disk and
//! takes no time from the others. A kind is a place in the program; a place says ten lines in ten seconds:
//!
//! ```text
//!  00.0 s  [WARN] 10.0.0.9:4711 turned away: as many clients as --max-clients allows      (ten of these)
//!  10.3 s  [WARN] 4312 more like it suppressed: 10.0.0.9:4720 turned away: as many clients as --max-clients allows
//! ```
//!
//! What was left out is counted before the next line of any kind once the ten seconds are over, and at the end. Lines
//! that are asked for are never left out: debug and trace, and those of `--log-requests`.

use log::{Level, Log, Metadata, Record};
use std::sync::{Mutex, PoisonError};

/// Lines of one kind in a window.
const LINES_PER_WINDOW: u32 = 10;
/// Milliseconds.
const WINDOW_MS: u64 = 10_000;
/// Bytes of a line that are kept to tell what is like it.
const SAMPLE_BYTES: usize = 160;
/// The target of the lines of `--log-requests`.
const REQUESTS: &str = "request";

/// What has been said at one place of the program, in its current window.
struct Place {
    file: Option<&'static str>,
    line: Option<u32>,
    level: Level,
    target: String,
    /// When the window began.
    began_ms: u64,
    lines: u32,
    suppressed: u64,
    /// The last line that was let through.
    sample: String,
}

impl Place {
    /// A place that speaks at two levels is two: the louder one must not be left out for the other.
    fn key(&self) -> (Option<&'static str>, Option<u32>, Level) {
        (self.file, self.line, self.level)
    }
}

/// A logger that says no more than a few lines of a kind to the one inside.
pub(super) struct Limited<L> {
    inner: L,
    /// There are no more places than the program has lines that log.
    places: Mutex<Vec<Place>>,
    /// Milliseconds that only grow.
    clock_ms: fn() -> u64,
}

impl<L: Log> Limited<L> {
    pub(super) fn new(inner: L, clock_ms: fn() -> u64) -> Limited<L> {
        Limited { inner, places: Mutex::new(Vec::new()), clock_ms }
    }

    fn is_exempt(record: &Record<'_>) -> bool {
        record.level() >= Level::Debug || record.target() == REQUESTS
    }

    /// Tells what was left out in windows that are over by `now_ms`.
    fn tell(&self, places: &mut [Place], now_ms: u64) {
        for place in places {
            if place.suppressed > 0 && now_ms.saturating_sub(place.began_ms) >= WINDOW_MS {
                let args = format_args!("{} more like it suppressed: {}", place.suppressed, place.sample);
                let mut record = Record::builder();
                self.inner.log(&record.level(place.level).target(&place.target).args(args).build());
                place.suppressed = 0;
            }
        }
    }
}

impl<L: Log> Log for Limited<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if Self::is_exempt(record) {
            return self.inner.log(record);
        }
        let now_ms = (self.clock_ms)();
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell(&mut places, now_ms);
        let here = (record.file_static(), record.line(), record.level());
        let index = places.iter().position(|place| place.key() == here).unwrap_or_else(|| {
            let (file, line, level) = here;
            places.push(Place {
                file,
                line,
                level,
                target: record.target().to_owned(),
                began_ms: now_ms,
                lines: 0,
                suppressed: 0,
                sample: String::with_capacity(SAMPLE_BYTES),
            });
            places.len() - 1
        });
        let place = &mut places[index];
        if now_ms.saturating_sub(place.began_ms) >= WINDOW_MS {
            (place.began_ms, place.lines) = (now_ms, 0);
        }
        if place.lines >= LINES_PER_WINDOW {
            place.suppressed += 1;
            return;
        }
        place.lines += 1;
        if place.lines == LINES_PER_WINDOW {
            place.sample = sample(record);
        }
        self.inner.log(record);
    }

    /// Tells everything that was left out: the end of the program.
    fn flush(&self) {
        self.tell(&mut self.places.lock().unwrap_or_else(PoisonError::into_inner), u64::MAX);
        self.inner.flush();
    }
}

/// The line, cut to [`SAMPLE_BYTES`].
fn sample(record: &Record<'_>) -> String {
    let mut text = record.args().to_string();
    if text.len() > SAMPLE_BYTES {
        let end = (0..=SAMPLE_BYTES).rev().find(|&end| text.is_char_boundary(end));
        text.truncate(end.unwrap_or_default());
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests;
