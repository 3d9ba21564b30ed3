//! The at-most-once table: which writes of which clients have run, and what they were answered.
//!
//! ```text
//!   slot       0      1      2      3    …    63       a client's writes by sequence modulo 64
//!           ┌──────┬──────┬──────┬──────┬───┬──────┐
//!  sequence │  128 │   65 │    2 │  131 │ … │  127 │   the last that has run in the slot, with the hash of its
//!     reply │  OK… │  OK… │  OK… │ FULL │ … │  OK… │   contents and its reply
//!           └──────┴──────┴──────┴──────┴───┴──────┘
//!   a higher sequence is new; this one is a repeat; a lower one is stale: it has run, or will never run
//! ```
//! The slots are those of NFS 4.1 (RFC 8881, section 2.10.6.1). A client has at most one write outstanding in each, so that
//! the server need never keep more than one reply for it; and while one write is lost and sent again, the other slots
//! go on without a bound.
//!
//! Memory is fixed: heads and slots are reserved when the table is made, touched as clients come.
//!
//! **Nothing that was dropped can run again.** A session has a number that no other session of this run has. A request
//! carries it in its cookie, under the cookie's seal, and runs only in the session of that number: a copy from before
//! a session was dropped speaks of a number that is gone for good, whatever its client has opened since.
//!
//! **No peer can take all places.** A session whose lease has run out is dropped by the next HELLO. Of those with a
//! running lease, one address may hold as many as there are free places, and [`ADDRESS_SESSIONS_MIN`] in any case; one
//! stream connection [`STREAM_SESSIONS_MAX`]. (A limit that shrinks with the free room leaves some room to each
//! newcomer: Choudhury and Hahne, "Dynamic queue length thresholds", 1998.) An address at its limit, and a full table,
//! make room by the session that has been silent longest among those that never wrote: with it no answer is lost.
//! A session that wrote keeps its place for the whole of its lease.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use super::shares::{Holder, Shares};
use crate::limits::UDP_WINDOW;
use crate::mutant::{self, Mutant};
use crate::time::Millis;
use crate::wire::frame::Status;

/// No such entry: ends a list, or marks an empty place.
const NONE: u32 = u32::MAX;
/// Sessions that one address may hold however few places are free.
pub const ADDRESS_SESSIONS_MIN: usize = 16;
/// Sessions that one stream connection may hold: a client needs one, and another after each that it has lost.
pub const STREAM_SESSIONS_MAX: usize = 16;
/// Sessions past their lease that one HELLO drops, at most: a bound on its time, some tens of microseconds.
const EXPIRED_PER_HELLO: usize = 256;
/// Sessions that never wrote among which a HELLO looks for one of its own address.
const REPLACEABLE_PER_HELLO: usize = 64;

/// The reply that is kept for a write that has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedReply {
    pub status: Status,
    pub argument: u64,
    pub expect: u64,
}

/// The last write that has run in a slot, and its reply. Revisions have 48 bits, so that the status fits beside one.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// 0: none has run yet.
    sequence: u32,
    /// Of the write's contents; cut to 32 bits, since it guards against a client's mistake and nothing else.
    hash: u32,
    /// Status in the upper 8 bits, argument in the lower 56.
    status_argument: u64,
    expect: u64,
}

const STATUS_SHIFT: u32 = 56;
const _: () = assert!(size_of::<Slot>() == 24);

/// One client.
#[derive(Clone, Copy, Debug)]
struct Head {
    client_id: u64,
    active: Millis,
    /// Which of all sessions ever opened this is.
    number: u64,
    /// The client waits for nothing below this sequence.
    first: u32,
    older: u32,
    newer: u32,
    address: Holder,
    stream: Option<Holder>,
    /// Whether a write has run in it, so that there is an answer to lose.
    has_written: bool,
}

const _: () = assert!(size_of::<Head>() <= 56);

/// What is known of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It has not run: run it, then [`Sessions::keep`] its reply.
    New,
    /// It has run, and this was the reply.
    Repeat(CachedReply),
    /// Its sequence was used by another request.
    Reused,
    /// It is too old to tell.
    Stale,
}

/// No session was opened: every place that this peer may have is taken by a session whose lease runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Who opens a session, for the bounds on what one peer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opener {
    pub ip: IpAddr,
    /// The connection that the HELLO came by; `None` for a datagram.
    pub connection: Option<u64>,
}

