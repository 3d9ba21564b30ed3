//! Caches in clients: CLIENT TRACKING, and which of them hear when a key changes.
//!
//! ```text
//!  GET k by a client that tracks ─▶ (k, client) into the table ─▶ … ─▶ k changes ─▶ >2 invalidate [k]
//!  BCAST: nothing is noted; every change of a key with one of the client's prefixes is sent ([`broadcast`])
//! ```
//! What is told too often is harmless, what is not told at all would leave a client with an old value. So a client is told to
//! drop everything (`invalidate` with null) where single keys cannot be named any more: a flush, an entry of the table that
//! had to make room ([`table`]), a read of more than [`KEYS_MAX`] keys.

mod broadcast;
mod table;
#[cfg(test)]
mod tests;
mod verbs;

use super::Server;
use crate::command::{Flags, Verb, VerbId};
use crate::connection::{ConnectionId, TrackerId};
use crate::engine::meter::KEY_UNITS;
use crate::metrics::ProcessStats;
use crate::mutant::{self, Mutant};
use crate::mutation::{Change, Origin};
use crate::server::Source;
use crate::server::pubsub::{Name, NamePool};
use crate::store::feed::FeedStep;
use crate::time::Now;
use crate::wire::encode::Protocol;
use crate::wire::number::{INTEGER_BYTES_MAX, write_u64};
use broadcast::Broadcast;
use slab::Slab;
use table::{KeyTable, ROWS_MAX, Row};

/// Keys of one command that are noted one by one.
const KEYS_MAX: usize = 1024;
/// Prefixes of all clients, at most: every change is compared with each of them.
const PREFIXES_MAX: usize = 4096;
/// Bytes of a prefix, at most.
const PREFIX_BYTES_MAX: usize = 1024;
/// Clients that one change is sent to from the table, at most: two sets of it.
const HOLDERS_MAX: usize = 16;

/// Which reads of a client are noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    All,
    /// Those after CLIENT CACHING YES.
    OptIn,
    /// All but those after CLIENT CACHING NO.
    OptOut,
    /// None: it has prefixes.
    Broadcast,
}

/// Where a client's invalidations go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Redirect {
    client_id: u64,
    connection: ConnectionId,
}

/// One client that tracks.
struct Tracker {
    connection: ConnectionId,
    client_id: u64,
    mode: Mode,
    redirect: Option<Redirect>,
    noloop: bool,
    /// CLIENT CACHING was called for the next command.
    caching: bool,
    /// The connection that it redirects to is gone.
    is_broken: bool,
    /// The server tells it to drop everything when its command is over.
    drops_all: bool,
}

/// A prefix of a client in broadcast mode.
struct Prefix {
    row: Row,
    name: Name,
}

/// All that the server keeps of tracking.
pub(in crate::server) struct Tracking {
    table: KeyTable,
    trackers: Slab<Tracker>,
    trackers_max: usize,
    prefixes: Slab<Prefix>,
    prefixes_max: usize,
    /// Places of trackers and prefixes that were ever taken.
    ends: [usize; 2],
    names: NamePool,
    /// An invalidation, encoded.
    text: Vec<u8>,
    /// What clients with prefixes are still to be told.
    broadcast: Broadcast,
}

impl Tracking {
    /// Tables of about `bytes`, touched as they are used.
    pub(in crate::server) fn new(bytes: usize) -> Tracking {
        let trackers_max = (bytes / 8 / (size_of::<Tracker>() + 16)).clamp(1, ROWS_MAX);
        let prefixes_max = (bytes / 16 / (size_of::<Prefix>() + 8)).min(PREFIXES_MAX);
        Tracking {
            table: KeyTable::new(bytes * 5 / 8, trackers_max),
            trackers: Slab::with_capacity(trackers_max),
            trackers_max,
            prefixes: Slab::with_capacity(prefixes_max),
            prefixes_max,
            ends: [0; 2],
            names: NamePool::new(bytes / 16),
            text: Vec::with_capacity(crate::limits::KEY_BYTES_MAX + 64),
            broadcast: Broadcast::new(),
        }
    }

