//! Fields of hashes with a time of their own: HEXPIRE and its kin, HTTL and its kin, HPERSIST (Redis 7.4), HGETDEL,
//! HGETEX and HSETEX (Redis 8). Each takes any number of fields, in slices, as HMGET and HSET do.
//!
//! ```text
//!  HEXPIRE key 60 NX FIELDS 3 a b c      the options are parsed once; a continuation carries what they said,
//!                 \ options /  \next     for a window of the arguments begins with the verb and the key alone
//! ```
//! HSETEX with FNX or FXX looks at all of its fields first. Where that takes several slices, it begins again when the
//! key was changed in between, and the first field is put in the slice in which the last one was looked at: so of two
//! clients that want the same fields, one gets them.

use super::{
    Call, Continuation, Flow, Outcome,
    collections::{answered, find, peek},
    keys::ENTRIES_PER_SLICE_MIN,
    meter::{FIELD_LOOKUP_UNITS, KEY_UNITS},
    refused,
};
use crate::{
    command::VerbId,
    mutation::{CollectionKind, FieldExpiry, Mutation, Revision},
    reply::{Error, ErrorKind},
    time::Millis,
    wire::{encode::BULK_OVERHEAD_BYTES, number::parse_i64},
};

const HASH: CollectionKind = CollectionKind::Hash;
/// The latest time of a field, in Unix milliseconds (the year 4199): Redis's.
const FIELD_EXPIRY_MAX: i64 = ((1 << 48) - 1) >> 2;
/// Bytes of the output below which no other number is answered.
const NUMBER_BYTES: usize = 64;

/// What HTTL answers of a field that is not there, and of one without a time; HPERSIST too.
const NO_FIELD: i64 = -2;
const NO_TIME: i64 = -1;
/// What HEXPIRE answers of a field.
const NOT_MET: i64 = 0;
const SET: i64 = 1;
const DELETED: i64 = 2;

/// What becomes of a field's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    /// It is not looked at.
    Leave,
    Set(Millis),
    /// The field stays.
    Persist,
}

/// Under which condition HEXPIRE changes a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Always,
    Nx,
    Xx,
    Gt,
    Lt,
}

impl Condition {
    fn of(word: &[u8]) -> Condition {
        let known =
            [(Condition::Nx, "NX"), (Condition::Xx, "XX"), (Condition::Gt, "GT"), (Condition::Lt, "LT")];
        let found = known.iter().find(|(_, name)| word.eq_ignore_ascii_case(name.as_bytes()));
        found.map_or(Condition::Always, |(condition, _)| *condition)
    }

    /// No time is later than any.
    fn allows(self, current: Option<Millis>, at: Millis) -> bool {
        match (self, current) {
            (Condition::Always, _) => true,
            (Condition::Nx, current) => current.is_none(),
            (Condition::Xx, current) => current.is_some(),
            (Condition::Gt, current) => current.is_some_and(|current| at > current),
            (Condition::Lt, current) => current.is_none_or(|current| at < current),
        }
    }
}

/// What must hold of all fields for HSETEX to put them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Any,
    /// FNX
    Absent,
    /// FXX
    Present,
}

/// A command on fields that runs in slices: what its options said, and the argument that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldWork {
    next: u32,
    time: Time,
    condition: Condition,
}

/// The same of HSETEX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPuts {
    next: u32,
    /// Argument of the first field.
    first: u32,
    expiry: FieldExpiry,
    presence: Presence,
    /// The key's revision while its fields are looked at. `None`: they are being put.
    looks_at: Option<Revision>,
}

