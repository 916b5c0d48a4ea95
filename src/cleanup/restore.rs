//! Restores what was deleted: from the quarantine, with all tags, byte for byte. The audit says what
//! can be restored.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::copying::Copying;
use super::repositories;
use crate::fair::{Flow, WriteLeases};
use crate::oci::{Address, Descriptor, Digest, ImageAddress, Tag, derived};
use crate::removal::audit::{Actor, Audit, Intent, Line};
use crate::removal::{StepAction, StepOutcome};
use crate::repository::{Cause, Error, Failure, Placement, Reference, Repository, Result};
use crate::state::jsonl::NewestFirst;
use crate::stores::{Access, Stores};
use crate::transfer::{Carrier, Condition};

/// What the audit says of copies that were deleted from a quarantine, instead of a line of the rule.
pub(super) const EXPIRED: &str = "expired";

/// Which deleted images are to be restored.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// A repository, as the audit names it, and an image in it; `None`: all images of it.
    pub images: Vec<(String, Option<Reference>)>,
    pub run: Option<String>,
    pub rule: Option<String>,
}

impl Wanted {
    /// Adds an image, or all images of a repository.
    ///
    /// # Errors
    /// Why there is nothing to restore there.
    pub fn add(&mut self, image: ImageAddress) -> std::result::Result<(), &'static str> {
        let repository = match image.repository {
            Address::Archive(_) => return Err("nothing is ever deleted from an archive"),
            other => repositories::canonical(other),
        };
        let reference = image.digest.map(Reference::Digest).or(image.tag.map(Reference::Tag));
        self.images.push((repository.to_string(), reference));
        Ok(())
    }

    /// Neither images nor a run are named.
    pub fn is_everything(&self) -> bool {
        self.images.is_empty() && self.run.is_none()
    }

    /// Whether it was deleted where and by whom it may be wanted from. What went along with a wanted
    /// image is so as well.
    fn may_be(&self, intent: &Intent) -> bool {
        self.run.as_ref().is_none_or(|run| *run == intent.actor.run)
            && self.rule.as_ref().is_none_or(|rule| *rule == intent.rule)
            && (self.images.is_empty()
                || self.images.iter().any(|(repository, _)| *repository == intent.repository))
    }
}

/// What became of an image that was to be restored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Restored {
    pub repository: String,
    pub tags: Vec<Tag>,
    pub digest: Digest,
    /// The run that deleted it.
    pub run: String,
    pub restored: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Its tags that point at something else by now: they stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_alone: Vec<Failure>,
}

impl Restored {
    /// The image is back, with all its tags.
    pub fn is_complete(&self) -> bool {
        self.restored && self.left_alone.is_empty()
    }
}

/// What the audit says of images that were deleted, the last deleted first.
#[derive(Debug, Default)]
pub struct Deleted {
    /// Can be restored.
    pub restorable: Vec<Intent>,
    /// Was restored already.
    pub restored: Vec<Intent>,
}

/// What was deleted and can be, or was, restored at `now`, as far as it may be wanted: of everything
/// else that was ever deleted, nothing is held. `audit`: the folder of the audit. Blocks.
///
/// # Errors
/// The audit cannot be read.
pub fn deleted(audit: &Path, now: Timestamp, wanted: &Wanted) -> io::Result<Deleted> {
    let mut lines = NewestFirst::open(audit)?;
    // What became of intents that are further back. Each entry goes when its intent is read: the audit
    // has a line for every deletion that there ever was.
    let mut outcomes: HashMap<String, StepOutcome> = HashMap::new();
    let mut restored: HashSet<String> = HashSet::new();
    let mut found = Deleted::default();
    while let Some(line) = lines.next::<Line>(|_| true)? {
        match line {
            Line::Outcome { id, outcome, .. } => _ = outcomes.entry(id).or_insert(outcome),
            Line::Restored { id, .. } => _ = restored.insert(id),
            Line::Intent(intent) => {
                // Without an outcome, the deletion was cut off and may have been carried out.
                let went = outcomes.remove(&intent.id).is_none_or(|outcome| outcome.is_gone());
                let is_kept = match (&intent.quarantine, intent.action) {
                    (Some(kept), _) => kept.until > now,
                    (None, StepAction::Untag) => true,
                    (None, StepAction::Delete) => false,
                };
                // Nobody wants the copies in a quarantine back that have expired there.
                let is_copy = intent.line.as_deref() == Some(EXPIRED);
                let was_restored = restored.remove(&intent.id);
                if !wanted.may_be(&intent) {
                    continue;
                }
                if was_restored {
                    found.restored.push(*intent);
                } else if went && is_kept && !is_copy {
                    found.restorable.push(*intent);
                }
            }
            Line::Opened { .. } => {}
        }
    }
    Ok(found)
}

