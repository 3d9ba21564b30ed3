//! The UDP socket: datagrams in batches, so that a loaded server spends two system calls on thirty-two of them.
//!
//! ```text
//!  recvmmsg ─▶ [ in 0 | in 1 | … | in 31 ] ─▶ server, one by one ─▶ [ out 0 | … ] ─▶ sendmmsg
//! ```

use super::udp_health::{Health, is_of_the_socket};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::server::Server;
use crate::time::{Millis, Now};
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
    health: Health,
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
        Ok(UdpPort::over(UdpSocket::from_std(socket.into())))
    }

    /// A port over a bound socket.
    fn over(socket: UdpSocket) -> UdpPort {
        UdpPort {
            socket,
            receive_headers: MultiHeaders::preallocate(BATCH_LEN, None),
            send_headers: MultiHeaders::preallocate(BATCH_LEN, None),
            received: vec![[0; SLOT_BYTES]; BATCH_LEN].into_boxed_slice(),
            replies: vec![[0; DATAGRAM_BYTES_MAX]; BATCH_LEN].into_boxed_slice(),
            readable: true,
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
        self.readable |= self.health.retry_at(now.monotonic).is_some_and(|at| at <= now.monotonic);
        for _ in 0..BATCHES_PER_TURN {
            if !self.readable {
                return;
            }
            let mut sources = [const { None }; BATCH_LEN];
            let mut lengths = [0; BATCH_LEN];
            let count = match self.receive(&mut sources, &mut lengths) {
                Ok(count) => count,
                Err(error) => {
                    self.receive_failed(error, server, now.monotonic);
                    continue;
                }
            };
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
            self.send(&targets[..reply_count], &reply_lengths, server, now.monotonic);
        }
    }

    fn receive(
        &mut self,
        sources: &mut [Option<SockaddrStorage>; BATCH_LEN],
        lengths: &mut [usize; BATCH_LEN],
    ) -> Result<usize, Errno> {
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
                self.health.worked();
                Ok(count)
            }
            Err(Errno::EINTR) => Ok(0),
            Err(Errno::EAGAIN) => {
                self.readable = false;
                self.health.worked();
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// Counts an error, and leaves a socket that fails again and again alone for a while.
    #[cold]
    fn receive_failed(&mut self, error: Errno, server: &mut Server, now: Millis) {
        server.engine_mut().process_stats.udp_receive_errors += 1;
        self.note_failure(error, now);
        log::debug!("receiving datagrams: {error}");
        self.readable = self.health.failure(now).is_none();
    }

    fn note_failure(&mut self, error: Errno, now: Millis) {
        if self.health.failed(error, now) {
            log::error!("the UDP socket fails: {error}; /readyz says so until it works again");
        }
    }

    /// Sends the replies; what the system does not take is lost, and its client asks again.
    fn send(
        &mut self,
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
            let flags = MsgFlags::MSG_DONTWAIT;
            let descriptor = self.socket.as_raw_fd();
            match sendmmsg(descriptor, &mut self.send_headers, slices, &targets[from..], [], flags) {
                Ok(sent) => from += sent.count().max(1),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    lost += targets.len() - from;
                    break;
                }
                Err(error) => {
                    log::debug!("sending a datagram: {error}");
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
        let mut port = UdpPort::over(UdpSocket::from_std(broken));
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
