//! A `[[sync]]` rule: what to copy from where to where, and when.

use std::time::Duration;

use super::policy::MaxDelete;
use crate::oci::pattern::RepositoryPattern;
use crate::oci::selection::{TagPatterns, TagSelection};
use crate::oci::template::PathTemplate;
use crate::oci::{Digest, Platform, RegistryHost, RepositoryName, Tag};
use crate::schedule::Timing;

/// One rule, complete and consistent in itself.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncRule {
    /// Unique among the rules.
    pub name: String,
    /// `None`: the rule runs only on events and when it is asked for.
    pub timing: Option<Timing>,
    pub source: SourcePattern,
    /// At least one, no two the same.
    pub targets: Vec<Target>,
    /// For a pinned source: the tag that the target gets, or none.
    pub tags: TagSelection,
    /// Empty: all of them.
    pub platforms: Vec<Platform>,
    pub index: IndexMode,
    /// Whether signatures, SBOMs and attestations follow.
    pub referrers: bool,
    pub on_conflict: OnConflict,
    /// How long the state vouches for the target. Zero: never.
    pub recheck: Duration,
    pub foreign_layers: ForeignLayers,
    /// Tags that are never asked about again once they are mirrored.
    pub immutable: Option<TagPatterns>,
    /// Tags that are gone at the source go at the targets, too, but no more than this; `None`:
    /// they stay.
    pub remove_extra: Option<MaxDelete>,
}

/// What becomes of an index when platforms are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IndexMode {
    /// A smaller index with a digest of its own.
    #[default]
    Rewrite,
    /// The same index with children missing.
    Sparse,
}

/// What happens to a target tag that someone else has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnConflict {
    #[default]
    Overwrite,
    Keep,
    Fail,
}

/// What happens to layers that are kept on a foreign server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForeignLayers {
    #[default]
    Skip,
    Copy,
}

/// The images that a rule copies, but for the selection of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePattern {
    pub registry: RegistryHost,
    pub repositories: SourceRepositories,
}

/// One repository of a registry, or some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceRepositories {
    One(RepositoryName),
    /// One image by its digest; with a tag, the target gets that tag.
    Pinned {
        repository: RepositoryName,
        tag: Option<Tag>,
        digest: Digest,
    },
    /// What the registry's list of repositories has of this.
    Matching(RepositoryPattern),
}

impl SourcePattern {
    /// The repository, unless the registry's list is needed to know which ones there are.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match &self.repositories {
            SourceRepositories::One(repository) | SourceRepositories::Pinned { repository, .. } => {
                Some(repository)
            }
            SourceRepositories::Matching(_) => None,
        }
    }

    /// Whether a repository of the registry belongs to it.
    pub fn matches(&self, repository: &RepositoryName) -> bool {
        match &self.repositories {
            SourceRepositories::One(one) | SourceRepositories::Pinned { repository: one, .. } => {
                one == repository
            }
            SourceRepositories::Matching(pattern) => pattern.matches(repository),
        }
    }

    /// What `{tail}` in a target leaves out: a pattern's literal prefix, or the namespace of a
    /// single repository.
    pub fn literal_prefix(&self) -> &str {
        match &self.repositories {
            SourceRepositories::Matching(pattern) => pattern.literal_prefix(),
            SourceRepositories::One(repository) | SourceRepositories::Pinned { repository, .. } => {
                repository.as_str().rsplit_once('/').map_or("", |(namespace, _)| namespace)
            }
        }
    }
}

/// Where a rule puts what it copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub registry: RegistryHost,
    pub template: PathTemplate,
}
