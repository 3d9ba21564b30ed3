//! What the client that keeps no rules does, and what it hears.

use super::{Event, World};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::sim::link::{Link, Owner};
use crate::sim::violation::Violation;
use crate::wire::frame::{self, Direction, Head, Op, Status, Step};
use crate::wire::tag::TagKeys;
use std::net::SocketAddr;

impl World {
    pub fn rogue_address(&self) -> SocketAddr {
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
        if self.rogue.random.below(6) == 0 {
            return self.rogue_steals();
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
        if by_stream && !self.rogue.stream_open {
            return self.rogue_greets();
        }
        let (mut head, delta) = self.rogue.draw_write();
        if by_stream {
            head.cookie = self.rogue.stream_cookie;
        }
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
            None => self.send_to_server(self.rogue_address(), out[..len].to_vec()),
        }
        Ok(())
    }

    fn rogue_connects(&mut self) -> Result<(), Violation> {
        let Ok(id) = self.node.open(self.rogue_address(), self.clock.reading()) else { return Ok(()) };
        self.rogue.lose_link();
        self.rogue.link = Some(self.links.len());
        self.links.push(Link::new(Owner::Rogue, id, self.links.len()));
        self.rogue_greets()
    }

    /// It says HELLO over its connection.
    fn rogue_greets(&mut self) -> Result<(), Violation> {
        let cookie = self.rogue.stream_cookie;
        self.rogue_sends(&Head { cookie, ..Head::request(Op::Hello, self.rogue.client_id, 0) }, b"", true)
    }

    /// It sends what another client has sent, byte by byte.
    fn rogue_steals(&mut self) -> Result<(), Violation> {
        let count = self.rogue.overheard.len();
        if count == 0 {
            return Ok(());
        }
        let (from, bytes) = self.rogue.overheard[self.rogue.random.below(count)].clone();
        self.report.stolen_rogue += 1;
        match (self.rogue.random.below(3), self.rogue.link) {
            (0, Some(link)) => self.send_frame(link, &bytes),
            (1, _) => self.send_to_server(from, bytes),
            _ => self.send_to_server(self.rogue_address(), bytes),
        }
        Ok(())
    }

    /// Bytes arrive on its connection.
    pub fn rogue_hears_stream(&mut self, bytes: &[u8]) {
        self.rogue.heard.extend_from_slice(bytes);
        let heard = std::mem::take(&mut self.rogue.heard);
        let mut rest = &heard[..];
        while let Ok(Step::Ready { frame, consumed }) =
            frame::decode_prefix(rest, Direction::Reply, DATAGRAM_BYTES_MAX)
        {
            let (head, rogue) = (&frame.head, &mut self.rogue);
            if head.client_id == rogue.client_id {
                match (head.status(), head.op()) {
                    (Some(Status::Challenge), _) => {
                        (rogue.stream_cookie, rogue.stream_open) = (head.cookie, false);
                    }
                    (Some(Status::Ok), Some(Op::Hello)) => {
                        (rogue.stream_cookie, rogue.stream_open) = (head.cookie, true);
                        rogue.take_epoch(head.epoch);
                    }
                    _ => {}
                }
            }
            rest = &rest[consumed..];
        }
        self.rogue.heard = rest.to_vec();
    }

    /// A datagram for it.
    pub fn rogue_hears(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let Ok(reply) = frame::decode_datagram(bytes, Direction::Reply) else { return Ok(()) };
        let (head, rogue) = (&reply.head, &mut self.rogue);
        if head.client_id != rogue.client_id {
            return Ok(());
        }
        match (head.status(), head.op()) {
            (Some(Status::Challenge), _) => {
                (rogue.cookie, rogue.open) = (head.cookie, rogue.open && rogue.random.below(2) == 0);
            }
            (Some(Status::Ok), Some(Op::Hello)) => {
                (rogue.cookie, rogue.open) = (head.cookie, true);
                rogue.take_epoch(head.epoch);
            }
            // Where the answer is that it is out of date, it mostly goes on all the same.
            (Some(Status::WrongEpoch | Status::StaleSession), _) if rogue.random.below(4) == 0 => {
                rogue.forget()
            }
            _ => {}
        }
        Ok(())
    }

    /// It hangs up, for good.
    pub fn rogue_leaves(&mut self) {
        if let Some(link) = self.rogue.link {
            self.rogue.lose_link();
            self.send_reset(link);
        }
    }
}
