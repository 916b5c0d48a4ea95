//! What is known of tags that cleanup rules deleted at the targets.

use super::{Goal, Item, Pair};
use crate::repository::Placement;
use crate::state::Withdrawn;
use crate::sync::Mode;

impl Pair<'_> {
    /// Drops what is known of deletions at the targets that has been of no use for long.
    pub(super) fn prune_withdrawn(&self) {
        if self.mode == Mode::Apply && self.only.is_none() {
            let (state, now) = (self.syncer.carrier.state(), (self.syncer.clock)());
            self.goals.iter().for_each(|goal| state.withdrawn.prune(goal.repository.name(), now));
        }
    }

    /// The deletion of an image's tag at a target, if it was not put again since.
    pub(super) fn withdrawn(&self, item: &Item, goal: &Goal) -> Option<Withdrawn> {
        let Placement::Tag(tag) = &item.placement else { return None };
        self.syncer.carrier.state().withdrawn.get(goal.repository.name(), tag)
    }

    /// Whether a cleanup rule would delete the tag again.
    pub(super) fn is_upheld(&self, item: &Item, goal: &Goal, known: Option<&Withdrawn>) -> bool {
        let (Placement::Tag(tag), Some(known)) = (&item.placement, known) else { return false };
        goal.policies.uphold(tag, known, &*self.syncer.carrier.state().withdrawn)
    }

    /// The deletion is what keeps the image from being copied.
    pub(super) fn confirm_withdrawn(&self, item: &Item, goal: &Goal, known: Option<&Withdrawn>) {
        if let (Placement::Tag(tag), Some(known), Mode::Apply) = (&item.placement, known, self.mode)
        {
            let (state, now) = (self.syncer.carrier.state(), (self.syncer.clock)());
            state.withdrawn.confirm(goal.repository.name(), tag, known, now);
        }
    }

    /// The tag is there again.
    pub(super) fn forget_withdrawn(&self, item: &Item, goal: &Goal) {
        if let (Placement::Tag(tag), Mode::Apply) = (&item.placement, self.mode)
            && self.withdrawn(item, goal).is_some()
        {
            self.syncer.carrier.state().withdrawn.forget(goal.repository.name(), tag);
        }
    }
}
