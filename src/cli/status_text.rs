//! The status report as text. Pure: the time of day is passed in.

use jiff::Timestamp;

use super::fit::{beginning, end, padded, with_short_digest};
use super::lines::Lines;
use super::output::{bytes, seconds, span, table};
use super::progress::{Room, bar};
use super::report::{cleaned, outcome};
use super::status_report::Report;
use crate::config::RuleKind;
use crate::config::cleanup::Mode;
use crate::daemon::view::{ActiveRun, RuleStatus, Status, Transfer};
use crate::history::RunRecord;
use crate::sync::Counts;
use crate::text::{counted, inert};

/// Columns of a name beside a bar.
const LABEL: usize = 44;
/// Columns of a bar.
const BAR: usize = 24;

/// A bar of the live view.
#[derive(Debug, PartialEq, Eq)]
pub struct Bar {
    pub label: String,
    pub done: u64,
    pub total: u64,
    pub tail: String,
}

/// All of it, as text that is printed once.
pub fn text(report: &Report, now: Timestamp) -> Lines {
    let mut lines = head(report, now);
    let mut part = |part: Lines| {
        lines.line("");
        lines.add(&part);
    };
    if report.daemon.is_some() || !report.rules.is_empty() {
        part(rules(&report.rules, now));
    }
    if !report.running.is_empty() {
        part(runs(&report.running, now));
    }
    if !report.transfers.is_empty() {
        part(transfers(&report.transfers, now));
    }
    lines
}

/// The daemon as a whole, and what a person should know.
pub fn head(report: &Report, now: Timestamp) -> Lines {
    let mut lines = Lines::default();
    if let Some(status) = &report.daemon {
        let Status { version, rules, running, queued, transfers, started, .. } = status;
        lines.line(format!(
            "tranship {version}, up {}: rules {rules}, running {running}, waiting {queued}, \
             transfers {transfers}",
            span(between(*started, now)),
        ));
        let (file, loaded) = (&status.config.file, ago(status.config.loaded, now));
        lines.line(format!("configuration {file}, loaded {loaded}"));
    }
    // A mistake in the configuration has several lines.
    report.notes.iter().for_each(|note| lines.add(&Lines::of(&format!("note: {note}"))));
    lines
}

/// One line a rule.
pub fn rules(rules: &[RuleStatus], now: Timestamp) -> Lines {
    if rules.is_empty() {
        return Lines::one("no rules");
    }
    let heads = ["RULE", "SCHEDULE", "LAST RUN", "OUTCOME", "FAILURES", "NEXT RUN", ""];
    table(heads, rules.iter().map(|rule| rule_row(rule, now)))
}

fn rule_row(rule: &RuleStatus, now: Timestamp) -> [String; 7] {
    let last =
        |what: &dyn Fn(&RunRecord) -> String| rule.last_run.as_ref().map_or("-".into(), what);
    let next = match rule.next_run {
        _ if !rule.running.is_empty() => "running".to_owned(),
        _ if rule.queued => "waiting".to_owned(),
        Some(next) if next <= now => "now".to_owned(),
        Some(next) => format!("in {}", span(between(now, next))),
        None => "-".to_owned(),
    };
    [
        rule.name.clone(),
        rule.schedule.clone().unwrap_or_else(|| "on request".to_owned()),
        last(&|run| {
            let ended = ago(run.finished.unwrap_or(run.started), now);
            format!("{ended}, {}", seconds(run.seconds))
        }),
        last(&|run| outcome(run.outcome)),
        rule.consecutive_failures.to_string(),
        next,
        cleanup(rule).unwrap_or_default(),
    ]
}

/// Of a cleanup rule: whether it deletes, and what came of that.
fn cleanup(rule: &RuleStatus) -> Option<String> {
    let mode = match rule.mode? {
        Mode::Plan => "cleanup, plans only",
        Mode::Apply => "cleanup",
    };
    let last = rule.last_run.as_ref().and_then(|run| run.cleanup.as_ref()).map(cleaned);
    Some(last.map_or(mode.to_owned(), |last| format!("{mode}: {last}")))
}

fn runs(runs: &[ActiveRun], now: Timestamp) -> Lines {
    let heads = [
        "RUN",
        "RULE",
        "CAUSE",
        "FOR",
        "IMAGES",
        "COPIED",
        "UNCHANGED",
        "KEPT",
        "FAILED",
        "SENT",
        "",
    ];
    let rows = runs.iter().map(|run| {
        let Counts { copied, unchanged, kept, failed, .. } = run.counts;
        // Images are what other rules are about.
        let of_images = |text: String| match run.kind {
            RuleKind::Sync => text,
            RuleKind::Cleanup => "-".to_owned(),
        };
        [
            run.id.to_string(),
            run.rule.clone(),
            run.cause.to_string(),
            span(between(run.started, now)),
            of_images(format!("{} of {}", run.counts.settled(), run.considered)),
            of_images(copied.to_string()),
            of_images(unchanged.to_string()),
            of_images(kept.to_string()),
            of_images(failed.to_string()),
            of_images(bytes(run.bytes)),
            stalled(run).unwrap_or_default(),
        ]
    });
    table(heads, rows)
}

