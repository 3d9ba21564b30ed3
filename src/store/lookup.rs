//! Looking keys up ahead of time, many at once: their cache misses then overlap instead of following one another.
//!
//! ```text
//!            hint                     prefetch_record           get_hinted, put_hinted
//!  key ──▶ hash ─▶ directory ─▶ | ask for the leaf's lines |
//!                                 leaf: control bytes, entry ─▶ | ask for the record's lines |
//!                                                                 record: key, value
//!          \ for each of a batch /\───── for each of a batch ─────/\── in order, one by one ──/
//! ```
//! A [`LookupHint`] is a hint. Its hash is the key's for good; the address that it has counts only while no record has
//! moved or gone since, and if the record there has the key.

use super::index::Address;
use super::place::Key;
use super::{OnFull, Store, Value, bytes_at, record};
use crate::mutant::{self, Mutant};
use crate::mutation::{Database, Refused};
use crate::time::Millis;

/// Never a layout epoch: nothing was found.
const UNSEEN: u64 = u64::MAX;

/// What is known of a key ahead of its command; only [`Store::hint`] and [`Store::known`] make one, from the key's bytes.
#[derive(Clone, Copy, Debug)]
pub struct LookupHint {
    hash: u64,
    space: u32,
    /// The leaf where it is, if it is.
    leaf: u32,
    at: Address,
    /// The store's layout epoch when `at` was found.
    layout_epoch: u64,
}

impl LookupHint {
    /// Of no key.
    pub(super) const NOTHING: LookupHint =
        LookupHint { hash: 0, space: 0, leaf: 0, at: Address::from_offset(0), layout_epoch: UNSEEN };
}

/// Keys whose look-ups are under way before it is their turn, for commands of many keys: what each waits for memory, the
/// others do not wait for again. As many as a core has requests to memory under way, about.
pub struct Lookahead {
    hints: [Option<LookupHint>; Lookahead::KEYS],
    next: usize,
}

impl Lookahead {
    /// How many turns ahead of its own a key's look-up begins; half of them later its record is asked for.
    const KEYS: usize = 16;
    /// A longer key is not looked up ahead: hashing it once more costs as much as the waits that it would save.
    const KEY_BYTES_MAX: usize = 256;

    /// Begins with the first of `keys`, which [`step`](Lookahead::step) goes on with; an argument that is no key is `None`.
    pub fn new<'a>(
        store: &Store,
        db: Database,
        keys: &mut impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Lookahead {
        let mut ahead = Lookahead { hints: [None; Lookahead::KEYS], next: 0 };
        (0..Lookahead::KEYS).for_each(|_| _ = ahead.step(store, db, keys));
        ahead
    }

    /// The next key's turn begins: what is known of it, for [`Store::expect`]. The look-up of one further on begins.
    #[inline]
    pub fn step<'a>(
        &mut self,
        store: &Store,
        db: Database,
        keys: &mut impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Option<LookupHint> {
        let at = self.next % Lookahead::KEYS;
        self.next += 1;
        let key = keys.next().flatten().filter(|key| key.len() <= Lookahead::KEY_BYTES_MAX);
        let begun = key.map(|key| store.hint(db, key));
        if let Some(hint) = &mut self.hints[(at + Lookahead::KEYS / 2) % Lookahead::KEYS] {
            store.prefetch_record(hint);
        }
        std::mem::replace(&mut self.hints[at], begun)
    }
}

impl Store {
    /// Hashes a key and asks memory for the lines of the index in which it must be.
    #[inline]
    pub fn hint(&self, db: Database, key: &[u8]) -> LookupHint {
        let (space, hash) = (self.space(db), self.hasher.hash_anew(key));
        let leaf = self.keyspaces[space].index.prefetch(&self.leaves, hash);
        LookupHint { hash, space: space as u32, leaf, at: Address::from_offset(0), layout_epoch: UNSEEN }
    }

