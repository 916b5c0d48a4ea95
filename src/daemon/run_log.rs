//! What the log and the traces say of runs and images. The fields are a promise: docs/logs.md.

use tracing::Span;
use tracing::field::display;

use crate::history::{Begun, Outcome, RunId, RunRecord};
use crate::sync::{Action, Counts, ImageReport, RuleReport};
use crate::trace;

pub(super) fn begins(run: &Begun) {
    let Begun { id, rule, cause, .. } = run;
    tracing::info!(%rule, run = %id.as_str(), cause = %cause.as_str(), "run begins");
}

/// One line an image at a target, with everything that one looks for afterwards.
pub(super) fn image(rule: &str, run: &RunId, image: &ImageReport) {
    let ImageReport { source, target, bytes, reason, .. } = image;
    let digest = image.source_digest.as_deref().map(display);
    let outcome = image.action.as_str();
    let seconds = milliseconds(image.seconds);
    if image.action == Action::Failed {
        let error = image.errors.first().map(ToString::to_string);
        let hint = image.errors.first().and_then(|error| error.hint.as_deref());
        tracing::warn!(
            outcome = %outcome, %source, %target, digest, bytes, seconds, %rule, run = %run.as_str(),
            reason, error, hint, "image"
        );
    } else {
        tracing::info!(
            outcome = %outcome, %source, %target, digest, bytes, seconds, %rule, run = %run.as_str(),
            reason, "image"
        );
    }
}

pub(super) fn ends(record: &RunRecord, report: &RuleReport, span: &Span) {
    let Counts { copied, unchanged, kept, withheld, failed, removed } = record.counts;
    let (rule, run, bytes) = (record.rule.as_str(), record.id.as_str(), record.bytes);
    for failure in &report.failures {
        tracing::warn!(%rule, %run, error = failure.to_string(), hint = failure.hint, "run");
    }
    let outcome = record.outcome.as_str();
    let seconds = milliseconds(record.seconds);
    tracing::info!(
        outcome = %outcome, %rule, %run, copied, unchanged, kept, withheld, failed, removed, bytes,
        seconds,
        "run ends"
    );
    span.record("outcome", outcome);
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
    if record.outcome == Outcome::Failed {
        let first = report.failures.first().map(ToString::to_string);
        trace::failed(span, first.unwrap_or_else(|| format!("{failed} images failed")));
    }
}

/// Seconds with as many digits as mean something.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
