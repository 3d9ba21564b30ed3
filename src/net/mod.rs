//! Sockets and the one loop over them: the only part of the server that does I/O or reads a clock.
//!
//! [`serve`] serves until a signal ends the process, as `pannier serve` does; [`Handle`] is a server on a thread of a
//! process that does something else too, such as a test.

mod acceptor;
mod admin;
mod budget;
mod clock;
mod data_dir;
mod descriptors;
mod disk;
mod handle;
mod listener;
mod log_level;
mod loop_stats;
mod notify;
mod offline;
mod peers;
mod persistence;
mod process;
mod reactor;
mod refusals;
mod signal;
mod start;
mod udp;
mod udp_health;

pub use crate::config::{OnFull, ServerOptions};
#[doc(hidden)]
pub use budget::default_max_clients;
#[doc(hidden)]
pub use data_dir::{DataDir, Lock};
pub use handle::Handle;
#[doc(hidden)]
pub use offline::Offline;
#[doc(hidden)]
pub use process::process_stats as fill_process_stats;
#[doc(hidden)]
pub use signal::{Reload, Reloaded};

use crate::pages;
use signal::Signals;
use start::Bound;
use std::fmt;

/// Why a server did not start or did not go on, in words that say what to do.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Checks what can be checked before anything is opened.
///
/// # Errors
/// A field is out of its bounds, or the memory limit is too small; the text says what to do.
#[doc(hidden)]
pub fn check(options: &ServerOptions) -> Result<(), StartError> {
    start::check(options).map(drop)
}

/// Starts a server and serves until SIGTERM, SIGINT or the command SHUTDOWN ends it. SIGHUP does nothing.
///
/// It takes over these signals of the whole process; [`Handle`] leaves them alone.
///
/// # Errors
/// The address is in use, the memory limit too small, or the system refuses; the text says what to do.
pub fn serve(options: &ServerOptions) -> Result<(), StartError> {
    serve_reloading(options, Box::new(Reloaded::default))
}

/// As [`serve`]; SIGHUP calls `reload`.
///
/// # Errors
/// As [`serve`].
#[doc(hidden)]
pub fn serve_reloading(options: &ServerOptions, reload: Reload) -> Result<(), StartError> {
    let signals = Signals::install(reload)
        .map_err(|error| StartError(format!("signals cannot be taken over: {error}")))?;
    let bound = Bound::new(options, signals)?;
    pages::drop_what_the_start_needed();
    notify::ready();
    bound.run()
}
