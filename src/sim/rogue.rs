//! A client that keeps no rules: it leaves gaps in its sequences, never says what it still waits for, repeats old writes
//! and changes them, speaks of runs of the server that are over, and sends the same write by datagram and by stream. Whatever it does, a
//! write of its runs at most once.

use super::links::{Link, Owner};
use super::violation::Violation;
use super::world::{Event, World};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::random::Random;
use crate::wire::frame::{self, COOKIE_LEN, Direction, Head, Op, Status};
use crate::wire::tag::TagKeys;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Writes that it remembers.
const REMEMBERED: u32 = 80;

/// The client.
pub struct Rogue {
    random: Random,
    client_id: u64,
    epoch: u32,
    cookie: [u8; COOKIE_LEN],
    /// Whether a HELLO was answered OK.
    open: bool,
    highest: u32,
    first: u32,
    /// What it added under each sequence.
    added: BTreeMap<u32, i64>,
    pub link: Option<usize>,
    think_us: u64,
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
    fn forget(&mut self) {
        self.client_id = self.random.next();
        (self.epoch, self.cookie, self.open) = (0, [0; COOKIE_LEN], false);
        (self.highest, self.first) = (0, 1);
        self.added.clear();
    }

    /// The head and the delta of the next write.
    fn draw_write(&mut self) -> (Head, i64) {
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

impl World {
    fn rogue_address(&self) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, self.udp.len() as u8], 666))
    }

    /// It does something.
    pub fn think_rogue(&mut self) -> Result<(), Violation> {
        if self.healed {
            return Ok(());
        }
        let pause = self.random.exponential(self.rogue.think_us) + 1;
        self.agenda.at(self.clock.now + pause, Event::ThinkRogue);
        if self.rogue.random.below(100) == 0 {
            self.rogue.forget();
        }
        if !self.rogue.open {
            let head =
                Head { cookie: self.rogue.cookie, ..Head::request(Op::Hello, self.rogue.client_id, 0) };
            return self.rogue_sends(&head, b"", false);
        }
        let by_stream = self.rogue.random.below(4) == 0;
        if by_stream && self.rogue.link.is_none() {
            return self.rogue_connects();
        }
        let (head, delta) = self.rogue.draw_write();
        let key = [b'x', b'0' + (delta % 3) as u8];
        self.rogue_sends(&head, &key, by_stream)
    }

    fn rogue_sends(&mut self, head: &Head, key: &[u8], by_stream: bool) -> Result<(), Violation> {
        let tags = self.config.password.as_deref().map(TagKeys::from_password);
        let mut out = [0; DATAGRAM_BYTES_MAX];
        let tag = tags.as_ref().map(|tags| &tags.request);
        let len = frame::encode(&mut out, head, key, b"", tag).expect("keys are short");
        self.frames.sent(&out[..len], false)?;
        self.report.asked_rogue += 1;
        match self.rogue.link.filter(|_| by_stream) {
            Some(link) => self.send_frame(link, &out[..len]),
            None => self.to_server(self.rogue_address(), out[..len].to_vec()),
        }
        Ok(())
    }

    fn rogue_connects(&mut self) -> Result<(), Violation> {
        let Ok(id) = self.node.open(self.rogue_address(), self.clock.reading()) else { return Ok(()) };
        self.rogue.link = Some(self.links.len());
        self.links.push(Link::new(Owner::Rogue, id, self.links.len()));
        let head = Head::request(Op::Hello, self.rogue.client_id, 0);
        self.rogue_sends(&head, b"", true)
    }

    /// A datagram for it.
    pub fn rogue_hears(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let Ok(reply) = frame::decode_datagram(bytes, Direction::Reply) else { return Ok(()) };
        let (head, rogue) = (&reply.head, &mut self.rogue);
        if head.client_id != rogue.client_id {
            return Ok(());
        }
        match (head.status(), head.op()) {
            (Some(Status::Challenge), _) => rogue.cookie = head.cookie,
            (Some(Status::Ok), Some(Op::Hello)) => {
                (rogue.epoch, rogue.cookie, rogue.open) = (head.epoch, head.cookie, true);
            }
            // Told that it is out of date, it mostly goes on all the same.
            (Some(Status::WrongEpoch | Status::StaleSession), _) if rogue.random.below(4) == 0 => {
                rogue.forget()
            }
            _ => {}
        }
        Ok(())
    }

    /// It hangs up, for good.
    pub fn rogue_leaves(&mut self) {
        if let Some(link) = self.rogue.link.take() {
            self.send_reset(link);
        }
    }
}
