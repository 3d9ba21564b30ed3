//! RESTORE: a key from what DUMP of this server, of Redis or of Valkey has answered.
//!
//! ```text
//!  payload ─▶ check sum ─▶ header ─▶ number | bytes: copied | packed: unpacked ─▶ the key has it
//!             │                   └─▶ hash, set: gathered (restore/gather.rs) ─▶ ┘
//!             └────────── in slices, when the payload or what it makes is long ──────────┘
//! ```
//! Until the last step nothing of it is seen, and the last step looks again at whether the key may be replaced.

mod gather;

use super::{Call, Continuation, Engine, Flow, Outcome, expire, meter::Meter, refused};
use crate::{
    limits::{INLINE_VALUE_BYTES_MAX, SEGMENT_BYTES},
    mutation::{ChainPosition, LargeId, LargeRef, Mutation, NewValue},
    reply::{Error, ErrorKind},
    store::{LargeCursor, Store},
    time::Millis,
    wire::{
        arguments::Arg,
        crc64::crc64,
        lzf::{PACKED_RUN_BYTES_MAX, RUN_BYTES_MAX, Run, WINDOW_BYTES, Window},
        number::{INTEGER_BYTES_MAX, write_i64},
        rdb::{self, Header},
    },
};
use gather::{Form, Gather, Unwrapping};

/// `RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME s] [FREQ n]`
pub fn restore<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let options = Options::parse(call)?;
    let payload = match call.args.get(3) {
        Some(Arg::Bytes(bytes)) => Payload::Bytes(bytes),
        Some(Arg::Large(id)) => Payload::Large(id),
        _ => return Err(ErrorKind::Full.plain()),
    };
    let mut work = match continuation {
        Some(Continuation::Restore(work)) => work,
        _ => {
            options.check(call, key)?;
            Restore::Check { place: Place::START, sum: 0 }
        }
    };
    let outcome = loop {
        let step = match &mut work {
            Restore::Check { place, sum } => {
                check(&call.engine.store, &mut call.engine.meter, payload, (place, sum))
            }
            Restore::Read => read(call, payload),
            Restore::Copy(copy) => copy.resume(call, payload),
            Restore::Unpack(unpack) => unpack.resume(call, payload),
            Restore::Unwrap(unwrap) => unwrap.resume(call, payload),
            Restore::Gather(gather) => gather.resume(call, payload),
        };
        match step {
            // What the step before held has moved on with it.
            Ok(Step::Next(next)) => work = next,
            Ok(Step::Unfinished) => return Ok(Flow::Yield(Continuation::Restore(work))),
            Ok(Step::Made(made)) => break options.put(call, key, made),
            Err(error) => break Err(error),
        }
    };
    work.release(&mut call.engine.store);
    outcome
}

/// The arguments beside the payload.
struct Options {
    replace: bool,
    absolute: bool,
}

/// What the key is to have.
enum Made<'v> {
    Value(NewValue<'v>),
    /// So many bytes of the engine's scratch.
    Scratch(usize),
    /// They are a short collection.
    Packed(usize),
}

