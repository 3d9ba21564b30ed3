//! What MULTI queues and WATCH looks at, as bytes. Commands wait in a form that fills the argument table without parsing.
//! The first of them wait in a ring of the queues' own memory; what does not fit there waits in a large value of the
//! store, and comes into the ring piece by piece when EXEC runs.
//!
//! ```text
//! entry    | bytes u32 | count u32 | len u32 | argument ... | LARGE u32 | id u32 | ...     one for each command
//!
//!  MULTI:  command ──▶ ring ── full ──▶ spill (a large value)
//!  EXEC:   ring ──▶ argument table ──▶ run         ring ◀── spill, as many whole entries as fit
//! ```
//! The ring is always long enough for the longest entry, so that EXEC never lacks memory to read what was queued.

use crate::buffer::arena::Arena;
use crate::buffer::ring::Ring;
use crate::command::Verb;
use crate::connection::Transaction;
use crate::limits::{KIB, QUEUE_RING_BYTES_MAX};
use crate::mutation::{LargeId, LargeRef};
use crate::store::{LargeCursor, Store};
use crate::time::Millis;
use crate::wire::arguments::{Arg, ArgTable, Args};

/// Stands for a length where an argument is a large value.
const LARGE: u32 = u32::MAX;
/// Bytes of an entry before its arguments.
const HEAD_BYTES: usize = 8;
/// One part in so many of the store is what all transactions together may take of it.
pub(super) const SPILL_SHARE: u64 = 2;

const _: () = assert!(QUEUE_RING_BYTES_MAX.is_power_of_two() && QUEUE_RING_BYTES_MAX >= KIB);

/// Where transactions wait.
pub(in crate::server) struct QueueMemory<'m> {
    pub arena: &'m mut Arena,
    pub store: &'m mut Store,
    /// Bytes of the store that all transactions have taken.
    pub spilled_bytes: &'m mut u64,
    /// Unix time.
    pub now: Millis,
}

/// Why a command was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// It is longer than the memory for transactions has room for at all.
    TooLong,
    /// Others' transactions and what they watch hold the memory.
    Exhausted,
    /// The store is full.
    StoreFull,
}

impl Transaction {
    /// Queues a command. Its large arguments' references pass to the queue.
    ///
    /// # Errors
    /// There is no room; nothing was queued.
    pub(super) fn enqueue(
        &mut self,
        verb: &Verb,
        args: &Args<'_>,
        memory: &mut QueueMemory<'_>,
    ) -> Result<(), NotQueued> {
        let body_len: usize = args
            .iter()
            .map(|arg| match arg {
                Arg::Bytes(bytes) => 4 + bytes.len(),
                Arg::Large(_) | Arg::Refused => 8,
            })
            .sum();
        let entry_len = HEAD_BYTES + body_len;
        let spill = self.place(entry_len, memory)?;
        self.append(spill, &(body_len as u32).to_le_bytes(), memory);
        self.append(spill, &(args.len() as u32).to_le_bytes(), memory);
        for arg in args.iter() {
            match arg {
                Arg::Bytes(bytes) => {
                    self.append(spill, &(bytes.len() as u32).to_le_bytes(), memory);
                    self.append(spill, bytes, memory);
                }
                Arg::Large(LargeId(id)) => {
                    self.append(spill, &LARGE.to_le_bytes(), memory);
                    self.append(spill, &id.to_le_bytes(), memory);
                    self.has_large = true;
                }
                Arg::Refused => {
                    unreachable!("a command with a refused argument is answered before it is queued")
                }
            }
        }
        self.queued_count += 1;
        let key_count = verb.key_positions(args).count().max(1) as u32;
        self.key_count = self.key_count.saturating_add(key_count);
        self.flags = self.flags.with(verb.flags);
        Ok(())
    }

