//! The blocking client library: what a service links to talk to Pannier without another dependency.
//!
//! Build it alone with `--no-default-features --features client`. [`Client`] speaks RESP over TCP:
//!
//! ```no_run
//! use std::time::Duration;
//! use pannier::client::{Client, PutOptions};
//!
//! # fn main() -> Result<(), pannier::client::Error> {
//! let mut client = Client::builder().call_timeout(Duration::from_millis(200)).connect("127.0.0.1:7878")?;
//! client.put(b"session:17", b"alice", &PutOptions::new().ttl(Duration::from_secs(1800)))?;
//! assert_eq!(client.get(b"session:17")?.as_deref(), Some(&b"alice"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! Every call ends within its timeout. One that changes something and gets no answer is
//! [`Error::OutcomeUnknown`]: it may have run, and the library never sends it again by itself.

#![cfg_attr(not(test), warn(missing_docs, unreachable_pub))]
// Deadlines are measured here: the library blocks, so it reads the clock itself.
#![allow(clippy::disallowed_methods)]

// `cached`: a cache that the server tells what has changed. `error`: told apart by whether the request may have run. `reply`: RESP2 and RESP3 replies, read within bounds. `scan`: SCAN
// as an iterator. `tcp`: one connection, its deadlines, and the calls. `udp`: the same calls over datagrams, retried
// without running twice.
mod cached;
mod error;
mod listen;
mod reply;
mod scan;
mod tcp;
mod udp;

use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

pub use cached::{CacheStats, CachedClient};
pub use error::Error;
pub use listen::{Message, PrefixWatch, Subscription, WatchEvent};
pub use reply::{Malformed, ReadError, Reply, ReplyReader};
#[cfg(feature = "sim")]
pub(crate) use reply::{whole_messages, whole_replies};
pub use scan::Scan;
#[cfg(feature = "cli")]
pub(crate) use tcp::encode;
#[cfg(feature = "sim")]
pub(crate) use tcp::encoded;
pub use tcp::{Builder, Client};
pub use udp::{
    Answer, BODY_BYTES_MAX, Counters, Outcome, Request, TooLong, UDP_TIMEOUT_MAX, Udp, UdpBuilder,
};
/// The sans-I/O half of [`Udp`], for the simulator and for fuzzers.
#[doc(hidden)]
pub use udp::{Event, Session, SessionConfig, Ticket, WindowFull};

pub use crate::wire::frame::{Op, Status};

/// The port where a server's name has none.
pub const DEFAULT_PORT: u16 = 7878;

/// The condition of a [`put`](Client::put).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition<'a> {
    /// Whatever the key holds.
    #[default]
    Always,
    /// Only where the key does not exist.
    IfAbsent,
    /// Only where the key exists.
    IfPresent,
    /// Only where the key exists with this value.
    IfEqual(&'a [u8]),
}

/// How a value is put: its time to live, and a condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions<'a> {
    pub(crate) ttl: Option<Duration>,
    pub(crate) condition: Condition<'a>,
}

impl<'a> PutOptions<'a> {
    /// No time to live, no condition.
    pub fn new() -> PutOptions<'a> {
        PutOptions::default()
    }

    /// The value is gone after `ttl`, counted in milliseconds; anything between 0 and 1 ms is 1 ms.
    pub fn ttl(self, ttl: Duration) -> PutOptions<'a> {
        PutOptions { ttl: Some(ttl), ..self }
    }

    /// Put only on this condition; a second one replaces the first.
    pub fn condition(self, condition: Condition<'a>) -> PutOptions<'a> {
        PutOptions { condition, ..self }
    }

    /// Put only where the key does not exist.
    pub fn if_absent(self) -> PutOptions<'a> {
        self.condition(Condition::IfAbsent)
    }

    /// Put only where the key exists.
    pub fn if_present(self) -> PutOptions<'a> {
        self.condition(Condition::IfPresent)
    }

    /// Put only where the key exists with the value `expected`.
    pub fn if_equal(self, expected: &'a [u8]) -> PutOptions<'a> {
        self.condition(Condition::IfEqual(expected))
    }
}

/// How long a key has to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// There is no such key.
    Missing,
    /// The key stays until it is deleted.
    Forever,
    /// The key is gone after this time; to the millisecond.
    Remaining(Duration),
}

/// Milliseconds of a time to live: rounded up, so that a short one is not taken for none.
pub(crate) fn ttl_ms(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// `host:port`, `[v6]:port`, or a host or IP address alone.
pub(crate) fn resolve(server: &str) -> io::Result<Vec<SocketAddr>> {
    let bare_v6 = server.parse::<Ipv6Addr>().is_ok();
    let has_port = !bare_v6 && server.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let addresses = match has_port {
        true => server.to_socket_addrs()?,
        false => (server.trim_matches(['[', ']']), DEFAULT_PORT).to_socket_addrs()?,
    };
    Ok(addresses.collect())
}
