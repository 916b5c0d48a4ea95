//! What became of an image: remembered in the state, and told in the report.

use super::{Goal, Item, Need, Pair};
use crate::config::OnConflict;
use crate::oci::Digest;
use crate::repository::{Cause, Error, Failure, Placement};
use crate::state::{TagKey, TagState};
use crate::sync::Mode;
use crate::sync::progress::Progress;
use crate::sync::report::{Action, ImageReport};
use crate::transfer::{Delivered, Referrer, TransferOutcome, fingerprint};

impl Pair<'_> {
    pub(super) fn settle(
        &self,
        item: &Item,
        outcome: &TransferOutcome,
        needs: Vec<Need<'_>>,
        seconds: f64,
        progress: &Progress<'_>,
    ) {
        for (need, result) in needs.into_iter().zip(&outcome.targets) {
            match result {
                Err(error)
                    if self.rule.on_conflict == OnConflict::Keep
                        && matches!(error.cause(), Cause::Changed { .. }) =>
                {
                    progress.image(self.kept(item, need.goal));
                }
                Err(error) if *error.cause() == Cause::Interrupted => progress.left_out(),
                Err(error) if *error.cause() == Cause::LeftBehind => need.goal.deferred.leave(item),
                Err(error) => {
                    progress.image(self.failed(item, need.goal, need.reason, error, seconds))
                }
                Ok(delivered) => {
                    let state = self.state_delivered(outcome, delivered, need.vouched_since);
                    self.remember(item, need.goal, state);
                    self.forget_withdrawn(item, need.goal);
                    if delivered.unchanged
                        && delivered.blobs_sent + delivered.blobs_mounted == 0
                        && delivered.refused_referrers.is_empty()
                        && need.reason != super::REFERRERS_CHANGED
                    {
                        progress.unchanged(1);
                        continue;
                    }
                    need.goal.has_changed();
                    progress.image(self.copied(item, &need, outcome, delivered, seconds));
                }
            }
        }
    }

    fn copied(
        &self,
        item: &Item,
        need: &Need<'_>,
        outcome: &TransferOutcome,
        delivered: &Delivered,
        seconds: f64,
    ) -> ImageReport {
        let refused = !delivered.refused_referrers.is_empty();
        let mut notes = outcome.notes.clone();
        if refused {
            notes.push(
                "the image is there, but not all of its referrers could be copied".to_owned(),
            );
        }
        let action = if refused { Action::Failed } else { Action::Copied };
        let report = self.blank(item, need.goal, need.reason).delivered(outcome, delivered);
        ImageReport { action, seconds, notes, ..report }
    }

    /// Somebody else's tag is left alone.
    pub(super) fn kept(&self, item: &Item, goal: &Goal) -> ImageReport {
        let reason = "the target's tag was changed by someone else (on_conflict = \"keep\")";
        ImageReport { action: Action::Kept, ..self.blank(item, goal, reason) }
    }

    /// What a cleanup rule deleted stays so. A run that changes something only counts that: there may
    /// be very much, and each run would tell the same.
    pub(super) fn withheld(
        &self,
        item: &Item,
        goal: &Goal,
        source: &Digest,
        progress: &Progress<'_>,
    ) {
        match self.mode {
            Mode::Apply => progress.withheld(1),
            Mode::DryRun => progress.image(ImageReport {
                action: Action::Withheld,
                source_digest: Some(source.to_string()),
                ..self.blank(item, goal, "a cleanup rule deleted it at the target")
            }),
        }
    }

    pub(super) fn failed(
        &self,
        item: &Item,
        goal: &Goal,
        reason: &str,
        error: &Error,
        seconds: f64,
    ) -> ImageReport {
        ImageReport {
            action: Action::Failed,
            errors: vec![Failure::of(error)],
            seconds,
            ..self.blank(item, goal, reason)
        }
    }

    pub(super) fn blank(&self, item: &Item, goal: &Goal, reason: &str) -> ImageReport {
        let source = (&*self.source, &item.reference);
        let target = (&*goal.repository, &item.placement);
        ImageReport::new(source, target, Action::Copied, reason)
    }

    /// What is to be remembered of an image that is in step now.
    pub(super) fn state_of(
        &self,
        source: &Digest,
        target: &Digest,
        subjects: Vec<Digest>,
        found: &[Referrer],
    ) -> TagState {
        TagState {
            source_digest: source.clone(),
            target_digest: target.clone(),
            verified_at: (self.syncer.clock)(),
            options: self.options_mark,
            bare_children_at: self.bare_children_at(&subjects, found),
            subjects,
            referrers: fingerprint(found),
        }
    }

    /// Now, if the source was asked about everything below an image's root and nothing refers to
    /// any of it.
    pub(super) fn bare_children_at(&self, subjects: &[Digest], found: &[Referrer]) -> Option<u64> {
        let (_, below) = subjects.split_first()?;
        let has_none = !found.iter().any(|found| below.contains(&found.subject));
        (!below.is_empty() && has_none && self.options.referrers).then(self.syncer.clock)
    }

    fn state_delivered(
        &self,
        outcome: &TransferOutcome,
        delivered: &Delivered,
        vouched_since: Option<u64>,
    ) -> TagState {
        let subjects = outcome.subjects.clone();
        let mut state =
            self.state_of(&outcome.source_digest, &delivered.digest, subjects, &outcome.referrers);
        // Nobody has looked at the tag itself: it is as old as it was.
        state.verified_at = vouched_since.unwrap_or(state.verified_at);
        if !delivered.refused_referrers.is_empty() {
            // It is ours, but not as it should be: no options ask for just this.
            state.options = !self.options_mark;
        }
        state
    }

    pub(super) fn remember(&self, item: &Item, goal: &Goal, state: TagState) {
        let Placement::Tag(tag) = &item.placement else { return };
        let key = TagKey { source: self.source.name(), target: goal.repository.name(), tag };
        self.syncer.carrier.state().tags.set(&key, &state);
        self.own(item, goal);
    }
}
