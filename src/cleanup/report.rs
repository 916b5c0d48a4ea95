//! What one run of a cleanup rule did. These types are the JSON that `cleanup --output json`
//! prints, see docs/json.md.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::{Plan, Planned, Refusal};
use crate::config::cleanup::Mode;
use crate::removal::{Executed, StepAction, StepOutcome, StepReport};
use crate::repository::{Error, Failure};

/// One run of one rule.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
    /// If something was deleted that can be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restorable: Option<Restorable>,
}

/// How long what a run deleted can be restored from the quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restorable {
    /// The run.
    pub run: String,
    pub until: Timestamp,
}

/// One repository.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RepositoryReport {
    pub repository: String,
    /// Why nothing was deleted at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// Those reasons are the limits of the rule.
    pub limited: bool,
    /// What the plan asks for; all zero if no plan could be made.
    pub planned: Planned,
    /// What became of each step, in order; empty if the plan was not carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
    /// Bytes of manifests and blobs that nothing in the repository uses any more.
    pub bytes_freed: u64,
    /// What went wrong besides the steps: an old copy in the quarantine, garbage in a layout.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Planned {
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
            planned: plan.totals().unwrap_or_default(),
            notes: plan.idle_keeps().into_iter().map(idle).collect(),
            ..Self::default()
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

fn idle(line: &str) -> String {
    format!("the keep line `{line}` keeps nothing here: check that its pattern is what was meant")
}

/// An error as the failures of a run, of which there may be several.
pub(super) fn failures_of(error: Error) -> Vec<Failure> {
    vec![Failure::of(&error)]
}

impl CleanupReport {
    pub fn new(rule: &str, mode: Mode) -> Self {
        Self { rule: rule.to_owned(), mode, ..Self::default() }
    }

    /// Something could not be read or done. That the registry refused a step for a reason of its own
    /// is no failure.
    pub fn is_failed(&self) -> bool {
        let failed = |repository: &RepositoryReport| {
            !repository.refused.is_empty() && !repository.limited
                || !repository.failures.is_empty()
                || repository.count(StepOutcome::Failed) + repository.count(StepOutcome::NotDone)
                    > 0
        };
        self.interrupted || !self.failures.is_empty() || self.repositories.iter().any(failed)
    }

    /// In some repository nothing was deleted because of the rule's limits.
    pub fn is_limited(&self) -> bool {
        self.repositories.iter().any(|repository| repository.limited)
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
