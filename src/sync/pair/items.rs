//! What a rule selects in one source repository, by listing it where nothing names it.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Item, Pair};
use crate::config::SourceRepositories;
use crate::oci::{Digest, Tag};
use crate::repository::{Cause, Error, ListedTag, Placement, Reference, Result};
use crate::transfer::TagIndex;

/// What a rule selects in one source repository.
pub(super) struct Items {
    /// The pinned image, or else tags.
    pub pinned: Option<Item>,
    pub tags: Vec<Tag>,
    /// The repository's derived tags, where anybody needs them.
    pub derived: TagIndex,
    /// Its whole list, where what is gone from it is to go at the targets. `None`: there is none.
    pub listed: Option<Vec<Tag>>,
    /// What tags point at that are selected or derived, as far as the list tells.
    pub hints: HashMap<Tag, Digest>,
    /// The patterns of `include` that match nothing in it. `None`: that was not looked at.
    pub idle: Option<BTreeSet<String>>,
}

impl Pair<'_> {
    /// What the rule selects in this repository. `hinted`: by a list that may be behind, if it tells what
    /// tags point at.
    pub(super) async fn items(&self, hinted: bool) -> Result<Items> {
        let pinned = match &self.rule.source.repositories {
            SourceRepositories::Pinned { tag, digest, .. } => Some(Item {
                reference: Reference::Digest(digest.clone()),
                placement: tag.clone().map_or(Placement::Digest, Placement::Tag),
            }),
            _ => None,
        };
        let pinned = pinned.filter(|item| self.is_asked_for(item));
        let named = match &self.rule.source.repositories {
            SourceRepositories::Pinned { .. } => Some(Vec::new()),
            _ => self.named(),
        };
        if let Some(tags) = &named
            && (!self.options.referrers || pinned.is_none() && tags.is_empty())
            && self.removes().is_none()
        {
            let tags = tags.clone();
            return Ok(Items {
                pinned,
                tags,
                derived: TagIndex::default(),
                listed: None,
                hints: HashMap::new(),
                idle: None,
            });
        }
        // With referrers the list is worth its request even where the tags are known: it tells
        // of every signature and fallback tag at once.
        let (listed, mut hints) = self.source_list(hinted && named.is_none()).await?;
        let derived = TagIndex::new(listed.as_deref().unwrap_or_default());
        let idle = listed.as_deref().filter(|_| self.only.is_none() && named.is_none());
        let idle = idle.zip(self.rule.tags.include.as_ref()).map(|(tags, include)| {
            include.idle(tags).into_iter().map(ToString::to_string).collect()
        });
        let kept = listed.clone().filter(|_| self.removes().is_some());
        let tags = match (named, listed) {
            (Some(tags), _) => tags,
            (None, Some(tags)) => self.asked_for(self.rule.tags.select(tags)),
            // A pattern's repositories may be empty, and what has moved may be gone again; one
            // that is named should not be.
            (None, None) if self.only.is_some() || self.rule.source.repository().is_none() => {
                Vec::new()
            }
            (None, None) => {
                return Err(Error::new("list tags of", self.source.name(), Cause::NoRepository));
            }
        };
        if !hints.is_empty() {
            let selected: HashSet<&Tag> = tags.iter().collect();
            hints.retain(|tag, _| selected.contains(tag) || derived.contains(tag));
        }
        Ok(Items { pinned, tags, derived, listed: kept, hints, idle })
    }

    /// The source's tags, and what they point at as far as that is told and may be `hinted`.
    async fn source_list(&self, hinted: bool) -> Result<(Option<Vec<Tag>>, HashMap<Tag, Digest>)> {
        // What is removed at the targets must not hang on a list that may be behind.
        if self.removes().is_some() || !hinted {
            return Ok((self.source.tags().await?, HashMap::new()));
        }
        let Some(listed) = self.source.listed_tags().await? else {
            return Ok((None, HashMap::new()));
        };
        let mut hints = HashMap::new();
        let tags = listed.into_iter().map(|ListedTag { tag, digest }| {
            hints.extend(digest.map(|digest| (tag.clone(), digest)));
            tag
        });
        Ok((Some(tags.collect()), hints))
    }

    /// The tags that the run is about, where they can be told without the source's list.
    fn named(&self) -> Option<Vec<Tag>> {
        match self.only {
            None => self.rule.tags.literals(),
            Some(only) => self.rule.tags.select_some(only.iter().cloned()),
        }
    }

    fn asked_for(&self, mut tags: Vec<Tag>) -> Vec<Tag> {
        if let Some(only) = self.only {
            tags.retain(|tag| only.contains(tag));
        }
        tags
    }

    /// Whether a run for some tags is about a pinned image too: if its tag is among them.
    fn is_asked_for(&self, pinned: &Item) -> bool {
        let Some(only) = self.only else { return true };
        matches!(&pinned.placement, Placement::Tag(tag) if only.contains(tag))
    }
}
