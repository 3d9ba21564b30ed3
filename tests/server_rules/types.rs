//! No verb escapes the question what it answers for a value of each type: `tests/transcripts/types*.txt`, whose replies
//! are Redis's, ask it of every verb that takes keys.

use crate::transcript;
use pannier::command::{self, Flags, VERBS};
use pannier::wire::arguments::ArgTable;
use std::collections::HashSet;

/// The keys of the transcripts, one of each type.
const KEYS: [&str; 3] = ["str", "hsh", "set"];

/// A verb, which of its keys, and a key that stood there. Of a verb with many keys the second one stands for all behind
/// the first.
fn asked() -> HashSet<(&'static str, usize, &'static str)> {
    let mut asked = HashSet::new();
    for exchange in transcript::all().iter().filter(|one| is_of_types(one)).flat_map(|one| &one.exchanges) {
        let line = exchange.source.lines().last().unwrap_or_default().trim_start_matches("> ");
        let words: Vec<&str> = line.split(' ').collect();
        let mut table = ArgTable::with_capacity(words.len());
        let mut at = 0;
        for word in &words {
            table.push(at, word.len());
            at += word.len();
        }
        let bytes = words.concat().into_bytes();
        let args = table.args(&bytes);
        let verb = command::resolve(&args).expect("a verb of the table");
        for (which, position) in verb.key_positions(&args).enumerate() {
            if let Some(key) = KEYS.iter().find(|key| **key == words[position]) {
                asked.insert((verb.name, which.min(1), *key));
            }
        }
    }
    asked
}

fn is_of_types(transcript: &transcript::Transcript) -> bool {
    transcript.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("types"))
}

#[test]
fn every_verb_is_asked_about_keys_of_every_type() {
    let asked = asked();
    let mut missing = Vec::new();
    // Channels are no keys; a script's keys are those of the verbs that it calls.
    let with_keys = VERBS.iter().filter(|verb| verb.keys.first > 0 && !verb.flags.has(Flags::PUBSUB));
    for verb in with_keys {
        let has_more = verb.keys.last != verb.keys.first || verb.name == "sort";
        for key in KEYS {
            for which in 0..if has_more { 2 } else { 1 } {
                if !asked.contains(&(verb.name, which, key)) {
                    missing.push(format!("{}, key {}: {key}", verb.name, which + 1));
                }
            }
        }
    }
    assert!(missing.is_empty(), "tests/transcripts/types*.txt lack:\n{}", missing.join("\n"));
}
