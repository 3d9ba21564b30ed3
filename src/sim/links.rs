//! TCP connections: bytes in order, in pieces, with ends and resets. On the server's side every answer passes by the
//! model before it travels to the client.

use super::clock::MILLISECOND;
use super::commands::{Command, told, told_reply};
use super::faults::Fault;
use super::frames::{Class, Place};
use super::peer::Peer;
use super::violation::{Violation, show, violation};
use super::world::{Event, World};
use crate::client::{Reply, whole_replies};
use crate::connection::ConnectionId;
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::wire::frame::{self, Direction, Step};
use std::collections::VecDeque;

/// Connections looked at after one event, at most: a bound on a loop that ends long before.
const ATTENTION_MAX: usize = 10_000;

/// What the server says of a command that was begun and not finished in time.
const NOT_FINISHED: &str = "begun and not finished";

/// Who uses a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Tcp(usize),
    /// Speaks frames.
    Rogue,
}

/// A connection.
pub struct Link {
    pub owner: Owner,
    id: ConnectionId,
    /// Open at the server.
    pub open: bool,
    /// What is at the server's socket and was not read.
    arrived: Vec<u8>,
    ended: bool,
    /// When the last bytes of each direction arrive: later ones never come before them.
    up_last: u64,
    down_last: u64,
    /// What was sent and not yet answered by the server.
    commands: VecDeque<Command>,
    frames: VecDeque<Vec<u8>>,
    /// The beginning of an answer.
    partial: Vec<u8>,
    peer: Peer,
}

impl Link {
    pub fn new(owner: Owner, id: ConnectionId, number: usize) -> Link {
        Link {
            owner,
            id,
            open: true,
            arrived: Vec::new(),
            ended: false,
            up_last: 0,
            down_last: 0,
            commands: VecDeque::new(),
            frames: VecDeque::new(),
            partial: Vec::new(),
            peer: Peer::new(number),
        }
    }
}

impl World {
    /// A client sends these commands, encoded as `bytes`.
    pub fn send_commands(&mut self, link: usize, commands: Vec<Command>, bytes: &[u8]) {
        self.links[link].commands.extend(commands);
        self.send_up(link, bytes);
    }

    /// The rogue sends a frame.
    pub fn send_frame(&mut self, link: usize, bytes: &[u8]) {
        self.links[link].frames.push_back(bytes.to_vec());
        self.send_up(link, bytes);
    }

    /// Bytes on their way to the server, in pieces.
    pub fn send_up(&mut self, link: usize, bytes: &[u8]) {
        let mut rest = bytes;
        let trickles = self.strikes(Fault::Trickle);
        if trickles {
            self.struck(Fault::Trickle);
        }
        for piece in 0..8 {
            let len = match (trickles, piece) {
                (_, 7) => rest.len(),
                (true, _) => 1 + self.random.below(20),
                (false, _) => rest.len().div_ceil(1 + self.random.below(3)),
            };
            let (now, later) = rest.split_at(len.min(rest.len()));
            if !now.is_empty() {
                let at = self.up_time(link);
                self.agenda.at(at, Event::Up(link, now.to_vec()));
            }
            rest = later;
        }
    }

    /// The client will send no more.
    pub fn send_end(&mut self, link: usize) {
        let at = self.up_time(link);
        self.agenda.at(at, Event::UpEnd(link));
    }

    /// The client resets the connection.
    pub fn send_reset(&mut self, link: usize) {
        let at = self.up_time(link);
        self.agenda.at(at, Event::UpReset(link));
    }

    fn up_time(&mut self, link: usize) -> u64 {
        let delay = 5 + self.random.below(self.delay_us as usize * 2) as u64;
        let last = &mut self.links[link].up_last;
        *last = (*last).max(self.clock.now + delay);
        *last
    }

    fn down_time(&mut self, link: usize) -> u64 {
        let delay = 5 + self.random.below(self.delay_us as usize * 2) as u64;
        let last = &mut self.links[link].down_last;
        *last = (*last).max(self.clock.now + delay);
        *last
    }

    /// Bytes arrive at the server.
    pub fn up(&mut self, link: usize, bytes: &[u8]) -> Result<(), Violation> {
        if !self.links[link].open {
            return Ok(());
        }
        self.links[link].arrived.extend_from_slice(bytes);
        self.serve(link)?;
        self.attend()
    }

    pub fn up_end(&mut self, link: usize) -> Result<(), Violation> {
        if !self.links[link].open {
            return Ok(());
        }
        self.links[link].ended = true;
        self.serve(link)?;
        self.attend()
    }

    pub fn up_reset(&mut self, link: usize) -> Result<(), Violation> {
        if std::mem::replace(&mut self.links[link].open, false) {
            self.node.failed(self.links[link].id);
            self.settle()?;
        }
        self.attend()
    }

    fn settle(&mut self) -> Result<(), Violation> {
        self.model.hear(self.node.take_log());
        self.model.settle(self.clock.reading().unix.0)
    }

