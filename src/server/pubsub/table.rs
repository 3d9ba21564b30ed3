//! Who is subscribed to what: fixed tables, reserved at start and touched as subscriptions come.
//!
//! ```text
//!  topic "news" ──▶ node ◀─▶ node ◀─▶ node          those who are subscribed to it, the latest first
//!                    ▲         ▲
//!  subscriber 7 ─────┴─────────┼──▶ node of "sport"  what it is subscribed to, a list for each kind
//!  subscriber 9 ───────────────┘
//! ```
//! A node is one subscription, in three lists: its topic's, its subscriber's, and that of its slot of the hash table by
//! which "is this one subscribed to that?" is answered. So every step costs the same however many there are.
//!
//! **The cursor.** One delivery walks the table at a time ([`Cursor`]). Whatever joins is put in front of lists and so is
//! never met by it; whatever leaves moves it on. So a message reaches those who were subscribed when it was published and
//! still are when their turn comes.
//!
//! `table/links.rs` adds and removes rows.

mod links;
#[cfg(test)]
mod tests;

use super::names::{Name, NamePool};
use crate::connection::{ConnectionId, SubscriberId};
use slab::Slab;

/// What a subscription is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Kind {
    Channel,
    Pattern,
    Shard,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::Shard];
}

/// Names a channel or pattern that has subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopicId(u32);

/// No row.
const NONE: u32 = u32::MAX;

struct Topic {
    hash: u64,
    name: Name,
    kind: Kind,
    /// The next topic in the slot of the hash table; a number counted from 1, 0 for none.
    hash_next: u32,
    first: u32,
    count: u32,
    /// The patterns are a list of their own.
    previous: u32,
    next: u32,
}

struct Node {
    topic: u32,
    subscriber: u32,
    topic_previous: u32,
    topic_next: u32,
    own_previous: u32,
    own_next: u32,
    hash_next: u32,
}

/// What one subscriber has of one kind.
#[derive(Clone, Copy, Default)]
struct Own {
    /// Counted from 1; 0 for none.
    first: u32,
    count: u32,
}

struct Subscriber {
    /// `None`: its connection is gone, or has been reset, and its subscriptions wait to be taken back.
    connection: Option<ConnectionId>,
    own: [Own; 3],
    /// Its pushes that wait for the end of a reply.
    deferred: Option<u32>,
}

/// There is no room for another subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom {
    /// Of the table that is full: what is in use, and all; of subscribers, channels, their names' blocks, or subscriptions.
    pub(super) used: usize,
    pub(super) max: usize,
}

fn full(used: usize) -> NoRoom {
    NoRoom { used, max: used }
}

/// Where a delivery is; both counted from 0, [`NONE`] at the end.
#[derive(Clone, Copy)]
struct Cursor {
    node: u32,
    pattern: u32,
}

/// What a delivery comes to next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A connection that gets the message. `None`: it is gone.
    Subscriber(Option<ConnectionId>),
    /// A pattern that the channel is to be compared with.
    Pattern(TopicId),
    End,
}

/// How many of each there may be.
#[derive(Clone, Copy, Debug)]
struct Capacity {
    nodes: usize,
    topics: usize,
    subscribers: usize,
}

/// The tables.
pub(in crate::server) struct Table {
    capacity: Capacity,
    topics: Slab<Topic>,
    nodes: Slab<Node>,
    subscribers: Slab<Subscriber>,
    names: NamePool,
    /// Topics by the hash of their name and kind, and nodes by topic and subscriber; counted from 1, 0 for none.
    topic_slots: Box<[u32]>,
    node_slots: Box<[u32]>,
    /// The latest pattern.
    pattern_first: u32,
    counts: [u32; 3],
    /// Topics were never more than this.
    topics_end: usize,
    cursor: Cursor,
    /// Subscribers whose connection is gone.
    orphans: Vec<SubscriberId>,
}

