//! Tests of INCRBYFLOAT's sums; the expected texts are answers of Redis 7.0.15 on x86-64.

use super::*;
use crate::random::Random;

fn sum(a: &str, b: &str) -> Result<String, NoSum> {
    let mut buffer = [0; SUM_BYTES_MAX];
    let text = add(a.as_bytes(), b.as_bytes(), &mut buffer)?;
    Ok(String::from_utf8(text.to_vec()).expect("ASCII"))
}

#[test]
fn digit_for_digit_as_redis() {
    let cases = [
        ("0.1", "0.2", "0.3"),
        ("10.5", "0.1", "10.6"),
        ("12345.1", "0.1", "12345.19999999999999929"),
        ("3.0e3", "200", "3200"),
        ("1.1", "1.1", "2.2"),
        ("17179869184", "1.5", "17179869185.5"),
        ("1", "1.23456789012345678901", "2.23456789012345679"),
        ("17", "1e-20", "17"),
        ("1", "-1", "0"),
        ("-0.0", "-0", "0"),
        ("0", "-1e-30", "0"),
        ("5.", "+.5", "5.5"),
        ("0.9945452989681471", "+0.8488336678130488", "1.8433789667811959"),
        ("-0.27633", "78.37", "78.09367"),
        ("+0.4002727498629173", "-685180.5045", "-685180.10422725013711442"),
        ("+85.2", "864", "949.20000000000000001"),
        ("-2.41069441e-02", "795629.8", "795629.77589305589998503"),
        ("-329353.2", "352800.978097", "23447.77809700000000248"),
        ("+0.06831776256150868", "136229.1370", "136229.20531776256150636"),
        ("82570.5577932026644703", "85.1922", "82655.74999320266447"),
        ("63.03303", "+0.4880374527885819", "63.5210674527885819"),
        ("-2.43e-17", "4883964756.5181288992", "4883964756.51812889939174056"),
        ("977167765.2", "-0.7073155413755562854", "977167764.49268445861525834"),
        ("0.20", "-2228438733135426758267241", "-2228438733135426758246400"),
        ("91.993", "+5666916574121.374741899161411", "5666916574213.36774206161499023"),
        ("-583775.857906878", "79.037", "-583696.8209068780000166"),
        ("25.2628086", "15.196", "40.4588086"),
        ("0.5996450127341728", "-58073386293", "-58073386292.40035498887300491"),
    ];
    for (a, b, expected) in cases {
        assert_eq!(sum(a, b).as_deref(), Ok(expected), "{a} + {b}");
        assert_eq!(sum(b, a).as_deref(), Ok(expected), "{b} + {a}");
    }
}

#[test]
fn what_has_no_sum() {
    for text in [
        "",
        "abc",
        " 1",
        "1 ",
        "nan",
        "1e",
        "--1",
        "1,5",
        ".",
        "0x",
        "1_0",
        ".e1",
        "1e",
        "1e+",
        "1e5000",
        "1e-4960",
        "1e400000000000",
        "0x1p99999",
    ] {
        assert_eq!(sum(text, "1"), Err(NoSum::NotANumber), "{text:?}");
        assert_eq!(sum("1", text), Err(NoSum::NotANumber), "{text:?}");
    }
    for text in ["inf", "-Infinity", "+INF"] {
        assert_eq!(sum(text, "1"), Err(NoSum::NotFinite), "{text:?}");
    }
}

#[test]
fn extremes_as_redis() {
    let cases = [
        ("1e39", "1", "999999999999999999993126004485993267200"),
        ("123456789012345678901234567890123456789012", "0.5", "123456789012345678900580170843336644493312"),
        ("1e200", "-1e200", "0"),
        ("9e4931", "-9e4931", "0"),
        ("1e-40", "1e-40", "0"),
        ("1e-4950", "1", "1"),
        ("99999999999999999999.123456789", "1", "100000000000000000000"),
        ("12345678901234567890123456789.123456789012345", "1e-17", "12345678901234567890421678080"),
        ("0e999999999999999999", "1", "1"),
        ("0x10", "1", "17"),
        ("0x1p3", "-0X.8p+1", "7"),
    ];
    for (a, b, expected) in cases {
        assert_eq!(sum(a, b).as_deref(), Ok(expected), "{a} + {b}");
        assert_eq!(sum(b, a).as_deref(), Ok(expected), "{b} + {a}");
    }
    let long = sum("1e300", "0").expect("a sum");
    assert!(long.starts_with(
        "1000000000000000000008997324079559193870523944273290747938260082321265646596180935755849"
    ));
    assert_eq!(long.len(), 301);
    let longest = sum("-1e4932", "1e4900").expect("a sum");
    assert!(longest.starts_with("-1000000000000000000"), "{longest}");
    assert_eq!(longest.len(), 1 + 4_933);
    // A number that was printed is read back as it was, whatever its length.
    for text in [&long, &longest] {
        assert_eq!(sum(text, "0").as_ref(), Ok(text));
    }
    assert_eq!(sum("1e4932", "1e4932"), Err(NoSum::NotFinite));
}

