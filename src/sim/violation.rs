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

/// Bytes as text, the long ones cut.
pub fn show(bytes: &[u8]) -> String {
    let text = bytes[..bytes.len().min(60)].escape_ascii().to_string();
    if bytes.len() > 60 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
