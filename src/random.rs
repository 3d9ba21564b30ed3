//! Pseudo-random numbers for tests and the simulator: SplitMix64 (Steele, Lea, Flood 2014). The seed is the caller's,
//! so every run is alike, on every machine and with every version of this crate.

/// The generator.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Bytes of any value.
    #[cfg(test)]
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

#[cfg(feature = "sim")]
impl Random {
    /// A generator for one purpose: what it draws does not depend on how often others draw.
    pub(crate) fn split(&mut self) -> Random {
        Random(self.next())
    }

    /// Whether something of that probability, in millionths, happens. Draws once, whatever the probability.
    pub(crate) fn happens(&mut self, millionths: u32) -> bool {
        self.next() % 1_000_000 < u64::from(millionths)
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A time of about an exponential distribution with that mean: a half-life for each zero bit drawn, and a uniform
    /// part of the next. Whole numbers only, so that no platform's rounding changes a run.
    pub(crate) fn exponential(&mut self, mean: u64) -> u64 {
        let half_lives = u64::from((self.next() | 1 << 40).leading_zeros());
        let part = self.next() % 1024;
        mean * 693 / 1000 * (half_lives * 1024 + part) / 1024
    }
}
