//! Numbers as C's `printf` writes them with `%.Ng`, which is how Lua, and Redis in its libraries, spells them.

/// A number with so many significant digits.
pub(super) fn general(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return if value.is_sign_negative() { "-nan" } else { "nan" }.to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{:.*e}", digits - 1, value);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.unsigned_abs());
    }
    let plain = format!("{:.*}", (digits as i32 - 1 - exponent) as usize, value);
    trimmed(&plain).to_owned()
}

/// A number as Lua's `tostring` writes it.
pub(super) fn lua_number(value: f64) -> String {
    general(value, 14)
}

/// Without zeros behind the point.
fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelt_as_printf_does() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.10000000000000001"),
            (1e15, "1000000000000000"),
            (1e17, "1e+17"),
            (12345678901234567000.0, "1.2345678901234567e+19"),
            (1e-5, "1.0000000000000001e-05"),
            (1e-4, "0.0001"),
            (1e300, "1.0000000000000001e+300"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(general(value, 17), expected);
        }
        assert_eq!(lua_number(1.234_567_890_123_456), "1.2345678901235");
        assert_eq!(lua_number(1e14), "1e+14");
        assert_eq!(lua_number(99999999999999.0), "99999999999999");
        assert_eq!(lua_number(0.5), "0.5");
    }
}