impl<'a> Call<'_, 'a, '_> {
    /// Argument `at` as a time: of seconds or milliseconds, since `base`.
    fn field_time(&self, at: usize, in_seconds: bool, base: i64) -> Result<Millis, Error<'a>> {
        let amount = self.integer(at)?;
        if amount < 0 {
            return Err(ErrorKind::FieldTimeNegative.plain());
        }
        let millis = if in_seconds { amount.checked_mul(1000) } else { Some(amount) };
        let time = millis.filter(|millis| *millis <= FIELD_EXPIRY_MAX - base).map(|millis| millis + base);
        time.map(|time| Millis(time as u64)).ok_or(ErrorKind::InvalidExpire.of(self.verb.name.as_bytes()))
    }

    /// `FIELDS n`, of which the number is argument `at`, and as many fields behind it; the first one's number.
    fn fields_from(&self, at: usize, not_positive: ErrorKind) -> Result<usize, Error<'a>> {
        if !self.is_word(at - 1, "FIELDS") {
            return Err(ErrorKind::FieldsMissing.plain());
        }
        let count = self.args.bytes(at).and_then(parse_i64).filter(|count| *count > 0);
        let count = count.ok_or(not_positive.plain())?;
        if count as u64 != (self.args.len() - at - 1) as u64 {
            return Err(ErrorKind::FieldsMismatch.plain());
        }
        Ok(at + 1)
    }

    /// The time of a field (`Some(None)`: it has none) that is there.
    fn time_of(&mut self, key: &[u8], field: &[u8]) -> Result<Option<Option<Millis>>, Error<'a>> {
        let (db, now) = (self.session.db, self.now);
        self.engine.meter.charge(KEY_UNITS + FIELD_LOOKUP_UNITS);
        let store = &self.engine.store;
        let Some(hash) = peek(store, (db, key), HASH, now)? else { return Ok(None) };
        let entry = store.field_entry(&hash, field).filter(|entry| entry.is_live(now));
        Ok(entry.map(|entry| entry.expiry))
    }

    /// Whether [`remove_field`](Call::remove_field) is not refused next.
    fn can_remove_field(&mut self, key: &[u8], field: &[u8]) -> bool {
        self.engine.store.reserve_removal((self.session.db, key), (HASH, field), self.now).is_ok()
    }

    fn remove_field(&mut self, key: &[u8], field: &[u8]) -> Result<(), Error<'a>> {
        let remove = Mutation::RemoveField { db: self.session.db, key, kind: HASH, field };
        self.engine.change_entry(&remove, self.now).map(drop).map_err(refused)
    }

    fn set_time(&mut self, key: &[u8], field: &[u8], expiry: Option<Millis>) -> Result<(), Error<'a>> {
        let set = Mutation::SetFieldExpiry { db: self.session.db, key, field, expiry };
        self.engine.change_entry(&set, self.now).map(drop).map_err(refused)
    }
}

/// HEXPIRE and its kin, HTTL and its kin, HPERSIST, HGETDEL, HGETEX.
pub fn fields<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let mut work = match continuation {
        Some(Continuation::Fields(work)) => work,
        _ => {
            let db = call.session.db;
            find(call.engine, (db, key), HASH, call.now)?;
            let work = parse(call)?;
            call.out.array(call.args.len() - work.next as usize);
            work
        }
    };
    let slice_end = work.next as usize + ENTRIES_PER_SLICE_MIN;
    call.engine.store.begin_group();
    let mut flow = None;
    while flow.is_none() && (work.next as usize) < call.args.end() {
        let next = work.next as usize;
        // A large argument is longer than any field, so it names none.
        let field = call.args.bytes(next).unwrap_or_default();
        if !has_room(call, field) || next >= slice_end && call.engine.meter.is_spent() {
            flow = Some(Flow::Yield(Continuation::Fields(work)));
            continue;
        }
        // The header promised an answer: where another type is the key's by now, there is no such field; a change that is refused
        // for want of memory is none.
        answer(call, (key, field), &work);
        work.next += 1;
    }
    call.engine.store.end_group();
    match (flow, answered(call, work.next as usize)) {
        (Some(flow), _) => Ok(flow),
        (None, Flow::Yield(_)) => Ok(Flow::Yield(Continuation::Fields(work))),
        (None, flow) => Ok(flow),
    }
}

