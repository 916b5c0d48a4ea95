//! What the tag lists of a rule may hold: a literal tag, a glob, or a regular expression.
//!
//! Tags that belong to a digest (see [`derived`]) match none of them.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::str::FromStr;

use globset::{Glob, GlobSet, GlobSetBuilder};
use regex::bytes::{RegexBuilder, RegexSet, RegexSetBuilder};

use super::derived;
use super::reference::{ReferenceError, Tag};

/// One entry of a tag list.
#[derive(Clone, PartialEq, Eq)]
pub enum TagPattern {
    /// Exactly this tag.
    Literal(Tag),
    /// A text with `*`, `?`, `[…]` or `{…}`; it matches whole tags.
    Glob(Glob),
    /// What stands between the slashes of `/…/`; it matches whole tags.
    Regex(String),
}

/// Why a text is not a tag pattern, or a list of them cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagPatternError {
    #[error(transparent)]
    Tag(#[from] ReferenceError),
    #[error("`{0}` belongs to a digest: such tags follow their image and are never selected")]
    Derived(Tag),
    #[error("`{0}` matches no tag: a list has no negation, use `exclude`")]
    Negation(String),
    #[error("`{pattern}` is not a glob: {reason}")]
    Glob { pattern: String, reason: String },
    #[error("`{pattern}` is not a regular expression: {reason}")]
    Regex { pattern: String, reason: String },
    #[error("`{pattern}` matches no tag: {reason}{}", meant(.suggestion.as_deref()))]
    NoTag { pattern: String, reason: String, suggestion: Option<String> },
    #[error("the patterns are too large together: {0}")]
    TooLarge(String),
}

fn meant(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |text| format!("; did you mean `{text}`?"))
}

/// A character of a glob that no tag has, outside of the classes of the glob, or one with which no
/// tag begins.
fn foreign_character(glob: &str) -> Option<String> {
    let mut in_class = false;
    for (at, character) in glob.char_indices() {
        let is_syntax = match character {
            '[' | ']' => {
                in_class = character == '[';
                true
            }
            '*' | '?' | '{' | '}' | ',' => true,
            _ => in_class,
        };
        if is_syntax || character.is_ascii_alphanumeric() || character == '_' {
            continue;
        }
        match character {
            '.' | '-' if at > 0 => {}
            '.' | '-' => return Some(format!("no tag begins with `{character}`")),
            ' ' => return Some("tags have no spaces".to_owned()),
            _ => return Some(format!("tags have no `{character}`")),
        }
    }
    None
}

/// What somebody who wrote a glob that matches no tag may have meant.
fn suggestion(glob: &str) -> Option<String> {
    let is_expression = glob.contains(['\\', '^', '$', '(', ')', '|', '+'])
        || glob.starts_with(['/', '.'])
        || glob.ends_with('/') && glob.contains(".*");
    let text = match glob {
        _ if is_expression => format!("/{}/", glob.trim_matches('/')),
        _ if glob.trim() != glob => glob.trim().to_owned(),
        // The name of a repository in front.
        _ => glob.rsplit([':', '/']).next()?.to_owned(),
    };
    // Nobody is led to select everything.
    let is_narrow = text.contains(|c: char| c.is_ascii_alphanumeric());
    let is_other = text != glob && is_narrow;
    (is_other && text.parse::<TagPattern>().is_ok()).then_some(text)
}

/// Whether a glob has what only regular expressions have: a count after a class (`[0-9]{4}`) or a
/// single one (`{2}`), an escape in a class (`[\d]`), or any text after a dot where tags have none
/// (`pr-.*`, `v.*`).
fn looks_like_expression(glob: &str) -> bool {
    let count_at = |(at, rest): (usize, &str)| {
        let Some((count, _)) = rest.split_once('}') else { return false };
        let numbers = count.split(',').collect::<Vec<_>>();
        let is_count = numbers.iter().all(|it| it.bytes().all(|byte| byte.is_ascii_digit()))
            && count.bytes().any(|byte| byte.is_ascii_digit());
        let is_alone = numbers.len() == 1 || numbers.last().is_some_and(|it| it.is_empty());
        is_count && numbers.len() <= 2 && (is_alone || glob[..at].ends_with(']'))
    };
    let mut braces = glob.match_indices('{').map(|(at, _)| (at, &glob[at + 1..]));
    let escapes = glob
        .match_indices('[')
        .any(|(at, _)| glob[at..].split_once(']').is_some_and(|(class, _)| class.contains('\\')));
    let after_dot = ["-.*", "_.*"].iter().any(|part| glob.contains(part))
        || ["v.*", "V.*"].iter().any(|begin| glob.starts_with(begin));
    braces.any(count_at) || escapes || after_dot
}

