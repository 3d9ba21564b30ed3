//! The hash of a key: SipHash-1-3 under a secret of the process.
//!
//! SCAN's cursors show hash order to every client, so a hash with weak keying would let a client learn the secret and
//! then flood one leaf. SipHash-1-3 is of known strength and short enough for short keys.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// Bytes of the longest key whose hash is remembered: beyond, comparing costs as much as it saves.
const REMEMBERED_BYTES_MAX: usize = 32;

/// Hashes keys under a secret drawn when the process starts.
pub struct KeyHasher {
    hasher: SipHasher13,
    /// A key of `remembered_len` bytes (0: none), and its hash.
    remembered: [u8; REMEMBERED_BYTES_MAX],
    remembered_len: usize,
    remembered_hash: u64,
}

impl KeyHasher {
    /// A hasher keyed by 128 secret bits.
    pub fn new(secret: [u64; 2]) -> KeyHasher {
        let hasher = SipHasher13::new_with_keys(secret[0], secret[1]);
        KeyHasher { hasher, remembered: [0; REMEMBERED_BYTES_MAX], remembered_len: 0, remembered_hash: 0 }
    }

    /// Remembers the hash of a key that the next command will ask for, some verbs several times: comparing a short key
    /// costs a tenth of hashing it.
    #[inline]
    pub fn remember(&mut self, key: &[u8], hash: u64) {
        debug_assert_eq!(hash, self.hasher.hash(key));
        self.remembered_len = 0;
        if let Some(place) = self.remembered.get_mut(..key.len()) {
            place.copy_from_slice(key);
            (self.remembered_len, self.remembered_hash) = (key.len(), hash);
        }
    }

    /// The hash of `key`.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        if !key.is_empty() && *key == self.remembered[..self.remembered_len] {
            return self.remembered_hash;
        }
        self.hasher.hash(key)
    }

    /// The hash of bytes that come in pieces, however they are cut. It is not that of [`hash`](KeyHasher::hash).
    pub fn hash_pieces<'p>(&self, pieces: impl Iterator<Item = &'p [u8]>) -> u64 {
        let mut hasher = self.hasher;
        pieces.for_each(|piece| hasher.write(piece));
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_would_be_hashed() {
        let fresh = KeyHasher::new([1, 2]);
        let mut hasher = KeyHasher::new([1, 2]);
        let long = [b'k'; REMEMBERED_BYTES_MAX + 1];
        for key in [b"".as_slice(), b"k", b"key", &long[1..], &long] {
            hasher.remember(key, fresh.hash(key));
            for asked in [b"".as_slice(), b"k", b"key", b"kez", &long[1..], &long] {
                assert_eq!(hasher.hash(asked), fresh.hash(asked), "{key:?} {asked:?}");
            }
        }
    }

    #[test]
    fn the_secret_decides_the_hash() {
        let a = KeyHasher::new([1, 2]);
        assert_eq!(a.hash(b"key"), KeyHasher::new([1, 2]).hash(b"key"));
        assert_ne!(a.hash(b"key"), KeyHasher::new([1, 3]).hash(b"key"));
        assert_ne!(a.hash(b"key"), a.hash(b"kez"));
    }

    #[test]
    fn pieces_are_hashed_as_a_whole() {
        let (hasher, bytes) = (KeyHasher::new([1, 2]), [7; 100]);
        let whole = hasher.hash_pieces([&bytes[..]].into_iter());
        for len in 1..100 {
            assert_eq!(hasher.hash_pieces(bytes.chunks(len)), whole);
        }
    }
}
