//! Floods of lines: what is let through, how the rest is summed up, and what is never left out.

use super::*;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Keeps the lines it gets.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {} {}", record.level(), record.target(), record.args());
        self.0.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

impl Lines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Logs at a made-up place of the program.
fn say(log: &dyn Log, (place, level, target): (u32, Level, &str), text: &str) {
    let mut record = Record::builder();
    let record = record.level(level).target(target).file_static(Some("made/up.rs")).line(Some(place));
    log.log(&record.args(format_args!("{text}")).build());
}

const WARN: (u32, Level, &str) = (1, Level::Warn, "pannier::net");

#[test]
fn ten_lines_and_a_count_of_the_rest() {
    static NOW_MS: AtomicU64 = AtomicU64::new(5);
    let kept = Lines::default();
    let log = Limited::new(kept.clone(), || NOW_MS.load(Ordering::Relaxed));
    for index in 0..1000 {
        say(&log, WARN, &format!("turned away {index}"));
    }
    let lines = kept.take();
    assert_eq!(lines.len(), 10);
    assert_eq!(lines[9], "WARN pannier::net turned away 9");

    // Another place has lines of its own, and within the window nothing is said of the first.
    NOW_MS.store(10_004, Ordering::Relaxed);
    say(&log, (2, Level::Info, "pannier::net"), "another thing");
    assert_eq!(kept.take(), ["INFO pannier::net another thing"]);

    // When it is over, the next line of any kind brings the count out, once.
    NOW_MS.store(10_005, Ordering::Relaxed);
    for _ in 0..2 {
        say(&log, (2, Level::Info, "pannier::net"), "another thing");
    }
    let told = "WARN pannier::net 990 more like it suppressed: turned away 9";
    assert_eq!(kept.take(), [told, "INFO pannier::net another thing", "INFO pannier::net another thing"]);
    say(&log, WARN, "turned away again");
    assert_eq!(kept.take(), ["WARN pannier::net turned away again"]);
}

#[test]
fn the_end_tells_what_was_left_out() {
    let kept = Lines::default();
    let log = Limited::new(kept.clone(), || 0);
    for _ in 0..11 {
        say(&log, WARN, &"é".repeat(200));
    }
    kept.take();
    log.flush();
    let told = format!("WARN pannier::net 1 more like it suppressed: {}...", "é".repeat(80));
    assert_eq!(kept.take(), [told]);
    log.flush();
    assert!(kept.take().is_empty());
}

#[test]
fn what_was_asked_for_is_never_left_out() {
    let kept = Lines::default();
    let log = Limited::new(kept.clone(), || 0);
    for what in [(1, Level::Debug, "pannier"), (2, Level::Trace, "pannier"), (3, Level::Info, "request")] {
        for _ in 0..100 {
            say(&log, what, "line");
        }
        assert_eq!(kept.take().len(), 100, "{what:?}");
    }
}
