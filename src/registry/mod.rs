//! One registry over HTTP: distribution-spec 1.1, and how real registries differ from it.
//!
//! `Registry` holds what all repositories of one registry share: connections, credentials,
//! limits, and what was learnt about it. `RemoteRepository` is one repository of it.

mod activity;
mod answer;
pub mod auth;
mod body;
mod call;
mod certificates;
mod chunks;
mod classify;
mod dialect;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod limiter;
mod limits;
pub mod link;
mod listed_certificates;
mod listing;
mod login;
mod mounts;
mod operation;
mod origin;
mod outage;
mod pace;
mod pagination;
mod pauses;
mod pool;
mod reach;
mod remote;
mod resolver;
mod scheme;
mod tls_words;
mod transport;
mod upload_form;
mod uploads;
mod vendor;
mod window;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, LazyLock, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::fair::Flow;
use crate::oci::{RegistryHost, RepositoryName};
use crate::repository::{Repository, Result};
pub use certificates::Certificates;
use certificates::Tls;
pub use limits::Limits;
use mounts::Mounts;
use origin::Origin;
use origin::Settings;
pub use pool::Registries;
use transport::Timeouts;
use upload_form::Forms;
use uploads::Notes;
pub use vendor::{KnownBy, Product};

/// One registry. Shared by all transfers that touch it.
pub struct Registry {
    origin: Origin,
    api: Option<Api>,
    /// The product, by its host or the configuration.
    vendor: &'static dyn vendor::Vendor,
    facts: Facts,
    /// Turns of long lists of referrers.
    long_lists: Semaphore,
}

/// The product's own API, at another host than the registry. Set up when it is first needed.
type Api = LazyLock<Result<Origin>, Box<dyn FnOnce() -> Result<Origin> + Send>>;

/// What was learnt about a registry by talking to it.
#[derive(Debug, Default)]
struct Facts {
    /// How it answered mount requests.
    mounts: Mutex<Mounts>,
    /// The same, where the repository itself was named: some ask for its existence first.
    self_mounts: Mutex<Mounts>,
    /// The forms of upload that it accepts.
    upload_forms: Mutex<Forms>,
    /// What the next request of an upload has to know.
    uploads: Mutex<Notes>,
    /// `OCI-Chunk-Min-Length`, in bytes.
    chunk_min: AtomicU64,
    /// It has refused an upload whose length was not announced.
    wants_lengths: AtomicBool,
    /// Whether it has a referrers API, and that a request has tried to find out.
    referrers_api: OnceLock<bool>,
    asked_for_referrers: tokio::sync::OnceCell<()>,
    /// HEAD does not tell which manifests are there, so they are read.
    reads_instead: AtomicBool,
    /// The product that it says to be, if it was asked.
    introduced: tokio::sync::OnceCell<Option<&'static dyn vendor::Vendor>>,
    /// Lists of tags that only this product has.
    own_lists: vendor::OwnLists,
    /// Owners of repositories that are persons, where the product's API has other paths for those than
    /// for organizations.
    users: Mutex<HashSet<String>>,
}

impl Registry {
    fn new(origin: Origin, api: Option<Api>, vendor: &'static dyn vendor::Vendor) -> Arc<Self> {
        let long_lists = Semaphore::new(listing::LONG_LISTS);
        Arc::new(Self { origin, api, vendor, facts: Facts::default(), long_lists })
    }

    pub fn host(&self) -> &RegistryHost {
        &self.origin.host
    }

    /// How many requests it takes, and how many are under way.
    pub fn limits(&self) -> &Limits {
        &self.origin.settings.limits
    }

    /// One of its repositories, whose requests take the flow's turns. `writes`: tokens that allow
    /// writing are requested from the start.
    pub fn repository(
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
        write!(f, "Registry({})", self.origin.host)
    }
}
