//! Sending: which frame is due, when it is due again, and how long that is waited.

use super::*;

impl Session {
    pub(super) fn first_incomplete(&self) -> u32 {
        self.pending.iter().filter_map(|pending| pending.sequence).min().unwrap_or(self.next_sequence)
    }

    /// The next sequence whose slot at the server (its number modulo 64) no outstanding request has; `None` if every slot
    /// is taken, or the sequences are used up. A request that is lost and sent again holds up its own slot alone.
    pub(super) fn free_sequence(&self) -> Option<u32> {
        let slot_of = |sequence: u32| sequence % UDP_WINDOW as u32;
        let sequences = self.pending.iter().filter_map(|pending| pending.sequence);
        let taken = sequences.fold(0_u64, |taken, sequence| taken | 1 << slot_of(sequence));
        let passed = taken.rotate_right(slot_of(self.next_sequence)).trailing_ones();
        let sequence = self.next_sequence.checked_add(passed)?;
        (passed < UDP_WINDOW as u32 && sequence < u32::MAX).then_some(sequence)
    }

    pub(super) fn transmit_hello(
        &mut self,
        now: Duration,
        out: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<usize> {
        if self.hello.count > 0 && self.hello.due > now {
            return None;
        }
        if self.hello.count > u32::from(self.hello_cookie_from) {
            self.count_retry();
        }
        let head = Head {
            attempt: self.hello.number(),
            cookie: self.cookie,
            ..Head::request(Op::Hello, self.client_id, 0)
        };
        let wait = self.wait(self.hello.count.saturating_sub(u32::from(self.hello_cookie_from)));
        self.hello.sent(now, wait);
        self.counters.sent += 1;
        frame::encode(out, &head, b"", b"", self.tags.as_ref().map(|keys| &keys.request)).ok()
    }

    pub(super) fn transmit_request(
        &mut self,
        now: Duration,
        out: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<usize> {
        let first = self.first_incomplete();
        let free = self.free_sequence();
        let at = self.pending.iter().position(|pending| match pending.sequence {
            Some(_) => pending.attempts.due <= now,
            None => free.is_some(),
        })?;
        let sequence = self.pending[at].sequence.or(free)?;
        if self.pending[at].sequence.is_none() {
            self.next_sequence = sequence + 1;
        } else {
            self.counters.retries += 1;
            let attempts = &mut self.pending[at].attempts;
            // Something was heard since: the path stands, it was this one frame that was lost.
            let alone = attempts.last_sent() >= self.heard || attempts.count > OVERTAKEN_MAX;
            if !attempts.overtaken && alone {
                attempts.silences += 1;
                // Only the oldest speaks for the path: a whole window that is due at once is one silence.
                if sequence == first {
                    self.count_retry();
                }
            }
        }
        let wait = self.wait(self.pending[at].attempts.silences);
        let pending = &mut self.pending[at];
        pending.sequence = Some(sequence);
        let head = Head {
            attempt: pending.attempts.number(),
            epoch: self.epoch,
            client_id: self.client_id,
            sequence,
            first_incomplete: first.min(sequence),
            cookie: self.cookie,
            ..pending.request.head()
        };
        pending.attempts.sent(now, wait);
        self.counters.sent += 1;
        let key = self.tags.as_ref().map(|keys| &keys.request);
        frame::encode(out, &head, pending.request.key(), pending.request.value(), key).ok()
    }

    fn count_retry(&mut self) {
        self.silent_retries += 1;
        if self.silent_retries >= self.config.port_retries {
            self.silent_retries = 0;
            self.counters.ports += 1;
            self.events.push(Event::NewPort);
        }
    }

    /// How long an attempt is waited for after so many silences: doubled each time, and up to a quarter more or less,
    /// so that clients that lost the same server do not come back in step.
    fn wait(&mut self, silences: u32) -> Duration {
        let Config { retry_first, retry_min, .. } = self.config;
        let base = match self.smoothed {
            None => retry_first,
            Some((mean, deviation)) => (mean + deviation * 4).max(retry_min),
        };
        self.backed_off(base, silences)
    }

    /// `base`, doubled so many times and at most the longest wait, and up to a quarter more or less.
    pub(super) fn backed_off(&mut self, base: Duration, doublings: u32) -> Duration {
        let doubled = base.saturating_mul(1 << doublings.min(16)).min(self.config.retry_max);
        let jitter = (self.draw() % 512) as u32;
        doubled.saturating_mul(768 + jitter) / 1024
    }

    /// The next random number (splitmix64).
    pub(super) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
