//! `pannier bench`: its flags, checked and made into one plain [`Plan`].

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{
    commands::{Command, parse_command},
    progress::Until,
    run::Pacing,
    workload::{Distribution, Mix, Sizes},
};
use crate::{
    cli::units::{parse_duration, parse_positive_duration, parse_size},
    limits::{
        DATAGRAM_BYTES_MAX, INLINE_VALUE_BYTES_MAX, KEY_BYTES_MAX, TTL_MS_MAX, UDP_WINDOW, VALUE_BYTES_MAX,
    },
    wire::{frame::FRAME_LEN_MIN, tag::TAG_LEN},
};

/// How the load talks to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Protocol {
    /// Redis's protocol over TCP: Pannier, Redis and everything like it
    Resp,
    /// Pannier's frames over TCP
    Frames,
    /// Pannier's frames over UDP, retried until they are answered
    Udp,
    /// memcached's text protocol over TCP
    Memcached,
}

/// Put a load on a server, and print its rate, latencies and CPU time
///
/// A closed loop by default: each connection sends its pipeline, waits for all answers, and sends the next. With --rate,
/// requests are due at even intervals whether or not the server keeps up, and latency counts from when a request was
/// due. Every 1,000th value that is read is compared with what was written under its key; a wrong one makes the exit code
/// 1. Errors that the server answers are counted and shown.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pannier bench --duration 5s                                    50 connections, one request each at a time
  pannier bench --pipeline 100 --keys 1000000 --fill --reads 100
  pannier bench --rate 20000 --duration 30s --reads 95           latencies at a rate that the server can bear
  pannier bench --pipeline 16 --fill --value-size 1KiB --command 'SET {key} {value} EX 60'
  pannier bench --pipeline 16 --fill --command '9 GET {key}' --command 'SET {key} {value} EX 60'
  pannier bench --reconnect                                      each request over a connection of its own
  pannier bench --protocol udp --pipeline 32 --connections 4
  pannier bench --server 127.0.0.1:6379 --server-pid $(pidof redis-server) --json
