//! The reference model: what the store must hold, computed from what the server was asked, and checked against the list
//! of changes that the store published.
//!
//! A command is explained in three steps: *predict* its answer and its effects from the model; compare the answer with
//! the one that was given; *expect* each effect as the next change in the store's list. Keys that are removed by
//! themselves (expiry, eviction) are in that list too, between the effects, and are taken up no earlier than an answer
//! or an effect calls for them. What the server answers, what it changes, and in which order, has to fit together.

use super::node::{Change, Logged, Node};
use super::violation::{Violation, show, violation};
use crate::mutation::{Database, GroupMark};
use crate::time::Now;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// What a key has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub value: Rc<[u8]>,
    /// Unix milliseconds.
    pub expiry: Option<u64>,
    pub revision: u64,
}

/// A change that a command must bring about.
#[derive(Clone, Debug)]
pub enum Effect {
    Put {
        key: Vec<u8>,
        value: Rc<[u8]>,
        expiry: Option<u64>,
    },
    /// `value` is the whole value afterwards.
    Append {
        key: Vec<u8>,
        added: Vec<u8>,
        value: Rc<[u8]>,
    },
    SetExpiry {
        key: Vec<u8>,
        expiry: Option<u64>,
    },
    Delete {
        key: Vec<u8>,
    },
    Rename {
        from: Vec<u8>,
        to: Vec<u8>,
    },
    Flush,
}

/// A walk through all keys by SCAN.
#[derive(Debug, Default)]
struct Walk {
    /// Keys that were there when it began, and ever since.
    throughout: BTreeSet<Vec<u8>>,
    seen: BTreeSet<Vec<u8>>,
}

/// The model of one life of a server.
pub struct Model {
    records: BTreeMap<Vec<u8>, Record>,
    /// What the store published and nothing has called for yet.
    waiting: VecDeque<Logged>,
    evicts: bool,
    revision: u64,
    walks: BTreeMap<usize, Walk>,
    /// What keys had before they were changed, since a client began to read several of them piece by piece.
    past: Vec<(Vec<u8>, Option<Record>)>,
    /// The revision that a command last gave a key, whatever became of it since.
    given: BTreeMap<Vec<u8>, u64>,
    /// Groups of changes so far, the one under way included.
    groups: u64,
    /// In which group the effects of an MSET, or a transaction, are; 0: there was none yet.
    unit: Option<u64>,
    /// Removals so far.
    pub expired: u64,
    pub evicted: u64,
    /// Walks that came to their end, and keys that they had to show.
    pub walks_ended: u64,
    pub walked_keys: u64,
}

impl Model {
    /// An empty store; `evicts`: whether keys may go for want of memory.
    pub fn new(evicts: bool) -> Model {
        Model {
            records: BTreeMap::new(),
            waiting: VecDeque::new(),
            evicts,
            revision: 0,
            walks: BTreeMap::new(),
            past: Vec::new(),
            given: BTreeMap::new(),
            groups: 0,
            unit: None,
            expired: 0,
            evicted: 0,
            walks_ended: 0,
            walked_keys: 0,
        }
    }

    /// The unexpired record of a key.
    pub fn live(&self, key: &[u8], unix: u64) -> Option<&Record> {
        self.records.get(key).filter(|record| record.expiry.is_none_or(|at| at > unix))
    }

    /// The revisions of which WATCH remembers one: the key's, or none if it may have been driven out already.
    pub fn watched_revisions(&self, key: &[u8], unix: u64) -> [u64; 2] {
        let removals = self.waiting.iter().map_while(|logged| match &logged.change {
            Change::Expire { key } | Change::Evict { key } => Some(key),
            _ => None,
        });
        let revision = self.revision_of(key, unix);
        let mut gone = removals.filter(|removed| removed[..] == *key);
        if gone.next().is_some() { [revision, 0] } else { [revision; 2] }
    }

    /// The latest revision that is accounted for.
    pub fn latest(&self) -> u64 {
        self.revision
    }

    /// Whether a command has changed a key since that was the latest revision.
    pub fn was_given_after(&self, key: &[u8], latest: u64) -> bool {
        self.given.get(key).is_some_and(|given| *given > latest)
    }

