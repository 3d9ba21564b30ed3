//! Lives of a store, or a whole server, with its journal and a bad disk, from fixed seeds: what a start finds is what was
//! promised, and what clients were answered.

#![cfg(feature = "sim")]

use pannier::sim;

/// Seeds of a run; `PANNIER_JOURNAL_SEEDS` asks for more.
const SEEDS: u64 = 60;

#[test]
fn what_a_start_finds_is_what_was_promised() {
    let asked = std::env::var("PANNIER_JOURNAL_SEEDS").ok().and_then(|count| count.parse().ok());
    let mut seen = sim::Remembered::default();
    for seed in 0..asked.unwrap_or(SEEDS) {
        let run = sim::run_journal(seed).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        seen.lives += run.lives;
        seen.changes += run.changes;
        seen.checkpoints += run.checkpoints;
        seen.failures += run.failures;
        seen.lost += run.lost;
    }
    println!("{seen:?}");
    // The seeds go through what they are there for.
    assert!(seen.lives > 100 && seen.checkpoints > 20 && seen.failures > 20 && seen.lost > 0, "{seen:?}");
}

#[test]
fn what_clients_were_answered_survives_any_crash() {
    let asked = std::env::var("PANNIER_JOURNAL_SEEDS").ok().and_then(|count| count.parse().ok());
    let mut seen = sim::Acknowledged::default();
    for seed in 0..asked.unwrap_or(SEEDS) {
        let run = sim::run_acknowledged(seed).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        seen.lives += run.lives;
        seen.replies += run.replies;
        seen.events += run.events;
        seen.datagrams += run.datagrams;
        seen.unknown += run.unknown;
        seen.refused += run.refused;
    }
    println!("{seen:?}");
    assert!(seen.lives > 100 && seen.replies > 5_000 && seen.events > 500, "{seen:?}");
    assert!(seen.datagrams > 100 && seen.unknown > 5 && seen.refused > 20, "{seen:?}");
}
