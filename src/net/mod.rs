//! Sockets and the one loop over them: the only part of the server that does I/O or reads a clock.

mod acceptor;
mod admin;
mod clock;
mod handle;
mod listener;
mod log_level;
mod loop_stats;
mod notify;
mod peers;
mod process;
mod reactor;
mod signal;
mod udp;
mod udp_health;

use crate::engine::{Engine, settings::EngineConfig};
use crate::frames::{self, FrameServer};
use crate::limits::{KIB, MIB, UDP_CLIENTS_DEFAULT};
use crate::mutation::Revision;
use crate::server::{Server, Settings};
use crate::store::{FIRST_REVISION_MAX, OnFull, Store, StoreConfig};
use admin::AdminPort;
use listener::Listener;
pub use process::process_stats as fill_process_stats;
use reactor::{Reactor, Sockets};
use signal::Signals;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use udp::UdpPort;

pub use handle::Handle;
pub use signal::{Reload, Reloaded};

/// All that a server needs to know to start.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where to listen for TCP; port 0 takes a free one.
    pub tcp: SocketAddr,
    /// Where to listen for datagrams, if at all; with port 0, on the port that TCP got if that is free too.
    pub udp: Option<SocketAddr>,
    /// Where to listen for probes and metrics by HTTP, if at all; port 0 takes a free one.
    pub admin: Option<SocketAddr>,
    /// Bytes that the whole process may use.
    pub memory_bytes: u64,
    /// Where that number came from, for the log.
    pub memory_origin: String,
    /// What happens to writes when the memory is used up.
    pub on_full: OnFull,
    /// Clients at once.
    pub max_clients: usize,
    /// Databases that SELECT can name, 1 to 16.
    pub databases: u8,
    /// Bytes of one value, at most.
    pub max_value_bytes: u64,
    /// Milliseconds; 0: never.
    pub idle_timeout_ms: u64,
    /// Milliseconds.
    pub request_timeout_ms: u64,
    /// Milliseconds.
    pub write_timeout_ms: u64,
    /// What clients must give to AUTH, if anything.
    pub password: Option<Vec<u8>>,
    /// One log line for each request and reply.
    pub log_requests: bool,
}

/// Why a server did not start, in words that say what to do.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// How the memory limit is divided.
struct Budget {
    store_bytes: usize,
    input_bytes: usize,
    output_bytes: usize,
    queue_bytes: usize,
    udp_clients: usize,
}

/// Memory that the process takes whatever it serves: its code, stacks, and tables for `max_clients` connections
/// that are counted apart.
const PROCESS_BYTES: usize = 3 * MIB;
/// Bytes of one connection besides its buffers: its state, its timer, its place in the queues.
const CONNECTION_BYTES: usize = 640;

impl Budget {
    /// Divides `memory_bytes`: each direction's buffers get a sixteenth (at least 1 MiB, at most 64 MiB), the store
    /// what is left.
    fn divide(memory_bytes: usize, max_clients: usize, admin: bool) -> Result<Budget, StartError> {
        let share = (memory_bytes / 16).clamp(MIB, 64 * MIB);
        // The at-most-once table gets as much as one direction's buffers, or what its usual number of clients takes.
        let per_client = FrameServer::memory_bytes(2) - FrameServer::memory_bytes(1);
        let udp_clients = (share / per_client).clamp(16, UDP_CLIENTS_DEFAULT);
        let fixed = PROCESS_BYTES
            + 2 * share
            + share / 2
            + FrameServer::memory_bytes(udp_clients)
            + max_clients.min(1024) * CONNECTION_BYTES
            + if admin { AdminPort::MEMORY_BYTES } else { 0 };
        let store_bytes = memory_bytes.saturating_sub(fixed);
        if store_bytes < 2 * MIB {
            let needed = fixed + 2 * MIB;
            return Err(StartError(format!(
                "a memory limit of {} KiB is too small: {} KiB are needed (--memory {}MiB)",
                memory_bytes / KIB,
                needed.div_ceil(KIB),
                needed.div_ceil(MIB)
            )));
        }
        Ok(Budget {
            store_bytes,
            input_bytes: share,
            output_bytes: share,
            queue_bytes: share / 2,
            udp_clients,
        })
    }
}

