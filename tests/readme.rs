//! The README's table of commands against the program's own.

#![cfg(feature = "server")]

use std::collections::BTreeSet;

/// The words in backquotes of the README's section on commands.
fn documented() -> BTreeSet<&'static str> {
    let readme = include_str!("../README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with("Commands\n")).unwrap();
    let quoted = section.split('`').skip(1).step_by(2);
    quoted.filter_map(|text| text.split_whitespace().next()).collect()
}

#[test]
fn the_readme_has_every_command_and_no_other() {
    let documented = documented();
    let verbs: BTreeSet<String> =
        pannier::command::VERBS.iter().map(|verb| verb.word().to_ascii_uppercase()).collect();
    let missing: Vec<_> = verbs.iter().filter(|verb| !documented.contains(verb.as_str())).collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
    // Options of SET stand among the commands, as do a path and an error.
    let others = ["EX", "PX", "EXAT", "PXAT", "KEEPTTL", "NX", "XX", "IFEQ", "IFNE", "src/command/", "-ERR"];
    let unknown: Vec<_> =
        documented.iter().filter(|word| !verbs.contains(**word) && !others.contains(word)).collect();
    assert!(unknown.is_empty(), "in the README, but not in the program: {unknown:?}");
}
