//! Which tags of a repository a rule means.
//!
//! A pure function of the tag list. Tags that belong to a digest (see [`derived`]) are never
//! selected: they follow their image.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use semver::{Version, VersionReq};

use super::derived;
use super::range;
use super::reference::Tag;
pub use super::tag_pattern::{TagPattern, TagPatternError, TagPatterns};
use super::version;

/// A rule's `tags`. The default selects everything.
///
/// Excludes always win. Literal includes are selected whenever they are there. `semver` and
/// `newest`, in this order, narrow what globs and regular expressions (or the absence of
/// `include`) select, and drop the tags that are no versions, and the pre-releases unless they are
/// asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagSelection {
    /// `None`: all tags.
    pub include: Option<TagPatterns>,
    pub exclude: TagPatterns,
    pub semver: Option<VersionReq>,
    /// How many of the highest versions to keep.
    pub newest: Option<NonZeroUsize>,
    /// Whether pre-releases are versions like others. If not, only those of which `semver` names the
    /// version are selected.
    pub prereleases: bool,
}

/// What can be said of one tag without the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    Selected,
    Rejected,
    /// It is among the candidates of `newest`.
    Depends,
}

impl TagSelection {
    /// The selection of these tags and nothing else.
    ///
    /// # Errors
    /// For tags that belong to a digest.
    pub fn literal(tags: impl IntoIterator<Item = Tag>) -> Result<Self, TagPatternError> {
        let entries = tags.into_iter().map(|tag| tag.as_str().parse()).collect::<Result<_, _>>()?;
        Ok(Self { include: Some(TagPatterns::new(entries)?), ..Self::default() })
    }

    /// The selected ones of these tags, sorted by text, each once.
    pub fn select(&self, tags: impl IntoIterator<Item = Tag>) -> Vec<Tag> {
        let narrowed = self.semver.is_some() || self.newest.is_some();
        let mut selected = Vec::new();
        let mut versions = Vec::new();
        for tag in tags {
            if derived::parse(&tag).is_some() || self.exclude.matches(&tag) {
                continue;
            }
            let include = self.include.as_ref();
            if include.is_some_and(|include| include.names(&tag)) {
                selected.push(tag);
            } else if include.is_none_or(|include| include.covers(&tag)) {
                if !narrowed {
                    selected.push(tag);
                } else if let Some(version) = version::parse(&tag)
                    && self.is_wanted(&version)
                {
                    versions.push((version, tag));
                }
            }
        }
        // Equal versions (`v1.2`, `1.2.0`) are ordered by their text.
        versions.sort_unstable();
        versions.dedup();
        let surplus = self.newest.map_or(0, |n| versions.len().saturating_sub(n.get()));
        selected.extend(versions.drain(surplus..).map(|(_, tag)| tag));
        selected.sort_unstable();
        selected.dedup();
        selected
    }

    /// Whether a version is among those that `newest` chooses from.
    fn is_wanted(&self, version: &Version) -> bool {
        match &self.semver {
            Some(range) if self.prereleases => range::has_with_prereleases(range, version),
            Some(range) => range.matches(version),
            None => self.prereleases || version.pre.is_empty(),
        }
    }

    /// The selected ones of some tags, if that can be told without all the others: `newest`
    /// compares them.
    pub fn select_some(&self, tags: impl IntoIterator<Item = Tag>) -> Option<Vec<Tag>> {
        let judged = tags.into_iter().filter_map(|tag| match self.judge(&tag) {
            Judgement::Rejected => None,
            Judgement::Depends => Some(None),
            Judgement::Selected => Some(Some(tag)),
        });
        // In order, and each once, like all of them.
        let selected: Option<BTreeSet<Tag>> = judged.collect();
        selected.map(|selected| selected.into_iter().collect())
    }

    /// Whether this tag is selected, whatever other tags there are.
    pub fn judge(&self, tag: &Tag) -> Judgement {
        let named = self.include.as_ref().is_some_and(|include| include.names(tag));
        // `newest` keeps at least one, so what is not selected alone never is.
        match self.select([tag.clone()]).is_empty() {
            true => Judgement::Rejected,
            false if self.newest.is_some() && !named => Judgement::Depends,
            false => Judgement::Selected,
        }
    }

    /// The tags to copy, if they can be told without the registry's tag list.
    pub fn literals(&self) -> Option<Vec<Tag>> {
        self.include.as_ref().filter(|include| include.only_literals()).map(|_| self.named())
    }

    /// Whether no tag is left out (but those that are never selected).
    pub fn is_everything(&self) -> bool {
        self.include.as_ref().is_none_or(TagPatterns::is_everything)
            && self.exclude.entries().is_empty()
            && self.semver.is_none()
            && self.newest.is_none()
    }

