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
    assert_eq!(pool.bytes_from(4096 + 8), &pool.bytes(b)[8..], "to the end of its segment");
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
    assert_eq!((taken.len(), allocator.free_count()), (4096 / 192, 0));
    for block in taken {
        assert_eq!(pool.reclaim_from_leaves(0), None);
        // SAFETY: it was allocated by this allocator with this layout, and is given back once.
        unsafe { allocator.deallocate(block, layout) };
    }
    assert_eq!(pool.reclaim_from_leaves(1), None);
    assert_eq!(pool.reclaim_from_leaves(0), Some(segment));
    assert_eq!((pool.free_count(), allocator.free_count()), (3, 0));
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

/// More blocks than a word has bits: leaves of tests, in segments of the usual size.
#[test]
fn every_block_is_handed_out_once_and_lies_in_its_segment() {
    const BLOCK_BYTES: usize = 192;
    let mut pool = Pool::new(64 * 1024, 3, 16);
    let allocator = pool.leaf_allocator();
    assert_eq!((allocator.block_bytes(), allocator.per_segment()), (BLOCK_BYTES, 341));
    let layout = Layout::from_size_align(16 * 9 + 16, 16).unwrap();
    let plain = pool.take().unwrap();
    let base = pool.bytes(plain).as_ptr() as usize;
    for _ in 0..2 {
        let segment = pool.take().unwrap();
        pool.give_to_leaves(segment);
    }
    let mut blocks: Vec<NonNull<u8>> =
        std::iter::from_fn(|| allocator.allocate(layout).ok()).map(NonNull::cast).collect();
    let offsets: Vec<usize> = blocks.iter().map(|block| block.as_ptr() as usize - base).collect();
    let expected = (0..2 * 341).map(|n| (1 + n / 341) * 64 * 1024 + n % 341 * BLOCK_BYTES);
    assert_eq!(offsets, expected.collect::<Vec<_>>(), "from the lowest on");
    pool.invariants();
    for (round, step) in [3, 2, 5, 1].into_iter().enumerate() {
        let (mut kept, mut given) = (Vec::new(), 0);
        for (n, block) in blocks.drain(..).enumerate() {
            if (n + round) % step == 0 {
                // SAFETY: it was allocated by this allocator with this layout, and is given back once.
                unsafe { allocator.deallocate(block, layout) };
                given += 1;
            } else {
                kept.push(block);
            }
        }
        pool.invariants();
        assert_eq!((allocator.free_count(), allocator.used_count()), (given, 682 - given));
        if step > 1 {
            blocks = kept;
            blocks.extend(std::iter::from_fn(|| allocator.allocate(layout).ok()).map(NonNull::cast::<u8>));
            blocks.sort_unstable();
            blocks.dedup();
            assert_eq!(blocks.len(), 682);
        }
    }
    assert!(pool.reclaim_from_leaves(0).is_some() && pool.reclaim_from_leaves(0).is_some());
    assert_eq!(pool.free_count(), 2);
    pool.invariants();
}

/// Pieces of `(segment, offset, len)`; each is filled with its number.
fn fill_pieces(pool: &mut Pool, pieces: &[(u32, usize, usize)]) {
    let pieces = pieces
        .iter()
        .map(|&(segment, offset, len)| Piece { segment: SegmentId(segment), offset, len })
        .collect::<Vec<_>>();
    let mut out: Vec<IoSliceMut<'_>> = pieces.iter().map(|_| IoSliceMut::new(&mut [])).collect();
    pool.pieces_mut(&pieces, &mut out);
    for (n, (out, piece)) in out.iter_mut().zip(&pieces).enumerate() {
        assert_eq!(out.len(), piece.len);
        out.fill(n as u8 + 1);
    }
}

#[test]
fn pieces_are_written_where_they_lie() {
    let mut pool = Pool::new(4096, 2, 16);
    let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
    fill_pieces(&mut pool, &[(0, 10, 10), (0, 20, 5), (1, 10, 10), (0, 0, 10), (1, 4090, 6), (1, 0, 0)]);
    let expected = |runs: &[(u8, usize)]| -> Vec<u8> {
        runs.iter().flat_map(|(byte, len)| std::iter::repeat_n(*byte, *len)).collect()
    };
    assert_eq!(pool.bytes(a), expected(&[(4, 10), (1, 10), (2, 5), (0, 4096 - 25)]));
    assert_eq!(pool.bytes(b), expected(&[(0, 10), (3, 10), (0, 4070), (5, 6)]));
}

#[test]
fn pieces_that_overlap_or_pass_the_end_are_refused() {
    for pieces in [
        &[(0, 10, 10), (0, 19, 1)][..],
        &[(0, 19, 1), (0, 10, 10)],
        &[(0, 10, 10), (0, 5, 6)],
        &[(0, 10, 10), (0, 0, 4096)],
        &[(1, 0, 4), (0, 10, 10), (1, 3, 4)],
        &[(0, 10, 10), (0, 10, 10)],
        &[(0, 4090, 7)],
        &[(0, 1, usize::MAX)],
        &[(2, 0, 1)],
    ] {
        let tried = std::panic::catch_unwind(|| {
            let mut pool = Pool::new(4096, 3, 16);
            assert!(pool.take().is_some() && pool.take().is_some());
            fill_pieces(&mut pool, pieces);
        });
        assert!(tried.is_err(), "{pieces:?}");
    }
}
