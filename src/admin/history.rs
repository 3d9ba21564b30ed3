//! The last five minutes, a sample a second: what the page draws, so that a page that is opened after an incident shows
//! it. Memory is fixed: [`SAMPLES_MAX`] samples in a ring, counted in the memory limit.
//!
//! A sample is taken at the start of a turn of the loop, before the turn serves anything, so it covers what happened since
//! the sample before. While nothing happens none is taken and the loop is not woken: the next sample then covers
//! the whole quiet span, in which all rates were zero.

use super::{Fullness, Text};
use crate::command::VERBS;
use crate::metrics::BUCKETS;
use crate::mutation::Database;
use crate::server::Server;
use crate::time::{Millis, Now};
use crate::wire::frame::Op;
use std::fmt::{Result, Write};

/// Samples that are kept: five minutes of them.
pub const SAMPLES_MAX: usize = 300;
/// Milliseconds between two samples, unless nothing happens.
pub const INTERVAL_MS: u64 = 1_000;
/// Verbs of which a sample has the count: those that ran most often.
const VERBS_KEPT: usize = 6;
/// Bytes of a sample as JSON, at most: some thirty numbers of twenty digits, and the names of verbs.
const SAMPLE_TEXT_BYTES: usize = 1024;

/// Names of one kind of figures, and as many figures of each sample.
macro_rules! figures {
    ($(#[$doc:meta])* $struct:ident, $read:ident($($argument:ident: $type:ty),*) { $($name:ident = $value:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        struct $struct { $($name: u64,)* }

        impl $struct {
            const NAMES: &[&str] = &[$(stringify!($name)),*];

            fn $read($($argument: $type),*) -> $struct {
                $struct { $($name: $value,)* }
            }

            /// What each figure has grown by since `before`; one that is smaller was set back to zero and counts from there.
            #[allow(dead_code)] // Of gauges there is no difference.
            fn since(&self, before: &$struct) -> $struct {
                $struct { $($name: grown(self.$name, before.$name),)* }
            }

            /// The names as JSON, each with a comma behind it.
            fn write_names(text: &mut Text) -> Result {
                Self::NAMES.iter().try_for_each(|name| write!(text, "\"{name}\","))
            }

            fn write(&self, text: &mut Text) -> Result {
                $(write!(text, "{},", self.$name)?;)*
                Ok(())
            }
        }
    };
}

figures! {
    /// What only grows; a sample has the difference.
    Counts, read(server: &Server) {
        requests = server.engine().metrics.counters.commands_processed + frames_ran(server);
        hits = server.engine().metrics.counters.keyspace_hits + server.frames().counters().hits;
        misses = server.engine().metrics.counters.keyspace_misses + server.frames().counters().misses;
        errors = server.engine().metrics.counters.error_replies;
        bad_frames = server.frames().counters().rejected_total();
        connections_rejected = server.engine().metrics.counters.rejected;
        writes_refused = server.engine().store.statistics().refused;
        keys_evicted = server.engine().store.statistics().evicted;
        tcp_received_bytes = server.engine().metrics.counters.received_bytes;
        tcp_sent_bytes = server.engine().metrics.counters.sent_bytes;
        udp_received_bytes = server.frames().counters().udp_bytes_received();
        udp_sent_bytes = server.frames().counters().udp_bytes_replied();
        busy_us = server.engine().process_stats.busy_us;
    }
}

figures! {
    /// What is so at the time of a sample.
    Gauges, read(server: &Server) {
        connections = server.connection_count() as u64;
        keys = (0..server.engine().options().databases).map(|db| server.engine().store.len(Database(db))).sum();
        records_bytes = server.engine().store.memory().live;
        large_bytes = server.engine().store.memory().large;
        index_bytes = server.engine().store.memory().index;
        reclaimable_bytes = Fullness::of(server.engine()).reclaimable_bytes;
        tables_bytes = server.engine().store.memory().reserved;
        lent_bytes = server.engine().store.memory().lent;
        buffers_bytes = server.engine().process_stats.buffer_bytes;
        used_bytes = Fullness::of(server.engine()).used_bytes;
        store_limit_bytes = Fullness::of(server.engine()).limit_bytes;
        memory_limit_bytes = server.engine().options().memory_bytes;
        resident_bytes = server.engine().process_stats.resident_bytes;
        slowest_turn_us = server.engine().process_stats.slowest_turn_us;
    }
}

/// A number of `VERBS`, and how often it ran.
type VerbCount = (u16, u64);

/// What happened in a span of time, and how things were at its end.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at: Millis,
    span_ms: u64,
    counts: Counts,
    gauges: Gauges,
    /// Upper estimates in nanoseconds of the median and the 99th percentile of the time in execution; 0: none was measured.
    p50_ns: u64,
    p99_ns: u64,
    /// Those that ran most often, first; a count of 0 ends them.
    verbs: [VerbCount; VERBS_KEPT],
}

