//! Collections as the store's callers see them: fields that are looked up, put and removed.
//!
//! ```text
//!                      short: put together in the scratch buffer ──▶ placed as a record
//!  field ──▶ record ──▶     └── more than PACKED_LEN_MAX entries, or too long for a record ──▶ a tree of its entries
//!                      pages: written in the tree ──▶ where the root is, and how much there is, into the record
//! ```
//! A collection in pages never becomes a short one again, so that a cursor keeps its meaning while the key lives.

use super::collection::page::NEVER;
use super::collection::{
    Collection, Entry, Item, PACKED_HEAD_BYTES, PACKED_LEN_MAX, Packed, makes_table, tree_bytes,
};
use super::field_expiry::clipped;
use super::place::{Found, Key, NewRecord, Publish};
use super::record::{self, Content, Record};
use super::room::Fill;
use super::{Store, split};
use crate::limits::{FIELD_BYTES_MAX, INLINE_VALUE_BYTES_MAX};
use crate::mutation::{
    Applied, CollectionKind, Effect, FieldExpiry, NewValue, PublishedValue, Refused, Revision, Tree,
};
use crate::time::Millis;
use crate::wire::number::parse_i64;

pub(super) const UNCHANGED: Applied = Applied { revision: Revision(0), existed: false, value_len: 0 };

/// Where an entry of a short collection is, or is to be: its start, and its length if it is there.
pub(super) struct Spot {
    pub(super) start: usize,
    pub(super) old: Option<usize>,
}

impl Store {
    /// The value of a field, or the member itself; a field whose time has come is not there.
    pub fn field<'a>(&'a self, collection: &Collection<'a>, field: &[u8], now: Millis) -> Option<Item<'a>> {
        let entry = self.field_entry(collection, field).filter(|entry| entry.is_live(now))?;
        Some(entry.value.unwrap_or(entry.field))
    }

    /// The entry of a field, whether or not its time has come.
    pub fn field_entry<'a>(&'a self, collection: &Collection<'a>, field: &[u8]) -> Option<Entry<'a>> {
        match collection {
            Collection::Packed(packed) => packed.entries().find(|entry| is_field(entry, field)),
            Collection::Tree(tree) => self.tree_get(tree, field),
        }
    }

    /// Appends the bytes of a field or value to a buffer, as far as it has room for them.
    pub fn copy_item(&self, item: Item<'_>, buffer: &mut Vec<u8>) {
        match item {
            Item::Bytes(bytes) if bytes.len() <= buffer.capacity() - buffer.len() => {
                buffer.extend_from_slice(bytes);
            }
            Item::Bytes(_) => {}
            Item::Large { id, .. } => {
                for piece in self.large_pieces(id) {
                    let room = buffer.capacity() - buffer.len();
                    buffer.extend_from_slice(&piece[..piece.len().min(room)]);
                }
            }
        }
    }

    /// The entry of an index below the collection's length.
    pub fn field_at<'a>(&'a self, collection: &Collection<'a>, index: usize) -> Option<Entry<'a>> {
        match collection {
            Collection::Packed(packed) => packed.entries().nth(index),
            Collection::Tree(tree) if index < tree.len as usize => Some(self.tree_entry(tree, index as u32)),
            Collection::Tree(_) => None,
        }
    }

    /// Bytes that a collection takes, about: large fields and values aside.
    pub fn collection_bytes(&self, collection: &Collection<'_>) -> u64 {
        match collection {
            Collection::Packed(packed) => packed.size() as u64,
            Collection::Tree(tree) => u64::from(tree.page_count) * self.page_bytes() as u64,
        }
    }

    /// Begins a collection in pages, which is its caller's until a key has it ([`NewValue::Tree`]): the caller has the one
    /// reference to its root.
    ///
    /// # Errors
    /// [`Refused::Full`].
    pub fn tree_begin(&mut self, kind: CollectionKind, now: Millis) -> Result<Tree, Refused> {
        self.tree_create(kind, Fill::Data, now)
    }

    /// Gives a field of such a collection a value (a set: this member), and a time of its own or none. A large value's
    /// reference is taken over. True: the field was there.
    ///
    /// # Errors
    /// [`Refused`]; the collection is as before.
    pub fn tree_add(
        &mut self,
        tree: &mut Tree,
        field: &[u8],
        (value, expiry): NewEntry<'_>,
        now: Millis,
    ) -> Result<bool, Refused> {
        if field.len() > FIELD_BYTES_MAX {
            return Err(Refused::FieldTooLong { size: field.len() as u64 });
        }
        self.tree_put(tree, field, (value, clipped(expiry)), now).map(|put| put.existed)
    }

