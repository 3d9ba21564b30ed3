//! Sets: SADD and its like, one entry of a collection for each member.

use super::{
    Call, Continuation, Flow, Outcome,
    collections::{self, Parts, find, peek},
    hashes::remove_fields,
    keys::{ENTRIES_PER_SLICE_MIN, KEYS_PER_SLICE_MIN},
    meter::FIELD_LOOKUP_UNITS,
    refused,
};
use crate::{
    mutation::{CollectionKind, Mutation, NewValue, Refused},
    reply::ErrorKind,
    store::{Collection, collection::Entry},
    wire::encode::BULK_OVERHEAD_BYTES,
};

const SET: CollectionKind = CollectionKind::Set;

/// `SADD key member …`: in slices, each a group of the change feed.
pub fn sadd<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let (db, now, len) = (call.session.db, call.now, call.args.len());
    let (first, mut count) = match continuation {
        Some(Continuation::Count { next, count }) => (next as usize, count),
        _ => {
            // Nothing of it is done where one of the first arguments is sure to be refused.
            for at in 2..call.args.end() {
                call.field(at)?;
            }
            (2, 0)
        }
    };
    let (end, slice_end) = (call.args.end(), first + ENTRIES_PER_SLICE_MIN);
    let mut at = first;
    let mut refusal = None;
    call.engine.store.begin_group();
    while at < end && refusal.is_none() && (at < slice_end || !call.engine.meter.is_spent()) {
        let field = call.args.bytes(at).unwrap_or_default();
        let put = Mutation::PutField { db, key, kind: SET, field, value: NewValue::Bytes(b"") };
        match call.engine.change_entry(&put, now) {
            Ok(applied) => count += u32::from(!applied.existed),
            Err(reason) => refusal = Some(reason),
        }
        at += 1;
    }
    call.engine.store.end_group();
    match refusal {
        Some(reason) => Err(refused(reason)),
        None if at < len => Ok(Flow::Yield(Continuation::Count { next: at as u32, count })),
        None => call.done(i64::from(count)),
    }
}

/// `SREM key member …`
pub fn srem<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    remove_fields(call, SET, continuation)
}

/// `SISMEMBER key member`
pub fn sismember<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let member = call.args.bytes(2).unwrap_or_default();
    let is_there = call.with_field(SET, member, |item, _| item.is_some())?;
    call.done(i64::from(is_there))
}

/// `SMISMEMBER key member …`: in slices.
pub fn smismember<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let len = call.args.len();
    let mut next = match continuation {
        Some(Continuation::Answered { next }) => next as usize,
        _ => {
            let db = call.session.db;
            find(call.engine, (db, key), SET, call.now)?;
            call.out.array(len - 2);
            2
        }
    };
    let slice_end = next + KEYS_PER_SLICE_MIN;
    while next < call.args.end() {
        let is_full = call.out.room() < 64 && !call.out.is_empty();
        if is_full || next >= slice_end && call.engine.meter.is_spent() {
            return Ok(Flow::Yield(Continuation::Answered { next: next as u32 }));
        }
        let member = call.args.bytes(next).unwrap_or_default();
        // Another type by now: the rest is not there.
        let is_there = call.with_field(SET, member, |item, _| item.is_some()).unwrap_or(false);
        call.out.integer(i64::from(is_there));
        next += 1;
    }
    Ok(collections::answered(call, next))
}

/// `SCARD key`
pub fn scard<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let len = call.collection_len(SET)?;
    call.done(len as i64)
}

/// `SMEMBERS key`
pub fn smembers<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    call.list(SET, Parts::Fields, continuation)
}

/// `SSCAN key cursor …`
pub fn sscan<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    collections::scan(call, SET)
}

/// `SRANDMEMBER key [count]`
pub fn srandmember<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    match call.args.len() {
        2 => call.sample_one(SET, continuation),
        3 => {
            let count = call.integer(2)?;
            if count == i64::MIN {
                return Err(ErrorKind::NotALong.plain());
            }
            call.sample(SET, (count, Parts::Fields), continuation)
        }
        _ => Err(ErrorKind::Syntax.plain()),
    }
}

/// `SPOP key [count]`
///
/// All of a set is taken in one step, and answered piece by piece as it was. A part of it is taken in slices, each a
/// group of the change feed; where other clients have left fewer members than the header promised, nulls stand for them.
pub fn spop<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    match continuation {
        Some(Continuation::Listing(_)) => return call.list(SET, Parts::Fields, continuation),
        Some(Continuation::Count { count, .. }) => return pop_many(call, key, (count, None)),
        _ => {}
    }
    let db = call.session.db;
    let count = match call.args.len() {
        2 => None,
        3 => {
            let count = call.integer(2).ok().filter(|count| *count >= 0);
            Some(count.ok_or(ErrorKind::NotPositive.plain())?)
        }
        _ => return Err(ErrorKind::Syntax.plain()),
    };
    let found = find(call.engine, (db, key), SET, call.now)?;
    let (len, tree) = match found.map(|(_, set)| set) {
        None => (0, None),
        Some(Collection::Packed(packed)) => (packed.len(), None),
        Some(Collection::Tree(tree)) => (tree.len as usize, Some(tree)),
    };
    let Some(count) = count else {
        if len == 0 {
            return call.null();
        }
        return match pop(call, key, None) {
            Popped::Refused(reason) => Err(refused(reason)),
            Popped::NoRoom => Ok(Flow::Yield(Continuation::Again)),
            Popped::Answered => Ok(Flow::Done),
        };
    };
    match tree {
        Some(tree) if count >= len as i64 => {
            call.engine.store.tree_retain(&tree);
            if let Err(error) = call.delete(key) {
                call.engine.store.tree_release(&tree);
                return Err(error);
            }
            call.list_tree(tree, Parts::Fields)
        }
        _ => {
            let count = count.min(len as i64) as u32;
            if count == 0 {
                call.out.set(0);
                return Ok(Flow::Done);
            }
            pop_many(call, key, (count, Some(count)))
        }
    }
}

