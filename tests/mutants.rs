//! Would the simulator find a mistake? Each of [`Mutant`]'s is switched on and must be caught within so many seeds. A
//! mutant that survives fails this test, and so does one that is caught by no more than luck.

#![cfg(feature = "mutants")]

use pannier::mutant::{self, Mutant};
use pannier::sim::{self, Plan};

/// Within how many seeds each mutant must be caught.
fn seeds_max(mutant: Mutant) -> u64 {
    match mutant {
        Mutant::NoDedupe | Mutant::CrcSkipsHeader | Mutant::RingOffByOne | Mutant::SentTwice => 20,
        Mutant::NoEpochCheck | Mutant::StaleHint => 60,
        Mutant::HalfDone => 120,
        Mutant::NoHorizon | Mutant::WatchMissesExpiry | Mutant::WritesUnderReader => 400,
        Mutant::ScanSkipsSplit | Mutant::WindowOffByOne => 600,
    }
}

fn is_caught(mutant: Mutant) {
    let plan = Plan::default();
    let most = seeds_max(mutant);
    let caught = (0..most).find_map(|seed| {
        mutant::with(mutant, || sim::run(seed, &plan)).err().map(|violation| (seed, violation))
    });
    let Some((seed, violation)) = caught else {
        panic!("{} survives {most} seeds", mutant.name());
    };
    println!("{}: caught by seed {seed} of at most {most}: {violation}", mutant.name());
    // It is the mutant that fails there, and nothing else.
    assert!(sim::run(seed, &plan).is_ok(), "seed {seed} fails without {} as well", mutant.name());
}

#[test]
fn every_mutant_is_caught() {
    for mutant in Mutant::ALL {
        is_caught(*mutant);
    }
}
