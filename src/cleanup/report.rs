//! What one run of a cleanup rule did. These types are the JSON that `cleanup --output json`
//! prints, see docs/json.md.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::{Plan, Refusal, Totals};
use crate::config::cleanup::Mode;
use crate::removal::{Executed, StepAction, StepOutcome, StepReport};
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
    /// Those reasons are the limits of the rule.
    pub limited: bool,
    /// What the plan asks for; all zero if no plan could be made.
    pub planned: Planned,
    /// What became of each step, in order; empty if the plan was not carried out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
    /// Bytes of manifests and blobs that nothing in the repository uses any more.
    pub bytes_freed: u64,
    /// What went wrong besides the steps: an old copy in the quarantine, garbage in a layout.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The sums of a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// Tags made by people.
    pub tags: u64,
    pub tags_deleted: u64,
    pub manifests: u64,
    pub manifests_deleted: u64,
    pub bytes_freed: u64,
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

    /// Adds the sums of another plan.
    pub fn add(&mut self, other: Self) {
        self.tags += other.tags;
        self.tags_deleted += other.tags_deleted;
        self.manifests += other.manifests;
        self.manifests_deleted += other.manifests_deleted;
        self.bytes_freed = self.bytes_freed.saturating_add(other.bytes_freed);
    }
}

impl RepositoryReport {
    /// The report on a plan of which nothing is done yet.
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

    /// Adds what was done of the plan. Gives whether it was stopped before its end.
    pub(super) fn take(&mut self, plan: &Plan<'_>, executed: Executed) -> bool {
        let Executed { steps, notes, interrupted } = executed;
        let mut gone = vec![false; plan.snapshot.len()];
        for step in steps.iter().filter(|step| step.action == StepAction::Delete) {
            if let (true, Some(node)) = (step.outcome.is_gone(), plan.snapshot.find(&step.digest)) {
                gone[node.at()] = true;
            }
        }
        self.bytes_freed = plan.snapshot.freed_without(&gone);
        self.steps = steps;
        self.notes.extend(notes);
        interrupted
    }

    /// How many steps had this outcome.
    pub fn count(&self, outcome: StepOutcome) -> usize {
        self.steps.iter().filter(|step| step.outcome == outcome).count()
    }
}

/// How a run as a whole went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that the rule asks for was done, or the registry refused it for a reason of its own.
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
                || repository.count(StepOutcome::Failed) + repository.count(StepOutcome::NotDone)
                    > 0
        };
        if self.interrupted || !self.failures.is_empty() || self.repositories.iter().any(unread) {
            Verdict::Failed
        } else if self.repositories.iter().any(|repository| repository.limited) {
            Verdict::Limited
        } else {
            Verdict::Succeeded
        }
    }

    /// How many steps had this outcome, in all repositories.
    pub fn count(&self, outcome: StepOutcome) -> usize {
        self.repositories.iter().map(|repository| repository.count(outcome)).sum()
    }

    /// The sums of all plans.
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
