//! Tests of patterns.

use super::matches;

#[test]
fn as_redis_matches() {
    let yes: [(&[u8], &[u8]); 26] = [
        (b"", b""),
        (b"*", b""),
        (b"*", b"anything"),
        (b"**", b""),
        (b"h?llo", b"hello"),
        (b"h*llo", b"hllo"),
        (b"h*llo", b"heeeello"),
        (b"h[ae]llo", b"hallo"),
        (b"h[^e]llo", b"hallo"),
        (b"h[a-b]llo", b"hbllo"),
        (b"h[b-a]llo", b"hbllo"),
        (b"a\\*b", b"a*b"),
        (b"a\\", b"a\\"),
        (b"[\\]]", b"]"),
        (b"[^]", b"x"),
        (b"[a-", b"-"),
        (b"[abc", b"c"),
        (b"[a-]", b"a"),
        (b"*a*b*c", b"xxaxxbxxc"),
        (b"*abab", b"abaabab"),
        (b"user:*:name", b"user:1:2:name"),
        (b"\\?", b"?"),
        (b"?", b"\0"),
        (b"a*", b"a\xff"),
        (b"*?", b"x"),
        (b"[!a]", b"!"),
    ];
    for (pattern, text) in yes {
        assert!(matches(pattern, text, false), "{} on {}", pattern.escape_ascii(), text.escape_ascii());
    }
    let no: [(&[u8], &[u8]); 12] = [
        (b"", b"x"),
        (b"x", b""),
        (b"?", b""),
        (b"h?llo", b"hllo"),
        (b"h[ae]llo", b"hillo"),
        (b"h[^e]llo", b"hello"),
        (b"[]", b"x"),
        (b"a\\*b", b"axb"),
        (b"*abc", b"abcd"),
        (b"*?", b""),
        (b"A", b"a"),
        (b"[a-z]", b"A"),
    ];
    for (pattern, text) in no {
        assert!(!matches(pattern, text, false), "{} on {}", pattern.escape_ascii(), text.escape_ascii());
    }
}

#[test]
fn case_is_ignored_on_request() {
    for (pattern, text) in [("MAX*", "maxmemory"), ("[A-C]x", "bX"), ("[b]", "B"), ("\\A", "a")] {
        assert!(matches(pattern.as_bytes(), text.as_bytes(), true), "{pattern}");
    }
}

/// HOSTILE 18: CVE-2022-36021, CVE-2024-31228. Without bounds this test takes from seconds to ages.
#[test]
fn bad_patterns_take_bounded_time() {
    let text = vec![b'a'; 64 * 1024];
    assert!(!matches(&[&b"a*".repeat(100)[..], b"b"].concat(), &text, false));
    assert!(!matches(&[b"*", &b"a".repeat(32 * 1024)[..], b"b"].concat(), &text, false));
    assert!(!matches(&[&b"*".repeat(1 << 20)[..], b"b"].concat(), &text, false));
    assert!(!matches(&[&b"*["[..], &b"b".repeat(1 << 20)[..]].concat(), &text, false));
    assert!(matches(&b"*".repeat(1 << 20), b"", false));
}
