//! Which repositories a cleanup rule is about, by listing registries where nothing names them.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::CleanupRule;
use crate::fair::Flow;
use crate::oci::{RegistryHost, RepositoryName};
use crate::registry::Registries;
use crate::repository::Error;

/// The repositories of a rule, and the lists that could not be read.
#[derive(Debug, Default)]
pub struct Selected {
    /// Each once, sorted; `true`: the rule names it, so it should be there.
    pub repositories: BTreeMap<(RegistryHost, RepositoryName), bool>,
    pub failures: Vec<Error>,
}

impl Selected {
    /// This repository and no other.
    pub fn one(host: RegistryHost, repository: RepositoryName) -> Self {
        let repositories = BTreeMap::from([((host, repository), true)]);
        Self { repositories, failures: Vec::new() }
    }
}

/// Lists each registry at most once.
pub async fn repositories(rule: &CleanupRule, registries: &Registries, flow: Flow) -> Selected {
    let mut selected = Selected::default();
    let mut listed = BTreeSet::new();
    for pattern in &rule.repositories.included {
        let host = &pattern.registry;
        if let Some(repository) = pattern.repository() {
            if rule.repositories.matches(host, repository) {
                selected.repositories.insert((host.clone(), repository.clone()), true);
            }
        } else if listed.insert(host) {
            let list = async { registries.open(host)?.repositories(flow).await };
            match list.await {
                Ok(all) => {
                    for name in all {
                        if rule.repositories.matches(host, &name) {
                            selected.repositories.entry((host.clone(), name)).or_insert(false);
                        }
                    }
                }
                Err(error) => selected.failures.push(error),
            }
        }
    }
    selected
}
