//! What stands in the way of deleting something, and what of it protects each manifest whatever
//! rules say.

use super::InUse;
use super::ground::Ground;
use super::snapshot::{Node, TagKind};
use crate::config::policy::Policy;

/// What stands in the way of deleting something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Blocker {
    /// The registry refuses it.
    Locked,
    /// Something runs it.
    InUse,
    /// It is younger than the grace period.
    Young,
    /// Whether it is younger than the grace period is not known.
    UnknownAge,
    /// It belongs to something that cannot be identified.
    UnknownOwner,
    /// The manifest stays, and the registry cannot take one tag away from it.
    SharedDigest,
    /// It belongs to a manifest that stays.
    OwnerStays,
    /// It has a tag that stays.
    TagStays,
}

impl Blocker {
    pub const ALL: [Self; 8] = [
        Self::Locked,
        Self::InUse,
        Self::Young,
        Self::UnknownAge,
        Self::UnknownOwner,
        Self::SharedDigest,
        Self::OwnerStays,
        Self::TagStays,
    ];

    /// As plans name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::InUse => "in-use",
            Self::Young => "young",
            Self::UnknownAge => "unknown-age",
            Self::UnknownOwner => "unknown-owner",
            Self::SharedDigest => "shared-digest",
            Self::OwnerStays => "owner-stays",
            Self::TagStays => "tag-stays",
        }
    }
}

/// Some of the blockers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Blockers(u8);

impl Blockers {
    pub fn add(&mut self, blocker: Blocker) {
        self.0 |= 1 << blocker as u8;
    }

    pub fn has(self, blocker: Blocker) -> bool {
        self.0 & 1 << blocker as u8 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Blocker> {
        Blocker::ALL.into_iter().filter(move |blocker| self.has(*blocker))
    }
}

/// What protects each manifest, whatever rules say.
pub fn protections(ground: &Ground<'_>, policy: &Policy, in_use: &InUse) -> Vec<Blockers> {
    let snapshot = ground.snapshot;
    let mut blockers = vec![Blockers::default(); ground.ages.len()];
    for node in snapshot.manifests() {
        let blockers = &mut blockers[node.at()];
        if snapshot.facts[node.at()].locked {
            blockers.add(Blocker::Locked);
        }
        if policy.grace.is_zero() || ground.owners.is_attached(node) {
            continue;
        }
        let reading = ground.ages[node.at()];
        if reading.known().is_none() {
            blockers.add(Blocker::UnknownAge);
        } else if !reading.is_older(policy.grace, ground.now) {
            blockers.add(Blocker::Young);
        }
    }
    for digest in in_use.digests.keys().chain(in_use.elsewhere.keys()) {
        if let Some(node) = snapshot.find(digest) {
            blockers[node.at()].add(Blocker::InUse);
        }
    }
    for row in snapshot.tags() {
        let blockers = &mut blockers[row.node.at()];
        // What runs by a tag may be pulled again by digest, or by another of its tags.
        if in_use.tags.contains_key(&row.name) {
            blockers.add(Blocker::InUse);
        }
        let derived = row.kind != TagKind::Own;
        if derived && row.locked {
            blockers.add(Blocker::Locked);
        }
        if row.kind == TagKind::OfUnknown {
            blockers.add(Blocker::UnknownOwner);
        }
    }
    spread_to_indexes(ground, &mut blockers);
    blockers
}

/// What protects a platform also protects the index that lists it, however deep. Otherwise nothing would
/// lead to the platform any more, and garbage collection would remove what the plan keeps. An unknown age
/// does not spread: attestations have none by some clocks.
fn spread_to_indexes(ground: &Ground<'_>, blockers: &mut [Blockers]) {
    let spreads = |blockers: Blockers| {
        let mut spreading = Blockers::default();
        for blocker in [Blocker::Locked, Blocker::InUse, Blocker::Young] {
            if blockers.has(blocker) {
                spreading.add(blocker);
            }
        }
        spreading
    };
    let snapshot = ground.snapshot;
    let mut waiting: Vec<Node> =
        snapshot.manifests().filter(|node| !spreads(blockers[node.at()]).is_empty()).collect();
    while let Some(node) = waiting.pop() {
        let spreading = spreads(blockers[node.at()]);
        for owner in ground.owners.owners.row(node.at()).iter().copied().map(Node) {
            let has_more = spreading.iter().any(|blocker| !blockers[owner.at()].has(blocker));
            if has_more && snapshot.children(owner).any(|child| child == node) {
                spreading.iter().for_each(|blocker| blockers[owner.at()].add(blocker));
                waiting.push(owner);
            }
        }
    }
}
