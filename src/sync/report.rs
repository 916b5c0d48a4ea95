//! What a run did. These types are the JSON that `--output json` prints, see docs/json.md, and in
//! which images are kept in the history.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Mode;
use crate::repository::{Failure, Placement, Reference, Repository};
use crate::text::display_as_serialized;
use crate::transfer::{Delivered, TransferOutcome};

/// One run of one rule.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct RuleReport {
    pub rule: String,
    /// Nothing was changed: `copied` counts what would be.
    pub dry_run: bool,
    /// The run was stopped before its end.
    pub interrupted: bool,
    /// Source repositories that the rule selects.
    pub repositories: usize,
    pub counts: Counts,
    /// Of the unchanged images, those whose digest at the target was not asked for.
    pub vouched: Vouched,
    /// Bytes of blobs sent to targets.
    pub bytes: u64,
    pub seconds: f64,
    /// Images that were not simply unchanged, by name: all of them, or those that the run keeps. What
    /// is withheld is among them only in a dry run.
    pub images: Vec<ImageReport>,
    /// Tags that are gone at the source and were to go at a target, by name.
    pub removed: Vec<Removed>,
    /// Target repositories in which nothing was removed because of the rule's limits. Each is
    /// among the failures.
    pub limited: usize,
    /// What went wrong with more than one image: a list that could not be read.
    pub failures: Vec<Failure>,
    pub notes: Vec<String>,
}

/// Images by what became of them. A source tag counts once for each target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    pub copied: usize,
    pub unchanged: usize,
    pub kept: usize,
    /// Not copied, because a cleanup rule deleted just this and would do it again.
    #[serde(default)]
    pub withheld: usize,
    pub failed: usize,
    /// Tags of targets that went because they are gone at the source; in a dry run, that would go.
    #[serde(default)]
    pub removed: usize,
}

/// Images whose target was last asked in an earlier run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Vouched {
    pub images: usize,
    /// When the first of them was last seen at its target. `None`: there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
}

impl Vouched {
    /// Adds an image that was last seen then, in seconds since 1970.
    pub(super) fn add(&mut self, seen_at: u64) {
        let seen_at = i64::try_from(seen_at).ok().and_then(|at| Timestamp::from_second(at).ok());
        self.images += 1;
        self.since = match (self.since, seen_at) {
            (Some(since), Some(seen_at)) => Some(since.min(seen_at)),
            (since, seen_at) => since.or(seen_at),
        };
    }
}

/// A tag of a target that is gone at the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// `host/repository:tag`.
    pub target: String,
    pub digest: String,
    pub outcome: WhatBecame,
    /// Why it was not simply done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a tag that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhatBecame {
    Removed,
    /// Only in a dry run.
    WouldRemove,
    /// It has changed meanwhile, or the registry does not delete it, for a reason of its own.
    Stays,
    Failed,
}

/// One image at one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImageReport {
    pub source: String,
    pub target: String,
    pub action: Action,
    /// Why it was done, or not.
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_digest: Option<String>,
    pub bytes: u64,
    pub blobs_sent: u64,
    pub blobs_mounted: u64,
    pub blobs_present: u64,
    pub seconds: f64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Failure>,
}

impl ImageReport {
    /// An image of which nothing is known yet but its names.
    pub fn new(
        source: (&dyn Repository, &Reference),
        target: (&dyn Repository, &Placement),
        action: Action,
        reason: &str,
    ) -> Self {
        let source = format!("{}{}", source.0.name(), source.1.suffix());
        let target = format!("{}{}", target.0.name(), target.1.suffix());
        Self::blank(source, target, action, reason)
    }

    /// By name, as reports have them.
    pub fn sort(images: &mut [Self]) {
        images.sort_by(|a, b| (&a.source, &a.target).cmp(&(&b.source, &b.target)));
    }

    /// An image of a test.
    #[cfg(test)]
    pub(crate) fn sample(tag: &str, action: Action) -> Self {
        Self::blank(format!("a.io/app:{tag}"), format!("b.io/app:{tag}"), action, "new")
    }

    fn blank(source: String, target: String, action: Action, reason: &str) -> Self {
        Self {
            source,
            target,
            action,
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

    /// The same image with what one target got.
    pub fn delivered(self, outcome: &TransferOutcome, delivered: &Delivered) -> Self {
        Self {
            source_digest: Some(outcome.source_digest.to_string()),
            target_digest: Some(delivered.digest.to_string()),
            bytes: delivered.sent_bytes,
            blobs_sent: delivered.blobs_sent,
            blobs_mounted: delivered.blobs_mounted,
            blobs_present: delivered.blobs_present,
            notes: outcome.notes.clone(),
            errors: delivered.refused_referrers.iter().map(Failure::of).collect(),
            ..self
        }
    }
}

/// What became of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Copied,
    /// Only in a dry run.
    WouldCopy,
    /// The target had exactly this already. Runs of rules only count these.
    Unchanged,
    /// Somebody else's tag at the target was left alone.
    Kept,
    /// A cleanup rule deleted just this and would do it again. Only in a dry run: other runs count
    /// these, which are the same in each.
    Withheld,
    Failed,
}

display_as_serialized!(Action);

impl RuleReport {
    pub fn new(rule: &str, mode: Mode) -> Self {
        Self { rule: rule.to_owned(), dry_run: mode == Mode::DryRun, ..Self::default() }
    }

    /// Nothing failed, but for what the rule's own limits held back.
    pub fn is_only_limited(&self) -> bool {
        let failures = self.failures.len() + self.counts.failed;
        !self.interrupted && self.limited > 0 && failures == self.limited
    }

    /// Everything that the rule asks for is so.
    pub fn is_success(&self) -> bool {
        !self.interrupted && self.counts.failed == 0 && self.failures.is_empty()
    }
}

impl Counts {
    /// Images of which it is known what became of them.
    pub fn settled(&self) -> usize {
        let Self { copied, unchanged, kept, withheld, failed, removed: _ } = self;
        copied + unchanged + kept + withheld + failed
    }

    pub fn add(&mut self, action: Action) {
        match action {
            Action::Copied | Action::WouldCopy => self.copied += 1,
            Action::Unchanged => self.unchanged += 1,
            Action::Kept => self.kept += 1,
            Action::Withheld => self.withheld += 1,
            Action::Failed => self.failed += 1,
        }
    }
}
