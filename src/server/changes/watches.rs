//! WATCHPREFIX: every change of the keys with a prefix, with its revision, and over a lost connection.
//!
//! ```text
//!  feed  … | put a:1 | del b | put a:2 | put a:3 |          a watch is a place in it, from which it goes on
//!                     ^ watch 1                   ^ watch 2
//! ```
//! A watch reads the feed at its own pace: while its client takes nothing, it stays where it is. What the client has not
//! been sent waits in the feed and nowhere else. When the feed has overwritten that, the watch ends, and the client is told
//! which revision the feed still reaches back to. So a client gets every change once and in order, or learns that it did not.
//!
//! `WATCHPREFIX prefix FROM revision` begins behind a revision that the client has seen: so it goes on after a reconnect.
//! Without `FROM` the reply says at which revision the watch begins: what the client reads after that is at least as new, and
//! `GETREV` says how new. The first watch turns the feed on, and it stays on, so that there is something to come back to.

use super::events;
use crate::command::VerbId;
use crate::connection::ConnectionId;
use crate::engine::Flow;
use crate::limits::RING_BYTES;
use crate::mutant::{self, Mutant};
use crate::mutation::{Change, Database, Effect, Revision};
use crate::reply::{ErrorKind, Part};
use crate::server::holds::Holds;
use crate::server::pubsub::{Name, NamePool, PubsubStep};
use crate::server::{Server, Source};
use crate::store::Store;
use crate::store::feed::{Compacted, FeedCursor, FeedPosition, WhenBehind};
use crate::time::Now;
use crate::wire::arguments::Args;
use crate::wire::number::{INTEGER_BYTES_MAX, parse_i64, write_u64};
use slab::Slab;

/// Watches at once, at most: each looks at every change.
const WATCHES_MAX: usize = 1024;
/// Bytes of a prefix, at most.
const PREFIX_BYTES_MAX: usize = 1024;
/// Bytes of all prefixes.
const NAMES_BYTES: usize = 128 * 1024;
/// A client that has this much to take is not sent more: the rest waits in the feed.
const WAITING_BYTES_MAX: u64 = 2 * RING_BYTES as u64;

/// One watch.
struct Watch {
    connection: ConnectionId,
    db: Database,
    prefix: Name,
    position: FeedPosition,
    /// Changes that it still asks for.
    left: u64,
}

/// All watches.
pub(in crate::server) struct Watches {
    rows: Slab<Watch>,
    names: NamePool,
    /// Keeps the feed on from the first watch on.
    keeper: Option<FeedCursor>,
    /// Rows that were ever taken.
    end: usize,
    /// The row that is served next.
    next: usize,
    /// A message, encoded.
    text: Vec<u8>,
}

impl Watches {
    pub(super) fn new() -> Watches {
        Watches {
            rows: Slab::with_capacity(WATCHES_MAX),
            names: NamePool::new(NAMES_BYTES),
            keeper: None,
            end: 0,
            next: 0,
            text: Vec::with_capacity(crate::limits::KEY_BYTES_MAX + PREFIX_BYTES_MAX + 256),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        !self.rows.is_empty()
    }

    /// How many watches there are.
    #[cfg(test)]
    pub(in crate::server) fn count(&self) -> usize {
        self.rows.len()
    }

    fn remove(&mut self, row: usize) {
        let watch = self.rows.remove(row);
        self.names.release(watch.prefix);
    }

    fn rows_of(&self, id: ConnectionId) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().filter(move |(_, watch)| watch.connection == id).map(|(row, _)| row)
    }
}

/// What WATCHPREFIX asks for.
struct Request {
    from: Option<Revision>,
    limit: u64,
}

impl Request {
    fn parse(args: &Args<'_>) -> Option<Request> {
        let mut request = Request { from: None, limit: u64::MAX };
        let mut at = 2;
        while at < args.len() {
            let number =
                args.bytes(at + 1).and_then(parse_i64).and_then(|number| u64::try_from(number).ok())?;
            match args.bytes(at) {
                Some(word) if word.eq_ignore_ascii_case(b"from") => request.from = Some(Revision(number)),
                Some(word) if word.eq_ignore_ascii_case(b"limit") && number > 0 => request.limit = number,
                _ => return None,
            }
            at += 2;
        }
        Some(request)
    }
}

/// What a watch comes to.
enum Found {
    /// A message is encoded, for this client.
    Message,
    /// A change that is not for it.
    Other,
    End,
    Compacted(Revision),
}

impl Server {
    /// `WATCHPREFIX prefix [FROM revision] [LIMIT count]`, `UNWATCHPREFIX [prefix]`
    pub(in crate::server) fn execute_watch(&mut self, verb: VerbId, step: PubsubStep) -> Flow {
        self.engine.metrics.called(verb);
        let flow =
            if verb == VerbId::Watchprefix { self.watch_prefix(step) } else { self.unwatch_prefix(step) };
        self.connections[step.id.index as usize].session.finished();
        flow
    }

