//! BITOP: values combined bit by bit. Short sources are combined at once; with a large one among them the result is made
//! in slices, source by source, in a large value that is published when it is whole.
//!
//! ```text
//!  begin:   short sources ──▶ one of them all (at most 8 KiB) ─┐
//!           large sources ──▶ a reference to each ─────────────┴─▶ plan (a large value of its own)
//!  slices:  result = first large source; result = result op next one; … ; result = result op the short ones
//! ```
//! The references keep the sources as they were when the command began, whatever others write meanwhile.

use super::{Call, Continuation, Engine, Flow, Outcome, bits::read_at, meter::KEY_UNITS, refused};
use crate::{
    mutation::{ChainPosition, LargeId, LargeRef, NewValue, Refused},
    reply::ErrorKind,
    store::{LargeCursor, Store, Value},
    time::Millis,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(call: &Call<'_, '_, '_>) -> Option<Operation> {
        let words = [
            ("AND", Operation::And),
            ("OR", Operation::Or),
            ("XOR", Operation::Xor),
            ("NOT", Operation::Not),
        ];
        words.into_iter().find(|(word, _)| call.is_word(1, word)).map(|(_, operation)| operation)
    }

    /// Combines `from` into as many bytes of `to`. NOT has one source, which is inverted as it is copied.
    fn apply(self, to: &mut [u8], from: &[u8]) {
        let pairs = to.iter_mut().zip(from);
        match self {
            Operation::And => pairs.for_each(|(to, from)| *to &= from),
            Operation::Or => pairs.for_each(|(to, from)| *to |= from),
            Operation::Xor => pairs.for_each(|(to, from)| *to ^= from),
            Operation::Not => pairs.for_each(|(to, from)| *to = !from),
        }
    }

    /// What the first source is for the result.
    fn first(self, bytes: &mut [u8]) {
        if self == Operation::Not {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
}

/// Several short values combined: bytes of the engine's scratch.
struct Short {
    operation: Operation,
    /// How many values there were.
    count: usize,
    len: usize,
}

impl Short {
    /// Adds a value; the shorter one of two has zero bytes behind its end.
    fn add(&mut self, scratch: &mut [u8], bytes: &[u8]) {
        if self.count == 0 {
            scratch[..bytes.len()].copy_from_slice(bytes);
            self.operation.first(&mut scratch[..bytes.len()]);
        } else {
            let common = self.len.min(bytes.len());
            self.operation.apply(&mut scratch[..common], &bytes[..common]);
            if self.operation == Operation::And {
                scratch[common..self.len.max(bytes.len())].fill(0);
            } else if bytes.len() > self.len {
                scratch[self.len..bytes.len()].copy_from_slice(&bytes[self.len..]);
            }
        }
        self.count += 1;
        self.len = self.len.max(bytes.len());
    }
}

/// How far a BITOP with large sources has come.
#[derive(Debug, PartialEq, Eq)]
pub struct Bitop {
    /// References to the large sources, four bytes each; then the short ones, combined; then [`Tail`].
    plan: LargeRef,
    /// The result so far.
    result: LargeRef,
    /// The source that is being read, and where.
    source: u32,
    from: ChainPosition,
    /// Where it goes: in the first round to the end of the result, then over what is there.
    to: LargeCursor,
}

/// The end of a plan.
struct Tail {
    /// Bytes of the longest source.
    longest: u64,
    large_count: u32,
    short_len: u32,
    has_short: bool,
}

impl Tail {
    const BYTES: usize = 17;

    fn bytes(&self) -> [u8; Tail::BYTES] {
        let mut bytes = [0; Tail::BYTES];
        bytes[..8].copy_from_slice(&self.longest.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.large_count.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.short_len.to_le_bytes());
        bytes[16] = u8::from(self.has_short);
        bytes
    }

    fn read(store: &Store, plan: LargeId) -> Tail {
        let len = store.large_len(plan);
        let mut bytes = [0; Tail::BYTES];
        read_at(store, Some(Value::Large { id: plan, len }), len - Tail::BYTES as u64, &mut bytes);
        let word = |at| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Tail {
            longest: u64::from(word(0)) | u64::from(word(4)) << 32,
            large_count: word(8),
            short_len: word(12),
            has_short: bytes[16] != 0,
        }
    }
}

/// `BITOP AND | OR | XOR | NOT destination key …`
pub fn bitop<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let operation = Operation::parse(call).ok_or(ErrorKind::Syntax.plain())?;
    let destination = call.bytes(2)?;
    if operation == Operation::Not && call.args.len() != 4 {
        return Err(ErrorKind::BitopNotKeys.plain());
    }
    if let Err(error) = call.engine.check_step(call.args.len() - 3) {
        return call.give_up(continuation, error);
    }
    let mut work = match continuation {
        Some(Continuation::Bitop(work)) => work,
        _ => match begin(call, operation).map_err(refused)? {
            Begun::Large(work) => work,
            Begun::Short(0) => {
                call.delete(destination)?;
                return call.done(0);
            }
            Begun::Short(len) => {
                call.put_scratch(destination, len, None)?;
                return call.done(len as i64);
            }
        },
    };
    match work.run(call.engine, operation, call.now) {
        Ok(false) => Ok(Flow::Yield(Continuation::Bitop(work))),
        Ok(true) => {
            let len = call.engine.store.large_len(work.result.id());
            let put = call.put(destination, NewValue::Large(work.result.id()), None);
            work.release(&mut call.engine.store);
            put?;
            call.done(len as i64)
        }
        Err(reason) => {
            work.release(&mut call.engine.store);
            Err(refused(reason))
        }
    }
}

/// What the sources are.
enum Begun {
    /// Short ones: the result is so many bytes of the engine's scratch.
    Short(usize),
    Large(Bitop),
}

/// Looks all sources up, in one step.
fn begin(call: &mut Call<'_, '_, '_>, operation: Operation) -> Result<Begun, Refused> {
    let (db, now, args) = (call.session.db, call.now, call.args);
    let Engine { store, meter, metrics, scratch, .. } = &mut *call.engine;
    let mut short = Short { operation, count: 0, len: 0 };
    let mut plan = None;
    let mut tail = Tail { longest: 0, large_count: 0, short_len: 0, has_short: false };
    for at in 3..args.len() {
        meter.charge(KEY_UNITS);
        // A large argument is longer than any key, so it names none.
        let value = args.bytes(at).and_then(|key| store.get(db, key, now)).map(|entry| entry.value);
        match value {
            None => metrics.counters.keyspace_misses += 1,
            Some(_) => metrics.counters.keyspace_hits += 1,
        }
        match value {
            None => short.add(scratch, b""),
            Some(Value::Inline(bytes)) => {
                meter.charge_bytes(bytes.len());
                short.add(scratch, bytes);
            }
            Some(Value::Collection(_)) => {
                if let Some(plan) = plan {
                    release_plan(store, plan, tail.large_count);
                }
                return Err(Refused::WrongType);
            }
            Some(Value::Large { id, len }) => {
                tail.longest = tail.longest.max(len);
                plan = Some(add_source(store, (plan, tail.large_count), id, now)?);
                tail.large_count += 1;
            }
        }
    }
    let Some(plan) = plan else { return Ok(Begun::Short(short.len)) };
    (tail.short_len, tail.has_short) = (short.len as u32, short.count > 0);
    let ended = store
        .large_append(plan.id(), &scratch[..short.len], now)
        .and_then(|()| store.large_append(plan.id(), &tail.bytes(), now))
        .and_then(|()| store.large_begin(tail.longest, now));
    match ended {
        Ok(result) => {
            let to = LargeCursor::new(result.id(), 0);
            Ok(Begun::Large(Bitop { plan, result, source: 0, from: ChainPosition::NONE, to }))
        }
        Err(reason) => {
            release_plan(store, plan, tail.large_count);
            Err(reason)
        }
    }
}

/// Keeps a reference to a large source in the plan, which is begun with the first of them. A plan that cannot be gone on
/// with is given back.
fn add_source(
    store: &mut Store,
    (plan, large_count): (Option<LargeRef>, u32),
    source: LargeId,
    now: Millis,
) -> Result<LargeRef, Refused> {
    // Held before memory is found, for which its key may be evicted.
    let held = store.large_retain(source);
    let begun = match plan {
        Some(plan) => Ok(plan),
        None => store.large_begin(0, now),
    };
    let noted = begun.and_then(|plan| match store.large_append(plan.id(), &source.0.to_le_bytes(), now) {
        Ok(()) => Ok(plan),
        Err(reason) => {
            release_plan(store, plan, large_count);
            Err(reason)
        }
    });
    match noted {
        Ok(_) => _ = held.into_raw(),
        Err(_) => store.large_release(held),
    }
    noted
}

fn source_at(store: &Store, plan: LargeId, index: u32) -> LargeId {
    let mut bytes = [0; 4];
    let len = store.large_len(plan);
    read_at(store, Some(Value::Large { id: plan, len }), u64::from(index) * 4, &mut bytes);
    LargeId(u32::from_le_bytes(bytes))
}

fn release_plan(store: &mut Store, plan: LargeRef, large_count: u32) {
    for index in 0..large_count {
        let source = source_at(store, plan.id(), index);
        store.large_release(LargeRef::from_raw(source));
    }
    store.large_release(plan);
}

/// Bytes of a large value that are a source.
#[derive(Clone, Copy)]
struct Source {
    id: LargeId,
    start: u64,
    len: u64,
}

impl Bitop {
    /// Gives back all that it holds.
    pub fn release(self, store: &mut Store) {
        let large_count = Tail::read(store, self.plan.id()).large_count;
        release_plan(store, self.plan, large_count);
        store.large_release(self.result);
    }

    /// Goes on until the meter is spent. True: the result is whole.
    fn run(&mut self, engine: &mut Engine, operation: Operation, now: Millis) -> Result<bool, Refused> {
        let tail = Tail::read(&engine.store, self.plan.id());
        while let Some(source) = self.source(&engine.store, &tail) {
            while self.to.offset < tail.longest {
                if engine.meter.is_spent() {
                    return Ok(false);
                }
                if self.source == 0 {
                    self.copy_piece(engine, source, (operation, tail.longest), now)?;
                } else if operation == Operation::And || self.to.offset < source.len {
                    self.combine_piece(engine, source, (operation, tail.longest));
                } else {
                    break;
                }
            }
            self.source += 1;
            (self.from, self.to) = (ChainPosition::NONE, LargeCursor::new(self.result.id(), 0));
        }
        Ok(true)
    }

    /// The source that is being read; `None`: all of them were.
    fn source(&self, store: &Store, tail: &Tail) -> Option<Source> {
        if self.source < tail.large_count {
            let id = source_at(store, self.plan.id(), self.source);
            return Some(Source { id, start: 0, len: store.large_len(id) });
        }
        let is_short = self.source == tail.large_count && tail.has_short;
        let start = u64::from(tail.large_count) * 4;
        is_short.then_some(Source { id: self.plan.id(), start, len: u64::from(tail.short_len) })
    }

    /// Has the next bytes of the source, or zero bytes behind its end, in the scratch; how many.
    fn read_piece(&mut self, engine: &mut Engine, source: Source, longest: u64) -> usize {
        let offset = self.to.offset;
        let Engine { store, scratch, meter, .. } = engine;
        let len = scratch.len().min((longest - offset) as usize);
        let len = if offset < source.len {
            let mut cursor = LargeCursor::follow(source.id, source.start + offset, self.from);
            let piece = store.large_slice(&mut cursor);
            let len = len.min(piece.len()).min((source.len - offset) as usize);
            scratch[..len].copy_from_slice(&piece[..len]);
            self.from = cursor.position();
            len
        } else {
            scratch[..len].fill(0);
            len
        };
        meter.charge_bytes(2 * len);
        len
    }

    /// Appends a piece of the first source to the result.
    fn copy_piece(
        &mut self,
        engine: &mut Engine,
        source: Source,
        (operation, longest): (Operation, u64),
        now: Millis,
    ) -> Result<(), Refused> {
        let len = self.read_piece(engine, source, longest);
        operation.first(&mut engine.scratch[..len]);
        engine.store.large_append(self.result.id(), &engine.scratch[..len], now)?;
        self.to.advance(len);
        Ok(())
    }

    /// Combines a piece of a later source with the result.
    fn combine_piece(&mut self, engine: &mut Engine, source: Source, (operation, longest): (Operation, u64)) {
        let len = self.read_piece(engine, source, longest);
        let mut rest = &engine.scratch[..len];
        while !rest.is_empty() {
            let target = engine.store.large_slice_mut(&mut self.to);
            let len = target.len().min(rest.len());
            operation.apply(&mut target[..len], &rest[..len]);
            self.to.advance(len);
            rest = &rest[len..];
        }
    }
}
