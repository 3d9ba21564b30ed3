//! The sockets of the TCP clients: what is known of each one's readiness, the queue of those that are ready, and
//! reading and writing.
//!
//! mio is edge-triggered: a flag of readiness is cleared only by `WouldBlock`, or by a read shorter than its room, which
//! on Linux means drained unless the peer has closed (epoll(7), "Possible pitfalls"). So most requests cost one read
//! and one write, and none of them a call that only learns that there is nothing to do.

use crate::connection::{CloseReason, ConnectionId};
use crate::server::{Server, Socket};
use crate::time::Now;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::ops::Deref;

use super::listener::lingering_close;

/// Tokens from here on are clients: the slot plus this, the generation above it.
pub const FIRST_TOKEN: usize = 16;
/// Clients whose bytes are read before any of their commands run; bounds the input buffers in use at once.
pub const GROUP_LEN: usize = 64;

/// Bytes that are read of several clients before their commands run: about what stays in a processor's cache until then,
/// and leaves long buffers to others.
const GROUP_BYTES: usize = 256 * 1024;

/// Bytes of large values that are read from one client, or written to it, in one turn: about, for pieces of them are
/// not cut. So their senders and readers do not hold the others up.
const LARGE_BYTES_PER_TURN: usize = 256 * 1024;
/// Slices given to one read or write: the longest tail of a large value's blocks, the spans of a turn's share, and what
/// stands before and behind the value.
const SLICES: usize = 24;

/// A client's socket and what is known of its readiness.
struct Peer {
    stream: TcpStream,
    generation: u32,
    readable: bool,
    writable: bool,
    /// The peer closed its side: a short read does not mean drained.
    read_closed: bool,
    /// In the queue.
    queued: bool,
}

/// All clients' sockets, by the slots that the server gave them.
pub struct Peers {
    slots: Vec<Option<Peer>>,
    /// Those to be served, each once.
    ready: VecDeque<ConnectionId>,
}

impl Peers {
    /// Bytes that one client costs here.
    pub const CLIENT_BYTES: usize = size_of::<Option<Peer>>();
    /// Bytes that one allowed client costs in the queue, which is touched all over by a few that come and go.
    pub const CLIENT_QUEUE_BYTES: usize = size_of::<ConnectionId>();

    /// Room for so many clients.
    pub fn new(max_clients: usize) -> Peers {
        Peers { slots: Vec::with_capacity(max_clients), ready: VecDeque::with_capacity(max_clients) }
    }

    fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Peer> {
        self.slots.get_mut(id.index as usize)?.as_mut().filter(|peer| peer.generation == id.generation)
    }

