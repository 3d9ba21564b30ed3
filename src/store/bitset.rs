//! A set of small numbers that finds its first and its last member in a few steps.
//!
//! ```text
//! level 2                 [1]                      a bit is set when the word below it is not zero
//! level 1        [1 1 0 … 1]
//! level 0  [0110…] [1000…] [0000…] … [0001…]       one bit for each number
//! ```
//! Four levels reach 2^24 numbers. Nothing is allocated after [`BitSet::new`].

const WORD_BITS: usize = u64::BITS as usize;

/// A set of the numbers `0..len`.
pub struct BitSet {
    levels: Vec<Vec<u64>>,
}

impl BitSet {
    /// An empty set with room for the numbers `0..len`.
    pub fn new(len: usize) -> BitSet {
        let mut levels = Vec::new();
        let mut words = len.max(1).div_ceil(WORD_BITS);
        levels.push(vec![0; words]);
        while words > 1 {
            words = words.div_ceil(WORD_BITS);
            levels.push(vec![0; words]);
        }
        BitSet { levels }
    }

    /// Whether `number` is a member.
    pub fn contains(&self, number: usize) -> bool {
        self.levels[0][number / WORD_BITS] >> (number % WORD_BITS) & 1 == 1
    }

    /// Makes `number` a member.
    pub fn insert(&mut self, mut number: usize) {
        for level in &mut self.levels {
            level[number / WORD_BITS] |= 1 << (number % WORD_BITS);
            number /= WORD_BITS;
        }
    }

    /// Makes `number` no member.
    pub fn remove(&mut self, mut number: usize) {
        for level in &mut self.levels {
            let word = &mut level[number / WORD_BITS];
            *word &= !(1 << (number % WORD_BITS));
            if *word != 0 {
                return;
            }
            number /= WORD_BITS;
        }
    }

    /// The smallest member.
    pub fn first(&self) -> Option<usize> {
        self.descend(|word| word.trailing_zeros() as usize)
    }

    /// The largest member.
    pub fn last(&self) -> Option<usize> {
        self.descend(|word| WORD_BITS - 1 - word.leading_zeros() as usize)
    }

    fn descend(&self, choose: impl Fn(u64) -> usize) -> Option<usize> {
        let mut at = 0;
        for level in self.levels.iter().rev() {
            let word = level[at];
            if word == 0 {
                return None;
            }
            at = at * WORD_BITS + choose(word);
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn agrees_with_a_tree() {
        for len in [1, 63, 64, 65, 5000, 300_000] {
            let (mut set, mut model) = (BitSet::new(len), BTreeSet::new());
            let mut random = 1_u64;
            for _ in 0..4000 {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let number = (random >> 33) as usize % len;
                if random >> 20 & 3 == 0 || model.len() > 40 {
                    let gone = model.first().copied().unwrap_or(number);
                    set.remove(gone);
                    model.remove(&gone);
                } else {
                    set.insert(number);
                    model.insert(number);
                }
                assert_eq!(set.first(), model.first().copied());
                assert_eq!(set.last(), model.last().copied());
                assert_eq!(set.contains(number), model.contains(&number));
            }
        }
    }
}
