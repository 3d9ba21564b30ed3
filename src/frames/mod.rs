//! Frames at the server, without sockets and clocks: one datagram in, at most one out.
//!
//! ```text
//!  bytes -> decode -> tag -> cookie -> epoch -> operation -> at-most-once table -> store -> reply
//!            |         |       |         |          |               |
//!            `-dropped-'   CHALLENGE  WRONG_EPOCH  BAD_OP    STALE_SESSION, ID_REUSED, BUSY, or the cached reply
//! ```
//! | file | what lives there |
//! |---|---|
//! | `cookie` | proof that a client receives where it sends from, and of its session |
//! | `sessions` | which writes have run |
//! | `shares` | how many sessions each peer holds |
//! | `handle` | the calls of the reactor: checks and store joined |
//! | `execute` | operations against the store |
//! | `budget` | a limit on errors |
//!
//! Over TCP the same frames, sessions and sequences hold, so that a write that was sent over UDP and is repeated over
//! TCP still runs at most once. A stream proves its peer's address, but not that a frame was made for it: what was
//! overheard elsewhere can be sent again by anyone who connects. So cookies hold for streams too, each for one connection.

pub mod budget;
pub mod cookie;
mod execute;
mod handle;
pub mod sessions;
pub mod shares;

use std::hash::Hasher;
use std::net::SocketAddr;

use siphasher::sip::SipHasher24;

use crate::limits::{TTL_MS_MAX, UDP_CLIENTS_DEFAULT, UDP_LEASE_MS};
use crate::mutant::{self, Mutant};
use crate::time::Now;
use crate::wire::frame::{self, Direction, Frame, Head, Op, Reject, Status, Writer, flags};
use crate::wire::tag::TagKeys;

/// What is counted of frames.
pub use crate::metrics::frames as counters;

use budget::ErrorBudget;
use cookie::{Cookies, NO_SESSION, Source};
use counters::Counters;
use sessions::{CachedReply, Known, Opener, SessionIndex, Sessions};

/// How the datagram side is set up.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// Random for each run and not 0.
    pub epoch: u32,
    /// Random for each run and kept from clients.
    pub secret: [u64; 2],
    /// If set, every frame must carry its tag.
    pub password: Option<&'a [u8]>,
    /// Clients whose writes are remembered.
    pub clients_max: usize,
    /// Silence, in ms, after which a client may be forgotten if its place is needed.
    pub lease_ms: u64,
}

impl Config<'_> {
    /// The defaults; both arguments must be random.
    #[must_use]
    pub const fn new(epoch: u32, secret: [u64; 2]) -> Self {
        Config { epoch, secret, password: None, clients_max: UDP_CLIENTS_DEFAULT, lease_ms: UDP_LEASE_MS }
    }
}

/// What arrived, from where and when.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    pub from: SocketAddr,
    pub bytes: &'a [u8],
    pub now: Now,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// The first so many bytes of the reply buffer are to be sent to where the frame came from.
    Reply(usize),
    /// Not answered: an error whose source has had its share of errors, or what CLIENT PAUSE holds. A held write is
    /// not noted as one that has run: a retry after the pause runs.
    Silent,
    /// Dropped; worth a log line.
    Rejected(Reject),
}

/// A frame that goes through the checks.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    frame: Frame<'a>,
    source: Source,
    now: Now,
}

impl Asked<'_> {
    fn is_stream(&self) -> bool {
        self.source.connection().is_some()
    }
}

/// The reply's fields beside those that are repeated.
#[derive(Clone, Copy, Debug)]
struct Answer {
    kept: CachedReply,
    /// The session's number in the fresh cookie that goes with it, if one does.
    cookie: Option<u64>,
}

impl Answer {
    const fn plain(status: Status) -> Answer {
        Answer { kept: CachedReply { status, argument: 0, expect: 0 }, cookie: None }
    }

    /// With a cookie with which the client can say HELLO, and nothing else.
    const fn for_hello(status: Status) -> Answer {
        Answer { cookie: Some(NO_SESSION), ..Answer::plain(status) }
    }
}

