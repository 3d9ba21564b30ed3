//! A client's session over datagrams, without sockets and clocks: which requests are outstanding, when each is sent
//! again, and which replies are believed.
//!
//! ```text
//!            CHALLENGE: take the cookie         OK: take the session's number
//!   Opening ---------------------------> Opening ----------------------------> Open
//!      ^                                                                      |   ^
//!      | another number, STALE_SESSION,          CHALLENGE, or a long silence |   | OK, the same number
//!      | WRONG_EPOCH, another epoch                                           v   |
//!      `------------------------------------------------------------------- Checking
//! ```
//! A session that is lost takes with it what is known of its writes: those that were sent are
//! [`Outcome::Unknown`], the rest go into the next session, under another client id. A cookie from a CHALLENGE is never
//! put on the retry of a write before a HELLO has shown that the session still stands: where it does not, a late copy of
//! that retry would be taken for a write of the session that the HELLO has opened.

use std::time::Duration;

use super::attempts::{Attempts, OVERTAKEN_MAX, SLACK_MIN};
use super::request::{Answer, Outcome, Request};
use crate::limits::{DATAGRAM_BYTES_MAX, UDP_LEASE_MS, UDP_WINDOW};
use crate::wire::frame::{self, COOKIE_LEN, Direction, Frame, Head, Op, Status};
use crate::wire::tag::TagKeys;

/// How a session behaves. Times are for its sending again; how long a call may take is each request's deadline.
#[derive(Clone, Debug)]
pub struct Config {
    pub password: Option<Vec<u8>>,
    /// Until the first round trip has been measured, what is waited before a request is sent again.
    pub retry_first: Duration,
    /// The shortest wait before a request is sent again.
    pub retry_min: Duration,
    /// The longest.
    pub retry_max: Duration,
    /// Retries in a row without any reply before a new source port is asked for.
    pub port_retries: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            password: None,
            retry_first: Duration::from_millis(50),
            retry_min: Duration::from_millis(1),
            retry_max: Duration::from_millis(500),
            port_retries: 3,
        }
    }
}

/// What came in and what was done about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames sent, all attempts.
    pub sent: u64,
    /// Of these, requests that were sent again.
    pub retries: u64,
    /// Replies that were believed.
    pub accepted: u64,
    /// Datagrams that are no frame, or a damaged one.
    pub malformed: u64,
    /// Replies without the tag that the password demands, or with a wrong one.
    pub untagged: u64,
    /// Replies to requests that are not outstanding any longer: doubled or delayed ones.
    pub late: u64,
    /// Replies to another client, epoch or operation.
    pub unknown: u64,
    /// Sessions that were opened.
    pub sessions: u64,
    /// Times that a new source port was asked for.
    pub ports: u64,
}

/// A request's number, never used twice by one [`Session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What the driver has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request is over; each ticket gets exactly one of these.
    Finished { ticket: Ticket, outcome: Outcome },
    /// Nothing has come back for a while: go on from a new source port. Stale connection tracking in front of a
    /// restarted peer is passed by that.
    NewPort,
}

/// As many requests as the protocol allows are outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowFull;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Open,
    Checking,
}

#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    request: Request,
    deadline: Duration,
    /// `None` until it is sent in this session.
    sequence: Option<u32>,
    attempts: Attempts,
}

/// A session. `now` is the time since any fixed moment and never goes back.
///
/// - getters: [`counters`](Session::counters), [`outstanding`](Session::outstanding), [`round_trip`](Session::round_trip)
/// - [`start`](Session::start) takes a request.
/// - [`handle_datagram`](Session::handle_datagram) takes what has arrived, [`handle_timeout`](Session::handle_timeout)
///   the time.
/// - [`poll_transmit`](Session::poll_transmit), [`poll_event`](Session::poll_event) and
///   [`poll_deadline`](Session::poll_deadline) give what is to be done.
///
/// After each `start` or `handle_*`: `poll_transmit` until `None`, `poll_event` until `None`, then wait for a
/// datagram or until `poll_deadline`; a datagram goes to `handle_datagram`, and in either case the time goes to
/// `handle_timeout`.
#[derive(Debug)]
pub struct Session {
    config: Config,
    tags: Option<TagKeys>,
    random: u64,
    phase: Phase,
    client_id: u64,
    epoch: u32,
    cookie: [u8; COOKIE_LEN],
    /// The server's number of this session.
    birth: u64,
    /// Half of the lease: after so long a silence the session is checked before a write is risked.
    patience: Duration,
    heard: Duration,
    hello: Attempts,
    /// The first attempt of the HELLO that carries the cookie at hand; a CHALLENGE to an earlier one is late.
    hello_cookie_from: u8,
    next_sequence: u32,
    next_ticket: u64,
    pending: Vec<Pending>,
    events: Vec<Event>,
    smoothed: Option<(Duration, Duration)>,
    retries_in_a_row: u32,
    /// Frames that may be sent early because as many replies have come while the window was held up.
    credit: usize,
    counters: Counters,
}