    /// The revision of a key that is there, else 0.
    pub fn revision_of(&self, key: &[u8], unix: u64) -> u64 {
        self.live(key, unix).map_or(0, |record| record.revision)
    }

    /// Takes up what the store has published.
    pub fn take_published(&mut self, published: Vec<Logged>) {
        self.waiting.extend(published);
    }

    /// Whether the next change is a removal (expiry or eviction); if so, it is taken up.
    pub fn take_removal(&mut self, unix: u64) -> Result<bool, Violation> {
        let Some(Logged { revision, change, .. }) = self.waiting.front() else { return Ok(false) };
        let (key, expired) = match change {
            Change::Expire { key } => (key.clone(), true),
            Change::Evict { key } => (key.clone(), false),
            _ => return Ok(false),
        };
        let revision = *revision;
        self.pop();
        self.advance(revision, &key)?;
        self.remember(&key);
        let Some(record) = self.records.remove(&key) else {
            return Err(violation(&key, "a key was removed that was not there"));
        };
        if expired && record.expiry.is_none_or(|at| at > unix) {
            let text = format!("a key expired at {unix} that has until {:?}", record.expiry);
            return Err(violation(&key, text));
        }
        if !expired && !self.evicts {
            return Err(violation(&key, "a key was evicted by a store that refuses when it is full"));
        }
        self.expired += u64::from(expired);
        self.evicted += u64::from(!expired);
        self.left(&key);
        Ok(true)
    }

    /// The next change must be this one, after removals; the revision that it got.
    pub fn expect(&mut self, effect: &Effect, unix: u64) -> Result<u64, Violation> {
        while self.take_removal(unix)? {}
        if let Effect::Rename { from, to } = effect {
            return self.expect_rename(from, to);
        }
        let revision = self.expect_change(effect, |change| effect.is(change))?;
        self.apply(effect, revision)?;
        Ok(revision)
    }

    /// A rename is published as the end of one key and a put of the other, in one group.
    fn expect_rename(&mut self, from: &Vec<u8>, to: &Vec<u8>) -> Result<u64, Violation> {
        let effect = Effect::Rename { from: from.clone(), to: to.clone() };
        let had = self.records.get(from).cloned();
        self.expect_change(&effect, |change| matches!(change, Change::Delete { key } if key == from))?;
        let group = self.groups;
        let revision = self.expect_change(&effect, |change| match (change, &had) {
            (Change::Put { key, value, expiry }, Some(had)) => {
                (key, &value[..], *expiry) == (to, &had.value[..], had.expiry)
            }
            _ => false,
        })?;
        if self.groups != group {
            return Err(violation(from, "was renamed in two groups"));
        }
        self.apply(&effect, revision)?;
        Ok(revision)
    }

    fn expect_change(&mut self, effect: &Effect, is: impl FnOnce(&Change) -> bool) -> Result<u64, Violation> {
        let key = effect.key();
        let Some(Logged { revision, change, .. }) = self.pop() else {
            return Err(violation(key, format!("was answered but never changed: {}", cut(effect))));
        };
        if !is(&change) {
            let text = format!("the store published {} instead of {}", cut(&change), cut(effect));
            return Err(violation(key, text));
        }
        self.advance(revision, key)?;
        match &mut self.unit {
            Some(0) => self.unit = Some(self.groups),
            Some(group) if *group != self.groups => {
                return Err(violation(key, "an MSET, or a transaction, was published as several groups"));
            }
            _ => {}
        }
        Ok(revision)
    }

    /// The next change that the store published.
    fn pop(&mut self) -> Option<Logged> {
        let logged = self.waiting.pop_front()?;
        self.groups += u64::from(matches!(logged.group, GroupMark::Alone | GroupMark::First));
        Some(logged)
    }

    /// What is expected from now on was published as one group. False: it already was to be.
    pub fn begin_unit(&mut self) -> bool {
        let begins = self.unit.is_none();
        self.unit = self.unit.or(Some(0));
        begins
    }

    /// Ends what [`begin_unit`](Model::begin_unit) began.
    pub fn end_unit(&mut self) {
        self.unit = None;
    }

