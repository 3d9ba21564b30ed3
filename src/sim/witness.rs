//! One order of a key's requests that explains every answer, looked for where it most probably is.
//!
//! Depth first, and guided by what makes most histories easy: each text is written once, so a client that read it has to have
//! its turn between that write and the next; each sum tells what was there before it. A request that only looked, and whose
//! answer fits, is taken at once (any order in which it comes later stays one if it comes now). An order that is
//! found is a proof by itself, whatever led to it. That none is found proves nothing: the search gives up early.

use super::history::{Action, Content, If, Operation, Seen};
use super::state::{ABSENT, State, outcomes};
use crate::random::Random;
use std::collections::{HashMap, HashSet};

/// Steps of one search, at most.
const STEPS_MAX: usize = 20_000;
/// Additions without an answer that are tried together, at most, and sums of them that are tried for one answer.
const TOGETHER_MAX: u32 = 5;
const TRIES_MAX: usize = 20_000;

/// Whether such an order was found; the operations stand in the order in which they began.
pub fn has_witness(operations: &[Operation], evicts: bool) -> bool {
    let mut readers: HashMap<Content, Vec<usize>> = HashMap::new();
    for (at, operation) in operations.iter().enumerate() {
        if let Some(content) = read_by(operation) {
            readers.entry(content).or_default().push(at);
        }
    }
    let search = Witness {
        operations,
        evicts,
        readers,
        taken: vec![false; operations.len()],
        first_open: 0,
        mark: 0,
        failed: HashSet::new(),
        steps: 0,
    };
    search.run()
}

struct Witness<'a> {
    operations: &'a [Operation],
    evicts: bool,
    /// Who was answered each content.
    readers: HashMap<Content, Vec<usize>>,
    /// What is in the order so far.
    taken: Vec<bool>,
    /// Everything before it is.
    first_open: usize,
    /// Stands for what is taken: the same for the same set, and hardly ever for two.
    mark: u64,
    /// From where it was tried in vain.
    failed: HashSet<(u64, State)>,
    steps: usize,
}

/// The next requests of the order, one or several, and what comes of them.
struct Choice {
    /// Those that promise more come first.
    rank: (u8, u64),
    requests: Vec<usize>,
    next: State,
}

/// A place in the order where there was a choice.
struct Fork {
    state: State,
    mark: u64,
    choices: std::vec::IntoIter<Choice>,
    /// What was taken since the choice before this one.
    taken: Vec<usize>,
}

