//! The dashboard for Grafana: JSON whose panels lie beside each other, say what they show, and ask Prometheus for what the
//! server has, each metric by a function that its type allows.
#![cfg(feature = "cli")]

use crate::metrics::{ALERTS, promtool, scrape};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const DASHBOARD: &str = include_str!("../../examples/grafana/pannier.json");
/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).expect("JSON")
}

/// Panels that draw something: all but the rows' headings.
fn drawn(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    panels.filter(|panel| panel["type"] != "row").collect()
}

fn targets(panel: &Value) -> impl Iterator<Item = &Value> {
    panel["targets"].as_array().expect("targets").iter()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// A metric of a scrape: its type, and the values of each label.
#[derive(Default)]
struct Metric {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

fn metrics() -> BTreeMap<String, Metric> {
    let mut found: BTreeMap<String, Metric> = BTreeMap::new();
    let mut kind = String::new();
    for line in scrape().lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, named) = rest.split_once(' ').expect("a type");
            kind = named.to_owned();
            // A family without a sample has a name and a type.
            found.entry(name.to_owned()).or_default().kind.clone_from(&kind);
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let metric = found.entry(name.to_owned()).or_default();
            metric.kind.clone_from(&kind);
            for (label, value) in
                labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='))
            {
                metric.labels.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
            }
        }
    }
    found
}

/// Each metric of a query with the text before its name and the matchers behind it.
fn uses(query: &str) -> Vec<(&str, &str, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = ["pannier_", "process_"].iter().filter_map(|start| query[at..].find(start)).min() {
        let begin = at + next;
        let rest = &query[begin..];
        let len =
            rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
        let matchers = rest[len..]
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'))
            .map_or("", |(inside, _)| inside);
        found.push((&query[..begin], &rest[..len], matchers));
        at = begin + len;
    }
    found
}

/// Every query of the dashboard and of the alerts.
fn queries() -> Vec<String> {
    let dashboard = dashboard();
    let panels =
        drawn(&dashboard).into_iter().flat_map(targets).map(|target| text(target, "expr").to_owned());
    let annotations = dashboard["annotations"]["list"].as_array().expect("annotations");
    let annotations = annotations.iter().map(|annotation| text(annotation, "expr").to_owned());
    let alerts = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned);
    panels.chain(annotations).chain(alerts).collect()
}

#[test]
fn panels_ask_one_data_source_in_queries_that_prometheus_accepts() {
    let dashboard = dashboard();
    let targets: Vec<_> = drawn(&dashboard).into_iter().flat_map(targets).collect();
    assert!(targets.len() >= 20, "{}", targets.len());
    for target in &targets {
        assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
        assert!(text(target, "expr").contains("instance=~\"$instance\""), "{target}");
    }
    let rules = queries().into_iter().enumerate().map(|(number, query)| {
        let query =
            query.replace("$__rate_interval", "1m").replace("$__range", "1h").replace("$instance", ".*");
        format!("  - record: panel:{number}\n    expr: {}\n", Value::from(query))
    });
    let rules = format!("groups:\n- name: panels\n  rules:\n{}", rules.collect::<String>());
    let file = std::env::temp_dir().join(format!("pannier-panels-{}.yaml", std::process::id()));
    std::fs::write(&file, rules).expect("write");
    promtool(&["check", "rules", file.to_str().expect("UTF-8")]);
    let _ = std::fs::remove_file(file);
}

/// A rate of a gauge, or the plain value of a counter, draws nonsense after a restart.
#[test]
fn rates_are_asked_of_counters_and_of_nothing_else() {
    let metrics = metrics();
    for query in queries() {
        for (before, name, _) in uses(&query) {
            let family = name.strip_suffix("_bucket").unwrap_or(name);
            let grows = matches!(&*metrics[family].kind, "counter" | "histogram");
            let is_rate = ["rate(", "increase("].iter().any(|function| before.ends_with(function));
            assert_eq!(grows, is_rate, "{name} in {query}");
        }
    }
}

#[test]
fn queries_name_labels_and_values_that_there_are() {
    let metrics = metrics();
    for query in queries() {
        for (_, name, matchers) in uses(&query) {
            for (label, value) in matchers.split(", ").filter_map(|matcher| matcher.split_once(['=', '!'])) {
                if label == "instance" {
                    continue;
                }
                let known = metrics[name].labels.get(label).unwrap_or_else(|| panic!("{label} in {query}"));
                let values = value.trim_start_matches(['=', '~']).trim_matches('"').split('|');
                values.for_each(|value| assert!(known.contains(value), "{value} in {query}"));
            }
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    for panel in drawn(&dashboard()) {
        assert!(!text(panel, "title").is_empty(), "{panel}");
        assert!(!text(panel, "description").is_empty(), "{}", panel["title"]);
        let defaults = &panel["fieldConfig"]["defaults"];
        assert!(!text(defaults, "unit").is_empty(), "{}", panel["title"]);
    }
}

/// A legend can name a label only where the query leaves it: all of them without an aggregation, else those of `by`.
#[test]
fn legends_name_labels_that_their_queries_leave() {
    for panel in drawn(&dashboard()) {
        for target in targets(panel) {
            let (query, legend) = (text(target, "expr"), text(target, "legendFormat"));
            let named = legend.split("{{").skip(1).map(|rest| rest.split_once("}}").expect("an end").0);
            let aggregates = ["sum", "max", "min"].iter().any(|name| query.starts_with(name));
            for label in named {
                assert!(!aggregates || query.contains(&format!("by ({label})")), "{legend} of {query}");
            }
            assert!(panel["type"] != "timeseries" || !legend.is_empty(), "{query}");
        }
    }
}

#[test]
fn panels_lie_beside_each_other_within_the_grid_and_have_numbers_of_their_own() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut cells = BTreeMap::new();
    for panel in panels {
        let place = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        let (left, top, width, height) = (place("x"), place("y"), place("w"), place("h"));
        assert!(width > 0 && height > 0 && left + width <= COLUMNS, "{}", panel["title"]);
        for cell in (left..left + width).flat_map(|x| (top..top + height).map(move |y| (x, y))) {
            let other = cells.insert(cell, &panel["title"]);
            assert!(other.is_none(), "{} lies over {other:?}", panel["title"]);
        }
    }
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len(), "ids are unique");
}

/// The last value of a range is what a server said before it was gone: a tile asks for what is so now. And without steps
/// of its own, Grafana colours every number above 80 red.
#[test]
fn tiles_show_what_is_so_now_in_colours_that_mean_something() {
    let dashboard = dashboard();
    let tiles: Vec<_> = drawn(&dashboard).into_iter().filter(|panel| panel["type"] != "timeseries").collect();
    assert!(tiles.len() > 4);
    for tile in tiles {
        for target in targets(tile) {
            assert_eq!(
                (&target["instant"], &target["range"]),
                (&Value::from(true), &Value::from(false)),
                "{target}"
            );
        }
        let defaults = &tile["fieldConfig"]["defaults"];
        let fixed = defaults["color"]["mode"] == "fixed";
        assert!(fixed || defaults["thresholds"]["steps"].is_array(), "{}", tile["title"]);
    }
}

/// `.*` would take in every process that Prometheus scrapes, for `process_start_time_seconds` is not Pannier's alone.
#[test]
fn all_instances_are_those_of_pannier() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let instance = variables.iter().find(|variable| variable["name"] == "instance").expect("the instances");
    assert!(instance["allValue"].is_null(), "{instance}");
    assert_eq!(instance["query"]["query"], "label_values(pannier_build_info, instance)");
}
