//! Operations on keys, typed: what RESP commands and frames have in common. They take results, not texts (an absolute
//! expiry, a sum's delta as a number) and give results, not replies, so that each protocol words its own answers.
//!
//! An operation looks at the key, decides, and makes at most one [`Mutation`]. It charges the meter for the look-ups.

use super::{
    Engine,
    meter::{KEY_UNITS, Meter},
};
use crate::{
    mutation::{Applied, Database, Mutation, NewValue, Refused, Revision},
    store::{Entry, Store, Value},
    time::Millis,
    wire::number::{INTEGER_BYTES_MAX, parse_i64, write_i64},
};

/// What is known of a key that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    pub revision: Revision,
    pub expiry: Option<Millis>,
}

/// What came of an operation that depends on the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Made(Applied),
    /// The key is there and the condition does not hold.
    NotMet(Current),
    /// The key is not there, and the operation or its condition needs it.
    NoKey,
}

/// The expiry that a key gets with a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    None,
    /// The one that the key has.
    Keep,
    /// Unix milliseconds. If it has passed, the key is removed.
    At(Millis),
}

/// What must hold of a key for it to get a new value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    #[default]
    Any,
    Absent,
    Present,
}

/// What came of adding to an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    Sum(i64, Applied),
    /// The value is no integer; its revision.
    NotAnInteger(Revision),
    /// The value is no string; its revision.
    WrongType(Revision),
    /// The sum does not fit; the revision of the value.
    Overflow(Revision),
}

/// Operations against the store at one moment. Borrowed from the [`Engine`] by [`Engine::ops`].
pub struct Ops<'e> {
    store: &'e mut Store,
    meter: &'e mut Meter,
    /// Unix time.
    now: Millis,
}

impl Engine {
    /// Operations at `now`, Unix time.
    #[inline]
    pub fn ops(&mut self, now: Millis) -> Ops<'_> {
        Ops { store: &mut self.store, meter: &mut self.meter, now }
    }
}

impl<'e> Ops<'e> {
    /// The entry of a key; an expired one is removed. A use is counted for eviction.
    #[inline]
    pub fn get(self, db: Database, key: &[u8]) -> Option<Entry<'e>> {
        self.meter.charge(KEY_UNITS);
        self.store.get(db, key, self.now)
    }

    /// What is known of a key, if it is there.
    #[inline]
    pub fn current(&mut self, db: Database, key: &[u8]) -> Option<Current> {
        self.meter.charge(KEY_UNITS);
        let entry = self.store.get(db, key, self.now)?;
        Some(Current { revision: entry.revision, expiry: entry.expiry })
    }

    /// Applies a change.
    ///
    /// # Errors
    /// As [`Store::apply`].
    #[inline]
    pub fn apply(&mut self, mutation: &Mutation<'_>) -> Result<Applied, Refused> {
        self.meter.charge(KEY_UNITS);
        self.store.apply(mutation, self.now)
    }

    /// Gives a key a value and an expiry, whatever it has.
    ///
    /// # Errors
    /// As [`Store::apply`].
    #[inline]
    pub fn set(
        &mut self,
        db: Database,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Option<Millis>,
    ) -> Result<Applied, Refused> {
        self.apply(&Mutation::Put { db, key, value, expiry })
    }

    /// Gives a key a value if `presence` holds and, where the key is there, `condition` does.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn put(
        &mut self,
        (db, key): (Database, &[u8]),
        value: NewValue<'_>,
        expiry: Expiry,
        presence: Presence,
        condition: impl FnOnce(&Store, Option<Current>) -> bool,
    ) -> Result<Change, Refused> {
        let current = self.current(db, key);
        let is_present = match presence {
            Presence::Any => true,
            Presence::Absent => current.is_none(),
            Presence::Present => current.is_some(),
        };
        if !is_present || !condition(self.store, current) {
            return Ok(current.map_or(Change::NoKey, Change::NotMet));
        }
        let expiry = match expiry {
            Expiry::None => None,
            Expiry::Keep => {
                self.store.note_kept_expiry();
                current.and_then(|current| current.expiry)
            }
            Expiry::At(at) if at <= self.now => {
                return self.apply(&Mutation::Delete { db, key }).map(Change::Made);
            }
            Expiry::At(at) => Some(at),
        };
        self.set(db, key, value, expiry).map(Change::Made)
    }

    /// Adds to the integer that a key holds, 0 if it is not there. Its expiry stays.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn add(&mut self, db: Database, key: &[u8], delta: i64) -> Result<Added, Refused> {
        self.meter.charge(KEY_UNITS);
        let (number, revision, expiry) = match self.store.get(db, key, self.now) {
            None => (Some(0), Revision(0), None),
            Some(entry) => match entry.value {
                Value::Inline(text) => (parse_i64(text), entry.revision, entry.expiry),
                Value::Large { .. } => (None, entry.revision, None),
                Value::Collection(_) => return Ok(Added::WrongType(entry.revision)),
            },
        };
        let Some(number) = number else { return Ok(Added::NotAnInteger(revision)) };
        let Some(sum) = number.checked_add(delta) else { return Ok(Added::Overflow(revision)) };
        let mut digits = [0; INTEGER_BYTES_MAX];
        let value = NewValue::Bytes(write_i64(sum, &mut digits));
        self.set(db, key, value, expiry).map(|applied| Added::Sum(sum, applied))
    }

    /// Gives a key an expiry (`None`: it stays) if `condition` holds. One that has passed removes the key.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn expire(
        &mut self,
        db: Database,
        key: &[u8],
        at: Option<Millis>,
        condition: impl FnOnce(Current) -> bool,
    ) -> Result<Change, Refused> {
        let Some(current) = self.current(db, key) else { return Ok(Change::NoKey) };
        if !condition(current) {
            return Ok(Change::NotMet(current));
        }
        let mutation = match at {
            Some(at) if at <= self.now => Mutation::Delete { db, key },
            expiry => Mutation::SetExpiry { db, key, expiry },
        };
        self.apply(&mutation).map(Change::Made)
    }

    /// Removes a key if `condition` holds.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn remove(
        &mut self,
        db: Database,
        key: &[u8],
        condition: impl FnOnce(&Store, Current) -> bool,
    ) -> Result<Change, Refused> {
        let Some(current) = self.current(db, key) else { return Ok(Change::NoKey) };
        if !condition(self.store, current) {
            return Ok(Change::NotMet(current));
        }
        self.apply(&Mutation::Delete { db, key }).map(Change::Made)
    }
}
