//! Figures of the store alone: memory for each item, slowest insert, rates by fill, hit ratio of the cache,
//! resident memory against the limit; fields of hashes.
//!
//! `cargo bench --bench store_figures -- [bytes] [pauses] [fill] [hits] [resident] [fields]`; without names all run; `--test` makes everything small.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod fields;

use pannier::limits::MIB;
use pannier::mutation::{Database, Mutation, NewValue};
use pannier::store::{OnFull, Store, StoreConfig};
use pannier::time::Millis;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

const DB: Database = Database(0);
const NOW: Millis = Millis(1_700_000_000_000);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let small = arguments.iter().any(|argument| argument == "--test");
    let names: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|name| !name.starts_with("--")).collect();
    let wanted = |name| names.is_empty() || names.contains(&name);
    if wanted("bytes") {
        bytes_for_each_item(if small { 20_000 } else { 1_000_000 });
    }
    if wanted("pauses") {
        slowest_insert(if small { 20_000 } else { 10_000_000 });
    }
    if wanted("fill") {
        rate_by_fill(if small { 8 } else { 256 });
    }
    if wanted("hits") {
        hit_ratio(if small { 50_000 } else { 3_000_000 });
    }
    if wanted("resident") {
        resident_memory(if small { 8 } else { 256 });
    }
    if wanted("fields") {
        let (hashes, fields) = if small { (1000, 5000) } else { (50_000, 1_000_000) };
        fields::bytes_for_each_field(hashes, fields);
        fields::slowest_operations(fields);
    }
}

fn store(memory_bytes: usize, on_full: OnFull) -> Store {
    let config = StoreConfig { memory_bytes, on_full, ..StoreConfig::default() };
    Store::new(config, [1, 2]).expect("enough memory")
}

/// A small generator of even quality (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A key of 16 bytes.
fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let (mut rest, mut at) = (number, 16);
    while rest > 0 {
        at -= 1;
        key[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn put(store: &mut Store, number: u64, value: &[u8], expiry: Option<Millis>) -> bool {
    let mutation = Mutation::Put { db: DB, key: &key(number), value: NewValue::Bytes(value), expiry };
    store.apply(&mutation, NOW).is_ok()
}

/// Memory for each item of 16 + 32 bytes at sixteen populations, an octave in all: what the index costs depends on it.
fn bytes_for_each_item(base: u64) {
    println!("items      bytes/item  with TTL");
    for step in 0..16 {
        let count = (base as f64 * 2_f64.powf(f64::from(step) / 16.0)) as u64;
        let cost = |expiry: Option<Millis>| {
            let mut store = store(count as usize * 100 + 8 * MIB, OnFull::Refuse);
            assert!((0..count).all(|number| put(&mut store, number, &[7; 32], expiry)));
            assert_eq!(store.len(DB), count);
            let memory = store.memory();
            let rows = memory.touched / 1500;
            (memory.touched + rows) as f64 / count as f64
        };
        println!("{count:<10} {:<11.1} {:.1}", cost(None), cost(Some(NOW.plus(1_000_000))));
    }
}

/// The slowest of many inserts: the least over five runs for each insert, so that the machine's own pauses drop out.
fn slowest_insert(count: usize) {
    let mut least = vec![u32::MAX; count];
    let mut total = f64::MAX;
    for _ in 0..5 {
        let mut store = store(count * 90 + 16 * MIB, OnFull::Refuse);
        let begin = Instant::now();
        for (number, least) in least.iter_mut().enumerate() {
            let key = key(number as u64);
            let mutation =
                Mutation::Put { db: DB, key: &key, value: NewValue::Bytes(&[7; 32]), expiry: None };
            let begin = Instant::now();
            let applied = store.apply(&mutation, NOW);
            *least = (*least).min(begin.elapsed().as_nanos() as u32);
            assert!(applied.is_ok());
        }
        total = total.min(begin.elapsed().as_secs_f64());
        assert_eq!(store.len(DB), count as u64);
    }
    least.sort_unstable();
    let at = |share: f64| least[((count - 1) as f64 * share) as usize];
    println!(
        "{count} inserts: slowest {} ns, 99.99 % {} ns, median {} ns, mean {:.0} ns",
        at(1.0),
        at(0.9999),
        at(0.5),
        total * 1e9 / count as f64
    );
}

/// Uniform overwrites of other sizes, half full and at 90 % of what fits.
fn rate_by_fill(mebibytes: usize) {
    let mut rates = Vec::new();
    for fill in [50, 90] {
        let mut store = store(mebibytes * MIB, OnFull::Refuse);
        let mut random = Random(3);
        let value = [7; 200];
        let mut keys = 0;
        while store.memory().used() * 100 < store.memory().limit * fill * 9 / 10 {
            assert!(put(&mut store, keys, &value[..(random.next() % 200) as usize], None));
            keys += 1;
        }
        // The time of the slowest one says more about the machine; the bytes that it had to move are the store's doing.
        let mut run = |count: u64| {
            let mut most = 0;
            for _ in 0..count {
                let before = store.statistics().cleaned_bytes;
                let len = (random.next() % 200) as usize;
                assert!(put(&mut store, random.next() % keys, &value[..len], None));
                most = most.max(store.statistics().cleaned_bytes - before);
            }
            most
        };
        run(keys * 2);
        let begin = Instant::now();
        let most = run(keys * 2);
        let rate = keys as f64 * 2.0 / begin.elapsed().as_secs_f64();
        rates.push(rate);
        let moved = store.statistics().cleaned_bytes as f64 / (keys as f64 * 4.0);
        println!(
            "{fill} % of the limit: {rate:.0} overwrites/s, {moved:.0} bytes moved for each, {most} at most"
        );
    }
    println!("ratio {:.2}", rates[1] / rates[0]);
}

/// Resident memory of this process, in bytes.
fn resident_bytes() -> i64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<i64>().ok()).expect("pages") * 4096
}

