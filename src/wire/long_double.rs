//! The sum that INCRBYFLOAT answers, digit for digit as Redis on x86-64 computes and prints it: in C's `long double`, a
//! sign, a mantissa of 64 bits and an exponent (IEEE 754 extended precision), printed by `%.17Lf` without the zeros at
//! the end. So 0.1 + 0.2 is 0.3 (a double says 0.30000000000000004), and 12345.1 + 0.1 is 12345.19999999999999929.
//!
//! Texts are read as `strtold` reads them: decimal with an optional sign, point and exponent, hexadecimal behind `0x` with
//! an exponent behind `p`, or `inf` and `infinity` in any case; no blanks and no NaN. Beyond the first 1,024 digits it is
//! known only that there was more, which decides every rounding but one in 10^1000.

use big::Big;

mod big;

/// Why there is no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSum {
    /// One of the texts is no number, or one that a `long double` cannot hold.
    NotANumber,
    /// The sum is infinite, or none.
    NotFinite,
}

/// Bytes of the longest sum: sign, 4,933 digits (2^16384 has so many), or fewer with a point and decimals.
pub const SUM_BYTES_MAX: usize = 1 + 4_933 + 1 + DECIMALS;
/// Digits behind the point that are printed, and ten to that power.
const DECIMALS: usize = 17;
const DECIMALS_SCALE: u128 = 10u128.pow(DECIMALS as u32);
/// Zero bits that are put behind a mantissa before adding: enough for exact rounding.
const GUARD_BITS: u32 = 62;
/// Digits of a text that are read.
const DIGITS_MAX: u32 = 1_024;
/// The highest bit of a finite value stands below 2^16384, that of the smallest one at 2^-16445.
const TOP_MAX: i32 = 16_384;
const TOP_MIN: i32 = -16_444;
/// A power of ten beyond which a text of up to [`DIGITS_MAX`] digits is infinite, or 0, whatever they are.
const SCALE_MAX: i32 = 4_940 + DIGITS_MAX as i32;

/// The sum of two numbers given as text, written into `buffer`. It takes up to a millisecond for thousands of digits.
///
/// # Errors
/// See [`NoSum`].
pub fn add<'a>(a: &[u8], b: &[u8], buffer: &'a mut [u8; SUM_BYTES_MAX]) -> Result<&'a [u8], NoSum> {
    let (a, b) = (Number::parse(a)?, Number::parse(b)?);
    let (Number::Finite(a), Number::Finite(b)) = (a, b) else {
        return Err(NoSum::NotFinite);
    };
    let sum = a.plus(b);
    if sum.mantissa != 0 && sum.top() > TOP_MAX {
        return Err(NoSum::NotFinite);
    }
    Ok(sum.print(buffer))
}

/// What a text says.
enum Number {
    Finite(Extended),
    Infinite,
}

/// A text without its sign, read: `digits * base^scale`, and whether there were more digits.
struct Digits {
    digits: Big,
    count: u32,
    scale: i32,
    rest: bool,
}

impl Number {
    fn parse(text: &[u8]) -> Result<Number, NoSum> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
            return Ok(Number::Infinite);
        }
        let value = match text {
            [b'0', b'x' | b'X', rest @ ..] => Digits::parse(rest, 16)?.hexadecimal(negative),
            _ => Digits::parse(text, 10)?.decimal(negative),
        };
        match value {
            Some(value) if value.mantissa == 0 || (TOP_MIN..=TOP_MAX).contains(&value.top()) => {
                Ok(Number::Finite(value))
            }
            _ => Err(NoSum::NotANumber),
        }
    }
}