fn transfers(transfers: &[Transfer], now: Timestamp) -> Lines {
    let heads = ["TRANSFER", "TO", "FOR", "DONE", "SENT", "RATE"];
    let rows = transfers.iter().map(|transfer| {
        let done = percent(transfer.bytes_done, transfer.bytes_total);
        [
            with_short_digest(&transfer.source),
            transfer.targets.join(", "),
            span(between(transfer.started, now)),
            done.map_or("-".to_owned(), |done| format!("{done}%")),
            format!("{} of {}", bytes(transfer.bytes_done), bytes(transfer.bytes_total)),
            format!("{}/s", bytes(transfer.bytes_per_second as u64)),
        ]
    });
    table(heads, rows)
}

/// All of it in what room a terminal has: what matters most comes first, because what does not fit
/// is not shown. No line is as wide as the terminal.
pub fn live(report: &Report, now: Timestamp, room: Room) -> Vec<String> {
    let (head, rules) = (head(report, now), rules(&report.rules, now));
    let bars = bars(report).into_iter().map(|wanted| {
        let bar = bar(wanted.done, wanted.total, BAR);
        inert(&format!("{} [{bar}] {}", wanted.label, wanted.tail)).into_owned()
    });
    let owned = |lines: &Lines| lines.as_str().lines().map(str::to_owned).collect::<Vec<_>>();
    let lines = owned(&head).into_iter().chain(bars).chain([String::new()]).chain(owned(&rules));
    let width = room.columns.saturating_sub(1);
    lines.take(room.lines.saturating_sub(1)).map(|line| beginning(&line, width)).collect()
}

/// The bars of the live view: one a run, one a transfer.
fn bars(report: &Report) -> Vec<Bar> {
    let runs = report.running.iter().map(|run| {
        let mut tail = match run.kind {
            RuleKind::Cleanup => "cleanup".to_owned(),
            RuleKind::Sync => format!(
                "{} of {}, {} copied, {} sent",
                run.counts.settled(),
                counted(run.considered, "image", "images"),
                run.counts.copied,
                bytes(run.bytes)
            ),
        };
        if run.counts.failed > 0 {
            tail.push_str(&format!(", {} FAILED", run.counts.failed));
        }
        if let Some(stalled) = stalled(run) {
            tail.push_str(&format!(", {stalled}"));
        }
        let (done, total) = (run.counts.settled() as u64, run.considered as u64);
        Bar { label: end_of(&run.rule), done, total, tail }
    });
    let transfers = report.transfers.iter().map(|transfer| Bar {
        // The source is often a digest, where the target has the tag.
        label: end_of(transfer.targets.first().unwrap_or(&transfer.source)),
        done: transfer.bytes_done,
        total: transfer.bytes_total,
        tail: format!(
            "{} of {}, {}/s",
            bytes(transfer.bytes_done),
            bytes(transfer.bytes_total),
            bytes(transfer.bytes_per_second as u64)
        ),
    });
    runs.chain(transfers).collect()
}

/// The end of a name, in a column of its own.
fn end_of(name: &str) -> String {
    padded(&end(name, LABEL), LABEL)
}

fn stalled(run: &ActiveRun) -> Option<String> {
    run.stalled_seconds.map(|still| format!("nothing has moved for {}", span(still)))
}

/// `None`: the total is not known.
fn percent(done: u64, total: u64) -> Option<u64> {
    (total > 0).then(|| (u128::from(done) * 100 / u128::from(total)) as u64)
}

fn between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

