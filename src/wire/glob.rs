//! The patterns of KEYS, SCAN MATCH and CONFIG GET, by the rules of Redis: `*` any bytes, `?` one byte, `[a-z]`, `[^a]`
//! one byte of a class or of its complement, `\x` the byte x. In one thing it differs: `**` matches the empty text too.
//!
//! Without recursion: only the latest `*` is ever taken back, for whatever an earlier one could take more of, the latest can
//! take too. That leaves pattern length x text length steps at worst, hence a bound on them as well.

/// Steps (bytes of pattern looked at) after which a pattern is said not to match: half a millisecond. Redis gives up
/// likewise, after 1,000 nested stars.
const STEPS_MAX: usize = 1 << 19;
/// Bytes of a pattern, at most, where a command takes one; a longer one is an error. Redis has no such bound.
pub const PATTERN_BYTES_MAX: usize = 1024;
/// The same for names of commands, which are short.
pub const NAME_PATTERN_BYTES_MAX: usize = 64;

/// Whether all of `text` matches `pattern`; `ignore_case` makes ASCII letters equal.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    matches_counting(pattern, text, ignore_case, &mut 0)
}

/// The same; the steps that it took are added to `steps_taken`.
#[must_use]
pub fn matches_counting(pattern: &[u8], text: &[u8], ignore_case: bool, steps_taken: &mut usize) -> bool {
    let (mut at, mut pattern_at) = (0, 0);
    // Behind the latest star in the pattern, and where in the text its bytes end so far.
    let mut star: Option<(usize, usize)> = None;
    let mut steps = 0;
    while at < text.len() {
        if pattern.get(pattern_at) == Some(&b'*') {
            pattern_at += 1;
            if pattern_at == pattern.len() {
                return true;
            }
            star = Some((pattern_at, at));
            continue;
        }
        let (matched, behind) = one(&pattern[pattern_at..], text[at], ignore_case);
        steps += 1 + behind;
        *steps_taken += 1 + behind;
        crate::work::count(1 + behind as u64);
        if steps > STEPS_MAX {
            return false;
        }
        if matched {
            pattern_at += behind;
            at += 1;
        } else if let Some((behind_star, end)) = star {
            star = Some((behind_star, end + 1));
            (pattern_at, at) = (behind_star, end + 1);
        } else {
            return false;
        }
    }
    pattern[pattern_at..].iter().all(|byte| *byte == b'*')
}

/// Whether the first element of `pattern`, no star, matches `byte`, and that element's length.
#[inline]
fn one(pattern: &[u8], byte: u8, ignore_case: bool) -> (bool, usize) {
    let equal = |a: u8| if ignore_case { a.eq_ignore_ascii_case(&byte) } else { a == byte };
    match pattern {
        [] => (false, 0),
        [b'?', ..] => (true, 1),
        [b'[', class @ ..] => {
            let (matched, len) = one_of(class, byte, ignore_case);
            (matched, len + 1)
        }
        [b'\\', escaped, ..] => (equal(*escaped), 2),
        [literal, ..] => (equal(*literal), 1),
    }
}

/// Whether a class, given from behind its `[`, holds `byte`, and its length up to and with its `]`. One without `]` ends
/// with the pattern.
fn one_of(class: &[u8], byte: u8, ignore_case: bool) -> (bool, usize) {
    let fold = |a: u8| if ignore_case { a.to_ascii_lowercase() } else { a };
    let byte = fold(byte);
    let complement = class.first() == Some(&b'^');
    let mut at = usize::from(complement);
    let mut found = false;
    loop {
        match &class[at..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= fold(*escaped) == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [from, b'-', to, ..] => {
                let (from, to) = (fold(*from.min(to)), fold(*from.max(to)));
                found |= (from..=to).contains(&byte);
                at += 3;
            }
            [member, ..] => {
                found |= fold(*member) == byte;
                at += 1;
            }
        }
    }
    (found != complement, at)
}

#[cfg(test)]
mod tests;
