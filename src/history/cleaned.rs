//! What a run of a cleanup rule did, as the history keeps it. What became of each deletion is in
//! the audit, not here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::record::{MAX_ENTRIES, shorten};
use crate::cleanup::{CleanupReport, Planned, RepositoryReport};
use crate::config::cleanup::Mode;
use crate::removal::StepOutcome;
use crate::repository::Failure;

/// So many reasons are kept of why nothing may be deleted in one repository.
const MAX_REASONS: usize = 3;

/// A run of a cleanup rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cleaned {
    /// Whether it was to delete anything.
    pub mode: Mode,
    /// What the plans of all repositories come to together, also where a limit refused one.
    pub planned: Planned,
    /// What became of their steps; nothing is counted of plans that are not carried out.
    pub steps: Steps,
    pub bytes_freed: u64,
    /// Repositories in which nothing may be deleted because more would go than the rule allows.
    pub limited: usize,
    /// Those in which nothing may be deleted for another reason, such as a list that is not whole.
    pub incomplete: usize,
    /// Those repositories, the first `MAX_ENTRIES`.
    #[serde(default)]
    pub refused: Vec<Refused>,
}

/// Steps by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Steps {
    pub deleted: usize,
    /// Somebody else had deleted it.
    pub gone: usize,
    /// It is not what it was when it was planned, or it belongs to something that stays after all.
    pub skipped: usize,
    /// The registry does not delete it, for a reason of its own.
    pub refused: usize,
    pub failed: usize,
    /// The run ended before.
    pub not_done: usize,
}

/// A repository in which nothing may be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    pub repository: String,
    /// All reasons are the rule's own limits.
    pub limited: bool,
    /// The first `MAX_REASONS`.
    pub reasons: Vec<String>,
}

impl Cleaned {
    pub fn of(report: &CleanupReport) -> Self {
        let refused = || report.repositories.iter().filter(|one| !one.refused.is_empty());
        let limited = refused().filter(|one| one.limited).count();
        Self {
            mode: report.mode,
            planned: report.planned(),
            steps: Steps::of(|outcome| report.count(outcome)),
            bytes_freed: report.bytes_freed(),
            limited,
            incomplete: refused().count() - limited,
            refused: refused().take(MAX_ENTRIES).map(Refused::of).collect(),
        }
    }
}

impl Steps {
    /// As they are counted.
    pub fn of(count: impl Fn(StepOutcome) -> usize) -> Self {
        Self {
            deleted: count(StepOutcome::Deleted),
            gone: count(StepOutcome::Gone),
            skipped: count(StepOutcome::Skipped),
            refused: count(StepOutcome::Refused),
            failed: count(StepOutcome::Failed),
            not_done: count(StepOutcome::NotDone),
        }
    }
}

impl Refused {
    fn of(one: &RepositoryReport) -> Self {
        let mut reasons: Vec<_> = one.refused.iter().take(MAX_REASONS).cloned().collect();
        reasons.iter_mut().for_each(shorten);
        Self { repository: one.repository.clone(), limited: one.limited, reasons }
    }
}

/// What a person should know, each of a repository with its name.
pub(super) fn notes(report: &CleanupReport) -> Vec<String> {
    let of_repositories = report
        .repositories
        .iter()
        .flat_map(|one| one.notes.iter().map(|note| format!("{}: {note}", one.repository)));
    report.notes.iter().cloned().chain(of_repositories).collect()
}

/// What went wrong: with more than one repository, with one as a whole, with single deletions.
pub(super) fn failures(report: &CleanupReport) -> Vec<Failure> {
    let steps = report.repositories.iter().flat_map(|one| {
        let failed = one.steps.iter().filter(|step| step.outcome == StepOutcome::Failed);
        failed.map(|step| {
            let subject = format!("{}@{}", one.repository, step.digest);
            let reason = step.reason.as_deref().unwrap_or("for an unknown reason");
            Failure::new(step.action.as_str(), &subject, reason.to_owned())
        })
    });
    let whole = report.repositories.iter().flat_map(|one| &one.failures);
    report.failures.iter().chain(whole).cloned().chain(steps).collect()
}
