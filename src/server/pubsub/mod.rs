//! Publish and subscribe: SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE, their opposites, PUBLISH, SPUBLISH, PUBSUB.
//!
//! ```text
//!  PUBLISH c m ─▶ encode once ─▶ delivery ─▶ c's subscribers ─▶ patterns, one after the other ─▶ theirs ─▶ :count
//!                                  │ per subscriber: copied into its output, or (long messages) a marker that refers
//!                                  │                 to the one large value
//!                                  └ the turn's meter is spent: the rest in the next turn, others are served between
//! ```
//!
//! **Order.** One delivery is under way at a time, in the order in which the server took the commands; a PUBLISH that
//! finds another one under way helps it to its end first. So all subscribers get all messages in one order, although
//! a message for 10,000 of them takes many turns. Inside EXEC nothing yields: there a delivery runs to its end, and is
//! counted as a long step.
//!
//! **Slow subscribers.** What waits for a subscriber is bounded (`fan_out.rs`). One that has no room is closed, counted
//! and logged; a message is never left out silently, and no client waits for it.
//!
//! **Replies and messages.** A message never lands inside a reply that is made piece by piece, nor inside EXEC's array: it
//! waits beside the output until that is whole. (Redis 7.0 puts a client's own message into its array.)
//!
//! **Memory.** The tables ([`table`]) are a named share of the budget, reserved at start and touched as subscriptions come.
//! A connection has four bytes for it. What does not fit is refused.
//!
//! | file | what it does |
//! |---|---|
//! | `names.rs` | the bytes of channels and patterns |
//! | `table.rs` | who is subscribed to what |
//! | `verbs.rs`, `listing.rs` | the commands |
//! | `fan_out.rs` | a message on its way to its subscribers |

mod fan_out;
mod listing;
mod names;
pub(super) mod table;
#[cfg(test)]
mod tests;
mod verbs;

pub(super) use fan_out::{FanOutMode, Publication, Published};
pub(super) use names::{Name, NamePool};
pub(super) use table::Kind as TopicKind;
pub(super) use verbs::{PubsubStep, is_allowed};

use super::Server;
use super::wake_queue::WakeQueue;
use crate::connection::{ConnectionId, SubscriberId};
use crate::limits::BUFFERED_BULK_BYTES_MAX;
use crate::metrics::ProcessStats;
use crate::wire::output::Output;
use fan_out::FanOut;
use slab::Slab;
use std::mem::ManuallyDrop;
use table::{Kind, Table};

/// Bytes of a channel that is subscribed to, at most. One that is published to may be longer: patterns match it.
pub(super) const CHANNEL_BYTES_MAX: usize = 4096;
/// Subscribers whose messages wait for the end of a reply, at once.
const DEFERRED_MAX: usize = 1024;
/// Subscribers that are written to in a turn, at most: about 100 µs of calls to the system.
const SENDS_PER_TURN: u32 = 64;
/// The same while a message is on its way and buffers are plenty: what is published next may go out by the same write.
const SENDS_WHILE_DELIVERING: u32 = 8;
/// Subscriptions of closed connections that are taken back at once; the rest is done between turns.
const REAP_AT_ONCE: usize = 256;
/// The same for each round of maintenance.
const REAP_STEPS: usize = 1024;

/// All that the server keeps of subscriptions.
pub(super) struct Pubsub {
    pub(super) table: Table,
    /// The message that is under way. When the server ends, what it holds goes with the store.
    fan_out: Option<ManuallyDrop<FanOut>>,
    /// Its channel and (unless it is a large value) its text, encoded as they follow in every reply.
    body: Vec<u8>,
    /// What stands before the body for subscribers of the pattern that matches.
    pattern_head: Vec<u8>,
    /// A name in one piece.
    name: Vec<u8>,
    /// Pushes that wait for the end of a reply.
    deferred: Slab<Output>,
    /// Subscribers with something to be sent, and how many of them may still be written to in this turn.
    unsent: WakeQueue,
    sends_left: u32,
    /// The connection whose command runs.
    pub(super) running: Option<ConnectionId>,
    /// The connection whose EXEC runs: what is pushed to it waits for the end of its array.
    pub(super) in_exec: Option<ConnectionId>,
}

impl Pubsub {
    /// Tables of about `bytes`, for so many clients.
    pub(super) fn new(bytes: usize, max_clients: usize) -> Pubsub {
        Pubsub {
            table: Table::new(bytes),
            fan_out: None,
            body: Vec::with_capacity(2 * BUFFERED_BULK_BYTES_MAX + 64),
            pattern_head: Vec::with_capacity(crate::wire::glob::PATTERN_BYTES_MAX + 64),
            name: Vec::with_capacity(CHANNEL_BYTES_MAX),
            deferred: Slab::with_capacity(DEFERRED_MAX),
            unsent: WakeQueue::new(max_clients),
            sends_left: SENDS_PER_TURN,
            running: None,
            in_exec: None,
        }
    }

    /// A connection that is to be written to now.
    pub(super) fn pop_unsent(&mut self) -> Option<u32> {
        self.sends_left = self.sends_left.checked_sub(1)?;
        self.unsent.pop()
    }

    /// Whether anybody is subscribed to channels or patterns.
    pub(super) fn has_subscriptions(&self) -> bool {
        self.table.count(Kind::Channel) + self.table.count(Kind::Pattern) > 0
    }

    /// Fills in what INFO and the metrics show.
    pub(super) fn fill(&self, stats: &mut ProcessStats) {
        let count = |kind| u64::from(self.table.count(kind));
        stats.pubsub_channels = count(Kind::Channel);
        stats.pubsub_patterns = count(Kind::Pattern);
        stats.pubsub_shard_channels = count(Kind::Shard);
        stats.pubsub_clients = self.table.subscribers_len() as u64;
        let (used, all) = self.table.usage();
        (stats.subscriptions, stats.subscriptions_max) = (used as u64, all as u64);
        stats.subscription_bytes = self.table.used_bytes() as u64;
    }

    /// How many subscriptions a client has, for CLIENT LIST: channels, patterns, sharded channels.
    pub(super) fn counts(&self, subscriber: Option<SubscriberId>) -> [u32; 3] {
        let count = |kind| subscriber.map_or(0, |id| self.table.own_count(id, kind));
        Kind::ALL.map(count)
    }
}

impl Server {
    /// Takes back all subscriptions of a connection that closes or is reset.
    pub(super) fn drop_subscriber(&mut self, subscriber: Option<SubscriberId>) {
        let Some(id) = subscriber else { return };
        let Server { engine, output, pubsub, .. } = self;
        if let Some(row) = pubsub.table.deferred_mut(id).take() {
            let mut waiting = pubsub.deferred.remove(row as usize);
            waiting.release(output, |large| engine.store.large_release(large));
        }
        pubsub.table.orphan(id);
        pubsub.table.reap(REAP_AT_ONCE);
        self.follow_listeners();
    }

    /// Work on subscriptions that no client waits for. True: there is more at once.
    pub(super) fn maintain_subscriptions(&mut self, now: crate::time::Now) -> bool {
        let more = self.pubsub.table.reap(REAP_STEPS);
        let more = self.publish_changes_in_maintenance(now) || more;
        let more = self.go_on_with_orphaned_delivery(now) || more;
        let is_delivering = self.pubsub.fan_out.is_some() && !self.output_is_crowded();
        self.pubsub.sends_left = if is_delivering { SENDS_WHILE_DELIVERING } else { SENDS_PER_TURN };
        // Those that this turn writes to need no other one.
        more || self.pubsub.unsent.len() > self.pubsub.sends_left as usize
    }
}
