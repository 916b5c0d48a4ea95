//! What rules have besides that delete: what their last plan came to, and what became of it.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use prometheus::proto::MetricType;

use super::family::{Family, Value, number, show_if_any};
use super::moment::Moment;
use super::rules::Numbers;

/// What became of a deletion that a plan asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    Deleted,
    /// Somebody else had deleted it.
    Gone,
    /// It is not what it was when it was planned.
    Skipped,
    /// The registry does not delete it.
    Refused,
    Failed,
    /// The run ended before.
    NotDone,
}

/// In the order of the enum.
const STEP_OUTCOMES: [&str; 6] = ["deleted", "gone", "skipped", "refused", "failed", "not_done"];
/// What a plan says of a repository.
const STATES: [&str; 3] = ["planned", "limited", "incomplete"];

/// The numbers of one cleanup rule.
#[derive(Debug)]
pub(super) struct CleanupNumbers {
    /// In the order of [`StepOutcome`].
    steps: [AtomicU64; STEP_OUTCOMES.len()],
    freed: AtomicU64,
    last_plan: Moment,
    /// Those of the last plan are shown once there is one.
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
    /// Repositories of which the plan may be carried out.
    pub sound: usize,
    /// Those in which it exceeds the rule's limits.
    pub limited: usize,
    /// Those in which it is refused because not everything is known.
    pub incomplete: usize,
}

impl CleanupNumbers {
    pub fn new() -> Self {
        Self {
            steps: Default::default(),
            freed: AtomicU64::new(0),
            last_plan: Moment::new(),
            tags: AtomicU64::new(0),
            manifests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            repositories: Default::default(),
        }
    }

    pub fn steps(&self, outcome: StepOutcome, count: u64) {
        self.steps[outcome as usize].fetch_add(count, Ordering::Relaxed);
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

    /// What is only known once there is a plan.
    fn of_plan(&self, count: &AtomicU64) -> Option<f64> {
        self.last_plan.get().map(|_| count.load(Ordering::Relaxed) as f64)
    }
}

pub(super) const FAMILIES: [Family; 7] = [
    Family {
        name: "tranship_cleanup_steps_total",
        help: "Deletions of manifests and single tags in plans of the rule, by outcome.",
        kind: MetricType::COUNTER,
        read: |rule, show| {
            if let Some(cleanup) = &rule.cleanup {
                for (outcome, count) in STEP_OUTCOMES.iter().zip(&cleanup.steps) {
                    show(&[("outcome", outcome)], number(count));
                }
            }
        },
    },
    Family {
        name: "tranship_cleanup_freed_bytes_total",
        help: "Bytes of manifests and blobs that nothing in their repository uses any more.",
        kind: MetricType::COUNTER,
        read: |rule, show| {
            if let Some(cleanup) = &rule.cleanup {
                show(&[], number(&cleanup.freed));
            }
        },
    },
    Family {
        name: "tranship_cleanup_last_plan_timestamp_seconds",
        help: "When the last full run of the rule that made a plan ended.",
        kind: MetricType::GAUGE,
        read: |rule, show| show_if_any(of(rule, |cleanup| cleanup.last_plan.get()), show),
    },
    Family {
        name: "tranship_cleanup_planned_tags",
        help: "Tags that the last plan of the rule would delete.",
        kind: MetricType::GAUGE,
        read: |rule, show| show_if_any(of(rule, |cleanup| cleanup.of_plan(&cleanup.tags)), show),
    },
    Family {
        name: "tranship_cleanup_planned_manifests",
        help: "Manifests that the last plan of the rule would delete.",
        kind: MetricType::GAUGE,
        read: |rule, show| {
            show_if_any(of(rule, |cleanup| cleanup.of_plan(&cleanup.manifests)), show);
        },
    },
    Family {
        name: "tranship_cleanup_planned_bytes",
        help: "Bytes that the last plan of the rule would free.",
        kind: MetricType::GAUGE,
        read: |rule, show| show_if_any(of(rule, |cleanup| cleanup.of_plan(&cleanup.bytes)), show),
    },
    Family {
        name: "tranship_cleanup_repositories",
        help: "Repositories in the last plan of the rule, by state.",
        kind: MetricType::GAUGE,
        read: |rule, show| {
            if let Some(cleanup) = &rule.cleanup {
                for (state, count) in STATES.iter().zip(&cleanup.repositories) {
                    if let Some(count) = cleanup.of_plan(count) {
                        show(&[("state", state)], Value::Number(count));
                    }
                }
            }
        },
    },
];

fn of(rule: &Numbers, read: impl Fn(&CleanupNumbers) -> Option<f64>) -> Option<f64> {
    rule.cleanup.as_deref().and_then(read)
}
