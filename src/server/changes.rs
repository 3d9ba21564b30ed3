//! Those who listen to changes of keys: the change feed is read here, and what follows from it is published.
//!
//! ```text
//!  command ─▶ store ─▶ feed ══▶ cursor ─▶ names of events ─▶ __keyspace@0__:key, __keyevent@0__:event ─▶ subscribers
//!  expiry, eviction ─▶   ║
//!  frames ────────────▶  ║
//! ```
//! There is a cursor for key events and one for caches in clients ([`tracking`]); watches of prefixes ([`watches`]) have places of their own, each open only while somebody may hear of
//! changes: events are configured and a client is subscribed to something; a client tracks keys. Otherwise the feed is off, and a write costs one branch.
//!
//! **When.** After each command, within the turn of the client that sent it, and in the turn's maintenance: so what happens
//! in a turn is published in it, or (a long delivery) in the next ones, in the order in which it happened. Events of a
//! transaction come when it is over. The reply to a command comes before the events that it caused.
//!
//! **With `--durability always`** events, and messages of watches, wait until their change is durable; invalidations do not,
//! which promise nothing.
//!
//! **Nothing is lost silently.** When half of the feed's ring waits to be read, publishing is no longer cut, and those who
//! write wait. Only one transaction that is longer than the ring can be lost: it is counted, and logged.

mod events;
mod misses;
#[cfg(test)]
mod tests;
mod tracking;
mod watches;

use super::Server;
use super::pubsub::{FanOutMode, Publication, Published, Pubsub, TopicKind};
use crate::config::KeyEvents;
use crate::engine::Engine;
use crate::engine::meter::{Meter, TURN_UNITS};
use crate::limits::KEY_BYTES_MAX;
use crate::mutant::{self, Mutant};
use crate::mutation::{Cause, Change, Database, Effect, GroupMark, RemoveReason};
use crate::store::Store;
use crate::store::feed::{FeedCursor, FeedStep, WhenBehind};
use crate::time::Now;
use events::{EVENTS_MAX, Event};
use misses::Misses;
use std::io::Write;
pub(super) use tracking::Tracking;
use watches::Watches;

/// What the server keeps for listeners.
pub(super) struct Changes {
    /// Open while a client listens to events.
    cursor: Option<FeedCursor>,
    /// Open while a client tracks keys.
    tracking_cursor: Option<FeedCursor>,
    /// How many of the messages of the change at the cursor are published.
    published: usize,
    /// Of the change before: its cause and key, if it wrote a part of a value.
    part_of: Option<(Cause, u64)>,
    /// A channel's name.
    channel: Vec<u8>,
    /// A key.
    key: Vec<u8>,
    /// Reads of keys that are not there.
    misses: Misses,
    /// Caches in clients.
    pub(super) tracking: Tracking,
    /// Prefixes that are watched.
    pub(super) watches: Watches,
}

/// Bytes before the key, or the event, in the name of a channel, at most.
const PREFIX_BYTES_MAX: usize = 32;

impl Changes {
    /// `tracking_bytes` are for the tables of CLIENT TRACKING.
    pub(super) fn new(tracking_bytes: usize) -> Changes {
        Changes {
            cursor: None,
            tracking_cursor: None,
            published: 0,
            part_of: None,
            channel: Vec::with_capacity(PREFIX_BYTES_MAX + KEY_BYTES_MAX),
            key: Vec::with_capacity(KEY_BYTES_MAX),
            misses: Misses::new(),
            tracking: Tracking::new(tracking_bytes),
            watches: Watches::new(),
        }
    }

    /// Whether anybody listens.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.cursor.is_some() || self.tracking_cursor.is_some() || self.watches.is_on()
    }
}

/// One message of a change: an event, and whether the channel is the key's.
#[derive(Clone, Copy)]
struct Message {
    event: Event,
    is_keyspace: bool,
}

impl Server {
    /// Whether listeners have so much of the feed still to hear that what a connection sends next might overwrite it: then
    /// its commands run one by one, and what they change is published in between.
    #[inline]
    pub(super) fn is_publishing_behind(&self) -> bool {
        if !self.changes.is_on() {
            return false;
        }
        let feed_use = self.engine.store.feed_use();
        feed_use.unread > feed_use.capacity as u64 / 4
    }

    /// Opens or closes the cursor, by whether a client may hear of a change.
    pub(super) fn follow_listeners(&mut self) {
        let Server { engine, changes, pubsub, holds, .. } = self;
        // Where events wait for the disk, writers wait for events.
        let when_behind = if holds.is_some() { WhenBehind::BlockWriters } else { WhenBehind::Missed };
        let events = engine.runtime.key_events.is_on() && pubsub.has_subscriptions();
        if events && changes.cursor.is_none() {
            (changes.published, changes.part_of) = (0, None);
        }
        changes.misses.follow(events && engine.runtime.key_events.has(KeyEvents::MISS));
        follow(&mut changes.cursor, (events, when_behind), &mut engine.store);
        let tracks = (changes.tracking.is_on(), WhenBehind::Missed);
        follow(&mut changes.tracking_cursor, tracks, &mut engine.store);
    }

    /// Publishes what has changed, until all is published or the meter is spent. True: there is more.
    pub(super) fn publish_changes(&mut self, now: Now) -> bool {
        if !self.changes.is_on() {
            return false;
        }
        if self.invalidate_all(now) || self.serve_watches(now) {
            return true;
        }
        let feed_use = self.engine.store.feed_use();
        let mode = if feed_use.unread > feed_use.capacity as u64 / 2 {
            FanOutMode::Whole
        } else {
            FanOutMode::Metered
        };
        loop {
            if mode == FanOutMode::Metered && self.engine.meter.is_spent() {
                return true;
            }
            // A message in flight comes first, from any publisher.
            if let Some(owner) = self.fan_out_owner() {
                let Some(receivers) = self.drive_fan_out(mode, now) else { return true };
                self.hand_over_receivers(owner, receivers);
            }
            if !self.publish_next(now) {
                return false;
            }
        }
    }

