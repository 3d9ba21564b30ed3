//! Lua's patterns, matched with a bound: Lua's own matcher may take exponential time, in C code that no instruction
//! count ends. The same classes, items and errors as in Lua 5.1.
//!
//! ```text
//! items: x  x*  x+  x-  x?  %bxy  %f[set]  (  )  ^ at the beginning  $ at the end
//! ```

use super::limits::{Limits, Raised};

/// Captures of one pattern, at most.
const CAPTURES_MAX: usize = 32;
/// Matches that lie in one another, at most: each takes some of the stack.
const DEPTH_MAX: usize = 200;
/// Characters that are compared between two looks at the clock.
const STEPS_BETWEEN_LOOKS: u32 = 4096;

const ESCAPE: u8 = b'%';

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The pattern is wrong; Lua's text.
    Pattern(&'static str),
    Raised(Raised),
}

impl From<Raised> for Failure {
    fn from(raised: Raised) -> Failure {
        Failure::Raised(raised)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Len {
    Bytes(usize),
    /// The capture is not closed yet.
    Open,
    /// `()`: the capture is its position.
    Position,
}

/// What a capture holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capture<'s> {
    Bytes(&'s [u8]),
    /// Counted from 1.
    Position(usize),
}

type Matched = Result<Option<usize>, Failure>;

/// A subject and a pattern, without the pattern's `^`.
pub(super) struct Matcher<'s> {
    subject: &'s [u8],
    pattern: &'s [u8],
    is_anchored: bool,
    captures: [(usize, Len); CAPTURES_MAX],
    level: usize,
    depth: usize,
    steps: u32,
    limits: &'s Limits,
}

impl<'s> Matcher<'s> {
    pub(super) fn new(subject: &'s [u8], pattern: &'s [u8], limits: &'s Limits) -> Matcher<'s> {
        let is_anchored = pattern.first() == Some(&b'^');
        Matcher {
            subject,
            pattern: &pattern[usize::from(is_anchored)..],
            is_anchored,
            captures: [(0, Len::Open); CAPTURES_MAX],
            level: 0,
            depth: 0,
            steps: 0,
            limits,
        }
    }

    /// As [`new`](Matcher::new), for `gmatch`, which knows no anchor.
    pub(super) fn unanchored(subject: &'s [u8], pattern: &'s [u8], limits: &'s Limits) -> Matcher<'s> {
        Matcher { pattern, is_anchored: false, ..Matcher::new(subject, pattern, limits) }
    }

    pub(super) fn is_anchored(&self) -> bool {
        self.is_anchored
    }

    /// The first match from `from` on, its beginning and end.
    pub(super) fn find(&mut self, from: usize) -> Result<Option<(usize, usize)>, Failure> {
        for at in from..=self.subject.len() {
            if let Some(end) = self.match_at(at)? {
                return Ok(Some((at, end)));
            }
            if self.is_anchored {
                break;
            }
        }
        Ok(None)
    }

    /// The end of the match that begins exactly at `at`.
    pub(super) fn match_at(&mut self, at: usize) -> Matched {
        self.level = 0;
        self.depth = 0;
        self.step()?;
        self.run(at, 0)
    }

    /// Captures of the last match.
    pub(super) fn capture_count(&self) -> usize {
        self.level
    }

    /// Capture `i` of the last match, which went from `start` to `end`; the whole match where the pattern has none.
    pub(super) fn capture(&self, i: usize, start: usize, end: usize) -> Result<Capture<'s>, Failure> {
        if i >= self.level {
            return match i {
                0 => Ok(Capture::Bytes(&self.subject[start..end])),
                _ => Err(Failure::Pattern("invalid capture index")),
            };
        }
        match self.captures[i] {
            (at, Len::Bytes(len)) => Ok(Capture::Bytes(&self.subject[at..at + len])),
            (at, Len::Position) => Ok(Capture::Position(at + 1)),
            (_, Len::Open) => Err(Failure::Pattern("unfinished capture")),
        }
    }

    fn step(&mut self) -> Result<(), Failure> {
        self.steps += 1;
        if self.steps >= STEPS_BETWEEN_LOOKS {
            self.steps = 0;
            self.limits.check_clock()?;
        }
        Ok(())
    }

    fn run(&mut self, s: usize, p: usize) -> Matched {
        if self.depth >= DEPTH_MAX {
            return Err(Failure::Pattern("pattern too complex"));
        }
        self.depth += 1;
        let end = self.run_items(s, p);
        self.depth -= 1;
        end
    }

    /// Matches the pattern from `p` on against the subject from `s` on.
    fn run_items(&mut self, mut s: usize, mut p: usize) -> Matched {
        loop {
            let pattern = &self.pattern[p..];
            match pattern {
                [] => return Ok(Some(s)),
                [b'(', b')', ..] => return self.open(s, p + 2, Len::Position),
                [b'(', ..] => return self.open(s, p + 1, Len::Open),
                [b')', ..] => return self.close(s, p + 1),
                [b'$'] => return Ok((s == self.subject.len()).then_some(s)),
                [ESCAPE, b'b', ..] => match self.balanced(s, p + 2)? {
                    Some(end) => (s, p) = (end, p + 4),
                    None => return Ok(None),
                },
                [ESCAPE, b'f', ..] => match self.frontier(s, p + 2)? {
                    Some(next) => p = next,
                    None => return Ok(None),
                },
                [ESCAPE, digit @ b'0'..=b'9', ..] => match self.back_reference(s, *digit)? {
                    Some(end) => (s, p) = (end, p + 2),
                    None => return Ok(None),
                },
                _ => {
                    let next = self.class_end(p)?;
                    match self.pattern.get(next) {
                        Some(b'?') => {
                            if self.single(s, p, next)?
                                && let Some(end) = self.run(s + 1, next + 1)?
                            {
                                return Ok(Some(end));
                            }
                            p = next + 1;
                        }
                        Some(b'*') => return self.expand(s, p, next),
                        Some(b'+') => {
                            return if self.single(s, p, next)? {
                                self.expand(s + 1, p, next)
                            } else {
                                Ok(None)
                            };
                        }
                        Some(b'-') => return self.expand_least(s, p, next),
                        _ if self.single(s, p, next)? => (s, p) = (s + 1, next),
                        _ => return Ok(None),
                    }
                }
            }
        }
    }

    /// Where the class that begins at `p` ends.
    fn class_end(&self, p: usize) -> Result<usize, Failure> {
        match &self.pattern[p..] {
            [ESCAPE] => Err(Failure::Pattern("malformed pattern (ends with '%')")),
            [ESCAPE, ..] => Ok(p + 2),
            [b'[', ..] => {
                let mut at = p + 1;
                if self.pattern.get(at) == Some(&b'^') {
                    at += 1;
                }
                let first = at;
                loop {
                    match self.pattern.get(at) {
                        None => return Err(Failure::Pattern("malformed pattern (missing ']')")),
                        Some(b']') if at > first => return Ok(at + 1),
                        Some(&ESCAPE) => at += 2,
                        Some(_) => at += 1,
                    }
                }
            }
            _ => Ok(p + 1),
        }
    }

    /// Whether the class from `p` to `end` matches the byte at `s`.
    fn single(&mut self, s: usize, p: usize, end: usize) -> Result<bool, Failure> {
        self.step()?;
        let Some(byte) = self.subject.get(s) else { return Ok(false) };
        Ok(match self.pattern[p] {
            b'.' => true,
            ESCAPE => in_class(*byte, self.pattern[p + 1]),
            b'[' => in_set(*byte, &self.pattern[p + 1..end - 1]),
            literal => literal == *byte,
        })
    }

    /// As many of a class as there are, then fewer.
    fn expand(&mut self, s: usize, p: usize, end: usize) -> Matched {
        let mut count = 0;
        while self.single(s + count, p, end)? {
            count += 1;
        }
        loop {
            if let Some(end) = self.run(s + count, end + 1)? {
                return Ok(Some(end));
            }
            if count == 0 {
                return Ok(None);
            }
            count -= 1;
        }
    }

    /// As few of a class as will do.
    fn expand_least(&mut self, mut s: usize, p: usize, end: usize) -> Matched {
        loop {
            if let Some(end) = self.run(s, end + 1)? {
                return Ok(Some(end));
            }
            if !self.single(s, p, end)? {
                return Ok(None);
            }
            s += 1;
        }
    }

    fn open(&mut self, s: usize, p: usize, len: Len) -> Matched {
        if self.level >= CAPTURES_MAX {
            return Err(Failure::Pattern("too many captures"));
        }
        self.captures[self.level] = (s, len);
        self.level += 1;
        let end = self.run(s, p)?;
        if end.is_none() {
            self.level -= 1;
        }
        Ok(end)
    }

    fn close(&mut self, s: usize, p: usize) -> Matched {
        let open = self.captures[..self.level].iter().rposition(|(_, len)| *len == Len::Open);
        let i = open.ok_or(Failure::Pattern("invalid pattern capture"))?;
        self.captures[i].1 = Len::Bytes(s - self.captures[i].0);
        let end = self.run(s, p)?;
        if end.is_none() {
            self.captures[i].1 = Len::Open;
        }
        Ok(end)
    }

    /// `%bxy`, of which the two bytes are at `p`.
    fn balanced(&mut self, s: usize, p: usize) -> Matched {
        let [open, close, ..] = self.pattern[p..] else {
            return Err(Failure::Pattern("unbalanced pattern"));
        };
        if self.subject.get(s) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1;
        for at in s + 1..self.subject.len() {
            self.step()?;
            let byte = self.subject[at];
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(at + 1));
                }
            } else if byte == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// `%f[set]`, of which the set is at `p`: where the pattern goes on.
    fn frontier(&mut self, s: usize, p: usize) -> Matched {
        if self.pattern.get(p) != Some(&b'[') {
            return Err(Failure::Pattern("missing '[' after '%f' in pattern"));
        }
        let end = self.class_end(p)?;
        let set = &self.pattern[p + 1..end - 1];
        let before = if s == 0 { 0 } else { self.subject[s - 1] };
        let here = self.subject.get(s).copied().unwrap_or(0);
        Ok((!in_set(before, set) && in_set(here, set)).then_some(end))
    }

