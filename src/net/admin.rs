//! The admin port's sockets: few connections, one request each, on the same poll as the clients. `crate::admin` says
//! what is answered; this file moves the bytes, within bounds:
//!
//! - [`CONNECTIONS_MAX`] at once. When all slots are taken, a new connection takes the slot of the oldest one that is
//!   stalled: its request is not whole, or it does not take its reply. So a thousand stalled connections delay a probe by
//!   the time that it takes to accept and drop them, and not by their time limit.
//! - [`EXCHANGE_MS`] from accepting a connection until its reply is taken.
//! - One reply is made in a turn of the loop, and [`ACCEPTS_PER_TURN`] connections are accepted, so that a flood costs
//!   clients little.
//! - A descriptor is kept open for each free slot and for one connection more: clients that use up all others cannot keep
//!   a probe out.

use super::listener::{Accepted, Listener, lingering_close, reserve_descriptor};
use crate::admin::{
    self, Access, Context, Denied, History, REQUEST_BYTES_MAX, Readiness, Reply, Step, Token as AdminToken,
};
use crate::server::Server;
use crate::time::{Millis, Now};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;

/// Connections at once.
pub const CONNECTIONS_MAX: usize = 8;
/// Connections accepted in a turn: each costs some ten microseconds, and clients wait for them.
const ACCEPTS_PER_TURN: usize = 16;
/// How long a connection may take in all.
const EXCHANGE_MS: u64 = 2_000;
/// Bytes that the system may hold of what a connection has sent: more than a request.
const RECEIVE_BYTES: usize = 2 * REQUEST_BYTES_MAX;
/// How long accepting waits for a descriptor.
const ACCEPT_RETRY_MS: u64 = 100;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The rest of its request.
    Request,
    /// Bytes have come that were not parsed yet: a reply may be made in the next turn.
    Turn,
    /// Its peer, to take the reply.
    Reply,
}

/// One request and its reply.
struct Exchange {
    stream: TcpStream,
    peer: SocketAddr,
    accepted: Millis,
    /// How many were accepted before: their order, where many come within a millisecond.
    number: u64,
    stage: Stage,
    readable: bool,
    writable: bool,
    /// Bytes of the request, and of the reply.
    received: usize,
    sent: usize,
}

impl Exchange {
    /// Whether it goes on only when its peer does something.
    fn is_stalled(&self) -> bool {
        self.stage != Stage::Turn
    }
}

/// Room for a connection, with its memory.
struct Slot {
    exchange: Option<Exchange>,
    request: Vec<u8>,
    reply: Reply,
}

/// The listening socket and its connections.
pub struct AdminPort {
    listener: Listener,
    slots: Vec<Slot>,
    access: Access,
    history: History,
    /// Descriptors for connections to come: one for each free slot and one more, unless the process has run out.
    reserve: Vec<File>,
    first_token: usize,
    accepted_count: u64,
    /// Set when no descriptor was left: when accepting is tried again.
    retry_at: Option<Millis>,
}

impl AdminPort {
    /// Bytes that the port reserves; they are touched as connections come in at once.
    pub const MEMORY_BYTES: usize =
        CONNECTIONS_MAX * (REQUEST_BYTES_MAX + Reply::MEMORY_BYTES) + History::MEMORY_BYTES;

    /// Binds and listens. With a token, everything but the probes needs it.
    ///
    /// # Errors
    /// What the system says, among it `AddrInUse`.
    pub fn bind(address: SocketAddr, token: Option<AdminToken>) -> io::Result<AdminPort> {
        let slot = || Slot { exchange: None, request: vec![0; REQUEST_BYTES_MAX], reply: Reply::new() };
        let mut port = AdminPort {
            listener: Listener::bind(address, RECEIVE_BYTES)?,
            slots: (0..CONNECTIONS_MAX).map(|_| slot()).collect(),
            access: Access::new(address, token),
            history: History::new(),
            reserve: Vec::with_capacity(CONNECTIONS_MAX + 1),
            first_token: 0,
            accepted_count: 0,
            retry_at: None,
        };
        port.restore_reserve();
        Ok(port)
    }

