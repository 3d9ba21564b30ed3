use super::entry::{position, spread};
use super::*;
use crate::store::pool::Pool;
use std::collections::{HashMap, HashSet};

/// A small generator, so that the tests need nothing and always do the same.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed(self.0)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

/// Databases over one pool, fed with segments as a store does.
struct World {
    pool: Pool,
    leaves: Leaves,
    indexes: Vec<Index>,
}

impl World {
    fn new(segment_bytes: usize, segments: u32, leaf_buckets: usize, databases: usize) -> World {
        let pool = Pool::new(segment_bytes, segments, leaf_buckets);
        let leaves = Leaves::new(pool.leaf_allocator(), leaf_buckets);
        let indexes = (0..databases).map(|_| Index::new(&leaves)).collect();
        World { pool, leaves, indexes }
    }

    fn supply(&mut self) {
        while self.leaves.needs_blocks() {
            let Some(segment) = self.pool.take() else { return };
            self.pool.give_to_leaves(segment);
        }
    }

    fn insert(&mut self, db: usize, key: u64) -> Result<(), NoRoom> {
        self.supply();
        self.indexes[db].insert(&mut self.leaves, mixed(key), at(key))
    }

    fn remove(&mut self, db: usize, key: u64) -> bool {
        self.indexes[db].remove(&mut self.leaves, mixed(key), at(key))
    }

    fn has(&self, db: usize, key: u64) -> bool {
        self.indexes[db].find(&self.leaves, mixed(key), |address| address == at(key)).is_some()
    }

    fn reclaim(&mut self) {
        self.leaves.compact_step(4);
        while self.pool.reclaim_from_leaves(3).is_some() {}
    }

    fn check(&self) {
        self.leaves.invariants(self.indexes.iter());
        self.pool.invariants();
    }

    fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<Address>) {
        let mut shown = Vec::new();
        let next = self.indexes[0].scan(&self.leaves, cursor, count, |address| shown.push(address));
        (next, shown)
    }
}

fn at(key: u64) -> Address {
    Address::from_offset(key * 4)
}

#[test]
fn agrees_with_a_map() {
    let mut world = World::new(1024, 4000, 16, 3);
    let mut models = vec![HashMap::<u64, (u64, u8)>::new(); 3];
    let mut random = Random(1);
    let mut highest = 0;
    for step in 0..400_000_u64 {
        // Growing and shrinking by turns.
        let growing = step / 50_000 % 2 == 0;
        let db = random.below(3) as usize;
        let key = random.below(8_000);
        let hash = mixed(key);
        let (model, index) = (&mut models[db], &mut world.indexes[db]);
        let known = model.get(&key).copied();
        let is = |address: Address| known.is_some_and(|(value, _)| address == at(value));
        assert_eq!(index.find(&world.leaves, hash, is), known.map(|(value, _)| at(value)));
        match (random.below(10), known) {
            (0, _) if step % 5_000 == 0 => {
                index.clear(&mut world.leaves);
                model.clear();
            }
            (0, Some((value, _))) => {
                let new = 10_000 + random.below(1 << 30);
                assert!(index.replace(&mut world.leaves, hash, at(value), at(new)));
                model.get_mut(&key).unwrap().0 = new;
            }
            (1, Some((value, count))) => {
                let is = |address| address == at(value);
                assert_eq!(index.find_and_count(&mut world.leaves, hash, is), Some(at(value)));
                model.get_mut(&key).unwrap().1 = FREQUENCY_MAX.min(count + 1);
            }
            (2, Some((value, count))) => {
                assert_eq!(index.frequency(&world.leaves, hash, at(value)), Some(count));
                assert!(index.set_frequency(&mut world.leaves, hash, at(value), 2));
                model.get_mut(&key).unwrap().1 = 2;
            }
            (choice, Some((value, _))) if !growing || choice == 3 => {
                assert!(index.remove(&mut world.leaves, hash, at(value)));
                model.remove(&key);
            }
            (_, None) if growing || step % 32 == 0 => {
                assert!(!index.remove(&mut world.leaves, hash, at(key)));
                world.supply();
                world.indexes[db].insert(&mut world.leaves, hash, at(key)).unwrap();
                models[db].insert(key, (key, 0));
            }
            _ => {}
        }
        if step % 16 == 0 {
            world.leaves.drain_pending_free(1, |_| {});
            world.reclaim();
        }
        if step % 2_000 == 0 {
            world.indexes.swap(0, 1);
            models.swap(0, 1);
            world.check();
        }
        for (index, model) in world.indexes.iter().zip(&models) {
            assert_eq!(index.len(), model.len() as u64);
        }
        highest = highest.max(world.leaves.leaf_count());
    }
    assert!(highest > 600, "leaves split: {highest}");
    let left = world.leaves.leaf_count();
    assert!(left * 2 < highest, "leaves were merged: {left} of {highest}");
}

