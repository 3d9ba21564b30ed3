//! The configuration, from the command line to the last module that reads it: [`ServerOptions`] is what a server is
//! started with, [`Runtime`] the one copy of what CONFIG SET changes while it runs.
//!
//! A time limit of zero means "no limit", here and on the command line, in CONFIG and in INFO.

mod key_events;

pub use key_events::KeyEvents;

use crate::limits::{
    CLIENTS_DEFAULT, DATABASES_MAX, MIB, PASSWORD_BYTES_MAX, SCRIPT_MEMORY_BYTES_DEFAULT,
    SCRIPT_MEMORY_BYTES_MAX, SCRIPT_MEMORY_BYTES_MIN, SLOWLOG_LEN_MAX, VALUE_BYTES_MAX,
};
use crate::time::Millis;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What a server is started with. Begin with the default and change what should differ:
///
/// ```
/// let mut options = pannier::net::ServerOptions::default();
/// options.tcp = ([127, 0, 0, 1], 0).into();
/// options.memory_bytes = 64 << 20;
/// ```
///
/// The defaults are those of `pannier serve`, with two exceptions: there is no UDP and no admin port, and the memory
/// limit is 1 GiB wherever the process runs. Of the two protocols, UDP uses the same keys and the same password.
#[derive(Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Where to listen for TCP; port 0 takes a free one. Default: 127.0.0.1:7878.
    pub tcp: SocketAddr,
    /// Where to listen for datagrams, if at all; with port 0, on the port that TCP got if that is free too.
    pub udp: Option<SocketAddr>,
    /// Where to listen for probes and metrics by HTTP, if at all; port 0 takes a free one.
    pub admin: Option<SocketAddr>,
    /// Bytes that the whole process may use: code, data, index and the buffers of all clients.
    pub memory_bytes: u64,
    /// What happens to writes when the memory is used up.
    pub on_full: OnFull,
    /// Clients at once, at least 1. Default: 10,000.
    pub max_clients: usize,
    /// Databases that SELECT can name, 1 to 16. Default: 16.
    pub databases: u8,
    /// Bytes of one value, at most: 1 byte to 512 MiB. Default: 512 MiB.
    pub max_value_bytes: u64,
    /// Keys that one step (MSET, MSETNX, MSETEX, BITOP, all of a transaction) may have, at most; 0 (the default): any
    /// number. While a step runs, no other client is served.
    pub max_step_keys: u64,
    /// A client that asks for nothing for so long is closed; zero (the default): never.
    pub idle_timeout: Duration,
    /// A client that has not authenticated after so long, where it must, is closed; zero: never. Default: 10 s.
    pub auth_timeout: Duration,
    /// A client whose command has begun and is not whole after so long is closed; zero: never. Default: 10 s.
    pub request_timeout: Duration,
    /// A client that has taken nothing of its replies for so long is closed; zero: never. Default: 30 s.
    pub write_timeout: Duration,
    /// Which events of keys are published to subscribers (Redis's `notify-keyspace-events`). Default: none.
    pub notify_keyspace_events: KeyEvents,
    /// Whether the store's memory is to be in pages of 2 MiB, where the system has them (transparent huge pages). Then look-ups among
    /// millions of keys take a third less time; all of the memory is resident from the start, and buffers have their ceilings for their
    /// own.
    pub huge_pages: bool,
    /// What clients must give to AUTH, if anything; at most 512 bytes. Not shown by `Debug`.
    pub password: Option<Vec<u8>>,
    /// What requests to the admin port must carry, probes aside: 16 to 512 visible ASCII characters. Not shown by `Debug`.
    pub admin_token: Option<Vec<u8>>,
    /// Where what is changed is kept over a restart, if it is; the directory is made if it is not there.
    pub data_dir: Option<PathBuf>,
    /// When what is changed is durable, with a data directory. Default: within a second.
    pub durability: Durability,
    /// Bytes of the journal after which a checkpoint is written; `None`: as many as the memory limit, 64 MiB at least.
    pub journal_bytes: Option<u64>,
    /// Bytes of the memory that scripts may have, taken from the store at the first one: 256 KiB to 1 GiB, and at most
    /// a quarter of `memory_bytes`; 0: there are no scripts. Default: 1 MiB.
    pub script_memory_bytes: u64,
    /// A script that runs for so long is ended; zero: never. Default: 50 ms.
    pub script_time: Duration,
    /// Whether each request and its reply are logged. Values are not shown.
    pub log_requests: bool,
    /// Whether DEBUG SLEEP, which stops the whole server for a while, is served.
    pub debug_commands: bool,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            tcp: SocketAddr::from((Ipv4Addr::LOCALHOST, 7878)),
            udp: None,
            admin: None,
            memory_bytes: 1024 * MIB as u64,
            on_full: OnFull::Refuse,
            max_clients: CLIENTS_DEFAULT,
            databases: DATABASES_MAX,
            max_value_bytes: VALUE_BYTES_MAX,
            max_step_keys: 0,
            idle_timeout: Duration::ZERO,
            auth_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            notify_keyspace_events: KeyEvents::default(),
            huge_pages: false,
            password: None,
            admin_token: None,
            data_dir: None,
            durability: Durability::default(),
            journal_bytes: None,
            script_memory_bytes: SCRIPT_MEMORY_BYTES_DEFAULT,
            script_time: Duration::from_millis(50),
            log_requests: false,
            debug_commands: false,
        }
    }
}

