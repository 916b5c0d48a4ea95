//! Whether a step of a plan is still what would be planned now. Pure: two plans of one repository
//! are compared, an older one that is being carried out and one of what is there by now.

use super::super::plan::blockers::Blocker;
use super::super::plan::decide::{Fate, TagFate};
use super::super::plan::document::{Tags, names};
use super::super::plan::owners::Owners;
use super::super::plan::snapshot::{Node, TagKind};
use super::super::plan::{Plan, Step};
use crate::oci::{Digest, Tag, derived};

/// What has become of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cleanup) enum Still {
    Wanted,
    /// There is nothing left to delete.
    Gone,
    /// It must not be done any more.
    Changed(String),
    /// Nothing can be said of any step now.
    Unknown(String),
}

/// A plan, and what is asked of it again and again.
pub(in crate::cleanup) struct View<'a> {
    pub plan: &'a Plan<'a>,
    pub tags: Tags,
    pub owners: Owners,
}

impl<'a> View<'a> {
    pub fn of(plan: &'a Plan<'a>) -> Self {
        Self { plan, tags: Tags::of(plan), owners: Owners::of(plan.snapshot) }
    }

    /// Whether the plan takes a tag away, with its manifest or without.
    pub fn takes(&self, tag: &Tag) -> bool {
        let rows = self.plan.snapshot.tags();
        let at = rows.binary_search_by(|row| row.name.cmp(tag));
        at.is_ok_and(|at| self.plan.tags().get(at).is_some_and(|it| it.fate != TagFate::Keep))
    }

    /// Whether the plan deletes a manifest for what it belongs to.
    fn goes_along(&self, node: Node) -> bool {
        let verdicts = self.plan.verdicts.as_ref();
        verdicts.is_some_and(|verdicts| {
            matches!(verdicts.manifests[node.at()].fate, Fate::Delete { depth } if depth > 0)
        })
    }

    /// Whether the plan deletes a manifest; also what a snapshot does not know stays.
    fn deletes(&self, digest: &Digest) -> bool {
        let node = self.plan.snapshot.find(digest);
        node.zip(self.plan.verdicts.as_ref()).is_some_and(|(node, verdicts)| {
            matches!(verdicts.manifests[node.at()].fate, Fate::Delete { .. })
        })
    }
}

/// Compares a step of an older view with what is planned now, without limits: those were for the
/// plan as a whole.
pub(in crate::cleanup) fn still(older: &View<'_>, step: &Step, newer: &View<'_>) -> Still {
    let (planned, now) = (older.plan, newer.plan);
    let Some(verdicts) = &now.verdicts else {
        let reasons: Vec<String> = now.refusals.iter().take(3).map(ToString::to_string).collect();
        return Still::Unknown(format!("nothing can be decided any more: {}", reasons.join("; ")));
    };
    match step {
        Step::Delete { manifest, .. } => {
            let digest = planned.snapshot.digest(*manifest);
            let found = now.snapshot.find(digest).filter(|node| now.snapshot.is_present(*node));
            let Some(node) = found else {
                // What has no tag any more is not listed, which does not say that it is gone.
                return match now.snapshot.abilities().lists_untagged {
                    true => Still::Gone,
                    false => Still::Changed("no tag leads to it any more".to_owned()),
                };
            };
            let known = older.tags.on(planned, *manifest);
            if let Some(new) = newer.tags.on(now, node).into_iter().find(|tag| !known.contains(tag))
            {
                return Still::Changed(format!("it has the tag `{new}` now"));
            }
            // What came meanwhile may be condemned as well, but not by this plan: it stays.
            let owners = newer.owners.owners.row(node.at()).iter().map(|owner| Node(*owner));
            let mut owners = owners.map(|owner| now.snapshot.digest(owner));
            if let Some(new) = owners.find(|owner| !older.deletes(owner)) {
                return Still::Changed(format!("it belongs to {new} now"));
            }
            let verdict = &verdicts.manifests[node.at()];
            if matches!(verdict.fate, Fate::Delete { .. }) {
                return Still::Wanted;
            }
            // What went with its owners is asked for by nobody once these are gone.
            let bereft = older.goes_along(*manifest)
                && newer.owners.owners.row(node.at()).is_empty()
                && newer.tags.on(now, node).iter().all(|tag| derived::parse(tag).is_some())
                && verdict.blockers.iter().all(|blocker| blocker == Blocker::TagStays);
            match bereft {
                true => Still::Wanted,
                false => Still::Changed(because(&names(verdict.blockers))),
            }
        }
        Step::Untag { tag } => {
            let row = &planned.snapshot.tags()[*tag as usize];
            let rows = now.snapshot.tags();
            let Ok(at) = rows.binary_search_by(|other| other.name.cmp(&row.name)) else {
                return Still::Gone;
            };
            if now.snapshot.digest(rows[at].node) != planned.snapshot.digest(row.node) {
                return Still::Changed(format!(
                    "it points at {} now",
                    now.snapshot.digest(rows[at].node)
                ));
            }
            let verdict = &verdicts.tags[at];
            // A tag that belongs to something that is gone by now is asked for by nobody, either.
            let bereft = matches!(row.kind, TagKind::Of(subject) if older.deletes(planned.snapshot.digest(subject)))
                && rows[at].kind == TagKind::Dangling
                && verdict.blockers.is_empty();
            match verdict.fate {
                TagFate::Untag | TagFate::Delete => Still::Wanted,
                TagFate::Keep if bereft => Still::Wanted,
                TagFate::Keep => Still::Changed(because(&names(verdict.blockers))),
            }
        }
    }
}

fn because(blockers: &[&'static str]) -> String {
    match blockers {
        [] => "no line asks for it any more".to_owned(),
        blockers => format!("it stays after all: {}", blockers.join(", ")),
    }
}