    /// Fills in what INFO and the metrics show.
    pub(in crate::server) fn fill(&self, stats: &mut ProcessStats) {
        let (taken, all) = self.table.usage();
        (stats.tracking_items, stats.tracking_items_max) = (taken as u64, all as u64);
        stats.tracking_clients = self.trackers.len() as u64;
        stats.tracking_prefixes = self.prefixes.len() as u64;
    }

    /// The letters of a client in CLIENT LIST, and where it redirects to.
    pub(in crate::server) fn shown(&self, tracker: Option<TrackerId>) -> (&'static str, i64) {
        let Some(tracker) = tracker.map(|id| self.get(id)) else { return ("", -1) };
        let letters = match (tracker.is_broken, tracker.mode == Mode::Broadcast) {
            (false, false) => "t",
            (true, false) => "tR",
            (false, true) => "tB",
            (true, true) => "tRB",
        };
        (letters, tracker.redirect.map_or(0, |redirect| redirect.client_id as i64))
    }

    /// Whether anybody tracks.
    pub(in crate::server) fn is_on(&self) -> bool {
        !self.trackers.is_empty()
    }

    /// Adds a client. `None`: there is no room.
    fn add(&mut self, tracker: Tracker) -> Option<TrackerId> {
        if self.trackers.len() == self.trackers_max {
            return None;
        }
        let row = self.trackers.insert(tracker);
        self.ends[0] = self.ends[0].max(row + 1);
        Some(TrackerId::new(row))
    }

    /// Adds a prefix. False: there is no room.
    fn add_prefix(&mut self, id: TrackerId, prefix: &[u8]) -> bool {
        if self.prefixes.len() == self.prefixes_max {
            return false;
        }
        let Some(name) = self.names.insert(prefix) else { return false };
        let place = self.prefixes.insert(Prefix { row: row_of(id), name });
        self.ends[1] = self.ends[1].max(place + 1);
        true
    }

    /// The prefixes of a client.
    fn prefixes_of(&self, id: TrackerId) -> impl Iterator<Item = Name> + '_ {
        let row = row_of(id);
        self.prefixes.iter().filter(move |(_, prefix)| prefix.row == row).map(|(_, prefix)| prefix.name)
    }

    fn get(&self, id: TrackerId) -> &Tracker {
        &self.trackers[id.row()]
    }

    fn get_mut(&mut self, id: TrackerId) -> &mut Tracker {
        &mut self.trackers[id.row()]
    }

    /// The tracker of a row of the table, if it is still there.
    fn of_row(&self, row: Row) -> Option<TrackerId> {
        let row = usize::from(row.0) - 1;
        self.trackers.contains(row).then(|| TrackerId::new(row))
    }

    fn remove(&mut self, id: TrackerId) {
        let row = row_of(id);
        self.table.forget(row);
        self.trackers.remove(id.row());
        let Tracking { prefixes, names, .. } = self;
        prefixes.retain(|_, prefix| {
            if prefix.row == row {
                names.release(prefix.name);
            }
            prefix.row != row
        });
    }
}

fn row_of(id: TrackerId) -> Row {
    Row(id.row() as u16 + 1)
}

