//! The network for datagrams: it loses, duplicates, delays, damages, misdelivers, and brings back what was sent long ago.

use super::{Event, World};
use crate::sim::clock::{MILLISECOND, SECOND};
use crate::sim::faults::Fault;
use crate::sim::frames::Place;
use crate::sim::packet::{Packet, To};
use crate::sim::violation::{Violation, violation};
use crate::wire::frame::{Direction, decode_datagram};
use std::net::SocketAddr;

/// Datagrams that are remembered, to be sent again.
const RECORDED: usize = 64;

impl World {
    /// A client sends a datagram to the server.
    pub fn send_to_server(&mut self, address: SocketAddr, bytes: Vec<u8>) {
        self.note(b"", |_| format!("{address} sends {}", describe(&bytes)));
        let packet = Packet { to: To::Server, address, bytes, number: 0 };
        if self.strikes(Fault::Spoofing) && !self.udp.is_empty() {
            let victim = self.random.below(self.udp.len());
            let address = self.udp[victim].address();
            self.struck(Fault::Spoofing);
            self.fly(Packet { address, ..packet.clone() });
        }
        if self.strikes(Fault::CrossDelivery) {
            self.struck(Fault::CrossDelivery);
            self.fly(Packet { to: To::Other, ..packet.clone() });
        }
        self.send(packet);
    }

    /// A server answers.
    fn send_to_client(&mut self, address: SocketAddr, bytes: Vec<u8>) {
        let packet = Packet { to: To::Client, address, bytes, number: 0 };
        if self.strikes(Fault::Reflection) {
            self.struck(Fault::Reflection);
            self.fly(Packet { to: To::Server, ..packet.clone() });
        }
        self.send(packet);
    }

    fn send(&mut self, packet: Packet) {
        self.remember(&packet);
        if self.strikes(Fault::Loss) {
            return self.struck(Fault::Loss);
        }
        if self.strikes(Fault::Duplication) {
            self.struck(Fault::Duplication);
            self.fly(packet.clone());
        }
        self.fly(packet);
        if self.strikes(Fault::Replay) {
            self.replay();
        }
    }

    /// Remembers a datagram in a place of its own or of another one, so that some stay for very long.
    fn remember(&mut self, packet: &Packet) {
        let recorded = &mut self.recorder.recorded;
        if recorded.len() < RECORDED {
            recorded.push(packet.clone());
        } else {
            recorded[self.random.below(RECORDED)] = packet.clone();
        }
    }

    fn replay(&mut self) {
        let at = self.random.below(self.recorder.recorded.len());
        let packet = self.recorder.recorded[at].clone();
        let mean = self.random.pick(&[10 * MILLISECOND, SECOND, 10 * SECOND]);
        let later = self.random.exponential(mean);
        self.struck(Fault::Replay);
        self.agenda.at(self.clock.now + later, Event::Datagram(packet));
    }

    /// Gives a datagram its damage and its delay.
    fn fly(&mut self, mut packet: Packet) {
        self.damage(&mut packet.bytes);
        let mut delay = 10 + self.random.below(self.delay_us as usize) as u64;
        if self.strikes(Fault::Delay) {
            self.struck(Fault::Delay);
            let mean = self.random.pick(&[10, 100, 1_000]);
            delay += self.random.exponential(mean * self.delay_us);
        }
        let clogged = self.client_at(packet.address).map_or(0, |client| self.clogged[client]);
        let at = (self.clock.now + delay).max(clogged);
        self.recorder.sent += 1;
        packet.number = self.recorder.sent;
        self.agenda.at(at, Event::Datagram(packet));
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        if self.strikes(Fault::BitFlips) {
            for _ in 0..1 + self.random.below(3) {
                let bit = self.random.below(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            self.struck(Fault::BitFlips);
        }
        if self.strikes(Fault::Truncation) {
            bytes.truncate(self.random.below(bytes.len()));
            self.struck(Fault::Truncation);
        }
        if self.strikes(Fault::Junk) {
            let count = 1 + self.random.below(40);
            bytes.extend((0..count).map(|_| self.random.next() as u8));
            self.struck(Fault::Junk);
        }
    }

    /// A datagram arrives.
    pub fn land(&mut self, packet: Packet) -> Result<(), Violation> {
        let Packet { to, address, bytes, number } = packet;
        self.report.reordered += u64::from(number < self.recorder.arrived);
        self.recorder.arrived = self.recorder.arrived.max(number);
        match to {
            To::Server => self.land_at_server(address, &bytes),
            To::Other => self.land_at_other(address, &bytes),
            To::Client => match self.client_at(address) {
                Some(client) if client == self.udp.len() => self.rogue_hears(&bytes),
                Some(client) => self.udp_hears(client, address, &bytes),
                None => Ok(()),
            },
        }
    }

    fn land_at_server(&mut self, from: SocketAddr, bytes: &[u8]) -> Result<(), Violation> {
        let now = self.clock.reading();
        let before = *self.node.counters();
        let reply = self.node.datagram(from, bytes, now);
        self.note(b"", |_| {
            let answer = reply.as_deref().map_or("nothing".into(), describe);
            format!("the server gets {} from {from} and answers {answer}", describe(bytes))
        });
        self.model.take_published(self.node.take_log()?);
        let stolen = from == self.rogue_address()
            && decode_datagram(bytes, Direction::Request)
                .is_ok_and(|frame| self.rogue.is_stolen(frame.head.client_id));
        let place = Place { epoch: self.node.epoch(), unix: now.unix.0, stolen };
        let after = *self.node.counters();
        self.frames.handled((bytes, reply.as_deref()), (&before, &after), place, &mut self.model)?;
        if let Some(reply) = reply {
            self.send_to_client(from, reply);
        }
        Ok(())
    }

    /// A server without sessions: it may ask who they are, and nothing more.
    fn land_at_other(&mut self, from: SocketAddr, bytes: &[u8]) -> Result<(), Violation> {
        let now = self.clock.reading();
        let reply = self.other.datagram(from, bytes, now);
        if self.other.counters().writes > 0 || !self.other.take_log()?.is_empty() {
            return Err(violation(b"", "a request ran at a server that it was not meant for"));
        }
        if let Some(reply) = reply {
            // The client's socket takes nothing from that address.
            if reply.len() > bytes.len() {
                return Err(violation(b"", "an unproved source got more bytes than it sent"));
            }
        }
        Ok(())
    }

    /// The client of an address; one more than there are UDP clients is the rogue.
    fn client_at(&self, address: SocketAddr) -> Option<usize> {
        let std::net::IpAddr::V4(ip) = address.ip() else { return None };
        let [10, 0, 0, number] = ip.octets() else { return None };
        Some(usize::from(number)).filter(|client| *client <= self.udp.len())
    }
}

/// A frame in a few words.
fn describe(bytes: &[u8]) -> String {
    let direction =
        if bytes.get(1) == Some(&(Direction::Reply as u8)) { Direction::Reply } else { Direction::Request };
    match decode_datagram(bytes, direction) {
        Err(reason) => format!("{} bytes ({})", bytes.len(), reason.name()),
        Ok(frame) => {
            let head = &frame.head;
            let op = head.op().map_or("?", |op| op.name());
            let status = head.status().map_or("", |status| status.name());
            format!(
                "{op} {status} {:x}/{} try {} epoch {:x} first {} key {} arg {} exp {}",
                head.client_id,
                head.sequence,
                head.attempt,
                head.epoch,
                head.first_incomplete,
                World::shown(frame.key),
                head.argument,
                head.expect
            )
        }
    }
}
