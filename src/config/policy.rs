//! What a `[[cleanup]]` rule keeps and deletes: its selectors, limits and clocks, validated.
//!
//! `cleanup` turns a policy and a snapshot of a repository into a plan.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use semver::VersionReq;
use serde::Deserialize;

use super::checker::Checker;
use super::document::Node;
pub use super::limits::MaxDelete;
use super::patterns;
use super::show::{Writer, list, quoted, shown_duration};
use super::text::{self, Period};
use crate::oci::Tag;
use crate::oci::selection::TagPatterns;
use crate::oci::version;

/// Which images stay and which go. Any keep rule wins; what no delete rule selects stays.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Ids are unique among keep and delete rules together; the order means nothing.
    pub keep: Vec<KeepRule>,
    /// At least one.
    pub delete: Vec<DeleteRule>,
    /// Where the age of a manifest comes from: the first of these that says anything. Not empty,
    /// no two the same.
    pub clock: Vec<ClockSource>,
    /// Whatever is younger, or of unknown age, is not touched. Zero: no such protection.
    pub grace: Duration,
    pub max_delete: MaxDelete,
    /// Where the registry cannot take one tag away, the tag is moved to a placeholder, which
    /// is deleted with it.
    pub untag_by_overwriting: bool,
}

/// Tags that stay.
#[derive(Debug, Clone, PartialEq)]
pub struct KeepRule {
    pub id: String,
    pub selector: TagSelector,
    /// Only the newest images of each group.
    pub newest: Option<NonZeroU32>,
}

/// Tags or manifests that go. All conditions of a rule must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteRule {
    pub id: String,
    pub what: Doomed,
    /// Only what has a known age of at least this.
    pub older_than: Option<Duration>,
}

/// What a delete rule selects.
#[derive(Debug, Clone, PartialEq)]
pub enum Doomed {
    Tags {
        selector: Box<TagSelector>,
        /// Only what is not among the newest images of its group.
        beyond_newest: Option<NonZeroU32>,
    },
    /// Manifests without a tag that belong to nothing: no index lists them, they have no subject.
    Untagged,
    /// Referrers, and tags that belong to a digest, whose subject is gone.
    Orphans,
}

/// Tags by their names. All conditions must hold; at least one of the first two is there.
#[derive(Debug, Clone, PartialEq)]
pub struct TagSelector {
    pub tags: Option<TagPatterns>,
    pub semver: Option<VersionReq>,
    /// What `newest` and `beyond_newest` count within. `None`: everything selected.
    pub per: Option<Per>,
}

/// How tags fall into groups. Tags that cannot be grouped are not selected.
#[derive(Debug, Clone)]
pub enum Per {
    /// By major version.
    Major,
    /// By major and minor version.
    Minor,
    /// By what the one group of this regular expression captures; it matches whole tags.
    Capture { expression: String, regex: regex::bytes::Regex },
}

impl PartialEq for Per {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Major, Self::Major) | (Self::Minor, Self::Minor) => true,
            (Self::Capture { expression: a, .. }, Self::Capture { expression: b, .. }) => a == b,
            _ => false,
        }
    }
}

/// Why a text is not a grouping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PerError {
    #[error("`{0}` is not a grouping: expected `major`, `minor` or a `/regular expression/`")]
    Unknown(String),
    #[error(
        "`{0}` must have exactly one group in parentheses: images are grouped by what it holds"
    )]
    Groups(String),
    #[error("`{pattern}` is not a regular expression: {reason}")]
    Regex { pattern: String, reason: String },
}

impl std::str::FromStr for Per {
    type Err = PerError;

    fn from_str(text: &str) -> Result<Self, PerError> {
        match text {
            "major" => return Ok(Self::Major),
            "minor" => return Ok(Self::Minor),
            _ => {}
        }
        let inside = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        let expression = inside.ok_or_else(|| PerError::Unknown(text.to_owned()))?;
        let build = |expression: &str| {
            let built = regex::bytes::RegexBuilder::new(expression).unicode(false).build();
            built.map_err(|e| {
                let message = e.to_string();
                let reason = message.lines().last().unwrap_or_default().trim().to_owned();
                PerError::Regex { pattern: text.to_owned(), reason }
            })
        };
        // First as typed: `a)|(b` is only well formed between the anchor's parentheses.
        build(expression)?;
        let regex = build(&format!("^(?:{expression})$"))?;
        // The whole match counts as one.
        if regex.captures_len() != 2 {
            return Err(PerError::Groups(text.to_owned()));
        }
        Ok(Self::Capture { expression: expression.to_owned(), regex })
    }
}

impl std::fmt::Display for Per {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Major => f.write_str("major"),
            Self::Minor => f.write_str("minor"),
            Self::Capture { expression, .. } => write!(f, "/{expression}/"),
        }
    }
}

