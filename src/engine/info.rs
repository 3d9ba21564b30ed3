//! INFO: the state of everything as text, section by section, under Redis's names where Redis has them.

use super::{Call, Engine, Flow, Outcome, REDIS_VERSION};
use crate::{mutation::Database, time::Millis};
use std::fmt::{Result, Write};

struct Section {
    name: &'static str,
    title: &'static str,
    /// Whether INFO shows it without being asked.
    by_default: bool,
    write: fn(&Engine, Millis, &mut String) -> Result,
}

const fn section(
    name: &'static str,
    title: &'static str,
    write: fn(&Engine, Millis, &mut String) -> Result,
) -> Section {
    Section { name, title, by_default: true, write }
}

static SECTIONS: [Section; 14] = [
    section("server", "Server", server),
    section("clients", "Clients", clients),
    section("memory", "Memory", memory),
    section("persistence", "Persistence", persistence),
    section("stats", "Stats", stats),
    section("replication", "Replication", replication),
    section("cpu", "CPU", cpu),
    Section { name: "commandstats", title: "Commandstats", by_default: false, write: command_stats },
    Section { name: "latencystats", title: "Latencystats", by_default: false, write: latency_stats },
    section("errorstats", "Errorstats", error_stats),
    section("cluster", "Cluster", |_, _, text| text.write_str("cluster_enabled:0\r\n")),
    section("keyspace", "Keyspace", keyspace),
    section("datagrams", "Datagrams", datagrams),
    Section { name: "pannier", title: "Pannier", by_default: false, write: pannier },
];

/// `INFO [section …]`
pub fn info<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let args = call.args;
    let word_at =
        |at, word: &str| args.bytes(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    let asks = |word: &str| (1..args.len()).any(|at| word_at(at, word));
    let defaults = call.args.len() == 1 || asks("default");
    let all = asks("all") || asks("everything");
    let mut text = std::mem::take(&mut call.engine.text);
    text.clear();
    for section in &SECTIONS {
        if all || defaults && section.by_default || asks(section.name) {
            let gap = if text.is_empty() { "" } else { "\r\n" };
            // Writing to a String cannot fail.
            let _ = write!(text, "{gap}# {}\r\n", section.title);
            let _ = (section.write)(call.engine, call.now, &mut text);
        }
    }
    call.out.verbatim(*b"txt", text.as_bytes());
    call.engine.text = text;
    Ok(Flow::Done)
}

/// Writes `name:value` lines.
macro_rules! lines {
    ($text:ident, $($name:literal: $value:expr),* $(,)?) => {{
        $(write!($text, concat!($name, ":{}\r\n"), $value)?;)*
        Ok(())
    }};
}

/// Bytes as Redis writes them for people.
struct Human(u64);

impl std::fmt::Display for Human {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> Result {
        let bytes = self.0 as f64;
        match self.0 {
            0..1024 => write!(formatter, "{}B", self.0),
            1024..0x10_0000 => write!(formatter, "{:.2}K", bytes / 1024.0),
            0x10_0000..0x4000_0000 => write!(formatter, "{:.2}M", bytes / 1_048_576.0),
            _ => write!(formatter, "{:.2}G", bytes / 1_073_741_824.0),
        }
    }
}

