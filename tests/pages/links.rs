//! The pages against the program: every command has its row, every link its file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The words in backquotes of the section on commands.
fn documented() -> BTreeSet<&'static str> {
    let page = include_str!("../../docs/commands.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Commands\n")).unwrap();
    let quoted = section.split('`').skip(1).step_by(2);
    quoted.filter_map(|text| text.split_whitespace().next()).collect()
}

#[test]
fn the_page_has_every_command_and_no_other() {
    let documented = documented();
    let verbs: BTreeSet<String> =
        pannier::command::VERBS.iter().map(|verb| verb.word().to_ascii_uppercase()).collect();
    let missing: Vec<_> = verbs.iter().filter(|verb| !documented.contains(verb.as_str())).collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
    // Options of SET and SORT stand among the commands, as do a path and an error.
    let others = [
        "BY",
        "STORE",
        "EX",
        "PX",
        "EXAT",
        "PXAT",
        "KEEPTTL",
        "NX",
        "XX",
        "IFEQ",
        "IFNE",
        "src/command/",
        "-ERR",
    ];
    let unknown: Vec<_> =
        documented.iter().filter(|word| !verbs.contains(**word) && !others.contains(word)).collect();
    assert!(unknown.is_empty(), "on the page, but not in the program: {unknown:?}");
}

/// Every Markdown page of the project that users read.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let at_root = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(|name| root.join(name));
    in_docs.filter(|path| path.extension().is_some_and(|end| end == "md")).chain(at_root).collect()
}

#[test]
fn every_link_leads_to_a_file_and_every_page_is_in_the_index() {
    let index = include_str!("../../docs/README.md");
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap();
            let found = path.is_empty() || path.contains("://") || page.parent().unwrap().join(path).exists();
            assert!(found, "{}: {target} leads nowhere", page.display());
        }
        let name = page.file_name().unwrap().to_str().unwrap();
        let is_indexed = index.contains(&format!("({name})"));
        assert!(is_indexed || !page.parent().unwrap().ends_with("docs") || name == "README.md", "{name}");
    }
}

#[test]
fn the_front_page_is_short() {
    let words = include_str!("../../README.md").split_whitespace().count();
    assert!(words <= 1_200, "{words} words");
}
