//! The listening socket, and accepting that survives running out of descriptors: a reserve descriptor is given up for
//! the moment that it takes to say to a client why it is turned away. Edge-triggered listeners get no second event, so
//! the listener remembers that clients still wait.

use mio::net::{TcpListener, TcpStream};
use nix::sys::socket::sockopt::TcpMaxSeg;
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

/// Clients that the system queues before they are accepted.
const BACKLOG: i32 = 4096;
/// A dead peer is noticed after this long without traffic.
const KEEPALIVE: Duration = Duration::from_secs(300);
/// So many segments, at least, fit into what the system holds of one client's bytes; none is shorter than Ethernet's, and beyond
/// loopback's length none is shortened.
const SEGMENTS_A_BUFFER: usize = 4;
const SEGMENT_BYTES_MIN: usize = 1_448;
const SEGMENT_BYTES_MAX: usize = 65_483;
/// Bytes of replies that a socket takes while its peer's window is closed. Without a bound Linux takes up to
/// `tcp_wmem` (4 MiB) for each client that does not read, and the container pays for them: two hundred such clients
/// would get it killed. What the peer has room for does not count, so a client that reads is as fast as before.
const UNSENT_BYTES: u32 = 16 * 1024;

sockopt_impl!(
    /// `TCP_NOTSENT_LOWAT`, tcp(7).
    UnsentLimit,
    Both,
    libc::IPPROTO_TCP,
    libc::TCP_NOTSENT_LOWAT,
    u32
);

/// What accepting once gave.
pub enum Accepted {
    /// A client.
    Client(TcpStream, SocketAddr),
    /// A client that came when no descriptor was left: to be closed at once, with an error that says so.
    Rejected(TcpStream, SocketAddr),
    /// No client waits, or the one that did went away.
    None,
    /// No client can be accepted until a descriptor is free again.
    NoDescriptors,
}

/// A listening socket with its reserve descriptor.
pub struct Listener {
    socket: TcpListener,
    reserve: Option<File>,
    /// Clients may be waiting: only `WouldBlock` clears it.
    pub waiting: bool,
}

impl Listener {
    /// Binds and listens. The system holds about `receive_bytes` of what an accepted client has sent and the server has not
    /// read, and as much again for bookkeeping: socket(7), SO_RCVBUF.
    ///
    /// # Errors
    /// What the system says, among it `AddrInUse`.
    pub fn bind(address: SocketAddr, receive_bytes: usize) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // `[::]` is to serve IPv4 clients too, whatever the system's default.
            let _ = socket.set_only_v6(false);
        }
        tune(&socket, receive_bytes);
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Listener {
            socket: TcpListener::from_std(socket.into()),
            reserve: reserve_descriptor(),
            waiting: true,
        })
    }

    /// The socket to register for reading.
    pub fn source(&mut self) -> &mut TcpListener {
        &mut self.socket
    }

    /// The address that was bound, the port filled in.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts one client.
    pub fn accept(&mut self) -> Accepted {
        match self.socket.accept() {
            Ok((stream, peer)) => Accepted::Client(stream, peer),
            Err(error) if is_out_of_descriptors(&error) => self.accept_on_the_reserve(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.waiting = false;
                Accepted::None
            }
            // The client went away before it was accepted, or the network failed under it: the next one may do.
            Err(error) if error.kind() == io::ErrorKind::Interrupted || is_of_one_client(&error) => {
                Accepted::None
            }
            Err(error) => {
                log::error!(reason:% = error; "accepting failed: {error}");
                self.waiting = false;
                Accepted::None
            }
        }
    }

    /// Opens the reserve descriptor again once one is free.
    pub fn restore_reserve(&mut self) {
        if self.reserve.is_none() {
            self.reserve = reserve_descriptor();
        }
    }

    fn accept_on_the_reserve(&mut self) -> Accepted {
        if self.reserve.take().is_none() {
            return Accepted::NoDescriptors;
        }
        match self.socket.accept() {
            Ok((stream, peer)) => Accepted::Rejected(stream, peer),
            Err(error) => {
                self.waiting = error.kind() != io::ErrorKind::WouldBlock;
                self.restore_reserve();
                if self.waiting { Accepted::NoDescriptors } else { Accepted::None }
            }
        }
    }
}

/// A descriptor that is kept open so that it can be given up for a socket; `None` when none is left.
pub fn reserve_descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Sets on the listener what Linux hands on to every accepted socket, so that accepting costs one call; a system
/// that refuses an option works without it.
fn tune(socket: &Socket, receive_bytes: usize) {
    let _ = socket.set_tcp_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 10);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = nix::sys::socket::setsockopt(socket, UnsentLimit, &UNSENT_BYTES);
    // Without it Linux lets the buffer of a client that uploads grow up to `tcp_rmem` (6 to 32 MiB), and keeps it so large
    // when the client stops reading its replies and the server therefore stops reading its requests. It has to be set
    // before listen(2), since the scale of the window is agreed on with the first packet.
    let _ = socket.set_recv_buffer_size(receive_bytes);
    // On loopback segments are as long as 64 KiB, and a sender bounds them by half of the window that it was shown at first. Where the
    // system then finds that a shorter window fits the buffer, no segment fits the window, and each waits for the sender's timer:
    // a value of 1 MiB took half a minute. Several segments fit into any window this way. Other networks' are as short anyhow.
    let segment_bytes = (receive_bytes / SEGMENTS_A_BUFFER).max(SEGMENT_BYTES_MIN);
    if segment_bytes < SEGMENT_BYTES_MAX {
        let _ = nix::sys::socket::setsockopt(socket, TcpMaxSeg, &(segment_bytes as u32));
    }
}

/// Before a close by the server: unread bytes of the peer would make the system reset the connection, and the peer
/// lose the last reply. So what has come is read and dropped, within a bound.
pub fn lingering_close(stream: &mut TcpStream) {
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut dropped = [0; 16 * 1024];
    for _ in 0..16 {
        match stream.read(&mut dropped) {
            Ok(1..) => {}
            _ => break,
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const ENOBUFS: i32 = 105;
    const ENOMEM: i32 = 12;
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS | ENOMEM))
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | NetworkDown | NetworkUnreachable | TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_socket_has_the_bounds_on_what_is_not_sent_and_not_read() {
        let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 100_000).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_address().unwrap()).unwrap();
        let Accepted::Client(stream, _) = listener.accept() else {
            panic!("the client that has connected waits")
        };
        // The system doubles it, for its bookkeeping.
        let receive_bytes = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::RcvBuf);
        assert_eq!(receive_bytes, Ok(200_000));
        assert_eq!(nix::sys::socket::getsockopt(&stream, UnsentLimit), Ok(UNSENT_BYTES));
    }

    #[test]
    fn several_segments_fit_into_a_short_buffer() {
        for (receive_bytes, longest) in [(8_192, 2_048), (24_576, 6_144), (1 << 20, 65_535)] {
            let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), receive_bytes).unwrap();
            let client = std::net::TcpStream::connect(listener.local_address().unwrap()).unwrap();
            assert!(matches!(listener.accept(), Accepted::Client(..)));
            let segment_bytes = nix::sys::socket::getsockopt(&client, TcpMaxSeg).unwrap();
            assert!(segment_bytes <= longest, "{segment_bytes} of {receive_bytes}");
        }
    }
}
