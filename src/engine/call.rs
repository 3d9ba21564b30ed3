//! One command under execution: what it is given, and what the functions of the verbs share.

use super::{Continuation, Engine, Flow, Outcome, fast_path::Answered, ops::Ops, session::Session};
use crate::{
    command::Verb,
    limits::{FIELD_BYTES_MAX, KEY_BYTES_MAX},
    mutation::{Applied, Database, LargeId, LargeRef, Mutation, NewValue, Refused},
    reply::{Error, ErrorKind, Part},
    store::{Entry, Value},
    time::{Millis, Now},
    wire::{
        arguments::{Arg, Args},
        encode::Out,
        glob::PATTERN_BYTES_MAX,
        number::parse_i64,
    },
};

/// One command under execution.
pub(crate) struct Call<'c, 'a, 'o> {
    pub(super) engine: &'c mut Engine,
    pub(super) session: &'c mut Session,
    pub(super) verb: &'static Verb,
    pub(super) args: Args<'a>,
    pub(super) out: &'c mut Out<'o>,
    /// Unix time.
    pub(super) now: Millis,
    pub(super) clock: Now,
}

impl<'a> Call<'_, 'a, '_> {
    /// Argument `i` as bytes: a key, an option, a number.
    #[inline]
    pub(super) fn bytes(&self, i: usize) -> Result<&'a [u8], Error<'a>> {
        match self.args.get(i) {
            Some(Arg::Bytes(bytes)) => Ok(bytes),
            Some(_) => Err(ErrorKind::ArgumentTooLong.of(self.verb.name.as_bytes())),
            None => Err(ErrorKind::Syntax.plain()),
        }
    }

    /// Argument `i` as a pattern of bounded length.
    pub(super) fn pattern(&self, i: usize) -> Result<&'a [u8], Error<'a>> {
        let pattern = self.bytes(i)?;
        if pattern.len() > PATTERN_BYTES_MAX {
            let (len, limit) = (pattern.len() as u64, PATTERN_BYTES_MAX as u64);
            return Err(ErrorKind::PatternTooLong.of_both(Part::Number(len), Part::Number(limit)));
        }
        Ok(pattern)
    }

