//! `pannier top`: what a server is doing, polled by INFO, so that it works remotely and with a
//! password. On a terminal it is a screen that is redrawn; elsewhere a line for each interval, or a JSON object.
//!
//! | file | what lives there |
//! |---|---|
//! | `sample.rs` | one INFO as numbers, and what two of them say of the time between |
//! | `screen.rs` | the screen's lines, made from them |
//! | `rows.rs` | the lines and objects for files and programs |
//! | `terminal.rs` | the terminal: raw keys, its other screen, and back again whatever happens |

mod rows;
mod sample;
mod screen;
mod terminal;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;

use super::{
    Exit, Failure,
    output::{Style, printable},
    server_args::ServerArgs,
    units::parse_positive_duration,
};
use crate::client::{Client, Error};
use rows::Rows;
use sample::{Rates, Sample};
use screen::{Look, Screen};
use terminal::{Terminal, Woken};

/// An interval shorter than this would mostly measure itself.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// A server that does not answer holds the keyboard up for so long at most.
const TIMEOUT_MAX: Duration = Duration::from_secs(2);

#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// Time from one look to the next
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_positive_duration)]
    interval: Duration,
    /// End after so many intervals [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Where the figures go.
enum Display {
    Screen { terminal: Terminal, screen: Box<Screen> },
    Rows(Rows),
}

/// What an interval came to.
enum Seen {
    Rates(Box<Rates>),
    Gone(String),
}

impl TopArgs {
    pub(super) fn run(mut self, out: &mut dyn Write) -> Result<Exit, Failure> {
        self.server.limit_timeout(TIMEOUT_MAX);
        let mut watch = Watch { client: self.server.connect()?, previous: None };
        // Where the first look fails, there is nothing to retry: the command line may be wrong.
        watch.look().map_err(|error| self.explain(error))?;
        let mut display = self.display(out)?;
        let interval = self.interval.max(INTERVAL_MIN);
        let mut next = now() + interval;
        let mut left = self.count;
        display.begin(out)?;
        loop {
            if display.wait(next, out)? == Woken::Quit {
                return Ok(Exit::Done);
            }
            // Intervals that were missed are not made up for.
            next = (next + interval).max(now());
            let seen = match watch.look() {
                Ok(Some(rates)) => Seen::Rates(Box::new(rates)),
                Ok(None) => continue,
                Err(Trouble::Call(error)) if error.is_safe_to_retry() => {
                    Seen::Gone(printable(error.to_string().as_bytes()))
                }
                Err(trouble) => return Err(self.explain(trouble)),
            };
            display.show(&seen, out)?;
            left = left.map(|left| left - 1);
            if left == Some(0) {
                return Ok(match seen {
                    Seen::Rates(_) => Exit::Done,
                    Seen::Gone(_) => Exit::Unreachable,
                });
            }
        }
    }

    fn display(&self, out: &mut dyn Write) -> Result<Display, Failure> {
        if self.server.style() != Style::Terminal {
            return Ok(Display::Rows(Rows::new(self.server.style() == Style::Json)));
        }
        let screen = Box::new(Screen::new(self.server.name().to_owned(), Look::of_environment()));
        Ok(Display::Screen { terminal: Terminal::enter(out)?, screen })
    }

    fn explain(&self, trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Call(error) => self.server.explain(error),
            Trouble::NotPannier(missing) => Failure::new(
                Exit::Refused,
                format!("INFO of {} has no {missing}: it is no Pannier, or an older one", self.server.name()),
            ),
        }
    }
}

impl Display {
    /// Before the first interval has passed.
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Display::Screen { terminal, screen } => screen.draw(terminal.size(), out),
            Display::Rows(_) => Ok(()),
        }
    }

    fn show(&mut self, seen: &Seen, out: &mut dyn Write) -> io::Result<()> {
        match (self, seen) {
            (Display::Screen { terminal, screen }, seen) => {
                match seen {
                    Seen::Rates(rates) => screen.rates = Some(rates.as_ref().clone()),
                    Seen::Gone(_) => {}
                }
                screen.gone = match seen {
                    Seen::Rates(_) => None,
                    Seen::Gone(why) => Some(why.clone()),
                };
                screen.draw(terminal.size(), out)
            }
            (Display::Rows(rows), Seen::Rates(rates)) => rows.rates(rates, out),
            (Display::Rows(rows), Seen::Gone(why)) => rows.gone(why, out),
        }
    }

    /// Waits for the next interval; redraws when the terminal changes its size.
    fn wait(&mut self, until: Instant, out: &mut dyn Write) -> io::Result<Woken> {
        match self {
            Display::Rows(_) => {
                std::thread::sleep(until.saturating_duration_since(now()));
                Ok(Woken::InTime)
            }
            Display::Screen { terminal, screen } => loop {
                match terminal.wait(until)? {
                    Woken::Resized => screen.draw(terminal.size(), out)?,
                    woken => return Ok(woken),
                }
            },
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Display::Screen { terminal, .. } = self {
            terminal.leave();
        }
    }
}

/// Why there is no sample.
enum Trouble {
    Call(Error),
    /// A field of INFO is not there.
    NotPannier(&'static str),
}

/// A server that is looked at.
struct Watch {
    client: Client,
    previous: Option<Sample>,
}

impl Watch {
    /// Takes a sample; what happened since the one before, if there is one.
    fn look(&mut self) -> Result<Option<Rates>, Trouble> {
        let info = self.client.info(Some("everything")).map_err(Trouble::Call)?;
        let sample = Sample::parse(&info).map_err(Trouble::NotPannier)?;
        let rates = self.previous.as_ref().map(|previous| Rates::between(previous, &sample));
        self.previous = Some(sample);
        Ok(rates)
    }
}

/// The clock of the command line, which paces the intervals; rates come from the server's.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

/// Whether a variable of the environment is set to something.
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Whether keys can be read from standard input.
fn has_keyboard() -> bool {
    io::stdin().is_terminal()
}
