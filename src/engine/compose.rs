//! Writing into a value where that would take long in one step: into one that others hold too (a copy of the key's, a
//! reader), which is copied first; far behind its end, for zero bytes fill the gap; or a part that is long itself. The new
//! value is put together in slices, in a large value of its own, and the key gets it whole.
//!
//! ```text
//!            │◀─────── old ───────▶│
//!  result =  │ old up to `at` │ zero bytes │ part │ what the old value has behind it │
//!                                          at
//! ```
//! A reference keeps the old value as it was when the command began. If the key has another value at the end, because
//! others wrote it meanwhile, the command begins again with that one: it is as if it had come then. So every new beginning
//! means that another client's write has succeeded.

use super::{Call, Engine, meter::Meter, refused};
use crate::{
    mutation::{ChainPosition, Database, LargeId, LargeRef, NewValue, Refused},
    reply::Error,
    store::{LargeCursor, Store, Value},
    time::Millis,
};

/// Bytes that are copied or cleared in one step, at most: a quarter of a turn.
const ONE_STEP_BYTES_MAX: u64 = 128 * 1024;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'p> {
    Bytes(&'p [u8]),
    Large(LargeId),
}

impl Part<'_> {
    fn len(self, store: &Store) -> u64 {
        match self {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::Large(id) => store.large_len(id),
        }
    }
}

/// Bytes that writing up to `end` copies or clears besides what is written, where the part begins at `at`.
pub(super) fn moved_bytes(store: &Store, value: Option<Value<'_>>, at: u64) -> u64 {
    match value {
        Some(Value::Large { id, len }) if store.large_is_shared(id) => len + at.saturating_sub(len),
        value => at.saturating_sub(value.map_or(0, |value| value.len())),
    }
}

/// Whether so much is to be moved in slices.
pub(super) fn is_long(moved_bytes: u64) -> bool {
    moved_bytes > ONE_STEP_BYTES_MAX
}

/// How far a value has been put together.
#[derive(Debug, PartialEq, Eq)]
pub struct Compose {
    /// The new value; its length says how far it is.
    result: LargeRef,
    /// The value that is written into, if it is a large one. (A short one is in the result already.)
    old: Option<LargeRef>,
    /// Where the old value, or the part, is read.
    from: ChainPosition,
    /// Where the part goes.
    at: u64,
    /// Of the key's value when it was begun; 0: there was none.
    revision: u64,
}

/// What came of a slice.
pub(super) enum Written {
    /// The key has the new value, of so many bytes.
    Whole(u64),
    Unfinished(Compose),
    /// The key has got another value meanwhile: the command is to begin again. (What is begun and whole in one step
    /// never comes to this.)
    Overtaken,
}

impl Compose {
    /// Begins a value that is the key's with a part of `part_len` bytes at `at`.
    pub(super) fn begin(
        engine: &mut Engine,
        (db, key): (Database, &[u8]),
        (at, part_len): (u64, u64),
        now: Millis,
    ) -> Result<Compose, Refused> {
        let Engine { store, scratch, .. } = engine;
        let entry = store.peek(db, key, now);
        let (old_len, revision) = entry.map_or((0, 0), |entry| (entry.value.len(), entry.revision.0));
        let (old, head_len) = match entry.map(|entry| entry.value) {
            Some(Value::Collection(_)) => return Err(Refused::WrongType),
            None => (None, 0),
            Some(Value::Inline(bytes)) => {
                let head = &bytes[..bytes.len().min(at as usize)];
                scratch[..head.len()].copy_from_slice(head);
                (None, head.len())
            }
            Some(Value::Large { id, .. }) => (Some(id), 0),
        };
        let result = store.large_begin_for((db, key), old_len.max(at + part_len), now)?;
        // Beginning a value evicts nothing; filling it may evict the old one's key.
        let old = old.map(|id| store.large_retain(id));
        let work = Compose { result, old, from: ChainPosition::NONE, at, revision };
        if let Err(reason) = store.large_append(work.result(), &scratch[..head_len], now) {
            work.release(store);
            return Err(reason);
        }
        Ok(work)
    }

    /// Gives back all that it holds.
    pub fn release(self, store: &mut Store) {
        store.large_release(self.result);
        if let Some(old) = self.old {
            store.large_release(old);
        }
    }

