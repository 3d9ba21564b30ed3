//! Numbers as text, by the rules of Redis: one spelling for each integer, no signs, spaces or leading zeros beyond it.
//! Free of other modules, so that the client library shares it. Nothing here allocates; integers do not go through
//! the formatting machinery either.

/// Bytes of the longest `i64` or `u64` in decimal.
pub const INTEGER_BYTES_MAX: usize = 20;
/// Room for the longest number that [`write_double`] writes: sign, 17 digits, point and exponent.
pub const FLOAT_BYTES_MAX: usize = 32;

/// Two digits for each of 0..100.
const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// Digits without a leading zero (but "0" itself), 1 to 20 of them, that fit.
#[must_use]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => return Some(0),
        [b'1'..=b'9', ..] if text.len() <= INTEGER_BYTES_MAX => {}
        _ => return None,
    }
    let mut value = 0u64;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// As [`parse_u64`], with `-` before the digits of a negative number; "-0" is no number. Redis: `string2ll`.
#[must_use]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => match parse_u64(digits)? {
            0 => None,
            magnitude if magnitude <= 1 << 63 => Some(0i64.wrapping_sub_unsigned(magnitude)),
            _ => None,
        },
        _ => i64::try_from(parse_u64(text)?).ok(),
    }
}

/// Writes `value` at the end of `buffer` and returns the digits.
#[inline]
pub fn write_u64(mut value: u64, buffer: &mut [u8; INTEGER_BYTES_MAX]) -> &[u8] {
    let mut at = INTEGER_BYTES_MAX;
    while value >= 100 {
        let pair = (value % 100) as usize * 2;
        value /= 100;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if value >= 10 {
        let pair = value as usize * 2;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        buffer[at] = b'0' + value as u8;
    }
    &buffer[at..]
}

/// Writes `value` at the end of `buffer` and returns sign and digits.
#[inline]
pub fn write_i64(value: i64, buffer: &mut [u8; INTEGER_BYTES_MAX]) -> &[u8] {
    let digits_len = write_u64(value.unsigned_abs(), buffer).len();
    let mut at = INTEGER_BYTES_MAX - digits_len;
    if value < 0 {
        // A negative i64 has at most 19 digits.
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}

/// A finite or infinite number as `strtold` takes it, but without blanks before or after it and no NaN: decimal with
/// an optional sign, point and exponent, or `inf`/`infinity` in any case..
#[must_use]
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    (!value.is_nan()).then_some(value)
}

/// Writes a number into `buffer` the way RESP3's doubles are spelt: the shortest text that reads back the same, with an
/// exponent where that is shorter to read; `inf`, `-inf`, `nan`.
pub fn write_double(value: f64, buffer: &mut [u8; FLOAT_BYTES_MAX]) -> &[u8] {
    if value.is_nan() {
        return b"nan";
    }
    if value.is_infinite() {
        return if value > 0.0 { b"inf" } else { b"-inf" };
    }
    let magnitude = value.abs();
    let plain = magnitude == 0.0 || (1e-5..1e17).contains(&magnitude);
    let len =
        if plain { print(buffer, format_args!("{value}")) } else { print(buffer, format_args!("{value:e}")) };
    &buffer[..len]
}

/// Formats into `buffer`, which is long enough for every `f64` that is asked for here.
fn print(buffer: &mut [u8; FLOAT_BYTES_MAX], text: std::fmt::Arguments<'_>) -> usize {
    use std::io::Write;
    let mut rest = &mut buffer[..];
    // A text that does not fit is cut; none of ours is that long.
    let _ = rest.write_fmt(text);
    FLOAT_BYTES_MAX - rest.len()
}

#[cfg(test)]
mod tests;
