//! Who may use how much of the memory that data does not need: buffers, places for clients and sessions have a floor that is
//! theirs and a ceiling, and borrow what is between from the store, in segments.
//!
//! ```text
//!             floor        granted            ceiling
//!  input      |============|------------------|          buffers: up to the ceiling while data leaves it, and given
//!  output     |============|---------|        |          back when data needs it and clients do not
//!  queues     |============|---------|        |
//!  clients    |======|                        |          tables: as clients and sessions come; kept
//!  sessions   |===|-----|                     |
//! ```
//! [`Server::balance_memory`] moves the borders once a turn. Data comes first as long as clients use little: before a write
//! would be refused (or a key be evicted), buffers shrink to their floor, or to four times what clients have used of
//! them lately. Where writes are refused, nothing is borrowed then; where keys are evicted, keys go for buffers that are used.
//!
//! What is lent is no part of the store's pool meanwhile ([`Store::lend_segments`]), so the sum stays below the limit.

use super::Server;
use crate::buffer::arena::Arena;
use crate::connection::{BufferKind, ConnectionId};
use crate::limits::RING_BYTES;
use crate::store::Store;
use crate::time::{Millis, Now};

/// A server's floors; what it has been given beside them are its ceilings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floors {
    /// Bytes of all clients' input buffers, of their output buffers, and of queued transactions.
    pub input_bytes: usize,
    pub output_bytes: usize,
    pub queue_bytes: usize,
    /// Clients for whom there is a place in any case, and what a further one takes.
    pub clients: usize,
    pub client_bytes: usize,
    /// The same of sessions of frames.
    pub sessions: usize,
    pub session_bytes: usize,
}

/// Segments that buffers of one kind borrow in a turn, at most: their pages go back to the system, some microseconds for each.
const SEGMENTS_A_TURN: u32 = 8;
/// The same where keys are evicted for them, some tens of microseconds for each.
const EVICTED_SEGMENTS_A_TURN: u32 = 2;
/// Segments that tables of one kind may use before keys have gone for them: 1 MiB.
const OVERCOMMITTED_SEGMENTS_MAX: u32 = 16;
/// Buffers give back when less than one part in so many is left to data.
const ROOM_PART: u32 = 4;
/// Buffers that were used to so large a part lately do not shrink below it: a quarter.
const USED_PART: usize = 4;
/// How long a peak of use counts.
const PEAK_MS: u64 = 1_000;

/// What buffers of one kind have.
#[derive(Debug, Default)]
struct BufferShare {
    floor_bytes: usize,
    borrowed: u32,
    /// The most that was used since [`Shares::peak_since`], and in the time before.
    peak: usize,
    peak_before: usize,
    /// Whether a client could not be given what it needed since the last turn.
    is_short: bool,
    /// Buffers that had come back when nothing could be given back: what is taken lies in the way.
    blocked_at: Option<u64>,
}

/// What tables of one kind have.
#[derive(Debug, Default)]
struct TableShare {
    /// Entries for which there is memory.
    granted: usize,
    ceiling: usize,
    entry_bytes: usize,
    borrowed: u32,
    /// Segments that are used and not borrowed yet.
    overcommitted: u32,
}

/// Who has borrowed how much.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Whether anything can be borrowed at all.
    is_lending: bool,
    input: BufferShare,
    output: BufferShare,
    queues: BufferShare,
    clients: TableShare,
    sessions: TableShare,
    peak_since: Millis,
    /// Sessions when memory for more was last asked for.
    sessions_seen: usize,
    /// Bytes that the input buffers are to have for a long command.
    input_wanted: usize,
}

impl BufferShare {
    /// Takes as much for an arena at its ceiling as the store lends; the arena shrinks to that.
    fn begin(&mut self, floor_bytes: usize, arena: &mut Arena, store: &mut Store) {
        let segment_bytes = store.segment_bytes();
        // No arena is shorter than a ring.
        self.floor_bytes = floor_bytes.max(RING_BYTES).min(arena.ceiling());
        let wanted = (arena.ceiling() - self.floor_bytes) / segment_bytes;
        self.borrowed = store.lend_segments(wanted as u32, false, Millis(0));
        arena.shrink_to(self.floor_bytes + self.borrowed as usize * segment_bytes);
    }

    fn note_peak(&mut self, arena: &mut Arena) {
        self.peak = self.peak.max(arena.take_peak());
    }