/// What the checks came to.
#[derive(Clone, Copy, Debug)]
enum Decision {
    Reject(Reject),
    Answer(Answer),
    Read { op: Op, session: SessionIndex },
    Write { op: Op, session: SessionIndex, hash: u32 },
}

/// The server's side of the frame protocol. Allocates when it is made and never again.
#[derive(Debug)]
pub struct FrameServer {
    epoch: u32,
    tags: Option<TagKeys>,
    cookies: Cookies,
    sessions: Sessions,
    errors: ErrorBudget,
    hash_key: [u64; 2],
    lease_ms: u64,
    counters: Counters,
    /// What the last frame ran.
    ran: Option<Op>,
    /// How the last frame was answered, if it was.
    answered: Option<Status>,
}

impl FrameServer {
    /// Reserves everything.
    ///
    /// # Panics
    /// If `config.clients_max` is 0 or above a million.
    #[must_use]
    pub fn new(config: &Config<'_>) -> FrameServer {
        // One secret, separate keys: the cookie's, the two tables', and the hash of writes.
        let [a, b] = config.secret;
        let key = |purpose: u64| {
            let half = |side: u64| {
                let mut hasher = SipHasher24::new_with_keys(a, b);
                hasher.write(&[purpose.to_be_bytes(), side.to_be_bytes()].concat());
                hasher.finish()
            };
            [half(0), half(1)]
        };
        FrameServer {
            epoch: config.epoch,
            tags: config.password.map(TagKeys::from_password),
            cookies: Cookies::new(key(1)),
            sessions: Sessions::new(config.clients_max, config.lease_ms, key(2)),
            errors: ErrorBudget::new(key(3)),
            hash_key: key(4),
            lease_ms: config.lease_ms,
            counters: Counters::default(),
            ran: None,
            answered: None,
        }
    }

    /// Bytes that a session takes when it comes.
    pub const SESSION_BYTES: usize = Sessions::SESSION_BYTES;

    /// Bytes that are reserved for so many clients, and never exceeded.
    #[must_use]
    pub const fn memory_bytes(clients_max: usize) -> usize {
        size_of::<FrameServer>() + Sessions::memory_bytes(clients_max) + ErrorBudget::memory_bytes()
    }

    /// From now on so many sessions may be open at once, no fewer than before; and whether more may come to be allowed.
    pub fn set_sessions_max(&mut self, sessions: usize, may_grow: bool) {
        self.sessions.grant(sessions, may_grow);
    }

    /// From now on frames must carry tags made from this. Sessions stay: a write that ran is not run again for a
    /// client that repeats it with the new tag.
    pub fn set_password(&mut self, password: &[u8]) {
        self.tags = Some(TagKeys::from_password(password));
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The operation that the last frame ran; `None`: it was answered, or dropped, by the checks.
    #[must_use]
    pub fn last_ran(&self) -> Option<Op> {
        self.ran
    }

    /// How the last frame that was run or answered was; `None`: by silence.
    #[must_use]
    pub fn last_answer(&self) -> Option<Status> {
        self.answered
    }

    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Decodes and checks a datagram; counts it if it is dropped.
    fn admit_datagram<'a>(&mut self, incoming: &Incoming<'a>) -> Result<(Asked<'a>, Decision), Reject> {
        self.counters.received += 1;
        self.counters.bytes_received += incoming.bytes.len() as u64;
        let frame = frame::decode_datagram(incoming.bytes, Direction::Request)
            .inspect_err(|reason| self.counters.rejected[*reason as usize] += 1)?;
        let asked = Asked { frame, source: Source::Datagram(incoming.from), now: incoming.now };
        self.decide(&asked).map(|decision| (asked, decision))
    }

    /// Runs the checks, in the order of the drawing above.
    fn decide(&mut self, asked: &Asked<'_>) -> Result<Decision, Reject> {
        let decision = self.check(asked);
        if let Decision::Reject(reason) = decision {
            self.counters.rejected[reason as usize] += 1;
            return Err(reason);
        }
        Ok(decision)
    }

