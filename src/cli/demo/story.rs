//! The output: numbered chapters, a line with a time for each thing that happens, and a verdict on each promise.

use std::{
    fmt::Display,
    io::{self, Write},
    time::{Duration, Instant},
};

/// The output so far, and what of it held.
pub(super) struct Story<'a> {
    out: &'a mut dyn Write,
    start: Instant,
    chapters: u32,
    pub(super) held: u32,
    pub(super) broken: u32,
}

impl<'a> Story<'a> {
    pub(super) fn begin(out: &'a mut dyn Write) -> Story<'a> {
        Story { out, start: now(), chapters: 0, held: 0, broken: 0 }
    }

    /// A new chapter begins.
    pub(super) fn chapter(&mut self, title: &str) -> io::Result<()> {
        self.chapters += 1;
        writeln!(self.out, "\n{}. {title}", self.chapters)?;
        self.out.flush()
    }

    /// Something happened.
    pub(super) fn tell(&mut self, what: impl Display) -> io::Result<()> {
        self.line("", what)
    }

    /// A promise was put to the test.
    pub(super) fn check(&mut self, held: bool, promise: impl Display) -> io::Result<()> {
        if held {
            self.held += 1;
            self.line("ok", promise)
        } else {
            self.broken += 1;
            self.line("BROKEN", promise)
        }
    }

    /// A line outside of time.
    pub(super) fn say(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    fn line(&mut self, verdict: &str, text: impl Display) -> io::Result<()> {
        let ms = self.start.elapsed().as_secs_f64() * 1e3;
        writeln!(self.out, "{ms:9.1} ms  {verdict:6}  {text}")?;
        // It is shown when it happens.
        self.out.flush()
    }
}

/// The demonstration says how long things take, so it reads the clock.
#[allow(clippy::disallowed_methods)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// A time as people read it.
pub(super) fn shown(time: Duration) -> String {
    match time.as_micros() {
        us @ ..10_000 => format!("{us} µs"),
        us => format!("{} ms", us / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_is_told_and_counted() {
        let mut out = Vec::new();
        let mut story = Story::begin(&mut out);
        story.chapter("One").unwrap();
        story.check(true, "water is wet").unwrap();
        story.check(false, "pigs fly").unwrap();
        assert_eq!((story.held, story.broken), (1, 1));
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("1. One") && text.contains("ms  ok      water is wet"), "{text}");
        assert!(text.contains("ms  BROKEN  pigs fly"), "{text}");
    }
}
