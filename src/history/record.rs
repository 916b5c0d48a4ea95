//! A run as data. `RunRecord` is the JSON that `history --output json` prints: see docs/json.md.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RunId;
use super::bounds::{MAX_ENTRIES, shorten, shorten_failure};
use super::cleaned::{self, CleanupSummary};
use crate::cleanup::CleanupReport;
use crate::repository::Failure;
use crate::sync::{Counts, RuleReport};
use crate::text::{counted, display_as_serialized};

/// The start of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStart {
    pub id: RunId,
    pub rule: String,
    pub cause: Cause,
    pub started: Timestamp,
}

/// Why a run was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It was due by its schedule.
    Schedule,
    /// It was due while something kept it from running, or its last run was cut off.
    Missed,
    /// The daemon runs rules when it starts.
    Start,
    /// A registry announced a push.
    Event,
    /// Somebody asked the daemon.
    Api,
    /// `tranship sync`.
    Command,
}

display_as_serialized!(Cause, RunOutcome);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// It has not ended yet.
    Running,
    Succeeded,
    Failed,
    /// Nothing failed, but in some repository nothing was deleted because more would have been
    /// deleted than the rule allows. Programs that do not know this outcome take the run for
    /// interrupted.
    Limited,
    /// It was stopped, or the process that ran it ended.
    Interrupted,
}

/// What is known of a run, besides its images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunRecord {
    pub id: RunId,
    pub rule: String,
    pub cause: Cause,
    pub started: Timestamp,
    /// `None`: it is running, or nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    pub outcome: RunOutcome,
    /// How many source repositories the rule selects; for a cleanup rule, how many were read.
    pub repositories: usize,
    pub counts: Counts,
    /// Bytes of blobs sent to targets.
    pub bytes: u64,
    pub seconds: f64,
    /// Failures that concern more than one image, or a deletion; at most `MAX_ENTRIES`.
    pub failures: Vec<Failure>,
    /// At most `MAX_ENTRIES`, and one that says how many failures were left out.
    pub notes: Vec<String>,
    /// For a cleanup rule: what it planned and deleted. No images are counted then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<CleanupSummary>,
}

impl RunRecord {
    /// A run that ended as this report says.
    pub fn ended(begun: &RunStart, finished: Timestamp, report: &RuleReport) -> Self {
        Self {
            finished: Some(finished),
            repositories: report.repositories,
            counts: report.counts,
            bytes: report.bytes,
            seconds: report.seconds,
            ..Self::unended(begun.clone(), RunOutcome::of(report))
        }
        .with(&report.failures, &report.notes)
    }

    /// A run of a cleanup rule that ended as this report says.
    pub fn cleaned(begun: &RunStart, finished: Timestamp, report: &CleanupReport) -> Self {
        Self {
            finished: Some(finished),
            repositories: report.repositories.len(),
            seconds: report.seconds,
            cleanup: Some(CleanupSummary::of(report)),
            ..Self::unended(begun.clone(), RunOutcome::of_cleanup(report))
        }
        .with(&cleaned::failures(report), &cleaned::notes(report))
    }

    /// Adds as many failures and notes as are kept.
    fn with(self, all_failures: &[Failure], all_notes: &[String]) -> Self {
        let mut failures: Vec<_> = all_failures.iter().take(MAX_ENTRIES).cloned().collect();
        failures.iter_mut().for_each(shorten_failure);
        let mut notes: Vec<_> = all_notes.iter().take(MAX_ENTRIES).cloned().collect();
        notes.iter_mut().for_each(shorten);
        let left_out = all_failures.len() - failures.len();
        if left_out > 0 {
            let left_out = counted(left_out, "more failure is", "more failures are");
            notes.push(format!("{left_out} not kept"));
        }
        Self { failures, notes, ..self }
    }

    /// A run of which only the start is known.
    pub fn unended(begun: RunStart, outcome: RunOutcome) -> Self {
        let RunStart { id, rule, cause, started } = begun;
        Self {
            id,
            rule,
            cause,
            started,
            finished: None,
            outcome,
            repositories: 0,
            counts: Counts::default(),
            bytes: 0,
            seconds: 0.0,
            failures: Vec::new(),
            notes: Vec::new(),
            cleanup: None,
        }
    }
}

impl RunOutcome {
    pub fn of(report: &RuleReport) -> Self {
        if report.interrupted {
            Self::Interrupted
        } else if report.is_success() {
            Self::Succeeded
        } else if report.is_only_limited() {
            Self::Limited
        } else {
            Self::Failed
        }
    }

    pub fn of_cleanup(report: &CleanupReport) -> Self {
        if report.interrupted {
            Self::Interrupted
        } else if report.is_failed() {
            Self::Failed
        } else if report.is_limited() {
            Self::Limited
        } else {
            Self::Succeeded
        }
    }
}