text::text_values!(Per);

/// Where the age of a manifest comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClockSource {
    /// The registry: when it was pushed.
    Pushed,
    /// tranship's own state: when it was seen first.
    FirstSeen,
    /// The image's configuration. Reproducible builds write 1970 there.
    Created,
}

impl ClockSource {
    pub const ALL: [Self; 3] = [Self::Pushed, Self::FirstSeen, Self::Created];

    /// As written in a rule.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pushed => "pushed",
            Self::FirstSeen => "first_seen",
            Self::Created => "created",
        }
    }
}

impl TagSelector {
    /// Whether it selects every tag there can be: tags that have nothing in common but what every
    /// pattern of everything matches.
    pub fn is_everything(&self) -> bool {
        let odd = ["latest", "1.2.3", "Z_9", "0-x.y"];
        self.semver.is_none()
            && odd.iter().all(|tag| tag.parse::<Tag>().is_ok_and(|tag| self.matches(&tag)))
    }

    /// Whether it cannot select any tag: it names tags, and none of them is such a version.
    pub fn is_nothing(&self) -> bool {
        let (Some(tags), Some(_)) = (&self.tags, &self.semver) else { return false };
        tags.only_literals() && !tags.literals().any(|tag| self.matches(tag))
    }

    /// Whether the tag's name is selected; its group is not asked about.
    pub fn matches(&self, tag: &Tag) -> bool {
        self.tags.as_ref().is_none_or(|tags| tags.matches(tag))
            && self
                .semver
                .as_ref()
                .is_none_or(|range| version::parse(tag).is_some_and(|v| range.matches(&v)))
    }
}

impl TagSelector {
    /// Whether it selects a tag: its name matches, and it belongs to a group.
    pub fn selects(&self, tag: &Tag) -> bool {
        self.matches(tag)
            && match &self.per {
                None => true,
                Some(Per::Major | Per::Minor) => version::parse(tag).is_some(),
                Some(Per::Capture { regex, .. }) => regex
                    .captures(tag.as_str().as_bytes())
                    .is_some_and(|captured| captured.get(1).is_some()),
            }
    }
}

/// The keys of a line of `keep`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Keep")]
pub(super) struct KeepKeys {
    /// Name of this line in plans; unique among `keep` and `delete`.
    #[serde(deserialize_with = "text::line_id")]
    id: String,
    /// Tags to select: names, globs or `/regular expressions/`.
    #[serde(default, deserialize_with = "text::tag_patterns")]
    #[schemars(with = "Option<Vec<String>>")]
    tags: Option<TagPatterns>,
    /// Select only versions in this range, such as `>=1.2, <3`.
    #[serde(default, deserialize_with = "text::version_range")]
    #[schemars(with = "Option<String>")]
    semver: Option<VersionReq>,
    /// Keep only this many of the newest selected images. Default: all.
    newest: Option<NonZeroU32>,
    /// Count `newest` separately for each `major` or `minor` version, or for each text captured by
    /// a `/regular expression/`.
    per: Option<Per>,
}

/// The keys of a line of `delete`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Delete")]
pub(super) struct DeleteKeys {
    /// Name of this line in plans; unique among `keep` and `delete`.
    #[serde(deserialize_with = "text::line_id")]
    id: String,
    /// Tags to select: names, globs or `/regular expressions/`.
    #[serde(default, deserialize_with = "text::tag_patterns")]
    #[schemars(with = "Option<Vec<String>>")]
    tags: Option<TagPatterns>,
    /// Select only versions in this range, such as `<1`.
    #[serde(default, deserialize_with = "text::version_range")]
    #[schemars(with = "Option<String>")]
    semver: Option<VersionReq>,
    /// Select only what is at least this old, such as `30d`.
    older_than: Option<Period>,
    /// Do not select this many of the newest images.
    beyond_newest: Option<NonZeroU32>,
    /// Count `beyond_newest` separately for each `major` or `minor` version, or for each text
    /// captured by a `/regular expression/`.
    per: Option<Per>,
    /// `true`: select manifests without a tag that belong to nothing. Works in layouts only.
    untagged: Option<bool>,
    /// `true`: select referrers, such as signatures, whose image no longer exists.
    orphans: Option<bool>,
}

/// The ids of the lines of a rule, with their places in the file.
#[derive(Default)]
pub(super) struct LineIds(HashMap<String, usize>);

impl LineIds {
    fn add(&mut self, id: &str, node: Node<'_>, checker: &mut Checker<'_>) {
        if !node.get("id").is_usable() {
            return;
        }
        let span = node.span_of("id");
        if let Some(first) = self.0.insert(id.to_owned(), span.start) {
            let line = checker.line(first, span.start);
            checker.report(span, format!("duplicate id `{id}`: {line} has it already"));
        }
    }
}

