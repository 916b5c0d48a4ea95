//! What differs by product, one file a product. The standard way is the default, so that a product
//! has only what it does differently.
//!
//! - [`Dialect`]: how its answers are read, for the request pipeline. Pure.
//! - [`Vendor`]: what it offers beyond the specification, by requests to the registry or to an API of
//!   its own at another host. Such a host is an [`Origin`] of its own, with limits, metrics and a
//!   `[registry]` entry; it gets the credentials of the registry.

mod azure;
mod docker_hub;
mod generic;
mod ghcr;
mod gitlab;
mod google;
mod harbor;
mod hosted;
mod owners;
mod quay;
mod tag_lists;
mod zot;

use std::fmt::Debug;

use async_trait::async_trait;
use http::{HeaderMap, Method};
use serde::Serialize;

use super::Registry;
use super::auth::{Authentication, Scope};
use super::call::What;
use super::dialect::Dialect;
use super::operation::Operation;
use super::origin::Origin;
use super::remote::RemoteRepository;
use crate::config;
use crate::fair::Flow;
use crate::oci::{RegistryHost, RepositoryName};
use crate::repository::{Cause, Error, ListedTag, Result};

use docker_hub::DockerHub;
use generic::{Generic, Standard};
use ghcr::Ghcr;
use google::Google;
pub(super) use tag_lists::OwnLists;

#[async_trait]
pub(super) trait Vendor: Debug + Send + Sync {
    /// As people call it.
    fn name(&self) -> &'static str;

    /// What tranship relies on here, though its maker does not document it. It is only believed as far
    /// as answers confirm it.
    fn assumed(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether the product runs at this host.
    fn is_at(&self, host: &RegistryHost) -> bool;

    /// How its answers are read.
    fn dialect(&self) -> &'static dyn Dialect {
        &Generic
    }

    /// The host of its own API, and how that is logged in to, where either differs from the registry at
    /// `host`: `Registry::api`.
    fn api(&self, _host: &RegistryHost) -> Option<(RegistryHost, Authentication)> {
        None
    }

    /// Every repository that the credentials may see and that is at or below one of these paths, or
    /// more. The empty path is above all.
    async fn repositories(
        &self,
        registry: &Registry,
        _below: &[&str],
        flow: Flow,
    ) -> Result<Vec<RepositoryName>> {
        registry.catalog(flow).await
    }

    /// The tags of a repository by the way in which the product tells most of each; `None`: there is
    /// no such repository. As `Repository::listed_tags`.
    async fn listed_tags(&self, repository: &RemoteRepository) -> Result<Option<Vec<ListedTag>>> {
        tag_lists::plain(repository).await
    }

    /// Whether the answer to `GET /v2/` is one of this product.
    fn introduces_itself(&self, _headers: &HeaderMap) -> bool {
        false
    }

    /// What an operator has to do after deletions, before their space is free. `None`: nothing.
    fn follow_up(&self, _host: &RegistryHost) -> Option<&'static str> {
        None
    }
}

/// The dialects that are known.
static DIALECTS: [&dyn Dialect; 3] = [&DockerHub, &Ghcr, &Google];

/// The products in the order in which a host is compared. Those behind Google are partly guessed by
/// the host's name, so they have no dialect of their own.
static VENDORS: [&dyn Vendor; 9] = [
    &DockerHub,
    &Ghcr,
    &Google,
    &azure::Azure,
    &quay::Quay,
    &hosted::Hosted,
    &gitlab::GitLab,
    &harbor::Harbor,
    &zot::Zot,
];

/// The product that runs at `host`, as far as its name tells. `said`: by the configuration.
pub(super) fn of(host: &RegistryHost, said: Option<config::Product>) -> &'static dyn Vendor {
    match said {
        Some(config::Product::Gitlab) => &gitlab::GitLab,
        Some(config::Product::Harbor) => &harbor::Harbor,
        Some(config::Product::Quay) => &quay::Quay,
        Some(config::Product::Zot) => &zot::Zot,
        Some(config::Product::Standard) => &Standard,
        None => VENDORS.into_iter().find(|vendor| vendor.is_at(host)).unwrap_or(&Generic),
    }
}

/// Whether the host is this domain or below it.
fn is_within(host: &RegistryHost, domain: &str) -> bool {
    let rest = host.name().strip_suffix(domain);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// What is known of the product at a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Product {
    pub name: &'static str,
    pub known_by: KnownBy,
    /// The host of its API, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// What tranship relies on here, though its maker does not document it.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub assumed: &'static [&'static str],
}

