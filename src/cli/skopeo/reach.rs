//! The registries of a command, with what was said of its sides.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::Retries;
use super::side::{Overrides, Side};
use crate::cli::args::{Global, Reach};
use crate::cli::exit::CliError;
use crate::cli::session::{self, Configured};
use crate::config::Insecure;
use crate::oci::{ImageAddress, RegistryHost};
use crate::registry::Registries;
use crate::secret::Environment;
use crate::stores::Stores;

/// How a command reaches registries.
pub struct Reaching<'a> {
    pub global: &'a Global,
    pub reach: &'a Reach,
    pub retries: &'a Retries,
}

/// What was said of one side of a command.
#[derive(Debug, Clone, Default)]
pub struct Said {
    pub authfile: Option<PathBuf>,
    pub hosts: BTreeMap<RegistryHost, Overrides>,
}

/// What the source and the target of a command are opened with. They are the same unless something
/// was said of one of them.
pub struct Sides {
    pub source: Stores,
    pub target: Stores,
}

impl Said {
    /// What was typed for a side, which is in these registries or on disk. `authfile`: what holds for
    /// both sides.
    pub async fn of(
        side: Side,
        hosts: Vec<(RegistryHost, Overrides)>,
        authfile: Option<PathBuf>,
    ) -> Result<Self, CliError> {
        let typed = side.read().await?;
        let authfile = typed.authfile.clone().or(authfile);
        let hosts = hosts.into_iter().map(|(host, said)| (host, typed.clone().or(said)));
        let hosts = hosts.filter(|(_, said)| !said.is_empty()).collect();
        Ok(Self { authfile, hosts })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.hosts.is_empty() && other.hosts.is_empty() && self.authfile == other.authfile
    }
}

/// The registry of an image, of which nothing is said yet.
pub fn nothing_said_of(image: &ImageAddress) -> Vec<(RegistryHost, Overrides)> {
    let host = image.repository.host().cloned();
    host.into_iter().map(|host| (host, Overrides::default())).collect()
}

/// Whether nobody else can hear what is said to a registry.
fn is_this_machine(host: &RegistryHost) -> bool {
    let name = host.name().trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

impl Reaching<'_> {
    /// What a command that works with one image opens it with.
    pub async fn image(
        &self,
        side: impl Into<Side>,
        address: &ImageAddress,
    ) -> Result<Stores, CliError> {
        let registries = self.one(side.into(), nothing_said_of(address)).await?;
        Ok(Stores::new(Arc::new(registries)))
    }

    /// What a command that works with one registry opens it with.
    pub async fn registry(
        &self,
        side: impl Into<Side>,
        host: &RegistryHost,
    ) -> Result<Registries, CliError> {
        self.one(side.into(), vec![(host.clone(), Overrides::default())]).await
    }

    async fn one(
        &self,
        side: Side,
        hosts: Vec<(RegistryHost, Overrides)>,
    ) -> Result<Registries, CliError> {
        let said = Said::of(side, hosts, None).await?;
        let configured = session::configured(self.global, self.reach)?;
        self.registries(configured, said).await
    }

    /// What a command that copies opens its sides with.
    pub async fn sides(&self, source: Said, target: Said) -> Result<Sides, CliError> {
        let configured = session::configured(self.global, self.reach)?;
        if source.is_same(&target) {
            let stores = Stores::new(Arc::new(self.registries(configured, source).await?));
            return Ok(Sides { source: stores.clone(), target: stores });
        }
        let source = self.registries(configured.clone(), source).await?;
        let target = self.registries(configured, target).await?.with_limits_of(&source);
        let stores = |registries| Stores::new(Arc::new(registries));
        Ok(Sides { source: stores(source), target: stores(target) })
    }

    /// The registries as they are configured, but for what was said.
    pub async fn registries(
        &self,
        mut configured: Configured,
        said: Said,
    ) -> Result<Registries, CliError> {
        let environment = match said.authfile {
            None => Environment::of_process(),
            Some(file) => {
                // Whoever names a file does not mean what is configured.
                for config in configured.hosts.values_mut() {
                    (config.username, config.password) = (None, None);
                }
                Environment::of_process().with("REGISTRY_AUTH_FILE", file.into())
            }
        };
        let (mut given, mut cert_dirs) = (BTreeMap::new(), BTreeMap::new());
        let mut unverified = Vec::new();
        for (host, overrides) in said.hosts {
            let config = configured.hosts.entry(host.clone());
            let config = config.or_insert_with(|| configured.default.clone());
            match overrides.tls_verify {
                Some(true) => config.insecure = Insecure::No,
                Some(false) => unverified.push(host.clone()),
                None => {}
            }
            if let Some(folder) = overrides.cert_dir.as_deref().filter(|folder| !folder.is_dir()) {
                return Err(CliError::Usage(format!("there is no directory {}", folder.display())));
            }
            cert_dirs.extend(overrides.cert_dir.map(|directory| (host.clone(), directory)));
            given.extend(overrides.given.map(|credentials| (host, credentials)));
        }
        let build = |configured: Configured| {
            let Configured { hosts, default } = configured;
            Registries::new(hosts, default, environment.clone(), session::jitter)
                .with_given(given.clone())
                .with_cert_dirs(cert_dirs.clone())
                .with_policy(self.retries.policy())
        };
        if !unverified.is_empty() {
            let registries = build(configured.clone());
            for host in unverified {
                let insecure = registries.unverified(&host).await?;
                if insecure == Insecure::Http && !is_this_machine(&host) {
                    tracing::warn!(
                        "{host} does not answer over https: plain http is used, as tls-verify=false allows, for credentials too"
                    );
                }
                if let Some(config) = configured.hosts.get_mut(&host) {
                    config.insecure = insecure;
                }
            }
        }
        Ok(build(configured))
    }
}
