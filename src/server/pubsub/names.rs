//! The names of channels and patterns: any bytes, cut into blocks of one length that are chained, so that no name leaves
//! a gap that another one cannot use.
//!
//! ```text
//! block  | next u32 | 28 bytes of the name |        a name: its first block and its length
//! ```

/// Bytes of a name in one block.
const PIECE_BYTES: usize = 28;
/// Bytes of a block: the number of the next one, then a piece.
const BLOCK_BYTES: usize = PIECE_BYTES + 4;
/// No block; as bytes all zeros, which is how the system hands memory out.
const NONE: u32 = 0;

/// A name that is kept. It has to be given back ([`NamePool::release`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Name {
    /// The first block, counted from 1.
    first: u32,
    len: u16,
}

impl Name {
    pub(in crate::server) fn len(self) -> usize {
        usize::from(self.len)
    }
}

/// The blocks; touched as they come into use.
pub(in crate::server) struct NamePool {
    bytes: Box<[u8]>,
    /// Released blocks.
    free: u32,
    /// Blocks that have never been used begin here.
    fresh: u32,
    used: u32,
}

impl NamePool {
    /// Room for `bytes` of blocks.
    pub(in crate::server) fn new(bytes: usize) -> NamePool {
        let count = bytes / BLOCK_BYTES;
        NamePool { bytes: vec![0; count * BLOCK_BYTES].into_boxed_slice(), free: NONE, fresh: 1, used: 0 }
    }

    fn blocks(&self) -> u32 {
        (self.bytes.len() / BLOCK_BYTES) as u32
    }

    /// Bytes of blocks that are in use.
    pub(in crate::server) fn used_bytes(&self) -> usize {
        self.used as usize * BLOCK_BYTES
    }

    /// Blocks that are in use, and all.
    pub(super) fn usage(&self) -> (usize, usize) {
        (self.used as usize, self.blocks() as usize)
    }

    /// Keeps a copy. `None`: there is no room, and nothing has changed.
    pub(in crate::server) fn insert(&mut self, name: &[u8]) -> Option<Name> {
        let len = u16::try_from(name.len()).ok()?;
        let needed = name.len().div_ceil(PIECE_BYTES).max(1) as u32;
        if self.blocks() - self.used < needed {
            return None;
        }
        let mut first = NONE;
        // From the end, so that each block is written once with the number of the one behind it.
        for index in (0..needed as usize).rev() {
            let block = self.take();
            let piece = &name[index * PIECE_BYTES..name.len().min((index + 1) * PIECE_BYTES)];
            let bytes = self.block_mut(block);
            bytes[..4].copy_from_slice(&first.to_le_bytes());
            bytes[4..4 + piece.len()].copy_from_slice(piece);
            first = block;
        }
        Some(Name { first, len })
    }

    /// Gives a name's blocks back.
    pub(in crate::server) fn release(&mut self, name: Name) {
        let mut block = name.first;
        while block != NONE {
            let next = self.next(block);
            let free = self.free;
            self.block_mut(block)[..4].copy_from_slice(&free.to_le_bytes());
            self.free = block;
            self.used -= 1;
            block = next;
        }
    }

    /// The name, piece by piece.
    pub(in crate::server) fn pieces(&self, name: Name) -> impl Iterator<Item = &[u8]> + '_ {
        let mut block = name.first;
        let mut left = name.len();
        core::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let piece = &self.block(block)[4..4 + left.min(PIECE_BYTES)];
            left -= piece.len();
            block = self.next(block);
            Some(piece)
        })
    }

    /// Whether a name is this one.
    pub(in crate::server) fn is(&self, name: Name, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        name.len() == bytes.len()
            && self.pieces(name).all(|piece| {
                let (head, tail) = rest.split_at(piece.len());
                rest = tail;
                head == piece
            })
    }

    /// Whether `bytes` begin with a name.
    pub(in crate::server) fn begins(&self, name: Name, bytes: &[u8]) -> bool {
        name.len() <= bytes.len() && self.is(name, &bytes[..name.len()])
    }

    /// Whether a name begins with `bytes`.
    pub(in crate::server) fn begins_with(&self, name: Name, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        name.len() >= bytes.len()
            && self.pieces(name).all(|piece| {
                let (head, tail) = rest.split_at(piece.len().min(rest.len()));
                rest = tail;
                piece.starts_with(head)
            })
    }

    /// Appends a name to `to`.
    pub(in crate::server) fn append(&self, name: Name, to: &mut Vec<u8>) {
        self.pieces(name).for_each(|piece| to.extend_from_slice(piece));
    }

    fn take(&mut self) -> u32 {
        self.used += 1;
        if self.free != NONE {
            let block = self.free;
            self.free = self.next(block);
            return block;
        }
        self.fresh += 1;
        self.fresh - 1
    }

    fn next(&self, block: u32) -> u32 {
        let bytes = self.block(block);
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn block(&self, block: u32) -> &[u8] {
        let at = (block as usize - 1) * BLOCK_BYTES;
        &self.bytes[at..at + BLOCK_BYTES]
    }

    fn block_mut(&mut self, block: u32) -> &mut [u8] {
        let at = (block as usize - 1) * BLOCK_BYTES;
        &mut self.bytes[at..at + BLOCK_BYTES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_length_come_back_whole() {
        let mut pool = NamePool::new(64 * BLOCK_BYTES);
        for len in [0, 1, 27, 28, 29, 56, 57, 500] {
            let name: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let kept = pool.insert(&name).expect("room");
            let mut copy = Vec::new();
            pool.append(kept, &mut copy);
            assert_eq!((kept.len(), &copy), (len, &name));
            assert!(pool.is(kept, &name));
            copy.push(0);
            assert!(!pool.is(kept, &copy));
            assert!(pool.begins(kept, &copy) && pool.begins_with(kept, &name[..len / 2]));
            assert!(!pool.begins_with(kept, &copy));
            pool.release(kept);
        }
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    fn a_full_pool_refuses_and_has_room_again_after_a_release() {
        let mut pool = NamePool::new(4 * BLOCK_BYTES);
        let long = pool.insert(&[b'x'; 3 * PIECE_BYTES]).expect("room");
        assert_eq!(pool.insert(&[b'y'; PIECE_BYTES + 1]), None);
        let short = pool.insert(b"y").expect("room for one block");
        assert_eq!(pool.insert(b""), None);
        pool.release(long);
        let other = pool.insert(&[b'z'; 2 * PIECE_BYTES]).expect("the room of the long one");
        assert!(pool.is(other, &[b'z'; 2 * PIECE_BYTES]) && pool.is(short, b"y"));
        assert_eq!(pool.used_bytes(), 3 * BLOCK_BYTES);
    }
}
