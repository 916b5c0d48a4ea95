//! Steps that delete, as data, and what became of each. Plans make them; documents and reports show
//! them.

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::oci::{Digest, Tag};
use crate::text::display_as_serialized;

/// One thing to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub action: StepAction,
    /// The manifest that is deleted, or that loses a tag.
    pub digest: Digest,
    /// All tags that go with the manifest, or the one that is taken from it.
    pub tags: Vec<Tag>,
    /// The line of the rule that asks for it; `None` for what goes with something else.
    pub line: Option<String>,
    /// What it belongs to, as far as the same plan deletes that. While one of these stays, it stays
    /// as well. People are told the first.
    pub owners: Vec<Digest>,
    pub clock: Clock,
    /// The size of the manifest and of the blobs that nothing uses any more after this step.
    pub bytes_freed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepAction {
    /// A manifest with all its tags.
    Delete,
    /// One tag of a manifest that stays.
    Untag,
}

display_as_serialized!(StepAction, StepOutcome);

/// How old a manifest is, and who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Clock {
    /// `None`: not known, or impossible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Cow<'static, str>>,
    /// What the source says, if that cannot be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impossible: Option<Timestamp>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    Deleted,
    /// Somebody else had deleted it.
    Gone,
    /// It is not what it was when it was planned, or it belongs to something that stays after all.
    Skipped,
    /// The registry does not delete it, for a reason of its own.
    Refused,
    Failed,
    /// The run ended before.
    NotDone,
}

impl StepOutcome {
    pub const ALL: [Self; 6] =
        [Self::Deleted, Self::Gone, Self::Skipped, Self::Refused, Self::Failed, Self::NotDone];

    /// The thing is not there any more.
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Deleted | Self::Gone)
    }
}

/// A step in a report, as JSON has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    pub action: StepAction,
    /// The tag that was taken away, or those that went with the manifest.
    pub tags: Vec<Tag>,
    pub digest: Digest,
    /// The line of the rule that asked for it; absent for what went with something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// What it belonged to and went with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<Digest>,
    pub outcome: StepOutcome,
    /// Why it was not simply done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// 0 if it is not gone.
    pub bytes_freed: u64,
}

impl StepReport {
    pub fn of(step: &Step, outcome: StepOutcome, reason: Option<String>) -> Self {
        let Step { action, digest, tags, line, owners, bytes_freed, .. } = step.clone();
        let with = owners.into_iter().next();
        Self { action, tags, digest, line, with, outcome, reason, bytes_freed }
    }
}