    fn apply(&mut self, effect: &Effect, revision: u64) -> Result<(), Violation> {
        match effect {
            Effect::Flush => {
                self.past.extend(self.records.iter().map(|(key, had)| (key.clone(), Some(had.clone()))))
            }
            Effect::Rename { from, to } => [from, to].into_iter().for_each(|key| self.remember(key)),
            _ => self.remember(effect.key()),
        }
        match effect {
            Effect::Flush => {}
            Effect::Rename { from, to } => {
                self.given.extend([(from.clone(), revision), (to.clone(), revision)]);
            }
            _ => {
                self.given.insert(effect.key().to_vec(), revision);
            }
        }
        match effect {
            Effect::Put { key, value, expiry } => {
                let record = Record { value: Rc::clone(value), expiry: *expiry, revision };
                self.records.insert(key.clone(), record);
            }
            Effect::Append { key, value, .. } => {
                let expiry = self.records.get(key).and_then(|record| record.expiry);
                let record = Record { value: Rc::clone(value), expiry, revision };
                self.records.insert(key.clone(), record);
            }
            Effect::SetExpiry { key, expiry } => match self.records.get_mut(key) {
                Some(record) => (record.expiry, record.revision) = (*expiry, revision),
                None => return Err(violation(key, "an expiry was set on a key that is not there")),
            },
            Effect::Delete { key } => {
                if self.records.remove(key).is_none() {
                    return Err(violation(key, "a key was deleted that is not there"));
                }
                self.left(key);
            }
            Effect::Rename { from, to } => {
                let Some(record) = self.records.remove(from) else {
                    return Err(violation(from, "a key was renamed that is not there"));
                };
                self.left(from);
                self.left(to);
                self.records.insert(to.clone(), Record { revision, ..record });
            }
            Effect::Flush => {
                self.records.clear();
                self.walks.values_mut().for_each(|walk| walk.throughout.clear());
            }
        }
        Ok(())
    }

    fn remember(&mut self, key: &[u8]) {
        self.past.push((key.to_vec(), self.records.get(key).cloned()));
    }

    /// Now, for [`could_have_read`](Model::could_have_read).
    pub fn mark(&self) -> usize {
        self.past.len()
    }

    /// Nobody is in the middle of a long answer: what was is of no more use, and no mark holds any longer.
    pub fn forget_past(&mut self) {
        self.past.clear();
    }

    /// Whether a key had this value (`None`: was not there) at any time between a mark and now.
    pub fn could_have_read(&self, key: &[u8], value: Option<&[u8]>, mark: usize, unix: u64) -> bool {
        let now = self.records.get(key);
        let before = self.past[mark..].iter().filter(|(changed, _)| changed == key);
        let mut states = before.map(|(_, had)| had.as_ref()).chain([now]);
        states.any(|had| match (had, value) {
            (Some(record), Some(value)) => record.value[..] == *value,
            (Some(record), None) => record.expiry.is_some_and(|at| at <= unix),
            (None, value) => value.is_none(),
        })
    }

    /// The server has done something that may remove keys, and nothing else.
    pub fn settle(&mut self, unix: u64) -> Result<(), Violation> {
        while self.take_removal(unix)? {}
        match self.waiting.front() {
            None => Ok(()),
            Some(Logged { change, .. }) => {
                Err(violation(change.key(), format!("changed, though nobody asked for it: {}", cut(change))))
            }
        }
    }

    /// Revisions only grow, for clients that rely on them to see changes.
    fn advance(&mut self, revision: u64, key: &[u8]) -> Result<(), Violation> {
        if revision <= self.revision {
            return Err(violation(key, format!("drew revision {revision} after {}", self.revision)));
        }
        self.revision = revision;
        Ok(())
    }

    fn left(&mut self, key: &[u8]) {
        for walk in self.walks.values_mut() {
            walk.throughout.remove(key);
        }
    }

    /// A client's SCAN from cursor 0.
    pub fn begin_walk(&mut self, client: usize) {
        let lasting = self.records.iter().filter(|(_, record)| record.expiry.is_none());
        let throughout = lasting.map(|(key, _)| key.clone()).collect();
        self.walks.insert(client, Walk { throughout, seen: BTreeSet::new() });
    }