impl fmt::Debug for ServerOptions {
    /// Everything but the secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taken apart field by field, so that the compiler misses a new one.
        let ServerOptions {
            tcp,
            udp,
            admin,
            memory_bytes,
            on_full,
            max_clients,
            databases,
            max_value_bytes,
            max_step_keys,
            idle_timeout,
            auth_timeout,
            request_timeout,
            write_timeout,
            notify_keyspace_events,
            huge_pages,
            password,
            admin_token,
            data_dir,
            durability,
            journal_bytes,
            script_memory_bytes,
            script_time,
            log_requests,
            debug_commands,
        } = self;
        formatter
            .debug_struct("ServerOptions")
            .field("tcp", tcp)
            .field("udp", udp)
            .field("admin", admin)
            .field("memory_bytes", memory_bytes)
            .field("on_full", on_full)
            .field("max_clients", max_clients)
            .field("databases", databases)
            .field("max_value_bytes", max_value_bytes)
            .field("max_step_keys", max_step_keys)
            .field("idle_timeout", idle_timeout)
            .field("auth_timeout", auth_timeout)
            .field("request_timeout", request_timeout)
            .field("write_timeout", write_timeout)
            .field("notify_keyspace_events", notify_keyspace_events)
            .field("huge_pages", huge_pages)
            .field("password", &password.as_ref().map(|_| "hidden"))
            .field("admin_token", &admin_token.as_ref().map(|_| "hidden"))
            .field("data_dir", data_dir)
            .field("durability", durability)
            .field("journal_bytes", journal_bytes)
            .field("script_memory_bytes", script_memory_bytes)
            .field("script_time", script_time)
            .field("log_requests", log_requests)
            .field("debug_commands", debug_commands)
            .finish()
    }
}

