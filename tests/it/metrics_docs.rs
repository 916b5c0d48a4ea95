//! Metrics as Prometheus and people read them: names, types and labels, in the output and in
//! docs/metrics.md.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use http::{Method, StatusCode};
use jiff::Timestamp;
use regex::Regex;
use tranship::metrics::{EventOutcome, LastPlan, Metrics, NoAnswer, TokenOutcome, WindowKind};

use crate::support::Samples;

/// Metrics in which every family has something to show.
pub fn touched() -> Metrics {
    let (metrics, second) = (Metrics::new(), Duration::from_secs(1));
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let rule = metrics.rule("apps", false);
    drop(rule.begin());
    rule.ended(true, "succeeded", now, second);
    rule.next_run(Some(now));
    rule.tags("copied", 3);
    rule.sent(1 << 20);
    rule.lag("event", second);
    rule.lag("pass", second * 3600);
    let cleanup = metrics.rule("old", true);
    for outcome in tranship::removal::StepOutcome::ALL {
        cleanup.steps(&outcome.to_string(), 3);
    }
    cleanup.freed(1 << 20);
    cleanup.planned(now, LastPlan { tags: 3, sound: 1, ..LastPlan::default() });
    let registry = metrics.registry(&"registry.example.com:5000".parse().unwrap());
    registry.answered(&Method::GET, StatusCode::OK);
    registry.waited(&Method::GET, second);
    registry.unanswered(NoAnswer::TimedOut);
    registry.retried();
    registry.received(1);
    registry.sent(1);
    registry.window(WindowKind::Requests, 8);
    drop(registry.begin(WindowKind::Uploads));
    registry.quota(100, 7);
    registry.token(TokenOutcome::Refused);
    metrics.transfers().blob("registry.example.com:5000", "mounted", 1);
    metrics.transfers().under_way(1, second);
    let daemon = metrics.daemon();
    daemon.event("harbor", EventOutcome::Accepted);
    daemon.event_of_unknown_source();
    daemon.notification(true);
    daemon.configured(now);
    daemon.state_size(1);
    daemon.state_unsaved(second, 1);
    daemon.queue_length(1);
    metrics
}

/// The families that a scrape can show.
pub fn families() -> BTreeSet<String> {
    Samples::parse(&touched().render().unwrap()).families().into_keys().collect()
}

#[test]
fn every_metric_is_documented_as_it_is() {
    let text = include_str!("../../docs/metrics.md");
    let row = Regex::new(r"(?m)^\| `([a-z_]+)` \| ([a-z]+) \|(.*?)\| \S").unwrap();
    let label = Regex::new("`([a-z_]+)`").unwrap();
    let documented: BTreeMap<String, (String, BTreeSet<String>)> = row
        .captures_iter(text)
        .map(|row| {
            let labels = label.captures_iter(&row[3]).map(|label| label[1].to_owned());
            (row[1].to_owned(), (row[2].to_owned(), labels.collect()))
        })
        .collect();
    assert_eq!(Samples::parse(&touched().render().unwrap()).families(), documented);
}

/// Every value of a label with a closed set of values stands in the metric's row.
#[test]
fn every_value_of_a_closed_label_is_documented() {
    let documentation = include_str!("../../docs/metrics.md");
    let word = Regex::new("`([^`]+)`").unwrap();
    let pair = Regex::new(r#"([a-z_]+)="([^"]*)""#).unwrap();
    let mut checked = 0;
    for line in touched().render().unwrap().lines().filter(|line| !line.starts_with('#')) {
        let Some((name, labels)) = line.split_once('{') else { continue };
        let row = documentation.lines().find(|row| row.starts_with(&format!("| `{name}` |")));
        let Some(row) = row else { continue }; // `_bucket` and the like of histograms.
        let words: BTreeSet<&str> =
            word.captures_iter(row).map(|word| word.get(1).unwrap().as_str()).collect();
        for pair in pair.captures_iter(labels) {
            let (label, value) = (&pair[1], pair.get(2).unwrap().as_str());
            if ["scope", "outcome", "basis", "fate", "state"].contains(&label) {
                assert!(words.contains(value), "`{value}` of {label} is missing in: {row}");
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "{checked}");
}

#[test]
fn promtool_finds_nothing_to_blame() {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (scripts/test installs it)");
    let text = touched().render().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.trim().is_empty(), "{said}\n{text}");
}

/// Five hundred rules that have done all there is to do: what a scrape of them costs.
#[test]
fn many_rules_stay_small() {
    let metrics = Metrics::new();
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    for number in 0..500 {
        let rule = metrics.rule(&format!("rule-{number}"), false);
        rule.ended(true, "succeeded", now, Duration::from_secs(9));
        rule.next_run(Some(now));
        rule.lag("pass", Duration::from_secs(900));
    }
    let text = metrics.render().unwrap();
    let lines = text.lines().count();
    assert!(lines < 500 * 45, "{lines} lines");
    assert!(text.len() < 2_500_000, "{} bytes", text.len());
}
