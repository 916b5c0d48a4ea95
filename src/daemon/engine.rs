//! What runs need, as one configuration says. A reload makes a new one; runs that have begun keep
//! theirs to their end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;

use super::Parts;
use super::by_source::BySource;
use super::rule::Rule;
use crate::alerts::{self, Delivery};
use crate::cleanup::{Cleaner, Sources};
use crate::config::{Config, RegistryConfig, SecretSource, SyncRule};
use crate::oci::{RegistryHost, RepositoryName};
use crate::registry::Registries;
use crate::secret::read_secret;
use crate::sync::Syncer;

/// A configuration in use.
pub(super) struct Engine {
    pub config: Config,
    pub loaded: Timestamp,
    pub syncer: Syncer,
    pub cleaner: Cleaner,
    pub registries: Arc<Registries>,
    /// Of the API.
    pub token: Option<SecretString>,
    /// Of the sources of push events that have one, by their names.
    pub event_secrets: BTreeMap<String, SecretString>,
    /// Who is told when a rule fails.
    pub alerts: Arc<alerts::Sender>,
    places: HashMap<Arc<str>, Place>,
    by_source: BySource,
}

/// Where a rule stands in the configuration.
#[derive(Debug, Clone, Copy)]
enum Place {
    Sync(usize),
    Cleanup(usize),
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{what}: {why}")]
    Secret { what: String, why: String },
}

impl Engine {
    /// The first one of a process.
    pub async fn first(config: Config, parts: &Parts, now: Timestamp) -> Result<Self, EngineError> {
        let registries = registries(&config, parts);
        let syncer = Syncer::with_images(
            Arc::clone(&registries),
            Arc::clone(&parts.carrier),
            seconds_since_1970,
            config.daemon.transfers.get(),
        )
        .with_cleanup(&config.cleanup);
        // Whoever writes to a repository waits for its turn, whatever the kind of its rule.
        let cleaner = Cleaner::new(
            Arc::clone(&registries),
            Arc::clone(&parts.carrier),
            syncer.leases().clone(),
            parts.audit.clone(),
        )
        .with_sources(sources(&config, parts));
        let alerts = sender(&config, parts);
        Self::with(config, parts, now, registries, syncer, cleaner, alerts).await
    }

    /// One for the runs to come. Credentials are read anew; what was found out about how much each
    /// registry takes stays.
    pub async fn renewed(
        &self,
        config: Config,
        parts: &Parts,
        now: Timestamp,
    ) -> Result<Self, EngineError> {
        let registries =
            Arc::new(self.registries.renewed(config.registries.clone(), RegistryConfig::default()));
        let syncer =
            self.syncer.with_registries(Arc::clone(&registries)).with_cleanup(&config.cleanup);
        let cleaner = self.cleaner.renewed(Arc::clone(&registries), sources(&config, parts));
        // What waits to be sent is not lost where nothing has changed for its receivers.
        let unchanged = config.notify == self.config.notify;
        let alerts = if unchanged { Arc::clone(&self.alerts) } else { sender(&config, parts) };
        Self::with(config, parts, now, registries, syncer, cleaner, alerts).await
    }

    async fn with(
        config: Config,
        parts: &Parts,
        loaded: Timestamp,
        registries: Arc<Registries>,
        syncer: Syncer,
        cleaner: Cleaner,
        alerts: Arc<alerts::Sender>,
    ) -> Result<Self, EngineError> {
        let token = match &config.daemon.token {
            Some(source) => Some(secret(source, "the API's token", parts).await?),
            None => None,
        };
        let mut event_secrets = BTreeMap::new();
        for (name, source) in &config.events {
            if let Some(of_source) = &source.secret {
                let what = format!("the secret of the events `{name}`");
                event_secrets.insert(name.clone(), secret(of_source, &what, parts).await?);
            }
        }
        let sync = config.sync.iter().map(|rule| rule.name.as_str());
        let cleanup = config.cleanup.iter().map(|rule| rule.name.as_str());
        let sync = sync.enumerate().map(|(at, name)| (Arc::from(name), Place::Sync(at)));
        let cleanup = cleanup.enumerate().map(|(at, name)| (Arc::from(name), Place::Cleanup(at)));
        let places = sync.chain(cleanup).collect();
        let by_source = BySource::new(&config.sync);
        Ok(Self {
            config,
            loaded,
            syncer,
            cleaner,
            registries,
            token,
            event_secrets,
            alerts,
            places,
            by_source,
        })
    }

    pub fn rule(&self, name: &str) -> Option<Rule<'_>> {
        match *self.places.get(name)? {
            Place::Sync(at) => self.config.sync.get(at).map(Rule::Sync),
            Place::Cleanup(at) => self.config.cleanup.get(at).map(Rule::Cleanup),
        }
    }

    /// Whether there is a rule of this name that push events can concern.
    pub fn is_sync(&self, name: &str) -> bool {
        matches!(self.places.get(name), Some(Place::Sync(_)))
    }

    /// All rules in the order of the configuration, those of each kind together.
    pub fn rules(&self) -> impl Iterator<Item = Rule<'_>> {
        let sync = self.config.sync.iter().map(Rule::Sync);
        sync.chain(self.config.cleanup.iter().map(Rule::Cleanup))
    }

    /// The rules that may copy from a repository, in no order; some of them may not.
    pub fn rules_of(
        &self,
        registry: &RegistryHost,
        repository: &RepositoryName,
    ) -> impl Iterator<Item = &SyncRule> {
        self.by_source.of(registry, repository).filter_map(|place| self.config.sync.get(place))
    }

    /// The rule's name as everybody shares it.
    pub fn name(&self, name: &str) -> Option<&Arc<str>> {
        self.places.get_key_value(name).map(|(name, _)| name)
    }

    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.places.keys()
    }
}

fn registries(config: &Config, parts: &Parts) -> Arc<Registries> {
    let registries = Registries::new(
        config.registries.clone(),
        RegistryConfig::default(),
        parts.environment.clone(),
        parts.random,
    );
    Arc::new(registries.with_metrics(parts.metrics.clone()))
}

/// Where it is read what is in use.
fn sources(config: &Config, parts: &Parts) -> Sources {
    Sources::new(config.in_use.clone(), parts.environment.clone())
}

fn sender(config: &Config, parts: &Parts) -> Arc<alerts::Sender> {
    let mut context =
        alerts::Context::new(parts.state.marks.clone(), parts.environment.clone(), parts.random);
    let metrics = parts.metrics.clone();
    context.watch = Arc::new(move |_, delivery| {
        metrics.daemon().notification(matches!(delivery, Delivery::Delivered));
    });
    Arc::new(alerts::Sender::start(config.notify.clone(), &context))
}

async fn secret(
    source: &SecretSource,
    what: &str,
    parts: &Parts,
) -> Result<SecretString, EngineError> {
    let secret = read_secret(source, what, &parts.environment).await;
    secret.map_err(|why| EngineError::Secret { what: what.to_owned(), why: why.to_string() })
}

/// What the sync engine reckons with: how old a record is, in seconds.
fn seconds_since_1970() -> u64 {
    Timestamp::now().as_second().try_into().unwrap_or_default()
}
