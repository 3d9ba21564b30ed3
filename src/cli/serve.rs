//! `pannier serve`: its flags and environment, checked and made into one plain [`ServeOptions`].
//!
//! Everything that a user can get wrong is found here, before a socket is opened, with a message that says what to do.

use std::{
    env,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, CommandFactory, builder::BoolishValueParser};
use log::LevelFilter;

use super::{
    Cli, Exit, Failure, ServerCli, environment,
    logging::{self, LogFormat},
    memory, reload,
    secret::{self, Secret},
    units::{Amount, parse_amount, parse_duration, parse_size},
};
use crate::{
    config::{Durability, KeyEvents, OnFull, ServerOptions},
    limits, net,
};

/// A place to listen at, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listen {
    Off,
    At(SocketAddr),
}

impl Listen {
    fn address(self) -> Option<SocketAddr> {
        match self {
            Listen::Off => None,
            Listen::At(address) => Some(address),
        }
    }
}

/// Run the server
///
/// Memory is fixed from the start: data, index and the buffers of all clients stay below --memory. The server logs to
/// stderr, never goes to the background, and ends on SIGTERM and SIGINT within a second.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pannier serve                                     on 127.0.0.1:7878
  pannier serve --memory 64MiB --on-full evict      a cache
  PANNIER_PASSWORD=secret pannier serve --tcp 0.0.0.0:7878 --memory 50%
Every flag can be set by its environment variable; a flag wins.")]
pub struct ServeArgs {
    /// Where to listen for TCP: an IP address and a port
    #[arg(long, env = "PANNIER_TCP", value_name = "ADDR", default_value = "127.0.0.1:7878", value_parser = parse_address)]
    tcp: SocketAddr,
    /// Where to listen for UDP, or 'off' [default: the same as --tcp]
    #[arg(long, env = "PANNIER_UDP", value_name = "ADDR|off", value_parser = parse_listen)]
    udp: Option<Listen>,
    /// Where to listen for health probes and metrics by HTTP, or 'off'
    #[arg(long, env = "PANNIER_ADMIN", value_name = "ADDR|off", default_value = "127.0.0.1:7879", value_parser = parse_listen)]
    admin: Listen,
    /// A file that holds the token which requests to --admin must carry, probes aside (or set PANNIER_ADMIN_TOKEN);
    /// SIGHUP reads it again
    #[arg(long, env = "PANNIER_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// Memory for everything: a size such as 64MiB, or a share such as 75% of the container's limit or of the
    /// machine's memory [default: 75% of a container's limit, else 1 GiB]
    #[arg(long, env = "PANNIER_MEMORY", value_name = "SIZE|PERCENT", value_parser = parse_amount)]
    memory: Option<Amount>,
    /// What happens to a write when memory is full
    #[arg(long, env = "PANNIER_ON_FULL", value_enum, default_value = "refuse")]
    on_full: OnFull,
    /// Clients at once [default: 10000, or as many as a sixteenth of the memory pays for]
    #[arg(long, env = "PANNIER_MAX_CLIENTS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_clients: Option<u32>,
    /// Databases that SELECT can name
    #[arg(long, env = "PANNIER_DATABASES", value_name = "N", default_value_t = limits::DATABASES_MAX,
        value_parser = clap::value_parser!(u8).range(1..=i64::from(limits::DATABASES_MAX)))]
    databases: u8,
    /// Close a connection that has been idle for so long; 0: never
    #[arg(long, env = "PANNIER_IDLE_TIMEOUT", value_name = "TIME", default_value = "0", value_parser = parse_duration)]
    idle_timeout: Duration,
    /// Close a connection that has not authenticated after so long, where a password is set; 0: never
    #[arg(long, env = "PANNIER_AUTH_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    auth_timeout: Duration,
    /// Close a connection whose command has begun and is not whole after so long; 0: never
    #[arg(long, env = "PANNIER_REQUEST_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    request_timeout: Duration,
    /// Close a connection that has taken nothing of its replies for so long; 0: never
    #[arg(long, env = "PANNIER_WRITE_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    write_timeout: Duration,
    /// The largest value
    #[arg(long, env = "PANNIER_MAX_VALUE", value_name = "SIZE", default_value = "512MiB", value_parser = parse_size)]
    max_value: u64,
    /// Events of keys that are published to subscribers, by Redis's letters: KEA for all, Ex for expired keys
    #[arg(long, env = "PANNIER_NOTIFY_KEYSPACE_EVENTS", value_name = "CLASSES")]
    notify_keyspace_events: Option<KeyEvents>,
    /// The most keys that one step may have (MSET, MSETNX, MSETEX, BITOP, a whole transaction), for no other is served
    /// while it runs; 0: any number
    #[arg(long, env = "PANNIER_MAX_STEP_KEYS", value_name = "N", default_value_t = 0)]
    max_step_keys: u64,
    /// Memory for scripts, within --memory and taken at the first script; 0: no scripts
    #[arg(long, env = "PANNIER_SCRIPT_MEMORY", value_name = "SIZE", default_value = "1MiB", value_parser = parse_size)]
    script_memory: u64,
    /// End a script that has run for so long; 0: never
    #[arg(long, env = "PANNIER_SCRIPT_TIME", value_name = "TIME", default_value = "50ms", value_parser = parse_duration)]
    script_time: Duration,
    /// A file that holds the password (or set PANNIER_PASSWORD); SIGHUP reads it again
    #[arg(long, env = "PANNIER_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Serve everyone who can reach an address that is not loopback, without a password or an admin token
    #[arg(long, env = "PANNIER_ALLOW_UNAUTHENTICATED", value_parser = BoolishValueParser::new())]
    allow_unauthenticated: bool,
    /// How much is logged: off, error, warn, info, debug or trace
    #[arg(long, env = "PANNIER_LOG_LEVEL", value_name = "LEVEL", default_value = "info", value_parser = logging::parse_level)]
    log_level: LevelFilter,
    /// A file that holds the level; it goes before --log-level, and SIGHUP reads it again
    #[arg(long, env = "PANNIER_LOG_LEVEL_FILE", value_name = "FILE")]
    log_level_file: Option<PathBuf>,
    /// How a log line looks
    #[arg(long, env = "PANNIER_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Keep what is changed in this directory, over restarts; it is made if it is not there
    #[arg(long, env = "PANNIER_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// When what is changed is durable, with --data-dir [default: everysec]
    #[arg(long, env = "PANNIER_DURABILITY", value_enum, requires = "data_dir")]
    durability: Option<Durability>,
    /// Write a checkpoint when the journal in --data-dir is this long [default: as long as --memory, 64MiB at least]
    #[arg(long, env = "PANNIER_JOURNAL_SIZE", value_name = "SIZE", value_parser = parse_size, requires = "data_dir")]
    journal_size: Option<u64>,
    /// Have the store's memory in pages of 2 MiB, all of them from the start: for millions of keys
    #[arg(long, env = "PANNIER_HUGE_PAGES", value_parser = BoolishValueParser::new())]
    huge_pages: bool,
    /// Log a line for each request and each reply
    #[arg(long, env = "PANNIER_LOG_REQUESTS", value_parser = BoolishValueParser::new())]
    log_requests: bool,
}

