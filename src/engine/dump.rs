//! DUMP: a value as Redis serializes it, for RESTORE. A large value is copied into a reply of its own in slices; it is
//! retained meanwhile. Nothing is packed, which every Redis reads.

use super::{Call, Continuation, Flow, Outcome, refused};
use crate::{
    mutation::{LargeId, Refused},
    reply::Error,
    store::{LargeCursor, Store, Value},
    wire::{
        crc64::crc64,
        rdb::{self, HEADER_BYTES_MAX},
    },
};

/// `DUMP key`
pub fn dump<'a>(call: &mut Call<'_, 'a, '_>, job: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    if let Some(Continuation::Dump(work)) = job {
        return go_on(call, work);
    }
    match call.engine.lookup(call.session.db, key, call.now).map(|entry| entry.value) {
        None => call.null(),
        Some(Value::Inline(bytes)) => {
            let mut buffer = [0; HEADER_BYTES_MAX];
            // What a number's header says is all there is of it.
            let number = rdb::write_number(bytes, &mut buffer).map(<[u8]>::len);
            let (header, bytes) = match number {
                Some(len) => (&buffer[..len], &b""[..]),
                None => (rdb::write_length(bytes.len() as u64, &mut buffer), bytes),
            };
            let version = rdb::VERSION.to_le_bytes();
            let parts: [&[u8]; 4] = [&[rdb::TYPE_STRING], header, bytes, &version];
            let sum = parts.iter().fold(0, |sum, part| crc64(sum, part));
            let len: usize = parts.iter().map(|part| part.len()).sum();
            call.out.bulk_header(len + 8);
            parts.iter().for_each(|part| call.out.raw(part));
            call.out.raw(&sum.to_le_bytes());
            call.out.raw(b"\r\n");
            Ok(Flow::Done)
        }
        Some(Value::Large { id, len }) => {
            let store = &mut call.engine.store;
            store.large_retain(id);
            let overhead = (1 + HEADER_BYTES_MAX + rdb::FOOTER_BYTES) as u64;
            let to = store.large_begin(len + overhead, call.now).map_err(|reason| {
                store.large_release(id);
                refused(reason)
            })?;
            let mut buffer = [0; HEADER_BYTES_MAX];
            let mut work = Dump { from: LargeCursor::new(id, 0), to, sum: 0 };
            let begun = work
                .append(call, &[rdb::TYPE_STRING])
                .and_then(|()| work.append(call, rdb::write_length(len, &mut buffer)));
            work.check(call, begun)?;
            go_on(call, work)
        }
    }
}

/// How far the copy of a large value has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dump {
    /// In the value, which is retained.
    from: LargeCursor,
    /// The reply so far.
    to: LargeId,
    /// The check sum of the reply so far.
    sum: u64,
}

impl Dump {
    fn append(&mut self, call: &mut Call<'_, '_, '_>, bytes: &[u8]) -> Result<(), Refused> {
        self.sum = crc64(self.sum, bytes);
        call.engine.store.large_append(self.to, bytes, call.now)
    }

    /// Gives back what it holds.
    pub fn release(self, store: &mut Store) {
        store.large_release(self.from.id);
        store.large_release(self.to);
    }

    /// Gives back what it holds if something was refused.
    fn check<'a>(&self, call: &mut Call<'_, '_, '_>, result: Result<(), Refused>) -> Result<(), Error<'a>> {
        if result.is_err() {
            self.release(&mut call.engine.store);
        }
        result.map_err(refused)
    }
}

/// Copies until the meter is spent; at the end, answers.
fn go_on<'a>(call: &mut Call<'_, 'a, '_>, work: Dump) -> Outcome<'a> {
    let mut work = work;
    let len = call.engine.store.large_len(work.from.id);
    while work.from.offset < len {
        if call.engine.meter.is_spent() {
            return Ok(Flow::Yield(Continuation::Dump(work)));
        }
        let engine = &mut *call.engine;
        let piece = engine.store.large_slice(&mut work.from);
        let len = piece.len().min(engine.scratch.len());
        engine.scratch[..len].copy_from_slice(&piece[..len]);
        work.sum = crc64(work.sum, &engine.scratch[..len]);
        let appended = engine.store.large_append(work.to, &engine.scratch[..len], call.now);
        // Copied, and summed up at about the same speed.
        engine.meter.charge_bytes(3 * len);
        work.check(call, appended)?;
        work.from.advance(len);
    }
    let ended = work
        .append(call, &rdb::VERSION.to_le_bytes())
        .and_then(|()| call.engine.store.large_append(work.to, &work.sum.to_le_bytes(), call.now));
    work.check(call, ended)?;
    let store = &mut call.engine.store;
    store.large_release(work.from.id);
    let len = store.large_len(work.to);
    if !call.out.large(work.to, len) {
        store.large_release(work.to);
    }
    Ok(Flow::Done)
}
