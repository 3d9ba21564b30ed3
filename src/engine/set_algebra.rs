//! SINTER, SUNION, SDIFF, their STORE forms and SINTERCARD.
//!
//! ```text
//!  source sets ──▶ member by member, in the order of their places ──▶ a private collection ──▶ answered, or the key has it
//!                  └──────────── in slices ─────────────┘
//! ```
//! The sources are looked up again in each slice, and gone on with from the last place: what others add or remove
//! meanwhile may or may not be seen, as with SSCAN; what is there throughout is. What one slice covers is one step.
//!
//! Members of a short set have no places: one that is removed moves those behind it. So a short set is gone through in one slice,
//! unless its members are looked up in more than [`LOOK_UPS_A_MEMBER_MAX`] others: there, one that goes may hide another.

use super::{
    Call, Continuation, Engine, Flow, Outcome,
    collections::{Parts, find, peek},
    meter::{FIELD_LOOKUP_UNITS, FIELD_UNITS, KEY_UNITS},
    refused,
    sets::is_member,
};
use crate::{
    command::VerbId,
    limits::INLINE_VALUE_BYTES_MAX,
    mutation::{CollectionKind, Mutation, NewValue, Tree},
    reply::{Error, ErrorKind},
    store::{
        Collection,
        collection::{Item, PACKED_LEN_MAX},
    },
    wire::{encode::BULK_OVERHEAD_BYTES, number::parse_i64},
};
use std::ops::Range;

const SET: CollectionKind = CollectionKind::Set;

/// 128 members, each looked up in so many sets, take about half a millisecond.
const LOOK_UPS_A_MEMBER_MAX: usize = 64;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algebra {
    /// What was found so far; a reference to its root is held.
    pub result: Option<Tree>,
    count: u64,
    /// The argument whose set is gone through, and where in it.
    source: u32,
    at: At,
}

/// A place in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The index in a short one.
    Index(u32),
    Place(u64),
    /// All is gone through; the answer waits for room.
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Intersection,
    Union,
    Difference,
}

/// What a command asks for.
struct Request<'a> {
    operation: Operation,
    /// The arguments that are its sources.
    sources: Range<usize>,
    destination: Option<&'a [u8]>,
    /// SINTERCARD: only their number, up to this one.
    limit: Option<u64>,
}

/// `SINTER key …`, `SUNION`, `SDIFF`; `SINTERSTORE destination key …` and so on; `SINTERCARD numkeys key … [LIMIT n]`
pub fn run<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let request = Request::parse(call)?;
    let mut work = match continuation {
        Some(Continuation::Listing(_)) => return call.list(SET, Parts::Fields, continuation),
        Some(Continuation::Algebra(work)) => work,
        _ => match begin(call, &request)? {
            Some(work) => work,
            None => return finish(call, &request, None, 0),
        },
    };
    let done = if work.at == At::End { Ok(true) } else { resume(call, &request, &mut work) };
    match done {
        Ok(true) if has_to_wait(call, &request, &work) => {
            Ok(Flow::Yield(Continuation::Algebra(Algebra { at: At::End, ..work })))
        }
        Ok(true) => finish(call, &request, work.result, work.count),
        Ok(false) => Ok(Flow::Yield(Continuation::Algebra(work))),
        Err(error) => {
            if let Some(tree) = work.result {
                call.engine.store.tree_release(&tree);
            }
            Err(error)
        }
    }
}

impl<'a> Request<'a> {
    /// Whether a slice may end within a short set.
    fn may_cut_short(&self) -> bool {
        self.operation != Operation::Union && self.sources.len() > LOOK_UPS_A_MEMBER_MAX
    }