    /// Whether both surely select a tag in common, if only it exists: they name the same one, or
    /// one of them selects everything and the other anything.
    pub fn surely_overlaps(&self, other: &Self) -> bool {
        let something = |s: &Self| s.literals().is_none_or(|tags| !tags.is_empty());
        if self.is_everything() || other.is_everything() {
            return something(self) && something(other);
        }
        let named = other.named();
        self.named().iter().any(|tag| named.contains(tag))
    }

    /// The literal includes that are not excluded, sorted.
    fn named(&self) -> Vec<Tag> {
        let literals = self.include.iter().flat_map(TagPatterns::literals);
        let mut tags: Vec<_> = literals.filter(|t| !self.exclude.matches(t)).cloned().collect();
        tags.sort_unstable();
        tags
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    fn patterns(texts: &[&str]) -> TagPatterns {
        TagPatterns::new(texts.iter().map(|t| t.parse().unwrap()).collect()).unwrap()
    }

    fn tags(text: &str) -> Vec<Tag> {
        text.split_whitespace().map(|tag| tag.parse().unwrap()).collect()
    }

    fn selection(include: &[&str], exclude: &[&str], semver: &str, newest: usize) -> TagSelection {
        TagSelection {
            include: (!include.is_empty()).then(|| patterns(include)),
            exclude: patterns(exclude),
            semver: (!semver.is_empty()).then(|| semver.parse().unwrap()),
            newest: NonZeroUsize::new(newest),
            prereleases: false,
        }
    }

    fn with_prereleases(selection: TagSelection) -> TagSelection {
        TagSelection { prereleases: true, ..selection }
    }

    const LIST: &str = "1.0 1.1 1.2-rc1 2.0 2.0.0 v2.0 3 dev latest main";

    #[test]
    fn tags_are_selected() {
        let cases = [
            (selection(&[], &[], "", 0), LIST),
            (selection(&["*"], &["dev", "*-rc*"], "", 0), "1.0 1.1 2.0 2.0.0 v2.0 3 latest main"),
            (selection(&["latest", "gone"], &[], "", 0), "latest"),
            (selection(&["latest", "dev"], &["l*"], "", 0), "dev"),
            (selection(&[], &[], ">=1.1", 0), "1.1 2.0 2.0.0 v2.0 3"),
            (selection(&[], &[], ">=1.2.0-rc1, <2", 0), "1.2-rc1"),
            (selection(&["latest", "1*"], &[], ">=1.1", 0), "1.1 latest"),
            (selection(&["1.0", "*"], &[], ">=2", 0), "1.0 2.0 2.0.0 3 v2.0"),
            (selection(&[], &[], "", 2), "3 v2.0"),
            (selection(&[], &[], "<3", 2), "2.0.0 v2.0"),
            (selection(&["main", "/\\d.*/"], &["3"], "", 1), "2.0.0 main"),
            (selection(&["1.*"], &[], "", 1), "1.1"),
            (with_prereleases(selection(&["1.*"], &[], "", 1)), "1.2-rc1"),
            (with_prereleases(selection(&["1.*"], &[], ">=1.1", 0)), "1.1 1.2-rc1"),
            (with_prereleases(selection(&["1.*"], &[], ">=1.2", 0)), ""),
            (with_prereleases(selection(&["1.*"], &[], "<1.2", 0)), "1.0 1.1"),
            (with_prereleases(selection(&["1.*"], &[], "1.2.0-rc0", 0)), "1.2-rc1"),
            (selection(&["*-rc1"], &[], "", 2), ""),
        ];
        for (selection, expected) in cases {
            let mut expected = tags(expected);
            expected.sort();
            assert_eq!(selection.select(tags(LIST)), expected, "{selection:?}");
        }
    }

    #[test]
    fn derived_tags_are_never_selected() {
        let subject = Digest::of(b"x");
        let list = [derived::fallback_tag(&subject), derived::cosign_tag(&subject, ".sig")];
        for selection in [selection(&[], &[], "", 0), selection(&["*", "/.*/"], &[], "", 0)] {
            assert_eq!(selection.select(list.clone()), []);
        }
        assert!(TagSelection::literal(list).is_err());
    }

    #[test]
    fn literal_selections_need_no_tag_list() {
        assert_eq!(selection(&["b", "a", "b"], &[], "", 0).literals(), Some(tags("a b")));
        assert_eq!(selection(&["b", "a"], &["b*"], "", 0).literals(), Some(tags("a")));
        assert_eq!(selection(&["b", "a*"], &[], "", 0).literals(), None);
        assert_eq!(selection(&[], &[], "", 0).literals(), None);
        assert_eq!(TagSelection::literal([]).unwrap().literals(), Some(vec![]));
    }

    #[test]
    fn everything_is_recognised() {
        assert!(selection(&[], &[], "", 0).is_everything());
        assert!(selection(&["v1", "*"], &[], "", 0).is_everything());
        for narrower in [
            selection(&["v*"], &[], "", 0),
            selection(&[], &["x"], "", 0),
            selection(&[], &[], "*", 0),
            selection(&[], &[], "", 9),
        ] {
            assert!(!narrower.is_everything(), "{narrower:?}");
        }
    }

    #[test]
    fn sure_overlaps_are_recognised() {
        let nothing = TagSelection::literal([]).unwrap();
        let all = selection(&[], &[], "", 0);
        let a = selection(&["a", "b"], &[], "", 0);
        let b = selection(&["b", "v*"], &[], "", 0);
        let not_b = selection(&["b", "c"], &["b"], "", 0);
        let cases = [
            (&all, &all, true),
            (&all, &a, true),
            (&all, &nothing, false),
            (&a, &b, true),
            (&a, &not_b, false),
        ];
        for (one, other, expected) in cases {
            assert_eq!(one.surely_overlaps(other), expected, "{one:?} {other:?}");
            assert_eq!(other.surely_overlaps(one), expected, "{other:?} {one:?}");
        }
    }

    /// The loop and the sort must not become quadratic, and matchers are built only once.
    #[test]
    fn a_hundred_thousand_tags_take_no_time() {
        let list: Vec<Tag> = (0..100_000).map(|n| format!("v1.{n}").parse().unwrap()).collect();
        let globs: Vec<_> = (0..50).map(|n| format!("v*{n}-x")).collect();
        let globs: Vec<_> = globs.iter().map(String::as_str).chain(["v*"]).collect();
        let selection = selection(&globs, &["/v1\\.\\d*7/"], ">=1.2", 50_000);
        let start = std::time::Instant::now();
        assert_eq!(selection.select(list).len(), 50_000);
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    }

    const ENTRIES: [&str; 12] = [
        "latest",
        "main",
        "1.0",
        "v2.0",
        "*",
        "v*",
        "1.*",
        "*-rc*",
        "?",
        "/v?\\d+\\.\\d+/",
        "/[a-z]+/",
        "3",
    ];

    prop_compose! {
        fn any_selection()(
            include in proptest::option::of(subsequence(&ENTRIES[..], 1..6)),
            exclude in subsequence(&ENTRIES[..], 0..3),
            semver in select(vec!["", ">=1", "<2", "*", ">=1.0.0-0"]),
            newest in 0..5_usize,
            prereleases in any::<bool>(),
        ) -> TagSelection {
            let include = include.map(|i| patterns(&i));
            TagSelection { include, prereleases, ..selection(&[], &exclude, semver, newest) }
        }
    }

    proptest! {
        #[test]
        fn selections_keep_their_promises(
            selection in any_selection(),
            list in proptest::collection::vec("v?[0-3](\\.[0-2]){0,3}(-rc[1-3])?|latest|main|x|[a-z]{3}", 0..40),
            order in any::<u64>(),
        ) {
            let list: Vec<Tag> = list.iter().map(|t| t.parse().unwrap()).collect();
            let selected = selection.select(list.clone());
            let mut shuffled = list.clone();
            shuffled.sort_by_key(|tag| crate::oci::Digest::of(format!("{order}{tag}").as_bytes()).to_string());
            prop_assert_eq!(&selection.select(shuffled), &selected);
            prop_assert_eq!(&selection.select(selected.clone()), &selected, "selecting twice changes nothing");
            prop_assert!(selected.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(selected.iter().all(|tag| list.contains(tag) && !selection.exclude.matches(tag)));
            let literal = |tag: &&Tag| selection.include.as_ref().is_some_and(|i| i.names(tag));
            prop_assert_eq!(
                selected.iter().filter(literal).collect::<BTreeSet<_>>(),
                list.iter().filter(literal).filter(|t| !selection.exclude.matches(t)).collect()
            );
            for tag in &list {
                match selection.judge(tag) {
                    Judgement::Selected => prop_assert!(selected.contains(tag), "{}", tag),
                    Judgement::Rejected => prop_assert!(!selected.contains(tag), "{}", tag),
                    Judgement::Depends => prop_assert!(selection.newest.is_some(), "{}", tag),
                }
            }
            if let Some(newest) = selection.newest {
                prop_assert!(selected.iter().filter(|t| !literal(t)).count() <= newest.get());
            }
            let some: Vec<Tag> = list.iter().step_by(2).cloned().collect();
            if let Some(told) = selection.select_some(some.clone()) {
                let expected: Vec<&Tag> = selected.iter().filter(|tag| some.contains(tag)).collect();
                prop_assert_eq!(told.iter().collect::<Vec<_>>(), expected);
            } else {
                prop_assert!(selection.newest.is_some());
            }
            if let Some(literals) = selection.literals() {
                prop_assert!(selected.iter().all(|tag| literals.contains(tag)));
            }
            if selection.is_everything() {
                prop_assert!(list.iter().all(|tag| selected.contains(tag)));
            }
        }
    }
}
