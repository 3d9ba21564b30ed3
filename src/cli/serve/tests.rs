//! The server's flags: defaults, mistakes, and the rule about addresses that others can reach.

use clap::{CommandFactory, Parser};

use super::*;

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    serve: ServeArgs,
}

/// Flags as they are given, no password in the environment, and a machine that tells nothing of itself.
fn options(flags: &[&str]) -> Result<ServeOptions, String> {
    with_password(flags, None)
}

fn with_password(flags: &[&str], password: Option<&str>) -> Result<ServeOptions, String> {
    let words = std::iter::once("serve").chain(flags.iter().copied());
    let parsed = Only::try_parse_from(words).map_err(|error| error.to_string())?;
    parsed.serve.resolve(
        &|name| password.filter(|_| name == "PANNIER_PASSWORD").map(OsString::from),
        Path::new("/nonexistent"),
    )
}

fn with_token(flags: &[&str], token: &str) -> Result<ServeOptions, String> {
    let parsed = Only::try_parse_from(std::iter::once("serve").chain(flags.iter().copied())).unwrap();
    let variable = |name: &str| (name == "PANNIER_ADMIN_TOKEN").then(|| OsString::from(token));
    parsed.serve.resolve(&variable, Path::new("/nonexistent"))
}

#[test]
fn defaults() {
    let options = options(&[]).unwrap();
    let server = &options.server;
    assert_eq!(server.tcp.to_string(), "127.0.0.1:7878");
    assert_eq!(server.udp, Some(server.tcp));
    assert_eq!(server.admin.unwrap().to_string(), "127.0.0.1:7879");
    assert_eq!((server.memory_bytes, server.on_full), (1 << 30, OnFull::Refuse));
    assert_eq!((server.max_clients, server.databases), (10_000, 16));
    assert_eq!(server.idle_timeout, Duration::ZERO);
    assert_eq!(server.request_timeout, Duration::from_secs(10));
    assert_eq!(server.write_timeout, Duration::from_secs(30));
    assert_eq!(server.max_value_bytes, 512 << 20);
    assert_eq!(server.password, None);
    assert_eq!((options.log_level, options.log_format), (LevelFilter::Info, LogFormat::Text));
    assert!(!server.log_requests);
}

#[test]
fn everything_can_be_set() {
    let flags = "--tcp [::1]:1 --udp off --admin off --memory 64MiB --on-full evict --max-clients 7 --databases 1 \
        --idle-timeout 5m --request-timeout 0 --write-timeout 500ms --max-value 1mb --log-level debug \
        --log-format json --log-requests";
    let options = options(&flags.split_whitespace().collect::<Vec<_>>()).unwrap();
    let server = &options.server;
    assert_eq!(server.tcp.to_string(), "[::1]:1");
    assert_eq!((server.udp, server.admin), (None, None));
    assert_eq!((server.memory_bytes, &options.memory_source[..]), (64 << 20, "as set"));
    assert_eq!(server.on_full, OnFull::Evict);
    assert_eq!((server.max_clients, server.databases), (7, 1));
    assert_eq!(server.idle_timeout, Duration::from_secs(300));
    assert_eq!(server.request_timeout, Duration::ZERO);
    assert_eq!(server.write_timeout, Duration::from_millis(500));
    assert_eq!(server.max_value_bytes, 1 << 20);
    assert_eq!((options.log_level, options.log_format), (LevelFilter::Debug, LogFormat::Json));
    assert!(server.log_requests);
}

#[test]
fn mistakes_are_told_with_a_way_out() {
    for (flags, told) in [
        (&["--tcp", "localhost"][..], "127.0.0.1:7878"),
        (&["--udp", "no"], "127.0.0.1:7878"),
        (&["--memory", "much"], "64MiB"),
        (&["--memory", "120%"], "1% to 100%"),
        (&["--memory", "50%"], "set --memory to a size"),
        (&["--databases", "17"], "1..=16"),
        (&["--max-clients", "0"], "1..=1000000"),
        (&["--max-value", "1GiB"], "512MiB"),
        (&["--idle-timeout", "soon"], "30s"),
        (&["--log-level", "loud"], "debug"),
        (&["--admin", "127.0.0.1:7878"], "another port"),
    ] {
        let error = options(flags).unwrap_err();
        assert!(error.contains(told), "{flags:?}: {error}");
    }
}

#[test]
fn a_reachable_address_needs_a_password_or_the_flag() {
    for flags in [
        &["--tcp", "0.0.0.0:7878"][..],
        &["--tcp", "[::]:7878"],
        &["--tcp", "10.0.0.1:7878"],
        &["--udp", "0.0.0.0:7878"],
        &["--tcp", "[::ffff:10.0.0.1]:7878"],
    ] {
        let error = options(flags).unwrap_err();
        assert!(error.contains("PANNIER_PASSWORD") && error.contains(flags[0]), "{error}");
        assert!(with_password(flags, Some("")).is_err(), "an empty password is none");
        assert!(with_password(flags, Some("pw")).is_ok());
        assert!(options(&[flags, &["--allow-unauthenticated"]].concat()).is_ok());
    }
    for tcp in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert!(options(&["--tcp", tcp]).is_ok(), "{tcp}");
    }
}

#[test]
fn a_reachable_admin_port_needs_a_token_and_no_password_replaces_it() {
    for admin in ["0.0.0.0:7879", "[::]:7879", "10.0.0.1:7879"] {
        let flags = &["--admin", admin][..];
        for result in [options(flags), with_password(flags, Some("pw")), with_token(flags, "")] {
            let error = result.unwrap_err();
            assert!(error.contains("PANNIER_ADMIN_TOKEN") && error.contains("--admin off"), "{error}");
        }
        assert!(with_token(flags, "short").unwrap_err().contains("at least 16"));
        assert!(with_token(flags, "0123456789abcdef").is_ok());
        assert!(options(&[flags, &["--allow-unauthenticated"]].concat()).is_ok());
    }
    let tcp = ["--tcp", "0.0.0.0:7878"];
    assert!(
        with_token(&tcp, "0123456789abcdef").unwrap_err().contains("PANNIER_PASSWORD"),
        "nor the other way"
    );
}

/// Each flag has its row in docs/configuration.md, with its variable and, where the program has one, its default.
#[test]
fn the_page_has_every_flag() {
    let page = include_str!("../../../docs/configuration.md");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `--")).collect();
    let command = Only::command();
    let flags: Vec<_> = command.get_arguments().filter(|flag| flag.get_long().is_some()).collect();
    assert_eq!(rows.len(), flags.len());
    for (row, flag) in rows.iter().zip(flags) {
        let (name, variable) = (flag.get_long().unwrap(), flag.get_env().unwrap().to_str().unwrap());
        let start = match flag.get_default_values() {
            [default] => format!("| `--{name}` | `{variable}` | `{}` |", default.to_str().unwrap()),
            _ => format!("| `--{name}` | `{variable}` | "),
        };
        assert!(row.starts_with(&start), "{row}\nshould start with\n{start}");
    }
}
