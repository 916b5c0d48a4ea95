//! What two selections of tags may have in common, and selections that can select nothing. Only the
//! selections are known, not the tags.

use semver::VersionReq;

use super::range;
use super::selection::{Judgement, TagSelection};
use super::tag_pattern::{TagPattern, TagPatterns};

impl TagSelection {
    /// Whether no tag can ever be selected, as far as can be told.
    pub fn is_nothing(&self) -> bool {
        let excluded = |pattern: &TagPattern| match pattern {
            TagPattern::Literal(tag) => self.exclude.matches(tag),
            pattern => self.exclude.entries().contains(pattern),
        };
        let include = self.include.as_ref().map(TagPatterns::entries);
        self.exclude.is_everything()
            || include.is_some_and(|include| include.iter().all(excluded))
            || (self.semver.as_ref().is_some_and(range::is_empty) && self.has_no_literals())
    }

    /// Whether only pre-releases can match, such as `1.25-alpine`, and none of them is wanted.
    pub fn needs_prereleases(&self) -> bool {
        let is_narrowed = self.newest.is_some() || self.semver.is_some();
        let names_one = |range: &VersionReq| range.comparators.iter().any(|it| !it.pre.is_empty());
        let patterns = self.include.iter().flat_map(TagPatterns::entries);
        is_narrowed
            && !self.prereleases
            && !self.semver.as_ref().is_some_and(names_one)
            && self.include.is_some()
            && patterns.into_iter().all(|pattern| match pattern {
                TagPattern::Glob(_) => {
                    let Affixes { start, end } = Affixes::of(pattern);
                    start.contains('-') || end.contains('-')
                }
                TagPattern::Literal(_) | TagPattern::Regex(_) => false,
            })
    }

    fn has_no_literals(&self) -> bool {
        self.include.as_ref().is_none_or(|include| include.literals().next().is_none())
    }

    /// Whether a tag could be selected by both. `false` is certain.
    pub fn may_overlap(&self, other: &Self) -> bool {
        self.names_one_of(other) || other.names_one_of(self) || self.patterns_may_overlap(other)
    }

    /// Whether a literal of this selection is selected there.
    fn names_one_of(&self, other: &Self) -> bool {
        let named = |tag| self.judge(tag) != Judgement::Rejected;
        let include = self.include.iter().flat_map(TagPatterns::literals);
        include.filter(|tag| named(tag)).any(|tag| other.judge(tag) != Judgement::Rejected)
    }

    fn patterns_may_overlap(&self, other: &Self) -> bool {
        if let (Some(one), Some(other)) = (&self.semver, &other.semver)
            && range::are_disjoint(one, other)
        {
            return false;
        }
        let (ours, theirs) = (self.patterns(&other.exclude), other.patterns(&self.exclude));
        ours.iter().any(|one| theirs.iter().any(|other| !are_disjoint(one, other)))
    }

    /// What selects more than one tag, without what the other selection excludes.
    fn patterns(&self, excluded: &TagPatterns) -> Vec<Affixes> {
        let Some(include) = &self.include else {
            return vec![Affixes::default()];
        };
        let patterns = include.entries().iter().filter(|pattern| {
            !matches!(pattern, TagPattern::Literal(_)) && !excluded.entries().contains(pattern)
        });
        patterns.map(Affixes::of).collect()
    }
}

/// How all tags that match a pattern begin and end.
#[derive(Default)]
struct Affixes {
    start: String,
    end: String,
}

impl Affixes {
    fn of(pattern: &TagPattern) -> Self {
        let TagPattern::Glob(glob) = pattern else { return Self::default() };
        let is_syntax = |c: char| "*?[]{}\\,".contains(c);
        let text = glob.glob();
        // Behind a bracket, a text is perhaps one of several.
        let end = if text.contains(['[', '{', '\\']) { "" } else { text };
        Self {
            start: text.split(is_syntax).next().unwrap_or_default().to_owned(),
            end: end.rsplit(is_syntax).next().unwrap_or_default().to_owned(),
        }
    }
}

