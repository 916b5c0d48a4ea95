//! What differs by product. One file a product, behind one small trait; the standard path first.

pub(super) mod follow_up;
mod generic;

use async_trait::async_trait;

use super::Registry;
use crate::fair::Flow;
use crate::oci::{RegistryHost, RepositoryName};
use crate::repository::Result;

/// The ways of one product, where distribution-spec has none or the product knows a better one.
#[async_trait]
pub(super) trait Vendor: Send + Sync {
    /// Every repository that the credentials may see.
    async fn repositories(&self, registry: &Registry, flow: Flow) -> Result<Vec<RepositoryName>>;
}

/// The product that runs at `host`.
pub(super) fn of(_host: &RegistryHost) -> &'static dyn Vendor {
    &generic::Generic
}