    /// Watches the socket of a client that the server has accepted.
    ///
    /// # Errors
    /// What the system says when it cannot be watched.
    pub fn add(&mut self, id: ConnectionId, mut stream: TcpStream, registry: &Registry) -> io::Result<()> {
        let index = id.index as usize;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, token_of(index, id.generation), interest)?;
        while self.slots.len() <= index {
            self.slots.push(None);
        }
        self.slots[index] = Some(Peer {
            stream,
            generation: id.generation,
            readable: false,
            writable: true,
            read_closed: false,
            queued: false,
        });
        Ok(())
    }

    /// Notes what an event says of a client and queues it; nothing is read or written yet.
    pub fn mark_ready(&mut self, event: &Event) {
        let index = (event.token().0 - FIRST_TOKEN) & (u32::MAX as usize);
        let Some(Some(peer)) = self.slots.get_mut(index) else { return };
        let generation = peer.generation;
        if token_of(index, generation) != event.token() {
            return;
        }
        peer.readable |= event.is_readable();
        peer.writable |= event.is_writable();
        peer.read_closed |= event.is_read_closed() || event.is_error();
        self.enqueue(ConnectionId { index: index as u32, generation });
    }

    /// Queues a client, if it is still there and not queued yet.
    pub fn enqueue(&mut self, id: ConnectionId) {
        let Some(peer) = self.get_mut(id) else { return };
        if !peer.queued {
            peer.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Places in the queue that are taken.
    pub fn queued_count(&self) -> usize {
        self.ready.len()
    }

    /// Moves the next few clients of the queue into `group`, at most `left` places; the number of places.
    pub fn next_group(&mut self, group: &mut Vec<ConnectionId>, left: usize) -> usize {
        group.clear();
        let mut taken = 0;
        while taken < left && group.len() < GROUP_LEN {
            taken += 1;
            let Some(id) = self.ready.pop_front() else { break };
            if let Some(peer) = self.get_mut(id) {
                peer.queued = false;
                group.push(id);
            }
        }
        taken
    }

    /// Reads these sockets in turn until [`GROUP_BYTES`] have come: how many were read, at least one.
    pub fn read_some(&mut self, server: &mut Server, ids: &[ConnectionId], now: Now) -> usize {
        let mut left = GROUP_BYTES;
        for (index, id) in ids.iter().enumerate() {
            let bytes = self.read(server, *id, now);
            if bytes >= left {
                return index + 1;
            }
            left -= bytes;
        }
        ids.len()
    }

    /// Reads a ready socket: once, or while a large value comes in, up to this turn's share of it. The bytes that came.
    fn read(&mut self, server: &mut Server, id: ConnectionId, now: Now) -> usize {
        let Some(peer) = self.get_mut(id) else { return 0 };
        let mut left = LARGE_BYTES_PER_TURN;
        while let Some(read) = peer.read(server, id, left, now) {
            match read {
                Ok((0, _)) => {
                    peer.readable = false;
                    server.input_ended(id);
                }
                Ok((len, room)) => {
                    peer.readable = len == room || peer.read_closed;
                    server.input_received(id, len, now);
                    left = left.saturating_sub(len);
                    if len == room && left > 0 && server.has_body(id) {
                        continue;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => peer.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => peer.fail(server, id, &error),
            }
            break;
        }
        server.input_left(id, peer.readable);
        if peer.readable && peer.read_closed {
            server.input_hung_up(id);
        }
        LARGE_BYTES_PER_TURN - left
    }

    /// Writes what waits, and puts back into the queue what can go on at once.
    pub fn write(&mut self, server: &mut Server, id: ConnectionId, now: Now) {
        let Some(peer) = self.get_mut(id) else { return };
        let mut left = LARGE_BYTES_PER_TURN;
        let mut sent_any = false;
        while peer.writable && left > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = server.output(id, &mut slices);
            if count == 0 {
                break;
            }
            let (count, offered) = share(&slices[..count], left);
            let written = match &slices[..count] {
                // Cheaper than a vector of one.
                [slice] => peer.stream.write(slice),
                slices => peer.stream.write_vectored(slices),
            };
            match written {
                Ok(len) => {
                    peer.writable = len == offered;
                    left = left.saturating_sub(len);
                    server.output_sent(id, len, now);
                    sent_any = true;
                    if !peer.writable {
                        server.output_blocked(id, now);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    peer.writable = false;
                    server.output_blocked(id, now);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    peer.fail(server, id, &error);
                    break;
                }
            }
        }
        let socket = Socket { readable: peer.readable, writable: peer.writable, sent_any };
        if server.can_go_on(id, socket) {
            self.enqueue(id);
        }
    }

    /// Closes a client's socket and has the server forget it. True: there was one.
    pub fn close(&mut self, server: &mut Server, id: ConnectionId) -> bool {
        let Some(slot) = self.slots.get_mut(id.index as usize) else { return false };
        let Some(mut peer) = slot.take_if(|peer| peer.generation == id.generation) else { return false };
        if let Some(connection) = server.get(id) {
            let reason = connection.closing().unwrap_or(CloseReason::PeerClosed);
            let (address, text) = (connection.peer(), reason.text());
            log::log!(reason.log_level(), peer:% = address, reason = text; "{address} closed: {text}");
            if reason != CloseReason::PeerClosed && reason != CloseReason::Failed {
                lingering_close(&mut peer.stream);
            }
        }
        server.close(id);
        // The last descriptor of a socket takes its registration along (epoll(7)): no call for that.
        true
    }

    /// The clients that have a socket.
    pub fn ids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            slot.as_ref().map(|peer| ConnectionId { index: index as u32, generation: peer.generation })
        })
    }
}

impl Peer {
    /// Reads once, where the server says, about `left` bytes: how many came and for how many there was room. `None`:
    /// nothing is to be read.
    fn read(
        &mut self,
        server: &mut Server,
        id: ConnectionId,
        left: usize,
        now: Now,
    ) -> Option<io::Result<(usize, usize)>> {
        if !self.readable {
            return None;
        }
        if !server.has_body(id) {
            let space = server.input_space(id, now)?;
            return Some(self.stream.read(space).map(|len| (len, space.len())));
        }
        let mut spaces: [IoSliceMut<'_>; SLICES] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        let count = server.input_spaces(id, now, &mut spaces);
        let (count, room) = share(&spaces[..count], left);
        if count == 0 {
            return None;
        }
        Some(self.stream.read_vectored(&mut spaces[..count]).map(|len| (len, room)))
    }

    /// The socket has failed: nothing more goes through it.
    fn fail(&mut self, server: &mut Server, id: ConnectionId, error: &io::Error) {
        log::debug!(connection = id.index, reason:% = error; "connection {}: {error}", id.index);
        self.readable = false;
        self.writable = false;
        server.socket_failed(id);
    }
}

/// How many of these slices, one at least, it takes to reach `left` bytes, and the bytes of those. A few bytes more, the
/// end of a reply say, come along: they are not worth a call of their own.
fn share(slices: &[impl Deref<Target = [u8]>], left: usize) -> (usize, usize) {
    const FEW: usize = 1024;
    let (mut count, mut len) = (0, 0);
    while count < slices.len() && (len < left || slices[count].len() <= FEW) {
        len += slices[count].len();
        count += 1;
    }
    (count, len)
}

/// The token of a client: a slot that is used again gets another one, so that a late event finds no client.
fn token_of(index: usize, generation: u32) -> Token {
    Token(((generation as usize) << 32) + index + FIRST_TOKEN)
}

const _: () = assert!(size_of::<usize>() == 8, "tokens carry a slot and a generation in 64 bits");
