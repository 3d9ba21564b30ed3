//! Where the keys are among the arguments of a command.

use super::{Flags, Verb, VerbId};
use crate::wire::{arguments::Args, number::parse_i64};

/// Where the keys are among a verb's arguments, the verb itself being argument 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Position of the first key; 0: there are none.
    pub first: i8,
    /// Position of the last key; -1 is the last argument.
    pub last: i8,
    /// Distance from one key to the next.
    pub step: i8,
}

impl Verb {
    /// Whether a command of this verb can have keys.
    #[must_use]
    pub const fn has_keys(&self) -> bool {
        self.keys.first > 0 || self.flags.has(Flags::MOVABLE_KEYS)
    }

    /// The positions of the keys among `args`, the verb itself being argument 0. What has no keys there, or is no
    /// well-formed command, has none. A position may hold a large argument, which is longer than any key.
    #[must_use]
    pub fn key_positions(&self, args: &Args<'_>) -> KeyPositions {
        let mut positions = KeyPositions { next: 0, end: 0, step: 1, destination: None };
        if !self.has_keys() || !self.admits(args.len()) {
            return positions;
        }
        if self.keys.first == 0 {
            // A script: the number of keys, the keys, other arguments.
            let count = args.bytes(2).and_then(parse_i64).and_then(|count| usize::try_from(count).ok());
            let end = count.map_or(0, |count| count.saturating_add(3));
            (positions.next, positions.end) = (3, if end > args.len() { 0 } else { end });
            return positions;
        }
        let last = match self.keys.last {
            last @ 0.. => last as usize,
            from_end => args.len() - from_end.unsigned_abs() as usize,
        };
        (positions.next, positions.end) = (self.keys.first as usize, args.len().min(last + 1));
        positions.step = self.keys.step as usize;
        match self.id {
            // The count of pairs stands before them, options behind.
            VerbId::Msetex => {
                let count = args.bytes(1).and_then(parse_i64).and_then(|count| usize::try_from(count).ok());
                let end = count.and_then(|count| count.checked_mul(2)).map_or(0, |len| len.saturating_add(2));
                positions.end = positions.end.min(end);
            }
            // The count of keys stands before them, options behind.
            VerbId::Sintercard => {
                let count = args.bytes(1).and_then(parse_i64).and_then(|count| usize::try_from(count).ok());
                positions.end = positions.end.min(count.map_or(0, |count| count.saturating_add(2)));
            }
            VerbId::Sort => {
                let is_store =
                    |at: &usize| args.bytes(*at).is_some_and(|word| word.eq_ignore_ascii_case(b"store"));
                let stores = (2..args.len().saturating_sub(1)).filter(is_store);
                positions.destination = stores.max().map(|at| at + 1);
            }
            _ => {}
        }
        positions
    }
}

/// Where a command's keys are: see [`Verb::key_positions`].
#[derive(Clone, Debug)]
pub struct KeyPositions {
    next: usize,
    end: usize,
    step: usize,
    /// A key behind those of the range.
    destination: Option<usize>,
}

impl Iterator for KeyPositions {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.next >= self.end {
            return self.destination.take();
        }
        let at = self.next;
        self.next += self.step;
        Some(at)
    }
}
