//! What happens when the memory that all connections share runs out.
//!
//! A connection that needs a buffer and finds none is *starved*: nothing is read (or run) for it until
//! memory comes back. The last sixteenth of the input arena is for the shortest buffers, which a short command needs;
//! what is between that and three quarters, for one long command at a time, so that many half-sent ones cannot block
//! each other for ever. Where connections starve, those that hold buffers and have made no
//! progress for [`STALL_MS`] are closed until another eighth of the arena is free: first those that are not authenticated,
//! then the longest stalled, then those that starve themselves in the middle of a command and whose peer has hung up, and
//! last, after three times as long, the others that starve so. These wait in line; none that comes later goes first.

use super::Server;
use super::backpressure::{UNAUTHENTICATED_BYTES_MAX, soak_share_of};
use super::wake_queue::WakeQueue;
use crate::connection::{BufferKind, CloseReason, Connection, ConnectionId, Phase};
use crate::limits::{BUFFER_UNIT_BYTES, RING_BYTES};
use crate::time::Millis;

/// A connection that has received and sent nothing for this long makes no progress: long enough for a client that does
/// something else for a moment, short against the time that others would wait for its buffers.
const STALL_MS: u64 = 1_000;
/// A connection that starves in the middle of a command waits for the server, not for its client: those that hold the
/// memory are given this long to finish, or to be closed, before some of those that wait have to give way to each other.
const STARVED_MS: u64 = 3 * STALL_MS;
/// While connections starve, stalled ones are looked for this often.
const CHECK_MS: u64 = 100;

/// Connections that wait for memory.
pub(super) struct Starved {
    /// Those that need the shortest buffer, or room for replies.
    input: WakeQueue,
    output: WakeQueue,
    /// Those in the middle of a command that fills its ring.
    long: WakeQueue,
    /// Connections that could be read on if others held less.
    crowded: WakeQueue,
    crowded_returns_seen: u64,
    /// How many buffers each arena had got back when its queue was last looked at.
    returns_seen: [u64; 2],
    /// When stalled connections are looked for next.
    check_at: Option<Millis>,
    /// For each kind of buffer, whether a connection has starved since stalled ones were last looked for. One that is
    /// woken for every buffer that comes back, and starves again at once, is hardly ever seen in its queue.
    is_recent: [bool; 2],
    /// The connection whose long command may use the last quarter of the input arena, and whether it has begun to.
    granted: Option<(ConnectionId, bool)>,
}

impl Starved {
    pub(super) fn new(max_clients: usize) -> Starved {
        Starved {
            input: WakeQueue::new(max_clients),
            long: WakeQueue::new(max_clients),
            output: WakeQueue::new(max_clients),
            crowded: WakeQueue::new(max_clients),
            crowded_returns_seen: 0,
            returns_seen: [0; 2],
            check_at: None,
            is_recent: [false; 2],
            granted: None,
        }
    }

    fn queue(&mut self, kind: BufferKind) -> &mut WakeQueue {
        match kind {
            BufferKind::Input => &mut self.input,
            BufferKind::Output => &mut self.output,
        }
    }

    /// Whether no connection waits for buffers of a kind.
    fn is_empty(&self, kind: BufferKind) -> bool {
        match kind {
            BufferKind::Input => self.input.is_empty() && self.long.is_empty(),
            BufferKind::Output => self.output.is_empty(),
        }
    }

    /// When [`Server::relieve`] is due.
    pub(super) fn check_at(&self) -> Option<Millis> {
        self.check_at
    }
}

impl Server {
    pub(super) fn is_receiving(&self, id: ConnectionId) -> bool {
        self.get(id).is_some_and(|connection| matches!(connection.phase(), Phase::Receiving { .. }))
    }

    /// The connection whose long command is under way in the last quarter of the input arena, or has been let in.
    fn long_holder(&self) -> Option<ConnectionId> {
        let (id, has_begun) = self.starved.granted?;
        let holds = self.get(id)?.input.capacity() > BUFFER_UNIT_BYTES || !has_begun;
        (holds && self.is_receiving(id)).then_some(id)
    }

    /// Nothing more is done for a connection until memory comes back.
    pub(super) fn starve(&mut self, id: ConnectionId, kind: BufferKind, now: Millis) {
        let connection = &mut self.connections[id.index as usize];
        connection.readiness.starved = Some(kind);
        let is_long = kind == BufferKind::Input && connection.input.capacity() >= BUFFER_UNIT_BYTES;
        if self.starved.is_empty(kind) {
            let arena = if kind == BufferKind::Input { &self.input } else { &self.output };
            self.starved.returns_seen[kind as usize] = arena.returns();
        }
        let queue = if is_long { &mut self.starved.long } else { self.starved.queue(kind) };
        queue.push(id.index);
        self.starved.is_recent[kind as usize] = true;
        self.note_short(kind);
        self.starved.check_at.get_or_insert(now.plus(CHECK_MS));
    }