impl Options {
    fn parse<'a>(call: &Call<'_, 'a, '_>) -> Result<Options, Error<'a>> {
        let mut options = Options { replace: false, absolute: false };
        // How a value was used before it came is checked and not kept: there is nothing that it could be kept in.
        let (mut idle_time, mut frequency) = (false, false);
        let mut at = 4;
        while at < call.args.len() {
            let has_next = at + 1 < call.args.len();
            if call.is_word(at, "REPLACE") {
                options.replace = true;
            } else if call.is_word(at, "ABSTTL") {
                options.absolute = true;
            } else if call.is_word(at, "IDLETIME") && has_next && !frequency {
                if call.integer(at + 1)? < 0 {
                    return Err(ErrorKind::RestoreIdleTime.plain());
                }
                idle_time = true;
                at += 1;
            } else if call.is_word(at, "FREQ") && has_next && !idle_time {
                if !(0..=255).contains(&call.integer(at + 1)?) {
                    return Err(ErrorKind::RestoreFrequency.plain());
                }
                frequency = true;
                at += 1;
            } else {
                return Err(ErrorKind::Syntax.plain());
            }
            at += 1;
        }
        Ok(options)
    }

    /// Whether the key can be made: it may be replaced, and its time to live is a number.
    fn check<'a>(&self, call: &mut Call<'_, 'a, '_>, key: &[u8]) -> Result<(), Error<'a>> {
        let db = call.session.db;
        if !self.replace && call.ops().get(db, key).is_some() {
            return Err(ErrorKind::BusyKey.plain());
        }
        if call.integer(2)? < 0 {
            return Err(ErrorKind::RestoreTtl.plain());
        }
        Ok(())
    }

    fn put<'a>(&self, call: &mut Call<'_, 'a, '_>, key: &[u8], made: Made<'_>) -> Outcome<'a> {
        // Others may have made the key meanwhile.
        self.check(call, key)?;
        let invalid = ErrorKind::InvalidExpire.of(call.verb.name.as_bytes());
        let at = match call.integer(2)? {
            0 => None,
            at if self.absolute => Some(at),
            ttl => Some(ttl.checked_add(call.now.0 as i64).ok_or(invalid)?),
        };
        match (at, made) {
            (Some(at), _) if expire::has_passed(at, call.now) => drop(call.delete(key)?),
            (at, Made::Value(value)) => drop(call.put(key, value, at.map(|at| Millis(at as u64)))?),
            (at, Made::Scratch(len)) => call.put_scratch(key, len, at.map(|at| Millis(at as u64)))?,
            (at, Made::Packed(len)) => {
                let expiry = at.map(|at| Millis(at as u64));
                let (db, now) = (call.session.db, call.now);
                let Engine { store, scratch, .. } = &mut *call.engine;
                let value = NewValue::Packed(&scratch[..len]);
                store.apply(&Mutation::Put { db, key, value, expiry }, now).map_err(refused)?;
            }
        }
        call.ok()
    }
}

/// Where the payload is.
#[derive(Clone, Copy)]
enum Payload<'a> {
    Bytes(&'a [u8]),
    Large(LargeId),
}

/// A place in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    offset: u64,
    /// In a large one.
    position: ChainPosition,
}

impl Place {
    const START: Place = Place::at(0);

    const fn at(offset: u64) -> Place {
        Place { offset, position: ChainPosition::NONE }
    }
}

impl<'a> Payload<'a> {
    fn len(self, store: &Store) -> u64 {
        match self {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Large(id) => store.large_len(id),
        }
    }

    /// The bytes that lie together at a place, empty at the end.
    fn piece<'s>(self, store: &'s Store, place: &mut Place) -> &'s [u8]
    where
        'a: 's,
    {
        match self {
            Payload::Bytes(bytes) => &bytes[place.offset as usize..],
            Payload::Large(id) => {
                let mut cursor = LargeCursor::follow(id, place.offset, place.position);
                let piece = store.large_slice(&mut cursor);
                place.position = cursor.position();
                piece
            }
        }
    }

    /// Copies what comes next before `end`, as much as `buffer` takes; what was copied.
    fn read<'b>(self, store: &Store, place: Place, end: u64, buffer: &'b mut [u8]) -> &'b [u8] {
        let (mut place, mut filled) = (place, 0);
        while filled < buffer.len() && place.offset < end {
            let piece = self.piece(store, &mut place);
            let len = piece.len().min(buffer.len() - filled).min((end - place.offset) as usize);
            if len == 0 {
                break;
            }
            buffer[filled..filled + len].copy_from_slice(&piece[..len]);
            filled += len;
            place.offset += len as u64;
        }
        &buffer[..filled]
    }
}

/// How far a RESTORE has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Restore {
    /// The sum of what is before the place.
    Check {
        place: Place,
        sum: u64,
    },
    /// The sum is right.
    Read,
    Copy(Copying),
    Unpack(Unpacking),
    Unwrap(Unwrapping),
    Gather(Gather),
}

impl Restore {
    /// Gives back what it holds.
    pub fn release(self, store: &mut Store) {
        match self {
            Restore::Check { .. } | Restore::Read => {}
            Restore::Copy(copy) => store.large_release(copy.to),
            Restore::Unpack(unpack) | Restore::Unwrap(Unwrapping { unpack, .. }) => unpack.release(store),
            Restore::Gather(gather) => gather.release(store),
        }
    }
}

/// What came of a step. Beside [`Next`](Step::Next), the work still holds what it held.
enum Step<'a> {
    Next(Restore),
    /// The meter is spent.
    Unfinished,
    /// The value is whole.
    Made(Made<'a>),
}

type Stepped<'a> = Result<Step<'a>, Error<'a>>;

