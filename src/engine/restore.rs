//! RESTORE: a key from what DUMP of this server, of Redis or of Valkey has answered.
//!
//! ```text
//!  payload ─▶ check sum ─▶ header ─▶ number | bytes: copied | packed: unpacked ─▶ the key has it
//!             └────────── in slices, when the payload or what it makes is long ──────────┘
//! ```
//! Until the last step nothing of it is seen, and the last step looks again at whether the key may be replaced.

use super::{Call, Continuation, Engine, Flow, Outcome, expire, meter::Meter, refused};
use crate::{
    limits::{INLINE_VALUE_BYTES_MAX, SEGMENT_BYTES},
    mutation::{ChainPosition, LargeId, NewValue},
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
    loop {
        let step = match work {
            Restore::Check { place, sum } => {
                check(&call.engine.store, &mut call.engine.meter, payload, (place, sum))
            }
            Restore::Read => read(call, payload),
            Restore::Copy(copy) => copy.resume(call, payload),
            Restore::Unpack(unpack) => unpack.resume(call, payload),
        };
        match step {
            Ok(Step::Next(next)) => work = next,
            Ok(Step::Spent(work)) => return Ok(Flow::Yield(Continuation::Restore(work))),
            Ok(Step::Short(len)) => return options.put(call, key, Made::Scratch(len)),
            Ok(Step::Bytes(start, len)) => {
                let Payload::Bytes(bytes) = payload else { return Err(ErrorKind::RestoreFormat.plain()) };
                return options.put(call, key, Made::Value(NewValue::Bytes(&bytes[start..start + len])));
            }
            Ok(Step::Large(id)) => {
                let put = options.put(call, key, Made::Value(NewValue::Large(id)));
                call.engine.store.large_release(id);
                return put;
            }
            Err(error) => {
                work.release(&mut call.engine.store);
                return Err(error);
            }
        }
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl Restore {
    /// Gives back what it holds.
    pub fn release(self, store: &mut Store) {
        match self {
            Restore::Check { .. } | Restore::Read => {}
            Restore::Copy(Copying { to, .. }) | Restore::Unpack(Unpacking { to: Some(to), .. }) => {
                store.large_release(to);
            }
            Restore::Unpack(_) => {}
        }
    }
}

/// What came of a step.
enum Step {
    Next(Restore),
    /// The meter is spent.
    Spent(Restore),
    /// The value is so many bytes of the engine's scratch.
    Short(usize),
    /// It is bytes of the payload: start, length.
    Bytes(usize, usize),
    /// It is this, of which there is one reference.
    Large(LargeId),
}

type Stepped<'a> = Result<Step, Error<'a>>;

/// Sums the payload up, and compares.
fn check<'a>(
    store: &Store,
    meter: &mut Meter,
    payload: Payload<'_>,
    (place, sum): (Place, u64),
) -> Stepped<'a> {
    let wrong = Err(ErrorKind::RestorePayload.plain());
    let (mut place, mut sum) = (place, sum);
    let len = payload.len(store);
    if len < rdb::FOOTER_BYTES as u64 {
        return wrong;
    }
    let end = len - 8;
    while place.offset < end {
        if meter.is_spent() {
            return Ok(Step::Spent(Restore::Check { place, sum }));
        }
        let piece = payload.piece(store, &mut place);
        // Short enough for the meter to be asked in time.
        let len = piece.len().min((end - place.offset) as usize).min(SEGMENT_BYTES);
        sum = crc64(sum, &piece[..len]);
        place.offset += len as u64;
        meter.charge_bytes(2 * len);
    }
    let mut footer = [0; rdb::FOOTER_BYTES];
    payload.read(store, Place::at(len - rdb::FOOTER_BYTES as u64), len, &mut footer);
    let version = u16::from_le_bytes([footer[0], footer[1]]);
    if version > rdb::VERSION_MAX || footer[2..] != sum.to_le_bytes() {
        return wrong;
    }
    Ok(Step::Next(Restore::Read))
}

