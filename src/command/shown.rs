//! What of a command may stand in a log: its verb, and the arguments that the table says are keys. All else (values,
//! passwords, scripts, the words of commands that do not exist) is redacted, for nothing tells that it is no secret.

use super::Verb;
use crate::wire::arguments::{Arg, Args};

/// What stands for an argument that is not shown.
pub const REDACTED: &[u8] = b"(redacted)";
/// What stands for a key that is longer than any.
const LARGE: &[u8] = b"(large value)";
/// Arguments of a command that are looked at, at most.
pub const SHOWN_ARGS_MAX: usize = 32;

/// The first arguments of a command as a log may show them, at most [`SHOWN_ARGS_MAX`]; all of them count in its length.
#[derive(Clone, Copy, Debug)]
pub struct ShownArgs<'a> {
    words: [&'a [u8]; SHOWN_ARGS_MAX],
    count: usize,
}

impl<'a> ShownArgs<'a> {
    /// Of a command of this verb; `None`: there is no such verb.
    #[must_use]
    pub fn new(verb: Option<&Verb>, args: &Args<'a>) -> ShownArgs<'a> {
        let mut words = [REDACTED; SHOWN_ARGS_MAX];
        if let Some(verb) = verb {
            let word_count = if verb.container().is_some() { 2 } else { 1 };
            let keys = verb.key_positions(args).take_while(|at| *at < SHOWN_ARGS_MAX);
            for at in (0..word_count).chain(keys) {
                match args.get(at) {
                    Some(Arg::Bytes(bytes)) => words[at] = bytes,
                    Some(Arg::Large(_) | Arg::Refused) => words[at] = LARGE,
                    None => {}
                }
            }
        }
        ShownArgs { words, count: args.len() }
    }

    /// Of an operation of frames and its key.
    #[must_use]
    pub fn of_frame(name: &'a [u8], key: &'a [u8]) -> ShownArgs<'a> {
        let mut words = [REDACTED; SHOWN_ARGS_MAX];
        (words[0], words[1]) = (name, key);
        ShownArgs { words, count: 2 }
    }

    /// Arguments of the command, those that are not looked at among them.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The arguments that are looked at.
    #[must_use]
    pub fn words(&self) -> &[&'a [u8]] {
        &self.words[..self.count.min(SHOWN_ARGS_MAX)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Flags, VERBS, resolve};
    use crate::wire::arguments::ArgTable;

    /// The words of a command in a table.
    fn table(words: &[&str]) -> (ArgTable, Vec<u8>) {
        let (mut table, mut bytes) = (ArgTable::with_capacity(64), Vec::new());
        for word in words {
            table.push(bytes.len(), word.len());
            bytes.extend_from_slice(word.as_bytes());
        }
        (table, bytes)
    }

    fn shown(words: &[&str]) -> Vec<String> {
        let (table, bytes) = table(words);
        let args = table.spans(&bytes);
        let shown = ShownArgs::new(resolve(&args), &args);
        shown.words().iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    #[test]
    fn of_every_verb_only_the_name_and_the_keys_are_shown() {
        for verb in VERBS.iter().filter(|verb| !verb.flags.has(Flags::CONTAINER)) {
            for extra in 0..6 {
                let mut words: Vec<String> = verb.name.split('|').map(str::to_owned).collect();
                let word_count = words.len();
                let count = usize::from(verb.arity.unsigned_abs()).max(word_count) + extra;
                (word_count..count).for_each(|at| words.push(format!("secret{at}")));
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let (table, bytes) = table(&words);
                let keys: Vec<usize> = verb.key_positions(&table.spans(&bytes)).collect();
                for (at, word) in shown(&words).iter().enumerate().skip(word_count) {
                    let expected = if keys.contains(&at) { words[at] } else { "(redacted)" };
                    assert_eq!(word, expected, "{words:?}");
                }
            }
        }
    }

    #[test]
    fn secrets_are_redacted() {
        let redacted = "(redacted)";
        assert_eq!(shown(&["AUTH", "u", "p"]), ["AUTH", redacted, redacted]);
        assert_eq!(shown(&["HELLO", "3", "AUTH", "u", "p"])[1..], [redacted; 4]);
        assert_eq!(shown(&["CONFIG", "SET", "requirepass", "p"]), ["CONFIG", "SET", redacted, redacted]);
        assert_eq!(shown(&["ECHO", "p"]), ["ECHO", redacted]);
        #[cfg(feature = "scripts")]
        assert_eq!(
            shown(&["EVAL", "return 'p'", "1", "k", "p"]),
            ["EVAL", redacted, redacted, "k", redacted]
        );
        assert_eq!(shown(&["NONSENSE", "p"]), [redacted; 2]);
        assert_eq!(shown(&["CONFIG", "NONSENSE", "p"]), [redacted; 3]);
        assert_eq!(shown(&["SET", "k", "v", "EX", "9"]), ["SET", "k", redacted, redacted, redacted]);
        assert_eq!(shown(&["MSET", "a", "1", "b", "2"]), ["MSET", "a", redacted, "b", redacted]);
    }
}
