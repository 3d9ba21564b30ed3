//! The deterministic simulator: the shipped server, the shipped clients and a bad network in one thread, with a clock of
//! their own, all of it from a seed; and checkers that watch.
//!
//! ```text
//!  UDP clients ──▶ network ──▶ ┌────────┐ ──▶ network ──▶ UDP clients      client::Session, as shipped
//!  TCP clients ──▶ links   ──▶ │ Server │ ──▶ links   ──▶ TCP clients      the client's encoder and reply reader
//!  a rogue     ──▶ both    ──▶ └───┬────┘ ──▶ both    ──▶ the rogue        frames that keep no rules
//!  hostile ones ─▶ links   ──▶     │                                      whatever costs the others most
//!                                  │ answers, changes that the store published
//!        what was asked ──▶ frames, model                what was answered ──▶ history ──▶ checker
//! ```
//! Three judges look at every run, and none believes the next:
//!
//! - **the model** computes what each request must answer and change, and compares both with the answer that the server
//!   gave and the change that its store published, in the order of the store's own list; SCAN, WATCH and transactions among them;
//! - **the frame ledger** holds every datagram to one end (run, repeated, read, refused, rejected), and every
//!   write to one run, in just the bytes that its client sent, in the run of the server that it was meant for;
//! - **the checker** knows only what the clients were answered and when, and looks for an order that explains it.
//!
//! | file | what lives there |
//! |---|---|
//! | `faults`, `clock` | what goes wrong and how often; time and what is to happen |
//! | `node`, `change`, `follower` | the one place that knows how a server is called; what its store published; a store made of that |
//! | `packet`, `link` | datagrams in flight; TCP connections |
//! | `udp_client`, `tcp_client`, `rogue`, `hostile`, `workload` | who asks, and for what |
//! | `model`, `effect`, `value`, `commands`, `field_commands`, `slices`, `peer`, `frames` | what must be answered and changed |
//! | `history`, `state`, `witness`, `checker` | what clients were answered, and whether that can be |
//! | `world` | the loop, and in the files below it what each event does |
//! | `listen` | those who wait for a change: subscribers, caches in clients, watches on prefixes |
//! | `disk`, `remember` | a disk that loses, tears and refuses; a store and its journal over several lives |
//! | `acknowledged` | a server on that disk: what its clients were answered under `always` survives |
//! | `shrink`, `report`, `violation` | smaller failures, figures, words |

mod acknowledged;
mod change;
mod checker;
mod clock;
mod commands;
mod disk;
mod effect;
mod faults;
mod field_commands;
mod follower;
mod frames;
mod history;
mod hostile;
mod link;
mod listen;
mod model;
mod node;
mod packet;
mod peer;
mod remember;
mod report;
mod rogue;
mod shrink;
mod slices;
mod state;
mod tcp_client;
mod udp_client;
mod value;
mod violation;
mod witness;
mod workload;
mod world;

pub use acknowledged::{Acknowledged, run as run_acknowledged};
pub use faults::{Fault, Injected};
pub use listen::{Listened, run as run_listeners};
pub use remember::{Remembered, run as run_journal};
pub use report::Report;
pub use shrink::{Failure, shrink};
pub use violation::Violation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// Events of a run with faults, by default.
pub const STEPS: u32 = 2_000;

/// Clients of each kind, at most.
pub const CLIENTS_MAX: usize = 100;

/// How a seed is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Events with faults; the healing and the last requests come on top.
    pub steps: u32,
    /// Faults that do not happen.
    pub without: Vec<Fault>,
    /// Clients, if the seed is not to say how many.
    pub udp_clients: Option<usize>,
    pub tcp_clients: Option<usize>,
    /// Whether what happens is written down, for a failure to be read.
    pub trace: bool,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan { steps: STEPS, without: Vec::new(), udp_clients: None, tcp_clients: None, trace: false }
    }
}

/// Runs one seed.
///
/// # Errors
/// The first promise that was broken. Panics of the server and broken invariants are among them, where panics unwind.
pub fn run(seed: u64, plan: &Plan) -> Result<Report, Violation> {
    run_traced(seed, plan).map_err(|(violation, _)| violation)
}

/// Runs one seed and tells everything that happened in it, a line each.
#[must_use]
pub fn trace(seed: u64, plan: &Plan) -> Vec<String> {
    let mut world = World::new(seed, &Plan { trace: true, ..plan.clone() });
    let _ = catch_unwind(AssertUnwindSafe(|| world.run(plan.steps)));
    world.last_events(b"", usize::MAX)
}

/// Runs one seed; a failure comes with the last events, if the plan asks for a trace.
fn run_traced(seed: u64, plan: &Plan) -> Result<Report, (Violation, Vec<String>)> {
    let mut world = World::new(seed, plan);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run(plan.steps)));
    let violation = match outcome {
        Ok(Ok(())) => return Ok(world.into_report()),
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            violation::violation(b"", format!("panic: {}", text.unwrap_or_default()))
        }
    };
    let events = world.last_events(&violation.key, shrink::EVENTS_SHOWN);
    Err((violation, events))
}
