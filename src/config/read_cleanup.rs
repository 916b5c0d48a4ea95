//! From `[[cleanup]]` as typed to [`CleanupRule`]. What deletes more than its author can have
//! meant is an error here, not a surprise at night.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde_spanned::Spanned;

use super::cleanup::{
    CleanupRule, ExcludedPath, Exclusion, Included, Mode, Quarantine, QuarantinePlace, Repositories,
};
use super::layout_pattern::{LayoutPattern, LayoutPatternError};
use super::policy::{
    ClockSource, DeleteRule, Doomed, KeepRule, MaxDelete, Per, Policy, TagSelector,
};
use super::raw_cleanup::{
    RawCleanup, RawClock, RawDelete, RawKeep, RawMaxDelete, RawMode, RawQuarantine, RawUntag,
};
use super::read_timing::{self, RawTiming};
use super::reader::Reader;
use super::rule::{SourcePattern, SourceRepositories};
use super::{read_in_use, read_rule, read_source};
use crate::oci::pattern::RepositoryPattern;
use crate::oci::reference::split_host;

const DEFAULT_GRACE: Duration = Duration::from_secs(48 * 60 * 60);
const DEFAULT_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const IMAGE_HINT: &str = "say what goes in `delete`";
const DEFAULT_MAX_DELETE: MaxDelete = MaxDelete { count: Some(200), percent: Some(20) };

/// The rule, or `None` with at least one problem reported. `sources` are the names of `[in_use]`.
pub fn rule(raw: RawCleanup, sources: &[String], reader: &mut Reader<'_>) -> Option<CleanupRule> {
    read_rule::check_name(&raw.name, reader);
    let timing = read_timing::timing(&RawTiming::from(&raw), reader);
    let mode = raw.mode.map_or(Mode::default(), |mode| match mode {
        RawMode::Plan => Mode::Plan,
        RawMode::Apply => Mode::Apply,
    });
    let repositories = repositories(&raw.repositories, mode, reader);
    let quarantine = reader.optional(raw.quarantine.as_ref(), quarantine);
    let in_use = raw.in_use.as_ref();
    let in_use = reader.optional(in_use, |names, r| read_in_use::names(names, sources, r));
    let policy = policy(raw, reader);
    Some(CleanupRule {
        name: policy.as_ref().map(|(name, _)| name.clone())?,
        timing: timing?,
        repositories: repositories?,
        in_use: in_use?.unwrap_or_default(),
        policy: policy?.1,
        mode,
        quarantine: quarantine?,
    })
}

fn quarantine(raw: &RawQuarantine, reader: &mut Reader<'_>) -> Option<Quarantine> {
    let ttl = raw.ttl.as_ref().map_or(Some(DEFAULT_TTL), |text| reader.duration(text));
    if let (Some(Duration::ZERO), Some(text)) = (ttl, &raw.ttl) {
        reader.report(text.span(), "what is kept for no time cannot be brought back");
    }
    let to = match raw.to.get_ref().strip_prefix("oci:") {
        Some("") => {
            reader.report(raw.to.span(), "`oci:` needs a folder");
            None
        }
        Some(folder) => Some(QuarantinePlace::Folder(reader.folder.join(folder))),
        None => quarantine_target(&raw.to, reader),
    };
    Some(Quarantine { to: to?, ttl: ttl? })
}

/// Two repositories must not share one: what expires of one would be looked for in the other.
fn quarantine_target(text: &Spanned<String>, reader: &mut Reader<'_>) -> Option<QuarantinePlace> {
    let target = read_source::target(text, reader)?;
    if target.template.is_constant() {
        let message = format!("`{}` puts every repository into the same one", text.get_ref());
        reader.report_with_hint(text.span(), message, "add {repository} or {repository|flatten}");
        return None;
    }
    Some(QuarantinePlace::Registry(target))
}

/// The policy, with the name of the rule.
fn policy(raw: RawCleanup, reader: &mut Reader<'_>) -> Option<(String, Policy)> {
    let mut ids = HashMap::new();
    let keep: Vec<_> = raw.keep.iter().map(|raw| keep(raw, &mut ids, reader)).collect();
    let delete_span = raw.delete.span();
    let delete = raw.delete.into_inner();
    if delete.is_empty() {
        reader.report(delete_span, "without a line in `delete` the rule deletes nothing");
    }
    let unguarded = raw.keep.is_empty();
    let deletes: Vec<_> =
        delete.iter().map(|raw| delete_line(raw, unguarded, &mut ids, reader)).collect();
    let clock = match &raw.clock {
        None => Some(vec![ClockSource::Pushed, ClockSource::FirstSeen]),
        Some(clock) => clocks(clock, reader),
    };
    let grace = raw.grace.map_or(Some(DEFAULT_GRACE), |text| reader.duration(&text));
    let max_delete = max_delete(raw.max_delete.as_ref(), reader);
    let policy = Policy {
        keep: keep.into_iter().collect::<Option<_>>()?,
        delete: deletes.into_iter().collect::<Option<_>>()?,
        clock: clock?,
        grace: grace?,
        max_delete: max_delete?,
        untag_by_overwriting: raw.untag == Some(RawUntag::Overwrite),
    };
    (!delete.is_empty()).then(|| (raw.name.into_inner(), policy))
}

