//! The server's loop over its TCP connections, a turn at a time, as the reactor takes it: read all that are ready, run
//! them side by side, write what they are answered, and see who can go on.
//!
//! ```text
//!  arrived ─▶ read, read, … ─▶ run_batch ─▶ pending ─▶ model: first what ran ahead, connection by connection, then the rest
//!                                             │        (the order in which the server says that it ran)
//!                                             └─▶ send, as much as the client's side takes ─▶ Down
//! ```
//! What the server has ready is explained as soon as it has run, however late its client takes it, and from then on may
//! not change until it is sent: a large value that is overwritten meanwhile is still sent as it was.

use super::{Event, World};
use crate::client::{Reply, whole_replies};
use crate::connection::{CloseReason, ConnectionId};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::server::Socket;
use crate::sim::commands::{describe, describe_reply, is_last_word};
use crate::sim::frames::{Class, Place};
use crate::sim::link::Owner;
use crate::sim::violation::{Violation, brief, show, violation};
use crate::wire::frame::{self, Direction, Step};

/// Connections that are read before any of them runs, at most.
const GROUP_MAX: usize = 8;
/// Reads or writes of one connection in one turn, at most: the rest is for the next one.
const CALLS_MAX: usize = 4;
/// A client that has moved within this time is never closed for the sake of others, in microseconds: a little less than
/// the server's own bound, which it measures by whole milliseconds.
const STALL_US: u64 = 990_000;
/// Connections that ask to be looked at after one event, at most: a bound on a loop that ends long before.
const ATTENTION_MAX: usize = 10_000;

impl World {
    /// The server's loop is to look at a connection.
    pub fn enqueue(&mut self, link: usize) {
        if !std::mem::replace(&mut self.links[link].queued, true) {
            self.queue.push_back(link);
        }
        self.plan_turn();
    }

    fn plan_turn(&mut self) {
        if !std::mem::replace(&mut self.turn_planned, true) {
            let later = if self.turn_us == 0 { 1 } else { self.random.exponential(self.turn_us) };
            self.agenda.at(self.clock.now + later, Event::Turn);
        }
    }

    /// Connections that another one's command, or the time, has changed.
    pub fn take_attention(&mut self) {
        for _ in 0..ATTENTION_MAX {
            let Some(id) = self.node.poll_wake() else { return };
            if let Some(at) = self.links.iter().position(|link| link.open && link.id == id) {
                self.enqueue(at);
            }
        }
        panic!("connections are woken without end");
    }

    /// Goes once through the connections that wait, then looks at time limits.
    pub fn turn(&mut self) -> Result<(), Violation> {
        self.turn_planned = false;
        let mut left = self.queue.len();
        while left > 0 {
            let most = left.min(1 + self.random.below(GROUP_MAX));
            left -= most;
            let mut group: Vec<usize> = self.queue.drain(..most).collect();
            group.iter().for_each(|at| self.links[*at].queued = false);
            group.retain(|at| self.links[*at].open);
            for at in &group {
                self.read(*at);
                self.settle_hostile(*at)?;
                // Making room for a large argument may drive keys out: those that it is for, and not the next one's.
                self.settle()?;
            }
            self.run_group(&group)?;
            for at in group {
                self.write(at)?;
            }
            self.take_attention();
        }
        self.node.handle_deadlines(self.clock.reading());
        self.take_attention();
        if !self.queue.is_empty() {
            self.plan_turn();
        }
        if !self.links.iter().any(|link| link.open && link.peer.is_reading()) {
            self.model.forget_past();
        }
        Ok(())
    }

    /// The model takes up what the server has done by itself, which can be nothing but remove keys.
    pub fn settle(&mut self) -> Result<(), Violation> {
        self.model.take_published(self.node.take_log()?);
        self.model.settle(self.clock.reading().unix.0)
    }

    fn read(&mut self, at: usize) {
        let now = self.clock.reading();
        let link = &mut self.links[at];
        for _ in 0..CALLS_MAX {
            let taken = self.node.receive(link.id, &link.arrived, now);
            link.arrived.drain(..taken);
            if taken > 0 {
                link.moved_us = self.clock.now;
            }
            if taken == 0 {
                break;
            }
        }
        self.node.left(link.id, !link.arrived.is_empty());
        if link.ended && !link.arrived.is_empty() {
            self.node.hung_up(link.id);
        }
        if link.ended && link.arrived.is_empty() && !std::mem::replace(&mut link.end_read, true) {
            self.node.ended(link.id);
        }
    }

