//! Patterns of repository names, as a rule's `source` has them: `acme/**`, `acme/*/app`.
//!
//! A pattern always matches the whole name. It says nothing about registries or tags.

use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};

use super::reference::RepositoryName;
use super::shown_as_text;

/// What makes a text a pattern and no name.
const WILDCARDS: [char; 6] = ['*', '?', '[', ']', '{', '}'];

/// A pattern with at least one wildcard. `*` and `?` stay within one part of the path, `**` stands
/// for any number of parts, `[a-z]` for one character of a class, `{a,b}` for either text.
#[derive(Clone)]
pub struct RepositoryPattern {
    text: String,
    matcher: GlobMatcher,
}

/// Why a text is not a repository pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("`{0}` has no wildcard: it is a repository name, not a pattern")]
    NoWildcard(String),
    #[error("`{0}` matches no repository: their names have no upper-case letters")]
    Uppercase(String),
    #[error("`{pattern}` matches no repository: their names have no `{character}`")]
    Character { pattern: String, character: char },
    #[error("`{0}` matches no repository: a part of the path is empty")]
    EmptyPart(String),
    #[error("`**` in `{0}` must be a part of its own, as in `acme/**` or `**/app`")]
    DoubleStar(String),
    #[error(
        "`{0}` has a class that could match a slash: write `[…]` with letters, digits, `.`, `_` and ranges like `a-z`"
    )]
    Class(String),
    #[error("`{pattern}` is not a pattern: {reason}")]
    Glob { pattern: String, reason: String },
}

impl RepositoryPattern {
    /// Whether a text must be read as a pattern, because a name cannot look like that.
    pub fn is_pattern(text: &str) -> bool {
        text.contains(WILDCARDS)
    }

    pub fn matches(&self, repository: &RepositoryName) -> bool {
        self.matcher.is_match(repository.as_str())
    }

    /// The parts of the path before the first wildcard, without a slash at the end: `acme` of
    /// `acme/*/app`, and nothing of `**`. Every repository that matches is below it.
    pub fn literal_prefix(&self) -> &str {
        let wildcard = self.text.find(WILDCARDS).unwrap_or(self.text.len());
        self.text[..wildcard].rsplit_once('/').map_or("", |(prefix, _)| prefix)
    }

    /// Whether two matching repositories can differ in their last part.
    pub fn name_varies(&self) -> bool {
        self.text.rsplit('/').next().is_some_and(Self::is_pattern)
    }

    /// Whether two matching repositories can differ in what stands before their last part.
    pub fn namespace_varies(&self) -> bool {
        let (namespace, name) = self.text.rsplit_once('/').unwrap_or(("", &self.text));
        name == "**" || Self::is_pattern(namespace)
    }
}

impl FromStr for RepositoryPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let pattern = || text.to_owned();
        if !Self::is_pattern(text) {
            return Err(PatternError::NoWildcard(pattern()));
        }
        if text.contains(|c: char| c.is_uppercase()) {
            return Err(PatternError::Uppercase(pattern()));
        }
        let known = |c: char| {
            c.is_ascii_lowercase()
                || c.is_ascii_digit()
                || "._-/,!^".contains(c)
                || WILDCARDS.contains(&c)
        };
        if let Some(character) = text.chars().find(|&c| !known(c)) {
            return Err(PatternError::Character { pattern: pattern(), character });
        }
        if text.split('/').any(str::is_empty) {
            return Err(PatternError::EmptyPart(pattern()));
        }
        if text.split('/').any(|part| part.contains("**") && part != "**") {
            return Err(PatternError::DoubleStar(pattern()));
        }
        let glob = GlobBuilder::new(&within_parts(text)?)
            .literal_separator(true)
            .build()
            .map_err(|e| PatternError::Glob { pattern: pattern(), reason: e.kind().to_string() })?;
        Ok(Self { text: pattern(), matcher: glob.compile_matcher() })
    }
}

