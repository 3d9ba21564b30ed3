//! Replies that wait until what they have seen is durable (`--durability always`): those of writes, and those of reads that
//! have seen a change which may still be lost. Others go out at once, unless they stand behind one that waits.
//!
//! ```text
//!  output:  | may be sent | waits for revision `first` | waits for revision `rest` |
//! ```
//! Here too: the clients whose WAITAOF waits, in any mode.
//!
//! A sync makes the first part of what waits ready, and what came meanwhile is the next first part: so a client that
//! goes on writing gets its replies in two steps, however long it goes on.

use super::Server;
use super::wake_queue::WakeQueue;
use crate::command::{Flags, Verb, VerbId};
use crate::connection::ConnectionId;
use crate::mutant::{self, Mutant};
use crate::mutation::{Database, Revision};
use crate::store::Store;
use crate::time::Millis;
use crate::wire::arguments::Args;
use crate::wire::frame::Op;

/// Before any expiry: what has expired has a revision all the same.
const BEGINNING: Millis = Millis(0);

/// What of one connection's output waits. All zero: nothing does.
#[derive(Clone, Copy, Default)]
struct Hold {
    /// Bytes that may be sent.
    sendable: u64,
    /// What the bytes behind them wait for, and how many these are; while `rest` is 0, all of them.
    first: Revision,
    first_len: u64,
    rest: Revision,
}

/// What waits, of all connections. The table is there in this mode alone.
pub(super) struct Holds {
    slots: Box<[Hold]>,
    waiting: WakeQueue,
    /// Of `waiting`, how many have not been looked at since more was durable.
    unchecked: usize,
    durable: Revision,
}

impl Holds {
    /// Bytes that one allowed client costs.
    pub(super) const CLIENT_BYTES: usize = size_of::<Hold>() + WakeQueue::SLOT_BYTES;

    pub(super) fn new(max_clients: usize) -> Holds {
        let slots = vec![Hold::default(); max_clients].into_boxed_slice();
        Holds { slots, waiting: WakeQueue::new(max_clients), unchecked: 0, durable: Revision(0) }
    }

    /// A reply of a connection has seen changes up to `seen`; `before` bytes waited to be sent when it began.
    fn note(&mut self, slot: u32, seen: Revision, before: u64) {
        if seen <= self.durable {
            return;
        }
        let hold = &mut self.slots[slot as usize];
        if hold.first == Revision(0) {
            *hold = Hold { sendable: before, first: seen, ..Hold::default() };
            self.waiting.push(slot);
        } else if hold.rest == Revision(0) && seen > hold.first {
            (hold.first_len, hold.rest) = (before - hold.sendable, seen);
        } else if hold.rest != Revision(0) {
            hold.rest = hold.rest.max(seen);
        }
    }

    /// Bytes of a connection's output that may be sent.
    pub(super) fn sendable(&self, slot: u32) -> u64 {
        let hold = &self.slots[slot as usize];
        if hold.first == Revision(0) { u64::MAX } else { hold.sendable }
    }

    /// So many of them were sent.
    pub(super) fn sent(&mut self, slot: u32, len: u64) {
        let hold = &mut self.slots[slot as usize];
        if hold.first != Revision(0) {
            hold.sendable -= len;
        }
    }

    /// A connection is gone, or what it had to say is.
    pub(super) fn clear(&mut self, slot: u32) {
        self.slots[slot as usize] = Hold::default();
    }

    /// What a frame's reply has seen.
    pub(super) fn seen_by_frame(&self, store: &Store, op: Option<Op>, key: &[u8]) -> Revision {
        match op {
            Some(Op::Hello | Op::Ping) => Revision(0),
            Some(Op::Get) => seen_of_key(store, Database(0), key, self.durable),
            // The reply of a repeated write was kept: it is as old as the write, or younger.
            _ => store.revision(),
        }
    }

    /// Whether everything up to a revision is durable.
    pub(super) fn is_durable(&self, revision: Revision) -> bool {
        revision <= self.durable
    }

