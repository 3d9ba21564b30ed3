//! How long a run is, and a bar on stderr that shows how far it has come, where stderr is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::stats::{Nanos, Stats};

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// The first load has sent so many requests.
    Requests(u64),
    /// So long after it began.
    Elapsed(Duration),
}

/// Shows how far a run is; hidden without a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    until: Until,
}

/// Times a second that the bar is drawn: drawing takes time from the load.
const DRAWINGS_PER_SECOND: u8 = 4;

impl Progress {
    pub(super) fn new(label: &'static str, until: Until) -> Progress {
        let len = match until {
            Until::Requests(count) => count,
            Until::Elapsed(time) => time.as_millis() as u64,
        };
        // Hidden by itself where stderr is no terminal.
        let target = ProgressDrawTarget::stderr_with_hz(DRAWINGS_PER_SECOND);
        let style = ProgressStyle::with_template("{prefix:8} {wide_bar} {percent:>3} %  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(len), target).with_style(style).with_prefix(label);
        Progress { bar, until }
    }

    /// Called every few milliseconds.
    pub(super) fn show(&mut self, stats: &Stats, elapsed: Nanos) {
        if self.bar.is_hidden() {
            return;
        }
        let elapsed = Duration::from_nanos(elapsed);
        let rate = stats.replies() as f64 / elapsed.as_secs_f64().max(1e-3);
        self.bar.set_message(format!("{rate:.0} a second"));
        self.bar.set_position(match self.until {
            Until::Requests(_) => stats.replies(),
            Until::Elapsed(_) => elapsed.as_millis() as u64,
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
