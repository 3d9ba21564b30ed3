//! The loop that keeps clients busy: one thread, one poll. A group is a share of the clients with a load of their own.
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
pub(super) struct LoadGroup {
    pub(super) links: Range<usize>,
    pub(super) pacing: Pacing,
    /// Requests that a client may have outstanding.
    pub(super) depth: usize,
    /// Whether each pipeline goes over a connection of its own.
    pub(super) reconnect: bool,
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

impl LoadGroup {
    pub(super) fn new(links: Range<usize>, pacing: Pacing, depth: usize, workload: Workload) -> LoadGroup {
        let (free, is_free) = (links.clone().collect(), vec![true; links.len()]);
        LoadGroup {
            links,
            pacing,
            depth,
            reconnect: false,
            workload,
            stats: Stats::new(),
            issued: 0,
            free,
            is_free,
        }
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

    /// Runs the groups until the first one is done, then waits for the answers that are still to come.
    pub(super) fn run(
        &mut self,
        groups: &mut [LoadGroup],
        until: Until,
        progress: &mut Progress,
    ) -> Result<Ran, Gone> {
        let begun = self.shared.now();
        let mut events = Events::with_capacity(EVENTS);
        (self.heard, self.outstanding) = (begun, 0);
        for group in groups.iter_mut() {
            if matches!(group.pacing, Pacing::Closed) {
                group.links.clone().try_for_each(|index| self.refill(group, index, until))?;
            }
        }
        let mut ticked = begun;
        loop {
            let now = self.shared.now();
            let over = is_over(&groups[0], until, now - begun);
            let mut next_due = Nanos::MAX;
            if !over {
                for group in groups.iter_mut() {
                    next_due = next_due.min(self.issue_due(group, until, (begun, now))?);
                }
            } else if self.outstanding == 0 {
                let unsent =
                    due_in_all(&groups[0], until).map_or(0, |due| due.saturating_sub(groups[0].issued));
                return Ok(Ran { elapsed_ns: now - begun, unsent });
            }
            if now - ticked >= TICK_NS {
                ticked = now;
                self.tick(groups, now)?;
                progress.show(&groups[0].stats, now - begun);
            }
            self.wait(&mut events, next_due.saturating_sub(now))?;
            self.receive(groups, until, begun)?;
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
    fn receive(&mut self, groups: &mut [LoadGroup], until: Until, begun: Nanos) -> Result<(), Gone> {
        let mut ready = std::mem::take(&mut self.ready);
        for index in ready.drain(..) {
            self.is_ready[index] = false;
            let Some(at) = groups.iter().position(|group| group.links.contains(&index)) else { continue };
            let group = &mut groups[at];
            let link = &mut self.links[index];
            let before = link.outstanding();
            let more = link.receive(&mut self.shared, &mut group.stats)?;
            let after = link.outstanding();
            if after < before {
                self.outstanding -= before - after;
                self.heard = self.shared.now();
            }
            if more || self.closing[index] {
                self.mark_ready(index);
            }
            match group.pacing {
                Pacing::Closed if after == 0 && !is_over(group, until, self.heard - begun) => {
                    self.refill(group, index, until)?;
                }
                Pacing::Closed => {}
                Pacing::Rate(_) => self.set_free(group, index),
            }
        }
        // What was marked meanwhile is in the new list; the old one's room is kept.
        ready.append(&mut self.ready);
        self.ready = ready;
        Ok(())
    }

    /// Sends a client's next pipeline.
    fn refill(&mut self, group: &mut LoadGroup, index: usize, until: Until) -> Result<(), Gone> {
        let left = match until {
            Until::Requests(count) => count.saturating_sub(group.issued),
            Until::Elapsed(_) => u64::MAX,
        };
        let count = left.min(group.depth as u64) as usize;
        let due = self.shared.now();
        if group.reconnect && count > 0 {
            self.reconnect(index)?;
        }
        for _ in 0..count {
            self.links[index].push(group.workload.draw(), due, &self.shared);
        }
        self.sent(group, count, due);
        self.links[index].flush(&mut self.shared)
    }

    /// Gives a client another connection.
    fn reconnect(&mut self, index: usize) -> Result<(), Gone> {
        self.closing[index] = false;
        self.links[index].reconnect(self.poll.registry(), Token(index))
    }

    fn sent(&mut self, group: &mut LoadGroup, count: usize, now: Nanos) {
        if self.outstanding == 0 {
            self.heard = now;
        }
        self.outstanding += count;
        group.issued += count as u64;
    }

    /// Sends what is due, as far as clients are free; returns when the next request is due.
    fn issue_due(
        &mut self,
        group: &mut LoadGroup,
        until: Until,
        (begun, now): (Nanos, Nanos),
    ) -> Result<Nanos, Gone> {
        let Pacing::Rate(rate) = group.pacing else { return Ok(Nanos::MAX) };
        let in_all = due_in_all(group, until).unwrap_or(u64::MAX);
        let mut touched = Vec::new();
        let next = loop {
            let due = begun + (group.issued as f64 * 1e9 / rate) as Nanos;
            if group.issued >= in_all {
                break Nanos::MAX;
            }
            if due > now {
                break due;
            }
            // Nobody is free: the next answer, not the clock, lets it go on.
            let Some(index) = group.free.pop_front() else { break Nanos::MAX };
            group.is_free[index - group.links.start] = false;
            if group.reconnect {
                self.reconnect(index)?;
            }
            self.links[index].push(group.workload.draw(), due, &self.shared);
            self.sent(group, 1, now);
            self.set_free(group, index);
            if !touched.contains(&index) {
                touched.push(index);
            }
        };
        touched.into_iter().try_for_each(|index| self.links[index].flush(&mut self.shared))?;
        Ok(next)
    }

    fn set_free(&self, group: &mut LoadGroup, index: usize) {
        let is_free = &mut group.is_free[index - group.links.start];
        if !*is_free && self.links[index].has_room(group.depth) {
            *is_free = true;
            group.free.push_back(index);
        }
    }

    fn tick(&mut self, groups: &mut [LoadGroup], now: Nanos) -> Result<(), Gone> {
        if self.outstanding > 0 && now.saturating_sub(self.heard) > self.timeout.as_nanos() as Nanos {
            return Err(Gone::Silent(self.timeout));
        }
        for group in groups {
            for index in group.links.clone() {
                self.links[index].tick(&mut self.shared, &mut group.stats)?;
            }
        }
        Ok(())
    }
}

/// Requests of a fixed rate that are due until the end; `None` for a closed loop in a given time.
fn due_in_all(group: &LoadGroup, until: Until) -> Option<u64> {
    match (until, group.pacing) {
        (Until::Requests(count), _) => Some(count),
        (Until::Elapsed(time), Pacing::Rate(rate)) => Some((time.as_secs_f64() * rate).ceil() as u64),
        (Until::Elapsed(_), Pacing::Closed) => None,
    }
}

/// Whether a group sends no more.
fn is_over(group: &LoadGroup, until: Until, elapsed: Nanos) -> bool {
    if due_in_all(group, until).is_some_and(|count| group.issued >= count) {
        return true;
    }
    match (until, group.pacing) {
        (Until::Requests(_), _) => false,
        (Until::Elapsed(time), Pacing::Closed) => elapsed >= time.as_nanos() as Nanos,
        (Until::Elapsed(time), Pacing::Rate(_)) => elapsed >= time.as_nanos() as Nanos * OVERTIME,
    }
}
