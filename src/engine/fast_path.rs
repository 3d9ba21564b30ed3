//! GET and SET without options, which nearly all requests are, for a server that has looked their keys up ahead. They
//! do what the functions of `strings.rs` and `set.rs` do, with the reply written straight to where it is sent from.

use super::Engine;
use crate::{
    command::{VERBS, Verb, VerbId},
    mutation::{Database, Refused},
    store::{LookupHint, Value},
    time::Millis,
    wire::{
        encode::{self, Out, Protocol},
        quick::fold,
    },
};

/// The commands that are run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FastCommand {
    Get,
    Set,
    Put,
}

impl FastCommand {
    /// All of them, each at the index that it is as a number.
    pub const ALL: [(FastCommand, VerbId); 3] =
        [(FastCommand::Get, VerbId::Get), (FastCommand::Set, VerbId::Set), (FastCommand::Put, VerbId::Put)];

    /// Its row in the table of verbs.
    #[must_use]
    pub fn verb(self) -> &'static Verb {
        &VERBS[FastCommand::ALL[self as usize].1 as usize]
    }

    /// The command of a [short word](crate::wire::quick::Command::short) with so many arguments, the word included.
    #[inline]
    pub fn of(word: u32, count: u8) -> Option<FastCommand> {
        const GET: u32 = fold(*b"get");
        const SET: u32 = fold(*b"set");
        const PUT: u32 = fold(*b"put");
        match (word, count) {
            (GET, 2) => Some(FastCommand::Get),
            (SET, 3) => Some(FastCommand::Set),
            (PUT, 3) => Some(FastCommand::Put),
            _ => None,
        }
    }
}

impl Engine {
    /// Answers the value of a key to the front of `sink`, which has room for any that a record holds; the number of
    /// bytes. `None`: it is a large one or none of bytes, and nothing was done.
    #[inline(always)] // Called in one place, once for each command of a batch.
    pub fn fast_get(
        &mut self,
        (db, key, hint): (Database, &[u8], &LookupHint),
        (protocol, sink): (Protocol, &mut [u8]),
        now: Millis,
    ) -> Option<usize> {
        match self.store.get_hinted(db, key, hint, now) {
            Some(Value::Inline(bytes)) => {
                self.metrics.counters.keyspace_hits += 1;
                Some(encode::write_bulk(sink, bytes))
            }
            Some(Value::Large { .. } | Value::Collection(_)) => None,
            None => {
                self.metrics.counters.keyspace_misses += 1;
                let null = encode::null(protocol);
                sink[..null.len()].copy_from_slice(null);
                Some(null.len())
            }
        }
    }

    /// Gives a key a value and no expiry, and answers OK to the front of `sink`; the number of bytes.
    ///
    /// # Errors
    /// As [`Store::apply`](crate::store::Store::apply); the answer is the caller's to write.
    #[inline(always)]
    pub fn fast_set(
        &mut self,
        (db, key, hint): (Database, &[u8], &LookupHint),
        (value, sink): (&[u8], &mut [u8]),
        now: Millis,
    ) -> Result<usize, Refused> {
        self.store.put_hinted((db, key), value, hint, now)?;
        sink[..encode::OK.len()].copy_from_slice(encode::OK);
        Ok(encode::OK.len())
    }

    /// Answers that a change was refused, and counts that.
    #[cold]
    pub fn fast_refused(&mut self, command: FastCommand, reason: Refused, out: &mut Out<'_>) {
        let error = super::refused(reason);
        error.write(|parts| out.error_parts(parts));
        self.metrics.failed(command.verb().id, error.kind);
    }
}
