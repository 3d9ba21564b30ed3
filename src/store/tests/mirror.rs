//! A second store that is made of what the first one publishes, and of nothing else; the two are compared.

use crate::limits::MIB;
use crate::mutation::{Change, Database, Effect, GroupMark, KeyspaceId, LargeId, PublishedValue};
use crate::store::feed::{FeedCursor, FeedStep, WhenBehind};
use crate::store::{LargeCursor, OnFull, RemovalPolicy, Store, StoreConfig, Value};
use crate::time::Millis;

/// Before any expiry.
const BEGINNING: Millis = Millis(0);

pub(crate) struct Mirror {
    cursor: FeedCursor,
    pub store: Store,
    in_group: bool,
    changed: Vec<(KeyspaceId, Vec<u8>)>,
}

impl Mirror {
    /// Follows a store that has a feed and nothing else yet.
    pub fn of(first: &mut Store) -> Mirror {
        let cursor = first.feed_open(WhenBehind::Missed).expect("the store has a feed");
        let config = StoreConfig {
            memory_bytes: 4 * first.config().memory_bytes + MIB,
            on_full: OnFull::Refuse,
            feed_bytes: 0,
            ..*first.config()
        };
        let mut store = Store::new(config, [3, 4]).unwrap();
        store.set_removal_policy(RemovalPolicy::Follow);
        Mirror { cursor, store, in_group: false, changed: Vec::new() }
    }

    /// Takes up all that was published since, shows each change with the store as it was before it, and compares the keys
    /// that have changed.
    pub fn follow(&mut self, first: &mut Store, mut show: impl FnMut(&Store, &Change<'_>)) {
        loop {
            match first.feed_peek(&self.cursor) {
                FeedStep::Change(change) => {
                    show(&self.store, &change);
                    self.apply(first, &change);
                }
                FeedStep::End => break,
                FeedStep::Lost(_) => panic!("the ring is too short"),
            }
            first.feed_advance(&self.cursor);
        }
        assert!(!self.in_group, "a group is published whole");
        for (keyspace, key) in std::mem::take(&mut self.changed) {
            self.compare_key(first, keyspace, &key);
        }
        assert_eq!(self.store.revision(), first.revision());
    }

    fn apply(&mut self, first: &Store, change: &Change<'_>) {
        let begins = matches!(change.group, GroupMark::Alone | GroupMark::First);
        assert!(begins != self.in_group, "{change:?}");
        self.in_group = matches!(change.group, GroupMark::First | GroupMark::Within);
        self.changed.extend(change.effect.key().map(|(keyspace, key)| (keyspace, key.to_vec())));
        let mut change = *change;
        if let Effect::Put { value: PublishedValue::Tree(tree), .. } = &mut change.effect {
            *tree = self.store.tree_copied(first, tree, BEGINNING).unwrap();
        }
        if let Effect::Put { value, .. } | Effect::PutField { value, .. } = &mut change.effect
            && let PublishedValue::Large { id, len } = *value
        {
            let bytes = large_bytes(first, id);
            assert_eq!(bytes.len() as u64, len);
            let large = self.store.large_begin(len, BEGINNING).unwrap();
            self.store.large_append(large.id(), &bytes, BEGINNING).unwrap();
            // The key's.
            *value = PublishedValue::Large { id: large.into_raw(), len };
        }
        assert_eq!(self.store.apply_at(&change, BEGINNING), Ok(true), "{change:?}");
        assert!(self.store.revision() == change.revision);
    }

    fn compare_key(&self, first: &Store, keyspace: KeyspaceId, key: &[u8]) {
        let of = |store: &Store| {
            let entry = store.peek(store.database_of(keyspace), key, BEGINNING)?;
            Some((bytes_of(store, entry.value), entry.expiry, entry.revision))
        };
        assert_eq!(of(first), of(&self.store), "{}", key.escape_ascii());
    }

    /// Compares every key.
    pub fn compare(&self, first: &Store) {
        for db in (0..first.config().databases).map(Database) {
            let mut keys = Vec::new();
            let mut cursor = 0;
            loop {
                cursor = first.scan(db, cursor, 100, BEGINNING, &mut |entry| keys.push(entry.key.to_vec()));
                if cursor == 0 {
                    break;
                }
            }
            keys.iter().for_each(|key| self.compare_key(first, first.keyspace_of(db), key));
            assert_eq!(first.keyspace_of(db), self.store.keyspace_of(db));
            assert_eq!(first.len(db), self.store.len(db));
        }
        assert_eq!(first.revision(), self.store.revision());
    }
}

pub(crate) fn bytes_of(store: &Store, value: Value<'_>) -> Vec<u8> {
    match value {
        Value::Inline(bytes) => bytes.to_vec(),
        Value::Large { id, .. } => large_bytes(store, id),
        Value::Collection(collection) => store.collection_text(&collection),
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
