//! What goes to stdout: bytes as they are, or one JSON object a line that can carry any bytes.

use std::io::{self, IsTerminal, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// To a file or another program: bytes as they are.
    Raw,
    /// To a person's screen.
    Terminal,
    /// For programs that want names and types.
    Json,
}

impl Style {
    pub(super) fn of_stdout(json: bool) -> Style {
        match json {
            true => Style::Json,
            false if io::stdout().is_terminal() => Style::Terminal,
            false => Style::Raw,
        }
    }
}

/// A value of the store: byte for byte, so that `get` into a file gives what was put.
pub(super) fn write_value(out: &mut dyn Write, style: Style, value: &[u8]) -> io::Result<()> {
    match style {
        Style::Raw => out.write_all(value),
        Style::Terminal => {
            out.write_all(value)?;
            if value.ends_with(b"\n") { Ok(()) } else { out.write_all(b"\n") }
        }
        Style::Json => write_json(out, &Value::Object(bytes_field("value", value))),
    }
}

/// A key in a list. On a screen, control characters are escaped: a key may come from a stranger, and must not control the
/// reader's terminal.
pub(super) fn write_key(out: &mut dyn Write, style: Style, key: &[u8]) -> io::Result<()> {
    match style {
        Style::Raw => {
            out.write_all(key)?;
            out.write_all(b"\n")
        }
        Style::Terminal => writeln!(out, "{}", printable(key)),
        Style::Json => write_json(out, &Value::Object(bytes_field("key", key))),
    }
}

/// A line: `text`, or with --json the object.
pub(super) fn write_line(out: &mut dyn Write, style: Style, text: &str, object: &Value) -> io::Result<()> {
    match style {
        Style::Json => write_json(out, object),
        Style::Raw | Style::Terminal => writeln!(out, "{text}"),
    }
}

pub(super) fn write_json(out: &mut dyn Write, object: &Value) -> io::Result<()> {
    writeln!(out, "{object}")
}

/// `{"name": "text"}`, or `{"name_base64": "…"}` where the bytes are no UTF-8.
pub(super) fn bytes_field(name: &str, bytes: &[u8]) -> Map<String, Value> {
    let (name, text) = match std::str::from_utf8(bytes) {
        Ok(text) => (name.to_owned(), text.to_owned()),
        Err(_) => (format!("{name}_base64"), BASE64_STANDARD.encode(bytes)),
    };
    Map::from_iter([(name, Value::String(text))])
}

/// Characters of a key that a message shows.
const SHOWN_KEY_LEN: usize = 64;

/// A key, or another word that was given, for a message: escaped, and a long one cut.
pub(super) fn shown_key(key: &[u8]) -> String {
    let text = printable(&key[..key.len().min(4 * SHOWN_KEY_LEN)]);
    match text.char_indices().nth(SHOWN_KEY_LEN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], key.len()),
        None => text,
    }
}

/// Text for a message or a screen: what is no UTF-8 or would steer a terminal is escaped.
pub(super) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The lines of INFO as an object of sections; whole numbers become numbers.
pub(super) fn info_object(info: &str) -> Value {
    let mut sections = Map::new();
    let mut current = "server".to_owned();
    for line in info.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            current = name.trim().to_ascii_lowercase();
        } else if let Some((name, value)) = line.split_once(':') {
            let value = value.parse::<i64>().map_or_else(|_| json!(value), |number| json!(number));
            let section = sections.entry(current.clone()).or_insert_with(|| json!({}));
            section[name] = value;
        }
    }
    Value::Object(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        out
    }

    #[test]
    fn values_are_raw_but_for_a_screen_and_json() {
        let binary = b"a\x00\xff\n";
        assert_eq!(written(|out| write_value(out, Style::Raw, binary)), binary);
        assert_eq!(written(|out| write_value(out, Style::Terminal, binary)), binary);
        assert_eq!(written(|out| write_value(out, Style::Terminal, b"x")), b"x\n");
        assert_eq!(
            written(|out| write_value(out, Style::Json, b"\"x\"\n")),
            b"{\"value\":\"\\\"x\\\"\\n\"}\n"
        );
        assert_eq!(
            written(|out| write_value(out, Style::Json, binary)),
            b"{\"value_base64\":\"YQD/Cg==\"}\n"
        );
    }

    #[test]
    fn keys_do_not_steer_a_terminal() {
        let key = b"k\x1b[2J\n\xff\xc3\xa9";
        assert_eq!(printable(key), "k\\u{1b}[2J\\n\\xffé");
        assert_eq!(written(|out| write_key(out, Style::Raw, b"k")), b"k\n");
        assert_eq!(written(|out| write_key(out, Style::Json, b"k")), b"{\"key\":\"k\"}\n");
    }

    #[test]
    fn long_keys_are_cut_in_messages() {
        assert_eq!(shown_key(b"session:17"), "session:17");
        assert_eq!(shown_key(&[b'k'; 64]), "k".repeat(64));
        assert_eq!(shown_key(&[b'k'; 60_000]), format!("{}… (60000 bytes)", "k".repeat(64)));
        assert_eq!(shown_key(&[0xff; 1000]).chars().count(), 64 + "… (1000 bytes)".chars().count());
    }

    #[test]
    fn info_becomes_an_object() {
        let info = "# Server\r\nversion:0.1.0\r\nuptime:7\r\n\r\n# Keyspace\r\ndb0:keys=1,expires=0\r\n";
        let expected = json!({
            "server": { "version": "0.1.0", "uptime": 7 }, "keyspace": { "db0": "keys=1,expires=0" },
        });
        assert_eq!(info_object(info), expected);
    }
}