#[test]
fn memory_comes_back_when_keys_go() {
    let mut world = World::new(1024, 4000, 16, 1);
    (0..20_000).for_each(|key| world.insert(0, key).unwrap());
    let segments = |world: &World| world.pool.segment_count() - world.pool.free_count();
    let full = segments(&world);
    for key in 0..20_000 {
        assert!(world.remove(0, key));
        world.reclaim();
        if key % 1000 == 0 {
            world.check();
        }
        if key == 18_000 {
            assert!(segments(&world) * 3 < full, "{} of {full}", segments(&world));
        }
    }
    world.check();
    assert_eq!(world.leaves.leaf_count(), 0);
    assert!(segments(&world) <= 2);
    assert_eq!(world.indexes[0].directory_bytes(), SHARDS * 4);
}

#[test]
fn churn_at_constant_population_needs_no_more_leaves() {
    let mut world = World::new(64 * 1024, 40, 512, 1);
    (0..30_000).for_each(|key| world.insert(0, key).unwrap());
    let before = world.leaves.leaf_count();
    for key in 30_000..330_000 {
        assert!(world.remove(0, key - 30_000));
        world.insert(0, key).unwrap();
    }
    world.check();
    assert!(world.leaves.leaf_count() <= before * 3 / 2, "{} from {before}", world.leaves.leaf_count());
    assert!((300_000..330_000).all(|key| world.has(0, key)));
}

#[test]
fn scan_shows_every_lasting_key_once_while_others_come_and_go() {
    let mut world = World::new(1024, 4000, 16, 1);
    let mut random = Random(3);
    (0..2_000).for_each(|key| world.insert(0, key).unwrap());
    for round in 0..6 {
        let (mut seen, mut cursor, mut next_key) = (HashMap::new(), 0, 2_000);
        loop {
            let (next, shown) = world.scan(cursor, 1 + random.below(30) as usize);
            shown.iter().for_each(|address| *seen.entry(*address).or_insert(0) += 1);
            // Growth in even rounds, shrinking in odd ones.
            for _ in 0..50 {
                if round % 2 == 0 {
                    world.insert(0, next_key).unwrap();
                    next_key += 1;
                } else {
                    world.remove(0, 2_000 + random.below(8_000));
                }
            }
            if next == 0 {
                break;
            }
            assert!(next > cursor);
            cursor = next;
        }
        assert!((0..2_000).all(|key| seen.get(&at(key)) == Some(&1)));
        assert!(seen.values().all(|count| *count == 1));
        world.check();
        if round % 2 == 1 {
            (2_000..60_000).for_each(|key| _ = world.remove(0, key));
        }
    }
}

