//! What a command will take of the store's memory, as far as its arguments tell: so that nothing of a transaction runs
//! where a part of it is sure to be refused. The estimate is low rather than high; what only the value of a key can tell
//! (APPEND to a long one) is not in it.

use super::Engine;
use crate::{
    command::{Flags, Verb, VerbId},
    limits::VALUE_BYTES_MAX,
    mutation::Database,
    store::Store,
    time::Millis,
    wire::{
        arguments::{Arg, Args},
        number::parse_i64,
    },
};

/// Bytes that a record takes beside its key and its value, at least.
pub(super) const RECORD_BYTES: u64 = 16;

/// Bytes of new records, at least; 0 for what a full store does not refuse.
#[must_use]
pub fn needed_bytes(verb: &Verb, args: &Args<'_>) -> u64 {
    if !verb.flags.has(Flags::DENYOOM) {
        return 0;
    }
    let key_count = verb.key_positions(args).count() as u64;
    // A large argument has its memory already. Of a SET's options nothing is stored.
    let stored = if verb.id == VerbId::Set { 2 } else { usize::MAX };
    let given: u64 = args
        .from(1)
        .iter()
        .take(stored)
        .map(|arg| match arg {
            Arg::Bytes(bytes) => bytes.len() as u64,
            Arg::Large(_) | Arg::Refused => 0,
        })
        .sum();
    let gap = match verb.id {
        // Of one that no value can have, or that writes nothing, the command itself answers what is wrong.
        VerbId::Setrange if args.bytes(3) != Some(b"") => {
            let offset = args.bytes(2).and_then(parse_i64).and_then(|offset| u64::try_from(offset).ok());
            offset.filter(|offset| *offset <= VALUE_BYTES_MAX).unwrap_or(0)
        }
        _ => 0,
    };
    (key_count * RECORD_BYTES + given).saturating_add(gap)
}

/// Bytes of the records that a command replaces or removes, large values included; reckoned as generously as
/// [`needed_bytes`] is, so that a value as long as the one before needs nothing.
#[must_use]
pub fn replaced_bytes(store: &Store, db: Database, verb: &Verb, args: &Args<'_>) -> u64 {
    if !verb.flags.has(Flags::WRITE) {
        return 0;
    }
    let keys = verb.key_positions(args).filter_map(|at| args.bytes(at));
    keys.map(|key| replaced_with(store, db, key)).sum()
}

/// The same for one key.
pub(super) fn replaced_with(store: &Store, db: Database, key: &[u8]) -> u64 {
    match store.record_bytes(db, key) {
        0 => 0,
        bytes => bytes + RECORD_BYTES,
    }
}

impl Engine {
    /// Whether the store has room for what one command needs.
    pub fn has_room(&mut self, db: Database, verb: &Verb, args: &Args<'_>, now: Millis) -> bool {
        let needed = needed_bytes(verb, args);
        self.fits(needed, 0, now) || {
            let replaced = replaced_bytes(&self.store, db, verb, args);
            replaced > 0 && self.fits(needed, replaced, now)
        }
    }

    /// Whether so many bytes of new records fit when so many of older ones go.
    pub fn fits(&mut self, needed: u64, replaced: u64, now: Millis) -> bool {
        self.store.check_room(needed, replaced, now).is_ok()
    }
}
