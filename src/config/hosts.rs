//! The registries that a configuration is about.

use std::collections::BTreeSet;

use super::Config;
use super::cleanup::CleanupRule;
use super::problem::ConfigError;
use super::sync::SyncRule;
use crate::oci::RegistryHost;

impl Config {
    /// Those that rules and senders of push events name.
    pub fn hosts_of_rules(&self) -> BTreeSet<RegistryHost> {
        let copied = self.sync.iter().flat_map(SyncRule::registries);
        let cleaned = self.cleanup.iter().flat_map(CleanupRule::registries);
        let told = self.events.values().map(|source| &source.registry);
        copied.chain(cleaned).chain(told).cloned().collect()
    }

    /// These, and all that have an entry.
    pub fn hosts(&self) -> BTreeSet<RegistryHost> {
        let mut hosts = self.hosts_of_rules();
        hosts.extend(self.registries.keys().cloned());
        hosts
    }

    /// The secrets and certificates of registries that the rules with these names use, and that are
    /// not there.
    pub fn missing_of(&self, rules: &[&str]) -> Option<ConfigError> {
        let is_meant = |name: &String| rules.contains(&name.as_str());
        let copied = self.sync.iter().filter(|rule| is_meant(&rule.name));
        let cleaned = self.cleanup.iter().filter(|rule| is_meant(&rule.name));
        let used: BTreeSet<&RegistryHost> = copied
            .flat_map(SyncRule::registries)
            .chain(cleaned.flat_map(CleanupRule::registries))
            .collect();
        let missing = used.into_iter().filter_map(|host| {
            let missing = self.registries.get(host)?.missing.as_deref()?;
            Some((missing, format!("the registry {host} needs it")))
        });
        ConfigError::needed(missing)
    }
}