impl ServerOptions {
    /// The memory limit as a length in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        usize::try_from(self.memory_bytes).unwrap_or(usize::MAX)
    }

    /// Bytes of the journal after which a checkpoint is written.
    pub(crate) fn journal_bytes(&self) -> u64 {
        self.journal_bytes.unwrap_or(self.memory_bytes.max(64 * MIB as u64))
    }

    /// Checks the bounds of single fields.
    ///
    /// # Errors
    /// A field is out of its bounds; the text names the field, its flag, and the bounds.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.max_clients == 0 {
            return Err("max_clients (--max-clients) must be at least 1".to_owned());
        }
        if !(1..=DATABASES_MAX).contains(&self.databases) {
            return Err(format!("databases (--databases) must be 1 to {DATABASES_MAX}"));
        }
        if !(1..=VALUE_BYTES_MAX).contains(&self.max_value_bytes) {
            return Err("--max-value must be between 1 byte and 512MiB".to_owned());
        }
        let script_bytes = SCRIPT_MEMORY_BYTES_MIN..=SCRIPT_MEMORY_BYTES_MAX;
        if self.script_memory_bytes > 0 && !script_bytes.contains(&self.script_memory_bytes) {
            return Err("--script-memory must be 0, or between 256KiB and 1GiB".to_owned());
        }
        if self.password.as_ref().is_some_and(|password| password.len() > PASSWORD_BYTES_MAX) {
            return Err(format!("the password is longer than {PASSWORD_BYTES_MAX} bytes"));
        }
        if self.journal_bytes.is_some_and(|bytes| bytes < MIB as u64) {
            return Err("--journal-size must be at least 1MiB".to_owned());
        }
        if self.admin.is_some_and(|admin| admin == self.tcp && admin.port() != 0) {
            return Err(format!(
                "--admin and --tcp cannot share {}; give one of them another port",
                self.tcp
            ));
        }
        Ok(())
    }
}

/// What happens to a write when memory is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum OnFull {
    /// It gets an OOM error; nothing is ever lost silently.
    #[default]
    Refuse,
    /// Keys that are little used make room for it.
    Evict,
}

/// When what was changed is durable, with a data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Durability {
    /// Before it is acknowledged.
    Always,
    /// Within a second or so.
    #[default]
    Everysec,
    /// When the system writes it; it survives the end of the process, not of the machine.
    Os,
}

impl Durability {
    /// The word for it on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Durability::Always => "always",
            Durability::Everysec => "everysec",
            Durability::Os => "os",
        }
    }
}

/// How much the server logs, in Redis's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Verbose,
    #[default]
    Notice,
    Warning,
}

impl LogLevel {
    /// Every level, the most talkative first.
    pub const ALL: [LogLevel; 4] = [LogLevel::Debug, LogLevel::Verbose, LogLevel::Notice, LogLevel::Warning];

    /// Redis's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            LogLevel::Debug => "debug",
            LogLevel::Verbose => "verbose",
            LogLevel::Notice => "notice",
            LogLevel::Warning => "warning",
        }
    }
}

/// The one copy of what CONFIG SET changes. The engine writes it, the engine and the server read it where they use it,
/// so that a change holds from the next command on.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// See [`ServerOptions::memory_bytes`]; at most that, which was reserved.
    pub memory_bytes: u64,
    /// Clients at once; at most [`ServerOptions::max_clients`], for which memory was reserved.
    pub max_clients: usize,
    /// See [`ServerOptions::max_step_keys`].
    pub max_step_keys: u64,
    /// See [`ServerOptions::idle_timeout`].
    pub idle_timeout: TimeLimit,
    /// See [`ServerOptions::auth_timeout`].
    pub auth_timeout: TimeLimit,
    /// See [`ServerOptions::request_timeout`].
    pub request_timeout: TimeLimit,
    /// See [`ServerOptions::write_timeout`].
    pub write_timeout: TimeLimit,
    /// Commands that took so many microseconds enter the slow log; negative: none does.
    pub slowlog_slower_than_us: i64,
    /// Entries of the slow log, at most [`SLOWLOG_LEN_MAX`].
    pub slowlog_len_max: usize,
    pub log_level: LogLevel,
    /// See [`ServerOptions::notify_keyspace_events`].
    pub key_events: KeyEvents,
}

