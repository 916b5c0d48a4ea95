//! What differs by product, one file a product. The standard way is the default, so that a product
//! has only what it does differently.
//!
//! - [`Dialect`]: how its answers are read, for the request pipeline. Pure.
//! - [`Vendor`]: what it offers beyond the specification, by requests to the registry. A product
//!   whose API is at another host opens that host as an [`Origin`](super::origin::Origin) of its
//!   own, with credentials, limits and metrics of its own: see `Registries::origin`.

mod docker_hub;
pub(super) mod follow_up;
mod generic;
mod ghcr;
mod google;

use async_trait::async_trait;

use super::Registry;
use super::dialect::Dialect;
use crate::fair::Flow;
use crate::oci::{RegistryHost, RepositoryName};
use crate::repository::Result;

#[async_trait]
pub(super) trait Vendor: Dialect {
    /// Whether the product runs at this host.
    fn is_at(&self, host: &RegistryHost) -> bool;

    /// Every repository that the credentials may see.
    async fn repositories(&self, registry: &Registry, flow: Flow) -> Result<Vec<RepositoryName>> {
        registry.catalog(flow).await
    }
}

/// The products that are known by their hosts.
static KNOWN: [&dyn Vendor; 3] = [&docker_hub::DockerHub, &ghcr::Ghcr, &google::Google];

static GENERIC: generic::Generic = generic::Generic { known: &KNOWN };

/// The product that runs at `host`.
pub(super) fn of(host: &RegistryHost) -> &'static dyn Vendor {
    KNOWN.into_iter().find(|vendor| vendor.is_at(host)).unwrap_or(&GENERIC)
}

impl Registry {
    /// Every repository that the credentials may see, as far as the product can list them.
    pub async fn repositories(&self, flow: Flow) -> Result<Vec<RepositoryName>> {
        of(self.host()).repositories(self, flow).await
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
            ("gcr.io", "Google"),
            ("eu.gcr.io", "Google"),
            ("europe-docker.pkg.dev", "Google"),
            ("pkg.dev.example.com", "Generic"),
            ("127.0.0.1:5000", "Generic"),
        ] {
            let found = format!("{:?}", of(&host.parse().unwrap()));
            assert!(found.starts_with(vendor), "{host}: {found}");
        }
    }
}
