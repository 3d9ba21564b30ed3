//! The simulator over two thousand seeds, spread over tests so that they run side by side: nothing that is promised may
//! break, and over all of them everything must have happened that can: a simulator that injects nothing finds nothing.

#![cfg(feature = "cli")]

use pannier::sim::{self, Fault, Plan, Report};
use std::sync::Mutex;

/// Seeds of one test.
const SEEDS: u64 = 250;
/// Tests that share them.
const PARTS: usize = 8;

/// What the parts have seen: the last one looks at the whole.
static ALL: Mutex<Option<(usize, Report)>> = Mutex::new(None);

fn seeds(part: u64) {
    let plan = Plan::default();
    let mut sum = Report::default();
    for seed in part * SEEDS..(part + 1) * SEEDS {
        match sim::run(seed, &plan) {
            Ok(report) => sum.add(&report),
            Err(violation) => match sim::shrink(seed, &plan) {
                Some(failure) => panic!("{failure}"),
                None => panic!("seed {seed} fails only sometimes: {violation}"),
            },
        }
    }
    let mut all = ALL.lock().expect("no part has failed");
    let (parts, total) = all.get_or_insert_default();
    *parts += 1;
    total.add(&sum);
    if *parts == PARTS {
        println!("{total}");
        let never = total.never_happened();
        assert!(never.is_empty(), "never happened: {never:?}");
        assert!(total.undecided * 40 <= total.keys, "{} of {} keys undecided", total.undecided, total.keys);
    }
}

macro_rules! parts {
    ($($name:ident = $part:literal;)+) => { $(#[test] fn $name() { seeds($part); })+ };
}

parts! {
    seeds_0 = 0;
    seeds_250 = 1;
    seeds_500 = 2;
    seeds_750 = 3;
    seeds_1000 = 4;
    seeds_1250 = 5;
    seeds_1500 = 6;
    seeds_1750 = 7;
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 99] {
        let plan = Plan { steps: 500, ..Plan::default() };
        assert_eq!(sim::trace(seed, &plan), sim::trace(seed, &plan), "seed {seed}");
    }
}

#[test]
fn without_faults_nothing_is_lost_or_unknown() {
    for seed in 0..10 {
        let plan = Plan { without: Fault::ALL.to_vec(), ..Plan::default() };
        let report = sim::run(seed, &plan).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        assert!(Fault::ALL.iter().all(|fault| report.injected.of(*fault) == 0));
        assert_eq!(report.frames.rejected, 0, "seed {seed}");
    }
}
