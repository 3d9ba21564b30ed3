//! The admin port: few connections, one request each, on the same poll as the clients. What is answered, `crate::admin`
//! says; here bytes are moved, within bounds:
//!
//! - [`CONNECTIONS_MAX`] at once. While all places are taken, new ones wait in the system's queue, and a visitor that has
//!   stood for [`GRACE_MS`] makes room for them: stalled ones cannot keep a probe out.
//! - [`VISIT_MS`] from the first byte expected to the last one taken.
//! - one reply made in a turn of the loop, so that a flood of scrapes costs clients little.

use super::listener::{Accepted, Listener, lingering_close};
use crate::admin::{self, REQUEST_BYTES_MAX, Readiness, Reply, Step};
use crate::server::Server;
use crate::time::{Millis, Now};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;

/// Connections at once.
pub const CONNECTIONS_MAX: usize = 8;
/// How long a connection may take in all.
const VISIT_MS: u64 = 2_000;
/// A connection that has taken this long may be closed for a new one.
const GRACE_MS: u64 = 200;
/// How long accepting waits for a descriptor.
const ACCEPT_RETRY_MS: u64 = 100;

/// A connection.
struct Visitor {
    stream: TcpStream,
    came: Millis,
    readable: bool,
    writable: bool,
    answered: bool,
    sent: usize,
}

/// A place for a connection, with its memory.
struct Place {
    visitor: Option<Visitor>,
    request: Vec<u8>,
    received: usize,
    /// Bytes came that were not looked at.
    fresh: bool,
    reply: Reply,
}

/// The listening socket and its connections.
pub struct AdminPort {
    listener: Listener,
    places: Vec<Place>,
    first_token: usize,
    /// No descriptor was left; accepting is tried again then.
    retry_at: Option<Millis>,
    /// A whole request waits for the next turn.
    postponed: bool,
}

impl AdminPort {
    /// Bytes that the port reserves; they are touched as connections come in at once.
    pub const MEMORY_BYTES: usize = CONNECTIONS_MAX * (REQUEST_BYTES_MAX + Reply::MEMORY_BYTES);

    /// Binds and listens.
    ///
    /// # Errors
    /// What the system says, among it `AddrInUse`.
    pub fn bind(address: SocketAddr) -> io::Result<AdminPort> {
        let place = || Place {
            visitor: None,
            request: vec![0; REQUEST_BYTES_MAX],
            received: 0,
            fresh: false,
            reply: Reply::new(),
        };
        Ok(AdminPort {
            listener: Listener::bind(address)?,
            places: (0..CONNECTIONS_MAX).map(|_| place()).collect(),
            first_token: 0,
            retry_at: None,
            postponed: false,
        })
    }

