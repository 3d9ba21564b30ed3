//! Every frame that reaches a server is accounted for: it is rejected for a reason, refused, answered from the table,
//! read, or run; what runs was asked for in just these bytes, by that client, of this run of the server, and runs once.

use super::effect::Effect;
use super::model::Model;
use super::value::Value;
use super::violation::{Violation, brief, show, violation};
use crate::frames::counters::Counters;
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::wire::frame::{self, COOKIE_LEN, Direction, FRAME_LEN_MIN, Frame, Op, Status, flags};
use crate::wire::number::parse_i64;
use crate::wire::tag::TAG_LEN;
use std::collections::HashMap;

/// What a write says, without what changes between its sendings.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Body {
    op: u8,
    flags: u8,
    argument: u64,
    expect: u64,
    key: Vec<u8>,
    value: Vec<u8>,
    epoch: u32,
}

impl Body {
    fn of(frame: &Frame<'_>) -> Body {
        let head = &frame.head;
        Body {
            op: head.code,
            flags: head.flags & !flags::TAG,
            argument: head.argument,
            expect: head.expect,
            key: frame.key.to_vec(),
            value: frame.value.to_vec(),
            epoch: head.epoch,
        }
    }
}

/// What a write was answered when it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CachedReply {
    status: Status,
    argument: u64,
    expect: u64,
}

impl CachedReply {
    fn of(reply: &Frame<'_>) -> CachedReply {
        let status = reply.head.status().unwrap_or(Status::BadOp);
        CachedReply { status, argument: reply.head.argument, expect: reply.head.expect }
    }
}

/// How many frames came to which end, over all servers and runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub received: u64,
    pub ran: u64,
    pub repeats: u64,
    pub reads: u64,
    pub rejected: u64,
    pub throttled: u64,
    /// CHALLENGE, STALE_SESSION, WRONG_EPOCH, ID_REUSED, BUSY, DENIED, BAD_OP.
    pub refused: u64,
    pub hellos: u64,
    /// Among the refused.
    pub stale: u64,
    pub wrong_epoch: u64,
    pub busy: u64,
    pub reused: u64,
}

/// What the answer to a frame is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The server's.
    pub epoch: u32,
    /// Its wall clock, in ms.
    pub unix: u64,
    /// Whether it was made for another source than it came from: it may get a cookie, and nothing else.
    pub stolen: bool,
}

/// What a write runs once for. A client that keeps no rules may use its name again after a restart, or in a later session
/// (whose number the cookie carries): what it asks for then is a request of its own, though the sequence is an old one's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Name {
    client_id: u64,
    sequence: u32,
    epoch: u32,
    session: u64,
}

