//! The files in deploy/: what can be checked without the machines that they are for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::metrics_docs;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

fn promtool(arguments: [&str; 2], name: &str) {
    let output = Command::new("promtool").args(arguments).arg(file(name)).output();
    let output = output.expect("promtool is installed (scripts/test installs it)");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// The metrics that an expression asks for, as families: `…_bucket` belongs to its histogram.
fn asked_for(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\b(?:tranship|process)_[a-z_]+\b").unwrap();
    let part = Regex::new("_(bucket|sum|count)$").unwrap();
    let known = metrics_docs::families();
    let family = |name: &str| match known.contains(name) {
        true => name.to_owned(),
        false => part.replace(name, "").into_owned(),
    };
    name.find_iter(text).map(|found| family(found.as_str())).collect()
}

fn alert_names(text: &str) -> BTreeSet<String> {
    let alert = Regex::new(r"- alert: (\w+)").unwrap();
    alert.captures_iter(text).map(|alert| alert[1].to_owned()).collect()
}

#[test]
fn the_alerts_are_valid_and_fire_when_they_should() {
    promtool(["check", "rules"], "prometheus/alerts.yml");
    promtool(["test", "rules"], "prometheus/alerts_test.yml");
}

#[test]
fn every_alert_is_tested_both_ways_and_says_what_to_do() {
    let (alerts, tests) = (read("prometheus/alerts.yml"), read("prometheus/alerts_test.yml"));
    let names = alert_names(&alerts);
    assert!(names.len() > 10, "{names:?}");
    let tested: Vec<&str> = tests.split("- name: ").skip(1).collect();
    for (name, alert) in
        names.iter().zip(alerts.split("- alert: ").skip(1).collect::<BTreeSet<_>>())
    {
        assert!(alert.starts_with(name.as_str()), "{name}: {alert}");
        for part in ["severity: ", "summary: ", "description: ", "runbook: "] {
            assert_eq!(alert.matches(part).count(), 1, "{name} has one line `{part}`");
        }
        let test = tested.iter().find(|test| test.lines().next() == Some(name.as_str()));
        let test = test.unwrap_or_else(|| panic!("{name} has no test"));
        assert!(test.contains("exp_samples: []"), "{name} is never quiet");
        assert!(test.contains(&format!("alertname=\"{name}\",alertstate=\"firing\",")), "{name}");
    }
    assert_eq!(tested.len(), names.len(), "a test for each alert and no other");
}

/// The runbook has a section for each alert, and the alert links to it.
#[test]
fn every_alert_links_to_its_section_of_the_runbook() {
    let alerts = read("prometheus/alerts.yml");
    let runbook = file("../docs/runbook.md");
    let runbook = std::fs::read_to_string(runbook).unwrap();
    let headings: BTreeSet<String> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|heading| heading.starts_with("Tranship"))
        .map(str::to_owned)
        .collect();
    assert_eq!(headings, alert_names(&alerts));
    for alert in alerts.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        let anchor = name.to_lowercase();
        let url = format!("runbook_url: https://docs.example.com/tranship/runbook.md#{anchor}\n");
        assert!(alert.contains(&url), "{alert}");
    }
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let known = metrics_docs::families();
    for name in ["prometheus/alerts.yml", "prometheus/alerts_test.yml", "grafana/tranship.json"] {
        let asked = asked_for(&read(name));
        let unknown: Vec<_> = asked.difference(&known).collect();
        assert!(asked.len() > 10 && unknown.is_empty(), "{name} asks for {unknown:?}");
    }
}

/// Whatever is measured can be seen.
#[test]
fn the_dashboard_shows_every_metric_of_its_own() {
    let shown = asked_for(&read("grafana/tranship.json"));
    let hidden: Vec<String> = metrics_docs::families()
        .into_iter()
        .filter(|name| name.starts_with("tranship_") && !shown.contains(name))
        .collect();
    // When things happened is in the table as time since; the rest is for alerts.
    assert_eq!(
        hidden,
        [
            "tranship_config_last_reload_success_timestamp_seconds",
            "tranship_history_lost_lines_total",
            "tranship_rule_last_run_timestamp_seconds",
            "tranship_state_lost_changes_total",
            "tranship_state_set_aside_total",
            "tranship_state_unsaved_seconds",
        ]
    );
}

#[test]
fn the_dashboard_is_one_that_grafana_can_lay_out() {
    let dashboard: Value = serde_json::from_str(&read("grafana/tranship.json")).unwrap();
    let variables: BTreeSet<String> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap().to_owned())
        .collect();
    let (mut numbers, mut taken) = (BTreeSet::new(), BTreeSet::new());
    let variable = Regex::new(r"\$(?:\{(\w+)\}|(\w+))").unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(numbers.insert(panel["id"].as_u64().unwrap()), "two panels with one id: {panel}");
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "wider than the page: {panel}");
        let described = panel["description"].as_str().is_some_and(|text| text.ends_with('.'));
        assert!(described || panel["type"] == "row", "what does it show? {panel}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "panels over each other: {panel}");
            }
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            for used in variable.captures_iter(&target.to_string()) {
                let name = used.get(1).or(used.get(2)).unwrap().as_str();
                assert!(name.starts_with("__") || variables.contains(name), "${name} is not set");
            }
        }
    }
}

/// Every expression of the dashboard is one that Prometheus understands: as rules of a file that
/// promtool checks.
#[test]
fn prometheus_understands_the_dashboard() {
    let dashboard: Value = serde_json::from_str(&read("grafana/tranship.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let expressions: Vec<String> = panels
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "5m"))
        .collect();
    assert!(expressions.len() > 30, "{}", expressions.len());
    let rules: String = expressions
        .iter()
        .enumerate()
        .map(|(at, expr)| {
            format!("- {{record: \"panel:{at}\", expr: {}}}\n", Value::from(expr.as_str()))
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("panels.yml");
    std::fs::write(&path, format!("groups:\n- name: panels\n  rules:\n{}", indent(&rules)))
        .unwrap();
    promtool(["check", "rules"], path.to_str().unwrap());
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