/// Whether the output has room for what is answered of a field.
fn has_room(call: &mut Call<'_, '_, '_>, field: &[u8]) -> bool {
    let size = match call.verb.id {
        VerbId::Hgetdel | VerbId::Hgetex => {
            let item = call.with_field(HASH, field, |item, _| item.map_or(0, |item| item.size()));
            item.unwrap_or_default() + 2 * BULK_OVERHEAD_BYTES
        }
        _ => NUMBER_BYTES,
    };
    call.out.room() >= size || call.out.is_empty()
}

/// What stands between the key and the fields.
fn parse<'a>(call: &Call<'_, 'a, '_>) -> Result<FieldWork, Error<'a>> {
    let positive = ErrorKind::FieldCountNotPositive;
    let (mut time, mut condition) = (Time::Leave, Condition::Always);
    let now = call.now.0 as i64;
    let first = match call.verb.id {
        VerbId::Hexpire | VerbId::Hpexpire | VerbId::Hexpireat | VerbId::Hpexpireat => {
            let in_seconds = matches!(call.verb.id, VerbId::Hexpire | VerbId::Hexpireat);
            let is_relative = matches!(call.verb.id, VerbId::Hexpire | VerbId::Hpexpire);
            time = Time::Set(call.field_time(2, in_seconds, if is_relative { now } else { 0 })?);
            condition = Condition::of(call.args.bytes(3).unwrap_or_default());
            let at = if condition == Condition::Always { 4 } else { 5 };
            call.fields_from(at, ErrorKind::NumFieldsNotPositive)?
        }
        VerbId::Hgetex => {
            let at = match option_of(call.args.bytes(2).unwrap_or_default()) {
                Some((in_seconds, is_relative)) => {
                    time = Time::Set(call.field_time(3, in_seconds, if is_relative { now } else { 0 })?);
                    5
                }
                None if call.is_word(2, "PERSIST") => {
                    time = Time::Persist;
                    4
                }
                None => 3,
            };
            call.fields_from(at, positive)?
        }
        _ => call.fields_from(3, positive)?,
    };
    Ok(FieldWork { next: first as u32, time, condition })
}

/// Whether an option names seconds, and whether it counts from now.
fn option_of(word: &[u8]) -> Option<(bool, bool)> {
    let known =
        [("EX", (true, true)), ("PX", (false, true)), ("EXAT", (true, false)), ("PXAT", (false, false))];
    known.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, option)| *option)
}

/// Does with one field what the verb says, and answers it.
fn answer(call: &mut Call<'_, '_, '_>, (key, field): (&[u8], &[u8]), work: &FieldWork) {
    let number = match call.verb.id {
        VerbId::Hgetdel | VerbId::Hgetex => {
            let current = call.time_of(key, field).unwrap_or_default();
            // What cannot be taken is not answered: it would be found once more.
            let takes = call.verb.id == VerbId::Hgetdel && current.is_some();
            if takes && !call.can_remove_field(key, field) {
                call.out.null();
                return;
            }
            if call.answer_field(HASH, key, field).is_err() {
                call.out.null();
            }
            let Some(current) = current else { return };
            _ = match work.time {
                Time::Leave if call.verb.id == VerbId::Hgetdel => call.remove_field(key, field),
                Time::Set(at) if at <= call.now => call.remove_field(key, field),
                Time::Set(at) => call.set_time(key, field, Some(at)),
                Time::Persist if current.is_some() => call.set_time(key, field, None),
                Time::Persist | Time::Leave => Ok(()),
            };
            return;
        }
        VerbId::Hpersist => persist(call, key, field),
        VerbId::Httl | VerbId::Hpttl | VerbId::Hexpiretime | VerbId::Hpexpiretime => {
            shown_time(call, key, field)
        }
        _ => expire(call, (key, field), work),
    };
    call.out.integer(number);
}