    fn watch_prefix(&mut self, step: PubsubStep) -> Flow {
        let id = step.id;
        let Server { engine, connections, input, queues, args, changes, .. } = self;
        let connection = &connections[id.index as usize];
        let args = match step.source {
            Source::Input { len } => args.args(&connection.input.readable(input)[..len]),
            Source::Queue => args.spans(connection.transaction.queue.readable(queues)),
        };
        let watches = &mut changes.watches;
        let (Some(prefix), Some(request)) = (args.bytes(1), Request::parse(&args)) else {
            return self.fail(id, VerbId::Watchprefix, ErrorKind::Syntax);
        };
        if prefix.len() > PREFIX_BYTES_MAX {
            let both = (Part::Number(prefix.len() as u64), Part::Number(PREFIX_BYTES_MAX as u64));
            let error = ErrorKind::ChannelTooLong.of_both(both.0, both.1);
            return self.fail_with(id, VerbId::Watchprefix, &error);
        }
        if watches.keeper.is_none() {
            watches.keeper = engine.store.feed_open(WhenBehind::Missed);
        }
        let store = &engine.store;
        let latest = store.revision();
        let from = request.from.unwrap_or(latest);
        // The whole of the ring may be looked at.
        engine.meter.charge(store.feed_use().capacity as u32 / 4096);
        let late = u64::from(mutant::is_on(Mutant::ResumesLate) && request.from.is_some() && from < latest);
        // A revision that is still to come is one of another run of the server.
        let since = if from > latest {
            Err(Compacted { floor: latest })
        } else {
            store.feed_since(Revision(from.0 + late))
        };
        let position = match since {
            Ok(position) => position,
            Err(Compacted { floor }) => {
                let error = ErrorKind::Compacted.of_both(Part::Number(floor.0), Part::Number(floor.0));
                return self.fail_with(id, VerbId::Watchprefix, &error);
            }
        };
        let is_full = watches.rows.len() == WATCHES_MAX;
        let Some(name) = (!is_full).then(|| watches.names.insert(prefix)).flatten() else {
            return self.fail(id, VerbId::Watchprefix, ErrorKind::WatchesFull);
        };
        let db = connection.session.db;
        let row =
            watches.rows.insert(Watch { connection: id, db, prefix: name, position, left: request.limit });
        watches.end = watches.end.max(row + 1);
        self.connections[id.index as usize].is_watching = true;
        self.confirm_watch(id, "watchprefix", Some(name), from.0)
    }

    fn unwatch_prefix(&mut self, step: PubsubStep) -> Flow {
        let id = step.id;
        let Server { connections, input, queues, args, changes, .. } = self;
        let connection = &connections[id.index as usize];
        let args = match step.source {
            Source::Input { len } => args.args(&connection.input.readable(input)[..len]),
            Source::Queue => args.spans(connection.transaction.queue.readable(queues)),
        };
        let watches = &mut changes.watches;
        if args.len() > 2 {
            return self.fail(id, VerbId::Unwatchprefix, ErrorKind::Syntax);
        }
        let wanted = args.bytes(1);
        for row in 0..watches.end {
            let is_meant = watches.rows.get(row).is_some_and(|watch| {
                watch.connection == id && wanted.is_none_or(|wanted| watches.names.is(watch.prefix, wanted))
            });
            if is_meant {
                watches.remove(row);
            }
        }
        let left = watches.rows_of(id).count() as u64;
        self.connections[id.index as usize].is_watching = left > 0;
        self.confirm_watch(id, "unwatchprefix", None, left)
    }

    fn confirm_watch(&mut self, id: ConnectionId, word: &str, prefix: Option<Name>, number: u64) -> Flow {
        let Server { connections, output, changes, .. } = self;
        let connection = &mut connections[id.index as usize];
        let mut out =
            crate::wire::encode::Out::new(&mut connection.output, output, connection.session.protocol);
        out.push(3);
        out.bulk(word.as_bytes());
        match prefix {
            Some(name) => {
                out.bulk_header(name.len());
                changes.watches.names.pieces(name).for_each(|piece| out.raw(piece));
                out.raw(b"\r\n");
            }
            None => out.null(),
        }
        out.integer(number as i64);
        Flow::Done
    }

    /// Ends the watches of a connection that closes or is reset.
    pub(in crate::server) fn drop_watches(&mut self, id: ConnectionId) {
        let watches = &mut self.changes.watches;
        for row in 0..watches.end {
            if watches.rows.get(row).is_some_and(|watch| watch.connection == id) {
                watches.remove(row);
            }
        }
    }

    /// Sends watches what has changed, until the meter is spent. True: there is more that can be sent.
    pub(super) fn serve_watches(&mut self, now: Now) -> bool {
        let (mut idle, end) = (0, self.changes.watches.end);
        if let Some(keeper) = &self.changes.watches.keeper {
            self.engine.store.feed_restart(keeper);
        }
        while idle < end {
            if self.engine.meter.is_spent() {
                return true;
            }
            let row = self.changes.watches.next % end;
            idle = if self.serve_watch(row, now) { 0 } else { idle + 1 };
            // One change of each in turn.
            self.changes.watches.next = (row + 1) % end;
        }
        false
    }

