//! The at-most-once table: which writes of which clients have run, and what they were answered.
//!
//! ```text
//!            first                         highest
//!              |                              |
//!  . . . . . . 5   6   7   8   ...   67  68  69     a client's sequences
//!  \________/  \____________________________/ \____
//!   stale: never   the window: a bit for each       new
//!   run again      write that has run, its
//!                  reply and its hash kept
//! ```
//! Memory is fixed: heads and slots are reserved when the table is made, touched as clients come. Clients stand in a
//! list in the order of their last sign of life; only the one at its front can be dropped, and only when its lease
//! has run out. **Nothing that was dropped can run again**: dropping raises the *horizon* to the *counter* that every
//! cookie made so far carries at most, and the counter beyond it. An entry is made only for a cookie newer than the
//! horizon, and an entry remembers the horizon at its birth and takes no older cookie.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::limits::UDP_WINDOW;
use crate::mutant::{self, Mutant};
use crate::time::Millis;
use crate::wire::frame::Status;

/// No such entry: ends a list, or marks an empty place.
const NONE: u32 = u32::MAX;

/// The reply that is kept for a write that has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedReply {
    pub status: Status,
    pub argument: u64,
    pub expect: u64,
}

/// A kept reply as it stands in the table. Revisions have 48 bits, so that the status fits beside one.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    hash: u64,
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
    /// Bit `i`: the write `highest - i` has run.
    window: u64,
    active: Millis,
    /// Which of all sessions ever opened this is: it tells a client whether its session is still the same one.
    generation: u64,
    highest: u32,
    first: u32,
    /// The horizon at birth: an older cookie, or one as old, speaks of an earlier life of this client id.
    min_cookie: u32,
    older: u32,
    newer: u32,
}

const _: () = assert!(size_of::<Head>() <= 56);
const _: () = assert!(UDP_WINDOW == u64::BITS as usize);

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

/// Why no session was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// The cookie is from before the horizon: a session of this client may have been dropped.
    Stale,
    /// Every place is taken by a client whose lease runs.
    Busy,
}

/// A client's place in the table; good until the next call that opens a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionIndex(u32);

/// The table.
///
/// Call order for a write: [`find`](Sessions::find) or [`open`](Sessions::open), then
/// [`is_fresh`](Sessions::is_fresh), [`touch`](Sessions::touch), [`look_up`](Sessions::look_up), and after running it
/// [`keep`](Sessions::keep). Every one of them takes a bounded number of steps and allocates nothing.
#[derive(Debug)]
pub struct Sessions {
    heads: Vec<Head>,
    slots: Vec<Slot>,
    /// Open addressing with linear probing over positions in `heads`; at most half full, so that probes stay short.
    places: Vec<u32>,
    clients_max: usize,
    lease_ms: u64,
    key: [u64; 2],
    counter: u32,
    horizon: u32,
    oldest: u32,
    newest: u32,
    opened: u64,
    dropped: u64,
}

