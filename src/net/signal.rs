//! Signals as readable bytes: the handler writes to a pipe that the one poll watches, so that nothing of the server
//! runs in a signal handler.

use super::admin::AdminPort;
use super::log_level;
use crate::admin;
use crate::server::Server;
use mio::net::UnixStream;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, Read};

/// What may change while a server runs; what is `None` stays.
#[derive(Default)]
pub struct Reloaded {
    /// What AUTH and the tags of frames must be made with from now on, at most
    /// [`PASSWORD_BYTES_MAX`](crate::limits::PASSWORD_BYTES_MAX) bytes. Clients that are authenticated stay so.
    pub password: Option<Vec<u8>>,
    /// What the admin port's requests must carry from now on.
    pub admin_token: Option<admin::Token>,
    /// How much is logged from now on.
    pub log_level: Option<log::LevelFilter>,
}

/// Called for each SIGHUP, between two turns of the loop: it should take no longer than reading a small file. It logs
/// its failures itself, and then leaves things as they are.
pub type Reload = Box<dyn FnMut() -> Reloaded + Send>;

/// The reading ends of the signals' pipes.
pub struct Signals {
    stop: UnixStream,
    reload: UnixStream,
    hook: Reload,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP; `hook` is for the last of them.
    ///
    /// # Errors
    /// What the system says when pipes or handlers cannot be had.
    pub fn install(hook: Reload) -> io::Result<Signals> {
        let (mut signals, [stop_writer, reload_writer]) = Signals::pipes()?;
        signal_hook::low_level::pipe::register(SIGTERM, stop_writer.try_clone()?)?;
        signal_hook::low_level::pipe::register(SIGINT, stop_writer)?;
        signal_hook::low_level::pipe::register(SIGHUP, reload_writer)?;
        signals.hook = hook;
        Ok(signals)
    }

    /// Takes no signal over: a byte written to the first of the two ends asks to stop, one to the second to reload.
    ///
    /// # Errors
    /// What the system says when pipes cannot be had.
    pub fn pipes() -> io::Result<(Signals, [std::os::unix::net::UnixStream; 2])> {
        let (stop, stop_writer) = std::os::unix::net::UnixStream::pair()?;
        let (reload, reload_writer) = std::os::unix::net::UnixStream::pair()?;
        for stream in [&stop, &reload] {
            stream.set_nonblocking(true)?;
        }
        let (stop, reload) = (UnixStream::from_std(stop), UnixStream::from_std(reload));
        let signals = Signals { stop, reload, hook: Box::new(Reloaded::default) };
        Ok((signals, [stop_writer, reload_writer]))
    }

    /// The streams to register for reading.
    pub fn sources(&mut self) -> [&mut UnixStream; 2] {
        [&mut self.stop, &mut self.reload]
    }

    /// The requests that have come since the last call: how many times to stop, and whether to reload.
    pub fn take(&mut self) -> (usize, bool) {
        (drain(&mut self.stop), drain(&mut self.reload) > 0)
    }

    /// Asks for what may have changed, and gives it to the server, to the admin port and to the log.
    pub fn reload(&mut self, server: &mut Server, admin: Option<&mut AdminPort>) {
        let Reloaded { password, admin_token, log_level } = (self.hook)();
        if let (Some(admin), Some(token)) = (admin, admin_token) {
            admin.set_token(token);
        }
        if let Some(password) = password {
            server.change_password(&password);
        }
        if let Some(level) = log_level {
            log::set_max_level(level);
            server.engine_mut().runtime.log_level = log_level::nearest(level);
        }
    }
}

/// Reads what waits in a pipe, one byte for each signal; bounded, since more than a few mean the same as two.
fn drain(stream: &mut UnixStream) -> usize {
    let mut bytes = [0; 64];
    stream.read(&mut bytes).unwrap_or_default()
}