    /// The value that is written into, as far as it is not in the result already: then what is read of it lies behind
    /// its end.
    pub(super) fn old_value<'s>(&self, store: &'s Store) -> Option<Value<'s>> {
        let old = self.old.as_ref().map(LargeRef::id);
        old.map(|id| Value::Large { id, len: store.large_len(id) })
    }

    /// Where the part goes.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Goes on until the meter is spent. True: the value is whole.
    pub(super) fn run(&mut self, engine: &mut Engine, part: Part<'_>, now: Millis) -> Result<bool, Refused> {
        let Engine { store, scratch, meter, .. } = engine;
        let part_end = self.at + part.len(store);
        let (result, old) = (self.result.id(), self.old.as_ref().map(LargeRef::id));
        let old_len = old.map_or(0, |old| store.large_len(old));
        loop {
            let done = store.large_len(result);
            let (end, part_at) = if done < self.at.min(old_len) {
                (self.at.min(old_len), None)
            } else if done < self.at {
                (self.at, None)
            } else if done < part_end {
                (part_end, Some(done - self.at))
            } else if done < old_len {
                (old_len, None)
            } else {
                return Ok(true);
            };
            if meter.is_spent() {
                return Ok(false);
            }
            if done == self.at || done == part_end {
                self.from = ChainPosition::NONE;
            }
            let len = scratch.len().min((end - done) as usize);
            let piece = &mut scratch[..len];
            let len = match (part_at, part) {
                (Some(at), Part::Bytes(bytes)) => {
                    piece.copy_from_slice(&bytes[at as usize..at as usize + len]);
                    len
                }
                (Some(at), Part::Large(id)) => self.read(store, (id, at), piece),
                (None, _) => match old {
                    Some(old) if done < old_len => self.read(store, (old, done), piece),
                    _ => {
                        piece.fill(0);
                        len
                    }
                },
            };
            store.large_append(result, &scratch[..len], now)?;
            charge_moved(meter, len as u64);
        }
    }

    /// Copies bytes of a large value, as many as lie together; how many.
    fn read(&mut self, store: &Store, (id, at): (LargeId, u64), into: &mut [u8]) -> usize {
        let mut cursor = LargeCursor::follow(id, at, self.from);
        let piece = store.large_slice(&mut cursor);
        let len = piece.len().min(into.len());
        into[..len].copy_from_slice(&piece[..len]);
        self.from = cursor.position();
        len
    }

    /// The value, which no key refers to yet: to be changed once it is whole.
    pub(super) fn result(&self) -> LargeId {
        self.result.id()
    }

    /// Whether the key still has the value that this was begun with.
    pub(super) fn is_current(&self, store: &Store, (db, key): (Database, &[u8]), now: Millis) -> bool {
        let entry = store.peek(db, key, now);
        match (&self.old, entry.map(|entry| entry.value)) {
            (Some(old), Some(Value::Large { id, .. })) => id == old.id(),
            (Some(_), _) => false,
            (None, _) => entry.map_or(0, |entry| entry.revision.0) == self.revision,
        }
    }

    /// Gives the key the whole value, with the expiry that the key has; ends the work.
    pub(super) fn publish<'a>(self, call: &mut Call<'_, 'a, '_>, key: &[u8]) -> Result<Written, Error<'a>> {
        let db = call.session.db;
        let len = call.engine.store.large_len(self.result());
        let put = if self.is_current(&call.engine.store, (db, key), call.now) {
            let expiry = call.engine.store.peek(db, key, call.now).and_then(|entry| entry.expiry);
            call.put(key, NewValue::Large(self.result()), expiry).map(|_| Written::Whole(len))
        } else {
            Ok(Written::Overtaken)
        };
        self.release(&mut call.engine.store);
        put
    }
}

/// Charges what moving bytes into a new value costs: they are read or cleared, written, and memory is found for them.
pub(super) fn charge_moved(meter: &mut Meter, len: u64) {
    meter.charge_bytes(usize::try_from(len.saturating_mul(2)).unwrap_or(usize::MAX));
}

/// Goes on with writing `part` at `at` into a key's value, or begins it.
pub(super) fn write_part<'a>(
    call: &mut Call<'_, 'a, '_>,
    work: Option<Compose>,
    key: &'a [u8],
    (at, part): (u64, Part<'_>),
) -> Result<Written, Error<'a>> {
    match advance(call, work, key, (at, part))? {
        (work, false) => Ok(Written::Unfinished(work)),
        (work, true) => work.publish(call, key),
    }
}

/// Begins or goes on; whether the value is whole.
pub(super) fn advance<'a>(
    call: &mut Call<'_, 'a, '_>,
    work: Option<Compose>,
    key: &'a [u8],
    (at, part): (u64, Part<'_>),
) -> Result<(Compose, bool), Error<'a>> {
    let (db, now) = (call.session.db, call.now);
    let engine = &mut *call.engine;
    let mut work = match work {
        Some(work) => work,
        None => {
            let part_len = part.len(&engine.store);
            Compose::begin(engine, (db, key), (at, part_len), now).map_err(refused)?
        }
    };
    match work.run(engine, part, now) {
        Ok(is_whole) => Ok((work, is_whole)),
        Err(reason) => {
            work.release(&mut engine.store);
            Err(refused(reason))
        }
    }
}

#[cfg(test)]
mod tests;
