//! MULTI, EXEC, DISCARD, WATCH and UNWATCH. Commands wait in a ring of their own, in a form that fills the argument
//! table without parsing; watched keys wait beside the revision that they had, and EXEC compares. A key that was absent
//! waits beside the store's revision of that moment: EXEC asks whether it may have come and gone since.
//!
//! ```text
//! queue    | bytes u32 | count u32 | len u32 | argument ... | LARGE u32 | id u32 | ...     one entry for each command
//! watched  | database u8 | revision u64 | len u16 | key ...                              one entry for each key
//! ```

use super::{Server, Source};
use crate::buffer::arena::Arena;
use crate::buffer::ring::Ring;
use crate::command::{Verb, VerbId};
use crate::connection::{ConnectionId, Phase, Transaction};
use crate::engine::{Flow, session::ReplyMode};
use crate::mutant::{self, Mutant};
use crate::mutation::{Database, LargeId, Revision};
use crate::reply::{Error, ErrorKind, Part};
use crate::time::{Millis, Now};
use crate::wire::arguments::{Arg, ArgTable, Args};
use crate::wire::encode::Out;

/// Stands for a length where an argument is a large value.
const LARGE: u32 = u32::MAX;
/// Set in the revision of a watched key that was absent; the rest is the store's latest.
const WATCHED_ABSENT: u64 = 1 << 63;
/// Commands that MULTI queues, at most.
const QUEUED_MAX: u32 = 65_536;

/// Whether a verb is run at once although a transaction is open.
pub(super) fn runs_at_once(verb: &Verb) -> bool {
    use VerbId::{Discard, Exec, Multi, Quit, Reset, Watch};
    matches!(verb.id, Exec | Discard | Multi | Watch | Quit | Reset)
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
        queues: &mut Arena,
    ) -> Result<(), Error<'static>> {
        let body_len: usize = args
            .iter()
            .map(|arg| match arg {
                Arg::Bytes(bytes) => 4 + bytes.len(),
                Arg::Large(_) | Arg::Refused => 8,
            })
            .sum();
        if self.queued_count >= QUEUED_MAX || !make_room(&mut self.queue, 8 + body_len, queues) {
            return Err(ErrorKind::QueueFull.of_both(Part::Number(queues.capacity() as u64), Part::Number(0)));
        }
        append(&mut self.queue, &(body_len as u32).to_le_bytes(), queues);
        append(&mut self.queue, &(args.len() as u32).to_le_bytes(), queues);
        for arg in args.iter() {
            match arg {
                Arg::Bytes(bytes) => {
                    append(&mut self.queue, &(bytes.len() as u32).to_le_bytes(), queues);
                    append(&mut self.queue, bytes, queues);
                }
                Arg::Large(LargeId(id)) => {
                    append(&mut self.queue, &LARGE.to_le_bytes(), queues);
                    append(&mut self.queue, &id.to_le_bytes(), queues);
                }
                Arg::Refused => {
                    unreachable!("a command with a refused argument is answered before it is queued")
                }
            }
        }
        self.queued_count += 1;
        self.flags = self.flags.with(verb.flags);
        Ok(())
    }

    /// Puts the first queued command's arguments into the table and calls `large` for each large one; the length of
    /// the entry comes back.
    fn load(&self, table: &mut ArgTable, queues: &Arena, mut large: impl FnMut(LargeId)) -> usize {
        let bytes = self.queue.readable(queues);
        let body_len = word(bytes, 0) as usize;
        table.reset();
        let mut at = 8;
        for _ in 0..word(bytes, 4) {
            let len = word(bytes, at);
            if len == LARGE {
                let id = LargeId(word(bytes, at + 4));
                table.push_large(Some(id));
                large(id);
                at += 8;
            } else {
                table.push(at + 4, len as usize);
                at += 4 + len as usize;
            }
        }
        8 + body_len
    }
}

impl Server {
    pub(super) fn multi(&mut self, id: ConnectionId) -> Flow {
        let transaction = &mut self.connections[id.index as usize].transaction;
        if transaction.open {
            return self.fail(id, VerbId::Multi, ErrorKind::NestedMulti);
        }
        transaction.open = true;
        self.answer(id, |out| out.ok())
    }

