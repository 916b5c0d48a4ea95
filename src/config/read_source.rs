//! From `source`, `tags` and `target` as typed to what they mean together.

use semver::VersionReq;
use serde_spanned::Spanned;

use super::raw::RawTags;
use super::reader::Reader;
use super::rule::{SourcePattern, SourceRepositories, Target};
use crate::oci::pattern::RepositoryPattern;
use crate::oci::reference::split_host;
use crate::oci::selection::{TagPatterns, TagSelection};
use crate::oci::template::PathTemplate;
use crate::oci::{ImageReference, RegistryHost, Tag};

const DOCKER_HUB: &str = "docker.io";

/// A source, and the tag that it names if that is shorthand for `tags`.
pub fn source(
    text: &Spanned<String>,
    reader: &mut Reader<'_>,
) -> Option<(SourcePattern, Option<Tag>)> {
    let name = text.get_ref().strip_prefix("docker://").unwrap_or(text.get_ref());
    let (host, path) = split_host(name);
    if RepositoryPattern::is_pattern(path) && !name.contains("://") {
        let registry: RegistryHost =
            reader.check(text.span(), host.unwrap_or(DOCKER_HUB).parse())?;
        let path = if registry.is_docker_hub() && !path.contains('/') && path != "**" {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if path.contains([':', '@']) {
            let message =
                format!("`{path}` cannot be a pattern of repositories with a tag or digest");
            reader.report_with_hint(text.span(), message, "select tags with `tags`");
            return None;
        }
        let pattern = reader.check(text.span(), path.parse())?;
        let repositories = SourceRepositories::Matching(pattern);
        return Some((SourcePattern { registry, repositories }, None));
    }
    let ImageReference { registry, repository, tag, digest } = reader.parse(text)?;
    Some(match digest {
        Some(digest) => {
            let repositories = SourceRepositories::Pinned { repository, tag, digest };
            (SourcePattern { registry, repositories }, None)
        }
        None => {
            let repositories = SourceRepositories::One(repository);
            (SourcePattern { registry, repositories }, tag)
        }
    })
}

/// The selection of tags; `shorthand` is the tag that the source names, if any.
pub fn tags(
    raw: Option<Spanned<RawTags>>,
    source: &SourcePattern,
    source_text: &Spanned<String>,
    shorthand: Option<Tag>,
    reader: &mut Reader<'_>,
) -> Option<TagSelection> {
    let named = match &source.repositories {
        SourceRepositories::Pinned { tag, .. } => Some(tag.clone()),
        _ => shorthand.map(Some),
    };
    match (named, raw) {
        (Some(_), Some(raw)) => {
            reader
                .report(raw.span(), "`source` says which tag to copy: remove it there, or `tags`");
            None
        }
        (Some(tag), None) => reader.check(source_text.span(), TagSelection::literal(tag)),
        (None, Some(raw)) => selection(raw, reader),
        (None, None) => Some(TagSelection::default()),
    }
}

fn selection(raw: Spanned<RawTags>, reader: &mut Reader<'_>) -> Option<TagSelection> {
    let span = raw.span();
    let raw = raw.into_inner();
    let include = reader.optional(raw.include, patterns);
    let exclude = reader.parse_all(&raw.exclude);
    let exclude = exclude.and_then(|list| reader.check(span.clone(), TagPatterns::new(list)));
    let semver = reader.optional(raw.semver.as_ref(), range);
    let selection = TagSelection {
        include: include?,
        exclude: exclude?,
        semver: semver?,
        latest: raw.latest.as_ref().map(|latest| *latest.get_ref()),
    };
    let narrowing = raw.semver.map(|s| ("semver", s.span()));
    let narrowing = narrowing.or(raw.latest.map(|l| ("latest", l.span())));
    match (selection.literals(), narrowing) {
        (Some(_), Some((key, span))) => {
            let message =
                format!("`{key}` has nothing to narrow: `include` holds only literal tags");
            reader.report_with_hint(span, message, "add a pattern, such as \"*\", to `include`");
        }
        (Some(literals), None) if literals.is_empty() => {
            reader.report(span, "these tags select nothing: `exclude` wins over `include`");
        }
        _ => {}
    }
    Some(selection)
}

/// A range of versions.
pub fn range(text: &Spanned<String>, reader: &mut Reader<'_>) -> Option<VersionReq> {
    match text.get_ref().parse() {
        Ok(range) => Some(range),
        Err(error) => {
            let message = format!("`{}` is not a range of versions: {error}", text.get_ref());
            reader.report_with_hint(text.span(), message, "write it like >=1.2, <3 or ~1.4");
            None
        }
    }
}

/// A list of tag patterns that holds at least one.
pub fn patterns(
    list: Spanned<Vec<Spanned<String>>>,
    reader: &mut Reader<'_>,
) -> Option<TagPatterns> {
    let span = list.span();
    if list.get_ref().is_empty() {
        reader.report(span, "an empty list selects no tags: leave the key out or name some");
        return None;
    }
    let patterns = reader.parse_all(list.get_ref());
    reader.check(span, TagPatterns::new(patterns?))
}

/// A registry and a path template.
pub fn target(text: &Spanned<String>, reader: &mut Reader<'_>) -> Option<Target> {
    let name = text.get_ref().strip_prefix("docker://").unwrap_or(text.get_ref());
    let (Some(host), path) = split_host(name) else {
        let message = format!("the target `{name}` names no registry");
        let hint = "start it with the host, like registry.example.com/path or docker.io/path";
        reader.report_with_hint(text.span(), message, hint);
        return None;
    };
    let registry = reader.check(text.span(), host.parse::<RegistryHost>());
    if path.contains([':', '@']) {
        let message = format!("the target `{name}` must not name a tag or digest");
        reader.report_with_hint(
            text.span(),
            message,
            "images keep their tags; choose them with `tags`",
        );
        return None;
    }
    let template = reader.check(text.span(), path.parse::<PathTemplate>());
    Some(Target { registry: registry?, template: template? })
}
