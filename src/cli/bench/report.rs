//! What a load has come to, for people and for programs.

use std::{fmt::Write as _, io, time::Duration};

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::{
    args::{Plan, Protocol},
    cpu::Cpu,
    run::{Pacing, Ran},
    stats::Stats,
    workload::Distribution,
};
use crate::cli::units::format_size;

/// Percentiles and their names.
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99)];

/// Everything that was measured.
pub(super) struct Report<'a> {
    pub(super) server: &'a str,
    pub(super) plan: &'a Plan,
    pub(super) stats: &'a Stats,
    /// Of the large value that was read beside the load.
    pub(super) large: Option<&'a Stats>,
    /// Of the fill before it.
    pub(super) fill: Option<&'a Stats>,
    pub(super) ran: Ran,
    pub(super) server_cpu: Option<Cpu>,
    pub(super) load_cpu: Cpu,
}

impl Report<'_> {
    /// Whether any answer was wrong.
    pub(super) fn wrong(&self) -> bool {
        self.stats.wrong > 0 || self.large.is_some_and(|large| large.wrong > 0)
    }

    fn seconds(&self) -> f64 {
        self.ran.elapsed_ns as f64 / 1e9
    }

    fn rate(&self) -> f64 {
        self.stats.replies() as f64 / self.seconds().max(1e-9)
    }

    /// Nanoseconds for each reply of the load, those of the large value included in the time but not in the count.
    fn ns_per_request(&self, cpu: Cpu) -> f64 {
        cpu.total_ns as f64 / self.stats.replies().max(1) as f64
    }

    pub(super) fn json(&self) -> Value {
        let (plan, stats) = (self.plan, self.stats);
        let mut object = json!({
            "server": self.server,
            "protocol": protocol_name(plan.protocol),
            "connections": plan.connections,
            "pipeline": plan.depth,
            "keys": plan.mix.keys,
            "key_bytes": plan.key_len,
            "value_bytes": { "min": plan.mix.sizes.min, "max": plan.mix.sizes.max },
            "distribution": distribution(plan.mix.distribution),
            "command": commands(plan),
            "reconnect": plan.reconnect,
            "read_percent": plan.mix.read_percent,
            "rate_asked": match plan.pacing { Pacing::Closed => Value::Null, Pacing::Rate(rate) => json!(rate) },
            "seed": plan.mix.seed,
            "seconds": self.seconds(),
            "requests": stats.replies(),
            "unsent": self.ran.unsent,
            "requests_per_second": self.rate(),
            "hits": stats.hits,
            "misses": stats.misses,
            "errors": stats.errors,
            "checked": stats.checked,
            "wrong": stats.wrong,
            "resent": stats.resent,
            "late": stats.late,
            "latency_us": {
                "all": latencies(&stats.all()), "reads": latencies(&stats.reads), "writes": latencies(&stats.writes),
            },
            "load_cpu_ns_per_request": self.ns_per_request(self.load_cpu),
            "server_cpu_ns_per_request": self.server_cpu.map(|cpu| self.ns_per_request(cpu)),
            "server_cpu_user_share": self.server_cpu.and_then(Cpu::user_share),
        });
        if let Some(fill) = self.fill {
            object["fill"] = json!({ "requests": fill.replies(), "errors": fill.errors });
        }
        if let Some(large) = self.large {
            object["large"] = json!({
                "requests": large.replies(), "misses": large.misses, "errors": large.errors, "wrong": large.wrong,
                "latency_us": latencies(&large.reads),
            });
        }
        object
    }

    pub(super) fn write_text(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let stats = self.stats;
        writeln!(out, "{}", self.what())?;
        if let Some(fill) = self.fill {
            let written = grouped(fill.replies() - fill.error_count());
            writeln!(out, "fill       {written} keys written{}", errors(fill))?;
        }
        let (count, seconds) = (grouped(stats.replies()), self.seconds());
        writeln!(out, "requests   {count} in {seconds:.2} s: {} a second", grouped(self.rate() as u64))?;
        if self.ran.unsent > 0 {
            writeln!(
                out,
                "           {} more were due and not sent: the server did not keep up",
                self.ran.unsent
            )?;
        }
        if !stats.reads.is_empty() && self.plan.commands.is_empty() {
            let share = stats.hits as f64 * 100.0 / stats.reads.len() as f64;
            writeln!(out, "reads      {}, {share:.1} % of them hits", grouped(stats.reads.len()))?;
        }
        if stats.resent + stats.late > 0 {
            writeln!(out, "datagrams  {} sent again, {} answers too many", stats.resent, stats.late)?;
        }
        let names: String =
            PERCENTILES.iter().fold(String::new(), |names, (name, _)| names + &format!("{name:>10}"));
        writeln!(out, "latency µs{names}       max")?;
        let large = self.large.map(|large| &large.reads);
        for (name, histogram) in
            [("  reads   ", Some(&stats.reads)), ("  writes  ", Some(&stats.writes)), ("  large   ", large)]
        {
            if let Some(histogram) = histogram.filter(|histogram| !histogram.is_empty()) {
                writeln!(out, "{name}{}", row(histogram))?;
            }
        }
        if let Some(cpu) = self.server_cpu {
            let share = cpu
                .user_share()
                .map_or(String::new(), |share| format!(", {:.0} % of it in user space", share * 100.0));
            writeln!(out, "server     {:.3} µs of CPU a request{share}", self.ns_per_request(cpu) / 1e3)?;
        }
        writeln!(out, "load       {:.3} µs of CPU a request", self.ns_per_request(self.load_cpu) / 1e3)?;
        if let Some(large) = self.large {
            writeln!(out, "large      {} values read{}", large.hits, errors(large))?;
        }
        writeln!(
            out,
            "errors     {}",
            if stats.errors.is_empty() { "none".to_owned() } else { errors(stats)[2..].to_owned() }
        )?;
        writeln!(out, "answers    {} checked, {} wrong", stats.checked, stats.wrong)
    }

    /// One line on what was asked.
    fn what(&self) -> String {
        let plan = self.plan;
        let (min, max) = (plan.mix.sizes.min as u64, plan.mix.sizes.max as u64);
        let sizes = if min == max {
            format_size(min)
        } else {
            format!("{} to {}", format_size(min), format_size(max))
        };
        let pace = match plan.pacing {
            Pacing::Closed => String::new(),
            Pacing::Rate(rate) => format!(", {} a second", grouped(rate as u64)),
        };
        let asked = commands(plan).unwrap_or_else(|| format!("{} % reads", plan.mix.read_percent));
        let depth = match plan.reconnect {
            true => "one for each request".to_owned(),
            false => format!("pipelines of {}", plan.depth),
        };
        format!(
            "{} by {}: {} connections, {depth}{pace}, {} keys of {} bytes {}, values of {sizes}, {asked}",
            self.server,
            protocol_name(plan.protocol),
            plan.connections,
            grouped(plan.mix.keys),
            plan.key_len,
            distribution(plan.mix.distribution),
        )
    }
}

