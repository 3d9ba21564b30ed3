//! The terminal: keys as they are pressed, its other screen, and everything as it was once this is left. Plain escape
//! sequences that every terminal of the last thirty years knows; the modes by `rustix`.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{has_keyboard, now};

/// The other screen, without a cursor, without wrapping lines.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// How often signals and the size are looked at while waiting.
const SLICE: Duration = Duration::from_millis(100);

/// Why waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    InTime,
    Resized,
    Quit,
}

/// Columns and lines.
pub(super) type Size = (usize, usize);

/// A terminal that has been taken over.
pub(super) struct Terminal {
    /// The modes as they were; `None` where keys cannot be read.
    before: Option<Termios>,
    size: Size,
    quit: Arc<AtomicBool>,
}

impl Terminal {
    /// Takes the terminal over; `out` goes to it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn enter(out: &mut dyn Write) -> io::Result<Terminal> {
        let quit = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&quit))?;
        }
        let before = has_keyboard().then(|| tcgetattr(io::stdin())).transpose()?;
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            // Keys that were pressed while the program started count.
            tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        }
        // From here on, dropping it puts everything back.
        let terminal = Terminal { before, size: size(), quit };
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(terminal)
    }

    /// Puts everything back as it was; once.
    pub(super) fn leave(&mut self) {
        // Straight to the terminal: what is left in a buffer belongs to the screen that goes.
        let _ = rustix::io::write(io::stdout().as_fd(), LEAVE.as_bytes());
        if let Some(before) = self.before.take() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &before);
        }
    }

    /// As it was when it was last looked at.
    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// Waits until then, or for a key or signal that ends it, or for another size.
    ///
    /// # Errors
    /// What the system says of the keyboard.
    pub(super) fn wait(&mut self, until: Instant) -> io::Result<Woken> {
        loop {
            if self.quit.load(Ordering::Relaxed) {
                return Ok(Woken::Quit);
            }
            let size = size();
            if size != self.size {
                self.size = size;
                return Ok(Woken::Resized);
            }
            let left = until.saturating_duration_since(now());
            if left.is_zero() {
                return Ok(Woken::InTime);
            }
            if self.before.is_none() {
                std::thread::sleep(left.min(SLICE));
            } else if key_within(left.min(SLICE))? && pressed_quit()? {
                return Ok(Woken::Quit);
            }
        }
    }
}

/// The size of the terminal; the usual one where it does not tell.
fn size() -> Size {
    match tcgetwinsize(io::stdout()) {
        Ok(found) if found.ws_col > 0 && found.ws_row > 0 => (found.ws_col.into(), found.ws_row.into()),
        _ => (80, 24),
    }
}

fn key_within(time: Duration) -> io::Result<bool> {
    let stdin = io::stdin();
    let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
    let limit = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
    match poll(&mut watched, Some(&limit)) {
        Ok(ready) => Ok(ready > 0),
        // A signal: its flag is looked at next.
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether q, Ctrl-C or Ctrl-D was pressed, or the keyboard is gone.
fn pressed_quit() -> io::Result<bool> {
    let mut keys = [0; 64];
    let count = io::stdin().lock().read(&mut keys)?;
    Ok(count == 0 || keys[..count].iter().any(|key| matches!(key, b'q' | b'Q' | 3 | 4)))
}
