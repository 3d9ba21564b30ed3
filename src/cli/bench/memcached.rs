//! memcached's text protocol: `get` and `set`, so that memcached can stand in a table beside servers of RESP.

use super::{
    codec::{Codec, Decoded, HEAD_BYTES_MAX, Outcome, line},
    content::{Content, Outbox},
    workload::{Op, Request},
};
use crate::wire::number::{INTEGER_BYTES_MAX, parse_u64, write_u64};

/// What follows a value.
const TAIL: &[u8] = b"\r\nEND\r\n";

/// One connection's side of the text protocol.
#[derive(Clone)]
pub(super) struct Memcached {
    /// Seconds; 0: for ever.
    ttl_s: u64,
}

impl Memcached {
    /// memcached counts in whole seconds: a time to live is rounded up.
    pub(super) fn new(ttl_ms: Option<u64>) -> Memcached {
        Memcached { ttl_s: ttl_ms.map_or(0, |ms| ms.div_ceil(1000)) }
    }
}

impl Codec for Memcached {
    fn encode(&mut self, request: &Request, content: &Content, out: &mut Outbox) {
        out.bytes.extend_from_slice(if request.op == Op::Read { b"get " } else { b"set " });
        let start = out.bytes.len();
        out.bytes.extend_from_slice(content.key_template());
        content.patch_key(request.key, &mut out.bytes[start..]);
        if request.op == Op::Write {
            let mut buffer = [0; INTEGER_BYTES_MAX];
            out.bytes.extend_from_slice(b" 0 ");
            out.bytes.extend_from_slice(write_u64(self.ttl_s, &mut buffer));
            out.bytes.push(b' ');
            out.bytes.extend_from_slice(write_u64(request.value_len as u64, &mut buffer));
            out.bytes.extend_from_slice(b"\r\n");
            content.append_value(request.key, request.value_len, out);
        }
        out.bytes.extend_from_slice(b"\r\n");
    }

    fn decode<'a>(&mut self, op: Op, bytes: &'a [u8]) -> Decoded<'a> {
        let Some((text, consumed)) = line(bytes) else {
            let endless = bytes.len() > HEAD_BYTES_MAX;
            return if endless { Decoded::Garbage("a line without an end") } else { Decoded::NeedMore };
        };
        if op == Op::Read && text.starts_with(b"VALUE ") {
            // `VALUE key flags bytes`
            let digits = text.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
            return match parse_u64(digits).and_then(|len| usize::try_from(len).ok()) {
                Some(value_len) => Decoded::Value { head_len: consumed, value_len, tail_len: TAIL.len() },
                None => Decoded::Garbage("a value without a length"),
            };
        }
        let outcome = match (op, text) {
            (Op::Read, b"END") => Outcome::Missing,
            (Op::Write, b"STORED") => Outcome::Stored,
            (_, b"ERROR") => Outcome::Error(text),
            _ if text.starts_with(b"SERVER_ERROR") || text.starts_with(b"CLIENT_ERROR") => {
                Outcome::Error(text)
            }
            _ => return Decoded::Garbage("nothing that memcached's text protocol answers"),
        };
        Decoded::Done { consumed, outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_replies_are_memcacheds() {
        let content = Content::new(99, 8).unwrap();
        let (mut codec, mut out) = (Memcached::new(Some(1500)), Outbox::default());
        codec.encode(&Request { op: Op::Read, key: 7, value_len: 0, check: false }, &content, &mut out);
        codec.encode(&Request { op: Op::Write, key: 42, value_len: 2, check: false }, &content, &mut out);
        assert_eq!(out.bytes, b"get key:0007\r\nset key:0042 0 2 2\r\n42\r\n");

        let reply = b"VALUE key:0042 0 2\r\n42\r\nEND\r\n";
        let value = Decoded::Value { head_len: 20, value_len: 2, tail_len: 7 };
        assert_eq!(codec.decode(Op::Read, reply), value);
        assert_eq!(codec.decode(Op::Read, &reply[..10]), Decoded::NeedMore);
        let done = |consumed, outcome| Decoded::Done { consumed, outcome };
        assert_eq!(codec.decode(Op::Read, b"END\r\n"), done(5, Outcome::Missing));
        assert_eq!(codec.decode(Op::Write, b"STORED\r\n"), done(8, Outcome::Stored));
        let text = b"SERVER_ERROR out of memory";
        assert_eq!(
            codec.decode(Op::Write, b"SERVER_ERROR out of memory\r\n"),
            done(28, Outcome::Error(text))
        );
        assert!(matches!(codec.decode(Op::Write, b"+OK\r\n"), Decoded::Garbage(_)));
    }
}
