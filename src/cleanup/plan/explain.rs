//! Why one tag or manifest stays or goes: every rule's answer, the clock, and what holds it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::decide::by_id;
use super::document::{action, names, tag_action};
use super::ground::{Applied, Ground};
use super::snapshot::{Node, TagKind};
use super::{Plan, PlannedStep};
use crate::config::policy::Doomed;
use crate::oci::{Digest, Tag};
use crate::removal::Clock;
use crate::repository::Reference;

/// Everything that bears on one tag or manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Cow<'a, Tag>>,
    pub digest: Cow<'a, Digest>,
    /// What the rules ask for: `keep`, `delete` or `untag`.
    pub action: Cow<'static, str>,
    /// Why nothing is deleted at all, whatever the rules ask for.
    pub refused: Vec<String>,
    pub clock: Clock,
    /// For a tag, every rule about tags; else every rule about manifests without tags. By id.
    pub rules: Vec<Answer<'a>>,
    /// What stands in the way, `as` plans name it.
    pub blockers: Vec<Cow<'static, str>>,
    /// Where it, or a part of it, was seen in use.
    pub in_use: Vec<Cow<'a, str>>,
    /// The tags of the manifest.
    pub tags: Vec<Cow<'a, Tag>>,
    /// What it belongs to: indexes that list it, its subject.
    pub owners: Vec<Cow<'a, Digest>>,
    /// Bytes that its step frees.
    pub bytes_freed: u64,
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<'a> {
    pub rule: Cow<'a, str>,
    /// `true`: it keeps; `false`: it deletes.
    pub keeps: bool,
    /// Whether all its conditions hold.
    pub holds: bool,
    /// How many images of its group are newer, where the rule asks that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer: Option<u32>,
    /// From when on it is old enough for the rule, where it is not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Whether the names of the rule select it.
    pub selects: bool,
}

/// Why this tag or manifest stays or goes. `None`: it is not in the snapshot, or the snapshot
/// allows no verdict; then the plan's refusals say why.
pub fn explain<'a>(plan: &Plan<'a>, reference: &Reference) -> Option<Explanation<'a>> {
    let snapshot = plan.snapshot;
    let verdicts = plan.verdicts.as_ref()?;
    let ground = Ground::of(snapshot, plan.policy, plan.now).ok()?;
    let (tag, node) = match reference {
        Reference::Tag(tag) => {
            let (at, row) = snapshot.row(tag)?;
            (Some(at), row.node)
        }
        Reference::Digest(digest) => {
            (None, snapshot.find(digest).filter(|node| snapshot.is_present(*node))?)
        }
    };
    let manifest = &verdicts.manifests[node.at()];
    let (action, blockers) = match tag {
        Some(at) => (tag_action(verdicts.tags[at].fate), verdicts.tags[at].blockers),
        None => (action(manifest.fate), manifest.blockers),
    };
    let rules = match tag {
        Some(at) if snapshot.tags()[at].kind == TagKind::Own => {
            tag_answers(plan, &ground, at as u32, node)
        }
        _ => loose_answers(plan, &ground, tag, node),
    };
    let digest = snapshot.digest(node);
    let on_it = snapshot.tags().iter().filter(|row| row.node == node).map(|row| &row.name);
    let step = plan.steps.iter().find_map(|step| match step {
        PlannedStep::Delete { manifest, bytes } if *manifest == node => Some(*bytes),
        _ => None,
    });
    Some(Explanation {
        tag: tag.map(|at| Cow::Borrowed(&snapshot.tags()[at].name)),
        digest: Cow::Borrowed(digest),
        action: action.into(),
        refused: plan.refusals.iter().map(ToString::to_string).collect(),
        clock: Clock::from(verdicts.ages[node.at()]),
        rules,
        blockers: names(blockers),
        in_use: places(plan, node),
        tags: on_it.map(Cow::Borrowed).collect(),
        owners: {
            let owners = ground.owners.owners.row(node.at()).iter();
            owners.map(|owner| Cow::Borrowed(snapshot.digest(Node(*owner)))).collect()
        },
        bytes_freed: step.unwrap_or(0),
    })
}

