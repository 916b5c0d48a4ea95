//! Empties a quarantine of what was kept for long enough: a removal by the time that stands in
//! each tag.

use jiff::Timestamp;

use super::super::removal::{Removal, Removed, these_tags};
use super::super::report::Outcome;
use super::quarantine::expiry;
use crate::config::policy::{MaxDelete, Policy};
use crate::oci::Tag;
use crate::repository::{Failure, Repository};

/// The copies in a quarantine.
pub(in crate::cleanup) struct Copies {
    /// Deletes those that have expired; `None`: none has.
    pub policy: Option<Policy>,
    /// How many have not.
    pub kept: usize,
}

/// What is in a quarantine at `now`.
pub(in crate::cleanup) async fn copies(
    quarantine: &dyn Repository,
    now: Timestamp,
) -> Result<Copies, Failure> {
    let tags = quarantine.tags().await.map_err(|error| Failure::of(&error))?;
    let dated = tags.into_iter().flatten().filter_map(|tag| Some((expiry(&tag)?, tag)));
    let (expired, kept): (Vec<_>, Vec<_>) = dated.partition(|(until, _)| *until <= now);
    let expired: Vec<Tag> = expired.into_iter().map(|(_, tag)| tag).collect();
    let policy = these_tags("expired", &expired, MaxDelete::default());
    Ok(Copies { policy, kept: kept.len() })
}

/// Deletes it; gives how many copies went.
pub(in crate::cleanup) async fn remove(removal: Removal<'_>) -> Result<usize, Vec<Failure>> {
    let name = removal.repository.name().to_owned();
    let Some(Removed { report, .. }) = removal.run().await? else { return Ok(0) };
    let failed = report.steps.iter().find(|step| step.outcome == Outcome::Failed);
    let reason = failed.and_then(|step| step.reason.as_ref()).or(report.refused.first());
    if let Some(reason) = reason {
        return Err(vec![Failure::new("empty the quarantine", &name, reason.clone())]);
    }
    let is_copy =
        |step: &&super::super::StepReport| step.outcome.is_gone() && !step.tags.is_empty();
    Ok(report.steps.iter().filter(is_copy).count())
}
