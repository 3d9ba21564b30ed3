//! What is true: every change of the store in its order, and every message as the listener heard it.

use crate::sim::change::{Change, Logged};
use crate::sim::violation::{Violation, show, violation};
use std::collections::{BTreeMap, VecDeque};

/// A change as a watch tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedEvent {
    pub revision: u64,
    pub event: &'static str,
    /// Empty: all keys.
    pub key: Vec<u8>,
}

impl PublishedEvent {
    /// Whether a watch on a prefix is told of it.
    pub fn concerns(&self, prefix: &[u8]) -> bool {
        self.key.is_empty() || self.key.starts_with(prefix)
    }
}

/// A channel and a text.
type Message = (Vec<u8>, Vec<u8>);

/// All that happened.
#[derive(Default)]
pub struct Truth {
    /// The keys, with value and expiry, as the store last published them.
    values: BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>,
    /// Of each life.
    events: Vec<Vec<PublishedEvent>>,
    /// Key events that the listener has not heard yet.
    owed: VecDeque<Message>,
    /// What was published to each channel; how much of it before this turn.
    published: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    before: BTreeMap<Vec<u8>, usize>,
    /// Messages and values are counted, so that no two are alike.
    pub counter: u64,
}

impl Truth {
    pub fn begin_life(&mut self) {
        let counter = self.counter;
        let events = std::mem::take(&mut self.events);
        *self = Truth { events, counter, ..Truth::default() };
        self.events.push(Vec::new());
    }

    /// The number of this life of the server.
    pub fn life(&self) -> usize {
        self.events.len() - 1
    }

    /// The latest revision of this life; 0: nothing has changed.
    pub fn latest(&self) -> u64 {
        self.events.last().and_then(|life| life.last()).map_or(0, |event| event.revision)
    }

    /// The first change behind a revision that a watch on a prefix gets.
    pub fn next_event(&self, life: usize, seen: u64, prefix: &[u8]) -> Option<&PublishedEvent> {
        let events = &self.events[life];
        let from = events.partition_point(|event| event.revision <= seen);
        events[from..].iter().find(|event| event.concerns(prefix))
    }

    /// The store has published these changes.
    pub fn take(&mut self, list: Vec<Logged>) {
        for Logged { revision, change, .. } in list {
            let (events, key): (&[&'static str], Vec<u8>) = match change {
                Change::Put { key, value, expiry } => {
                    // The clients here write strings alone.
                    let text = value.text().unwrap_or_default().to_vec();
                    self.values.insert(key.clone(), (text, expiry));
                    (if expiry.is_some() { &["set", "expire"] } else { &["set"] }, key)
                }
                Change::SetExpiry { key, expiry } => {
                    if let Some((_, old)) = self.values.get_mut(&key) {
                        *old = expiry;
                    }
                    (if expiry.is_some() { &["expire"] } else { &["persist"] }, key)
                }
                Change::Delete { key } => (&["del"], key),
                Change::Expire { key } => (&["expired"], key),
                Change::Evict { key } => (&["evicted"], key),
                Change::Flush => (&["flushdb"], Vec::new()),
                Change::Write { .. }
                | Change::PutField { .. }
                | Change::RemoveField { .. }
                | Change::SetFieldExpiry { .. }
                | Change::Other => continue,
            };
            match events[0] {
                "del" | "expired" | "evicted" => drop(self.values.remove(&key)),
                "flushdb" => self.values.clear(),
                _ => {}
            }
            if !key.is_empty() {
                self.owed.extend(events.iter().flat_map(|event| {
                    let event = event.as_bytes();
                    [
                        ([b"__keyspace@0__:", &key[..]].concat(), event.to_vec()),
                        ([b"__keyevent@0__:", event].concat(), key.clone()),
                    ]
                }));
            }
            if let Some(life) = self.events.last_mut() {
                life.push(PublishedEvent { revision, event: events[0], key });
            }
        }
    }

    /// The listener has heard this. True: it was a key event.
    pub fn heard(&mut self, channel: Vec<u8>, text: Vec<u8>) -> Result<bool, Violation> {
        if !channel.starts_with(b"__key") {
            self.published.entry(channel).or_default().push(text);
            return Ok(false);
        }
        match self.owed.pop_front() {
            Some(owed) if owed == (channel.clone(), text.clone()) => Ok(true),
            owed => {
                let owed = owed.map_or("nothing".into(), |(channel, text)| {
                    format!("{} {}", show(&channel), show(&text))
                });
                let what =
                    format!("the event {} {} was published, due was {owed}", show(&channel), show(&text));
                Err(violation(b"", what))
            }
        }
    }

    /// All events are published.
    pub fn nothing_is_owed(&self) -> Result<(), Violation> {
        self.owed.front().map_or(Ok(()), |(channel, text)| {
            Err(violation(b"", format!("the event {} {} was not published", show(channel), show(text))))
        })
    }

    pub fn end_turn(&mut self) {
        self.before = self.published.iter().map(|(channel, all)| (channel.clone(), all.len())).collect();
    }

    /// What was published to a channel, and how much of it before this turn.
    pub fn published(&self, channel: &[u8]) -> (&[Vec<u8>], usize) {
        let all = self.published.get(channel).map_or(&[][..], |all| all);
        (all, self.before.get(channel).copied().unwrap_or(0))
    }

    /// Channels that were published to.
    pub fn channels(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.published.keys()
    }

    /// Whether a cached value is what the key has. (That of one whose time has passed is hidden before it goes.)
    pub fn holds(&self, key: &[u8], cached: Option<&[u8]>, unix: u64) -> bool {
        match (self.values.get(key), cached) {
            (None, None) => true,
            (Some((value, _)), Some(cached)) => value == cached,
            (Some((_, expiry)), None) => expiry.is_some_and(|expiry| expiry <= unix),
            (None, Some(_)) => false,
        }
    }
}
