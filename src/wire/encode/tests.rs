//! Tests of replies and of the output.

use super::*;
use crate::{limits::KIB, mutation::ChainPosition, random::Random, wire::number::parse_u64};
use std::collections::HashMap;

/// The bytes that a reply makes.
fn encoded(protocol: Protocol, reply: impl FnOnce(&mut Out<'_>)) -> Vec<u8> {
    let (mut output, mut arena) = (Output::new(), Arena::new(16 * RING_BYTES));
    reply(&mut Out::new(&mut output, &mut arena, protocol));
    let mut bytes = Vec::new();
    output.copy_plain(&arena, &mut bytes);
    assert!(!output.overflowed());
    bytes
}

type Reply = fn(&mut Out<'_>);

#[test]
fn both_protocols() {
    let cases: [(Reply, &str, &str); 25] = [
        (|out| out.ok(), "+OK\r\n", "+OK\r\n"),
        (|out| out.simple("PONG"), "+PONG\r\n", "+PONG\r\n"),
        (|out| out.error("ERR no\r\nsuch"), "-ERR no  such\r\n", "-ERR no  such\r\n"),
        (|out| out.error_parts(&[b"ERR '", b"\nx", b"'"]), "-ERR ' x'\r\n", "-ERR ' x'\r\n"),
        (|out| out.integer(0), ":0\r\n", ":0\r\n"),
        (|out| out.integer(-5), ":-5\r\n", ":-5\r\n"),
        (|out| out.integer(127), ":127\r\n", ":127\r\n"),
        (|out| out.integer(128), ":128\r\n", ":128\r\n"),
        (|out| out.integer(i64::MAX), ":9223372036854775807\r\n", ":9223372036854775807\r\n"),
        (|out| out.integer(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
        (|out| out.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n"),
        (|out| out.bulk(b"hello"), "$5\r\nhello\r\n", "$5\r\nhello\r\n"),
        (|out| out.bulk_integer(-42), "$3\r\n-42\r\n", "$3\r\n-42\r\n"),
        (|out| out.null(), "$-1\r\n", "_\r\n"),
        (|out| out.null_array(), "*-1\r\n", "_\r\n"),
        (|out| out.array(1_000_000), "*1000000\r\n", "*1000000\r\n"),
        (|out| out.map(7), "*14\r\n", "%7\r\n"),
        (|out| out.set(2), "*2\r\n", "~2\r\n"),
        (|out| out.push(3), "*3\r\n", ">3\r\n"),
        (|out| out.boolean(true), ":1\r\n", "#t\r\n"),
        (|out| out.boolean(false), ":0\r\n", "#f\r\n"),
        (|out| out.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
        (|out| out.double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n"),
        (|out| out.big_number("123"), "$3\r\n123\r\n", "(123\r\n"),
        (|out| out.verbatim(*b"txt", b"a b"), "$3\r\na b\r\n", "=7\r\ntxt:a b\r\n"),
    ];
    for (reply, resp2, resp3) in cases {
        assert_eq!(encoded(Protocol::Resp2, reply), resp2.as_bytes());
        assert_eq!(encoded(Protocol::Resp3, reply), resp3.as_bytes());
    }
}

#[test]
fn headers_of_every_length() {
    for n in (0..10_100).chain((3..20).flat_map(|digits| [10u64.pow(digits) - 1, 10u64.pow(digits)])) {
        assert_eq!(Header::new(b'$', n).as_bytes(), format!("${n}\r\n").as_bytes());
    }
    assert_eq!(Header::new(b'*', u64::MAX).as_bytes(), b"*18446744073709551615\r\n");
}

#[test]
fn errors_are_cleaned_and_cut() {
    let echoed = [b'\n'; 2 * ERROR_BYTES_MAX];
    let bytes = encoded(Protocol::Resp2, |out| out.error_parts(&[b"ERR ", &echoed, b"x"]));
    assert_eq!(bytes.len(), 1 + ERROR_BYTES_MAX + 2);
    assert!(bytes.starts_with(b"-ERR    ") && bytes.ends_with(b"  \r\n"));
}

#[test]
fn protocol_errors_have_the_texts_of_redis() {
    let text = |reason| encoded(Protocol::Resp2, |out| out.malformed(reason));
    assert_eq!(text(Malformed::MultibulkLength), b"-ERR Protocol error: invalid multibulk length\r\n");
    assert_eq!(
        text(Malformed::ExpectedDollar { got: b'f' }),
        b"-ERR Protocol error: expected '$', got 'f'\r\n"
    );
    assert_eq!(
        text(Malformed::ExpectedDollar { got: b'\n' }),
        b"-ERR Protocol error: expected '$', got ' '\r\n"
    );
    assert_eq!(text(Malformed::CrossProtocol), b"");
}

#[test]
fn an_output_holds_a_buffer_only_while_it_holds_bytes() {
    let (mut output, mut arena) = (Output::new(), Arena::new(64 * RING_BYTES));
    let mut out = Out::new(&mut output, &mut arena, Protocol::Resp2);
    assert_eq!((out.room(), out.is_empty()), (RING_BYTES, true));
    out.bulk(&[b'x'; 40 * KIB]);
    assert!(!out.overflowed());
    assert_eq!((output.capacity(), arena.used()), (64 * KIB, 64 * KIB));
    let len = output.pending_len();
    assert_eq!(output.consumed(len, &mut arena), None);
    assert_eq!((output.is_empty(), output.capacity(), arena.used()), (true, 0, 0));
    assert_eq!(output.next(&arena), Pending::Nothing);
}

#[test]
fn what_does_not_fit_overflows_for_good() {
    let (mut output, mut arena) = (Output::new(), Arena::new(4 * RING_BYTES));
    let mut out = Out::new(&mut output, &mut arena, Protocol::Resp2);
    out.simple("kept");
    out.bulk(&[0; RING_BYTES]);
    assert!(out.overflowed());
    out.ok();
    assert!(!out.large(LargeId(1), 10), "no reference is taken");
    let mut bytes = Vec::new();
    output.copy_plain(&arena, &mut bytes);
    assert_eq!(bytes, b"+kept\r\n");
    output.release(&mut arena, |_| panic!("nothing is held"));
    assert!(!output.overflowed() && arena.used() == 0);
}

#[test]
fn a_muted_sink_takes_nothing() {
    let (mut output, mut arena) = (Output::new(), Arena::new(4 * RING_BYTES));
    let mut out = Out::new(&mut output, &mut arena, Protocol::Resp2);
    out.mute(true);
    out.ok();
    assert!(!out.large(LargeId(1), 10) && !out.large_raw(LargeId(1), 10));
    out.mute(false);
    assert!(out.is_empty() && !out.overflowed());
    assert_eq!(arena.used(), 0);
    let mut out = Out::new(&mut output, &mut arena, Protocol::Resp2);
    out.mute(true);
    assert!(out.make_room(5 * RING_BYTES), "what is dropped needs no room");
    out.mute(false);
    assert!(!out.make_room(5 * RING_BYTES) && out.overflowed());
}

/// Header, text and end are written together or not at all: to the last byte that is free, and not a byte beyond it.
#[test]
fn replies_of_several_parts_are_all_or_nothing() {
    let large: Reply = |out| _ = out.large(LargeId(1), 10);
    let verbatim: Reply = |out| out.verbatim(*b"txt", b"a text of some length");
    for (reply, len) in
        [(large, "$10\r\n\r\n".len() + MARKER_BYTES), (verbatim, "=25\r\ntxt:\r\n".len() + 21)]
    {
        for free in [len, len - 1, len - 2, len - 4, len - 6, 1] {
            let (mut output, mut arena) = (Output::new(), Arena::new(4 * RING_BYTES));
            let mut out = Out::new(&mut output, &mut arena, Protocol::Resp3).with_bytes_max(RING_BYTES);
            assert!(out.is_empty());
            let before = vec![b'x'; RING_BYTES - free];
            out.raw(&before);
            assert!(!out.is_empty() && !out.overflowed());
            reply(&mut out);
            assert_eq!((out.room(), out.overflowed()), if free == len { (0, false) } else { (free, true) });
        }
    }
}

#[test]
fn a_sink_is_as_long_as_asked_for_or_there_is_none() {
    let (mut output, mut arena) = (Output::new(), Arena::new(RING_BYTES));
    let sink = output.sink(RING_BYTES, &mut arena).expect("a whole ring");
    sink[..5].copy_from_slice(b"hello");
    output.wrote(5);
    assert_eq!(output.next(&arena), Pending::Bytes(b"hello", b""));
    assert!(output.sink(RING_BYTES - 4, &mut arena).is_none());
    assert_eq!(output.sink(RING_BYTES - 5, &mut arena).map(|sink| sink.len()), Some(RING_BYTES - 5));
    let mut other = Output::new();
    assert!(other.sink(1, &mut arena).is_none(), "the arena has one ring");
    Out::new(&mut output, &mut arena, Protocol::Resp2).with_bytes_max(0).bulk(&[0; RING_BYTES]);
    assert!(
        output.overflowed() && output.sink(1, &mut arena).is_none(),
        "nothing may follow what was dropped"
    );
}

/// A part may end where the ring's memory does: the next one begins at its front.
#[test]
fn all_parts_are_found_across_the_end_of_the_ring() {
    for from_end in [0, 1, 10, MARKER_BYTES, MARKER_BYTES + 1, 40] {
        let (mut output, mut arena) = (Output::new(), Arena::new(4 * RING_BYTES));
        let mut out = Out::new(&mut output, &mut arena, Protocol::Resp2);
        out.raw(&vec![b'x'; RING_BYTES - 24 - from_end]);
        output.consumed((RING_BYTES - 124 - from_end) as u64, &mut arena);
        let mut out = Out::new(&mut output, &mut arena, Protocol::Resp2).with_bytes_max(RING_BYTES);
        out.raw(b"twenty-four bytes before");
        assert!(out.large_raw(LargeId(1), 5) && out.large_raw(LargeId(2), 6));
        out.raw(b"behind");
        assert_eq!(output.pending_len(), 100 + 24 + 2 * MARKER_BYTES as u64 + 5 + 6 + 6);
        let mut plain = Vec::new();
        output.copy_plain(&arena, &mut plain);
        assert_eq!(plain[100..], *b"twenty-four bytes beforebehind");
        let mut found = Vec::new();
        for part in output.parts(&arena) {
            found.push(match part {
                Pending::Bytes(a, b) => (0, (a.len() + b.len()) as u64),
                Pending::Large { id, offset, len } => (id.0, offset + len),
                Pending::Nothing => unreachable!(),
            });
        }
        assert_eq!(found, [(0, 124), (1, 5), (2, 6), (0, 6)], "{from_end} bytes before the end");
    }
}

#[test]
fn an_empty_large_value_is_an_empty_bulk() {
    assert_eq!(encoded(Protocol::Resp2, |out| assert!(!out.large(LargeId(1), 0))), b"$0\r\n\r\n");
}

/// A socket that takes some of what is pending, and the large values that exist.
struct Socket {
    sent: Vec<u8>,
    larges: HashMap<u32, Vec<u8>>,
    references: HashMap<u32, i64>,
}

impl Socket {
    /// One write of a random length. `false`: nothing is pending.
    fn write(&mut self, output: &mut Output, arena: &mut Arena, random: &mut Random) -> bool {
        let n = match output.next(arena) {
            Pending::Nothing => return false,
            Pending::Bytes(a, b) => {
                assert!(!a.is_empty());
                let all = [a, b].concat();
                let n = 1 + random.below(all.len());
                self.sent.extend_from_slice(&all[..n]);
                n as u64
            }
            Pending::Large { id, offset, len } => {
                let large = &self.larges[&id.0];
                assert_eq!(offset + len, large.len() as u64);
                let n = 1 + random.below(len as usize);
                self.sent.extend_from_slice(&large[offset as usize..offset as usize + n]);
                n as u64
            }
        };
        if let Some(large) = output.consumed(n, arena) {
            *self.references.get_mut(&large.into_raw().0).expect("a large value") -= 1;
        }
        true
    }
}

/// Replies, small and large, and writes to the socket in any order: what arrives is what was said, and every
/// reference to a large value is given back once.
#[test]
fn what_is_sent_is_what_was_said() {
    for seed in 0..150 {
        let mut random = Random(seed);
        let (mut output, mut arena) = (Output::new(), Arena::new(64 * RING_BYTES));
        let mut socket = Socket { sent: Vec::new(), larges: HashMap::new(), references: HashMap::new() };
        let mut said: Vec<Vec<u8>> = Vec::new();
        for i in 0..200u32 {
            let mut out = Out::new(&mut output, &mut arena, Protocol::Resp2);
            match random.below(8) {
                0..=2 => {
                    let bound = [20, 300, 9_000][random.below(3)];
                    let len = random.below(bound);
                    let bytes = random.bytes(len);
                    out.bulk(&bytes);
                    said.push(bytes);
                }
                3 => {
                    let len = 1 + random.below(30_000);
                    let bytes = random.bytes(len);
                    socket.larges.insert(i, bytes.clone());
                    assert!(out.large(LargeId(i), bytes.len() as u64));
                    socket.references.insert(i, 1);
                    said.push(bytes);
                }
                _ => drop(socket.write(&mut output, &mut arena, &mut random)),
            }
            assert!(!output.overflowed());
            arena.invariants();
        }
        if seed % 3 == 0 {
            output.release(&mut arena, |large| {
                *socket.references.get_mut(&large.into_raw().0).expect("a large value") -= 1;
            });
        } else {
            while socket.write(&mut output, &mut arena, &mut random) {}
            assert_eq!(parse_bulks(&socket.sent), said, "seed {seed}");
        }
        assert!(socket.references.values().all(|count| *count == 0), "seed {seed}");
        assert_eq!((arena.used(), output.pending_len()), (0, 0));
    }
}

fn parse_bulks(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut bulks = Vec::new();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\r') {
        assert_eq!((bytes[0], bytes[end + 1]), (b'$', b'\n'));
        let len = parse_u64(&bytes[1..end]).expect("a length") as usize;
        let at = end + 2;
        bulks.push(bytes[at..at + len].to_vec());
        assert_eq!(&bytes[at + len..at + len + 2], b"\r\n");
        bytes = &bytes[at + len + 2..];
    }
    assert!(bytes.is_empty());
    bulks
}

#[test]
fn raw_large_values_have_no_header() {
    let (mut output, mut arena) = (Output::new(), Arena::new(16 * RING_BYTES));
    let mut out = Out::new(&mut output, &mut arena, Protocol::Resp2);
    out.array(3);
    assert!(out.large_raw(LargeId(9), 5) && out.large_raw(LargeId(9), 7));
    out.ok();
    assert_eq!(output.next(&arena), Pending::Bytes(b"*3\r\n", b""));
    assert_eq!((output.front_len(&arena), output.front_large(&arena)), (4, None));
    assert_eq!(output.consumed(4, &mut arena), None);
    assert_eq!(output.next(&arena), Pending::Large { id: LargeId(9), offset: 0, len: 5 });
    assert_eq!(output.front_large(&arena), Some((LargeId(9), 0, ChainPosition::NONE)));
    assert_eq!(output.consumed(2, &mut arena), None);
    assert_eq!(output.next(&arena), Pending::Large { id: LargeId(9), offset: 2, len: 3 });
    let position = ChainPosition { span: 1, index: 0 };
    output.set_position(position);
    assert_eq!(output.front_len(&arena), 3);
    assert_eq!(output.front_large(&arena), Some((LargeId(9), 2, position)));
    let mut plain = Vec::new();
    output.copy_plain(&arena, &mut plain);
    assert_eq!(plain, b"+OK\r\n");
    assert_eq!(output.consumed(3, &mut arena).map(LargeRef::into_raw), Some(LargeId(9)));
    assert_eq!(
        output.front_large(&arena),
        Some((LargeId(9), 0, ChainPosition::NONE)),
        "the position was the first's"
    );
    assert_eq!(output.consumed(7, &mut arena).map(LargeRef::into_raw), Some(LargeId(9)));
    assert_eq!((output.front_len(&arena), output.front_large(&arena)), (5, None));
    assert_eq!(output.next(&arena), Pending::Bytes(b"+OK\r\n", b""));
}
