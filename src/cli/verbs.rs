//! The client's side of the command line: each verb is one call of the client library and one way to show its result.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Exit, Failure,
    output::{self, shown_key},
    server_args::{PathArgs, ServerArgs},
    units::parse_positive_duration,
};
use crate::{
    client::{Condition, PutOptions, Ttl},
    limits::VALUE_BYTES_MAX,
};

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Store a value under a key
    ///
    /// Prints OK. Where a condition does not hold, nothing is changed and the exit code is 1, or 3 for --if-present.
    #[command(after_help = "\
Examples:
  pannier put greeting hello
  pannier put session:17 \"$DATA\" --ttl 30m
  pannier put lock:job \"$HOSTNAME\" --if-absent --ttl 1m
  pannier put photo - < photo.jpg")]
    #[command(visible_alias = "set")]
    Put(PutArgs),
    /// Print the value of a key, byte for byte
    ///
    /// A newline is added only on a terminal. Exit code 3 and no output: there is no such key.
    #[command(
        after_help = "Examples:\n  pannier get greeting\n  pannier get photo > photo.jpg\n  pannier get photo --json"
    )]
    Get {
        /// The key
        key: OsString,
        #[command(flatten)]
        server: PathArgs,
    },
    /// Remove keys, and print how many of them there were
    ///
    /// Exit code 3: there were none of them.
    #[command(visible_alias = "del", after_help = "Example:\n  pannier delete session:17 session:18")]
    Delete {
        /// The keys
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<OsString>,
        #[command(flatten)]
        server: PathArgs,
    },
    /// Add to the number under a key, and print the sum
    #[command(after_help = "Examples:\n  pannier incr visits\n  pannier incr stock --by -3")]
    Incr {
        /// The key; a missing one counts as 0
        key: OsString,
        /// What to add
        #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = parse_whole_number)]
        by: i64,
        #[command(flatten)]
        server: PathArgs,
    },
    /// Print how many of the keys exist; one that is named twice counts twice
    ///
    /// Exit code 3: none of them does.
    #[command(after_help = "Examples:\n  pannier exists session:17\n  pannier exists a b --json")]
    Exists {
        /// The keys
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<OsString>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Give a key a time to live, or take it away with 'never'
    ///
    /// Prints OK. Exit code 3: there is no such key.
    #[command(after_help = "Examples:\n  pannier expire session:17 30m\n  pannier expire session:17 never")]
    Expire {
        /// The key
        key: OsString,
        /// Expire after this time, such as 500ms, 30s, 5m, 2h or 7d; or 'never'
        #[arg(value_name = "TIME|never", value_parser = parse_expiry)]
        after: Expiry,
        #[command(flatten)]
        server: PathArgs,
    },
    /// Print how long a key has to live, such as 29.5s, or 'forever'
    ///
    /// Exit code 3: there is no such key.
    #[command(after_help = "Example:\n  pannier ttl session:17")]
    Ttl {
        /// The key
        key: OsString,
        #[command(flatten)]
        server: PathArgs,
    },
    /// List keys, one a line
    ///
    /// Keys may hold any bytes, line ends too; --json tells them apart. The answer is longer than a datagram, so it comes over TCP
    /// even with --udp.
    #[command(after_help = "Examples:\n  pannier scan\n  pannier scan --match 'session:*' | wc -l")]
    Scan {
        /// Only keys that match this pattern of *, ?, [a-z] and \x
        #[arg(long = "match", value_name = "PATTERN")]
        pattern: Option<OsString>,
        /// About how many keys the server looks at for each request
        #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        count: u32,
        #[command(flatten)]
        server: PathArgs,
    },
    /// Send PING and print PONG; the round trip's time goes to stderr
    Ping {
        #[command(flatten)]
        server: PathArgs,
    },
    /// Print the server's statistics
    ///
    /// They are longer than a datagram, so they come over TCP even with --udp.
    #[command(after_help = "Examples:\n  pannier stats\n  pannier stats memory --json")]
    Stats {
        /// One section of them, such as server, clients, memory, stats, commandstats or keyspace
        section: Option<String>,
        #[command(flatten)]
        server: PathArgs,
    },
}

