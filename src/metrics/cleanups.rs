//! Cleanup rules: what their last plan came to, and what became of its steps.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use prometheus::proto::MetricType;

use super::rule_family::{RuleFamily, Value, index_of, number, show_if_any};
use super::timestamp::OptionalTimestamp;

/// What becomes of a deletion that a plan asks for.
const STEP_OUTCOMES: [&str; 6] = ["deleted", "gone", "skipped", "refused", "failed", "not_done"];
/// What a plan says of a repository.
const STATES: [&str; 3] = ["planned", "limited", "incomplete"];

/// The numbers of one cleanup rule.
#[derive(Debug, Default)]
pub(super) struct CleanupNumbers {
    /// In the order of `STEP_OUTCOMES`.
    steps: [AtomicU64; STEP_OUTCOMES.len()],
    freed: AtomicU64,
    last_plan: OptionalTimestamp,
    /// The rest is of the last plan, and shown once there is one.
    tags: AtomicU64,
    manifests: AtomicU64,
    bytes: AtomicU64,
    /// In the order of `STATES`.
    repositories: [AtomicU64; STATES.len()],
}

/// What the plans of one run come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LastPlan {
    /// Tags and manifests that are to go, and the bytes that this frees.
    pub tags: u64,
    pub manifests: u64,
    pub bytes: u64,
    /// Repositories whose plan may be executed.
    pub sound: usize,
    /// Those whose plan exceeds the rule's limits.
    pub limited: usize,
    /// Those whose plan is refused because not everything is known.
    pub incomplete: usize,
}

impl CleanupNumbers {
    /// So many steps had this outcome, which is one of `STEP_OUTCOMES`.
    pub fn steps(&self, outcome: &str, count: u64) {
        if let Some(index) = index_of(&STEP_OUTCOMES, outcome) {
            self.steps[index].fetch_add(count, Ordering::Relaxed);
        }
    }

    pub fn freed(&self, bytes: u64) {
        self.freed.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn planned(&self, at: Timestamp, plan: LastPlan) {
        let LastPlan { tags, manifests, bytes, sound, limited, incomplete } = plan;
        self.tags.store(tags, Ordering::Relaxed);
        self.manifests.store(manifests, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        for (shown, count) in self.repositories.iter().zip([sound, limited, incomplete]) {
            shown.store(count as u64, Ordering::Relaxed);
        }
        self.last_plan.set(Some(at));
    }

    /// A number of the last plan, once there is one.
    fn of_plan(&self, number: &AtomicU64) -> Option<f64> {
        self.last_plan.get().map(|_| number.load(Ordering::Relaxed) as f64)
    }
}

pub(super) const FAMILIES: [RuleFamily<CleanupNumbers>; 7] = [
    RuleFamily {
        name: "tranship_cleanup_steps_total",
        help: "Deletions of manifests and single tags in plans of the rule, by outcome.",
        kind: MetricType::COUNTER,
        read: |rule, show| {
            for (outcome, count) in STEP_OUTCOMES.iter().zip(&rule.steps) {
                show(&[("outcome", outcome)], number(count));
            }
        },
    },
    RuleFamily {
        name: "tranship_cleanup_freed_bytes_total",
        help: "Bytes of manifests and blobs that nothing in their repository uses any more.",
        kind: MetricType::COUNTER,
        read: |rule, show| show(&[], number(&rule.freed)),
    },
    RuleFamily {
        name: "tranship_cleanup_last_plan_timestamp_seconds",
        help: "When the last full run of the rule that made a plan ended.",
        kind: MetricType::GAUGE,
        read: |rule, show| show_if_any(rule.last_plan.get(), show),
    },
    RuleFamily {
        name: "tranship_cleanup_planned_tags",
        help: "Tags that the last plan of the rule would delete.",
        kind: MetricType::GAUGE,
        read: |rule, show| show_if_any(rule.of_plan(&rule.tags), show),
    },
    RuleFamily {
        name: "tranship_cleanup_planned_manifests",
        help: "Manifests that the last plan of the rule would delete.",
        kind: MetricType::GAUGE,
        read: |rule, show| show_if_any(rule.of_plan(&rule.manifests), show),
    },
    RuleFamily {
        name: "tranship_cleanup_planned_bytes",
        help: "Bytes that the last plan of the rule would free.",
        kind: MetricType::GAUGE,
        read: |rule, show| show_if_any(rule.of_plan(&rule.bytes), show),
    },
    RuleFamily {
        name: "tranship_cleanup_repositories",
        help: "Repositories in the last plan of the rule, by state.",
        kind: MetricType::GAUGE,
        read: |rule, show| {
            for (state, count) in STATES.iter().zip(&rule.repositories) {
                if let Some(count) = rule.of_plan(count) {
                    show(&[("state", state)], Value::Number(count));
                }
            }
        },
    },
];