impl Table {
    /// Tables that take about `bytes`, none of which is touched before it is used.
    pub(super) fn new(bytes: usize) -> Table {
        let node_bytes = size_of::<Node>() + 8 + 2 * size_of::<u32>();
        let topic_bytes = size_of::<Topic>() + 8 + 2 * size_of::<u32>();
        let capacity = Capacity {
            nodes: bytes / 16 * 9 / node_bytes,
            topics: bytes / 8 / topic_bytes,
            subscribers: bytes / 16 * 3 / (size_of::<Subscriber>() + 8 + size_of::<SubscriberId>()),
        };
        let slots = |count: usize| vec![0; count.next_power_of_two()].into_boxed_slice();
        Table {
            capacity,
            topics: Slab::with_capacity(capacity.topics),
            nodes: Slab::with_capacity(capacity.nodes),
            subscribers: Slab::with_capacity(capacity.subscribers),
            names: NamePool::new(bytes / 8),
            topic_slots: slots(capacity.topics),
            node_slots: slots(capacity.nodes),
            pattern_first: NONE,
            counts: [0; 3],
            topics_end: 0,
            cursor: Cursor { node: NONE, pattern: NONE },
            orphans: Vec::with_capacity(capacity.subscribers),
        }
    }

    /// Adds a subscriber for a connection, without subscriptions yet.
    pub(super) fn add_subscriber(&mut self, connection: ConnectionId) -> Result<SubscriberId, NoRoom> {
        if self.subscribers.len() == self.capacity.subscribers {
            return Err(full(self.subscribers.len()));
        }
        let row = Subscriber { connection: Some(connection), own: [Own::default(); 3], deferred: None };
        Ok(SubscriberId::new(self.subscribers.insert(row)))
    }

    /// Subscribes; nothing changes where it is subscribed already. `hash` is the name's.
    pub(super) fn subscribe(
        &mut self,
        subscriber: SubscriberId,
        kind: Kind,
        name: &[u8],
        hash: u64,
    ) -> Result<(), NoRoom> {
        let topic = match self.find(kind, name, hash) {
            Some(topic) if self.node_of(topic, subscriber).is_some() => return Ok(()),
            found => found,
        };
        if self.nodes.len() == self.capacity.nodes {
            return Err(full(self.nodes.len()));
        }
        let topic = match topic {
            Some(topic) => topic,
            None => self.add_topic(kind, name, hash)?,
        };
        self.add_node(topic, subscriber);
        Ok(())
    }

    /// Ends a subscription, if there is one.
    pub(super) fn unsubscribe(&mut self, subscriber: SubscriberId, kind: Kind, name: &[u8], hash: u64) {
        if let Some(topic) = self.find(kind, name, hash)
            && let Some(node) = self.node_of(topic, subscriber)
        {
            self.remove_node(node);
        }
    }

    /// Ends the subscriber's latest subscription of a kind; its name is put into `name`. False: it has none.
    pub(super) fn unsubscribe_latest(
        &mut self,
        subscriber: SubscriberId,
        kind: Kind,
        name: &mut Vec<u8>,
    ) -> bool {
        let first = self.subscribers[subscriber.row()].own[kind as usize].first;
        if first == 0 {
            return false;
        }
        let node = first - 1;
        name.clear();
        self.names.append(self.topics[self.nodes[node as usize].topic as usize].name, name);
        self.remove_node(node);
        true
    }

    /// Subscriptions of a kind that a subscriber has.
    pub(super) fn own_count(&self, subscriber: SubscriberId, kind: Kind) -> u32 {
        self.subscribers[subscriber.row()].own[kind as usize].count
    }

    /// Whether a subscriber has no subscription.
    pub(in crate::server) fn has_none(&self, subscriber: SubscriberId) -> bool {
        self.subscribers[subscriber.row()].own.iter().all(|own| own.count == 0)
    }

    /// Which of the deferred outputs is a subscriber's.
    pub(super) fn deferred_mut(&mut self, subscriber: SubscriberId) -> &mut Option<u32> {
        &mut self.subscribers[subscriber.row()].deferred
    }