/// Checks what can be told before anything is opened.
///
/// # Errors
/// The memory limit is too small; the text says how much is needed.
pub fn check(options: &ServerOptions) -> Result<(), StartError> {
    let memory_bytes = usize::try_from(options.memory_bytes).unwrap_or(usize::MAX);
    Budget::divide(memory_bytes, options.max_clients, options.admin.is_some()).map(drop)
}

/// Starts a server and serves until it is told to stop. SIGHUP calls `reload`.
///
/// # Errors
/// The address is taken, the memory limit too small, or the system refuses; the text says what to do.
pub fn serve(options: &ServerOptions, reload: Reload) -> Result<(), StartError> {
    let signals = Signals::install(reload)
        .map_err(|error| StartError(format!("signals cannot be taken over: {error}")))?;
    let bound = Bound::new(options, signals)?;
    notify::ready();
    bound.run()
}

/// A server whose sockets are bound, so that clients may come; it does not serve yet.
struct Bound {
    reactor: Reactor,
    tcp: SocketAddr,
    udp: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Bound {
    fn new(options: &ServerOptions, signals: Signals) -> Result<Bound, StartError> {
        let memory_bytes = usize::try_from(options.memory_bytes).unwrap_or(usize::MAX);
        raise_descriptor_limit(options.max_clients);
        let listener =
            Listener::bind(options.tcp).map_err(|error| bind_error("--tcp", options.tcp, &error))?;
        let tcp = listener.local_address().unwrap_or(options.tcp);
        let mut server = build_server(options, memory_bytes, tcp)?;
        log::info!("pannier {} (pid {})", env!("CARGO_PKG_VERSION"), std::process::id());
        log::info!("memory limit={} bytes from={}", options.memory_bytes, options.memory_origin);
        log::info!(
            "when full: {}",
            match options.on_full {
                OnFull::Refuse => "writes are refused, nothing is dropped",
                OnFull::Evict => "the least used keys are dropped",
            }
        );
        let port = options.udp.map(|wanted| bind_udp(wanted, options.tcp, tcp)).transpose()?;
        let udp = port.as_ref().and_then(|port| port.local_address().ok());
        let admin_port = options.admin.map(bind_admin).transpose()?;
        let admin = admin_port.as_ref().and_then(|port| port.local_address().ok());
        server.engine_mut().settings.log_level = log_level::nearest(log::max_level());
        let process_stats = &mut server.engine_mut().process_stats;
        process_stats.started_unix_ms = clock::Clock::start().now().unix.0;
        process_stats.tcp_port = tcp.port();
        process_stats.udp_port = udp.map_or(0, |udp| udp.port());
        let sockets = Sockets { listener, udp: port, admin: admin_port, signals };
        let reactor = Reactor::new(sockets, server, options.max_clients)
            .map_err(|error| StartError(format!("the poll cannot be set up: {error}")))?;
        Ok(Bound { reactor, tcp, udp, admin })
    }

    fn run(mut self) -> Result<(), StartError> {
        let at = |bound: Option<SocketAddr>| bound.map_or("off".to_owned(), |bound| bound.to_string());
        log::info!("listening tcp={} udp={} admin={}", self.tcp, at(self.udp), at(self.admin));
        self.reactor.run().map_err(|error| StartError(format!("polling failed: {error}")))
    }
}

fn build_server(
    options: &ServerOptions,
    memory_bytes: usize,
    address: SocketAddr,
) -> Result<Server, StartError> {
    let budget = Budget::divide(memory_bytes, options.max_clients, options.admin.is_some())?;
    // Where the system refuses so much, this can say so; an allocator in the midst of things cannot.
    Vec::<u8>::new().try_reserve_exact(memory_bytes).map_err(|_| {
        StartError(format!(
            "the system does not give {} MiB of memory; choose a smaller --memory, or raise what it allows (ulimit -v, \
             vm.overcommit_memory)",
            memory_bytes / MIB
        ))
    })?;
    let config = StoreConfig {
        memory_bytes: budget.store_bytes,
        databases: options.databases,
        on_full: options.on_full,
        max_value_bytes: options.max_value_bytes,
        first_revision: Revision(random_secret()?[0] % FIRST_REVISION_MAX),
        ..StoreConfig::default()
    };
    let store = Store::new(config, random_secret()?).map_err(|small| {
        StartError(format!(
            "a memory limit of {} KiB is too small for the store, which needs {} KiB of it: raise --memory",
            memory_bytes / KIB,
            small.needed_bytes / KIB
        ))
    })?;
    let engine = Engine::new(
        store,
        EngineConfig {
            password: options.password.clone(),
            memory_limit_bytes: memory_bytes,
            databases: options.databases,
            idle_timeout_s: u32::try_from(options.idle_timeout_ms / 1_000).unwrap_or(u32::MAX),
            max_clients: options.max_clients,
            port: address.port(),
            bind: address.ip().to_string(),
            seed: random_secret()?[0],
            ..EngineConfig::default()
        },
    );
    let epoch_and_cookies = random_secret()?;
    let datagrams = FrameServer::new(&frames::Config {
        password: options.password.as_deref(),
        clients_max: budget.udp_clients,
        ..frames::Config::new((epoch_and_cookies[0] as u32).max(1), random_secret()?)
    });
    Ok(Server::new(
        engine,
        datagrams,
        Settings {
            max_clients: options.max_clients,
            request_timeout_ms: options.request_timeout_ms,
            write_timeout_ms: options.write_timeout_ms,
            idle_timeout_ms: options.idle_timeout_ms,
            input_bytes: budget.input_bytes,
            output_bytes: budget.output_bytes,
            queue_bytes: budget.queue_bytes,
            address,
            log_requests: options.log_requests,
            clock_us: clock::micros,
            fill_process_stats: process::process_stats,
        },
    ))
}

/// A key for the store's hash from the system's random source.
fn random_secret() -> Result<[u64; 2], StartError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| StartError(format!("no random numbers can be had: {error}")))?;
    let number = u128::from_ne_bytes(bytes);
    Ok([number as u64, (number >> 64) as u64])
}

