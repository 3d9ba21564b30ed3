//! What goes to files and programs: a line for each interval in columns that stay where they are, or a JSON object.

use std::io::{self, Write};

use serde_json::{Map, json};

use super::super::output;
use super::sample::Rates;

/// The heading comes again after so many lines.
const LINES_PER_HEADING: u64 = 20;
/// Name and width of each column; units are in the names, so that cells are plain numbers.
const COLUMNS: [(&str, usize); 14] = [
    ("up_s", 8),
    ("req/s", 9),
    ("p50_us", 8),
    ("p99_us", 8),
    ("p99.9_us", 8),
    ("mem_MiB", 8),
    ("mem_%", 6),
    ("keys", 10),
    ("hit_%", 6),
    ("clients", 7),
    ("in_KiB/s", 9),
    ("out_KiB/s", 9),
    ("refused/s", 9),
    ("turn_us", 8),
];

/// Writes intervals as they come.
pub(super) struct Rows {
    json: bool,
    lines: u64,
    /// The server did not answer at the last interval.
    gone: bool,
}

impl Rows {
    pub(super) fn new(json: bool) -> Rows {
        Rows { json, lines: 0, gone: false }
    }

    pub(super) fn rates(&mut self, rates: &Rates, out: &mut dyn Write) -> io::Result<()> {
        if self.json {
            output::write_json(out, &object(rates))?;
        } else {
            if self.gone || rates.restarted {
                // Where there is no stderr, the exit code has to do.
                let _ = writeln!(io::stderr(), "pannier: the server answers again{}", again(rates));
            }
            if self.lines.is_multiple_of(LINES_PER_HEADING) {
                row(COLUMNS.map(|(name, _)| name.to_owned()), out)?;
            }
            row(cells(rates), out)?;
            self.lines += 1;
        }
        self.gone = false;
        out.flush()
    }

    /// The server does not answer: said once on stderr, or as an object for each interval.
    pub(super) fn gone(&mut self, why: &str, out: &mut dyn Write) -> io::Result<()> {
        if self.json {
            output::write_json(out, &json!({ "up": false, "error": why }))?;
        } else if !self.gone {
            let _ = writeln!(io::stderr(), "pannier: {why}; trying again");
        }
        self.gone = true;
        out.flush()
    }
}

fn again(rates: &Rates) -> &'static str {
    if rates.restarted { "; it was restarted" } else { "" }
}

fn row(cells: [String; COLUMNS.len()], out: &mut dyn Write) -> io::Result<()> {
    let cells = cells.iter().zip(COLUMNS).map(|(cell, (_, width))| format!("{cell:>width$}"));
    writeln!(out, "{}", cells.collect::<Vec<_>>().join(" "))
}

fn cells(rates: &Rates) -> [String; COLUMNS.len()] {
    let (now, memory) = (&rates.now, &rates.now.memory);
    let latency = |index: usize| rates.latency_us.map_or("-".to_owned(), |us| format!("{:.1}", us[index]));
    let percent = |share: f64| format!("{:.1}", share * 100.0);
    [
        (now.uptime_ms / 1000).to_string(),
        format!("{:.0}", rates.requests),
        latency(0),
        latency(1),
        latency(2),
        format!("{:.1}", memory.used() as f64 / 1_048_576.0),
        percent(memory.share(memory.used())),
        now.keys.to_string(),
        rates.hit_ratio.map_or("-".to_owned(), percent),
        now.clients.to_string(),
        format!("{:.1}", rates.received_bytes / 1024.0),
        format!("{:.1}", rates.sent_bytes / 1024.0),
        format!("{:.0}", rates.refused()),
        now.slowest_turn_us.to_string(),
    ]
}

fn object(rates: &Rates) -> serde_json::Value {
    let (now, memory) = (&rates.now, &rates.now.memory);
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    let verbs: Map<_, _> =
        rates.verbs.iter().map(|(verb, rate)| (verb.clone(), json!(round(*rate)))).collect();
    let latency = rates
        .latency_us
        .map(|[p50, p99, p999]| json!({ "p50": round(p50), "p99": round(p99), "p99.9": round(p999) }));
    json!({
        "up": true,
        "version": now.version,
        "uptime_ms": now.uptime_ms,
        "restarted": rates.restarted,
        "requests_per_s": round(rates.requests),
        "verbs_per_s": verbs,
        "latency_us": latency,
        "memory_bytes": {
            "records": memory.records, "large_values": memory.large, "index": memory.index,
            "tables": memory.tables, "buffers": memory.buffers, "to_be_cleaned": memory.to_clean,
            "used": memory.used(), "store_limit": memory.store_limit, "limit": memory.limit, "resident": memory.resident,
        },
        "keys": now.keys,
        "hit_ratio": rates.hit_ratio.map(round),
        "clients": now.clients,
        "received_bytes_per_s": round(rates.received_bytes),
        "sent_bytes_per_s": round(rates.sent_bytes),
        "errors_per_s": round(rates.errors),
        "bad_frames_per_s": round(rates.bad_frames),
        "connections_rejected_per_s": round(rates.connections_rejected),
        "evicted_per_s": round(rates.evicted),
        "expired_per_s": round(rates.expired),
        "slowest_turn_us": now.slowest_turn_us,
        "busy_ratio": round(rates.busy),
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::rates;
    use super::*;

    #[test]
    fn columns_stay_where_they_are_and_the_heading_comes_again() {
        let mut out = Vec::new();
        let mut rows = Rows::new(false);
        (0..21).for_each(|_| rows.rates(&rates(), &mut out).unwrap());
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 23);
        assert_eq!((lines[0], lines[1]), (lines[21], lines[22]));
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(lines[0]), COLUMNS.map(|(name, _)| name.to_owned()));
        let wanted =
            ["12", "1000", "0.5", "12.3", "16.0", "0.0", "75.0", "7", "100.0", "3", "0.5", "0.5", "0", "700"];
        assert_eq!(words(lines[1]), wanted);
        assert!(lines.iter().all(|line| line.len() == lines[0].len()));
    }

    #[test]
    fn objects_tell_a_server_that_is_gone() {
        let mut out = Vec::new();
        let mut rows = Rows::new(true);
        rows.rates(&rates(), &mut out).unwrap();
        rows.gone("no", &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let objects: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects[0]["requests_per_s"], 1000.0);
        assert_eq!(objects[0]["verbs_per_s"]["get"], 500.0);
        assert_eq!(objects[0]["latency_us"]["p99"], 12.288);
        assert_eq!(objects[1], json!({ "up": false, "error": "no" }));
    }
}