    /// Has starved connections looked at again where buffers have come back since they starved: as many as there may be
    /// memory for.
    pub(super) fn wake_starved(&mut self) {
        self.wake_crowded();
        for (kind, unit_bytes) in [(BufferKind::Input, BUFFER_UNIT_BYTES), (BufferKind::Output, RING_BYTES)] {
            let arena = if kind == BufferKind::Input { &self.input } else { &self.output };
            let (returns, free) = (arena.returns(), arena.capacity() - arena.used());
            if self.starved.is_empty(kind) || self.starved.returns_seen[kind as usize] == returns {
                continue;
            }
            self.starved.returns_seen[kind as usize] = returns;
            for _ in 0..(free / unit_bytes).max(1) {
                let Some(slot) = self.starved.queue(kind).pop() else { break };
                self.wake_from(slot, kind);
            }
            if kind == BufferKind::Input {
                self.wake_long();
            }
        }
    }

    /// Of those that starve in the middle of a command, as many as there is memory for below three quarters of the arena;
    /// beyond, one at a time.
    fn wake_long(&mut self) {
        let quarters = self.input.capacity() / 4 * 3;
        let mut left = quarters.saturating_sub(self.input.used()) / RING_BYTES;
        while left > 0 || self.long_holder().is_none() {
            let Some(slot) = self.starved.long.pop() else { return };
            let Some(id) = self.wake_from(slot, BufferKind::Input) else { continue };
            if left == 0 {
                self.starved.granted = Some((id, false));
            }
            left = left.saturating_sub(1);
        }
    }

    /// Has the connection of a slot looked at again, if it still starves.
    fn wake_from(&mut self, slot: u32, kind: BufferKind) -> Option<ConnectionId> {
        let connection = self.connections.get_mut(slot as usize)?;
        if connection.readiness.starved != Some(kind) {
            return None;
        }
        connection.readiness.starved = None;
        // What has come was not looked at for want of room: until it is, its command is not the client's delay.
        connection.readiness.runnable |= kind == BufferKind::Output;
        self.wake_queue.push(slot);
        Some(ConnectionId { index: slot, generation: connection.generation })
    }

    /// Has crowded connections looked at again where input buffers have come back, half of the arena is free, and a usual
    /// ring for each fits into that. The others follow when these have been looked at, if they leave room: no buffer need
    /// come back for that.
    fn wake_crowded(&mut self) {
        let Server { input, starved, wake_queue, .. } = self;
        if starved.crowded.is_empty() || starved.crowded_returns_seen == input.returns() {
            return;
        }
        let spare = (input.capacity() / 2).checked_sub(input.used());
        let woken_max = spare.map_or(0, |spare| (spare / RING_BYTES).max(1));
        for slot in (0..woken_max).map_while(|_| starved.crowded.pop()) {
            wake_queue.push(slot);
        }
        if spare.is_none() || starved.crowded.is_empty() {
            starved.crowded_returns_seen = input.returns();
        }
    }

    /// Where connections starve: closes those that hold buffers and make no progress.
    pub(super) fn relieve(&mut self, now: Millis) {
        if self.starved.check_at.is_none_or(|at| at > now) {
            return;
        }
        self.starved.check_at = None;
        for kind in [BufferKind::Input, BufferKind::Output] {
            let is_recent = std::mem::take(&mut self.starved.is_recent[kind as usize]);
            if is_recent || !self.starved.is_empty(kind) {
                self.starved.check_at = Some(now.plus(CHECK_MS));
                self.close_stalled(kind, now);
            }
        }
    }

    /// Closes stalled holders of buffers of a kind until enough of the arena is free. Each round takes those that have
    /// stalled for more than half of the longest time, so that a few rounds over all connections put the longest first.
    fn close_stalled(&mut self, kind: BufferKind, now: Millis) {
        type Test = fn(&Connection, BufferKind) -> bool;
        let stalled: Test = is_stalled_holder;
        for (is_holder, authenticated, ms_min) in [
            (stalled, false, STALL_MS),
            (stalled, true, STALL_MS),
            (is_starved_holder, false, STALL_MS),
            (is_gone_holder, true, STALL_MS),
            (is_starved_holder, true, STARVED_MS),
        ] {
            let stalled_ms = |connection: &Connection| {
                let counts = connection.session.authenticated == authenticated && is_holder(connection, kind);
                counts.then(|| now.since(connection.active)).filter(|ms| *ms >= ms_min)
            };
            let longest = self.connections.iter().filter_map(|(_, connection)| stalled_ms(connection)).max();
            let Some(mut least) = longest else { continue };
            while least > STALL_MS / 2 {
                least /= 2;
                for slot in 0..self.connections.capacity() {
                    if self.is_relieved(kind) {
                        return;
                    }
                    let Some(connection) = self.connections.get(slot) else { continue };
                    if stalled_ms(connection).is_some_and(|ms| ms >= least) {
                        let id = ConnectionId { index: slot as u32, generation: connection.generation };
                        self.drop_at_once(id, reason_of(kind));
                    }
                }
            }
        }
    }

