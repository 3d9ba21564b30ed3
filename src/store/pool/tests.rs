use super::*;

#[test]
fn segments_are_taken_written_and_given_back() {
    let mut pool = Pool::new(4096, 4, 16);
    let a = pool.take().unwrap();
    let b = pool.take().unwrap();
    assert_eq!((pool.free_count(), pool.touched_count(), pool.segment_count()), (2, 2, 4));
    assert!(pool.bytes(a).iter().all(|byte| *byte == 0));
    pool.bytes_mut(a).fill(7);
    let (from, to) = pool.pair_mut(a, b);
    to[..10].copy_from_slice(&from[..10]);
    assert_eq!(&pool.bytes(b)[8..12], &[7, 7, 0, 0]);
    pool.give_back(a);
    pool.invariants();
    // A touched segment comes before an untouched one.
    assert_eq!(pool.take(), Some(a));
    assert_eq!(pool.touched_count(), 2);
    assert!(pool.take().is_some() && pool.take().is_some() && pool.take().is_none());
    pool.invariants();
}

#[test]
fn leaf_blocks_are_counted_and_reclaimed() {
    let mut pool = Pool::new(4096, 3, 16);
    let allocator = pool.leaf_allocator();
    let layout = Layout::from_size_align(16 * 9 + 16, 16).unwrap();
    assert!(allocator.allocate(layout).is_err());
    let segment = pool.take().unwrap();
    pool.give_to_leaves(segment);
    let mut taken = Vec::new();
    while let Ok(block) = allocator.allocate(layout) {
        assert_eq!(block.len(), layout.size());
        taken.push(block.cast::<u8>());
        pool.invariants();
    }
    assert_eq!((taken.len(), pool.free_leaf_blocks()), (4096 / 192, 0));
    for block in taken {
        assert_eq!(pool.reclaim_from_leaves(0), None);
        // SAFETY: it was allocated by this allocator with this layout, and is given back once.
        unsafe { allocator.deallocate(block, layout) };
    }
    assert_eq!(pool.reclaim_from_leaves(1), None);
    assert_eq!(pool.reclaim_from_leaves(0), Some(segment));
    assert_eq!((pool.free_count(), pool.free_leaf_blocks()), (3, 0));
    pool.invariants();
}

#[test]
fn only_a_leaf_is_allocated() {
    let mut pool = Pool::new(4096, 1, 16);
    let segment = pool.take().unwrap();
    pool.give_to_leaves(segment);
    let allocator = pool.leaf_allocator();
    for bytes in [8, 80, 16 * 9 + 80, 4096] {
        assert!(allocator.allocate(Layout::from_size_align(bytes, 16).unwrap()).is_err());
    }
}

#[test]
#[should_panic = "is not Bytes"]
fn a_leaf_segment_has_no_bytes() {
    let mut pool = Pool::new(4096, 1, 16);
    let segment = pool.take().unwrap();
    pool.give_to_leaves(segment);
    pool.bytes(segment);
}

#[test]
#[should_panic = "is not Bytes"]
fn a_segment_is_given_back_once() {
    let mut pool = Pool::new(4096, 1, 16);
    let segment = pool.take().unwrap();
    pool.give_back(segment);
    pool.give_back(segment);
}

#[test]
fn memory_outlives_the_pool_while_a_leaf_needs_it() {
    let mut pool = Pool::new(4096, 1, 16);
    let segment = pool.take().unwrap();
    pool.give_to_leaves(segment);
    let mut table = hashbrown::HashTable::new_in(pool.leaf_allocator());
    table.try_reserve(14, |word: &u64| *word).unwrap();
    drop(pool);
    (0..14).for_each(|word| _ = table.insert_unique(word, word, |word| *word));
    assert_eq!(table.iter().sum::<u64>(), 13 * 7);
}
