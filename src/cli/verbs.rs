//! The client's side of the command line: each verb is one call of the client library and one way to show its result.

use std::{
    env,
    ffi::OsString,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Exit, Failure,
    connection::Connection,
    output::{self, Style, printable},
    secret,
    serve::parse_address,
    units::parse_positive_duration,
};
use crate::{
    client::{Client, Condition, Error, PutOptions, Ttl, Udp},
    limits::VALUE_BYTES_MAX,
};

/// Which server, and how.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ServerArgs {
    /// The server: host:port, or a host alone for port 7878
    #[arg(long, env = "PANNIER_SERVER", value_name = "ADDR", default_value = "127.0.0.1:7878", value_parser = parse_server)]
    server: String,
    /// Time to connect, and time for the answer
    #[arg(long, env = "PANNIER_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = parse_positive_duration)]
    timeout: Duration,
    /// A file that holds the password (or set PANNIER_PASSWORD)
    #[arg(long, env = "PANNIER_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Print JSON objects, one a line
    #[arg(long)]
    json: bool,
}

/// Which server, and by which of its two ways in.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct PathArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Ask by datagrams, which are retried and never run twice; what does not fit one goes over TCP by itself
    #[arg(long)]
    udp: bool,
}

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
    #[command(after_help = "Example:\n  pannier delete session:17 session:18")]
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
        #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
        by: i64,
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
    /// Keys may hold any bytes, line ends too; --json tells them apart. The answer is longer than a datagram, so --udp
    /// changes nothing here: it goes over TCP.
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
    /// Ask the server for a sign of life; the round trip's time goes to stderr
    Ping {
        #[command(flatten)]
        server: PathArgs,
    },
    /// Print the server's figures
    ///
    /// They are longer than a datagram, so --udp changes nothing here: they come over TCP.
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
    /// Let it live so long, such as 500ms, 30s, 5m, 2h or 7d [default: for ever]
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

#[derive(Args, Debug)]
pub(crate) struct HealthcheckArgs {
    /// Where the server listens
    #[arg(long, env = "PANNIER_TCP", value_name = "ADDR", default_value = "127.0.0.1:7878", value_parser = parse_address)]
    tcp: SocketAddr,
    /// Time to connect, and time for the answer
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_positive_duration)]
    timeout: Duration,
    /// A file that holds the password (or set PANNIER_PASSWORD)
    #[arg(long, env = "PANNIER_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
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
            Verb::Stats { section, server } => {
                let server = &server.server;
                let info =
                    server.connect()?.info(section.as_deref()).map_err(|error| server.explain(error))?;
                let text = info.replace("\r\n", "\n");
                server.print(out, text.trim_end(), &output::info_object(&info))
            }
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
        let key = printable(self.key.as_bytes());
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
    // The one clock read of the command line: a person asks how far the server is.
    #[allow(clippy::disallowed_methods)]
    let start = Instant::now();
    client.ping().map_err(|error| server.explain(error))?;
    let round_trip = start.elapsed();
    if !server.json() {
        let way = if server.udp { " over UDP" } else { "" };
        let _ = writeln!(io::stderr(), "{} answered in {round_trip:.1?}{way}", server.server.server);
    }
    server.print(out, "PONG", &json!({ "reply": "PONG", "round_trip_us": round_trip.as_micros() as u64 }))
}

impl PathArgs {
    /// The one door to the server for verbs that go either way.
    fn connect(&self) -> Result<Connection, Failure> {
        if !self.udp {
            return self.server.connect().map(Connection::Tcp);
        }
        let mut builder = Udp::builder().call_timeout(self.server.timeout);
        if let Some(password) = self.server.password()? {
            builder = builder.password(password.expose());
        }
        let client = builder.connect(&*self.server.server).map_err(|error| self.explain(error))?;
        Ok(Connection::Udp(Box::new(client)))
    }

    fn style(&self) -> Style {
        self.server.style()
    }

    fn json(&self) -> bool {
        self.server.json
    }

    fn print(&self, out: &mut dyn Write, text: &str, object: &serde_json::Value) -> Result<Exit, Failure> {
        self.server.print(out, text, object)
    }

    /// As [`ServerArgs::explain`]; but over UDP a silence has more reasons than a slow server.
    fn explain(&self, error: Error) -> Failure {
        if self.udp && matches!(error, Error::Timeout { .. }) {
            return Failure::new(
                Exit::Unreachable,
                format!(
                    "{error} by datagrams from {}. Nothing was changed. A server that is down, has UDP off or another \
                     password keeps silent; try it without --udp, or allow more by --timeout",
                    self.server.server
                ),
            );
        }
        self.server.explain(error)
    }
}

impl ServerArgs {
    /// The server as it was named.
    pub(super) fn name(&self) -> &str {
        &self.server
    }

    /// Allows no more time than that.
    pub(super) fn limit_timeout(&mut self, most: Duration) {
        self.timeout = self.timeout.min(most);
    }