    /// The address that was bound, the port filled in.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_address()
    }

    /// Registers the listener at `first`; the [`CONNECTIONS_MAX`] tokens behind it are the connections'.
    ///
    /// # Errors
    /// What the system says.
    pub fn register(&mut self, registry: &Registry, first: Token) -> io::Result<()> {
        self.first_token = first.0;
        registry.register(self.listener.source(), first, Interest::READABLE)
    }

    /// Notes an event of one of this port's tokens.
    pub fn mark_ready(&mut self, token: Token, readable: bool, writable: bool) {
        if token.0 == self.first_token {
            self.listener.waiting = true;
            return;
        }
        let place = self.places.get_mut(token.0 - self.first_token - 1);
        if let Some(visitor) = place.and_then(|place| place.visitor.as_mut()) {
            visitor.readable |= readable;
            visitor.writable |= writable;
        }
    }

    /// When `serve` is to be called although no event comes.
    pub fn next_deadline(&self, now: Millis) -> Option<Millis> {
        if self.postponed {
            return Some(now);
        }
        let oldest = self.oldest().map(|(_, came)| came);
        let accept = match (self.listener.waiting, self.retry_at) {
            (false, _) => None,
            (true, Some(at)) => Some(at),
            (true, None) if self.is_full() => oldest.map(|came| came.plus(GRACE_MS)),
            (true, None) => Some(now),
        };
        [accept, oldest.map(|came| came.plus(VISIT_MS))].into_iter().flatten().min()
    }

    /// Does all that can be done now.
    pub fn serve(&mut self, server: &mut Server, registry: &Registry, readiness: Readiness, now: Now) {
        self.postponed = false;
        let is_idle = !self.listener.waiting && self.places.iter().all(|place| place.visitor.is_none());
        if is_idle {
            return;
        }
        self.accept(registry, now.monotonic);
        let mut may_reply = true;
        for place in &mut self.places {
            let Some(visitor) = &place.visitor else { continue };
            let in_time = now.monotonic.since(visitor.came) < VISIT_MS;
            let stays = in_time && place.receive() && {
                if place.fresh && may_reply {
                    may_reply = !place.answer(server, readiness, now);
                } else if place.fresh {
                    self.postponed = true;
                }
                place.send()
            };
            if !stays {
                place.close(registry);
            }
        }
    }

    fn oldest(&self) -> Option<(usize, Millis)> {
        let came = |(index, place): (usize, &Place)| place.visitor.as_ref().map(|found| (index, found.came));
        self.places.iter().enumerate().filter_map(came).min_by_key(|(_, came)| *came)
    }

    fn is_full(&self) -> bool {
        self.places.iter().all(|place| place.visitor.is_some())
    }

    fn accept(&mut self, registry: &Registry, now: Millis) {
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = None;
        // Aborted connections count too, so that a turn has an end.
        for _ in 0..CONNECTIONS_MAX {
            if !self.listener.waiting {
                return;
            }
            let free = self.places.iter().position(|place| place.visitor.is_none());
            let index = match (free, self.oldest()) {
                (Some(index), _) => index,
                (None, Some((index, came))) if now.since(came) >= GRACE_MS => {
                    self.places[index].close(registry);
                    index
                }
                _ => return,
            };
            match self.listener.accept() {
                Accepted::Client(stream, _) => {
                    self.places[index].take(stream, registry, Token(self.first_token + 1 + index), now);
                }
                Accepted::Rejected(stream, _) => {
                    drop(stream);
                    self.listener.restore_reserve();
                }
                Accepted::Nobody => {}
                Accepted::NoDescriptors => {
                    self.retry_at = Some(now.plus(ACCEPT_RETRY_MS));
                    return;
                }
            }
        }
    }
}

impl Place {
    fn take(&mut self, mut stream: TcpStream, registry: &Registry, token: Token, now: Millis) {
        if let Err(error) = registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE) {
            log::error!("a connection to the admin port cannot be watched: {error}");
            return;
        }
        self.received = 0;
        self.fresh = false;
        self.reply.clear();
        self.visitor =
            Some(Visitor { stream, came: now, readable: true, writable: true, answered: false, sent: 0 });
    }

    /// Reads what has come of the request; whether the connection stays.
    fn receive(&mut self) -> bool {
        let Some(visitor) = &mut self.visitor else { return false };
        while visitor.readable && !visitor.answered && self.received < self.request.len() {
            match visitor.stream.read(&mut self.request[self.received..]) {
                Ok(0) => {
                    // A client may close its side once it has asked.
                    visitor.readable = false;
                    return self.received > 0;
                }
                Ok(len) => {
                    self.received += len;
                    self.fresh = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => visitor.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Makes the reply if the request is whole; whether it did.
    fn answer(&mut self, server: &mut Server, readiness: Readiness, now: Now) -> bool {
        self.fresh = false;
        let request = &self.request[..self.received];
        let replied = admin::respond(request, server, readiness, now, &mut self.reply) == Step::Replied;
        if let Some(visitor) = &mut self.visitor {
            visitor.answered = replied;
        }
        replied
    }

    /// Sends what is left of the reply; whether the connection stays.
    fn send(&mut self) -> bool {
        let Some(visitor) = &mut self.visitor else { return false };
        if !visitor.answered {
            return true;
        }
        let (head, body) = (self.reply.head.as_bytes(), self.reply.body.as_bytes());
        let len = head.len() + body.len();
        while visitor.writable && visitor.sent < len {
            let head = &head[visitor.sent.min(head.len())..];
            let body = &body[visitor.sent.saturating_sub(self.reply.head.as_bytes().len())..];
            match visitor.stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]) {
                Ok(sent) => visitor.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => visitor.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        visitor.sent < len
    }

    fn close(&mut self, registry: &Registry) {
        if let Some(mut visitor) = self.visitor.take() {
            lingering_close(&mut visitor.stream);
            let _ = registry.deregister(&mut visitor.stream);
        }
    }
}
