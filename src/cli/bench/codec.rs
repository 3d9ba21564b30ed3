//! What a protocol has to do for the load: requests into bytes, and the front of a stream of bytes into one reply.

use super::{
    content::{Content, Outbox},
    workload::{Op, Request},
};

/// Bytes without an end of reply that are no longer waited for.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the longest reply that is taken whole, which leaves room for as many new ones as that beside it: an MGET of ten
/// values of 16 KiB has fewer.
pub(super) const CARRY_BYTES_MAX: usize = 192 * 1024;

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome<'a> {
    /// The write is done.
    Stored,
    /// There is no such key.
    Missing,
    /// The server's words, without line ends.
    Error(&'a [u8]),
}

/// What stands at the front of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded<'a> {
    /// Not enough to tell.
    NeedMore,
    /// A whole reply that holds no value.
    Done { consumed: usize, outcome: Outcome<'a> },
    /// A reply that holds a value, of which at least everything before the value is there.
    Value { head_len: usize, value_len: usize, tail_len: usize },
    /// Nothing that the protocol allows in answer to such a request; what it is instead.
    Garbage(&'static str),
}

/// One protocol over a stream, for one connection.
pub(super) trait Codec {
    fn encode(&mut self, request: &Request, content: &Content, out: &mut Outbox);

    /// The reply to a request of this kind at the front of `bytes`, which are not empty.
    fn decode<'a>(&mut self, op: Op, bytes: &'a [u8]) -> Decoded<'a>;
}

/// The bytes of the line at the front without its end, and what line and end take; `None` until it is whole.
pub(super) fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let text = &bytes[..end];
    Some((text.strip_suffix(b"\r").unwrap_or(text), end + 1))
}

/// Counts replies by their length alone: for [the floor](../../../../examples/floor.rs), which sends bytes without a meaning.
pub(super) struct Bare<C> {
    pub(super) codec: C,
    pub(super) reply_len: usize,
}

impl<C: Codec> Codec for Bare<C> {
    fn encode(&mut self, request: &Request, content: &Content, out: &mut Outbox) {
        self.codec.encode(request, content, out);
    }

    fn decode<'a>(&mut self, _: Op, _: &'a [u8]) -> Decoded<'a> {
        Decoded::Value { head_len: 0, value_len: self.reply_len, tail_len: 0 }
    }
}
