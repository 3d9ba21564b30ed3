//! GET and SET without options, which nearly all requests are: what they do, for each in one function. They run by it through
//! the [dispatch](super::dispatch) as every verb does, with a reply through [`Out`](crate::wire::encode::Out); and in a server's batch
//! (`server/batch.rs`), whose keys are looked up ahead, straight from one to the next, with the reply written where it is sent from.

use super::Engine;
use crate::{
    command::{VERBS, Verb, VerbId},
    mutation::{Database, LargeId, Refused},
    store::{LookupHint, Value},
    time::Millis,
    wire::{encode::ShortReply, quick::fold},
};

/// The commands that a batch runs straight from one to the next.
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

/// What came of answering the value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The value is the reply.
    Value,
    /// Null is the reply: the key is not there.
    Null,
    /// Nothing is written and nothing counted: a long value takes a reference to it.
    Large { id: LargeId, len: u64 },
    /// Nothing is written and nothing counted: it is no string.
    WrongType,
}

impl Engine {
    /// GET: answers the value of a key, or null.
    #[inline(always)] // In a batch, once for each of its commands.
    pub fn answer_string(
        &mut self,
        (db, key, hint): (Database, &[u8], &LookupHint),
        reply: &mut impl ShortReply,
        now: Millis,
    ) -> Answered {
        match self.store.get_hinted(db, key, hint, now) {
            Some(Value::Inline(bytes)) => {
                self.metrics.counters.keyspace_hits += 1;
                reply.bulk(bytes);
                Answered::Value
            }
            Some(Value::Large { id, len }) => Answered::Large { id, len },
            Some(Value::Collection(_)) => Answered::WrongType,
            None => {
                self.metrics.counters.keyspace_misses += 1;
                reply.null();
                Answered::Null
            }
        }
    }

    /// SET without options: gives a key a value that is not large, and no expiry, and answers OK.
    ///
    /// # Errors
    /// As [`Store::apply`](crate::store::Store::apply); the answer is the caller's to write.
    #[inline(always)]
    pub fn set_string(
        &mut self,
        (db, key, hint): (Database, &[u8], &LookupHint),
        value: &[u8],
        reply: &mut impl ShortReply,
        now: Millis,
    ) -> Result<(), Refused> {
        self.store.put_hinted((db, key), value, hint, now)?;
        reply.ok();
        Ok(())
    }
}
