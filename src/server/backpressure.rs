//! The buffers that all clients share are exhausted: who waits, and who has to go.
//!
//! ```text
//!   input buffers are held by                      output buffers are held by
//!   | clients in line to be run, or to be sent     | clients whose sockets are about to be offered
//!   |   their answers: soon given back  --> wait   |   their replies: soon given back     --> wait
//!   | clients in the middle of a command, or       | clients whose sockets took no more when last
//!   |   whose replies are not taken:    --> sit    |   asked:                             --> sit
//! ```
//! Who sits on buffers may have them while they are no more than half. Beyond that, or if nobody else will give any
//! back, the one that holds the most is closed: others are not held up by those that stall. And who only waits for its
//! turn is never closed for it.

use super::Server;
use crate::connection::{CloseReason, Connection, ConnectionId};
use crate::time::Millis;
use std::cmp::Reverse;

/// What has been done about exhausted buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pressure {
    /// This client is closed, and what it held is free.
    Closed(ConnectionId),
    /// Others give back what they hold in this turn or the next: ask again after it.
    Wait,
    /// There is nobody to wait for or to close.
    Nothing,
}

/// Whether it is known already that waiting is what helps: then nobody looks through all connections again.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// For input buffers, until somebody has run.
    pub input: bool,
    /// For output buffers, until something was offered to a socket.
    pub output: bool,
}

/// Who holds buffers of one kind.
#[derive(Debug, Default)]
struct Holders {
    /// Bytes of those that sit on them.
    stalled_bytes: usize,
    /// The one of those that holds the most, of several the one that has for the longest time.
    largest: Option<(usize, Reverse<Millis>, ConnectionId)>,
    /// There are others, that will give theirs back.
    draining: bool,
}

/// A connection as a holder of buffers.
struct Holder {
    held_bytes: usize,
    draining: bool,
    since: Millis,
}

impl Server {
    /// Input buffers are exhausted.
    pub(super) fn input_pressure(&mut self) -> Pressure {
        if self.waits.input {
            return Pressure::Wait;
        }
        let holders = self.holders(|connection| Holder {
            held_bytes: connection.input.capacity(),
            draining: match connection.closing() {
                None => {
                    connection.readiness.runnable
                        || !connection.output.is_empty() && !connection.readiness.write_blocked
                }
                Some(_) => !connection.readiness.write_blocked,
            },
            since: connection.request_started().unwrap_or(connection.progressed),
        });
        let pressure = self.relieve_pressure(&holders, self.input.capacity(), CloseReason::InputFull);
        self.waits.input = pressure == Pressure::Wait;
        pressure
    }

    /// Output buffers are exhausted.
    pub(super) fn output_pressure(&mut self) -> Pressure {
        if self.waits.output {
            return Pressure::Wait;
        }
        let holders = self.holders(|connection| Holder {
            held_bytes: connection.output.capacity(),
            // Empty, it is one that is about to be answered in the same turn.
            draining: !connection.readiness.write_blocked || connection.output.is_empty(),
            since: connection.progressed,
        });
        let pressure = self.relieve_pressure(&holders, self.output.capacity(), CloseReason::OutputFull);
        self.waits.output = pressure == Pressure::Wait;
        pressure
    }

    fn holders(&self, as_holder: impl Fn(&Connection) -> Holder) -> Holders {
        let mut holders = Holders::default();
        for (index, connection) in &self.connections {
            let holder = as_holder(connection);
            if holder.held_bytes == 0 {
                continue;
            }
            if holder.draining {
                holders.draining = true;
                continue;
            }
            holders.stalled_bytes += holder.held_bytes;
            let id = ConnectionId { index: index as u32, generation: connection.generation };
            let this = (holder.held_bytes, Reverse(holder.since), id);
            let is_larger = |largest: (usize, Reverse<Millis>, _)| (this.0, this.1) > (largest.0, largest.1);
            if holders.largest.is_none_or(is_larger) {
                holders.largest = Some(this);
            }
        }
        holders
    }

    fn relieve_pressure(&mut self, holders: &Holders, capacity: usize, reason: CloseReason) -> Pressure {
        let too_many = holders.stalled_bytes > capacity / 2;
        match holders.largest {
            Some((.., id)) if too_many || !holders.draining => {
                self.drop_at_once(id, reason);
                Pressure::Closed(id)
            }
            _ if holders.draining => Pressure::Wait,
            _ => Pressure::Nothing,
        }
    }
}