    /// More is durable: [`pop_released`](Holds::pop_released) names the connections that may send.
    fn advance(&mut self, durable: Revision) {
        if durable > self.durable {
            (self.durable, self.unchecked) = (durable, self.waiting.len());
        }
    }

    /// A connection that may send more than before.
    fn pop_released(&mut self) -> Option<u32> {
        while self.unchecked > 0 {
            self.unchecked -= 1;
            let slot = self.waiting.pop()?;
            let hold = &mut self.slots[slot as usize];
            if hold.first == Revision(0) {
                continue;
            }
            if hold.first > self.durable {
                self.waiting.push(slot);
                continue;
            }
            if hold.rest <= self.durable {
                *hold = Hold::default();
            } else {
                let sendable = hold.sendable + hold.first_len;
                *hold = Hold { sendable, first: hold.rest, ..Hold::default() };
                self.waiting.push(slot);
            }
            return Some(slot);
        }
        None
    }
}

impl Server {
    /// Changes up to this revision are durable: replies that waited for them go out.
    pub(super) fn release_replies(&mut self, durable: Revision, now: Millis) {
        let Some(holds) = &mut self.holds else { return };
        holds.advance(durable);
        while let Some(slot) = self.holds.as_mut().and_then(Holds::pop_released) {
            let Some(connection) = self.connections.get_mut(slot as usize) else { continue };
            // The client's time to take them begins now.
            connection.progressed = now;
            let id = ConnectionId { index: slot, generation: connection.generation };
            self.wake_queue.push(slot);
            self.update_deadline(id, now);
        }
    }

    /// Whether a WAITAOF goes on waiting.
    #[cold]
    pub(super) fn waits_for_sync(&mut self, id: ConnectionId, len: usize, now: Millis) -> bool {
        let Server { engine, connections, input, args, sync_waits, .. } = self;
        let connection = &mut connections[id.index as usize];
        let bytes = &connection.input.readable(input)[..len];
        let Some(timeout_ms) = engine.persistence.wait_ms(&args.args(bytes)) else { return false };
        if connection.awaited == Revision(0) {
            connection.awaited = engine.store.revision();
            connection.held_until = if timeout_ms == 0 { Millis(0) } else { now.plus(timeout_ms) };
        }
        let (awaited, until) = (connection.awaited, connection.held_until);
        if engine.persistence.is_durable(awaited) || until != Millis(0) && until <= now {
            (connection.awaited, connection.held_until) = (Revision(0), Millis(0));
            engine.persistence.awaited = Some(awaited);
            return false;
        }
        engine.persistence.wants_sync = true;
        sync_waits.push(id.index);
        true
    }

    /// More is durable: commands that wait for that are looked at again.
    pub(super) fn wake_sync_waits(&mut self, now: Millis) {
        for _ in 0..self.sync_waits.len() {
            let Some(slot) = self.sync_waits.pop() else { return };
            if let Some(connection) = self.connections.get_mut(slot as usize) {
                connection.handle_pause_end(now);
                self.wake_queue.push(slot);
            }
        }
    }

    /// Bytes of a connection's output that may be sent: all, unless some wait for the disk.
    #[inline]
    pub(super) fn sendable(&self, slot: u32) -> u64 {
        self.holds.as_ref().map_or(u64::MAX, |holds| holds.sendable(slot))
    }

    /// Bytes that wait to be sent to a client, where some may have to wait for the disk.
    #[inline]
    pub(super) fn waiting_len(&self, id: ConnectionId) -> Option<u64> {
        self.holds.as_ref()?;
        self.get(id).map(|connection| connection.output.pending_len())
    }

