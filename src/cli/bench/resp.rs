//! RESP, as Redis and everything like it speak it: GET and SET, their replies in RESP2 or RESP3.

use super::{
    codec::{Codec, Decoded, HEAD_BYTES_MAX, Outcome, line},
    content::{Content, Outbox},
    workload::{Op, Request, Sizes},
};
use crate::wire::number::{INTEGER_BYTES_MAX, parse_u64, write_u64};

/// One connection's side of RESP. Requests are templates in which the key's digits are patched.
#[derive(Clone)]
pub(super) struct Resp {
    get: Vec<u8>,
    /// Up to the value where its length is fixed, else up to the `$` before the length.
    set_head: Vec<u8>,
    set_tail: Vec<u8>,
    sizes: Sizes,
    /// Where the key ends in `get` and `set_head`.
    key_end: usize,
    /// What a hit begins with, where values have one length.
    hit_head: Vec<u8>,
}

/// Bytes before the key's length in either request; see `new`.
const VERB_LEN: usize = "*2\r\n$3\r\nGET\r\n".len();

impl Resp {
    /// For these keys and values; `ttl_ms` goes with each write.
    pub(super) fn new(content: &Content, sizes: Sizes, ttl_ms: Option<u64>) -> Resp {
        let key = content.key_template();
        let key_head = format!("${}\r\n", key.len());
        let with_key = |verb: &str| [verb.as_bytes(), key_head.as_bytes(), key, b"\r\n"].concat();
        let mut set_head =
            with_key(if ttl_ms.is_some() { "*5\r\n$3\r\nSET\r\n" } else { "*3\r\n$3\r\nSET\r\n" });
        set_head.push(b'$');
        let hit_head = sizes.fixed().map_or(Vec::new(), |len| format!("${len}\r\n").into_bytes());
        if !hit_head.is_empty() {
            set_head.extend_from_slice(&hit_head[1..]);
        }
        let mut set_tail = b"\r\n".to_vec();
        if let Some(ttl_ms) = ttl_ms {
            let text = ttl_ms.to_string();
            set_tail.extend_from_slice(format!("$2\r\nPX\r\n${}\r\n{text}\r\n", text.len()).as_bytes());
        }
        let key_end = VERB_LEN + key_head.len() + key.len();
        Resp { get: with_key("*2\r\n$3\r\nGET\r\n"), set_head, set_tail, sizes, key_end, hit_head }
    }
}

impl Codec for Resp {
    fn encode(&mut self, request: &Request, content: &Content, out: &mut Outbox) {
        let start = out.bytes.len();
        let template = if request.op == Op::Read { &self.get } else { &self.set_head };
        out.bytes.extend_from_slice(template);
        let key_end = start + self.key_end;
        content.patch_key(request.key, &mut out.bytes[key_end - content.key_len()..key_end]);
        if request.op == Op::Write {
            if self.sizes.fixed().is_none() {
                let mut buffer = [0; INTEGER_BYTES_MAX];
                out.bytes.extend_from_slice(write_u64(request.value_len as u64, &mut buffer));
                out.bytes.extend_from_slice(b"\r\n");
            }
            content.append_value(request.key, request.value_len, out);
            out.bytes.extend_from_slice(&self.set_tail);
        }
    }

    fn decode<'a>(&mut self, op: Op, bytes: &'a [u8]) -> Decoded<'a> {
        if op == Op::Read && !self.hit_head.is_empty() && bytes.starts_with(&self.hit_head) {
            let value_len = self.sizes.min;
            return Decoded::Value { head_len: self.hit_head.len(), value_len, tail_len: 2 };
        }
        if op == Op::Write && bytes.starts_with(b"+OK\r\n") {
            return Decoded::Done { consumed: 5, outcome: Outcome::Stored };
        }
        decode_any(op, bytes)
    }
}

