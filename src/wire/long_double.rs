//! The sum that INCRBYFLOAT answers, digit for digit as Redis on x86-64 computes and prints it: in C's `long double`, a
//! sign, a mantissa of 64 bits and an exponent (IEEE 754 extended precision), printed by `%.17Lf` without the zeros at
//! the end. So 0.1 + 0.2 is 0.3 (a double says 0.30000000000000004), and 12345.1 + 0.1 is 12345.19999999999999929.
//!
//! Numbers beyond what 128 bits hold exactly on the way (38 digits, magnitudes from 1e-38 to 1e38) are summed as doubles.

use super::number::{FLOAT_BYTES_MAX, parse_f64, write_f64};

/// Why there is no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSum {
    /// One of the texts is no number.
    NotANumber,
    /// The sum is infinite, or none.
    NotFinite,
}

/// Digits behind the point that are printed, and ten to that power.
const DECIMALS: usize = 17;
const DECIMALS_SCALE: u128 = 10u128.pow(DECIMALS as u32);
/// Zero bits that are put behind a mantissa before adding: enough for exact rounding.
const GUARD_BITS: u32 = 62;

/// The sum of two numbers given as text, written into `buffer`.
///
/// # Errors
/// See [`NoSum`].
pub fn add<'a>(a: &[u8], b: &[u8], buffer: &'a mut [u8; FLOAT_BYTES_MAX]) -> Result<&'a [u8], NoSum> {
    let (Some(double_a), Some(double_b)) = (parse_f64(a), parse_f64(b)) else {
        return Err(NoSum::NotANumber);
    };
    let double = double_a + double_b;
    if !double.is_finite() {
        return Err(NoSum::NotFinite);
    }
    if let (Some(a), Some(b)) = (Extended::parse(a), Extended::parse(b))
        && let Some((integer, fraction)) = a.plus(b).to_decimal()
    {
        return Ok(print(a.plus(b).negative, integer, fraction, buffer));
    }
    Ok(write_f64(double, buffer))
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

    /// A text that `parse_f64` takes. `None`: it is infinite or has too many digits or too large an exponent.
    fn parse(text: &[u8]) -> Option<Extended> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let (mut digits, mut scale, mut behind_point) = (0u128, 0i32, false);
        let mut rest = text.iter();
        while let Some(byte) = rest.next() {
            match byte {
                b'0'..=b'9' => {
                    digits = digits.checked_mul(10)?.checked_add(u128::from(byte - b'0'))?;
                    scale -= i32::from(behind_point);
                }
                b'.' => behind_point = true,
                b'e' | b'E' => {
                    let exponent: i32 = std::str::from_utf8(rest.as_slice()).ok()?.parse().ok()?;
                    scale = scale.checked_add(exponent)?;
                    break;
                }
                _ => return None,
            }
        }
        if digits == 0 {
            return Some(Extended { negative: false, mantissa: 0, exponent: 0 });
        }
        while scale < 0 && digits.is_multiple_of(10) {
            digits /= 10;
            scale += 1;
        }
        let power = 10u128.checked_pow(scale.unsigned_abs())?;
        if scale >= 0 {
            return Some(Extended::round(negative, digits.checked_mul(power)?, 0, false));
        }
        Some(Extended::quotient(negative, digits, power))
    }

    /// `dividend / divisor`, both not 0, the divisor below 2^127: bits by long division until there are enough.
    fn quotient(negative: bool, dividend: u128, divisor: u128) -> Extended {
        let (mut quotient, mut remainder, mut exponent) = (dividend / divisor, dividend % divisor, 0);
        while quotient < 1 << 66 && remainder != 0 {
            remainder <<= 1;
            quotient <<= 1;
            exponent -= 1;
            if remainder >= divisor {
                remainder -= divisor;
                quotient |= 1;
            }
        }
        Extended::round(negative, quotient, exponent, remainder != 0)
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

    /// The magnitude as an integer and [`DECIMALS`] digits behind the point. `None`: 2^128 or more.
    fn to_decimal(self) -> Option<(u128, u128)> {
        let mantissa = u128::from(self.mantissa);
        if self.exponent >= 0 {
            return (self.exponent <= 64).then(|| (mantissa << self.exponent, 0));
        }
        let down = self.exponent.unsigned_abs();
        let integer = mantissa.checked_shr(down).unwrap_or(0);
        let fraction = mantissa - (integer << down.min(64));
        // Below 2^121, so that 2^-128 of it is less than half a unit.
        let scaled = fraction * DECIMALS_SCALE;
        let decimals = if down < 128 { shift_right_rounding(scaled, down, false) } else { 0 };
        if decimals == DECIMALS_SCALE { Some((integer + 1, 0)) } else { Some((integer, decimals)) }
    }
}

/// `bits / 2^by`, rounded half to even; `rest`: there is a little more than `bits`. `by` is 1..=127.
fn shift_right_rounding(bits: u128, by: u32, rest: bool) -> u128 {
    let (kept, lost, half) = (bits >> by, bits & ((1 << by) - 1), 1 << (by - 1));
    let up = lost > half || (lost == half && (rest || kept & 1 == 1));
    kept + u128::from(up)
}

/// Sign, integer, point and decimals without zeros at the end.
fn print(negative: bool, mut integer: u128, mut decimals: u128, buffer: &mut [u8; FLOAT_BYTES_MAX]) -> &[u8] {
    let negative = negative && (integer, decimals) != (0, 0);
    let mut at = FLOAT_BYTES_MAX;
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
        push(b'0' + (integer % 10) as u8);
        integer /= 10;
        if integer == 0 {
            break;
        }
    }
    if negative {
        push(b'-');
    }
    &buffer[at..]
}

#[cfg(test)]
mod tests;