    /// The subscriber's connection is gone, or wants nothing any more. What it is subscribed to is taken back by
    /// [`reap`](Table::reap), for it may be much.
    pub(super) fn orphan(&mut self, subscriber: SubscriberId) {
        self.subscribers[subscriber.row()].connection = None;
        self.orphans.push(subscriber);
    }

    /// Takes up to `steps` subscriptions of orphans back. True: there are more.
    pub(super) fn reap(&mut self, steps: usize) -> bool {
        for _ in 0..steps {
            let Some(&subscriber) = self.orphans.last() else { return false };
            let own = self.subscribers[subscriber.row()].own;
            match own.iter().find(|own| own.first != 0) {
                Some(own) => self.remove_node(own.first - 1),
                None => {
                    self.orphans.pop();
                    self.subscribers.remove(subscriber.row());
                }
            }
        }
        !self.orphans.is_empty()
    }

    /// A channel or pattern by its name.
    pub(super) fn find(&self, kind: Kind, name: &[u8], hash: u64) -> Option<TopicId> {
        let mut at = self.topic_slots[self.topic_slot(kind, hash)];
        while at != 0 {
            let topic = &self.topics[at as usize - 1];
            if topic.hash == hash && topic.kind == kind && self.names.is(topic.name, name) {
                return Some(TopicId(at - 1));
            }
            at = topic.hash_next;
        }
        None
    }

    /// Those who are subscribed to a channel or pattern.
    pub(super) fn subscriber_count(&self, topic: TopicId) -> u32 {
        self.topics[topic.0 as usize].count
    }

    /// Channels, patterns or sharded channels with a subscriber.
    pub(super) fn count(&self, kind: Kind) -> u32 {
        self.counts[kind as usize]
    }

    /// The name of a channel or pattern, appended to `to`.
    pub(super) fn append_name(&self, topic: TopicId, to: &mut Vec<u8>) {
        self.names.append(self.topics[topic.0 as usize].name, to);
    }

    /// Places of topics; some are empty.
    pub(super) fn topics_end(&self) -> usize {
        self.topics_end
    }

    /// The topic at a place, if it is of this kind; how long its name is.
    pub(super) fn topic_at(&self, place: usize, kind: Kind) -> Option<(TopicId, usize)> {
        let topic = self.topics.get(place).filter(|topic| topic.kind == kind)?;
        Some((TopicId(place as u32), topic.name.len()))
    }

    /// Clients with a subscription.
    pub(super) fn subscribers_len(&self) -> usize {
        self.subscribers.len() - self.orphans.len()
    }

    /// Subscriptions, and how many there may be.
    pub(super) fn usage(&self) -> (usize, usize) {
        (self.nodes.len(), self.capacity.nodes)
    }

    /// Bytes of the tables that are in use.
    pub(super) fn used_bytes(&self) -> usize {
        self.nodes.len() * size_of::<Node>()
            + self.topics.len() * size_of::<Topic>()
            + self.subscribers.len() * size_of::<Subscriber>()
            + self.names.used_bytes()
    }

    /// Begins a delivery to those who are subscribed to `topic`, then (`with_patterns`) to patterns that match.
    pub(super) fn begin_delivery(&mut self, topic: Option<TopicId>, with_patterns: bool) {
        self.cursor = Cursor {
            node: topic.map_or(NONE, |topic| self.topics[topic.0 as usize].first),
            pattern: if with_patterns { self.pattern_first } else { NONE },
        };
    }

    /// The next step of the delivery.
    pub(super) fn next_delivery(&mut self) -> Next {
        if self.cursor.node != NONE {
            let node = &self.nodes[self.cursor.node as usize];
            self.cursor.node = node.topic_next;
            return Next::Subscriber(self.subscribers[node.subscriber as usize].connection);
        }
        if self.cursor.pattern != NONE {
            let pattern = self.cursor.pattern;
            self.cursor.pattern = self.topics[pattern as usize].next;
            return Next::Pattern(TopicId(pattern));
        }
        Next::End
    }

    /// The pattern matches: its subscribers come next.
    pub(super) fn deliver_to(&mut self, pattern: TopicId) {
        self.cursor.node = self.topics[pattern.0 as usize].first;
    }
}
