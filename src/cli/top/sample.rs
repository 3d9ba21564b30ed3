//! One INFO as numbers, and what two of them say of the time between: rates, and the latency of that time alone.

use std::collections::BTreeMap;

/// What INFO said at one time. Counters only grow, unless the server is another one or has reset them.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub version: String,
    pub uptime_ms: u64,
    started_unix_ms: u64,
    /// Requests by verb, of all protocols.
    verbs: BTreeMap<String, u64>,
    /// Requests that were measured, by the upper bound of their time in nanoseconds; bounds double.
    buckets: BTreeMap<u64, u64>,
    pub memory: Memory,
    pub keys: u64,
    pub clients: u64,
    pub clients_max: u64,
    pub slowest_turn_us: u64,
    counters: Counters,
}

/// Bytes by use, as the store and the system tell them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub records: u64,
    pub large: u64,
    pub index: u64,
    pub tables: u64,
    pub buffers: u64,
    /// What cleaning hands back when it is needed.
    pub to_clean: u64,
    /// How full the store is, as a part of `limit`: all of it when writes are refused or keys evicted.
    pub used_of_limit: u64,
    /// What the store may take, and the whole process.
    pub store_limit: u64,
    pub limit: u64,
    pub resident: u64,
}

impl Memory {
    /// How full the store is, as a part of what it may take. The server knows what it can still have by cleaning, and
    /// what it has to keep free for that; a sum of the uses does not.
    pub(super) fn used(&self) -> u64 {
        let used = u128::from(self.store_limit) * u128::from(self.used_of_limit);
        (used / u128::from(self.limit.max(1))) as u64
    }