    pub(super) fn discard(&mut self, id: ConnectionId) -> Flow {
        if !self.connections[id.index as usize].transaction.open {
            return self.fail(id, VerbId::Discard, ErrorKind::DiscardWithoutMulti);
        }
        self.drop_transaction(id);
        self.answer(id, |out| out.ok())
    }

    pub(super) fn unwatch(&mut self, id: ConnectionId) -> Flow {
        let Server { connections, queues, .. } = self;
        connections[id.index as usize].transaction.watched.release(queues);
        self.answer(id, |out| out.ok())
    }

    /// WATCH: the argument table holds the command.
    pub(super) fn watch(&mut self, id: ConnectionId, source: Source, now: Now) -> Flow {
        let Server { engine, connections, input, args, queues, .. } = self;
        let connection = &mut connections[id.index as usize];
        if connection.transaction.open {
            return self.fail(id, VerbId::Watch, ErrorKind::WatchInsideMulti);
        }
        let Source::Input { len } = source else { return Flow::Done };
        let args = args.args(&connection.input.readable(input)[..len]);
        let database = connection.session.db;
        let mut error = None;
        for arg in args.from(1).iter() {
            let Arg::Bytes(key) = arg else {
                error = Some(ErrorKind::ArgumentTooLong);
                break;
            };
            // One that has expired is removed now, so that EXEC does not take its removal for a change.
            engine.store.expire_if_due(database, key, now.unix);
            let found = engine.store.get(database, key, now.unix).map(|entry| entry.revision.0);
            let revision = found.unwrap_or_else(|| engine.store.revision().0 | WATCHED_ABSENT);
            let watched = &mut connection.transaction.watched;
            if !make_room(watched, 11 + key.len(), queues) {
                error = Some(ErrorKind::WatchFull);
                break;
            }
            append(watched, &[database.0], queues);
            append(watched, &revision.to_le_bytes(), queues);
            append(watched, &(key.len() as u16).to_le_bytes(), queues);
            append(watched, key, queues);
        }
        match error {
            Some(error) => self.fail(id, VerbId::Watch, error),
            None => self.answer(id, |out| out.ok()),
        }
    }

    /// EXEC: every queued command in one go, or none.
    pub(super) fn exec(&mut self, id: ConnectionId, now: Now) -> Flow {
        let transaction = &self.connections[id.index as usize].transaction;
        if !transaction.open {
            return self.fail(id, VerbId::Exec, ErrorKind::ExecWithoutMulti);
        }
        if transaction.dirty {
            self.drop_transaction(id);
            return self.fail(id, VerbId::Exec, ErrorKind::ExecAborted);
        }
        if self.watched_has_changed(id, now) {
            self.drop_transaction(id);
            return self.answer(id, |out| out.null_array());
        }
        let count = self.connections[id.index as usize].transaction.queued_count;
        self.answer(id, |out| out.array(count as usize));
        let mut flow = Flow::Done;
        let mode = self.connections[id.index as usize].session.reply_mode;
        let mut skip_next = false;
        // Consumers of the change feed see the whole of it, or nothing.
        self.engine.store.begin_group();
        for _ in 0..count {
            if self.run_queued(id, now) == Flow::Close {
                flow = Flow::Close;
            }
            // CLIENT REPLY SKIP, before EXEC or queued, counts EXEC as one command: its array stays whole, or away.
            let session = &mut self.connections[id.index as usize].session;
            match session.reply_mode {
                ReplyMode::Skip if mode != ReplyMode::Skip => {
                    session.reply_mode = mode;
                    skip_next = true;
                }
                ReplyMode::On if mode == ReplyMode::Skip => session.reply_mode = mode,
                _ => {}
            }
        }
        self.engine.store.end_group();
        if skip_next {
            self.connections[id.index as usize].session.reply_mode = ReplyMode::SkipNext;
        }
        self.drop_transaction(id);
        flow
    }

