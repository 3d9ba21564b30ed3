//! The UDP socket: datagrams in batches, so that a loaded server spends two system calls on thirty-two of them.
//!
//! ```text
//!  recvmmsg ─▶ [ in 0 | in 1 | … | in 31 ] ─▶ server, one by one ─▶ [ out 0 | … ] ─▶ sendmmsg
//! ```
//! A socket of all addresses (0.0.0.0, ::) takes each datagram with the address that it was sent to, and answers from
//! that one: a client's connected socket, and any NAT or firewall, takes a reply from no other. Replies from one address
//! go by one call; usually all of a batch do.

use super::udp_health::{Health, is_of_the_socket};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::mutation::Revision;
use crate::server::Server;
use crate::time::{Millis, Now};
use mio::net::UdpSocket;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrLike, SockaddrStorage,
    recvmmsg, sendmmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};

/// Datagrams of one system call.
const BATCH_LEN: usize = 32;
/// Batches of one turn of the loop, after which TCP has its turn.
const BATCHES_PER_TURN: usize = 4;
/// Bytes of the system's queue of datagrams, asked for; it may give less.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// One byte more than a datagram may have, so that a longer one is seen to be.
const SLOT_BYTES: usize = DATAGRAM_BYTES_MAX + 1;

/// Replies that wait for the disk, at most; what is beyond them is not sent, and its client asks again.
const HELD_MAX: usize = 256;
/// Bytes that they take.
pub const HELD_BYTES: usize = HELD_MAX * size_of::<WaitingReply>();

/// A reply that waits for the disk.
struct WaitingReply {
    revision: Revision,
    local: Local,
    target: SockaddrStorage,
    len: usize,
    bytes: [u8; DATAGRAM_BYTES_MAX],
}

/// The address that a datagram was sent to, which its reply is to come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Local {
    /// The socket is bound to it, or the system does not say: the reply goes as the system routes it.
    Bound,
    V4(Ipv4Addr),
    /// Of a socket of both families: IPv4 is mapped. `interface` is 0 unless the address is good on one link alone.
    V6 {
        address: Ipv6Addr,
        interface: u32,
    },
}

/// The socket with its preallocated batches.
pub struct UdpPort {
    socket: UdpSocket,
    receive_headers: MultiHeaders<SockaddrStorage>,
    send_headers: MultiHeaders<SockaddrStorage>,
    /// Headers with room for the address to send from; of a socket of all addresses.
    send_from_headers: Option<MultiHeaders<SockaddrStorage>>,
    received: Box<[[u8; SLOT_BYTES]]>,
    replies: Box<[[u8; DATAGRAM_BYTES_MAX]]>,
    /// Datagrams may be waiting: only an answer of "nothing" clears it.
    pub readable: bool,
    health: Health,
    /// Replies that wait for the disk; its memory is taken when the first one does.
    held: VecDeque<WaitingReply>,
}