    /// The address that was bound, the port filled in.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_address()
    }

    /// Another token from now on.
    pub fn set_token(&mut self, token: AdminToken) {
        self.access.set_token(token);
    }

    /// Takes a sample for the history if one is due. To be called at the start of each turn, before anything is served.
    pub fn tick(&mut self, server: &mut Server, now: Now) {
        self.history.tick(server, now);
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
        let slot = self.slots.get_mut(token.0 - self.first_token - 1);
        if let Some(Slot { exchange: Some(exchange), .. }) = slot {
            exchange.readable |= readable;
            exchange.writable |= writable;
        }
    }

    /// When there is to be a turn although no event comes.
    pub fn next_deadline(&self, server: &Server, now: Millis) -> Option<Millis> {
        if self.exchanges().any(|(_, exchange)| !exchange.is_stalled()) {
            return Some(now);
        }
        // A slot can always be had: here each is free or stalled.
        let accept = self.listener.waiting.then(|| self.retry_at.unwrap_or(now));
        let limit = self.exchanges().map(|(_, exchange)| exchange.accepted.plus(EXCHANGE_MS)).min();
        [accept, limit, self.history.next_deadline(server)].into_iter().flatten().min()
    }

    /// Does all that can be done now.
    pub fn serve(&mut self, server: &mut Server, registry: &Registry, readiness: Readiness, now: Now) {
        if !self.listener.waiting && self.exchanges().next().is_none() {
            return;
        }
        let mut may_reply = true;
        for index in 0..self.slots.len() {
            self.advance(index, server, registry, (readiness, now), &mut may_reply);
        }
        if self.retry_at.is_none_or(|at| now.monotonic >= at) {
            self.retry_at = None;
            for _ in 0..ACCEPTS_PER_TURN {
                let Some(index) = self.accept(registry, now.monotonic) else { break };
                // At once: usually the request is there, and then it is no longer stalled.
                self.advance(index, server, registry, (readiness, now), &mut may_reply);
            }
        }
        self.restore_reserve();
    }

    /// Goes on with an exchange as far as its peer and `may_reply` allow, and closes it when it has ended. Making a reply
    /// clears `may_reply`.
    fn advance(
        &mut self,
        index: usize,
        server: &mut Server,
        registry: &Registry,
        (readiness, now): (Readiness, Now),
        may_reply: &mut bool,
    ) {
        let AdminPort { slots, access, history, .. } = self;
        let slot = &mut slots[index];
        let Slot { exchange: Some(exchange), request, reply } = slot else { return };
        let goes_on = now.monotonic.since(exchange.accepted) < EXCHANGE_MS && exchange.receive(request) && {
            if exchange.stage == Stage::Turn && *may_reply {
                let context = &mut Context { server, history, access, readiness, now };
                exchange.stage = match admin::respond(&request[..exchange.received], context, reply) {
                    Step::NeedMore => Stage::Request,
                    Step::Replied => Stage::Reply,
                    Step::Denied(why) => {
                        // A browser that does not know yet that a token is wanted comes without one.
                        let level = if why == Denied::NoToken { log::Level::Debug } else { log::Level::Warn };
                        let peer = exchange.peer;
                        log::log!(
                            level, peer:%, reason:% = why;
                            "{peer} turned away from the admin port: {why}"
                        );
                        Stage::Reply
                    }
                };
                *may_reply = exchange.stage != Stage::Reply;
            }
            exchange.stage != Stage::Reply || exchange.send(reply)
        };
        if !goes_on {
            lingering_close(&mut exchange.stream);
            slot.drop_connection(registry);
        }
    }

    fn exchanges(&self) -> impl Iterator<Item = (usize, &Exchange)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| slot.exchange.as_ref().map(move |exchange| (index, exchange)))
    }

    /// Where a new connection goes: to a free slot, or in place of the oldest stalled connection.
    fn slot_for_next(&self) -> Option<usize> {
        self.slots.iter().position(|slot| slot.exchange.is_none()).or_else(|| {
            let stalled = self.exchanges().filter(|(_, exchange)| exchange.is_stalled());
            stalled.min_by_key(|(_, exchange)| exchange.number).map(|(oldest, _)| oldest)
        })
    }

    /// Accepts a connection and says which slot it got; `None`: no more in this turn.
    fn accept(&mut self, registry: &Registry, now: Millis) -> Option<usize> {
        // A connection that was aborted gives `None` while others wait, so this loop is bounded too.
        for _ in 0..ACCEPTS_PER_TURN {
            let index = self.slot_for_next().filter(|_| self.listener.waiting)?;
            self.reserve.pop();
            let accepted = self.listener.accept();
            let taken = match accepted {
                Accepted::Client(stream, peer) => {
                    let token = Token(self.first_token + 1 + index);
                    self.slots[index].drop_connection(registry);
                    self.accepted_count += 1;
                    self.slots[index].take((stream, peer), registry, token, (now, self.accepted_count))
                }
                Accepted::Rejected(stream, _) => {
                    drop(stream);
                    self.listener.restore_reserve();
                    false
                }
                Accepted::None => false,
                Accepted::NoDescriptors => {
                    self.retry_at = Some(now.plus(ACCEPT_RETRY_MS));
                    return None;
                }
            };
            self.restore_reserve();
            if taken {
                return Some(index);
            }
        }
        None
    }

    /// Opens what is missing of the reserve, as far as the process has descriptors.
    fn restore_reserve(&mut self) {
        let free = CONNECTIONS_MAX - self.exchanges().count();
        while self.reserve.len() < free + 1 {
            let Some(descriptor) = reserve_descriptor() else { return };
            self.reserve.push(descriptor);
        }
    }
}

