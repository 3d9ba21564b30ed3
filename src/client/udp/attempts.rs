//! The sendings of one request: when each was, and when the next is due.

use std::time::Duration;

/// When the last attempts were sent, so that an echoed attempt gives a clean round-trip sample even after retries
/// (which without the echo would have to be thrown away: Karn's rule).
const TIMES: usize = 8;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempts {
    /// Times that it was sent.
    pub(super) count: u32,
    times: [Duration; TIMES],
    /// When to send again.
    pub(super) due: Duration,
    /// Attempts that nothing but time called for: each doubles the wait for the next.
    pub(super) silences: u32,
    /// The next attempt is due early, because a later frame was answered.
    pub(super) overtaken: bool,
}

/// How much later than another a frame must have been sent, at least, to have overtaken it.
pub(super) const SLACK_MIN: Duration = Duration::from_micros(200);

/// Attempts that may be made early; after these, only time calls for another.
pub(super) const OVERTAKEN_MAX: u32 = 12;

impl Attempts {
    /// What the frame carries.
    pub(super) fn number(&self) -> u8 {
        u8::try_from(self.count).unwrap_or(u8::MAX)
    }

    /// Notes that it was sent, and that `wait` is waited before it is sent again.
    pub(super) fn sent(&mut self, now: Duration, wait: Duration) {
        self.times[self.count as usize % TIMES] = now;
        self.count = self.count.saturating_add(1);
        self.due = now.saturating_add(wait);
        self.overtaken = false;
    }

    /// A frame that was sent at `answered`, `slack` or more after this one, has its reply: this one, or its reply, is
    /// probably lost. (RFC 8985, RACK: loss is inferred from the time of sending, which survives reordering and retries.)
    pub(super) fn overtake(&mut self, answered: Duration, slack: Duration, wait: Duration) {
        let last = self.last_sent();
        if self.count <= OVERTAKEN_MAX && answered >= last + slack && self.due > last + wait {
            self.due = last + wait;
            self.overtaken = true;
        }
    }

    /// When the last attempt was sent.
    pub(super) fn last_sent(&self) -> Duration {
        self.count.checked_sub(1).map_or(Duration::ZERO, |count| self.times[count as usize % TIMES])
    }

    /// When this attempt was sent, if that is still known.
    pub(super) fn sent_at(&self, attempt: u8) -> Option<Duration> {
        let attempt = u32::from(attempt);
        let remembered = attempt < self.count && self.count - attempt <= TIMES as u32 && attempt < 255;
        remembered.then(|| self.times[attempt as usize % TIMES])
    }
}