impl TagPattern {
    /// The regular expression that is probably meant by what is read as a glob.
    pub fn likely_expression(&self) -> Option<Self> {
        let Self::Glob(glob) = self else { return None };
        let glob = glob.glob();
        let expression = || format!("/{glob}/").parse().ok();
        looks_like_expression(glob).then(expression).flatten()
    }

    fn regex_error(pattern: &str, error: &regex::Error) -> TagPatternError {
        // The parser's message is a drawing of several lines; its last one says what is wrong.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason).to_owned();
        TagPatternError::Regex { pattern: pattern.to_owned(), reason }
    }
}

/// A regular expression that matches whole tags only.
fn anchored(expression: &str) -> String {
    format!("^(?:{expression})$")
}

impl FromStr for TagPattern {
    type Err = TagPatternError;

    fn from_str(text: &str) -> Result<Self, TagPatternError> {
        if text.len() > 1
            && let Some(expression) = text.strip_prefix('/').and_then(|t| t.strip_suffix('/'))
        {
            // First as typed: `a)|(b` is only well formed between the anchor's parentheses.
            for expression in [expression, &anchored(expression)] {
                RegexBuilder::new(expression)
                    .unicode(false)
                    .build()
                    .map_err(|e| Self::regex_error(text, &e))?;
            }
            return Ok(Self::Regex(expression.to_owned()));
        }
        if text.starts_with('!') {
            return Err(TagPatternError::Negation(text.to_owned()));
        }
        if text.contains(['*', '?', '[', '{', '\\']) {
            let glob = Glob::new(text).map_err(|e| TagPatternError::Glob {
                pattern: text.to_owned(),
                reason: e.kind().to_string(),
            })?;
            return match foreign_character(text) {
                None => Ok(Self::Glob(glob)),
                Some(reason) => Err(TagPatternError::NoTag {
                    pattern: text.to_owned(),
                    reason,
                    suggestion: suggestion(text),
                }),
            };
        }
        let tag: Tag = text.parse()?;
        match derived::parse(&tag) {
            Some(_) => Err(TagPatternError::Derived(tag)),
            None => Ok(Self::Literal(tag)),
        }
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(tag) => tag.fmt(f),
            Self::Glob(glob) => f.write_str(glob.glob()),
            Self::Regex(expression) => write!(f, "/{expression}/"),
        }
    }
}

/// A list of tag patterns, built once and then fast for any number of tags.
#[derive(Clone, Default)]
pub struct TagPatterns {
    patterns: Vec<TagPattern>,
    literals: HashSet<Tag>,
    globs: GlobSet,
    regexes: RegexSet,
}

impl TagPatterns {
    /// # Errors
    /// When the patterns are valid one by one, but need too much memory together.
    pub fn new(patterns: Vec<TagPattern>) -> Result<Self, TagPatternError> {
        let mut literals = HashSet::new();
        let mut globs = GlobSetBuilder::new();
        let mut regexes = Vec::new();
        for pattern in &patterns {
            match pattern {
                TagPattern::Literal(tag) => {
                    literals.insert(tag.clone());
                }
                TagPattern::Glob(glob) => {
                    globs.add(glob.clone());
                }
                TagPattern::Regex(expression) => regexes.push(anchored(expression)),
            }
        }
        let too_large = |e: &dyn fmt::Display| TagPatternError::TooLarge(e.to_string());
        let globs = globs.build().map_err(|e| too_large(&e))?;
        let regexes =
            RegexSetBuilder::new(regexes).unicode(false).build().map_err(|e| too_large(&e))?;
        Ok(Self { patterns, literals, globs, regexes })
    }

    /// Whether any entry matches. Tags that belong to a digest match nothing.
    pub fn matches(&self, tag: &Tag) -> bool {
        derived::parse(tag).is_none() && (self.names(tag) || self.covers(tag))
    }

