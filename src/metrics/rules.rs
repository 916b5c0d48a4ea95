//! The rules: what each did and will do.
//!
//! There may be hundreds, with some dozen numbers each, and a reload can take any of them away.
//! So a rule is one block of plain numbers, where a handle of the client library for each number
//! would take ten times the memory; and families are made and written one after the other, when
//! they are asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::RwLock;
use prometheus::proto::MetricType;

use super::cleanups::{self, CleanupNumbers, LastPlan, StepOutcome};
use super::durations::Durations;
use super::family::{Family, Value, number, show_if_any};
use super::moment::Moment;
use crate::config::RuleKind;

/// Seconds that a complete run takes.
const RUN: [f64; 7] = [1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 43_200.0];
/// Seconds that a change at the source went unmirrored: 0.1 s to 7 days.
const LAG: [f64; 12] =
    [0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0];

/// What a run was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunScope {
    /// Everything that the rule selects.
    All,
    /// Some tags, because of an event.
    Tags,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOutcome {
    Succeeded,
    Failed,
    /// It was stopped before its end.
    Interrupted,
    /// It deleted nothing somewhere because of its own limits: only of cleanup rules.
    Limited,
}

/// What became of a tag at one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagOutcome {
    Copied,
    Unchanged,
    Kept,
    Withheld,
    Failed,
}

/// What is known of the moment at which a mirrored change was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LagBasis {
    /// The push event that told of it: exact.
    Event,
    /// The complete pass before, which did not see it yet: the lag is at most that.
    Pass,
}

const SCOPES: [&str; 2] = ["all", "tags"];
const RUN_OUTCOMES: [&str; 4] = ["succeeded", "failed", "interrupted", "limited"];
const TAG_OUTCOMES: [&str; 5] = ["copied", "unchanged", "kept", "withheld", "failed"];
const BASES: [&str; 2] = ["event", "pass"];

/// The metrics of one rule. Clones are the same metrics.
#[derive(Debug, Clone)]
pub struct RuleMetrics(Arc<Numbers>);

/// The arrays are in the order of the enums, and so are the constants with their labels.
#[derive(Debug)]
pub(super) struct Numbers {
    running: AtomicU64,
    last_run: Moment,
    last_success: Moment,
    next_run: Moment,
    /// Of the last complete run; `u64::MAX`: there was none.
    last_duration_ms: AtomicU64,
    failures_in_a_row: AtomicU64,
    runs: [[AtomicU64; 4]; 2],
    tags: [AtomicU64; 5],
    sent: AtomicU64,
    durations: Durations,
    lags: [Durations; 2],
    /// Only of a cleanup rule, which has no `tags`, `sent` and `lags`.
    pub cleanup: Option<Box<CleanupNumbers>>,
}

impl RuleMetrics {
    fn new(kind: RuleKind) -> Self {
        Self(Arc::new(Numbers {
            running: AtomicU64::new(0),
            last_run: Moment::new(),
            last_success: Moment::new(),
            next_run: Moment::new(),
            last_duration_ms: AtomicU64::new(u64::MAX),
            failures_in_a_row: AtomicU64::new(0),
            runs: Default::default(),
            tags: Default::default(),
            sent: AtomicU64::new(0),
            durations: Durations::new(&RUN),
            lags: [Durations::new(&LAG), Durations::new(&LAG)],
            cleanup: (kind == RuleKind::Cleanup).then(|| Box::new(CleanupNumbers::new())),
        }))
    }

    /// What is known from before this process: when the last complete run ended, the last one
    /// that succeeded, and how many complete runs have failed since.
    pub fn remember(
        &self,
        last_run: Option<Timestamp>,
        last_success: Option<Timestamp>,
        failures_in_a_row: u64,
    ) {
        self.0.last_run.set(last_run);
        self.0.last_success.set(last_success);
        self.0.failures_in_a_row.store(failures_in_a_row, Ordering::Relaxed);
    }

    /// When the rule is due next; `None`: never, or not known.
    pub fn next_run(&self, at: Option<Timestamp>) {
        self.0.next_run.set(at);
    }

    /// A run is under way, until the guard is dropped.
    pub fn begin(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        Running(self.clone())
    }