impl Slot {
    /// Starts an exchange; whether the connection can be watched.
    fn take(
        &mut self,
        (mut stream, peer): (TcpStream, SocketAddr),
        registry: &Registry,
        token: Token,
        (accepted, number): (Millis, u64),
    ) -> bool {
        if let Err(error) = registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE) {
            log::error!(reason:% = error; "a connection to the admin port cannot be watched: {error}");
            return false;
        }
        self.reply.clear();
        self.exchange = Some(Exchange {
            stream,
            peer,
            accepted,
            number,
            stage: Stage::Request,
            readable: true,
            writable: true,
            received: 0,
            sent: 0,
        });
        true
    }

    fn drop_connection(&mut self, registry: &Registry) {
        if let Some(mut exchange) = self.exchange.take() {
            let _ = registry.deregister(&mut exchange.stream);
        }
    }
}

impl Exchange {
    /// Reads what has come of the request; whether the connection stays.
    fn receive(&mut self, request: &mut [u8]) -> bool {
        while self.readable && self.stage != Stage::Reply && self.received < request.len() {
            match self.stream.read(&mut request[self.received..]) {
                Ok(0) => {
                    // A client may close its side once it has asked.
                    self.readable = false;
                    return self.received > 0;
                }
                Ok(len) => {
                    self.received += len;
                    self.stage = Stage::Turn;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Sends what is left of the reply; whether the connection stays.
    fn send(&mut self, reply: &Reply) -> bool {
        let (head, body) = (reply.head.as_bytes(), reply.body.as_bytes());
        let len = head.len() + body.len();
        while self.writable && self.sent < len {
            let rest_of_head = &head[self.sent.min(head.len())..];
            let rest_of_body = &body[self.sent.saturating_sub(head.len())..];
            match self.stream.write_vectored(&[IoSlice::new(rest_of_head), IoSlice::new(rest_of_body)]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.sent < len
    }
}

#[cfg(test)]
mod tests;