/// The wanted images, with what was deleted along with them in the same run. For each tag or digest,
/// the last deletion counts.
pub fn choose(restorable: &[Intent], wanted: &Wanted) -> Vec<Intent> {
    let mut chosen: BTreeSet<usize> = BTreeSet::new();
    let candidates: Vec<&Intent> =
        restorable.iter().filter(|intent| wanted.may_be(intent)).collect();
    if wanted.images.is_empty() {
        return each_tag_once(candidates.into_iter().cloned().collect());
    }
    for (repository, reference) in &wanted.images {
        let is_meant = |intent: &Intent| {
            intent.repository == *repository
                && match reference {
                    None => true,
                    Some(Reference::Tag(tag)) => intent.tags.contains(tag),
                    Some(Reference::Digest(digest)) => intent.digest == *digest,
                }
        };
        let mut meant: Vec<usize> =
            (0..candidates.len()).filter(|at| is_meant(candidates[*at])).collect();
        if reference.is_some() {
            meant.truncate(1);
        }
        while let Some(at) = meant.pop() {
            if !chosen.insert(at) {
                continue;
            }
            let owner = candidates[at];
            let goes_along = |other: &Intent| {
                other.actor.run == owner.actor.run
                    && other.repository == owner.repository
                    && other.with.as_ref() == Some(&owner.digest)
            };
            meant.extend((0..candidates.len()).filter(|at| goes_along(candidates[*at])));
        }
    }
    each_tag_once(chosen.into_iter().map(|at| candidates[at].clone()).collect())
}

/// If several images had the same tag at different times, only the last one gets it back.
fn each_tag_once(mut newest_first: Vec<Intent>) -> Vec<Intent> {
    let mut taken: HashSet<(String, Tag)> = HashSet::new();
    for intent in &mut newest_first {
        let repository = &intent.repository;
        intent.tags.retain(|tag| taken.insert((repository.clone(), tag.clone())));
    }
    newest_first
}

/// Restores images.
pub struct Restorer<'a> {
    pub stores: &'a Stores,
    pub carrier: &'a Carrier,
    /// Shared by everything that writes to repositories.
    pub leases: &'a WriteLeases,
    pub audit: &'a Audit,
    pub actor: &'a Actor,
    /// Tags that point at something else by now are moved.
    pub overwrite: bool,
}

/// How one image is restored.
struct Route {
    source: Arc<dyn Repository>,
    target: Arc<dyn Repository>,
    /// What is missing, each with the condition under which it is put.
    placements: Vec<(Placement, Condition)>,
    /// Why tags are left alone.
    left_alone: Vec<Error>,
}

