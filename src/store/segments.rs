//! The table of segments: what each is used for, how much of it lives, and the lists from which victims are chosen.
//!
//! ```text
//!            take           full            last record dies
//!   Free ----------> Open ----------> Sealed ---------------> Free
//!    |  \----------> Leaves | Span | Slab ------------------> Free
//!
//!   a segment of records:   | live | dead | live | dead | live |  tail   |
//!                            \------------ used ----------------/  waste once sealed
//! ```
//! Sealed segments hang in two lists at once: by how much of them is dead (the cleaner takes the one with the most
//! garbage) and by age (eviction takes the oldest). Block slabs, which hold blocks of large values, hang in a list by
//! blocks used. Every list is linked through the table, which is reserved at start.

use super::pool::SegmentId;

/// No segment.
pub const NONE: u32 = u32::MAX;
/// Open segments at once: without expiry, eight classes of time to live, and what cleaner and eviction move.
pub const CLASSES: usize = 10;
/// The class of records that were moved.
pub const MOVED: usize = CLASSES - 1;
/// Blocks of a slab.
pub const BLOCKS: usize = 16;
/// A sealed segment's list is chosen by its dead bytes in units of a segment's thirty-second.
pub const DEAD_STEPS: usize = 32;

/// A key goes so many milliseconds after its time, or a little more in a large store: a walk over a segment takes some
/// ten microseconds, and walks take a fiftieth of the time at most.
const LATE_MS_MIN: u64 = 1000;
const ROWS_PER_LATE_MS: u32 = 2;

const DEAD: usize = 0;
const AGE: usize = 1;
const SLAB_LISTS: usize = DEAD_STEPS + 1;
const AGE_LISTS: usize = SLAB_LISTS + BLOCKS + 1;
const LISTS: usize = AGE_LISTS + 2;

/// What a segment is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Free,
    /// Records are appended to it.
    Open,
    /// Records, none are appended any more.
    Sealed,
    /// Leaves of the index.
    Leaves,
    /// One piece of a large value.
    Span,
    /// Blocks of large values.
    BlockSlab,
}

const STATES: usize = 6;

/// The two queues of S3-FIFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    Small = 0,
    Main = 1,
}

#[derive(Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
}

/// A row of the table.
#[derive(Clone, Copy)]
pub struct Segment {
    /// The earliest and the latest expiry among its records (`min > max`: none expires); they may be wider than that.
    pub min_expiry: u64,
    pub max_expiry: u64,
    /// Bytes up to which there are records.
    pub used: u32,
    /// Bytes of records that are not dead.
    pub live: u32,
    links: [Link; 2],
    /// One bit for each block of a slab that is in use.
    pub blocks: u16,
    pub state: State,
    pub class: u8,
    list: u8,
}

const _: () = assert!(size_of::<Segment>() <= 48);

impl Segment {
    const EMPTY: Segment = Segment {
        min_expiry: u64::MAX,
        max_expiry: 0,
        used: 0,
        live: 0,
        links: [Link { previous: NONE, next: NONE }; 2],
        blocks: 0,
        state: State::Free,
        class: 0,
        list: 0,
    };

    /// When it is worth walking for expired records: a sixteenth into the stretch in which they expire, so that a
    /// segment is walked a bounded number of times however its expiries are spread, but `late_ms` after the first at most.
    fn due(&self, late_ms: u64) -> u64 {
        if self.min_expiry > self.max_expiry {
            return u64::MAX;
        }
        self.min_expiry.saturating_add(((self.max_expiry - self.min_expiry) / 16).min(late_ms))
    }

    fn holds_records(&self) -> bool {
        matches!(self.state, State::Open | State::Sealed)
    }
}

/// Sums over the table, in bytes and in segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of records that are not dead.
    pub live: u64,
    /// Bytes of dead records.
    pub dead: u64,
    /// Bytes behind the last record of sealed segments.
    pub waste: u64,
    /// Segments in each state.
    counts: [u32; STATES],
}

impl Totals {
    /// Segments in a state, `Free` excepted.
    pub fn count(&self, state: State) -> u32 {
        self.counts[state as usize]
    }
}