    /// Makes room for an entry: in the ring (`None`) or in the spill.
    fn place(
        &mut self,
        entry_len: usize,
        memory: &mut QueueMemory<'_>,
    ) -> Result<Option<LargeId>, NotQueued> {
        if self.spill.is_none() {
            let fits = (self.queue.len() + entry_len).next_power_of_two() <= QUEUE_RING_BYTES_MAX;
            if (fits || self.queue.is_empty()) && make_room(&mut self.queue, entry_len, memory.arena) {
                return Ok(None);
            }
        }
        // The ring has to hold the entry when its turn comes.
        if entry_len > self.queue.capacity() {
            let wanted = entry_len.next_power_of_two();
            if wanted > memory.arena.capacity() / 2 {
                return Err(NotQueued::TooLong);
            }
            if !self.queue.grow(memory.arena, wanted) {
                return Err(NotQueued::Exhausted);
            }
        }
        let store_bytes = memory.store.config().memory_bytes as u64;
        if *memory.spilled_bytes + entry_len as u64 > store_bytes / SPILL_SHARE {
            return Err(NotQueued::Exhausted);
        }
        let full = |_| NotQueued::StoreFull;
        if self.spill.is_none() {
            *self.spill = Some(memory.store.large_begin(0, memory.now).map_err(full)?);
        }
        let id = self.spill.as_ref().expect("it is begun").id();
        memory.store.large_make_room(id, entry_len as u64, memory.now).map_err(full)?;
        *memory.spilled_bytes += entry_len as u64;
        Ok(Some(id))
    }

    /// Appends where room was made.
    fn append(&mut self, spill: Option<LargeId>, bytes: &[u8], memory: &mut QueueMemory<'_>) {
        let written = match spill {
            None => self.queue.write(memory.arena, bytes),
            Some(id) => memory.store.large_append(id, bytes, memory.now).is_ok(),
        };
        debug_assert!(written, "room was made");
    }

    /// Puts the first queued command's arguments into the table and calls `large` for each large one; the length of
    /// the entry comes back.
    pub(super) fn load(&self, table: &mut ArgTable, queues: &Arena, mut large: impl FnMut(LargeId)) -> usize {
        load_entry(self.queue.readable(queues), 0, table, &mut large)
    }

    /// Visits the commands in the ring. The argument table is left empty.
    pub(super) fn each(
        &self,
        table: &mut ArgTable,
        queues: &Arena,
        mut visit: impl FnMut(&'static Verb, &Args<'_>),
    ) {
        let bytes = self.queue.readable(queues);
        let mut at = 0;
        while at < bytes.len() {
            at += load_entry(&bytes[at..], at, table, |_| {});
            let args = table.spans(bytes);
            if let Some(verb) = crate::command::resolve(&args) {
                visit(verb, &args);
            }
        }
        table.reset();
    }

    /// Moves whole entries from a spill into the empty ring; the cursor goes on behind them.
    pub(super) fn refill(&mut self, cursor: &mut LargeCursor, memory: &mut QueueMemory<'_>) {
        loop {
            let mut head = [0; HEAD_BYTES];
            let mut ahead = *cursor;
            if !read(memory.store, &mut ahead, &mut head) {
                return;
            }
            let mut left = HEAD_BYTES + word(&head, 0) as usize;
            if self.queue.free() < left {
                return;
            }
            while left > 0 {
                let piece = memory.store.large_slice(cursor);
                let len = piece.len().min(left);
                let written = len > 0 && self.queue.write(memory.arena, &piece[..len]);
                assert!(written, "an entry is whole, and the ring has room for it");
                cursor.advance(len);
                left -= len;
            }
        }
    }

    /// Adds another key to what is watched. False: there is no room.
    pub(super) fn watch(&mut self, parts: [&[u8]; 4], arena: &mut Arena) -> bool {
        let len = parts.iter().map(|part| part.len()).sum();
        if !make_room(&mut self.watched, len, arena) {
            return false;
        }
        let written = parts.iter().all(|part| self.watched.write(arena, part));
        debug_assert!(written, "room was made");
        written
    }

