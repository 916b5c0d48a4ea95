//! What a `[[cleanup]]` rule keeps and deletes: its selectors, limits and clocks, validated.
//!
//! `cleanup` turns a policy and a snapshot of a repository into a plan.

use std::num::NonZeroU32;
use std::time::Duration;

use semver::VersionReq;

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
    /// Where the registry cannot take one tag away, the tag is moved to something of no use, which
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

/// What a delete rule is about.
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

/// Why a text says no grouping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PerError {
    #[error("`{0}` is no grouping: expected `major`, `minor` or a `/regular expression/`")]
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

/// Who says how old a manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

    /// As it stands in a rule.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pushed => "pushed",
            Self::FirstSeen => "first_seen",
            Self::Created => "created",
        }
    }
}

/// The most that one run may delete in one repository; tags and manifests each on their own. A
/// plan that exceeds it deletes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MaxDelete {
    pub count: Option<u32>,
    /// Of all tags, and of all manifests, rounded down; at most 100.
    pub percent: Option<u8>,
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
