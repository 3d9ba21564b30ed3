//! The loop that keeps clients busy: one thread, one poll. A lane (of the load, not of the server) is a share of the clients with a load of their own.
//!
//! ```text
//!  closed loop   a client sends its pipeline, waits for all answers, and sends the next
//!  fixed rate    request i is due at begin + i / rate, the next free client sends it; latency counts from when it was due
//! ```

use std::{collections::VecDeque, io, ops::Range, time::Duration};

use mio::{Events, Poll, Token};

use super::{
    link::{Gone, Link, Shared},
    progress::{Progress, Until},
    stats::{Nanos, Stats},
    workload::Workload,
};

const EVENTS: usize = 1024;
/// Every so often clients look for what they have lost, and the progress is shown.
const TICK_NS: Nanos = 10_000_000;
/// A poll may come back a millisecond late: what is due sooner than this is waited for awake.
const AWAKE_NS: Nanos = 2_000_000;
/// A fixed rate that the server does not keep up with goes on for at most so many times the time asked for.
const OVERTIME: u64 = 2;

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pacing {
    Closed,
    /// Requests a second.
    Rate(f64),
}

/// Some of the clients, with what they are to ask.
pub(super) struct Lane {
    pub(super) links: Range<usize>,
    pub(super) pacing: Pacing,
    /// Requests that a client may have outstanding.
    pub(super) depth: usize,
    pub(super) workload: Workload,
    pub(super) stats: Stats,
    /// Requests that have been sent.
    pub(super) issued: u64,
    /// Clients with room for a request, in the order in which they take turns; and which of all they are.
    free: VecDeque<usize>,
    is_free: Vec<bool>,
}

/// What a run has come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ran {
    /// From the first request to the last reply.
    pub(super) elapsed_ns: Nanos,
    /// Requests that were due and never sent, because the server did not keep up.
    pub(super) unsent: u64,
}

impl Lane {
    pub(super) fn new(links: Range<usize>, pacing: Pacing, depth: usize, workload: Workload) -> Lane {
        let (free, is_free) = (links.clone().collect(), vec![true; links.len()]);
        Lane { links, pacing, depth, workload, stats: Stats::new(), issued: 0, free, is_free }
    }
}

/// All clients and the one poll.
pub(super) struct Runner<L> {
    poll: Poll,
    links: Vec<L>,
    shared: Shared,
    /// Clients whose sockets may have something to read, and which of all they are.
    ready: Vec<usize>,
    is_ready: Vec<bool>,
    /// Clients whose peers have closed: they are read to the end.
    closing: Vec<bool>,
    outstanding: usize,
    /// When something was last heard, or there was nothing to hear.
    heard: Nanos,
    timeout: Duration,
}

impl<L: Link> Runner<L> {
    pub(super) fn new(mut links: Vec<L>, shared: Shared, timeout: Duration) -> io::Result<Runner<L>> {
        let poll = Poll::new()?;
        for (index, link) in links.iter_mut().enumerate() {
            link.register(poll.registry(), Token(index))?;
        }
        let flags = vec![false; links.len()];
        let (is_ready, closing) = (flags.clone(), flags);
        let ready = Vec::with_capacity(links.len());
        Ok(Runner { poll, links, shared, ready, is_ready, closing, outstanding: 0, heard: 0, timeout })
    }

    /// Runs the lanes until the first one is done, then waits for the answers that are still to come.
    pub(super) fn run(
        &mut self,
        lanes: &mut [Lane],
        until: Until,
        progress: &mut Progress,
    ) -> Result<Ran, Gone> {
        let begun = self.shared.now();
        let mut events = Events::with_capacity(EVENTS);
        (self.heard, self.outstanding) = (begun, 0);
        for lane in lanes.iter_mut() {
            if matches!(lane.pacing, Pacing::Closed) {
                lane.links.clone().try_for_each(|index| self.refill(lane, index, until))?;
            }
        }
        let mut ticked = begun;
        loop {
            let now = self.shared.now();
            let over = is_over(&lanes[0], until, now - begun);
            let mut next_due = Nanos::MAX;
            if !over {
                for lane in lanes.iter_mut() {
                    next_due = next_due.min(self.issue_due(lane, until, (begun, now))?);
                }
            } else if self.outstanding == 0 {
                let unsent =
                    due_in_all(&lanes[0], until).map_or(0, |due| due.saturating_sub(lanes[0].issued));
                return Ok(Ran { elapsed_ns: now - begun, unsent });
            }
            if now - ticked >= TICK_NS {
                ticked = now;
                self.tick(lanes, now)?;
                progress.show(&lanes[0].stats, now - begun);
            }
            self.wait(&mut events, next_due.saturating_sub(now))?;
            self.receive(lanes, until, begun)?;
        }
    }

