//! Subscribers, caches in clients and watches on prefixes over several lives of a server, from fixed seeds.

#![cfg(feature = "sim")]

use pannier::sim::{self, Listened};

/// Seeds of a run; `PANNIER_LISTENER_SEEDS` asks for more.
const SEEDS: u64 = 40;

#[test]
fn who_waits_for_a_change_is_told_of_it() {
    let asked = std::env::var("PANNIER_LISTENER_SEEDS").ok().and_then(|count| count.parse().ok());
    let seeds = asked.unwrap_or(SEEDS);
    let mut seen = Listened::default();
    for seed in 0..seeds {
        let run = sim::run_listeners(seed).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        seen.add(&run);
    }
    println!("{seen:?}");
    // The seeds go through what they are there for.
    assert!(seen.never_happened().is_empty(), "never happened: {:?}", seen.never_happened());
    assert!(seen.abandoned * 10 < seeds, "{seen:?}");
    assert!(seen.lives > SEEDS && seen.resumed > SEEDS && seen.invalidations > 10 * SEEDS, "{seen:?}");
}
