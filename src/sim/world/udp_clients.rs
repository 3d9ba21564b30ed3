//! Clients over UDP: the shipped [`Session`], driven as the shipped client drives it, with clocks of their own.

use super::{Event, World};
use crate::client::{Answer, Counters, Event as ClientEvent, Outcome, Request, Session, Ticket};
use crate::limits::{DATAGRAM_BYTES_MAX, UDP_WINDOW};
use crate::sim::clock::{MILLISECOND, SECOND};
use crate::sim::faults::Fault;
use crate::sim::history::{Action, Begun, Content, If, Seen};
use crate::sim::udp_client::Asked;
use crate::sim::violation::{Violation, brief, show, violation};
use crate::wire::frame::Status;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

impl World {
    /// A client asks for something, if it may, and thinks about the next thing.
    pub fn think_udp(&mut self, client: usize) -> Result<(), Violation> {
        if self.healed {
            return self.think_last_udp(client);
        }
        let think = self.udp[client].think_us;
        let pause = self.random.exponential(think) + 1;
        self.agenda.at(self.clock.now + pause, Event::ThinkUdp(client));
        if self.strikes(Fault::Crash) {
            self.struck(Fault::Crash);
            self.crash_udp(client);
        }
        if self.strikes(Fault::Rebinding) {
            self.struck(Fault::Rebinding);
            self.udp[client].port += 1;
        }
        let burst = self.udp[client].depth.min(UDP_WINDOW);
        for _ in 0..1 + self.random.below(burst) {
            if self.udp[client].asked.len() >= burst {
                break;
            }
            let (request, begun) = self.udp[client].draw(&mut self.workload, self.clock.now);
            self.start(client, request, begun, None);
        }
        self.pump(client)
    }

    fn start(&mut self, client: usize, request: Request, begun: Option<Begun>, timeout_ms: Option<u64>) {
        let key = begun.as_ref().map(|begun| Rc::clone(&begun.key)).unwrap_or_default();
        let now = self.clock.now;
        let udp = &mut self.udp[client];
        let deadline = udp.now(now) + Duration::from_millis(timeout_ms.unwrap_or(udp.timeout_ms));
        let Ok(ticket) = udp.session.start(request, deadline) else { return };
        self.report.asked_udp += 1;
        let text = begun.as_ref().map_or("PING".into(), |begun| brief(&begun.action));
        udp.asked.insert(ticket, Asked { begun, last: self.healed });
        self.note(&key, |_| {
            format!("UDP client {client} asks, as its {}: {} {text}", ticket.0, World::shown(&key))
        });
    }

    /// A datagram for this client: one to a port that it has given up is lost.
    pub fn udp_hears(&mut self, client: usize, at: SocketAddr, bytes: &[u8]) -> Result<(), Violation> {
        let now = self.clock.now;
        let udp = &mut self.udp[client];
        if at != udp.address() {
            return Ok(());
        }
        let now = udp.now(now);
        udp.session.handle_datagram(bytes, now);
        udp.session.handle_timeout(now);
        self.pump(client)
    }

    /// The time has come that the session asked to be woken at.
    pub fn wake_udp(&mut self, client: usize) -> Result<(), Violation> {
        let now = self.clock.now;
        let udp = &mut self.udp[client];
        if udp.wake_at > now {
            return Ok(());
        }
        udp.wake_at = u64::MAX;
        udp.session.handle_timeout(udp.watch.show(now));
        self.pump(client)
    }

    /// After each call of the session: what it sends, what it tells, when it wants to be woken.
    fn pump(&mut self, client: usize) -> Result<(), Violation> {
        let now = self.clock.now;
        let mut out = [0; DATAGRAM_BYTES_MAX];
        loop {
            let udp = &mut self.udp[client];
            let Some(len) = udp.session.poll_transmit(udp.watch.show(now), &mut out) else { break };
            let address = udp.address();
            self.frames.sent(&out[..len], true)?;
            self.rogue.overhear(address, &out[..len]);
            if self.clogs(client) {
                self.struck(Fault::Clog);
            }
            self.send_to_server(address, out[..len].to_vec());
        }
        while let Some(event) = self.udp[client].session.poll_event() {
            match event {
                ClientEvent::NewPort => self.udp[client].port += 1,
                ClientEvent::Finished { ticket, outcome } => self.finished(client, ticket, outcome)?,
            }
        }
        let udp = &mut self.udp[client];
        if let Some(deadline) = udp.session.poll_deadline() {
            let at = udp.watch.when(deadline).max(now + 1);
            if at < udp.wake_at {
                udp.wake_at = at;
                self.agenda.at(at, Event::WakeUdp(client));
            }
        }
        Ok(())
    }

    /// Now and then nothing passes for a while between this client and the server.
    fn clogs(&mut self, client: usize) -> bool {
        let strikes = self.strikes(Fault::Clog) && self.clogged[client] <= self.clock.now;
        if strikes {
            let mean = self.random.pick(&[10 * MILLISECOND, 200 * MILLISECOND, 3 * SECOND]);
            self.clogged[client] = self.clock.now + self.random.exponential(mean);
        }
        strikes
    }