/// All that `serve` runs with, checked.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// What the server itself is started with.
    pub server: ServerOptions,
    /// Where the memory limit comes from, for the log: `as set`, or `75% of the container's 64 MiB (/sys/…)`.
    pub memory_source: String,
    /// The file that the password came from, to be read again on SIGHUP.
    pub password_file: Option<PathBuf>,
    /// The file that the admin port's token came from, to be read again on SIGHUP.
    pub admin_token_file: Option<PathBuf>,
    /// Whether addresses that others can reach do without a password and a token.
    pub allow_unauthenticated: bool,
    /// How much is logged.
    pub log_level: LevelFilter,
    /// The file that the level came from, to be read again on SIGHUP.
    pub log_level_file: Option<PathBuf>,
    /// How a log line looks.
    pub log_format: LogFormat,
}

impl ServeArgs {
    /// Checks what single flags cannot tell. `variable` reads a variable of the environment; `root` is `/`, but in tests.
    pub(super) fn resolve(
        self,
        variable: &dyn Fn(&str) -> Option<OsString>,
        root: &Path,
    ) -> Result<ServeOptions, String> {
        let find = |kind: &secret::Kind, file: &Option<PathBuf>| {
            secret::find(kind, file.as_deref(), variable(kind.variable))
        };
        let password = find(&secret::PASSWORD, &self.password_file)?;
        let admin_token = find(&secret::ADMIN_TOKEN, &self.admin_token_file)?;
        let memory = memory::resolve(self.memory, memory::available(root).as_ref())?;
        let log_level = match &self.log_level_file {
            Some(file) => logging::read_level_file(file)?,
            None => self.log_level,
        };
        let mut server = ServerOptions {
            tcp: self.tcp,
            udp: self.udp.unwrap_or(Listen::At(self.tcp)).address(),
            admin: self.admin.address(),
            memory_bytes: memory.bytes,
            on_full: self.on_full,
            databases: self.databases,
            max_value_bytes: self.max_value,
            max_step_keys: self.max_step_keys,
            idle_timeout: self.idle_timeout,
            auth_timeout: self.auth_timeout,
            request_timeout: self.request_timeout,
            write_timeout: self.write_timeout,
            notify_keyspace_events: self.notify_keyspace_events.unwrap_or_default(),
            huge_pages: self.huge_pages,
            password: password.map(Secret::into_bytes),
            admin_token: admin_token.map(Secret::into_bytes),
            data_dir: self.data_dir,
            durability: self.durability.unwrap_or_default(),
            journal_bytes: self.journal_size,
            script_memory_bytes: self.script_memory,
            script_time: self.script_time,
            log_requests: self.log_requests,
            ..ServerOptions::default()
        };
        server.max_clients =
            self.max_clients.map_or_else(|| net::default_max_clients(&server), |count| count as usize);
        net::check(&server).map_err(|error| error.to_string())?;
        let options = ServeOptions {
            server,
            memory_source: memory.source,
            password_file: self.password_file,
            admin_token_file: self.admin_token_file,
            allow_unauthenticated: self.allow_unauthenticated,
            log_level,
            log_level_file: self.log_level_file,
            log_format: self.log_format,
        };
        check_exposure(&options)?;
        Ok(options)
    }

