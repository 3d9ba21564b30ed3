//! The UDP socket: datagrams in batches, so that a loaded server spends two system calls on thirty-two of them.
//!
//! ```text
//!  recvmmsg ─▶ [ in 0 | in 1 | … | in 31 ] ─▶ server, one by one ─▶ [ out 0 | … ] ─▶ sendmmsg
//! ```

use crate::limits::DATAGRAM_BYTES_MAX;
use crate::server::Server;
use crate::time::Now;
use mio::net::UdpSocket;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrLike, SockaddrStorage, recvmmsg, sendmmsg};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

/// Datagrams of one system call.
const BATCH_LEN: usize = 32;
/// Batches of one turn of the loop, after which TCP has its turn.
const BATCHES_PER_TURN: usize = 4;
/// Bytes of the system's queue of datagrams, asked for; it may give less.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// One byte more than a datagram may have, so that a longer one is seen to be.
const SLOT_BYTES: usize = DATAGRAM_BYTES_MAX + 1;

/// The socket with its preallocated batches.
pub struct UdpPort {
    socket: UdpSocket,
    receive_headers: MultiHeaders<SockaddrStorage>,
    send_headers: MultiHeaders<SockaddrStorage>,
    received: Box<[[u8; SLOT_BYTES]]>,
    replies: Box<[[u8; DATAGRAM_BYTES_MAX]]>,
    /// Datagrams may be waiting: only an answer of "nothing" clears it.
    pub readable: bool,
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
        socket.bind(&address.into())?;
        Ok(UdpPort {
            socket: UdpSocket::from_std(socket.into()),
            receive_headers: MultiHeaders::preallocate(BATCH_LEN, None),
            send_headers: MultiHeaders::preallocate(BATCH_LEN, None),
            received: vec![[0; SLOT_BYTES]; BATCH_LEN].into_boxed_slice(),
            replies: vec![[0; DATAGRAM_BYTES_MAX]; BATCH_LEN].into_boxed_slice(),
            readable: true,
        })
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
        for _ in 0..BATCHES_PER_TURN {
            if !self.readable {
                return;
            }
            let mut sources = [const { None }; BATCH_LEN];
            let mut lengths = [0; BATCH_LEN];
            let count = self.receive(&mut sources, &mut lengths);
            let mut targets = [const { None }; BATCH_LEN];
            let mut reply_lengths = [0; BATCH_LEN];
            let mut reply_count = 0;
            for index in 0..count {
                let Some(source) = sources[index].as_ref() else { continue };
                let Some(from) = socket_address(source) else { continue };
                let bytes = &self.received[index][..lengths[index]];
                if let Some(len) = server.handle_datagram(from, bytes, now, &mut self.replies[reply_count]) {
                    targets[reply_count] = Some(*source);
                    reply_lengths[reply_count] = len;
                    reply_count += 1;
                }
            }
            self.send(&targets[..reply_count], &reply_lengths);
        }
    }

    fn receive(
        &mut self,
        sources: &mut [Option<SockaddrStorage>; BATCH_LEN],
        lengths: &mut [usize; BATCH_LEN],
    ) -> usize {
        let descriptor = self.socket.as_raw_fd();
        let mut slots = self.received.iter_mut();
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH_LEN] =
            std::array::from_fn(|_| [IoSliceMut::new(slots.next().map_or(&mut [], |slot| &mut slot[..]))]);
        let flags = MsgFlags::MSG_DONTWAIT;
        match recvmmsg(descriptor, &mut self.receive_headers, slices.iter_mut(), flags, None) {
            Ok(messages) => {
                let mut count = 0;
                for message in messages {
                    sources[count] = message.address;
                    lengths[count] = message.bytes;
                    count += 1;
                }
                self.readable = count == BATCH_LEN;
                count
            }
            Err(Errno::EINTR) => 0,
            Err(Errno::EAGAIN) => {
                self.readable = false;
                0
            }
            Err(error) => {
                // An error of an earlier send (the peer's port is closed, say) is reported here, once.
                log::debug!("receiving datagrams: {error}");
                0
            }
        }
    }

    /// Sends the replies; what the system does not take is lost, and its client asks again.
    fn send(&mut self, targets: &[Option<SockaddrStorage>], lengths: &[usize; BATCH_LEN]) {
        let mut from = 0;
        while from < targets.len() {
            let slices: [[IoSlice<'_>; 1]; BATCH_LEN] = std::array::from_fn(|index| {
                let index = (from + index).min(BATCH_LEN - 1);
                [IoSlice::new(&self.replies[index][..lengths[index]])]
            });
            let slices = &slices[..targets.len() - from];
            let flags = MsgFlags::MSG_DONTWAIT;
            let descriptor = self.socket.as_raw_fd();
            match sendmmsg(descriptor, &mut self.send_headers, slices, &targets[from..], [], flags) {
                Ok(sent) => from += sent.count().max(1),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(error) => {
                    log::debug!("sending a datagram: {error}");
                    from += 1;
                }
            }
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
