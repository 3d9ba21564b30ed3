//! LCS: the longest common subsequence of two values, bit by bit in parallel (Hyyrö, "Bit-Parallel LCS-length Computation
//! Revisited", 2004).
//!
//! ```text
//!           b →  m y n e w t e x t
//!   a  o         . . . . . . . . .       a row for each byte of a, a bit for each byte of b: set where the common
//!   ↓  h         . . . . . . . . .       subsequence of a so far and of b so far is one longer than without that
//!      m         1 . . . . . . . .       byte of b. Those bits are enough to walk back from the last corner as
//!      y         1 1 . . . . . . .       Redis does, so that of several subsequences the same one is found.
//! ```
//! It is one step and takes no memory from the store: rows lie in a buffer of the engine, which bounds the product of
//! the lengths.

use super::{Call, Engine, Flow, Outcome, bits::read_at, call::string};
use crate::{
    reply::{Error, ErrorKind, Part},
    store::{Store, Value},
    wire::encode::Out,
};

/// Bits of all rows, at most: about a millisecond's work. A row is a multiple of 64 bits.
const CELLS_MAX: u64 = 1_000_000;
/// Bytes of `b` that are compared at once.
const WORD: usize = 64;
/// Bytes of a subsequence, at most: no longer than either string.
const FOUND_BYTES_MAX: usize = 1 << 10;

const _: () = assert!(CELLS_MAX as usize / 8 <= super::scan::NAMES_BYTES);
const _: () = assert!((FOUND_BYTES_MAX * FOUND_BYTES_MAX) as u64 >= CELLS_MAX);

#[derive(Default)]
struct Options {
    only_len: bool,
    indexes: bool,
    match_len_min: i64,
    with_match_len: bool,
}

/// `LCS a b [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN]`
pub fn lcs<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let keys = [call.bytes(1)?, call.bytes(2)?];
    let (db, now) = (call.session.db, call.now);
    // Expired keys go first, so that both can be looked at together.
    for key in keys {
        if string(call.engine.lookup(db, key, now)).is_err() {
            return Err(ErrorKind::LcsNotStrings.plain());
        }
    }
    let options = parse(call)?;
    let Engine { store, names, meter, .. } = &mut *call.engine;
    let store = &*store;
    let text = |key| Text::new(store, store.peek(db, key, now).map(|entry| entry.value));
    let (mut a, mut b) = (text(keys[0]), text(keys[1]));
    if a.len == 0 || b.len == 0 {
        // They have nothing in common, however long the other one is.
        (a.len, b.len) = (0, 0);
    }
    let row_bytes = b.len.div_ceil(WORD as u64) * 8;
    if a.len.saturating_mul(row_bytes) > CELLS_MAX / 8 {
        return Err(ErrorKind::LcsTooLong.of_both(Part::Number(CELLS_MAX), Part::Bytes(b"")));
    }
    names.clear();
    meter.charge_bytes(4 * (a.len * row_bytes) as usize);
    fill(&a, &b, names);
    let table = Table { bytes: names, row_bytes: row_bytes as usize };
    let len = table.last_row_ones(a.len, b.len);
    if options.only_len {
        return call.done(len as i64);
    }
    let walk = Walk { a, b, table: &table };
    if options.indexes {
        answer_matches(call.out, &walk, &options, len);
        return Ok(Flow::Done);
    }
    let mut found = [0; FOUND_BYTES_MAX];
    let mut start = len as usize;
    walk.back(
        &mut |byte| {
            start -= 1;
            found[start] = byte;
        },
        &mut |_| {},
    );
    call.out.bulk(&found[..len as usize]);
    Ok(Flow::Done)
}

fn parse<'a>(call: &Call<'_, 'a, '_>) -> Result<Options, Error<'a>> {
    let mut options = Options::default();
    let mut at = 3;
    while at < call.args.len() {
        if call.is_word(at, "IDX") {
            options.indexes = true;
        } else if call.is_word(at, "LEN") {
            options.only_len = true;
        } else if call.is_word(at, "WITHMATCHLEN") {
            options.with_match_len = true;
        } else if call.is_word(at, "MINMATCHLEN") && at + 1 < call.args.len() {
            options.match_len_min = call.integer(at + 1)?;
            at += 1;
        } else {
            return Err(ErrorKind::Syntax.plain());
        }
        at += 1;
    }
    if options.only_len && options.indexes {
        return Err(ErrorKind::LcsBoth.plain());
    }
    Ok(options)
}

/// A value to be read here and there.
struct Text<'s> {
    store: &'s Store,
    value: Option<Value<'s>>,
    len: u64,
}

