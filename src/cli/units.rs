//! Sizes and durations as people write them: `64MiB`, `75%`, `30s`.

use std::time::Duration;

/// Names of units and their bytes. As in Redis's settings, `M` alone counts in powers of 1024, and so does `MB`: a limit is
/// never meant to be a twentieth smaller. `Mi` is how Kubernetes writes it.
const SIZE_UNITS: [(&str, u32); 16] = [
    ("kib", 10),
    ("mib", 20),
    ("gib", 30),
    ("tib", 40),
    ("ki", 10),
    ("mi", 20),
    ("gi", 30),
    ("ti", 40),
    ("kb", 10),
    ("mb", 20),
    ("gb", 30),
    ("tb", 40),
    ("k", 10),
    ("m", 20),
    ("g", 30),
    ("b", 0),
];

const DURATION_UNITS_MS: [(&str, f64); 5] =
    [("ms", 1.0), ("s", 1e3), ("m", 60e3), ("h", 3_600e3), ("d", 86_400e3)];

/// Ten years: a longer time is a slip of the hand, and would overflow clocks.
const DURATION_MAX_MS: f64 = 3650.0 * 86_400e3;

/// An amount of memory: in bytes, or as a share of what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// 1 to 100 per cent.
    Percent(u8),
}

/// Bytes from `64MiB`, `64Mi`, `64mb`, `64m`, `1.5GiB` or plain `67108864`. Units are powers of 1024, in letters of any case.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (number, shift) = SIZE_UNITS
        .iter()
        .find_map(|&(unit, shift)| Some((lower.strip_suffix(unit)?.trim_end(), shift)))
        .unwrap_or((&lower, 0));
    let bytes = match parse_decimal(number) {
        Some(number) => number * (1u64 << shift) as f64,
        None => return Err(format!("'{text}' is not a size; write for example 64MiB, 1.5GiB or 67108864")),
    };
    // Whole numbers up to 2^53 are exact, and so is a power of two times them.
    if bytes > (1u64 << 53) as f64 {
        return Err(format!("'{text}' is more than any machine has"));
    }
    Ok(bytes as u64)
}

/// A size, or a percentage such as `75%`.
pub fn parse_amount(text: &str) -> Result<Amount, String> {
    let Some(number) = text.trim().strip_suffix('%') else { return parse_size(text).map(Amount::Bytes) };
    match number.trim_end().parse() {
        Ok(percent @ 1..=100) => Ok(Amount::Percent(percent)),
        _ => Err(format!("'{text}' is not a percentage; write 1% to 100%")),
    }
}

/// A time from `500ms`, `30s`, `5m`, `2h`, `7d`, `1.5s`, or a plain number of seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit_ms) = DURATION_UNITS_MS
        .iter()
        .find_map(|&(unit, ms)| Some((lower.strip_suffix(unit)?.trim_end(), ms)))
        .unwrap_or((&lower, 1e3));
    match parse_decimal(number).map(|number| number * unit_ms) {
        // To the microsecond, so that 0.1s is 100 ms and not a hair more.
        Some(ms) if ms <= DURATION_MAX_MS => Ok(Duration::from_micros((ms * 1e3).round() as u64)),
        Some(_) => Err(format!("'{text}' is longer than ten years")),
        None => {
            Err(format!("'{text}' is not a duration; write for example 500ms, 30s, 5m, or 30 for seconds"))
        }
    }
}

/// The longest timeout of a call.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// A timeout: longer than zero, and a day at most.
pub fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_positive_duration(text)? {
        timeout if timeout > TIMEOUT_MAX => Err("a timeout is at most 24h".to_owned()),
        timeout => Ok(timeout),
    }
}

/// A duration that is longer than zero.
pub fn parse_positive_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("it must be longer than zero".to_owned()),
        duration => Ok(duration),
    }
}

/// Digits with at most one point: none of the other things that floating-point numbers may look like.
fn parse_decimal(text: &str) -> Option<f64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number && text.starts_with(|c: char| c.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A size for people: the largest unit that divides it well, as `64 MiB` or `1.50 GiB`.
pub fn format_size(bytes: u64) -> String {
    let (shift, unit) = match bytes {
        0..1024 => return format!("{bytes} bytes"),
        1024..0x10_0000 => (10, "KiB"),
        0x10_0000..0x4000_0000 => (20, "MiB"),
        _ => (30, "GiB"),
    };
    if bytes.is_multiple_of(1 << shift) {
        format!("{} {unit}", bytes >> shift)
    } else {
        format!("{:.2} {unit}", bytes as f64 / (1u64 << shift) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("67108864", 64 << 20),
            ("64MiB", 64 << 20),
            ("64mb", 64 << 20),
            ("64M", 64 << 20),
            ("64 MiB", 64 << 20),
            ("64Mi", 64 << 20),
            ("1.5gi", 3 << 29),
            ("512k", 512 << 10),
            ("1.5GiB", 3 << 29),
            ("17b", 17),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "MiB", "-1", "+1", "1e9", "inf", "nan", "64 pieces", "1.2.3", ".5g", "99999TiB", "64MiBs"]
        {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts() {
        assert_eq!(parse_amount("75%"), Ok(Amount::Percent(75)));
        assert_eq!(parse_amount("100 %"), Ok(Amount::Percent(100)));
        assert_eq!(parse_amount("1k"), Ok(Amount::Bytes(1024)));
        for text in ["0%", "101%", "%", "-5%", "7.5%", "300%"] {
            assert!(parse_amount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("30s", 30_000),
            ("500ms", 500),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("30", 30_000),
            ("0.1s", 100),
            ("1.5S", 1_500),
            ("0", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1s", "1 fortnight", "1e3", "inf", "99999d", "5m30s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_positive_duration("0ms").is_err());
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [(0, "0 bytes"), (1024, "1 KiB"), (64 << 20, "64 MiB"), (3 << 29, "1.50 GiB")] {
            assert_eq!(format_size(bytes), text);
        }
    }
}
