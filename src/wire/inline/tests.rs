//! Tests of commands typed as text.

use super::*;
use crate::wire::arguments::Arg;

fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut table = ArgTable::with_capacity(64);
    split(line, &mut table)?;
    let args = table.args(line);
    Ok(args
        .iter()
        .map(|arg| match arg {
            Arg::Bytes(bytes) => bytes.to_vec(),
            other => panic!("{other:?} in a line of text"),
        })
        .collect())
}

#[test]
fn words_as_redis_splits_them() {
    let cases: [(&[u8], &[&[u8]]); 18] = [
        (b"", &[]),
        (b" \t\x0b\x0c ", &[]),
        (b"PING", &[b"PING"]),
        (b"  set  a\tb  ", &[b"set", b"a", b"b"]),
        (b"set \"a key\" 'it\\'s'", &[b"set", b"a key", b"it's"]),
        (b"\"\\x41\\n\\r\\t\\b\\a\\\\\\\"\\q\"", &[b"A\n\r\t\x08\x07\\\"q"]),
        (b"\"\\xZZ\"", &[b"xZZ"]),
        (b"\"\\xaF\\x0\"", &[b"\xafx0"]),
        (b"'\\n\\x41'", &[b"\\n\\x41"]),
        (b"'\\\\x'", &[b"\\\\x"]),
        (b"\\x \\n", &[b"\\x", b"\\n"]),
        (b"a\"b c\" d", &[b"ab c", b"d"]),
        (b"\"\" ''", &[b"", b""]),
        (b"a'b'", &[b"ab"]),
        (b"\"a\"\x0bb", &[b"a", b"b"]),
        (b"a\x0bb", &[b"a\x0bb"]),
        (b"\xff\x00", &[b"\xff\x00"]),
        (b"POSTER hosts", &[b"POSTER", b"hosts"]),
    ];
    for (line, expected) in cases {
        assert_eq!(words(line).expect("words"), expected, "{}", line.escape_ascii());
    }
}

#[test]
fn quotes_must_balance() {
    let lines: [&[u8]; 8] =
        [b"set \"\"\"k\"\"\" v", b"\"a", b"'a", b"\"a\"b", b"'a'b", b"\"a\\\"", b"'a\\'", b"\"a\\"];
    for line in lines {
        assert_eq!(words(line), Err(Malformed::UnbalancedQuotes), "{}", line.escape_ascii());
    }
}

/// HOSTILE 12.
#[test]
fn browsers_are_refused() {
    for line in [
        "GET / HTTP/1.0",
        "PUT /a HTTP/1.1",
        "DELETE /a http/1.1",
        "GET \"/ HTTP/1.1",
        "GET / HTTP/1.1 ",
        "POST /",
        "post x",
        "POST",
        "Host: x",
        "host:",
        "  Host: x",
    ] {
        assert_eq!(words(line.as_bytes()), Err(Malformed::CrossProtocol), "{line}");
    }
    for line in ["PUT k HTTP/1.x", "PUT k HTTP/2", "PUT HTTP/1.1 v", "GET Host:", "HTTP/1.1"] {
        assert!(words(line.as_bytes()).is_ok(), "{line}");
    }
}