fn keep(
    raw: &RawKeep,
    ids: &mut HashMap<String, usize>,
    reader: &mut Reader<'_>,
) -> Option<KeepRule> {
    check_id(&raw.id, ids, reader);
    let names = Names { id: &raw.id, tags: &raw.tags, semver: &raw.semver, per: &raw.per };
    let selector = selector(names, ("newest", raw.newest), reader);
    Some(KeepRule { id: raw.id.get_ref().clone(), selector: selector?, newest: raw.newest })
}

/// `unguarded`: the policy keeps nothing by itself.
fn delete_line(
    raw: &RawDelete,
    unguarded: bool,
    ids: &mut HashMap<String, usize>,
    reader: &mut Reader<'_>,
) -> Option<DeleteRule> {
    check_id(&raw.id, ids, reader);
    let older_than = reader.optional(raw.older_than.as_ref(), |text, reader| reader.duration(text));
    let loose =
        [("untagged", &raw.untagged, Doomed::Untagged), ("orphans", &raw.orphans, Doomed::Orphans)];
    let mut chosen = None;
    for (key, value, what) in loose {
        let Some(value) = value else { continue };
        if !value.get_ref() {
            reader.report(value.span(), format!("`{key}` is true or left out"));
            return None;
        }
        let alone = raw.tags.is_none()
            && raw.semver.is_none()
            && raw.per.is_none()
            && raw.beyond_newest.is_none()
            && chosen.is_none();
        if !alone {
            let message =
                format!("`{key}` stands alone or with `older_than`: it is not about tags");
            reader.report_with_hint(value.span(), message, "write a line of its own for it");
            return None;
        }
        chosen = Some(what);
    }
    let what = match chosen {
        Some(what) => what,
        None => {
            let names = Names { id: &raw.id, tags: &raw.tags, semver: &raw.semver, per: &raw.per };
            let selector = selector(names, ("beyond_newest", raw.beyond_newest), reader)?;
            if unguarded && raw.beyond_newest.is_none() && selector.is_everything() {
                let span = raw.tags.as_ref().map_or(raw.id.span(), Spanned::span);
                let message = "this deletes every tag in time, and the rule keeps none";
                let hint = "say in `keep` what stays, or add `beyond_newest`";
                reader.report_with_hint(span, message, hint);
                return None;
            }
            Doomed::Tags { selector: Box::new(selector), beyond_newest: raw.beyond_newest }
        }
    };
    Some(DeleteRule { id: raw.id.get_ref().clone(), what, older_than: older_than? })
}

fn check_id(id: &Spanned<String>, ids: &mut HashMap<String, usize>, reader: &mut Reader<'_>) {
    let text = id.get_ref();
    if text.trim().is_empty() || text.chars().any(char::is_control) || text.chars().count() > 100 {
        reader.report(id.span(), "an id is one line of 1 to 100 characters");
    }
    let line = reader.line(id.span().start);
    if let Some(first) = ids.insert(text.clone(), line) {
        let message = format!("duplicate id `{text}`: line {first} has it already");
        reader.report(id.span(), message);
    }
}

/// What a line selects tags by.
struct Names<'a> {
    id: &'a Spanned<String>,
    tags: &'a Option<Spanned<Vec<Spanned<String>>>>,
    semver: &'a Option<Spanned<String>>,
    per: &'a Option<Spanned<String>>,
}

/// `count` is the key that `per` belongs to, and its value.
fn selector(
    names: Names<'_>,
    count: (&str, Option<NonZeroU32>),
    reader: &mut Reader<'_>,
) -> Option<TagSelector> {
    let tags = reader.optional(names.tags.clone(), read_source::patterns);
    let semver = reader.optional(names.semver.as_ref(), read_source::range);
    let per: Option<Option<Per>> = reader.optional(names.per.as_ref(), |per, r| r.parse(per));
    if names.tags.is_none() && names.semver.is_none() {
        let message =
            format!("`{}` selects nothing: it has neither `tags` nor `semver`", names.id.get_ref());
        reader.report_with_hint(names.id.span(), message, "for all tags write tags = [\"*\"]");
        return None;
    }
    if let (Some(per), (key, None)) = (names.per, count) {
        let message = format!("`per` belongs to `{key}`, and there is none");
        reader.report(per.span(), message);
    }
    let selector = TagSelector { tags: tags?, semver: semver?, per: per? };
    if let (true, Some(semver)) = (selector.is_nothing(), names.semver) {
        let message = "none of the tags named beside it is such a version, so nothing is selected";
        reader.report(semver.span(), message);
        return None;
    }
    Some(selector)
}

