//! The ring buffer of a connection.
//!
//! | bench | what one element is |
//! |---|---|
//! | `ring/write_consume/LEN` | LEN bytes appended and consumed, the ring never empty, so that it wraps around |
//! | `ring/straighten/LEN` | a ring with LEN bytes around its end made contiguous |
//! | `ring/attach_release` | a buffer taken from the arena and given back, as every request does |
//!
//! `cargo bench --bench ring`

mod common;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pannier::buffer::arena::Arena;
use pannier::buffer::ring::Ring;
use pannier::limits::{MIB, RING_BYTES};
use std::collections::VecDeque;
use std::hint::black_box;

fn write_consume(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/write_consume");
    group.throughput(Throughput::Elements(1));
    for len in [16_usize, 256, 4096] {
        let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut arena = Arena::new(MIB);
        let mut ring = Ring::new();
        assert!(ring.attach(&mut arena) && ring.write(&mut arena, b"before"));
        // As many rounds as it takes to come around the end more than once: what comes out is what went in.
        let mut model: VecDeque<u8> = b"before".iter().copied().collect();
        for _ in 0..3 * RING_BYTES / len {
            assert!(ring.write(&mut arena, &bytes));
            model.extend(&bytes);
            let (first, second) = ring.readable_parts(&arena);
            assert!(first.iter().chain(second).eq(&model));
            ring.consume(len);
            model.drain(..len);
            ring.invariants();
        }
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| {
                assert!(ring.write(&mut arena, black_box(&bytes)));
                black_box(ring.readable_parts(&arena).0.first());
                ring.consume(len);
            });
        });
        ring.release(&mut arena);
    }
    group.finish();
}

fn straighten(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/straighten");
    group.throughput(Throughput::Elements(1));
    for len in [256_usize, 4096] {
        let mut arena = Arena::new(MIB);
        let mut ring = Ring::new();
        assert!(ring.attach(&mut arena));
        let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let around = |ring: &mut Ring, arena: &mut Arena| {
            // Positions alone: half of the bytes come to lie before the end, half behind it.
            ring.commit(RING_BYTES - len / 2);
            ring.consume(RING_BYTES - len / 2 - 1);
            assert!(ring.write(arena, &bytes));
        };
        around(&mut ring, &mut arena);
        assert!(!ring.is_straight());
        ring.straighten(&mut arena);
        assert_eq!(ring.readable(&arena)[1..], bytes);
        ring.consume(len + 1);
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| {
                around(&mut ring, &mut arena);
                ring.straighten(&mut arena);
                black_box(ring.readable(&arena).len());
                ring.consume(len + 1);
            });
        });
        ring.release(&mut arena);
    }
    group.finish();
}

fn attach_release(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring");
    group.throughput(Throughput::Elements(1));
    let mut arena = Arena::new(MIB);
    let mut ring = Ring::new();
    assert!(ring.attach(&mut arena));
    assert_eq!((ring.capacity(), arena.used()), (RING_BYTES, RING_BYTES));
    ring.release(&mut arena);
    assert_eq!(arena.used(), 0);
    group.bench_function("attach_release", |b| {
        b.iter(|| {
            assert!(ring.attach(&mut arena));
            black_box(ring.writable(&mut arena).first());
            ring.release(&mut arena);
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::criterion();
    targets = write_consume, straighten, attach_release
}
criterion_main!(benches);