/// The ring of samples, and the counters as the newest one found them.
pub struct History {
    samples: Vec<Sample>,
    /// Samples ever taken; the newest is number `taken`, the first one was number 1.
    taken: u64,
    sampled_at: Option<Millis>,
    /// Whether anything happened in the span of the newest sample: then the next one is due even if nothing happens, so
    /// that curves go down to zero where the work ended.
    was_active: bool,
    activity: u64,
    counts: Counts,
    buckets: [u64; BUCKETS],
    verbs: [u64; VERBS.len()],
    /// For each operation of frames the verb of the same name, where there is one.
    verb_of_op: [Option<u16>; Op::ALL.len()],
}

impl Default for History {
    fn default() -> History {
        History::new()
    }
}

impl History {
    /// Bytes that the history reserves; they are touched as samples are taken.
    pub const MEMORY_BYTES: usize = SAMPLES_MAX * size_of::<Sample>() + size_of::<History>();

    /// An empty history; the only place that allocates.
    #[must_use]
    pub fn new() -> History {
        let verb_named = |op: &Op| {
            let verb = VERBS.iter().position(|verb| verb.name.eq_ignore_ascii_case(op.name()));
            verb.map(|index| index as u16)
        };
        let mut verb_of_op = [None; Op::ALL.len()];
        verb_of_op.iter_mut().zip(Op::ALL).for_each(|(verb, op)| *verb = verb_named(op));
        History {
            samples: Vec::with_capacity(SAMPLES_MAX),
            taken: 0,
            sampled_at: None,
            was_active: false,
            activity: 0,
            counts: Counts::default(),
            buckets: [0; BUCKETS],
            verbs: [0; VERBS.len()],
            verb_of_op,
        }
    }

    /// Takes a sample if one is due. To be called at the start of each turn of the loop, before anything is served.
    pub fn tick(&mut self, server: &mut Server, now: Now) {
        match self.sampled_at {
            // The first turn only notes where the counters stand.
            None => {
                server.refresh(now);
                let _ = self.difference(server);
                self.sampled_at = Some(now.monotonic);
            }
            Some(at) if now.monotonic.since(at) >= INTERVAL_MS => {
                server.refresh(now);
                let sample = Sample {
                    at: now.monotonic,
                    span_ms: now.monotonic.since(at),
                    gauges: Gauges::read(server),
                    ..self.difference(server)
                };
                self.push(sample);
            }
            Some(_) => {}
        }
    }

    /// When a sample is due although no event comes; `None`: when the next event comes.
    #[must_use]
    pub fn next_deadline(&self, server: &Server) -> Option<Millis> {
        let at = self.sampled_at.filter(|_| self.was_active || activity(server) != self.activity)?;
        Some(at.plus(INTERVAL_MS))
    }

