//! Signals as readable bytes: the handler writes to a pipe that the one poll watches, so that nothing of the server
//! runs in a signal handler.

use mio::net::UnixStream;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, Read};

/// The reading ends of the signals' pipes.
pub struct Signals {
    stop: UnixStream,
    reload: UnixStream,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP.
    ///
    /// # Errors
    /// What the system says when pipes or handlers cannot be had.
    pub fn install() -> io::Result<Signals> {
        let (signals, [stop_writer, reload_writer]) = Signals::pipes()?;
        signal_hook::low_level::pipe::register(SIGTERM, stop_writer.try_clone()?)?;
        signal_hook::low_level::pipe::register(SIGINT, stop_writer)?;
        signal_hook::low_level::pipe::register(SIGHUP, reload_writer)?;
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
        let signals = Signals { stop: UnixStream::from_std(stop), reload: UnixStream::from_std(reload) };
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
}

/// Reads what waits in a pipe, one byte for each signal; bounded, since more than a few mean the same as two.
fn drain(stream: &mut UnixStream) -> usize {
    let mut bytes = [0; 64];
    stream.read(&mut bytes).unwrap_or_default()
}