/// Takes so many members more, until the meter is spent or the output full. `header`: it is still to be answered.
fn pop_many<'a>(
    call: &mut Call<'_, 'a, '_>,
    key: &[u8],
    (count, mut header): (u32, Option<u32>),
) -> Outcome<'a> {
    let mut left = count;
    let mut refusal = None;
    call.engine.store.begin_group();
    while left > 0 && (left == count || !call.engine.meter.is_spent()) {
        match pop(call, key, header) {
            Popped::NoRoom => break,
            Popped::Refused(reason) if header.is_some() => {
                refusal = Some(reason);
                break;
            }
            // The header promised an answer: what cannot be removed is not taken.
            Popped::Refused(_) => call.out.null(),
            Popped::Answered => {}
        }
        (left, header) = (left - 1, None);
    }
    call.engine.store.end_group();
    match (refusal, left) {
        (Some(reason), _) => Err(refused(reason)),
        (None, 0) => Ok(Flow::Done),
        (None, _) if header.is_some() => Ok(Flow::Yield(Continuation::Again)),
        (None, left) => Ok(Flow::Yield(Continuation::Count { next: 0, count: left })),
    }
}

/// What came of taking a member.
enum Popped {
    /// It is answered, or null where there is none.
    Answered,
    /// The output has no room for it yet.
    NoRoom,
    /// It cannot be removed: nothing is answered.
    Refused(Refused),
}

/// Takes a member that is picked at random, and answers it behind the header of an answer of so many.
fn pop(call: &mut Call<'_, '_, '_>, key: &[u8], header: Option<u32>) -> Popped {
    let (db, now) = (call.session.db, call.now);
    let random = call.engine.draw();
    call.engine.meter.charge(FIELD_LOOKUP_UNITS);
    let mut member = std::mem::take(&mut call.engine.names);
    member.clear();
    let is_there = take(call, (key, random), &mut member);
    let has_room = call.out.is_empty() || call.out.room() >= member.len() + 2 * BULK_OVERHEAD_BYTES;
    let remove = Mutation::RemoveField { db, key, kind: SET, field: &member };
    let popped = match has_room {
        false => Popped::NoRoom,
        true if !is_there => Popped::Answered,
        true => match call.engine.change_entry(&remove, now) {
            Ok(_) => Popped::Answered,
            Err(reason) => Popped::Refused(reason),
        },
    };
    if matches!(popped, Popped::Answered) {
        header.into_iter().for_each(|count| call.out.set(count as usize));
        if is_there { call.out.bulk(&member) } else { call.out.null() }
    }
    call.engine.names = member;
    popped
}

/// Copies a member into a buffer that has room for any; false: there is none.
fn take(call: &Call<'_, '_, '_>, (key, random): (&[u8], u64), member: &mut Vec<u8>) -> bool {
    let store = &call.engine.store;
    let Ok(Some(set)) = peek(store, (call.session.db, key), SET, call.now) else { return false };
    let index = (random % set.len().max(1) as u64) as usize;
    let Some(Entry { field, .. }) = store.field_at(&set, index) else { return false };
    store.copy_item(field, member);
    true
}

/// `SMOVE source destination member`
pub fn smove<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let (from, to) = (call.bytes(1)?, call.bytes(2)?);
    let member = call.args.bytes(3).unwrap_or_default();
    let (db, now) = (call.session.db, call.now);
    let is_there = match find(call.engine, (db, from), SET, now)? {
        None => return call.done(0),
        Some((store, set)) => store.field(&set, member, now).is_some(),
    };
    find(call.engine, (db, to), SET, now)?;
    if !is_there || from == to {
        return call.done(i64::from(is_there));
    }
    let engine = &mut *call.engine;
    // Both changes or none: each may write a record again, or copy the pages on the way to an entry.
    let records = engine.store.record_bytes(db, from) + engine.store.record_bytes(db, to);
    let needed = records + MOVED_PAGES_BYTES + 2 * member.len() as u64;
    engine.store.check_room(needed, 0, now).map_err(refused)?;
    // Making room may have evicted it.
    if !is_member(call, from, member) {
        return call.done(0);
    }
    let was_there = is_member(call, to, member);
    let engine = &mut *call.engine;
    engine.store.begin_group();
    let put = Mutation::PutField { db, key: to, kind: SET, field: member, value: NewValue::Bytes(b"") };
    let remove = |key| Mutation::RemoveField { db, key, kind: SET, field: member };
    let moved = engine.change_entry(&put, now).and_then(|_| {
        engine.change_entry(&remove(from), now).inspect_err(|_| {
            if !was_there {
                // A page that was written a moment ago is not copied again.
                let _ = engine.change_entry(&remove(to), now);
            }
        })
    });
    engine.store.end_group();
    moved.map_err(refused)?;
    call.done(1)
}

/// Bytes of pages that SMOVE may copy: the ways to an entry of two trees of a million entries each.
const MOVED_PAGES_BYTES: u64 = 32 * 1024;

/// Whether a member is in the set of a key; another type has none.
pub fn is_member(call: &Call<'_, '_, '_>, key: &[u8], member: &[u8]) -> bool {
    let store = &call.engine.store;
    let set = peek(store, (call.session.db, key), SET, call.now).unwrap_or_default();
    set.is_some_and(|set| store.field(&set, member, call.now).is_some())
}