    fn push(&mut self, sample: Sample) {
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(sample);
        } else {
            self.samples[(self.taken % SAMPLES_MAX as u64) as usize] = sample;
        }
        self.taken += 1;
        self.sampled_at = Some(sample.at);
    }

    /// What has happened since the last call; notes where the counters stand.
    fn difference(&mut self, server: &Server) -> Sample {
        let activity = activity(server);
        self.was_active = activity != self.activity;
        self.activity = activity;
        let counts = Counts::read(server);
        let grown_counts = counts.since(&self.counts);
        self.counts = counts;
        let (p50_ns, p99_ns) = self.latencies(server);
        Sample {
            counts: grown_counts,
            p50_ns,
            p99_ns,
            verbs: self.busiest_verbs(server),
            ..Sample::default()
        }
    }

    fn latencies(&mut self, server: &Server) -> (u64, u64) {
        let mut grown_buckets = [(0, 0); BUCKETS];
        for (index, (bound_ns, count)) in server.engine().metrics.latency().enumerate() {
            grown_buckets[index] = (bound_ns, grown(count, self.buckets[index]));
            self.buckets[index] = count;
        }
        (quantile_ns(&grown_buckets, 500), quantile_ns(&grown_buckets, 990))
    }

    fn busiest_verbs(&mut self, server: &Server) -> [VerbCount; VERBS_KEPT] {
        let mut totals = [0; VERBS.len()];
        for (total, verb) in totals.iter_mut().zip(VERBS) {
            *total = server.engine().metrics.verb(verb.id).calls;
        }
        let frames = server.frames().counters();
        for (index, verb) in self.verb_of_op.iter().enumerate() {
            if let Some(verb) = verb {
                totals[usize::from(*verb)] += frames.ran_udp[index] + frames.ran_stream[index];
            }
        }
        let mut busiest = [(0, 0); VERBS_KEPT];
        for (index, total) in totals.into_iter().enumerate() {
            let count = grown(total, self.verbs[index]);
            self.verbs[index] = total;
            if count > busiest[VERBS_KEPT - 1].1 {
                busiest[VERBS_KEPT - 1] = (index as u16, count);
                busiest.sort_unstable_by_key(|&(index, count)| (u64::MAX - count, index));
            }
        }
        busiest
    }

    /// Samples behind number `after` as JSON, the oldest first; as many as fit, and whether there are more.
    ///
    /// # Errors
    /// The text is too small for what stands around the samples.
    pub(super) fn write(
        &self,
        text: &mut Text,
        after: u64,
        is_ready: bool,
        server: &Server,
        now: Now,
    ) -> Result {
        write!(
            text,
            "{{\"version\":\"{}\",\"started_unix_ms\":{},\"now_ms\":{},\"ready\":{is_ready},\"evicts\":{},\"fields\":[\"number\",\"at_ms\",\"span_ms\",",
            env!("CARGO_PKG_VERSION"),
            server.engine().process_stats.started_unix_ms,
            now.monotonic.0,
            server.engine().store.evicts(),
        )?;
        Counts::write_names(text)?;
        Gauges::write_names(text)?;
        text.write_str("\"p50_ns\",\"p99_ns\",\"verbs\"],\"samples\":[")?;
        let oldest = self.taken - self.samples.len() as u64;
        let first = after.max(oldest).saturating_add(1);
        let mut more = false;
        for number in first..=self.taken {
            if text.room() < SAMPLE_TEXT_BYTES + 64 {
                more = true;
                break;
            }
            if number > first {
                text.write_str(",\n")?;
            }
            write_sample(text, number, &self.samples[((number - 1) % SAMPLES_MAX as u64) as usize])?;
        }
        writeln!(text, "],\"more\":{more}}}")
    }
}

fn write_sample(text: &mut Text, number: u64, sample: &Sample) -> Result {
    write!(text, "[{number},{},{},", sample.at.0, sample.span_ms)?;
    sample.counts.write(text)?;
    sample.gauges.write(text)?;
    write!(text, "{},{},{{", sample.p50_ns, sample.p99_ns)?;
    for (index, (verb, count)) in sample.verbs.iter().take_while(|(_, count)| *count > 0).enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(text, "{comma}\"{}\":{count}", VERBS[usize::from(*verb)].name)?;
    }
    text.write_str("}]")
}

/// How much a counter has grown; one that is smaller than before was set back and counts from zero.
fn grown(now: u64, before: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

/// A number that changes whenever a client, a datagram or expiry did anything.
fn activity(server: &Server) -> u64 {
    let (counters, store) = (&server.engine().metrics.counters, server.engine().store.statistics());
    [
        counters.received_bytes,
        counters.sent_bytes,
        counters.accepted,
        counters.rejected,
        server.frames().counters().received,
        server.connection_count() as u64,
        store.expired,
        store.evicted,
    ]
    .into_iter()
    .fold(0, u64::wrapping_add)
}

fn frames_ran(server: &Server) -> u64 {
    let frames = server.frames().counters();
    frames.ran_udp.iter().chain(&frames.ran_stream).sum()
}

/// The time below which so many thousandths of the executions were, on a straight line within the bucket; 0: there were none.
/// Buckets are (upper bound, count), each bound twice the one before.
fn quantile_ns(buckets: &[(u64, u64)], thousandths: u64) -> u64 {
    let total: u64 = buckets.iter().map(|(_, count)| count).sum();
    let rank = u128::from(total) * u128::from(thousandths) / 1000;
    let (mut below, mut low) = (0, 0);
    for &(bound, count) in buckets.iter().filter(|_| total > 0) {
        if count > 0 && u128::from(below + count) >= rank {
            let into = (rank - u128::from(below)) * u128::from(bound - low) / u128::from(count);
            return low + into as u64;
        }
        (below, low) = (below + count, bound);
    }
    low
}

#[cfg(test)]
mod tests;
