//! What a key holds, as the model and a look at a store have it, in a form that can be compared.

use super::follower::{bytes_of, published_bytes};
use super::violation::show;
use crate::mutation::{CollectionKind, PublishedValue};
use crate::store::{self, Collection, Store};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// A field of a hash; a member of a set has an empty value and no expiry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    pub value: Rc<[u8]>,
    /// Unix milliseconds.
    pub expiry: Option<u64>,
}

impl Field {
    /// Whether its time has not come. One whose time has come is hidden until the store publishes that it is gone.
    pub fn is_live(&self, unix: u64) -> bool {
        self.expiry.is_none_or(|at| at > unix)
    }
}

/// The fields of a hash, or the members of a set, hidden ones among them.
pub type Fields = BTreeMap<Rc<[u8]>, Field>;

/// What a key holds.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    Text(Rc<[u8]>),
    Fields(CollectionKind, Rc<Fields>),
}

impl Value {
    /// The bytes of a string; `None`: it is of another type.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Value::Text(bytes) => Some(bytes),
            Value::Fields(..) => None,
        }
    }

    /// What a look-up has found.
    pub fn of(store: &Store, value: store::Value<'_>) -> Value {
        match value {
            store::Value::Collection(collection) => Value::of_collection(store, &collection),
            text => Value::Text(bytes_of(store, text).into()),
        }
    }

    /// What a change gives a key.
    pub fn published(store: &Store, value: PublishedValue<'_>) -> Value {
        match value {
            PublishedValue::Packed(bytes) => Value::of_collection(store, &Collection::read(bytes)),
            PublishedValue::Tree(tree) => Value::of_collection(store, &Collection::Tree(tree)),
            text => Value::Text(published_bytes(store, text).into()),
        }
    }

    fn of_collection(store: &Store, collection: &Collection<'_>) -> Value {
        let fields = store.owned_fields(collection).into_iter();
        let fields = fields.map(|(field, value, expiry)| {
            let (value, expiry) = (value.unwrap_or_default().into(), expiry.map(|at| at.0));
            (field.into(), Field { value, expiry })
        });
        Value::Fields(collection.kind(), Rc::new(fields.collect()))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(bytes) => write!(f, "'{}'", show(bytes)),
            Value::Fields(kind, fields) => {
                write!(f, "{kind:?} of {}:", fields.len())?;
                fields.iter().take(8).try_for_each(|(field, Field { value, expiry })| {
                    write!(f, " {}={}", show(field), show(value))?;
                    expiry.map_or(Ok(()), |at| write!(f, " until {at}"))
                })
            }
        }
    }
}
