//! Integers of any width at any bit of a value: BITFIELD and BITFIELD_RO.
//!
//! ```text
//!  parse every operation ─▶ take the room for the last of them ─▶ run them in place ─▶ one reply each
//!    (an error: nothing ran)   (refused: nothing ran)               (cannot fail)
//! ```
//! There may be hundreds of operations and nowhere to keep them parsed, so they are read from the arguments
//! twice.

use super::{
    Call, Continuation, Flow, Outcome,
    bits::read_at,
    call::string,
    compose::{self, Compose, Part},
    refused,
};
use crate::{
    command::VerbId,
    limits::{INLINE_VALUE_BYTES_MAX, REPLY_ROOM_BYTES, VALUE_BYTES_MAX},
    mutation::{LargeRef, Mutation},
    reply::{Error, ErrorKind},
    store::{Store, Value},
    wire::{
        encode,
        number::{INTEGER_BYTES_MAX, parse_i64, write_i64},
    },
};

/// The type of an integer: `i1` to `i64`, `u1` to `u63`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Width {
    signed: bool,
    bits: u32,
}

impl Width {
    fn parse(text: &[u8]) -> Option<Width> {
        let (signed, digits) = match text {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return None,
        };
        let bits = u32::try_from(parse_i64(digits)?).ok()?;
        let most = if signed { 64 } else { 63 };
        (1..=most).contains(&bits).then_some(Width { signed, bits })
    }

    /// The largest number.
    fn max(self) -> u64 {
        // The one number of i1 that is not negative is 0.
        u64::MAX.checked_shr(64 - self.bits + u32::from(self.signed)).unwrap_or(0)
    }

    /// What the lowest bits of `value` are as such a number.
    fn wrap(self, value: u64) -> i64 {
        let unused = 64 - self.bits;
        if self.signed { (value << unused) as i64 >> unused } else { (value << unused >> unused) as i64 }
    }

    /// `value + increment`, or which end of the range it passes. The arithmetic is Redis's own, which wraps where
    /// `value` is far out of the range.
    fn add(self, value: i64, increment: i64) -> Result<i64, Passed> {
        let sum = value.wrapping_add(increment);
        if !self.signed {
            let (value, max) = (value as u64, self.max());
            let (up, down) = (max.wrapping_sub(value) as i64, value.wrapping_neg() as i64);
            return if value > max || increment > 0 && increment > up {
                Err(Passed::Above)
            } else if increment < 0 && increment < down {
                Err(Passed::Below)
            } else {
                Ok(sum)
            };
        }
        let max = self.max() as i64;
        let min = -max - 1;
        let (up, down) = (max.wrapping_sub(value), min.wrapping_sub(value));
        let narrow = self.bits < 64;
        if value > max || narrow && increment > up || value >= 0 && increment > 0 && increment > up {
            Err(Passed::Above)
        } else if value < min || narrow && increment < down || value < 0 && increment < 0 && increment < down
        {
            Err(Passed::Below)
        } else {
            Ok(sum)
        }
    }
}

/// The end of a range that a sum passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    Above,
    Below,
}

/// What happens to a sum that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    /// The field stays as it is, and the reply is null.
    Fail,
}

