//! What became of an image: remembered in the state, and told in the report.

use super::{Goal, Item, Need, Pair};
use crate::oci::Digest;
use crate::repository::{Error, Placement};
use crate::state::{TagKey, TagState};
use crate::sync::Progress;
use crate::sync::report::{Action, Failure, ImageReport};
use crate::transfer::{Delivered, Found, Outcome, fingerprint};

impl Pair<'_> {
    pub(super) fn settle(
        &self,
        item: &Item,
        outcome: &Outcome,
        needs: Vec<Need<'_>>,
        seconds: f64,
        progress: &Progress<'_>,
    ) {
        for (need, result) in needs.into_iter().zip(&outcome.targets) {
            match result {
                Err(error) => {
                    progress.image(self.failed(item, need.goal, need.reason, error, seconds))
                }
                Ok(delivered) => {
                    let state = self.state_delivered(outcome, delivered, need.vouched_since);
                    self.remember(item, need.goal, state);
                    if delivered.unchanged
                        && delivered.blobs_sent + delivered.blobs_mounted == 0
                        && delivered.refused_referrers.is_empty()
                        && need.reason != super::REFERRERS_CHANGED
                    {
                        progress.unchanged(1);
                        continue;
                    }
                    progress.image(self.copied(item, &need, outcome, delivered, seconds));
                }
            }
        }
    }

    fn copied(
        &self,
        item: &Item,
        need: &Need<'_>,
        outcome: &Outcome,
        delivered: &Delivered,
        seconds: f64,
    ) -> ImageReport {
        let refused = !delivered.refused_referrers.is_empty();
        let mut notes = outcome.notes.clone();
        if refused {
            notes.push(
                "the image is there, but the target refuses to store what refers to it".to_owned(),
            );
        }
        ImageReport {
            action: if refused { Action::Failed } else { Action::Copied },
            source_digest: Some(outcome.source_digest.to_string()),
            target_digest: Some(delivered.digest.to_string()),
            bytes: delivered.sent_bytes,
            blobs_sent: delivered.blobs_sent,
            blobs_mounted: delivered.blobs_mounted,
            blobs_present: delivered.blobs_present,
            seconds,
            notes,
            errors: delivered.refused_referrers.iter().map(Failure::of).collect(),
            ..self.blank(item, need.goal, need.reason)
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
        ImageReport {
            source: format!("{}{}", self.source.name(), item.reference.suffix()),
            target: format!("{}{}", goal.repository.name(), suffix(&item.placement)),
            action: Action::Copied,
            reason: reason.to_owned(),
            source_digest: None,
            target_digest: None,
            bytes: 0,
            blobs_sent: 0,
            blobs_mounted: 0,
            blobs_present: 0,
            seconds: 0.0,
            notes: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// What is to be remembered of an image that is in step now.
    pub(super) fn state_of(
        &self,
        source: &Digest,
        target: &Digest,
        subjects: Vec<Digest>,
        found: &[Found],
    ) -> TagState {
        TagState {
            source_digest: source.clone(),
            target_digest: target.clone(),
            verified_at: (self.syncer.clock)(),
            options: self.options_mark,
            subjects,
            referrers: fingerprint(found),
        }
    }

    fn state_delivered(
        &self,
        outcome: &Outcome,
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
        self.syncer.carrier.state().set_tag(&key, &state);
    }
}

pub(super) fn suffix(placement: &Placement) -> String {
    match placement {
        Placement::Tag(tag) => format!(":{tag}"),
        Placement::Digest | Placement::Part => String::new(),
    }
}
