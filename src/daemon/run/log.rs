//! What the log and the traces say of runs, images and deletions. The fields are a promise:
//! docs/logs.md.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tracing::field::display;
use tracing::{Level, Span};

use crate::cleanup::{CleanupReport, RepositoryReport};
use crate::history::{RunId, RunOutcome, RunRecord, RunStart, StepCounts};
use crate::removal::{StepOutcome, StepReport};
use crate::repository::Failure;
use crate::sync::{Action, Counts, ImageReport, RuleReport};
use crate::text::counted;
use crate::trace;

/// Logs the same fields at a level that is known only now: each level is an event of its own.
macro_rules! log_at {
    ($level:expr, $($fields:tt)+) => {
        match $level {
            Level::WARN => tracing::warn!($($fields)+),
            Level::INFO => tracing::info!($($fields)+),
            _ => tracing::debug!($($fields)+),
        }
    };
}

pub(super) fn begins(run: &RunStart) {
    let RunStart { id, rule, cause, .. } = run;
    tracing::info!(%rule, run = %id.as_str(), %cause, "run begins");
}

/// Registries that fail as a whole in a run, with how many images that concerns.
#[derive(Debug, Default)]
pub(super) struct Outages(Mutex<BTreeMap<Box<str>, usize>>);

impl Outages {
    /// Counts the image if its registry fails as a whole. Gives whether that was told before.
    fn is_told(&self, image: &ImageReport) -> bool {
        let registry = match &image.errors[..] {
            [failure] => failure.registry.clone(),
            _ => None,
        };
        registry.is_some_and(|registry| {
            let mut images = self.0.lock();
            let images = images.entry(registry).or_default();
            *images += 1;
            *images > 1
        })
    }

    /// One line for each registry of which only the first image was told.
    pub fn end(&self, rule: &str, run: &RunId) {
        for (registry, images) in self.0.lock().iter().filter(|(_, images)| **images > 1) {
            let run = run.as_str();
            tracing::warn!(%registry, images, %rule, %run, "registry fails");
        }
    }
}

/// One line an image at a target, with everything that one looks for afterwards. Of images that fail
/// because their registry fails as a whole, the first is told and the others are details.
pub(super) fn image(rule: &str, run: &RunId, image: &ImageReport, outages: &Outages) {
    let ImageReport { source, target, bytes, reason, .. } = image;
    let digest = image.source_digest.as_deref().map(display);
    let seconds = milliseconds(image.seconds);
    let is_failed = image.action == Action::Failed;
    let error = image.errors.first().filter(|_| is_failed);
    let (error, hint) = (error.map(ToString::to_string), error.and_then(|it| it.hint.as_deref()));
    let level = match is_failed {
        true if outages.is_told(image) => Level::DEBUG,
        true => Level::WARN,
        false => Level::INFO,
    };
    log_at!(
        level, outcome = %image.action, %source, %target, digest, bytes, seconds, %rule,
        run = %run.as_str(), reason, error, hint, "image"
    );
}

pub(super) fn sync_ends(record: &RunRecord, report: &RuleReport, span: &Span) {
    let Counts { copied, unchanged, kept, withheld, failed, removed } = record.counts;
    let (rule, run, bytes) = (record.rule.as_str(), record.id.as_str(), record.bytes);
    failures(record, &report.failures);
    let outcome = record.outcome;
    let seconds = milliseconds(record.seconds);
    tracing::info!(
        %outcome, %rule, %run, copied, unchanged, kept, withheld, failed, removed, bytes,
        seconds,
        "run ends"
    );
    span.record("outcome", display(outcome));
    for (field, images) in [
        ("copied", copied),
        ("unchanged", unchanged),
        ("kept", kept),
        ("withheld", withheld),
        ("failed", failed),
        ("removed", removed),
    ] {
        span.record(field, images);
    }
    span.record("bytes", bytes);
    if record.outcome == RunOutcome::Failed {
        let first = report.failures.first().map(ToString::to_string);
        trace::failed(
            span,
            first.unwrap_or_else(|| format!("{} failed", counted(failed, "image", "images"))),
        );
    }
}

