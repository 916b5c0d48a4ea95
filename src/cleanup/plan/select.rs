//! What a rule's names select: people's tags, each in its group, with what it is ranked by.
//!
//! Fallback and cosign tags are never selected: they follow their image.

use std::collections::HashMap;

use semver::Version;

use super::clock::Reading;
use super::snapshot::{Node, Snapshot, TagKind};
use crate::config::policy::{Per, TagSelector};
use crate::oci::{Tag, version};

/// What images are ranked by; larger is newer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Microseconds since 1970.
    Time(i64),
    Version(Version),
}

/// A tag that a rule selects.
#[derive(Debug, Clone)]
pub struct Selected {
    /// Place among the snapshot's tags.
    pub tag: u32,
    pub node: Node,
    /// Images are counted within a group.
    pub group: u32,
    /// `None`: its age is not known, so it has no rank.
    pub rank: Option<Rank>,
}

/// Group of a tag, before groups are numbered.
#[derive(PartialEq, Eq, Hash)]
enum Group {
    All,
    Major(u64),
    Minor(u64, u64),
    Captured(Vec<u8>),
}

/// The tags that a rule selects, in the order of the snapshot's tags. By version where the rule
/// speaks of versions, else by the clock.
pub fn select(snapshot: &Snapshot, selector: &TagSelector, clock: &[Reading]) -> Vec<Selected> {
    let by_version =
        selector.semver.is_some() || matches!(selector.per, Some(Per::Major | Per::Minor));
    let mut groups = HashMap::new();
    let mut selected = Vec::new();
    for (at, row) in snapshot.tags().iter().enumerate() {
        if row.kind != TagKind::Own {
            continue;
        }
        if selector.tags.as_ref().is_some_and(|tags| !tags.matches(&row.name)) {
            continue;
        }
        let version = if by_version {
            let Some(version) = version::parse(&row.name) else { continue };
            if selector.semver.as_ref().is_some_and(|range| !range.matches(&version)) {
                continue;
            }
            Some(version)
        } else {
            None
        };
        let Some(group) = group(selector.per.as_ref(), version.as_ref(), &row.name) else {
            continue;
        };
        let next = groups.len() as u32;
        let group = *groups.entry(group).or_insert(next);
        let rank = match version {
            Some(version) => Some(Rank::Version(version)),
            None => clock[row.node.at()].known().map(Rank::Time),
        };
        selected.push(Selected { tag: at as u32, node: row.node, group, rank });
    }
    selected
}

/// `None`: the tag belongs to no group.
fn group(per: Option<&Per>, version: Option<&Version>, tag: &Tag) -> Option<Group> {
    Some(match (per, version) {
        (None, _) => Group::All,
        (Some(Per::Major), version) => Group::Major(version?.major),
        (Some(Per::Minor), version) => Group::Minor(version?.major, version?.minor),
        (Some(Per::Capture { regex, .. }), _) => {
            let captured = regex.captures(tag.as_str().as_bytes())?;
            Group::Captured(captured.get(1)?.as_bytes().to_vec())
        }
    })
}