    fn back_reference(&mut self, s: usize, digit: u8) -> Matched {
        let i = usize::from(digit).wrapping_sub(usize::from(b'1'));
        let (start, len) = match self.captures.get(i).filter(|_| i < self.level) {
            Some((start, Len::Bytes(len))) => (*start, *len),
            _ => return Err(Failure::Pattern("invalid capture index")),
        };
        self.step()?;
        let is_same = self.subject[s..].starts_with(&self.subject[start..start + len]);
        Ok(is_same.then_some(s + len))
    }
}

/// Whether a byte is of the class `%letter`; another character stands for itself.
fn in_class(byte: u8, class: u8) -> bool {
    let is_in = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => matches!(byte, b' ' | b'\t'..=b'\r'),
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    is_in != class.is_ascii_uppercase()
}

/// Whether a byte is in a set, given without its brackets.
fn in_set(byte: u8, set: &[u8]) -> bool {
    let (is_negated, mut rest) = match set {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    loop {
        rest = match rest {
            [] => return is_negated,
            [ESCAPE, class, rest @ ..] => {
                if in_class(byte, *class) {
                    return !is_negated;
                }
                rest
            }
            [low, b'-', high, rest @ ..] => {
                if (*low..=*high).contains(&byte) {
                    return !is_negated;
                }
                rest
            }
            [literal, rest @ ..] => {
                if *literal == byte {
                    return !is_negated;
                }
                rest
            }
        };
    }
}

/// Whether a pattern is a plain text.
pub(super) fn is_literal(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte))
}

#[cfg(test)]
mod tests;