    /// Runs what these connections have sent, and accounts for all that they are answered.
    fn run_group(&mut self, group: &[usize]) -> Result<(), Violation> {
        let now = self.clock.reading();
        let ids: Vec<ConnectionId> = group.iter().map(|at| self.links[*at].id).collect();
        let mut unfinished = Vec::new();
        // One that does not take its answers may be closed for the sake of the next, and what it was answered in the same
        // batch would never be heard: then each runs by itself.
        // What a hostile client's commands do is seen by itself as well.
        let one_by_one = group.iter().any(|at| {
            !self.links[*at].ready.is_empty() || matches!(self.links[*at].owner, Owner::Hostile { .. })
        });
        let most = if one_by_one { 1 } else { ids.len() };
        let mut done = 0;
        while done < ids.len() {
            let (mark, writes) = (self.model.mark(), self.node.counters().writes);
            let batch = &ids[done..ids.len().min(done + most)];
            self.node.run_batch(batch, now, &mut unfinished);
            let order = self.node.batch_order();
            if let [only] = group[done..done + order.len()] {
                self.settle_hostile(only)?;
            }
            self.model.take_published(self.node.take_log()?);
            let lanes = &group[done..done + order.len()];
            done += order.len();
            self.report.batches += 1;
            self.report.shared_batches += u64::from(order.iter().filter(|(_, ran)| *ran > 0).count() > 1);
            for at in lanes {
                self.hear_answers(*at)?;
            }
            for (at, (_, ran)) in lanes.iter().zip(&order) {
                self.report.ran_ahead += *ran as u64;
                // What a hostile client is answered is not heard; what it did was settled.
                if !matches!(self.links[*at].owner, Owner::Hostile { .. }) {
                    self.explain(*at, *ran)?;
                }
            }
            let mut ran = 0;
            for at in lanes {
                match self.links[*at].owner {
                    Owner::Rogue => ran += self.explain_frames(*at)?,
                    Owner::Tcp(_) => self.explain(*at, usize::MAX)?,
                    Owner::Hostile { .. } => {}
                }
                let link = &mut self.links[*at];
                if self.node.is_replying(link.id) {
                    self.report.answers_in_pieces += u64::from(!link.peer.is_reading());
                    link.peer.reads_since(mark, now.unix.0);
                    if let Some(command) = link.commands.front() {
                        let client = self.node.client_id(link.id);
                        let at = (client, now.unix.0);
                        self.report.slices +=
                            u64::from(link.peer.take_slice(command, &mut self.model, at)?);
                    }
                }
            }
            let written = self.node.counters().writes - writes;
            if ran != written {
                let text = format!("{written} writes ran on streams where {ran} were answered");
                return Err(violation(b"", text));
            }
            self.model.settle(now.unix.0)?;
        }
        for id in unfinished {
            if let Some(at) = group.iter().find(|at| self.links[**at].id == id) {
                self.enqueue(*at);
            }
        }
        Ok(())
    }

    /// What the server has ready for a connection beyond what it had before.
    fn hear_answers(&mut self, at: usize) -> Result<(), Violation> {
        let link = &mut self.links[at];
        let pending = self.node.pending(link.id);
        if pending.is_empty() && self.node.is_finished(link.id) {
            // It was given up, and what it had not taken was thrown away.
            link.ready.clear();
            link.partial.clear();
            return Ok(());
        }
        let Some(fresh) = pending.strip_prefix(&link.ready[..]) else {
            return Err(violation(b"", "what waits to be sent has changed since it was answered"));
        };
        link.partial.extend_from_slice(fresh);
        link.ready = pending;
        match link.owner {
            Owner::Tcp(_) => {}
            Owner::Rogue => return Ok(()),
            Owner::Hostile { .. } => {
                link.partial.clear();
                return Ok(());
            }
        }
        let (replies, consumed) = whole_replies(&link.partial)
            .map_err(|reason| violation(b"", format!("{reason}: {}", show(&link.partial))))?;
        link.partial.drain(..consumed);
        link.replies.extend(replies);
        Ok(())
    }

    /// Accounts for the next answers of a connection, `most` of them at most.
    fn explain(&mut self, at: usize, most: usize) -> Result<(), Violation> {
        let unix = self.clock.reading().unix.0;
        for _ in 0..most {
            let Some(reply) = self.links[at].replies.pop_front() else {
                return match most {
                    usize::MAX => Ok(()),
                    _ => Err(violation(b"", format!("{most} commands ran ahead and not all were answered"))),
                };
            };
            if is_last_word(&reply) {
                self.report.stuck_closed += 1;
                continue;
            }
            let Some(command) = self.links[at].commands.pop_front() else {
                return Err(violation(b"", format!("nobody asked for {}", brief(&reply))));
            };
            let key = command.words().get(1).cloned().unwrap_or_default();
            self.note(&key, |_| {
                format!("the server runs {} and answers {}", describe(&command), describe_reply(&reply))
            });
            self.report.refused_tcp +=
                u64::from(matches!(&reply, Reply::Error { code, .. } if code == "OOM"));
            let link = &mut self.links[at];
            let client = self.node.client_id(link.id);
            link.peer.explain(&command, &reply, &mut self.model, (client, unix))?;
        }
        Ok(())
    }