impl Runtime {
    /// What holds at the start.
    #[must_use]
    pub fn new(options: &ServerOptions) -> Runtime {
        Runtime {
            memory_bytes: options.memory_bytes,
            max_clients: options.max_clients,
            max_step_keys: options.max_step_keys,
            idle_timeout: TimeLimit::from(options.idle_timeout),
            auth_timeout: TimeLimit::from(options.auth_timeout),
            request_timeout: TimeLimit::from(options.request_timeout),
            write_timeout: TimeLimit::from(options.write_timeout),
            slowlog_slower_than_us: 10_000,
            slowlog_len_max: SLOWLOG_LEN_MAX,
            log_level: LogLevel::default(),
            key_events: options.notify_keyspace_events,
        }
    }
}

/// A number of milliseconds after which something ends; 0 means that it never does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeLimit {
    limit_ms: u64,
}

impl TimeLimit {
    /// From CONFIG's seconds; 0 is no limit.
    #[must_use]
    pub fn from_seconds(seconds: u32) -> TimeLimit {
        TimeLimit { limit_ms: u64::from(seconds) * 1_000 }
    }

    /// In CONFIG's seconds, rounded up, so that a limit below a second does not look like none.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.limit_ms.div_ceil(1_000)
    }

    /// When what began at `start` ends; `None`: never.
    #[inline]
    #[must_use]
    pub fn after(self, start: Millis) -> Option<Millis> {
        (self.limit_ms > 0).then(|| start.plus(self.limit_ms))
    }

    /// This limit, if it is not shorter than `ms` milliseconds.
    #[must_use]
    pub fn at_least_ms(self, ms: u64) -> TimeLimit {
        match self.limit_ms {
            0 => self,
            limit_ms => TimeLimit { limit_ms: limit_ms.max(ms) },
        }
    }
}

impl From<Duration> for TimeLimit {
    /// Rounded up to milliseconds: the shortest limit is not "no limit".
    fn from(limit: Duration) -> TimeLimit {
        let limit_ms = limit.as_nanos().div_ceil(1_000_000);
        TimeLimit { limit_ms: u64::try_from(limit_ms).unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_no_limit_and_nothing_else_is() {
        let start = Millis(5);
        assert_eq!(TimeLimit::from(Duration::ZERO).after(start), None);
        assert_eq!(TimeLimit::from_seconds(0).after(start), None);
        assert_eq!(TimeLimit::from(Duration::ZERO).at_least_ms(1_000).after(start), None);
        let shortest = TimeLimit::from(Duration::from_nanos(1));
        assert_eq!((shortest.after(start), shortest.seconds()), (Some(Millis(6)), 1));
        assert_eq!(TimeLimit::from(Duration::MAX).after(start), Some(Millis(u64::MAX)));
        assert_eq!(TimeLimit::from_seconds(2).seconds(), 2);
        assert_eq!(shortest.at_least_ms(1_000).after(start), Some(Millis(1_005)));
    }

    #[test]
    fn the_password_is_not_shown() {
        let options = ServerOptions { password: Some(b"hunter2".to_vec()), ..ServerOptions::default() };
        let shown = format!("{options:?}");
        assert!(
            shown.contains("hidden") && !shown.contains("hunter2") && !shown.contains("104, 117"),
            "{shown}"
        );
    }

    #[test]
    fn every_field_is_held_to_its_bounds() {
        let wrong = |change: fn(&mut ServerOptions)| {
            let mut options = ServerOptions::default();
            change(&mut options);
            options.check().unwrap_err()
        };
        assert!(ServerOptions::default().check().is_ok());
        assert!(wrong(|options| options.max_clients = 0).contains("--max-clients"));
        assert!(wrong(|options| options.databases = 0).contains("--databases"));
        assert!(wrong(|options| options.databases = 17).contains("--databases"));
        assert!(wrong(|options| options.max_value_bytes = 0).contains("512MiB"));
        assert!(wrong(|options| options.max_value_bytes = VALUE_BYTES_MAX + 1).contains("512MiB"));
        assert!(wrong(|options| options.password = Some(vec![b'x'; 513])).contains("512 bytes"));
        assert!(wrong(|options| options.admin = Some(options.tcp)).contains("another port"));
    }
}
