//! `[[sync]]`: what to copy from where to where, and when.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::ValueEnum;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use semver::VersionReq;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::checker::Checker;
use super::document::Node;
use super::limits::{self, MaxDelete};
use super::patterns;
use super::show::{Writer, inline_table, list, quoted, shown_duration, word};
use super::source::{Source, SourcePattern, SourceRepositories, Target};
use super::text::{self, OneOrMany, Period};
use super::timing::{self, TimingKeys};
use crate::oci::Platform;
use crate::oci::selection::{TagPatterns, TagSelection};
use crate::schedule::{Schedule, Timing};

/// A validated `[[sync]]` rule.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncRule {
    /// Unique among the rules.
    pub name: String,
    /// `None`: the rule runs only on push events and on request.
    pub timing: Option<Timing>,
    pub source: SourcePattern,
    /// Not empty, without duplicates.
    pub targets: Vec<Target>,
    /// For a source with a digest: the tag at the target, if any.
    pub tags: TagSelection,
    /// Empty: all platforms.
    pub platforms: Vec<Platform>,
    pub index: IndexMode,
    /// Whether signatures, SBOMs and attestations are copied.
    pub referrers: bool,
    pub on_conflict: OnConflict,
    /// How long the record in the state that the target has an image is trusted. Zero: never.
    pub recheck: Duration,
    pub foreign_layers: ForeignLayers,
    /// Tags that are not checked again once they are copied.
    pub immutable: Option<TagPatterns>,
    /// Limit for deleting tags at the targets that the source no longer has. `None`: they are kept.
    pub remove_extra: Option<MaxDelete>,
}

/// How to write an index when `platforms` excludes some of its children.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum IndexMode {
    /// Write a smaller index, with a new digest.
    #[default]
    Rewrite,
    /// Write the original index without the other platforms; some registries reject that.
    Sparse,
}

/// What to do if somebody else changed the tag at the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    #[default]
    Overwrite,
    Keep,
    Fail,
}

/// Whether to copy layers that are stored outside the registry.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum ForeignLayers {
    /// Do not copy them.
    #[default]
    Skip,
    /// Copy them.
    Copy,
}

/// The keys of a rule.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Sync")]
pub(super) struct SyncKeys {
    /// Unique name of the rule, used in reports, logs and with `--rule`.
    #[serde(deserialize_with = "text::rule_name")]
    name: String,
    /// When the daemon runs the rule, in cron format: minute, hour, day of month, month, weekday.
    schedule: Option<Schedule>,
    /// Time zone of `schedule`, such as `Europe/Berlin`. Default: UTC.
    #[serde(default, deserialize_with = "text::time_zone")]
    #[schemars(with = "Option<String>")]
    timezone: Option<TimeZone>,
    /// Interval between runs, such as `15m`; instead of `schedule`.
    every: Option<Period>,
    /// Also run the rule when the daemon starts. Default: true with `every`, false with `schedule`.
    run_at_start: Option<bool>,
    /// Delay each run by a random time of at most this long, such as `5m`. Default: `0s`.
    jitter: Option<Period>,
    /// Repository, optionally with `:tag` or `@digest`, or a pattern of repositories.
    source: Source,
    /// Registry and path template, or a list of them.
    #[serde(deserialize_with = "text::one_or_many")]
    #[schemars(with = "OneOrMany")]
    target: Vec<Target>,
    /// Which tags to copy. Default: all.
    #[serde(default, deserialize_with = "tags")]
    #[schemars(with = "Option<TagsOrPatterns>")]
    tags: TagSelection,
    /// Platforms to copy, such as `linux/arm64`. Default: all.
    #[serde(default, deserialize_with = "text::platforms")]
    #[schemars(with = "Vec<String>")]
    platforms: Vec<Platform>,
    /// How to write an index when `platforms` excludes some of its children. Default: `rewrite`.
    #[serde(default)]
    index: IndexMode,
    /// Copy signatures, SBOMs and attestations together with their images. Default: true.
    referrers: Option<bool>,
    /// What to do if somebody else changed the tag at the target. Default: `overwrite`.
    #[serde(default)]
    on_conflict: OnConflict,
    /// Time after which the target is asked again about an unchanged image. Default: `24h`.
    recheck: Option<Period>,
    /// Whether to copy layers that are stored outside the registry, as in Windows images. Default:
    /// `skip`.
    #[serde(default)]
    foreign_layers: ForeignLayers,
    /// Tags that never change. Once copied, they are not checked again.
    #[serde(default, deserialize_with = "text::tag_patterns")]
    #[schemars(with = "Option<Vec<String>>")]
    immutable: Option<TagPatterns>,
    /// Delete tags at the target that the rule copied and that the source no longer has. Default:
    /// false.
    #[serde(default)]
    remove_extra: bool,
    /// Limit for `remove_extra`, per repository and run; beyond it, nothing is deleted. Default:
    /// 200 and 20 percent.
    max_delete: Option<MaxDelete>,
}

/// The keys of a [`TagSelection`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tags {
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
enum TagsOrPatterns {
    Tags(Tags),
    Patterns(OneOrMany),
}