impl<'s> Text<'s> {
    fn new(store: &'s Store, value: Option<Value<'s>>) -> Text<'s> {
        Text { store, value, len: value.map_or(0, |value| value.len()) }
    }

    /// The bytes from `start` on, at most 64 of them.
    fn word<'b>(&self, start: u64, buffer: &'b mut [u8; WORD]) -> &'b [u8] {
        let len = (self.len - start).min(WORD as u64) as usize;
        match self.value {
            Some(Value::Inline(bytes)) => {
                buffer[..len].copy_from_slice(&bytes[start as usize..start as usize + len]);
            }
            value => read_at(self.store, value, start, &mut buffer[..len]),
        }
        &buffer[..len]
    }

    fn byte(&self, index: u64) -> u8 {
        match self.value {
            Some(Value::Inline(bytes)) => bytes[index as usize],
            value => {
                let mut byte = [0];
                read_at(self.store, value, index, &mut byte);
                byte[0]
            }
        }
    }
}

/// Appends the rows to `rows`, which is empty.
fn fill(a: &Text<'_>, b: &Text<'_>, rows: &mut Vec<u8>) {
    let row_words = b.len.div_ceil(WORD as u64) as usize;
    let mut buffer = [0; WORD];
    for i in 0..a.len {
        let byte = a.byte(i);
        let mut carry = false;
        for word in 0..row_words {
            let above = match i {
                0 => 0,
                _ => read_word(rows, (i as usize - 1) * row_words + word),
            };
            // The usual formulation has the bits inverted: a 1 where nothing is gained.
            let same = b.word((word * WORD) as u64, &mut buffer);
            let matches =
                same.iter().enumerate().fold(0, |bits, (at, other)| bits | u64::from(*other == byte) << at);
            let ungained = !above;
            let (sum, over) = ungained.overflowing_add(ungained & matches);
            let (sum, over_too) = sum.overflowing_add(u64::from(carry));
            carry = over || over_too;
            let row = !(sum | (ungained & !matches));
            rows.extend_from_slice(&row.to_le_bytes());
        }
    }
}

fn read_word(rows: &[u8], index: usize) -> u64 {
    rows[8 * index..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The rows, filled.
struct Table<'b> {
    bytes: &'b [u8],
    row_bytes: usize,
}

impl Table<'_> {
    /// Whether the first `i` bytes of a and `j` of b have more in common than with `j - 1` of b.
    fn gains(&self, i: u64, j: u64) -> bool {
        let (row, bit) = (i as usize - 1, j as usize - 1);
        self.bytes[row * self.row_bytes + bit / 8] & 1 << (bit % 8) != 0
    }

    /// Bits of the last of `rows` rows: the length of the common subsequence. Those behind `columns` do not count.
    fn last_row_ones(&self, rows: u64, columns: u64) -> u64 {
        (1..=columns).filter(|j| rows > 0 && self.gains(rows, *j)).count() as u64
    }
}

/// A run of bytes that both have: where it begins in each, and how long it is.
struct Match {
    a: u64,
    b: u64,
    len: u64,
}

/// The way back through the rows.
struct Walk<'s, 'b> {
    a: Text<'s>,
    b: Text<'s>,
    table: &'b Table<'b>,
}

impl Walk<'_, '_> {
    /// Shows each common byte and each run of them, from the last to the first.
    fn back(&self, byte: &mut dyn FnMut(u8), run: &mut dyn FnMut(&Match)) {
        let (mut i, mut j) = (self.a.len, self.b.len);
        let mut current: Option<Match> = None;
        while i > 0 && j > 0 {
            let common = self.a.byte(i - 1);
            if common == self.b.byte(j - 1) {
                (i, j) = (i - 1, j - 1);
                byte(common);
                let len = current.take().map_or(1, |current| current.len + 1);
                current = Some(Match { a: i, b: j, len });
                continue;
            }
            if self.table.gains(i, j) {
                i -= 1;
            } else {
                j -= 1;
            }
            if let Some(ended) = current.take() {
                run(&ended);
            }
        }
        if let Some(ended) = current {
            run(&ended);
        }
    }
}

/// Answers where the matches are. Their number comes first, so they are walked along twice.
fn answer_matches(out: &mut Out<'_>, walk: &Walk<'_, '_>, options: &Options, len: u64) {
    let is_wanted = |run: &Match| run.len as i64 >= options.match_len_min;
    let mut count = 0;
    walk.back(&mut |_| {}, &mut |run| count += usize::from(is_wanted(run)));
    out.map(2);
    out.bulk(b"matches");
    out.array(count);
    walk.back(&mut |_| {}, &mut |run| {
        if !is_wanted(run) {
            return;
        }
        out.array(2 + usize::from(options.with_match_len));
        for start in [run.a, run.b] {
            out.array(2);
            out.integer(start as i64);
            out.integer((start + run.len - 1) as i64);
        }
        if options.with_match_len {
            out.integer(run.len as i64);
        }
    });
    out.bulk(b"len");
    out.integer(len as i64);
}

#[cfg(test)]
mod tests;