/// The pattern with a slash added to each negated class, and an error for the other classes that
/// match one (`[--9]`), because globset lets classes match separators.
fn within_parts(text: &str) -> Result<String, PatternError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, class)) = rest.split_once('[') {
        out.push_str(before);
        let (class, behind) = class.split_once(']').unwrap_or((class, ""));
        let unclosed = behind.is_empty() && !rest.ends_with(']');
        let (open, members) = match class.strip_prefix(['!', '^']) {
            Some(members) => ("[!/", members),
            None => ("[", class),
        };
        let plain = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bytes = members.as_bytes();
        let inside = bytes.get(1..bytes.len().max(2) - 1).unwrap_or_default();
        let ranges =
            inside.iter().zip(bytes).zip(bytes.iter().skip(2)).all(|((middle, before), behind)| {
                *middle != b'-' || (plain(before) && plain(behind))
            });
        if bytes.is_empty() || !ranges || !bytes.iter().all(|b| plain(b) || b"._-".contains(b)) {
            return Err(PatternError::Class(text.to_owned()));
        }
        out.push_str(open);
        out.push_str(members);
        if !unclosed {
            out.push(']');
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

impl PartialEq for RepositoryPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for RepositoryPattern {}

shown_as_text!(RepositoryPattern.text);

impl fmt::Debug for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RepositoryPattern({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::assert_refused;
    use proptest::prelude::*;

    fn pattern(text: &str) -> RepositoryPattern {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_match_whole_names() {
        let cases = [
            ("acme/**", "acme/app", true),
            ("acme/**", "acme/team/app", true),
            ("acme/**", "acme", false),
            ("acme/**", "acme2/app", false),
            ("acme/*", "acme/app", true),
            ("acme/*", "acme/team/app", false),
            ("acme/*/app", "acme/team/app", true),
            ("acme/*/app", "acme/app", false),
            ("acme/**/app", "acme/app", true),
            ("acme/**/app", "acme/a/b/app", true),
            ("**", "app", true),
            ("**", "a/b/c", true),
            ("**/app", "app", true),
            ("**/app", "a/myapp", false),
            ("acme/app-?", "acme/app-1", true),
            ("acme/app-?", "acme/app-12", false),
            ("acme?app", "acme/app", false),
            ("acme/[a-c]pp", "acme/bpp", true),
            ("acme/[!a]pp", "acme/app", false),
            ("acme/[!b]pp", "acme/app", true),
            ("acme[!b]app", "acme/app", false),
            ("acme/a[._-]b", "acme/a-b", true),
            ("acme/[a-c0-9-]b", "acme/1b", true),
            ("acme/{api,web}", "acme/web", true),
            ("acme/{api,web}", "acme/worker", false),
        ];
        for (text, name, expected) in cases {
            assert_eq!(pattern(text).matches(&name.parse().unwrap()), expected, "{text} {name}");
        }
    }

    #[test]
    fn the_literal_prefix_ends_before_the_first_wildcard() {
        let cases = [
            ("acme/**", "acme"),
            ("acme/team/app-*", "acme/team"),
            ("acme/*/app", "acme"),
            ("**", ""),
            ("ac*/app", ""),
            ("a/{b/c,d}/e", "a"),
        ];
        for (text, expected) in cases {
            assert_eq!(pattern(text).literal_prefix(), expected, "{text}");
        }
    }

    #[test]
    fn patterns_tell_what_varies() {
        let cases = [
            ("acme/*", true, false),
            ("acme/**", true, true),
            ("acme/*/app", false, true),
            ("*", true, false),
            ("**", true, true),
            ("*/{a,b}", true, true),
            ("x/{a/b,c/d}", true, true),
        ];
        for (text, name, namespace) in cases {
            let pattern = pattern(text);
            assert_eq!(pattern.name_varies(), name, "{text}");
            assert_eq!(pattern.namespace_varies(), namespace, "{text}");
        }
    }

    #[test]
    fn malformed_patterns_say_what_is_wrong() {
        assert_refused::<RepositoryPattern>(&[
            ("acme/app", "has no wildcard"),
            ("Acme/*", "upper-case"),
            ("acme/*:v1", "have no `:`"),
            ("acme/*@sha256", "have no `@`"),
            ("acme\\*", "have no `\\`"),
            ("acme//*", "is empty"),
            ("acme/*/", "is empty"),
            ("acme/app**", "part of its own"),
            ("acme/{a,**}", "part of its own"),
            ("acme/[a", "unclosed"),
            ("acme/[--9]", "match a slash"),
            ("acme/[a.-9]", "match a slash"),
            ("acme[/]app*", "match a slash"),
            ("acme[]]*", "match a slash"),
            ("acme/{a", "unclosed"),
            ("acme/a}*", "unopened"),
        ]);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,20}|[a-c*?/{},\\[\\]!-]{0,16}") {
            let _ = text.parse::<RepositoryPattern>();
        }

        /// What matches is below the literal prefix, and without `**` it has as many parts as the
        /// pattern: nothing but `**` crosses a slash.
        #[test]
        fn only_a_double_star_crosses_parts(
            text in "([a-b*?]|\\[!a\\]|\\[a-z\\]){1,3}(/([a-b*?]|\\[!a\\]|\\[--9\\]){1,3}){0,2}",
            name in "[a-b]{1,2}(/[a-b]{1,2}){0,3}",
        ) {
            if let Ok(pattern) = text.parse::<RepositoryPattern>()
                && !text.contains("**")
                && pattern.matches(&name.parse().unwrap())
            {
                prop_assert_eq!(text.split('/').count(), name.split('/').count());
                prop_assert!(name.starts_with(pattern.literal_prefix()));
            }
        }
    }
}