/// Sums the payload up, and compares.
fn check<'a>(
    store: &Store,
    meter: &mut Meter,
    payload: Payload<'_>,
    (place, sum): (&mut Place, &mut u64),
) -> Stepped<'a> {
    let wrong = Err(ErrorKind::RestorePayload.plain());
    let len = payload.len(store);
    if len < rdb::FOOTER_BYTES as u64 {
        return wrong;
    }
    let end = len - 8;
    while place.offset < end {
        if meter.is_spent() {
            return Ok(Step::Unfinished);
        }
        let piece = payload.piece(store, place);
        // Short enough for the meter to be asked in time.
        let len = piece.len().min((end - place.offset) as usize).min(SEGMENT_BYTES);
        *sum = crc64(*sum, &piece[..len]);
        place.offset += len as u64;
        meter.charge_bytes(2 * len);
    }
    let mut stored = [0; 8];
    payload.read(store, Place::at(end), len, &mut stored);
    if version(payload, store) > rdb::VERSION_MAX || stored != sum.to_le_bytes() {
        return wrong;
    }
    Ok(Step::Next(Restore::Read))
}

/// The version of a payload that has a footer.
fn version(payload: Payload<'_>, store: &Store) -> u16 {
    let mut version = [0; 2];
    let start = payload.len(store) - rdb::FOOTER_BYTES as u64;
    payload.read(store, Place::at(start), start + 2, &mut version);
    u16::from_le_bytes(version)
}

/// Reads type and header, and says how the value is made.
fn read<'a>(call: &mut Call<'_, 'a, '_>, payload: Payload<'a>) -> Stepped<'a> {
    let malformed = ErrorKind::RestoreFormat.plain();
    let engine = &mut *call.engine;
    let end = payload.len(&engine.store) - rdb::FOOTER_BYTES as u64;
    let mut buffer = [0; 1 + rdb::HEADER_BYTES_MAX];
    let header = match payload.read(&engine.store, Place::START, end, &mut buffer) {
        [rdb::TYPE_STRING, header @ ..] => header,
        // Valkey 9 has given it another layout.
        [rdb::TYPE_HASH_TIMES_PRE, ..] if version(payload, &engine.store) > rdb::VERSION_FIELD_TIMES => {
            return Err(ErrorKind::RestoreFieldExpiry.plain());
        }
        [form, ..] => {
            let form = Form::of(*form).ok_or(malformed)?;
            return gather::read(call, payload, &form);
        }
        [] => return Err(malformed),
    };
    let (header, used) = rdb::read_header(header).ok_or(malformed)?;
    let place = Place::at(1 + used as u64);
    let left = end - place.offset;
    match header {
        Header::Number(number) => {
            let mut digits = [0; INTEGER_BYTES_MAX];
            let digits = write_i64(i64::from(number), &mut digits);
            engine.scratch[..digits.len()].copy_from_slice(digits);
            Ok(Step::Made(Made::Scratch(digits.len())))
        }
        Header::Bytes(len) if len > left => Err(malformed),
        Header::Bytes(len) => match payload {
            Payload::Bytes(bytes) => {
                let bytes = &bytes[place.offset as usize..][..len as usize];
                Ok(Step::Made(Made::Value(NewValue::Bytes(bytes))))
            }
            Payload::Large(_) if len <= INLINE_VALUE_BYTES_MAX as u64 => {
                let end = place.offset + len;
                payload.read(&engine.store, place, end, &mut engine.scratch[..len as usize]);
                Ok(Step::Made(Made::Scratch(len as usize)))
            }
            Payload::Large(_) => {
                let to = engine.store.large_begin(len, call.now).map_err(refused)?;
                Ok(Step::Next(Restore::Copy(Copying { place, end: place.offset + len, to })))
            }
        },
        Header::Packed { packed_len, len } => {
            let short_max = WINDOW_BYTES as u64;
            Unpacking::begin(call, place, (packed_len, left), len, short_max)
                .map(|unpack| Step::Next(Restore::Unpack(unpack)))
        }
    }
}

/// Bytes of a large payload on their way into a value.
#[derive(Debug, PartialEq, Eq)]
pub struct Copying {
    place: Place,
    end: u64,
    to: LargeRef,
}