    /// Whether the tag is one of the literal entries.
    pub(super) fn names(&self, tag: &Tag) -> bool {
        self.literals.contains(tag)
    }

    /// Whether a glob or a regular expression matches.
    pub(super) fn covers(&self, tag: &Tag) -> bool {
        self.globs.is_match(tag.as_str()) || self.regexes.is_match(tag.as_str().as_bytes())
    }

    /// The globs and regular expressions that match none of these tags.
    pub fn idle<'a>(&'a self, tags: &[Tag]) -> Vec<&'a TagPattern> {
        let (mut globs, mut regexes) = (BTreeSet::new(), BTreeSet::new());
        for tag in tags.iter().filter(|tag| derived::parse(tag).is_none()) {
            globs.extend(self.globs.matches(tag.as_str()));
            regexes.extend(self.regexes.matches(tag.as_str().as_bytes()));
        }
        let (mut glob, mut regex) = (0.., 0..);
        let is_idle = |pattern: &&TagPattern| match pattern {
            TagPattern::Literal(_) => false,
            TagPattern::Glob(_) => glob.next().is_some_and(|at| !globs.contains(&at)),
            TagPattern::Regex(_) => regex.next().is_some_and(|at| !regexes.contains(&at)),
        };
        self.patterns.iter().filter(is_idle).collect()
    }

    /// The entries in the order in which they were given.
    pub fn entries(&self) -> &[TagPattern] {
        &self.patterns
    }

    /// The entries that name one tag each.
    pub fn literals(&self) -> impl Iterator<Item = &Tag> {
        self.literals.iter()
    }

    /// Whether every entry names one tag.
    pub fn only_literals(&self) -> bool {
        self.globs.is_empty() && self.regexes.is_empty()
    }

    /// Whether the list surely matches every tag: one of its entries is `*`, or the same
    /// as a regular expression.
    pub fn is_everything(&self) -> bool {
        self.patterns.iter().any(|pattern| match pattern {
            TagPattern::Literal(_) => false,
            TagPattern::Glob(glob) => matches!(glob.glob(), "*" | "**"),
            TagPattern::Regex(expression) => matches!(expression.as_str(), ".*" | ".+"),
        })
    }
}