Give the server and the load a core each: taskset -c 0 pannier serve; taskset -c 1 pannier bench.")]
pub(crate) struct BenchArgs {
    /// The server: host:port, or a host alone for port 7878
    #[arg(long, env = "PANNIER_SERVER", value_name = "ADDR", default_value = "127.0.0.1:7878")]
    pub(super) server: String,
    /// How to talk to it
    #[arg(long, value_enum, default_value = "resp")]
    pub(super) protocol: Protocol,
    /// A file that holds the password (or set PANNIER_PASSWORD)
    #[arg(long, env = "PANNIER_PASSWORD_FILE", value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// Connections, or with UDP clients
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Requests that each connection has in flight at once
    #[arg(long, value_name = "DEPTH", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pipeline: u32,
    /// Keys that there are
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    keys: u64,
    /// Bytes of a key
    #[arg(long, value_name = "SIZE", default_value = "16", value_parser = parse_size)]
    key_size: u64,
    /// How keys are drawn: uniform, or zipf:EXPONENT such as zipf:0.99
    #[arg(long, value_name = "KIND", default_value = "uniform", value_parser = parse_distribution)]
    distribution: Distribution,
    /// Bytes of a value, such as 32, 1KiB or 1MB; or a range such as 100-4KiB, from which each write draws
    #[arg(long, value_name = "SIZE", default_value = "32", value_parser = parse_sizes)]
    value_size: Sizes,
    /// Send this command instead of GET and SET: {key} stands for a key, {value} for a value, {field} for field:00 to
    /// field:19 in turn. Several take turns, each as often as a number before it says: --command '9 GET {key}'
    #[arg(long, value_name = "WORDS", value_parser = parse_command, conflicts_with_all = ["reads", "ttl", "floor_reply"])]
    command: Vec<Command>,
    /// Send each request over a connection of its own; each is closed by a reset (SO_LINGER 0), because closed in order
    /// it would keep its port for a minute, and ports would run out
    #[arg(long)]
    reconnect: bool,
    /// Of 100 requests, how many read; the others write
    #[arg(long, value_name = "PERCENT", default_value_t = 90, value_parser = clap::value_parser!(u8).range(0..=100))]
    reads: u8,
    /// Let what is written live so long, such as 30s [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    ttl: Option<Duration>,
    /// End after so many requests
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    requests: Option<u64>,
    /// End after so long [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    duration: Option<Duration>,
    /// Requests a second, at even intervals over all connections [default: as many as are answered]
    #[arg(long, value_name = "R", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Put the load on for so long before anything is measured
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_duration)]
    warm_up: Duration,
    /// Write every key once before anything is measured
    #[arg(long)]
    fill: bool,
    /// Beside the load, read one large value so many times a second, over a connection of its own
    #[arg(long, value_name = "R", value_parser = parse_rate)]
    large_rate: Option<f64>,
    /// Bytes of that large value
    #[arg(long, value_name = "SIZE", default_value = "10MB", value_parser = parse_size, requires = "large_rate")]
    large_size: u64,
    /// Compare every Nth value that is read with what was written; 0: none
    #[arg(long, value_name = "N", default_value_t = 1000)]
    check_every: u64,
    /// Give up after so long without an answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_positive_duration)]
    pub(super) timeout: Duration,
    /// What keys and sizes are drawn from: the same seed asks the same
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The server's process, to measure its CPU time for each request
    #[arg(long, value_name = "PID")]
    pub(super) server_pid: Option<u32>,
    /// The server is examples/floor.rs: replies are counted by their length, which is this
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=1 << 30), conflicts_with_all = ["fill", "large_rate"])]
    floor_reply: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// A load, checked.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) protocol: Protocol,
    pub(super) connections: usize,
    pub(super) depth: usize,
    pub(super) key_len: usize,
    pub(super) mix: Mix,
    /// What is sent instead of GET and SET, in turn.
    pub(super) commands: Vec<Command>,
    /// Whether each request goes over a connection of its own.
    pub(super) reconnect: bool,
    pub(super) ttl_ms: Option<u64>,
    pub(super) until: Until,
    pub(super) pacing: Pacing,
    pub(super) warm_up: Option<Duration>,
    pub(super) fill: bool,
    pub(super) large: Option<Large>,
    /// Bytes of every reply, where they have no meaning.
    pub(super) floor_reply: Option<usize>,
    pub(super) timeout: Duration,
}

/// One large value that is read beside the load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Large {
    pub(super) rate: f64,
    pub(super) value_len: usize,
}

impl BenchArgs {
    /// Checks what single flags cannot tell; `tagged` if there is a password.
    pub(super) fn plan(&self, tagged: bool) -> Result<Plan, String> {
        let key_len = usize::try_from(self.key_size).unwrap_or(usize::MAX);
        if key_len == 0 || key_len > KEY_BYTES_MAX {
            return Err(format!("--key-size must be from 1 to {KEY_BYTES_MAX} bytes"));
        }
        let until = match (self.requests, self.duration) {
            (Some(count), _) => Until::Requests(count),
            (None, duration) => Until::Elapsed(duration.unwrap_or(Duration::from_secs(10))),
        };
        if self.large_rate.is_some() && !matches!(self.protocol, Protocol::Resp | Protocol::Memcached) {
            return Err("--large-rate wants a protocol for large values: resp or memcached".to_owned());
        }
        if self.large_size == 0 || self.large_size > VALUE_BYTES_MAX {
            return Err("--large-size must be from 1 byte to 512MiB".to_owned());
        }
        if self.floor_reply.is_some() && !matches!(self.reads, 0 | 100) {
            return Err(
                "--floor-reply goes with --reads 0 or --reads 100, since all replies have one length"
                    .to_owned(),
            );
        }
        let ttl_ms = self.ttl.map(|ttl| ttl.as_millis() as u64);
        if ttl_ms.is_some_and(|ms| ms == 0 || ms > TTL_MS_MAX) {
            return Err("--ttl must be at least 1ms".to_owned());
        }
        let is_command = !self.command.is_empty();
        if is_command && self.protocol != Protocol::Resp {
            return Err("--command goes with --protocol resp".to_owned());
        }
        if self.reconnect {
            self.check_reconnect(tagged)?;
        }
        self.check_protocol(key_len, tagged)?;
        Ok(Plan {
            protocol: self.protocol,
            connections: self.connections as usize,
            depth: self.pipeline as usize,
            key_len,
            mix: Mix {
                keys: self.keys,
                distribution: self.distribution,
                sizes: self.value_size,
                read_percent: if is_command { 100 } else { self.reads },
                values_in_reads: is_command,
                // What the floor sends has no meaning, and what a command answers is not known.
                check_every: if self.floor_reply.is_some() || is_command { 0 } else { self.check_every },
                seed: self.seed,
            },
            commands: self.command.clone(),
            reconnect: self.reconnect,
            ttl_ms,
            until,
            pacing: self.rate.map_or(Pacing::Closed, Pacing::Rate),
            warm_up: Some(self.warm_up).filter(|time| !time.is_zero()),
            fill: self.fill,
            large: self.large_rate.map(|rate| Large { rate, value_len: self.large_size as usize }),
            floor_reply: self.floor_reply.map(|len| len as usize),
            timeout: self.timeout,
        })
    }

