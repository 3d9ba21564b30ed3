//! Operations of frames, always in database 0. A request becomes an operation of [`Ops`](crate::engine::ops::Ops) here
//! (a time to live becomes an absolute expiry), and its result the reply that is kept.

use crate::command::VerbId;
use crate::engine::Engine;
use crate::engine::ops::{Added, Change, Current, Expiry, Presence};
use crate::frames::sessions::CachedReply;
use crate::limits::{KEY_BYTES_MAX, STREAM_FRAME_BYTES_MAX};
use crate::mutation::{Database, NewValue, Origin, Refused, Revision};
use crate::time::Millis;
use crate::wire::frame::{FRAME_LEN_MIN, Frame, Op, Status, flags};

/// The database that frames speak of.
pub const DATABASE: Database = Database(0);

// No frame is long enough for a key that is too long.
const _: () = assert!(STREAM_FRAME_BYTES_MAX - FRAME_LEN_MIN <= KEY_BYTES_MAX);

/// Runs a write; `now` is Unix time. Everything that the client hears of it is in the result.
pub fn write(engine: &mut Engine, op: Op, frame: &Frame<'_>, now: Millis) -> CachedReply {
    engine.begin_frame(op);
    engine.store.set_origin(Origin::Frames(frame.head.client_id));
    engine.store.set_command(verb_of(op) as u16);
    let result = match op {
        Op::Put => put(engine, frame, now),
        Op::Delete => delete(engine, frame, now),
        Op::Add => add(engine, frame, now),
        Op::Expire => expire(engine, frame, now),
        Op::Hello | Op::Ping | Op::Get => Ok(kept(Status::BadOp, Revision(0), 0)),
    };
    let kept = result.unwrap_or_else(|refused| match refused {
        Refused::Full => kept(Status::Full, Revision(0), 0),
        Refused::TooLarge { limit, .. } => kept(Status::TooLarge, Revision(0), limit),
        Refused::KeyTooLong { .. } | Refused::FieldTooLong { .. } => kept(Status::TooLarge, Revision(0), 0),
        Refused::WrongType => kept(Status::WrongType, Revision(0), 0),
    });
    if matches!(kept.status, Status::Full | Status::TooLarge | Status::WrongType) {
        engine.fail_frame(op);
    }
    kept
}

/// The verb that does the same: events are named by it.
fn verb_of(op: Op) -> VerbId {
    match op {
        Op::Put => VerbId::Set,
        Op::Delete => VerbId::Del,
        Op::Add => VerbId::Incrby,
        Op::Expire => VerbId::Pexpire,
        Op::Get => VerbId::Get,
        Op::Hello => VerbId::Hello,
        Op::Ping => VerbId::Ping,
    }
}

fn kept(status: Status, revision: Revision, expect: u64) -> CachedReply {
    CachedReply { status, argument: revision.0, expect }
}

/// Whether the key's revision, 0 if it is not there, is the one that the request asks for, if it asks for one.
fn revision_holds(frame: &Frame<'_>, current: Option<Current>) -> bool {
    let revision = current.map_or(0, |current| current.revision.0);
    frame.head.flags & flags::IF_REVISION == 0 || frame.head.expect == revision
}

/// The reply to a change; `expect` is what it tells beside the revision.
fn reply(change: Change, no_key: Status, expect: u64) -> CachedReply {
    match change {
        Change::Made(applied) => kept(Status::Ok, applied.revision, expect),
        Change::NotMet(current) => kept(Status::NotMet, current.revision, 0),
        Change::NoKey => kept(no_key, Revision(0), 0),
    }
}

fn put(engine: &mut Engine, frame: &Frame<'_>, now: Millis) -> Result<CachedReply, Refused> {
    let has = |flag| frame.head.flags & flag != 0;
    let value = NewValue::Bytes(frame.value);
    let expires = (frame.head.argument != 0).then(|| now.plus(frame.head.argument));
    let mut ops = engine.ops(now);
    // A PUT without conditions does not look first: the common case touches the index once.
    if !has(flags::IF_ABSENT | flags::IF_PRESENT | flags::IF_REVISION | flags::KEEP_TTL) {
        let applied = ops.set(DATABASE, frame.key, value, expires)?;
        return Ok(kept(Status::Ok, applied.revision, u64::from(applied.existed)));
    }
    let expiry = if has(flags::KEEP_TTL) { Expiry::Keep } else { expires.map_or(Expiry::None, Expiry::At) };
    let presence = match (has(flags::IF_ABSENT), has(flags::IF_PRESENT)) {
        (true, _) => Presence::Absent,
        (false, true) => Presence::Present,
        (false, false) => Presence::Any,
    };
    let change =
        ops.put((DATABASE, frame.key), value, expiry, presence, |_, current| revision_holds(frame, current))?;
    let existed = matches!(change, Change::Made(applied) if applied.existed);
    Ok(reply(change, Status::NotMet, u64::from(existed)))
}

fn delete(engine: &mut Engine, frame: &Frame<'_>, now: Millis) -> Result<CachedReply, Refused> {
    let allowed = |_: &_, current| revision_holds(frame, Some(current));
    let change = engine.ops(now).remove(DATABASE, frame.key, allowed)?;
    Ok(reply(change, Status::NotFound, 1))
}

fn add(engine: &mut Engine, frame: &Frame<'_>, now: Millis) -> Result<CachedReply, Refused> {
    let delta = frame.head.argument.cast_signed();
    Ok(match engine.ops(now).add(DATABASE, frame.key, delta)? {
        Added::Sum(sum, applied) => kept(Status::Ok, applied.revision, sum.cast_unsigned()),
        Added::NotAnInteger(revision) | Added::Overflow(revision) | Added::WrongType(revision) => {
            kept(Status::WrongType, revision, 0)
        }
    })
}

/// An argument of 0 asks for no expiry.
fn expire(engine: &mut Engine, frame: &Frame<'_>, now: Millis) -> Result<CachedReply, Refused> {
    let at = (frame.head.argument != 0).then(|| now.plus(frame.head.argument));
    let allowed = |current| revision_holds(frame, Some(current));
    let change = engine.ops(now).expire(DATABASE, frame.key, at, allowed)?;
    Ok(reply(change, Status::NotFound, 0))
}
