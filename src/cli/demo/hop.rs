//! The network between client and server: two sockets and two threads that pass datagrams on, and do one harm when told.
//!
//! ```text
//!  client ──▶ front ── lose, damage, copy ──▶ back ──▶ server
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

/// What is done to the next datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// The request does not arrive.
    LoseRequest,
    /// The request arrives, its reply does not.
    LoseReply,
    /// One bit of the request arrives flipped.
    FlipBit,
    /// The request arrives, and a copy of it once it is released.
    Copy,
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

    /// Does this to the next datagram, once.
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
        let harm = {
            let mut state = self.state();
            state.client = Some(client);
            let harm = state.harm.take_if(|harm| *harm != Harm::LoseReply);
            if harm == Some(Harm::Copy) {
                state.copy = Some(bytes.to_vec());
            }
            harm
        };
        match harm {
            Some(Harm::LoseRequest) => return Ok(()),
            // In the key: only the checksum can tell.
            Some(Harm::FlipBit) if len > HEADER_LEN => bytes[HEADER_LEN] ^= 1,
            _ => {}
        }
        self.back.send(bytes).map(drop)
    }

    fn pass_reply(&self) -> io::Result<()> {
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        let len = self.back.recv(&mut bytes)?;
        let (client, lost) = {
            let mut state = self.state();
            (state.client, state.harm.take_if(|harm| *harm == Harm::LoseReply).is_some())
        };
        match client {
            Some(client) if !lost => self.front.send_to(&bytes[..len], client).map(drop),
            _ => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