    fn finished(&mut self, client: usize, ticket: Ticket, outcome: Outcome) -> Result<(), Violation> {
        let Some(Asked { begun, last }) = self.udp[client].asked.remove(&ticket) else {
            return Err(violation(
                b"",
                format!("UDP client {client} got the outcome of its {} twice", ticket.0),
            ));
        };
        let key = begun.as_ref().map(|begun| Rc::clone(&begun.key)).unwrap_or_default();
        self.note(&key, |_| {
            let text = match &outcome {
                Outcome::Done(answer) => {
                    let Answer { status, revision, result, value } = answer;
                    format!("{} revision {revision} result {result} {}", status.name(), World::shown(value))
                }
                other => brief(other),
            };
            format!("UDP client {client} gets the outcome of its {}: {text}", ticket.0)
        });
        match outcome {
            Outcome::Done(answer) => {
                self.report.done_udp += 1;
                if last {
                    self.served_last(client);
                }
                if let Some(begun) = begun {
                    self.answered_udp(client, &begun, &answer)?;
                }
            }
            Outcome::TimedOut { .. } => self.report.timed_out_udp += 1,
            Outcome::Unknown { .. } => {
                self.report.unknown_udp += 1;
                if let Some(begun) = begun {
                    self.history.unknown(&begun, &self.clock);
                }
            }
        }
        if self.healed {
            self.agenda.at(self.clock.now, Event::ThinkUdp(client));
        }
        Ok(())
    }

    fn answered_udp(&mut self, client: usize, begun: &Begun, answer: &Answer) -> Result<(), Violation> {
        let seen = match (begun.action, answer.status) {
            (Action::Get, Status::Ok) => {
                let Some(content) = Content::of(&answer.value) else {
                    return Err(violation(&begun.key, format!("nobody wrote {}", show(&answer.value))));
                };
                self.udp[client].last_read = Some((Rc::clone(&begun.key), answer.revision, content));
                Seen::Content(content)
            }
            (Action::Get, Status::NotFound) => Seen::Content(Content::Absent),
            (Action::Add(_), Status::Ok) => Seen::Sum(answer.result.cast_signed()),
            (_, Status::Ok) => Seen::Done(true),
            (Action::Delete | Action::Expire(_), Status::NotFound) => Seen::Done(false),
            (Action::Put { condition: If::Absent | If::Present, .. }, Status::NotMet) => Seen::Done(false),
            // Another revision may stand for the same value.
            (Action::Put { condition: If::Still(_), .. }, Status::NotMet) => return Ok(()),
            (_, Status::Full) => {
                self.report.refused_udp += 1;
                return Ok(());
            }
            (Action::Get, Status::UseTcp) => return Ok(()),
            (_, status) => {
                return Err(violation(
                    &begun.key,
                    format!("UDP client {client} was answered {}", status.name()),
                ));
            }
        };
        self.history.answered(begun, seen, &self.clock);
        Ok(())
    }

    /// The client's process dies; a new one begins.
    fn crash_udp(&mut self, client: usize) {
        let udp = &mut self.udp[client];
        let session = Session::new(udp.config.clone(), udp.random.next());
        let old = std::mem::replace(&mut udp.session, session);
        add(&mut udp.past, old.counters());
        udp.port += 1;
        udp.wake_at = u64::MAX;
        udp.last_read = None;
        for (_, asked) in std::mem::take(&mut self.udp[client].asked) {
            self.report.unknown_udp += 1;
            if let Some(begun) = asked.begun {
                self.history.unknown(&begun, &self.clock);
            }
        }
    }

    /// After the last fault each client asks for two more things, and must be served.
    fn think_last_udp(&mut self, client: usize) -> Result<(), Violation> {
        if !self.udp[client].asked.is_empty() || self.udp[client].served {
            return Ok(());
        }
        let (request, begun) = self.udp[client].draw(&mut self.workload, self.clock.now);
        let timeout_ms = 10_000 + 2 * self.config.lease_ms;
        self.start(client, request, begun, Some(timeout_ms));
        self.pump(client)
    }

    fn served_last(&mut self, client: usize) {
        let udp = &mut self.udp[client];
        udp.last_requests = udp.last_requests.saturating_sub(1);
        udp.served = udp.last_requests == 0;
    }
}

/// Adds what a session has counted to what earlier ones have.
fn add(sum: &mut Counters, counters: &Counters) {
    sum.sent += counters.sent;
    sum.retries += counters.retries;
    sum.accepted += counters.accepted;
    sum.malformed += counters.malformed;
    sum.untagged += counters.untagged;
    sum.late += counters.late;
    sum.unknown += counters.unknown;
    sum.sessions += counters.sessions;
    sum.ports += counters.ports;
}
