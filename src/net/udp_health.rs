//! Whether the datagram socket works, as the calls on it show.
//!
//! - *Receiving*: an error that says neither "nothing there" nor "interrupted" is counted. One that stems from an earlier
//!   send (a peer's closed port) is reported once and then gone; [`FAILURES_MIN`] in a row, with not one datagram or
//!   "nothing there" between them, are the socket's own.
//! - *Sending*: a reply that the system does not take is counted. Errors that depend on where it was to go say nothing
//!   of the socket, since any stranger can bring them about with a source address that he makes up; only those of
//!   [`is_of_the_socket`] count as failures in a row.
//!
//! A socket that fails is tried again every [`RETRY_MS`], and works as soon as one call does, or when no call has failed
//! for [`FORGET_MS`]: without requests there are no replies to try it with.

use crate::time::Millis;
use nix::errno::Errno;

/// Failures in a row from which on the socket is said to fail.
const FAILURES_MIN: u64 = 16;
/// How long receiving waits after a failure, once the socket fails.
const RETRY_MS: u64 = 100;
/// A failure longer ago than this is no longer held against the socket.
const FORGET_MS: u64 = 5_000;

/// What the calls on the socket came to.
#[derive(Debug, Default)]
pub struct Health {
    in_row: u64,
    last: Option<(Errno, Millis)>,
}

impl Health {
    /// A call did what it should.
    pub fn worked(&mut self) {
        self.in_row = 0;
    }

    /// A call failed for a reason that lies in the socket. True: for the first time in this row the socket is said to
    /// fail.
    pub fn failed(&mut self, error: Errno, now: Millis) -> bool {
        if self.last.is_some_and(|(_, at)| now.since(at) >= FORGET_MS) {
            self.in_row = 0;
        }
        self.in_row += 1;
        self.last = Some((error, now));
        self.in_row == FAILURES_MIN
    }

    /// What is wrong, and how many times in a row it was.
    pub fn failure(&self, now: Millis) -> Option<(&'static str, u64)> {
        let (error, at) = self.last?;
        (self.in_row >= FAILURES_MIN && now.since(at) < FORGET_MS).then(|| (error.desc(), self.in_row))
    }

    /// When a socket that fails is to be tried again.
    pub fn retry_at(&self, now: Millis) -> Option<Millis> {
        self.failure(now).and(self.last).map(|(_, at)| at.plus(RETRY_MS))
    }
}

/// Whether a failed send says that the socket, or the system below it, is at fault, rather than the peer's address or
/// the way to it.
pub fn is_of_the_socket(error: Errno) -> bool {
    matches!(
        error,
        Errno::EBADF
            | Errno::ENOTSOCK
            | Errno::EOPNOTSUPP
            | Errno::EPIPE
            | Errno::ENETDOWN
            | Errno::ENOBUFS
            | Errno::ENOMEM
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_with_success_between_them_are_no_failure() {
        let mut health = Health::default();
        for at in 0..1000 {
            assert!(!health.failed(Errno::ECONNREFUSED, Millis(at)));
            assert_eq!((health.failure(Millis(at)), health.retry_at(Millis(at))), (None, None));
            if at % (FAILURES_MIN - 1) == 0 {
                health.worked();
            }
        }
    }

    #[test]
    fn a_row_of_errors_is_one_until_a_call_works() {
        let mut health = Health::default();
        let told = (0..40).filter(|&at| health.failed(Errno::ENETDOWN, Millis(at))).count();
        assert_eq!(told, 1);
        assert_eq!(health.failure(Millis(40)), Some((Errno::ENETDOWN.desc(), 40)));
        assert_eq!(health.retry_at(Millis(40)), Some(Millis(39 + RETRY_MS)));
        health.worked();
        assert_eq!(health.failure(Millis(40)), None);
    }

    #[test]
    fn an_old_row_is_forgotten() {
        let mut health = Health::default();
        for _ in 0..FAILURES_MIN {
            health.failed(Errno::ENOBUFS, Millis(7));
        }
        assert!(health.failure(Millis(6 + FORGET_MS)).is_some());
        assert_eq!(health.failure(Millis(7 + FORGET_MS)), None);
        assert!(!health.failed(Errno::ENOBUFS, Millis(7 + FORGET_MS)), "a new row begins");
    }
}
