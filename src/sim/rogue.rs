//! A client that keeps no rules: it leaves gaps in its sequences, never says what it still waits for, repeats old writes
//! and changes them, speaks of runs of the server that are over, and sends the same write by datagram and by stream.
//! Whatever it does, a write of its runs at most once in a session. And it is a thief: it overhears what others send by
//! datagram, and sends it again, from its own address, from theirs, and over its connection.

use crate::random::Random;
use crate::wire::frame::{COOKIE_LEN, Head, Op};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

/// Writes that it remembers.
const REMEMBERED: u32 = 80;
/// Datagrams of others that it remembers.
const OVERHEARD_MAX: usize = 64;

/// The client.
pub struct Rogue {
    pub random: Random,
    pub client_id: u64,
    pub epoch: u32,
    /// The epoch that it heard before this one.
    pub old_epoch: u32,
    pub cookie: [u8; COOKIE_LEN],
    /// Whether a HELLO was answered OK.
    pub open: bool,
    pub highest: u32,
    pub first: u32,
    /// What it added under each sequence.
    pub added: BTreeMap<u32, i64>,
    pub link: Option<usize>,
    /// The cookie that its connection was given, and whether a HELLO was answered OK there.
    pub stream_cookie: [u8; COOKIE_LEN],
    pub stream_open: bool,
    /// What it has heard on its connection and not understood yet.
    pub heard: Vec<u8>,
    /// What others have sent, and from where.
    pub overheard: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Every client id that it has gone by.
    pub ids: BTreeSet<u64>,
    pub think_us: u64,
}

impl Rogue {
    pub fn new(root: &mut Random) -> Rogue {
        let mut random = root.split();
        let client_id = random.next();
        Rogue {
            client_id,
            epoch: 0,
            old_epoch: 0,
            cookie: [0; COOKIE_LEN],
            open: false,
            highest: 0,
            first: 1,
            added: BTreeMap::new(),
            link: None,
            stream_cookie: [0; COOKIE_LEN],
            stream_open: false,
            heard: Vec::new(),
            overheard: VecDeque::new(),
            ids: BTreeSet::from([client_id]),
            think_us: random.pick(&[5_000, 50_000, 300_000]),
            random,
        }
    }

    /// A new life under another name.
    pub fn forget(&mut self) {
        self.client_id = self.random.next();
        self.ids.insert(self.client_id);
        (self.stream_cookie, self.stream_open) = ([0; COOKIE_LEN], false);
        (self.cookie, self.open) = ([0; COOKIE_LEN], false);
        (self.highest, self.first) = (0, 1);
        self.added.clear();
    }

    /// Its connection is gone, or a new one begins.
    pub fn lose_link(&mut self) {
        self.link = None;
        self.heard.clear();
        (self.stream_cookie, self.stream_open) = ([0; COOKIE_LEN], false);
    }

    /// A HELLO was answered OK.
    pub fn take_epoch(&mut self, epoch: u32) {
        if self.epoch != epoch {
            self.old_epoch = std::mem::replace(&mut self.epoch, epoch);
        }
    }

    /// Another client sends this by datagram.
    pub fn overhear(&mut self, from: SocketAddr, bytes: &[u8]) {
        if self.overheard.len() == OVERHEARD_MAX {
            self.overheard.pop_front();
        }
        self.overheard.push_back((from, bytes.to_vec()));
    }

    /// Whether a frame that comes from the rogue is another client's.
    pub fn is_stolen(&self, client_id: u64) -> bool {
        !self.ids.contains(&client_id)
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
        let is_old = self.old_epoch != 0 && self.random.below(8) == 0;
        let head = Head {
            epoch: if is_old { self.old_epoch } else { self.epoch },
            first_incomplete: self.first.min(sequence),
            cookie: self.cookie,
            argument: delta.cast_unsigned(),
            attempt: self.random.below(4) as u8,
            ..Head::request(Op::Add, self.client_id, sequence)
        };
        (head, delta)
    }
}