    /// Writes a set that was put together in pages as a short collection, if it can be one beside a key of this length:
    /// integers in their order, as Redis has them. Its bytes, for [`NewValue::Packed`].
    pub fn tree_packed<'b>(&self, tree: &Tree, key: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        if tree.len as usize > PACKED_LEN_MAX || tree.height > 1 || tree.kind.has_values() {
            return None;
        }
        let mut order = [(0_i64, 0_u32); PACKED_LEN_MAX];
        let order = &mut order[..tree.len as usize];
        let mut len = PACKED_HEAD_BYTES;
        for (index, slot) in (0..tree.len).zip(&mut *order) {
            let entry = self.tree_entry(tree, index);
            let Item::Bytes(member) = entry.field else { return None };
            *slot = (if tree.is_table { 0 } else { parse_i64(member).unwrap_or(0) }, index);
            len += entry.size();
        }
        if !self.is_inline(key, len) || len > buffer.len() {
            return None;
        }
        order.sort_unstable();
        let head = Packed { is_table: tree.is_table, len: tree.len as u8, ..Packed::empty(tree.kind) }.head();
        buffer[..PACKED_HEAD_BYTES].copy_from_slice(&head);
        let mut at = PACKED_HEAD_BYTES;
        for (_, index) in order {
            at += self.tree_entry(tree, *index).write(&mut buffer[at..]);
        }
        Some(&buffer[..at])
    }

    /// What the key has: a collection of this kind, or nothing.
    pub(super) fn collection_at(
        &self,
        found: &Found,
        kind: CollectionKind,
    ) -> Result<Option<Collection<'_>>, Refused> {
        let Some(at) = found.at else { return Ok(None) };
        let Content::Collection(bytes) = self.record(at).content else { return Err(Refused::WrongType) };
        let collection = Collection::read(bytes);
        if collection.kind() == kind { Ok(Some(collection)) } else { Err(Refused::WrongType) }
    }

    pub(super) fn put_field(
        &mut self,
        key: Key<'_>,
        (kind, field, value, expiry): (CollectionKind, &[u8], NewValue<'_>, FieldExpiry),
        now: Millis,
    ) -> Result<Applied, Refused> {
        if field.len() > FIELD_BYTES_MAX {
            return Err(Refused::FieldTooLong { size: field.len() as u64 });
        }
        let value = match value {
            _ if !kind.has_values() => None,
            NewValue::Large(id) => Some(Item::Large { id, len: self.larges.len(id) as u32 }),
            NewValue::Bytes(bytes) => Some(Item::Bytes(bytes)),
            NewValue::Tree(_) | NewValue::Packed(_) => return Err(Refused::WrongType),
        };
        let found = self.locate_live_field(key, (kind, field), now)?;
        let target = FieldTarget { key, found, kind, field };
        let collection = self.collection_at(&found, kind)?;
        let expiry = match (expiry, collection) {
            (FieldExpiry::Set(expiry), _) => clipped(expiry),
            (FieldExpiry::Keep, Some(collection)) => {
                self.field_entry(&collection, field).and_then(|entry| entry.expiry)
            }
            (FieldExpiry::Keep, None) => None,
        };
        match collection {
            Some(Collection::Tree(tree)) => self.put_in_tree(&target, tree, (value, expiry), now),
            _ => {
                // A value that is too long to lie in a record or a page is made a large one here, and given back if it
                // turns out to be in vain.
                let made = match value {
                    Some(Item::Bytes(bytes)) if bytes.len() > self.inline_bytes_max / 2 => {
                        let id = self.large_of(bytes, now)?;
                        Some(Item::Large { id, len: bytes.len() as u32 })
                    }
                    _ => None,
                };
                // Finding room for it may have moved the record.
                let target = FieldTarget { found: self.found(key), ..target };
                let put = self.put_in_packed(&target, (made.or(value), expiry), now);
                match made.and_then(|item| item.large()) {
                    Some(id) => self.or_release(id, put),
                    None => put,
                }
            }
        }
    }

    /// Copies the short collection that a key has, or an empty one, into the scratch buffer; its length.
    pub(super) fn load_packed(&mut self, target: &FieldTarget<'_>) -> usize {
        let (FieldTarget { found, kind, .. }, len) = (target, PACKED_HEAD_BYTES);
        let Some(at) = found.at else {
            self.scratch[..len].copy_from_slice(&Packed::empty(*kind).head());
            return len;
        };
        let (segment, offset) = split(&self.pool, at);
        let record = Record::read(&self.pool.bytes(segment)[offset..]);
        let Content::Collection(bytes) = record.content else { unreachable!("it is a collection") };
        let len = PACKED_HEAD_BYTES + read_packed(bytes).entries.len();
        self.scratch[..len].copy_from_slice(&bytes[..len]);
        len
    }

    fn put_in_packed(
        &mut self,
        target: &FieldTarget<'_>,
        value: NewEntry<'_>,
        now: Millis,
    ) -> Result<Applied, Refused> {
        let len = self.load_packed(target);
        let mut scratch = std::mem::take(&mut self.scratch);
        let put = self.put_in_scratch(target, value, (&mut scratch, len), now);
        self.scratch = scratch;
        put
    }

    fn put_in_scratch(
        &mut self,
        target: &FieldTarget<'_>,
        (value, expiry): NewEntry<'_>,
        (scratch, len): (&mut [u8], usize),
        now: Millis,
    ) -> Result<Applied, Refused> {
        let FieldTarget { key, found, kind, field } = *target;
        let mut packed = read_packed(&scratch[..len]);
        let spot = spot_of(&packed, field);
        let existed = spot.old.is_some();
        let count = packed.len() + usize::from(!existed);
        if existed && kind == CollectionKind::Set {
            return Ok(Applied { existed, value_len: count as u64, ..UNCHANGED });
        }
        let entry = Entry { field: Item::Bytes(field), value, expiry };
        let old_size = spot.old.unwrap_or(0);
        let new_len = len - old_size + entry.size();
        packed.is_table |= makes_table(kind, count, field, value.map_or(0, |value| value.len()));
        let is_too_long = self.is_long_field(field) || !self.is_inline(key.bytes, new_len);
        if count > PACKED_LEN_MAX || is_too_long {
            return self.grow_into_tree(target, &packed, (value, expiry), now);
        }
        packed.has_large |= value.is_some_and(|value| value.large().is_some());
        packed.has_times |= expiry.is_some();
        (packed.len, packed.entries) = (count as u8, &[]);
        let head = packed.head();
        // The others' large values are the new record's, too. Their old one gives up its references when it goes.
        let large = value.and_then(|value| value.large());
        let start = PACKED_HEAD_BYTES + spot.start;
        scratch.copy_within(start + old_size..len, start + entry.size());
        entry.write(&mut scratch[start..]);
        scratch[..PACKED_HEAD_BYTES].copy_from_slice(&head);
        let publish = Publish::PutField { kind, field, value: published(value), expiry };
        self.retain_packed(&scratch[..new_len], large);
        let expiry = found.at.and_then(|at| self.record(at).expiry);
        let new = NewRecord { key, content: Content::Collection(&scratch[..new_len]), expiry };
        match self.place(&new, (found, publish), now) {
            Ok(revision) => Ok(Applied { revision, existed, value_len: count as u64 }),
            Err(refused) => {
                self.release_packed(&scratch[..new_len], large);
                Err(refused)
            }
        }
    }

    /// Turns a short collection into a tree, with one entry more or another value.
    fn grow_into_tree(
        &mut self,
        target: &FieldTarget<'_>,
        packed: &Packed<'_>,
        (value, expiry): NewEntry<'_>,
        now: Millis,
    ) -> Result<Applied, Refused> {
        let FieldTarget { key, found, kind, field } = *target;
        let key_expiry = found.at.and_then(|at| self.record(at).expiry);
        let mut tree = Tree { is_table: packed.is_table, ..self.tree_create(kind, Fill::Data, now)? };
        let existed = match self.fill_tree(&mut tree, packed, (field, (value, expiry)), now) {
            Ok(existed) => existed,
            Err(refused) => {
                self.release_root(tree.root);
                return Err(refused);
            }
        };
        let bytes = tree_bytes(&tree);
        let published = self.published_in(&tree, field, value);
        let publish = Publish::PutField { kind, field, value: published, expiry };
        let new = NewRecord { key, content: Content::Collection(&bytes), expiry: key_expiry };
        match self.place(&new, (found, publish), now) {
            Ok(revision) => Ok(Applied { revision, existed, value_len: u64::from(tree.len) }),
            Err(refused) => {
                // The reference to the value is its giver's again.
                if let Some(id) = value.and_then(|value| value.large()) {
                    self.larges.retain(id);
                }
                self.release_root(tree.root);
                Err(refused)
            }
        }
    }

    /// Puts the entries of a short collection into an empty tree, and one more; whether that replaced one.
    fn fill_tree(
        &mut self,
        tree: &mut Tree,
        packed: &Packed<'_>,
        (field, value): (&[u8], NewEntry<'_>),
        now: Millis,
    ) -> Result<bool, Refused> {
        for entry in packed.entries() {
            let Item::Bytes(bytes) = entry.field else { unreachable!("a short collection has short fields") };
            let large = entry.larges().next();
            large.into_iter().for_each(|id| self.larges.retain(id));
            let put = self.tree_put(tree, bytes, (entry.value, entry.expiry), now);
            match large {
                Some(id) => _ = self.or_release(id, put)?,
                None => _ = put?,
            }
        }
        self.tree_put(tree, field, value, now).map(|put| put.existed)
    }

    /// A value as it is published, once it is in a tree: a long one as the large value that it has become.
    fn published_in<'v>(&self, tree: &Tree, field: &[u8], value: Option<Item<'v>>) -> PublishedValue<'v> {
        match value {
            Some(Item::Bytes(bytes)) if bytes.len() > INLINE_VALUE_BYTES_MAX.min(self.inline_bytes_max) => {
                match self.tree_get(tree, field).and_then(|entry| entry.value) {
                    Some(Item::Large { id, len }) => PublishedValue::Large { id, len: u64::from(len) },
                    _ => PublishedValue::Bytes(bytes),
                }
            }
            value => published(value),
        }
    }

    fn put_in_tree(
        &mut self,
        target: &FieldTarget<'_>,
        tree: Tree,
        (value, expiry): NewEntry<'_>,
        now: Millis,
    ) -> Result<Applied, Refused> {
        let FieldTarget { key, kind, field, .. } = *target;
        if kind == CollectionKind::Set && self.tree_get(&tree, field).is_some() {
            return Ok(Applied { existed: true, value_len: u64::from(tree.len), ..UNCHANGED });
        }
        let mut tree = tree;
        let put = self.tree_put(&mut tree, field, (value, expiry), now)?;
        let value = self.published_in(&tree, field, value);
        let effect =
            Effect::PutField { keyspace: key.keyspace(), key: key.bytes, kind, field, value, expiry };
        let revision = self.commit(effect);
        self.note_tree(target, &tree, revision);
        Ok(Applied { revision, existed: put.existed, value_len: u64::from(tree.len) })
    }

    /// Writes where a tree is now into the record of its key, which was there when the change began.
    pub(super) fn note_tree(&mut self, target: &FieldTarget<'_>, tree: &Tree, revision: Revision) {
        let at = self.again(target.key, target.found).expect("a key that is changed is not evicted");
        let (segment, offset) = split(&self.pool, at);
        record::rewrite_value(&mut self.pool.bytes_mut(segment)[offset..], revision, &tree_bytes(tree));
        if tree.due != NEVER {
            self.expires(segment, tree.due);
        }
    }
}

