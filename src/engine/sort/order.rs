//! Bringing the members of a set into order: a record for each, in large values of spare memory, merged run by run.
//!
//! ```text
//!  | key (8) | index in the set (4) | has a weight (4) |         the key orders as the weight does, as far as it goes
//!
//!  runs of 16, each sorted as it is made ─▶ runs of 32 ─▶ runs of 64 ─▶ … ─▶ one                    one pass each
//! ```
//! A key is the score, or the first eight bytes of the weight (or of the member, without one); where keys are equal the weights are compared as
//! a whole, then the members. So the order is the same for the same set, whatever the order of its pages.

use super::{compare, pattern};
use crate::{
    engine::{Engine, meter::KEY_UNITS, refused},
    mutation::{ChainPosition, Database, LargeId, LargeRef, Refused, Tree},
    reply::{Error, ErrorKind},
    store::{LargeCursor, Store, collection::Item},
    time::Millis,
};
use std::cmp::Ordering;

/// Members that are sorted at once: so few that even the longest ones take less than a turn.
const RUN_LEN: u32 = 16;
const RECORD_BYTES: usize = 16;

/// What members are compared by.
pub(super) struct By<'a> {
    pub pattern: Option<&'a [u8]>,
    pub is_alpha: bool,
    pub is_descending: bool,
    pub db: Database,
    pub now: Millis,
}

/// A member on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    has_weight: bool,
    key: u64,
    pub index: u32,
}

impl Record {
    fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&self.key.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.index.to_le_bytes());
        bytes[12] = u8::from(self.has_weight);
        bytes
    }

    fn of(bytes: [u8; RECORD_BYTES]) -> Record {
        let (key, rest) = bytes.split_at(8);
        Record {
            key: key.try_into().map_or(0, u64::from_le_bytes),
            index: rest[..4].try_into().map_or(0, u32::from_le_bytes),
            has_weight: bytes[12] != 0,
        }
    }
}

/// Reads records one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordReader {
    id: LargeId,
    next: u32,
    position: ChainPosition,
}

impl RecordReader {
    pub(super) fn new(id: LargeId, next: u32) -> RecordReader {
        RecordReader { id, next, position: ChainPosition::NONE }
    }

    /// The next record, which stays the next one.
    pub(super) fn peek(&mut self, store: &Store) -> Record {
        let (mut bytes, mut filled) = ([0; RECORD_BYTES], 0);
        let offset = u64::from(self.next) * RECORD_BYTES as u64;
        let mut cursor = LargeCursor::follow(self.id, offset, self.position);
        while filled < RECORD_BYTES {
            let piece = store.large_slice(&mut cursor);
            if filled == 0 {
                self.position = cursor.position();
            }
            let len = piece.len().min(RECORD_BYTES - filled);
            if len == 0 {
                break;
            }
            bytes[filled..filled + len].copy_from_slice(&piece[..len]);
            filled += len;
            cursor.advance(len);
        }
        Record::of(bytes)
    }

    pub(super) fn advance(&mut self) {
        self.next += 1;
    }
}

/// How far it has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Records of members before `loaded`, in runs of `width`.
    from: LargeRef,
    loaded: u32,
    width: u32,
    merge: Option<Merge>,
}

/// A pass over the runs, two by two.
#[derive(Debug, PartialEq, Eq)]
struct Merge {
    to: LargeRef,
    /// Where the two runs begin.
    start: u32,
    left: RecordReader,
    right: RecordReader,
}

impl Merge {
    fn new(from: LargeId, to: LargeRef, width: u32) -> Merge {
        Merge { to, start: 0, left: RecordReader::new(from, 0), right: RecordReader::new(from, width) }
    }
}

impl Order {
    pub(super) fn begin(store: &mut Store, len: u32) -> Result<Order, Refused> {
        let from = store.large_begin_spare(u64::from(len) * RECORD_BYTES as u64)?;
        Ok(Order { from, loaded: 0, width: RUN_LEN, merge: None })
    }

    pub(super) fn release(self, store: &mut Store) {
        store.large_release(self.from);
        if let Some(merge) = self.merge {
            store.large_release(merge.to);
        }
    }

