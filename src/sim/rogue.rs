//! A client that keeps no rules: it leaves gaps in its sequences, never says what it still waits for, repeats old writes
//! and changes them, speaks of runs of the server that are over, and sends the same write by datagram and by stream. Whatever it does, a
//! write of its runs at most once in a session.

use crate::random::Random;
use crate::wire::frame::{COOKIE_LEN, Head, Op};
use std::collections::BTreeMap;

/// Writes that it remembers.
const REMEMBERED: u32 = 80;

/// The client.
pub struct Rogue {
    pub random: Random,
    pub client_id: u64,
    pub epoch: u32,
    pub cookie: [u8; COOKIE_LEN],
    /// Whether a HELLO was answered OK.
    pub open: bool,
    pub highest: u32,
    pub first: u32,
    /// What it added under each sequence.
    pub added: BTreeMap<u32, i64>,
    pub link: Option<usize>,
    pub think_us: u64,
}

impl Rogue {
    pub fn new(root: &mut Random) -> Rogue {
        let mut random = root.split();
        Rogue {
            client_id: random.next(),
            epoch: 0,
            cookie: [0; COOKIE_LEN],
            open: false,
            highest: 0,
            first: 1,
            added: BTreeMap::new(),
            link: None,
            think_us: random.pick(&[5_000, 50_000, 300_000]),
            random,
        }
    }

    /// A new life under another name.
    pub fn forget(&mut self) {
        self.client_id = self.random.next();
        (self.epoch, self.cookie, self.open) = (0, [0; COOKIE_LEN], false);
        (self.highest, self.first) = (0, 1);
        self.added.clear();
    }

    /// The head and the delta of the next write.
    pub fn draw_write(&mut self) -> (Head, i64) {
        let near = self.highest.saturating_sub(REMEMBERED - 1).max(1);
        let (sequence, delta) = match self.random.below(12) {
            // Again, an old one.
            0..5 if self.highest > 0 => {
                let sequence = near + self.random.below((self.highest - near + 1) as usize) as u32;
                (sequence, self.added.get(&sequence).copied().unwrap_or(1))
            }
            // An old one's number for something else.
            5 if self.highest > 0 => (self.highest, 7),
            6 => (self.highest + 1 + self.random.below(200) as u32, 1 + self.random.below(1 << 40) as i64),
            _ => (self.highest + 1 + self.random.below(2) as u32, 1 + self.random.below(1 << 40) as i64),
        };
        if self.random.below(40) == 0 {
            self.first = self.highest.max(1);
        }
        self.highest = self.highest.max(sequence);
        self.added.entry(sequence).or_insert(delta);
        let head = Head {
            epoch: self.epoch,
            first_incomplete: self.first.min(sequence),
            cookie: self.cookie,
            argument: delta.cast_unsigned(),
            attempt: self.random.below(4) as u8,
            ..Head::request(Op::Add, self.client_id, sequence)
        };
        (head, delta)
    }
}
