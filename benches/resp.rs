//! RESP: commands decoded, replies encoded.
//!
//! | bench | what one element is |
//! |---|---|
//! | `resp/decode/get`, `set`, `mget16`, `inline` | a command out of a pipeline of 64 that is there whole |
//! | `resp/decode/in_pieces` | a SET that comes in pieces of 7 bytes, each looked at as it comes |
//! | `resp/encode/ok`, `integer`, `bulk32`, `bulk4096`, `null`, `error` | a reply written into a client's output and taken out of it |
//!
//! `cargo bench --bench resp`

mod common;

use common::{VALUE, command, key, measure_each};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pannier::buffer::arena::Arena;
use pannier::limits::MIB;
use pannier::wire::encode::{Out, Output, Pending, Protocol};
use pannier::wire::resp::{Arg, ArgTable, Bounds, Decoder, Step};
use std::hint::black_box;

const BOUNDS: Bounds = Bounds { authenticated: true, max_bulk_bytes: 1 << 20 };
const PIPELINE_LEN: usize = 64;

/// Decodes everything; the number of commands and of their arguments' bytes.
fn decode_all(mut bytes: &[u8], table: &mut ArgTable) -> (usize, usize) {
    let (mut decoder, mut commands, mut total) = (Decoder::new(), 0, 0);
    while !bytes.is_empty() {
        match decoder.decode(bytes, &BOUNDS, table) {
            Ok(Step::Ready { consumed }) => {
                let args = table.args(bytes);
                total +=
                    args.iter().map(|arg| if let Arg::Bytes(b) = arg { b.len() } else { 0 }).sum::<usize>();
                commands += 1;
                bytes = &bytes[consumed..];
            }
            other => panic!("{other:?}"),
        }
    }
    (commands, total)
}

fn decode(c: &mut Criterion) {
    let keys: Vec<[u8; 16]> = (0..PIPELINE_LEN as u64).map(key).collect();
    let mut mget: Vec<&[u8]> = vec![b"MGET"];
    mget.extend(keys[..16].iter().map(|key| &key[..]));
    let mut pipelines: [(&str, usize, Vec<u8>); 4] = [
        ("get", 3 + 16, vec![]),
        ("set", 3 + 16 + 32, vec![]),
        ("mget16", 4 + 256, vec![]),
        ("inline", 19, vec![]),
    ];
    for key in &keys {
        command(&mut pipelines[0].2, &[b"GET", key]);
        command(&mut pipelines[1].2, &[b"SET", key, &VALUE]);
        command(&mut pipelines[2].2, &mget);
        pipelines[3].2.extend([b"GET ", &key[..], b"\r\n"].concat());
    }
    let mut table = ArgTable::with_capacity(1024);
    let mut group = c.benchmark_group("resp/decode");
    group.throughput(Throughput::Elements(1));
    for (name, arg_bytes, bytes) in &pipelines {
        assert_eq!(decode_all(bytes, &mut table), (PIPELINE_LEN, arg_bytes * PIPELINE_LEN), "{name}");
        group.bench_function(*name, |b| {
            measure_each(b, PIPELINE_LEN, || decode_all(black_box(bytes), &mut table));
        });
    }
    group.finish();
}

/// Decodes one command that comes `piece_len` bytes at a time; the number of calls it takes.
fn decode_in_pieces(bytes: &[u8], piece_len: usize, table: &mut ArgTable) -> Option<usize> {
    let mut decoder = Decoder::new();
    for calls in 1..=bytes.len().div_ceil(piece_len) {
        let here = &bytes[..(calls * piece_len).min(bytes.len())];
        match decoder.decode(here, &BOUNDS, table) {
            Ok(Step::NeedMore) => {}
            Ok(Step::Ready { consumed }) if consumed == bytes.len() => return Some(calls),
            _ => return None,
        }
    }
    None
}

fn pieces(c: &mut Criterion) {
    let mut bytes = Vec::new();
    command(&mut bytes, &[b"SET", &key(1), &VALUE]);
    let mut table = ArgTable::with_capacity(1024);
    assert_eq!(decode_in_pieces(&bytes, 7, &mut table), Some(bytes.len().div_ceil(7)));
    assert_eq!(table.args(&bytes).bytes(2), Some(&VALUE[..]));
    let mut group = c.benchmark_group("resp/decode");
    group.throughput(Throughput::Elements(1));
    group.bench_function("in_pieces", |b| b.iter(|| decode_in_pieces(black_box(&bytes), 7, &mut table)));
    group.finish();
}

/// A client's output, emptied as soon as something is in it.
struct Sink {
    output: Output,
    arena: Arena,
}

impl Sink {
    /// Writes by `write` and takes what was written out again; its bytes go to `take`.
    fn pass(&mut self, write: impl FnOnce(&mut Out<'_>), take: impl FnOnce(&[u8])) {
        write(&mut Out::new(&mut self.output, &mut self.arena, Protocol::Resp2));
        let Pending::Bytes(bytes, _) = self.output.next(&self.arena) else { panic!("nothing was written") };
        let len = bytes.len();
        take(bytes);
        self.output.consumed(len as u64, &mut self.arena);
    }
}

fn encode(c: &mut Criterion) {
    let mut sink = Sink { output: Output::new(), arena: Arena::new(MIB) };
    let long = [b'v'; 4096];
    let long_reply = [b"$4096\r\n", &long[..], b"\r\n"].concat();
    let short_reply = [b"$32\r\n", &VALUE[..], b"\r\n"].concat();
    type Write<'a> = &'a dyn Fn(&mut Out<'_>);
    let cases: [(&str, Write<'_>, &[u8]); 6] = [
        ("ok", &|out| out.ok(), b"+OK\r\n"),
        ("integer", &|out| out.integer(black_box(-1_234_567)), b":-1234567\r\n"),
        ("bulk32", &|out| out.bulk(black_box(&VALUE)), &short_reply),
        ("bulk4096", &|out| out.bulk(black_box(&long)), &long_reply),
        ("null", &|out| out.null(), b"$-1\r\n"),
        ("error", &|out| out.error(black_box("ERR syntax error")), b"-ERR syntax error\r\n"),
    ];
    let mut group = c.benchmark_group("resp/encode");
    group.throughput(Throughput::Elements(1));
    for (name, write, expected) in cases {
        sink.pass(write, |bytes| assert_eq!(bytes, expected, "{name}"));
        group.bench_function(name, |b| b.iter(|| sink.pass(write, |bytes| _ = black_box(bytes.len()))));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::criterion();
    targets = decode, pieces, encode
}
criterion_main!(benches);
