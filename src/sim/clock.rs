//! Time in the simulated world, and what is to happen when.
//!
//! ```text
//!  world time, in µs:  0 ───────▶      never goes back; events happen in its order, and in the order of their making
//!  server's monotonic: world time, in ms
//!  server's wall:      world time + an offset that jumps
//!  each client's:      world time × a rate of its own + an offset of its own
//! ```

use crate::time::{Millis, Now};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The wall clock at the beginning, in µs since the epoch.
const WALL_START_US: u64 = 1_700_000_000_000_000;

/// A second, in µs.
pub const SECOND: u64 = 1_000_000;
/// A millisecond, in µs.
pub const MILLISECOND: u64 = 1_000;

/// The world's time and the server's two clocks.
#[derive(Clone, Debug)]
pub struct Clock {
    /// µs since the beginning.
    pub now: u64,
    /// The wall clock's offsets: from when, and what is added to world time.
    offsets: Vec<(u64, u64)>,
}

impl Clock {
    pub fn new() -> Clock {
        Clock { now: SECOND, offsets: vec![(0, WALL_START_US)] }
    }

    /// What the server's clocks read.
    pub fn reading(&self) -> Now {
        let wall = self.wall();
        Now {
            monotonic: Millis(self.now / 1_000),
            unix: Millis(wall / 1_000),
            unix_micros: (wall % 1_000) as u16,
        }
    }

    fn wall(&self) -> u64 {
        self.now + self.offsets.last().map_or(0, |(_, offset)| *offset)
    }

    /// Sets the wall clock by so many µs forward or back.
    pub fn set_wall(&mut self, by: i64) {
        let offset = self.offsets.last().map_or(0, |(_, offset)| *offset);
        self.offsets.push((self.now, offset.saturating_add_signed(by)));
    }

    /// The earliest and the latest wall clock between two moments, in Unix ms.
    pub fn wall_between(&self, from: u64, to: u64) -> (u64, u64) {
        let (mut low, mut high) = (u64::MAX, 0);
        for (at, (begin, offset)) in self.offsets.iter().enumerate() {
            let end = self.offsets.get(at + 1).map_or(u64::MAX, |(next, _)| *next);
            let (first, last) = (from.max(*begin), to.min(end));
            if first <= last {
                low = low.min(first + offset);
                high = high.max(last.saturating_add(*offset));
            }
        }
        (low / 1_000, high / 1_000)
    }
}

/// The clock of a client's process: it runs a little too fast or too slow, and began at a moment of its own.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// Of 1,024ths of the world's speed.
    pub rate: u64,
    pub offset: u64,
}

impl Watch {
    /// What it shows.
    pub fn show(&self, now: u64) -> Duration {
        Duration::from_micros(self.offset + now * self.rate / 1_024)
    }

    /// The first moment at which it shows `time` or more, in the world's µs.
    pub fn when(&self, time: Duration) -> u64 {
        let shown = u64::try_from(time.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX / 2_048);
        shown.saturating_sub(self.offset).saturating_mul(1_024).div_ceil(self.rate)
    }
}

/// What is to happen, by time and then in the order of its making.
pub struct Agenda<E> {
    heap: BinaryHeap<Entry<E>>,
    made: u64,
}

struct Entry<E> {
    key: Reverse<(u64, u64)>,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl<E> Agenda<E> {
    pub fn new() -> Agenda<E> {
        Agenda { heap: BinaryHeap::new(), made: 0 }
    }

    /// Notes an event.
    pub fn at(&mut self, time: u64, event: E) {
        self.made += 1;
        self.heap.push(Entry { key: Reverse((time, self.made)), event });
    }

    /// The next event, unless it is later than `until`.
    pub fn next(&mut self, until: u64) -> Option<(u64, E)> {
        if self.heap.peek()?.key.0.0 > until {
            return None;
        }
        self.heap.pop().map(|entry| (entry.key.0.0, entry.event))
    }
}
