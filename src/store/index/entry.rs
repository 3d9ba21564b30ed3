//! What a leaf holds for each key: a word that packs the record's address, spare bits of the hash and a counter.
//!
//! ```text
//!  63 62 61                    36 35                                   0
//! +-----+------------------------+--------------------------------------+
//! |freq.| low 26 bits of the hash| address in units of four bytes       |
//! +-----+------------------------+--------------------------------------+
//! ```

/// Bits of the hash that an entry keeps.
pub(super) const HASH_BITS: u32 = 26;
/// The largest value of an entry's frequency counter.
pub const FREQUENCY_MAX: u8 = 3;

const ADDRESS_BITS: u32 = 36;
const FREQUENCY_SHIFT: u32 = ADDRESS_BITS + HASH_BITS;
const ADDRESS_MASK: u64 = (1 << ADDRESS_BITS) - 1;
const HASH_MASK: u32 = (1 << HASH_BITS) - 1;

const _: () = assert!(FREQUENCY_SHIFT + 2 == u64::BITS && FREQUENCY_MAX == 3);

/// Where a record begins in the pool, in units of four bytes: 36 bits reach 256 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(u64);

impl Address {
    /// Bytes of one unit.
    pub const UNIT_BYTES: u64 = 4;

    /// The address of a byte of the pool.
    ///
    /// # Panics
    /// When `offset` is no multiple of four, or 256 GiB or more.
    #[inline]
    pub const fn from_offset(offset: u64) -> Address {
        assert!(offset.is_multiple_of(Self::UNIT_BYTES) && offset / Self::UNIT_BYTES <= ADDRESS_MASK);
        Address(offset / Self::UNIT_BYTES)
    }

    /// The byte of the pool that it names.
    #[inline]
    pub fn offset(self) -> u64 {
        self.0 * Self::UNIT_BYTES
    }
}

/// An entry of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(pub u64);

impl Entry {
    #[inline]
    pub fn new(address: Address, hash: u32, frequency: u8) -> Entry {
        let frequency = u64::from(frequency.min(FREQUENCY_MAX));
        Entry(address.0 | u64::from(hash) << ADDRESS_BITS | frequency << FREQUENCY_SHIFT)
    }

    #[inline]
    pub fn address(self) -> Address {
        Address(self.0 & ADDRESS_MASK)
    }

    /// The kept bits of the hash.
    #[inline]
    pub fn hash(self) -> u32 {
        (self.0 >> ADDRESS_BITS) as u32 & HASH_MASK
    }

    #[inline]
    pub fn frequency(self) -> u8 {
        (self.0 >> FREQUENCY_SHIFT) as u8
    }

    /// Whether it is the entry of this address under this hash, whatever its frequency.
    #[inline]
    pub fn is(self, hash: u32, address: Address) -> bool {
        self.0 & !(u64::from(FREQUENCY_MAX) << FREQUENCY_SHIFT) == Entry::new(address, hash, 0).0
    }

    /// Position and address in one number that sorts by position.
    pub fn sort_key(self) -> u64 {
        u64::from(position(self.hash())) << ADDRESS_BITS | self.address().0
    }

    /// What [`sort_key`](Self::sort_key) put together.
    pub fn from_sort_key(key: u64) -> (u32, Address) {
        ((key >> ADDRESS_BITS) as u32, Address(key & ADDRESS_MASK))
    }
}

/// The bits of a key's hash that an entry keeps.
#[inline]
pub(super) fn kept(hash: u64) -> u32 {
    hash as u32 & HASH_MASK
}

/// The place of a hash in the order of SCAN: its bits reversed, so that a leaf, which is chosen by *low* bits, covers
/// one unbroken range. It is its own inverse.
pub(super) fn position(hash: u32) -> u32 {
    hash.reverse_bits() >> (u32::BITS - HASH_BITS)
}

/// The hash under which `hashbrown` files an entry: a function of the kept bits alone, so that a split reads no
/// records. All entries of a leaf agree in their low bits, hence the table must choose by bits that depend on the
/// high ones: the upper half of a product (Fibonacci hashing) is folded onto the lower.
#[inline]
pub(super) fn spread(hash: u32) -> u64 {
    let product = u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    product ^ product >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_give_back_what_they_hold() {
        let address = Address::from_offset((1 << 38) - 4);
        let entry = Entry::new(address, HASH_MASK, 2);
        assert_eq!((entry.address(), entry.hash(), entry.frequency()), (address, HASH_MASK, 2));
        assert!(entry.is(HASH_MASK, address) && !entry.is(1, address));
        assert_eq!(Entry::from_sort_key(entry.sort_key()), (position(HASH_MASK), address));
        assert_eq!(address.offset(), (1 << 38) - 4);
        assert_eq!(position(position(0x123_4567)), 0x123_4567);
        assert_eq!(position(1), 1 << 25);
    }
}
