//! MULTI, EXEC, DISCARD, WATCH and UNWATCH. Commands wait in a queue ([`queue`]); watched keys wait beside the revision that
//! they had, and EXEC compares. A key that was absent waits beside the store's revision of that moment: EXEC asks whether
//! it may have come and gone since.
//!
//! ```text
//! watched  | database u8 | revision u64 | len u16 | key ...                              one entry for each key
//! ```
//! **Whole or not at all.** A command that takes memory is refused when it is queued if the store has no room for it, as
//! in Redis, and EXEC refuses all of them if they cannot fit together. (What only the run can tell, such as the length
//! that APPEND comes to, may still fail one command of many.)
//!
//! **Memory.** A queue begins in the memory that transactions share and goes on in the store. A transaction that makes
//! no progress for [`STALLED_MS`] loses what it holds as soon as another one needs it, and at once where it goes on in the
//! store, whose memory is for keys; the error of its EXEC says so.

pub(super) mod queue;

use super::{Server, Source, prepare::Prepared};
use crate::command::{Flags, Verb, VerbId};
use crate::connection::{Connection, ConnectionId};
use crate::engine::meter::{KEY_UNITS, Meter};
use crate::engine::{Flow, demand};
use crate::limits::REPLY_ROOM_BYTES;
use crate::mutant::{self, Mutant};
use crate::mutation::{Database, LargeRef, Revision};
use crate::reply::{Error, ErrorKind, Part};
use crate::store::LargeCursor;
use crate::time::{Millis, Now};
use crate::wire::arguments::Arg;
use crate::wire::encode::Out;
use queue::{NotQueued, QueueMemory, SPILL_SHARE};

/// Set in the revision of a watched key that was absent; the rest is the store's latest.
const WATCHED_ABSENT: u64 = 1 << 63;
/// A transaction without progress for so long gives way to others.
pub(super) const STALLED_MS: u64 = 10_000;
/// Connections that are looked at for one unit of work.
const LOOKED_AT_PER_UNIT: u32 = 16;