impl PartialEq for TagPatterns {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for TagPatterns {}

impl fmt::Debug for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl fmt::Debug for TagPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.patterns).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;
    use crate::oci::assert_refused;
    use proptest::prelude::*;

    fn patterns(texts: &[&str]) -> TagPatterns {
        TagPatterns::new(texts.iter().map(|t| t.parse().unwrap()).collect()).unwrap()
    }

    #[test]
    fn entries_match_whole_tags() {
        let cases = [
            ("latest", "latest", true),
            ("latest", "latest2", false),
            ("v*", "v1.2", true),
            ("v*", "xv1", false),
            ("*-rc*", "1.0-rc1", true),
            ("1.?", "1.2", true),
            ("1.?", "1.23", false),
            ("{a,b}-x", "b-x", true),
            ("v[0-9]", "v7", true),
            ("/v\\d+/", "v17", true),
            ("/v\\d+/", "v17-rc", false),
            ("/a|b/", "ab", false),
            ("/a|b/", "b", true),
            ("/(?i)LATEST/", "latest", true),
            ("/.*/", "anything", true),
        ];
        for (pattern, tag, expected) in cases {
            let matches = patterns(&[pattern]).matches(&tag.parse().unwrap());
            assert_eq!(matches, expected, "{pattern} {tag}");
        }
    }

    #[test]
    fn derived_tags_match_nothing() {
        let tag = derived::fallback_tag(&Digest::of(b"x"));
        assert!(!patterns(&["*", "/.*/", "sha256-*"]).matches(&tag));
    }

    #[test]
    fn malformed_entries_say_what_is_wrong() {
        let derived = format!("{}.sig", derived::fallback_tag(&Digest::of(b"x")));
        assert_refused::<TagPattern>(&[
            ("", "not a tag"),
            ("a b", "not a tag"),
            ("/", "not a tag"),
            ("!v*", "use `exclude`"),
            ("v[", "is not a glob: unclosed"),
            ("{a", "is not a glob: unclosed"),
            ("/(/", "is not a regular expression: unclosed group"),
            ("/a)|(b/", "is not a regular expression: unopened group"),
            ("/(?:a{1000}){1000}/", "size limit"),
            (derived.as_str(), "belongs to a digest"),
        ]);
    }

    /// Found in configurations that were to keep images and would have deleted all of them.
    #[test]
    fn globs_that_look_like_expressions_are_known() {
        for text in [
            "v.*",
            "pr-.*",
            "release_.*-rc",
            "[0-9]{4}",
            "v[0-9]{1,3}.[0-9]{1,}",
            "[\\d.]*",
            "v1.[0-9]{2}.*",
        ] {
            let pattern: TagPattern = text.parse().unwrap();
            let expected = Some(format!("/{text}/").parse().unwrap());
            assert_eq!(pattern.likely_expression(), expected, "{text}");
        }
        for text in [
            "1.*",
            "v1.*",
            "v[0-9]*",
            "*-alpine",
            "1.2.?",
            "rc.*",
            "v{1,2}.*",
            "{a,b}-*",
            "1.{2,3}",
            "[0-9]*.[0-9]*",
            "[0-9].*",
            "/v.*/",
            "latest",
            "*",
        ] {
            let pattern: TagPattern = text.parse().unwrap();
            assert_eq!(pattern.likely_expression(), None, "{text}");
        }
        // These are errors, with the expression as a suggestion where there is a glob in them.
        for text in ["^v\\d+$", "v[0-9]+\\..*", "(a|b)-.*"] {
            let error = text.parse::<TagPattern>().unwrap_err().to_string();
            assert!(error.ends_with(&format!("did you mean `/{text}/`?")), "{error}");
        }
    }

    #[test]
    fn globs_that_match_no_tag_are_errors_with_what_was_meant() {
        let cases = [
            (r"/v\d+.*", "tags have no `/`", r"/v\d+.*/"),
            (r"v\d+\.\d+", r"tags have no `\`", r"/v\d+\.\d+/"),
            ("^v.*$", "tags have no `^`", "/^v.*$/"),
            ("(v|release).*", "tags have no `(`", "/(v|release).*/"),
            ("release/*", "tags have no `/`", ""),
            ("v1:*", "tags have no `:`", ""),
            ("acme/app:v1.*", "tags have no `/`", "v1.*"),
            ("v1.* ", "tags have no spaces", "v1.*"),
            (".*", "no tag begins with `.`", ""),
            ("-*", "no tag begins with `-`", ""),
            ("ä*", "tags have no `ä`", ""),
        ];
        for (text, reason, suggestion) in cases {
            let message = text.parse::<TagPattern>().unwrap_err().to_string();
            let expected = match suggestion {
                "" => format!("`{text}` matches no tag: {reason}"),
                _ => format!("`{text}` matches no tag: {reason}; did you mean `{suggestion}`?"),
            };
            assert_eq!(message, expected);
        }
    }

    proptest! {
        /// Beside the glob itself: what is refused matches no tag, and what is not matches one.
        #[test]
        fn only_globs_that_match_no_tag_are_refused(
            text in "[ab.:+^/ -]{0,3}[*?][ab.:+^/ -]{0,3}",
            tags in proptest::collection::vec("[ab_][ab._-]{0,6}", 20),
        ) {
            prop_assume!(!text.starts_with('/') || !text.ends_with('/'), "it is no glob");
            let glob = Glob::new(&text).unwrap().compile_matcher();
            match text.parse::<TagPattern>() {
                Err(error) => {
                    prop_assert!(matches!(error, TagPatternError::NoTag { .. }), "{error}");
                    prop_assert!(!tags.iter().any(|tag| glob.is_match(tag)), "{text} {tags:?}");
                }
                Ok(_) => {
                    let tag = text.replace(['*', '?'], "a");
                    prop_assert!(tag.parse::<Tag>().is_ok() && glob.is_match(&tag), "{text}");
                }
            }
        }

        #[test]
        fn parsing_never_panics_and_round_trips(text in "\\PC{0,20}|/?[a-c*?{},\\[\\]!()|/-]{0,16}/?") {
            if let Ok(pattern) = text.parse::<TagPattern>() {
                prop_assert_eq!(pattern.to_string(), text);
                prop_assert!(TagPatterns::new(vec![pattern]).is_ok());
            }
        }
    }
}