/// What a store takes that was filled in every way in turn, beside what it was allowed.
fn resident_memory(mebibytes: usize) {
    let before = resident_bytes();
    let mut store = store(mebibytes * MIB, OnFull::Refuse);
    println!("idle: {} KiB", (resident_bytes() - before) / 1024);
    let value = vec![7; 3 * MIB];
    for len in [32, 1000, 9000, 70_000, 3 * MIB, 0] {
        for db in 0..16 {
            let (mut number, limit) = (0, store.memory().limit * (db + 1) / 16);
            while store.memory().used() < limit {
                let put = NewValue::Bytes(&value[..len]);
                let mutation =
                    Mutation::Put { db: Database(db as u8), key: &key(number), value: put, expiry: None };
                if store.apply(&mutation, NOW).is_err() {
                    break;
                }
                number += 1;
            }
        }
        let resident = resident_bytes() - before;
        let share = resident as f64 / (mebibytes * MIB) as f64;
        println!("full of values of {len} bytes: {} KiB, {:.3} of the limit", resident / 1024, share);
        store.apply(&Mutation::Flush { db: None }, NOW).expect("a flush is never refused");
    }
}

/// Requests by Zipf's law over a set of keys, and runs of keys that are asked for once.
fn trace(count: usize, alpha: f64, scans: f64) -> Vec<u64> {
    let keys = count / 10;
    let mut sum = 0.0;
    let weights = (1..=keys).map(|rank| 1.0 / (rank as f64).powf(alpha));
    let cumulative: Vec<f64> = weights.map(|weight| (sum += weight, sum).1).collect();
    let (mut random, mut once, mut run) = (Random(5), 1 << 32, 0);
    let mut trace = Vec::with_capacity(count);
    for _ in 0..count {
        if run == 0 && random.unit() < scans / 1000.0 {
            run = 1000;
        }
        if run > 0 {
            (run, once) = (run - 1, once + 1);
            trace.push(once);
        } else {
            let at = random.unit() * sum;
            trace.push(cumulative.partition_point(|weight| *weight < at) as u64);
        }
    }
    trace
}

