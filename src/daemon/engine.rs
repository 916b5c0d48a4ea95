//! A configuration in use by the daemon: the engine that runs its rules, and what only a daemon
//! needs beside it. A reload makes a new one; runs that have begun keep theirs to their end.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;

use super::Parts;
use super::source_index::SourceIndex;
use crate::alerts::{self, Delivery};
use crate::config::{Config, SecretSource, SyncRule, changes};
use crate::oci::{RegistryHost, RepositoryName};
use crate::run::{self, Resources, Runner};
use crate::secret::read_secret;

/// A configuration in use.
pub(super) struct Engine {
    pub core: run::Engine,
    pub loaded: Timestamp,
    /// The last reload that changed something.
    pub changed: Option<Changed>,
    /// Of the API.
    pub token: Option<SecretString>,
    /// Of the sources of push events that have one, by their names.
    pub event_secrets: BTreeMap<String, SecretString>,
    /// Notifies people when a rule fails.
    pub alerts: Arc<alerts::Sender>,
    sources: SourceIndex,
}

/// A reload that changed something.
#[derive(Debug, Clone)]
pub(super) struct Changed {
    pub at: Timestamp,
    /// A line for each table.
    pub what: Vec<String>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{secret}: {why}")]
pub struct EngineError {
    /// The secret that cannot be read.
    secret: String,
    why: String,
}

impl Engine {
    /// The first one of a process.
    pub async fn first(
        runner: Arc<dyn Runner>,
        config: Config,
        parts: &Parts,
        now: Timestamp,
    ) -> Result<Self, EngineError> {
        let resources = Resources {
            carrier: Arc::clone(&parts.carrier),
            audit: Some(parts.audit.clone()),
            metrics: Some(parts.metrics.clone()),
            environment: parts.environment.clone(),
            clock: Arc::clone(&parts.clock),
            random: parts.random,
        };
        let alerts = sender(&config, parts);
        let core = run::Engine::with_runner(runner, config, &resources);
        Self::with(core, None, alerts, parts, now).await
    }

    /// One for the runs to come, with another configuration.
    pub async fn renewed(
        &self,
        config: Config,
        parts: &Parts,
        now: Timestamp,
    ) -> Result<Self, EngineError> {
        // Notifications in the queue are not lost where nothing has changed for their receivers.
        let unchanged = config.notify == self.core.config.notify;
        let alerts = if unchanged { Arc::clone(&self.alerts) } else { sender(&config, parts) };
        let what = changes(&self.core.config, &config);
        let changed =
            if what.is_empty() { self.changed.clone() } else { Some(Changed { at: now, what }) };
        Self::with(self.core.renewed(config), changed, alerts, parts, now).await
    }

    async fn with(
        core: run::Engine,
        changed: Option<Changed>,
        alerts: Arc<alerts::Sender>,
        parts: &Parts,
        loaded: Timestamp,
    ) -> Result<Self, EngineError> {
        let config = &core.config;
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
        let sources = SourceIndex::new(&config.sync);
        Ok(Self { core, loaded, changed, token, event_secrets, alerts, sources })
    }

    /// The rules that may copy from a repository, in no order; some of them may not.
    pub fn rules_of(
        &self,
        registry: &RegistryHost,
        repository: &RepositoryName,
    ) -> impl Iterator<Item = &SyncRule> {
        let rules = &self.core.config.sync;
        self.sources.of(registry, repository).filter_map(|index| rules.get(index))
    }
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
    secret.map_err(|why| EngineError { secret: what.to_owned(), why: why.to_string() })
}
