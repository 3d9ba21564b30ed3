//! What is counted: plain counters from one table each, and for each verb its calls, its time and a histogram of it.
//! No statics, no atomics: one thread owns them, INFO and the admin port read them.

mod process;

pub use process::ProcessStats;

use crate::{
    command::{VERBS, VerbId},
    reply::{ERROR_CODES, ErrorKind},
    wire::frame::Op,
};

pub mod frames;

/// A struct of `u64` counters with a doc line for each, and the name that INFO has for it.
macro_rules! counters {
    ($(#[$outer:meta])* $struct:ident { $($(#[doc = $doc:literal])+ $field:ident = $name:literal;)* }) => {
        $(#[$outer])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $struct {
            $($(#[doc = $doc])+ pub $field: u64,)*
        }

        impl $struct {
            /// Name and value of every counter, in the order of the table.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($name, self.$field),)*].into_iter()
            }
        }
    };
}

counters! {
    /// What the server and the engine count; shown by `INFO stats`.
    Counters {
        /// Connections accepted.
        accepted = "total_connections_received";
        /// Connections turned away because all places were taken.
        rejected = "rejected_connections";
        /// Commands executed, those that answered an error included.
        commands_processed = "total_commands_processed";
        /// Bytes received over TCP.
        received_bytes = "total_net_input_bytes";
        /// Bytes sent over TCP.
        sent_bytes = "total_net_output_bytes";
        /// Reads of a key that was there.
        keyspace_hits = "keyspace_hits";
        /// Reads of a key that was not.
        keyspace_misses = "keyspace_misses";
        /// Commands that must be one step (MSET, MSETNX, EXEC) and took longer than others should wait.
        long_steps = "long_steps";
        /// Messages that clients published.
        messages_published = "pubsub_messages_published";
        /// Messages that subscribers were sent, one for each of them.
        messages_delivered = "pubsub_messages_delivered";
        /// Watches that ended because the change feed had gone on without them.
        watches_compacted = "watches_compacted";
        /// Transactions whose events could not be published.
        key_events_lost = "key_events_lost";
        /// Commands that must be one step and were refused because they have more keys than max-step-keys.
        refused_steps = "refused_steps";
        /// Wrong passwords.
        auth_failures = "auth_failures";
        /// Passwords that had to wait because wrong ones had come from their address.
        auth_delays = "auth_delays";
        /// Error replies of any kind.
        error_replies = "total_error_replies";
    }
}

counters! {
    /// Connections that are closed, by why: with those that are open, they add up to `accepted`. Shown by `INFO stats`.
    Closes {
        /// The client closed it, or said QUIT.
        peer = "closed_by_peer";
        /// The connection failed: a reset, a network that is gone.
        failed = "closed_by_failure";
        /// The client broke the protocol, or spoke another one.
        protocol_error = "protocol_errors";
        /// Nothing was asked for too long.
        idle_timeout = "closed_by_idle_timeout";
        /// It has not authenticated in time.
        auth_timeout = "closed_by_auth_timeout";
        /// A command was begun and not finished in time.
        request_timeout = "closed_by_request_timeout";
        /// Replies were not taken in time.
        write_timeout = "closed_by_write_timeout";
        /// The buffers of all clients were full and it made no progress, or its command or reply outgrew them.
        buffers = "evicted_clients";
        /// It was subscribed to more than it took.
        slow_subscriber = "closed_slow_subscribers";
        /// CLIENT KILL.
        killed = "closed_by_kill";
        /// The server stops.
        shutdown = "closed_by_shutdown";
    }
}

impl Closes {
    /// Prometheus's label and the value of every counter.
    #[must_use]
    pub fn by_reason(&self) -> [(&'static str, u64); 11] {
        [
            ("peer", self.peer),
            ("failure", self.failed),
            ("protocol_error", self.protocol_error),
            ("idle_timeout", self.idle_timeout),
            ("auth_timeout", self.auth_timeout),
            ("request_timeout", self.request_timeout),
            ("write_timeout", self.write_timeout),
            ("buffers", self.buffers),
            ("slow_subscriber", self.slow_subscriber),
            ("killed", self.killed),
            ("shutdown", self.shutdown),
        ]
    }
}

/// How INFO calls a row: `get`, `config|get`, or in lower case `frame|put`.
#[derive(Clone, Copy, Debug)]
pub struct RowName {
    prefix: &'static str,
    name: &'static str,
}

impl core::fmt::Display for RowName {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.prefix)?;
        self.name
            .chars()
            .try_for_each(|letter| core::fmt::Write::write_char(formatter, letter.to_ascii_lowercase()))
    }
}

/// Buckets of a latency histogram.
pub(crate) const BUCKETS: usize = 32;

/// How often a verb ran and how long it took.
#[derive(Clone, Debug, Default)]
pub struct VerbMetrics {
    /// Times executed.
    pub calls: u64,
    /// Time spent, microseconds.
    pub micros: u64,
    /// Times turned away before execution (arity, authentication, memory).
    pub rejected: u64,
    /// Times that execution answered an error.
    pub failed: u64,
    /// Executions whose time was measured, by its upper bound: see [`VerbMetrics::bounds`].
    buckets: [u64; BUCKETS],
}

impl VerbMetrics {
    /// The bucket of a duration: bucket 0 is for up to 1.024 us, each next one for twice as much.
    fn bucket(micros: u64) -> usize {
        let nanos = micros.saturating_mul(1000).max(1);
        let doublings = 64 - ((nanos - 1) >> 10).leading_zeros() as usize;
        doublings.min(BUCKETS - 1)
    }

    /// The upper bound in microseconds of every bucket that added something, and how many executions took at most that
    /// long. Redis shows the same bounds.
    pub fn bounds(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut total = 0;
        self.buckets.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(index, count)| {
            total += count;
            ((1024 << index) / 1000, total)
        })
    }
}

