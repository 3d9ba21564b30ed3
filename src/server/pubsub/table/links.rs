//! The lists and hash tables that topics and nodes are linked into; each step costs the same however many there are.

use super::{Kind, NONE, NoRoom, Node, Table, Topic, TopicId, full};
use crate::connection::SubscriberId;

impl Table {
    pub(super) fn topic_slot(&self, kind: Kind, hash: u64) -> usize {
        (hash as usize).wrapping_add(kind as usize) & (self.topic_slots.len() - 1)
    }

    fn node_slot(&self, topic: u32, subscriber: u32) -> usize {
        let mixed = (u64::from(topic) << 32 | u64::from(subscriber)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize & (self.node_slots.len() - 1)
    }

    pub(super) fn node_of(&self, topic: TopicId, subscriber: SubscriberId) -> Option<u32> {
        let subscriber = subscriber.row() as u32;
        let mut at = self.node_slots[self.node_slot(topic.0, subscriber)];
        while at != 0 {
            let node = &self.nodes[at as usize - 1];
            if (node.topic, node.subscriber) == (topic.0, subscriber) {
                return Some(at - 1);
            }
            at = node.hash_next;
        }
        None
    }

    pub(super) fn add_topic(&mut self, kind: Kind, name: &[u8], hash: u64) -> Result<TopicId, NoRoom> {
        if self.topics.len() == self.capacity.topics {
            return Err(full(self.topics.len()));
        }
        let (used, max) = self.names.usage();
        let name = self.names.insert(name).ok_or(NoRoom { used, max })?;
        let slot = self.topic_slot(kind, hash);
        let (mut next, hash_next) = (NONE, self.topic_slots[slot]);
        if kind == Kind::Pattern {
            next = self.pattern_first;
        }
        let topic = Topic { hash, name, kind, hash_next, first: NONE, count: 0, previous: NONE, next };
        let row = self.topics.insert(topic) as u32;
        if kind == Kind::Pattern {
            if next != NONE {
                self.topics[next as usize].previous = row;
            }
            self.pattern_first = row;
        }
        self.topic_slots[slot] = row + 1;
        self.topics_end = self.topics_end.max(row as usize + 1);
        self.counts[kind as usize] += 1;
        Ok(TopicId(row))
    }

    pub(super) fn add_node(&mut self, topic: TopicId, subscriber: SubscriberId) {
        let slot = self.node_slot(topic.0, subscriber.row() as u32);
        let of_topic = &mut self.topics[topic.0 as usize];
        let own = &mut self.subscribers[subscriber.row()].own[of_topic.kind as usize];
        let node = Node {
            topic: topic.0,
            subscriber: subscriber.row() as u32,
            topic_previous: NONE,
            topic_next: of_topic.first,
            own_previous: NONE,
            own_next: own.first.checked_sub(1).unwrap_or(NONE),
            hash_next: self.node_slots[slot],
        };
        let (topic_next, own_next) = (node.topic_next, node.own_next);
        let row = self.nodes.insert(node) as u32;
        (of_topic.first, own.first) = (row, row + 1);
        of_topic.count += 1;
        own.count += 1;
        self.node_slots[slot] = row + 1;
        if topic_next != NONE {
            self.nodes[topic_next as usize].topic_previous = row;
        }
        if own_next != NONE {
            self.nodes[own_next as usize].own_previous = row;
        }
    }

    pub(super) fn remove_node(&mut self, row: u32) {
        let node = self.nodes.remove(row as usize);
        if self.cursor.node == row {
            self.cursor.node = node.topic_next;
        }
        let slot = self.node_slot(node.topic, node.subscriber);
        let mut at = self.node_slots[slot];
        if at == row + 1 {
            self.node_slots[slot] = node.hash_next;
        } else {
            while self.nodes[at as usize - 1].hash_next != row + 1 {
                at = self.nodes[at as usize - 1].hash_next;
            }
            self.nodes[at as usize - 1].hash_next = node.hash_next;
        }
        let topic = &mut self.topics[node.topic as usize];
        topic.count -= 1;
        let own = &mut self.subscribers[node.subscriber as usize].own[topic.kind as usize];
        own.count -= 1;
        match node.topic_previous {
            NONE => topic.first = node.topic_next,
            previous => self.nodes[previous as usize].topic_next = node.topic_next,
        }
        if node.topic_next != NONE {
            self.nodes[node.topic_next as usize].topic_previous = node.topic_previous;
        }
        match node.own_previous {
            NONE => own.first = if node.own_next == NONE { 0 } else { node.own_next + 1 },
            previous => self.nodes[previous as usize].own_next = node.own_next,
        }
        if node.own_next != NONE {
            self.nodes[node.own_next as usize].own_previous = node.own_previous;
        }
        if topic.count == 0 {
            self.remove_topic(node.topic);
        }
    }

    fn remove_topic(&mut self, row: u32) {
        let topic = self.topics.remove(row as usize);
        if self.cursor.pattern == row {
            self.cursor.pattern = topic.next;
        }
        self.counts[topic.kind as usize] -= 1;
        self.names.release(topic.name);
        let slot = self.topic_slot(topic.kind, topic.hash);
        let mut at = self.topic_slots[slot];
        if at == row + 1 {
            self.topic_slots[slot] = topic.hash_next;
        } else {
            while self.topics[at as usize - 1].hash_next != row + 1 {
                at = self.topics[at as usize - 1].hash_next;
            }
            self.topics[at as usize - 1].hash_next = topic.hash_next;
        }
        if topic.kind == Kind::Pattern {
            match topic.previous {
                NONE => self.pattern_first = topic.next,
                previous => self.topics[previous as usize].next = topic.next,
            }
            if topic.next != NONE {
                self.topics[topic.next as usize].previous = topic.previous;
            }
        }
    }

    /// Panics where lists, counts and hash tables contradict each other; for tests and the simulator.
    pub(in crate::server) fn invariants(&self) {
        for (row, topic) in &self.topics {
            let (mut at, mut previous, mut count) = (topic.first, NONE, 0);
            while at != NONE {
                let node = &self.nodes[at as usize];
                assert_eq!((node.topic, node.topic_previous), (row as u32, previous));
                (previous, at, count) = (at, node.topic_next, count + 1);
            }
            assert!(count == topic.count && count > 0, "a topic has the subscribers that it counts");
        }
        let mut own_total = 0;
        for (row, subscriber) in &self.subscribers {
            for kind in Kind::ALL {
                let own = subscriber.own[kind as usize];
                let (mut at, mut previous, mut count) = (own.first.checked_sub(1).unwrap_or(NONE), NONE, 0);
                while at != NONE {
                    let node = &self.nodes[at as usize];
                    assert_eq!((node.subscriber, node.own_previous), (row as u32, previous));
                    assert_eq!(self.topics[node.topic as usize].kind, kind);
                    let id = (TopicId(node.topic), SubscriberId::new(row));
                    assert_eq!(self.node_of(id.0, id.1), Some(at));
                    (previous, at, count) = (at, node.own_next, count + 1);
                }
                assert_eq!(count, own.count);
                own_total += count as usize;
            }
        }
        assert_eq!(own_total, self.nodes.len());
        let patterns = self.topics.iter().filter(|(_, topic)| topic.kind == Kind::Pattern).count();
        let listed = core::iter::successors(Some(self.pattern_first).filter(|at| *at != NONE), |at| {
            Some(self.topics[*at as usize].next).filter(|at| *at != NONE)
        });
        assert_eq!((listed.count(), patterns), (patterns, self.count(Kind::Pattern) as usize));
        assert_eq!(self.counts.iter().sum::<u32>() as usize, self.topics.len());
    }
}
