//! What the client that keeps no rules does, and what it hears.

use super::{Event, World};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::sim::link::{Link, Owner};
use crate::sim::violation::Violation;
use crate::wire::frame::{self, Direction, Head, Op, Status};
use crate::wire::tag::TagKeys;
use std::net::SocketAddr;

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
            None => self.send_to_server(self.rogue_address(), out[..len].to_vec()),
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