    /// The same between the turns of clients.
    pub(super) fn publish_changes_in_maintenance(&mut self, now: Now) -> bool {
        if !self.changes.is_on() {
            return false;
        }
        self.engine.meter = Meter::new(TURN_UNITS);
        self.publish_changes(now)
    }

    /// Begins the delivery of the next message, or goes on to the next change. False: there is none.
    fn publish_next(&mut self, now: Now) -> bool {
        let Server { engine, changes, pubsub, holds, .. } = self;
        let Some(cursor) = &changes.cursor else { return false };
        let selected = engine.runtime.key_events;
        if changes.misses.is_on
            && let Some((message, db)) = changes.misses.next(selected, &mut changes.key)
        {
            begin_message(engine, pubsub, changes, (message, db), now);
            return true;
        }
        let change = match engine.store.feed_peek(cursor) {
            // What may still be lost is published when it is durable.
            FeedStep::Change(change)
                if holds.as_ref().is_some_and(|holds| !holds.is_durable(change.revision))
                    && !mutant::is_on(Mutant::EventsOutrun) =>
            {
                return false;
            }
            FeedStep::Change(change) => change,
            FeedStep::End => return false,
            FeedStep::Lost(_) => {
                engine.store.feed_restart(cursor);
                engine.metrics.counters.key_events_lost += 1;
                log::warn!("events of a transaction that is longer than the change feed were not published");
                return true;
            }
        };
        let part = part_of(&change, &engine.store);
        let is_told = part.is_some() && part == changes.part_of && !is_first_part(&change);
        let events =
            if is_told { events::events_of_another_part(&change) } else { events::events_of(&change) };
        let message = messages_of(events, selected).nth(changes.published);
        let Some((message, (keyspace, key))) = message.zip(change.effect.key()) else {
            (changes.part_of, changes.published) = (part, 0);
            engine.store.feed_advance(cursor);
            engine.meter.charge(1);
            return true;
        };
        changes.published += 1;
        let db = engine.store.database_of(keyspace);
        changes.key.clear();
        changes.key.extend_from_slice(key);
        begin_message(engine, pubsub, changes, (message, db), now);
        true
    }
}

/// Begins the delivery of a message about the key that is noted.
fn begin_message(
    engine: &mut Engine,
    pubsub: &mut Pubsub,
    changes: &mut Changes,
    (message, db): (Message, Database),
    now: Now,
) {
    channel_of(&mut changes.channel, message, db, &changes.key);
    let text = if message.is_keyspace { message.event.name.as_bytes() } else { &changes.key };
    let publication = Publication {
        kind: TopicKind::Channel,
        channel: &changes.channel,
        hash: engine.store.hash_of(&changes.channel),
        text: Published::Bytes(text),
    };
    engine.meter.charge(crate::engine::meter::KEY_UNITS);
    Server::begin_fan_out(engine, pubsub, &publication, now);
}

/// Opens or closes a cursor.
fn follow(cursor: &mut Option<FeedCursor>, (wanted, when_behind): (bool, WhenBehind), store: &mut Store) {
    match (wanted, cursor.take()) {
        (true, Some(open)) => *cursor = Some(open),
        (true, None) => {
            *cursor = store.feed_open(when_behind);
            if cursor.is_none() {
                log::warn!("changes of keys cannot be published: this server has no change feed");
            }
        }
        (false, Some(open)) => store.feed_close(open),
        (false, None) => {}
    }
}

/// Which value the change writes, or takes, a part of: several of them by one command are one event.
fn part_of(change: &Change<'_>, store: &Store) -> Option<(Cause, u64)> {
    match change.effect {
        Effect::Put { key, .. }
        | Effect::Write { key, .. }
        | Effect::PutField { key, .. }
        | Effect::SetFieldExpiry { key, .. } => Some((change.cause.command(), store.hash_of(key))),
        // Another event than that of a part that was put.
        Effect::RemoveField { key, .. } => Some((change.cause.command(), store.hash_of(key).wrapping_add(1))),
        _ => None,
    }
}

/// Whether a part begins something new, whatever was before: of fields that expire, those of one visit are one event.
fn is_first_part(change: &Change<'_>) -> bool {
    match change.effect {
        Effect::Put { .. } => true,
        Effect::RemoveField { reason: RemoveReason::Expired, .. } => {
            matches!(change.group, GroupMark::Alone | GroupMark::First)
        }
        _ => false,
    }
}

/// The messages of a change, in Redis's order: of each event first that of the key's channel.
fn messages_of(events: [Option<Event>; EVENTS_MAX], selected: KeyEvents) -> impl Iterator<Item = Message> {
    let events = events.into_iter().flatten();
    events.filter(move |event| selected.has(event.class)).flat_map(move |event| {
        [(KeyEvents::KEYSPACE, true), (KeyEvents::KEYEVENT, false)]
            .into_iter()
            .filter(move |(channels, _)| selected.has(*channels))
            .map(move |(_, is_keyspace)| Message { event, is_keyspace })
    })
}

/// `__keyspace@<db>__:<key>` or `__keyevent@<db>__:<event>`
fn channel_of(channel: &mut Vec<u8>, message: Message, db: Database, key: &[u8]) {
    channel.clear();
    let (word, rest) =
        if message.is_keyspace { ("keyspace", key) } else { ("keyevent", message.event.name.as_bytes()) };
    // Writing to a Vec cannot fail.
    let _ = write!(channel, "__{word}@{}__:", db.0);
    channel.extend_from_slice(rest);
}
