//! A change as a store published it, owned; and the list of them.

use super::follower::published_bytes;
use super::value::Value;
use crate::limits::INLINE_VALUE_BYTES_MAX;
use crate::mutation::{self, CollectionKind, Database, Effect, GroupMark, RemoveReason};
use crate::store::Store;

/// A change as the store published it, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put {
        key: Vec<u8>,
        value: Value,
        expiry: Option<u64>,
    },
    /// Of a set: its value is empty.
    PutField {
        key: Vec<u8>,
        kind: CollectionKind,
        field: Vec<u8>,
        value: Vec<u8>,
        expiry: Option<u64>,
    },
    RemoveField {
        key: Vec<u8>,
        kind: CollectionKind,
        field: Vec<u8>,
        is_last: bool,
        /// By its time, not by a client.
        expired: bool,
    },
    SetFieldExpiry {
        key: Vec<u8>,
        field: Vec<u8>,
        expiry: Option<u64>,
    },
    Write {
        key: Vec<u8>,
        offset: u64,
        bytes: Vec<u8>,
    },
    SetExpiry {
        key: Vec<u8>,
        expiry: Option<u64>,
    },
    Delete {
        key: Vec<u8>,
    },
    Expire {
        key: Vec<u8>,
    },
    Evict {
        key: Vec<u8>,
    },
    Flush,
    /// What no client of this world asks for.
    Other,
}

impl Change {
    /// The key that changes; empty where it is none or many.
    pub fn key(&self) -> &[u8] {
        match self {
            Change::Put { key, .. }
            | Change::PutField { key, .. }
            | Change::RemoveField { key, .. }
            | Change::SetFieldExpiry { key, .. }
            | Change::Write { key, .. }
            | Change::SetExpiry { key, .. }
            | Change::Delete { key }
            | Change::Expire { key }
            | Change::Evict { key } => key,
            Change::Flush | Change::Other => b"",
        }
    }

    /// Whether the store makes it by itself.
    pub fn is_removal(&self) -> bool {
        matches!(
            self,
            Change::Expire { .. } | Change::Evict { .. } | Change::RemoveField { expired: true, .. }
        )
    }
}

/// A change, its revision, and how it stands to its neighbours.
#[derive(Clone, Debug)]
pub struct Logged {
    pub revision: u64,
    pub group: GroupMark,
    /// The client that asked for it, if it came by RESP.
    pub client: Option<u64>,
    pub change: Change,
}

pub(super) fn owned(store: &Store, change: &mutation::Change<'_>) -> Change {
    let effect = change.effect;
    if effect.key().is_some_and(|(keyspace, _)| store.database_of(keyspace) != Database(0)) {
        return Change::Other;
    }
    match effect {
        Effect::Put { key, value, expiry, .. } => {
            let value = Value::published(store, value);
            Change::Put { key: key.to_vec(), value, expiry: expiry.map(|at| at.0) }
        }
        Effect::Write { key, offset, bytes, .. } => {
            Change::Write { key: key.to_vec(), offset, bytes: bytes.to_vec() }
        }
        Effect::PutField { key, kind, field, value, expiry, .. } => {
            let value = if kind.has_values() { published_bytes(store, value) } else { Vec::new() };
            let expiry = expiry.map(|at| at.0);
            Change::PutField { key: key.to_vec(), kind, field: field.to_vec(), value, expiry }
        }
        Effect::RemoveField { key, kind, field, is_last, reason, .. } => {
            let expired = reason == RemoveReason::Expired;
            Change::RemoveField { key: key.to_vec(), kind, field: field.to_vec(), is_last, expired }
        }
        Effect::SetFieldExpiry { key, field, expiry, .. } => {
            Change::SetFieldExpiry { key: key.to_vec(), field: field.to_vec(), expiry: expiry.map(|at| at.0) }
        }
        Effect::SetExpiry { key, expiry, .. } => {
            Change::SetExpiry { key: key.to_vec(), expiry: expiry.map(|at| at.0) }
        }
        Effect::Remove { key, reason, .. } => {
            let key = key.to_vec();
            match reason {
                RemoveReason::Deleted => Change::Delete { key },
                RemoveReason::Expired => Change::Expire { key },
                RemoveReason::Evicted => Change::Evict { key },
            }
        }
        Effect::Flush { .. } => Change::Flush,
        Effect::Swap { .. } => Change::Other,
    }
}

/// Adds a change to a list; the pieces in which a long write is published become one again.
pub(super) fn log(list: &mut Vec<Logged>, logged: Logged) {
    if let (
        Some(Logged { revision, group, change: Change::Write { key, offset, bytes }, .. }),
        Change::Write { key: same, offset: at, bytes: more },
    ) = (list.last_mut(), &logged.change)
        && logged.group != GroupMark::Alone
        && bytes.len().is_multiple_of(INLINE_VALUE_BYTES_MAX)
        && !bytes.is_empty()
        && (&*key, *offset + bytes.len() as u64) == (same, *at)
    {
        bytes.extend_from_slice(more);
        *group = match (*group, logged.group) {
            (GroupMark::First, GroupMark::Last) => GroupMark::Alone,
            (GroupMark::First, _) => GroupMark::First,
            (_, mark) => mark,
        };
        *revision = logged.revision;
        return;
    }
    list.push(logged);
}
