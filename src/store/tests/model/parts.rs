//! What is done in parts: large values that are begun, filled and published, and keys that are looked up ahead.

use super::{Harness, ModelRecord, Writer, read};
use crate::mutation::{Mutation, NewValue};
use crate::store::Value;
use std::io::IoSliceMut;

impl Harness {
    pub fn begin(&mut self) {
        let hint = if self.random.below(2) == 0 { 0 } else { self.random.below(5000) };
        match self.store.large_begin(hint as u64, self.now) {
            Ok(large) => self.writers.push(Writer { large, bytes: Vec::new() }),
            Err(_) => self.refused += 1,
        }
        self.listen();
    }

    pub fn fill(&mut self) {
        if self.writers.is_empty() {
            return self.begin();
        }
        let at = self.random.below(self.writers.len());
        let bytes = self.value();
        let id = self.writers[at].large.id();
        if self.random.below(2) == 0 {
            return self.fill_pieces(at, &bytes);
        }
        for byte in bytes.chunks(700) {
            let Ok(space) = self.store.large_space(id, self.now) else { break };
            let n = space.len().min(byte.len());
            assert!(n > 0);
            space[..n].copy_from_slice(&byte[..n]);
            self.store.large_filled(id, n);
            self.writers[at].bytes.extend_from_slice(&byte[..n]);
        }
        self.listen();
        assert_eq!(self.store.large_len(id), self.writers[at].bytes.len() as u64);
    }

    /// As `fill`, with room made beforehand and in several pieces at once.
    fn fill_pieces(&mut self, at: usize, bytes: &[u8]) {
        let writer = &mut self.writers[at];
        let room = self.store.config().max_value_bytes - writer.bytes.len() as u64;
        let mut rest = &bytes[..bytes.len().min(room as usize)];
        if rest.is_empty()
            || self.store.large_make_room(writer.large.id(), rest.len() as u64, self.now).is_err()
        {
            self.listen();
            return;
        }
        while !rest.is_empty() {
            let mut spaces = [(); 3].map(|()| IoSliceMut::new(&mut []));
            let count = self.store.large_spaces(writer.large.id(), rest.len() as u64, &mut spaces);
            let mut filled = 0;
            for space in &mut spaces[..count] {
                let len = space.len();
                assert!(len > 0);
                space.copy_from_slice(&rest[filled..filled + len]);
                filled += len;
            }
            assert!(count == spaces.len() || filled == rest.len(), "as many pieces as there are, or fit");
            self.store.large_filled(writer.large.id(), filled);
            writer.bytes.extend_from_slice(&rest[..filled]);
            rest = &rest[filled..];
        }
        assert_eq!(self.store.large_len(writer.large.id()), writer.bytes.len() as u64);
        self.listen();
    }

    pub fn publish(&mut self) {
        let Some(writer) = self.writers.pop() else { return };
        let (db, key, expiry) = (self.db(), self.key(), self.expiry());
        let mutation = Mutation::Put { db, key: &key, value: NewValue::Large(writer.large.id()), expiry };
        if let Some(applied) = self.apply(&mutation) {
            self.insert((db, key), writer.bytes, expiry, applied);
        }
        self.store.large_release(writer.large);
    }

    pub fn retain(&mut self) {
        let (db, key) = (self.db(), self.key());
        if let Some(entry) = self.store.peek(db, &key, self.now)
            && let Value::Large { id, .. } = entry.value
        {
            let bytes = read(&self.store, entry.value);
            let large = self.store.large_retain(id);
            self.readers.push(Writer { large, bytes });
        }
        while self.readers.len() + self.writers.len() > 6 {
            let from = if self.readers.is_empty() { &mut self.writers } else { &mut self.readers };
            let reader = from.remove(0);
            let len = reader.bytes.len() as u64;
            assert_eq!(read(&self.store, Value::Large { id: reader.large.id(), len }), reader.bytes);
            self.store.large_release(reader.large);
        }
    }

    /// Looks keys up ahead, and uses what was seen of one before: however old it is, it makes no difference.
    pub fn look_ahead(&mut self) {
        let (db, key) = (self.db(), self.key());
        let mut hint = self.store.hint(db, &key);
        if self.random.below(4) > 0 {
            self.store.prefetch_record(&mut hint);
        }
        self.sights.push((db, key, hint));
        if self.sights.len() < 5 {
            return;
        }
        let (db, key, hint) = self.sights.swap_remove(self.random.below(5));
        let kept = self.kept(db, &key);
        if self.random.below(2) == 0 {
            let found = self.store.get_hinted(db, &key, &hint, self.now).is_some();
            assert_eq!(found, kept.is_some());
            if let Some(kept) = kept {
                let value = self.store.get_hinted(db, &key, &hint, self.now).expect("it was there");
                assert!(!matches!(value, Value::Inline(bytes) if bytes != kept.value));
                assert_eq!(value.len(), kept.value.len() as u64);
            }
            self.listen();
            return;
        }
        let value = self.value();
        match self.store.put_hinted((db, &key), &value, &hint, self.now) {
            Ok(()) => {
                assert!(self.listen(), "a change is published");
                let kept = ModelRecord { value, expiry: None, revision: self.last };
                self.keys.insert((db.0, key), kept);
            }
            Err(_) => {
                assert!(!self.listen(), "what is refused is not published");
                self.refused += 1;
            }
        }
    }
}
