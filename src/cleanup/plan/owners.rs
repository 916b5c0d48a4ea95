//! What belongs to what: an index owns its children, a subject its referrers and what its
//! fallback and cosign tags point at. What is owned lives as long as one of its owners.

use super::lists::Lists;
use super::snapshot::{Node, Snapshot, TagKind};

/// Ownership between the manifests that are there, in both directions.
#[derive(Debug)]
pub struct Owners {
    /// Owner → what it owns.
    pub owned: Lists,
    /// What is owned → its owners.
    pub owners: Lists,
    attached: Vec<bool>,
}

/// The images contain each other in so many ways that ranking them would take too long.
#[derive(Debug, PartialEq, Eq)]
pub struct TooTangled;

/// How many steps up from tagged images are taken. Real images are one or two steps deep, so
/// this is room for millions of them.
const MAX_CLIMB: usize = 20_000_000;

impl Owners {
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut pairs = Vec::new();
        let mut attached = vec![false; snapshot.digests.len()];
        let mut stands_alone = attached.clone();
        for node in snapshot.manifests() {
            let children = snapshot.children(node).filter(|child| snapshot.is_present(*child));
            for child in children {
                pairs.push((node.0, child.0));
                stands_alone[child.at()] = true;
            }
            let subject = snapshot.subject(node).filter(|subject| snapshot.is_present(*subject));
            if let Some(subject) = subject {
                pairs.push((subject.0, node.0));
                attached[node.at()] |= subject != node;
            }
        }
        for tag in snapshot.tags() {
            if let TagKind::Of(subject) = tag.kind {
                pairs.push((subject.0, tag.node.0));
                attached[tag.node.at()] |= subject != tag.node;
            } else {
                stands_alone[tag.node.at()] = true;
            }
        }
        for (attached, stands_alone) in attached.iter_mut().zip(stands_alone) {
            *attached &= !stands_alone;
        }
        // A tag can claim that an image belongs to itself, which says nothing.
        pairs.retain(|(owner, owned)| owner != owned);
        let reversed = pairs.iter().map(|(owner, owned)| (*owned, *owner)).collect();
        let len = snapshot.digests.len();
        Self { owned: Lists::new(len, pairs), owners: Lists::new(len, reversed), attached }
    }

    /// Whether a manifest is there for another one only, such as a signature: it refers to a subject
    /// that is there or has a tag derived from one, has no tag of its own, and is no platform. Its age
    /// means nothing: signatures are dated in year 1, or not at all. It goes with its last owner.
    pub fn is_attached(&self, node: Node) -> bool {
        self.attached[node.at()]
    }

    pub fn has_owner(&self, node: Node) -> bool {
        !self.owners.row(node.at()).is_empty()
    }

    /// Pairs of an image and one that it belongs to, directly or not, of those for which `tagged`
    /// holds; in order.
    ///
    /// # Errors
    /// When there are too many ways to walk.
    pub fn families(&self, tagged: impl Fn(Node) -> bool) -> Result<Vec<(Node, Node)>, TooTangled> {
        let mut families = Vec::new();
        let mut climbed = 0;
        // Who was seen on behalf of which image, so that nothing need be cleared in between.
        let mut seen = vec![u32::MAX; self.owners.len()];
        let mut waiting = Vec::new();
        for node in (0..self.owners.len() as u32).map(Node) {
            if !self.has_owner(node) || !tagged(node) {
                continue;
            }
            waiting.push(node);
            seen[node.at()] = node.0;
            while let Some(at) = waiting.pop() {
                for owner in self.owners.row(at.at()).iter().copied().map(Node) {
                    climbed += 1;
                    if seen[owner.at()] == node.0 {
                        continue;
                    }
                    seen[owner.at()] = node.0;
                    waiting.push(owner);
                    if tagged(owner) {
                        families.push((node, owner));
                    }
                }
            }
            if climbed > MAX_CLIMB {
                return Err(TooTangled);
            }
        }
        families.sort_unstable();
        Ok(families)
    }
}