impl Overflow {
    /// What a field gets.
    fn settle(self, width: Width, value: i64, increment: i64) -> Option<i64> {
        match (width.add(value, increment), self) {
            (Ok(sum), _) => Some(sum),
            (Err(_), Overflow::Fail) => None,
            (Err(_), Overflow::Wrap) => Some(width.wrap(value.wrapping_add(increment) as u64)),
            (Err(Passed::Above), Overflow::Saturate) => Some(width.max() as i64),
            (Err(Passed::Below), Overflow::Saturate) => {
                Some(if width.signed { -(width.max() as i64) - 1 } else { 0 })
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64),
    Increment(i64),
}

/// One operation: a field and what is done with it.
#[derive(Clone, Copy, Debug)]
struct Operation {
    action: Action,
    overflow: Overflow,
    width: Width,
    /// In bits.
    offset: u64,
}

impl Operation {
    /// Bytes of the value up to the end of the field.
    fn end(&self) -> u64 {
        (self.offset + u64::from(self.width.bits)).div_ceil(8)
    }
}

/// Reads the operations of a command, one after the other.
#[derive(Clone, Copy)]
struct Operations {
    at: usize,
    overflow: Overflow,
}

impl Operations {
    const ALL: Operations = Operations { at: 2, overflow: Overflow::Wrap };

    fn next<'a>(&mut self, call: &Call<'_, 'a, '_>) -> Result<Option<Operation>, Error<'a>> {
        while self.at < call.args.len() {
            let (at, left) = (self.at, call.args.len() - self.at - 1);
            if call.is_word(at, "OVERFLOW") && left >= 1 {
                self.overflow = match () {
                    () if call.is_word(at + 1, "WRAP") => Overflow::Wrap,
                    () if call.is_word(at + 1, "SAT") => Overflow::Saturate,
                    () if call.is_word(at + 1, "FAIL") => Overflow::Fail,
                    () => return Err(ErrorKind::BitfieldOverflow.plain()),
                };
                self.at += 2;
                continue;
            }
            let is_get = call.is_word(at, "GET") && left >= 2;
            let is_set = call.is_word(at, "SET") && left >= 3;
            let is_increment = call.is_word(at, "INCRBY") && left >= 3;
            if !(is_get || is_set || is_increment) {
                return Err(ErrorKind::Syntax.plain());
            }
            let width = call.args.bytes(at + 1).and_then(Width::parse);
            let width = width.ok_or(ErrorKind::BitfieldType.plain())?;
            let offset = field_offset(call, at + 2, width)?;
            let action = match () {
                () if is_get => Action::Get,
                () if is_set => Action::Set(call.integer(at + 3)?),
                () => Action::Increment(call.integer(at + 3)?),
            };
            self.at += if is_get { 3 } else { 4 };
            return Ok(Some(Operation { action, overflow: self.overflow, width, offset }));
        }
        Ok(None)
    }
}

/// Argument `i` as the position of a field: a bit, or `#n` for the `n`th field of that width.
fn field_offset<'a>(call: &Call<'_, 'a, '_>, i: usize, width: Width) -> Result<u64, Error<'a>> {
    let (digits, unit) = match call.args.bytes(i) {
        Some([b'#', digits @ ..]) => (digits, i64::from(width.bits)),
        digits => (digits.unwrap_or_default(), 1),
    };
    let offset = parse_i64(digits).and_then(|number| number.checked_mul(unit));
    offset
        .and_then(|offset| u64::try_from(offset).ok())
        .filter(|offset| offset / 8 < VALUE_BYTES_MAX)
        .ok_or(ErrorKind::BitOffset.plain())
}

/// Bytes that a field of 64 bits can touch.
const WINDOW_BYTES: usize = 9;

/// The bytes that a field lies in, and where it lies in them.
struct Window {
    bytes: [u8; WINDOW_BYTES],
    /// The value's byte that is the first of them.
    start: u64,
    len: usize,
    /// Bits of the window behind the field.
    shift: u32,
    width: Width,
}

impl Window {
    fn of(operation: &Operation) -> Window {
        let start = operation.offset / 8;
        let within = (operation.offset % 8) as u32;
        let shift = 8 * WINDOW_BYTES as u32 - within - operation.width.bits;
        let len = (operation.end() - start) as usize;
        Window { bytes: [0; WINDOW_BYTES], start, len, shift, width: operation.width }
    }

    fn number(&self) -> u128 {
        self.bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
    }

    fn get(&self) -> i64 {
        self.width.wrap((self.number() >> self.shift) as u64)
    }

    /// Gives the field a value; whether that changes it.
    fn set(&mut self, value: i64) -> bool {
        let before = self.bytes;
        let mask = u128::from(u64::MAX >> (64 - self.width.bits)) << self.shift;
        let number = self.number() & !mask | (u128::from(value as u64) << self.shift) & mask;
        self.bytes.copy_from_slice(&number.to_be_bytes()[16 - WINDOW_BYTES..]);
        self.bytes != before
    }
}

/// `BITFIELD key [GET type offset | [OVERFLOW WRAP | SAT | FAIL] SET type offset value | INCRBY type offset increment] …`,
/// and `BITFIELD_RO` with GET only
pub fn bitfield<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let (mut operations, mut count, mut end) = (Operations::ALL, 0, 0);
    while let Some(operation) = operations.next(call)? {
        count += 1;
        if operation.action != Action::Get {
            end = end.max(operation.end());
        }
    }
    if end > 0 && call.verb.id == VerbId::BitfieldRo {
        return Err(ErrorKind::BitfieldReadOnly.plain());
    }
    if end > VALUE_BYTES_MAX {
        return Err(ErrorKind::StringTooLong.plain());
    }
    let composed = match continuation {
        Some(Continuation::Compose(work)) => Some(work),
        _ => None,
    };
    let target = match Target::take(call, key, end, composed)? {
        Taken::Target(target) => target,
        Taken::Unfinished(work) => return Ok(Flow::Yield(Continuation::Compose(work))),
    };
    let replies = match Replies::begin(call, count) {
        Ok(replies) => replies,
        Err(error) => {
            target.release(&mut call.engine.store);
            return Err(error);
        }
    };
    let done = match run_all(call, key, &target, &replies) {
        Ok(is_changed) => target.put(call, key, is_changed),
        Err(error) => {
            target.release(&mut call.engine.store);
            Err(error)
        }
    };
    if let Err(error) = done {
        replies.release(&mut call.engine.store);
        return Err(error);
    }
    replies.end(call);
    Ok(Flow::Done)
}