#[test]
fn texts_longer_than_what_is_read_are_rounded_all_the_same() {
    let zeros = "0".repeat(5_000);
    assert_eq!(sum(&format!("1.{zeros}1"), "1").as_deref(), Ok("2"));
    assert_eq!(sum(&format!("{zeros}7"), "1").as_deref(), Ok("8"));
    assert_eq!(sum(&format!("0.{zeros}7e5001"), "1").as_deref(), Ok("8"));
    let halves = format!("9223372036854775808.5{zeros}");
    assert_eq!(sum(&halves, "0").as_deref(), Ok("9223372036854775808"));
    assert_eq!(sum(&format!("{halves}1"), "0").as_deref(), Ok("9223372036854775809"));
    assert_eq!(sum(&"9".repeat(4_934), "0"), Err(NoSum::NotANumber));
    assert_eq!(sum(&"9".repeat(4_000), "0").map(|text| text.len()), Ok(4_000));
}

#[test]
fn halves_go_to_the_even_neighbour() {
    for (bits, by, rest, rounded) in [
        (0b001, 2, false, 0),
        (0b010, 2, false, 0),
        (0b010, 2, true, 1),
        (0b011, 2, false, 1),
        (0b101, 2, true, 1),
        (0b110, 2, false, 2),
        (0b110, 2, true, 2),
        (0b1010, 2, false, 2),
        (0b1, 1, false, 0),
        (0b11, 1, false, 2),
        (u128::MAX, 127, true, 2),
    ] {
        assert_eq!(shift_right_rounding(bits, by, rest), rounded, "{bits:b} by {by}, {rest}");
    }
}

/// The smaller number is half a unit of the larger one, and a little more: whatever stands where that is noted.
#[test]
fn what_is_shifted_out_still_decides() {
    let of = |mantissa, exponent| Extended { negative: false, mantissa, exponent };
    for (small, up) in [(1 << 63, 0), (1 << 63 | 1, 1), (1 << 63 | 0b100, 1), (1 << 63 | 0b101, 1)] {
        let sum = of(1 << 63, 64).plus(of(small, 0));
        assert_eq!((sum.mantissa, sum.exponent), ((1 << 63) + up, 64), "{small:b}");
    }
}

#[test]
fn what_rounds_up_to_the_next_integer_is_that_integer() {
    assert_eq!(sum("0.999999999999999999", "0").as_deref(), Ok("1"));
    assert_eq!(sum("-41.9999999999999999999", "0").as_deref(), Ok("-42"));
}

#[test]
fn zeros_at_the_end_cost_no_exactness() {
    // 2^53 + 1 is no double: the sum was not made of doubles.
    let tiny = "0.00000000000000000000000000000000000001000";
    assert_eq!(sum("9007199254740993", tiny).as_deref(), Ok("9007199254740993"));
}

#[test]
fn random_texts_do_no_harm() {
    let pieces = ["1", "0", "9", ".", "-", "+", "e", "38", "99999999999999999999", "00000000", "e-30"];
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let mut draw =
            || (0..1 + random.below(6)).map(|_| pieces[random.below(pieces.len())]).collect::<String>();
        let (a, b) = (draw(), draw());
        if let Ok(text) = sum(&a, &b) {
            let (double, near) =
                (a.parse::<f64>().expect("a number") + b.parse::<f64>().expect("a number"), text);
            if !double.is_finite() {
                continue;
            }
            let error = (near.parse::<f64>().expect("a number") - double).abs();
            assert!(error <= 1e-15 + double.abs() * 1e-15, "{a} + {b} = {near}");
        }
    }
}