#[derive(Args, Debug)]
pub(crate) struct PutArgs {
    /// The key
    key: OsString,
    /// The value; '-' reads it from standard input
    #[arg(allow_negative_numbers = true)]
    value: OsString,
    /// Expire after this time, such as 500ms, 30s, 5m, 2h or 7d [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    ttl: Option<Duration>,
    /// Only where the key does not exist
    #[arg(long, group = "condition")]
    if_absent: bool,
    /// Only where the key exists
    #[arg(long, group = "condition")]
    if_present: bool,
    /// Only where the key exists with this value
    #[arg(long, value_name = "VALUE", group = "condition", allow_negative_numbers = true)]
    if_equal: Option<OsString>,
    #[command(flatten)]
    server: PathArgs,
}

impl Verb {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<Exit, Failure> {
        match self {
            Verb::Put(args) => args.run(out),
            Verb::Get { key, server } => get(&server, key.as_bytes(), out),
            Verb::Delete { keys, server } => {
                let keys: Vec<_> = keys.iter().map(|key| key.as_bytes()).collect();
                let count = server.connect()?.delete(&keys).map_err(|error| server.explain(error))?;
                server.print(out, &count.to_string(), &json!({ "deleted": count }))?;
                Ok(if count == 0 { Exit::NoSuchKey } else { Exit::Done })
            }
            Verb::Incr { key, by, server } => {
                let sum =
                    server.connect()?.incr(key.as_bytes(), by).map_err(|error| server.explain(error))?;
                server.print(out, &sum.to_string(), &json!({ "value": sum }))
            }
            Verb::Exists { keys, server } => {
                let keys: Vec<_> = keys.iter().map(|key| key.as_bytes()).collect();
                let count = server.connect()?.exists(&keys).map_err(|error| server.explain(error))?;
                server.print(out, &count.to_string(), &json!({ "exist": count }))?;
                Ok(if count == 0 { Exit::NoSuchKey } else { Exit::Done })
            }
            Verb::Expire { key, after, server } => expire(&server, key.as_bytes(), after, out),
            Verb::Ttl { key, server } => ttl(&server, key.as_bytes(), out),
            Verb::Scan { pattern, count, server } => {
                let server = &server.server;
                let (style, mut client) = (server.style(), server.connect()?);
                for key in client.scan(pattern.as_ref().map(|pattern| pattern.as_bytes()), count) {
                    output::write_key(out, style, &key.map_err(|error| server.explain(error))?)?;
                }
                Ok(Exit::Done)
            }
            Verb::Ping { server } => ping(&server, out),
            Verb::Stats { section, server } => stats(&server.server, section.as_deref(), out),
        }
    }
}

impl PutArgs {
    fn run(self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let value = if self.value == "-" { read_stdin()? } else { self.value.into_vec() };
        let condition = match (&self.if_equal, self.if_absent, self.if_present) {
            (Some(expected), ..) => Condition::IfEqual(expected.as_bytes()),
            (None, true, _) => Condition::IfAbsent,
            (None, false, true) => Condition::IfPresent,
            (None, false, false) => Condition::Always,
        };
        let mut options = PutOptions::new().condition(condition);
        if let Some(ttl) = self.ttl {
            options = options.ttl(ttl);
        }
        let server = &self.server;
        let stored = server.connect()?.put(self.key.as_bytes(), &value, &options);
        if stored.map_err(|error| server.explain(error))? {
            return server.print(out, "OK", &json!({ "stored": true }));
        }
        if server.json() {
            output::write_json(out, &json!({ "stored": false }))?;
        }
        let key = shown_key(self.key.as_bytes());
        Err(match condition {
            Condition::IfPresent => Failure::new(Exit::NoSuchKey, format!("not stored: no such key: {key}")),
            Condition::IfEqual(_) => {
                Failure::new(Exit::Refused, format!("not stored: {key} is missing or has another value"))
            }
            _ => Failure::new(Exit::Refused, format!("not stored: {key} exists already")),
        })
    }
}