    /// A page of a client's SCAN showed these keys; `last`: the cursor came back to 0.
    pub fn walk_page(
        &mut self,
        client: usize,
        keys: &[Vec<u8>],
        last: bool,
        unix: u64,
    ) -> Result<(), Violation> {
        for key in keys {
            if self.live(key, unix).is_none() {
                return Err(violation(key, "SCAN showed a key that is not there"));
            }
        }
        let Some(walk) = self.walks.get_mut(&client) else { return Ok(()) };
        for key in keys {
            let again = !walk.seen.insert(key.clone());
            if again && walk.throughout.contains(key) {
                return Err(violation(key, "SCAN showed a key twice that was there throughout"));
            }
        }
        if last {
            // What it did not show may have been driven out by a command just before.
            while let Some(key) = self.missed(client) {
                if !self.take_removal(unix)? {
                    return Err(violation(&key, "SCAN missed a key that was there throughout"));
                }
            }
            self.walks_ended += 1;
            self.walked_keys += self.walks.remove(&client).map_or(0, |walk| walk.throughout.len() as u64);
        }
        Ok(())
    }

    /// A key that a client's walk had to show and has not.
    fn missed(&self, client: usize) -> Option<Vec<u8>> {
        let walk = self.walks.get(&client)?;
        let lasting = |key: &&Vec<u8>| self.records.get(*key).is_some_and(|record| record.expiry.is_none());
        walk.throughout.difference(&walk.seen).find(lasting).cloned()
    }

    /// Compares every key with what the store shows.
    pub fn compare(&self, node: &Node, now: Now) -> Result<(), Violation> {
        let (have, want) = (node.store().len(Database(0)), self.records.len() as u64);
        if have != want {
            return Err(violation(b"", format!("the store has {have} keys and the model {want}")));
        }
        for (key, record) in &self.records {
            let live = self.live(key, now.unix.0);
            let shown = node.show(key, now);
            let same = match (&shown, live) {
                (None, None) => true,
                (Some(shown), Some(live)) => {
                    (&shown.value[..], shown.expiry, shown.revision)
                        == (&live.value[..], live.expiry, live.revision)
                }
                _ => false,
            };
            if !same {
                let value = shown.map(|shown| (show(&shown.value), shown.expiry, shown.revision));
                let want = (show(&record.value), record.expiry, record.revision);
                return Err(violation(key, format!("the store has {value:?} and the model {want:?}")));
            }
        }
        let counters = node.store().statistics();
        let (published, counted) = ((self.expired, self.evicted), (counters.expired, counters.evicted));
        if published != counted {
            return Err(violation(b"", format!("removals: published {published:?}, counted {counted:?}")));
        }
        Ok(())
    }
}

impl Change {
    /// The key that changes; empty where it is none or many.
    pub fn key(&self) -> &[u8] {
        match self {
            Change::Put { key, .. }
            | Change::Write { key, .. }
            | Change::SetExpiry { key, .. }
            | Change::Delete { key }
            | Change::Expire { key }
            | Change::Evict { key } => key,
            Change::Flush | Change::Other => b"",
        }
    }
}

impl Effect {
    /// The key that changes.
    pub fn key(&self) -> &[u8] {
        match self {
            Effect::Put { key, .. }
            | Effect::Append { key, .. }
            | Effect::SetExpiry { key, .. }
            | Effect::Delete { key }
            | Effect::Rename { from: key, .. } => key,
            Effect::Flush => b"",
        }
    }

    /// Whether the change is just that.
    fn is(&self, change: &Change) -> bool {
        match (self, change) {
            (Effect::Put { key, value, expiry }, Change::Put { key: changed, value: bytes, expiry: at }) => {
                key == changed && expiry == at && bytes[..] == value[..]
            }
            (Effect::Append { key, added, .. }, Change::Write { key: changed, bytes, .. }) => {
                key == changed && added == bytes
            }
            (Effect::Append { key, value, .. }, Change::Put { key: changed, value: bytes, .. }) => {
                key == changed && bytes[..] == value[..]
            }
            (Effect::SetExpiry { key, expiry }, Change::SetExpiry { key: changed, expiry: at }) => {
                key == changed && expiry == at
            }
            (Effect::Delete { key }, Change::Delete { key: changed }) => key == changed,
            (Effect::Flush, Change::Flush) => true,
            _ => false,
        }
    }
}

/// A change in a few words.
fn cut(what: &impl std::fmt::Debug) -> String {
    format!("{what:?}").chars().take(100).collect()
}
