//! The steps of a plan as data that can be carried out, shown and written down.

use super::snapshot::{Node, Snapshot, TagKind};
use super::{Fate, Plan, PlannedStep};
use crate::oci::Tag;
use crate::removal::{Clock, Step, StepAction};

impl Plan<'_> {
    /// The steps in their order.
    pub fn to_steps(&self) -> impl Iterator<Item = Step> {
        self.in_full(&self.steps)
    }

    /// What the steps would be if the limits allowed them.
    pub(super) fn to_steps_over_limit(&self) -> impl Iterator<Item = Step> {
        self.in_full(&self.over_limit)
    }

    fn in_full<'s>(&'s self, steps: &'s [PlannedStep]) -> impl Iterator<Item = Step> + 's {
        let snapshot = self.snapshot;
        let tags = TagsByManifest::of(snapshot);
        let verdicts = self.verdicts.iter();
        verdicts.flat_map(move |verdicts| {
            let tags = tags.clone();
            let clock = |node: Node| Clock::from(verdicts.ages[node.at()]);
            let line = |rule: Option<u32>| rule.map(|rule| self.delete_id(rule).to_owned());
            let goes =
                |node: &Node| matches!(verdicts.manifests[node.at()].fate, Fate::Delete { .. });
            steps.iter().map(move |step| match step {
                PlannedStep::Untag { tag } => {
                    let row = &snapshot.tags()[*tag as usize];
                    let owner = match row.kind {
                        TagKind::Of(subject) if goes(&subject) => Some(snapshot.digest(subject)),
                        _ => None,
                    };
                    Step {
                        action: StepAction::Untag,
                        digest: snapshot.digest(row.node).clone(),
                        tags: vec![row.name.clone()],
                        line: line(verdicts.tags[*tag as usize].condemned_by),
                        owners: owner.into_iter().cloned().collect(),
                        clock: clock(row.node),
                        bytes_freed: 0,
                    }
                }
                PlannedStep::Delete { manifest, bytes } => {
                    let owners = verdicts.owners.owners.row(manifest.at());
                    let owners = owners.iter().copied().map(Node).filter(goes);
                    Step {
                        action: StepAction::Delete,
                        digest: snapshot.digest(*manifest).clone(),
                        tags: tags.on(*manifest).cloned().collect(),
                        line: line(verdicts.manifests[manifest.at()].condemned_by),
                        owners: owners.map(|owner| snapshot.digest(owner).clone()).collect(),
                        clock: clock(*manifest),
                        bytes_freed: *bytes,
                    }
                }
            })
        })
    }
}

/// The tags of a snapshot, by their manifest.
#[derive(Clone)]
pub(in crate::cleanup) struct TagsByManifest<'a> {
    snapshot: &'a Snapshot,
    /// Sorted; with the index of each tag in the snapshot.
    pairs: std::sync::Arc<[(Node, u32)]>,
}

impl<'a> TagsByManifest<'a> {
    pub fn of(snapshot: &'a Snapshot) -> Self {
        let tags = snapshot.tags().iter().enumerate();
        let mut pairs: Vec<_> = tags.map(|(at, row)| (row.node, at as u32)).collect();
        pairs.sort_unstable();
        Self { snapshot, pairs: pairs.into() }
    }

    /// The tags of a manifest, sorted.
    pub fn on(&self, node: Node) -> impl Iterator<Item = &'a Tag> + use<'a, '_> {
        let from = self.pairs.partition_point(|(other, _)| *other < node);
        let own = self.pairs[from..].iter().take_while(move |(other, _)| *other == node);
        let snapshot = self.snapshot;
        own.map(move |(_, at)| &snapshot.tags()[*at as usize].name)
    }
}
