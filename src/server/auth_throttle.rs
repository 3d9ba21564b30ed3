//! Guessing passwords is slow: who has given some wrong ones from an address waits before the next one is looked at.
//!
//! ```text
//!  AUTH ──▶ address with more than 5 wrong passwords of late? ── no ──▶ compared at once
//!                 │ yes: 50 ms, and twice as long with each further one, at most 1 s
//!                 ▼
//!            Paused: nothing of this connection runs ──▶ compared
//! ```
//! The wait comes before the comparison and is the same for a right password: closing early tells nothing, and one who
//! knows the password waits a second at most, whoever else guesses from that address. Others are served meanwhile.
//!
//! The table is fixed: an address has one of four places, and the least recently wrong one gives way. An address that
//! gave no wrong password for a minute begins afresh.

use crate::time::Millis;
use std::net::IpAddr;

/// Wrong passwords of an address that cost nothing: clients that try an old password first, or are misspelt once.
const FREE_FAILURES: u32 = 5;
const DELAY_MS_MIN: u64 = 50;
const DELAY_MS_MAX: u64 = 1_000;
/// After so long without a wrong password, an address is as any other.
const FORGET_MS: u64 = 60_000;
const SETS: usize = 64;
const WAYS: usize = 4;

/// An address that has given wrong passwords.
#[derive(Clone, Copy)]
struct Row {
    source: Source,
    failure_count: u32,
    /// When it gave the last wrong one.
    failed: Millis,
}

/// An IPv4 address, or an IPv6 network of 64 bits, which one machine usually has whole (RFC 6177).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Source {
    network: u64,
    is_v6: bool,
}

impl Source {
    fn of(ip: IpAddr) -> Source {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Source { network: u64::from(u32::from(ip)), is_v6: false },
            IpAddr::V6(ip) => Source { network: (u128::from(ip) >> 64) as u64, is_v6: true },
        }
    }

    fn set(self) -> usize {
        (self.network.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize
    }
}

const _: () = assert!(SETS == 1 << (64 - 58));

/// Wrong passwords by address.
pub(super) struct AuthThrottle {
    rows: Box<[[Option<Row>; WAYS]; SETS]>,
}

impl AuthThrottle {
    pub(super) fn new() -> AuthThrottle {
        AuthThrottle { rows: Box::new([[None; WAYS]; SETS]) }
    }

    /// How long a password from this address waits, in ms; 0: not at all.
    pub(super) fn delay_ms(&self, ip: IpAddr, now: Millis) -> u64 {
        let source = Source::of(ip);
        let rows = self.rows[source.set()].iter().flatten();
        let count = rows
            .filter(|row| row.source == source && now.since(row.failed) < FORGET_MS)
            .map(|row| row.failure_count)
            .next()
            .unwrap_or(0);
        match count.checked_sub(FREE_FAILURES + 1) {
            None => 0,
            Some(doublings) => (DELAY_MS_MIN << doublings.min(16)).min(DELAY_MS_MAX),
        }
    }

    /// A wrong password came from this address.
    pub(super) fn note_failure(&mut self, ip: IpAddr, now: Millis) {
        let source = Source::of(ip);
        let set = &mut self.rows[source.set()];
        let known = set.iter_mut().flatten().find(|row| row.source == source);
        if let Some(row) = known {
            let is_recent = now.since(row.failed) < FORGET_MS;
            row.failure_count = if is_recent { row.failure_count.saturating_add(1) } else { 1 };
            row.failed = now;
            return;
        }
        let place = set.iter_mut().min_by_key(|row| row.map(|row| row.failed));
        if let Some(place) = place {
            *place = Some(Row { source, failure_count: 1, failed: now });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn failed(count: u32, now: Millis) -> AuthThrottle {
        let mut throttle = AuthThrottle::new();
        (0..count).for_each(|_| throttle.note_failure(PEER, now));
        throttle
    }

    #[test]
    fn delays_double_up_to_a_second_and_are_forgotten_after_a_minute() {
        let delays =
            [0, 1, 5, 6, 7, 8, 10, 11, 1_000].map(|count| failed(count, Millis(9)).delay_ms(PEER, Millis(9)));
        assert_eq!(delays, [0, 0, 0, 50, 100, 200, 800, 1_000, 1_000]);
        let mut throttle = failed(100, Millis(9));
        assert_eq!(throttle.delay_ms(PEER, Millis(60_008)), 1_000);
        assert_eq!(throttle.delay_ms(PEER, Millis(60_009)), 0);
        throttle.note_failure(PEER, Millis(60_009));
        assert_eq!(throttle.delay_ms(PEER, Millis(60_009)), 0, "it begins afresh");
    }

    #[test]
    fn others_are_not_delayed_and_a_network_is_one_source() {
        let mut throttle = failed(100, Millis(9));
        assert_eq!(throttle.delay_ms(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), Millis(9)), 0);
        let v6 = |host| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host));
        (0..50).for_each(|host| throttle.note_failure(v6(host), Millis(9)));
        assert_eq!(throttle.delay_ms(v6(999), Millis(9)), 1_000);
        assert_eq!(
            throttle.delay_ms(IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped()), Millis(9)),
            1_000
        );
    }

    #[test]
    fn the_table_keeps_those_that_failed_last() {
        let mut throttle = AuthThrottle::new();
        for number in 0..10_000_u32 {
            throttle.note_failure(IpAddr::V4(number.into()), Millis(u64::from(number)));
        }
        (0..20).for_each(|_| throttle.note_failure(PEER, Millis(10_000)));
        assert_eq!(throttle.delay_ms(PEER, Millis(10_000)), 1_000);
    }
}