fn get(server: &PathArgs, key: &[u8], out: &mut dyn Write) -> Result<Exit, Failure> {
    match server.connect()?.get(key).map_err(|error| server.explain(error))? {
        Some(value) => {
            output::write_value(out, server.style(), &value)?;
            Ok(Exit::Done)
        }
        None => {
            if server.json() {
                output::write_json(out, &json!({ "value": null }))?;
            }
            Err(no_such_key(key))
        }
    }
}

fn expire(server: &PathArgs, key: &[u8], after: Expiry, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut client = server.connect()?;
    let explain = |error| server.explain(error);
    let found = match after {
        Expiry::After(ttl) => client.expire(key, ttl).map_err(explain)?,
        // PERSIST says no to a key without a time to live too, which is what was asked for.
        Expiry::Never => {
            client.persist(key).map_err(explain)? || client.ttl(key).map_err(explain)? != Ttl::Missing
        }
    };
    if !found {
        return Err(no_such_key(key));
    }
    server.print(out, "OK", &json!({ "stored": true }))
}

fn stats(server: &ServerArgs, section: Option<&str>, out: &mut dyn Write) -> Result<Exit, Failure> {
    let info = server.connect()?.info(section).map_err(|error| server.explain(error))?;
    // INFO answers nothing to a section that it does not have.
    if let Some(section) = section.filter(|_| info.trim().is_empty()) {
        let section = shown_key(section.as_bytes());
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "no such section: {section}; 'pannier stats' prints the usual ones, 'pannier stats everything' all"
            ),
        ));
    }
    let text = info.replace("\r\n", "\n");
    server.print(out, text.trim_end(), &output::info_object(&info))
}

/// When `expire` has a key go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    After(Duration),
    Never,
}

fn parse_expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" { Ok(Expiry::Never) } else { parse_positive_duration(text).map(Expiry::After) }
}

fn parse_whole_number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "write a whole number, such as 5 or -3".to_owned())
}

fn ttl(server: &PathArgs, key: &[u8], out: &mut dyn Write) -> Result<Exit, Failure> {
    match server.connect()?.ttl(key).map_err(|error| server.explain(error))? {
        Ttl::Missing => {
            if server.json() {
                output::write_json(out, &json!({ "exists": false, "ttl_ms": null }))?;
            }
            Err(no_such_key(key))
        }
        Ttl::Forever => server.print(out, "forever", &json!({ "exists": true, "ttl_ms": null })),
        Ttl::Remaining(ttl) => {
            let text = format!("{}s", ttl.as_secs_f64());
            server.print(out, &text, &json!({ "exists": true, "ttl_ms": ttl.as_millis() as u64 }))
        }
    }
}

fn ping(server: &PathArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut client = server.connect()?;
    // A person asks how far the server is: only the command line can time that.
    #[allow(clippy::disallowed_methods)]
    let start = Instant::now();
    client.ping().map_err(|error| server.explain(error))?;
    let round_trip = start.elapsed();
    if !server.json() {
        let way = if server.is_udp() { " over UDP" } else { "" };
        let _ = writeln!(io::stderr(), "{} answered in {round_trip:.1?}{way}", server.server.name());
    }
    server.print(out, "PONG", &json!({ "reply": "PONG", "round_trip_us": round_trip.as_micros() as u64 }))
}

fn no_such_key(key: &[u8]) -> Failure {
    Failure::new(Exit::NoSuchKey, format!("no such key: {}", shown_key(key)))
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    io::stdin()
        .lock()
        .take(VALUE_BYTES_MAX + 1)
        .read_to_end(&mut value)
        .map_err(|error| Failure::usage(format!("cannot read the value from standard input: {error}")))?;
    if value.len() as u64 > VALUE_BYTES_MAX {
        return Err(Failure::usage(
            "the value on standard input is larger than 512MiB, the largest there can be",
        ));
    }
    Ok(value)
}
