//! From a word to the row of its verb: a hash table that the compiler makes, asked once for each command.

use super::{VERBS, Verb};

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

const _: () = assert!(VERBS.len() < EMPTY as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::verbs;

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
}
