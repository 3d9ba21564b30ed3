//! Tags: proof that a frame was made with the password. Keyed BLAKE3, cut to 128 bits, with separate
//! keys for requests and replies, derived from the password, the client id and the epoch. They keep nothing secret.
//!
//! ```text
//! base  = BLAKE3 derive_key("pannier frames v1 request" or "pannier frames v1 reply", password)
//! key   = BLAKE3 keyed_hash(base, client id (8 bytes) | epoch (4 bytes))
//! tag   = BLAKE3 keyed_hash(key, every byte before the tag), its first 16 bytes
//! ```

use subtle::ConstantTimeEq;

/// Bytes of a tag.
pub const TAG_LEN: usize = 16;

/// The keys that a password gives, one for each direction.
#[derive(Clone)]
pub struct TagKeys {
    pub request: TagKey,
    pub reply: TagKey,
}

impl TagKeys {
    /// Derives both keys. Costs two hashes; meant to be called once.
    #[must_use]
    pub fn from_password(password: &[u8]) -> TagKeys {
        TagKeys {
            request: TagKey(blake3::derive_key("pannier frames v1 request", password)),
            reply: TagKey(blake3::derive_key("pannier frames v1 reply", password)),
        }
    }
}

impl core::fmt::Debug for TagKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TagKeys(..)")
    }
}

/// The key of one direction.
#[derive(Clone)]
pub struct TagKey([u8; 32]);

impl core::fmt::Debug for TagKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TagKey(..)")
    }
}

impl TagKey {
    /// The tag of these bytes.
    #[must_use]
    pub fn sign(&self, client_id: u64, epoch: u32, covered: &[u8]) -> [u8; TAG_LEN] {
        let mut context = [0; 12];
        context[..8].copy_from_slice(&client_id.to_be_bytes());
        context[8..].copy_from_slice(&epoch.to_be_bytes());
        let key = blake3::keyed_hash(&self.0, &context);
        let hash = blake3::keyed_hash(key.as_bytes(), covered);
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&hash.as_bytes()[..TAG_LEN]);
        tag
    }

    /// Whether `tag` is the tag of these bytes, compared in constant time.
    #[must_use]
    pub fn verify(&self, client_id: u64, epoch: u32, covered: &[u8], tag: &[u8]) -> bool {
        self.sign(client_id, epoch, covered).ct_eq(tag).into()
    }
}