    /// Gives up to `segments` back, but not what was used lately; how many it gave.
    fn give_back(&mut self, segments: u32, arena: &mut Arena, store: &mut Store) -> u32 {
        let segment_bytes = store.segment_bytes();
        let used = self.peak.max(self.peak_before).max(arena.used());
        let least = self.floor_bytes.max(used.saturating_mul(USED_PART));
        let spare = arena.capacity().saturating_sub(least) / segment_bytes;
        let asked = segments.min(self.borrowed).min(spare as u32);
        if asked == 0 || self.blocked_at == Some(arena.returns()) {
            return 0;
        }
        // What is taken may lie in the way: the part of a segment that was freed is of no use, and stays.
        arena.shrink_to(arena.capacity() - asked as usize * segment_bytes);
        let kept = arena.capacity().saturating_sub(self.floor_bytes).div_ceil(segment_bytes) as u32;
        let given = self.borrowed.saturating_sub(kept);
        self.borrowed -= given;
        self.blocked_at = (given == 0).then_some(arena.returns());
        arena.grow_to(self.floor_bytes + self.borrowed as usize * segment_bytes);
        store.take_segments_back(given);
        given
    }

    /// Borrows up to `segments` more; whether it got any.
    fn borrow(
        &mut self,
        segments: u32,
        arena: &mut Arena,
        store: &mut Store,
        evict: bool,
        now: Millis,
    ) -> bool {
        let segment_bytes = store.segment_bytes();
        let missing = (arena.ceiling() - arena.capacity()) / segment_bytes;
        let lent = store.lend_segments(segments.min(missing as u32), evict, now);
        self.borrowed += lent;
        if lent > 0 {
            arena.grow_to(self.floor_bytes + self.borrowed as usize * segment_bytes);
            // Those that starve may find a buffer now.
            arena.note_return();
        }
        lent > 0
    }

    /// Whether clients have used more than half of it lately.
    fn is_busy(&self, arena: &Arena) -> bool {
        self.peak.max(self.peak_before) > arena.capacity() / 2
    }
}

impl TableShare {
    fn begin(&mut self, floor: usize, ceiling: usize, entry_bytes: usize) {
        *self =
            TableShare { granted: floor.min(ceiling), ceiling, entry_bytes, borrowed: 0, overcommitted: 0 };
    }

    /// Borrows a segment for further entries; whether there is memory for one more now. Where keys are evicted, they go within the
    /// turn, by [`evict_for_overcommitted`](TableShare::evict_for_overcommitted).
    fn borrow(&mut self, store: &mut Store, now: Millis) -> bool {
        if self.granted >= self.ceiling {
            return false;
        }
        if store.lend_segments(1, false, now) == 1 {
            self.borrowed += 1;
        } else if store.evicts() && self.overcommitted < OVERCOMMITTED_SEGMENTS_MAX {
            self.overcommitted += 1;
        } else {
            return false;
        }
        self.granted = (self.granted + store.segment_bytes() / self.entry_bytes).min(self.ceiling);
        true
    }

    /// Has keys evicted for what is used and not borrowed.
    fn evict_for_overcommitted(&mut self, store: &mut Store, now: Millis) {
        let lent = store.lend_segments(self.overcommitted.min(EVICTED_SEGMENTS_A_TURN), true, now);
        self.overcommitted -= lent;
        self.borrowed += lent;
    }
}

impl Server {
    /// Sets the floors; what the server was made with are its ceilings.
    pub(super) fn set_floors(&mut self, floors: &Floors) {
        let Server { shares, engine, input, output, queues, frames, .. } = self;
        shares.is_lending = true;
        shares.input.begin(floors.input_bytes, input, &mut engine.store);
        shares.output.begin(floors.output_bytes, output, &mut engine.store);
        shares.queues.begin(floors.queue_bytes, queues, &mut engine.store);
        let clients_max = engine.options().max_clients;
        shares.clients.begin(floors.clients, clients_max, floors.client_bytes);
        shares.sessions.begin(floors.sessions, frames.sessions().clients_max(), floors.session_bytes);
        frames.set_sessions_max(shares.sessions.granted, true);
    }