    /// Finds the record that is probably the key's and asks memory for its lines.
    #[inline]
    pub fn prefetch_record(&self, hint: &mut LookupHint) {
        if let Some(at) = self.leaves.probe(hint.leaf, hint.hash) {
            self.pool.prefetch(at.offset());
            (hint.at, hint.layout_epoch) = (at, self.layout_epoch);
        }
    }

    /// The next command asks for the key of the hint: that is not hashed again, and is looked for first where the hint says.
    #[inline]
    pub fn expect(&mut self, key: &[u8], hint: &LookupHint) {
        self.hasher.remember(key, hint.hash);
        self.expected = *hint;
    }

    /// What is known of a key: the hint that [`expect`](Store::expect) was given, if that is of this key, else no more than its hash.
    #[inline]
    pub fn known(&self, db: Database, key: &[u8]) -> LookupHint {
        let hash = self.hasher.hash(key);
        if hash == self.expected.hash {
            // Perhaps of another database, in which case it is not used: `hinted` compares the keyspace.
            self.expected
        } else {
            LookupHint { hash, space: self.space(db) as u32, ..LookupHint::NOTHING }
        }
    }

    /// The value of the key of the hint, as [`get`](Store::get) has it.
    #[inline(always)]
    pub fn get_hinted(
        &mut self,
        db: Database,
        key: &[u8],
        hint: &LookupHint,
        now: Millis,
    ) -> Option<Value<'_>> {
        let space = self.space(db);
        let (at, bytes) = match self.config.on_full {
            OnFull::Refuse => self.seen(space, key, hint)?,
            OnFull::Evict => {
                let at = self.locate_to_use(space, hint.hash, key)?;
                (at, bytes_at(&self.pool, at))
            }
        };
        if record::expired(bytes, now) {
            return None;
        }
        match record::inline_value(bytes, key.len()) {
            Some(value) => Some(Value::Inline(value)),
            None => Some(self.entry(at).value),
        }
    }

    /// Gives the key of the hint a value and no expiry, as [`Put`](crate::mutation::Mutation::Put) does.
    ///
    /// # Errors
    /// As [`apply`](Store::apply).
    #[inline(always)]
    pub fn put_hinted(
        &mut self,
        (db, key): (Database, &[u8]),
        value: &[u8],
        hint: &LookupHint,
        now: Millis,
    ) -> Result<(), Refused> {
        let space = self.space(db);
        if let Some((at, _)) = self.seen(space, key, hint)
            && self.rewrite(Key::new(space, hint.hash, key), at, (value, None)).is_some()
        {
            return Ok(());
        }
        self.put_hashed(Key::new(space, hint.hash, key), value, now)
    }

    /// Where a key's record is, and its bytes: where the hint says, if that still holds.
    #[inline(always)] // A call would cost as much as its body; once for each command of a batch.
    fn seen(&self, space: usize, key: &[u8], hint: &LookupHint) -> Option<(Address, &[u8])> {
        debug_assert_eq!(hint.hash, self.hasher.hash(key));
        match self.hinted((space, hint.hash, key), hint) {
            Some(found) => Some(found),
            None => self.locate(space, hint.hash, key).map(|at| (at, bytes_at(&self.pool, at))),
        }
    }

    /// The same, if the hint is of that key and still holds.
    #[inline(always)] // As above.
    pub(super) fn hinted(
        &self,
        (space, hash, key): (usize, u64, &[u8]),
        hint: &LookupHint,
    ) -> Option<(Address, &[u8])> {
        let holds = hint.layout_epoch == self.layout_epoch
            || hint.layout_epoch != UNSEEN && mutant::is_on(Mutant::StaleHint);
        if !holds || hint.hash != hash || hint.space as usize != space {
            return None;
        }
        let bytes = bytes_at(&self.pool, hint.at);
        record::has_key(bytes, key).then_some((hint.at, bytes))
    }
}