    /// Argument `i` as an integer. A large argument is none.
    #[inline]
    pub(super) fn integer(&self, i: usize) -> Result<i64, Error<'a>> {
        self.args.bytes(i).and_then(parse_i64).ok_or(ErrorKind::NotAnInteger.plain())
    }

    /// Argument `i` as a value.
    #[inline]
    pub(super) fn value(&self, i: usize) -> Result<NewValue<'a>, Error<'a>> {
        match self.args.get(i) {
            Some(Arg::Bytes(bytes)) => Ok(NewValue::Bytes(bytes)),
            Some(Arg::Large(id)) => Ok(NewValue::Large(id)),
            Some(Arg::Refused) => Err(ErrorKind::Full.plain()),
            None => Err(ErrorKind::Syntax.plain()),
        }
    }

    /// Whether argument `i` is this word, in any case.
    pub(super) fn is_word(&self, i: usize, word: &str) -> bool {
        self.args.bytes(i).is_some_and(|bytes| bytes.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Argument `i` as the number of a database.
    pub(super) fn database(&self, i: usize) -> Result<Database, Error<'a>> {
        let number = self.integer(i)?;
        if i32::try_from(number).is_err() {
            return Err(ErrorKind::NotAnInt32.plain());
        }
        self.database_numbered(number)
    }

    pub(super) fn database_numbered(&self, number: i64) -> Result<Database, Error<'a>> {
        match u8::try_from(number) {
            Ok(number) if number < self.engine.options.databases => Ok(Database(number)),
            _ => Err(ErrorKind::DatabaseOutOfRange.plain()),
        }
    }

    /// Operations on keys, at the time of this command.
    #[inline]
    pub(super) fn ops(&mut self) -> Ops<'_> {
        self.engine.ops(self.now)
    }

    /// Applies a change.
    #[inline]
    pub(super) fn apply(&mut self, mutation: &Mutation<'_>) -> Result<Applied, Error<'a>> {
        self.ops().apply(mutation).map_err(refused)
    }

    /// Gives a key of the client's database a value and an expiry: see [`Ops::set`].
    #[inline]
    pub(super) fn put(
        &mut self,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Option<Millis>,
    ) -> Result<Applied, Error<'a>> {
        let db = self.session.db;
        self.ops().set(db, key, value, expiry).map_err(refused)
    }

    /// The same with the first `len` bytes of the engine's scratch as the value.
    pub(super) fn put_scratch(
        &mut self,
        key: &[u8],
        len: usize,
        expiry: Option<Millis>,
    ) -> Result<(), Error<'a>> {
        let scratch = std::mem::take(&mut self.engine.scratch);
        let put = self.put(key, NewValue::Bytes(&scratch[..len]), expiry);
        self.engine.scratch = scratch;
        put.map(drop)
    }

    /// Deletes a key of the client's database; whether it was there.
    #[inline]
    pub(super) fn delete(&mut self, key: &[u8]) -> Result<bool, Error<'a>> {
        let db = self.session.db;
        self.apply(&Mutation::Delete { db, key }).map(|applied| applied.existed)
    }

    /// Answers a key's value, or null; whether it was there.
    #[inline]
    pub(super) fn answer_value(&mut self, key: &[u8]) -> Result<bool, Error<'a>> {
        let db = self.session.db;
        let hint = self.engine.store.known(db, key);
        match self.engine.answer_string((db, key, &hint), self.out, self.now) {
            Answered::Null => return Ok(false),
            Answered::Value => return Ok(true),
            Answered::Large { id, len } => self.answer_large(id, len),
            Answered::WrongType => {
                self.engine.metrics.counters.keyspace_hits += 1;
                return Err(ErrorKind::WrongType.plain());
            }
        }
        self.engine.metrics.counters.keyspace_hits += 1;
        Ok(true)
    }

    /// Answers a large value that a key holds.
    pub(super) fn answer_large(&mut self, id: LargeId, len: u64) {
        if self.out.large(id, len) {
            self.engine.store.large_retain(id).into_raw();
        }
    }

    /// Answers a large value and gives the reference away.
    pub(super) fn give_large(&mut self, large: LargeRef) {
        let len = self.engine.store.large_len(large.id());
        if let Some(large) = self.out.give_large(large, len) {
            self.engine.store.large_release(large);
        }
    }

    /// Answers encoded replies that were collected in a large value.
    pub(super) fn answer_collected(&mut self, large: LargeRef) {
        let len = self.engine.store.large_len(large.id());
        if let Some(large) = self.out.give_large_raw(large, len) {
            self.engine.store.large_release(large);
        }
    }

    /// Ends a command whose key others have changed since its last slice: what it holds is given back.
    pub(super) fn give_up<T>(
        &mut self,
        continuation: Option<Continuation>,
        error: Error<'a>,
    ) -> Result<T, Error<'a>> {
        if let Some(continuation) = continuation {
            self.engine.abandon(continuation);
        }
        Err(error)
    }

    /// Sees to it that the key has a string, or nothing, where a comparison of its value begins or goes on.
    pub(super) fn check_string(
        &mut self,
        key: &[u8],
        continuation: Option<Continuation>,
    ) -> Result<Option<Continuation>, Error<'a>> {
        match string(self.engine.store.peek(self.session.db, key, self.now)) {
            Ok(_) => Ok(continuation),
            Err(error) => self.give_up(continuation, error),
        }
    }

    pub(super) fn done(&mut self, count: i64) -> Outcome<'a> {
        self.out.integer(count);
        Ok(Flow::Done)
    }

    pub(super) fn ok(&mut self) -> Outcome<'a> {
        self.out.ok();
        Ok(Flow::Done)
    }

    pub(super) fn null(&mut self) -> Outcome<'a> {
        self.out.null();
        Ok(Flow::Done)
    }
}

/// The entry of a key that must be a string, if it is there.
#[inline]
pub(super) fn string(entry: Option<Entry<'_>>) -> Result<Option<Entry<'_>>, Error<'static>> {
    match entry {
        Some(Entry { value: Value::Collection(_), .. }) => Err(ErrorKind::WrongType.plain()),
        entry => Ok(entry),
    }
}

/// The error for a change that the store refused.
pub(crate) fn refused(reason: Refused) -> Error<'static> {
    let sizes = |kind: ErrorKind, size, limit| kind.of_both(Part::Number(size), Part::Number(limit));
    match reason {
        Refused::Full => ErrorKind::Full.plain(),
        Refused::TooLarge { size, limit } => sizes(ErrorKind::ValueTooLarge, size, limit),
        Refused::KeyTooLong { size } => sizes(ErrorKind::KeyTooLong, size, KEY_BYTES_MAX as u64),
        Refused::FieldTooLong { size } => sizes(ErrorKind::FieldTooLong, size, FIELD_BYTES_MAX as u64),
        Refused::WrongType => ErrorKind::WrongType.plain(),
    }
}