    /// Waits for sockets, or until something is due.
    fn wait(&mut self, events: &mut Events, due_in: Nanos) -> Result<(), Gone> {
        let timeout = match due_in {
            _ if !self.ready.is_empty() => Duration::ZERO,
            0..AWAKE_NS => Duration::ZERO,
            _ => Duration::from_nanos((due_in - AWAKE_NS / 2).min(TICK_NS)),
        };
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result.map_err(Gone::Io)?,
        }
        for event in events.iter() {
            let index = event.token().0;
            self.closing[index] |= event.is_read_closed() || event.is_error();
            if event.is_readable() || self.closing[index] {
                self.mark_ready(index);
            }
            if event.is_writable() {
                self.links[index].flush(&mut self.shared)?;
            }
        }
        Ok(())
    }

    fn mark_ready(&mut self, index: usize) {
        if !self.is_ready[index] {
            self.is_ready[index] = true;
            self.ready.push(index);
        }
    }

    /// Reads each ready client once, and lets those that have all their answers go on.
    fn receive(&mut self, lanes: &mut [Lane], until: Until, begun: Nanos) -> Result<(), Gone> {
        let mut ready = std::mem::take(&mut self.ready);
        for index in ready.drain(..) {
            self.is_ready[index] = false;
            let Some(at) = lanes.iter().position(|lane| lane.links.contains(&index)) else { continue };
            let lane = &mut lanes[at];
            let link = &mut self.links[index];
            let before = link.outstanding();
            let more = link.receive(&mut self.shared, &mut lane.stats)?;
            let after = link.outstanding();
            if after < before {
                self.outstanding -= before - after;
                self.heard = self.shared.now();
            }
            if more || self.closing[index] {
                self.mark_ready(index);
            }
            match lane.pacing {
                Pacing::Closed if after == 0 && !is_over(lane, until, self.heard - begun) => {
                    self.refill(lane, index, until)?;
                }
                Pacing::Closed => {}
                Pacing::Rate(_) => self.set_free(lane, index),
            }
        }
        // What was marked meanwhile is in the new list; the old one's room is kept.
        ready.append(&mut self.ready);
        self.ready = ready;
        Ok(())
    }

    /// Sends a client's next pipeline.
    fn refill(&mut self, lane: &mut Lane, index: usize, until: Until) -> Result<(), Gone> {
        let left = match until {
            Until::Requests(count) => count.saturating_sub(lane.issued),
            Until::Elapsed(_) => u64::MAX,
        };
        let count = left.min(lane.depth as u64) as usize;
        let due = self.shared.now();
        for _ in 0..count {
            self.links[index].push(lane.workload.draw(), due, &self.shared);
        }
        self.sent(lane, count, due);
        self.links[index].flush(&mut self.shared)
    }

    fn sent(&mut self, lane: &mut Lane, count: usize, now: Nanos) {
        if self.outstanding == 0 {
            self.heard = now;
        }
        self.outstanding += count;
        lane.issued += count as u64;
    }

    /// Sends what is due, as far as clients are free; returns when the next request is due.
    fn issue_due(
        &mut self,
        lane: &mut Lane,
        until: Until,
        (begun, now): (Nanos, Nanos),
    ) -> Result<Nanos, Gone> {
        let Pacing::Rate(rate) = lane.pacing else { return Ok(Nanos::MAX) };
        let in_all = due_in_all(lane, until).unwrap_or(u64::MAX);
        let mut touched = Vec::new();
        let next = loop {
            let due = begun + (lane.issued as f64 * 1e9 / rate) as Nanos;
            if lane.issued >= in_all {
                break Nanos::MAX;
            }
            if due > now {
                break due;
            }
            // Nobody is free: the next answer, not the clock, lets it go on.
            let Some(index) = lane.free.pop_front() else { break Nanos::MAX };
            lane.is_free[index - lane.links.start] = false;
            self.links[index].push(lane.workload.draw(), due, &self.shared);
            self.sent(lane, 1, now);
            self.set_free(lane, index);
            if !touched.contains(&index) {
                touched.push(index);
            }
        };
        touched.into_iter().try_for_each(|index| self.links[index].flush(&mut self.shared))?;
        Ok(next)
    }

    fn set_free(&self, lane: &mut Lane, index: usize) {
        let is_free = &mut lane.is_free[index - lane.links.start];
        if !*is_free && self.links[index].has_room(lane.depth) {
            *is_free = true;
            lane.free.push_back(index);
        }
    }

    fn tick(&mut self, lanes: &mut [Lane], now: Nanos) -> Result<(), Gone> {
        if self.outstanding > 0 && now.saturating_sub(self.heard) > self.timeout.as_nanos() as Nanos {
            return Err(Gone::Silent(self.timeout));
        }
        for lane in lanes {
            for index in lane.links.clone() {
                self.links[index].tick(&mut self.shared, &mut lane.stats)?;
            }
        }
        Ok(())
    }
}

/// Requests of a fixed rate that are due until the end; `None` for a closed loop in a given time.
fn due_in_all(lane: &Lane, until: Until) -> Option<u64> {
    match (until, lane.pacing) {
        (Until::Requests(count), _) => Some(count),
        (Until::Elapsed(time), Pacing::Rate(rate)) => Some((time.as_secs_f64() * rate).ceil() as u64),
        (Until::Elapsed(_), Pacing::Closed) => None,
    }
}

/// Whether a lane sends no more.
fn is_over(lane: &Lane, until: Until, elapsed: Nanos) -> bool {
    if due_in_all(lane, until).is_some_and(|count| lane.issued >= count) {
        return true;
    }
    match (until, lane.pacing) {
        (Until::Requests(_), _) => false,
        (Until::Elapsed(time), Pacing::Closed) => elapsed >= time.as_nanos() as Nanos,
        (Until::Elapsed(time), Pacing::Rate(_)) => elapsed >= time.as_nanos() as Nanos * OVERTIME,
    }
}