/// Bytes as two digits each.
struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Microseconds as seconds with six decimals.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> Result {
        write!(formatter, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

fn server(engine: &Engine, now: Millis, text: &mut String) -> Result {
    let process_stats = &engine.process_stats;
    lines!(text,
        "redis_version": REDIS_VERSION,
        "redis_git_sha1": "00000000",
        "redis_git_dirty": 0,
        "pannier_version": env!("CARGO_PKG_VERSION"),
        "redis_mode": "standalone",
        "os": std::env::consts::OS,
        "arch_bits": usize::BITS,
        "multiplexing_api": "mio",
        "process_id": process_stats.process_id,
        "run_id": Hex(&engine.run_id),
        "tcp_port": process_stats.tcp_port,
        "udp_port": process_stats.udp_port,
        "server_time_usec": now.0 * 1000,
        "uptime_in_seconds": process_stats.uptime_ms / 1_000,
        "uptime_in_days": process_stats.uptime_ms / 86_400_000,
    )
}

fn clients(engine: &Engine, _: Millis, text: &mut String) -> Result {
    lines!(text,
        "connected_clients": engine.process_stats.connected_clients,
        "cluster_connections": 0,
        "maxclients": engine.runtime.max_clients,
        "client_buffer_bytes": engine.process_stats.buffer_bytes,
        "blocked_clients": engine.process_stats.held_clients,
        "pubsub_clients": engine.process_stats.pubsub_clients,
        "tracking_clients": engine.process_stats.tracking_clients,
    )
}

fn memory(engine: &Engine, _: Millis, text: &mut String) -> Result {
    let (memory, process_stats) = (engine.store.memory(), &engine.process_stats);
    let limit = engine.runtime.memory_bytes;
    lines!(text,
        "used_memory": memory.used_of(limit),
        "used_memory_human": Human(memory.used_of(limit)),
        "used_memory_rss": process_stats.resident_bytes,
        "used_memory_rss_human": Human(process_stats.resident_bytes),
        "used_memory_peak": process_stats.resident_peak_bytes,
        "used_memory_peak_human": Human(process_stats.resident_peak_bytes),
        "used_memory_dataset": memory.live + memory.large,
        "used_memory_vm_eval": engine.script_use().0,
        "number_of_cached_scripts": engine.script_use().1,
        "maxmemory": limit,
        "maxmemory_human": Human(limit),
        "maxmemory_policy": engine.policy(),
        "mem_clients_normal": process_stats.buffer_bytes,
        "mem_allocator": "pannier",
        "store_limit_bytes": memory.limit,
        "store_live_bytes": memory.live,
        "store_dead_bytes": memory.dead,
        "store_tail_bytes": memory.tail,
        "store_free_bytes": memory.free,
        "store_index_bytes": memory.index,
        "store_large_bytes": memory.large,
        "store_large_free_bytes": memory.large_free,
        "store_reserved_bytes": memory.reserved,
        "store_lent_bytes": memory.lent,
        "store_touched_bytes": memory.touched,
    )
}

fn persistence(engine: &Engine, _: Millis, text: &mut String) -> Result {
    super::persistence::info(engine, text)
}

fn stats(engine: &Engine, _: Millis, text: &mut String) -> Result {
    let store = engine.store.statistics();
    for (name, value) in engine.metrics.counters.iter().chain(engine.metrics.closes.iter()) {
        write!(text, "{name}:{value}\r\n")?;
    }
    lines!(text,
        "instantaneous_ops_per_sec": engine.process_stats.commands_per_second,
        "expired_keys": store.expired,
        "expired_subkeys": store.expired_fields,
        "evicted_keys": store.evicted,
        "refused_writes": store.refused,
        "cleaned_segments": store.cleaned_segments,
        "cleaned_bytes": store.cleaned_bytes,
        "kept_bytes": store.kept_bytes,
        "pubsub_channels": engine.process_stats.pubsub_channels,
        "pubsub_patterns": engine.process_stats.pubsub_patterns,
        "pubsubshard_channels": engine.process_stats.pubsub_shard_channels,
        "tracking_total_keys": engine.process_stats.tracking_items,
        "tracking_total_items": engine.process_stats.tracking_items,
        "tracking_total_prefixes": engine.process_stats.tracking_prefixes,
        "subscriptions": engine.process_stats.subscriptions,
        "subscriptions_max": engine.process_stats.subscriptions_max,
        "subscription_bytes": engine.process_stats.subscription_bytes,
        "slowlog_entries": engine.slowlog.len(),
    )
}

fn replication(_: &Engine, _: Millis, text: &mut String) -> Result {
    lines!(text,
        "role": "master",
        "connected_slaves": 0,
        "master_failover_state": "no-failover",
        "master_repl_offset": 0,
    )
}

fn cpu(engine: &Engine, _: Millis, text: &mut String) -> Result {
    lines!(text,
        "used_cpu_sys": Seconds(engine.process_stats.cpu_system_us),
        "used_cpu_user": Seconds(engine.process_stats.cpu_user_us),
        "used_cpu_sys_children": Seconds(0),
        "used_cpu_user_children": Seconds(0),
    )
}

fn command_stats(engine: &Engine, _: Millis, text: &mut String) -> Result {
    for (name, metrics) in engine.metrics.rows() {
        if metrics.calls + metrics.rejected == 0 {
            continue;
        }
        let mean = metrics.micros as f64 / metrics.calls.max(1) as f64;
        write!(
            text,
            "cmdstat_{name}:calls={},usec={},usec_per_call={mean:.2},rejected_calls={},failed_calls={}\r\n",
            metrics.calls, metrics.micros, metrics.rejected, metrics.failed
        )?;
    }
    Ok(())
}

/// Upper bounds of the times of the executions that were measured, as Redis words them.
fn latency_stats(engine: &Engine, _: Millis, text: &mut String) -> Result {
    for (name, metrics) in engine.metrics.rows() {
        let Some(percentiles) = metrics.percentiles_ns([500, 990, 999]) else { continue };
        let [p50, p99, p999] = percentiles.map(|bound_ns| bound_ns as f64 / 1000.0);
        write!(text, "latency_percentiles_usec_{name}:p50={p50:.3},p99={p99:.3},p99.9={p999:.3}\r\n")?;
    }
    Ok(())
}

/// What has no name in Redis's sections; `pannier top` is drawn from it.
fn pannier(engine: &Engine, _: Millis, text: &mut String) -> Result {
    let process_stats = &engine.process_stats;
    lines!(text,
        "uptime_in_milliseconds": process_stats.uptime_ms,
        "started_unix_ms": process_stats.started_unix_ms,
        "loop_turns": process_stats.turns,
        "loop_busy_us": process_stats.busy_us,
        "loop_slowest_turn_us": process_stats.slowest_turn_us,
        "frames_rejected": engine.metrics.datagrams.rejected_total(),
        "frame_sessions": process_stats.frame_sessions,
        "frame_sessions_opened": process_stats.frame_sessions_opened,
        "frame_sessions_dropped": process_stats.frame_sessions_dropped,
        "udp_receive_errors": process_stats.udp_receive_errors,
        "udp_send_errors": process_stats.udp_send_errors,
        "open_descriptors": process_stats.open_descriptors,
    )?;
    // Executions that took at most so many nanoseconds, and more than the bound before.
    text.write_str("request_duration_ns:")?;
    let used = engine.metrics.latency().filter(|(_, count)| *count > 0);
    for (index, (bound_ns, count)) in used.enumerate() {
        write!(text, "{}{bound_ns}={count}", if index > 0 { "," } else { "" })?;
    }
    text.write_str("\r\n")
}

fn error_stats(engine: &Engine, _: Millis, text: &mut String) -> Result {
    let mut answered = engine.metrics.errors().filter(|(_, count)| *count > 0);
    answered.try_for_each(|(code, count)| write!(text, "errorstat_{code}:count={count}\r\n"))
}

fn keyspace(engine: &Engine, now: Millis, text: &mut String) -> Result {
    for db in (0..engine.options.databases).map(Database) {
        let keys = engine.store.len(db);
        if keys > 0 {
            let (expires, ttl) = (engine.store.expiring(db), engine.store.average_ttl_ms(db, now));
            write!(text, "db{}:keys={keys},expires={expires},avg_ttl={ttl}\r\n", db.0)?;
        }
    }
    Ok(())
}

fn datagrams(engine: &Engine, _: Millis, text: &mut String) -> Result {
    let mut result = Ok(());
    engine.metrics.datagrams.each(&mut |group, name, _, value| {
        let separator = if group.is_empty() { "" } else { "_" };
        result = result.and_then(|()| write!(text, "datagrams_{group}{separator}{name}:{value}\r\n"));
    });
    result
}