/// The table. Methods that change a segment's state are named after what happened to it.
pub struct Segments {
    rows: Vec<Segment>,
    segment_bytes: usize,
    /// How late the first expired record of a segment may be removed, in milliseconds.
    late_ms: u64,
    lists: [(u32, u32); LISTS],
    open: [u32; CLASSES],
    totals: Totals,
    /// Bytes of the sealed segments of each queue.
    queue_segments: [u32; 2],
}

impl Segments {
    /// An empty table for `count` segments; a row is touched when its segment is first used.
    pub fn new(count: u32, segment_bytes: usize) -> Segments {
        Segments {
            rows: Vec::with_capacity(count as usize),
            segment_bytes,
            late_ms: u64::from(count / ROWS_PER_LATE_MS).max(LATE_MS_MIN),
            lists: [(NONE, NONE); LISTS],
            open: [NONE; CLASSES],
            totals: Totals::default(),
            queue_segments: [0; 2],
        }
    }

    /// The row of a segment that was used before.
    #[inline]
    pub fn get(&self, id: SegmentId) -> &Segment {
        &self.rows[id.0 as usize]
    }

    /// Rows that exist: segments that were ever used.
    pub fn len(&self) -> u32 {
        self.rows.len() as u32
    }

    /// The sums.
    #[inline]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The segment to which records of a class are appended.
    #[inline]
    pub fn open(&self, class: usize) -> Option<SegmentId> {
        Some(SegmentId(self.open[class])).filter(|id| id.0 != NONE)
    }

    /// Bytes that can still be appended to an open segment.
    #[inline]
    pub fn room(&self, id: SegmentId) -> usize {
        self.segment_bytes - self.get(id).used as usize
    }

    /// A free segment was taken, for anything but records.
    pub fn taken(&mut self, id: SegmentId, state: State) {
        if id.0 >= self.len() {
            assert!(id.0 < self.rows.capacity() as u32, "a row for every segment");
            self.rows.resize(id.0 as usize + 1, Segment::EMPTY);
        }
        let row = &mut self.rows[id.0 as usize];
        assert!(row.state == State::Free);
        *row = Segment { state, ..Segment::EMPTY };
        self.totals.counts[state as usize] += 1;
        if state == State::BlockSlab {
            self.link(id, DEAD, SLAB_LISTS);
        }
    }

    /// A free segment was taken for records of a class, which has no open segment.
    pub fn opened(&mut self, id: SegmentId, class: usize) {
        assert!(self.open[class] == NONE);
        self.taken(id, State::Open);
        self.rows[id.0 as usize].class = class as u8;
        self.open[class] = id.0;
    }

    /// Nothing more is appended to an open segment. True: nothing lives in it, so it is to be freed.
    #[must_use]
    pub fn sealed(&mut self, id: SegmentId) -> bool {
        let row = &mut self.rows[id.0 as usize];
        assert!(row.state == State::Open);
        row.state = State::Sealed;
        let (class, waste, live) =
            (usize::from(row.class), self.segment_bytes as u64 - u64::from(row.used), row.live);
        self.open[class] = NONE;
        self.totals.counts[State::Open as usize] -= 1;
        self.totals.counts[State::Sealed as usize] += 1;
        self.totals.waste += waste;
        let queue = self.queue_of(id);
        self.queue_segments[queue as usize] += 1;
        self.link(id, AGE, AGE_LISTS + queue as usize);
        self.link(id, DEAD, self.dead_list(id));
        live == 0
    }

    /// A segment became free. Returns what it was.
    pub fn freed(&mut self, id: SegmentId) -> State {
        let row = *self.get(id);
        assert!(row.state != State::Free && row.state != State::Open && row.live == 0 && row.blocks == 0);
        if row.state == State::Sealed {
            self.unlink(id, DEAD, usize::from(row.list));
            let queue = self.queue_of(id);
            self.unlink(id, AGE, AGE_LISTS + queue as usize);
            self.queue_segments[queue as usize] -= 1;
            self.totals.dead -= u64::from(row.used);
            self.totals.waste -= self.segment_bytes as u64 - u64::from(row.used);
        }
        if row.state == State::BlockSlab {
            self.unlink(id, DEAD, usize::from(row.list));
        }
        self.totals.counts[row.state as usize] -= 1;
        self.rows[id.0 as usize] = Segment::EMPTY;
        row.state
    }