/// The session's number in a cookie: see `frames/cookie.rs`.
fn session_of(cookie: &[u8; COOKIE_LEN]) -> u64 {
    cookie[1..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The ledger of all frames.
#[derive(Default)]
pub struct Frames {
    asked: HashMap<(u64, u32), Vec<Body>>,
    ran: HashMap<Name, CachedReply>,
    pub tally: Tally,
}

impl Frames {
    /// A client sends this frame; `honest`: by the rules of the protocol's page.
    pub fn sent(&mut self, bytes: &[u8], honest: bool) -> Result<(), Violation> {
        let Ok(frame) = frame::decode_datagram(bytes, Direction::Request) else {
            return Err(violation(b"", "a client sent what is no frame"));
        };
        let head = &frame.head;
        if !head.op().is_some_and(Op::is_write) {
            return Ok(());
        }
        let bodies = self.asked.entry((head.client_id, head.sequence)).or_default();
        let body = Body::of(&frame);
        if !bodies.contains(&body) {
            if honest && !bodies.is_empty() {
                return Err(violation(frame.key, "a client used a sequence for two requests"));
            }
            bodies.push(body);
        }
        Ok(())
    }

    /// A datagram was handled: `counted` is what the server's counters said before and say after.
    pub fn handled(
        &mut self,
        (request, reply): (&[u8], Option<&[u8]>),
        counted: (&Counters, &Counters),
        place: Place,
        model: &mut Model,
    ) -> Result<(), Violation> {
        let (before, after) = counted;
        let rejected = after.rejected_total() - before.rejected_total();
        let throttled = after.throttled - before.throttled;
        let replied = after.replied - before.replied;
        let reply_len = reply.map_or(0, <[u8]>::len) as u64;
        let adds_up = after.received - before.received == 1
            && after.bytes_received - before.bytes_received == request.len() as u64
            && rejected + throttled + replied == 1
            && replied == u64::from(reply.is_some())
            && after.bytes_replied - before.bytes_replied == reply_len;
        if !adds_up {
            return Err(violation(b"", format!("counters do not add up: {before:?}, then {after:?}")));
        }
        self.tally.received += 1;
        self.tally.rejected += rejected;
        self.tally.throttled += throttled;
        let Some(reply) = reply else { return model.settle(place.unix) };
        let request = frame::decode_datagram(request, Direction::Request);
        let reply = frame::decode_datagram(reply, Direction::Reply);
        let (Ok(request), Ok(reply)) = (request, reply) else {
            return Err(violation(b"", "what is no frame was answered, or answered by what is none"));
        };
        let class = self.account(&request, &reply, place, model)?;
        let delta =
            (after.writes - before.writes, after.repeats - before.repeats, after.reads - before.reads);
        let want = match class {
            Class::Ran => (1, 0, 0),
            Class::Repeated => (0, 1, 0),
            Class::Read => (0, 0, 1),
            Class::Other => (0, 0, 0),
        };
        let status = CachedReply::of(&reply).status as usize;
        if delta != want || after.answered[status] != before.answered[status] + 1 {
            let text = format!("counted as (run, repeated, read) {delta:?}, and was {class:?}");
            return Err(violation(request.key, text));
        }
        model.settle(place.unix)
    }

    /// Checks a request and its answer, by datagram or over a stream; what it was.
    pub fn account(
        &mut self,
        request: &Frame<'_>,
        reply: &Frame<'_>,
        place: Place,
        model: &mut Model,
    ) -> Result<Class, Violation> {
        let (head, kept) = (&request.head, CachedReply::of(reply));
        let echoes = reply.head.client_id == head.client_id
            && reply.head.sequence == head.sequence
            && reply.head.attempt == head.attempt
            && reply.head.op() == head.op()
            && reply.head.epoch == place.epoch;
        if !echoes {
            return Err(violation(request.key, "the answer belongs to another request"));
        }
        if kept.status == Status::Challenge && reply.len() > request.len() {
            return Err(violation(request.key, "an unproved source got more bytes than it sent"));
        }
        if place.stolen && answers(kept.status) {
            let text = format!("a frame that was made for another source was answered {:?}", kept.status);
            return Err(violation(request.key, text));
        }
        match (kept.status, head.op()) {
            (Status::Ok, Some(Op::Hello)) => {
                self.tally.hellos += 1;
                Ok(Class::Other)
            }
            (status, Some(op)) if answers(status) && op.is_write() => {
                self.account_write((request, op), kept, place, model)
            }
            (status, Some(op)) if answers(status) => {
                self.tally.reads += 1;
                if op == Op::Get {
                    explain_get(request, reply, place, model)?;
                }
                Ok(Class::Read)
            }
            (status, _) => {
                self.tally.refused += 1;
                match status {
                    Status::StaleSession => self.tally.stale += 1,
                    Status::WrongEpoch => self.tally.wrong_epoch += 1,
                    Status::Busy => self.tally.busy += 1,
                    Status::IdReused => self.tally.reused += 1,
                    _ => {}
                }
                Ok(Class::Other)
            }
        }
    }

    /// A write that was answered as one that has run: now, or, with the same answer, before.
    fn account_write(
        &mut self,
        (request, op): (&Frame<'_>, Op),
        kept: CachedReply,
        place: Place,
        model: &mut Model,
    ) -> Result<Class, Violation> {
        let head = &request.head;
        let body = Body::of(request);
        let id = (head.client_id, head.sequence);
        if !self.asked.get(&id).is_some_and(|bodies| bodies.contains(&body)) {
            let text = format!("client {:x} never asked for this as its {}: {}", id.0, id.1, brief(&body));
            return Err(violation(request.key, text));
        }
        let session = session_of(&head.cookie);
        let run = Name { client_id: id.0, sequence: id.1, epoch: body.epoch, session };
        if let Some(first) = self.ran.get(&run) {
            if *first != kept || body.epoch != place.epoch {
                let text = format!("write {} of client {:x} ran twice: {first:?}, then {kept:?}", id.1, id.0);
                return Err(violation(request.key, text));
            }
            self.tally.repeats += 1;
            return Ok(Class::Repeated);
        }
        if body.epoch != place.epoch {
            return Err(violation(request.key, "a write ran that was meant for another run of the server"));
        }
        explain_write((request, op), kept, place, model)?;
        self.ran.insert(run, kept);
        self.tally.ran += 1;
        Ok(Class::Ran)
    }

    /// Every frame came to one end, over the whole run.
    pub fn adds_up(&self) -> Result<(), Violation> {
        let Tally { received, ran, repeats, reads, rejected, throttled, refused, hellos, .. } = self.tally;
        if received == ran + repeats + reads + rejected + throttled + refused + hellos {
            return Ok(());
        }
        Err(violation(b"", format!("frames do not add up: {:?}", self.tally)))
    }
}

/// What became of a frame that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Ran,
    Repeated,
    Read,
    Other,
}

/// Whether a status says that the request itself was answered, and not refused.
fn answers(status: Status) -> bool {
    matches!(
        status,
        Status::Ok
            | Status::NotFound
            | Status::NotMet
            | Status::WrongType
            | Status::Full
            | Status::TooLarge
            | Status::UseTcp
    )
}

/// What a write must be answered, but for the revision that it draws, and what it must change.
struct Wanted {
    status: Status,
    /// The revision that stands; `None`: the one that the change draws.
    revision: Option<u64>,
    expect: u64,
    effect: Option<Effect>,
}

fn refused(status: Status, revision: u64) -> Wanted {
    Wanted { status, revision: Some(revision), expect: 0, effect: None }
}

fn done(expect: u64, effect: Effect) -> Wanted {
    Wanted { status: Status::Ok, revision: None, expect, effect: Some(effect) }
}

fn predict(frame: &Frame<'_>, op: Op, model: &Model, unix: u64) -> Wanted {
    let (head, key) = (&frame.head, frame.key.to_vec());
    let record = model.live(frame.key, unix);
    let standing = record.map_or(0, |record| record.revision);
    let wants = |flag| head.flags & flag != 0;
    let ttl = (head.argument != 0).then(|| unix + head.argument);
    let differs = wants(flags::IF_REVISION) && head.expect != standing;
    match op {
        Op::Put => {
            if differs
                || wants(flags::IF_ABSENT) && record.is_some()
                || wants(flags::IF_PRESENT) && record.is_none()
            {
                return refused(Status::NotMet, standing);
            }
            let keeps = wants(flags::KEEP_TTL);
            let expiry = if keeps { record.and_then(|record| record.expiry) } else { ttl };
            done(
                u64::from(record.is_some()),
                Effect::Put { key, value: Value::Text(frame.value.into()), expiry },
            )
        }
        Op::Add => {
            let before = record.map_or(Some(0), |record| parse_i64(record.value.text()?));
            let Some(sum) = before.and_then(|before| before.checked_add(head.argument.cast_signed())) else {
                return refused(Status::WrongType, standing);
            };
            let (value, expiry) =
                (Value::Text(sum.to_string().into_bytes().into()), record.and_then(|record| record.expiry));
            done(sum.cast_unsigned(), Effect::Put { key, value, expiry })
        }
        _ if record.is_none() => refused(Status::NotFound, 0),
        _ if differs => refused(Status::NotMet, standing),
        Op::Delete => done(1, Effect::Delete { key }),
        _ => done(0, Effect::SetExpiry { key, expiry: ttl }),
    }
}

fn explain_write(
    (request, op): (&Frame<'_>, Op),
    kept: CachedReply,
    place: Place,
    model: &mut Model,
) -> Result<(), Violation> {
    if kept.status == Status::Full {
        return Ok(());
    }
    loop {
        let wanted = predict(request, op, model, place.unix);
        let agrees = wanted.status == kept.status
            && wanted.expect == kept.expect
            && wanted.revision.is_none_or(|revision| revision == kept.argument);
        if agrees {
            let Some(effect) = wanted.effect else { return Ok(()) };
            let revision = model.expect(&effect, place.unix)?;
            if revision == kept.argument {
                return Ok(());
            }
            let text = format!("got revision {revision} and was answered {}", kept.argument);
            return Err(violation(request.key, text));
        }
        if !model.take_removal(place.unix)? {
            let text = format!(
                "{op:?} was answered {kept:?} instead of {:?} {:?} {}",
                wanted.status, wanted.revision, wanted.expect
            );
            return Err(violation(request.key, text));
        }
    }
}

fn explain_get(
    request: &Frame<'_>,
    reply: &Frame<'_>,
    place: Place,
    model: &mut Model,
) -> Result<(), Violation> {
    let kept = CachedReply::of(reply);
    let tag_len = if request.has_tag() { TAG_LEN } else { 0 };
    let room = DATAGRAM_BYTES_MAX - FRAME_LEN_MIN - tag_len;
    loop {
        let agrees = match model.live(request.key, place.unix) {
            None => (kept.status, kept.argument, kept.expect) == (Status::NotFound, 0, 0),
            Some(record) => match record.value.text() {
                None => kept.status == Status::WrongType,
                Some(value) if value.len() > room => {
                    (kept.status, kept.argument, kept.expect)
                        == (Status::UseTcp, record.revision, value.len() as u64)
                }
                Some(value) => {
                    let left = record.expiry.map_or(0, |at| at - place.unix);
                    (kept.status, kept.argument, kept.expect) == (Status::Ok, record.revision, left)
                        && reply.value[..] == *value
                }
            },
        };
        if agrees {
            return Ok(());
        }
        if !model.take_removal(place.unix)? {
            let text = format!("GET was answered {kept:?} {}, which it does not have", show(reply.value));
            return Err(violation(request.key, text));
        }
    }
}

impl Tally {
    /// Adds another run's.
    pub fn add(&mut self, other: &Tally) {
        self.received += other.received;
        self.ran += other.ran;
        self.repeats += other.repeats;
        self.reads += other.reads;
        self.rejected += other.rejected;
        self.throttled += other.throttled;
        self.refused += other.refused;
        self.hellos += other.hellos;
        self.stale += other.stale;
        self.wrong_epoch += other.wrong_epoch;
        self.busy += other.busy;
        self.reused += other.reused;
    }
}
