//! From a snapshot to a plan: what is deleted in which order, what that frees, and whether it is
//! within the limits. A plan that is refused deletes nothing.
//!
//! A pure decision: no clock, no randomness, no I/O. The same input gives the same plan, in
//! whatever order it was gathered.
//!
//! - [`snapshot`] is one repository as data, made by a [`Builder`]; what is not known for sure
//!   makes it incomplete, and nothing is deleted. `lists`: many short lists in one.
//! - `clock`: how old a manifest is. `rank`: what is newest. `select`: what a rule matches.
//! - `owners`: what belongs to what. `live`: what goes when its owners go.
//! - `ground`: single rules applied. `blockers`: what stands in the way. `decide`: a verdict for every
//!   tag and manifest. Here: limits, order and bytes. `steps`: the steps, to be carried out.
//! - [`document`] is the plan as JSON, `explain` the reasons for one tag or manifest.

pub(in crate::cleanup) mod blockers;
mod builder;
pub(in crate::cleanup) mod clock;
pub(in crate::cleanup) mod decide;
pub mod document;
mod explain;
mod ground;
mod lists;
mod live;
pub(in crate::cleanup) mod owners;
mod rank;
mod select;
pub mod snapshot;
pub(in crate::cleanup) mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::policy::{Doomed, MaxDelete, Policy};
use crate::oci::{Digest, Tag};
use decide::{Verdicts, decide};
use ground::Ground;
use snapshot::TagKind;

pub use crate::repository::Untag;
pub use blockers::{Blocker, Blockers};
pub use builder::Builder;
pub use decide::{Fate, ManifestVerdict, TagFate, TagVerdict};
pub use explain::{Explanation, explain};
pub use snapshot::{Abilities, Incomplete, Node, Snapshot};

/// What is run somewhere from this repository, with where that was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InUse {
    pub tags: BTreeMap<Tag, Vec<String>>,
    /// Named for this repository. One that is not in it must be known to be absent from it.
    pub digests: BTreeMap<Digest, Vec<String>>,
    /// All others that run anywhere, by other names or without one. They protect what is here,
    /// and mean nothing if it is not.
    pub elsewhere: BTreeMap<Digest, Vec<String>>,
}

/// What would be done in one repository now, and why.
#[derive(Debug)]
pub struct Plan<'a> {
    pub snapshot: &'a Snapshot,
    pub policy: &'a Policy,
    pub in_use: &'a InUse,
    pub now: Timestamp,
    /// Why nothing is done at all; empty if the plan may be carried out.
    pub refusals: Vec<Refusal>,
    /// `None` where the snapshot does not allow any.
    pub(in crate::cleanup) verdicts: Option<Verdicts>,
    /// In the order in which they are to be done: whatever is done of them, from the first on,
    /// what remains is as whole as it was. Empty if refused.
    pub steps: Vec<PlannedStep>,
    /// What the steps would be if the limits allowed them. Empty if they do.
    pub over_limit: Vec<PlannedStep>,
}

/// One thing to do, by place in the snapshot: [`Plan::to_steps`] has it in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlannedStep {
    /// Take one tag, by its place in the snapshot, from a manifest that stays.
    Untag { tag: u32 },
    /// Delete a manifest with all the tags it has in the snapshot.
    Delete {
        manifest: Node,
        /// Of the document, and of the blobs that nothing uses any more after this step.
        bytes: u64,
    },
}

/// Why nothing is deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Incomplete(Incomplete),
    #[error("rule `{rule}` is about manifests without tags, which this registry does not list")]
    NotListed { rule: String },
    /// Something runs an image of which it is not known whether it is here.
    #[error("{0} is in use, and was not looked at")]
    InUseUnknown(Digest),
    /// Too many ways from image to image to rank them.
    #[error("the images contain each other in too many ways to be ranked")]
    TooTangled,
    #[error(
        "{wanted} of {total} {what} would go, and `max_delete` allows {}",
        limits.iter().map(ToString::to_string).collect::<Vec<_>>().join(", and ")
    )]
    TooMany {
        what: &'static str,
        wanted: u64,
        total: u64,
        /// Those that are exceeded.
        limits: Vec<Limit>,
    },
}

/// How many may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub most: u64,
    /// That is so many percent of all.
    pub percent: Option<u8>,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.percent {
            None => write!(f, "{}", self.most),
            Some(percent) => write!(f, "{percent} percent, which is {}", self.most),
        }
    }
}

/// The sums of a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// Tags made by people.
    pub tags: u64,
    pub tags_deleted: u64,
    pub manifests: u64,
    pub manifests_deleted: u64,
    pub bytes_freed: u64,
}

/// Decides what is to be deleted at `now`: a pure function, whatever the order in which the
/// snapshot was gathered and the rules are written.
pub fn plan<'a>(
    snapshot: &'a Snapshot,
    policy: &'a Policy,
    in_use: &'a InUse,
    now: Timestamp,
) -> Plan<'a> {
    let refusals = unsound(snapshot, policy, in_use);
    let (steps, over_limit) = (Vec::new(), Vec::new());
    let mut plan =
        Plan { snapshot, policy, in_use, now, refusals, verdicts: None, steps, over_limit };
    if !plan.refusals.is_empty() {
        return plan;
    }
    let Ok(ground) = Ground::of(snapshot, policy, now) else {
        plan.refusals.push(Refusal::TooTangled);
        return plan;
    };
    let verdicts = decide(ground, policy, in_use);
    plan.refusals = exceeded(totals(snapshot, &verdicts), policy.max_delete);
    let steps = self::steps(snapshot, &verdicts);
    match plan.refusals.is_empty() {
        true => plan.steps = steps,
        false => plan.over_limit = steps,
    }
    plan.verdicts = Some(verdicts);
    plan
}

