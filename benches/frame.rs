//! Frames of the datagram protocol: sealed and opened.
//!
//! | bench | what one element is |
//! |---|---|
//! | `frame/seal/LEN` | a PUT with a value of LEN bytes written, checksum included |
//! | `frame/seal_tagged/LEN` | the same with the tag that proves a password |
//! | `frame/open/LEN` | such a frame checked and taken apart |
//! | `frame/open_tagged/LEN` | the same with its tag checked |
//!
//! `cargo bench --bench frame`

mod common;

use common::key;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pannier::limits::DATAGRAM_BYTES_MAX;
use pannier::wire::frame::{Direction, Head, Op, decode_datagram, encode};
use pannier::wire::tag::TagKeys;
use std::hint::black_box;

const CLIENT_ID: u64 = 7;
const EPOCH: u32 = 77;

fn frames(c: &mut Criterion) {
    let tag_key = TagKeys::from_password(b"a password").request;
    let (key, head) = (key(17), Head { epoch: EPOCH, ..Head::request(Op::Put, CLIENT_ID, 1) });
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Elements(1));
    for len in [32_usize, 1024] {
        let value = vec![b'v'; len];
        for (suffix, tag) in [("", None), ("_tagged", Some(&tag_key))] {
            let mut sealed = [0; DATAGRAM_BYTES_MAX];
            let frame_len = encode(&mut sealed, &head, &key, &value, tag).expect("room");
            let frame = decode_datagram(&sealed[..frame_len], Direction::Request).expect("a frame");
            assert_eq!((frame.key, frame.value), (&key[..], &value[..]));
            assert_eq!((frame.has_tag(), frame.tag_is_good(&tag_key)), (tag.is_some(), tag.is_some()));
            let mut damaged = sealed;
            damaged[frame_len / 2] ^= 1;
            assert!(decode_datagram(&damaged[..frame_len], Direction::Request).is_err());

            let mut out = [0; DATAGRAM_BYTES_MAX];
            group.bench_function(BenchmarkId::new(format!("seal{suffix}"), len), |b| {
                b.iter(|| encode(&mut out, black_box(&head), black_box(&key), black_box(&value), tag));
            });
            assert_eq!(out[..], sealed[..]);
            group.bench_function(BenchmarkId::new(format!("open{suffix}"), len), |b| {
                b.iter(|| {
                    let frame = decode_datagram(black_box(&sealed[..frame_len]), Direction::Request);
                    frame.is_ok_and(|frame| tag.is_none_or(|key| frame.tag_is_good(key)))
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::criterion();
    targets = frames
}
criterion_main!(benches);