impl Server {
    /// A command of a client that tracks is about to run: notes the keys that it reads.
    pub(in crate::server) fn note_reads(&mut self, id: ConnectionId, verb: &Verb, source: Source, now: Now) {
        let Server { engine, changes, connections, input, queues, args, .. } = self;
        let connection = &connections[id.index as usize];
        let Some(tracker) = connection.tracker else { return };
        let args = match source {
            Source::Input { len } => args.args(&connection.input.readable(input)[..len]),
            Source::Queue => args.spans(connection.transaction.queue.readable(queues)),
        };
        let tracking = &mut changes.tracking;
        let Tracker { mode, caching, .. } = *tracking.get(tracker);
        let is_noted = match mode {
            Mode::All => true,
            Mode::OptIn => caching,
            Mode::OptOut => !caching,
            Mode::Broadcast => false,
        };
        if !is_noted || !verb.flags.has(Flags::READONLY) {
            return;
        }
        let row = row_of(tracker);
        let mut victims = [None; 4];
        for (count, at) in verb.key_positions(&args).enumerate() {
            if count == KEYS_MAX {
                tracking.get_mut(tracker).drops_all = true;
                break;
            }
            let Some(key) = args.bytes(at) else { continue };
            engine.meter.charge(KEY_UNITS);
            let displaced = tracking.table.note(engine.store.hash_of(key), row);
            let Some(victim) = displaced.filter(|_| !mutant::is_on(Mutant::DisplacedUntold)) else {
                continue;
            };
            if victim == row {
                // What was noted for this command before may be what has gone; it is told when the reply is out.
                tracking.get_mut(tracker).drops_all = true;
            } else if let Some(victim) = tracking.of_row(victim)
                && !victims.contains(&Some(victim))
            {
                match victims.iter_mut().find(|place| place.is_none()) {
                    Some(place) => *place = Some(victim),
                    // So many in one command: the reader forgets instead, and this entry is not needed.
                    None => tracking.get_mut(victim).drops_all = true,
                }
            }
        }
        for victim in victims.into_iter().flatten() {
            self.drop_all_of(victim, now);
        }
    }

    /// A command of a client that tracks is over.
    #[inline]
    pub(in crate::server) fn after_tracked_command(&mut self, id: ConnectionId, now: Now) {
        let Some(connection) = self.get(id) else { return };
        let Some(tracker) = connection.tracker else { return };
        let verb = connection.last_verb;
        let (is_over, in_transaction) = (!connection.is_replying(), connection.transaction.open);
        let found = self.changes.tracking.get_mut(tracker);
        if is_over && !in_transaction && verb.is_none_or(|verb| verb.id != VerbId::ClientCaching) {
            found.caching = false;
        }
        if is_over && std::mem::take(&mut found.drops_all) {
            self.drop_all_of(tracker, now);
        }
    }

    /// Tells those who hold keys that have changed, until the meter is spent. True: there is more.
    pub(super) fn invalidate_all(&mut self, now: Now) -> bool {
        let mut more = false;
        while self.changes.tracking_cursor.is_some() {
            more = self.engine.meter.is_spent() && !self.is_far_behind();
            if more || !self.invalidate_next(now) {
                break;
            }
        }
        // Also where there is more: nobody is told later than the turn in which the change was met.
        self.send_gathered(now);
        more
    }

    /// Whether so much of the feed is unread that it must not wait.
    fn is_far_behind(&self) -> bool {
        let feed_use = self.engine.store.feed_use();
        feed_use.unread > feed_use.capacity as u64 / 2
    }

    /// Tells those who hold the key of the next change. False: there is none.
    fn invalidate_next(&mut self, now: Now) -> bool {
        let Server { engine, changes, .. } = self;
        let Some(cursor) = &changes.tracking_cursor else { return false };
        let Change { effect, origin, .. } = match engine.store.feed_peek(cursor) {
            FeedStep::Change(change) => change,
            FeedStep::End => return false,
            FeedStep::Lost(_) => {
                engine.store.feed_restart(cursor);
                self.drop_all(now);
                return true;
            }
        };
        engine.meter.charge(1);
        let Some((_, key)) = effect.key() else {
            engine.store.feed_advance(cursor);
            self.drop_all(now);
            return true;
        };
        let tracking = &mut changes.tracking;
        if !tracking.prefixes.is_empty() && !tracking.broadcast.gather(key, origin) {
            // There is a place when what has it is sent; this change is met again.
            self.send_gathered(now);
            return true;
        }
        let mut text = std::mem::take(&mut tracking.text);
        encode_key(&mut text, key);
        let hash = engine.store.hash_of(key);
        let (mut holders, mut count) = ([None; HOLDERS_MAX], 0);
        tracking.table.take(hash, |row| {
            holders[count] = Some(row);
            count += 1;
        });
        engine.store.feed_advance(cursor);
        for row in holders.into_iter().flatten() {
            if let Some(id) = self.changes.tracking.of_row(row) {
                self.push_invalidation(id, &text, Some(origin), now);
            }
        }
        self.changes.tracking.text = text;
        true
    }