impl UdpPort {
    /// Binds the socket.
    ///
    /// # Errors
    /// What the system says, among it `AddrInUse`.
    pub fn bind(address: SocketAddr) -> io::Result<UdpPort> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            let _ = socket.set_only_v6(false);
        }
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        let tells_address = address.ip().is_unspecified() && ask_for_addresses(&socket, address);
        socket.bind(&address.into())?;
        let room = tells_address.then(|| match address {
            SocketAddr::V4(_) => cmsg_space!(in_pktinfo),
            SocketAddr::V6(_) => cmsg_space!(in6_pktinfo),
        });
        Ok(UdpPort::over(UdpSocket::from_std(socket.into()), room))
    }

    /// A port over a bound socket; `room` for the control message that tells a datagram's own address, if one does.
    fn over(socket: UdpSocket, room: Option<Vec<u8>>) -> UdpPort {
        let headers = |room: Option<Vec<u8>>| MultiHeaders::preallocate(BATCH_LEN, room);
        UdpPort {
            socket,
            // Each datagram brings just the one control message that there is room for, so that the room, which a call
            // overwrites with what it has used, is as large for the next.
            receive_headers: headers(room.clone()),
            send_headers: headers(None),
            send_from_headers: room.map(|room| headers(Some(room))),
            received: vec![[0; SLOT_BYTES]; BATCH_LEN].into_boxed_slice(),
            replies: vec![[0; DATAGRAM_BYTES_MAX]; BATCH_LEN].into_boxed_slice(),
            readable: true,
            held: VecDeque::new(),
            health: Health::default(),
        }
    }

    /// What is wrong with the socket, and how many times in a row it was, while it fails.
    pub fn failure(&self, now: Millis) -> Option<(&'static str, u64)> {
        self.health.failure(now)
    }

    /// When to call [`serve`](UdpPort::serve) although no event came.
    pub fn next_deadline(&self, now: Millis) -> Option<Millis> {
        self.health.retry_at(now)
    }

    /// The socket to register for reading.
    pub fn source(&mut self) -> &mut UdpSocket {
        &mut self.socket
    }

    /// The address that was bound, the port filled in.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves the datagrams that wait, up to this turn's share.
    pub fn serve(&mut self, server: &mut Server, now: Now) {
        self.send_held(server, now.monotonic);
        self.readable |= self.health.retry_at(now.monotonic).is_some_and(|at| at <= now.monotonic);
        for _ in 0..BATCHES_PER_TURN {
            if !self.readable {
                return;
            }
            let mut batch = Batch::default();
            match self.receive(&mut batch) {
                Ok(()) => self.answer(&batch, server, now),
                Err(error) => self.receive_failed(error, server, now.monotonic),
            }
        }
    }

    /// Serves the datagrams of a batch, those to one address together, and sends the replies.
    fn answer(&mut self, batch: &Batch, server: &mut Server, now: Now) {
        let mut served = [false; BATCH_LEN];
        while let Some(first) = served[..batch.count].iter().position(|served| !served) {
            let local = batch.locals[first];
            let mut targets = [const { None }; BATCH_LEN];
            let mut reply_lengths = [0; BATCH_LEN];
            let mut reply_count = 0;
            for (index, served) in served[..batch.count].iter_mut().enumerate().skip(first) {
                if *served || batch.locals[index] != local {
                    continue;
                }
                *served = true;
                let Some(source) = batch.sources[index].as_ref() else { continue };
                let Some(from) = socket_address(source) else { continue };
                let bytes = &self.received[index][..batch.lengths[index]];
                if let Some(len) = server.handle_datagram(from, bytes, now, &mut self.replies[reply_count]) {
                    if let Some(revision) = server.datagram_waits_for() {
                        hold(&mut self.held, revision, (local, source), &self.replies[reply_count][..len]);
                        continue;
                    }
                    targets[reply_count] = Some(*source);
                    reply_lengths[reply_count] = len;
                    reply_count += 1;
                }
            }
            self.send(local, &targets[..reply_count], &reply_lengths, server, now.monotonic);
        }
    }

    /// Sends the replies that have waited for what is durable now.
    fn send_held(&mut self, server: &mut Server, now: Millis) {
        while let Some(first) = self.held.front().filter(|held| server.is_durable(held.revision)) {
            let local = first.local;
            let mut targets = [const { None }; BATCH_LEN];
            let mut lengths = [0; BATCH_LEN];
            let mut count = 0;
            while count < BATCH_LEN
                && self
                    .held
                    .front()
                    .is_some_and(|held| held.local == local && server.is_durable(held.revision))
                && let Some(held) = self.held.pop_front()
            {
                self.replies[count][..held.len].copy_from_slice(&held.bytes[..held.len]);
                (targets[count], lengths[count]) = (Some(held.target), held.len);
                count += 1;
            }
            self.send(local, &targets[..count], &lengths, server, now);
        }
    }

    fn receive(&mut self, batch: &mut Batch) -> Result<(), Errno> {
        let descriptor = self.socket.as_raw_fd();
        let mut slots = self.received.iter_mut();
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH_LEN] =
            std::array::from_fn(|_| [IoSliceMut::new(slots.next().map_or(&mut [], |slot| &mut slot[..]))]);
        let flags = MsgFlags::MSG_DONTWAIT;
        match recvmmsg(descriptor, &mut self.receive_headers, slices.iter_mut(), flags, None) {
            Ok(messages) => {
                for message in messages {
                    batch.sources[batch.count] = message.address;
                    batch.lengths[batch.count] = message.bytes;
                    if self.send_from_headers.is_some() {
                        batch.locals[batch.count] = local_address_of(&message);
                    }
                    batch.count += 1;
                }
                self.readable = batch.count == BATCH_LEN;
                self.health.worked();
                Ok(())
            }
            Err(Errno::EINTR) => Ok(()),
            Err(Errno::EAGAIN) => {
                self.readable = false;
                self.health.worked();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Counts an error, and leaves a socket that fails again and again alone for a while.
    #[cold]
    fn receive_failed(&mut self, error: Errno, server: &mut Server, now: Millis) {
        server.engine_mut().process_stats.udp_receive_errors += 1;
        self.note_failure(error, now);
        log::debug!(reason:% = error; "receiving datagrams: {error}");
        self.readable = self.health.failure(now).is_none();
    }

    fn note_failure(&mut self, error: Errno, now: Millis) {
        if self.health.failed(error, now) {
            log::error!(reason:% = error; "the UDP socket fails: {error}; /readyz says so until it works again");
        }
    }

    /// Sends the replies; what the system does not take is lost, and its client asks again.
    fn send(
        &mut self,
        local: Local,
        targets: &[Option<SockaddrStorage>],
        lengths: &[usize; BATCH_LEN],
        server: &mut Server,
        now: Millis,
    ) {
        let mut lost = 0;
        let mut from = 0;
        while from < targets.len() {
            let slices: [[IoSlice<'_>; 1]; BATCH_LEN] = std::array::from_fn(|index| {
                let index = (from + index).min(BATCH_LEN - 1);
                [IoSlice::new(&self.replies[index][..lengths[index]])]
            });
            let slices = &slices[..targets.len() - from];
            let headers = (&mut self.send_headers, self.send_from_headers.as_mut());
            match send_batch(self.socket.as_raw_fd(), headers, local, slices, &targets[from..]) {
                Ok(sent) => from += sent.max(1),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    lost += targets.len() - from;
                    break;
                }
                Err(error) => {
                    log::debug!(reason:% = error; "sending a datagram: {error}");
                    if is_of_the_socket(error) {
                        self.note_failure(error, now);
                    }
                    lost += 1;
                    from += 1;
                }
            }
        }
        if lost > 0 {
            server.engine_mut().process_stats.udp_send_errors += lost as u64;
        }
    }
}

