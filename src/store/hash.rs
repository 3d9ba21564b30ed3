//! The hash of a key: SipHash-1-3 under a secret of the process.
//!
//! SCAN's cursors show hash order to every client, so a hash with weak keying would let a client learn the secret and
//! then flood one leaf. SipHash-1-3 is of known strength and short enough for short keys.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// Hashes keys under a secret drawn when the process starts.
pub struct KeyHasher {
    hasher: SipHasher13,
    remembered: Option<Ends>,
    remembered_hash: u64,
}

/// A short key by its first and its last bytes, which overlap: compared without a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    len: usize,
    first: u128,
    last: u128,
}

impl Ends {
    /// Of a key of 4 to 32 bytes: a longer one costs as much to compare as it saves, a shorter one is hashed as fast.
    #[inline]
    fn of(key: &[u8]) -> Option<Ends> {
        let (first, last) = if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
            (u128::from_le_bytes(*first), u128::from_le_bytes(*last))
        } else if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
            (u64::from_le_bytes(*first).into(), u64::from_le_bytes(*last).into())
        } else {
            let (first, last) = (key.first_chunk()?, key.last_chunk()?);
            (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
        };
        (key.len() <= 32).then_some(Ends { len: key.len(), first, last })
    }
}

impl KeyHasher {
    /// A hasher keyed by 128 secret bits.
    pub fn new(secret: [u64; 2]) -> KeyHasher {
        let hasher = SipHasher13::new_with_keys(secret[0], secret[1]);
        KeyHasher { hasher, remembered: None, remembered_hash: 0 }
    }

    /// Remembers the hash of a key that the next command will ask for, some verbs several times: comparing a short key
    /// costs a tenth of hashing it.
    #[inline]
    pub fn remember(&mut self, key: &[u8], hash: u64) {
        debug_assert_eq!(hash, self.hasher.hash(key));
        (self.remembered, self.remembered_hash) = (Ends::of(key), hash);
    }

    /// The hash of `key`.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        match self.remembered {
            Some(remembered) if Ends::of(key) == Some(remembered) => self.remembered_hash,
            _ => self.hash_anew(key),
        }
    }

    /// The same of a key that is hardly the one that is remembered.
    #[inline]
    pub fn hash_anew(&self, key: &[u8]) -> u64 {
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
        let bytes: Vec<u8> = (0..40).collect();
        let keys = (0..=bytes.len()).map(|len| bytes[..len].to_vec());
        let other = |key: &Vec<u8>, at: usize| {
            let mut other = key.clone();
            other[at] ^= 1;
            other
        };
        for key in keys {
            hasher.remember(&key, fresh.hash(&key));
            let others = (0..key.len()).map(|at| other(&key, at));
            for asked in others.chain([key.clone(), key[..key.len() / 2].to_vec(), bytes.clone()]) {
                assert_eq!(hasher.hash(&asked), fresh.hash(&asked), "{key:?} {asked:?}");
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
