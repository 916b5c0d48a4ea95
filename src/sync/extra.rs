//! Which tags of a target are gone at the source: a pure decision. What is not known for sure to
//! have come from there stays.

use std::collections::HashSet;

use crate::oci::selection::{Judgement, TagSelection};
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample_rule;

    fn tags(text: &str) -> Vec<Tag> {
        text.split_whitespace().map(|tag| tag.parse().unwrap()).collect()
    }

    fn selection(tags: &str) -> TagSelection {
        sample_rule("s.io/a", "t.io/a", &format!("tags = {{ {tags} }}")).tags
    }

    #[test]
    fn only_what_the_selection_names_can_be_lacking() {
        let derived = derived::fallback_tag(&Digest::of(b"x"));
        let mut target = tags("v1.0 v1.1 v2.0 v3.0-rc1 main dev pr-1");
        target.push(derived.clone());
        let cases = [
            // selection, source, lacking
            ("exclude = []", "v2.0 main", "v1.0 v1.1 v3.0-rc1 dev pr-1"),
            ("include = [\"v*\"]", "v2.0", "v1.0 v1.1 v3.0-rc1"),
            ("include = [\"v*\"], exclude = [\"*-rc*\"]", "v2.0", "v1.0 v1.1"),
            ("include = [\"v*\"], semver = \">=1.1\"", "v2.0", "v1.1"),
            ("include = [\"main\", \"gone\"]", "dev", "main"),
            // Not selected any more, because a newer one came: it is still at the source.
            ("include = [\"v*\"], latest = 1", "v1.0 v1.1 v2.0 v3.0-rc1", ""),
            ("include = [\"v*\"], latest = 1", "v1.0 v2.0", "v1.1 v3.0-rc1"),
        ];
        for (names, source, expected) in cases {
            let lacking = lacking(&selection(names), &tags(source), &target);
            assert_eq!(lacking, tags(expected), "{names} {source}");
            assert!(!lacking.contains(&derived));
        }
    }

    #[test]
    fn a_source_without_tags_says_nothing() {
        let derived = derived::fallback_tag(&Digest::of(b"x"));
        assert!(!tells(&[]));
        assert!(!tells(std::slice::from_ref(&derived)));
        assert!(tells(&[derived, "v1".parse().unwrap()]));
    }

    #[test]
    fn what_somebody_else_put_there_is_told_apart() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        // Rewritten on its way.
        let record = TagState::sample(&Digest::of(b"source"), &a);
        let names = tags("ours theirs");
        let extra = split([(&names[0], &record, &a), (&names[1], &record, &b)]);
        assert_eq!(extra, Extra { gone: tags("ours"), others: tags("theirs") });
    }
}