/// Keeps a reply until the disk is done, if there is a place for it.
fn hold(
    held: &mut VecDeque<WaitingReply>,
    revision: Revision,
    (local, target): (Local, &SockaddrStorage),
    reply: &[u8],
) {
    if held.capacity() == 0 {
        held.reserve_exact(HELD_MAX);
    }
    if held.len() < HELD_MAX {
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        bytes[..reply.len()].copy_from_slice(reply);
        held.push_back(WaitingReply { revision, local, target: *target, len: reply.len(), bytes });
    }
}

/// Received datagrams beside their bytes.
struct Batch {
    sources: [Option<SockaddrStorage>; BATCH_LEN],
    locals: [Local; BATCH_LEN],
    lengths: [usize; BATCH_LEN],
    count: usize,
}

impl Default for Batch {
    fn default() -> Batch {
        let sources = [const { None }; BATCH_LEN];
        Batch { sources, locals: [Local::Bound; BATCH_LEN], lengths: [0; BATCH_LEN], count: 0 }
    }
}

/// Asks the system to tell of each datagram where it was sent to; whether it will.
fn ask_for_addresses(socket: &Socket, address: SocketAddr) -> bool {
    let asked = match address {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4PacketInfo, &true),
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true),
    };
    if let Err(error) = asked {
        log::warn!(reason:% = error; "replies by UDP come from the address that the system chooses: {error}");
    }
    asked.is_ok()
}

/// Where a datagram was sent to. A reply cannot come from a group, so that it is routed where that was one; a broadcast
/// in IPv4 comes with the interface's own address beside it.
fn local_address_of(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Local {
    let Ok(mut messages) = message.cmsgs() else { return Local::Bound };
    messages
        .find_map(|message| match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(Local::V4(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes())))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                let interface = if address.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
                let is_group = address
                    .to_ipv4_mapped()
                    .map_or(address.is_multicast(), |v4| v4.is_multicast() || v4.is_broadcast());
                (!is_group).then_some(Local::V6 { address, interface })
            }
            _ => None,
        })
        .unwrap_or(Local::Bound)
}

