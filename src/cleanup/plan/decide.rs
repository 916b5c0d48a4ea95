//! A verdict for every tag and every manifest: what becomes of it, which rule decided, and what
//! stood in the way.

use super::InUse;
use super::blockers::{Blocker, Blockers, protections};
use super::clock::Reading;
use super::ground::{Applied, Ground};
use super::live::Doom;
use super::owners::Owners;
use super::snapshot::{Node, TagKind};
use crate::config::policy::{Doomed, Policy};
use crate::repository::Untag;

/// What becomes of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagFate {
    Keep,
    /// It goes with its manifest.
    Delete,
    /// It is taken from its manifest, which stays.
    Untag,
}

/// What becomes of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Keep,
    /// `depth` counts the steps to what was condemned by itself: owners go first.
    Delete {
        depth: u32,
    },
}

/// Rules are numbered by the policy's own lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagVerdict {
    pub fate: TagFate,
    /// The first keep rule, by id, that selects it.
    pub kept_by: Option<u32>,
    /// The first delete rule, by id, that selects it.
    pub condemned_by: Option<u32>,
    pub blockers: Blockers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestVerdict {
    pub fate: Fate,
    /// The delete rule that selects it, or one of its tags.
    pub condemned_by: Option<u32>,
    /// The first of those that it belongs to and that share its fate.
    pub owner: Option<Node>,
    pub blockers: Blockers,
}

/// Everything that was decided, by place in the snapshot.
#[derive(Debug)]
pub struct Verdicts {
    pub tags: Vec<TagVerdict>,
    /// Of manifests that are not there, too: these are kept.
    pub manifests: Vec<ManifestVerdict>,
    /// How old each manifest counts as.
    pub ages: Vec<Reading>,
    pub owners: Owners,
    /// The keep rules that keep nothing here.
    pub idle_keeps: Vec<u32>,
}

/// The verdicts on a snapshot that is complete.
pub fn decide(ground: Ground<'_>, policy: &Policy, in_use: &InUse) -> Verdicts {
    let snapshot = ground.snapshot;
    let (mut kept_by, mut condemned_by) =
        (vec![None; snapshot.tags().len()], vec![None; snapshot.tags().len()]);
    let mut idle_keeps = Vec::new();
    for at in by_id(&policy.keep, |rule| &rule.id) {
        let applied = ground.keeps(&policy.keep[at]);
        if !applied.iter().any(|applied| applied.holds) {
            idle_keeps.push(at as u32);
        }
        note(&applied, at, &mut kept_by);
    }
    let delete = by_id(&policy.delete, |rule| &rule.id);
    for at in &delete {
        if let Some(condemned) = ground.condemns(&policy.delete[*at]) {
            note(&condemned, *at, &mut condemned_by);
        }
    }
    let mut blockers = protections(&ground, policy, in_use);
    let loose = |what, node| loose(&ground, policy, &delete, what, node);
    let mut tags: Vec<TagVerdict> = Vec::with_capacity(snapshot.tags().len());
    for (at, row) in snapshot.tags().iter().enumerate() {
        let mut own = blockers[row.node.at()];
        if row.locked {
            own.add(Blocker::Locked);
        }
        if in_use.tags.contains_key(&row.name) {
            own.add(Blocker::InUse);
        }
        let condemned_by = match row.kind {
            TagKind::Own => condemned_by[at],
            TagKind::Dangling => loose(Doomed::Orphans, row.node),
            TagKind::Of(_) | TagKind::OfUnknown => None,
        };
        let kept_by = kept_by[at];
        tags.push(TagVerdict { fate: TagFate::Keep, kept_by, condemned_by, blockers: own });
    }
    let wanted = |tag: &TagVerdict| {
        tag.condemned_by.is_some() && tag.kept_by.is_none() && tag.blockers.is_empty()
    };
    let mut condemned: Vec<Option<u32>> = vec![None; blockers.len()];
    let mut tagged = vec![false; blockers.len()];
    for (row, tag) in snapshot.tags().iter().zip(&tags) {
        let at = row.node.at();
        tagged[at] = true;
        if matches!(row.kind, TagKind::Of(_)) {
            continue;
        }
        if !wanted(tag) {
            blockers[at].add(Blocker::TagStays);
        } else if condemned[at].is_none() {
            condemned[at] = tag.condemned_by;
        }
    }
    for node in snapshot.manifests().filter(|node| !tagged[node.at()]) {
        if !ground.owners.has_owner(node) {
            // What has a subject would have an owner if its subject were there.
            let is_orphan = snapshot.subject(node).is_some();
            let what = if is_orphan { Doomed::Orphans } else { Doomed::Untagged };
            condemned[node.at()] = loose(what, node);
        }
    }
    let doom = Doom::spread(
        &ground.owners,
        |node| !snapshot.is_present(node) || !blockers[node.at()].is_empty(),
        |node| condemned[node.at()].is_some(),
    );
    for (row, tag) in snapshot.tags().iter().zip(&mut tags) {
        let goes_along = matches!(row.kind, TagKind::Of(subject) if doom.takes(subject));
        if doom.takes(row.node) {
            tag.fate = TagFate::Delete;
        } else if wanted(tag) || (goes_along && tag.blockers.is_empty()) {
            match snapshot.abilities().untag {
                Untag::Yes | Untag::Unknown => tag.fate = TagFate::Untag,
                Untag::No => tag.blockers.add(Blocker::SharedDigest),
            }
        } else if matches!(row.kind, TagKind::Of(_)) && !goes_along {
            tag.blockers.add(Blocker::OwnerStays);
        }
    }
    let manifests = manifests(&ground, &doom, &condemned, &blockers);
    Verdicts { tags, manifests, ages: ground.ages, owners: ground.owners, idle_keeps }
}

fn manifests(
    ground: &Ground<'_>,
    doom: &Doom,
    condemned: &[Option<u32>],
    blockers: &[Blockers],
) -> Vec<ManifestVerdict> {
    let verdict = |node: Node| {
        let depth = doom.depth(node);
        let mut owners = ground.owners.owners.row(node.at()).iter().copied().map(Node);
        let owner = owners.find(|owner| doom.takes(*owner) == depth.is_some());
        let mut blockers = blockers[node.at()];
        if depth.is_none() && owner.is_some() {
            blockers.add(Blocker::OwnerStays);
        }
        ManifestVerdict {
            fate: depth.map_or(Fate::Keep, |depth| Fate::Delete { depth }),
            condemned_by: condemned[node.at()],
            owner,
            blockers,
        }
    };
    ground.snapshot.nodes().map(verdict).collect()
}

/// Places of rules in the order of their ids, so that the order of the file means nothing.
pub fn by_id<T>(rules: &[T], id: impl Fn(&T) -> &String) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rules.len()).collect();
    order.sort_by_key(|at| id(&rules[*at]));
    order
}

/// Notes the rule at each tag for which it holds and that no earlier rule has.
fn note(applied: &[Applied], rule: usize, rules: &mut [Option<u32>]) {
    for applied in applied.iter().filter(|applied| applied.holds) {
        rules[applied.tag as usize].get_or_insert(rule as u32);
    }
}

/// The first of the rules about what nothing refers to that selects a manifest. `order`: the delete
/// rules by id.
fn loose(
    ground: &Ground<'_>,
    policy: &Policy,
    order: &[usize],
    what: Doomed,
    node: Node,
) -> Option<u32> {
    let holds = |at: &&usize| {
        let rule = &policy.delete[**at];
        rule.what == what && ground.is_old(rule, node)
    };
    order.iter().find(holds).map(|at| *at as u32)
}
