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
//! gave no wrong password for a minute begins at zero again.

use super::Server;
use crate::command::{Verb, VerbId};
use crate::connection::ConnectionId;
use crate::reply::ErrorKind;
use crate::time::Millis;
use crate::wire::arguments::Args;
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

impl Server {
    /// A password was compared: notes it if it was wrong, with a line in the log, which keeps to a few of a kind.
    #[cold]
    pub(super) fn note_password(&mut self, id: ConnectionId, count_before: u64, now: Millis) {
        let is_wrong = self.engine.metrics.errors_of(ErrorKind::WrongPassword) > count_before;
        let Some(connection) = self.get_mut(id) else { return };
        connection.held_until = Millis(0);
        let peer = connection.peer;
        if is_wrong {
            log::warn!(peer:%, reason = "wrong-password"; "{peer}: wrong password");
            self.engine.metrics.counters.auth_failures += 1;
            self.auth_throttle.note_failure(peer.ip(), now);
        }
    }

    /// Whether a command with a password has to wait, because wrong ones have come from that address.
    #[cold]
    pub(super) fn is_password_held(&mut self, id: ConnectionId, now: Millis) -> bool {
        let Server { connections, auth_throttle, engine, .. } = self;
        let connection = &mut connections[id.index as usize];
        let until = match connection.held_until {
            until if until != Millis(0) => until,
            _ => {
                let delay_ms = auth_throttle.delay_ms(connection.peer.ip(), now);
                if delay_ms == 0 {
                    return false;
                }
                engine.metrics.counters.auth_delays += 1;
                now.plus(delay_ms)
            }
        };
        connection.held_until = until;
        until > now
    }
}

/// Whether a command of these verbs has a password among its arguments.
pub(super) fn gives_password(verb: &Verb, args: &Args<'_>) -> bool {
    let is_auth = |at| args.bytes(at).is_some_and(|word| word.eq_ignore_ascii_case(b"auth"));
    verb.id == VerbId::Auth || (2..args.len().min(8)).any(is_auth)
}

#[cfg(test)]
mod tests;
