//! Would the simulator find a mistake? Each of [`Mutant`]'s is switched on and must be caught within so many seeds. A
//! mutant that survives fails this test, and so does one that is caught by no more than luck.

#![cfg(feature = "mutants")]

use pannier::mutant::{self, Mutant};
use pannier::sim::{self, Plan, Violation};

/// Within how many seeds each mutant must be caught.
fn seeds_max(mutant: Mutant) -> u64 {
    match mutant {
        Mutant::NoDedupe | Mutant::CrcSkipsHeader | Mutant::RingOffByOne | Mutant::SentTwice => 20,
        Mutant::ChangeNotPublished | Mutant::GroupMarkLost | Mutant::ExpiryPublishedLate => 20,
        Mutant::NoEpochCheck | Mutant::StaleHint => 60,
        Mutant::HalfDone => 120,
        Mutant::FieldTimeNotPublished | Mutant::FieldExpiryNotPublished => 60,
        Mutant::SharedPageWritten | Mutant::SliceSkipsField => 120,
        Mutant::NoSessionNumber | Mutant::WatchMissesExpiry | Mutant::WritesUnderReader => 400,
        Mutant::ScanSkipsSplit | Mutant::StaleSlot => 600,
        Mutant::ExpiryUntold | Mutant::DisplacedUntold | Mutant::ResumesLate => 20,
        Mutant::BrokenRedirectUntold => 60,
        Mutant::ReplyBeforeSync | Mutant::WatermarkIgnored | Mutant::RevisionReused => 40,
        Mutant::DirectoryNotSynced | Mutant::ChainUnchecked | Mutant::CheckpointOutruns => 120,
        Mutant::ReadsOutrun | Mutant::EventsOutrun => 120,
        Mutant::TailNotRewritten => 600,
    }
}

/// Those of the journal, which a run of its own is for.
fn is_of_the_journal(mutant: Mutant) -> bool {
    matches!(
        mutant,
        Mutant::ReplyBeforeSync
            | Mutant::WatermarkIgnored
            | Mutant::RevisionReused
            | Mutant::DirectoryNotSynced
            | Mutant::ChainUnchecked
            | Mutant::CheckpointOutruns
    )
}

/// Those of what clients are told, which have a run of their own too.
fn is_of_listeners(mutant: Mutant) -> bool {
    matches!(
        mutant,
        Mutant::ExpiryUntold | Mutant::DisplacedUntold | Mutant::BrokenRedirectUntold | Mutant::ResumesLate
    )
}

fn run(mutant: Mutant, seed: u64, plan: &Plan) -> Result<(), Violation> {
    match mutant {
        Mutant::ReadsOutrun | Mutant::EventsOutrun | Mutant::TailNotRewritten => {
            sim::run_acknowledged(seed).map(drop)
        }
        mutant if is_of_the_journal(mutant) => sim::run_journal(seed).map(drop),
        mutant if is_of_listeners(mutant) => sim::run_listeners(seed).map(drop),
        _ => sim::run(seed, plan).map(drop),
    }
}

#[test]
fn a_reply_before_the_sync_is_caught_by_what_clients_were_answered() {
    let fails = |seed| mutant::with(Mutant::ReplyBeforeSync, || sim::run_acknowledged(seed)).is_err();
    let seed = (0..40).find(|seed| fails(*seed)).expect("the mistake is caught");
    println!("reply-before-sync: caught by seed {seed} of clients' answers");
    assert!(sim::run_acknowledged(seed).is_ok());
}

fn is_caught(mutant: Mutant) {
    let plan = Plan::default();
    let most = seeds_max(mutant);
    let caught = (0..most).find_map(|seed| {
        mutant::with(mutant, || run(mutant, seed, &plan)).err().map(|violation| (seed, violation))
    });
    let Some((seed, violation)) = caught else {
        panic!("{} survives {most} seeds", mutant.name());
    };
    println!("{}: caught by seed {seed} of at most {most}: {violation}", mutant.name());
    // It is the mutant that fails there, and nothing else.
    assert!(run(mutant, seed, &plan).is_ok(), "seed {seed} fails without {} as well", mutant.name());
}

#[test]
fn every_mutant_is_caught() {
    for mutant in Mutant::ALL {
        is_caught(*mutant);
    }
}

#[test]
fn a_failure_is_made_smaller_and_says_how_to_repeat_it() {
    let plan = Plan::default();
    let fails = |seed| mutant::with(Mutant::NoDedupe, || sim::run(seed, &plan)).is_err();
    let seed = (0..20).find(|seed| fails(*seed)).expect("the mistake is caught");
    let failure = mutant::with(Mutant::NoDedupe, || sim::shrink(seed, &plan)).expect("it fails");
    assert!(failure.plan.steps < plan.steps && !failure.plan.without.is_empty(), "{:?}", failure.plan);
    // The smaller run fails in the same way, and only because of the mistake.
    let again = mutant::with(Mutant::NoDedupe, || sim::run(seed, &failure.plan)).expect_err("it still fails");
    assert_eq!(again.to_string(), failure.violation.to_string());
    assert!(sim::run(seed, &failure.plan).is_ok() && sim::shrink(seed, &plan).is_none());
    let text = failure.to_string();
    let repeat = format!("to repeat it: pannier simulate --seed {seed} --steps {} ", failure.plan.steps);
    assert!(text.starts_with(&format!("seed {seed} fails: ")) && text.contains(&repeat), "{text}");
    assert!(text.contains(&format!("--without {}", failure.plan.without[0].name())), "{text}");
    assert!(!failure.events.is_empty());
}
