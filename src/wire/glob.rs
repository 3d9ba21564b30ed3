//! Patterns.

/// Whether `text` matches `pattern`.
#[must_use]
pub fn matches(_pattern: &[u8], _text: &[u8], _ignore_case: bool) -> bool {
    false
}
