//! The plan as JSON: stable, in order, with absolute times, so that two plans can be compared
//! line by line. docs/cleanup.md describes it.
//!
//! A plan is written from where it was made, and a document that was read is the same one again: so
//! whatever is shown of a plan is shown alike, whoever made it.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::blockers::Blockers;
use super::decide::{Fate, ManifestVerdict, TagFate, TagVerdict};
use super::{Plan, Planned};
use crate::oci::{Digest, Tag};
use crate::removal::{Clock, Step, StepAction};
use crate::repository::Untag;

/// What would be done in one repository now.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Plan")]
pub struct Document<'a> {
    pub repository: Cow<'a, str>,
    /// The time for which it was decided.
    pub now: Timestamp,
    /// Whether one tag of several can be deleted there: `yes`, `no` or `unknown`.
    #[schemars(with = "String")]
    pub untag: Untag,
    /// Why nothing is deleted; empty if the plan may be carried out.
    pub refused: Vec<String>,
    /// Tags made by people.
    pub tags: u64,
    /// How many of them the rule wants to go, also where a limit refuses it.
    pub tags_deleted: u64,
    pub manifests: u64,
    pub manifests_deleted: u64,
    /// What the steps free in this repository.
    pub bytes_freed: u64,
    /// Keep lines that keep nothing here, although something is to be deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idle_keeps: Vec<Cow<'a, str>>,
    /// What is to be done, in this order; empty if refused.
    #[schemars(with = "Vec<StepLine>")]
    pub steps: Items<'a, StepLine>,
    /// What would be done if the limits of the rule allowed it; only if they refuse it.
    #[serde(default, skip_serializing_if = "Items::is_empty")]
    #[schemars(with = "Vec<StepLine>")]
    pub over_limit: Items<'a, StepLine>,
    #[schemars(with = "Vec<TagLine<'a>>")]
    pub tag_verdicts: Items<'a, TagLine<'a>>,
    #[schemars(with = "Vec<ManifestLine<'a>>")]
    pub manifest_verdicts: Items<'a, ManifestLine<'a>>,
}

/// One step, with all that bears on it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CleanupStep")]
pub struct StepLine {
    /// `delete` a manifest with its tags, or `untag`: take one tag from a manifest that stays.
    #[schemars(with = "String")]
    pub action: StepAction,
    /// The tag that is taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub tag: Option<Tag>,
    #[schemars(with = "String")]
    pub digest: Digest,
    /// The tags that go with the manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub tags: Vec<Tag>,
    /// The line of the rule that asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The manifest that it belongs to and goes with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub with: Option<Digest>,
    pub clock: Clock,
    pub bytes_freed: u64,
}

impl From<Step> for StepLine {
    fn from(step: Step) -> Self {
        let Step { action, digest, mut tags, line, owners, clock, bytes_freed } = step;
        let tag = if action == StepAction::Untag { tags.pop() } else { None };
        let with = owners.into_iter().next();
        Self { action, tag, digest, tags, rule: line, with, clock, bytes_freed }
    }
}

impl StepLine {
    /// All tags that go: the one that is taken away, or those of the manifest.
    pub fn all_tags(&self) -> &[Tag] {
        self.tag.as_ref().map_or(&self.tags, std::slice::from_ref)
    }
}

/// The verdict on one tag.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TagVerdict")]
pub struct TagLine<'a> {
    #[schemars(with = "String")]
    pub tag: Cow<'a, Tag>,
    #[schemars(with = "String")]
    pub digest: Cow<'a, Digest>,
    /// `keep`, `delete` or `untag`.
    pub action: Cow<'static, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condemned_by: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<Cow<'static, str>>,
}

/// The verdict on one manifest.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ManifestVerdict")]
pub struct ManifestLine<'a> {
    #[schemars(with = "String")]
    pub digest: Cow<'a, Digest>,
    #[schemars(with = "String")]
    kind: super::snapshot::Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<Cow<'a, str>>,
    pub action: Cow<'static, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condemned_by: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    owner: Option<Cow<'a, Digest>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<Cow<'static, str>>,
    pub clock: Clock,
}

/// A list that is made while it is written: half a million lines need not be held at once. One that
/// was read is held.
pub struct Items<'a, T>(Box<dyn Fn() -> Box<dyn Iterator<Item = T> + 'a> + Send + 'a>);

impl<'a, T> Items<'a, T> {
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        (self.0)()
    }

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<'a, T: 'a> Default for Items<'a, T> {
    fn default() -> Self {
        Self(Box::new(|| Box::new(std::iter::empty())))
    }
}

