//! A TCP connection of the simulated world: what lies at either end of it, and what is awaited.

use super::commands::Command;
use super::faults::Fault;
use super::peer::Peer;
use crate::client::Reply;
use crate::connection::ConnectionId;
use std::collections::VecDeque;

/// Who uses a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Tcp(usize),
    /// Speaks frames.
    Rogue,
    /// Came to do harm; a stranger has not said the password.
    Hostile {
        sort: Fault,
        is_stranger: bool,
    },
}

/// A connection.
pub struct Link {
    pub owner: Owner,
    pub id: ConnectionId,
    /// Open at the server.
    pub open: bool,
    /// Waits for the server's loop.
    pub queued: bool,
    /// What is at the server's socket and was not read.
    pub arrived: Vec<u8>,
    /// The client will send no more; whether the server has read so far.
    pub ended: bool,
    pub end_read: bool,
    /// Bytes that the socket takes before its client reads on; whether that was ever few.
    pub room: usize,
    pub was_slow: bool,
    /// When the server last read bytes of this client, or the client's side last took some.
    pub moved_us: u64,
    /// When the last bytes of each direction arrive: later ones never come before them.
    pub up_last: u64,
    pub down_last: u64,
    /// What was sent and not yet answered by the server.
    pub commands: VecDeque<Command>,
    pub frames: VecDeque<Vec<u8>>,
    /// Answers that the server has ready and has not sent: they must be sent just so.
    pub ready: Vec<u8>,
    /// Of the answers, the beginning of one that is not whole, and whole ones that are not explained.
    pub partial: Vec<u8>,
    pub replies: VecDeque<Reply>,
    pub peer: Peer,
}

impl Link {
    pub fn new(owner: Owner, id: ConnectionId, number: usize) -> Link {
        Link {
            owner,
            id,
            open: true,
            queued: false,
            arrived: Vec::new(),
            ended: false,
            end_read: false,
            room: usize::MAX,
            was_slow: false,
            moved_us: 0,
            up_last: 0,
            down_last: 0,
            commands: VecDeque::new(),
            frames: VecDeque::new(),
            ready: Vec::new(),
            partial: Vec::new(),
            replies: VecDeque::new(),
            peer: Peer::new(number),
        }
    }
}