    /// Bytes of memory that it holds.
    pub(in crate::server) fn memory_bytes(&self, store: &Store) -> u64 {
        let spilled = self.spill.as_ref().map_or(0, |spill| store.large_len(spill.id()));
        (self.queue.capacity() + self.watched.capacity()) as u64 + spilled
    }

    /// Gives back all that it holds, and is as new. The argument table, which may hold the command that ends it, is left
    /// alone.
    pub(in crate::server) fn release(&mut self, memory: &mut QueueMemory<'_>) {
        if self.has_large {
            let bytes = self.queue.readable(memory.arena);
            let mut at = 0;
            while at < bytes.len() {
                let mut rest = word(bytes, at + 4);
                at += HEAD_BYTES;
                while rest > 0 {
                    let len = word(bytes, at);
                    if len == LARGE {
                        let id = LargeId(word(bytes, at + 4));
                        memory.store.large_release(LargeRef::from_raw(id));
                    }
                    at += if len == LARGE { 8 } else { 4 + len as usize };
                    rest -= 1;
                }
            }
        }
        if let Some(spill) = self.spill.take() {
            release_spill(spill, self.has_large, memory);
        }
        self.queue.release(memory.arena);
        self.watched.release(memory.arena);
        *self = Transaction::default();
    }
}

/// Puts the arguments of the entry at the front of `bytes`, which is at position `base` of its ring, into the table;
/// the entry's length.
fn load_entry(bytes: &[u8], base: usize, table: &mut ArgTable, mut large: impl FnMut(LargeId)) -> usize {
    table.reset();
    let mut at = HEAD_BYTES;
    for _ in 0..word(bytes, 4) {
        let len = word(bytes, at);
        if len == LARGE {
            let id = LargeId(word(bytes, at + 4));
            table.push_large(Some(id));
            large(id);
            at += 8;
        } else {
            table.push(base + at + 4, len as usize);
            at += 4 + len as usize;
        }
    }
    HEAD_BYTES + word(bytes, 0) as usize
}

/// Gives back a spill, and the references in it if it has any.
pub(super) fn release_spill(spill: LargeRef, has_large: bool, memory: &mut QueueMemory<'_>) {
    let mut cursor = LargeCursor::new(spill.id(), 0);
    let mut head = [0; HEAD_BYTES];
    while has_large && read(memory.store, &mut cursor, &mut head) {
        for _ in 0..word(&head, 4) {
            let mut field = [0; 4];
            let whole = read(memory.store, &mut cursor, &mut field);
            match word(&field, 0) {
                LARGE => {
                    let whole = read(memory.store, &mut cursor, &mut field);
                    memory.store.large_release(LargeRef::from_raw(LargeId(word(&field, 0))));
                    debug_assert!(whole, "an entry is whole");
                }
                len => cursor.advance(len as usize),
            }
            debug_assert!(whole, "an entry is whole");
        }
    }
    *memory.spilled_bytes -= memory.store.large_len(spill.id());
    memory.store.large_release(spill);
}

/// Reads exactly as many bytes as `into` has; false at the end.
fn read(store: &Store, cursor: &mut LargeCursor, into: &mut [u8]) -> bool {
    let mut at = 0;
    while at < into.len() {
        let piece = store.large_slice(cursor);
        if piece.is_empty() {
            return false;
        }
        let len = piece.len().min(into.len() - at);
        into[at..at + len].copy_from_slice(&piece[..len]);
        cursor.advance(len);
        at += len;
    }
    true
}

/// Room for `len` more bytes in a straight ring.
fn make_room(ring: &mut Ring, len: usize, arena: &mut Arena) -> bool {
    // As short as it can be, for all clients' transactions share this memory and most are short.
    ring.free() >= len || ring.grow(arena, (ring.len() + len).next_power_of_two())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
