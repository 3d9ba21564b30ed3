//! Every flag of `serve` is printed, with the name of the variable that it has, and a secret is not.

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use super::*;

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    serve: ServeArgs,
}

fn rows(flags: &[&str], password: Option<&str>) -> Vec<(String, Setting)> {
    let matches = Only::command().get_matches_from(std::iter::once(&"serve").chain(flags));
    let parsed = Only::parse_from(std::iter::once(&"serve").chain(flags));
    let options = parsed
        .serve
        .resolve(
            &|name| password.filter(|_| name == "PANNIER_PASSWORD").map(OsString::from),
            Path::new("/nonexistent"),
        )
        .unwrap();
    settings(&options).into_iter().map(|row| with_source(Some(&matches), row)).collect()
}

fn text(flags: &[&str], password: Option<&str>) -> String {
    let mut out = Vec::new();
    print_text(&mut out, &rows(flags, password)).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn every_flag_has_its_row_and_the_variable_its_name() {
    let command = Only::command();
    let flags: Vec<_> = command.get_arguments().filter(|flag| flag.get_long().is_some()).collect();
    let rows = rows(&[], None);
    let printed: Vec<_> =
        rows.iter().map(|(_, row)| row.name).filter(|name| !SECRETS.contains(name)).collect();
    assert_eq!(printed, flags.iter().map(|flag| flag.get_long().unwrap()).collect::<Vec<_>>());
    for flag in flags {
        let id = flag.get_long().unwrap().replace('-', "_");
        assert_eq!(flag.get_id().as_str(), id);
        assert_eq!(flag.get_env().unwrap().to_str().unwrap(), format!("PANNIER_{}", id.to_ascii_uppercase()));
    }
}

#[test]
fn values_are_those_of_the_flags_and_of_their_defaults() {
    let printed = text(&["--memory", "64m", "--udp", "off", "--write-timeout", "500ms"], Some("hunter2"));
    for line in [
        "--tcp                     127.0.0.1:7878             default",
        "--udp                     off                        flag",
        "--memory                  67108864 bytes (64 MiB)    flag: as set",
        "--write-timeout           500ms                      flag",
        "--idle-timeout            never                      default",
        "admin-token               none                       default",
        "password                  set (hidden)               PANNIER_PASSWORD",
        "--password-file           none                       default",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}\nis not in\n{printed}");
    }
    assert!(!printed.contains("hunter2"));
}

#[test]
fn json_has_numbers_with_their_units() {
    let mut out = Vec::new();
    print_json(&mut out, rows(&["--memory", "64m", "--log-requests"], Some("hunter2"))).unwrap();
    let object: Value = serde_json::from_slice(&out).unwrap();
    let memory = json!({ "value": 67108864, "unit": "bytes", "source": "flag", "origin": "as set" });
    assert_eq!(object["memory"], memory);
    assert_eq!(object["idle-timeout"], json!({ "value": null, "unit": "ms", "source": "default" }));
    assert_eq!(object["log-requests"], json!({ "value": true, "source": "flag" }));
    assert_eq!(object["password"], json!({ "value": true, "source": "PANNIER_PASSWORD" }));
    assert_eq!(object.as_object().unwrap().len(), rows(&[], None).len());
}
