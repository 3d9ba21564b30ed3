//! From a failing seed to something that can be read: fewer steps, fewer clients, fewer faults, and the last events of
//! the key concerned.

use super::faults::Fault;
use super::violation::Violation;
use super::{Plan, run_traced};
use std::fmt;

/// Events that a failure shows.
pub const EVENTS_SHOWN: usize = 30;

/// A seed that fails, as small as it could cheaply be made.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub plan: Plan,
    pub violation: Violation,
    /// The last events, oldest first.
    pub events: Vec<String>,
}

impl Failure {
    /// The command that repeats it.
    #[must_use]
    pub fn command(&self) -> String {
        command(self.seed, &self.plan)
    }
}

/// The command that runs this seed by this plan.
#[must_use]
pub fn command(seed: u64, plan: &Plan) -> String {
    let mut command = format!("pannier simulate --seed {seed} --steps {}", plan.steps);
    if let Some(count) = plan.udp_clients {
        command += &format!(" --udp-clients {count}");
    }
    if let Some(count) = plan.tcp_clients {
        command += &format!(" --tcp-clients {count}");
    }
    if !plan.without.is_empty() {
        let names: Vec<_> = plan.without.iter().map(|fault| fault.name()).collect();
        command += &format!(" --without {}", names.join(","));
    }
    command
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} fails: {}", self.seed, self.violation)?;
        for event in &self.events {
            writeln!(f, "  {event}")?;
        }
        writeln!(f, "to repeat it: {}", self.command())
    }
}

/// Makes a failing seed's run smaller, as long as it goes on failing. `None`: it does not fail.
#[must_use]
pub fn shrink(seed: u64, plan: &Plan) -> Option<Failure> {
    let fails = |plan: &Plan| run_traced(seed, plan).is_err();
    let mut plan = Plan { trace: false, ..plan.clone() };
    if !fails(&plan) {
        return None;
    }
    // Fewer steps: halved as long as that fails, then a quarter less at a time.
    for (keep, of) in [(1, 2), (3, 4)] {
        loop {
            let smaller = Plan { steps: plan.steps * keep / of, ..plan.clone() };
            if smaller.steps == 0 || !fails(&smaller) {
                break;
            }
            plan = smaller;
        }
    }
    for fault in Fault::ALL.iter().filter(|fault| !plan.without.contains(fault)).collect::<Vec<_>>() {
        let mut smaller = plan.clone();
        smaller.without.push(*fault);
        if fails(&smaller) {
            plan = smaller;
        }
    }
    for count in 0..3 {
        let fewer = Plan { udp_clients: Some(count), ..plan.clone() };
        if plan.udp_clients.is_none() && fails(&fewer) {
            plan = fewer;
        }
        let fewer = Plan { tcp_clients: Some(count), ..plan.clone() };
        if plan.tcp_clients.is_none() && fails(&fewer) {
            plan = fewer;
        }
    }
    let (violation, events) = run_traced(seed, &Plan { trace: true, ..plan.clone() }).err()?;
    Some(Failure { seed, plan, violation, events })
}
