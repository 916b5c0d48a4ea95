//! The registries of a run: each opened once, when first needed, as the configuration says.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use parking_lot::Mutex;

use super::auth::{Authentication, Credential, CredentialStore, ExplicitCredential, Given};
use super::certificates::Certificates;
use super::origin::{Login, Origin};
use super::{Api, Limits, Registry, Settings, Timeouts, Tls};
use super::{scheme, vendor};
use crate::config::{Insecure, RegistryConfig};
use crate::fair::Pulses;
use crate::http::RetryPolicy;
use crate::metrics::Metrics;
use crate::oci::RegistryHost;
use crate::repository::{Cause, Error, Result};
use crate::secret::Environment;

/// All registries, by host.
pub struct Registries {
    configs: BTreeMap<RegistryHost, RegistryConfig>,
    /// For hosts that the configuration does not mention.
    default: RegistryConfig,
    credentials: Arc<CredentialStore>,
    given: BTreeMap<RegistryHost, Given>,
    /// Directories of certificates that come first.
    cert_dirs: BTreeMap<RegistryHost, PathBuf>,
    policy: RetryPolicy,
    jitter: fn() -> f64,
    metrics: Metrics,
    environment: Environment,
    open: Mutex<HashMap<RegistryHost, Arc<Registry>>>,
    /// Of all registries that were ever opened, by this and by the ones that it was renewed from.
    limits: Arc<Mutex<HashMap<RegistryHost, Arc<Limits>>>>,
    pulses: Pulses,
    /// Hosts that count as public, whatever their addresses are.
    public: Vec<RegistryHost>,
}

impl Registries {
    /// Nothing is opened yet. Hosts without an entry in `configs` are spoken to as `default` says.
    pub fn new(
        configs: BTreeMap<RegistryHost, RegistryConfig>,
        default: RegistryConfig,
        environment: Environment,
        jitter: fn() -> f64,
    ) -> Self {
        let explicit = configs.iter().filter_map(|(host, config)| {
            let (username, secret) = (config.username.clone()?, config.password.clone()?);
            Some((host.clone(), ExplicitCredential { username, secret }))
        });
        let credentials =
            CredentialStore::new(explicit, environment.clone(), Arc::new(Instant::now));
        Self {
            credentials: Arc::new(credentials),
            given: BTreeMap::new(),
            cert_dirs: BTreeMap::new(),
            configs,
            default,
            policy: RetryPolicy::default(),
            jitter,
            metrics: Metrics::new(),
            environment,
            open: Mutex::default(),
            limits: Arc::default(),
            pulses: Pulses::default(),
            public: Vec::new(),
        }
    }

    /// Tells of the progress of flows here.
    pub fn with_pulses(self, pulses: Pulses) -> Self {
        Self { pulses, ..self }
    }

    /// Sends these credentials to these registries, whatever else is known.
    pub fn with_given(self, given: BTreeMap<RegistryHost, Given>) -> Self {
        Self { given, ..self }
    }

    /// Uses the certificates in these directories, before those that are configured or found.
    pub fn with_cert_dirs(self, cert_dirs: BTreeMap<RegistryHost, PathBuf>) -> Self {
        Self { cert_dirs, ..self }
    }

    /// Shares what is found out about how much each registry takes.
    pub fn with_limits_of(self, other: &Self) -> Self {
        Self { limits: Arc::clone(&other.limits), ..self }
    }

    /// Counts into these metrics.
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// The registries of a changed configuration. All credentials are read anew; what was found
    /// out about how much each registry takes stays, and is shared with what is under way.
    pub fn renewed(
        &self,
        configs: BTreeMap<RegistryHost, RegistryConfig>,
        default: RegistryConfig,
    ) -> Self {
        let new = Self::new(configs, default, self.environment.clone(), self.jitter);
        Self {
            policy: self.policy,
            metrics: self.metrics.clone(),
            limits: Arc::clone(&self.limits),
            pulses: self.pulses.clone(),
            public: self.public.clone(),
            ..new
        }
    }

    /// The registries that were opened, by host.
    pub fn opened(&self) -> Vec<Arc<Registry>> {
        let open = self.open.lock();
        let mut opened: Vec<_> = open.values().cloned().collect();
        opened.sort_by(|a, b| a.host().cmp(b.host()));
        opened
    }

    /// Counts these hosts as public, whatever their addresses are: for tests on one machine.
    pub fn with_public(self, public: Vec<RegistryHost>) -> Self {
        Self { public, ..self }
    }

    /// Retries as this policy says.
    pub fn with_policy(self, policy: RetryPolicy) -> Self {
        Self { policy, ..self }
    }

    /// The registry at this host. Nothing is sent.
    ///
    /// # Errors
    /// A secret or a certificate that it is configured with is not there, or cannot be used.
    pub fn open(&self, host: &RegistryHost) -> Result<Arc<Registry>> {
        let mut open = self.open.lock();
        if let Some(registry) = open.get(host) {
            return Ok(registry.clone());
        }
        let only = |credential| Arc::new(CredentialStore::only(credential));
        let registry = match self.given.get(host).cloned() {
            None => {
                self.check_configuration(host)?;
                self.registry(host, self.credentials.clone(), Authentication::Negotiated)?
            }
            Some(Given::Anonymous) => {
                self.registry(host, only(None), Authentication::Negotiated)?
            }
            Some(Given::Login(login)) => {
                self.registry(host, only(Some(login)), Authentication::Negotiated)?
            }
            Some(Given::Token(token)) => {
                self.registry(host, only(Some(token)), Authentication::Secret)?
            }
        };
        open.insert(host.clone(), registry.clone());
        Ok(registry)
    }

