//! A change that a command must bring about, and whether one that the store published is just that.

use super::change::Change;
use super::value::Value;
use crate::mutation::CollectionKind;
use std::rc::Rc;

/// A change that a command must bring about.
#[derive(Clone, Debug)]
pub enum Effect {
    Put {
        key: Vec<u8>,
        value: Value,
        expiry: Option<u64>,
    },
    PutField {
        key: Vec<u8>,
        kind: CollectionKind,
        field: Vec<u8>,
        value: Rc<[u8]>,
        /// The field's own.
        expiry: Option<u64>,
    },
    /// With its last field the key is gone.
    RemoveField {
        key: Vec<u8>,
        kind: CollectionKind,
        field: Vec<u8>,
    },
    SetFieldExpiry {
        key: Vec<u8>,
        field: Vec<u8>,
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

impl Effect {
    /// The key that changes.
    pub fn key(&self) -> &[u8] {
        match self {
            Effect::Put { key, .. }
            | Effect::PutField { key, .. }
            | Effect::RemoveField { key, .. }
            | Effect::SetFieldExpiry { key, .. }
            | Effect::Append { key, .. }
            | Effect::SetExpiry { key, .. }
            | Effect::Delete { key }
            | Effect::Rename { from: key, .. } => key,
            Effect::Flush => b"",
        }
    }

    /// Whether the change is just that.
    pub fn is(&self, change: &Change) -> bool {
        match (self, change) {
            (Effect::Put { key, value, expiry }, Change::Put { key: changed, value: put, expiry: at }) => {
                key == changed && expiry == at && put == value
            }
            (
                Effect::PutField { key, kind, field, value, expiry },
                Change::PutField { key: changed, kind: of, field: at, value: put, expiry: until },
            ) => (key, kind, field, &value[..], expiry) == (changed, of, at, &put[..], until),
            (
                Effect::RemoveField { key, kind, field },
                Change::RemoveField { key: changed, kind: of, field: at, expired: false, .. },
            ) => (key, kind, field) == (changed, of, at),
            (
                Effect::SetFieldExpiry { key, field, expiry },
                Change::SetFieldExpiry { key: changed, field: at, expiry: until },
            ) => (key, field, expiry) == (changed, at, until),
            (Effect::Append { key, added, .. }, Change::Write { key: changed, bytes, .. }) => {
                key == changed && added == bytes
            }
            (Effect::Append { key, value, .. }, Change::Put { key: changed, value: put, .. }) => {
                key == changed && put.text() == Some(value)
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
