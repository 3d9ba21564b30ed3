//! The log of refused writes: one warning when refusing begins and one when it has ended, with how many there were. Each
//! refusal by itself is only counted, since a full store may refuse thousands in a second.

use crate::time::Millis;

/// Refusing has ended when no write was refused for so long.
const QUIET_MS: u64 = 10_000;

/// Writes that were refused without a pause of [`QUIET_MS`].
#[derive(Clone, Copy)]
struct Episode {
    began: Millis,
    latest: Millis,
    count: u64,
}

/// What is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The first write was refused.
    Began,
    /// No write was refused for a while: so many were, in so many milliseconds.
    Ended { count: u64, span_ms: u64 },
}

/// Watches the counter of refused writes.
#[derive(Default)]
pub struct Refusals {
    counted: u64,
    episode: Option<Episode>,
}

impl Refusals {
    /// To be called in each turn with the counter of refused writes.
    pub fn tick(&mut self, refused: u64, now: Millis) -> Option<Change> {
        // A counter that is smaller than before was set back.
        let count = refused.checked_sub(self.counted).unwrap_or(refused);
        self.counted = refused;
        match &mut self.episode {
            None if count > 0 => {
                self.episode = Some(Episode { began: now, latest: now, count });
                Some(Change::Began)
            }
            Some(episode) if count > 0 => {
                episode.latest = now;
                episode.count += count;
                None
            }
            Some(episode) if now.since(episode.latest) >= QUIET_MS => {
                let Episode { began, latest, count } = *episode;
                self.episode = None;
                Some(Change::Ended { count, span_ms: latest.since(began) })
            }
            _ => None,
        }
    }

    /// When there is to be a turn although no event comes.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.episode.map(|episode| episode.latest.plus(QUIET_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_episode_is_logged_when_it_begins_and_when_it_has_ended() {
        let mut refusals = Refusals::default();
        let mut tick = |refused, at| {
            let change = refusals.tick(refused, Millis(at));
            (change, refusals.next_deadline())
        };
        assert_eq!(tick(0, 5), (None, None));
        assert_eq!(tick(3, 1_000), (Some(Change::Began), Some(Millis(11_000))));
        assert_eq!(tick(3, 2_000), (None, Some(Millis(11_000))));
        assert_eq!(tick(24_000, 9_000), (None, Some(Millis(19_000))));
        assert_eq!(tick(24_000, 18_999), (None, Some(Millis(19_000))));
        assert_eq!(tick(24_000, 19_000), (Some(Change::Ended { count: 24_000, span_ms: 8_000 }), None));
        assert_eq!(tick(24_000, 99_000), (None, None));
        // The counter was set back, and another write refused since.
        assert_eq!(tick(1, 100_000), (Some(Change::Began), Some(Millis(110_000))));
        assert_eq!(tick(0, 110_000).0, Some(Change::Ended { count: 1, span_ms: 0 }));
    }
}