/// Runs every operation; whether the value was changed.
fn run_all<'a>(
    call: &mut Call<'_, 'a, '_>,
    key: &'a [u8],
    target: &Target,
    replies: &Replies,
) -> Result<bool, Error<'a>> {
    let mut is_changed = false;
    let mut operations = Operations::ALL;
    while let Ok(Some(operation)) = operations.next(call) {
        call.engine.meter.charge(1);
        call.engine.meter.charge_seek(operation.offset / 8);
        let mut window = Window::of(&operation);
        target.read(call, key, &mut window);
        let old = window.get();
        let (new, answers_new) = match operation.action {
            Action::Get => (None, false),
            Action::Set(value) => (operation.overflow.settle(operation.width, value, 0), false),
            Action::Increment(by) => (operation.overflow.settle(operation.width, old, by), true),
        };
        if let Some(new) = new {
            // A field that stays as it is fails no WATCH of the key.
            if window.set(new) {
                is_changed = true;
                target.write(call, key, &window)?;
            }
        }
        let reply = match new {
            None if operation.action != Action::Get => None,
            Some(new) if answers_new => Some(new),
            _ => Some(old),
        };
        replies.write(call, reply)?;
    }
    Ok(is_changed)
}

/// The value that the fields are in.
enum Target {
    /// Nothing is written: the key's own value.
    Read,
    /// So many bytes of the engine's scratch, to be put back at the end: if they are more than there were, or others.
    Copied { len: usize, grown: bool },
    /// The key's own value, which is large, long enough and shared with nothing.
    InPlace,
    /// A new value, which the key gets at the end.
    Composed(Compose),
}

/// What came of making the value long enough.
enum Taken {
    Target(Target),
    /// It is put together in slices.
    Unfinished(Compose),
}

