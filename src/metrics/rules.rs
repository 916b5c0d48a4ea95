//! Rules: what each did, and when it is due next.
//!
//! There may be hundreds, with some dozen numbers each, and a reload can remove any of them. So a
//! rule is one block of plain numbers: a handle of the client library for each number would take
//! ten times the memory. Families are made and written one after the other, when they are asked
//! for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::RwLock;
use prometheus::proto::MetricType;

use super::cleanups::{self, CleanupNumbers, LastPlan};
use super::durations::Durations;
use super::rule_family::{RuleFamily, Value, index_of, number, show_if_any};
use super::timestamp::OptionalTimestamp;

/// Seconds that a complete run takes.
const RUN: [f64; 7] = [1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 43_200.0];
/// Seconds that a change at the source went unmirrored: 0.1 s to 7 days.
const LAG: [f64; 12] =
    [0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0];

/// Complete runs, and runs for some tags because of an event.
const SCOPES: [&str; 2] = ["all", "tags"];
const SUCCEEDED: &str = "succeeded";
const FAILED: &str = "failed";
/// Only cleanup rules have this outcome, because only they have limits.
const LIMITED: &str = "limited";
const RUN_OUTCOMES: [&str; 4] = [SUCCEEDED, FAILED, "interrupted", LIMITED];
const TAG_OUTCOMES: [&str; 5] = ["copied", "unchanged", "kept", "withheld", "failed"];
/// What tells when a mirrored change was made: its push event, or the complete pass before.
const LAG_BASES: [&str; 2] = ["event", "pass"];

/// The metrics of one rule. Clones are the same metrics.
#[derive(Debug, Clone)]
pub struct RuleMetrics(Arc<RuleNumbers>);

/// The arrays are in the order of the constants with their labels.
#[derive(Debug)]
struct RuleNumbers {
    running: AtomicU64,
    last_run: OptionalTimestamp,
    last_success: OptionalTimestamp,
    next_run: OptionalTimestamp,
    /// The last complete run took so long; `u64::MAX`: there was none.
    last_duration_ms: AtomicU64,
    failures_in_a_row: AtomicU64,
    runs: [[AtomicU64; RUN_OUTCOMES.len()]; SCOPES.len()],
    tags: [AtomicU64; TAG_OUTCOMES.len()],
    sent: AtomicU64,
    durations: Durations,
    lags: [Durations; LAG_BASES.len()],
    /// Only of a cleanup rule, which shows no `tags`, `sent` and `lags`.
    cleanup: Option<Box<CleanupNumbers>>,
}

impl RuleMetrics {
    fn new(is_cleanup: bool) -> Self {
        Self(Arc::new(RuleNumbers {
            running: AtomicU64::new(0),
            last_run: OptionalTimestamp::default(),
            last_success: OptionalTimestamp::default(),
            next_run: OptionalTimestamp::default(),
            last_duration_ms: AtomicU64::new(u64::MAX),
            failures_in_a_row: AtomicU64::new(0),
            runs: Default::default(),
            tags: Default::default(),
            sent: AtomicU64::new(0),
            durations: Durations::new(&RUN),
            lags: [Durations::new(&LAG), Durations::new(&LAG)],
            cleanup: is_cleanup.then(Box::default),
        }))
    }

    /// Sets what is known from before this process: when the last complete run ended, when the last
    /// successful one ended, and how many complete runs have failed since.
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

    /// A run is under way until the guard is dropped.
    pub fn begin(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        Running(self.clone())
    }

    /// A run ended at `at` and `took` so long. `outcome` is one of `RUN_OUTCOMES`. Only complete
    /// runs tell how the rule is doing; runs for some tags are only counted.
    pub fn ended(&self, is_complete: bool, outcome: &str, at: Timestamp, took: Duration) {
        let numbers = &*self.0;
        if let Some(index) = index_of(&RUN_OUTCOMES, outcome) {
            numbers.runs[usize::from(!is_complete)][index].fetch_add(1, Ordering::Relaxed);
        }
        if !is_complete {
            return;
        }
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        numbers.last_duration_ms.store(millis, Ordering::Relaxed);
        numbers.durations.observe(took);
        numbers.last_run.set(Some(at));
        match outcome {
            SUCCEEDED => {
                numbers.last_success.set(Some(at));
                numbers.failures_in_a_row.store(0, Ordering::Relaxed);
            }
            FAILED => {
                numbers.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
            }
            // Everything could be read, which ends a row of failures.
            LIMITED => numbers.failures_in_a_row.store(0, Ordering::Relaxed),
            _ => {}
        }
    }

    /// So many tags were considered with this outcome, which is one of `TAG_OUTCOMES`.
    pub fn tags(&self, outcome: &str, count: u64) {
        if let Some(index) = index_of(&TAG_OUTCOMES, outcome) {
            self.0.tags[index].fetch_add(count, Ordering::Relaxed);
        }
    }

