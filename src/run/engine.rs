//! One configuration made ready to run its rules.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Clock, RealRunner, Rule, Runner};
use crate::cleanup::restore::Restorer;
use crate::cleanup::{Cleaner, Sources};
use crate::config::{Config, RegistryConfig};
use crate::metrics::Metrics;
use crate::registry::Registries;
use crate::removal::{Actor, Audit};
use crate::secret::Environment;
use crate::sync::Syncer;
use crate::transfer::Carrier;

/// What an engine is built from.
#[derive(Clone)]
pub struct Resources {
    pub carrier: Arc<Carrier>,
    /// Where deletions are recorded. Without it nothing is deleted, and no cleanup rule runs.
    pub audit: Option<Audit>,
    /// Where requests are counted, if anywhere.
    pub metrics: Option<Metrics>,
    /// Where secrets and docker's credentials are found.
    pub environment: Environment,
    pub clock: Arc<dyn Clock>,
    /// A random number from 0 to 1.
    pub random: fn() -> f64,
}

/// A configuration in use. A changed configuration makes a new one; runs that have begun keep
/// theirs to their end.
pub struct Engine {
    pub config: Config,
    pub registries: Arc<Registries>,
    pub(super) syncer: Syncer,
    /// `None`: there is no audit.
    pub(super) cleaner: Option<Cleaner>,
    pub(super) resources: Resources,
    pub(super) runner: Arc<dyn Runner>,
    indices: HashMap<Arc<str>, Index>,
}

/// A rule's index in the configuration.
#[derive(Debug, Clone, Copy)]
enum Index {
    Sync(usize),
    Cleanup(usize),
}

impl Engine {
    /// The first engine of a process.
    pub fn new(config: Config, resources: &Resources) -> Self {
        Self::with_runner(Arc::new(RealRunner), config, resources)
    }

    /// The same with something else that executes runs.
    pub fn with_runner(runner: Arc<dyn Runner>, config: Config, resources: &Resources) -> Self {
        let Resources { carrier, metrics, environment, random, .. } = resources;
        let default = RegistryConfig::default();
        let registries =
            Registries::new(config.registries.clone(), default, environment.clone(), *random)
                .with_pulses(carrier.pulses().clone());
        let registries = Arc::new(match metrics {
            Some(metrics) => registries.with_metrics(metrics.clone()),
            None => registries,
        });
        let syncer = Syncer::with_images(
            Arc::clone(&registries),
            Arc::clone(carrier),
            seconds_since_1970,
            config.daemon.transfers.get(),
        );
        Self::assemble(runner, config, resources.clone(), registries, syncer)
    }

    /// An engine for the runs to come. Credentials are read anew; what was learnt about how much
    /// each registry can take stays.
    pub fn renewed(&self, config: Config) -> Self {
        let default = RegistryConfig::default();
        let registries = Arc::new(self.registries.renewed(config.registries.clone(), default));
        let syncer = self.syncer.with_registries(Arc::clone(&registries));
        let (runner, resources) = (Arc::clone(&self.runner), self.resources.clone());
        Self::assemble(runner, config, resources, registries, syncer)
    }

    fn assemble(
        runner: Arc<dyn Runner>,
        config: Config,
        resources: Resources,
        registries: Arc<Registries>,
        syncer: Syncer,
    ) -> Self {
        let syncer = syncer.with_rules(&config.sync, &config.cleanup);
        let cleaner = resources.audit.clone().map(|audit| {
            // Rules of both kinds share the leases of the repositories that they write to.
            let leases = syncer.leases().clone();
            let carrier = Arc::clone(&resources.carrier);
            let sources = Sources::new(config.in_use.clone(), resources.environment.clone());
            Cleaner::new(Arc::clone(&registries), carrier, leases, audit, sources)
        });
        let indices = indices(&config);
        Self { config, registries, syncer, cleaner, resources, runner, indices }
    }

    /// What restores images that cleanup rules have deleted; `None`: there is no audit.
    pub fn restorer<'a>(&'a self, actor: &'a Actor, overwrite: bool) -> Option<Restorer<'a>> {
        Some(self.cleaner.as_ref()?.restorer(actor, overwrite))
    }

    pub fn rule(&self, name: &str) -> Option<Rule<'_>> {
        match *self.indices.get(name)? {
            Index::Sync(index) => self.config.sync.get(index).map(Rule::Sync),
            Index::Cleanup(index) => self.config.cleanup.get(index).map(Rule::Cleanup),
        }
    }

    /// All rules in the order of the configuration, those of each kind together.
    pub fn rules(&self) -> impl Iterator<Item = Rule<'_>> {
        let sync = self.config.sync.iter().map(Rule::Sync);
        sync.chain(self.config.cleanup.iter().map(Rule::Cleanup))
    }

    /// Whether there is a sync rule of this name.
    pub fn is_sync(&self, name: &str) -> bool {
        matches!(self.indices.get(name), Some(Index::Sync(_)))
    }

    /// The shared copy of the rule's name.
    pub fn name(&self, name: &str) -> Option<&Arc<str>> {
        self.indices.get_key_value(name).map(|(name, _)| name)
    }

    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.indices.keys()
    }

    /// All rules, each with the shared copy of its name.
    pub fn named_rules(&self) -> impl Iterator<Item = (&Arc<str>, Rule<'_>)> {
        self.rules().filter_map(|rule| Some((self.name(rule.name())?, rule)))
    }
}

fn indices(config: &Config) -> HashMap<Arc<str>, Index> {
    let sync = config.sync.iter().map(|rule| rule.name.as_str()).enumerate();
    let cleanup = config.cleanup.iter().map(|rule| rule.name.as_str()).enumerate();
    let sync = sync.map(|(index, name)| (Arc::from(name), Index::Sync(index)));
    sync.chain(cleanup.map(|(index, name)| (Arc::from(name), Index::Cleanup(index)))).collect()
}

/// The age of records in the state is measured in seconds.
fn seconds_since_1970() -> u64 {
    Timestamp::now().as_second().try_into().unwrap_or_default()
}
