//! What is due besides the plan: copies in quarantines that have expired, and blobs that no image
//! needs any more where collecting them is ours to do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::quarantine::{expiry, quarantine_name};
use super::report::{CleanupReport, failures_of};
use super::repositories::{Selected, open};
use super::restore::EXPIRED;
use super::spec::CleanupSpec;
use super::tag_removal::TagRemover;
use crate::fair::{MemoryBudget, WriteLeases};
use crate::oci::reference::ReferenceError;
use crate::oci::{Address, ImageAddress, Tag};
use crate::removal::{Audit, RemoveTags, RemovedTags, StepOutcome, StepReport, TagRemoval};
use crate::repository::{self, Cause, Error, Failure, Garbage, Repository};
use crate::state::State;
use crate::stores::{Access, Stores};
use crate::text::counted;

/// Blobs are garbage when nobody has touched them for so long: until then, the image that they
/// belong to may be under way.
const GARBAGE_AGE: Duration = Duration::from_secs(60 * 60);

/// What upkeep needs of a run.
pub(super) struct Upkeep<'a> {
    pub spec: &'a CleanupSpec<'a>,
    pub stores: &'a Stores,
    pub state: &'a State,
    pub memory: &'a MemoryBudget,
    pub audit: &'a Audit,
    pub leases: &'a WriteLeases,
}

impl Upkeep<'_> {
    /// Takes quarantines, of this rule or another, out of a selection: what is in them is kept until
    /// it expires. Gives how many that were.
    pub fn spare_quarantines(&self, selected: &mut Selected) -> usize {
        let mut quarantines = self.state.quarantines.all();
        quarantines.extend(own_quarantines(self.spec, selected));
        let before = selected.repositories.len();
        selected.repositories.retain(|place, _| !quarantines.contains(&place.to_string()));
        before - selected.repositories.len()
    }

    /// Removes what the quarantines of a rule have kept for long enough, also the quarantines of
    /// repositories that no longer exist.
    pub async fn empty_quarantines(&self, selected: &Selected, report: &mut CleanupReport) {
        let rule = &self.spec.rule.name;
        let mut names = self.state.quarantines.of_rule(rule);
        names.extend(own_quarantines(self.spec, selected));
        for name in names {
            if self.spec.stop.soon.is_cancelled() {
                report.interrupted = true;
                return;
            }
            match self.empty(&name).await {
                Ok(None) => self.state.quarantines.forget(rule, &name),
                Ok(Some(0)) => {}
                Ok(Some(gone)) => {
                    let gone = counted(gone, "copy", "copies");
                    report.notes.push(format!("expired and deleted: {gone} in {name}"));
                }
                Err(failures) => report.failures.extend(failures),
            }
        }
    }

    /// How many copies were removed. `None`: none are left.
    async fn empty(&self, name: &str) -> Result<Option<usize>, Vec<Failure>> {
        let CleanupSpec { rule, actor, stop, now, .. } = *self.spec;
        let Some(quarantine) = self.reopen(name).await.map_err(failures_of)? else {
            return Ok(None);
        };
        let tags = quarantine.tags().await.map_err(failures_of)?;
        // Each copy's tag says until when it is kept.
        let copies = tags.into_iter().flatten().filter_map(|tag| Some((expiry(&tag)?, tag)));
        let (expired, kept): (Vec<_>, Vec<_>) = copies.partition(|(until, _)| *until <= now);
        if expired.is_empty() {
            return Ok((!kept.is_empty()).then_some(0));
        }
        let expired: Vec<Tag> = expired.into_iter().map(|(_, tag)| tag).collect();
        let _lease = self.leases.take(quarantine.name(), &rule.name).await;
        let removal = TagRemoval {
            repository: Arc::clone(&quarantine),
            rule: &rule.name,
            line: EXPIRED,
            choose: &|_| expired.clone(),
            max_delete: Default::default(),
            applies: true,
            state: self.state,
            memory: self.memory,
            stop,
            now,
        };
        let removed = match (TagRemover { audit: self.audit, actor }).remove(removal).await? {
            Some(removed) => removed_copies(removed, quarantine.name())?,
            None => 0,
        };
        collect(&*quarantine, now).await.map_err(failures_of)?;
        Ok(Some(removed))
    }

    /// A quarantine by its own name. `None`: there is none.
    async fn reopen(&self, name: &str) -> repository::Result<Option<Arc<dyn Repository>>> {
        let ImageAddress { repository: address, .. } =
            name.parse().map_err(|error: ReferenceError| {
                let cause = Cause::Unsupported(error.to_string());
                Error::new("open the quarantine", name, cause)
            })?;
        if let Address::Layout(folder) = &address
            && !tokio::fs::try_exists(folder).await.unwrap_or(true)
        {
            return Ok(None);
        }
        open(self.stores, &address, self.spec.flow, Access::Write).await.map(Some)
    }
}

/// How many copies are gone, or why one of them is not.
fn removed_copies(removed: RemovedTags, quarantine: &str) -> Result<usize, Vec<Failure>> {
    let RemovedTags { refused, steps, .. } = removed;
    let failed = steps.iter().find(|step| step.outcome == StepOutcome::Failed);
    let reason = failed.and_then(|step| step.reason.as_ref()).or(refused.first());
    if let Some(reason) = reason {
        return Err(vec![Failure::new("empty the quarantine", quarantine, reason.clone())]);
    }
    let is_copy = |step: &&StepReport| step.outcome.is_gone() && !step.tags.is_empty();
    Ok(steps.iter().filter(is_copy).count())
}

/// What the quarantines of the selected repositories are called.
fn own_quarantines(spec: &CleanupSpec<'_>, selected: &Selected) -> BTreeSet<String> {
    let Some(quarantine) = &spec.rule.quarantine else { return BTreeSet::new() };
    let places = selected.repositories.keys();
    places.filter_map(|place| quarantine_name(&quarantine.to, place)).collect()
}

/// Removes the blobs that no image needs any more, where that is ours to do; a note if there were
/// some.
pub(super) async fn collect(
    repository: &dyn Repository,
    now: Timestamp,
) -> repository::Result<Option<String>> {
    let Garbage { blobs, bytes, .. } = repository.collect_garbage(now, GARBAGE_AGE, false).await?;
    let size = bytesize::ByteSize(bytes).display().iec();
    Ok((blobs > 0).then(|| {
        format!("deleted: {} that no image has any more, {size}", counted(blobs, "blob", "blobs"))
    }))
}