impl Plan<'_> {
    /// What the rules ask for, also where the limits refuse it; `None` without verdicts.
    pub fn totals(&self) -> Option<Planned> {
        let totals = totals(self.snapshot, self.verdicts.as_ref()?);
        Some(Planned { bytes_freed: self.bytes(), ..totals })
    }

    /// The verdict on each tag, by its place in the snapshot; none where nothing could be decided.
    pub fn tags(&self) -> &[TagVerdict] {
        self.verdicts.as_ref().map_or(&[], |verdicts| &verdicts.tags)
    }

    /// The keep lines, by id, that keep nothing in a repository in which something is to be deleted.
    /// That may be right, and it may be a pattern that is not what was meant.
    pub fn idle_keeps(&self) -> Vec<&str> {
        let Some(verdicts) = &self.verdicts else { return Vec::new() };
        let totals = totals(self.snapshot, verdicts);
        if totals.tags_deleted + totals.manifests_deleted == 0 {
            return Vec::new();
        }
        verdicts.idle_keeps.iter().map(|rule| self.keep_id(*rule)).collect()
    }

    /// The keep lines, by id, that keep something. `None` without verdicts.
    pub fn busy_keeps(&self) -> Option<BTreeSet<String>> {
        let idle = &self.verdicts.as_ref()?.idle_keeps;
        let ids = self.policy.keep.iter().enumerate();
        let busy = ids.filter(|(at, _)| !idle.iter().any(|idle| *idle as usize == *at));
        Some(busy.map(|(_, line)| line.id.clone()).collect())
    }

    /// Bytes that the steps free in this repository.
    pub fn bytes(&self) -> u64 {
        let bytes = |step: &PlannedStep| match step {
            PlannedStep::Untag { .. } => 0,
            PlannedStep::Delete { bytes, .. } => *bytes,
        };
        self.steps.iter().map(bytes).fold(0, u64::saturating_add)
    }
}

/// What forbids any decision.
fn unsound(snapshot: &Snapshot, policy: &Policy, in_use: &InUse) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> =
        snapshot.incomplete().iter().cloned().map(Refusal::Incomplete).collect();
    if !snapshot.abilities().lists_untagged {
        let loose = policy.delete.iter().filter(|rule| rule.what == Doomed::Untagged);
        let mut rules: Vec<&String> = loose.map(|rule| &rule.id).collect();
        rules.sort_unstable();
        refusals.extend(rules.into_iter().map(|rule| Refusal::NotListed { rule: rule.clone() }));
        let unknown = in_use.digests.keys().filter(|digest| snapshot.find(digest).is_none());
        refusals.extend(unknown.cloned().map(Refusal::InUseUnknown));
    }
    refusals
}

/// What the verdicts ask for, without its bytes.
fn totals(snapshot: &Snapshot, verdicts: &Verdicts) -> Planned {
    let mut totals = Planned::default();
    for (row, tag) in snapshot.tags().iter().zip(&verdicts.tags) {
        if row.kind == TagKind::Own {
            totals.tags += 1;
            totals.tags_deleted += u64::from(tag.fate != TagFate::Keep);
        }
    }
    for node in snapshot.manifests() {
        totals.manifests += 1;
        totals.manifests_deleted += u64::from(verdicts.manifests[node.at()].fate != Fate::Keep);
    }
    totals
}

/// The limits that these deletions exceed.
fn exceeded(totals: Planned, limits: MaxDelete) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for (what, wanted, total) in [
        ("tags", totals.tags_deleted, totals.tags),
        ("manifests", totals.manifests_deleted, totals.manifests),
    ] {
        let count = limits.count.map(|count| Limit { most: count.into(), percent: None });
        let share = |p: u8| Limit { most: total * u64::from(p) / 100, percent: Some(p) };
        let limits = [count, limits.percent.map(share)].into_iter().flatten();
        let limits: Vec<_> = limits.filter(|limit| wanted > limit.most).collect();
        if !limits.is_empty() {
            refusals.push(Refusal::TooMany { what, wanted, total, limits });
        }
    }
    refusals
}

/// People's tags first, then manifests with owners before what they own, then the tags that
/// belong to what is gone by then.
fn steps(snapshot: &Snapshot, verdicts: &Verdicts) -> Vec<PlannedStep> {
    let mut doomed: Vec<(u32, Node)> = Vec::new();
    for node in snapshot.manifests() {
        if let Fate::Delete { depth } = verdicts.manifests[node.at()].fate {
            doomed.push((depth, node));
        }
    }
    doomed.sort_unstable();
    let untagged = |derived: bool| {
        let tags = snapshot.tags().iter().zip(&verdicts.tags).enumerate();
        tags.filter(move |(_, (row, tag))| {
            tag.fate == TagFate::Untag && (row.kind != TagKind::Own) == derived
        })
        .map(|(at, _)| PlannedStep::Untag { tag: at as u32 })
    };
    let mut users = vec![0_u32; snapshot.blob_sizes.len()];
    if !doomed.is_empty() {
        for (_, blob) in snapshot.blobs.pairs() {
            users[blob as usize] += 1;
        }
    }
    let mut steps: Vec<PlannedStep> = untagged(false).collect();
    for (_, manifest) in doomed {
        let mut bytes = snapshot.facts[manifest.at()].size;
        for blob in snapshot.blobs.row(manifest.at()) {
            let blob = *blob as usize;
            users[blob] -= 1;
            if users[blob] == 0 {
                bytes = bytes.saturating_add(snapshot.blob_sizes[blob]);
            }
        }
        steps.push(PlannedStep::Delete { manifest, bytes });
    }
    steps.extend(untagged(true));
    steps
}
