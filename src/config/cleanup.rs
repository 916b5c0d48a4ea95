//! A `[[cleanup]]` rule: which repositories, when, and what goes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layout_pattern::LayoutPattern;
use super::policy::Policy;
use super::rule::{SourcePattern, Target};
use super::show_cleanup;
use crate::oci::pattern::RepositoryPattern;
use crate::oci::{Digest, RegistryHost, RepositoryName};
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

impl CleanupRule {
    /// A number that is another one where other images would go (the limits aside), and the same
    /// one for ever for this policy, whatever the rule is called and wherever it applies.
    pub fn mark(&self) -> u64 {
        let digest = Digest::of(show_cleanup::verdicts(&self.policy).as_bytes());
        digest.as_bytes().iter().take(8).fold(0, |mark, byte| mark << 8 | u64::from(*byte))
    }
}

/// Whether a rule deletes when its time has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Plan,
    Apply,
}

impl Mode {
    /// As it is written in the configuration, in JSON and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Apply => "apply",
        }
    }
}

/// Repositories of one or more registries, and layouts.
#[derive(Debug, Clone, PartialEq)]
pub struct Repositories {
    /// At least one.
    pub included: Vec<Included>,
    pub excluded: Vec<Exclusion>,
}

/// Repositories that a rule is about.
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

/// As it stands in a rule.
impl fmt::Display for Included {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(pattern) => pattern.fmt(f),
            Self::Layouts(pattern) => pattern.fmt(f),
        }
    }
}

/// As it stands in a rule.
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

impl Repositories {
    /// Whether the rule is about all that some registry holds, and leaves nothing out. Such a rule
    /// may plan, and must not delete. A folder of layouts is always meant as such.
    pub fn is_sweeping(&self) -> bool {
        // Names that have nothing in common but what patterns of everything match together.
        let odd = ["a", "b-1/x", "c/d_e/f.g/0"];
        let is_whole = |registry: &RegistryHost| {
            odd.iter().all(|name| name.parse().is_ok_and(|name| self.matches(registry, &name)))
        };
        let registries = self.included.iter().filter_map(|included| match included {
            Included::Registry(pattern) => Some(&pattern.registry),
            Included::Layouts(_) => None,
        });
        self.excluded.is_empty() && registries.into_iter().any(is_whole)
    }

    /// As the rule names them, those that are left out last.
    pub fn as_written(&self) -> Vec<String> {
        let included = self.included.iter().map(ToString::to_string);
        included.chain(self.excluded.iter().map(ToString::to_string)).collect()
    }

    /// Whether the rule is about this repository.
    pub fn matches(&self, registry: &RegistryHost, repository: &RepositoryName) -> bool {
        let included = |included: &Included| match included {
            Included::Registry(pattern) => {
                pattern.registry == *registry && pattern.matches(repository)
            }
            Included::Layouts(_) => false,
        };
        let excluded = |exclusion: &Exclusion| match exclusion {
            Exclusion::Registry(host, path) => host == registry && path.matches(repository),
            Exclusion::Layouts(_) => false,
            Exclusion::Everywhere(path) => path.matches(repository),
        };
        self.included.iter().any(included) && !self.excluded.iter().any(excluded)
    }

    /// Whether the rule is about the layout in this folder. Only texts are compared: what leads
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