    /// What goes with `--reconnect`; `tagged` if there is a password.
    fn check_reconnect(&self, tagged: bool) -> Result<(), String> {
        let text = match self.protocol {
            Protocol::Udp => {
                "over UDP there are no connections; --reconnect goes with --protocol resp or memcached"
            }
            Protocol::Frames => {
                "frames open a session first on each connection; --reconnect goes with --protocol resp or memcached"
            }
            _ if self.pipeline > 1 => {
                "--reconnect sends one request over each connection: leave out --pipeline"
            }
            _ if tagged => "--reconnect sends no password: unset PANNIER_PASSWORD and PANNIER_PASSWORD_FILE",
            _ => return Ok(()),
        };
        Err(text.to_owned())
    }

    /// What the protocols can carry.
    fn check_protocol(&self, key_len: usize, tagged: bool) -> Result<(), String> {
        let (value_len, depth) = (self.value_size.max, self.pipeline as usize);
        let head_len = FRAME_LEN_MIN + if tagged { TAG_LEN } else { 0 };
        match self.protocol {
            Protocol::Udp if head_len + key_len + value_len > DATAGRAM_BYTES_MAX => Err(format!(
                "keys of {key_len} and values of {value_len} bytes do not fit a datagram of {DATAGRAM_BYTES_MAX} with \
                 {head_len} for the frame; use smaller ones, or --protocol resp"
            )),
            Protocol::Udp if depth > UDP_WINDOW => Err(format!(
                "over UDP a client has at most {UDP_WINDOW} requests in flight: --pipeline {UDP_WINDOW}"
            )),
            Protocol::Frames if value_len > INLINE_VALUE_BYTES_MAX => Err(format!(
                "frames over TCP answer values of at most {INLINE_VALUE_BYTES_MAX} bytes; use --protocol resp"
            )),
            Protocol::Memcached if key_len > 250 => Err("memcached's keys have at most 250 bytes".to_owned()),
            Protocol::Memcached if tagged => {
                Err("memcached's text protocol knows no password; unset PANNIER_PASSWORD".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn parse_distribution(text: &str) -> Result<Distribution, String> {
    match text.split_once(':') {
        None if text == "uniform" => Ok(Distribution::Uniform),
        Some(("zipf", exponent)) => match exponent.parse::<f64>() {
            Ok(exponent) if (0.0..=10.0).contains(&exponent) => Ok(Distribution::Zipf(exponent)),
            _ => Err(format!("'{exponent}' is no exponent from 0 to 10")),
        },
        _ => Err(format!("unknown distribution '{text}'; write uniform, or zipf:0.99")),
    }
}

fn parse_sizes(text: &str) -> Result<Sizes, String> {
    let parse = |text| match parse_size(text)? {
        bytes @ 0..=VALUE_BYTES_MAX => Ok(bytes as usize),
        _ => Err(format!("'{text}' is more than 512MiB, the largest value there can be")),
    };
    let sizes = match text.split_once('-') {
        Some((min, max)) => Sizes { min: parse(min)?, max: parse(max)? },
        None => parse(text).map(|len| Sizes { min: len, max: len })?,
    };
    if sizes.min > sizes.max {
        return Err(format!("'{text}' begins above its end"));
    }
    Ok(sizes)
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e8 => Ok(rate),
        _ => Err(format!("'{text}' is no rate; write how many requests a second, such as 20000")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn plan(words: &str) -> Result<Plan, String> {
        let line = Line::try_parse_from(format!("bench {words}").split_whitespace());
        line.map_err(|error| error.to_string())?.args.plan(false)
    }

    #[test]
    fn the_defaults_are_a_plain_load() {
        let plan = plan("").unwrap();
        assert_eq!((plan.connections, plan.depth, plan.mix.keys, plan.key_len), (50, 1, 10_000, 16));
        assert!(matches!(plan.until, Until::Elapsed(time) if time.as_secs() == 10));
        assert!(matches!(plan.pacing, Pacing::Closed) && !plan.fill && plan.large.is_none());
    }

    #[test]
    fn sizes_rates_and_distributions_are_read() {
        let plan = plan("--value-size 100-4KiB --distribution zipf:0.99 --rate 2.5 --large-rate 10").unwrap();
        assert_eq!(plan.mix.sizes, Sizes { min: 100, max: 4096 });
        assert_eq!(plan.mix.distribution, Distribution::Zipf(0.99));
        assert!(matches!(plan.pacing, Pacing::Rate(rate) if rate == 2.5));
        assert!(plan.large.is_some_and(|large| large.value_len == 10 << 20 && large.rate == 10.0));
    }

    #[test]
    fn commands_draw_sizes_and_take_turns() {
        let plan = |words: &[&str]| Line::try_parse_from(words).unwrap().args.plan(false).unwrap();
        let mix = plan(&["bench", "--command", "9 GET {key}", "--command", "PING", "--value-size", "1-9"]);
        assert_eq!(mix.commands.iter().map(|command| command.weight).collect::<Vec<_>>(), [9, 1]);
        assert!(mix.mix.values_in_reads && mix.mix.read_percent == 100);
        assert!(!plan(&["bench"]).mix.values_in_reads);
    }

    #[test]
    fn no_password_is_sent_over_connections_for_one_request() {
        let line = Line::try_parse_from(["bench", "--reconnect"]).unwrap();
        assert!(line.args.plan(false).is_ok_and(|plan| plan.reconnect));
        assert!(line.args.plan(true).is_err_and(|text| text.contains("unset PANNIER_PASSWORD")));
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (words, told) in [
            ("--value-size 9-8", "begins above"),
            ("--value-size 1GiB", "512MiB"),
            ("--distribution normal", "zipf:0.99"),
            ("--distribution zipf:x", "exponent"),
            ("--rate 0", "no rate"),
            ("--requests 5 --duration 5s", "cannot be used with"),
            ("--protocol udp --value-size 1200", "do not fit a datagram"),
            ("--protocol udp --pipeline 65", "at most 64"),
            ("--protocol frames --value-size 8193", "--protocol resp"),
            ("--protocol frames --large-rate 1", "resp or memcached"),
            ("--protocol memcached --key-size 251", "250"),
            ("--floor-reply 5", "--reads 0 or --reads 100"),
            ("--command PING --protocol udp", "--protocol resp"),
            ("--reconnect --protocol udp", "no connections"),
            ("--reconnect --protocol frames", "session"),
            ("--reconnect --pipeline 2", "leave out --pipeline"),
            ("--command PING --reads 5", "cannot be used with"),
            ("--key-size 0", "--key-size"),
            ("--large-size 5", "--large-rate"),
        ] {
            let error = plan(words).expect_err(words);
            assert!(error.contains(told), "{words}: {error}");
        }
    }
}
