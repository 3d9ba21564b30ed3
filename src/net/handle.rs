//! A server on a thread of its own, for a process that does something else too. It leaves the process's signals alone.

use super::signal::Signals;
use super::start::Bound;
use super::{ServerOptions, StartError};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct Handle {
    tcp: SocketAddr,
    udp: Option<SocketAddr>,
    stop: UnixStream,
    thread: Option<JoinHandle<Result<(), StartError>>>,
}

impl Handle {
    /// Starts a server, which accepts clients from when this returns.
    ///
    /// # Errors
    /// As [`serve`](super::serve).
    pub fn start(options: ServerOptions) -> Result<Handle, StartError> {
        let refused = |error| StartError(format!("a server's thread cannot be had: {error}"));
        let (signals, [stop, _]) = Signals::pipes().map_err(refused)?;
        let (tell, told) = mpsc::sync_channel(1);
        // The server is made where it runs: what it is made of does not change threads.
        let body = move || {
            let bound = Bound::new(&options, signals)?;
            let _ = tell.send((bound.tcp, bound.udp));
            drop(tell);
            bound.run()
        };
        let thread = thread::Builder::new().name("pannier".to_owned()).spawn(body).map_err(refused)?;
        match told.recv() {
            Ok((tcp, udp)) => Ok(Handle { tcp, udp, stop, thread: Some(thread) }),
            // The other end was dropped without a word: it did not start, and its result says why.
            Err(mpsc::RecvError) => Err(ended(thread).err().unwrap_or_else(fell)),
        }
    }

    /// Where it listens for TCP.
    #[must_use]
    pub fn tcp_address(&self) -> SocketAddr {
        self.tcp
    }

    /// Where it listens for datagrams, if it does.
    #[must_use]
    pub fn udp_address(&self) -> Option<SocketAddr> {
        self.udp
    }

    /// Stops it as a signal would: no new clients, replies are flushed, done within a second.
    ///
    /// # Errors
    /// What ended the server before it was asked to.
    pub fn stop(mut self) -> Result<(), StartError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), StartError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // Where the other end is closed, the server has ended already.
        let _ = self.stop.write_all(&[1]);
        ended(thread)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn ended(thread: JoinHandle<Result<(), StartError>>) -> Result<(), StartError> {
    thread.join().unwrap_or_else(|_| Err(fell()))
}

fn fell() -> StartError {
    StartError("the server's thread ended by a panic".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MIB;
    use std::net::{TcpListener, TcpStream};

    fn options(tcp: SocketAddr) -> ServerOptions {
        ServerOptions {
            tcp,
            memory_bytes: 16 * MIB as u64,
            max_clients: 4,
            databases: 1,
            max_value_bytes: 1024,
            ..ServerOptions::default()
        }
    }

    #[test]
    fn it_serves_from_the_start_and_stops_when_told() {
        let handle = Handle::start(options(([127, 0, 0, 1], 0).into())).unwrap();
        let address = handle.tcp_address();
        assert!(address.port() != 0 && handle.udp_address().is_none());
        TcpStream::connect(address).unwrap();
        handle.stop().unwrap();
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn what_keeps_it_from_starting_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = Handle::start(options(taken.local_addr().unwrap())).unwrap_err();
        assert!(error.to_string().contains("in use"), "{error}");
    }
}