    /// A record of `size` bytes is appended to an open segment with that much room. Returns its offset.
    pub fn appended(&mut self, id: SegmentId, size: usize, expiry: Option<u64>) -> usize {
        assert!(size <= self.room(id));
        let row = &mut self.rows[id.0 as usize];
        assert!(row.state == State::Open);
        let offset = row.used as usize;
        row.used += size as u32;
        row.live += size as u32;
        self.totals.live += size as u64;
        if let Some(expiry) = expiry {
            self.expires(id, expiry);
        }
        offset
    }

    /// A record of the segment has this expiry. Returns when the segment is now due.
    pub fn expires(&mut self, id: SegmentId, expiry: u64) -> u64 {
        let row = &mut self.rows[id.0 as usize];
        row.min_expiry = row.min_expiry.min(expiry);
        row.max_expiry = row.max_expiry.max(expiry);
        row.due(self.late_ms)
    }

    /// When a segment is worth walking for expired records.
    pub fn due(&self, id: SegmentId) -> u64 {
        self.get(id).due(self.late_ms)
    }

    /// A whole walk over the segment saw these bounds of expiry.
    pub fn expiry_bounds(&mut self, id: SegmentId, min: u64, max: u64) {
        let row = &mut self.rows[id.0 as usize];
        (row.min_expiry, row.max_expiry) = (min, max);
    }

    /// A record of `size` bytes died. True: nothing lives in the segment any more, so it is to be freed.
    #[must_use]
    pub fn died(&mut self, id: SegmentId, size: usize) -> bool {
        let row = &mut self.rows[id.0 as usize];
        assert!(row.holds_records() && row.live as usize >= size);
        row.live -= size as u32;
        let (state, live, list) = (row.state, row.live, usize::from(row.list));
        self.totals.live -= size as u64;
        self.totals.dead += size as u64;
        if state != State::Sealed {
            return false;
        }
        let now = self.dead_list(id);
        if now != list {
            self.unlink(id, DEAD, list);
            self.link(id, DEAD, now);
        }
        live == 0
    }

    /// The sealed segment with the most dead bytes, if at least `steps` thirty-seconds of a segment are.
    pub fn most_garbage(&self, steps: usize) -> Option<SegmentId> {
        (steps..=DEAD_STEPS).rev().map(|list| self.lists[list].0).find(|id| *id != NONE).map(SegmentId)
    }

    /// The segment of a queue that was sealed first.
    pub fn oldest(&self, queue: Queue) -> Option<SegmentId> {
        Some(SegmentId(self.lists[AGE_LISTS + queue as usize].0)).filter(|id| id.0 != NONE)
    }

    /// Sealed segments of a queue.
    pub fn queue_len(&self, queue: Queue) -> u32 {
        self.queue_segments[queue as usize]
    }

    /// The queue of a segment of records.
    pub fn queue_of(&self, id: SegmentId) -> Queue {
        if usize::from(self.get(id).class) == MOVED { Queue::Main } else { Queue::Small }
    }

    /// The slab with the most blocks in use that has a free one, `not` excepted.
    pub fn fullest_slab(&self, not: Option<SegmentId>) -> Option<SegmentId> {
        (0..BLOCKS).rev().find_map(|used| {
            let first = self.lists[SLAB_LISTS + used].0;
            let second = if first == NONE { NONE } else { self.rows[first as usize].links[DEAD].next };
            [first, second].into_iter().map(SegmentId).find(|id| id.0 != NONE && Some(*id) != not)
        })
    }

    /// The slab with the fewest blocks in use, if it has a free one.
    pub fn emptiest_slab(&self) -> Option<SegmentId> {
        let lists = &self.lists[SLAB_LISTS..SLAB_LISTS + BLOCKS];
        lists.iter().map(|list| list.0).find(|id| *id != NONE).map(SegmentId)
    }

