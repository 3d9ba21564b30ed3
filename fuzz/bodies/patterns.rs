//! Patterns and lines of text, beside implementations that are slow and plain.

use super::script::Script;
use pannier::wire::glob;
use pannier::wire::resp::{Arg, ArgTable, Bounds, Decoder, Malformed, Step};

/// Pattern and text are cut to this: the plain matcher takes the product of both, and no bound on steps is reached.
const GLOB_BYTES_MAX: usize = 300;

/// See the table of [`super`].
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let kind = script.byte();
    if kind & 1 == 0 {
        let pattern = script.bytes();
        let text = script.rest();
        let pattern = &pattern[..pattern.len().min(GLOB_BYTES_MAX)];
        let text = &text[..text.len().min(GLOB_BYTES_MAX)];
        let ignore_case = kind & 2 != 0;
        assert_eq!(glob::matches(pattern, text, ignore_case), matches_slowly(pattern, text, ignore_case));
    } else {
        line(script.rest());
    }
}

/// One element of a pattern.
enum Element {
    Star,
    Any,
    Literal(u8),
    Class { complement: bool, ranges: Vec<(u8, u8)> },
}

fn elements(mut pattern: &[u8]) -> Vec<Element> {
    let mut elements = Vec::new();
    while let [first, behind @ ..] = pattern {
        pattern = behind;
        elements.push(match first {
            b'*' => Element::Star,
            b'?' => Element::Any,
            b'[' => class(&mut pattern),
            b'\\' => match pattern {
                [escaped, behind @ ..] => {
                    pattern = behind;
                    Element::Literal(*escaped)
                }
                [] => Element::Literal(b'\\'),
            },
            other => Element::Literal(*other),
        });
    }
    elements
}

/// A class, from behind its bracket; what is behind it stays in `pattern`.
fn class(pattern: &mut &[u8]) -> Element {
    let complement = pattern.first() == Some(&b'^');
    if complement {
        *pattern = &pattern[1..];
    }
    let mut ranges = Vec::new();
    loop {
        let (range, len) = match *pattern {
            [] => break,
            [b'\\', escaped, ..] => ((*escaped, *escaped), 2),
            [b']', ..] => {
                *pattern = &pattern[1..];
                break;
            }
            [from, b'-', to, ..] => ((*from, *to), 3),
            [member, ..] => ((*member, *member), 1),
        };
        ranges.push(range);
        *pattern = &pattern[len..];
    }
    Element::Class { complement, ranges }
}

fn takes(element: &Element, byte: u8, ignore_case: bool) -> bool {
    let fold = |byte: u8| if ignore_case { byte.to_ascii_lowercase() } else { byte };
    match element {
        Element::Star | Element::Any => true,
        Element::Literal(literal) => fold(*literal) == fold(byte),
        Element::Class { complement, ranges } => {
            // The bounds may stand in either order; which one is the lower is told before letters are made equal.
            let within =
                |(from, to): &(u8, u8)| (fold(*from.min(to))..=fold(*from.max(to))).contains(&fold(byte));
            ranges.iter().any(within) != *complement
        }
    }
}

/// Which beginnings of the text the elements so far match, element by element.
fn matches_slowly(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    for element in elements(pattern) {
        let mut next = vec![false; text.len() + 1];
        let star = matches!(element, Element::Star);
        next[0] = star && ends[0];
        for (at, byte) in text.iter().enumerate() {
            next[at + 1] =
                if star { ends[at + 1] || next[at] } else { ends[at] && takes(&element, *byte, ignore_case) };
        }
        ends = next;
    }
    ends[text.len()]
}

/// A line as the decoder takes it, and as a plain splitter does.
fn line(bytes: &[u8]) {
    let mut line: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'\n').collect();
    line.push(b'\n');
    if line[0] == b'*' {
        return;
    }
    let bounds = Bounds { authenticated: true, max_bulk_bytes: 1 << 20 };
    let mut table = ArgTable::with_capacity(line.len());
    let told = match Decoder::new().decode(&line, &bounds, &mut table) {
        Ok(Step::Ready { consumed } | Step::Skip { consumed }) => {
            assert_eq!(consumed, line.len());
            let args = table.args(&line).iter();
            Some(args.map(|arg| if let Arg::Bytes(bytes) = arg { bytes.to_vec() } else { vec![] }).collect())
        }
        Err(Malformed::CrossProtocol) => return,
        Err(Malformed::UnbalancedQuotes) => None,
        other => panic!("{other:?} of a line"),
    };
    let without_end = &line[..line.len() - 1];
    let without_end = without_end.strip_suffix(b"\r").unwrap_or(without_end);
    assert_eq!(told, words(without_end));
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || (9..=13).contains(&byte)
}

/// The words of a line; `None`: a quote is not closed, or something follows a closing one.
fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut words, mut at) = (Vec::new(), 0);
    let peek = |at: usize| line.get(at).copied();
    loop {
        while peek(at).is_some_and(is_blank) {
            at += 1;
        }
        if at == line.len() {
            return Some(words);
        }
        let mut word = Vec::new();
        // Outside quotes, as in Redis, only these four end a word.
        while let Some(byte) = peek(at).filter(|byte| !b" \t\r\n".contains(byte)) {
            at += 1;
            if byte != b'"' && byte != b'\'' {
                word.push(byte);
                continue;
            }
            loop {
                let inner = peek(at)?;
                at += 1;
                if inner == byte {
                    break;
                }
                let escaped = (inner == b'\\').then(|| peek(at)).flatten();
                match escaped {
                    Some(next) if byte == b'"' => {
                        let hex = line.get(at + 1..at + 3).filter(|_| next == b'x');
                        let hex = hex.filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
                        if let Some(hex) = hex {
                            let text = String::from_utf8_lossy(hex);
                            word.push(u8::from_str_radix(&text, 16).expect("two digits"));
                            at += 3;
                        } else {
                            let plain = [(b'n', b'\n'), (b'r', b'\r'), (b't', b'\t'), (b'b', 8), (b'a', 7)];
                            word.push(
                                plain.iter().find(|(name, _)| *name == next).map_or(next, |(_, byte)| *byte),
                            );
                            at += 1;
                        }
                    }
                    Some(b'\'') => {
                        word.push(b'\'');
                        at += 1;
                    }
                    _ => word.push(inner),
                }
            }
            if peek(at).is_some_and(|byte| !is_blank(byte)) {
                return None;
            }
            break;
        }
        words.push(word);
    }
}
