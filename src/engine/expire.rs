//! Expiry: the times that commands name, EXPIRE and its kin, TTL and its kin, PERSIST.

use super::{
    Call, Outcome,
    ops::{Change, Current},
    refused,
};
use crate::{
    command::VerbId,
    reply::{Error, ErrorKind},
    time::Millis,
    wire::number::parse_i64,
};

/// How a command names a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// EX: seconds from now.
    Seconds,
    /// PX: milliseconds from now.
    Millis,
    /// EXAT: seconds since the epoch.
    UnixSeconds,
    /// PXAT: milliseconds since the epoch.
    UnixMillis,
}

impl Unit {
    fn in_seconds(self) -> bool {
        matches!(self, Unit::Seconds | Unit::UnixSeconds)
    }

    /// Unix milliseconds, if they fit.
    fn absolute(self, amount: i64, now: Millis) -> Option<i64> {
        let millis = if self.in_seconds() { amount.checked_mul(1000)? } else { amount };
        match self {
            Unit::Seconds | Unit::Millis => millis.checked_add(now.0 as i64),
            Unit::UnixSeconds | Unit::UnixMillis => Some(millis),
        }
    }
}

/// A time as an option gives it, not looked at yet: Redis reports a bad number only after bad syntax.
#[derive(Clone, Copy, Debug)]
pub struct Deadline<'a> {
    pub unit: Unit,
    pub argument: &'a [u8],
}

impl<'a> Deadline<'a> {
    /// The option at argument `at`, if it is one of these and something follows it.
    pub fn option(call: &Call<'_, 'a, '_>, at: usize) -> Option<Deadline<'a>> {
        let unit = match call.args.bytes(at)? {
            word if word.eq_ignore_ascii_case(b"EX") => Unit::Seconds,
            word if word.eq_ignore_ascii_case(b"PX") => Unit::Millis,
            word if word.eq_ignore_ascii_case(b"EXAT") => Unit::UnixSeconds,
            word if word.eq_ignore_ascii_case(b"PXAT") => Unit::UnixMillis,
            _ => return None,
        };
        // A large argument is no number; an empty one stands for it.
        call.args.get(at + 1)?;
        Some(Deadline { unit, argument: call.args.bytes(at + 1).unwrap_or_default() })
    }

    /// Unix milliseconds, more than 0.
    pub fn resolve(self, call: &Call<'_, 'a, '_>) -> Result<i64, Error<'a>> {
        let amount = parse_i64(self.argument).ok_or(ErrorKind::NotAnInteger.plain())?;
        Some(amount)
            .filter(|amount| *amount > 0)
            .and_then(|amount| self.unit.absolute(amount, call.now))
            .ok_or(ErrorKind::InvalidExpire.of(call.verb.name.as_bytes()))
    }
}

/// Whether a time, unix milliseconds, has come.
pub fn has_passed(at: i64, now: Millis) -> bool {
    at <= now.0 as i64
}

/// Under which condition EXPIRE changes the expiry.
#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse<'a>(call: &Call<'_, 'a, '_>) -> Result<Conditions, Error<'a>> {
        let mut conditions = Conditions::default();
        for at in 3..call.args.len() {
            match call.bytes(at)? {
                word if word.eq_ignore_ascii_case(b"NX") => conditions.nx = true,
                word if word.eq_ignore_ascii_case(b"XX") => conditions.xx = true,
                word if word.eq_ignore_ascii_case(b"GT") => conditions.gt = true,
                word if word.eq_ignore_ascii_case(b"LT") => conditions.lt = true,
                word => return Err(ErrorKind::UnsupportedOption.of(word)),
            }
        }
        let Conditions { nx, xx, gt, lt } = conditions;
        if nx && (xx || gt || lt) {
            return Err(ErrorKind::ExpireNxWithOthers.plain());
        }
        if gt && lt {
            return Err(ErrorKind::ExpireGtWithLt.plain());
        }
        Ok(conditions)
    }

    /// `None` as an expiry is later than any.
    fn allow(&self, current: Option<Millis>, at: i64) -> bool {
        let current_at = current.map(|current| current.0 as i64);
        !(self.nx && current.is_some()
            || self.xx && current.is_none()
            || self.gt && current_at.is_none_or(|current| at <= current)
            || self.lt && current_at.is_some_and(|current| at >= current))
    }
}

/// `EXPIRE key s [NX | XX | GT | LT]`, `PEXPIRE`, `EXPIREAT`, `PEXPIREAT`
pub fn expire<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let conditions = Conditions::parse(call)?;
    let amount = call.integer(2)?;
    let unit = match call.verb.id {
        VerbId::Expire => Unit::Seconds,
        VerbId::Pexpire => Unit::Millis,
        VerbId::Expireat => Unit::UnixSeconds,
        _ => Unit::UnixMillis,
    };
    let at = unit.absolute(amount, call.now).ok_or(ErrorKind::InvalidExpire.of(call.verb.name.as_bytes()))?;
    let db = call.session.db;
    // A time before 1970 has passed as well.
    let expiry = Some(Millis(at.max(0) as u64));
    let allowed = |current: Current| conditions.allow(current.expiry, at);
    let change = call.ops().expire(db, key, expiry, allowed).map_err(refused)?;
    call.done(i64::from(matches!(change, Change::Made(_))))
}

/// `TTL key`, `PTTL`, `EXPIRETIME`, `PEXPIRETIME`
pub fn ttl<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let now = call.now;
    let answer = match call.engine.lookup(call.session.db, key, now).map(|entry| entry.expiry) {
        None => -2,
        Some(None) => -1,
        Some(Some(expiry)) => match call.verb.id {
            VerbId::Ttl => expiry.since(now).saturating_add(500) as i64 / 1000,
            VerbId::Pttl => expiry.since(now) as i64,
            VerbId::Expiretime => expiry.0.saturating_add(500) as i64 / 1000,
            _ => expiry.0 as i64,
        },
    };
    call.done(answer)
}

/// `PERSIST key`
pub fn persist<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let db = call.session.db;
    let change = call.ops().expire(db, key, None, |current| current.expiry.is_some()).map_err(refused)?;
    call.done(i64::from(matches!(change, Change::Made(_))))
}