fn hit_ratio(count: usize) {
    println!("alpha scans items   store   LRU     S3-FIFO Belady   most evicted by one change");
    for (alpha, scans) in [(0.8, 0.0), (0.8, 0.2), (1.0, 0.0), (1.0, 0.2), (1.1, 0.0), (1.1, 0.2)] {
        let trace = trace(count, alpha, scans);
        let mut store = store(4 * MIB + count, OnFull::Evict);
        let (mut hits, mut most) = (0, 0);
        for number in &trace {
            let before = store.statistics().evicted;
            let found = store.get(DB, &key(*number), NOW).is_some();
            hits += usize::from(found);
            assert!(found || put(&mut store, *number, &[7; 100], None));
            most = most.max(store.statistics().evicted - before);
        }
        let items = store.len(DB) as usize;
        let share = |hits: usize| hits as f64 / trace.len() as f64;
        println!(
            "{alpha:<5} {scans:<5} {items:<7} {:.4}  {:.4}  {:.4}  {:.4}   {most}",
            share(hits),
            share(lru(&trace, items)),
            share(s3_fifo(&trace, items)),
            share(belady(&trace, items))
        );
    }
}

fn lru(trace: &[u64], items: usize) -> usize {
    let (mut used, mut order, mut hits) = (HashMap::new(), BTreeSet::new(), 0);
    for (at, number) in trace.iter().enumerate() {
        if let Some(before) = used.insert(*number, at) {
            order.remove(&(before, *number));
            hits += 1;
        } else if used.len() > items
            && let Some((_, oldest)) = order.pop_first()
        {
            used.remove(&oldest);
        }
        order.insert((at, *number));
    }
    hits
}

/// As published: a small queue of a tenth, a main queue, and a ghost queue as long as the main one.
fn s3_fifo(trace: &[u64], items: usize) -> usize {
    let mut uses: HashMap<u64, u8> = HashMap::new();
    let (mut small, mut main) = (VecDeque::new(), VecDeque::new());
    let (mut ghost, mut ghosts): (VecDeque<u64>, HashMap<u64, u32>) = (VecDeque::new(), HashMap::new());
    let mut hits = 0;
    for number in trace {
        if let Some(uses) = uses.get_mut(number) {
            *uses = (*uses + 1).min(3);
            hits += 1;
            continue;
        }
        while small.len() + main.len() >= items {
            if small.len() * 10 >= items || main.is_empty() {
                let Some(oldest) = small.pop_front() else { break };
                if uses[&oldest] > 1 {
                    uses.insert(oldest, 0);
                    main.push_back(oldest);
                    continue;
                }
                uses.remove(&oldest);
                ghost.push_back(oldest);
                *ghosts.entry(oldest).or_insert(0) += 1;
                if ghost.len() > items * 9 / 10
                    && let Some(last) = ghost.pop_front()
                {
                    let count = ghosts.get_mut(&last).expect("counted");
                    *count -= 1;
                    if *count == 0 {
                        ghosts.remove(&last);
                    }
                }
            } else if let Some(oldest) = main.pop_front() {
                match uses[&oldest] {
                    0 => drop(uses.remove(&oldest)),
                    count => {
                        uses.insert(oldest, count - 1);
                        main.push_back(oldest);
                    }
                }
            }
        }
        uses.insert(*number, 0);
        if ghosts.contains_key(number) { main.push_back(*number) } else { small.push_back(*number) }
    }
    hits
}

/// The best that can be, by one who knows the future: what is needed last goes.
fn belady(trace: &[u64], items: usize) -> usize {
    let mut next_use = vec![usize::MAX; trace.len()];
    let mut seen = HashMap::new();
    for (at, number) in trace.iter().enumerate().rev() {
        next_use[at] = seen.insert(*number, at).unwrap_or(usize::MAX - *number as usize);
    }
    let (mut held, mut order, mut hits) = (HashMap::new(), BTreeSet::new(), 0);
    for (at, number) in trace.iter().enumerate() {
        if let Some(due) = held.remove(number) {
            order.remove(&(due, *number));
            hits += 1;
        }
        held.insert(*number, next_use[at]);
        order.insert((next_use[at], *number));
        if held.len() > items
            && let Some((_, last)) = order.pop_last()
        {
            held.remove(&last);
        }
    }
    hits
}