fn decode_any(op: Op, bytes: &[u8]) -> Decoded<'_> {
    if !matches!(bytes[0], b'$' | b'_' | b'-' | b'+') {
        return Decoded::Garbage("no RESP reply to GET or SET");
    }
    let Some((text, consumed)) = line(bytes) else {
        let endless = bytes.len() > HEAD_BYTES_MAX;
        return if endless { Decoded::Garbage("a line without an end") } else { Decoded::NeedMore };
    };
    let outcome = match (op, text[0], &text[1..]) {
        (_, b'-', words) => Outcome::Error(words),
        (Op::Read, b'_', b"") | (Op::Read, b'$', b"-1") => Outcome::Missing,
        (Op::Read, b'$', digits) => {
            return match parse_u64(digits).and_then(|len| usize::try_from(len).ok()) {
                Some(value_len) => Decoded::Value { head_len: consumed, value_len, tail_len: 2 },
                None => Decoded::Garbage("a bulk string without a length"),
            };
        }
        (Op::Write, b'+', b"OK") => Outcome::Stored,
        (Op::Read, ..) => return Decoded::Garbage("no reply to a GET"),
        (Op::Write, ..) => return Decoded::Garbage("no reply to a SET"),
    };
    Decoded::Done { consumed, outcome }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: Sizes = Sizes { min: 5, max: 5 };

    fn encoded(sizes: Sizes, ttl_ms: Option<u64>, request: Request) -> String {
        let content = Content::new(99, 8).unwrap();
        let mut out = Outbox::default();
        Resp::new(&content, sizes, ttl_ms).encode(&request, &content, &mut out);
        String::from_utf8(out.bytes).unwrap()
    }

    #[test]
    fn requests_are_what_redis_reads() {
        let get = Request { op: Op::Read, key: 7, value_len: 0, check: false };
        assert_eq!(encoded(FIXED, None, get), "*2\r\n$3\r\nGET\r\n$8\r\nkey:0007\r\n");
        let set = Request { op: Op::Write, key: 42, value_len: 5, check: false };
        let text = encoded(FIXED, None, set);
        assert!(text.starts_with("*3\r\n$3\r\nSET\r\n$8\r\nkey:0042\r\n$5\r\n00042\r\n"), "{text}");
        assert!(text.ends_with("\r\n") && text.len() == 31 + 5 + 2, "{text}");
        let text = encoded(Sizes { min: 2, max: 9 }, Some(1500), set);
        assert!(text.starts_with("*5\r\n$3\r\nSET\r\n$8\r\nkey:0042\r\n$5\r\n00042\r\n"), "{text}");
        assert!(text.ends_with("\r\n$2\r\nPX\r\n$4\r\n1500\r\n"), "{text}");
    }

    #[test]
    fn replies_are_told_apart_and_pieces_waited_for() {
        let mut codec = Resp::new(&Content::new(99, 8).unwrap(), FIXED, None);
        let hit = Decoded::Value { head_len: 4, value_len: 5, tail_len: 2 };
        let done = |consumed, outcome| Decoded::Done { consumed, outcome };
        for (op, bytes, expected) in [
            (Op::Read, "$5\r\n", hit),
            (Op::Read, "$12\r\n", Decoded::Value { head_len: 5, value_len: 12, tail_len: 2 }),
            (Op::Read, "$-1\r\n+OK\r\n", done(5, Outcome::Missing)),
            (Op::Read, "_\r\n", done(3, Outcome::Missing)),
            (Op::Write, "+OK\r\n+OK\r\n", done(5, Outcome::Stored)),
            (Op::Write, "-OOM full\r\n", done(11, Outcome::Error(b"OOM full"))),
            (Op::Read, "-ERR x\r\n", done(8, Outcome::Error(b"ERR x"))),
        ] {
            assert_eq!(codec.decode(op, bytes.as_bytes()), expected, "{bytes}");
            let head = bytes.find('\n').unwrap();
            for cut in 1..head {
                assert_eq!(codec.decode(op, &bytes.as_bytes()[..cut]), Decoded::NeedMore, "{bytes} {cut}");
            }
        }
        for (op, bytes) in
            [(Op::Read, "+OK\r\n"), (Op::Write, "$5\r\n"), (Op::Read, ":1\r\n"), (Op::Read, "$x\r\n")]
        {
            assert!(matches!(codec.decode(op, bytes.as_bytes()), Decoded::Garbage(_)), "{bytes}");
        }
    }
}