    /// Runs the command at the front of the queue to its end, and drops it.
    fn run_queued(&mut self, id: ConnectionId, now: Now) -> Flow {
        let mut flow = Flow::Done;
        loop {
            let Server { connections, args, queues, .. } = self;
            let transaction = &connections[id.index as usize].transaction;
            transaction.load(args, queues, |_| {});
            let Some(verb) = crate::command::resolve(&args.spans(transaction.queue.readable(queues))) else {
                break;
            };
            flow = match self.execute(id, verb, Source::Queue, now) {
                Flow::Yield(job) => {
                    let connection = &mut self.connections[id.index as usize];
                    connection.set_phase(Phase::Replying(job));
                    let protocol = connection.session.protocol;
                    let mut out = Out::new(&mut connection.output, &mut self.output, protocol);
                    if out.make_room(crate::limits::REPLY_ROOM_BYTES) {
                        continue;
                    }
                    // The output has overflowed: `finish` closes the connection.
                    let _ = connection.take_continuation();
                    self.engine.abandon(job);
                    flow
                }
                ended => ended,
            };
            break;
        }
        let Server { engine, connections, args, queues, .. } = self;
        let transaction = &mut connections[id.index as usize].transaction;
        let len = transaction.load(args, queues, |large| engine.store.large_release(large));
        transaction.queue.consume(len);
        flow
    }

    /// Whether a watched key is not what it was. Those that have expired are removed now, so that it is seen of one that
    /// came and expired since.
    fn watched_has_changed(&mut self, id: ConnectionId, now: Now) -> bool {
        let Server { engine, connections, queues, .. } = self;
        let watched = connections[id.index as usize].transaction.watched.readable(queues);
        // Time 0 is before any expiry.
        let unix = if mutant::is_on(Mutant::WatchMissesExpiry) { Millis(0) } else { now.unix };
        let mut rest = watched;
        while let [database, tail @ ..] = rest {
            let (revision, tail) = tail.split_at(8);
            let (len, tail) = tail.split_at(2);
            let (key, tail) = tail.split_at(usize::from(u16::from_le_bytes([len[0], len[1]])));
            let then = u64::from_le_bytes(revision.try_into().expect("split at 8"));
            engine.store.expire_if_due(Database(*database), key, unix);
            let changed = match engine.store.get(Database(*database), key, unix) {
                Some(entry) => entry.revision.0 != then,
                None if then & WATCHED_ABSENT == 0 => true,
                None => engine.store.maybe_removed_since(key, Revision(then & !WATCHED_ABSENT)),
            };
            if changed {
                return true;
            }
            rest = tail;
        }
        false
    }

    /// Ends a connection's transaction without running it.
    pub(super) fn drop_transaction(&mut self, id: ConnectionId) {
        let Server { engine, connections, queues, .. } = self;
        let transaction = &mut connections[id.index as usize].transaction;
        release(transaction, queues, |large| engine.store.large_release(large));
    }
}

/// Gives back all that a transaction holds. The argument table, which may hold the command that ends it, is left alone.
pub(super) fn release(transaction: &mut Transaction, queues: &mut Arena, mut unpin: impl FnMut(LargeId)) {
    let bytes = transaction.queue.readable(queues);
    let mut at = 0;
    while at < bytes.len() {
        let count = word(bytes, at + 4);
        at += 8;
        for _ in 0..count {
            let len = word(bytes, at);
            if len == LARGE {
                unpin(LargeId(word(bytes, at + 4)));
                at += 8;
            } else {
                at += 4 + len as usize;
            }
        }
    }
    transaction.queue.release(queues);
    transaction.watched.release(queues);
    *transaction = Transaction::default();
}

/// Room for `len` more bytes in a straight ring.
fn make_room(ring: &mut Ring, len: usize, queues: &mut Arena) -> bool {
    // As short as it can be, for all clients' transactions share this memory and most are short.
    ring.free() >= len || ring.grow(queues, (ring.len() + len).next_power_of_two())
}

/// Appends where there is room.
fn append(ring: &mut Ring, bytes: &[u8], queues: &mut Arena) {
    let written = ring.write(queues, bytes);
    debug_assert!(written, "room was made");
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