fn expire(call: &mut Call<'_, '_, '_>, (key, field): (&[u8], &[u8]), work: &FieldWork) -> i64 {
    let (Ok(Some(current)), Time::Set(at)) = (call.time_of(key, field), work.time) else { return NO_FIELD };
    if !work.condition.allows(current, at) {
        return NOT_MET;
    }
    let (changed, done) = if at <= call.now {
        (call.remove_field(key, field), DELETED)
    } else {
        (call.set_time(key, field, Some(at)), SET)
    };
    if changed.is_ok() { done } else { NOT_MET }
}

fn persist(call: &mut Call<'_, '_, '_>, key: &[u8], field: &[u8]) -> i64 {
    match call.time_of(key, field) {
        Ok(Some(Some(_))) if call.set_time(key, field, None).is_ok() => SET,
        Ok(Some(_)) => NO_TIME,
        _ => NO_FIELD,
    }
}

fn shown_time(call: &mut Call<'_, '_, '_>, key: &[u8], field: &[u8]) -> i64 {
    let Ok(Some(time)) = call.time_of(key, field) else { return NO_FIELD };
    let Some(time) = time else { return NO_TIME };
    let left = time.since(call.now);
    // Seconds are rounded up.
    let shown = match call.verb.id {
        VerbId::Httl => left.div_ceil(1000),
        VerbId::Hpttl => left,
        VerbId::Hexpiretime => time.0.div_ceil(1000),
        _ => time.0,
    };
    shown as i64
}

/// `HSETEX key [FNX | FXX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL] FIELDS n field value …`
pub fn hsetex<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let db = call.session.db;
    let mut puts = match continuation {
        Some(Continuation::FieldPuts(puts)) => puts,
        _ => {
            let mut puts = parse_puts(call)?;
            find(call.engine, (db, key), HASH, call.now)?;
            // Nothing of it is done where one of the arguments is sure to be refused.
            for at in (puts.first as usize..call.args.end() - 1).step_by(2) {
                call.field(at)?;
                call.value(at + 1)?;
            }
            puts.looks_at = (puts.presence != Presence::Any).then(|| revision_of(call, key));
            puts
        }
    };
    if puts.looks_at.is_some() {
        match look(call, key, &mut puts)? {
            Looked::More => return Ok(Flow::Yield(Continuation::FieldPuts(puts))),
            Looked::NotMet => return call.done(0),
            Looked::Met => (puts.looks_at, puts.next) = (None, puts.first),
        }
    }
    let slice_end = puts.next as usize + 2 * ENTRIES_PER_SLICE_MIN;
    let mut outcome = Ok(());
    if puts.expiry == FieldExpiry::Keep {
        // As in Redis, a time that stays is no event.
        call.engine.store.note_kept_expiry();
    }
    call.engine.store.begin_group();
    while (puts.next as usize) < call.args.len()
        && outcome.is_ok()
        && ((puts.next as usize) < slice_end || !call.engine.meter.is_spent())
    {
        outcome = put(call, key, &puts);
        puts.next += 2;
    }
    call.engine.store.end_group();
    outcome?;
    if (puts.next as usize) < call.args.len() {
        return Ok(Flow::Yield(Continuation::FieldPuts(puts)));
    }
    call.done(1)
}

fn revision_of(call: &Call<'_, '_, '_>, key: &[u8]) -> Revision {
    let entry = call.engine.store.peek(call.session.db, key, call.now);
    entry.map_or(Revision(0), |entry| entry.revision)
}

enum Looked {
    More,
    Met,
    NotMet,
}

/// Looks whether the fields are there, or none of them.
fn look<'a>(call: &mut Call<'_, 'a, '_>, key: &[u8], puts: &mut FieldPuts) -> Result<Looked, Error<'a>> {
    let revision = revision_of(call, key);
    if puts.looks_at != Some(revision) {
        (puts.looks_at, puts.next) = (Some(revision), puts.first);
    }
    let slice_end = puts.next as usize + 2 * ENTRIES_PER_SLICE_MIN;
    while (puts.next as usize) < call.args.len() {
        let next = puts.next as usize;
        if next >= slice_end && call.engine.meter.is_spent() {
            return Ok(Looked::More);
        }
        let is_there = call.time_of(key, call.args.bytes(next).unwrap_or_default())?.is_some();
        if is_there != (puts.presence == Presence::Present) {
            return Ok(Looked::NotMet);
        }
        puts.next += 2;
    }
    Ok(Looked::Met)
}