    /// A run ended at `at` and `took` so long. Only complete runs say how the rule is doing:
    /// those of some tags are counted, no more.
    pub fn ended(&self, scope: RunScope, outcome: RunOutcome, at: Timestamp, took: Duration) {
        let numbers = &*self.0;
        numbers.runs[scope as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
        if scope == RunScope::Tags {
            return;
        }
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        numbers.last_duration_ms.store(millis, Ordering::Relaxed);
        numbers.durations.observe(took);
        numbers.last_run.set(Some(at));
        match outcome {
            RunOutcome::Succeeded => {
                numbers.last_success.set(Some(at));
                numbers.failures_in_a_row.store(0, Ordering::Relaxed);
            }
            RunOutcome::Failed => {
                numbers.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
            }
            RunOutcome::Interrupted => {}
            // Everything could be read, which ends a row of failures.
            RunOutcome::Limited => numbers.failures_in_a_row.store(0, Ordering::Relaxed),
        }
    }

    /// So many tags were considered, with this outcome.
    pub fn tags(&self, outcome: TagOutcome, count: u64) {
        self.0.tags[outcome as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// So many bytes of blobs were sent to targets.
    pub fn sent(&self, bytes: u64) {
        self.0.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A change at the source has arrived at the target after this time.
    pub fn lag(&self, basis: LagBasis, lag: Duration) {
        self.0.lags[basis as usize].observe(lag);
    }

    /// So many steps of a plan ended so. Of a rule that is none of cleanup, nothing is counted.
    pub fn steps(&self, outcome: StepOutcome, count: u64) {
        self.0.cleanup.iter().for_each(|cleanup| cleanup.steps(outcome, count));
    }

    /// So many bytes are used by nothing any more.
    pub fn freed(&self, bytes: u64) {
        self.0.cleanup.iter().for_each(|cleanup| cleanup.freed(bytes));
    }

    /// A complete run had plans, by this time.
    pub fn planned(&self, at: Timestamp, plan: LastPlan) {
        self.0.cleanup.iter().for_each(|cleanup| cleanup.planned(at, plan));
    }

    fn kind(&self) -> RuleKind {
        if self.0.cleanup.is_some() { RuleKind::Cleanup } else { RuleKind::Sync }
    }
}

/// A run that is under way, for as long as this lives.
#[must_use]
#[derive(Debug)]
pub struct Running(RuleMetrics);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All rules.
#[derive(Default)]
pub(super) struct Rules {
    by_name: RwLock<BTreeMap<String, RuleMetrics>>,
}

const FAMILIES: [Family; 11] = [
    Family {
        name: "tranship_rule_last_run_timestamp_seconds",
        help: "End of the last full run of the rule, whatever its outcome.",
        kind: MetricType::GAUGE,
        read: |rule, show| show_if_any(rule.last_run.get(), show),
    },
    Family {
        name: "tranship_rule_last_success_timestamp_seconds",
        help: "End of the last successful full run of the rule.",
        kind: MetricType::GAUGE,
        read: |rule, show| show_if_any(rule.last_success.get(), show),
    },
    Family {
        name: "tranship_rule_next_run_timestamp_seconds",
        help: "Next scheduled run of the rule.",
        kind: MetricType::GAUGE,
        read: |rule, show| show_if_any(rule.next_run.get(), show),
    },
    Family {
        name: "tranship_rule_last_run_duration_seconds",
        help: "Duration of the last full run of the rule.",
        kind: MetricType::GAUGE,
        read: |rule, show| {
            let millis = rule.last_duration_ms.load(Ordering::Relaxed);
            show_if_any((millis != u64::MAX).then(|| millis as f64 / 1e3), show);
        },
    },
    Family {
        name: "tranship_rule_running",
        help: "Runs of the rule in progress.",
        kind: MetricType::GAUGE,
        read: |rule, show| show(&[], number(&rule.running)),
    },
    Family {
        name: "tranship_rule_failures_in_a_row",
        help: "Full runs of the rule that failed since the last one that succeeded or was limited.",
        kind: MetricType::GAUGE,
        read: |rule, show| show(&[], number(&rule.failures_in_a_row)),
    },
    Family {
        name: "tranship_rule_runs_total",
        help: "Runs of the rule that ended, by scope and outcome.",
        kind: MetricType::COUNTER,
        read: |rule, show| {
            for (scope, runs) in SCOPES.iter().zip(&rule.runs) {
                // A rule that deletes nothing has no limits.
                let outcomes = if rule.cleanup.is_some() { 4 } else { 3 };
                for (outcome, count) in RUN_OUTCOMES.iter().zip(runs).take(outcomes) {
                    show(&[("scope", scope), ("outcome", outcome)], number(count));
                }
            }
        },
    },
    Family {
        name: "tranship_rule_run_duration_seconds",
        help: "Duration of full runs of the rule.",
        kind: MetricType::HISTOGRAM,
        read: |rule, show| show(&[], Value::Durations(rule.durations.show())),
    },
    Family {
        name: "tranship_rule_tags_total",
        help: "Tags processed by runs of the rule, counted once per target, by outcome.",
        kind: MetricType::COUNTER,
        read: |rule, show| {
            if rule.cleanup.is_some() {
                return;
            }
            for (outcome, count) in TAG_OUTCOMES.iter().zip(&rule.tags) {
                show(&[("outcome", outcome)], number(count));
            }
        },
    },
    Family {
        name: "tranship_rule_sent_bytes_total",
        help: "Bytes of blobs that runs of the rule sent to targets.",
        kind: MetricType::COUNTER,
        read: |rule, show| {
            if rule.cleanup.is_none() {
                show(&[], number(&rule.sent));
            }
        },
    },
    Family {
        name: "tranship_rule_mirror_lag_seconds",
        help: "Time from a change at the source until it was mirrored: from its event, or at most from the previous full run.",
        kind: MetricType::HISTOGRAM,
        read: |rule, show| {
            for (basis, lags) in BASES.iter().zip(&rule.lags) {
                if !lags.is_empty() {
                    show(&[("basis", basis)], Value::Durations(lags.show()));
                }
            }
        },
    },
];

impl Rules {
    /// A rule whose name was that of a rule of another kind begins anew.
    pub fn get(&self, name: &str, kind: RuleKind) -> RuleMetrics {
        let mut by_name = self.by_name.write();
        if let Some(known) = by_name.get(name).filter(|known| known.kind() == kind) {
            return known.clone();
        }
        let new = RuleMetrics::new(kind);
        by_name.insert(name.to_owned(), new.clone());
        new
    }

    pub fn retain(&self, is_kept: impl Fn(&str) -> bool) {
        let mut by_name = self.by_name.write();
        by_name.retain(|name, _| is_kept(name));
    }

    /// Writes all families in the text format.
    pub fn write(&self, text: &mut String) -> prometheus::Result<()> {
        let by_name = self.by_name.read();
        for family in FAMILIES.iter().chain(&cleanups::FAMILIES) {
            family.write(by_name.iter().map(|(name, rule)| (&**name, &*rule.0)), text)?;
        }
        Ok(())
    }
}