/// Sessions in the order of their last sign of life, linked through their heads.
#[derive(Clone, Copy, Debug)]
struct List {
    oldest: u32,
    newest: u32,
    len: usize,
}

const EMPTY: List = List { oldest: NONE, newest: NONE, len: 0 };

/// A client's place in the table; good until the next call that opens a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionIndex(u32);

/// The table.
///
/// Call order for a HELLO: [`find`](Sessions::find) or [`open`](Sessions::open), then [`touch`](Sessions::touch). For a
/// write: [`find_numbered`](Sessions::find_numbered), `touch`, [`look_up`](Sessions::look_up), and after running it
/// [`keep`](Sessions::keep). Every one of them takes a bounded number of steps and allocates nothing.
#[derive(Debug)]
pub struct Sessions {
    heads: Vec<Head>,
    slots: Vec<Slot>,
    /// Open addressing with linear probing over positions in `heads`; at most half full, so that probes stay short.
    places: Vec<u32>,
    /// Heads that were dropped, linked through `newer`.
    free: u32,
    clients_max: usize,
    /// Of these, those for whom there is memory.
    granted: usize,
    /// Whether there may come to be memory for more.
    may_grow: bool,
    lease_ms: u64,
    key: [u64; 2],
    /// Sessions in which a write has run, and those in which none has.
    written: List,
    unwritten: List,
    shares: Shares,
    opened: u64,
    dropped: u64,
}

impl Sessions {
    /// A table for `clients_max` clients. Each that has written is kept for at least `lease_ms` after its last sign of
    /// life. `key` must be random: it keeps clients from choosing ids that collide.
    ///
    /// # Panics
    /// If `clients_max` is 0 or above a million.
    #[must_use]
    pub fn new(clients_max: usize, lease_ms: u64, key: [u64; 2]) -> Sessions {
        assert!((1..=1 << 20).contains(&clients_max), "1..=1,048,576 clients");
        Sessions {
            heads: Vec::with_capacity(clients_max),
            slots: Vec::with_capacity(clients_max * UDP_WINDOW),
            places: vec![NONE; places_count(clients_max)],
            free: NONE,
            clients_max,
            granted: clients_max,
            may_grow: true,
            lease_ms,
            key,
            written: EMPTY,
            unwritten: EMPTY,
            shares: Shares::new(holders_max(clients_max), key),
            opened: 0,
            dropped: 0,
        }
    }

    /// Bytes that a session takes when it comes.
    pub const SESSION_BYTES: usize = size_of::<Head>() + UDP_WINDOW * size_of::<Slot>();

    /// Bytes that a table for so many clients reserves.
    #[must_use]
    pub const fn memory_bytes(clients_max: usize) -> usize {
        clients_max * Sessions::SESSION_BYTES
            + places_count(clients_max) * size_of::<u32>()
            + Shares::memory_bytes(holders_max(clients_max))
    }

    /// Clients that were reserved for.
    #[must_use]
    pub fn clients_max(&self) -> usize {
        self.clients_max
    }

    /// From now on so many clients may be known at once, no fewer than before, and at least one; and whether that may grow.
    pub fn grant(&mut self, clients: usize, may_grow: bool) {
        debug_assert!(self.heads.len() <= clients);
        self.granted = clients.clamp(1, self.clients_max);
        self.may_grow = may_grow;
    }

