//! The hash of a key: SipHash-1-3 under a secret of the process.
//!
//! SCAN's cursors show hash order to every client, so a hash with weak keying would let a client learn the secret and
//! then flood one leaf. SipHash-1-3 is of known strength and short enough for short keys.

use siphasher::sip::SipHasher13;

/// Hashes keys under a secret drawn when the process starts.
#[derive(Clone, Copy)]
pub struct KeyHasher {
    hasher: SipHasher13,
}

impl KeyHasher {
    /// A hasher keyed by 128 secret bits.
    pub fn new(secret: [u64; 2]) -> KeyHasher {
        KeyHasher { hasher: SipHasher13::new_with_keys(secret[0], secret[1]) }
    }

    /// The hash of `key`.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_decides_the_hash() {
        let a = KeyHasher::new([1, 2]);
        assert_eq!(a.hash(b"key"), KeyHasher::new([1, 2]).hash(b"key"));
        assert_ne!(a.hash(b"key"), KeyHasher::new([1, 3]).hash(b"key"));
        assert_ne!(a.hash(b"key"), a.hash(b"kez"));
    }
}