    /// Marks a free block of a slab used and returns its number there.
    pub fn take_block(&mut self, id: SegmentId) -> Option<usize> {
        let row = &mut self.rows[id.0 as usize];
        let block = row.blocks.trailing_ones() as usize;
        if row.state != State::BlockSlab || block >= BLOCKS {
            return None;
        }
        row.blocks |= 1 << block;
        self.relist_slab(id);
        Some(block)
    }

    /// Marks a block free. True: no block of the segment is in use any more, so it is to be freed.
    #[must_use]
    pub fn give_back_block(&mut self, id: SegmentId, block: usize) -> bool {
        let row = &mut self.rows[id.0 as usize];
        assert!(row.state == State::BlockSlab && row.blocks >> block & 1 == 1, "a block is given back once");
        row.blocks &= !(1 << block);
        self.relist_slab(id);
        self.get(id).blocks == 0
    }

    fn relist_slab(&mut self, id: SegmentId) {
        let row = *self.get(id);
        self.unlink(id, DEAD, usize::from(row.list));
        self.link(id, DEAD, SLAB_LISTS + row.blocks.count_ones() as usize);
    }

    fn dead_list(&self, id: SegmentId) -> usize {
        let row = self.get(id);
        (row.used - row.live) as usize * DEAD_STEPS / self.segment_bytes
    }

    /// Puts a segment at the end of a list.
    fn link(&mut self, id: SegmentId, kind: usize, list: usize) {
        let last = self.lists[list].1;
        self.rows[id.0 as usize].links[kind] = Link { previous: last, next: NONE };
        if kind == DEAD {
            self.rows[id.0 as usize].list = list as u8;
        }
        match last {
            NONE => self.lists[list].0 = id.0,
            last => self.rows[last as usize].links[kind].next = id.0,
        }
        self.lists[list].1 = id.0;
    }

    fn unlink(&mut self, id: SegmentId, kind: usize, list: usize) {
        let Link { previous, next } = self.get(id).links[kind];
        match previous {
            NONE => self.lists[list].0 = next,
            previous => self.rows[previous as usize].links[kind].next = next,
        }
        match next {
            NONE => self.lists[list].1 = previous,
            next => self.rows[next as usize].links[kind].previous = previous,
        }
    }

    /// Asserts that sums and lists agree with the rows.
    pub fn invariants(&self) {
        let mut sums = Totals::default();
        let mut listed = [0; 2];
        for row in &self.rows {
            if row.state != State::Free {
                sums.counts[row.state as usize] += 1;
            }
            assert!(row.live <= row.used && row.used as usize <= self.segment_bytes);
            sums.live += u64::from(row.live);
            sums.dead += u64::from(row.used - row.live);
            if row.state == State::Sealed {
                sums.waste += self.segment_bytes as u64 - u64::from(row.used);
                listed[AGE] += 1;
            }
            listed[DEAD] += usize::from(matches!(row.state, State::Sealed | State::BlockSlab));
        }
        assert_eq!(sums, self.totals);
        let walk = |kind: usize, list: usize| {
            let next =
                move |id: &u32| Some(self.rows[*id as usize].links[kind].next).filter(|id| *id != NONE);
            std::iter::successors(Some(self.lists[list].0).filter(|id| *id != NONE), next)
        };
        for list in 0..AGE_LISTS {
            for id in walk(DEAD, list) {
                let row = &self.rows[id as usize];
                assert!(usize::from(row.list) == list);
                listed[DEAD] -= 1;
                match row.state {
                    State::Sealed => assert_eq!(self.dead_list(SegmentId(id)), list),
                    State::BlockSlab => assert_eq!(SLAB_LISTS + row.blocks.count_ones() as usize, list),
                    state => panic!("{state:?} is on a list"),
                }
            }
        }
        for queue in [Queue::Small, Queue::Main] {
            let len = walk(AGE, AGE_LISTS + queue as usize).count();
            assert_eq!(self.queue_len(queue) as usize, len);
            listed[AGE] -= len;
        }
        assert_eq!(listed, [0; 2]);
        for (class, id) in self.open.iter().enumerate().filter(|(_, id)| **id != NONE) {
            let row = &self.rows[*id as usize];
            assert!(row.state == State::Open && usize::from(row.class) == class);
        }
    }
}
