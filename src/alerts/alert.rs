//! An alert: what people are told, and about what.

use jiff::Timestamp;

use crate::config::AlertKind;
use crate::history::{CleanupSummary, RefusedRepository, RunOutcome, RunRecord};
use crate::sync::{Action, ImageReport};
use crate::text::{counted, cut};

/// Something that people should know.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    pub kind: AlertKind,
    pub subject: Subject,
    pub at: Timestamp,
    /// One line.
    pub summary: String,
    /// What happened, one line each. Bounded in number and length.
    pub details: Vec<String>,
    pub run: Option<RunRecord>,
}

/// What an alert is about. Two alerts of one kind about the same subject are the same news.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    Rule(String),
    /// The configuration, when it is read again.
    Config,
    /// Whether the runs of a rule make progress.
    Stall(String),
}

/// The most lines of details.
pub const MAX_DETAILS: usize = 10;
/// The most bytes of each of them.
const MAX_DETAIL: usize = 500;
/// The most bytes of a summary.
const MAX_SUMMARY: usize = 200;

impl Subject {
    /// The rule that the alert is about, if it is about one.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Rule(rule) | Self::Stall(rule) => Some(rule),
            Self::Config => None,
        }
    }
}

impl Alert {
    /// The alert about a run of which people should be told, as `decide` found. `images` are those
    /// of the run; the first failed ones are enough. The record of a cleanup rule has everything.
    pub fn of_run(kind: AlertKind, run: &RunRecord, images: &[ImageReport]) -> Self {
        let rule = &run.rule;
        let whole = run.failures.iter().map(ToString::to_string);
        let cleaned = run.cleanup.iter();
        let repositories = cleaned.clone().flat_map(|cleaned| cleaned.refused.iter().map(refused));
        let left_alone: usize =
            cleaned.map(|CleanupSummary { limited, incomplete, .. }| limited + incomplete).sum();
        let failed = images.iter().filter(|image| image.action == Action::Failed);
        let single = failed.map(|image| match image.errors.first() {
            Some(error) => format!("{} -> {}: {error}", image.source, image.target),
            None => format!("{} -> {}: {}", image.source, image.target, image.reason),
        });
        let all = run.failures.len() + left_alone + run.counts.failed;
        let details = bounded(whole.chain(repositories).chain(single), all);
        let summary = match (kind, run.outcome) {
            (AlertKind::Safety, _) => held_back(rule),
            (AlertKind::Recovery, _) => format!("rule `{rule}` works again"),
            (_, RunOutcome::Failed) if run.counts.failed > 0 => {
                let (failed, all) = (run.counts.failed, run.counts.settled());
                format!(
                    "rule `{rule}` fails: {failed} of {} failed",
                    counted(all, "image", "images")
                )
            }
            _ => {
                let why = details.first().map(|first| format!(": {first}")).unwrap_or_default();
                let mut summary = format!("rule `{rule}` fails{why}");
                cut(&mut summary, MAX_SUMMARY);
                summary
            }
        };
        Self {
            kind,
            subject: Subject::Rule(rule.clone()),
            at: run.finished.unwrap_or(run.started),
            summary,
            details,
            run: Some(run.clone()),
        }
    }

    /// A safety limit kept a rule from doing its work.
    #[cfg(test)]
    pub fn safety(rule: &str, at: Timestamp, why: &str) -> Self {
        Self::new(AlertKind::Safety, Subject::Rule(rule.to_owned()), at, held_back(rule), why)
    }

    /// A changed configuration could not be used.
    pub fn reload_failed(at: Timestamp, why: &str) -> Self {
        let summary = "the changed configuration cannot be used, the old one stays".to_owned();
        Self::new(AlertKind::Failure, Subject::Config, at, summary, why)
    }

    /// A changed configuration is in use again, after one that could not be used.
    pub fn reload_recovered(at: Timestamp) -> Self {
        let summary = "the configuration is good again, and in use".to_owned();
        Self::new(AlertKind::Recovery, Subject::Config, at, summary, "")
    }

    /// A transfer makes no progress. `image` is its reference at the target.
    pub fn stalled(rule: &str, image: &str, at: Timestamp, why: &str) -> Self {
        let summary = format!("rule `{rule}` is stuck at {image}");
        Self::new(AlertKind::Failure, Subject::Stall(rule.to_owned()), at, summary, why)
    }

    /// A stalled transfer makes progress again, or its run has ended.
    pub fn moves_again(rule: &str, at: Timestamp) -> Self {
        let summary = format!("rule `{rule}` is not stuck any more");
        Self::new(AlertKind::Recovery, Subject::Stall(rule.to_owned()), at, summary, "")
    }

    fn new(kind: AlertKind, subject: Subject, at: Timestamp, summary: String, why: &str) -> Self {
        let lines = why.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned);
        let details = bounded(lines.clone(), lines.count());
        Self { kind, subject, at, summary, details, run: None }
    }
}

fn held_back(rule: &str) -> String {
    format!("rule `{rule}` was held back by a safety limit")
}

/// Why nothing is deleted in a repository.
fn refused(one: &RefusedRepository) -> String {
    format!("{}: {}", one.repository, one.reasons.join("; "))
}

/// The first of these lines, and how many of `all` were left out.
fn bounded(lines: impl Iterator<Item = String>, all: usize) -> Vec<String> {
    let mut details: Vec<String> = lines.take(MAX_DETAILS).collect();
    details.iter_mut().for_each(|line| cut(line, MAX_DETAIL));
    let left_out = all.saturating_sub(details.len());
    if left_out > 0 {
        details.push(format!("and {left_out} more"));
    }
    details
}
