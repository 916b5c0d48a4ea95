//! What each single rule of a policy selects in a snapshot.

use std::collections::HashSet;

use jiff::Timestamp;

use super::clock::Reading;
use super::owners::{Owners, TooTangled};
use super::snapshot::{Node, Snapshot, TagKind};
use super::{rank, select};
use crate::config::policy::{DeleteRule, Doomed, KeepRule, Policy, TagSelector};

/// A rule's answer about a tag that its names select.
pub struct Applied {
    /// Place among the snapshot's tags.
    pub tag: u32,
    /// How many images of its group are newer; `None` if that is not known, or not asked.
    pub newer: Option<u32>,
    /// Whether all conditions of the rule hold.
    pub holds: bool,
}

/// A snapshot, prepared so that single rules can be applied to it.
pub struct Ground<'a> {
    pub snapshot: &'a Snapshot,
    pub now: Timestamp,
    /// What each manifest is ranked by.
    pub clock: Vec<Reading>,
    /// How old each manifest counts as: a restored one is ranked by its clock, but is no older than its
    /// restoration.
    pub ages: Vec<Reading>,
    pub owners: Owners,
    pub families: Vec<(Node, Node)>,
}

impl<'a> Ground<'a> {
    pub fn of(snapshot: &'a Snapshot, policy: &Policy, now: Timestamp) -> Result<Self, TooTangled> {
        let reading = |node| Reading::of(snapshot, node, &policy.clock, now);
        let clock: Vec<Reading> = snapshot.nodes().map(reading).collect();
        let age = |node: Node| clock[node.at()].since_restored(snapshot.restored(node), now);
        let ages = snapshot.nodes().map(age).collect();
        let owners = Owners::of(snapshot);
        let own = snapshot.tags().iter().filter(|row| row.kind == TagKind::Own);
        let tagged: HashSet<Node> = own.map(|row| row.node).collect();
        let families = owners.families(|node| tagged.contains(&node))?;
        Ok(Self { snapshot, now, clock, ages, owners, families })
    }

    /// What a keep rule's names select. It holds for those that are among the newest it keeps.
    pub fn keeps(&self, rule: &KeepRule) -> Vec<Applied> {
        self.apply(&rule.selector, rule.newest.is_some(), |_, newer| match (rule.newest, newer) {
            (Some(newest), Some(newer)) => newer < newest.get(),
            // Images of unknown age are kept in addition to the newest.
            _ => true,
        })
    }

    /// What a delete rule's names select; `None` if it is not about tags.
    pub fn condemns(&self, rule: &DeleteRule) -> Option<Vec<Applied>> {
        let Doomed::Tags { selector, beyond_newest } = &rule.what else { return None };
        Some(self.apply(selector, beyond_newest.is_some(), |node, newer| {
            let beyond = match (beyond_newest, newer) {
                (Some(newest), Some(newer)) => newer >= newest.get(),
                (Some(_), None) => false,
                (None, _) => true,
            };
            beyond && self.is_old(rule, node)
        }))
    }

    /// `rank`: whether `holds` needs to know how many images are newer.
    fn apply(
        &self,
        selector: &TagSelector,
        rank: bool,
        holds: impl Fn(Node, Option<u32>) -> bool,
    ) -> Vec<Applied> {
        let entries = select::select(self.snapshot, selector, &self.clock);
        let newer = match rank {
            true => rank::count_newer(&entries, &self.families),
            false => vec![None; entries.len()],
        };
        let applied = |(entry, newer): (select::Selected, Option<u32>)| {
            let holds = holds(entry.node, newer);
            Applied { tag: entry.tag, newer, holds }
        };
        entries.into_iter().zip(newer).map(applied).collect()
    }

    pub fn is_old(&self, rule: &DeleteRule, node: Node) -> bool {
        rule.older_than.is_none_or(|age| self.ages[node.at()].is_older(age, self.now))
    }
}
