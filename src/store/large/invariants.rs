//! What always holds of large values and pages, for tests and the simulator.

use super::{Larges, Object, PAGE_BIT, TAIL_BLOCKS_MAX};
use crate::store::segments::{NONE, Segments, State};

impl Larges {
    /// Asserts that chains, owners, bitmaps and counts agree.
    pub fn invariants(&self, table: &Segments) {
        let list = |head: u32| {
            std::iter::successors(Some(head).filter(|id| *id != NONE), |id| {
                Some(self.objects[*id as usize].next).filter(|id| *id != NONE)
            })
        };
        let free = list(self.free).count();
        assert_eq!(self.objects.len() - free, self.object_count as usize);
        let mut is_free = vec![false; self.objects.len()];
        list(self.free).for_each(|id| is_free[id as usize] = true);
        let chain = |head: u32| {
            std::iter::successors(Some(head).filter(|p| *p != NONE), |piece| {
                Some(self.next[*piece as usize]).filter(|p| *p != NONE)
            })
        };
        let (mut spans, mut blocks) = (0, 0);
        for (id, object) in self.objects.iter().enumerate().filter(|(id, _)| !is_free[*id]) {
            assert_eq!(chain(object.first_span).count(), object.span_count as usize);
            assert_eq!(chain(object.first_block).count(), object.block_count as usize);
            assert!(u64::from(object.len) <= self.capacity(object) || object.references == 0);
            assert!(object.block_count <= TAIL_BLOCKS_MAX);
            for piece in chain(object.first_span) {
                assert_eq!(table.get(self.place(piece).0).state, State::Span);
                spans += 1;
            }
            for piece in chain(object.first_block) {
                let (segment, offset) = self.place(piece);
                assert!(table.get(segment).blocks >> (offset / self.block_bytes) & 1 == 1);
                assert_eq!(self.owner[piece as usize] as usize, id);
                blocks += 1;
            }
        }
        let held: u32 = self.objects.iter().filter(|object| object.is_held()).map(Object::blocks).sum();
        assert_eq!(held, self.held_blocks, "blocks of values that are held");
        assert!(self.objects.iter().all(|object| object.record_references <= object.references));
        let mut of_keys = self.of_keys.map(|_| 0);
        for object in self.objects.iter().filter(|object| object.is_of_key()) {
            of_keys[object.segments() as usize] += 1;
        }
        assert_eq!(of_keys, self.of_keys, "values of keys by their segments");
        let largest = of_keys.iter().rposition(|count| *count > 0).unwrap_or(0);
        assert_eq!(largest, self.largest_of_keys as usize);
        for (page, piece) in self.pages.used() {
            let (segment, offset) = self.place(piece);
            assert!(table.get(segment).blocks >> (offset / self.block_bytes) & 1 == 1);
            assert_eq!(self.owner[piece as usize], PAGE_BIT | page.0);
            blocks += 1;
        }
        assert_eq!((spans, blocks), (table.totals().count(State::Span), self.used_blocks));
        let pending_free = list(self.pending_free).map(|id| &self.objects[id as usize]);
        let sums = pending_free.fold((0, 0), |sum, o| (sum.0 + o.span_count, sum.1 + o.block_count));
        assert_eq!(sums, (self.pending_free_spans, self.pending_free_blocks));
    }
}
