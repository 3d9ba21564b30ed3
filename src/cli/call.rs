//! `pannier call`: any command of the server, and its reply as text or as JSON.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use clap::Args;
use serde_json::{Value, json};

use super::{
    Exit, Failure,
    output::{self, Style, printable},
    server_args::ServerArgs,
};
use crate::client::Reply;

/// Send any command and print its reply
///
/// Options stand before the command; all that follows is the command's own. On a terminal the reply is shown with types
/// and numbers, as redis-cli shows it; to a file or a program go the bytes, one element of a list a line. Exit code 1:
/// the reply is an error.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pannier call SET session:17 alice EX 1800 NX
  pannier call --db 2 MGET a b c
  pannier call --json CONFIG GET 'max*'")]
pub(crate) struct CallArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The command's words
    #[arg(required = true, value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

impl CallArgs {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let mut client = self.server.connect()?;
        let words: Vec<&[u8]> = self.words.iter().map(|word| word.as_bytes()).collect();
        let reply = client.command(&words).map_err(|error| self.server.explain(error))?;
        write_reply(out, self.server.style(), &as_text(&words, reply))?;
        Ok(Exit::Done)
    }
}

/// The reply to a command that answers lines for people, which a screen shows as lines under RESP2 too.
pub(super) fn as_text(words: &[&[u8]], reply: Reply) -> Reply {
    let is = |at: usize, name: &str| {
        words.get(at).is_some_and(|word: &&[u8]| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let answers_lines = is(0, "info")
        || is(0, "lolwut")
        || is(0, "client") && (is(1, "list") || is(1, "info"))
        || is(0, "cluster") && (is(1, "info") || is(1, "nodes"))
        || is(0, "memory") && is(1, "doctor")
        || is(0, "latency") && (is(1, "doctor") || is(1, "graph"));
    match reply {
        Reply::Bulk(text) if answers_lines => Reply::Verbatim { format: *b"txt", text },
        reply => reply,
    }
}

/// Writes a reply and a line's end.
pub(super) fn write_reply(out: &mut dyn Write, style: Style, reply: &Reply) -> io::Result<()> {
    match style {
        Style::Raw => write_raw(out, reply),
        Style::Terminal => {
            let mut text = String::new();
            show(&mut text, reply, 0);
            writeln!(out, "{text}")
        }
        Style::Json => output::write_json(out, &to_json(reply)),
    }
}

/// Bytes as they are; lists and maps element by element, without numbers.
fn write_raw(out: &mut dyn Write, reply: &Reply) -> io::Result<()> {
    match reply {
        Reply::Array(list) | Reply::Set(list) | Reply::Push(list) => {
            list.iter().try_for_each(|element| write_raw(out, element))
        }
        Reply::Map(pairs) => pairs.iter().try_for_each(|(key, value)| {
            write_raw(out, key)?;
            write_raw(out, value)
        }),
        reply => {
            match scalar(reply) {
                Scalar::Bytes(bytes) => out.write_all(bytes)?,
                Scalar::Text(text) => out.write_all(text.as_bytes())?,
                Scalar::Nothing => {}
            }
            out.write_all(b"\n")
        }
    }
}

/// What a reply that is no list is as plain output.
enum Scalar<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Text(String),
}

fn scalar(reply: &Reply) -> Scalar<'_> {
    match reply {
        Reply::Simple(bytes) | Reply::Bulk(bytes) | Reply::BigNumber(bytes) => Scalar::Bytes(bytes),
        Reply::Verbatim { text, .. } => Scalar::Bytes(text),
        Reply::Integer(number) => Scalar::Text(number.to_string()),
        Reply::Double(number) => Scalar::Text(number.to_string()),
        Reply::Boolean(value) => Scalar::Text(value.to_string()),
        Reply::Error { code, text } => Scalar::Text(format!("{code} {text}")),
        Reply::Null | Reply::Array(_) | Reply::Map(_) | Reply::Set(_) | Reply::Push(_) => Scalar::Nothing,
    }
}

/// A reply for a screen, as redis-cli shows it; no byte of it controls the terminal. `indent` is where its lines begin.
fn show(text: &mut String, reply: &Reply, indent: usize) {
    match reply {
        Reply::Null => text.push_str("(nil)"),
        Reply::Simple(bytes) => text.push_str(&printable(bytes)),
        Reply::Bulk(bytes) => text.push_str(&quoted(bytes)),
        // The server's own lines, such as those of INFO.
        Reply::Verbatim { text: lines, .. } => {
            let lines: Vec<_> =
                String::from_utf8_lossy(lines).lines().map(|line| printable(line.as_bytes())).collect();
            text.push_str(&lines.join("\n"));
        }
        Reply::Error { code, text: why } => {
            text.push_str(&format!("(error) {}", printable(format!("{code} {why}").as_bytes())))
        }
        Reply::Integer(number) => text.push_str(&format!("(integer) {number}")),
        Reply::Double(number) => text.push_str(&format!("(double) {number}")),
        Reply::Boolean(value) => text.push_str(&format!("({value})")),
        Reply::BigNumber(digits) => text.push_str(&format!("(big number) {}", printable(digits))),
        Reply::Array(list) | Reply::Set(list) | Reply::Push(list) => show_list(text, list, indent),
        Reply::Map(pairs) if pairs.is_empty() => text.push_str("(empty)"),
        Reply::Map(pairs) => {
            for (index, (key, value)) in pairs.iter().enumerate() {
                let head = label(text, index, pairs.len(), '#', indent);
                show(text, key, head);
                text.push_str(" => ");
                show(text, value, head);
            }
        }
    }
}

