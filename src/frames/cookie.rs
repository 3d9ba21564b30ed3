//! Cookies: proof that a client receives at the address it sends from, without any state in the server.
//!
//! ```text
//!  off size field
//!    0   1  version   1
//!    1   3  reserved  0
//!    4   4  counter   the table's counter when the cookie was made, see `sessions.rs`
//!    8   8  SipHash-2-4 over version to counter, client id, address and port, under the period's secret
//! ```
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

    /// A cookie for this client at this address.
    pub fn make(&mut self, client_id: u64, from: SocketAddr, counter: u32, now: Millis) -> [u8; COOKIE_LEN] {
        self.turn(now);
        sealed(self.current, client_id, from, counter)
    }

    /// The counter of a good cookie; `None` if it is none of ours, of another address, too old, or from the future.
    pub fn check(
        &mut self,
        cookie: &[u8; COOKIE_LEN],
        client_id: u64,
        from: SocketAddr,
        now: Millis,
    ) -> Option<u32> {
        self.turn(now);
        let counter = u32::from_be_bytes([cookie[4], cookie[5], cookie[6], cookie[7]]);
        [self.current, self.previous]
            .iter()
            .any(|secret| sealed(*secret, client_id, from, counter).ct_eq(cookie).into())
            .then_some(counter)
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

fn sealed(secret: [u64; 2], client_id: u64, from: SocketAddr, counter: u32) -> [u8; COOKIE_LEN] {
    let mut cookie = [0; COOKIE_LEN];
    cookie[0] = VERSION;
    cookie[4..8].copy_from_slice(&counter.to_be_bytes());
    // One write of fixed length: version to counter, client id, address (IPv4 mapped into IPv6), port.
    let mut covered = [0; 8 + 8 + 16 + 2];
    covered[..8].copy_from_slice(&cookie[..8]);
    covered[8..16].copy_from_slice(&client_id.to_be_bytes());
    covered[16..32].copy_from_slice(&address_bytes(from.ip()));
    covered[32..].copy_from_slice(&from.port().to_be_bytes());
    let mut hasher = SipHasher24::new_with_keys(secret[0], secret[1]);
    hasher.write(&covered);
    cookie[8..].copy_from_slice(&hasher.finish().to_be_bytes());
    cookie
}

/// The address as 16 bytes, IPv4 mapped into IPv6.
pub(super) fn address_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_good_for_its_client_its_address_and_its_time() {
        let from: SocketAddr = "127.0.0.1:5000".parse().expect("address");
        let other: SocketAddr = "127.0.0.1:5001".parse().expect("address");
        let mut cookies = Cookies::new([1, 2]);
        let start = Millis(PERIOD_MS * 7 + 5);
        let cookie = cookies.make(9, from, 3, start);
        assert_eq!(cookies.check(&cookie, 9, from, start), Some(3));
        assert_eq!(cookies.check(&cookie, 9, from, start.plus(PERIOD_MS)), Some(3));
        assert_eq!(cookies.check(&cookie, 9, from, start.plus(2 * PERIOD_MS)), None, "expired");
        assert_eq!(cookies.check(&cookie, 9, from, Millis(5)), None, "from the future");
        assert_eq!(cookies.check(&cookie, 8, from, start), None);
        assert_eq!(cookies.check(&cookie, 9, other, start), None, "another port");
        for address in ["127.0.0.2:5000", "[::1]:5000", "[::ffff:127.0.0.2]:5000"] {
            let elsewhere = address.parse().expect("address");
            assert_eq!(cookies.check(&cookie, 9, elsewhere, start), None, "{address}");
        }
        assert_eq!(Cookies::new([1, 3]).check(&cookie, 9, from, start), None, "another run");
        for bit in 0..COOKIE_LEN * 8 {
            let mut damaged = cookie;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(cookies.check(&damaged, 9, from, start), None, "{bit}");
        }
    }
}
