//! What befalls the server as a whole, and the end of all faults.

use super::{Event, World};
use crate::sim::clock::{MILLISECOND, SECOND};
use crate::sim::faults::Fault;
use crate::sim::model::Model;
use crate::sim::node::Node;
use crate::sim::violation::Violation;
use crate::store::OnFull;

impl World {
    /// After each event: the server may die, stall, or find its wall clock set.
    pub fn calamities(&mut self) -> Result<(), Violation> {
        if self.strikes(Fault::Restart) {
            self.struck(Fault::Restart);
            self.look_before_death()?;
            self.restart();
        }
        if self.strikes(Fault::Stall) {
            self.struck(Fault::Stall);
            let mean = self.random.pick(&[10 * MILLISECOND, 300 * MILLISECOND, 2 * SECOND]);
            self.stalled = self.stalled.max(self.clock.now + self.random.exponential(mean));
            self.agenda.at(self.stalled, Event::Resume);
        }
        if self.strikes(Fault::ClockForward) {
            self.struck(Fault::ClockForward);
            let by = self.random.pick(&[MILLISECOND, SECOND, 60 * SECOND]);
            self.clock.set_wall(by as i64);
        }
        if self.strikes(Fault::ClockBack) {
            self.struck(Fault::ClockBack);
            let by = self.random.pick(&[MILLISECOND, SECOND, 10 * SECOND]);
            self.clock.set_wall(-(by as i64));
        }
        Ok(())
    }

    /// A server that dies takes nothing along that was wrong.
    fn look_before_death(&mut self) -> Result<(), Violation> {
        let now = self.clock.reading();
        self.node.invariants();
        self.model.compare(&self.node, now)
    }

    /// Another process takes the server's place: nothing is left but what travels.
    fn restart(&mut self) {
        self.take_stock();
        self.sever();
        self.history.restarted(&self.clock);
        self.config.epoch = (self.random.next() as u32).wrapping_add(self.config.epoch) | 1;
        self.config.hash_secret = [self.random.next(), self.random.next()];
        let secret = [self.random.next(), self.random.next()];
        if self.strikes(Fault::SameSecret) {
            self.struck(Fault::SameSecret);
        } else {
            self.config.secret = secret;
        }
        self.node = Node::new(&self.config);
        self.model = Model::new(self.config.on_full == OnFull::Evict);
        self.report.restarts += 1;
    }

    /// From now on nothing goes wrong any more, and every client has to be served.
    pub fn heal(&mut self) -> Result<(), Violation> {
        self.note(b"", |_| "no more faults".into());
        self.healed = true;
        self.faults.heal();
        self.clogged.fill(0);
        let now = self.clock.now;
        self.stalled = now;
        self.agenda.at(now, Event::Resume);
        for client in 0..self.udp.len() {
            self.agenda.at(now, Event::ThinkUdp(client));
        }
        for client in 0..self.tcp.len() {
            self.break_off(client);
            self.agenda.at(now, Event::ThinkTcp(client));
        }
        self.rogue_leaves();
        self.hostile_leave();
        Ok(())
    }
}