fn clocks(raw: &Spanned<Vec<RawClock>>, reader: &mut Reader<'_>) -> Option<Vec<ClockSource>> {
    let list = raw.get_ref();
    if list.is_empty() {
        reader.report(raw.span(), "an empty list tells no age: leave the key out or name a clock");
        return None;
    }
    if list.iter().enumerate().any(|(at, clock)| list[..at].contains(clock)) {
        reader.report(raw.span(), "a clock stands here twice");
        return None;
    }
    let clock = |clock: &RawClock| match clock {
        RawClock::Pushed => ClockSource::Pushed,
        RawClock::FirstSeen => ClockSource::FirstSeen,
        RawClock::Created => ClockSource::Created,
    };
    Some(list.iter().map(clock).collect())
}

/// Limits, or the default where none are given.
pub fn max_delete(
    raw: Option<&Spanned<RawMaxDelete>>,
    reader: &mut Reader<'_>,
) -> Option<MaxDelete> {
    let Some(raw) = raw else { return Some(DEFAULT_MAX_DELETE) };
    let RawMaxDelete { count, percent } = raw.get_ref();
    if count.is_none() && percent.is_none() {
        let message = "an empty table limits nothing";
        let hint = "write count = 200 or percent = 20, or leave it out for both";
        reader.report_with_hint(raw.span(), message, hint);
        return None;
    }
    if let Some(percent) = percent
        && *percent.get_ref() > 100
    {
        reader.report(percent.span(), "there are no more than 100 percent");
    }
    Some(MaxDelete {
        // One limit does not take the other away.
        count: count.or(DEFAULT_MAX_DELETE.count),
        percent: percent.as_ref().map(|p| *p.get_ref()).or(DEFAULT_MAX_DELETE.percent),
    })
}

fn repositories(
    raw: &Spanned<Vec<Spanned<String>>>,
    mode: Mode,
    reader: &mut Reader<'_>,
) -> Option<Repositories> {
    let mut repositories = Repositories { included: Vec::new(), excluded: Vec::new() };
    let mut complete = true;
    for text in raw.get_ref() {
        if let Some(excluded) = text.get_ref().strip_prefix('!') {
            match exclusion(text, excluded, reader) {
                Some(exclusion) => repositories.excluded.push(exclusion),
                None => complete = false,
            }
            continue;
        }
        match included(text, reader) {
            Some(included) => {
                repositories.included.push(included);
            }
            None => complete = false,
        }
    }
    if complete && repositories.included.is_empty() {
        reader.report(raw.span(), "no repository is named here");
        return None;
    }
    if mode == Mode::Apply && repositories.is_sweeping() {
        let message = "with `mode = \"apply\"` this deletes in every repository of the registry";
        let hint = "name the part of it that is meant, or leave some out with `!`";
        reader.report_with_hint(raw.span(), message, hint);
        return None;
    }
    complete.then_some(repositories)
}

fn included(text: &Spanned<String>, reader: &mut Reader<'_>) -> Option<Included> {
    if let Some(pattern) = layouts(text, text.get_ref(), reader) {
        return pattern.map(Included::Layouts);
    }
    match read_source::source(text, reader)? {
        (pattern, None) if !is_pinned(&pattern) => Some(Included::Registry(pattern)),
        _ => {
            let error = LayoutPatternError::Image(text.get_ref().clone());
            reader.report_with_hint(text.span(), error, IMAGE_HINT);
            None
        }
    }
}

/// Layouts, if the text is about such: `Some(None)` if it is and a problem was reported.
fn layouts(
    text: &Spanned<String>,
    pattern: &str,
    reader: &mut Reader<'_>,
) -> Option<Option<LayoutPattern>> {
    if pattern.starts_with("oci-archive:") {
        let message = "an archive is only replaced as a whole: nothing can be deleted from it";
        reader.report(text.span(), message);
        return Some(None);
    }
    let read = LayoutPattern::read(pattern, &reader.folder)?;
    if let Err(LayoutPatternError::Image(_)) = &read {
        let error = LayoutPatternError::Image(text.get_ref().clone());
        reader.report_with_hint(text.span(), error, IMAGE_HINT);
        return Some(None);
    }
    Some(reader.check(text.span(), read))
}

fn is_pinned(pattern: &SourcePattern) -> bool {
    matches!(pattern.repositories, SourceRepositories::Pinned { .. })
}

fn exclusion(text: &Spanned<String>, excluded: &str, reader: &mut Reader<'_>) -> Option<Exclusion> {
    if let Some(pattern) = layouts(text, excluded, reader) {
        return pattern.map(Exclusion::Layouts);
    }
    let (host, path) = split_host(excluded);
    if host.is_some_and(RepositoryPattern::is_pattern) {
        let message = format!("the host in `{excluded}` cannot be a pattern");
        let hint = "leave the host out to mean every registry and layout, as in !**/base-*";
        reader.report_with_hint(text.span(), message, hint);
        return None;
    }
    let registry = reader.optional(host, |host, reader| reader.check(text.span(), host.parse()));
    let path = match RepositoryPattern::is_pattern(path) {
        true => reader.check(text.span(), path.parse()).map(ExcludedPath::Matching),
        false => reader.check(text.span(), path.parse()).map(ExcludedPath::One),
    };
    Some(match registry? {
        Some(registry) => Exclusion::Registry(registry, path?),
        None => Exclusion::Everywhere(path?),
    })
}
