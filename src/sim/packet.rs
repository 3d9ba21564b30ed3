//! Datagrams of the simulated world: where they go, and those that are remembered.

use std::net::SocketAddr;

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Server,
    /// The other server, which these clients do not know.
    Other,
    /// The client at this address.
    Client,
}

/// A datagram in flight.
#[derive(Clone, Debug)]
pub struct Packet {
    pub to: To,
    /// The client's side: where it comes from, or where it goes.
    pub address: SocketAddr,
    pub bytes: Vec<u8>,
    /// Which of all that went this way: those that come late are seen to.
    pub number: u64,
}

impl Packet {
    pub fn is_for_server(&self) -> bool {
        self.to == To::Server
    }
}

/// Some of the datagrams that were sent, old and new.
#[derive(Default)]
pub struct Recorder {
    pub recorded: Vec<Packet>,
    pub sent: u64,
    /// The latest that has arrived.
    pub arrived: u64,
}
