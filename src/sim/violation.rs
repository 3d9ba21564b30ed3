//! A promise that was broken: what, and at which key.

use std::fmt;

/// What was found. A run ends with the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key concerned; empty where it is none.
    pub key: Vec<u8>,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            f.write_str(&self.what)
        } else {
            write!(f, "key {}: {}", show(&self.key), self.what)
        }
    }
}

/// A violation at a key.
pub fn violation(key: &[u8], what: impl Into<String>) -> Violation {
    Violation { key: key.to_vec(), what: what.into() }
}

/// What `Debug` writes of a thing, in which lists of bytes are text, and the long ones cut.
pub fn brief(what: &impl fmt::Debug) -> String {
    let (all, mut text) = (format!("{what:?}"), String::new());
    let mut rest = &all[..];
    while let Some(at) = rest.find('[') {
        let (before, list) = rest.split_at(at);
        text.push_str(before);
        rest = match list.find(']').and_then(|end| Some((byte_list(&list[1..end])?, end))) {
            Some((bytes, end)) => {
                text.push_str(&format!("'{}'", show(&bytes)));
                &list[end + 1..]
            }
            None => {
                text.push('[');
                &list[1..]
            }
        };
    }
    text + rest
}

/// The bytes of numbers with commas between them.
fn byte_list(text: &str) -> Option<Vec<u8>> {
    text.split(", ").map(|number| number.parse().ok()).collect()
}

/// Bytes as text, the long ones cut.
pub fn show(bytes: &[u8]) -> String {
    let text = bytes[..bytes.len().min(60)].escape_ascii().to_string();
    if bytes.len() > 60 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::change::Change;

    #[test]
    fn keys_and_values_are_text_and_long_ones_are_cut() {
        let change = Change::Write { key: b"hsh\x01".to_vec(), offset: 7, bytes: vec![b'v'; 2000] };
        let long = "v".repeat(60);
        let text = format!("Write {{ key: 'hsh\\x01', offset: 7, bytes: '{long}… (2000 bytes)' }}");
        assert_eq!(brief(&change), text);
        assert_eq!(brief(&[Some(b"a".to_vec()), None]), "[Some('a'), None]");
        assert_eq!(brief(&[vec![b'a', b'b'], vec![]]), "['ab', []]");
        assert_eq!(brief(&[1000, 2]), "[1000, 2]");
    }
}
