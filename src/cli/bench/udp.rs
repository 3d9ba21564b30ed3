//! Clients that send frames as datagrams, many with one system call, and send again what is not answered.
//!
//! ```text
//!  sequence   first ……… next          at most 64 apart; a slot each, sequence modulo 64
//!             [answered|waiting|…]
//! ```

use std::{
    cell::RefCell,
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    os::fd::AsRawFd,
    rc::Rc,
    time::Duration,
};

use mio::{Interest, Registry, Token, net::UdpSocket};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg},
};

use super::{
    codec::Outcome,
    frames::{Session, outcome},
    link::{Gone, Link, Shared},
    stats::{Nanos, Stats},
    workload::Request,
};
use crate::{
    limits::{DATAGRAM_BYTES_MAX, UDP_WINDOW},
    wire::frame::{self, COOKIE_LEN, Direction, Head},
};

/// Datagrams of one system call.
const BATCH_LEN: usize = 32;
/// One byte more than a datagram may have, so that a longer one is seen to be.
const SLOT_BYTES: usize = DATAGRAM_BYTES_MAX + 1;
/// After so long without an answer a request is sent again, and after twice as long once more, and so on.
const RETRY_NS: Nanos = 50_000_000;
const DOUBLINGS_MAX: u8 = 5;
/// For how long one HELLO is waited for.
const HELLO_TIME: Duration = Duration::from_millis(200);
/// Where a frame's sequence stands, in requests and replies.
const SEQUENCE: std::ops::Range<usize> = 24..28;

/// Room for one system call's datagrams, which all clients share.
pub(super) struct Batch {
    slots: Box<[[u8; SLOT_BYTES]]>,
    send_headers: MultiHeaders<SockaddrStorage>,
    receive_headers: MultiHeaders<SockaddrStorage>,
}

impl Batch {
    pub(super) fn new() -> Rc<RefCell<Batch>> {
        let headers = || MultiHeaders::preallocate(BATCH_LEN, None);
        let slots = vec![[0; SLOT_BYTES]; BATCH_LEN].into_boxed_slice();
        Rc::new(RefCell::new(Batch { slots, send_headers: headers(), receive_headers: headers() }))
    }
}

/// A client with a socket of its own.
pub(super) struct Udp {
    socket: UdpSocket,
    session: Session,
    batch: Rc<RefCell<Batch>>,
    slots: [Option<Slot>; UDP_WINDOW],
    outstanding: usize,
    /// The lowest sequence without an answer, and the next to be used.
    first: u32,
    next: u32,
    /// Sequences whose frames are to be sent.
    to_send: Vec<u32>,
    /// Bytes of every reply of a server that is the bare floor.
    floor_reply: Option<usize>,
}

/// A request in flight.
#[derive(Clone, Copy)]
struct Slot {
    request: Request,
    sequence: u32,
    due: Nanos,
    sent: Nanos,
    attempt: u8,
}

impl Udp {
    /// Binds a socket, and opens a session unless the server is the bare floor.
    pub(super) fn open(
        server: SocketAddr,
        mut session: Session,
        batch: Rc<RefCell<Batch>>,
        floor_reply: Option<usize>,
    ) -> Result<Udp, Gone> {
        let local = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = std::net::UdpSocket::bind(local).map_err(Gone::Io)?;
        socket.connect(server).map_err(Gone::Io)?;
        socket.set_read_timeout(Some(HELLO_TIME)).map_err(Gone::Io)?;
        if floor_reply.is_none() {
            let mut heard = false;
            let opened = session.open(|hello| {
                let reply = ask(&socket, hello)?;
                heard |= reply.is_some();
                Ok(reply)
            });
            // Silence alone does not tell why.
            opened.map_err(
                |gone| if heard || matches!(gone, Gone::Io(_)) { gone } else { Gone::NoDatagrams },
            )?;
        }
        socket.set_nonblocking(true).map_err(Gone::Io)?;
        let (slots, to_send) = ([None; UDP_WINDOW], Vec::with_capacity(UDP_WINDOW));
        let socket = UdpSocket::from_std(socket);
        Ok(Udp { socket, session, batch, slots, outstanding: 0, first: 1, next: 1, to_send, floor_reply })
    }

    /// Takes one datagram.
    fn take(&mut self, bytes: &[u8], now: Nanos, shared: &Shared, stats: &mut Stats) -> Result<(), Gone> {
        if let Some(reply_len) = self.floor_reply {
            let sequence =
                bytes.get(SEQUENCE).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
            let answered = sequence.and_then(|sequence| self.answered(sequence));
            return match answered {
                Some(slot) if bytes.len() == reply_len => {
                    stats.reply(slot.request.op, now.saturating_sub(slot.due));
                    Ok(())
                }
                Some(_) => Err(Gone::Garbage("a datagram of another length than --floor-reply")),
                None => Ok(()),
            };
        }
        // What was damaged on the way is asked for again.
        let Ok(frame) = frame::decode_datagram(bytes, Direction::Reply) else { return Ok(()) };
        let head: &Head = &frame.head;
        if head.client_id != self.session.client_id {
            return Ok(());
        }
        if head.cookie != [0; COOKIE_LEN] {
            self.session.cookie = head.cookie;
        }
        let Some(Slot { request, due, .. }) = self.answered(head.sequence) else {
            stats.late += 1;
            return Ok(());
        };
        match outcome(request.op, head.status()).map_err(Gone::Garbage)? {
            Some(Outcome::Stored) => {}
            Some(Outcome::Missing) => stats.misses += 1,
            Some(Outcome::Error(words)) => stats.error(words),
            None => {
                stats.hits += 1;
                if request.check {
                    let right = shared.content.check(request.key, frame.value.len(), 0, frame.value);
                    stats.checked(right, || format!("key number {} has another value", request.key));
                }
            }
        }
        stats.reply(request.op, now.saturating_sub(due));
        Ok(())
    }