impl Sessions {
    /// A table for `clients_max` clients, each of which is kept for at least `lease_ms` after its last sign of life.
    /// `key` must be random: it keeps clients from choosing ids that collide.
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
            clients_max,
            lease_ms,
            key,
            counter: 1,
            horizon: 0,
            oldest: NONE,
            newest: NONE,
            opened: 0,
            dropped: 0,
        }
    }

    /// Bytes that a table for so many clients reserves.
    #[must_use]
    pub const fn memory_bytes(clients_max: usize) -> usize {
        clients_max * (size_of::<Head>() + UDP_WINDOW * size_of::<Slot>())
            + places_count(clients_max) * size_of::<u32>()
    }

    /// Clients that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether no client is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Sessions that were opened, since the start.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// The session's number among all that were ever opened, from 1.
    #[must_use]
    pub fn generation(&self, session: SessionIndex) -> u64 {
        self.heads[session.0 as usize].generation
    }

    /// Sessions that were dropped to make room, since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What a cookie made now carries.
    #[must_use]
    pub fn counter(&self) -> u32 {
        self.counter
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

    /// Opens a session for a client that has none. `cookie` is the counter of its cookie; `None` where the transport
    /// itself proves that the request is not an old copy (TCP).
    ///
    /// # Errors
    /// [`NotOpened`]; then nothing has changed.
    pub fn open(
        &mut self,
        client_id: u64,
        cookie: Option<u32>,
        now: Millis,
    ) -> Result<SessionIndex, NotOpened> {
        debug_assert!(self.find(client_id).is_none());
        if cookie.is_some_and(|counter| counter <= self.horizon) && !mutant::is_on(Mutant::NoHorizon) {
            return Err(NotOpened::Stale);
        }
        let at = if self.heads.len() < self.clients_max {
            self.heads.len()
        } else {
            let may_drop = now.since(self.heads[self.oldest as usize].active) > self.lease_ms;
            // The counter's last value is never passed: no cookie could be newer than that horizon.
            if !may_drop || self.counter == u32::MAX {
                return Err(NotOpened::Busy);
            }
            // The asker's own cookie is from before this drop, and good for this once: it had no entry to lose.
            self.drop_oldest()
        };
        self.opened += 1;
        let min_cookie = match cookie {
            Some(counter) => self.horizon.min(counter - 1),
            None => self.horizon,
        };
        let head = Head {
            client_id,
            window: 0,
            active: now,
            generation: self.opened,
            highest: 0,
            first: 1,
            min_cookie,
            older: NONE,
            newer: NONE,
        };
        let start = at * UDP_WINDOW;
        if at == self.heads.len() {
            self.heads.push(head);
            self.slots.resize(start + UDP_WINDOW, Slot::default());
        } else {
            self.heads[at] = head;
        }
        let at = u32::try_from(at).unwrap_or(NONE);
        self.place(client_id, at);
        self.append(at);
        Ok(SessionIndex(at))
    }

    /// Whether a cookie's counter is newer than the horizon that stood when this session was opened.
    #[must_use]
    pub fn is_fresh(&self, session: SessionIndex, counter: u32) -> bool {
        counter > self.heads[session.0 as usize].min_cookie
    }

    /// Notes a sign of life, and that the client waits for nothing below `first_incomplete` any longer.
    pub fn touch(&mut self, session: SessionIndex, first_incomplete: u32, now: Millis) {
        self.unlink(session.0);
        self.append(session.0);
        let head = &mut self.heads[session.0 as usize];
        head.active = now;
        head.first = head.first.max(first_incomplete);
    }

    /// What is known of the write with this sequence and this hash of its contents.
    #[must_use]
    pub fn look_up(&self, session: SessionIndex, sequence: u32, hash: u64) -> Known {
        let head = &self.heads[session.0 as usize];
        if sequence < head.first {
            return Known::Stale;
        }
        if sequence > head.highest {
            return Known::New;
        }
        let age = head.highest - sequence;
        if age >= u64::BITS {
            if age == u64::BITS && mutant::is_on(Mutant::WindowOffByOne) {
                return Known::New;
            }
            return Known::Stale;
        }
        if head.window & (1 << age) == 0 || mutant::is_on(Mutant::NoDedupe) {
            return Known::New;
        }
        let slot = &self.slots[slot_index(session, sequence)];
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
    pub fn keep(&mut self, session: SessionIndex, sequence: u32, hash: u64, kept: CachedReply) {
        let head = &mut self.heads[session.0 as usize];
        if sequence > head.highest {
            let ahead = sequence - head.highest;
            head.window = head.window.checked_shl(ahead).unwrap_or(0);
            head.highest = sequence;
        }
        head.window |= 1 << (head.highest - sequence);
        self.slots[slot_index(session, sequence)] = Slot {
            hash,
            status_argument: u64::from(kept.status as u8) << STATUS_SHIFT | kept.argument,
            expect: kept.expect,
        };
    }

    /// Whether a write with this sequence has run and is remembered.
    #[must_use]
    pub fn has_run(&self, session: SessionIndex, sequence: u32) -> bool {
        let head = &self.heads[session.0 as usize];
        let age = head.highest.checked_sub(sequence);
        sequence >= head.first && age.is_some_and(|age| age < u64::BITS && head.window & (1 << age) != 0)
    }

    /// Asserts what must always hold; walks over everything, for tests.
    ///
    /// # Panics
    /// If it does not hold.
    pub fn invariants(&self) {
        assert!(self.heads.len() <= self.clients_max && self.heads.capacity() == self.clients_max);
        assert_eq!(self.slots.len(), self.heads.len() * UDP_WINDOW);
        assert_eq!(self.slots.capacity(), self.clients_max * UDP_WINDOW);
        assert!(self.horizon < self.counter);
        let mut at = self.oldest;
        let (mut count, mut before, mut active) = (0, NONE, Millis(0));
        while at != NONE {
            let head = &self.heads[at as usize];
            assert_eq!(head.older, before);
            assert!(head.active >= active && head.min_cookie <= self.horizon);
            assert_eq!(self.find(head.client_id), Some(SessionIndex(at)));
            (count, before, active, at) = (count + 1, at, head.active, head.newer);
        }
        assert_eq!((count, before), (self.heads.len(), self.newest));
        assert_eq!(self.places.iter().filter(|place| **place != NONE).count(), count);
    }

    /// Forgets the client at the front of the list and raises the horizon; its place is the caller's.
    fn drop_oldest(&mut self) -> usize {
        let at = self.oldest;
        self.horizon = self.counter;
        self.counter += 1;
        self.dropped += 1;
        self.unlink(at);
        self.displace(at);
        at as usize
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

    fn unlink(&mut self, at: u32) {
        let Head { older, newer, .. } = self.heads[at as usize];
        match older {
            NONE => self.oldest = newer,
            older => self.heads[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.heads[newer as usize].older = older,
        }
    }

    fn append(&mut self, at: u32) {
        let head = &mut self.heads[at as usize];
        (head.older, head.newer) = (self.newest, NONE);
        match self.newest {
            NONE => self.oldest = at,
            newest => self.heads[newest as usize].newer = at,
        }
        self.newest = at;
    }
}

const fn places_count(clients_max: usize) -> usize {
    (clients_max * 2).next_power_of_two()
}

const fn slot_index(session: SessionIndex, sequence: u32) -> usize {
    session.0 as usize * UDP_WINDOW + sequence as usize % UDP_WINDOW
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
