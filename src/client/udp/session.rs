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
//! An answer that leads to a new try (CHALLENGE, STALE_SESSION, WRONG_EPOCH, another number) is a *setback*. The first
//! few in a row cost no time, since a new session and a restarted server bring about that many; after these each waits
//! twice as long as the one before, until a request is answered: a peer that only ever sets back is asked a few times a
//! second, not once a round trip.
//!
//! | file | what lives there |
//! |---|---|
//! | `replies.rs` | what a reply does to the session and to its request |
//! | `sending.rs` | which frame is due, and how long its reply is waited for |
//!
//! A session that is lost takes with it what is known of its writes: those that were sent are
//! [`Outcome::Unknown`], the rest go into the next session, under another client id. A cookie from a CHALLENGE is never
//! put on the retry of a write before a HELLO has shown that the session still stands: where it does not, a late copy of
//! that retry would be taken for a write of the session that the HELLO has opened.

use std::time::Duration;

mod replies;
mod sending;

use super::attempts::{Attempts, OVERTAKEN_MAX, SLACK_MIN};
use super::request::{Answer, Outcome, Request};
use crate::limits::{DATAGRAM_BYTES_MAX, UDP_LEASE_MS, UDP_WINDOW};
use crate::wire::frame::{self, COOKIE_LEN, Direction, Frame, Head, Op, Status};
use crate::wire::tag::TagKeys;

/// How a session behaves. Times are for its sending again; how long a call may take is each request's deadline.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every frame's tag is made with, and every reply's has to be.
    pub password: Option<Vec<u8>>,
    /// Until the first round trip has been measured, what is waited before a request is sent again; and what is waited
    /// after the first setback that costs time.
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
    /// Replies to requests that are not outstanding any longer: duplicated or delayed ones.
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
    Finished {
        /// What [`Session`] gave for it.
        ticket: Ticket,
        /// What became of it.
        outcome: Outcome,
    },
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
    number: u64,
    /// Half of the lease: after so long a silence the session is checked before a write is risked.
    check_after: Duration,
    heard: Duration,
    /// Setbacks in a row, and the time before which nothing is sent because of them.
    setbacks: u32,
    not_before: Duration,
    /// What the server has answered last, if that served no request.
    refusal: Option<Status>,
    hello: Attempts,
    /// The first attempt of the HELLO that carries the cookie at hand; a CHALLENGE to an earlier one is late.
    hello_cookie_from: u8,
    next_sequence: u32,
    next_ticket: u64,
    pending: Vec<Pending>,
    events: Vec<Event>,
    smoothed: Option<(Duration, Duration)>,
    silent_retries: u32,
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
            number: 0,
            check_after: Duration::from_millis(UDP_LEASE_MS / 2),
            heard: Duration::ZERO,
            setbacks: 0,
            not_before: Duration::ZERO,
            refusal: None,
            hello: Attempts::default(),
            hello_cookie_from: 0,
            next_sequence: 1,
            next_ticket: 0,
            pending: Vec::with_capacity(UDP_WINDOW),
            events: Vec::new(),
            smoothed: None,
            silent_retries: 0,
            counters: Counters::default(),
        };
        session.client_id = session.draw();
        session
    }

    /// What has been sent, received and dropped.
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
        if self.pending.is_empty() {
            self.refusal = None;
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
            let says_why = |status: &Status| matches!(status, Status::Busy | Status::Loading);
            let refusal = self.refusal.filter(|status| says_why(status) || self.is_set_back());
            let outcome =
                if may_have_run { Outcome::Unknown { refusal } } else { Outcome::TimedOut { refusal } };
            self.events.push(Event::Finished { ticket: pending.ticket, outcome });
        }
    }

    /// Writes the next frame that is due to the front of `out` and returns its length. Ends what is past its
    /// deadline first, so that nothing is sent again after it.
    pub fn poll_transmit(&mut self, now: Duration, out: &mut [u8; DATAGRAM_BYTES_MAX]) -> Option<usize> {
        self.handle_timeout(now);
        if self.pending.is_empty() || now < self.not_before {
            return None;
        }
        let sent_any = self.pending.iter().any(|pending| pending.sequence.is_some());
        if self.phase == Phase::Open && !sent_any {
            // Nothing is at stake: the moment to make sure of the session, or to leave a used-up one.
            if self.next_sequence >= u32::MAX - 1 {
                self.begin_session(None);
            } else if now.saturating_sub(self.heard) > self.check_after {
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
        let may_number = self.free_sequence().is_some();
        let next = |pending: &Pending| match (self.phase, pending.sequence) {
            (Phase::Open, Some(_)) => pending.attempts.due,
            (Phase::Open, None) if may_number => Duration::ZERO,
            (Phase::Open, None) => pending.deadline,
            _ => self.hello.due,
        };
        // What is due waits until the setbacks allow it; deadlines do not.
        let next = |pending: &Pending| next(pending).max(self.not_before).min(pending.deadline);
        self.pending.iter().map(next).min()
    }
}