fn are_disjoint(one: &Affixes, other: &Affixes) -> bool {
    let (a, b) = (&one.start, &other.start);
    let starts_differ = !a.starts_with(b.as_str()) && !b.starts_with(a.as_str());
    let (a, b) = (&one.end, &other.end);
    starts_differ || (!a.ends_with(b.as_str()) && !b.ends_with(a.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Tag;
    use proptest::prelude::*;
    use proptest::sample::subsequence;

    fn patterns(texts: &[&str]) -> TagPatterns {
        TagPatterns::new(texts.iter().map(|text| text.parse().unwrap()).collect()).unwrap()
    }

    fn selection(include: &[&str], exclude: &[&str], semver: &str) -> TagSelection {
        TagSelection {
            include: (!include.is_empty()).then(|| patterns(include)),
            exclude: patterns(exclude),
            semver: (!semver.is_empty()).then(|| semver.parse().unwrap()),
            ..TagSelection::default()
        }
    }

    #[test]
    fn selections_of_nothing_are_recognised() {
        for (include, exclude, semver, expected) in [
            (&["v*"][..], &["v*"][..], "", true),
            (&["v1", "v*"], &["v*"], "", true),
            (&[], &["*"], "", true),
            (&[], &[], ">=3, <2", true),
            (&["latest", "v*"], &[], ">=3, <2", false),
            (&["v*"], &["v1*"], "", false),
            (&[], &[], "", false),
        ] {
            let selection = selection(include, exclude, semver);
            assert_eq!(selection.is_nothing(), expected, "{selection:?}");
        }
    }

    #[test]
    fn possible_overlaps_are_recognised() {
        let all = || selection(&[], &[], "");
        for (one, other, expected) in [
            (all(), all(), true),
            (selection(&["1.*"], &[], ""), selection(&["2.*"], &[], ""), false),
            (selection(&["1*"], &[], ""), selection(&["1.2*"], &[], ""), true),
            (selection(&["*-alpine"], &[], ""), selection(&["*-slim"], &[], ""), false),
            (selection(&["*-alpine"], &[], ""), selection(&["*"], &["*-alpine"], ""), false),
            (selection(&["a", "b"], &[], ""), selection(&["c"], &[], ""), false),
            (selection(&["a", "b"], &[], ""), selection(&["b"], &[], ""), true),
            (selection(&["v1"], &[], ""), selection(&["v*"], &[], ""), true),
            (selection(&["v1"], &[], ""), selection(&["v*"], &["v1"], ""), false),
            (selection(&[], &[], "<2"), selection(&[], &[], ">=2"), false),
            (selection(&["/a.*/"], &[], ""), selection(&["b*"], &[], ""), true),
            (selection(&["{a,b}*"], &[], ""), selection(&["b*"], &[], ""), true),
            (selection(&["[ab]-x"], &[], ""), selection(&["c*-y"], &[], ""), true),
        ] {
            assert_eq!(one.may_overlap(&other), expected, "{one:?} {other:?}");
            assert_eq!(other.may_overlap(&one), expected, "{other:?} {one:?}");
        }
    }

    #[test]
    fn variants_are_prereleases() {
        let newest = |include: &[&str]| TagSelection {
            newest: std::num::NonZeroUsize::new(3),
            ..selection(include, &[], "")
        };
        for (selection, expected) in [
            (newest(&["*-alpine"]), true),
            (newest(&["1.*-alpine", "2-*"]), true),
            (newest(&["*-alpine", "latest"]), false),
            (newest(&["*alpine"]), false),
            (newest(&["*"]), false),
            (newest(&[]), false),
            (TagSelection { prereleases: true, ..newest(&["*-alpine"]) }, false),
            (selection(&["*-alpine"], &[], ">=1"), true),
            (selection(&["*-rc1"], &[], ">=1.0.0-rc0"), false),
            (selection(&["*-alpine"], &[], ""), false),
        ] {
            assert_eq!(selection.needs_prereleases(), expected, "{selection:?}");
        }
    }

    const ENTRIES: [&str; 10] =
        ["a", "ab", "b1", "a*", "*b", "b?", "*-x", "[ab]*", "{a,b}1", "/a.*/"];

    proptest! {
        #[test]
        fn what_both_select_is_an_overlap(
            includes in (subsequence(&ENTRIES[..], 0..4), subsequence(&ENTRIES[..], 0..4)),
            excludes in (subsequence(&ENTRIES[..], 0..2), subsequence(&ENTRIES[..], 0..2)),
            tag in "[ab][ab1]{0,2}(-x)?",
        ) {
            let one = selection(&includes.0, &excludes.0, "");
            let other = selection(&includes.1, &excludes.1, "");
            let tag: Tag = tag.parse().unwrap();
            let selects = |it: &TagSelection| it.judge(&tag) != Judgement::Rejected;
            prop_assert!(!selects(&one) || !selects(&other) || one.may_overlap(&other));
            prop_assert!(!selects(&one) || !one.is_nothing());
        }
    }
}
