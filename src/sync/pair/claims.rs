//! Who puts a tag at a target: a rule does not touch what another one puts there.

use super::{Goal, Item, Pair};
use crate::oci::Tag;
use crate::repository::{Cause, Error, Placement};
use crate::state::TagOwner;
use crate::sync::Mode;
use crate::sync::progress::Progress;
use crate::sync::writers::Claim;
use crate::text::counted;

impl Pair<'_> {
    /// What this rule may do with an image's tag at a target, and who put it there last.
    pub(super) fn claim(&self, item: &Item, goal: &Goal) -> (Claim, Option<TagOwner>) {
        let Placement::Tag(tag) = &item.placement else { return (Claim::Own, None) };
        let owner = self.syncer.carrier.state().owners.get(goal.repository.name(), tag);
        let claim = owner.as_ref().map_or(Claim::Own, |owner| {
            let at = (&goal.address, tag);
            self.syncer.writers.claim(self.rule, &self.source_address, at, owner)
        });
        (claim, owner)
    }

    /// The tag is at the target as this rule wants it.
    pub(super) fn own(&self, item: &Item, goal: &Goal) {
        let (Placement::Tag(tag), Mode::Apply) = (&item.placement, self.mode) else { return };
        let ours = TagOwner {
            rule: self.rule.name.clone(),
            source: self.source_address.clone().split().1,
        };
        match self.claim(item, goal) {
            // It stays as it is: two rules that share a tag would write it in every run.
            (Claim::Shared | Claim::Contested { .. }, _) => return,
            (Claim::Own, Some(owner)) if owner == ours => return,
            (Claim::Inherited { known: false }, Some(owner)) => {
                *goal.inherited.lock().entry(owner.rule).or_default() += 1;
            }
            (Claim::Own | Claim::Inherited { .. }, _) => {}
        }
        self.syncer.carrier.state().owners.set(goal.repository.name(), tag, &ours);
    }

    /// Whether a tag of a target was put there by this rule, as far as is known, or by another one
    /// that copies the same.
    pub(super) fn may_remove(&self, tag: &Tag, goal: &Goal) -> bool {
        let (claim, _) = self.claim(&Item::tagged(tag.clone()), goal);
        matches!(claim, Claim::Own | Claim::Shared)
    }

    /// The error for a tag that another rule writes.
    pub(super) fn contested(
        &self,
        item: &Item,
        goal: &Goal,
        claim: &Claim,
        owner: Option<&TagOwner>,
    ) -> Option<Error> {
        let (Claim::Contested { source }, Some(owner)) = (claim, owner) else { return None };
        let (other, ours) = (&owner.rule, &self.rule.name);
        let message = format!(
            "rule `{other}` puts another image there, from {source}{}: the rules `{other}` and \
             `{ours}` need different targets, or `tags` that do not overlap",
            item.placement.suffix()
        );
        let target = format!("{}{}", goal.repository.name(), item.placement.suffix());
        Some(Error::new("write", target, Cause::Unsupported(message)))
    }
}

impl Goal {
    /// Tells once of tags that another configuration's rule has put there.
    pub(super) fn note_inherited(&self, rule: &str, progress: &Progress<'_>) {
        for (other, tags) in std::mem::take(&mut *self.inherited.lock()) {
            let (name, tags) = (self.repository.name(), counted(tags, "tag was", "tags were"));
            progress.note(format!(
                "{name}: {tags} put there by rule `{other}`, which is not in this configuration; \
                 rule `{rule}` writes them from now on"
            ));
        }
    }
}
