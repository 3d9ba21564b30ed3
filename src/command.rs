//! The vocabulary of requests: ONE table of verbs ([`table`]), from which lookup, the COMMAND replies, the counters of
//! INFO and the docs/commands.md all come.
//!
//! ```text
//!  "cOnFiG" "get" …  --find-->  row "config"  --subcommand("get")-->  row "config|get"
//!                    hash of the word in small letters,    the rows that follow "config"
//!                    then one exact comparison             and begin with "config|"
//! ```
//!
//! A row of a subcommand has its own arity, flags and counters, as in Redis.

mod access;
mod find;
mod keys;
pub mod shown;
mod table;

pub use access::access;
pub use find::find;
pub use keys::{KeyPositions, Keys};
pub use table::{VERBS, VerbId};

use crate::wire::arguments::Args;

/// Properties of a verb, as bits: those of Redis, its categories as far as other bits do not imply them, and ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Flags = Flags(1 << $bit);)*
        }
    };
}

flags! {
    /// May change a key.
    WRITE = 0;
    /// Changes no key.
    READONLY = 1;
    /// Takes memory, so that a full store refuses it.
    DENYOOM = 2;
    /// For those who run the server.
    ADMIN = 3;
    /// Not for scripts (kept because clients look at it).
    NOSCRIPT = 4;
    /// Served while a server loads its data (kept because clients look at it).
    LOADING = 5;
    /// Served from stale data (kept because clients look at it).
    STALE = 6;
    /// Never enters the slow log.
    SKIP_SLOWLOG = 7;
    /// Takes about the same time whatever the data.
    FAST = 8;
    /// Allowed before AUTH.
    NO_AUTH = 9;
    /// Not allowed between MULTI and EXEC.
    NO_MULTI = 10;
    /// Served while a script runs (kept because clients look at it).
    ALLOW_BUSY = 11;
    /// Category: works on keys of any type.
    KEYSPACE = 12;
    /// Category: works on strings.
    STRING = 13;
    /// Category: concerns the connection.
    CONN = 14;
    /// Category: transactions.
    TRANSACTION = 15;
    /// Category: scripting.
    SCRIPTING = 16;
    /// Category @admin without the flag.
    ADMINISTRATIVE = 17;
    /// Category @dangerous without the flag `ADMIN`.
    DANGEROUS = 18;
    /// Run by the server, which knows the other connections, and not by the engine.
    CONNECTION = 19;
    /// Has subcommands, which have rows of their own.
    CONTAINER = 20;
    /// Category: works on the bits of strings.
    BITMAP = 21;
    /// Where some keys are depends on the other arguments: see [`Verb::key_positions`].
    MOVABLE_KEYS = 22;
    /// May write although it does not say so: a script. A pause of writes holds it.
    MAY_WRITE = 23;
    /// Not shown by MONITOR (kept because clients look at it).
    SKIP_MONITOR = 24;
    /// May have no keys (kept because clients look at it).
    NO_MANDATORY_KEYS = 25;
    /// Concerns publish and subscribe; a category too.
    PUBSUB = 26;
    /// Category: works on hashes.
    HASH = 27;
    /// Category: works on sets.
    SET = 28;
    /// Planned ahead by the server (`server/batch.rs`), which looks its first argument up as a key beside others': one step of bounded
    /// work, or slices, whose reply begins with no more than a record's value.
    PLANNED = 29;
}

impl Flags {
    /// No flag.
    pub const PLAIN: Flags = Flags(0);