    fn config(&self, host: &RegistryHost) -> &RegistryConfig {
        self.configs.get(host).unwrap_or(&self.default)
    }

    fn check_configuration(&self, host: &RegistryHost) -> Result<()> {
        match self.configs.get(host).and_then(|config| config.missing.as_ref()) {
            None => Ok(()),
            Some(missing) => {
                let cause = Cause::Configuration(missing.in_one_line());
                Err(Error::new("set up", host.to_string(), cause))
            }
        }
    }

    /// The registry at this host with this credential, whatever else is configured.
    /// For `login`, which tries a credential before it is kept.
    pub fn open_as(&self, host: &RegistryHost, credential: Credential) -> Result<Arc<Registry>> {
        let credentials = Arc::new(CredentialStore::only(Some(credential)));
        self.registry(host, credentials, Authentication::Negotiated)
    }

    /// How a registry is spoken to whose certificate need not be checked, as skopeo finds out: with
    /// https if it answers there, whatever its certificate; else with http if it answers there like a
    /// registry. The requests carry no credentials.
    pub async fn unverified(&self, host: &RegistryHost) -> Result<Insecure> {
        let config = self.config(host);
        let config = RegistryConfig { insecure: Insecure::NoVerify, ..config.clone() };
        let failed = |cause| Error::new("set up", host.to_string(), cause);
        let tls = self.tls(host, &config).map_err(failed)?;
        let address = vendor::of(host, config.product).dialect().address(host);
        let timeouts = Timeouts::new(config.idle_timeout);
        scheme::of_unverified(address, &tls, timeouts).await.map_err(failed)
    }

    fn registry(
        &self,
        host: &RegistryHost,
        credentials: Arc<CredentialStore>,
        authentication: Authentication,
    ) -> Result<Arc<Registry>> {
        let vendor = vendor::of(host, self.config(host).product);
        let login = |authentication| Login {
            registry: host.clone(),
            authentication,
            credentials: credentials.clone(),
        };
        let own = login(authentication);
        let metrics = self.metrics.registry(host);
        let origin =
            Origin::new(host.clone(), vendor.dialect(), self.settings(host)?, own, metrics)?;
        let api = vendor.api(host).map(|(api, authentication)| -> Result<Api> {
            let (settings, login) = (self.settings(&api)?, login(authentication));
            let metrics = self.metrics.clone();
            Ok(LazyLock::new(Box::new(move || {
                let metrics = metrics.registry(&api);
                Origin::new(api, vendor.dialect(), settings, login, metrics)
            })))
        });
        Ok(Registry::new(origin, api.transpose()?, vendor))
    }

    /// How a host is spoken to: its configuration and its limits.
    fn settings(&self, host: &RegistryHost) -> Result<Settings> {
        let config = self.config(host);
        let failed = |cause| Error::new("set up", host.to_string(), cause);
        let tls = self.tls(host, config).map_err(failed)?;
        // One that cannot be read is an error of its own, when it is opened.
        let others = self.configs.iter().filter(|(other, _)| *other != host);
        let others = others
            .filter_map(|(other, config)| Some((other.to_string(), Tls::configured(config).ok()?)));
        Ok(Settings {
            tls,
            others: others.collect(),
            limits: self.limits(host, config),
            pulses: self.pulses.clone(),
            auth_realms: config.auth_realms.clone(),
            timeouts: Timeouts::new(config.idle_timeout),
            policy: self.policy,
            jitter: self.jitter,
            public: self.public.clone(),
        })
    }

    fn tls(&self, host: &RegistryHost, config: &RegistryConfig) -> std::result::Result<Tls, Cause> {
        let Some(folder) = self.cert_dirs.get(host) else {
            return Tls::of(host, config, &self.environment);
        };
        let found = Certificates::read(folder)?.unwrap_or_default();
        let tls = Tls::configured(config)?;
        Ok(Tls {
            ca: found.authorities.or(tls.ca),
            identity: found.identity.or(tls.identity),
            ..tls
        })
    }

    /// The limits that hold at this host already, if they are as configured; else new ones.
    fn limits(&self, host: &RegistryHost, config: &RegistryConfig) -> Arc<Limits> {
        let parallel = config.parallel.map(std::num::NonZeroU32::get);
        let per_second = config.requests_per_second;
        let mut all = self.limits.lock();
        match all.get(host) {
            Some(limits) if limits.are_for(parallel, per_second) => Arc::clone(limits),
            _ => {
                let limits = Arc::new(Limits::new(parallel, per_second));
                all.insert(host.clone(), Arc::clone(&limits));
                limits
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::pauses::Kind;
    use super::*;

    #[test]
    fn a_long_pause_holds_after_a_reload() {
        let none = || (BTreeMap::new(), RegistryConfig::default());
        let environment = Environment::new(|_| None);
        let registries = Registries::new(none().0, none().1, environment, || 0.0);
        let host: RegistryHost = "r.example".parse().unwrap();
        let cause = Cause::Protocol("come back in three hours".to_owned());
        for repository in ["acme/app", "acme/other"] {
            let opened = registries.open(&host).unwrap();
            let wait = Duration::from_secs(10_800);
            opened.limits().hold(Kind::Read, repository, wait, cause.clone(), false);
        }
        let renewed = registries.renewed(none().0, none().1);
        assert_eq!(renewed.open(&host).unwrap().limits().closed(), Some(cause));
        assert_eq!(renewed.open(&"s.example".parse().unwrap()).unwrap().limits().closed(), None);
    }
}
