//! The sources of a `[[sync]]` rule, each with the tags that are copied from it.

use super::checker::Checker;
use super::document::Node;
use super::source::{Source, SourcePattern, SourceRepositories};
use super::sync::SyncRule;
use crate::oci::ImageAddress;
use crate::oci::selection::TagSelection;

/// A source, and what is copied from it.
pub struct Part {
    pub source: SourcePattern,
    pub tags: TagSelection,
    /// Whether the source itself says which tags.
    is_named: bool,
}

/// The parts of a rule: sources that name tags of the same repository are one. `tags` is for the
/// sources that name none.
pub fn read(
    sources: Vec<Source>,
    tags: &TagSelection,
    rule: Node<'_>,
    checker: &mut Checker<'_>,
) -> Vec<Part> {
    let mut items = rule.get("source").items();
    let mut parts: Vec<Part> = Vec::new();
    for Source { pattern: mut source, tag } in sources {
        let node = items.next().unwrap_or(rule.get("source"));
        source.store = source.store.below(&checker.folder);
        let named = match &source.repositories {
            SourceRepositories::Pinned { tag, .. } => Some(tag.clone()),
            _ => tag.map(Some),
        };
        let Some(tag) = named else {
            if parts.iter().any(|part| !part.is_named && part.source == source) {
                let message = format!("the rule has the source `{source}` twice");
                checker.report(node.span(), message);
            }
            parts.push(Part { source, tags: tags.clone(), is_named: false });
            continue;
        };
        let selection = match TagSelection::literal(tag.clone()) {
            Ok(selection) => selection,
            Err(error) => {
                checker.report(node.span(), error);
                continue;
            }
        };
        let is_pinned = matches!(source.repositories, SourceRepositories::Pinned { .. });
        let same = parts.iter_mut().find(|part| part.is_named && part.source == source);
        match same {
            Some(part) => {
                let mut all = part.tags.literals().unwrap_or_default();
                if is_pinned || tag.as_ref().is_some_and(|tag| all.contains(tag)) {
                    let message = format!("the rule has the source `{}` twice", node.text());
                    checker.report(node.span(), message);
                }
                all.extend(tag);
                if let Ok(selection) = TagSelection::literal(all) {
                    part.tags = selection;
                }
            }
            None => parts.push(Part { source, tags: selection, is_named: true }),
        }
    }
    parts
}

/// The sources as a rule names them, and whether `tags` is needed beside them.
pub fn shown(rule: &SyncRule) -> (Vec<String>, bool) {
    let mut sources = Vec::new();
    let mut needs_tags = false;
    for part in rule.parts() {
        let source = &part.source;
        let literals = part.tags.literals().unwrap_or_default();
        let is_literal =
            TagSelection::literal(literals.iter().cloned()).is_ok_and(|it| it == part.tags);
        match &source.repositories {
            // With one source, `tags` says it in the usual way.
            SourceRepositories::One(repository) if is_literal && !rule.others.is_empty() => {
                sources.extend(literals.into_iter().map(|tag| {
                    let repository = source.store.address(repository);
                    ImageAddress { repository, tag: Some(tag), digest: None }.to_string()
                }));
            }
            SourceRepositories::Pinned { .. } => sources.push(source.to_string()),
            _ => {
                sources.push(source.to_string());
                needs_tags = true;
            }
        }
    }
    (sources, needs_tags)
}