    /// Moves one watch on by a change. False: it has to wait, or there is none.
    fn serve_watch(&mut self, row: usize, now: Now) -> bool {
        let Some(watch) = self.changes.watches.rows.get(row) else { return false };
        let id = watch.connection;
        // What it has not been sent can wait in the feed: others need the buffers more.
        let is_crowded = self.output_is_crowded();
        let takes = self.get(id).is_some_and(|connection| {
            !connection.is_replying()
                && connection.output.pending_len() < WAITING_BYTES_MAX
                && (connection.output.is_empty() || !is_crowded)
        });
        if !takes || self.pubsub.in_exec == Some(id) {
            return false;
        }
        self.engine.meter.charge(1);
        let mut text = std::mem::take(&mut self.changes.watches.text);
        let Server { changes, engine, holds, .. } = self;
        let found = changes.watches.step(row, (&engine.store, holds.as_ref()), &mut text);
        let moved = match found {
            Found::End => false,
            Found::Other => true,
            Found::Message => {
                self.push_message(id, (b"*5\r\n$6\r\nchange\r\n", &text), now);
                let watches = &mut self.changes.watches;
                if watches.rows.get(row).is_some_and(|watch| watch.left == 0) {
                    watches.remove(row);
                }
                true
            }
            Found::Compacted(floor) => {
                let watches = &mut self.changes.watches;
                let name = watches.rows[row].prefix;
                text.clear();
                bulk_header(&mut text, name.len());
                watches.names.append(name, &mut text);
                text.extend_from_slice(b"\r\n");
                integer(&mut text, floor.0);
                watches.remove(row);
                self.engine.metrics.counters.watches_compacted += 1;
                self.push_message(id, (b"*3\r\n$9\r\ncompacted\r\n", &text), now);
                true
            }
        };
        self.changes.watches.text = text;
        moved
    }
}

impl Watches {
    /// Moves a watch past the next change, which is encoded if it is for it.
    /// Where replies wait for the disk, so do changes.
    fn step(&mut self, row: usize, (store, holds): (&Store, Option<&Holds>), text: &mut Vec<u8>) -> Found {
        let Watches { rows, names, .. } = self;
        let watch = &mut rows[row];
        let (change, next) = match store.feed_at(watch.position) {
            Ok(Some((change, _))) if holds.is_some_and(|holds| !holds.is_durable(change.revision)) => {
                return Found::End;
            }
            Ok(Some(found)) => found,
            Ok(None) => return Found::End,
            Err(Compacted { floor }) => return Found::Compacted(floor),
        };
        watch.position = next;
        let Some((event, key)) = published(&change, watch.db, store) else { return Found::Other };
        if key.is_some_and(|key| !names.begins(watch.prefix, key)) {
            return Found::Other;
        }
        watch.left = watch.left.saturating_sub(1);
        text.clear();
        bulk_header(text, watch.prefix.len());
        names.append(watch.prefix, text);
        text.extend_from_slice(b"\r\n");
        integer(text, change.revision.0);
        bulk_header(text, event.len());
        text.extend_from_slice(event.as_bytes());
        text.extend_from_slice(b"\r\n");
        let key = key.unwrap_or_default();
        bulk_header(text, key.len());
        text.extend_from_slice(key);
        text.extend_from_slice(b"\r\n");
        Found::Message
    }
}

/// The event of a change that concerns a database, and its key; none where it is the whole database that changed.
fn published<'a>(
    change: &Change<'a>,
    db: Database,
    store: &Store,
) -> Option<(&'static str, Option<&'a [u8]>)> {
    let keyspace = store.keyspace_of(db);
    match change.effect {
        Effect::Flush { keyspace: flushed } => {
            flushed.is_none_or(|flushed| flushed == keyspace).then_some(("flushdb", None))
        }
        Effect::Swap { a, b } => (a.0 == db || b.0 == db).then_some(("swapdb", None)),
        _ => {
            let (found, key) = change.effect.key().filter(|(found, _)| *found == keyspace)?;
            debug_assert_eq!(found, keyspace);
            let mut named = events::events_of(change).into_iter().flatten().map(|event| event.name);
            let event = match change.effect {
                // That the key is gone says more than that its last entry is.
                Effect::RemoveField { .. } => named.next_back()?,
                _ => named.find(|name| *name != "new")?,
            };
            Some((event, Some(key)))
        }
    }
}

/// `$len`
fn bulk_header(text: &mut Vec<u8>, len: usize) {
    let mut digits = [0; INTEGER_BYTES_MAX];
    text.push(b'$');
    text.extend_from_slice(write_u64(len as u64, &mut digits));
    text.extend_from_slice(b"\r\n");
}

/// `:number`
fn integer(text: &mut Vec<u8>, number: u64) {
    let mut digits = [0; INTEGER_BYTES_MAX];
    text.push(b':');
    text.extend_from_slice(write_u64(number, &mut digits));
    text.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