    /// The server reads, runs and answers, until nothing moves on this connection.
    fn serve(&mut self, at: usize) -> Result<(), Violation> {
        let now = self.clock.reading();
        while self.links[at].open {
            let link = &mut self.links[at];
            let id = link.id;
            let taken = self.node.receive(id, &link.arrived, now);
            link.arrived.drain(..taken);
            if link.ended && link.arrived.is_empty() {
                self.node.ended(id);
            }
            // Making room for a large argument may drive keys out.
            self.settle()?;
            let before = self.node.counters().writes;
            let mut answer = Vec::new();
            self.node.run(id, now, &mut answer);
            let written = self.node.counters().writes - before;
            self.model.hear(self.node.take_log());
            let closed = self.node.close_if_finished(id);
            self.explain(at, &answer, written)?;
            let moved = taken > 0 || !answer.is_empty();
            if !answer.is_empty() {
                let arrives = self.down_time(at);
                self.agenda.at(arrives, Event::Down(at, answer));
            }
            if closed {
                return self.closed(at);
            }
            if !moved {
                break;
            }
        }
        Ok(())
    }

    /// The server has closed the connection.
    fn closed(&mut self, at: usize) -> Result<(), Violation> {
        let link = &mut self.links[at];
        link.open = false;
        let orderly = link.ended && link.arrived.is_empty() && self.healed;
        if orderly && !link.commands.is_empty() {
            let text =
                format!("closed with {} requests unanswered that had arrived whole", link.commands.len());
            return Err(violation(b"", text));
        }
        let arrives = self.down_time(at);
        self.agenda.at(arrives, Event::DownEnd(at));
        Ok(())
    }

    /// Connections that another one's command, or the time, has changed.
    pub fn attend(&mut self) -> Result<(), Violation> {
        for _ in 0..ATTENTION_MAX {
            let Some(id) = self.node.attention() else { return Ok(()) };
            if let Some(at) = self.links.iter().position(|link| link.open && link.id == id) {
                self.serve(at)?;
            }
        }
        Err(violation(b"", "connections ask for attention without end"))
    }

    /// Accounts for what the server has answered.
    fn explain(&mut self, at: usize, answer: &[u8], written: u64) -> Result<(), Violation> {
        let unix = self.clock.reading().unix.0;
        self.links[at].partial.extend_from_slice(answer);
        if self.links[at].owner == Owner::Rogue {
            self.explain_frames(at, written)?;
            return self.model.settle(unix);
        }
        let link = &mut self.links[at];
        let (replies, consumed) = whole_replies(&link.partial)
            .map_err(|reason| violation(b"", format!("{reason}: {}", show(&link.partial))))?;
        link.partial.drain(..consumed);
        for reply in replies {
            if matches!(&reply, Reply::Error { text, .. } if text.contains(NOT_FINISHED)) {
                self.report.stuck_closed += 1;
                continue;
            }
            let Some(command) = self.links[at].commands.pop_front() else {
                return Err(violation(b"", format!("nobody asked for {reply:?}")));
            };
            let key = command.words().get(1).cloned().unwrap_or_default();
            self.note(&key, |_| {
                format!("the server runs {} and answers {}", told(&command), told_reply(&reply))
            });
            self.report.refused_tcp +=
                u64::from(matches!(&reply, Reply::Error { code, .. } if code == "OOM"));
            self.links[at].peer.explain(&command, &reply, &mut self.model, unix)?;
        }
        self.model.settle(unix)
    }

    fn explain_frames(&mut self, at: usize, written: u64) -> Result<(), Violation> {
        let place = Place { epoch: self.node.epoch(), unix: self.clock.reading().unix.0 };
        let mut ran = 0;
        loop {
            let link = &mut self.links[at];
            let whole = match frame::decode_prefix(&link.partial, Direction::Reply, DATAGRAM_BYTES_MAX) {
                Ok(Step::Ready { frame, consumed }) => Some((frame, consumed)),
                _ => None,
            };
            let Some((reply, consumed)) = whole else { break };
            let Some(request) = link.frames.pop_front() else {
                return Err(violation(b"", "a frame was answered that nobody sent"));
            };
            let request = frame::decode_datagram(&request, Direction::Request).map_err(|reason| {
                violation(b"", format!("a damaged frame was answered: {}", reason.name()))
            })?;
            self.frames.tally.received += 1;
            ran += u64::from(self.frames.account(&request, &reply, place, &mut self.model)? == Class::Ran);
            link.partial.drain(..consumed);
        }
        if ran != written {
            return Err(violation(
                b"",
                format!("{written} writes ran on a stream where {ran} were answered"),
            ));
        }
        Ok(())
    }

    /// Everybody hangs up, at once.
    pub fn hang_up(&mut self) -> Result<(), Violation> {
        for at in 0..self.links.len() {
            self.up_reset(at)?;
        }
        Ok(())
    }

    /// The server's process has died: every connection is reset.
    pub fn sever(&mut self) {
        for at in 0..self.links.len() {
            if std::mem::replace(&mut self.links[at].open, false) {
                let arrives = self.down_time(at) + MILLISECOND;
                self.agenda.at(arrives, Event::DownEnd(at));
            }
        }
    }
}
