//! One registry over HTTP: distribution-spec 1.1, and what real registries make of it.
//!
//! `Registry` holds what all repositories of one registry share: connections, credentials,
//! limits, and what was learnt about it. `RemoteRepository` is one repository of it.

mod answer;
pub mod auth;
mod blobs;
mod body;
mod classify;
mod failure;
mod limiter;
mod limits;
pub mod link;
mod listing;
mod login;
mod manifests;
mod mounts;
mod operation;
mod pace;
mod pool;
mod remote;
mod request;
mod resolver;
mod transport;
mod unlinked;
mod uploads;
mod vendor;
mod window;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use url::Url;

use crate::fair::{Flow, Pulses};
use crate::http::RetryPolicy;
use crate::metrics::{RegistryMetrics, WindowKind};
use crate::oci::{RegistryHost, RepositoryName};
use crate::repository::{Cause, Error, Repository, Result};
use auth::{Authenticator, CredentialSource};
pub use failure::chain as describe;
pub use limits::{Limits, LimitsReading};
use mounts::Mounts;
pub use pool::Registries;
use transport::Transport;
pub use transport::{Timeouts, Tls};

/// How one registry is to be spoken to.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub tls: Tls,
    pub limits: Arc<Limits>,
    /// Of the flows that ask the registry for something.
    pub pulses: Pulses,
    /// Hosts of token servers that may get this registry's credentials beside its own.
    pub auth_realms: Vec<String>,
    pub timeouts: Timeouts,
    pub policy: RetryPolicy,
}

/// One registry. Shared by all transfers that touch it.
pub struct Registry {
    host: RegistryHost,
    /// `https://host/v2/`.
    base: Url,
    transport: Transport,
    authenticator: Authenticator,
    limits: Arc<Limits>,
    pulses: Pulses,
    policy: RetryPolicy,
    timeouts: Timeouts,
    /// Random numbers from 0 to 1 that spread retries.
    jitter: fn() -> f64,
    facts: Facts,
    metrics: Arc<RegistryMetrics>,
}

/// What was learnt about a registry by talking to it.
#[derive(Debug, Default)]
struct Facts {
    /// How it answered mount requests.
    mounts: Mutex<Mounts>,
    /// The same, where the repository itself was named: some ask for its existence first.
    self_mounts: Mutex<Mounts>,
    /// `uploads::Style` that it accepts.
    upload_style: AtomicU8,
    /// `OCI-Chunk-Min-Length`, in bytes.
    chunk_min: AtomicU64,
    /// Whether it has a referrers API, and that somebody has tried to find out.
    referrers_api: OnceLock<bool>,
    asked_for_referrers: tokio::sync::OnceCell<()>,
    /// The user was told that the pull quota runs low.
    quota_is_low: AtomicBool,
}

impl Registry {
    /// Nothing is sent until the first request. Errors are certificates that cannot be read.
    pub fn new(
        host: RegistryHost,
        settings: Settings,
        credentials: Arc<dyn CredentialSource>,
        jitter: fn() -> f64,
        metrics: Arc<RegistryMetrics>,
    ) -> Result<Arc<Self>> {
        let failed = |cause| Error::new("set up", host.to_string(), cause);
        let scheme = if settings.tls.http { "http" } else { "https" };
        let address = if host.is_docker_hub() { "registry-1.docker.io" } else { host.as_str() };
        let base: Url = format!("{scheme}://{address}/v2/").parse().map_err(|error| {
            failed(Cause::Protocol(format!("its address is not valid: {error}")))
        })?;
        let transport =
            Transport::new(&settings.tls, settings.timeouts, host.is_loopback()).map_err(failed)?;
        let authenticator = Authenticator::new(
            host.clone(),
            base.clone(),
            credentials,
            transport.api().clone(),
            settings.auth_realms,
            Arc::new(std::time::Instant::now),
            metrics.clone(),
        );
        let limits = settings.limits;
        metrics.window(WindowKind::Requests, limits.requests.window());
        metrics.window(WindowKind::Uploads, limits.uploads.window());
        Ok(Arc::new(Self {
            base,
            transport,
            authenticator,
            limits,
            pulses: settings.pulses,
            policy: settings.policy,
            timeouts: settings.timeouts,
            jitter,
            facts: Facts::default(),
            metrics,
            host,
        }))
    }

    pub fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// How much it takes, and is doing.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Why it is not asked anything at the moment, as it said itself.
    pub fn closed(&self) -> Option<Cause> {
        self.limits.closed()
    }

    /// One of its repositories, for a process that does nothing else. `writes`: it will be written
    /// to, so tokens are asked for that allow it from the start.
    pub fn repository(self: &Arc<Self>, name: RepositoryName, writes: bool) -> Arc<dyn Repository> {
        self.repository_in(Flow::ALONE, name, writes)
    }

    /// The same, for work that shares the registry with others: its requests take the turns of
    /// this flow.
    pub fn repository_in(
        self: &Arc<Self>,
        flow: Flow,
        name: RepositoryName,
        writes: bool,
    ) -> Arc<dyn Repository> {
        Arc::new(remote::RemoteRepository::new(self.clone(), name, writes, flow))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry({})", self.host)
    }
}