type Headers = MultiHeaders<SockaddrStorage>;

/// Sends a batch from one address by one call; how many of it the system took.
fn send_batch(
    descriptor: RawFd,
    (plain, with_address): (&mut Headers, Option<&mut Headers>),
    local: Local,
    slices: &[[IoSlice<'_>; 1]],
    targets: &[Option<SockaddrStorage>],
) -> Result<usize, Errno> {
    let flags = MsgFlags::MSG_DONTWAIT;
    match (local, with_address) {
        (Local::Bound, _) | (_, None) => {
            sendmmsg(descriptor, plain, slices, targets, [], flags).map(Iterator::count)
        }
        (Local::V4(address), Some(headers)) => {
            let address = in_addr { s_addr: u32::from_ne_bytes(address.octets()) };
            let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: in_addr { s_addr: 0 } };
            let from = [ControlMessage::Ipv4PacketInfo(&info)];
            sendmmsg(descriptor, headers, slices, targets, from, flags).map(Iterator::count)
        }
        (Local::V6 { address, interface }, Some(headers)) => {
            let address = in6_addr { s6_addr: address.octets() };
            let info = in6_pktinfo { ipi6_addr: address, ipi6_ifindex: interface };
            let from = [ControlMessage::Ipv6PacketInfo(&info)];
            sendmmsg(descriptor, headers, slices, targets, from, flags).map(Iterator::count)
        }
    }
}

fn socket_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    match storage.family()? {
        nix::sys::socket::AddressFamily::Inet => {
            storage.as_sockaddr_in().map(|address| SocketAddr::V4(SocketAddrV4::from(*address)))
        }
        nix::sys::socket::AddressFamily::Inet6 => {
            storage.as_sockaddr_in6().map(|address| SocketAddr::V6(SocketAddrV6::from(*address)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerOptions;
    use crate::engine::Engine;
    use crate::frames::{self, FrameServer};
    use crate::limits::MIB;
    use crate::server::Resources;
    use crate::store::{Store, StoreConfig};
    use std::fs::File;
    use std::os::fd::OwnedFd;

    fn server() -> Server {
        let config = StoreConfig { memory_bytes: 4 * MIB, ..StoreConfig::default() };
        let engine = Engine::new(
            Store::new(config, [1, 2]).unwrap(),
            ServerOptions { max_clients: 4, ..ServerOptions::default() },
        );
        let datagrams =
            FrameServer::new(&frames::Config { clients_max: 4, ..frames::Config::new(1, [3, 4]) });
        let small = Resources { input_bytes: MIB, output_bytes: MIB, ..Resources::default() };
        Server::new(engine, datagrams, small)
    }

    fn at(ms: u64) -> Now {
        Now { monotonic: Millis(ms), unix: Millis(1_780_000_000_000 + ms), unix_micros: 0 }
    }

    #[test]
    fn a_socket_that_is_none_fails_without_spinning_and_works_again_when_it_is_one() {
        // Calls on a descriptor that is no socket fail for good, as on a socket that the system has broken.
        let broken = std::net::UdpSocket::from(OwnedFd::from(File::open("/dev/null").unwrap()));
        let mut port = UdpPort::over(UdpSocket::from_std(broken), None);
        let mut server = server();
        let mut turns = 0;
        while port.readable {
            port.serve(&mut server, at(0));
            turns += 1;
            assert!(turns < 100, "it gives up for a while");
        }
        let errors = server.engine().process_stats.udp_receive_errors;
        assert_eq!(port.failure(Millis(1)), Some((Errno::ENOTSOCK.desc(), errors)));
        port.serve(&mut server, at(1));
        assert_eq!(server.engine().process_stats.udp_receive_errors, errors, "not before its time");
        let retry = port.next_deadline(Millis(1)).unwrap();
        port.serve(&mut server, at(retry.0));
        assert_eq!(server.engine().process_stats.udp_receive_errors, errors + 1);

        let whole = UdpPort::bind(([127, 0, 0, 1], 0).into()).unwrap();
        port.socket = whole.socket;
        port.serve(&mut server, at(retry.0 + 100));
        assert_eq!((port.failure(Millis(retry.0 + 100)), port.readable), (None, false));
        assert_eq!(port.next_deadline(Millis(retry.0 + 100)), None);
    }
}