impl Witness<'_> {
    fn run(mut self) -> bool {
        let mut path: Vec<Fork> = Vec::new();
        let mut arrived = Some((ABSENT, Vec::new()));
        loop {
            if let Some((state, mut taken)) = arrived.take() {
                let Some(horizon) = self.take_what_fits(state, &mut taken) else { return true };
                let choices = if self.failed.contains(&(self.mark, state)) {
                    Vec::new()
                } else {
                    self.choices(state, horizon)
                };
                path.push(Fork { state, mark: self.mark, choices: choices.into_iter(), taken });
            }
            let Some(fork) = path.last_mut() else { return false };
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return false;
            }
            match fork.choices.next() {
                Some(choice) => {
                    choice.requests.iter().for_each(|at| self.take(*at));
                    arrived = Some((choice.next, choice.requests));
                }
                None => {
                    self.failed.insert((fork.mark, fork.state));
                    let taken = std::mem::take(&mut fork.taken);
                    path.pop();
                    taken.into_iter().for_each(|at| self.untake(at));
                }
            }
        }
    }

    fn take(&mut self, at: usize) {
        self.taken[at] = true;
        self.mark ^= Random(at as u64).next();
    }

    fn untake(&mut self, at: usize) {
        self.taken[at] = false;
        self.mark ^= Random(at as u64).next();
        self.first_open = self.first_open.min(at);
    }

    /// Takes every answered request that fits as things stand and changes nothing; when the next one must have had its
    /// turn. `None`: there is none left.
    fn take_what_fits(&mut self, state: State, taken: &mut Vec<usize>) -> Option<u64> {
        loop {
            while self.first_open < self.taken.len() && self.taken[self.first_open] {
                self.first_open += 1;
            }
            let horizon = self.horizon()?;
            let before = taken.len();
            for at in self.first_open..self.operations.len() {
                let operation = &self.operations[at];
                if operation.begun > horizon {
                    break;
                }
                if !self.taken[at]
                    && changes_nothing(operation)
                    && outcomes(operation, state, self.evicts)[0] == Some(state)
                {
                    self.take(at);
                    taken.push(at);
                }
            }
            if taken.len() == before {
                return Some(horizon);
            }
        }
    }

    /// When the first of the answered requests that are left was answered.
    fn horizon(&self) -> Option<u64> {
        let mut horizon: Option<u64> = None;
        for (operation, taken) in
            self.operations[self.first_open..].iter().zip(&self.taken[self.first_open..])
        {
            if horizon.is_some_and(|horizon| operation.begun > horizon) {
                break;
            }
            if !taken && operation.seen != Seen::Unknown {
                horizon = Some(horizon.map_or(operation.ended, |horizon| horizon.min(operation.ended)));
            }
        }
        horizon
    }

    /// What may come next: those that are under way before the horizon.
    fn choices(&mut self, state: State, horizon: u64) -> Vec<Choice> {
        let open: Vec<usize> = (self.first_open..self.operations.len())
            .take_while(|at| self.operations[*at].begun <= horizon)
            .filter(|at| !self.taken[*at] && self.operations[*at].ended >= self.reached(horizon))
            .collect();
        let waits = self.waiting_readers(state.content);
        let mut choices = Vec::new();
        for &at in &open {
            let operation = &self.operations[at];
            for (next, goes) in outcomes(operation, state, self.evicts).into_iter().zip([0, 1]) {
                let Some(next) = next else { continue };
                let leaves = goes == 1 || next.content != state.content;
                // What is gone does not come back, or hardly ever: a client that read it must have had its turn.
                let is_last_reader = goes == 0 && waits == Some((at, 1));
                if leaves && waits.is_some() && !is_last_reader {
                    continue;
                }
                // What is added to a number is seen by the one that is answered the sum: see `add_together`.
                let unknown = operation.seen == Seen::Unknown;
                let adds = unknown && matches!(operation.action, Action::Add(_));
                if unknown && next == state || adds && goes == 0 && state != ABSENT {
                    continue;
                }
                let rank = if adds { (7, 0) } else { self.rank(operation, next, goes) };
                choices.push(Choice { rank, requests: vec![at], next });
            }
        }
        self.add_together(&open, state, &mut choices);
        choices.sort_by_key(|choice| choice.rank);
        choices
    }

    /// No earlier than this is where the order has come to: what has ended before can not come next.
    fn reached(&self, horizon: u64) -> u64 {
        let begun = self.operations.iter().zip(&self.taken).filter(|(_, taken)| **taken);
        begun.map(|(operation, _)| operation.begun).max().unwrap_or(0).min(horizon)
    }

    /// When the first of those who read this, and have not had their turn, was answered.
    fn first_reader(&self, content: Content) -> Option<u64> {
        self.readers
            .get(&content)?
            .iter()
            .filter(|at| !self.taken[**at])
            .map(|at| self.operations[*at].ended)
            .min()
    }

    /// One of those who read this and have not had their turn, and how many they are.
    fn waiting_readers(&self, content: Content) -> Option<(usize, usize)> {
        let mut waiting = self.readers.get(&content)?.iter().filter(|at| !self.taken[**at]);
        let first = *waiting.next()?;
        Some((first, 1 + waiting.count()))
    }

    fn rank(&self, operation: &Operation, next: State, goes: u8) -> (u8, u64) {
        let reader = self.first_reader(next.content);
        let unknown = operation.seen == Seen::Unknown;
        let is_put = matches!(operation.action, Action::Put { condition: If::Always, .. });
        match reader {
            Some(reader) => (1 + goes, reader),
            None if unknown => (3 + goes, operation.begun),
            // Nobody saw it: it can be written over at once.
            None if is_put => (goes, operation.ended),
            None => (1 + goes, operation.ended),
        }
    }

    /// Additions without an answer, one or a few of them, that make the number which an answer tells of.
    fn add_together(&mut self, open: &[usize], state: State, choices: &mut Vec<Choice>) {
        let unknown = open.iter().filter(|at| self.operations[**at].seen == Seen::Unknown);
        let unknown: HashMap<i64, usize> = unknown
            .filter_map(|at| match self.operations[*at].action {
                Action::Add(delta) => Some((delta, *at)),
                _ => None,
            })
            .collect();
        let mut deltas: Vec<i64> = unknown.keys().copied().collect();
        deltas.sort_unstable();
        for &at in open {
            let operation = &self.operations[at];
            let target = match (operation.action, operation.seen) {
                (Action::Add(delta), Seen::Sum(sum)) => sum.wrapping_sub(delta),
                (_, Seen::Content(Content::Number(number))) => number,
                _ => continue,
            };
            // What there is stays, or it has gone by itself and counting begins again.
            for (base, goes) in bases(operation, state, self.evicts).into_iter().zip([0, 1]) {
                let Some(State { content, expiry }) = base else { continue };
                let number = if let Content::Number(number) = content { number } else { 0 };
                let missing = target.wrapping_sub(number);
                self.steps += deltas.len();
                if missing > 0
                    && let Some(summands) = find_summands(&deltas, missing)
                {
                    let requests = summands.iter().map(|delta| unknown[delta]).collect();
                    let next = State { content: Content::Number(target), expiry };
                    choices.push(Choice { rank: (2 + goes, operation.ended), requests, next });
                }
            }
        }
    }
}