/// One entry of a key, which is to be changed.
#[derive(Clone, Copy)]
pub(super) struct FieldTarget<'a> {
    pub key: Key<'a>,
    pub found: Found,
    pub kind: CollectionKind,
    pub field: &'a [u8],
}

/// A field's new value (a set's member has none), and its time.
type NewEntry<'v> = (Option<Item<'v>>, Option<Millis>);

/// The short collection of these bytes.
pub(super) fn read_packed(bytes: &[u8]) -> Packed<'_> {
    match Collection::read(bytes) {
        Collection::Packed(packed) => packed,
        Collection::Tree(_) => unreachable!("it is a short one"),
    }
}

pub(super) fn is_field(entry: &Entry<'_>, field: &[u8]) -> bool {
    matches!(entry.field, Item::Bytes(bytes) if bytes == field)
}

/// Where a field is, or is to be: behind the others, but a set of integers is in their order, as in Redis.
pub(super) fn spot_of(packed: &Packed<'_>, field: &[u8]) -> Spot {
    let number = if packed.kind == CollectionKind::Set && !packed.is_table { parse_i64(field) } else { None };
    let (mut start, mut before_greater) = (0, None);
    for entry in packed.entries() {
        if is_field(&entry, field) {
            return Spot { start, old: Some(entry.size()) };
        }
        if let (Some(number), None, Item::Bytes(bytes)) = (number, before_greater, entry.field)
            && parse_i64(bytes).is_some_and(|other| other > number)
        {
            before_greater = Some(start);
        }
        start += entry.size();
    }
    Spot { start: before_greater.unwrap_or(start), old: None }
}

/// A value as it is published.
pub(super) fn published(value: Option<Item<'_>>) -> PublishedValue<'_> {
    match value {
        None => PublishedValue::Bytes(b""),
        Some(Item::Bytes(bytes)) => PublishedValue::Bytes(bytes),
        Some(Item::Large { id, len }) => PublishedValue::Large { id, len: u64::from(len) },
    }
}
