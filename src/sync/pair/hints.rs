//! What lists of tags say that each tag points at. That saves look-ups of tags for which nothing is to
//! be done; whatever else would follow from it is looked up first.

use super::needs::Look;
use super::{Item, Pair, SourceList};
use crate::repository::{Placement, Reference, Resolved};
use crate::sync::decide::{AtTarget, Verdict, decide};

impl Pair<'_> {
    /// The source's image by its list.
    pub(super) fn hinted_source(&self, item: &Item, list: &SourceList) -> Option<Resolved> {
        let Reference::Tag(tag) = &item.reference else { return None };
        // Without its type it counts as an index, of which options may want another part.
        list.hints.get(tag).map(|digest| Resolved { digest: digest.clone(), media_type: None })
    }

    /// Whether an image is in step, if the source has what its list says. `known`: with what is known of
    /// the target without a request for this image alone.
    pub(super) fn is_hinted(
        &self,
        (look, at_target): &(Look<'_, '_>, Option<AtTarget>),
        source: &Resolved,
    ) -> bool {
        match at_target {
            Some(at_target) => self.is_in_step(look, at_target, source),
            None => self.hinted_target(look, source).is_some(),
        }
    }

    /// What the target has by its list, if the image is in step by that.
    pub(super) fn hinted_target(&self, look: &Look<'_, '_>, source: &Resolved) -> Option<AtTarget> {
        let Placement::Tag(tag) = &look.item.placement else { return None };
        let digest = look.goal.listed(tag).filter(|_| !self.recheck)?.digest.clone()?;
        Some(AtTarget::Has(digest)).filter(|hint| self.is_in_step(look, hint, source))
    }

    fn is_in_step(&self, look: &Look<'_, '_>, at: &AtTarget, source: &Resolved) -> bool {
        decide(&self.known(look, source), at, self.rule.on_conflict) == Verdict::InStep
    }
}