/// How a product is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    /// By the name of its host.
    Host,
    /// The configuration says so.
    Configuration,
    /// The registry says so.
    Answer,
    /// It is not known.
    Nothing,
}

impl Registry {
    /// Every repository that the credentials may see and that is at or below one of these paths, or
    /// more. The empty path is above all.
    ///
    /// # Errors
    /// Among others, the product cannot list all that is below such a path.
    pub async fn repositories(&self, below: &[&str], flow: Flow) -> Result<Vec<RepositoryName>> {
        self.vendor().repositories(self, below, flow).await
    }

    /// The product, as far as it is known.
    pub(super) fn vendor(&self) -> &'static dyn Vendor {
        self.facts.introduced.get().copied().flatten().unwrap_or(self.vendor)
    }

    /// The product by what the registry says of itself, which is asked for once.
    async fn introduced(&self, flow: Flow) -> Option<&'static dyn Vendor> {
        let ask = async || {
            let mut url = self.origin.base.clone();
            url.set_path("/v2/");
            let (what, scope) = (What::Name(self.host().as_str()), Scope::base());
            let call = self.origin.request(Operation::LogIn, what, Method::GET, url, &scope, flow);
            // Whatever the answer is: without one, the product stays unknown.
            let answer = self.origin.call(&call).await.ok()?;
            VENDORS.into_iter().find(|vendor| vendor.introduces_itself(&answer.headers))
        };
        *self.facts.introduced.get_or_init(ask).await
    }

    /// The product that runs there, as far as it can be found out.
    pub async fn product(&self, flow: Flow) -> Product {
        let is_named = of(self.host(), None).name() == self.vendor.name();
        let known_by = match (self.vendor.name() == Generic.name(), is_named) {
            (true, _) => match self.introduced(flow).await {
                Some(_) => KnownBy::Answer,
                None => KnownBy::Nothing,
            },
            (false, true) => KnownBy::Host,
            (false, false) => KnownBy::Configuration,
        };
        let vendor = self.vendor();
        let api = vendor.api(self.host()).map(|(host, _)| host.to_string());
        Product { name: vendor.name(), known_by, api, assumed: vendor.assumed() }
    }

    /// The product's own API.
    ///
    /// # Errors
    /// It has none at another host, or the connection to it cannot be set up.
    fn api(&self) -> Result<&Origin> {
        let Some(api) = &self.api else {
            let cause = Cause::Unsupported("it has no API of its own".to_owned());
            return Err(Error::new("set up", self.host().to_string(), cause));
        };
        api.as_ref().map_err(Clone::clone)
    }

    /// What an operator has to do after deletions, before their space is free.
    pub(super) fn follow_up(&self) -> Option<String> {
        let what = self.vendor().follow_up(self.host())?;
        Some(format!("{} still holds the blobs of what was deleted: {what}", self.host()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_known_by_their_hosts() {
        for (host, vendor) in [
            ("docker.io", "DockerHub"),
            ("ghcr.io", "Ghcr"),
            ("notghcr.io", "Generic"),
            ("registry.gitlab.com", "GitLab"),
            ("harbor.example.com", "Harbor"),
            ("123.dkr.ecr.eu-west-1.amazonaws.com", "Hosted"),
            ("acme.azurecr.io", "Azure"),
            ("quay.io", "Quay"),
            ("gcr.io", "Google"),
            ("eu.gcr.io", "Google"),
            ("europe-docker.pkg.dev", "Google"),
            ("pkg.dev.example.com", "Generic"),
            ("127.0.0.1:5000", "Generic"),
        ] {
            let found = format!("{:?}", of(&host.parse().unwrap(), None));
            assert!(found.starts_with(vendor), "{host}: {found}");
        }
    }

    #[test]
    fn only_registries_that_need_it_get_advice() {
        let advice = |host: &str| {
            let host = host.parse().unwrap();
            of(&host, None).follow_up(&host)
        };
        for host in [
            "docker.io",
            "ghcr.io",
            "quay.io",
            "registry.gitlab.com",
            "123.dkr.ecr.eu-west-1.amazonaws.com",
            "europe-docker.pkg.dev",
        ] {
            assert_eq!(advice(host), None, "{host}");
        }
        for (host, words) in [
            ("harbor.example.com", "Administration"),
            ("gitlab.example.com:5050", "registry-garbage-collect"),
            ("127.0.0.1:5000", "`registry garbage-collect CONFIG`"),
            ("notghcr.io", "`registry garbage-collect CONFIG`"),
        ] {
            let found = advice(host).unwrap();
            assert!(found.contains(words), "{host}: {found}");
        }
    }
}
