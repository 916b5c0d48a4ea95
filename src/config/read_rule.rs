//! From `[[sync]]` as typed to [`SyncRule`].

use std::ops::Range;
use std::time::Duration;

use serde_spanned::Spanned;

use super::one_or_many::OneOrMany;
use super::policy::MaxDelete;
use super::raw::{RawConflict, RawForeignLayers, RawIndex, RawSync};
use super::raw_cleanup::RawMaxDelete;
use super::read_timing::RawTiming;
use super::reader::Reader;
use super::rule::{
    ForeignLayers, IndexMode, OnConflict, SourcePattern, SourceRepositories, SyncRule, Target,
};
use super::{read_cleanup, read_source, read_timing};
use crate::oci::Platform;
use crate::oci::template::SourceContext;

const DEFAULT_RECHECK: Duration = Duration::from_secs(24 * 60 * 60);

/// A rule with the places of its targets, for problems that show only beside other rules.
pub struct PlacedRule {
    pub rule: SyncRule,
    /// One for each target.
    pub targets: Vec<Range<usize>>,
}

/// The rule, or `None` with at least one problem reported.
pub fn rule(raw: RawSync, reader: &mut Reader<'_>) -> Option<PlacedRule> {
    check_name(&raw.name, reader);
    let timing = read_timing::timing(&RawTiming::from(&raw), reader);
    let source = read_source::source(&raw.source, reader);
    let (targets, places) = targets(raw.target, source.as_ref().map(|(s, _)| s), reader);
    let tags = source.as_ref().and_then(|(source, shorthand)| {
        read_source::tags(raw.tags, source, &raw.source, shorthand.clone(), reader)
    });
    let platforms = raw.platforms.map_or(Some(Vec::new()), |list| platforms(&list, reader));
    let recheck = raw.recheck.map_or(Some(DEFAULT_RECHECK), |text| reader.duration(&text));
    let immutable = reader.optional(raw.immutable, read_source::patterns);
    let source_pattern = source.as_ref().map(|(source, _)| source);
    let remove_extra = remove_extra(raw.remove_extra, raw.max_delete, source_pattern, reader);
    Some(PlacedRule {
        rule: SyncRule {
            name: raw.name.into_inner(),
            timing: timing?,
            source: source?.0,
            targets: targets?,
            tags: tags?,
            platforms: platforms?,
            index: raw.index.map_or(IndexMode::default(), |index| match index {
                RawIndex::Rewrite => IndexMode::Rewrite,
                RawIndex::Sparse => IndexMode::Sparse,
            }),
            referrers: raw.referrers.unwrap_or(true),
            on_conflict: raw.on_conflict.map_or(OnConflict::default(), |conflict| match conflict {
                RawConflict::Overwrite => OnConflict::Overwrite,
                RawConflict::Keep => OnConflict::Keep,
                RawConflict::Fail => OnConflict::Fail,
            }),
            recheck: recheck?,
            foreign_layers: raw.foreign_layers.map_or(ForeignLayers::default(), |l| match l {
                RawForeignLayers::Skip => ForeignLayers::Skip,
                RawForeignLayers::Copy => ForeignLayers::Copy,
            }),
            immutable: immutable?,
            remove_extra: remove_extra?,
        },
        targets: places,
    })
}

/// Whether what is gone at the source goes at the targets, and how much of that at once.
fn remove_extra(
    raw: Option<Spanned<bool>>,
    limits: Option<Spanned<RawMaxDelete>>,
    source: Option<&SourcePattern>,
    reader: &mut Reader<'_>,
) -> Option<Option<MaxDelete>> {
    let Some(span) = raw.filter(|raw| *raw.get_ref()).map(|raw| raw.span()) else {
        if let Some(limits) = limits {
            let message = "`max_delete` limits `remove_extra`, which is not there";
            reader.report_with_hint(limits.span(), message, "add remove_extra = true");
            return None;
        }
        return Some(None);
    };
    if let Some(SourceRepositories::Pinned { .. }) = source.map(|source| &source.repositories) {
        let message = "`remove_extra` needs a source whose tags can go: a digest has none";
        reader.report(span, message);
        return None;
    }
    read_cleanup::max_delete(limits.as_ref(), reader).map(Some)
}

/// Names stand in logs, metrics and on the command line.
pub fn check_name(name: &Spanned<String>, reader: &mut Reader<'_>) {
    let text = name.get_ref();
    if text.trim().is_empty() {
        reader.report(name.span(), "a rule's name must not be empty");
    } else if text.chars().any(char::is_control) || text.chars().count() > 100 {
        reader.report(name.span(), "a rule's name is one line of at most 100 characters");
    }
}

fn platforms(
    list: &Spanned<Vec<Spanned<String>>>,
    reader: &mut Reader<'_>,
) -> Option<Vec<Platform>> {
    if list.get_ref().is_empty() {
        reader.report(list.span(), "an empty list selects no platform: leave the key out for all");
        return None;
    }
    reader.parse_all(list.get_ref())
}

/// All targets and their places; the source is known unless something is wrong with it.
fn targets(
    raw: Spanned<OneOrMany>,
    source: Option<&SourcePattern>,
    reader: &mut Reader<'_>,
) -> (Option<Vec<Target>>, Vec<Range<usize>>) {
    let span = raw.span();
    let texts = OneOrMany::items(raw);
    if texts.is_empty() {
        reader.report(span, "a rule needs at least one target");
        return (None, Vec::new());
    }
    let mut targets: Vec<Target> = Vec::new();
    let mut seen = Vec::new();
    for text in &texts {
        let Some(target) = read_source::target(text, reader) else { continue };
        if let Some(source) = source {
            check_target(text, &target, source, &mut seen, reader);
        }
        targets.push(target);
    }
    let places: Vec<_> = texts.iter().map(Spanned::span).collect();
    ((targets.len() == texts.len()).then_some(targets), places)
}

/// Refuses what would put two repositories into one, or one repository twice into the same.
fn check_target(
    text: &Spanned<String>,
    target: &Target,
    source: &SourcePattern,
    seen: &mut Vec<String>,
    reader: &mut Reader<'_>,
) {
    let path = match &source.repositories {
        SourceRepositories::Matching(pattern) => {
            if !target.template.tells_apart(pattern) {
                let message = format!(
                    "`{}` puts different repositories of `{pattern}` into the same one",
                    text.get_ref()
                );
                let hint = "add {tail}, {repository} or {repository|flatten}";
                reader.report_with_hint(text.span(), message, hint);
                return;
            }
            target.template.as_str().to_owned()
        }
        SourceRepositories::One(repository) | SourceRepositories::Pinned { repository, .. } => {
            let registry = &source.registry;
            let context = SourceContext { registry, repository, prefix: source.literal_prefix() };
            let Some(path) = reader.check(text.span(), target.template.render(&context)) else {
                return;
            };
            if path == *repository && target.registry == *registry {
                reader.report(text.span(), "the target is the source itself");
            }
            path.to_string()
        }
    };
    let path = format!("{}/{path}", target.registry);
    if seen.contains(&path) {
        reader.report(text.span(), format!("the rule has the target `{path}` twice"));
    }
    seen.push(path);
}