impl Digits {
    /// Digits, one point among them perhaps, an exponent perhaps; at least one digit.
    fn parse(text: &[u8], base: u8) -> Result<Digits, NoSum> {
        let mut read = Digits { digits: Big::new(0), count: 0, scale: 0, rest: false };
        let (mut has_digits, mut behind_point) = (false, false);
        // In hexadecimal a digit is four places of the exponent, which counts bits.
        let place = if base == 16 { 4 } else { 1 };
        for (at, byte) in text.iter().enumerate() {
            match char::from(*byte).to_digit(u32::from(base)) {
                Some(digit) => {
                    has_digits = true;
                    if read.count < DIGITS_MAX {
                        read.digits.multiply(u32::from(base), digit);
                        read.count += u32::from(!read.digits.is_zero());
                        read.scale -= place * i32::from(behind_point);
                    } else {
                        read.rest |= digit != 0;
                        read.scale += place * i32::from(!behind_point);
                    }
                }
                None if *byte == b'.' && !behind_point => behind_point = true,
                None if has_digits && byte.eq_ignore_ascii_case(if base == 16 { &b'p' } else { &b'e' }) => {
                    read.scale = read.scale.saturating_add(exponent(&text[at + 1..])?);
                    return Ok(read);
                }
                None => return Err(NoSum::NotANumber),
            }
        }
        if has_digits { Ok(read) } else { Err(NoSum::NotANumber) }
    }

    /// `None`: far too large or too small.
    fn hexadecimal(self, negative: bool) -> Option<Extended> {
        if !self.digits.is_zero() && self.scale.abs() > 64_000 {
            return None;
        }
        Some(Extended::from_big(negative, &self.digits, self.scale, self.rest))
    }

    /// `None`: far too large or too small.
    fn decimal(mut self, negative: bool) -> Option<Extended> {
        if self.digits.is_zero() {
            return Some(Extended { negative, mantissa: 0, exponent: 0 });
        }
        if self.scale.abs() > SCALE_MAX || self.count as i32 + self.scale > SCALE_MAX - DIGITS_MAX as i32 {
            return None;
        }
        let mut power = self.scale.unsigned_abs();
        if self.scale >= 0 {
            while power > 0 {
                let step = power.min(9);
                self.digits.multiply(10u32.pow(step), 0);
                power -= step;
            }
            return Some(Extended::from_big(negative, &self.digits, 0, self.rest));
        }
        // Bits behind the point, until the quotient has 67; ten to the power of n has at most 3.322 n + 1.
        let shift = (power * 3_322 / 1_000 + 68).saturating_sub(self.digits.bits());
        self.digits.shift_left(shift);
        while power > 0 {
            let step = power.min(9);
            self.rest |= self.digits.divide(10u32.pow(step)) != 0;
            power -= step;
        }
        Some(Extended::from_big(negative, &self.digits, -(shift as i32), self.rest))
    }
}

/// The number behind an `e` or a `p`. One beyond all reason is as good as a very large one.
fn exponent(text: &[u8]) -> Result<i32, NoSum> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NoSum::NotANumber);
    }
    let value =
        digits.iter().fold(0i32, |value, digit| (value * 10 + i32::from(digit - b'0')).min(1_000_000));
    Ok(if negative { -value } else { value })
}

/// `mantissa * 2^exponent`; the mantissa's highest bit is set unless all of it is 0.
#[derive(Clone, Copy)]
struct Extended {
    negative: bool,
    mantissa: u64,
    exponent: i32,
}

impl Extended {
    /// Rounds to 64 bits, half to even. `rest`: there was more behind the last bit; then `bits` has 66 or more.
    fn round(negative: bool, bits: u128, exponent: i32, rest: bool) -> Extended {
        let len = 128 - bits.leading_zeros();
        if len <= 64 {
            let up = if len == 0 { 0 } else { 64 - len };
            return Extended { negative, mantissa: (bits as u64) << up, exponent: exponent - up as i32 };
        }
        let rounded = shift_right_rounding(bits, len - 64, rest);
        let exponent = exponent + (len - 64) as i32;
        // Rounding up may need a 65th bit; the mantissa is a power of two then.
        match u64::try_from(rounded) {
            Ok(mantissa) => Extended { negative, mantissa, exponent },
            Err(_) => Extended { negative, mantissa: 1 << 63, exponent: exponent + 1 },
        }
    }

