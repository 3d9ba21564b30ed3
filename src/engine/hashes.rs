//! Hashes: HSET and its like, one entry of a collection for each field.

use super::{
    Call, Continuation, Flow, Outcome,
    collections::{self, Parts, find, peek},
    counters::SUM_DIGITS_PER_UNIT_SQUARED,
    keys::{ENTRIES_PER_SLICE_MIN, KEYS_PER_SLICE_MIN},
    meter::FIELD_LOOKUP_UNITS,
    refused,
};
use crate::{
    command::VerbId,
    mutant::{self, Mutant},
    mutation::{Applied, CollectionKind, FieldExpiry, Mutation, NewValue, Refused, Revision},
    reply::{Error, ErrorKind},
    store::collection::Item,
    wire::{
        encode::BULK_OVERHEAD_BYTES,
        long_double::{self, NoSum, SUM_BYTES_MAX},
        number::{INTEGER_BYTES_MAX, parse_i64, write_i64},
    },
};

const HASH: CollectionKind = CollectionKind::Hash;

impl<'a> Call<'_, 'a, '_> {
    /// Gives a field a value, and no time; whether it was there.
    fn put_field(&mut self, key: &[u8], field: &[u8], value: NewValue<'_>) -> Result<bool, Error<'a>> {
        self.put_field_with(key, (field, value), FieldExpiry::Set(None))
    }

    /// The same with a time.
    fn put_field_with(
        &mut self,
        key: &[u8],
        (field, value): (&[u8], NewValue<'_>),
        expiry: FieldExpiry,
    ) -> Result<bool, Error<'a>> {
        let db = self.session.db;
        let put = Mutation::PutTimedField { db, key, field, value, expiry };
        let applied = self.engine.change_entry(&put, self.now);
        applied.map(|applied| applied.existed).map_err(refused)
    }
}

/// `HSET key field value …`, `HMSET`: in slices, each a group of the change feed.
pub fn hset<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let len = call.args.len();
    let (first, mut count) = match continuation {
        Some(Continuation::Count { next, count }) => (next as usize, count),
        _ => {
            if !len.is_multiple_of(2) {
                return Err(ErrorKind::WrongArity.of(call.verb.name.as_bytes()));
            }
            // Nothing of it is done where one of the first arguments is sure to be refused.
            for at in (2..call.args.end() - 1).step_by(2) {
                call.field(at)?;
                call.value(at + 1)?;
            }
            (2, 0)
        }
    };
    let (end, slice_end) = (call.args.end(), first + 2 * ENTRIES_PER_SLICE_MIN);
    call.engine.store.begin_group();
    let mut at = first;
    let mut outcome = Ok(false);
    while at + 1 < end && outcome.is_ok() && (at < slice_end || !call.engine.meter.is_spent()) {
        let put = call.field(at).and_then(|field| Ok((field, call.value(at + 1)?)));
        outcome = put.and_then(|(field, value)| call.put_field(key, field, value));
        count += u32::from(outcome == Ok(false));
        at += 2;
    }
    call.engine.store.end_group();
    outcome?;
    if at < len {
        let at = if mutant::is_on(Mutant::SliceSkipsField) { at + 2 } else { at };
        return Ok(Flow::Yield(Continuation::Count { next: at as u32, count }));
    }
    if call.verb.id == VerbId::Hmset { call.ok() } else { call.done(i64::from(count)) }
}

/// `HSETNX key field value`
pub fn hsetnx<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let (key, field) = (call.bytes(1)?, call.field(2)?);
    let value = call.value(3)?;
    if call.with_field(HASH, field, |item, _| item.is_some())? {
        return call.done(0);
    }
    call.put_field(key, field, value)?;
    call.done(1)
}

/// `HGET key field`
pub fn hget<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let field = call.args.bytes(2).unwrap_or_default();
    call.answer_field(HASH, key, field)?;
    Ok(Flow::Done)
}

/// `HMGET key field …`: in slices, each as long as the output has room.
pub fn hmget<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let len = call.args.len();
    let mut next = match continuation {
        Some(Continuation::Answered { next }) => next as usize,
        _ => {
            let db = call.session.db;
            find(call.engine, (db, key), HASH, call.now)?;
            call.out.array(len - 2);
            2
        }
    };
    let slice_end = next + KEYS_PER_SLICE_MIN;
    while next < call.args.end() {
        let field = call.args.bytes(next).unwrap_or_default();
        let size = call.with_field(HASH, field, |item, _| item.map_or(0, |item| item.size()));
        let size = size.unwrap_or_default() + 2 * BULK_OVERHEAD_BYTES;
        let is_full = call.out.room() < size && !call.out.is_empty();
        if is_full || next >= slice_end && call.engine.meter.is_spent() {
            return Ok(Flow::Yield(Continuation::Answered { next: next as u32 }));
        }
        // Another type by now: the rest is not there.
        if call.answer_field(HASH, key, field).is_err() {
            call.out.null();
        }
        next += 1;
    }
    Ok(collections::answered(call, next))
}