    fn parse(call: &Call<'_, 'a, '_>) -> Result<Request<'a>, Error<'a>> {
        use VerbId as V;
        let operation = match call.verb.id {
            V::Sunion | V::Sunionstore => Operation::Union,
            V::Sdiff | V::Sdiffstore => Operation::Difference,
            _ => Operation::Intersection,
        };
        let len = call.args.len();
        let mut request = Request { operation, sources: 1..len, destination: None, limit: None };
        match call.verb.id {
            V::Sinterstore | V::Sunionstore | V::Sdiffstore => {
                (request.destination, request.sources) = (Some(call.bytes(1)?), 2..len);
            }
            V::Sintercard => {
                let count = call.args.bytes(1).and_then(parse_i64).filter(|count| *count > 0);
                let count = count.ok_or(ErrorKind::NumkeysNotPositive.plain())? as usize;
                if count > len - 2 {
                    return Err(ErrorKind::NumkeysTooMany.plain());
                }
                request.sources = 2..2 + count;
                request.limit = Some(0);
                let mut at = 2 + count;
                while at < len {
                    if !call.is_word(at, "LIMIT") || at + 1 == len {
                        return Err(ErrorKind::Syntax.plain());
                    }
                    let limit = call.args.bytes(at + 1).and_then(parse_i64);
                    let limit = limit.and_then(|limit| u64::try_from(limit).ok());
                    request.limit = Some(limit.ok_or(ErrorKind::LimitNegative.plain())?);
                    at += 2;
                }
            }
            _ => {}
        }
        Ok(request)
    }
}

/// Looks the sources up; `None`: nothing comes of them.
fn begin<'a>(call: &mut Call<'_, 'a, '_>, request: &Request<'a>) -> Result<Option<Algebra>, Error<'a>> {
    let db = call.session.db;
    let mut smallest = None;
    let mut is_empty = false;
    for source in request.sources.clone() {
        let key = call.bytes(source)?;
        let len = find(call.engine, (db, key), SET, call.now)?.map_or(0, |(_, set)| set.len());
        is_empty |= len == 0;
        if smallest.is_none_or(|(least, _)| len < least) {
            smallest = Some((len, source));
        }
    }
    let first = request.sources.start;
    let source = match request.operation {
        Operation::Intersection if is_empty => return Ok(None),
        Operation::Intersection => smallest.map_or(first, |(_, source)| source),
        Operation::Union | Operation::Difference => first,
    };
    let result = match request.limit {
        Some(_) => None,
        None => Some(call.engine.store.tree_begin(SET, call.now).map_err(refused)?),
    };
    Ok(Some(Algebra { result, count: 0, source: source as u32, at: At::Index(0) }))
}

/// Goes on until the meter is spent; true: that was all.
fn resume<'a>(
    call: &mut Call<'_, 'a, '_>,
    request: &Request<'a>,
    work: &mut Algebra,
) -> Result<bool, Error<'a>> {
    let mut member = std::mem::take(&mut call.engine.names);
    let done = go_through(call, request, work, &mut member);
    call.engine.names = member;
    done
}

fn go_through<'a>(
    call: &mut Call<'_, 'a, '_>,
    request: &Request<'a>,
    work: &mut Algebra,
    member: &mut Vec<u8>,
) -> Result<bool, Error<'a>> {
    let (db, now) = (call.session.db, call.now);
    loop {
        let key = call.bytes(work.source as usize)?;
        let mut index = match peek(&call.engine.store, (db, key), SET, now)? {
            None => 0,
            Some(set) => match (set, work.at) {
                (Collection::Packed(_), At::Index(index)) => index as usize,
                (Collection::Tree(tree), At::Place(place)) => {
                    call.engine.store.tree_index(&tree, place) as usize
                }
                // It has become short or long meanwhile, and is begun again; what is counted without being kept, as well.
                _ => {
                    work.count = if work.result.is_none() { 0 } else { work.count };
                    0
                }
            },
        };
        loop {
            let store = &call.engine.store;
            let Some(set) = peek(store, (db, key), SET, now)? else { break };
            let Some(entry) = store.field_at(&set, index) else { break };
            let may_cut = match set {
                Collection::Packed(_) => request.may_cut_short(),
                Collection::Tree(_) => true,
            };
            if call.engine.meter.is_spent() && index > 0 && may_cut {
                work.at = match set {
                    Collection::Packed(_) => At::Index(index as u32),
                    Collection::Tree(tree) => At::Place(store.tree_place(&tree, index as u32)),
                };
                return Ok(false);
            }
            member.clear();
            store.copy_item(entry.field, member);
            index += 1;
            if take(call, request, work, member)? {
                return Ok(true);
            }
        }
        work.source += 1;
        work.at = At::Index(0);
        let is_last = request.operation != Operation::Union || work.source as usize >= request.sources.end;
        if is_last {
            return Ok(true);
        }
        if call.engine.meter.is_spent() {
            return Ok(false);
        }
    }
}