    /// Both sets of flags together.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags that COMMAND shows, in Redis's order.
    pub const SHOWN: [(Flags, &'static str); 16] = [
        (Flags::WRITE, "write"),
        (Flags::READONLY, "readonly"),
        (Flags::DENYOOM, "denyoom"),
        (Flags::ADMIN, "admin"),
        (Flags::PUBSUB, "pubsub"),
        (Flags::NOSCRIPT, "noscript"),
        (Flags::LOADING, "loading"),
        (Flags::STALE, "stale"),
        (Flags::SKIP_MONITOR, "skip_monitor"),
        (Flags::SKIP_SLOWLOG, "skip_slowlog"),
        (Flags::FAST, "fast"),
        (Flags::NO_AUTH, "no_auth"),
        (Flags::NO_MULTI, "no_multi"),
        (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
        (Flags::ALLOW_BUSY, "allow_busy"),
        (Flags::MOVABLE_KEYS, "movablekeys"),
    ];
}

/// The categories of access control, in Redis's order.
pub const CATEGORIES: [&str; 16] = [
    "keyspace",
    "read",
    "write",
    "set",
    "hash",
    "string",
    "bitmap",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// How a verb takes any number of arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// It does not.
    Fixed,
    /// At most [`UNCUT_ARGS_MAX`](crate::engine::dispatch::UNCUT_ARGS_MAX).
    Few,
    /// It works them off one after another, in slices, so that a window of them is enough for each.
    Sliced,
    /// It looks at all of them at once: in one step that is counted (MSET and its like), or in slices.
    Whole,
}

/// One row of the table.
#[derive(Debug)]
pub struct Verb {
    /// Which verb this is.
    pub id: VerbId,
    /// In lower case; a subcommand is `container|subcommand`.
    pub name: &'static str,
    /// Arguments with the verb itself; negative: at least so many.
    pub arity: i8,
    pub arguments: Arguments,
    pub flags: Flags,
    pub keys: Keys,
    /// Redis's group of commands.
    pub group: &'static str,
    /// The version of Redis (for verbs of our own: of Pannier) that brought it.
    pub since: &'static str,
    pub complexity: &'static str,
    pub summary: &'static str,
}

/// Every verb that takes any number of arguments says how.
const _: () = {
    let mut row = 0;
    while row < VERBS.len() {
        assert!((VERBS[row].arity >= 0) == matches!(VERBS[row].arguments, Arguments::Fixed));
        row += 1;
    }
};

impl Verb {
    /// Whether a command of `count` arguments, the verb included, can be this verb.
    #[must_use]
    pub const fn admits(&self, count: usize) -> bool {
        let bound = self.arity.unsigned_abs() as usize;
        if self.arity >= 0 { count == bound } else { count >= bound }
    }

    /// The rows of the subcommands, empty if there are none.
    #[must_use]
    pub fn subcommands(&self) -> &'static [Verb] {
        let first = self.id as usize + 1;
        let is_ours = |verb: &&Verb| verb.container() == Some(self.name);
        let count = VERBS[first..].iter().take_while(is_ours).count();
        &VERBS[first..first + count]
    }

    /// The name of the container whose subcommand this is.
    #[must_use]
    pub fn container(&self) -> Option<&'static str> {
        self.name.split_once('|').map(|(container, _)| container)
    }

    /// The word that names this row among its siblings: `get` for `config|get`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, word)| word)
    }

    /// The row of this container's subcommand `word`, in any case of letters.
    #[must_use]
    pub fn subcommand(&self, word: &[u8]) -> Option<&'static Verb> {
        self.subcommands().iter().find(|verb| verb.word().as_bytes().eq_ignore_ascii_case(word))
    }

    /// Whether this row belongs to the category, one of [`CATEGORIES`].
    #[must_use]
    pub fn in_category(&self, category: &str) -> bool {
        let flags = self.flags;
        match category {
            "keyspace" => flags.has(Flags::KEYSPACE),
            // What a script reads says its text.
            "read" => flags.has(Flags::READONLY) && !flags.has(Flags::SCRIPTING),
            "write" => flags.has(Flags::WRITE),
            "set" => flags.has(Flags::SET),
            "hash" => flags.has(Flags::HASH),
            "string" => flags.has(Flags::STRING),
            "bitmap" => flags.has(Flags::BITMAP),
            "pubsub" => flags.has(Flags::PUBSUB),
            "admin" => flags.has(Flags::ADMIN) || flags.has(Flags::ADMINISTRATIVE),
            "fast" => flags.has(Flags::FAST),
            "slow" => !flags.has(Flags::FAST),
            "dangerous" => {
                flags.has(Flags::ADMIN) || flags.has(Flags::ADMINISTRATIVE) || flags.has(Flags::DANGEROUS)
            }
            "connection" => flags.has(Flags::CONN),
            "transaction" => flags.has(Flags::TRANSACTION),
            "scripting" => flags.has(Flags::SCRIPTING),
            _ => false,
        }
    }
}

