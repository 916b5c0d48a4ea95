//! `repositories` of a rule: repositories of registries and layouts on disk, and those among them
//! that are left out.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::checker::Checker;
use super::document::Node;
use super::layout_pattern::{LayoutPattern, LayoutPatternError};
use super::source::{Source, SourcePattern, SourceRepositories};
use super::text::{self, hinted};
use crate::oci::pattern::RepositoryPattern;
use crate::oci::reference::split_host;
use crate::oci::{Address, RegistryHost, RepositoryName};

/// Repositories of one or more registries, and layouts.
#[derive(Debug, Clone, PartialEq)]
pub struct Repositories {
    /// At least one.
    pub included: Vec<Included>,
    pub excluded: Vec<Exclusion>,
}

/// Repositories that a rule covers.
#[derive(Debug, Clone, PartialEq)]
pub enum Included {
    /// It names no tag or digest.
    Registry(SourcePattern),
    Layouts(LayoutPattern),
}

/// Repositories that a rule leaves alone.
#[derive(Debug, Clone, PartialEq)]
pub enum Exclusion {
    Registry(RegistryHost, ExcludedPath),
    Layouts(LayoutPattern),
    /// In every registry, and among the layouts, by their paths below the rule's folder.
    Everywhere(ExcludedPath),
}

#[derive(Debug, Clone, PartialEq)]
pub enum ExcludedPath {
    One(RepositoryName),
    Matching(RepositoryPattern),
}

impl ExcludedPath {
    fn matches(&self, repository: &RepositoryName) -> bool {
        match self {
            Self::One(path) => path == repository,
            Self::Matching(pattern) => pattern.matches(repository),
        }
    }
}

/// As written in a rule.
impl fmt::Display for Included {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(pattern) => pattern.fmt(f),
            Self::Layouts(pattern) => pattern.fmt(f),
        }
    }
}

/// As written in a rule.
impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(registry, path) => write!(f, "!{registry}/{path}"),
            Self::Layouts(pattern) => write!(f, "!{pattern}"),
            Self::Everywhere(path) => write!(f, "!{path}"),
        }
    }
}

impl fmt::Display for ExcludedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One(name) => name.as_str(),
            Self::Matching(pattern) => pattern.as_str(),
        })
    }
}

/// One text of the list.
#[derive(Debug)]
pub enum RepositoryEntry {
    Included(Included),
    /// With `!` in front.
    Excluded(Exclusion),
}

text::text_values!(RepositoryEntry);

impl FromStr for RepositoryEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix('!') {
            Some(excluded) => exclusion(text, excluded).map(Self::Excluded),
            None => included(text).map(Self::Included),
        }
    }
}

fn included(text: &str) -> Result<Included, String> {
    if let Some(pattern) = layouts(text, text)? {
        return Ok(Included::Layouts(pattern));
    }
    let Source { pattern, tag } = text::parsed(text)?;
    if tag.is_some() || matches!(pattern.repositories, SourceRepositories::Pinned { .. }) {
        return Err(names_an_image(text));
    }
    Ok(Included::Registry(pattern))
}

fn exclusion(text: &str, excluded: &str) -> Result<Exclusion, String> {
    if let Some(pattern) = layouts(text, excluded)? {
        return Ok(Exclusion::Layouts(pattern));
    }
    let (host, path) = split_host(excluded);
    if host.is_some_and(RepositoryPattern::is_pattern) {
        let message = format!("the host in `{excluded}` cannot be a pattern");
        let hint = "leave the host out to mean every registry and layout, as in !**/base-*";
        return Err(hinted(message, hint));
    }
    let path = match RepositoryPattern::is_pattern(path) {
        true => ExcludedPath::Matching(text::parsed(path)?),
        false => ExcludedPath::One(text::parsed(path)?),
    };
    Ok(match host {
        Some(host) => Exclusion::Registry(text::parsed(host)?, path),
        None => Exclusion::Everywhere(path),
    })
}

/// The layouts that `pattern`, which is `text` or a part of it, names; `None` if it names
/// registries.
fn layouts(text: &str, pattern: &str) -> Result<Option<LayoutPattern>, String> {
    if pattern.starts_with("oci-archive:") {
        let message = "an archive is only replaced as a whole: nothing can be deleted from it";
        return Err(message.to_owned());
    }
    LayoutPattern::read(pattern).transpose().map_err(|error| match error {
        LayoutPatternError::Image(_) => names_an_image(text),
        error => error.to_string(),
    })
}

