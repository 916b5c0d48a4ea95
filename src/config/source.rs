//! Repositories of a registry as rules name them: the source of a rule, and the target of one.

use std::fmt;
use std::str::FromStr;

use super::text::{self, hinted};
use crate::oci::pattern::RepositoryPattern;
use crate::oci::reference::split_host;
use crate::oci::template::PathTemplate;
use crate::oci::{Digest, ImageReference, RegistryHost, RepositoryName, Tag};

const DOCKER_HUB: &str = "docker.io";

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

/// A source as it is written: `host/repository:tag` is short for the repository with `tags`.
#[derive(Debug, Clone)]
pub struct Source {
    pub pattern: SourcePattern,
    /// The tag of a source without a digest.
    pub tag: Option<Tag>,
}

/// Where a rule puts what it copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub registry: RegistryHost,
    pub template: PathTemplate,
}

text::text_values!(Source, Target);

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("docker://").unwrap_or(text);
        let (host, path) = split_host(name);
        if RepositoryPattern::is_pattern(path) && !name.contains("://") {
            let registry: RegistryHost = text::parsed(host.unwrap_or(DOCKER_HUB))?;
            let path = if registry.is_docker_hub() && !path.contains('/') && path != "**" {
                format!("library/{path}")
            } else {
                path.to_owned()
            };
            if path.contains([':', '@']) {
                let message =
                    format!("`{path}` cannot be a pattern of repositories with a tag or digest");
                return Err(hinted(message, "select tags with `tags`"));
            }
            let repositories = SourceRepositories::Matching(text::parsed(&path)?);
            return Ok(Self { pattern: SourcePattern { registry, repositories }, tag: None });
        }
        let ImageReference { registry, repository, tag, digest } = text::parsed(text)?;
        let (repositories, tag) = match digest {
            Some(digest) => (SourceRepositories::Pinned { repository, tag, digest }, None),
            None => (SourceRepositories::One(repository), tag),
        };
        Ok(Self { pattern: SourcePattern { registry, repositories }, tag })
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("docker://").unwrap_or(text);
        let (Some(host), path) = split_host(name) else {
            let message = format!("the target `{name}` names no registry");
            let hint = "start it with the host, like registry.example.com/path or docker.io/path";
            return Err(hinted(message, hint));
        };
        let registry = text::parsed(host)?;
        if path.contains([':', '@']) {
            let message = format!("the target `{name}` must not name a tag or digest");
            return Err(hinted(message, "images keep their tags; choose them with `tags`"));
        }
        Ok(Self { registry, template: text::parsed(path)? })
    }
}

/// As it stands in a rule.
impl fmt::Display for SourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registry = &self.registry;
        match &self.repositories {
            SourceRepositories::One(repository) => write!(f, "{registry}/{repository}"),
            SourceRepositories::Matching(pattern) => write!(f, "{registry}/{pattern}"),
            SourceRepositories::Pinned { repository, tag: None, digest } => {
                write!(f, "{registry}/{repository}@{digest}")
            }
            SourceRepositories::Pinned { repository, tag: Some(tag), digest } => {
                write!(f, "{registry}/{repository}:{tag}@{digest}")
            }
        }
    }
}

/// As it stands in a rule.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.template)
    }
}
