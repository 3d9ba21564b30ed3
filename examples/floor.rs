//! The least that a server can do: take requests that are counted by their bytes and not looked at, and send as many
//! replies of a fixed length from one buffer. What a real server costs beyond this is its own.
//!
//! ```sh
//! cargo run --release --example floor -- --request-bytes 36 --reply-bytes 39    # like GET of 16 + 32 bytes
//! pannier bench --server 127.0.0.1:PORT --reads 100 --floor-reply 39
//! ```
//!
//! It is made as Pannier is: one thread, one `mio::Poll`, edge-triggered; each ready socket is read once into one buffer,
//! and everything that was asked in it is answered by one write. Over UDP (`--udp`) it takes and sends up to 32 datagrams
//! with one system call each. `compare/compare.py` starts it.

#[path = "../benches/udp/floor.rs"]
mod datagrams;

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
};

use clap::Parser;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use slab::Slab;

/// An echo server that moves as many bytes as a real one, and does nothing else
#[derive(Parser)]
struct Arguments {
    /// Where to listen; the address is printed
    #[arg(long, default_value = "127.0.0.1:0")]
    tcp: SocketAddr,
    /// Bytes of a request
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    request_bytes: u32,
    /// Bytes of a reply
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    reply_bytes: u32,
    /// Answer datagrams on 127.0.0.1, at a port that is printed
    #[arg(long)]
    udp: bool,
}

/// Bytes read at once where requests are short; a longer request is read whole if it is there.
const READ_BYTES_MIN: usize = 64 * 1024;
/// Bytes written at once where replies are short.
const WRITE_BYTES_MIN: usize = 64 * 1024;
const LISTENER: Token = Token(usize::MAX);

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let (request_len, reply_len) = (arguments.request_bytes as usize, arguments.reply_bytes as usize);
    if arguments.udp {
        datagrams::serve(reply_len);
        return Ok(());
    }
    let mut floor = Floor {
        clients: Slab::new(),
        read_buffer: vec![0; READ_BYTES_MIN.max(request_len)],
        replies: vec![b'x'; WRITE_BYTES_MIN.max(reply_len)],
        request_len,
        reply_len,
    };
    let listener = TcpListener::bind(arguments.tcp)?;
    println!("tcp={}", listener.local_addr()?);
    floor.serve(listener)
}

struct Floor {
    clients: Slab<Client>,
    read_buffer: Vec<u8>,
    /// Enough of what replies are made of; they all look the same.
    replies: Vec<u8>,
    request_len: usize,
    reply_len: usize,
}

struct Client {
    socket: TcpStream,
    /// Bytes of a request that is not whole.
    begun: usize,
    /// Bytes of replies that were not taken yet.
    owed: usize,
}

impl Floor {
    fn serve(&mut self, mut listener: TcpListener) -> io::Result<()> {
        let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        loop {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in events.iter() {
                if event.token() == LISTENER {
                    self.accept(&listener, &poll)?;
                } else if !self.answer(event.token().0, event.is_read_closed()) {
                    self.clients.remove(event.token().0);
                }
            }
        }
    }

    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        while let Ok((mut socket, _)) = listener.accept() {
            socket.set_nodelay(true)?;
            let entry = self.clients.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut socket, Token(entry.key()), interest)?;
            entry.insert(Client { socket, begun: 0, owed: 0 });
        }
        Ok(())
    }

    /// Serves a socket that is ready; false if it is to be closed.
    fn answer(&mut self, index: usize, to_the_end: bool) -> bool {
        let Floor { clients, read_buffer, replies, request_len, reply_len } = self;
        let Some(client) = clients.get_mut(index) else { return true };
        loop {
            match client.write(replies) {
                Ok(true) => {}
                Ok(false) => return true,
                Err(_) => return false,
            }
            let count = match client.socket.read(read_buffer) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            };
            let bytes = client.begun + count;
            client.begun = bytes % *request_len;
            client.owed = bytes / *request_len * *reply_len;
            // A short read has emptied the socket.
            if count < read_buffer.len() && !to_the_end {
                return client.write(replies).is_ok();
            }
        }
    }
}

impl Client {
    /// Writes what is owed; false if the socket does not take all of it.
    fn write(&mut self, replies: &[u8]) -> io::Result<bool> {
        while self.owed > 0 {
            match self.socket.write(&replies[..self.owed.min(replies.len())]) {
                Ok(count) => self.owed -= count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
