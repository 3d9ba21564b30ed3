//! From options to a server whose sockets are bound: the checks, the memory, the secrets, the addresses.

use super::admin::AdminPort;
use super::budget::Budget;
use super::listener::Listener;
use super::persistence::Persistence;
use super::reactor::{Reactor, Sockets};
use super::signal::Signals;
use super::udp::UdpPort;
use super::{ServerOptions, StartError, clock, descriptors, log_level, process};
use crate::admin::Token;
use crate::config::OnFull;
use crate::engine::Engine;
use crate::frames::{self, FrameServer};
use crate::limits::{KIB, MIB};
use crate::mutation::Revision;
use crate::server::{Resources, Server};
use crate::store::{FIRST_REVISION_MAX, Store, StoreConfig};
use std::io;
use std::net::SocketAddr;

/// A server whose sockets are bound, so that clients may come; it does not serve yet.
pub(super) struct Bound {
    reactor: Reactor,
    pub(super) tcp: SocketAddr,
    pub(super) udp: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Bound {
    pub(super) fn new(asked: &ServerOptions, signals: Signals) -> Result<Bound, StartError> {
        let budget = check(asked)?;
        let max_clients = descriptors::reserve(asked.max_clients)?;
        let listener = Listener::bind(asked.tcp, budget.receive_bytes)
            .map_err(|error| bind_error("--tcp", asked.tcp, &error))?;
        let tcp = listener.local_address().unwrap_or(asked.tcp);
        // From here on the options say what holds, not what was asked for.
        let options = &ServerOptions { tcp, max_clients, ..asked.clone() };
        let mut server = build_server(options)?;
        let port = options.udp.map(|wanted| bind_udp(wanted, asked.tcp, tcp)).transpose()?;
        let udp = port.as_ref().and_then(|port| port.local_address().ok());
        let admin_port =
            options.admin.map(|address| bind_admin(address, admin_token(options)?)).transpose()?;
        let admin = admin_port.as_ref().and_then(|port| port.local_address().ok());
        server.engine_mut().runtime.log_level = log_level::nearest(log::max_level());
        let process_stats = &mut server.engine_mut().process_stats;
        process_stats.started_unix_ms = clock::Clock::start().now().unix.0;
        process_stats.tcp_port = tcp.port();
        process_stats.udp_port = udp.map_or(0, |udp| udp.port());
        log_start(options, udp);
        let sockets = Sockets { listener, udp: port, admin: admin_port, signals };
        let no_poll = |error| StartError(format!("the poll cannot be set up: {error}"));
        let mut reactor = Reactor::new(sockets, server, options.max_clients).map_err(no_poll)?;
        if let Some(path) = &options.data_dir {
            let waker = reactor.disk_waker().map_err(no_poll)?;
            let journal = (budget.journal_buffer_bytes, random_secret()?[0]);
            reactor.remember(Persistence::open((path, options), journal, waker)?);
        }
        Ok(Bound { reactor, tcp, udp, admin })
    }

    pub(super) fn run(mut self) -> Result<(), StartError> {
        let at = |bound: Option<SocketAddr>| bound.map_or("off".to_owned(), |bound| bound.to_string());
        let (tcp, udp, admin) = (self.tcp, at(self.udp), at(self.admin));
        log::info!(
            tcp:%, udp:%, admin:%;
            "listening tcp={tcp} udp={udp} admin={admin}"
        );
        self.reactor.run()
    }
}

/// Says what a reader of the log wants to know of this run; who can get in without a password is a warning.
fn log_start(options: &ServerOptions, udp: Option<SocketAddr>) {
    let (on_full, text) = match options.on_full {
        OnFull::Refuse => ("refuse", "writes are refused, nothing is dropped"),
        OnFull::Evict => ("evict", "the least used keys are dropped"),
    };
    log::info!(on_full; "when full: {text}");
    let password = if options.password.is_some() { "set" } else { "none" };
    log::info!(password; "password: {password}");
    let wide = [Some(options.tcp), udp].into_iter().flatten();
    if let Some(address) = wide.into_iter().find(|address| !address.ip().to_canonical().is_loopback())
        && options.password.is_none()
    {
        log::warn!(
            address:%, reason = "no password";
            "no password is set and {address} is not loopback: everybody who can reach it can read and change everything"
        );
    }
}

/// Checks what can be checked before anything is opened.
///
/// # Errors
/// A field is out of its bounds, or the memory limit is too small; the text says what to do.
pub(super) fn check(options: &ServerOptions) -> Result<Budget, StartError> {
    options.check().map_err(StartError)?;
    admin_token(options)?;
    Budget::divide(options)
}

pub(super) fn build_server(options: &ServerOptions) -> Result<Server, StartError> {
    let budget = Budget::divide(options)?;
    let memory_bytes = options.memory_bytes();
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
        // With a data directory they go on where they were.
        first_revision: match &options.data_dir {
            None => Revision(random_secret()?[0] % FIRST_REVISION_MAX),
            Some(_) => Revision(0),
        },
        feed_bytes: budget.feed_bytes,
        huge_pages: options.huge_pages,
        ..StoreConfig::default()
    };
    let store = Store::new(config, random_secret()?).map_err(|small| {
        StartError(format!(
            "a memory limit of {} KiB is too small for the store, which needs {} KiB of it: raise --memory",
            memory_bytes / KIB,
            small.needed_bytes / KIB
        ))
    })?;
    if options.huge_pages && !store.has_huge_pages() {
        log::warn!(
            "this system has no huge pages, so --huge-pages does nothing but keep buffers from lending memory to data"
        );
    }
    let mut engine = Engine::new(store, options.clone());
    engine.seed_random(random_secret()?[0]);
    engine.set_run_id(random_bytes()?);
    let epoch_and_cookies = random_secret()?;
    let datagrams = FrameServer::new(&frames::Config {
        password: options.password.as_deref(),
        clients_max: budget.udp_clients,
        ..frames::Config::new((epoch_and_cookies[0] as u32).max(1), random_secret()?)
    });
    let resources = Resources {
        input_bytes: budget.input_bytes,
        output_bytes: budget.output_bytes,
        queue_bytes: budget.queue_bytes,
        subscription_bytes: budget.subscription_bytes,
        tracking_bytes: budget.tracking_bytes,
        floors: Some(budget.floors),
        clock_us: clock::micros,
        fill_process_stats: process::process_stats,
    };
    Ok(Server::new(engine, datagrams, resources))
}