impl VerbMetrics {
    /// The upper bounds in nanoseconds of so many thousandths of the executions that were measured; `None`: none was.
    pub fn percentiles_ns<const N: usize>(&self, thousandths: [u64; N]) -> Option<[u64; N]> {
        let total: u64 = self.buckets.iter().sum();
        if total == 0 {
            return None;
        }
        Some(thousandths.map(|share| {
            let rank = (total.saturating_mul(share)).div_ceil(1000).max(1);
            let mut below = 0;
            let bucket = self.buckets.iter().position(|count| {
                below += count;
                below >= rank
            });
            1024 << bucket.unwrap_or(BUCKETS - 1)
        }))
    }
}

/// What is counted apart: a verb of RESP commands, or an operation of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row(u16);

impl From<VerbId> for Row {
    #[inline]
    fn from(id: VerbId) -> Row {
        Row(id as u16)
    }
}

impl From<Op> for Row {
    fn from(op: Op) -> Row {
        // Operations are numbered from 1 in the order of their table; their rows follow the verbs'.
        Row(VERBS.len() as u16 + op as u16 - 1)
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    pub counters: Counters,
    pub closes: Closes,
    pub datagrams: frames::Counters,
    verbs: Vec<VerbMetrics>,
    errors: [u64; ERROR_CODES.len()],
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// All zero; the only place that allocates.
    #[must_use]
    pub fn new() -> Metrics {
        Metrics {
            counters: Counters::default(),
            closes: Closes::default(),
            datagrams: frames::Counters::default(),
            verbs: vec![VerbMetrics::default(); VERBS.len() + Op::ALL.len()],
            errors: [0; ERROR_CODES.len()],
        }
    }

    /// Zeroes everything, as CONFIG RESETSTAT does.
    pub fn reset(&mut self) {
        self.counters = Counters::default();
        self.closes = Closes::default();
        self.datagrams = frames::Counters::default();
        self.verbs.fill_with(VerbMetrics::default);
        self.errors = [0; ERROR_CODES.len()];
    }

    /// What was counted for a verb.
    #[must_use]
    pub fn verb(&self, row: impl Into<Row>) -> &VerbMetrics {
        &self.verbs[usize::from(row.into().0)]
    }

    #[inline]
    fn verb_mut(&mut self, row: impl Into<Row>) -> &mut VerbMetrics {
        &mut self.verbs[usize::from(row.into().0)]
    }

    /// Every row by its name: the verbs', then `frame|get` and its like.
    pub fn rows(&self) -> impl Iterator<Item = (RowName, &VerbMetrics)> + '_ {
        let verbs = VERBS.iter().map(|verb| RowName { prefix: "", name: verb.name });
        let ops = Op::ALL.iter().map(|op| RowName { prefix: "frame|", name: op.name() });
        verbs.chain(ops).zip(&self.verbs)
    }

    /// A verb was executed.
    #[inline]
    pub fn called(&mut self, row: impl Into<Row>) {
        self.counters.commands_processed += 1;
        self.verb_mut(row).calls += 1;
    }

    /// An execution took so long.
    #[inline]
    pub fn record_latency(&mut self, row: impl Into<Row>, micros: u64) {
        let verb = self.verb_mut(row);
        verb.micros += micros;
        verb.buckets[VerbMetrics::bucket(micros)] += 1;
    }

    /// A verb was executed so many times, in so many microseconds together.
    #[inline]
    pub fn called_many(&mut self, id: VerbId, count: u64, micros: u64) {
        if count > 0 {
            self.counters.commands_processed += count;
            self.verb_mut(id).calls += count;
            self.record_latencies(id, count, micros);
        }
    }