    /// Whether so much of an arena is free that the closing of stalled connections may end: an eighth, of the input
    /// arena an eighth beyond what is spared for short buffers.
    fn is_relieved(&self, kind: BufferKind) -> bool {
        let (arena, eighths) = match kind {
            BufferKind::Input => (&self.input, 3),
            BufferKind::Output => (&self.output, 1),
        };
        arena.capacity() - arena.used() >= arena.capacity() / 8 * eighths
    }

    /// Whether a ring may become so long as far as the others are concerned.
    pub(super) fn may_lengthen(&mut self, id: ConnectionId, capacity: usize, wanted: usize) -> bool {
        // While it is moved, the old buffer is taken as well.
        let (needed, all) = (self.input.used() + wanted, self.input.capacity());
        if wanted <= BUFFER_UNIT_BYTES || needed <= all / 4 * 3 {
            return true;
        }
        if needed > all / 16 * 15 {
            return false;
        }
        let may = match self.long_holder() {
            Some(holder) => holder == id,
            // Those that wait are served in their order.
            None => self.starved.long.is_empty() && capacity >= BUFFER_UNIT_BYTES && self.is_receiving(id),
        };
        if may {
            self.starved.granted = Some((id, true));
        }
        may
    }

    /// What a connection may hold of its input depends on what others hold of theirs. One that has as much as it may just
    /// now is read on when they hold less, though nothing else wakes it.
    pub(super) fn note_crowded(&mut self, id: ConnectionId) {
        let Some(connection) = self.get(id) else { return };
        let (used, all) = (self.input.used(), self.input.capacity());
        let may_grow = all < self.input.ceiling();
        // What it may have at best, whether or not it has something to run first: after that nothing else may wake it.
        let (is_crowded, at_best) = match connection.session.authenticated {
            true => (may_grow || used > all / 2, soak_share_of(self.input.ceiling())),
            false => (may_grow || used > all / 4, UNAUTHENTICATED_BYTES_MAX),
        };
        let is_receiving = connection.readiness.starved.is_none() && connection.end_reason.is_none();
        if is_crowded && is_receiving && connection.input.len() < at_best {
            if self.starved.crowded.is_empty() {
                self.starved.crowded_returns_seen = self.input.returns();
            }
            self.starved.crowded.push(id.index);
        }
    }
}

fn reason_of(kind: BufferKind) -> CloseReason {
    match kind {
        BufferKind::Input => CloseReason::InputFull,
        BufferKind::Output => CloseReason::OutputFull,
    }
}

/// Whether a connection holds buffers of a kind and it is up to its client that it gives them back: not to the server, which
/// pauses it, starves it, or has yet to look at what came.
fn is_stalled_holder(connection: &Connection, kind: BufferKind) -> bool {
    let held_bytes = match kind {
        BufferKind::Input => connection.input.capacity(),
        BufferKind::Output => connection.output.capacity(),
    };
    let readiness = &connection.readiness;
    let is_up_to_client = match connection.phase() {
        Phase::Paused => false,
        // It takes no replies, whatever else it waits for.
        _ if readiness.write_blocked => true,
        Phase::Receiving { .. } => !readiness.unread && readiness.starved.is_none(),
        _ => false,
    };
    held_bytes > 0 && is_up_to_client && !readiness.runnable
}

/// Whether a connection holds input buffers in the middle of a command for which it finds no more of them: there is no
/// memory for so many commands at once, and some of them have to give way.
fn is_starved_holder(connection: &Connection, kind: BufferKind) -> bool {
    kind == BufferKind::Input
        && connection.input.capacity() > 0
        && connection.readiness.starved == Some(kind)
        && matches!(connection.phase(), Phase::Receiving { .. })
}

/// Whether, besides, its peer has hung up. The reactor sees it behind bytes that the server does not read, and the command is hardly ever whole: a
/// client that leaves in the middle of one must not keep its buffers as long as one that waits.
fn is_gone_holder(connection: &Connection, kind: BufferKind) -> bool {
    connection.readiness.hung_up && is_starved_holder(connection, kind)
}
