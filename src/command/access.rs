//! What a command does with each of its keys, in Redis's words: for COMMAND GETKEYSANDFLAGS.

use super::{Flags, Verb, VerbId};
use crate::wire::arguments::Args;

/// RO, RW, OW (written over unseen) or RM (removed), then what the command does with the value: reads it (access),
/// changes it (update, insert) or deletes it. `position` is that of one of the command's
/// [keys](Verb::key_positions).
#[must_use]
pub fn access(verb: &Verb, args: &Args<'_>, position: usize) -> &'static [&'static str] {
    use VerbId as V;
    let is_word = |at: usize, word: &[u8]| args.bytes(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word));
    let is_first = position == verb.keys.first as usize;
    match verb.id {
        V::Set | V::Put => {
            let reads = ["GET", "IFEQ", "IFNE"];
            let reads = (3..args.len()).any(|at| reads.iter().any(|word| is_word(at, word.as_bytes())));
            if reads { &["RW", "access", "update"] } else { &["OW", "update"] }
        }
        V::Bitfield => {
            // Only GETs, with type and offset each, leave the key as it is.
            let reads = (2..args.len()).step_by(3).all(|at| is_word(at, b"GET"));
            if reads { &["RO", "access"] } else { &["RW", "access", "update"] }
        }
        V::Setex | V::Psetex | V::Mset | V::Msetex => &["OW", "update"],
        V::Setnx | V::Msetnx => &["OW", "insert"],
        V::Append => &["RW", "insert"],
        V::Setrange | V::Expire | V::Pexpire | V::Expireat | V::Pexpireat | V::Persist => &["RW", "update"],
        V::Getdel | V::Delifeq => &["RW", "access", "delete"],
        V::Delex if args.len() > 2 => &["RW", "access", "delete"],
        V::Delex | V::Del | V::Delete | V::Unlink => &["RM", "delete"],
        V::Rename | V::Renamenx if is_first => &["RW", "access", "delete"],
        V::Renamenx => &["OW", "insert"],
        V::Rename => &["OW", "update"],
        V::Copy | V::Sort if is_first => &["RO", "access"],
        V::Copy | V::Sort => &["OW", "update"],
        V::Bitop if !is_first => &["RO", "access"],
        V::Bitop | V::Restore => &["OW", "update"],
        V::Ssubscribe | V::Sunsubscribe | V::Spublish => &["not_key"],
        // They look at the key, not at the value.
        V::Exists
        | V::Touch
        | V::Type
        | V::Strlen
        | V::Watch
        | V::MemoryUsage
        | V::ObjectEncoding
        | V::ObjectFreq
        | V::ObjectIdletime
        | V::ObjectRefcount => &["RO"],
        _ if verb.flags.has(Flags::READONLY) => &["RO", "access"],
        _ => &["RW", "access", "update"],
    }
}