/// The table, or what `include` would have in it.
fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TagSelection, D::Error> {
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

const DEFAULT_RECHECK: Duration = Duration::from_hours(24);

impl SyncKeys {
    pub fn check(self, node: Node<'_>, checker: &mut Checker<'_>) -> SyncRule {
        let timing = TimingKeys {
            schedule: self.schedule,
            timezone: self.timezone,
            every: self.every,
            run_at_start: self.run_at_start,
            jitter: self.jitter,
        };
        let tags = check_tags(self.tags, &self.source, node, checker);
        let mut source = self.source.pattern;
        source.store = source.store.below(&checker.folder);
        let mut targets = self.target;
        for target in &mut targets {
            target.store = target.store.clone().below(&checker.folder);
        }
        check_targets(&targets, &source, node, checker);
        let is_pinned = matches!(source.repositories, SourceRepositories::Pinned { .. });
        if self.remove_extra && is_pinned {
            let message = "`remove_extra` needs a source whose tags can go: a digest has none";
            checker.report(node.span_of("remove_extra"), message);
        } else if node.has("max_delete")
            && !self.remove_extra
            && node.get("remove_extra").is_sound()
        {
            let message = "`max_delete` limits `remove_extra`, which is not set";
            let span = node.span_of("max_delete");
            checker.report_with_hint(span, message, "add remove_extra = true");
        }
        let max_delete = limits::check(self.max_delete, node.get("max_delete"), checker);
        SyncRule {
            name: self.name,
            timing: timing.check(node, checker),
            source,
            targets,
            tags,
            platforms: self.platforms,
            index: self.index,
            referrers: self.referrers.unwrap_or(true),
            on_conflict: self.on_conflict,
            recheck: self.recheck.map_or(DEFAULT_RECHECK, Duration::from),
            foreign_layers: self.foreign_layers,
            immutable: self.immutable,
            remove_extra: self.remove_extra.then_some(max_delete),
        }
    }
}

/// The tags that a rule copies: those of `tags`, unless `source` names one itself.
fn check_tags(
    tags: TagSelection,
    source: &Source,
    rule: Node<'_>,
    checker: &mut Checker<'_>,
) -> TagSelection {
    let node = rule.get("tags");
    for list in [node, node.get("include"), node.get("exclude")] {
        patterns::check(list, checker);
    }
    check_newest(&tags, node, checker);
    let named = match &source.pattern.repositories {
        SourceRepositories::Pinned { tag, .. } => Some(tag.clone()),
        _ => source.tag.clone().map(Some),
    };
    if let Some(tag) = named {
        if node.exists() {
            let message = "`source` says which tag to copy: remove it there, or `tags`";
            checker.report(node.span(), message);
        }
        return TagSelection::literal(tag).unwrap_or_else(|error| {
            checker.report(rule.span_of("source"), error);
            tags
        });
    }
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
    tags
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

/// Refuses targets that would receive two repositories, or the same repository twice.
fn check_targets(
    targets: &[Target],
    source: &SourcePattern,
    rule: Node<'_>,
    checker: &mut Checker<'_>,
) {
    let node = rule.get("target");
    if targets.is_empty() && node.is_usable() {
        checker.report(node.span(), "a rule needs at least one target");
    }
    let mut seen = Vec::new();
    for (target, node) in targets.iter().zip(node.items()) {
        let path = match &source.repositories {
            // Where it goes depends on the source.
            _ if !rule.get("source").is_usable() => target.to_string(),
            SourceRepositories::Matching(pattern) => {
                if !target.template.tells_apart(pattern) {
                    let text = node.as_str().unwrap_or_default();
                    let message = format!(
                        "`{text}` puts different repositories of `{pattern}` into the same one"
                    );
                    let hint = "add {tail}, {repository} or {repository|flatten}";
                    checker.report_with_hint(node.span(), message, hint);
                    continue;
                }
                target.to_string()
            }
            SourceRepositories::One(repository) | SourceRepositories::Pinned { repository, .. } => {
                let address = match target.address(source, repository) {
                    Ok(address) => address,
                    Err(error) => {
                        checker.report(node.span(), error);
                        continue;
                    }
                };
                if address == source.store.address(repository) {
                    checker.report(node.span(), "the target is the source itself");
                }
                address.to_string()
            }
        };
        if seen.contains(&path) {
            checker.report(node.span(), format!("the rule has the target `{path}` twice"));
        }
        seen.push(path);
    }
}

impl SyncRule {
    pub(super) fn show(&self, out: &mut Writer) {
        let Self { name, timing, source, targets, tags, platforms, index, .. } = self;
        let Self {
            referrers, on_conflict, recheck, foreign_layers, immutable, remove_extra, ..
        } = self;
        out.header("[[sync]]");
        out.key("name", quoted(name));
        timing::show(timing.as_ref(), out);
        out.key("source", quoted(source));
        out.key("target", list(targets));
        if !matches!(source.repositories, SourceRepositories::Pinned { .. }) {
            out.optional("tags", shown_tags(tags));
        }
        out.optional("platforms", (!platforms.is_empty()).then(|| list(platforms)));
        out.key("index", word(index));
        out.key("referrers", referrers);
        out.key("on_conflict", word(on_conflict));
        out.key("recheck", shown_duration(*recheck));
        out.key("foreign_layers", word(foreign_layers));
        out.optional("immutable", immutable.as_ref().map(|patterns| list(patterns.entries())));
        out.key("remove_extra", remove_extra.is_some());
        out.optional("max_delete", remove_extra.as_ref());
    }
}

/// `None` if all tags are selected; the key is left out then.
fn shown_tags(tags: &TagSelection) -> Option<String> {
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
