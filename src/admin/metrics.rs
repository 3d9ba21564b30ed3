//! What is counted, in Prometheus's text format 0.0.4: names in base units, `_total` for what only grows, HELP and TYPE
//! before each family. `docs/metrics.md` lists them all; a test compares the two.
//!
//! Series of verbs that never occurred are left out, since there are many; all others are there from the start, so that a
//! rate has a beginning. A scrape of a quiet server is some two hundred lines, and no scrape outgrows
//! the reply's fixed memory.

use super::{Fullness, Readiness, Text};
use crate::command::VERBS;
use crate::engine::Engine;
use crate::frames::counters::Counters as FrameCounters;
use crate::journal::{JournalStatus, WriteGate};
use crate::metrics::ProcessStats;
use crate::metrics::VerbMetrics;
use crate::mutation::Database;
use crate::server::Server;
use crate::wire::frame::{Op, Reject, Status};
use std::fmt::{Display, Result, Write};

/// Micros as seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> Result {
        write!(formatter, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Writes everything. The server's statistics are to be up to date.
///
/// # Errors
/// The text is full.
pub(super) fn write(text: &mut Text, server: &Server, readiness: Readiness) -> Result {
    let engine = server.engine();
    let frames = server.frames().counters();
    let process_stats = &engine.process_stats;
    state(text, readiness)?;
    requests(text, engine, frames)?;
    latency(text, engine)?;
    connections(text, engine)?;
    subscriptions(text, engine)?;
    transfers(text, engine, frames)?;
    frame_outcomes(text, frames)?;
    sessions(text, process_stats)?;
    memory(text, engine)?;
    keys(text, engine, frames)?;
    cleaning(text, engine)?;
    journal(text, engine)?;
    turns(text, process_stats)?;
    process(text, process_stats)
}

fn family(text: &mut Text, name: &str, kind: &str, help: &str) -> Result {
    let help = help.trim();
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn counter(text: &mut Text, name: &str, help: &str, value: impl Display) -> Result {
    family(text, name, "counter", help)?;
    writeln!(text, "{name} {value}")
}

fn gauge(text: &mut Text, name: &str, help: &str, value: impl Display) -> Result {
    family(text, name, "gauge", help)?;
    writeln!(text, "{name} {value}")
}

fn state(text: &mut Text, readiness: Readiness) -> Result {
    family(text, "pannier_build_info", "gauge", "Always 1; the labels say what runs.")?;
    writeln!(text, "pannier_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))?;
    let help = "Whether /readyz answers 200: 0 while the server loads or stops, and while its disk or UDP socket fails.";
    gauge(text, "pannier_ready", help, u8::from(readiness == Readiness::Ready))
}

/// All zero without a data directory.
fn journal(text: &mut Text, engine: &Engine) -> Result {
    let status = engine.persistence.status;
    let of = |value: fn(&JournalStatus) -> u64| status.as_ref().map_or(0, value);
    let help = "Bytes of the journal that a start would replay.";
    gauge(text, "pannier_journal_bytes", help, of(|status| status.journal_bytes))?;
    let help = "Bytes of the last checkpoint.";
    gauge(text, "pannier_checkpoint_bytes", help, of(|status| status.checkpoint_bytes))?;
    let help = "Changes that are not durable yet.";
    let behind = of(|status| status.revision.0 - status.durable.0.min(status.revision.0));
    gauge(text, "pannier_journal_pending_changes", help, behind)?;
    let help = "Whether writes are refused because the data directory cannot be written to.";
    let refuses = engine.persistence.gate == WriteGate::Refuse;
    gauge(text, "pannier_journal_refusing", help, u8::from(refuses))?;
    let help = "Writes to the data directory, and syncs, that failed.";
    counter(text, "pannier_journal_failures_total", help, of(|status| status.failure_count))
}

fn requests(text: &mut Text, engine: &Engine, frames: &FrameCounters) -> Result {
    const NAME: &str = "pannier_requests_total";
    let help = "Requests executed, those that answered an error included, by transport, protocol and verb.";
    family(text, NAME, "counter", help)?;
    let was_seen = |verb: &VerbMetrics| verb.calls + verb.rejected > 0;
    for verb in VERBS {
        let metrics = engine.metrics.verb(verb.id);
        if was_seen(metrics) {
            let (verb, calls) = (verb.name, metrics.calls);
            writeln!(text, "{NAME}{{transport=\"tcp\",protocol=\"resp\",verb=\"{verb}\"}} {calls}")?;
        }
    }
    for (transport, ran) in [("tcp", &frames.ran_stream), ("udp", &frames.ran_udp)] {
        for (op, count) in Op::ALL.iter().zip(ran) {
            write!(text, "{NAME}{{transport=\"{transport}\",protocol=\"frames\",verb=\"")?;
            op.name().chars().try_for_each(|letter| text.write_char(letter.to_ascii_lowercase()))?;
            writeln!(text, "\"}} {count}")?;
        }
    }
    type Series = (&'static str, &'static str, fn(&VerbMetrics) -> u64);
    let families: [Series; 2] = [
        (
            "pannier_requests_rejected_total",
            "Requests over RESP turned away before execution (arity, authentication, memory), by verb.",
            |verb| verb.rejected,
        ),
        (
            "pannier_requests_failed_total",
            "Requests over RESP whose execution answered an error, by verb.",
            |verb| verb.failed,
        ),
    ];
    for (name, help, value) in families {
        family(text, name, "counter", help)?;
        for verb in VERBS {
            let metrics = engine.metrics.verb(verb.id);
            if was_seen(metrics) {
                writeln!(text, "{name}{{verb=\"{}\"}} {}", verb.name, value(metrics))?;
            }
        }
    }
    family(text, "pannier_errors_total", "counter", "Error replies over RESP, by their first word.")?;
    engine
        .metrics
        .errors()
        .try_for_each(|(code, count)| writeln!(text, "pannier_errors_total{{code=\"{code}\"}} {count}"))
}

/// Buckets shown: the last one ends at 8.6 s, beyond which no request is expected to be.
const BUCKETS_SHOWN: usize = 24;

fn latency(text: &mut Text, engine: &Engine) -> Result {
    const NAME: &str = "pannier_request_duration_seconds";
    let help =
        "Time in execution of the requests that were measured, a sample under load, over all protocols.";
    family(text, NAME, "histogram", help)?;
    let mut total = 0;
    for (index, (bound_ns, count)) in engine.metrics.latency().enumerate() {
        total += count;
        if index < BUCKETS_SHOWN {
            let (seconds, nanos) = (bound_ns / 1_000_000_000, bound_ns % 1_000_000_000);
            writeln!(text, "{NAME}_bucket{{le=\"{seconds}.{nanos:09}\"}} {total}")?;
        }
    }
    writeln!(text, "{NAME}_bucket{{le=\"+Inf\"}} {total}")?;
    writeln!(text, "{NAME}_sum {}\n{NAME}_count {total}", Seconds(engine.metrics.measured_us()))?;
    let help = "Commands that had to be one step (MSET, MSETNX, EXEC) and took more than about 5 ms of work.";
    counter(text, "pannier_long_steps_total", help, engine.metrics.counters.long_steps)?;
    let help = "Commands refused because they have more keys in one step than max-step-keys.";
    counter(text, "pannier_refused_steps_total", help, engine.metrics.counters.refused_steps)?;
    counter(text, "pannier_auth_failures_total", "Wrong passwords.", engine.metrics.counters.auth_failures)?;
    let help = "Passwords that had to wait because wrong ones had come from their address.";
    counter(text, "pannier_auth_delays_total", help, engine.metrics.counters.auth_delays)
}

fn connections(text: &mut Text, engine: &Engine) -> Result {
    let counters = &engine.metrics.counters;
    gauge(
        text,
        "pannier_connections",
        "Clients connected over TCP.",
        engine.process_stats.connected_clients,
    )?;
    let max = engine.runtime.max_clients;
    gauge(text, "pannier_connections_max", "Clients that may be connected at once.", max)?;
    counter(text, "pannier_connections_accepted_total", "Connections accepted.", counters.accepted)?;
    let help = "Connections turned away because all places were taken.";
    counter(text, "pannier_connections_rejected_total", help, counters.rejected)?;
    const CLOSED: &str = "pannier_connections_closed_total";
    family(text, CLOSED, "counter", "Connections that were closed, by reason.")?;
    let closes = engine.metrics.closes.by_reason();
    closes
        .into_iter()
        .try_for_each(|(reason, count)| writeln!(text, "{CLOSED}{{reason=\"{reason}\"}} {count}"))
}

fn subscriptions(text: &mut Text, engine: &Engine) -> Result {
    let (stats, counters) = (&engine.process_stats, &engine.metrics.counters);
    let help = "Subscriptions to channels and patterns, one for each client and channel.";
    gauge(text, "pannier_subscriptions", help, stats.subscriptions)?;
    let help = "Subscriptions that there is room for.";
    gauge(text, "pannier_subscriptions_max", help, stats.subscriptions_max)?;
    let help = "Clients that are subscribed to something.";
    gauge(text, "pannier_subscribers", help, stats.pubsub_clients)?;
    let help = "Messages that clients published.";
    counter(text, "pannier_messages_published_total", help, counters.messages_published)?;
    let help = "Messages sent to subscribers, one for each that got it.";
    counter(text, "pannier_messages_delivered_total", help, counters.messages_delivered)?;
    let help = "Transactions whose key events could not be published.";
    counter(text, "pannier_key_events_lost_total", help, counters.key_events_lost)?;
    let help = "Clients that track keys.";
    gauge(text, "pannier_tracking_clients", help, stats.tracking_clients)?;
    let help = "Reads that are noted for clients that track keys, one for each client and key.";
    gauge(text, "pannier_tracked_keys", help, stats.tracking_items)?;
    let help = "Reads that there is room to note.";
    gauge(text, "pannier_tracked_keys_max", help, stats.tracking_items_max)
}

fn transfers(text: &mut Text, engine: &Engine, frames: &FrameCounters) -> Result {
    let counters = &engine.metrics.counters;
    let families = [
        (
            "pannier_received_bytes_total",
            "Bytes received, by transport.",
            counters.received_bytes,
            frames.udp_bytes_received(),
        ),
        (
            "pannier_sent_bytes_total",
            "Bytes sent, by transport.",
            counters.sent_bytes,
            frames.udp_bytes_replied(),
        ),
        (
            "pannier_frames_received_total",
            "Frames that arrived, bad ones included, by transport.",
            frames.stream_received,
            frames.received - frames.stream_received,
        ),
    ];
    for (name, help, tcp, udp) in families {
        family(text, name, "counter", help)?;
        writeln!(text, "{name}{{transport=\"tcp\"}} {tcp}\n{name}{{transport=\"udp\"}} {udp}")?;
    }
    let process_stats = &engine.process_stats;
    let help = "Receives from the UDP socket that failed.";
    counter(text, "pannier_udp_receive_errors_total", help, process_stats.udp_receive_errors)?;
    let help = "Replies by UDP that the system did not take.";
    counter(text, "pannier_udp_send_errors_total", help, process_stats.udp_send_errors)
}

fn frame_outcomes(text: &mut Text, frames: &FrameCounters) -> Result {
    const REJECTED: &str = "pannier_frames_rejected_total";
    family(text, REJECTED, "counter", "Frames dropped without an answer, by reason.")?;
    for (reason, count) in Reject::ALL.iter().zip(frames.rejected) {
        writeln!(text, "{REJECTED}{{reason=\"{}\"}} {count}", reason.name())?;
    }
    const ANSWERED: &str = "pannier_frames_answered_total";
    family(text, ANSWERED, "counter", "Replies to frames, by status.")?;
    for (status, count) in Status::ALL.iter().zip(frames.answered) {
        writeln!(text, "{ANSWERED}{{status=\"{}\"}} {count}", status.name())?;
    }
    let help = "Errors that were not sent because their source had used up its share.";
    counter(text, "pannier_frames_throttled_total", help, frames.throttled)?;
    counter(
        text,
        "pannier_frames_held_total",
        "Datagrams that CLIENT PAUSE held: neither run nor answered.",
        frames.held,
    )?;
    let help = "Repeated writes that were answered from the at-most-once table and did not run again.";
    counter(text, "pannier_frames_replayed_total", help, frames.repeats)
}

fn sessions(text: &mut Text, process_stats: &ProcessStats) -> Result {
    let help = "Clients whose writes over frames are remembered.";
    gauge(text, "pannier_frame_sessions", help, process_stats.frame_sessions)?;
    let help = "Sessions ever opened.";
    counter(text, "pannier_frame_sessions_opened_total", help, process_stats.frame_sessions_opened)?;
    let help = "Sessions dropped: their lease had run out, or they never wrote and their place was needed.";
    counter(text, "pannier_frame_sessions_dropped_total", help, process_stats.frame_sessions_dropped)
}

fn memory(text: &mut Text, engine: &Engine) -> Result {
    const NAME: &str = "pannier_memory_bytes";
    let memory = engine.store.memory();
    let uses = [
        ("live", memory.live),
        ("dead", memory.dead),
        ("tail", memory.tail),
        ("free", memory.free),
        ("index", memory.index),
        ("large", memory.large),
        ("large_free", memory.large_free),
        ("tables", memory.reserved),
        ("lent", memory.lent),
        ("buffers", engine.process_stats.buffer_bytes),
    ];
    let help = "Memory by what it is used for; all uses but `buffers` add up to the store's limit.";
    family(text, NAME, "gauge", help)?;
    for (name, value) in uses {
        writeln!(text, "{NAME}{{use=\"{name}\"}} {value}")?;
    }
    let help = "The limit of the whole process (--memory).";
    gauge(text, "pannier_memory_limit_bytes", help, engine.options().memory_bytes)?;
    gauge(text, "pannier_store_limit_bytes", "The store's share of the limit.", memory.limit)?;
    let help =
        "How full the store is, as a part of its limit: at the limit writes are refused, or keys evicted.";
    gauge(text, "pannier_store_used_bytes", help, Fullness::of(engine).used_bytes)?;
    let help = "1 where keys are evicted when memory is full, 0 where writes are refused.";
    gauge(text, "pannier_eviction_enabled", help, u8::from(engine.store.evicts()))?;
    let help = "Bytes of the store's memory that were ever touched.";
    gauge(text, "pannier_store_touched_bytes", help, memory.touched)
}

fn keys(text: &mut Text, engine: &Engine, frames: &FrameCounters) -> Result {
    type Series = (&'static str, &'static str, fn(&Engine, Database) -> u64);
    let families: [Series; 2] = [
        ("pannier_keys", "Keys, by database.", |engine, db| engine.store.len(db)),
        ("pannier_keys_expiring", "Keys with a time to live, by database.", |engine, db| {
            engine.store.expiring(db)
        }),
    ];
    for (name, help, value) in families {
        family(text, name, "gauge", help)?;
        for db in (0..engine.options().databases).map(Database) {
            writeln!(text, "{name}{{db=\"{}\"}} {}", db.0, value(engine, db))?;
        }
    }
    let (counters, store) = (&engine.metrics.counters, engine.store.statistics());
    let totals = [
        (
            "pannier_key_hits_total",
            "Reads of a key that was there, over all protocols.",
            counters.keyspace_hits + frames.hits,
        ),
        (
            "pannier_key_misses_total",
            "Reads of a key that was not there, over all protocols.",
            counters.keyspace_misses + frames.misses,
        ),
        ("pannier_keys_expired_total", "Keys removed because their time had passed.", store.expired),
        ("pannier_keys_evicted_total", "Keys removed because memory was needed.", store.evicted),
        ("pannier_writes_refused_total", "Changes refused because memory was full.", store.refused),
    ];
    totals.into_iter().try_for_each(|(name, help, value)| counter(text, name, help, value))
}

fn cleaning(text: &mut Text, engine: &Engine) -> Result {
    let store = engine.store.statistics();
    let help = "Segments that cleaning emptied.";
    counter(text, "pannier_cleaned_segments_total", help, store.cleaned_segments)?;
    counter(text, "pannier_cleaned_bytes_total", "Bytes that cleaning moved.", store.cleaned_bytes)?;
    let help = "Bytes that eviction moved to keep them.";
    counter(text, "pannier_eviction_kept_bytes_total", help, store.kept_bytes)
}

fn turns(text: &mut Text, process_stats: &ProcessStats) -> Result {
    counter(text, "pannier_loop_turns_total", "Turns of the loop over the sockets.", process_stats.turns)?;
    let help = "Time spent in turns of the loop, waiting left out.";
    counter(text, "pannier_loop_busy_seconds_total", help, Seconds(process_stats.busy_us))?;
    let help =
        "The slowest turn of the last 30 to 60 seconds: the longest that a request had to wait for others.";
    gauge(text, "pannier_loop_slowest_turn_seconds", help, Seconds(process_stats.slowest_turn_us))
}

/// What every process is asked for, under the names that are usual.
fn process(text: &mut Text, process_stats: &ProcessStats) -> Result {
    let resident = process_stats.resident_bytes;
    gauge(text, "process_resident_memory_bytes", "Resident memory of the process.", resident)?;
    let peak = process_stats.resident_peak_bytes;
    gauge(text, "pannier_resident_memory_peak_bytes", "The most resident memory so far.", peak)?;
    let cpu = Seconds(process_stats.cpu_user_us + process_stats.cpu_system_us);
    counter(text, "process_cpu_seconds_total", "Processor time of the process.", cpu)?;
    let help = "When the process started, in seconds since 1970.";
    let (seconds, millis) = (process_stats.started_unix_ms / 1_000, process_stats.started_unix_ms % 1_000);
    gauge(text, "process_start_time_seconds", help, format_args!("{seconds}.{millis:03}"))?;
    if process_stats.open_descriptors > 0 {
        let help = "Descriptors that are open (Linux 6.2 and later).";
        gauge(text, "process_open_fds", help, process_stats.open_descriptors)?;
    }
    gauge(text, "process_max_fds", "Descriptors that may be open.", process_stats.max_descriptors)
}
