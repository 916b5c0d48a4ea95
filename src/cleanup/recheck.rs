//! Whether the steps of a plan still hold: the repository is observed and planned again, and the two
//! plans are compared. The comparison is pure.

use std::borrow::Cow;
use std::time::Instant;

use async_trait::async_trait;

use super::observe::{Observation, ObserveOptions, RepositoryContext};
use super::plan::blockers::Blocker;
use super::plan::decide::{Fate, TagFate};
use super::plan::document::names;
use super::plan::snapshot::{Node, Snapshot, TagKind};
use super::plan::steps::TagsByManifest;
use super::plan::{Plan, plan};
use crate::config::policy::{MaxDelete, Policy};
use crate::oci::{Digest, Tag, derived};
use crate::removal::{Checked, Observed, Recheck, Rechecked, Step, StepAction};

/// Rechecks the steps of one plan.
pub(super) struct Rechecker<'a, 's> {
    pub context: &'a RepositoryContext<'s>,
    pub planned: &'a Plan<'a>,
}

#[async_trait]
impl Recheck for Rechecker<'_, '_> {
    async fn recheck(&self, left: &[Step], tags_gone: usize) -> Result<Rechecked, String> {
        let began = Instant::now();
        let planned = self.planned;
        let roots: Vec<Digest> = left.iter().map(|step| step.digest.clone()).collect();
        let emptied = tags_gone == planned.snapshot.tags().len();
        let options = ObserveOptions { all_referrers: false, roots: &roots, emptied };
        let Observation { snapshot, in_use } = match self.context.observe(options).await {
            Ok(Some(observation)) => observation,
            // It may be gone, or these credentials may not read it any more.
            Ok(None) => return Err("its tags cannot be listed any more".to_owned()),
            Err(failures) => {
                return Err(failures.first().map(ToString::to_string).unwrap_or_default());
            }
        };
        let ended = Instant::now();
        // The limits were for the plan as a whole.
        let policy = Policy { max_delete: MaxDelete::default(), ..planned.policy.clone() };
        let now = plan(&snapshot, &policy, &in_use, planned.now);
        let tags = TagsByManifest::of(&snapshot);
        let steps = left.iter().map(|step| compare(planned, step, &now, &tags)).collect();
        Ok(Rechecked { observed: Box::new(snapshot), began, ended, steps })
    }
}

impl Observed for Snapshot {
    fn tags(&self) -> usize {
        self.tags().len()
    }

    fn has_tag(&self, tag: &Tag) -> bool {
        self.row(tag).is_some()
    }

    fn has_manifest(&self, digest: &Digest) -> Option<bool> {
        self.find(digest).map(|node| self.is_present(node))
    }
}

/// Compares a step of an older plan with what is planned `now`, without limits.
fn compare(older: &Plan<'_>, step: &Step, now: &Plan<'_>, tags: &TagsByManifest<'_>) -> Checked {
    let Some(verdicts) = &now.verdicts else {
        let reasons: Vec<String> = now.refusals.iter().take(3).map(ToString::to_string).collect();
        return Checked::Unknown(format!(
            "nothing can be decided any more: {}",
            reasons.join("; ")
        ));
    };
    let wanted = |node| Checked::Wanted { tags: tags.on(node).cloned().collect() };
    match step.action {
        StepAction::Delete => {
            let found = now.snapshot.find(&step.digest);
            let Some(node) = found.filter(|node| now.snapshot.is_present(*node)) else {
                // What has no tag any more is not listed, which does not say that it is gone.
                return match now.snapshot.abilities().lists_untagged {
                    true => Checked::Gone,
                    false => Checked::Changed("no tag leads to it any more".to_owned()),
                };
            };
            if let Some(new) = tags.on(node).find(|tag| !step.tags.contains(tag)) {
                return Checked::Changed(format!("it has the tag `{new}` now"));
            }
            // New owners may be condemned as well, but not by this plan: it stays.
            let owners = verdicts.owners.owners.row(node.at());
            let mut digests = owners.iter().map(|owner| now.snapshot.digest(Node(*owner)));
            if let Some(new) = digests.find(|owner| depth(older, owner).is_none()) {
                return Checked::Changed(format!("it belongs to {new} now"));
            }
            let verdict = &verdicts.manifests[node.at()];
            if matches!(verdict.fate, Fate::Delete { .. }) {
                return wanted(node);
            }
            // What went with its owners is asked for by no line once these are gone. Nor did its age
            // matter, if it was there for them only.
            let was_attached = older.snapshot.find(&step.digest).is_some_and(|node| {
                older.verdicts.as_ref().is_some_and(|verdicts| verdicts.owners.is_attached(node))
            });
            let is_no_matter = |it| it == Blocker::TagStays || (was_attached && is_of_age(it));
            // A line may still ask for its own tags.
            let is_asked_for = |tag| {
                let verdict = now.snapshot.row(tag).map(|(at, _)| &verdicts.tags[at]);
                verdict.is_some_and(|verdict| {
                    verdict.condemned_by.is_some()
                        && verdict.blockers.iter().all(|it| it == Blocker::SharedDigest)
                })
            };
            let bereft = depth(older, &step.digest).is_some_and(|depth| depth > 0)
                && owners.is_empty()
                && tags.on(node).all(|tag| derived::parse(tag).is_some() || is_asked_for(tag))
                && verdict.blockers.iter().all(is_no_matter);
            if bereft { wanted(node) } else { Checked::Changed(because(&names(verdict.blockers))) }
        }
        StepAction::Untag => {
            let row = step.tags.first().and_then(|tag| now.snapshot.row(tag));
            let Some((at, row)) = row else { return Checked::Gone };
            let digest = now.snapshot.digest(row.node);
            if *digest != step.digest {
                return Checked::Changed(format!("it points at {digest} now"));
            }
            let verdict = &verdicts.tags[at];
            // Nor does any line ask for a tag that belongs to something that is gone by now, and the
            // age of what it points at did not matter before.
            let bereft = !step.owners.is_empty()
                && row.kind == TagKind::Dangling
                && verdict.blockers.iter().all(is_of_age);
            match verdict.fate {
                TagFate::Untag | TagFate::Delete => wanted(row.node),
                TagFate::Keep if bereft => wanted(row.node),
                TagFate::Keep => Checked::Changed(because(&names(verdict.blockers))),
            }
        }
    }
}

fn is_of_age(blocker: Blocker) -> bool {
    matches!(blocker, Blocker::Young | Blocker::UnknownAge)
}

/// How many steps a manifest that a plan deletes is away from what is condemned by itself. `None`:
/// it stays, or the plan does not know it.
fn depth(plan: &Plan<'_>, digest: &Digest) -> Option<u32> {
    let node = plan.snapshot.find(digest)?;
    match plan.verdicts.as_ref()?.manifests[node.at()].fate {
        Fate::Delete { depth } => Some(depth),
        Fate::Keep => None,
    }
}

fn because(blockers: &[Cow<'static, str>]) -> String {
    match blockers {
        [] => "no line asks for it any more".to_owned(),
        blockers => format!("it stays after all: {}", blockers.join(", ")),
    }
}
