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
//! A key may also go by itself: when the server's clock may have reached its expiry, and at any time where the
//! server evicts. A request without an answer takes effect at most once, and only where that explains an answer.

use super::history::{Action, Content, If, Operation, Seen};
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// A set that iterates in the same order in every run.
type Set<T> = HashSet<T, BuildHasherDefault<DefaultHasher>>;

/// Requests of one key under way at once, at most: the bits of a mask.
const SLOTS: usize = 128;
/// Possibilities looked at for one key, at most; beyond that it is left undecided, which is counted.
const WORK_MAX: usize = 200_000;

/// What a key may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    content: Content,
    /// The wall clock's ms between which it goes.
    expiry: Option<(u64, u64)>,
}

const ABSENT: State = State { content: Content::Absent, expiry: None };

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

/// Checks one key's operations; `evicts`: keys may go at any time.
pub fn check(operations: &[Operation], evicts: bool) -> Verdict {
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
                for next in self.outcomes(operation, state).into_iter().flatten() {
                    // One that nobody has been told of, and that changes nothing, can as well wait.
                    if !unknown || next != state {
                        todo.push((next, done | 1 << other, unknown));
                    }
                }
            }
        }
        settled
    }

    /// The states after this operation with this answer: as it is, and as it is if the key has gone by itself before.
    fn outcomes(&self, operation: &Operation, state: State) -> [Option<State>; 2] {
        let (from, highest) = (operation.wall.0, operation.wall_highest);
        let present = state.content != Content::Absent;
        let may_go =
            present && (self.evicts || state.expiry.is_some_and(|(earliest, _)| earliest <= highest));
        let must_go = present && state.expiry.is_some_and(|(_, latest)| latest <= from);
        let stays = if must_go { None } else { after(operation, state) };
        let goes = if may_go { after(operation, ABSENT) } else { None };
        [stays, goes]
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

/// The state after this operation with this answer; `None`: it cannot have that answer here.
fn after(operation: &Operation, state: State) -> Option<State> {
    let (from, to) = operation.wall;
    let window = |ttl: Option<u64>| ttl.map(|ttl| (from.saturating_add(ttl), to.saturating_add(ttl)));
    let present = state.content != Content::Absent;
    let unknown = operation.seen == Seen::Unknown;
    match operation.action {
        Action::Get => (operation.seen == Seen::Content(state.content)).then_some(state),
        Action::Put { content, ttl_ms, keeps_ttl, condition } => {
            let holds = match condition {
                If::Always => true,
                If::Absent => !present,
                If::Present => present,
                If::Still(content) => state.content == content,
            };
            let expiry = if keeps_ttl { state.expiry } else { window(ttl_ms) };
            match operation.seen {
                Seen::Done(false) => (!holds).then_some(state),
                _ => holds.then_some(State { content, expiry }),
            }
        }
        Action::Delete if unknown => present.then_some(ABSENT),
        Action::Delete => (operation.seen == Seen::Done(present)).then_some(ABSENT),
        Action::Add(delta) => {
            let before = match state.content {
                Content::Absent => 0,
                Content::Number(number) => number,
                Content::Text(_) => return None,
            };
            let sum = before.wrapping_add(delta);
            (unknown || operation.seen == Seen::Sum(sum))
                .then_some(State { content: Content::Number(sum), expiry: state.expiry })
        }
        Action::Expire(ttl) if unknown || operation.seen == Seen::Done(present) => {
            let expiry = if present { window(ttl) } else { None };
            (!unknown || present).then_some(State { expiry, ..state })
        }
        Action::Expire(_) => None,
        Action::Clear => Some(ABSENT),
    }
}