    /// So many bytes as a share of what the store may take.
    pub(super) fn share(&self, bytes: u64) -> f64 {
        bytes as f64 / self.store_limit.max(1) as f64
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    hits: u64,
    misses: u64,
    received_bytes: u64,
    sent_bytes: u64,
    errors: u64,
    bad_frames: u64,
    connections_rejected: u64,
    evicted: u64,
    expired: u64,
    busy_us: u64,
}

/// The `name:value` lines of INFO.
struct Fields<'a>(BTreeMap<&'a str, &'a str>);

impl Fields<'_> {
    fn number(&self, name: &'static str) -> Result<u64, &'static str> {
        self.0.get(name).and_then(|value| value.parse().ok()).ok_or(name)
    }

    fn sum(&self, names: &[&'static str]) -> Result<u64, &'static str> {
        names.iter().map(|name| self.number(name)).sum()
    }

    /// The part of a counter that is not the part `of`.
    fn rest(&self, name: &'static str, of: &'static str) -> Result<u64, &'static str> {
        Ok(self.number(name)?.saturating_sub(self.number(of)?))
    }
}

impl Sample {
    /// Reads the text of `INFO everything`.
    ///
    /// # Errors
    /// The name of a field that is missing, or is no number.
    pub(super) fn parse(info: &str) -> Result<Sample, &'static str> {
        let fields = Fields(info.lines().filter_map(|line| line.split_once(':')).collect());
        let durations = fields.0.get("request_duration_ns").ok_or("request_duration_ns")?;
        Ok(Sample {
            version: fields.0.get("pannier_version").ok_or("pannier_version")?.chars().take(40).collect(),
            uptime_ms: fields.number("uptime_in_milliseconds")?,
            started_unix_ms: fields.number("started_unix_ms")?,
            verbs: verbs(&fields),
            buckets: durations.split(',').filter_map(pair).collect(),
            memory: memory(&fields)?,
            keys: keys(&fields),
            clients: fields.number("connected_clients")?,
            clients_max: fields.number("maxclients")?,
            slowest_turn_us: fields.number("loop_slowest_turn_us")?,
            counters: counters(&fields)?,
        })
    }
}

/// `1024=7`.
fn pair(text: &str) -> Option<(u64, u64)> {
    let (bound, count) = text.split_once('=')?;
    Some((bound.parse().ok()?, count.parse().ok()?))
}

fn verbs(fields: &Fields<'_>) -> BTreeMap<String, u64> {
    let mut verbs = BTreeMap::new();
    for (name, value) in &fields.0 {
        let counted = if let Some(verb) = name.strip_prefix("cmdstat_") {
            let calls = value.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
            // Operations of frames are counted with the verb of the same name.
            calls.map(|calls| (verb.strip_prefix("frame|").unwrap_or(verb), calls))
        } else {
            None
        };
        if let Some((verb, Ok(count))) = counted.map(|(verb, count)| (verb, count.parse::<u64>())) {
            *verbs.entry(verb.to_ascii_lowercase()).or_default() += count;
        }
    }
    verbs
}

fn memory(fields: &Fields<'_>) -> Result<Memory, &'static str> {
    Ok(Memory {
        records: fields.number("store_live_bytes")?,
        large: fields.number("store_large_bytes")?,
        index: fields.number("store_index_bytes")?,
        tables: fields.number("store_reserved_bytes")?,
        buffers: fields.number("client_buffer_bytes")?,
        to_clean: fields.sum(&["store_dead_bytes", "store_tail_bytes", "store_large_free_bytes"])?,
        used_of_limit: fields.number("used_memory")?,
        store_limit: fields.number("store_limit_bytes")?,
        limit: fields.number("maxmemory")?,
        resident: fields.number("used_memory_rss")?,
    })
}

/// Keys of all databases: `db0:keys=3,expires=0,avg_ttl=0`.
fn keys(fields: &Fields<'_>) -> u64 {
    let databases = fields.0.iter().filter(|(name, _)| {
        name.strip_prefix("db").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let counts = databases
        .filter_map(|(_, value)| value.strip_prefix("keys=")?.split(',').next()?.parse::<u64>().ok());
    counts.sum()
}

fn counters(fields: &Fields<'_>) -> Result<Counters, &'static str> {
    Ok(Counters {
        hits: fields.sum(&["keyspace_hits", "datagrams_hits"])?,
        misses: fields.sum(&["keyspace_misses", "datagrams_misses"])?,
        received_bytes: fields.number("total_net_input_bytes")?
            + fields.rest("datagrams_bytes_received", "datagrams_stream_bytes_received")?,
        sent_bytes: fields.number("total_net_output_bytes")?
            + fields.rest("datagrams_bytes_replied", "datagrams_stream_bytes_replied")?,
        errors: fields.number("total_error_replies")?,
        bad_frames: fields.number("frames_rejected")?,
        connections_rejected: fields.number("rejected_connections")?,
        evicted: fields.number("evicted_keys")?,
        expired: fields.number("expired_keys")?,
        busy_us: fields.number("loop_busy_us")?,
    })
}

/// What happened between two samples, a second. Times in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    pub now: Sample,
    /// The server is another process than at the sample before: all is counted from its start.
    pub restarted: bool,
    pub requests: f64,
    /// The busiest first, without those that did not run.
    pub verbs: Vec<(String, f64)>,
    /// The times that 50, 99 and 99.9 % of the requests took at most; `None`: none was measured.
    pub latency_us: Option<[f64; 3]>,
    /// `None`: nothing was read.
    pub hit_ratio: Option<f64>,
    pub received_bytes: f64,
    pub sent_bytes: f64,
    pub errors: f64,
    pub bad_frames: f64,
    pub connections_rejected: f64,
    pub evicted: f64,
    pub expired: f64,
    /// The share of the time that the loop was not waiting.
    pub busy: f64,
}

impl Rates {
    pub(super) fn between(was: &Sample, is: &Sample) -> Rates {
        let restarted = was.started_unix_ms != is.started_unix_ms;
        let nothing = Sample::default();
        let was = if restarted { &nothing } else { was };
        let seconds = is.uptime_ms.saturating_sub(was.uptime_ms).max(1) as f64 / 1000.0;
        let rate = |was: u64, is: u64| grown(was, is) as f64 / seconds;
        let mut verbs: Vec<(String, f64)> = is
            .verbs
            .iter()
            .map(|(verb, count)| (verb.clone(), rate(was.verbs.get(verb).copied().unwrap_or(0), *count)))
            .filter(|(_, rate)| *rate > 0.0)
            .collect();
        verbs.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let (a, b) = (&was.counters, &is.counters);
        let (hits, misses) = (grown(a.hits, b.hits) as f64, grown(a.misses, b.misses) as f64);
        Rates {
            now: is.clone(),
            restarted,
            requests: verbs.iter().map(|(_, rate)| rate).sum(),
            latency_us: latency_us(&was.buckets, &is.buckets),
            verbs,
            hit_ratio: (hits + misses > 0.0).then(|| hits / (hits + misses)),
            received_bytes: rate(a.received_bytes, b.received_bytes),
            sent_bytes: rate(a.sent_bytes, b.sent_bytes),
            errors: rate(a.errors, b.errors),
            bad_frames: rate(a.bad_frames, b.bad_frames),
            connections_rejected: rate(a.connections_rejected, b.connections_rejected),
            evicted: rate(a.evicted, b.evicted),
            expired: rate(a.expired, b.expired),
            busy: rate(a.busy_us, b.busy_us) / 1e6,
        }
    }

    /// Requests, frames and connections turned away, a second.
    pub(super) fn refused(&self) -> f64 {
        self.errors + self.bad_frames + self.connections_rejected
    }
}

/// By how much a counter has grown; one that is lower than before was reset, and counts from zero.
fn grown(was: u64, is: u64) -> u64 {
    if is < was { is } else { is - was }
}

/// Shares of the requests whose times are shown.
const SHARES: [f64; 3] = [0.5, 0.99, 0.999];

fn latency_us(was: &BTreeMap<u64, u64>, is: &BTreeMap<u64, u64>) -> Option<[f64; 3]> {
    let counts: Vec<(u64, u64)> = is
        .iter()
        .map(|(bound, count)| (*bound, grown(was.get(bound).copied().unwrap_or(0), *count)))
        .collect();
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    (total > 0).then(|| SHARES.map(|share| within(&counts, share * total as f64) / 1000.0))
}

/// The time in nanoseconds that so many took at most, on the assumption that they lie evenly within a bucket.
fn within(counts: &[(u64, u64)], rank: f64) -> f64 {
    let mut below = 0.0;
    for &(bound_ns, count) in counts.iter().filter(|(_, count)| *count > 0) {
        let (bound_ns, count) = (bound_ns as f64, count as f64);
        // The first bucket begins at zero, each other one where the one before it, of half its bound, ends.
        let from_ns = if bound_ns > 1024.0 { bound_ns / 2.0 } else { 0.0 };
        if below + count >= rank {
            return from_ns + (bound_ns - from_ns) * (rank - below) / count;
        }
        below += count;
    }
    counts.last().map_or(0.0, |(bound_ns, _)| *bound_ns as f64)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An INFO with so many GETs of which each took up to 1.024 us, but one in fifty up to 16.384 us.
    pub fn info(uptime_ms: u64, started_unix_ms: u64, gets: u64) -> String {
        format!(
            "# Server\r\npannier_version:0.1.0\r\nconnected_clients:3\r\nmaxclients:100\r\nclient_buffer_bytes:4096\r\n\
             used_memory:50331648\r\nused_memory_rss:3000000\r\nmaxmemory:67108864\r\nstore_limit_bytes:5200\r\nstore_live_bytes:1000\r\nstore_dead_bytes:200\r\n\
             store_tail_bytes:30\r\nstore_index_bytes:400\r\nstore_large_bytes:500\r\nstore_large_free_bytes:6\r\n\
             store_reserved_bytes:700\r\ntotal_net_input_bytes:{gets}\r\ntotal_net_output_bytes:{gets}\r\n\
             keyspace_hits:{gets}\r\nkeyspace_misses:0\r\ntotal_error_replies:0\r\nrejected_connections:0\r\n\
             evicted_keys:0\r\nexpired_keys:{gets}\r\ncmdstat_get:calls={gets},usec=9,usec_per_call=0.00\r\n\
             cmdstat_set:calls=4,usec=9,usec_per_call=0.00\r\ndb0:keys=5,expires=0,avg_ttl=0\r\n\
             db3:keys=2,expires=1,avg_ttl=9\r\ndatagrams_hits:0\r\ndatagrams_misses:0\r\n\
             datagrams_bytes_received:100\r\ndatagrams_stream_bytes_received:40\r\ndatagrams_bytes_replied:0\r\n\
             datagrams_stream_bytes_replied:0\r\ncmdstat_frame|put:calls={gets},usec=9,usec_per_call=0.00\r\n\
             # Pannier\r\nuptime_in_milliseconds:{uptime_ms}\r\nstarted_unix_ms:{started_unix_ms}\r\nloop_busy_us:{gets}\r\n\
             loop_slowest_turn_us:700\r\nframes_rejected:0\r\nrequest_duration_ns:1024={},16384={}\r\n",
            gets - gets / 50,
            gets / 50
        )
    }

    pub fn rates() -> Rates {
        let [was, is] =
            [info(10_000, 1, 1000), info(12_000, 1, 2000)].map(|info| Sample::parse(&info).unwrap());
        Rates::between(&was, &is)
    }

    #[test]
    fn two_samples_give_rates_by_the_servers_clock() {
        let rates = rates();
        assert!(!rates.restarted);
        assert_eq!((rates.requests, rates.received_bytes, rates.expired), (1000.0, 500.0, 500.0));
        assert_eq!(rates.verbs, [("get".to_owned(), 500.0), ("put".to_owned(), 500.0)]);
        assert_eq!((rates.hit_ratio, rates.now.keys, rates.now.memory.used()), (Some(1.0), 7, 3900));
        assert_eq!((rates.now.memory.to_clean, rates.busy), (236, 0.0005));
        // 980 of 1000 lie in the first bucket, the other 20 between 8.192 and 16.384 us.
        let [p50, p99, p999] = rates.latency_us.unwrap();
        assert!((p50 - 1.024 * 500.0 / 980.0).abs() < 1e-9, "{p50}");
        assert!((p99 - 12.288).abs() < 1e-9 && (p999 - 15.9744).abs() < 1e-9, "{p99} {p999}");
    }

    #[test]
    fn another_process_and_reset_counters_count_from_zero() {
        let [was, is] = [info(10_000, 1, 1000), info(500, 2, 100)].map(|info| Sample::parse(&info).unwrap());
        let rates = Rates::between(&was, &is);
        assert!(rates.restarted);
        assert_eq!((rates.verbs[0].clone(), rates.received_bytes), (("get".to_owned(), 200.0), 320.0));
        let [was, is] =
            [info(10_000, 1, 1000), info(11_000, 1, 50)].map(|info| Sample::parse(&info).unwrap());
        assert_eq!(Rates::between(&was, &is).received_bytes, 110.0);
        let [was, is] =
            [info(10_000, 1, 1000), info(10_000, 1, 1000)].map(|info| Sample::parse(&info).unwrap());
        let idle = Rates::between(&was, &is);
        assert_eq!((idle.requests, idle.latency_us, idle.hit_ratio), (0.0, None, None));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(Sample::parse("redis_version:7.2.4\r\n").unwrap_err(), "request_duration_ns");
        let text = info(1, 1, 1).replace("maxclients:100", "maxclients:x");
        assert_eq!(Sample::parse(&text).unwrap_err(), "maxclients");
    }
}
