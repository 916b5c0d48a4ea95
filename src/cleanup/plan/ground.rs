//! What each single rule of a policy selects in a snapshot.

use std::collections::HashSet;

use jiff::Timestamp;

use super::clock::Reading;
use super::owners::{Owners, TooTangled};
use super::snapshot::{Node, Snapshot, TagKind};
use super::{rank, select};
use crate::config::policy::{DeleteRule, Doomed, KeepRule, Policy, TagSelector};

/// A rule's answer about the tags that its names select.
pub struct Ranked {
    pub entries: Vec<select::Selected>,
    /// How many images are newer than each; `None` if that is not known, or not asked.
    pub newer: Vec<Option<u32>>,
}

/// A snapshot, prepared so that single rules can be applied to it.
pub struct Ground<'a> {
    pub snapshot: &'a Snapshot,
    pub now: Timestamp,
    pub clock: Vec<Reading>,
    pub owners: Owners,
    pub families: Vec<(Node, Node)>,
}

impl<'a> Ground<'a> {
    pub fn of(snapshot: &'a Snapshot, policy: &Policy, now: Timestamp) -> Result<Self, TooTangled> {
        let reading = |node| Reading::of(snapshot, node, &policy.clock, now);
        let clock = snapshot.nodes().map(reading).collect();
        let owners = Owners::of(snapshot);
        let own = snapshot.tags().iter().filter(|row| row.kind == TagKind::Own);
        let tagged: HashSet<Node> = own.map(|row| row.node).collect();
        let families = owners.families(|node| tagged.contains(&node))?;
        Ok(Self { snapshot, now, clock, owners, families })
    }

    /// What a keep rule's names select, and whether each is among the newest it keeps.
    pub fn keeps(&self, rule: &KeepRule) -> (Ranked, Vec<bool>) {
        let ranked = self.ranked(&rule.selector, rule.newest.is_some());
        // Images of unknown age are kept in addition to the newest.
        let kept = |newer: &Option<u32>| match (rule.newest, newer) {
            (Some(newest), Some(newer)) => *newer < newest.get(),
            _ => true,
        };
        let kept = ranked.newer.iter().map(kept).collect();
        (ranked, kept)
    }

    /// What a delete rule's names select, and whether its other conditions hold for each; `None`
    /// if it is not about tags.
    pub fn condemns(&self, rule: &DeleteRule) -> Option<(Ranked, Vec<bool>)> {
        let Doomed::Tags { selector, beyond_newest } = &rule.what else { return None };
        let ranked = self.ranked(selector, beyond_newest.is_some());
        let condemned = |(entry, newer): (&select::Selected, &Option<u32>)| {
            let beyond = match (beyond_newest, newer) {
                (Some(newest), Some(newer)) => *newer >= newest.get(),
                (Some(_), None) => false,
                (None, _) => true,
            };
            beyond && self.is_old(rule, entry.node)
        };
        let condemned = ranked.entries.iter().zip(&ranked.newer).map(condemned).collect();
        Some((ranked, condemned))
    }

    fn ranked(&self, selector: &TagSelector, rank: bool) -> Ranked {
        let entries = select::select(self.snapshot, selector, &self.clock);
        let newer = match rank {
            true => rank::count_newer(&entries, &self.families),
            false => vec![None; entries.len()],
        };
        Ranked { entries, newer }
    }

    pub fn is_old(&self, rule: &DeleteRule, node: Node) -> bool {
        rule.older_than.is_none_or(|age| self.clock[node.at()].is_older(age, self.now))
    }
}