impl Target {
    /// Makes the value at least `end` bytes long (0: nothing is written). What can be refused is refused here.
    fn take<'a>(
        call: &mut Call<'_, 'a, '_>,
        key: &'a [u8],
        end: u64,
        composed: Option<Compose>,
    ) -> Result<Taken, Error<'a>> {
        let (db, now) = (call.session.db, call.now);
        if let Some(work) = composed {
            let at = work.at();
            let (work, is_whole) = compose::advance(call, Some(work), key, (at, Part::Bytes(b"")))?;
            if !is_whole {
                return Ok(Taken::Unfinished(work));
            }
            if work.is_current(&call.engine.store, (db, key), now) {
                return Ok(Taken::Target(Target::Composed(work)));
            }
            work.release(&mut call.engine.store);
        }
        let entry = string(call.engine.lookup(db, key, now))?;
        if end == 0 {
            return Ok(Taken::Target(Target::Read));
        }
        let old_len = entry.map_or(0, |entry| entry.value.len());
        let len = old_len.max(end);
        let engine = &mut *call.engine;
        let value = engine.store.peek(db, key, now).map(|entry| entry.value);
        if len <= INLINE_VALUE_BYTES_MAX as u64 && !matches!(value, Some(Value::Large { .. })) {
            let len = len as usize;
            read_at(&engine.store, value, 0, &mut engine.scratch[..len]);
            return Ok(Taken::Target(Target::Copied { len, grown: old_len < len as u64 }));
        }
        let moved = compose::moved_bytes(&engine.store, value, end);
        if compose::is_long(moved) {
            let (work, is_whole) = compose::advance(call, None, key, (len, Part::Bytes(b"")))?;
            return Ok(if is_whole {
                Taken::Target(Target::Composed(work))
            } else {
                Taken::Unfinished(work)
            });
        }
        compose::charge_moved(&mut engine.meter, moved);
        // Writing the last byte takes all the memory that there is to take. If the value is long enough, only a copy of
        // one that is being read takes any: at the first write, before anything has changed.
        if len > old_len {
            call.apply(&Mutation::Write { db, key, offset: len - 1, bytes: &[0] })?;
        }
        Ok(Taken::Target(Target::InPlace))
    }

    /// Gives back what it holds, where the command ends without it.
    fn release(self, store: &mut Store) {
        if let Target::Composed(work) = self {
            work.release(store);
        }
    }

    fn read(&self, call: &Call<'_, '_, '_>, key: &[u8], window: &mut Window) {
        let engine = &*call.engine;
        let value = match self {
            Target::Copied { len, .. } => Some(Value::Inline(&engine.scratch[..*len])),
            Target::Composed(work) => {
                let id = work.result();
                Some(Value::Large { id, len: engine.store.large_len(id) })
            }
            _ => engine.store.peek(call.session.db, key, call.now).map(|entry| entry.value),
        };
        let len = window.len;
        read_at(&engine.store, value, window.start, &mut window.bytes[..len]);
    }

    fn write<'a>(
        &self,
        call: &mut Call<'_, 'a, '_>,
        key: &'a [u8],
        window: &Window,
    ) -> Result<(), Error<'a>> {
        let bytes = &window.bytes[..window.len];
        if let Target::Copied { .. } = self {
            let start = window.start as usize;
            call.engine.scratch[start..start + bytes.len()].copy_from_slice(bytes);
            return Ok(());
        }
        if let Target::Composed(work) = self {
            call.engine.store.large_overwrite(work.result(), window.start, bytes);
            return Ok(());
        }
        call.apply(&Mutation::Write { db: call.session.db, key, offset: window.start, bytes }).map(drop)
    }

    /// Gives the key what was changed in a copy.
    fn put<'a>(self, call: &mut Call<'_, 'a, '_>, key: &'a [u8], is_changed: bool) -> Result<(), Error<'a>> {
        let len = match self {
            Target::Composed(work) => {
                let value = call.engine.store.peek(call.session.db, key, call.now).map(|entry| entry.value);
                if is_changed || value.map_or(0, |value| value.len()) < work.at() {
                    // The key still has the value that this was composed from: `take` has looked, in this step.
                    return work.publish(call, key).map(drop);
                }
                work.release(&mut call.engine.store);
                return Ok(());
            }
            Target::Copied { len, grown } if is_changed || grown => len,
            _ => return Ok(()),
        };
        let engine = &mut *call.engine;
        let bytes = &engine.scratch[..len];
        let write = Mutation::Write { db: call.session.db, key, offset: 0, bytes };
        engine.store.apply(&write, call.now).map(drop).map_err(refused)
    }
}

/// The replies of the operations, an array: straight into the output, or by way of a large value if there are many.
enum Replies {
    Output,
    Collected(LargeRef),
}

impl Replies {
    /// Bytes of one reply, at most.
    const BYTES_MAX: usize = INTEGER_BYTES_MAX + 3;

    /// Takes the room for `count` of them.
    fn begin<'a>(call: &mut Call<'_, 'a, '_>, count: usize) -> Result<Replies, Error<'a>> {
        let bytes = count * Replies::BYTES_MAX;
        if bytes + Replies::BYTES_MAX <= REPLY_ROOM_BYTES {
            call.out.array(count);
            return Ok(Replies::Output);
        }
        let (store, now) = (&mut call.engine.store, call.now);
        let replies = store.large_begin(bytes as u64, now).map_err(refused)?;
        if let Err(reason) = store.large_make_room(replies.id(), bytes as u64, now) {
            store.large_release(replies);
            return Err(refused(reason));
        }
        call.out.array(count);
        Ok(Replies::Collected(replies))
    }

    fn write<'a>(&self, call: &mut Call<'_, 'a, '_>, reply: Option<i64>) -> Result<(), Error<'a>> {
        let Replies::Collected(replies) = self else {
            match reply {
                Some(number) => call.out.integer(number),
                None => call.out.null(),
            }
            return Ok(());
        };
        let mut digits = [0; INTEGER_BYTES_MAX];
        let parts: [&[u8]; 3] = match reply {
            Some(number) => [b":", write_i64(number, &mut digits), b"\r\n"],
            None => [encode::null(call.session.protocol), b"", b""],
        };
        let store = &mut call.engine.store;
        parts.iter().try_for_each(|part| store.large_append(replies.id(), part, call.now)).map_err(refused)
    }

    /// Gives back what it holds, where they are not answered.
    fn release(self, store: &mut Store) {
        if let Replies::Collected(replies) = self {
            store.large_release(replies);
        }
    }

    fn end(self, call: &mut Call<'_, '_, '_>) {
        let Replies::Collected(replies) = self else { return };
        call.answer_collected(replies);
    }
}