/// Reads type and header, and says how the value is made.
fn read<'a>(call: &mut Call<'_, 'a, '_>, payload: Payload<'_>) -> Stepped<'a> {
    let malformed = ErrorKind::RestoreFormat.plain();
    let engine = &mut *call.engine;
    let end = payload.len(&engine.store) - rdb::FOOTER_BYTES as u64;
    let mut buffer = [0; 1 + rdb::HEADER_BYTES_MAX];
    let [rdb::TYPE_STRING, header @ ..] = payload.read(&engine.store, Place::START, end, &mut buffer) else {
        return Err(malformed);
    };
    let (header, used) = rdb::read_header(header).ok_or(malformed)?;
    let place = Place::at(1 + used as u64);
    let left = end - place.offset;
    match header {
        Header::Number(number) => {
            let mut digits = [0; INTEGER_BYTES_MAX];
            let digits = write_i64(i64::from(number), &mut digits);
            engine.scratch[..digits.len()].copy_from_slice(digits);
            Ok(Step::Short(digits.len()))
        }
        Header::Bytes(len) if len > left => Err(malformed),
        Header::Bytes(len) => match payload {
            Payload::Bytes(_) => Ok(Step::Bytes(place.offset as usize, len as usize)),
            Payload::Large(_) if len <= INLINE_VALUE_BYTES_MAX as u64 => {
                let end = place.offset + len;
                payload.read(&engine.store, place, end, &mut engine.scratch[..len as usize]);
                Ok(Step::Short(len as usize))
            }
            Payload::Large(_) => {
                let to = engine.store.large_begin(len, call.now).map_err(refused)?;
                Ok(Step::Next(Restore::Copy(Copying { place, end: place.offset + len, to })))
            }
        },
        Header::Packed { packed_len, len } => {
            // What is promised beyond what any packing makes is not looked for room for.
            let most = packed_len.saturating_mul(RUN_BYTES_MAX as u64);
            if packed_len > left || len > most {
                return Err(malformed);
            }
            let is_short = len <= WINDOW_BYTES as u64;
            let to =
                if is_short { None } else { Some(engine.store.large_begin(len, call.now).map_err(refused)?) };
            let end = place.offset + packed_len;
            let unpack = Unpacking { place, end, len, to, tail: ChainPosition::NONE };
            Ok(Step::Next(Restore::Unpack(unpack)))
        }
    }
}

/// Bytes of a large payload on their way into a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copying {
    place: Place,
    end: u64,
    to: LargeId,
}

impl Copying {
    fn resume<'a>(mut self, call: &mut Call<'_, 'a, '_>, payload: Payload<'_>) -> Stepped<'a> {
        let engine = &mut *call.engine;
        while self.place.offset < self.end {
            if engine.meter.is_spent() {
                return Ok(Step::Spent(Restore::Copy(self)));
            }
            let piece = payload.piece(&engine.store, &mut self.place);
            let left = (self.end - self.place.offset) as usize;
            let len = piece.len().min(left).min(engine.scratch.len());
            engine.scratch[..len].copy_from_slice(&piece[..len]);
            engine.store.large_append(self.to, &engine.scratch[..len], call.now).map_err(refused)?;
            self.place.offset += len as u64;
            engine.meter.charge_bytes(2 * len);
        }
        Ok(Step::Large(self.to))
    }
}

/// Packed bytes on their way into a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacking {
    place: Place,
    end: u64,
    /// Bytes of the value.
    len: u64,
    /// The value, if it is longer than what runs refer back to; else it is what the engine's scratch holds at the end
    /// of the one slice that it takes.
    to: Option<LargeId>,
    /// In the value, where its last bytes begin.
    tail: ChainPosition,
}

impl Unpacking {
    fn resume<'a>(mut self, call: &mut Call<'_, 'a, '_>, payload: Payload<'_>) -> Stepped<'a> {
        let malformed = ErrorKind::RestoreFormat.plain();
        let Engine { store, scratch, meter, .. } = &mut *call.engine;
        let made = self.to.map_or(0, |to| store.large_len(to));
        let mut window = Window::new(scratch, made);
        self.restore_window(store, &mut window);
        let (mut packed, mut unpacked) = ([0; PACKED_RUN_BYTES_MAX], [0; RUN_BYTES_MAX]);
        while self.place.offset < self.end {
            if self.to.is_some() && meter.is_spent() {
                return Ok(Step::Spent(Restore::Unpack(self)));
            }
            // Moves the place's position up to where it is.
            payload.piece(store, &mut self.place);
            let packed = payload.read(store, self.place, self.end, &mut packed);
            let (run, used) = Run::read(packed).ok_or(malformed)?;
            let bytes = window.make(run, packed, &mut unpacked).ok_or(malformed)?;
            if window.made() > self.len {
                return Err(malformed);
            }
            if let Some(to) = self.to {
                store.large_append(to, bytes, call.now).map_err(refused)?;
            }
            self.place.offset += used as u64;
            meter.charge(1);
        }
        if window.made() != self.len {
            return Err(malformed);
        }
        Ok(self.to.map_or(Step::Short(self.len as usize), Step::Large))
    }

    /// Has the last bytes of the value in the window again, which others have used since the last slice.
    fn restore_window(&mut self, store: &Store, window: &mut Window<'_>) {
        let Some(to) = self.to else { return };
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
