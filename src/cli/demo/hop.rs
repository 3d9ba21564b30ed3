//! The network between client and server: two sockets and two threads that pass datagrams on, and do one harm when told.
//!
//! ```text
//!  client ──▶ front ── lose, damage, double ─▶ back ──▶ server
//!         ◀── front ◀──────── lose ────────── back ◀──
//! ```

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{limits::DATAGRAM_BYTES_MAX, wire::frame::HEADER_LEN};

/// What is done to the next new request; retries of earlier ones, which a slow moment makes, are let alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// The request does not arrive.
    LoseRequest,
    /// The request arrives, its reply does not.
    LoseReply,
    /// One bit of the request arrives flipped.
    FlipBit,
    /// The request arrives twice, and a third time when the copy is released.
    Double,
}

/// How often the threads look whether they are to end.
const GLANCE: Duration = Duration::from_millis(20);

/// A network of one client and one server. Dropping it takes it away.
pub(super) struct Hop {
    pub(super) address: SocketAddr,
    wires: Arc<Wires>,
    threads: Vec<JoinHandle<()>>,
}

struct Wires {
    front: UdpSocket,
    back: UdpSocket,
    state: Mutex<State>,
    ended: AtomicBool,
}

#[derive(Default)]
struct State {
    client: Option<SocketAddr>,
    harm: Option<Harm>,
    /// The highest sequence that has passed.
    sequence: u32,
    /// The sequence and attempt whose reply is to be lost.
    lost_reply: Option<(u32, u8)>,
    copy: Option<Vec<u8>>,
}

impl Hop {
    /// Lays it out in front of `server`.
    pub(super) fn start(server: SocketAddr) -> io::Result<Hop> {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        back.connect(server)?;
        for socket in [&front, &back] {
            socket.set_read_timeout(Some(GLANCE))?;
        }
        let address = front.local_addr()?;
        let wires = Arc::new(Wires { front, back, state: Mutex::default(), ended: AtomicBool::new(false) });
        // Made before the threads, so that a thread that cannot be had leaves no other behind.
        let mut hop = Hop { address, wires, threads: Vec::new() };
        for pass in [Wires::pass_request, Wires::pass_reply] {
            let wires = Arc::clone(&hop.wires);
            let body = move || {
                while !wires.ended.load(Ordering::Relaxed) {
                    // A time-out, or a server that is not there: look again.
                    let _ = pass(&wires);
                }
            };
            hop.threads.push(thread::Builder::new().spawn(body)?);
        }
        Ok(hop)
    }

    /// Does this to the next new request, once.
    pub(super) fn harm_next(&self, harm: Harm) {
        self.wires.state().harm = Some(harm);
    }

    /// Lets the copy arrive; false where none was made.
    pub(super) fn release_copy(&self) -> bool {
        let copy = self.wires.state().copy.take();
        copy.is_some_and(|bytes| self.wires.back.send(&bytes).is_ok())
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.wires.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Wires {
    fn pass_request(&self) -> io::Result<()> {
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        let (len, client) = self.front.recv_from(&mut bytes)?;
        let bytes = &mut bytes[..len];
        match self.state().harm_for(client, bytes) {
            Some(Harm::LoseRequest) => return Ok(()),
            // In the key: only the checksum can tell.
            Some(Harm::FlipBit) if len > HEADER_LEN => bytes[HEADER_LEN] ^= 1,
            Some(Harm::Double) => {
                self.back.send(bytes)?;
            }
            _ => {}
        }
        self.back.send(bytes).map(drop)
    }

    fn pass_reply(&self) -> io::Result<()> {
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        let len = self.back.recv(&mut bytes)?;
        let bytes = &bytes[..len];
        let client = {
            let mut state = self.state();
            let lost = state.lost_reply.is_some() && state.lost_reply == number(bytes);
            if lost {
                state.lost_reply = None;
            }
            state.client.filter(|_| !lost)
        };
        match client {
            Some(client) => self.front.send_to(bytes, client).map(drop),
            None => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes a request that passes; the harm that is to be done to it.
    fn harm_for(&mut self, client: SocketAddr, bytes: &[u8]) -> Option<Harm> {
        self.client = Some(client);
        let number = number(bytes)?;
        if number.0 <= self.sequence {
            return None;
        }
        self.sequence = number.0;
        let harm = self.harm.take();
        match harm {
            Some(Harm::LoseReply) => self.lost_reply = Some(number),
            Some(Harm::Double) => self.copy = Some(bytes.to_vec()),
            _ => {}
        }
        harm
    }
}

/// Sequence and attempt of a frame, as they are written: the network does not ask whether it is whole.
fn number(bytes: &[u8]) -> Option<(u32, u8)> {
    let sequence = bytes.get(24..28)?.try_into().ok()?;
    Some((u32::from_be_bytes(sequence), bytes[5]))
}