/// `HGETALL key`, `HKEYS`, `HVALS`
pub fn hgetall<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let parts = match call.verb.id {
        VerbId::Hkeys => Parts::Fields,
        VerbId::Hvals => Parts::Values,
        _ => Parts::Both,
    };
    call.list(HASH, parts, continuation)
}

/// `HDEL key field …`
pub fn hdel<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    remove_fields(call, HASH, continuation)
}

/// Removes the fields or members from argument 2 on, and answers how many were there; in slices.
pub fn remove_fields<'a>(
    call: &mut Call<'_, 'a, '_>,
    kind: CollectionKind,
    continuation: Option<Continuation>,
) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let (db, now, len) = (call.session.db, call.now, call.args.len());
    let (first, mut count) = match continuation {
        Some(Continuation::Count { next, count }) => (next as usize, count),
        _ => (2, 0),
    };
    let (end, slice_end) = (call.args.end(), first + ENTRIES_PER_SLICE_MIN);
    let mut at = first;
    let mut refusal = None;
    call.engine.store.begin_group();
    while at < end && refusal.is_none() && (at < slice_end || !call.engine.meter.is_spent()) {
        call.engine.meter.charge(FIELD_LOOKUP_UNITS);
        let removed = match call.args.bytes(at) {
            Some(field) => call.engine.change_entry(&Mutation::RemoveField { db, key, kind, field }, now),
            // A large argument is longer than any field, so it names none.
            None => peek(&call.engine.store, (db, key), kind, now)
                .map(|_| Applied { revision: Revision(0), existed: false, value_len: 0 })
                .map_err(|_| Refused::WrongType),
        };
        match removed {
            Ok(applied) => count += u32::from(applied.existed),
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

/// `HEXISTS key field`
pub fn hexists<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let field = call.args.bytes(2).unwrap_or_default();
    let is_there = call.with_field(HASH, field, |item, _| item.is_some())?;
    call.done(i64::from(is_there))
}

/// `HLEN key`
pub fn hlen<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let len = call.collection_len(HASH)?;
    call.done(len as i64)
}

/// `HSTRLEN key field`
pub fn hstrlen<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let field = call.args.bytes(2).unwrap_or_default();
    let len = call.with_field(HASH, field, |item, _| item.map_or(0, |item| item.len()))?;
    call.done(len as i64)
}

/// `HINCRBY key field n`
pub fn hincrby<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let by = call.integer(3)?;
    let field = call.field(2)?;
    let number = call.with_field(HASH, field, |item, _| match item {
        None => Some(0),
        Some(Item::Bytes(text)) => parse_i64(text),
        Some(Item::Large { .. }) => None,
    })?;
    let number = number.ok_or(ErrorKind::HashNotAnInteger.plain())?;
    let sum = number.checked_add(by).ok_or(ErrorKind::Overflow.plain())?;
    let mut digits = [0; INTEGER_BYTES_MAX];
    let value = NewValue::Bytes(write_i64(sum, &mut digits));
    call.put_field_with(key, (field, value), FieldExpiry::Keep)?;
    call.done(sum)
}

/// `HINCRBYFLOAT key field x`
pub fn hincrbyfloat<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let by = call.args.bytes(3).unwrap_or_default();
    let field = call.field(2)?;
    let mut digits = [0; SUM_BYTES_MAX];
    long_double::add(b"0", by, &mut digits).map_err(|reason| match reason {
        NoSum::NotANumber => ErrorKind::NotAFloat.plain(),
        NoSum::NotFinite => ErrorKind::FloatNotFinite.plain(),
    })?;
    let buffer = &mut digits;
    let sum = call.with_field(HASH, field, move |item, _| {
        let number = match item {
            None => &b"0"[..],
            Some(Item::Bytes(number)) => number,
            Some(Item::Large { .. }) => return Err(NoSum::NotANumber),
        };
        long_double::add(number, by, buffer)
    })?;
    let sum = sum.map_err(|reason| match reason {
        NoSum::NotANumber => ErrorKind::HashNotAFloat.plain(),
        NoSum::NotFinite => ErrorKind::NotFinite.plain(),
    })?;
    call.engine.meter.charge((sum.len() * sum.len() / SUM_DIGITS_PER_UNIT_SQUARED) as u32);
    call.put_field_with(key, (field, NewValue::Bytes(sum)), FieldExpiry::Keep)?;
    call.out.bulk(sum);
    Ok(Flow::Done)
}

/// `HSCAN key cursor …`
pub fn hscan<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    collections::scan(call, HASH)
}

/// `HRANDFIELD key [count [WITHVALUES]]`
pub fn hrandfield<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let len = call.args.len();
    if len == 2 {
        return call.sample_one(HASH, continuation);
    }
    let count = call.integer(2)?;
    if count == i64::MIN {
        return Err(ErrorKind::NotALong.plain());
    }
    if len > 4 || len == 4 && !call.is_word(3, "WITHVALUES") {
        return Err(ErrorKind::Syntax.plain());
    }
    if len == 4 && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(ErrorKind::OutOfRange.plain());
    }
    let parts = if len == 4 { Parts::Pairs } else { Parts::Fields };
    call.sample(HASH, (count, parts), continuation)
}
