//! An unsigned integer of up to 20,480 bits on the stack: what lies between a decimal text and a `long double`, whose
//! largest value has 16,384 bits and whose smallest, times the power of ten that makes it whole, a few thousand more.

/// Enough for 1,024 digits over ten to the power of 6,000, and 67 bits of quotient.
const LIMBS: usize = 640;

/// The limbs, lowest first; the highest of `len` is not 0.
pub struct Big {
    limbs: [u32; LIMBS],
    len: usize,
}

impl Big {
    pub fn new(value: u64) -> Big {
        let mut big = Big { limbs: [0; LIMBS], len: 2 };
        (big.limbs[0], big.limbs[1]) = (value as u32, (value >> 32) as u32);
        big.trim();
        big
    }

    fn trim(&mut self) {
        while self.len > 0 && self.limbs[self.len - 1] == 0 {
            self.len -= 1;
        }
    }

    pub fn is_zero(&self) -> bool {
        self.len == 0
    }

    pub fn bits(&self) -> u32 {
        match self.len {
            0 => 0,
            len => len as u32 * 32 - self.limbs[len - 1].leading_zeros(),
        }
    }

    /// `self * factor + addend`.
    ///
    /// # Panics
    /// Where that has more than 20,480 bits, which the bounds on digits and exponents exclude.
    pub fn multiply(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.limbs[..self.len] {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            self.limbs[self.len] = carry as u32;
            self.len += 1;
        }
    }

    /// Divides by `divisor` and returns the remainder.
    pub fn divide(&mut self, divisor: u32) -> u32 {
        let mut remainder = 0;
        for limb in self.limbs[..self.len].iter_mut().rev() {
            let dividend = remainder << 32 | u64::from(*limb);
            *limb = (dividend / u64::from(divisor)) as u32;
            remainder = dividend % u64::from(divisor);
        }
        self.trim();
        remainder as u32
    }

    /// Multiplies by two to the power of `by`.
    ///
    /// # Panics
    /// As [`multiply`](Self::multiply).
    pub fn shift_left(&mut self, by: u32) {
        if self.len == 0 {
            return;
        }
        self.multiply(1 << (by % 32), 0);
        let limbs = by as usize / 32;
        self.limbs.copy_within(..self.len, limbs);
        self.limbs[..limbs].fill(0);
        self.len += limbs;
    }

    /// The highest 128 bits (all, if there are fewer), how many bits are below them, and whether any of those is set.
    pub fn top(&self) -> (u128, u32, bool) {
        let below = self.bits().saturating_sub(128);
        let (skipped, shift) = (below as usize / 32, below % 32);
        let limb = |at: usize| u128::from(if at < self.len { self.limbs[at] } else { 0 });
        let window = (0..4).fold(0, |sum, at| sum | limb(skipped + at) << (32 * at));
        let above = if shift == 0 { 0 } else { limb(skipped + 4) << (128 - shift) };
        let cut = self.limbs[..skipped].iter().any(|limb| *limb != 0);
        let cut = cut || (shift != 0 && limb(skipped) & ((1 << shift) - 1) != 0);
        (window >> shift | above, below, cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps here and back, at lengths around the limbs' ends.
    #[test]
    fn what_is_multiplied_and_divided_comes_back() {
        for factor in [1, 2, 3, 10, 1_000_000_000, u32::MAX] {
            for times in [0, 1, 2, 31, 32, 33, 600] {
                let mut big = Big::new(0x1234_5678_9abc_def0);
                (0..times).for_each(|_| big.multiply(factor, 7 % factor));
                for _ in 0..times {
                    assert_eq!(big.divide(factor), 7 % factor, "{factor} {times}");
                }
                assert_eq!(big.top(), (0x1234_5678_9abc_def0, 0, false));
            }
        }
    }

    #[test]
    fn shifts_are_multiplications() {
        for by in [0, 1, 31, 32, 33, 64, 127, 128, 1_000, 16_000] {
            let (mut shifted, mut doubled) = (Big::new(0xf00d), Big::new(0xf00d));
            shifted.shift_left(by);
            (0..by).for_each(|_| doubled.multiply(2, 0));
            assert_eq!((shifted.bits(), shifted.top()), (doubled.bits(), doubled.top()), "{by}");
            assert_eq!(shifted.bits(), 16 + by);
        }
        let mut zero = Big::new(0);
        zero.shift_left(500);
        assert!(zero.is_zero() && zero.bits() == 0);
    }

    #[test]
    fn the_top_says_what_it_leaves_out() {
        let mut big = Big::new(u64::MAX);
        big.shift_left(64);
        assert_eq!(big.top(), (u128::from(u64::MAX) << 64, 0, false));
        big.multiply(1 << 9, 0);
        assert_eq!(big.top(), (u128::from(u64::MAX) << 64, 9, false));
        big.multiply(1, 1);
        assert_eq!(big.top(), (u128::from(u64::MAX) << 64, 9, true));
        big.shift_left(32);
        assert_eq!(big.top(), (u128::from(u64::MAX) << 64, 41, true));
    }
}
