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
mod keys;
pub mod shown;
mod table;

pub use access::access;
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

/// Bytes of the longest verb (without a container); longer words are never looked up.
const WORD_BYTES_MAX: usize = 16;
/// Slots of the lookup table: a power of two, sparse enough that a probe rarely goes on.
const SLOTS: usize = 1024;
const EMPTY: u16 = u16::MAX;

/// Row indexes by hash of the word, open addressing; made by the compiler.
static LOOKUP: [u16; SLOTS] = build_lookup();

/// A word of 1 to [`WORD_BYTES_MAX`] bytes as two numbers, its first eight bytes and its last, capital letters made small.
/// Two words of one length are the same numbers only if they are the same in small letters.
#[inline(always)] // Once for each command of a batch.
const fn small(word: &[u8]) -> [u64; 2] {
    let len = word.len();
    match (word.first_chunk(), word.last_chunk()) {
        (Some(first), Some(last)) if len > 8 => {
            [letters_made_small(u64::from_le_bytes(*first)), letters_made_small(u64::from_le_bytes(*last))]
        }
        _ => [letters_made_small(up_to_eight(word)), 0],
    }
}

/// The bytes of a word of 1 to 8 as a number.
#[inline(always)]
const fn up_to_eight(word: &[u8]) -> u64 {
    let len = word.len();
    if let (Some(first), Some(last)) = (word.first_chunk(), word.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64);
        return first | last << (8 * (len - 4));
    }
    let (middle, last) = (len / 2, len - 1);
    word[0] as u64 | (word[middle] as u64) << (8 * middle) | (word[last] as u64) << (8 * last)
}

/// Eight bytes at once: the top bit of each says, in turn, whether it is at least an `A` and whether it is beyond a `Z`.
#[inline(always)]
const fn letters_made_small(bytes: u64) -> u64 {
    const EACH: u64 = u64::MAX / 0xFF;
    let low = bytes & (0x7F * EACH);
    let from_a = low + (0x80 - b'A' as u64) * EACH;
    let beyond_z = low + (0x7F - b'Z' as u64) * EACH;
    let is_capital = (from_a ^ beyond_z) & !bytes & (0x80 * EACH);
    bytes | (is_capital >> 2)
}

/// The place in the table of a word that [`small`] has made numbers.
#[inline(always)]
const fn slot([first, last]: [u64; 2]) -> usize {
    let mixed = (first ^ last.rotate_left(7)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> (u64::BITS - SLOTS.ilog2())) as usize
}

/// The names of the rows that are not subcommands as numbers.
static NAMES: [[u64; 2]; VERBS.len()] = {
    let mut names = [[0; 2]; VERBS.len()];
    let mut row = 0;
    while row < VERBS.len() {
        if VERBS[row].name.len() <= WORD_BYTES_MAX {
            names[row] = small(VERBS[row].name.as_bytes());
        }
        row += 1;
    }
    names
};

const fn build_lookup() -> [u16; SLOTS] {
    let mut table = [EMPTY; SLOTS];
    let mut row = 0;
    while row < VERBS.len() {
        let word = VERBS[row].name.as_bytes();
        let mut is_subcommand = false;
        let mut index = 0;
        while index < word.len() {
            is_subcommand |= word[index] == b'|';
            index += 1;
        }
        if !is_subcommand {
            assert!(word.len() <= WORD_BYTES_MAX);
            let mut at = slot(small(word));
            while table[at] != EMPTY {
                at = (at + 1) % SLOTS;
            }
            table[at] = row as u16;
        }
        row += 1;
    }
    table
}

/// The row of a verb, in any case of letters; not of a subcommand.
#[must_use]
#[inline]
pub fn find(word: &[u8]) -> Option<&'static Verb> {
    if word.is_empty() || word.len() > WORD_BYTES_MAX {
        return None;
    }
    let name = small(word);
    let mut at = slot(name);
    while LOOKUP[at] != EMPTY {
        let row = usize::from(LOOKUP[at]);
        if NAMES[row] == name && VERBS[row].name.len() == word.len() {
            return Some(&VERBS[row]);
        }
        at = (at + 1) % SLOTS;
    }
    None
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
    fn every_verb_is_found_in_any_case_and_nothing_else_is() {
        for verb in verbs() {
            assert_eq!(find(verb.name.as_bytes()).unwrap().id, verb.id);
            assert_eq!(find(verb.name.to_uppercase().as_bytes()).unwrap().id, verb.id);
        }
        for word in
            ["", "g", "gett", "config|get", "blpop", "a very long word that is no verb", "get\0", "\0get"]
        {
            assert!(find(word.as_bytes()).is_none(), "{word}");
        }
        // Every other byte in the place of each of theirs, those that differ by the bit of the letters' case among them.
        for verb in verbs() {
            for at in 0..verb.name.len() {
                for byte in 0..=u8::MAX {
                    let mut word = verb.name.as_bytes().to_vec();
                    word[at] = byte;
                    let found = find(&word).map(|verb| verb.name.as_bytes());
                    let same = found.is_some_and(|name| name.eq_ignore_ascii_case(&word));
                    assert!(found.is_none() || same, "{word:?}");
                    assert!(found.is_some() || !verb.name.as_bytes().eq_ignore_ascii_case(&word), "{word:?}");
                }
            }
        }
    }

    #[test]
    fn most_verbs_are_found_at_once() {
        let steps = |verb: &Verb| {
            let row = verb.id as usize;
            let at = LOOKUP.iter().position(|of| usize::from(*of) == row).expect("in the table");
            (at + SLOTS - slot(small(verb.name.as_bytes()))) % SLOTS
        };
        assert!(verbs().filter(|verb| steps(verb) == 0).count() * 10 >= verbs().count() * 8);
        assert!(verbs().all(|verb| steps(verb) <= 8));
    }

    #[test]
    fn rows_stand_at_the_index_of_their_id_and_are_unique() {
        for (index, verb) in VERBS.iter().enumerate() {
            assert_eq!(verb.id as usize, index);
            assert_eq!(VERBS.iter().filter(|other| other.name == verb.name).count(), 1);
        }
        assert!(VERBS.len() < EMPTY as usize);
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
