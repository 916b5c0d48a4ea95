//! Empties a quarantine of copies that were kept for long enough. Each copy's tag says until when
//! that is.

use jiff::Timestamp;

use super::quarantine::expiry;
use crate::oci::Tag;
use crate::removal::{RemoveTags, RemovedTags, StepOutcome, StepReport, TagRemoval};
use crate::repository::{Failure, Repository};

/// The copies in a quarantine.
pub(super) struct Copies {
    /// The tags of those that have expired.
    pub expired: Vec<Tag>,
    /// How many have not.
    pub kept: usize,
}

/// What is in a quarantine at `now`.
pub(super) async fn copies(quarantine: &dyn Repository, now: Timestamp) -> Result<Copies, Failure> {
    let tags = quarantine.tags().await.map_err(|error| Failure::of(&error))?;
    let dated = tags.into_iter().flatten().filter_map(|tag| Some((expiry(&tag)?, tag)));
    let (expired, kept): (Vec<_>, Vec<_>) = dated.partition(|(until, _)| *until <= now);
    let expired = expired.into_iter().map(|(_, tag)| tag).collect();
    Ok(Copies { expired, kept: kept.len() })
}

/// Removes expired copies; gives how many.
pub(super) async fn remove(
    remover: &dyn RemoveTags,
    removal: TagRemoval<'_>,
) -> Result<usize, Vec<Failure>> {
    let name = removal.repository.name().to_owned();
    let Some(removed) = remover.remove(removal).await? else { return Ok(0) };
    let RemovedTags { refused, steps, .. } = removed;
    let failed = steps.iter().find(|step| step.outcome == StepOutcome::Failed);
    let reason = failed.and_then(|step| step.reason.as_ref()).or(refused.first());
    if let Some(reason) = reason {
        return Err(vec![Failure::new("empty the quarantine", &name, reason.clone())]);
    }
    let is_copy = |step: &&StepReport| step.outcome.is_gone() && !step.tags.is_empty();
    Ok(steps.iter().filter(is_copy).count())
}
