//! What is checked of a script's text before Lua's compiler sees it: the shebang line, and two things that the C code
//! of Lua 5.1 does not survive.
//!
//! - **Bytecode** is never loaded: Lua 5.1 does not verify it.
//! - **Functions of many parameters with `...`.** When such a function is called with few arguments, Lua 5.1 reserves
//!   stack for its registers alone and then moves the parameters up by their number (CVE-2014-5461). Behind the stack's
//!   end lie [`EXTRA_SLOTS`] slots, of which metamethods use up to four before they check; so a function may have as many
//!   parameters as fit in what is left. No script in use comes near it.
//!
//! The scanner knows comments, strings and long brackets, no grammar: where it and Lua could disagree (a number that
//! runs into a word), Lua reports an error and compiles nothing.

/// Slots behind the end of Lua's stack (`EXTRA_STACK` and the one that `stack_last` points at).
const EXTRA_SLOTS: usize = 6;
/// Slots that a metamethod's call takes before it checks.
const METAMETHOD_SLOTS: usize = 4;
/// Named parameters that a function with `...` may have, at most: the frame's end is one slot before `stack_last`.
pub(super) const NAMED_WITH_VARARGS_MAX: usize = EXTRA_SLOTS - METAMETHOD_SLOTS + 1;

/// Why a text is not compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    Bytecode,
    ManyParameters,
}

impl Unfit {
    pub(super) fn text(self) -> &'static str {
        match self {
            Unfit::Bytecode => "attempt to load a binary chunk",
            Unfit::ManyParameters => "a function with '...' has more than 3 named parameters",
        }
    }
}

const _: () = assert!(NAMED_WITH_VARARGS_MAX == 3, "the text of ManyParameters says so");

/// What the shebang line of a script declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// There was a shebang line: what a script may do is checked before it runs, not at each command.
    pub(super) declared: bool,
    pub(super) no_writes: bool,
    pub(super) allow_oom: bool,
}

/// What is wrong with a shebang line; the part is what the error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadShebang<'a> {
    Unfinished,
    Engine(&'a [u8]),
    Option(&'a [u8]),
    Flag(&'a [u8]),
}

/// The flags of a script, and its text without the shebang line (its line end stays, so that lines keep their
/// numbers).
pub(super) fn shebang(text: &[u8]) -> Result<(Flags, &[u8]), BadShebang<'_>> {
    if !text.starts_with(b"#!") {
        return Ok((Flags::default(), text));
    }
    let len = text.iter().position(|byte| *byte == b'\n').ok_or(BadShebang::Unfinished)?;
    let mut words = text[..len].split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let engine = words.next().unwrap_or_default();
    if engine != b"#!lua" {
        return Err(BadShebang::Engine(engine));
    }
    let mut flags = Flags { declared: true, ..Flags::default() };
    for word in words {
        let Some(list) = word.strip_prefix(b"flags=") else { return Err(BadShebang::Option(word)) };
        for flag in list.split(|byte| *byte == b',').filter(|_| !list.is_empty()) {
            match flag {
                b"no-writes" => flags.no_writes = true,
                b"allow-oom" => flags.allow_oom = true,
                // There is no stale data, no cluster, and no slots to cross.
                b"allow-stale" | b"no-cluster" | b"allow-cross-slot-keys" => {}
                _ => return Err(BadShebang::Flag(flag)),
            }
        }
    }
    Ok((flags, &text[len..]))
}

/// Whether Lua's compiler may see this text.
pub(super) fn check(text: &[u8]) -> Result<(), Unfit> {
    if text.first() == Some(&0x1b) {
        return Err(Unfit::Bytecode);
    }
    let mut scanner = Scanner { text, at: 0 };
    while let Some(word) = scanner.next_word() {
        if word == b"function" && scanner.parameters() > NAMED_WITH_VARARGS_MAX {
            return Err(Unfit::ManyParameters);
        }
    }
    Ok(())
}

/// Walks over a text, past comments and strings.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// The next name or keyword; `None` at the end.
    fn next_word(&mut self) -> Option<&'a [u8]> {
        loop {
            match self.rest() {
                [] => return None,
                [b'a'..=b'z' | b'A'..=b'Z' | b'_', ..] => return Some(self.take_word()),
                // With what runs into it, for Lua reads it as one malformed number.
                [b'0'..=b'9', ..] => {
                    self.take_word();
                }
                _ => self.skip_other(),
            }
        }
    }

    fn take_word(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let len = rest.iter().take_while(|byte| is_of_word(byte)).count();
        self.at += len;
        &rest[..len]
    }

    /// Passes a comment, a string or one other byte.
    fn skip_other(&mut self) {
        match self.rest() {
            [b'-', b'-', tail @ ..] => {
                self.at += 2;
                if long_bracket(tail).is_some() {
                    self.skip_long();
                } else {
                    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
                    self.at += tail.iter().position(is_end).unwrap_or(tail.len());
                }
            }
            [b'[', ..] if long_bracket(self.rest()).is_some() => self.skip_long(),
            [quote @ (b'"' | b'\''), ..] => self.skip_quoted(*quote),
            _ => self.at += 1,
        }
    }

    fn skip_quoted(&mut self, quote: u8) {
        self.at += 1;
        while let [first, ..] = self.rest() {
            self.at += 1;
            match *first {
                b'\\' => self.at = (self.at + 1).min(self.text.len()),
                b'\n' | b'\r' => return,
                byte if byte == quote => return,
                _ => {}
            }
        }
    }

    /// Passes what a long bracket opens, to its end.
    fn skip_long(&mut self) {
        let Some(level) = long_bracket(self.rest()) else { return };
        self.at += level + 2;
        while !self.rest().is_empty() {
            if closes(self.rest(), level) {
                self.at += level + 2;
                return;
            }
            self.at += 1;
        }
    }

    /// Named parameters of the function whose keyword was just read, if it has `...`; else 0.
    fn parameters(&mut self) -> usize {
        let (mut count, mut is_open) = (0, false);
        loop {
            match self.rest() {
                [] => return 0,
                [b'(', ..] if !is_open => (is_open, self.at) = (true, self.at + 1),
                // The parameter `self` of a method.
                [b':', ..] if !is_open => (count, self.at) = (count + 1, self.at + 1),
                [b'.', b'.', b'.', ..] if is_open => return count,
                [b')', ..] => return 0,
                [b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'0'..=b'9', ..] => {
                    self.take_word();
                    count += usize::from(is_open);
                }
                _ => self.skip_other(),
            }
        }
    }
}

/// The level of the long bracket that opens here.
fn long_bracket(text: &[u8]) -> Option<usize> {
    let tail = text.strip_prefix(b"[")?;
    let level = tail.iter().take_while(|byte| **byte == b'=').count();
    (tail.get(level) == Some(&b'[')).then_some(level)
}

fn closes(text: &[u8], level: usize) -> bool {
    let tail = text.get(1..).unwrap_or_default();
    text.first() == Some(&b']')
        && tail.len() > level
        && tail[..level].iter().all(|byte| *byte == b'=')
        && tail[level] == b']'
}

#[cfg(test)]
mod tests;