    /// Tells everybody to drop everything.
    pub(super) fn drop_all(&mut self, now: Now) {
        self.changes.tracking.table.forget_all();
        for row in 0..self.changes.tracking.ends[0] {
            if self.changes.tracking.trackers.contains(row) {
                self.push_invalidation(TrackerId::new(row), b"", None, now);
            }
        }
    }

    fn drop_all_of(&mut self, id: TrackerId, now: Now) {
        self.changes.tracking.table.forget(row_of(id));
        self.push_invalidation(id, b"", None, now);
    }

    /// Sends an invalidation: `keys` is an encoded array, or empty for all.
    fn push_invalidation(&mut self, id: TrackerId, keys: &[u8], origin: Option<Origin>, now: Now) {
        let tracker = self.changes.tracking.get(id);
        if tracker.noloop && origin == Some(Origin::Client(tracker.client_id)) {
            return;
        }
        let (own, redirect) = (tracker.connection, tracker.redirect);
        let target = redirect.map_or(own, |redirect| redirect.connection);
        let Some(protocol) = self.get(target).map(|connection| connection.session.protocol) else {
            if let Some(Redirect { client_id, .. }) = redirect {
                self.tell_of_broken_redirect(id, own, client_id, now);
            }
            return;
        };
        let is_delivered = match protocol {
            Protocol::Resp3 => {
                let keys = if keys.is_empty() { b"_\r\n" } else { keys };
                self.push_message(target, (b"*2\r\n$10\r\ninvalidate\r\n", keys), now)
            }
            Protocol::Resp2 if redirect.is_some() && self.is_subscribed(target) => {
                let keys = if keys.is_empty() { b"*-1\r\n" } else { keys };
                let head = b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n";
                self.push_message(target, (head, keys), now)
            }
            // Nothing can be pushed to it, which Redis accepts as well.
            Protocol::Resp2 => true,
        };
        // A target that is being closed takes nothing more.
        if let Some(Redirect { client_id, .. }) = redirect.filter(|_| !is_delivered) {
            self.tell_of_broken_redirect(id, own, client_id, now);
        }
    }

    fn tell_of_broken_redirect(&mut self, id: TrackerId, own: ConnectionId, client_id: u64, now: Now) {
        let tracker = self.changes.tracking.get_mut(id);
        if std::mem::replace(&mut tracker.is_broken, true) || mutant::is_on(Mutant::BrokenRedirectUntold) {
            return;
        }
        if self.get(own).is_some_and(|connection| connection.session.protocol == Protocol::Resp3) {
            let (mut digits, mut text) = ([0; INTEGER_BYTES_MAX], [0; INTEGER_BYTES_MAX + 3]);
            let digits = write_u64(client_id, &mut digits);
            text[0] = b':';
            text[1..=digits.len()].copy_from_slice(digits);
            text[1 + digits.len()..3 + digits.len()].copy_from_slice(b"\r\n");
            let text = &text[..3 + digits.len()];
            self.push_message(own, (b"*2\r\n$21\r\ntracking-redir-broken\r\n", text), now);
        }
    }

    /// Ends the tracking of a connection that closes, is reset, or says so.
    pub(in crate::server) fn drop_tracker(&mut self, tracker: Option<TrackerId>) {
        if let Some(id) = tracker {
            self.changes.tracking.remove(id);
            self.follow_listeners();
        }
    }
}

/// `*1 $len key`
fn encode_key(text: &mut Vec<u8>, key: &[u8]) {
    let mut digits = [0; INTEGER_BYTES_MAX];
    text.clear();
    text.extend_from_slice(b"*1\r\n$");
    text.extend_from_slice(write_u64(key.len() as u64, &mut digits));
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(key);
    text.extend_from_slice(b"\r\n");
}
