//! Commands typed as a line of text, by netcat or telnet: words between blanks, by the rules of Redis's
//! `sdssplitargs`.
//!
//! ```text
//! set "a key" 'it\'s' \x    ->  set | a key | it's | \x        escapes count inside quotes only
//! "\x41\n\t\\"              ->  A, newline, tab, backslash     double quotes know \xHH \n \r \t \b \a
//! ```

use super::{arguments::ArgTable, malformed::Malformed};
use crate::limits::LINE_BYTES_MAX;

/// The position of the line's LF, if it is there; the first `searched` bytes hold none. A line of more than
/// [`LINE_BYTES_MAX`] bytes before its LF is refused, wherever it ends.
pub(super) fn find_end(bytes: &[u8], searched: usize) -> Result<Option<usize>, Malformed> {
    let window = &bytes[searched..bytes.len().min(LINE_BYTES_MAX + 1)];
    match memchr::memchr(b'\n', window) {
        Some(found) => Ok(Some(searched + found)),
        None if bytes.len() > LINE_BYTES_MAX => Err(Malformed::InlineTooBig),
        None => Ok(None),
    }
}

/// The line without its LF and a CR before that.
pub(super) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Puts the words of a line into the table, which must be clear.
pub(super) fn split(line: &[u8], table: &mut ArgTable) -> Result<(), Malformed> {
    if is_http(line) {
        return Err(Malformed::CrossProtocol);
    }
    table.is_inline = true;
    let mut rest = line;
    loop {
        while let [first, behind @ ..] = rest
            && is_blank(*first)
        {
            rest = behind;
        }
        if rest.is_empty() {
            return Ok(());
        }
        let start = table.text.len();
        rest = word(rest, &mut table.text)?;
        table.push(start, table.text.len() - start);
    }
}

/// The words of a line that a person typed at the prompt of `pannier cli`, by the same rules.
///
/// # Errors
/// A quote is not closed, or something follows a closing one.
#[cfg(feature = "cli")]
pub(crate) fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let mut text = Vec::new();
        rest = word(rest, &mut text)?.trim_ascii_start();
        words.push(text);
    }
    Ok(words)
}

/// Resolves the word at the beginning of `rest` and returns what is behind it. No word is longer than its spelling, so
/// `text` stays within what was reserved for a line.
fn word<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    loop {
        rest = match rest {
            [] | [b' ' | b'\t' | b'\r' | b'\n', ..] => return Ok(rest),
            [b'"', quoted @ ..] => return double_quoted(quoted, text),
            [b'\'', quoted @ ..] => return single_quoted(quoted, text),
            [byte, behind @ ..] => {
                text.push(*byte);
                behind
            }
        };
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    loop {
        rest = match rest {
            [] => return Err(Malformed::UnbalancedQuotes),
            [b'"', behind @ ..] => return closed(behind),
            [b'\\', b'x', high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                text.push(nibble(*high) << 4 | nibble(*low));
                behind
            }
            [b'\\', escaped, behind @ ..] => {
                text.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                behind
            }
            [byte, behind @ ..] => {
                text.push(*byte);
                behind
            }
        };
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    loop {
        rest = match rest {
            [] => return Err(Malformed::UnbalancedQuotes),
            [b'\\', b'\'', behind @ ..] => {
                text.push(b'\'');
                behind
            }
            [b'\'', behind @ ..] => return closed(behind),
            [byte, behind @ ..] => {
                text.push(*byte);
                behind
            }
        };
    }
}

/// A closing quote ends the word: a blank or nothing must follow.
fn closed(behind: &[u8]) -> Result<&[u8], Malformed> {
    match behind.first() {
        Some(byte) if !is_blank(*byte) => Err(Malformed::UnbalancedQuotes),
        _ => Ok(behind),
    }
}

/// Whether a line belongs to an HTTP request: its first line, or the header that every request has. A browser can be
/// made to send such a request here, with commands in its body, so nothing of it may run.
fn is_http(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let starts = |with: &[u8]| line.len() >= with.len() && line[..with.len()].eq_ignore_ascii_case(with);
    // " HTTP/1.0", " HTTP/1.1"
    let version = line.len().checked_sub(9).map(|at| &line[at..]);
    let ends = version
        .is_some_and(|version| version[..8].eq_ignore_ascii_case(b" HTTP/1.") && version[8].is_ascii_digit());
    ends || starts(b"POST ") || starts(b"Host:") || line.eq_ignore_ascii_case(b"POST")
}

/// C's `isspace`.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// The value of a hexadecimal digit.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests;