impl Copying {
    fn resume<'a>(&mut self, call: &mut Call<'_, 'a, '_>, payload: Payload<'_>) -> Stepped<'a> {
        let engine = &mut *call.engine;
        while self.place.offset < self.end {
            if engine.meter.is_spent() {
                return Ok(Step::Unfinished);
            }
            let piece = payload.piece(&engine.store, &mut self.place);
            let left = (self.end - self.place.offset) as usize;
            let len = piece.len().min(left).min(engine.scratch.len());
            engine.scratch[..len].copy_from_slice(&piece[..len]);
            let bytes = &engine.scratch[..len];
            engine.store.large_append(self.to.id(), bytes, call.now).map_err(refused)?;
            self.place.offset += len as u64;
            engine.meter.charge_bytes(2 * len);
        }
        Ok(Step::Made(Made::Value(NewValue::Large(self.to.id()))))
    }
}

/// Packed bytes on their way into a value.
#[derive(Debug, PartialEq, Eq)]
pub struct Unpacking {
    place: Place,
    end: u64,
    /// Bytes of the value.
    len: u64,
    /// The value, if it is longer than what runs refer back to; else it is what the engine's scratch holds at the end
    /// of the one slice that it takes.
    to: Option<LargeRef>,
    /// In the value, where its last bytes begin.
    tail: ChainPosition,
}

impl Unpacking {
    /// Begins with `packed_len` bytes, of which `left` are there, that make `len`; what is no longer than `short_max` goes
    /// into the engine's scratch.
    fn begin<'a>(
        call: &mut Call<'_, 'a, '_>,
        place: Place,
        (packed_len, left): (u64, u64),
        len: u64,
        short_max: u64,
    ) -> Result<Unpacking, Error<'a>> {
        if packed_len > left || len > rdb::unpacked_len_max(packed_len) {
            return Err(ErrorKind::RestoreFormat.plain());
        }
        let to = match len {
            _ if len <= short_max => None,
            _ => Some(call.engine.store.large_begin(len, call.now).map_err(refused)?),
        };
        Ok(Unpacking { place, end: place.offset + packed_len, len, to, tail: ChainPosition::NONE })
    }

    fn release(self, store: &mut Store) {
        if let Some(to) = self.to {
            store.large_release(to);
        }
    }

    fn resume<'a>(&mut self, call: &mut Call<'_, 'a, '_>, payload: Payload<'_>) -> Stepped<'a> {
        let malformed = ErrorKind::RestoreFormat.plain();
        let Engine { store, scratch, meter, .. } = &mut *call.engine;
        let to = self.to.as_ref().map(LargeRef::id);
        let made = to.map_or(0, |to| store.large_len(to));
        let mut window = Window::new(scratch, made);
        self.restore_window(store, &mut window);
        let (mut packed, mut unpacked) = ([0; PACKED_RUN_BYTES_MAX], [0; RUN_BYTES_MAX]);
        while self.place.offset < self.end {
            if to.is_some() && meter.is_spent() {
                return Ok(Step::Unfinished);
            }
            // Moves the place's position up to where it is.
            payload.piece(store, &mut self.place);
            let packed = payload.read(store, self.place, self.end, &mut packed);
            let (run, used) = Run::read(packed).ok_or(malformed)?;
            let bytes = window.make(run, packed, &mut unpacked).ok_or(malformed)?;
            if window.made() > self.len {
                return Err(malformed);
            }
            if let Some(to) = to {
                store.large_append(to, bytes, call.now).map_err(refused)?;
            }
            self.place.offset += used as u64;
            meter.charge(1);
        }
        if window.made() != self.len {
            return Err(malformed);
        }
        let made = to.map_or(Made::Scratch(self.len as usize), |to| Made::Value(NewValue::Large(to)));
        Ok(Step::Made(made))
    }

    /// Has the last bytes of the value in the window again, which others have used since the last slice.
    fn restore_window(&mut self, store: &Store, window: &mut Window<'_>) {
        let Some(to) = self.to.as_ref().map(LargeRef::id) else { return };
        let made = window.made();
        let start = made.saturating_sub(WINDOW_BYTES as u64);
        let mut cursor = LargeCursor::follow(to, start, self.tail);
        while cursor.offset < made {
            let piece = store.large_slice(&mut cursor);
            window.restore(made - cursor.offset, piece);
            if cursor.offset == start {
                self.tail = cursor.position();
            }
            cursor.advance(piece.len());
        }
    }
}

#[cfg(test)]
mod tests;
