//! Comparing a key's value with an argument, for SET IFEQ, DELIFEQ and DELEX: in one step where either is short, in slices
//! where both are long. A reference keeps the value as it is meanwhile; if the key has another one at the end, the
//! comparison begins again.

use super::{Call, Continuation, Engine};
use crate::{
    mutation::{ChainPosition, Database, LargeId, LargeRef},
    store::{LargeCursor, Store, Value},
    time::Millis,
    wire::arguments::Arg,
};

/// How far two long values have been compared: they are equal up to there.
#[derive(Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key's value.
    value: LargeRef,
    offset: u64,
    positions: [ChainPosition; 2],
}

/// What came of comparing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// Whether the key is there and has the bytes.
    Known(bool),
    Unfinished(Compare),
}

impl Compare {
    /// Gives back what it holds.
    pub fn release(self, store: &mut Store) {
        store.large_release(self.value);
    }

    /// Goes on until the meter is spent. `None`: it is not known yet.
    fn run(&mut self, engine: &mut Engine, wanted: LargeId) -> Option<bool> {
        let Engine { store, meter, .. } = engine;
        let value = self.value.id();
        let len = store.large_len(value);
        while self.offset < len {
            if meter.is_spent() {
                return None;
            }
            let [a, b] = self.positions;
            let mut a = LargeCursor::follow(value, self.offset, a);
            let mut b = LargeCursor::follow(wanted, self.offset, b);
            let (front, other) = (store.large_slice(&mut a), store.large_slice(&mut b));
            let piece_len = front.len().min(other.len());
            if piece_len == 0 || front[..piece_len] != other[..piece_len] {
                return Some(false);
            }
            meter.charge_bytes(2 * piece_len);
            self.positions = [a.position(), b.position()];
            self.offset += piece_len as u64;
        }
        Some(true)
    }
}

/// Goes on with comparing the value of `key` with an argument, or begins it.
pub(super) fn compare(
    call: &mut Call<'_, '_, '_>,
    continuation: Option<Continuation>,
    key: &[u8],
    wanted: Arg<'_>,
) -> Compared {
    let (db, now) = (call.session.db, call.now);
    let engine = &mut *call.engine;
    let mut work = match continuation {
        Some(Continuation::Compare(work)) => Some(work),
        _ => None,
    };
    // At most twice: one that is begun and ended in one step is the key's.
    loop {
        let value = engine.store.peek(db, key, now).map(|entry| entry.value);
        let held = match value {
            Some(Value::Large { id, .. }) => Some(id),
            _ => None,
        };
        let mut begun = match (work.take(), value, wanted) {
            (Some(work), ..) => work,
            (None, None, _) | (None, _, Arg::Refused) => return Compared::Known(false),
            (None, Some(Value::Large { id, len }), Arg::Large(wanted))
                if engine.store.large_len(wanted) == len =>
            {
                let value = engine.store.large_retain(id);
                Compare { value, offset: 0, positions: [ChainPosition::NONE; 2] }
            }
            (None, Some(_), wanted) => {
                return Compared::Known(holds(&engine.store, (db, key), wanted, now));
            }
        };
        let Arg::Large(wanted) = wanted else {
            begun.release(&mut engine.store);
            return Compared::Known(false);
        };
        let Some(is_equal) = begun.run(engine, wanted) else { return Compared::Unfinished(begun) };
        let compared = begun.value.id();
        begun.release(&mut engine.store);
        if held == Some(compared) {
            return Compared::Known(is_equal);
        }
    }
}

/// Bytes that come in pieces.
enum Pieces<'a> {
    Whole(&'a [u8]),
    Large(LargeCursor),
}

impl<'a> Pieces<'a> {
    fn new(value: Value<'a>) -> Pieces<'a> {
        match value {
            Value::Inline(bytes) => Pieces::Whole(bytes),
            // Such a key was refused before.
            Value::Collection(_) => Pieces::Whole(b""),
            Value::Large { id, .. } => Pieces::Large(LargeCursor::new(id, 0)),
        }
    }

    /// What comes next, at most this long; empty at the end.
    fn front<'s>(&mut self, store: &'s Store) -> &'s [u8]
    where
        'a: 's,
    {
        match self {
            Pieces::Whole(bytes) => bytes,
            Pieces::Large(cursor) => store.large_slice(cursor),
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Pieces::Whole(bytes) => *bytes = &bytes[n..],
            Pieces::Large(cursor) => cursor.advance(n),
        }
    }
}

/// Whether a key has the bytes of an argument as its value.
fn holds(store: &Store, (db, key): (Database, &[u8]), wanted: Arg<'_>, now: Millis) -> bool {
    store.peek(db, key, now).is_some_and(|entry| equals(store, entry.value, wanted))
}

/// Whether a value has the bytes of an argument.
fn equals(store: &Store, value: Value<'_>, arg: Arg<'_>) -> bool {
    let wanted = match arg {
        Arg::Bytes(bytes) => Value::Inline(bytes),
        Arg::Large(id) => Value::Large { id, len: store.large_len(id) },
        Arg::Refused => return false,
    };
    if value.len() != wanted.len() {
        return false;
    }
    let (mut a, mut b) = (Pieces::new(value), Pieces::new(wanted));
    loop {
        let (front, other) = (a.front(store), b.front(store));
        let len = front.len().min(other.len());
        if len == 0 {
            return true;
        }
        if front[..len] != other[..len] {
            return false;
        }
        a.advance(len);
        b.advance(len);
    }
}

#[cfg(test)]
mod tests;