    /// The records, which are in their order.
    pub(super) fn into_records(self) -> LargeRef {
        debug_assert!(self.merge.is_none());
        self.from
    }

    /// Goes on until the meter is spent. True: the records are in their order.
    pub(super) fn resume(
        &mut self,
        engine: &mut Engine,
        tree: &Tree,
        by: &By<'_>,
    ) -> Result<bool, Error<'static>> {
        while self.loaded < tree.len {
            if engine.meter.is_spent() {
                return Ok(false);
            }
            self.load_run(engine, tree, by)?;
        }
        while self.width < tree.len {
            let mut merge = match self.merge.take() {
                Some(merge) => merge,
                None => {
                    let len = u64::from(tree.len) * RECORD_BYTES as u64;
                    let to = engine.store.large_begin_spare(len).map_err(refused)?;
                    Merge::new(self.from.id(), to, self.width)
                }
            };
            match merge.resume(engine, tree, by, self.width) {
                Ok(true) => {
                    engine.store.large_release(std::mem::replace(&mut self.from, merge.to));
                    self.width = self.width.saturating_mul(2);
                }
                unfinished => {
                    self.merge = Some(merge);
                    return unfinished;
                }
            }
        }
        Ok(true)
    }

    /// Makes the next records, in order.
    fn load_run(&mut self, engine: &mut Engine, tree: &Tree, by: &By<'_>) -> Result<(), Error<'static>> {
        let mut run = [Record::default(); RUN_LEN as usize];
        let count = RUN_LEN.min(tree.len - self.loaded);
        let Engine { store, names, meter, .. } = engine;
        for (index, record) in (self.loaded..).zip(&mut run[..count as usize]) {
            *record = make_record(store, tree, index, by, names)?;
            meter.charge(if by.pattern.is_some() { 2 * KEY_UNITS } else { KEY_UNITS });
        }
        let run = &mut run[..count as usize];
        run.sort_unstable_by(|a, b| {
            let (order, units) = compare_records(store, tree, by, (a, b), names);
            meter.charge(units);
            order
        });
        for record in &*run {
            store.large_append_spare(self.from.id(), &record.to_bytes(), by.now).map_err(refused)?;
        }
        self.loaded += count;
        Ok(())
    }
}

impl Merge {
    /// Goes on until the meter is spent. True: the pass is done.
    fn resume(
        &mut self,
        engine: &mut Engine,
        tree: &Tree,
        by: &By<'_>,
        width: u32,
    ) -> Result<bool, Error<'static>> {
        let Engine { store, names, meter, .. } = engine;
        while self.start < tree.len {
            let middle = self.start.saturating_add(width).min(tree.len);
            let end = middle.saturating_add(width).min(tree.len);
            while self.left.next < middle || self.right.next < end {
                if meter.is_spent() {
                    return Ok(false);
                }
                let is_left = if self.right.next >= end {
                    true
                } else if self.left.next >= middle {
                    false
                } else {
                    let records = (&self.left.peek(store), &self.right.peek(store));
                    let (order, units) = compare_records(store, tree, by, records, names);
                    meter.charge(units);
                    order.is_le()
                };
                let reader = if is_left { &mut self.left } else { &mut self.right };
                let bytes = reader.peek(store).to_bytes();
                store.large_append_spare(self.to.id(), &bytes, by.now).map_err(refused)?;
                reader.advance();
                meter.charge(1);
            }
            self.start = end;
            self.left.next = end;
            self.right.next = end.saturating_add(width).min(tree.len);
        }
        Ok(true)
    }
}

/// What is compared of a member: itself, or what the pattern says.
fn weight<'s>(
    store: &'s Store,
    tree: &Tree,
    index: u32,
    by: &By<'_>,
    names: &mut Vec<u8>,
) -> Option<Item<'s>> {
    let member = store.tree_entry(tree, index).field;
    match by.pattern {
        None => Some(member),
        Some(pattern) => pattern::look_up(store, (by.db, by.now), pattern, member, names),
    }
}