fn names_an_image(text: &str) -> String {
    let error = LayoutPatternError::Image(text.to_owned());
    hinted(error, "say in `delete` which images are deleted")
}

/// The repositories of a rule, with the folders of layouts made absolute. `deletes` says whether
/// the rule does more than plan.
pub(super) fn check(
    entries: Vec<RepositoryEntry>,
    deletes: bool,
    node: Node<'_>,
    checker: &mut Checker<'_>,
) -> Repositories {
    let mut repositories = Repositories { included: Vec::new(), excluded: Vec::new() };
    for mut entry in entries {
        if let RepositoryEntry::Included(Included::Layouts(pattern))
        | RepositoryEntry::Excluded(Exclusion::Layouts(pattern)) = &mut entry
        {
            pattern.root = checker.folder.join(&pattern.root);
        }
        match entry {
            RepositoryEntry::Included(included) => repositories.included.push(included),
            RepositoryEntry::Excluded(excluded) => repositories.excluded.push(excluded),
        }
    }
    if node.is_sound() {
        if repositories.included.is_empty() {
            checker.report(node.span(), "no repository is named here");
        }
        if deletes && repositories.is_sweeping() {
            let message = "this deletes in every repository of the registry";
            let hint = "name the part of it that is meant, or leave some out with `!`";
            checker.report_with_hint(node.span(), message, hint);
        }
    }
    repositories
}

impl Repositories {
    /// Whether the rule covers everything that some registry holds. Such a rule may plan, and must
    /// not delete. A folder of layouts is always meant as a whole.
    pub fn is_sweeping(&self) -> bool {
        // Names that have nothing in common but what patterns of everything match together.
        let odd = ["a", "b-1/x", "c/d_e/f.g/0"];
        let is_whole = |registry: &RegistryHost| {
            odd.iter().all(|name| name.parse().is_ok_and(|name| self.matches(registry, &name)))
        };
        let registries = self.included.iter().filter_map(|included| match included {
            Included::Registry(pattern) => pattern.store.registry(),
            Included::Layouts(_) => None,
        });
        self.excluded.is_empty() && registries.into_iter().any(is_whole)
    }

    /// As the rule names them, those that are left out last.
    pub fn as_written(&self) -> Vec<String> {
        let included = self.included.iter().map(ToString::to_string);
        included.chain(self.excluded.iter().map(ToString::to_string)).collect()
    }

    /// Whether the rule covers this repository.
    pub fn has(&self, repository: &Address) -> bool {
        match (repository, repository.path()) {
            (Address::Registry(host, name), _) => self.matches(host, name),
            (Address::Archive(_), _) => false,
            (_, path) => path.is_some_and(|path| self.matches_layout(&path)),
        }
    }

    /// Whether the rule covers this repository of a registry.
    pub fn matches(&self, registry: &RegistryHost, repository: &RepositoryName) -> bool {
        let included = |included: &Included| {
            matches!(included, Included::Registry(pattern)
                if pattern.store.registry() == Some(registry) && pattern.matches(repository))
        };
        let excluded = |exclusion: &Exclusion| match exclusion {
            Exclusion::Registry(host, path) => host == registry && path.matches(repository),
            Exclusion::Layouts(_) => false,
            Exclusion::Everywhere(path) => path.matches(repository),
        };
        self.included.iter().any(included) && !self.excluded.iter().any(excluded)
    }

    /// Whether the rule covers the layout in this folder. Only texts are compared: what leads
    /// to the same folder by a link has to be resolved before, here and there.
    pub fn matches_layout(&self, layout: &Path) -> bool {
        let names = self.included.iter().filter_map(|included| match included {
            Included::Registry(_) => None,
            Included::Layouts(pattern) => pattern.name_of(layout),
        });
        let names: Vec<Option<RepositoryName>> = names.collect();
        let excluded = |exclusion: &Exclusion| match exclusion {
            Exclusion::Registry(..) => false,
            Exclusion::Layouts(pattern) => pattern.name_of(layout).is_some(),
            Exclusion::Everywhere(path) => names.iter().flatten().any(|name| path.matches(name)),
        };
        !names.is_empty() && !self.excluded.iter().any(excluded)
    }
}