    /// What `serve` would run with here and now.
    ///
    /// # Errors
    /// What a user can get wrong, with a way out.
    pub(super) fn resolve_here(self) -> Result<ServeOptions, Failure> {
        environment::check_names(ServerCli::command, Cli::command).map_err(Failure::usage)?;
        self.resolve(&|name| env::var_os(name), Path::new("/")).map_err(Failure::usage)
    }
}

/// An address that others can reach needs a secret, or the flag that says that none is meant: the password for
/// clients, the token for the admin port.
fn check_exposure(options: &ServeOptions) -> Result<(), String> {
    let server = &options.server;
    let is_wide = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
    if options.allow_unauthenticated {
        return Ok(());
    }
    if let Some(address) = server.admin.filter(is_wide).filter(|_| server.admin_token.is_none()) {
        return Err(format!(
            "--admin {address} can be reached from other machines, and there is no admin token. Set PANNIER_ADMIN_TOKEN \
             or --admin-token-file (the probes /livez and /readyz need none), listen on 127.0.0.1, or disable it with \
             --admin off; --allow-unauthenticated shows metrics to everyone"
        ));
    }
    let addresses = [("--tcp", Some(server.tcp)), ("--udp", server.udp)];
    let exposed = addresses.into_iter().find_map(|(flag, address)| Some((flag, address.filter(is_wide)?)));
    match exposed.filter(|_| server.password.is_none()) {
        None => Ok(()),
        Some((flag, address)) => Err(format!(
            "{flag} {address} can be reached from other machines, and there is no password. Set PANNIER_PASSWORD or \
             --password-file, or listen on 127.0.0.1; --allow-unauthenticated serves everyone"
        )),
    }
}

pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "write an IP address and a port, such as 127.0.0.1:7878, [::1]:7878 or 0.0.0.0:7878".to_owned()
    })
}

fn parse_listen(text: &str) -> Result<Listen, String> {
    if text == "off" { Ok(Listen::Off) } else { parse_address(text).map(Listen::At) }
}

/// The format that `serve` was asked to log in, for what goes wrong before its flags are understood. Other commands
/// speak to people.
pub(super) fn log_format(mut args: impl Iterator<Item = OsString>) -> LogFormat {
    if args.nth(1).is_none_or(|command| command != "serve") {
        return LogFormat::Text;
    }
    let mut format = env::var_os("PANNIER_LOG_FORMAT");
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--log-format") => format = args.next(),
            Some(arg) => format = arg.strip_prefix("--log-format=").map(OsString::from).or(format),
            None => {}
        }
    }
    if format.is_some_and(|format| format == "json") { LogFormat::Json } else { LogFormat::Text }
}

/// Serves until a signal ends it.
pub(super) fn run(args: ServeArgs) -> Result<Exit, Failure> {
    let options = args.resolve_here()?;
    logging::start(options.log_level, options.log_format);
    let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
    log::info!(version, pid; "pannier {version} (pid {pid})");
    let (limit_bytes, source) = (options.server.memory_bytes, &options.memory_source);
    log::info!(limit_bytes, source; "memory limit={limit_bytes} bytes from={source}");
    if !options.server.huge_pages {
        // Where the system makes pages of 2 MiB by itself (`always`), touching a byte would take as much, and what was given
        // back would be filled in again: the ceiling would not hold. A kernel without such pages refuses the call, which is as good.
        let _ = nix::sys::prctl::set_thp_disable(true);
    }
    let reload = reload::hook(&options);
    let served = net::serve_reloading(&options.server, reload);
    log::logger().flush();
    served.map_err(|error| Failure::new(Exit::Refused, error.to_string()))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
