//! Is there an order of the requests that explains every answer? For each key alone, from the clients' side.
//!
//! ```text
//!   client 1   |---- put a ----|        |-- get: a --|
//!   client 2        |------ put b: no answer - - - - - - - - - ▶ (never, or once, until the server's life ends)
//!   client 3              |-- get: b --|                           no order explains these answers
//! ```
//! Linearizability is local (Herlihy and Wing 1990), so keys are looked at one by one. The search is Wing and Gong's
//! (1993) with Lowe's memory of what was tried ("Testing for linearizability", 2016), just in time: when an answer
//! comes, and no sooner, its request must have taken effect, perhaps after others that are under way. What is carried
//! from one answer to the next is the set of all possible (state, requests under way that have taken effect).
//!
//! That search is complete and dear: all that could have been is carried along. So a cheaper one looks for a single order
//! first (`witness.rs`), which is proof enough, and this one decides where there seems to be none.
//!
//! A key may also go by itself: when the server's clock may have reached its expiry, and at any time where the
//! server evicts. One whose time has run out, and that is not removed yet, is there again when the server's clock is set
//! back. A request without an answer takes effect at most once, and only where that explains an answer.

use super::history::{Action, If, Operation, Seen};
use super::state::{ABSENT, State, hidden, outcomes};
use super::witness::has_witness;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// A set that iterates in the same order in every run.
type Set<T> = HashSet<T, BuildHasherDefault<DefaultHasher>>;

/// Requests of one key under way at once, at most: the bits of a mask.
const SLOTS: usize = 128;
/// Possibilities looked at for one key, at most; beyond that it is left undecided, which is counted.
const WORK_MAX: usize = 200_000;

/// What came of a key's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order.
    Explained,
    /// There is none: this operation's answer cannot be explained.
    Impossible { operation: usize },
    /// Too many requests without answers.
    Undecided,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Begin,
    End,
}

/// Checks one key's operations, in the order in which they began; `evicts`: keys may go at any time.
pub fn check(operations: &[Operation], evicts: bool) -> Verdict {
    if has_witness(operations, evicts) { Verdict::Explained } else { search(operations, evicts) }
}

/// The complete search.
pub fn search(operations: &[Operation], evicts: bool) -> Verdict {
    let mut moments: Vec<(u64, Moment, usize)> = Vec::with_capacity(operations.len() * 2);
    for (at, operation) in operations.iter().enumerate() {
        moments.push((operation.begun, Moment::Begin, at));
        moments.push((operation.ended, Moment::End, at));
    }
    moments.sort_unstable();
    let mut search = Search { operations, evicts, slots: [None; SLOTS], work: 0 };
    let mut possible: Set<(State, u128)> = Set::default();
    possible.insert((ABSENT, 0));
    for (_, moment, at) in moments {
        if moment == Moment::Begin {
            let Some(slot) = search.slots.iter().position(Option::is_none) else { return Verdict::Undecided };
            search.slots[slot] = Some(at);
            continue;
        }
        let Some(slot) = search.slots.iter().position(|held| *held == Some(at)) else { continue };
        let bit = 1u128 << slot;
        possible = if operations[at].seen == Seen::Unknown {
            possible.into_iter().map(|(state, done)| (state, done & !bit)).collect()
        } else {
            search.settle(&possible, slot)
        };
        search.slots[slot] = None;
        if search.work > WORK_MAX {
            return Verdict::Undecided;
        }
        if possible.is_empty() {
            return Verdict::Impossible { operation: at };
        }
    }
    Verdict::Explained
}

struct Search<'a> {
    operations: &'a [Operation],
    evicts: bool,
    /// Requests under way.
    slots: [Option<usize>; SLOTS],
    work: usize,
}

impl Search<'_> {
    /// Every way in which the request in `slot` can have taken effect by now; its bit is taken out.
    fn settle(&mut self, possible: &Set<(State, u128)>, slot: usize) -> Set<(State, u128)> {
        let bit = 1u128 << slot;
        let mut settled = Set::default();
        let mut tried: Set<(State, u128, bool)> = Set::default();
        let mut todo: Vec<(State, u128, bool)> = Vec::new();
        for (state, done) in possible {
            todo.push((*state, *done, false));
        }
        while let Some((state, done, observed_next)) = todo.pop() {
            if done & bit != 0 {
                settled.insert((state, done & !bit));
                continue;
            }
            if !tried.insert((state, done, observed_next)) {
                continue;
            }
            self.work += 1;
            if self.work > WORK_MAX {
                break;
            }
            for (other, held) in self.slots.iter().enumerate() {
                let Some(at) = *held else { continue };
                let operation = &self.operations[at];
                if done & 1 << other != 0 || observed_next && is_blind(operation) {
                    continue;
                }
                let unknown = operation.seen == Seen::Unknown;
                let unseen = hidden(operation, state).filter(|_| !unknown);
                let outcomes = outcomes(operation, state, self.evicts);
                for next in outcomes.into_iter().flatten().chain(unseen) {
                    // One that was never answered, and that changes nothing, can as well wait.
                    if !unknown || next != state {
                        todo.push((next, done | 1 << other, unknown));
                    }
                }
            }
        }
        settled
    }
}

/// Whether it takes effect whatever the key holds, and tells nothing of that.
fn is_blind(operation: &Operation) -> bool {
    match operation.action {
        Action::Put { condition: If::Always, keeps_ttl, .. } => !keeps_ttl,
        Action::Clear => true,
        _ => operation.seen == Seen::Unknown && operation.action == Action::Delete,
    }
}

#[cfg(test)]
mod tests;
