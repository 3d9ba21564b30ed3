//! DUMP: a value as Redis serializes it, for RESTORE. A large value is summed up in slices, retained
//! meanwhile, and answered from where it lies; hashes and sets are [`collection`]'s. Nothing is packed, which every Redis
//! reads.

mod collection;

use super::{Call, Continuation, Flow, Outcome};
use crate::{
    mutation::LargeRef,
    store::{LargeCursor, Store, Value},
    wire::{
        crc64::crc64,
        rdb::{self, HEADER_BYTES_MAX},
    },
};
use collection::DumpCollection;

fn continuation(work: DumpCollection) -> Continuation {
    Continuation::Dump(Dump::Collection(work))
}

/// `DUMP key`
pub fn dump<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    match continuation {
        Some(Continuation::Dump(Dump::Large(work))) => return resume(call, work),
        Some(Continuation::Dump(Dump::Collection(work))) => return collection::resume(call, work),
        _ => {}
    }
    match call.engine.lookup(call.session.db, key, call.now).map(|entry| entry.value) {
        None => call.null(),
        Some(Value::Collection(_)) => collection::dump(call, key),
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
        Some(Value::Large { id, .. }) => {
            let value = call.engine.store.large_retain(id);
            resume(call, DumpLarge { value, from: LargeCursor::new(id, 0), sum: 0 })
        }
    }
}

/// How far a value has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Dump {
    Large(DumpLarge),
    Collection(DumpCollection),
}

/// How far a large value has been summed up.
#[derive(Debug, PartialEq, Eq)]
pub struct DumpLarge {
    value: LargeRef,
    from: LargeCursor,
    /// The check sum of the reply up to there.
    sum: u64,
}

impl Dump {
    /// Gives back what it holds.
    pub fn release(self, store: &mut Store) {
        match self {
            Dump::Large(work) => store.large_release(work.value),
            Dump::Collection(work) => store.tree_release(&work.tree),
        }
    }
}

/// Sums the value up until the meter is spent; at the end, answers it in its frame.
fn resume<'a>(call: &mut Call<'_, 'a, '_>, work: DumpLarge) -> Outcome<'a> {
    let mut work = work;
    let engine = &mut *call.engine;
    let len = engine.store.large_len(work.value.id());
    let mut buffer = [0; HEADER_BYTES_MAX];
    let header = rdb::write_length(len, &mut buffer);
    if work.from.offset == 0 {
        work.sum = crc64(crc64(0, &[rdb::TYPE_STRING]), header);
    }
    while work.from.offset < len {
        if engine.meter.is_spent() {
            return Ok(Flow::Yield(Continuation::Dump(Dump::Large(work))));
        }
        let piece = engine.store.large_slice(&mut work.from);
        work.sum = crc64(work.sum, piece);
        let piece_len = piece.len();
        engine.meter.charge_bytes(2 * piece_len);
        work.from.advance(piece_len);
    }
    let version = rdb::VERSION.to_le_bytes();
    let sum = crc64(work.sum, &version).to_le_bytes();
    let out = &mut *call.out;
    out.bulk_header(1 + header.len() + len as usize + rdb::FOOTER_BYTES);
    out.raw(&[rdb::TYPE_STRING]);
    out.raw(header);
    if let Some(value) = out.give_large_raw(work.value, len) {
        engine.store.large_release(value);
    }
    out.raw(&version);
    out.raw(&sum);
    out.raw(b"\r\n");
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests;
