//! The page on metrics against the server: it has every family that `/metrics` shows, with its type, unit, labels and
//! meaning, in the same order, and no other; its queries ask only for what there is.

use pannier::admin::{Access, Context, History, Readiness, Reply, respond};
use pannier::command::VERBS;
use pannier::engine::Engine;
use pannier::frames::{self, FrameServer};
use pannier::limits::MIB;
use pannier::net::ServerOptions;
use pannier::reply::ErrorKind;
use pannier::server::{Resources, Server};
use pannier::store::{Store, StoreConfig};
use pannier::time::{Millis, Now};
use std::collections::BTreeSet;
use std::process::Command;

const PAGE: &str = include_str!("../../docs/metrics.md");
pub const ALERTS: &str = include_str!("../../examples/prometheus/alerts.yaml");
const DASHBOARD: &str = include_str!("../../examples/grafana/pannier.json");

/// A scrape of a server that has seen every verb and an error.
pub fn scrape() -> String {
    let config = StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() };
    let mut options = ServerOptions::default();
    options.max_clients = 4;
    let engine = Engine::new(Store::new(config, [1, 2]).expect("memory"), options);
    let datagrams = FrameServer::new(&frames::Config { clients_max: 4, ..frames::Config::new(1, [3, 4]) });
    let fill_process_stats =
        |process_stats: &mut pannier::metrics::ProcessStats| process_stats.open_descriptors = 9;
    let resources =
        Resources { input_bytes: MIB, output_bytes: MIB, fill_process_stats, ..Resources::default() };
    let mut server = Server::new(engine, datagrams, resources);
    for verb in VERBS {
        server.engine_mut().metrics.called(verb.id);
        server.engine_mut().metrics.rejected(verb.id, ErrorKind::Full);
    }
    let now = Now { monotonic: Millis(5), unix: Millis(1_780_000_000_000), unix_micros: 0 };
    let mut reply = Reply::new();
    let access = Access::new(([127, 0, 0, 1], 7879).into(), None);
    let context = &mut Context {
        server: &mut server,
        history: &History::new(),
        access: &access,
        readiness: Readiness::Ready,
        now,
    };
    respond(b"GET /metrics HTTP/1.1\r\n\r\n", context, &mut reply);
    String::from_utf8(reply.body.as_bytes().to_vec()).expect("text")
}

/// A row of the page's table for each family.
fn rows(text: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let kind = lines.next().and_then(|line| line.rsplit_once(' ')).expect("a type").1;
        let unit = match name {
            _ if name.contains("_bytes") => "bytes",
            _ if name.contains("seconds") => "seconds",
            _ => "",
        };
        // A sample may be missing where nothing occurred, but here everything has.
        let sample = lines.peek().expect("a sample");
        let labels = sample.split_once('{').map_or("", |(_, rest)| rest.split_once('}').expect("an end").0);
        let labels = labels.split(',').filter_map(|label| label.split_once('=')).map(|(label, _)| label);
        let labels: Vec<_> =
            labels.filter(|label| *label != "le").map(|label| format!("`{label}`")).collect();
        rows.push(format!("| `{name}` | {kind} | {unit} | {} | {help} |", labels.join(", ")));
    }
    rows
}

#[test]
fn the_page_has_every_metric_and_no_other() {
    let wanted = rows(&scrape());
    let found: Vec<&str> = PAGE
        .lines()
        .filter(|line| line.starts_with("| `pannier_") || line.starts_with("| `process_"))
        .collect();
    assert!(wanted.len() > 40);
    assert_eq!(found, wanted, "the table should read:\n{}", wanted.join("\n"));
}

#[test]
fn the_page_explains_every_reason_for_closing_a_connection() {
    let text = scrape();
    let prefix = "pannier_connections_closed_total{reason=\"";
    let reasons = text.lines().filter_map(|line| line.strip_prefix(prefix)?.split_once('"'));
    let reasons: Vec<&str> = reasons.map(|(reason, _)| reason).collect();
    assert!(reasons.len() > 8);
    reasons.iter().for_each(|reason| assert!(PAGE.contains(&format!("`{reason}`")), "{reason}"));
}

/// Every name of a metric in these texts is one that a scrape has.
fn check_names(texts: &[&str]) {
    let text = scrape();
    let known: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .chain(text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()))
        .collect();
    for text in texts {
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let names: Vec<&str> =
            words.filter(|word| word.starts_with("pannier_") || word.starts_with("process_")).collect();
        assert!(names.len() > 5, "{names:?}");
        names.iter().for_each(|name| assert!(known.contains(name), "{name}"));
    }
}

#[test]
fn every_metric_that_the_page_and_the_examples_speak_of_is_in_its_table() {
    check_names(&[PAGE, ALERTS, DASHBOARD]);
}

#[test]
fn the_page_has_every_alert() {
    let alerts: Vec<&str> = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `Pannier")?.split_once('`'));
    let rows: Vec<String> = rows.map(|(name, _)| format!("Pannier{name}")).collect();
    assert!(alerts.len() > 4);
    assert_eq!(rows, alerts);
}

/// Prometheus's own checks of the rules, of when they fire, and of the configuration.
#[test]
fn promtool_accepts_the_examples() {
    for arguments in [
        &["check", "rules", "examples/prometheus/alerts.yaml"][..],
        &["test", "rules", "tests/examples/alerts_test.yaml"],
        &["check", "config", "--syntax-only", "examples/prometheus/prometheus.yaml"],
    ] {
        promtool(arguments);
    }
}

pub fn promtool(arguments: &[&str]) {
    let run = Command::new("promtool").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let Ok(output) = run else {
        eprintln!("SKIPPED: promtool is not installed");
        return;
    };
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
}
