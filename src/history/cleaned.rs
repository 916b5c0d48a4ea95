//! What a run of a cleanup rule did. The single deletions are in the audit, not here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{MAX_ENTRIES, shorten};
use crate::cleanup::{CleanupReport, Planned, RepositoryReport};
use crate::config::cleanup::Mode;
use crate::removal::StepOutcome;
use crate::repository::Failure;
use crate::text::counted;

/// How many reasons are kept for why nothing may be deleted in a repository.
const MAX_REASONS: usize = 3;

/// A run of a cleanup rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CleanupSummary {
    /// Whether it was allowed to delete anything.
    pub mode: Mode,
    /// The sum of the plans of all repositories, including those that a limit refused.
    pub planned: Planned,
    /// The outcomes of their steps; steps of plans that were not carried out are not counted.
    pub steps: StepCounts,
    pub bytes_freed: u64,
    /// How many repositories were left alone because more would be deleted than the rule allows.
    pub limited: usize,
    /// How many were left alone for another reason, such as an incomplete list of tags.
    pub incomplete: usize,
    /// Those repositories, the first `MAX_ENTRIES`.
    #[serde(default)]
    pub refused: Vec<RefusedRepository>,
}

/// How many steps had each outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepCounts {
    pub deleted: usize,
    /// It was not there any more.
    pub gone: usize,
    /// It changed since it was planned, or it belongs to something that stays after all.
    pub skipped: usize,
    /// The registry refused to delete it.
    pub refused: usize,
    pub failed: usize,
    /// The run ended before its turn.
    pub not_done: usize,
}

/// A repository in which nothing may be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedRepository {
    pub repository: String,
    /// Whether all reasons are the rule's own limits.
    pub limited: bool,
    /// The first `MAX_REASONS`.
    pub reasons: Vec<String>,
}

impl CleanupSummary {
    pub fn of(report: &CleanupReport) -> Self {
        let refused = || report.repositories.iter().filter(|one| !one.refused.is_empty());
        let limited = refused().filter(|one| one.limited).count();
        Self {
            mode: report.mode,
            planned: report.planned(),
            steps: StepCounts::of(|outcome| report.count(outcome)),
            bytes_freed: report.bytes_freed(),
            limited,
            incomplete: refused().count() - limited,
            refused: refused().take(MAX_ENTRIES).map(RefusedRepository::of).collect(),
        }
    }
}

impl StepCounts {
    /// `count` says how many steps had an outcome.
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

impl RefusedRepository {
    fn of(one: &RepositoryReport) -> Self {
        let mut reasons: Vec<_> = one.refused.iter().take(MAX_REASONS).cloned().collect();
        reasons.iter_mut().for_each(shorten);
        Self { repository: one.repository.clone(), limited: one.limited, reasons }
    }
}

/// All notes; those about a repository begin with its name.
pub(super) fn notes(report: &CleanupReport) -> Vec<String> {
    let of_repositories = report
        .repositories
        .iter()
        .flat_map(|one| one.notes.iter().map(|note| format!("{}: {note}", one.repository)));
    report.notes.iter().cloned().chain(of_repositories).collect()
}

/// All failures: those of the whole run, of repositories, and of single deletions. Deletions that
/// were not done for the same reason are one.
pub(super) fn failures(report: &CleanupReport) -> Vec<Failure> {
    let steps = report.repositories.iter().flat_map(|one| {
        let failed = one.steps.iter().filter(|step| step.outcome == StepOutcome::Failed);
        failed.map(|step| {
            let subject = format!("{}@{}", one.repository, step.digest);
            let reason = step.reason.as_deref().unwrap_or("for an unknown reason");
            Failure::new(&step.action.to_string(), &subject, reason.to_owned())
        })
    });
    let not_done = report.repositories.iter().flat_map(not_done);
    let whole = report.repositories.iter().flat_map(|one| &one.failures);
    report.failures.iter().chain(whole).cloned().chain(steps).chain(not_done).collect()
}

/// What was not done in a repository, by reason.
fn not_done(one: &RepositoryReport) -> Vec<Failure> {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for step in one.steps.iter().filter(|step| step.outcome == StepOutcome::NotDone) {
        *reasons.entry(step.reason.as_deref().unwrap_or("the run ended before")).or_default() += 1;
    }
    let failure = |(reason, count): (&str, usize)| {
        let message = format!("{} not done: {reason}", counted(count, "step was", "steps were"));
        Failure::new("clean up", &one.repository, message)
    };
    reasons.into_iter().map(failure).collect()
}