    /// So many bytes of blobs were sent to targets.
    pub fn sent(&self, bytes: u64) {
        self.0.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A change at the source arrived at the target after this time. `basis` is one of
    /// `LAG_BASES`.
    pub fn lag(&self, basis: &str, lag: Duration) {
        if let Some(index) = index_of(&LAG_BASES, basis) {
            self.0.lags[index].observe(lag);
        }
    }

    /// So many steps of a plan had this outcome. Counted for cleanup rules only.
    pub fn steps(&self, outcome: &str, count: u64) {
        self.0.cleanup.iter().for_each(|cleanup| cleanup.steps(outcome, count));
    }

    /// So many bytes are not used any more.
    pub fn freed(&self, bytes: u64) {
        self.0.cleanup.iter().for_each(|cleanup| cleanup.freed(bytes));
    }

    /// A complete run ended with these plans.
    pub fn planned(&self, at: Timestamp, plan: LastPlan) {
        self.0.cleanup.iter().for_each(|cleanup| cleanup.planned(at, plan));
    }
}

/// A run is under way for as long as this lives.
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

const FAMILIES: [RuleFamily<RuleNumbers>; 11] = [
    RuleFamily {
        name: "tranship_rule_last_run_timestamp_seconds",
        help: "End of the last full run of the rule, whatever its outcome.",
        kind: MetricType::GAUGE,
        read: |rule, show| show_if_any(rule.last_run.get(), show),
    },
    RuleFamily {
        name: "tranship_rule_last_success_timestamp_seconds",
        help: "End of the last successful full run of the rule.",
        kind: MetricType::GAUGE,
        read: |rule, show| show_if_any(rule.last_success.get(), show),
    },
    RuleFamily {
        name: "tranship_rule_next_run_timestamp_seconds",
        help: "Next scheduled run of the rule.",
        kind: MetricType::GAUGE,
        read: |rule, show| show_if_any(rule.next_run.get(), show),
    },
    RuleFamily {
        name: "tranship_rule_last_run_duration_seconds",
        help: "Duration of the last full run of the rule.",
        kind: MetricType::GAUGE,
        read: |rule, show| {
            let millis = rule.last_duration_ms.load(Ordering::Relaxed);
            show_if_any((millis != u64::MAX).then(|| millis as f64 / 1e3), show);
        },
    },
    RuleFamily {
        name: "tranship_rule_running",
        help: "Runs of the rule in progress.",
        kind: MetricType::GAUGE,
        read: |rule, show| show(&[], number(&rule.running)),
    },
    RuleFamily {
        name: "tranship_rule_failures_in_a_row",
        help: "Full runs of the rule that failed since the last one that succeeded or was limited.",
        kind: MetricType::GAUGE,
        read: |rule, show| show(&[], number(&rule.failures_in_a_row)),
    },
    RuleFamily {
        name: "tranship_rule_runs_total",
        help: "Runs of the rule that ended, by scope and outcome.",
        kind: MetricType::COUNTER,
        read: |rule, show| {
            for (scope, runs) in SCOPES.iter().zip(&rule.runs) {
                for (outcome, count) in RUN_OUTCOMES.iter().zip(runs) {
                    if *outcome != LIMITED || rule.cleanup.is_some() {
                        show(&[("scope", scope), ("outcome", outcome)], number(count));
                    }
                }
            }
        },
    },
    RuleFamily {
        name: "tranship_rule_run_duration_seconds",
        help: "Duration of full runs of the rule.",
        kind: MetricType::HISTOGRAM,
        read: |rule, show| show(&[], Value::Durations(rule.durations.show())),
    },
    RuleFamily {
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
    RuleFamily {
        name: "tranship_rule_sent_bytes_total",
        help: "Bytes of blobs that runs of the rule sent to targets.",
        kind: MetricType::COUNTER,
        read: |rule, show| {
            if rule.cleanup.is_none() {
                show(&[], number(&rule.sent));
            }
        },
    },
    RuleFamily {
        name: "tranship_rule_mirror_lag_seconds",
        help: "Time from a change at the source until it was mirrored: from its event, or at most from the previous full run.",
        kind: MetricType::HISTOGRAM,
        read: |rule, show| {
            for (basis, lags) in LAG_BASES.iter().zip(&rule.lags) {
                if !lags.is_empty() {
                    show(&[("basis", basis)], Value::Durations(lags.show()));
                }
            }
        },
    },
];

impl Rules {
    /// The rule of this name. If it was one of the other kind before, its numbers begin anew.
    pub fn get(&self, name: &str, is_cleanup: bool) -> RuleMetrics {
        let mut by_name = self.by_name.write();
        if let Some(known) = by_name.get(name)
            && known.0.cleanup.is_some() == is_cleanup
        {
            return known.clone();
        }
        let new = RuleMetrics::new(is_cleanup);
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
        let rules = || by_name.iter().map(|(name, rule)| (&**name, &*rule.0));
        for family in &FAMILIES {
            family.write(rules(), text)?;
        }
        let cleanups = || rules().filter_map(|(name, rule)| Some((name, rule.cleanup.as_deref()?)));
        for family in &cleanups::FAMILIES {
            family.write(cleanups(), text)?;
        }
        Ok(())
    }
}