impl<T: Serialize> Serialize for Items<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de, 'a, T: Deserialize<'de> + Clone + Send + Sync + 'a> Deserialize<'de> for Items<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = Arc::new(Vec::<T>::deserialize(deserializer)?);
        Ok(Self(Box::new(move || {
            let items = Arc::clone(&items);
            Box::new((0..items.len()).map(move |at| items[at].clone()))
        })))
    }
}

impl Document<'_> {
    /// Nothing could be decided: `refused` says why. Where there are verdicts, what refuses the plan
    /// are the limits of the rule.
    pub fn is_undecided(&self) -> bool {
        !self.refused.is_empty()
            && self.tag_verdicts.is_empty()
            && self.manifest_verdicts.is_empty()
    }
}

impl Serialize for Plan<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document().serialize(serializer)
    }
}

impl<'a> Plan<'a> {
    /// The plan as it is shown.
    pub fn document(&self) -> Document<'_> {
        let Planned { tags, tags_deleted, manifests, manifests_deleted, bytes_freed } =
            self.totals().unwrap_or_default();
        Document {
            repository: self.snapshot.repository().into(),
            now: self.now,
            untag: self.snapshot.abilities().untag,
            refused: self.refusals.iter().map(ToString::to_string).collect(),
            tags,
            tags_deleted,
            manifests,
            manifests_deleted,
            bytes_freed,
            idle_keeps: self.idle_keeps().into_iter().map(Cow::Borrowed).collect(),
            steps: Items(Box::new(|| Box::new(self.to_steps().map(StepLine::from)))),
            over_limit: Items(Box::new(|| {
                Box::new(self.to_steps_over_limit().map(StepLine::from))
            })),
            tag_verdicts: Items(Box::new(|| Box::new(self.tag_lines()))),
            manifest_verdicts: Items(Box::new(|| Box::new(self.manifest_lines()))),
        }
    }

    /// The verdicts on tags, by name; none where nothing could be decided.
    fn tag_lines(&self) -> impl Iterator<Item = TagLine<'_>> {
        let rows = self.snapshot.tags().iter().zip(self.tags());
        rows.map(|(row, verdict)| {
            let TagVerdict { fate, kept_by, condemned_by, blockers } = verdict;
            TagLine {
                tag: Cow::Borrowed(&row.name),
                digest: Cow::Borrowed(self.snapshot.digest(row.node)),
                action: tag_action(*fate).into(),
                kept_by: kept_by.map(|rule| self.keep_id(rule).into()),
                condemned_by: condemned_by.map(|rule| self.delete_id(rule).into()),
                blockers: names(*blockers),
            }
        })
    }

    fn manifest_lines(&self) -> impl Iterator<Item = ManifestLine<'_>> {
        self.verdicts.iter().flat_map(move |verdicts| {
            self.snapshot.manifests().map(move |node| {
                let ManifestVerdict { fate, condemned_by, owner, blockers } =
                    verdicts.manifests[node.at()];
                ManifestLine {
                    digest: Cow::Borrowed(self.snapshot.digest(node)),
                    kind: self.snapshot.kind(node),
                    artifact_type: self.snapshot.artifact_type(node).map(Cow::Borrowed),
                    action: action(fate).into(),
                    condemned_by: condemned_by.map(|rule| self.delete_id(rule).into()),
                    owner: owner.map(|node| Cow::Borrowed(self.snapshot.digest(node))),
                    blockers: names(blockers),
                    clock: Clock::from(verdicts.ages[node.at()]),
                }
            })
        })
    }

    /// The id of a keep rule, as verdicts number them.
    pub fn keep_id(&self, rule: u32) -> &'a str {
        &self.policy.keep[rule as usize].id
    }

    /// The id of a delete rule, as verdicts number them.
    pub fn delete_id(&self, rule: u32) -> &'a str {
        &self.policy.delete[rule as usize].id
    }
}

pub(in crate::cleanup) fn tag_action(fate: TagFate) -> &'static str {
    match fate {
        TagFate::Keep => "keep",
        TagFate::Delete => "delete",
        TagFate::Untag => "untag",
    }
}

pub(in crate::cleanup) fn action(fate: Fate) -> &'static str {
    match fate {
        Fate::Keep => "keep",
        Fate::Delete { .. } => "delete",
    }
}

pub(in crate::cleanup) fn names(blockers: Blockers) -> Vec<Cow<'static, str>> {
    blockers.iter().map(|blocker| blocker.as_str().into()).collect()
}
