//! What goes, as a fixpoint: a manifest is deleted only if nothing of its own holds it and all
//! that it belongs to is deleted.
//!
//! Built up from what is condemned, so that images that only hold each other stay: nobody asked
//! for their deletion.

use super::owners::Owners;
use super::snapshot::Node;

/// How many steps below a manifest that is condemned by itself each one is that goes with it; so
/// owners have smaller numbers than what they own.
#[derive(Debug)]
pub struct Doom(Vec<Option<u32>>);

impl Doom {
    /// `held`: something of its own keeps the manifest. `condemned`: a rule asks for it, which
    /// matters only for what belongs to nothing.
    pub fn spread(
        owners: &Owners,
        held: impl Fn(Node) -> bool,
        condemned: impl Fn(Node) -> bool,
    ) -> Self {
        let len = owners.owners.len();
        let mut depths = vec![None; len];
        let mut below = vec![0; len];
        let mut left: Vec<u32> =
            (0..len).map(|node| owners.owners.row(node).len() as u32).collect();
        let mut waiting: Vec<Node> = (0..len as u32)
            .map(Node)
            .filter(|node| !owners.has_owner(*node) && condemned(*node) && !held(*node))
            .collect();
        // Depth first: a manifest gets its depth when the last of its owners is done.
        while let Some(node) = waiting.pop() {
            let depth: u32 = below[node.at()];
            depths[node.at()] = Some(depth);
            for owned in owners.owned.row(node.at()).iter().copied().map(Node) {
                let at = owned.at();
                below[at] = below[at].max(depth + 1);
                left[at] -= 1;
                if left[at] == 0 && !held(owned) {
                    waiting.push(owned);
                }
            }
        }
        Self(depths)
    }

    /// `None`: the manifest stays.
    pub fn depth(&self, node: Node) -> Option<u32> {
        self.0[node.at()]
    }

    pub fn takes(&self, node: Node) -> bool {
        self.depth(node).is_some()
    }
}
