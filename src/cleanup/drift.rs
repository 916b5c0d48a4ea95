//! Whether a step of a plan is still what would be planned now. Pure: two plans of one repository
//! are compared, an older one that is being carried out and one of what is there by now.

use super::decide::{Fate, TagFate};
use super::document::{Tags, names};
use super::plan::{Plan, Step};

/// What has become of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Still {
    Wanted,
    /// There is nothing left to delete.
    Gone,
    /// It must not be done any more.
    Changed(String),
}

/// Compares a step of `planned` with what is planned `now`, without limits: those were for the
/// plan as a whole.
pub(super) fn still(planned: (&Plan<'_>, &Tags), step: &Step, now: (&Plan<'_>, &Tags)) -> Still {
    let ((planned, planned_tags), (now, now_tags)) = (planned, now);
    let Some(verdicts) = &now.verdicts else {
        let reasons: Vec<String> = now.refusals.iter().take(3).map(ToString::to_string).collect();
        return Still::Changed(format!("nothing can be decided any more: {}", reasons.join("; ")));
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
            let known = planned_tags.on(planned, *manifest);
            if let Some(new) = now_tags.on(now, node).into_iter().find(|tag| !known.contains(tag)) {
                return Still::Changed(format!("it has the tag `{new}` now"));
            }
            let verdict = &verdicts.manifests[node.at()];
            match verdict.fate {
                Fate::Delete { .. } => Still::Wanted,
                Fate::Keep => Still::Changed(because(&names(verdict.blockers))),
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
            match verdict.fate {
                TagFate::Untag | TagFate::Delete => Still::Wanted,
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
