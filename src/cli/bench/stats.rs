//! What is counted while a load runs.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::workload::Op;

/// Nanoseconds since the load began.
pub(super) type Nanos = u64;

/// Latencies up to an hour, to three digits.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Kinds of errors that are counted apart; further ones go under one name.
const ERROR_KINDS_MAX: usize = 16;

/// Counts of one kind of requests.
pub(super) struct Stats {
    pub(super) reads: Histogram<u64>,
    pub(super) writes: Histogram<u64>,
    pub(super) hits: u64,
    pub(super) misses: u64,
    /// By the server's words.
    pub(super) errors: BTreeMap<String, u64>,
    /// Answers that were looked at in full.
    pub(super) checked: u64,
    /// Of them, how many were not what was written; and the first of them, in words.
    pub(super) wrong: u64,
    pub(super) wrong_first: Option<String>,
    /// Requests that were sent again (UDP).
    pub(super) resent: u64,
    /// Replies to what had been answered already (UDP).
    pub(super) late: u64,
    /// Replies of the same kind and latency that are not in a histogram yet: in a pipeline they come in rows.
    row: (Op, Nanos, u64),
}

impl Stats {
    pub(super) fn new() -> Stats {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("bounds that hdrhistogram allows");
        Stats {
            reads: histogram(),
            writes: histogram(),
            hits: 0,
            misses: 0,
            errors: BTreeMap::new(),
            checked: 0,
            wrong: 0,
            wrong_first: None,
            resent: 0,
            late: 0,
            row: (Op::Read, 0, 0),
        }
    }

    /// Counts a reply's latency.
    pub(super) fn reply(&mut self, op: Op, latency: Nanos) {
        if self.row.0 == op && self.row.1 == latency {
            self.row.2 += 1;
        } else {
            self.settle();
            self.row = (op, latency, 1);
        }
    }

    /// Brings the histograms up to date.
    pub(super) fn settle(&mut self) {
        let (op, latency, count) = self.row;
        let histogram = if op == Op::Read { &mut self.reads } else { &mut self.writes };
        histogram.saturating_record_n(latency.max(1), count);
        self.row.2 = 0;
    }

    /// Replies counted, errors and misses included.
    pub(super) fn replies(&self) -> u64 {
        self.reads.len() + self.writes.len() + self.row.2
    }

    pub(super) fn error(&mut self, words: &[u8]) {
        let words: String = String::from_utf8_lossy(words).chars().take(100).collect();
        let known = self.errors.contains_key(&words) || self.errors.len() < ERROR_KINDS_MAX;
        *self.errors.entry(if known { words } else { "others".to_owned() }).or_default() += 1;
    }

    /// Counts an answer that was looked at; `wrong` says of a bad one what it was.
    pub(super) fn checked(&mut self, right: bool, wrong: impl FnOnce() -> String) {
        self.checked += 1;
        if !right {
            self.wrong += 1;
            self.wrong_first.get_or_insert_with(wrong);
        }
    }

    pub(super) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Reads and writes together.
    pub(super) fn all(&self) -> Histogram<u64> {
        let mut all = self.reads.clone();
        all.add(&self.writes).expect("histograms of the same bounds");
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_equal_latencies_are_counted_each() {
        let mut stats = Stats::new();
        for latency in [5_000, 5_000, 7_000, 5_000] {
            stats.reply(Op::Read, latency);
        }
        stats.reply(Op::Write, 9_000);
        assert_eq!(stats.replies(), 5);
        stats.settle();
        stats.settle();
        assert_eq!((stats.reads.len(), stats.writes.len(), stats.replies()), (4, 1, 5));
        assert_eq!(stats.all().max(), stats.all().highest_equivalent(9_000));
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let mut stats = Stats::new();
        for number in 0..100 {
            stats.error(format!("ERR {number}").as_bytes());
        }
        assert_eq!((stats.errors.len(), stats.error_count(), stats.errors["others"]), (17, 100, 84));
    }
}