fn show_list(text: &mut String, list: &[Reply], indent: usize) {
    if list.is_empty() {
        return text.push_str("(empty)");
    }
    for (index, element) in list.iter().enumerate() {
        let head = label(text, index, list.len(), ')', indent);
        show(text, element, head);
    }
}

/// Writes `3) ` or `3# `, on a line of its own but for the first, and gives the column after it.
fn label(text: &mut String, index: usize, count: usize, mark: char, indent: usize) -> usize {
    if index > 0 {
        text.push('\n');
        text.push_str(&" ".repeat(indent));
    }
    let digits = count.to_string().len();
    text.push_str(&format!("{:>digits$}{mark} ", index + 1));
    indent + digits + 2
}

/// A value in quotes, as the prompt would take it again.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c if c.is_ascii_control() => text.push_str(&format!("\\x{:02x}", c as u32)),
                c if c.is_control() => {
                    text.extend(c.to_string().bytes().map(|byte| format!("\\x{byte:02x}")))
                }
                c => text.push(c),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text.push('"');
    text
}

/// Strings that are no UTF-8 become `{"base64": …}`, errors within lists `{"error": …}`.
fn to_json(reply: &Reply) -> Value {
    let string = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
    };
    match reply {
        Reply::Null => Value::Null,
        Reply::Simple(bytes) | Reply::Bulk(bytes) | Reply::BigNumber(bytes) => string(bytes),
        Reply::Verbatim { text, .. } => string(text),
        Reply::Error { code, text } => json!({ "error": format!("{code} {text}") }),
        Reply::Integer(number) => json!(number),
        // JSON has neither infinity nor NaN.
        Reply::Double(number) if !number.is_finite() => json!(number.to_string()),
        Reply::Double(number) => json!(number),
        Reply::Boolean(value) => json!(value),
        Reply::Array(list) | Reply::Set(list) | Reply::Push(list) => list.iter().map(to_json).collect(),
        Reply::Map(pairs) => {
            let name = |key: &Reply| match key {
                Reply::Simple(bytes) | Reply::Bulk(bytes) => String::from_utf8(bytes.clone()).ok(),
                Reply::Integer(number) => Some(number.to_string()),
                _ => None,
            };
            let object: Option<serde_json::Map<_, _>> =
                pairs.iter().map(|(key, value)| Some((name(key)?, to_json(value)))).collect();
            // A map whose keys are no texts stays a list of pairs.
            object.map_or_else(
                || pairs.iter().map(|(key, value)| json!([to_json(key), to_json(value)])).collect(),
                Value::Object,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.as_bytes().to_vec())
    }

    fn written(style: Style, reply: &Reply) -> String {
        let mut out = Vec::new();
        write_reply(&mut out, style, reply).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn nested() -> Reply {
        Reply::Array(vec![
            bulk("a\"b\n\x1b[2J"),
            Reply::Integer(-3),
            Reply::Array(vec![Reply::Null, Reply::Simple(b"OK".to_vec())]),
            Reply::Error { code: "ERR".into(), text: "no".into() },
            Reply::Map(vec![(bulk("k"), Reply::Boolean(true))]),
        ])
    }

    #[test]
    fn a_screen_shows_types_and_numbers() {
        let shown = "1) \"a\\\"b\\n\\x1b[2J\"\n2) (integer) -3\n3) 1) (nil)\n   2) OK\n4) (error) ERR no\n5) 1# \"k\" => (true)\n";
        assert_eq!(written(Style::Terminal, &nested()), shown);
        assert_eq!(written(Style::Terminal, &Reply::Array(Vec::new())), "(empty)\n");
        assert_eq!(written(Style::Terminal, &Reply::Bulk(b"\xff\xc3\xa9".to_vec())), "\"\\xff\u{e9}\"\n");
    }

    #[test]
    fn what_is_shown_in_quotes_is_read_back_as_it_was() {
        let all: Vec<u8> = (0..=255).chain("é\u{85}".bytes()).collect();
        let line = quoted(&all);
        assert_eq!(crate::wire::inline::words(line.as_bytes()), Ok(vec![all]));
        assert!(!line.chars().any(char::is_control));
    }

    #[test]
    fn programs_get_bytes_or_json() {
        assert_eq!(written(Style::Raw, &nested()), "a\"b\n\x1b[2J\n-3\n\nOK\nERR no\nk\ntrue\n");
        let json = json!(["a\"b\n\u{1b}[2J", -3, [null, "OK"], { "error": "ERR no" }, { "k": true }]);
        assert_eq!(written(Style::Json, &nested()), format!("{json}\n"));
        assert_eq!(written(Style::Json, &Reply::Bulk(vec![0xff])), "{\"base64\":\"/w==\"}\n");
        assert_eq!(written(Style::Json, &Reply::Double(f64::INFINITY)), "\"inf\"\n");
    }
}
