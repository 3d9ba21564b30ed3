//! Clients, connected and let in: what happens before there is any load, one after the other and with time to wait.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::link::Gone;
use crate::client;

/// Descriptors for all that is no client: streams of the process, the poll, files of `/proc`.
const DESCRIPTORS_BESIDE: u64 = 32;

/// A connection to the first address behind the name that takes one, without delays and with time limits.
pub(super) fn connect(server: &str, timeout: Duration) -> Result<TcpStream, Gone> {
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in client::resolve(server).map_err(Gone::Io)? {
        match TcpStream::connect_timeout(&address, timeout).and_then(|stream| limited(stream, timeout)) {
            Ok(stream) => return Ok(stream),
            Err(error) => refused = error,
        }
    }
    Err(Gone::Io(refused))
}

fn limited(stream: TcpStream, timeout: Duration) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

/// Makes room for so many sockets, as far as the system allows it; what it does not allow is reported by the socket that
/// is one too many.
pub(super) fn allow_descriptors(count: usize) {
    let wanted = count as u64 + DESCRIPTORS_BESIDE;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    }
}

/// Says the password in RESP.
pub(super) fn authenticate(stream: &mut TcpStream, password: &[u8]) -> Result<(), Gone> {
    let mut request = format!("*2\r\n$4\r\nAUTH\r\n${}\r\n", password.len()).into_bytes();
    request.extend_from_slice(password);
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).map_err(Gone::Io)?;
    let mut reply = String::new();
    // One reply to one request: nothing can be left in the reader.
    BufReader::new(stream).read_line(&mut reply).map_err(Gone::Io)?;
    match reply.as_bytes() {
        b"+OK\r\n" => Ok(()),
        b"" => Err(Gone::Closed),
        [b'-', ..] => Err(Gone::NotAuthenticated),
        _ => Err(Gone::Garbage("no reply to AUTH")),
    }
}

/// A blocking stream, made ready for the poll.
pub(super) fn nonblocking(stream: TcpStream) -> Result<mio::net::TcpStream, Gone> {
    stream.set_nonblocking(true).map_err(Gone::Io)?;
    Ok(mio::net::TcpStream::from_std(stream))
}
