//! Requests that fit a datagram, and what can become of them.

use crate::limits::{DATAGRAM_BYTES_MAX, TTL_MS_MAX};
use crate::wire::frame::{FRAME_LEN_MIN, Head, Op, Status, flags};
use crate::wire::tag::TAG_LEN;

/// Bytes of key and value together that always fit a datagram.
pub const BODY_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - FRAME_LEN_MIN - TAG_LEN;

/// Key and value together are longer than [`BODY_BYTES_MAX`]: such a request goes over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    op: Op,
    flags: u8,
    argument: u64,
    expect: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Request {
    fn new(op: Op, key: &[u8], value: &[u8]) -> Result<Request, TooLong> {
        if key.len() + value.len() > BODY_BYTES_MAX {
            return Err(TooLong);
        }
        Ok(Request { op, flags: 0, argument: 0, expect: 0, key: key.to_vec(), value: value.to_vec() })
    }

    /// Are you there?
    #[must_use]
    pub fn ping() -> Request {
        Request { op: Op::Ping, flags: 0, argument: 0, expect: 0, key: Vec::new(), value: Vec::new() }
    }

    /// The key's value.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn get(key: &[u8]) -> Result<Request, TooLong> {
        Request::new(Op::Get, key, b"")
    }

    /// Gives the key this value, for ever.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn put(key: &[u8], value: &[u8]) -> Result<Request, TooLong> {
        Request::new(Op::Put, key, value)
    }

    /// Takes the key away.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn delete(key: &[u8]) -> Result<Request, TooLong> {
        Request::new(Op::Delete, key, b"")
    }

    /// Adds to the decimal integer at the key; no key counts as 0.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn add(key: &[u8], delta: i64) -> Result<Request, TooLong> {
        Ok(Request { argument: delta.cast_unsigned(), ..Request::new(Op::Add, key, b"")? })
    }

    /// Gives the key a time to live, in ms; 0 takes it away.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn expire(key: &[u8], ttl_ms: u64) -> Result<Request, TooLong> {
        Ok(Request { argument: ttl_ms.min(TTL_MS_MAX), ..Request::new(Op::Expire, key, b"")? })
    }

    /// PUT: with this time to live, in ms; 0 for none.
    #[must_use]
    pub fn ttl_ms(self, ttl_ms: u64) -> Request {
        Request { argument: ttl_ms.min(TTL_MS_MAX), ..self }
    }

    /// PUT: the time to live that the key has stays.
    #[must_use]
    pub fn keep_ttl(self) -> Request {
        Request { flags: self.flags | flags::KEEP_TTL, argument: 0, ..self }
    }

    /// PUT: only where the key is absent.
    #[must_use]
    pub fn if_absent(self) -> Request {
        Request { flags: self.flags & !flags::IF_PRESENT | flags::IF_ABSENT, ..self }
    }

    /// PUT: only where the key is present.
    #[must_use]
    pub fn if_present(self) -> Request {
        Request { flags: self.flags & !flags::IF_ABSENT | flags::IF_PRESENT, ..self }
    }

    /// PUT, DELETE, EXPIRE: only where the record's revision is this one; 0 stands for "absent".
    #[must_use]
    pub fn if_revision(self, revision: u64) -> Request {
        Request { flags: self.flags | flags::IF_REVISION, expect: revision, ..self }
    }

    /// Its operation.
    #[must_use]
    pub fn op(&self) -> Op {
        self.op
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }

    /// The head of its frame, but for what the session adds.
    pub(super) fn head(&self) -> Head {
        Head {
            flags: self.flags,
            argument: self.argument,
            expect: self.expect,
            ..Head::request(self.op, 0, 0)
        }
    }
}

/// The server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the server says of the request.
    pub status: Status,
    /// OK: the revision that a write has drawn, or that a GET found. NOT_MET: the one that stands.
    pub revision: u64,
    /// ADD: the sum, as a signed number's bits. GET: the rest of the time to live in ms, 0 for none. PUT: 1 if there
    /// was a value before. USE_TCP: the value's length.
    pub result: u64,
    /// GET: the value.
    pub value: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has answered: this happened, exactly once.
    Done(Answer),
    /// The deadline passed, and nothing was changed: a read, or a write that was never sent. `refusal`: what the server
    /// has answered last, if it has answered: BUSY, LOADING, or what asks for a new try, again and again.
    TimedOut {
        /// The last answer, if there was one.
        refusal: Option<Status>,
    },
    /// A write was sent, at least once, and no answer came in time, or the server lost its memory of it (as `refusal`
    /// says). It ran once or not at all.
    Unknown {
        /// The answer that says so, if there was one.
        refusal: Option<Status>,
    },
}
