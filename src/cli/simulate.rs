//! `pannier simulate`: the simulator over many seeds, and what it found.

use std::{
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Exit, Failure, units::parse_duration};
use crate::sim::{self, Fault, Plan, Report};

/// Run server, clients and a bad network in one thread from a seed, and check every answer
///
/// The same seed is the same run, on every machine. Exit code 0: every promise held in every run; 1: one was broken, and
/// the seed, the last events and the command that repeats it are printed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pannier simulate --seeds 1000                 the seeds 0 to 999
  pannier simulate --duration 1h --jobs 2       as many as can be run in an hour, on two processors
  pannier simulate --seed 17 --steps 500        one seed alone, shorter
  pannier simulate --seed 17 --without loss     and without one of its faults")]
pub(crate) struct SimulateArgs {
    /// The first seed [default: 0; of a single run 1, which has clients of both kinds and datagrams that are lost]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Begin new seeds for so long, instead of a number of them
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "seeds")]
    duration: Option<Duration>,
    /// Events with faults in each run; healing and last requests come on top
    #[arg(long, default_value_t = sim::STEPS, value_name = "M")]
    steps: u32,
    /// Runs at the same time, each in a thread of its own
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    jobs: u64,
    /// Faults that are not to happen, by their names in the report
    #[arg(long, value_name = "FAULT", value_delimiter = ',', value_parser = parse_fault)]
    without: Vec<Fault>,
    /// UDP clients, instead of as many as the seed says
    #[arg(long, value_name = "N", value_parser = parse_clients)]
    udp_clients: Option<usize>,
    /// TCP clients, instead of as many as the seed says
    #[arg(long, value_name = "N", value_parser = parse_clients)]
    tcp_clients: Option<usize>,
    /// Print every event of the run, if it is one seed alone
    #[arg(long)]
    trace: bool,
}

fn parse_fault(name: &str) -> Result<Fault, String> {
    Fault::ALL.iter().copied().find(|fault| fault.name() == name).ok_or_else(|| {
        let names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        format!("no such fault; there are {}", names.join(", "))
    })
}

fn parse_clients(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count <= sim::CLIENTS_MAX).ok_or(format!("0 to {}", sim::CLIENTS_MAX))
}

/// `1 run`, `1000 runs`
fn runs(count: u64) -> String {
    format!("{count} {}", if count == 1 { "run" } else { "runs" })
}

/// What came of some seeds: the sum, and the first that failed.
#[derive(Default)]
struct Outcome {
    report: Report,
    failed: Option<u64>,
}

impl SimulateArgs {
    /// Runs the seeds and prints what came of them.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let plan = Plan {
            steps: self.steps,
            without: self.without.clone(),
            udp_clients: self.udp_clients,
            tcp_clients: self.tcp_clients,
            trace: false,
        };
        if self.trace && self.seeds == 1 && self.duration.is_none() {
            for line in sim::trace(self.first_seed(), &plan) {
                writeln!(out, "{line}")?;
            }
        }
        let outcome = self.run_seeds(&plan);
        write!(out, "{}", outcome.report)?;
        let Some(seed) = outcome.failed else {
            writeln!(out, "\nPASSED: every promise held in {}", runs(outcome.report.seeds))?;
            return Ok(Exit::Done);
        };
        writeln!(out, "\nFAILED: seed {seed} broke a promise; it is made smaller now")?;
        out.flush()?;
        match sim::shrink(seed, &plan) {
            Some(failure) => write!(out, "\n{failure}")?,
            None => writeln!(
                out,
                "\nseed {seed} failed once and not again: the run depends on more than its seed"
            )?,
        }
        Ok(Exit::Refused)
    }

    fn first_seed(&self) -> u64 {
        let is_single = self.seeds == 1 && self.duration.is_none();
        self.seed.unwrap_or(u64::from(is_single))
    }

    /// How many seeds have been run, on stderr, where that is a terminal.
    fn progress(&self) -> ProgressBar {
        let (bar, template) = match self.duration {
            Some(_) => (ProgressBar::new_spinner(), "{pos} seeds  {elapsed}"),
            None if self.seeds > 1 => (ProgressBar::new(self.seeds), "{wide_bar} {pos}/{len} seeds  {eta}"),
            None => (ProgressBar::hidden(), "{pos}"),
        };
        bar.with_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        )
    }

    /// Hands the seeds out to as many threads as were asked for; no more are begun once one has failed.
    #[allow(clippy::disallowed_methods)] // How long it goes on; no run depends on it.
    fn run_seeds(&self, plan: &Plan) -> Outcome {
        let next = AtomicU64::new(0);
        let failed = AtomicU64::new(u64::MAX);
        let until = self.duration.map(|duration| Instant::now() + duration);
        let bar = self.progress();
        let work = || {
            let mut report = Report::default();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let is_over = until.map_or(at >= self.seeds, |until| Instant::now() >= until);
                if is_over || failed.load(Ordering::Relaxed) != u64::MAX {
                    return report;
                }
                let seed = self.first_seed().wrapping_add(at);
                match sim::run(seed, plan) {
                    Ok(one) => report.add(&one),
                    Err(_) => drop(failed.fetch_min(seed, Ordering::Relaxed)),
                }
                bar.inc(1);
            }
        };
        let reports: Vec<Report> = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.jobs).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
        });
        let mut outcome = Outcome::default();
        reports.iter().for_each(|report| outcome.report.add(report));
        bar.finish_and_clear();
        outcome.failed = Some(failed.into_inner()).filter(|seed| *seed != u64::MAX);
        outcome
    }
}