impl Restorer<'_> {
    /// Restores all of these, each by itself. Tags that people made come first: the lists of referrers
    /// that registries and clients create meanwhile are replaced by the former ones. `each` is told of
    /// each image. Once it is told to stop, no further image is begun; gives whether all were dealt with.
    pub async fn run(
        &self,
        intents: Vec<Intent>,
        stop: &CancellationToken,
        each: &mut (dyn FnMut(Restored) + Send),
    ) -> bool {
        // In one order, as everything takes them; and no rule has the name of a run.
        let mut leases = Vec::new();
        for repository in intents.iter().map(|one| &one.repository).collect::<BTreeSet<_>>() {
            let lease = self.leases.take(repository, &self.actor.run);
            let Some(lease) = stop.run_until_cancelled(lease).await else { return false };
            leases.push(lease);
        }
        let (mut derived, mut own) = (Vec::new(), Vec::new());
        for intent in intents {
            if stop.is_cancelled() {
                return false;
            }
            let is_derived = intent.tags.iter().any(|tag| derived::parse(tag).is_some());
            // Decided before anything is put: whatever is there now was put by somebody else.
            let route = self.route(&intent).await;
            if is_derived { derived.push((intent, route)) } else { own.push((intent, route)) }
        }
        let mut is_whole = true;
        for (intent, route) in own.into_iter().chain(derived) {
            if stop.is_cancelled() {
                is_whole = false;
                break;
            }
            let (result, left_alone) = match route {
                Ok(route) => {
                    let result = self.bring_back(&intent, &route).await;
                    (result, route.left_alone.iter().map(Failure::of).collect())
                }
                Err(error) => (Err(error), Vec::new()),
            };
            each(Restored {
                repository: intent.repository,
                tags: intent.tags,
                digest: intent.digest,
                run: intent.actor.run,
                restored: result.is_ok(),
                failure: result.err().as_ref().map(Failure::of),
                left_alone,
            });
        }
        // What is restored is not withheld any more, and that is on the disk.
        self.carrier.state().storage.flush().await;
        is_whole
    }

    async fn route(&self, intent: &Intent) -> Result<Route> {
        let target = self.open(&intent.repository).await?;
        let source = match &intent.quarantine {
            Some(kept) => self.open(&kept.place).await?,
            None => Arc::clone(&target),
        };
        let (mut placements, mut left_alone) = (Vec::new(), Vec::new());
        for tag in &intent.tags {
            let found = target.resolve(&Reference::Tag(tag.clone())).await?;
            let condition = match found.map(|found| found.digest) {
                // A list of referrers that is created meanwhile may be replaced by the former one.
                None if derived::parse(tag).is_some() => Condition::Always,
                None => Condition::Absent,
                Some(found) if found == intent.digest => continue,
                Some(found) if self.overwrite => Condition::Is(found),
                Some(found)
                    if derived::parse(tag).is_some()
                        && is_part_of(&*target, &found, &*source, &intent.digest).await? =>
                {
                    Condition::Always
                }
                Some(found) => {
                    let name = format!("{}:{tag}", intent.repository);
                    let reason = format!("the tag points at {found} now: --overwrite moves it");
                    left_alone.push(Error::new("restore", name, Cause::Unsupported(reason)));
                    continue;
                }
            };
            placements.push((Placement::Tag(tag.clone()), condition));
        }
        // Without any tag, or with no tag that is free, it comes back under its digest.
        if intent.tags.len() == left_alone.len() {
            let is_part = intent.with.is_some();
            let placement = if is_part { Placement::Part } else { Placement::Digest };
            placements.push((placement, Condition::Always));
        }
        Ok(Route { source, target, placements, left_alone })
    }

    /// A repository as the audit names it.
    async fn open(&self, place: &str) -> Result<Arc<dyn Repository>> {
        let address: ImageAddress = place.parse().map_err(|error| {
            let cause = Cause::Unsupported(format!("{error}"));
            Error::new("open", place, cause)
        })?;
        repositories::open(self.stores, &address.repository, Flow::ALONE, Access::Read).await
    }

    async fn bring_back(&self, intent: &Intent, route: &Route) -> Result<()> {
        for (placement, condition) in &route.placements {
            let copying = Copying {
                carrier: self.carrier,
                flow: Flow::ALONE,
                source: &route.source,
                digest: &intent.digest,
                target: &route.target,
                placement: placement.clone(),
                condition: condition.clone(),
            };
            copying.run().await?;
        }
        let state = self.carrier.state();
        state.manifests.set_restored(&intent.repository, &intent.digest, Timestamp::now());
        for (placement, _) in &route.placements {
            if let Placement::Tag(tag) = placement {
                state.withdrawn.forget(&intent.repository, tag);
            }
        }
        if !route.left_alone.is_empty() {
            // What is left can be restored later.
            return Ok(());
        }
        let line = Line::Restored {
            id: intent.id.clone(),
            at: Timestamp::now(),
            actor: self.actor.clone(),
        };
        self.audit
            .write(vec![line])
            .await
            .map_err(|error| Error::new("write", "the audit", Cause::Io(error.to_string())))
    }
}

/// Whether a list of referrers at `place` has nothing that the `former` one, at `source`, lacks: an
/// interrupted restoration has made it, and the former one may take its place.
async fn is_part_of(
    place: &dyn Repository,
    list: &Digest,
    source: &dyn Repository,
    former: &Digest,
) -> Result<bool> {
    let listed = place.manifest(&Reference::Digest(list.clone())).await?;
    let former = source.manifest(&Reference::Digest(former.clone())).await?;
    let (Some(listed), Some(former)) = (listed, former) else { return Ok(false) };
    let is_listed =
        |child: &Descriptor| former.children().iter().any(|other| other.digest == child.digest);
    Ok(listed.blobs().is_empty() && listed.children().iter().all(is_listed))
}

#[cfg(test)]
mod tests;
