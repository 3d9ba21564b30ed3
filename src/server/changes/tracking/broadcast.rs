//! Clients with prefixes: what has changed is gathered, and goes out as one message for each prefix.
//!
//! ```text
//!  MSET a:1 … b:2 … a:3 …  ─▶  a:1 b:2 a:3  ─▶  PREFIX a:  ─▶  >2 invalidate [a:1 a:3]
//! ```
//! Gathered is what one look at the change feed meets: the changes of a command, of a transaction, of a run of batched
//! commands. When they are looked at no more, or the place is full, what was gathered is sent.

use super::{Tracker, Tracking};
use crate::connection::TrackerId;
use crate::limits::KEY_BYTES_MAX;
use crate::mutation::Origin;
use crate::server::Server;
use crate::time::Now;
use crate::wire::number::{INTEGER_BYTES_MAX, write_u64};

/// Keys that are gathered, at most.
const KEYS_MAX: usize = 64;
/// Their bytes, at most: one key has room.
const BYTES_MAX: usize = KEY_BYTES_MAX;
/// Bytes around a key in a message, at most: `$len`, and two ends of line.
const AROUND_BYTES: usize = INTEGER_BYTES_MAX + 5;

/// A key that has changed, and by whom.
#[derive(Clone, Copy)]
struct Gathered {
    start: usize,
    end: usize,
    origin: Origin,
}

/// Changed keys that clients with prefixes have not been told of.
pub(super) struct Broadcast {
    bytes: Vec<u8>,
    keys: Vec<Gathered>,
    /// The array of keys of one message, encoded.
    message: Vec<u8>,
}

impl Broadcast {
    pub(super) fn new() -> Broadcast {
        Broadcast {
            bytes: Vec::with_capacity(BYTES_MAX),
            keys: Vec::with_capacity(KEYS_MAX),
            message: Vec::with_capacity(BYTES_MAX + (KEYS_MAX + 1) * AROUND_BYTES),
        }
    }

    /// Adds a key, once for each client that has changed it. False: there is no place.
    pub(super) fn gather(&mut self, key: &[u8], origin: Origin) -> bool {
        if self.keys.len() == KEYS_MAX || self.bytes.len() + key.len() > BYTES_MAX {
            return false;
        }
        let is_same = |of: &&Gathered| of.origin == origin && self.bytes[of.start..of.end] == *key;
        if !self.keys.iter().any(|of| is_same(&of)) {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(key);
            self.keys.push(Gathered { start, end: self.bytes.len(), origin });
        }
        true
    }
}

impl Tracking {
    /// Makes the message of the first prefix from a place on of which something has changed: its client, and the place
    /// behind it.
    fn next_broadcast(&mut self, from: usize) -> Option<(TrackerId, usize)> {
        (from..self.ends[1]).find_map(|place| {
            let prefix = self.prefixes.get(place)?;
            let id = self.of_row(prefix.row)?;
            let Tracker { noloop, client_id, .. } = *self.get(id);
            let Broadcast { bytes, keys, message } = &mut self.broadcast;
            let names = &self.names;
            let is_told = |of: &&Gathered| {
                !(noloop && of.origin == Origin::Client(client_id))
                    && names.begins(prefix.name, &bytes[of.start..of.end])
            };
            let count = keys.iter().filter(is_told).count();
            if count == 0 {
                return None;
            }
            message.clear();
            append_number(message, b'*', count);
            for of in keys.iter().filter(is_told) {
                append_number(message, b'$', of.end - of.start);
                message.extend_from_slice(&bytes[of.start..of.end]);
                message.extend_from_slice(b"\r\n");
            }
            Some((id, place + 1))
        })
    }
}

impl Server {
    /// Tells clients with prefixes what was gathered.
    pub(super) fn send_gathered(&mut self, now: Now) {
        let tracking = &self.changes.tracking;
        let count = tracking.broadcast.keys.len();
        if count == 0 {
            return;
        }
        self.engine.meter.charge((tracking.prefixes.len() * count) as u32 / 8);
        let mut place = 0;
        while let Some((id, next)) = self.changes.tracking.next_broadcast(place) {
            place = next;
            let message = std::mem::take(&mut self.changes.tracking.broadcast.message);
            self.push_invalidation(id, &message, None, now);
            self.changes.tracking.broadcast.message = message;
        }
        let broadcast = &mut self.changes.tracking.broadcast;
        broadcast.keys.clear();
        broadcast.bytes.clear();
    }
}

fn append_number(text: &mut Vec<u8>, sign: u8, number: usize) {
    let mut digits = [0; INTEGER_BYTES_MAX];
    text.push(sign);
    text.extend_from_slice(write_u64(number as u64, &mut digits));
    text.extend_from_slice(b"\r\n");
}
