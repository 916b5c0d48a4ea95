//! Which tags of a target are gone at the source: a pure decision. What is not known for sure to
//! have come from there stays.

use std::collections::HashSet;

use crate::config::policy::{ClockSource, DeleteRule, Doomed, MaxDelete, Policy, TagSelector};
use crate::oci::selection::{Judgement, TagPattern, TagPatternError, TagPatterns, TagSelection};
use crate::oci::{Digest, Tag, derived};
use crate::state::TagState;

/// The line of the policy, as plans and the audit name it.
pub const LINE: &str = "remove_extra";

/// What a target has and the source has not, of what a rule once put there.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// As it was put: it is gone at the source.
    pub gone: Vec<Tag>,
    /// Something else by now, which somebody else has put there.
    pub others: Vec<Tag>,
}

/// Whether a source's list says anything of its mirrors. One that was emptied, or is another one
/// than it was, does not.
pub fn tells(source: &[Tag]) -> bool {
    source.iter().any(|tag| derived::parse(tag).is_none())
}

/// The tags of a target that the rule's selection names and the source's complete list lacks.
///
/// Which of many versions `latest` selects is a matter of what else there is, so it names all of
/// them.
pub fn lacking(selection: &TagSelection, source: &[Tag], target: &[Tag]) -> Vec<Tag> {
    let source: HashSet<&Tag> = source.iter().collect();
    let lacking = target.iter().filter(|tag| !source.contains(tag));
    let named = |tag: &&Tag| selection.judge(tag) != Judgement::Rejected;
    lacking.filter(named).cloned().collect()
}

/// Tells apart what is still as the rule put it: each tag with what was put last, and where it
/// points now.
pub fn split<'a>(tags: impl IntoIterator<Item = (&'a Tag, &'a TagState, &'a Digest)>) -> Extra {
    let mut extra = Extra::default();
    for (tag, record, found) in tags {
        let ours = record.target_digest == *found;
        if ours { &mut extra.gone } else { &mut extra.others }.push(tag.clone());
    }
    extra
}

/// What deletes exactly these tags.
///
/// # Errors
/// For tags that belong to a digest, which are never lacking.
pub fn policy(tags: Vec<Tag>, max_delete: MaxDelete) -> Result<Policy, TagPatternError> {
    let tags = TagPatterns::new(tags.into_iter().map(TagPattern::Literal).collect())?;
    let selector = TagSelector { tags: Some(tags), semver: None, per: None };
    let what = Doomed::Tags { selector: Box::new(selector), beyond_newest: None };
    Ok(Policy {
        keep: Vec::new(),
        delete: vec![DeleteRule { id: LINE.to_owned(), what, older_than: None }],
        clock: vec![ClockSource::Pushed, ClockSource::FirstSeen],
        grace: std::time::Duration::ZERO,
        max_delete,
        untag_by_overwriting: false,
    })
}