    fn check(&mut self, asked: &Asked<'_>) -> Decision {
        let Asked { frame, source, now } = asked;
        let head = &frame.head;
        let tag = match &self.tags {
            Some(keys) if frame.has_tag() => Some(frame.tag_is_good(&keys.request)),
            _ => None,
        };
        if tag == Some(false) {
            return Decision::Reject(Reject::BadTag);
        }
        let number = self.cookies.check(&head.cookie, head.client_id, source, now.monotonic);
        let Some(number) = number else {
            return Decision::Answer(Answer::for_hello(Status::Challenge));
        };
        if frame.has_tag() != self.tags.is_some() {
            return Decision::Answer(Answer::plain(Status::Denied));
        }
        let is_hello = head.code == Op::Hello as u8;
        let epoch_holds = head.epoch == self.epoch || mutant::is_on(Mutant::NoEpochCheck);
        let asks_for_epoch = is_hello && head.epoch == 0;
        if !epoch_holds && !asks_for_epoch {
            return Decision::Answer(Answer::plain(Status::WrongEpoch));
        }
        let op = match known_op(head) {
            None => return Decision::Answer(Answer::plain(Status::BadOp)),
            Some(Op::Hello) => return self.check_hello(asked),
            Some(op) => op,
        };
        // A request needs the session that its cookie speaks of, and HELLO alone opens one. If a request could open
        // one, or run in a later one, then a copy of a write that has run would run again.
        let Some(session) = self.sessions.find_numbered(head.client_id, number) else {
            return Decision::Answer(Answer::plain(Status::StaleSession));
        };
        if op.is_write() { self.check_write(asked, op, session) } else { self.check_read(asked, op, session) }
    }

    /// A HELLO with a good cookie: opens the client's session, or finds it.
    fn check_hello(&mut self, asked: &Asked<'_>) -> Decision {
        let client_id = asked.frame.head.client_id;
        let now = asked.now.monotonic;
        let opener = Opener { ip: asked.source.ip(), connection: asked.source.connection() };
        let found = self.sessions.find(client_id).map(Ok);
        let Ok(session) = found.unwrap_or_else(|| self.sessions.open(client_id, opener, now)) else {
            return Decision::Answer(Answer::for_hello(Status::Busy));
        };
        self.sessions.touch(session, 0, now);
        self.counters.ran(Op::Hello, asked.is_stream());
        let number = self.sessions.number(session);
        let kept = CachedReply { status: Status::Ok, argument: self.lease_ms, expect: number };
        Decision::Answer(Answer { kept, cookie: Some(number) })
    }

    fn check_read(&mut self, asked: &Asked<'_>, op: Op, session: SessionIndex) -> Decision {
        let head = &asked.frame.head;
        if self.sessions.has_run(session, head.sequence) {
            return Decision::Answer(self.in_session(Answer::plain(Status::IdReused), session));
        }
        self.sessions.touch(session, head.first_incomplete, asked.now.monotonic);
        Decision::Read { op, session }
    }

    fn check_write(&mut self, asked: &Asked<'_>, op: Op, session: SessionIndex) -> Decision {
        let head = &asked.frame.head;
        self.sessions.touch(session, head.first_incomplete, asked.now.monotonic);
        let hash = self.hash_of(&asked.frame);
        let answer = match self.sessions.look_up(session, head.sequence, hash) {
            Known::New => return Decision::Write { op, session, hash },
            Known::Repeat(kept) => {
                self.counters.repeats += 1;
                Answer { kept, cookie: None }
            }
            Known::Reused => Answer::plain(Status::IdReused),
            Known::Stale => Answer::plain(Status::StaleSession),
        };
        Decision::Answer(self.in_session(answer, session))
    }

    /// The answer with a fresh cookie of the session.
    fn in_session(&self, answer: Answer, session: SessionIndex) -> Answer {
        Answer { cookie: Some(self.sessions.number(session)), ..answer }
    }

