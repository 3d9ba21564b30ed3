//! SORT and SORT_RO of sets: by members or by what other keys say of them, all or a part, answered as they are or as what
//! other keys have for them.
//!
//! ```text
//!  set ─▶ a reference to its pages ─▶ a record of 16 bytes for each member ─▶ merged run by run ─▶ answered in order
//!                                     └──────────────────────── in slices ────────────────────────────────┘
//! ```
//! [`order`] makes the records and merges them: they lie in memory that is spare, and the set is the one that was there at
//! the beginning. [`pattern`] looks other keys up, as they are at that moment. There are no lists and no sorted sets, so
//! a result cannot be stored unless it is empty, and a key that is not there is an empty list.

mod order;
mod pattern;

use super::{Call, Continuation, Engine, Flow, Outcome, meter::KEY_UNITS, refused};
use crate::{
    command::VerbId,
    mutation::{CollectionKind, LargeRef, Tree},
    reply::{Error, ErrorKind},
    store::{LargeCursor, Store, Value, collection::Item},
    wire::encode::BULK_OVERHEAD_BYTES,
};
use order::{By, Order, RecordReader};

/// How far a SORT has come.
#[derive(Debug, PartialEq, Eq)]
pub struct Sort {
    /// The set, to whose root a reference is held.
    tree: Tree,
    stage: Stage,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Order(Order),
    /// The records, if it was to be sorted, and what is answered.
    Answer {
        records: Option<LargeRef>,
        window: Window,
        /// The argument from which on its next GET is looked for; 0: a new member.
        get_at: u32,
    },
}

/// The members that are answered: of these indexes in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    next: u32,
    end: u32,
}

impl Sort {
    /// Gives back what it holds.
    pub fn release(self, store: &mut Store) {
        store.tree_release(&self.tree);
        match self.stage {
            Stage::Order(order) => order.release(store),
            Stage::Answer { records: Some(records), .. } => store.large_release(records),
            Stage::Answer { .. } => {}
        }
    }
}

/// What a command asks for.
struct Request<'a> {
    by: Option<&'a [u8]>,
    /// BY without a place for the member: not sorted at all.
    is_unsorted: bool,
    get_count: usize,
    limit: (i64, i64),
    is_descending: bool,
    is_alpha: bool,
    destination: Option<&'a [u8]>,
}

