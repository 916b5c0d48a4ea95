//! `tags` of a `[[sync]]` rule: which tags are copied.

use std::fmt;
use std::num::NonZeroUsize;

use schemars::JsonSchema;
use semver::VersionReq;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::checker::Checker;
use super::document::Node;
use super::patterns;
use super::show::{inline_table, list, quoted};
use super::text::{self, OneOrMany};
use crate::oci::selection::{TagPatterns, TagSelection};

/// The keys of a [`TagSelection`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    /// Tags to copy: names, globs or `/regular expressions/`. Default: all tags.
    #[serde(default, deserialize_with = "text::tag_patterns")]
    #[schemars(with = "Option<Vec<String>>")]
    include: Option<TagPatterns>,
    /// Tags not to copy: names, globs or `/regular expressions/`. Takes precedence over everything
    /// else.
    #[serde(default, deserialize_with = "text::any_tag_patterns")]
    #[schemars(with = "Vec<String>")]
    exclude: TagPatterns,
    /// Of the tags that match a glob or regular expression, copy only versions in this range, such
    /// as `>=1.2, <3`.
    #[serde(default, deserialize_with = "text::version_range")]
    #[schemars(with = "Option<String>")]
    semver: Option<VersionReq>,
    /// Of the tags that match a glob or regular expression, copy only this many of the highest
    /// versions.
    newest: Option<NonZeroUsize>,
    /// Pre-releases and variants such as `1.25-alpine` are versions like others for `semver` and
    /// `newest`. Default: false, only releases are, and pre-releases that `semver` names.
    prereleases: Option<bool>,
    /// Older word for `newest`, which counts pre-releases too unless `semver` is set.
    #[schemars(extend("deprecated" = true))]
    latest: Option<NonZeroUsize>,
}

impl Tags {
    fn selection(self) -> TagSelection {
        let Self { include, exclude, semver, newest, prereleases, latest } = self;
        let counts_all = latest.is_some() && semver.is_none();
        let prereleases = prereleases.unwrap_or(counts_all);
        TagSelection { include, exclude, semver, newest: newest.or(latest), prereleases }
    }
}

/// What the schema says of `tags`.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "nothing but its schema is used")]
pub enum TagsOrPatterns {
    Tags(Box<Tags>),
    Patterns(OneOrMany),
}

/// The table, or what `include` would have in it.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TagSelection, D::Error> {
    struct Either;
    impl<'de> Visitor<'de> for Either {
        type Value = TagSelection;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table, or a list of tags")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<TagSelection, E> {
            let pattern = text.parse().map_err(E::custom)?;
            let include = Some(TagPatterns::new(vec![pattern]).map_err(E::custom)?);
            Ok(TagSelection { include, ..TagSelection::default() })
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<TagSelection, A::Error> {
            let include = text::tag_patterns(SeqAccessDeserializer::new(seq))?;
            Ok(TagSelection { include, ..TagSelection::default() })
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TagSelection, A::Error> {
            Tags::deserialize(MapAccessDeserializer::new(map)).map(Tags::selection)
        }
    }
    deserializer.deserialize_any(Either)
}

/// Checks the selection of a rule, whose source leaves it to `tags`. `node` is that of `tags`.
pub fn check(tags: &TagSelection, node: Node<'_>, checker: &mut Checker<'_>) {
    let narrowing = ["semver", "newest", "latest"].into_iter().find(|key| node.has(key));
    match (tags.literals().filter(|_| node.is_sound()), narrowing) {
        (Some(_), Some(key)) => {
            let message =
                format!("`{key}` has nothing to narrow: `include` holds only literal tags");
            let hint = "add a pattern, such as \"*\", to `include`";
            checker.report_with_hint(node.span_of(key), message, hint);
        }
        (Some(literals), None) if literals.is_empty() => {
            let message = "these tags select nothing: `exclude` wins over `include`";
            checker.report(node.span(), message);
        }
        _ => {}
    }
}

/// Checks the keys of a selection, whatever it is for.
pub fn check_keys(tags: &TagSelection, node: Node<'_>, checker: &mut Checker<'_>) {
    for list in [node, node.get("include"), node.get("exclude")] {
        patterns::check(list, checker);
    }
    check_newest(tags, node, checker);
}

/// `newest`, `prereleases` and the older `latest` together.
fn check_newest(tags: &TagSelection, node: Node<'_>, checker: &mut Checker<'_>) {
    let latest = node.get("latest");
    let keys = ["semver", "newest", "latest"];
    if node.has("prereleases") && !keys.iter().any(|key| node.has(key)) {
        let message = "`prereleases` belongs to `newest` or `semver`, and there is neither";
        checker.report(node.span_of("prereleases"), message);
    }
    if latest.exists() && node.has("newest") {
        let message = "`latest` is an older word for `newest`: leave it out";
        checker.report(latest.span(), message);
    } else if let Some(count) = tags.newest.filter(|_| latest.is_usable()) {
        let message = "`latest` is an older word for `newest`, which counts only releases";
        let hint = match node.has("semver") || node.has("prereleases") {
            true => format!("write newest = {count}: it means the same here"),
            false => format!(
                "write newest = {count}; to count pre-releases as before, add prereleases = true"
            ),
        };
        checker.warn(latest.span(), message, &hint);
    }
    if node.is_sound() && tags.needs_prereleases() {
        let message = "these tags select nothing: whatever matches counts as a pre-release";
        let hint = "variants such as `1.25-alpine` do too; add prereleases = true";
        checker.warn(node.span(), message, hint);
    }
}

/// `None` if all tags are selected; the key is left out then.
pub fn shown(tags: &TagSelection) -> Option<String> {
    let TagSelection { include, exclude, semver, newest, prereleases } = tags;
    let include =
        include.as_ref().map(|patterns| format!("include = {}", list(patterns.entries())));
    let excludes = !exclude.entries().is_empty();
    let exclude = excludes.then(|| format!("exclude = {}", list(exclude.entries())));
    let semver = semver.as_ref().map(|range| format!("semver = {}", quoted(range)));
    let newest = newest.map(|n| format!("newest = {n}"));
    let prereleases = prereleases.then(|| "prereleases = true".to_owned());
    let parts: Vec<_> =
        [include, exclude, semver, newest, prereleases].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| inline_table(parts))
}