/// A key for the store's hash from the system's random source.
pub(super) fn random_secret() -> Result<[u64; 2], StartError> {
    let number = u128::from_ne_bytes(random_bytes()?);
    Ok([number as u64, (number >> 64) as u64])
}

/// Bytes from the system's random source.
fn random_bytes<const LEN: usize>() -> Result<[u8; LEN], StartError> {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes)
        .map_err(|error| StartError(format!("no random numbers can be had: {error}")))?;
    Ok(bytes)
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

fn admin_token(options: &ServerOptions) -> Result<Option<Token>, StartError> {
    let token = options.admin_token.as_deref().map(Token::new).transpose();
    token.map_err(|error| StartError(error.to_string()))
}

fn bind_admin(address: SocketAddr, token: Option<Token>) -> Result<AdminPort, StartError> {
    AdminPort::bind(address, token)
        .map_err(|error| bind_error("--admin, or disable it with --admin off", address, &error))
}

fn bind_error(flag: &str, address: SocketAddr, error: &io::Error) -> StartError {
    StartError(match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{address} is in use: another server listens there; stop it, or choose another address with {flag}"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "{address} may not be bound: ports below 1024 need a privilege; choose another address with {flag}"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{address} is no address of this machine; choose another address with {flag}")
        }
        _ => format!("{address} cannot be bound: {error}"),
    })
}