/// What is sent instead of GET and SET.
fn commands(plan: &Plan) -> Option<String> {
    let texts: Vec<String> = plan.commands.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Resp => "resp",
        Protocol::Frames => "frames",
        Protocol::Udp => "udp",
        Protocol::Memcached => "memcached",
    }
}

fn distribution(distribution: Distribution) -> String {
    match distribution {
        Distribution::Uniform => "uniform".to_owned(),
        Distribution::Zipf(exponent) => format!("zipf:{exponent}"),
    }
}

/// `; 3 errors: OOM …` for each kind; nothing where there were none.
fn errors(stats: &Stats) -> String {
    stats.errors.iter().fold(String::new(), |mut text, (words, count)| {
        let _ = write!(text, "; {count} × {}", crate::cli::output::printable(words.as_bytes()));
        text
    })
}

fn micros(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64() * 1e6
}

fn latencies(histogram: &Histogram<u64>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let mut object: Map<String, Value> = PERCENTILES
        .iter()
        .map(|(name, percent)| ((*name).to_owned(), json!(micros(histogram.value_at_percentile(*percent)))))
        .collect();
    object.insert("max".to_owned(), json!(micros(histogram.max())));
    object.insert("mean".to_owned(), json!(histogram.mean() / 1e3));
    object.insert("count".to_owned(), json!(histogram.len()));
    Value::Object(object)
}

fn row(histogram: &Histogram<u64>) -> String {
    let mut text = String::new();
    for (_, percent) in PERCENTILES {
        let _ = write!(text, "{:>10.1}", micros(histogram.value_at_percentile(percent)));
    }
    let _ = write!(text, "{:>10.1}", micros(histogram.max()));
    text
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let texts: Vec<_> = [0, 999, 1000, 1_234_567].map(grouped).to_vec();
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
