//! What the clients asked and were answered, and when: nothing in here comes from the server but its answers.

use super::clock::Clock;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a key holds, as far as clients can tell values apart: every text that is written is written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Content {
    Absent,
    Text(u32),
    Number(i64),
}

impl Content {
    /// Reads a value that came back. `None`: no client wrote these bytes.
    pub fn of(bytes: &[u8]) -> Option<Content> {
        if let Some(rest) = bytes.strip_prefix(b"v") {
            let digits = rest.split(|byte| *byte == b'.').next()?;
            let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
            return (text(number, bytes.len())[..] == *bytes).then_some(Content::Text(number));
        }
        std::str::from_utf8(bytes).ok()?.parse().ok().map(Content::Number)
    }
}

/// A value of that number and at least that length, which no other number has.
pub fn text(number: u32, len: usize) -> Rc<[u8]> {
    let mut bytes = format!("v{number}.").into_bytes();
    while bytes.len() < len {
        bytes.push(b'a' + ((bytes.len() as u32).wrapping_mul(7).wrapping_add(number) % 26) as u8);
    }
    bytes.into()
}

/// Under which condition a value is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum If {
    Always,
    Absent,
    Present,
    /// The key still has what the client had read before.
    Still(Content),
}

/// What a client asks of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Get,
    Put {
        content: Content,
        ttl_ms: Option<u64>,
        keeps_ttl: bool,
        condition: If,
    },
    Delete,
    Add(i64),
    /// `None`: for ever.
    Expire(Option<u64>),
    /// Every key is gone: a restart, or FLUSHALL.
    Clear,
}

/// What it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Content(Content),
    /// Whether the condition held, or the key was there.
    Done(bool),
    Sum(i64),
    /// No answer: it takes effect once, or never.
    Unknown,
}

/// One action, from when it was asked for until the client knew.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub client: usize,
    pub action: Action,
    pub seen: Seen,
    pub begun: u64,
    /// Unknown ones: the end of the server's life, after which they cannot take effect any more.
    pub ended: u64,
    /// The server's wall clock meanwhile, from and to, in Unix ms.
    pub wall: (u64, u64),
    /// The highest that the wall clock has shown until then, in Unix ms: a key may have gone before the clock was set back.
    pub wall_highest: u64,
}

/// An action under way.
#[derive(Clone, Debug)]
pub struct Begun {
    pub client: usize,
    pub key: Rc<[u8]>,
    pub action: Action,
    pub at: u64,
}

/// All operations, by key.
#[derive(Default)]
pub struct History {
    keys: BTreeMap<Rc<[u8]>, Vec<Operation>>,
    /// Unknown ones that may still take effect: key and position.
    open: Vec<(Rc<[u8]>, usize)>,
    open_clears: Vec<usize>,
    /// What takes every key away: restarts and FLUSHALL.
    clears: Vec<Operation>,
}

impl History {
    /// The client was answered.
    pub fn answered(&mut self, begun: &Begun, seen: Seen, clock: &Clock) {
        self.push(begun, seen, clock);
    }

    /// The client has given up without an answer.
    pub fn unknown(&mut self, begun: &Begun, clock: &Clock) {
        if begun.action == Action::Get {
            return;
        }
        let at = self.push(begun, Seen::Unknown, clock);
        self.open.push((Rc::clone(&begun.key), at));
    }

    fn push(&mut self, begun: &Begun, seen: Seen, clock: &Clock) -> usize {
        let operation = operation(begun, seen, clock);
        let operations = self.keys.entry(Rc::clone(&begun.key)).or_default();
        operations.push(operation);
        operations.len() - 1
    }

    /// The server was restarted: what was sent to it before can take no effect any more.
    pub fn restarted(&mut self, clock: &Clock) {
        self.close(clock);
        let begun =
            Begun { client: usize::MAX, key: Rc::from(&b""[..]), action: Action::Clear, at: clock.now };
        self.cleared(&begun, Seen::Done(true), clock);
    }

    /// A client has asked for every key to go.
    pub fn cleared(&mut self, begun: &Begun, seen: Seen, clock: &Clock) {
        if seen == Seen::Unknown {
            self.open_clears.push(self.clears.len());
        }
        self.clears.push(operation(begun, seen, clock));
    }

    /// Nothing can take effect any more that has not.
    pub fn close(&mut self, clock: &Clock) {
        for (key, at) in std::mem::take(&mut self.open) {
            if let Some(operation) = self.keys.get_mut(&key).and_then(|operations| operations.get_mut(at)) {
                operation.lasts(clock);
            }
        }
        for at in std::mem::take(&mut self.open_clears) {
            self.clears[at].lasts(clock);
        }
    }

    /// Each key with its operations, in the order in which they began; restarts among them.
    pub fn by_key(&self) -> impl Iterator<Item = (&Rc<[u8]>, Vec<Operation>)> + '_ {
        self.keys.iter().map(move |(key, operations)| {
            let mut all: Vec<_> = operations.iter().chain(&self.clears).copied().collect();
            all.sort_by_key(|operation| operation.begun);
            (key, all)
        })
    }
}

impl Operation {
    /// It may take effect until now: a moment longer, so that what was answered late can still be explained by it when
    /// the restart of this moment is looked at.
    fn lasts(&mut self, clock: &Clock) {
        self.ended = clock.now + 1;
        self.wall = clock.wall_between(self.begun, clock.now);
        self.wall_highest = clock.wall_between(0, clock.now).1;
    }
}

fn operation(begun: &Begun, seen: Seen, clock: &Clock) -> Operation {
    Operation {
        client: begun.client,
        action: begun.action,
        seen,
        begun: begun.at,
        ended: clock.now,
        wall: clock.wall_between(begun.at, clock.now),
        wall_highest: clock.wall_between(0, clock.now).1,
    }
}