/// One option, and the argument behind it.
enum Word<'a> {
    Get(&'a [u8]),
    By(&'a [u8]),
    Limit(i64, i64),
    Store(&'a [u8]),
    Order { is_descending: bool },
    Alpha,
}

impl<'a> Request<'a> {
    fn parse(call: &Call<'_, 'a, '_>) -> Result<Request<'a>, Error<'a>> {
        let mut request = Request {
            by: None,
            is_unsorted: false,
            get_count: 0,
            limit: (0, -1),
            is_descending: false,
            is_alpha: false,
            destination: None,
        };
        let mut at = 2;
        while at < call.args.len() {
            let (word, next) = option_at(call, at)?;
            match word {
                Word::Get(_) => request.get_count += 1,
                Word::By(pattern) => {
                    request.by = Some(pattern);
                    request.is_unsorted |= !pattern::has_place(pattern);
                }
                Word::Limit(start, count) => request.limit = (start, count),
                Word::Store(destination) => request.destination = Some(destination),
                Word::Order { is_descending } => request.is_descending = is_descending,
                Word::Alpha => request.is_alpha = true,
            }
            at = next;
        }
        Ok(request)
    }

    /// What members are compared by.
    fn order(&self, call: &Call<'_, '_, '_>) -> By<'a> {
        let is_sorted = !self.is_unsorted;
        By {
            pattern: self.by.filter(|_| is_sorted),
            is_alpha: self.is_alpha && is_sorted,
            is_descending: self.is_descending && is_sorted,
            db: call.session.db,
            now: call.now,
        }
    }

    /// The members that are answered of so many.
    fn window(&self, len: u32) -> Window {
        let len = i64::from(len);
        let start = self.limit.0.clamp(0, len);
        let count = self.limit.1.clamp(-1, len);
        let end = if count < 0 { len } else { (start + count).min(len) };
        Window { next: start as u32, end: end.max(start) as u32 }
    }
}

/// The option at an argument, and where the next one is.
fn option_at<'a>(call: &Call<'_, 'a, '_>, at: usize) -> Result<(Word<'a>, usize), Error<'a>> {
    let left = call.args.len() - at - 1;
    if call.is_word(at, "ASC") || call.is_word(at, "DESC") {
        Ok((Word::Order { is_descending: call.is_word(at, "DESC") }, at + 1))
    } else if call.is_word(at, "ALPHA") {
        Ok((Word::Alpha, at + 1))
    } else if call.is_word(at, "LIMIT") && left >= 2 {
        Ok((Word::Limit(call.integer(at + 1)?, call.integer(at + 2)?), at + 3))
    } else if call.is_word(at, "STORE") && left >= 1 && call.verb.id == VerbId::Sort {
        Ok((Word::Store(call.bytes(at + 1)?), at + 2))
    } else if call.is_word(at, "BY") && left >= 1 {
        Ok((Word::By(call.bytes(at + 1)?), at + 2))
    } else if call.is_word(at, "GET") && left >= 1 {
        Ok((Word::Get(call.bytes(at + 1)?), at + 2))
    } else {
        Err(ErrorKind::Syntax.plain())
    }
}

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern …] [ASC | DESC] [ALPHA] [STORE destination]`, and `SORT_RO`
/// without STORE
pub fn sort<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let request = Request::parse(call)?;
    let work = match continuation {
        Some(Continuation::Sort(work)) => work,
        _ => match begin(call, &request)? {
            Some(work) => work,
            None => return Ok(Flow::Done),
        },
    };
    resume(call, &request, work)
}

/// Looks the set up; `None`: there is nothing to sort, which is answered.
fn begin<'a>(call: &mut Call<'_, 'a, '_>, request: &Request<'a>) -> Result<Option<Sort>, Error<'a>> {
    let (key, db) = (call.bytes(1)?, call.session.db);
    let is_set = match call.engine.lookup(db, key, call.now).map(|entry| entry.value) {
        None => false,
        Some(Value::Collection(set)) if set.kind() == CollectionKind::Set => true,
        Some(_) => return Err(ErrorKind::WrongType.plain()),
    };
    let tree = if is_set { call.engine.store.tree_of(db, key, call.now).map_err(refused)? } else { None };
    let window = request.window(tree.map_or(0, |tree| tree.len));
    if let Some(destination) = request.destination {
        if let Some(tree) = tree {
            call.engine.store.tree_release(&tree);
        }
        if window.next < window.end {
            return Err(ErrorKind::SortStore.plain());
        }
        call.delete(destination)?;
        call.out.integer(0);
        return Ok(None);
    }
    let Some(tree) = tree else {
        call.out.array(0);
        return Ok(None);
    };
    // A set of integers is in their order, as in Redis.
    if !request.is_unsorted || !tree.is_table {
        return match Order::begin(&mut call.engine.store, tree.len) {
            Ok(order) => Ok(Some(Sort { tree, stage: Stage::Order(order) })),
            Err(reason) => {
                call.engine.store.tree_release(&tree);
                Err(refused(reason))
            }
        };
    }
    Ok(Some(Sort { tree, stage: answer_from(call, request, tree.len, None) }))
}

/// Answers the header.
fn answer_from(
    call: &mut Call<'_, '_, '_>,
    request: &Request<'_>,
    len: u32,
    records: Option<LargeRef>,
) -> Stage {
    let window = request.window(len);
    call.out.array((window.end - window.next) as usize * request.get_count.max(1));
    Stage::Answer { records, window, get_at: 0 }
}

fn resume<'a>(call: &mut Call<'_, 'a, '_>, request: &Request<'a>, mut work: Sort) -> Outcome<'a> {
    work.stage = match work.stage {
        Stage::Order(mut order) => {
            let by = request.order(call);
            match order.resume(call.engine, &work.tree, &by) {
                Ok(false) => {
                    work.stage = Stage::Order(order);
                    return Ok(Flow::Yield(Continuation::Sort(work)));
                }
                Ok(true) => answer_from(call, request, work.tree.len, Some(order.into_records())),
                Err(error) => {
                    work.stage = Stage::Order(order);
                    work.release(&mut call.engine.store);
                    return Err(error);
                }
            }
        }
        stage @ Stage::Answer { .. } => stage,
    };
    answer(call, request, work)
}

/// Answers members, or what their GETs give, until the output is full or the meter is spent.
fn answer<'a>(call: &mut Call<'_, 'a, '_>, request: &Request<'a>, mut work: Sort) -> Outcome<'a> {
    let Stage::Answer { records, window, get_at } = &mut work.stage else { unreachable!("it is in order") };
    let mut reader = records.as_ref().map(|records| RecordReader::new(records.id(), window.next));
    let mut is_first = true;
    while window.next < window.end {
        let index = match &mut reader {
            Some(reader) => reader.peek(&call.engine.store).index,
            None => window.next,
        };
        // The next GET, if there are any.
        let mut pattern = None;
        while request.get_count > 0 && pattern.is_none() && (*get_at as usize) < call.args.len() {
            let (word, next) = option_at(call, (*get_at as usize).max(2))?;
            call.engine.meter.charge(1);
            *get_at = next as u32;
            if let Word::Get(get) = word {
                pattern = Some((get, *get_at));
            }
        }
        if request.get_count > 0 && pattern.is_none() {
            // All of this member's are answered.
            (window.next, *get_at) = (window.next + 1, 0);
            reader.iter_mut().for_each(RecordReader::advance);
            continue;
        }
        let Engine { store, meter, names, .. } = &mut *call.engine;
        let member = store.tree_entry(&work.tree, index).field;
        let (db, now) = (call.session.db, call.now);
        let item = match pattern {
            None => Some(member),
            Some((pattern, _)) => {
                meter.charge(KEY_UNITS);
                pattern::look_up(store, (db, now), pattern, member, names)
            }
        };
        let size = item.map_or(0, |item| item.size()) + 2 * BULK_OVERHEAD_BYTES;
        // An empty output takes any reply; waiting would not make more room.
        let is_full = call.out.room() < size && !call.out.is_empty();
        if is_full || meter.is_spent() && !is_first {
            // Only this GET is still to be answered.
            *get_at = pattern.map_or(0, |(_, behind)| behind - 2);
            return Ok(Flow::Yield(Continuation::Sort(work)));
        }
        is_first = false;
        let held = match item {
            None => {
                call.out.null();
                None
            }
            Some(Item::Bytes(bytes)) => {
                call.out.bulk(bytes);
                None
            }
            Some(Item::Large { id, len }) => call.out.large(id, len.into()).then_some(id),
        };
        held.into_iter().for_each(|id| _ = store.large_retain(id).into_raw());
        meter.charge(2);
        meter.charge_bytes(2 * size);
        if pattern.is_none() {
            window.next += 1;
            reader.iter_mut().for_each(RecordReader::advance);
        }
    }
    work.release(&mut call.engine.store);
    Ok(Flow::Done)
}

/// The order of two strings, byte by byte.
fn compare(store: &Store, a: Item<'_>, b: Item<'_>) -> std::cmp::Ordering {
    let mut at = 0;
    loop {
        let (first, second) = (piece(store, a, at), piece(store, b, at));
        let len = first.len().min(second.len());
        let order = first[..len].cmp(&second[..len]);
        if order.is_ne() || len == 0 {
            return order.then(first.len().cmp(&second.len()));
        }
        at += len;
    }
}

/// The bytes of a string from a place on that lie together, empty at the end.
fn piece<'s>(store: &'s Store, item: Item<'s>, at: usize) -> &'s [u8] {
    match item {
        Item::Bytes(bytes) => &bytes[at..],
        Item::Large { id, .. } => store.large_slice(&mut LargeCursor::new(id, at as u64)),
    }
}

#[cfg(test)]
mod tests;
