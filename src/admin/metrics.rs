//! What is counted, in Prometheus's text format 0.0.4: names in base units, `_total` for what only grows, HELP and TYPE
//! from the tables that the counters come from.
//!
//! Series of verbs, errors and reasons that never occurred are left out where their number is large; a scrape of a
//! quiet server is some hundred lines.

use super::{LoopState, Text};
use crate::command::VERBS;
use crate::engine::Engine;
use crate::metrics::VerbMetrics;
use crate::mutation::Database;
use crate::server::Server;
use crate::time::Now;
use std::fmt::{Display, Result, Write};

/// Micros as seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> Result {
        write!(formatter, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Writes everything. The server's facts are to be fresh.
///
/// # Errors
/// The text is full.
pub(super) fn write(text: &mut Text, server: &Server, state: &LoopState, now: Now) -> Result {
    let engine = server.engine();
    build(text)?;
    requests(text, engine)?;
    latency(text, engine)?;
    connections(text, server)?;
    frames(text, server)?;
    memory(text, engine)?;
    keys(text, engine)?;
    turns(text, state)?;
    process(text, engine, now)
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

fn build(text: &mut Text) -> Result {
    family(text, "pannier_build_info", "gauge", "Always 1; the labels say what runs.")?;
    writeln!(text, "pannier_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))
}

fn requests(text: &mut Text, engine: &Engine) -> Result {
    type Series = (&'static str, &'static str, fn(&VerbMetrics) -> u64);
    let families: [Series; 3] = [
        ("pannier_requests_total", "Requests executed over RESP, by verb.", |verb| verb.calls),
        (
            "pannier_requests_rejected_total",
            "Requests turned away before execution (arity, authentication, memory), by verb.",
            |verb| verb.rejected,
        ),
        ("pannier_requests_failed_total", "Requests whose execution answered an error, by verb.", |verb| {
            verb.failed
        }),
    ];
    for (name, help, value) in families {
        family(text, name, "counter", help)?;
        for verb in VERBS {
            let metrics = engine.metrics.verb(verb.id);
            if metrics.calls + metrics.rejected > 0 {
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
    let help = "Time in execution of the requests over RESP that were measured, a sample under load.";
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
    writeln!(text, "{NAME}_sum {}\n{NAME}_count {total}", Seconds(engine.metrics.measured_us()))
}

fn connections(text: &mut Text, server: &Server) -> Result {
    let engine = server.engine();
    let mut result = Ok(());
    engine.metrics.counters.each(&mut |name, help, value| {
        result = result.and_then(|()| counter(text, name, help, value));
    });
    result?;
    gauge(text, "pannier_connections", "Clients connected over TCP.", engine.facts.connected_clients)?;
    let max = engine.settings.max_clients;
    gauge(text, "pannier_connections_max", "Clients that may be connected at once.", max)
}

/// Datagrams and framed connections.
fn frames(text: &mut Text, server: &Server) -> Result {
    let sessions = server.datagrams().sessions();
    gauge(text, "pannier_frame_sessions", "Clients whose writes are remembered.", sessions.len())?;
    counter(text, "pannier_frame_sessions_opened_total", "Sessions ever opened.", sessions.opened())?;
    let help = "Sessions forgotten to make room for others.";
    counter(text, "pannier_frame_sessions_dropped_total", help, sessions.dropped())?;
    let mut result = Ok(());
    let mut last_group = "";
    server.datagrams().counters().each(&mut |group, name, doc, value| {
        let step = match group {
            "" => frame_counter(text, name, doc, value),
            group => {
                let is_first = last_group != group;
                last_group = group;
                frame_outcome(text, (group, is_first), name, value)
            }
        };
        result = result.and(step);
    });
    result
}

fn frame_counter(text: &mut Text, name: &str, doc: &str, value: u64) -> Result {
    let (name, unit) = name.strip_prefix("bytes_").map_or((name, ""), |name| (name, "_bytes"));
    let doc = doc.trim();
    writeln!(text, "# HELP pannier_frames_{name}{unit}_total {doc}")?;
    writeln!(text, "# TYPE pannier_frames_{name}{unit}_total counter")?;
    writeln!(text, "pannier_frames_{name}{unit}_total {value}")
}

fn frame_outcome(text: &mut Text, (group, is_first): (&str, bool), name: &str, value: u64) -> Result {
    let (family_name, label, help) = match group {
        "rejected" => {
            ("pannier_frames_rejected_total", "reason", "Frames dropped without an answer, by reason.")
        }
        _ => ("pannier_frames_answered_total", "status", "Replies to frames, by status."),
    };
    if is_first {
        family(text, family_name, "counter", help)?;
    }
    writeln!(text, "{family_name}{{{label}=\"{name}\"}} {value}")
}

fn memory(text: &mut Text, engine: &Engine) -> Result {
    let memory = engine.store.memory();
    let uses = [
        ("live", memory.live),
        ("dead", memory.dead),
        ("tail", memory.tail),
        ("free", memory.free),
        ("index", memory.index),
        ("large", memory.large),
        ("large_free", memory.large_free),
        ("reserved", memory.reserved),
    ];
    let help = "The store's memory by what it is used for; the parts add up to its limit.";
    family(text, "pannier_store_memory_bytes", "gauge", help)?;
    for (name, value) in uses {
        writeln!(text, "pannier_store_memory_bytes{{use=\"{name}\"}} {value}")?;
    }
    gauge(text, "pannier_store_memory_limit_bytes", "The store's share of the limit.", memory.limit)?;
    let help = "Bytes of the store's memory that were ever touched.";
    gauge(text, "pannier_store_memory_touched_bytes", help, memory.touched)?;
    let help = "The limit of the whole process (--memory).";
    gauge(text, "pannier_memory_limit_bytes", help, engine.memory_limit_bytes())?;
    let help = "Buffers that clients hold.";
    gauge(text, "pannier_buffers_used_bytes", help, engine.facts.buffer_bytes)?;
    let store = engine.store.statistics();
    let counters = [
        ("pannier_keys_expired_total", "Keys removed because their time had passed.", store.expired),
        ("pannier_keys_evicted_total", "Keys removed because memory was needed.", store.evicted),
        ("pannier_writes_refused_total", "Changes refused for want of memory.", store.refused),
        ("pannier_cleaned_segments_total", "Segments that cleaning emptied.", store.cleaned_segments),
        ("pannier_cleaned_bytes_total", "Bytes that cleaning moved.", store.cleaned_bytes),
        ("pannier_eviction_kept_bytes_total", "Bytes that eviction moved to keep them.", store.kept_bytes),
    ];
    counters.into_iter().try_for_each(|(name, help, value)| counter(text, name, help, value))
}

fn keys(text: &mut Text, engine: &Engine) -> Result {
    type Series = (&'static str, &'static str, fn(&Engine, Database) -> u64);
    let families: [Series; 2] = [
        ("pannier_keys", "Keys, by database.", |engine, db| engine.store.len(db)),
        ("pannier_keys_expiring", "Keys with a time to live, by database.", |engine, db| {
            engine.store.expiring(db)
        }),
    ];
    for (name, help, value) in families {
        family(text, name, "gauge", help)?;
        for db in (0..engine.databases()).map(Database) {
            writeln!(text, "{name}{{db=\"{}\"}} {}", db.0, value(engine, db))?;
        }
    }
    Ok(())
}

fn turns(text: &mut Text, state: &LoopState) -> Result {
    let help = "Whether clients are taken on: 0 while the server stops.";
    gauge(text, "pannier_ready", help, u8::from(state.ready))?;
    counter(text, "pannier_loop_turns_total", "Turns of the loop over the sockets.", state.turns)?;
    let help = "Time spent in turns of the loop, waiting left out.";
    counter(text, "pannier_loop_busy_seconds_total", help, Seconds(state.busy_us))?;
    let help =
        "The slowest turn of the last 30 to 60 seconds: the longest that a request had to wait for others.";
    gauge(text, "pannier_loop_slowest_turn_seconds", help, Seconds(state.slowest_us))
}

/// What every process is asked for, under the names that are usual.
fn process(text: &mut Text, engine: &Engine, now: Now) -> Result {
    let facts = &engine.facts;
    let resident = facts.resident_bytes;
    gauge(text, "process_resident_memory_bytes", "Resident memory of the process.", resident)?;
    let peak = facts.resident_peak_bytes;
    gauge(text, "pannier_resident_memory_peak_bytes", "The most resident memory so far.", peak)?;
    let cpu = Seconds(facts.cpu_user_us + facts.cpu_system_us);
    counter(text, "process_cpu_seconds_total", "Processor time of the process.", cpu)?;
    let started = (now.unix.0 / 1_000).saturating_sub(facts.uptime_s);
    let help = "When the process started, in seconds since 1970.";
    gauge(text, "process_start_time_seconds", help, started)
}