/// The row of a command that was admitted before: of its verb, or of its subcommand.
#[must_use]
pub fn resolve(args: &Args<'_>) -> Option<&'static Verb> {
    let verb = find(args.bytes(0)?)?;
    match args.bytes(1) {
        Some(word) if verb.flags.has(Flags::CONTAINER) => verb.subcommand(word),
        _ => Some(verb),
    }
}

/// The row of a name as the table has it: `get`, or `config|get`, in any case of letters.
#[must_use]
pub fn find_full(name: &[u8]) -> Option<&'static Verb> {
    match name.iter().position(|byte| *byte == b'|') {
        Some(at) => find(&name[..at])?.subcommand(&name[at + 1..]),
        None => find(name),
    }
}

/// The rows that are not subcommands.
pub fn verbs() -> impl Iterator<Item = &'static Verb> + Clone {
    VERBS.iter().filter(|verb| verb.container().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_at_the_index_of_their_id_and_are_unique() {
        for (index, verb) in VERBS.iter().enumerate() {
            assert_eq!(verb.id as usize, index);
            assert_eq!(VERBS.iter().filter(|other| other.name == verb.name).count(), 1);
        }
    }

    #[test]
    fn subcommands_follow_their_container() {
        for verb in VERBS {
            if let Some(container) = verb.container() {
                let row = find(container.as_bytes()).unwrap();
                assert_eq!(row.subcommand(verb.word().to_uppercase().as_bytes()).unwrap().id, verb.id);
            }
        }
        assert!(find(b"get").unwrap().subcommands().is_empty());
        assert!(find(b"client").unwrap().subcommand(b"nonsense").is_none());
    }

    fn key_positions(words: &[&str]) -> Vec<usize> {
        let mut table = crate::wire::arguments::ArgTable::with_capacity(words.len());
        let mut at = 0;
        for word in words {
            table.push(at, word.len());
            at += word.len();
        }
        let bytes = words.concat().into_bytes();
        let args = table.args(&bytes);
        resolve(&args).unwrap().key_positions(&args).collect()
    }

    #[test]
    fn keys_are_found_wherever_they_stand() {
        let cases: [(&str, &[usize]); 21] = [
            ("GET k", &[1]),
            ("GET", &[]),
            ("PING k", &[]),
            ("MSET a 1 b 2", &[1, 3]),
            ("DEL a b c", &[1, 2, 3]),
            ("RENAME a b", &[1, 2]),
            ("OBJECT ENCODING a", &[2]),
            ("BITOP AND d a b", &[2, 3, 4]),
            ("LCS a b IDX", &[1, 2]),
            ("MSETEX 2 a 1 b 2 EX 5", &[2, 4]),
            ("MSETEX 9 a 1 b 2", &[2, 4]),
            ("MSETEX 0 a 1", &[]),
            ("MSETEX -1 a 1", &[]),
            ("MSETEX 9223372036854775807 a 1", &[2]),
            ("SINTERCARD 2 a b LIMIT 5", &[2, 3]),
            ("SINTERSTORE d a b", &[1, 2, 3]),
            ("HSET a f v", &[1]),
            ("SORT a", &[1]),
            ("SORT a BY w_* STORE b STORE c", &[1, 7]),
            ("SORT a STORE", &[1]),
            ("SORT_RO a BY w", &[1]),
        ];
        for (line, expected) in cases {
            assert_eq!(key_positions(&line.split(' ').collect::<Vec<_>>()), expected, "{line}");
        }
    }

    #[test]
    fn arity_is_exact_or_a_minimum() {
        assert!(find(b"get").unwrap().admits(2));
        assert!(!find(b"get").unwrap().admits(3));
        assert!(find(b"set").unwrap().admits(7));
        assert!(!find(b"set").unwrap().admits(2));
    }
}