    /// A keyed hash of what a write says, without what changes between its sendings.
    fn hash_of(&self, frame: &Frame<'_>) -> u32 {
        let head = &frame.head;
        let mut hasher = SipHasher24::new_with_keys(self.hash_key[0], self.hash_key[1]);
        hasher.write(&[head.code, head.flags & !flags::TAG]);
        hasher.write_u64(head.argument);
        hasher.write_u64(head.expect);
        hasher.write_u64(frame.key.len() as u64);
        hasher.write(frame.key);
        hasher.write(frame.value);
        hasher.finish() as u32
    }

    /// Notes that a write has run and keeps its reply.
    fn ran(&mut self, asked: &Asked<'_>, session: SessionIndex, hash: u32, kept: CachedReply) -> Answer {
        self.counters.writes += 1;
        self.sessions.keep(session, asked.frame.head.sequence, hash, kept);
        self.in_session(Answer { kept, cookie: None }, session)
    }

    /// The head of the reply to this frame.
    fn reply_head(&mut self, asked: &Asked<'_>, answer: &Answer) -> Head {
        let request = &asked.frame.head;
        let mut head = request.reply(answer.kept.status, self.epoch);
        head.argument = answer.kept.argument;
        head.expect = answer.kept.expect;
        if let Some(number) = answer.cookie {
            head.cookie = self.cookies.make(request.client_id, &asked.source, number, asked.now.monotonic);
        }
        head
    }

    /// Writes a reply without a value and counts it.
    fn send(&mut self, asked: &Asked<'_>, answer: &Answer, reply: &mut [u8]) -> Handled {
        let status = answer.kept.status;
        let may_pass = !status.is_error()
            || asked.is_stream()
            || self.errors.take(asked.source.ip(), asked.now.monotonic);
        if !may_pass {
            self.counters.throttled += 1;
            return Handled::Silent;
        }
        let head = self.reply_head(asked, answer);
        let written = Writer::begin(reply, &head, b"");
        self.seal(asked, status, written)
    }

    /// Seals a reply, with a tag if the request had one that was checked, and counts it.
    fn seal(
        &mut self,
        asked: &Asked<'_>,
        status: Status,
        written: Result<Writer<'_>, frame::NoRoom>,
    ) -> Handled {
        let key = self.tags.as_ref().filter(|_| asked.frame.has_tag()).map(|keys| &keys.reply);
        let Ok(len) = written.and_then(|writer| writer.finish(key)) else {
            // A reply buffer shorter than a frame without a value: the caller's mistake, but no reason to fall over.
            debug_assert!(false, "the reply buffer holds no frame");
            self.counters.throttled += 1;
            return Handled::Silent;
        };
        self.counters.replied += 1;
        self.counters.bytes_replied += len as u64;
        if asked.is_stream() {
            self.counters.stream_replied += 1;
            self.counters.stream_bytes_replied += len as u64;
        }
        self.counters.answered[status as usize] += 1;
        self.answered = Some(status);
        Handled::Reply(len)
    }
}

/// The operation, if it, its flags and its numbers make sense.
fn known_op(head: &Head) -> Option<Op> {
    let op = head.op()?;
    let flag_bits = head.flags & !flags::TAG;
    if flag_bits & !op.flags_known() != 0 {
        return None;
    }
    if op != Op::Hello && (head.sequence == 0 || head.first_incomplete > head.sequence) {
        return None;
    }
    let makes_sense = match op {
        Op::Put => {
            let both = flags::IF_ABSENT | flags::IF_PRESENT;
            let keeps = flag_bits & flags::KEEP_TTL != 0;
            flag_bits & both != both && head.argument <= TTL_MS_MAX && !(keeps && head.argument != 0)
        }
        Op::Expire => head.argument <= TTL_MS_MAX,
        Op::Hello | Op::Ping | Op::Get | Op::Delete | Op::Add => true,
    };
    makes_sense.then_some(op)
}

#[cfg(test)]
mod tests;