/// Puts one field; one whose time has passed is removed instead.
fn put<'a>(call: &mut Call<'_, 'a, '_>, key: &[u8], puts: &FieldPuts) -> Result<(), Error<'a>> {
    let (db, at, now) = (call.session.db, puts.next as usize, call.now);
    let (field, value) = (call.field(at)?, call.value(at + 1)?);
    if matches!(puts.expiry, FieldExpiry::Set(Some(time)) if time <= now) {
        return call.remove_field(key, field);
    }
    let put = Mutation::PutTimedField { db, key, field, value, expiry: puts.expiry };
    call.engine.change_entry(&put, now).map(drop).map_err(refused)
}

fn parse_puts<'a>(call: &Call<'_, 'a, '_>) -> Result<FieldPuts, Error<'a>> {
    let (mut expiry, mut presence, mut at) = (None, Presence::Any, 2);
    let now = call.now.0 as i64;
    while at < call.args.len() {
        let word = call.args.bytes(at).unwrap_or_default();
        if word.eq_ignore_ascii_case(b"FIELDS") {
            let first = first_of_pairs(call, at)? as u32;
            let expiry = expiry.unwrap_or(FieldExpiry::Set(None));
            return Ok(FieldPuts { next: first, first, expiry, presence, looks_at: None });
        }
        let keeps = word.eq_ignore_ascii_case(b"KEEPTTL");
        if let Some((in_seconds, is_relative)) = option_of(word) {
            if expiry.is_some() {
                return Err(ErrorKind::FieldTimeTwice.plain());
            }
            if at + 1 == call.args.len() {
                return Err(ErrorKind::FieldTimeMissing.plain());
            }
            let time = call.field_time(at + 1, in_seconds, if is_relative { now } else { 0 })?;
            expiry = Some(FieldExpiry::Set(Some(time)));
            at += 1;
        } else if keeps && expiry.is_some() {
            return Err(ErrorKind::FieldTimeTwice.plain());
        } else if keeps {
            expiry = Some(FieldExpiry::Keep);
        } else {
            let is_absent = word.eq_ignore_ascii_case(b"FNX");
            if !is_absent && !word.eq_ignore_ascii_case(b"FXX") {
                return Err(ErrorKind::UnknownArgument.of(word));
            }
            if presence != Presence::Any {
                return Err(ErrorKind::FieldPresenceTwice.plain());
            }
            presence = if is_absent { Presence::Absent } else { Presence::Present };
        }
        at += 1;
    }
    // Redis does not come here: its parser finds FIELDS, or an argument that it does not know.
    Err(ErrorKind::WrongArity.of(call.verb.name.as_bytes()))
}

/// `FIELDS n field value …`, of which the word is argument `at`; the number of the first field.
fn first_of_pairs<'a>(call: &Call<'_, 'a, '_>, at: usize) -> Result<usize, Error<'a>> {
    let wrong = ErrorKind::WrongArity.of(call.verb.name.as_bytes());
    if at + 3 >= call.args.len() {
        return Err(wrong);
    }
    let count = call.args.bytes(at + 1).and_then(parse_i64);
    let count = count.filter(|count| (1..=i64::from(i32::MAX)).contains(count));
    let count = count.ok_or(ErrorKind::FieldCountInvalid.plain())?;
    let rest = call.args.len() - at - 2;
    if !rest.is_multiple_of(2) || count as usize != rest / 2 {
        return Err(wrong);
    }
    Ok(at + 2)
}

#[cfg(test)]
mod tests;
