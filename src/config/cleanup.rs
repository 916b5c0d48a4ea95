//! A `[[cleanup]]` rule: which repositories, when, and what goes.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::Policy;
use super::rule::{SourcePattern, Target};
use crate::oci::pattern::RepositoryPattern;
use crate::oci::{RegistryHost, RepositoryName};
use crate::schedule::Timing;

/// One rule, complete and consistent in itself.
#[derive(Debug, Clone, PartialEq)]
pub struct CleanupRule {
    /// Unique among all rules.
    pub name: String,
    /// `None`: the rule runs only when it is asked for.
    pub timing: Option<Timing>,
    pub repositories: Repositories,
    /// The sources of what must stay because it runs somewhere; each is in `Config::in_use`.
    pub in_use: Vec<String>,
    pub policy: Policy,
    pub mode: Mode,
    /// Where what is deleted is copied to before.
    pub quarantine: Option<Quarantine>,
}

/// Where copies of what is deleted are kept for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    pub to: QuarantinePlace,
    /// How long.
    pub ttl: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuarantinePlace {
    /// A folder in which each repository has a layout: absolute.
    Folder(PathBuf),
    /// Repositories of a registry.
    Registry(Target),
}

/// Whether a rule deletes when its time has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Plan,
    Apply,
}

/// Repositories of one or more registries.
#[derive(Debug, Clone, PartialEq)]
pub struct Repositories {
    /// At least one; none of them names a tag or digest.
    pub included: Vec<SourcePattern>,
    pub excluded: Vec<Exclusion>,
}

/// Repositories that a rule leaves alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Exclusion {
    /// `None`: of every registry.
    pub registry: Option<RegistryHost>,
    pub path: ExcludedPath,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ExcludedPath {
    One(RepositoryName),
    Matching(RepositoryPattern),
}

impl Repositories {
    /// Whether the rule is about this repository.
    pub fn matches(&self, registry: &RegistryHost, repository: &RepositoryName) -> bool {
        let included =
            |pattern: &SourcePattern| pattern.registry == *registry && pattern.matches(repository);
        let excluded = |exclusion: &Exclusion| {
            exclusion.registry.as_ref().is_none_or(|host| host == registry)
                && match &exclusion.path {
                    ExcludedPath::One(path) => path == repository,
                    ExcludedPath::Matching(pattern) => pattern.matches(repository),
                }
        };
        self.included.iter().any(included) && !self.excluded.iter().any(excluded)
    }
}