fn ago(time: Timestamp, now: Timestamp) -> String {
    format!("{} ago", span(between(time, now)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Report {
        let counts = json!({ "copied": 3, "unchanged": 8, "kept": 0, "failed": 1 });
        let id = |n: u32| format!("20261121T09000{n}Z-00000{n}");
        let rule = |name: &str, more: serde_json::Value| {
            let mut rule = json!({
                "name": name, "source": "r.io/a", "targets": ["t.io/a"],
                "running": [], "queued": false, "consecutive_failures": 0,
            });
            rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            rule
        };
        let last_run = json!({
            "id": id(1), "rule": "nightly", "cause": "schedule",
            "started": "2026-11-21T08:00:00Z", "finished": "2026-11-21T08:01:30Z",
            "outcome": "failed", "repositories": 1, "counts": counts, "bytes": 1,
            "seconds": 90.0, "failures": [], "notes": [],
        });
        Report {
            daemon: serde_json::from_value(json!({
                "version": "1.2.3", "started": "2026-11-19T06:00:00Z", "stopping": false,
                "rules": 3, "running": 1, "queued": 1, "transfers": 1, "state": "/s",
                "state_bytes": 1,
                "config": { "file": "/etc/t.toml", "loaded": "2026-11-21T09:59:00Z" },
            }))
            .unwrap(),
            rules: serde_json::from_value(json!([
                rule(
                    "nightly",
                    json!({
                        "schedule": "0 3 * * * (Europe/Berlin)", "consecutive_failures": 2,
                        "last_run": last_run, "next_run": "2026-11-21T10:12:30Z",
                    })
                ),
                rule("often", json!({ "schedule": "every 15m", "running": [id(2)] })),
                rule("asked", json!({ "queued": true })),
                rule("due", json!({ "next_run": "2026-11-21T09:59:59Z" })),
                rule("never", json!({})),
            ]))
            .unwrap(),
            running: serde_json::from_value(json!([{
                "id": id(2), "rule": "often", "cause": "event", "considered": 40,
                "started": "2026-11-21T09:45:00Z", "counts": counts, "bytes": 5 << 20,
                "stalled_seconds": 905.0,
            }]))
            .unwrap(),
            transfers: serde_json::from_value(json!([{
                "run": id(2), "rule": "often",
                "source": format!("r.io/app@sha256:{}", "0123456789".repeat(6) + "abcd"),
                "targets": ["registry.example.com/an/organisation/with/names/app:1.0", "b.io/app:1.0"], "started": "2026-11-21T09:59:50Z",
                "bytes_done": 30 << 20, "bytes_total": 120 << 20,
                "bytes_per_second": 3145728.0, "idle_seconds": 0.1,
            }]))
            .unwrap(),
            notes: vec!["the daemon is stopping".to_owned()],
        }
    }

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn the_text_has_rules_runs_and_transfers() {
        insta::assert_snapshot!(text(&report(), now()).as_str(), @r#"
    tranship 1.2.3, up 2d 4h: rules 3, running 1, waiting 1, transfers 1
    configuration /etc/t.toml, loaded 1m ago
    note: the daemon is stopping

    RULE     SCHEDULE                   LAST RUN            OUTCOME  FAILURES  NEXT RUN
    nightly  0 3 * * * (Europe/Berlin)  1h 58m ago, 1m 30s  FAILED   2         in 12m
    often    every 15m                  -                   -        0         running
    asked    on request                 -                   -        0         waiting
    due      on request                 -                   -        0         now
    never    on request                 -                   -        0         -

    RUN                      RULE   CAUSE  FOR  IMAGES    COPIED  UNCHANGED  KEPT  FAILED  SENT
    20261121T090002Z-000002  often  event  15m  12 of 40  3       8          0     1       5.0 MiB  nothing has moved for 15m

    TRANSFER                       TO                                                                     FOR  DONE  SENT                   RATE
    r.io/app@sha256:012345678901…  registry.example.com/an/organisation/with/names/app:1.0, b.io/app:1.0  10s  25%   30.0 MiB of 120.0 MiB  3.0 MiB/s
    "#);
    }

    #[test]
    fn without_a_daemon_only_notes_are_shown() {
        let notes = vec!["no daemon listens".to_owned()];
        let report = Report { notes, ..Report::default() };
        assert_eq!(text(&report, now()).as_str(), "note: no daemon listens\n");
    }

    #[test]
    fn bars_have_labels_of_one_width() {
        let bars = bars(&report());
        assert!(bars.iter().all(|bar| bar.label.chars().count() == LABEL), "{bars:?}");
        assert_eq!((bars[0].done, bars[0].total), (12, 40));
        let tail = "12 of 40 images, 3 copied, 5.0 MiB sent, 1 FAILED, nothing has moved for 15m";
        assert_eq!(bars[0].tail, tail);
        assert!(bars[1].label.starts_with('…') && bars[1].label.ends_with("/app:1.0"), "{bars:?}");
        assert_eq!(bars[1].tail, "30.0 MiB of 120.0 MiB, 3.0 MiB/s");
    }

    #[test]
    fn percent_of_zero_is_unknown() {
        assert_eq!([percent(0, 0), percent(1, 3), percent(5, 5)], [None, Some(33), Some(100)]);
        assert_eq!(percent(u64::MAX, u64::MAX), Some(100));
    }
}