/// Whether, by its answer, it leaves everything as it is, whenever it has its turn.
fn changes_nothing(operation: &Operation) -> bool {
    operation.action == Action::Get || operation.seen == Seen::Done(false)
}

/// What the key held just before this request, as its answer tells: a text or a number that was hardly ever there twice.
fn read_by(operation: &Operation) -> Option<Content> {
    match (operation.action, operation.seen) {
        (_, Seen::Content(Content::Absent)) => None,
        (_, Seen::Content(content)) => Some(content),
        (Action::Add(delta), Seen::Sum(sum)) if sum != delta => {
            Some(Content::Number(sum.wrapping_sub(delta)))
        }
        _ => None,
    }
}

/// What an addition may add to.
fn bases(operation: &Operation, state: State, evicts: bool) -> [Option<State>; 2] {
    let add = Operation { action: Action::Add(0), seen: Seen::Unknown, ..*operation };
    outcomes(&add, state, evicts)
}

/// A few of the additions that come to `sum`.
fn find_summands(deltas: &[i64], sum: i64) -> Option<Vec<i64>> {
    (1..=TOGETHER_MAX).find_map(|count| {
        let mut found = Vec::new();
        let tries = deltas.len().checked_pow(count - 1).is_some_and(|tries| tries <= TRIES_MAX);
        (tries && add_up(deltas, sum, count, &mut found)).then_some(found)
    })
}

fn add_up(deltas: &[i64], sum: i64, count: u32, found: &mut Vec<i64>) -> bool {
    if count == 1 {
        let is_there = deltas.binary_search(&sum).is_ok();
        found.extend(is_there.then_some(sum));
        return is_there;
    }
    for (at, delta) in deltas.iter().enumerate().take_while(|(_, delta)| **delta < sum) {
        found.push(*delta);
        if add_up(&deltas[at + 1..], sum - delta, count - 1, found) {
            return true;
        }
        found.pop();
    }
    false
}
