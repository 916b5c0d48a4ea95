//! Repositories of a registry or on disk as rules name them: the source of a rule, and its targets.

use std::fmt;
use std::str::FromStr;

use super::layout_pattern::LayoutPattern;
use super::text::{self, hinted};
use crate::oci::pattern::RepositoryPattern;
use crate::oci::reference::split_host;
use crate::oci::template::{PathTemplate, SourceContext, TemplateError};
use crate::oci::{Address, Digest, ImageAddress, RegistryHost, RepositoryName, Store, Tag};

const DOCKER_HUB: &str = "docker.io";

/// The images that a rule copies, but for the selection of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePattern {
    pub store: Store,
    pub repositories: SourceRepositories,
}

/// One repository of a store, or some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceRepositories {
    One(RepositoryName),
    /// One image by its digest; with a tag, the target gets that tag.
    Pinned {
        repository: RepositoryName,
        tag: Option<Tag>,
        digest: Digest,
    },
    /// What the store's list of repositories has of this.
    Matching(RepositoryPattern),
}

impl SourcePattern {
    /// The repository, unless the store's list is needed to know which ones there are.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match &self.repositories {
            SourceRepositories::One(repository) | SourceRepositories::Pinned { repository, .. } => {
                Some(repository)
            }
            SourceRepositories::Matching(_) => None,
        }
    }

    /// Whether a repository of the store belongs to it.
    pub fn matches(&self, repository: &RepositoryName) -> bool {
        match &self.repositories {
            SourceRepositories::Matching(pattern) => pattern.matches(repository),
            _ => self.repository() == Some(repository),
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
    pub store: Store,
    pub template: PathTemplate,
}

text::text_values!(Source, Target);

impl Source {
    /// Whether it says itself which image is meant.
    pub fn names_image(&self) -> bool {
        self.tag.is_some() || matches!(self.pattern.repositories, SourceRepositories::Pinned { .. })
    }
}

impl Target {
    /// Where a repository of a source goes.
    ///
    /// # Errors
    /// The template makes no repository name of this repository.
    pub fn address(
        &self,
        source: &SourcePattern,
        repository: &RepositoryName,
    ) -> Result<Address, TemplateError> {
        let (registry, prefix) = (source.store.registry(), source.literal_prefix());
        let path = self.template.render(&SourceContext { registry, repository, prefix })?;
        Ok(self.store.address(&path))
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(pattern) = layouts(text)? {
            return Ok(Self { pattern, tag: None });
        }
        let name = text.strip_prefix("docker://").unwrap_or(text);
        let (host, path) = split_host(name);
        if !is_on_disk(text) && RepositoryPattern::is_pattern(path) && !name.contains("://") {
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
            let store = Store::Registry(registry);
            return Ok(Self { pattern: SourcePattern { store, repositories }, tag: None });
        }
        let ImageAddress { repository, tag, digest } = text::parsed(text)?;
        let (store, repository) = repository.split();
        let (repositories, tag) = match digest {
            Some(digest) => (SourceRepositories::Pinned { repository, tag, digest }, None),
            None => (SourceRepositories::One(repository), tag),
        };
        Ok(Self { pattern: SourcePattern { store, repositories }, tag })
    }
}

fn is_on_disk(text: &str) -> bool {
    text.starts_with("oci:") || text.starts_with("oci-archive:")
}

/// Some of the layouts below a folder: `oci:DIR/PATTERN`. `None`: the text is something else.
fn layouts(text: &str) -> Result<Option<SourcePattern>, String> {
    let is_pattern = is_on_disk(text) && RepositoryPattern::is_pattern(text);
    let Some(read) = LayoutPattern::read(text).filter(|_| is_pattern) else { return Ok(None) };
    let LayoutPattern { root, pattern } = read.map_err(|error| error.to_string())?;
    let matching = |pattern| SourcePattern {
        store: Store::Folder(root),
        repositories: SourceRepositories::Matching(pattern),
    };
    Ok(pattern.map(matching))
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_on_disk(text) {
            return target_on_disk(text);
        }
        let name = text.strip_prefix("docker://").unwrap_or(text);
        let (Some(host), path) = split_host(name) else {
            let message = format!("the target `{name}` names no registry");
            let hint = "start it with the host, like registry.example.com/path or docker.io/path";
            return Err(hinted(message, hint));
        };
        let store = Store::Registry(text::parsed(host)?);
        if path.contains([':', '@']) {
            return Err(names_an_image(name));
        }
        Ok(Self { store, template: text::parsed(path)? })
    }
}

fn names_an_image(target: &str) -> String {
    let message = format!("the target `{target}` must not name a tag or digest");
    hinted(message, "images keep their tags; choose them with `tags`")
}

/// `oci:DIR/TEMPLATE`, `oci:DIR` or `oci-archive:FILE`.
fn target_on_disk(text: &str) -> Result<Target, String> {
    if let Some((folder, template)) = text.split_once('{')
        && let Some(folder) = folder.strip_prefix("oci:")
    {
        // The template begins with the part of the path that has the first variable.
        let start = folder.rfind('/').map_or(0, |slash| slash + 1);
        let (folder, begin) = folder.split_at(start);
        let template = format!("{begin}{{{template}");
        if template.contains([':', '@']) {
            return Err(names_an_image(text));
        }
        return Ok(Target {
            store: Store::Folder(folder.into()),
            template: text::parsed(&template)?,
        });
    }
    let address: ImageAddress = text::parsed(text)?;
    if address.names_image() {
        return Err(names_an_image(text));
    }
    let (store, repository) = address.repository.split();
    Ok(Target { store, template: text::parsed(repository.as_str())? })
}

/// As written in a rule.
impl fmt::Display for SourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (repository, tag, digest) = match &self.repositories {
            SourceRepositories::Matching(pattern) => return write!(f, "{}/{pattern}", self.store),
            SourceRepositories::One(repository) => (repository, None, None),
            SourceRepositories::Pinned { repository, tag, digest } => {
                (repository, tag.clone(), Some(digest.clone()))
            }
        };
        ImageAddress { repository: self.store.address(repository), tag, digest }.fmt(f)
    }
}

/// As written in a rule.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.store {
            Store::Layout(_) | Store::Archive(_) => self.store.fmt(f),
            Store::Registry(_) | Store::Folder(_) => write!(f, "{}/{}", self.store, self.template),
        }
    }
}