    /// Notes what a command's reply has seen, when the command has run or a piece of it has; `len` are its bytes at the
    /// front of the input, `before` the bytes that waited to be sent before it.
    #[cold]
    pub(super) fn hold_reply(&mut self, id: ConnectionId, verb: &Verb, (len, before): (usize, u64)) {
        let Server { holds: Some(holds), engine, connections, input, args, .. } = self else { return };
        let Some(connection) = connections.get(id.index as usize) else { return };
        if engine.store.revision() <= holds.durable {
            return;
        }
        let bytes = connection.input.readable(input);
        let args = args.args(&bytes[..len.min(bytes.len())]);
        let seen = seen_by(&engine.store, verb, (connection.session.db, &args), holds.durable);
        holds.note(id.index, seen, before);
    }

    /// The same for the batch of common commands that a connection has run.
    #[inline]
    pub(super) fn hold_batch(&mut self, id: ConnectionId, before: u64) {
        if let Some(holds) = &mut self.holds {
            holds.note(id.index, self.engine.store.revision(), before);
        }
    }

    /// The same for a frame of a stream.
    pub(super) fn hold_frame(&mut self, id: ConnectionId, seen: Option<Revision>, before: u64) {
        if let (Some(holds), Some(seen)) = (&mut self.holds, seen) {
            holds.note(id.index, seen, before);
        }
    }

    /// What the reply of a datagram waits for, if it has to.
    pub fn datagram_waits_for(&self) -> Option<Revision> {
        let holds = self.holds.as_ref()?;
        self.datagram_seen.filter(|seen| *seen > holds.durable)
    }

    /// Whether everything up to a revision is durable.
    pub fn is_durable(&self, revision: Revision) -> bool {
        self.holds.as_ref().is_none_or(|holds| holds.is_durable(revision))
    }
}

/// The latest change that a command has seen, if it is not durable; else something that is.
fn seen_by(store: &Store, verb: &Verb, (db, args): (Database, &Args<'_>), durable: Revision) -> Revision {
    let latest = store.revision();
    let runs_others = verb.id == VerbId::Exec || verb.flags.has(Flags::SCRIPTING);
    if verb.flags.has(Flags::WRITE) || runs_others {
        return latest;
    }
    if !verb.flags.has(Flags::READONLY) || mutant::is_on(Mutant::ReadsOutrun) {
        return Revision(0);
    }
    if verb.keys.first == 0 {
        // It has looked at all keys.
        return latest;
    }
    let keys = verb.key_positions(args).filter_map(|at| args.bytes(at));
    keys.map(|key| seen_of_key(store, db, key, durable)).max().unwrap_or_default()
}

fn seen_of_key(store: &Store, db: Database, key: &[u8], durable: Revision) -> Revision {
    match store.peek(db, key, BEGINNING) {
        Some(entry) => entry.revision,
        // It may have gone by a change that is not durable.
        None if store.maybe_removed_since(db, key, durable) => store.revision(),
        None => Revision(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_goes_on_writing_gets_its_replies_in_two_steps() {
        let mut holds = Holds::new(2);
        let released = |holds: &mut Holds, durable| {
            holds.advance(Revision(durable));
            let first = holds.pop_released();
            assert_eq!(holds.pop_released(), None);
            first
        };
        assert_eq!(released(&mut holds, 10), None);
        holds.note(1, Revision(10), 0);
        assert_eq!(holds.sendable(1), u64::MAX, "it has seen nothing that may be lost");
        // 5 bytes that may go, then replies of 3 bytes each.
        holds.note(1, Revision(11), 5);
        holds.note(1, Revision(12), 8);
        holds.note(1, Revision(13), 11);
        assert_eq!((holds.sendable(1), holds.sendable(0)), (5, u64::MAX));
        holds.sent(1, 5);
        assert_eq!(released(&mut holds, 11), Some(1));
        assert_eq!(holds.sendable(1), 3);
        assert_eq!(released(&mut holds, 12), None, "the last one is not durable");
        assert_eq!(holds.sendable(1), 3);
        assert_eq!(released(&mut holds, 13), Some(1));
        assert_eq!(holds.sendable(1), u64::MAX);
        holds.note(1, Revision(14), 0);
        holds.clear(1);
        assert_eq!(released(&mut holds, 14), None);
        assert_eq!(holds.sendable(1), u64::MAX);
    }
}