    /// Once a turn: data gets back what clients do not use and it needs, and clients get what data does not. True: there is
    /// more to do at once.
    pub(super) fn balance_memory(&mut self, now: Now) -> bool {
        if !self.shares.is_lending {
            return false;
        }
        let Server { shares, engine, input, output, queues, .. } = self;
        let store = &mut engine.store;
        for (share, arena) in
            [(&mut shares.input, &mut *input), (&mut shares.output, output), (&mut shares.queues, queues)]
        {
            share.note_peak(arena);
            if now.monotonic.since(shares.peak_since) >= PEAK_MS {
                share.peak_before = std::mem::take(&mut share.peak);
            }
        }
        if now.monotonic.since(shares.peak_since) >= PEAK_MS {
            shares.peak_since = now.monotonic;
        }
        let (room, all) = store.lendable_segments();
        // What may come in within a turn, and a little; or the large values of one command.
        let turn = (input.capacity() / store.segment_bytes()) as u32 + 2 * SEGMENTS_A_TURN;
        let margin = turn.max(all / ROOM_PART);
        let mut missing = margin.saturating_sub(room);
        if missing > 0 {
            missing -= shares.output.give_back(missing, output, store);
            missing -= shares.queues.give_back(missing, queues, store);
            // What is on its way for a command stays.
            if shares.input_wanted == 0 {
                missing -= shares.input.give_back(missing, input, store);
            }
        }
        shares.clients.evict_for_overcommitted(store, now.unix);
        shares.sessions.evict_for_overcommitted(store, now.unix);
        let of_tables = shares.clients.borrowed + shares.sessions.borrowed;
        store.note_lent_in_use(if missing > 0 { store.lent_segments() } else { of_tables });
        let (is_plenty, may_borrow) = (room >= 2 * margin, room >= margin || store.evicts());
        for (share, arena) in
            [(&mut shares.input, &mut *input), (&mut shares.output, output), (&mut shares.queues, queues)]
        {
            let is_short = std::mem::take(&mut share.is_short);
            let is_wanted = may_borrow && (is_short || share.is_busy(arena));
            if arena.capacity() < arena.ceiling() && (is_plenty || is_wanted) {
                let segments = if is_plenty { SEGMENTS_A_TURN } else { EVICTED_SEGMENTS_A_TURN };
                share.borrow(segments, arena, store, !is_plenty, now.unix);
            }
        }
        if shares.input_wanted == 0 {
            return false;
        }
        let is_wanted = input.capacity() < shares.input_wanted;
        let got = is_wanted && shares.input.borrow(EVICTED_SEGMENTS_A_TURN, input, store, true, now.unix);
        if !got {
            // It is reached, or there is no more: who waits for it is looked at again.
            shares.input_wanted = 0;
            input.note_return();
        }
        got
    }

    /// Before data is loaded: clients have their floors, and borrow nothing until it is there.
    pub fn give_memory_back(&mut self) {
        let Server { shares, engine, input, output, queues, .. } = self;
        for (share, arena) in
            [(&mut shares.input, input), (&mut shares.output, output), (&mut shares.queues, queues)]
        {
            share.give_back(u32::MAX, arena, &mut engine.store);
        }
    }

    /// Sees to it that there is memory for further sessions of frames, as long as there may be. Asked for while half of the
    /// places are free: where there is no more, what one address may have is a part of what there is.
    #[inline]
    pub(super) fn make_session_room(&mut self, now: Now) {
        let Server { shares, engine, frames, .. } = self;
        let len = frames.sessions().len();
        if shares.is_lending && len > shares.sessions.granted / 2 && len != shares.sessions_seen {
            shares.sessions_seen = len;
            let may_grow = shares.sessions.borrow(&mut engine.store, now.unix);
            frames.set_sessions_max(shares.sessions.granted, may_grow);
        }
    }

    /// A command is longer than the input buffers have room for: whether they grow for it. Then it waits.
    pub(super) fn borrow_for_command(&mut self, id: ConnectionId, now: Now) -> bool {
        let Server { shares, engine, input, .. } = self;
        let wanted = (2 * input.capacity()).min(input.ceiling());
        let grows = shares.is_lending
            && input.capacity() < wanted
            && shares.input.borrow(1, input, &mut engine.store, true, now.unix);
        if grows {
            shares.input_wanted = shares.input_wanted.max(wanted);
            self.starve(id, BufferKind::Input, now.monotonic);
        }
        grows
    }

    /// Whether there is memory for the place of one more client.
    pub(super) fn has_client_place(&mut self, place: usize, now: Now) -> bool {
        let Server { shares, engine, .. } = self;
        !shares.is_lending
            || place < shares.clients.granted
            || shares.clients.borrow(&mut engine.store, now.unix)
    }

    /// Clients wait for buffers: the next turn looks for more.
    pub(super) fn note_short(&mut self, kind: BufferKind) {
        match kind {
            BufferKind::Input => self.shares.input.is_short = true,
            BufferKind::Output => self.shares.output.is_short = true,
        }
    }

    /// Panics where what was borrowed is not what was lent.
    pub(super) fn check_shares(&self) {
        let Shares { input, output, queues, clients, sessions, .. } = &self.shares;
        let borrowed =
            input.borrowed + output.borrowed + queues.borrowed + clients.borrowed + sessions.borrowed;
        assert_eq!(borrowed, self.engine.store.lent_segments(), "what is lent has borrowers");
        if !self.shares.is_lending {
            return;
        }
        let segment_bytes = self.engine.store.segment_bytes();
        for (share, arena) in [(input, &self.input), (output, &self.output), (queues, &self.queues)] {
            assert!(arena.capacity() <= share.floor_bytes + share.borrowed as usize * segment_bytes);
        }
        assert!(self.connections.len() <= clients.granted);
        assert!(self.frames.sessions().len() <= sessions.granted);
    }
}
