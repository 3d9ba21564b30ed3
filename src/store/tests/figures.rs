//! What the store decides under load, as a table in the repository: how many keys stay, how often they are found, what
//! cleaning and eviction move, where the memory goes. None of it is a promise. A change of policy, or a slip in one,
//! changes some of it, and shows as a difference to be read; `record` writes the table again.

use super::model::Random;
use crate::limits::{KIB, MIB};
use crate::mutation::{Database, Mutation, NewValue};
use crate::store::{MemoryUse, OnFull, Store, StoreConfig};
use crate::time::Millis;
use std::fmt::Write;

const FIGURES: &str = include_str!("figures.txt");
const DB: Database = Database(0);
/// Steps between two looks at the memory.
const SAMPLE: usize = 50;

/// One kind of load. The numbers of `mix` are shares of the steps.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    on_full: OnFull,
    memory_bytes: usize,
    segment_bytes: usize,
    keys: usize,
    steps: usize,
    /// Values in records, values of up to nine segments, appended bytes, reads, deletions, new times to live, copies.
    mix: [usize; 7],
    /// Times to live in ms, up to which; 0: none.
    ttl_ms: usize,
    /// Steps between two calls of `maintain`; 0: never.
    maintain: usize,
    /// Steps between two flushes; 0: never.
    flush: usize,
}

const PLAIN: Load = Load {
    name: "",
    on_full: OnFull::Refuse,
    memory_bytes: 512 * KIB,
    segment_bytes: 2048,
    keys: 3000,
    steps: 20_000,
    mix: [60, 0, 0, 30, 10, 0, 0],
    ttl_ms: 0,
    maintain: 0,
    flush: 0,
};
const CACHE: Load =
    Load { on_full: OnFull::Evict, memory_bytes: 320 * KIB, mix: [40, 0, 0, 60, 0, 0, 0], ..PLAIN };

const LOADS: [Load; 16] = [
    Load { name: "plain, half full", keys: 1500, ..PLAIN },
    Load { name: "plain, full", ..PLAIN },
    Load { name: "plain, full, maintained", maintain: 20, ..PLAIN },
    Load { name: "plain, expiring", ttl_ms: 3000, mix: [60, 0, 0, 20, 5, 15, 0], ..PLAIN },
    Load { name: "plain, expiring late, maintained", ttl_ms: 2_000_000, maintain: 20, ..PLAIN },
    Load { name: "plain, expiring, maintained", ttl_ms: 3000, maintain: 5, ..PLAIN },
    Load { name: "plain, large values", mix: [30, 20, 20, 10, 20, 0, 0], ..PLAIN },
    Load { name: "plain, flushed", mix: [60, 5, 5, 20, 10, 0, 0], flush: 4000, maintain: 50, ..PLAIN },
    Load {
        name: "plain, many small",
        keys: 200_000,
        memory_bytes: 2 * MIB,
        mix: [90, 0, 0, 0, 10, 0, 0],
        ..PLAIN
    },
    Load { name: "plain, copied", mix: [20, 0, 0, 10, 10, 0, 60], ..PLAIN },
    Load { name: "cache", ..CACHE },
    Load { name: "cache, everything in use", keys: 1800, mix: [10, 0, 0, 90, 0, 0, 0], ..CACHE },
    Load { name: "cache, expiring, maintained", ttl_ms: 6000, maintain: 10, ..CACHE },
    Load { name: "cache, much too small", keys: 30_000, memory_bytes: 256 * KIB, ..CACHE },
    Load { name: "cache, large values", mix: [20, 15, 15, 40, 10, 0, 0], ..CACHE },
    Load {
        name: "cache, usual segments",
        segment_bytes: 64 * KIB,
        memory_bytes: 3 * MIB,
        keys: 80_000,
        steps: 60_000,
        ..CACHE
    },
];

/// Keys that are often asked for, and a long tail of others.
fn key(random: &mut Random, keys: usize) -> [u8; 8] {
    let among = 1 + random.below(keys);
    (random.below(among) as u64).to_be_bytes()
}

