//! The registries that a configuration is about.

use std::collections::BTreeSet;

use super::Config;
use super::cleanup::{Included, QuarantinePlace};
use super::sync::SyncRule;
use crate::oci::RegistryHost;

impl Config {
    /// Those that rules and senders of push events name.
    pub fn hosts_of_rules(&self) -> BTreeSet<RegistryHost> {
        let copied = self.sync.iter().flat_map(SyncRule::parts).flat_map(|rule| {
            let targets = rule.targets.iter().map(|target| &target.store);
            std::iter::once(&rule.source.store).chain(targets).filter_map(|store| store.registry())
        });
        let cleaned = self.cleanup.iter().flat_map(|rule| {
            let included =
                rule.repositories.included.iter().filter_map(|included| match included {
                    Included::Registry(pattern) => pattern.store.registry(),
                    Included::Layouts(_) => None,
                });
            let quarantine = rule.quarantine.as_ref().and_then(|quarantine| match &quarantine.to {
                QuarantinePlace::Registry(target) => target.store.registry(),
                QuarantinePlace::Folder(_) => None,
            });
            included.chain(quarantine)
        });
        copied
            .chain(cleaned)
            .chain(self.events.values().map(|source| &source.registry))
            .cloned()
            .collect()
    }

    /// These, and all that have an entry.
    pub fn hosts(&self) -> BTreeSet<RegistryHost> {
        let mut hosts = self.hosts_of_rules();
        hosts.extend(self.registries.keys().cloned());
        hosts
    }
}