/// A line for each repository, one for each deletion, and one for all of them.
pub(super) fn cleanup_ends(record: &RunRecord, report: &CleanupReport, span: &Span) {
    failures(record, &report.failures);
    report.repositories.iter().for_each(|one| repository(record, one));
    let (rule, run) = (record.rule.as_str(), record.id.as_str());
    let Some(cleaned) = &record.cleanup else { return };
    let StepCounts { deleted, gone, skipped, refused, failed, not_done } = cleaned.steps;
    let (limited, incomplete, bytes) = (cleaned.limited, cleaned.incomplete, cleaned.bytes_freed);
    let (outcome, mode) = (record.outcome, report.mode);
    let seconds = milliseconds(record.seconds);
    tracing::info!(
        %outcome, %mode, %rule, %run, repositories = record.repositories, limited,
        incomplete, planned_tags = cleaned.planned.tags_deleted,
        planned_manifests = cleaned.planned.manifests_deleted,
        planned_bytes = cleaned.planned.bytes_freed, deleted, gone, skipped, refused, failed,
        not_done, bytes, seconds, "cleanup ends"
    );
    span.record("outcome", display(outcome));
    span.record("deleted", deleted);
    span.record("failed", failed);
    span.record("bytes", bytes);
    if record.outcome == RunOutcome::Failed {
        let first = record.failures.first().map(ToString::to_string);
        let left_out =
            || format!("{} could not be read", counted(incomplete, "repository", "repositories"));
        trace::failed(span, first.unwrap_or_else(left_out));
    }
}

fn repository(record: &RunRecord, one: &RepositoryReport) {
    let (rule, run) = (record.rule.as_str(), record.id.as_str());
    one.steps.iter().for_each(|step| deletion(rule, run, one, step));
    failures(record, &one.failures);
    let outcome = match one {
        _ if one.limited => "limited",
        _ if !one.refused.is_empty() => "incomplete",
        _ if one.steps.is_empty() => "planned",
        _ => "applied",
    };
    let StepCounts { deleted, gone, skipped, refused, failed, not_done } =
        StepCounts::of(|outcome| one.count(outcome));
    let (repository, planned, bytes) = (one.repository.as_str(), one.planned, one.bytes_freed);
    let reason = one.refused.first();
    let is_wrong = !one.refused.is_empty() || !one.failures.is_empty() || failed > 0;
    log_at!(
        if is_wrong { Level::WARN } else { Level::INFO }, %outcome, %repository, tags = planned.tags, planned_tags = planned.tags_deleted,
        manifests = planned.manifests, planned_manifests = planned.manifests_deleted,
        planned_bytes = planned.bytes_freed, deleted, gone, skipped, refused, failed, not_done,
        bytes, %rule, %run, reason, "repository"
    );
}

fn deletion(rule: &str, run: &str, one: &RepositoryReport, step: &StepReport) {
    let StepReport { action, tags, digest, line, outcome, reason, bytes_freed, .. } = step;
    let repository = one.repository.as_str();
    let tags = tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>().join(" ");
    let is_wrong = *outcome == StepOutcome::Failed;
    log_at!(
        if is_wrong { Level::WARN } else { Level::DEBUG }, %outcome, %action,
        %repository, %digest, %tags, line, reason, bytes = bytes_freed, %rule, %run, "deletion"
    );
}

/// What went wrong with more than one image or repository.
fn failures(record: &RunRecord, failures: &[Failure]) {
    let (rule, run) = (record.rule.as_str(), record.id.as_str());
    for failure in failures {
        tracing::warn!(%rule, %run, error = failure.to_string(), hint = failure.hint, "run");
    }
}

/// Seconds with as many digits as mean something.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
