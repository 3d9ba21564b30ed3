//! Tests of numbers as text.

use super::*;

#[test]
fn integers_have_one_spelling() {
    for (text, value) in [
        ("0", 0),
        ("7", 7),
        ("-1", -1),
        ("10", 10),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("-9223372036854775807", i64::MIN + 1),
    ] {
        assert_eq!(parse_i64(text.as_bytes()), Some(value), "{text}");
        assert_eq!(write_i64(value, &mut [0; INTEGER_BYTES_MAX]), text.as_bytes());
    }
    for text in [
        "",
        "-",
        "+1",
        "01",
        "-0",
        "-01",
        "00",
        " 1",
        "1 ",
        "1.0",
        "1e3",
        "0x1",
        "--1",
        "a",
        "1a",
        "\u{661}",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "99999999999999999999999",
    ] {
        assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
    }
    assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
    assert_eq!(parse_u64(b"18446744073709551616"), None);
    assert_eq!(parse_u64(b"-1"), None);
}

#[test]
fn every_length_is_written() {
    let mut value = 1u64;
    for _ in 0..19 {
        for near in [value - 1, value, value + 1, value * 9] {
            assert_eq!(write_u64(near, &mut [0; INTEGER_BYTES_MAX]), near.to_string().as_bytes());
        }
        value *= 10;
    }
    assert_eq!(write_u64(u64::MAX, &mut [0; INTEGER_BYTES_MAX]), u64::MAX.to_string().as_bytes());
}

#[test]
fn floats_are_read_strictly() {
    for (text, value) in [
        ("3.0e3", 3000.0),
        ("-.5", -0.5),
        ("+1", 1.0),
        ("5.", 5.0),
        ("INF", f64::INFINITY),
        ("1e400", f64::INFINITY),
    ] {
        assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
    }
    for text in ["", " 1", "1 ", "nan", "abc", "1x", "e5", ".", "0x10"] {
        assert_eq!(parse_f64(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn doubles_are_short_and_read_back() {
    let mut buffer = [0; FLOAT_BYTES_MAX];
    for (value, text) in
        [(f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf"), (1e300, "1e300"), (0.25, "0.25")]
    {
        assert_eq!(write_double(value, &mut buffer), text.as_bytes());
    }
    assert_eq!(write_double(f64::NAN, &mut buffer), b"nan");
    for value in [f64::MAX, f64::MIN_POSITIVE, 5e-324, 0.1 + 0.2, -123_456_789.125] {
        assert_eq!(parse_f64(write_double(value, &mut buffer)), Some(value));
    }
}