fn run(load: &Load, random: &mut Random) -> String {
    let config = StoreConfig {
        memory_bytes: load.memory_bytes,
        databases: 2,
        on_full: load.on_full,
        segment_bytes: load.segment_bytes,
        leaf_buckets: if load.segment_bytes > 4096 { 512 } else { 32 },
        max_value_bytes: 10 * load.segment_bytes as u64,
        ..StoreConfig::default()
    };
    let mut store = Store::new(config, [5, 6]).unwrap();
    let (mut now, mut asked, mut found, mut refused) = (Millis(1_000_000), 0, 0, 0);
    let (mut sum, mut due_sum, mut samples) = (MemoryUse::default(), 0, 0);
    let bytes = vec![7; 9 * load.segment_bytes];
    for step in 0..load.steps {
        let key = key(random, load.keys);
        let expiry = (load.ttl_ms > 0).then(|| now.plus(random.below(load.ttl_ms) as u64));
        let short = &bytes[..random.below(load.segment_bytes.min(4096) / 8)];
        let long = &bytes[..random.below(bytes.len())];
        let mut ticket = random.below(load.mix.iter().sum());
        let kind = load.mix.iter().position(|share| {
            let chosen = ticket < *share;
            ticket = ticket.wrapping_sub(*share);
            chosen
        });
        let put = |value| Mutation::Put { db: DB, key: &key, value: NewValue::Bytes(value), expiry };
        let mutation = match kind.unwrap() {
            0 => put(short),
            1 => put(long),
            2 => {
                let offset = store.peek(DB, &key, now).map_or(0, |entry| entry.value.len());
                let len = offset as usize * 7 % 4000;
                Mutation::Write { db: DB, key: &key, offset, bytes: &bytes[..len] }
            }
            3 => {
                asked += 1;
                found += usize::from(store.get(DB, &key, now).is_some());
                continue;
            }
            4 => Mutation::Delete { db: DB, key: &key },
            5 => Mutation::SetExpiry { db: DB, key: &key, expiry },
            _ => Mutation::Copy { db: DB, from: &key, to_db: DB, to: &key.map(|byte| byte ^ 1) },
        };
        refused += usize::from(store.apply(&mutation, now).is_err());
        now = now.plus(1);
        if load.flush > 0 && step % load.flush == load.flush - 1 {
            store.apply(&Mutation::Flush { db: Some(DB) }, now).unwrap();
        }
        if load.maintain > 0 && step % load.maintain == 0 {
            store.maintain(now, 1);
        }
        if step % SAMPLE == 0 {
            let memory = store.memory();
            sum.live += memory.live;
            sum.dead += memory.dead;
            sum.tail += memory.tail;
            sum.free += memory.free;
            sum.index += memory.index;
            sum.large += memory.large;
            sum.large_free += memory.large_free;
            sum.touched += memory.touched;
            due_sum += store.next_expiry_hint().map_or(0, |due| due.since(now));
            samples += 1;
        }
    }
    store.invariants();
    let (done, mut text) = (store.statistics(), String::new());
    let mean = |sum: u64| sum / samples;
    writeln!(text, "{}", load.name).unwrap();
    writeln!(text, "  keys {}, found {found} of {asked}, refused {refused}", store.len(DB)).unwrap();
    writeln!(
        text,
        "  expired {}, evicted {}, kept {} B, cleaned {} segments and {} B",
        done.expired, done.evicted, done.kept_bytes, done.cleaned_segments, done.cleaned_bytes
    )
    .unwrap();
    let [live, dead, tail, free] = [sum.live, sum.dead, sum.tail, sum.free].map(mean);
    let [index, large, large_free, touched] = [sum.index, sum.large, sum.large_free, sum.touched].map(mean);
    writeln!(text, "  mean B: live {live}, dead {dead}, tail {tail}, free {free}, touched {touched}")
        .unwrap();
    let due = mean(due_sum);
    writeln!(text, "          index {index}, large {large} and {large_free} between; due in {due} ms")
        .unwrap();
    text
}

/// How a store divides its memory between segments and the tables beside them.
fn division() -> String {
    let mut text = String::new();
    for (memory_bytes, segment_bytes, leaf_buckets) in
        [(MIB, 1024, 16), (2 * MIB, 2048, 64), (4 * MIB, 64 * KIB, 512), (300 * MIB, 64 * KIB, 512)]
    {
        for databases in [1, 16] {
            let config = StoreConfig {
                memory_bytes,
                segment_bytes,
                leaf_buckets,
                databases,
                ..StoreConfig::default()
            };
            let least = Store::new(StoreConfig { memory_bytes: 0, ..config }, [5, 6]).err().unwrap();
            let memory = Store::new(config, [5, 6]).unwrap().memory();
            let (free, tables, least) = (memory.free, memory.reserved, least.needed_bytes);
            writeln!(text, "{memory_bytes} B, segments of {segment_bytes}, {databases} databases: {free} B in segments, {tables} B of tables; at least {least} B").unwrap();
        }
    }
    text
}

fn all() -> String {
    let mut random = Random(11);
    LOADS.iter().map(|load| run(load, &mut random)).chain([division()]).collect()
}

#[test]
fn the_store_decides_as_it_did() {
    let all = all();
    for (is, was) in all.lines().zip(FIGURES.lines()) {
        assert_eq!(is, was, "see the head of this file");
    }
    assert_eq!(all.len(), FIGURES.len());
}

#[test]
#[ignore = "writes the table that the test above compares with"]
fn record() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/tests/figures.txt");
    std::fs::write(path, all()).unwrap();
}
