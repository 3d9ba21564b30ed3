//! docs/frameworks.md against tests/clients: every test that runs has its row, every version is the pinned one.

use std::collections::BTreeSet;
use std::path::Path;

const PAGE: &str = include_str!("../../docs/frameworks.md");
const RUNNER: &str = include_str!("../clients/run.sh");
const REQUIREMENTS: &str = include_str!("../clients/requirements.txt");
const MANIFEST: &str = include_str!("../clients/rust/Cargo.toml");

/// What stands in backquotes on the page.
fn quoted() -> BTreeSet<&'static str> {
    PAGE.split('`').skip(1).step_by(2).collect()
}

/// The tests that run.sh runs: words of its lists `names="…"`, and those that it runs by name.
fn tests() -> BTreeSet<&'static str> {
    let mut tests = BTreeSet::new();
    for line in RUNNER.lines() {
        let line = line.trim().trim_start_matches("local ");
        if let Some(list) = line.strip_prefix("names=\"") {
            let list = list.split('"').next().unwrap();
            tests.extend(list.split_whitespace().filter(|word| *word != "$names"));
        } else if let Some(call) = line.strip_prefix("run ") {
            tests.extend(call.split(' ').next().filter(|name| !name.starts_with('"')));
        }
    }
    tests
}

/// Every pinned package, as it is spelt on the page.
fn pins() -> BTreeSet<String> {
    let mut pins: BTreeSet<String> = REQUIREMENTS.lines().map(String::from).collect();
    let of_npm = RUNNER.lines().filter_map(|line| line.trim().strip_prefix("packages=\""));
    pins.extend(
        of_npm
            .flat_map(|list| list.trim_end_matches('"').split_whitespace())
            .filter(|word| *word != "$packages")
            .map(String::from),
    );
    for line in MANIFEST.lines() {
        if let (Some((name, _)), Some((_, rest))) = (line.split_once(" = "), line.split_once("\"=")) {
            pins.insert(format!("{name} ={}", rest.split('"').next().unwrap()));
        }
    }
    pins
}

fn is_pin(text: &str) -> bool {
    let before_digit = |mark: &str| {
        text.match_indices(mark).any(|(at, _)| {
            at > 0 && text[at + mark.len()..].starts_with(|first: char| first.is_ascii_digit())
        })
    };
    before_digit("==") || before_digit("@") || before_digit(" =")
}

#[test]
fn every_test_of_a_library_has_its_row_and_its_file() {
    let (quoted, tests) = (quoted(), tests());
    assert!(tests.len() > 30, "{tests:?}");
    let missing: Vec<_> = tests.iter().filter(|test| !quoted.contains(*test)).collect();
    assert!(missing.is_empty(), "run, but not on the page: {missing:?}");

    // The first column of a table under "What runs" names tests.
    let section = PAGE.split("\n## ").find(|section| section.starts_with("What runs\n")).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.flat_map(|line| line.split(" |").next().unwrap().split(['`', ',', ' ']));
    let unknown: Vec<_> = rows.filter(|test| !test.is_empty() && !tests.contains(test)).collect();
    assert!(unknown.is_empty(), "on the page, but not run: {unknown:?}");
}

#[test]
fn every_file_of_a_client_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let tests = tests();
    for folder in [folder.clone(), folder.join("rust/src/bin")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let is_script =
                path.extension().is_some_and(|end| !["txt", "toml"].contains(&end.to_str().unwrap()));
            // What two tests share, and the list itself.
            let is_part = ["ioredis_like", "run"].contains(&name);
            assert!(!is_script || is_part || tests.contains(name), "{} is never run", path.display());
        }
    }
}

#[test]
fn the_versions_are_those_that_are_installed() {
    let (quoted, pins) = (quoted(), pins());
    assert!(pins.len() > 25, "{pins:?}");
    let missing: Vec<_> = pins.iter().filter(|pin| !quoted.contains(pin.as_str())).collect();
    assert!(missing.is_empty(), "installed, but not on the page: {missing:?}");
    let unknown: Vec<_> = quoted.iter().filter(|text| is_pin(text) && !pins.contains(**text)).collect();
    assert!(unknown.is_empty(), "on the page, but not installed: {unknown:?}");
}

#[test]
fn packages_of_the_distribution_are_installed_by_ci() {
    let stages = include_str!("../../.ci/run");
    let quoted = quoted();
    let packages = quoted.iter().filter(|text| text.starts_with("php-") || text.starts_with("ruby-"));
    let missing: Vec<_> = packages.filter(|package| !stages.contains(**package)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