    /// So many executions, at least one, took so long together.
    #[inline]
    pub fn record_latencies(&mut self, id: VerbId, count: u64, micros: u64) {
        let verb = self.verb_mut(id);
        verb.micros += micros;
        verb.buckets[VerbMetrics::bucket(micros / count)] += count;
    }

    /// An execution answered an error.
    pub fn failed(&mut self, id: VerbId, error: ErrorKind) {
        self.verb_mut(id).failed += 1;
        self.error(error);
    }

    /// An operation of frames answered that it could not be done. (The statuses are counted with the frames.)
    pub fn frame_failed(&mut self, op: Op) {
        self.verb_mut(op).failed += 1;
    }

    /// A verb was turned away with an error before execution.
    pub fn rejected(&mut self, id: VerbId, error: ErrorKind) {
        self.verb_mut(id).rejected += 1;
        self.error(error);
    }

    /// An error was answered that belongs to no verb.
    pub fn error(&mut self, error: ErrorKind) {
        self.counters.error_replies += 1;
        self.errors[error.code_index()] += 1;
    }

    /// A verb ran and answered an error that counts by its text ([`error_as`](Self::error_as)), or has counted already.
    pub fn failed_uncounted(&mut self, id: VerbId) {
        self.verb_mut(id).failed += 1;
    }

    /// An error was answered whose text a script made: it counts by its first word where that is a code of the table,
    /// else as ERR, for only a script bounds how many there are.
    pub fn error_as(&mut self, text: &[u8]) {
        self.counters.error_replies += 1;
        let code = text.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
        let known = ERROR_CODES.iter().position(|known| known.as_bytes() == code);
        self.errors[known.unwrap_or(0)] += 1;
    }

    /// How many errors of this one's code were answered.
    #[must_use]
    pub fn errors_of(&self, error: ErrorKind) -> u64 {
        self.errors[error.code_index()]
    }

    /// Code and count of the errors answered, those that never were included.
    pub fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ERROR_CODES.into_iter().zip(self.errors)
    }

    /// Upper bound in nanoseconds of every bucket but the last, which takes the rest, and how many of all verbs'
    /// executions that were measured fell into it.
    pub fn latency(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (0..BUCKETS).map(|index| (1024 << index, self.verbs.iter().map(|verb| verb.buckets[index]).sum()))
    }

    /// Microseconds of all executions that were measured.
    #[must_use]
    pub fn measured_us(&self) -> u64 {
        self.verbs.iter().map(|verb| verb.micros).sum()
    }

    /// Zeroes the histogram of a verb; whether it held anything.
    pub fn reset_latency(&mut self, id: VerbId) -> bool {
        let buckets = &mut self.verb_mut(id).buckets;
        let used = buckets.iter().any(|count| *count > 0);
        *buckets = [0; BUCKETS];
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_double_and_the_last_takes_the_rest() {
        assert_eq!(VerbMetrics::bucket(0), 0);
        assert_eq!(VerbMetrics::bucket(1), 0);
        assert_eq!(VerbMetrics::bucket(2), 1);
        assert_eq!(VerbMetrics::bucket(3), 2);
        assert_eq!(VerbMetrics::bucket(1024), 10);
        assert_eq!(VerbMetrics::bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn bounds_add_up() {
        let mut metrics = Metrics::new();
        for micros in [1, 1, 5, 16] {
            metrics.record_latency(VerbId::Get, micros);
        }
        let bounds: Vec<_> = metrics.verb(VerbId::Get).bounds().collect();
        assert_eq!(bounds, [(1, 2), (8, 3), (16, 4)]);
        assert_eq!(metrics.verb(VerbId::Get).micros, 23);
        metrics.reset();
        assert_eq!(metrics.verb(VerbId::Get).bounds().count(), 0);
    }

    #[test]
    fn percentiles_are_bounds_of_buckets() {
        let mut metrics = Metrics::new();
        assert_eq!(metrics.verb(VerbId::Get).percentiles_ns([500]), None);
        (0..990).for_each(|_| metrics.record_latency(VerbId::Get, 1));
        (0..10).for_each(|_| metrics.record_latency(VerbId::Get, 100));
        let found = metrics.verb(VerbId::Get).percentiles_ns([1, 500, 990, 991, 1000]);
        assert_eq!(found, Some([1024, 1024, 1024, 131_072, 131_072]));
    }

    #[test]
    fn errors_are_counted_by_their_first_word() {
        let mut metrics = Metrics::new();
        metrics.error(ErrorKind::Syntax);
        metrics.failed(VerbId::Set, ErrorKind::Full);
        metrics.rejected(VerbId::Set, ErrorKind::Full);
        let counted: Vec<_> = metrics.errors().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("ERR", 1), ("OOM", 2)]);
        assert_eq!(metrics.counters.iter().find(|(name, _)| *name == "total_error_replies").unwrap().1, 3);
    }
}
