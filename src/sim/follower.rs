//! A second store that is made of what the first one publishes, and of nothing else. What it has must be what the first
//! one has, values, expiries and revisions, after each step: then a journal or a replica can be built on the feed.

use super::value;
use super::violation::{Violation, violation};
use crate::limits::MIB;
use crate::mutation::{Change, Database, Effect, GroupMark, KeyspaceId, LargeId, PublishedValue};
use crate::store::{Collection, Entry, LargeCursor, OnFull, RemovalPolicy, Store, StoreConfig, Value};
use crate::time::Millis;

/// Before any expiry: what has expired and was not removed is shown.
const BEGINNING: Millis = Millis(0);

/// The second store.
pub struct Follower {
    store: Store,
    /// A group has begun and not ended.
    in_group: bool,
    /// Keys that have changed since they were last compared.
    changed: Vec<(KeyspaceId, Vec<u8>)>,
}

impl Follower {
    /// An empty store beside one of this configuration, with room for more.
    pub fn new(first: &StoreConfig) -> Follower {
        let config = StoreConfig {
            memory_bytes: 3 * first.memory_bytes + MIB,
            on_full: OnFull::Refuse,
            feed_bytes: 0,
            ..*first
        };
        let mut store = Store::new(config, [3, 4]).expect("it is larger than the first one");
        store.set_removal_policy(RemovalPolicy::Follow);
        Follower { store, in_group: false, changed: Vec::new() }
    }

    /// Applies a change of the first store.
    pub fn follow(&mut self, first: &Store, change: &Change<'_>) -> Result<(), Violation> {
        let key = change.effect.key().map_or(&b""[..], |(_, key)| key);
        let begins = matches!(change.group, GroupMark::Alone | GroupMark::First);
        if begins == self.in_group {
            return Err(violation(key, format!("a change is marked {:?} between others", change.group)));
        }
        self.in_group = matches!(change.group, GroupMark::First | GroupMark::Within);
        self.changed.extend(change.effect.key().map(|(keyspace, key)| (keyspace, key.to_vec())));
        let mut change = *change;
        let mut large = None;
        if let Effect::Put { value, .. } | Effect::PutField { value, .. } = &mut change.effect
            && matches!(value, PublishedValue::Large { .. } | PublishedValue::Passed { .. })
        {
            let bytes = published_bytes(first, *value);
            let begun = self.store.large_begin(bytes.len() as u64, BEGINNING).expect("there is room");
            self.store.large_append(begun.id(), &bytes, BEGINNING).expect("there is room");
            // The key's.
            let id = begun.into_raw();
            *value = PublishedValue::Large { id, len: bytes.len() as u64 };
            large = Some(id);
        }
        if let Effect::Put { value: PublishedValue::Tree(tree), .. } = &mut change.effect {
            *tree = self.store.tree_copied(first, tree, BEGINNING).expect("there is room");
        }
        match (self.store.apply_at(&change, BEGINNING), large) {
            (Ok(true), _) => Ok(()),
            (Ok(false), _) => Err(violation(key, "a change was published of which nothing comes")),
            (Err(refused), _) => Err(violation(key, format!("a follower refuses a change: {refused:?}"))),
        }
    }

    /// Compares the keys that have changed since.
    pub fn compare_changed(&mut self, first: &Store) -> Result<(), Violation> {
        if self.in_group {
            return Err(violation(b"", "a group was published without its end"));
        }
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort();
        changed.dedup();
        changed.iter().try_for_each(|(keyspace, key)| self.compare_key(first, *keyspace, key))?;
        self.compare_sums(first)
    }

    /// Compares every key.
    pub fn compare(&self, first: &Store) -> Result<(), Violation> {
        for db in (0..first.config().databases).map(Database) {
            let (mut cursor, mut keys) = (0, Vec::new());
            loop {
                cursor = first.scan(db, cursor, 100, BEGINNING, &mut |entry| keys.push(entry.key.to_vec()));
                if cursor == 0 {
                    break;
                }
            }
            let keyspace = first.keyspace_of(db);
            keys.iter().try_for_each(|key| self.compare_key(first, keyspace, key))?;
        }
        self.compare_sums(first)
    }

    fn compare_sums(&self, first: &Store) -> Result<(), Violation> {
        for db in (0..first.config().databases).map(Database) {
            let of = |store: &Store| (store.keyspace_of(db), store.len(db), store.expiring(db));
            if of(first) != of(&self.store) {
                let text = format!("{db:?} has {:?}, and at the follower {:?}", of(first), of(&self.store));
                return Err(violation(b"", text));
            }
        }
        let (revision, followed) = (first.revision(), self.store.revision());
        if revision != followed {
            return Err(violation(b"", format!("{revision:?} was published as {followed:?}")));
        }
        Ok(())
    }

    fn compare_key(&self, first: &Store, keyspace: KeyspaceId, key: &[u8]) -> Result<(), Violation> {
        let of = |store: &Store| {
            let entry = store.peek(store.database_of(keyspace), key, BEGINNING)?;
            let Entry { value, revision, expiry, .. } = entry;
            let is_table = matches!(&value, Value::Collection(collection) if collection.is_table());
            Some((value::Value::of(store, value), is_table, expiry, revision))
        };
        let (has, followed) = (of(first), of(&self.store));
        if has == followed {
            return Ok(());
        }
        Err(violation(key, format!("has {has:?}, and at the follower {followed:?}")))
    }
}

/// The bytes of a value.
pub fn bytes_of(store: &Store, value: Value<'_>) -> Vec<u8> {
    match value {
        Value::Inline(bytes) => bytes.to_vec(),
        Value::Large { id, .. } => large_bytes(store, id),
        Value::Collection(collection) => store.collection_text(&collection),
    }
}

/// The bytes of a value that was published and not passed yet.
pub fn published_bytes(store: &Store, value: PublishedValue<'_>) -> Vec<u8> {
    match value {
        PublishedValue::Bytes(bytes) => bytes.to_vec(),
        PublishedValue::Large { id, .. } => large_bytes(store, id),
        PublishedValue::Packed(bytes) => store.collection_text(&Collection::read(bytes)),
        PublishedValue::Tree(tree) => store.collection_text(&Collection::Tree(tree)),
        PublishedValue::Passed { .. } | PublishedValue::PassedTree(_) => {
            unreachable!("the cursor is before it")
        }
    }
}

fn large_bytes(store: &Store, id: LargeId) -> Vec<u8> {
    let (mut bytes, mut cursor) = (Vec::new(), LargeCursor::new(id, 0));
    loop {
        let piece = store.large_slice(&mut cursor);
        if piece.is_empty() {
            return bytes;
        }
        bytes.extend_from_slice(piece);
        cursor.advance(piece.len());
    }
}