    /// Clients that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.written.len + self.unwritten.len
    }

    /// Whether no client is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sessions that were opened, since the start.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// The session's number among all that were ever opened, from 1.
    #[must_use]
    pub fn number(&self, session: SessionIndex) -> u64 {
        self.heads[session.0 as usize].number
    }

    /// Sessions that were dropped, since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The session of a client.
    #[must_use]
    pub fn find(&self, client_id: u64) -> Option<SessionIndex> {
        let mut place = self.home(client_id);
        loop {
            match self.places[place] {
                NONE => return None,
                at if self.heads[at as usize].client_id == client_id => return Some(SessionIndex(at)),
                _ => place = (place + 1) % self.places.len(),
            }
        }
    }

    /// The session of a client if it is the one of this number: not one that was opened after that was dropped.
    #[must_use]
    pub fn find_numbered(&self, client_id: u64, number: u64) -> Option<SessionIndex> {
        let session = self.find(client_id)?;
        let is_same = self.number(session) == number || mutant::is_on(Mutant::NoSessionNumber);
        is_same.then_some(session)
    }

    /// Opens a session for a client that has none, and drops some whose leases have run out.
    ///
    /// # Errors
    /// [`Busy`]; then no session was dropped whose lease runs.
    pub fn open(&mut self, client_id: u64, opener: Opener, now: Millis) -> Result<SessionIndex, Busy> {
        debug_assert!(self.find(client_id).is_none());
        self.drop_expired(now);
        let address = self.shares.address(opener.ip);
        let stream = opener.connection.map(|connection| self.shares.stream(connection));
        if stream.is_some_and(|stream| self.shares.count(stream) >= STREAM_SESSIONS_MAX) {
            return Err(Busy);
        }
        // What one address may have does not depend on how much of the table has its memory yet, unless that is all.
        let free_count = if self.may_grow { self.clients_max } else { self.granted } - self.len();
        if self.shares.count(address) >= free_count.max(ADDRESS_SESSIONS_MIN) {
            self.drop_session(self.replaceable_of(address).ok_or(Busy)?);
        } else if self.len() >= self.granted {
            match self.unwritten.oldest {
                NONE => return Err(Busy),
                oldest => self.drop_session(oldest),
            }
        }
        self.opened += 1;
        let head = Head {
            client_id,
            active: now,
            number: self.opened,
            first: 1,
            older: NONE,
            newer: NONE,
            address,
            stream,
            has_written: false,
        };
        let at = self.take_place(head);
        self.place(client_id, at);
        self.append(at);
        self.shares.add(address);
        stream.into_iter().for_each(|stream| self.shares.add(stream));
        Ok(SessionIndex(at))
    }

    /// Notes a sign of life, and that the client waits for nothing below `first_incomplete` any longer.
    pub fn touch(&mut self, session: SessionIndex, first_incomplete: u32, now: Millis) {
        let head = &mut self.heads[session.0 as usize];
        head.active = now;
        head.first = head.first.max(first_incomplete);
        // The newest of its list is in its place already: the usual case where one client sends much.
        if head.newer != NONE {
            self.unlink(session.0);
            self.append(session.0);
        }
    }

    /// What is known of the write with this sequence and this hash of its contents.
    #[must_use]
    pub fn look_up(&self, session: SessionIndex, sequence: u32, hash: u32) -> Known {
        if sequence < self.heads[session.0 as usize].first {
            return Known::Stale;
        }
        let slot = &self.slots[slot_index(session, sequence)];
        let is_new = sequence > slot.sequence
            || mutant::is_on(Mutant::NoDedupe)
            || mutant::is_on(Mutant::StaleSlot) && slot.sequence.checked_sub(64) == Some(sequence);
        if is_new {
            return Known::New;
        }
        if sequence < slot.sequence {
            return Known::Stale;
        }
        if slot.hash != hash {
            return Known::Reused;
        }
        Known::Repeat(CachedReply {
            status: Status::from_byte((slot.status_argument >> STATUS_SHIFT) as u8).unwrap_or(Status::BadOp),
            argument: slot.status_argument & ((1 << STATUS_SHIFT) - 1),
            expect: slot.expect,
        })
    }

    /// Keeps the reply to a write that has run: one that [`look_up`](Sessions::look_up) has called new.
    pub fn keep(&mut self, session: SessionIndex, sequence: u32, hash: u32, kept: CachedReply) {
        if !self.heads[session.0 as usize].has_written {
            self.unlink(session.0);
            self.heads[session.0 as usize].has_written = true;
            self.append(session.0);
        }
        self.slots[slot_index(session, sequence)] = Slot {
            sequence,
            hash,
            status_argument: u64::from(kept.status as u8) << STATUS_SHIFT | kept.argument,
            expect: kept.expect,
        };
    }

    /// Whether a write with this sequence has run and is remembered.
    #[must_use]
    pub fn has_run(&self, session: SessionIndex, sequence: u32) -> bool {
        let slot = &self.slots[slot_index(session, sequence)];
        sequence != 0 && slot.sequence == sequence && sequence >= self.heads[session.0 as usize].first
    }

    /// Drops sessions whose leases have run out, the longest silent first.
    fn drop_expired(&mut self, now: Millis) {
        for _ in 0..EXPIRED_PER_HELLO {
            let expired =
                |at: &u32| *at != NONE && now.since(self.heads[*at as usize].active) > self.lease_ms;
            let Some(at) = [self.written.oldest, self.unwritten.oldest].into_iter().find(expired) else {
                return;
            };
            self.drop_session(at);
        }
    }

    /// A session of this address in which no write has run: the longest silent, if it is among the first few.
    fn replaceable_of(&self, address: Holder) -> Option<u32> {
        let mut at = self.unwritten.oldest;
        for _ in 0..REPLACEABLE_PER_HELLO {
            if at == NONE {
                return None;
            }
            let head = &self.heads[at as usize];
            if head.address == address {
                return Some(at);
            }
            at = head.newer;
        }
        None
    }

    /// Forgets a client; its place is free.
    fn drop_session(&mut self, at: u32) {
        self.dropped += 1;
        self.unlink(at);
        self.displace(at);
        let Head { address, stream, .. } = self.heads[at as usize];
        self.shares.remove(address);
        stream.into_iter().for_each(|stream| self.shares.remove(stream));
        self.heads[at as usize].newer = self.free;
        self.free = at;
    }

    /// Puts a head into a free place; there is one.
    fn take_place(&mut self, head: Head) -> u32 {
        if self.free != NONE {
            let at = self.free;
            self.free = self.heads[at as usize].newer;
            if self.heads[at as usize].has_written {
                let start = at as usize * UDP_WINDOW;
                self.slots[start..start + UDP_WINDOW].fill(Slot::default());
            }
            self.heads[at as usize] = head;
            return at;
        }
        let at = self.heads.len();
        self.heads.push(head);
        self.slots.resize((at + 1) * UDP_WINDOW, Slot::default());
        u32::try_from(at).unwrap_or(NONE)
    }

    fn home(&self, client_id: u64) -> usize {
        let mut hasher = SipHasher13::new_with_keys(self.key[0], self.key[1]);
        hasher.write_u64(client_id);
        hasher.finish() as usize % self.places.len()
    }

    fn place(&mut self, client_id: u64, at: u32) {
        let mut place = self.home(client_id);
        while self.places[place] != NONE {
            place = (place + 1) % self.places.len();
        }
        self.places[place] = at;
    }

    /// Takes a client out of the places and closes the gap behind it, so that no tombstones gather (Knuth 6.4, R).
    fn displace(&mut self, at: u32) {
        let count = self.places.len();
        let mut gap = self.home(self.heads[at as usize].client_id);
        while self.places[gap] != at {
            gap = (gap + 1) % count;
        }
        let mut next = (gap + 1) % count;
        while self.places[next] != NONE {
            let home = self.home(self.heads[self.places[next] as usize].client_id);
            // It may move into the gap if the gap lies on its way: cyclically in home..next.
            if (next + count - home) % count >= (next + count - gap) % count {
                self.places[gap] = self.places[next];
                gap = next;
            }
            next = (next + 1) % count;
        }
        self.places[gap] = NONE;
    }

    fn list(&mut self, has_written: bool) -> &mut List {
        if has_written { &mut self.written } else { &mut self.unwritten }
    }

    fn unlink(&mut self, at: u32) {
        let head = self.heads[at as usize];
        match head.older {
            NONE => self.list(head.has_written).oldest = head.newer,
            older => self.heads[older as usize].newer = head.newer,
        }
        match head.newer {
            NONE => self.list(head.has_written).newest = head.older,
            newer => self.heads[newer as usize].older = head.older,
        }
        self.list(head.has_written).len -= 1;
    }

    fn append(&mut self, at: u32) {
        let has_written = self.heads[at as usize].has_written;
        let list = self.list(has_written);
        let newest = std::mem::replace(&mut list.newest, at);
        list.len += 1;
        match newest {
            NONE => list.oldest = at,
            newest => self.heads[newest as usize].newer = at,
        }
        let head = &mut self.heads[at as usize];
        (head.older, head.newer) = (newest, NONE);
    }
}

/// A session is held by one address and at most one stream.
const fn holders_max(clients_max: usize) -> usize {
    clients_max * 2
}

const fn places_count(clients_max: usize) -> usize {
    (clients_max * 2).next_power_of_two()
}

const fn slot_index(session: SessionIndex, sequence: u32) -> usize {
    session.0 as usize * UDP_WINDOW + sequence as usize % UDP_WINDOW
}

mod invariants;
#[cfg(test)]
mod tests;
