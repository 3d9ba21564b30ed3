//! From the entries of frames back into a store.

use crate::mutation::{Change, Effect, LargeId, LargeRef, PublishedValue, Refused};
use crate::store::Store;
use crate::store::feed::stored::{self, STORED_ALIGN_BYTES};
use crate::time::Millis;
use std::mem::ManuallyDrop;

/// Before any expiry: what has expired is loaded like everything else, and removed afterwards.
const BEGINNING: Millis = Millis(0);

/// Why entries cannot be applied, although their checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// They are none that this version writes.
    Malformed,
    /// The store has no room.
    Full,
    /// A value or key is longer than the store takes (`--max-value`).
    TooLarge { size: u64 },
    /// It belongs to a database that the store does not have (`--databases`).
    Database,
}

impl From<Refused> for LoadError {
    fn from(refused: Refused) -> LoadError {
        match refused {
            Refused::Full => LoadError::Full,
            Refused::TooLarge { size, .. }
            | Refused::KeyTooLong { size }
            | Refused::FieldTooLong { size } => LoadError::TooLarge { size },
            Refused::WrongType => LoadError::Malformed,
        }
    }
}

/// A large value whose bytes come.
struct Coming {
    /// After an error it goes with the store, which is of no use then.
    value: ManuallyDrop<LargeRef>,
    /// Bytes that are still to come, and bytes that fill them up.
    left: u64,
    padding: usize,
    /// The entry that they belong to.
    entry: Box<[u8]>,
}

/// Applies entries, frame by frame.
#[derive(Default)]
pub struct Loader {
    coming: Option<Coming>,
    /// Entries that were applied, or were there already.
    record_count: u64,
    /// Keys have gone to make room: what builds on a key that is not there is left out.
    has_evicted: bool,
    /// What is loaded goes into the change feed's history too.
    remembers: bool,
}

impl Loader {
    /// Entries that were loaded.
    pub fn record_count(&self) -> u64 {
        self.record_count
    }

    /// What is loaded from now on are changes in their order: the store's feed remembers them.
    pub fn remember(&mut self) {
        self.remembers = true;
    }

    /// Applies the entries of one frame.
    ///
    /// # Errors
    /// See [`LoadError`]; the store is then of no use.
    pub fn load(&mut self, store: &mut Store, payload: &[u8]) -> Result<(), LoadError> {
        let mut rest = payload;
        while !rest.is_empty() {
            if let Some(mut coming) = self.coming.take() {
                let len = coming.left.min(rest.len() as u64) as usize;
                let (bytes, behind) = rest.split_at(len);
                self.append(store, coming.value.id(), bytes)?;
                coming.left -= len as u64;
                // A frame ends at a multiple of eight: what fills the value up is in the same one as its end.
                let padding = if coming.left == 0 { coming.padding } else { 0 };
                rest = behind.get(padding..).ok_or(LoadError::Malformed)?;
                if coming.left > 0 {
                    self.coming = Some(coming);
                } else {
                    self.finish_large(store, coming)?;
                }
                continue;
            }
            let measure = stored::measure(rest).ok_or(LoadError::Malformed)?;
            let (entry, behind) = rest.split_at(measure.len);
            rest = behind;
            match measure.large_len {
                None => {
                    let change = stored::decode(entry).ok_or(LoadError::Malformed)?;
                    self.apply(store, &change)?;
                }
                Some(len) => self.begin_large(store, entry, len)?,
            }
        }
        Ok(())
    }

    fn begin_large(&mut self, store: &mut Store, entry: &[u8], len: u64) -> Result<(), LoadError> {
        let change = stored::decode(entry).ok_or(LoadError::Malformed)?;
        if !belongs(store, &change) {
            return Err(LoadError::Database);
        }
        let (keyspace, key) = change.effect.key().ok_or(LoadError::Malformed)?;
        let key = (store.database_of(keyspace), key);
        let value = loop {
            // It may have replaced a value in a store that was full.
            match store.large_begin_for(key, len, BEGINNING) {
                Ok(value) => break ManuallyDrop::new(value),
                Err(refused) => self.make_room(store, refused)?,
            }
        };
        let padding = (len.next_multiple_of(STORED_ALIGN_BYTES as u64) - len) as usize;
        let coming = Coming { value, left: len, padding, entry: entry.into() };
        if len == 0 {
            return self.finish_large(store, coming);
        }
        self.coming = Some(coming);
        Ok(())
    }

    fn append(&mut self, store: &mut Store, id: LargeId, bytes: &[u8]) -> Result<(), LoadError> {
        if bytes.is_empty() {
            return Ok(());
        }
        while let Err(refused) = store.large_make_room(id, bytes.len() as u64, BEGINNING) {
            self.make_room(store, refused)?;
        }
        store.large_append(id, bytes, BEGINNING).map_err(LoadError::from)
    }

    fn finish_large(&mut self, store: &mut Store, coming: Coming) -> Result<(), LoadError> {
        let mut change = stored::decode(&coming.entry).ok_or(LoadError::Malformed)?;
        if let Effect::Put { value, .. } | Effect::PutField { value, .. } = &mut change.effect
            && let PublishedValue::Large { id, .. } = value
        {
            *id = coming.value.id();
        }
        let applied = self.apply(store, &change);
        let value = ManuallyDrop::into_inner(coming.value);
        match applied {
            // The key has it.
            Ok(true) => _ = value.into_raw(),
            _ => store.large_release(value),
        }
        applied.map(drop)
    }

    /// True: the change was applied; false: the store has it, or something newer.
    fn apply(&mut self, store: &mut Store, change: &Change<'_>) -> Result<bool, LoadError> {
        if !belongs(store, change) {
            return Err(LoadError::Database);
        }
        self.record_count += 1;
        if self.remembers && !self.has_evicted {
            store.feed_remember(change);
        }
        if self.has_evicted && builds_on_nothing(store, change) {
            return Ok(false);
        }
        loop {
            match store.apply_at(change, BEGINNING) {
                Ok(applied) => return Ok(applied),
                Err(refused) => self.make_room(store, refused)?,
            }
        }
    }

    /// A store that is a cache gives up what is little used, as it would have done by itself.
    fn make_room(&mut self, store: &mut Store, refused: Refused) -> Result<(), LoadError> {
        if refused == Refused::Full && store.evicts() && store.evict_for_replay(BEGINNING) {
            self.has_evicted = true;
            // No subscriber has heard that these keys went.
            store.feed_forget();
            return Ok(());
        }
        Err(refused.into())
    }
}

/// Whether a change is of keyspaces that the store has.
fn belongs(store: &Store, change: &Change<'_>) -> bool {
    let databases = store.config().databases;
    match change.effect {
        Effect::Swap { a, b } => {
            [a, b].iter().all(|(db, keyspace)| db.0 < databases && keyspace.0 < databases)
        }
        Effect::Flush { keyspace } => keyspace.is_none_or(|keyspace| keyspace.0 < databases),
        effect => effect.key().is_none_or(|(keyspace, _)| keyspace.0 < databases),
    }
}

/// Whether a change is of a part of a key that is not there.
fn builds_on_nothing(store: &Store, change: &Change<'_>) -> bool {
    match change.effect {
        Effect::Write { keyspace, key, .. }
        | Effect::PutField { keyspace, key, .. }
        | Effect::SetFieldExpiry { keyspace, key, .. }
        | Effect::RemoveField { keyspace, key, .. } => {
            store.peek(store.database_of(keyspace), key, BEGINNING).is_none()
        }
        _ => false,
    }
}