impl KeepKeys {
    pub fn check(self, ids: &mut LineIds, node: Node<'_>, checker: &mut Checker<'_>) -> KeepRule {
        ids.add(&self.id, node, checker);
        let line = self.build();
        line.selector.check(&line.id, "newest", node, checker);
        line
    }

    /// The line, as far as each key can be taken by itself.
    pub fn build(self) -> KeepRule {
        let selector = TagSelector { tags: self.tags, semver: self.semver, per: self.per };
        KeepRule { id: self.id, selector, newest: self.newest }
    }
}

impl DeleteKeys {
    /// What deletes more than its author can have meant is reported. `keeps_nothing`: the rule has
    /// no line in `keep`.
    pub fn check(
        self,
        keeps_nothing: bool,
        ids: &mut LineIds,
        node: Node<'_>,
        checker: &mut Checker<'_>,
    ) -> DeleteRule {
        ids.add(&self.id, node, checker);
        let (mut is_first, mut alone) = (true, true);
        for (key, value) in [("untagged", self.untagged), ("orphans", self.orphans)] {
            let Some(value) = value else { continue };
            let about_tags = ["tags", "semver", "per", "beyond_newest"];
            alone &= is_first && !about_tags.iter().any(|key| node.has(key));
            if !value {
                checker.report(node.span_of(key), format!("`{key}` is true or left out"));
            } else if !alone {
                let message =
                    format!("`{key}` stands alone or with `older_than`: it is not about tags");
                let hint = "write a line of its own for it";
                checker.report_with_hint(node.span_of(key), message, hint);
            }
            is_first = false;
        }
        let line = self.build();
        if let Doomed::Tags { selector, .. } = &line.what {
            let selects = selector.check(&line.id, "beyond_newest", node, checker);
            let counts = node.has("beyond_newest");
            if selects && keeps_nothing && !counts && selector.is_everything() {
                let message = "this deletes every tag in time, and the rule keeps none";
                let hint = "say in `keep` what stays, or add `beyond_newest`";
                checker.report_with_hint(node.span_of("tags"), message, hint);
            }
        }
        line
    }

    /// The line, as far as each key can be taken by itself.
    pub fn build(self) -> DeleteRule {
        let what = match (self.untagged, self.orphans) {
            (_, Some(_)) => Doomed::Orphans,
            (Some(_), None) => Doomed::Untagged,
            (None, None) => {
                let selector = TagSelector { tags: self.tags, semver: self.semver, per: self.per };
                let beyond_newest = self.beyond_newest;
                Doomed::Tags { selector: Box::new(selector), beyond_newest }
            }
        };
        DeleteRule { id: self.id, what, older_than: self.older_than.map(Duration::from) }
    }
}

impl TagSelector {
    /// Whether it is certain what is selected. `count` is the key that `per` belongs to.
    fn check(&self, id: &str, count: &str, node: Node<'_>, checker: &mut Checker<'_>) -> bool {
        patterns::check(node.get("tags"), checker);
        let is_sound = ["tags", "semver"].iter().all(|key| node.get(key).is_sound());
        if !node.has("tags") && !node.has("semver") {
            let message = format!("`{id}` selects nothing: it has neither `tags` nor `semver`");
            let hint = "for all tags write tags = [\"*\"]";
            let id = node.get("id");
            let span = if id.exists() { id.span() } else { node.span() };
            checker.report_with_hint(span, message, hint);
            return false;
        }
        if node.has("per") && !node.has(count) {
            let message = format!("`per` belongs to `{count}`, and there is none");
            checker.report(node.span_of("per"), message);
        }
        if is_sound && self.is_nothing() {
            let message =
                "none of the tags named beside it is such a version, so nothing is selected";
            checker.report(node.span_of("semver"), message);
        }
        is_sound
    }

    fn show(&self, out: &mut Writer) {
        out.optional("tags", self.tags.as_ref().map(|patterns| list(patterns.entries())));
        out.optional("semver", self.semver.as_ref().map(quoted));
        out.optional("per", self.per.as_ref().map(quoted));
    }
}

impl KeepRule {
    pub(super) fn show(&self, out: &mut Writer) {
        out.header("[[cleanup.keep]]");
        out.key("id", quoted(&self.id));
        self.selector.show(out);
        out.optional("newest", self.newest);
    }
}

impl DeleteRule {
    pub(super) fn show(&self, out: &mut Writer) {
        out.header("[[cleanup.delete]]");
        out.key("id", quoted(&self.id));
        match &self.what {
            Doomed::Tags { selector, beyond_newest } => {
                selector.show(out);
                out.optional("beyond_newest", *beyond_newest);
            }
            Doomed::Untagged => out.key("untagged", true),
            Doomed::Orphans => out.key("orphans", true),
        }
        out.optional("older_than", self.older_than.map(shown_duration));
    }
}