    /// `bits * 2^exponent`.
    fn from_big(negative: bool, bits: &Big, exponent: i32, rest: bool) -> Extended {
        let (top, below, cut) = bits.top();
        Extended::round(negative, top, exponent + below as i32, rest || cut)
    }

    /// The power of two that it is below.
    fn top(self) -> i32 {
        self.exponent + 64
    }

    fn plus(self, other: Extended) -> Extended {
        if self.mantissa == 0 {
            return other;
        }
        if other.mantissa == 0 {
            return self;
        }
        let self_is_larger = (self.exponent, self.mantissa) >= (other.exponent, other.mantissa);
        let (large, small) = if self_is_larger { (self, other) } else { (other, self) };
        let distance = (large.exponent - small.exponent) as u32;
        let large_bits = u128::from(large.mantissa) << GUARD_BITS;
        let small_bits = u128::from(small.mantissa) << GUARD_BITS;
        // What is shifted out leaves a 1 in the last place, far below where rounding decides.
        let shifted = small_bits.checked_shr(distance).unwrap_or(0);
        let lost = shifted.checked_shl(distance).unwrap_or(0) != small_bits;
        let shifted = shifted | u128::from(lost);
        let sum = if large.negative == small.negative { large_bits + shifted } else { large_bits - shifted };
        Extended::round(large.negative && sum != 0, sum, large.exponent - GUARD_BITS as i32, false)
    }

    /// Sign, integer, point and decimals without zeros at the end.
    fn print(self, buffer: &mut [u8; SUM_BYTES_MAX]) -> &[u8] {
        let (mut integer, mut decimals) = self.to_decimal();
        let negative = self.negative && !(integer.is_zero() && decimals == 0);
        let mut at = SUM_BYTES_MAX;
        let mut push = |byte: u8| {
            at -= 1;
            buffer[at] = byte;
        };
        if decimals != 0 {
            let mut digits_len = DECIMALS;
            while decimals.is_multiple_of(10) {
                decimals /= 10;
                digits_len -= 1;
            }
            for _ in 0..digits_len {
                push(b'0' + (decimals % 10) as u8);
                decimals /= 10;
            }
            push(b'.');
        }
        loop {
            let mut digits = integer.divide(1_000_000_000);
            let is_last = integer.is_zero();
            for _ in 0..9 {
                push(b'0' + (digits % 10) as u8);
                digits /= 10;
                if is_last && digits == 0 {
                    break;
                }
            }
            if is_last {
                break;
            }
        }
        if negative {
            push(b'-');
        }
        &buffer[at..]
    }

    /// The magnitude as an integer and [`DECIMALS`] digits behind the point.
    fn to_decimal(self) -> (Big, u128) {
        if self.exponent >= 0 {
            let mut integer = Big::new(self.mantissa);
            integer.shift_left(self.exponent.unsigned_abs());
            return (integer, 0);
        }
        let (mantissa, down) = (u128::from(self.mantissa), self.exponent.unsigned_abs());
        let integer = self.mantissa.checked_shr(down).unwrap_or(0);
        let fraction = mantissa - (u128::from(integer) << down.min(64));
        // Below 2^121, so that 2^-128 of it is less than half a unit.
        let scaled = fraction * DECIMALS_SCALE;
        let decimals = if down < 128 { shift_right_rounding(scaled, down, false) } else { 0 };
        // A fraction has no place beside an integer of 64 bits, so that there is one more.
        if decimals == DECIMALS_SCALE { (Big::new(integer + 1), 0) } else { (Big::new(integer), decimals) }
    }
}

/// `bits / 2^by`, rounded half to even; `rest`: there is a little more than `bits`. `by` is 1..=127.
fn shift_right_rounding(bits: u128, by: u32, rest: bool) -> u128 {
    let (kept, lost, half) = (bits >> by, bits & ((1 << by) - 1), 1 << (by - 1));
    let up = lost > half || (lost == half && (rest || kept & 1 == 1));
    kept + u128::from(up)
}

#[cfg(test)]
mod tests;
