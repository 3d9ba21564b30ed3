use super::*;

fn find(subject: &str, pattern: &str) -> Result<Option<Vec<String>>, Failure> {
    let limits = Limits::new(|| 0, 0);
    let mut matcher = Matcher::new(subject.as_bytes(), pattern.as_bytes(), &limits);
    let Some((start, end)) = matcher.find(0)? else { return Ok(None) };
    let count = matcher.capture_count().max(1);
    let text = |i| match matcher.capture(i, start, end)? {
        Capture::Bytes(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        Capture::Position(position) => Ok(position.to_string()),
    };
    (0..count).map(text).collect::<Result<_, _>>().map(Some)
}

#[test]
fn items_match_as_in_lua() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("hello world", "o w", &["o w"]),
        ("hello", "l+", &["ll"]),
        ("hello", "l-o", &["llo"]),
        ("key=value", "(%w+)=(%w+)", &["key", "value"]),
        ("  x", "^%s*()", &["3"]),
        ("a.b", "%.", &["."]),
        ("THE (quick) fox", "%((%a+)%)", &["quick"]),
        ("f(a(b)c)d", "%b()", &["(a(b)c)"]),
        ("THE fox", "%f[%l]%l+", &["fox"]),
        ("x]y", "[]]", &["]"]),
        ("x-y", "[a-]", &["-"]),
        ("abc", "[^a]", &["b"]),
        ("2024-01-02", "^(%d%d%d%d)-(%d%d)-(%d%d)$", &["2024", "01", "02"]),
        ("say \"hi\"", "([\"'])(.-)%1", &["\"", "hi"]),
        ("", "", &[""]),
        ("abc", "b?c", &["bc"]),
        ("a\0b", "%z", &["\0"]),
        ("colour", "colou?r", &["colour"]),
        ("0x1F", "%x+$", &["1F"]),
    ];
    for (subject, pattern, captures) in cases {
        let found = find(subject, pattern).unwrap().unwrap_or_else(|| panic!("{pattern}"));
        assert_eq!(found, *captures, "{pattern}");
    }
    for (subject, pattern) in [("abc", "^b"), ("abc", "b$"), ("abc", "%d"), ("(a", "%b()")] {
        assert_eq!(find(subject, pattern), Ok(None), "{pattern}");
    }
}

#[test]
fn wrong_patterns_have_luas_texts() {
    let cases = [
        ("%", "malformed pattern (ends with '%')"),
        ("[a", "malformed pattern (missing ']')"),
        ("[]", "malformed pattern (missing ']')"),
        ("[%", "malformed pattern (missing ']')"),
        ("(a", "unfinished capture"),
        ("a)", "invalid pattern capture"),
        ("%1", "invalid capture index"),
        ("%bx", "unbalanced pattern"),
        ("%fa", "missing '[' after '%f' in pattern"),
    ];
    for (pattern, text) in cases {
        assert_eq!(find("aaa", pattern), Err(Failure::Pattern(text)), "{pattern}");
    }
    assert_eq!(find("aaa", &"()".repeat(33)), Err(Failure::Pattern("too many captures")));
    assert_eq!(find(&"a".repeat(300), &"a?".repeat(300)), Err(Failure::Pattern("pattern too complex")));
}

#[test]
fn a_pattern_that_would_take_for_ever_is_ended_by_the_clock() {
    thread_local!(static NOW_US: std::cell::Cell<u64> = const { std::cell::Cell::new(0) });
    let limits = Limits::new(|| NOW_US.replace(NOW_US.get() + 10), 0);
    limits.start(1_000);
    let (subject, pattern) = (vec![b'a'; 1000], [&b"a*".repeat(30)[..], b"b"].concat());
    let mut matcher = Matcher::new(&subject, &pattern, &limits);
    assert_eq!(matcher.find(0), Err(Failure::Raised(Raised::TimeLimit)));
}