/// Takes a member into the result if it belongs there; true: that is enough.
fn take<'a>(
    call: &mut Call<'_, 'a, '_>,
    request: &Request<'a>,
    work: &mut Algebra,
    member: &[u8],
) -> Result<bool, Error<'a>> {
    let mut belongs = true;
    let mut looked = 1;
    if request.operation != Operation::Union {
        for other in request.sources.clone().filter(|other| *other != work.source as usize) {
            looked += 1;
            let is_there = is_member(call, call.bytes(other)?, member);
            belongs = is_there == (request.operation == Operation::Intersection);
            if !belongs {
                break;
            }
        }
    }
    // The member that is looked at, and the look-ups in the others.
    call.engine.meter.charge(looked * (KEY_UNITS + FIELD_LOOKUP_UNITS));
    if !belongs {
        return Ok(false);
    }
    work.count += 1;
    match &mut work.result {
        None => Ok(request.limit.is_some_and(|limit| limit > 0 && work.count >= limit)),
        Some(tree) => {
            call.engine.meter.charge(FIELD_UNITS);
            call.engine.store.tree_add(tree, member, (None, None), call.now).map_err(refused)?;
            Ok(false)
        }
    }
}

/// Whether a short result would not fit into the output as it is: it is answered in one piece.
fn has_to_wait(call: &Call<'_, '_, '_>, request: &Request<'_>, work: &Algebra) -> bool {
    let Some(tree) = work.result.filter(|_| request.destination.is_none()) else { return false };
    let size = (PACKED_LEN_MAX + 1) * BULK_OVERHEAD_BYTES + INLINE_VALUE_BYTES_MAX;
    tree.len as usize <= PACKED_LEN_MAX && call.out.room() < size && !call.out.is_empty()
}

/// Answers the result, or gives it to its key.
fn finish<'a>(
    call: &mut Call<'_, 'a, '_>,
    request: &Request<'a>,
    result: Option<Tree>,
    count: u64,
) -> Outcome<'a> {
    if request.limit.is_some() {
        return call.done(count as i64);
    }
    let result = match result {
        Some(tree) if tree.len == 0 => {
            call.engine.store.tree_release(&tree);
            None
        }
        result => result,
    };
    match (request.destination, result) {
        (None, None) => {
            call.out.set(0);
            Ok(Flow::Done)
        }
        (None, Some(tree)) => {
            let Engine { store, scratch, .. } = &mut *call.engine;
            let Some(packed) = store.tree_packed(&tree, b"", scratch) else {
                return call.list_tree(tree, Parts::Fields);
            };
            call.out.set(tree.len as usize);
            if let Collection::Packed(packed) = Collection::read(packed) {
                for entry in packed.entries() {
                    if let Item::Bytes(member) = entry.field {
                        call.out.bulk(member);
                    }
                }
            }
            store.tree_release(&tree);
            Ok(Flow::Done)
        }
        (Some(destination), None) => {
            call.delete(destination)?;
            call.done(0)
        }
        (Some(key), Some(tree)) => {
            let Engine { store, scratch, .. } = &mut *call.engine;
            let value = store.tree_packed(&tree, key, scratch).map_or(NewValue::Tree(tree), NewValue::Packed);
            let applied =
                store.apply(&Mutation::Put { db: call.session.db, key, value, expiry: None }, call.now);
            store.tree_release(&tree);
            applied.map_err(refused)?;
            call.done(i64::from(tree.len))
        }
    }
}