fn make_record(
    store: &Store,
    tree: &Tree,
    index: u32,
    by: &By<'_>,
    names: &mut Vec<u8>,
) -> Result<Record, Error<'static>> {
    let weight = weight(store, tree, index, by, names);
    let has_weight = weight.is_some();
    let key = match weight {
        // Those without a weight come first, in the order of the members.
        _ if by.is_alpha => prefix(store, weight.unwrap_or_else(|| store.tree_entry(tree, index).field)),
        None => ordered(0.0),
        Some(Item::Bytes(text)) => ordered(score(text).ok_or(ErrorKind::SortScore.plain())?),
        // No number has so many digits that it needs a large value.
        Some(Item::Large { .. }) => return Err(ErrorKind::SortScore.plain()),
    };
    // Without a weight the score is 0, as that of others.
    Ok(Record { has_weight: has_weight || !by.is_alpha, key, index })
}

/// The first eight bytes, so that numbers are ordered as the strings are.
fn prefix(store: &Store, item: Item<'_>) -> u64 {
    let bytes = super::piece(store, item, 0);
    let mut first = [0; 8];
    let len = bytes.len().min(8);
    first[..len].copy_from_slice(&bytes[..len]);
    u64::from_be_bytes(first)
}

/// A number that is ordered as the scores are; both zeros are one.
fn ordered(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// A score as `strtod` reads it: blanks before it, decimal or hexadecimal, infinite or not; a text without bytes is 0.
/// What is beyond a double, or rounded to nothing, is no score.
fn score(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let text = std::str::from_utf8(text).ok()?;
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(digits) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let number = u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
        return Some(if text.starts_with('-') { -(number as f64) } else { number as f64 });
    }
    let score: f64 = text.parse().ok().filter(|score: &f64| !score.is_nan())?;
    let mantissa = unsigned.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = mantissa.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    let is_word = unsigned.starts_with(['i', 'I']);
    let is_in_range = score.is_normal() || score == 0.0 && is_zero || score.is_infinite() && is_word;
    is_in_range.then_some(score)
}

/// The order of two members, and what it cost to find out.
fn compare_records(
    store: &Store,
    tree: &Tree,
    by: &By<'_>,
    (a, b): (&Record, &Record),
    names: &mut Vec<u8>,
) -> (Ordering, u32) {
    let mut units = 0;
    let order = (a.has_weight, a.key).cmp(&(b.has_weight, b.key)).then_with(|| {
        units += 4 * KEY_UNITS;
        let mut order = Ordering::Equal;
        if by.is_alpha && a.has_weight && by.pattern.is_some() {
            units += 4 * KEY_UNITS;
            let weights = (weight(store, tree, a.index, by, names), weight(store, tree, b.index, by, names));
            if let (Some(a), Some(b)) = weights {
                units += (a.len().min(b.len()) / 512) as u32;
                order = compare(store, a, b);
            }
        }
        order.then_with(|| {
            let [a, b] = [a, b].map(|record| store.tree_entry(tree, record.index).field);
            units += (a.len().min(b.len()) / 512) as u32;
            compare(store, a, b)
        })
    });
    (if by.is_descending { order.reverse() } else { order }, units)
}

#[cfg(test)]
mod tests {
    use super::{ordered, score};

    #[test]
    fn scores_are_read_as_the_reference_does() {
        let good = [
            ("", 0.0),
            ("0", 0.0),
            ("-0", 0.0),
            ("0.000", 0.0),
            ("0e5", 0.0),
            (" 7", 7.0),
            ("\t-1.5e3", -1500.0),
            ("+3", 3.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("0x10", 16.0),
            ("-0X1f", -31.0),
            ("5\0x", 5.0),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("9223372036854775807", 9_223_372_036_854_775_807.0),
        ];
        for (text, value) in good {
            assert_eq!(score(text.as_bytes()), Some(value), "{text:?}");
        }
        for text in ["x", "1x", "1 ", " ", "nan", "1e400", "-1e400", "1e-400", "0x", "0x+1", "--1", "1e"] {
            assert_eq!(score(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn keys_are_in_the_order_of_scores() {
        let scores =
            [f64::NEG_INFINITY, -1e300, -2.0, -1.0, -1e-300, 0.0, 1e-300, 1.0, 1.5, 1e300, f64::INFINITY];
        assert!(scores.is_sorted_by_key(|score| ordered(*score)));
        assert!(scores.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
        assert_eq!(ordered(-0.0), ordered(0.0));
    }
}
