//! Cookies: proof that a client receives where it sends from, and of the session that it was given; without any state
//! in the server.
//!
//! ```text
//!  off size field
//!    0   1  version   1
//!    1   7  session   the session's number, see `sessions.rs`; 0 in a CHALLENGE: any session, for HELLO alone
//!    8   8  SipHash-2-4 over version, session, client id and source, under the period's secret
//! ```
//! The source is the transport with the peer's address and, of a datagram, its port, or, of a stream, the connection:
//! what was overheard by UDP is worth nothing by TCP, and what was sent by one connection nothing by another.
//!
//! The layout and the habit are RFC 9018's (DNS cookies). A secret lasts [`PERIOD_MS`]; the one before is accepted too,
//! so that a cookie is good for half an hour at least and an hour at most.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher24;
use subtle::ConstantTimeEq;

use crate::time::Millis;
use crate::wire::frame::COOKIE_LEN;

/// Milliseconds for which one secret makes cookies; they are accepted for as long again.
pub const PERIOD_MS: u64 = 30 * 60 * 1000;
const VERSION: u8 = 1;

/// Where a frame came from, as far as a cookie is bound to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Datagram(SocketAddr),
    /// `connection` names this connection among all that any cookie in force may have been made for.
    Stream {
        ip: IpAddr,
        connection: u64,
    },
}

impl Source {
    /// The peer's address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        match self {
            Source::Datagram(from) => from.ip(),
            Source::Stream { ip, .. } => *ip,
        }
    }

    /// The stream connection that it is, if it is one.
    #[must_use]
    pub fn connection(&self) -> Option<u64> {
        match self {
            Source::Datagram(_) => None,
            Source::Stream { connection, .. } => Some(*connection),
        }
    }

    /// What a cookie covers: transport, address (IPv4 mapped into IPv6), port or connection.
    fn bytes(&self) -> [u8; 25] {
        let (transport, number) = match self {
            Source::Datagram(from) => (0, u64::from(from.port())),
            Source::Stream { connection, .. } => (1, *connection),
        };
        let ip = match self.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let mut bytes = [0; 25];
        bytes[0] = transport;
        bytes[1..17].copy_from_slice(&ip.octets());
        bytes[17..].copy_from_slice(&number.to_be_bytes());
        bytes
    }
}

/// The number that a CHALLENGE's cookie carries: no session has it.
pub const NO_SESSION: u64 = 0;
/// Bits of a session's number. At a million sessions a second they last for two thousand years.
const NUMBER_BITS: u32 = 56;

/// The maker and checker of cookies.
#[derive(Debug)]
pub struct Cookies {
    master: [u64; 2],
    period: u64,
    current: [u64; 2],
    previous: [u64; 2],
}

impl Cookies {
    /// `master` must be random for each run, and kept from clients.
    #[must_use]
    pub fn new(master: [u64; 2]) -> Cookies {
        let current = secret_of(master, 0);
        Cookies { master, period: 0, current, previous: current }
    }

    /// Takes up the secrets of this moment; `now` is monotonic.
    fn turn(&mut self, now: Millis) {
        let period = now.0 / PERIOD_MS;
        if period != self.period {
            self.period = period;
            self.current = secret_of(self.master, period);
            self.previous = secret_of(self.master, period.saturating_sub(1));
        }
    }

    /// A cookie for this client at this source, in the session of this number.
    pub fn make(&mut self, client_id: u64, source: &Source, number: u64, now: Millis) -> [u8; COOKIE_LEN] {
        self.turn(now);
        sealed(self.current, client_id, source, number)
    }

    /// The session's number of a good cookie; `None` if it is none of ours, of another source, too old, or from the
    /// future.
    pub fn check(
        &mut self,
        cookie: &[u8; COOKIE_LEN],
        client_id: u64,
        source: &Source,
        now: Millis,
    ) -> Option<u64> {
        self.turn(now);
        let mut number = [0; 8];
        number.copy_from_slice(&cookie[..8]);
        let number = u64::from_be_bytes(number) & ((1 << NUMBER_BITS) - 1);
        [self.current, self.previous]
            .iter()
            .any(|secret| sealed(*secret, client_id, source, number).ct_eq(cookie).into())
            .then_some(number)
    }
}

/// The secret of a period: the same master gives the same secrets, so nothing has to be drawn later.
fn secret_of(master: [u64; 2], period: u64) -> [u64; 2] {
    let half = |side: u8| {
        let mut hasher = SipHasher24::new_with_keys(master[0], master[1]);
        hasher.write(&period.to_be_bytes());
        hasher.write(&[side]);
        hasher.finish()
    };
    [half(0), half(1)]
}

fn sealed(secret: [u64; 2], client_id: u64, source: &Source, number: u64) -> [u8; COOKIE_LEN] {
    let mut cookie = [0; COOKIE_LEN];
    cookie[..8].copy_from_slice(&(u64::from(VERSION) << NUMBER_BITS | number).to_be_bytes());
    // One write of fixed length.
    let mut covered = [0; 8 + 8 + 25];
    covered[..8].copy_from_slice(&cookie[..8]);
    covered[8..16].copy_from_slice(&client_id.to_be_bytes());
    covered[16..].copy_from_slice(&source.bytes());
    let mut hasher = SipHasher24::new_with_keys(secret[0], secret[1]);
    hasher.write(&covered);
    cookie[8..].copy_from_slice(&hasher.finish().to_be_bytes());
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_good_for_its_client_its_source_and_its_time() {
        let at = |text: &str| Source::Datagram(text.parse().expect("an address"));
        let stream =
            |ip: &str, connection| Source::Stream { ip: ip.parse().expect("an address"), connection };
        let all = [
            at("127.0.0.1:5000"),
            at("127.0.0.1:5001"),
            at("127.0.0.2:5000"),
            at("[::1]:5000"),
            at("[::ffff:127.0.0.2]:5001"),
            stream("127.0.0.1", 5000),
            stream("127.0.0.1", 5001),
            stream("127.0.0.2", 5000),
        ];
        let mut cookies = Cookies::new([1, 2]);
        let start = Millis(PERIOD_MS * 7 + 5);
        for from in all {
            let cookie = cookies.make(9, &from, 3, start);
            for other in all {
                let expected = (other == from).then_some(3);
                assert_eq!(cookies.check(&cookie, 9, &other, start), expected, "{from:?} at {other:?}");
            }
            assert_eq!(cookies.check(&cookie, 9, &from, start.plus(PERIOD_MS)), Some(3));
            assert_eq!(cookies.check(&cookie, 9, &from, start.plus(2 * PERIOD_MS)), None, "expired");
            assert_eq!(cookies.check(&cookie, 9, &from, Millis(5)), None, "from the future");
            assert_eq!(cookies.check(&cookie, 8, &from, start), None, "another client");
            assert_eq!(Cookies::new([1, 3]).check(&cookie, 9, &from, start), None, "another run");
            for bit in 0..COOKIE_LEN * 8 {
                let mut damaged = cookie;
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(cookies.check(&damaged, 9, &from, start), None, "{bit}");
            }
        }
        let largest = (1 << NUMBER_BITS) - 1;
        let cookie = cookies.make(9, &all[0], largest, start);
        assert_eq!((cookies.check(&cookie, 9, &all[0], start), cookie[0]), (Some(largest), VERSION));
    }
}
