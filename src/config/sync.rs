//! `[[sync]]`: what to copy from where to where, and when.

use std::time::Duration;

use clap::ValueEnum;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::checker::Checker;
use super::document::Node;
use super::limits::{self, MaxDelete};
use super::parts::{self, Part};
use super::show::{Writer, list, quoted, shown_duration, word};
use super::source::{Source, SourcePattern, SourceRepositories, Target};
use super::tags::{self, TagsOrPatterns};
use super::text::{self, OneOrMany, Period};
use super::timing::{self, TimingKeys};
use crate::oci::selection::{TagPatterns, TagSelection};
use crate::oci::{Platform, RegistryHost, Store};
use crate::schedule::{Schedule, Timing};

/// A validated `[[sync]]` rule.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncRule {
    /// Unique among the rules.
    pub name: String,
    /// `None`: the rule runs only on push events and on request.
    pub timing: Option<Timing>,
    pub source: SourcePattern,
    /// The same rule for each further source. They have no others themselves.
    pub others: Vec<SyncRule>,
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
    /// Write the original index, although it names platforms that are not copied; some registries
    /// reject it.
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
    /// Repository, optionally with `:tag` or `@digest`, or a pattern of repositories; or a list of
    /// them.
    #[serde(deserialize_with = "sources")]
    #[schemars(with = "OneOrMany")]
    source: Vec<Source>,
    /// Registry and path template, or a list of them.
    #[serde(deserialize_with = "text::one_or_many")]
    #[schemars(with = "OneOrMany")]
    target: Vec<Target>,
    /// Which tags to copy. Default: all.
    #[serde(default, deserialize_with = "tags::read")]
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

/// One source or a list of at least one.
fn sources<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Source>, D::Error> {
    let sources: Vec<Source> = text::one_or_many(deserializer)?;
    match sources.is_empty() {
        true => Err(D::Error::custom("a rule needs at least one source")),
        false => Ok(sources),
    }
}

const DEFAULT_RECHECK: Duration = Duration::from_hours(24);

impl SyncKeys {
    /// `None`: it has no source that can be used, which was reported.
    pub fn check(self, node: Node<'_>, checker: &mut Checker<'_>) -> Option<SyncRule> {
        let timing = TimingKeys {
            schedule: self.schedule,
            timezone: self.timezone,
            every: self.every,
            run_at_start: self.run_at_start,
            jitter: self.jitter,
        };
        let has_unnamed = self.source.iter().any(|source| !source.names_image());
        tags::check_keys(&self.tags, node.get("tags"), checker);
        if has_unnamed {
            tags::check(&self.tags, node.get("tags"), checker);
        }
        if node.has("tags") && self.source.iter().any(Source::names_image) {
            let message = "`source` says which tag to copy: remove it there, or `tags`";
            checker.report(node.span_of("tags"), message);
        }
        let parts = parts::read(self.source, &self.tags, node, checker);
        let mut targets = self.target;
        for target in &mut targets {
            target.store = target.store.clone().below(&checker.folder);
        }
        let is_pinned =
            |part: &Part| matches!(part.source.repositories, SourceRepositories::Pinned { .. });
        for part in &parts {
            check_targets(&targets, &part.source, node, checker);
        }
        check_archives(&targets, parts.len(), node.get("target"), checker);
        if self.remove_extra && !parts.is_empty() && parts.iter().all(is_pinned) {
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
        let timing = timing.check(node, checker);
        let recheck = self.recheck.map_or(DEFAULT_RECHECK, Duration::from);
        let mut rules = parts.into_iter().map(|part| SyncRule {
            name: self.name.clone(),
            timing: timing.clone(),
            remove_extra: (self.remove_extra && !is_pinned(&part)).then_some(max_delete),
            source: part.source,
            others: Vec::new(),
            targets: targets.clone(),
            tags: part.tags,
            platforms: self.platforms.clone(),
            index: self.index,
            referrers: self.referrers.unwrap_or(true),
            on_conflict: self.on_conflict,
            recheck,
            foreign_layers: self.foreign_layers,
            immutable: self.immutable.clone(),
        });
        let first = rules.next()?;
        Some(SyncRule { others: rules.collect(), ..first })
    }
}

/// Refuses archives as targets of several sources: an archive is written as a whole, by one of them
/// alone.
fn check_archives(targets: &[Target], sources: usize, node: Node<'_>, checker: &mut Checker<'_>) {
    for (target, node) in targets.iter().zip(node.items()) {
        if sources > 1 && matches!(target.store, Store::Archive(_)) {
            let message = "several sources cannot be copied into one archive by one rule";
            let hint = "write a rule for each source, or use a layout: oci:FOLDER";
            checker.report_with_hint(node.span(), message, hint);
        }
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
    /// The rule for each of its sources alone.
    pub fn parts(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others)
    }

    /// The registries of its sources and targets.
    pub fn registries(&self) -> impl Iterator<Item = &RegistryHost> {
        self.parts().flat_map(|part| {
            let targets = part.targets.iter().map(|target| &target.store);
            std::iter::once(&part.source.store).chain(targets).filter_map(Store::registry)
        })
    }

    /// All sources, as they are written in a rule.
    pub fn sources(&self) -> String {
        parts::shown(self).0.join(", ")
    }

    pub(super) fn show(&self, out: &mut Writer) {
        let Self { name, timing, targets, platforms, index, .. } = self;
        let Self {
            referrers, on_conflict, recheck, foreign_layers, immutable, remove_extra, ..
        } = self;
        out.header("[[sync]]");
        out.key("name", quoted(name));
        timing::show(timing.as_ref(), out);
        let (sources, needs_tags) = parts::shown(self);
        match &sources[..] {
            [source] => out.key("source", quoted(source)),
            sources => out.key("source", list(sources)),
        }
        out.key("target", list(targets));
        if needs_tags {
            let unnamed = self.parts().find(|part| part.tags.literals().is_none());
            out.optional("tags", tags::shown(&unnamed.unwrap_or(self).tags));
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
