//! One client of the load, by whatever way it talks to the server.

use std::{
    io,
    time::{Duration, Instant},
};

use mio::{Registry, Token};

use super::{
    content::Content,
    stats::{Nanos, Stats},
    workload::Request,
};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why a client cannot go on.
#[derive(Debug)]
pub(super) enum Gone {
    Closed,
    Io(io::Error),
    /// No answer within the time limit.
    Silent(Duration),
    /// What came is no reply.
    Garbage(&'static str),
    NotAuthenticated,
    /// Not one datagram came back.
    NoDatagrams,
    /// The server would not take what the load needs; in words.
    Refused(String),
}

/// What all clients of a load share.
pub(super) struct Shared {
    pub(super) content: Content,
    /// Where replies are read to.
    pub(super) buffer: Box<[u8]>,
    begun: Instant,
}

impl Shared {
    #[allow(clippy::disallowed_methods)] // A load generator measures time.
    pub(super) fn new(content: Content) -> Shared {
        Shared { content, buffer: vec![0; BUFFER_BYTES].into_boxed_slice(), begun: Instant::now() }
    }

    pub(super) fn now(&self) -> Nanos {
        self.begun.elapsed().as_nanos() as Nanos
    }
}

/// A client. Requests are pushed, then flushed; when the socket is ready, `receive` until it has no more.
pub(super) trait Link {
    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()>;

    /// Closes its connection, on which nothing is outstanding, and opens another. A link without connections has none to open.
    fn reconnect(&mut self, _: &Registry, _: Token) -> Result<(), Gone> {
        Ok(())
    }

    /// Requests without an answer.
    fn outstanding(&self) -> usize;

    /// Whether one more request may be pushed, if `depth` may be outstanding.
    fn has_room(&self, depth: usize) -> bool;

    /// Adds a request, whose latency counts from `due`.
    fn push(&mut self, request: Request, due: Nanos, shared: &Shared);

    /// Sends what the socket takes.
    fn flush(&mut self, shared: &mut Shared) -> Result<(), Gone>;

    /// Reads once; true if there may be more.
    fn receive(&mut self, shared: &mut Shared, stats: &mut Stats) -> Result<bool, Gone>;

    /// Does what time asks for; called every few milliseconds.
    fn tick(&mut self, shared: &mut Shared, stats: &mut Stats) -> Result<(), Gone>;
}