    pub(super) fn connect(&self) -> Result<Client, Failure> {
        let mut builder = Client::builder().connect_timeout(self.timeout).call_timeout(self.timeout);
        if let Some(password) = self.password()? {
            builder = builder.password(password.expose());
        }
        builder.connect(&*self.server).map_err(|error| self.explain(error))
    }

    fn password(&self) -> Result<Option<secret::Secret>, Failure> {
        secret::password(self.password_file.as_deref(), env::var_os("PANNIER_PASSWORD"))
            .map_err(Failure::usage)
    }

    pub(super) fn style(&self) -> Style {
        Style::of_stdout(self.json)
    }

    fn print(&self, out: &mut dyn Write, text: &str, object: &serde_json::Value) -> Result<Exit, Failure> {
        output::write_line(out, self.style(), text, object)?;
        Ok(Exit::Done)
    }

    /// An error as a person wants to read it: what it means, and what to do.
    pub(super) fn explain(&self, error: Error) -> Failure {
        let exit = exit_of(&error);
        let hint = match exit {
            Exit::Unreachable if matches!(error, Error::Connect { .. }) => {
                ". Is it running? Start one by 'pannier serve', or name another by --server or PANNIER_SERVER"
            }
            Exit::Unreachable => ". Nothing was changed; try again, or allow more by --timeout",
            Exit::NotAuthenticated => ". Set PANNIER_PASSWORD, or name a file by --password-file",
            Exit::OutcomeUnknown => ". Look before you repeat it",
            _ => "",
        };
        let text = printable(error.to_string().as_bytes());
        Failure::new(exit, format!("{}{hint}", text.trim_end_matches('.')))
    }
}

/// A host, with or without a port; whether there is such a host, the system has to say.
fn parse_server(text: &str) -> Result<String, String> {
    let (host, port) = match text.rsplit_once(':') {
        // An IPv6 address alone has colons of its own.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    if host.is_empty() || host.contains(char::is_whitespace) || !port.is_none_or(is_port) {
        return Err("write host:port, such as 127.0.0.1:7878, or a host alone for port 7878".to_owned());
    }
    Ok(text.to_owned())
}

fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Connect { .. } | Error::Timeout { .. } | Error::NotServed { .. } | Error::Lost(_) => {
            Exit::Unreachable
        }
        Error::OutcomeUnknown(_) | Error::SessionLost { .. } => Exit::OutcomeUnknown,
        Error::Auth(_) => Exit::NotAuthenticated,
        Error::Server { .. } | Error::Protocol(_) => Exit::Refused,
    }
}

fn no_such_key(key: &[u8]) -> Failure {
    Failure::new(Exit::NoSuchKey, format!("no such key: {}", printable(key)))
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

impl HealthcheckArgs {
    /// Exit codes other than 0 and 1 are reserved by container engines.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let server = ServerArgs {
            server: reachable(self.tcp).to_string(),
            timeout: self.timeout,
            password_file: self.password_file,
            json: false,
        };
        let check = || server.connect()?.ping().map_err(|error| server.explain(error));
        match check() {
            // A server that wants another password is alive: the file may be newer than its last SIGHUP.
            Err(failure) if failure.exit != Exit::NotAuthenticated => {
                Err(Failure::new(Exit::Refused, failure.message))
            }
            _ => Ok(Exit::Done),
        }
    }
}

/// Where a server that listens at `address` is reached from its own machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_healthcheck_asks_at_loopback() {
        for (listen, ask) in
            [("0.0.0.0:7", "127.0.0.1:7"), ("[::]:7", "[::1]:7"), ("10.0.0.1:7", "10.0.0.1:7")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), ask);
        }
    }

    #[test]
    fn what_is_no_server_is_told_before_it_is_looked_for() {
        for text in
            ["a", "a:1", "127.0.0.1:7878", "::1", "[::1]", "[::1]:7878", "fe80::1%eth0", "cache.internal"]
        {
            assert_eq!(parse_server(text).as_deref(), Ok(text));
        }
        for text in ["", ":1", "a:", "a:b", "a:0", "a:65536", "[::1]:x", "a b:1"] {
            assert!(parse_server(text).unwrap_err().contains("host:port"), "{text:?}");
        }
    }

    #[test]
    fn each_error_has_its_exit_code() {
        let lost = || Error::Lost(io::ErrorKind::ConnectionReset.into());
        assert_eq!(exit_of(&lost()), Exit::Unreachable);
        assert_eq!(exit_of(&Error::Timeout { after: Duration::ZERO }), Exit::Unreachable);
        assert_eq!(exit_of(&Error::OutcomeUnknown(Box::new(lost()))), Exit::OutcomeUnknown);
        assert_eq!(exit_of(&Error::Auth(String::new())), Exit::NotAuthenticated);
        assert_eq!(exit_of(&Error::Server { code: "ERR".into(), text: String::new() }), Exit::Refused);
    }
}