impl Session {
    /// `seed` must come from the operating system's random source: the client id is drawn from it.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Session {
        let mut session = Session {
            tags: config.password.as_deref().map(TagKeys::from_password),
            config,
            random: seed,
            phase: Phase::Opening,
            client_id: 0,
            epoch: 0,
            cookie: [0; COOKIE_LEN],
            birth: 0,
            patience: Duration::from_millis(UDP_LEASE_MS / 2),
            heard: Duration::ZERO,
            hello: Attempts::default(),
            hello_cookie_from: 0,
            next_sequence: 1,
            next_ticket: 0,
            pending: Vec::with_capacity(UDP_WINDOW),
            events: Vec::new(),
            smoothed: None,
            retries_in_a_row: 0,
            credit: 0,
            counters: Counters::default(),
        };
        session.client_id = session.draw();
        session
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Requests without an outcome.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.pending.len()
    }

    /// The smoothed round trip, once one was measured.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.smoothed.map(|(mean, _)| mean)
    }

    /// Takes a request that has until `deadline`.
    ///
    /// # Errors
    /// [`WindowFull`] if 64 are outstanding.
    pub fn start(&mut self, request: Request, deadline: Duration) -> Result<Ticket, WindowFull> {
        if self.pending.len() >= UDP_WINDOW {
            return Err(WindowFull);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let attempts = Attempts::default();
        self.pending.push(Pending { ticket, request, deadline, sequence: None, attempts });
        Ok(ticket)
    }

    /// Takes a datagram that has arrived, whatever it is.
    pub fn handle_datagram(&mut self, bytes: &[u8], now: Duration) {
        let Ok(frame) = frame::decode_datagram(bytes, Direction::Reply) else {
            self.counters.malformed += 1;
            return;
        };
        if self.tags.as_ref().is_some_and(|keys| !frame.tag_is_good(&keys.reply)) {
            self.counters.untagged += 1;
            return;
        }
        let head = &frame.head;
        let (Some(status), Some(op)) = (head.status(), head.op()) else {
            self.counters.unknown += 1;
            return;
        };
        // These two tell of another epoch; every other reply must be of this one.
        let tells_epoch = matches!(status, Status::Challenge | Status::WrongEpoch);
        let epoch_known = tells_epoch || self.epoch == 0 || head.epoch == self.epoch;
        if head.client_id != self.client_id || !epoch_known || head.epoch == 0 {
            self.counters.unknown += 1;
        } else if op == Op::Hello {
            self.handle_hello(head, status, now);
        } else {
            self.handle_reply(&frame, status, op, now);
            self.earn_credit();
        }
    }

    /// Ends what is past its deadline. Call it when [`poll_deadline`](Session::poll_deadline) has come, or more often.
    pub fn handle_timeout(&mut self, now: Duration) {
        let mut at = 0;
        while at < self.pending.len() {
            if self.pending[at].deadline > now {
                at += 1;
                continue;
            }
            let pending = self.pending.swap_remove(at);
            let may_have_run = pending.request.op().is_write() && pending.attempts.count > 0;
            let outcome = if may_have_run { Outcome::Unknown } else { Outcome::TimedOut };
            self.events.push(Event::Finished { ticket: pending.ticket, outcome });
        }
    }

    /// Writes the next frame that is due to the front of `out` and returns its length. Ends what is past its
    /// deadline first, so that nothing is sent again after it.
    pub fn poll_transmit(&mut self, now: Duration, out: &mut [u8; DATAGRAM_BYTES_MAX]) -> Option<usize> {
        self.handle_timeout(now);
        if self.pending.is_empty() {
            return None;
        }
        let sent_any = self.pending.iter().any(|pending| pending.sequence.is_some());
        if self.phase == Phase::Open && !sent_any {
            // Nothing is at stake: the moment to make sure of the session, or to leave a used-up one.
            if self.next_sequence >= u32::MAX - 1 {
                self.lose_session();
            } else if now.saturating_sub(self.heard) > self.patience {
                self.check_session();
            }
        }
        if self.phase == Phase::Open {
            self.transmit_request(now, out)
        } else {
            self.transmit_hello(now, out)
        }
    }

    /// What has happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.events.is_empty() { None } else { Some(self.events.remove(0)) }
    }

    /// When to call [`handle_timeout`](Session::handle_timeout) and [`poll_transmit`](Session::poll_transmit) again
    /// even if nothing arrives; `None` if nothing is outstanding.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Duration> {
        let first = self.first_incomplete();
        let next = |pending: &Pending| match (self.phase, pending.sequence) {
            (Phase::Open, Some(_)) if self.credit > 0 => {
                pending.deadline.min(pending.attempts.due).min(self.early(pending))
            }
            (Phase::Open, Some(_)) => pending.deadline.min(pending.attempts.due),
            (Phase::Open, None) if self.may_number(first) => Duration::ZERO,
            (Phase::Open, None) => pending.deadline,
            _ => pending.deadline.min(self.hello.due),
        };
        self.pending.iter().map(next).min()
    }

    fn handle_hello(&mut self, head: &Head, status: Status, now: Duration) {
        if self.phase == Phase::Open || u32::from(head.attempt) >= self.hello.count {
            self.counters.late += 1;
            return;
        }
        if status == Status::Challenge && head.attempt < self.hello_cookie_from {
            self.counters.late += 1;
            return;
        }
        self.accept(self.hello.sent_at(head.attempt), now);
        match status {
            Status::Ok if self.phase == Phase::Checking && head.expect != self.birth => self.lose_session(),
            Status::Ok => {
                self.counters.sessions += u64::from(self.phase == Phase::Opening);
                (self.phase, self.epoch, self.birth) = (Phase::Open, head.epoch, head.expect);
                self.patience = Duration::from_millis(head.argument / 2);
                self.adopt_cookie(head);
                // What was sent before the check is due at once.
                self.pending.iter_mut().for_each(|pending| pending.attempts.due = now);
            }
            Status::Challenge if self.phase == Phase::Checking && head.epoch != self.epoch => {
                self.lose_session();
            }
            Status::StaleSession if self.phase == Phase::Checking => self.lose_session(),
            Status::Challenge | Status::StaleSession => {
                self.adopt_cookie(head);
                self.hello_cookie_from = self.hello.number();
                self.hello.due = now;
            }
            Status::WrongEpoch => self.lose_session(),
            // BUSY: the next attempt comes when it is due. Anything else will not get better by asking again.
            Status::Busy => {}
            _ => self.fail_all(status),
        }
    }

    fn handle_reply(&mut self, frame: &Frame<'_>, status: Status, op: Op, now: Duration) {
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
                    self.check_session();
                    self.adopt_cookie(head);
                }
            }
            Status::Challenge | Status::WrongEpoch | Status::StaleSession => self.lose_session(),
            _ => {
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

    /// Counts a reply that is believed, takes its sample (RFC 6298, section 2), and hastens what it has overtaken.
    fn accept(&mut self, sent: Option<Duration>, now: Duration) {
        self.counters.accepted += 1;
        self.retries_in_a_row = 0;
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
    fn check_session(&mut self) {
        self.phase = Phase::Checking;
        self.hello = Attempts::default();
        self.hello_cookie_from = 0;
    }

    /// Begins a new session; what was sent in this one and may have run is unknown.
    fn lose_session(&mut self) {
        let (lost, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending| pending.sequence.is_some() && pending.request.op().is_write());
        for Pending { ticket, .. } in lost {
            self.events.push(Event::Finished { ticket, outcome: Outcome::Unknown });
        }
        self.pending = kept;
        for pending in &mut self.pending {
            (pending.sequence, pending.attempts) = (None, Attempts::default());
        }
        self.phase = Phase::Opening;
        self.client_id = self.draw();
        (self.epoch, self.cookie, self.birth) = (0, [0; COOKIE_LEN], 0);
        (self.hello, self.hello_cookie_from) = (Attempts::default(), 0);
        self.next_sequence = 1;
    }

    /// The server will not have us. Writes that were sent before are still unknown.
    fn fail_all(&mut self, status: Status) {
        for pending in std::mem::take(&mut self.pending) {
            let may_have_run = pending.request.op().is_write() && pending.attempts.count > 0;
            let outcome = if may_have_run {
                Outcome::Unknown
            } else {
                Outcome::Done(Answer { status, revision: 0, result: 0, value: Vec::new() })
            };
            self.events.push(Event::Finished { ticket: pending.ticket, outcome });
        }
    }

    fn first_incomplete(&self) -> u32 {
        self.pending.iter().filter_map(|pending| pending.sequence).min().unwrap_or(self.next_sequence)
    }

    /// Whether one more sequence fits the server's window.
    fn may_number(&self, first: u32) -> bool {
        self.next_sequence - first < UDP_WINDOW as u32 && self.next_sequence < u32::MAX
    }

    fn transmit_hello(&mut self, now: Duration, out: &mut [u8; DATAGRAM_BYTES_MAX]) -> Option<usize> {
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

    fn transmit_request(&mut self, now: Duration, out: &mut [u8; DATAGRAM_BYTES_MAX]) -> Option<usize> {
        let first = self.first_incomplete();
        let may_number = self.may_number(first);
        let due = self.pending.iter().position(|pending| match pending.sequence {
            Some(_) => pending.attempts.due <= now,
            None => may_number,
        });
        let at = due.or_else(|| self.spend_credit(now))?;
        let sequence = self.pending[at].sequence.unwrap_or(self.next_sequence);
        if self.pending[at].sequence.is_none() {
            self.next_sequence += 1;
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

    /// A lost frame holds the window up, and while it does, each reply lets one frame be sent again before it is due:
    /// one that is lost again does not cost another time-out, and at most a window more is on the way. A retry never runs twice, so one too many is only a frame too many.
    fn earn_credit(&mut self) {
        let waiting = self.pending.iter().any(|pending| pending.sequence.is_none());
        let held_up = waiting && !self.may_number(self.first_incomplete());
        self.credit = if held_up { (self.credit + 1).min(UDP_WINDOW) } else { 0 };
    }

    /// The frame that has waited longest for its reply, if it may be sent again early.
    fn spend_credit(&mut self, now: Duration) -> Option<usize> {
        if self.credit == 0 {
            return None;
        }
        let early = |at: &usize| self.early(&self.pending[*at]);
        let at =
            (0..self.pending.len()).filter(|at| self.pending[*at].sequence.is_some()).min_by_key(early)?;
        if early(&at) > now {
            return None;
        }
        self.credit -= 1;
        self.pending[at].attempts.overtaken = true;
        Some(at)
    }

    /// When a frame may be sent again early: half a round trip after the last time, and not without end.
    fn early(&self, pending: &Pending) -> Duration {
        match self.smoothed {
            Some((mean, _)) if pending.attempts.count <= OVERTAKEN_MAX => {
                pending.attempts.last_sent() + mean / 2
            }
            _ => Duration::MAX,
        }
    }

    fn count_retry(&mut self) {
        self.retries_in_a_row += 1;
        if self.retries_in_a_row >= self.config.port_retries {
            self.retries_in_a_row = 0;
            self.counters.ports += 1;
            self.events.push(Event::NewPort);
        }
    }

    /// How long an attempt is waited for after so many silences: doubled each time, and up to a quarter more or less,
    /// so that clients that lost the same server do not come back in step.
    fn wait(&mut self, silences: u32) -> Duration {
        let Config { retry_first, retry_min, retry_max, .. } = self.config;
        let base = match self.smoothed {
            None => retry_first,
            // A first retry that comes too soon costs one frame, one that comes late holds the window up.
            Some((mean, deviation)) if silences == 0 => (mean + deviation * 2).max(retry_min),
            Some((mean, deviation)) => (mean + deviation * 4).max(retry_min),
        };
        let doubled = base.saturating_mul(1 << silences.min(16)).min(retry_max);
        let jitter = (self.draw() % 512) as u32;
        doubled.saturating_mul(768 + jitter) / 1024
    }

    /// The next random number (splitmix64).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