/// Each client takes a descriptor; the soft limit is often 1,024 where the hard one is far higher.
fn raise_descriptor_limit(max_clients: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let wanted = max_clients as u64 + 32;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    limit.current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
    let _ = setrlimit(Resource::Nofile, limit);
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if now < wanted {
        log::warn!(
            "only {now} descriptors may be open: fewer than --max-clients {max_clients} can be served at once"
        );
    }
}

/// Binds the datagram socket: at the same port as TCP where the same, free one was asked for.
fn bind_udp(wanted: SocketAddr, tcp_wanted: SocketAddr, tcp: SocketAddr) -> Result<UdpPort, StartError> {
    let address = if wanted == tcp_wanted { tcp } else { wanted };
    match UdpPort::bind(address) {
        // Any port was asked for: TCP's is only the one that is nicest.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && wanted.port() == 0 => UdpPort::bind(wanted),
        result => result,
    }
    .map_err(|error| bind_error("--udp", address, &error))
}

fn bind_admin(address: SocketAddr) -> Result<AdminPort, StartError> {
    AdminPort::bind(address)
        .map_err(|error| bind_error("--admin (or have none by --admin off)", address, &error))
}

fn bind_error(flag: &str, address: SocketAddr, error: &io::Error) -> StartError {
    StartError(match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{address} is in use: another server listens there; stop it, or choose another address by {flag}"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "{address} may not be bound: ports below 1024 need a privilege; choose another address by {flag}"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{address} is no address of this machine; choose another address by {flag}")
        }
        _ => format!("{address} cannot be bound: {error}"),
    })
}