#[test]
fn scan_keeps_to_its_count_and_takes_any_cursor() {
    let mut world = World::new(64 * 1024, 40, 512, 1);
    assert_eq!(world.scan(0, 10), (0, vec![]));
    (0..5_000).for_each(|key| world.insert(0, key).unwrap());
    let (mut cursor, mut total) = (0, 0);
    loop {
        let (next, shown) = world.scan(cursor, 10);
        // Two keys in one of 2^26 places are rare, three unheard of here.
        assert!(shown.len() <= 11);
        total += shown.len();
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(total, 5_000);
    assert_eq!(world.scan(0, usize::MAX / 2).1.len(), 5_000);
    for cursor in [u64::MAX, 1 << 29, (1 << 29) - 1, 1 << 26, u64::MAX / 3] {
        world.scan(cursor, 3);
    }
}

#[test]
fn keys_in_one_place_are_shown_together() {
    let mut world = World::new(1024, 40, 16, 1);
    for key in 0..10 {
        world.supply();
        // Equal in shard and kept bits.
        world.indexes[0].insert(&mut world.leaves, key << 40, at(key)).unwrap();
    }
    let (cursor, shown) = world.scan(0, 3);
    assert_eq!((shown.len(), cursor), (10, 1 << 26));
    assert_eq!(world.scan(cursor, 3).1.len(), 0);
}

#[test]
fn more_equal_hashes_than_a_leaf_holds_are_refused() {
    let mut world = World::new(1024, 40, 16, 1);
    let mut refused = 0;
    for key in 0..40 {
        world.supply();
        refused += u32::from(world.indexes[0].insert(&mut world.leaves, 5, at(key)).is_err());
    }
    assert_eq!((refused, world.indexes[0].len(), world.leaves.leaf_count()), (26, 14, 1));
    world.check();
    // Nearly equal ones are kept apart at the last bit, if at all: a bounded number of splits and then a refusal.
    let last = 5 | 1 << (HASH_BITS - 1);
    world.supply();
    assert_eq!(world.indexes[0].insert(&mut world.leaves, last, at(99)), Err(NoRoom));
    world.check();
}

#[test]
fn an_insert_without_blocks_is_refused_and_changes_nothing() {
    let mut world = World::new(1024, 4, 16, 2);
    assert_eq!(world.indexes[0].insert(&mut world.leaves, 1, at(1)), Err(NoRoom));
    let mut held = HashSet::new();
    for key in 0..2_000 {
        if world.insert(0, key).is_ok() {
            held.insert(key);
        }
    }
    assert!(held.len() > 100 && held.len() <= 4 * 5 * 14);
    assert_eq!(world.indexes[0].len(), held.len() as u64);
    assert!((0..2_000).all(|key| world.has(0, key) == held.contains(&key)));
    assert_eq!(world.insert(1, 7), Err(NoRoom));
    world.check();
    // Room is made by removing, and by nothing else.
    held.drain().for_each(|key| assert!(world.remove(0, key)));
    world.check();
    assert_eq!(world.leaves.leaf_count(), 0);
    world.insert(1, 7).unwrap();
}

#[test]
fn a_cleared_database_is_drained_in_steps() {
    let mut world = World::new(1024, 400, 16, 2);
    (0..3_000).for_each(|key| world.insert(0, key).unwrap());
    (0..500).for_each(|key| world.insert(1, key).unwrap());
    let (free, used) = (world.leaves.free_blocks(), world.leaves.leaf_count());
    assert!(!world.leaves.has_pending_free());
    world.indexes[0].clear(&mut world.leaves);
    world.indexes[1].clear(&mut world.leaves);
    (3_000..3_100).for_each(|key| world.insert(0, key).unwrap());
    world.check();
    let mut seen = HashMap::new();
    let mut steps = 0;
    while world.leaves.drain_pending_free(4, |address| *seen.entry(address).or_insert(0) += 1) {
        steps += 1;
        assert!(world.leaves.has_pending_free());
        // Compaction may meet leaves that wait to be freed.
        world.reclaim();
        world.check();
    }
    assert!(steps > 50);
    assert!((0..3_000).all(|key| seen[&at(key)] == 1 + u32::from(key < 500)));
    assert!((3_000..3_100).all(|key| world.has(0, key)));
    world.indexes[0].clear(&mut world.leaves);
    while world.leaves.drain_pending_free(1, |_| {}) {}
    assert_eq!(world.leaves.leaf_count(), 0);
    assert!(world.leaves.free_blocks() <= free + used);
    world.check();
}

#[test]
fn random_finds_whatever_is_there() {
    let mut world = World::new(1024, 4000, 16, 1);
    assert_eq!(world.indexes[0].random(&world.leaves, 1), None);
    world.insert(0, 5).unwrap();
    let mut random = Random(9);
    for _ in 0..100 {
        assert_eq!(world.indexes[0].random(&world.leaves, random.next()), Some(at(5)));
    }
    (10..110).for_each(|key| world.insert(0, key).unwrap());
    let mut seen = HashMap::new();
    for _ in 0..20_200 {
        *seen.entry(world.indexes[0].random(&world.leaves, random.next()).unwrap()).or_insert(0) += 1;
    }
    // 200 each on average; where few keys share a leaf they differ in likelihood.
    assert_eq!(seen.len(), 101);
    assert!(seen.values().all(|count| (20..1_200).contains(count)), "{seen:?}");
    // Most keys gone: empty leaves are passed over.
    (0..4_000).filter(|key| *key > 110).for_each(|key| world.insert(0, key).unwrap());
    (0..4_000).filter(|key| *key != 2_000).for_each(|key| _ = world.remove(0, key));
    for _ in 0..100 {
        assert_eq!(world.indexes[0].random(&world.leaves, random.next()), Some(at(2_000)));
    }
}

#[test]
fn memory_for_each_key_is_nearly_smooth_over_a_doubling() {
    let mut world = World::new(64 * 1024, 200, 512, 1);
    let (mut least, mut most) = (f64::MAX, 0.0_f64);
    for key in 0..400_000 {
        world.insert(0, key).unwrap();
        if key >= 100_000 && key % 1_000 == 0 {
            let used = world.indexes[0].leaf_bytes(&world.leaves) + world.indexes[0].directory_bytes();
            let each = used as f64 / (key + 1) as f64;
            (least, most) = (least.min(each), most.max(each));
        }
    }
    println!("{least:.2} to {most:.2} bytes for each key");
    assert!(most < 16.5 && most / least < 1.12, "{least} to {most}");
}

#[test]
fn the_shards_share_all_hashes_and_positions_are_ranges() {
    let widths = SHARD_WIDTHS.map(usize::from);
    assert_eq!(widths.iter().sum::<usize>(), 256);
    assert!(SHARD_OF.is_sorted());
    for (i, width) in widths.iter().enumerate() {
        let ideal = 256.0 / 11.0487 * 2_f64.powf(i as f64 / 8.0);
        assert!((*width as f64 - ideal).abs() < 0.6, "shard {i}: {width}, {ideal}");
    }
    // A leaf of depth 3 and prefix 0b011 covers one range of places.
    let places = (0..64_u32).map(|high| position(high << 20 | 0b011));
    assert!(places.clone().all(|place| place >> 23 == 0b110) && places.count() == 64);
}

/// When leaves split, merge and move, and directories double and halve, is internal but shows here: leaves,
/// bytes of directories, and segments that hold leaves, after every two thousand inserts and then every two thousand
/// removals.
#[test]
fn leaves_and_directories_are_as_many_as_they_were() {
    let mut world = World::new(1024, 4000, 32, 1);
    let mut figures = Vec::new();
    for step in 0..24_000_u64 {
        if step < 12_000 {
            world.insert(0, step).unwrap();
        } else {
            assert!(world.remove(0, step - 12_000));
        }
        world.reclaim();
        if step % 2000 == 1999 {
            world.check();
            assert_eq!(world.indexes[0].is_empty(), step == 23_999);
            let segments = world.pool.segment_count() - world.pool.free_count();
            figures.push((world.leaves.leaf_count(), world.indexes[0].directory_bytes(), segments));
        }
    }
    let expected = [
        (103, 704, 36),
        (203, 1408, 69),
        (311, 2304, 105),
        (407, 2816, 137),
        (520, 3696, 175),
        (615, 4608, 206),
        (615, 4608, 206),
        (615, 4608, 206),
        (600, 4608, 201),
        (467, 4608, 157),
        (235, 2560, 80),
        (0, 32, 1),
    ];
    assert_eq!(figures, expected);
}

/// The half that is left when one of two leaves runs empty is too full for a merge.
#[test]
fn random_passes_over_an_empty_leaf_and_finds_every_key() {
    let mut world = World::new(64 * 1024, 40, 512, 1);
    (0..4000).for_each(|key| world.insert(0, key).unwrap());
    (0..4000).filter(|key| mixed(*key) & 1 == 1).for_each(|key| assert!(world.remove(0, key)));
    world.check();
    let (mut random, mut seen) = (Random(4), HashSet::new());
    for _ in 0..60_000 {
        seen.insert(world.indexes[0].random(&world.leaves, random.next()).unwrap());
    }
    assert_eq!(seen.len() as u64, world.indexes[0].len());
}

/// A removal from a leaf of the usual size leaves a tombstone where its neighbourhood is full.
#[test]
fn leaves_full_of_tombstones_are_merged() {
    let mut world = World::new(64 * 1024, 12, 512, 1);
    for round in 0..3 {
        (0..30_000).for_each(|key| world.insert(0, key).unwrap());
        for key in 30_000..60_000 {
            assert!(world.remove(0, key - 30_000));
            world.insert(0, key).unwrap();
        }
        let before = world.leaves.leaf_count();
        for key in (30_000..60_000).filter(|key| (key + round) % 9 > 0) {
            assert!(world.remove(0, key));
        }
        world.reclaim();
        world.check();
        assert!(world.leaves.leaf_count() <= before / 2);
        (30_000..60_000).for_each(|key| _ = world.remove(0, key));
        world.check();
        assert_eq!(world.leaves.leaf_count(), 0);
    }
}

/// Hashes that no client can choose put every entry beside another, so that each removal leaves a tombstone.
#[test]
fn a_leaf_of_tombstones_takes_its_buddy_in() {
    for moved in [1, 50] {
        let mut world = World::new(64 * 1024, 1, 512, 1);
        world.supply();
        let leaves = &mut world.leaves;
        let (id, buddy) = (leaves.create(0, 1, 0).unwrap(), leaves.create(0, 1, 1).unwrap());
        let mut by_bucket = [None; 512];
        for hash in (0..1 << 20).step_by(2) {
            by_bucket[spread(hash) as usize % 512].get_or_insert(hash);
        }
        let entry = |n: usize| Entry::new(at(n as u64), by_bucket[n].expect("many are tried"), 0);
        (0..448).for_each(|n| leaves.get_mut(id).insert(entry(n)));
        for n in (0..448).filter(|n| !(200..260).contains(n)) {
            assert!(leaves.get_mut(id).remove(entry(n).hash(), at(n as u64)));
        }
        assert_eq!((leaves.get(id).len(), leaves.get(id).has_room()), (60, false));
        (0..moved).for_each(|n| leaves.get_mut(buddy).insert(Entry::new(at(n), 1 | (n as u32) << 1, 0)));
        leaves.join(id, buddy);
        let leaf = leaves.get(id);
        assert_eq!((leaf.len(), leaf.depth), (60 + moved as usize, 0));
        assert!((200..260).all(|n| leaf.find(entry(n).hash(), |_| true) == Some(entry(n))));
        assert!((0..moved).all(|n| leaf.find(1 | (n as u32) << 1, |_| true).is_some()));
    }
}
