//! Replies: what each does to the session and to the request that it answers.

use super::*;

/// Setbacks in a row that cost no time: the CHALLENGE that opens a session, and before it the loss of the one that stood.
const SETBACKS_FREE: u32 = 2;

impl Session {
    pub(super) fn handle_hello(&mut self, head: &Head, status: Status, now: Duration) {
        if self.phase == Phase::Open || u32::from(head.attempt) >= self.hello.count {
            self.counters.late += 1;
            return;
        }
        if status == Status::Challenge && head.attempt < self.hello_cookie_from {
            self.counters.late += 1;
            return;
        }
        self.accept(self.hello.sent_at(head.attempt), now);
        let is_check = self.phase == Phase::Checking;
        match status {
            Status::Ok if is_check && head.expect != self.number => {
                self.lose_session(Status::StaleSession, now);
            }
            Status::Ok => {
                self.counters.sessions += u64::from(self.phase == Phase::Opening);
                (self.phase, self.epoch, self.number) = (Phase::Open, head.epoch, head.expect);
                self.check_after = Duration::from_millis(head.argument / 2);
                self.refusal = self.refusal.filter(|status| *status != Status::Busy);
                self.adopt_cookie(head);
                // What was sent before the check is due at once.
                self.pending.iter_mut().for_each(|pending| pending.attempts.due = now);
            }
            Status::Challenge if is_check && head.epoch != self.epoch => {
                self.lose_session(Status::WrongEpoch, now);
            }
            Status::Challenge => {
                self.set_back(status, now);
                self.adopt_cookie(head);
                self.hello_cookie_from = self.hello.number();
                self.hello.due = now;
            }
            Status::StaleSession | Status::WrongEpoch => self.lose_session(status, now),
            // The next attempt comes when it is due.
            Status::Busy => self.refusal = Some(status),
            // Asking again will not make it better.
            _ => self.fail_all(status),
        }
    }

    pub(super) fn handle_reply(&mut self, frame: &Frame<'_>, status: Status, op: Op, now: Duration) {
        let head = &frame.head;
        let Some(at) = self.pending.iter().position(|pending| pending.sequence == Some(head.sequence)) else {
            self.counters.late += 1;
            return;
        };
        let pending = &self.pending[at];
        if pending.request.op() != op || u32::from(head.attempt) >= pending.attempts.count.max(1) {
            self.counters.unknown += 1;
            return;
        }
        self.accept(pending.attempts.sent_at(head.attempt), now);
        match status {
            Status::Challenge if head.epoch == self.epoch => {
                if self.phase == Phase::Open {
                    self.set_back(status, now);
                    self.check_session();
                    self.adopt_cookie(head);
                }
            }
            Status::Challenge => self.lose_session(Status::WrongEpoch, now),
            Status::WrongEpoch | Status::StaleSession => self.lose_session(status, now),
            // The next attempt comes when it is due.
            Status::Loading => self.refusal = Some(status),
            _ => {
                (self.setbacks, self.refusal) = (0, None);
                if self.phase == Phase::Open {
                    self.adopt_cookie(head);
                }
                let pending = self.pending.swap_remove(at);
                let answer = Answer {
                    status,
                    revision: head.argument,
                    result: head.expect,
                    value: frame.value.to_vec(),
                };
                self.events.push(Event::Finished { ticket: pending.ticket, outcome: Outcome::Done(answer) });
            }
        }
    }

    /// Counts a reply that is believed, takes its sample (RFC 6298, section 2), and makes what it has overtaken due early.
    fn accept(&mut self, sent: Option<Duration>, now: Duration) {
        self.counters.accepted += 1;
        self.silent_retries = 0;
        self.heard = now;
        let Some(sent) = sent else { return };
        let sample = now.saturating_sub(sent);
        let (mean, deviation) = match self.smoothed {
            None => (sample, sample / 2),
            Some((mean, deviation)) => ((mean * 7 + sample) / 8, (deviation * 3 + mean.abs_diff(sample)) / 4),
        };
        self.smoothed = Some((mean, deviation));
        let slack = (deviation * 2).max(mean / 4).max(SLACK_MIN);
        for pending in self.pending.iter_mut().filter(|pending| pending.sequence.is_some()) {
            pending.attempts.overtake(sent, slack, mean + slack);
        }
    }

    fn adopt_cookie(&mut self, head: &Head) {
        if head.cookie != [0; COOKIE_LEN] {
            self.cookie = head.cookie;
        }
    }

    /// Makes sure by a HELLO that the session still stands.
    pub(super) fn check_session(&mut self) {
        self.phase = Phase::Checking;
        self.hello = Attempts::default();
        self.hello_cookie_from = 0;
    }

    /// Counts an answer that leads to a new try, and puts that off where there were several in a row.
    fn set_back(&mut self, refusal: Status, now: Duration) {
        self.refusal = Some(refusal);
        self.setbacks = self.setbacks.saturating_add(1);
        if let Some(doublings) = self.setbacks.checked_sub(SETBACKS_FREE + 1) {
            self.not_before = now + self.backed_off(self.config.retry_first, doublings);
        }
    }

    /// Whether there were more setbacks in a row than a session costs that is opened or lost in the ordinary way.
    pub(super) fn is_set_back(&self) -> bool {
        self.setbacks > SETBACKS_FREE
    }

    /// The server has answered, by `refusal`, that the session is gone.
    fn lose_session(&mut self, refusal: Status, now: Duration) {
        self.set_back(refusal, now);
        self.begin_session(Some(refusal));
    }

    /// Begins a new session; writes that were sent in this one and have no answer are unknown.
    pub(super) fn begin_session(&mut self, refusal: Option<Status>) {
        let (lost, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending| pending.sequence.is_some() && pending.request.op().is_write());
        for Pending { ticket, .. } in lost {
            self.events.push(Event::Finished { ticket, outcome: Outcome::Unknown { refusal } });
        }
        self.pending = kept;
        for pending in &mut self.pending {
            (pending.sequence, pending.attempts) = (None, Attempts::default());
        }
        self.phase = Phase::Opening;
        self.client_id = self.draw();
        (self.epoch, self.cookie, self.number) = (0, [0; COOKIE_LEN], 0);
        (self.hello, self.hello_cookie_from) = (Attempts::default(), 0);
        self.next_sequence = 1;
    }

    /// The server refuses this client for good. Writes that were sent before are still unknown.
    fn fail_all(&mut self, status: Status) {
        for pending in std::mem::take(&mut self.pending) {
            let may_have_run = pending.request.op().is_write() && pending.attempts.count > 0;
            let outcome = if may_have_run {
                Outcome::Unknown { refusal: Some(status) }
            } else {
                Outcome::Done(Answer { status, revision: 0, result: 0, value: Vec::new() })
            };
            self.events.push(Event::Finished { ticket: pending.ticket, outcome });
        }
    }
}
