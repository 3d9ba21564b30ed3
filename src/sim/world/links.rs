//! TCP connections: bytes in order, in pieces, with ends and resets, and clients that take what they are answered late.

use super::{Event, World};
use crate::sim::clock::{MILLISECOND, SECOND};
use crate::sim::commands::Command;
use crate::sim::faults::Fault;
use crate::sim::violation::Violation;

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

    /// Bytes in flight to the server, in pieces.
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

    pub fn down_time(&mut self, link: usize) -> u64 {
        let delay = 5 + self.random.below(self.delay_us as usize * 2) as u64;
        let last = &mut self.links[link].down_last;
        *last = (*last).max(self.clock.now + delay);
        *last
    }

    /// Bytes arrive at the server.
    pub fn up(&mut self, link: usize, bytes: &[u8]) {
        if self.links[link].open {
            self.links[link].arrived.extend_from_slice(bytes);
            self.enqueue(link);
        }
    }

    pub fn up_end(&mut self, link: usize) {
        if self.links[link].open {
            self.links[link].ended = true;
            self.enqueue(link);
        }
    }

    pub fn up_reset(&mut self, link: usize) -> Result<(), Violation> {
        if std::mem::replace(&mut self.links[link].open, false) {
            self.node.failed(self.links[link].id);
            self.settle()?;
        }
        self.take_attention();
        Ok(())
    }

    /// From now on this client takes what it is answered late and in pieces, for a while or for good.
    pub fn read_slowly(&mut self, link: usize) {
        self.struck(Fault::SlowReading);
        let rooms = [0, 100, 2_000];
        if self.random.below(4) > 0 {
            self.take_late(link, &rooms);
        } else {
            self.shrink_room(link, &rooms);
        }
    }

    /// From now on the client's side takes no more than one of these, and a little more now and then.
    pub fn take_late(&mut self, link: usize, rooms: &[usize]) {
        self.shrink_room(link, rooms);
        self.plan_take(link);
    }

    fn shrink_room(&mut self, link: usize, rooms: &[usize]) {
        let room = self.random.pick(rooms);
        self.links[link].room = self.links[link].room.min(room);
        self.links[link].was_slow = true;
    }

    fn plan_take(&mut self, link: usize) {
        let mean = self.random.pick(&[100, 10 * MILLISECOND, SECOND]);
        let later = self.random.exponential(mean);
        self.agenda.at(self.clock.now + later, Event::Take(link));
    }

    /// A slow client takes a little of what lies in its socket: there is room for as much more.
    pub fn take(&mut self, at: usize) {
        let link = &mut self.links[at];
        if !link.open {
            return;
        }
        if self.random.below(6) == 0 {
            link.room = usize::MAX;
        } else {
            link.room = link.room.saturating_add(self.random.pick(&[1, 50, 1_000, 20_000]));
            self.plan_take(at);
        }
        self.enqueue(at);
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
