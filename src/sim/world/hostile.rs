//! Hostile clients come, do what they came for, and stay as long as they may.

use super::{Event, World};
use crate::sim::change::Change;
use crate::sim::clock::SECOND;
use crate::sim::faults::Fault;
use crate::sim::hostile::{Attack, command, drives_out_nothing};
use crate::sim::link::{Link, Owner};
use crate::sim::violation::{Violation, brief, violation};
use std::net::SocketAddr;

impl World {
    /// After each event, one of each sort may come.
    pub fn hostile_come(&mut self) {
        for sort in Fault::HOSTILE {
            if self.strikes(*sort) {
                self.hostile_comes(*sort);
            }
        }
    }

    fn hostile_comes(&mut self, sort: Fault) {
        let address = SocketAddr::from(([10, 6, 6, self.faults.hostile.below(4) as u8], 6_666));
        let Ok(id) = self.node.open(address, self.clock.reading()) else {
            self.report.turned_away += 1;
            return;
        };
        self.struck(sort);
        let is_known = self.config.password.is_some() && self.faults.hostile.below(2) == 0;
        let at = self.links.len();
        self.links.push(Link::new(Owner::Hostile { sort, is_stranger: !is_known }, id, at));
        let attack = Attack::draw(sort, &mut self.faults.hostile);
        self.note(b"", |_| {
            format!("connection {at} is hostile: {}, {} bytes", sort.name(), attack.bytes.len())
        });
        if is_known {
            self.send_up(at, &command(&[b"AUTH", b"secret"]));
        }
        if attack.is_deaf {
            (self.links[at].room, self.links[at].was_slow) = (0, true);
        }
        self.send_up(at, &attack.bytes);
        if attack.leaves {
            let after = self.faults.hostile.exponential(SECOND);
            let arrives = self.links[at].up_last.max(self.clock.now + after);
            self.agenda.at(arrives, Event::UpReset(at));
        }
    }

    /// Those that have a place by right give it up; those that have none yet are the server's to be rid of.
    pub fn hostile_leave(&mut self) {
        let has_password = self.config.password.is_some();
        for at in 0..self.links.len() {
            if let Owner::Hostile { is_stranger, .. } = self.links[at].owner
                && !(is_stranger && has_password)
            {
                self.send_reset(at);
            }
        }
    }

    /// What a connection's turn has published is taken up. A hostile client that stores nothing has driven out nothing.
    pub fn settle_hostile(&mut self, at: usize) -> Result<(), Violation> {
        let Owner::Hostile { sort, .. } = self.links[at].owner else { return Ok(()) };
        let published = self.node.take_log()?;
        let evicted = published.iter().find(|logged| matches!(logged.change, Change::Evict { .. }));
        if let Some(evicted) = evicted
            && drives_out_nothing(sort)
        {
            let text = format!(
                "{} by what a client sent that stores nothing ({})",
                brief(&evicted.change),
                sort.name()
            );
            return Err(violation(b"", text));
        }
        self.model.take_published(published);
        self.model.settle(self.clock.reading().unix.0)
    }
}