/// Where a manifest and what it lists, however deep, were seen in use: a platform that runs also
/// protects the index that lists it.
fn places<'a>(plan: &Plan<'a>, node: Node) -> Vec<Cow<'a, str>> {
    let (snapshot, used) = (plan.snapshot, plan.in_use);
    let mut parts = BTreeSet::from([node]);
    let mut waiting = vec![node];
    while let Some(node) = waiting.pop() {
        waiting.extend(snapshot.children(node).filter(|child| parts.insert(*child)));
    }
    let digests = parts.iter().map(|part| snapshot.digest(*part));
    let by_digest = digests.flat_map(|digest| {
        [&used.digests, &used.elsewhere].into_iter().filter_map(move |known| known.get(digest))
    });
    let rows = snapshot.tags().iter().filter(|row| parts.contains(&row.node));
    let by_tag = rows.filter_map(|row| used.tags.get(&row.name));
    let places: BTreeSet<&str> = by_digest.chain(by_tag).flatten().map(String::as_str).collect();
    places.into_iter().map(Cow::Borrowed).collect()
}

/// Every rule about tags, on one of them.
fn tag_answers<'a>(plan: &Plan<'a>, ground: &Ground<'a>, tag: u32, node: Node) -> Vec<Answer<'a>> {
    let policy = plan.policy;
    let mut answers = Vec::new();
    let mut answer = |rule: &'a str, keeps, applied: Vec<Applied>, not_before| {
        let found = applied.iter().find(|applied| applied.tag == tag);
        answers.push(Answer {
            rule: rule.into(),
            keeps,
            holds: found.is_some_and(|applied| applied.holds),
            newer: found.and_then(|applied| applied.newer),
            not_before: found.and(not_before),
            selects: found.is_some(),
        });
    };
    for at in by_id(&policy.keep, |rule| &rule.id) {
        let rule = &policy.keep[at];
        answer(&rule.id, true, ground.keeps(rule), None);
    }
    for at in by_id(&policy.delete, |rule| &rule.id) {
        let rule = &policy.delete[at];
        if let Some(condemned) = ground.condemns(rule) {
            answer(&rule.id, false, condemned, not_before(ground, rule.older_than, node));
        }
    }
    answers
}

/// Every rule about what has no tag of its own.
fn loose_answers<'a>(
    plan: &Plan<'a>,
    ground: &Ground<'a>,
    tag: Option<usize>,
    node: Node,
) -> Vec<Answer<'a>> {
    let snapshot = plan.snapshot;
    let tagged = snapshot.tags().iter().any(|row| row.node == node);
    let orphaned = match tag {
        Some(at) => snapshot.tags()[at].kind == TagKind::Dangling,
        None => snapshot.subject(node).is_some() && !ground.owners.has_owner(node) && !tagged,
    };
    let untagged = !tagged && !ground.owners.has_owner(node) && snapshot.subject(node).is_none();
    let mut answers = Vec::new();
    for at in by_id(&plan.policy.delete, |rule| &rule.id) {
        let rule = &plan.policy.delete[at];
        let selects = match rule.what {
            Doomed::Tags { .. } => continue,
            Doomed::Untagged => untagged,
            Doomed::Orphans => orphaned,
        };
        let not_before = not_before(ground, rule.older_than, node).filter(|_| selects);
        let holds = selects && ground.is_old(rule, node);
        answers.push(Answer {
            rule: rule.id.as_str().into(),
            keeps: false,
            holds,
            newer: None,
            not_before,
            selects,
        });
    }
    answers
}

/// When a manifest of known age will be old enough; `None` if it is, or if that is not known.
fn not_before(
    ground: &Ground<'_>,
    age: Option<std::time::Duration>,
    node: Node,
) -> Option<Timestamp> {
    let at = ground.ages[node.at()].known()?;
    let time = Timestamp::from_microsecond(at).ok()?.checked_add(age?).ok()?;
    (time > ground.now).then_some(time)
}
