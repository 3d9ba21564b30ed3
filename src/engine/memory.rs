//! MEMORY: what a key and the whole take.

use super::{Call, Flow, Outcome};
use crate::{mutation::Database, reply::ErrorKind, store::Value};

/// Bytes of a record beside key and value (head, revision, expiry) and of its entry in the index.
const RECORD_OVERHEAD_BYTES: u64 = 40;

/// `MEMORY USAGE key [SAMPLES n]`; there is nothing to sample in a string.
pub fn usage<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(2)?;
    for at in (3..call.args.len()).step_by(2) {
        if !call.is_word(at, "SAMPLES") || at + 1 == call.args.len() {
            return Err(ErrorKind::Syntax.plain());
        }
        if call.integer(at + 1)? < 0 {
            return Err(ErrorKind::Syntax.plain());
        }
    }
    let Some(entry) = call.engine.store.peek(call.session.db, key, call.now) else {
        return call.null();
    };
    let value_len = match entry.value {
        Value::Inline(bytes) => bytes.len() as u64,
        Value::Large { len, .. } => len,
        Value::Collection(collection) => call.engine.store.collection_bytes(&collection),
    };
    call.done((RECORD_OVERHEAD_BYTES + key.len() as u64 + value_len) as i64)
}

/// `MEMORY STATS`: the rows of Redis's that mean something here, then Pannier's own.
pub fn stats<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let (memory, process_stats) = (call.engine.store.memory(), &call.engine.process_stats);
    let keys: u64 = (0..call.engine.options.databases).map(|db| call.engine.store.len(Database(db))).sum();
    let rows = [
        ("peak.allocated", process_stats.resident_peak_bytes),
        ("total.allocated", memory.held()),
        ("startup.allocated", memory.reserved),
        ("clients.normal", process_stats.buffer_bytes),
        ("keys.count", keys),
        ("keys.bytes-per-key", memory.held().checked_div(keys).unwrap_or(0)),
        ("dataset.bytes", memory.live + memory.large),
        ("pannier.limit", memory.limit),
        ("pannier.live", memory.live),
        ("pannier.dead", memory.dead),
        ("pannier.tail", memory.tail),
        ("pannier.free", memory.free),
        ("pannier.index", memory.index),
        ("pannier.large", memory.large),
        ("pannier.large-free", memory.large_free),
        ("pannier.reserved", memory.reserved),
        ("pannier.lent", memory.lent),
        ("pannier.touched", memory.touched),
    ];
    call.out.map(rows.len());
    for (name, bytes) in rows {
        call.out.bulk(name.as_bytes());
        call.out.integer(bytes as i64);
    }
    Ok(Flow::Done)
}

/// `MEMORY PURGE`: there is no allocator that keeps pages back.
pub fn purge<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.ok()
}

/// `MEMORY DOCTOR`
pub fn doctor<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let memory = call.engine.store.memory();
    let text: &[u8] = if memory.used() > memory.limit / 10 * 9 {
        b"The store is nearly full: raise --memory, or start with --on-full evict.\n"
    } else {
        b"Memory is fine: it was reserved at start and its limit cannot be passed.\n"
    };
    call.out.verbatim(*b"txt", text);
    Ok(Flow::Done)
}
