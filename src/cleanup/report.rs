//! What one run of a cleanup rule did. These types are the JSON that `cleanup --output json`
//! prints, see docs/json.md.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::apply::Applied;
use super::plan::document::StepLine;
use super::plan::{Plan, Refusal, Totals};
use crate::config::cleanup::Mode;
use crate::oci::{Digest, Tag};
use crate::repository::Failure;

/// One run of one rule.
#[derive(Debug, Clone, Serialize)]
pub struct CleanupReport {
    pub rule: String,
    pub mode: Mode,
    /// The run was stopped before its end.
    pub interrupted: bool,
    /// By name.
    pub repositories: Vec<RepositoryReport>,
    /// What went wrong with more than one repository: a list that could not be read, a source of
    /// what is in use that did not answer.
    pub failures: Vec<Failure>,
    pub notes: Vec<String>,
    pub seconds: f64,
}

/// One repository.
#[derive(Debug, Clone, Serialize)]
pub struct RepositoryReport {
    pub repository: String,
    /// Why nothing was deleted at all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// Those reasons are the rule's own limits.
    pub limited: bool,
    /// What the plan asks for; nothing where none could be made.
    pub planned: Planned,
    /// What became of each step, in their order; of plans that are not carried out, nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
    /// Bytes of manifests and blobs that nothing in the repository uses any more.
    pub bytes_freed: u64,
    /// What went wrong besides: an old copy in the quarantine, garbage in a layout.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a plan comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// Tags made by people.
    pub tags: u64,
    pub tags_deleted: u64,
    pub manifests: u64,
    pub manifests_deleted: u64,
    pub bytes_freed: u64,
}

/// One step, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// `delete` or `untag`.
    pub action: StepAction,
    /// The tag that was taken away, or those that went with the manifest.
    pub tags: Vec<Tag>,
    pub digest: Digest,
    /// The line of the rule that asked for it; absent for what went with something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    pub outcome: Outcome,
    /// Why it was not simply done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub bytes_freed: u64,
}

impl StepReport {
    /// A step with all that it would free.
    pub(super) fn of(line: &StepLine<'_>, outcome: Outcome) -> Self {
        Self {
            action: StepAction::of(line),
            tags: line.tag.iter().chain(&line.tags).copied().cloned().collect(),
            digest: line.digest.clone(),
            line: line.rule.map(str::to_owned),
            outcome,
            reason: None,
            bytes_freed: line.bytes_freed,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepAction {
    /// A manifest with all its tags.
    Delete,
    /// One tag of a manifest that stays.
    Untag,
}

impl StepAction {
    /// Only what takes a single tag away names one.
    pub(super) fn of(line: &StepLine<'_>) -> Self {
        if line.tag.is_some() { Self::Untag } else { Self::Delete }
    }

    /// As it is written in JSON and in the log; fits after "failed to".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Untag => "untag",
        }
    }
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Deleted,
    /// Somebody else had deleted it.
    Gone,
    /// It is not what it was when it was planned, or it belongs to something that stays after all.
    Skipped,
    /// The registry does not delete it, for a reason of its own.
    Refused,
    Failed,
    /// The run ended before.
    NotDone,
}

impl Outcome {
    pub const ALL: [Self; 6] =
        [Self::Deleted, Self::Gone, Self::Skipped, Self::Refused, Self::Failed, Self::NotDone];

    /// As it is written in JSON, in the log and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Gone => "gone",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::NotDone => "not_done",
        }
    }

    /// The thing is not there any more.
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Deleted | Self::Gone)
    }
}

impl From<Totals> for Planned {
    fn from(totals: Totals) -> Self {
        let Totals { tags, tags_deleted, manifests, manifests_deleted } = totals;
        Self { tags, tags_deleted, manifests, manifests_deleted, bytes_freed: 0 }
    }
}

impl Planned {
    pub fn of(plan: &Plan<'_>) -> Self {
        Self { bytes_freed: plan.bytes(), ..plan.totals().unwrap_or_default().into() }
    }

    /// What several plans come to together.
    pub fn add(&mut self, other: Self) {
        self.tags += other.tags;
        self.tags_deleted += other.tags_deleted;
        self.manifests += other.manifests;
        self.manifests_deleted += other.manifests_deleted;
        self.bytes_freed = self.bytes_freed.saturating_add(other.bytes_freed);
    }
}

impl RepositoryReport {
    /// A plan of which nothing is done yet.
    pub fn of(plan: &Plan<'_>) -> Self {
        let limit = |refusal: &Refusal| matches!(refusal, Refusal::TooMany { .. });
        Self {
            repository: plan.snapshot.repository().to_owned(),
            refused: plan.refusals.iter().map(ToString::to_string).collect(),
            limited: !plan.refusals.is_empty() && plan.refusals.iter().all(limit),
            planned: Planned::of(plan),
            steps: Vec::new(),
            bytes_freed: 0,
            failures: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// What was done of the plan. Whether it was stopped before its end.
    pub(super) fn take(&mut self, applied: Applied) -> bool {
        let Applied { steps, notes, interrupted, bytes_freed } = applied;
        self.steps = steps;
        self.notes.extend(notes);
        self.bytes_freed = bytes_freed;
        interrupted
    }

    /// How many steps ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.steps.iter().filter(|step| step.outcome == outcome).count()
    }
}

/// How a run as a whole went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that the rule asks for is so, or was refused by the registry for its own reason.
    Succeeded,
    /// Something could not be read or done.
    Failed,
    /// Nothing failed, and in some repository nothing was deleted because of the rule's limits.
    Limited,
}

impl CleanupReport {
    pub fn new(rule: &str, mode: Mode) -> Self {
        Self {
            rule: rule.to_owned(),
            mode,
            interrupted: false,
            repositories: Vec::new(),
            failures: Vec::new(),
            notes: Vec::new(),
            seconds: 0.0,
        }
    }

    pub fn verdict(&self) -> Verdict {
        let unread = |repository: &RepositoryReport| {
            !repository.refused.is_empty() && !repository.limited
                || !repository.failures.is_empty()
                || repository.count(Outcome::Failed) + repository.count(Outcome::NotDone) > 0
        };
        if self.interrupted || !self.failures.is_empty() || self.repositories.iter().any(unread) {
            Verdict::Failed
        } else if self.repositories.iter().any(|repository| repository.limited) {
            Verdict::Limited
        } else {
            Verdict::Succeeded
        }
    }

    /// How many steps ended so, in all repositories.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.repositories.iter().map(|repository| repository.count(outcome)).sum()
    }

    /// What all plans come to together.
    pub fn planned(&self) -> Planned {
        let mut all = Planned::default();
        self.repositories.iter().for_each(|repository| all.add(repository.planned));
        all
    }

    pub fn bytes_freed(&self) -> u64 {
        let bytes = self.repositories.iter().map(|repository| repository.bytes_freed);
        bytes.fold(0, u64::saturating_add)
    }
}
