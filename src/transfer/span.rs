//! What became of an image, for its span in the traces.

use tracing::Span;

use super::image::Outcome;
use crate::repository::Result;
use crate::trace;

pub(super) fn settled(span: &Span, result: &Result<Outcome>) {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => {
            span.record("outcome", "failed");
            return trace::failed(span, error);
        }
    };
    let delivered = || outcome.targets.iter().flatten();
    let failed = outcome.targets.iter().find_map(|target| target.as_ref().err());
    let word = match failed {
        Some(_) => "failed",
        None if delivered().all(|delivered| delivered.unchanged) => "unchanged",
        None => "copied",
    };
    span.record("outcome", word);
    span.record("digest", tracing::field::display(&outcome.source_digest));
    span.record("bytes", delivered().map(|delivered| delivered.sent_bytes).sum::<u64>());
    if let Some(error) = failed {
        trace::failed(span, error);
    }
}
