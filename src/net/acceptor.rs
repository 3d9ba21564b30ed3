//! Accepting TCP clients in batches: those for whom there is no place are turned away, and accepting goes on when
//! descriptors are free again.

use super::listener::{Accepted, Listener, lingering_close};
use super::peers::Peers;
use crate::connection::CloseReason;
use crate::server::{Server, TOO_MANY_CLIENTS};
use crate::time::Now;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// Clients accepted in one turn.
const ACCEPTS_PER_TURN: usize = 64;
/// How long an accept that found no descriptor waits for one, unless a client closes before.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The listener and whether accepting has to wait.
pub struct Acceptor {
    /// `None` once the server stops.
    listener: Option<Listener>,
    /// No descriptor was left.
    starved: bool,
}

impl Acceptor {
    /// Over an open listener.
    pub fn new(listener: Listener) -> Acceptor {
        Acceptor { listener: Some(listener), starved: false }
    }

    /// Registers the listener with the poll.
    ///
    /// # Errors
    /// What the system says.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let Some(listener) = &mut self.listener else { return Ok(()) };
        registry.register(listener.source(), token, Interest::READABLE)
    }

    /// An event says that clients wait.
    pub fn mark_ready(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.waiting = true;
        }
    }

    /// A descriptor may have become free: accepting is worth a try.
    pub fn retry(&mut self) {
        self.starved = false;
    }

    /// A client has gone, and with it a descriptor.
    pub fn descriptor_freed(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.restore_reserve();
        }
        self.starved = false;
    }

    /// How long the poll may wait as far as accepting is concerned; `None`: for ever.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let waiting = self.listener.as_ref().is_some_and(|listener| listener.waiting);
        match (self.starved, waiting) {
            (true, _) => Some(ACCEPT_RETRY),
            (false, true) => Some(Duration::ZERO),
            (false, false) => None,
        }
    }

    /// Accepts clients, up to this turn's share.
    pub fn accept(&mut self, server: &mut Server, peers: &mut Peers, registry: &Registry, now: Now) {
        let Some(listener) = &mut self.listener else { return };
        for _ in 0..ACCEPTS_PER_TURN {
            if !listener.waiting {
                return;
            }
            match listener.accept() {
                Accepted::Client(stream, address) => admit(stream, address, (server, peers), registry, now),
                Accepted::Rejected(stream, address) => {
                    server.count_rejected();
                    log::warn!(
                        peer:% = address, reason = "descriptors";
                        "{address} turned away: out of file descriptors (raise the limit on open files)"
                    );
                    turn_away(stream, TOO_MANY_CLIENTS);
                    listener.restore_reserve();
                }
                Accepted::None => {}
                Accepted::NoDescriptors => {
                    self.starved = true;
                    return;
                }
            }
        }
    }

    /// No new clients from now on.
    pub fn close(&mut self, registry: &Registry) {
        if let Some(mut listener) = self.listener.take() {
            let _ = registry.deregister(listener.source());
        }
    }
}

fn admit(
    stream: TcpStream,
    address: SocketAddr,
    (server, peers): (&mut Server, &mut Peers),
    registry: &Registry,
    now: Now,
) {
    let id = match server.open(address, now) {
        Ok(id) => id,
        Err(refusal) => {
            log::warn!(
                peer:% = address, reason = "max-clients";
                "{address} turned away: as many clients as --max-clients allows"
            );
            return turn_away(stream, refusal);
        }
    };
    // Which of the machine's addresses it came to is not in the one that the server listens at.
    if server.engine().options().tcp.ip().is_unspecified()
        && let Ok(local) = stream.local_addr()
    {
        server.set_local(id, local.ip());
    }
    if let Err(error) = peers.add(id, stream, registry) {
        log::error!(peer:% = address, reason:% = error; "{address}: cannot be watched: {error}");
        server.start_closing(id, CloseReason::Failed);
        return server.close(id);
    }
    log::debug!(peer:% = address; "{address} connected");
}

/// Says to a client why it is not accepted; it may be gone already.
fn turn_away(mut stream: TcpStream, why: &[u8]) {
    let _ = stream.write(why);
    lingering_close(&mut stream);
}
