//! The reference model: what the store must hold, computed from what the server was asked, and checked against the list
//! of changes that the store published.
//!
//! A command is explained in three steps: *predict* its answer and its effects from the model; compare the answer with
//! the one that was given; *expect* each effect as the next change in the store's list. Keys that are removed by
//! themselves (expiry, eviction) are in that list too, between the effects, and are taken up no earlier than an answer
//! or an effect calls for them. What the server answers, what it changes, and in which order, has to fit together.

mod past;
mod walk;

use super::change::{Change, Logged};
use super::effect::Effect;
use super::node::Node;
use super::value::{Field, Fields, Value};
use super::violation::{Violation, brief, show, violation};
use crate::mutation::{CollectionKind, Database, GroupMark};
use crate::time::Now;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use walk::Walk;

/// What a key has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub value: Value,
    /// Unix milliseconds.
    pub expiry: Option<u64>,
    pub revision: u64,
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
    pub expired_fields: u64,
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
            expired_fields: 0,
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
            Change::RemoveField { expired: true, .. } => return self.take_expired_field(unix),
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

    /// The next change is the removal of a field whose time has come.
    fn take_expired_field(&mut self, unix: u64) -> Result<bool, Violation> {
        let Some(Logged { revision, change: Change::RemoveField { key, kind, field, is_last, .. }, .. }) =
            self.pop()
        else {
            return Ok(false);
        };
        self.advance(revision, &key)?;
        let (fields, _) = self.fields_of(&key, kind)?;
        match fields.get(&field[..]) {
            Some(had) if !had.is_live(unix) => {}
            had => {
                let until = had.map(|had| had.expiry);
                let text = format!("a field expired at {unix} that has until {until:?}: {}", show(&field));
                return Err(violation(&key, text));
            }
        }
        self.remember(&key);
        self.remove_field((&key, kind, &field), revision)?;
        self.is_gone_with_the_last(&key, is_last)?;
        self.expired_fields += 1;
        Ok(true)
    }

    /// The next change must be this one, after removals; the revision that it got.
    pub fn expect(&mut self, effect: &Effect, unix: u64) -> Result<u64, Violation> {
        while self.take_removal(unix)? {}
        if let Effect::Rename { from, to } = effect {
            return self.expect_rename(from, to);
        }
        self.gather_fields(effect)?;
        let is_last = match self.waiting.front() {
            Some(Logged { change: Change::RemoveField { is_last, .. }, .. }) => Some(*is_last),
            _ => None,
        };
        let revision = self.expect_change(effect, |change| effect.is(change))?;
        self.apply(effect, revision)?;
        if let Some(is_last) = is_last {
            self.is_gone_with_the_last(effect.key(), is_last)?;
        }
        Ok(revision)
    }

    fn is_gone_with_the_last(&self, key: &[u8], is_last: bool) -> Result<(), Violation> {
        if is_last == self.records.contains_key(key) {
            return Err(violation(key, format!("a field was published with is_last: {is_last}")));
        }
        Ok(())
    }

    /// A short collection with long values in it is published without those fields, and they behind it, in one group: makes
    /// one change of them, if that comes next.
    fn gather_fields(&mut self, effect: &Effect) -> Result<(), Violation> {
        let Effect::Put { key, value: Value::Fields(_, wanted), .. } = effect else { return Ok(()) };
        let Some(Logged { change: Change::Put { value: Value::Fields(_, has), .. }, .. }) =
            self.waiting.front()
        else {
            return Ok(());
        };
        if has.len() >= wanted.len() {
            return Ok(());
        }
        let mut fields = has.as_ref().clone();
        let Some(mut begun) = self.waiting.pop_front() else { return Ok(()) };
        for _ in fields.len()..wanted.len() {
            let Some(Logged { revision, group, change, .. }) = self.waiting.pop_front() else { break };
            match change {
                Change::PutField { key: of, field, value, expiry, .. } if of == *key => {
                    fields.insert(field.into(), Field { value: value.into(), expiry })
                }
                change => {
                    return Err(violation(
                        key,
                        format!("{} among the fields of a collection", brief(&change)),
                    ));
                }
            };
            begun.revision = revision;
            begun.group = match (begun.group, group) {
                (GroupMark::First, GroupMark::Last) => GroupMark::Alone,
                (GroupMark::First | GroupMark::Within, GroupMark::Within) => begun.group,
                (GroupMark::Within, GroupMark::Last) => GroupMark::Last,
                _ => return Err(violation(key, "a collection was published in several groups")),
            };
        }
        if let Change::Put { value: Value::Fields(_, had), .. } = &mut begun.change {
            *had = Rc::new(fields);
        }
        self.waiting.push_front(begun);
        Ok(())
    }

    /// The next change behind removals, if this client has asked for it.
    pub fn next_of(&self, client: u64) -> Option<&Change> {
        let asked = self.waiting.iter().find(|logged| !logged.change.is_removal())?;
        (asked.client == Some(client)).then_some(&asked.change)
    }

    /// Takes up the removals before a change that is there.
    pub fn take_removals(&mut self, unix: u64) -> Result<(), Violation> {
        while self.take_removal(unix)? {}
        Ok(())
    }

    /// The set that the next change gives a key, if it does.
    pub fn next_set(&self, to: &[u8]) -> Option<Fields> {
        match &self.waiting.front()?.change {
            Change::Put { key, value: Value::Fields(CollectionKind::Set, members), .. } if key == to => {
                Some(members.as_ref().clone())
            }
            _ => None,
        }
    }

    /// A rename is published as the end of one key and a put of the other, in one group.
    fn expect_rename(&mut self, from: &[u8], to: &[u8]) -> Result<u64, Violation> {
        let effect = Effect::Rename { from: from.to_vec(), to: to.to_vec() };
        let had = self.records.get(from).cloned();
        self.expect_change(&effect, |change| matches!(change, Change::Delete { key } if key == from))?;
        let group = self.groups;
        let Some(had) = had else { return Err(violation(from, "a key was renamed that is not there")) };
        let put = Effect::Put { key: to.to_vec(), value: had.value, expiry: had.expiry };
        self.gather_fields(&put)?;
        let revision = self.expect_change(&put, |change| put.is(change))?;
        if self.groups != group {
            return Err(violation(from, "was renamed in two groups"));
        }
        self.apply(&effect, revision)?;
        Ok(revision)
    }

    fn expect_change(&mut self, effect: &Effect, is: impl FnOnce(&Change) -> bool) -> Result<u64, Violation> {
        let key = effect.key();
        let Some(Logged { revision, change, .. }) = self.pop() else {
            return Err(violation(key, format!("was answered but never changed: {}", brief(effect))));
        };
        if !is(&change) {
            let text = format!("the store published {} instead of {}", brief(&change), brief(effect));
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
                let record = Record { value: value.clone(), expiry: *expiry, revision };
                self.records.insert(key.clone(), record);
            }
            Effect::Append { key, value, .. } => {
                let expiry = self.records.get(key).and_then(|record| record.expiry);
                let record = Record { value: Value::Text(Rc::clone(value)), expiry, revision };
                self.records.insert(key.clone(), record);
            }
            Effect::PutField { key, kind, field, value, expiry } => {
                let (mut fields, key_expiry) = self.fields_of(key, *kind)?;
                let value = Field { value: Rc::clone(value), expiry: *expiry };
                fields.insert(field.clone().into(), value);
                let value = Value::Fields(*kind, Rc::new(fields));
                self.records.insert(key.clone(), Record { value, expiry: key_expiry, revision });
            }
            Effect::RemoveField { key, kind, field } => self.remove_field((key, *kind, field), revision)?,
            Effect::SetFieldExpiry { key, field, expiry } => {
                let (mut fields, key_expiry) = self.fields_of(key, CollectionKind::Hash)?;
                let Some(had) = fields.get_mut(&field[..]) else {
                    return Err(violation(key, "a time was set on a field that is not there"));
                };
                had.expiry = *expiry;
                let value = Value::Fields(CollectionKind::Hash, Rc::new(fields));
                self.records.insert(key.clone(), Record { value, expiry: key_expiry, revision });
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

    fn remove_field(
        &mut self,
        (key, kind, field): (&[u8], CollectionKind, &[u8]),
        revision: u64,
    ) -> Result<(), Violation> {
        let (mut fields, expiry) = self.fields_of(key, kind)?;
        if fields.remove(field).is_none() {
            return Err(violation(key, "a field was removed that is not there"));
        }
        if fields.is_empty() {
            self.records.remove(key);
            self.left(key);
        } else {
            let value = Value::Fields(kind, Rc::new(fields));
            self.records.insert(key.to_vec(), Record { value, expiry, revision });
        }
        Ok(())
    }

    /// The fields that a key has, and its expiry.
    fn fields_of(&self, key: &[u8], kind: CollectionKind) -> Result<(Fields, Option<u64>), Violation> {
        match self.records.get(key) {
            None => Ok((Fields::new(), None)),
            Some(Record { value: Value::Fields(had, fields), expiry, .. }) if *had == kind => {
                Ok((fields.as_ref().clone(), *expiry))
            }
            Some(_) => Err(violation(key, "a field was changed of a value of another type")),
        }
    }

    /// The server has done something that may remove keys, and nothing else.
    pub fn settle(&mut self, unix: u64) -> Result<(), Violation> {
        while self.take_removal(unix)? {}
        match self.waiting.front() {
            None => Ok(()),
            Some(Logged { change, .. }) => Err(violation(
                change.key(),
                format!("changed, though nobody asked for it: {}", brief(change)),
            )),
        }
    }

    /// Revisions only grow, for clients that rely on them to see changes.
    fn advance(&mut self, revision: u64, key: &[u8]) -> Result<(), Violation> {
        if revision <= self.revision {
            return Err(violation(key, format!("took revision {revision} after {}", self.revision)));
        }
        self.revision = revision;
        Ok(())
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
                    (&shown.value, shown.expiry, shown.revision) == (&live.value, live.expiry, live.revision)
                }
                _ => false,
            };
            if !same {
                let value = shown.map(|shown| (shown.value, shown.expiry, shown.revision));
                let want = (&record.value, record.expiry, record.revision);
                return Err(violation(key, format!("the store has {value:?} and the model {want:?}")));
            }
        }
        let counters = node.store().statistics();
        let published = (self.expired, self.evicted, self.expired_fields);
        let counted = (counters.expired, counters.evicted, counters.expired_fields);
        if published != counted {
            return Err(violation(b"", format!("removals: published {published:?}, counted {counted:?}")));
        }
        Ok(())
    }
}
