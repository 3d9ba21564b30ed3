//! Operations of frames against the store, always in database 0. A request becomes a result here: times to live become
//! absolute, deltas become sums, and only then is there a [`Mutation`].

use crate::frames::sessions::CachedReply;
use crate::limits::{KEY_BYTES_MAX, STREAM_FRAME_BYTES_MAX};
use crate::mutation::{Applied, Database, Mutation, NewValue, Refused, Revision};
use crate::store::{Store, Value};
use crate::time::Millis;
use crate::wire::frame::{FRAME_LEN_MIN, Frame, Op, Status, flags};
use crate::wire::number::{self, INTEGER_BYTES_MAX};

/// The database that frames speak of.
pub const DATABASE: Database = Database(0);

// No frame is long enough for a key that is too long.
const _: () = assert!(STREAM_FRAME_BYTES_MAX - FRAME_LEN_MIN <= KEY_BYTES_MAX);

/// What a write needs to know of the record that stands.
#[derive(Clone, Copy)]
struct CurrentValue {
    revision: Revision,
    expiry: Option<Millis>,
}

/// Runs a write; `now` is Unix time. Everything that the client is told of it is in the result.
pub fn write(store: &mut Store, op: Op, frame: &Frame<'_>, now: Millis) -> CachedReply {
    match op {
        Op::Put => put(store, frame, now),
        Op::Delete => delete(store, frame, now),
        Op::Add => add(store, frame, now),
        Op::Expire => expire(store, frame, now),
        Op::Hello | Op::Ping | Op::Get => kept(Status::BadOp, Revision(0), 0),
    }
}

fn kept(status: Status, revision: Revision, expect: u64) -> CachedReply {
    CachedReply { status, argument: revision.0, expect }
}

fn standing(store: &mut Store, key: &[u8], now: Millis) -> Option<CurrentValue> {
    let entry = store.get(DATABASE, key, now)?;
    Some(CurrentValue { revision: entry.revision, expiry: entry.expiry })
}

/// Whether the record's revision is the one that the request asks for, if it asks for one.
fn revision_holds(frame: &Frame<'_>, standing: Option<CurrentValue>) -> bool {
    let current = standing.map_or(0, |standing| standing.revision.0);
    frame.head.flags & flags::IF_REVISION == 0 || frame.head.expect == current
}

fn not_met(standing: Option<CurrentValue>) -> CachedReply {
    kept(Status::NotMet, standing.map_or(Revision(0), |standing| standing.revision), 0)
}

/// 0 asks for no expiry.
fn expiry_of(ttl_ms: u64, now: Millis) -> Option<Millis> {
    (ttl_ms != 0).then(|| now.plus(ttl_ms))
}

fn outcome(applied: Result<Applied, Refused>, expect: impl FnOnce(&Applied) -> u64) -> CachedReply {
    match applied {
        Ok(applied) => kept(Status::Ok, applied.revision, expect(&applied)),
        Err(Refused::Full) => kept(Status::Full, Revision(0), 0),
        Err(Refused::TooLarge { limit, .. }) => kept(Status::TooLarge, Revision(0), limit),
        Err(Refused::KeyTooLong { .. }) => kept(Status::TooLarge, Revision(0), 0),
    }
}

fn put(store: &mut Store, frame: &Frame<'_>, now: Millis) -> CachedReply {
    let conditions = flags::IF_ABSENT | flags::IF_PRESENT | flags::IF_REVISION | flags::KEEP_TTL;
    let mut expiry = expiry_of(frame.head.argument, now);
    // A PUT without conditions does not look first: the common case touches the index once.
    if frame.head.flags & conditions != 0 {
        let standing = standing(store, frame.key, now);
        let wants = |flag| frame.head.flags & flag != 0;
        let refused = wants(flags::IF_ABSENT) && standing.is_some()
            || wants(flags::IF_PRESENT) && standing.is_none()
            || !revision_holds(frame, standing);
        if refused {
            return not_met(standing);
        }
        if wants(flags::KEEP_TTL) {
            expiry = standing.and_then(|standing| standing.expiry);
        }
    }
    let value = NewValue::Bytes(frame.value);
    let put = Mutation::Put { db: DATABASE, key: frame.key, value, expiry };
    outcome(store.apply(&put, now), |applied| u64::from(applied.existed))
}

fn delete(store: &mut Store, frame: &Frame<'_>, now: Millis) -> CachedReply {
    let Some(standing) = standing(store, frame.key, now) else {
        return kept(Status::NotFound, Revision(0), 0);
    };
    if !revision_holds(frame, Some(standing)) {
        return not_met(Some(standing));
    }
    outcome(store.apply(&Mutation::Delete { db: DATABASE, key: frame.key }, now), |_| 1)
}

/// The sum is the key's new value; a missing key counts as 0; the expiry stays.
fn add(store: &mut Store, frame: &Frame<'_>, now: Millis) -> CachedReply {
    let (before, expiry, revision) = match store.get(DATABASE, frame.key, now) {
        None => (Some(0), None, Revision(0)),
        Some(entry) => match entry.value {
            Value::Inline(text) => (number::parse_i64(text), entry.expiry, entry.revision),
            Value::Large { .. } => (None, None, entry.revision),
        },
    };
    let delta = frame.head.argument.cast_signed();
    let Some(sum) = before.and_then(|before| before.checked_add(delta)) else {
        return kept(Status::WrongType, revision, 0);
    };
    let mut digits = [0; INTEGER_BYTES_MAX];
    let value = NewValue::Bytes(number::write_i64(sum, &mut digits));
    let put = Mutation::Put { db: DATABASE, key: frame.key, value, expiry };
    outcome(store.apply(&put, now), |_| sum.cast_unsigned())
}

fn expire(store: &mut Store, frame: &Frame<'_>, now: Millis) -> CachedReply {
    let Some(standing) = standing(store, frame.key, now) else {
        return kept(Status::NotFound, Revision(0), 0);
    };
    if !revision_holds(frame, Some(standing)) {
        return not_met(Some(standing));
    }
    let expiry = expiry_of(frame.head.argument, now);
    outcome(store.apply(&Mutation::SetExpiry { db: DATABASE, key: frame.key, expiry }, now), |_| 0)
}
