//! The plan as JSON: stable, in order, with absolute times, so that two plans can be compared
//! line by line. docs/cleanup.md describes it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::blockers::Blockers;
use super::decide::{Fate, ManifestVerdict, TagFate, TagVerdict};
use super::{Plan, Planned};
use crate::oci::{Digest, Tag};
use crate::removal::{Clock, Step, StepAction};
use crate::repository::Untag;

/// What would be done in one repository now.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Plan")]
pub struct Document<'a> {
    repository: &'a str,
    /// The time for which it was decided.
    now: Timestamp,
    /// Whether one tag of several can be deleted there: `yes`, `no` or `unknown`.
    #[schemars(with = "String")]
    untag: Untag,
    /// Why nothing is deleted; empty if the plan may be carried out.
    refused: Vec<String>,
    /// Tags made by people.
    tags: u64,
    /// How many of them the rule wants to go, also where a limit refuses it.
    tags_deleted: u64,
    manifests: u64,
    manifests_deleted: u64,
    /// What the steps free in this repository.
    bytes_freed: u64,
    /// Keep lines that keep nothing here, although something is to be deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    idle_keeps: Vec<&'a str>,
    /// What is to be done, in this order; empty if refused.
    #[schemars(with = "Vec<StepLine>")]
    steps: Items<'a, StepLine>,
    #[schemars(with = "Vec<TagLine<'a>>")]
    tag_verdicts: Items<'a, TagLine<'a>>,
    #[schemars(with = "Vec<ManifestLine<'a>>")]
    manifest_verdicts: Items<'a, ManifestLine<'a>>,
}

/// One step, with all that bears on it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CleanupStep")]
struct StepLine {
    /// `delete` a manifest with its tags, or `untag`: take one tag from a manifest that stays.
    #[schemars(with = "String")]
    action: StepAction,
    /// The tag that is taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    tag: Option<Tag>,
    #[schemars(with = "String")]
    digest: Digest,
    /// The tags that go with the manifest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    tags: Vec<Tag>,
    /// The line of the rule that asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// The manifest that it belongs to and goes with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    with: Option<Digest>,
    clock: Clock,
    bytes_freed: u64,
}

impl From<Step> for StepLine {
    fn from(step: Step) -> Self {
        let Step { action, digest, mut tags, line, owners, clock, bytes_freed } = step;
        let tag = if action == StepAction::Untag { tags.pop() } else { None };
        let with = owners.into_iter().next();
        Self { action, tag, digest, tags, rule: line, with, clock, bytes_freed }
    }
}

/// The verdict on one tag.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TagVerdict")]
pub struct TagLine<'a> {
    #[schemars(with = "String")]
    pub tag: &'a Tag,
    #[schemars(with = "String")]
    pub digest: &'a Digest,
    /// `keep`, `delete` or `untag`.
    pub action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condemned_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<&'static str>,
}

/// The verdict on one manifest.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ManifestVerdict")]
struct ManifestLine<'a> {
    #[schemars(with = "String")]
    digest: &'a Digest,
    #[schemars(with = "String")]
    kind: super::snapshot::Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    condemned_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    owner: Option<&'a Digest>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blockers: Vec<&'static str>,
    clock: Clock,
}

/// A list that is made while it is written: half a million lines need not be held at once.
struct Items<'a, T>(Box<dyn Fn() -> Box<dyn Iterator<Item = T> + 'a> + 'a>);

impl<T: Serialize> Serialize for Items<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

impl Serialize for Plan<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Planned { tags, tags_deleted, manifests, manifests_deleted, bytes_freed } =
            self.totals().unwrap_or_default();
        Document {
            repository: self.snapshot.repository(),
            now: self.now,
            untag: self.snapshot.abilities().untag,
            refused: self.refusals.iter().map(ToString::to_string).collect(),
            tags,
            tags_deleted,
            manifests,
            manifests_deleted,
            bytes_freed,
            idle_keeps: self.idle_keeps(),
            steps: Items(Box::new(|| Box::new(self.to_steps().map(StepLine::from)))),
            tag_verdicts: Items(Box::new(|| Box::new(self.tag_lines()))),
            manifest_verdicts: Items(Box::new(|| Box::new(self.manifest_lines()))),
        }
        .serialize(serializer)
    }
}

impl<'a> Plan<'a> {
    /// The verdicts on tags, by name; none where nothing could be decided.
    pub fn tag_lines(&self) -> impl Iterator<Item = TagLine<'_>> {
        let rows = self.snapshot.tags().iter().zip(self.tags());
        rows.map(|(row, verdict)| {
            let TagVerdict { fate, kept_by, condemned_by, blockers } = verdict;
            TagLine {
                tag: &row.name,
                digest: self.snapshot.digest(row.node),
                action: tag_action(*fate),
                kept_by: kept_by.map(|rule| self.keep_id(rule)),
                condemned_by: condemned_by.map(|rule| self.delete_id(rule)),
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
                    digest: self.snapshot.digest(node),
                    kind: self.snapshot.kind(node),
                    artifact_type: self.snapshot.artifact_type(node),
                    action: action(fate),
                    condemned_by: condemned_by.map(|rule| self.delete_id(rule)),
                    owner: owner.map(|node| self.snapshot.digest(node)),
                    blockers: names(blockers),
                    clock: Clock::from(verdicts.clock[node.at()]),
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

pub(in crate::cleanup) fn names(blockers: Blockers) -> Vec<&'static str> {
    blockers.iter().map(super::Blocker::as_str).collect()
}