    /// The same for a connection that speaks frames; the writes that ran.
    fn explain_frames(&mut self, at: usize) -> Result<u64, Violation> {
        let unix = self.clock.reading().unix.0;
        let mut ran = 0;
        loop {
            let link = &mut self.links[at];
            let whole = match frame::decode_prefix(&link.partial, Direction::Reply, DATAGRAM_BYTES_MAX) {
                Ok(Step::Ready { frame, consumed }) => Some((frame, consumed)),
                _ => None,
            };
            let Some((reply, consumed)) = whole else { return Ok(ran) };
            let Some(request) = link.frames.pop_front() else {
                return Err(violation(b"", "a frame was answered that nobody sent"));
            };
            let request = frame::decode_datagram(&request, Direction::Request).map_err(|reason| {
                violation(b"", format!("a damaged frame was answered: {}", reason.name()))
            })?;
            self.frames.tally.received += 1;
            let stolen = self.rogue.is_stolen(request.head.client_id);
            let place = Place { epoch: self.node.epoch(), unix, stolen };
            ran += u64::from(self.frames.account(&request, &reply, place, &mut self.model)? == Class::Ran);
            link.partial.drain(..consumed);
        }
    }

    /// Sends what is ready, as far as the client's side takes it; closes a connection that has said its last.
    fn write(&mut self, at: usize) -> Result<(), Violation> {
        let now = self.clock.reading();
        let id = self.links[at].id;
        let mut sent = Vec::new();
        for _ in 0..CALLS_MAX {
            let room = self.links[at].room;
            let (offered, taken) = self.node.send(id, room, now);
            self.report.partial_writes += u64::from(room > 0 && taken.len() < offered);
            if self.links[at].room != usize::MAX {
                self.links[at].room -= taken.len();
            }
            sent.extend_from_slice(&taken);
            if taken.is_empty() {
                break;
            }
        }
        let sent_any = !sent.is_empty();
        if sent_any {
            if !self.links[at].ready.starts_with(&sent) {
                return Err(violation(b"", "what was sent is not what was answered"));
            }
            self.links[at].ready.drain(..sent.len());
            self.links[at].moved_us = self.clock.now;
            let arrives = self.down_time(at);
            self.agenda.at(arrives, Event::Down(at, sent));
        }
        if let Some(reason) = self.node.close_if_finished(id) {
            return self.closed(at, reason);
        }
        let link = &self.links[at];
        let readable = !link.arrived.is_empty() || link.ended && !link.end_read;
        if self.node.can_go_on(id, Socket { readable, writable: link.room > 0, sent_any }) {
            self.enqueue(at);
        }
        Ok(())
    }

    /// The server has closed the connection.
    fn closed(&mut self, at: usize, reason: CloseReason) -> Result<(), Violation> {
        let link = &mut self.links[at];
        link.open = false;
        if reason == CloseReason::OutputFull && !link.was_slow {
            return Err(violation(b"", "closed for want of buffers, and had taken all that it was answered"));
        }
        let crowded_out = matches!(reason, CloseReason::OutputFull | CloseReason::InputFull);
        let is_stranger = matches!(link.owner, Owner::Hostile { is_stranger: true, .. });
        if crowded_out && !is_stranger && self.clock.now < link.moved_us + STALL_US {
            return Err(violation(b"", "closed for want of buffers although it made progress"));
        }
        // Who does not read is given up, whatever else there is to answer.
        let crowded = reason == CloseReason::InputFull;
        // What a network that was clogged held back has come too late, in the moment of the time limit.
        let is_late = reason == CloseReason::RequestTimeout && link.moved_us == self.clock.now;
        let orderly =
            link.ended && link.arrived.is_empty() && (self.healed || crowded) && !link.was_slow && !is_late;
        if orderly && !link.commands.is_empty() {
            let text = format!(
                "{:?} was closed ({}) with {} requests unanswered that had come whole, {} first; its last byte was read \
                 {} µs ago",
                link.owner,
                reason.text(),
                link.commands.len(),
                link.commands.front().map(describe).unwrap_or_default(),
                self.clock.now - link.moved_us
            );
            return Err(violation(b"", text));
        }
        let arrives = self.down_time(at);
        self.agenda.at(arrives, Event::DownEnd(at));
        Ok(())
    }

    /// No client waits for what the server could do now: one that is not in its queue has nothing ready that its client
    /// would take, and has sent nothing that the server would read.
    pub fn nobody_is_forgotten(&self) -> Result<(), Violation> {
        for link in self.links.iter().filter(|link| link.open && !link.queued) {
            if link.room > 0 && !self.node.pending(link.id).is_empty() {
                return Err(violation(b"", "an answer waits, its client would take it, and nobody sends it"));
            }
            let readable = !link.arrived.is_empty() || link.ended && !link.end_read;
            if readable && self.node.wants_input(link.id) {
                let (owner, waiting) = (link.owner, link.arrived.len());
                let state = self.node.describe(link.id);
                return Err(violation(
                    b"",
                    format!(
                        "a request of {owner:?} waits ({waiting} bytes), the server has room for it, and nobody reads it: {state}"
                    ),
                ));
            }
        }
        Ok(())
    }
}