/// Whether a verb is run at once although a transaction is open.
pub(super) fn runs_at_once(verb: &Verb) -> bool {
    use VerbId::{Discard, Exec, Multi, Quit, Reset, Watch};
    matches!(verb.id, Exec | Discard | Multi | Watch | Quit | Reset)
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
        let transaction = &mut connections[id.index as usize].transaction;
        transaction.watched.release(queues);
        transaction.reclaimed &= transaction.open;
        self.answer(id, |out| out.ok())
    }

    /// Queues the command of `len` bytes that the argument table holds, or refuses it.
    pub(super) fn queue_command(
        &mut self,
        id: ConnectionId,
        verb: &'static Verb,
        len: usize,
        now: Now,
    ) -> Prepared {
        let mut queued = self.try_queue(id, verb, len, now);
        let exhausted = Refusal::NotQueued(NotQueued::Exhausted);
        if queued.as_ref().err() == Some(&exhausted) && self.reclaim_stalled(id, now.monotonic) {
            queued = self.try_queue(id, verb, len, now);
        }
        let refusal = match queued {
            Ok(prepared) => return prepared,
            Err(refusal) => refusal,
        };
        let Server { engine, connections, output, queues, queued_in_store_bytes, .. } = self;
        let connection = &mut connections[id.index as usize];
        connection.transaction.dirty = true;
        let error = match refusal {
            Refusal::NotAllowed => ErrorKind::NotInsideMulti.plain(),
            Refusal::NotQueued(NotQueued::TooLong) => {
                let limit = queues.capacity() as u64 / 2;
                ErrorKind::QueueFull.of_both(Part::Number(limit), Part::Number(0))
            }
            Refusal::NotQueued(NotQueued::Exhausted) => {
                let store_bytes = engine.store.config().memory_bytes as u64;
                let held = queues.used() as u64 + *queued_in_store_bytes;
                let limit = queues.capacity() as u64 + store_bytes / SPILL_SHARE;
                ErrorKind::QueuesExhausted.of_both(Part::Number(held), Part::Number(limit))
            }
            Refusal::StoreFull | Refusal::NotQueued(NotQueued::StoreFull) => ErrorKind::Full.plain(),
        };
        let mut out = Out::new(&mut connection.output, output, connection.session.protocol);
        engine.refuse(&mut connection.session, Some(verb.id), &error, &mut out);
        Prepared::Answered
    }

    fn try_queue(
        &mut self,
        id: ConnectionId,
        verb: &'static Verb,
        len: usize,
        now: Now,
    ) -> Result<Prepared, Refusal> {
        let Server { engine, connections, input, output, args, queues, queued_in_store_bytes, .. } = self;
        let connection = &mut connections[id.index as usize];
        let args = args.args(&connection.input.readable(input)[..len]);
        if verb.flags.has(Flags::NO_MULTI) {
            return Err(Refusal::NotAllowed);
        }
        let transaction = &mut connection.transaction;
        // EXEC will refuse: there is no sense in keeping more of it. Redis answers QUEUED all the same.
        let is_kept = !transaction.dirty && !transaction.reclaimed;
        if is_kept {
            let needed = demand::needed_bytes(verb, &args);
            let db = connection.session.db;
            if needed > 0 && !engine.has_room(db, verb, &args, now.unix) {
                return Err(Refusal::StoreFull);
            }
            let store = &mut engine.store;
            let mut memory =
                QueueMemory { arena: queues, store, spilled_bytes: queued_in_store_bytes, now: now.unix };
            transaction.enqueue(verb, &args, &mut memory).map_err(Refusal::NotQueued)?;
            transaction.needed_bytes = transaction.needed_bytes.saturating_add(needed);
            if verb.id == VerbId::Keys {
                // Within a transaction it walks over all of them in one step.
                let len = engine.store.len(connection.session.db);
                transaction.key_count =
                    transaction.key_count.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
            }
        }
        let mut out = Out::new(&mut connection.output, output, connection.session.protocol);
        out.mute(connection.session.is_muted());
        out.simple("QUEUED");
        connection.session.finished();
        // The references of large arguments have moved to the queue, or are the command's still.
        Ok(if is_kept { Prepared::Queued } else { Prepared::Answered })
    }

    /// Takes back the memory of the transaction, or of the watched keys, of the client that has shown no sign of life
    /// for longest, if that is too long. False: there is none.
    fn reclaim_stalled(&mut self, asking: ConnectionId, now: Millis) -> bool {
        let looked_at = self.connections.len() as u32 / LOOKED_AT_PER_UNIT;
        self.engine.meter.charge(looked_at);
        let stalled = self.connections.iter().filter(|(index, connection)| {
            let transaction = &connection.transaction;
            *index != asking.index as usize
                && now.since(connection.active) >= STALLED_MS
                && (transaction.queue.is_attached() || transaction.watched.is_attached())
        });
        let Some((index, _)) = stalled.min_by_key(|(_, connection)| connection.active) else { return false };
        let generation = self.connections[index].generation;
        self.reclaim(ConnectionId { index: index as u32, generation });
        true
    }

    /// Takes back what a client's transaction holds; its EXEC will say so.
    pub(super) fn reclaim(&mut self, id: ConnectionId) {
        let open = self.connections[id.index as usize].transaction.open;
        self.drop_transaction(id);
        let connection = &mut self.connections[id.index as usize];
        (connection.transaction.open, connection.transaction.reclaimed) = (open, true);
        log::info!(
            peer:% = connection.peer, reason = "transaction-stalled";
            "{}: its transaction made no progress and lost its memory",
            connection.peer
        );
    }

    /// WATCH: the argument table holds the command.
    pub(super) fn watch(&mut self, id: ConnectionId, source: Source, now: Now) -> Flow {
        if self.connections[id.index as usize].transaction.open {
            return self.fail(id, VerbId::Watch, ErrorKind::WatchInsideMulti);
        }
        let Source::Input { len } = source else { return Flow::Done };
        let mut first = 1;
        while !self.watch_from(id, &mut first, len, now) {
            if !self.reclaim_stalled(id, now.monotonic) {
                return self.fail(id, VerbId::Watch, ErrorKind::WatchFull);
            }
        }
        self.answer(id, |out| out.ok())
    }

    /// Watches the keys from argument `first` on. False: there is no room for the one that `first` is now.
    fn watch_from(&mut self, id: ConnectionId, first: &mut usize, len: usize, now: Now) -> bool {
        let Server { engine, connections, input, args, queues, .. } = self;
        let connection = &mut connections[id.index as usize];
        let args = args.args(&connection.input.readable(input)[..len]);
        let database = connection.session.db;
        for arg in args.from(*first).iter() {
            // A large argument is longer than any key, so it names none that could change.
            if let Arg::Bytes(key) = arg
                && key.len() <= crate::limits::KEY_BYTES_MAX
            {
                // One that has expired is removed now, so that EXEC does not take its removal for a change.
                engine.store.expire_if_due(database, key, now.unix);
                let found = engine.store.get(database, key, now.unix).map(|entry| entry.revision.0);
                let revision = found.unwrap_or_else(|| engine.store.revision().0 | WATCHED_ABSENT);
                let key_len = (key.len() as u16).to_le_bytes();
                let parts = [&[database.0], &revision.to_le_bytes()[..], &key_len, key];
                if !connection.transaction.watch(parts, queues) {
                    return false;
                }
            }
            *first += 1;
        }
        true
    }

    /// EXEC: every queued command in one go, or none.
    pub(super) fn exec(&mut self, id: ConnectionId, now: Now) -> Flow {
        let transaction = &self.connections[id.index as usize].transaction;
        let error = if !transaction.open {
            return self.fail(id, VerbId::Exec, ErrorKind::ExecWithoutMulti);
        } else if transaction.dirty {
            Some(ErrorKind::ExecAborted)
        } else if transaction.reclaimed {
            Some(ErrorKind::ExecReclaimed)
        } else if self.watched_has_changed(id, now) {
            self.drop_transaction(id);
            return self.answer(id, |out| out.null_array());
        } else if !self.fits(id, now) {
            Some(ErrorKind::ExecFull)
        } else {
            None
        };
        let error = match error {
            Some(error) => Some(error.plain()),
            None => {
                let key_count = self.connections[id.index as usize].transaction.key_count as usize;
                let refused = self.engine.check_step(key_count).err();
                refused.map(|error| Error { kind: ErrorKind::ExecTooLarge, ..error })
            }
        };
        if let Some(error) = error {
            self.drop_transaction(id);
            return self.fail_with(id, VerbId::Exec, &error);
        }
        let count = self.connections[id.index as usize].transaction.queued_count;
        self.answer(id, |out| out.array(count as usize));
        // One step, whatever it takes: nothing in it yields. What it took is charged at its end.
        let before = std::mem::replace(&mut self.engine.meter, Meter::new(u32::MAX));
        // Consumers of the change feed see the whole of it, or nothing.
        self.engine.store.begin_group();
        self.pubsub.in_exec = Some(id);
        let flow = self.run_queue(id, now);
        self.pubsub.in_exec = None;
        self.engine.store.end_group();
        let used = u32::MAX - self.engine.meter.left();
        self.engine.meter = before;
        self.engine.charge_step(used);
        self.drop_transaction(id);
        flow
    }

    /// Runs all that is queued.
    fn run_queue(&mut self, id: ConnectionId, now: Now) -> Flow {
        let transaction = &mut self.connections[id.index as usize].transaction;
        let spill = transaction.spill.take();
        let mut cursor = spill.as_ref().map(|spill| LargeCursor::new(spill.id(), 0));
        let mut flow = Flow::Done;
        loop {
            let Server { engine, connections, queues, queued_in_store_bytes, .. } = self;
            let Connection { transaction, session, .. } = &mut connections[id.index as usize];
            if let Some(cursor) = cursor.as_mut().filter(|_| transaction.queue.is_empty()) {
                let store = &mut engine.store;
                let spilled_bytes = queued_in_store_bytes;
                transaction
                    .refill(cursor, &mut QueueMemory { arena: queues, store, spilled_bytes, now: now.unix });
            }
            if transaction.queue.is_empty() {
                break;
            }
            // CLIENT REPLY SKIP before EXEC counts it as one command: its array is away as a whole.
            let mode = session.reply_mode;
            if self.run_queued(id, now) == Flow::Close {
                flow = Flow::Close;
            }
            self.connections[id.index as usize].session.reply_mode = mode;
        }
        if let Some(spill) = spill {
            let Server { engine, queues, queued_in_store_bytes, .. } = self;
            let store = &mut engine.store;
            let spilled_bytes = queued_in_store_bytes;
            let mut memory = QueueMemory { arena: queues, store, spilled_bytes, now: now.unix };
            // The references in it were released as its commands ran.
            queue::release_spill(spill, false, &mut memory);
        }
        flow
    }

    /// Runs the command at the front of the queue to its end, and drops it.
    fn run_queued(&mut self, id: ConnectionId, now: Now) -> Flow {
        let (mut flow, mut from) = (Flow::Done, None);
        loop {
            let Server { connections, args, queues, .. } = self;
            let transaction = &connections[id.index as usize].transaction;
            transaction.load(args, queues, |_| {});
            let Some(verb) = crate::command::resolve(&args.spans(transaction.queue.readable(queues))) else {
                break;
            };
            // Not in the connection's phase: it may have begun to drain, for what its own commands had it sent.
            flow = match self.execute_from(id, verb, Source::Queue, from.take(), now) {
                Flow::Yield(continuation) => {
                    let connection = &mut self.connections[id.index as usize];
                    let protocol = connection.session.protocol;
                    let mut out = Out::new(&mut connection.output, &mut self.output, protocol);
                    if out.make_room(REPLY_ROOM_BYTES) {
                        from = Some(continuation);
                        continue;
                    }
                    // The output has overflowed: `finish` closes the connection.
                    self.engine.abandon(continuation);
                    Flow::Done
                }
                ended => ended,
            };
            break;
        }
        let Server { engine, connections, args, queues, .. } = self;
        let transaction = &mut connections[id.index as usize].transaction;
        let len = transaction.load(args, queues, |id| engine.store.large_release(LargeRef::from_raw(id)));
        transaction.queue.consume(len);
        flow
    }

    /// Whether the store has room for all that is queued.
    fn fits(&mut self, id: ConnectionId, now: Now) -> bool {
        let Server { engine, connections, args, queues, .. } = self;
        let Connection { transaction, session, .. } = &connections[id.index as usize];
        let needed = transaction.needed_bytes;
        if needed == 0 || engine.fits(needed, 0, now.unix) {
            return true;
        }
        // What the queued commands replace matters. What waits in the store itself is not looked at: it is long.
        let mut replaced = 0;
        transaction.each(args, queues, |verb, args| {
            replaced += demand::replaced_bytes(&engine.store, session.db, verb, args);
        });
        engine.fits(needed, replaced, now.unix)
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
            engine.meter.charge(KEY_UNITS);
            let (revision, tail) = tail.split_at(8);
            let (len, tail) = tail.split_at(2);
            let (key, tail) = tail.split_at(usize::from(u16::from_le_bytes([len[0], len[1]])));
            let then = u64::from_le_bytes(revision.try_into().expect("split at 8"));
            engine.store.expire_if_due(Database(*database), key, unix);
            let changed = match engine.store.get(Database(*database), key, unix) {
                Some(entry) => entry.revision.0 != then,
                None if then & WATCHED_ABSENT == 0 => true,
                None => engine.store.maybe_came_and_went_since(
                    Database(*database),
                    key,
                    Revision(then & !WATCHED_ABSENT),
                ),
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
        let Server { engine, connections, queues, queued_in_store_bytes, .. } = self;
        let transaction = &mut connections[id.index as usize].transaction;
        let store = &mut engine.store;
        let spilled_bytes = queued_in_store_bytes;
        transaction.release(&mut QueueMemory { arena: queues, store, spilled_bytes, now: Millis(0) });
    }
}

/// Why a command is not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It may not stand between MULTI and EXEC.
    NotAllowed,
    /// The store has no room for what it would write.
    StoreFull,
    NotQueued(NotQueued),
}