    /// The request that is answered by this, unless it was already.
    fn answered(&mut self, sequence: u32) -> Option<Slot> {
        let place = &mut self.slots[sequence as usize % UDP_WINDOW];
        let slot = place.take_if(|slot| slot.sequence == sequence)?;
        self.outstanding -= 1;
        while self.first < self.next && self.slots[self.first as usize % UDP_WINDOW].is_none() {
            self.first += 1;
        }
        Some(slot)
    }

    /// Sends up to a batch of what waits; false if there is no more, or the system takes no more.
    fn send(&mut self, shared: &Shared) -> Result<bool, Gone> {
        let mut batch = self.batch.borrow_mut();
        let Batch { slots: room, send_headers, .. } = &mut *batch;
        let (mut lengths, mut count, now) = ([0; BATCH_LEN], 0, shared.now());
        for &sequence in self.to_send.iter().take(BATCH_LEN) {
            // What was answered meanwhile is sent for nothing, which is rare.
            let Some(slot) = &mut self.slots[sequence as usize % UDP_WINDOW] else { continue };
            slot.sent = now;
            let numbers = (slot.sequence, self.first.min(slot.sequence), slot.attempt);
            lengths[count] = self.session.encode(&slot.request, numbers, &shared.content, &mut room[count]);
            count += 1;
        }
        let taken = self.to_send.len().min(BATCH_LEN);
        let slices: [[IoSlice<'_>; 1]; BATCH_LEN] =
            std::array::from_fn(|index| [IoSlice::new(&room[index][..lengths[index]])]);
        let nowhere = [const { None }; BATCH_LEN];
        let (descriptor, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        match sendmmsg(descriptor, send_headers, &slices[..count], &nowhere[..count], [], flags) {
            Ok(sent) => {
                let sent = if count == 0 { 0 } else { sent.count() };
                // Where not all were taken, the rest is sent when the socket says so.
                self.to_send.drain(..if sent == count { taken } else { sent });
                Ok(sent == count && !self.to_send.is_empty())
            }
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => Ok(false),
            Err(error) => Err(Gone::Io(error.into())),
        }
    }
}

/// Sends a frame and waits a little for the answer.
fn ask(socket: &std::net::UdpSocket, request: &[u8]) -> io::Result<Option<Vec<u8>>> {
    socket.send(request)?;
    let mut reply = vec![0; SLOT_BYTES];
    match socket.recv(&mut reply) {
        Ok(len) => {
            reply.truncate(len);
            Ok(Some(reply))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Link for Udp {
    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    fn outstanding(&self) -> usize {
        self.outstanding
    }

    fn has_room(&self, depth: usize) -> bool {
        self.outstanding < depth && (self.next - self.first) < UDP_WINDOW as u32
    }

    fn push(&mut self, request: Request, due: Nanos, _: &Shared) {
        let slot = Slot { request, sequence: self.next, due, sent: due, attempt: 0 };
        self.slots[self.next as usize % UDP_WINDOW] = Some(slot);
        self.to_send.push(self.next);
        self.next += 1;
        self.outstanding += 1;
    }

    fn flush(&mut self, shared: &mut Shared) -> Result<(), Gone> {
        if !self.to_send.is_empty() {
            while self.send(shared)? {}
        }
        Ok(())
    }

    fn receive(&mut self, shared: &mut Shared, stats: &mut Stats) -> Result<bool, Gone> {
        let batch = self.batch.clone();
        let mut batch = batch.borrow_mut();
        let Batch { slots, receive_headers, .. } = &mut *batch;
        let mut lengths = [0; BATCH_LEN];
        let mut count = 0;
        {
            let mut rooms = slots.iter_mut();
            let mut slices: [[IoSliceMut<'_>; 1]; BATCH_LEN] = std::array::from_fn(|_| {
                [IoSliceMut::new(rooms.next().map_or(&mut [], |room| &mut room[..]))]
            });
            let flags = MsgFlags::MSG_DONTWAIT;
            match recvmmsg(self.socket.as_raw_fd(), receive_headers, slices.iter_mut(), flags, None) {
                Ok(messages) => {
                    for message in messages {
                        lengths[count] = message.bytes;
                        count += 1;
                    }
                }
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => return Ok(true),
                Err(error) => return Err(Gone::Io(error.into())),
            }
        }
        let now = shared.now();
        for (room, len) in slots.iter().zip(lengths).take(count) {
            self.take(&room[..len], now, shared, stats)?;
        }
        Ok(count == BATCH_LEN)
    }

    fn tick(&mut self, shared: &mut Shared, stats: &mut Stats) -> Result<(), Gone> {
        if self.outstanding == 0 {
            return Ok(());
        }
        let now = shared.now();
        for slot in self.slots.iter_mut().flatten() {
            let timeout = RETRY_NS << slot.attempt.min(DOUBLINGS_MAX);
            if now.saturating_sub(slot.sent) > timeout && !self.to_send.contains(&slot.sequence) {
                slot.attempt = slot.attempt.saturating_add(1);
                self.to_send.push(slot.sequence);
                stats.resent += 1;
            }
        }
        self.flush(shared)
    }
}
