use std::time::Duration;

use http::{Method, StatusCode};
use jiff::Timestamp;

use super::*;

fn lines(metrics: &Metrics, start: &str) -> Vec<String> {
    let text = metrics.render().unwrap();
    text.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

#[test]
fn only_complete_runs_say_how_a_rule_is_doing() {
    let metrics = Metrics::new();
    let rule = metrics.rule("apps", false);
    let second = Duration::from_secs(1);
    let running = |number: u32| {
        let shown = format!("tranship_rule_running{{rule=\"apps\"}} {number}");
        assert_eq!(lines(&metrics, "tranship_rule_running"), [shown]);
    };
    let (complete, for_event) = (rule.begin(), rule.begin());
    running(2);
    drop((complete, for_event));
    running(0);
    assert!(lines(&metrics, "tranship_rule_last_").is_empty());
    rule.ended(true, "succeeded", at(1_000), second * 90);
    rule.ended(true, "failed", at(2_000), second);
    rule.ended(true, "failed", at(3_000), second);
    rule.ended(true, "interrupted", at(4_000), second * 2);
    rule.ended(false, "succeeded", at(5_000), second);
    assert_eq!(
        lines(&metrics, "tranship_rule_last_"),
        [
            "tranship_rule_last_run_timestamp_seconds{rule=\"apps\"} 4000",
            "tranship_rule_last_success_timestamp_seconds{rule=\"apps\"} 1000",
            "tranship_rule_last_run_duration_seconds{rule=\"apps\"} 2",
        ]
    );
    let in_a_row = || lines(&metrics, "tranship_rule_failures_in_a_row");
    assert_eq!(in_a_row(), ["tranship_rule_failures_in_a_row{rule=\"apps\"} 2"]);
    rule.ended(true, "succeeded", at(6_000), second);
    assert_eq!(in_a_row(), ["tranship_rule_failures_in_a_row{rule=\"apps\"} 0"]);
    assert_eq!(
        lines(&metrics, "tranship_rule_runs_total"),
        [
            "tranship_rule_runs_total{rule=\"apps\",scope=\"all\",outcome=\"succeeded\"} 2",
            "tranship_rule_runs_total{rule=\"apps\",scope=\"all\",outcome=\"failed\"} 2",
            "tranship_rule_runs_total{rule=\"apps\",scope=\"all\",outcome=\"interrupted\"} 1",
            "tranship_rule_runs_total{rule=\"apps\",scope=\"tags\",outcome=\"succeeded\"} 1",
            "tranship_rule_runs_total{rule=\"apps\",scope=\"tags\",outcome=\"failed\"} 0",
            "tranship_rule_runs_total{rule=\"apps\",scope=\"tags\",outcome=\"interrupted\"} 0",
        ]
    );
}

#[test]
fn lines_of_the_history_are_lost_once() {
    let metrics = Metrics::new();
    for (lost, shown) in [(0, 0), (3, 3), (3, 3), (5, 5)] {
        metrics.daemon().history_lost(lost);
        let line = format!("tranship_history_lost_lines_total {shown}");
        assert_eq!(lines(&metrics, "tranship_history_lost"), [line]);
    }
}

#[test]
fn a_rule_that_is_gone_is_not_shown() {
    let metrics = Metrics::new();
    let (gone, stays) = (metrics.rule("gone", false), metrics.rule("stays", false));
    metrics.retain_rules(|name| name == "stays");
    gone.ended(true, "succeeded", at(1), Duration::ZERO);
    stays.next_run(Some(at(7)));
    let text = metrics.render().unwrap();
    assert!(!text.contains("gone"), "{text}");
    assert!(
        text.contains("tranship_rule_next_run_timestamp_seconds{rule=\"stays\"} 7\n"),
        "{text}"
    );
    stays.next_run(None);
    assert!(lines(&metrics, "tranship_rule_next_run").is_empty());
}

#[test]
fn handles_of_one_registry_count_together() {
    let metrics = Metrics::new();
    let host = "registry.example.com".parse().unwrap();
    let (one, other) = (metrics.registry(&host), metrics.clone().registry(&host));
    one.answered(&Method::GET, StatusCode::OK);
    other.answered(&Method::GET, StatusCode::OK);
    let under_way = (one.begin(WindowKind::Requests), other.begin(WindowKind::Requests));
    let in_flight = || lines(&metrics, "tranship_registry_in_flight");
    let shown = |kind: &str, number: u32| {
        format!(
            "tranship_registry_in_flight{{kind=\"{kind}\",registry=\"registry.example.com\"}} {number}"
        )
    };
    assert_eq!(in_flight(), [shown("requests", 2), shown("uploads", 0)]);
    drop(under_way);
    assert_eq!(in_flight(), [shown("requests", 0), shown("uploads", 0)]);
    assert_eq!(
        lines(&metrics, "tranship_registry_requests_total"),
        [
            "tranship_registry_requests_total{method=\"GET\",registry=\"registry.example.com\",status=\"200\"} 2"
        ]
    );
}

#[test]
fn what_was_never_said_is_not_shown() {
    let metrics = Metrics::new();
    let registry = metrics.registry(&"docker.io".parse().unwrap());
    assert!(lines(&metrics, "tranship_registry_pull_quota").is_empty());
    registry.quota(100, 7);
    assert_eq!(
        lines(&metrics, "tranship_registry_pull_quota"),
        [
            "tranship_registry_pull_quota{registry=\"docker.io\"} 100",
            "tranship_registry_pull_quota_remaining{registry=\"docker.io\"} 7",
        ]
    );
}

#[test]
fn a_refused_configuration_shows_until_a_good_one_comes() {
    let metrics = Metrics::new();
    metrics.daemon().configured(at(5));
    let shown = || lines(&metrics, "tranship_config_");
    let expected = |good: u8, failed: u8, succeeded: u8, at: i64| {
        [
            format!("tranship_config_last_reload_success_timestamp_seconds {at}"),
            format!("tranship_config_last_reload_successful {good}"),
            format!("tranship_config_reloads_total{{outcome=\"failed\"}} {failed}"),
            format!("tranship_config_reloads_total{{outcome=\"succeeded\"}} {succeeded}"),
        ]
    };
    assert_eq!(shown(), expected(1, 0, 0, 5));
    metrics.daemon().reload_failed();
    assert_eq!(shown(), expected(0, 1, 0, 5));
    metrics.daemon().reloaded(at(9));
    assert_eq!(shown(), expected(1, 1, 1, 9));
}
